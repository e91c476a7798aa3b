//! Every listening socket of the process, by listener slot.

use super::{ListenGroup, ListenSocket};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Owns the listening sockets, so that a shard that dies takes none with it. Shared by control, which puts
/// in and takes out, and shards, which borrow at Prepare and Sync; never touched per connection, so a mutex
/// is fine.
#[derive(Debug)]
pub struct Registry {
    groups: Mutex<BTreeMap<u32, Arc<ListenGroup>>>,
    /// Shards that new connections may go to.
    live: AtomicU64,
}

impl Registry {
    pub fn new() -> Arc<Registry> {
        Arc::new(Registry { groups: Mutex::default(), live: AtomicU64::new(u64::MAX) })
    }

    /// Shards that new connections may go to, one bit each, as last steered; all before that. Read by shards
    /// before they hand a connection over.
    pub fn live(&self) -> u64 {
        // Advice that may be a moment old: a shard that is not live keeps what it is handed until it is.
        self.live.load(Ordering::Relaxed)
    }

    /// Shards that listen at this listener, one bit each.
    pub fn shards(&self, listener: u32) -> u64 {
        self.group(listener).map_or(0, |group| group.shards().fold(0, |set, shard| set | 1 << shard))
    }
    /// Whoever puts in a group while a shard is dead or lost steers it too: [`ListenGroup::steer`].
    ///
    /// Panics if the slot is taken: control gives a slot to one address until every shard has released it.
    pub fn insert(&self, listener: u32, group: ListenGroup) -> Arc<ListenGroup> {
        let group = Arc::new(group);
        let before = self.groups().insert(listener, group.clone());
        assert!(before.is_none(), "listener {listener} has sockets already");
        group
    }

    /// The socket of a listener that a shard accepts from.
    pub fn socket(&self, listener: u32, shard: u16) -> Option<Arc<ListenSocket>> {
        self.groups().get(&listener)?.socket(shard).cloned()
    }

    /// All sockets of a listener.
    pub fn group(&self, listener: u32) -> Option<Arc<ListenGroup>> {
        self.groups().get(&listener).cloned()
    }

    /// Forgets a listener. Its sockets close when the last borrower has dropped its `Arc`, which may be now.
    pub fn remove(&self, listener: u32) -> Option<Arc<ListenGroup>> {
        self.groups().remove(&listener)
    }

    /// Steers new connections of every listener to the shards in `live`; see [`ListenGroup::steer`]. Tries
    /// all and returns those that failed.
    pub fn steer_all(&self, live: u64) -> Vec<(u32, io::Error)> {
        self.live.store(live, Ordering::Relaxed);
        let groups: Vec<_> = self.groups().iter().map(|(slot, group)| (*slot, group.clone())).collect();
        groups.into_iter().filter_map(|(slot, group)| Some((slot, group.steer(live).err()?))).collect()
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<ListenGroup>>> {
        // Every change of the map is one call that leaves it whole, so a panic elsewhere cannot have torn it.
        self.groups.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
