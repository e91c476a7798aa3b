//! What happened, as it happens.

use crate::order::StopMode;
use crate::receipt::{JobOutcome, Source, Stage};
use crate::status::{Health, ListenerState, PartKind};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one; `events` with `from` continues after a lost connection.
    pub number: u64,
    /// RFC 3339 with microseconds, UTC.
    pub time: String,
    #[serde(flatten)]
    pub happening: Happening,
}

/// `event` says which.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// A job has begun.
    JobSubmitted {
        job: u64,
        source: Source,
    },
    JobStage {
        job: u64,
        stage: Stage,
    },
    JobEnded {
        job: u64,
        outcome: JobOutcome,
        /// Running now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
    },
    /// A shard runs the job's generation.
    Adopted {
        job: u64,
        shard: u16,
        adopted_micros: u64,
        pause_micros: u64,
    },
    /// A shard did not adopt in time and accepts nothing until it has.
    ShardLost {
        shard: u16,
        job: u64,
    },
    /// A shard's executor is gone with its connections; another is started.
    ShardDied {
        shard: u16,
    },
    /// A lost or new shard has taken a whole generation and serves.
    ShardBack {
        shard: u16,
    },
    /// The last connection of a removed backend has ended. Exactly once for each removal.
    Drained {
        pool: String,
        group: String,
        backend: String,
    },
    /// Nothing uses this superseded part any more.
    Released {
        pool: String,
        /// The generation that the part belonged to.
        generation: u64,
        part: PartKind,
        bytes: u64,
    },
    /// What runs of a pool is not what its document says, as the hashes of both meanings tell: a defect of the appliance.
    Miscompiled {
        pool: String,
        /// Which last changed the pool.
        generation: u64,
        runs: String,
        says: String,
    },
    Listener {
        pool: String,
        address: String,
        state: ListenerState,
    },
    Health {
        pool: String,
        group: String,
        backend: String,
        health: Health,
        /// What the check saw, such as `connection refused`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// A backend's name leads elsewhere now.
    Resolved {
        pool: String,
        group: String,
        backend: String,
        addresses: Vec<String>,
    },
    /// The appliance begins to stop.
    Stopping {
        mode: StopMode,
        /// When connections that are still open are ended. Unit: milliseconds from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_millis: Option<u64>,
    },
    /// This client was too slow, or asked for events that are forgotten: so many are left out here.
    Missed {
        events: u64,
    },
}
