//! What a job would come to, without one.
//!
//! Built as a job's turn builds it, by the same function ([`crate::build`]) from the same ground, over a copy of the slots
//! that goes with it: so what a plan says is what an apply does, refusals of the compiler and tests of the document
//! included. What only the kernel and the shards can tell (an address that cannot be bound, a table that is full on a
//! shard) shows when it is done.
//!
//! Cost: that of the job, and of the copy: O(backends). Jobs wait for the copy and for nothing else of it.

use crate::ask::{Ask, What};
use crate::build::{Build, Made, Step};
use crate::compile::Compiler;
use crate::control::{Event, claimed_by};
use crate::publish::Shared;
use crate::status;
use crate::touched::Touched;
use api::answer::Failure;
use api::{ErrorCode, Plan};
use config::{Config, RulePlaces, Running, Slots};
use policy::{JobId, ShardSet};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long requests are counted for a plan.
const SAMPLE: Duration = Duration::from_millis(250);

/// Changes of a plan for which they are.
const SAMPLED_MAX: usize = 10_000;

/// What a job would stand on that came now.
pub struct Scene {
    pub slots: Slots,
    pub shards: ShardSet,
    pub running: Arc<Running>,
    pub base: Arc<Config>,
    pub places: Arc<RulePlaces>,
}

/// A change that was not made.
#[derive(Debug)]
pub struct Rehearsed {
    pub before: Arc<Config>,
    /// What would run.
    pub after: Arc<Config>,
    pub plan: Plan,
}

/// As it is when control and its compiler come to it.
pub async fn scene(shared: &Shared) -> Result<Box<Scene>, Box<Failure>> {
    let (asked, answer) = oneshot::channel();
    // Where the inbox is closed the answer does not come.
    let _ = shared.inbox.send(Event::Rehearse(asked));
    answer.await.map_err(|_| {
        let message = "control panicked or stopped before the plan was made; nothing was changed";
        Box::new(Failure::new(ErrorCode::Refused, message))
    })
}

/// Takes [`SAMPLE`] if requests are concerned.
pub fn rehearse(shared: &Shared, scene: Scene, ask: Ask) -> Result<Rehearsed, Box<Failure>> {
    let Scene { slots, shards, running, base, places } = scene;
    let generation = running.generation.map_or(0, |generation| generation.0);
    let claims = match &ask.what {
        What::Document { config, .. } => claimed_by(&running.config, config),
        What::Edits(_) | What::Invalid { .. } | What::Together => Default::default(),
    };
    let job = JobId(generation + 1);
    let steps = vec![Step { job, ask }];
    let touched = shared.counted.over(&running);
    let mut compiler = Compiler { slots, shards, counted: shared.counted.clone() };
    let afresh = BTreeSet::new();
    let build = Build { job, steps, claims, afresh, running: Arc::clone(&running), base, places };
    let mut sample = None;
    let rehearsed = compiler.rehearse(build, |diff| sample = Some(Sample::begin(diff, &touched)));
    match rehearsed {
        Ok(Made { config, diff, mut plan }) => {
            if let Some(sample) = sample {
                sample.end(&diff, &touched, &mut plan);
            }
            shared.overlay().attribute(&mut plan.undoes);
            Ok(Rehearsed { before: Arc::clone(&running.config), after: config, plan })
        }
        Err(mut refused) => {
            refused.failure.generation = Some(status::generation(&shared.published.load()));
            Err(Box::new(refused.failure))
        }
    }
}

/// Requests that the changes of a plan concern, as they were counted when it began.
struct Sample {
    began: Instant,
    requests: Vec<Option<u64>>,
}

impl Sample {
    fn begin(diff: &config::Plan, touched: &Touched<'_>) -> Sample {
        Sample { began: Instant::now(), requests: requests(diff, touched) }
    }

    /// Waits until it has lasted long enough.
    fn end(self, diff: &config::Plan, touched: &Touched<'_>, plan: &mut Plan) {
        if self.requests.iter().all(Option::is_none) {
            return;
        }
        std::thread::sleep(SAMPLE.saturating_sub(self.began.elapsed()));
        let (after, seconds) = (requests(diff, touched), self.began.elapsed().as_secs_f64());
        for ((change, before), after) in plan.changes.iter_mut().zip(self.requests).zip(after) {
            let more = before.zip(after).map(|(before, after)| after.saturating_sub(before));
            change.touched_requests = more.map(|more| (more as f64 / seconds).round() as u64);
        }
    }
}

fn requests(diff: &config::Plan, touched: &Touched<'_>) -> Vec<Option<u64>> {
    let changes = diff.changes.iter().take(SAMPLED_MAX);
    changes.map(|change| touched.requests(change.pool.as_deref(), &change.object)).collect()
}
