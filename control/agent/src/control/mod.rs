//! Control: what happens, one event at a time, and what follows from it.
//!
//! Owns the jobs, control's end of the conversation ([`Rollout`]), and what runs. Every call takes at most a
//! millisecond: what may take longer is asked of the compiler thread and comes back as an event. Sockets,
//! files and clocks of others are not here; `server` brings events, `keeper` catches panics.
//!
//! ```text
//!            Submit                 Ready            Built              bound, resolved
//! session ──────────▶ Waiting ───────────▶ Building ───────▶ Holding, Binding ─────────▶ Out ──▶ settled
//!                     (rollout)           (compiler)         (compiler, prober)       (shards)
//! ```
//!
//! By idea: [`submit`] takes a job to the shards, [`gather`] makes one of many, [`perform`] does what the rollout asks for, [`settle`] ends a
//! job, [`heal`] puts right what was compiled wrongly, [`release`] gives slots and addresses back when nobody uses them, [`recover`] goes on after a panic.

mod gather;
mod heal;
mod perform;
mod recover;
mod release;
#[cfg(feature = "sim")]
pub mod seen;
mod settle;
pub mod submit;

pub use submit::claimed_by;

use crate::ask::Wish;
use crate::book::{Book, SlotSet};
use crate::compile::{Done, Work, Workshop};
use crate::durable::{Durable, Saved};
use crate::job::{Ended, Job, State};
use crate::log::{self, Log};
use crate::planted::{Mistake, is};
use crate::probe::{Finding, Prober};
use crate::publish::{Published, ShardView, Shared};
use crate::rehearse::Scene;
use crate::seat::{Seat, Signed};
use crate::self_check::{Differs, SelfCheck};
use crate::status;
use api::order::StopMode;
use api::receipt::JobOutcome;
use api::status::{ConfigSource, ShardState};
use api::{Happening, Receipt};
use config::{RulePlaces, Running, RunningPool};
use heal::Healing;
use link::listen::{ListenGroup, Registry};
use policy::generation::{Address, Health};
use policy::reload::rollout::{Pin, Standing};
use policy::reload::{Bounds, Effect, Outcome, Report, Rollout};
use policy::{EndpointSlot, JobId, ListenerSlot, PartId, RootVersion, ShardId, ShardSet, Tick};
use release::Checking;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Jobs that may be under way. One more is told to come back later.
pub const JOBS_MAX: usize = 256;

/// A shard whose mailbox is full is tried again after this.
const OUTBOX_RETRY: Duration = Duration::from_millis(2);

/// Something that control must know.
pub enum Event {
    Submit(Box<Wish>),
    Done(Box<Done>),
    Saved(Saved),
    /// What runs of a pool is not what its document says.
    Differs(Box<Differs>),
    /// The log thread has forgotten the names of these slots.
    Forgotten(Vec<log::Slot>),
    /// The shard's thread has ended for good.
    ShardGone(ShardId),
    /// Log files may have been moved away.
    Reopen,
    /// Somebody wants to see what a job would come to.
    Rehearse(oneshot::Sender<Box<Scene>>),
    Stop {
        mode: StopMode,
        within: Option<Duration>,
    },
    /// A fault that a test plants: the next time control comes by here it panics.
    #[cfg(test)]
    Fault(Fault),
    #[cfg(test)]
    Look(crate::compile::Look),
}

/// Where a test lets control die.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Submit,
    Built,
    /// After the first Commit was sent.
    Committed,
    Adopted,
    Settle,
}

pub struct Control {
    pub shared: Arc<Shared>,
    rollout: Rollout,
    /// What the rollout has asked for and is not done yet.
    effects: VecDeque<Effect>,
    performing: bool,
    seats: Vec<Seat>,
    running: Arc<Running>,
    source: ConfigSource,
    rule_places: Arc<RulePlaces>,
    /// Jobs that have not ended.
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    /// When something in a list expires that is in force. Unit: seconds since 1970.
    next_expiry: Option<u64>,
    book: Book,
    log: Log,
    prober: Arc<Prober>,
    registry: Arc<Registry>,
    works: Workshop,
    self_check: SelfCheck,
    healing: Healing,
    /// Where what happens is written down, if there is a place for it.
    durable: Option<Durable>,
    /// Jobs that are in force and not on the disk.
    unsaved: HashMap<JobId, Vec<InForce>>,
    /// Jobs that wait for `reload.min_interval` to be over.
    gathered: Vec<Job>,
    /// Before this nothing goes on that is submitted now.
    next_start: Tick,
    /// New connections go to these.
    steered: ShardSet,
    /// Parts that are not in force any more and still held.
    superseded: HashMap<PartId, Superseded>,
    /// A root older than this lacks something that a submitter was told is in force.
    confirmed: RootVersion,
    checking: BTreeMap<ListenerSlot, Checking>,
    handshakes_asked: bool,
    next_check: Tick,
    /// Builds that the compiler thread has not answered, those of jobs that have ended meanwhile among them.
    builds: usize,
    /// Slots that nobody uses, to be released when nothing is being compiled.
    unused: SlotSet,
    /// Answers that wait for `reload.wait_after`.
    late: Vec<(Tick, Job, Ended)>,
    /// Which life of control this is.
    life: u32,
    stop_by: Option<Tick>,
    /// The stop is over; these shards had not stopped.
    stopped: Option<ShardSet>,
    changed: bool,
    pins: Arc<[(Pin, String)]>,
    pins_changed: bool,
    #[cfg(test)]
    faults: Vec<Fault>,
}

/// A job that is in force, its receipt, and the endpoints whose last connections its submitter wants to wait for.
type InForce = (Job, Arc<Receipt>, Vec<EndpointSlot>);

/// What was in force before.
struct Superseded {
    /// Which job put something else in its place.
    by: JobId,
    /// For a pool's root: the pool as it was, should control have to find its way back.
    pool: Option<RunningPool>,
    /// To be told when it is free, also by a control that has panicked since and knows no more of it.
    released: Happening,
}

/// What control is made of at start.
pub struct Parts {
    pub shared: Arc<Shared>,
    pub rollout: Rollout,
    pub seats: Vec<Seat>,
    pub running: Arc<Running>,
    pub source: ConfigSource,
    pub rule_places: Arc<RulePlaces>,
    pub book: Book,
    pub log: Log,
    pub prober: Arc<Prober>,
    pub registry: Arc<Registry>,
    pub works: Workshop,
    pub self_check: SelfCheck,
    pub durable: Option<Durable>,
    /// The number of the start.
    pub first_job: JobId,
}

impl Control {
    pub fn new(parts: Parts) -> Control {
        let Parts { shared, rollout, seats, running, source, rule_places, book, log, prober, registry, .. } = parts;
        let all = ShardSet::first(seats.len());
        let next_expiry = running.config.next_expiry();
        Control {
            shared,
            rollout,
            effects: VecDeque::new(),
            performing: false,
            seats,
            running,
            source,
            rule_places,
            jobs: BTreeMap::new(),
            next_job: parts.first_job.0 + 1,
            next_expiry,
            book,
            log,
            prober,
            registry,
            works: parts.works,
            self_check: parts.self_check,
            healing: Healing::default(),
            durable: parts.durable,
            unsaved: HashMap::new(),
            gathered: Vec::new(),
            next_start: Tick(0),
            steered: all,
            superseded: HashMap::new(),
            confirmed: RootVersion::default(),
            checking: BTreeMap::new(),
            handshakes_asked: false,
            next_check: Tick(0),
            builds: 0,
            unused: SlotSet::default(),
            late: Vec::new(),
            life: 0,
            stop_by: None,
            stopped: None,
            changed: true,
            pins: Arc::default(),
            pins_changed: false,
            #[cfg(test)]
            faults: Vec::new(),
        }
    }

    /// Lets every shard in.
    pub fn begin(&mut self) {
        let now = self.now();
        let mut effects = Vec::new();
        for (seat, shard) in self.seats.iter().zip(0..) {
            self.rollout.shard_started(ShardId(shard), seat.incarnation, now, &mut effects);
        }
        self.perform(effects);
    }

    pub fn on_event(&mut self, event: Event) {
        self.changed = true;
        match event {
            Event::Submit(wish) => self.submit(*wish),
            Event::Done(done) => self.on_done(*done),
            Event::Saved(saved) => self.on_saved(saved),
            Event::Differs(differs) => self.on_differs(*differs),
            Event::Forgotten(slots) => self.on_forgotten(slots),
            Event::ShardGone(shard) => self.on_shard_gone(shard),
            Event::Reopen => self.log.reopen(),
            Event::Stop { mode, within } => self.stop(mode, within),
            Event::Rehearse(reply) => self.ask(Work::Rehearse {
                running: Arc::clone(&self.running),
                base: Arc::clone(&self.shared.overlay().base().config),
                places: Arc::clone(&self.rule_places),
                reply,
            }),
            #[cfg(test)]
            Event::Fault(fault) => self.faults.push(fault),
            #[cfg(test)]
            Event::Look(look) => self.ask(Work::Look(look)),
        }
    }

    pub fn on_report(&mut self, (shard, incarnation, report): Signed) {
        self.changed = true;
        let now = self.now();
        let mut effects = Vec::new();
        let died = matches!(report, Report::Died);
        self.pins_changed |= changes_pins(&report);
        #[cfg(test)]
        if matches!(report, Report::Adopted { .. }) {
            self.fault(Fault::Adopted);
        }
        self.rollout.on_report(shard, incarnation, report, now, &mut effects);
        if died && self.seats[shard.ix()].incarnation == incarnation {
            self.shared.events.publish(Happening::ShardDied { shard: shard.0 });
            let seat = &mut self.seats[shard.ix()];
            seat.live = false;
            if !seat.gone {
                // Its keeper starts another at once; orders wait in its mailbox.
                seat.reincarnate();
                self.rollout.shard_started(shard, seat.incarnation, now, &mut effects);
            }
        }
        self.perform(effects);
    }

    /// Its thread has ended: nobody starts it again.
    fn on_shard_gone(&mut self, shard: ShardId) {
        let seat = &mut self.seats[shard.ix()];
        seat.gone = true;
        let incarnation = seat.incarnation;
        self.on_report((shard, incarnation, Report::Died));
    }

    pub fn on_findings(&mut self, findings: BTreeMap<EndpointSlot, Finding>) {
        let mut effects = Vec::new();
        let mut resolved = Vec::new();
        for (slot, finding) in findings {
            if !self.book.knows_endpoint(slot) {
                continue;
            }
            self.tell_finding(slot, &finding);
            if finding.moved {
                resolved.push(slot);
            }
            self.shared.board.set(finding.state.clone());
            self.rollout.endpoint_state(finding.state, &mut effects);
        }
        self.perform(effects);
        resolved.into_iter().for_each(|slot| self.name_resolved(slot));
    }

    fn tell_finding(&self, slot: EndpointSlot, finding: &Finding) {
        let Some(entry) = self.book.endpoint(slot) else { return };
        let (pool, group) = (entry.pool.to_string(), entry.group.to_string());
        let backend = entry.endpoint.id.to_string();
        if finding.moved && matches!(entry.endpoint.address, Address::Name { .. }) {
            self.shared.events.publish(Happening::Resolved {
                pool: pool.clone(),
                group: group.clone(),
                backend: backend.clone(),
                addresses: finding.state.addresses.iter().map(ToString::to_string).collect(),
            });
        }
        if let (Some(cause), Health::Up | Health::Down) = (&finding.health_changed, finding.state.health) {
            self.shared.events.publish(Happening::Health {
                pool,
                group,
                backend,
                health: status::told(finding.state.health, true),
                cause: Some(cause.clone()),
            });
        }
    }

    pub fn on_tick(&mut self) {
        let now = self.now();
        if self.rollout.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.changed = true;
            let mut effects = Vec::new();
            self.rollout.on_tick(now, &mut effects);
            self.perform(effects);
        }
        self.jobs_on_tick(now);
        self.gathered_on_tick(now);
        self.expire();
        self.check_handshakes(now);
        self.seats.iter_mut().filter(|seat| seat.is_behind()).for_each(Seat::flush);
        self.answer_late(now);
    }

    /// When to call [`Control::on_tick`].
    pub fn next_tick(&self) -> Option<Tick> {
        let now = self.now();
        let held = self.jobs.values().filter_map(|job| match &job.state {
            State::Pausing { until } => Some(*until),
            State::Holding { for_what, .. } if !for_what.names.is_empty() => Some(for_what.names_until),
            _ => None,
        });
        let check = (!self.checking.is_empty() && !self.handshakes_asked).then_some(self.next_check);
        let behind = self.seats.iter().any(Seat::is_behind).then(|| now.after(OUTBOX_RETRY));
        let late = self.late.iter().map(|(at, ..)| *at);
        let expiry = self.expiry_tick();
        let gathered = (!self.gathered.is_empty()).then_some(self.next_start);
        held.chain(gathered)
            .chain(self.rollout.next_deadline())
            .chain(check)
            .chain(behind)
            .chain(late)
            .chain(expiry)
            .min()
    }

    /// Shows what has come of the events since the last time.
    pub fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        #[cfg(test)]
        self.rollout.check_invariants();
        self.look_at_seats();
        self.look_at_pins();
        let published = self.published();
        self.shared.publish(published);
        self.self_check.published(&self.running);
    }

    fn published(&self) -> Published {
        let now = self.now();
        let behind = |job: &Job| match self.rollout.waits_for(job.id) {
            Some(policy::reload::rollout::Obstacle::Jobs(jobs)) => jobs.into_iter().map(|job| job.0).collect(),
            _ => Vec::new(),
        };
        Published {
            running: Arc::clone(&self.running),
            source: self.source.clone(),
            rule_places: Arc::clone(&self.rule_places),
            stopping: self.stop_by.is_some(),
            shards: self.seats.iter().zip(0..).map(|(seat, shard)| self.shard_view(ShardId(shard), seat)).collect(),
            listeners: self.book.moving(),
            leaving: Arc::clone(&self.book.leaving),
            pins: Arc::clone(&self.pins),
            jobs: self.jobs.values().map(|job| job.line(now, behind(job))).chain(self.lines_of_gathered(now)).collect(),
        }
    }

    fn shard_view(&self, shard: ShardId, seat: &Seat) -> ShardView {
        let state = match self.rollout.standing(shard) {
            Standing::Dead => ShardState::Dead,
            _ if self.stop_by.is_some() => ShardState::Stopping,
            // Asked what they hold, shards go on serving.
            Standing::Live | Standing::Asked { .. } | Standing::Told => ShardState::Serving,
            Standing::Joining { .. } if !seat.was_live => ShardState::Starting,
            Standing::Joining { .. } | Standing::Lost => ShardState::Lost,
        };
        ShardView { shard, state, restarts: seat.restarts }
    }

    /// Who holds what, looked at anew only when somebody has begun or ceased to.
    fn look_at_pins(&mut self) {
        if std::mem::take(&mut self.pins_changed) {
            let pins = self.rollout.who_pins().map(|pin| {
                let pool = self.book.pool_name(pin.pool).map_or_else(|| pin.pool.to_string(), ToString::to_string);
                (pin, pool)
            });
            self.pins = pins.collect();
        }
    }

    /// Who serves now; coming back is news.
    fn look_at_seats(&mut self) {
        let live = self.rollout.live();
        for (seat, shard) in self.seats.iter_mut().zip(0..) {
            let is_live = live.contains(ShardId(shard));
            if is_live && !seat.live && seat.was_live {
                self.shared.events.publish(Happening::ShardBack { shard });
            }
            seat.live = is_live;
            seat.was_live |= is_live;
        }
    }

    /// Every shard serves.
    pub fn all_live(&self) -> bool {
        self.rollout.live() == ShardSet::first(self.seats.len())
    }

    fn stop(&mut self, mode: StopMode, within: Option<Duration>) {
        let now = self.now();
        let within = match mode {
            StopMode::Now => Duration::ZERO,
            StopMode::Graceful => within.unwrap_or(self.running.config.appliance.stop_grace),
        };
        let deadline = now.after(within);
        self.stop_by = Some(deadline);
        self.shared.events.publish(Happening::Stopping {
            mode,
            deadline_millis: Some(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)),
        });
        let mut effects = Vec::new();
        self.rollout.stop(deadline, now, &mut effects);
        self.perform(effects);
        self.forsake_gathered();
    }

    /// The stop is over. Answers with the shards that had not stopped.
    pub fn stopped(&self) -> Option<ShardSet> {
        self.stopped
    }

    /// The last thing: whatever was to be written is written.
    pub fn end(self) {
        for (_, job, ended) in self.late {
            job.end(ended);
        }
        if let Some(durable) = self.durable {
            durable.end();
        }
        // Nobody takes word of the disk any more; what was noted before is on it.
        for (job, receipt, drains) in self.unsaved.into_values().flatten() {
            job.end(Ended::Done { receipt, drains });
        }
        self.works.end();
        self.log.stop();
    }

    fn now(&self) -> Tick {
        self.shared.clock.now()
    }

    fn ask(&self, work: Work) {
        self.works.ask(work);
    }

    fn bounds(&self) -> Bounds {
        bounds(&self.running)
    }

    #[cfg(test)]
    fn fault(&mut self, here: Fault) {
        if let Some(at) = self.faults.iter().position(|fault| *fault == here) {
            self.faults.remove(at);
            panic!("planted at {here:?}");
        }
    }
}

/// Whether somebody may hold less than before. (That more is held is seen when a job commits.)
fn changes_pins(report: &Report) -> bool {
    match report {
        Report::Released { .. }
        | Report::Forgotten { .. }
        | Report::Synced { .. }
        | Report::Holding { .. }
        | Report::Stopped
        | Report::Died => true,
        Report::Prepared { .. }
        | Report::Refused { .. }
        | Report::Adopted { .. }
        | Report::EndpointReleased { .. }
        | Report::ListenerClosed { .. }
        | Report::Leaving { .. } => false,
    }
}

/// Rollout's bounds as the document has them.
pub fn bounds(running: &Running) -> Bounds {
    let reload = &running.config.reload;
    Bounds {
        prepare_timeout: reload.prepare_timeout,
        adopt_timeout: reload.adopt_timeout,
        retained_max: reload.retained_max,
        jobs_max: JOBS_MAX,
    }
}
