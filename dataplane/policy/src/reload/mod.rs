//! The conversation of a reload: both ends, and every machine that it needs.
//!
//! ```text
//! control                                          each shard
//!   submit ──▶ Preparing ── Prepare ──────────────▶ holds the change, nothing visible
//!                 │ ◀────── Prepared | Refused ────
//!        all Prepared        any Refused, or late
//!                 │               └─▶ Abort ──────▶ forgets it;  job ends `refused`
//!                 ▼
//!             Committing ── Commit ───────────────▶ swaps the named slots between two events
//!                 │ ◀────── Adopted ───────────────
//!        all adopted, or `adopt_timeout` and the rest is lost
//!                 ▼
//!            job ends `applied`
//!                   ◀────── Released(part) ──────── its last lease ended (may come before others adopt)
//!          all released: free on the compiler thread
//! ```
//!
//! Each shard's two queues are first in, first out; nothing is assumed about the order between shards.

use crate::generation::{Change, EndpointState, Snapshot};
use crate::ids::{EndpointSlot, GenerationId, JobId, ListenerSlot, PartId, PoolSlot};
use crate::tick::Tick;
use std::sync::Arc;
use std::time::Duration;

/// Control → shard.
#[derive(Clone, Debug)]
pub enum Order {
    /// Everything that can fail happens now; nothing becomes visible.
    Prepare { job: JobId, change: Arc<Change> },
    /// Cannot fail. Answered by [`Report::Adopted`].
    Commit { job: JobId },
    /// Forget a prepared change. Not answered.
    Abort { job: JobId },
    /// The shard is lost: it accepts nothing until [`Order::Sync`]. Not answered.
    Suspend,
    /// Take this root as a whole: at start, after having been lost, after control came back.
    /// Prepared changes are forgotten. Answered by [`Report::Synced`].
    Sync { epoch: u64, to: Arc<Snapshot> },
    /// Tell what you hold. Asked by a control that has restarted; answered by [`Report::Holding`].
    Tell { epoch: u64 },
    /// Runtime state of an endpoint, learned by control. Not a generation.
    Endpoint(EndpointState),
    /// No handshake is pending on this address any more: stop accepting there and give it back.
    Close { listener: ListenerSlot },
    /// End the tunnels of these endpoints now, paced (`backend remove --now`).
    Retire { endpoint: EndpointSlot },
    /// Leave all addresses, let connections end, end what is left at the deadline. Answered by [`Report::Stopped`].
    Stop { deadline: Tick },
}

/// Shard → control.
#[derive(Clone, Debug)]
pub enum Report {
    Prepared { job: JobId },
    Refused { job: JobId, refusal: Refusal },
    Adopted { job: JobId, adoption: Adoption },
    Synced { epoch: u64 },
    Holding { epoch: u64, held: Held },
    /// No lease on this superseded part is left here and none can come.
    Released { part: PartId },
    /// No connection uses this endpoint here and none will.
    EndpointReleased { endpoint: EndpointSlot },
    /// The shard's borrowed socket of this address is no longer in use.
    ListenerClosed { listener: ListenerSlot },
    /// Every connection has ended.
    Stopped,
    /// The executor is gone, and with it every connection it had. Last report of this incarnation; sent by its keeper.
    Died,
}

/// What one shard's switch cost.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Adoption {
    /// Time in which the shard served nobody because of the switch.
    pub pause: Duration,
    /// Live connections of the changed pools that go on as they were.
    pub carried: u32,
    /// Connections that will read the new generation at their next decision.
    pub adopted: u32,
    /// Connections that were asked to end.
    pub retired: u32,
}

/// What a shard answers to [`Order::Tell`].
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Current parts by pool, with the generation that each has.
    pub current: Vec<Arc<crate::generation::PoolGeneration>>,
    /// Superseded parts that are still leased.
    pub pinned: Vec<Pinned>,
    /// Changes that are prepared and neither committed nor aborted.
    pub prepared: Vec<(JobId, Arc<Change>)>,
    /// The newest job this shard has committed.
    pub committed: Option<JobId>,
    pub listening: Vec<ListenerSlot>,
    pub leaving: Vec<ListenerSlot>,
    pub endpoints_leaving: Vec<EndpointSlot>,
}

/// A superseded part and why it lives.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub part: Part,
    pub leases: u32,
}

/// A strong reference to a separately pinnable part.
#[derive(Clone, Debug)]
pub enum Part {
    Pool(Arc<crate::generation::PoolGeneration>),
    Policy(Arc<crate::generation::TunnelPolicy>),
}

impl Part {
    pub fn id(&self) -> PartId {
        match self {
            Part::Pool(pool) => pool.part,
            Part::Policy(policy) => policy.part,
        }
    }
    pub fn pool(&self) -> PoolSlot {
        match self {
            Part::Pool(pool) => pool.slot,
            Part::Policy(policy) => policy.pool,
        }
    }
    pub fn number(&self) -> GenerationId {
        match self {
            Part::Pool(pool) => pool.number,
            Part::Policy(policy) => policy.number,
        }
    }
    /// Heap bytes that are kept by keeping this.
    pub fn bytes(&self) -> u64 {
        match self {
            Part::Pool(pool) => pool.bytes,
            Part::Policy(policy) => policy.bytes,
        }
    }
}

/// Why a shard will not take a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A table of the shard is at its bound: which, and the bound.
    TableFull { table: &'static str, bound: usize },
    /// A socket that control lent could not be used.
    Listener { listener: ListenerSlot, error: String },
    /// The shard is suspended or stopping.
    NotServing,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::TableFull { table, bound } => write!(f, "the {table} table is full ({bound} entries)"),
            Refusal::Listener { listener, error } => write!(f, "listener {listener}: {error}"),
            Refusal::NotServing => write!(f, "the shard is not serving"),
        }
    }
}
