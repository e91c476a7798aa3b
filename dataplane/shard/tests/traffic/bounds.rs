//! Bounds: reaching one is counted, said, and no neighbour's business.

use crate::rig::peers::{Backend, Stream};
use crate::rig::site::Site;
use crate::rig::{Options, Rig};
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use shard::bounds::Bounds;
use std::io::{ErrorKind, Write};

fn rig_with(bounds: impl FnOnce(&mut Bounds), site: Site) -> Rig {
    let mut options = Options::default();
    bounds(&mut options.bounds);
    Rig::with(options, site)
}

#[test]
fn a_full_table_turns_the_next_one_away_and_says_so() {
    let backend = Backend::new();
    let mut rig = rig_with(|bounds| bounds.connections = 2, Site::of(&[backend.address()]));
    let mut tunnels: Vec<_> = (0..2).map(|_| (rig.connect(0), backend.accept())).collect();
    let mut third = rig.connect(0);
    third.hear_end();
    let record = rig.closed(CloseReason::ShardFull);
    assert_eq!((record.endpoint, record.attempts), (None, 0));
    for (client, served) in &mut tunnels {
        client.say(b"unmoved");
        served.hear(b"unmoved");
    }
    drop(tunnels.pop());
    rig.closed(CloseReason::Finished);
    rig.until("its slot is free", |rig| rig.shard(0, ShardCounter::Connections) == 1);
    let fourth = (rig.connect(0), backend.accept());
    drop((fourth, tunnels));
    rig.stop();
}

/// Many receive at once, and there are two buffers: each gets its turn.
#[test]
fn with_fewer_buffers_than_receivers_everybody_gets_on() {
    const CLIENTS: usize = 40;
    const EACH: usize = 1 << 20;
    let mut rig = rig_with(
        |bounds| {
            bounds.buffers = 2;
            // No way round the buffers.
            bounds.pipes = 0;
        },
        Site::of(&[Backend::new().echoing()]),
    );
    let clients: Vec<_> = (0..CLIENTS).map(|_| rig.connect(0)).collect();
    let running = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            let mut writer = client.other_half();
            let writing = std::thread::spawn(move || {
                writer.0.write_all(&vec![5; EACH]).unwrap();
                writer.end();
            });
            assert_eq!(client.hear_all(), (EACH, Ok(())));
            writing.join().unwrap();
        })
    });
    running.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    assert!(rig.shard(0, ShardCounter::NoBuffers) > 0, "the bound was met");
    for _ in 0..CLIENTS {
        rig.closed(CloseReason::Finished);
    }
    rig.stop();
}

/// Whoever found a buffer was always first to ask for the next one, and one that had found none starved.
#[test]
fn a_receiver_without_a_buffer_is_first_in_the_next_turn() {
    const HOT: usize = 8;
    let backend = Backend::new();
    let mut rig = rig_with(
        |bounds| {
            bounds.buffers = 2;
            bounds.pipes = 0;
        },
        Site::of(&[backend.address()]),
    );
    let hot: Vec<(Stream, Stream)> = (0..HOT).map(|_| (rig.connect(0), backend.accept())).collect();
    let quiet: Vec<(Stream, Stream)> = (0..4).map(|_| (rig.connect(0), backend.accept())).collect();
    let pouring: Vec<_> = hot
        .into_iter()
        .map(|(mut client, mut served)| {
            let reading = std::thread::spawn(move || served.hear_all());
            std::thread::spawn(move || {
                let block = vec![1; 256 << 10];
                while client.0.write_all(&block).is_ok() {}
                reading.join().unwrap()
            })
        })
        .collect();
    rig.until("the bound is met", |rig| rig.shard(0, ShardCounter::NoBuffers) > 100);
    for (mut client, mut served) in quiet {
        for _ in 0..20 {
            client.say(b"small");
            served.hear(b"small");
        }
        client.reset();
    }
    rig.order_stop(std::time::Duration::ZERO);
    for pouring in pouring {
        let _ = pouring.join().unwrap();
    }
    rig.await_stopped();
}

#[test]
fn a_pool_that_has_used_up_its_memory_cuts_off_who_needs_more() {
    let backend = Backend::new();
    let site = Site::of(&[backend.address()]).edited(|pool| pool.memory = 20 << 10);
    // Without pipes every stalled reader has bytes in our hands.
    let mut rig = rig_with(|bounds| bounds.pipes = 0, site);
    let (mut first, mut first_served) = (rig.connect(0), backend.accept());
    first_served.pour();
    rig.until("the first one holds", |rig| rig.pool(0, PoolCounter::BufferBytes) > 0);
    let mut cut = Vec::new();
    // What one of them holds is what its reader left of a buffer, so it takes two or more to need too much.
    while rig.ended(0, CloseReason::MemoryBudget) == 0 {
        assert!(cut.len() < 40, "{} bytes held", rig.pool(0, PoolCounter::BufferBytes));
        let (client, mut served) = (rig.connect(0), backend.accept());
        served.pour_until_cut();
        cut.push((client, served));
    }
    let (mut client, _served) = cut.pop().unwrap();
    assert_eq!(client.hear_all().1, Err(ErrorKind::ConnectionReset), "half is not the whole");
    first.say(b"unmoved");
    first_served.hear(b"unmoved");
    drop((first, first_served, cut, client));
    rig.until("all have ended", |rig| rig.pool(0, PoolCounter::Connections) == 0);
    rig.stop();
}
