//! The thread `sluice-compile`: everything of a job that may take long and is not a matter of time-outs.
//!
//! Diffs, compiles, binds, opens logs, asks the kernel about handshakes, and drops what nobody holds any more. Owns the slots of all identities, because compiling gives them out. Works at low
//! priority: on a small machine every core has a shard.

use crate::ask::{Ask, Role, What};
use crate::book::SlotSet;
use crate::drift;
use crate::kept::KeptGeneration;
use crate::log::{Format, Output, Sink, Target};
use crate::names::Name;
use crate::tell;
use crate::touched::{Counted, Touched};
use api::answer::Failure;
use api::{ErrorCode, Plan, Problem, Stage};
use config::{AccessFormat, AccessLog, Bind, Compiled, LogSink, RulePlaces, Running, RunningPool, Slots};
use link::listen::{BindAddress, ListenGroup, bind, pending_handshakes};
use policy::generation::Address;
use policy::reload::Part;
use policy::{GenerationId, JobId, ListenerSlot, PoolId, ShardSet};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted, per address and shard. The kernel's own bound is
/// `net.core.somaxconn`, 4,096 since Linux 5.4.
const BACKLOG: u32 = 4096;

/// File mode of a Unix socket that clients come in by. Who may reach it is decided by its folder, as for an
/// address of the loopback.
const SOCKET_MODE: u32 = 0o666;

/// Priority of the thread: everything else goes first.
const NICE: i32 = 10;

/// What control asks for. Done in order.
pub enum Work {
    /// Answered by [`Done::Built`].
    Build(Box<Build>),
    /// Answered by [`Done::Bound`].
    Bind {
        job: JobId,
        binds: Vec<Bind>,
        log: Option<AccessLog>,
    },
    /// The change is in force, so addresses that it left are named anew.
    Applied(Box<Compiled>),
    /// The change is not, and never will be.
    Discard(Box<Compiled>),
    /// Nobody can name these any more.
    Release(SlotSet),
    /// Answered by [`Done::Handshakes`].
    Handshakes(Vec<(ListenerSlot, Arc<ListenGroup>)>),
    /// The last references to these, and what they were made of.
    Free(Vec<(Part, Option<RunningPool>)>),
    Sockets(Vec<Arc<ListenGroup>>),
    /// Documents of the past, the last references to what only they have.
    Forget(Vec<KeptGeneration>),
    /// A test looks at what is given out, or holds everything up.
    #[cfg(test)]
    Look(Look),
}

#[cfg(test)]
pub type Look = Box<dyn FnOnce(&Slots) + Send>;

/// A job whose turn it is.
pub struct Build {
    pub job: JobId,
    /// What is wanted, in the order in which it came. Usually one ask, the job's own.
    pub steps: Vec<Step>,
    /// Pools that a document may touch: those that differed when it was submitted, and those that jobs
    /// before it were changing.
    pub claims: BTreeSet<PoolId>,
    pub running: Arc<Running>,
    /// What drift is measured from.
    pub base: Arc<config::Config>,
    /// Where the rules and tests of what runs stand.
    pub places: Arc<RulePlaces>,
}

/// One ask, and whose it is.
pub struct Step {
    pub job: JobId,
    pub ask: Ask,
}

/// What became of one step of several. Another is compiled with it, so it is not in force for that.
pub enum Fate {
    In { plan: Plan },
    Unchanged { plan: Plan },
    Refused { failure: Failure, plan: Option<Plan> },
}

/// What control gets back.
pub enum Done {
    Built {
        job: JobId,
        result: Built,
        /// By steps, if there was more than one.
        fates: Vec<Fate>,
    },
    Bound {
        job: JobId,
        result: Result<Bound, String>,
    },
    /// Addresses on which nothing is pending and nothing waits to be accepted.
    Handshakes {
        over: Vec<ListenerSlot>,
    },
}

/// What became of a build.
pub enum Built {
    Unchanged {
        plan: Plan,
    },
    Invalid {
        problems: Vec<Problem>,
        not_found: bool,
    },
    NeedsRestart {
        plan: Plan,
    },
    /// Tests of the document would fail.
    Untrue {
        plan: Plan,
        problems: Vec<Problem>,
        compiled: Box<Compiled>,
    },
    /// A table of the process is at its bound.
    TooMany {
        plan: Plan,
        message: String,
        compiled: Box<Compiled>,
    },
    Ready {
        plan: Plan,
        compiled: Box<Compiled>,
        times: BuildTimes,
    },
}

impl Built {
    /// Why nothing comes of it, the plan as far as there is one, and what was compiled all the same. `None`: it is not
    /// refused.
    pub fn refusal(self) -> Option<(Failure, Option<Plan>, Option<Box<Compiled>>)> {
        let failed = |code, message: String, stage| {
            let mut failure = Failure::new(code, message);
            failure.stage = Some(stage);
            failure
        };
        let first = |problems: &[Problem]| problems.first().map_or_else(String::new, |problem| problem.message.clone());
        match self {
            Built::Unchanged { .. } | Built::Ready { .. } => None,
            Built::Invalid { problems, not_found } => {
                let code = if not_found { ErrorCode::NotFound } else { ErrorCode::InvalidConfiguration };
                let failure = failed(code, first(&problems), Stage::Check);
                Some((Failure { problems, ..failure }, None, None))
            }
            Built::NeedsRestart { plan } => {
                let count = plan.restart_reasons.len();
                let message = match count {
                    1 => "1 change cannot be made live, so none was made".into(),
                    _ => format!("{count} changes cannot be made live, so none was made"),
                };
                let failure = failed(ErrorCode::RestartRequired, message, Stage::Plan);
                let restart_reasons = plan.restart_reasons.clone();
                Some((Failure { restart_reasons, ..failure }, Some(plan), None))
            }
            Built::Untrue { plan, problems, compiled } => {
                let failure = failed(ErrorCode::InvalidConfiguration, first(&problems), Stage::Compile);
                Some((Failure { problems, ..failure }, Some(plan), Some(compiled)))
            }
            Built::TooMany { plan, message, compiled } => {
                Some((failed(ErrorCode::Refused, message, Stage::Compile), Some(plan), Some(compiled)))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct BuildTimes {
    pub check: Duration,
    pub compile: Duration,
}

/// Sockets that listen behind their filters, and the log that is opened.
#[derive(Debug, Default)]
pub struct Bound {
    pub groups: Vec<(ListenerSlot, ListenGroup)>,
    pub log: Option<Output>,
}

/// Where work is handed in.
#[derive(Debug)]
pub struct Workshop {
    sender: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
}

impl Workshop {
    /// Unbounded, and bounded by what asks: a job has one piece of work at a time, a part is freed once.
    pub fn ask(&self, work: Work) {
        let asked = self.sender.send(work);
        assert!(asked.is_ok(), "the compiler thread is gone");
    }

    /// Waits until all that was asked for is done.
    pub fn end(self) {
        drop(self.sender);
        let _ = self.thread.join();
    }
}

/// What asks are made of.
#[derive(Clone, Copy)]
struct Ground<'a> {
    config: &'a config::Config,
    generation: Option<GenerationId>,
    claims: &'a BTreeSet<PoolId>,
    base: &'a config::Config,
}

/// A document that would run, and what is other than before.
struct Made {
    config: Arc<config::Config>,
    diff: config::Plan,
    plan: Plan,
}

impl Made {
    fn is_live(&self) -> bool {
        self.diff.unchanged || tell::live(&self.diff).is_ok()
    }

    fn needs_restart(self) -> Built {
        Built::NeedsRestart { plan: self.plan }
    }
}

/// What the thread owns and what it may look at.
pub struct Compiler {
    pub slots: Slots,
    pub shards: ShardSet,
    pub counted: Counted,
}

impl Compiler {
    /// Starts the thread.
    pub fn start(
        mut self,
        core: Option<core_affinity::CoreId>,
        done: impl Fn(Done) + Send + 'static,
    ) -> io::Result<Workshop> {
        let (sender, works) = mpsc::channel();
        let thread = std::thread::Builder::new().name(Name::Compile.to_string()).spawn(move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            // Without the right to be nice it works all the same.
            let _ = rustix::process::nice(NICE);
            for work in works {
                self.work(work, &done);
            }
        })?;
        Ok(Workshop { sender, thread })
    }

    fn work(&mut self, work: Work, done: &dyn Fn(Done)) {
        match work {
            Work::Build(build) => {
                let job = build.job;
                let (result, fates) = self.build(*build);
                done(Done::Built { job, result, fates });
            }
            Work::Bind { job, binds, log } => {
                let result = bind_all(&binds, log.as_ref());
                done(Done::Bound { job, result });
            }
            Work::Applied(compiled) => compiled.applied(&mut self.slots),
            Work::Discard(compiled) => drop(compiled),
            Work::Release(slots) => self.release(slots),
            Work::Handshakes(groups) => {
                let over = groups.into_iter().filter(|(_, group)| is_quiet(group)).map(|(slot, _)| slot);
                done(Done::Handshakes { over: over.collect() });
            }
            Work::Free(parts) => drop(parts),
            Work::Sockets(groups) => drop(groups),
            Work::Forget(generations) => drop(generations),
            #[cfg(test)]
            Work::Look(look) => look(&self.slots),
        }
    }

    fn release(&mut self, slots: SlotSet) {
        let SlotSet { pools, endpoints, listeners } = slots;
        for slot in pools {
            self.slots.release_pool(slot);
        }
        for slot in endpoints {
            self.slots.release_endpoint(slot);
        }
        for slot in listeners {
            self.slots.release_listener(slot);
        }
    }

    fn build(&mut self, build: Build) -> (Built, Vec<Fate>) {
        let Build { job, steps, claims, running, base, mut places } = build;
        let begin = Instant::now();
        let touched = self.counted.over(&running);
        let from = Ground { config: &running.config, generation: running.generation, claims: &claims, base: &base };
        if let [step] = &*steps {
            let made = match self.make(&from, &step.ask, &touched) {
                Ok(made) => made,
                Err(refused) => return (refused, Vec::new()),
            };
            if let What::Document { rule_places, .. } = &step.ask.what {
                places = Arc::clone(rule_places);
            }
            let check = begin.elapsed();
            return (self.compile(job, made, &running, &places, check), Vec::new());
        }
        let mut config = Arc::clone(&running.config);
        let mut fates = Vec::with_capacity(steps.len());
        for (ix, Step { job, ask }) in steps.iter().enumerate() {
            let before = fates.iter().position(|fate| matches!(fate, Fate::In { .. }));
            if let (Some(wanted), Some(before)) = (ask.if_generation, before) {
                let message =
                    format!("job {} goes before this one, which wants generation {wanted}", steps[before].job);
                let failure = Failure::new(ErrorCode::Conflict, message);
                fates.push(Fate::Refused { failure, plan: None });
                continue;
            }
            let made = self.make(&Ground { config: &config, ..from }, ask, &touched);
            let made = match made.and_then(|made| if made.is_live() { Ok(made) } else { Err(made.needs_restart()) }) {
                Ok(made) => made,
                Err(refused) => {
                    let (failure, plan, _) = refused.refusal().expect("nothing else is refused here");
                    fates.push(Fate::Refused { failure, plan });
                    continue;
                }
            };
            if made.diff.unchanged {
                fates.push(Fate::Unchanged { plan: made.plan });
                continue;
            }
            if let What::Document { rule_places, .. } = &ask.what {
                places = Arc::clone(rule_places);
                for fate in &mut fates[..ix] {
                    if let Fate::In { plan } = fate {
                        let message = format!("superseded by job {job}: a document came before this was in force");
                        let failure = Failure::new(ErrorCode::Superseded, message);
                        *fate = Fate::Refused { failure, plan: Some(plan.clone()) };
                    }
                }
            }
            config = made.config;
            fates.push(Fate::In { plan: made.plan });
        }
        let diff = config::diff_kin(&running.config, &config);
        let generation = running.generation.map(|generation| generation.0);
        let plan = tell::plan(&diff, generation, &[], &|pool, object| touched.of(pool, object));
        let check = begin.elapsed();
        (self.compile(job, Made { config, diff, plan }, &running, &places, check), fates)
    }

    /// What an ask makes of a document.
    fn make(&self, from: &Ground<'_>, ask: &Ask, touched: &Touched) -> Result<Made, Built> {
        let made = match &ask.what {
            What::Document { config, warnings, .. } => {
                from.config.taking(config, from.claims).map(|new| (new, warnings.clone()))
            }
            What::Edits(_) => {
                let edited = from.config.edit(ask.what.edits(), self.shards.len());
                edited.map(|edited| (edited.config, tell::problems(&edited.warnings)))
            }
            What::Invalid { problems, .. } => {
                return Err(Built::Invalid { problems: problems.clone(), not_found: false });
            }
            What::Together => unreachable!("its steps are what its riders want"),
        };
        let (new, warnings) = made.map_err(|problems| {
            let not_found = problems.errors().iter().all(|problem| problem.code == config::Code::NotFound);
            Built::Invalid { problems: tell::problems(&problems), not_found }
        })?;
        let config = Arc::new(new.at(crate::clock::seconds_now()));
        let diff = config::diff_kin(from.config, &config);
        let generation = from.generation.map(|generation| generation.0);
        let mut plan = tell::plan(&diff, generation, &warnings, &|pool, object| touched.of(pool, object));
        if let What::Document { role: Role::Whole, .. } = &ask.what {
            plan.undoes = drift::undone(&config::diff_kin(from.base, from.config), &plan.changes);
        }
        Ok(Made { config, diff, plan })
    }

    fn compile(&mut self, job: JobId, made: Made, running: &Running, places: &RulePlaces, check: Duration) -> Built {
        let Made { config, diff, plan } = made;
        if diff.unchanged {
            return Built::Unchanged { plan };
        }
        let Ok(live) = tell::live(&diff) else {
            return Built::NeedsRestart { plan };
        };
        let compiling = Instant::now();
        let compiled = config::compile(running, &config, live, job, self.shards, &mut self.slots);
        let compiled = Box::new(compiled);
        let failing = compiled.failing_tests(running, places);
        if !failing.is_empty() {
            return Built::Untrue { plan, problems: tell::problems(&failing), compiled };
        }
        if let Err(message) = self.make_room(&compiled) {
            return Built::TooMany { plan, message, compiled };
        }
        let times = BuildTimes { check, compile: compiling.elapsed() };
        Built::Ready { plan, compiled, times }
    }

    /// Rows for all that is new, so that no shard allocates for it.
    fn make_room(&self, compiled: &Compiled) -> Result<(), String> {
        let pools = compiled.change.pools.iter().map(|(slot, _)| *slot);
        let endpoints = compiled.change.endpoints_come.iter().map(|(_, slot)| *slot);
        self.counted.make_room(pools, endpoints)
    }
}

/// The first generation, compiled before there is a thread.
pub fn first(
    running: &Running,
    config: &Arc<config::Config>,
    job: JobId,
    shards: ShardSet,
    slots: &mut Slots,
) -> (Compiled, config::Plan) {
    let plan = config::diff(&running.config, config);
    let live = plan.live().expect("to add pools to none is always possible");
    let compiled = config::compile(running, config, live, job, shards, slots);
    (compiled, plan)
}

/// All or none: what was bound is closed again when another cannot be.
pub fn bind_all(binds: &[Bind], log: Option<&AccessLog>) -> Result<Bound, String> {
    let mut bound = Bound::default();
    for address in binds {
        let shards: Vec<u16> = address.shards.iter().map(|shard| shard.0).collect();
        let group = bind(&bind_address(&address.address), &shards, BACKLOG).map_err(|error| error.to_string())?;
        bound.groups.push((address.listener, group));
    }
    bound.log = log.map(open_log).transpose()?;
    Ok(bound)
}

/// How long the start tries again to listen where somebody listens. The sockets of a process that was
/// killed outlive it by some milliseconds, and no event tells of their end.
const BIND_PATIENCE: Duration = Duration::from_secs(1);

/// As [`bind_all`], at the start of the process.
pub fn bind_patiently(binds: &[Bind], log: Option<&AccessLog>) -> Result<Bound, String> {
    let began = Instant::now();
    loop {
        match bind_all(binds, log) {
            Err(_) if began.elapsed() < BIND_PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

fn bind_address(address: &Address) -> BindAddress {
    match address {
        Address::Ip(address) => BindAddress::Ip(*address),
        Address::Unix(path) => BindAddress::Unix { path: path.clone(), mode: SOCKET_MODE },
        Address::Name { .. } => unreachable!("nobody listens on a name: config refuses it"),
    }
}

/// Opens the access log as the document has it.
pub fn open_log(log: &AccessLog) -> Result<Output, String> {
    let format = match (log.format, &log.template) {
        (AccessFormat::Common, _) => Format::Common,
        (AccessFormat::Combined, _) => Format::Combined,
        (AccessFormat::Json, _) => Format::Json,
        (AccessFormat::Template, Some(template)) => Format::Template(template.clone()),
        (AccessFormat::Template, None) => unreachable!("config wants the template"),
    };
    let target = match (log.sink, &log.path) {
        (LogSink::Off, _) => return Ok(Output { format, sink: None }),
        (LogSink::Stdout, _) => Target::Stdout,
        (LogSink::Stderr, _) => Target::Stderr,
        (LogSink::File, Some(path)) => Target::File(path.clone()),
        (LogSink::File, None) => unreachable!("config wants a path for a file"),
    };
    let sink = Sink::open(&target).map_err(|error| format!("the access log {target} cannot be opened: {error}"))?;
    Ok(Output { format, sink: Some((target, sink)) })
}

/// Whether nobody is on the way in: no handshake under way and nothing in the accept queues. Where the
/// kernel does not say, the time-out of the watch decides.
fn is_quiet(group: &ListenGroup) -> bool {
    let none_pending = pending_handshakes(group.local_addr()).is_ok_and(|pending| pending == 0);
    let mut sockets = group.shards().filter_map(|shard| group.socket(shard));
    none_pending && sockets.all(|socket| socket.accept_queue_len().is_ok_and(|waiting| waiting == 0))
}
