//! The control socket's language, for the appliance and for every program that talks to it.
//!
//! Owns the messages, their framing, and a small blocking [`Client`]. Knows nothing of how an order is
//! carried out and uses no other crate of the project, so that a program that only wants to move a
//! backend builds this and nothing else. The protocol by transcript is in `control/README.md`.
//!
//! ```text
//! client                                   appliance
//!   {"id":1,"order":"backend.remove",…}⏎ ──▶
//!       ◀── {"id":1,"status":"processing","progress":{…}}⏎     any number of times
//!       ◀── {"id":1,"status":"ok","result":{…}}⏎               exactly one final answer, or `error`
//! ```
//!
//! Field names and error codes are snake_case; words that also stand in logs, metrics and on screens
//! (`next-connection`, `kept-old`) are spelled as they are there. Units are last in a field's name. A
//! client ignores fields that it does not know; the appliance refuses them.

#![forbid(unsafe_code)]

pub mod answer;
pub mod client;
pub mod event;
pub mod explain;
pub mod framing;
pub mod order;
pub mod plan;
pub mod problem;
pub mod receipt;
pub mod request;
pub mod socket;
pub mod status;

pub use answer::{Answer, Body, ErrorCode, Failure, Progress, Reply};
pub use client::{Client, ClientError, Patience};
pub use event::{Event, Happening};
pub use explain::Explanation;
pub use framing::{Decoder, End};
pub use order::{Edit, Order};
pub use plan::{Class, Plan, PlannedChange, Reach, RestartReason};
pub use problem::{Place, Problem, Severity};
pub use receipt::{JobOutcome, Receipt, Stage};
pub use request::{Rejected, Request};
pub use socket::{SocketError, default_socket, find_socket};
pub use status::{Generations, Status};

/// The protocol's number. It rises when a client made for the older one could misunderstand the newer one;
/// new orders, fields and events do not raise it.
pub const PROTOCOL: u32 = 1;

/// The Rust block of the protocol's documentation compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
