//! The conversation of a reload: both ends, and every machine that it needs.
//!
//! ```text
//! control                                          each shard
//!   submit ──▶ Preparing ── Prepare ──────────────▶ holds the change, nothing visible
//!                 │ ◀────── Prepared | Refused ────
//!        all Prepared        any Refused, or late
//!                 │               └─▶ Abort ──────▶ forgets it;  job ends `refused`
//!                 │ ◀────── Forgotten ─────────────  so that control may free what it held
//!                 ▼
//!             Committing ── Commit ───────────────▶ swaps the named slots between two events
//!                 │ ◀────── Adopted ───────────────
//!        all adopted, or `adopt_timeout` and the rest is lost
//!                 ▼
//!            job ends `applied`
//!                   ◀────── Released(part) ──────── its last lease ended (may come before others adopt)
//!          all released: free on the compiler thread
//!
//! a shard that starts, was lost, or whose control restarted:
//!              Joining ──── Sync ─────────────────▶ takes the whole root, accepts nothing yet
//!                 │ ◀────── Synced(all it holds) ──
//!        the root is still the newest
//!                 └──────── Resume ───────────────▶ accepts
//! ```
//!
//! Each shard's two queues are first in, first out; nothing is assumed about the order between shards.
//!
//! Two rules carry the rest:
//!
//! - **A shard is live or it is not.** A live shard runs the newest root and takes part in every job. Of
//!   one that is not live nothing is believed until its `Synced` has told all that it holds.
//! - **Whatever a shard lets go of travels home.** A [`Report::Released`] carries the reference itself, so
//!   that no shard ever frees a generation.
//!
//! The shard's end is [`adopter`], control's end is [`rollout`]. Both are values: messages and a
//! [`Tick`] go in, deeds and effects come out.

use crate::generation::{Change, EndpointState, PoolGeneration, Snapshot, TunnelPolicy};
use crate::ids::{EndpointSlot, GenerationId, JobId, ListenerSlot, PartId, PoolSlot, RootVersion};
use crate::tick::Tick;
use std::sync::Arc;
use std::time::Duration;

pub mod adopter;
mod committed;
pub mod lease;
pub mod listener;
pub mod pace;
pub mod planted;
pub mod rollout;
#[cfg(test)]
mod tests;

pub use adopter::{Adopter, Deed, PolicyLease, RootLease, Session};
pub use committed::Committed;
pub use rollout::{Bounds, Effect, Outcome, Rollout, Touches};

/// Control → shard.
#[derive(Clone, Debug)]
pub enum Order {
    /// Everything that can fail happens now; nothing becomes visible.
    Prepare { job: JobId, change: Arc<Change> },
    /// Cannot fail. Answered by [`Report::Adopted`].
    Commit { job: JobId, version: RootVersion },
    /// Forget a prepared change. Answered by [`Report::Forgotten`].
    Abort { job: JobId },
    /// The shard is lost: it accepts nothing until [`Order::Resume`]. Not answered.
    Suspend,
    /// Take this root as a whole: at start, after having been lost, after control came back.
    /// Prepared changes are forgotten. Answered by [`Report::Synced`].
    Sync { epoch: u64, to: Arc<Snapshot> },
    /// The shard is live: it accepts. Sent only while its root is the newest. Not answered.
    Resume,
    /// Tell what you hold. Asked by a control that has restarted; answered by [`Report::Holding`].
    Tell { epoch: u64 },
    /// Runtime state of an endpoint, learned by control. Not a generation.
    Endpoint(EndpointState),
    /// No handshake is pending on this address any more: stop accepting there and give it back.
    Close { listener: ListenerSlot },
    /// End the tunnels of these endpoints now, paced (`backend remove --now`).
    Retire { endpoint: EndpointSlot },
    /// Leave all addresses, let connections end, end what is left at the deadline. Answered by
    /// [`Report::Leaving`] at once and by [`Report::Stopped`] in the end.
    Stop { deadline: Tick },
}

/// Shard → control.
#[derive(Clone, Debug)]
pub enum Report {
    Prepared {
        job: JobId,
    },
    Refused {
        job: JobId,
        refusal: Refusal,
    },
    Adopted {
        job: JobId,
        adoption: Adoption,
    },
    /// Nothing of an aborted change is left here.
    Forgotten {
        job: JobId,
    },
    Synced {
        epoch: u64,
        held: Box<Held>,
    },
    Holding {
        epoch: u64,
        held: Box<Held>,
    },
    /// No lease on this superseded part is left here and none can come. Carries the shard's reference.
    Released {
        part: Part,
    },
    /// No connection uses this endpoint here and none will.
    EndpointReleased {
        endpoint: EndpointSlot,
    },
    /// The shard's borrowed socket of this address is no longer in use.
    ListenerClosed {
        listener: ListenerSlot,
    },
    /// Answer to [`Order::Stop`]: every address here drops SYNs now. These are all that are still used.
    Leaving {
        listeners: Vec<ListenerSlot>,
    },
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

/// All that one shard holds, as it was when it sent this.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub version: RootVersion,
    /// The root, sorted by slot.
    pub current: Vec<Arc<PoolGeneration>>,
    /// Superseded parts that are still leased.
    pub pinned: Vec<Pinned>,
    /// Changes that are prepared and neither committed nor aborted.
    pub prepared: Vec<(JobId, Arc<Change>)>,
    /// Jobs that the root contains.
    pub committed: Committed,
    pub listening: Vec<ListenerSlot>,
    pub leaving: Vec<ListenerSlot>,
    pub endpoints_leaving: Vec<(PoolSlot, EndpointSlot)>,
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
    Pool(Arc<PoolGeneration>),
    Policy(Arc<TunnelPolicy>),
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
            Refusal::TableFull { table, bound } => {
                write!(f, "the {table} table is full ({bound} entries)")
            }
            Refusal::Listener { listener, error } => write!(f, "listener {listener}: {error}"),
            Refusal::NotServing => write!(f, "the shard is not serving"),
        }
    }
}
