//! What is compiled wrongly in production is found, told and healed.

use super::*;
use crate::exposition;
use api::receipt::{JobOutcome, Source};
use config::planted::{Mistake, plant};

const A: (&str, u16, &str) = ("a", 9001, "");

fn weighing(weight: &'static str) -> (&'static str, u16, &'static str) {
    ("a", 9001, weight)
}

impl Rig {
    fn looks(&self, result: &str) -> u64 {
        let Ok(Body::Metrics(metrics)) = self.call(Order::Metrics) else { panic!("no metrics") };
        exposition::tests::check(&metrics.text)[&format!("sluicegate_self_check_total{{result=\"{result}\"}}")] as u64
    }

    fn wait_looks(&self, result: &str, at_least: u64) {
        self.until("pools are looked at", |rig| match rig.looks(result) {
            looks if looks >= at_least => Ok(()),
            looks => Err(format!("{looks} are {result}")),
        });
    }

    /// In all that the compiler thread does from now on.
    fn plant_in_compiler(&self, mistake: Option<Mistake>) {
        self.look(Box::new(move |_| plant(mistake)));
    }
}

#[test]
fn each_pool_that_changes_is_looked_at_and_means_what_its_document_says() {
    let listen = [free_address(), free_address()];
    let both = |backend| db(&listen[..1], &[backend]) + &pool("other", &listen[1..], &[A]);
    let rig = Rig::new(&both(A));
    rig.apply(&both(weighing("weight = 3"))).unwrap();
    rig.wait_looks("equal", 1);
    // The other pool has not changed since the start, which compiles from nothing.
    rig.apply(&db(&listen[..1], &[weighing("weight = 4")])).unwrap();
    rig.wait_looks("equal", 2);
    assert_eq!((rig.looks("equal"), rig.looks("different"), rig.looks("skipped")), (2, 0, 0));
}

#[test]
fn what_was_compiled_wrongly_is_found_told_and_healed() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[A]));
    rig.plant_in_compiler(Some(Mistake::EndpointKept));
    assert_eq!(rig.apply(&db(&listen, &[weighing("weight = 3")])).unwrap().generation_after, Some(2));
    let mut events = rig.events();
    let told = events.wait("it is told", |event| matches!(event, Happening::Miscompiled { .. }));
    let Happening::Miscompiled { pool, generation, runs, says } = told else { unreachable!("just seen") };
    assert_eq!((&*pool, generation), ("db", 2));
    assert!(runs.len() == 32 && says.len() == 32 && runs != says);
    // By a job of its own.
    events.wait("it is healed", |event| {
        matches!(event, Happening::JobEnded { job: 3, outcome: JobOutcome::Applied, generation: Some(3) })
    });
    let receipt = rig.receipt(3);
    assert_eq!((receipt.source, receipt.author), (Source::SelfCheck, None));
    rig.wait_looks("equal", 1);
    assert_eq!((rig.looks("different"), rig.status().pools[0].backends[0].weight), (1, 3));
    let Ok(Body::Drift(drift)) = rig.call(Order::Drift) else { panic!("no drift") };
    assert!(drift.changes.is_empty(), "the document is what it was: {drift:?}");
}

/// What compiling from nothing does not put right is not tried for ever.
#[test]
fn what_differs_again_is_told_and_left() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[A]));
    rig.plant_in_compiler(Some(Mistake::WeightLost));
    rig.apply(&db(&listen, &[weighing("weight = 3")])).unwrap();
    let mut events = rig.events();
    for wrong in [2, 3] {
        events.wait(
            "it is told",
            |event| matches!(event, Happening::Miscompiled { generation, .. } if *generation == wrong),
        );
    }
    // Nobody has come between: the next job is the next.
    rig.plant_in_compiler(None);
    let receipt = rig.apply(&db(&listen, &[weighing("weight = 4")])).unwrap();
    assert_eq!((receipt.job, receipt.generation_after), (4, Some(4)));
    rig.wait_looks("equal", 1);
    assert_eq!(rig.looks("different"), 2);
}

#[test]
fn a_pool_that_is_too_large_is_skipped() {
    let listen = [free_address()];
    let names: Vec<String> = (0..1_000).map(|nth| format!("b{nth}")).collect();
    let many: Vec<_> = names.iter().zip(10_000..).map(|(name, port)| (&**name, port, "")).collect();
    let rig = Rig::new(&db(&listen, &[A]));
    rig.apply(&db(&listen, &many)).unwrap();
    rig.wait_looks("skipped", 1);
    assert_eq!(rig.looks("equal"), 0);
}
