//! Submissions and what becomes of them.

use super::fake::Do;
use super::*;
use api::order::{BackendAdd, BackendRemove, BackendSet, Transaction};
use api::receipt::{JobOutcome, Source};
use api::{Edit, ErrorCode, Stage};

fn add(pool: &str, id: &str, port: u16) -> BackendAdd {
    BackendAdd {
        pool: pool.into(),
        backend: Some(id.into()),
        address: format!("127.0.0.1:{port}"),
        ..BackendAdd::default()
    }
}

fn set(pool: &str, id: &str, weight: u32) -> Order {
    let backend = id.into();
    Order::BackendSet(BackendSet { pool: pool.into(), backend, weight: Some(weight), ..BackendSet::default() })
}

fn remove(id: &str, wait: bool) -> BackendRemove {
    BackendRemove { pool: "db".into(), group: None, backend: id.into(), now: false, wait }
}

#[test]
fn a_document_is_applied_and_accounted_for() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    rig.shards[0].open("db", "a");
    let receipt = rig.apply(&db(&listen, &[("a", 9001, "weight = 3")])).unwrap();
    assert_eq!((receipt.job, receipt.outcome), (2, JobOutcome::Applied));
    assert_eq!((receipt.generation_before, receipt.generation_after), (Some(1), Some(2)));
    assert_eq!((receipt.source, receipt.order.as_deref()), (Source::Socket, Some("apply")));
    assert_eq!(receipt.author.as_ref().unwrap().uid, rustix::process::getuid().as_raw());
    let plan = receipt.plan.as_ref().unwrap();
    assert_eq!(plan.changes.len(), 1);
    assert_eq!((plan.changes[0].touched_connections, plan.changes[0].touched_tunnels), (Some(1), Some(1)));
    let stages: Vec<Stage> = receipt.stages.iter().map(|stage| stage.name).collect();
    assert_eq!(stages, [Stage::Check, Stage::Plan, Stage::Compile, Stage::Prepare, Stage::Adopt]);
    assert_eq!(receipt.shards.len(), 2);
    assert_eq!(receipt.connections.carried, 1);
    let status = rig.status();
    assert_eq!((status.generation, status.pools[0].generation), (2, 2));
    assert_eq!(status.pools[0].backends[0].weight, 3);
    assert!(status.shards.iter().all(|shard| shard.generation == Some(2)));
}

#[test]
fn equal_input_is_unchanged() {
    let listen = [free_address()];
    let pools = db(&listen, &[("a", 9001, "")]);
    let rig = Rig::new(&pools);
    let receipt = rig.apply(&format!("# a comment\n{pools}")).unwrap();
    assert_eq!((receipt.outcome, receipt.generation_after), (JobOutcome::Unchanged, Some(1)));
    assert!(receipt.plan.unwrap().unchanged);
    assert!(receipt.shards.is_empty());
    let reload = rig.change(Order::Reload(api::order::Reload::default())).unwrap();
    assert_eq!((reload.outcome, reload.order.as_deref()), (JobOutcome::Unchanged, Some("reload")));
}

#[test]
fn a_mistaken_document_is_kept_out_with_all_its_problems() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let failure = rig.apply("[pool.db]\nnonsense = 1\n[pool.x.create]\nservice = 7\n").unwrap_err();
    assert_eq!((failure.code, failure.stage), (ErrorCode::InvalidConfiguration, Some(Stage::Check)));
    assert!(failure.problems.len() >= 3, "{:?}", failure.problems);
    assert_eq!((failure.job, failure.generation), (Some(2), Some(1)));
    let receipt = rig.receipt(2);
    assert_eq!(receipt.outcome, JobOutcome::KeptOld);
    assert_eq!(receipt.error.unwrap().problems, failure.problems);
}

#[test]
fn what_needs_a_restart_is_refused_before_any_shard_hears_of_it() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    rig.shards.iter().for_each(|shard| shard.tell(Do::Stall));
    let pools = db(&listen, &[("a", 9001, "")]).replace("service", "memory = \"32MiB\"\nservice");
    let failure = rig.apply(&pools).unwrap_err();
    assert_eq!(failure.code, ErrorCode::RestartRequired);
    assert_eq!(failure.restart_reasons[0].path, "pool.db.create.memory");
    assert_eq!(rig.receipt(failure.job.unwrap()).plan.unwrap().restart_reasons, failure.restart_reasons);
}

#[test]
fn a_condition_on_the_generation_holds_or_is_a_conflict() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let apply = |weight: u32, if_generation| {
        let document = rig.document("", &db(&listen, &[("a", 9001, &format!("weight = {weight}"))]));
        rig.change(Order::Apply(Apply { document, if_generation: Some(if_generation), ..Apply::default() }))
    };
    assert_eq!(apply(2, 9).unwrap_err().code, ErrorCode::Conflict);
    let generation = apply(2, 1).unwrap().generation_after.unwrap();
    let late = apply(3, 1).unwrap_err();
    assert_eq!((late.code, late.generation), (ErrorCode::Conflict, Some(generation)));
}

/// A job that has to wait finds, when its turn comes, that another generation runs.
#[test]
fn a_condition_is_asked_again_when_the_turn_comes() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    rig.shards[0].tell(Do::Stall);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.change(set("db", "a", 2)));
        let mut events = rig.events();
        events.wait("the first is with the shards", |event| {
            matches!(event, Happening::JobStage { stage: Stage::Prepare, .. })
        });
        let second = scope.spawn(|| {
            let orders = vec![Edit::BackendAdd(add("db", "b", 9002))];
            rig.change(Order::Transaction(Transaction { orders, if_generation: Some(1), dry_run: false }))
        });
        events.wait("the second is there", |event| matches!(event, Happening::JobSubmitted { job: 3, .. }));
        rig.shards[0].tell(Do::Go);
        assert_eq!(first.join().unwrap().unwrap().outcome, JobOutcome::Applied);
        assert_eq!(second.join().unwrap().unwrap_err().code, ErrorCode::Conflict);
    });
}

#[test]
fn typed_orders_edit_the_document() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    rig.change(Order::BackendAdd(add("db", "b", 9002))).unwrap();
    rig.change(set("db", "b", 7)).unwrap();
    assert_eq!(rig.status().pools[0].backends[1].weight, 7);
    let Ok(Body::Config(running)) = rig.call(Order::ConfigGet(Default::default())) else { panic!("no document") };
    assert!(running.document.contains("127.0.0.1:9002"), "{}", running.document);

    let missing = rig.change(set("db", "nobody", 1)).unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert!(missing.message.contains("nobody"), "{}", missing.message);
    let twice = rig.change(Order::BackendAdd(add("db", "b", 9003))).unwrap_err();
    assert_eq!(twice.code, ErrorCode::InvalidConfiguration);
    let empty = rig.change(Order::Transaction(Transaction::default())).unwrap_err();
    assert_eq!(empty.code, ErrorCode::InvalidRequest);
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let before = rig.status();
    let wrong = vec![Edit::BackendAdd(add("db", "b", 9002)), Edit::BackendRemove(remove("nobody", true))];
    rig.change(Order::Transaction(Transaction { orders: wrong, if_generation: None, dry_run: false })).unwrap_err();
    let after = rig.status();
    assert_eq!((before.generation, before.hash), (after.generation, after.hash));
    let right = vec![Edit::BackendAdd(add("db", "b", 9002)), Edit::BackendRemove(remove("a", true))];
    let receipt =
        rig.change(Order::Transaction(Transaction { orders: right, if_generation: Some(1), dry_run: false })).unwrap();
    assert_eq!(rig.status().generation, receipt.job);
}

#[test]
fn concurrent_submitters_each_get_their_own_outcome() {
    const SUBMITTERS: u16 = 8;
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let mut jobs: Vec<u64> = std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|number| {
                let rig = &rig;
                scope.spawn(move || {
                    let receipt =
                        rig.change(Order::BackendAdd(add("db", &format!("n{number}"), 9100 + number))).unwrap();
                    let failure = rig.change(set("db", &format!("x{number}"), 1)).unwrap_err();
                    assert!(failure.message.contains(&format!("x{number}")), "{}", failure.message);
                    receipt.job
                })
            })
            .collect();
        submitters.into_iter().map(|submitter| submitter.join().unwrap()).collect()
    });
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len(), SUBMITTERS as usize);
    assert_eq!(rig.status().pools[0].backends.len(), SUBMITTERS as usize + 1);
}

/// Two pools, two jobs, one of them with a shard that does not answer: the other waits for nobody.
#[test]
fn disjoint_jobs_run_together_and_overlapping_ones_wait() {
    let listen = [[free_address()], [free_address()]];
    let pools = |one: u32| {
        let weight = format!("weight = {one}");
        pool("one", &listen[0], &[("a", 9001, &weight)]) + &pool("two", &listen[1], &[("a", 9002, "")])
    };
    let rig = Rig::new(&pools(1));
    let mut events = rig.events();
    rig.shards[1].tell(Do::Stall);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| rig.change(set("one", "a", 5)));
        let at_prepare = |number| move |event: &Happening| matches!(event, Happening::JobStage { job, stage: Stage::Prepare } if *job == number);
        events.wait("job 2 is with the shards", at_prepare(2));
        let two = scope.spawn(|| rig.change(set("two", "a", 6)));
        events.wait("job 3 is with the shards too", at_prepare(3));
        // A document says what all pools are, so it comes after both.
        let whole = scope.spawn(|| rig.apply(&pools(9)));
        events.wait("job 4 is there", |event| matches!(event, Happening::JobSubmitted { job: 4, .. }));
        rig.until("job 4 waits for both", |rig| {
            let Ok(Body::Jobs(jobs)) = rig.call(Order::Jobs) else { panic!("no jobs") };
            let behind = jobs.jobs.iter().find(|job| job.job == 4).map(|job| job.behind.clone());
            if behind == Some(vec![2, 3]) { Ok(()) } else { Err(format!("{jobs:?}")) }
        });
        rig.shards[1].tell(Do::Go);
        for job in [one, two, whole] {
            assert_eq!(job.join().unwrap().unwrap().outcome, JobOutcome::Applied);
        }
    });
    // The document came last, so it counts: also for the pool that it had not meant to change.
    let status = rig.status();
    assert_eq!(status.pools[0].backends[0].weight, 9);
    assert_eq!(status.pools[1].backends[0].weight, 1);
}

/// A pool that only a later order changes is not taken back by a document that came before it.
#[test]
fn a_document_leaves_alone_what_came_after_it() {
    let listen = [[free_address()], [free_address()]];
    let pools = |one: u32| {
        let weight = format!("weight = {one}");
        pool("one", &listen[0], &[("a", 9001, &weight)]) + &pool("two", &listen[1], &[("a", 9002, "")])
    };
    let rig = Rig::new(&pools(1));
    let mut events = rig.events();
    rig.shards[1].tell(Do::Stall);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.change(set("one", "a", 5)));
        events.wait("the first is with the shards", |event| {
            matches!(event, Happening::JobStage { job: 2, stage: Stage::Prepare })
        });
        let document = scope.spawn(|| rig.apply(&pools(9)));
        events.wait("the document is there", |event| matches!(event, Happening::JobSubmitted { job: 3, .. }));
        let later = scope.spawn(|| rig.change(set("two", "a", 7)));
        events.wait("the later order is with the shards", |event| {
            matches!(event, Happening::JobStage { job: 4, stage: Stage::Prepare })
        });
        rig.shards[1].tell(Do::Go);
        for job in [first, document, later] {
            assert_eq!(job.join().unwrap().unwrap().outcome, JobOutcome::Applied);
        }
    });
    let status = rig.status();
    assert_eq!(status.pools[0].backends[0].weight, 9);
    assert_eq!(status.pools[1].backends[0].weight, 7);
}

#[test]
fn a_refusal_leaves_everything_as_it_was() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    rig.shards[1].tell(Do::Refuse);
    let more = [listen[0].clone(), free_address()];
    let changed = db(&more, &[("a", 9001, ""), ("b", 9002, "")]);
    let failure = rig.apply(&changed).unwrap_err();
    assert_eq!((failure.code, failure.stage), (ErrorCode::Refused, Some(Stage::Prepare)));
    assert_eq!(failure.refusals[0].shard, 1);
    assert!(failure.refusals[0].reason.contains("endpoints"), "{:?}", failure.refusals);
    let status = rig.status();
    assert_eq!((status.generation, status.pools[0].backends.len()), (1, 1));
    // What was refused leaves nothing in the way: same address, same backend, and now it works.
    assert_eq!(rig.apply(&changed).unwrap().outcome, JobOutcome::Applied);
    assert_eq!(rig.status().pools[0].listeners.len(), 2);
}

#[test]
fn removing_a_backend_tells_what_is_left() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, ""), ("b", 9002, "")]));
    let mut open: Vec<(usize, u64)> =
        [0, 1, 1].iter().map(|shard| (*shard, rig.shards[*shard].open("db", "b"))).collect();
    rig.shards[0].open("db", "a");
    let mut told = Vec::new();
    let answer = rig.told(Order::BackendRemove(remove("b", true)), |progress| {
        if let Progress::Draining { connections, backends, .. } = progress {
            assert_eq!((backends.len(), backends[0].backend.as_str()), (1, "b"));
            told.push(*connections);
            let removed = rig.status().pools[0].backends.iter().find(|backend| backend.backend == "b").cloned();
            assert!(removed.is_some_and(|backend| backend.removed));
            while open.len() as u64 >= *connections && !open.is_empty() {
                let (shard, connection) = open.pop().unwrap();
                rig.shards[shard].tell(Do::Close(connection));
            }
        }
    });
    let Ok(Body::Receipt(receipt)) = answer else { panic!("{answer:?}") };
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(told.first(), Some(&3));
    assert!(told.is_sorted_by(|a, b| a > b), "{told:?}");
    assert!(rig.status().pools[0].backends.iter().all(|backend| backend.backend != "b"));
    let mut events = rig.events();
    events.wait("it is drained", |event| matches!(event, Happening::Drained { backend, .. } if backend == "b"));
    assert!(rig.receipt(receipt.job).stages.iter().any(|stage| stage.name == Stage::Drain));
}

#[test]
fn a_removal_may_be_now_and_need_not_be_waited_for() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, ""), ("b", 9002, "")]));
    let kept = rig.shards[0].open("db", "b");
    let receipt = rig.change(Order::BackendRemove(remove("b", false))).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    // It comes back with the connection that it still has.
    rig.change(Order::BackendAdd(add("db", "b", 9002))).unwrap();
    assert_eq!(rig.status().pools[0].backends[1].connections, 1);
    let now = BackendRemove { now: true, ..remove("b", true) };
    let receipt = rig.change(Order::BackendRemove(now)).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(rig.status().pools[0].connections, 0);
    rig.shards[0].tell(Do::Close(kept));
}

/// The bound is on what is kept of the past; nothing is closed to make room, and the submitter is told.
#[test]
fn a_pool_at_its_bound_waits_for_a_release() {
    let listen = [free_address()];
    let head = "[reload]\nretained_max = \"1MiB\"\n";
    let ids: Vec<String> = (0..4000).map(|ix| format!("b{ix}")).collect();
    let many = |weight: u32| {
        let weight = format!("weight = {weight}");
        let backends: Vec<(&str, u16, &str)> =
            ids.iter().zip(10_000u16..).map(|(id, port)| (id.as_str(), port, weight.as_str())).collect();
        db(&listen, &backends)
    };
    let rig = Rig::with(1, head, &many(1));
    let mut waited = None;
    for weight in 2..10 {
        rig.shards[0].tell(Do::Hold { pool: "db" });
        let document = rig.document(head, &many(weight));
        let answer = rig.told(Order::Apply(Apply { document, ..Apply::default() }), |progress| {
            if let Progress::Retained { pool, bytes, .. } = progress {
                assert_eq!((pool.as_str(), rig.status().generation), ("db", u64::from(weight) - 1));
                waited = Some(*bytes);
                rig.shards[0].tell(Do::LetGo);
            }
        });
        assert!(matches!(answer, Ok(Body::Receipt(_))), "{answer:?}");
        if waited.is_some() {
            break;
        }
    }
    assert!(waited.is_some_and(|bytes| bytes > 256 << 10), "nobody ever waited: {waited:?}");
}

#[test]
fn an_address_comes_and_goes_and_comes_back() {
    let listen = [free_address(), free_address()];
    let rig = Rig::new(&db(&listen[..1], &[("a", 9001, "")]));
    for _ in 0..3 {
        assert_eq!(rig.apply(&db(&listen, &[("a", 9001, "")])).unwrap().outcome, JobOutcome::Applied);
        std::net::TcpStream::connect(&listen[1]).expect("the address is open");
        assert_eq!(rig.apply(&db(&listen[..1], &[("a", 9001, "")])).unwrap().outcome, JobOutcome::Applied);
    }
    let mut events = rig.events();
    for _ in 0..3 {
        events.wait("it is closed", |event| {
            matches!(event, Happening::Listener { state: api::status::ListenerState::Closed, .. })
        });
    }
    assert!(std::net::TcpStream::connect(&listen[1]).is_err());
}

#[test]
fn a_taken_address_refuses_the_whole_change() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    let free = free_address();
    let failure = rig.apply(&db(&[listen[0].clone(), free.clone(), taken.clone()], &[("a", 9001, "")])).unwrap_err();
    assert_eq!((failure.code, failure.stage), (ErrorCode::Refused, Some(Stage::Bind)));
    assert!(failure.message.contains(&taken), "{}", failure.message);
    assert!(std::net::TcpStream::connect(&free).is_err());
    drop(stranger);
    let both = db(&[listen[0].clone(), free, taken], &[("a", 9001, "")]);
    assert_eq!(rig.apply(&both).unwrap().outcome, JobOutcome::Applied);
}

#[test]
fn whole_pools_come_and_go() {
    let listen = [[free_address()], [free_address()]];
    let first = pool("first", &listen[0], &[("a", 9001, "")]);
    let second = pool("second", &listen[1], &[("a", 9001, "")]);
    let rig = Rig::new(&first);
    for _ in 0..3 {
        rig.apply(&format!("{first}{second}")).unwrap();
        let connection = rig.shards[1].open("second", "a");
        rig.apply(&first).unwrap();
        let gone = rig.generations().pools.into_iter().find(|pool| pool.pool == "second").unwrap();
        assert_eq!(gone.generation, None);
        assert!(!gone.pinned.is_empty());
        rig.shards[1].tell(Do::Close(connection));
    }
    rig.until("nothing is left of it", |rig| {
        let pools = rig.generations().pools;
        if pools.len() == 1 { Ok(()) } else { Err(format!("{pools:?}")) }
    });
    assert_eq!(rig.status().pools[0].generation, 1);
}

/// The new backend's name is resolved before the change goes out, so its first client is served.
#[test]
fn a_new_name_is_resolved_before_the_change_is_seen() {
    let listen = [free_address()];
    let server = crate::resolve::tests::Server::start();
    server.says("db.test", &["127.0.0.7"], 60);
    let rig = Rig::asleep(2, "", &db(&listen, &[("a", 9001, "")]), server.source()).woken();
    let named = BackendAdd { address: "db.test:9001".into(), ..add("db", "n", 0) };
    rig.change(Order::BackendAdd(named)).unwrap();
    let status = rig.status();
    let backend = status.pools[0].backends.iter().find(|backend| backend.backend == "n").unwrap();
    assert_eq!(backend.resolved, ["127.0.0.7:9001"]);
    let mut events = rig.events();
    let mut resolved = false;
    events.wait("it is adopted", |event| matches!(event, Happening::Adopted { .. }));
    for event in &events.seen {
        resolved |= matches!(event, Happening::Resolved { .. });
    }
    assert!(resolved, "adopted before it was resolved: {:?}", events.seen);
}
