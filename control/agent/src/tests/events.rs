//! The stream of events accounts for everything: nothing is missing in it, nothing is told twice, and the order is the
//! one that `control/README.md` promises.

use super::*;
use api::order::{BackendAdd, BackendRemove, BackendSet, Transaction};
use api::receipt::JobOutcome;
use api::status::{ListenerState, PartKind};
use api::{Edit, ErrorCode, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// About what a busy minute of an orchestrator brings.
const ROUNDS: u16 = 60;

fn add(port: u16) -> BackendAdd {
    let address = format!("127.0.0.1:{port}");
    BackendAdd { pool: "db".into(), backend: Some(format!("b{port}")), address, ..BackendAdd::default() }
}

fn remove(port: u16) -> BackendRemove {
    BackendRemove { pool: "db".into(), group: None, backend: format!("b{port}"), now: false, wait: false }
}

fn weight(weight: u32) -> BackendSet {
    BackendSet { pool: "db".into(), backend: "a".into(), weight: Some(weight), ..BackendSet::default() }
}

/// What was asked for, as its answers told.
#[derive(Default)]
struct Asked {
    outcomes: BTreeMap<u64, JobOutcome>,
    removed: Vec<String>,
}

impl Asked {
    fn order(&mut self, rig: &Rig, order: Order) {
        match rig.change(order) {
            Ok(receipt) => assert!(self.outcomes.insert(receipt.job, receipt.outcome).is_none()),
            Err(failure) => {
                assert!(matches!(failure.code, ErrorCode::InvalidConfiguration | ErrorCode::NotFound), "{failure:?}");
                let job = failure.job.expect("a job that has failed has a number");
                self.outcomes.insert(job, JobOutcome::KeptOld);
            }
        }
    }

    fn remove(&mut self, rig: &Rig, port: u16) {
        self.removed.push(format!("b{port}"));
        self.order(rig, Order::BackendRemove(remove(port)));
    }
}

/// A round: what comes is drained away again in this round or in the next one.
fn round(rig: &Rig, listen: &[String], n: u16, asked: &mut Asked) {
    let port = 10_000 + 10 * n;
    asked.order(rig, Order::BackendAdd(add(port)));
    asked.order(rig, Order::BackendAdd(add(port + 1)));
    asked.order(rig, Order::BackendSet(weight(u32::from(n) + 2)));
    // It has done so already.
    asked.order(rig, Order::BackendSet(weight(u32::from(n) + 2)));
    asked.order(rig, Order::BackendRemove(remove(1)));
    asked.remove(rig, port);
    asked.removed.push(format!("b{}", port + 1));
    let orders = vec![Edit::BackendAdd(add(port + 2)), Edit::BackendRemove(remove(port + 1))];
    asked.order(rig, Order::Transaction(Transaction { orders, if_generation: None, dry_run: false }));
    // A document without what came by order, and with other time-outs; every other one with one more address.
    asked.removed.push(format!("b{}", port + 2));
    let idle = format!("[pool.db.timeouts]\nidle = \"{}s\"\n", n + 1);
    let document = rig.document("", &format!("{}{idle}", db(&listen[..1 + usize::from(n % 2)], &[("a", 9001, "")])));
    asked.order(rig, Order::Apply(Apply { document, ..Apply::default() }));
    asked.order(rig, Order::Apply(Apply { document: "nonsense".into(), ..Apply::default() }));
}

#[test]
fn a_busy_minute_is_accounted_for_job_by_job() {
    let listen = [free_address(), free_address(), free_address()];
    let rig = Rig::new(&db(&listen[..1], &[("a", 9001, "")]));
    let mut events = rig.events();
    let mut asked = Asked::default();
    (0..ROUNDS).for_each(|n| round(&rig, &listen, n, &mut asked));
    // The last address to leave, the last part to be released, the last backend to drain: then nothing is to come.
    let last = rig.apply(&pool("other", &listen[2..], &[("z", 9009, "")]));
    let last = last.unwrap();
    asked.outcomes.insert(last.job, last.outcome);
    asked.removed.push("a".into());
    rig.until("everything is released", |rig| {
        let released = asked.outcomes.iter().filter(|(_, outcome)| **outcome == JobOutcome::Applied);
        let open = released.map(|(job, _)| *job).find(|job| rig.receipt(*job).released.is_none());
        open.map_or(Ok(()), |job| Err(format!("job {job} still holds something")))
    });
    let closing = |listen: &String| {
        let address = listen.clone();
        move |event: &Happening| matches!(event, Happening::Listener { address: of, state: ListenerState::Closed, .. } if *of == address)
    };
    let left = closing(&listen[0]);
    if !events.seen.iter().any(&left) {
        events.wait("the first address is closed", left);
    }
    let stop = rig.change(Order::BackendSet(BackendSet {
        pool: "other".into(),
        backend: "z".into(),
        weight: Some(2),
        ..BackendSet::default()
    }));
    let stop = stop.unwrap().job;
    asked.outcomes.insert(stop, JobOutcome::Applied);
    let root_of = |generation: u64| move |event: &Happening| matches!(event, Happening::Released { pool, generation: of, part: PartKind::Pool, .. } if pool == "other" && *of == generation);
    events.wait("the root before the last is released", root_of(last.job));

    let numbers: Vec<u64> = (1..=events.numbers.len() as u64).collect();
    assert_eq!(events.numbers, numbers, "numbers rise by one");
    let jobs = Jobs::read(&events.seen);
    assert_eq!(jobs.outcomes(), asked.outcomes);
    jobs.check();

    let drained = events.seen.iter().filter_map(|event| match event {
        Happening::Drained { backend, .. } => Some(backend.clone()),
        _ => None,
    });
    let mut drained: Vec<String> = drained.collect();
    drained.sort();
    asked.removed.sort();
    assert_eq!(drained, asked.removed, "each removal is drained once");

    let mut released = BTreeSet::new();
    for event in &events.seen {
        if let Happening::Released { pool, generation, part, .. } = event {
            let part = part.label();
            assert!(released.insert((pool.clone(), *generation, part)), "{pool}@{generation} {part} released twice");
        }
    }
    let applied: Vec<u64> =
        asked.outcomes.iter().filter(|(_, outcome)| **outcome == JobOutcome::Applied).map(|(job, _)| *job).collect();
    let roots = std::iter::once(1).chain(applied.iter().copied().filter(|job| *job < last.job));
    for generation in roots {
        assert!(released.contains(&("db".into(), generation, "pool")), "the root of db@{generation} was not told");
    }
    // The time-outs changed once a round, the start's policy was another, and the pool's last went with it.
    let policies = released.iter().filter(|(pool, _, part)| pool == "db" && *part == "tunnel-policy").count();
    assert_eq!(policies, usize::from(ROUNDS) + 1);
}

/// What the stream says of each job.
struct Jobs(BTreeMap<u64, Told>);

#[derive(Default, Debug)]
struct Told {
    submitted: Vec<usize>,
    stages: Vec<(usize, Stage)>,
    adopted: Vec<(usize, u16)>,
    ended: Vec<(usize, JobOutcome)>,
}

impl Jobs {
    fn read(events: &[Happening]) -> Jobs {
        let mut jobs: BTreeMap<u64, Told> = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            match event {
                Happening::JobSubmitted { job, .. } => jobs.entry(*job).or_default().submitted.push(at),
                Happening::JobStage { job, stage } => jobs.entry(*job).or_default().stages.push((at, *stage)),
                Happening::Adopted { job, shard, .. } => jobs.entry(*job).or_default().adopted.push((at, *shard)),
                Happening::JobEnded { job, outcome, .. } => jobs.entry(*job).or_default().ended.push((at, *outcome)),
                _ => {}
            }
        }
        // The start is a job that nobody submitted.
        jobs.remove(&1);
        Jobs(jobs)
    }

    fn outcomes(&self) -> BTreeMap<u64, JobOutcome> {
        self.0.iter().filter_map(|(job, told)| Some((*job, told.ended.first()?.1))).collect()
    }

    /// Each once, and in this order: submitted, stages as they follow each other, adopted by each shard, ended.
    fn check(&self) {
        for (job, Told { submitted, stages, adopted, ended }) in &self.0 {
            let ([begin], [(end, outcome)]) = (&submitted[..], &ended[..]) else {
                panic!("job {job}: submitted at {submitted:?}, ended at {ended:?}");
            };
            let within = |at: &usize| begin < at && at < end;
            assert!(stages.is_sorted_by(|a, b| a.1 < b.1), "job {job}: {stages:?}");
            assert!(stages.iter().all(|(at, _)| within(at)), "job {job}: {stages:?}");
            let mut shards: Vec<u16> = adopted.iter().map(|(_, shard)| *shard).collect();
            shards.sort_unstable();
            let expected: &[u16] = if *outcome == JobOutcome::Applied { &[0, 1] } else { &[] };
            assert_eq!(shards, expected, "job {job}, {outcome}");
            let adopting = stages.iter().find(|(_, stage)| *stage == Stage::Adopt).map_or(*begin, |(at, _)| *at);
            assert!(adopted.iter().all(|(at, _)| within(at) && adopting < *at), "job {job}: {adopted:?}");
        }
    }
}

/// A client that does not read costs nobody anything, and is told how much it has missed: what it gets and what it
/// missed are together everything.
#[test]
fn a_client_that_does_not_read_is_told_what_it_missed() {
    let rig = Rig::new(&db(&[free_address()], &[("a", 9001, "")]));
    let mut slow = rig.events();
    // More than the appliance remembers and a socket holds.
    let mut last = 0;
    for n in 0..1_200 {
        last = rig.change(Order::BackendSet(weight(n % 2 + 2))).unwrap().job;
    }
    slow.wait("the end of the last job", |event| matches!(event, Happening::JobEnded { job, .. } if *job == last));
    let mut next = 1;
    let mut missed = 0;
    for (number, event) in slow.numbers.iter().zip(&slow.seen) {
        if let Happening::Missed { events } = event {
            missed += events;
            next += events;
            assert_eq!(*number, next - 1, "its number is that of the last that is missing");
        } else {
            assert_eq!(*number, next);
            next += 1;
        }
    }
    assert!(missed > 0, "it read {} events in time", slow.seen.len());
}

/// Control dies over the adoption of its only shard. However the release comes to be known to the next life, it is told once.
#[test]
fn what_is_released_while_control_is_away_is_told() {
    let rig = Rig::with(1, "", &db(&[free_address()], &[("a", 9001, "")]));
    rig.plant(Fault::Adopted);
    // Whether its submitter is told so is not the question here.
    let _ = rig.change(Order::BackendSet(weight(2)));
    rig.until("changes work again", |rig| rig.change(Order::BackendSet(weight(3))).map_err(|failure| failure.message));
    let mut events = rig.events();
    let root = |generation: u64| move |event: &Happening| matches!(event, Happening::Released { generation: of, part: PartKind::Pool, .. } if *of == generation);
    events.wait("the root of the change that it died over is released", root(2));
    assert_eq!(events.seen.iter().filter(|event| root(1)(event)).count(), 1, "{:?}", events.seen);
}
