//! Pools that share an address: each request is its host's pool's, whatever becomes of the pools.

use crate::rig::site::{Backend, Http, Site, rule};
use crate::rig::{Options, Rig};
use crate::{client_of, target_of, to_group};
use harness::http::client::After;
use harness::http::request::Content;
use harness::http::{Client, Conduct, Origin, Request, WebSocket};
use link::counters::{EndpointCounter, PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::http::{ActionSpec, HttpService, When};
use policy::ids::{PartId, PoolSlot};
use policy::reload::Report;
use shard::Handling;
use std::time::Duration;

const B: &[&str] = &["b.example", "*.b.example"];

/// Answers say which pool has made them.
fn saying() -> Http {
    edited(|_| ())
}

fn edited(edit: impl FnOnce(&mut HttpService)) -> Http {
    Http::with(vec![to_group()], |service| {
        service.says_generation = true;
        edit(service);
    })
}

/// Pool 0 takes what is left, pool 1 its hosts.
fn two(a: &Origin, b: &Origin) -> Site {
    Site::of(&[a.address()]).edited(|pool| pool.http = Some(saying())).sharing(1, B, saying(), &[b.address()])
}

fn ask(client: &mut Client, host: &str) -> (u16, Option<String>) {
    let response = client.exchange(&Request::get(host, "/")).unwrap();
    let pool = response.fields.first("x-sluicegate-generation").map(|said| said.split('@').next().unwrap().to_owned());
    (response.status, pool)
}

#[track_caller]
fn check(client: &mut Client, host: &str, pool: &str) {
    assert_eq!(ask(client, host), (200, Some(pool.to_owned())), "{host}");
}

/// Its connection stays open.
#[track_caller]
fn check_misdirected(client: &mut Client, host: &str) {
    let response = client.exchange(&Request::get(host, "/")).unwrap();
    assert_eq!((response.status, response.after), (421, After::Open), "{host}");
}

/// What a pool counts: of connections, and of requests.
fn counted(rig: &Rig, pool: u32) -> [u64; 3] {
    [PoolCounter::Accepted, PoolCounter::Connections, PoolCounter::Requests].map(|counter| rig.pool(pool, counter))
}

#[test]
fn requests_of_one_connection_go_to_the_pools_of_their_hosts() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut rig = Rig::new(two(&a, &b));
    let mut client = client_of(&rig);
    for _ in 0..3 {
        check(&mut client, "b.example", "pool1");
        check(&mut client, "a.example", "pool0");
        check(&mut client, "X.B.Example:8080", "pool1");
        check(&mut client, "example", "pool0");
    }
    assert_eq!((a.seen().requests, b.seen().requests), (6, 6));
    rig.until("all are recorded", |rig| (counted(rig, 0), counted(rig, 1)) == ([1, 1, 6], [0, 0, 6]));
    let record = rig.request();
    assert_eq!((record.pool, record.generation.0), (PoolSlot(1), 1));
    assert_eq!(rig.request().pool, PoolSlot(0));
    client.close().unwrap();
    rig.stop();
}

#[test]
fn requests_that_come_together_are_divided_and_answered_in_order() {
    let (a, b) = (Origin::good(), Origin::good());
    let rig = Rig::new(two(&a, &b));
    let mut client = client_of(&rig);
    let hosts = ["b.example", "a.example", "b.example", "b.example", "a.example"];
    let requests = hosts.map(|host| Request::get(host, &format!("/{host}")));
    client.send_together(&requests).unwrap();
    for host in hosts {
        let response = client.read().unwrap();
        let received = response.received().unwrap();
        let origin = if host == "b.example" { &b } else { &a };
        assert_eq!((received.origin.as_str(), &received.target[1..]), (origin.name(), host));
    }
    client.close().unwrap();
    rig.stop();
}

#[test]
fn what_no_pool_takes_is_misdirected_and_the_connection_stays() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut site = two(&a, &b);
    site.pool().hosts = &["a.example"];
    site.pool().http = Some(Http::new());
    let mut rig = Rig::new(site);
    let mut client = client_of(&rig);
    check_misdirected(&mut client, "c.example");
    let record = rig.request();
    assert_eq!((record.pool, record.status, record.reason), (PoolSlot(0), 421, CloseReason::Misdirected));
    // With content that is here, and without a host at all.
    client.send_raw(b"POST / HTTP/1.1\r\nHost: c.example\r\nContent-Length: 7\r\n\r\ncontent").unwrap();
    client.expect("POST");
    let response = client.read().unwrap();
    assert_eq!((response.status, response.after), (421, After::Open));
    check(&mut client, "b.example", "pool1");
    client.send_raw(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    client.expect("GET");
    assert_eq!(client.read().unwrap().status, 421);
    assert_eq!(rig.requests_ended(0, CloseReason::Misdirected), 3);
    rig.stop();
}

#[test]
fn a_pool_alone_takes_its_hosts_and_no_others() {
    let origin = Origin::good();
    let mut site = Site::of(&[origin.address()]).edited(|pool| pool.http = Some(saying()));
    site.pool().hosts = &["*.a.example"];
    let rig = Rig::new(site);
    let mut client = client_of(&rig);
    check(&mut client, "x.a.example", "pool0");
    check_misdirected(&mut client, "a.example");
    client.close().unwrap();
    rig.stop();
}

#[test]
fn requests_without_a_host_are_those_of_the_pool_without_hosts() {
    let (a, b) = (Origin::good(), Origin::good());
    let rig = Rig::new(two(&a, &b));
    let mut client = client_of(&rig);
    client.send_raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    client.expect("GET");
    assert_eq!(client.read().unwrap().received().unwrap().origin, a.name());
    // The target goes before the field.
    client.send_raw(b"GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    client.expect("GET");
    assert_eq!(client.read().unwrap().received().unwrap().origin, b.name());
    client.close().unwrap();
    rig.stop();
}

#[test]
fn a_host_moves_between_two_requests_of_a_connection() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut rig = Rig::new(two(&a, &b));
    let mut client = client_of(&rig);
    check(&mut client, "b.example", "pool1");
    rig.apply(|site| site.pools.get_mut(&1).unwrap().hosts = &["c.example"]);
    check(&mut client, "b.example", "pool0");
    check(&mut client, "c.example", "pool1");
    // Without any, it would take what is left; the address leads to it, and the connection is still pool 0's.
    rig.apply(|site| {
        site.pools.get_mut(&1).unwrap().hosts = &[];
        site.pool().hosts = &["a.example"];
    });
    check(&mut client, "b.example", "pool1");
    check(&mut client, "a.example", "pool0");
    assert_eq!((counted(&rig, 0)[1], counted(&rig, 1)[1]), (1, 0));
    let mut second = client_of(&rig);
    check(&mut second, "a.example", "pool0");
    assert_eq!((counted(&rig, 0)[1], counted(&rig, 1)[1]), (1, 1));
    for client in [client, second] {
        client.close().unwrap();
    }
    rig.stop();
}

/// Parts that were let go of so far.
fn released(rig: &mut Rig) -> Vec<(PoolSlot, PartId)> {
    rig.reports_so_far(|_, report| match report {
        Report::Released { part } => Some((part.pool(), part.id())),
        _ => None,
    })
}

#[test]
fn a_request_under_way_outlives_its_pool_and_the_next_is_not_its_own() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::IgnoresExpect));
    let mut rig = Rig::new(two(&a, &b));
    let mut client = client_of(&rig);
    client.send_raw(b"POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 4\r\n\r\nab").unwrap();
    client.expect("POST");
    b.wait_seen("its head", |seen| seen.requests == 1);
    rig.apply(|site| drop(site.pools.remove(&1)));
    assert!(released(&mut rig).iter().all(|(pool, _)| *pool != PoolSlot(1)), "its request needs it");
    client.send_raw(b"cd").unwrap();
    let response = client.read().unwrap();
    // Its connection is another pool's, which is there: it goes on.
    assert_eq!((response.status, &response.after), (200, &After::Open));
    assert_eq!(response.received().unwrap().body_begin, "abcd");
    assert_eq!(rig.request().pool, PoolSlot(1));
    assert_eq!(released(&mut rig).iter().filter(|(pool, _)| *pool == PoolSlot(1)).count(), 2, "root and policy");
    assert_eq!(rig.pool(1, PoolCounter::Requests), 0, "its figures went with it");
    check(&mut client, "b.example", "pool0");
    client.close().unwrap();
    rig.stop();
}

#[test]
fn an_answer_under_way_outlives_its_pool() {
    let a = Origin::good();
    let b = Origin::start(Conduct::Generates { bytes: 64 << 20, chunk_bytes: None });
    let mut site = two(&a, &b);
    site.pool().hosts = &["a.example"];
    let mut rig = Rig::new(site);
    let mut client = client_of(&rig);
    client.send(&Request::get("b.example", "/")).unwrap();
    let head = client.read_head().unwrap();
    rig.apply(|site| drop(site.pools.remove(&1)));
    let gone = released(&mut rig);
    assert_eq!(
        gone.iter().filter(|(pool, _)| *pool == PoolSlot(1)).count(),
        1,
        "the root, and not the policy: {gone:?}"
    );
    let response = client.read_body(head).unwrap();
    assert_eq!(response.after, After::Open);
    rig.until("it is over", |rig| rig.pool(1, PoolCounter::Requests) == 0 && counted(rig, 0)[1] == 1);
    check_misdirected(&mut client, "b.example");
    client.close().unwrap();
    rig.stop();
}

/// Nothing of the pool is needed for it any more, but its slot is: there it is counted.
#[test]
fn an_answer_of_ours_under_way_keeps_the_slot_of_its_pool() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut site = two(&a, &b);
    let text = ActionSpec::Respond { status: 200, content_type: "text/plain".into(), body: vec![b'x'; 1 << 20].into() };
    site.pools.get_mut(&1).unwrap().http = Some(Http::ruled(vec![rule("r", When::always(), text)]));
    let mut rig = Rig::new(site);
    let mut client = client_of(&rig);
    let requests = vec![Request::get("b.example", "/"); 32];
    client.send_together(&requests).unwrap();
    rig.until("the client takes no more", |rig| rig.pool(1, PoolCounter::BufferBytes) > 0);
    rig.apply(|site| drop(site.pools.remove(&1)));
    assert_eq!(released(&mut rig).iter().filter(|(pool, _)| *pool == PoolSlot(1)).count(), 1, "the root");
    assert!(rig.pool(1, PoolCounter::BufferBytes) > 0);
    let answered = requests.iter().map(|_| client.read().unwrap());
    let ours = answered.filter(|response| response.body.len() == 1 << 20).count();
    assert!(ours > 0 && ours < 32, "{ours} answers of the pool that was there");
    assert_eq!(a.seen().requests, 32 - ours as u64);
    assert_eq!(released(&mut rig).iter().filter(|(pool, _)| *pool == PoolSlot(1)).count(), 1, "and the policy");
    assert_eq!((counted(&rig, 1), rig.pool(1, PoolCounter::BufferBytes)), ([0; 3], 0));
    client.close().unwrap();
    rig.stop();
}

/// A session outlives its pool for a request. That pool's last root names another, whose slot has become a third one's.
#[test]
fn a_slot_that_has_become_another_pools_is_not_taken_for_the_one_that_was_meant() {
    let (a, b, c) = (Origin::good(), Origin::good(), Origin::good());
    let mut rig = Rig::new(two(&a, &b));
    let (mut first, mut second) = (client_of(&rig), client_of(&rig));
    check(&mut first, "a.example", "pool0");
    check(&mut second, "a.example", "pool0");
    rig.apply(|site| drop(site.pools.remove(&0)));
    rig.apply(|site| drop(site.pools.remove(&1)));
    rig.close_address(0);
    rig.apply(|site| {
        *site = Site::default().with_pool(1, &[c.address()]);
        let pool = site.pools.get_mut(&1).unwrap();
        (pool.id, pool.http) = (Some("other"), Some(saying()));
    });
    let response = first.exchange(&Request::get("b.example", "/")).unwrap();
    assert_eq!((response.status, response.after), (421, After::Ended));
    let response = second.exchange(&Request::get("a.example", "/")).unwrap();
    assert_eq!((response.status, response.after), (200, After::Ended), "of its own pool it is the last");
    assert_eq!(c.seen().accepted, 0);
    rig.until("they have ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    rig.stop();
}

#[test]
fn an_address_goes_to_the_pool_that_is_left() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut rig = Rig::new(two(&a, &b));
    let mut old = client_of(&rig);
    check(&mut old, "a.example", "pool0");
    rig.apply(|site| drop(site.pools.remove(&0)));
    let mut new = client_of(&rig);
    check(&mut new, "b.example", "pool1");
    check_misdirected(&mut new, "a.example");
    // What the old one asks of a pool that is there is that one's; the connection has had its time.
    let response = old.exchange(&Request::get("b.example", "/")).unwrap();
    assert_eq!((response.status, &response.after), (200, &After::Ended));
    assert_eq!(response.received().unwrap().origin, b.name());
    new.close().unwrap();
    rig.stop();
}

/// Where a pool has its connections from an address that it has no more, others' requests are better asked elsewhere.
#[test]
fn a_connection_from_an_address_that_its_pool_gave_up_is_sent_away_for_others() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut site = two(&a, &b);
    site.pool().hosts = &["a.example"];
    let mut rig = Rig::new(site);
    let mut client = client_of(&rig);
    check(&mut client, "b.example", "pool1");
    rig.apply(|site| site.pool().listen = [7].into());
    check(&mut client, "a.example", "pool0");
    let response = client.exchange(&Request::get("b.example", "/")).unwrap();
    assert_eq!((response.status, response.after), (421, After::Ended));
    let mut client = client_of(&rig);
    check(&mut client, "b.example", "pool1");
    client.close().unwrap();
    rig.stop();
}

/// The slot of the address is another address's by then, which other pools share.
#[test]
fn a_listener_slot_that_is_used_again_divides_nothing_of_before() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut site = Site::of(&[a.address()]).edited(|pool| pool.http = Some(saying()));
    site.pool().listen_at(5);
    let mut rig = Rig::new(site);
    let mut old = client_of(&rig);
    check(&mut old, "b.example", "pool0");
    rig.apply(|site| site.pool().listen.retain(|listener| *listener != 0));
    rig.close_address(0);
    rig.apply(|site| {
        site.pool().listen_at(0);
        *site = site.clone().sharing(1, B, saying(), &[b.address()]);
    });
    check(&mut client_of(&rig), "b.example", "pool1");
    check(&mut old, "b.example", "pool0");
    drop(old);
    rig.until("they have ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    rig.stop();
}

/// One guest is served, and one waits for the same backend.
fn waiting_guest(a: &Origin, b: &Origin) -> (Rig, Client, Client) {
    let mut site = two(a, b);
    let pool = site.pools.get_mut(&1).unwrap();
    pool.backend(10).max_connections = Some(1);
    let mut rig = Rig::new(site);
    let mut first = client_of(&rig);
    first.send(&Request::get("b.example", "/1")).unwrap();
    b.wait_seen("the first request", |seen| seen.requests == 1);
    let mut second = client_of(&rig);
    second.send(&Request::get("b.example", "/2")).unwrap();
    rig.until("the second waits", |rig| rig.pool(1, PoolCounter::Waiting) == 1);
    assert_eq!(rig.pool(0, PoolCounter::Waiting), 0);
    (rig, first, second)
}

#[test]
fn a_guest_that_waits_decides_by_the_newest_rules_of_its_pool() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let (mut rig, first, mut second) = waiting_guest(&a, &b);
    let denied = Http::ruled(vec![rule("r", When::always(), ActionSpec::Deny { status: 403 })]);
    rig.apply(|site| {
        let pool = site.pools.get_mut(&1).unwrap();
        pool.http = Some(denied);
        // Also what it is divided by: the request stays where it has begun.
        pool.hosts = &["c.example"];
    });
    first.abort();
    assert_eq!(second.read().unwrap().status, 403);
    check(&mut second, "b.example", "pool0");
    rig.until("nobody waits", |rig| rig.pool(1, PoolCounter::Waiting) == 0);
    second.close().unwrap();
    rig.stop();
}

#[test]
fn a_guest_that_waits_is_served_when_its_pool_is_gone() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let (mut rig, first, mut second) = waiting_guest(&a, &b);
    rig.apply(|site| drop(site.pools.remove(&1)));
    b.behave(Conduct::Good);
    first.abort();
    assert_eq!(second.read().unwrap().received().unwrap().origin, b.name());
    check(&mut second, "b.example", "pool0");
    assert_eq!(counted(&rig, 1), [0; 3]);
    second.close().unwrap();
    rig.stop();
}

#[test]
fn guests_that_end_in_line_or_with_a_backend_leave_nothing_behind() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let (mut rig, first, second) = waiting_guest(&a, &b);
    second.abort();
    rig.until("nobody waits", |rig| rig.pool(1, PoolCounter::Waiting) == 0);
    first.abort();
    rig.until("both have ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    assert_eq!(rig.endpoint(10, EndpointCounter::Connections), 0);
    assert_eq!((counted(&rig, 0), counted(&rig, 1)), ([2, 0, 0], [0, 0, 2]));
    rig.stop();
}

#[test]
fn a_cap_of_the_pool_counts_its_guests() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let mut site = two(&a, &b);
    let pool = site.pools.get_mut(&1).unwrap();
    (pool.max_connections, pool.queue) = (Some(1), 0);
    let mut rig = Rig::new(site);
    let mut first = client_of(&rig);
    first.send(&Request::get("b.example", "/")).unwrap();
    b.wait_seen("the first request", |seen| seen.requests == 1);
    let mut second = client_of(&rig);
    assert_eq!(ask(&mut second, "b.example").0, 503);
    assert_eq!(rig.request().reason, CloseReason::PoolFull);
    check(&mut second, "a.example", "pool0");
    b.behave(Conduct::Good);
    first.abort();
    rig.until("the first has ended", |rig| rig.shard(0, ShardCounter::Connections) == 1);
    check(&mut second, "b.example", "pool1");
    second.close().unwrap();
    rig.stop();
}

#[test]
fn memory_of_a_guest_is_its_pools() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::Generates { bytes: 64 << 20, chunk_bytes: Some(10_000) }));
    let mut rig = Rig::new(two(&a, &b));
    let mut client = client_of(&rig);
    client.send(&Request::get("b.example", "/")).unwrap();
    client.read_head().unwrap();
    rig.until("an answer that nobody reads is held", |rig| rig.pool(1, PoolCounter::BufferBytes) > 0);
    assert_eq!(rig.pool(0, PoolCounter::BufferBytes), 0);
    client.abort();
    rig.until("it is let go", |rig| rig.pool(1, PoolCounter::BufferBytes) == 0);
    rig.until("it has ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    rig.stop();
}

#[test]
fn a_guest_has_the_time_outs_pages_and_bounds_of_its_pool() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let mut site = two(&a, &b);
    let page = |text: &str| policy::http::Page { content_type: "text/plain".into(), body: text.as_bytes().into() };
    let mut http = edited(|service| {
        service.request.body_bytes = 10;
        service.pages = policy::http::Pages::new(vec![(504, page("late")), (413, page("large"))]).unwrap();
    });
    http.timeouts.first_byte = Some(Duration::from_millis(50));
    site.pools.get_mut(&1).unwrap().http = Some(http);
    let mut rig = Rig::new(site);
    let mut client = client_of(&rig);
    let response = client.exchange(&Request::get("b.example", "/")).unwrap();
    assert_eq!((response.status, response.text(), &response.after), (504, "late", &After::Open));
    assert_eq!(rig.request().reason, CloseReason::FirstByteTimeout);
    let eleven = || Content::text("12345678901");
    assert_eq!(client.exchange(&Request::post("a.example", "/", eleven())).unwrap().status, 200);
    let response = client.exchange(&Request::post("b.example", "/", eleven())).unwrap();
    assert_eq!((response.status, response.text()), (413, "large"));
    // And not those of the connection's.
    rig.apply(|site| {
        site.pool().http = Some(edited(|service| service.request.body_bytes = 10));
        site.pools.get_mut(&1).unwrap().http = Some(saying());
    });
    b.behave(Conduct::Good);
    let mut client = client_of(&rig);
    assert_eq!(client.exchange(&Request::post("b.example", "/", eleven())).unwrap().status, 200);
    let response = client.exchange(&Request::post("a.example", "/", eleven())).unwrap();
    assert_eq!(response.status, 413);
    rig.until("both have ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    rig.stop();
}

/// Its own pool's, as they were when it began, whatever looks at it meanwhile.
#[test]
fn a_guest_under_way_keeps_its_time_outs() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let mut rig = Rig::new(two(&a, &b));
    let mut under_way = client_of(&rig);
    under_way.send(&Request::get("b.example", "/1")).unwrap();
    b.wait_seen("the request", |seen| seen.requests == 1);
    rig.apply(|site| {
        let pool = site.pools.get_mut(&1).unwrap();
        pool.http.as_mut().unwrap().timeouts.first_byte = Some(Duration::from_millis(50));
        // So that all of the pool's connections are looked at.
        pool.timeouts.idle = Some(Duration::from_secs(30));
    });
    let mut client = client_of(&rig);
    assert_eq!(client.exchange(&Request::get("b.example", "/2")).unwrap().status, 504);
    assert_eq!(rig.request().reason, CloseReason::FirstByteTimeout);
    check(&mut client, "a.example", "pool0");
    assert_eq!(rig.request().reason, CloseReason::Finished);
    under_way.abort();
    assert_eq!(rig.request().reason, CloseReason::ClientLeft);
    client.close().unwrap();
    rig.stop();
}

#[test]
fn a_guest_is_sent_again_within_its_pool() {
    let (a, b, c) = (Origin::good(), Origin::start(Conduct::Refuses), Origin::good());
    let mut site = two(&a, &b);
    site.pools.get_mut(&1).unwrap().backends.insert(11, Backend::at(c.address()));
    let rig = Rig::new(site);
    let mut client = client_of(&rig);
    for _ in 0..4 {
        check(&mut client, "b.example", "pool1");
        check(&mut client, "a.example", "pool0");
    }
    assert_eq!((a.seen().requests, c.seen().requests), (4, 4));
    assert!(rig.pool(1, PoolCounter::ConnectRetries) > 0);
    assert_eq!(rig.pool(0, PoolCounter::ConnectRetries), 0);
    client.close().unwrap();
    rig.stop();
}

#[test]
fn a_guest_that_is_upgraded_is_its_new_pools_for_good() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut rig = Rig::new(two(&a, &b));
    let mut socket = WebSocket::open(&target_of(&rig), "b.example", "/").unwrap();
    socket.echo(1_000).unwrap();
    assert_eq!((counted(&rig, 0), counted(&rig, 1)), ([1, 0, 0], [1, 1, 1]));
    assert_eq!(rig.ended(0, CloseReason::Finished), 1);
    // The pool that it came in for is none of its business any more.
    rig.apply(|site| drop(site.pools.remove(&0)));
    assert_eq!(released(&mut rig).iter().filter(|(pool, _)| *pool == PoolSlot(0)).count(), 2, "root and policy");
    socket.echo(100_000).unwrap();
    // Nor the one that it is at, but for its policy.
    rig.apply(|site| drop(site.pools.remove(&1)));
    rig.close_address(0);
    socket.echo(1_000).unwrap();
    socket.close().unwrap();
    let record = rig.request();
    assert_eq!((record.pool, record.status, record.reason), (PoolSlot(1), 101, CloseReason::Finished));
    rig.until("it has ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    assert_eq!(counted(&rig, 1), [0; 3], "its figures went with it");
}

#[test]
fn upgraded_guests_leave_every_account_in_order() {
    let (a, b) = (Origin::good(), Origin::good());
    let mut rig = Rig::new(two(&a, &b));
    let mut socket = WebSocket::open(&target_of(&rig), "b.example", "/").unwrap();
    socket.echo(1_000).unwrap();
    socket.close().unwrap();
    rig.until("it has ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    for pool in [0, 1] {
        assert_eq!(rig.pool(pool, PoolCounter::Accepted), rig.ended(pool, CloseReason::Finished), "pool {pool}");
    }
    rig.stop();
}

/// A bug in what is done for a guest costs its connection, and both pools are left in order.
#[test]
fn a_panic_ends_a_guest_and_its_connection() {
    let (a, b) = (Origin::good(), Origin::start(Conduct::StallsBeforeHead));
    let fault = |handling, pool| {
        assert!(!(handling == Handling::Timer && pool == PoolSlot(1)), "a planted panic");
    };
    let mut site = two(&a, &b);
    let mut http = saying();
    http.timeouts.first_byte = Some(Duration::from_millis(50));
    site.pools.get_mut(&1).unwrap().http = Some(http);
    let mut rig = Rig::with(Options { fault: Some(fault), ..Options::default() }, site);
    let mut client = client_of(&rig);
    client.send(&Request::get("b.example", "/")).unwrap();
    client.read().unwrap_err();
    assert_eq!(rig.request().reason, CloseReason::Panicked);
    assert_eq!(rig.ended(0, CloseReason::Panicked), 1);
    assert_eq!((counted(&rig, 0), counted(&rig, 1)), ([1, 0, 0], [0, 0, 1]));
    rig.until("it has ended", |rig| rig.shard(0, ShardCounter::Connections) == 0);
    rig.stop();
}
