//! Time-outs of open tunnels: when they end one, how, and that a change of them reaches those that are open.

use crate::rig::Rig;
use crate::rig::peers::{Backend, Stream};
use crate::rig::site::{Pool, Site};
use policy::close::CloseReason;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(50);

fn tunnel(edit: impl FnOnce(&mut Pool)) -> (Rig, Stream, Stream) {
    let backend = Backend::new();
    let rig = Rig::new(Site::of(&[backend.address()]).edited(edit));
    let client = rig.connect(0);
    let served = backend.accept();
    (rig, client, served)
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends_politely() {
    let began = Instant::now();
    let (mut rig, mut client, mut served) = tunnel(|pool| pool.timeouts.idle = Some(SOON));
    client.hear_end();
    assert!(began.elapsed() >= SOON, "never early");
    served.hear_end();
    client.end();
    rig.closed(CloseReason::IdleTimeout);
    rig.stop();
}

#[test]
fn what_moves_either_way_keeps_a_tunnel_open() {
    let (mut rig, mut client, mut served) = tunnel(|pool| pool.timeouts.idle = Some(SOON * 10));
    let began = Instant::now();
    while began.elapsed() < SOON * 25 {
        client.say(b"ping");
        served.hear(b"ping");
        // The other way alone counts as well.
        served.say(b"pong");
        client.hear(b"pong");
    }
    drop((client, served));
    rig.closed(CloseReason::Finished);
    rig.stop();
}

#[test]
fn a_tunnel_ends_with_its_lifetime_however_busy_it_is() {
    let began = Instant::now();
    let (mut rig, mut client, mut served) = tunnel(|pool| pool.timeouts.lifetime = Some(SOON));
    let pouring = std::thread::spawn(move || {
        let block = [0; 1024];
        while std::io::Write::write_all(&mut served.0, &block).is_ok() {}
    });
    let _ = client.hear_all();
    assert!(began.elapsed() >= SOON, "never early");
    rig.closed(CloseReason::LifetimeTimeout);
    pouring.join().unwrap();
    rig.stop();
}

/// It got an end, and took half an answer for the whole.
#[test]
fn a_reader_that_stalls_for_too_long_is_cut_off_and_told_so() {
    let (mut rig, mut client, mut served) = tunnel(|pool| pool.timeouts.idle = None);
    let said = served.pour();
    rig.apply(|site| site.pool().timeouts.idle = Some(SOON));
    rig.closed(CloseReason::IdleTimeout);
    let (heard, end) = client.hear_all();
    assert!(heard < said, "{heard} of {said}");
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    rig.stop();
}

#[test]
fn a_backend_that_stalls_for_too_long_is_told_that_half_a_question_is_half() {
    let (mut rig, mut client, mut served) = tunnel(|pool| pool.timeouts.idle = None);
    client.pour();
    rig.apply(|site| site.pool().timeouts.idle = Some(SOON));
    rig.closed(CloseReason::IdleTimeout);
    assert_eq!(served.hear_all().1, Err(ErrorKind::ConnectionReset));
    rig.stop();
}

#[test]
fn shorter_time_outs_reach_open_tunnels() {
    let (mut rig, mut client, served) = tunnel(|pool| pool.timeouts.idle = None);
    rig.apply(|site| site.pool().timeouts.idle = Some(SOON));
    client.hear_end();
    client.end();
    rig.closed(CloseReason::IdleTimeout);
    drop(served);
    let (mut rig, mut client, served) = tunnel(|pool| pool.timeouts.idle = None);
    rig.apply(|site| site.pool().timeouts.lifetime = Some(SOON));
    client.hear_end();
    client.end();
    rig.closed(CloseReason::LifetimeTimeout);
    drop(served);
    rig.stop();
}

#[test]
fn longer_time_outs_reach_open_tunnels() {
    const FORMER: Duration = Duration::from_millis(500);
    let (mut rig, mut client, mut served) = tunnel(|pool| pool.timeouts.idle = Some(FORMER));
    rig.apply(|site| site.pool().timeouts.idle = None);
    // A second tunnel of the former kind would end now; this one is asked after that.
    let began = Instant::now();
    rig.until("the former time-out would be over", |_| began.elapsed() > 2 * FORMER);
    client.say(b"open");
    served.hear(b"open");
    drop((client, served));
    rig.closed(CloseReason::Finished);
    rig.stop();
}

#[test]
fn a_tunnel_whose_pool_is_gone_keeps_what_it_had() {
    let (mut rig, mut client, served) = tunnel(|pool| pool.timeouts.idle = Some(SOON * 10));
    rig.apply(|site| site.pools.clear());
    client.hear_end();
    client.end();
    rig.closed(CloseReason::IdleTimeout);
    drop(served);
    rig.close_address(0);
    rig.stop();
}
