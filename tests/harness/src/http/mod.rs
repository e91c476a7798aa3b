//! The outside witnesses of HTTP/1.1: a client that sees everything, origins good and bad,
//! WebSockets, and a load of many clients.
//!
//! They share no parser with the product. Theirs reads one line at a time, accepts only what RFC 9112 says a
//! sender may send, and tells everything else by name ([`Malformed`]); it is slow and meant to be obvious.
//!
//! - [`failure`]: how an exchange ends that was not complete
//! - [`message`], [`incoming`]: heads, fields and framing; reading them from a connection
//! - [`request`], [`client`]: what a client sends, and all that it sees of the answer
//! - [`received`]: the account an origin gives of what reached it
//! - [`origin`], [`conduct`]: origins, and every way in which one can behave
//! - [`websocket`]: the handshake and the frames of RFC 6455, both sides
//! - [`marks`], [`load`]: many clients of each kind; an answer that mixes two generations is a failure
//!
//! Text of heads is kept as Latin-1: each byte is one character, so nothing is lost, whatever was sent.

pub(crate) mod answer;
pub mod client;
pub mod conduct;
pub mod failure;
pub mod incoming;
pub mod load;
pub mod marks;
pub mod message;
pub mod origin;
pub mod received;
pub mod request;
pub mod websocket;

pub use client::Client;
pub use conduct::Conduct;
pub use failure::{Failure, Malformed};
pub use load::{Kind, Load, Plan};
pub use marks::{Mark, Marks};
pub use message::{Fields, Framing};
pub use origin::Origin;
pub use received::Received;
pub use request::Request;
pub use websocket::WebSocket;
