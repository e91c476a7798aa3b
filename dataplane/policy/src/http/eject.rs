//! Passive health: a backend that answers with errors is left out for a while.
//!
//! Owns who of one group is ejected, on one shard: each shard judges by what it saw itself, so a backend is out of all
//! shards only when each has met its errors. Refuses to know what an active check says, and whether anybody is picked; the
//! shard tells [`Picker::set_ejected`](crate::balance::Picker::set_ejected) what is returned here.
//!
//! ```text
//! in ── errors in a row ──▶ ejected for base × times, at most longest ── time ──▶ in, without a blemish
//!        (if the group's share allows)
//! ```
//!
//! State belongs to the endpoint's slot and outlives reloads; an endpoint that leaves the group is forgotten. Who makes
//! no errors takes no memory.

use crate::ids::EndpointSlot;
use crate::tick::Tick;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the operator allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EjectPolicy {
    /// Errors in a row that eject. At least 1.
    pub errors: u32,
    /// The first ejection; the n-th in close succession lasts n times as long.
    pub base: Duration,
    /// No ejection is longer.
    pub longest: Duration,
    /// Of the group's backends, those that may be ejected at once. Rounded down, and never all of them.
    pub percent_max: u8,
}

/// How an exchange with a backend ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An answer that is no error of the backend.
    Good,
    /// 500 to 599 of its own making.
    ServerError,
    ConnectFailed,
    /// The connection broke before the answer was complete.
    Reset,
    /// It took longer than it was given.
    TimedOut,
}

/// What an outcome led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    Nothing,
    Ejected {
        until: Tick,
    },
    /// It would have been, but so many of the group are already.
    Spared,
}

/// The passive health of one group on one shard.
#[derive(Debug, Default)]
pub struct Ejector {
    records: BTreeMap<EndpointSlot, Record>,
    ejected: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    errors: u32,
    /// Ejections in close succession.
    times: u32,
    /// While it is ejected, when it returns.
    until: Option<Tick>,
    /// When it returned last, and how long it was out.
    returned: Option<(Tick, Duration)>,
}

impl Ejector {
    pub fn new() -> Ejector {
        Ejector::default()
    }

    /// One exchange with `slot` has ended; its group has `members` backends.
    pub fn ended(
        &mut self,
        slot: EndpointSlot,
        outcome: Outcome,
        members: usize,
        policy: &EjectPolicy,
        now: Tick,
    ) -> Effect {
        // No `_` arm: a new outcome must say whether it is the backend's fault.
        let good = match outcome {
            Outcome::Good => true,
            Outcome::ServerError | Outcome::ConnectFailed | Outcome::Reset | Outcome::TimedOut => false,
        };
        if good {
            self.good(slot, now);
            return Effect::Nothing;
        }
        let record = self.records.entry(slot).or_default();
        // What began before the ejection ends after it, and says nothing new.
        if record.until.is_some() {
            return Effect::Nothing;
        }
        record.errors = record.errors.saturating_add(1);
        if record.errors < policy.errors.max(1) {
            return Effect::Nothing;
        }
        if self.ejected >= allowed(members, policy) {
            return Effect::Spared;
        }
        if !record.is_relapse(now) {
            record.times = 0;
        }
        record.times = record.times.saturating_add(1);
        let out = policy.base.saturating_mul(record.times).min(policy.longest);
        let until = now.after(out);
        *record = Record { errors: 0, until: Some(until), returned: Some((until, out)), ..*record };
        self.ejected += 1;
        Effect::Ejected { until }
    }

    /// One that returns now, if any does: asked until it is `None`.
    ///
    /// Cost: O(backends that made errors).
    pub fn returns(&mut self, now: Tick) -> Option<EndpointSlot> {
        let due = |record: &Record| record.until.is_some_and(|until| until <= now);
        let (slot, record) = self.records.iter_mut().find(|(_, record)| due(record))?;
        record.until = None;
        self.ejected -= 1;
        Some(*slot)
    }

    /// When to ask [`Ejector::returns`] next.
    pub fn next_return(&self) -> Option<Tick> {
        self.records.values().filter_map(|record| record.until).min()
    }

    pub fn is_ejected(&self, slot: EndpointSlot) -> bool {
        self.records.get(&slot).is_some_and(|record| record.until.is_some())
    }

    pub fn ejected(&self) -> usize {
        self.ejected
    }

    /// The endpoint is no more of the group.
    pub fn forget(&mut self, slot: EndpointSlot) {
        let record = self.records.remove(&slot);
        self.ejected -= usize::from(record.is_some_and(|record| record.until.is_some()));
    }

    /// Forgets all endpoints that are no more of the group. Cost: O(backends that made errors).
    pub fn retain(&mut self, mut stays: impl FnMut(EndpointSlot) -> bool) {
        self.records.retain(|slot, record| {
            let stays = stays(*slot);
            self.ejected -= usize::from(!stays && record.until.is_some());
            stays
        });
    }

    fn good(&mut self, slot: EndpointSlot, now: Tick) {
        if let Some(record) = self.records.get_mut(&slot) {
            record.errors = 0;
            if record.until.is_none() && !record.is_relapse(now) {
                self.records.remove(&slot);
            }
        }
    }
}

impl Record {
    /// It has been in for no longer than it was out before.
    fn is_relapse(&self, now: Tick) -> bool {
        self.returned.is_some_and(|(returned, out)| now <= returned.after(out))
    }
}

/// How many of a group may be ejected at once.
fn allowed(members: usize, policy: &EjectPolicy) -> usize {
    let share = members * usize::from(policy.percent_max.min(100)) / 100;
    share.min(members.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: EjectPolicy =
        EjectPolicy { errors: 3, base: Duration::from_secs(10), longest: Duration::from_secs(25), percent_max: 50 };

    fn fails(ejector: &mut Ejector, slot: u32, times: usize, now: u64) -> Effect {
        let end = |_| ejector.ended(EndpointSlot(slot), Outcome::ServerError, 4, &POLICY, Tick(now));
        (0..times).map(end).last().unwrap()
    }

    fn serves(ejector: &mut Ejector, slot: u32, now: u64) {
        assert_eq!(ejector.ended(EndpointSlot(slot), Outcome::Good, 4, &POLICY, Tick(now)), Effect::Nothing);
    }

    fn returned(ejector: &mut Ejector, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| ejector.returns(Tick(now))).map(|slot| slot.0).collect()
    }

    #[test]
    fn errors_in_a_row_eject_and_time_brings_back() {
        let mut ejector = Ejector::new();
        assert_eq!(fails(&mut ejector, 1, 2, 0), Effect::Nothing);
        serves(&mut ejector, 1, 0);
        assert_eq!(fails(&mut ejector, 1, 2, 0), Effect::Nothing);
        assert_eq!(fails(&mut ejector, 1, 1, 5), Effect::Ejected { until: Tick(10_005) });
        assert!(ejector.is_ejected(EndpointSlot(1)));
        assert_eq!(fails(&mut ejector, 1, 9, 6), Effect::Nothing);
        assert_eq!(returned(&mut ejector, 10_004), []);
        assert_eq!(ejector.next_return(), Some(Tick(10_005)));
        assert_eq!(returned(&mut ejector, 10_005), [1]);
        assert_eq!((ejector.ejected(), ejector.next_return()), (0, None));
    }

    #[test]
    fn a_relapse_lasts_longer_and_a_good_while_is_forgiven() {
        let mut ejector = Ejector::new();
        let mut now = 0;
        for seconds in [10, 20, 25, 25] {
            assert_eq!(fails(&mut ejector, 1, 3, now), Effect::Ejected { until: Tick(now + seconds * 1_000) });
            now += seconds * 1_000;
            assert_eq!(returned(&mut ejector, now), [1]);
            // Not long enough.
            serves(&mut ejector, 1, now + 100);
            now += 200;
        }
        now += 25_000;
        assert_eq!(fails(&mut ejector, 1, 3, now), Effect::Ejected { until: Tick(now + 10_000) });
        assert_eq!(returned(&mut ejector, now + 10_000), [1]);
        serves(&mut ejector, 1, now + 21_000);
        assert!(ejector.records.is_empty());
    }

    #[test]
    fn only_so_many_are_ejected_at_once_and_never_all() {
        let mut ejector = Ejector::new();
        assert!(matches!(fails(&mut ejector, 0, 3, 0), Effect::Ejected { .. }));
        assert!(matches!(fails(&mut ejector, 1, 3, 0), Effect::Ejected { .. }));
        assert_eq!(fails(&mut ejector, 2, 3, 0), Effect::Spared);
        ejector.forget(EndpointSlot(0));
        assert!(matches!(fails(&mut ejector, 2, 1, 0), Effect::Ejected { .. }));
        let all = EjectPolicy { percent_max: 100, ..POLICY };
        assert_eq!([0, 1, 2, 10].map(|members| allowed(members, &all)), [0, 0, 1, 9]);
        assert_eq!([1, 2, 3, 10].map(|members| allowed(members, &POLICY)), [0, 1, 1, 5]);
    }

    #[test]
    fn every_kind_of_error_counts() {
        let errors = [Outcome::ServerError, Outcome::ConnectFailed, Outcome::Reset];
        let mut ejector = Ejector::new();
        let last = errors.map(|error| ejector.ended(EndpointSlot(0), error, 4, &POLICY, Tick(0)))[2];
        assert!(matches!(last, Effect::Ejected { .. }));
    }

    proptest! {
        #[test]
        fn the_ejected_are_counted_and_bounded_and_all_return(
            steps in proptest::collection::vec((0..6u32, 0..4u32, 0..3_000u64), 1..200),
        ) {
            let (mut ejector, mut now) = (Ejector::new(), 0);
            for (slot, what, millis) in steps {
                now += millis;
                match what {
                    0 => drop(ejector.ended(EndpointSlot(slot), Outcome::Good, 6, &POLICY, Tick(now))),
                    1 | 2 => drop(ejector.ended(EndpointSlot(slot), Outcome::Reset, 6, &POLICY, Tick(now))),
                    _ => drop(returned(&mut ejector, now)),
                }
                let ejected = (0..6).filter(|slot| ejector.is_ejected(EndpointSlot(*slot))).count();
                prop_assert_eq!(ejected, ejector.ejected());
                prop_assert!(ejected <= 3);
                let longest = now + POLICY.longest.as_millis() as u64;
                prop_assert!(ejector.records.values().all(|record| record.until.is_none_or(|until| until.0 <= longest)));
            }
            returned(&mut ejector, now + 25_000);
            prop_assert_eq!(ejector.ejected(), 0);
        }
    }
}
