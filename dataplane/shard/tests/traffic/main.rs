//! Whole shards against real sockets, one theme a file.

#[path = "../rig/mod.rs"]
mod rig;

mod attempts;
mod ends;
mod lines;
mod panics;
mod times;
mod tunnels;
