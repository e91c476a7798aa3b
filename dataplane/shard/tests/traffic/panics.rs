//! A panic costs the connection in whose name it happened, or else one incarnation of the shard, and no more.

use crate::rig::peers::{Backend, Stream};
use crate::rig::site::{self, Site};
use crate::rig::{Options, Rig};
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::ids::{EndpointSlot, JobId, PoolSlot, RootVersion};
use policy::reload::Order;
use shard::bounds::Bounds;
use shard::{Fault, Handling};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pool 0 with a tunnel that must not notice anything, and pool 1 for the victims.
struct Neighbours {
    rig: Rig,
    victims: Backend,
    client: Stream,
    served: Stream,
}

impl Neighbours {
    fn new(fault: Fault, edit: impl FnOnce(&mut site::Pool)) -> Neighbours {
        let (quiet, victims) = (Backend::new(), Backend::new());
        let mut site = Site::of(&[quiet.address()]).with_pool(1, &[victims.address()]);
        edit(site.pools.get_mut(&1).unwrap());
        let bounds = Bounds { buffers: 4, ..Bounds::of_one(1, 4096, None) };
        let rig = Rig::with(Options { bounds, fault: Some(fault), ..Options::default() }, site);
        let client = rig.connect(0);
        let served = quiet.accept();
        Neighbours { rig, victims, client, served }
    }

    /// A tunnel of pool 1.
    fn victim(&self) -> (Stream, Stream) {
        (self.rig.connect(1), self.victims.accept())
    }

    /// So many panicked, each was counted and recorded; the neighbour goes on and nothing is left of any.
    fn check(mut self, panics: u64) {
        for _ in 0..panics {
            let record = self.rig.closed(CloseReason::Panicked);
            assert_eq!(record.pool, PoolSlot(1));
        }
        assert_eq!(self.rig.shard(0, ShardCounter::Panics), panics);
        self.rig.until("pool 1 is empty", |rig| rig.pool(1, PoolCounter::Connections) == 0);
        self.client.say(b"still");
        self.served.hear(b"still");
        self.served.say(b"here");
        self.client.hear(b"here");
        drop((self.client, self.served));
        self.rig.stop();
    }
}

/// Panics in pool 1 at this handling.
macro_rules! fault_at {
    ($handling:path) => {
        |handling, pool| assert!(!(handling == $handling && pool == PoolSlot(1)), "injected")
    };
}

#[test]
fn while_it_is_admitted() {
    let neighbours = Neighbours::new(fault_at!(Handling::Begin), |_| {});
    for _ in 0..3 {
        neighbours.rig.connect(1).hear_reset();
    }
    neighbours.check(3);
}

/// More panics than there are buffers: each had one in its hands.
#[test]
fn while_it_is_relayed() {
    static ARMED: AtomicBool = AtomicBool::new(false);
    let fault: Fault = |handling, pool| {
        let hit = handling == Handling::Completion && pool == PoolSlot(1);
        assert!(!(hit && ARMED.swap(false, Ordering::Relaxed)), "injected");
    };
    let neighbours = Neighbours::new(fault, |_| {});
    for _ in 0..12 {
        let (mut client, mut served) = neighbours.victim();
        client.say(b"a");
        served.hear(b"a");
        ARMED.store(true, Ordering::Relaxed);
        client.say(b"b");
        client.hear_reset();
        served.hear_reset();
    }
    neighbours.check(12);
}

#[test]
fn while_its_timer_fires() {
    let idle = |pool: &mut site::Pool| pool.timeouts.idle = Some(Duration::from_millis(1));
    let neighbours = Neighbours::new(fault_at!(Handling::Timer), idle);
    let (mut client, mut served) = neighbours.victim();
    client.hear_reset();
    served.hear_reset();
    neighbours.check(1);
}

#[test]
fn while_it_is_busy() {
    let neighbours = Neighbours::new(fault_at!(Handling::Busy), |_| {});
    let (mut client, mut served) = neighbours.victim();
    let reading = std::thread::spawn(move || served.hear_all());
    let block = vec![1; 1 << 20];
    while std::io::Write::write_all(&mut client.0, &block).is_ok() {}
    assert!(reading.join().unwrap().1.is_err());
    neighbours.check(1);
}

#[test]
fn while_it_is_first_in_line() {
    let neighbours = Neighbours::new(fault_at!(Handling::Line), |pool| pool.max_connections = Some(1));
    let (client, served) = neighbours.victim();
    let mut rig = neighbours.rig;
    let mut waiting = rig.connect(1);
    rig.until("it waits", |rig| rig.pool(1, PoolCounter::Waiting) == 1);
    drop((client, served));
    waiting.hear_reset();
    rig.closed(CloseReason::Finished);
    Neighbours { rig, ..neighbours }.check(1);
}

#[test]
fn while_it_is_ended_by_order() {
    let neighbours = Neighbours::new(fault_at!(Handling::Sweep), |_| {});
    let victims: Vec<_> = (0..3).map(|_| neighbours.victim()).collect();
    let mut rig = neighbours.rig;
    rig.apply(|site| site.pools.get_mut(&1).unwrap().backends.clear());
    rig.order_all(Order::Retire { endpoint: EndpointSlot(10) });
    for (mut client, mut served) in victims {
        client.hear_reset();
        served.hear_reset();
    }
    Neighbours { rig, ..neighbours }.check(3);
}

/// The shard's own state is in doubt: its connections are lost, its share of the caps is given back and its addresses
/// go on with the next incarnation, on the same sockets.
#[test]
fn in_the_shards_own_name() {
    let backend = Backend::new();
    let site = Site::of(&[backend.address()]).edited(|pool| pool.max_connections = Some(1));
    let mut rig = Rig::of_two(site);
    let mut first = rig.connect(0);
    let mut served = backend.accept();
    first.say(b"hello");
    served.hear(b"hello");
    let owner = rig.ids().into_iter().find(|shard| rig.shard(*shard, ShardCounter::Connections) == 1).unwrap();
    let mut waiting = rig.connect_to_shard(0, 1 - owner);
    rig.until("the other shard has one that waits", |rig| rig.pool(0, PoolCounter::Waiting) == 1);
    rig.order(owner, Order::Commit { job: JobId(99), version: RootVersion(99) });
    rig.await_death(owner);
    assert!(first.0.read(&mut [0; 1]).is_ok_and(|bytes| bytes == 0), "its connections end");
    served.hear_end();
    let mut served = backend.accept();
    waiting.say(b"my turn");
    served.hear(b"my turn");
    rig.until("the next incarnation begins from zero", |rig| rig.shard(owner, ShardCounter::Connections) == 0);
    drop((waiting, served));
    rig.closed(CloseReason::Finished);
    rig.sync(owner);
    for shard in [owner, 1 - owner] {
        let mut client = rig.connect_to_shard(0, shard);
        let mut served = backend.accept();
        client.say(b"again");
        served.hear(b"again");
        drop((client, served));
        rig.closed(CloseReason::Finished);
    }
    rig.lost = 1;
    rig.stop();
}

#[test]
fn a_shard_that_cannot_start_says_so() {
    let mut rig = Rig::of_nothing(Options { cpu: Some(1 << 20), ..Options::default() });
    rig.await_death(0);
    let error = rig.thread_ended(0).unwrap_err();
    assert!(error.to_string().contains("sluice-shard-0: the executor did not start"), "{error}");
}
