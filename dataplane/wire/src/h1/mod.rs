//! HTTP/1.1: bytes and their meaning (RFC 9110, RFC 9112).
//!
//! Owns what a message says and how it is said again. Refuses to know sockets, time, routes and rules; the caller
//! owns all buffers, and everything that is parsed is [`Span`]s into them.
//!
//! ```text
//!   bytes ─ parse_request ─▶ RequestHead ─ write::request ─▶ bytes for the origin
//!                              └ framing ─▶ Body ─ feed ─▶ content among the bytes
//!   bytes ─ parse_response ─▶ ResponseHead ─ write::response ─▶ bytes for the client
//! ```
//!
//! In which order that happens, and what an end or a break means, is [`exchange`]'s.
//!
//! **Strict.** A message that two readers could read in two ways is refused with a [`Violation`], and what goes
//! on is written anew from what was understood, never passed through: request smuggling needs two readers who
//! disagree. Where the RFCs let a recipient choose between mending and refusing, we refuse. What is let pass is
//! little: one empty line before a request, letters beyond RFC 3986 that browsers send in targets, `obs-text` in
//! values, a size line with extensions.
//!
//! **In pieces.** A head is parsed once it is complete; until then [`Search`] remembers how far its end was looked
//! for, so that each byte is looked at once. Whether bytes come one by one or all at once changes nothing, the
//! violation included.
//!
//! **Bounded.** All of [`Limits`], and the constants beside it. No message makes anything here allocate, but for
//! the list of fields ([`Fields`]) whose memory the caller keeps from message to message.

mod authority;
mod body;
mod bytes;
pub mod exchange;
mod field;
mod limits;
mod meaning;
mod method;
mod name;
mod request;
mod response;
mod search;
mod span;
mod target;
mod tokens;
mod version;
mod violation;
pub mod write;

pub use authority::Authority;
pub use body::{Body, Step};
pub use field::{Field, Fields};
pub use limits::{CONNECTION_OPTIONS_MAX, EXTENSION_BYTES_MAX, FIELDS_MAX, Limits};
pub use meaning::{Framing, Persistence};
pub use method::Method;
pub use name::{Name, Onward, Trailing};
pub use request::{RequestHead, Upgrade, parse_request};
pub use response::{Asked, Content, Kind, ResponseHead, parse_response};
pub use search::Search;
pub use span::Span;
pub use target::{Form, Scheme, Target};
pub use version::Version;
pub use violation::{Peer, Violation};

#[cfg(test)]
mod tests;
