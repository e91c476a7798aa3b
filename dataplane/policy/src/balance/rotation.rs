//! Weighted round robin: each backend's turns are spread as evenly over the picks as its weight allows.
//!
//! Virtual time advances by one *round* while every backend has as many turns as its weight. A turn of a
//! backend of weight `w` lasts `1/w` of a round and the next begins where it ends, so the beginnings say how
//! far each has come. Now is the mean of all beginnings, weighted: every pick moves it by `1/W`, `W` being the
//! sum of the weights. A pick goes to a backend whose turn has begun, and among those to one whose turn
//! ends first (Stoica and Abdel-Wahab, *Earliest Eligible Virtual Deadline First*, 1995). Because nobody is
//! picked before its turn begins, nobody gets a whole pick ahead of its share while nobody comes or goes;
//! and the first `W` picks of a new group are exactly `w` for each.
//!
//! EEVDF asks for the earliest end among the begun, which one heap cannot answer. As in QFQ (Checconi,
//! Rizzo and Valente, 2013), backends are put in classes by the power of two at or below their weight, and
//! a turn counts as if it lasted one over that power: less than twice as long. Then in one class the turns
//! that begin first end first, so a heap a class, ordered by beginning, is enough, and a pick compares at
//! most sixteen of their tops. It costs evenness behind, not ahead: a backend can fall short of its share by
//! up to two picks, where EEVDF and nginx's scan of all backends keep it below one.
//!
//! Whoever leaves the rotation and comes back, or changes weight, keeps its place relative to the mean:
//! nobody gains or loses more than one turn by it, and nobody else notices.

use super::heap::{Heap, Places};
use super::seat::{CLASSES, Census, Salt, Seat, TIERS, Tier, class_of};

/// Unit: parts of a round. Fine enough for turns of `Endpoint::WEIGHT_MAX` in groups of
/// `Group::ENDPOINTS_MAX` such backends: the mean moves by 2^40 / (65,535 × 100,000) = 167 parts a pick.
const ROUND: i128 = 1 << 40;

/// Unit: parts of a turn.
const TURN: i128 = 1 << 32;

#[derive(Debug)]
pub(super) struct Rotation {
    salt: Salt,
    turns: Vec<Turn>,
    places: Places,
    tiers: Box<[Circle; TIERS]>,
}

#[derive(Clone, Debug, Default)]
struct Turn {
    /// When its next turn begins. Unit: parts of a round; of meaning only among seats of one tier. Times the
    /// weight of all it must fit: that leaves 2^54 rounds, and a round is at least one pick.
    begins: i128,
    /// What division by the weight left over from the turns so far, so that `weight` turns are one round.
    rest: u32,
    /// While out of rotation: how far ahead of the mean it was when it left. Unit: parts of a turn.
    ahead: i64,
}

#[derive(Debug, Default)]
struct Circle {
    classes: [Heap; CLASSES],
    /// Bit `c`: class `c` has somebody.
    inhabited: u32,
    weight: i128,
    /// Of all in the circle: weight times beginning.
    sum: i128,
    /// The mean when the last one left.
    left_at: i128,
}

impl Circle {
    fn mean(&self) -> i128 {
        if self.weight == 0 { self.left_at } else { self.sum.div_euclid(self.weight) }
    }
}

impl Rotation {
    pub fn new(salt: Salt) -> Rotation {
        Rotation { salt, turns: Vec::new(), places: Places::default(), tiers: Box::default() }
    }

    pub fn reserve(&mut self, seats: usize, census: &Census) {
        self.turns.resize(seats.max(self.turns.len()), Turn::default());
        self.places.grow(seats);
        for tier in Tier::ALL {
            for (class, heap) in self.tiers[tier.ix()].classes.iter_mut().enumerate() {
                heap.reserve(census.of(tier, class));
            }
        }
    }

    pub fn enter(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        let weight = seats[seat as usize].weight;
        let Rotation { salt, turns, places, tiers } = self;
        let circle = &mut tiers[tier.ix()];
        let turn = &mut turns[seat as usize];
        turn.begins = circle.mean() + i128::from(turn.ahead) * (ROUND / i128::from(weight)) / TURN;
        turn.rest = 0;
        circle.weight += i128::from(weight);
        circle.sum += i128::from(weight) * turn.begins;
        let class = class_of(weight);
        circle.inhabited |= 1 << class;
        circle.classes[class].push(seat, places, begins_before(turns, *salt));
    }

    pub fn leave(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        let weight = seats[seat as usize].weight;
        let Rotation { salt, turns, places, tiers } = self;
        let circle = &mut tiers[tier.ix()];
        let class = class_of(weight);
        circle.classes[class].remove(seat, places, begins_before(turns, *salt));
        if circle.classes[class].is_empty() {
            circle.inhabited &= !(1 << class);
        }
        let mean = circle.mean();
        let turn = &mut turns[seat as usize];
        let ahead = (turn.begins - mean) * i128::from(weight) * TURN / ROUND;
        turn.ahead = ahead.clamp(-TURN, TURN) as i64;
        circle.weight -= i128::from(weight);
        circle.sum -= i128::from(weight) * turn.begins;
        circle.left_at = mean;
    }

    /// The seat is another backend's from now on.
    pub fn forget(&mut self, seat: u32) {
        self.turns[seat as usize] = Turn::default();
    }

    pub fn choose(&mut self, seats: &[Seat], tier: Tier, tried: &[u32]) -> Option<u32> {
        let circle = &self.tiers[tier.ix()];
        let mut chosen: Option<((Rank, u32), u32)> = None;
        let mut classes = circle.inhabited;
        while classes != 0 {
            let heap = &circle.classes[classes.trailing_zeros() as usize];
            classes &= classes - 1;
            let before = begins_before(&self.turns, self.salt);
            let Some(seat) = heap.first(|seat| tried.contains(&seat), before) else {
                continue;
            };
            let rank = (self.rank(seat, seats, circle), self.salt.order(seat));
            if chosen.is_none_or(|(best, _)| rank < best) {
                chosen = Some((rank, seat));
            }
        }
        let (_, seat) = chosen?;
        self.serve(seat, seats[seat as usize].weight, tier);
        Some(seat)
    }

    pub fn check_invariants(&self, seats: &[Seat], tier: Tier, open: usize, weight: u64) {
        let circle = &self.tiers[tier.ix()];
        let held: Vec<u32> = circle.classes.iter().flat_map(Heap::iter).collect();
        assert_eq!((held.len(), circle.weight), (open, i128::from(weight)));
        let part = |seat: u32| i128::from(seats[seat as usize].weight) * self.turns[seat as usize].begins;
        assert_eq!(held.into_iter().map(part).sum::<i128>(), circle.sum);
        for (class, heap) in circle.classes.iter().enumerate() {
            assert_eq!(heap.is_empty(), circle.inhabited & 1 << class == 0);
        }
    }

    fn rank(&self, seat: u32, seats: &[Seat], circle: &Circle) -> Rank {
        let begins = self.turns[seat as usize].begins;
        if begins * circle.weight <= circle.sum {
            Rank::Begun { ends: begins + (ROUND >> class_of(seats[seat as usize].weight)) }
        } else {
            Rank::Ahead { begins }
        }
    }

    fn serve(&mut self, seat: u32, weight: u32, tier: Tier) {
        let Rotation { salt, turns, places, tiers } = self;
        let circle = &mut tiers[tier.ix()];
        let turn = &mut turns[seat as usize];
        let mut lasts = ROUND / i128::from(weight);
        turn.rest += (ROUND % i128::from(weight)) as u32;
        if turn.rest >= weight {
            turn.rest -= weight;
            lasts += 1;
        }
        turn.begins += lasts;
        circle.sum += i128::from(weight) * lasts;
        circle.classes[class_of(weight)].moved(seat, places, begins_before(turns, *salt));
    }
}

/// Smaller goes first. While any turn has begun nobody is ahead of its share; without tried ones there
/// always is one, for the smallest beginning is never above the mean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Begun { ends: i128 },
    Ahead { begins: i128 },
}

fn begins_before(turns: &[Turn], salt: Salt) -> impl Fn(u32, u32) -> bool {
    move |a, b| {
        let (begins_a, begins_b) = (turns[a as usize].begins, turns[b as usize].begins);
        (begins_a, salt.order(a)) < (begins_b, salt.order(b))
    }
}
