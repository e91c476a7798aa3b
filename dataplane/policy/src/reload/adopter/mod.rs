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
//! One that carries requests, one after the other, is a [`Session`]: [`Adopter::converse`] right after `accept`. Each
//! request then passes through 2 to 4 with [`Adopter::begin`] before (or [`Adopter::begin_at`], where it is another
//! pool's than its connection) and [`Adopter::end`] or [`Adopter::end_policy`]
//! behind; the connection's own end is [`Adopter::part`], or [`Adopter::upgrade`] where it goes on as a tunnel.
//!
//! The shard keeps no `Arc` of a generation beyond the event: it borrows through its lease. Then what is
//! released here is really let go, and the reference travels home in the report.

use super::listener::Listener;
use super::planted::{Mistake, is};
use super::{Committed, Held, Order, Part, Refusal, Report};
use crate::generation::{Change, EndpointState, PoolGeneration, TunnelPolicy};
use crate::ids::{EndpointSlot, JobId, ListenerSlot, PoolSlot, RootVersion, ShardId};
use crate::tick::Tick;
use addresses::Addresses;
use endpoints::Endpoints;
use roots::{Departure, LetGo, Roots, Seen};
use sessions::Sessions;
use std::collections::BTreeMap;
use std::sync::Arc;

mod addresses;
mod endpoints;
mod listening;
mod roots;
mod sessions;
mod sync;

pub use roots::{PolicyLease, RootLease};
pub use sessions::Session;

/// What the shard must do. Performed in order: what a report says is then true.
#[derive(Debug)]
pub enum Deed {
    Report(Report),
    /// The change is in force: report [`Report::Adopted`] with what it cost.
    Adopted {
        job: JobId,
    },
    /// [`Adopter::pool`] answers differently now: bring pickers, caps and checks in line, by identity. `before`: what it
    /// answered, so that what is the same in both need not be looked at; let go of it before the next deed.
    Switched {
        pool: PoolSlot,
        before: Option<Arc<PoolGeneration>>,
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
    sessions: Sessions,
    prepared: BTreeMap<JobId, Arc<Change>>,
    committed: Committed,
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
    /// A shard that has just started: it accepts nothing before its first Sync and Resume.
    pub fn new(shard: ShardId) -> Adopter {
        Adopter {
            shard,
            mode: Mode::Suspended,
            version: RootVersion::default(),
            roots: Roots::default(),
            endpoints: Endpoints::default(),
            addresses: Addresses::default(),
            sessions: Sessions::default(),
            prepared: BTreeMap::new(),
            committed: Committed::default(),
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
                    self.unbind_all(job, &change, deeds);
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

    /// A connection has come out of this address, here or on a shard that handed it over: it leases the root
    /// that serves it.
    pub fn accept(&mut self, listener: ListenerSlot) -> RootLease {
        assert!(self.accepts(), "accepted while {:?}", self.mode);
        let address = self.addresses.find(listener).expect("an address that is open here");
        assert!(address.life.accepts(), "accepted on an address that is {:?}", address.life);
        let lease = match &address.last {
            Some(last) => self.roots.again(last),
            None => self.roots.lease(address.pool).expect("an open address leads somewhere"),
        };
        self.connections += 1;
        lease
    }

    /// Whether a connection from this address may be handed to another shard that listens there too and was
    /// last seen at root `version`: where the root is the same the address is open, and as the mailbox is
    /// the one that orders use, it will not be closed before the connection arrives. One that arrives while
    /// the shard is suspended waits for `ResumeAccept`, as one that raced with the suspension does.
    pub fn may_hand_over(&self, listener: ListenerSlot, version: RootVersion) -> bool {
        let address = self.addresses.find(listener);
        version == self.version && address.is_some_and(|address| address.life == Listener::Listening)
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
        let lease = match is(Mistake::ExchangeForCurrentPolicy) {
            true => self.renew(lease, deeds),
            false => lease,
        };
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

    /// A connection that has just come in will carry requests: until the first one it leases nothing.
    pub fn converse(&mut self, lease: RootLease, deeds: &mut Vec<Deed>) -> Session {
        let slot = self.roots.leased(&lease).slot;
        let session = self.sessions.begin(slot);
        if self.roots.current(slot).is_none() {
            // It came out of an address that has outlived its pool.
            self.sessions.outlive(slot, || Some(self.roots.again(&lease)));
        }
        self.end(lease, deeds);
        session
    }

    /// A request begins: it leases the newest root of its connection's pool, or the last one of a pool that is gone.
    pub fn begin(&mut self, session: &Session) -> RootLease {
        match self.sessions.last(session.pool()) {
            Some(last) => self.roots.again(last),
            None => self.roots.lease(session.pool()).expect("a session's pool has a root"),
        }
    }

    /// A request begins that its connection's pool leaves to the one in this slot: it leases that one's newest root, and
    /// moves and ends as any other. `None`: the slot is nobody's. Whether it is still that pool's, [`Adopter::pool`] tells.
    pub fn begin_at(&mut self, slot: PoolSlot) -> Option<RootLease> {
        self.roots.lease(slot)
    }

    /// What the next request of this session would read: for what is asked of its connection before there is one.
    pub fn newest(&self, session: &Session) -> &Arc<PoolGeneration> {
        match self.sessions.last(session.pool()) {
            Some(last) => self.roots.leased(last),
            None => self.roots.current(session.pool()).expect("a session's pool has a root"),
        }
    }

    /// Whether a client does well to ask its next request elsewhere: the pool is gone, or this shard stops.
    pub fn wants_to_part(&self, session: &Session) -> bool {
        self.mode == Mode::Stopping || self.sessions.last(session.pool()).is_some()
    }

    /// A request ended undecided.
    pub fn end(&mut self, lease: RootLease, deeds: &mut Vec<Deed>) {
        let mut gone = LetGo::default();
        self.roots.give_back(lease, &mut gone);
        self.let_go(gone, deeds);
    }

    /// A request ended that had exchanged its root.
    pub fn end_policy(&mut self, lease: PolicyLease, deeds: &mut Vec<Deed>) {
        let mut gone = LetGo::default();
        self.roots.give_back_policy(lease, &mut gone);
        self.let_go(gone, deeds);
    }

    /// The connection of this session ended. No request of it is under way.
    pub fn part(&mut self, session: Session, deeds: &mut Vec<Deed>) {
        self.end_session(session, deeds);
        self.connection_ended(LetGo::default(), deeds);
    }

    /// The connection of this session goes on as a tunnel, whose lease is that of its last request.
    pub fn upgrade(&mut self, session: Session, deeds: &mut Vec<Deed>) {
        self.end_session(session, deeds);
    }

    fn end_session(&mut self, session: Session, deeds: &mut Vec<Deed>) {
        if let Some(last) = self.sessions.end(session) {
            self.end(last, deeds);
        }
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
            committed: self.committed.clone(),
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
                self.bind_all(job, &change, deeds);
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
        self.open_all(&change.listen, &mut gone, deeds);
        self.version = version;
        self.committed.push(job);
        drop(change); // before the report: control then holds the only reference
        deeds.push(Deed::Adopted { job });
        self.let_go(gone, deeds);
    }

    fn stop(&mut self, deadline: Tick, deeds: &mut Vec<Deed>) {
        if self.mode == Mode::Stopped {
            self.mode = Mode::Stopping; // asked by another control: it is told again
        }
        if self.mode == Mode::Suspended {
            deeds.push(Deed::ResumeAccept); // what is queued gets the root we have rather than a reset
        }
        self.mode = Mode::Stopping;
        for (job, change) in std::mem::take(&mut self.prepared) {
            self.unbind_all(job, &change, deeds);
        }
        for listener in self.addresses.which(|address| address.life == Listener::Listening) {
            self.leave(listener, deeds);
        }
        let listeners = self.addresses.leaving().to_vec();
        deeds.push(Deed::Report(Report::Leaving { listeners }));
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
        if new.is_none() && !is(Mistake::SessionsForgotten) {
            self.sessions.outlive(slot, || self.roots.lease(slot));
        }
        let comes = new.is_some() && !is(Mistake::SessionsStayBehind);
        let before = self.roots.current(slot).cloned();
        self.roots.switch(slot, new, left, seen, gone);
        if comes && let Some(last) = self.sessions.follow(slot) {
            self.roots.give_back(last, gone);
        }
        deeds.push(Deed::Switched { pool: slot, before });
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
        self.sessions.check_invariants();
        for slot in self.sessions.pools() {
            let (last, current) = (self.sessions.last(slot).is_some(), self.roots.current(slot).is_some());
            assert!(last != current, "sessions of pool {slot} have its root or its last one, and not both");
        }
        for pool in self.roots.all_current() {
            for endpoint in pool.endpoints() {
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
