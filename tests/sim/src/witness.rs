//! Somebody who sees everything at once and judges.
//!
//! Remembers what was said to submitters and compares it with what shards do. Every `assert` in the
//! simulation outside the real code is an invariant of the design; those that need memory are here.

use crate::compiler::GENERATION_BYTES_MAX;
use crate::shard::{Mail, Shard};
use policy::generation::{Change, PoolGeneration};
use policy::reload::rollout::{Kind, Standing};
use policy::reload::{Order, Outcome, Part, Rollout};
use policy::{EndpointSlot, JobId, ListenerSlot, PartId, PoolSlot, ShardId, ShardSet};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Witness {
    /// What each job would put in each pool.
    changes: BTreeMap<JobId, Vec<(PoolSlot, Option<PartId>)>>,
    /// All that a pool has meant, in the order of the Commits.
    meanings: BTreeMap<PoolSlot, Vec<Meaning>>,
    /// Up to which of these the submitters have been told that it is in force.
    announced: BTreeMap<PoolSlot, usize>,
    /// Jobs of which nothing may ever be seen.
    never: BTreeSet<JobId>,
    /// Jobs that have ended.
    ended: BTreeSet<JobId>,
    /// Executors that are those that control knows, and not already their successors.
    pub known: ShardSet,
    /// Of these the ones that control takes for live.
    pub live: ShardSet,
}

#[derive(Clone)]
struct Meaning {
    part: Option<PartId>,
    listeners: Vec<ListenerSlot>,
}

impl Witness {
    /// What a pool means before any job.
    pub fn first(&mut self, pool: &PoolGeneration) {
        self.means(pool.slot, Some(pool));
        self.announced.insert(pool.slot, 0);
    }

    pub fn prepared(&mut self, job: JobId, change: &Change) {
        let parts = change.pools.iter().map(|(slot, pool)| (*slot, pool.as_ref().map(|pool| pool.part)));
        self.changes.insert(job, parts.collect());
    }

    pub fn committed(&mut self, job: JobId, rollout: &Rollout) {
        for (slot, _) in self.changes[&job].clone() {
            self.means(slot, rollout.pool(slot).map(|pool| &**pool));
        }
    }

    /// The pools that a job names, if that is known.
    pub fn changed_by(&self, job: JobId) -> Option<Vec<PoolSlot>> {
        self.changes.get(&job).map(|change| change.iter().map(|(slot, _)| *slot).collect())
    }

    fn means(&mut self, slot: PoolSlot, pool: Option<&PoolGeneration>) {
        let part = pool.map(|pool| pool.part);
        let listeners = pool.map_or(Vec::new(), |pool| pool.listeners.to_vec());
        self.meanings.entry(slot).or_default().push(Meaning { part, listeners });
    }

    /// A submitter has its answer: it must be true.
    pub fn ended(&mut self, job: JobId, outcome: &Outcome, rollout: &Rollout, shards: &[Option<Shard>]) {
        assert!(self.ended.insert(job), "job {job} ended twice");
        let change = self.changes.get(&job).cloned().unwrap_or_default();
        match outcome {
            Outcome::Applied { lost } => {
                assert!(lost.and(rollout.live()).is_empty(), "job {job}: a live shard is called lost");
                for shard in shards.iter().flatten().filter(|shard| self.live.contains(shard.id)) {
                    for (slot, part) in &change {
                        let runs = shard.adopter.pool(*slot).map(|pool| pool.part);
                        assert_eq!(runs, *part, "job {job} is called applied, but not on live shard {}", shard.id);
                    }
                }
                for (slot, part) in change {
                    let at = self.meanings[&slot].iter().rposition(|meaning| meaning.part == part);
                    self.announced.insert(slot, at.expect("it was committed"));
                }
            }
            Outcome::Interrupted => {
                // One that did not answer may have committed it, unseen; then it must not be let in so.
                let silent = |shard: &&Shard| {
                    let commits =
                        |mail: &Mail| matches!(mail, Mail::Order(Order::Commit { job: of, .. }) if *of == job);
                    let runs = change
                        .iter()
                        .any(|(slot, part)| part.is_some() && shard.adopter.pool(*slot).map(|pool| pool.part) == *part);
                    shard.mail.iter().any(commits) || runs
                };
                let mut unseen = shards.iter().flatten().filter(silent).peekable();
                if unseen.peek().is_none() {
                    self.never.insert(job);
                }
                for shard in unseen {
                    let standing = rollout.standing(shard.id);
                    assert_eq!(standing, Standing::Lost, "shard {} answered, and has job {job}", shard.id);
                }
            }
            // It may come into force, or be lost with control; nobody was told that it is.
            Outcome::Unconfirmed => {}
            Outcome::Refused { .. }
            | Outcome::PrepareTimeout { .. }
            | Outcome::NoShard
            | Outcome::Expired { .. }
            | Outcome::Withdrawn
            | Outcome::Stopping => {
                self.never.insert(job);
            }
        }
    }

    /// Every shard that ran some of what was announced has died, and control too.
    pub fn fell_behind(&mut self, rollout: &Rollout, shards: &[Option<Shard>]) {
        for shard in shards.iter().flatten().filter(|shard| self.known.contains(shard.id)) {
            let version = shard.adopter.version();
            assert!(version < rollout.confirmed(), "shard {} has what is called lost", shard.id);
        }
        for (slot, announced) in &mut self.announced {
            let part = rollout.pool(*slot).map(|pool| pool.part);
            let at = self.meanings[slot].iter().rposition(|meaning| meaning.part == part);
            *announced = at.map_or(0, |at| at.min(*announced));
        }
    }

    /// What a shard runs is not of a job that failed.
    pub fn assert_in_force(&self, shard: ShardId, pool: &PoolGeneration) {
        let job = JobId(pool.number.0);
        assert!(!self.never.contains(&job), "shard {shard} runs {} of job {job}, which failed", pool.id);
    }

    /// A connection that a live shard accepts is served by what has been announced, or newer.
    pub fn assert_newest(&self, shard: ShardId, listener: ListenerSlot, root: &PoolGeneration) {
        let Some(announced) = self.announced.get(&root.slot).copied().filter(|_| self.live.contains(shard)) else {
            return;
        };
        let meanings = &self.meanings[&root.slot];
        // An address on its way out may lead to what its pool was.
        if !meanings[announced].listeners.contains(&listener) {
            return;
        }
        self.assert_not_replaced(shard, root, announced);
    }

    /// A request that begins on a connection of a live shard reads what has been announced, or newer; where the pool
    /// is gone, what was last.
    pub fn assert_newest_of(&self, shard: ShardId, root: &PoolGeneration) {
        let Some(announced) = self.announced.get(&root.slot).copied().filter(|_| self.live.contains(shard)) else {
            return;
        };
        if self.meanings[&root.slot][announced].part.is_some() {
            self.assert_not_replaced(shard, root, announced);
        }
    }

    fn assert_not_replaced(&self, shard: ShardId, root: &PoolGeneration, announced: usize) {
        let meanings = &self.meanings[&root.slot];
        let at = meanings.iter().rposition(|meaning| meaning.part == Some(root.part)).expect("it was committed");
        assert!(at >= announced, "shard {shard} serves {} with job {}, which was replaced", root.id, root.number);
    }

    /// Nobody can come upon what is freed.
    pub fn assert_part_free(&self, part: &Part, shards: &[Option<Shard>]) {
        for shard in shards.iter().flatten() {
            assert!(!shard.holds(part.id()), "part {} is freed, and shard {} holds it", part.id(), shard.id);
        }
    }

    pub fn assert_endpoint_free(&self, endpoint: EndpointSlot, shards: &[Option<Shard>]) {
        for shard in shards.iter().flatten() {
            assert!(!shard.uses_endpoint(endpoint), "endpoint {endpoint} is freed, and shard {} uses it", shard.id);
        }
    }

    pub fn assert_pool_free(&self, pool: PoolSlot, shards: &[Option<Shard>]) {
        for shard in shards.iter().flatten() {
            let held = shard.adopter.held();
            let pinned = held.pinned.iter().any(|pinned| pinned.part.pool() == pool);
            let current = held.current.iter().any(|current| current.slot == pool);
            assert!(!pinned && !current, "pool slot {pool} is freed, and shard {} holds a part of it", shard.id);
        }
    }

    pub fn assert_listener_free(&self, listener: ListenerSlot, shards: &[Option<Shard>]) {
        for shard in shards.iter().flatten() {
            assert!(!shard.uses_listener(listener), "listener {listener} is freed, and shard {} uses it", shard.id);
        }
    }

    /// Superseded parts are kept within the bound, or one generation.
    pub fn assert_retained(&self, rollout: &Rollout, bound: u64) {
        let mut retained = BTreeMap::<PoolSlot, u64>::new();
        for kept in rollout.who_pins().filter(|kept| kept.kind == Kind::Superseded) {
            *retained.entry(kept.pool).or_default() += kept.bytes;
        }
        for (pool, bytes) in retained {
            assert!(bytes <= bound.max(GENERATION_BYTES_MAX), "pool {pool} retains {bytes} bytes, bound {bound}");
        }
    }

    pub fn assert_all_ended(&self, admitted: &BTreeSet<JobId>) {
        assert_eq!(&self.ended, admitted, "every job that was admitted ends");
    }
}
