//! Control has panicked and goes on.
//!
//! What the rollout knew is gone; the shards know it between them and are asked. What is kept here are facts
//! that no half-done event can have spoilt: what runs, who has asked for what, which slots are in use.

use super::*;
use crate::event_log::Level;
use policy::reload::rollout::Kept;
use policy::tree::Tree;
use policy::{GenerationId, PoolId};

impl Control {
    /// Starts the next life. Orders that were not sent yet are forgotten, as if control had died before.
    pub fn recover(&mut self, cause: &str) {
        let text = format!("control panicked and goes on: {cause}");
        self.shared.events.log().say(Level::Error, &text);
        self.life += 1;
        let now = self.now();
        self.seats.iter_mut().for_each(Seat::forget_orders);
        self.effects.clear();
        self.performing = false;
        self.checking.clear();
        self.handshakes_asked = false;
        let alive = self.seats.iter().zip(0..).filter(|(seat, _)| !seat.gone);
        let kept = Kept {
            life: self.life,
            confirmed: self.confirmed,
            shards: alive.map(|(seat, shard)| (ShardId(shard), seat.incarnation)).collect(),
            under_way: self.jobs.keys().copied().collect(),
            states: self.shared.board.all(),
        };
        let mut effects = Vec::new();
        self.rollout = Rollout::recover(self.bounds(), kept, now, &mut effects);
        if let Some(deadline) = self.stop_by {
            self.rollout.stop(deadline, now, &mut effects);
        }
        self.perform(effects);
    }

    pub(super) fn recovered(&mut self, generation: Option<GenerationId>, is_behind: bool) {
        let number = generation.map_or(0, |generation| generation.0);
        if is_behind {
            let lost = self.running.generation.map_or(0, |generation| generation.0);
            let text = format!(
                "every shard that ran generation {lost} has died while control was away: generation {number} runs again"
            );
            self.shared.events.log().say(Level::Error, &text);
            self.fall_back(generation);
        } else {
            self.shared.events.log().say(Level::Info, &format!("control is back: generation {number} runs"));
        }
    }

    /// What runs is what the shards run. Whatever a shard can still run is among what runs here or was
    /// superseded and is still held.
    fn fall_back(&mut self, generation: Option<GenerationId>) {
        let mut known: HashMap<PartId, RunningPool> = HashMap::new();
        let superseded = self.superseded.values().filter_map(|superseded| superseded.pool.as_ref());
        for pool in self.running.pools.values().chain(superseded) {
            known.insert(pool.generation.part, pool.clone());
        }
        let pools = self.rollout.pools().map(|root| {
            let pool = known.remove(&root.part);
            (root.id.clone(), pool.expect("what a shard holds is not forgotten here"))
        });
        let pools: BTreeMap<PoolId, RunningPool> = pools.collect();
        let pools = Tree::from_sorted(pools);
        let listeners = self.book.listens(&pools);
        listeners.values().for_each(|listen| self.listener_leads(listen));
        let listeners = Tree::from_sorted(listeners);
        self.running = Arc::new(self.running.falling_back(generation, pools, listeners));
    }

    /// Every shard has told what it holds: whatever it did not tell is free.
    pub(super) fn accounted(&mut self) {
        self.free_uncared(self.book.all());
        for slot in self.book.stand_ins() {
            if !self.rollout.uses_pool(slot) {
                self.book.free_stand_in(slot);
            }
        }
        let kept: BTreeSet<PartId> = self.rollout.who_pins().map(|pin| pin.part).collect();
        let (superseded, free) =
            std::mem::take(&mut self.superseded).into_iter().partition(|(part, _)| kept.contains(part));
        self.superseded = superseded;
        let free: HashMap<PartId, Superseded> = free;
        let over: BTreeSet<JobId> = free.values().map(|superseded| superseded.by).collect();
        free.into_values().for_each(|superseded| self.shared.events.publish(superseded.released));
        for job in over {
            self.released(job);
        }
    }
}
