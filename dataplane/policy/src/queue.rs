//! The line: connections that wait for a free backend, first come, first served.
//!
//! Owns the order, the bound and each one's deadline. Refuses to know what a connection is: a token is any
//! small value that names one. Every operation is O(log n) amortised or better, in the middle of the line
//! too, so ten thousand clients that give up cost no more than ten thousand that are served.

use crate::tick::Tick;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

/// A bounded queue whose entries leave from the front, by their deadline, or by name.
#[derive(Debug)]
pub struct Line<T> {
    waiting_max: usize,
    places: Vec<Place<T>>,
    /// Places that nobody holds.
    free: Vec<u32>,
    place_of: HashMap<T, u32>,
    front: u32,
    back: u32,
    /// By deadline, then by arrival. Those who left in another way are still in here, see [`Line::prune`].
    deadlines: BinaryHeap<Reverse<(Tick, u64, u32)>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Place<T> {
    token: T,
    /// Number of the arrival that holds this place; `None`: free.
    arrival: Option<u64>,
    ahead: u32,
    behind: u32,
}

/// The line is at its bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

const NONE: u32 = u32::MAX;

impl<T: Copy + Eq + Hash> Line<T> {
    /// A line in which at most `waiting_max` wait. Takes memory only while somebody waits.
    pub fn new(waiting_max: u32) -> Line<T> {
        Line {
            waiting_max: waiting_max as usize,
            places: Vec::new(),
            free: Vec::new(),
            place_of: HashMap::new(),
            front: NONE,
            back: NONE,
            deadlines: BinaryHeap::new(),
            arrivals: 0,
        }
    }

    /// A new bound. Who waits already goes on waiting, also above it.
    pub fn set_waiting_max(&mut self, waiting_max: u32) {
        self.waiting_max = waiting_max as usize;
    }

    pub fn len(&self) -> usize {
        self.place_of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.place_of.is_empty()
    }

    /// `token` waits at the end of the line, until `deadline` at the latest.
    pub fn push(&mut self, token: T, deadline: Tick) -> Result<(), Full> {
        if self.len() >= self.waiting_max {
            return Err(Full);
        }
        assert!(!self.place_of.contains_key(&token), "a connection waits in one place");
        let arrival = self.arrivals;
        self.arrivals += 1;
        let place = Place { token, arrival: Some(arrival), ahead: self.back, behind: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = place;
                at
            }
            None => {
                self.places.push(place);
                (self.places.len() - 1) as u32
            }
        };
        self.place_of.insert(token, at);
        match self.back {
            NONE => self.front = at,
            back => self.places[back as usize].behind = at,
        }
        self.back = at;
        self.deadlines.push(Reverse((deadline, arrival, at)));
        self.prune();
        Ok(())
    }

    /// Who has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        let place = self.places.get(self.front as usize)?;
        let token = place.token;
        self.vacate(self.front);
        Some(token)
    }

    /// Who is first, without being served yet.
    pub fn front(&self) -> Option<T> {
        Some(self.places.get(self.front as usize)?.token)
    }

    /// Everyone who waits, first come first.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        let mut at = self.front;
        std::iter::from_fn(move || {
            let place = self.places.get(at as usize)?;
            at = place.behind;
            Some(place.token)
        })
    }

    /// `token` leaves the line. Returns whether it was there.
    pub fn remove(&mut self, token: T) -> bool {
        let Some(&at) = self.place_of.get(&token) else {
            return false;
        };
        self.vacate(at);
        true
    }

    /// Takes out whose deadline has come, the earliest deadline first, equal ones in the order of the line.
    pub fn expire(&mut self, now: Tick, mut left: impl FnMut(T)) {
        while let Some(Reverse((deadline, _, at))) = self.first_deadline() {
            if deadline > now {
                break;
            }
            let token = self.places[at as usize].token;
            self.vacate(at);
            left(token);
        }
    }

    /// When somebody's deadline comes next.
    pub fn next_deadline(&mut self) -> Option<Tick> {
        self.first_deadline().map(|Reverse((deadline, ..))| deadline)
    }

    fn first_deadline(&mut self) -> Option<Reverse<(Tick, u64, u32)>> {
        while let Some(first) = self.deadlines.peek().copied() {
            if self.waits(first) {
                return Some(first);
            }
            self.deadlines.pop();
        }
        None
    }

    fn waits(&self, Reverse((_, arrival, at)): Reverse<(Tick, u64, u32)>) -> bool {
        self.places[at as usize].arrival == Some(arrival)
    }

    fn vacate(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        place.arrival = None;
        let (token, ahead, behind) = (place.token, place.ahead, place.behind);
        match ahead {
            NONE => self.front = behind,
            ahead => self.places[ahead as usize].behind = behind,
        }
        match behind {
            NONE => self.back = ahead,
            behind => self.places[behind as usize].ahead = ahead,
        }
        self.place_of.remove(&token);
        self.free.push(at);
    }

    /// Keeps the deadlines of those who left below those of who waits: their removal is paid by their arrival.
    fn prune(&mut self) {
        if self.deadlines.len() > 2 * self.len() + 16 {
            let mut deadlines = std::mem::take(&mut self.deadlines);
            deadlines.retain(|deadline| self.waits(*deadline));
            self.deadlines = deadlines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_can_change_while_some_wait() {
        let mut line = Line::new(2);
        assert_eq!(line.push('a', Tick(9)), Ok(()));
        assert_eq!(line.push('b', Tick(9)), Ok(()));
        assert_eq!(line.push('c', Tick(9)), Err(Full));
        line.set_waiting_max(1);
        assert_eq!(line.len(), 2);
        assert_eq!(line.pop(), Some('a'));
        assert_eq!(line.push('c', Tick(9)), Err(Full));
        line.set_waiting_max(2);
        assert_eq!(line.push('c', Tick(9)), Ok(()));
        assert_eq!((line.pop(), line.pop(), line.pop()), (Some('b'), Some('c'), None));
    }

    #[test]
    fn a_line_of_nobody_is_always_full() {
        assert_eq!(Line::new(0).push((), Tick(1)), Err(Full));
    }

    #[test]
    fn a_token_that_comes_back_is_not_taken_out_by_its_old_deadline() {
        let mut line = Line::new(4);
        line.push('a', Tick(10)).unwrap();
        assert!(line.remove('a'));
        line.push('a', Tick(20)).unwrap();
        line.expire(Tick(10), |token| panic!("{token} has time until 20"));
        assert_eq!(line.next_deadline(), Some(Tick(20)));
    }

    /// Somebody waits in front for long while many behind come and give up: what they leave is bounded.
    #[test]
    fn those_who_gave_up_take_no_memory() {
        let mut line = Line::new(1_000);
        line.push(0, Tick(u64::MAX)).unwrap();
        for token in 1..100_000 {
            line.push(token, Tick(1_000)).unwrap();
            assert!(line.remove(token));
        }
        assert!(line.deadlines.len() < 20 && line.places.len() < 20, "{line:?}");
        assert_eq!(line.pop(), Some(0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { token: u8, wait: u64 },
        Pop,
        Remove { token: u8 },
        Pass { millis: u64 },
        Bound { waiting_max: u32 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..40u8, 0..60u64).prop_map(|(token, wait)| Step::Push { token, wait }),
            2 => Just(Step::Pop),
            2 => (0..40u8).prop_map(|token| Step::Remove { token }),
            2 => (0..30u64).prop_map(|millis| Step::Pass { millis }),
            1 => (0..20u32).prop_map(|waiting_max| Step::Bound { waiting_max }),
        ]
    }

    proptest! {
        #[test]
        fn equals_a_plain_list(steps in proptest::collection::vec(step(), 1..200)) {
            let (mut now, mut bound) = (0, 12);
            let mut line = Line::new(bound);
            let mut model: Vec<(u8, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Push { token, .. } if model.iter().any(|(t, _)| *t == token) => {}
                    Step::Push { token, wait } => {
                        let answer = line.push(token, Tick(now + wait));
                        prop_assert_eq!(answer.is_ok(), model.len() < bound as usize);
                        if answer.is_ok() {
                            model.push((token, now + wait));
                        }
                    }
                    Step::Pop => {
                        let first = (!model.is_empty()).then(|| model.remove(0).0);
                        prop_assert_eq!(line.pop(), first);
                    }
                    Step::Remove { token } => {
                        let at = model.iter().position(|(t, _)| *t == token);
                        prop_assert_eq!(line.remove(token), at.is_some());
                        at.map(|at| model.remove(at));
                    }
                    Step::Pass { millis } => {
                        now += millis;
                        let mut left = Vec::new();
                        line.expire(Tick(now), |token| left.push(token));
                        let mut due: Vec<_> = model.iter().filter(|(_, at)| *at <= now).copied().collect();
                        due.sort_by_key(|(_, at)| *at);
                        model.retain(|(_, at)| *at > now);
                        prop_assert_eq!(left, due.iter().map(|(token, _)| *token).collect::<Vec<_>>());
                    }
                    Step::Bound { waiting_max } => {
                        bound = waiting_max;
                        line.set_waiting_max(bound);
                    }
                }
                prop_assert_eq!(line.len(), model.len());
                prop_assert_eq!(line.next_deadline(), model.iter().map(|(_, at)| Tick(*at)).min());
            }
        }
    }
}
