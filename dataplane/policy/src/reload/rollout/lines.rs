//! Who goes before whom.
//!
//! Owns one waiting line for each pool and each listen address that a job touches. A job enters all its
//! lines at once, in the order of submission, and may begin when it stands at the head of every one. So
//! disjoint jobs run together, overlapping ones in the order in which they came, nobody starves and nobody
//! waits in a circle. What a job does is not known here.

use crate::ids::{JobId, ListenerSlot, PoolSlot};
use crate::reload::planted::{Mistake, is};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a job may change. Two jobs whose touches have anything in common run one after the other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Touches {
    pub pools: BTreeSet<PoolSlot>,
    /// Addresses that the job brings or takes away, as far as that is known when it is submitted; all that
    /// it brings. One that is still leaving under an older slot brings that slot too, so that the job waits.
    pub listeners: BTreeSet<ListenerSlot>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Claim {
    Pool(PoolSlot),
    Address(ListenerSlot),
}

impl Touches {
    fn claims(&self) -> impl Iterator<Item = Claim> {
        let pools = self.pools.iter().copied().map(Claim::Pool);
        pools.chain(self.listeners.iter().copied().map(Claim::Address))
    }
}

/// All lines.
#[derive(Default)]
pub struct Lines {
    lines: BTreeMap<Claim, VecDeque<JobId>>,
    jobs: BTreeMap<JobId, Place>,
}

struct Place {
    touches: Touches,
    /// Lines in which somebody stands before this job.
    behind: usize,
}

impl Lines {
    pub fn enter(&mut self, job: JobId, touches: Touches) {
        let mut behind = 0;
        for claim in touches.claims() {
            let line = self.lines.entry(claim).or_default();
            behind += usize::from(!line.is_empty());
            line.push_back(job);
        }
        let twice = self.jobs.insert(job, Place { touches, behind });
        assert!(twice.is_none(), "job {job} stands in line already");
    }

    /// A job that stands first in all its lines enters further ones, in front of whoever stands there.
    pub fn enter_first(&mut self, job: JobId, mut touches: Touches) {
        assert!(self.is_first(job), "job {job} waits, and would make others wait");
        let place = self.jobs.get_mut(&job).expect("a job that stands in line");
        touches.pools = &touches.pools - &place.touches.pools;
        touches.listeners = &touches.listeners - &place.touches.listeners;
        place.touches.pools.extend(&touches.pools);
        place.touches.listeners.extend(&touches.listeners);
        for claim in touches.claims() {
            let line = self.lines.entry(claim).or_default();
            if let Some(head) = line.front() {
                self.jobs.get_mut(head).expect("in line").behind += 1;
            }
            line.push_front(job);
        }
    }

    /// Gives up all places. Answers with what the job touched; the heads may have changed there.
    pub fn leave(&mut self, job: JobId) -> Touches {
        let Place { touches, .. } = self.jobs.remove(&job).expect("a job that stands in line");
        for claim in touches.claims() {
            let line = self.lines.get_mut(&claim).expect("it stands there");
            let was_head = line.front() == Some(&job);
            line.retain(|other| *other != job);
            match line.front() {
                None => drop(self.lines.remove(&claim)),
                Some(head) if was_head => self.jobs.get_mut(head).expect("in line").behind -= 1,
                Some(_) => {}
            }
        }
        touches
    }

    /// Whether it stands at the head of all its lines.
    pub fn is_first(&self, job: JobId) -> bool {
        self.jobs[&job].behind == 0 || is(Mistake::LinesIgnored)
    }

    /// The heads of the lines in which this job waits, each once.
    pub fn before(&self, job: JobId) -> Vec<JobId> {
        let heads = self.jobs[&job].touches.claims().map(|claim| self.lines[&claim][0]);
        let heads: BTreeSet<JobId> = heads.filter(|head| *head != job).collect();
        heads.into_iter().collect()
    }

    pub fn touches(&self, job: JobId) -> &Touches {
        &self.jobs[&job].touches
    }

    pub fn head_of_pool(&self, pool: PoolSlot) -> Option<JobId> {
        self.lines.get(&Claim::Pool(pool)).map(|line| line[0])
    }

    pub fn head_of_address(&self, listener: ListenerSlot) -> Option<JobId> {
        self.lines.get(&Claim::Address(listener)).map(|line| line[0])
    }

    pub fn check_invariants(&self) {
        for (claim, line) in &self.lines {
            assert!(!line.is_empty(), "an empty line is removed");
            for job in line {
                assert!(self.jobs[job].touches.claims().any(|other| other == *claim));
            }
        }
        for (job, place) in &self.jobs {
            let behind = place.touches.claims().filter(|claim| self.lines[claim][0] != *job).count();
            assert_eq!(place.behind, behind, "job {job}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touches(pools: &[u32], listeners: &[u32]) -> Touches {
        Touches {
            pools: pools.iter().copied().map(PoolSlot).collect(),
            listeners: listeners.iter().copied().map(ListenerSlot).collect(),
        }
    }

    fn lines(jobs: &[(u64, &[u32], &[u32])]) -> Lines {
        let mut lines = Lines::default();
        for (job, pools, listeners) in jobs {
            lines.enter(JobId(*job), touches(pools, listeners));
        }
        lines.check_invariants();
        lines
    }

    #[test]
    fn disjoint_jobs_are_first_together() {
        let lines = lines(&[(1, &[0, 1], &[]), (2, &[2], &[0]), (3, &[], &[])]);
        assert!((1..=3).all(|job| lines.is_first(JobId(job))));
    }

    #[test]
    fn overlapping_jobs_go_in_the_order_they_came() {
        let mut lines = lines(&[(1, &[0], &[]), (2, &[0, 1], &[]), (3, &[1], &[])]);
        assert!(!lines.is_first(JobId(2)) && !lines.is_first(JobId(3)), "3 waits for 2, which waits for 1");
        assert_eq!(lines.before(JobId(3)), [JobId(2)]);
        lines.leave(JobId(1));
        lines.check_invariants();
        assert!(lines.is_first(JobId(2)) && !lines.is_first(JobId(3)));
        lines.leave(JobId(2));
        assert!(lines.is_first(JobId(3)));
    }

    #[test]
    fn one_that_gives_up_in_the_middle_lets_the_next_move_up() {
        let mut lines = lines(&[(1, &[0], &[]), (2, &[0, 1], &[]), (3, &[1], &[])]);
        lines.leave(JobId(2));
        lines.check_invariants();
        assert!(lines.is_first(JobId(3)));
        assert_eq!(lines.head_of_pool(PoolSlot(0)), Some(JobId(1)));
    }

    #[test]
    fn one_that_is_first_can_enter_further_lines_in_front() {
        let mut lines = lines(&[(1, &[9], &[]), (2, &[9, 0], &[]), (3, &[0], &[])]);
        lines.enter_first(JobId(1), touches(&[9, 0, 5], &[7]));
        lines.check_invariants();
        assert!(lines.is_first(JobId(1)));
        assert_eq!(lines.before(JobId(2)), [JobId(1)]);
        assert_eq!(lines.head_of_address(ListenerSlot(7)), Some(JobId(1)));
        lines.leave(JobId(1));
        lines.check_invariants();
        assert!(lines.is_first(JobId(2)) && !lines.is_first(JobId(3)));
    }

    #[test]
    fn addresses_are_lines_of_their_own() {
        let lines = lines(&[(1, &[0], &[7]), (2, &[1], &[7]), (3, &[7], &[])]);
        assert!(!lines.is_first(JobId(2)), "the same address");
        assert!(lines.is_first(JobId(3)), "pool 7 is not address 7");
        assert_eq!(lines.head_of_address(ListenerSlot(7)), Some(JobId(1)));
    }
}
