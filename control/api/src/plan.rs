//! What a document would change, told before it changes anything.

use crate::drift::Undone;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The running generation that the document was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The document equals what runs; `changes` is empty.
    pub unchanged: bool,
    pub changes: Vec<PlannedChange>,
    /// The changes whose class is not `soft`, once more by themselves.
    pub restart_reasons: Vec<RestartReason>,
    pub warnings: Vec<Problem>,
    /// What runtime orders have changed and this would change again. Absent: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undoes: Vec<Undone>,
    /// Unified diff of what runs and what would run, both written out in the same order. Absent: not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Pools that get a new generation; every other stays pointer-equal.
    pub pools: Vec<String>,
    /// Addresses that begin or cease to be listened on.
    pub listeners: Vec<String>,
}

/// One changed field, or one object that comes or goes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedChange {
    /// Such as `pool.db.group.main.backend.a.weight`.
    pub path: String,
    /// Absent: the setting belongs to no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The object within the pool, such as `backend a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    pub kind: ChangeKind,
    /// As operators name it, such as `lbBackends`.
    pub category: String,
    pub class: Class,
    pub reach: Reach,
    /// Stable, for programs.
    pub reason_code: String,
    /// One sentence: why it has this class and this reach.
    pub reason: String,
    /// Absent: was not there, or is more than one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// Absent: will not be there, or is more than one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Live connections that this change concerns, counted when the plan was made; none of them is closed
    /// by it unless the reach says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched_connections: Option<u64>,
    /// Those of them that are tunnels: of a TCP pool all, of an HTTP pool what was upgraded, such as a WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched_tunnels: Option<u64>,
    /// Requests per second that this change concerns, sampled from the shards while the plan was made. Absent: as of
    /// `touched_connections`; and in the plan of a job, which is not held up for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched_requests: Option<u64>,
    /// The name stays and the targets are all others: perhaps another application.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub semantic_jump: bool,
}

/// What becomes of the field or object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Added,
    Removed,
    /// It had a value and has another now.
    Set,
}

/// Why a change cannot be made live.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartReason {
    pub path: String,
    pub class: Class,
    /// Stable, for programs.
    pub code: String,
    /// One sentence.
    pub reason: String,
}

/// What applying a change takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Applied to the running pool.
    Soft,
    /// A controlled restart of the pool.
    Hard,
    /// A restart of the appliance.
    Process,
}

/// When a change is felt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    Now,
    /// Of open tunnels: at their next timer.
    NextTimerTick,
    NextRequest,
    NextHandshake,
    NextConnection,
    /// Settings of the reload itself: from the next job on.
    NextSubmission,
    /// With the restart that the class asks for.
    Restart,
}

impl Class {
    pub fn label(self) -> &'static str {
        match self {
            Class::Soft => "soft",
            Class::Hard => "hard",
            Class::Process => "process",
        }
    }
}

impl Reach {
    pub fn label(self) -> &'static str {
        match self {
            Reach::Now => "now",
            Reach::NextTimerTick => "next-timer-tick",
            Reach::NextRequest => "next-request",
            Reach::NextHandshake => "next-handshake",
            Reach::NextConnection => "next-connection",
            Reach::NextSubmission => "next-submission",
            Reach::Restart => "restart",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}
