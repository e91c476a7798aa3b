//! Letting shards in and out, and believing what they say.
//!
//! Only a live shard is believed. Of one that is lost or joining, every report but the awaited answer says
//! no more than that it is there; its `Synced` then tells all that it holds at one moment, and the account
//! is corrected to that. So no report from before can be taken for one of after.

use super::shards::Standing;
use super::stop::Stopping;
use super::{Effect, Effects, Mode, Rollout};
use crate::ids::{ListenerSlot, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Held, Order, Part, Report};
use crate::tick::Tick;
use std::sync::Arc;

impl Rollout {
    /// An executor runs. Incarnations of one shard have rising numbers from 1. The one before is dead then,
    /// whether that has been reported or not; and one that is known already, as a control that has restarted
    /// knows those it was given, is not taken for another.
    pub fn shard_started(&mut self, shard: ShardId, incarnation: u32, now: Tick, effects: &mut Effects) {
        assert!(shard.ix() < ShardSet::MAX, "at most {} shards", ShardSet::MAX);
        if !self.shards.is_new(shard, incarnation) {
            return;
        }
        if self.shards.standing(shard) != Standing::Dead {
            self.died(shard, now, effects);
        }
        // It holds nothing that it was not given by this control.
        self.shards.begin(shard, incarnation, Standing::Lost, true);
        match &self.mode {
            Mode::Running => self.join(shard, now, effects),
            Mode::Recovering(_) => self.ask_or_join(shard, now, effects),
            Mode::Stopping(Stopping { deadline, .. }) => {
                effects.push(Effect::Send { shard, order: Order::Stop { deadline: *deadline } });
            }
        }
    }

    pub fn on_report(&mut self, shard: ShardId, incarnation: u32, report: Report, now: Tick, effects: &mut Effects) {
        let current = self.shards.incarnation(shard);
        if current == Some(incarnation) || current.is_some() && is(Mistake::IncarnationIgnored) {
            self.believe(shard, report, now, effects);
            self.steer(effects);
            self.account(effects);
        } else {
            self.travelled_home(&report, shard, now, effects);
        }
    }

    fn believe(&mut self, shard: ShardId, report: Report, now: Tick, effects: &mut Effects) {
        let standing = self.shards.standing(shard);
        if let Report::Died = report {
            return self.died(shard, now, effects);
        }
        if self.is_stopping() {
            return self.while_stopping(shard, report, now, effects);
        }
        match (standing, report) {
            (Standing::Live, report) => self.on_live(shard, report, now, effects),
            (Standing::Lost, report @ (Report::Adopted { .. } | Report::EndpointReleased { .. }))
                if is(Mistake::LostIsBelieved) =>
            {
                self.on_live(shard, report, now, effects);
            }
            (Standing::Joining { epoch, .. }, Report::Synced { epoch: of, held })
                if epoch == of || is(Mistake::EpochIgnored) =>
            {
                self.joined(shard, *held, now, effects);
            }
            (Standing::Asked { epoch, .. }, Report::Holding { epoch: of, held })
                if epoch == of || is(Mistake::EpochIgnored) =>
            {
                self.has_told(shard, *held, now, effects);
            }
            (standing, report) => {
                self.travelled_home(&report, shard, now, effects);
                if standing == Standing::Lost {
                    self.ask_or_join(shard, now, effects);
                }
            }
        }
    }

    pub(super) fn on_live(&mut self, shard: ShardId, report: Report, now: Tick, effects: &mut Effects) {
        match report {
            Report::Prepared { job } => self.on_prepared(job, shard, now, effects),
            Report::Refused { job, refusal } => self.on_refused(job, shard, refusal, now, effects),
            Report::Adopted { job, adoption } => self.on_adopted(job, shard, adoption, now, effects),
            Report::Forgotten { job } => self.on_forgotten(job, shard, now, effects),
            Report::Released { ref part } => {
                self.travelled_home(&report, shard, now, effects);
                let freed = self.ledger.release(part.id(), shard);
                self.free(freed.into_iter().collect(), now, effects);
            }
            Report::EndpointReleased { endpoint } => {
                if let Some(pool) = self.ledger.endpoint_released(endpoint, shard) {
                    self.free_slots(pool, effects);
                }
            }
            Report::ListenerClosed { listener } => {
                let next = self.addresses.let_go(listener, shard);
                self.address(next, now, effects);
            }
            // Answers to questions that were asked before it became live, or by a control before this one.
            Report::Synced { .. } | Report::Holding { .. } | Report::Leaving { .. } | Report::Stopped => {}
            Report::Died => unreachable!("handled before"),
        }
    }

    /// Silent for too long: they get no new connections, accept none, and no job waits for them.
    pub(super) fn lose(&mut self, shards: ShardSet, now: Tick, effects: &mut Effects) {
        let known = |shard: &ShardId| !matches!(self.shards.standing(*shard), Standing::Dead | Standing::Lost);
        let shards: ShardSet = shards.iter().filter(known).collect();
        for shard in shards.iter() {
            self.shards.set(shard, Standing::Lost);
            let order = Order::Suspend;
            effects.push(Effect::Send { shard, order });
        }
        self.leave_jobs(shards, true, now, effects);
        self.steer(effects);
    }

    fn died(&mut self, shard: ShardId, now: Tick, effects: &mut Effects) {
        self.shards.set(shard, Standing::Dead);
        if !is(Mistake::DeadIsAwaited) {
            self.leave_jobs(ShardSet::one(shard), false, now, effects);
        }
        let (freed, pools) = match is(Mistake::DeadStillHolds) {
            true => Default::default(),
            false => self.ledger.shard_died(shard),
        };
        self.holds_no_more(shard, freed, pools, |_| true, now, effects);
        self.membership_changed(now, effects);
    }

    /// Sends the whole root. Whoever was asked before is asked anew.
    pub(super) fn join(&mut self, shard: ShardId, now: Tick, effects: &mut Effects) {
        let epoch = self.next_epoch();
        let to = Arc::new(self.root.snapshot(&self.states));
        effects.push(Effect::Send { shard, order: Order::Sync { epoch, to } });
        let until = now.after(self.bounds.adopt_timeout);
        self.shards.set(shard, Standing::Joining { epoch, until });
    }

    fn joined(&mut self, shard: ShardId, held: Held, now: Tick, effects: &mut Effects) {
        if held.version != self.root.version() && !is(Mistake::LiveAtOldRoot) {
            // Jobs that were under way have been committed without it. New ones wait, so this ends.
            return self.join(shard, now, effects);
        }
        self.assert_same_root(shard, &held);
        self.shards.tell(shard);
        let untold = self.shards.untold();
        self.pools.extend(held.pinned.iter().map(|pinned| pinned.part.pool()));
        self.pools.extend(held.endpoints_leaving.iter().map(|(pool, _)| *pool));
        let (freed, pools) = self.ledger.correct(shard, &held, untold);
        self.holds_no_more(shard, freed, pools, |listener| !held.leaving.contains(&listener), now, effects);
        for listener in &held.leaving {
            let next = self.addresses.found_leaving(*listener, shard, untold);
            self.address(next, now, effects);
            if self.addresses.is_over(*listener) {
                effects.push(Effect::Send { shard, order: Order::Close { listener: *listener } });
            }
        }
        self.shards.set(shard, Standing::Live);
        effects.push(Effect::Send { shard, order: Order::Resume });
        self.join_jobs(shard, now, effects);
        if !self.is_recovering() {
            self.confirm(now, effects);
        }
        self.membership_changed(now, effects);
    }

    /// The account of one shard has become smaller.
    fn holds_no_more(
        &mut self,
        shard: ShardId,
        freed: Vec<Part>,
        pools: impl IntoIterator<Item = crate::ids::PoolSlot>,
        listener_dropped: impl Fn(ListenerSlot) -> bool,
        now: Tick,
        effects: &mut Effects,
    ) {
        self.forgetting.retain(|_, forgetting| {
            forgetting.owed.remove(shard);
            !forgetting.owed.is_empty()
        });
        self.free(freed, now, effects);
        for pool in pools {
            self.free_slots(pool, effects);
        }
        for listener in self.addresses.of(shard) {
            if listener_dropped(listener) {
                let next = self.addresses.let_go(listener, shard);
                self.address(next, now, effects);
            }
        }
    }

    /// Shards were let in, or are not waited for any more.
    fn membership_changed(&mut self, now: Tick, effects: &mut Effects) {
        self.recovery_goes_on(now, effects);
        if self.shards.joining().is_empty() {
            self.launch_all(now, effects);
        }
        self.stop_if_done(now, effects);
    }

    pub(super) fn shards_late(&mut self, now: Tick, effects: &mut Effects) {
        let late = self.shards.late(now);
        self.lose(late, now, effects);
        if !late.is_empty() {
            self.membership_changed(now, effects);
        }
    }

    /// New connections go to live shards. While some are being let in there is no hurry to tell; when one is
    /// lost there is.
    pub(super) fn steer(&mut self, effects: &mut Effects) {
        let live = self.shards.live();
        let lost = !self.steered.without(live).is_empty();
        if live != self.steered && !live.is_empty() && (lost || self.shards.joining().is_empty()) {
            self.steered = live;
            effects.push(Effect::Steer(live));
        }
    }

    fn assert_same_root(&self, shard: ShardId, held: &Held) {
        let told = held.current.iter().map(|pool| pool.part);
        assert!(told.eq(self.root.pools().map(|pool| pool.part)), "shard {shard} runs another root");
        assert!(held.prepared.is_empty(), "shard {shard} has not forgotten what it had prepared");
    }
}
