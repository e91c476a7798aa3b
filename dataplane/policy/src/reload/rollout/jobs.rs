//! Jobs: from their submission to the shards, and to their end.
//!
//! Before its Commit every job can end at any time with nothing visible, and `cancel` is the one way there;
//! what the shards then hold of it is taken back in `delivery`. After it there is no way back.

use super::lines::Touches;
use super::{Admission, Effect, Effects, Job, Obstacle, Outcome, Rollout, Stage};
use crate::generation::Change;
use crate::ids::{JobId, ListenerSlot, PoolSlot, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::tick::Tick;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Rollout {
    /// Takes a job: who stands behind whom follows from the order in which they are taken, whatever their numbers. The
    /// deadline is for everything up to its Commit; from there it takes at most the adopt time-out.
    pub fn submit(
        &mut self,
        job: JobId,
        touches: Touches,
        deadline: Tick,
        now: Tick,
        effects: &mut Effects,
    ) -> Admission {
        assert!(!self.jobs.contains_key(&job), "job {job} comes twice");
        if self.is_stopping() {
            return Admission::Stopping;
        }
        let bound = self.bounds.jobs_max;
        if self.jobs.len() >= bound {
            return Admission::TooMany { bound };
        }
        self.pools.extend(&touches.pools);
        self.lines.enter(job, touches);
        let stage = Stage::Waiting;
        self.jobs.insert(job, Job { deadline, stage });
        self.admit(job, now, effects)
    }

    /// A job is compiled: on to the shards. `false`: it has ended meanwhile (withdrawn, expired), and what
    /// the change brought is the caller's to take back.
    #[must_use]
    pub fn prepare(&mut self, job: JobId, change: Arc<Change>, now: Tick, effects: &mut Effects) -> bool {
        let Some(entry) = self.jobs.get(&job) else {
            return false;
        };
        let phase = entry.stage.phase();
        assert!(matches!(entry.stage, Stage::Compiling), "job {job} is prepared while {phase:?}");
        self.root.assert_fits(job, &change, self.lines.touches(job));
        for part in self.root.new_parts(&change) {
            let id = part.id();
            assert!(!self.ledger.knows(id), "job {job} brings back part {id}");
        }
        self.reach(job, Stage::Compiled { change }, now, effects);
        self.launch(job, now, effects);
        true
    }

    /// A job that is being compiled turns out to touch something else than was thought when it was
    /// submitted. It goes to the end of all its lines: to keep its place in some while it waits in others
    /// could be a circle. `None`: it has ended meanwhile.
    pub fn retouch(&mut self, job: JobId, touches: Touches, now: Tick, effects: &mut Effects) -> Option<Admission> {
        let entry = self.jobs.get_mut(&job)?;
        assert!(matches!(entry.stage, Stage::Compiling), "job {job} is past compiling");
        entry.stage = Stage::Waiting;
        let before = self.lines.leave(job);
        self.pools.extend(&touches.pools);
        self.lines.enter(job, touches);
        let admission = self.admit(job, now, effects);
        self.left(&before, now, effects);
        Some(admission)
    }

    /// A job that is being compiled touches slots besides, which are new or have come into being since it was
    /// submitted, and keeps its place. The caller vouches that whoever touches one of them waits for this
    /// job already, or it would be overtaken here. `false`: it has ended meanwhile.
    #[must_use]
    pub fn touch_also(&mut self, job: JobId, touches: Touches) -> bool {
        let Some(entry) = self.jobs.get(&job) else {
            return false;
        };
        assert!(matches!(entry.stage, Stage::Compiling), "job {job} is past compiling");
        let pools = touches.pools.iter().filter_map(|pool| self.lines.head_of_pool(*pool));
        let addresses = touches.listeners.iter().filter_map(|listener| self.lines.head_of_address(*listener));
        for head in pools.chain(addresses).filter(|head| *head != job) {
            let overtaken = matches!(self.jobs[&head].stage, Stage::Waiting);
            assert!(overtaken, "job {job} touches what job {head} is changing");
        }
        self.pools.extend(&touches.pools);
        self.lines.enter_first(job, touches);
        true
    }

    /// Takes a job back. `false`: it is committed already, or has ended.
    pub fn withdraw(&mut self, job: JobId, now: Tick, effects: &mut Effects) -> bool {
        self.cancel(job, Outcome::Withdrawn, now, effects)
    }

    /// Ends a job of which nothing is visible yet. `false`: it is committed already, or has ended.
    pub(super) fn cancel(&mut self, job: JobId, outcome: Outcome, now: Tick, effects: &mut Effects) -> bool {
        let Some(entry) = self.jobs.get_mut(&job) else {
            return false;
        };
        if let Stage::Committing(_) = entry.stage {
            return false;
        }
        match std::mem::replace(&mut entry.stage, Stage::Compiling) {
            Stage::Waiting | Stage::Compiling => {}
            Stage::Compiled { change } => self.take_back(job, &change, ShardSet::empty(), now, effects),
            Stage::Preparing(preparing) => self.abort(job, preparing, now, effects),
            Stage::Committing(_) => unreachable!("looked at above"),
        }
        self.end(job, outcome, now, effects);
        true
    }

    pub(super) fn end(&mut self, job: JobId, outcome: Outcome, now: Tick, effects: &mut Effects) {
        self.jobs.remove(&job);
        let touches = self.lines.leave(job);
        effects.push(Effect::Ended { job, outcome });
        self.left(&touches, now, effects);
    }

    /// Whatever is due by `now`. All the silent shards are lost together: else a job could be committed on
    /// those that are only the next to be lost.
    pub(super) fn jobs_late(&mut self, now: Tick, effects: &mut Effects) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        let mut late = ShardSet::empty();
        for job in jobs {
            let Some(entry) = self.jobs.get(&job) else {
                continue;
            };
            match &entry.stage {
                Stage::Preparing(preparing) if preparing.until <= now => {
                    let silent = preparing.asked;
                    late = late.or(silent);
                    self.cancel(job, Outcome::PrepareTimeout { silent }, now, effects);
                }
                Stage::Committing(committing) if committing.nobody_left() && entry.deadline <= now => {
                    self.end(job, Outcome::Unconfirmed, now, effects);
                }
                Stage::Committing(committing) if committing.until <= now => {
                    late = late.or(committing.awaiting);
                }
                Stage::Committing(_) => {}
                stage if entry.deadline <= now => {
                    let (phase, obstacle) = (stage.phase(), self.waits_for(job));
                    self.cancel(job, Outcome::Expired { phase, obstacle }, now, effects);
                }
                _ => {}
            }
        }
        self.lose(late, now, effects);
    }

    fn admit(&mut self, job: JobId, now: Tick, effects: &mut Effects) -> Admission {
        match self.obstacle(job) {
            None => {
                self.reach(job, Stage::Compiling, now, effects);
                Admission::Start
            }
            Some(obstacle) => Admission::Wait(obstacle),
        }
    }

    /// What a job waits for before it may be compiled.
    pub(super) fn obstacle(&self, job: JobId) -> Option<Obstacle> {
        if self.is_recovering() {
            return Some(Obstacle::Shards);
        }
        if !self.lines.is_first(job) {
            return Some(Obstacle::Jobs(self.lines.before(job)));
        }
        let touches = self.lines.touches(job);
        let going = |listener: &&ListenerSlot| self.addresses.contains(**listener);
        if let Some(listener) = touches.listeners.iter().find(going) {
            return Some(Obstacle::Address(*listener));
        }
        let bound = self.bounds.retained_max;
        let full = |pool: &&PoolSlot| {
            let bytes = self.ledger.retained(**pool);
            bytes > 0 && bytes + self.root.bytes(**pool) > bound && !is(Mistake::RetainedNotCounted)
        };
        let pool = *touches.pools.iter().find(full)?;
        let bytes = self.ledger.retained(pool);
        Some(Obstacle::Retained { pool, bytes, bound })
    }

    /// These may have come to the head of their lines, or lost another obstacle.
    pub(super) fn recheck(&mut self, jobs: impl IntoIterator<Item = JobId>, now: Tick, effects: &mut Effects) {
        for job in jobs.into_iter().collect::<BTreeSet<_>>() {
            let entry = self.jobs.get(&job);
            let waits = entry.is_some_and(|entry| matches!(entry.stage, Stage::Waiting));
            if waits && self.obstacle(job).is_none() {
                self.reach(job, Stage::Compiling, now, effects);
                effects.push(Effect::Ready { job });
            }
        }
    }

    /// A job stands no longer in these lines.
    fn left(&mut self, touches: &Touches, now: Tick, effects: &mut Effects) {
        for pool in &touches.pools {
            self.free_slots(*pool, effects);
        }
        if !is(Mistake::WaitingForgotten) {
            let pools = touches.pools.iter();
            let pools = pools.filter_map(|pool| self.lines.head_of_pool(*pool));
            let addresses = touches.listeners.iter();
            let addresses = addresses.filter_map(|slot| self.lines.head_of_address(*slot));
            let heads: Vec<JobId> = pools.chain(addresses).collect();
            self.recheck(heads, now, effects);
        }
    }

    pub(super) fn reach(&mut self, job: JobId, stage: Stage, at: Tick, effects: &mut Effects) {
        let phase = stage.phase();
        effects.push(Effect::Reached { job, phase, at });
        let entry = self.jobs.get_mut(&job);
        entry.expect("a job that has not ended").stage = stage;
    }
}
