//! Health checks: who is in rotation, and who only while nobody else is.

use api::Happening;
use api::status::Health;
use e2e::{Pool, backend};
use harness::appliance::Appliance;
use harness::backend::{Backend, Deaf, Vice, refusing};
use harness::client::Tunnel;
use harness::net::Target;

const CHECKS: &str = "interval = \"100ms\"\ntimeout = \"300ms\"\nrise = 2\nfall = 2";

fn wait_health(appliance: &Appliance, id: &str, health: Health) {
    appliance.wait_status(&format!("{id} is {health}"), |status| backend(status, id).health == health);
}

/// Opens so many connections, one after another, and ends them.
fn visit(front: &Target, count: usize) {
    for _ in 0..count {
        Tunnel::open(front).expect("somebody serves").close().expect("a proper end");
    }
}

/// Which of these greeting backends serves a new connection.
fn who_serves(front: &Target) -> u8 {
    let mut tunnel = Tunnel::connect(front).expect("it connects");
    let mut name = [0];
    tunnel.stream().receive_all(&mut name).expect("a backend greets");
    name[0]
}

#[test]
fn a_backend_that_fails_its_checks_is_passed_over_until_it_passes_them() {
    let (stays, goes, front) = (Backend::start(Vice::Greets(b's')), Target::fresh(), Target::fresh());
    let pool = Pool::new("db")
        .listen(&front)
        .backend("stays", stays.target())
        .backend("goes", &goes)
        .keys(".group.main.health", CHECKS);
    let appliance = Appliance::start(&pool.to_string());
    let mut events = appliance.events();
    wait_health(&appliance, "stays", Health::Up);
    wait_health(&appliance, "goes", Health::Down);
    assert!((0..10).all(|_| who_serves(&front) == b's'));

    let back = Backend::at(Vice::Greets(b'g'), &goes);
    let is = |wanted: Health| move |event: &api::Event| matches!(&event.happening, Happening::Health { backend, health, .. } if backend == "goes" && *health == wanted);
    events.wait("the event of its coming", is(Health::Up));
    wait_health(&appliance, "goes", Health::Up);
    assert!((0..20).any(|_| who_serves(&front) == b'g'), "it is up and gets nothing");

    drop(back);
    events.wait("the event of its going", is(Health::Down));
    wait_health(&appliance, "goes", Health::Down);
    assert!((0..10).all(|_| who_serves(&front) == b's'));
}

#[test]
fn a_hanging_backend_fails_its_checks_too() {
    let (good, deaf, front) = (Backend::start(Vice::Greets(b'g')), Deaf::start(), Target::fresh());
    let pool = Pool::new("db")
        .listen(&front)
        .backend("good", good.target())
        .backend("deaf", deaf.target())
        .keys(".group.main.health", CHECKS);
    let appliance = Appliance::start(&pool.to_string());
    wait_health(&appliance, "deaf", Health::Down);
    wait_health(&appliance, "good", Health::Up);
    assert!((0..10).all(|_| who_serves(&front) == b'g'));
}

/// Without a check table nobody is asked and everybody counts as up.
#[test]
fn without_checks_nobody_is_asked() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    assert_eq!(backend(&appliance.status(), "a").health, Health::Unchecked);
    visit(&front, 3);
    assert_eq!(echo.seen().accepted, 3);
}

#[test]
fn a_backup_serves_only_while_no_other_can() {
    let (backup, primary, front) = (Backend::start(Vice::Greets(b'b')), Target::fresh(), Target::fresh());
    let pool = Pool::new("db")
        .listen(&front)
        .backend("primary", &primary)
        .backend_with("backup", backup.target(), "backup = true")
        .keys(".group.main.health", CHECKS);
    let appliance = Appliance::start(&pool.to_string());
    wait_health(&appliance, "primary", Health::Down);
    wait_health(&appliance, "backup", Health::Up);
    assert!((0..5).all(|_| who_serves(&front) == b'b'));
    let _primary = Backend::at(Vice::Greets(b'p'), &primary);
    wait_health(&appliance, "primary", Health::Up);
    assert!((0..10).all(|_| who_serves(&front) == b'p'), "the backup serves beside the primary");
}

/// A new backend has proved nothing: it gets no client before its first good check, though others are told of it.
#[test]
fn a_new_backend_is_unproven_not_up() {
    let (old, new, front) = (Backend::start(Vice::Greets(b'o')), refusing(), Target::fresh());
    let before = Pool::new("db")
        .listen(&front)
        .backend("old", old.target())
        .keys(".group.main.health", "interval = \"1h\"\ntimeout = \"300ms\"\nrise = 1\nfall = 1");
    let appliance = Appliance::start(&before.to_string());
    wait_health(&appliance, "old", Health::Up);
    appliance.apply(&before.clone().backend("new", &new).to_string());
    assert!((0..20).all(|_| who_serves(&front) == b'o'), "a backend that has proved nothing got a client");
    wait_health(&appliance, "new", Health::Down);
}

#[test]
fn health_survives_changes_that_do_not_concern_it() {
    let (good, bad, front) = (Backend::start(Vice::Greets(b'g')), refusing(), Target::fresh());
    let pool = |weight: u32| {
        let keys = format!("weight = {weight}");
        Pool::new("db")
            .listen(&front)
            .backend_with("good", good.target(), &keys)
            .backend("bad", &bad)
            .keys(".group.main.health", CHECKS)
            .to_string()
    };
    let appliance = Appliance::start(&pool(1));
    wait_health(&appliance, "good", Health::Up);
    wait_health(&appliance, "bad", Health::Down);
    for weight in 2..10 {
        appliance.apply(&pool(weight));
        let status = appliance.status();
        assert_eq!((backend(&status, "good").health, backend(&status, "bad").health), (Health::Up, Health::Down));
        assert_eq!(who_serves(&front), b'g');
    }
}
