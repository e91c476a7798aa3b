//! What crosses threads, and nothing else.
//!
//! | module | who writes | who reads |
//! |---|---|---|
//! | [`mailbox`] | many posters | one receiver, woken by a [`doorbell`] |
//! | [`log`] | one shard | the log thread |
//! | [`counters`] | one shard | anybody, a moment late |
//! | [`quota`] | every shard: the one shared write of the data path | every shard |
//! | [`listen`] | the process owns the sockets | shards borrow them |
//!
//! This crate knows threads and descriptors. It refuses to know what a message says, what a pool is or
//! when a listener should leave: identities are plain numbers here (`u16` for a shard, `u32` for a slot).
//!
//! `unsafe` stands in `listen::options` only, round socket options that no safe library offers.
//!
//! Checked by: `cargo test -p link`; the protocols under loom by
//! `RUSTFLAGS="--cfg loom" cargo test -p link --release --lib loom_`. Tests without system calls are named
//! for miri: `cargo +nightly miri test -p link --lib miri_`.

#![deny(unsafe_code)]

pub mod counters;
pub mod doorbell;
#[cfg(not(any(loom, miri)))]
pub mod listen;
pub mod log;
pub mod mailbox;
pub mod quota;
mod slots;
mod sync;

pub use slots::SlotOutOfBounds;
