//! The account of one attempt to change the configuration: kept, machine-readable, the same while it grows.

use crate::answer::Failure;
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Stored when the job ends; `connections`, `memory` and `released` grow until nothing of the old
/// generation is left. Times are RFC 3339 with microseconds, UTC.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    pub job: u64,
    pub outcome: JobOutcome,
    /// Running before. Absent: nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_before: Option<u64>,
    /// Running after: this job's own if the outcome is `applied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_after: Option<u64>,
    /// Absent: nobody asked, as at start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    pub source: Source,
    /// The order, such as `backend.remove`, for a job that came over the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    pub submitted: String,
    pub ended: String,
    /// When the last part that this job superseded was released. Absent: something is still pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// Absent: the job did not come to a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// In the order in which they were gone through.
    pub stages: Vec<StageTime>,
    pub shards: Vec<ShardAdoption>,
    pub connections: ConnectionCounts,
    /// Resident memory of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Shards that had not adopted when the job was answered; they accept nothing until they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_shards: Vec<u16>,
    /// The job with which this one became one generation: stages, shards and memory are in that one's receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
    /// It is in force, and a restart may not know of it: why it could not be written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
    /// With `kept-old`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// The definite state in which a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobOutcome {
    /// Every live shard runs it.
    Applied,
    /// Equal to what runs; nothing was done.
    Unchanged,
    /// Refused, failed or too late; what ran before runs, untouched.
    KeptOld,
}

impl JobOutcome {
    pub fn label(self) -> &'static str {
        match self {
            JobOutcome::Applied => "applied",
            JobOutcome::Unchanged => "unchanged",
            JobOutcome::KeptOld => "kept-old",
        }
    }
}

impl fmt::Display for JobOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Who asked, as the kernel says (peer credentials).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Author {
    pub uid: u32,
    pub gid: u32,
    /// Absent where the kernel does not know it, as across process namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The uid's name in the system's list of users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => f.pad(user),
            None => f.pad(&format!("uid {}", self.uid)),
        }
    }
}

/// Which way a submission came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Socket,
    Sighup,
    /// The configuration file was seen to change.
    File,
    Start,
    /// Entries of a list have expired.
    Expiry,
    /// What runs of a pool was not what its document says.
    SelfCheck,
    /// What others submitted within `reload.min_interval`, in one generation.
    Together,
}

impl Source {
    pub fn label(self) -> &'static str {
        match self {
            Source::Socket => "socket",
            Source::Sighup => "sighup",
            Source::File => "file",
            Source::Start => "start",
            Source::Expiry => "expiry",
            Source::SelfCheck => "self-check",
            Source::Together => "together",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A step of a job, in the order in which they come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// For other jobs on the same pools, or for superseded parts to be released.
    Wait,
    /// Parse and validate.
    Check,
    /// Compare with what runs.
    Plan,
    Compile,
    /// New addresses bound and listening, unseen.
    Bind,
    /// Every shard holds the change, nothing is visible.
    Prepare,
    /// From the first Commit to the last shard's Adopted.
    Adopt,
    /// Connections of removed backends end.
    Drain,
}

impl Stage {
    pub fn label(self) -> &'static str {
        match self {
            Stage::Wait => "wait",
            Stage::Check => "check",
            Stage::Plan => "plan",
            Stage::Compile => "compile",
            Stage::Bind => "bind",
            Stage::Prepare => "prepare",
            Stage::Adopt => "adopt",
            Stage::Drain => "drain",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StageTime {
    pub name: Stage,
    pub micros: u64,
}

/// What the switch was on one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardAdoption {
    pub shard: u16,
    /// From the first Commit sent to this shard's Adopted received.
    pub adopted_micros: u64,
    /// In which it served nobody because of the switch.
    pub pause_micros: u64,
    pub carried: u64,
    pub adopted: u64,
    pub retired: u64,
}

/// What became of the connections that were open at the switch, over all shards.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Go on as they were.
    pub carried: u64,
    /// Read the new generation at their next decision.
    pub adopted: u64,
    /// Were asked to end.
    pub retired: u64,
    /// Ended because of this job, by close reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    pub before_bytes: u64,
    pub after_bytes: u64,
}

/// A page of past jobs, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    pub jobs: Vec<PastJob>,
    /// There are older ones: ask with `before` the last one's number.
    #[serde(default)]
    pub more: bool,
}

/// One line of history; [`Receipt`] is the whole account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastJob {
    pub job: u64,
    pub outcome: JobOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    pub source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    pub submitted: String,
    /// From submission to answer.
    pub micros: u64,
    /// Fields changed.
    pub changes: u64,
    /// A few words: the pools changed, or why the old one was kept.
    pub summary: String,
}

/// Jobs that have not ended, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    pub jobs: Vec<Job>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    pub job: u64,
    pub stage: Stage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    pub source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    pub submitted: String,
    /// When it ends as `kept-old` if it is not through by then.
    pub deadline: String,
    /// Known after the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    /// Jobs that must end first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<u64>,
}
