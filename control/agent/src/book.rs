//! Which identities have which slots, as far as control must know: for claims, logs, status and cleaning up.
//!
//! The slots themselves are given out by the compiler thread. A slot stands here from the moment a compiled
//! change names it until nobody uses it any more, so whoever says so twice finds it gone the second time.

use crate::log;
use crate::publish::{Leaving, ListenerView};
use api::status::ListenerState;
use config::{Compiled, Running, RunningPool};
use policy::generation::{Address, Change, Endpoint, Listen};
use policy::reload::rollout::Touches;
use policy::tree::Tree;
use policy::{EndpointSlot, JobId, ListenerSlot, PoolId, PoolSlot};
use std::collections::hash_map::Entry;
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

/// Slots of every kind.
#[derive(Debug, Default)]
pub struct SlotSet {
    pub pools: Vec<PoolSlot>,
    pub endpoints: Vec<EndpointSlot>,
    pub listeners: Vec<ListenerSlot>,
}

impl SlotSet {
    /// What a change names that may not have been in use before.
    pub fn brought_by(compiled: &Compiled) -> SlotSet {
        let Change { pools, endpoints_come, .. } = &*compiled.change;
        SlotSet {
            pools: pools.iter().filter(|(_, pool)| pool.is_some()).map(|(slot, _)| *slot).collect(),
            endpoints: endpoints_come.iter().map(|(_, slot)| *slot).collect(),
            listeners: compiled.bind.iter().map(|bind| bind.listener).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.endpoints.is_empty() && self.listeners.is_empty()
    }
}

impl Book {
    /// A change was compiled: enters what it names. Answers what those slots are called in logs that were not
    /// known before.
    pub fn enter(&mut self, compiled: &Compiled) -> Vec<(log::Slot, Arc<str>)> {
        let mut names = Vec::new();
        let change = &compiled.change;
        for (slot, pool) in &change.pools {
            let Some(pool) = pool else { continue };
            if self.pool_names.insert(*slot, pool.id.clone()).is_none() {
                names.push((log::Slot::Pool(*slot), Arc::clone(&pool.id.0)));
            }
            self.pools.insert(pool.id.clone(), *slot);
        }
        for entry in come(compiled) {
            let slot = entry.endpoint.slot;
            // One that is leaving stays what it is until the change is in force.
            if let Entry::Vacant(vacant) = self.endpoints.entry(slot) {
                names.push((log::Slot::Endpoint(slot), Arc::clone(&entry.endpoint.id)));
                vacant.insert(entry);
            }
        }
        for bind in &compiled.bind {
            let view = ListenerView {
                pool: bind.pool.clone(),
                address: bind.address.to_string(),
                state: ListenerState::Bound,
            };
            self.listeners.insert(bind.listener, (bind.address.clone(), view));
        }
        names
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

    /// `false`: it was forgotten before. So with the others.
    pub fn forget_pool(&mut self, slot: PoolSlot) -> bool {
        let Some(id) = self.pool_names.remove(&slot) else { return false };
        if self.pools.get(&id) == Some(&slot) {
            self.pools.remove(&id);
        }
        true
    }

    pub fn forget_endpoint(&mut self, slot: EndpointSlot) -> bool {
        self.endpoints.remove(&slot).is_some()
    }

    pub fn forget_listener(&mut self, slot: ListenerSlot) -> bool {
        self.listeners.remove(&slot).is_some()
    }

    /// Answers what the endpoint was, if it was leaving.
    pub fn has_left(&mut self, slot: EndpointSlot) -> Option<Leaving> {
        if !self.leaving.contains_key(&slot) {
            return None;
        }
        Arc::make_mut(&mut self.leaving).remove(&slot)
    }

    pub fn listener(&self, slot: ListenerSlot) -> Option<&ListenerView> {
        self.listeners.get(&slot).map(|(_, view)| view)
    }

    /// The address is in this state now. Answers what it is, if that is news.
    pub fn listener_is(&mut self, slot: ListenerSlot, state: ListenerState) -> Option<ListenerView> {
        let (_, view) = self.listeners.get_mut(&slot).filter(|(_, view)| view.state != state)?;
        view.state = state;
        Some(view.clone())
    }

    /// The address is in force and leads to this pool. Answers what it is, if that is news.
    pub fn listener_leads(&mut self, listen: &Listen) -> Option<ListenerView> {
        let pool = self.pool_names.get(&listen.pool)?;
        let (_, view) = self.listeners.get_mut(&listen.listener)?;
        if view.state == ListenerState::Listening && view.pool == *pool {
            return None;
        }
        view.state = ListenerState::Listening;
        view.pool = pool.clone();
        Some(view.clone())
    }

    /// Addresses that are on their way in or out.
    pub fn moving(&self) -> Vec<ListenerView> {
        let views = self.listeners.values().map(|(_, view)| view);
        views.filter(|view| view.state != ListenerState::Listening).cloned().collect()
    }

    /// What the addresses of these pools mean.
    pub fn listens(&self, pools: &Tree<PoolId, RunningPool>) -> BTreeMap<Address, Listen> {
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
    pub fn all(&self) -> SlotSet {
        SlotSet {
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
fn come(compiled: &Compiled) -> impl Iterator<Item = EndpointEntry> {
    let change = &compiled.change;
    let comes = |pool: PoolSlot, slot| change.endpoints_come.binary_search(&(pool, slot)).is_ok();
    let new = compiled.endpoints.iter().filter(move |(pool, endpoint)| comes(*pool, endpoint.slot));
    new.filter_map(|(pool_slot, endpoint)| {
        let at = change.pools.binary_search_by_key(pool_slot, |(slot, _)| *slot).ok()?;
        let pool = change.pools[at].1.as_ref()?;
        Some(EndpointEntry {
            pool: pool.id.clone(),
            pool_slot: *pool_slot,
            group: Arc::clone(&pool.group(endpoint.group)?.id),
            endpoint: Arc::clone(endpoint),
        })
    })
}
