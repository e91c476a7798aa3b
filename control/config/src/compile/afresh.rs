//! A pool compiled as if nothing had been before.
//!
//! Owns two ways to it: into slots of its own, only to say what comes of it ([`Afresh`]); and into the slots of what runs, to
//! be put in force in its place ([`recompile`]).

use super::{Compiled, Compiler};
use crate::document::{Config, Pool};
use crate::plan::Live;
use crate::running::{Running, RunningPool};
use crate::slots::Slots;
use policy::generation::{ContentHash, Endpoint, Groups};
use policy::meaning::Names;
use policy::{EndpointSlot, GenerationId, JobId, PoolId, PoolSlot, ShardSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Says what pools mean when they are compiled from nothing.
#[derive(Debug)]
pub struct Afresh {
    nothing: Running,
    shards: ShardSet,
}

impl Afresh {
    /// `config`: any of the process's; nothing of its pools and lists is kept. `shards`: all of the process.
    pub fn new(config: &Config, shards: ShardSet) -> Afresh {
        Afresh { nothing: Running::nothing(config), shards }
    }

    /// What [`Running::meaning`] is of a pool that runs as it should. Nothing but the hash outlives the call: neither slots nor
    /// what was compiled. Cost: O(pool) of time, and of memory for as long as it takes; the content itself is shared.
    pub fn meaning(&self, pool: &Arc<Pool>) -> ContentHash {
        let mut slots = Slots::default();
        let mut compiler = Compiler::new(&self.nothing, GenerationId(0), self.shards, &mut slots);
        compiler.pool(pool, None);
        let Compiler { pools, listeners, .. } = compiler;
        let Some((_, Some(made))) = pools.into_iter().next() else { unreachable!("one pool was compiled") };
        let generation = made.generation;
        let neighbours = pool.sites().iter().flat_map(|(_, site)| site.pools.keys());
        let ids = neighbours.chain([&pool.id]).map(|id| (slots.name_pool(id), id.clone()));
        let names = Names {
            pools: ids.collect(),
            addresses: pool.addresses().map(|address| (slots.name_listener(address).0, address.clone())).collect(),
            leads: listeners.into_iter().map(|(_, listen)| listen).collect(),
        };
        generation.meaning(&names)
    }
}

/// As [`super::compile`], but of the pools in `afresh` nothing is taken over that was compiled before: they are compiled from
/// nothing, also where the document says what it said. Slots stay, and with them all state of backends; addresses stay as
/// they are, with their sockets.
pub fn recompile(
    running: &Running,
    new: &Arc<Config>,
    live: Live,
    job: JobId,
    shards: ShardSet,
    slots: &mut Slots,
    afresh: &BTreeSet<PoolId>,
) -> Compiled {
    super::compiled(running, new, live, job, shards, slots, afresh)
}

impl Compiler<'_> {
    /// Of a pool that was compiled from nothing: which endpoints and groups come and go, held against what runs.
    pub(super) fn told_against(&mut self, old: &RunningPool, slot: PoolSlot, pool: &Pool, groups: &Groups) {
        let ran: BTreeMap<EndpointSlot, &Endpoint> =
            old.generation.endpoints().map(|endpoint| (endpoint.slot, &**endpoint)).collect();
        self.change.endpoints_come.retain(|(of, endpoint)| *of != slot || !ran.contains_key(endpoint));
        self.endpoints.retain(|(of, new)| *of != slot || ran.get(&new.slot) != Some(&&**new));
        let runs: BTreeSet<EndpointSlot> =
            groups.values().flat_map(|group| group.endpoints.iter().map(|endpoint| endpoint.slot)).collect();
        let gone = ran.keys().filter(|endpoint| !runs.contains(endpoint));
        self.change.endpoints_gone.extend(gone.map(|endpoint| (slot, *endpoint)));
        let groups_gone = old.group_slots.keys().filter(|id| pool.groups.get(&***id).is_none());
        self.groups_gone.extend(groups_gone.map(|id| (pool.id.clone(), id.clone())));
    }
}
