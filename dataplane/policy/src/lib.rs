//! The generation and every decision made from it.
//!
//! Plain values in, plain values out: nothing here opens a descriptor, reads a clock, rolls dice or
//! spawns. Randomness and time are arguments. The shard performs what these machines ask for, control
//! drives the other end of the conversation, and `tests/sim` links the very same code.

#![forbid(unsafe_code)]

pub mod balance;
pub mod close;
pub mod generation;
pub mod health;
pub mod http;
pub mod ids;
pub mod meaning;
pub mod queue;
pub mod record;
pub mod reload;
pub mod tick;
pub mod tree;
pub mod wheel;

pub use ids::{
    EndpointSlot, GenerationId, GroupSlot, JobId, ListSlot, ListenerSlot, PartId, PoolId, PoolSlot, RootVersion,
    ShardId, ShardSet,
};
pub use tick::Tick;
