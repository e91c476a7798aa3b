//! The shard's end of the conversation.
//!
//! Owns what this shard runs: the root by pool slot, the changes that are prepared, the listen addresses,
//! and the account of who leases what. Orders go in; [`Deed`]s come out, and the shard performs them in
//! order. Knows no socket, no ring and no clock.
//!
//! ```text
//!            Resume                     Stop              nothing left
//! Suspended ────────▶ Serving ──────▶ Stopping ─────────▶ Stopped
//!     ▲  ◀──────────────┘               ▲
//!     │     Suspend                     │
//!   (start)                     Stop ───┘ (from Suspended too: what is queued is served before the end)
//! ```
//!
//! A connection passes through here thus:
//!
//! 1. [`Adopter::accept`] leases the root of the listener's pool;
//! 2. before each choice of an endpoint [`Adopter::renew`] moves an undecided connection to the newest root,
//!    so that limit, balance and policy are all of one generation;
//! 3. [`Adopter::endpoint_opened`] with the choice; [`Adopter::endpoint_closed`] when done with it;
//! 4. connected: [`Adopter::exchange`] keeps only the policy of that root;
//! 5. the end: [`Adopter::give_back`] or [`Adopter::give_back_policy`].
//!
//! The shard keeps no `Arc` of a generation beyond the event: it borrows through its lease. Then what is
//! released here is really let go, and the reference travels home in the report.

use super::listener::{Listener, Step};
use super::planted::{Mistake, is};
use super::{Held, Order, Part, Refusal, Report};
use crate::generation::{Change, EndpointState, Listen, PoolGeneration, Snapshot, TunnelPolicy};
use crate::ids::{EndpointSlot, JobId, ListenerSlot, PoolSlot, RootVersion, ShardId};
use crate::tick::Tick;
use addresses::Addresses;
use endpoints::Endpoints;
use roots::{Departure, LetGo, Roots, Seen};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

mod addresses;
mod endpoints;
mod roots;

pub use roots::{PolicyLease, RootLease};

/// What the shard must do. Performed in order: what a report says is then true.
#[derive(Debug)]
pub enum Deed {
    Report(Report),
    /// The change is in force: report [`Report::Adopted`] with what it cost.
    Adopted {
        job: JobId,
    },
    /// [`Adopter::pool`] answers differently now: bring pickers, caps and checks in line, by identity.
    Switched {
        pool: PoolSlot,
    },
    /// Nothing here can lead to this pool any more: forget what is kept by its slot.
    Forget {
        pool: PoolSlot,
    },
    /// Take the SYN filter off (borrow the socket first if it is not borrowed yet) and accept.
    Open(ListenerSlot),
    /// Accept, but put the SYN filter on.
    DropSyns(ListenerSlot),
    /// Cancel the accept, serve what raced with that, then what is still queued, then call
    /// [`Adopter::accept_ended`].
    CancelAccept(ListenerSlot),
    /// The borrowed socket is not used any more.
    GiveBack(ListenerSlot),
    /// Accept nothing more. What raced with that waits for `ResumeAccept`.
    SuspendAccept,
    ResumeAccept,
    /// Runtime state of an endpoint that a root here names.
    Endpoint(EndpointState),
    /// No connection uses this endpoint and none will: forget what is kept by its slot.
    ForgetEndpoint(EndpointSlot),
    /// End this endpoint's tunnels, paced.
    Retire(EndpointSlot),
    /// End what is left at the deadline; then call [`Adopter::deadline_reached`].
    StopBy(Tick),
}

/// The shard's end.
pub struct Adopter {
    shard: ShardId,
    mode: Mode,
    version: RootVersion,
    roots: Roots,
    endpoints: Endpoints,
    addresses: Addresses,
    prepared: BTreeMap<JobId, Arc<Change>>,
    committed: VecDeque<JobId>,
    /// Connections that have a lease.
    connections: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Suspended,
    Serving,
    Stopping,
    Stopped,
}

impl Adopter {
    /// Most changes that can be prepared at once: jobs on disjoint pools.
    pub const PREPARED_MAX: usize = 64;
    /// Commits that are remembered for a control that restarts. A job is under way for at most the
    /// adopt time-out after its first Commit; this many others in that time are not expected.
    pub const COMMITTED_KEPT: usize = 1024;

    /// A shard that has just started: it accepts nothing before its first Sync and Resume.
    pub fn new(shard: ShardId) -> Adopter {
        Adopter {
            shard,
            mode: Mode::Suspended,
            version: RootVersion::default(),
            roots: Roots::default(),
            endpoints: Endpoints::default(),
            addresses: Addresses::default(),
            prepared: BTreeMap::new(),
            committed: VecDeque::new(),
            connections: 0,
        }
    }

    /// Takes the next order. `room` does for a Prepare what can fail (borrow sockets, grow tables), and
    /// undoes it if it fails; it is not called for other orders.
    pub fn on_order(&mut self, order: Order, room: impl FnOnce(&Change) -> Result<(), Refusal>, deeds: &mut Vec<Deed>) {
        match order {
            Order::Prepare { job, change } => self.prepare(job, change, room, deeds),
            Order::Commit { job, version } => self.commit(job, version, deeds),
            Order::Abort { job } => {
                if let Some(change) = self.prepared.remove(&job) {
                    self.unbind(job, &change, deeds);
                }
                deeds.push(Deed::Report(Report::Forgotten { job }));
            }
            Order::Suspend => {
                if self.mode == Mode::Serving && !is(Mistake::LostAccepts) {
                    self.mode = Mode::Suspended;
                    deeds.push(Deed::SuspendAccept);
                }
            }
            Order::Sync { epoch, to } => {
                self.sync(epoch, to, deeds);
                if is(Mistake::AcceptAtSync) {
                    self.on_order(Order::Resume, room, deeds);
                }
            }
            Order::Resume => {
                if self.mode == Mode::Suspended {
                    self.mode = Mode::Serving;
                    deeds.push(Deed::ResumeAccept);
                }
            }
            Order::Tell { epoch } => deeds.push(Deed::Report(Report::Holding { epoch, held: Box::new(self.held()) })),
            // Control sends it again behind the Commit that brings the endpoint; and of one that has left
            // it must not wait here for the next identity under the slot.
            Order::Endpoint(state) => {
                if self.endpoints.is_here(state.slot) {
                    deeds.push(Deed::Endpoint(state));
                }
            }
            Order::Close { listener } => self.close(listener, deeds),
            Order::Retire { endpoint } => deeds.push(Deed::Retire(endpoint)),
            Order::Stop { deadline } => self.stop(deadline, deeds),
        }
    }

    /// A connection has come out of this address: it leases the root that serves it.
    ///
    /// `None`: the address does not accept here yet. That happens to a connection that another shard has
    /// accepted and handed over; it waits for [`Deed::Open`]. A connection is handed over only while the
    /// address is listening, only to a shard that listens there too, and through the mailbox that orders
    /// use, so that it arrives before the Close.
    pub fn accept(&mut self, listener: ListenerSlot) -> Option<RootLease> {
        assert!(self.accepts(), "accepted while {:?}", self.mode);
        let address = self.addresses.find(listener).filter(|address| address.life.accepts())?;
        let lease = match &address.last {
            Some(last) => self.roots.again(last),
            None => self.roots.lease(address.pool)?,
        };
        self.connections += 1;
        Some(lease)
    }

    /// Whether connections are taken at all.
    pub fn accepts(&self) -> bool {
        match self.mode {
            Mode::Serving | Mode::Stopping => true,
            Mode::Suspended | Mode::Stopped => false,
        }
    }

    /// Moves a connection that has not chosen an endpoint to the newest root, if its pool still has one.
    pub fn renew(&mut self, lease: RootLease, deeds: &mut Vec<Deed>) -> RootLease {
        let leased = self.roots.leased(&lease);
        match self.roots.current(leased.slot) {
            Some(current) if current.part != leased.part => {
                let newest = self.roots.lease(leased.slot).expect("it has a current root");
                let mut gone = LetGo::default();
                self.roots.give_back(lease, &mut gone);
                self.let_go(gone, deeds);
                newest
            }
            _ => lease,
        }
    }

    /// The generation that this connection reads.
    pub fn root(&self, lease: &RootLease) -> &Arc<PoolGeneration> {
        self.roots.leased(lease)
    }

    /// The decisions are taken: from now on only the policy of that very root is kept.
    pub fn exchange(&mut self, lease: RootLease, deeds: &mut Vec<Deed>) -> PolicyLease {
        let mut gone = LetGo::default();
        if is(Mistake::ExchangeForCurrentPolicy) {
            let lease = self.renew(lease, deeds);
            return self.roots.exchange(lease, &mut gone);
        }
        let policy = self.roots.exchange(lease, &mut gone);
        self.let_go(gone, deeds);
        policy
    }

    pub fn policy(&self, lease: &PolicyLease) -> &Arc<TunnelPolicy> {
        self.roots.policy(lease)
    }

    /// A connection ended undecided.
    pub fn give_back(&mut self, lease: RootLease, deeds: &mut Vec<Deed>) {
        let mut gone = LetGo::default();
        self.roots.give_back(lease, &mut gone);
        self.connection_ended(gone, deeds);
    }

    /// A tunnel ended.
    pub fn give_back_policy(&mut self, lease: PolicyLease, deeds: &mut Vec<Deed>) {
        let mut gone = LetGo::default();
        self.roots.give_back_policy(lease, &mut gone);
        self.connection_ended(gone, deeds);
    }

    /// What the slot means now.
    pub fn pool(&self, slot: PoolSlot) -> Option<&Arc<PoolGeneration>> {
        self.roots.current(slot)
    }

    /// The pool's newest policy, for what takes effect on open tunnels.
    pub fn current_policy(&self, slot: PoolSlot) -> Option<&Arc<TunnelPolicy>> {
        self.pool(slot).map(|pool| &pool.policy)
    }

    pub fn version(&self) -> RootVersion {
        self.version
    }

    /// A connection has chosen this endpoint, from the root that it leases.
    pub fn endpoint_opened(&mut self, endpoint: EndpointSlot) {
        self.endpoints.opened(endpoint);
    }

    pub fn endpoint_closed(&mut self, endpoint: EndpointSlot, deeds: &mut Vec<Deed>) {
        if let Some(endpoint) = self.endpoints.closed(endpoint) {
            endpoint_released(endpoint, deeds);
        }
    }

    /// Connections that use this endpoint.
    pub fn endpoint_connections(&self, endpoint: EndpointSlot) -> u32 {
        self.endpoints.connections(endpoint)
    }

    /// The accept that [`Deed::CancelAccept`] cancelled is over, and the queue is empty.
    pub fn accept_ended(&mut self, listener: ListenerSlot, deeds: &mut Vec<Deed>) {
        let address = self.addresses.remove(listener);
        deeds.push(step(listener, address.life.drained()));
        deeds.push(Deed::Report(Report::ListenerClosed { listener }));
        let mut gone = LetGo::default();
        if let Some(last) = address.last {
            self.roots.give_back(last, &mut gone);
        }
        self.let_go(gone, deeds);
        self.check_stopped(deeds);
    }

    /// The stop's deadline: what the addresses still hold is not waited for.
    pub fn deadline_reached(&mut self, deeds: &mut Vec<Deed>) {
        assert!(matches!(self.mode, Mode::Stopping | Mode::Stopped), "a deadline without a stop");
        for listener in self.addresses.which(|_| true) {
            self.close(listener, deeds);
        }
    }

    /// All that is held here.
    pub fn held(&self) -> Held {
        Held {
            version: self.version,
            current: self.roots.all_current().cloned().collect(),
            pinned: self.roots.pinned().collect(),
            prepared: self.prepared.iter().map(|(job, change)| (*job, change.clone())).collect(),
            committed: self.committed.iter().copied().collect(),
            listening: self.addresses.which(|address| address.life == Listener::Listening),
            leaving: self.addresses.leaving().to_vec(),
            endpoints_leaving: self.endpoints.leaving().collect(),
        }
    }

    fn prepare(
        &mut self,
        job: JobId,
        change: Arc<Change>,
        room: impl FnOnce(&Change) -> Result<(), Refusal>,
        deeds: &mut Vec<Deed>,
    ) {
        let room = match self.mode {
            Mode::Serving if self.prepared.len() < Self::PREPARED_MAX => room(&change),
            Mode::Serving => Err(Refusal::TableFull { table: "prepared changes", bound: Self::PREPARED_MAX }),
            Mode::Suspended | Mode::Stopping | Mode::Stopped => Err(Refusal::NotServing),
        };
        let answer = match room {
            Ok(()) => {
                for listen in change.listen.iter().filter(|listen| listen.shards.contains(self.shard)) {
                    match self.addresses.find(listen.listener).map(|address| address.life) {
                        None => {
                            self.addresses.insert(listen, Listener::Bound { by: job });
                            if is(Mistake::OpenAtPrepare) {
                                deeds.push(Deed::Open(listen.listener));
                            }
                        }
                        Some(life) => {
                            assert_eq!(life, Listener::Listening, "listener {}", listen.listener)
                        }
                    }
                }
                let twice = self.prepared.insert(job, change);
                assert!(twice.is_none(), "job {job} was prepared twice");
                Report::Prepared { job }
            }
            Err(refusal) => Report::Refused { job, refusal },
        };
        deeds.push(Deed::Report(answer));
    }

    /// The switch: between two events, and nothing in it can fail.
    fn commit(&mut self, job: JobId, version: RootVersion, deeds: &mut Vec<Deed>) {
        let change =
            self.prepared.remove(&job).unwrap_or_else(|| panic!("job {job} is committed but not prepared here"));
        assert!(version > self.version, "commit of {version:?} on a root at {:?}", self.version);
        let mut gone = LetGo::default();
        for listener in &change.leave {
            self.leave(*listener, deeds);
        }
        for (_, endpoint) in &change.endpoints_come {
            self.endpoints.come(*endpoint);
        }
        let mut left = BTreeMap::<PoolSlot, Vec<Departure>>::new();
        for (pool, endpoint) in &change.endpoints_gone {
            left.entry(*pool).or_default().push(self.endpoints.go(*pool, *endpoint));
        }
        for (slot, pool) in &change.pools {
            let left = left.remove(slot).unwrap_or_default();
            self.switch(*slot, pool.clone(), left, Seen::Never, &mut gone, deeds);
        }
        assert!(left.is_empty(), "job {job} takes endpoints from pools that it does not change");
        self.open_all(&change.listen, deeds);
        self.version = version;
        if self.committed.len() == Self::COMMITTED_KEPT {
            self.committed.pop_front();
        }
        self.committed.push_back(job);
        drop(change); // before the report: control then holds the only reference
        deeds.push(Deed::Adopted { job });
        self.let_go(gone, deeds);
    }

    /// Takes the whole root; whatever the difference is to the one that was here.
    fn sync(&mut self, epoch: u64, to: Arc<Snapshot>, deeds: &mut Vec<Deed>) {
        let mut gone = LetGo::default();
        for (job, change) in std::mem::take(&mut self.prepared) {
            self.unbind(job, &change, deeds);
        }
        let named: HashSet<EndpointSlot> =
            to.pools.iter().flat_map(|pool| pool.group.endpoints.iter()).map(|endpoint| endpoint.slot).collect();
        let wanted: HashSet<PoolSlot> = to.pools.iter().map(|pool| pool.slot).collect();
        let listening: HashSet<ListenerSlot> = to.listen.iter().map(|listen| listen.listener).collect();
        for listener in self
            .addresses
            .which(|address| address.life == Listener::Listening)
            .iter()
            .filter(|l| !listening.contains(l))
        {
            self.leave(*listener, deeds);
        }
        let dropped = self
            .roots
            .all_current()
            .filter(|pool| !wanted.contains(&pool.slot) && !is(Mistake::SyncKeepsOldPools))
            .map(|pool| (pool.slot, None));
        let switches: Vec<_> = dropped.chain(to.pools.iter().map(|pool| (pool.slot, Some(pool.clone())))).collect();
        for (slot, pool) in switches {
            let old = self.roots.current(slot);
            if old.map(|old| old.part) == pool.as_ref().map(|pool| pool.part) {
                continue;
            }
            let group = old.map(|old| old.group.clone());
            let endpoints = group.iter().flat_map(|group| group.endpoints.iter()).map(|endpoint| endpoint.slot);
            let left = endpoints
                .filter(|endpoint| !named.contains(endpoint))
                .map(|endpoint| self.endpoints.go(slot, endpoint))
                .collect();
            self.switch(slot, pool, left, Seen::Perhaps, &mut gone, deeds);
        }
        for endpoint in named {
            self.endpoints.come(endpoint);
        }
        if self.mode != Mode::Stopping {
            self.open_all(&to.listen, deeds);
        }
        let states = to.endpoints.iter().filter(|state| self.endpoints.is_here(state.slot));
        deeds.extend(states.cloned().map(Deed::Endpoint));
        self.version = to.version;
        drop(to);
        self.let_go(gone, deeds);
        deeds.push(Deed::Report(Report::Synced { epoch, held: Box::new(self.held()) }));
    }

    fn stop(&mut self, deadline: Tick, deeds: &mut Vec<Deed>) {
        if self.mode == Mode::Stopped {
            return; // asked again
        }
        if self.mode == Mode::Suspended {
            deeds.push(Deed::ResumeAccept); // what is queued gets the root we have rather than a reset
        }
        self.mode = Mode::Stopping;
        for (job, change) in std::mem::take(&mut self.prepared) {
            self.unbind(job, &change, deeds);
        }
        for listener in self.addresses.which(|address| address.life == Listener::Listening) {
            self.leave(listener, deeds);
        }
        deeds.push(Deed::Report(Report::Leaving));
        deeds.push(Deed::StopBy(deadline));
        self.check_stopped(deeds);
    }

    fn switch(
        &mut self,
        slot: PoolSlot,
        new: Option<Arc<PoolGeneration>>,
        left: Vec<Departure>,
        seen: Seen,
        gone: &mut LetGo,
        deeds: &mut Vec<Deed>,
    ) {
        if new.is_none() && !is(Mistake::LastRootForgotten) {
            self.addresses.outlive(slot, || self.roots.lease(slot));
        }
        self.roots.switch(slot, new, left, seen, gone);
        deeds.push(Deed::Switched { pool: slot });
    }

    /// The addresses that the new root names: bound by the change or, in a Sync, perhaps not yet here.
    fn open_all(&mut self, listens: &[Listen], deeds: &mut Vec<Deed>) {
        let shard = self.shard;
        for listen in listens.iter().filter(|listen| listen.shards.contains(shard)) {
            let listener = listen.listener;
            match self.addresses.find(listener).map(|address| address.life) {
                None => {
                    self.addresses.insert(listen, Listener::Listening);
                    deeds.push(Deed::Open(listener));
                }
                // It may lead to another pool from now on.
                Some(Listener::Listening) => self.addresses.lead(listener, listen.pool),
                Some(life) => {
                    let (life, next) = life.open();
                    self.addresses.set(listener, life);
                    deeds.push(step(listener, next));
                }
            }
        }
    }

    fn leave(&mut self, listener: ListenerSlot, deeds: &mut Vec<Deed>) {
        let Some(address) = self.addresses.find(listener) else {
            return;
        };
        let (life, next) = address.life.leave();
        self.addresses.set(listener, life);
        deeds.push(step(listener, next));
    }

    fn close(&mut self, listener: ListenerSlot, deeds: &mut Vec<Deed>) {
        let Some(address) = self.addresses.find(listener) else {
            return;
        };
        let (life, next) = address.life.close();
        self.addresses.set(listener, life);
        deeds.extend(next.map(|next| step(listener, next)));
        if is(Mistake::CloseWithoutDraining) {
            self.accept_ended(listener, deeds);
        }
    }

    /// Gives back the addresses that a change has bound and nothing else names.
    fn unbind(&mut self, job: JobId, change: &Change, deeds: &mut Vec<Deed>) {
        for listen in &change.listen {
            let bound = self.addresses.find(listen.listener).map(|address| address.life);
            if bound == Some(Listener::Bound { by: job }) {
                let address = self.addresses.remove(listen.listener);
                deeds.push(step(listen.listener, address.life.abort()));
            }
        }
    }

    fn connection_ended(&mut self, gone: LetGo, deeds: &mut Vec<Deed>) {
        self.connections -= 1;
        self.let_go(gone, deeds);
        self.check_stopped(deeds);
    }

    fn let_go(&mut self, gone: LetGo, deeds: &mut Vec<Deed>) {
        let LetGo { parts, unnamed, pools } = gone;
        deeds.extend(pools.into_iter().map(|pool| Deed::Forget { pool }));
        for departure in unnamed {
            if let Some(endpoint) = self.endpoints.unnamed(departure) {
                endpoint_released(endpoint, deeds);
            }
        }
        deeds.extend(parts.into_iter().map(|part: Part| Deed::Report(Report::Released { part })));
    }

    fn check_stopped(&mut self, deeds: &mut Vec<Deed>) {
        if self.mode == Mode::Stopping && self.connections == 0 && self.addresses.is_empty() {
            self.mode = Mode::Stopped;
            deeds.push(Deed::Report(Report::Stopped));
        }
    }

    pub fn check_invariants(&self) {
        self.roots.check_invariants();
        self.endpoints.check_invariants();
        self.addresses.check_invariants();
        for pool in self.roots.all_current() {
            for endpoint in &pool.group.endpoints {
                assert!(
                    self.endpoints.is_named(endpoint.slot),
                    "endpoint {} of {} is unknown here",
                    endpoint.slot,
                    pool.id
                );
            }
        }
        for (slot, address) in self.addresses.iter() {
            if let Listener::Bound { by } = address.life {
                assert!(self.prepared.contains_key(&by), "listener {slot} is bound by job {by}, which is not prepared");
            } else {
                let leads = address.last.is_some() || self.roots.current(address.pool).is_some();
                assert!(leads, "listener {slot} accepts and leads nowhere");
            }
        }
    }
}

fn endpoint_released(endpoint: EndpointSlot, deeds: &mut Vec<Deed>) {
    deeds.push(Deed::ForgetEndpoint(endpoint));
    deeds.push(Deed::Report(Report::EndpointReleased { endpoint }));
}

fn step(listener: ListenerSlot, step: Step) -> Deed {
    match step {
        Step::Open => Deed::Open(listener),
        Step::DropSyns => Deed::DropSyns(listener),
        Step::CancelAccept => Deed::CancelAccept(listener),
        Step::GiveBack => Deed::GiveBack(listener),
    }
}
