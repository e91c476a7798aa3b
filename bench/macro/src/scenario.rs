//! What is asked of a proxy, in which unit its cost is told, and which goals it must reach.
//!
//! Knows neither how the load is made nor who is measured.

use crate::contestant::Contestant;
use clap::ValueEnum;
use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The origin sends as fast as it can, the client throws away: the cost of a byte.
    Bulk,
    /// Many clients, each with one small message under way: the cost of a round trip under load.
    PingPong,
    /// One client with one small message under way: what a round trip takes when nobody else is there.
    Latency,
    /// Connect, one round trip, end: the cost of a connection.
    Churn,
}

const GIB: f64 = (1u64 << 30) as f64;

impl Scenario {
    pub const ALL: [Scenario; 4] = [Scenario::Bulk, Scenario::PingPong, Scenario::Latency, Scenario::Churn];

    /// Clients that are connected, or being connected, at any moment.
    pub fn connections(self) -> usize {
        match self {
            Scenario::Bulk => 8,
            Scenario::PingPong => 64,
            Scenario::Latency => 1,
            Scenario::Churn => 16,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Scenario::Bulk => "bulk: 8 streams, origin to client",
            Scenario::PingPong => "ping-pong: 64 connections, 64-byte messages, closed loop",
            Scenario::Latency => "latency: 1 connection, 64-byte messages, closed loop",
            Scenario::Churn => "churn: connect, one 64-byte round trip, end; 16 at a time",
        }
    }

    /// What one of the counted units is called in a rate.
    pub fn unit(self) -> &'static str {
        match self {
            Scenario::Bulk => "GiB",
            Scenario::PingPong | Scenario::Latency => "round trips",
            Scenario::Churn => "connections",
        }
    }

    /// `counted` is bytes for bulk, otherwise completed round trips or connections.
    pub fn units(self, counted: u64) -> f64 {
        match self {
            Scenario::Bulk => counted as f64 / GIB,
            Scenario::PingPong | Scenario::Latency | Scenario::Churn => counted as f64,
        }
    }

    /// Whether a proxy that is faster gets more work, so that one core should become the limit.
    pub fn saturates(self) -> bool {
        self != Scenario::Latency
    }

    pub fn figures(self) -> &'static [Figure] {
        match self {
            Scenario::Bulk | Scenario::PingPong | Scenario::Churn => &[Figure::CpuPerUnit],
            Scenario::Latency => &[Figure::CpuPerUnit, Figure::LatencyP50, Figure::LatencyP99],
        }
    }

    /// The cheapest relay that this kind of traffic allows.
    pub fn floor(self) -> Contestant {
        match self {
            Scenario::Bulk => Contestant::FloorSplice,
            // For messages of a few bytes a pipe only adds system calls.
            Scenario::PingPong | Scenario::Latency | Scenario::Churn => Contestant::FloorCopy,
        }
    }

    pub fn goals(self) -> &'static [Goal] {
        use Contestant::{FloorCopy, FloorSplice, Haproxy};
        use Figure::{CpuPerUnit, LatencyP50, LatencyP99};
        const BULK: &[Goal] = &[goal(CpuPerUnit, FloorSplice, 1.15), goal(CpuPerUnit, Haproxy, 1.0)];
        const PING_PONG: &[Goal] = &[goal(CpuPerUnit, FloorCopy, 1.10), goal(CpuPerUnit, Haproxy, 1.0)];
        const LATENCY: &[Goal] = &[goal(LatencyP50, Haproxy, 1.05), goal(LatencyP99, Haproxy, 1.05)];
        const CHURN: &[Goal] = &[goal(CpuPerUnit, Haproxy, 1.0)];
        match self {
            Scenario::Bulk => BULK,
            Scenario::PingPong => PING_PONG,
            Scenario::Latency => LATENCY,
            Scenario::Churn => CHURN,
        }
    }
}

/// One number that a measurement yields; less is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    CpuPerUnit,
    LatencyP50,
    LatencyP99,
}

impl Figure {
    /// Name and unit as a table's head shows them.
    pub fn title(self, scenario: Scenario) -> &'static str {
        match (self, scenario) {
            (Figure::CpuPerUnit, Scenario::Bulk) => "CPU, s/GiB",
            (Figure::CpuPerUnit, Scenario::Churn) => "CPU, µs/connection",
            (Figure::CpuPerUnit, Scenario::PingPong | Scenario::Latency) => "CPU, µs/round trip",
            (Figure::LatencyP50, _) => "p50, µs",
            (Figure::LatencyP99, _) => "p99, µs",
        }
    }

    /// Nanoseconds of CPU for one unit, or of latency, in the unit of [`Figure::title`].
    pub fn in_its_unit(self, scenario: Scenario, nanos: f64) -> f64 {
        match (self, scenario) {
            (Figure::CpuPerUnit, Scenario::Bulk) => nanos / 1e9,
            _ => nanos / 1e3,
        }
    }
}

/// Sluicegate's figure must be at most `at_most` times that of `against`, in the same round.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Goal {
    pub figure: Figure,
    pub against: Contestant,
    pub at_most: f64,
}

const fn goal(figure: Figure, against: Contestant, at_most: f64) -> Goal {
    Goal { figure, against, at_most }
}
