//! Shards that are lost, die and come back; health; the log; the end.

use super::fake::Do;
use super::*;
use crate::Outcome;
use api::order::{Stop, StopMode};
use api::receipt::{JobOutcome, Source};
use api::status::{Health, ShardState};
use api::{ErrorCode, Stage};

const QUICK: &str = "[reload]\nadopt_timeout = \"100ms\"\nprepare_timeout = \"100ms\"\n";

fn weight(listen: &[String], weight: u32) -> String {
    db(listen, &[("a", 9001, &format!("weight = {weight}"))])
}

#[test]
fn a_shard_that_does_not_prepare_is_lost_and_nothing_was_visible() {
    let listen = [free_address()];
    let rig = Rig::with(2, QUICK, &weight(&listen, 1));
    rig.shards[1].tell(Do::Stall);
    let failure = rig.apply_with(QUICK, &weight(&listen, 2)).unwrap_err();
    assert_eq!((failure.code, failure.stage), (ErrorCode::TimedOut, Some(Stage::Prepare)));
    assert!(failure.message.contains("shard 1"), "{}", failure.message);
    assert_eq!(rig.status().shards[1].state, ShardState::Lost);
    // Later jobs leave it out.
    let receipt = rig.apply_with(QUICK, &weight(&listen, 3)).unwrap();
    assert_eq!((receipt.outcome, receipt.shards.len()), (JobOutcome::Applied, 1));
    rig.shards[1].tell(Do::Go);
    let mut events = rig.events();
    events.wait("it is back", |event| matches!(event, Happening::ShardBack { shard: 1 }));
    assert_eq!(rig.apply_with(QUICK, &weight(&listen, 4)).unwrap().shards.len(), 2);
}

/// After the first Commit there is no way back: the job is applied, and says who was lost.
#[test]
fn a_shard_that_does_not_adopt_is_lost_and_the_job_is_applied() {
    let listen = [free_address()];
    let head = "[reload]\nadopt_timeout = \"200ms\"\nprepare_timeout = \"60s\"\n";
    let rig = Rig::with(2, head, &weight(&listen, 1));
    let mut events = rig.events();
    rig.shards[0].tell(Do::Stall);
    let receipt = std::thread::scope(|scope| {
        let job = scope.spawn(|| rig.apply_with(head, &weight(&listen, 2)));
        events.wait("shards are asked", |event| matches!(event, Happening::JobStage { stage: Stage::Prepare, .. }));
        // It prepares, and then takes nothing more.
        rig.shards[0].tell(Do::GoToPrepare);
        job.join().unwrap().unwrap()
    });
    assert_eq!((receipt.outcome, receipt.lost_shards.as_slice()), (JobOutcome::Applied, &[0][..]));
    events.wait("it is lost", |event| matches!(event, Happening::ShardLost { shard: 0, .. }));
    rig.shards[0].tell(Do::Go);
    events.wait("it is back", |event| matches!(event, Happening::ShardBack { shard: 0 }));
    let status = rig.status();
    assert!(status.shards.iter().all(|shard| shard.generation == Some(receipt.job)), "{:?}", status.shards);
}

#[test]
fn a_shard_that_dies_is_let_in_again() {
    let listen = [free_address()];
    let rig = Rig::new(&weight(&listen, 1));
    rig.shards[1].open("db", "a");
    rig.apply(&(weight(&listen, 1) + "[pool.db.timeouts]\nidle = \"2h\"\n")).unwrap();
    let mut events = rig.events();
    rig.shards[1].tell(Do::Die);
    events.wait("it died", |event| matches!(event, Happening::ShardDied { shard: 1 }));
    events.wait("it is back", |event| matches!(event, Happening::ShardBack { shard: 1 }));
    // What it had held counts as released.
    rig.until("nothing is pinned", |rig| {
        let pool = rig.generations().pools.remove(0);
        if pool.pinned.is_empty() { Ok(()) } else { Err(format!("{pool:?}")) }
    });
    assert_eq!(rig.status().shards[1].restarts, 1);
    assert_eq!(rig.apply(&weight(&listen, 5)).unwrap().shards.len(), 2);
}

/// A job waits for a shard that dies: it goes on without it.
#[test]
fn a_job_does_not_wait_for_the_dead() {
    let listen = [free_address()];
    let rig = Rig::new(&weight(&listen, 1));
    let mut events = rig.events();
    rig.shards[1].tell(Do::Stall);
    std::thread::scope(|scope| {
        let job = scope.spawn(|| rig.apply(&weight(&listen, 2)));
        events.wait("shards are asked", |event| matches!(event, Happening::JobStage { stage: Stage::Prepare, .. }));
        rig.shards[1].tell(Do::Die);
        rig.shards[1].tell(Do::Go);
        assert_eq!(job.join().unwrap().unwrap().outcome, JobOutcome::Applied);
    });
    events.wait("it is back", |event| matches!(event, Happening::ShardBack { shard: 1 }));
    let status = rig.status();
    assert!(status.shards.iter().all(|shard| shard.state == ShardState::Serving), "{:?}", status.shards);
}

#[test]
fn a_job_that_waits_too_long_ends_and_says_for_whom() {
    let listen = [free_address()];
    let head = "[reload]\njob_timeout = \"1s\"\nprepare_timeout = \"60s\"\n";
    let rig = Rig::with(2, head, &weight(&listen, 1));
    let mut events = rig.events();
    rig.shards[0].tell(Do::Stall);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.apply_with(head, &weight(&listen, 2)));
        events.wait("shards are asked", |event| matches!(event, Happening::JobStage { stage: Stage::Prepare, .. }));
        let second = scope.spawn(|| rig.apply_with(head, &weight(&listen, 3)));
        let failure = first.join().unwrap().unwrap_err();
        assert_eq!((failure.code, failure.stage), (ErrorCode::TimedOut, Some(Stage::Prepare)));
        // The shard is still silent, and the one behind has the same deadline from later on.
        let failure = second.join().unwrap().unwrap_err();
        assert_eq!(failure.code, ErrorCode::TimedOut);
    });
    rig.shards[0].tell(Do::Go);
    rig.until("it works again", |rig| {
        rig.apply_with(head, &weight(&listen, 4)).map(drop).map_err(|failure| failure.message)
    });
}

#[test]
fn health_is_found_out_told_and_kept() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = backend.local_addr().unwrap().port();
    let listen = [free_address()];
    let health = "[pool.db.group.main.health]\ninterval = \"100ms\"\nrise = 1\nfall = 1\n";
    let rig = Rig::new(&(db(&listen, &[("a", port, "")]) + health));
    let mut events = rig.events();
    let is = |wanted| move |event: &Happening| matches!(event, Happening::Health { health, .. } if *health == wanted);
    events.wait("it is up", is(Health::Up));
    // A change of the pool keeps what is known of the backend.
    rig.apply(&(db(&listen, &[("a", port, "weight = 9")]) + health)).unwrap();
    assert_eq!(rig.status().pools[0].backends[0].health, Health::Up);
    drop(backend);
    events.wait("it is down", is(Health::Down));
    // Without checks nobody asks.
    rig.apply(&db(&listen, &[("a", port, "")])).unwrap();
    assert_eq!(rig.status().pools[0].backends[0].health, Health::Unchecked);
}

#[test]
fn sighup_applies_the_file() {
    let listen = [free_address()];
    let rig = Rig::new(&weight(&listen, 1));
    let path = rig.folder.path().join("site.toml");
    let mut events = rig.events();
    std::fs::write(&path, rig.document("", &weight(&listen, 8))).unwrap();
    rig.agent.as_ref().unwrap().handle().reload();
    events.wait("it is applied", |event| {
        matches!(event, Happening::JobEnded { job: 2, outcome: JobOutcome::Applied, .. })
    });
    let receipt = rig.receipt(2);
    assert_eq!((receipt.source, receipt.author), (Source::Sighup, None));
    assert_eq!(rig.status().pools[0].backends[0].weight, 8);
    std::fs::write(&path, "nonsense = 1").unwrap();
    rig.agent.as_ref().unwrap().handle().reload();
    events.wait("it is kept out", |event| {
        matches!(event, Happening::JobEnded { job: 3, outcome: JobOutcome::KeptOld, .. })
    });
}

#[test]
fn lines_have_names_and_the_log_can_be_changed() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let path = rig.folder.path().join("access.log");
    let to_file =
        format!("[log.access]\nsink = \"file\"\nformat = \"json\"\npath = {:?}\n", path.display().to_string());
    let document =
        rig.document("", &db(&listen, &[("a", 9001, "")])).replace("[log.access]\nsink = \"off\"\n", &to_file);
    let receipt = rig.change(Order::Apply(Apply { document: document.clone(), ..Apply::default() })).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert!(receipt.stages.iter().any(|stage| stage.name == Stage::Bind));
    let connection = rig.shards[0].open("db", "a");
    rig.shards[0].tell(Do::Close(connection));
    let line = rig.until("a line is written", |_| {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().next().map(str::to_owned).ok_or(text)
    });
    assert!(line.contains("\"pool\":\"db\"") && line.contains("\"backend\":\"a\""), "{line}");
    let nowhere = document.replace(&path.display().to_string(), "/no/such/folder/access.log");
    let failure = rig.change(Order::Apply(Apply { document: nowhere, ..Apply::default() })).unwrap_err();
    assert_eq!((failure.code, failure.stage), (ErrorCode::Refused, Some(Stage::Bind)));
    assert!(failure.message.contains("/no/such/folder"), "{}", failure.message);
}

#[test]
fn a_stop_lets_connections_end_until_the_deadline() {
    let listen = [free_address()];
    let mut rig = Rig::new(&weight(&listen, 1));
    rig.shards[0].open("db", "a");
    let stop = Order::Stop(Stop { mode: StopMode::Graceful, deadline_millis: Some(50) });
    let answer = rig.call(stop);
    assert!(matches!(&answer, Ok(Body::Stopped(stopped)) if stopped.closed_connections == 1), "{answer:?}");
    let outcome = rig.agent.take().unwrap().wait();
    assert!(matches!(outcome, Outcome::Stopped { unfinished } if unfinished.is_empty()), "{outcome:?}");
    assert!(!rig.socket.exists());
}

#[test]
fn a_stop_ends_what_is_under_way() {
    let listen = [free_address()];
    let mut rig = Rig::with(2, "[reload]\nprepare_timeout = \"60s\"\n", &weight(&listen, 1));
    let mut events = rig.events();
    rig.shards[0].tell(Do::Stall);
    std::thread::scope(|scope| {
        let job = scope.spawn(|| rig.apply(&weight(&listen, 2)));
        events.wait("shards are asked", |event| matches!(event, Happening::JobStage { stage: Stage::Prepare, .. }));
        let handle = rig.agent.as_ref().unwrap().handle();
        handle.stop(StopMode::Graceful, None);
        assert_eq!(job.join().unwrap().unwrap_err().code, ErrorCode::Stopping);
        assert!(rig.status().stopping);
        handle.stop(StopMode::Now, None);
        rig.shards[0].tell(Do::Go);
    });
    let outcome = rig.agent.take().unwrap().wait();
    assert!(matches!(outcome, Outcome::Stopped { .. }), "{outcome:?}");
}

#[test]
fn two_appliances_do_not_share_a_socket() {
    let listen = [free_address()];
    let rig = Rig::new(&weight(&listen, 1));
    let error = crate::session::Socket::open(&rig.socket, 0o660).unwrap_err();
    assert!(error.to_string().contains("control.sock"), "{error}");
}

/// A shard whose thread has ended is waited for no more.
#[test]
fn a_shard_that_is_gone_for_good_is_left_out() {
    let listen = [free_address()];
    let mut rig = Rig::new(&weight(&listen, 1));
    drop(rig.shards.pop());
    rig.agent.as_ref().unwrap().handle().shard_gone(policy::ShardId(1));
    let mut events = rig.events();
    events.wait("it died", |event| matches!(event, Happening::ShardDied { shard: 1 }));
    rig.until("it is dead", |rig| {
        let shard = rig.status().shards[1].clone();
        if shard.state == ShardState::Dead { Ok(()) } else { Err(format!("{shard:?}")) }
    });
    let document = rig.document("", &weight(&listen, 2)).replace("shards = 1", "shards = 2");
    let receipt = rig.change(Order::Apply(Apply { document, ..Apply::default() })).unwrap();
    assert_eq!((receipt.outcome, receipt.shards.len()), (JobOutcome::Applied, 1));
}

/// The two pauses are kept, and are part of the job: its wait before is over when the shards are asked.
#[test]
fn pauses_are_kept() {
    let listen = [free_address()];
    let head = "[reload]\nwait_before = \"150ms\"\nwait_after = \"150ms\"\n";
    let rig = Rig::with(2, head, &weight(&listen, 1));
    let begin = Instant::now();
    let receipt = rig.apply_with(head, &weight(&listen, 2)).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300), "answered after {:?}", begin.elapsed());
    let waited = receipt.stages.iter().find(|stage| stage.name == Stage::Wait).expect("it waited");
    assert!(waited.micros >= 150_000, "{receipt:?}");
}
