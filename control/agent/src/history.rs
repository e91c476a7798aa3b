//! Receipts of the past: the newest of them, in memory.
//!
//! A receipt is stored when its job ends and may grow afterwards, until nothing that it superseded is held
//! any more. Owns the store; how a receipt comes about, and where it outlives the process, is not decided here.

use api::receipt::{History, JobOutcome, PastJob, Receipt};
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries of one page, however many were asked for.
pub const PAGE_MAX: usize = 1000;
/// Entries of one page if nobody says.
pub const PAGE_DEFAULT: usize = 20;

/// The newest receipts, by job number.
#[derive(Debug)]
pub struct Store {
    /// Ascending job numbers. Shared, so that an answer costs no copy.
    receipts: VecDeque<Arc<Receipt>>,
    keep: usize,
}

impl Store {
    /// Keeps at most so many; at least one.
    pub fn new(keep: usize) -> Store {
        Store { receipts: VecDeque::new(), keep: keep.max(1) }
    }

    pub fn keep(&mut self, keep: usize) {
        self.keep = keep.max(1);
        self.forget_surplus();
    }

    /// Stores a receipt. Jobs end in any order.
    pub fn insert(&mut self, receipt: Receipt) -> Arc<Receipt> {
        let receipt = Arc::new(receipt);
        match self.find(receipt.job) {
            Ok(ix) => self.receipts[ix] = Arc::clone(&receipt),
            Err(ix) => self.receipts.insert(ix, Arc::clone(&receipt)),
        }
        self.forget_surplus();
        receipt
    }

    /// Lets a stored receipt grow; `None` if it is forgotten.
    pub fn amend(&mut self, job: u64, change: impl FnOnce(&mut Receipt)) -> Option<Arc<Receipt>> {
        let ix = self.find(job).ok()?;
        change(Arc::make_mut(&mut self.receipts[ix]));
        Some(Arc::clone(&self.receipts[ix]))
    }

    pub fn receipt(&self, job: u64) -> Option<Arc<Receipt>> {
        self.find(job).ok().map(|ix| Arc::clone(&self.receipts[ix]))
    }

    /// Newest first, older than `before`.
    pub fn page(&self, limit: Option<u32>, before: Option<u64>) -> History {
        let limit = limit.map_or(PAGE_DEFAULT, |limit| (limit as usize).clamp(1, PAGE_MAX));
        let end =
            before.map_or(self.receipts.len(), |before| self.receipts.partition_point(|receipt| receipt.job < before));
        let start = end.saturating_sub(limit);
        History { jobs: self.receipts.range(start..end).rev().map(|receipt| line(receipt)).collect(), more: start > 0 }
    }

    fn find(&self, job: u64) -> Result<usize, usize> {
        self.receipts.binary_search_by_key(&job, |receipt| receipt.job)
    }

    fn forget_surplus(&mut self) {
        let surplus = self.receipts.len().saturating_sub(self.keep);
        self.receipts.drain(..surplus);
    }
}

fn line(receipt: &Receipt) -> PastJob {
    PastJob {
        job: receipt.job,
        outcome: receipt.outcome,
        generation_after: receipt.generation_after,
        author: receipt.author.clone(),
        source: receipt.source,
        order: receipt.order.clone(),
        submitted: receipt.submitted.clone(),
        micros: receipt.stages.iter().map(|stage| stage.micros).sum(),
        changes: receipt.plan.as_ref().map_or(0, |plan| plan.changes.len() as u64),
        summary: summary(receipt),
    }
}

fn summary(receipt: &Receipt) -> String {
    match receipt.outcome {
        JobOutcome::Unchanged => "equal to what runs".into(),
        JobOutcome::KeptOld => receipt.error.as_ref().map_or_else(String::new, |error| error.message.clone()),
        JobOutcome::Applied => {
            let pools = receipt.plan.as_ref().map_or(&[][..], |plan| &plan.pools);
            let mut summary = match pools {
                [] => "settings of the appliance".to_owned(),
                [pool] => format!("pool {pool}"),
                [first, .., last] if pools.len() == 2 => format!("pools {first}, {last}"),
                [first, ..] => format!("pools {first} and {} more", pools.len() - 1),
            };
            if !receipt.lost_shards.is_empty() {
                let lost: Vec<String> = receipt.lost_shards.iter().map(u16::to_string).collect();
                summary += &format!("; shard {} lost", lost.join(", "));
            }
            summary
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::receipt::{ConnectionCounts, Source};

    fn receipt(job: u64) -> Receipt {
        Receipt {
            job,
            outcome: JobOutcome::Unchanged,
            generation_before: Some(1),
            generation_after: Some(1),
            author: None,
            source: Source::Socket,
            order: None,
            submitted: "2026-11-21T10:00:00.000000Z".into(),
            ended: "2026-11-21T10:00:00.000000Z".into(),
            released: None,
            plan: None,
            stages: Vec::new(),
            shards: Vec::new(),
            connections: ConnectionCounts::default(),
            memory: None,
            lost_shards: Vec::new(),
            error: None,
            within: None,
            not_saved: None,
        }
    }

    fn jobs(history: &History) -> Vec<u64> {
        history.jobs.iter().map(|job| job.job).collect()
    }

    #[test]
    fn pages_go_backwards() {
        let mut store = Store::new(100);
        for job in [3, 1, 2, 5, 4] {
            store.insert(receipt(job));
        }
        let first = store.page(Some(2), None);
        assert_eq!((jobs(&first), first.more), (vec![5, 4], true));
        let second = store.page(Some(2), Some(4));
        assert_eq!((jobs(&second), second.more), (vec![3, 2], true));
        let last = store.page(Some(2), Some(2));
        assert_eq!((jobs(&last), last.more), (vec![1], false));
        assert!(jobs(&store.page(None, Some(1))).is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut store = Store::new(3);
        (1..=5).for_each(|job| drop(store.insert(receipt(job))));
        assert_eq!(jobs(&store.page(None, None)), [5, 4, 3]);
        assert!(store.receipt(2).is_none());
        store.keep(0);
        assert_eq!(jobs(&store.page(None, None)), [5]);
    }

    #[test]
    fn a_receipt_grows_and_an_answer_that_is_under_way_does_not() {
        let mut store = Store::new(3);
        let answered = store.insert(receipt(1));
        store.amend(1, |receipt| receipt.released = Some("later".into()));
        assert_eq!(store.receipt(1).unwrap().released.as_deref(), Some("later"));
        assert_eq!(answered.released, None);
        assert!(store.amend(9, |_| panic!("there is no such job")).is_none());
    }
}
