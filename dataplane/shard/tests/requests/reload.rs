//! Changes while requests are under way, and between them.

use crate::rig::Rig;
use crate::rig::site::{Http, Site, rule};
use crate::{client_of, site_of, target_of, to_group};
use harness::http::client::After;
use harness::http::{Client, Conduct, Origin, Request, WebSocket};
use link::counters::{EndpointCounter, PoolCounter};
use policy::http::{ActionSpec, When};

fn saying(specs: Vec<policy::http::RuleSpec>) -> Http {
    Http::with(specs, |service| service.says_generation = true)
}

fn generation(client: &mut Client, target: &str) -> String {
    let response = client.exchange(&Request::get("h", target)).unwrap();
    response.fields.first("x-sluicegate-generation").unwrap().to_owned()
}

#[test]
fn the_next_request_of_an_open_connection_meets_the_new_rules() {
    let origin = Origin::good();
    let site = site_of(&[&origin], saying(vec![to_group()]));
    let mut rig = Rig::new(site.clone());
    let mut client = client_of(&rig);
    assert_eq!(generation(&mut client, "/"), "pool0@1");
    let denied = saying(vec![rule("r", When::always(), ActionSpec::Deny { status: 403 })]);
    rig.apply(|site| site.pool().http = Some(denied));
    let response = client.exchange(&Request::get("h", "/")).unwrap();
    assert_eq!((response.status, response.after), (403, After::Open));
    rig.apply(|now| *now = site);
    assert_eq!(generation(&mut client, "/"), "pool0@3");
    assert_eq!(rig.pool(0, PoolCounter::Accepted), 1);
}

#[test]
fn a_request_under_way_ends_on_what_it_began_with() {
    let origin = Origin::start(Conduct::IgnoresExpect);
    let mut rig = Rig::new(site_of(&[&origin], saying(vec![to_group()])));
    let mut client = client_of(&rig);
    client.send_raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab").unwrap();
    client.expect("POST");
    origin.wait_seen("its head", |seen| seen.requests == 1);
    let gone = saying(vec![rule("r", When::always(), ActionSpec::Deny { status: 403 })]);
    rig.apply(|site| site.pool().http = Some(gone));
    client.send_raw(b"cd").unwrap();
    let response = client.read().unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.fields.first("x-sluicegate-generation"), Some("pool0@1"));
    assert_eq!(response.received().unwrap().body_begin, "abcd");
}

#[test]
fn a_removed_backend_finishes_its_exchanges_and_keeps_no_idle_connection() {
    let (old, new) = (Origin::good(), Origin::good());
    let site = |origin: &Origin, slot: u32| {
        let mut site = Site::of(&[]).edited(|pool| pool.http = Some(Http::new()));
        site.pool().backends.insert(slot, crate::rig::site::Backend::at(origin.address()));
        site
    };
    let mut rig = Rig::new(site(&old, 0));
    let mut resting = client_of(&rig);
    resting.exchange(&Request::get("h", "/")).unwrap();
    rig.until("its connection rests too", |rig| rig.endpoint(0, EndpointCounter::Idle) == 1);
    let mut busy = client_of(&rig);
    busy.send_raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na").unwrap();
    busy.expect("POST");
    old.wait_seen("two requests", |seen| seen.requests == 2);
    rig.apply(|now| *now = site(&new, 1));
    assert_eq!(resting.exchange(&Request::get("h", "/")).unwrap().received().unwrap().origin, new.name());
    busy.send_raw(b"b").unwrap();
    assert_eq!(busy.read().unwrap().received().unwrap().origin, old.name());
    old.wait_seen("no connection is left", |seen| seen.open == 0);
}

#[test]
fn sessions_outlive_their_pool_for_one_request() {
    let origin = Origin::good();
    let mut rig = Rig::new(site_of(&[&origin], Http::new()));
    let mut client = client_of(&rig);
    assert_eq!(client.exchange(&Request::get("h", "/")).unwrap().after, After::Open);
    rig.apply(|site| *site = Site::default());
    let response = client.exchange(&Request::get("h", "/")).unwrap();
    assert_eq!((response.status, response.after), (200, After::Ended));
}

#[test]
fn a_web_socket_outlives_changes_that_are_not_its_own() {
    let origin = Origin::good();
    let mut rig = Rig::new(site_of(&[&origin], Http::new()));
    let mut socket = WebSocket::open(&target_of(&rig), "h", "/").unwrap();
    for nr in 0..20 {
        rig.apply(|site| site.pool().http = Some(saying(vec![to_group()])));
        socket.echo(nr * 100).unwrap();
    }
    socket.close().unwrap();
}
