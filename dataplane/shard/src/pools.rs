//! What a shard knows of a pool and of an endpoint beyond any generation: it belongs to their identity and
//! goes on from one generation to the next.

use crate::conns::ConnId;
use crate::ring::socket::SocketAddress;
use policy::balance::Picker;
use policy::generation::{Address, Endpoint, Group, Health, PoolGeneration, Timeouts};
use policy::ids::{EndpointSlot, PoolSlot, ShardId};
use policy::queue::Line;
use std::net::SocketAddr;
use std::sync::Arc;

/// One pool on one shard.
pub struct Pool {
    pub picker: Picker,
    /// Connections that wait for a permit of the pool or for a backend, in the order in which they came.
    pub line: Line<ConnId>,
    /// Front connections that were not ended yet.
    pub connections: u32,
    /// Of these, the ones that have no tunnel yet.
    pub undecided: u32,
    /// Bytes held for data between the two sides.
    pub buffered: u64,
    /// This shard's part of `create.memory`.
    pub memory: u64,
    /// Endpoints that [`Picker`] takes for full since their shared cap refused us. Each has noted us as
    /// waiting, so we are rung when one may be free.
    pub full: Vec<EndpointSlot>,
    /// Those of the newest generation.
    timeouts: Option<Timeouts>,
    /// Nothing leads here any more; goes with the last connection.
    pub forgotten: bool,
}

impl Pool {
    pub fn new(shard: ShardId) -> Pool {
        Pool {
            picker: Picker::of_shard(shard),
            line: Line::new(0),
            connections: 0,
            undecided: 0,
            buffered: 0,
            memory: 0,
            full: Vec::new(),
            timeouts: None,
            forgotten: false,
        }
    }

    /// Takes over what a new generation says, `old` being the group that was current until now, if there was one. What
    /// belongs to identities stays. `true`: the time-outs have changed.
    pub fn adopt(&mut self, old: Option<&Group>, pool: &PoolGeneration, endpoints: &[Option<EndpointRow>]) -> bool {
        let shards = pool.shards.len().max(1) as u32;
        self.memory = pool.limits.memory / u64::from(shards);
        self.line.set_waiting_max(pool.group.queue.div_ceil(shards));
        match old {
            Some(old) => self.picker.adopt_change(old, &pool.group),
            None => self.picker.adopt(&pool.group),
        }
        for endpoint in changed(old, &pool.group) {
            if let Some(Some(row)) = endpoints.get(endpoint.slot.ix()) {
                self.picker.set_health(endpoint.slot, row.health);
                self.picker.set_resolved(endpoint.slot, row.reachable(endpoint));
            }
        }
        self.full.retain(|slot| find(&pool.group, *slot).is_some());
        self.timeouts.replace(pool.policy.timeouts) != Some(pool.policy.timeouts)
    }
}

/// Endpoints of `new` that are not the same objects in `old`. Both are sorted by slot.
pub fn changed<'a>(old: Option<&'a Group>, new: &'a Group) -> impl Iterator<Item = &'a Arc<Endpoint>> {
    let mut old = old.map_or(&[][..], |old| &old.endpoints).iter().peekable();
    new.endpoints.iter().filter(move |endpoint| {
        // Mostly the very next one, which then need not be read.
        if old.next_if(|old| Arc::ptr_eq(old, endpoint)).is_some() {
            return false;
        }
        while old.next_if(|old| old.slot < endpoint.slot).is_some() {}
        old.next_if(|old| Arc::ptr_eq(old, endpoint)).is_none()
    })
}

/// The endpoint of this slot, if the group has it.
pub fn find(group: &Group, slot: EndpointSlot) -> Option<&Arc<Endpoint>> {
    let index = group.endpoints.binary_search_by_key(&slot, |endpoint| endpoint.slot).ok()?;
    Some(&group.endpoints[index])
}

/// One endpoint on one shard: what control told of it, and where the next attempt goes.
pub struct EndpointRow {
    /// The pool that names it. `None`: control told of it before a generation did.
    pub pool: Option<PoolSlot>,
    pub health: Health,
    /// Of a name; empty until it has resolved.
    pub addresses: Arc<[SocketAddr]>,
    /// Counts attempts, so that all addresses of a name get their share.
    pub turn: usize,
}

impl EndpointRow {
    pub fn new() -> EndpointRow {
        EndpointRow { pool: None, health: Health::Unproven, addresses: Arc::new([]), turn: 0 }
    }

    /// Whether there is an address to connect to.
    pub fn reachable(&self, endpoint: &Endpoint) -> bool {
        match endpoint.address {
            Address::Name { .. } => !self.addresses.is_empty(),
            Address::Ip(_) | Address::Unix(_) => true,
        }
    }

    /// Where the next attempt goes. `None`: a name without addresses, or a path that is too long for the system.
    pub fn next_address(&mut self, endpoint: &Endpoint) -> Option<SocketAddress> {
        match &endpoint.address {
            Address::Ip(address) => Some((*address).into()),
            Address::Unix(path) => SocketAddress::unix(path).ok(),
            Address::Name { .. } => {
                self.turn = self.turn.wrapping_add(1);
                let turn = self.turn.checked_rem(self.addresses.len())?;
                Some(self.addresses[turn].into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::generation::Balance;
    use std::time::Duration;

    fn endpoint(slot: u32) -> Arc<Endpoint> {
        let address = Address::Ip("127.0.0.1:1".parse().unwrap());
        let (slot, id) = (EndpointSlot(slot), format!("b{slot}").into());
        Arc::new(Endpoint { slot, id, address, weight: 1, backup: false, drain: false, max_connections: None })
    }

    fn group(endpoints: &[&Arc<Endpoint>]) -> Group {
        Group {
            id: "main".into(),
            balance: Balance::RoundRobin,
            endpoints: endpoints.iter().map(|endpoint| Arc::clone(endpoint)).collect(),
            attempts: 1,
            queue: 0,
            queue_wait: Duration::ZERO,
            health: None,
        }
    }

    #[test]
    fn only_what_differs_is_looked_at() {
        let [a, b, c, d] = [1, 2, 3, 4].map(endpoint);
        let b_again = endpoint(2);
        let check = |old: Option<&[&Arc<Endpoint>]>, new: &[&Arc<Endpoint>], expected: &[u32]| {
            let (old, new) = (old.map(group), group(new));
            let found: Vec<u32> = changed(old.as_ref(), &new).map(|endpoint| endpoint.slot.0).collect();
            assert_eq!(found, expected);
        };
        check(None, &[&a, &b], &[1, 2]);
        check(Some(&[&a, &b, &c]), &[&a, &b, &c], &[]);
        check(Some(&[&a, &b, &c]), &[&a, &b_again, &c], &[2]);
        check(Some(&[&a, &c, &d]), &[&a, &b, &c, &d], &[2]);
        check(Some(&[&a, &b, &c, &d]), &[&d], &[]);
        check(Some(&[&b, &c]), &[&a, &b, &c, &d], &[1, 4]);
        check(Some(&[]), &[&a], &[1]);
    }
}
