//! What a change costs when the configuration is large: small and full of the same program, change by change in turn.
//!
//! Owns the order of the measurements and the record of them. What each program is told is in [`document`], what can be
//! asked of it in [`sluicegate`], [`haproxy`] and [`nginx`], and what may be said of it all in [`summary`].

mod ask;
mod document;
mod haproxy;
mod nginx;
mod quiet;
mod sluicegate;
mod standing;
mod summary;

use crate::contestant::Programs;
use crate::cpu::Layout;
use crate::machine::Machine;
use clap::ValueEnum;
pub use document::Size;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
pub use summary::summary;

/// A series that has lasted so long ends with what it has: some changes of some programs take seconds.
const SERIES_MAX: Duration = Duration::from_secs(20);

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Times that each program is started with each size.
    pub starts: usize,
    /// Changes of each kind and size, at most.
    pub changes: usize,
    /// Whole documents, and reloads of the others.
    pub reloads: usize,
    /// Generations between two looks at the memory.
    pub generations: u64,
    /// Of one measurement of the rate, in seconds, over all its slices.
    pub rate_seconds: u64,
    pub layout: Layout,
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Its journal on the disk of the temporary folder.
    Sluicegate,
    /// Its journal in memory: an answer waits for an `fsync` that writes nothing.
    SluicegateInMemory,
    Haproxy,
    Nginx,
}

impl Who {
    pub const ALL: [Who; 4] = [Who::Sluicegate, Who::SluicegateInMemory, Who::Haproxy, Who::Nginx];

    pub fn label(self) -> &'static str {
        match self {
            Who::Sluicegate => "sluicegate",
            Who::SluicegateInMemory => "sluicegate, journal on tmpfs",
            Who::Haproxy => "haproxy",
            Who::Nginx => "nginx",
        }
    }
}

/// What `raw.json` holds.
#[derive(Serialize)]
pub struct Raw<'a> {
    pub machine: &'a Machine,
    pub plan: &'a Plan,
    pub parts: &'a [Part],
}

/// Everything about one program.
#[derive(Debug, Serialize)]
pub struct Part {
    pub who: Who,
    /// Why it has no further figures.
    pub failure: Option<String>,
    /// Who else was at work meanwhile. Absent: the system does not say.
    pub others: Option<quiet::Others>,
    /// In the order of [`Size::ALL`].
    pub records: [Record; 2],
}

/// One program with one size.
#[derive(Debug, Serialize)]
pub struct Record {
    pub size: Size,
    pub starts: Vec<Start>,
    /// Resident after a start with the list of this size and one group.
    pub list_only_bytes: Option<u64>,
    /// By what was changed.
    pub changes: BTreeMap<&'static str, Changes>,
    pub loads: Vec<Load>,
    pub kept: Option<Kept>,
    pub rates: Vec<Rate>,
}

#[derive(Debug, Serialize)]
pub struct Start {
    /// From exec to the first answered request.
    pub micros: u64,
    /// Resident then, over all its processes; what they share is counted once.
    pub memory_bytes: u64,
    /// All files that it reads.
    pub configuration_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Changes {
    /// Of the whole change, as its client sees it.
    pub micros: Vec<u32>,
    /// As the receipts tell them, by stage; and `adopted` and `pause`, those of the shard.
    pub stage_micros: BTreeMap<&'static str, Vec<u64>>,
}

/// One whole document in which one backend differs.
#[derive(Debug, Serialize)]
pub struct Load {
    pub micros: u64,
    pub stage_micros: BTreeMap<&'static str, u64>,
    pub pause_micros: u64,
    /// Of a client that asked one request after the other meanwhile.
    pub gap: ask::Gap,
    /// The same for as long before it, while nothing was changed.
    pub gap_before: ask::Gap,
}

#[derive(Debug, Serialize)]
pub struct Kept {
    pub generations: u64,
    pub before_bytes: u64,
    pub after_bytes: u64,
    /// As `generations` tells them afterwards.
    pub listed: u64,
    pub retained_bytes: u64,
}

impl Kept {
    pub fn bytes_each(&self) -> f64 {
        (self.after_bytes as f64 - self.before_bytes as f64) / self.generations as f64
    }
}

#[derive(Debug, Serialize)]
pub struct Rate {
    pub generations: u64,
    pub micros: u64,
}

impl Record {
    fn of(size: Size) -> Record {
        let (starts, loads, rates) = (Vec::new(), Vec::new(), Vec::new());
        Record { size, starts, list_only_bytes: None, changes: BTreeMap::new(), loads, kept: None, rates }
    }

    fn note(&mut self, change: &'static str, took: Duration) {
        self.changes.entry(change).or_default().micros.push(took.as_micros() as u32);
    }
}

/// Measures each of `who`, one after the other.
pub fn run(who: &[Who], plan: &Plan, programs: &Programs) -> Vec<Part> {
    who.iter()
        .map(|&who| {
            eprintln!("{}", who.label());
            let mut records = Size::ALL.map(Record::of);
            let before = quiet::Witness::look();
            let outcome = match who {
                Who::Sluicegate => sluicegate::measure(sluicegate::Journal::OnDisk, plan, programs, &mut records),
                Who::SluicegateInMemory => {
                    sluicegate::measure(sluicegate::Journal::InMemory, plan, programs, &mut records)
                }
                Who::Haproxy => haproxy::measure(plan, programs, &mut records),
                Who::Nginx => nginx::measure(plan, programs, &mut records),
            };
            let failure = outcome.err();
            if let Some(failure) = &failure {
                eprintln!("{}: {failure}", who.label());
            }
            let others = before.and_then(|before| Ok(before.until(&quiet::Witness::look()?))).ok();
            Part { who, failure, others, records }
        })
        .collect()
}

/// Starts each size `starts` times, in turn, and keeps the last of each.
fn start_in_turns<P>(
    starts: usize,
    records: &mut [Record; 2],
    start: impl Fn(Size) -> Result<(P, Start), String>,
) -> Result<[P; 2], String> {
    let start = |record: &mut Record| {
        let (program, took) = start(record.size).map_err(|error| format!("{}: {error}", record.size.label()))?;
        eprintln!("  start {:5} {:8.3} s", record.size.label(), took.micros as f64 / 1e6);
        record.starts.push(took);
        Ok::<P, String>(program)
    };
    for _ in 1..starts {
        for record in records.iter_mut() {
            drop(start(record)?);
        }
    }
    let [small, full] = records;
    Ok([start(small)?, start(full)?])
}

/// One step of each size in turn, the other one first each time, until there were `times` or it lasts too long.
fn in_turns<P>(
    what: &str,
    times: usize,
    pair: &mut [P; 2],
    records: &mut [Record; 2],
    mut step: impl FnMut(&mut P, &mut Record) -> Result<(), String>,
) -> Result<(), String> {
    let began = Instant::now();
    for turn in 0..times {
        if began.elapsed() > SERIES_MAX {
            break;
        }
        for place in [turn % 2, (turn + 1) % 2] {
            let record = &mut records[place];
            step(&mut pair[place], record).map_err(|error| format!("{what}, {}: {error}", record.size.label()))?;
        }
    }
    eprintln!("  {what}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_turns_in_who_is_first() {
        let mut records = Size::ALL.map(Record::of);
        let mut order = Vec::new();
        in_turns("test", 3, &mut ["small", "full"], &mut records, |program, record| {
            order.push(*program);
            record.note("change", Duration::from_micros(7));
            Ok(())
        })
        .unwrap();
        assert_eq!(order, ["small", "full", "full", "small", "small", "full"]);
        assert!(records.iter().all(|record| record.changes["change"].micros == [7, 7, 7]));
    }

    #[test]
    fn a_failed_step_says_which_and_of_whom() {
        let mut records = Size::ALL.map(Record::of);
        let failed = |program: &mut u32, _: &mut Record| match program {
            1 => Ok(()),
            _ => Err("no".to_owned()),
        };
        let error = in_turns("reload", 3, &mut [1, 2], &mut records, failed).unwrap_err();
        assert_eq!(error, "reload, full: no");
    }

    #[test]
    fn the_last_start_of_each_size_is_kept() {
        let mut records = Size::ALL.map(Record::of);
        let count = std::cell::Cell::new(0);
        let start = |_: Size| {
            count.set(count.get() + 1);
            Ok((count.get(), Start { micros: 1, memory_bytes: 2, configuration_bytes: 3 }))
        };
        assert_eq!(start_in_turns(3, &mut records, start).unwrap(), [5, 6]);
        assert!(records.iter().all(|record| record.starts.len() == 3));
    }

    #[test]
    fn bytes_kept_may_be_less_than_none() {
        let kept = |before_bytes, after_bytes| {
            Kept { generations: 10, before_bytes, after_bytes, listed: 0, retained_bytes: 0 }.bytes_each()
        };
        assert_eq!((kept(1000, 3000), kept(3000, 1000)), (200.0, -200.0));
    }
}
