//! Which slots are given away.
//!
//! A slot that is free is given to the next identity at once, the lowest first: so a slot that is freed too
//! early meets its next owner as soon as can be.

use policy::{EndpointSlot, ListenerSlot, PoolSlot};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Slots {
    pub pools: BTreeSet<PoolSlot>,
    /// With the pool whose endpoint it is.
    pub endpoints: BTreeMap<EndpointSlot, PoolSlot>,
    pub listeners: BTreeSet<ListenerSlot>,
}

impl Slots {
    pub fn pool(&mut self) -> PoolSlot {
        let slot = (0..).map(PoolSlot).find(|slot| !self.pools.contains(slot)).expect("endless");
        self.pools.insert(slot);
        slot
    }

    pub fn endpoint(&mut self, pool: PoolSlot) -> EndpointSlot {
        let slot = (0..).map(EndpointSlot).find(|slot| !self.endpoints.contains_key(slot)).expect("endless");
        self.endpoints.insert(slot, pool);
        slot
    }

    pub fn listener(&mut self) -> ListenerSlot {
        let slot = (0..).map(ListenerSlot).find(|slot| !self.listeners.contains(slot)).expect("endless");
        self.listeners.insert(slot);
        slot
    }

    /// Endpoints of a pool whose slots are not free, named or not.
    pub fn endpoints_of(&self, pool: PoolSlot) -> impl Iterator<Item = EndpointSlot> {
        self.endpoints.iter().filter(move |(_, of)| **of == pool).map(|(slot, _)| *slot)
    }

    pub fn free_pool(&mut self, slot: PoolSlot) {
        assert!(self.pools.remove(&slot), "pool slot {slot} is freed twice");
    }

    pub fn free_endpoint(&mut self, slot: EndpointSlot) {
        assert!(self.endpoints.remove(&slot).is_some(), "endpoint slot {slot} is freed twice");
    }

    pub fn free_listener(&mut self, slot: ListenerSlot) {
        assert!(self.listeners.remove(&slot), "listener slot {slot} is freed twice");
    }
}
