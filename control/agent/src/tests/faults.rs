//! Control panics, and traffic does not notice.

use super::fake::Do;
use super::*;
use api::order::BackendAdd;
use api::receipt::JobOutcome;
use api::status::ShardState;

fn rig() -> (Rig, [String; 1]) {
    let listen = [free_address()];
    (Rig::new(&db(&listen, &[("a", 9001, "")])), listen)
}

/// Afterwards every shard runs the same, changes work, and nothing is held for ever.
fn is_well(rig: &Rig, listen: &[String], backends: &[(&str, u16, &str)]) {
    let receipt =
        rig.until("changes work again", |rig| rig.apply(&db(listen, backends)).map_err(|failure| failure.message));
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    let status = rig.status();
    for shard in &status.shards {
        assert_eq!((shard.state, shard.generation), (ShardState::Serving, Some(status.generation)), "{status:?}");
    }
    rig.until("nothing is held", |rig| {
        let pools = rig.generations().pools;
        if pools.iter().all(|pool| pool.pinned.is_empty()) { Ok(()) } else { Err(format!("{pools:?}")) }
    });
    rig.wait_slots("one pool, its backends and addresses", (1, backends.len(), listen.len()));
}

#[test]
fn over_a_submission_only_that_one_is_lost() {
    let (rig, listen) = rig();
    let connection = rig.shards[0].open("db", "a");
    rig.plant(Fault::Submit);
    let failure = rig.apply(&db(&listen, &[("a", 9001, "weight = 2")])).unwrap_err();
    assert!(failure.message.contains("control"), "{}", failure.message);
    assert_eq!(rig.status().generation, 1);
    is_well(&rig, &listen, &[("a", 9001, "weight = 3")]);
    // The tunnel from before is still there and can end.
    assert_eq!(rig.status().pools[0].connections, 1);
    rig.shards[0].tell(Do::Close(connection));
}

#[test]
fn over_a_compiled_change_nothing_is_visible() {
    let (rig, listen) = rig();
    rig.plant(Fault::Built);
    let more = [listen[0].clone(), free_address()];
    let changed = db(&more, &[("a", 9001, ""), ("b", 9002, "")]);
    rig.apply(&changed).unwrap_err();
    assert_eq!(rig.status().generation, 1);
    is_well(&rig, &more, &[("a", 9001, ""), ("b", 9002, "")]);
}

/// Commits are on their way, and nobody is there to hear of it: applied on all shards or on none.
#[test]
fn after_the_decision_the_job_ends_in_a_definite_state() {
    let (rig, listen) = rig();
    rig.plant(Fault::Committed);
    let add = BackendAdd {
        pool: "db".into(),
        backend: Some("b".into()),
        address: "127.0.0.1:9002".into(),
        ..BackendAdd::default()
    };
    let outcome = rig.change(Order::BackendAdd(add));
    let status = rig.status();
    let has_b = status.pools[0].backends.iter().any(|backend| backend.backend == "b" && !backend.removed);
    assert_eq!(outcome.is_ok(), has_b, "{outcome:?} but {status:?}");
    is_well(&rig, &listen, &[("a", 9001, "weight = 3")]);
}

/// Some shards run it: all will, and the submitter is told so.
#[test]
fn after_the_first_adoption_the_job_is_applied() {
    let (rig, listen) = rig();
    rig.plant(Fault::Adopted);
    let receipt = rig.apply(&db(&listen, &[("a", 9001, "weight = 7")])).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    let status = rig.status();
    assert_eq!((status.generation, status.pools[0].backends[0].weight), (receipt.job, 7));
    is_well(&rig, &listen, &[("a", 9001, "weight = 3")]);
}

#[test]
fn over_the_receipt_the_change_is_not_forgotten() {
    let (rig, listen) = rig();
    rig.plant(Fault::Settle);
    let receipt = rig.apply(&db(&listen, &[("a", 9001, "weight = 7")])).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(rig.status().pools[0].backends[0].weight, 7);
    is_well(&rig, &listen, &[("a", 9001, "weight = 3")]);
}

/// One after another, with connections that come and go, and a listener that is on its way out.
#[test]
fn many_panics_leave_nothing_behind() {
    let (rig, listen) = rig();
    let other = free_address();
    let both = [listen[0].clone(), other];
    for (round, fault) in
        [Fault::Submit, Fault::Built, Fault::Committed, Fault::Adopted, Fault::Settle].iter().enumerate()
    {
        let connection = rig.shards[round % 2].open("db", "a");
        rig.plant(*fault);
        let weight = format!("weight = {}", round + 10);
        let addresses = if round % 2 == 0 { &both[..] } else { &listen[..] };
        let _ = rig.apply(&db(addresses, &[("a", 9001, &weight), ("c", 9003, "")]));
        rig.shards[round % 2].tell(Do::Close(connection));
        let weight = format!("weight = {}", round + 100);
        is_well(&rig, &listen, &[("a", 9001, &weight)]);
    }
    std::net::TcpStream::connect(&listen[0]).expect("the address still listens");
}

/// The only shard that ran the newest generation dies while control is away. The others never had it, so it
/// is in force nowhere, and control says so instead of believing its own account.
#[test]
fn what_every_shard_has_forgotten_is_not_in_force() {
    let listen = [free_address()];
    let head = "[reload]\nprepare_timeout = \"100ms\"\n";
    let with = |weight: &str| db(&listen, &[("a", 9001, weight)]);
    let rig = Rig::with(2, head, &with("weight = 1"));
    rig.shards[1].tell(Do::Stall);
    rig.apply_with(head, &with("weight = 2")).expect_err("shard 1 does not prepare, and is lost");
    let receipt = rig.apply_with(head, &with("weight = 3")).expect("shard 0 alone takes it");
    assert_eq!(rig.status().pools[0].backends[0].weight, 3);

    rig.shards[0].tell(Do::Stall);
    rig.plant(Fault::Submit);
    std::thread::scope(|scope| {
        let lost = scope.spawn(|| rig.apply_with(head, &with("weight = 4")));
        let mut events = rig.events();
        // In the same breath control panics.
        events.wait("job 4 is there", |event| matches!(event, Happening::JobSubmitted { job: 4, .. }));
        rig.shards[0].tell(Do::Die);
        events.wait("shard 0 died", |event| matches!(event, Happening::ShardDied { shard: 0 }));
        rig.shards.iter().for_each(|shard| shard.tell(Do::Go));
        lost.join().unwrap().expect_err("control panicked over it");
    });
    let status = rig.until("all serve", |rig| {
        let status = rig.status();
        let all = status.shards.iter().all(|shard| shard.state == ShardState::Serving);
        if all { Ok(status) } else { Err(format!("{:?}", status.shards)) }
    });
    assert!(status.generation < receipt.job, "{status:?}");
    assert_eq!(status.pools[0].backends[0].weight, 1);
    let receipt = rig.apply_with(head, &with("weight = 5")).unwrap();
    assert_eq!(receipt.shards.len(), 2);
    assert_eq!(rig.status().pools[0].backends[0].weight, 5);
}
