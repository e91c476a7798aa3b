//! Caps on connections, and the line in which clients wait for a place: bounded in length and in time.

use e2e::{Pool, pool, reasons};
use harness::appliance::{Appliance, Launch};
use harness::backend::Backend;
use harness::client::{self, Tunnel};
use harness::net::Target;
use harness::outcome::Failure;

/// One shard, so that the line is one line: each shard has its share of a queue.
fn start(pool: Pool) -> Appliance {
    Launch::new(&pool.to_string()).shards(1).start()
}

fn waiting(appliance: &Appliance, count: u64) {
    appliance.wait_status("clients wait in line", |status| pool(status, "db").queue == count);
}

#[track_caller]
fn assert_turned_away(front: &Target) {
    let failure = Tunnel::open(front).map(drop).expect_err("there is no place");
    assert!(matches!(failure, Failure::EarlyEnd { received: 0, .. } | Failure::ResetBeforeByte), "{failure}");
}

#[test]
fn above_a_backends_cap_clients_wait_in_line_and_are_served_in_order() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db")
        .listen(&front)
        .backend_with("a", echo.target(), "max_connections = 2")
        .keys(".group.main", "queue = 2\nqueue_wait = \"60s\"");
    let appliance = start(document);
    let (first, second) = (Tunnel::open(&front).expect("a place"), Tunnel::open(&front).expect("a place"));
    let mut third = Tunnel::connect(&front).expect("it is let in");
    waiting(&appliance, 1);
    let mut fourth = Tunnel::connect(&front).expect("it is let in");
    waiting(&appliance, 2);
    assert_turned_away(&front);
    assert_eq!(reasons(&appliance.wait_access_log(1)), ["queue-full"]);
    assert_eq!(echo.seen().accepted, 2);

    first.close().expect("a proper end");
    assert_eq!(third.ping(100), Ok(()), "the first in line was not served first");
    waiting(&appliance, 1);
    second.close().expect("a proper end");
    assert_eq!(fourth.ping(100), Ok(()));
    waiting(&appliance, 0);
    assert!(echo.seen().open_most <= 2, "the cap was exceeded: {:?}", echo.seen());
}

#[test]
fn waiting_in_line_has_an_end() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db")
        .listen(&front)
        .backend_with("a", echo.target(), "max_connections = 1")
        .keys(".group.main", "queue = 5\nqueue_wait = \"300ms\"");
    let appliance = start(document);
    let mut first = Tunnel::open(&front).expect("a place");
    assert_turned_away(&front);
    let log = appliance.wait_access_log(1);
    assert_eq!(reasons(&log), ["queue-timeout"]);
    assert!(log[0]["duration_micros"].as_u64() >= Some(300_000), "turned away too early: {}", log[0]);
    assert_eq!(first.ping(10), Ok(()));
}

#[test]
fn a_client_that_leaves_the_line_leaves_no_gap() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db")
        .listen(&front)
        .backend_with("a", echo.target(), "max_connections = 1")
        .keys(".group.main", "queue = 1\nqueue_wait = \"60s\"");
    let appliance = start(document);
    let first = Tunnel::open(&front).expect("a place");
    Tunnel::connect(&front).expect("it is let in").abort();
    assert_eq!(reasons(&appliance.wait_access_log(1)), ["client-left"]);
    let mut second = Tunnel::connect(&front).expect("it is let in");
    waiting(&appliance, 1);
    first.close().expect("a proper end");
    assert_eq!(second.ping(10), Ok(()));
}

#[test]
fn a_pools_cap_holds_over_all_shards() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db")
        .listen(&front)
        .backend("a", echo.target())
        .keys(".limits", "max_connections = 4")
        .keys(".group.main", "queue = 0");
    let appliance = Appliance::start(&document.to_string());
    let mut kept: Vec<Tunnel> = (0..4).map(|_| Tunnel::open(&front).expect("a place")).collect();
    for _ in 0..12 {
        assert_turned_away(&front);
    }
    assert_eq!(reasons(&appliance.wait_access_log(12)), ["pool-full"; 12]);
    assert_eq!(echo.seen().open_most, 4);
    kept.iter_mut().for_each(|tunnel| tunnel.ping(10).expect("those inside are not touched"));
    kept.pop().expect("four are there").close().expect("a proper end");
    appliance.wait_status("a place is free", |status| pool(status, "db").connections == 3);
    Tunnel::open(&front).expect("the place is given again");
}

#[test]
fn a_backends_cap_holds_over_all_shards_under_pressure() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db")
        .listen(&front)
        .backend_with("a", echo.target(), "max_connections = 3")
        .keys(".group.main", "queue = 200\nqueue_wait = \"60s\"");
    let _appliance = Appliance::start(&document.to_string());
    client::crowd(&front, 60, 50_000).assert_clean();
    let seen = echo.seen();
    assert!(seen.open_most <= 3, "the cap was exceeded: {seen:?}");
    assert_eq!(seen.accepted, 60);
}

/// One full backend sends clients to the other; the line begins when both are full.
#[test]
fn a_full_backend_is_passed_over() {
    let (small, large, front) = (Backend::echo(), Backend::echo(), Target::fresh());
    let document = Pool::new("db")
        .listen(&front)
        .backend_with("small", small.target(), "max_connections = 1")
        .backend("large", large.target());
    let _appliance = start(document);
    let _kept: Vec<Tunnel> = (0..10).map(|_| Tunnel::open(&front).expect("a place")).collect();
    assert_eq!((small.seen().accepted, large.seen().accepted), (1, 9));
}

#[test]
fn a_cap_can_be_raised_and_lowered_live() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = |cap: u32| {
        Pool::new("db")
            .listen(&front)
            .backend_with("a", echo.target(), &format!("max_connections = {cap}"))
            .keys(".group.main", "queue = 10\nqueue_wait = \"60s\"")
    };
    let appliance = start(document(1));
    let mut first = Tunnel::open(&front).expect("a place");
    let mut second = Tunnel::connect(&front).expect("it is let in");
    waiting(&appliance, 1);
    appliance.apply(&document(2).to_string());
    assert_eq!(second.ping(10), Ok(()), "a raised cap does not reach who waits");

    appliance.apply(&document(1).to_string());
    assert_eq!(first.ping(10).and(second.ping(10)), Ok(()), "a lowered cap must not close anything");
    let mut third = Tunnel::connect(&front).expect("it is let in");
    waiting(&appliance, 1);
    first.close().expect("a proper end");
    appliance.wait_status("one is left", |status| e2e::backend(status, "a").connections == 1);
    assert_eq!(echo.seen().accepted, 2, "the lowered cap was exceeded");
    second.close().expect("a proper end");
    assert_eq!(third.ping(10), Ok(()));
}

/// Connections made before there was a cap count when one is set.
#[test]
fn a_new_cap_counts_those_who_are_there() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = |keys: &str| {
        Pool::new("db")
            .listen(&front)
            .backend_with("a", echo.target(), keys)
            .keys(".group.main", "queue = 10\nqueue_wait = \"60s\"")
            .to_string()
    };
    let appliance = Appliance::start(&document(""));
    let mut early: Vec<Tunnel> = (0..6).map(|_| Tunnel::open(&front).expect("no cap yet")).collect();
    appliance.apply(&document("max_connections = 6"));
    let mut late = Tunnel::connect(&front).expect("it is let in");
    waiting(&appliance, 1);
    assert_eq!(echo.seen().accepted, 6);
    early.pop().expect("six are there").close().expect("a proper end");
    assert_eq!(late.ping(10), Ok(()));
    assert_eq!(early.iter_mut().try_for_each(|tunnel| tunnel.ping(10)), Ok(()));
}
