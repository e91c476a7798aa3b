//! Active health checks: when the next one is due, and what its result means.
//!
//! Owns the state of every backend that is checked, by identity: a change of `interval`, `rise` or `fall`
//! keeps state and streak. Refuses to know how a check is made: whoever asks [`Checks::due`] makes it and
//! brings the [`Check`] back with its result.
//!
//! ```text
//!               first result: success
//!   Unproven ─────────────────────────▶ Up ◀────────────┐
//!      │                                 │ `fall` failures in a row
//!      │ first result: failure           ▼              │ `rise` successes in a row
//!      └──────────────────────────────▶ Down ───────────┘
//! ```

use crate::generation::{Health, HealthCheck};
use crate::ids::EndpointSlot;
use crate::tick::Tick;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// All backends that are checked. A bounded number of checks run at a time; when more are due, those that
/// have been due longest come first, so a bound that is too small stretches every interval alike.
#[derive(Debug)]
pub struct Checks {
    watched: HashMap<EndpointSlot, Watched>,
    timeline: Timeline,
}

/// One check, from [`Checks::due`] to [`Checks::on_result`]. It counts against the bound for as long as it
/// exists, so one that could not be made comes back as well, as failed.
#[must_use = "a check that never comes back is counted as running for ever"]
#[derive(Debug)]
pub struct Check {
    pub slot: EndpointSlot,
    pub timeout: Duration,
    running: Running,
}

#[derive(Debug)]
struct Watched {
    checker: Checker,
    policy: HealthCheck,
}

impl Checks {
    /// At most `running_max` checks run at a time.
    pub fn new(running_max: usize) -> Checks {
        Checks { watched: HashMap::new(), timeline: Timeline::new(running_max) }
    }

    /// Checks a backend by `policy` from now on. A new one is unproven and checked at once; one that is
    /// checked already keeps its state, and a shorter interval counts from now.
    ///
    /// `so_far`: what is to be taken for true until the first results. One that has served unchecked until now is up.
    pub fn watch(&mut self, slot: EndpointSlot, so_far: Health, policy: HealthCheck, now: Tick, jitter: u32) {
        let Some(watched) = self.watched.get_mut(&slot) else {
            self.watched.insert(slot, Watched { checker: Checker { state: so_far, streak: 0 }, policy });
            self.timeline.schedule(slot, now);
            return;
        };
        let soon = next_check(now, policy.interval, jitter);
        watched.policy = policy;
        if self.timeline.when(slot).is_some_and(|at| at > soon) {
            self.timeline.schedule(slot, soon);
        }
    }

    /// The backend is gone, or is not checked any more. The result of a check that runs will be ignored.
    pub fn forget(&mut self, slot: EndpointSlot) {
        self.watched.remove(&slot);
        self.timeline.forget(slot);
    }

    /// What is known of a backend; `None`: it is not checked.
    pub fn health(&self, slot: EndpointSlot) -> Option<Health> {
        self.watched.get(&slot).map(|watched| watched.checker.state)
    }

    /// A check to be made now; asked again until it answers `None`.
    pub fn due(&mut self, now: Tick) -> Option<Check> {
        let (slot, running) = self.timeline.due(now)?;
        let timeout = self.watched[&slot].policy.timeout;
        Some(Check { slot, timeout, running })
    }

    /// When to ask [`Checks::due`] next. `None`: after the next result, or when another backend is watched.
    pub fn next_due(&mut self) -> Option<Tick> {
        self.timeline.next_due()
    }

    /// A check has ended. Answers the backend's health if it changed.
    pub fn on_result(&mut self, check: Check, ok: bool, now: Tick, jitter: u32) -> Option<Health> {
        let Check { slot, running, .. } = check;
        self.timeline.ended(running);
        // Gone meanwhile. If it came back meanwhile it is the same address, and the result is as good as any.
        let watched = self.watched.get_mut(&slot)?;
        self.timeline.schedule(slot, next_check(now, watched.policy.interval, jitter));
        watched.checker.on_result(ok, &watched.policy)
    }
}

/// What the results so far make of one backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checker {
    pub state: Health,
    /// Results in a row that speak against `state`.
    pub streak: u32,
}

impl Default for Checker {
    fn default() -> Checker {
        Checker { state: Health::Unproven, streak: 0 }
    }
}

impl Checker {
    /// Takes one result; answers the new state if it is another.
    pub fn on_result(&mut self, ok: bool, policy: &HealthCheck) -> Option<Health> {
        let (speaks_for, against) = if ok { (Health::Up, policy.rise) } else { (Health::Down, policy.fall) };
        if self.state == speaks_for {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        if self.state != Health::Unproven && self.streak < against {
            return None;
        }
        *self = Checker { state: speaks_for, streak: 0 };
        Some(speaks_for)
    }
}

/// When to check again: one interval from `now`, give or take an eighth. `jitter` is any number, all
/// equally likely; it keeps checks that began together from staying together.
pub fn next_check(now: Tick, interval: Duration, jitter: u32) -> Tick {
    let spread = interval / 4 / 1024 * (jitter >> 22);
    let wait = (interval - interval / 8).saturating_add(spread);
    now.after(wait.max(Duration::from_millis(1)))
}

/// Which backend is due when, each at most once, and how many checks run.
#[derive(Debug)]
struct Timeline {
    /// Those that were moved or forgotten since are still in here, see [`Timeline::prune`].
    queue: BinaryHeap<Reverse<(Tick, u64, EndpointSlot)>>,
    /// What each backend waits for: the number of its entry, and when.
    waiting: HashMap<EndpointSlot, (u64, Tick)>,
    scheduled: u64,
    running: usize,
    running_max: usize,
}

/// One check that runs. Made by [`Timeline::due`], taken back by [`Timeline::ended`].
#[derive(Debug)]
struct Running(());

impl Timeline {
    fn new(running_max: usize) -> Timeline {
        assert!(running_max > 0, "without a running check nothing is ever proven");
        Timeline { queue: BinaryHeap::new(), waiting: HashMap::new(), scheduled: 0, running: 0, running_max }
    }

    /// The backend is due at `at`, and not at any time said before.
    fn schedule(&mut self, slot: EndpointSlot, at: Tick) {
        self.scheduled += 1;
        self.waiting.insert(slot, (self.scheduled, at));
        self.queue.push(Reverse((at, self.scheduled, slot)));
        self.prune();
    }

    fn forget(&mut self, slot: EndpointSlot) {
        self.waiting.remove(&slot);
    }

    fn when(&self, slot: EndpointSlot) -> Option<Tick> {
        self.waiting.get(&slot).map(|(_, at)| *at)
    }

    fn due(&mut self, now: Tick) -> Option<(EndpointSlot, Running)> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, _, slot)) = self.queue.pop()?;
        self.waiting.remove(&slot);
        self.running += 1;
        Some((slot, Running(())))
    }

    fn ended(&mut self, Running(()): Running) {
        self.running -= 1;
    }

    fn next_due(&mut self) -> Option<Tick> {
        if self.running == self.running_max {
            return None;
        }
        loop {
            let Reverse((at, entry, slot)) = *self.queue.peek()?;
            if self.waiting.get(&slot) == Some(&(entry, at)) {
                return Some(at);
            }
            self.queue.pop();
        }
    }

    /// Keeps what was moved or forgotten below what waits.
    fn prune(&mut self) {
        if self.queue.len() > 2 * self.waiting.len() + 16 {
            let waiting = &self.waiting;
            self.queue.retain(|Reverse((at, entry, slot))| waiting.get(slot) == Some(&(*entry, *at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::CheckKind;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn policy(rise: u32, fall: u32) -> HealthCheck {
        HealthCheck {
            kind: CheckKind::Connect,
            interval: Duration::from_millis(800),
            timeout: Duration::from_millis(100),
            rise,
            fall,
        }
    }

    /// Results as `+` and `-`; after each the state as `u`p or `d`own.
    fn check(rise: u32, fall: u32, results: &str, expected: &str) {
        let mut checker = Checker::default();
        let mut states = String::new();
        for result in results.chars() {
            let before = checker.state;
            let changed = checker.on_result(result == '+', &policy(rise, fall));
            assert_eq!(changed, (checker.state != before).then_some(checker.state));
            states.push(match checker.state {
                Health::Up => 'u',
                Health::Down => 'd',
                Health::Unproven => '?',
            });
        }
        assert_eq!(states, expected, "rise {rise}, fall {fall}, {results}");
    }

    #[test]
    fn the_first_result_decides_and_then_only_a_streak() {
        check(3, 2, "+", "u");
        check(3, 2, "-", "d");
        check(3, 2, "+-+-+-+", "uuuuuuu");
        check(3, 2, "+--", "uud");
        check(3, 2, "-++-+++", "ddddddu");
        check(1, 1, "+-+-", "udud");
        // A bound of none is a bound of one.
        check(0, 0, "+-+", "udu");
    }

    #[test]
    fn a_change_of_rise_and_fall_keeps_state_and_streak() {
        let mut checker = Checker::default();
        checker.on_result(true, &policy(2, 5));
        for _ in 0..3 {
            assert_eq!(checker.on_result(false, &policy(2, 5)), None);
        }
        assert_eq!(checker, Checker { state: Health::Up, streak: 3 });
        assert_eq!(checker.on_result(false, &policy(2, 4)), Some(Health::Down));
        checker.on_result(true, &policy(9, 9));
        checker.on_result(true, &policy(9, 9));
        assert_eq!(checker.on_result(true, &policy(2, 4)), Some(Health::Up));
    }

    #[test]
    fn the_next_check_comes_after_about_one_interval() {
        let at = |jitter| next_check(Tick(1_000), Duration::from_secs(8), jitter).0 - 1_000;
        assert_eq!(at(0), 7_000);
        assert_eq!(at(u32::MAX / 2), 7_999);
        assert_eq!(at(u32::MAX), 8_999);
        assert_eq!(next_check(Tick(5), Duration::ZERO, 9), Tick(6));
        assert_eq!(next_check(Tick(5), Duration::MAX, u32::MAX), Tick(u64::MAX));
    }

    fn due(checks: &mut Checks, now: u64) -> Vec<Check> {
        std::iter::from_fn(|| checks.due(Tick(now))).collect()
    }

    #[test]
    fn a_new_backend_is_unproven_and_checked_at_once() {
        let mut checks = Checks::new(10);
        checks.watch(EndpointSlot(4), Health::Unproven, policy(2, 2), Tick(50), 0);
        assert_eq!(checks.health(EndpointSlot(4)), Some(Health::Unproven));
        assert_eq!(checks.next_due(), Some(Tick(50)));
        let check = checks.due(Tick(50)).unwrap();
        assert_eq!((check.slot, check.timeout), (EndpointSlot(4), Duration::from_millis(100)));
        assert_eq!(checks.next_due(), None);
        assert_eq!(checks.on_result(check, true, Tick(60), 0), Some(Health::Up));
        assert_eq!(checks.next_due(), Some(Tick(760)));
    }

    #[test]
    fn a_shorter_interval_counts_from_now_and_a_longer_one_from_the_next_check() {
        let every = |millis| HealthCheck { interval: Duration::from_millis(millis), ..policy(1, 1) };
        let mut checks = Checks::new(10);
        checks.watch(EndpointSlot(0), Health::Unproven, every(80_000), Tick(0), 0);
        let check = checks.due(Tick(0)).unwrap();
        checks.on_result(check, true, Tick(0), 0);
        assert_eq!(checks.next_due(), Some(Tick(70_000)));
        checks.watch(EndpointSlot(0), Health::Unproven, every(800), Tick(1_000), 0);
        assert_eq!(checks.next_due(), Some(Tick(1_700)));
        checks.watch(EndpointSlot(0), Health::Unproven, every(80_000), Tick(1_001), 0);
        assert_eq!(checks.next_due(), Some(Tick(1_700)));
        assert_eq!(checks.health(EndpointSlot(0)), Some(Health::Up));
    }

    #[test]
    fn at_the_bound_the_longest_due_goes_first_when_one_ends() {
        let mut checks = Checks::new(2);
        for slot in 0..4 {
            checks.watch(EndpointSlot(slot), Health::Unproven, policy(1, 1), Tick(slot.into()), 0);
        }
        let mut running = due(&mut checks, 100);
        assert_eq!(running.iter().map(|check| check.slot.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(checks.next_due(), None);
        assert!(checks.due(Tick(100)).is_none());
        checks.on_result(running.pop().unwrap(), false, Tick(110), 0);
        assert_eq!(checks.next_due(), Some(Tick(2)));
        assert_eq!(checks.due(Tick(110)).unwrap().slot, EndpointSlot(2));
    }

    #[test]
    fn a_result_for_nobody_frees_its_place_and_says_nothing() {
        let mut checks = Checks::new(1);
        checks.watch(EndpointSlot(0), Health::Unproven, policy(1, 1), Tick(0), 0);
        let check = checks.due(Tick(0)).unwrap();
        checks.forget(EndpointSlot(0));
        checks.watch(EndpointSlot(1), Health::Unproven, policy(1, 1), Tick(0), 0);
        assert_eq!(checks.on_result(check, true, Tick(1), 0), None);
        assert_eq!(checks.health(EndpointSlot(0)), None);
        assert_eq!(checks.due(Tick(1)).unwrap().slot, EndpointSlot(1));
    }

    #[test]
    fn a_policy_that_changes_all_the_time_takes_no_memory() {
        let mut checks = Checks::new(1);
        for n in 0..10_000 {
            let interval = Duration::from_secs(20_000 - n);
            checks.watch(EndpointSlot(0), Health::Unproven, HealthCheck { interval, ..policy(1, 1) }, Tick(0), 0);
            if n == 0 {
                let check = checks.due(Tick(0)).unwrap();
                checks.on_result(check, true, Tick(0), 0);
            }
        }
        assert!(checks.timeline.queue.len() < 20);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Watch { slot: u32, interval: u64 },
        Forget { slot: u32 },
        Pass { millis: u64 },
        Finish { at: usize, ok: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..8u32, 1..500u64).prop_map(|(slot, interval)| Step::Watch { slot, interval }),
            1 => (0..8u32).prop_map(|slot| Step::Forget { slot }),
            3 => (0..300u64).prop_map(|millis| Step::Pass { millis }),
            4 => (any::<usize>(), any::<bool>()).prop_map(|(at, ok)| Step::Finish { at, ok }),
        ]
    }

    proptest! {
        /// Nobody is checked early, twice in a row or above the bound, and nobody watched is forgotten.
        #[test]
        fn whoever_is_watched_is_either_running_or_waiting(
            steps in proptest::collection::vec(step(), 1..150),
            running_max in 1..6usize,
        ) {
            let mut now = 0;
            let mut checks = Checks::new(running_max);
            let mut running: Vec<Check> = Vec::new();
            let soon = |now, interval| next_check(Tick(now), Duration::from_millis(interval), u32::MAX).0;
            // When each that waits is due.
            let mut waiting: BTreeMap<u32, u64> = BTreeMap::new();
            let mut intervals: BTreeMap<u32, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Watch { slot, interval } => {
                        let policy = HealthCheck { interval: Duration::from_millis(interval), ..policy(2, 2) };
                        checks.watch(EndpointSlot(slot), Health::Unproven, policy, Tick(now), u32::MAX);
                        let soon = soon(now, interval);
                        match intervals.insert(slot, interval) {
                            None => { waiting.insert(slot, now); }
                            Some(_) => { waiting.entry(slot).and_modify(|at| *at = soon.min(*at)); }
                        }
                    }
                    Step::Forget { slot } => {
                        checks.forget(EndpointSlot(slot));
                        waiting.remove(&slot);
                        intervals.remove(&slot);
                    }
                    Step::Pass { millis } => now += millis,
                    Step::Finish { .. } if running.is_empty() => {}
                    Step::Finish { at, ok } => {
                        let check = running.swap_remove(at % running.len());
                        let slot = check.slot.0;
                        checks.on_result(check, ok, Tick(now), u32::MAX);
                        if let Some(interval) = intervals.get(&slot) {
                            waiting.insert(slot, soon(now, *interval));
                        }
                    }
                }
                for check in due(&mut checks, now) {
                    let at = waiting.remove(&check.slot.0);
                    prop_assert!(at.is_some_and(|at| at <= now), "{check:?} at {now}, due at {at:?}");
                    running.push(check);
                }
                prop_assert!(running.len() <= running_max);
                if running.len() < running_max {
                    let late = waiting.iter().find(|(_, at)| **at <= now);
                    prop_assert!(late.is_none(), "at {now} {late:?} still waits");
                    let first = waiting.values().min().map(|at| Tick(*at));
                    prop_assert_eq!(checks.next_due(), first);
                }
            }
        }
    }
}
