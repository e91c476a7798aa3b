//! Names of things. Every number that crosses a function border has a type of its own.
//!
//! *Slots* are dense indices that control gives to an identity (a pool id, an endpoint's address within
//! its group, a listen address). They stay with the identity from generation to generation and are used
//! again only after every shard has released them, so the shard's state is a slab indexed by slot.

use crate::tree::{Key, hash, spread};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl $name {
            /// As an index into a slab.
            pub fn ix(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index! {
    /// One attempt to change the configuration. Numbers start at 1, rise by one and are never reused.
    JobId(u64)
}
index! {
    /// The configuration that job of the same number put in force. A job that ended refused or
    /// unchanged leaves a gap: `receipt 41` says why there is no generation 41.
    GenerationId(u64)
}
index! {
    /// A pool's identity: its id.
    PoolSlot(u32)
}
index! {
    /// A backend's identity: pool, group and address. Changing the address makes another identity.
    EndpointSlot(u32)
}
index! {
    /// A group's identity: its pool and its id. Never another group's in the life of the process, so tables by it are
    /// not dense.
    GroupSlot(u32)
}
index! {
    /// A list's identity: its name. Never another list's in the life of the process, so tables by it are not dense.
    ListSlot(u32)
}
index! {
    /// A listen address's identity.
    ListenerSlot(u32)
}
index! {
    /// One pinned executor. At most [`ShardSet::MAX`] of them.
    ShardId(u16)
}
index! {
    /// A part of a generation that can be pinned by itself; unique over the life of the process.
    PartId(u64)
}

/// How far a root has come: rises with every Commit, whatever pools it names. Every shard's root is the
/// root at some version, so of two shards the one with the higher version knows more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RootVersion(pub u64);

impl Key for GroupSlot {
    fn cut(&self) -> u64 {
        spread(self.0.into())
    }
}

impl Key for PoolSlot {
    fn cut(&self) -> u64 {
        spread(self.0.into())
    }
}

impl From<JobId> for GenerationId {
    fn from(job: JobId) -> GenerationId {
        GenerationId(job.0)
    }
}

/// A pool's name as the operator wrote it: `[a-z0-9][a-z0-9_-]{0,62}`. Checked by `config`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PoolId(pub Arc<str>);

impl PoolId {
    pub fn new(name: &str) -> PoolId {
        PoolId(name.into())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key for PoolId {
    fn cut(&self) -> u64 {
        hash(0, self.0.as_bytes())
    }
}

impl Borrow<str> for PoolId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of shards, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// Most shards in one process. Bound by the width of the set; 64 cores behind one process is
    /// more than one address's listeners can be balanced over usefully.
    pub const MAX: usize = 64;

    pub fn empty() -> ShardSet {
        ShardSet(0)
    }

    /// Shards `0..count`.
    pub fn first(count: usize) -> ShardSet {
        assert!(count <= Self::MAX, "at most {} shards, asked for {count}", Self::MAX);
        if count == 64 { ShardSet(u64::MAX) } else { ShardSet((1 << count) - 1) }
    }

    pub fn one(shard: ShardId) -> ShardSet {
        ShardSet(1 << shard.0)
    }

    pub fn contains(self, shard: ShardId) -> bool {
        self.0 >> shard.0 & 1 == 1
    }

    pub fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    pub fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        (0..64u16).filter(move |bit| self.0 >> bit & 1 == 1).map(ShardId)
    }

    pub fn and(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 & other.0)
    }

    pub fn or(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 | other.0)
    }

    pub fn without(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 & !other.0)
    }
}

impl FromIterator<ShardId> for ShardSet {
    fn from_iter<I: IntoIterator<Item = ShardId>>(shards: I) -> ShardSet {
        let mut set = ShardSet::empty();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

impl fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|shard| shard.0)).finish()
    }
}
