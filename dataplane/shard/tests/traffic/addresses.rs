//! Listen addresses that come and go: nobody who was let in is lost, and nobody is let in too early.

use crate::rig::Rig;
use crate::rig::peers::{Backend, Stream};
use crate::rig::site::Site;
use link::counters::ShardCounter;
use link::listen::BindAddress;
use policy::close::CloseReason;
use policy::ids::ListenerSlot;
use policy::reload::{Order, Report};
use std::net::TcpListener;

/// Says something and hears it again.
#[track_caller]
fn echoes(client: &mut Stream) {
    client.say(b"echo");
    client.hear(b"echo");
}

#[test]
fn an_address_comes_and_goes_and_its_tunnels_stay() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    let mut on_first = rig.connect(0);
    for round in 1..=3 {
        rig.apply(|site| site.pool().listen_at(round));
        let mut clients: Vec<_> = (0..10).map(|_| rig.connect(round)).collect();
        rig.apply(|site| assert!(site.pool().listen.remove(&round)));
        rig.close_address(round);
        clients.iter_mut().chain([&mut on_first]).for_each(echoes);
    }
    drop(on_first);
    rig.closed(CloseReason::Finished);
    rig.stop();
}

/// Everything connects before its address goes and is accepted after, or on the way.
#[test]
fn whoever_is_connected_when_the_address_goes_is_served() {
    let backend = Backend::new().echoing();
    let mut rig = Rig::of_two(Site::of(&[backend]).with_pool(1, &[backend]));
    let mut clients: Vec<_> = (0..200).map(|_| rig.connect(1)).collect();
    rig.apply(|site| drop(site.pools.remove(&1)));
    rig.close_address(1);
    clients.iter_mut().for_each(echoes);
    drop(clients);
    rig.stop();
}

/// Closed while suspended, the shard gave the address back at once, and what it had parked led nowhere.
#[test]
fn whoever_queues_at_an_address_that_goes_while_the_shard_is_lost_is_served() {
    let backend = Backend::new().echoing();
    let mut rig = Rig::new(Site::of(&[backend]).with_pool(1, &[backend]));
    rig.order(0, Order::Suspend);
    rig.settle();
    let mut clients: Vec<_> = (0..5).map(|_| rig.connect(1)).collect();
    rig.replace(|site| drop(site.pools.remove(&1)));
    rig.sync_only(0);
    rig.order(0, Order::Close { listener: ListenerSlot(1) });
    rig.order(0, Order::Resume);
    rig.await_listener_closed(0, 1);
    clients.iter_mut().for_each(echoes);
    assert_eq!(rig.shard(0, ShardCounter::AcceptErrors), 0);
    drop(clients);
    rig.stop();
}

/// It had left on this shard only, when control restarted with a root that still names it.
#[test]
fn an_address_that_was_leaving_comes_back() {
    let backend = Backend::new().echoing();
    let mut rig = Rig::of_two(Site::of(&[backend]));
    let before = rig.running.site.clone();
    let job = rig.prepare(|site| site.pools.clear());
    rig.begin_commit(job);
    rig.commit_on(0, job);
    rig.order(0, Order::Suspend);
    rig.abort_on(1, job);
    rig.replace(|site| *site = before);
    rig.sync(0);
    rig.sync(1);
    for shard in [0, 1] {
        let mut client = rig.connect_to_shard(0, shard);
        echoes(&mut client);
    }
    rig.stop();
}

#[test]
fn an_aborted_address_lets_nobody_in_and_is_free_again() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    let job = rig.prepare(|site| {
        site.pool().listen_at(1);
        site.pool().backends.clear();
    });
    let BindAddress::Ip(address) = rig.address(1) else { unreachable!() };
    let early = Stream::connecting(&rig.address(1));
    rig.abort(job);
    assert!(!early.is_connected());
    let group = rig.registry.remove(1).expect("it was bound");
    assert_eq!(std::sync::Arc::strong_count(&group), 1, "no shard has borrowed it");
    drop(group);
    TcpListener::bind(address).expect("the address is free");
    echoes(&mut rig.connect(0));
    rig.closed(CloseReason::Finished);
    let told = rig.reports_so_far(|_, report| {
        matches!(report, Report::EndpointReleased { .. } | Report::Released { .. } | Report::ListenerClosed { .. })
            .then_some(())
    });
    assert_eq!(told.len(), 0, "what was aborted never was");
    rig.stop();
}

#[test]
fn a_prepared_address_lets_nobody_in_before_its_commit() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    let job = rig.prepare(|site| site.pool().listen_at(1));
    let early = Stream::connecting(&rig.address(1));
    rig.settle();
    assert!(!early.is_connected());
    rig.commit(job);
    echoes(&mut rig.connect(1));
    drop(early);
    rig.stop();
}

#[test]
fn an_address_may_lead_to_another_pool_and_nobody_notices_but_the_backends() {
    let (first, second) = (Backend::new(), Backend::new());
    let mut rig = Rig::of_two(Site::of(&[first.address()]).with_pool(1, &[second.address()]));
    let (mut old, mut old_served) = (rig.connect(0), first.accept());
    rig.apply(|site| {
        site.pool().listen.remove(&0);
        site.pools.get_mut(&1).unwrap().listen.insert(0);
    });
    let (mut new, mut new_served) = (rig.connect(0), second.accept());
    for (client, served) in [(&mut old, &mut old_served), (&mut new, &mut new_served)] {
        client.say(b"here");
        served.hear(b"here");
    }
    drop((old, old_served, new, new_served));
    rig.stop();
}
