//! The interleaved run: every contestant in turn, round after round, the order reversed each time.
//!
//! A drift of the machine so meets all contestants alike, and what it does to the first and the last of a
//! round changes sides in the next. Owns the order and the record of what was measured; judges nothing.

use crate::contestant::{self, Contestant, Programs};
use crate::cpu::{self, Layout, Spent};
use crate::load;
use crate::scenario::{Figure, Protocol, Scenario};
use crate::statistics;
use serde::Serialize;
use std::time::Duration;

#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub protocol: Protocol,
    pub scenarios: Vec<Scenario>,
    pub contestants: Vec<Contestant>,
    pub rounds: usize,
    #[serde(rename = "warm_up_nanos", serialize_with = "cpu::nanos")]
    pub warm_up: Duration,
    #[serde(rename = "window_nanos", serialize_with = "cpu::nanos")]
    pub window: Duration,
    pub layout: Layout,
}

/// One contestant in one round of one scenario.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub scenario: Scenario,
    pub round: usize,
    pub contestant: Contestant,
    pub outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Measured(Measured),
    /// What went wrong, in one sentence. Such a round has no figure.
    Failed(String),
}

#[derive(Debug, Serialize)]
pub struct Measured {
    /// See [`Scenario::counts`].
    pub counted: u64,
    pub spent: Spent,
    pub latency_p50_nanos: Option<u32>,
    pub latency_p99_nanos: Option<u32>,
}

impl Measured {
    /// In the unit of [`Figure::title`].
    pub fn figure(&self, scenario: Scenario, figure: Figure) -> Option<f64> {
        let nanos = match figure {
            Figure::CpuPerUnit => self.spent.proxy.as_nanos() as f64 / scenario.units(self.counted),
            Figure::LatencyP50 => self.latency_p50_nanos? as f64,
            Figure::LatencyP99 => self.latency_p99_nanos? as f64,
        };
        Some(figure.in_its_unit(scenario, nanos))
    }

    /// Units per second.
    pub fn rate(&self, scenario: Scenario) -> f64 {
        scenario.units(self.counted) / self.spent.wall.as_secs_f64()
    }
}

/// Runs the whole plan, telling each sample to `progress` as it comes.
pub fn run(plan: &Plan, programs: &Programs, mut progress: impl FnMut(&Sample)) -> Vec<Sample> {
    let mut samples = Vec::new();
    for &scenario in &plan.scenarios {
        for round in 0..plan.rounds {
            for contestant in order(&plan.contestants, round) {
                let outcome = match measure(plan, programs, scenario, contestant) {
                    Ok(measured) => Outcome::Measured(measured),
                    Err(reason) => Outcome::Failed(reason),
                };
                let sample = Sample { scenario, round, contestant, outcome };
                progress(&sample);
                samples.push(sample);
            }
        }
    }
    samples
}

fn order(contestants: &[Contestant], round: usize) -> Vec<Contestant> {
    let mut order = contestants.to_vec();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

fn measure(plan: &Plan, programs: &Programs, scenario: Scenario, contestant: Contestant) -> Result<Measured, String> {
    let origin = load::listen().map_err(|error| format!("no port for the origin: {error}"))?;
    let running = contestant::start(contestant, programs, plan.layout, plan.protocol, &origin)?;
    let order = load::Order {
        scenario,
        front: running.front,
        proxy: running.pid(),
        layout: plan.layout,
        warm_up: plan.warm_up,
        window: plan.window,
    };
    let mut work = load::run(&order, &origin).map_err(|failure| failure.to_string())?;
    if work.counted == 0 {
        return Err("nothing was completed within the window".to_owned());
    }
    Ok(Measured {
        counted: work.counted,
        spent: work.spent,
        latency_p50_nanos: statistics::quantile(&mut work.latencies, 0.50),
        latency_p99_nanos: statistics::quantile(&mut work.latencies, 0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_reversed_in_every_other_round() {
        use Contestant::{FloorCopy, Haproxy, Sluicegate};
        let contestants = [FloorCopy, Haproxy, Sluicegate];
        assert_eq!(order(&contestants, 0), [FloorCopy, Haproxy, Sluicegate]);
        assert_eq!(order(&contestants, 1), [Sluicegate, Haproxy, FloorCopy]);
        assert_eq!(order(&contestants, 2), order(&contestants, 0));
    }
}
