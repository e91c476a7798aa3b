//! What is let go, and when.
//!
//! The ledger and the addresses say that nobody holds a thing any more; here that becomes an effect, frees
//! the slots that only it used, and lets jobs go on that waited for it.

use super::addresses::Next;
use super::ledger::Kind;
use super::{Effect, Effects, Mode, Rollout, Stage};
use crate::ids::{PoolSlot, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Part, Report};
use crate::tick::Tick;

impl Rollout {
    /// Parts that do not run, or not any more, are kept as long as somebody may hold them.
    pub(super) fn keep(&mut self, parts: Vec<Part>, holders: ShardSet, kind: Kind, now: Tick, effects: &mut Effects) {
        let keep = |part| self.ledger.keep(part, holders, kind);
        let freed = parts.into_iter().filter_map(keep).collect();
        self.free(freed, now, effects);
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
        if !self.is_accounted() {
            return; // a shard that has not told may use them
        }
        let head = self.lines.head_of_pool(pool);
        if head.is_some_and(|job| !matches!(self.jobs[&job].stage, Stage::Waiting)) {
            return;
        }
        for endpoint in self.ledger.take_unheld(pool) {
            self.states.remove(&endpoint);
            effects.push(Effect::FreeEndpoint(endpoint));
        }
        let unnamed = head.is_none() || is(Mistake::PoolFreedWhileNamed);
        let unused = unnamed && self.root.pool(pool).is_none() && !self.ledger.uses_pool(pool);
        if unused && self.pools.remove(&pool) {
            effects.push(Effect::FreePool(pool));
        }
    }

    /// What an address on its way out needs next.
    pub(super) fn address(&mut self, next: Option<Next>, now: Tick, effects: &mut Effects) {
        match next {
            Some(Next::Check(listener)) => effects.push(Effect::CheckHandshakes(listener)),
            Some(Next::Free(listener)) => {
                effects.push(Effect::FreeListener(listener));
                self.recheck(self.lines.head_of_address(listener), now, effects);
            }
            None => {}
        }
    }

    /// A part that nobody here accounts for, as its shard outlived the control that knew it. Those that have
    /// not told yet may hold it too.
    pub(super) fn travelled_home(&mut self, report: &Report, shard: ShardId, now: Tick, effects: &mut Effects) {
        if let Report::Released { part } = report {
            self.keep_unknown(part.clone(), ShardSet::one(shard), now, effects);
        }
    }

    pub(super) fn keep_unknown(&mut self, part: Part, released_by: ShardSet, now: Tick, effects: &mut Effects) {
        if let Mode::Recovering(recovery) = &mut self.mode
            && !recovery.root_is_known
        {
            return recovery.home.push(part); // it may turn out to run
        }
        if self.ledger.knows(part.id()) || self.root.runs(&part) {
            return;
        }
        let holders = self.shards.untold().without(released_by);
        if holders.is_empty() {
            effects.push(Effect::Free(part));
        } else {
            self.pools.insert(part.pool());
            let unheld = self.ledger.keep_unknown(part, holders);
            self.free(unheld.into_iter().collect(), now, effects);
        }
    }

    /// Says, once and after everything else, that the account is complete again.
    pub(super) fn account(&mut self, effects: &mut Effects) {
        if self.owes_account && self.is_accounted() {
            self.owes_account = false;
            for pool in self.pools.clone() {
                self.free_slots(pool, effects);
            }
            let states = std::mem::take(&mut self.states);
            let used = states.into_iter().filter(|(slot, _)| self.uses_endpoint(*slot));
            self.states = used.collect();
            effects.push(Effect::Accounted);
        }
    }
}
