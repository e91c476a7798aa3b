//! Messages as bytes: what was understood, said again in our own words.
//!
//! Owns what goes on and what ends here. Appends to the caller's buffer and never looks back. No value can break
//! out of its line: those received were checked when they were read, all others are checked as they are written.

mod chain;
mod chunk;
mod edit;
mod line;
mod reason;
mod request;
mod response;

pub use chain::{Chain, Told};
pub use chunk::{CHUNK_END, chunk_begin, last_chunk};
pub use edit::{Edit, may_edit};
pub use reason::reason;
pub use request::{ToOrigin, Upgrades, request};
pub use response::{CONTINUE, Said, ToClient, answer, response};

#[cfg(test)]
mod tests;
