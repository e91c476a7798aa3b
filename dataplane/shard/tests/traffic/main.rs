//! Whole shards against real sockets, one theme a file.

#[path = "../rig/mod.rs"]
mod rig;

mod addresses;
mod attempts;
mod bounds;
mod choice;
mod ends;
mod handover;
mod lines;
mod panics;
mod reload;
mod stop;
mod times;
mod tunnels;
