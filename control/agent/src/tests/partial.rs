//! A pool that is not in order does not hold up the others of its document, if that is asked for.

use super::*;
use api::order::{BackendSet, OnDrift, PlanOf, Reload};
use api::receipt::JobOutcome;
use api::{ErrorCode, Plan, Problem, Severity};
use std::fs;

/// Two pools, and a file that says so.
struct Site {
    rig: Rig,
    addresses: [String; 2],
}

impl Site {
    fn new() -> Site {
        let addresses = [free_address(), free_address()];
        let rig = Rig::new(&Site::text(&addresses, "weight = 2", "weight = 2"));
        Site { rig, addresses }
    }

    fn text(addresses: &[String; 2], a: &str, b: &str) -> String {
        let of = |id: &str, address: &String, keys| pool(id, std::slice::from_ref(address), &[("x", 9001, keys)]);
        format!("{}{}", of("a", &addresses[0], a), of("b", &addresses[1], b))
    }

    /// A document whose pools have backends with these keys.
    fn document(&self, a: &str, b: &str) -> String {
        self.rig.document("", &Site::text(&self.addresses, a, b))
    }

    fn plan(&self, document: &str, partial: bool) -> Result<Plan, Box<Failure>> {
        let plan = PlanOf { document: document.into(), name: None, partial, ..PlanOf::default() };
        match self.rig.call(Order::Plan(plan))? {
            Body::Plan(plan) => Ok(plan),
            other => panic!("{other:?}"),
        }
    }

    fn apply(&self, document: &str) -> Result<Receipt, Box<Failure>> {
        self.rig.change(Order::Apply(Apply { document: document.into(), partial: true, ..Apply::default() }))
    }

    fn write(&self, document: &str) {
        fs::write(self.rig.folder.path().join("site.toml"), document).unwrap();
    }

    fn reload(&self, drift: OnDrift, partial: bool) -> Result<Receipt, Box<Failure>> {
        self.rig.change(Order::Reload(Reload { drift: Some(drift), partial }))
    }

    fn weighs(&self, pool: &str, weight: u32) {
        let set = BackendSet { pool: pool.into(), backend: "x".into(), weight: Some(weight), ..BackendSet::default() };
        self.rig.change(Order::BackendSet(set)).unwrap();
    }

    /// Of the backend of each pool.
    fn weights(&self) -> Vec<u32> {
        let pools = self.rig.status().pools;
        pools.iter().flat_map(|pool| &pool.backends).map(|backend| backend.weight).collect()
    }

    fn drifted(&self) -> Vec<(String, bool)> {
        let Ok(Body::Drift(drift)) = self.rig.call(Order::Drift) else { panic!("no drift") };
        drift.changes.into_iter().map(|drifted| (drifted.change.path, drifted.by.is_some())).collect()
    }
}

/// A change without what is counted at a point in time.
fn timeless(plan: Plan) -> Plan {
    let still = |change| api::PlannedChange { touched_connections: None, touched_tunnels: None, ..change };
    Plan { changes: plan.changes.into_iter().map(still).collect(), ..plan }
}

fn codes(warnings: &[Problem]) -> Vec<&str> {
    warnings.iter().map(|warning| warning.code.as_str()).collect()
}

const WRONG: &str = "weight = \"heavy\"";
const WEIGHT_A: &str = "pool.a.group.main.backend.x.weight";

#[test]
fn one_pool_is_left_and_the_other_has_its_new_version() {
    let site = Site::new();
    let document = site.document(WRONG, "weight = 5");
    let refused = site.plan(&document, false).unwrap_err();
    assert_eq!((refused.code, refused.problems.len()), (ErrorCode::InvalidConfiguration, 1));
    let planned = site.plan(&document, true).unwrap();
    assert_eq!(site.weights(), [2, 2], "a plan changes nothing");
    assert_eq!(planned.pools, ["b"]);
    assert_eq!(codes(&planned.warnings), ["pool_left_out", "wrong_type"]);
    let [left_out, wrong] = &planned.warnings[..] else { unreachable!() };
    assert_eq!(left_out.message, "pool `a` has 1 problem and is left as it runs");
    let as_error = &refused.problems[0];
    let drawing = as_error.drawing.as_ref().map(|drawing| drawing.replacen("error", "warning", 1));
    assert_eq!(*wrong, Problem { severity: Severity::Warning, drawing, ..as_error.clone() });
    let generation = site.rig.status().pools[0].generation;
    let receipt = site.apply(&document).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(timeless(receipt.plan.unwrap()), timeless(planned), "it does what the plan says");
    assert_eq!(site.weights(), [2, 5]);
    assert_eq!(site.rig.status().pools[0].generation, generation, "pool `a` did not notice");
    assert_eq!(site.drifted(), []);
    // Once more there is nothing left to do, and the pool is still told.
    let again = site.apply(&document).unwrap();
    assert_eq!(again.outcome, JobOutcome::Unchanged);
    assert_eq!(codes(&again.plan.unwrap().warnings), ["pool_left_out", "wrong_type"]);
}

#[test]
fn what_is_no_pools_own_or_leaves_nothing_is_refused_as_without_the_word() {
    let site = Site::new();
    let (wrong, right) = (site.document(WRONG, "weight = 5"), site.document("weight = 3", "weight = 5"));
    let both = site.document(WRONG, WRONG);
    let outside = right.replacen("[log.events]", "[log.events]\nnonsense = 1", 1);
    for document in [&both, &outside, &format!("{wrong}nonsense = = 1\n"), &wrong.replacen("[log.", "[lgo.", 1)] {
        let [plan, asked] = [site.plan(document, false), site.plan(document, true)].map(Result::unwrap_err);
        assert_eq!((plan.code, &plan.message, &plan.problems), (asked.code, &asked.message, &asked.problems));
        let failure = site.apply(document).unwrap_err();
        assert_eq!((failure.code, &failure.problems), (ErrorCode::InvalidConfiguration, &plan.problems));
    }
    // Pool `b` wants the address that pool `a` would keep.
    let addresses = [free_address(), site.addresses[0].clone()];
    let moved = site.rig.document("", &Site::text(&addresses, WRONG, ""));
    let failure = site.apply(&moved).unwrap_err();
    let codes: Vec<&str> = failure.problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!((failure.code, codes), (ErrorCode::InvalidConfiguration, vec!["clash", "wrong_type"]));
    assert_eq!(failure.problems, site.plan(&moved, true).unwrap_err().problems);
    assert_eq!((site.weights(), site.rig.status().generation), (vec![2, 2], 1));
}

#[test]
fn a_pool_that_does_not_run_stays_away() {
    let site = Site::new();
    let new = pool("new", &[free_address()], &[("x", 9003, WRONG)]);
    let receipt = site.apply(&format!("{}{new}", site.document("weight = 3", ""))).unwrap();
    assert_eq!(receipt.plan.unwrap().warnings[0].message, "pool `new` has 1 problem and stays away");
    assert_eq!(site.weights(), [3, 1]);
}

#[test]
fn only_if_this_generation_runs() {
    let site = Site::new();
    let apply = |if_generation| {
        let document = site.document(WRONG, "weight = 5");
        site.rig.change(Order::Apply(Apply { document, if_generation, partial: true, ..Apply::default() }))
    };
    assert_eq!(apply(Some(7)).unwrap_err().code, ErrorCode::Conflict);
    let receipt = apply(Some(1)).unwrap();
    assert_eq!(receipt.generation_after, Some(receipt.job));
    assert_eq!(apply(Some(1)).unwrap_err().code, ErrorCode::Conflict);
}

/// The file is read while one pool is broken, and again when it is mended.
#[test]
fn a_mended_file_is_merged_without_conflict() {
    let site = Site::new();
    site.write(&site.document(WRONG, "weight = 5"));
    assert_eq!(site.reload(OnDrift::Keep, false).unwrap_err().code, ErrorCode::InvalidConfiguration);
    assert_eq!(site.reload(OnDrift::Keep, true).unwrap().outcome, JobOutcome::Applied);
    assert_eq!((site.weights(), site.drifted()), (vec![2, 5], vec![]));
    site.write(&site.document("weight = 7", "weight = 5"));
    assert_eq!(site.reload(OnDrift::Keep, false).unwrap().outcome, JobOutcome::Applied);
    assert_eq!((site.weights(), site.drifted()), (vec![7, 5], vec![]));
}

/// It was no word about the pool, so what an order has changed of it is not undone, not forgotten, and still whose it was.
#[test]
fn what_orders_have_changed_of_a_pool_that_is_left_stays_drift() {
    for drift in [OnDrift::Keep, OnDrift::Undo] {
        let site = Site::new();
        site.weighs("a", 9);
        site.weighs("b", 9);
        site.write(&site.document(WRONG, "weight = 2\nbackup = false"));
        let receipt = site.reload(drift, true).unwrap();
        let undoes = receipt.plan.unwrap().undoes.len();
        let (kept_b, drifted_b) = match drift {
            OnDrift::Keep => (9, vec![("pool.b.group.main.backend.x.weight".to_owned(), true)]),
            OnDrift::Undo => (2, vec![]),
        };
        assert_eq!(undoes, drifted_b.len().abs_diff(1), "{drift:?}");
        let drifted: Vec<_> = [(WEIGHT_A.to_owned(), true)].into_iter().chain(drifted_b).collect();
        assert_eq!((site.weights(), site.drifted()), (vec![9, kept_b], drifted), "{drift:?}");
        // The mended file says of it what it said before, so the order's word stands.
        site.write(&site.document("weight = 2", "weight = 2"));
        site.reload(OnDrift::Keep, false).unwrap();
        assert_eq!(site.weights(), [9, kept_b]);
        // And where it has changed meanwhile it is a conflict, as ever.
        site.write(&site.document("weight = 4", "weight = 2"));
        assert_eq!(site.reload(OnDrift::Keep, false).unwrap_err().code, ErrorCode::Conflict);
    }
}

/// What runs of a pool is what runs when its turn comes, and not what ran when the document was read.
#[test]
fn orders_on_their_way_are_not_undone_by_a_document_that_leaves_their_pool() {
    let site = Site::new();
    let tell_all = |what: fn() -> fake::Do| site.rig.shards.iter().for_each(|shard| shard.tell(what()));
    tell_all(|| fake::Do::Stall);
    let mut events = site.rig.events();
    let receipt = std::thread::scope(|scope| {
        let order = scope.spawn(|| site.weighs("a", 9));
        let comes =
            |number| move |seen: &Happening| matches!(seen, Happening::JobSubmitted { job, .. } if *job == number);
        events.wait("the order has come", comes(2));
        let apply = scope.spawn(|| site.apply(&site.document(WRONG, "weight = 5")));
        events.wait("the document has come", comes(3));
        tell_all(|| fake::Do::Go);
        order.join().unwrap();
        apply.join().unwrap()
    });
    assert_eq!(receipt.unwrap().outcome, JobOutcome::Applied);
    assert_eq!(site.weights(), [9, 5]);
}
