//! Forms: what a key's value may look like, and how it is read, shown and described.
//!
//! A form says everything once: the reader, the error's "accepted", the manual and the JSON Schema all ask
//! it. Here is what all forms have in common; each kind has a file, and addresses have `address`.

use crate::place::{Span, is_bare};
use crate::problem::Code;
use crate::tree::Node;
use serde_json::json;
use std::fmt;

mod action;
mod condition;
mod edits;
mod expected;
mod fields;
mod host;
mod http;
mod log_line;
mod number;
mod path;
mod shards;
mod word;

pub(crate) use action::{ContentType, Denial, RedirectTo, Response, Rewriting};
pub use action::{Redirect, Respond, Rewrite, RewritePath};
pub use condition::ValueTest;
pub(crate) use condition::{Named, Nested, NotNested, Sources, Texts};
pub(crate) use edits::Edits;
pub use edits::HeaderEdits;
pub(crate) use expected::{ClientAddress, Expected, RequestLine, SaidHeaders};
pub use expected::{Expect, ExpectHeader, ExpectSent};
pub(crate) use fields::{Fields, Maybe};
pub(crate) use host::HostList;
pub(crate) use http::{HashedBy, MethodName, Plain, StatusRanges, Statuses, Target};
pub(crate) use log_line::LogLine;
pub use log_line::{LogField, LogPiece, LogTemplate};
pub(crate) use number::{Bytes, Count, Flag, Time};
pub(crate) use path::{FileMode, FilePath, Patterns, absolute};
pub use shards::Shards;
pub(crate) use shards::{ShardCount, ShardList};
pub(crate) use word::{OneOf, Word, all_words, words};

/// What people and editors are told of a form.
pub trait Describe: Sync {
    /// One word or two: `duration`, `list of addresses`.
    fn kind(&self) -> &'static str;
    /// Continues "accepted: …".
    fn accepted(&self) -> String;
    /// As JSON Schema, draft 2020-12.
    fn schema(&self) -> serde_json::Value;
    fn unit(&self) -> Option<&'static str> {
        None
    }
}

pub(crate) trait Form: Describe {
    type Value;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>>;

    /// Equal values are shown equally, and what is shown reads as the same value.
    fn show(&self, value: &Self::Value) -> Shown;
}

/// Why a value is not taken. Its place is the value's unless it has one of its own.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) found: String,
    pub(crate) span: Option<Span>,
    pub(crate) help: Option<String>,
    pub(crate) also: Option<(String, Option<Span>)>,
    /// Which part of the value, as its path goes on: `[2]`, `.to`. Empty: all of it.
    pub(crate) at: String,
    /// Of that part. `None`: what the form says.
    pub(crate) accepted: Option<String>,
}

impl Wrong {
    pub(crate) fn value(node: &Node, message: impl Into<String>) -> Wrong {
        Wrong {
            code: Code::BadValue,
            message: message.into(),
            found: node.shown(),
            span: node.span,
            help: None,
            also: None,
            at: String::new(),
            accepted: None,
        }
    }

    pub(crate) fn kind(node: &Node, expected: &str) -> Wrong {
        Wrong { code: Code::WrongType, ..Wrong::value(node, format!("expected {expected}, found {}", node.kind())) }
    }

    pub(crate) fn within(mut self, part: &str) -> Wrong {
        self.at.insert_str(0, part);
        self
    }

    pub(crate) fn accepted(mut self, accepted: impl Into<String>) -> Wrong {
        self.accepted = Some(accepted.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Wrong {
        self.help = Some(help.into());
        self
    }
}

/// A value in canonical writing, before it becomes TOML, JSON or a hash.
#[derive(Clone, PartialEq, Debug)]
pub enum Shown {
    /// Not written at all.
    Absent,
    Boolean(bool),
    Integer(u64),
    Text(String),
    List(Vec<Shown>),
    /// In the order of its writing.
    Table(Vec<(String, Shown)>),
}

impl Shown {
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Shown::Absent => serde_json::Value::Null,
            Shown::Boolean(flag) => json!(flag),
            Shown::Integer(number) => json!(number),
            Shown::Text(text) => json!(text),
            Shown::List(list) => list.iter().map(Shown::to_json).collect(),
            Shown::Table(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// As TOML. Dollar signs are doubled, so that reading it back replaces nothing.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Absent => Ok(()),
            Shown::Boolean(flag) => flag.fmt(f),
            Shown::Integer(number) => number.fmt(f),
            Shown::Text(text) => toml::Value::from(crate::variable::escape(text).as_ref()).fmt(f),
            Shown::List(list) => {
                f.write_str("[")?;
                for (ix, item) in list.iter().enumerate() {
                    if ix > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Shown::Table(fields) if fields.is_empty() => f.write_str("{}"),
            Shown::Table(fields) => {
                for (ix, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if ix == 0 { "{ " } else { ", " })?;
                    match is_bare(name) {
                        true => f.write_str(name)?,
                        false => toml::Value::from(name.as_str()).fmt(f)?,
                    }
                    write!(f, " = {value}")?;
                }
                f.write_str(" }")
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Form;
    use crate::tree;

    /// The value as shown again, or the first complaint.
    pub fn check<F: Form>(form: &F, toml: &str, expected: &str) {
        let mut problems = crate::problem::Problems::default();
        let mut files = crate::place::Files::default();
        let text = format!("x = {toml}");
        let file = files.add("x.toml".into(), text.clone());
        let variables = |name: &str| Some(name.trim_start_matches('_').to_string());
        let table = tree::from_toml(file, &text, &variables, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        let got = match form.read(table.get("x").unwrap()) {
            Ok(value) => form.show(&value).to_string(),
            Err(wrong) => format!("error: {}", wrong[0].message),
        };
        assert_eq!(got, expected, "{toml}");
    }
}
