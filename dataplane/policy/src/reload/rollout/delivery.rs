//! One change on its way through the shards: Prepare, Commit, and back again if it must.
//!
//! Who takes part is decided when it is sent: the shards that are live. One that becomes live meanwhile joins
//! in, one that is lost or dies leaves; the rest goes on.

use super::ledger::Kind;
use super::{Effect, Effects, Job, Outcome, Rollout, Stage};
use crate::generation::Change;
use crate::ids::{JobId, ListenerSlot, PartId, RootVersion, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Adoption, Order, Part, Refusal};
use crate::tick::Tick;
use std::sync::Arc;

pub struct Preparing {
    change: Arc<Change>,
    /// Have not answered.
    pub asked: ShardSet,
    pub prepared: ShardSet,
    /// Lost since they were asked; they may hold the change.
    strayed: ShardSet,
    pub until: Tick,
}

pub struct Committing {
    /// Addresses that it takes away, and the shards that listen there.
    leave: Vec<(ListenerSlot, ShardSet)>,
    pub awaiting: ShardSet,
    /// Live and at the new root.
    pub adopted: ShardSet,
    /// Were lost or died before they adopted it.
    lost: ShardSet,
    version: RootVersion,
    pub until: Tick,
}

/// An aborted change, as long as a shard may hold it.
pub struct Forgetting {
    pub owed: ShardSet,
    parts: Vec<PartId>,
    listeners: Vec<ListenerSlot>,
}

impl Preparing {
    pub fn change(&self) -> &Arc<Change> {
        &self.change
    }
}

impl Committing {
    /// Every shard that could have adopted it is lost or dead. Then nobody may be told that it is applied:
    /// if control died now, it would not be.
    pub fn nobody_left(&self) -> bool {
        self.awaiting.is_empty() && self.adopted.is_empty()
    }
}

impl Rollout {
    /// Sends a compiled change to all shards, if that can be done now.
    pub(super) fn launch(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        // Every Commit sends a shard that is being let in back to the start. So that it comes in at all, no
        // job begins meanwhile; that is at most the adopt time-out.
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
            let order = Order::Prepare { job, change };
            Effect::Send { shard, order }
        }));
        let preparing = Preparing {
            change,
            asked,
            prepared: ShardSet::empty(),
            strayed: ShardSet::empty(),
            until: now.after(self.bounds.prepare_timeout),
        };
        self.reach(job, Stage::Preparing(preparing), now, effects);
    }

    /// Sends what waited for shards to be let in.
    pub(super) fn launch_all(&mut self, now: Tick, effects: &mut Effects) {
        let compiled = |(_, entry): &(&JobId, &Job)| matches!(entry.stage, Stage::Compiled { .. });
        let jobs = self.jobs.iter().filter(compiled).map(|(job, _)| *job);
        for job in jobs.collect::<Vec<_>>() {
            self.launch(job, now, effects);
        }
    }

    pub(super) fn on_prepared(&mut self, job: JobId, shard: ShardId, now: Tick, effects: &mut Effects) {
        // An answer that crossed with our Abort finds no such job.
        if let Some(preparing) = self.preparing(job) {
            assert!(preparing.asked.contains(shard), "shard {shard} prepared job {job} unasked, or twice");
            preparing.asked.remove(shard);
            preparing.prepared.insert(shard);
            self.commit_if_prepared(job, now, effects);
        }
    }

    pub(super) fn on_refused(&mut self, job: JobId, by: ShardId, refusal: Refusal, now: Tick, effects: &mut Effects) {
        if let Some(preparing) = self.preparing(job) {
            assert!(preparing.asked.contains(by), "shard {by} refused job {job} unasked");
            if is(Mistake::CommitAlthoughRefused) {
                return self.on_prepared(job, by, now, effects);
            }
            preparing.asked.remove(by); // it holds nothing
            self.cancel(job, Outcome::Refused { by, refusal }, now, effects);
        }
    }

    pub(super) fn on_adopted(
        &mut self,
        job: JobId,
        shard: ShardId,
        adoption: Adoption,
        at: Tick,
        effects: &mut Effects,
    ) {
        let Some(committing) = self.committing(job) else {
            panic!("shard {shard} adopted job {job}, which is not committed");
        };
        assert!(committing.awaiting.contains(shard), "shard {shard} adopted job {job} unasked, or twice");
        committing.awaiting.remove(shard);
        committing.adopted.insert(shard);
        let leave = committing.leave.clone();
        effects.push(Effect::Adopted { job, shard, adoption, at });
        for (listener, shards) in leave {
            let next = match shards.contains(shard) {
                true => self.addresses.drops_syns(listener, shard),
                false => self.addresses.let_go(listener, shard),
            };
            self.address(next, at, effects);
        }
        self.end_if_adopted(job, at, effects);
        if is(Mistake::AdoptedCountsForAll) {
            self.has_all(shard, at, effects);
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
        let release = |part| self.ledger.release(part, shard);
        let freed = parts.into_iter().filter_map(release).collect();
        self.free(freed, now, effects);
        for listener in listeners {
            let next = self.addresses.let_go(listener, shard);
            self.address(next, now, effects);
        }
    }

    /// A shard has become live. It takes part in what is being prepared, or it would miss that Commit; and
    /// what is committed it has by its Sync.
    pub(super) fn join_jobs(&mut self, shard: ShardId, now: Tick, effects: &mut Effects) {
        for (job, entry) in &mut self.jobs {
            if let Stage::Preparing(preparing) = &mut entry.stage {
                preparing.asked.insert(shard);
                preparing.strayed.remove(shard);
                let (job, change) = (*job, preparing.change.clone());
                let order = Order::Prepare { job, change };
                effects.push(Effect::Send { shard, order });
            }
        }
        self.has_all(shard, now, effects);
    }

    /// A shard runs all that is committed.
    fn has_all(&mut self, shard: ShardId, now: Tick, effects: &mut Effects) {
        for job in self.jobs.keys().copied().collect::<Vec<_>>() {
            if let Some(committing) = self.committing(job) {
                committing.awaiting.remove(shard);
                committing.lost.remove(shard);
                committing.adopted.insert(shard);
                self.end_if_adopted(job, now, effects);
            }
        }
    }

    /// Shards take part in nothing any more. `remember`: they are lost, not dead, so they may still hold
    /// what they were asked to prepare.
    pub(super) fn leave_jobs(&mut self, shards: ShardSet, remember: bool, now: Tick, effects: &mut Effects) {
        for job in self.jobs.keys().copied().collect::<Vec<_>>() {
            match self.jobs.get_mut(&job).map(|entry| &mut entry.stage) {
                Some(Stage::Preparing(preparing)) => {
                    let part = preparing.asked.or(preparing.prepared).and(shards);
                    preparing.asked = preparing.asked.without(shards);
                    preparing.prepared = preparing.prepared.without(shards);
                    preparing.strayed = match remember {
                        true => preparing.strayed.or(part),
                        false => preparing.strayed.without(shards),
                    };
                    if !part.is_empty() {
                        self.commit_if_prepared(job, now, effects);
                    }
                }
                Some(Stage::Committing(committing)) => {
                    let part = committing.awaiting.or(committing.adopted).and(shards);
                    committing.awaiting = committing.awaiting.without(shards);
                    committing.adopted = committing.adopted.without(shards);
                    committing.lost = committing.lost.or(part);
                    self.end_if_adopted(job, now, effects);
                }
                _ => {}
            }
        }
    }

    /// What the shards were asked to prepare is forgotten everywhere.
    pub(super) fn abort(&mut self, job: JobId, preparing: Preparing, now: Tick, effects: &mut Effects) {
        let Preparing { change, asked, prepared, strayed, .. } = preparing;
        let told = asked.or(prepared);
        if !is(Mistake::NoAbort) {
            let order = Order::Abort { job };
            effects.extend(told.iter().map(|shard| {
                let order = order.clone();
                Effect::Send { shard, order }
            }));
        }
        self.take_back(job, &change, told.or(strayed), now, effects);
    }

    /// A change that will not come into force goes back to where it came from; `owed` may still hold it.
    pub(super) fn take_back(&mut self, job: JobId, change: &Change, owed: ShardSet, now: Tick, effects: &mut Effects) {
        let (parts, bound) = (self.root.new_parts(change), self.root.new_listeners(change));
        // Those that have not told since control restarted may know what is new to us.
        let untold = self.shards.untold();
        for listen in &bound {
            let owed = owed.or(untold).and(listen.shards);
            let next = self.addresses.unbind(listen.listener, owed);
            self.address(next, now, effects);
        }
        for (pool, endpoint) in &change.endpoints_come {
            // One that was leaving goes on leaving; a new one is nobody's.
            if !self.ledger.uses_endpoint(*endpoint) {
                self.ledger.endpoint_gone(*pool, *endpoint, untold);
            }
        }
        if !owed.is_empty() {
            let forgetting = Forgetting {
                owed,
                parts: parts.iter().map(Part::id).collect(),
                listeners: bound.iter().map(|listen| listen.listener).collect(),
            };
            self.forgetting.insert(job, forgetting);
        }
        self.keep(parts, owed, Kind::Aborted, now, effects);
    }

    fn commit_if_prepared(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        let Some(preparing) = self.preparing(job) else { unreachable!("only a prepared job is committed") };
        let enough = usize::from(is(Mistake::CommitBeforeLastPrepared));
        if preparing.asked.len() > enough {
            return;
        }
        if preparing.prepared.is_empty() {
            self.cancel(job, Outcome::NoShard, now, effects);
        } else {
            self.commit(job, now, effects);
        }
    }

    /// The point of no return.
    fn commit(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        let preparing = self.preparing(job).expect("only a prepared job is committed");
        let (change, to) = (preparing.change.clone(), preparing.prepared);
        assert!(to.without(self.shards.live()).is_empty(), "job {job} is committed on shards that are not live");
        let holders = self.shards.alive();
        let replaced = self.root.replace(job, &change);
        let version = self.root.version();
        effects.extend(to.iter().map(|shard| {
            let order = Order::Commit { job, version };
            Effect::Send { shard, order }
        }));
        let committing = Committing {
            leave: replaced.listeners.clone(),
            awaiting: to,
            adopted: ShardSet::empty(),
            lost: ShardSet::empty(),
            version,
            until: now.after(self.bounds.adopt_timeout),
        };
        self.reach(job, Stage::Committing(committing), now, effects);
        // Held also by those that do not listen there: as long as one of them has not moved on, its root
        // names the address, and may yet be the newest that is left.
        for (listener, _) in replaced.listeners {
            let next = self.addresses.leave(listener, holders);
            self.address(next, now, effects);
        }
        for (_, endpoint) in &change.endpoints_come {
            self.ledger.endpoint_back(*endpoint);
        }
        for (pool, endpoint) in &change.endpoints_gone {
            self.ledger.endpoint_gone(*pool, *endpoint, holders);
        }
        // What was learned of an endpoint before it came is known nowhere yet.
        let come = change.endpoints_come.iter();
        for state in come.filter_map(|(_, slot)| self.states.get(slot)) {
            effects.extend(to.iter().map(|shard| {
                let order = Order::Endpoint(state.clone());
                Effect::Send { shard, order }
            }));
        }
        for (root, replaced_bytes) in &replaced.roots {
            self.ledger.succeeded(root, *replaced_bytes);
        }
        self.keep(replaced.parts, holders, Kind::Superseded, now, effects);
        // Of those that nobody holds nothing is kept.
        replaced.roots.iter().for_each(|(root, _)| self.ledger.forget_successions(root.slot));
    }

    fn end_if_adopted(&mut self, job: JobId, now: Tick, effects: &mut Effects) {
        let committing = self.committing(job);
        let committing = committing.expect("only a committed job is adopted");
        let enough = usize::from(is(Mistake::AppliedBeforeLastAdopted));
        if committing.awaiting.len() <= enough && !committing.nobody_left() {
            let (lost, version, leave) = (committing.lost, committing.version, committing.leave.clone());
            // Jobs end in the order of their Commits, as each shard adopts in that order.
            self.confirmed = self.confirmed.max(version);
            self.end(job, Outcome::Applied { lost }, now, effects);
            for (listener, _) in leave {
                let next = self.addresses.confirm(listener);
                self.address(next, now, effects);
            }
        }
    }

    /// All of the root but what is still being committed is in force on a live shard.
    pub(super) fn confirm(&mut self, now: Tick, effects: &mut Effects) {
        let committing = self.jobs.values().filter_map(|entry| match &entry.stage {
            Stage::Committing(committing) => Some(committing),
            _ => None,
        });
        let (mut confirmed, mut open) = (self.root.version(), Vec::new());
        for committing in committing {
            confirmed = confirmed.min(RootVersion(committing.version.0 - 1));
            open.extend(committing.leave.iter().map(|(listener, _)| *listener));
        }
        self.confirmed = self.confirmed.max(confirmed);
        for listener in self.addresses.tentative() {
            if !open.contains(&listener) {
                let next = self.addresses.confirm(listener);
                self.address(next, now, effects);
            }
        }
    }

    /// Ends what is committed, at a time when nobody will adopt it any more.
    pub(super) fn end_committed(&mut self, now: Tick, effects: &mut Effects) {
        for job in self.jobs.keys().copied().collect::<Vec<_>>() {
            if let Some(committing) = self.committing(job) {
                let lost = committing.lost.or(committing.awaiting);
                let outcome = match committing.adopted.is_empty() {
                    true => Outcome::Unconfirmed,
                    false => Outcome::Applied { lost },
                };
                self.end(job, outcome, now, effects);
            }
        }
    }

    fn preparing(&mut self, job: JobId) -> Option<&mut Preparing> {
        match &mut self.jobs.get_mut(&job)?.stage {
            Stage::Preparing(preparing) => Some(preparing),
            _ => None,
        }
    }

    fn committing(&mut self, job: JobId) -> Option<&mut Committing> {
        match &mut self.jobs.get_mut(&job)?.stage {
            Stage::Committing(committing) => Some(committing),
            _ => None,
        }
    }
}
