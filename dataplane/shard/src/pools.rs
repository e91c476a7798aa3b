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

    /// Takes over what a new generation says. What belongs to identities stays. `true`: the time-outs have changed.
    pub fn adopt(&mut self, pool: &PoolGeneration, endpoints: &[Option<EndpointRow>]) -> bool {
        let shards = pool.shards.len().max(1) as u32;
        self.memory = pool.limits.memory / u64::from(shards);
        self.line.set_waiting_max(pool.group.queue.div_ceil(shards));
        self.picker.adopt(&pool.group);
        for endpoint in &pool.group.endpoints {
            if let Some(Some(row)) = endpoints.get(endpoint.slot.ix()) {
                self.picker.set_health(endpoint.slot, row.health);
                self.picker.set_resolved(endpoint.slot, row.reachable(endpoint));
            }
        }
        self.full.retain(|slot| find(&pool.group, *slot).is_some());
        self.timeouts.replace(pool.policy.timeouts) != Some(pool.policy.timeouts)
    }
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
