//! Control without its sockets and threads: documents in, and the real conversation with real shards' ends
//! behind it, every message delivered at once.
//!
//! What the rollout asserts about a change, and what a shard asserts, is so asserted about every change
//! that these tests compile.

use crate::SHARDS;
use config::{Compiled, Config, Plan, Running, Slots, compile, diff};
use policy::generation::Change;
use policy::reload::rollout::Phase;
use policy::reload::{
    Adopter, Adoption, Bounds, Deed, Effect, Outcome, PolicyLease, Refusal, Report, Rollout, Touches,
};
use policy::{EndpointSlot, JobId, ListenerSlot, ShardId, ShardSet, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct Appliance {
    pub running: Running,
    pub slots: Slots,
    pub rollout: Rollout,
    shards: Vec<Adopter>,
    tunnels: Vec<(ShardId, PolicyLease, EndpointSlot)>,
    jobs: BTreeMap<JobId, Job>,
    last_job: u64,
    effects: Vec<Effect>,
    pub outcomes: BTreeMap<JobId, Outcome>,
    /// Every shard refuses what it is asked to prepare.
    pub refuses: bool,
    /// Handshakes never end on addresses that are left.
    pub handshakes_last: bool,
    leaving: Vec<ListenerSlot>,
}

struct Job {
    new: Arc<Config>,
    compiled: Option<Compiled>,
}

impl Appliance {
    /// The first document is in force on all shards.
    pub fn started(config: &Arc<Config>) -> Appliance {
        let mut slots = Slots::default();
        let before = Running::at_start(config);
        let live = diff(&before.config, config).live().expect("a first document needs no restart");
        let compiled = compile(&before, config, live, JobId(1), ShardSet::first(SHARDS), &mut slots);
        let rollout = Rollout::new(Bounds::default(), &compiled.change, JobId(1).into());
        compiled.applied(&mut slots);
        let mut appliance = Appliance {
            running: before.after(&compiled),
            slots,
            rollout,
            shards: (0..SHARDS as u16).map(|shard| Adopter::new(ShardId(shard))).collect(),
            tunnels: Vec::new(),
            jobs: BTreeMap::new(),
            last_job: 1,
            effects: Vec::new(),
            outcomes: BTreeMap::new(),
            refuses: false,
            handshakes_last: false,
            leaving: Vec::new(),
        };
        for shard in 0..SHARDS as u16 {
            appliance.rollout.shard_started(ShardId(shard), 0, Tick(0), &mut appliance.effects);
        }
        appliance.run();
        appliance
    }

    /// From document to outcome.
    pub fn apply(&mut self, new: &Arc<Config>) -> JobId {
        let job = self.submit(new);
        self.compile_ready(job);
        self.prepare(job);
        job
    }

    pub fn plan(&self, new: &Arc<Config>) -> Plan {
        diff(&self.running.config, new)
    }

    pub fn submit(&mut self, new: &Arc<Config>) -> JobId {
        self.last_job += 1;
        let job = JobId(self.last_job);
        self.jobs.insert(job, Job { new: new.clone(), compiled: None });
        // Compiled once only to learn its slots.
        let touches = touches(&self.compile(job));
        let admission = self.rollout.submit(job, touches, Tick(1_000_000), Tick(0), &mut self.effects);
        let _ = admission; // waiting shows in the phase
        self.run();
        job
    }

    /// Compiles the job, if its turn has come.
    pub fn compile_ready(&mut self, job: JobId) {
        if self.rollout.phase(job) == Some(Phase::Compiling) {
            let compiled = self.compile(job);
            assert!(self.rollout.touch_also(job, touches(&compiled)));
            self.jobs.get_mut(&job).expect("it has not ended").compiled = Some(compiled);
        }
    }

    fn compile(&mut self, job: JobId) -> Compiled {
        let new = self.jobs[&job].new.clone();
        let live = self.plan(&new).live().expect("these documents need no restart");
        compile(&self.running, &new, live, job, ShardSet::first(SHARDS), &mut self.slots)
    }

    pub fn compiled(&self, job: JobId) -> &Compiled {
        self.jobs[&job].compiled.as_ref().expect("compiled before")
    }

    /// On to the shards, as far as it is compiled and has not ended.
    pub fn prepare(&mut self, job: JobId) {
        let Some(compiled) = self.jobs.get(&job).and_then(|job| job.compiled.as_ref()) else { return };
        let change = compiled.change.clone();
        assert!(self.rollout.prepare(job, change, Tick(0), &mut self.effects));
        self.run();
    }

    /// The job is taken back before it is prepared, and with it what the rollout never heard of.
    pub fn withdraw(&mut self, job: JobId) {
        let compiled = self.jobs.get_mut(&job).and_then(|job| job.compiled.take());
        self.rollout.withdraw(job, Tick(0), &mut self.effects);
        self.run();
        let Some(compiled) = compiled else { return };
        for (_, endpoint) in &compiled.change.endpoints_come {
            if !self.rollout.uses_endpoint(*endpoint) {
                self.slots.release_endpoint(*endpoint);
            }
        }
        for bind in &compiled.bind {
            if !self.rollout.uses_listener(bind.listener) {
                self.slots.release_listener(bind.listener);
            }
        }
    }

    /// A tunnel on each shard to each endpoint of the first pool that has any.
    pub fn open_tunnels(&mut self) {
        let pools: Vec<_> = self.running.pools.values().map(|pool| pool.generation.clone()).collect();
        let Some(pool) = pools.iter().find(|pool| pool.endpoints().next().is_some()) else { return };
        for shard in 0..SHARDS as u16 {
            for endpoint in pool.endpoints() {
                let mut deeds = Vec::new();
                let adopter = &mut self.shards[usize::from(shard)];
                let lease = adopter.accept(pool.listeners[0]);
                adopter.endpoint_opened(endpoint.slot);
                let lease = adopter.exchange(lease, &mut deeds);
                self.tunnels.push((ShardId(shard), lease, endpoint.slot));
                self.perform(ShardId(shard), deeds);
            }
        }
        self.run();
    }

    pub fn close_tunnels(&mut self) {
        for (shard, lease, endpoint) in std::mem::take(&mut self.tunnels) {
            let mut deeds = Vec::new();
            self.shards[shard.ix()].endpoint_closed(endpoint, &mut deeds);
            self.shards[shard.ix()].give_back_policy(lease, &mut deeds);
            self.perform(shard, deeds);
        }
        self.run();
    }

    pub fn end_handshakes(&mut self) {
        self.handshakes_last = false;
        for listener in std::mem::take(&mut self.leaving) {
            self.rollout.handshakes_over(listener, &mut self.effects);
        }
        self.run();
    }

    /// Everything ends; then every slot in use is one that runs.
    pub fn come_to_rest(&mut self) {
        self.end_handshakes();
        self.close_tunnels();
        self.check_slots();
        let endpoints = self.running.pools.values().map(|pool| pool.generation.endpoints().count()).sum();
        assert_eq!(self.slots.in_use(), (self.running.pools.len(), endpoints, self.running.listeners.len()));
        assert_eq!(self.rollout.who_pins().count(), 0);
    }

    /// What runs has slots of its own, and they are named after it; every shard runs it.
    pub fn check_slots(&self) {
        let (mut pools, mut endpoints, mut listeners) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (id, pool) in &self.running.pools {
            let generation = &pool.generation;
            assert!(pools.insert(generation.slot));
            assert_eq!(self.slots.pool(generation.slot), Some(id));
            let groups = pool.content.groups.iter().map(|(id, content)| (pool.group(id).expect("it runs"), content));
            assert_eq!(generation.groups.len(), pool.content.groups.len());
            for (endpoint, content) in
                groups.flat_map(|(group, content)| group.endpoints.iter().map(move |endpoint| (endpoint, content)))
            {
                assert!(endpoints.insert(endpoint.slot));
                let identity = self.slots.endpoint(endpoint.slot).expect("in use");
                let named = (&identity.pool, &identity.group, &identity.address);
                assert_eq!(named, (id, &content.id, &endpoint.address));
            }
            for shard in &self.shards {
                assert!(Arc::ptr_eq(shard.pool(generation.slot).expect("it runs"), generation));
            }
        }
        for (address, listen) in &self.running.listeners {
            assert!(listeners.insert(listen.listener));
            assert_eq!(self.slots.listener(listen.listener), Some(address));
        }
    }

    fn run(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.effect(effect);
            }
            self.rollout.check_invariants();
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { shard, order } => {
                let refuses = self.refuses;
                let room = |_: &Change| match refuses {
                    true => Err(Refusal::TableFull { table: "test", bound: 0 }),
                    false => Ok(()),
                };
                let mut deeds = Vec::new();
                self.shards[shard.ix()].on_order(order, room, &mut deeds);
                self.perform(shard, deeds);
            }
            Effect::Ended { job, outcome } => {
                let compiled = self.jobs.remove(&job).expect("every job is here until it ends").compiled;
                if let (Outcome::Applied { .. }, Some(compiled)) = (&outcome, compiled) {
                    compiled.applied(&mut self.slots);
                    self.running = self.running.after(&compiled);
                }
                self.outcomes.insert(job, outcome);
            }
            Effect::FreePool(slot) => drop(self.slots.release_pool(slot)),
            Effect::FreeEndpoint(slot) => drop(self.slots.release_endpoint(slot)),
            Effect::FreeListener(slot) => drop(self.slots.release_listener(slot)),
            Effect::CheckHandshakes(listener) if self.handshakes_last => self.leaving.push(listener),
            Effect::CheckHandshakes(listener) => self.rollout.handshakes_over(listener, &mut self.effects),
            _ => {}
        }
    }

    fn perform(&mut self, shard: ShardId, deeds: Vec<Deed>) {
        for deed in deeds {
            let report = match deed {
                Deed::Report(report) => report,
                Deed::Adopted { job } => Report::Adopted { job, adoption: Adoption::default() },
                Deed::CancelAccept(listener) => {
                    let mut deeds = Vec::new();
                    self.shards[shard.ix()].accept_ended(listener, &mut deeds);
                    self.perform(shard, deeds);
                    continue;
                }
                _ => continue,
            };
            self.rollout.on_report(shard, 0, report, Tick(0), &mut self.effects);
        }
        self.shards[shard.ix()].check_invariants();
    }
}

fn touches(compiled: &Compiled) -> Touches {
    let change = &compiled.change;
    let listeners = change.listen.iter().map(|listen| listen.listener).chain(change.leave.iter().copied());
    Touches {
        pools: change.pools.iter().map(|(slot, _)| *slot).collect(),
        listeners: listeners.chain(compiled.bind.iter().filter_map(|bind| bind.after)).collect(),
    }
}
