//! Somebody who knows what everybody wanted, hears what everybody is told, and sees what runs.
//!
//! Owns the promises of the control side: each submitter has one answer and it is true, what runs is what the orders that
//! were called applied make one after the other, and what was answered outlives the process.

use super::model::{Ask, Model, State};
use super::{Trouble, same};
use agent::sim::{Machine, Ticket};
use api::answer::Failure;
use api::{ErrorCode, JobOutcome, Receipt};
use config::Config;
use policy::PoolId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One submission under way.
pub struct Record {
    pub ask: Ask,
    pub if_generation: Option<u64>,
    /// In words.
    told: String,
    pub ticket: Ticket,
    pub job: Option<u64>,
    /// The state in which it was submitted, and the one that is as it was told in the end.
    since: usize,
    settled: Option<usize>,
}

pub struct Witness {
    pub model: Model,
    pub records: Vec<Record>,
    /// Generations of this process, and of those before as far as somebody was told that they are in force.
    numbers: BTreeSet<u64>,
    /// The highest of those that were told.
    told: u64,
    /// Up to this state all outlives the process.
    promised: usize,
    /// The jobs that have ended last, in words.
    pub ends: Vec<String>,
    pub counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Witness {
    pub fn new(shards: usize) -> Witness {
        Witness {
            model: Model::new(shards),
            records: Vec::new(),
            numbers: BTreeSet::new(),
            told: 0,
            promised: 0,
            ends: Vec::new(),
            counts: Default::default(),
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Numbers of generations that somebody may have heard of, oldest first.
    pub fn heard_of(&self) -> Vec<u64> {
        self.model.generations.keys().copied().collect()
    }

    /// A process has begun with this. `expected`: one of the states that it may begin with.
    pub fn begins(&mut self, machine: &Machine, expected: &[State]) {
        let runs = machine.runs();
        let found = expected.iter().any(|state| same(&state.config, &runs.config) && same(&state.base, &runs.base));
        assert!(found, "it begins with something else than one of {} states: {}", expected.len(), shown(&runs.config));
        let last = self.told;
        assert!(runs.generation > last, "generation {} begins, and {last} was told before", runs.generation);
        self.numbers.retain(|number| *number <= last);
        self.numbers.insert(runs.generation);
        // Both are taken anew, from their text: nothing is shared.
        self.model.begin(runs.generation, again(&self.model, &runs.config), again(&self.model, &runs.base));
        self.promised = 0;
        self.records.clear();
        self.check_kept(machine);
    }

    /// States that the next process may begin with after a crash: all that was promised is in them.
    pub fn survivable(&self) -> Vec<State> {
        self.model.states[self.promised..].iter().filter(|state| state.is_whole).cloned().collect()
    }

    pub fn submitted(&mut self, ask: Ask, if_generation: Option<u64>, told: String, ticket: Ticket) {
        self.records.push(Record { ask, if_generation, told, ticket, job: None, since: 0, settled: None });
    }

    /// The oldest submission that was not a job yet is this one.
    pub fn is_job(&mut self, job: u64) -> String {
        let since = self.model.states.len() - 1;
        let record = self.records.iter_mut().find(|record| record.job.is_none()).expect("it was handed in");
        (record.job, record.since) = (Some(job), since);
        record.told.clone()
    }

    /// Looks at everything that may have changed.
    pub fn look(&mut self, machine: &Machine, trouble: &Trouble) {
        self.look_at_ends(machine, trouble);
        let (now, runs) = (self.model.now(), machine.runs());
        assert_eq!(now.generation, runs.generation, "the generation that runs");
        assert!(
            same(&now.config, &runs.config),
            "what runs is not what was ordered:\n{}",
            differs(&now.config, &runs.config)
        );
        assert!(same(&now.base, &runs.base), "drift is measured from:\n{}", differs(&now.base, &runs.base));
        self.look_at_answers(trouble);
    }

    fn look_at_ends(&mut self, machine: &Machine, trouble: &Trouble) {
        let mut ends: Vec<(usize, Arc<Receipt>)> = Vec::new();
        for (ix, record) in self.records.iter().enumerate() {
            let Some(job) = record.job.filter(|_| record.settled.is_none()) else { continue };
            if let Some(receipt) = machine.receipt(job) {
                ends.push((ix, receipt));
            }
        }
        if !ends.is_empty() {
            let told = |(ix, receipt): &(usize, Arc<Receipt>)| {
                let error = receipt.error.as_ref().map(|error| (error.code, error.message.as_str()));
                let (job, within, after) = (receipt.job, receipt.within, receipt.generation_after);
                let record = &self.records[*ix];
                format!(
                    "job {job} {} {within:?} {after:?} since {}: {} {error:?}",
                    receipt.outcome, record.since, record.told
                )
            };
            self.ends = ends.iter().map(told).collect();
        }
        let applied = |receipt: &Receipt| receipt.outcome == JobOutcome::Applied;
        let mut generations: Vec<u64> = ends
            .iter()
            .filter(|(_, receipt)| applied(receipt))
            .filter_map(|(_, receipt)| receipt.generation_after)
            .collect();
        generations.sort_unstable();
        generations.dedup();
        let are_new = !generations.is_empty();
        for generation in generations {
            // A burst and those of it that changed nothing are one row.
            let carriers: BTreeSet<Option<u64>> = ends
                .iter()
                .filter(|(_, receipt)| applied(receipt) && receipt.generation_after == Some(generation))
                .map(|(_, receipt)| receipt.within)
                .collect();
            let is_in = |receipt: &Receipt| match receipt.outcome {
                JobOutcome::Applied => receipt.generation_after == Some(generation),
                JobOutcome::Unchanged => receipt.within.is_some() && carriers.contains(&receipt.within),
                JobOutcome::KeptOld => false,
            };
            let (mut row, rest): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(_, receipt)| is_in(receipt));
            ends = rest;
            row.sort_by_key(|(_, receipt)| receipt.job);
            self.generation(machine, generation, &row);
        }
        if are_new {
            self.check_kept(machine);
        }
        for (ix, receipt) in ends {
            match receipt.outcome {
                JobOutcome::Unchanged => self.unchanged(ix, &receipt),
                _ => {
                    self.failed(machine, ix, &receipt, trouble);
                    self.records[ix].settled = Some(self.model.states.len() - 1);
                }
            }
        }
    }

    /// A generation has come into force: it is what these make of what was before, one after the other.
    fn generation(&mut self, machine: &Machine, generation: u64, row: &[(usize, Arc<Receipt>)]) {
        let before = self.model.now().clone();
        assert!(generation > before.generation, "generation {generation} comes after {}", before.generation);
        assert!(self.numbers.insert(generation), "generation {generation} is the second of its number");
        let kept = machine.kept();
        let actual = kept.iter().find(|(number, _)| *number == generation).map(|(_, config)| Arc::clone(config));
        let actual = actual.unwrap_or_else(|| machine.runs().config);
        let mut state = before.clone();
        let mut is_first = true;
        for (ix, receipt) in row {
            let record = &self.records[*ix];
            let made = self.model.make(&state, &record.ask, receipt.job, Some(&actual));
            let made = made.unwrap_or_else(|refusal| {
                panic!("job {} is called {}, and cannot be made: {refusal}", receipt.job, receipt.outcome)
            });
            match receipt.outcome {
                JobOutcome::Applied => {
                    // A document may have changed only what it has superseded.
                    let may_be_as_before = receipt.within.is_some() && !matches!(record.ask, Ask::Edits(_));
                    let changes = !same(&made.config, &state.config);
                    assert!(changes || may_be_as_before, "job {} is called applied, and changes nothing", receipt.job);
                    if let Some(wanted) = record.if_generation {
                        assert!(is_first, "job {} wanted generation {wanted}, and others go before it", receipt.job);
                        self.is_of_its_generation(wanted, &before, &made, receipt.job);
                    }
                    is_first = false;
                }
                _ => assert!(same(&made.config, &state.config), "job {} is called unchanged", receipt.job),
            }
            self.model.changes(&state.config, &made.config, receipt.job);
            state = made;
            self.model.push(state.clone());
        }
        let end = State { generation, is_whole: true, ..state };
        assert!(
            same(&end.config, &actual),
            "generation {generation} is not what was ordered:\n{}",
            differs(&end.config, &actual)
        );
        self.model.push(end);
        let at = self.model.states.len() - 1;
        row.iter().for_each(|(ix, _)| self.records[*ix].settled = Some(at));
        self.count(if row.len() > 1 { "bursts" } else { "generations" });
    }

    /// When its turn had come, the generation ran that it wanted: since then others may have changed only what it leaves alone.
    fn is_of_its_generation(&self, wanted: u64, before: &State, made: &State, job: u64) {
        let found = self.model.states.iter().rfind(|state| state.is_whole && state.generation == wanted);
        let found = found.unwrap_or_else(|| panic!("job {job} wanted generation {wanted}, which never ran"));
        let (others, own) = (touched(&found.config, &before.config), touched(&before.config, &made.config));
        assert!(others.is_disjoint(&own), "job {job} wanted generation {wanted}, and {others:?} had changed since");
    }

    /// It changed nothing of what ran at some time between its coming and its end.
    fn unchanged(&mut self, ix: usize, receipt: &Receipt) {
        let record = &self.records[ix];
        let is_so = |state: &&State| {
            let made = self.model.make(state, &record.ask, receipt.job, None);
            made.is_ok_and(|made| same(&made.config, &state.config))
        };
        let at = self.model.states[record.since..].iter().position(|state| is_so(&state));
        let Some(at) = at else { panic!("job {} is called unchanged, and what it wants is not there", receipt.job) };
        let mut promised = record.since + at;
        if let Ask::Document { config, .. } = &record.ask {
            let now = self.model.now().clone();
            if !same(&now.base, config) {
                self.model.push(State { base: Arc::clone(config), ..now });
                promised = self.model.states.len() - 1;
            }
        }
        self.records[ix].settled = Some(promised);
        self.count("unchanged");
    }

    /// It is not in force, and there is a reason.
    fn failed(&mut self, machine: &Machine, ix: usize, receipt: &Receipt, trouble: &Trouble) {
        let record = &self.records[ix];
        let failure = receipt.error.as_ref().expect("why it failed");
        let states = &self.model.states[record.since..];
        let is_elsewhere = |wanted: u64| {
            let others = states.iter().any(|state| state.generation != wanted);
            others || receipt.within.is_some()
        };
        let cannot_be_made =
            || states.iter().any(|state| self.model.make(state, &record.ask, receipt.job, None).is_err());
        let is_true = match failure.code {
            ErrorCode::Conflict => {
                let is_late = record.if_generation.is_some_and(is_elsewhere);
                is_late || cannot_be_made() || receipt.within.is_some()
            }
            ErrorCode::NotFound | ErrorCode::RestartRequired => cannot_be_made() || receipt.within.is_some(),
            ErrorCode::InvalidConfiguration => {
                let fails = failure.problems.iter().any(|problem| problem.code == "test_failed");
                fails || cannot_be_made() || receipt.within.is_some()
            }
            ErrorCode::Superseded => self.is_superseded(machine, receipt, failure),
            // No shard serves where all were slow.
            ErrorCode::Refused => trouble.refused || trouble.was_slow,
            ErrorCode::TimedOut => trouble.was_slow,
            ErrorCode::Stopping => trouble.stops,
            _ => false,
        };
        assert!(is_true, "job {} was refused without a reason: {failure:?}", receipt.job);
        self.count(failure.code.label());
    }

    /// By a document of the same burst that is in force, or by all that came with it, which comes to nothing.
    fn is_superseded(&self, machine: &Machine, receipt: &Receipt, failure: &Failure) -> bool {
        let carrier = receipt.within.and_then(|carrier| machine.receipt(carrier));
        if carrier.is_some_and(|carrier| carrier.outcome == JobOutcome::Unchanged) {
            return true;
        }
        let by = failure.message.split("job ").nth(1).and_then(|rest| rest.split(':').next()?.parse().ok());
        let by: Option<Arc<Receipt>> = by.and_then(|by| machine.receipt(by));
        by.is_some_and(|by| {
            let came_later = by.within == receipt.within && by.job > receipt.job;
            came_later && by.error.as_ref().is_none_or(|failure| self.is_superseded(machine, &by, failure))
        })
    }

    fn look_at_answers(&mut self, trouble: &Trouble) {
        let mut answered = Vec::new();
        for (ix, record) in self.records.iter().enumerate() {
            assert!(!record.ticket.is_forsaken(), "nobody can answer job {:?} any more", record.job);
            if let Some(told) = record.ticket.told() {
                answered.push((ix, told));
            }
        }
        for (ix, told) in answered.into_iter().rev() {
            let record = self.records.remove(ix);
            let settled = record.settled.expect("whoever is answered has an account");
            let (job, receipt) = match &told {
                Ok(receipt) => (receipt.job, Some(receipt)),
                Err(failure) => (failure.job.expect("a failure of a job"), None),
            };
            assert_eq!(Some(job), record.job, "the answer is another job's");
            let Some(receipt) = receipt else { continue };
            match &receipt.not_saved {
                Some(_) => assert!(trouble.disk_failed, "job {job} is not saved, and the disk is well"),
                None => {
                    self.promised = self.promised.max(settled);
                    self.told = self.told.max(receipt.generation_after.unwrap_or(0));
                }
            }
        }
    }

    /// What can be gone back to is what ran.
    fn check_kept(&self, machine: &Machine) {
        let kept = machine.kept();
        assert_eq!(kept.first().map(|(number, _)| *number), Some(machine.runs().generation));
        for (number, config) in kept {
            let ran = self.model.generations.get(&number);
            let ran = ran.unwrap_or_else(|| panic!("generation {number} is kept, and nobody has seen it run"));
            assert!(same(ran, &config), "generation {number} is kept as something else:\n{}", differs(ran, &config));
        }
    }
}

/// The same content, without anything of the other.
fn again(model: &Model, config: &Config) -> Arc<Config> {
    let again = model.parse(&config.to_whole_toml()).expect("what runs reads as itself");
    assert!(same(&again, config), "what runs reads as something else:\n{}", differs(&again, config));
    again
}

/// Pools that differ, and the name of none if anything else does.
fn touched(one: &Config, other: &Config) -> BTreeSet<String> {
    let pools = |config: &Config| config.pools.keys().map(ToString::to_string).collect::<BTreeSet<String>>();
    let hash = |config: &Config, name: &str| config.pools.get(&PoolId::new(name)).map(|pool| pool.hash());
    let all = pools(one).into_iter().chain(pools(other));
    let mut touched: BTreeSet<String> = all.filter(|name| hash(one, name) != hash(other, name)).collect();
    if one.reload != other.reload || one.tests != other.tests {
        touched.insert(String::new());
    }
    touched
}

fn shown(config: &Config) -> String {
    config.to_toml()
}

/// What the one has and the other has not.
fn differs(expected: &Config, found: &Config) -> String {
    let plan = config::diff(expected, found);
    let lines: Vec<String> = plan.changes.iter().map(|change| format!("{change:?}")).collect();
    lines.join("\n")
}
