//! Both ends together, each message delivered at once or held back by the test. Chance and crashes are
//! the business of `tests/sim`; here every case is told as a story.

use super::rollout::{Admission, Kept, Obstacle, Phase};
use super::*;
use crate::generation::*;
use crate::ids::{GroupSlot, PoolId, ShardId, ShardSet};
use std::collections::VecDeque;

/// A pool that listens on the address with its own number.
fn pool(slot: u32, number: u64, endpoints: &[u32]) -> Arc<PoolGeneration> {
    let (slot, number) = (PoolSlot(slot), GenerationId(number));
    let part = |kind: u64| PartId(number.0 * 1000 + u64::from(slot.0) * 10 + kind);
    let timeouts = Timeouts { connect: Duration::from_secs(1), idle: None, lifetime: None };
    let of = GroupSlot(slot.0);
    let endpoint = |slot: &u32| {
        Arc::new(Endpoint {
            slot: EndpointSlot(*slot),
            group: of,
            id: format!("e{slot}").into(),
            address: Address::Unix(format!("/e{slot}").into()),
            weight: 1,
            backup: false,
            drain: false,
            max_connections: None,
        })
    };
    let policy = TunnelPolicy { part: part(1), pool: slot, number, timeouts, http: None, access_log: false, bytes: 10 };
    let group = Group {
        slot: of,
        id: "main".into(),
        balance: Balance::RoundRobin,
        endpoints: endpoints.iter().map(endpoint).collect(),
        attempts: 1,
        queue: 0,
        queue_wait: Duration::ZERO,
        health: None,
        http: None,
    };
    Arc::new(PoolGeneration {
        part: part(0),
        id: PoolId::new(&format!("pool-{slot}")),
        slot,
        number,
        hash: ContentHash([0; 16]),
        listeners: [ListenerSlot(slot.0)].into(),
        shards: ShardSet::first(4),
        limits: PoolLimits { max_connections: None, memory: 0 },
        policy: Arc::new(policy),
        service: Service::Tcp,
        groups: Group::table([Arc::new(group)]),
        bytes: 100,
        // Nothing is shared here.
        replaced_bytes: u64::MAX,
    })
}

fn replaced(pool: &Arc<PoolGeneration>) -> Arc<Change> {
    Arc::new(Change { pools: vec![(pool.slot, Some(pool.clone()))], ..Change::default() })
}

fn touching(pools: &[u32]) -> Touches {
    Touches { pools: pools.iter().copied().map(PoolSlot).collect(), ..Touches::default() }
}

/// Control and its shards.
struct Pair {
    rollout: Rollout,
    shards: Vec<Adopter>,
    orders: Vec<VecDeque<Order>>,
    /// Shards that take no order.
    stalled: ShardSet,
    now: Tick,
    effects: Vec<Effect>,
    /// What is seen of it outside.
    seen: Vec<Effect>,
    deeds: Vec<(ShardId, Deed)>,
    refuse: Option<ShardId>,
}

impl Pair {
    /// Pools 0 and 1 with the endpoints 0 and 1, on `count` shards that are live.
    fn new(count: u16) -> Pair {
        let first = Change {
            pools: vec![(PoolSlot(0), Some(pool(0, 0, &[0]))), (PoolSlot(1), Some(pool(1, 0, &[1])))],
            ..Change::default()
        };
        let mut pair = Pair {
            rollout: Rollout::new(Bounds::default(), &first, GenerationId(0)),
            shards: (0..count).map(|shard| Adopter::new(ShardId(shard))).collect(),
            orders: vec![VecDeque::new(); usize::from(count)],
            stalled: ShardSet::empty(),
            now: Tick(0),
            effects: Vec::new(),
            seen: Vec::new(),
            deeds: Vec::new(),
            refuse: None,
        };
        for shard in 0..count {
            pair.rollout.shard_started(ShardId(shard), 1, pair.now, &mut pair.effects);
        }
        pair.run();
        assert_eq!(pair.rollout.live(), ShardSet::first(usize::from(count)));
        pair.seen.clear();
        pair.deeds.clear();
        pair
    }

    fn submit(&mut self, job: u64, pools: &[u32]) -> Admission {
        let deadline = self.now.after(Duration::from_secs(300));
        let admission = self.rollout.submit(JobId(job), touching(pools), deadline, self.now, &mut self.effects);
        self.run();
        admission
    }

    fn prepare(&mut self, job: u64, change: Arc<Change>) {
        assert!(self.rollout.prepare(JobId(job), change, self.now, &mut self.effects));
        self.run();
    }

    /// The whole of one job that replaces one pool.
    fn replace(&mut self, job: u64, new: Arc<PoolGeneration>) {
        assert_eq!(self.submit(job, &[new.slot.0]), Admission::Start);
        self.prepare(job, replaced(&new));
    }

    /// Delivers everything until nothing moves.
    fn run(&mut self) {
        loop {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Send { shard, order } => self.orders[shard.ix()].push_back(order),
                    other => self.seen.push(other),
                }
            }
            self.rollout.check_invariants();
            let ready = |shard: &ShardId| !self.stalled.contains(*shard) && !self.orders[shard.ix()].is_empty();
            let Some(shard) = (0..self.shards.len() as u16).map(ShardId).find(ready) else {
                return;
            };
            let order = self.orders[shard.ix()].pop_front().expect("looked at");
            let refused = self.refuse == Some(shard);
            let room = |_: &Change| match refused {
                true => Err(Refusal::TableFull { table: "test", bound: 0 }),
                false => Ok(()),
            };
            let mut deeds = Vec::new();
            self.shards[shard.ix()].on_order(order, room, &mut deeds);
            self.perform(shard, deeds);
        }
    }

    fn perform(&mut self, shard: ShardId, deeds: Vec<Deed>) {
        self.shards[shard.ix()].check_invariants();
        for deed in deeds {
            let report = match deed {
                Deed::Report(report) => report,
                Deed::Adopted { job } => Report::Adopted { job, adoption: Adoption::default() },
                other => {
                    self.deeds.push((shard, other));
                    continue;
                }
            };
            self.rollout.on_report(shard, 1, report, self.now, &mut self.effects);
        }
    }

    /// One event on one shard, and all that follows.
    fn on<R>(&mut self, shard: u16, event: impl FnOnce(&mut Adopter, &mut Vec<Deed>) -> R) -> R {
        let mut deeds = Vec::new();
        let result = event(&mut self.shards[usize::from(shard)], &mut deeds);
        self.perform(ShardId(shard), deeds);
        self.run();
        result
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.rollout.on_tick(self.now, &mut self.effects);
        self.run();
    }

    fn freed(&self) -> Vec<PartId> {
        let freed = |effect: &Effect| match effect {
            Effect::Free(part) => Some(part.id()),
            _ => None,
        };
        self.seen.iter().filter_map(freed).collect()
    }

    fn outcomes(&self) -> Vec<(u64, Outcome)> {
        let ended = |effect: &Effect| match effect {
            Effect::Ended { job, outcome } => Some((job.0, outcome.clone())),
            _ => None,
        };
        self.seen.iter().filter_map(ended).collect()
    }

    fn numbers(&self, slot: u32) -> Vec<u64> {
        let number = |shard: &Adopter| shard.pool(PoolSlot(slot)).map_or(0, |pool| pool.number.0);
        self.shards.iter().map(number).collect()
    }
}

const APPLIED: Outcome = Outcome::Applied { lost: ShardSet(0) };

#[test]
fn a_change_reaches_every_shard_and_what_it_replaced_is_freed() {
    let mut pair = Pair::new(2);
    pair.replace(1, pool(0, 1, &[0]));
    assert_eq!(pair.outcomes(), [(1, APPLIED)]);
    assert_eq!(pair.numbers(0), [1, 1]);
    assert_eq!(pair.freed(), [PartId(0), PartId(1)], "the old root and its policy");
    assert_eq!(pair.rollout.who_pins().count(), 0);
}

#[test]
fn an_undecided_connection_pins_the_root_and_a_tunnel_only_the_policy() {
    let mut pair = Pair::new(2);
    let lease = pair.on(0, |shard, _| shard.accept(ListenerSlot(0)));
    pair.replace(1, pool(0, 1, &[0]));
    assert_eq!(pair.outcomes(), [(1, APPLIED)], "nothing waits for a lease");
    assert!(pair.freed().is_empty());
    let lease = pair.on(0, |shard, deeds| shard.exchange(lease, deeds));
    assert_eq!(pair.on(0, |shard, _| shard.policy(&lease).number), GenerationId(0), "the policy of the root it leased");
    assert_eq!(pair.freed(), [PartId(0)]);
    let kept: Vec<_> = pair.rollout.who_pins().collect();
    assert_eq!((kept[0].part, kept[0].held_by, kept[0].bytes), (PartId(1), ShardSet::one(ShardId(0)), 10));
    // For as long as it likes: a change that was soft has no deadline.
    pair.wait(Duration::from_secs(30 * 86_400));
    assert!(!pair.deeds.iter().any(|(_, deed)| matches!(deed, Deed::Retire(_) | Deed::StopBy(_))), "{:?}", pair.deeds);
    assert_eq!(pair.rollout.who_pins().count(), 1);
    pair.on(0, |shard, deeds| shard.give_back_policy(lease, deeds));
    assert_eq!(pair.freed(), [PartId(0), PartId(1)]);
}

#[test]
fn a_refusal_leaves_every_shard_as_it_was() {
    let mut pair = Pair::new(3);
    pair.refuse = Some(ShardId(1));
    pair.replace(1, pool(0, 1, &[0]));
    let refusal = Refusal::TableFull { table: "test", bound: 0 };
    assert_eq!(pair.outcomes(), [(1, Outcome::Refused { by: ShardId(1), refusal })]);
    assert_eq!(pair.numbers(0), [0, 0, 0]);
    assert_eq!(pair.freed(), [PartId(1000), PartId(1001)], "what the change brought, once all have forgotten it");
    assert!(pair.shards.iter().all(|shard| shard.held().prepared.is_empty()));
}

#[test]
fn a_shard_that_is_silent_at_prepare_costs_the_job_and_is_lost() {
    let mut pair = Pair::new(2);
    pair.stalled = ShardSet::one(ShardId(1));
    pair.replace(1, pool(0, 1, &[0]));
    assert_eq!(pair.rollout.phase(JobId(1)), Some(Phase::Preparing));
    pair.wait(Duration::from_secs(10));
    assert_eq!(pair.outcomes(), [(1, Outcome::PrepareTimeout { silent: pair.stalled })]);
    assert_eq!(pair.rollout.live(), ShardSet::one(ShardId(0)));
    assert!(pair.freed().is_empty(), "the silent one may hold it");
    pair.replace(2, pool(0, 2, &[0]));
    assert_eq!(pair.outcomes()[1], (2, APPLIED), "the next job goes on without it");
    pair.stalled = ShardSet::empty();
    pair.run();
    assert_eq!(pair.numbers(0), [2, 2], "it reports, and is brought to the newest root");
    assert_eq!(pair.rollout.live(), ShardSet::first(2));
    assert_eq!(pair.freed(), [PartId(0), PartId(1), PartId(1000), PartId(1001)]);
}

#[test]
fn a_shard_that_is_silent_at_commit_is_lost_and_the_job_applied() {
    let mut pair = Pair::new(2);
    assert_eq!(pair.submit(1, &[0]), Admission::Start);
    pair.stalled = ShardSet::one(ShardId(1));
    pair.prepare(1, replaced(&pool(0, 1, &[0])));
    let order = pair.orders[1].pop_front().unwrap();
    let mut deeds = Vec::new();
    pair.shards[1].on_order(order, |_| Ok(()), &mut deeds);
    pair.perform(ShardId(1), deeds);
    pair.run();
    assert_eq!(pair.rollout.phase(JobId(1)), Some(Phase::Committing));
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.outcomes(), [(1, Outcome::Applied { lost: pair.stalled })]);
    assert!(pair.seen.iter().any(|effect| matches!(effect, Effect::Steer(live) if *live == ShardSet::one(ShardId(0)))));
    pair.stalled = ShardSet::empty();
    pair.run();
    assert_eq!(pair.rollout.live(), ShardSet::first(2));
    assert_eq!(pair.freed(), [PartId(0), PartId(1)]);
}

#[test]
fn overlapping_jobs_wait_in_order_and_disjoint_ones_do_not() {
    let mut pair = Pair::new(1);
    assert_eq!(pair.submit(1, &[0]), Admission::Start);
    assert_eq!(pair.submit(2, &[0, 1]), Admission::Wait(Obstacle::Jobs(vec![JobId(1)])));
    assert_eq!(pair.submit(3, &[1]), Admission::Wait(Obstacle::Jobs(vec![JobId(2)])), "nobody overtakes 2");
    assert_eq!(pair.submit(4, &[2]), Admission::Start);
    pair.prepare(1, replaced(&pool(0, 1, &[0])));
    let ready = |pair: &Pair| pair.seen.iter().filter(|effect| matches!(effect, Effect::Ready { .. })).count();
    assert_eq!((ready(&pair), pair.rollout.phase(JobId(2))), (1, Some(Phase::Compiling)));
    assert!(pair.rollout.withdraw(JobId(2), pair.now, &mut pair.effects));
    pair.run();
    assert_eq!((ready(&pair), pair.rollout.phase(JobId(3))), (2, Some(Phase::Compiling)));
}

#[test]
fn a_pool_at_its_bound_of_retained_bytes_waits_and_goes_on_when_a_lease_ends() {
    let mut pair = Pair::new(1);
    pair.rollout.set_bounds(Bounds { retained_max: 150, ..Bounds::default() }, pair.now, &mut pair.effects);
    let lease = pair.on(0, |shard, _| shard.accept(ListenerSlot(0)));
    pair.replace(1, pool(0, 1, &[0]));
    let full = Obstacle::Retained { pool: PoolSlot(0), bytes: 110, bound: 150 };
    assert_eq!(pair.submit(2, &[0]), Admission::Wait(full.clone()));
    assert_eq!(pair.submit(3, &[1]), Admission::Start, "another pool does not care");
    assert_eq!(pair.rollout.waits_for(JobId(2)), Some(full));
    pair.on(0, |shard, deeds| shard.give_back(lease, deeds));
    assert_eq!(pair.rollout.phase(JobId(2)), Some(Phase::Compiling));
}

#[test]
fn an_endpoint_is_free_when_no_shard_can_choose_it_and_no_connection_uses_it() {
    let mut pair = Pair::new(2);
    let lease = pair.on(0, |shard, _| shard.accept(ListenerSlot(0)));
    pair.on(0, |shard, _| shard.endpoint_opened(EndpointSlot(0)));
    let gone = (PoolSlot(0), EndpointSlot(0));
    let come = (PoolSlot(0), EndpointSlot(5));
    let change = Change {
        pools: vec![(PoolSlot(0), Some(pool(0, 1, &[5])))],
        endpoints_come: vec![come],
        endpoints_gone: vec![gone],
        ..Change::default()
    };
    assert_eq!(pair.submit(1, &[0]), Admission::Start);
    pair.prepare(1, Arc::new(change));
    let free = |pair: &Pair| pair.seen.iter().any(|effect| matches!(effect, Effect::FreeEndpoint(EndpointSlot(0))));
    pair.on(0, |shard, deeds| shard.endpoint_closed(EndpointSlot(0), deeds));
    assert!(!free(&pair), "the connect failed; the connection could choose it again");
    pair.on(0, |shard, deeds| shard.give_back(lease, deeds));
    assert!(free(&pair));
}

#[test]
fn an_address_is_closed_only_after_every_shard_drops_syns_and_no_handshake_is_pending() {
    let mut pair = Pair::new(2);
    let lease = pair.on(1, |shard, _| shard.accept(ListenerSlot(1)));
    let listener = ListenerSlot(1);
    let mut touches = touching(&[1]);
    touches.listeners.insert(listener);
    let change = Change {
        pools: vec![(PoolSlot(1), None)],
        leave: vec![listener],
        endpoints_gone: vec![(PoolSlot(1), EndpointSlot(1))],
        ..Change::default()
    };
    let deadline = Tick(100_000);
    assert_eq!(pair.rollout.submit(JobId(1), touches.clone(), deadline, pair.now, &mut pair.effects), Admission::Start);
    pair.prepare(1, Arc::new(change));
    assert_eq!(pair.outcomes(), [(1, APPLIED)]);
    let straggler = pair.on(0, |shard, _| shard.accept(listener));
    assert_eq!(pair.on(0, |shard, _| shard.root(&straggler).number), GenerationId(0), "the pool's last root");
    let check = |effect: &Effect| matches!(effect, Effect::CheckHandshakes(ListenerSlot(1)));
    assert!(pair.seen.iter().any(check));
    let again = pair.rollout.submit(JobId(2), touches, deadline, pair.now, &mut pair.effects);
    assert_eq!(again, Admission::Wait(Obstacle::Address(listener)));
    pair.rollout.handshakes_over(listener, &mut pair.effects);
    pair.run();
    for shard in [0, 1] {
        pair.on(shard, |shard, deeds| shard.accept_ended(listener, deeds));
    }
    assert!(pair.seen.iter().any(|effect| matches!(effect, Effect::FreeListener(ListenerSlot(1)))));
    assert_eq!(pair.rollout.phase(JobId(2)), Some(Phase::Compiling), "the address may come back");
    pair.on(0, |shard, deeds| shard.give_back(straggler, deeds));
    pair.on(1, |shard, deeds| shard.give_back(lease, deeds));
    assert!(pair.rollout.withdraw(JobId(2), pair.now, &mut pair.effects));
    pair.run();
    assert!(matches!(pair.seen.last(), Some(Effect::FreePool(PoolSlot(1)))));
}

#[test]
fn control_that_restarts_finds_the_newest_root_and_finishes_the_job() {
    let mut pair = Pair::new(2);
    assert_eq!(pair.submit(1, &[0]), Admission::Start);
    pair.prepare(1, replaced(&pool(0, 1, &[0])));
    // Job 2 is committed on shard 0 only when control dies.
    assert_eq!(pair.submit(2, &[1]), Admission::Start);
    pair.stalled = ShardSet::one(ShardId(1));
    pair.prepare(2, replaced(&pool(1, 2, &[1])));
    let order = pair.orders[1].pop_front().unwrap();
    let mut deeds = Vec::new();
    pair.shards[1].on_order(order, |_| Ok(()), &mut deeds);
    pair.perform(ShardId(1), deeds);
    pair.run();
    pair.orders[1].clear();
    pair.stalled = ShardSet::empty();
    assert_eq!((pair.numbers(0), pair.numbers(1)), (vec![1, 1], vec![2, 0]));
    pair.seen.clear();
    let kept = Kept {
        life: 1,
        confirmed: pair.rollout.confirmed(),
        shards: vec![(ShardId(0), 1), (ShardId(1), 1)],
        under_way: vec![JobId(2), JobId(3)],
        states: Vec::new(),
    };
    pair.rollout = Rollout::recover(Bounds::default(), kept, pair.now, &mut pair.effects);
    pair.run();
    assert_eq!(pair.numbers(1), [2, 2]);
    assert_eq!(pair.outcomes(), [(3, Outcome::Interrupted), (2, APPLIED)]);
    assert!(pair.seen.iter().any(|effect| matches!(effect, Effect::Accounted)));
    assert_eq!(pair.rollout.generation(), Some(GenerationId(2)));
    pair.replace(4, pool(0, 4, &[0]));
    assert_eq!(pair.numbers(0), [4, 4]);
}

#[test]
fn a_stop_drains_addresses_and_waits_for_connections() {
    let mut pair = Pair::new(2);
    let lease = pair.on(0, |shard, _| shard.accept(ListenerSlot(0)));
    pair.rollout.stop(Tick(30_000), pair.now, &mut pair.effects);
    pair.run();
    for listener in [0, 1].map(ListenerSlot) {
        pair.rollout.handshakes_over(listener, &mut pair.effects);
        pair.run();
        for shard in [0, 1] {
            pair.on(shard, |shard, deeds| shard.accept_ended(listener, deeds));
        }
    }
    let stopped = |pair: &Pair| pair.seen.iter().any(|effect| matches!(effect, Effect::Stopped { .. }));
    assert!(!stopped(&pair));
    pair.on(0, |shard, deeds| shard.give_back(lease, deeds));
    assert!(stopped(&pair));
}

/// Control can die while the process is stopping; the next one lets every shard in before it stops them again.
#[test]
fn a_shard_that_has_stopped_opens_nothing_and_says_again_that_it_has_stopped() {
    let mut shard = Adopter::new(ShardId(0));
    let listen = Listen { listener: ListenerSlot(0), pool: PoolSlot(0), shards: ShardSet::first(1) };
    let to = Snapshot { pools: vec![pool(0, 0, &[0])], listen: vec![listen], ..Snapshot::default() };
    let to = Arc::new(to);
    let mut deeds_of = |order: Order| {
        let mut deeds = Vec::new();
        shard.on_order(order, |_| Ok(()), &mut deeds);
        shard.check_invariants();
        deeds
    };
    let stopped = |deeds: &[Deed]| deeds.iter().any(|deed| matches!(deed, Deed::Report(Report::Stopped)));
    assert!(stopped(&deeds_of(Order::Stop { deadline: Tick(0) })));
    let deeds = deeds_of(Order::Sync { epoch: 1, to });
    assert!(!deeds.iter().any(|deed| matches!(deed, Deed::Open(_))), "{deeds:?}");
    deeds_of(Order::Resume);
    assert!(stopped(&deeds_of(Order::Stop { deadline: Tick(0) })));
}
