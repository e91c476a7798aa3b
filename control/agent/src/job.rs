//! One attempt to change the configuration, as control follows it, and the account it leaves.
//!
//! Owns a job's own facts: who asked, what is wanted, the stages gone through, what each shard said. Who
//! goes first and what the shards are told is [`policy::reload::Rollout`]'s business.

use crate::ask::{Ask, Wish};
use crate::build::Fate;
use crate::clock::{self, Stopwatch};
use crate::control::submit::SETTINGS;
use crate::log::Output;
use crate::planted::{Mistake, is};
use api::answer::{Failure, Progress};
use api::plan::Plan;
use api::receipt::{ConnectionCounts, Job as JobLine, JobOutcome, Memory, ShardAdoption, Source, StageTime};
use api::{ErrorCode, Receipt, Stage};
use config::Compiled;
use policy::reload::Adoption;
use policy::{EndpointSlot, GenerationId, JobId, PoolId, ShardId, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// What a submitter sees of its job: the newest only, so that a slow one holds nothing up.
#[derive(Clone, Default, Debug)]
pub struct View {
    pub progress: Option<Progress>,
    pub ended: Option<Ended>,
}

#[derive(Clone, Debug)]
pub enum Ended {
    /// Applied or unchanged. The endpoints whose last connections the submitter wants to wait for.
    Done {
        receipt: Arc<Receipt>,
        drains: Vec<EndpointSlot>,
    },
    Failed(Arc<Failure>),
}

/// A job that has not ended.
pub struct Job {
    pub id: JobId,
    pub ask: Ask,
    pub stage: Stage,
    /// Pools that it claims, by name: they may have no slot yet.
    pub claims: BTreeSet<PoolId>,
    pub deadline: Tick,
    pub state: State,
    /// Why the job is being withdrawn, if that is our doing.
    pub verdict: Option<Verdict>,
    /// The access log as the job wants it, opened.
    pub log: Option<Output>,
    pub plan: Option<Plan>,
    pub generation_before: Option<GenerationId>,
    /// Kept so that the receipt can say what the job did to it.
    memory_before: u64,
    submitted: SystemTime,
    times: BTreeMap<Stage, Duration>,
    since: Stopwatch,
    /// When the first Commit was sent.
    committed: Option<Stopwatch>,
    adoptions: BTreeMap<ShardId, ShardAdoption>,
    voice: watch::Sender<View>,
    /// Jobs that become one generation with this one, which nobody asked for itself.
    pub riders: Vec<Job>,
    /// The job that takes it along.
    pub within: Option<JobId>,
}

/// Why a job ends that reached no shard.
pub enum Verdict {
    Unchanged,
    Failed(Box<Failure>),
    /// What its riders want cannot be one generation: each goes alone.
    Apart(Box<Failure>),
}

/// How far control itself is with it.
pub enum State {
    /// In line, or about to be.
    Waiting,
    /// `reload.wait_before` is running.
    Pausing { until: Tick },
    /// The compiler thread has it.
    Building,
    /// Compiled; something must come first.
    Holding { compiled: Box<Compiled>, for_what: Hold },
    /// The compiler thread binds its addresses and opens its log.
    Binding { compiled: Box<Compiled> },
    /// With the shards.
    Out { compiled: Box<Compiled> },
}

/// What a compiled job waits for before its change goes out.
#[derive(Debug)]
pub struct Hold {
    /// Old sockets of the addresses that it brings back.
    pub sockets: BTreeSet<policy::ListenerSlot>,
    /// New backends whose names have not been resolved for the first time.
    pub names: BTreeSet<EndpointSlot>,
    /// Names are not waited for beyond this.
    pub names_until: Tick,
}

impl Job {
    pub fn new(id: JobId, wish: Wish, deadline: Tick, generation: Option<GenerationId>) -> Job {
        let Wish { ask, voice, submitted, check } = wish;
        let mut times = BTreeMap::new();
        if check > Duration::ZERO {
            times.insert(Stage::Check, check);
        }
        Job {
            id,
            ask,
            stage: Stage::Wait,
            claims: BTreeSet::new(),
            deadline,
            state: State::Waiting,
            verdict: None,
            log: None,
            plan: None,
            generation_before: generation,
            memory_before: resident_bytes(),
            submitted,
            times,
            since: clock::stopwatch(),
            committed: None,
            adoptions: BTreeMap::new(),
            voice,
            riders: Vec::new(),
            within: None,
        }
    }

    /// The next stage begins. `false`: it is that stage already.
    pub fn enter(&mut self, stage: Stage) -> bool {
        if self.stage == stage {
            return false;
        }
        self.spent(self.stage, self.since.elapsed());
        self.since = clock::stopwatch();
        self.stage = stage;
        self.say(Progress::Stage { job: self.id.0, stage });
        true
    }

    /// Part of a stage's time was that of others.
    pub fn apportion(&mut self, from: Stage, times: &[(Stage, Duration)]) {
        for (stage, time) in times {
            self.spent(*stage, *time);
            let rest = self.times.entry(from).or_default();
            *rest = rest.saturating_sub(*time);
        }
    }

    fn spent(&mut self, stage: Stage, time: Duration) {
        *self.times.entry(stage).or_default() += time;
    }

    pub fn say(&self, progress: Progress) {
        self.voice.send_modify(|view| view.progress = Some(progress));
    }

    /// Commit is on its way.
    pub fn commits(&mut self) {
        self.committed = Some(clock::stopwatch());
    }

    pub fn adopted(&mut self, shard: ShardId, adoption: Adoption) -> ShardAdoption {
        let told = ShardAdoption {
            shard: shard.0,
            adopted_micros: self.committed.map_or(0, |at| clock::micros(at.elapsed()).max(1)),
            pause_micros: clock::micros(adoption.pause),
            carried: adoption.carried.into(),
            adopted: adoption.adopted.into(),
            retired: adoption.retired.into(),
        };
        self.adoptions.insert(shard, told);
        told
    }

    /// One line of `jobs`.
    pub fn line(&self, now: Tick, behind: Vec<u64>) -> JobLine {
        JobLine {
            job: self.id.0,
            stage: self.stage,
            author: self.ask.author.clone(),
            source: self.ask.source,
            order: self.ask.order.map(Into::into),
            submitted: clock::rfc3339(self.submitted),
            deadline: clock::rfc3339(clock::wall() + self.deadline.since(now)),
            pools: self.claims.iter().map(ToString::to_string).filter(|claim| claim != SETTINGS).collect(),
            behind,
        }
    }

    /// The whole account, as it stands at the job's end.
    pub fn receipt(
        &mut self,
        outcome: JobOutcome,
        after: Option<GenerationId>,
        lost: impl Iterator<Item = ShardId>,
        error: Option<Failure>,
    ) -> Receipt {
        self.spent(self.stage, self.since.elapsed());
        self.since = clock::stopwatch();
        // A wait of nothing is no stage.
        let stages = self.times.iter().filter(|(stage, time)| **stage != Stage::Wait || **time >= WAITED);
        let mut connections = ConnectionCounts::default();
        for shard in self.adoptions.values() {
            connections.carried += shard.carried;
            connections.adopted += shard.adopted;
            connections.retired += shard.retired;
        }
        Receipt {
            job: self.id.0,
            outcome,
            generation_before: self.generation_before.map(|generation| generation.0),
            generation_after: after.map(|generation| generation.0),
            author: self.ask.author.clone(),
            source: self.ask.source,
            order: self.ask.order.map(Into::into),
            submitted: clock::rfc3339(self.submitted),
            ended: clock::date(),
            released: None,
            plan: self.plan.take(),
            stages: stages.map(|(stage, time)| StageTime { name: *stage, micros: clock::micros(*time) }).collect(),
            shards: self.adoptions.values().copied().collect(),
            connections,
            memory: Some(Memory { before_bytes: self.memory_before, after_bytes: resident_bytes() }),
            lost_shards: lost.map(|shard| shard.0).collect(),
            within: self.within.map(|job| job.0),
            not_saved: None,
            error,
        }
    }

    /// What is to become of those that it takes along.
    pub fn meet(&mut self, fates: Vec<Fate>) {
        for (rider, fate) in self.riders.iter_mut().zip(fates) {
            let (verdict, plan) = match fate {
                Fate::In { plan } => (None, Some(plan)),
                Fate::Refused { failure, plan } if is_called_applied(&failure) => (None, plan),
                Fate::Unchanged { plan } => (Some(Verdict::Unchanged), Some(plan)),
                Fate::Refused { failure, plan } => (Some(Verdict::Failed(Box::new(failure))), plan),
            };
            (rider.verdict, rider.plan) = (verdict, plan);
        }
    }

    /// The submitter's last word.
    pub fn end(self, ended: Ended) {
        self.voice.send_modify(|view| view.ended = Some(ended));
    }

    /// A compiled change of which the rollout does not know yet.
    pub fn held(&self) -> Option<&Compiled> {
        match &self.state {
            State::Holding { compiled, .. } | State::Binding { compiled } => Some(compiled),
            State::Waiting | State::Pausing { .. } | State::Building | State::Out { .. } => None,
        }
    }

    /// The compiled change, wherever the job is with it.
    pub fn take_compiled(&mut self) -> Option<Box<Compiled>> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Holding { compiled, .. } | State::Binding { compiled } | State::Out { compiled } => Some(compiled),
            State::Waiting | State::Pausing { .. } | State::Building => None,
        }
    }

    /// RFC 3339.
    pub fn submitted(&self) -> String {
        clock::rfc3339(self.submitted)
    }

    pub fn source(&self) -> Source {
        self.ask.source
    }
}

/// By mistake.
fn is_called_applied(failure: &Failure) -> bool {
    match failure.code {
        ErrorCode::Superseded => is(Mistake::SupersededRiderIsApplied),
        _ => is(Mistake::RefusedRiderIsApplied),
    }
}

/// Below this a job went straight on.
const WAITED: Duration = Duration::from_micros(500);

/// Resident memory of the process: the second figure of proc_pid_statm(5), in pages. A simulation is no process of its own.
fn resident_bytes() -> u64 {
    if clock::is_simulated() {
        return 0;
    }
    let pages =
        std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> (Job, watch::Receiver<View>) {
        let (voice, view) = watch::channel(View::default());
        let ask = Ask {
            author: None,
            source: Source::Socket,
            order: Some("apply"),
            if_generation: None,
            what: crate::ask::What::Edits(crate::ask::Edits::default()),
        };
        let wish = Wish { ask, voice, submitted: SystemTime::now(), check: Duration::from_millis(1) };
        (Job::new(JobId(7), wish, Tick(1000), Some(GenerationId(6))), view)
    }

    #[test]
    fn stages_are_told_once_and_accounted_in_order() {
        let (mut job, view) = job();
        for (stage, first) in [(Stage::Plan, true), (Stage::Plan, false), (Stage::Compile, true), (Stage::Adopt, true)]
        {
            assert_eq!(job.enter(stage), first);
        }
        assert_eq!(view.borrow().progress, Some(Progress::Stage { job: 7, stage: Stage::Adopt }));
        let receipt = job.receipt(JobOutcome::Applied, Some(GenerationId(7)), std::iter::empty(), None);
        let stages: Vec<Stage> = receipt.stages.iter().map(|stage| stage.name).collect();
        assert_eq!(stages, [Stage::Check, Stage::Plan, Stage::Compile, Stage::Adopt]);
        assert_eq!(receipt.stages[0].micros, 1000);
        assert_eq!((receipt.generation_before, receipt.generation_after), (Some(6), Some(7)));
        assert!(receipt.memory.unwrap().before_bytes > 0);
    }

    #[test]
    fn adoptions_are_summed() {
        let (mut job, _view) = job();
        job.commits();
        for shard in 0..2 {
            let adoption = Adoption { pause: Duration::from_micros(5), carried: 10, adopted: 2, retired: 1 };
            assert!(job.adopted(ShardId(shard), adoption).adopted_micros > 0);
        }
        let receipt = job.receipt(JobOutcome::Applied, None, [ShardId(2)].into_iter(), None);
        assert_eq!(receipt.connections.carried, 20);
        assert_eq!((receipt.shards.len(), receipt.lost_shards), (2, vec![2]));
    }
}
