//! Bad company: what one connection does must not be felt by another.

use e2e::{Pool, metric, pool};
use harness::appliance::{Appliance, Launch};
use harness::backend::{Backend, Vice};
use harness::client::{self, Tunnel};
use harness::net::{Stream, Target};
use harness::wait::Deadline;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Resident memory of a process. Unit: bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number of kB") * 1024
}

/// Sixty-four clients that read nothing from backends that send as fast as they can.
#[test]
fn stalled_readers_cost_little_and_disturb_nobody() {
    const STALLED: u64 = 64;
    let (source, echo) = (Backend::start(Vice::Source { seed: 1, bytes: 64 * MIB }), Backend::echo());
    let fronts = [Target::fresh(), Target::fresh()];
    let pools = [
        Pool::new("bulk").listen(&fronts[0]).backend("a", source.target()),
        Pool::new("talk").listen(&fronts[1]).backend("a", echo.target()),
    ];
    let appliance = Appliance::start(&pools.map(|pool| pool.to_string()).concat());
    let mut neighbour = Tunnel::open(&fronts[1]).expect("a tunnel");
    let before = resident(appliance.pid());
    let stalled: Vec<Stream> = (0..STALLED)
        .map(|_| {
            let stream = Stream::connect(&fronts[0], Deadline::patient()).expect("it connects");
            stream.shrink_receive_buffer(4096);
            stream
        })
        .collect();
    appliance.wait_status("all have begun", |status| pool(status, "bulk").connections == STALLED);
    for _ in 0..300 {
        assert_eq!(neighbour.ping(1000), Ok(()));
    }
    assert_eq!(client::echo(&fronts[1], 1, 8 * MIB, Deadline::patient()), Ok(()));
    let grown = resident(appliance.pid()).saturating_sub(before);
    assert!(grown < STALLED * 256 * 1024, "{STALLED} stalled readers cost {grown} bytes of memory");
    drop(stalled);
    appliance.wait_status("all are gone", |status| pool(status, "bulk").connections == 0);
}

#[test]
fn a_flood_of_connects_is_served() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    let mut neighbour = Tunnel::open(&front).expect("a tunnel");
    // All knock before the first is answered.
    let knocking: Vec<_> =
        (0..1000).map(|_| Stream::begin(&front, Deadline::patient()).expect("a SYN can be sent")).collect();
    let mut inside: Vec<Stream> =
        knocking.into_iter().map(|client| client.complete().expect("everybody is let in")).collect();
    for (number, client) in inside.iter_mut().enumerate() {
        let mut answer = [0; 4];
        let outcome = client.send(b"ping").and_then(|()| client.receive_all(&mut answer));
        assert_eq!((outcome, &answer), (Ok(()), b"ping"), "client {number}");
    }
    assert_eq!(neighbour.ping(10), Ok(()));
    let status = appliance.status();
    assert_eq!(pool(&status, "db").connections, 1001);
    let by_shard: Vec<u64> = status.shards.iter().map(|shard| shard.connections).collect();
    let mean = by_shard.iter().sum::<u64>() as f64 / by_shard.len() as f64;
    assert!(by_shard.iter().all(|count| *count as f64 <= mean * 1.10), "unevenly divided: {by_shard:?}");
}

/// Fewer descriptors than clients: those inside go on, those outside are counted, and room is used again.
///
/// Tables are sized by the descriptors that there are, so a full table is met first; running out of
/// descriptors all the same, because something else took them, is the other way to be counted.
#[test]
fn a_full_descriptor_table_disturbs_nobody_inside() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db").listen(&front).backend("a", echo.target());
    let launch = Launch::new(&document.to_string()).wrapped(&["prlimit", "--nofile=256:256"]);
    let appliance = launch.start();
    let mut inside: Vec<Tunnel> = (0..5).map(|_| Tunnel::open(&front).expect("there is room")).collect();
    let crowd: Vec<Tunnel> = (0..300).map(|_| Tunnel::connect(&front).expect("the kernel lets it in")).collect();
    harness::wait::until("the bound is felt", || {
        let text = appliance.metrics();
        let exhausted = metric(&text, "sluicegate_shard_descriptors_exhausted_total", &[]);
        let turned_away = metric(&text, "sluicegate_pool_closed_total", &["reason=\"shard-full\""]);
        if exhausted + turned_away > 0.0 { Ok(()) } else { Err(text) }
    });
    assert_eq!(inside.iter_mut().try_for_each(|tunnel| tunnel.ping(1000)), Ok(()), "those inside were disturbed");
    drop(crowd);
    appliance.wait_status("the crowd is gone", |status| pool(status, "db").connections == 5);
    let mut late = Tunnel::open(&front).expect("there is room again");
    assert_eq!(late.ping(1000), Ok(()));
    assert_eq!(inside.iter_mut().try_for_each(|tunnel| tunnel.ping(1000)), Ok(()));
}

/// The table of connections is full: the next is turned away and counted.
#[test]
fn a_full_connection_table_turns_away_and_is_counted() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let document = Pool::new("db").listen(&front).backend("a", echo.target());
    let appliance = Launch::new(&document.to_string()).shards(1).appliance_keys("connections = 10").start();
    let mut inside: Vec<Tunnel> = (0..10).map(|_| Tunnel::open(&front).expect("there is room")).collect();
    assert!(Tunnel::open(&front).is_err(), "an eleventh was let in");
    assert_eq!(inside.iter_mut().try_for_each(|tunnel| tunnel.ping(10)), Ok(()));
    inside.pop().expect("ten are there").close().expect("a proper end");
    appliance.wait_status("a place is free", |status| pool(status, "db").connections == 9);
    Tunnel::open(&front).expect("the place is given again").close().expect("a proper end");
    let full = format!("reason={:?}", "shard-full");
    assert_eq!(metric(&appliance.metrics(), "sluicegate_pool_closed_total", &[&full]), 1.0);
}

/// A silent backend holds its own clients up and nobody else's.
#[test]
fn silent_backends_hold_up_only_their_own() {
    let (silent, echo) = (Backend::start(Vice::Silent), Backend::echo());
    let fronts = [Target::fresh(), Target::fresh()];
    let pools = [
        Pool::new("silent").listen(&fronts[0]).backend("a", silent.target()),
        Pool::new("talk").listen(&fronts[1]).backend("a", echo.target()),
    ];
    let _appliance = Appliance::start(&pools.map(|pool| pool.to_string()).concat());
    let mut waiting: Vec<Tunnel> = (0..50).map(|_| Tunnel::connect(&fronts[0]).expect("it connects")).collect();
    waiting.iter_mut().for_each(|tunnel| tunnel.stream().send(b"hello?").expect("the bytes are taken"));
    silent.wait_seen("all questions", |seen| seen.received == 300);
    assert_eq!(client::echo(&fronts[1], 1, 4 * MIB, Deadline::patient()), Ok(()));
    let quiet = waiting[0].wait_end(Deadline::after(Duration::from_millis(1)));
    assert!(matches!(quiet, Err(harness::outcome::Failure::TimedOut { .. })), "{quiet:?}");
}
