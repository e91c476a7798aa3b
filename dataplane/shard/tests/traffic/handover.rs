//! Balance between shards: an accepted connection may move once, and is never lost on the way.

use crate::rig::peers::{Backend, Stream};
use crate::rig::site::Site;
use crate::rig::{Options, Rig};
use link::counters::{PoolCounter, ShardCounter};
use link::listen::BindAddress;
use policy::close::CloseReason;
use policy::ids::{JobId, ListenerSlot, RootVersion, ShardId};
use policy::reload::Order;
use shard::Handed;
use shard::bounds::Bounds;

/// So many clients, all of which the kernel gives to shard 0.
fn crowd(rig: &Rig, listener: u32, clients: usize) -> Vec<Stream> {
    (0..clients).map(|_| rig.connect_to_shard(listener, 0)).collect()
}

#[track_caller]
fn all_echo(clients: &mut [Stream]) {
    for client in clients {
        client.say(b"echo");
        client.hear(b"echo");
    }
}

fn loads(rig: &Rig) -> [u64; 2] {
    [0, 1].map(|shard| rig.shard(shard, ShardCounter::Connections))
}

#[test]
fn shards_share_what_one_of_them_accepts() {
    const CLIENTS: usize = 200;
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    let mut clients = crowd(&rig, 0, CLIENTS);
    all_echo(&mut clients);
    rig.until("all are counted", |rig| loads(rig).iter().sum::<u64>() == CLIENTS as u64);
    let [first, second] = loads(&rig);
    assert!(first.abs_diff(second) <= CLIENTS as u64 / 20 + 4, "{first} and {second}");
    assert_eq!(rig.shard(0, ShardCounter::HandedOverOut), rig.shard(1, ShardCounter::HandedOverIn));
    assert_eq!(rig.shard(1, ShardCounter::HandedOverOut), 0);
    drop(clients);
    rig.stop();
}

/// A burst comes out of the kernel in one turn, in which the other shard's load does not change.
#[test]
fn a_burst_does_not_go_to_the_other_shard_as_a_whole() {
    const CLIENTS: usize = 120;
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    rig.order_all(Order::Suspend);
    rig.settle();
    let mut clients = crowd(&rig, 0, CLIENTS);
    rig.order_all(Order::Resume);
    all_echo(&mut clients);
    rig.until("all are counted", |rig| loads(rig).iter().sum::<u64>() == CLIENTS as u64);
    let [first, second] = loads(&rig);
    assert!(first.abs_diff(second) <= CLIENTS as u64 / 5, "{first} and {second}");
    drop(clients);
    rig.stop();
}

#[test]
fn nothing_is_handed_to_a_shard_with_another_root() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    let job = rig.prepare(|site| site.pool().listen_at(1));
    rig.begin_commit(job);
    rig.commit_on(0, job);
    let mut clients = crowd(&rig, 1, 40);
    all_echo(&mut clients);
    assert_eq!(rig.shard(0, ShardCounter::HandedOverOut), 0);
    rig.commit_on(1, job);
    clients.extend(crowd(&rig, 1, 10));
    all_echo(&mut clients);
    assert!(rig.shard(1, ShardCounter::HandedOverIn) > 0);
    drop(clients);
    rig.stop();
}

/// The way back was full as well, and the connection was dropped.
#[test]
fn a_shard_that_does_not_know_the_address_gives_it_back_however_full_the_way_is() {
    const CLIENTS: usize = 50;
    let bounds = Bounds { handed_over: 1, ..Bounds::of_one(2, 4096, None) };
    let options = Options { shards: 2, bounds, ..Options::default() };
    let mut rig = Rig::with(options, Site::of(&[Backend::new().echoing()]));
    let job = rig.prepare(|site| site.pool().listen_at(1));
    rig.begin_commit(job);
    rig.commit_on(0, job);
    let door = Backend::new();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Stream::connect(&BindAddress::Ip(door.address())));
        let (listener, from) = (ListenerSlot(1), ShardId(0));
        rig.hand_over(1, Handed { socket: door.accept().0.into(), listener, settled: false, from });
    }
    all_echo(&mut clients);
    assert_eq!((rig.shard(1, ShardCounter::HandedOverIn), rig.shard(1, ShardCounter::Connections)), (0, 0));
    assert_eq!(rig.shard(0, ShardCounter::AcceptErrors) + rig.shard(1, ShardCounter::AcceptErrors), 0);
    rig.commit_on(1, job);
    drop(clients);
    rig.stop();
}

#[test]
fn what_was_handed_to_a_suspended_shard_waits_there() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    rig.order(1, Order::Suspend);
    rig.settle();
    let mut clients = crowd(&rig, 0, 20);
    rig.until("some were handed over", |rig| rig.shard(1, ShardCounter::HandedOverIn) > 0);
    rig.order(1, Order::Resume);
    all_echo(&mut clients);
    drop(clients);
    rig.stop();
}

#[test]
fn what_was_handed_to_a_dying_shard_is_served_by_its_next_incarnation() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    rig.order(1, Order::Commit { job: JobId(99), version: RootVersion(99) });
    rig.await_death(1);
    let mut clients = crowd(&rig, 0, 20);
    rig.until("some were handed over", |rig| rig.shard(0, ShardCounter::HandedOverOut) > 0);
    rig.sync(1);
    all_echo(&mut clients);
    assert_eq!(rig.pool(0, PoolCounter::Accepted), 20);
    drop(clients);
    for _ in 0..20 {
        rig.closed(CloseReason::Finished);
    }
    rig.stop();
}

/// A shard that lives is not given what it should not have: it says so before anything is posted to it.
#[test]
fn nothing_is_handed_to_a_shard_that_is_steered_round() {
    let mut rig = Rig::of_two(Site::of(&[Backend::new().echoing()]));
    assert!(rig.registry.steer_all(0b01).is_empty());
    let mut clients: Vec<_> = (0..20).map(|_| rig.connect(0)).collect();
    all_echo(&mut clients);
    assert_eq!(rig.shard(0, ShardCounter::HandedOverOut), 0);
    rig.until("all are counted", |rig| loads(rig) == [20, 0]);
    drop(clients);
    rig.stop();
}
