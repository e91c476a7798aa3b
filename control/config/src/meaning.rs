//! What runs, as hashes of its meaning, one for each pool.
//!
//! Owns the way from slots back to names. What is meant and what is not, `policy::meaning` says.

use crate::document::PoolContent;
use crate::running::{Running, RunningPool};
use policy::PoolId;
use policy::generation::{Address, ContentHash};
use policy::meaning::Names;
use std::collections::BTreeMap;

impl Running {
    /// What a pool means as it runs; [`crate::Afresh::meaning`] is what it should. `None`: there is no such pool.
    ///
    /// Of a pool that is compiled: its own content says which addresses and neighbours it has, so one after the other can be
    /// asked while others change. Cost: O(pool).
    pub fn meaning(&self, id: &PoolId) -> Option<ContentHash> {
        let pool = self.pools.get(id)?;
        Some(pool.generation.meaning(&self.names(pool)))
    }

    /// What slots stand for that one pool's generation names.
    pub fn names(&self, pool: &RunningPool) -> Names {
        let RunningPool { content, generation, .. } = pool;
        let named = |id: &PoolId| Some((self.pools.get(id)?.generation.slot, id.clone()));
        let neighbours = content.sites().iter().flat_map(|(_, site)| site.pools.keys());
        let at = |address: &Address| Some((self.listeners.get(address)?, address.clone()));
        let addresses = content.addresses().filter_map(at);
        let leads_here = content.addresses().filter_map(|address| self.listeners.get(address));
        Names {
            pools: neighbours.chain([&content.id]).filter_map(named).collect(),
            addresses: addresses.map(|(listen, address)| (listen.listener, address)).collect(),
            leads: leads_here.filter(|listen| listen.pool == generation.slot).cloned().collect(),
        }
    }

    /// All pools. Cost: O(n).
    pub fn meanings(&self) -> BTreeMap<PoolId, ContentHash> {
        self.pools.iter().map(|(id, pool)| (id.clone(), pool.generation.meaning(&self.names(pool)))).collect()
    }
}

impl PoolContent {
    /// All that clients come to it by, whichever pool they lead to. None twice.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.create.listen.iter()
    }
}
