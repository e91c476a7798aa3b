//! Answers as people read them: aligned, short, within 80 columns as far as names allow.
//!
//! Every function here makes text with colours in it; who prints takes them out where there is no
//! terminal. A page ends its lines; a one-line text ([`event()`], [`progress()`]) does not.

mod event;
mod explanation;
mod failure;
mod generations;
mod jobs;
mod page;
mod plan;
mod receipt;
mod status;
mod table;

pub use event::event;
pub use failure::failure;

use anstyle::{AnsiColor, Style};
use api::status::{Stopped, Version};
use api::{Body, Progress};

pub const HEAD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// How much of a receipt is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account {
    /// All of it: it was asked for.
    Full,
    /// What came of the change that was asked for.
    Outcome,
    /// Also that the connections waited for are gone.
    Drained,
}

/// A final answer.
pub fn body(body: &Body, account: Account) -> String {
    match body {
        Body::Status(status) => status::status(status),
        Body::Config(config) => config.document.clone(),
        Body::Checked(checked) => failure::checked(checked),
        Body::Plan(plan) => plan::plan(plan),
        Body::Drift(drift) => plan::drift(drift),
        Body::Folded(folded) => plan::folded(folded),
        Body::Receipt(receipt) => match account {
            Account::Full => receipt::receipt(receipt),
            Account::Outcome => receipt::outcome(receipt),
            Account::Drained => receipt::drained(receipt),
        },
        Body::Generations(generations) => generations::generations(generations),
        Body::History(history) => jobs::history(history),
        Body::Jobs(jobs) => jobs::jobs(jobs),
        Body::Metrics(metrics) => metrics.text.clone(),
        Body::Stopped(stopped) => stopped_text(stopped),
        Body::Version(version) => version_text(version),
        Body::Keys(keys) => keys.to_string(),
        Body::Explanation(explanation) => explanation::explanation(explanation),
    }
}

/// One line: what the order waits for.
pub fn progress(progress: &Progress) -> String {
    match progress {
        Progress::Waiting { job, behind } => {
            format!("job {job} waits for job {}", joined(behind))
        }
        Progress::Retained { job, pool, bytes } => format!(
            "job {job} waits: pool {pool} still holds {} of superseded parts (`sluicectl generations` says who uses them)",
            size(*bytes)
        ),
        Progress::Stage { job, stage } => format!("job {job}: {stage}"),
        Progress::Draining { connections, backends, .. } => {
            let names = backends.iter().map(|backend| format!("{}/{}", backend.pool, backend.backend));
            format!("{}: {} left", joined(names), connections_text(*connections))
        }
        Progress::Stopping { connections } => {
            format!("stopping: {} left", connections_text(*connections))
        }
        Progress::Event { event } => event::event(event),
    }
}

fn stopped_text(stopped: &Stopped) -> String {
    match stopped.closed_connections {
        0 => "stopped; every connection had ended by itself\n".to_owned(),
        closed => format!("stopped; {} had to be ended\n", connections_text(closed)),
    }
}

fn version_text(version: &Version) -> String {
    format!(
        "sluicectl  {} (protocol {})\nsluicegate {} (protocol {})\n",
        env!("CARGO_PKG_VERSION"),
        api::PROTOCOL,
        version.version,
        version.protocol
    )
}

/// `1 connection`, `2 connections`.
fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", grouped(count)),
    }
}

fn connections_text(count: u64) -> String {
    counted(count, "connection", "connections")
}

/// Digits in groups of three: `1,234,567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (ix, digit) in digits.chars().enumerate() {
        if ix > 0 && (digits.len() - ix).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `850 B`, `1.2 KiB`, `64.0 MiB`.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = units[0];
    for larger in &units[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// `2026-11-21T09:12:53.123456Z` to the second, as people write it. Anything else stays as it is.
fn moment(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..19)) {
        (Some(date), Some("T"), Some(clock)) => format!("{date} {clock}"),
        _ => time.to_owned(),
    }
}

fn joined(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1229), "1.2 KiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        assert_eq!(connections_text(1), "1 connection");
        assert_eq!(connections_text(2_000), "2,000 connections");
    }

    #[test]
    fn a_moment_that_is_none_stays_as_it_is() {
        assert_eq!(moment("2026-11-21T09:12:53.123456Z"), "2026-11-21 09:12:53");
        assert_eq!(moment("yesterday"), "yesterday");
        assert_eq!(moment("ärgerlich viel später"), "ärgerlich viel später");
    }
}
