//! The harness must be able to see each failure before it may say there was none.
//!
//! Clients meet each vice directly, and a good backend through a plain relay of two threads a connection; a
//! relay with one planted mistake must be caught.

use harness::backend::{Backend, Deaf, Vice, refusing};
use harness::churn::{Churn, Doors};
use harness::client::{self, Tunnel};
use harness::fleet::Fleet;
use harness::net::Target;
use harness::outcome::Failure;
use harness::wait::Deadline;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;

#[test]
fn good_backends_are_seen_as_good() {
    let echo = Backend::echo();
    let source = Backend::start(Vice::Source { seed: 5, bytes: 3 * MIB });
    let sink = Backend::start(Vice::Sink);
    let trickle = Backend::start(Vice::Trickles { seed: 6, bytes: 50, gap: Duration::from_millis(1) });
    for via in [Relay::none, Relay::faithful] {
        let (to_echo, to_source, to_sink, to_trickle) =
            (via(echo.target()), via(source.target()), via(sink.target()), via(trickle.target()));
        assert_eq!(client::echo(to_echo.target(), 1, 3 * MIB, Deadline::patient()), Ok(()));
        assert_eq!(client::fetch(to_source.target(), 5, 3 * MIB, Deadline::patient()), Ok(()));
        assert_eq!(client::push(to_sink.target(), 7, 3 * MIB, Deadline::patient()), Ok(()));
        assert_eq!(client::fetch(to_trickle.target(), 6, 50, Deadline::patient()), Ok(()));
    }
    assert_eq!(echo.wait_seen("both connections ended", |seen| seen.ended == 2).received, 6 * MIB);
}

#[test]
fn ipv6_and_unix_carry_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for target in [Target::fresh_v6(), Target::Unix(folder.path().join("echo.sock"))] {
        let _echo = Backend::at(Vice::Echo, &target);
        assert_eq!(client::echo(&target, 1, MIB, Deadline::patient()), Ok(()), "{target}");
    }
}

#[test]
fn each_vice_has_its_name() {
    let open = |target: &Target| Tunnel::open(target).map(drop);
    assert_eq!(open(&refusing()), Err(Failure::Refused));
    assert_eq!(open(&Target::Unix("/nowhere/at.all".into())), Err(Failure::Refused));
    assert_eq!(open(Backend::start(Vice::ResetsOnAccept).target()), Err(Failure::ResetBeforeByte));
    assert_eq!(
        client::echo(Backend::start(Vice::ClosesUnread).target(), 1, 3, Deadline::patient()).map_err(|f| f.class()),
        Err("wrong data")
    );

    let resets = Backend::start(Vice::ResetsAfter { bytes: 1000 });
    let mut tunnel = Tunnel::open(resets.target()).expect("64 of 1000 bytes");
    tunnel.ping(936).expect("all of the 1000 bytes");
    let reset = tunnel.wait_end(Deadline::patient()).expect_err("it does not end, it resets");
    assert_eq!(reset, Failure::ResetMidStream { received: 1000 });

    let early = Backend::start(Vice::EndsEarly { after: 64 });
    let mut tunnel = Tunnel::open(early.target()).expect("the first 64 bytes");
    assert_eq!(tunnel.ping(1), Err(Failure::EarlyEnd { received: 64, expected: 65 }));

    let short = Backend::start(Vice::Source { seed: 1, bytes: 10 });
    let fetch = |seed, bytes| client::fetch(short.target(), seed, bytes, Deadline::patient());
    assert_eq!(fetch(1, 11), Err(Failure::EarlyEnd { received: 10, expected: 11 }));
    assert_eq!(fetch(1, 9), Err(Failure::Surplus { expected: 9 }));
    assert_eq!(fetch(2, 10).map_err(|failure| failure.class()), Err("wrong data"));
}

#[test]
fn what_never_answers_times_out() {
    let soon = || Deadline::after(Duration::from_millis(100));
    for vice in [Vice::Stalls, Vice::Silent] {
        let backend = Backend::start(vice);
        let outcome = client::echo(backend.target(), 1, 10, soon());
        assert_eq!(outcome, Err(Failure::TimedOut { doing: "receive", received: 0 }), "{vice:?}");
    }
    let stalls = Backend::start(Vice::Stalls);
    let outcome = client::push(stalls.target(), 1, 64 * MIB, soon());
    assert_eq!(outcome, Err(Failure::TimedOut { doing: "send", received: 0 }));
    let deaf = Deaf::start();
    let outcome = client::push(deaf.target(), 1, 1, soon());
    assert_eq!(outcome, Err(Failure::TimedOut { doing: "connect", received: 0 }));
}

#[test]
fn a_backend_knows_how_its_client_left() {
    let echo = Backend::echo();
    Tunnel::open(echo.target()).expect("opens").close().expect("ends");
    Tunnel::open(echo.target()).expect("opens").abort();
    let seen = echo.wait_seen("both have left", |seen| seen.accepted == 2 && seen.open == 0);
    assert_eq!((seen.ended, seen.reset), (1, 1));
}

#[test]
fn fleet_and_churn_see_nothing_wrong_through_a_faithful_relay() {
    let echo = Backend::echo();
    let relay = Relay::faithful(echo.target());
    let fleet = Fleet::start(&[relay.target().clone(), echo.target().clone()], 20, 1);
    let churn = Churn::start(&Doors::new(&[relay.target().clone()]), 2, 2);
    churn.wait_more(50);
    fleet.all_again();
    churn.finish().assert_clean();
    let tally = fleet.finish();
    tally.assert_clean();
    assert_eq!(tally.complete, 20);
}

#[test]
fn fleet_and_churn_see_a_relay_that_changes_one_byte() {
    let echo = Backend::echo();
    let relay = Relay::that_changes_a_byte(echo.target());
    let fleet = Fleet::start(&[relay.target().clone()], 5, 1);
    let churn = Churn::start(&Doors::new(&[relay.target().clone()]), 2, 2);
    churn.wait_more(200);
    assert!(churn.finish().count("wrong data") > 0, "no client of the churn saw the changed byte");
    harness::wait::until("the fleet sees a changed byte", || if fleet.failed() > 0 { Ok(()) } else { Err("not yet") });
    assert!(fleet.finish().count("wrong data") > 0);
}

#[test]
fn fleet_and_churn_see_connections_cut() {
    let resets = Backend::start(Vice::ResetsAfter { bytes: 3000 });
    let fleet = Fleet::start(&[resets.target().clone()], 5, 1);
    let churn = Churn::start(&Doors::new(&[resets.target().clone()]), 2, 2);
    churn.wait_more(50);
    let tally = churn.finish();
    assert!(tally.count("reset mid-stream") + tally.count("reset before a byte") > 0, "{tally}");
    harness::wait::until("all of the fleet is cut", || if fleet.failed() == 5 { Ok(()) } else { Err(fleet.failed()) });
}

#[test]
fn fleet_and_churn_see_an_end_that_comes_too_early() {
    let early = Backend::start(Vice::EndsEarly { after: 5000 });
    let fleet = Fleet::start(&[early.target().clone()], 5, 1);
    harness::wait::until("all of the fleet is cut", || if fleet.failed() == 5 { Ok(()) } else { Err(fleet.failed()) });
    assert_eq!(fleet.finish().count("early end"), 5);
}

#[test]
fn a_closed_door_is_not_knocked_at() {
    let (stays, goes) = (Backend::echo(), Backend::echo());
    let doors = Doors::new(&[stays.target().clone(), goes.target().clone()]);
    let churn = Churn::start(&doors, 2, 1);
    goes.wait_seen("somebody knocks", |seen| seen.accepted > 0);
    doors.close(goes.target());
    goes.wait_seen("all have left", |seen| seen.open == 0);
    let before = goes.seen().accepted;
    churn.wait_more(50);
    assert_eq!(goes.seen().accepted, before);
    churn.finish().assert_clean();
}

/// Two threads a connection and nothing clever; or nothing at all.
struct Relay {
    target: Target,
}

impl Relay {
    fn none(to: &Target) -> Relay {
        Relay { target: to.clone() }
    }

    fn faithful(to: &Target) -> Relay {
        Relay::start(to, |_| {})
    }

    /// Every 200,000th byte or so.
    fn that_changes_a_byte(to: &Target) -> Relay {
        let carried = Arc::new(AtomicU64::new(0));
        Relay::start(to, move |piece| {
            let before = carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if before / 200_000 != (before + piece.len() as u64) / 200_000 {
                piece[0] ^= 1;
            }
        })
    }

    /// Its threads end with the test process.
    fn start(to: &Target, meddle: impl Fn(&mut [u8]) + Send + Clone + 'static) -> Relay {
        let target = Target::fresh();
        let listener = TcpListener::bind(target.ip()).expect("a fresh address is free");
        let to = to.ip();
        std::thread::spawn(move || {
            for front in listener.incoming().flatten() {
                let Ok(back) = TcpStream::connect(to) else {
                    continue;
                };
                for (from, into) in [(&front, &back), (&back, &front)] {
                    let (from, into) = (from.try_clone(), into.try_clone());
                    let (from, into) = (from.expect("a free descriptor"), into.expect("a free descriptor"));
                    let meddle = meddle.clone();
                    std::thread::spawn(move || carry(from, into, meddle));
                }
            }
        });
        Relay { target }
    }

    fn target(&self) -> &Target {
        &self.target
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, meddle: impl Fn(&mut [u8])) {
    let mut buffer = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        meddle(&mut buffer[..count]);
        if into.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The other direction may have broken already.
    let _ = into.shutdown(Shutdown::Write);
}
