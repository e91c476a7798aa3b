//! Signals: SIGHUP is `reload` is `apply`; the ways to stop.

use api::order::{Stop, StopMode};
use api::receipt::{JobOutcome, Source};
use api::{Body, Order, Progress, Reply};
use e2e::{Pool, pool, reasons};
use harness::appliance::{Appliance, Launch};
use harness::backend::Backend;
use harness::client::Tunnel;
use harness::net::{Stream, Target};
use harness::outcome::Failure;
use harness::wait::{Deadline, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

struct Site {
    echo: Backend,
    front: Target,
}

impl Site {
    fn new() -> Site {
        Site { echo: Backend::echo(), front: Target::fresh() }
    }

    fn pool(&self, weight: u32) -> String {
        Pool::new("db")
            .listen(&self.front)
            .backend_with("a", self.echo.target(), &format!("weight = {weight}"))
            .to_string()
    }

    fn open(&self) -> Tunnel {
        Tunnel::open(&self.front).expect("it opens")
    }
}

fn weight(appliance: &Appliance) -> u32 {
    e2e::backend(&appliance.status(), "a").weight
}

/// Three ways to apply the same file end in the same place.
#[test]
fn sighup_and_reload_and_apply_are_the_same() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1));
    let mut tunnel = site.open();

    appliance.write_document(&site.pool(2));
    appliance.signal(Signal::HUP);
    let status = appliance.wait_status("the file is applied", |status| e2e::backend(status, "a").weight == 2);
    let by_signal = appliance.receipt(status.generation);
    assert_eq!((by_signal.source, by_signal.outcome), (Source::Sighup, JobOutcome::Applied));
    let hash_by_signal = status.hash;

    appliance.apply(&site.pool(1));
    appliance.write_document(&site.pool(2));
    let by_reload = appliance.change(Order::Reload(api::order::Reload::default())).expect("the file is right");
    assert_eq!((by_reload.source, by_reload.outcome, weight(&appliance)), (Source::Socket, JobOutcome::Applied, 2));
    let hash_by_reload = appliance.status().hash;

    appliance.apply(&site.pool(1));
    let by_apply = appliance.apply(&site.pool(2));
    assert_eq!(by_apply.outcome, JobOutcome::Applied);
    assert_eq!([hash_by_signal, hash_by_reload], [(); 2].map(|()| appliance.status().hash));
    let fields = |receipt: &api::Receipt| {
        receipt
            .plan
            .clone()
            .expect("it had a plan")
            .changes
            .iter()
            .map(|change| change.path.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&by_signal), fields(&by_reload));
    assert_eq!(fields(&by_signal), fields(&by_apply));
    assert_eq!(tunnel.ping(100), Ok(()));

    assert_eq!(
        appliance.change(Order::Reload(api::order::Reload::default())).expect("the file is right").outcome,
        JobOutcome::Unchanged
    );
}

#[test]
fn sighup_with_a_mistaken_file_changes_nothing_and_is_told() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1));
    let mut tunnel = site.open();
    let before = appliance.status();
    appliance.write_document("[pool.db.create]\nservise = \"tcp\"\n");
    appliance.signal(Signal::HUP);
    until("the mistake is told", || {
        let output = appliance.output().join("\n");
        if output.contains("servise") { Ok(()) } else { Err(output) }
    });
    let failure = appliance.change(Order::Reload(api::order::Reload::default())).expect_err("the file is still wrong");
    assert_eq!(failure.code, api::ErrorCode::InvalidConfiguration);
    assert_eq!(appliance.status().generation, before.generation);
    assert_eq!(tunnel.ping(100), Ok(()));
}

/// Nobody new is let in; those inside end by themselves, and then it ends.
#[test]
fn sigterm_lets_tunnels_end_by_themselves() {
    let site = Site::new();
    let mut appliance = Launch::new(&site.pool(1)).appliance_keys("stop_grace = \"60s\"").start();
    let (mut first, mut second) = (site.open(), site.open());
    let begin = Instant::now();
    appliance.signal(Signal::TERM);
    until("nobody is let in", || match Stream::connect(&site.front, Deadline::patient()) {
        Err(Failure::Refused) => Ok(()),
        Err(other) => Err(other.to_string()),
        Ok(_) => Err("somebody was let in".to_owned()),
    });
    assert_eq!((first.ping(1000), second.ping(1000)), (Ok(()), Ok(())));
    first.close().expect("a proper end");
    assert_eq!(second.ping(1000), Ok(()));
    assert!(appliance.status().stopping);
    second.close().expect("a proper end");
    let status = appliance.wait_exit(Deadline::patient());
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert!(begin.elapsed() < Duration::from_secs(50), "it waited for its grace time although nobody was left");
    assert!(!appliance.control_socket().exists(), "the control socket is left behind");
    let log = appliance.access_log();
    assert!(log.len() >= 2 && reasons(&log[log.len() - 2..]) == ["finished", "finished"], "{log:?}");
}

#[test]
fn the_grace_time_has_an_end() {
    let site = Site::new();
    let mut appliance = Launch::new(&site.pool(1)).appliance_keys("stop_grace = \"500ms\"").start();
    let mut tunnel = site.open();
    appliance.signal(Signal::TERM);
    let status = appliance.wait_exit(Deadline::patient());
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    let end = tunnel.wait_end(Deadline::patient());
    assert!(end.is_ok() || end.as_ref().is_err_and(Failure::is_reset), "{end:?}");
    assert_eq!(reasons(&appliance.access_log()), ["stopped"]);
}

/// Twice SIGTERM, twice SIGINT, or one of each.
#[test]
fn the_second_signal_stops_at_once() {
    for [first, second] in [[Signal::TERM, Signal::TERM], [Signal::INT, Signal::INT], [Signal::TERM, Signal::INT]] {
        let site = Site::new();
        let mut appliance = Launch::new(&site.pool(1)).appliance_keys("stop_grace = \"1h\"").start();
        let mut tunnel = site.open();
        appliance.signal(first);
        appliance.wait_status("it is stopping", |status| status.stopping);
        assert_eq!(tunnel.ping(10), Ok(()));
        appliance.signal(second);
        let status = appliance.wait_exit(Deadline::patient());
        assert!(status.is_some(), "still running after {first:?} and {second:?}");
    }
}

#[test]
fn the_stop_order_tells_how_many_are_left() {
    let site = Site::new();
    let mut appliance = Appliance::start(&site.pool(1));
    let tunnel = site.open();
    let mut client = appliance.client();
    client
        .send(Order::Stop(Stop { mode: StopMode::Graceful, deadline_millis: Some(60_000) }))
        .expect("an order can be sent");
    let first = client.receive(Some(harness::wait::PATIENCE)).expect("an answer").answer.reply;
    assert_eq!(first, Reply::Processing { progress: Progress::Stopping { connections: 1 } });
    tunnel.close().expect("a proper end");
    let last = loop {
        match client.receive(Some(harness::wait::PATIENCE)).expect("an answer").answer.reply {
            Reply::Processing { .. } => {}
            last => break last,
        }
    };
    assert!(
        matches!(&last, Reply::Ok { result: Body::Stopped(stopped) } if stopped.closed_connections == 0),
        "{last:?}"
    );
    let status = appliance.wait_exit(Deadline::patient());
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn the_stop_order_may_be_now() {
    let site = Site::new();
    let mut appliance = Appliance::start(&site.pool(1));
    let _tunnels: Vec<Tunnel> = (0..3).map(|_| site.open()).collect();
    appliance.wait_status("three are inside", |status| pool(status, "db").connections == 3);
    let stopped = appliance.call(Order::Stop(Stop { mode: StopMode::Now, deadline_millis: None }));
    assert!(matches!(&stopped, Ok(Body::Stopped(stopped)) if stopped.closed_connections == 3), "{stopped:?}");
    let status = appliance.wait_exit(Deadline::patient());
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert_eq!(reasons(&appliance.access_log()), ["stopped"; 3]);
}
