//! Caps and the line: who waits, for how long, in which order, and what wakes those who do.

use crate::rig::Rig;
use crate::rig::peers::{Backend, Stream};
use crate::rig::site::{self, Folder, Pool, Site};
use link::counters::{EndpointCounter, PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::generation::Health;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(20);

fn site_of(backends: &[&Backend], edit: impl FnOnce(&mut Pool)) -> Site {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address()).collect();
    Site::of(&addresses).edited(edit)
}

/// One more client, and so many wait now.
#[track_caller]
fn one_more_waits(rig: &mut Rig, waiting: u64) -> Stream {
    let client = rig.connect(0);
    rig.until("one more waits", |rig| rig.pool(0, PoolCounter::Waiting) == waiting);
    client
}

/// Ends a tunnel from both sides.
fn end(rig: &mut Rig, client: Stream, served: Stream) {
    drop((client, served));
    rig.closed(CloseReason::Finished);
}

#[test]
fn whoever_is_above_the_pools_cap_is_served_in_the_order_of_coming() {
    let backend = Backend::new();
    let mut rig = Rig::new(site_of(&[&backend], |pool| pool.max_connections = Some(1)));
    let mut tunnel = (rig.connect(0), backend.accept());
    let mut waiting: Vec<_> = (1..=3).map(|n| one_more_waits(&mut rig, n)).collect();
    for (name, client) in [b"1", b"2", b"3"].iter().zip(&mut waiting) {
        client.say(*name);
    }
    backend.has_nobody();
    for (name, client) in [b"1", b"2", b"3"].iter().zip(waiting) {
        end(&mut rig, tunnel.0, tunnel.1);
        tunnel = (client, backend.accept());
        tunnel.1.hear(*name);
    }
    end(&mut rig, tunnel.0, tunnel.1);
    assert_eq!(rig.endpoint(0, EndpointCounter::Waited), 3);
    rig.stop();
}

#[test]
fn the_line_is_bounded_and_says_what_was_full() {
    for (pool_cap, backend_cap, reason) in
        [(Some(1), None, CloseReason::PoolFull), (None, Some(1), CloseReason::QueueFull)]
    {
        let backend = Backend::new();
        let mut rig = Rig::new(site_of(&[&backend], |pool| {
            pool.max_connections = pool_cap;
            pool.backend(0).max_connections = backend_cap;
            pool.queue = 2;
        }));
        let tunnel = (rig.connect(0), backend.accept());
        let waiting: Vec<_> = (1..=2).map(|n| one_more_waits(&mut rig, n)).collect();
        let mut refused = rig.connect(0);
        refused.hear_end();
        refused.end();
        // Found out at the end of the line, where nobody had asked for a permit yet.
        let record = rig.record();
        assert!([reason, CloseReason::PoolFull].contains(&record.reason), "{record:?}");
        waiting.into_iter().for_each(Stream::reset);
        drop(tunnel);
        rig.until("all have ended", |rig| rig.pool(0, PoolCounter::Connections) == 0);
        rig.stop();
    }
}

#[test]
fn whoever_waits_too_long_gets_an_end_and_time_to_read_it() {
    let backend = Backend::new();
    let mut rig = Rig::new(site_of(&[&backend], |pool| {
        pool.max_connections = Some(1);
        pool.queue_wait = SOON;
    }));
    let tunnel = (rig.connect(0), backend.accept());
    let mut client = rig.connect(0);
    client.say(b"hello?");
    client.hear_end();
    // The watch of the line was taken for the one of the end: nothing of this was read, and the close was a reset.
    client.say(b"anybody?");
    rig.closed(CloseReason::QueueTimeout);
    rig.until("it has been closed", |rig| rig.shard(0, ShardCounter::Connections) == 1);
    assert!(client.0.take_error().unwrap().is_none(), "closed with a reset");
    client.hear_end();
    end(&mut rig, tunnel.0, tunnel.1);
    rig.stop();
}

#[test]
fn a_client_that_leaves_the_line_is_noticed_and_one_that_has_said_all_is_not_taken_for_one() {
    let backend = Backend::new();
    let mut rig = Rig::new(site_of(&[&backend], |pool| pool.max_connections = Some(1)));
    let tunnel = (rig.connect(0), backend.accept());
    let mut patient = one_more_waits(&mut rig, 1);
    patient.say(b"a question");
    patient.end();
    one_more_waits(&mut rig, 2).reset();
    rig.closed(CloseReason::ClientLeft);
    end(&mut rig, tunnel.0, tunnel.1);
    let mut served = backend.accept();
    served.hear(b"a question");
    served.hear_end();
    end(&mut rig, patient, served);
    rig.stop();
}

/// Served from the line, refused by a backend, and in line again before the watch of the first wait was cancelled:
/// the cancellation was taken for the client's leaving.
#[test]
fn a_connection_may_join_the_line_again() {
    let folder = Folder::new();
    let backend = Backend::new();
    let mut rig = Rig::new(site_of(&[&backend], |pool| {
        pool.max_connections = Some(1);
        pool.backend(0).max_connections = Some(1);
    }));
    let tunnel = (rig.connect(0), backend.accept());
    let mut client = one_more_waits(&mut rig, 1);
    rig.apply(|site| {
        site.pool().max_connections = Some(2);
        site.pool().backends.insert(1, site::Backend::unix(&folder.file("nobody")));
    });
    rig.until("it was refused", |rig| rig.endpoint(1, EndpointCounter::ConnectFailures) == 1);
    client.say(b"still here");
    end(&mut rig, tunnel.0, tunnel.1);
    let mut served = backend.accept();
    served.hear(b"still here");
    end(&mut rig, client, served);
    rig.stop();
}

/// A backend that was found full while another had room was not looked at again when it had room.
#[test]
fn a_backend_that_was_full_is_chosen_again_when_it_is_not() {
    let (heavy, light) = (Backend::new(), Backend::new());
    let mut rig = Rig::new(site_of(&[&heavy, &light], |pool| {
        pool.backend(0).weight = 100;
        pool.backend(0).max_connections = Some(2);
    }));
    let mut clients: Vec<_> = (0..5).map(|_| rig.connect(0)).collect();
    let heavies: Vec<_> = (0..2).map(|_| heavy.accept()).collect();
    let lights: Vec<_> = (0..3).map(|_| light.accept()).collect();
    heavies.into_iter().for_each(Stream::reset);
    rig.until("the heavy one has ended", |rig| rig.endpoint(0, EndpointCounter::Connections) == 0);
    clients.push(rig.connect(0));
    clients.push(rig.connect(0));
    heavy.accept();
    drop((clients, lights, heavy, light));
    rig.stop();
}

#[test]
fn a_cap_that_is_raised_or_lifted_serves_the_line_at_once() {
    let backend = Backend::new();
    let mut rig = Rig::new(site_of(&[&backend], |pool| pool.max_connections = Some(1)));
    let mut tunnels = vec![(rig.connect(0), backend.accept())];
    let mut waiting: Vec<_> = (1..=3).map(|n| one_more_waits(&mut rig, n)).collect();
    rig.apply(|site| site.pool().max_connections = Some(2));
    tunnels.push((waiting.remove(0), backend.accept()));
    rig.apply(|site| site.pool().max_connections = None);
    waiting.into_iter().for_each(|client| tunnels.push((client, backend.accept())));
    // A cap that appears counts those who are there.
    rig.apply(|site| site.pool().backend(0).max_connections = Some(4));
    let last = one_more_waits(&mut rig, 1);
    rig.apply(|site| site.pool().backend(0).max_connections = Some(5));
    tunnels.push((last, backend.accept()));
    // One that is lowered ends nobody.
    rig.apply(|site| site.pool().backend(0).max_connections = Some(1));
    for (client, served) in &mut tunnels {
        client.say(b"on");
        served.hear(b"on");
    }
    tunnels.into_iter().for_each(|(client, served)| end(&mut rig, client, served));
    rig.stop();
}

#[test]
fn a_backend_that_comes_serves_the_line() {
    let (first, second) = (Backend::new(), Backend::new());
    let mut rig = Rig::new(site_of(&[&first], |pool| pool.backend(0).max_connections = Some(1)));
    let tunnel = (rig.connect(0), first.accept());
    let client = one_more_waits(&mut rig, 1);
    rig.apply(|site| drop(site.pool().backends.insert(1, site::Backend::at(second.address()))));
    let served = second.accept();
    end(&mut rig, client, served);
    end(&mut rig, tunnel.0, tunnel.1);
    rig.stop();
}

#[test]
fn a_backend_that_comes_up_serves_the_line() {
    let (first, second) = (Backend::new(), Backend::new());
    let mut rig = Rig::new(site_of(&[&first, &second], |pool| {
        pool.checked = true;
        pool.backend(0).max_connections = Some(1);
    }));
    rig.endpoint_is(0, Health::Up, &[]);
    rig.endpoint_is(1, Health::Down, &[]);
    let tunnel = (rig.connect(0), first.accept());
    let client = one_more_waits(&mut rig, 1);
    rig.endpoint_is(1, Health::Up, &[]);
    let served = second.accept();
    end(&mut rig, client, served);
    end(&mut rig, tunnel.0, tunnel.1);
    rig.stop();
}

#[test]
fn a_pool_that_goes_still_serves_its_line() {
    let backend = Backend::new();
    let mut rig = Rig::new(site_of(&[&backend], |pool| pool.max_connections = Some(1)));
    let tunnel = (rig.connect(0), backend.accept());
    let mut client = one_more_waits(&mut rig, 1);
    client.say(b"waited");
    rig.apply(|site| site.pools.clear());
    rig.close_address(0);
    end(&mut rig, tunnel.0, tunnel.1);
    let mut served = backend.accept();
    served.hear(b"waited");
    end(&mut rig, client, served);
    rig.stop();
}

#[test]
fn a_cap_holds_over_two_shards_and_wakes_the_other_ones_line() {
    let backend = Backend::new();
    for by_backend in [false, true] {
        let mut rig = Rig::of_two(site_of(&[&backend], |pool| match by_backend {
            true => pool.backend(0).max_connections = Some(2),
            false => pool.max_connections = Some(2),
        }));
        let mut tunnels: Vec<_> = (0..2).map(|shard| (rig.connect_to_shard(0, shard), backend.accept())).collect();
        let mut waiting = Vec::new();
        for (name, shard) in [(0u8, 0), (1, 1), (2, 0), (3, 1)] {
            let mut client = rig.connect_to_shard(0, shard);
            client.say(&[name]);
            waiting.push((name, client));
            rig.until("it waits", |rig| rig.pool(0, PoolCounter::Waiting) == waiting.len() as u64);
        }
        backend.has_nobody();
        // Two on each shard wait, whichever shard gives back.
        while !waiting.is_empty() {
            let (client, served) = tunnels.remove(0);
            end(&mut rig, client, served);
            let mut served = backend.accept();
            let name = served.next(1)[0];
            let at = waiting.iter().position(|waiting| waiting.0 == name).expect("one of those who wait");
            backend.has_nobody();
            tunnels.push((waiting.remove(at).1, served));
        }
        tunnels.into_iter().for_each(|(client, served)| end(&mut rig, client, served));
        rig.stop();
    }
}
