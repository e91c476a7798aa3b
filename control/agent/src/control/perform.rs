//! What the rollout asks for is done, in order.

use super::*;
use api::Stage;
use policy::PoolSlot;
use policy::reload::Part;
use policy::reload::rollout::Phase;

impl Control {
    /// What an effect leads to comes after those that are there already, or orders would overtake each other
    /// on their way to a shard.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
        if self.performing || self.effects.is_empty() {
            return;
        }
        self.changed = true;
        self.performing = true;
        let mut freed = Vec::new();
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::Free(part) => {
                    let pool = self.part_is_free(&part);
                    freed.push((part, pool));
                }
                effect => self.do_one(effect),
            }
            self.confirmed = self.rollout.confirmed();
        }
        self.performing = false;
        if !freed.is_empty() {
            self.ask(Work::Free(freed));
        }
    }

    fn do_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send { shard, order } => self.seats[shard.ix()].send(order),
            Effect::Ready { job } => self.begin_job(job),
            Effect::Reached { job, phase, at: _ } => self.reached(job, phase),
            Effect::Adopted { job, shard, adoption, at: _ } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    let told = job.adopted(shard, adoption);
                    self.shared.events.publish(Happening::Adopted {
                        job: job.id.0,
                        shard: shard.0,
                        adopted_micros: told.adopted_micros,
                        pause_micros: told.pause_micros,
                    });
                }
            }
            Effect::Ended { job, outcome } => self.settle(job, outcome),
            Effect::FreePool(slot) => self.pool_is_free(slot),
            Effect::FreeEndpoint(slot) => self.endpoint_is_free(slot),
            Effect::FreeListener(slot) => self.listener_is_free(slot),
            Effect::CheckHandshakes(slot) => self.watch_handshakes(slot),
            Effect::Steer(live) => self.steer(live),
            Effect::Recovered { generation, is_behind } => self.recovered(generation, is_behind),
            Effect::Accounted => self.accounted(),
            Effect::Stopped { unfinished } => self.stopped = Some(unfinished),
            Effect::Free(_) => unreachable!("collected by the caller"),
        }
    }

    fn reached(&mut self, id: JobId, phase: Phase) {
        match phase {
            Phase::Waiting | Phase::Compiling | Phase::Compiled => {}
            Phase::Preparing => self.enter(id, Stage::Prepare),
            Phase::Committing => {
                self.enter(id, Stage::Adopt);
                self.committing(id);
                #[cfg(test)]
                self.fault(Fault::Committed);
            }
        }
    }

    /// What the change supersedes, and which addresses lose their meaning.
    fn committing(&mut self, id: JobId) {
        self.pins_changed = true;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.commits();
        let State::Out { compiled } = &job.state else { unreachable!("only what was sent out is committed") };
        let change = Arc::clone(&compiled.change);
        let running = |slot: &PoolSlot| self.running.pools.get(self.book.pool_name(*slot)?);
        let old_of = |slot| running(slot).filter(|pool| pool.generation.slot == *slot);
        for (slot, new) in &change.pools {
            let Some(pool) = old_of(slot).cloned() else { continue };
            let (root, policy) = (pool.generation.part, pool.generation.policy.part);
            if new.as_ref().is_none_or(|new| new.policy.part != policy) {
                let released = released(&pool, &Part::Policy(Arc::clone(&pool.generation.policy)));
                self.superseded.insert(policy, Superseded { by: id, pool: None, released });
            }
            let released = released(&pool, &Part::Pool(Arc::clone(&pool.generation)));
            self.superseded.insert(root, Superseded { by: id, pool: Some(pool), released });
        }
        for listener in &change.leave {
            self.tell_listener(*listener, api::status::ListenerState::Leaving);
        }
    }

    /// Answers what was kept with it, to be dropped where dropping may take long.
    fn part_is_free(&mut self, part: &Part) -> Option<RunningPool> {
        // A part that never ran belongs to no receipt.
        let Superseded { by: job, pool: kept, released } = self.superseded.remove(&part.id())?;
        self.shared.events.publish(released);
        self.released(job);
        kept
    }

    fn steer(&mut self, live: ShardSet) {
        self.steered = live;
        for (listener, error) in self.registry.steer_all(live.0) {
            // New connections may wait in the queue of a shard that does not serve; they are not lost.
            let text = format!("listener {listener} could not be steered to live shards: {error}");
            self.shared.events.log().say(crate::event_log::Level::Error, &text);
        }
    }

    /// An address that came after the last steering.
    pub(super) fn steer_new(&self, group: &ListenGroup) {
        if self.steered != ShardSet::first(self.seats.len())
            && let Err(error) = group.steer(self.steered.0)
        {
            let text = format!("{} could not be steered to live shards: {error}", group.local_addr());
            self.shared.events.log().say(crate::event_log::Level::Error, &text);
        }
    }
}

fn released(pool: &RunningPool, part: &Part) -> Happening {
    Happening::Released {
        pool: pool.generation.id.to_string(),
        generation: part.number().0,
        part: match part {
            Part::Pool(_) => api::status::PartKind::Pool,
            Part::Policy(_) => api::status::PartKind::TunnelPolicy,
        },
        bytes: part.bytes(),
    }
}
