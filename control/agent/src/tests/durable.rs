//! What outlives the process. The image of a crash is a copy of the folder, taken while the process has it.

use super::*;
use crate::durable::{BOUNDS, Resumed, open};
use api::edit::Edit;
use api::order::{BackendSet, Rollback, Stop, StopMode, Transaction};
use api::{Drift, JobOutcome};
use std::fs;
use std::path::Path;

/// A site in a folder of its own, which has a folder for what outlives the process.
struct Site {
    rig: Option<Rig>,
    pools: String,
}

impl Site {
    fn new() -> Site {
        let listen = free_address();
        let pools = format!(
            "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"{listen}\"]\n\
             [[pool.db.group.main.backend]]\nid = \"a\"\naddress = \"127.0.0.1:9001\"\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let mut site = Site { rig: None, pools };
        site.write(folder.path(), "");
        site.start(folder);
        site
    }

    /// The document, and something behind it.
    fn write(&self, folder: &Path, more: &str) {
        fs::write(folder.join("site.toml"), self.text(folder, more)).unwrap();
    }

    fn text(&self, folder: &Path, more: &str) -> String {
        let state = folder.join("state").display().to_string();
        let pools = &self.pools;
        format!("{}{pools}{more}", Rig::head(2, &format!("state_dir = {state:?}\n")))
    }

    fn start(&mut self, folder: tempfile::TempDir) {
        self.rig = Some(Rig::found(folder, 2, NameSource::System).woken());
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }

    fn weighs(&self, weight: u32) -> Receipt {
        self.rig().change(Order::BackendSet(set(weight))).unwrap()
    }

    fn weight(&self) -> u32 {
        self.rig().status().pools[0].backends[0].weight
    }

    fn drift(&self) -> Drift {
        match self.rig().call(Order::Drift) {
            Ok(Body::Drift(drift)) => drift,
            other => panic!("{other:?}"),
        }
    }

    /// In order.
    fn stop(&mut self) -> tempfile::TempDir {
        let mut rig = self.rig.take().unwrap();
        rig.call(Order::Stop(Stop { mode: StopMode::Now, deadline_millis: None })).unwrap();
        rig.agent.take().unwrap().wait();
        std::mem::replace(&mut rig.folder, tempfile::tempdir().unwrap())
    }

    /// What a crash would leave now.
    fn crash(&mut self) -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        copy(&self.rig().folder.path().join("state"), image.path());
        let folder = self.stop();
        fs::remove_dir_all(folder.path().join("state")).unwrap();
        copy(image.path(), &folder.path().join("state"));
        folder
    }

    /// What is in the folder of a process that crashes now.
    fn image(&self) -> Resumed {
        let image = tempfile::tempdir().unwrap();
        copy(&self.rig().folder.path().join("state"), image.path());
        open(image.path(), BOUNDS, 2, 1000).unwrap()
    }
}

fn set(weight: u32) -> BackendSet {
    BackendSet { pool: "db".into(), backend: "a".into(), weight: Some(weight), ..BackendSet::default() }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn what_was_answered_is_there_after_a_crash() {
    let site = Site::new();
    for weight in 2..=20 {
        let receipt = site.weighs(weight);
        let image = site.image();
        let found = image.found.expect("it ran");
        assert_eq!(found.generation, receipt.job);
        assert_eq!(found.running.hash().to_string(), site.rig().status().hash);
        assert!(!found.stopped);
        assert_eq!(image.complaints, [""; 0]);
        let last = image.receipts.last().map(|receipt| (receipt.job, receipt.outcome));
        assert_eq!(last, Some((receipt.job, JobOutcome::Applied)));
    }
    let document = site.text(site.rig().folder.path(), "[list.office]\nentries = [\"192.0.2.0/24\"]\n");
    let receipt = site.rig().change(Order::Apply(Apply { document, ..Apply::default() })).unwrap();
    let found = site.image().found.expect("it ran");
    assert_eq!((found.generation, found.running.hash()), (receipt.job, found.base.config.hash()));
    assert_eq!(found.running.hash().to_string(), site.rig().status().hash);
}

#[test]
fn after_a_crash_it_goes_on_with_what_ran() {
    let mut site = Site::new();
    let receipt = site.weighs(7);
    let hash = site.rig().status().hash;
    let folder = site.crash();
    // Somebody was writing the document when it happened.
    site.write(folder.path(), "[list.half]\nentries = [\"192.0.2.0/24\"]\n");
    site.start(folder);
    assert_eq!((site.weight(), site.rig().status().hash), (7, hash));
    assert!(site.rig().told.iter().any(|told| told.contains("reload")), "{:?}", site.rig().told);
    // Numbers go on, and the past is there.
    let status = site.rig().status();
    assert_eq!(status.generation, receipt.job + 1);
    assert_eq!(site.rig().receipt(receipt.job).job, receipt.job);
    let back = site.rig().change(Order::Rollback(Rollback { to: Some(1), if_generation: None })).unwrap();
    assert_eq!((back.outcome, site.weight()), (JobOutcome::Applied, 1));
    // And with what was gone back to.
    let found = site.image().found.expect("it ran");
    assert_eq!(found.running.hash().to_string(), site.rig().status().hash);
}

#[test]
fn after_an_end_in_order_orders_are_still_in_force() {
    let mut site = Site::new();
    let receipt = site.weighs(7);
    let folder = site.stop();
    site.start(folder);
    assert_eq!(site.weight(), 7);
    assert_eq!(site.drift().changes.len(), 1);
    assert_eq!(site.rig().receipt(receipt.job).order.as_deref(), Some("backend.set"));
    assert!(site.rig().told.iter().any(|told| told.contains("drift")), "{:?}", site.rig().told);
}

#[test]
fn after_an_end_in_order_a_changed_document_counts() {
    let mut site = Site::new();
    site.weighs(7);
    let before = site.rig().status().generation;
    let folder = site.stop();
    site.write(folder.path(), "weight = 3\n");
    site.start(folder);
    assert_eq!(site.weight(), 3);
    assert_eq!(site.drift().changes.len(), 0);
    let told = site.rig().told.join("\n");
    assert!(told.contains(&format!("generation {before}")), "{told}");
    site.rig().change(Order::Rollback(Rollback { to: Some(before), if_generation: None })).unwrap();
    assert_eq!(site.weight(), 7);
}

#[test]
fn drift_is_what_orders_have_changed_and_whose_they_were() {
    let site = Site::new();
    assert_eq!(site.drift().changes, []);
    let receipt = site.weighs(7);
    let drift = site.drift();
    let [change] = &drift.changes[..] else { panic!("{drift:?}") };
    assert_eq!(change.change.path, "pool.db.group.main.backend.a.weight");
    let by = change.by.as_ref().expect("it is remembered");
    assert_eq!((by.job, by.order.as_deref()), (receipt.job, Some("backend.set")));
    // A plan of a document says what it would undo.
    let folder = site.rig().folder.path().to_owned();
    let document = |more| api::order::Document { document: site.text(&folder, more), ..Default::default() };
    let Ok(Body::Plan(plan)) = site.rig().call(Order::Plan(document("").into())) else { panic!("a plan") };
    let undone: Vec<_> = plan.undoes.iter().map(|undone| (undone.path.as_str(), undone.by.clone())).collect();
    assert_eq!(undone, [("pool.db.group.main.backend.a.weight", Some(by.clone()))]);
    let Ok(Body::Plan(plan)) = site.rig().call(Order::Plan(document("weight = 7\n").into())) else { panic!("a plan") };
    assert_eq!(plan.undoes, [], "it says the same");
    let gone = site.text(&folder, "").replace("pool.db", "pool.other");
    let Ok(Body::Plan(plan)) =
        site.rig().call(Order::Plan(api::order::PlanOf { document: gone, ..Default::default() }))
    else {
        panic!("a plan")
    };
    assert_eq!(plan.undoes.len(), 1, "what goes with its pool");
    // Back to what the document says, by an order.
    site.weighs(1);
    assert_eq!(site.drift().changes, []);
    // And by the document, whose receipt tells it.
    site.weighs(9);
    let apply = Apply { document: site.text(&folder, ""), ..Apply::default() };
    let receipt = site.rig().change(Order::Apply(apply)).unwrap();
    assert_eq!(receipt.plan.unwrap().undoes.len(), 1);
    assert_eq!((site.weight(), site.drift().changes.len()), (1, 0));
}

#[test]
fn the_history_of_many_changes_in_one_transaction_is_one_entry() {
    let site = Site::new();
    let orders = (2..=9).map(|weight| Edit::BackendSet(set(weight))).collect();
    let transaction = Transaction { orders, if_generation: None, dry_run: false };
    let receipt = site.rig().change(Order::Transaction(transaction)).unwrap();
    let image = site.image();
    let kept: Vec<u64> = image.found.unwrap().kept.iter().map(|kept| kept.number.0).collect();
    assert_eq!(kept, [1, receipt.job]);
}

#[test]
fn a_change_that_cannot_be_written_down_says_so_and_is_made_good() {
    let site = Site::new();
    let state = site.rig().folder.path().join("state");
    // No blob can be put: neither a document nor what a new segment would begin with.
    fs::rename(state.join("blobs"), state.join("aside")).unwrap();
    fs::write(state.join("blobs"), "in the way").unwrap();
    let document = site.text(site.rig().folder.path(), "weight = 5\n");
    let receipt = site.rig().change(Order::Apply(Apply { document, ..Apply::default() })).unwrap();
    assert_eq!((receipt.outcome, site.weight()), (JobOutcome::Applied, 5));
    assert!(receipt.not_saved.is_some(), "{receipt:?}");
    // The disk is well again: the next change brings everything with it.
    fs::remove_file(state.join("blobs")).unwrap();
    fs::rename(state.join("aside"), state.join("blobs")).unwrap();
    let receipt = site.weighs(6);
    assert_eq!(receipt.not_saved, None);
    let found = site.image().found.expect("it ran");
    assert_eq!(found.running.hash().to_string(), site.rig().status().hash);
    assert_eq!(found.generation, receipt.job);
}

/// What is kept is kept beyond the segment that first told it, and beyond the process that made it.
#[test]
fn generations_of_the_past_outlive_segments_and_processes() {
    let mut site = Site::new();
    let weights = |site: &Site| {
        let Ok(Body::Generations(generations)) = site.rig().call(Order::Generations) else { panic!("generations") };
        generations.kept.into_iter().map(|kept| kept.generation).collect::<Vec<_>>()
    };
    let jobs: Vec<u64> = (2..=9).map(|weight| site.weighs(weight).job).collect();
    // The file has changed, so a new segment begins; twice, so that nothing is left of the first.
    for weight in [20, 21] {
        let folder = site.stop();
        site.write(folder.path(), &format!("weight = {weight}\n"));
        site.start(folder);
        assert_eq!(site.weight(), weight);
        let kept = weights(&site);
        assert!(jobs.iter().all(|job| kept.contains(job)), "{jobs:?} in {kept:?}");
    }
    // The third of them weighed 4.
    site.rig().change(Order::Rollback(Rollback { to: Some(jobs[2]), if_generation: None })).unwrap();
    assert_eq!(site.weight(), 4);
    let image = site.image();
    let kept: Vec<u64> = image.found.unwrap().kept.into_iter().map(|kept| kept.number.0).collect();
    assert!(jobs.iter().all(|job| kept.contains(job)), "{jobs:?} in {kept:?}");
}
