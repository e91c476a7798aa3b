//! Orders that edit the document: one object, one item of a list, or a patch. Each may stand in a transaction.
//!
//! What the document has as lists of tables with ids (`[[rule]]`, `[[backend]]`) are tables by id here, in patches too.
//! `set` holds keys as the document has them; `null` in it takes a key back to its default. Said twice, an edit is done
//! once; only a removal of what is not there is an error, unless `missing_ok`.

use crate::once;
use crate::order::{BackendAdd, BackendRemove, BackendSet, is_false};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

crate::order::vocabulary! {
    /// An order that edits the document, as it may stand in a transaction.
    pub enum Edit {
        BackendAdd(BackendAdd) = "backend.add",
        BackendRemove(BackendRemove) = "backend.remove",
        BackendSet(BackendSet) = "backend.set",
        PoolAdd(PoolEdit) = "pool.add",
        PoolSet(PoolEdit) = "pool.set",
        PoolRemove(PoolRemove) = "pool.remove",
        /// One more address that a pool listens on.
        ListenAdd(ListenAdd) = "listen.add",
        ListenRemove(ListenRemove) = "listen.remove",
        /// One more domain name that a pool takes, or that leads to one of its groups.
        HostAdd(HostAdd) = "host.add",
        HostRemove(HostRemove) = "host.remove",
        GroupAdd(GroupEdit) = "group.add",
        GroupSet(GroupEdit) = "group.set",
        GroupRemove(GroupRemove) = "group.remove",
        RuleAdd(RuleAdd) = "rule.add",
        RuleSet(RuleSet) = "rule.set",
        /// The rule is asked elsewhere among those of its pool.
        RuleMove(RuleMove) = "rule.move",
        RuleRemove(RuleRemove) = "rule.remove",
        /// The header has this value, whatever it had.
        HeaderSet(HeaderSet) = "header.set",
        /// The header is there once more.
        HeaderAdd(HeaderSet) = "header.add",
        /// The header does not go on.
        HeaderRemove(HeaderOf) = "header.remove",
        /// The rule does nothing about this header any more.
        HeaderClear(HeaderOf) = "header.clear",
        LimitSet(LimitSet) = "limit.set",
        /// One more entry of a list, or one that is noted otherwise from now on.
        ListAdd(ListAdd) = "list.add",
        ListRemove(ListRemove) = "list.remove",
        /// All entries of a list are others.
        ListReplace(ListReplace) = "list.replace",
        /// A merge patch (RFC 7396) or a JSON patch (RFC 6902) of the document.
        Patch(Patch) = "patch",
    }
}

/// Keys as the document has them.
pub type Keys = Map<String, Value>;

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolEdit {
    pub pool: String,
    /// `create`, `limits`, `group` and so on. Of a pool that is added, all of it.
    #[serde(default, deserialize_with = "once::table")]
    pub set: Keys,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRemove {
    pub pool: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_ok: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenAdd {
    pub pool: String,
    /// `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/x.sock`.
    pub address: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenRemove {
    pub pool: String,
    pub address: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_ok: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAdd {
    pub pool: String,
    /// `shop.example` or `*.shop.example`.
    pub host: String,
    /// A rule is added that leads requests for the host to this group. Absent: the host is one of the pool's `hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRemove {
    pub pool: String,
    pub host: String,
    /// As it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_ok: bool,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEdit {
    pub pool: String,
    pub group: String,
    #[serde(default, deserialize_with = "once::table")]
    pub set: Keys,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRemove {
    pub pool: String,
    pub group: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_ok: bool,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleAdd {
    pub pool: String,
    /// Its id. Absent: what it asks, such as `example.com/api/*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, deserialize_with = "once::table")]
    pub set: Keys,
    /// Absent: the last, or where its `order` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Where a rule stands among those of its pool: `"first"`, `"last"`, `{"before": "id"}` or `{"behind": "id"}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    First,
    Last,
    Before(String),
    Behind(String),
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    pub pool: String,
    pub rule: String,
    #[serde(default, deserialize_with = "once::table")]
    pub set: Keys,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleMove {
    pub pool: String,
    pub rule: String,
    pub place: Place,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRemove {
    pub pool: String,
    pub rule: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_ok: bool,
}

/// Which head a rule changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// What the backend is sent.
    #[default]
    Request,
    /// What the client is sent.
    Response,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderSet {
    pub pool: String,
    pub rule: String,
    /// Default: request.
    #[serde(default)]
    pub head: Head,
    pub name: String,
    /// A text, with placeholders as in the document.
    pub value: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderOf {
    pub pool: String,
    pub rule: String,
    /// Default: request.
    #[serde(default)]
    pub head: Head,
    pub name: String,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSet {
    pub pool: String,
    /// Keys of the pool's `limits`.
    #[serde(deserialize_with = "once::table")]
    pub set: Keys,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListAdd {
    pub list: String,
    /// An address, a prefix or a text, by the kind of the list.
    pub entry: String,
    /// RFC 3339, such as `2026-12-01T00:00:00Z`. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRemove {
    pub list: String,
    pub entry: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_ok: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "ListReplaceFields", into = "ListReplaceFields")]
pub struct ListReplace {
    pub list: String,
    pub with: Entries,
}

/// All entries of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entries {
    Here(Vec<ListEntry>),
    /// The file that the list is read from: a path that the appliance reads, relative to its own document.
    File(String),
}

/// One entry: its text, or with what is noted of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ListEntry {
    Plain(String),
    Noted(NotedEntry),
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotedEntry {
    pub entry: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListReplaceFields {
    list: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<ListEntry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl TryFrom<ListReplaceFields> for ListReplace {
    type Error = &'static str;

    fn try_from(fields: ListReplaceFields) -> Result<ListReplace, &'static str> {
        let with = match fields {
            ListReplaceFields { entries: Some(entries), file: None, .. } => Entries::Here(entries),
            ListReplaceFields { entries: None, file: Some(file), .. } => Entries::File(file),
            _ => return Err("accepted is exactly one of `entries` (an array) and `file` (a path)"),
        };
        Ok(ListReplace { list: fields.list, with })
    }
}

impl From<ListReplace> for ListReplaceFields {
    fn from(replace: ListReplace) -> ListReplaceFields {
        let ListReplace { list, with } = replace;
        match with {
            Entries::Here(entries) => ListReplaceFields { list, entries: Some(entries), file: None },
            Entries::File(file) => ListReplaceFields { list, entries: None, file: Some(file) },
        }
    }
}

/// Either kind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "PatchFields", into = "PatchFields")]
pub enum Patch {
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    Steps(Vec<PatchStep>),
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchFields {
    #[serde(default, deserialize_with = "once::option", skip_serializing_if = "Option::is_none")]
    merge: Option<Value>,
    #[serde(default, deserialize_with = "steps", skip_serializing_if = "Option::is_none")]
    patch: Option<Vec<PatchStep>>,
}

/// The kind of a step may stand behind its fields, so all of them are kept first.
fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PatchStep>>, D::Error> {
    let steps = once::option(deserializer)?.map(serde_json::from_value);
    steps.transpose().map_err(de::Error::custom)
}

impl TryFrom<PatchFields> for Patch {
    type Error = &'static str;

    fn try_from(fields: PatchFields) -> Result<Patch, &'static str> {
        match fields {
            PatchFields { merge: Some(merge), patch: None } => Ok(Patch::Merge(merge)),
            PatchFields { merge: None, patch: Some(steps) } => Ok(Patch::Steps(steps)),
            _ => Err("accepted is exactly one of `merge` (an object, RFC 7396) and `patch` (an array, RFC 6902)"),
        }
    }
}

impl From<Patch> for PatchFields {
    fn from(patch: Patch) -> PatchFields {
        match patch {
            Patch::Merge(merge) => PatchFields { merge: Some(merge), patch: None },
            Patch::Steps(steps) => PatchFields { merge: None, patch: Some(steps) },
        }
    }
}

/// One operation, RFC 6902 section 4. Paths are JSON pointers into the document as a table of tables.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum PatchStep {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}
