//! What the appliance says of itself: receipts, history, events, generations, metrics, log lines.

use api::order::{BackendRemove, History};
use api::receipt::{JobOutcome, Source, Stage};
use api::status::PartKind;
use api::{Body, Happening, Order};
use e2e::{Pool, metric, pool};
use harness::appliance::{Appliance, Launch};
use harness::backend::{Backend, Vice};
use harness::client::{self, Tunnel};
use harness::net::Target;
use harness::wait::{Deadline, until};

struct Site {
    a: Backend,
    front: Target,
}

impl Site {
    fn new() -> Site {
        Site { a: Backend::echo(), front: Target::fresh() }
    }

    fn pool(&self, weight: u32, timeouts: &str) -> String {
        Pool::new("db")
            .listen(&self.front)
            .backend_with("a", self.a.target(), &format!("weight = {weight}"))
            .keys(".timeouts", timeouts)
            .to_string()
    }
}

#[test]
fn a_receipt_accounts_for_a_change() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, ""));
    let tunnels: Vec<Tunnel> = (0..7).map(|_| Tunnel::open(&site.front).expect("it opens")).collect();
    let before = appliance.status();
    let receipt = appliance.apply(&site.pool(3, ""));
    assert_eq!((receipt.generation_before, receipt.generation_after), (Some(before.generation), Some(receipt.job)));
    assert_eq!((receipt.source, receipt.order.as_deref()), (Source::Socket, Some("apply")));
    let author = receipt.author.as_ref().expect("somebody asked");
    assert_eq!((author.uid, author.pid), (rustix::process::getuid().as_raw(), Some(std::process::id())));
    assert!(receipt.submitted <= receipt.ended && receipt.submitted.ends_with('Z'), "{receipt:?}");

    let plan = receipt.plan.as_ref().expect("it had a plan");
    assert_eq!(plan.changes.len(), 1, "{plan:?}");
    let change = &plan.changes[0];
    assert_eq!((change.old.as_ref(), change.new.as_ref()), (Some(&1.into()), Some(&3.into())));
    assert!(
        change.path.ends_with(".weight") && change.category == "lbBackends" && !change.reason.is_empty(),
        "{change:?}"
    );
    assert_eq!(change.touched_connections, Some(7));

    let stages: Vec<Stage> = receipt.stages.iter().map(|stage| stage.name).collect();
    for stage in [Stage::Check, Stage::Plan, Stage::Compile, Stage::Prepare, Stage::Adopt] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
    assert!(stages.is_sorted(), "{stages:?}");
    assert_eq!(receipt.shards.len(), 2);
    assert!(receipt.shards.iter().all(|shard| shard.adopted_micros > 0), "{:?}", receipt.shards);
    assert_eq!(receipt.connections.carried, 7, "{:?}", receipt.connections);
    assert_eq!(receipt.connections.retired, 0);
    assert!(receipt.connections.closed.is_empty());
    assert!(receipt.memory.is_some_and(|memory| memory.before_bytes > 0 && memory.after_bytes > 0));
    assert_eq!(appliance.receipt(receipt.job).plan, receipt.plan);
    drop(tunnels);
}

/// A receipt grows until nothing of the old generation is left.
#[test]
fn a_receipt_grows_until_the_old_is_released() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, "idle = \"1h\""));
    let tunnel = Tunnel::open(&site.front).expect("it opens");
    let job = appliance.apply(&site.pool(1, "idle = \"2h\"")).job;
    assert_eq!(appliance.receipt(job).released, None);
    tunnel.close().expect("a proper end");
    until("the old policy is released", || {
        let receipt = appliance.receipt(job);
        receipt.released.clone().ok_or(format!("{receipt:?}"))
    });
}

#[test]
fn history_lists_every_attempt_newest_first() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, ""));
    appliance.apply(&site.pool(2, ""));
    appliance.try_apply("[pool.db]\nnonsense = 1\n").expect_err("it is wrong");
    appliance.try_apply(&site.pool(2, "")).expect("it is the same");
    let page = |limit, before| match appliance.call(Order::History(History { limit: Some(limit), before })) {
        Ok(Body::History(history)) => history,
        other => panic!("{other:?}"),
    };
    let all = page(10, None);
    let outcomes: Vec<JobOutcome> = all.jobs.iter().map(|job| job.outcome).collect();
    assert_eq!(outcomes, [JobOutcome::Unchanged, JobOutcome::KeptOld, JobOutcome::Applied, JobOutcome::Applied]);
    assert_eq!(all.jobs.last().map(|job| job.source), Some(Source::Start));
    assert!(!all.more);
    let numbers: Vec<u64> = all.jobs.iter().map(|job| job.job).collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    let (first, rest) = (page(1, None), page(10, Some(numbers[0])));
    assert!(first.more && first.jobs[0] == all.jobs[0] && rest.jobs == all.jobs[1..]);
    let kept = appliance.receipt(numbers[1]);
    assert!(kept.error.is_some_and(|error| !error.problems.is_empty()), "why it was kept is forgotten");
}

/// Who pins what: an open tunnel pins its small policy, never the pool.
#[test]
fn generations_say_who_pins_what() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, "idle = \"1h\""));
    let of_db = || appliance.generations().pools.into_iter().find(|pool| pool.pool == "db").expect("it is there");
    let first = appliance.status().generation;
    let tunnel = Tunnel::open(&site.front).expect("it opens");
    assert!(of_db().pinned.is_empty(), "{:?}", of_db());
    appliance.apply(&site.pool(1, "idle = \"2h\""));
    let pinned = until("the old root is released, the policy is not", || {
        let pinned = of_db().pinned;
        if pinned.len() == 1 { Ok(pinned) } else { Err(format!("{pinned:?}")) }
    });
    assert_eq!((pinned[0].generation, pinned[0].part), (first, PartKind::TunnelPolicy));
    assert!(pinned[0].bytes > 0 && pinned[0].bytes < 4096, "{pinned:?}");
    assert_eq!(pinned[0].pinned_by.len(), 1, "one tunnel is on one shard: {pinned:?}");
    // What does not touch the time-outs supersedes no policy: nothing more is pinned.
    for weight in 2..6 {
        appliance.apply(&site.pool(weight, "idle = \"2h\""));
    }
    until("nothing more is pinned", || {
        let pinned = of_db().pinned;
        if pinned.len() == 1 { Ok(()) } else { Err(format!("{pinned:?}")) }
    });
    tunnel.close().expect("a proper end");
    until("nothing is pinned", || {
        let pool = of_db();
        if pool.pinned.is_empty() && pool.retained_bytes == 0 { Ok(()) } else { Err(format!("{pool:?}")) }
    });
}

#[test]
fn events_tell_a_change_from_submission_to_release() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, "idle = \"1h\""));
    let tunnel = Tunnel::open(&site.front).expect("it opens");
    let mut events = appliance.events();
    let job = appliance.apply(&site.pool(2, "idle = \"2h\"")).job;
    let mut last = 0;
    let mut next = |what: &str, is: &dyn Fn(&Happening) -> bool| {
        let event = events.wait(what, |event| is(&event.happening));
        assert!(event.number > last, "numbers do not rise");
        last = event.number;
    };
    next("submitted", &|event| matches!(event, Happening::JobSubmitted { job: found, .. } if *found == job));
    next(
        "a stage",
        &|event| matches!(event, Happening::JobStage { job: found, stage: Stage::Prepare } if *found == job),
    );
    for _ in 0..2 {
        next("a shard adopts", &|event| matches!(event, Happening::Adopted { job: found, .. } if *found == job));
    }
    next(
        "ended",
        &|event| matches!(event, Happening::JobEnded { job: found, outcome: JobOutcome::Applied, .. } if *found == job),
    );
    tunnel.close().expect("a proper end");
    next("released", &|event| matches!(event, Happening::Released { part: PartKind::TunnelPolicy, .. }));
}

/// An event of emptiness comes exactly once for each removal.
#[test]
fn a_removed_backend_is_empty_exactly_once() {
    let (site, b) = (Site::new(), Backend::echo());
    let appliance = Appliance::start(&format!(
        "{}[[pool.db.group.main.backend]]\nid = \"b\"\naddress = \"{}\"\n",
        site.pool(1, ""),
        b.target()
    ));
    let tunnels: Vec<Tunnel> = (0..8).map(|_| Tunnel::open(&site.front).expect("it opens")).collect();
    let mut events = appliance.events();
    let remove = BackendRemove { pool: "db".into(), group: None, backend: "b".into(), now: false, wait: false };
    appliance.change(Order::BackendRemove(remove)).expect("it can be removed");
    tunnels.into_iter().for_each(|tunnel| tunnel.close().expect("a proper end"));
    let empty = |event: &api::Event| matches!(&event.happening, Happening::Drained { backend, .. } if backend == "b");
    let first = events.wait("it is empty", empty);
    // Everything up to the end of a later job is seen, and no second one is among it.
    let job = appliance.apply(&site.pool(5, "")).job;
    let end = events.wait("a later job's end", |event| {
        assert!(!empty(event), "empty twice");
        matches!(&event.happening, Happening::JobEnded { job: found, .. } if *found == job)
    });
    assert!(end.number > first.number);
}

#[test]
fn one_line_of_access_log_a_tunnel_with_what_it_carried() {
    let (site, sink) = (Site::new(), Backend::start(Vice::Sink));
    let pool = Pool::new("sink").listen(&site.front).backend("s", sink.target());
    let appliance = Appliance::start(&pool.to_string());
    for seed in 0..5 {
        assert_eq!(client::push(&site.front, seed, 1000 * (seed + 1), Deadline::patient()), Ok(()));
    }
    let mut log = appliance.wait_access_log(5);
    log.sort_by_key(|line| line["bytes_in"].as_u64());
    assert_eq!(log.len(), 5);
    for (number, line) in log.iter().enumerate() {
        assert_eq!(line["bytes_in"], 1000 * (number as u64 + 1));
        assert_eq!(line["bytes_out"], 16);
        assert_eq!(
            (&line["pool"], &line["backend"], &line["reason"]),
            (&"sink".into(), &"s".into(), &"finished".into())
        );
        assert_eq!(line["generation"], appliance.status().generation);
        assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.")), "{line}");
        assert!(line["duration_micros"].as_u64() >= line["connect_micros"].as_u64(), "{line}");
    }
}

/// A hundred changes of the traffic side: the log has one line a connection, no more and no less.
#[test]
fn reloads_lose_and_double_no_log_line() {
    const CONNECTIONS: usize = 400;
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, ""));
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            for _ in 0..CONNECTIONS {
                Tunnel::open(&site.front).expect("it opens").close().expect("a proper end");
            }
        });
        for weight in (2..).take(100) {
            appliance.apply(&site.pool(weight, ""));
        }
        clients.join().expect("the clients do not panic");
    });
    let log = appliance.wait_access_log(CONNECTIONS);
    appliance.wait_status("all are gone", |status| pool(status, "db").connections == 0);
    assert_eq!(log.len(), CONNECTIONS);
    assert_eq!(e2e::reasons(&log), vec!["finished"; CONNECTIONS]);
}

/// Changes of the log itself lose nothing either: the lines go on in another file.
#[test]
fn a_change_of_the_log_loses_no_line_and_no_connection() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, ""));
    let mut kept = Tunnel::open(&site.front).expect("it opens");
    let visit = || (0..20).for_each(|_| Tunnel::open(&site.front).expect("it opens").close().expect("a proper end"));
    visit();
    let other = appliance.folder().join("other.log");
    let document = appliance.document(&site.pool(1, "")).replace("access.log\"", "other.log\"");
    let receipt = appliance
        .change(Order::Apply(api::order::Apply { document, ..Default::default() }))
        .expect("it can be changed");
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    visit();
    until("all lines are in one file or the other", || {
        let lines = appliance.access_log().len() + std::fs::read_to_string(&other).unwrap_or_default().lines().count();
        if lines == 40 { Ok(()) } else { Err(lines) }
    });
    assert_eq!(kept.ping(10), Ok(()));
}

#[test]
fn the_log_can_be_switched_off_for_a_pool_and_written_for_people() {
    let site = Site::new();
    let quiet = Pool::new("quiet").listen(&site.front).backend("a", site.a.target()).keys("", "access_log = false");
    let front = Target::fresh();
    let loud = Pool::new("loud").listen(&front).backend("a", site.a.target());
    let launch = Launch::new(&format!("{quiet}{loud}"));
    let appliance = launch.start();
    Tunnel::open(&site.front).expect("it opens").close().expect("a proper end");
    Tunnel::open(&front).expect("it opens").close().expect("a proper end");
    let log = appliance.wait_access_log(1);
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["pool"], "loud");

    let document = appliance
        .document(&loud.to_string())
        .replace("format = \"json\"\nsink = \"file\"", "format = \"common\"\nsink = \"stdout\"");
    let without_quiet = appliance
        .change(Order::Apply(api::order::Apply { document, ..Default::default() }))
        .expect("it can be changed");
    assert_eq!(without_quiet.outcome, JobOutcome::Applied);
    Tunnel::open(&front).expect("it opens").close().expect("a proper end");
    until("a line for people is on stdout", || {
        let output = appliance.output();
        if output.iter().any(|line| line.contains("\"TCP loud a\" finished")) { Ok(()) } else { Err(output.join("\n")) }
    });
}

#[test]
fn metrics_count_what_happened_and_are_well_formed() {
    let site = Site::new();
    let appliance = Appliance::start(&site.pool(1, ""));
    assert_eq!(client::echo(&site.front, 1, 100_000, Deadline::patient()), Ok(()));
    let kept = Tunnel::open(&site.front).expect("it opens");
    appliance.wait_access_log(1);
    let db = &["pool=\"db\""];
    // Bytes of open tunnels are counted at their next timer tick.
    let text = until("all bytes are counted", || {
        let text = appliance.metrics();
        if metric(&text, "sluicegate_pool_bytes_out_total", db) == 100_064.0 { Ok(text) } else { Err(text) }
    });
    for (name, value) in [
        ("sluicegate_pool_accepted_total", 2.0),
        ("sluicegate_pool_connections", 1.0),
        ("sluicegate_pool_bytes_in_total", 100_064.0),
        ("sluicegate_pool_bytes_out_total", 100_064.0),
        ("sluicegate_endpoint_connects_total", 2.0),
        ("sluicegate_endpoint_connections", 1.0),
    ] {
        assert_eq!(metric(&text, name, db), value, "{name}:\n{text}");
    }
    // Each metric is described once, before its samples, and each sample is a number.
    let mut described = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().expect("a name");
            assert!(!described.contains(&name), "{name} is described twice");
            described.push(name);
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let name = series.split('{').next().expect("a name");
            assert!(described.contains(&name), "{name} is not described before its sample");
            assert!(name.starts_with("sluicegate_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
    kept.close().expect("a proper end");
}

#[test]
fn the_running_document_can_be_taken_out_and_put_in_again() {
    let (site, b) = (Site::new(), Backend::echo());
    let appliance = Appliance::start(&site.pool(1, ""));
    let add = api::order::BackendAdd {
        pool: "db".into(),
        backend: Some("b".into()),
        address: b.target().to_string(),
        ..Default::default()
    };
    appliance.change(Order::BackendAdd(add)).expect("it can be added");
    let Ok(Body::Config(running)) = appliance.call(Order::ConfigGet(Default::default())) else {
        panic!("the running document was expected")
    };
    assert!(
        running.document.contains(&b.target().to_string()),
        "the order's backend is missing:\n{}",
        running.document
    );
    assert_eq!((running.generation, &running.hash), (appliance.status().generation, &appliance.status().hash));
    let again = appliance
        .change(Order::Apply(api::order::Apply { document: running.document, ..Default::default() }))
        .expect("it is right");
    assert_eq!(again.outcome, JobOutcome::Unchanged);
}
