//! Whether a failed request may be sent again, to another backend or over another connection.
//!
//! Owns what is safe (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1) and the budget of a group, so that backends that
//! fail are not also sent everything twice. Refuses to know connections: it is told how far an attempt came.
//!
//! A budget is a shard's own: over all shards it is the sum, so `minimum_per_second` is divided by them first.

use crate::tick::Tick;

/// What the operator allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Of one request, the first included. At least 1.
    pub attempts: u32,
    /// Retries for requests, over time. Unit: thousandths.
    pub per_mille: u32,
    /// Retries that are allowed however few requests there are. Unit: retries/s.
    pub minimum_per_second: u32,
    /// Answers that count as failures: retried as if nothing had been answered. At most
    /// [`RetryPolicy::STATUSES_MAX`].
    pub statuses: Box<[u16]>,
}

impl RetryPolicy {
    pub const STATUSES_MAX: usize = 32;
}

/// How one attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No connection: refused, unreachable or timed out. The backend has nothing.
    Connect,
    /// The connection broke before a byte of the answer.
    Broken {
        /// It had served a request before: the backend may have closed it as this one left.
        reused: bool,
        /// Some of this request went out on it.
        sent: bool,
    },
    /// No byte of the answer came in time.
    FirstByteTimeout,
    /// A whole head with this status, none of it passed on.
    Status(u16),
    /// Something of the answer was passed on.
    Answering,
}

/// One request at the moment of a failure.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    pub method: &'a [u8],
    /// All of the body can be sent again: there is none, or all of it is still in memory.
    pub replayable: bool,
    /// Attempts made, the failed one included.
    pub attempts: u32,
    pub failure: Failure,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    Retry,
    /// Sending it again could do it twice, or this failure is none that is retried.
    Unsafe,
    /// The client's body is gone.
    BodyGone,
    /// [`RetryPolicy::attempts`] are made.
    AttemptsSpent,
    /// The group's budget is used up.
    BudgetSpent,
}

impl Verdict {
    /// The word in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Retry => "retry",
            Verdict::Unsafe => "retry-unsafe",
            Verdict::BodyGone => "retry-body-gone",
            Verdict::AttemptsSpent => "retry-attempts-spent",
            Verdict::BudgetSpent => "retry-budget-spent",
        }
    }
}

/// Judges one failure; the budget pays only if the answer is [`Verdict::Retry`], and not for a kept connection that had died.
pub fn judge(attempted: Attempted, policy: &RetryPolicy, budget: &mut Budget, now: Tick) -> Verdict {
    let Attempted { method, replayable, attempts, failure } = attempted;
    // No `_` arm: a new failure must say when it is safe.
    let safe = match failure {
        Failure::Connect => true,
        Failure::Broken { sent: false, .. } => true,
        Failure::Broken { reused: true, sent: true } => is_idempotent(method),
        // A fresh connection that dies under a request may well die of it.
        Failure::Broken { reused: false, sent: true } => false,
        Failure::FirstByteTimeout => false,
        Failure::Status(status) => policy.statuses.contains(&status) && is_idempotent(method),
        Failure::Answering => false,
    };
    if !safe {
        Verdict::Unsafe
    } else if !replayable {
        Verdict::BodyGone
    } else if attempts >= policy.attempts {
        Verdict::AttemptsSpent
    } else if matches!(failure, Failure::Broken { reused: true, .. }) {
        // It says nothing of the backend, whose connections merely grew old, so it costs the budget nothing: whoever sends
        // it again does so over a new one.
        Verdict::Retry
    } else if !budget.take(policy, now) {
        Verdict::BudgetSpent
    } else {
        Verdict::Retry
    }
}

/// RFC 9110 section 9.2.2. A method that is not known is not.
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Retries that one group on one shard may still make: a token bucket that requests fill, and one that time fills.
///
/// Over any span, retries are at most `per_mille / 1000` of the requests, and `minimum_per_second` a second, and what both
/// buckets hold: [`Budget::SAVED_MAX`] retries and one second's minimum.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Unit: thousandths of a retry.
    earned: u64,
    /// Unit: thousandths of a retry.
    granted: u64,
    /// When `granted` was filled last. `None`: never.
    filled: Option<Tick>,
}

impl Budget {
    /// What requests without a failure can save up. Unit: retries.
    pub const SAVED_MAX: u64 = 100;

    /// A request begins: told once for each, not for its retries.
    pub fn requested(&mut self, policy: &RetryPolicy) {
        self.earned = (self.earned + u64::from(policy.per_mille)).min(Budget::SAVED_MAX * RETRY);
    }

    fn take(&mut self, policy: &RetryPolicy, now: Tick) -> bool {
        // Thousandths a second are retries a millisecond.
        let per_milli = u64::from(policy.minimum_per_second);
        let full = per_milli * RETRY;
        let elapsed = self.filled.map_or(u64::MAX, |filled| now.0.saturating_sub(filled.0));
        self.granted = self.granted.saturating_add(per_milli.saturating_mul(elapsed)).min(full);
        self.filled = self.filled.max(Some(now));
        for bucket in [&mut self.earned, &mut self.granted] {
            if *bucket >= RETRY {
                *bucket -= RETRY;
                return true;
            }
        }
        false
    }
}

/// One retry in the unit of the buckets.
const RETRY: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(attempts: u32, per_mille: u32, minimum_per_second: u32) -> RetryPolicy {
        RetryPolicy { attempts, per_mille, minimum_per_second, statuses: [502, 503].into() }
    }

    fn check(method: &str, failure: Failure, expected: Verdict) {
        let attempted = Attempted { method: method.as_bytes(), replayable: true, attempts: 1, failure };
        let verdict = judge(attempted, &policy(3, 0, 10), &mut Budget::default(), Tick(0));
        assert_eq!(verdict, expected, "{method} {failure:?}");
    }

    #[test]
    fn what_was_not_sent_is_safe_whatever_it_is() {
        for method in ["GET", "POST", "PATCH", "BREW"] {
            check(method, Failure::Connect, Verdict::Retry);
            check(method, Failure::Broken { reused: true, sent: false }, Verdict::Retry);
            check(method, Failure::Broken { reused: false, sent: false }, Verdict::Retry);
        }
    }

    #[test]
    fn what_was_sent_is_safe_if_doing_it_twice_is() {
        for (method, expected) in [
            ("GET", Verdict::Retry),
            ("HEAD", Verdict::Retry),
            ("PUT", Verdict::Retry),
            ("DELETE", Verdict::Retry),
            ("POST", Verdict::Unsafe),
            ("PATCH", Verdict::Unsafe),
            ("CONNECT", Verdict::Unsafe),
            ("get", Verdict::Unsafe),
        ] {
            check(method, Failure::Broken { reused: true, sent: true }, expected);
            check(method, Failure::Status(503), expected);
        }
        check("GET", Failure::Broken { reused: false, sent: true }, Verdict::Unsafe);
        check("GET", Failure::Status(500), Verdict::Unsafe);
        check("GET", Failure::FirstByteTimeout, Verdict::Unsafe);
        check("GET", Failure::Answering, Verdict::Unsafe);
    }

    #[test]
    fn a_body_that_is_gone_and_spent_attempts_end_it() {
        let (policy, mut budget) = (policy(2, 0, 10), Budget::default());
        let mut verdict = |replayable, attempts| {
            let attempted = Attempted { method: b"PUT", replayable, attempts, failure: Failure::Connect };
            judge(attempted, &policy, &mut budget, Tick(0))
        };
        assert_eq!(verdict(false, 1), Verdict::BodyGone);
        assert_eq!(verdict(true, 2), Verdict::AttemptsSpent);
        assert_eq!(verdict(true, 1), Verdict::Retry);
    }

    #[test]
    fn the_budget_is_a_share_of_requests_and_a_minimum_a_second() {
        let policy = policy(9, 200, 2);
        let mut budget = Budget::default();
        let taken = |budget: &mut Budget, now| (0..1_000).take_while(|_| budget.take(&policy, Tick(now))).count();
        assert_eq!(taken(&mut budget, 0), 2);
        assert_eq!(taken(&mut budget, 499), 0);
        assert_eq!(taken(&mut budget, 500), 1);
        assert_eq!(taken(&mut budget, 60_000), 2);
        (0..100).for_each(|_| budget.requested(&policy));
        assert_eq!(taken(&mut budget, 60_000), 20);
        (0..100_000).for_each(|_| budget.requested(&policy));
        assert_eq!(taken(&mut budget, 60_000), Budget::SAVED_MAX as usize);
        assert_eq!(taken(&mut budget, 50_000), 0);
    }

    proptest! {
        #[test]
        fn retries_stay_within_the_budget(
            per_mille in 0..1_000u32,
            minimum in 0..20u32,
            steps in proptest::collection::vec((0..400u64, 0..30u64, 0..30u64), 1..60),
        ) {
            let policy = policy(9, per_mille, minimum);
            let (mut budget, mut now, mut requests, mut retries) = (Budget::default(), 0, 0, 0);
            for (millis, requested, failed) in steps {
                now += millis;
                (0..requested).for_each(|_| budget.requested(&policy));
                requests += requested;
                retries += (0..failed).filter(|_| budget.take(&policy, Tick(now))).count() as u64;
                let minimum = u64::from(minimum);
                let most = requests * u64::from(per_mille) + minimum * now + minimum * RETRY;
                prop_assert!(retries * RETRY <= most, "{retries} retries for {requests} requests in {now} ms");
            }
        }
    }
}
