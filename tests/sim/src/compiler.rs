//! What the operator wants, and the change that makes it so.
//!
//! A [`Wish`] says in a few words what shall become of some pools. It is compiled when its job's turn has
//! come, against what runs then; so the same wish can mean another change, or none.

use crate::dice::Dice;
use crate::slots::Slots;
use policy::generation::*;
use policy::reload::Touches;
use policy::{EndpointSlot, GenerationId, GroupSlot, JobId, ListenerSlot, PartId, PoolId, PoolSlot, ShardSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a job is to do, pool by pool.
#[derive(Clone, Default)]
pub struct Wish {
    pub edits: BTreeMap<PoolSlot, Edit>,
    /// An address that leads to another pool from now on; both are edited.
    pub moves: Option<(ListenerSlot, PoolSlot, PoolSlot)>,
}

#[derive(Clone)]
pub enum Edit {
    /// The pool, if it is not there; with these addresses.
    Add {
        listeners: Vec<ListenerSlot>,
    },
    Remove,
    /// Other rules: a new root; a new policy or the same.
    Rules {
        same_policy: bool,
    },
    /// Some endpoints go, some come, some come back.
    Endpoints,
    /// These addresses come, and perhaps some go.
    Addresses {
        come: Vec<ListenerSlot>,
    },
}

impl Wish {
    pub fn touches(&self) -> Touches {
        let mut listeners: BTreeSet<ListenerSlot> = self.listeners().into_iter().collect();
        listeners.extend(self.moves.iter().map(|(listener, ..)| *listener));
        Touches { pools: self.edits.keys().copied().collect(), listeners }
    }

    /// Addresses that it would bring.
    pub fn listeners(&self) -> Vec<ListenerSlot> {
        let listeners = self.edits.values().flat_map(|edit| match edit {
            Edit::Add { listeners } | Edit::Addresses { come: listeners } => listeners.as_slice(),
            Edit::Remove | Edit::Rules { .. } | Edit::Endpoints => &[],
        });
        listeners.copied().collect()
    }
}

/// Makes generations, and remembers each part as long as it lives.
pub struct Compiler {
    parts: u64,
    pub roots: Vec<Weak<PoolGeneration>>,
    pub policies: Vec<Weak<TunnelPolicy>>,
    /// Shards there are.
    pub shards: ShardSet,
}

/// The largest root and policy together.
pub const GENERATION_BYTES_MAX: u64 = 120;

impl Compiler {
    pub fn new(shards: ShardSet) -> Compiler {
        Compiler { parts: 0, roots: Vec::new(), policies: Vec::new(), shards }
    }

    /// The change that fulfils a wish; empty if it is fulfilled already.
    pub fn compile(
        &mut self,
        job: JobId,
        wish: &Wish,
        running: impl Fn(PoolSlot) -> Option<Arc<PoolGeneration>>,
        slots: &mut Slots,
        dice: &mut Dice,
    ) -> Change {
        let mut change = Change::default();
        let moves = wish.moves.filter(|(listener, from, to)| match (running(*from), running(*to)) {
            (Some(from), Some(into)) => {
                let stays = !matches!(wish.edits[to], Edit::Remove);
                stays && from.listeners.contains(listener) && from.shards == into.shards
            }
            _ => false,
        });
        for (slot, edit) in &wish.edits {
            let old = running(*slot);
            let new = match (&old, edit) {
                (Some(_), Edit::Remove) => None,
                (None, Edit::Add { listeners }) => {
                    let most = if dice.chance(50) { 100 } else { 70 };
                    let mut shards: ShardSet = self.shards.iter().filter(|_| dice.chance(most)).collect();
                    shards.insert(dice.pick(&self.shards.iter().collect::<Vec<_>>()).expect("there are shards"));
                    let endpoints = self.endpoints(*slot, &[], slots, dice);
                    Some(self.pool(job, *slot, shards, listeners.clone(), endpoints, None, dice))
                }
                (None, _) => continue,
                (Some(old), edit) => Some(self.edited(job, old, edit, moves, slots, dice)),
            };
            change.note(*slot, old.as_deref(), new.as_deref());
            change.pools.push((*slot, new));
        }
        if let Some((listener, ..)) = moves {
            change.leave.retain(|leaves| *leaves != listener);
        }
        change
    }

    fn edited(
        &mut self,
        job: JobId,
        old: &Arc<PoolGeneration>,
        edit: &Edit,
        moves: Option<(ListenerSlot, PoolSlot, PoolSlot)>,
        slots: &mut Slots,
        dice: &mut Dice,
    ) -> Arc<PoolGeneration> {
        let mut listeners = old.listeners.to_vec();
        let mut endpoints: Vec<EndpointSlot> = old.endpoints().map(|endpoint| endpoint.slot).collect();
        let mut policy = Some(old.policy.clone());
        match edit {
            Edit::Rules { same_policy: true } | Edit::Add { .. } | Edit::Remove => {}
            Edit::Rules { same_policy: false } => policy = None,
            Edit::Endpoints => endpoints = self.endpoints(old.slot, &endpoints, slots, dice),
            Edit::Addresses { come } => {
                listeners.retain(|_| dice.chance(60));
                listeners.extend(come);
            }
        }
        if let Some((listener, from, to)) = moves {
            listeners.retain(|other| *other != listener || old.slot != from);
            listeners.extend((old.slot == to).then_some(listener));
        }
        self.pool(job, old.slot, old.shards, listeners, endpoints, policy, dice)
    }

    /// Some of those that are, some that were and are still used, some new.
    fn endpoints(
        &mut self,
        pool: PoolSlot,
        old: &[EndpointSlot],
        slots: &mut Slots,
        dice: &mut Dice,
    ) -> Vec<EndpointSlot> {
        let mut endpoints: Vec<EndpointSlot> =
            slots.endpoints_of(pool).filter(|slot| dice.chance(if old.contains(slot) { 60 } else { 30 })).collect();
        for _ in 0..dice.below(3) {
            endpoints.push(slots.endpoint(pool));
        }
        endpoints.sort();
        endpoints
    }

    #[allow(clippy::too_many_arguments)] // what a pool is made of
    fn pool(
        &mut self,
        job: JobId,
        slot: PoolSlot,
        shards: ShardSet,
        mut listeners: Vec<ListenerSlot>,
        endpoints: Vec<EndpointSlot>,
        policy: Option<Arc<TunnelPolicy>>,
        dice: &mut Dice,
    ) -> Arc<PoolGeneration> {
        listeners.sort();
        let number = GenerationId::from(job);
        let policy = policy.unwrap_or_else(|| self.policy(slot, number, dice));
        let group = Group {
            slot: GroupSlot(slot.0),
            id: "main".into(),
            balance: Balance::RoundRobin,
            endpoints: endpoints.into_iter().map(|endpoint| self::endpoint(GroupSlot(slot.0), endpoint)).collect(),
            attempts: 1,
            queue: 0,
            queue_wait: Duration::ZERO,
            health: None,
            http: None,
        };
        let pool = Arc::new(PoolGeneration {
            part: self.part(),
            id: PoolId::new(&format!("p{slot}")),
            slot,
            number,
            hash: ContentHash([0; 16]),
            listeners: listeners.into(),
            shards,
            limits: PoolLimits { max_connections: None, memory: 0 },
            policy,
            service: Service::Tcp,
            groups: Group::table([Arc::new(group)]),
            bytes: dice.between(50, 100) as u64,
            // Nothing is shared here.
            replaced_bytes: u64::MAX,
        });
        self.roots.push(Arc::downgrade(&pool));
        pool
    }

    fn policy(&mut self, pool: PoolSlot, number: GenerationId, dice: &mut Dice) -> Arc<TunnelPolicy> {
        let timeouts = Timeouts { connect: Duration::from_secs(1), idle: None, lifetime: None };
        let bytes = dice.between(5, 20) as u64;
        let policy =
            Arc::new(TunnelPolicy { part: self.part(), pool, number, timeouts, http: None, access_log: false, bytes });
        self.policies.push(Arc::downgrade(&policy));
        policy
    }

    fn part(&mut self) -> PartId {
        self.parts += 1;
        PartId(self.parts)
    }
}

fn endpoint(group: GroupSlot, slot: EndpointSlot) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        slot,
        group,
        id: "e".into(),
        address: Address::Unix("/e".into()),
        weight: 1,
        backup: false,
        drain: false,
        max_connections: None,
    })
}

/// What comes and goes with one pool.
trait Note {
    fn note(&mut self, slot: PoolSlot, old: Option<&PoolGeneration>, new: Option<&PoolGeneration>);
}

impl Note for Change {
    fn note(&mut self, slot: PoolSlot, old: Option<&PoolGeneration>, new: Option<&PoolGeneration>) {
        let listeners = |pool: Option<&PoolGeneration>| pool.map_or(Vec::new(), |pool| pool.listeners.to_vec());
        let endpoints = |pool: Option<&PoolGeneration>| -> Vec<EndpointSlot> {
            pool.map_or(Vec::new(), |pool| pool.endpoints().map(|endpoint| endpoint.slot).collect())
        };
        let (was, is) = (listeners(old), listeners(new));
        for listener in is.iter().filter(|listener| !was.contains(listener)) {
            let shards = new.expect("it has listeners").shards;
            self.listen.push(Listen { listener: *listener, pool: slot, shards });
        }
        self.leave.extend(was.iter().filter(|listener| !is.contains(listener)));
        let (was, is) = (endpoints(old), endpoints(new));
        let come = is.iter().filter(|endpoint| !was.contains(endpoint));
        self.endpoints_come.extend(come.map(|endpoint| (slot, *endpoint)));
        let gone = was.iter().filter(|endpoint| !is.contains(endpoint));
        self.endpoints_gone.extend(gone.map(|endpoint| (slot, *endpoint)));
    }
}
