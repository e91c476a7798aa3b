//! Control's end of the conversation.
//!
//! Owns the newest root, the jobs that change it, where each shard stands, and the account of what every
//! shard may still hold. Calls and reports go in; [`Effect`]s come out, and the caller performs them in
//! order. Knows no queue, no descriptor, no document and no clock.
//!
//! ```text
//! submit ─▶ Waiting ── first in all lines, room ──▶ Compiling ── prepare ──▶ Compiled ── no shard is joining
//!                                                                                            │
//!     Ended ◀── all adopted, or lost ── Committing ◀── all prepared ── Preparing ◀───────────┘
//!     (from every stage before Committing too: refused, late, withdrawn, expired; then nothing was visible)
//! ```
//!
//! The rest of the module, by idea: [`lines`] says who goes first, `jobs` takes a job from its submission to
//! its end and `delivery` its change through the shards, [`root`] is what they run, `membership` lets them in
//! and out, `recovery` finds the root again after control itself has died, [`ledger`] and [`addresses`] know
//! what must not be freed yet and `care` frees it, `stop` ends everything.
//!
//! Slots: a job's touches, its endpoints and its addresses are in this machine's care from the call that
//! names them ([`Rollout::submit`] for pools, [`Rollout::prepare`] for the others) until the effect that
//! frees them. So a slot that a waiting job names is not given to somebody else meanwhile.

use super::{Adoption, Committed, Order, Part, Refusal};
use crate::generation::{Change, EndpointState, PoolGeneration};
use crate::ids::{EndpointSlot, GenerationId, JobId, ListenerSlot, PoolSlot, RootVersion, ShardId, ShardSet};
use crate::tick::Tick;
use addresses::Addresses;
use delivery::{Committing, Forgetting, Preparing};
use ledger::Ledger;
use lines::Lines;
use recovery::Recovery;
use root::Root;
use shards::Shards;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stop::Stopping;

mod addresses;
mod care;
mod delivery;
mod jobs;
mod ledger;
mod lines;
mod membership;
mod recovery;
mod root;
mod shards;
mod stop;

pub use ledger::{Kind, Pin};
pub use lines::Touches;
pub use recovery::Kept;
pub use shards::Standing;

/// Control's end.
pub struct Rollout {
    bounds: Bounds,
    root: Root,
    shards: Shards,
    lines: Lines,
    jobs: BTreeMap<JobId, Job>,
    /// Ended jobs that some shard has not forgotten yet.
    forgetting: BTreeMap<JobId, Forgetting>,
    ledger: Ledger,
    addresses: Addresses,
    /// Newest runtime state by endpoint.
    states: BTreeMap<EndpointSlot, EndpointState>,
    /// Pool slots in care: named by the root, by a job, or by what the ledger keeps.
    pools: BTreeSet<PoolSlot>,
    /// Numbers questions, so that an old answer cannot pass for a new one.
    epoch: u64,
    /// What has been told to submitters is in roots of this version and newer.
    confirmed: RootVersion,
    /// The live set as last told.
    steered: ShardSet,
    /// Control has restarted, and [`Effect::Accounted`] is still to come.
    owes_account: bool,
    mode: Mode,
}

/// Time-outs and bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Prepare to the last Prepared. A shard that takes longer is lost, and nothing was visible.
    pub prepare_timeout: Duration,
    /// Commit to the last Adopted. A shard that takes longer is lost, and the job is applied without it.
    pub adopt_timeout: Duration,
    /// Bytes per pool that superseded parts may keep before a further change of that pool waits. One
    /// generation may be kept whatever its size.
    pub retained_max: u64,
    /// Jobs that have not ended.
    pub jobs_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            prepare_timeout: Duration::from_secs(10),
            adopt_timeout: Duration::from_secs(1),
            retained_max: 64 << 20,
            jobs_max: 1024,
        }
    }
}

/// What the caller must do. Performed in order.
#[derive(Debug)]
pub enum Effect {
    /// First in, first out for each shard; never dropped while the shard lives.
    Send {
        shard: ShardId,
        order: Order,
    },
    /// A job that waited may be compiled now, against what runs now; then [`Rollout::prepare`].
    Ready {
        job: JobId,
    },
    /// For receipts and for whoever watches.
    Reached {
        job: JobId,
        phase: Phase,
        at: Tick,
    },
    Adopted {
        job: JobId,
        shard: ShardId,
        adoption: Adoption,
        at: Tick,
    },
    /// Exactly once for each job that was admitted.
    Ended {
        job: JobId,
        outcome: Outcome,
    },
    /// No shard holds it: drop it where dropping may take long.
    Free(Part),
    /// No shard uses this slot and no job names it: it may be given to another identity.
    FreePool(PoolSlot),
    FreeEndpoint(EndpointSlot),
    /// No shard uses the address: the registry may close its sockets.
    FreeListener(ListenerSlot),
    /// Watch until no handshake is pending on this address, then call [`Rollout::handshakes_over`].
    CheckHandshakes(ListenerSlot),
    /// New connections go to these shards only, also on addresses that are added later. Never empty.
    Steer(ShardSet),
    /// Control has restarted and the root is known again: this generation. `is_behind`: it lacks something
    /// that a submitter was told is in force, as every shard that had it has died since.
    Recovered {
        generation: Option<GenerationId>,
        is_behind: bool,
    },
    /// Since the recovery every shard has told what it holds: slots and sockets that
    /// [`Rollout::uses_pool`] and its like do not know are free.
    Accounted,
    /// The stop is over; `unfinished` had not stopped by the deadline.
    Stopped {
        unfinished: ShardSet,
    },
}

/// How a submission was received.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    /// Compile it now, then [`Rollout::prepare`].
    Start,
    /// [`Effect::Ready`] comes when its turn does.
    Wait(Obstacle),
    /// `jobs_max` jobs have not ended yet: this one was not taken.
    TooMany { bound: usize },
    /// The process is stopping: it was not taken.
    Stopping,
}

/// What a waiting job waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Jobs that came earlier and touch the same.
    Jobs(Vec<JobId>),
    /// A listen address that it brings back has not been given back by all shards.
    Address(ListenerSlot),
    /// So much of this pool is kept by connections that replacing it would go beyond the bound.
    Retained { pool: PoolSlot, bytes: u64, bound: u64 },
    /// No shard is live, or some are being let in, or control is finding its root again.
    Shards,
}

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Waiting,
    Compiling,
    Compiled,
    Preparing,
    Committing,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In force on every live shard. `lost`: those that were lost or died before they adopted it; they
    /// accept nothing before they have it.
    Applied { lost: ShardSet },
    /// Nothing was visible: a shard could not take it.
    Refused { by: ShardId, refusal: Refusal },
    /// Nothing was visible: these shards did not answer in time, and are lost.
    PrepareTimeout { silent: ShardSet },
    /// Nothing was visible: every shard was lost or died before all had prepared.
    NoShard,
    /// Committed, and every shard that could have confirmed it was lost or has died. Those that come back
    /// take it, unless control restarts before.
    Unconfirmed,
    /// Nothing was visible: its deadline came while it stood there.
    Expired { phase: Phase, obstacle: Option<Obstacle> },
    /// Nothing was visible: the submitter took it back.
    Withdrawn,
    /// Nothing was visible: the process stops.
    Stopping,
    /// Nothing was visible on any shard that answers: control restarted before it was committed.
    Interrupted,
}

struct Job {
    deadline: Tick,
    stage: Stage,
}

enum Stage {
    Waiting,
    Compiling,
    Compiled { change: Arc<Change> },
    Preparing(Preparing),
    Committing(Committing),
}

impl Stage {
    fn phase(&self) -> Phase {
        match self {
            Stage::Waiting => Phase::Waiting,
            Stage::Compiling => Phase::Compiling,
            Stage::Compiled { .. } => Phase::Compiled,
            Stage::Preparing(_) => Phase::Preparing,
            Stage::Committing(_) => Phase::Committing,
        }
    }
}

enum Mode {
    Running,
    Recovering(Recovery),
    Stopping(Stopping),
}

type Effects = Vec<Effect>;

impl Rollout {
    /// At the start of the process: `first` is what the first shard will be told to run.
    pub fn new(bounds: Bounds, first: &Change, generation: GenerationId) -> Rollout {
        let mut rollout = Rollout::empty(bounds, Mode::Running);
        let pools = first.pools.iter().map(|(_, pool)| pool.clone().expect("a first generation takes nothing away"));
        rollout.root = Root::new(RootVersion(1), Some(generation), Committed::default(), pools);
        rollout.confirmed = rollout.root.version();
        rollout.pools = rollout.root.pools().map(|pool| pool.slot).collect();
        rollout
    }

    fn empty(bounds: Bounds, mode: Mode) -> Rollout {
        Rollout {
            bounds,
            root: Root::default(),
            shards: Shards::default(),
            lines: Lines::default(),
            jobs: BTreeMap::new(),
            forgetting: BTreeMap::new(),
            ledger: Ledger::default(),
            addresses: Addresses::default(),
            states: BTreeMap::new(),
            pools: BTreeSet::new(),
            epoch: 0,
            confirmed: RootVersion::default(),
            steered: ShardSet::empty(),
            owes_account: false,
            mode,
        }
    }

    /// Other time-outs and bounds; what has begun keeps its deadlines.
    pub fn set_bounds(&mut self, bounds: Bounds, now: Tick, effects: &mut Effects) {
        self.bounds = bounds;
        self.recheck(self.jobs.keys().copied().collect::<Vec<_>>(), now, effects);
    }

    /// Health or addresses of an endpoint have changed. Of one that is not in care it is not taken.
    pub fn endpoint_state(&mut self, state: EndpointState, effects: &mut Effects) {
        if !self.uses_endpoint(state.slot) {
            return;
        }
        let to = self.shards.live().or(self.shards.joining());
        effects.extend(to.iter().map(|shard| Effect::Send { shard, order: Order::Endpoint(state.clone()) }));
        self.states.insert(state.slot, state);
    }

    /// Ends the tunnels of an endpoint now, paced.
    pub fn retire(&mut self, endpoint: EndpointSlot, effects: &mut Effects) {
        let alive = self.shards.alive();
        effects.extend(alive.iter().map(|shard| Effect::Send { shard, order: Order::Retire { endpoint } }));
    }

    /// The kernel shows no handshake on an address that [`Effect::CheckHandshakes`] named.
    pub fn handshakes_over(&mut self, listener: ListenerSlot, effects: &mut Effects) {
        let holders = self.addresses.handshakes_over(listener);
        let told = match self.mode {
            Mode::Stopping(_) => self.shards.alive(),
            Mode::Running | Mode::Recovering(_) => self.shards.live(),
        };
        let close = holders.and(told).iter();
        effects.extend(close.map(|shard| Effect::Send { shard, order: Order::Close { listener } }));
    }

    /// Time has passed: every deadline that is due by `now` has its effect.
    pub fn on_tick(&mut self, now: Tick, effects: &mut Effects) {
        self.jobs_late(now, effects);
        self.shards_late(now, effects);
        self.stop_late(now, effects);
        self.steer(effects);
        self.account(effects);
    }

    /// When [`Rollout::on_tick`] is due.
    pub fn next_deadline(&self) -> Option<Tick> {
        let jobs = self.jobs.values().map(|job| match &job.stage {
            Stage::Preparing(preparing) => job.deadline.min(preparing.until),
            Stage::Committing(committing) if committing.nobody_left() => job.deadline,
            Stage::Committing(committing) => committing.until,
            Stage::Waiting | Stage::Compiling | Stage::Compiled { .. } => job.deadline,
        });
        jobs.chain(self.shards.next_deadline()).chain(self.stop_deadline()).min()
    }

    /// The generation in force.
    pub fn generation(&self) -> Option<GenerationId> {
        self.root.generation()
    }

    /// A root older than this lacks something that a submitter was told is in force. For whoever restarts
    /// control: see [`Rollout::recover`].
    pub fn confirmed(&self) -> RootVersion {
        self.confirmed
    }

    pub fn pool(&self, slot: PoolSlot) -> Option<&Arc<PoolGeneration>> {
        self.root.pool(slot)
    }

    pub fn pools(&self) -> impl Iterator<Item = &Arc<PoolGeneration>> {
        self.root.pools()
    }

    pub fn live(&self) -> ShardSet {
        self.shards.live()
    }

    pub fn standing(&self, shard: ShardId) -> Standing {
        self.shards.standing(shard)
    }

    pub fn phase(&self, job: JobId) -> Option<Phase> {
        self.jobs.get(&job).map(|job| job.stage.phase())
    }

    /// What a waiting job waits for.
    pub fn waits_for(&self, job: JobId) -> Option<Obstacle> {
        match self.jobs.get(&job)?.stage {
            Stage::Waiting => self.obstacle(job),
            Stage::Compiled { .. } => Some(Obstacle::Shards),
            Stage::Compiling | Stage::Preparing(_) | Stage::Committing(_) => None,
        }
    }

    /// Everything that is kept beyond what runs, and which shards keep it.
    pub fn who_pins(&self) -> impl Iterator<Item = Pin> {
        self.ledger.pins()
    }

    /// Whether the slot is in this machine's care.
    pub fn uses_pool(&self, pool: PoolSlot) -> bool {
        self.pools.contains(&pool)
    }

    pub fn uses_endpoint(&self, endpoint: EndpointSlot) -> bool {
        let comes = |change: &Arc<Change>| change.endpoints_come.iter().any(|(_, slot)| *slot == endpoint);
        self.root.names_endpoint(endpoint) || self.ledger.uses_endpoint(endpoint) || self.changes().any(comes)
    }

    pub fn uses_listener(&self, listener: ListenerSlot) -> bool {
        let comes = |change: &Arc<Change>| change.listen.iter().any(|listen| listen.listener == listener);
        self.root.names_listener(listener) || self.addresses.contains(listener) || self.changes().any(comes)
    }

    /// Whether every shard has told what it holds (always true but for some time after a recovery).
    pub fn is_accounted(&self) -> bool {
        !matches!(self.mode, Mode::Recovering(_)) && self.shards.untold().is_empty()
    }

    /// Changes that are not in force yet.
    fn changes(&self) -> impl Iterator<Item = &Arc<Change>> {
        self.jobs.values().filter_map(|job| match &job.stage {
            Stage::Compiled { change } => Some(change),
            Stage::Preparing(preparing) => Some(preparing.change()),
            Stage::Waiting | Stage::Compiling | Stage::Committing(_) => None,
        })
    }

    fn next_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    fn is_recovering(&self) -> bool {
        matches!(self.mode, Mode::Recovering(_))
    }

    fn is_stopping(&self) -> bool {
        matches!(self.mode, Mode::Stopping(_))
    }

    pub fn check_invariants(&self) {
        let (live, alive) = (self.shards.live(), self.shards.alive());
        self.lines.check_invariants();
        self.ledger.check_invariants(alive);
        self.addresses.check_invariants(alive);
        for (id, job) in &self.jobs {
            if job.stage.phase() != Phase::Waiting {
                assert!(self.lines.is_first(*id), "job {id} runs beside one that touches the same");
            }
            match &job.stage {
                Stage::Preparing(Preparing { asked, prepared, .. }) => {
                    assert!(!asked.is_empty(), "job {id}: all have prepared, and it is not committed");
                    assert!(asked.and(*prepared).is_empty(), "job {id}");
                    assert!(
                        asked.or(*prepared).without(live).is_empty(),
                        "job {id} counts on a shard that is not live"
                    );
                }
                Stage::Committing(committing) => {
                    let Committing { awaiting, adopted, .. } = committing;
                    let open = !awaiting.is_empty() || committing.nobody_left();
                    assert!(open, "job {id}: all have adopted, and it has not ended");
                    assert!(
                        awaiting.or(*adopted).without(live).is_empty(),
                        "job {id} counts on a shard that is not live"
                    );
                }
                Stage::Waiting if !self.is_recovering() => {
                    assert!(self.obstacle(*id).is_some(), "job {id} waits for nothing");
                }
                Stage::Waiting | Stage::Compiling | Stage::Compiled { .. } => {}
            }
        }
        self.root.check_invariants();
        for pool in self.root.pools() {
            assert!(self.pools.contains(&pool.slot), "{} runs and its slot could be given away", pool.id);
        }
        for forgetting in self.forgetting.values() {
            assert!(!forgetting.owed.is_empty() && forgetting.owed.without(alive).is_empty());
        }
    }
}
