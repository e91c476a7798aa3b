//! Least connections: the fewest in flight per weight, those that are equal in turn.
//!
//! Owns a heap a tier, ordered by load and then by whose turn it is. Turns are as long as one over the
//! weight, so while nothing is busy the picks follow the weights; they matter among equals only.

use super::heap::{Heap, Places};
use super::seat::{Census, Salt, Seat, TIERS, Tier};

/// Unit: parts of a round, in which every backend has as many turns as its weight.
const ROUND: u128 = 1 << 40;

#[derive(Debug)]
pub(super) struct Least {
    salt: Salt,
    /// When each seat's next turn begins. Unit: parts of a round.
    begins: Vec<u128>,
    places: Places,
    heaps: [Heap; TIERS],
    /// The latest turn taken of each tier.
    now: [u128; TIERS],
}

impl Least {
    pub fn new(salt: Salt) -> Least {
        Least { salt, begins: Vec::new(), places: Places::default(), heaps: Default::default(), now: [0; TIERS] }
    }

    pub fn reserve(&mut self, seats: usize, census: &Census) {
        self.begins.resize(seats.max(self.begins.len()), 0);
        self.places.grow(seats);
        for tier in Tier::ALL {
            self.heaps[tier.ix()].reserve(census.all(tier));
        }
    }

    pub fn len(&self, tier: Tier) -> usize {
        self.heaps[tier.ix()].len()
    }

    pub fn enter(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        let Least { salt, begins, places, heaps, now } = self;
        begins[seat as usize] = now[tier.ix()];
        heaps[tier.ix()].push(seat, places, less_busy(seats, begins, *salt));
    }

    pub fn leave(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        let Least { salt, begins, places, heaps, .. } = self;
        heaps[tier.ix()].remove(seat, places, less_busy(seats, begins, *salt));
    }

    /// `seat` has one connection more or less than before. Turns that it missed while others were less busy
    /// are not made up for: it would be sent everything for as long as it had been busy.
    pub fn load_changed(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        let Least { salt, begins, places, heaps, now } = self;
        begins[seat as usize] = begins[seat as usize].max(now[tier.ix()]);
        heaps[tier.ix()].moved(seat, places, less_busy(seats, begins, *salt));
    }

    pub fn choose(&mut self, seats: &[Seat], tier: Tier, tried: &[u32]) -> Option<u32> {
        let Least { salt, begins, places, heaps, now } = self;
        let heap = &mut heaps[tier.ix()];
        let seat = heap.first(|seat| tried.contains(&seat), less_busy(seats, begins, *salt))?;
        let turn = &mut begins[seat as usize];
        now[tier.ix()] = now[tier.ix()].max(*turn);
        *turn += ROUND / u128::from(seats[seat as usize].weight);
        heap.moved(seat, places, less_busy(seats, begins, *salt));
        Some(seat)
    }
}

fn less_busy(seats: &[Seat], begins: &[u128], salt: Salt) -> impl Fn(u32, u32) -> bool {
    move |a, b| {
        let (seat_a, seat_b) = (&seats[a as usize], &seats[b as usize]);
        (seat_a.load_against(seat_b), begins[a as usize], salt.order(a))
            < (seat_b.load_against(seat_a), begins[b as usize], salt.order(b))
    }
}
