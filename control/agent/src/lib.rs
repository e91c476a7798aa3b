//! The control side of the process: whoever may change it, see it, or is told of it.
//!
//! | thread | what it does |
//! |---|---|
//! | `sluice-control` | submissions, the conversation with the shards, the control socket; never waits |
//! | `sluice-compile` | edits, merges, diffs, compiles, binds, frees; low priority |
//! | `sluice-answer` | reads and writes documents, makes plans and other long answers |
//! | `sluice-journal` | writes down what is in force and what became of each job |
//! | `sluice-check` | holds what runs against what its document says; lowest priority |
//! | `sluice-probe` | health checks and names |
//! | `sluice-log` | access-log lines and what the appliance says of itself |
//!
//! It cannot name an executor, a ring or a connection: what it knows of a shard is a mailbox for orders, its
//! reports, its counters and its log records. The binary wires both sides together: [`load`], then [`start`].

#![forbid(unsafe_code)]

mod ask;
mod book;
mod build;
mod clock;
mod compile;
mod control;
mod drift;
mod durable;
mod event_log;
mod events;
mod explain;
mod exposition;
mod fold;
mod history;
mod job;
mod keeper;
mod kept;
pub mod log;
mod metrics;
pub mod names;
mod orders;
pub mod planted;
mod probe;
mod publish;
mod rehearse;
mod resolve;
mod seat;
mod self_check;
mod session;
mod setup;
#[cfg(feature = "sim")]
pub mod sim;
mod slate;
mod status;
mod tell;
mod tell_edits;
mod touched;

#[cfg(test)]
mod tests;

/// What the binary says to a [`Handle`], and asks before there is one.
pub use api::{default_socket, order::StopMode};
pub use ask::Text;
pub use keeper::Outcome;
pub use resolve::NameSource;
pub use seat::{Addressed, Signed};
pub use session::SocketTaken;
pub use setup::{Agent, Handle, LoadError, Loaded, Setup, ShardPort, StartError, load, start};
pub use tell::keys;
