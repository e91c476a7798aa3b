//! How entries are written: as an address or text alone, or as a table that says more of it.

use super::time;
use crate::form::{Describe, Fields, Form, Shown, Wrong};
use crate::prefix;
use crate::tree::{Node, Value};
use policy::http::{Entry, List, ListKind, Note, Noted};
use serde_json::json;
use std::path::PathBuf;

/// An entry as a document writes it. Of which kind it is, its list says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListEntry {
    pub entry: String,
    /// Seconds since 1970, UTC.
    pub expires: Option<u64>,
    pub reason: String,
}

impl ListEntry {
    pub(crate) fn of(entry: &Entry, note: &Noted) -> ListEntry {
        let Note { expires, reason } = note.as_deref().cloned().unwrap_or_default();
        ListEntry { entry: show(entry), expires, reason: reason.into() }
    }

    pub(crate) fn note(&self) -> Noted {
        Note::of(self.expires, &self.reason)
    }
}

/// An entry and what is noted of it, as one line of a plan shows them.
pub struct Spelled<'a>(pub &'a Entry, pub &'a Noted);

impl std::fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ListEntry { entry, expires, reason } = ListEntry::of(self.0, self.1);
        f.write_str(&entry)?;
        if let Some(expires) = expires {
            write!(f, " expires={}", time::show(expires))?;
        }
        if !reason.is_empty() {
            write!(f, " # {reason}")?;
        }
        Ok(())
    }
}

pub(crate) fn accepted(kind: ListKind) -> String {
    match kind {
        ListKind::Addresses => prefix::ACCEPTED.into(),
        ListKind::Texts => format!("a text of 1 to {} bytes without control characters", List::TEXT_BYTES_MAX),
    }
}

/// Error: why it is none.
pub(crate) fn parse(kind: ListKind, text: &str) -> Result<Entry, String> {
    match kind {
        ListKind::Addresses => prefix::parse(text).map(Entry::Address),
        ListKind::Texts if text.is_empty() => Err("an empty text".into()),
        ListKind::Texts if text.len() > List::TEXT_BYTES_MAX => {
            Err(format!("{} bytes, at most {} are accepted", text.len(), List::TEXT_BYTES_MAX))
        }
        ListKind::Texts if text.contains(char::is_control) => Err("a control character".into()),
        ListKind::Texts => Ok(text.into()),
    }
}

pub(crate) fn show(entry: &Entry) -> String {
    match entry {
        Entry::Address(prefix) => prefix::show(*prefix),
        Entry::Text(text) => text.to_string(),
    }
}

/// Error: why it is none.
pub(crate) fn reason(text: &str) -> Result<&str, String> {
    match text {
        long if long.len() > List::REASON_BYTES_MAX => {
            Err(format!("a reason of {} bytes, at most {} are accepted", long.len(), List::REASON_BYTES_MAX))
        }
        text if text.contains(char::is_control) => Err("a control character in a reason".into()),
        text => Ok(text.trim()),
    }
}

/// The entries of a list, as they are written.
pub(crate) struct EntryTexts;

impl Describe for EntryTexts {
    fn kind(&self) -> &'static str {
        "list of entries"
    }
    fn accepted(&self) -> String {
        "a list; each an address, a prefix or a text, or { entry = \"…\", expires = \"2026-12-01T00:00:00Z\", reason = \"…\" }"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string", "minLength": 1, "maxLength": List::TEXT_BYTES_MAX });
        let noted = json!({
            "type": "object",
            "properties": { "entry": text, "expires": { "type": "string" }, "reason": { "type": "string" } },
            "required": ["entry"],
            "additionalProperties": false,
        });
        json!({ "type": "array", "items": { "anyOf": [text, noted] } })
    }
}

impl Form for EntryTexts {
    type Value = Vec<ListEntry>;

    fn read(&self, node: &Node) -> Result<Vec<ListEntry>, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of entries")]);
        };
        let (mut entries, mut wrong) = (Vec::with_capacity(list.len()), Vec::new());
        for (ix, node) in list.iter().enumerate() {
            match read_one(node) {
                Ok(entry) => entries.push(entry),
                Err(wrongs) => {
                    let part = format!("[{ix}]");
                    let told = |wrong: Wrong| Wrong { span: wrong.span.or(node.span), ..wrong }.within(&part);
                    wrong.extend(wrongs.into_iter().map(told));
                }
            }
        }
        if wrong.is_empty() { Ok(entries) } else { Err(wrong) }
    }

    fn show(&self, entries: &Vec<ListEntry>) -> Shown {
        Shown::List(entries.iter().map(shown).collect())
    }
}

fn read_one(node: &Node) -> Result<ListEntry, Vec<Wrong>> {
    match &node.value {
        Value::Text { text, .. } => Ok(ListEntry { entry: text.clone(), expires: None, reason: String::new() }),
        Value::Table(_) => {
            let mut fields = Fields::of(node, &["entry", "expires", "reason"]).expect("just seen to be a table");
            let entry = fields.text("entry");
            let expires = fields.read("expires", &Moment);
            let reason = fields.read("reason", &Reason).unwrap_or_default();
            fields.end(entry.map(|entry| ListEntry { entry, expires, reason }), "`entry` is needed")
        }
        _ => Err(vec![Wrong::kind(node, "a string or a table")]),
    }
}

fn shown(ListEntry { entry, expires, reason }: &ListEntry) -> Shown {
    let entry = Shown::Text(entry.clone());
    if expires.is_none() && reason.is_empty() {
        return entry;
    }
    let mut fields = vec![("entry".to_string(), entry)];
    fields.extend(expires.map(|expires| ("expires".to_string(), Shown::Text(time::show(expires)))));
    if !reason.is_empty() {
        fields.push(("reason".to_string(), Shown::Text(reason.clone())));
    }
    Shown::Table(fields)
}

struct Moment;

impl Describe for Moment {
    fn kind(&self) -> &'static str {
        "time"
    }
    fn accepted(&self) -> String {
        time::ACCEPTED.into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

impl Form for Moment {
    type Value = u64;

    fn read(&self, node: &Node) -> Result<u64, Vec<Wrong>> {
        match &node.value {
            // With or without quotes.
            Value::Text { text, .. } | Value::Date(text) => {
                time::parse(text).ok_or_else(|| vec![Wrong::value(node, "not a moment since 1970")])
            }
            _ => Err(vec![Wrong::kind(node, "a date and time")]),
        }
    }

    fn show(&self, moment: &u64) -> Shown {
        Shown::Text(time::show(*moment))
    }
}

struct Reason;

impl Describe for Reason {
    fn kind(&self) -> &'static str {
        "text"
    }
    fn accepted(&self) -> String {
        format!("a text of at most {} bytes without control characters", List::REASON_BYTES_MAX)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "maxLength": List::REASON_BYTES_MAX })
    }
}

impl Form for Reason {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } => match reason(text) {
                Ok(reason) => Ok(reason.to_string()),
                Err(message) => Err(vec![Wrong::value(node, message)]),
            },
            _ => Err(vec![Wrong::kind(node, "a string")]),
        }
    }

    fn show(&self, reason: &String) -> Shown {
        Shown::Text(reason.clone())
    }
}

/// A file of entries. What is in it is read before.
pub(crate) struct ListPath;

impl Describe for ListPath {
    fn kind(&self) -> &'static str {
        "path"
    }
    fn accepted(&self) -> String {
        "a path, relative to this file".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Form for ListPath {
    type Value = Option<PathBuf>;

    fn read(&self, node: &Node) -> Result<Option<PathBuf>, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text.is_empty() || text.contains(char::is_control) => {
                Err(vec![Wrong::value(node, "not a path")])
            }
            Value::Text { text, .. } => Ok(Some(text.into())),
            _ => Err(vec![Wrong::kind(node, "a path")]),
        }
    }

    fn show(&self, path: &Option<PathBuf>) -> Shown {
        path.as_ref().map_or(Shown::Absent, |path| Shown::Text(path.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn entries_are_texts_or_say_more() {
        check(&EntryTexts, "[\"10.0.0.0/8\", { entry = \"x\" }]", "[\"10.0.0.0/8\", \"x\"]");
        check(
            &EntryTexts,
            "[{ entry = \"x\", expires = 2026-12-01T01:00:00+01:00, reason = \" seen \" }]",
            "[{ entry = \"x\", expires = \"2026-12-01T00:00:00Z\", reason = \"seen\" }]",
        );
        check(&EntryTexts, "\"x\"", "error: expected a list of entries, found a string");
        check(&EntryTexts, "[7]", "error: expected a string or a table, found an integer");
        check(&EntryTexts, "[{ reason = \"x\" }]", "error: `entry` is needed");
        check(&EntryTexts, "[{ entry = \"x\", expires = \"soon\" }]", "error: not a moment since 1970");
        check(&EntryTexts, "[{ entry = \"x\", reasons = \"y\" }]", "error: there is no `reasons` here");
    }
}
