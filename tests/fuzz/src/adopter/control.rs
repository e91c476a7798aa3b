//! Control as far as one shard can tell: the newest root, the jobs under way, and orders that are legal.
//!
//! Keeps the promises that a shard relies on: jobs under way touch different pools and addresses, versions
//! rise, a slot gets another meaning only after the shard has let go of it, and of a shard that was suspended
//! nothing is asked but to forget, until it has taken a whole root.

use policy::generation::{
    Address, Balance, Change, ContentHash, Endpoint, EndpointState, Group, Health, Listen, PoolGeneration, PoolLimits,
    Service, Snapshot, Timeouts, TunnelPolicy,
};
use policy::reload::Committed;
use policy::{
    EndpointSlot, GenerationId, GroupSlot, JobId, ListenerSlot, PartId, PoolId, PoolSlot, RootVersion, ShardId,
    ShardSet,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The shard that is driven.
pub(super) const SHARD: ShardId = ShardId(0);

/// Pools of this many slots; the last is served by another shard, so its addresses never come here.
pub(super) const POOLS: u32 = 3;

const ENDPOINTS_OF_A_POOL: u32 = 4;

/// What each pool slot means.
type Root = BTreeMap<PoolSlot, Arc<PoolGeneration>>;

#[derive(Default)]
pub(super) struct Control {
    root: Root,
    version: u64,
    /// The jobs that the root contains.
    committed: Committed,
    /// Root and jobs before the last Commit, as long as that may become void.
    before: Option<(Root, Committed)>,
    /// Prepared here, neither committed nor aborted.
    pub(super) jobs: Vec<Job>,
    numbers: u64,
    parts: u64,
    /// Listener slots that mean something, or may still be used by the shard.
    listeners: BTreeSet<ListenerSlot>,
}

pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) change: Arc<Change>,
}

/// What a job makes of its pool.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) pool: PoolSlot,
    pub(super) what: What,
    /// Bits of the endpoints that the pool is to have.
    pub(super) endpoints: usize,
    pub(super) new_policy: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum What {
    Replaced,
    /// With one more address.
    Opened,
    /// With one address less.
    Closed,
    /// All addresses are others.
    Moved,
    /// Takes an address from another pool.
    Takes,
    Removed,
}

impl Control {
    /// A change that touches nothing that a job under way touches. `None`: the wish cannot be granted now.
    pub(super) fn change(&mut self, wish: Wish) -> Option<(JobId, Arc<Change>)> {
        if self.is_touched(wish.pool) {
            return None;
        }
        self.numbers += 1;
        let number = GenerationId(self.numbers);
        let old = self.root.get(&wish.pool).cloned();
        let mut new: BTreeMap<PoolSlot, Option<Arc<PoolGeneration>>> = BTreeMap::new();
        if wish.what == What::Removed {
            old.as_ref()?;
            new.insert(wish.pool, None);
            return Some((JobId(number.0), Arc::new(self.difference(new))));
        }
        let mut listeners = old.as_ref().map_or_else(Vec::new, |old| old.listeners.to_vec());
        match wish.what {
            What::Opened => listeners.push(self.listener()),
            What::Closed => drop(listeners.pop()),
            What::Moved => listeners = vec![self.listener()],
            What::Takes => {
                let from = self.root.values().find(|pool| self.can_give(pool, wish.pool))?.clone();
                listeners.push(from.listeners[0]);
                let giver = Wish { pool: from.slot, what: What::Replaced, endpoints: 0, new_policy: false };
                let left = from.listeners[1..].to_vec();
                new.insert(from.slot, Some(self.pool(giver, number, Some(&from), left)));
            }
            What::Replaced | What::Removed => {}
        }
        new.insert(wish.pool, Some(self.pool(wish, number, old.as_deref(), listeners)));
        Some((JobId(number.0), Arc::new(self.difference(new))))
    }

    /// The job is in force: on the shard by this Commit, or without it.
    pub(super) fn commit(&mut self, job: JobId, change: &Change) -> RootVersion {
        self.before = Some((self.root.clone(), self.committed.clone()));
        for (slot, pool) in &change.pools {
            match pool {
                Some(pool) => self.root.insert(*slot, pool.clone()),
                None => self.root.remove(slot),
            };
        }
        self.committed.push(job);
        self.version += 1;
        RootVersion(self.version)
    }

    /// All shards have said that they adopted, or something has followed from it: it is in force for good.
    pub(super) fn settle(&mut self) {
        self.before = None;
    }

    /// The last Commit reached nobody but this shard, and control died with it: what the others run is the root.
    pub(super) fn go_back(&mut self) {
        if let Some(before) = self.before.take() {
            (self.root, self.committed) = before;
            self.version += 1;
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let listen = self.root.values().flat_map(|pool| {
            let PoolGeneration { slot, shards, .. } = **pool;
            pool.listeners.iter().map(move |listener| Listen { listener: *listener, pool: slot, shards })
        });
        Snapshot {
            version: RootVersion(self.version),
            generation: Some(GenerationId(self.numbers)),
            committed: self.committed.clone(),
            pools: self.root.values().cloned().collect(),
            listen: listen.collect(),
            endpoints: (0..POOLS * ENDPOINTS_OF_A_POOL).map(|slot| state(EndpointSlot(slot))).collect(),
        }
    }

    pub(super) fn version(&self) -> RootVersion {
        RootVersion(self.version)
    }

    /// To which pool the address leads.
    pub(super) fn leads(&self, listener: ListenerSlot) -> Option<PoolSlot> {
        self.root.values().find(|pool| pool.listeners.contains(&listener)).map(|pool| pool.slot)
    }

    /// All that the root would have this shard listen on.
    pub(super) fn listeners_of(&self, shard: ShardId) -> Vec<ListenerSlot> {
        let mine = self.root.values().filter(|pool| pool.shards.contains(shard));
        let listeners: BTreeSet<ListenerSlot> = mine.flat_map(|pool| pool.listeners.iter().copied()).collect();
        listeners.into_iter().collect()
    }

    /// Slots that mean nothing any more, neither to control nor to the shard, may mean something else.
    pub(super) fn free_listeners(&mut self, is_used: impl Fn(ListenerSlot) -> bool) {
        let named = |pools: &Root, listener| pools.values().any(|pool| pool.listeners.contains(&listener));
        let by_job = |job: &Job, listener| job.change.listen.iter().any(|listen| listen.listener == listener);
        let Control { root, before, jobs, listeners, .. } = self;
        listeners.retain(|listener| {
            let by_control = named(root, *listener) || before.as_ref().is_some_and(|(root, _)| named(root, *listener));
            is_used(*listener) || by_control || jobs.iter().any(|job| by_job(job, *listener))
        });
    }

    /// Copies of this pool's part that control itself has.
    pub(super) fn copies(&self, pool: &Arc<PoolGeneration>) -> usize {
        let same = |root: &Root| root.values().filter(|other| Arc::ptr_eq(other, pool)).count();
        same(&self.root) + self.before.as_ref().map_or(0, |(root, _)| same(root))
    }

    fn is_touched(&self, pool: PoolSlot) -> bool {
        self.jobs.iter().any(|job| job.change.pools.iter().any(|(slot, _)| *slot == pool))
    }

    fn can_give(&self, from: &PoolGeneration, to: PoolSlot) -> bool {
        let same_shards = from.shards == served_by(to);
        from.slot != to && same_shards && !from.listeners.is_empty() && !self.is_touched(from.slot)
    }

    fn pool(
        &mut self,
        wish: Wish,
        number: GenerationId,
        old: Option<&PoolGeneration>,
        mut listeners: Vec<ListenerSlot>,
    ) -> Arc<PoolGeneration> {
        let Wish { pool: slot, endpoints, new_policy, .. } = wish;
        listeners.sort();
        let policy = match old.filter(|_| !new_policy) {
            Some(old) => old.policy.clone(),
            None => Arc::new(TunnelPolicy {
                part: self.part(),
                pool: slot,
                number,
                timeouts: Timeouts { connect: Duration::from_secs(1), idle: None, lifetime: None },
                http: None,
                access_log: false,
                bytes: 10,
            }),
        };
        let named = (0..ENDPOINTS_OF_A_POOL).filter(|bit| endpoints >> bit & 1 == 1);
        Arc::new(PoolGeneration {
            part: self.part(),
            id: PoolId::new(&format!("pool-{slot}")),
            slot,
            number,
            hash: ContentHash([0; 16]),
            listeners: listeners.into(),
            shards: served_by(slot),
            limits: PoolLimits { max_connections: None, memory: 0 },
            policy,
            service: Service::Tcp,
            groups: Group::table([Arc::new(Group {
                slot: GroupSlot(slot.0),
                id: "main".into(),
                balance: Balance::RoundRobin,
                endpoints: named.map(|bit| endpoint(EndpointSlot(slot.0 * ENDPOINTS_OF_A_POOL + bit))).collect(),
                attempts: 1,
                queue: 0,
                queue_wait: Duration::ZERO,
                health: None,
                http: None,
            })]),
            bytes: 100,
            // Nothing is shared here.
            replaced_bytes: u64::MAX,
        })
    }

    /// As the compiler would write it down.
    fn difference(&self, new: BTreeMap<PoolSlot, Option<Arc<PoolGeneration>>>) -> Change {
        let old: Vec<&Arc<PoolGeneration>> = new.keys().filter_map(|slot| self.root.get(slot)).collect();
        let now: Vec<&Arc<PoolGeneration>> = new.values().flatten().collect();
        let (was, is) = (leads(&old), leads(&now));
        let named = |pools: &[&Arc<PoolGeneration>]| -> BTreeSet<(PoolSlot, EndpointSlot)> {
            let all = pools.iter().flat_map(|pool| pool.endpoints().map(|e| (pool.slot, e.slot)));
            all.collect()
        };
        let (named_before, named_now) = (named(&old), named(&now));
        Change {
            listen: is
                .iter()
                .filter(|(listener, pool)| was.get(*listener) != Some(*pool))
                .map(|(listener, pool)| Listen { listener: *listener, pool: *pool, shards: served_by(*pool) })
                .collect(),
            leave: was.keys().filter(|listener| !is.contains_key(*listener)).copied().collect(),
            endpoints_come: named_now.difference(&named_before).copied().collect(),
            endpoints_gone: named_before.difference(&named_now).copied().collect(),
            pools: new.into_iter().collect(),
        }
    }

    fn part(&mut self) -> PartId {
        self.parts += 1;
        PartId(self.parts)
    }

    /// The lowest slot that means nothing.
    fn listener(&mut self) -> ListenerSlot {
        let free = (0..).map(ListenerSlot).find(|slot| !self.listeners.contains(slot)).expect("endless");
        self.listeners.insert(free);
        free
    }
}

fn leads(pools: &[&Arc<PoolGeneration>]) -> BTreeMap<ListenerSlot, PoolSlot> {
    pools.iter().flat_map(|pool| pool.listeners.iter().map(|listener| (*listener, pool.slot))).collect()
}

fn served_by(pool: PoolSlot) -> ShardSet {
    match pool.0 == POOLS - 1 {
        true => ShardSet::one(ShardId(1)),
        false => ShardSet::first(2),
    }
}

fn endpoint(slot: EndpointSlot) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        slot,
        group: GroupSlot(slot.0 / ENDPOINTS_OF_A_POOL),
        id: format!("e{slot}").into(),
        address: Address::Unix(format!("/e{slot}").into()),
        weight: 1,
        backup: false,
        drain: false,
        max_connections: None,
    })
}

pub(super) fn state(slot: EndpointSlot) -> EndpointState {
    EndpointState { slot, health: Health::Up, addresses: Arc::new([]) }
}
