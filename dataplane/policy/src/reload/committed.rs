//! Which jobs a root contains, as far back as anybody can still ask.
//!
//! Travels with the root: a shard that takes a root as a whole takes this too. So whoever is left after
//! crashes and deaths can say of a job that was under way whether it is in force.

use crate::ids::JobId;
use std::collections::VecDeque;

/// The newest jobs that were committed to a root, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed(VecDeque<JobId>);

impl Committed {
    /// A job is under way for at most the adopt time-out after its first Commit; this many other Commits in
    /// that time are not expected.
    pub const KEPT: usize = 1024;

    pub fn push(&mut self, job: JobId) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(job);
    }

    pub fn contains(&self, job: JobId) -> bool {
        self.0.contains(&job)
    }

    pub fn iter(&self) -> impl Iterator<Item = JobId> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut committed = Committed::default();
        (0..=Committed::KEPT as u64).for_each(|job| committed.push(JobId(job)));
        assert!(!committed.contains(JobId(0)));
        assert!(committed.contains(JobId(1)) && committed.contains(JobId(Committed::KEPT as u64)));
        assert_eq!(committed.iter().count(), Committed::KEPT);
    }
}
