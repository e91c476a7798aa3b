//! What every live shard runs, or is about to.
//!
//! Owns the newest root by pool slot and says what a change would bring to it and take from it. Knows neither
//! shards nor jobs, beyond the number that goes with a change.

use super::lines::Touches;
use crate::generation::{Change, EndpointState, Listen, PoolGeneration, Snapshot};
use crate::ids::{EndpointSlot, GenerationId, JobId, ListenerSlot, PartId, PoolSlot, RootVersion, ShardSet};
use crate::reload::{Committed, Part};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

#[derive(Default)]
pub struct Root {
    version: RootVersion,
    generation: Option<GenerationId>,
    committed: Committed,
    pools: BTreeMap<PoolSlot, Arc<PoolGeneration>>,
    /// All that the pools name.
    endpoints: HashSet<EndpointSlot>,
}

/// What a change has taken out of the root.
pub struct Replaced {
    /// Roots, each with the bytes that its successor does not share.
    pub roots: Vec<(Arc<PoolGeneration>, u64)>,
    pub parts: Vec<Part>,
    pub listeners: Vec<(ListenerSlot, ShardSet)>,
}

impl Root {
    pub fn new(
        version: RootVersion,
        generation: Option<GenerationId>,
        committed: Committed,
        pools: impl IntoIterator<Item = Arc<PoolGeneration>>,
    ) -> Root {
        let pools: BTreeMap<_, _> = pools.into_iter().map(|pool| (pool.slot, pool)).collect();
        let endpoints = pools.values().flat_map(|pool| pool.endpoints());
        let endpoints = endpoints.map(|endpoint| endpoint.slot).collect();
        Root { version, generation, committed, pools, endpoints }
    }

    pub fn version(&self) -> RootVersion {
        self.version
    }

    pub fn generation(&self) -> Option<GenerationId> {
        self.generation
    }

    pub fn pool(&self, slot: PoolSlot) -> Option<&Arc<PoolGeneration>> {
        self.pools.get(&slot)
    }

    pub fn pools(&self) -> impl Iterator<Item = &Arc<PoolGeneration>> {
        self.pools.values()
    }

    pub fn names_endpoint(&self, endpoint: EndpointSlot) -> bool {
        self.endpoints.contains(&endpoint)
    }

    pub fn names_listener(&self, listener: ListenerSlot) -> bool {
        self.pools.values().any(|pool| pool.listeners.contains(&listener))
    }

    /// Whether a part runs.
    pub fn runs(&self, part: &Part) -> bool {
        self.runs_part(part.pool(), part.id())
    }

    fn runs_part(&self, pool: PoolSlot, part: PartId) -> bool {
        self.pools.get(&pool).is_some_and(|pool| [pool.part, pool.policy.part].contains(&part))
    }

    /// Bytes that would be superseded if the pool were replaced as a whole.
    pub fn bytes(&self, pool: PoolSlot) -> u64 {
        self.pools.get(&pool).map_or(0, |pool| pool.bytes + pool.policy.bytes)
    }

    /// Addresses, and the shards that listen on each.
    pub fn listeners(&self) -> impl Iterator<Item = Listen> {
        self.pools.values().flat_map(|pool| {
            let (slot, shards) = (pool.slot, pool.shards);
            pool.listeners.iter().map(move |listener| Listen { listener: *listener, pool: slot, shards })
        })
    }

    /// The whole of it, for a shard that comes in.
    pub fn snapshot(&self, states: &BTreeMap<EndpointSlot, EndpointState>) -> Snapshot {
        Snapshot {
            version: self.version,
            generation: self.generation,
            committed: self.committed.clone(),
            pools: self.pools.values().cloned().collect(),
            listen: self.listeners().collect(),
            endpoints: states.values().cloned().collect(),
        }
    }

    /// The change is in force.
    pub fn replace(&mut self, job: JobId, change: &Change) -> Replaced {
        let led = self.meanings(change);
        let leave = change.leave.iter().map(|listener| (*listener, self.pools[&led[listener]].shards));
        let listeners = leave.collect();
        let (mut parts, mut roots) = (Vec::new(), Vec::new());
        for (slot, new) in &change.pools {
            let old = match new {
                Some(new) => self.pools.insert(*slot, new.clone()),
                None => self.pools.remove(slot),
            };
            let Some(old) = old else { continue };
            let policy = Part::Policy(old.policy.clone());
            let replaced = new.as_ref().map_or(old.bytes, |new| new.replaced_bytes);
            roots.push((old.clone(), replaced));
            parts.push(Part::Pool(old));
            if !self.runs(&policy) {
                parts.push(policy);
            }
        }
        for (_, endpoint) in &change.endpoints_come {
            self.endpoints.insert(*endpoint);
        }
        for (_, endpoint) in &change.endpoints_gone {
            self.endpoints.remove(endpoint);
        }
        self.version = RootVersion(self.version.0 + 1);
        self.committed.push(job);
        self.generation = self.generation.max(Some(GenerationId::from(job)));
        Replaced { roots, parts, listeners }
    }

    /// Parts of a change that do not run: all its roots, and the policies that it does not take over.
    pub fn new_parts(&self, change: &Change) -> Vec<Part> {
        let pools = change.pools.iter().filter_map(|(_, new)| new.as_ref());
        let parts = pools.flat_map(|new| [Part::Pool(new.clone()), Part::Policy(new.policy.clone())]);
        parts.filter(|part| !self.runs(part)).collect()
    }

    /// Addresses of a change whose sockets are new; the others listen already, for another pool.
    pub fn new_listeners(&self, change: &Change) -> Vec<Listen> {
        let led = self.meanings(change);
        change.listen.iter().filter(|listen| !led.contains_key(&listen.listener)).cloned().collect()
    }

    /// The compiler's side of the hand-over: what it must have kept to, or everything that follows is wrong.
    pub fn assert_fits(&self, job: JobId, change: &Change, touches: &Touches) {
        for (slot, new) in &change.pools {
            assert!(touches.pools.contains(slot), "job {job} changes pool {slot}, which it does not touch");
            let Some(new) = new else { continue };
            assert_eq!(new.slot, *slot, "job {job}: a pool in the slot of another");
            assert!(!self.runs_part(*slot, new.part), "job {job}: pool {slot} does not change");
        }
        let (before, after) =
            (self.meanings(change), meanings(change.pools.iter().filter_map(|(_, new)| new.as_ref())));
        let comes = after.iter().filter(|(listener, to)| before.get(*listener) != Some(to));
        let comes: BTreeSet<ListenerSlot> = comes.map(|(listener, _)| *listener).collect();
        let goes: BTreeSet<ListenerSlot> =
            before.keys().filter(|listener| !after.contains_key(*listener)).copied().collect();
        let listen = change.listen.iter().map(|listen| listen.listener).collect();
        assert_eq!(comes, listen, "job {job}: addresses that come");
        assert_eq!(goes, change.leave.iter().copied().collect(), "job {job}: addresses that go");
        for Listen { listener, shards, .. } in &change.listen {
            assert!(
                touches.listeners.contains(listener),
                "job {job} brings listener {listener}, which it does not touch"
            );
            let was = before.get(listener).map(|from| self.pools[from].shards);
            assert!(was.is_none_or(|was| was == *shards), "job {job}: listener {listener} changes its shards");
        }
        for (pool, endpoint) in change.endpoints_come.iter().chain(&change.endpoints_gone) {
            let changed = change.pools.binary_search_by_key(pool, |(slot, _)| *slot).is_ok();
            assert!(changed, "job {job}: endpoint {endpoint} of pool {pool}, which it does not change");
        }
        let named = |(_, endpoint): &(PoolSlot, EndpointSlot)| self.names_endpoint(*endpoint);
        assert!(!change.endpoints_come.iter().any(named), "job {job}: an endpoint that comes and is there");
        assert!(change.endpoints_gone.iter().all(named), "job {job}: an endpoint that goes and is not there");
    }

    /// To which pool each address leads now, of the pools that a change names.
    fn meanings(&self, change: &Change) -> BTreeMap<ListenerSlot, PoolSlot> {
        meanings(change.pools.iter().filter_map(|(slot, _)| self.pools.get(slot)))
    }

    pub fn check_invariants(&self) {
        let named = self.pools.values().map(|pool| pool.endpoints().count()).sum::<usize>();
        assert_eq!(self.endpoints.len(), named, "an endpoint belongs to one pool");
        assert!(self.pools.iter().all(|(slot, pool)| pool.slot == *slot));
    }
}

fn meanings<'a>(pools: impl Iterator<Item = &'a Arc<PoolGeneration>>) -> BTreeMap<ListenerSlot, PoolSlot> {
    pools.flat_map(|pool| pool.listeners.iter().map(|listener| (*listener, pool.slot))).collect()
}
