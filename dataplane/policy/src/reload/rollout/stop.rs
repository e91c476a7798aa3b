//! The end of the process, politely: every address leaves, connections end, what is left ends at the
//! deadline.
//!
//! While stopping nobody is let in and no change begins, so it does not matter any more whether a shard is
//! live: what each says of its own end is believed.

use super::{Effect, Effects, Mode, Outcome, Rollout};
use crate::ids::{JobId, ListenerSlot, ShardId, ShardSet};
use crate::reload::{Order, Report};
use crate::tick::Tick;

/// How far the stop is.
pub struct Stopping {
    pub deadline: Tick,
    /// The deadline, and time for the shards to say that it has come.
    pub until: Tick,
    /// Shards that have told which addresses they still use.
    left: ShardSet,
    stopped: ShardSet,
    done: bool,
}

impl Rollout {
    /// Ends everything by `deadline`. Jobs that are not committed end `Stopping`. Asked again, the newer
    /// deadline counts. While control is finding its root again, the stop begins when it has.
    pub fn stop(&mut self, deadline: Tick, now: Tick, effects: &mut Effects) {
        let until = deadline.after(self.bounds.adopt_timeout);
        match &mut self.mode {
            Mode::Recovering(recovery) => {
                recovery.stop_by = Some(deadline);
                return self.stop_if_done(now, effects);
            }
            Mode::Stopping(stopping) => (stopping.deadline, stopping.until) = (deadline, until),
            Mode::Running => {
                for job in self.jobs.keys().copied().collect::<Vec<JobId>>() {
                    self.cancel(job, Outcome::Stopping, now, effects);
                }
                self.mode = Mode::Stopping(Stopping {
                    deadline,
                    until,
                    left: ShardSet::empty(),
                    stopped: ShardSet::empty(),
                    done: false,
                });
                self.leave_all(now, effects);
            }
        }
        let alive = self.shards.alive();
        effects.extend(alive.iter().map(|shard| Effect::Send { shard, order: Order::Stop { deadline } }));
        self.stop_if_done(now, effects);
    }

    pub(super) fn while_stopping(&mut self, shard: ShardId, report: Report, now: Tick, effects: &mut Effects) {
        match report {
            Report::Leaving { listeners } => self.leaves(shard, listeners, now, effects),
            Report::Stopped => {
                for listener in self.addresses.of(shard) {
                    let next = self.addresses.let_go(listener, shard);
                    self.address(next, now, effects);
                }
                if let Mode::Stopping(stopping) = &mut self.mode {
                    stopping.stopped.insert(shard);
                }
                self.stop_if_done(now, effects);
            }
            Report::ListenerClosed { .. } | Report::Released { .. } | Report::EndpointReleased { .. } => {
                self.on_live(shard, report, now, effects);
            }
            report if self.shards.live().contains(shard) => self.on_live(shard, report, now, effects),
            _ => {}
        }
    }

    /// All that a shard still uses, and every one of them drops SYNs.
    fn leaves(&mut self, shard: ShardId, listeners: Vec<ListenerSlot>, now: Tick, effects: &mut Effects) {
        let Mode::Stopping(stopping) = &mut self.mode else {
            return;
        };
        stopping.left.insert(shard);
        let others = self.shards.alive().without(stopping.left);
        for listener in self.addresses.of(shard) {
            if !listeners.contains(&listener) {
                let next = self.addresses.let_go(listener, shard);
                self.address(next, now, effects);
            }
        }
        for listener in listeners {
            let next = self.addresses.found_leaving(listener, shard, others);
            self.address(next, now, effects);
            let next = self.addresses.confirm(listener);
            self.address(next, now, effects);
            if self.addresses.is_over(listener) {
                effects.push(Effect::Send { shard, order: Order::Close { listener } });
            }
        }
    }

    pub(super) fn stop_if_done(&mut self, now: Tick, effects: &mut Effects) {
        let alive = self.shards.alive();
        if let Mode::Recovering(recovery) = &self.mode
            && recovery.stop_by.is_some()
            && alive.is_empty()
        {
            return self.give_up_recovery(now, effects);
        }
        if let Mode::Stopping(stopping) = &mut self.mode
            && !stopping.done
            && alive.without(stopping.stopped).is_empty()
        {
            stopping.done = true;
            self.end_committed(now, effects);
            effects.push(Effect::Stopped { unfinished: ShardSet::empty() });
        }
    }

    pub(super) fn stop_late(&mut self, now: Tick, effects: &mut Effects) {
        let alive = self.shards.alive();
        if let Mode::Stopping(stopping) = &mut self.mode
            && !stopping.done
            && stopping.until <= now
        {
            stopping.done = true;
            let unfinished = alive.without(stopping.stopped);
            self.end_committed(now, effects);
            effects.push(Effect::Stopped { unfinished });
        }
        if let Mode::Recovering(recovery) = &self.mode
            && recovery.stop_by.is_some_and(|deadline| deadline <= now)
        {
            self.give_up_recovery(now, effects);
        }
    }

    pub(super) fn stop_deadline(&self) -> Option<Tick> {
        match &self.mode {
            Mode::Stopping(stopping) if !stopping.done => Some(stopping.until),
            Mode::Recovering(recovery) => recovery.stop_by,
            Mode::Stopping(_) | Mode::Running => None,
        }
    }

    fn leave_all(&mut self, now: Tick, effects: &mut Effects) {
        let alive = self.shards.alive();
        for listen in self.root.listeners().collect::<Vec<_>>() {
            let next = self.addresses.leave(listen.listener, alive);
            self.address(next, now, effects);
        }
        for listener in self.addresses.tentative() {
            let next = self.addresses.confirm(listener);
            self.address(next, now, effects);
        }
    }
}
