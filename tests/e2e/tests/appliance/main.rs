//! What a user gets, shown on the real binaries: one module a theme, one binary for all, so that they run side by side.

#![forbid(unsafe_code)]

mod accounts;
mod balance;
mod caps;
mod console;
mod crashes;
mod documents;
mod examples;
mod explain;
mod health;
mod listen;
mod moves;
mod neighbours;
mod orders;
mod plan;
mod protocol;
mod reference;
mod reload;
mod restarts;
mod services;
mod signals;
mod start;
mod timeouts;
mod torn;
mod tunnels;
mod vices;
