//! Draws in proportion to weight: random of two, and the stand-in of source hashing.
//!
//! Owns one Fenwick tree of weights a tier. Rolls no dice: the number that decides is an argument.

use super::maglev::mix;
use super::seat::{Seat, TIERS, Tier};

#[derive(Debug, Default)]
pub(super) struct Draw {
    tiers: [Weights; TIERS],
}

impl Draw {
    pub fn reserve(&mut self, seats: usize) {
        self.tiers.iter_mut().for_each(|weights| weights.grow(seats));
    }

    pub fn weight(&self, tier: Tier) -> u64 {
        self.tiers[tier.ix()].total()
    }

    pub fn enter(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        self.tiers[tier.ix()].add(seat, u64::from(seats[seat as usize].weight));
    }

    pub fn leave(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        self.tiers[tier.ix()].subtract(seat, u64::from(seats[seat as usize].weight));
    }

    /// The better of two different ones, the first drawn if they are equal.
    pub fn better_of_two(
        &mut self,
        seats: &[Seat],
        tier: Tier,
        tried: &[u32],
        random: u64,
        is_better: impl Fn(&Seat, &Seat) -> bool,
    ) -> Option<u32> {
        self.without(seats, tier, tried, |weights| {
            let one = weights.at(random)?;
            let weight = u64::from(seats[one as usize].weight);
            weights.subtract(one, weight);
            let other = weights.at(mix(random));
            weights.add(one, weight);
            let better = |other: &u32| is_better(&seats[*other as usize], &seats[one as usize]);
            Some(other.filter(better).unwrap_or(one))
        })
    }

    pub fn one(&mut self, seats: &[Seat], tier: Tier, tried: &[u32], random: u64) -> Option<u32> {
        self.without(seats, tier, tried, |weights| weights.at(random))
    }

    /// Takes the tried ones out, draws, and puts them back.
    fn without<R>(&mut self, seats: &[Seat], tier: Tier, tried: &[u32], draw: impl FnOnce(&mut Weights) -> R) -> R {
        let weights = &mut self.tiers[tier.ix()];
        let weight_in_draw = |seat: u32| {
            let seat = &seats[seat as usize];
            if seat.standing.is_open_in(tier) { u64::from(seat.weight) } else { 0 }
        };
        tried.iter().for_each(|seat| weights.subtract(*seat, weight_in_draw(*seat)));
        let drawn = draw(weights);
        tried.iter().for_each(|seat| weights.add(*seat, weight_in_draw(*seat)));
        drawn
    }
}

/// A Fenwick tree: changing one weight, and finding whose share a number falls into, are O(log n).
#[derive(Debug, Default)]
struct Weights {
    /// Node `i`, from 1, holds the sum of the seats in `(i - lowest_bit(i)..=i) - 1`. The length is a power of
    /// two and one, so the last node holds the sum of all.
    sums: Vec<u64>,
}

impl Weights {
    fn grow(&mut self, seats: usize) {
        let length = seats.next_power_of_two() + 1;
        if length <= self.sums.len() {
            return;
        }
        // The old tree is the left half of the new one, and so on: only the new last nodes hold old seats.
        let total = self.total();
        let mut node = self.sums.len().saturating_sub(1) * 2;
        self.sums.resize(length, 0);
        while node > 0 && node < length {
            self.sums[node] = total;
            node *= 2;
        }
    }

    fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    fn add(&mut self, seat: u32, weight: u64) {
        let mut node = seat as usize + 1;
        while node < self.sums.len() {
            self.sums[node] += weight;
            node += node & node.wrapping_neg();
        }
    }

    fn subtract(&mut self, seat: u32, weight: u64) {
        let mut node = seat as usize + 1;
        while node < self.sums.len() {
            self.sums[node] -= weight;
            node += node & node.wrapping_neg();
        }
    }

    /// Whose share `random` falls into, if all numbers were divided by weight. `None`: nobody has any.
    fn at(&self, random: u64) -> Option<u32> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let mut node = 0;
        let mut step = (self.sums.len() - 1) / 2;
        while step > 0 {
            if self.sums[node + step] <= left {
                node += step;
                left -= self.sums[node];
            }
            step /= 2;
        }
        Some(node as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_falls_into_the_share_that_a_scan_finds(
            weights in proptest::collection::vec(0..=65_535u64, 1..70),
            randoms in proptest::collection::vec(any::<u64>(), 1..20),
        ) {
            let mut tree = Weights::default();
            // One by one, so that the tree grows while it has weights.
            for (seat, weight) in weights.iter().enumerate() {
                tree.grow(seat + 1);
                tree.add(seat as u32, *weight);
            }
            let total: u64 = weights.iter().sum();
            prop_assert_eq!(tree.total(), total);
            for random in randoms.into_iter().chain([0, u64::MAX]) {
                let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
                let scan = weights.iter().position(|weight| {
                    let falls = left < *weight;
                    left = left.saturating_sub(*weight);
                    falls
                });
                prop_assert_eq!(tree.at(random), scan.map(|seat| seat as u32));
            }
        }
    }
}
