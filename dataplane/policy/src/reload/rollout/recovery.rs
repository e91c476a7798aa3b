//! Control has died and a new one knows nothing.
//!
//! The shards know everything between them. Each shard's root is the root at some version, so the highest
//! one is the newest: it contains every change that any shard has committed. Every shard is then let in anew
//! at that root, as if it had just started: those that had prepared a committed change but not committed it
//! get it so, those that had prepared another forget it. A job that was under way is applied if any shard
//! has committed it, and otherwise was never visible.
//!
//! A shard that does not answer in time is lost, as always; what it may hold is not known before it joins,
//! so until then nothing that it could hold is free ([`Effect::Accounted`] says when).

use super::shards::Standing;
use super::{Bounds, Effect, Effects, Mode, Outcome, Rollout};
use crate::generation::EndpointState;
use crate::ids::{GenerationId, JobId, PartId, RootVersion, ShardId};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Held, Order, Part};
use crate::tick::Tick;
use std::collections::{BTreeMap, BTreeSet};

/// What is known so far.
pub struct Recovery {
    /// Kept until the end: they hold references to what shards forget meanwhile.
    answers: BTreeMap<ShardId, Held>,
    under_way: UnderWay,
    root_is_known: bool,
    /// The process was asked to stop meanwhile.
    pub(super) stop_by: Option<Tick>,
}

/// Jobs that had not ended when control died.
enum UnderWay {
    Unknown(Vec<JobId>),
    Committed(Vec<JobId>),
}

impl Rollout {
    /// Goes on after control died. `life` is higher than that of any control before, `shards` are the
    /// executors that run, `under_way` the jobs that had not ended; each ends with an effect. `states` is
    /// what is still known of endpoints.
    pub fn recover(
        bounds: Bounds,
        life: u32,
        shards: &[(ShardId, u32)],
        under_way: Vec<JobId>,
        states: Vec<EndpointState>,
        now: Tick,
        effects: &mut Effects,
    ) -> Rollout {
        let recovery = Recovery {
            answers: BTreeMap::new(),
            under_way: UnderWay::Unknown(under_way),
            root_is_known: false,
            stop_by: None,
        };
        let mut rollout = Rollout::empty(bounds, Mode::Recovering(recovery));
        rollout.owes_account = true;
        rollout.states = states.into_iter().map(|state| (state.slot, state)).collect();
        // Above all numbers of every control before.
        rollout.epoch = u64::from(life) << 32;
        rollout.root.version = RootVersion(u64::from(life) << 32);
        for (shard, incarnation) in shards {
            rollout.shards.begin(*shard, *incarnation, Standing::Lost, false);
            rollout.steered.insert(*shard);
            rollout.ask_or_join(*shard, now, effects);
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
                false if settled && !self.shards.told().is_empty() => self.find_root(now, effects),
                true if settled => self.recovered(now, effects),
                _ => {}
            }
        }
        self.account(effects);
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
        self.root.pools = newest.current.iter().map(|pool| (pool.slot, pool.clone())).collect();
        let last = newest.committed.iter().copied().max().map(GenerationId::from);
        self.root.generation = newest.current.iter().map(|pool| pool.number).max().max(last);
        self.pools.extend(self.root.pools.keys());
        let committed: BTreeSet<JobId> = recovery.answers.values().flat_map(|held| held.committed.clone()).collect();
        let UnderWay::Unknown(jobs) = &mut recovery.under_way else { unreachable!("the root is found once") };
        let (applied, interrupted): (Vec<_>, Vec<_>) = jobs.drain(..).partition(|job| committed.contains(job));
        recovery.under_way = UnderWay::Committed(applied);
        recovery.root_is_known = true;
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
        self.free_unaccounted(&recovery.answers, effects);
        effects.push(Effect::Recovered { generation: self.root.generation });
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

    /// Parts that shards held when they told and that nobody holds now.
    fn free_unaccounted(&mut self, answers: &BTreeMap<ShardId, Held>, effects: &mut Effects) {
        let mut parts = BTreeMap::<PartId, Part>::new();
        for held in answers.values() {
            let prepared =
                held.prepared.iter().flat_map(|(_, change)| &change.pools).filter_map(|(_, pool)| pool.as_ref());
            for pool in held.current.iter().chain(prepared) {
                parts.insert(pool.part, Part::Pool(pool.clone()));
                parts.insert(pool.policy.part, Part::Policy(pool.policy.clone()));
            }
            parts.extend(held.pinned.iter().map(|pinned| (pinned.part.id(), pinned.part.clone())));
        }
        let unknown = parts.into_values().filter(|part| !self.ledger.knows(part.id()) && !self.runs(part));
        effects.extend(unknown.map(Effect::Free));
    }

    fn account(&mut self, effects: &mut Effects) {
        if self.owes_account && self.is_accounted() {
            self.owes_account = false;
            effects.push(Effect::Accounted);
        }
    }
}
