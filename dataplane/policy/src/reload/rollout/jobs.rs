//! One job through its stages.
//!
//! Before the first Commit every way out leads through `end` with nothing visible; after it there is none
//! but `Applied`.

use super::ledger::Kind;
use super::lines::Touches;
use super::{Admission, Effect, Effects, Forgetting, Job, Obstacle, Outcome, Rollout, Stage};
use crate::generation::{Change, Listen, PoolGeneration};
use crate::ids::{GenerationId, JobId, ListenerSlot, PoolSlot, RootVersion, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Adoption, Order, Part, Refusal};
use crate::tick::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Rollout {
    /// Takes a job. Jobs are submitted in the order of their numbers. The deadline is for everything up to
    /// its Commit; from there it takes at most the adopt time-out.
    pub fn submit(
        &mut self,
        job: JobId,
        touches: Touches,
        deadline: Tick,
        now: Tick,
        effects: &mut Effects,
    ) -> Admission {
        assert!(self.jobs.keys().next_back() < Some(&job), "job {job} comes out of order");
        if self.is_stopping() {
            return Admission::Stopping;
        }
        if self.jobs.len() >= self.bounds.jobs_max {
            return Admission::TooMany { bound: self.bounds.jobs_max };
        }
        self.pools.extend(&touches.pools);
        self.lines.enter(job, touches);
        self.jobs.insert(job, Job { deadline, stage: Stage::Waiting });
        self.admit(job, now, effects)
    }

    /// A job is compiled: on to the shards. `false`: it has ended meanwhile (withdrawn, expired), and what
    /// the change brought is the caller's to take back.
    #[must_use]
    pub fn prepare(&mut self, job: JobId, change: Arc<Change>, now: Tick, effects: &mut Effects) -> bool {
        let Some(entry) = self.jobs.get(&job) else {
            return false;
        };
        assert!(matches!(entry.stage, Stage::Compiling), "job {job} is prepared while {:?}", entry.stage.phase());
        self.assert_agrees(job, &change);
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
        let heads = self.heads(&touches).into_iter().filter(|head| *head != job);
        for head in heads {
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

    pub(super) fn on_prepared(&mut self, job: JobId, shard: ShardId, now: Tick, effects: &mut Effects) {
        // An answer that crossed with our Abort finds no such job.
        if let Some(Job { stage: Stage::Preparing { asked, prepared, .. }, .. }) = self.jobs.get_mut(&job) {
            assert!(asked.contains(shard), "shard {shard} prepared job {job} unasked, or twice");
            asked.remove(shard);
            prepared.insert(shard);
            self.commit_if_prepared(job, now, effects);
        }
    }

    pub(super) fn on_refused(
        &mut self,
        job: JobId,
        shard: ShardId,
        refusal: Refusal,
        now: Tick,
        effects: &mut Effects,
    ) {
        if let Some(Job { stage: Stage::Preparing { asked, .. }, .. }) = self.jobs.get_mut(&job) {
            assert!(asked.contains(shard), "shard {shard} refused job {job} unasked");
            if is(Mistake::CommitAlthoughRefused) {
                return self.on_prepared(job, shard, now, effects);
            }
            asked.remove(shard);
            self.cancel(job, Outcome::Refused { by: shard, refusal }, now, effects);
        }
    }

    pub(super) fn on_adopted(
        &mut self,
        job: JobId,
        shard: ShardId,
        adoption: Adoption,
        now: Tick,
        effects: &mut Effects,
    ) {
        let Some(Job { stage: Stage::Committing { leave, awaiting, .. }, .. }) = self.jobs.get_mut(&job) else {
            panic!("shard {shard} adopted job {job}, which is not committed");
        };
        assert!(awaiting.contains(shard), "shard {shard} adopted job {job} unasked, or twice");
        awaiting.remove(shard);
        let leave = leave.clone();
        effects.push(Effect::Adopted { job, shard, adoption, at: now });
        for listener in leave {
            let next = self.addresses.drops_syns(listener, shard);
            self.address(next, now, effects);
        }
        self.end_if_adopted(job, now, effects);
        if is(Mistake::AdoptedCountsForAll) {
            self.leave_jobs(shard, true, now, effects);
        }
    }

    pub(super) fn on_forgotten(&mut self, job: JobId, shard: ShardId, now: Tick, effects: &mut Effects) {
        let Some(forgetting) = self.forgetting.get_mut(&job) else {
            return;
        };
        forgetting.owed.remove(shard);
        let (parts, listeners) = (forgetting.parts.clone(), forgetting.listeners.clone());
        if forgetting.owed.is_empty() {
            self.forgetting.remove(&job);
        }
        let freed = parts.into_iter().filter_map(|part| self.ledger.release(part, shard)).collect();
        self.free(freed, now, effects);
        for listener in listeners {
            let next = self.addresses.let_go(listener, shard);
            self.address(next, now, effects);
        }
    }

    /// A shard takes part in nothing any more. `remembers`: it is lost, not dead, so it may still hold what
    /// it was asked to prepare.
    pub(super) fn leave_jobs(&mut self, shard: ShardId, remembers: bool, now: Tick, effects: &mut Effects) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job in jobs {
            match self.jobs.get_mut(&job).map(|job| &mut job.stage) {
                Some(Stage::Preparing { asked, prepared, strayed, .. }) => {
                    if !asked.or(*prepared).contains(shard) {
                        if !remembers {
                            strayed.remove(shard);
                        }
                        continue;
                    }
                    asked.remove(shard);
                    prepared.remove(shard);
                    if remembers {
                        strayed.insert(shard);
                    }
                    self.commit_if_prepared(job, now, effects);
                }
                Some(Stage::Committing { awaiting, lost, .. }) if awaiting.contains(shard) => {
                    awaiting.remove(shard);
                    lost.insert(shard);
                    self.end_if_adopted(job, now, effects);
                }
                _ => {}
            }
        }
    }

    /// Sends what waited for shards to be let in.
    pub(super) fn launch_all(&mut self, now: Tick, effects: &mut Effects) {
        let compiled = self.jobs.iter().filter(|(_, job)| matches!(job.stage, Stage::Compiled { .. }));
        for job in compiled.map(|(job, _)| *job).collect::<Vec<_>>() {
            self.launch(job, now, effects);
        }
    }

    pub(super) fn jobs_late(&mut self, now: Tick, effects: &mut Effects) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job in jobs {
            let Some(entry) = self.jobs.get(&job) else {
                continue;
            };
            match &entry.stage {
                Stage::Preparing { until, asked, .. } if *until <= now => {
                    let silent = *asked;
                    self.cancel(job, Outcome::PrepareTimeout { silent }, now, effects);
                    silent.iter().for_each(|shard| self.lose(shard, now, effects));
                }
                Stage::Committing { until, awaiting, .. } if *until <= now => {
                    awaiting.iter().for_each(|shard| self.lose(shard, now, effects));
                }
                Stage::Committing { .. } => {}
                stage if entry.deadline <= now => {
                    let outcome = Outcome::Expired { phase: stage.phase(), obstacle: self.waits_for(job) };
                    self.cancel(job, outcome, now, effects);
                }
                _ => {}
            }
        }
    }

    /// Ends a job of which nothing is visible yet.
    pub(super) fn cancel(&mut self, job: JobId, outcome: Outcome, now: Tick, effects: &mut Effects) -> bool {
        let Some(entry) = self.jobs.get_mut(&job) else {
            return false;
        };
        match std::mem::replace(&mut entry.stage, Stage::Compiling) {
            committing @ Stage::Committing { .. } => {
                entry.stage = committing;
                return false;
            }
            Stage::Waiting | Stage::Compiling => {}
            Stage::Compiled { change } => self.take_back(job, &change, ShardSet::empty(), now, effects),
            Stage::Preparing { change, asked, prepared, strayed, .. } => {
                let told = asked.or(prepared);
                let abort = match is(Mistake::NoAbort) {
                    true => ShardSet::empty(),
                    false => told,
                };
                effects.extend(abort.iter().map(|shard| Effect::Send { shard, order: Order::Abort { job } }));
                self.take_back(job, &change, told.or(strayed), now, effects);
            }
        }
        self.end(job, outcome, now, effects);
        true
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
        if let Some(listener) = touches.listeners.iter().find(|listener| self.addresses.contains(**listener)) {
            return Some(Obstacle::Address(*listener));
        }
        let bound = self.bounds.retained_max;
        let full = |pool: &&PoolSlot| {
            if is(Mistake::RetainedNotCounted) {
                return false;
            }
            let bytes = self.ledger.retained(**pool);
            let added = self.root.pools.get(*pool).map_or(0, |pool| pool.bytes + pool.policy.bytes);
            bytes > 0 && bytes + added > bound
        };
        let pool = *touches.pools.iter().find(full)?;
        Some(Obstacle::Retained { pool, bytes: self.ledger.retained(pool), bound })
    }

    /// These may have come to the head of their lines, or lost another obstacle.
    pub(super) fn recheck(&mut self, jobs: impl IntoIterator<Item = JobId>, now: Tick, effects: &mut Effects) {
        for job in jobs.into_iter().collect::<BTreeSet<_>>() {
            let waits = self.jobs.get(&job).is_some_and(|job| matches!(job.stage, Stage::Waiting));
            if waits && self.obstacle(job).is_none() {
                self.reach(job, Stage::Compiling, now, effects);
                effects.push(Effect::Ready { job });
            }
        }
    }

    /// Parts that nobody holds any more: away with them, and with slots that only they used.
    pub(super) fn free(&mut self, parts: Vec<Part>, now: Tick, effects: &mut Effects) {
        for part in parts {
            let pool = part.pool();
            effects.push(Effect::Free(part));
            self.free_slots(pool, effects);
            self.recheck(self.lines.head_of_pool(pool), now, effects);
        }
    }

    /// Frees the slots of a pool as far as nobody can name them. A job that is under way can: it was
    /// compiled while they were reserved.
    pub(super) fn free_slots(&mut self, pool: PoolSlot, effects: &mut Effects) {
        let head = self.lines.head_of_pool(pool);
        if head.is_some_and(|job| !matches!(self.jobs[&job].stage, Stage::Waiting)) {
            return;
        }
        for endpoint in self.ledger.take_unheld(pool) {
            self.states.remove(&endpoint);
            effects.push(Effect::FreeEndpoint(endpoint));
        }
        let unnamed = head.is_none() || is(Mistake::PoolFreedWhileNamed);
        let unused = unnamed && !self.root.pools.contains_key(&pool) && !self.ledger.uses_pool(pool);
        if unused && self.pools.remove(&pool) {
            effects.push(Effect::FreePool(pool));
        }
    }

    fn launch(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        // A shard that is being let in must not miss the Commit, and would, as it is not asked to prepare:
        // so no job begins meanwhile. That is at most the adopt time-out.
        let asked = self.shards.live();
        if asked.is_empty() || !self.shards.joining().is_empty() || self.is_recovering() {
            return;
        }
        let Stage::Compiled { change } = &self.jobs[&job].stage else {
            unreachable!("only a compiled job is launched")
        };
        let change = change.clone();
        effects.extend(asked.iter().map(|shard| {
            let change = change.clone();
            Effect::Send { shard, order: Order::Prepare { job, change } }
        }));
        let until = now.after(self.bounds.prepare_timeout);
        let (prepared, strayed) = (ShardSet::empty(), ShardSet::empty());
        self.reach(job, Stage::Preparing { change, asked, prepared, strayed, until }, now, effects);
    }

    fn commit_if_prepared(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        let Stage::Preparing { asked, prepared, .. } = &self.jobs[&job].stage else {
            unreachable!("only a prepared job is committed")
        };
        let enough = usize::from(is(Mistake::CommitBeforeLastPrepared));
        if asked.len() > enough {
            return;
        }
        if prepared.is_empty() {
            self.cancel(job, Outcome::NoShard, now, effects);
        } else {
            self.commit(job, now, effects);
        }
    }

    /// The point of no return.
    fn commit(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        let stage = std::mem::replace(&mut self.jobs.get_mut(&job).expect("it is prepared").stage, Stage::Compiling);
        let Stage::Preparing { change, prepared, .. } = stage else { unreachable!("only a prepared job is committed") };
        assert!(prepared.without(self.shards.live()).is_empty(), "job {job} is committed on shards that are not live");
        let version = RootVersion(self.root.version.0 + 1);
        effects.extend(prepared.iter().map(|shard| Effect::Send { shard, order: Order::Commit { job, version } }));
        self.root.version = version;
        self.root.generation = self.root.generation.max(Some(GenerationId::from(job)));
        let until = now.after(self.bounds.adopt_timeout);
        let (leave, lost) = (change.leave.clone(), ShardSet::empty());
        self.reach(job, Stage::Committing { leave, awaiting: prepared, lost, until }, now, effects);
        self.replace(&change, now, effects);
        // What was learned of an endpoint before it came is known nowhere yet.
        for state in change.endpoints_come.iter().filter_map(|(_, slot)| self.states.get(slot)) {
            let order = Order::Endpoint(state.clone());
            effects.extend(prepared.iter().map(|shard| Effect::Send { shard, order: order.clone() }));
        }
    }

    /// The new root: what it does not name any more is now kept for those who hold it, which any shard may.
    fn replace(&mut self, change: &Change, now: Tick, effects: &mut Effects) {
        let holders = self.shards.alive();
        let mut freed = Vec::new();
        for (slot, new) in &change.pools {
            let old = match new {
                Some(new) => self.root.pools.insert(*slot, new.clone()),
                None => self.root.pools.remove(slot),
            };
            let Some(old) = old else { continue };
            for listener in change.leave.iter().filter(|listener| old.listeners.contains(listener)) {
                let next = self.addresses.leave(*listener, holders.and(old.shards));
                self.address(next, now, effects);
            }
            let policy = Part::Policy(old.policy.clone());
            freed.extend(self.ledger.keep(Part::Pool(old), holders, Kind::Superseded));
            if new.as_ref().is_none_or(|new| new.policy.part != policy.id()) {
                freed.extend(self.ledger.keep(policy, holders, Kind::Superseded));
            }
        }
        for (_, endpoint) in &change.endpoints_come {
            self.ledger.endpoint_back(*endpoint);
        }
        for (pool, endpoint) in &change.endpoints_gone {
            self.ledger.endpoint_gone(*pool, *endpoint, holders);
        }
        self.free(freed, now, effects);
    }

    fn end_if_adopted(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        let Stage::Committing { awaiting, lost, .. } = &self.jobs[&job].stage else {
            unreachable!("only a committed job is adopted")
        };
        let enough = usize::from(is(Mistake::AppliedBeforeLastAdopted));
        if awaiting.len() <= enough {
            let lost = *lost;
            self.end(job, Outcome::Applied { lost }, now, effects);
        }
    }

    fn end(&mut self, job: JobId, outcome: Outcome, now: Tick, effects: &mut Effects) {
        self.jobs.remove(&job);
        let touches = self.lines.leave(job);
        effects.push(Effect::Ended { job, outcome });
        self.left(&touches, now, effects);
    }

    /// A job stands no longer in these lines.
    fn left(&mut self, touches: &Touches, now: Tick, effects: &mut Effects) {
        for pool in &touches.pools {
            self.free_slots(*pool, effects);
        }
        if !is(Mistake::WaitingForgotten) {
            self.recheck(self.heads(touches), now, effects);
        }
    }

    fn heads(&self, touches: &Touches) -> Vec<JobId> {
        let pools = touches.pools.iter().filter_map(|pool| self.lines.head_of_pool(*pool));
        let addresses = touches.listeners.iter().filter_map(|listener| self.lines.head_of_address(*listener));
        pools.chain(addresses).collect()
    }

    /// A change that will not come into force goes back to where it came from; `owed` may still hold it.
    fn take_back(&mut self, job: JobId, change: &Change, owed: ShardSet, now: Tick, effects: &mut Effects) {
        let parts = self.new_parts(change);
        // Those that listen already would have led to another pool, no more.
        let listening = meaning(change.pools.iter().filter_map(|(slot, _)| self.root.pools.get(slot)));
        let bound: Vec<&Listen> =
            change.listen.iter().filter(|listen| !listening.contains_key(&listen.listener)).collect();
        for listen in bound.iter() {
            let next = self.addresses.unbind(listen.listener, owed.and(listen.shards));
            self.address(next, now, effects);
        }
        for (pool, endpoint) in &change.endpoints_come {
            // One that was leaving goes on leaving; a new one is nobody's.
            if !self.ledger.uses_endpoint(*endpoint) {
                self.ledger.endpoint_gone(*pool, *endpoint, ShardSet::empty());
            }
        }
        if !owed.is_empty() {
            let parts = parts.iter().map(Part::id).collect();
            let listeners = bound.iter().map(|listen| listen.listener).collect();
            self.forgetting.insert(job, Forgetting { owed, parts, listeners });
        }
        let freed = parts.into_iter().filter_map(|part| self.ledger.keep(part, owed, Kind::Aborted)).collect();
        self.free(freed, now, effects);
    }

    /// Parts of a change that do not run: all roots, and the policies that are not taken over.
    fn new_parts(&self, change: &Change) -> Vec<Part> {
        let mut parts = Vec::new();
        for (slot, new) in &change.pools {
            let Some(new) = new else { continue };
            parts.push(Part::Pool(new.clone()));
            if self.root.pools.get(slot).is_none_or(|old| old.policy.part != new.policy.part) {
                parts.push(Part::Policy(new.policy.clone()));
            }
        }
        parts
    }

    fn reach(&mut self, job: JobId, stage: Stage, now: Tick, effects: &mut Effects) {
        effects.push(Effect::Reached { job, phase: stage.phase(), at: now });
        self.jobs.get_mut(&job).expect("a job that has not ended").stage = stage;
    }

    /// The compiler's side of the hand-over: what it must have kept to, or everything that follows is wrong.
    fn assert_agrees(&self, job: JobId, change: &Change) {
        let touches = self.lines.touches(job);
        for (slot, new) in &change.pools {
            assert!(touches.pools.contains(slot), "job {job} changes pool {slot}, which it does not touch");
            let Some(new) = new else { continue };
            assert_eq!(new.slot, *slot, "job {job}: a pool in the slot of another");
            for part in [new.part, new.policy.part] {
                assert!(!self.ledger.knows(part), "job {job} brings back part {part}, which was replaced");
            }
            let old = self.root.pools.get(slot);
            assert!(old.is_none_or(|old| old.part != new.part), "job {job}: pool {slot} does not change");
        }
        let old = change.pools.iter().filter_map(|(slot, _)| self.root.pools.get(slot));
        let new = change.pools.iter().filter_map(|(_, new)| new.as_ref());
        let (before, after) = (meaning(old), meaning(new));
        let comes = after.iter().filter(|(listener, to)| before.get(*listener) != Some(to));
        let comes: BTreeSet<ListenerSlot> = comes.map(|(listener, _)| *listener).collect();
        let goes: BTreeSet<ListenerSlot> =
            before.keys().filter(|listener| !after.contains_key(*listener)).copied().collect();
        assert_eq!(
            comes,
            change.listen.iter().map(|listen| listen.listener).collect(),
            "job {job}: addresses that come"
        );
        assert_eq!(goes, change.leave.iter().copied().collect(), "job {job}: addresses that go");
        for listen in &change.listen {
            let listener = listen.listener;
            assert!(
                touches.listeners.contains(&listener),
                "job {job} brings listener {listener}, which it does not touch"
            );
            let shards = before.get(&listener).map(|from| self.root.pools[from].shards);
            assert!(
                shards.is_none_or(|shards| shards == listen.shards),
                "job {job}: listener {listener} changes shards"
            );
        }
        let endpoints = change.endpoints_come.iter().chain(&change.endpoints_gone);
        for (pool, endpoint) in endpoints {
            let changed = change.pools.binary_search_by_key(pool, |(slot, _)| *slot).is_ok();
            assert!(changed, "job {job}: endpoint {endpoint} of pool {pool}, which it does not change");
        }
    }
}

/// To which pool each address leads.
fn meaning<'a>(pools: impl Iterator<Item = &'a Arc<PoolGeneration>>) -> BTreeMap<ListenerSlot, PoolSlot> {
    pools.flat_map(|pool| pool.listeners.iter().map(|listener| (*listener, pool.slot))).collect()
}
