//! What a shard knows of a pool and of an endpoint beyond any generation: it belongs to their identity and
//! goes on from one generation to the next.

use crate::conns::ConnId;
use crate::http::idle::Idle;
use crate::ring::socket::SocketAddress;
use policy::balance::Picker;
use policy::generation::{Address, Endpoint, Group, Groups, Health, PoolGeneration, Timeouts};
use policy::http::eject::Ejector;
use policy::http::retry::Budget;
use policy::ids::{EndpointSlot, GroupSlot, PoolSlot, ShardId};
use policy::queue::Line;
use policy::tick::Tick;
use policy::tree::{self, Difference};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// One pool on one shard.
pub struct Pool {
    /// A row stays where it is while its group is in the newest generation or anything holds it.
    rows: Vec<Option<Box<GroupRow>>>,
    /// Of `rows`.
    free: Vec<RowIx>,
    /// Rows by their groups, all that there are.
    at: HashMap<GroupSlot, RowIx>,
    /// Rows in whose line somebody waits, or that have filled endpoints noted; others may be among them.
    held_up: Vec<RowIx>,
    /// Front connections that were not ended yet.
    pub connections: u32,
    /// Of these, the ones that have no tunnel yet.
    pub undecided: u32,
    /// Requests under way on connections of other pools.
    pub guests: u32,
    /// Bytes held for data between the two sides.
    pub buffered: u64,
    /// This shard's part of `create.memory`.
    pub memory: u64,
    /// Those of the newest generation.
    timeouts: Option<Timeouts>,
    /// Nothing leads here any more; goes with the last connection and guest.
    pub forgotten: bool,
}

/// A group of a pool on this shard.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RowIx(u32);

/// One group of a pool.
pub struct GroupRow {
    slot: GroupSlot,
    pub picker: Picker,
    /// Connections that wait for a permit of the pool or for a backend, in the order in which they came.
    pub line: Line<ConnId>,
    /// Endpoints that [`Picker`] takes for full since their shared cap refused us. Each has noted us as
    /// waiting, so we are rung when one may be free.
    pub full: Vec<EndpointSlot>,
    /// Whom its answers have put out for a while; of HTTP.
    pub ejector: Ejector,
    /// Retries that it may still make; of HTTP.
    pub budget: Budget,
    /// Connections that count at one of its endpoints.
    busy: u32,
    /// The newest generation has it.
    named: bool,
}

impl GroupRow {
    fn new(slot: GroupSlot, shard: ShardId) -> GroupRow {
        GroupRow {
            slot,
            picker: Picker::of_shard(shard),
            line: Line::new(0),
            full: Vec::new(),
            ejector: Ejector::new(),
            budget: Budget::default(),
            busy: 0,
            named: true,
        }
    }

    /// A connection counts at this endpoint.
    pub fn opened(&mut self, endpoint: EndpointSlot) {
        self.busy += 1;
        self.picker.opened(endpoint);
    }

    fn adopt(&mut self, old: Option<&Group>, new: &Group, shards: u32, endpoints: &[Option<EndpointRow>]) {
        self.line.set_waiting_max(new.queue.div_ceil(shards));
        match old {
            Some(old) => self.picker.adopt_change(old, new),
            None => self.picker.adopt(new),
        }
        for endpoint in changed(old, new) {
            if let Some(Some(row)) = endpoints.get(endpoint.slot.ix()) {
                self.picker.set_health(endpoint.slot, row.health);
                self.picker.set_resolved(endpoint.slot, row.reachable(endpoint));
            }
        }
        self.full.retain(|slot| find(new, *slot).is_some());
        self.ejector.retain(|slot| find(new, slot).is_some());
    }

    /// Those whose time is over take part again. `back` is told of each.
    pub fn forgive(&mut self, now: Tick, mut back: impl FnMut(EndpointSlot)) {
        while let Some(slot) = self.ejector.returns(now) {
            self.picker.set_ejected(slot, false);
            back(slot);
        }
    }
}

impl Pool {
    pub fn new() -> Pool {
        Pool {
            rows: Vec::new(),
            free: Vec::new(),
            at: HashMap::new(),
            held_up: Vec::new(),
            connections: 0,
            undecided: 0,
            guests: 0,
            buffered: 0,
            memory: 0,
            timeouts: None,
            forgotten: false,
        }
    }

    /// Takes over what a new generation says, `old` being what was current until now, if there was one. What belongs to
    /// identities stays. Answers with connections that wait for a group that is no more. Costs what differs.
    pub fn adopt(
        &mut self,
        shard: ShardId,
        old: Option<&PoolGeneration>,
        new: &PoolGeneration,
        endpoints: &[Option<EndpointRow>],
    ) -> Vec<ConnId> {
        let shards = new.shards.len().max(1) as u32;
        self.memory = new.limits.memory / u64::from(shards);
        let mut gone = Vec::new();
        let none = Groups::new();
        if old.is_none() {
            // Whatever is here is of an earlier life of the pool.
            gone.extend(self.at.iter().filter(|(slot, _)| !new.groups.contains_key(*slot)).map(|(_, at)| *at));
        }
        for difference in tree::diff(old.map_or(&none, |old| &old.groups), &new.groups) {
            match difference {
                Difference::Changed { old, new, .. } if Arc::ptr_eq(old, new) => {}
                Difference::Changed { old, new, .. } => {
                    let at = self.row_of(new.slot);
                    self.row_mut(at).adopt(Some(old), new, shards, endpoints);
                }
                Difference::Added { new, .. } => {
                    let at = self.at.get(&new.slot).copied().unwrap_or_else(|| self.insert(new.slot, shard));
                    let row = self.row_mut(at);
                    row.named = true;
                    row.adopt(None, new, shards, endpoints);
                }
                Difference::Removed { key, .. } => gone.extend(self.at.get(key)),
            }
        }
        let mut stranded = Vec::new();
        for at in gone {
            let row = self.row_mut(at);
            row.named = false;
            stranded.extend(row.line.iter());
            self.drop_row_if_over(at);
        }
        stranded
    }

    fn insert(&mut self, slot: GroupSlot, shard: ShardId) -> RowIx {
        let at = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            RowIx(u32::try_from(self.rows.len() - 1).expect("a document has fewer groups"))
        });
        self.rows[at.0 as usize] = Some(Box::new(GroupRow::new(slot, shard)));
        self.at.insert(slot, at);
        at
    }

    fn drop_row_if_over(&mut self, at: RowIx) {
        let row = self.row(at);
        if !row.named && row.busy == 0 && row.line.is_empty() {
            let slot = row.slot;
            self.at.remove(&slot);
            self.rows[at.0 as usize] = None;
            self.free.push(at);
            self.held_up.retain(|other| *other != at);
        }
    }

    /// Somebody waits here, or knows an endpoint to be full.
    pub fn note_held_up(&mut self, at: RowIx) {
        if !self.held_up.contains(&at) {
            self.held_up.push(at);
        }
    }

    /// Rows that were noted. Those that are not held up any more are forgotten.
    pub fn held_up(&mut self) -> Vec<RowIx> {
        let mut held_up = std::mem::take(&mut self.held_up);
        held_up.retain(|at| {
            let row = self.rows[at.0 as usize].as_ref();
            row.is_some_and(|row| !row.line.is_empty() || !row.full.is_empty())
        });
        self.held_up.clone_from(&held_up);
        held_up
    }

    /// Whether somebody waits in one of its lines.
    pub fn somebody_waits(&self) -> bool {
        self.held_up.iter().any(|at| !self.row(*at).line.is_empty())
    }

    /// The row of a group that a root names which is the newest of its pool, or was the last.
    pub fn row_of(&self, group: GroupSlot) -> RowIx {
        self.at[&group]
    }

    pub fn row(&self, at: RowIx) -> &GroupRow {
        self.rows[at.0 as usize].as_ref().expect("a row stays while anything holds it")
    }

    pub fn row_mut(&mut self, at: RowIx) -> &mut GroupRow {
        self.rows[at.0 as usize].as_mut().expect("a row stays while anything holds it")
    }

    /// `None`: it is gone.
    pub fn find_mut(&mut self, at: RowIx) -> Option<&mut GroupRow> {
        self.rows.get_mut(at.0 as usize)?.as_deref_mut()
    }

    /// Connections that wait in any of its lines.
    pub fn waiting(&self) -> impl Iterator<Item = ConnId> {
        self.held_up.iter().flat_map(|at| self.row(*at).line.iter())
    }

    /// A connection does not count at this endpoint of the row any more.
    pub fn closed(&mut self, at: RowIx, endpoint: EndpointSlot) {
        let row = self.row_mut(at);
        row.busy -= 1;
        row.picker.closed(endpoint);
        self.drop_row_if_over(at);
    }

    /// It waits no more; whether it did.
    pub fn leave_line(&mut self, at: RowIx, id: ConnId) -> bool {
        // The row of one that does not wait may be gone.
        let Some(row) = self.find_mut(at) else { return false };
        let left = row.line.remove(id);
        self.drop_row_if_over(at);
        left
    }

    /// `true`: the time-outs are others than they were.
    pub fn retime(&mut self, timeouts: Timeouts) -> bool {
        self.timeouts.replace(timeouts) != Some(timeouts)
    }
}

/// Endpoints of `new`, of all its groups, that are not the same objects in the same group of `old`.
pub fn changed_in_pool<'a>(
    old: Option<&'a PoolGeneration>,
    new: &'a PoolGeneration,
) -> impl Iterator<Item = &'a Arc<Endpoint>> {
    static NONE: Groups = Groups::new();
    let differences = tree::diff(old.map_or(&NONE, |old| &old.groups), &new.groups);
    differences.flat_map(|difference| {
        let (old, new) = match difference {
            Difference::Changed { old, new, .. } if !Arc::ptr_eq(old, new) => (Some(&**old), Some(new)),
            Difference::Added { new, .. } => (None, Some(new)),
            Difference::Changed { .. } | Difference::Removed { .. } => (None, None),
        };
        new.into_iter().flat_map(move |new| changed(old, new))
    })
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
    /// Who names it. `None`: control told of it before a generation did.
    pub of: Option<(PoolSlot, GroupSlot)>,
    pub health: Health,
    /// Of a name; empty until it has resolved.
    pub addresses: Arc<[SocketAddr]>,
    /// Connections that wait for the next request.
    pub idle: Idle,
    /// Counts attempts, so that all addresses of a name get their share.
    pub turn: usize,
}

impl EndpointRow {
    pub fn new() -> EndpointRow {
        EndpointRow { of: None, health: Health::Unproven, addresses: Arc::new([]), idle: Idle::default(), turn: 0 }
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
        Arc::new(Endpoint {
            slot,
            group: GroupSlot(0),
            id,
            address,
            weight: 1,
            backup: false,
            drain: false,
            max_connections: None,
        })
    }

    fn group(endpoints: &[&Arc<Endpoint>]) -> Group {
        Group {
            slot: GroupSlot(0),
            id: "main".into(),
            balance: Balance::RoundRobin,
            endpoints: endpoints.iter().map(|endpoint| Arc::clone(endpoint)).collect(),
            attempts: 1,
            queue: 0,
            queue_wait: Duration::ZERO,
            health: None,
            http: None,
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
