//! What is asked of a proxy, in which unit its cost is told, and which goals it must reach.
//!
//! Knows neither how the load is made nor who is measured.

use crate::contestant::Contestant;
use clap::ValueEnum;
use serde::Serialize;

/// What a run is about: who takes part in it, and with whom Sluicegate is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Http,
}

impl Protocol {
    pub fn scenarios(self) -> &'static [Scenario] {
        use Scenario::*;
        match self {
            Protocol::Tcp => &[Bulk, PingPong, Latency, Churn],
            Protocol::Http => &[KeepAlive, OneRequest, Body16k, Body64k, Body1m, RequestLatency],
        }
    }

    /// In the order of an even round.
    pub fn contestants(self) -> &'static [Contestant] {
        use Contestant::*;
        match self {
            Protocol::Tcp => &[FloorSplice, FloorCopy, Haproxy, Sluicegate, HaproxyAgain],
            Protocol::Http => &[FloorCopy, Nginx, Haproxy, Sluicegate, NginxAgain],
        }
    }

    /// Others' programs that the figures are divided by.
    pub fn peers(self) -> &'static [Contestant] {
        match self {
            Protocol::Tcp => &[Contestant::Haproxy],
            Protocol::Http => &[Contestant::Nginx, Contestant::Haproxy],
        }
    }

    /// A program and the same once more: how far their ratio is from 1 is what a run cannot tell.
    pub fn same(self) -> [Contestant; 2] {
        match self {
            Protocol::Tcp => [Contestant::Haproxy, Contestant::HaproxyAgain],
            Protocol::Http => [Contestant::Nginx, Contestant::NginxAgain],
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP proxying on one core",
            Protocol::Http => "HTTP/1.1 proxying on one core",
        }
    }

    /// In the name of a baseline's folder.
    pub fn label(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Http => "http",
        }
    }
}

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
    /// Many clients, each with one small request under way: the cost of a request under load.
    KeepAlive,
    /// Connect, one small request, end: the cost of a connection with its request.
    OneRequest,
    /// Answers of 16 KiB, less than a proxy would splice.
    #[value(name = "body-16k")]
    #[serde(rename = "body-16k")]
    Body16k,
    /// Answers of 64 KiB.
    #[value(name = "body-64k")]
    #[serde(rename = "body-64k")]
    Body64k,
    /// Answers of 1 MiB: mostly the cost of a byte.
    #[value(name = "body-1m")]
    #[serde(rename = "body-1m")]
    Body1m,
    /// One client with one small request under way: what a request takes when nobody else is there.
    RequestLatency,
}

const GIB: f64 = (1u64 << 30) as f64;

impl Scenario {
    /// Clients that are connected, or being connected, at any moment.
    pub fn connections(self) -> usize {
        match self {
            Scenario::Bulk => 8,
            Scenario::PingPong | Scenario::KeepAlive => 64,
            Scenario::Latency | Scenario::RequestLatency => 1,
            Scenario::Churn | Scenario::OneRequest => 16,
            // So few that all answers under way fit into the caches: see `bench/README.md`.
            Scenario::Body16k => 64,
            Scenario::Body64k => 16,
            Scenario::Body1m => 4,
        }
    }

    /// Content of each answer. `None`: nobody speaks HTTP.
    pub fn body_bytes(self) -> Option<usize> {
        match self {
            Scenario::Bulk | Scenario::PingPong | Scenario::Latency | Scenario::Churn => None,
            Scenario::KeepAlive | Scenario::OneRequest | Scenario::RequestLatency => Some(200),
            Scenario::Body16k => Some(16 << 10),
            Scenario::Body64k => Some(64 << 10),
            Scenario::Body1m => Some(1 << 20),
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Scenario::Bulk => "bulk: 8 streams, origin to client",
            Scenario::PingPong => "ping-pong: 64 connections, 64-byte messages, closed loop",
            Scenario::Latency => "latency: 1 connection, 64-byte messages, closed loop",
            Scenario::Churn => "churn: connect, one 64-byte round trip, end; 16 at a time",
            Scenario::KeepAlive => "keep-alive: 64 connections, GET, answers of 200 bytes, closed loop",
            Scenario::OneRequest => "one-request: connect, GET, answer of 200 bytes, end; 16 at a time",
            Scenario::Body16k => "body-16k: 64 connections, GET, answers of 16 KiB, closed loop",
            Scenario::Body64k => "body-64k: 16 connections, GET, answers of 64 KiB, closed loop",
            Scenario::Body1m => "body-1m: 4 connections, GET, answers of 1 MiB, closed loop",
            Scenario::RequestLatency => "request-latency: 1 connection, GET, answers of 200 bytes, closed loop",
        }
    }

    /// What one of the counted units is called in a rate.
    pub fn unit(self) -> &'static str {
        match self.counts() {
            Counts::Bytes => "GiB",
            Counts::RoundTrips => "round trips",
            Counts::Connections => "connections",
            Counts::Requests => "requests",
        }
    }

    /// `counted` is as [`Scenario::counts`] says.
    pub fn units(self, counted: u64) -> f64 {
        match self.counts() {
            Counts::Bytes => counted as f64 / GIB,
            Counts::RoundTrips | Counts::Connections | Counts::Requests => counted as f64,
        }
    }

    pub fn counts(self) -> Counts {
        match self {
            Scenario::Bulk | Scenario::Body16k | Scenario::Body64k | Scenario::Body1m => Counts::Bytes,
            Scenario::PingPong | Scenario::Latency => Counts::RoundTrips,
            Scenario::Churn => Counts::Connections,
            Scenario::KeepAlive | Scenario::OneRequest | Scenario::RequestLatency => Counts::Requests,
        }
    }

    /// Whether each round trip is timed. It is where the only client waits for one thing at a time: a proxy that is
    /// faster gets no more work by that, and no core becomes the limit.
    pub fn is_timed(self) -> bool {
        matches!(self, Scenario::Latency | Scenario::RequestLatency)
    }

    pub fn figures(self) -> &'static [Figure] {
        match self.is_timed() {
            true => &[Figure::CpuPerUnit, Figure::LatencyP50, Figure::LatencyP99],
            false => &[Figure::CpuPerUnit],
        }
    }

    /// The cheapest relay that this kind of traffic allows.
    pub fn floor(self) -> Contestant {
        match self {
            Scenario::Bulk => Contestant::FloorSplice,
            // For messages of a few bytes a pipe only adds system calls.
            Scenario::PingPong | Scenario::Latency | Scenario::Churn => Contestant::FloorCopy,
            Scenario::KeepAlive
            | Scenario::OneRequest
            | Scenario::Body16k
            | Scenario::Body64k
            | Scenario::Body1m
            | Scenario::RequestLatency => Contestant::FloorCopy,
        }
    }

    pub fn goals(self) -> &'static [Goal] {
        use Contestant::{FloorCopy, FloorSplice, Haproxy, Nginx};
        use Figure::{CpuPerUnit, LatencyP50, LatencyP99};
        const BULK: &[Goal] = &[goal(CpuPerUnit, FloorSplice, 1.15), goal(CpuPerUnit, Haproxy, 1.0)];
        const PING_PONG: &[Goal] = &[goal(CpuPerUnit, FloorCopy, 1.10), goal(CpuPerUnit, Haproxy, 1.0)];
        const LATENCY: &[Goal] = &[goal(LatencyP50, Haproxy, 1.05), goal(LatencyP99, Haproxy, 1.05)];
        const CHURN: &[Goal] = &[goal(CpuPerUnit, Haproxy, 1.0)];
        const KEEP_ALIVE: &[Goal] =
            &[goal(CpuPerUnit, Nginx, 0.90), goal(CpuPerUnit, Nginx, 0.80), goal(CpuPerUnit, FloorCopy, 1.10)];
        const HTTP: &[Goal] = &[goal(CpuPerUnit, Nginx, 0.90), goal(CpuPerUnit, Haproxy, 0.90)];
        const REQUEST_LATENCY: &[Goal] = &[goal(LatencyP50, Nginx, 1.05), goal(LatencyP99, Nginx, 1.05)];
        match self {
            Scenario::Bulk => BULK,
            Scenario::PingPong => PING_PONG,
            Scenario::Latency => LATENCY,
            Scenario::Churn => CHURN,
            Scenario::KeepAlive => KEEP_ALIVE,
            Scenario::OneRequest | Scenario::Body16k | Scenario::Body64k | Scenario::Body1m => HTTP,
            Scenario::RequestLatency => REQUEST_LATENCY,
        }
    }
}

/// What a measurement counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counts {
    /// That the clients received; of HTTP the content of whole answers only.
    Bytes,
    RoundTrips,
    Connections,
    Requests,
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
        match (self, scenario.counts()) {
            (Figure::CpuPerUnit, Counts::Bytes) => "CPU, s/GiB",
            (Figure::CpuPerUnit, Counts::RoundTrips) => "CPU, µs/round trip",
            (Figure::CpuPerUnit, Counts::Connections) => "CPU, µs/connection",
            (Figure::CpuPerUnit, Counts::Requests) => "CPU, µs/request",
            (Figure::LatencyP50, _) => "p50, µs",
            (Figure::LatencyP99, _) => "p99, µs",
        }
    }

    /// Nanoseconds of CPU for one unit, or of latency, in the unit of [`Figure::title`].
    pub fn in_its_unit(self, scenario: Scenario, nanos: f64) -> f64 {
        match (self, scenario.counts()) {
            (Figure::CpuPerUnit, Counts::Bytes) => nanos / 1e9,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_belongs_to_one_run() {
        for scenario in Scenario::value_variants() {
            let belongs = |protocol: Protocol| protocol.scenarios().contains(scenario);
            let speaks_http = scenario.body_bytes().is_some();
            assert_eq!((belongs(Protocol::Http), belongs(Protocol::Tcp)), (speaks_http, !speaks_http), "{scenario:?}");
        }
    }

    #[test]
    fn whom_a_scenario_is_compared_with_takes_part() {
        for protocol in [Protocol::Tcp, Protocol::Http] {
            for scenario in protocol.scenarios() {
                let compared = scenario.goals().iter().map(|goal| goal.against).chain([scenario.floor()]);
                for contestant in compared.chain(protocol.same()).chain(protocol.peers().iter().copied()) {
                    assert!(protocol.contestants().contains(&contestant), "{contestant:?} in {scenario:?}");
                }
            }
        }
    }
}
