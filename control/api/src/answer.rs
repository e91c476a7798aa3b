//! What comes back: any number of `processing`, then exactly one `ok` or `error`.

use crate::drift::{Drift, Folded};
use crate::event::Event;
use crate::explain::Explanation;
use crate::keys::Keys;
use crate::plan::{Plan, RestartReason};
use crate::problem::Problem;
use crate::receipt::{History, Jobs, Receipt, Stage};
use crate::status::{Checked, Generations, Metrics, RunningConfig, Status, Stopped, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// One message to a client.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The request's own.
    #[serde(default)]
    pub id: Value,
    #[serde(flatten)]
    pub reply: Reply,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Reply {
    /// Final: done.
    Ok { result: Body },
    /// Final: not done, and nothing has changed unless the failure says so.
    Error { error: Box<Failure> },
    /// Not final: accepted and under way.
    Processing { progress: Progress },
}

impl Answer {
    pub fn ok(id: Value, result: Body) -> Answer {
        Answer { id, reply: Reply::Ok { result } }
    }

    pub fn error(id: Value, error: Failure) -> Answer {
        let error = Box::new(error);
        Answer { id, reply: Reply::Error { error } }
    }

    pub fn processing(id: Value, progress: Progress) -> Answer {
        Answer { id, reply: Reply::Processing { progress } }
    }

    pub fn decode(text: &[u8]) -> Result<Answer, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// No other answer follows.
    pub fn is_final(&self) -> bool {
        match self.reply {
            Reply::Ok { .. } | Reply::Error { .. } => true,
            Reply::Processing { .. } => false,
        }
    }
}

/// The result of an order. `kind` says which.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    Status(Status),
    Config(RunningConfig),
    Checked(Checked),
    Plan(Plan),
    Receipt(Box<Receipt>),
    Generations(Generations),
    History(History),
    Jobs(Jobs),
    Metrics(Metrics),
    Stopped(Stopped),
    Version(Version),
    Keys(Keys),
    Explanation(Box<Explanation>),
    Drift(Drift),
    Folded(Folded),
}

/// How far an order has come. `kind` says of what.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Progress {
    /// The job waits for others that change the same pools or addresses.
    Waiting { job: u64, behind: Vec<u64> },
    /// The job waits until superseded parts of a pool are released: it is at `reload.retained_max`.
    Retained { job: u64, pool: String, bytes: u64 },
    /// The job has reached this stage.
    Stage { job: u64, stage: Stage },
    /// No new connection goes to these backends; the generation that says so is adopted by every shard.
    Draining {
        job: u64,
        generation: u64,
        /// Left over all of them.
        connections: u64,
        backends: Vec<DrainingBackend>,
    },
    /// The appliance is stopping.
    Stopping { connections: u64 },
    /// Something happened; see [`crate::order::Events`].
    Event { event: Event },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainingBackend {
    pub pool: String,
    pub group: String,
    pub backend: String,
    pub connections: u64,
}

/// Why an order was not carried out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub code: ErrorCode,
    /// One or two sentences: what, where, and what would be accepted.
    pub message: String,
    /// The job that failed, if it came to one: `receipt` tells more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// The generation that is running, untouched by this failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Where the job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// With `invalid_configuration`: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// With `restart_required`: every change that cannot be made live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_reasons: Vec<RestartReason>,
    /// With `refused`: what each refusing shard said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<ShardRefusal>,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            job: None,
            generation: None,
            stage: None,
            problems: Vec::new(),
            restart_reasons: Vec::new(),
            refusals: Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardRefusal {
    pub shard: u16,
    pub reason: String,
}

/// Grouped by what the client should do next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Mend the message: it is no JSON, or a field is missing, unknown or of the wrong type.
    InvalidRequest,
    /// Mend the message: there is no order of this name.
    UnknownOrder,
    /// Mend the message: it is longer than the appliance takes.
    TooLarge,
    /// Mend the document: see `problems`.
    InvalidConfiguration,
    /// Plan it: the change needs a restart, see `restart_reasons`.
    RestartRequired,
    /// Look again: `if_generation` is not the running generation; or a document changes what orders have changed otherwise,
    /// see `problems`.
    Conflict,
    /// Look again: a document that came after it and within `reload.min_interval` says all, or what came with it has taken it
    /// back, so it never was in force.
    Superseded,
    /// Look again: what the order names is not there.
    NotFound,
    /// Look into it: a shard or the system would not, for instance an address is in use.
    Refused,
    /// Try again later: a queue or table is at its bound.
    Busy,
    /// Try again later: the job reached its deadline, `stage` says where; the old generation runs.
    TimedOut,
    /// Nothing to try here: the appliance is stopping.
    Stopping,
    /// Ask somebody else: this client may not do that.
    Permission,
}

impl ErrorCode {
    pub const ALL: [ErrorCode; 13] = [
        ErrorCode::InvalidRequest,
        ErrorCode::UnknownOrder,
        ErrorCode::TooLarge,
        ErrorCode::InvalidConfiguration,
        ErrorCode::RestartRequired,
        ErrorCode::Conflict,
        ErrorCode::Superseded,
        ErrorCode::NotFound,
        ErrorCode::Refused,
        ErrorCode::Busy,
        ErrorCode::TimedOut,
        ErrorCode::Stopping,
        ErrorCode::Permission,
    ];

    /// The word on the wire, in logs and in metric labels.
    pub fn label(self) -> &'static str {
        match self {
            ErrorCode::InvalidRequest => "invalid_request",
            ErrorCode::UnknownOrder => "unknown_order",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::InvalidConfiguration => "invalid_configuration",
            ErrorCode::RestartRequired => "restart_required",
            ErrorCode::Conflict => "conflict",
            ErrorCode::Superseded => "superseded",
            ErrorCode::NotFound => "not_found",
            ErrorCode::Refused => "refused",
            ErrorCode::Busy => "busy",
            ErrorCode::TimedOut => "timed_out",
            ErrorCode::Stopping => "stopping",
            ErrorCode::Permission => "permission",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
