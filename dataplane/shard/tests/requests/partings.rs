//! Clients that end their side, go on sending, or do not read, and what they are owed all the same.

use crate::rig::Rig;
use crate::rig::site::Http;
use crate::{client_of, rig_of, site_of, target_of};
use harness::http::received::FILLER;
use harness::http::{Client, Origin, Request};
use link::counters::ShardCounter;
use policy::close::CloseReason;
use std::time::Duration;

/// More than the sockets between two peers on one machine hold.
const LARGE: u64 = 14 << 20;

/// Many requests at once, more than the backend may have: each is decided for once, though more of the same client lies ready.
#[test]
fn requests_that_come_together_wait_for_a_full_backend_one_by_one() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 100;
    let origin = Origin::good();
    let mut site = site_of(&[&origin], Http::new());
    site.pool().backend(0).max_connections = Some(2);
    (site.pool().queue, site.pool().queue_wait) = (CLIENTS as u32, Duration::from_secs(600));
    let rig = Rig::new(site);
    // Together more than is read of a client at once, so that there is always more where a request waits.
    let padding = |nr: usize| "p".repeat([10, 300, 3_000][nr % 3]);
    let request = |nr| Request::get("h", &format!("/{nr}")).field("X-Padding", padding(nr));
    let requests: Vec<Request> = (0..REQUESTS).map(request).collect();
    let target = target_of(&rig);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(&target).unwrap();
                client.send_together(&requests).unwrap();
                for nr in 0..REQUESTS {
                    let response = client.read().unwrap();
                    assert_eq!(response.received().unwrap().target, format!("/{nr}"));
                }
                client.close().unwrap();
            });
        }
    });
    assert_eq!(rig.shard(0, ShardCounter::Panics), 0);
    rig.stop();
}

/// That it has ended its side is told once, and not again each time that the other way has to wait.
#[test]
fn a_client_that_has_asked_all_and_reads_slowly_costs_no_turns() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let mut slow = client_of(&rig);
    slow.send(&Request::get("h", "/").field(FILLER, LARGE)).unwrap();
    slow.finish().unwrap();
    origin.wait_seen("the request", |seen| seen.requests == 1);
    // One that asks while the other does not read: turns are for it alone.
    const REQUESTS: u64 = 200;
    let mut client = client_of(&rig);
    client.exchange(&Request::get("h", "/")).unwrap();
    let before = rig.shard(0, ShardCounter::LoopTurns);
    for _ in 0..REQUESTS {
        client.exchange(&Request::get("h", "/")).unwrap();
    }
    let turns = rig.shard(0, ShardCounter::LoopTurns) - before;
    assert!(turns < REQUESTS * 10, "{turns} turns for {REQUESTS} requests");
    assert_eq!(slow.read().unwrap().received().unwrap().filler, LARGE);
}

/// Closing over what nobody has read would be a reset, which overtakes the answer.
#[test]
fn an_answer_is_not_lost_to_what_the_client_sends_behind_its_last_request() {
    let origin = Origin::good();
    let mut rig = rig_of(&[&origin]);
    let ask = Request::get("h", "/").field(FILLER, LARGE);
    for (nr, watched) in [(1, false), (3, true)] {
        let mut client = client_of(&rig);
        if watched {
            client.exchange(&Request::get("h", "/")).unwrap();
            rig.request();
        }
        client.send(&ask.clone().field("Connection", "close")).unwrap();
        origin.wait_seen("the request", |seen| seen.requests == nr);
        client.send_raw(b"\r\n").unwrap();
        let response = client.read().unwrap();
        assert_eq!(response.received().unwrap().filler, LARGE);
        assert_eq!(rig.request().reason, CloseReason::Finished);
        client.wait_end().unwrap();
    }
}

/// Nor to what it sends when all of the answer has been given to the kernel.
#[test]
fn an_answer_is_not_lost_to_what_comes_after_its_end() {
    let origin = Origin::good();
    let mut rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    client.shrink_receive_buffer(4 << 10);
    const BYTES: u64 = 300_000;
    client.send(&Request::get("h", "/").field(FILLER, BYTES).field("Connection", "close")).unwrap();
    assert_eq!(rig.request().reason, CloseReason::Finished);
    client.send_raw(b"\r\n").unwrap();
    let response = client.read().unwrap();
    assert_eq!(response.received().unwrap().filler, BYTES);
    client.wait_end().unwrap();
}

/// It was told to keep its connection before the stop began, and then has nothing under way.
#[test]
fn a_session_that_comes_to_rest_after_the_stop_has_begun_is_let_go() {
    let origin = Origin::good();
    let mut rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    client.send(&Request::get("h", "/").field(FILLER, LARGE)).unwrap();
    let head = client.read_head().unwrap();
    rig.order_stop(Duration::from_secs(3_600));
    for listener in rig.running.listeners() {
        rig.order_all(policy::reload::Order::Close { listener });
    }
    let response = client.read_body(head).unwrap();
    assert!(!response.announces_end());
    client.wait_end().unwrap();
    rig.await_stopped();
}
