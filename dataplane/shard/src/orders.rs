//! Orders: handed to the shard's end of the conversation, whose deeds are performed here, in order.

use crate::bounds::Bounds;
use crate::conn::Lease;
use crate::listeners::Row;
use crate::pools::{self, EndpointRow, Pool};
use crate::serve::Shard;
use crate::sweep::Sweep;
use link::counters::ShardCounter;
use link::quota::ShardQuotas;
use policy::generation::{Change, EndpointState, PoolGeneration};
use policy::ids::{JobId, ListenerSlot, PoolSlot};
use policy::reload::{Adoption, Deed, Order, Refusal, Report};
use std::sync::Arc;
use std::time::Instant;

/// What the switch that is under way has met so far.
#[derive(Clone, Copy)]
pub(crate) struct Switching {
    began: Instant,
    /// Tunnels of the changed pools: they go on as they are.
    carried: u32,
    /// Connections that have not reached a backend yet: their next decision is the new generation's.
    adopted: u32,
}

impl Shard<'_> {
    pub(crate) fn obey(&mut self, order: Order) {
        match &order {
            // Whatever a sibling has handed over from this address was posted before it left there, and so
            // before this order: it is served first.
            Order::Close { .. } => self.take_handed(),
            Order::Sync { to, .. } => {
                let generation = to.generation.map_or(0, |generation| generation.0);
                self.counters.shard().set(ShardCounter::Generation, generation);
            }
            _ => {}
        }
        self.switching = Some(Switching { began: Instant::now(), carried: 0, adopted: 0 });
        let Shard { adopter, deeds, setup, quotas, pools, endpoints, .. } = self;
        let room = |change: &Change| {
            make_room(change, &setup.bounds, quotas)?;
            grow_for(change, pools, endpoints);
            Ok(())
        };
        adopter.on_order(order, room, deeds);
        // Before anything is accepted under it: siblings hand over only where the root is the same.
        self.counters.shard().set(ShardCounter::RootVersion, self.adopter.version().0);
        self.perform();
        self.switching = None;
    }

    /// Performs what the machines have asked for. Deeds cause deeds (a last lease, an accept that has ended):
    /// those follow behind.
    pub(crate) fn perform(&mut self) {
        // Mostly there is nothing: each request comes by several times.
        if self.deeds.is_empty() && self.todo.is_empty() {
            return;
        }
        self.todo.extend(self.deeds.drain(..));
        if std::mem::replace(&mut self.performing, true) {
            return;
        }
        while let Some(deed) = self.todo.pop_front() {
            self.perform_one(deed);
        }
        self.performing = false;
    }

    fn perform_one(&mut self, deed: Deed) {
        match deed {
            Deed::Report(report) => {
                if let Report::Stopped = report {
                    self.stopped = true;
                }
                self.report(report);
            }
            Deed::Adopted { job } => self.adopted(job),
            Deed::Switched { pool, before } => self.switched(pool, before),
            Deed::Forget { pool } => {
                if let Some(Some(row)) = self.pools.get_mut(pool.ix()) {
                    row.forgotten = true;
                }
                self.drop_pool_if_over(pool);
            }
            Deed::Open(listener) => {
                let socket = self.borrow(listener).socket.clone();
                // All of the group's sockets, not only ours: a client that hashes to a shard that commits a
                // moment later waits in its queue instead of losing a SYN, and with it a second.
                let group = self.setup.registry.group(listener.0);
                let opened = group.is_some_and(|group| group.open().is_ok());
                // Ours also if it was leaving and comes back.
                if !opened || socket.open().is_err() {
                    self.counters.shard().add(ShardCounter::AcceptErrors, 1);
                }
                self.arm_accept(listener);
            }
            Deed::DropSyns(listener) => {
                if self.borrow(listener).socket.drop_syns().is_err() {
                    self.counters.shard().add(ShardCounter::AcceptErrors, 1);
                }
                self.arm_accept(listener);
            }
            Deed::CancelAccept(listener) => self.close_listener(listener),
            Deed::GiveBack(listener) => self.listeners.remove(listener),
            Deed::SuspendAccept => self.suspend_accept(),
            Deed::ResumeAccept => self.resume_accept(),
            Deed::Endpoint(state) => self.learn(state),
            Deed::ForgetEndpoint(endpoint) => {
                // The next identity that gets this slot starts unproven and from zero.
                self.close_idle(endpoint);
                self.unlist_idle(endpoint);
                if let Some(row) = self.endpoints.get_mut(endpoint.ix()) {
                    *row = None;
                }
                self.counters.endpoint(endpoint.0).wipe();
            }
            Deed::Retire(endpoint) => {
                let sweep = Sweep::to_retire(endpoint, self.now());
                self.sweeps.push_back(sweep);
            }
            Deed::StopBy(deadline) => {
                self.stop_by = Some(deadline);
                self.sweeps.push_back(Sweep::to_dismiss());
            }
        }
    }

    fn adopted(&mut self, job: JobId) {
        let Switching { began, carried, adopted } = self.switching.expect("a commit is an order");
        let pause = began.elapsed();
        let shard = self.counters.shard();
        shard.set(ShardCounter::Generation, job.0);
        shard.raise(ShardCounter::PauseMaxMicros, pause.as_micros() as u64);
        self.report(Report::Adopted { job, adoption: Adoption { pause, carried, adopted, retired: 0 } });
    }

    /// A pool slot means something else now: what belongs to identities is brought in line. Costs what differs, and
    /// a comparison of pointers for each endpoint of a group that does.
    fn switched(&mut self, slot: PoolSlot, before: Option<Arc<PoolGeneration>>) {
        if let Some(before) = &before {
            self.close_idle_of_the_gone(before, slot);
        }
        let Some(root) = self.adopter.pool(slot) else { return self.count_switched(slot) };
        // Held for this event only, so that no reference is left here that control does not know of.
        let root = Arc::clone(root);
        grow(&mut self.pools, slot.ix());
        let mut waiters = self.quotas.pools.set(slot.0, root.limits.max_connections);
        for endpoint in pools::changed_in_pool(before.as_deref(), &root) {
            grow(&mut self.endpoints, endpoint.slot.ix());
            self.endpoints[endpoint.slot.ix()].get_or_insert_with(EndpointRow::new).of = Some((slot, endpoint.group));
            waiters |= self.quotas.endpoints.set(endpoint.slot.0, endpoint.max_connections);
        }
        let pool = self.pools[slot.ix()].get_or_insert_with(|| Box::new(Pool::new()));
        pool.forgotten = false;
        let stranded = pool.adopt(self.setup.id, before.as_deref(), &root, &self.endpoints);
        let retimed = pool.retime(root.policy.timeouts);
        drop((root, before));
        if retimed {
            self.look_after_all(slot);
        }
        self.count_switched(slot);
        self.renew_the_lines(slot);
        self.seek_anew(stranded);
        self.ring_waiters(waiters);
        self.rung = true;
    }

    fn count_switched(&mut self, slot: PoolSlot) {
        let Some(pool) = self.pools.get(slot.ix()).and_then(Option::as_ref) else { return };
        if let Some(switching) = &mut self.switching {
            switching.adopted += pool.undecided;
            switching.carried += pool.connections - pool.undecided;
        }
    }

    /// Those who wait move to the newest root now: should the pool go next, they hold the one that the
    /// picker knows.
    fn renew_the_lines(&mut self, slot: PoolSlot) {
        let Shard { pools, conns, adopter, deeds, .. } = self;
        let Some(pool) = &pools[slot.ix()] else { return };
        for id in pool.waiting() {
            if let Some(conn) = conns.get_mut(id)
                && let Lease::Root(lease) = std::mem::take(&mut conn.lease)
            {
                conn.lease = Lease::Root(adopter.renew(lease, deeds));
            }
        }
        self.perform();
    }

    fn learn(&mut self, state: EndpointState) {
        let EndpointState { slot, health, addresses } = state;
        if slot.ix() >= self.setup.bounds.endpoints {
            return;
        }
        grow(&mut self.endpoints, slot.ix());
        let row = self.endpoints[slot.ix()].get_or_insert_with(EndpointRow::new);
        row.health = health;
        row.addresses = addresses;
        let Some((pool, group)) = row.of else { return };
        let Shard { pools, adopter, endpoints, .. } = self;
        let (Some(Some(pool)), Some(root)) = (pools.get_mut(pool.ix()), adopter.pool(pool)) else { return };
        if let (Some((group, endpoint)), Some(row)) = (root.find(group, slot), &endpoints[slot.ix()]) {
            let at = pool.row_of(group.slot);
            let picker = &mut pool.row_mut(at).picker;
            picker.set_health(slot, row.health);
            picker.set_resolved(slot, row.reachable(endpoint));
        }
        self.rung = true;
    }

    /// Borrows the socket of an address, unless that is done.
    fn borrow(&mut self, listener: ListenerSlot) -> &Row {
        let registry = &self.setup.registry;
        self.listeners.find_or_insert(listener, || match registry.socket(listener.0, self.setup.id.0) {
            Some(socket) => Row::new(socket, registry.shards(listener.0)),
            None => unreachable!("control puts sockets into the registry before it names them to a shard"),
        })
    }
}

/// Everything of a change that can fail on a shard: its tables must hold what the change brings.
fn make_room(change: &Change, bounds: &Bounds, quotas: &mut ShardQuotas) -> Result<(), Refusal> {
    let full = |table, bound| Err(Refusal::TableFull { table, bound });
    for (slot, _) in &change.pools {
        if slot.ix() >= bounds.pools || quotas.pools.ensure(slot.0).is_err() {
            return full("pool", bounds.pools);
        }
    }
    // Those that stay have had their rows before.
    for (_, endpoint) in &change.endpoints_come {
        if endpoint.ix() >= bounds.endpoints || quotas.endpoints.ensure(endpoint.0).is_err() {
            return full("endpoint", bounds.endpoints);
        }
    }
    match change.listen.iter().find(|listen| listen.listener.ix() >= bounds.listeners) {
        Some(_) => full("listener", bounds.listeners),
        None => Ok(()),
    }
}

/// Makes the tables as long as Commit needs them, so that it allocates nothing there.
fn grow_for(change: &Change, pools: &mut Vec<Option<Box<Pool>>>, endpoints: &mut Vec<Option<EndpointRow>>) {
    for (slot, _) in &change.pools {
        grow(pools, slot.ix());
    }
    for (_, slot) in &change.endpoints_come {
        grow(endpoints, slot.ix());
    }
}

/// Makes a table long enough for this index.
fn grow<T>(table: &mut Vec<Option<T>>, index: usize) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
}
