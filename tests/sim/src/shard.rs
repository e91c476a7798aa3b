//! A shard without a ring: it performs what the real [`Adopter`] asks for on the model of the kernel, one
//! small step at a time, and drives its connections through their decisions.

use crate::kernel::Client;
use crate::trace::Who;
use crate::world::Env;
use policy::generation::{Change, PoolGeneration};
use policy::reload::{Adopter, Adoption, Deed, Order, Part, PolicyLease, Refusal, Report, RootLease, Session};
use policy::{EndpointSlot, GenerationId, ListenerSlot, PartId, PoolSlot, ShardId, Tick};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub struct Shard {
    pub id: ShardId,
    pub incarnation: u32,
    pub adopter: Adopter,
    /// Orders and handed-over clients, in one line.
    pub mail: VecDeque<Mail>,
    /// Reports that the queue to control has no room for yet. While there are any, no order is taken.
    pub outbox: VecDeque<Report>,
    /// Takes no step before this one.
    pub stalled_until: u64,
    /// State by endpoint, as ordered.
    pub states: BTreeMap<EndpointSlot, u16>,
    accepts: BTreeMap<ListenerSlot, Accept>,
    connections: BTreeMap<Client, Connection>,
    /// Handed over to us while we are suspended.
    parked: Vec<(ListenerSlot, Client)>,
    retiring: BTreeSet<EndpointSlot>,
    stop_by: Option<Tick>,
    /// It has been suspended, or just started, and not resumed: kept apart from the adopter, to judge it.
    forbidden: bool,
}

pub enum Mail {
    Order(Order),
    Client { listener: ListenerSlot, client: Client },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    Armed,
    /// Cancelled; what is queued is still taken.
    Cancelled,
}

/// A connection: of requests, one after the other, if it has a session, else a single tunnel.
struct Connection {
    session: Option<Session>,
    state: State,
}

enum State {
    /// A session between two requests.
    Idle,
    Undecided {
        lease: RootLease,
        tries: u32,
    },
    Connecting {
        lease: RootLease,
        tries: u32,
        endpoint: EndpointSlot,
        decided: Decided,
    },
    /// Bytes flow: of a tunnel, or of a request's answer.
    Flowing {
        lease: PolicyLease,
        endpoint: EndpointSlot,
        decided: Decided,
        long: bool,
    },
}

/// What a connection read when it chose its endpoint: all it reads later must be of the same generation.
#[derive(Clone, Copy)]
struct Decided {
    number: GenerationId,
    policy: PartId,
}

/// Endpoints that are tried for one connection.
const TRIES: u32 = 3;

impl Shard {
    pub fn new(id: ShardId, incarnation: u32) -> Shard {
        Shard {
            id,
            incarnation,
            adopter: Adopter::new(id),
            mail: VecDeque::new(),
            outbox: VecDeque::new(),
            stalled_until: 0,
            states: BTreeMap::new(),
            accepts: BTreeMap::new(),
            connections: BTreeMap::new(),
            parked: Vec::new(),
            retiring: BTreeSet::new(),
            stop_by: None,
            forbidden: true,
        }
    }

    pub fn is_awake(&self, env: &Env) -> bool {
        self.stalled_until <= env.trace.step
    }

    /// Takes the next message, if there is one and nothing waits to be reported.
    pub fn take_mail(&mut self, env: &mut Env) -> bool {
        if !self.outbox.is_empty() {
            return false;
        }
        match self.mail.pop_front() {
            Some(Mail::Order(order)) => self.take_order(order, env),
            Some(Mail::Client { listener, client }) => self.admit(listener, client, env),
            None => return false,
        }
        true
    }

    fn take_order(&mut self, order: Order, env: &mut Env) {
        env.trace.note(Who::Shard(self.id.0), order_name(&order), order_number(&order), 0);
        match &order {
            Order::Suspend => self.forbidden = true,
            Order::Resume | Order::Stop { .. } => self.forbidden = false,
            _ => {}
        }
        let before: Vec<Arc<PoolGeneration>> = self.adopter.held().current;
        let changed: Option<Vec<_>> = match &order {
            Order::Commit { job, .. } => env.witness.changed_by(*job),
            Order::Sync { .. } => None,
            _ => Some(Vec::new()),
        };
        let refuses = env.dice.chance(env.profile.refusals);
        let room = |_: &Change| match refuses {
            true => Err(Refusal::TableFull { table: "simulated", bound: 0 }),
            false => Ok(()),
        };
        let mut deeds = Vec::new();
        self.adopter.on_order(order, room, &mut deeds);
        if let Some(changed) = changed {
            self.assert_others_untouched(&before, &changed);
        }
        for pool in self.adopter.held().current {
            env.witness.assert_in_force(self.id, &pool);
        }
        self.perform(deeds, env);
    }

    /// A job leaves every pool alone that it does not name.
    fn assert_others_untouched(&self, before: &[Arc<PoolGeneration>], changed: &[policy::PoolSlot]) {
        for pool in before.iter().filter(|pool| !changed.contains(&pool.slot)) {
            let after = self.adopter.pool(pool.slot);
            assert!(after.is_some_and(|after| Arc::ptr_eq(after, pool)), "{} was not named and has changed", pool.id);
        }
    }

    /// Takes one client out of the queue of an address that accepts; to be admitted here or handed over.
    pub fn accept(&mut self, listener: ListenerSlot, env: &mut Env) -> Option<Client> {
        let client = env.kernel.accept(listener, self.id)?;
        env.tally.accepted += 1;
        Some(client)
    }

    /// Addresses with somebody in the queue that this shard may take.
    pub fn acceptable(&self, env: &Env) -> Vec<ListenerSlot> {
        if !self.adopter.accepts() {
            return Vec::new();
        }
        self.accepts.keys().copied().filter(|listener| env.kernel.queued(*listener, self.id) > 0).collect()
    }

    pub fn admit(&mut self, listener: ListenerSlot, client: Client, env: &mut Env) {
        if !self.adopter.accepts() {
            return self.parked.push((listener, client));
        }
        let lease = self.adopter.accept(listener);
        env.trace.note(Who::Shard(self.id.0), "accepts on", u64::from(listener.0), client);
        assert!(!self.forbidden, "shard {} accepts, and was not resumed", self.id);
        env.witness.assert_newest(self.id, listener, self.adopter.root(&lease));
        let mut deeds = Vec::new();
        let connection = match env.dice.chance(env.profile.sessions) {
            true => Connection { session: Some(self.adopter.converse(lease, &mut deeds)), state: State::Idle },
            false => Connection { session: None, state: State::Undecided { lease, tries: 0 } },
        };
        self.connections.insert(client, connection);
        self.perform(deeds, env);
    }

    /// One step of one connection.
    pub fn drive(&mut self, client: Client, env: &mut Env) {
        let mut deeds = Vec::new();
        let Some(connection) = self.connections.remove(&client) else {
            return;
        };
        let stays = self.advance(connection, &mut deeds, env);
        env.trace.note(Who::Shard(self.id.0), "drives", client, u64::from(stays.is_some()));
        self.connections.extend(stays.map(|connection| (client, connection)));
        self.perform(deeds, env);
    }

    fn advance(&mut self, connection: Connection, deeds: &mut Vec<Deed>, env: &mut Env) -> Option<Connection> {
        let Connection { session, state } = connection;
        let state = match state {
            State::Idle => {
                let session = session.expect("only a session is idle");
                if env.draining || env.dice.chance(20) {
                    self.adopter.part(session, deeds);
                    env.tally.left += 1;
                    return None;
                }
                if env.dice.chance(20)
                    && let Some(lease) = self.begin_elsewhere(&session, env)
                {
                    return Some(Connection { session: Some(session), state: State::Undecided { lease, tries: 0 } });
                }
                let lease = self.adopter.begin(&session);
                let gone = self.adopter.pool(session.pool()).is_none();
                let what = if gone { "begins a request of a gone pool" } else { "begins a request of" };
                env.trace.note(Who::Shard(self.id.0), what, u64::from(session.pool().0), 0);
                env.witness.assert_newest_of(self.id, self.adopter.root(&lease));
                let state = State::Undecided { lease, tries: 0 };
                return Some(Connection { session: Some(session), state });
            }
            State::Undecided { lease, tries } => {
                if env.dice.chance(10) {
                    self.undecided_ends(session, lease, deeds);
                    env.tally.left += 1;
                    return None;
                }
                let lease = self.adopter.renew(lease, deeds);
                let root = self.adopter.root(&lease);
                let decided = Decided { number: root.number, policy: root.policy.part };
                let endpoint =
                    env.dice.pick(&root.only_group().expect("a pool of streams").endpoints).filter(|_| tries < TRIES);
                let Some(endpoint) = endpoint.map(|endpoint| endpoint.slot) else {
                    self.undecided_ends(session, lease, deeds);
                    env.tally.refused += 1;
                    return None;
                };
                self.adopter.endpoint_opened(endpoint);
                State::Connecting { lease, tries: tries + 1, endpoint, decided }
            }
            State::Connecting { lease, tries, endpoint, decided } => {
                assert_eq!(self.adopter.root(&lease).number, decided.number, "the root it decided from is leased");
                if env.dice.chance(30) {
                    self.adopter.endpoint_closed(endpoint, deeds);
                    State::Undecided { lease, tries }
                } else {
                    let lease = self.adopter.exchange(lease, deeds);
                    let policy = self.adopter.policy(&lease).part;
                    assert_eq!(
                        policy, decided.policy,
                        "a connection decided from {} gets another's policy",
                        decided.number
                    );
                    let long = env.dice.chance(env.profile.long_tunnels);
                    State::Flowing { lease, endpoint, decided, long }
                }
            }
            State::Flowing { lease, endpoint, decided, long } => {
                let ends = self.retiring.contains(&endpoint) || env.draining || !long && env.dice.chance(40);
                if !ends {
                    return Some(Connection { session, state: State::Flowing { lease, endpoint, decided, long } });
                }
                assert_eq!(self.adopter.policy(&lease).part, decided.policy, "the log line reads what was decided");
                match session {
                    // It goes on as a tunnel.
                    Some(session) if env.dice.chance(10) => {
                        env.trace.note(Who::Shard(self.id.0), "upgrades in", u64::from(session.pool().0), 0);
                        self.adopter.upgrade(session, deeds);
                        let state = State::Flowing { lease, endpoint, decided, long };
                        return Some(Connection { session: None, state });
                    }
                    Some(session) => {
                        self.adopter.endpoint_closed(endpoint, deeds);
                        self.adopter.end_policy(lease, deeds);
                        return Some(Connection { session: Some(session), state: State::Idle });
                    }
                    None => {
                        self.adopter.endpoint_closed(endpoint, deeds);
                        self.adopter.give_back_policy(lease, deeds);
                        env.tally.served += 1;
                        return None;
                    }
                }
            }
        };
        Some(Connection { session, state })
    }

    /// A request that is another pool's than its connection, if there is another.
    fn begin_elsewhere(&mut self, session: &Session, env: &mut Env) -> Option<RootLease> {
        let current = self.adopter.held().current.into_iter().map(|pool| pool.slot);
        let others: Vec<PoolSlot> = current.filter(|slot| *slot != session.pool()).collect();
        let slot = env.dice.pick(&others)?;
        let lease = self.adopter.begin_at(slot).expect("a pool that is current");
        env.trace.note(Who::Shard(self.id.0), "begins elsewhere a request of", u64::from(slot.0), 0);
        env.witness.assert_newest_of(self.id, self.adopter.root(&lease));
        Some(lease)
    }

    /// A connection ends while nothing is decided for it.
    fn undecided_ends(&mut self, session: Option<Session>, lease: RootLease, deeds: &mut Vec<Deed>) {
        match session {
            Some(session) => {
                self.adopter.end(lease, deeds);
                self.adopter.part(session, deeds);
            }
            None => self.adopter.give_back(lease, deeds),
        }
    }

    /// A cancelled accept ends when its queue is empty.
    pub fn end_accept(&mut self, env: &mut Env) -> bool {
        let over = self
            .accepts
            .iter()
            .find(|(listener, accept)| **accept == Accept::Cancelled && env.kernel.queued(**listener, self.id) == 0);
        let Some(listener) = over.map(|(listener, _)| *listener) else {
            return false;
        };
        let mut deeds = Vec::new();
        self.adopter.accept_ended(listener, &mut deeds);
        self.perform(deeds, env);
        true
    }

    pub fn perform(&mut self, deeds: Vec<Deed>, env: &mut Env) {
        for deed in deeds {
            match deed {
                Deed::Report(report) => self.outbox.push_back(report),
                Deed::Adopted { job } => self.outbox.push_back(Report::Adopted { job, adoption: Adoption::default() }),
                Deed::Switched { .. } => {}
                Deed::Forget { pool } => {
                    assert!(self.adopter.pool(pool).is_none(), "pool {pool} is to be forgotten and is current");
                }
                Deed::Open(listener) => {
                    env.kernel.open(listener, self.id);
                    self.accepts.insert(listener, Accept::Armed);
                }
                Deed::DropSyns(listener) => env.kernel.drop_syns(listener, self.id),
                Deed::CancelAccept(listener) => {
                    self.accepts.insert(listener, Accept::Cancelled);
                }
                Deed::GiveBack(listener) => {
                    self.accepts.remove(&listener);
                }
                Deed::Endpoint(state) => {
                    self.states.insert(state.slot, state.addresses[0].port());
                }
                Deed::ForgetEndpoint(endpoint) => {
                    self.states.remove(&endpoint);
                    self.retiring.remove(&endpoint);
                }
                Deed::Retire(endpoint) => {
                    self.retiring.insert(endpoint);
                }
                Deed::StopBy(deadline) => self.stop_by = Some(deadline),
                Deed::SuspendAccept | Deed::ResumeAccept => {}
            }
        }
        self.adopter.check_invariants();
        self.unpark(env);
    }

    /// Clients that were handed over while we were suspended.
    fn unpark(&mut self, env: &mut Env) {
        if self.adopter.accepts() {
            for (listener, client) in std::mem::take(&mut self.parked) {
                self.admit(listener, client, env);
            }
        }
    }

    /// The stop's deadline is over: everything that is left ends.
    pub fn deadline(&mut self, now: Tick, env: &mut Env) {
        if self.stop_by.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.stop_by = None;
        let mut deeds = Vec::new();
        self.adopter.deadline_reached(&mut deeds);
        for connection in std::mem::take(&mut self.connections).into_values() {
            let Connection { session, state } = connection;
            match (state, session) {
                (State::Idle, session) => self.adopter.part(session.expect("only a session is idle"), &mut deeds),
                (State::Undecided { lease, .. }, session) => self.undecided_ends(session, lease, &mut deeds),
                (State::Connecting { lease, endpoint, .. }, session) => {
                    self.adopter.endpoint_closed(endpoint, &mut deeds);
                    self.undecided_ends(session, lease, &mut deeds);
                }
                (State::Flowing { lease, endpoint, .. }, Some(session)) => {
                    self.adopter.endpoint_closed(endpoint, &mut deeds);
                    self.adopter.end_policy(lease, &mut deeds);
                    self.adopter.part(session, &mut deeds);
                }
                (State::Flowing { lease, endpoint, .. }, None) => {
                    self.adopter.endpoint_closed(endpoint, &mut deeds);
                    self.adopter.give_back_policy(lease, &mut deeds);
                }
            }
            env.tally.stopped += 1;
        }
        self.perform(deeds, env);
    }

    pub fn clients(&self) -> Vec<Client> {
        self.connections.keys().copied().collect()
    }

    /// Clients that end with this shard.
    pub fn clients_lost(&self) -> u64 {
        let posted = self.mail.iter().filter(|mail| matches!(mail, Mail::Client { .. })).count();
        (self.connections.len() + self.parked.len() + posted) as u64
    }

    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.parked.is_empty() && self.mail.is_empty() && self.outbox.is_empty()
    }

    /// Whether a part is current, leased or prepared here.
    pub fn holds(&self, part: PartId) -> bool {
        let held = self.adopter.held();
        let prepared = held.prepared.iter().flat_map(|(_, change)| &change.pools).filter_map(|(_, pool)| pool.as_ref());
        held.current.iter().chain(prepared).any(|pool| pool.part == part || pool.policy.part == part)
            || held.pinned.iter().any(|pinned| pinned.part.id() == part)
    }

    /// Whether anything here may still look at this endpoint.
    pub fn uses_endpoint(&self, endpoint: EndpointSlot) -> bool {
        let held = self.adopter.held();
        let pinned = held.pinned.iter().filter_map(|pinned| match &pinned.part {
            Part::Pool(pool) => Some(pool),
            Part::Policy(_) => None,
        });
        let names = |pool: &Arc<PoolGeneration>| pool.endpoints().any(|named| named.slot == endpoint);
        self.adopter.endpoint_connections(endpoint) > 0 || held.current.iter().chain(pinned).any(names)
    }

    /// Whether this shard has borrowed the address's socket.
    pub fn uses_listener(&self, listener: ListenerSlot) -> bool {
        let held = self.adopter.held();
        held.listening.contains(&listener) || held.leaving.contains(&listener)
    }
}

fn order_name(order: &Order) -> &'static str {
    match order {
        Order::Prepare { .. } => "prepares",
        Order::Commit { .. } => "commits",
        Order::Abort { .. } => "aborts",
        Order::Suspend => "is suspended",
        Order::Sync { .. } => "syncs to",
        Order::Resume => "is resumed",
        Order::Tell { .. } => "tells",
        Order::Endpoint(_) => "learns of endpoint",
        Order::Close { .. } => "closes",
        Order::Retire { .. } => "retires",
        Order::Stop { .. } => "stops by",
    }
}

fn order_number(order: &Order) -> u64 {
    match order {
        Order::Prepare { job, .. } | Order::Commit { job, .. } | Order::Abort { job } => job.0,
        Order::Sync { to, .. } => to.version.0,
        Order::Tell { epoch } => *epoch,
        Order::Endpoint(state) => u64::from(state.slot.0),
        Order::Close { listener } => u64::from(listener.0),
        Order::Retire { endpoint } => u64::from(endpoint.0),
        Order::Stop { deadline } => deadline.0,
        Order::Suspend | Order::Resume => 0,
    }
}
