//! The polite end of a shard.

use crate::rig::peers::Backend;
use crate::rig::site::Site;
use crate::rig::{PATIENCE, Rig};
use policy::close::CloseReason;
use policy::ids::ListenerSlot;
use policy::reload::{Order, Report};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_stop_waits_for_what_is_open() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    let (mut client, mut served) = (rig.connect(0), backend.accept());
    rig.order_stop(PATIENCE);
    rig.order_all(Order::Close { listener: ListenerSlot(0) });
    rig.await_listener_closed(0, 0);
    client.say(b"to the end");
    served.hear(b"to the end");
    let stopped = rig.reports_so_far(|_, report| matches!(report, Report::Stopped).then_some(()));
    assert!(stopped.is_empty(), "with a tunnel open");
    drop((client, served));
    rig.closed(CloseReason::Finished);
    rig.await_stopped();
}

#[test]
fn the_deadline_ends_what_is_left_politely() {
    let backend = Backend::new();
    let mut rig = Rig::of_two(Site::of(&[backend.address()]));
    let mut tunnels: Vec<_> = (0..10).map(|_| (rig.connect(0), backend.accept())).collect();
    let began = Instant::now();
    rig.order_stop(SOON);
    for (client, served) in &mut tunnels {
        client.hear_end();
        served.hear_end();
    }
    // The deadline was told in whole milliseconds.
    assert!(began.elapsed() >= SOON - Duration::from_millis(1), "never early");
    drop(tunnels);
    for _ in 0..10 {
        rig.closed(CloseReason::Stopped);
    }
    rig.await_stopped();
}

/// The address was not closed by then, and what came out of it later was served without end.
#[test]
fn whoever_comes_out_of_a_queue_after_the_deadline_is_told_so() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]).edited(|pool| pool.max_connections = Some(1)));
    let (mut client, served) = (rig.connect(0), backend.accept());
    let mut waiting = rig.connect(0);
    rig.order_stop(Duration::ZERO);
    client.hear_end();
    waiting.hear_end();
    drop((client, served, waiting));
    rig.await_stopped();
}

#[test]
fn a_suspended_shard_serves_its_queue_before_it_stops() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    rig.order(0, Order::Suspend);
    rig.settle();
    let mut queued: Vec<_> = (0..3).map(|_| rig.connect(0)).collect();
    rig.order_stop(PATIENCE);
    for client in &mut queued {
        client.say(b"in time");
        backend.accept().hear(b"in time");
    }
    rig.order_all(Order::Close { listener: ListenerSlot(0) });
    drop(queued);
    rig.await_stopped();
}

/// Orders come again: a control that has restarted cannot know.
#[test]
fn a_stop_may_be_ordered_twice() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    let (mut client, served) = (rig.connect(0), backend.accept());
    rig.order_stop(PATIENCE);
    rig.order_stop(Duration::ZERO);
    client.hear_end();
    drop((client, served));
    rig.await_stopped();
}
