//! What orders have changed, when a file comes and when it is written into the file.

use super::*;
use api::order::{BackendSet, Fold, OnDrift, Reload};
use api::receipt::JobOutcome;
use api::{Drift, ErrorCode, Folded};
use std::fs;

/// A site whose file people have written.
struct Site {
    rig: Rig,
    text: String,
}

impl Site {
    fn new() -> Site {
        let listen = free_address();
        let pools = format!(
            "# Databases.\n[pool.db]\ncreate = {{ service = \"tcp\", listen = [\"{listen}\"] }} # one address\n\n\
             # The old one.\n[[pool.db.group.main.backend]]\nid = \"a\"\naddress = \"127.0.0.1:9001\"\n\
             weight = 2 # until March\n\n[[pool.db.group.main.backend]]\nid = \"b\"\naddress = \"127.0.0.1:9002\"\n"
        );
        let rig = Rig::new(&pools);
        let text = fs::read_to_string(rig.folder.path().join("site.toml")).unwrap();
        Site { rig, text }
    }

    fn write(&self, text: &str) {
        fs::write(self.rig.folder.path().join("site.toml"), text).unwrap();
    }

    fn file(&self) -> String {
        fs::read_to_string(self.rig.folder.path().join("site.toml")).unwrap()
    }

    fn weighs(&self, backend: &str, weight: u32) {
        let (pool, backend) = ("db".into(), backend.into());
        let set = BackendSet { pool, backend, weight: Some(weight), ..BackendSet::default() };
        self.rig.change(Order::BackendSet(set)).unwrap();
    }

    fn reload(&self, drift: Option<OnDrift>) -> Result<Receipt, Box<Failure>> {
        self.rig.change(Order::Reload(Reload { drift, ..Reload::default() }))
    }

    fn weights(&self) -> Vec<u32> {
        self.rig.status().pools[0].backends.iter().map(|backend| backend.weight).collect()
    }

    fn drift(&self) -> Drift {
        let Ok(Body::Drift(drift)) = self.rig.call(Order::Drift) else { panic!("no drift") };
        drift
    }

    fn drifted(&self) -> Vec<String> {
        self.drift().changes.into_iter().map(|drifted| drifted.change.path).collect()
    }

    fn fold(&self, dry_run: bool) -> Result<Folded, Box<Failure>> {
        match self.rig.call(Order::Fold(Fold { dry_run }))? {
            Body::Folded(folded) => Ok(folded),
            other => panic!("{other:?}"),
        }
    }
}

const WEIGHT_A: &str = "pool.db.group.main.backend.a.weight";

#[test]
fn what_orders_have_changed_stays_when_the_file_is_read_again() {
    let site = Site::new();
    site.weighs("a", 7);
    let by = site.drift().changes[0].by.clone().expect("it is remembered");
    site.write(&site.text.replace("127.0.0.1:9002\"", "127.0.0.1:9002\"\nweight = 5"));
    let receipt = site.reload(None).unwrap();
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    assert_eq!(receipt.plan.unwrap().undoes, []);
    assert_eq!(site.weights(), [7, 5]);
    assert_eq!(site.drifted(), [WEIGHT_A]);
    assert_eq!(site.drift().changes[0].by, Some(by), "it still is whose it was");
    // Once the file says so too, nothing is left.
    site.write(&site.file().replace("weight = 2", "weight = 7"));
    assert_eq!(site.reload(None).unwrap().outcome, JobOutcome::Unchanged);
    assert_eq!(site.drifted(), [""; 0]);
}

#[test]
fn where_a_file_and_an_order_disagree_nothing_is_done_and_the_place_is_named() {
    let site = Site::new();
    site.weighs("a", 7);
    let changed = site.text.replace("weight = 2", "weight = 3");
    site.write(&changed);
    let failure = site.reload(None).unwrap_err();
    assert_eq!(failure.code, ErrorCode::Conflict);
    let [problem] = &failure.problems[..] else { panic!("{failure:?}") };
    assert_eq!((problem.code.as_str(), problem.path.as_deref()), ("conflict", Some(WEIGHT_A)));
    for value in ["2", "7", "3"] {
        assert!(problem.message.contains(value), "{}", problem.message);
    }
    assert_eq!(site.weights(), [7, 1]);
    // Applied with `keep` it is the same, and its plan says so before.
    let keep = |dry_run| {
        let drift = Some(OnDrift::Keep);
        Order::Apply(Apply { document: changed.clone(), drift, dry_run, ..Apply::default() })
    };
    assert_eq!(site.rig.call(keep(true)).unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(site.rig.change(keep(false)).unwrap_err().code, ErrorCode::Conflict);
    // The operator decides.
    let receipt = site.reload(Some(OnDrift::Undo)).unwrap();
    let undone: Vec<String> = receipt.plan.unwrap().undoes.into_iter().map(|undone| undone.path).collect();
    assert_eq!(undone, [WEIGHT_A]);
    assert_eq!((site.weights(), site.drifted()), (vec![3, 1], Vec::new()));
}

#[test]
fn drift_is_written_into_the_file_and_nothing_else_of_it_changes() {
    let site = Site::new();
    site.weighs("a", 7);
    let generation = site.rig.status().generation;
    let wanted = site.text.replace("weight = 2 # until", "weight = 7 # until");
    let path = site.rig.folder.path().join("site.toml").display().to_string();
    let shown = site.fold(true).unwrap();
    assert_eq!(shown.files, [api::FoldedFile { path: path.clone(), text: Some(wanted.clone()) }]);
    assert_eq!((shown.receipt, site.file()), (None, site.text.clone()), "a dry run writes nothing");
    let folded = site.fold(false).unwrap();
    assert_eq!(folded.files, [api::FoldedFile { path, text: None }]);
    assert_eq!(folded.receipt.unwrap().outcome, JobOutcome::Unchanged);
    assert_eq!(site.file(), wanted);
    assert_eq!((site.drifted(), site.rig.status().generation), (Vec::new(), generation));
    let again = site.fold(false).unwrap();
    assert_eq!((again.files.len(), site.file()), (0, wanted));
    let left: Vec<_> = fs::read_dir(site.rig.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".new")), "{left:?}");
}

#[test]
fn a_file_that_says_something_else_by_now_is_not_written() {
    let site = Site::new();
    site.weighs("a", 7);
    let other = site.text.replace("127.0.0.1:9002", "127.0.0.1:9003");
    site.write(&other);
    let failure = site.fold(false).unwrap_err();
    assert!(failure.message.starts_with("nothing was written: "), "{}", failure.message);
    assert_eq!((site.file(), site.drifted()), (other, vec![WEIGHT_A.to_owned()]));
}
