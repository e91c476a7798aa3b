//! What the shard must hold, worked out from what it was sent and from who leases what.
//!
//! Knows nothing of how the adopter counts. After each event the parts that are needed are put together anew,
//! from the root, from the connections and from the addresses that outlive their pools: the shard must hold
//! these and no others, so a part is released by the event that ends its last use, not before and not later.

use super::connection::{Connection, Lease};
use super::control::{Control, POOLS, SHARD};
use policy::generation::{Change, Listen, PoolGeneration, Snapshot};
use policy::reload::{Committed, Deed, Held, Part, Report};
use policy::{EndpointSlot, JobId, ListenerSlot, PartId, PoolSlot, RootVersion};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Account {
    /// The root that the shard runs.
    current: BTreeMap<PoolSlot, PartId>,
    version: RootVersion,
    /// The jobs that this root contains.
    committed: Committed,
    /// What every root says that was ever given.
    roots: BTreeMap<PartId, Root>,
    /// Parts that the shard was given and has not released.
    held: BTreeSet<PartId>,
    /// Endpoints that have left the root and that the shard has not released.
    leaving: BTreeSet<EndpointSlot>,
    addresses: BTreeMap<ListenerSlot, Address>,
    /// Connections that carry requests, by the pool that they came in for.
    sessions: BTreeMap<PoolSlot, Sessions>,
    /// Jobs that are prepared, each with the addresses that it has bound.
    prepared: BTreeMap<JobId, BTreeSet<ListenerSlot>>,
    /// The address whose cancelled accept has just ended.
    ended: Option<ListenerSlot>,
    accepting: bool,
    stopping: bool,
    stopped: bool,
    said: Said,
}

/// What the deeds of the last event have said.
#[derive(Default)]
pub(super) struct Said {
    pub(super) prepared: Option<JobId>,
    pub(super) refused: Option<JobId>,
    pub(super) adopted: Option<JobId>,
    pub(super) forgotten: Option<JobId>,
    pub(super) synced: Option<u64>,
    pub(super) leaving: bool,
    pub(super) stopped: bool,
    pools_forgotten: Vec<PoolSlot>,
    endpoints_forgotten: Vec<EndpointSlot>,
    endpoints_released: Vec<EndpointSlot>,
}

struct Root {
    policy: PartId,
    pool: PoolSlot,
    endpoints: BTreeSet<EndpointSlot>,
}

/// Of one pool; there are some.
struct Sessions {
    open: u32,
    /// The root that they read since their pool is gone.
    last: Option<PartId>,
}

struct Address {
    life: Life,
    pool: PoolSlot,
    /// The root that serves it since its pool is gone.
    last: Option<PartId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Bound,
    Listening,
    Leaving,
    Draining,
}

/// Orders, told before the shard has them.
impl Account {
    pub(super) fn prepare(&mut self, job: JobId, change: &Change) {
        let mine = mine(&change.listen).filter(|listen| !self.addresses.contains_key(&listen.listener));
        let bound: Vec<Listen> = mine.cloned().collect();
        self.prepared.insert(job, bound.iter().map(|listen| listen.listener).collect());
        for Listen { listener, pool, .. } in bound {
            self.addresses.insert(listener, Address { life: Life::Bound, pool, last: None });
        }
    }

    pub(super) fn forget(&mut self, job: JobId) {
        self.prepared.remove(&job);
    }

    pub(super) fn commit(&mut self, job: JobId, version: RootVersion, change: &Change) {
        self.prepared.remove(&job);
        self.version = version;
        self.committed.push(job);
        for (slot, pool) in &change.pools {
            self.switch(*slot, pool.as_ref());
        }
        self.lead(&change.listen);
        self.leaving.extend(change.endpoints_gone.iter().map(|(_, endpoint)| *endpoint));
        for (_, endpoint) in &change.endpoints_come {
            self.leaving.remove(endpoint);
        }
    }

    pub(super) fn sync(&mut self, to: &Snapshot) {
        self.prepared.clear();
        self.version = to.version;
        self.committed = to.committed.clone();
        let named = |part: &PartId| self.roots[part].endpoints.clone();
        let before: BTreeSet<EndpointSlot> = self.current.values().flat_map(named).collect();
        for slot in (0..POOLS).map(PoolSlot) {
            let pool = to.pools.iter().find(|pool| pool.slot == slot);
            if pool.is_some() || self.current.contains_key(&slot) {
                self.switch(slot, pool);
            }
        }
        if !self.stopping {
            self.lead(&to.listen);
        }
        self.leaving.extend(before);
        let named = self.named();
        self.leaving.retain(|endpoint| !named.contains(endpoint));
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.prepared.clear();
    }

    /// Of a draining address: what raced with the cancel is served, and the queue is empty.
    pub(super) fn accept_ended(&mut self, listener: ListenerSlot) {
        self.ended = Some(listener);
    }

    /// `root`: what its address led to.
    pub(super) fn session_begins(&mut self, pool: PoolSlot, root: PartId) {
        let gone = !self.current.contains_key(&pool);
        let sessions = self.sessions.entry(pool).or_insert(Sessions { open: 0, last: gone.then_some(root) });
        sessions.open += 1;
    }

    pub(super) fn session_ends(&mut self, pool: PoolSlot) {
        let sessions = self.sessions.get_mut(&pool).expect("a session of it has begun");
        sessions.open -= 1;
        if sessions.open == 0 {
            self.sessions.remove(&pool);
        }
    }

    fn switch(&mut self, slot: PoolSlot, pool: Option<&Arc<PoolGeneration>>) {
        let old = self.current.remove(&slot);
        match pool {
            Some(pool) => {
                let endpoints = pool.endpoints().map(|endpoint| endpoint.slot).collect();
                self.roots.insert(pool.part, Root { policy: pool.policy.part, pool: slot, endpoints });
                self.held.extend([pool.part, pool.policy.part]);
                self.current.insert(slot, pool.part);
                if let Some(sessions) = self.sessions.get_mut(&slot) {
                    sessions.last = None;
                }
            }
            // Whoever is still in the queue of one of its addresses is served by the last root.
            None => {
                let orphans =
                    self.addresses.values_mut().filter(|address| address.pool == slot && address.last.is_none());
                orphans.filter(|address| address.life != Life::Bound).for_each(|address| address.last = old);
                if let Some(sessions) = self.sessions.get_mut(&slot) {
                    sessions.last = sessions.last.or(old);
                }
            }
        }
    }

    fn lead(&mut self, listens: &[Listen]) {
        for Listen { listener, pool, .. } in mine(listens) {
            if let Some(address) = self.addresses.get_mut(listener) {
                (address.pool, address.last) = (*pool, None);
            }
        }
    }
}

/// What is so.
impl Account {
    pub(super) fn current(&self, pool: PoolSlot) -> Option<PartId> {
        self.current.get(&pool).copied()
    }

    pub(super) fn policy_of(&self, root: PartId) -> PartId {
        self.roots[&root].policy
    }

    /// The root that a client of this address gets.
    pub(super) fn serves(&self, listener: ListenerSlot) -> Option<PartId> {
        let address = self.addresses.get(&listener).filter(|address| address.life != Life::Bound)?;
        address.last.or_else(|| self.current(address.pool))
    }

    /// The root that the next request of a session of this pool reads.
    pub(super) fn read_by_sessions(&self, pool: PoolSlot) -> PartId {
        self.sessions[&pool].last.unwrap_or_else(|| self.current[&pool])
    }

    /// Whether the shard has been told to accept, and has not been told otherwise since.
    pub(super) fn is_accepting(&self) -> bool {
        self.accepting
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn is_here(&self, listener: ListenerSlot) -> bool {
        self.addresses.contains_key(&listener)
    }

    pub(super) fn is_listening(&self, listener: ListenerSlot) -> bool {
        self.addresses.get(&listener).is_some_and(|address| address.life == Life::Listening)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.addresses.is_empty()
    }

    pub(super) fn leaving(&self) -> Vec<ListenerSlot> {
        self.which(|life| matches!(life, Life::Leaving | Life::Draining))
    }

    pub(super) fn draining(&self) -> Vec<ListenerSlot> {
        self.which(|life| life == Life::Draining)
    }

    fn which(&self, wanted: impl Fn(Life) -> bool) -> Vec<ListenerSlot> {
        self.addresses.iter().filter(|(_, address)| wanted(address.life)).map(|(slot, _)| *slot).collect()
    }

    fn named(&self) -> BTreeSet<EndpointSlot> {
        self.current.values().flat_map(|part| self.roots[part].endpoints.iter().copied()).collect()
    }
}

/// What the shard does.
impl Account {
    pub(super) fn on_deed(&mut self, deed: Deed, control: &Control) {
        match deed {
            Deed::Report(report) => self.on_report(report, control),
            Deed::Adopted { job } => assert_eq!(self.said.adopted.replace(job), None),
            Deed::Switched { .. } | Deed::Retire(_) | Deed::StopBy(_) => {}
            Deed::Forget { pool } => self.said.pools_forgotten.push(pool),
            Deed::ForgetEndpoint(endpoint) => self.said.endpoints_forgotten.push(endpoint),
            Deed::Endpoint(state) => {
                let here = self.named().contains(&state.slot) || self.leaving.contains(&state.slot);
                assert!(here, "news of endpoint {}, which is nobody's here", state.slot);
            }
            Deed::Open(listener) => {
                let pool = control.leads(listener).expect("opened, and no root names it");
                let address = Address { life: Life::Listening, pool, last: None };
                let before = self.addresses.insert(listener, address).map(|address| address.life);
                let closed = matches!(before, None | Some(Life::Bound | Life::Leaving));
                assert!(closed, "listener {listener} opened while {before:?}");
            }
            Deed::DropSyns(listener) => self.steps(listener, Life::Listening, Life::Leaving),
            Deed::CancelAccept(listener) => self.steps(listener, Life::Leaving, Life::Draining),
            Deed::GiveBack(listener) => {
                let before = self.addresses.remove(&listener).map(|address| address.life);
                let unused = match before {
                    Some(Life::Bound) => true,
                    Some(Life::Draining) => self.ended.take() == Some(listener),
                    Some(Life::Listening | Life::Leaving) | None => false,
                };
                assert!(unused, "listener {listener} given back while {before:?}");
            }
            Deed::SuspendAccept => assert!(std::mem::replace(&mut self.accepting, false), "suspended twice"),
            Deed::ResumeAccept => assert!(!std::mem::replace(&mut self.accepting, true), "resumed twice"),
        }
    }

    fn on_report(&mut self, report: Report, control: &Control) {
        match report {
            Report::Prepared { job } => self.said.prepared = Some(job),
            Report::Refused { job, .. } => self.said.refused = Some(job),
            Report::Adopted { .. } | Report::Died => unreachable!("these are not the adopter's to say"),
            Report::Forgotten { job } => self.said.forgotten = Some(job),
            Report::Synced { epoch, .. } | Report::Holding { epoch, .. } => self.said.synced = Some(epoch),
            Report::Released { part } => {
                assert!(self.held.remove(&part.id()), "part {} is released and was not held", part.id());
                if let Part::Pool(pool) = part {
                    // Control frees it now, so nobody here may still have it.
                    assert_eq!(Arc::strong_count(&pool), 1 + control.copies(&pool), "a copy stayed behind");
                }
            }
            Report::EndpointReleased { endpoint } => self.said.endpoints_released.push(endpoint),
            Report::ListenerClosed { listener } => assert!(!self.is_here(listener), "closed before it was given back"),
            Report::Leaving { listeners } => {
                self.said.leaving = true;
                assert!(self.stopping && self.which(|life| life == Life::Listening).is_empty());
                assert_eq!(listeners.iter().copied().collect::<BTreeSet<_>>(), self.leaving().into_iter().collect());
            }
            Report::Stopped => {
                assert!(self.addresses.is_empty());
                (self.said.stopped, self.stopped) = (true, true);
            }
        }
    }

    fn steps(&mut self, listener: ListenerSlot, from: Life, to: Life) {
        let address = self.addresses.get_mut(&listener).unwrap_or_else(|| panic!("listener {listener} is not here"));
        assert_eq!(std::mem::replace(&mut address.life, to), from, "listener {listener}");
    }
}

/// What must hold after each event.
impl Account {
    /// Answers with what was said since the last time.
    pub(super) fn check(&mut self, held: &Held, connections: &[Connection], control: &Control) -> Said {
        let said = std::mem::take(&mut self.said);
        self.check_parts(held, connections);
        self.check_endpoints(&said, held, connections);
        self.check_addresses(held, control);
        for pool in &said.pools_forgotten {
            assert!(!self.leads_to(*pool), "pool {pool} is forgotten, and something here leads to it");
        }
        if said.stopped {
            assert!(connections.is_empty(), "stopped, with {} connections", connections.len());
        }
        assert_eq!((held.version, &held.committed), (self.version, &self.committed));
        assert!(held.prepared.iter().map(|(job, _)| job).eq(self.prepared.keys()));
        said
    }

    fn check_parts(&self, held: &Held, connections: &[Connection]) {
        let mut leases: BTreeMap<PartId, u32> = BTreeMap::new();
        let sessions = self.sessions.values().filter_map(|sessions| sessions.last);
        for part in self.addresses.values().filter_map(|address| address.last).chain(sessions) {
            *leases.entry(part).or_default() += 1;
        }
        for connection in connections {
            let (Lease::Root(_, part) | Lease::Policy(_, part)) = &connection.lease;
            *leases.entry(*part).or_default() += 1;
        }
        // A root keeps its own policy, for those who have not decided yet.
        let leased = leases.keys().filter(|part| self.roots.contains_key(part));
        let roots: BTreeSet<PartId> = leased.chain(self.current.values()).copied().collect();
        for root in &roots {
            *leases.entry(self.policy_of(*root)).or_default() += 1;
        }
        let needed: BTreeSet<PartId> = leases.keys().chain(&roots).copied().collect();
        assert_eq!(self.held, needed, "held and needed");

        assert!(held.current.iter().map(|pool| &pool.part).eq(self.current.values()));
        let current: BTreeSet<PartId> = held.current.iter().flat_map(|pool| [pool.part, pool.policy.part]).collect();
        let pinned: BTreeMap<PartId, u32> =
            held.pinned.iter().map(|pinned| (pinned.part.id(), pinned.leases)).collect();
        leases.retain(|part, _| !current.contains(part));
        assert_eq!(pinned, leases, "superseded parts and their leases");
    }

    /// An endpoint is released when nobody uses it and nobody can still choose it.
    fn check_endpoints(&mut self, said: &Said, held: &Held, connections: &[Connection]) {
        assert_eq!(said.endpoints_forgotten, said.endpoints_released);
        let used = |endpoint: EndpointSlot| connections.iter().any(|connection| connection.endpoint == Some(endpoint));
        let old_roots: Vec<&Root> = self.held.iter().filter_map(|part| self.roots.get(part)).collect();
        for endpoint in &said.endpoints_released {
            assert!(self.leaving.remove(endpoint), "endpoint {endpoint} is released and was not leaving");
            assert!(!used(*endpoint), "endpoint {endpoint} is released and used");
            let nameable = old_roots.iter().any(|root| root.endpoints.contains(endpoint));
            assert!(!nameable, "endpoint {endpoint} is released and can still be chosen");
        }
        let told: BTreeSet<EndpointSlot> = held.endpoints_leaving.iter().map(|(_, endpoint)| *endpoint).collect();
        assert_eq!(told, self.leaving, "endpoints that are leaving");
        for (pool, endpoint) in &held.endpoints_leaving {
            let superseded = self.held.iter().filter(|part| self.current(*pool) != Some(**part));
            let mut of_pool = superseded.filter_map(|part| self.roots.get(part)).filter(|root| root.pool == *pool);
            assert!(used(*endpoint) || of_pool.next().is_some(), "endpoint {endpoint} is not released");
        }
    }

    fn check_addresses(&self, held: &Held, control: &Control) {
        let listening = self.which(|life| life == Life::Listening);
        if self.stopping {
            assert!(listening.is_empty(), "{listening:?} listen while all is stopping");
        } else if self.version == control.version() {
            assert_eq!(listening, control.listeners_of(SHARD));
        }
        let bound: BTreeSet<ListenerSlot> = self.prepared.values().flatten().copied().collect();
        assert!(self.which(|life| life == Life::Bound).iter().eq(&bound));
        assert_eq!(held.listening, listening);
        assert_eq!(held.leaving.iter().copied().collect::<BTreeSet<_>>(), self.leaving().into_iter().collect());
    }

    fn leads_to(&self, pool: PoolSlot) -> bool {
        let held = self.held.iter().filter_map(|part| self.roots.get(part));
        self.current.contains_key(&pool) || held.into_iter().any(|root| root.pool == pool)
    }
}

fn mine(listens: &[Listen]) -> impl Iterator<Item = &Listen> {
    listens.iter().filter(|listen| listen.shards.contains(SHARD))
}
