//! What is: the appliance, its shards, pools, backends, generations, keys.

use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    pub version: String,
    pub uptime_seconds: u64,
    /// The newest generation in force.
    pub generation: u64,
    /// Of the running document, canonical; 32 hex digits. Equal configuration, equal hash.
    pub hash: String,
    pub config: ConfigSource,
    /// It accepts nothing new and waits for connections to end.
    #[serde(default)]
    pub stopping: bool,
    pub shards: Vec<ShardStatus>,
    pub pools: Vec<PoolStatus>,
}

/// Where the document came from; typed orders may have changed it since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigSource {
    File(String),
    /// The default that is built in.
    Embedded,
    /// The name that an `apply` over the socket gave.
    Submitted(String),
    /// A `rollback` to this generation.
    Generation(u64),
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigSource::File(path) => f.write_str(path),
            ConfigSource::Embedded => f.write_str("the embedded default"),
            ConfigSource::Submitted(name) => write!(f, "{name} (submitted)"),
            ConfigSource::Generation(number) => write!(f, "generation {number}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardStatus {
    pub shard: u16,
    pub state: ShardState,
    /// The newest that it has adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    pub connections: u64,
    /// Since it was first started.
    pub accepted: u64,
    /// Times its executor had to be started again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShardState {
    Starting,
    Serving,
    /// Missed a generation; accepts nothing until it has taken a whole one.
    Lost,
    /// Its executor is gone, another is being started.
    Dead,
    Stopping,
}

impl ShardState {
    pub fn label(self) -> &'static str {
        match self {
            ShardState::Starting => "starting",
            ShardState::Serving => "serving",
            ShardState::Lost => "lost",
            ShardState::Dead => "dead",
            ShardState::Stopping => "stopping",
        }
    }
}

impl fmt::Display for ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolStatus {
    pub pool: String,
    /// The generation that last changed it.
    pub generation: u64,
    pub connections: u64,
    /// Since the pool came into being.
    pub accepted: u64,
    /// Connections that wait for a free backend.
    pub queue: u64,
    /// Of an HTTP pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsStatus>,
    /// Of an HTTP pool, by group: how long their backends take to begin an answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Latency>,
    pub listeners: Vec<ListenerStatus>,
    pub backends: Vec<BackendStatus>,
}

/// What a pool has answered since it came into being.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestsStatus {
    /// That have ended, answered or not.
    pub ended: u64,
    /// By the first digit of the status: 1xx to 5xx.
    pub answers: [u64; 5],
    pub retries: u64,
    /// From the first byte of a request to the last one of its answer.
    pub latency: Latency,
}

/// How long something took. Unit: microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Since the start.
    pub count: u64,
    /// Since the start.
    pub sum: u64,
    /// Of the last one to two minutes. Absent: there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<Percentiles>,
}

/// Exact to one part in a hundred. Unit: microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub address: String,
    pub state: ListenerState,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerState {
    /// Bound and listening, no connection can begin yet.
    Bound,
    Listening,
    /// No new connection can begin; those that had begun are still served.
    Leaving,
    /// Accepted from until empty, then closed.
    Draining,
    Closed,
}

impl ListenerState {
    pub fn label(self) -> &'static str {
        match self {
            ListenerState::Bound => "bound",
            ListenerState::Listening => "listening",
            ListenerState::Leaving => "leaving",
            ListenerState::Draining => "draining",
            ListenerState::Closed => "closed",
        }
    }
}

impl fmt::Display for ListenerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    pub group: String,
    pub backend: String,
    pub address: String,
    /// Where a name leads now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved: Vec<String>,
    pub health: Health,
    pub connections: u64,
    /// Of an HTTP pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<BackendRequests>,
    pub weight: u32,
    pub drain: bool,
    pub backup: bool,
    /// Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Out of the document; its last connections are ending.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// What a backend was asked and how it did.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendRequests {
    pub sent: u64,
    /// Of these, over a connection that had served one before.
    pub reused: u64,
    /// Connections kept for the next request.
    pub idle: u64,
    /// Answers with a status of 500 or more.
    pub server_errors: u64,
    /// Not answered, or not to the end.
    pub broken: u64,
    /// Shards that leave it out for what it answered.
    pub ejected: u64,
    /// From the connection being there to the first byte of the answer.
    pub latency: Latency,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// The group has no checks: counts as up.
    Unchecked,
    /// New and not yet checked: used only while nothing else is up.
    Unproven,
    Up,
    Down,
    /// Its name has never led to an address.
    Unresolved,
}

impl Health {
    pub fn label(self) -> &'static str {
        match self {
            Health::Unchecked => "unchecked",
            Health::Unproven => "unproven",
            Health::Up => "up",
            Health::Down => "down",
            Health::Unresolved => "unresolved",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// What runs in each pool, and what of the past is still held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Generations {
    /// The newest generation in force.
    pub generation: u64,
    /// Held by superseded parts, over all pools.
    pub retained_bytes: u64,
    /// `reload.retained_max`, for each pool.
    pub retained_bytes_max: u64,
    pub pools: Vec<PoolGenerations>,
    /// Those that can be gone back to, the newest, which runs, first.
    #[serde(default)]
    pub kept: Vec<KeptGeneration>,
}

/// A generation that `rollback` can go back to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptGeneration {
    pub generation: u64,
    /// Of the whole document.
    pub hash: String,
    /// RFC 3339.
    pub since: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolGenerations {
    pub pool: String,
    /// The generation that last changed it. Absent: the pool is gone and only its past is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    pub retained_bytes: u64,
    pub pinned: Vec<PinnedPart>,
}

/// A superseded part that something still uses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinnedPart {
    /// The generation that it belongs to.
    pub generation: u64,
    pub part: PartKind,
    pub bytes: u64,
    /// Who pins it.
    pub pinned_by: Vec<PinningShard>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// The pool's root: leased by connections whose backend is not chosen yet.
    Pool,
    /// What an open tunnel needs: leased until it ends.
    TunnelPolicy,
}

impl PartKind {
    pub fn label(self) -> &'static str {
        match self {
            PartKind::Pool => "pool",
            PartKind::TunnelPolicy => "tunnel-policy",
        }
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinningShard {
    pub shard: u16,
    /// Absent: control does not know the number, only that there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<u64>,
}

/// The running document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunningConfig {
    pub generation: u64,
    /// As [`Status::hash`].
    pub hash: String,
    pub source: ConfigSource,
    /// TOML, in canonical order.
    pub document: String,
}

/// The document is valid.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Checked {
    /// As [`Status::hash`].
    pub hash: String,
    pub pools: u64,
    pub warnings: Vec<Problem>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Prometheus text exposition format 0.0.4.
    pub text: String,
}

/// The last answer of an appliance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stopped {
    /// Connections that were still open at the deadline and were ended.
    pub closed_connections: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// Of the appliance.
    pub version: String,
    /// As [`crate::PROTOCOL`].
    pub protocol: u32,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
