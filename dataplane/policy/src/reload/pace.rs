//! How fast connections are asked to end.
//!
//! Owns one number: the retirements that may happen now. A thousand clients that are all told to go at the
//! same moment all come back at the same moment; so retirements are spread, at a rate or up to a deadline.
//! Knows neither connections nor why they end.

use crate::tick::Tick;
use std::time::Duration;

/// How retirements are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// At most `per_second`, after a pause up to `burst` at once. Both at least 1.
    Rate { per_second: u32, burst: u32 },
    /// Evenly over the time that is left; at the deadline whatever is left.
    Until(Tick),
}

/// Spreads the retirements of one cause on one shard.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// When `credit` was last brought up to date.
    counted: Tick,
    /// Retirements that may happen. Unit: thousandths, so that a rate below one per tick adds up.
    credit: u64,
}

const ONE: u64 = 1000;

impl Pacer {
    pub fn new(pace: Pace, now: Tick) -> Pacer {
        let credit = match pace {
            Pace::Rate { per_second, burst } => {
                assert!(per_second > 0 && burst > 0, "a pace of nothing never ends");
                u64::from(burst) * ONE
            }
            Pace::Until(_) => 0,
        };
        Pacer { pace, counted: now, credit }
    }

    /// How many of `waiting` are retired now. The caller retires them all.
    pub fn release(&mut self, waiting: u32, now: Tick) -> u32 {
        let elapsed = millis(now.since(self.counted));
        match self.pace {
            Pace::Rate { per_second, burst } => {
                let earned = elapsed.saturating_mul(u64::from(per_second));
                self.credit = self.credit.saturating_add(earned).min(u64::from(burst) * ONE);
            }
            Pace::Until(deadline) if now >= deadline => self.credit = u64::from(waiting) * ONE,
            Pace::Until(deadline) => {
                let left = millis(deadline.since(now));
                let due = u128::from(waiting) * u128::from(ONE) * u128::from(elapsed) / u128::from(elapsed + left);
                self.credit += due as u64; // at most `waiting` whole ones, as elapsed <= elapsed + left
            }
        }
        self.counted = self.counted.max(now);
        let released = u32::try_from(self.credit / ONE).unwrap_or(u32::MAX).min(waiting);
        self.credit -= u64::from(released) * ONE;
        released
    }

    /// When to ask again while `waiting` are left; the answer may then still be none.
    pub fn next(&self, waiting: u32) -> Option<Tick> {
        if waiting == 0 {
            return None;
        }
        let missing = ONE.saturating_sub(self.credit);
        Some(match self.pace {
            Pace::Rate { per_second, .. } => {
                self.counted.after(Duration::from_millis(missing.div_ceil(u64::from(per_second))))
            }
            Pace::Until(deadline) => {
                let each = millis(deadline.since(self.counted)) / u64::from(waiting);
                self.counted.after(Duration::from_millis(each.max(1))).min(deadline.max(self.counted))
            }
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut pacer = Pacer::new(Pace::Rate { per_second: 100, burst: 10 }, Tick(0));
        assert_eq!(pacer.release(1000, Tick(0)), 10);
        assert_eq!(pacer.release(990, Tick(0)), 0);
        assert_eq!(pacer.next(990), Some(Tick(10)));
        assert_eq!(pacer.release(990, Tick(9)), 0);
        assert_eq!(pacer.release(990, Tick(10)), 1);
        assert_eq!(pacer.release(989, Tick(60)), 5);
        assert_eq!(pacer.release(984, Tick(100_000)), 10, "a pause earns no more than a burst");
        assert_eq!(pacer.release(3, Tick(200_000)), 3, "never more than wait");
    }

    #[test]
    fn a_slow_rate_adds_up() {
        let mut pacer = Pacer::new(Pace::Rate { per_second: 1, burst: 1 }, Tick(0));
        let total: u32 = (0..=10_000).map(|at| pacer.release(1000, Tick(at))).sum();
        assert_eq!(total, 1 + 10);
    }

    #[test]
    fn a_deadline_spreads_what_is_left_and_leaves_nothing() {
        let mut pacer = Pacer::new(Pace::Until(Tick(1000)), Tick(0));
        let mut waiting = 500;
        let mut most = 0;
        for at in (0..1000).step_by(10) {
            let released = pacer.release(waiting, Tick(at));
            most = most.max(released);
            waiting -= released;
        }
        assert!(most <= 6, "even: 5 per 10 ms, one more where thousandths add up; found {most}");
        assert!(waiting <= 10, "nearly done at the deadline; {waiting} left");
        assert_eq!(pacer.release(waiting, Tick(1000)), waiting);
        assert_eq!(pacer.next(0), None);
    }

    #[test]
    fn the_next_question_is_asked_by_the_deadline() {
        let pacer = Pacer::new(Pace::Until(Tick(1000)), Tick(0));
        assert_eq!(pacer.next(1), Some(Tick(1000)));
        assert_eq!(pacer.next(100), Some(Tick(10)));
        assert_eq!(pacer.next(1_000_000), Some(Tick(1)));
        let late = Pacer::new(Pace::Until(Tick(5)), Tick(9));
        assert_eq!(late.next(3), Some(Tick(9)));
    }

    #[test]
    fn at_a_deadline_in_the_past_everything_goes() {
        let mut pacer = Pacer::new(Pace::Until(Tick(5)), Tick(9));
        assert_eq!(pacer.release(7, Tick(9)), 7);
    }
}
