//! Everything has a bound, sized once at start from what the process may use.
//!
//! The sizes follow from three facts: how many descriptors the process may have, how much memory it may
//! lock, and how many shards there are. Reaching a bound is an ordinary, counted outcome.

use crate::ring::RingSize;

/// The bounds of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Front connections, each with at most one backend connection. Beyond: `shard-full`.
    pub connections: usize,
    /// Of all shards together, as asked for or as descriptors allow. Beyond: `shard-full` as well.
    pub connections_in_all: usize,
    /// Idle connections to backends. Beyond: closed instead of kept. Their descriptors are those of connections that have no
    /// backend now; when none is free, idle connections are closed first.
    pub idle: usize,
    /// Pipes for bulk transfer, two descriptors each. Beyond: copying.
    pub pipes: usize,
    /// Entries of the submission queue. Beyond: the batch is submitted early.
    pub ring_entries: u32,
    /// Provided buffers. Beyond: a receive is tried again when one is back (`no_buffers`).
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: u32,
    /// Orders that wait for the shard. Beyond: control keeps them.
    pub orders: usize,
    /// Accepted descriptors that other shards handed over and that wait. Beyond: the other shard keeps its own.
    pub handed_over: usize,
    /// Pools, endpoints and listeners that the shard's tables may hold. Beyond: Prepare is refused.
    pub pools: usize,
    pub endpoints: usize,
    pub listeners: usize,
    /// Access records that wait for the log thread. Beyond: dropped and counted.
    pub log_records: usize,
    /// Bytes of their texts. Beyond: likewise.
    pub log_text: usize,
}

/// Descriptors kept for everything that is not a connection: rings, doorbells, listeners, logs, the control
/// socket and its sessions, probes.
const DESCRIPTORS_ASIDE: usize = 512;

/// Most pipes of the process. Each holds 64 KiB, and the kernel shrinks the pipes of a user without
/// privilege to two pages once they hold 64 MiB together (`fs.pipe-user-pages-soft`).
const PIPES: usize = 512;

/// Locked memory of one shard: its own ring, glommio's three, and the provided buffers' ring.
/// Measured with the sizes below: 340 KiB.
pub const LOCKED_PER_SHARD: usize = 384 << 10;

impl Bounds {
    /// Bounds of one of `shards` equal shards.
    ///
    /// `descriptors`: what the process may open (`RLIMIT_NOFILE`). `asked`: connections that the operator wants
    /// in all, if he says. A connection takes two descriptors, so there are never more than
    /// `(descriptors - aside - pipes) / 2`.
    pub fn of_one(shards: usize, descriptors: usize, asked: Option<usize>) -> Bounds {
        assert!(shards > 0);
        let pipes = PIPES.min(descriptors / 16);
        let room = descriptors.saturating_sub(DESCRIPTORS_ASIDE.min(descriptors / 4) + 2 * pipes) / 2;
        let connections = asked.unwrap_or(room).min(room).max(shards);
        Bounds {
            // A shard may hold more than its share while the others have room: half again.
            connections: (connections / shards + connections / shards / 2).min(connections).max(1),
            connections_in_all: connections,
            idle: (connections / shards / 4).max(16),
            pipes: (pipes / shards).max(1),
            ring_entries: 1024,
            buffers: 256,
            buffer_bytes: 16 << 10,
            orders: 1024,
            handed_over: 256,
            pools: 10_000,
            endpoints: 1_000_000,
            listeners: 4_096,
            log_records: 4_096,
            log_text: 1 << 20,
        }
    }

    pub fn ring(&self) -> RingSize {
        RingSize { entries: self.ring_entries, buffers: self.buffers, buffer_bytes: self.buffer_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shards: usize, descriptors: usize, asked: Option<usize>) -> Bounds {
        let bounds = Bounds::of_one(shards, descriptors, asked);
        let used = bounds.pipes * shards * 2;
        assert!(used < descriptors, "{bounds:?} of {shards} shards takes {used} of {descriptors}");
        bounds
    }

    #[test]
    fn bounds_follow_the_descriptors() {
        assert_eq!(check(1, 20_000, None).connections, (20_000 - 512 - 1024) / 2);
        assert_eq!(check(2, 20_000, Some(1_000)).connections, 750);
        assert!(check(2, 256, None).connections >= 40);
    }
}
