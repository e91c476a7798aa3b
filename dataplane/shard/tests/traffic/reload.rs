//! Generations: what a commit, an abort, a sync and a retirement do to what is open.

use crate::rig::Rig;
use crate::rig::peers::{Backend, Stream};
use crate::rig::site::{self, Site};
use link::counters::{EndpointCounter, PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::ids::{EndpointSlot, PoolSlot};
use policy::reload::{Order, Part, Report};
use std::time::{Duration, Instant};

fn tunnel(rig: &Rig, backend: &Backend) -> (Stream, Stream) {
    let (mut client, mut served) = (rig.connect(0), backend.accept());
    client.say(b"hello");
    served.hear(b"hello");
    (client, served)
}

fn released_endpoints(rig: &mut Rig) -> Vec<u32> {
    rig.reports_so_far(|_, report| match report {
        Report::EndpointReleased { endpoint } => Some(endpoint.0),
        _ => None,
    })
}

#[test]
fn backends_change_under_open_tunnels_which_stay() {
    let (old, new) = (Backend::new(), Backend::new());
    let mut rig = Rig::new(Site::of(&[old.address()]));
    let mut tunnels: Vec<_> = (0..3).map(|_| tunnel(&rig, &old)).collect();
    rig.apply(|site| {
        site.pool().backends.clear();
        site.pool().backends.insert(1, site::Backend::at(new.address()));
    });
    let (mut client, mut served) = tunnel(&rig, &new);
    old.has_nobody();
    for (client, served) in tunnels.iter_mut().chain([&mut (client.other_half(), served.other_half())]) {
        client.say(b"and on");
        served.hear(b"and on");
    }
    served.end();
    client.hear_end();
    drop((client, served));
    rig.closed(CloseReason::Finished);
    while let Some((client, served)) = tunnels.pop() {
        assert!(released_endpoints(&mut rig).is_empty(), "{} tunnels are left", tunnels.len() + 1);
        drop((client, served));
        let record = rig.closed(CloseReason::Finished);
        assert_eq!((record.endpoint, record.generation.0), (Some(EndpointSlot(0)), 1));
    }
    rig.until("no connection is counted", |rig| rig.endpoint(0, EndpointCounter::Connections) == 0);
    assert_eq!(released_endpoints(&mut rig), [0]);
    assert_eq!(rig.endpoint(0, EndpointCounter::Connects), 0, "the slot's next owner begins from zero");
    rig.stop();
}

#[test]
fn a_backend_that_comes_back_keeps_its_tunnels_and_is_not_released() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]).edited(|pool| pool.backend(0).max_connections = Some(2)));
    let first = tunnel(&rig, &backend);
    let before = rig.running.site.clone();
    rig.apply(|site| site.pool().backends.clear());
    rig.connect(0).hear_end();
    rig.closed(CloseReason::NoBackend);
    rig.apply(|site| *site = before);
    let second = tunnel(&rig, &backend);
    // The first still counts against the cap.
    let third = rig.connect(0);
    rig.until("it waits", |rig| rig.pool(0, PoolCounter::Waiting) == 1);
    drop(first);
    let third = (third, backend.accept());
    drop((second, third));
    for _ in 0..3 {
        rig.closed(CloseReason::Finished);
    }
    assert!(released_endpoints(&mut rig).is_empty());
    rig.stop();
}

/// Control may give the slot to another pool from that report on.
#[test]
fn a_pools_figures_are_gone_when_its_last_part_is_released() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    let (client, served) = tunnel(&rig, &backend);
    rig.apply(|site| site.pools.clear());
    rig.close_address(0);
    drop((client, served));
    rig.await_report(0, |report| match report {
        Report::Released { part: Part::Policy(policy) } => (policy.pool == PoolSlot(0)).then_some(()),
        _ => None,
    });
    assert_eq!(rig.pool(0, PoolCounter::Accepted), 0);
    rig.closed(CloseReason::Finished);
    rig.stop();
}

#[test]
fn a_sync_replaces_the_root() {
    let (old, new) = (Backend::new(), Backend::new());
    let mut rig = Rig::new(Site::of(&[old.address()]));
    let (mut client, mut served) = tunnel(&rig, &old);
    rig.order(0, Order::Suspend);
    rig.replace(|site| {
        site.pool().backends.clear();
        site.pool().backends.insert(1, site::Backend::at(new.address()));
        site.pool().listen_at(1);
    });
    rig.sync(0);
    let second = tunnel(&rig, &new);
    let third = (rig.connect(1), new.accept());
    client.say(b"still");
    served.hear(b"still");
    drop((client, served));
    rig.closed(CloseReason::Finished);
    assert_eq!(released_endpoints(&mut rig), [0]);
    drop((second, third));
    rig.stop();
}

#[test]
fn a_suspended_shard_accepts_nothing_until_it_is_resumed() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    let (mut client, mut served) = tunnel(&rig, &backend);
    rig.order(0, Order::Suspend);
    rig.settle();
    let queued: Vec<_> = (0..3).map(|_| rig.connect(0)).collect();
    // Each round trip is several turns of the loop: enough to accept whatever it would.
    for _ in 0..20 {
        client.say(b"open");
        served.hear(b"open");
    }
    backend.has_nobody();
    rig.order(0, Order::Resume);
    let accepted: Vec<_> = queued.iter().map(|_| backend.accept()).collect();
    drop((client, served, queued, accepted));
    rig.stop();
}

#[test]
fn retired_tunnels_end_at_a_pace_and_the_neighbours_do_not() {
    const TUNNELS: usize = 300;
    let (leaving, staying) = (Backend::new(), Backend::new());
    let mut rig = Rig::new(Site::of(&[leaving.address(), staying.address()]));
    let mut clients: Vec<_> = (0..2 * TUNNELS).map(|_| rig.connect(0)).collect();
    let left: Vec<_> = (0..TUNNELS).map(|_| leaving.accept()).collect();
    let stayed: Vec<_> = (0..TUNNELS).map(|_| staying.accept()).collect();
    rig.apply(|site| drop(site.pool().backends.remove(&0)));
    let began = Instant::now();
    rig.order(0, Order::Retire { endpoint: EndpointSlot(0) });
    rig.await_report(0, |report| matches!(report, Report::EndpointReleased { .. }).then_some(()));
    // A burst of 100 and then 2,000 a second.
    assert!(began.elapsed() >= Duration::from_millis(95), "{:?}", began.elapsed());
    assert_eq!(rig.ended(0, CloseReason::BackendRemoved), TUNNELS as u64);
    assert_eq!(rig.pool(0, PoolCounter::Connections), TUNNELS as u64);
    drop(left);
    for mut served in stayed {
        served.say(b"on");
        served.end();
    }
    // Those that were retired have an end, the others a message before it.
    let heard: usize = clients
        .iter_mut()
        .map(|client| client.hear_all())
        .map(|(heard, end)| {
            assert_eq!(end, Ok(()));
            heard
        })
        .sum();
    assert_eq!(heard, 2 * TUNNELS);
    drop(clients);
    rig.stop();
}

#[test]
fn shards_adopt_one_after_the_other_and_each_connection_sees_one_generation() {
    let (old, new) = (Backend::new(), Backend::new());
    let mut rig = Rig::of_two(Site::of(&[old.address()]));
    let job = rig.prepare(|site| {
        site.pool().backends.clear();
        site.pool().backends.insert(1, site::Backend::at(new.address()));
    });
    rig.begin_commit(job);
    rig.commit_on(1, job);
    let first = (rig.connect_to_shard(0, 0), old.accept());
    let second = (rig.connect_to_shard(0, 1), new.accept());
    rig.commit_on(0, job);
    let third = (rig.connect_to_shard(0, 0), new.accept());
    let generations: Vec<u64> = [first, second, third]
        .into_iter()
        .map(|tunnel| {
            drop(tunnel);
            rig.closed(CloseReason::Finished).generation.0
        })
        .collect();
    assert_eq!(generations, [1, job.0, job.0]);
    assert_eq!(rig.shard(0, ShardCounter::Generation), job.0);
    rig.stop();
}
