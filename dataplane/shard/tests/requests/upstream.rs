//! Connections to backends: kept, bounded, closed when nobody needs them.

use crate::rig::Rig;
use crate::rig::site::{Http, Site};
use crate::{client_of, rig_of, site_of, target_of};
use harness::http::received::FILLER;
use harness::http::{Conduct, Origin, Request, WebSocket};
use link::counters::{EndpointCounter, PoolCounter};
use policy::close::CloseReason;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

#[test]
fn idle_connections_are_no_more_than_allowed_and_grow_no_older() {
    let origin = Origin::good();
    let mut http = Http::new();
    http.group.idle_max = 2;
    http.group.idle_timeout = Duration::from_millis(100);
    let mut rig = Rig::new(site_of(&[&origin], http));
    let mut clients: Vec<_> = (0..5).map(|_| client_of(&rig)).collect();
    let requests = [Request::get("h", "/").field(FILLER, 1)];
    // All at once, so that each needs a connection of its own.
    origin.behave(Conduct::StallsBeforeHead);
    for client in &mut clients[..3] {
        client.send_together(&requests).unwrap();
    }
    origin.wait_seen("three requests", |seen| seen.requests == 3);
    clients.into_iter().for_each(harness::http::Client::abort);
    origin.behave(Conduct::Good);
    let mut client = client_of(&rig);
    client.exchange(&requests[0]).unwrap();
    rig.until("its connection rests", |rig| rig.endpoint(0, EndpointCounter::Idle) == 1);
    origin.wait_seen("the end of all connections", |seen| seen.open == 0);
    rig.until("the idle one is closed", |rig| rig.endpoint(0, EndpointCounter::Idle) == 0);
}

/// Were it taken for the answer to the next request, that one's client would read what is not its own.
#[test]
fn what_comes_unasked_is_nobodys_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Site::of(&[listener.local_addr().unwrap()]).edited(|pool| pool.http = Some(Http::new())));
    let mut client = client_of(&rig);
    let served = |stream: &mut TcpStream, body: &str| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while reader.by_ref().lines().next().unwrap().unwrap() != "" {}
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    };
    client.send(&Request::get("h", "/1")).unwrap();
    let (mut first, _) = listener.accept().unwrap();
    served(&mut first, "one");
    assert_eq!(client.read().unwrap().text(), "one");
    rig.until("its connection rests", |rig| rig.endpoint(0, EndpointCounter::Idle) == 1);
    first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray").unwrap();
    client.send(&Request::get("h", "/2")).unwrap();
    let (mut second, _) = listener.accept().unwrap();
    served(&mut second, "two");
    assert_eq!(client.read().unwrap().text(), "two");
}

#[test]
fn a_cap_counts_requests_and_the_line_is_served() {
    let origin = Origin::start(Conduct::StallsBeforeHead);
    let mut site = site_of(&[&origin], Http::new());
    site.pool().backend(0).max_connections = Some(1);
    site.pool().queue = 1;
    let mut rig = Rig::new(site);
    let mut first = client_of(&rig);
    first.send(&Request::get("h", "/1")).unwrap();
    origin.wait_seen("the first request", |seen| seen.requests == 1);
    let mut second = client_of(&rig);
    second.send(&Request::get("h", "/2")).unwrap();
    rig.until("the second waits", |rig| rig.pool(0, PoolCounter::Waiting) == 1);
    let third = client_of(&rig).exchange(&Request::get("h", "/3")).unwrap();
    assert_eq!(third.status, 503);
    assert_eq!(rig.request().reason, CloseReason::QueueFull);
    origin.behave(Conduct::Good);
    first.abort();
    assert_eq!(second.read().unwrap().received().unwrap().target, "/2");
    // And the connection that waited can be used further.
    assert_eq!(second.exchange(&Request::get("h", "/4")).unwrap().status, 200);
}

#[test]
fn who_waits_too_long_is_told_so_and_may_ask_again() {
    let origin = Origin::start(Conduct::StallsBeforeHead);
    let mut site = site_of(&[&origin], Http::new());
    site.pool().backend(0).max_connections = Some(1);
    site.pool().queue_wait = Duration::from_millis(50);
    let mut rig = Rig::new(site);
    let mut first = client_of(&rig);
    first.send(&Request::get("h", "/1")).unwrap();
    origin.wait_seen("the first request", |seen| seen.requests == 1);
    let mut second = client_of(&rig);
    for _ in 0..2 {
        assert_eq!(second.exchange(&Request::get("h", "/2")).unwrap().status, 503);
        assert_eq!(rig.request().reason, CloseReason::QueueTimeout);
    }
}

/// The time for all of a request goes on while it waits for a backend.
#[test]
fn who_waits_longer_than_a_request_may_take_is_told_so() {
    let origin = Origin::good();
    let mut http = Http::new();
    http.timeouts.total = Some(Duration::from_millis(50));
    let mut site = site_of(&[&origin], http);
    site.pool().backend(0).max_connections = Some(1);
    site.pool().queue_wait = Duration::from_secs(600);
    let mut rig = Rig::new(site);
    let tunnel = WebSocket::open(&target_of(&rig), "h", "/").unwrap();
    assert_eq!(client_of(&rig).exchange(&Request::get("h", "/")).unwrap().status, 504);
    assert_eq!(rig.request().reason, CloseReason::TotalTimeout);
    assert_eq!(rig.pool(0, PoolCounter::Waiting), 0);
    tunnel.close().unwrap();
}

#[test]
fn requests_are_shared_out_evenly() {
    let origins = [Origin::good(), Origin::good(), Origin::good()];
    let rig = rig_of(&[&origins[0], &origins[1], &origins[2]]);
    let mut client = client_of(&rig);
    for _ in 0..30 {
        client.exchange(&Request::get("h", "/")).unwrap();
    }
    assert_eq!(origins.each_ref().map(|origin| origin.seen().requests), [10, 10, 10]);
}
