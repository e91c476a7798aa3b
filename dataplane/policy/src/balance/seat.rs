//! One endpoint as balancing knows it, and what it counts as.
//!
//! Owns the rule who is in rotation and in which tier. Refuses to know how one of them is chosen.

use super::latency::Latency;
use crate::generation::{Endpoint, Health};
use crate::ids::EndpointSlot;
use crate::tick::Tick;

/// What balancing remembers of one endpoint.
#[derive(Debug)]
pub(super) struct Seat {
    pub slot: EndpointSlot,
    pub weight: u32,
    pub in_flight: u32,
    pub health: Health,
    pub backup: bool,
    pub drain: bool,
    pub named: bool,
    pub resolved: bool,
    pub full: bool,
    pub ejected: bool,
    pub latency: Latency,
    pub standing: Standing,
}

/// What a seat counts as now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Out,
    Full(Tier),
    /// Can be picked: the algorithm has it.
    Open(Tier),
}

impl Standing {
    pub fn tier(self) -> Option<Tier> {
        match self {
            Standing::Out => None,
            Standing::Full(tier) | Standing::Open(tier) => Some(tier),
        }
    }

    pub fn is_open_in(self, tier: Tier) -> bool {
        self == Standing::Open(tier)
    }
}

impl Seat {
    pub const NOBODY: Seat = Seat {
        slot: EndpointSlot(u32::MAX),
        weight: 0,
        in_flight: 0,
        health: Health::Unproven,
        backup: false,
        drain: false,
        named: false,
        resolved: false,
        full: false,
        ejected: false,
        latency: Latency::Unknown,
        standing: Standing::Out,
    };

    pub fn due_standing(&self, checked: bool) -> Standing {
        let health = if checked { self.health } else { Health::Up };
        let tier = match (self.backup, health) {
            (_, Health::Down) => return Standing::Out,
            (false, Health::Up) => Tier::PrimaryUp,
            (false, Health::Unproven) => Tier::PrimaryUnproven,
            (true, Health::Up) => Tier::BackupUp,
            (true, Health::Unproven) => Tier::BackupUnproven,
        };
        if self.drain || self.ejected || self.weight == 0 || self.named && !self.resolved {
            Standing::Out
        } else if self.full {
            Standing::Full(tier)
        } else {
            Standing::Open(tier)
        }
    }

    /// Connections per weight, to be compared with what `other` says of this seat.
    pub fn load_against(&self, other: &Seat) -> u64 {
        u64::from(self.in_flight) * u64::from(other.weight)
    }

    /// See [`Latency::load`]; per weight.
    pub fn is_faster_than(&self, other: &Seat, now: Tick) -> bool {
        let load = |seat: &Seat| seat.latency.load(seat.in_flight, now);
        load(self) * u128::from(other.weight) < load(other) * u128::from(self.weight)
    }

    pub fn is_less_busy_than(&self, other: &Seat) -> bool {
        self.load_against(other) < other.load_against(self)
    }
}

/// Which of equal seats goes first: an order of its own for each value, the seats' own order for 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Salt(pub u32);

impl Salt {
    pub fn order(self, seat: u32) -> u32 {
        seat ^ self.0
    }
}

pub(super) const TIERS: usize = 4;

/// Who is asked first. See the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tier {
    PrimaryUp,
    PrimaryUnproven,
    BackupUp,
    BackupUnproven,
}

impl Tier {
    pub const ALL: [Tier; TIERS] = [Tier::PrimaryUp, Tier::PrimaryUnproven, Tier::BackupUp, Tier::BackupUnproven];

    pub fn ix(self) -> usize {
        self as usize
    }

    pub fn is_backup(self) -> bool {
        matches!(self, Tier::BackupUp | Tier::BackupUnproven)
    }
}

pub(super) const CLASSES: usize = 16;
const _: () = assert!(Endpoint::WEIGHT_MAX < 1 << CLASSES);

/// The power of two at or below the weight, which is not 0.
pub(super) fn class_of(weight: u32) -> usize {
    weight.ilog2() as usize
}

/// How many endpoints of each weight class there are: what the algorithms may have to hold, so that they
/// take memory when a generation is adopted and not when a backend comes up.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Census {
    primary: [u32; CLASSES],
    backup: [u32; CLASSES],
}

impl Census {
    pub fn of_all<'a>(seats: impl Iterator<Item = &'a Seat>) -> Census {
        let mut census = Census::default();
        seats.for_each(|seat| census.count(seat));
        census
    }

    pub fn count(&mut self, seat: &Seat) {
        if let Some(count) = self.cell(seat) {
            *count += 1;
        }
    }

    pub fn discount(&mut self, seat: &Seat) {
        if let Some(count) = self.cell(seat) {
            *count -= 1;
        }
    }

    pub fn of(&self, tier: Tier, class: usize) -> usize {
        (if tier.is_backup() { self.backup } else { self.primary })[class] as usize
    }

    pub fn all(&self, tier: Tier) -> usize {
        (0..CLASSES).map(|class| self.of(tier, class)).sum()
    }

    fn cell(&mut self, seat: &Seat) -> Option<&mut u32> {
        let classes = if seat.backup { &mut self.backup } else { &mut self.primary };
        (seat.weight > 0).then(|| &mut classes[class_of(seat.weight)])
    }
}
