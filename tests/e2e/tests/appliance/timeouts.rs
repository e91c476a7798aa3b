//! Time-outs, and how a change of one reaches tunnels that are open.

use e2e::{Pool, reasons};
use harness::appliance::Appliance;
use harness::backend::Backend;
use harness::client::Tunnel;
use harness::net::Target;
use harness::outcome::Failure;
use harness::wait::Deadline;
use std::time::{Duration, Instant};

fn pool(front: &Target, echo: &Backend, timeouts: &str) -> String {
    Pool::new("db").listen(front).backend("a", echo.target()).keys(".timeouts", timeouts).to_string()
}

/// The tunnel is ended from the other side, by an end or a reset.
#[track_caller]
fn assert_ended(tunnel: &mut Tunnel) {
    let end = tunnel.wait_end(Deadline::patient());
    assert!(end.is_ok() || end.as_ref().is_err_and(Failure::is_reset), "{end:?}");
}

#[test]
fn an_idle_tunnel_is_ended_and_a_busy_one_is_not() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&pool(&front, &echo, "idle = \"400ms\""));
    let (mut idle, mut busy) = (Tunnel::open(&front).expect("opens"), Tunnel::open(&front).expect("opens"));
    let begin = Instant::now();
    // Three times the idle time-out, with never more than a part of it between two bytes.
    while begin.elapsed() < Duration::from_millis(1200) {
        busy.ping(10).expect("a busy tunnel is not idle");
        let pause = busy.wait_end(Deadline::after(Duration::from_millis(50)));
        assert!(matches!(pause, Err(Failure::TimedOut { .. })), "a busy tunnel was ended: {pause:?}");
    }
    assert_ended(&mut idle);
    assert_eq!(reasons(&appliance.wait_access_log(1)), ["idle-timeout"]);
    busy.close().expect("a proper end");
    let log = appliance.wait_access_log(2);
    assert_eq!(reasons(&log), ["finished", "idle-timeout"]);
    let idle = log.iter().find(|line| line["reason"] == "idle-timeout").expect("it is there");
    assert!(idle["duration_micros"].as_u64() >= Some(400_000), "ended too early: {idle}");
}

#[test]
fn a_tunnel_ends_with_its_lifetime_however_busy() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&pool(&front, &echo, "lifetime = \"500ms\""));
    let mut tunnel = Tunnel::open(&front).expect("opens");
    let deadline = Deadline::patient();
    while tunnel.ping(10).is_ok() {
        assert!(!deadline.passed(), "the tunnel outlives its lifetime");
    }
    let log = appliance.wait_access_log(1);
    assert_eq!(log[0]["reason"], "lifetime-timeout");
    assert!(log[0]["duration_micros"].as_u64() >= Some(500_000), "ended too early: {}", log[0]);
}

/// The reach of time-outs is the next timer tick of tunnels that are open.
#[test]
fn a_shorter_time_out_reaches_open_tunnels() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&pool(&front, &echo, "idle = \"1h\""));
    let mut tunnel = Tunnel::open(&front).expect("opens");
    appliance.apply(&pool(&front, &echo, "idle = \"200ms\""));
    assert_ended(&mut tunnel);
    assert_eq!(reasons(&appliance.wait_access_log(1)), ["idle-timeout"]);
}

#[test]
fn a_longer_time_out_reaches_open_tunnels() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&pool(&front, &echo, "idle = \"1500ms\""));
    let mut tunnel = Tunnel::open(&front).expect("opens");
    appliance.apply(&pool(&front, &echo, "idle = \"1h\""));
    let end = tunnel.wait_end(Deadline::after(Duration::from_millis(2500)));
    assert!(matches!(end, Err(Failure::TimedOut { .. })), "the old time-out still held: {end:?}");
    assert_eq!(tunnel.ping(10), Ok(()));
}
