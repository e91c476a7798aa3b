//! Listening sockets against the real kernel, on loopback: who gets in when, and that nobody is lost.
//!
//! "Did not get in" is never concluded from a pause: the kernel counts segments that a socket's filter
//! dropped, and the tests wait for that count to rise.

#![cfg(not(any(loom, miri)))]

mod arriving;
mod leaving;
mod refused;
mod registry;
mod steering;
mod unix;
mod witness;
