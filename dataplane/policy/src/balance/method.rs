//! The algorithms behind one set of verbs.
//!
//! An algorithm holds exactly the open seats. It is told of each that enters, leaves or changes its load,
//! and finds a seat by its weight: that changes only while the seat is out.

use super::draw::Draw;
use super::least::Least;
use super::maglev::{Probes, mix};
use super::rotation::Rotation;
use super::seat::{Census, Salt, Seat, Tier};
use super::{Ask, Member};
use crate::generation::Balance;
use crate::tick::Tick;
use std::sync::Arc;

/// An algorithm and what it remembers of the open seats.
#[derive(Debug)]
pub(super) enum Method {
    RoundRobin(Rotation),
    LeastConnections(Least),
    RandomTwo(Draw),
    PeakEwma(Draw),
    SourceHash { table: Arc<[u32]>, draw: Draw },
}

impl Default for Method {
    fn default() -> Method {
        Method::new(&Balance::RoundRobin, Salt::default())
    }
}

impl Method {
    pub fn new(balance: &Balance, salt: Salt) -> Method {
        match balance {
            Balance::RoundRobin => Method::RoundRobin(Rotation::new(salt)),
            Balance::LeastConnections => Method::LeastConnections(Least::new(salt)),
            Balance::RandomTwo => Method::RandomTwo(Draw::default()),
            Balance::PeakEwma => Method::PeakEwma(Draw::default()),
            Balance::SourceHash(table) => Method::SourceHash { table: table.clone(), draw: Draw::default() },
        }
    }

    /// Goes on as `balance`, if that is the same algorithm.
    pub fn take(&mut self, balance: &Balance) -> bool {
        match (self, balance) {
            (Method::SourceHash { table, .. }, Balance::SourceHash(new)) => {
                table.clone_from(new);
                true
            }
            (Method::RoundRobin(_), Balance::RoundRobin)
            | (Method::LeastConnections(_), Balance::LeastConnections)
            | (Method::RandomTwo(_), Balance::RandomTwo)
            | (Method::PeakEwma(_), Balance::PeakEwma) => true,
            (
                Method::RoundRobin(_)
                | Method::LeastConnections(_)
                | Method::RandomTwo(_)
                | Method::PeakEwma(_)
                | Method::SourceHash { .. },
                _,
            ) => false,
        }
    }

    pub fn reserve(&mut self, seats: usize, census: &Census) {
        match self {
            Method::RoundRobin(rotation) => rotation.reserve(seats, census),
            Method::LeastConnections(least) => least.reserve(seats, census),
            Method::RandomTwo(draw) | Method::PeakEwma(draw) | Method::SourceHash { draw, .. } => draw.reserve(seats),
        }
    }

    pub fn enter(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        match self {
            Method::RoundRobin(rotation) => rotation.enter(seats, seat, tier),
            Method::LeastConnections(least) => least.enter(seats, seat, tier),
            Method::RandomTwo(draw) | Method::PeakEwma(draw) | Method::SourceHash { draw, .. } => {
                draw.enter(seats, seat, tier);
            }
        }
    }

    pub fn leave(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        match self {
            Method::RoundRobin(rotation) => rotation.leave(seats, seat, tier),
            Method::LeastConnections(least) => least.leave(seats, seat, tier),
            Method::RandomTwo(draw) | Method::PeakEwma(draw) | Method::SourceHash { draw, .. } => {
                draw.leave(seats, seat, tier);
            }
        }
    }

    /// The seat will be another endpoint's.
    pub fn forget(&mut self, seat: u32) {
        match self {
            Method::RoundRobin(rotation) => rotation.forget(seat),
            Method::LeastConnections(_) | Method::RandomTwo(_) | Method::PeakEwma(_) | Method::SourceHash { .. } => {}
        }
    }

    pub fn load_changed(&mut self, seats: &[Seat], seat: u32, tier: Tier) {
        match self {
            Method::LeastConnections(least) => least.load_changed(seats, seat, tier),
            Method::RoundRobin(_) | Method::RandomTwo(_) | Method::PeakEwma(_) | Method::SourceHash { .. } => {}
        }
    }

    /// An open seat of `tier` that is not among `tried`. `now`: see [`Picker::answered`](super::Picker::answered).
    pub fn choose(
        &mut self,
        members: &[Member],
        seats: &[Seat],
        tier: Tier,
        tried: &[u32],
        ask: &Ask,
        now: Tick,
    ) -> Option<u32> {
        match self {
            Method::RoundRobin(rotation) => rotation.choose(seats, tier, tried),
            Method::LeastConnections(least) => least.choose(seats, tier, tried),
            Method::RandomTwo(draw) => draw.better_of_two(seats, tier, tried, ask.random, Seat::is_less_busy_than),
            Method::PeakEwma(draw) => {
                draw.better_of_two(seats, tier, tried, ask.random, |one, other| one.is_faster_than(other, now))
            }
            Method::SourceHash { table, draw } => {
                let stands = |entry: usize| {
                    let seat = members.get(table[entry] as usize)?.seat;
                    let open = seats[seat as usize].standing.is_open_in(tier);
                    (open && !tried.contains(&seat)).then_some(seat)
                };
                // Backups are not in the table.
                let probed = if tier.is_backup() { 0 } else { Probes::MAX };
                let mut probes = Probes::new(ask.source, table.len()).take(probed);
                probes.find_map(stands).or_else(|| draw.one(seats, tier, tried, mix(ask.source)))
            }
        }
    }

    /// `open` seats of `tier` there are, of this weight in all.
    pub fn check_invariants(&self, seats: &[Seat], tier: Tier, open: usize, weight: u64) {
        match self {
            Method::RoundRobin(rotation) => rotation.check_invariants(seats, tier, open, weight),
            Method::LeastConnections(least) => assert_eq!(least.len(tier), open),
            Method::RandomTwo(draw) | Method::PeakEwma(draw) | Method::SourceHash { draw, .. } => {
                assert_eq!(draw.weight(tier), weight);
            }
        }
    }
}
