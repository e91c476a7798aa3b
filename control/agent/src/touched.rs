//! What live traffic the objects of a configuration have, read from the shards' counters.

use crate::clock::Clock;
use config::{Object, Running, Service};
use link::SlotOutOfBounds;
use link::counters::{CounterPages, EndpointCounter, PoolCounter, ShardCounter};
use policy::generation::Address;
use policy::http::{Tallied, Tally};
use policy::{EndpointSlot, PoolId, PoolSlot};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The counters of all shards, one page each.
#[derive(Clone, Debug)]
pub struct Counted {
    pub pages: Arc<[Arc<CounterPages>]>,
    /// The one by which shards count.
    pub clock: Clock,
}

impl Counted {
    pub fn shard(&self, counter: ShardCounter) -> u64 {
        self.pages.iter().map(|page| page.shard(counter)).sum()
    }

    pub fn pool(&self, slot: PoolSlot, counter: PoolCounter) -> u64 {
        self.pages.iter().map(|page| page.pool(slot.0, counter)).sum()
    }

    pub fn pool_closed(&self, slot: PoolSlot, reason: usize) -> u64 {
        self.pages.iter().map(|page| page.pool_closed(slot.0, reason)).sum()
    }

    pub fn pool_ended(&self, slot: PoolSlot, reason: usize) -> u64 {
        self.pages.iter().map(|page| page.pool_ended(slot.0, reason)).sum()
    }

    pub fn endpoint(&self, slot: EndpointSlot, counter: EndpointCounter) -> u64 {
        self.pages.iter().map(|page| page.endpoint(slot.0, counter)).sum()
    }

    /// Makes rows for new slots exist on every page.
    pub fn make_room(
        &self,
        pools: impl Iterator<Item = PoolSlot> + Clone,
        endpoints: impl Iterator<Item = EndpointSlot> + Clone,
    ) -> Result<(), String> {
        self.for_each(pools, endpoints, CounterPages::ensure_pool, CounterPages::ensure_endpoint)
    }

    /// Whether [`Counted::make_room`] could.
    pub fn has_room(
        &self,
        pools: impl Iterator<Item = PoolSlot> + Clone,
        endpoints: impl Iterator<Item = EndpointSlot> + Clone,
    ) -> Result<(), String> {
        self.for_each(pools, endpoints, CounterPages::may_have_pool, CounterPages::may_have_endpoint)
    }

    fn for_each(
        &self,
        pools: impl Iterator<Item = PoolSlot> + Clone,
        endpoints: impl Iterator<Item = EndpointSlot> + Clone,
        with_pool: impl Fn(&CounterPages, u32) -> Result<(), SlotOutOfBounds>,
        with_endpoint: impl Fn(&CounterPages, u32) -> Result<(), SlotOutOfBounds>,
    ) -> Result<(), String> {
        for page in self.pages.iter() {
            for pool in pools.clone() {
                with_pool(page, pool.0).map_err(|error| format!("there are too many pools: {error}"))?;
            }
            for endpoint in endpoints.clone() {
                with_endpoint(page, endpoint.0).map_err(|error| format!("there are too many backends: {error}"))?;
            }
        }
        Ok(())
    }

    /// Counts by the objects of this configuration.
    pub fn over<'a>(&'a self, running: &'a Running) -> Touched<'a> {
        Touched { counted: self, running, endpoints: RefCell::default() }
    }
}

/// As [`Counted`], by the names that a plan uses.
pub struct Touched<'a> {
    counted: &'a Counted,
    running: &'a Running,
    /// Backends of the groups that were asked for, made when first asked.
    endpoints: RefCell<HashMap<(PoolId, Arc<str>), ByAddress>>,
}

/// Live connections that a change concerns. `None`: nothing is counted for it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Concerned {
    pub connections: Option<u64>,
    /// Those of them that carry a stream and no requests.
    pub tunnels: Option<u64>,
}

/// Backends of one group.
type ByAddress = HashMap<Address, EndpointSlot>;

/// Where the figures of an object stand.
enum Row {
    Shards,
    Pool(PoolSlot),
    Endpoint(EndpointSlot),
}

impl Touched<'_> {
    /// What this object has open now; nothing, if it has none of its own, or is not there yet.
    pub fn of(&self, pool: Option<&str>, object: &Object) -> Concerned {
        let is_http = pool.is_some_and(|pool| self.is_http(pool));
        let (connections, upgraded) = match self.row(pool, object) {
            None => return Concerned::default(),
            Some(Row::Shards) => (self.counted.shard(ShardCounter::Connections), None),
            Some(Row::Pool(slot)) => {
                let count = |counter| self.counted.pool(slot, counter);
                (count(PoolCounter::Connections), Some(count(PoolCounter::Tunnels)))
            }
            Some(Row::Endpoint(slot)) => {
                let count = |counter| self.counted.endpoint(slot, counter);
                (count(EndpointCounter::Connections), Some(count(EndpointCounter::Tunnels)))
            }
        };
        let tunnels = upgraded.map(|upgraded| if is_http { upgraded } else { connections });
        Concerned { connections: Some(connections), tunnels }
    }

    /// Requests that this object has had until now; `None`: as [`Touched::of`], and where there is no HTTP.
    pub fn requests(&self, pool: Option<&str>, object: &Object) -> Option<u64> {
        let pool = pool.filter(|pool| self.is_http(pool))?;
        if let Object::Rule { id } = object {
            return Some(self.tally(pool, id)?.requests);
        }
        match self.row(Some(pool), object)? {
            Row::Shards => None,
            Row::Pool(slot) => Some(self.counted.pool(slot, PoolCounter::Requests)),
            Row::Endpoint(slot) => Some(self.counted.endpoint(slot, EndpointCounter::Requests)),
        }
    }

    /// How long ago the rule has met a request, to the minute. `None`: it has met none, or is none of what runs.
    pub fn rule_met(&self, pool: &str, rule: &str) -> Option<Duration> {
        Some(self.counted.clock.now().since(self.tally(pool, rule)?.last?))
    }

    fn tally(&self, pool: &str, rule: &str) -> Option<Tallied> {
        let running = self.running.pools.get(&PoolId::new(pool))?;
        running.rule(rule)?.tally.as_ref().map(Tally::read)
    }

    fn is_http(&self, pool: &str) -> bool {
        let pool = self.running.config.pools.get(&PoolId::new(pool));
        pool.is_some_and(|pool| pool.create.service == Service::Http)
    }

    fn row(&self, pool: Option<&str>, object: &Object) -> Option<Row> {
        let Some(pool) = pool else {
            return matches!(object, Object::Appliance).then_some(Row::Shards);
        };
        let (id, running) = self.running.pools.find_entry(&PoolId::new(pool))?;
        match object {
            Object::Appliance => Some(Row::Shards),
            Object::Pool | Object::Group { .. } => Some(Row::Pool(running.generation.slot)),
            // Nobody counts by the address that connections came in by, and none is a rule's or a list's.
            Object::Listen { .. } | Object::Rule { .. } | Object::List { .. } => None,
            Object::Backend { group, address, .. } => {
                let mut groups = self.endpoints.borrow_mut();
                let endpoints = groups.entry((id.clone(), group.clone())).or_insert_with(|| {
                    let group = running.group(group).into_iter();
                    let all = group.flat_map(|group| group.endpoints.iter());
                    all.map(|endpoint| (endpoint.address.clone(), endpoint.slot)).collect()
                });
                Some(Row::Endpoint(*endpoints.get(address)?))
            }
        }
    }
}
