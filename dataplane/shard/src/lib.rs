//! The only crate that touches traffic: shards, each one pinned thread with its own ring, connections,
//! counters and copy of the running generation.
//!
//! It knows no file, no schema, no operator and no other thread's memory: generations and orders come in by
//! a mailbox, reports go out by another, and what a shard decides it asks the machines of [`policy`] and
//! [`wire`]. `unsafe` stands in [`ring`] only.

mod accept;
mod admit;
pub mod bounds;
mod conn;
mod connect;
mod conns;
mod edge;
mod end;
mod guard;
mod http;
mod listeners;
pub mod machine;
mod orders;
mod pools;
mod relay;
pub mod ring;
mod serve;
mod sweep;

pub use accept::Handed;
pub use guard::{Fault, Handling};
pub use serve::{Addressed, Ended, Setup, Signed, spawn};
