//! Timers of a shard's connections: one coarse hashed wheel, one entry a connection.
//!
//! Owns which connection is due when. Refuses to know what the deadline was for: the owner compares its own
//! deadlines when its entry fires, so moving a deadline *later* needs no call at all, and an idle time-out
//! that every byte postpones costs nothing per byte.
//!
//! Time is cut into turns of [`Wheel::GRANULARITY`] milliseconds. An entry belongs to the first turn that
//! begins at or after its deadline, and a turn fires as a whole when it begins: never early, late by less
//! than one turn, and connections that are due about the same time share one wake-up. A bucket holds the
//! turns that are equal modulo the number of buckets; entries of later revolutions stay where they are.

use crate::tick::Tick;

/// A connection: its index in the shard's table, and which use of that index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub index: u32,
    pub generation: u32,
}

/// A hashed timer wheel. Setting, moving and clearing are O(1); firing is O(fired), plus one visit for every
/// revolution (16 s) that an entry waits.
///
/// Memory: 24 bytes for each index up to the highest ever set, 16 KiB of buckets.
#[derive(Debug)]
pub struct Wheel {
    entries: Vec<Entry>,
    entries_max: usize,
    buckets: Box<[Bucket]>,
    /// The last turn whose entries were collected.
    fired: Turn,
    /// Collected and not yet handed out. May name entries that were set again or cleared since.
    due: Vec<Key>,
    /// No turn before this one has an entry; may be earlier than the first that has one.
    soonest: Turn,
    set: usize,
}

/// A number of turns since the process started.
type Turn = u64;

#[derive(Clone, Debug)]
struct Entry {
    turn: Turn,
    generation: u32,
    previous: u32,
    next: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Clear,
    /// In its bucket's chain.
    Linked,
    /// In [`Wheel::due`], its turn has come.
    Due,
}

#[derive(Clone, Debug)]
struct Bucket {
    first: u32,
    /// As [`Wheel::soonest`], of this bucket's entries.
    soonest: Turn,
}

const NONE: u32 = u32::MAX;
const NEVER: Turn = Turn::MAX;

impl Wheel {
    /// Unit: milliseconds. An entry fires at most this much after its deadline.
    pub const GRANULARITY: u64 = 16;

    const BUCKETS: u64 = 1024;

    /// A wheel for connections with an index below `entries_max`.
    pub fn new(entries_max: u32, now: Tick) -> Wheel {
        assert!(entries_max < NONE, "the last index means `none`");
        Wheel {
            entries: Vec::new(),
            entries_max: entries_max as usize,
            buckets: vec![Bucket { first: NONE, soonest: NEVER }; Self::BUCKETS as usize].into(),
            fired: now.0 / Self::GRANULARITY,
            due: Vec::new(),
            soonest: NEVER,
            set: 0,
        }
    }

    /// Entries that have not fired.
    pub fn len(&self) -> usize {
        self.set
    }

    pub fn is_empty(&self) -> bool {
        self.set == 0
    }

    /// The connection is due at `at`; what was set for its index before, also by an earlier use of the
    /// index, is forgotten. A deadline that has passed fires with the next turn.
    pub fn set(&mut self, key: Key, at: Tick) {
        let index = key.index as usize;
        assert!(index < self.entries_max, "connection {index} in a wheel of {}", self.entries_max);
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry::CLEAR);
        }
        self.forget(key.index);
        self.link(key, at);
        self.set += 1;
    }

    /// The connection is gone. Without this call its entry would fire once more, for nobody.
    pub fn clear(&mut self, key: Key) {
        if self.entries.get(key.index as usize).is_some_and(|e| e.generation == key.generation) {
            self.forget(key.index);
        }
    }

    /// One connection that is due; asked again until it answers `None`. In between the owner may set and
    /// clear as it likes: nothing that is set now is due now.
    pub fn due(&mut self, now: Tick) -> Option<Key> {
        loop {
            while let Some(key) = self.due.pop() {
                let entry = &mut self.entries[key.index as usize];
                if entry.state == State::Due && entry.generation == key.generation {
                    entry.state = State::Clear;
                    self.set -= 1;
                    return Some(key);
                }
            }
            let turn = now.0 / Self::GRANULARITY;
            if turn < self.soonest {
                return None;
            }
            self.collect(turn);
        }
    }

    /// Fires all that is due. `fire` may answer with the connection's next deadline.
    pub fn advance(&mut self, now: Tick, mut fire: impl FnMut(Key) -> Option<Tick>) {
        while let Some(key) = self.due(now) {
            if let Some(again) = fire(key) {
                self.set(key, again);
            }
        }
    }

    /// When to advance next: nothing is lost by sleeping until then. May be early, if what was set for
    /// that time has been moved or cleared.
    pub fn next(&self) -> Option<Tick> {
        let turn = if self.due.is_empty() { self.soonest } else { self.fired };
        (self.set > 0).then(|| Tick(turn.saturating_mul(Self::GRANULARITY)))
    }

    /// Moves everything of the turns up to `turn` from the buckets to `due`.
    fn collect(&mut self, turn: Turn) {
        let first = self.fired + 1;
        self.fired = turn;
        // After a long sleep one revolution meets every bucket.
        let last = turn.min(first.saturating_add(Self::BUCKETS - 1));
        for visited in first..=last {
            let bucket = bucket_of(visited);
            if self.buckets[bucket].soonest <= turn {
                self.collect_bucket(bucket);
            }
        }
        let soonest = self.buckets.iter().map(|bucket| bucket.soonest).min();
        self.soonest = soonest.unwrap_or(NEVER);
    }

    fn collect_bucket(&mut self, bucket: usize) {
        let mut soonest = NEVER;
        let mut at = self.buckets[bucket].first;
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            let (generation, next) = (entry.generation, entry.next);
            if entry.turn > self.fired {
                soonest = soonest.min(entry.turn);
            } else {
                self.unlink(at);
                self.entries[at as usize].state = State::Due;
                self.due.push(Key { index: at, generation });
            }
            at = next;
        }
        self.buckets[bucket].soonest = soonest;
    }

    fn link(&mut self, key: Key, at: Tick) {
        let turn = at.0.div_ceil(Self::GRANULARITY).max(self.fired + 1);
        let bucket = &mut self.buckets[bucket_of(turn)];
        let next = std::mem::replace(&mut bucket.first, key.index);
        bucket.soonest = bucket.soonest.min(turn);
        self.soonest = self.soonest.min(turn);
        self.entries[key.index as usize] =
            Entry { turn, generation: key.generation, previous: NONE, next, state: State::Linked };
        if next != NONE {
            self.entries[next as usize].previous = key.index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Entry { turn, previous, next, .. } = self.entries[index as usize];
        match previous {
            NONE => self.buckets[bucket_of(turn)].first = next,
            previous => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
    }

    /// Takes the index's entry out, wherever it is.
    fn forget(&mut self, index: u32) {
        match self.entries[index as usize].state {
            State::Clear => return,
            State::Linked => self.unlink(index),
            State::Due => {}
        }
        self.entries[index as usize].state = State::Clear;
        self.set -= 1;
    }
}

impl Entry {
    const CLEAR: Entry = Entry { turn: 0, generation: 0, previous: NONE, next: NONE, state: State::Clear };
}

fn bucket_of(turn: Turn) -> usize {
    (turn % Wheel::BUCKETS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(index: u32) -> Key {
        Key { index, generation: 7 }
    }

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(Tick(now), |key| {
            fired.push(key.index);
            None
        });
        fired.sort_unstable();
        fired
    }

    #[test]
    fn fires_with_the_turn_that_begins_at_or_after_the_deadline() {
        let mut wheel = Wheel::new(10, Tick(0));
        wheel.set(key(0), Tick(16));
        wheel.set(key(1), Tick(17));
        assert_eq!(wheel.next(), Some(Tick(16)));
        assert_eq!(fired(&mut wheel, 15), []);
        assert_eq!(fired(&mut wheel, 16), [0]);
        assert_eq!(wheel.next(), Some(Tick(32)));
        assert_eq!(fired(&mut wheel, 31), []);
        assert_eq!(fired(&mut wheel, 32), [1]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_that_has_passed_fires_with_the_next_turn() {
        let mut wheel = Wheel::new(1, Tick(1_000));
        wheel.set(key(0), Tick(3));
        assert_eq!(wheel.next(), Some(Tick(1_008)));
        assert_eq!(fired(&mut wheel, 1_008), [0]);
    }

    #[test]
    fn an_answer_sets_again_and_is_not_met_twice() {
        let mut wheel = Wheel::new(1, Tick(0));
        wheel.set(key(0), Tick(10));
        let mut calls = 0;
        // One revolution later is the same bucket, and a time that has passed is the next turn.
        for (now, again) in [(16, 16 + 16 * Wheel::BUCKETS), (16 + 16 * Wheel::BUCKETS, 0)] {
            wheel.advance(Tick(now), |_| {
                calls += 1;
                Some(Tick(again))
            });
        }
        assert_eq!(calls, 2);
        assert_eq!(wheel.next(), Some(Tick(32 + 16 * Wheel::BUCKETS)));
    }

    /// While one is handled, the others that are due may be moved, cleared or used again.
    #[test]
    fn what_changes_between_two_that_are_due_is_not_due() {
        let mut wheel = Wheel::new(4, Tick(0));
        (0..4).for_each(|index| wheel.set(key(index), Tick(1)));
        let first = wheel.due(Tick(16)).expect("four are due").index;
        let mut others = (0..4).filter(|index| *index != first);
        let (moved, cleared, reused) = (others.next(), others.next(), others.next());
        wheel.set(key(moved.unwrap()), Tick(40));
        wheel.clear(key(cleared.unwrap()));
        let again = Key { index: reused.unwrap(), generation: 8 };
        wheel.set(again, Tick(10));
        assert_eq!(wheel.due(Tick(16)), None);
        assert_eq!((wheel.len(), wheel.next()), (2, Some(Tick(32))));
        assert_eq!(wheel.due(Tick(32)), Some(again));
        assert_eq!(fired(&mut wheel, 48), [moved.unwrap()]);
    }

    #[test]
    fn the_index_has_one_entry_whoever_uses_it() {
        let mut wheel = Wheel::new(1, Tick(0));
        let old = Key { index: 0, generation: 1 };
        let new = Key { index: 0, generation: 2 };
        wheel.set(old, Tick(100));
        wheel.set(new, Tick(200));
        wheel.clear(old);
        assert_eq!(wheel.len(), 1);
        let mut fired = Vec::new();
        wheel.advance(Tick(1_000), |key| {
            fired.push(key);
            None
        });
        assert_eq!(fired, [new]);
    }

    #[test]
    fn a_deadline_at_the_end_of_time_never_fires_and_overflows_nothing() {
        let mut wheel = Wheel::new(1, Tick(0));
        wheel.set(key(0), Tick(u64::MAX));
        assert_eq!(fired(&mut wheel, u64::MAX - 20), []);
        assert_eq!(wheel.next(), Some(Tick(u64::MAX)));
    }

    #[test]
    fn a_panic_while_firing_loses_no_other_timer() {
        let mut wheel = Wheel::new(3, Tick(0));
        (0..3).for_each(|index| wheel.set(key(index), Tick(1)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wheel.advance(Tick(16), |_| panic!("a handler's bug"));
        }));
        assert!(panicked.is_err());
        assert_eq!((wheel.len(), wheel.next()), (2, Some(Tick(16))));
        assert_eq!(fired(&mut wheel, 16).len(), 2);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set { index: u32, wait: u64 },
        Clear { index: u32 },
        Pass { millis: u64, again: Option<u64> },
    }

    fn step() -> impl Strategy<Value = Step> {
        let wait = prop_oneof![0..50u64, 0..5_000u64, 0..100_000u64];
        let pass = prop_oneof![0..40u64, 0..2_000u64, 0..60_000u64];
        prop_oneof![
            4 => (0..24u32, wait.clone()).prop_map(|(index, wait)| Step::Set { index, wait }),
            1 => (0..24u32).prop_map(|index| Step::Clear { index }),
            3 => (pass, proptest::option::of(wait))
                .prop_map(|(millis, again)| Step::Pass { millis, again }),
        ]
    }

    proptest! {
        /// Against a map of deadlines: exactly what is due fires, once; `next` is never later than the turn
        /// of the first deadline.
        #[test]
        fn equals_a_map_of_deadlines(steps in proptest::collection::vec(step(), 1..120)) {
            let mut now = 5;
            let mut wheel = Wheel::new(24, Tick(now));
            let mut model: BTreeMap<u32, Deadline> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set { index, wait } => {
                        wheel.set(key(index), Tick(now + wait));
                        model.insert(index, Deadline::new(now, wait));
                    }
                    Step::Clear { index } => {
                        wheel.clear(key(index));
                        model.remove(&index);
                    }
                    Step::Pass { millis, again } => {
                        now += millis;
                        let mut fired = Vec::new();
                        wheel.advance(Tick(now), |key| {
                            fired.push(key.index);
                            again.map(|wait| Tick(now + wait))
                        });
                        for &index in &fired {
                            let deadline = model.remove(&index).expect("fires only what is set, once");
                            prop_assert!(deadline.due <= now, "{index} is early at {now}: {deadline:?}");
                        }
                        let late = model.iter().find(|(_, deadline)| deadline.fires_by <= now);
                        prop_assert!(late.is_none(), "late at {now}: {late:?}");
                        if let Some(wait) = again {
                            model.extend(fired.iter().map(|index| (*index, Deadline::new(now, wait))));
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.values().map(|deadline| deadline.fires_by).min();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next().map(|next| next.0) <= first, "{:?} {first:?}", wheel.next());
            }
        }
    }

    #[derive(Debug)]
    struct Deadline {
        due: u64,
        fires_by: u64,
    }

    impl Deadline {
        fn new(now: u64, wait: u64) -> Deadline {
            let due = now + wait;
            Deadline { due, fires_by: (due.div_ceil(16) * 16).max((now / 16 + 1) * 16) }
        }
    }
}
