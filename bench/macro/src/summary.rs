//! From samples to what may be said: tables, ratios, and claims or the reason why there is none.
//!
//! Reads the record only; it measures nothing and so can be made again from the raw figures at any time.

use crate::contestant::Contestant;
use crate::machine::Machine;
use crate::run::{Measured, Outcome, Plan, Sample};
use crate::scenario::{Figure, Goal, Scenario};
use crate::statistics::{self, Interval, Ratio, Resolution, Verdict};
use std::fmt::Write;

/// CPU that somebody else used during a measurement, in cores. More, and it is disturbed.
pub const FOREIGN_MAX: f64 = 0.10;
/// Time the hypervisor gave to others, over both cores.
pub const STEAL_MAX: f64 = 0.05;
/// Share of disturbed measurements from which on a scenario claims nothing.
const DISTURBED_MAX: f64 = 0.25;
/// Who uses so much of its core is the limit.
const SATURATED: f64 = 0.90;

/// The whole summary as Markdown.
pub fn summary(machine: &Machine, plan: &Plan, samples: &[Sample]) -> String {
    let mut text = String::new();
    circumstances(&mut text, machine, plan);
    for &scenario in &plan.scenarios {
        Section { scenario, plan, samples }.write(&mut text);
    }
    text
}

fn circumstances(text: &mut String, machine: &Machine, plan: &Plan) {
    let _ = writeln!(text, "# {}, commit {}\n", plan.protocol.title(), machine.commit);
    for (name, version) in &machine.versions {
        let _ = writeln!(text, "- {name}: {version}");
    }
    let _ = writeln!(
        text,
        "- machine: {}, {} CPUs, {}, kernel {}, clock {}, governor {}, load average at the start {}",
        machine.cpu,
        machine.cpus,
        machine.memory,
        machine.kernel,
        machine.clock,
        machine.governor,
        machine.load_average
    );
    let list = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("; ")
    };
    let _ = writeln!(text, "- mitigations: {}", list(&machine.mitigations));
    let _ = writeln!(text, "- network: {}", list(&machine.network));
    let _ = writeln!(
        text,
        "- run: {} rounds, order reversed each round, every contestant started anew; {:.1} s after {:.1} s of warm-up; \
         proxy on CPU {}, origin and clients on CPU {}",
        plan.rounds,
        plan.window.as_secs_f64(),
        plan.warm_up.as_secs_f64(),
        plan.layout.proxy_cpu,
        plan.layout.load_cpu
    );
    let _ = writeln!(
        text,
        "- figures: median (smallest–largest) over the rounds; ratios: median of the ratios within a round [interval of \
         that median]; CPU: all threads of the process"
    );
}

/// One scenario of the summary.
struct Section<'a> {
    scenario: Scenario,
    plan: &'a Plan,
    samples: &'a [Sample],
}

impl Section<'_> {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "\n## {}\n", self.scenario.title());
        for &figure in self.scenario.figures() {
            self.table(text, figure);
        }
        self.usage(text);
        self.doubts(text);
        self.claims(text);
    }

    fn table(&self, text: &mut String, figure: Figure) {
        let title = figure.title(self.scenario);
        let divisors = [self.plan.protocol.peers(), &[self.scenario.floor()]].concat();
        let _ = write!(text, "| | {title} |");
        for divisor in &divisors {
            let _ = write!(text, " ÷ {} |", divisor.label());
        }
        let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(divisors.len()));
        for &contestant in &self.plan.contestants {
            let values: Vec<f64> = self.rounds(contestant, figure).into_iter().flatten().collect();
            let _ = write!(text, "| {} | {} |", contestant.label(), spread(&values));
            for &divisor in &divisors {
                let ratio = self.ratio(contestant, divisor, figure);
                let _ = write!(text, " {} |", ratio.map_or_else(String::new, |ratio| show(&ratio)));
            }
            text.push('\n');
        }
        text.push('\n');
    }

    /// Who was the limit: without it a rate cannot be read.
    fn usage(&self, text: &mut String) {
        let unit = self.scenario.unit();
        let _ = writeln!(text, "| | {unit}/s | proxy, of a core | load, of a core | limit |\n|---|---|---|---|---|");
        for &contestant in &self.plan.contestants {
            let of = |value: fn(&Section, &Measured) -> f64| {
                let values: Vec<f64> = self.measured(contestant).map(|(_, measured)| value(self, measured)).collect();
                statistics::median(&values)
            };
            let (Some(rate), Some(proxy), Some(load)) = (
                of(|section, measured| measured.rate(section.scenario)),
                of(|_, measured| measured.spent.proxy_share()),
                of(|_, measured| measured.spent.load_share()),
            ) else {
                let _ = writeln!(text, "| {} | | | | |", contestant.label());
                continue;
            };
            let limit = Limit::of(self.scenario, proxy, load);
            let _ = writeln!(
                text,
                "| {} | {}{} | {:.0} % | {:.0} % | {} |",
                contestant.label(),
                if limit.hides_the_rate() { "at least " } else { "" },
                digits(rate),
                proxy * 100.0,
                load * 100.0,
                limit.label()
            );
        }
        text.push('\n');
    }

    /// Everything that a reader must hold against the figures of this scenario.
    fn doubts(&self, text: &mut String) {
        for sample in self.of_scenario() {
            if let Outcome::Failed(reason) = &sample.outcome {
                let _ =
                    writeln!(text, "- {} failed in round {}: {reason}", sample.contestant.label(), sample.round + 1);
            }
        }
        let disturbed = self.disturbed();
        if disturbed > 0.0 {
            let _ = writeln!(
                text,
                "- {:.0} % of the measurements were disturbed: others used more than {FOREIGN_MAX} of a core, or the \
                 hypervisor took more than {STEAL_MAX}",
                disturbed * 100.0
            );
        }
        let starved = self.plan.contestants.iter().any(|&contestant| {
            !self.scenario.is_timed() && self.proxy_share(contestant).is_some_and(|share| share < SATURATED)
        });
        if starved {
            let _ = writeln!(
                text,
                "- not every proxy used {:.0} % of a core, so rates are not compared. CPU per unit needs no saturation, \
                 but a core that waits wakes more often for less: the busier contestant is flattered",
                SATURATED * 100.0
            );
        }
        if self.measured(Contestant::Sluicegate).any(|(_, measured)| measured.spent.coarse) {
            let _ = writeln!(text, "- a thread of sluicegate ended within a window: its CPU is exact to 10 ms only");
        }
    }

    fn claims(&self, text: &mut String) {
        for goal in self.scenario.goals() {
            let figure = goal.figure.title(self.scenario);
            let _ = write!(text, "- goal: {figure} ÷ {} ≤ {:.2}: ", goal.against.label(), goal.at_most);
            let _ = match self.claim(goal) {
                Ok((verdict, ratio)) => writeln!(text, "**{}**, {}", word(verdict), show(&ratio)),
                Err(reason) => writeln!(text, "nothing is claimed: {reason}"),
            };
        }
        for &figure in self.scenario.figures() {
            let title = figure.title(self.scenario);
            let _ = match self.resolution(figure) {
                Some(Resolution(factor)) => writeln!(
                    text,
                    "- {title}: a program and itself differ by up to {:.1} % here, so less is not told apart",
                    (factor - 1.0) * 100.0
                ),
                None => writeln!(text, "- {title}: what this run can tell apart is unknown"),
            };
        }
    }

    /// The verdict on a goal, or why there can be none.
    fn claim(&self, goal: &Goal) -> Result<(Verdict, Ratio), String> {
        let [_, again] = self.plan.protocol.same();
        for contestant in [Contestant::Sluicegate, goal.against, again] {
            let rounds = self.measured(contestant).count();
            if rounds == 0 {
                return Err(format!("{} was not measured", contestant.label()));
            }
            if rounds < self.plan.rounds {
                return Err(format!("{} failed in {} rounds", contestant.label(), self.plan.rounds - rounds));
            }
        }
        if self.disturbed() > DISTURBED_MAX {
            return Err("the machine was not quiet".to_owned());
        }
        let ratio = self.ratio(Contestant::Sluicegate, goal.against, goal.figure).ok_or("no round has both")?;
        if ratio.interval.is_none() {
            return Err(format!("{} rounds are too few, 6 are needed", ratio.rounds));
        }
        let verdict = statistics::judge(&ratio, self.resolution(goal.figure), goal.at_most);
        let flattered = match verdict {
            Verdict::Reached => self.is_flattered(Contestant::Sluicegate, goal.against),
            Verdict::Missed => self.is_flattered(goal.against, Contestant::Sluicegate),
            Verdict::Unresolved => false,
        };
        match flattered && goal.figure == Figure::CpuPerUnit {
            true => Err(format!("{}, but the load was the limit, and that speaks for the busier one", show(&ratio))),
            false => Ok((verdict, ratio)),
        }
    }

    /// Whether the figure of `one` beside that of `other` looks better than it is: the other waited for the load, and a
    /// core that waits wakes more often for less.
    fn is_flattered(&self, one: Contestant, other: Contestant) -> bool {
        match (self.proxy_share(one), self.proxy_share(other)) {
            (Some(one), Some(other)) => !self.scenario.is_timed() && other < SATURATED && one > other,
            _ => false,
        }
    }

    /// CPU that this contestant used, in cores.
    fn proxy_share(&self, contestant: Contestant) -> Option<f64> {
        let shares: Vec<f64> = self.measured(contestant).map(|(_, measured)| measured.spent.proxy_share()).collect();
        statistics::median(&shares)
    }

    fn resolution(&self, figure: Figure) -> Option<Resolution> {
        let [one, again] = self.plan.protocol.same();
        Resolution::of_same(&self.ratio(again, one, figure)?)
    }

    fn ratio(&self, dividend: Contestant, divisor: Contestant, figure: Figure) -> Option<Ratio> {
        let rounds = self.rounds(dividend, figure).into_iter().zip(self.rounds(divisor, figure));
        Ratio::of_rounds(&rounds.filter_map(|(dividend, divisor)| Some((dividend?, divisor?))).collect::<Vec<_>>())
    }

    /// The figure of each round, in order; `None` where there is none.
    fn rounds(&self, contestant: Contestant, figure: Figure) -> Vec<Option<f64>> {
        let mut rounds = vec![None; self.plan.rounds];
        for (round, measured) in self.measured(contestant) {
            rounds[round] = measured.figure(self.scenario, figure);
        }
        rounds
    }

    fn measured(&self, contestant: Contestant) -> impl Iterator<Item = (usize, &Measured)> {
        self.of_scenario().filter(move |sample| sample.contestant == contestant).filter_map(|sample| {
            match &sample.outcome {
                Outcome::Measured(measured) => Some((sample.round, measured)),
                Outcome::Failed(_) => None,
            }
        })
    }

    fn of_scenario(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.scenario == self.scenario)
    }

    /// Share of the measurements in which the machine was not ours alone.
    fn disturbed(&self) -> f64 {
        let all: Vec<&Measured> =
            self.plan.contestants.iter().flat_map(|&who| self.measured(who)).map(|(_, m)| m).collect();
        let is_disturbed = |measured: &&&Measured| {
            let spent = &measured.spent;
            spent.foreign > FOREIGN_MAX || spent.proxy_core.steal + spent.load_core.steal > STEAL_MAX
        };
        all.iter().filter(is_disturbed).count() as f64 / all.len().max(1) as f64
    }
}

/// What kept a contestant from doing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Limit {
    Proxy,
    Load,
    /// Each waited for the other, or for somebody else's work on its core.
    Neither,
    /// One message at a time: waiting is what is measured.
    Waiting,
}

impl Limit {
    fn of(scenario: Scenario, proxy_share: f64, load_share: f64) -> Limit {
        if scenario.is_timed() {
            Limit::Waiting
        } else if proxy_share >= SATURATED {
            Limit::Proxy
        } else if load_share >= SATURATED {
            Limit::Load
        } else {
            Limit::Neither
        }
    }

    fn label(self) -> &'static str {
        match self {
            Limit::Proxy => "proxy",
            Limit::Load => "load",
            Limit::Neither => "neither",
            Limit::Waiting => "waiting",
        }
    }

    /// Whether the proxy might have done more if it had been let.
    fn hides_the_rate(self) -> bool {
        match self {
            Limit::Load | Limit::Neither => true,
            Limit::Proxy | Limit::Waiting => false,
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reached => "reached",
        Verdict::Missed => "missed",
        Verdict::Unresolved => "unresolved",
    }
}

fn spread(values: &[f64]) -> String {
    let Some(median) = statistics::median(values) else {
        return "not measured".to_owned();
    };
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(0.0, f64::max);
    format!("{} ({}–{})", digits(median), digits(smallest), digits(largest))
}

fn show(ratio: &Ratio) -> String {
    match ratio.interval {
        Some(Interval { low, high, coverage }) => {
            format!("{:.2} [{low:.2}–{high:.2}, {:.1} %]", ratio.median, coverage * 100.0)
        }
        None => format!("{:.2} [{} rounds]", ratio.median, ratio.rounds),
    }
}

/// Three digits that count, and no more.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{CoreShare, Layout, Spent};
    use crate::scenario::Protocol;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn plan(scenario: Scenario, rounds: usize) -> Plan {
        let protocol = if scenario.body_bytes().is_some() { Protocol::Http } else { Protocol::Tcp };
        Plan {
            protocol,
            scenarios: vec![scenario],
            contestants: protocol.contestants().to_vec(),
            rounds,
            warm_up: Duration::from_millis(500),
            window: Duration::from_secs(1),
            layout: Layout { proxy_cpu: 0, load_cpu: 1 },
        }
    }

    /// A measurement of 1000 round trips that cost `micros` each.
    fn measured(micros: u64, foreign: f64) -> Outcome {
        used(micros, foreign, 1.0 / 1.05)
    }

    /// The proxy used this share of its core.
    fn used(micros: u64, foreign: f64, share: f64) -> Outcome {
        let core = CoreShare { busy: 0.95, steal: 0.0 };
        Outcome::Measured(Measured {
            counted: 1000,
            spent: Spent {
                wall: Duration::from_micros(micros * 1000).div_f64(share),
                proxy: Duration::from_micros(micros * 1000),
                proxy_thread_nanos: BTreeMap::new(),
                coarse: false,
                load: Duration::from_micros(micros * 525),
                proxy_core: core,
                load_core: core,
                foreign,
            },
            latency_p50_nanos: None,
            latency_p99_nanos: None,
        })
    }

    fn cost(contestant: Contestant) -> u64 {
        match contestant {
            Contestant::FloorSplice => 12,
            Contestant::FloorCopy => 10,
            Contestant::Haproxy | Contestant::HaproxyAgain => 20,
            Contestant::Nginx | Contestant::NginxAgain => 25,
            Contestant::Sluicegate => 15,
        }
    }

    fn samples(plan: &Plan, foreign: f64) -> Vec<Sample> {
        let all = (0..plan.rounds).flat_map(|round| plan.contestants.iter().map(move |&who| (round, who)));
        all.map(|(round, contestant)| Sample {
            scenario: plan.scenarios[0],
            round,
            contestant,
            outcome: measured(cost(contestant), foreign),
        })
        .collect()
    }

    fn section(plan: &Plan, samples: &[Sample]) -> String {
        let mut text = String::new();
        Section { scenario: plan.scenarios[0], plan, samples }.write(&mut text);
        text
    }

    fn check(text: &str, expected: &[&str]) {
        for line in expected {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }

    #[test]
    fn ratios_and_verdicts_are_drawn() {
        let plan = plan(Scenario::PingPong, 7);
        let text = section(&plan, &samples(&plan, 0.0));
        check(
            &text,
            &[
                "| sluicegate | 15.0 (15.0–15.0) | 0.75 [0.75–0.75, 98.4 %] | 1.50 [1.50–1.50, 98.4 %] |",
                "| sluicegate | 63492 | 95 % | 50 % | proxy |",
                "÷ haproxy ≤ 1.00: **reached**, 0.75",
                "÷ floor-copy ≤ 1.10: **missed**, 1.50",
                "- CPU, µs/round trip: a program and itself differ by up to 0.0 % here",
            ],
        );
    }

    #[test]
    fn http_is_compared_with_nginx_with_haproxy_and_with_the_floor() {
        let plan = plan(Scenario::KeepAlive, 7);
        check(
            &section(&plan, &samples(&plan, 0.0)),
            &[
                "| | CPU, µs/request | ÷ nginx | ÷ haproxy | ÷ floor-copy |\n|---|---|---|---|---|\n",
                "| sluicegate | 15.0 (15.0–15.0) | 0.60 [0.60–0.60, 98.4 %] | 0.75 [0.75–0.75, 98.4 %] | 1.50 [",
                "| nginx again | 25.0 (25.0–25.0) | 1.00 [1.00–1.00, 98.4 %] |",
                "÷ nginx ≤ 0.90: **reached**, 0.60",
                "- CPU, µs/request: a program and itself differ by up to 0.0 % here",
            ],
        );
    }

    #[test]
    fn nothing_is_claimed_where_the_load_was_the_limit_and_speaks_for_it() {
        let plan = plan(Scenario::KeepAlive, 7);
        let with = |who, share| {
            let mut samples = samples(&plan, 0.0);
            for sample in samples.iter_mut().filter(|sample| sample.contestant == who) {
                sample.outcome = used(cost(who), 0.0, share);
            }
            section(&plan, &samples)
        };
        let flattered = with(Contestant::Nginx, 0.7);
        check(&flattered, &["÷ nginx ≤ 0.90: nothing is claimed: 0.60", "÷ floor-copy ≤ 1.10: **missed**"]);
        // Sluicegate waits more than the others: its figure is no better than it is, and the floor's is.
        let waits = with(Contestant::Sluicegate, 0.7);
        check(&waits, &["÷ nginx ≤ 0.90: **reached**, 0.60", "÷ floor-copy ≤ 1.10: nothing is claimed: 1.50"]);
    }

    #[test]
    fn too_few_rounds_claim_nothing() {
        let plan = plan(Scenario::PingPong, 5);
        check(
            &section(&plan, &samples(&plan, 0.0)),
            &["0.75 [5 rounds]", "nothing is claimed: 5 rounds are too few", "can tell apart is unknown"],
        );
    }

    #[test]
    fn a_disturbed_machine_claims_nothing() {
        let plan = plan(Scenario::PingPong, 7);
        check(
            &section(&plan, &samples(&plan, 0.3)),
            &["100 % of the measurements were disturbed", "nothing is claimed: the machine was not quiet"],
        );
    }

    #[test]
    fn one_failed_round_takes_the_claim_and_is_told() {
        let plan = plan(Scenario::PingPong, 7);
        let mut samples = samples(&plan, 0.0);
        let failed = samples.iter_mut().find(|sample| sample.contestant == Contestant::Sluicegate).unwrap();
        failed.outcome = Outcome::Failed("a client's connection ended early".to_owned());
        check(
            &section(&plan, &samples),
            &["sluicegate failed in round 1: a client's", "nothing is claimed: sluicegate failed in 1 rounds"],
        );
    }

    #[test]
    fn an_absent_appliance_claims_nothing() {
        let plan = plan(Scenario::PingPong, 7);
        let mut samples = samples(&plan, 0.0);
        samples.retain(|sample| sample.contestant != Contestant::Sluicegate);
        check(&section(&plan, &samples), &["| sluicegate | not measured |", "claimed: sluicegate was not measured"]);
    }

    #[test]
    fn the_limit_is_the_proxy_only_when_it_uses_its_core() {
        assert_eq!(Limit::of(Scenario::Bulk, 0.95, 0.99), Limit::Proxy);
        assert_eq!(Limit::of(Scenario::Bulk, 0.89, 0.99), Limit::Load);
        assert_eq!(Limit::of(Scenario::Bulk, 0.89, 0.89), Limit::Neither);
        assert_eq!(Limit::of(Scenario::Latency, 0.30, 0.40), Limit::Waiting);
    }
}
