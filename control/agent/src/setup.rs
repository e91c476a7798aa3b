//! How the binary starts the control side: a document is loaded, shards are made by it, control takes over.
//!
//! ```text
//! load ──▶ Loaded: how many shards, how large ──▶ (the binary starts shards) ──▶ start ──▶ Agent
//! ```
//!
//! Everything that can fail fails in [`start`], before a shard has been told anything.

use crate::ask::{Ask, Broken, Text, What, Wish};
use crate::book::Book;
use crate::clock::{self, Clock};
use crate::compile::{self, Compiler, Workshop};
use crate::control::{Control, Event, Parts, bounds};
use crate::drift::Overlay;
use crate::durable::{self, Base, Durable, Found, MadeBy, Resumed};
use crate::event_log::EventLog;
use crate::events::Events;
use crate::history::Store;
use crate::job::{Job, View};
use crate::keeper::{self, Inlets, Outcome};
use crate::kept::{Kept, KeptGeneration};
use crate::log::Log;
use crate::names::Name;
use crate::planted::{Mistake, is};
use crate::probe::{Prober, Watch};
use crate::publish::{Published, Shared};
use crate::resolve::NameSource;
use crate::seat::{Addressed, Seat, Signed};
use crate::self_check::SelfCheck;
use crate::session::{Socket, SocketTaken};
use crate::touched::Counted;
use api::Happening;
use api::order::StopMode;
use api::receipt::{JobOutcome, Source};
use api::status::ConfigSource;
use config::{Colour, Compiled, Config, Problems, RulePlaces, Running, Shards, Slots};
use core_affinity::CoreId;
use link::counters::CounterPages;
use link::listen::Registry;
use link::log::LogReader;
use link::mailbox::{Mailbox, Postbox};
use policy::generation::{Address, EndpointState};
use policy::record::Record;
use policy::reload::Rollout;
use policy::{GenerationId, JobId, ShardId, ShardSet, Tick};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};

/// A document that is in order, before anything runs.
#[derive(Debug)]
pub struct Loaded {
    text: Text,
    config: Arc<Config>,
    warnings: Problems,
    rule_places: RulePlaces,
    shards_auto: usize,
    /// What it was before, if there is a place where that is written down.
    resumed: Option<Box<Resumed>>,
    /// What the text says: drift is measured from it.
    base: Option<Base>,
    /// Where what runs is from.
    source: ConfigSource,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum LoadError {
    Unreadable(String),
    Invalid(Problems),
}

impl LoadError {
    /// All of it, for a terminal or a log.
    pub fn draw(&self, colour: Colour) -> String {
        match self {
            LoadError::Unreadable(message) => message.clone(),
            LoadError::Invalid(problems) => problems.draw(colour),
        }
    }
}

/// Reads and validates a document. `shards_auto`: what `shards = "auto"` stands for.
pub fn load(text: Text, shards_auto: usize) -> Result<Loaded, LoadError> {
    let parsed =
        text.parse(shards_auto, Broken::Refused).map_err(LoadError::Unreadable)?.map_err(LoadError::Invalid)?;
    let config::Parsed { config, warnings, files: _, rule_places, left_out: _ } = parsed;
    let source = text.origin();
    Ok(Loaded { text, config: Arc::new(config), warnings, rule_places, shards_auto, resumed: None, base: None, source })
}

impl Loaded {
    /// Goes on where the process before ended, if there is a place where that is written down. Answers with what the
    /// operator should be told.
    ///
    /// After an end in order the document counts, with what orders had changed of it; after a crash what ran last counts,
    /// whatever has become of the document since.
    pub fn resume(&mut self) -> Result<Vec<String>, StartError> {
        self.resume_within(durable::BOUNDS)
    }

    /// As [`Loaded::resume`], with other bounds of the journal.
    pub(crate) fn resume_within(&mut self, bounds: journal::Bounds) -> Result<Vec<String>, StartError> {
        let Some(folder) = self.config.appliance.state_dir.clone() else { return Ok(Vec::new()) };
        let resumed = durable::open(&folder, bounds, self.shards_auto, self.config.reload.keep_receipts as usize);
        let mut resumed = resumed.map_err(|error| StartError::State { folder, error })?;
        let mut told = std::mem::take(&mut resumed.complaints);
        if let Some(found) = &resumed.found {
            self.take_up(found, &mut told);
        }
        self.resumed = Some(Box::new(resumed));
        Ok(told)
    }

    fn take_up(&mut self, found: &Found, told: &mut Vec<String>) {
        let document = self.text.origin();
        let is_other = matches!(&found.base.source, ConfigSource::File(_)) && found.base.source != document;
        if is_other {
            told.push(format!(
                "what ran last was made from {}; {document} is a document of its own",
                found.base.source
            ));
            return;
        }
        let is_same = found.base.config.hash() == self.config.hash();
        let drifted = found.running.hash() != found.base.config.hash();
        if found.stopped && !is_same {
            let (base, generation) = (&found.base.source, found.generation);
            let back = format!("generation {generation} has that, and `rollback` goes back to it");
            if *base != document {
                told.push(format!("{document} counts, without what ran last, which was made from {base}; {back}"));
            } else if drifted {
                told.push(format!(
                    "{document} has changed since it was given, so it counts without what orders had changed; {back}"
                ));
            }
            return;
        }
        if !found.stopped && !is_same {
            told.push(format!(
                "the appliance did not end in order: it goes on with generation {}, which ran last. {document} says \
                 something else now, and `reload` brings it in",
                found.generation
            ));
        }
        if drifted && is_same {
            told.push(format!("orders have changed what {document} says; `drift` tells how"));
        }
        self.base = Some(found.base.clone());
        self.config = Arc::clone(&found.running);
        self.source = found.source.clone();
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Warnings only.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// Shards to start.
    pub fn shards(&self) -> usize {
        match self.config.appliance.shards {
            Shards::Auto => self.shards_auto.clamp(1, ShardSet::MAX),
            Shards::Count(count) => count as usize,
        }
    }
}

/// What control is given of one shard.
#[derive(Debug)]
pub struct ShardPort {
    pub orders: Postbox<Addressed>,
    /// Of at most [`crate::log::RING_RECORDS`] records.
    pub log: LogReader<Record>,
}

/// Everything control is given at start.
pub struct Setup {
    pub loaded: Loaded,
    pub control_socket: PathBuf,
    /// By shard.
    pub shards: Vec<ShardPort>,
    pub pages: Vec<Arc<CounterPages>>,
    pub reports: Mailbox<Signed>,
    pub registry: Arc<Registry>,
    /// Zero of the process's clock.
    pub epoch: Instant,
    /// Cores for control's threads, in turn. Empty: they run where the kernel likes.
    pub cores: Vec<usize>,
    /// Of the appliance.
    pub version: &'static str,
    pub names: NameSource,
}

/// Why control could not be started.
#[derive(Debug)]
pub enum StartError {
    Socket(SocketTaken),
    /// A listen address or the access log.
    Open(String),
    State {
        folder: PathBuf,
        error: String,
    },
    /// A table is too small for the document.
    Bounds(String),
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Socket(taken) => taken.fmt(f),
            StartError::Open(message) | StartError::Bounds(message) => f.write_str(message),
            StartError::State { folder, error } => {
                write!(f, "the folder for what outlives the process {} cannot be used: {error}", folder.display())
            }
            StartError::Thread(error) => write!(f, "a control thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The running control side.
#[derive(Debug)]
pub struct Agent {
    handle: Handle,
    ready: watch::Receiver<bool>,
    thread: JoinHandle<Outcome>,
}

/// For signal handlers and keepers of shards.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: mpsc::UnboundedSender<Event>,
    reloads: Arc<watch::Sender<u64>>,
}

impl Agent {
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether every shard serves within this time.
    pub fn wait_ready(&mut self, within: Duration) -> bool {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
            return false;
        };
        let ready = &mut self.ready;
        let served =
            runtime.block_on(async { tokio::time::timeout(within, ready.wait_for(|ready| *ready)).await.is_ok() });
        served && *self.ready.borrow()
    }

    /// Waits for the end.
    pub fn wait(self) -> Outcome {
        let Agent { handle, thread, .. } = self;
        // As long as this end is held nobody believes that no order can come.
        let outcome = thread.join();
        drop(handle);
        outcome.unwrap_or_else(|_| Outcome::Broken { cause: "its keeper panicked".into() })
    }
}

impl Handle {
    /// As on SIGHUP: reads the own document and applies it, and opens log files again.
    pub fn reload(&self) {
        let _ = self.inbox.send(Event::Reopen);
        self.reloads.send_modify(|demands| *demands += 1);
    }

    /// As on SIGTERM. `within`: when connections that are still open are ended; `None`: `appliance.stop_grace`.
    /// Asked again, the newer word counts.
    pub fn stop(&self, mode: StopMode, within: Option<Duration>) {
        let _ = self.inbox.send(Event::Stop { mode, within });
    }

    #[cfg(test)]
    pub(crate) fn send(&self, event: Event) {
        let _ = self.inbox.send(event);
    }

    /// The shard's thread has ended, and nobody starts it again.
    pub fn shard_gone(&self, shard: ShardId) {
        let _ = self.inbox.send(Event::ShardGone(shard));
    }
}

/// Binds, compiles, and starts the threads of control.
pub fn start(setup: Setup) -> Result<Agent, StartError> {
    let Setup { loaded, control_socket, shards, pages, reports, registry, epoch, cores, version, names } = setup;
    let core = |ix: usize| cores.get(ix % cores.len().max(1)).map(|core| CoreId { id: *core });
    let submitted = clock::wall();
    let clock = Clock::since(epoch);
    let config = Arc::clone(&loaded.config);
    let socket = Socket::open(&control_socket, config.appliance.control_mode).map_err(StartError::Socket)?;
    let counted = Counted { pages: pages.into(), clock };

    let all = ShardSet::first(shards.len());
    let mut first = First::compile(&loaded, all);
    first.make_room(&counted)?;
    let compiled = &first.compiled;
    let bound = compile::bind_patiently(&compiled.bind, Some(&config.access_log)).map_err(StartError::Open)?;
    for (listener, group) in bound.groups {
        registry.insert(listener.0, group);
    }

    let (inbox, events) = mpsc::unbounded_channel();
    let output = bound.log.expect("it was asked for");
    let forgotten = inbox.clone();
    let log = Log::start(output, core(1), move |slots| drop(forgotten.send(Event::Forgotten(slots))));
    let log = log.map_err(StartError::Thread)?;
    let mut seats = Vec::new();
    for port in shards {
        log.read(port.log);
        seats.push(Seat::new(port.orders));
    }
    let prober = Prober::start(names, clock, core(2)).map_err(StartError::Thread)?;
    let states = watch_all(&prober, &first.compiled);
    let done = inbox.clone();
    let compiler = Compiler { slots: first.take_slots(), shards: all, counted: counted.clone() };
    let works = compiler.start(core(3), move |answer| drop(done.send(Event::Done(Box::new(answer)))));
    let works = works.map_err(StartError::Thread)?;

    let prober = Arc::new(prober);
    let hands = Hands {
        log,
        prober: Arc::clone(&prober),
        works,
        seats,
        registry,
        counted,
        clock,
        inbox: inbox.clone(),
        version,
        states,
        submitted,
    };
    let saved = inbox.clone();
    let on_disk = move |resumed, base, running: &durable::Adopted| {
        Durable::start(resumed, base, running, move |told| drop(saved.send(Event::Saved(told))))
    };
    let control = first.control(loaded, hands, on_disk, |shared| SelfCheck::start(shared, all, core(3)));
    let control = control.map_err(StartError::Thread)?;
    let (ready_now, ready) = watch::channel(false);
    let (reloads, demands) = watch::channel(0);
    let inlets = Inlets { events, reports, prober, reloads: demands };
    let core = core(0);
    let thread = std::thread::Builder::new().name(Name::Control.to_string()).spawn(move || {
        if let Some(core) = core {
            core_affinity::set_for_current(core);
        }
        keeper::run(control, inlets, socket, ready_now)
    });
    let handle = Handle { inbox, reloads: Arc::new(reloads) };
    Ok(Agent { handle, ready, thread: thread.map_err(StartError::Thread)? })
}

/// Whoever does what control asks for, and what it looks at.
pub(crate) struct Hands {
    pub log: Log,
    pub prober: Arc<Prober>,
    pub works: Workshop,
    pub seats: Vec<Seat>,
    pub registry: Arc<Registry>,
    pub counted: Counted,
    pub clock: Clock,
    pub inbox: mpsc::UnboundedSender<Event>,
    pub version: &'static str,
    /// What is known of backends already.
    pub states: Vec<EndpointState>,
    pub submitted: SystemTime,
}

/// What runs first, compiled.
pub(crate) struct First {
    job: JobId,
    before: Running,
    pub compiled: Compiled,
    plan: config::Plan,
    slots: Slots,
}

impl First {
    pub fn compile(loaded: &Loaded, shards: ShardSet) -> First {
        let config = &loaded.config;
        let last_job = loaded.resumed.as_ref().map_or(0, |resumed| resumed.last_job);
        let job = JobId(if is(Mistake::NumbersReused) { last_job.max(1) } else { last_job + 1 });
        let mut slots = Slots::counting(shards.len());
        let before = Running::at_start(config);
        let (compiled, plan) = compile::first(&before, config, job, shards, &mut slots);
        First { job, before, compiled, plan, slots }
    }

    /// Rows for all that is in it.
    pub fn make_room(&self, counted: &Counted) -> Result<(), StartError> {
        let change = &self.compiled.change;
        let come = change.endpoints_come.iter().map(|(_, slot)| *slot);
        counted.make_room(change.pools.iter().map(|(slot, _)| *slot), come).map_err(StartError::Bounds)
    }

    /// All that are given out, for the compiler thread.
    pub fn take_slots(&mut self) -> Slots {
        self.compiled.applied(&mut self.slots);
        std::mem::take(&mut self.slots)
    }

    /// Control, with all that it knows at the start. Nothing is told to a shard.
    pub fn control(
        self,
        loaded: Loaded,
        hands: Hands,
        durable: impl FnOnce(Resumed, Base, &durable::Adopted) -> io::Result<Durable>,
        self_check: impl FnOnce(Arc<Shared>) -> io::Result<SelfCheck>,
    ) -> io::Result<Control> {
        let Loaded { text, config, warnings, rule_places, shards_auto, mut resumed, base, source } = loaded;
        let First { job: first_job, before, compiled, plan, slots: _ } = self;
        let Hands { log, prober, works, seats, registry, counted, clock, inbox, version, states, submitted } = hands;
        let first_generation = GenerationId(first_job.0);
        let change = Arc::clone(&compiled.change);
        let mut book = Book::default();
        book.enter(&compiled);
        book.applied(first_job, &before, &compiled);
        change.listen.iter().for_each(|listen| drop(book.listener_leads(listen)));
        log.name(book.names(&compiled));
        let told = Events::new(EventLog::new(log.speaker(), &config.event_log));
        let running = Arc::new(before.after(&compiled));
        let mut rollout = Rollout::new(bounds(&running), &change, first_generation);

        let rule_places = Arc::new(rule_places);
        let base = base.unwrap_or_else(|| Base { source: source.clone(), config: Arc::clone(&running.config) });
        let (mut history, mut kept) =
            (Store::new(config.reload.keep_receipts as usize), Kept::new(config.reload.keep_generations as usize));
        let mut overlay = Overlay::new(base.clone());
        if let Some(resumed) = &mut resumed {
            resumed.receipts.iter().for_each(|receipt| overlay.recall(receipt));
            std::mem::take(&mut resumed.receipts).into_iter().for_each(|receipt| drop(history.insert(receipt)));
            let before = resumed.found.iter().flat_map(|found| &found.kept);
            before.for_each(|generation| drop(kept.push(generation.clone())));
        }
        let since = clock::date();
        let first =
            KeptGeneration { number: first_generation, config: Arc::clone(&running.config), since: since.clone() };
        drop(kept.push(first));
        let shared = Arc::new(Shared::new(
            Published {
                running: Arc::clone(&running),
                source: source.clone(),
                rule_places: Arc::clone(&rule_places),
                stopping: false,
                shards: Vec::new(),
                listeners: Vec::new(),
                leaving: Arc::default(),
                pins: Arc::default(),
                jobs: Vec::new(),
            },
            told,
            counted,
            Arc::clone(log.counts()),
            clock,
            inbox,
            (text, shards_auto),
            version,
            (history, kept, overlay),
        ));
        for state in states {
            shared.board.set(state.clone());
            rollout.endpoint_state(state, &mut Vec::new());
        }
        let receipt = account_for_start(&shared, first_job, plan, &warnings, submitted);
        let durable = resumed.map(|resumed| {
            let running = durable::Adopted {
                based: None,
                job: first_job,
                generation: first_generation.0,
                since,
                made_by: MadeBy::Document,
                config: Arc::clone(&running.config),
                source: source.clone(),
                receipt: Arc::clone(&receipt),
            };
            durable(*resumed, base, &running)
        });
        let durable = durable.transpose()?;
        if let Some(durable) = &durable {
            durable.note(durable::Note::Receipt(receipt));
        }
        let self_check = self_check(Arc::clone(&shared))?;
        Ok(Control::new(Parts {
            shared,
            rollout,
            seats,
            running,
            source,
            rule_places,
            book,
            log,
            prober,
            registry,
            works,
            self_check,
            durable,
            first_job,
        }))
    }
}

/// How long the start waits for the first answers about names.
const RESOLVE_WAIT: Duration = Duration::from_secs(2);

/// Watches every backend, and waits a while for what names lead to: shards that begin without an address
/// would have nobody to send their first clients to.
fn watch_all(prober: &Prober, compiled: &Compiled) -> Vec<EndpointState> {
    let pools = compiled.change.pools.iter().filter_map(|(_, pool)| pool.as_ref());
    let watched = pools.flat_map(|pool| pool.groups.values()).flat_map(|group| {
        let watch = |address: &Address| Watch { address: address.clone(), check: group.health.clone() };
        group.endpoints.iter().map(move |endpoint| (endpoint.slot, Some(watch(&endpoint.address))))
    });
    let watched: Vec<_> = watched.collect();
    let is_name =
        |watch: &Option<Watch>| matches!(watch.as_ref().map(|watch| &watch.address), Some(Address::Name { .. }));
    let mut names: std::collections::BTreeSet<_> =
        watched.iter().filter(|(_, watch)| is_name(watch)).map(|(slot, _)| *slot).collect();
    prober.watch(watched);
    let mut states = std::collections::BTreeMap::new();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return Vec::new();
    };
    runtime.block_on(async {
        let first_answers = async {
            while !names.is_empty() {
                for (slot, finding) in prober.findings().await {
                    if finding.moved {
                        names.remove(&slot);
                    }
                    states.insert(slot, finding.state);
                }
            }
        };
        // Those that are late are told to the shards when they come.
        let _ = tokio::time::timeout(RESOLVE_WAIT, first_answers).await;
    });
    states.into_values().collect()
}

/// The start is a job, and has a receipt like every other.
fn account_for_start(
    shared: &Shared,
    job: JobId,
    plan: config::Plan,
    warnings: &Problems,
    submitted: SystemTime,
) -> Arc<api::Receipt> {
    let (voice, _) = watch::channel(View::default());
    let ask = Ask {
        author: None,
        source: Source::Start,
        order: None,
        if_generation: None,
        what: What::Edits(crate::ask::Edits::default()),
    };
    let wish = Wish { ask, voice, submitted, check: clock::wall().duration_since(submitted).unwrap_or_default() };
    let number = job;
    let mut job = Job::new(number, wish, Tick(u64::MAX), None);
    job.plan = Some(crate::tell::plan(&plan, None, &crate::tell::problems(warnings), None));
    let generation = Some(GenerationId(number.0));
    let mut receipt = job.receipt(JobOutcome::Applied, generation, std::iter::empty(), None);
    receipt.released = Some(receipt.ended.clone());
    let receipt = shared.history().insert(receipt);
    shared.count_ended(receipt.outcome, receipt.source);
    let ended = Happening::JobEnded { job: number.0, outcome: JobOutcome::Applied, generation: Some(number.0) };
    shared.events.publish(ended);
    receipt
}
