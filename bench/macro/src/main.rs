//! Sluicegate against its peers and against the floor, in one interleaved run.
//!
//! This file is the command line. What is asked of a proxy is in [`scenario`], who is asked in
//! [`contestant`], the traffic in [`load`], the least possible relay in [`floor`], the order in [`run`], and
//! what may be said of the outcome in [`statistics`] and [`summary`]. What a change costs is asked by [`scale`]. How to run it and how to read it:
//! `bench/README.md`.

#![forbid(unsafe_code)]

mod baseline;
mod configuration;
mod contestant;
mod cpu;
mod floor;
mod idle;
mod load;
mod machine;
mod process;
mod run;
mod scale;
mod scenario;
mod statistics;
mod summary;

use baseline::{Baseline, Raw};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use contestant::{Contestant, Programs};
use machine::Machine;
use run::{Outcome, Plan, Sample};
use scale::Who;
use scenario::{Figure, Protocol, Scenario};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Sluicegate against its peers, in one interleaved run.
#[derive(Parser)]
#[command(name = "macro")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// TCP proxying on one core: CPU per byte, per round trip and per connection.
    Tcp(Tcp),
    /// HTTP/1.1 proxying on one core: CPU per request, per connection with its request, and per byte of an answer.
    Http(Http),
    /// What a change costs when the configuration is large: 100,000 rules and backends, a list of a million.
    Scale(Scale),
    /// Memory of the process per idle tunnel: printed, kept by whoever wants to.
    Idle(Idle),
    /// The least a relay can do. Started by a run, never by hand.
    #[command(hide = true)]
    Floor(Floor),
    /// Becomes another program, pinned and ending with its parent. Started by a run, never by hand.
    #[command(hide = true)]
    Bound(Bound),
}

#[derive(Args)]
struct Tcp {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',', value_parser = one_of(Protocol::Tcp))]
    only: Vec<Scenario>,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct Http {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',', value_parser = one_of(Protocol::Http))]
    only: Vec<Scenario>,
    /// nginx; the one in PATH or /usr/sbin when left out.
    #[arg(long, value_name = "PROGRAM")]
    nginx: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct Scale {
    /// Only these programs.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Who>,
    /// Changes of each kind and size, at most.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    changes: u16,
    /// nginx; the one in PATH or /usr/sbin when left out.
    #[arg(long, value_name = "PROGRAM")]
    nginx: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// How scenarios are measured.
#[derive(Args)]
struct How {
    /// At least 6 for a claim; 7 give an interval of 98.4 %.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Length of one measurement.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Before each measurement, under the same load.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    #[command(flatten)]
    place: Place,
}

/// What all runs that are kept have in common.
#[derive(Args)]
struct Place {
    /// Where baselines are kept.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../baselines"))]
    out: PathBuf,
    /// Print the summary and keep nothing.
    #[arg(long, conflicts_with = "out")]
    no_record: bool,
    /// This machine's name among the baselines; derived when left out.
    #[arg(long, value_name = "NAME", value_parser = slug)]
    machine: Option<String>,
    #[arg(long, default_value_t = 0)]
    proxy_cpu: usize,
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// The appliance; the one built beside this program when left out.
    #[arg(long, value_name = "PROGRAM")]
    sluicegate: Option<PathBuf>,
    /// HAProxy; the one in PATH or /usr/sbin when left out.
    #[arg(long, value_name = "PROGRAM")]
    haproxy: Option<PathBuf>,
}

#[derive(Args)]
struct Idle {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
}

#[derive(Args)]
struct Floor {
    #[arg(long, value_enum)]
    carrier: floor::Carrier,
    #[arg(long)]
    cpu: usize,
    front: SocketAddr,
    origin: SocketAddr,
}

#[derive(Args)]
struct Bound {
    #[arg(long)]
    cpu: usize,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Tcp(Tcp { only, how }) => measure(Protocol::Tcp, only, None, how),
        Command::Http(Http { only, nginx, how }) => measure(Protocol::Http, only, nginx, how),
        Command::Scale(options) => measure_scale(options),
        Command::Idle(options) => idle(&options),
        Command::Floor(options) => serve_floor(options),
        Command::Bound(Bound { cpu, program, arguments }) => Err(process::become_program(cpu, &program, &arguments)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("macro: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(protocol: Protocol, only: Vec<Scenario>, nginx: Option<PathBuf>, options: How) -> io::Result<()> {
    let How { rounds, seconds, warm_up, place } = options;
    let layout = place.layout()?;
    let programs = Programs::beside(place.sluicegate, place.haproxy, nginx)?;
    let (here, absent): (Vec<_>, Vec<_>) =
        protocol.contestants().iter().copied().partition(|&contestant| programs.has(contestant));
    let plan = Plan {
        protocol,
        scenarios: if only.is_empty() { protocol.scenarios().to_vec() } else { only },
        contestants: here,
        rounds: rounds.into(),
        warm_up: Duration::from_secs_f64(warm_up),
        window: Duration::from_secs_f64(seconds),
        layout,
    };
    for contestant in absent {
        eprintln!("{} is not on this machine and is left out", contestant.label());
    }
    let machine = Machine::look(&programs, place.machine);
    let baseline = match place.no_record {
        true => None,
        false => Some(Baseline::reserve(&place.out, &machine, protocol.label())?),
    };
    cpu::pin_to(plan.layout.load_cpu)?;
    let samples = run::run(&plan, &programs, report);
    let summary = summary::summary(&machine, &plan, &samples);
    println!("{summary}");
    if let Some(baseline) = baseline {
        println!(
            "kept in {}",
            baseline.write(&Raw { machine: &machine, plan: &plan, samples: &samples }, &summary)?.display()
        );
    }
    Ok(())
}

fn measure_scale(options: Scale) -> io::Result<()> {
    let Scale { only, changes, nginx, place } = options;
    let layout = place.layout()?;
    let programs = Programs::beside(place.sluicegate, place.haproxy, nginx)?;
    let plan =
        scale::Plan { starts: 3, changes: changes.into(), reloads: 5, generations: 5000, rate_seconds: 5, layout };
    let machine = Machine::look(&programs, place.machine);
    let baseline = match place.no_record {
        true => None,
        false => Some(Baseline::reserve(&place.out, &machine, "scale")?),
    };
    cpu::pin_to(layout.load_cpu)?;
    let who = if only.is_empty() { Who::ALL.to_vec() } else { only };
    let parts = scale::run(&who, &plan, &programs);
    let summary = scale::summary(&machine, &plan, &parts);
    println!("{summary}");
    if let Some(baseline) = baseline {
        let raw = scale::Raw { machine: &machine, plan: &plan, parts: &parts };
        println!("kept in {}", baseline.write(&raw, &summary)?.display());
    }
    Ok(())
}

impl Place {
    fn layout(&self) -> io::Result<cpu::Layout> {
        match (self.proxy_cpu, self.load_cpu) {
            (proxy_cpu, load_cpu) if proxy_cpu != load_cpu => Ok(cpu::Layout { proxy_cpu, load_cpu }),
            _ => {
                Err(io::Error::other("the proxy and its load need a CPU each: --proxy-cpu and --load-cpu are the same"))
            }
        }
    }
}

fn idle(options: &Idle) -> io::Result<()> {
    let programs = Programs::beside(None, None, None)?;
    let wanted = [Contestant::Haproxy, Contestant::Sluicegate];
    let contestants: Vec<_> = wanted.into_iter().filter(|&contestant| programs.has(contestant)).collect();
    let layout = cpu::Layout { proxy_cpu: 0, load_cpu: 1 };
    println!("{}", idle::run(&contestants, &programs, layout, options.rounds.into()).map_err(io::Error::other)?);
    Ok(())
}

/// One line as soon as a measurement is over.
fn report(sample: &Sample) {
    let Sample { scenario, round, contestant, outcome } = sample;
    let heading = format!("{scenario:?} {} {}", round + 1, contestant.label());
    match outcome {
        Outcome::Measured(measured) => {
            let cost = measured.figure(*scenario, Figure::CpuPerUnit).unwrap_or(f64::NAN);
            let spent = &measured.spent;
            eprintln!(
                "{heading:28} {cost:8.3} {}  {:10.1} {}/s  proxy {:3.0} %  load {:3.0} %  foreign {:3.0} %",
                Figure::CpuPerUnit.title(*scenario),
                measured.rate(*scenario),
                scenario.unit(),
                spent.proxy_share() * 100.0,
                spent.load_share() * 100.0,
                spent.foreign * 100.0,
            );
        }
        Outcome::Failed(reason) => eprintln!("{heading:28} failed: {reason}"),
    }
}

fn serve_floor(options: Floor) -> io::Result<()> {
    process::bind_to_parent(options.cpu)?;
    floor::Relay::new(options.carrier, TcpListener::bind(options.front)?, options.origin)?.run()
}

/// A scenario of this protocol, by its name.
fn one_of(protocol: Protocol) -> impl TypedValueParser<Value = Scenario> {
    let possible = protocol.scenarios().iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(possible.collect::<Vec<_>>())
        .map(|name| Scenario::from_str(&name, false).expect("one of the possible values"))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.01 to 600 is accepted".to_owned()),
    }
}

fn slug(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match text {
        text if !text.is_empty() && text.len() <= 64 && text.chars().all(fits) => Ok(text.to_owned()),
        _ => Err("1 to 64 lower-case letters, digits and hyphens are accepted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn bound_passes_the_other_programs_arguments_on() {
        let cli = Cli::try_parse_from(["macro", "bound", "--cpu", "1", "--", "/bin/x", "-db", "-f", "y"]).unwrap();
        let Command::Bound(bound) = cli.command else { panic!("another command") };
        assert_eq!((bound.cpu, bound.arguments.as_slice()), (1, ["-db", "-f", "y"].map(String::from).as_slice()));
    }

    #[test]
    fn each_run_takes_its_own_scenarios_only() {
        let only = |run: &str, name: &str| Cli::try_parse_from(["macro", run, "--only", name]);
        let Ok(Cli { command: Command::Http(http) }) = only("http", "keep-alive,body-1m") else { panic!("refused") };
        assert_eq!(http.only, [Scenario::KeepAlive, Scenario::Body1m]);
        assert!(only("tcp", "ping-pong").is_ok());
        for (run, name) in [("http", "ping-pong"), ("tcp", "keep-alive"), ("http", "body16k")] {
            let error = only(run, name).err().unwrap_or_else(|| panic!("{run} takes {name}")).to_string();
            assert!(error.contains("possible values"), "{error}");
        }
    }

    #[test]
    fn machine_names_are_plain() {
        assert!(slug("kvm-2vcpu-xeon").is_ok());
        for refused in ["", "../x", "A", "a b"] {
            assert!(slug(refused).is_err(), "{refused:?}");
        }
    }
}
