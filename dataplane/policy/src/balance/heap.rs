//! A binary heap of seats that knows where each seat is, so that one in the middle can move or leave.
//!
//! Owns the order of the heap. Refuses to know the keys: `before(a, b)` says whether seat `a` goes before
//! seat `b`, and must be a strict total order. Several heaps may share one table of places as long as a
//! seat is in at most one of them.

#[derive(Debug, Default)]
pub(super) struct Heap {
    seats: Vec<u32>,
}

/// Where each seat is in its heap.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<u32>);

impl Places {
    pub fn grow(&mut self, seats: usize) {
        self.0.resize(seats.max(self.0.len()), 0);
    }
}

impl Heap {
    /// Makes room for `seats` in all, so that pushing that many never allocates.
    pub fn reserve(&mut self, seats: usize) {
        self.seats.reserve(seats.saturating_sub(self.seats.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    pub fn len(&self) -> usize {
        self.seats.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.seats.iter().copied()
    }

    pub fn push(&mut self, seat: u32, places: &mut Places, before: impl Fn(u32, u32) -> bool) {
        let at = self.seats.len();
        self.seats.push(seat);
        self.rise(at, places, &before);
    }

    pub fn remove(&mut self, seat: u32, places: &mut Places, before: impl Fn(u32, u32) -> bool) {
        let at = places.0[seat as usize] as usize;
        debug_assert_eq!(self.seats[at], seat);
        self.seats.swap_remove(at);
        if at < self.seats.len() {
            self.restore(at, places, &before);
        }
    }

    /// The key of `seat` has changed.
    pub fn moved(&mut self, seat: u32, places: &mut Places, before: impl Fn(u32, u32) -> bool) {
        let at = places.0[seat as usize] as usize;
        debug_assert_eq!(self.seats[at], seat);
        self.restore(at, places, &before);
    }

    /// The first seat that is not skipped. Looks below skipped seats only, so it visits at most two for
    /// each of them and one more.
    pub fn first(&self, skipped: impl Fn(u32) -> bool, before: impl Fn(u32, u32) -> bool) -> Option<u32> {
        self.first_below(0, &skipped, &before)
    }

    fn first_below(
        &self,
        at: usize,
        skipped: &impl Fn(u32) -> bool,
        before: &impl Fn(u32, u32) -> bool,
    ) -> Option<u32> {
        let seat = *self.seats.get(at)?;
        if !skipped(seat) {
            return Some(seat);
        }
        let left = self.first_below(2 * at + 1, skipped, before);
        let right = self.first_below(2 * at + 2, skipped, before);
        match (left, right) {
            (Some(left), Some(right)) if before(right, left) => Some(right),
            (None, right) => right,
            (left, _) => left,
        }
    }

    fn restore(&mut self, at: usize, places: &mut Places, before: &impl Fn(u32, u32) -> bool) {
        if self.rise(at, places, before) == at {
            self.sink(at, places, before);
        }
    }

    fn rise(&mut self, mut at: usize, places: &mut Places, before: &impl Fn(u32, u32) -> bool) -> usize {
        let seat = self.seats[at];
        while at > 0 {
            let above = (at - 1) / 2;
            if !before(seat, self.seats[above]) {
                break;
            }
            self.put(at, self.seats[above], places);
            at = above;
        }
        self.put(at, seat, places);
        at
    }

    fn sink(&mut self, mut at: usize, places: &mut Places, before: &impl Fn(u32, u32) -> bool) {
        let seat = self.seats[at];
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut below = left;
            if right < self.seats.len() && before(self.seats[right], self.seats[left]) {
                below = right;
            }
            if below >= self.seats.len() || !before(self.seats[below], seat) {
                break;
            }
            self.put(at, self.seats[below], places);
            at = below;
        }
        self.put(at, seat, places);
    }

    fn put(&mut self, at: usize, seat: u32, places: &mut Places) {
        self.seats[at] = seat;
        places.0[seat as usize] = at as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put { seat: u32, key: u8 },
        Remove { seat: u32 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..30u32, any::<u8>()).prop_map(|(seat, key)| Step::Put { seat, key }),
            1 => (0..30u32).prop_map(|seat| Step::Remove { seat }),
        ]
    }

    proptest! {
        #[test]
        fn equals_a_scan_of_all(
            steps in proptest::collection::vec(step(), 1..200),
            skipped in proptest::collection::vec(0..30u32, 0..6),
        ) {
            let mut keys: Vec<Option<u8>> = vec![None; 30];
            let (mut heap, mut places) = (Heap::default(), Places::default());
            places.grow(30);
            for step in steps {
                match step {
                    Step::Put { seat, key } => {
                        let known = keys[seat as usize].replace(key).is_some();
                        let before = |a: u32, b: u32| (keys[a as usize], a) < (keys[b as usize], b);
                        if known {
                            heap.moved(seat, &mut places, before);
                        } else {
                            heap.push(seat, &mut places, before);
                        }
                    }
                    Step::Remove { seat } if keys[seat as usize].is_some() => {
                        let before = |a: u32, b: u32| (keys[a as usize], a) < (keys[b as usize], b);
                        heap.remove(seat, &mut places, before);
                        keys[seat as usize] = None;
                    }
                    Step::Remove { .. } => {}
                }
                let before = |a: u32, b: u32| (keys[a as usize], a) < (keys[b as usize], b);
                for skipped in [&[][..], &skipped] {
                    let scan = (0..30u32)
                        .filter(|seat| keys[*seat as usize].is_some() && !skipped.contains(seat))
                        .min_by_key(|seat| (keys[*seat as usize], *seat));
                    prop_assert_eq!(heap.first(|seat| skipped.contains(&seat), before), scan);
                }
            }
        }
    }
}
