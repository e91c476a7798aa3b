//! How new connections are divided among backends, and how that changes live.

use api::order::{BackendSet, Setting};
use api::{Order, receipt::JobOutcome};
use e2e::Pool;
use harness::appliance::{Appliance, Launch};
use harness::backend::Backend;
use harness::client::Tunnel;
use harness::net::Target;
use std::net::{IpAddr, Ipv4Addr};

/// Three echoes behind one front, and what each has met.
struct Trio {
    echoes: [Backend; 3],
    front: Target,
}

impl Trio {
    fn new() -> Trio {
        Trio { echoes: [(); 3].map(|()| Backend::echo()), front: Target::fresh() }
    }

    fn pool(&self, algorithm: &str, keys: [&str; 3]) -> String {
        let mut pool = Pool::new("db").listen(&self.front).keys(".group.main", &format!("balance = {algorithm:?}"));
        for ((id, echo), keys) in ["a", "b", "c"].iter().zip(&self.echoes).zip(keys) {
            pool = pool.backend_with(id, echo.target(), keys);
        }
        pool.to_string()
    }

    /// Connections that each has got since `before`.
    fn got(&self, before: [u64; 3]) -> [u64; 3] {
        let now = self.accepted();
        [0, 1, 2].map(|ix| now[ix] - before[ix])
    }

    fn accepted(&self) -> [u64; 3] {
        self.echoes.each_ref().map(|echo| echo.seen().accepted)
    }

    /// Opens and ends so many connections, one after another.
    fn visit(&self, count: usize) -> [u64; 3] {
        let before = self.accepted();
        (0..count).for_each(|_| self.open().close().expect("a proper end"));
        self.got(before)
    }

    fn open(&self) -> Tunnel {
        Tunnel::open(&self.front).expect("a backend serves")
    }
}

#[test]
fn round_robin_divides_by_weight_exactly() {
    let trio = Trio::new();
    let launch = |keys| Launch::new(&trio.pool("round-robin", keys)).shards(1).start();
    let appliance = launch(["", "", ""]);
    assert_eq!(trio.visit(30), [10, 10, 10]);
    appliance.stop();
    let _appliance = launch(["weight = 3", "weight = 2", "weight = 0"]);
    assert_eq!(trio.visit(50), [30, 20, 0]);
}

/// Each shard keeps a rotation of its own, so the sum may be off by one a shard.
#[test]
fn round_robin_over_two_shards_stays_even() {
    let trio = Trio::new();
    let _appliance = Appliance::start(&trio.pool("round-robin", ["", "", ""]));
    let got = trio.visit(60);
    assert!(got.iter().all(|count| (18..=22).contains(count)), "{got:?}");
}

#[test]
fn least_connections_fills_the_emptiest() {
    let trio = Trio::new();
    let _appliance = Launch::new(&trio.pool("least-connections", ["", "", ""])).shards(1).start();
    let mut kept: Vec<Tunnel> = (0..9).map(|_| trio.open()).collect();
    assert_eq!(trio.accepted(), [3, 3, 3]);
    // Two places at one backend fall free: the next two go there.
    let before = trio.accepted();
    kept.drain(..2).for_each(|tunnel| tunnel.close().expect("a proper end"));
    let open = trio.echoes.each_ref().map(|echo| echo.seen().open);
    kept.extend((0..2).map(|_| trio.open()));
    let expected = open.map(|open| 3 - open);
    assert_eq!(trio.got(before), expected);
}

#[test]
fn random_two_keeps_open_connections_close_together() {
    let trio = Trio::new();
    let _appliance = Launch::new(&trio.pool("random-two", ["", "", ""])).shards(1).start();
    let _kept: Vec<Tunnel> = (0..90).map(|_| trio.open()).collect();
    let got = trio.accepted();
    // Plain chance would leave this band once in a few runs; the better of two does not.
    assert!(got.iter().all(|count| (24..=36).contains(count)), "{got:?}");
}

#[test]
fn source_hash_sends_an_address_to_the_same_backend() {
    let trio = Trio::new();
    let appliance = Appliance::start(&trio.pool("source-hash", ["", "", ""]));
    let source = |number: u8| IpAddr::V4(Ipv4Addr::new(127, 200, 0, number));
    let place = |number: u8| {
        let before = trio.accepted();
        Tunnel::open_from(source(number), &trio.front).expect("a backend serves").close().expect("a proper end");
        trio.got(before).iter().position(|got| *got == 1).expect("one backend got it")
    };
    let places: Vec<usize> = (1..=60).map(place).collect();
    assert_eq!((1..=60).map(place).collect::<Vec<_>>(), places, "the same addresses went elsewhere");
    let used = [0, 1, 2].map(|ix| places.iter().filter(|place| **place == ix).count());
    assert!(used.iter().all(|count| *count >= 8), "60 addresses over 3 backends: {used:?}");

    // One backend leaves the rotation: only its own clients move.
    appliance.apply(&trio.pool("source-hash", ["", "drain = true", ""]));
    let moved: Vec<usize> = (1..=60).map(place).collect();
    for (old, new) in places.iter().zip(&moved) {
        assert!(*new != 1 && (old == new || *old == 1), "{places:?}\n{moved:?}");
    }
}

#[test]
fn weights_change_live() {
    let trio = Trio::new();
    let appliance = Launch::new(&trio.pool("round-robin", ["", "", ""])).shards(1).start();
    let mut kept = trio.open();
    appliance.apply(&trio.pool("round-robin", ["weight = 5", "", "weight = 0"]));
    assert_eq!(trio.visit(60), [50, 10, 0]);
    let set = |id: &str, weight: u32| {
        let set = BackendSet { pool: "db".into(), backend: id.into(), weight: Some(weight), ..Default::default() };
        let receipt = appliance.change(Order::BackendSet(set)).expect("a weight can be set");
        assert_eq!(receipt.outcome, JobOutcome::Applied);
    };
    set("a", 0);
    set("c", 1);
    assert_eq!(trio.visit(20), [0, 10, 10]);
    assert_eq!(kept.ping(100), Ok(()));
}

#[test]
fn a_draining_backend_keeps_what_it_has_and_gets_nothing_new() {
    let trio = Trio::new();
    let appliance = Appliance::start(&trio.pool("round-robin", ["", "weight = 0", "weight = 0"]));
    let mut kept: Vec<Tunnel> = (0..5).map(|_| trio.open()).collect();
    appliance.apply(&trio.pool("round-robin", ["drain = true", "", ""]));
    assert_eq!(trio.visit(20)[0], 0, "a draining backend got new connections");
    assert_eq!(kept.iter_mut().try_for_each(|tunnel| tunnel.ping(1000)), Ok(()));
    assert_eq!(trio.echoes[0].seen().open, 5);
    let set = BackendSet {
        pool: "db".into(),
        backend: "a".into(),
        drain: Some(false),
        max_connections: Setting::Keep,
        ..Default::default()
    };
    appliance.change(Order::BackendSet(set)).expect("the flag can be taken back");
    assert!(trio.visit(30)[0] >= 8, "it gets nothing though it drains no more");
}

/// Counts of open connections carry over: the new algorithm fills up what the old one left uneven.
#[test]
fn the_algorithm_changes_live_and_knows_who_is_there() {
    let trio = Trio::new();
    let appliance = Launch::new(&trio.pool("round-robin", ["", "weight = 0", "weight = 0"])).shards(1).start();
    let mut kept: Vec<Tunnel> = (0..6).map(|_| trio.open()).collect();
    assert_eq!(trio.accepted(), [6, 0, 0]);
    appliance.apply(&trio.pool("least-connections", ["", "", ""]));
    kept.extend((0..12).map(|_| trio.open()));
    assert_eq!(trio.accepted(), [6, 6, 6], "the new algorithm does not know of the connections before it");
    for algorithm in ["random-two", "source-hash", "round-robin"] {
        appliance.apply(&trio.pool(algorithm, ["", "", ""]));
        kept.push(trio.open());
        assert_eq!(kept.iter_mut().try_for_each(|tunnel| tunnel.ping(10)), Ok(()), "after {algorithm}");
    }
}
