//! Bytes and their meaning, without a socket.
//!
//! Protocol machines: events of the two sides go in, the next step comes out. They know no descriptor, no
//! buffer and no clock.

#![forbid(unsafe_code)]

pub mod h1;
pub mod tunnel;
