//! What a simulation sees of control.
//!
//! Owns nothing and changes nothing.

use super::*;
use crate::kept::KeptGeneration;
use config::Config;

/// What runs, and what it is measured from.
#[derive(Clone, Debug)]
pub struct State {
    pub generation: u64,
    pub config: Arc<Config>,
    pub base: Arc<Config>,
}

impl Control {
    pub fn state(&self) -> State {
        State {
            generation: self.running.generation.map_or(0, |generation| generation.0),
            config: Arc::clone(&self.running.config),
            base: Arc::clone(&self.shared.overlay().base().config),
        }
    }

    /// Generations that can be gone back to, newest first.
    pub fn kept(&self) -> Vec<KeptGeneration> {
        self.shared.kept().iter().cloned().collect()
    }

    /// The number of the job that is submitted next.
    pub fn next_job(&self) -> u64 {
        self.next_job
    }

    /// By pool what runs there, as the shards must have it.
    pub fn roots(&self) -> Vec<(policy::PoolSlot, PartId)> {
        self.running.pools.values().map(|pool| (pool.generation.slot, pool.generation.part)).collect()
    }

    pub fn live(&self) -> ShardSet {
        self.rollout.live()
    }

    pub fn incarnation(&self, shard: ShardId) -> u32 {
        self.seats[shard.ix()].incarnation
    }

    /// What control still has to do, or waits for: nothing is the end of every burst.
    pub fn unrest(&self) -> Vec<String> {
        let mut unrest = Vec::new();
        let mut say = |what: &str, count: usize| {
            if count > 0 {
                unrest.push(format!("{count} {what}"));
            }
        };
        say("jobs", self.jobs.len());
        say("jobs that wait for the interval", self.gathered.len());
        say("jobs that are not on the disk", self.unsaved.len());
        say("answers that wait", self.late.len());
        say("builds", self.builds);
        say("parts superseded and held", self.superseded.len());
        say("addresses that are left", self.checking.len());
        say("shards that are behind", self.seats.iter().filter(|seat| seat.is_behind()).count());
        say("effects", self.effects.len());
        unrest
    }

    pub fn check_invariants(&self) {
        self.rollout.check_invariants();
    }

    /// Pools, backends and addresses that control knows.
    pub fn booked(&self) -> (usize, usize, usize) {
        let all = self.book.all();
        (all.pools.len(), all.endpoints.len(), all.listeners.len())
    }

    /// Those that what runs names.
    pub fn named(&self) -> (usize, usize, usize) {
        let pools = self.running.pools.values();
        let endpoints = pools.map(|pool| pool.generation.endpoints().count()).sum();
        (self.running.pools.len(), endpoints, self.running.listeners.len())
    }

    /// The log thread would say now that these names are gone.
    pub fn take_forgotten(&self) -> Vec<log::Slot> {
        self.log.take_forgotten()
    }
}
