//! What control shows: everything that an answer needs that is not a change.
//!
//! Control puts a new [`Published`] in place when something has happened; whoever answers takes the newest
//! and never waits for a job. Owns no decision.

use crate::ask::Text;
use crate::clock::Clock;
use crate::control::Event;
use crate::drift::Overlay;
use crate::events::Events;
use crate::history::Store;
use crate::kept::Kept;
use crate::log;
use crate::self_check;
use crate::touched::Counted;
use api::receipt::{Job as JobLine, JobOutcome, Source};
use api::status::{ConfigSource, ListenerState, ShardState};
use arc_swap::ArcSwap;
use config::{RulePlaces, Running};
use policy::generation::EndpointState;
use policy::reload::rollout::Pin;
use policy::{EndpointSlot, JobId, PoolId, ShardId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// One for the process, shared by control and everything that answers.
pub struct Shared {
    pub published: ArcSwap<Published>,
    /// Rises with every [`Published`], for those who wait for something to change.
    pub turn: watch::Sender<u64>,
    /// The appliance has stopped.
    pub over: watch::Sender<bool>,
    pub events: Events,
    pub board: Board,
    pub counted: Counted,
    pub log_counts: Arc<log::Counts>,
    pub self_checks: self_check::Counts,
    pub clock: Clock,
    /// Turns to read a document.
    pub documents: Arc<tokio::sync::Semaphore>,
    /// Unbounded, and bounded by who writes: a session has one order under way, a piece of work one answer, a
    /// slot one name to forget.
    pub inbox: mpsc::UnboundedSender<Event>,
    /// The document that `reload` reads again.
    pub document: Text,
    /// Shards that `"auto"` stands for.
    pub shards_auto: usize,
    pub version: &'static str,
    history: Mutex<Store>,
    kept: Mutex<Kept>,
    overlay: Mutex<Overlay>,
    ended: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "one caller, which wires them")]
    pub fn new(
        published: Published,
        events: Events,
        counted: Counted,
        log_counts: Arc<log::Counts>,
        clock: Clock,
        inbox: mpsc::UnboundedSender<Event>,
        (document, shards_auto): (Text, usize),
        version: &'static str,
        (history, kept, overlay): (Store, Kept, Overlay),
    ) -> Shared {
        Shared {
            published: ArcSwap::from_pointee(published),
            turn: watch::Sender::new(0),
            over: watch::Sender::new(false),
            events,
            board: Board::default(),
            counted,
            log_counts,
            self_checks: self_check::Counts::default(),
            clock,
            documents: Arc::new(tokio::sync::Semaphore::new(crate::orders::DOCUMENTS_AT_ONCE)),
            inbox,
            document,
            shards_auto,
            version,
            history: Mutex::new(history),
            kept: Mutex::new(kept),
            overlay: Mutex::new(overlay),
            ended: Mutex::default(),
        }
    }

    pub fn publish(&self, published: Published) {
        self.published.store(Arc::new(published));
        self.turn.send_modify(|turn| *turn += 1);
    }

    pub fn history(&self) -> MutexGuard<'_, Store> {
        // Every change of the store is whole before it can panic.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked for the length of one look.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked for the length of one look.
    pub fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count_ended(&self, outcome: JobOutcome, source: Source) {
        *self.ended().entry((outcome.label(), source.label())).or_default() += 1;
    }

    /// Jobs that have ended, by outcome and source.
    pub fn ended(&self) -> MutexGuard<'_, BTreeMap<(&'static str, &'static str), u64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of things after one event of control.
#[derive(Clone)]
pub struct Published {
    pub running: Arc<Running>,
    pub source: ConfigSource,
    /// Of the newest document. Rules of pools that other jobs have changed meanwhile may not be among them.
    pub rule_places: Arc<RulePlaces>,
    pub stopping: bool,
    pub shards: Vec<ShardView>,
    /// Addresses that are on their way in or out. Those that a generation names listen.
    pub listeners: Vec<ListenerView>,
    /// Backends that no generation names any more and that still have connections.
    pub leaving: Arc<BTreeMap<EndpointSlot, Leaving>>,
    /// Superseded parts that are still held, with the names of their pools.
    pub pins: Arc<[(Pin, String)]>,
    pub jobs: Vec<JobLine>,
}

#[derive(Clone, Copy, Debug)]
pub struct ShardView {
    pub shard: ShardId,
    pub state: ShardState,
    pub restarts: u64,
}

#[derive(Clone, Debug)]
pub struct ListenerView {
    pub pool: PoolId,
    pub address: String,
    pub state: ListenerState,
}

/// A backend that is gone from the document.
#[derive(Clone, Debug)]
pub struct Leaving {
    pub pool: PoolId,
    pub group: Arc<str>,
    pub id: Arc<str>,
    pub address: String,
    /// The job that removed it.
    pub job: JobId,
    pub weight: u32,
    pub backup: bool,
    pub drain: bool,
    pub max_connections: Option<u32>,
}

/// Health and addresses of endpoints, by slot. Locked for the length of one look.
#[derive(Debug, Default)]
pub struct Board {
    states: Mutex<HashMap<EndpointSlot, EndpointState>>,
}

impl Board {
    pub fn state(&self, slot: EndpointSlot) -> Option<EndpointState> {
        self.states().get(&slot).cloned()
    }

    pub fn set(&self, state: EndpointState) {
        self.states().insert(state.slot, state);
    }

    pub fn forget(&self, slot: EndpointSlot) {
        self.states().remove(&slot);
    }

    pub fn all(&self) -> Vec<EndpointState> {
        self.states().values().cloned().collect()
    }

    fn states(&self) -> MutexGuard<'_, HashMap<EndpointSlot, EndpointState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
