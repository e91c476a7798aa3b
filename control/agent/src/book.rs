//! Which identities have which slots, as far as control must know: for claims, logs, status and cleaning up.
//!
//! The slots themselves are given out by the compiler thread. A slot stands here from the moment a compiled
//! change names it until nobody uses it any more.

use crate::log;
use crate::publish::{Leaving, ListenerView};
use api::status::ListenerState;
use config::{Compiled, Running, RunningPool};
use policy::generation::{Address, Change, Endpoint, Listen};
use policy::reload::rollout::Touches;
use policy::{EndpointSlot, JobId, ListenerSlot, PoolId, PoolSlot};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A claim of a pool by its name. Rollout's lines are by slot, and a pool may have none yet, so each name
/// that jobs claim gets a number beyond all slots while they do.
const STAND_INS: u32 = 1 << 31;

#[derive(Debug, Default)]
pub struct Book {
    pools: HashMap<PoolId, PoolSlot>,
    pool_names: HashMap<PoolSlot, PoolId>,
    endpoints: HashMap<EndpointSlot, EndpointEntry>,
    listeners: BTreeMap<ListenerSlot, (Address, ListenerView)>,
    pub leaving: Arc<BTreeMap<EndpointSlot, Leaving>>,
    stand_ins: HashMap<PoolId, PoolSlot>,
    free_stand_ins: BTreeSet<PoolSlot>,
}

#[derive(Clone, Debug)]
pub struct EndpointEntry {
    pub pool: PoolId,
    pub pool_slot: PoolSlot,
    pub group: Arc<str>,
    pub endpoint: Arc<Endpoint>,
}

/// Slots that a change brought into the book.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct New {
    pub pools: Vec<PoolSlot>,
    pub endpoints: Vec<EndpointSlot>,
    pub listeners: Vec<ListenerSlot>,
}

impl New {
    pub fn holds(&self, slot: log::Slot) -> bool {
        match slot {
            log::Slot::Pool(pool) => self.pools.contains(&pool),
            // Sorted, as the change has them.
            log::Slot::Endpoint(endpoint) => self.endpoints.binary_search(&endpoint).is_ok(),
        }
    }
}

impl Book {
    /// A change was compiled: enters what it names. Answers what was not known before.
    pub fn enter(&mut self, compiled: &Compiled) -> New {
        let mut new = New::default();
        let change = &compiled.change;
        for (slot, pool) in &change.pools {
            let Some(pool) = pool else { continue };
            if self.pool_names.insert(*slot, pool.id.clone()).is_none() {
                new.pools.push(*slot);
            }
            self.pools.insert(pool.id.clone(), *slot);
        }
        for entry in come(change) {
            let slot = entry.endpoint.slot;
            if self.endpoints.insert(slot, entry).is_none() {
                new.endpoints.push(slot);
            }
        }
        for bind in &compiled.bind {
            let view = ListenerView {
                pool: bind.pool.clone(),
                address: bind.address.to_string(),
                state: ListenerState::Bound,
            };
            if self.listeners.insert(bind.listener, (bind.address.clone(), view)).is_none() {
                new.listeners.push(bind.listener);
            }
        }
        new.endpoints.sort_unstable();
        new
    }

    /// The change is in force: endpoints are as it says, and what it does not name any more is leaving.
    pub fn applied(&mut self, job: JobId, before: &Running, compiled: &Compiled) -> Vec<EndpointSlot> {
        let leaving = Arc::make_mut(&mut self.leaving);
        for (_, slot) in &compiled.change.endpoints_come {
            leaving.remove(slot);
        }
        for (pool_slot, endpoint) in &compiled.endpoints {
            if let Some(entry) = self.endpoints.get_mut(&endpoint.slot) {
                entry.endpoint = Arc::clone(endpoint);
            } else {
                debug_assert!(false, "endpoint {} of pool {pool_slot} was never entered", endpoint.slot);
            }
        }
        let mut gone = Vec::new();
        for (_, slot) in &compiled.change.endpoints_gone {
            let Some(entry) = self.endpoints.get(slot) else { continue };
            let endpoint = &entry.endpoint;
            let left = Leaving {
                pool: entry.pool.clone(),
                group: Arc::clone(&entry.group),
                id: Arc::clone(&endpoint.id),
                address: endpoint.address.to_string(),
                job,
                weight: endpoint.weight,
                backup: endpoint.backup,
                drain: endpoint.drain,
                max_connections: endpoint.max_connections,
            };
            leaving.insert(*slot, left);
            gone.push(*slot);
        }
        debug_assert!(
            compiled.change.pools.iter().all(|(slot, pool)| {
                pool.is_some() || before.pools.values().any(|pool| pool.generation.slot == *slot)
            })
        );
        gone
    }

    /// What these slots are called in logs.
    pub fn names(&self, compiled: &Compiled) -> Vec<(log::Slot, Arc<str>)> {
        let pools = compiled.change.pools.iter().filter_map(|(slot, pool)| {
            let pool = pool.as_ref()?;
            Some((log::Slot::Pool(*slot), Arc::clone(&pool.id.0)))
        });
        let endpoints = compiled.endpoints.iter();
        let endpoints = endpoints.map(|(_, endpoint)| (log::Slot::Endpoint(endpoint.slot), Arc::clone(&endpoint.id)));
        pools.chain(endpoints).collect()
    }

    /// The present name of a slot that is in use.
    pub fn name(&self, slot: log::Slot) -> Option<Arc<str>> {
        match slot {
            log::Slot::Pool(pool) => Some(Arc::clone(&self.pool_names.get(&pool)?.0)),
            log::Slot::Endpoint(endpoint) => Some(Arc::clone(&self.endpoints.get(&endpoint)?.endpoint.id)),
        }
    }

    pub fn pool_name(&self, slot: PoolSlot) -> Option<&PoolId> {
        self.pool_names.get(&slot)
    }

    pub fn endpoint(&self, slot: EndpointSlot) -> Option<&EndpointEntry> {
        self.endpoints.get(&slot)
    }

    pub fn knows_pool(&self, slot: PoolSlot) -> bool {
        self.pool_names.contains_key(&slot)
    }

    pub fn knows_endpoint(&self, slot: EndpointSlot) -> bool {
        self.endpoints.contains_key(&slot)
    }

    pub fn knows_listener(&self, slot: ListenerSlot) -> bool {
        self.listeners.contains_key(&slot)
    }

    pub fn forget_pool(&mut self, slot: PoolSlot) {
        if let Some(id) = self.pool_names.remove(&slot)
            && self.pools.get(&id) == Some(&slot)
        {
            self.pools.remove(&id);
        }
    }

    /// Answers what the endpoint was, if it was leaving.
    pub fn forget_endpoint(&mut self, slot: EndpointSlot) -> Option<Leaving> {
        self.endpoints.remove(&slot);
        if !self.leaving.contains_key(&slot) {
            return None;
        }
        Arc::make_mut(&mut self.leaving).remove(&slot)
    }

    pub fn forget_listener(&mut self, slot: ListenerSlot) -> Option<ListenerView> {
        self.listeners.remove(&slot).map(|(_, view)| view)
    }

    /// The address is in this state now. Answers what it is, if that is news.
    pub fn listener_is(&mut self, slot: ListenerSlot, state: ListenerState) -> Option<ListenerView> {
        let (_, view) = self.listeners.get_mut(&slot).filter(|(_, view)| view.state != state)?;
        view.state = state;
        Some(view.clone())
    }

    /// At start: every address that is known is in force.
    pub fn all_listen(&mut self) {
        self.listeners.values_mut().for_each(|(_, view)| view.state = ListenerState::Listening);
    }

    /// Addresses that are on their way in or out.
    pub fn moving(&self) -> Vec<ListenerView> {
        let views = self.listeners.values().map(|(_, view)| view);
        views.filter(|view| view.state != ListenerState::Listening).cloned().collect()
    }

    /// What the addresses of these pools mean.
    pub fn listens(&self, pools: &BTreeMap<PoolId, RunningPool>) -> BTreeMap<Address, Listen> {
        let mut listens = BTreeMap::new();
        for root in pools.values().map(|pool| &pool.generation) {
            for listener in &root.listeners {
                let Some((address, _)) = self.listeners.get(listener) else { continue };
                let listen = Listen { listener: *listener, pool: root.slot, shards: root.shards };
                listens.insert(address.clone(), listen);
            }
        }
        listens
    }

    /// What Rollout is told of claims by name: the names' stand-ins, and the slots that are known.
    pub fn touches(&mut self, claims: &BTreeSet<PoolId>) -> Touches {
        let mut pools = self.slots(claims);
        for claim in claims {
            let next = STAND_INS + self.stand_ins.len() as u32 + self.free_stand_ins.len() as u32;
            let free = &mut self.free_stand_ins;
            let stand_in = self.stand_ins.entry(claim.clone());
            let stand_in = stand_in.or_insert_with(|| free.pop_first().unwrap_or(PoolSlot(next)));
            pools.insert(*stand_in);
        }
        Touches { pools, listeners: BTreeSet::new() }
    }

    /// Slots that these pools have by now.
    pub fn slots(&self, claims: &BTreeSet<PoolId>) -> BTreeSet<PoolSlot> {
        claims.iter().filter_map(|claim| self.pools.get(claim).copied()).collect()
    }

    /// Whether it was a stand-in, which no job claims any more.
    pub fn free_stand_in(&mut self, slot: PoolSlot) -> bool {
        if slot.0 < STAND_INS {
            return false;
        }
        self.stand_ins.retain(|_, stand_in| *stand_in != slot);
        self.free_stand_ins.insert(slot);
        true
    }

    /// Everything that is in the book.
    pub fn all(&self) -> New {
        New {
            pools: self.pool_names.keys().copied().collect(),
            endpoints: self.endpoints.keys().copied().collect(),
            listeners: self.listeners.keys().copied().collect(),
        }
    }

    pub fn stand_ins(&self) -> Vec<PoolSlot> {
        self.stand_ins.values().copied().collect()
    }
}

/// Endpoints that come with a change, as its pools define them.
fn come(change: &Change) -> impl Iterator<Item = EndpointEntry> {
    change.endpoints_come.iter().filter_map(|(pool_slot, slot)| {
        let at = change.pools.binary_search_by_key(pool_slot, |(slot, _)| *slot).ok()?;
        let pool = change.pools[at].1.as_ref()?;
        let endpoints = &pool.group.endpoints;
        let endpoint = &endpoints[endpoints.binary_search_by_key(slot, |endpoint| endpoint.slot).ok()?];
        Some(EndpointEntry {
            pool: pool.id.clone(),
            pool_slot: *pool_slot,
            group: Arc::clone(&pool.group.id),
            endpoint: Arc::clone(endpoint),
        })
    })
}
