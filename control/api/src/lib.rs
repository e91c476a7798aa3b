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
//! A program that drains a backend before its machine is restarted, and says how it goes:
//!
//! ```no_run
//! use api::order::BackendRemove;
//! use api::{Body, Client, ErrorCode, Order, Progress, Reply};
//!
//! fn drain(pool: &str, backend: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     // `$SLUICEGATE_SOCKET`, or where an appliance is by default.
//!     let mut client = Client::connect(&api::find_socket()?)?;
//!     let order = Order::BackendRemove(BackendRemove {
//!         pool: pool.into(),
//!         group: None, // the pool's only one
//!         backend: backend.into(),
//!         now: false,  // its connections end by themselves
//!         wait: true,  // the final answer comes when the last is gone
//!     });
//!     let answer = client.call(order, |progress| {
//!         if let Progress::Draining { connections, .. } = progress {
//!             println!("{connections} left");
//!         }
//!     })?;
//!     match answer.reply {
//!         Reply::Ok { result: Body::Receipt(receipt) } => println!("{backend} is empty (job {})", receipt.job),
//!         Reply::Error { error } if error.code == ErrorCode::NotFound => println!("{backend} is gone already"),
//!         Reply::Error { error } => return Err(error.to_string().into()),
//!         Reply::Ok { .. } | Reply::Processing { .. } => unreachable!("a removal ends with a receipt or an error"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A [`ClientError`] says whether the order may have been carried out ([`ClientError::is_uncertain`]); `history` then
//! tells. [`Client::send`] and [`Client::receive`] are the two halves of a call, for `events`, which has no end. How long
//! the appliance may be silent is [`Patience`]. Two whole programs are in `control/api/examples`: `watch_drains` follows
//! events, `file_bridge` keeps a pool's backends as a file says.
//!
//! Field names and error codes are snake_case; words that also stand in logs, metrics and on screens
//! (`next-connection`, `kept-old`) are spelled as they are there. Units are last in a field's name. A
//! client ignores fields that it does not know; the appliance refuses them.

#![forbid(unsafe_code)]

pub mod answer;
pub mod client;
pub mod drift;
pub mod edit;
pub mod event;
pub mod explain;
pub mod framing;
pub mod keys;
mod once;
pub mod order;
pub mod plan;
pub mod problem;
pub mod receipt;
pub mod request;
pub mod socket;
pub mod status;
pub mod wrap;

pub use answer::{Answer, Body, ErrorCode, Failure, Progress, Reply};
pub use client::{Client, ClientError, Patience};
pub use drift::{By, Drift, Drifted, Folded, FoldedFile, Undone};
pub use edit::Edit;
pub use event::{Event, Happening};
pub use explain::Explanation;
pub use framing::{Decoder, End};
pub use keys::Keys;
pub use order::Order;
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
