//! Control has died and a new one knows nothing.
//!
//! The shards know everything between them. Each shard's root is the root at some version, so the highest
//! one is the newest: it contains every change that any shard has committed. Every shard is then let in anew
//! at that root, as if it had just started: those that had prepared a committed change but not committed it
//! get it so, those that had prepared another forget it. A job that was under way is applied if any shard
//! has committed it, and otherwise was never visible.
//!
//! A shard that does not answer in time is lost, as always. If what the others know is older than what was
//! told to submitters ([`Kept::confirmed`]) they wait for it, as long as it lives: an answer is never taken
//! back. And what it may hold is not known before it joins, so until then nothing that it could hold is free
//! ([`Effect::Accounted`] says when).

use super::root::Root;
use super::shards::Standing;
use super::{Bounds, Effect, Effects, Mode, Outcome, Rollout};
use crate::generation::EndpointState;
use crate::ids::{GenerationId, JobId, PartId, RootVersion, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Committed, Held, Order, Part};
use crate::tick::Tick;
use std::collections::BTreeMap;

/// What outlives control: kept by whoever starts it again.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Higher than that of any control before.
    pub life: u32,
    /// [`Rollout::confirmed`], as it was after the last effect that was performed.
    pub confirmed: RootVersion,
    /// The executors that run, with their incarnations.
    pub shards: Vec<(ShardId, u32)>,
    /// Jobs that had not ended; each ends with an effect.
    pub under_way: Vec<JobId>,
    /// What is known of endpoints.
    pub states: Vec<EndpointState>,
}

/// What is known so far.
pub struct Recovery {
    /// Kept until the end: they hold references to what shards forget meanwhile.
    answers: BTreeMap<ShardId, Held>,
    under_way: UnderWay,
    pub(super) root_is_known: bool,
    /// Parts that came home before it was known which of them run.
    pub(super) home: Vec<Part>,
    /// The process was asked to stop meanwhile.
    pub(super) stop_by: Option<Tick>,
}

/// Jobs that had not ended when control died.
enum UnderWay {
    Unknown(Vec<JobId>),
    Committed(Vec<JobId>),
}

impl Rollout {
    /// Goes on after control died, from what its keeper still knows.
    pub fn recover(bounds: Bounds, kept: Kept, now: Tick, effects: &mut Effects) -> Rollout {
        let Kept { life, confirmed, shards, under_way, states } = kept;
        let recovery = Recovery {
            answers: BTreeMap::new(),
            under_way: UnderWay::Unknown(under_way),
            root_is_known: false,
            home: Vec::new(),
            stop_by: None,
        };
        let mut rollout = Rollout::empty(bounds, Mode::Recovering(recovery));
        rollout.owes_account = true;
        rollout.confirmed = confirmed;
        rollout.states = states.into_iter().map(|state| (state.slot, state)).collect();
        // Above all numbers of every control before.
        rollout.epoch = u64::from(life) << 32;
        rollout.root = Root::new(RootVersion(u64::from(life) << 32), None, Committed::default(), []);
        for (shard, incarnation) in shards {
            rollout.shards.begin(shard, incarnation, Standing::Lost, false);
            rollout.steered.insert(shard);
            rollout.ask_or_join(shard, now, effects);
        }
        rollout
    }

    /// A shard that is there, and has not been let in.
    pub(super) fn ask_or_join(&mut self, shard: ShardId, now: Tick, effects: &mut Effects) {
        match &self.mode {
            Mode::Recovering(Recovery { root_is_known: false, .. }) => {
                let epoch = self.next_epoch();
                effects.push(Effect::Send { shard, order: Order::Tell { epoch } });
                let until = now.after(self.bounds.adopt_timeout);
                self.shards.set(shard, Standing::Asked { epoch, until });
            }
            Mode::Recovering(_) | Mode::Running | Mode::Stopping(_) => self.join(shard, now, effects),
        }
    }

    pub(super) fn has_told(&mut self, shard: ShardId, held: Held, now: Tick, effects: &mut Effects) {
        let Mode::Recovering(recovery) = &mut self.mode else { unreachable!("nobody else asks") };
        recovery.answers.insert(shard, held);
        self.shards.set(shard, Standing::Told);
        self.recovery_goes_on(now, effects);
    }

    /// All that were asked have told, or are not waited for: the next step.
    pub(super) fn recovery_goes_on(&mut self, now: Tick, effects: &mut Effects) {
        if let Mode::Recovering(recovery) = &self.mode {
            let settled = self.shards.asked().is_empty() && self.shards.joining().is_empty();
            match recovery.root_is_known {
                false if settled && self.enough_told(recovery) => self.find_root(now, effects),
                // One live shard at least: what is called applied now must not be lost again.
                true if settled && !self.shards.live().is_empty() => self.recovered(now, effects),
                _ => {}
            }
        }
    }

    fn enough_told(&self, recovery: &Recovery) -> bool {
        let told = self.shards.told();
        let answers = recovery.answers.iter().filter(|(shard, _)| told.contains(**shard));
        let newest = answers.map(|(_, held)| held.version).max();
        let nobody_else = self.shards.untold().without(told).is_empty();
        newest.is_some_and(|newest| newest >= self.confirmed || nobody_else)
    }

    fn find_root(&mut self, now: Tick, effects: &mut Effects) {
        let told = self.shards.told();
        let Mode::Recovering(recovery) = &mut self.mode else { unreachable!("the caller looked") };
        recovery.answers.retain(|shard, _| told.contains(*shard));
        let newest = recovery
            .answers
            .values()
            .max_by_key(
                |held| {
                    if is(Mistake::RecoveryTakesOldest) { u64::MAX - held.version.0 } else { held.version.0 }
                },
            )
            .expect("some have told");
        let numbers = newest.current.iter().map(|pool| pool.number);
        let generation = numbers.chain(newest.committed.iter().map(GenerationId::from)).max();
        let (newest_version, committed) = (newest.version, newest.committed.clone());
        let UnderWay::Unknown(jobs) = &mut recovery.under_way else { unreachable!("the root is found once") };
        let (applied, interrupted): (Vec<_>, Vec<_>) = jobs.drain(..).partition(|job| committed.contains(*job));
        self.root = Root::new(self.root.version(), generation, committed, newest.current.iter().cloned());
        self.pools.extend(self.root.pools().map(|pool| pool.slot));
        recovery.under_way = UnderWay::Committed(applied);
        recovery.root_is_known = true;
        let (generation, is_behind) = (self.root.generation(), newest_version < self.confirmed);
        effects.push(Effect::Recovered { generation, is_behind });
        effects.extend(interrupted.into_iter().map(|job| Effect::Ended { job, outcome: Outcome::Interrupted }));
        for shard in told.iter() {
            self.join(shard, now, effects);
        }
    }

    /// Every shard that answered runs the root, or is lost.
    fn recovered(&mut self, now: Tick, effects: &mut Effects) {
        let Mode::Recovering(recovery) = std::mem::replace(&mut self.mode, Mode::Running) else {
            unreachable!("the caller looked")
        };
        let lost = self.shards.alive().without(self.shards.live());
        let UnderWay::Committed(applied) = recovery.under_way else { unreachable!("the root is known") };
        effects.extend(applied.into_iter().map(|job| Effect::Ended { job, outcome: Outcome::Applied { lost } }));
        self.keep_answers(recovery.answers, recovery.home, now, effects);
        self.confirm(now, effects);
        self.recheck(self.jobs.keys().copied().collect::<Vec<_>>(), now, effects);
        if let Some(deadline) = recovery.stop_by {
            self.stop(deadline, now, effects);
        }
    }

    /// The stop's deadline has come before the root was found.
    pub(super) fn give_up_recovery(&mut self, now: Tick, effects: &mut Effects) {
        let Mode::Recovering(recovery) = std::mem::replace(&mut self.mode, Mode::Running) else {
            unreachable!("the caller looked")
        };
        let lost = self.shards.alive();
        let ended = match recovery.under_way {
            UnderWay::Unknown(jobs) => (jobs, Outcome::Interrupted),
            UnderWay::Committed(jobs) => (jobs, Outcome::Applied { lost }),
        };
        let (jobs, outcome) = ended;
        effects.extend(jobs.into_iter().map(|job| Effect::Ended { job, outcome: outcome.clone() }));
        self.stop(now, now, effects);
    }

    /// Parts that shards held when they told or have let go of since, and that no longer are in any account.
    fn keep_answers(&mut self, answers: BTreeMap<ShardId, Held>, home: Vec<Part>, now: Tick, effects: &mut Effects) {
        let mut parts: BTreeMap<PartId, Part> = home.into_iter().map(|part| (part.id(), part)).collect();
        for held in answers.into_values() {
            let prepared = held.prepared.iter().flat_map(|(_, change)| &change.pools);
            let prepared = prepared.filter_map(|(_, pool)| pool.as_ref());
            for pool in held.current.iter().chain(prepared) {
                parts.insert(pool.part, Part::Pool(pool.clone()));
                parts.insert(pool.policy.part, Part::Policy(pool.policy.clone()));
            }
            let pinned = held.pinned.into_iter().map(|pinned| pinned.part);
            parts.extend(pinned.map(|part| (part.id(), part)));
        }
        for part in parts.into_values() {
            self.keep_unknown(part, ShardSet::empty(), now, effects);
        }
    }
}
