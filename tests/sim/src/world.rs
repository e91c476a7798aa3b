//! Control, the shards, the queues between them, the kernel and the clock, one small step at a time.
//!
//! Every step is drawn by lot; so messages are delayed at will and between shards arrive in any order. Queues
//! are first in, first out and bounded. A crash of control loses what control had not yet posted; a death of a
//! shard loses the shard and what was posted to it.

use crate::control::{Control, Process};
use crate::dice::Dice;
use crate::kernel::Kernel;
use crate::shard::{Mail, Shard};
use crate::trace::{Trace, Who};
use crate::witness::Witness;
use policy::reload::{Bounds, Report};
use policy::{ShardId, ShardSet, Tick};
use std::collections::VecDeque;
use std::time::Duration;

pub struct World {
    pub env: Env,
    control: Control,
    process: Process,
    shards: Vec<Option<Shard>>,
    incarnations: Vec<u32>,
    /// Shards → control.
    reports: Vec<VecDeque<(u32, Message)>>,
    now: Tick,
    /// The step in which control dies, if that is decided.
    crash_at: Option<u64>,
}

/// What every part of a run shares.
pub struct Env {
    pub dice: Dice,
    pub trace: Trace,
    pub kernel: Kernel,
    pub witness: Witness,
    pub tally: Tally,
    pub profile: Profile,
    /// The load has ended.
    pub draining: bool,
}

/// How rough a run is.
pub struct Profile {
    /// Percent of Prepares that a shard refuses.
    pub refusals: u32,
    /// Percent of tunnels that last until the load ends.
    pub long_tunnels: u32,
    /// Of the connections, those that carry requests.
    pub sessions: u32,
    /// Messages in a mailbox, and in the queue back.
    orders_max: usize,
    reports_max: usize,
    /// Of 1000 steps: stalls, deaths of shards, deaths of control.
    stalls: usize,
    deaths: usize,
    crashes: usize,
    /// Milliseconds that pass at a time, most often.
    haste: usize,
    steps: u64,
}

/// Where clients went.
#[derive(Default, Debug)]
pub struct Tally {
    pub accepted: u64,
    pub served: u64,
    /// No endpoint could be reached.
    pub refused: u64,
    /// The client went away first.
    pub left: u64,
    /// Their shard died.
    pub lost: u64,
    /// The stop's deadline came.
    pub stopped: u64,
    /// Not accepted by us; the shard in whose queue they stood died.
    pub queued_at_a_dead_shard: u64,
}

pub enum Message {
    Report(Box<Report>),
    /// From the keeper: the executor runs.
    Started,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let count = dice.between(1, 8);
        let profile = Profile::roll(&mut dice);
        let bounds = Bounds {
            prepare_timeout: Duration::from_millis(300),
            adopt_timeout: Duration::from_millis(200),
            retained_max: dice.between(0, 400) as u64,
            jobs_max: dice.between(2, 12),
        };
        let mut env = Env {
            dice,
            trace: Trace::new(),
            kernel: Kernel::default(),
            witness: Witness::default(),
            tally: Tally::default(),
            profile,
            draining: false,
        };
        let mut process = Process::new(bounds, ShardSet::first(count));
        let control = Control::start(&mut process, count, &mut env);
        World {
            env,
            control,
            process,
            shards: (0..count).map(|_| None).collect(),
            incarnations: vec![0; count],
            reports: (0..count).map(|_| VecDeque::new()).collect(),
            now: Tick(1),
            crash_at: None,
        }
    }

    /// The whole life of one world.
    pub fn run(&mut self) {
        for shard in 0..self.shards.len() {
            self.start_shard(shard);
        }
        for _ in 0..self.env.profile.steps {
            self.env.trace.step += 1;
            self.step();
        }
        let stops = self.env.dice.chance(30);
        self.env.draining = true;
        self.env.profile.refusals = 0;
        if stops {
            let deadline = self.now.after(Duration::from_secs(3_600));
            let Self { control, process, shards, env, .. } = self;
            control.stop(deadline, process, shards, self.now, env);
            self.settle(|world| world.control.stopped.is_some());
            self.assert_stopped();
        } else {
            for shard in 0..self.shards.len() {
                self.start_shard(shard);
            }
            self.settle(World::is_at_rest);
            self.assert_at_rest();
        }
        self.assert_tally();
    }

    /// One thing happens.
    fn step(&mut self) {
        let Self { control, process, shards, env, now, .. } = self;
        let profile = &env.profile;
        let (stalls, deaths, crashes) = (profile.stalls, profile.deaths, profile.crashes);
        match env.dice.below(1000) {
            0..120 => self.deliver_reports(),
            120..240 => self.deliver_orders(),
            240..360 => self.shards_read(),
            360..460 => self.shards_report(),
            460..560 => self.client_knocks(),
            560..660 => self.shard_accepts(),
            660..820 => self.shard_drives(),
            820..850 => self.shard_ends_accept(),
            850..880 => control.submit(process, shards, *now, env),
            880..930 => drop(control.compile(process, shards, *now, env)),
            930..952 => drop(control.watch(process, shards, env)),
            952..955 => control.withdraw(process, shards, *now, env),
            955..965 => control.probe(process, shards, env),
            965..1000 => self.time_passes(),
            _ => unreachable!("below 1000"),
        }
        let lot = self.env.dice.below(1000);
        if lot < stalls {
            self.stall();
        } else if lot < stalls + deaths {
            self.kill_shard();
        } else if lot < stalls + deaths + crashes || self.crash_at == Some(self.env.trace.step) {
            self.restart_control();
        } else if lot < stalls + 3 * deaths + crashes {
            let shard = self.env.dice.below(self.shards.len());
            self.start_shard(shard);
        }
    }

    /// Control dies; and what killed it may kill its successor soon.
    fn restart_control(&mut self) {
        let Self { control, process, shards, env, now, .. } = self;
        control.restart(process, shards, *now, env);
        let soon = env.trace.step + env.dice.between(5, 100) as u64;
        self.crash_at = env.dice.chance(40).then_some(soon);
    }

    /// Everything that can move moves, until `done`.
    fn settle(&mut self, done: impl Fn(&World) -> bool) {
        const ROUNDS: usize = 400;
        for shard in self.shards.iter_mut().flatten() {
            shard.stalled_until = 0;
        }
        for _ in 0..ROUNDS {
            self.env.trace.step += 1;
            while self.env.kernel.has_handshakes() {
                self.env.kernel.handshake(&mut self.env.dice);
            }
            for shard in 0..self.shards.len() {
                self.settle_shard(shard);
            }
            let Self { control, process, shards, env, .. } = self;
            while control.compile(process, shards, self.now, env) {}
            while control.watch(process, shards, env) {}
            if done(self) {
                return;
            }
            self.pass(Duration::from_millis(20));
        }
        panic!("it does not come to rest: {}", self.unrest());
    }

    fn settle_shard(&mut self, ix: usize) {
        let Self { control, process, shards, reports, env, now, .. } = self;
        let id = ShardId(ix as u16);
        while control.post(id, &mut shards[ix], usize::MAX) {}
        if let Some(shard) = &mut shards[ix] {
            while shard.take_mail(env) || flush(shard, &mut reports[ix], usize::MAX) {}
            for listener in shard.acceptable(env) {
                while let Some(client) = shard.accept(listener, env) {
                    shard.admit(listener, client, env);
                }
            }
            for client in shard.clients() {
                shard.drive(client, env);
            }
            while shard.end_accept(env) {}
            while flush(shard, &mut reports[ix], usize::MAX) {}
        }
        while let Some(message) = self.reports[ix].pop_front() {
            control.take(id, message, process, shards, *now, env);
        }
    }

    fn deliver_reports(&mut self) {
        for ix in self.some_shards() {
            let Self { control, process, shards, reports, env, now, .. } = self;
            if let Some(message) = reports[ix].pop_front() {
                control.take(ShardId(ix as u16), message, process, shards, *now, env);
            }
        }
    }

    fn deliver_orders(&mut self) {
        for ix in self.some_shards() {
            let room = self.env.profile.orders_max;
            self.control.post(ShardId(ix as u16), &mut self.shards[ix], room);
        }
    }

    fn shards_read(&mut self) {
        for ix in self.some_shards() {
            let Self { shards, env, .. } = self;
            if let Some(shard) = shards[ix].as_mut().filter(|shard| shard.is_awake(env)) {
                shard.take_mail(env);
            }
        }
    }

    fn shards_report(&mut self) {
        for ix in self.some_shards() {
            let Self { shards, reports, env, .. } = self;
            if let Some(shard) = shards[ix].as_mut().filter(|shard| shard.is_awake(env)) {
                flush(shard, &mut reports[ix], env.profile.reports_max);
            }
        }
    }

    /// Each with the same chance, so that the larger worlds are not slower.
    fn some_shards(&mut self) -> Vec<usize> {
        let Self { shards, env, .. } = self;
        (0..shards.len()).filter(|_| env.dice.chance(40)).collect()
    }

    /// A shard that can take a step.
    fn awake(&mut self) -> Option<usize> {
        let ix = self.env.dice.below(self.shards.len());
        let shard = self.shards[ix].as_ref()?;
        shard.is_awake(&self.env).then_some(ix)
    }

    fn client_knocks(&mut self) {
        let Env { kernel, dice, trace, .. } = &mut self.env;
        match dice.chance(50) {
            true => {
                if let Some((listener, shard)) = kernel.syn(dice) {
                    trace.note(Who::World, "a client knocks at", u64::from(listener.0), u64::from(shard.0));
                }
            }
            false => drop(kernel.handshake(dice)),
        }
    }

    fn shard_accepts(&mut self) {
        let Some(ix) = self.awake() else { return };
        let Self { shards, env, .. } = self;
        let mut shard = shards[ix].take().expect("awake");
        if let Some(listener) = env.dice.pick(&shard.acceptable(env))
            && let Some(client) = shard.accept(listener, env)
        {
            let root = shard.adopter.held().current.into_iter().find(|pool| pool.listeners.contains(&listener));
            let may_take = |other: &usize| {
                let other = shards[*other].as_ref();
                let room = other.filter(|other| other.mail.len() < env.profile.orders_max);
                room.is_some_and(|other| shard.adopter.may_hand_over(listener, other.adopter.version()))
            };
            let others: Vec<usize> =
                root.iter().flat_map(|root| root.shards.iter().map(ShardId::ix)).filter(may_take).collect();
            match env.dice.pick(&others).filter(|_| env.dice.chance(20)) {
                Some(other) => {
                    env.trace.note(Who::Shard(shard.id.0), "hands a client to", other as u64, client);
                    let other = shards[other].as_mut().expect("it has a mailbox");
                    other.mail.push_back(Mail::Client { listener, client });
                }
                None => shard.admit(listener, client, env),
            }
        }
        shards[ix] = Some(shard);
    }

    fn shard_drives(&mut self) {
        let Some(ix) = self.awake() else { return };
        let Self { shards, env, .. } = self;
        let shard = shards[ix].as_mut().expect("awake");
        if let Some(client) = env.dice.pick(&shard.clients()) {
            shard.drive(client, env);
        }
    }

    fn shard_ends_accept(&mut self) {
        let Some(ix) = self.awake() else { return };
        let Self { shards, env, .. } = self;
        shards[ix].as_mut().expect("awake").end_accept(env);
    }

    fn time_passes(&mut self) {
        let Env { dice, profile, .. } = &mut self.env;
        let millis = match dice.chance(10) {
            true => dice.between(1, 20 * profile.haste),
            false => dice.between(1, profile.haste),
        };
        self.pass(Duration::from_millis(millis as u64));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        let Self { control, process, shards, env, now, .. } = self;
        control.tick(process, shards, *now, env);
        for shard in shards.iter_mut().flatten() {
            shard.deadline(*now, env);
        }
    }

    fn stall(&mut self) {
        let ix = self.env.dice.below(self.shards.len());
        let until = self.env.trace.step + self.env.dice.between(20, 300) as u64;
        if let Some(shard) = &mut self.shards[ix] {
            self.env.trace.note(Who::Shard(ix as u16), "stalls until", until, 0);
            shard.stalled_until = until;
        }
    }

    fn kill_shard(&mut self) {
        let ix = self.env.dice.below(self.shards.len());
        if let Some(shard) = self.shards[ix].take() {
            self.env.trace.note(Who::Shard(ix as u16), "dies", u64::from(shard.incarnation), 0);
            self.env.tally.lost += shard.clients_lost();
            self.env.kernel.shard_died(shard.id);
            self.reports[ix].push_back((shard.incarnation, Message::Report(Box::new(Report::Died))));
        }
    }

    /// The keeper starts an executor and tells control: in line with the reports of the one before, or past
    /// them.
    fn start_shard(&mut self, ix: usize) {
        if self.shards[ix].is_some() {
            return;
        }
        self.incarnations[ix] += 1;
        let (id, incarnation) = (ShardId(ix as u16), self.incarnations[ix]);
        self.env.trace.note(Who::Shard(id.0), "starts", u64::from(incarnation), 0);
        self.shards[ix] = Some(Shard::new(id, incarnation));
        let started = (incarnation, Message::Started);
        if self.env.dice.chance(40) {
            let Self { control, process, shards, env, now, .. } = self;
            control.take(id, started, process, shards, *now, env);
        } else {
            self.reports[ix].push_back(started);
        }
    }

    fn is_at_rest(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What still moves.
    fn unrest(&self) -> String {
        let mut unrest = Vec::new();
        let rollout = &self.control.rollout;
        let slots = &self.process.slots;
        let mut note = |moves: bool, what: &str| {
            if moves {
                unrest.push(what.to_owned())
            }
        };
        note(rollout.live() != ShardSet::first(self.shards.len()), "not every shard is live");
        note(!self.control.is_idle(), "control has jobs, orders or addresses to watch");
        note(!self.env.kernel.is_idle(), "clients wait");
        note(self.shards.iter().flatten().any(|shard| !shard.is_idle()), "a shard has connections or messages");
        note(self.reports.iter().any(|queue| !queue.is_empty()), "reports are on their way");
        note(rollout.who_pins().next().is_some(), "parts are retained");
        note(!rollout.is_accounted(), "not every shard has told what it holds");
        let prepared = self.shards.iter().flatten().any(|shard| !shard.adopter.held().prepared.is_empty());
        note(prepared, "a change is prepared");
        let pools: Vec<_> = slots.pools.iter().filter(|slot| rollout.pool(**slot).is_none()).collect();
        note(!pools.is_empty(), &format!("pool slots {pools:?} are not free"));
        let endpoints: usize = rollout.pools().map(|pool| pool.endpoints().count()).sum();
        note(slots.endpoints.len() != endpoints, "an endpoint slot is not free");
        let listeners: usize = rollout.pools().map(|pool| pool.listeners.len()).sum();
        note(slots.listeners.len() != listeners, "a listener slot is not free");
        unrest.join("; ")
    }

    /// All is as the newest generation says, everywhere, and nothing else is left.
    fn assert_at_rest(&self) {
        let rollout = &self.control.rollout;
        self.env.witness.assert_all_ended(&self.process.admitted);
        for shard in self.shards.iter().flatten() {
            let held = shard.adopter.held();
            let same = held.current.iter().map(|pool| pool.part).eq(rollout.pools().map(|pool| pool.part));
            assert!(same, "shard {} runs another root", shard.id);
            let listens: Vec<_> = rollout
                .pools()
                .filter(|pool| pool.shards.contains(shard.id))
                .flat_map(|pool| pool.listeners.iter().copied())
                .collect();
            assert_eq!(held.listening.len(), listens.len(), "shard {} listens elsewhere", shard.id);
            assert!(listens.iter().all(|listener| held.listening.contains(listener)));
            assert!(held.leaving.is_empty() && held.endpoints_leaving.is_empty() && held.pinned.is_empty());
            for endpoint in rollout.pools().flat_map(|pool| pool.endpoints()) {
                let (told, known) = (shard.states.get(&endpoint.slot), self.process.probed.get(&endpoint.slot));
                assert_eq!(told, known, "shard {} knows an old state of endpoint {}", shard.id, endpoint.slot);
            }
        }
        let roots = self.process.compiler.roots.iter().filter(|root| root.strong_count() > 0).count();
        assert_eq!(roots, rollout.pools().count(), "roots that are alive");
        let policies = self.process.compiler.policies.iter().filter(|policy| policy.strong_count() > 0).count();
        assert_eq!(policies, rollout.pools().count(), "policies that are alive");
    }

    fn assert_stopped(&self) {
        assert_eq!(self.control.stopped, Some(ShardSet::empty()), "the deadline was far away");
        self.env.witness.assert_all_ended(&self.process.admitted);
        for shard in self.shards.iter().flatten() {
            assert!(shard.is_idle(), "shard {} stopped with connections", shard.id);
        }
    }

    fn assert_tally(&self) {
        let Tally { accepted, served, refused, left, lost, stopped, queued_at_a_dead_shard: _ } = self.env.tally;
        assert_eq!(accepted, served + refused + left + lost + stopped, "{:?}", self.env.tally);
    }
}

/// Moves one report on its way, if there is room.
fn flush(shard: &mut Shard, queue: &mut VecDeque<(u32, Message)>, room: usize) -> bool {
    if queue.len() >= room {
        return false;
    }
    let Some(report) = shard.outbox.pop_front() else {
        return false;
    };
    queue.push_back((shard.incarnation, Message::Report(Box::new(report))));
    true
}

impl Profile {
    fn roll(dice: &mut Dice) -> Profile {
        let rough = dice.chance(80);
        let mut often = |most: usize| if rough { dice.below(most + 1) } else { 0 };
        let (refusals, stalls) = (often(15) as u32, often(8));
        let (deaths, crashes) = (often(2), often(1));
        // Some worlds have a weak spot.
        let (stalls, deaths, crashes) = match dice.below(8) {
            0 if rough => (stalls, deaths + 12, crashes),
            1 if rough => (stalls, deaths, crashes + 8),
            2 if rough => (stalls, deaths + 6, crashes + 6),
            3 if rough => (stalls + 25, deaths, crashes + 4),
            _ => (stalls, deaths, crashes),
        };
        Profile {
            refusals,
            long_tunnels: dice.below(40) as u32,
            sessions: dice.below(100) as u32,
            orders_max: dice.between(1, 6),
            reports_max: dice.between(1, 6),
            stalls,
            deaths,
            crashes,
            haste: dice.between(1, 30),
            steps: dice.between(300, 1_500) as u64,
        }
    }
}

impl Message {
    pub fn name(&self) -> &'static str {
        let Message::Report(report) = self else {
            return "hears of a start of shard";
        };
        match &**report {
            Report::Prepared { .. } => "hears prepared from shard",
            Report::Refused { .. } => "hears refused from shard",
            Report::Adopted { .. } => "hears adopted from shard",
            Report::Forgotten { .. } => "hears forgotten from shard",
            Report::Synced { .. } => "hears synced from shard",
            Report::Holding { .. } => "hears holding from shard",
            Report::Released { .. } => "hears part released from shard",
            Report::EndpointReleased { .. } => "hears endpoint released from shard",
            Report::ListenerClosed { .. } => "hears listener closed from shard",
            Report::Leaving { .. } => "hears leaving from shard",
            Report::Stopped => "hears stopped from shard",
            Report::Died => "hears of the death of shard",
        }
    }

    pub fn number(&self) -> u64 {
        let Message::Report(report) = self else {
            return 0;
        };
        match &**report {
            Report::Prepared { job }
            | Report::Refused { job, .. }
            | Report::Adopted { job, .. }
            | Report::Forgotten { job } => job.0,
            Report::Synced { epoch, .. } | Report::Holding { epoch, .. } => *epoch,
            Report::Released { part } => part.id().0,
            Report::EndpointReleased { endpoint } => u64::from(endpoint.0),
            Report::ListenerClosed { listener } => u64::from(listener.0),
            Report::Leaving { .. } | Report::Stopped | Report::Died => 0,
        }
    }
}
