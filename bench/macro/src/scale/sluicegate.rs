//! Sluicegate: every change is an order over its socket, answered once all shards have it and the journal has written it.

use super::document::{self, BACKENDS, Edition, LIST, Size};
use super::standing::{self, Site};
use super::{Kept, Load, Plan, Rate, Record, Start, ask, in_turns, start_in_turns};
use crate::contestant::{self, Programs};
use crate::cpu::{self, Layout};
use crate::process::{self, Process};
use api::edit::{ListAdd, ListRemove, RuleSet};
use api::order::{Apply, BackendSet, Rollback};
use api::{Body, Client, Edit, End, JobOutcome, Order, Receipt, Reply, Request};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Orders sent and not answered, when the rate is measured.
const UNDER_WAY: usize = 64;
/// The sizes take turns in so many slices.
const RATE_SLICES: u64 = 5;
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// A file system without a disk.
const MEMORY: &str = "/dev/shm";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    OnDisk,
    InMemory,
}

pub fn measure(journal: Journal, plan: &Plan, programs: &Programs, records: &mut [Record; 2]) -> Result<(), String> {
    // What the journal's place cannot change much is measured with the disk's only.
    let (starts, loads) = match journal {
        Journal::OnDisk => (plan.starts, plan.reloads),
        Journal::InMemory => (1, 0),
    };
    if journal == Journal::OnDisk {
        for record in records.iter_mut() {
            let (_, start) = Sluicegate::start_of(record.size, 1, journal, plan.layout, programs)?;
            record.list_only_bytes = Some(start.memory_bytes);
        }
    }
    let mut pair = start_in_turns(starts, records, |size| Sluicegate::start(size, journal, plan.layout, programs))?;
    // Before the orders: a document would undo what they have changed.
    in_turns("whole document", loads, &mut pair, records, Sluicegate::load)?;
    in_turns("backend.set", plan.changes, &mut pair, records, |this, record| {
        let order = this.backend_set();
        this.order("backend.set", order, record).map(drop)
    })?;
    in_turns("rule.set", plan.changes, &mut pair, records, |this, record| {
        let order = this.rule_set();
        this.order("rule.set", order, record).map(drop)
    })?;
    in_turns("list", plan.changes, &mut pair, records, Sluicegate::list)?;
    in_turns("rollback", plan.changes / 3, &mut pair, records, Sluicegate::roll_back)?;
    in_turns("rollback over all", plan.starts, &mut pair, records, Sluicegate::roll_far_back)?;
    in_turns("generations kept", 1, &mut pair, records, |this, record| {
        record.kept = Some(this.keep(plan.generations)?);
        Ok(())
    })?;
    in_turns("rate", RATE_SLICES as usize, &mut pair, records, |this, record| {
        record.rates.push(this.rate(Duration::from_secs(plan.rate_seconds) / RATE_SLICES as u32)?);
        Ok(())
    })
}

/// One that runs.
struct Sluicegate {
    size: Size,
    client: Client,
    process: Process,
    /// Orders given, so that none repeats the one before.
    count: usize,
    weight: u32,
    layout: Layout,
    state: TempDir,
    site: Site,
}

impl Sluicegate {
    fn start(size: Size, journal: Journal, layout: Layout, programs: &Programs) -> Result<(Sluicegate, Start), String> {
        Sluicegate::start_of(size, size.groups(), journal, layout, programs)
    }

    /// With the list of its size, and so many groups with their hosts and rules.
    fn start_of(
        size: Size,
        groups: usize,
        journal: Journal,
        layout: Layout,
        programs: &Programs,
    ) -> Result<(Sluicegate, Start), String> {
        let site = Site::choose()?;
        let state = match journal {
            Journal::OnDisk => TempDir::new_in(site.path()),
            Journal::InMemory => TempDir::with_prefix_in("sluicegate-bench-", MEMORY),
        };
        let state = state.map_err(|error| format!("a folder for the journal: {error}"))?;
        let text = document::sluicegate(groups, Edition::FIRST, site.front, site.path(), state.path());
        let list = document::list(size, "");
        let bytes = site.write(&[("bench.toml", &text), (&format!("{LIST}.list"), &list)])?;
        let program = programs.sluicegate.as_deref().ok_or("sluicegate is not built beside this program")?;
        let mut command = process::bound_to_us(&programs.own, layout.proxy_cpu, program);
        command.arg("run").arg(site.path().join("bench.toml"));
        let (process, start) = site.start(&mut command, bytes)?;
        cpu::place_threads(process.pid(), |thread| contestant::sluicegate_cpu(thread, layout))
            .map_err(|error| error.to_string())?;
        let client = Client::connect(&socket(&site)).map_err(|error| error.to_string())?;
        // None that an order gives.
        let weight = 100;
        Ok((Sluicegate { size, client, process, count: 0, weight, layout, state, site }, start))
    }

    /// A backend of another group each time; a backend that comes again gets another weight.
    fn backend_set(&mut self) -> Order {
        let n = self.count;
        self.count += 1;
        Order::BackendSet(BackendSet {
            pool: "web".to_owned(),
            group: Some(format!("g{}", n % self.size.groups())),
            backend: format!("b{}", n / self.size.groups() % BACKENDS),
            weight: Some(2 + (n / (self.size.groups() * BACKENDS) % 90) as u32),
            ..BackendSet::default()
        })
    }

    /// A rule of another host each time leads to another group.
    fn rule_set(&mut self) -> Order {
        let n = self.count;
        self.count += 1;
        let rules = document::rules(self.size);
        let (rule, _, _, group) = document::rule(n * BACKENDS % rules + n * BACKENDS / rules % BACKENDS);
        let to = (group + 1 + n / rules % (self.size.groups() - 1)) % self.size.groups();
        let set = [("group".to_owned(), format!("g{to}").into())].into_iter().collect();
        Order::Edit(Edit::RuleSet(RuleSet { pool: "web".to_owned(), rule, set }))
    }

    /// Gives one order and notes its time and its receipt's.
    fn order(&mut self, name: &'static str, order: Order, record: &mut Record) -> Result<Duration, String> {
        let (took, receipt) = self.call(order)?;
        record.note(name, took);
        let stages = &mut record.changes.entry(name).or_default().stage_micros;
        for stage in &receipt.stages {
            stages.entry(stage.name.label()).or_default().push(stage.micros);
        }
        for shard in &receipt.shards {
            stages.entry("adopted").or_default().push(shard.adopted_micros);
            stages.entry("pause").or_default().push(shard.pause_micros);
        }
        Ok(took)
    }

    fn call(&mut self, order: Order) -> Result<(Duration, Receipt), String> {
        let began = Instant::now();
        let answer = self.client.call(order, |_| ()).map_err(|error| error.to_string())?;
        let took = began.elapsed();
        match answer.reply {
            Reply::Ok { result: Body::Receipt(receipt) } if receipt.outcome == JobOutcome::Applied => {
                match receipt.not_saved {
                    None => Ok((took, *receipt)),
                    Some(why) => Err(format!("not written down: {why}")),
                }
            }
            other => Err(format!("not applied: {}", shortened(&format!("{other:?}")))),
        }
    }

    /// An entry is added, must be refused, is removed, and must be let in.
    fn list(&mut self, record: &mut Record) -> Result<(), String> {
        let (list, entry) = (LIST.to_owned(), ask::LISTED.to_string());
        let add = ListAdd { list: list.clone(), entry: entry.clone(), ..ListAdd::default() };
        let began = Instant::now();
        self.order("list.add", Order::Edit(Edit::ListAdd(add)), record)?;
        self.expect(403)?;
        record.note("list.add until refused", began.elapsed());
        let remove = ListRemove { list, entry, missing_ok: false };
        self.order("list.remove", Order::Edit(Edit::ListRemove(remove)), record)?;
        self.expect(200)
    }

    /// One backend's weight changes, and is what it was.
    fn roll_back(&mut self, record: &mut Record) -> Result<(), String> {
        let order = self.backend_set();
        self.call(order)?;
        self.order("rollback", Order::Rollback(Rollback::default()), record).map(drop)
    }

    /// To the first generation, whatever has changed since, and to the last one again.
    fn roll_far_back(&mut self, record: &mut Record) -> Result<(), String> {
        let to = |generation| Order::Rollback(Rollback { to: Some(generation), if_generation: None });
        let (took, receipt) = self.call(to(1))?;
        record.note("rollback over all", took);
        let last = receipt.generation_before.ok_or("a rollback from nothing")?;
        self.call(to(last)).map(drop)
    }

    /// The next request of the one who may be in the list is answered so.
    fn expect(&self, status: u16) -> Result<(), String> {
        match ask::once(self.site.front, ask::LISTED) {
            Ok(answered) if answered.status == status => Ok(()),
            other => Err(format!("a request that must be answered {status}: {other:?}")),
        }
    }

    /// The whole document once more, in which one backend has another weight, while a client asks.
    fn load(&mut self, record: &mut Record) -> Result<(), String> {
        self.weight += 1;
        let edition = Edition { weight: self.weight, ..Edition::FIRST };
        let folder = self.site.path();
        let apply = Apply {
            document: document::sluicegate(self.size.groups(), edition, self.site.front, folder, self.state.path()),
            name: Some("bench.toml".to_owned()),
            base: Some(folder.display().to_string()),
            if_generation: None,
            dry_run: false,
            drift: None,
            partial: false,
        };
        let (front, cpu) = (self.site.front, self.layout.proxy_cpu);
        // On the shard's core, where the two take turns: on the other one it would wait for the parser.
        let (done, gap) = ask::meanwhile(front, cpu, || self.call(Order::Apply(apply)))?;
        let (took, receipt) = done?;
        let changes = receipt.plan.as_ref().map_or(0, |plan| plan.changes.len());
        if changes != 1 {
            return Err(format!("a document with one change came to {changes}"));
        }
        let ((), gap_before) = ask::meanwhile(front, cpu, || thread::sleep(took))?;
        record.loads.push(Load {
            micros: took.as_micros() as u64,
            stage_micros: receipt.stages.iter().map(|stage| (stage.name.label(), stage.micros)).collect(),
            pause_micros: receipt.shards.iter().map(|shard| shard.pause_micros).max().unwrap_or_default(),
            gap,
            gap_before,
        });
        Ok(())
    }

    /// What so many generations leave in memory. Receipts and events, of which a bounded number is kept, are at their
    /// bounds only after some thousand: so many changes go before, uncounted.
    fn keep(&mut self, generations: u64) -> Result<Kept, String> {
        let look = |this: &Sluicegate| standing::memory(this.process.pid()).map_err(|error| error.to_string());
        let mut ahead = 1000;
        self.pour(|| (0 != ahead).then(|| ahead -= 1).is_some())?;
        let before_bytes = look(self)?;
        let mut left = generations;
        let made = self.pour(|| (0 != left).then(|| left -= 1).is_some())?;
        let after_bytes = look(self)?;
        let answer = self.client.call(Order::Generations, |_| ()).map_err(|error| error.to_string())?;
        let Reply::Ok { result: Body::Generations(told) } = answer.reply else {
            return Err(format!("no generations: {}", shortened(&format!("{:?}", answer.reply))));
        };
        let listed = told.kept.len() as u64;
        Ok(Kept { generations: made, before_bytes, after_bytes, listed, retained_bytes: told.retained_bytes })
    }

    fn rate(&mut self, lasting: Duration) -> Result<Rate, String> {
        let began = Instant::now();
        let generations = self.pour(|| began.elapsed() < lasting)?;
        Ok(Rate { generations, micros: began.elapsed().as_micros() as u64 })
    }

    /// Orders, [`UNDER_WAY`] at a time, as long as `more`, and their answers. Returns how many were applied: all.
    fn pour(&mut self, mut more: impl FnMut() -> bool) -> Result<u64, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut stream = UnixStream::connect(socket(&self.site)).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        let mut answers = BufReader::with_capacity(64 << 10, stream.try_clone().map_err(told)?);
        let (mut under_way, mut applied) = (0, 0);
        let (mut orders, mut line) = (Vec::new(), Vec::new());
        loop {
            orders.clear();
            while under_way < UNDER_WAY && more() {
                let request = Request::new(self.count as u64, self.backend_set());
                orders.extend(api::framing::encode(&request, End::Newline));
                under_way += 1;
            }
            stream.write_all(&orders).map_err(told)?;
            if under_way == 0 {
                return Ok(applied);
            }
            line.clear();
            answers.read_until(b'\n', &mut line).map_err(told)?;
            match Pace::of(&line)? {
                Pace::OnTheWay => {}
                Pace::Applied => {
                    under_way -= 1;
                    applied += 1;
                }
            }
        }
    }
}

/// What one answer is to who only counts.
#[derive(PartialEq, Eq, Debug)]
enum Pace {
    OnTheWay,
    /// A generation of its own.
    Applied,
}

impl Pace {
    /// The words are looked for as they are written: to understand every receipt would cost the client more than the order.
    fn of(line: &[u8]) -> Result<Pace, String> {
        let has = |words: &str| memchr::memmem::find(line, words.as_bytes()).is_some();
        if has("\"status\":\"processing\"") {
            Ok(Pace::OnTheWay)
        } else if has("\"status\":\"ok\"") && has("\"outcome\":\"applied\"") && !has("\"within\":") {
            Ok(Pace::Applied)
        } else {
            Err(format!("not applied: {}", shortened(&String::from_utf8_lossy(line))))
        }
    }
}

fn socket(site: &Site) -> std::path::PathBuf {
    Path::join(site.path(), "control.sock")
}

fn shortened(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_if_it_is_a_generation_of_its_own() {
        let of = |text: &str| Pace::of(text.as_bytes());
        assert_eq!(of(r#"{"id":1,"status":"processing","progress":{"kind":"stage"}}"#), Ok(Pace::OnTheWay));
        assert_eq!(of(r#"{"id":1,"status":"ok","result":{"outcome":"applied"}}"#), Ok(Pace::Applied));
        for text in [
            r#"{"id":1,"status":"ok","result":{"outcome":"unchanged"}}"#,
            r#"{"id":1,"status":"ok","result":{"outcome":"applied","within":7}}"#,
            r#"{"id":1,"status":"error","error":{"code":"busy"}}"#,
            "",
        ] {
            assert!(of(text).unwrap_err().starts_with("not applied"), "{text}");
        }
    }
}
