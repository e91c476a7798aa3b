//! What no generation names any more and some shard may still hold.
//!
//! Owns one strong reference to every such part until every shard has let it go, so that the last drop
//! happens here; and the endpoints whose slots must not be used again yet. What runs is not in here.
//!
//! The account errs on one side only: a shard is counted as holding a thing until it is known that it does
//! not. It knows shards as bits of a set, and neither jobs nor messages.

use crate::generation::PoolGeneration;
use crate::ids::{EndpointSlot, GenerationId, PartId, PoolSlot, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::reload::{Held, Part};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Default)]
pub struct Ledger {
    parts: BTreeMap<PartId, Entry>,
    /// Sums over `parts` and `endpoints`.
    by_pool: BTreeMap<PoolSlot, Sum>,
    /// Roots that were superseded, since the oldest that is kept, each with the bytes that its successor does not share.
    successions: BTreeMap<PoolSlot, VecDeque<(PartId, u64)>>,
    endpoints: BTreeMap<EndpointSlot, Endpoint>,
    /// Endpoints that no shard holds; the pool first, so that all of one pool are neighbours.
    unheld: BTreeSet<(PoolSlot, EndpointSlot)>,
}

struct Entry {
    part: Part,
    held_by: ShardSet,
    kind: Kind,
}

/// How a part came here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It ran, and was replaced.
    Superseded,
    /// It never ran: its job ended before Commit.
    Aborted,
}

#[derive(Default, PartialEq, Eq, Debug)]
struct Sum {
    parts: usize,
    bytes: u64,
    /// Of these, those of roots that ran.
    root_bytes: u64,
    endpoints: usize,
}

struct Endpoint {
    pool: PoolSlot,
    held_by: ShardSet,
}

/// One part that is kept, and who keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    pub pool: PoolSlot,
    pub part: PartId,
    pub number: GenerationId,
    pub is_root: bool,
    pub bytes: u64,
    pub held_by: ShardSet,
    pub kind: Kind,
}

/// Bytes that successors may share.
fn root_bytes(part: &Part, kind: Kind) -> u64 {
    match (part, kind) {
        (Part::Pool(root), Kind::Superseded) => root.bytes,
        (Part::Pool(_), Kind::Aborted) | (Part::Policy(_), _) => 0,
    }
}

impl Ledger {
    /// Takes a part that does not run any more. `Some` if nobody holds it.
    #[must_use]
    pub fn keep(&mut self, part: Part, held_by: ShardSet, kind: Kind) -> Option<Part> {
        if held_by.is_empty() {
            return Some(part);
        }
        self.sum(part.pool(), |sum| {
            sum.parts += 1;
            sum.bytes += part.bytes();
            sum.root_bytes += root_bytes(&part, kind);
        });
        let id = part.id();
        let twice = self.parts.insert(id, Entry { part, held_by, kind });
        assert!(twice.is_none(), "part {id} was superseded twice");
        None
    }

    /// Takes a part that was superseded before this account began, so that nobody knows what its successors share of
    /// it: all of it counts. `Some` if nobody holds it.
    #[must_use]
    pub fn keep_unknown(&mut self, part: Part, held_by: ShardSet) -> Option<Part> {
        if let Part::Pool(root) = &part
            && !is(Mistake::UnknownNotCounted)
        {
            self.succeeded(root, root.bytes);
        }
        let unheld = self.keep(part, held_by, Kind::Superseded);
        if let Some(part) = &unheld {
            self.forget_successions(part.pool());
        }
        unheld
    }

    /// One shard has let go of a part. `Some` if it was the last.
    #[must_use]
    pub fn release(&mut self, part: PartId, shard: ShardId) -> Option<Part> {
        let entry = self.parts.get_mut(&part)?;
        entry.held_by.remove(shard);
        if !entry.held_by.is_empty() && !is(Mistake::PartFreedEarly) {
            return None;
        }
        let Entry { part, kind, .. } = self.parts.remove(&part).expect("found above");
        self.sum(part.pool(), |sum| {
            sum.parts -= 1;
            sum.bytes -= part.bytes();
            sum.root_bytes -= root_bytes(&part, kind);
        });
        self.forget_successions(part.pool());
        Some(part)
    }

    pub fn knows(&self, part: PartId) -> bool {
        self.parts.contains_key(&part)
    }

    /// The root of this pool was superseded by one that does not share so many bytes of it. Said before [`Ledger::keep`].
    pub fn succeeded(&mut self, root: &PoolGeneration, replaced_bytes: u64) {
        self.successions.entry(root.slot).or_default().push_back((root.part, replaced_bytes));
    }

    /// Bytes that are kept of this pool beyond what runs: never too few. Generations share what they have in common, so
    /// those that are kept cost no more than all that was replaced since the oldest of them, and no more than each for
    /// itself.
    pub fn retained(&self, pool: PoolSlot) -> u64 {
        let Some(sum) = self.by_pool.get(&pool) else { return 0 };
        let replaced = self.successions.get(&pool).into_iter().flatten();
        let replaced = replaced.fold(0u64, |all, (_, bytes)| all.saturating_add(*bytes));
        sum.bytes - sum.root_bytes + sum.root_bytes.min(replaced)
    }

    /// What was superseded before the oldest root that is kept, nobody keeps.
    pub fn forget_successions(&mut self, pool: PoolSlot) {
        let Some(successions) = self.successions.get_mut(&pool) else { return };
        while successions.front().is_some_and(|(root, _)| !self.parts.contains_key(root)) {
            successions.pop_front();
        }
        if successions.is_empty() {
            self.successions.remove(&pool);
        }
    }

    /// Whether a shard may still look at anything under this slot.
    pub fn uses_pool(&self, pool: PoolSlot) -> bool {
        self.by_pool.contains_key(&pool)
    }

    /// An endpoint that no generation names any more.
    pub fn endpoint_gone(&mut self, pool: PoolSlot, endpoint: EndpointSlot, held_by: ShardSet) {
        if held_by.is_empty() {
            self.unheld.insert((pool, endpoint));
        }
        let twice = self.endpoints.insert(endpoint, Endpoint { pool, held_by });
        assert!(twice.is_none(), "endpoint {endpoint} is gone already");
        self.sum(pool, |sum| sum.endpoints += 1);
    }

    /// An endpoint that a generation names again.
    pub fn endpoint_back(&mut self, endpoint: EndpointSlot) {
        if let Some(Endpoint { pool, .. }) = self.endpoints.remove(&endpoint) {
            self.unheld.remove(&(pool, endpoint));
            self.sum(pool, |sum| sum.endpoints -= 1);
        }
    }

    /// One shard has let go of an endpoint. Answers with its pool if that was the last.
    #[must_use]
    pub fn endpoint_released(&mut self, endpoint: EndpointSlot, shard: ShardId) -> Option<PoolSlot> {
        let entry = self.endpoints.get_mut(&endpoint)?;
        entry.held_by.remove(shard);
        if !entry.held_by.is_empty() && !is(Mistake::EndpointFreedEarly) {
            return None;
        }
        self.unheld.insert((entry.pool, endpoint));
        Some(entry.pool)
    }

    pub fn uses_endpoint(&self, endpoint: EndpointSlot) -> bool {
        self.endpoints.contains_key(&endpoint)
    }

    /// Takes this pool's endpoints that nobody holds out of the account: their slots are free.
    pub fn take_unheld(&mut self, pool: PoolSlot) -> Vec<EndpointSlot> {
        let of_pool = (pool, EndpointSlot(0))..=(pool, EndpointSlot(u32::MAX));
        let slots: Vec<EndpointSlot> = self.unheld.range(of_pool).map(|(_, slot)| *slot).collect();
        for slot in &slots {
            self.endpoint_back(*slot);
        }
        slots
    }

    /// Corrects the account of one shard to what it has told. `others`: shards that have not told yet, so
    /// that they may hold what is heard of for the first time. Answers with the parts that nobody holds now
    /// and the pools in which an endpoint was let go.
    #[must_use]
    pub fn correct(&mut self, shard: ShardId, held: &Held, others: ShardSet) -> (Vec<Part>, BTreeSet<PoolSlot>) {
        let mut holders = others;
        holders.insert(shard);
        let pinned: BTreeSet<PartId> = held.pinned.iter().map(|pinned| pinned.part.id()).collect();
        for pinned in &held.pinned {
            match self.parts.get_mut(&pinned.part.id()) {
                Some(entry) => entry.held_by.insert(shard),
                None => {
                    let kept = self.keep_unknown(pinned.part.clone(), holders);
                    assert!(kept.is_none(), "the teller holds it");
                }
            }
        }
        let leaving: BTreeMap<EndpointSlot, PoolSlot> =
            held.endpoints_leaving.iter().map(|(pool, endpoint)| (*endpoint, *pool)).collect();
        for (endpoint, pool) in &leaving {
            match self.endpoints.get_mut(endpoint) {
                Some(entry) => {
                    entry.held_by.insert(shard);
                    self.unheld.remove(&(*pool, *endpoint));
                }
                None => self.endpoint_gone(*pool, *endpoint, holders),
            }
        }
        self.drop_shard(shard, |part| !pinned.contains(&part), |endpoint| !leaving.contains_key(&endpoint))
    }

    /// The shard holds nothing any more. Answers as [`Ledger::correct`].
    #[must_use]
    pub fn shard_died(&mut self, shard: ShardId) -> (Vec<Part>, BTreeSet<PoolSlot>) {
        self.drop_shard(shard, |_| true, |_| true)
    }

    fn sum(&mut self, pool: PoolSlot, change: impl FnOnce(&mut Sum)) {
        let sum = self.by_pool.entry(pool).or_default();
        change(sum);
        if *sum == Sum::default() {
            self.by_pool.remove(&pool);
        }
    }

    fn drop_shard(
        &mut self,
        shard: ShardId,
        part_dropped: impl Fn(PartId) -> bool,
        endpoint_dropped: impl Fn(EndpointSlot) -> bool,
    ) -> (Vec<Part>, BTreeSet<PoolSlot>) {
        let parts: Vec<PartId> = self.parts.keys().copied().filter(|part| part_dropped(*part)).collect();
        let endpoints: Vec<EndpointSlot> =
            self.endpoints.keys().copied().filter(|endpoint| endpoint_dropped(*endpoint)).collect();
        let freed = parts.into_iter().filter_map(|part| self.release(part, shard)).collect();
        let pools = endpoints.into_iter().filter_map(|endpoint| self.endpoint_released(endpoint, shard)).collect();
        (freed, pools)
    }

    pub fn pins(&self) -> impl Iterator<Item = Pin> {
        self.parts.iter().map(|(id, Entry { part, held_by, kind })| Pin {
            pool: part.pool(),
            part: *id,
            number: part.number(),
            is_root: matches!(part, Part::Pool(_)),
            bytes: part.bytes(),
            held_by: *held_by,
            kind: *kind,
        })
    }

    pub fn check_invariants(&self, alive: ShardSet) {
        let parts = self.parts.values().map(|entry| entry.held_by);
        let endpoints = self.endpoints.values().map(|endpoint| endpoint.held_by);
        let by_dead = |held_by: ShardSet| !held_by.without(alive).is_empty();
        assert!(!parts.chain(endpoints).any(by_dead), "a dead shard holds something");
        let mut sums = BTreeMap::<PoolSlot, Sum>::new();
        for (id, entry) in &self.parts {
            assert!(!entry.held_by.is_empty(), "part {id} is held by nobody and was not freed");
            let sum = sums.entry(entry.part.pool()).or_default();
            sum.parts += 1;
            sum.bytes += entry.part.bytes();
            sum.root_bytes += root_bytes(&entry.part, entry.kind);
        }
        for endpoint in self.endpoints.values() {
            sums.entry(endpoint.pool).or_default().endpoints += 1;
        }
        assert_eq!(sums, self.by_pool, "the sums by pool agree with what is kept");
        for (slot, endpoint) in &self.endpoints {
            let unheld = self.unheld.contains(&(endpoint.pool, *slot));
            assert_eq!(endpoint.held_by.is_empty(), unheld, "endpoint {slot}");
        }
        assert!(self.unheld.iter().all(|(_, slot)| self.endpoints.contains_key(slot)));
    }
}
