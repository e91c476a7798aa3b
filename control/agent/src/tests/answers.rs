//! Orders that change nothing, and the socket itself.

use super::fake::Do;
use super::*;
use crate::exposition;
use crate::session::SESSIONS_MAX;
use api::ErrorCode;
use api::order::{Check, Document, History};
use api::receipt::JobOutcome;
use api::status::{Health, ListenerState, PartKind};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

fn rig() -> (Rig, [String; 1]) {
    let listen = [free_address()];
    (Rig::new(&db(&listen, &[("a", 9001, ""), ("b", 9002, "backup = true")])), listen)
}

#[test]
fn status_shows_what_is() {
    let (rig, listen) = rig();
    rig.shards[1].open("db", "a");
    let status = rig.status();
    assert_eq!((status.pid, status.generation, status.stopping), (std::process::id(), 1, false));
    assert_eq!(status.shards.len(), 2);
    assert_eq!(status.shards[1].connections, 1);
    let pool = &status.pools[0];
    assert_eq!((pool.pool.as_str(), pool.connections, pool.accepted), ("db", 1, 1));
    assert_eq!((pool.listeners[0].address.as_str(), pool.listeners[0].state), (&*listen[0], ListenerState::Listening));
    assert_eq!(pool.backends[0].health, Health::Unchecked);
    assert!(pool.backends[1].backup);
    assert_eq!(pool.backends[0].connections, 1);
}

#[test]
fn a_plan_is_what_an_apply_then_does_and_changes_nothing() {
    let (rig, listen) = rig();
    rig.shards[0].open("db", "a");
    let before = rig.status();
    let document = rig.document("", &db(&listen, &[("a", 9001, "weight = 4")]));
    let Ok(Body::Plan(plan)) =
        rig.call(Order::Plan(api::order::PlanOf { document: document.clone(), ..Default::default() }))
    else {
        panic!("no plan")
    };
    let dry = Order::Apply(Apply { document: document.clone(), dry_run: true, ..Apply::default() });
    assert_eq!(rig.call(dry), Ok(Body::Plan(plan.clone())));
    let after = rig.status();
    assert_eq!((before.generation, before.hash), (after.generation, after.hash));
    let receipt = rig.change(Order::Apply(Apply { document, ..Apply::default() })).unwrap();
    assert_eq!(receipt.plan, Some(plan));
}

#[test]
fn check_says_whether_and_why_not() {
    let (rig, listen) = rig();
    let sent = |document: String| Check::Document(Document { document, name: Some("x.toml".into()), base: None });
    let right = rig.call(Order::Check(sent(db(&listen, &[("a", 9001, "")]))));
    assert!(matches!(right, Ok(Body::Checked(checked)) if checked.pools == 1));
    let wrong = rig.call(Order::Check(sent("[pool.db]\nnonsense = 1\n".into()))).unwrap_err();
    assert_eq!(wrong.code, ErrorCode::InvalidConfiguration);
    assert!(wrong.message.starts_with("x.toml has"), "{}", wrong.message);
    let file = rig.folder.path().join("site.toml").display().to_string();
    assert!(matches!(rig.call(Order::Check(Check::Path(file))), Ok(Body::Checked(_))));
    let nowhere = rig.call(Order::Check(Check::Path("/no/such/file".into()))).unwrap_err();
    assert!(nowhere.message.contains("/no/such/file"), "{}", nowhere.message);
}

#[test]
fn metrics_are_well_formed_and_count() {
    let (rig, _) = rig();
    let connection = rig.shards[0].open("db", "a");
    rig.shards[0].open("db", "a");
    rig.shards[0].tell(Do::Close(connection));
    let samples = rig.until("the close is counted", |rig| {
        let Ok(Body::Metrics(metrics)) = rig.call(Order::Metrics) else { panic!("no metrics") };
        let samples = exposition::tests::check(&metrics.text);
        let closed = samples["sluicegate_pool_closed_total{pool=\"db\",reason=\"finished\"}"];
        if closed == 1.0 { Ok(samples) } else { Err(closed.to_string()) }
    });
    assert_eq!(samples["sluicegate_pool_connections{pool=\"db\"}"], 1.0);
    assert_eq!(samples["sluicegate_endpoint_connections{pool=\"db\",group=\"main\",backend=\"a\"}"], 1.0);
    assert_eq!(samples["sluicegate_shard_serving{shard=\"1\"}"], 1.0);
    assert_eq!(samples["sluicegate_jobs_total{outcome=\"applied\",source=\"start\"}"], 1.0);
}

#[test]
fn history_pages_and_receipts() {
    let (rig, listen) = rig();
    rig.apply(&db(&listen, &[("a", 9001, "weight = 4")])).unwrap();
    rig.apply("nonsense = 1").unwrap_err();
    let page = |limit, before| match rig.call(Order::History(History { limit: Some(limit), before })) {
        Ok(Body::History(history)) => history,
        other => panic!("{other:?}"),
    };
    let all = page(10, None);
    let outcomes: Vec<JobOutcome> = all.jobs.iter().map(|job| job.outcome).collect();
    assert_eq!(outcomes, [JobOutcome::KeptOld, JobOutcome::Applied, JobOutcome::Applied]);
    assert_eq!(page(10, Some(3)).jobs, all.jobs[1..]);
    let unknown = rig.call(Order::Receipt(api::order::ReceiptOf { job: 99 })).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}

/// A tunnel pins its small policy and nothing else, and the receipt grows until it is released.
#[test]
fn generations_say_who_pins_what() {
    let (rig, listen) = rig();
    let connection = rig.shards[1].open("db", "a");
    let pools = db(&listen, &[("a", 9001, "")]) + "[pool.db.timeouts]\nidle = \"2h\"\n";
    let job = rig.apply(&pools).unwrap().job;
    let pinned = rig.until("the root is released, the policy is not", |rig| {
        let pool = rig.generations().pools.remove(0);
        if pool.pinned.len() == 1 { Ok(pool.pinned) } else { Err(format!("{pool:?}")) }
    });
    assert_eq!((pinned[0].generation, pinned[0].part), (1, PartKind::TunnelPolicy));
    assert_eq!(pinned[0].pinned_by.iter().map(|shard| shard.shard).collect::<Vec<_>>(), [1]);
    assert_eq!(rig.receipt(job).released, None);
    rig.shards[1].tell(Do::Close(connection));
    let mut events = rig.events();
    events.wait("the policy is released", |event| {
        matches!(event, Happening::Released { part: PartKind::TunnelPolicy, generation: 1, .. })
    });
    rig.until("the receipt is complete", |rig| rig.receipt(job).released.ok_or("not yet".into()));
}

#[test]
fn mistaken_messages_are_answered_and_the_connection_goes_on() {
    let (rig, _) = rig();
    let mut stream = BufReader::new(UnixStream::connect(&rig.socket).unwrap());
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ask = |message: &[u8], end: u8| {
        stream.get_mut().write_all(message).unwrap();
        let mut answer = Vec::new();
        stream.read_until(end, &mut answer).unwrap();
        assert_eq!(answer.pop(), Some(end));
        String::from_utf8(answer).unwrap()
    };
    assert!(ask(b"{nonsense}\n", b'\n').contains("invalid_request"));
    assert!(ask(b"{\"id\":4,\"order\":\"stauts\"}\0", 0).contains("unknown_order"));
    assert!(ask(b"\n\0{\"id\":5,\"order\":\"version\"}\r\n", b'\n').contains("\"ok\""));
}

#[test]
fn orders_are_answered_in_turn_and_after_the_last_word() {
    let (rig, _) = rig();
    let mut stream = UnixStream::connect(&rig.socket).unwrap();
    let heap: String = (0..100).map(|id| format!("{{\"id\":{id},\"order\":\"version\"}}\n")).collect();
    stream.write_all(heap.as_bytes()).unwrap();
    // `nc -N`: no more questions, the answers still come. The last message lacks its end.
    stream.write_all(b"{\"id\":100,\"order\":\"version\"}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    for (line, id) in answers.lines().zip(0..) {
        assert!(line.contains(&format!("\"id\":{id},")), "{line}");
    }
    assert_eq!(answers.lines().count(), 101);
}

#[test]
fn places_for_clients_are_bounded() {
    let (rig, _) = rig();
    let mut busy: Vec<Follow> = (0..SESSIONS_MAX).map(|_| rig.events()).collect();
    let mut outside = UnixStream::connect(&rig.socket).unwrap();
    let mut said = String::new();
    outside.read_to_string(&mut said).unwrap();
    assert!(said.contains("\"busy\""), "{said}");
    drop(busy.pop());
    rig.until("there is a place", |rig| {
        let mut client = rig.client();
        client.call(Order::Version, |_| {}).map(drop).map_err(|error| error.to_string())
    });
}

/// Nobody locks the operator out by sitting there.
#[test]
fn who_is_idle_the_longest_makes_room() {
    let (rig, _) = rig();
    let mut idle: Vec<Client> = (0..SESSIONS_MAX).map(|_| rig.client()).collect();
    for client in &mut idle {
        client.call(Order::Version, |_| {}).unwrap();
    }
    rig.client().call(Order::Version, |_| {}).expect("somebody has made room");
    assert!(idle[0].call(Order::Version, |_| {}).is_err(), "the first was idle the longest");
    for client in &mut idle[1..] {
        client.call(Order::Version, |_| {}).expect("the others are still in");
    }
}

/// A client that has gone away while it followed events gives its place back.
#[test]
fn a_client_that_is_gone_leaves_its_place() {
    let (rig, _) = rig();
    let followers: Vec<Follow> = (0..SESSIONS_MAX).map(|_| rig.events()).collect();
    drop(followers);
    rig.until("there is a place", |rig| {
        let mut client = rig.client();
        client.call(Order::Version, |_| {}).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn events_tell_a_change_from_submission_to_end() {
    let (rig, listen) = rig();
    let mut events = rig.events();
    let job = rig.apply(&db(&listen, &[("a", 9001, "weight = 2")])).unwrap().job;
    events.wait("submitted", |event| matches!(event, Happening::JobSubmitted { job: of, .. } if *of == job));
    events.wait(
        "prepare",
        |event| matches!(event, Happening::JobStage { job: of, stage: api::Stage::Prepare } if *of == job),
    );
    for _ in 0..2 {
        events.wait("adopted", |event| matches!(event, Happening::Adopted { job: of, .. } if *of == job));
    }
    events.wait(
        "ended",
        |event| matches!(event, Happening::JobEnded { job: of, outcome: JobOutcome::Applied, .. } if *of == job),
    );
}
