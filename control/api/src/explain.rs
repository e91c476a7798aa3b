//! What would become of one request: the answer to [`crate::Order::Explain`].

use crate::problem::Place;
use crate::status::BackendStatus;
use serde::{Deserialize, Serialize};
use std::fmt;

/// By the generation that runs. No request is sent, and nothing is counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    pub pool: String,
    /// The generation that last changed the pool.
    pub generation: u64,
    pub method: String,
    /// With its port, if one was said.
    pub host: String,
    /// The client's address. Absent: it has none, as over a Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// As sent, without its query.
    pub path: String,
    /// The form of the path that rules are matched on. Absent: it has none, and the request is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal_path: Option<String>,
    /// Rules of the pool.
    pub rules: u64,
    /// Those that were looked at, in order; of the others host or path cannot be the request's.
    pub asked: Vec<AskedRule>,
    /// What is done.
    pub decision: Decision,
    /// How the answer's head is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_headers: Vec<HeaderEdit>,
}

/// A rule that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AskedRule {
    pub rule: String,
    /// Its turn among the pool's rules, from 1.
    pub turn: u64,
    /// Absent: the newest document does not have it as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The condition that does not hold. Absent: all hold, it is the request's rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
}

/// What is done with the request. `action` says which.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Decision {
    /// A backend is asked.
    Group {
        group: String,
        /// As in the document.
        balance: String,
        sent: Sent,
        backends: Vec<Candidate>,
    },
    Redirect {
        status: u16,
        location: String,
    },
    Respond {
        status: u16,
        content_type: String,
        body_bytes: u64,
    },
    Deny {
        status: u16,
    },
    /// No rule matches.
    NoRule {
        status: u16,
    },
    /// The request, or what the rule would make of it, is not fit to be sent on.
    Refused {
        status: u16,
        /// As in logs, such as `path-above-root`.
        reason: String,
    },
}

/// What the backend is sent, beside what every request of the pool is given (`X-Forwarded-For` and the like).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Path and query.
    pub target: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderEdit>,
}

/// One change to a head. Done in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeaderEdit {
    pub edit: EditKind,
    pub name: String,
    /// Absent with `remove`. `{request_id}` stands for what is known only when a request comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EditKind {
    /// One more of this name.
    Add,
    /// This one in place of all of its name.
    Set,
    Remove,
}

/// A backend of the group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    #[serde(flatten)]
    pub backend: BackendStatus,
    pub standing: Standing,
}

/// Whether the request would go there. An ejection holds on the shard that met the errors and changes nothing here:
/// see [`crate::status::BackendRequests::ejected`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The request is balanced over all of these.
    Asked,
    /// In rotation, behind those that are asked.
    Spare,
    /// In rotation, and at its cap.
    Full,
    /// Out of rotation.
    Out,
}

impl Standing {
    pub fn label(self) -> &'static str {
        match self {
            Standing::Asked => "asked",
            Standing::Spare => "spare",
            Standing::Full => "full",
            Standing::Out => "out",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl fmt::Display for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeaderEdit { edit, name, value } = self;
        match (edit, value) {
            (EditKind::Add, Some(value)) => write!(f, "add {name}: {value}"),
            (EditKind::Set, Some(value)) => write!(f, "set {name}: {value}"),
            (EditKind::Remove, _) | (_, None) => write!(f, "remove {name}"),
        }
    }
}
