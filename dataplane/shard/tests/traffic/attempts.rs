//! Connecting: one backend after the other, each once, within the time and the number that are allowed.

use crate::rig::Rig;
use crate::rig::peers::{Backend, refusing, stalling};
use crate::rig::site::{self, Site};
use link::counters::{EndpointCounter, PoolCounter};
use policy::close::CloseReason;
use policy::generation::Health;
use policy::ids::EndpointSlot;
use policy::reload::{Order, Report};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(20);

#[test]
fn another_backend_is_tried_when_one_refuses() {
    let (_port, refusing) = refusing();
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[refusing, backend.address()]));
    for _ in 0..4 {
        let mut client = rig.connect(0);
        client.say(b"hi");
        let mut served = backend.accept();
        served.hear(b"hi");
        drop((client, served));
        let record = rig.closed(CloseReason::Finished);
        assert_eq!(record.endpoint.unwrap().0, 1);
    }
    assert_eq!(rig.pool(0, PoolCounter::ConnectRetries), rig.endpoint(0, EndpointCounter::ConnectFailures));
    assert!(rig.pool(0, PoolCounter::ConnectRetries) >= 1);
    rig.stop();
}

/// No more than eight were remembered, so the ninth was tried again and again.
#[test]
fn no_backend_is_tried_twice_however_many_there_are() {
    let refusing: Vec<_> = (0..9).map(|_| refusing()).collect();
    let last = Backend::new();
    let addresses: Vec<_> = refusing.iter().map(|(_, address)| *address).chain([last.address()]).collect();
    let mut site = Site::of(&addresses).edited(|pool| pool.attempts = 20);
    site.pool().backend(9).backup = true;
    let mut rig = Rig::new(site);
    let client = rig.connect(0);
    let served = last.accept();
    drop((client, served));
    assert_eq!(rig.closed(CloseReason::Finished).attempts, 10);
    for slot in 0..9 {
        assert_eq!(rig.endpoint(slot, EndpointCounter::ConnectFailures), 1, "backend {slot}");
    }
    assert_eq!(rig.pool(0, PoolCounter::ConnectRetries), 9);
    rig.stop();
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_given_up() {
    let (_held, stalling) = stalling();
    let backend = Backend::new();
    let mut site = Site::of(&[stalling, backend.address()]).edited(|pool| pool.timeouts.connect = SOON);
    site.pool().backend(1).backup = true;
    let mut rig = Rig::new(site);
    let mut client = rig.connect(0);
    client.say(b"hi");
    backend.accept().hear(b"hi");
    assert_eq!(rig.endpoint(0, EndpointCounter::ConnectTimeouts), 1);
    drop(client);
    rig.closed(CloseReason::Finished);
    rig.stop();
}

/// It was said to have failed, as if it had refused, unless all attempts were used up.
#[test]
fn a_pool_whose_only_backend_does_not_answer_ends_by_its_time_out() {
    let (_held, stalling) = stalling();
    let mut rig = Rig::new(Site::of(&[stalling]).edited(|pool| pool.timeouts.connect = SOON));
    let mut client = rig.connect(0);
    client.hear_end();
    client.end();
    let record = rig.closed(CloseReason::ConnectTimeout);
    assert_eq!((record.endpoint, record.attempts), (None, 1));
    rig.stop();
}

#[test]
fn an_attempt_at_a_backend_that_is_removed_now_goes_on_to_another() {
    let (_held, stalling) = stalling();
    let backend = Backend::new();
    let mut site = Site::of(&[stalling, backend.address()]);
    site.pool().backend(1).backup = true;
    let mut rig = Rig::new(site);
    let mut client = rig.connect(0);
    rig.until("it tries", |rig| rig.endpoint(0, EndpointCounter::Connections) == 1);
    rig.apply(|site| drop(site.pool().backends.remove(&0)));
    rig.order_all(Order::Retire { endpoint: EndpointSlot(0) });
    let mut served = backend.accept();
    client.say(b"hi");
    served.hear(b"hi");
    rig.await_report(0, |report| matches!(report, Report::EndpointReleased { .. }).then_some(()));
    drop((client, served));
    assert_eq!(rig.closed(CloseReason::Finished).attempts, 2);
    rig.stop();
}

#[test]
fn a_pool_without_a_backend_says_so() {
    let mut rig = Rig::new(Site::of(&[]));
    rig.connect(0).hear_end();
    assert_eq!(rig.closed(CloseReason::NoBackend).attempts, 0);
    rig.stop();
}

#[test]
fn a_name_is_a_backend_once_it_has_an_address_and_all_its_addresses_get_their_share() {
    let (first, second) = (Backend::new(), Backend::new());
    let mut site = Site::of(&[]);
    site.pool().backends.insert(0, site::Backend::named("backend.test"));
    let mut rig = Rig::new(site);
    rig.connect(0).hear_end();
    rig.closed(CloseReason::NoBackend);
    rig.endpoint_is(0, Health::Unproven, &[first.address(), second.address()]);
    let clients: Vec<_> = (0..4).map(|_| rig.connect(0)).collect();
    let served: Vec<_> = (0..2).flat_map(|_| [first.accept(), second.accept()]).collect();
    drop((clients, served));
    for _ in 0..4 {
        rig.closed(CloseReason::Finished);
    }
    rig.stop();
}

#[test]
fn a_path_too_long_for_the_system_is_a_backend_that_does_not_answer() {
    let mut site = Site::of(&[]);
    let path = format!("/{}", "a".repeat(200));
    site.pool().backends.insert(0, site::Backend::unix(path.as_ref()));
    let mut rig = Rig::new(site);
    rig.connect(0).hear_end();
    assert_eq!(rig.closed(CloseReason::ConnectFailed).attempts, 1);
    rig.stop();
}

#[test]
fn attempts_end_when_they_are_used_up() {
    let refusing: Vec<_> = (0..4).map(|_| refusing()).collect();
    let addresses: Vec<_> = refusing.iter().map(|(_, address)| *address).collect();
    let mut rig = Rig::new(Site::of(&addresses).edited(|pool| pool.attempts = 2));
    rig.connect(0).hear_end();
    assert_eq!(rig.closed(CloseReason::ConnectFailed).attempts, 2);
    rig.stop();
}
