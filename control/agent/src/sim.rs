//! The control side without threads, clocks, sockets and terminals: what `tests/sim` steps.
//!
//! Owns the one thread on which everything is done that the appliance does on four: control, compiler, journal, and what
//! the log answers. Each of them does one thing when it is asked to, so whoever asks decides the order. All decisions are
//! those of the real code; addresses are bound, and nobody comes in by them. Time is what [`say_time`] says. Only with the cargo feature `sim`,
//! which the appliance never enables.

use crate::ask::{Ask, Text, What, Wish};
use crate::compile::{self, Compiler, Done, Work, Workshop};
use crate::control::seen::State;
use crate::control::{Control, Event};
use crate::durable::{Durable, MadeBy, Note, Saved};
use crate::job::{Ended, Job, View};
use crate::log::Log;
use crate::orders;
use crate::probe::Prober;
use crate::seat::{Addressed, Seat, Signed};
use crate::self_check::SelfCheck;
use crate::setup::{First, Hands, StartError, load};
use crate::touched::Counted;
use crate::{clock, durable};
use api::answer::Failure;
use api::order::{OnDrift, StopMode};
use api::receipt::Source;
use api::{Edit, JobOutcome, Receipt};
use config::Config;
use link::counters::CounterPages;
use link::listen::Registry;
use link::mailbox::{Mailbox, mailbox};
use policy::{GenerationId, JobId, PartId, PoolSlot, ShardId, ShardSet, Tick};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

pub use crate::clock::simulated::say as say_time;
pub use crate::control::seen::State as Running;
pub use journal::Bounds;

/// Orders that a shard's mailbox holds. Small on purpose: control must cope with a shard that is behind.
const MAILBOX: usize = 4;

/// What somebody wants of a running appliance.
#[derive(Clone, Debug)]
pub enum Wanted {
    Edits {
        orders: Vec<Edit>,
        if_generation: Option<u64>,
    },
    Document {
        text: String,
        drift: OnDrift,
        if_generation: Option<u64>,
    },
    /// The file, read again.
    Reload,
    Rollback {
        to: Option<u64>,
        if_generation: Option<u64>,
    },
}

/// A submission that is read and not yet handed in: between the two, anything may happen.
pub struct Submission(Ask);

/// Whoever submitted it holds this.
#[derive(Debug)]
pub struct Ticket(watch::Receiver<View>);

/// What a submitter is told in the end.
pub type Told = Result<Arc<Receipt>, Arc<Failure>>;

impl Ticket {
    pub fn told(&self) -> Option<Told> {
        match self.0.borrow().ended.clone()? {
            Ended::Done { receipt, .. } => Some(Ok(receipt)),
            Ended::Failed(failure) => Some(Err(failure)),
        }
    }

    /// Nobody can tell any more.
    pub fn is_forsaken(&self) -> bool {
        self.0.has_changed().is_err() && self.told().is_none()
    }
}

/// What was taken from control's inbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// A submission has become this job.
    Submitted {
        job: u64,
    },
    Answer,
}

/// One life of the control side.
pub struct Machine {
    control: Control,
    compiler: Compiler,
    works: Receiver<Work>,
    scribe: Option<(durable::Scribe, Receiver<Note>)>,
    inbox: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    orders: Vec<Mailbox<Addressed>>,
}

impl Machine {
    /// Starts as the appliance does, with the document in this file. Answers also with what the operator is told.
    pub fn start(document: &Path, shards: usize, bounds: Bounds) -> Result<(Machine, Vec<String>), String> {
        let mut loaded =
            load(Text::File(document.to_owned()), shards).map_err(|error| error.draw(config::Colour::Plain))?;
        let told = loaded.resume_within(bounds).map_err(|error: StartError| error.to_string())?;
        let pages = (0..shards).map(|_| CounterPages::new(256, 4096)).collect();
        let clock = clock::Clock::since(Instant::now());
        let counted = Counted { pages, clock };
        let all = ShardSet::first(shards);
        let mut first = First::compile(&loaded, all);
        first.make_room(&counted).map_err(|error| error.to_string())?;
        let registry = Registry::new();
        for (listener, group) in compile::bind_all(&first.compiled.bind, None)?.groups {
            registry.insert(listener.0, group);
        }
        let compiler = Compiler { slots: first.take_slots(), shards: all, counted: counted.clone() };
        let (works, work) = Workshop::unmanned();
        let (inbox, events) = mpsc::unbounded_channel();
        let (mut seats, mut orders) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let (postbox, taken) = mailbox(MAILBOX).map_err(|error| error.to_string())?;
            seats.push(Seat::new(postbox));
            orders.push(taken);
        }
        let hands = Hands {
            log: Log::unmanned().map_err(|error| error.to_string())?,
            prober: Arc::new(Prober::unmanned()),
            works,
            seats,
            registry,
            counted,
            clock,
            inbox: inbox.clone(),
            version: "0.0.0",
            states: Vec::new(),
            submitted: clock::wall(),
        };
        let mut scribe = None;
        let on_disk = |resumed, base, running: &durable::Adopted| {
            let (durable, notes) = Durable::unmanned();
            scribe = Some((durable::Scribe::new(resumed, base, running), notes));
            Ok(durable)
        };
        let control = first.control(loaded, hands, on_disk, |_| Ok(SelfCheck::unmanned()));
        let mut control = control.map_err(|error| error.to_string())?;
        control.begin();
        let mut machine = Machine { control, compiler, works: work, scribe, inbox, events, orders };
        if let Some((scribe, _)) = &mut machine.scribe {
            scribe.begin(PID, &saved(&machine.inbox));
        }
        Ok((machine, told))
    }

    /// Reads what is wanted, as the threads do that answer clients. An error is an answer.
    pub fn read(&self, wanted: &Wanted) -> Result<Submission, Box<Failure>> {
        let shared = &self.control.shared;
        let (if_generation, what) = match wanted.clone() {
            Wanted::Edits { orders, if_generation } => {
                let what = match orders::read_edits(shared, orders) {
                    Ok(edits) => What::Edits(edits),
                    Err(wrong) => What::Invalid { message: wrong.message, problems: wrong.problems },
                };
                (if_generation, what)
            }
            Wanted::Document { text, drift, if_generation } => {
                let text = Text::Sent { text, name: None, folder: None };
                (if_generation, orders::read_now(shared, &text, orders::role(drift), false))
            }
            Wanted::Reload => {
                (None, orders::read_now(shared, &shared.document, orders::role_of_the_file(shared), false))
            }
            Wanted::Rollback { to, if_generation } => (if_generation, orders::past(shared, orders::kept(shared, to)?)),
        };
        Ok(Submission(Ask { author: None, source: Source::Socket, order: None, if_generation, what }))
    }

    pub fn hand_in(&self, submission: Submission) -> Ticket {
        Ticket(orders::hand_in(&self.control.shared, submission.0, Duration::ZERO))
    }

    /// Control takes what came first of what has come. `None`: nothing has.
    pub fn deliver(&mut self) -> Option<Delivered> {
        let event = self.events.try_recv().ok()?;
        let delivered = match &event {
            Event::Submit(_) => Delivered::Submitted { job: self.control.next_job() },
            _ => Delivered::Answer,
        };
        self.control.on_event(event);
        self.control.publish();
        Some(delivered)
    }

    pub fn report(&mut self, report: Signed) {
        self.control.on_report(report);
        self.control.publish();
    }

    /// When control has something to do though nothing happens.
    pub fn next_tick(&self) -> Option<Tick> {
        self.control.next_tick()
    }

    pub fn on_tick(&mut self) {
        self.control.on_tick();
        self.control.publish();
    }

    /// The compiler does one piece of work. `false`: there is none.
    pub fn work(&mut self, bind_fails: bool) -> bool {
        let Ok(work) = self.works.try_recv() else { return false };
        let inbox = &self.inbox;
        let done = move |done: Done| drop(inbox.send(Event::Done(Box::new(done))));
        match work {
            Work::Bind { job, .. } if bind_fails => {
                done(Done::Bound { job, result: Err("somebody listens there".to_owned()) });
            }
            work => self.compiler.work(work, &done),
        }
        true
    }

    /// The journal writes so many of the notes that wait with one sync. `false`: none does.
    pub fn write(&mut self, together_max: usize) -> bool {
        let Some((scribe, notes)) = &mut self.scribe else { return false };
        let together: Vec<Note> = notes.try_iter().take(together_max).collect();
        if together.is_empty() {
            return false;
        }
        scribe.write_together(together, &saved(&self.inbox));
        true
    }

    /// The log forgets names. `false`: there is none to forget.
    pub fn forget(&mut self) -> bool {
        let forgotten = self.control.take_forgotten();
        let some = !forgotten.is_empty();
        if some {
            let _ = self.inbox.send(Event::Forgotten(forgotten));
        }
        some
    }

    pub fn take_order(&mut self, shard: ShardId) -> Option<Addressed> {
        self.orders[shard.ix()].take()
    }

    pub fn stop(&self, within: Duration) {
        let _ = self.inbox.send(Event::Stop { mode: StopMode::Graceful, within: Some(within) });
    }

    pub fn has_stopped(&self) -> bool {
        self.control.stopped().is_some()
    }

    /// The last thing, once it has stopped.
    pub fn end(mut self) {
        while self.write(usize::MAX) {}
        if let Some((scribe, _)) = &mut self.scribe {
            scribe.end(&saved(&self.inbox));
        }
        self.control.end();
    }

    pub fn runs(&self) -> State {
        self.control.state()
    }

    /// The account of a job that has ended.
    pub fn receipt(&self, job: u64) -> Option<Arc<Receipt>> {
        self.control.shared.history().receipt(job)
    }

    /// Generations that can be gone back to, newest first.
    pub fn kept(&self) -> Vec<(u64, Arc<Config>)> {
        self.control.kept().into_iter().map(|kept| (kept.number.0, kept.config)).collect()
    }

    pub fn live(&self) -> ShardSet {
        self.control.live()
    }

    pub fn incarnation(&self, shard: ShardId) -> u32 {
        self.control.incarnation(shard)
    }

    /// What each pool is for a shard that serves.
    pub fn roots(&self) -> Vec<(PoolSlot, PartId)> {
        self.control.roots()
    }

    /// What is still to be done or waited for, in words. Nothing: all has come to rest.
    pub fn unrest(&self) -> Vec<String> {
        let mut unrest = self.control.unrest();
        let (named, booked, given) = (self.control.named(), self.control.booked(), self.compiler.slots.in_use());
        if named != booked || named != given {
            unrest.push(format!("slots: {named:?} are named, {booked:?} booked, {given:?} given out"));
        }
        unrest
    }

    pub fn check_invariants(&self) {
        self.control.check_invariants();
    }
}

/// As the journal writes it down. All processes of a simulation are one.
const PID: u32 = 1;

fn saved(inbox: &mpsc::UnboundedSender<Event>) -> impl Fn(Saved) + use<> {
    let inbox = inbox.clone();
    move |saved| drop(inbox.send(Event::Saved(saved)))
}

/// What a folder says to a start: the document that ran last and the one that drift is measured from, each as text.
#[derive(Clone, PartialEq, Debug)]
pub struct Resumed {
    pub generation: u64,
    pub running: String,
    pub base: String,
    /// Ascending, the newest that can be gone back to.
    pub kept: Vec<u64>,
    pub stopped: bool,
}

/// Begins a process as a start does, with what ran last, in a new segment, and ends it at once as a crash does. `None`:
/// nothing ran.
pub fn begin_again(folder: &Path, bounds: Bounds) -> Result<Option<Resumed>, String> {
    let mut resumed = durable::open(folder, bounds, SHARDS_AUTO, RECEIPTS_KEPT)?;
    let Some(found) = &mut resumed.found else { return Ok(None) };
    let told = told(found);
    let (base, running) = (found.base.clone(), Arc::clone(&found.running));
    let generation = resumed.last_job + 1;
    let ask = Ask {
        author: None,
        source: Source::Start,
        order: None,
        if_generation: None,
        what: What::Edits(crate::ask::Edits::default()),
    };
    let wish = Wish { ask, voice: watch::channel(View::default()).0, submitted: clock::wall(), check: Duration::ZERO };
    let mut job = Job::new(JobId(generation), wish, Tick(u64::MAX), None);
    let receipt = job.receipt(JobOutcome::Applied, Some(GenerationId(generation)), std::iter::empty(), None);
    let running = durable::Adopted {
        job: JobId(generation),
        generation,
        since: clock::date(),
        made_by: MadeBy::Document,
        based: None,
        source: found.source.clone(),
        config: running,
        receipt: Arc::new(receipt),
    };
    let mut scribe = durable::Scribe::new(resumed, base, &running);
    let failed = std::cell::Cell::new(None);
    scribe.begin(PID, &|saved| failed.set(saved.failure));
    scribe.begin_segment()?;
    failed.take().map_or(Ok(Some(told)), Err)
}

/// Shards that `"auto"` stands for, and accounts that are read, where nobody says.
const SHARDS_AUTO: usize = 2;
const RECEIPTS_KEPT: usize = 1000;

fn told(found: &durable::Found) -> Resumed {
    Resumed {
        generation: found.generation,
        running: found.running.to_whole_toml(),
        base: found.base.config.to_whole_toml(),
        kept: found.kept.iter().map(|kept| kept.number.0).collect(),
        stopped: found.stopped,
    }
}

/// Reads a folder as a start does: what was found, if anything, what is wrong with it in words, and the highest number of
/// a job in it.
pub fn resume(folder: &Path, bounds: Bounds) -> Result<(Option<Resumed>, Vec<String>, u64), String> {
    let resumed = durable::open(folder, bounds, SHARDS_AUTO, RECEIPTS_KEPT)?;
    Ok((resumed.found.as_ref().map(told), resumed.complaints, resumed.last_job))
}
