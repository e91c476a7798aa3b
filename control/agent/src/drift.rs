//! What runs and what the document says: how they differ, and whose orders made it so.
//!
//! Owns the document that drift is measured from, and who touched what since. The difference itself is always that of the
//! two documents, which share what they have in common, so it cannot be wrong about what runs and costs what differs.

use crate::durable::Base;
use crate::job::Job;
use api::receipt::{JobOutcome, Receipt, Source};
use api::{By, PlannedChange, Undone};
use config::Config;
use policy::PoolId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Places of which it is remembered who touched them. Beyond, those that differ no more are forgotten, then the oldest.
const TOUCHED_MAX: usize = 100_000;

#[derive(Debug)]
pub struct Overlay {
    base: Base,
    /// By the path of what changed.
    touched: BTreeMap<String, Arc<By>>,
}

impl Overlay {
    pub fn new(base: Base) -> Overlay {
        Overlay { base, touched: BTreeMap::new() }
    }

    pub fn base(&self) -> &Base {
        &self.base
    }

    /// A document has come that says all, but of these pools nothing.
    pub fn rebase(&mut self, base: Base, left_out: &BTreeSet<PoolId>) {
        self.base = base;
        let pool = |path: &str| path.strip_prefix("pool.")?.split('.').next().map(PoolId::new);
        self.touched.retain(|path, _| pool(path).is_some_and(|pool| left_out.contains(&pool)));
    }

    /// A document has come, and what orders have changed stays changed.
    pub fn merge(&mut self, base: Base) {
        self.base = base;
    }

    /// This job has changed these.
    pub fn touch<'a>(&mut self, paths: impl Iterator<Item = &'a str>, by: By) {
        let by = Arc::new(by);
        for path in paths {
            self.touched.insert(path.to_owned(), Arc::clone(&by));
        }
        let surplus = self.touched.len().saturating_sub(TOUCHED_MAX);
        if surplus > 0 {
            let mut jobs: Vec<u64> = self.touched.values().map(|by| by.job).collect();
            let (_, oldest_kept, _) = jobs.select_nth_unstable(surplus);
            let oldest_kept = *oldest_kept;
            self.touched.retain(|_, by| by.job >= oldest_kept);
        }
    }

    /// As [`Overlay::touch`], of a job of the process before. Accounts come in the order of their jobs.
    pub fn recall(&mut self, receipt: &Receipt) {
        let by_nobody = matches!(receipt.source, Source::Start | Source::Expiry | Source::SelfCheck);
        if receipt.outcome != JobOutcome::Applied || by_nobody {
            return;
        }
        match receipt.order.as_deref() {
            Some("apply" | "reload") | None => self.touched.clear(),
            Some(order) => {
                let changes = receipt.plan.iter().flat_map(|plan| &plan.changes);
                let by = By {
                    job: receipt.job,
                    author: receipt.author.clone(),
                    order: Some(order.to_owned()),
                    submitted: receipt.submitted.clone(),
                };
                self.touch(changes.map(|change| change.path.as_str()), by);
            }
        }
    }

    /// Whose order made this so. `None`: one that nobody remembers.
    pub fn by(&self, path: &str) -> Option<Arc<By>> {
        self.touched.get(path).cloned()
    }

    /// Who made it so, wherever that is known.
    pub fn attribute(&self, undoes: &mut [Undone]) {
        for undone in undoes {
            undone.by = self.by(&undone.path).map(|by| By::clone(&by));
        }
    }
}

/// What drift is measured from once a document has come. `before`: from what until then. Pools that the document has left out are
/// measured as before: what orders have changed of them is no document's yet.
pub fn base_of(document: &Arc<Config>, left_out: &BTreeSet<PoolId>, before: &Config) -> Arc<Config> {
    if left_out.is_empty() {
        return Arc::clone(document);
    }
    match document.leaving(left_out, before) {
        // A base is read again by the next process and must pass its own tests, which were tried on what runs of these pools.
        Ok(base) if !base.tests.pools().any(|pool| left_out.contains(pool)) => Arc::new(base),
        Ok(_) | Err(_) => Arc::clone(document),
    }
}

/// Who asked for a job, and how.
pub fn by(job: &Job) -> By {
    By {
        job: job.id.0,
        author: job.ask.author.clone(),
        order: job.ask.order.map(Into::into),
        submitted: job.submitted(),
    }
}

/// What of the drift a plan would change again. `drift`: from the base to what runs.
pub fn undone(drift: &config::Plan, changes: &[PlannedChange]) -> Vec<Undone> {
    let changed: BTreeSet<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    // An object that goes takes with it what is in it.
    let within = |path: &str| {
        let ends = path.match_indices('.').map(|(end, _)| &path[..end]);
        changed.contains(path) || ends.into_iter().any(|outer| changed.contains(outer))
    };
    let undone = drift.changes.iter().filter(|change| within(&change.path));
    undone.map(|change| Undone { path: change.path.clone(), by: None }).collect()
}
