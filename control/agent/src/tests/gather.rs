//! What comes within `reload.min_interval` becomes one generation, and each submitter is told what became of his.

use super::*;
use api::order::{BackendSet, Transaction};
use api::receipt::{JobOutcome, Source};
use api::{Edit, ErrorCode, Stage};

/// Long enough that all of a test comes within it.
const HEAD: &str = "[reload]\nmin_interval = \"2s\"\n";

fn weighs(pool: &str, weight: u32) -> BackendSet {
    BackendSet { pool: pool.into(), backend: "a".into(), weight: Some(weight), ..BackendSet::default() }
}

fn set(pool: &str, weight: u32) -> Order {
    Order::BackendSet(weighs(pool, weight))
}

fn set_if(pool: &str, weight: u32, if_generation: u64) -> Order {
    let orders = vec![Edit::BackendSet(weighs(pool, weight))];
    Order::Transaction(Transaction { orders, if_generation: Some(if_generation), dry_run: false })
}

type Told = Result<Receipt, Box<Failure>>;

/// All of these, submitted in this order, once one has begun the interval. What each is told.
fn together(rig: &Rig, orders: Vec<Order>) -> Vec<Told> {
    let mut events = rig.events();
    let begun = rig.change(set("one", 77)).unwrap();
    assert_eq!((begun.outcome, begun.within), (JobOutcome::Applied, None), "the first goes at once");
    std::thread::scope(|scope| {
        let told: Vec<_> = orders
            .into_iter()
            .zip(begun.job + 1..)
            .map(|(order, number)| {
                let told = scope.spawn(move || rig.change(order));
                let comes = |event: &Happening| matches!(event, Happening::JobSubmitted { job, .. } if *job == number);
                events.wait("it has come", comes);
                told
            })
            .collect();
        told.into_iter().map(|told| told.join().unwrap()).collect()
    })
}

fn rig_of(listen: &[[String; 1]; 2]) -> Rig {
    Rig::with(2, HEAD, &pools(listen, 1, 1))
}

fn pools(listen: &[[String; 1]; 2], one: u32, two: u32) -> String {
    let weight = |weight| format!("weight = {weight}");
    pool("one", &listen[0], &[("a", 9001, &weight(one))]) + &pool("two", &listen[1], &[("a", 9002, &weight(two))])
}

fn weights(rig: &Rig) -> [u32; 2] {
    let status = rig.status();
    [0, 1].map(|pool: usize| status.pools[pool].backends[0].weight)
}

#[test]
fn a_burst_is_one_generation_and_each_is_told_its_own() {
    let rig = rig_of(&[[free_address()], [free_address()]]);
    let told = together(&rig, vec![set("one", 5), set("two", 6), set("nope", 7), set("one", 8), set("one", 8)]);
    assert_eq!(weights(&rig), [8, 6]);
    let status = rig.status();
    let carrier = rig.receipt(status.generation);
    assert_eq!((carrier.source, carrier.outcome), (Source::Together, JobOutcome::Applied));
    assert_eq!(carrier.shards.len(), 2);
    let outcomes: Vec<_> = told
        .iter()
        .map(|told| match told {
            Ok(receipt) => Ok((receipt.outcome, receipt.generation_after, receipt.within)),
            Err(failure) => Err(failure.code),
        })
        .collect();
    let (generation, within) = (Some(status.generation), Some(carrier.job));
    let applied = Ok((JobOutcome::Applied, generation, within));
    let unchanged = Ok((JobOutcome::Unchanged, generation, within));
    assert_eq!(outcomes, [applied, applied, Err(ErrorCode::NotFound), applied, unchanged]);
    // Each account has what that one changed.
    let plan = |ix: usize| told[ix].as_ref().unwrap().plan.as_ref().unwrap().changes[0].new.clone().unwrap();
    assert_eq!([plan(0), plan(1), plan(3)], [5, 6, 8].map(|weight| serde_json::json!(weight)));
    let Ok(Body::Jobs(jobs)) = rig.call(Order::Jobs) else { panic!("no jobs") };
    assert!(jobs.jobs.is_empty(), "{jobs:?}");
}

#[test]
fn a_document_supersedes_what_came_before_it_and_orders_after_it_count() {
    let listen = [[free_address()], [free_address()]];
    let rig = rig_of(&listen);
    let document = rig.document(HEAD, &pools(&listen, 3, 4));
    let whole = Order::Apply(Apply { document, ..Apply::default() });
    let told = together(&rig, vec![set("one", 5), whole, set("two", 6)]);
    assert_eq!(weights(&rig), [3, 6]);
    let superseded = told[0].as_ref().unwrap_err();
    assert_eq!(superseded.code, ErrorCode::Superseded);
    assert!(superseded.message.contains("job 4"), "{}", superseded.message);
    assert_eq!(rig.receipt(3).error.unwrap().code, ErrorCode::Superseded);
    assert!(told[1..].iter().all(|told| told.as_ref().unwrap().generation_after == Some(rig.status().generation)));
    // Drift is what the last order changed of the document.
    let Ok(Body::Drift(drift)) = rig.call(Order::Drift) else { panic!("no drift") };
    let paths: Vec<&str> = drift.changes.iter().map(|drifted| drifted.change.path.as_str()).collect();
    assert_eq!(paths, ["pool.two.group.main.backend.a.weight"]);
}

#[test]
fn who_wants_a_generation_gets_that_one_or_none() {
    let rig = rig_of(&[[free_address()], [free_address()]]);
    let told = together(&rig, vec![set_if("one", 5, 2), set_if("two", 6, 2)]);
    assert_eq!(told[0].as_ref().unwrap().outcome, JobOutcome::Applied);
    assert_eq!(told[1].as_ref().unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(weights(&rig), [5, 1]);
}

/// What it wants ran when it came, and not any more when its turn has come.
#[test]
fn who_wants_a_generation_that_is_gone_by_then_gets_nothing() {
    let rig = rig_of(&[[free_address()], [free_address()]]);
    let mut events = rig.events();
    rig.shards[1].tell(super::fake::Do::Stall);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.change(set("one", 77)));
        let at_prepare = |event: &Happening| matches!(event, Happening::JobStage { job: 2, stage: Stage::Prepare });
        events.wait("the first is with the shards", at_prepare);
        let late = [set_if("one", 5, 1), set("two", 6)].map(|order| {
            let told = scope.spawn(|| rig.change(order));
            events.wait("it has come", |event| matches!(event, Happening::JobSubmitted { .. }));
            told
        });
        rig.shards[1].tell(super::fake::Do::Go);
        assert_eq!(first.join().unwrap().unwrap().outcome, JobOutcome::Applied);
        let [wants, other] = late.map(|told| told.join().unwrap());
        assert_eq!(wants.unwrap_err().code, ErrorCode::Conflict);
        assert!(other.unwrap().within.is_some(), "they came together");
    });
    assert_eq!(weights(&rig), [77, 6]);
}

/// Each for itself is in order; together they are not, and nobody can say whose fault that is.
#[test]
fn what_cannot_be_one_generation_goes_one_by_one() {
    let listen = [[free_address()], [free_address()]];
    let http = format!(
        "[pool.web.create]\nservice = \"http\"\nlisten = {:?}\n[[pool.web.rule]]\nid = \"r\"\nrespond = \"a\"\n\
         [[test]]\npool = \"web\"\nrequest = \"GET http://h/\"\nexpect = {{ status = 200 }}\n",
        [free_address()]
    );
    let rig = Rig::with(2, HEAD, &(pools(&listen, 1, 1) + &http));
    let deny = api::edit::RuleSet {
        pool: "web".into(),
        rule: "r".into(),
        set: serde_json::json!({ "respond": null, "deny": 403 }).as_object().unwrap().clone(),
    };
    let told = together(&rig, vec![set("one", 5), Order::Edit(Edit::RuleSet(deny)), set("two", 6)]);
    assert_eq!(weights(&rig), [5, 6]);
    let failure = told[1].as_ref().unwrap_err();
    assert_eq!((failure.code, failure.stage), (ErrorCode::InvalidConfiguration, Some(Stage::Compile)), "{failure:?}");
    assert_eq!(failure.problems[0].code, "test_failed");
    for ix in [0, 2] {
        let receipt = told[ix].as_ref().unwrap();
        assert_eq!((receipt.outcome, receipt.within), (JobOutcome::Applied, None));
    }
}

#[test]
fn who_waits_when_the_appliance_stops_is_told_so() {
    let rig = rig_of(&[[free_address()], [free_address()]]);
    let mut events = rig.events();
    rig.change(set("one", 2)).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| rig.change(set("one", 3)));
        events.wait("it has come", |event| matches!(event, Happening::JobSubmitted { job: 3, .. }));
        let Ok(Body::Jobs(jobs)) = rig.call(Order::Jobs) else { panic!("no jobs") };
        assert_eq!(jobs.jobs.iter().map(|job| job.job).collect::<Vec<_>>(), [3]);
        rig.call(Order::Stop(api::order::Stop { mode: api::order::StopMode::Graceful, ..Default::default() })).unwrap();
        assert_eq!(waits.join().unwrap().unwrap_err().code, ErrorCode::Stopping);
    });
}

/// What rides is in force or not with what takes it along, also if control dies in between.
#[test]
fn a_panic_leaves_no_rider_behind() {
    let listen = [[free_address()], [free_address()]];
    for fault in [Fault::Built, Fault::Committed, Fault::Adopted, Fault::Settle] {
        let rig = rig_of(&listen);
        let mut events = rig.events();
        rig.change(set("one", 77)).unwrap();
        std::thread::scope(|scope| {
            let told = [set("one", 5), set("two", 6)].map(|order| scope.spawn(|| rig.change(order)));
            for number in [3, 4] {
                events.wait(
                    "it has come",
                    |event| matches!(event, Happening::JobSubmitted { job, .. } if *job == number),
                );
            }
            rig.plant(fault);
            let told: Vec<Told> = told.into_iter().map(|told| told.join().unwrap()).collect();
            let is_in = told.iter().map(Result::is_ok).collect::<Vec<_>>();
            let in_force = weights(&rig) == [5, 6];
            assert_eq!(is_in, [in_force; 2], "{fault:?}: {told:?}");
            assert!(in_force || weights(&rig) == [77, 1], "{fault:?}: {:?}", weights(&rig));
        });
    }
}
