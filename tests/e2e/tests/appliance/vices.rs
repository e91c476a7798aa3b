//! Backends and clients that behave badly: what the other side sees, and what the log calls it.

use e2e::{Pool, metric, reasons};
use harness::appliance::Appliance;
use harness::backend::{Backend, Deaf, Vice, refusing};
use harness::client::{self, Tunnel};
use harness::net::{Stream, Target};
use harness::outcome::Failure;
use harness::wait::Deadline;
use std::time::Duration;

/// An appliance with one pool that has this one backend.
fn before(backend: &Target) -> (Appliance, Target) {
    let front = Target::fresh();
    let pool = Pool::new("db").listen(&front).backend("bad", backend).keys(".timeouts", "connect = \"300ms\"");
    (Appliance::start(&pool.to_string()), front)
}

/// The one line of the access log says this, and so does the metric of this reason.
#[track_caller]
fn assert_closed(appliance: &Appliance, reason: &str) {
    let log = appliance.wait_access_log(1);
    assert_eq!(reasons(&log), [reason]);
    let text = appliance.metrics();
    let label = format!("reason=\"{reason}\"");
    let closed = metric(&text, "sluicegate_pool_closed_total", &["pool=\"db\"", &label]);
    assert_eq!(closed, 1.0, "no metric counts {reason}:\n{text}");
}

#[test]
fn a_backend_that_refuses() {
    let (appliance, front) = before(&refusing());
    let failure = Tunnel::open(&front).map(drop).expect_err("nobody is there");
    assert!(matches!(failure, Failure::EarlyEnd { received: 0, .. } | Failure::ResetBeforeByte), "{failure}");
    assert_closed(&appliance, "connect-failed");
}

#[test]
fn a_backend_whose_queue_is_full() {
    let deaf = Deaf::start();
    let (appliance, front) = before(deaf.target());
    let failure = Tunnel::open(&front).map(drop).expect_err("nobody answers");
    assert!(matches!(failure, Failure::EarlyEnd { received: 0, .. } | Failure::ResetBeforeByte), "{failure}");
    assert_closed(&appliance, "connect-timeout");
}

#[test]
fn a_backend_that_resets_at_once() {
    let resets = Backend::start(Vice::ResetsOnAccept);
    let (appliance, front) = before(resets.target());
    assert_eq!(Tunnel::open(&front).map(drop), Err(Failure::ResetBeforeByte));
    assert_closed(&appliance, "backend-reset");
}

/// A reset is passed on as a reset: the client must not take half an answer for a whole one.
#[test]
fn a_backend_that_resets_mid_stream() {
    let resets = Backend::start(Vice::ResetsAfter { bytes: 10_000 });
    let (appliance, front) = before(resets.target());
    let mut tunnel = Tunnel::open(&front).expect("the first bytes go well");
    tunnel.ping(10_000 - 64).expect("all of the 10,000 bytes go well");
    let end = tunnel.wait_end(Deadline::patient());
    assert_eq!(end, Err(Failure::ResetMidStream { received: 10_000 }));
    assert_closed(&appliance, "backend-reset");
}

#[test]
fn a_backend_that_closes_with_input_unread() {
    let closes = Backend::start(Vice::ClosesUnread);
    let (appliance, front) = before(closes.target());
    let mut stream = Stream::connect(&front, Deadline::patient()).expect("it connects");
    stream.send(&[1; 1000]).expect("the bytes are taken");
    let outcome = client::drain(&mut stream);
    assert!(outcome.as_ref().is_err_and(Failure::is_reset), "the backend's reset was not passed on: {outcome:?}");
    assert_closed(&appliance, "backend-reset");
}

/// It takes nothing: the client is slowed to a stop, and when nothing moves for long enough the tunnel ends.
#[test]
fn a_backend_that_never_reads() {
    let (stalls, front) = (Backend::start(Vice::Stalls), Target::fresh());
    let pool = Pool::new("db").listen(&front).backend("bad", stalls.target()).keys(".timeouts", "idle = \"1s\"");
    let appliance = Appliance::start(&pool.to_string());
    let mut stream = Stream::connect(&front, Deadline::patient()).expect("it connects");
    let sent = client::pour(&mut stream, 1, u64::MAX);
    assert!(sent.as_ref().is_err_and(Failure::is_reset), "a backend that takes nothing was not felt: {sent:?}");
    assert_closed(&appliance, "idle-timeout");
    let log = appliance.access_log();
    assert!(log[0]["bytes_in"].as_u64() < Some(64 << 20), "{}: more than the buffers on the way can hold", log[0]);
}

#[test]
fn a_backend_that_never_answers() {
    let silent = Backend::start(Vice::Silent);
    let front = Target::fresh();
    let pool = Pool::new("db").listen(&front).backend("bad", silent.target()).keys(".timeouts", "idle = \"300ms\"");
    let appliance = Appliance::start(&pool.to_string());
    let mut tunnel = Tunnel::connect(&front).expect("it connects");
    tunnel.stream().send(b"hello?").expect("the bytes are taken");
    silent.wait_seen("the question", |seen| seen.received == 6);
    let end = tunnel.wait_end(Deadline::patient());
    assert!(end.is_ok() || end.as_ref().is_err_and(Failure::is_reset), "{end:?}");
    assert_closed(&appliance, "idle-timeout");
}

#[test]
fn a_backend_that_trickles() {
    let trickles = Backend::start(Vice::Trickles { seed: 4, bytes: 300, gap: Duration::from_millis(1) });
    let (appliance, front) = before(trickles.target());
    assert_eq!(client::fetch(&front, 4, 300, Deadline::patient()), Ok(()));
    assert_closed(&appliance, "finished");
}

#[test]
fn a_client_that_resets() {
    let echo = Backend::echo();
    let (appliance, front) = before(echo.target());
    Tunnel::open(&front).expect("it goes well").abort();
    let seen = echo.wait_seen("the connection's end", |seen| seen.open == 0 && seen.accepted == 1);
    assert_eq!((seen.reset, seen.ended), (1, 0), "the client's reset was not passed on");
    assert_closed(&appliance, "client-reset");
}

#[test]
fn clients_that_reset_with_bytes_under_way_leave_nothing_behind() {
    let echo = Backend::echo();
    let (appliance, front) = before(echo.target());
    for _ in 0..50 {
        let mut stream = Stream::connect(&front, Deadline::patient()).expect("it connects");
        stream.send(&[1; 200_000]).expect("the bytes are taken");
        stream.abort();
    }
    appliance.wait_status("all are gone", |status| e2e::pool(status, "db").connections == 0);
    assert_eq!(appliance.wait_access_log(50).len(), 50);
    assert_eq!(client::echo(&front, 1, 1 << 20, Deadline::patient()), Ok(()));
}

#[test]
fn another_backend_is_tried_when_a_connect_fails() {
    let (good, deaf, front) = (Backend::echo(), Deaf::start(), Target::fresh());
    let pool = Pool::new("db")
        .listen(&front)
        .backend("refuses", &refusing())
        .backend("hangs", deaf.target())
        .backend("good", good.target())
        .keys(".timeouts", "connect = \"100ms\"");
    let appliance = Appliance::start(&pool.to_string());
    for _ in 0..12 {
        Tunnel::open(&front).expect("a backend that cannot be reached is passed over").close().expect("a proper end");
    }
    assert_eq!(good.seen().accepted, 12);
    let log = appliance.wait_access_log(12);
    assert_eq!(reasons(&log), ["finished"; 12]);
    let attempts: Vec<u64> = log.iter().filter_map(|line| line["attempts"].as_u64()).collect();
    assert!(attempts.contains(&3), "nobody was tried before the good one: {attempts:?}");
    assert!(attempts.iter().all(|attempts| (1..=3).contains(attempts)), "{attempts:?}");
}

#[test]
fn no_more_backends_are_tried_than_allowed() {
    let (good, front) = (Backend::echo(), Target::fresh());
    let pool = Pool::new("db")
        .listen(&front)
        .backend_with("refuses", &refusing(), "weight = 1000")
        .backend_with("good", good.target(), "weight = 1")
        .keys(".group.main", "attempts = 1");
    let appliance = Appliance::start(&pool.to_string());
    assert!(Tunnel::open(&front).is_err());
    let log = appliance.wait_access_log(1);
    assert_eq!((&log[0]["reason"], &log[0]["attempts"]), (&"connect-failed".into(), &1.into()));
}

#[test]
fn a_pool_without_backends_says_so() {
    let front = Target::fresh();
    let appliance = Appliance::start(&Pool::new("db").listen(&front).to_string());
    assert!(Tunnel::open(&front).is_err());
    assert_closed(&appliance, "no-backend");
}
