//! Control without threads: it performs what the real [`Rollout`] asks for, and plays the operator.

use crate::compiler::{Compiler, Edit, Wish};
use crate::shard::{Mail, Shard};
use crate::slots::Slots;
use crate::trace::Who;
use crate::world::{Env, Message};
use policy::generation::{Change, EndpointState, Health};
use policy::reload::rollout::{Admission, Kept, Phase};
use policy::reload::{Bounds, Effect, Order, Rollout};
use policy::{EndpointSlot, GenerationId, JobId, ListenerSlot, PoolSlot, RootVersion, ShardId, ShardSet, Tick};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What dies with control.
pub struct Control {
    pub rollout: Rollout,
    /// Orders that the shards' mailboxes have no room for yet.
    pub outboxes: Vec<VecDeque<Order>>,
    /// The executor that each outbox leads to.
    ports: Vec<Option<u32>>,
    /// Jobs that have not ended.
    jobs: BTreeMap<JobId, Job>,
    /// Jobs of a control before this one, which owes their submitters an answer.
    inherited: BTreeSet<JobId>,
    /// Addresses whose handshakes are watched.
    watched: BTreeSet<ListenerSlot>,
    /// How the stop ended.
    pub stopped: Option<ShardSet>,
}

struct Job {
    wish: Wish,
    /// The rollout has its addresses in care.
    handed: bool,
}

/// What outlives it: kept by the process, or by those whom it serves.
pub struct Process {
    pub slots: Slots,
    pub compiler: Compiler,
    pub bounds: Bounds,
    jobs: u64,
    lives: u32,
    states: u16,
    /// Newest state by endpoint, as the prober knows it.
    pub probed: BTreeMap<EndpointSlot, u16>,
    pub admitted: BTreeSet<JobId>,
    /// What no root may be older than, as a restarted control is told.
    confirmed: RootVersion,
}

impl Process {
    pub fn new(bounds: Bounds, shards: ShardSet) -> Process {
        Process {
            slots: Slots::default(),
            compiler: Compiler::new(shards),
            bounds,
            jobs: 0,
            lives: 0,
            states: 0,
            probed: BTreeMap::new(),
            admitted: BTreeSet::new(),
            confirmed: RootVersion::default(),
        }
    }
}

impl Control {
    /// The process starts, with a few pools.
    pub fn start(process: &mut Process, shards: usize, env: &mut Env) -> Control {
        let mut wish = Wish::default();
        for _ in 0..env.dice.between(1, 4) {
            let slot = process.slots.pool();
            let listeners = (0..env.dice.between(1, 2)).map(|_| process.slots.listener()).collect();
            wish.edits.insert(slot, Edit::Add { listeners });
        }
        let first = process.compiler.compile(JobId(0), &wish, |_| None, &mut process.slots, &mut env.dice);
        bind(&first, env);
        first.pools.iter().flat_map(|(_, pool)| pool).for_each(|pool| env.witness.first(pool));
        Control::with(Rollout::new(process.bounds, &first, GenerationId(0)), shards)
    }

    /// Control has died, and its keeper starts another.
    pub fn restart(&mut self, process: &mut Process, shards: &[Option<Shard>], now: Tick, env: &mut Env) {
        env.trace.note(Who::World, "control restarts", 0, 0);
        process.lives += 1;
        let alive: Vec<(ShardId, u32)> = shards.iter().flatten().map(|shard| (shard.id, shard.incarnation)).collect();
        let mut under_way = std::mem::take(&mut self.inherited);
        under_way.extend(self.jobs.keys());
        let kept = Kept {
            life: process.lives,
            confirmed: process.confirmed,
            shards: alive.clone(),
            under_way: under_way.iter().copied().collect(),
            states: process.probed.iter().map(|(slot, number)| state(*slot, *number)).collect(),
        };
        let mut effects = Vec::new();
        let rollout = Rollout::recover(process.bounds, kept, now, &mut effects);
        *self = Control { inherited: under_way, ..Control::with(rollout, shards.len()) };
        for (shard, incarnation) in alive {
            self.ports[shard.ix()] = Some(incarnation);
        }
        self.perform(effects, process, shards, env);
    }

    fn with(rollout: Rollout, shards: usize) -> Control {
        Control {
            rollout,
            outboxes: (0..shards).map(|_| VecDeque::new()).collect(),
            ports: vec![None; shards],
            jobs: BTreeMap::new(),
            inherited: BTreeSet::new(),
            watched: BTreeSet::new(),
            stopped: None,
        }
    }

    /// One message of one shard, or of its keeper.
    pub fn take(
        &mut self,
        shard: ShardId,
        (incarnation, message): (u32, Message),
        process: &mut Process,
        shards: &[Option<Shard>],
        now: Tick,
        env: &mut Env,
    ) {
        let mut effects = Vec::new();
        env.trace.note(Who::Control, message.name(), u64::from(shard.0), message.number());
        match message {
            Message::Started => {
                // A control that has restarted was told by the keeper which executors run.
                if self.ports[shard.ix()] < Some(incarnation) {
                    self.ports[shard.ix()] = Some(incarnation);
                    self.outboxes[shard.ix()].clear();
                    self.rollout.shard_started(shard, incarnation, now, &mut effects);
                }
            }
            Message::Report(report) => {
                self.rollout.on_report(shard, incarnation, *report, now, &mut effects);
            }
        }
        self.perform(effects, process, shards, env);
    }

    pub fn tick(&mut self, process: &mut Process, shards: &[Option<Shard>], now: Tick, env: &mut Env) {
        let mut effects = Vec::new();
        self.rollout.on_tick(now, &mut effects);
        self.perform(effects, process, shards, env);
    }

    /// Puts the next order into a shard's mailbox. An executor that is gone has none.
    pub fn post(&mut self, to: ShardId, shard: &mut Option<Shard>, room: usize) -> bool {
        match shard {
            Some(shard) if Some(shard.incarnation) == self.ports[to.ix()] => {
                if shard.mail.len() >= room {
                    return false;
                }
                let Some(order) = self.outboxes[to.ix()].pop_front() else {
                    return false;
                };
                shard.mail.push_back(Mail::Order(order));
                true
            }
            _ => self.outboxes[to.ix()].pop_front().is_some(),
        }
    }

    /// Somebody wants something.
    pub fn submit(&mut self, process: &mut Process, shards: &[Option<Shard>], now: Tick, env: &mut Env) {
        let known = process.slots.pools.clone();
        let wish = self.wish(process, env);
        process.jobs += 1;
        let job = JobId(process.jobs);
        let deadline = now.after(Duration::from_millis(env.dice.between(500, 5_000) as u64));
        let mut effects = Vec::new();
        let admission = self.rollout.submit(job, wish.touches(), deadline, now, &mut effects);
        env.trace.note(Who::Control, "is given job", job.0, u64::from(matches!(admission, Admission::Start)));
        match admission {
            Admission::Start | Admission::Wait(_) => {
                process.admitted.insert(job);
                self.jobs.insert(job, Job { wish, handed: false });
            }
            Admission::TooMany { .. } | Admission::Stopping => {
                give_back(&wish, process);
                let new = wish.edits.keys().filter(|slot| !known.contains(slot));
                new.for_each(|slot| process.slots.free_pool(*slot));
            }
        }
        self.perform(effects, process, shards, env);
    }

    fn wish(&mut self, process: &mut Process, env: &mut Env) -> Wish {
        let mut wish = Wish::default();
        let known: Vec<PoolSlot> = process.slots.pools.iter().copied().collect();
        for _ in 0..env.dice.between(1, 2) {
            if let Some(slot) = env.dice.pick(&known) {
                wish.edits.entry(slot).or_insert_with(|| edit(process, env));
            }
        }
        if wish.edits.is_empty() || known.len() < 5 && env.dice.chance(15) {
            let listeners = vec![process.slots.listener()];
            wish.edits.insert(process.slots.pool(), Edit::Add { listeners });
        }
        if wish.edits.len() == 2 && env.dice.chance(30) {
            let (from, to) = (*wish.edits.keys().next().expect("two"), *wish.edits.keys().last().expect("two"));
            let listeners = self.rollout.pool(from).map_or(Vec::new(), |pool| pool.listeners.to_vec());
            wish.moves = env.dice.pick(&listeners).map(|listener| (listener, from, to));
        }
        wish
    }

    /// Compiles a job whose turn has come, and hands it over.
    pub fn compile(&mut self, process: &mut Process, shards: &[Option<Shard>], now: Tick, env: &mut Env) -> bool {
        let compiling = self.jobs.keys().copied().filter(|job| self.rollout.phase(*job) == Some(Phase::Compiling));
        let Some(job) = env.dice.pick(&compiling.collect::<Vec<_>>()) else {
            return false;
        };
        let mut effects = Vec::new();
        let entry = self.jobs.get_mut(&job).expect("it is compiling");
        if env.dice.chance(10) && !env.draining {
            // It turns out to touch one pool more.
            let more = env.dice.pick(&process.slots.pools.iter().copied().collect::<Vec<_>>());
            let edit = Edit::Rules { same_policy: true };
            entry.wish.edits.extend(more.filter(|slot| !entry.wish.edits.contains_key(slot)).map(|slot| (slot, edit)));
            let touches = entry.wish.touches();
            env.trace.note(Who::Control, "sends to the end of the lines job", job.0, 0);
            assert!(self.rollout.retouch(job, touches, now, &mut effects).is_some(), "it is compiling");
            self.perform(effects, process, shards, env);
            return true;
        }
        let running = |slot| self.rollout.pool(slot).cloned();
        let change = process.compiler.compile(job, &entry.wish, running, &mut process.slots, &mut env.dice);
        env.trace.note(Who::Control, "has compiled job", job.0, change.pools.len() as u64);
        for listen in &change.listen {
            if env.kernel.is_bound(listen.listener) {
                env.trace.note(Who::Control, "moves address", u64::from(listen.listener.0), job.0);
            }
        }
        let comes: BTreeSet<ListenerSlot> = change.listen.iter().map(|listen| listen.listener).collect();
        for listener in entry.wish.listeners().into_iter().filter(|listener| !comes.contains(listener)) {
            process.slots.free_listener(listener);
        }
        entry.handed = true;
        if change.pools.is_empty() {
            assert!(self.rollout.withdraw(job, now, &mut effects), "nothing to do");
        } else {
            bind(&change, env);
            env.witness.prepared(job, &change);
            assert!(self.rollout.prepare(job, Arc::new(change), now, &mut effects), "it is compiling");
        }
        self.perform(effects, process, shards, env);
        true
    }

    pub fn withdraw(&mut self, process: &mut Process, shards: &[Option<Shard>], now: Tick, env: &mut Env) {
        if let Some(job) = env.dice.pick(&self.jobs.keys().copied().collect::<Vec<_>>()) {
            let mut effects = Vec::new();
            let withdrawn = self.rollout.withdraw(job, now, &mut effects);
            env.trace.note(Who::Control, "withdraws job", job.0, u64::from(withdrawn));
            self.perform(effects, process, shards, env);
        }
    }

    /// Something was learned of an endpoint, or its tunnels shall end.
    pub fn probe(&mut self, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) {
        let endpoints: Vec<EndpointSlot> = process.slots.endpoints.keys().copied().collect();
        let Some(endpoint) = env.dice.pick(&endpoints) else {
            return;
        };
        let mut effects = Vec::new();
        if env.dice.chance(20) {
            self.rollout.retire(endpoint, &mut effects);
        } else {
            process.states += 1;
            if self.rollout.uses_endpoint(endpoint) {
                process.probed.insert(endpoint, process.states);
            }
            self.rollout.endpoint_state(state(endpoint, process.states), &mut effects);
        }
        self.perform(effects, process, shards, env);
    }

    /// Looks whether a handshake is pending on some watched address.
    pub fn watch(&mut self, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) -> bool {
        let over = self.watched.iter().copied().filter(|listener| env.kernel.pending(*listener) == 0);
        let Some(listener) = env.dice.pick(&over.collect::<Vec<_>>()) else {
            return false;
        };
        self.watched.remove(&listener);
        let mut effects = Vec::new();
        env.trace.note(Who::Control, "sees no handshake on", u64::from(listener.0), 0);
        self.rollout.handshakes_over(listener, &mut effects);
        self.perform(effects, process, shards, env);
        true
    }

    pub fn stop(&mut self, deadline: Tick, process: &mut Process, shards: &[Option<Shard>], now: Tick, env: &mut Env) {
        let mut effects = Vec::new();
        env.trace.note(Who::World, "stops by", deadline.0, 0);
        self.rollout.stop(deadline, now, &mut effects);
        self.perform(effects, process, shards, env);
    }

    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
            && self.inherited.is_empty()
            && self.watched.is_empty()
            && self.outboxes.iter().all(VecDeque::is_empty)
    }

    fn perform(&mut self, effects: Vec<Effect>, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) {
        // An executor that control has not yet heard the end of is not the one that runs now.
        let known = |shard: &&Shard| self.ports[shard.id.ix()] == Some(shard.incarnation);
        let known = shards.iter().flatten().filter(known).map(|shard| shard.id);
        env.witness.known = known.collect();
        env.witness.live = self.rollout.live().and(env.witness.known);
        for effect in effects {
            self.perform_one(effect, process, shards, env);
        }
        process.confirmed = self.rollout.confirmed();
        self.rollout.check_invariants();
        env.witness.assert_retained(&self.rollout, process.bounds.retained_max);
    }

    fn perform_one(&mut self, effect: Effect, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) {
        match effect {
            Effect::Send { shard, order } => self.outboxes[shard.ix()].push_back(order),
            Effect::Reached { job, phase: Phase::Committing, .. } => {
                env.trace.note(Who::Control, "commits job", job.0, 0);
                env.witness.committed(job, &self.rollout);
            }
            Effect::Ready { .. } | Effect::Reached { .. } | Effect::Adopted { .. } => {}
            Effect::Ended { job, outcome } => {
                env.trace.note(Who::Control, outcome_name(&outcome), job.0, 0);
                env.witness.ended(job, &outcome, &self.rollout, shards);
                self.inherited.remove(&job);
                if let Some(Job { wish, handed: false }) = self.jobs.remove(&job) {
                    give_back(&wish, process);
                }
            }
            Effect::Free(part) => {
                env.trace.note(Who::Control, "frees part", part.id().0, 0);
                env.witness.assert_part_free(&part, shards);
            }
            Effect::FreePool(slot) => {
                env.trace.note(Who::Control, "frees pool", u64::from(slot.0), 0);
                let named = self.jobs.values().any(|job| job.wish.edits.contains_key(&slot));
                assert!(!named, "pool slot {slot} is freed, and a job names it");
                env.witness.assert_pool_free(slot, shards);
                process.slots.free_pool(slot);
            }
            Effect::FreeEndpoint(slot) => self.free_endpoint(slot, process, shards, env),
            Effect::FreeListener(slot) => self.free_listener(slot, process, shards, env),
            Effect::CheckHandshakes(listener) => {
                self.watched.insert(listener);
            }
            Effect::Steer(live) => {
                env.trace.note(Who::Control, "steers to", live.0, 0);
                assert!(!live.is_empty(), "steered to nobody");
                env.kernel.steer(live);
            }
            Effect::Recovered { is_behind, .. } => {
                env.trace.note(Who::Control, "has its root again", u64::from(is_behind), 0);
                if is_behind {
                    env.witness.fell_behind(&self.rollout, shards);
                }
            }
            Effect::Accounted => self.sweep(process, shards, env),
            Effect::Stopped { unfinished } => {
                env.trace.note(Who::Control, "has stopped", unfinished.0, 0);
                assert!(self.stopped.replace(unfinished).is_none(), "stopped twice");
            }
        }
    }

    fn free_endpoint(&mut self, slot: EndpointSlot, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) {
        env.trace.note(Who::Control, "frees endpoint", u64::from(slot.0), 0);
        env.witness.assert_endpoint_free(slot, shards);
        process.slots.free_endpoint(slot);
        process.probed.remove(&slot);
    }

    fn free_listener(&mut self, slot: ListenerSlot, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) {
        env.trace.note(Who::Control, "frees listener", u64::from(slot.0), 0);
        env.witness.assert_listener_free(slot, shards);
        process.slots.free_listener(slot);
        self.watched.remove(&slot);
        let reset = env.kernel.close(slot);
        assert_eq!(reset.by_us, 0, "listener {slot} is closed on clients that were let in");
        env.tally.queued_at_a_dead_shard += reset.with_a_dead_shard;
    }

    /// After a restart: what nobody knows is free.
    fn sweep(&mut self, process: &mut Process, shards: &[Option<Shard>], env: &mut Env) {
        env.trace.note(Who::Control, "knows what everybody holds", 0, 0);
        let wished = |listener: &ListenerSlot| {
            self.jobs.values().any(|job| !job.handed && job.wish.listeners().contains(listener))
        };
        let listeners: Vec<ListenerSlot> =
            process.slots.listeners.iter().copied().filter(|slot| !wished(slot)).collect();
        for slot in listeners {
            if !self.rollout.uses_listener(slot) {
                match env.kernel.is_bound(slot) {
                    true => self.free_listener(slot, process, shards, env),
                    false => process.slots.free_listener(slot),
                }
            }
        }
        for slot in process.slots.endpoints.keys().copied().collect::<Vec<_>>() {
            if !self.rollout.uses_endpoint(slot) {
                self.free_endpoint(slot, process, shards, env);
            }
        }
        for slot in process.slots.pools.iter().copied().collect::<Vec<_>>() {
            if !self.rollout.uses_pool(slot) {
                env.witness.assert_pool_free(slot, shards);
                process.slots.free_pool(slot);
            }
        }
    }
}

/// The registry makes the sockets of addresses that are new, before any shard is asked to prepare.
fn bind(change: &Change, env: &mut Env) {
    for listen in &change.listen {
        if !env.kernel.is_bound(listen.listener) {
            env.kernel.bind(listen.listener, listen.shards);
        }
    }
}

/// What an operator may want of one pool.
fn edit(process: &mut Process, env: &mut Env) -> Edit {
    match env.dice.below(10) {
        0 => Edit::Remove,
        1 | 2 => Edit::Add { listeners: vec![process.slots.listener()] },
        3 | 4 => Edit::Addresses { come: (0..env.dice.below(3)).map(|_| process.slots.listener()).collect() },
        5..=7 => Edit::Endpoints,
        same => Edit::Rules { same_policy: same == 8 },
    }
}

/// Addresses that were set aside for a job which never used them.
fn give_back(wish: &Wish, process: &mut Process) {
    for listener in wish.listeners() {
        process.slots.free_listener(listener);
    }
}

/// A state that can be told from every other by its port.
fn state(slot: EndpointSlot, number: u16) -> EndpointState {
    let addresses = Arc::new([SocketAddr::from((Ipv4Addr::LOCALHOST, number))]);
    EndpointState { slot, health: Health::Up, addresses }
}

fn outcome_name(outcome: &policy::reload::Outcome) -> &'static str {
    use policy::reload::Outcome;
    match outcome {
        Outcome::Applied { .. } => "calls applied job",
        Outcome::Refused { .. } => "calls refused job",
        Outcome::PrepareTimeout { .. } => "calls late job",
        Outcome::NoShard => "has no shard for job",
        Outcome::Unconfirmed => "has no word of job",
        Outcome::Expired { .. } => "calls expired job",
        Outcome::Withdrawn => "calls withdrawn job",
        Outcome::Stopping => "stops before job",
        Outcome::Interrupted => "calls interrupted job",
    }
}
