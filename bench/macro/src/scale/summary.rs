//! From the records to tables, and to each promise with its figure.
//!
//! Reads the record only, and so can be made again from the raw figures at any time.

use super::{Changes, Load, Part, Plan, Record, Size, Start, Who};
use crate::machine::Machine;
use crate::statistics;
use crate::summary::{FOREIGN_MAX, STEAL_MAX};
use std::fmt::Write;

/// What is changed, the order in which it is told, and what it is with the others.
const CHANGES: [(&str, &str); 9] = [
    ("backend.set", "one backend's weight: `backend.set`; HAProxy: `set weight`"),
    ("rule.set", "one rule leads elsewhere: `rule.set`; HAProxy: `set map`"),
    ("list.add", "one entry more: `list.add`; HAProxy: `add acl`"),
    ("list.remove", "one entry less: `list.remove`; HAProxy: `del acl`"),
    ("list.add until refused", "the same, until a client that is now in the list has been refused"),
    ("rollback", "back to the generation before, one backend's weight"),
    ("rollback over all", "back to the first generation, over all that the other orders have changed"),
    ("reload", "reload, until a request sees the change; HAProxy: `-sf`, nginx: SIGHUP"),
    ("reload until the old process is gone", "the same, until the old process is gone"),
];
/// Those that are one order.
const ORDERS: [&str; 4] = ["backend.set", "rule.set", "list.add", "list.remove"];
/// As receipts name them; the last two are the shard's.
const STAGES: [&str; 7] = ["wait", "check", "plan", "compile", "prepare", "adopt", "adopted"];

/// The whole summary as Markdown.
pub fn summary(machine: &Machine, plan: &Plan, parts: &[Part]) -> String {
    let mut text = String::new();
    circumstances(&mut text, machine, plan);
    others(&mut text, parts);
    starts(&mut text, parts);
    changes(&mut text, parts);
    stages(&mut text, parts);
    loads(&mut text, parts);
    generations(&mut text, parts);
    failures(&mut text, parts);
    promises(&mut text, parts);
    text
}

fn circumstances(text: &mut String, machine: &Machine, plan: &Plan) {
    let _ = writeln!(text, "# What a change costs when the configuration is large, commit {}\n", machine.commit);
    for (name, version) in machine.versions.iter().filter(|(name, _)| *name != "floor") {
        let _ = writeln!(text, "- {name}: {version}");
    }
    let Machine { cpu, cpus, memory, kernel, clock, load_average, .. } = machine;
    let _ = writeln!(
        text,
        "- machine: {cpu}, {cpus} CPUs, {memory}, kernel {kernel}, clock {clock}, load average at the start {load_average}"
    );
    for size in Size::ALL {
        let _ = writeln!(text, "- {}: {}", size.label(), size.told());
    }
    let _ = writeln!(
        text,
        "- run: both sizes of one program stand at the same time and change in turn, the other one first each time; up to \
         {} changes of a kind, {} starts and {} whole documents or reloads of each size; nothing else asks, so shards are idle",
        plan.changes, plan.starts, plan.reloads
    );
    let _ = writeln!(
        text,
        "- places: each program starts on CPU {proxy}; HAProxy, nginx and the shard stay there, Sluicegate's other threads \
         move to CPU {load}, where the client is, once it serves",
        proxy = plan.layout.proxy_cpu,
        load = plan.layout.load_cpu
    );
    let _ = writeln!(
        text,
        "- Sluicegate writes a journal, with an `fsync` before each answer: in the temporary folder, or on tmpfs where it is \
         said; HAProxy's commands are written nowhere"
    );
}

/// Somebody else's work is in every figure, and most of all in the longest ones.
fn others(text: &mut String, parts: &[Part]) {
    for part in parts {
        let told = match part.others {
            Some(others) => format!("{:.2}; taken by the hypervisor: {:.2}", others.foreign, others.stolen),
            None => "unknown".to_owned(),
        };
        let _ = writeln!(text, "- cores used by other programs beside {}: {told}", part.who.label());
    }
}

fn starts(text: &mut String, parts: &[Part]) {
    let _ = writeln!(
        text,
        "\n## Start: exec to the first answered request, and the memory resident then\n\n\
         | | size | files, MB | s, median (least–most) | resident, MB |\n|---|---|---|---|---|"
    );
    for (who, record) in records(parts).filter(|(_, record)| !record.starts.is_empty()) {
        let seconds = of_starts(record, |start| start.micros as f64 / 1e6);
        let (least, most) = spread(&seconds);
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.3} ({least:.3}–{most:.3}) | {:.1} |",
            who.label(),
            record.size.label(),
            median(&of_starts(record, |start| start.configuration_bytes as f64 / 1e6)),
            median(&seconds),
            median(&of_starts(record, |start| start.memory_bytes as f64 / 1e6)),
        );
    }
    for part in parts {
        if let Some(bytes) = entry_bytes(part) {
            let _ = writeln!(
                text,
                "\nAn entry of the list takes {bytes:.0} bytes in {}: by what is resident with either list and one group.",
                part.who.label()
            );
        }
    }
}

/// Resident bytes of one list entry.
fn entry_bytes(part: &Part) -> Option<f64> {
    let [small, full] = &part.records;
    let more = full.list_only_bytes? as f64 - small.list_only_bytes? as f64;
    Some(more / (full.size.entries() - small.size.entries()) as f64)
}

fn changes(text: &mut String, parts: &[Part]) {
    let _ = writeln!(text, "\n## One change, as its client sees it, µs");
    for (change, title) in CHANGES {
        let rows: Vec<_> = parts.iter().filter_map(|part| Some((part, pair(part, change)?))).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "\n{title}\n\n| | small p50 | p99 | most | full p50 | p99 | most | full ÷ small, p50 | changes |\n\
             |---|---|---|---|---|---|---|---|---|"
        );
        for (part, [small, full]) in rows {
            let _ = write!(text, "| {} |", part.who.label());
            for changes in [small, full] {
                for share in [0.5, 0.99, 1.0] {
                    let _ = write!(text, " {} |", quantile(changes, share));
                }
            }
            let _ = writeln!(text, " {:.2} | {} + {} |", ratio([small, full]), small.micros.len(), full.micros.len());
        }
    }
}

fn stages(text: &mut String, parts: &[Part]) {
    let _ = writeln!(
        text,
        "\n## Where the time goes: stages of Sluicegate's receipts, medians, µs\n\n\
         What is left of the client's time is the socket, the queue and the journal. *adopted*: first Commit sent to the \
         shard's Adopted received; *pause*: the shard served nobody.\n\n\
         | | change | size | {} | pause, median | pause, most |\n|---|---|---|{}---|---|",
        STAGES.join(" | "),
        "---|".repeat(STAGES.len())
    );
    for part in parts {
        for change in ORDERS {
            for record in &part.records {
                let Some(Changes { stage_micros, .. }) = record.changes.get(change) else { continue };
                if stage_micros.is_empty() {
                    continue;
                }
                let _ = write!(text, "| {} | {change} | {} |", part.who.label(), record.size.label());
                for stage in STAGES {
                    let _ = write!(text, " {} |", stage_micros.get(stage).map_or_else(String::new, |all| whole(all)));
                }
                let pauses = stage_micros.get("pause").map(Vec::as_slice).unwrap_or_default();
                let _ = writeln!(text, " {} | {} |", whole(pauses), pauses.iter().max().unwrap_or(&0));
            }
        }
    }
}

fn loads(text: &mut String, parts: &[Part]) {
    let _ = writeln!(
        text,
        "\n## The whole document with one backend changed: `apply`\n\n\
         Medians. The gap is the longest between two answers to a client that asks one request after the other, on the \
         shard's core, of all documents; *before*: the same for as long while nothing changed.\n\n\
         | | size | s | check, s | plan, ms | compile, ms | longest pause, µs | longest gap, ms | before, ms | answers meanwhile |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    );
    for (who, record) in records(parts).filter(|(_, record)| !record.loads.is_empty()) {
        let of = |figure: fn(&Load) -> u64| record.loads.iter().map(figure).collect::<Vec<_>>();
        let most = |figure: fn(&Load) -> u64| of(figure).into_iter().max().unwrap_or_default() as f64;
        let stage = |name: &str| {
            let micros =
                record.loads.iter().map(|load| load.stage_micros.get(name).copied().unwrap_or_default() as f64);
            median(&micros.collect::<Vec<_>>())
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.3} | {:.2} | {:.2} | {} | {:.2} | {:.2} | {} |",
            who.label(),
            record.size.label(),
            median(&of(|load| load.micros).iter().map(|&micros| micros as f64 / 1e6).collect::<Vec<_>>()),
            stage("check") / 1e6,
            stage("plan") / 1e3,
            stage("compile") / 1e3,
            most(|load| load.pause_micros),
            most(|load| load.gap.micros) / 1e3,
            most(|load| load.gap_before.micros) / 1e3,
            of(|load| load.gap.answers).iter().sum::<u64>(),
        );
    }
}

fn generations(text: &mut String, parts: &[Part]) {
    let _ = writeln!(
        text,
        "\n## Generations: one `backend.set` each, 64 under way, every one acknowledged\n\n\
         | | size | generations/s, median (least–most) of slices | kept bytes per generation | over | resident before, MB | after | listed | retained, bytes |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for (who, record) in records(parts).filter(|(_, record)| !record.rates.is_empty()) {
        let rates = rates(record);
        let (least, most) = spread(&rates);
        let rate = format!("{:.0} ({least:.0}–{most:.0})", median(&rates));
        let _ = write!(text, "| {} | {} | {rate} |", who.label(), record.size.label());
        if let Some(kept) = &record.kept {
            let _ = write!(
                text,
                " {:.0} | {} | {:.1} | {:.1} | {} | {} |",
                kept.bytes_each(),
                kept.generations,
                kept.before_bytes as f64 / 1e6,
                kept.after_bytes as f64 / 1e6,
                kept.listed,
                kept.retained_bytes
            );
        }
        text.push('\n');
    }
}

fn failures(text: &mut String, parts: &[Part]) {
    for part in parts {
        if let Some(failure) = &part.failure {
            let _ = writeln!(text, "\n{} has no further figures: {failure}", part.who.label());
        }
    }
}

/// A bound that a figure must keep.
struct Promise {
    what: String,
    /// `None`: there is no figure.
    figure: Option<f64>,
    bound: Bound,
    unit: &'static str,
}

enum Bound {
    AtMost(f64),
    /// Of one size to the other: what is added to both draws it to 1.
    RatioAtMost(f64),
    AtLeast(f64),
}

impl Promise {
    /// `disturbed`: others were at work. They make what is measured worse, and ratios anything.
    fn write(&self, text: &mut String, disturbed: bool) {
        let (sign, bound, kept) = match self.bound {
            Bound::AtMost(bound) | Bound::RatioAtMost(bound) => ("≤", bound, self.figure.map(|figure| figure <= bound)),
            Bound::AtLeast(bound) => ("≥", bound, self.figure.map(|figure| figure >= bound)),
        };
        let verdict = match kept {
            Some(kept) if disturbed && (!kept || matches!(self.bound, Bound::RatioAtMost(_))) => {
                "unresolved: others were at work"
            }
            Some(true) => "reached",
            Some(false) => "missed",
            None => "not measured",
        };
        let figure = self.figure.map_or_else(String::new, |figure| digits(figure) + self.unit);
        let _ = writeln!(text, "| {} | {sign} {bound}{} | {figure} | {verdict} |", self.what, self.unit);
    }
}

/// Each from Sluicegate with its journal on disk.
fn promises(text: &mut String, parts: &[Part]) {
    let Some(part) = parts.iter().find(|part| part.who == Who::Sluicegate) else { return };
    let [_, full] = &part.records;
    let disturbed = part.others.is_none_or(|others| others.foreign > FOREIGN_MAX || others.stolen > STEAL_MAX);
    let _ = writeln!(text, "\n## What was promised\n\n| | bound | figure | |\n|---|---|---|---|");
    for change in ORDERS {
        let pair = pair(part, change);
        let millis = |share| pair.map(|[_, full]| f64::from(quantile(full, share)) / 1e3);
        let what = |figure: &str| format!("`{change}`, {figure}");
        let promises = [
            (what("full ÷ small, p50"), pair.map(ratio), Bound::RatioAtMost(2.0), ""),
            (what("full, p50"), millis(0.5), Bound::AtMost(1.0), " ms"),
            (what("full, p99"), millis(0.99), Bound::AtMost(1.0), " ms"),
        ];
        for (what, figure, bound, unit) in promises {
            Promise { what, figure, bound, unit }.write(text, disturbed);
        }
    }
    let pauses = full.changes.values().filter_map(|changes| changes.stage_micros.get("pause")).flatten();
    let pause = pauses.chain(full.loads.iter().map(|load| &load.pause_micros)).max();
    let start = |figure: fn(&Start) -> f64| (!full.starts.is_empty()).then(|| median(&of_starts(full, figure)));
    let rolled = ["rollback", "rollback over all"].into_iter().filter_map(|change| full.changes.get(change));
    let rolled = rolled.map(|all| f64::from(quantile(all, 1.0)) / 1e3).reduce(f64::max);
    let effective = full.changes.get("list.add until refused").map(|all| f64::from(quantile(all, 1.0)) / 1e3);
    let most = [
        (
            "kept per one-entry generation, full",
            full.kept.as_ref().map(|kept| kept.bytes_each() / 1024.0),
            16.0,
            " KiB",
        ),
        ("start, full", start(|start| start.micros as f64 / 1e6), 5.0, " s"),
        ("resident after the start, full", start(|start| start.memory_bytes as f64 / 1e6), 1000.0, " MB"),
        ("longest shard pause of all, full", pause.map(|&micros| micros as f64), 100.0, " µs"),
        ("list entry effective, the longest of all, full", effective, 100.0, " ms"),
        ("rollback, the longest of all, full", rolled, 100.0, " ms"),
    ];
    for (what, figure, bound, unit) in most {
        Promise { what: what.to_owned(), figure, bound: Bound::AtMost(bound), unit }.write(text, disturbed);
    }
    let figure = (!full.rates.is_empty()).then(|| median(&rates(full)));
    Promise { what: "generations acknowledged, full".to_owned(), figure, bound: Bound::AtLeast(1000.0), unit: " /s" }
        .write(text, disturbed);
}

fn records(parts: &[Part]) -> impl Iterator<Item = (Who, &Record)> {
    parts.iter().flat_map(|part| part.records.iter().map(move |record| (part.who, record)))
}

/// Small and full, where both were measured.
fn pair<'a>(part: &'a Part, change: &str) -> Option<[&'a Changes; 2]> {
    let [small, full] = &part.records;
    Some([small.changes.get(change)?, full.changes.get(change)?])
}

fn ratio([small, full]: [&Changes; 2]) -> f64 {
    f64::from(quantile(full, 0.5)) / f64::from(quantile(small, 0.5))
}

fn quantile(changes: &Changes, share: f64) -> u32 {
    statistics::quantile(&mut changes.micros.clone(), share).unwrap_or_default()
}

fn rates(record: &Record) -> Vec<f64> {
    record.rates.iter().map(|rate| rate.generations as f64 * 1e6 / rate.micros as f64).collect()
}

fn of_starts(record: &Record, figure: impl Fn(&Start) -> f64) -> Vec<f64> {
    record.starts.iter().map(figure).collect()
}

fn median(values: &[f64]) -> f64 {
    statistics::median(values).unwrap_or(f64::NAN)
}

fn whole(values: &[u64]) -> String {
    format!("{:.0}", median(&values.iter().map(|&value| value as f64).collect::<Vec<_>>()))
}

fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(least, most), &value| (least.min(value), most.max(value)))
}

/// Three digits, or all before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::quiet::Others;
    use super::super::{Kept, Rate};
    use super::*;
    use std::time::Duration;

    /// Both sizes measured: an order of 300 and of 600 µs, pauses of 4 and of `pause`.
    fn part(pause: u64, foreign: f64) -> Part {
        let records = [(Size::Small, 300, 4), (Size::Full, 600, pause)].map(|(size, micros, pause)| {
            let mut record = Record::of(size);
            record.starts.push(Start { micros: 4_000_000, memory_bytes: 600_000_000, configuration_bytes: 14_000_000 });
            for change in ORDERS {
                record.note(change, Duration::from_micros(micros));
                record.changes.entry(change).or_default().stage_micros.insert("pause", vec![1, pause]);
            }
            record.note("list.add until refused", Duration::from_millis(7));
            record.kept =
                Some(Kept { generations: 2, before_bytes: 0, after_bytes: 4096, listed: 3, retained_bytes: 9 });
            record.rates.push(Rate { generations: 999, micros: 1_000_000 });
            record
        });
        let others = Some(Others { foreign, stolen: 0.0 });
        Part { who: Who::Sluicegate, failure: None, others, records }
    }

    fn check(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
    }

    #[test]
    fn each_promise_has_its_figure_and_whether_it_is_kept() {
        let mut text = String::new();
        promises(&mut text, &[part(101, 0.0)]);
        check(&text, "| `rule.set`, full ÷ small, p50 | ≤ 2 | 2.00 | reached |");
        check(&text, "| `rule.set`, full, p99 | ≤ 1 ms | 0.600 ms | reached |");
        check(&text, "| kept per one-entry generation, full | ≤ 16 KiB | 2.00 KiB | reached |");
        check(&text, "| longest shard pause of all, full | ≤ 100 µs | 101 µs | missed |");
        check(&text, "| list entry effective, the longest of all, full | ≤ 100 ms | 7.00 ms | reached |");
        check(&text, "| generations acknowledged, full | ≥ 1000 /s | 999 /s | missed |");
    }

    #[test]
    fn beside_others_nothing_is_called_missed() {
        let mut text = String::new();
        promises(&mut text, &[part(101, 0.2)]);
        check(&text, "| longest shard pause of all, full | ≤ 100 µs | 101 µs | unresolved: others were at work |");
        check(&text, "| `rule.set`, full, p99 | ≤ 1 ms | 0.600 ms | reached |");
        check(&text, "| `rule.set`, full ÷ small, p50 | ≤ 2 | 2.00 | unresolved: others were at work |");
        assert!(!text.contains("missed"), "{text}");
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let nothing = Part {
            who: Who::Sluicegate,
            failure: Some("x".to_owned()),
            others: None,
            records: Size::ALL.map(Record::of),
        };
        let mut text = String::new();
        promises(&mut text, &[nothing]);
        check(&text, "| start, full | ≤ 5 s |  | not measured |");
        check(&text, "| `list.add`, full, p50 | ≤ 1 ms |  | not measured |");
        assert!(!text.contains("reached"), "{text}");
    }

    #[test]
    fn changes_are_told_side_by_side_with_their_ratio() {
        let mut text = String::new();
        changes(&mut text, &[part(5, 0.0)]);
        check(&text, "| sluicegate | 300 | 300 | 300 | 600 | 600 | 600 | 2.00 | 1 + 1 |");
        assert!(!text.contains("SIGHUP"), "nobody was reloaded:\n{text}");
    }
}
