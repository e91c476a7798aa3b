//! A rule as the operator means it: owned, readable, not yet compiled.
//!
//! Owns the vocabulary of conditions and actions and the bounds of one rule. Knows no syntax of files; `config`
//! fills this in, and [`Rule::compile`](super::Rule::compile) says what of it cannot be.

use super::source::SourceSet;
use crate::ids::{GroupSlot, ListSlot};
use std::sync::Arc;

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    pub id: Arc<str>,
    /// Rules are asked in ascending order; equal ones by id. A sparse key: an insertion shifts nothing.
    pub order: u64,
    pub when: When,
    pub action: ActionSpec,
    /// What the origin is sent differs from what the client sent by these.
    pub request_edits: Vec<EditSpec>,
    /// What the client is sent differs from what the origin sent by these.
    pub response_edits: Vec<EditSpec>,
    pub rewrite: Option<RewriteSpec>,
    /// The `Host` that the origin is sent: a text. `None`: the client's.
    pub host: Option<String>,
}

impl RuleSpec {
    /// Conditions of one rule, counted with those that hold others.
    pub const CONDITIONS_MAX: usize = 4_096;
    /// Conditions within conditions.
    pub const DEPTH_MAX: usize = 16;
    /// Edits of one direction.
    pub const EDITS_MAX: usize = 64;
    /// Different names that the path conditions of one rule capture.
    pub const CAPTURES_MAX: usize = 64;
    /// Segments of a path in a condition.
    pub const SEGMENTS_MAX: usize = 64;
}

/// What a rule asks of a request.
#[derive(Clone, Debug)]
pub enum When {
    /// `example.com`, or `*.example.com`: every host below, however deep, and not `example.com` itself.
    Host(String),
    Path(PathSpec),
    /// Any of these, by case.
    Method(Vec<String>),
    Header {
        name: String,
        value: ValueSpec,
    },
    /// A parameter of the query, name and value decoded as those of a form.
    Query {
        name: String,
        value: ValueSpec,
    },
    Source(SourceSet),
    /// A text of this list is the host, or `*.` and a name that it is below.
    HostList {
        slot: ListSlot,
        /// For `explain` only.
        name: String,
    },
    /// All of these; with none, always.
    All(Vec<When>),
    /// At least one of these; with none, never.
    Any(Vec<When>),
    Not(Box<When>),
}

impl When {
    pub fn always() -> When {
        When::All(Vec::new())
    }
}

/// What a rule asks of the path, which it sees in the [normal form](super::path).
#[derive(Clone, Debug)]
pub enum PathSpec {
    /// This path, no other: `/a` is not `/a/`.
    Exact(String),
    /// This path and all below it, by whole segments: `/a` and `/a/` both match `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix(String),
    /// `/users/{id}/x`: a name in braces is one segment that is not empty; `{rest*}` at the end is one or more
    /// segments, not all empty.
    Template(String),
    /// See [`pattern`](super::pattern).
    Regex(String),
}

/// What a rule asks of the values that one name has.
#[derive(Clone, Debug)]
pub enum ValueSpec {
    /// It has one, even if empty.
    Present,
    /// It has none.
    Absent,
    /// One of its values is this. Values are not divided at commas.
    Equals(String),
    /// One of its values begins with this.
    Prefix(String),
    /// One of its values matches this.
    Regex(String),
    /// One of its values is a text of this list.
    Listed {
        slot: ListSlot,
        /// For `explain` only.
        name: String,
    },
}

/// What is done with a request that a rule matches.
#[derive(Clone, Debug)]
pub enum ActionSpec {
    Group(GroupSlot),
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// `Location`: a text.
        target: String,
    },
    Respond {
        /// 200 to 599.
        status: u16,
        content_type: String,
        body: Arc<[u8]>,
    },
    Deny {
        /// 400 to 599.
        status: u16,
    },
}

/// One change to a head. Done in order, each on what the one before left.
#[derive(Clone, Debug)]
pub enum EditSpec {
    /// A field more, behind those that there are.
    Add {
        name: String,
        value: String,
    },
    /// In place of all fields of this name, one behind all others.
    Set {
        name: String,
        value: String,
    },
    Remove {
        name: String,
    },
}

/// The path that the origin is sent in place of the client's. It is always in normal form; the query stays.
#[derive(Clone, Debug)]
pub enum RewriteSpec {
    /// Where the path begins with `from`, by whole segments, it begins with `to` instead.
    Prefix { from: String, to: String },
    /// The leftmost match becomes `to`, in which `{1}` or `{name}` is a group of the match.
    Regex { pattern: String, to: String },
    /// All of it becomes this.
    Whole { to: String },
}
