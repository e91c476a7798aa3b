//! What is decided of an HTTP request: which rule it meets, and what that rule changes.
//!
//! Plain values in, plain values out, and no memory taken per request. A request is a borrowed view
//! ([`Request`]) that a parsed head fills in; the shard that asks lends its [`Scratch`].
//!
//! ```text
//! RuleSpec ──compile──▶ Rule ─┐            path as sent ──normalise──▶ NormalPath ─┐
//!            (once per content)├─▶ Rules                                            ├─▶ Request
//!                        Rule ─┘     │                      method, host, headers ──┘      │
//!                                    └────────────────────── route ◀──────────────────────┘
//!                                                              │
//!                                          Rule: action, edits, rewrites
//! ```
//!
//! A rule that says the same in two generations is the same `Arc<Rule>`, and of the table round it only what leads to
//! rules that differ is made again.

pub mod affinity;
mod anchor;
mod condition;
mod decide;
mod edits;
pub mod eject;
mod explain;
mod index;
mod list;
mod meaning;
#[cfg(any(test, feature = "naive"))]
pub mod naive;
pub mod path;
pub mod pattern;
mod request;
pub mod retry;
mod rule;
mod rules;
mod service;
pub mod shadow;
mod site;
mod source;
mod spec;
mod tally;
mod template;
#[cfg(test)]
mod tests;
mod text;

pub use condition::HostTest;
pub use decide::{Changes, Decided, Decider, Incoming, Memory, Outcome};
pub use edits::{Expanded, Unfit};
pub use explain::{Finding, Step};
pub use list::{Entry, List, ListDifference, ListDraft, ListKind, Lists, Note, Noted};
pub use path::{EscapedSlash, NormalPath, PathViolation, normalise};
pub use pattern::PatternError;
pub use request::{Headers, Pairs, Request};
pub use rule::{Action, Problem, Rule, Why};
pub use rules::{Rules, Scratch, Shape, TableError, Turn};
pub use service::{GroupHttp, HttpService, HttpTimeouts, Page, Pages};
pub use site::{Member, Site, Sites, Whose};
pub use source::{Prefix, PrefixSet, SourceSet};
pub use spec::{ActionSpec, EditSpec, PathSpec, RewriteSpec, RuleSpec, ValueSpec, When};
pub use tally::{Tallied, Tallies, Tally};
pub use template::TemplateError;
// A configuration speaks of these and has no business with the bytes behind them.
pub use text::{Captures, Fact, Facts, Oversized, Text, TextError};
pub use wire::h1::write::{Chain, Edit as HeadEdit, Upgrades, may_edit};
pub use wire::h1::{FIELDS_MAX, Limits};
