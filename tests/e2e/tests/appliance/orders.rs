//! Orders over the control socket: one change, several at once, changes that are refused, and what other pools notice.

use api::order::{Apply, BackendAdd, BackendRemove, BackendSet, Transaction};
use api::receipt::JobOutcome;
use api::{Body, Class, Edit, ErrorCode, Happening, Order, Progress, Reply, Stage};
use e2e::{Pool, backend, pool};
use harness::appliance::{Appliance, Launch, tell};
use harness::backend::{Backend, Vice};
use harness::client::Tunnel;
use harness::net::Target;
use harness::outcome::Failure;
use harness::wait::Deadline;
use std::thread;

/// One pool `db` with the backend `a`.
struct Site {
    appliance: Appliance,
    a: Backend,
    front: Target,
}

impl Site {
    fn start() -> Site {
        let (a, front) = (Backend::start(Vice::Greets(b'a')), Target::fresh());
        let appliance = Launch::new(&Site::document(&front, &a).to_string()).shards(2).start();
        Site { appliance, a, front }
    }

    fn document(front: &Target, a: &Backend) -> Pool {
        Pool::new("db").listen(front).backend("a", a.target())
    }

    fn add(&self, id: &str, to: &Backend) -> BackendAdd {
        BackendAdd {
            pool: "db".into(),
            backend: Some(id.into()),
            address: to.target().to_string(),
            ..Default::default()
        }
    }

    fn remove(&self, id: &str) -> BackendRemove {
        BackendRemove { pool: "db".into(), group: None, backend: id.into(), now: false, wait: true }
    }

    fn open(&self) -> (u8, Tunnel) {
        let mut tunnel = Tunnel::connect(&self.front).expect("it connects");
        let mut name = [0];
        tunnel.stream().receive_all(&mut name).expect("a backend greets");
        (name[0], tunnel)
    }

    /// Names of the backends that serve the next so many connections, each once, sorted.
    fn serving(&self, connections: usize) -> Vec<u8> {
        let mut names: Vec<u8> = (0..connections).map(|_| self.open().0).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[test]
fn backends_are_added_and_used_at_once() {
    let site = Site::start();
    let b = Backend::start(Vice::Greets(b'b'));
    let receipt = site.appliance.change(Order::BackendAdd(site.add("b", &b))).expect("it can be added");
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(receipt.generation_after, Some(receipt.job));
    assert_eq!(site.serving(8), b"ab");
    let again = site.appliance.change(Order::BackendAdd(site.add("b", &b))).expect("it is there as it is wanted");
    assert_eq!(again.outcome, JobOutcome::Unchanged);
    let other = BackendAdd { weight: Some(7), ..site.add("b", &b) };
    let twice = site.appliance.change(Order::BackendAdd(other)).expect_err("it is there already, and other");
    assert_eq!(twice.code, ErrorCode::InvalidConfiguration, "{}", tell(&twice));
}

/// Routing stops at once; `processing` tells how many connections are left; `ok` when the last is gone.
#[test]
fn removing_a_backend_tells_what_is_left_and_when_nothing_is() {
    let site = Site::start();
    let b = Backend::start(Vice::Greets(b'b'));
    site.appliance.change(Order::BackendAdd(site.add("b", &b))).expect("it can be added");
    let (mut on_b, mut others): (Vec<_>, Vec<_>) = (0..12).map(|_| site.open()).partition(|(name, _)| *name == b'b');
    assert!(on_b.len() >= 3, "round robin over two");
    let mut events = site.appliance.events();

    let mut client = site.appliance.client();
    client.send(Order::BackendRemove(site.remove("b"))).expect("an order can be sent");
    let mut left = on_b.len() as u64;
    let mut told = Vec::new();
    let receipt = loop {
        match client.receive(Some(harness::wait::PATIENCE)).expect("an answer").answer.reply {
            Reply::Processing { progress: Progress::Draining { connections, backends, .. } } => {
                assert_eq!(backends.len(), 1);
                told.push(connections);
                if connections == left {
                    assert_eq!(site.serving(6), b"a", "routing did not stop");
                    let (_, tunnel) = on_b.pop().expect("as many as are told");
                    tunnel.close().expect("a proper end");
                    left -= 1;
                }
            }
            Reply::Processing { .. } => {}
            Reply::Ok { result: Body::Receipt(receipt) } => break receipt,
            other => panic!("{other:?}"),
        }
    };
    assert!(on_b.is_empty(), "the final answer came with {left} connections left; told were {told:?}");
    assert!(told.len() >= 2 && told.is_sorted_by(|a, b| a >= b), "{told:?}");
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    events
        .wait("it is empty", |event| matches!(&event.happening, Happening::Drained { backend, .. } if backend == "b"));
    assert!(site.appliance.status().pools[0].backends.iter().all(|backend| backend.backend != "b"));
    assert!(others.iter_mut().all(|(_, tunnel)| tunnel.ping(10).is_ok()));
}

#[test]
fn a_client_may_leave_while_a_backend_drains() {
    let site = Site::start();
    let b = Backend::start(Vice::Greets(b'b'));
    site.appliance.change(Order::BackendAdd(site.add("b", &b))).expect("it can be added");
    let mut on_b = (0..4).map(|_| site.open()).find(|(name, _)| *name == b'b').expect("round robin over two").1;
    let mut client = site.appliance.client();
    client.send(Order::BackendRemove(site.remove("b"))).expect("an order can be sent");
    client.receive(Some(harness::wait::PATIENCE)).expect("it is under way");
    drop(client);
    site.appliance.wait_status("it is removed", |status| backend(status, "b").removed);
    assert_eq!(on_b.ping(10), Ok(()));
    let mut events = site.appliance.events();
    on_b.close().expect("a proper end");
    events
        .wait("it is empty", |event| matches!(&event.happening, Happening::Drained { backend, .. } if backend == "b"));
}

#[test]
fn a_removal_need_not_be_waited_for_and_may_be_now() {
    let site = Site::start();
    let b = Backend::start(Vice::Greets(b'b'));
    let add = || site.appliance.change(Order::BackendAdd(site.add("b", &b))).expect("it can be added");
    let find_b = || (0..4).map(|_| site.open()).find(|(name, _)| *name == b'b').expect("round robin over two").1;
    add();
    let mut kept = find_b();
    let receipt = site
        .appliance
        .change(Order::BackendRemove(BackendRemove { wait: false, ..site.remove("b") }))
        .expect("removed");
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(kept.ping(10), Ok(()));

    // It comes back with the connection that it still has.
    add();
    assert_eq!(backend(&site.appliance.status(), "b").connections, 1);
    let mut more = find_b();
    site.appliance.change(Order::BackendRemove(BackendRemove { now: true, ..site.remove("b") })).expect("removed");
    for tunnel in [&mut kept, &mut more] {
        let end = tunnel.wait_end(Deadline::patient());
        assert!(end.is_ok() || end.as_ref().is_err_and(Failure::is_reset), "{end:?}");
    }
    harness::wait::until("their log lines say why", || {
        let log = site.appliance.access_log();
        let removed = log.iter().filter(|line| line["reason"] == "backend-removed").count();
        if removed == 2 { Ok(()) } else { Err(format!("{log:?}")) }
    });
}

#[test]
fn a_transaction_is_all_or_nothing_in_one_generation() {
    let site = Site::start();
    let (b, c) = (Backend::start(Vice::Greets(b'b')), Backend::start(Vice::Greets(b'c')));
    let before = site.appliance.status();
    let bad = Transaction {
        orders: vec![
            Edit::BackendAdd(site.add("b", &b)),
            Edit::BackendSet(BackendSet {
                pool: "db".into(),
                backend: "nobody".into(),
                weight: Some(2),
                ..Default::default()
            }),
        ],
        ..Transaction::default()
    };
    let failure = site.appliance.change(Order::Transaction(bad)).expect_err("there is no such backend");
    assert!(tell(&failure).contains("nobody"), "{}", tell(&failure));
    let after = site.appliance.status();
    assert_eq!((before.generation, &before.hash), (after.generation, &after.hash));
    assert_eq!(site.serving(6), b"a", "half of it was carried out");

    let good = Transaction {
        orders: vec![
            Edit::BackendAdd(site.add("b", &b)),
            Edit::BackendAdd(site.add("c", &c)),
            Edit::BackendRemove(site.remove("a")),
        ],
        if_generation: Some(after.generation),
        ..Transaction::default()
    };
    let receipt = site.appliance.change(Order::Transaction(good)).expect("all of it is right");
    assert_eq!(site.appliance.status().generation, receipt.job, "one transaction, one generation");
    assert_eq!(site.serving(8), b"bc");
}

#[test]
fn a_condition_on_the_generation_holds() {
    let site = Site::start();
    let running = site.appliance.status().generation;
    let apply = |weight: u32, if_generation| {
        let pools =
            Pool::new("db").listen(&site.front).backend_with("a", site.a.target(), &format!("weight = {weight}"));
        let document = site.appliance.document(&pools.to_string());
        site.appliance.change(Order::Apply(Apply {
            document,
            if_generation: Some(if_generation),
            ..Default::default()
        }))
    };
    let stale = apply(2, running + 7).expect_err("another generation runs");
    assert_eq!((stale.code, stale.generation), (ErrorCode::Conflict, Some(running)));
    let receipt = apply(2, running).expect("the condition holds");
    let late = apply(3, running).expect_err("the condition holds no more");
    assert_eq!((late.code, late.generation), (ErrorCode::Conflict, receipt.generation_after));
}

#[test]
fn what_runs_already_is_answered_unchanged() {
    let site = Site::start();
    let running = site.appliance.status();
    let same = Site::document(&site.front, &site.a).to_string();
    for document in
        [same.clone(), format!("# a comment\n\n{same}"), same.replace("id = \"a\"\n", "weight = 1\nid = \"a\"\n")]
    {
        let receipt = site.appliance.try_apply(&document).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
        assert_eq!(receipt.outcome, JobOutcome::Unchanged);
        assert!(site.appliance.plan(&document).expect("it can be planned").unchanged);
    }
    let after = site.appliance.status();
    assert_eq!((after.generation, after.hash), (running.generation, running.hash));
}

/// It is not tried any longer, has changed nothing, and says where it was.
#[test]
fn a_job_whose_time_is_over_ends_with_what_ran() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let pool = |weight: u32| {
        Pool::new("db").listen(&front).backend_with("a", echo.target(), &format!("weight = {weight}")).to_string()
    };
    let reload = "[reload]\njob_timeout = \"1s\"\nwait_before = \"1m\"";
    let appliance = Launch::new(&pool(1)).other_tables(reload).start();
    let before = appliance.status();
    let failure = appliance.try_apply(&pool(2)).expect_err("it pauses for longer than it may take");
    assert_eq!((failure.code, failure.stage), (ErrorCode::TimedOut, Some(Stage::Wait)), "{}", tell(&failure));
    let receipt = appliance.receipt(failure.job.expect("it was a job"));
    assert_eq!((receipt.outcome, receipt.generation_after), (JobOutcome::KeptOld, Some(before.generation)));
    let after = appliance.status();
    assert_eq!((before.generation, before.hash), (after.generation, after.hash));
    assert_eq!(backend(&appliance.status(), "a").weight, 1);
    assert_eq!(Tunnel::open(&front).map(drop), Ok(()));
}

#[test]
fn what_needs_a_restart_is_refused_with_every_reason() {
    let site = Site::start();
    let before = site.appliance.status();
    let memory = Site::document(&site.front, &site.a).keys(".create", "memory = \"32MiB\"\nshards = [0]").to_string();
    let failure = site.appliance.try_apply(&memory).expect_err("how a pool was created cannot change live");
    assert_eq!(failure.code, ErrorCode::RestartRequired, "{}", tell(&failure));
    let mut paths: Vec<&str> = failure.restart_reasons.iter().map(|reason| reason.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["pool.db.create.memory", "pool.db.create.shards"]);
    for reason in &failure.restart_reasons {
        assert_eq!(reason.class, Class::Hard);
        assert!(!reason.code.is_empty() && reason.reason.ends_with('.'), "{reason:?}");
    }
    // It is kept.
    let kept = site.appliance.receipt(failure.job.expect("it was a job")).error.expect("it failed");
    assert_eq!(kept.restart_reasons, failure.restart_reasons);
    // The same answer, asked before.
    let plan = site.appliance.plan(&memory).expect("it can be planned");
    assert_eq!(plan.restart_reasons, failure.restart_reasons);

    let moved = Site::document(&Target::fresh(), &site.a).to_string();
    assert_eq!(site.appliance.try_apply(&moved).expect_err("no address stays").code, ErrorCode::RestartRequired);

    let process =
        site.appliance.document(&Site::document(&site.front, &site.a).to_string()).replace("shards = 2", "shards = 1");
    let failure = site
        .appliance
        .change(Order::Apply(Apply { document: process, ..Default::default() }))
        .expect_err("shards are started once");
    assert_eq!(
        failure.restart_reasons.iter().map(|reason| (reason.path.as_str(), reason.class)).collect::<Vec<_>>(),
        [("appliance.shards", Class::Process)]
    );

    let after = site.appliance.status();
    assert_eq!((before.generation, before.hash), (after.generation, after.hash));
    assert_eq!(site.serving(3), b"a");
}

/// Everything about the other pool is as it was: its number, its tunnels, its counts.
#[test]
fn other_pools_do_not_notice() {
    let (echo, fronts) = (Backend::echo(), [Target::fresh(), Target::fresh()]);
    let pools = |weight: u32, listen: &[&Target]| {
        let quiet = Pool::new("quiet").listen(&fronts[0]).backend("q", echo.target());
        let busy = Pool::new("busy").backend_with("b", echo.target(), &format!("weight = {weight}"));
        format!("{quiet}{}", listen.iter().fold(busy, |pool, address| pool.listen(address)))
    };
    let appliance = Appliance::start(&pools(1, &[&fronts[1]]));
    let mut tunnels: Vec<Tunnel> = (0..10).map(|_| Tunnel::open(&fronts[0]).expect("it opens")).collect();
    let before = appliance.status();
    let extra = Target::fresh();
    for weight in 2..12 {
        let listen: &[&Target] = if weight % 2 == 0 { &[&fronts[1], &extra] } else { &[&fronts[1]] };
        let receipt = appliance.apply(&pools(weight, listen));
        let plan = receipt.plan.expect("a job that was applied had a plan");
        assert_eq!(plan.pools, ["busy"]);
    }
    let after = appliance.status();
    assert_eq!(pool(&after, "quiet"), pool(&before, "quiet"));
    assert_eq!(pool(&after, "busy").generation, after.generation);
    assert_eq!(tunnels.iter_mut().try_for_each(|tunnel| tunnel.ping(100)), Ok(()));
    let generations = appliance.generations();
    let quiet = generations.pools.iter().find(|pool| pool.pool == "quiet").expect("it is there");
    assert!(quiet.pinned.is_empty() && quiet.retained_bytes == 0, "{quiet:?}");
}

/// Many submit at once: each is answered for itself, and what runs is the sum.
#[test]
fn concurrent_submitters_each_get_their_own_answer() {
    const SUBMITTERS: u64 = 12;
    let site = Site::start();
    let backends: Vec<Backend> = (0..SUBMITTERS).map(|_| Backend::echo()).collect();
    let mut jobs: Vec<u64> = thread::scope(|scope| {
        let submitters: Vec<_> = backends
            .iter()
            .enumerate()
            .map(|(number, backend)| {
                let site = &site;
                scope.spawn(move || {
                    let added = site.appliance.change(Order::BackendAdd(site.add(&format!("n{number}"), backend)));
                    let added = added.unwrap_or_else(|failure| panic!("{}", tell(&failure)));
                    assert_eq!(added.outcome, JobOutcome::Applied);
                    let wrong = BackendSet {
                        pool: "db".into(),
                        backend: format!("x{number}"),
                        weight: Some(1),
                        ..Default::default()
                    };
                    let failure =
                        site.appliance.change(Order::BackendSet(wrong)).expect_err("there is no such backend");
                    assert!(
                        tell(&failure).contains(&format!("x{number}")),
                        "somebody else's answer: {}",
                        tell(&failure)
                    );
                    added.job
                })
            })
            .collect();
        submitters.into_iter().map(|submitter| submitter.join().expect("no submitter panics")).collect()
    });
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len() as u64, SUBMITTERS, "two submissions under one number");
    assert_eq!(pool(&site.appliance.status(), "db").backends.len() as u64, SUBMITTERS + 1);
}

/// A waiting backend's connections survive the next change, and the next.
#[test]
fn what_drains_from_one_change_survives_the_next() {
    let site = Site::start();
    let b = Backend::start(Vice::Greets(b'b'));
    site.appliance.change(Order::BackendAdd(site.add("b", &b))).expect("it can be added");
    let mut tunnels: Vec<Tunnel> = (0..8).map(|_| site.open().1).collect();
    site.appliance.change(Order::BackendRemove(BackendRemove { wait: false, ..site.remove("b") })).expect("removed");
    for weight in 2..8 {
        let set = BackendSet { pool: "db".into(), backend: "a".into(), weight: Some(weight), ..Default::default() };
        site.appliance.change(Order::BackendSet(set)).expect("a weight can be set");
        assert_eq!(tunnels.iter_mut().try_for_each(|tunnel| tunnel.ping(100)), Ok(()), "after weight {weight}");
    }
    assert_eq!(b.seen().open, 4);
}
