//! What a user gets, shown on the real binaries: one module a theme, one binary for all, so that they run side by side.

#![forbid(unsafe_code)]

mod balance;
mod caps;
mod health;
mod listen;
mod neighbours;
mod orders;
mod timeouts;
mod tunnels;
mod vices;
