//! Whole shards against real sockets, one theme a file.

#[path = "../rig/mod.rs"]
mod rig;

mod ends;
mod panics;
mod tunnels;
