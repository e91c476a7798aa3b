//! Listen addresses come and go while clients connect.

use api::status::ListenerState;
use api::{ErrorCode, Happening};
use e2e::{Pool, pool};
use harness::appliance::{Appliance, tell};
use harness::backend::{Backend, Vice};
use harness::client::{self, Tunnel};
use harness::net::{Stream, Target};
use harness::outcome::Failure;
use harness::wait::{Deadline, until};
use rustix::process::Signal;
use std::thread;

fn document(echo: &Backend, listen: &[&Target]) -> String {
    let pool = Pool::new("db").backend("a", echo.target());
    listen.iter().fold(pool, |pool, address| pool.listen(address)).to_string()
}

/// Waits until nobody is let in there any more.
fn wait_refusing(address: &Target) {
    until("the removed address refuses", || match Stream::connect(address, Deadline::patient()) {
        Err(Failure::Refused) => Ok(()),
        Err(other) => Err(other.to_string()),
        Ok(_) => Err("it still lets somebody in".to_owned()),
    });
}

#[test]
fn an_added_address_serves_and_a_removed_one_lets_nobody_in() {
    let (echo, stays, comes) = (Backend::echo(), Target::fresh(), Target::fresh());
    let appliance = Appliance::start(&document(&echo, &[&stays]));
    assert_eq!(Tunnel::open(&comes).map(drop), Err(Failure::Refused));
    for _ in 0..3 {
        appliance.apply(&document(&echo, &[&stays, &comes]));
        // The answer says that it serves: no client waits for it.
        let mut tunnel = Tunnel::open(&comes).expect("the added address serves");
        let mut events = appliance.events();
        appliance.apply(&document(&echo, &[&stays]));
        events.wait("the address is closed", |event| {
            matches!(&event.happening, Happening::Listener { address, state: ListenerState::Closed, .. } if *address == comes.to_string())
        });
        wait_refusing(&comes);
        assert_eq!(tunnel.ping(1000), Ok(()), "a tunnel does not live on its listen address");
        assert_eq!(client::echo(&stays, 1, 100_000, Deadline::patient()), Ok(()));
        tunnel.close().expect("a proper end");
    }
}

#[test]
fn addresses_of_every_family_come_and_go() {
    let (echo, stays) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&document(&echo, &[&stays]));
    let path = appliance.folder().join("front.sock");
    for comes in [Target::fresh_v6(), Target::Unix(path.clone())] {
        appliance.apply(&document(&echo, &[&stays, &comes]));
        let mut tunnel = Tunnel::open(&comes).expect("the added address serves");
        appliance.apply(&document(&echo, &[&stays]));
        wait_refusing(&comes);
        assert_eq!(tunnel.ping(1000), Ok(()));
    }
    assert!(!path.exists(), "the socket's file is left behind");
}

/// Clients that are in the queue of an address, accepted by nobody yet, when its removal begins.
#[test]
fn clients_queued_on_a_removed_address_are_served() {
    const CLIENTS: usize = 50;
    let (echo, stays, goes) = (Backend::echo(), Target::fresh(), Target::fresh());
    let appliance = Appliance::start(&document(&echo, &[&stays, &goes]));
    let removal = document(&echo, &[&stays]);
    let served_before = echo.seen().accepted;
    thread::scope(|scope| {
        // While the appliance stands still, the kernel queues clients, and the order waits in its socket.
        appliance.stand_still();
        let applying = scope.spawn(|| appliance.apply(&removal));
        let mut clients: Vec<Tunnel> =
            (0..CLIENTS).map(|_| Tunnel::connect(&goes).expect("the kernel lets it in")).collect();
        assert_eq!(echo.seen().accepted, served_before, "somebody was accepted: the appliance does not stand still");
        appliance.signal(Signal::CONT);
        applying.join().expect("the removal is applied");
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ping(100), Ok(()), "client {number} of {CLIENTS}");
        }
    });
    wait_refusing(&goes);
}

/// Removed and added again at once, while the old sockets may still be leaving.
#[test]
fn an_address_may_come_back_at_once() {
    let (echo, stays, flickers) = (Backend::echo(), Target::fresh(), Target::fresh());
    let appliance = Appliance::start(&document(&echo, &[&stays, &flickers]));
    let mut kept = Vec::new();
    for round in 0..10 {
        appliance.apply(&document(&echo, &[&stays]));
        appliance.apply(&document(&echo, &[&stays, &flickers]));
        kept.push(Tunnel::open(&flickers).unwrap_or_else(|failure| panic!("round {round}: {failure}")));
    }
    assert_eq!(kept.iter_mut().try_for_each(|tunnel| tunnel.ping(10)), Ok(()));
}

/// All or nothing: one of two new addresses is taken by somebody else.
#[test]
fn an_address_that_is_taken_refuses_the_whole_change() {
    let (echo, stays, free) = (Backend::echo(), Target::fresh(), Target::fresh());
    let stranger = Backend::start(Vice::Greets(b's'));
    let appliance = Appliance::start(&document(&echo, &[&stays]));
    let before = appliance.status().generation;
    let failure =
        appliance.try_apply(&document(&echo, &[&stays, &free, stranger.target()])).expect_err("the address is taken");
    assert_eq!(failure.code, ErrorCode::Refused, "{}", tell(&failure));
    assert!(failure.message.contains(&stranger.target().to_string()), "it does not say which: {failure}");
    assert_eq!(appliance.status().generation, before);
    assert_eq!(Tunnel::open(&free).map(drop), Err(Failure::Refused), "half of the change was carried out");
    assert_eq!(Tunnel::open(&stays).map(drop), Ok(()));
    // What was refused leaves nothing in the way of what is right.
    appliance.apply(&document(&echo, &[&stays, &free]));
    assert_eq!(Tunnel::open(&free).map(drop), Ok(()));
}

#[test]
fn whole_pools_come_and_go() {
    let (echo, front, other) = (Backend::echo(), Target::fresh(), Target::fresh());
    let first = Pool::new("first").listen(&front).backend("a", echo.target()).to_string();
    let second = Pool::new("second").listen(&other).backend("a", echo.target()).to_string();
    let appliance = Appliance::start(&first);
    let number = pool(&appliance.status(), "first").generation;
    for _ in 0..3 {
        appliance.apply(&format!("{first}{second}"));
        let mut tunnel = Tunnel::open(&other).expect("the new pool serves");
        appliance.apply(&first);
        wait_refusing(&other);
        assert_eq!(tunnel.ping(1000), Ok(()), "a tunnel outlives its pool");
    }
    let status = appliance.status();
    assert_eq!(pool(&status, "first").generation, number, "the other pool was touched");
}
