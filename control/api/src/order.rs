//! What a client may ask for. Every order's name and fields stand here once.
//!
//! Reading is strict: an unknown order or field is an error that lists what is accepted, and an error
//! names the field it is about. Whether an order can be carried out is not decided here.

use crate::edit::Edit;
use crate::once;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// One enum of orders: `Name(Fields) = "name.on.the.wire"`, or `Name = "…"` for an order without fields.
macro_rules! vocabulary {
    (
        $(#[$doc:meta])*
        pub enum $vocabulary:ident {
            $($(#[$order_doc:meta])* $order:ident $(($fields:ty))? = $name:literal,)*
            $(=> $other_doc:literal $other:ident($inner:ty),)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug, serde::Serialize)]
        #[serde(tag = "order")]
        pub enum $vocabulary {
            $($(#[$order_doc])* #[serde(rename = $name)] $order $(($fields))?,)*
            $(#[doc = $other_doc] #[serde(untagged)] $other($inner),)?
        }

        impl $vocabulary {
            /// Every order's name on the wire.
            pub const NAMES: &[&str] = &[$($name,)*];

            pub fn name(&self) -> &'static str {
                match self {
                    $($crate::order::vocabulary!(@pattern $vocabulary $order $($fields)?) => $name,)*
                    $($vocabulary::$other(inner) => inner.name(),)?
                }
            }

            /// Reads the fields of the order of this name from an object that may also hold `id` and `order`.
            pub(crate) fn read<'de, D: serde::Deserializer<'de>>(name: &str, fields: D) -> Result<$vocabulary, D::Error> {
                match name {
                    $($name => $crate::order::vocabulary!(@read fields, $vocabulary $order $($fields)?),)*
                    $(_ if <$inner>::NAMES.contains(&name) => <$inner>::read(name, fields).map($vocabulary::$other),)?
                    _ => {
                        let more: Vec<&[&str]> = vec![$(<$inner>::NAMES)?];
                        let more = more.concat();
                        Err(serde::de::Error::custom($crate::order::Unknown { name, names: Self::NAMES, more }))
                    }
                }
            }
        }
    };
    (@pattern $vocabulary:ident $order:ident) => { $vocabulary::$order };
    (@pattern $vocabulary:ident $order:ident $fields:ty) => { $vocabulary::$order(_) };
    (@read $from:ident, $vocabulary:ident $order:ident) => {
        $crate::order::read_fields::<$crate::order::Nothing, D>($from).map(|$crate::order::Nothing {}| $vocabulary::$order)
    };
    (@read $from:ident, $vocabulary:ident $order:ident $fields:ty) => {
        $crate::order::read_fields::<$fields, D>($from).map($vocabulary::$order)
    };
}

pub(crate) use vocabulary;

vocabulary! {
    /// One order.
    pub enum Order {
        /// The appliance, its shards, pools and backends now. Answered by [`crate::Status`].
        Status = "status",
        /// The running document, typed orders included, as TOML. Answered by [`crate::status::RunningConfig`].
        ConfigGet(ConfigOf) = "config.get",
        /// Is this document valid? Answered by [`crate::status::Checked`].
        Check(Check) = "check",
        /// What would this document change? Answered by [`crate::Plan`].
        Plan(PlanOf) = "plan",
        /// Make this document the running one. Answered by [`crate::Receipt`], or [`crate::Plan`] on a dry run.
        Apply(Apply) = "apply",
        /// Read the configuration file again and apply it. Answered by [`crate::Receipt`].
        Reload(Reload) = "reload",
        /// How what runs differs from the document that was given. Answered by [`crate::Drift`].
        Drift = "drift",
        /// Write what orders have changed into the configuration file. Answered by [`crate::Folded`].
        Fold(Fold) = "fold",
        /// Make a generation of the past what runs. Answered by [`crate::Receipt`].
        Rollback(Rollback) = "rollback",
        /// What differs between two generations that are kept. Answered by [`crate::Plan`].
        Diff(DiffOf) = "diff",
        BackendAdd(BackendAdd) = "backend.add",
        /// Routing stops at once; [`crate::Progress::Draining`] tells the connections left, then [`crate::Receipt`].
        BackendRemove(BackendRemove) = "backend.remove",
        BackendSet(BackendSet) = "backend.set",
        /// Several edits in one generation: all or none. Answered by [`crate::Receipt`].
        Transaction(Transaction) = "transaction",
        /// What is running in each pool, and who pins what came before. Answered by [`crate::Generations`].
        Generations = "generations",
        /// Past jobs, newest first. Answered by [`crate::receipt::History`].
        History(History) = "history",
        /// The stored account of one job. Answered by [`crate::Receipt`].
        Receipt(ReceiptOf) = "receipt",
        /// Jobs that have not ended. Answered by [`crate::receipt::Jobs`].
        Jobs = "jobs",
        /// Answers `processing` with one [`crate::Event`] each, until the client leaves.
        Events(Events) = "events",
        /// Prometheus text. Answered by [`crate::status::Metrics`].
        Metrics = "metrics",
        /// Answers `processing` with the connections left, then [`crate::status::Stopped`] as its last act.
        Stop(Stop) = "stop",
        Version = "version",
        /// Configuration keys. Answered by [`crate::Keys`].
        Keys(KeysOf) = "keys",
        /// What would become of this request? Answered by [`crate::Explanation`].
        Explain(Explain) = "explain",
        => "An edit of something else than a backend. Answered by [`crate::Receipt`]." Edit(Edit),
    }
}

impl Order {
    /// Something may be different afterwards.
    pub fn is_change(&self) -> bool {
        match self {
            Order::Apply(apply) => !apply.dry_run,
            Order::Fold(fold) => !fold.dry_run,
            Order::Reload(_)
            | Order::Rollback(_)
            | Order::BackendAdd(_)
            | Order::BackendRemove(_)
            | Order::BackendSet(_)
            | Order::Edit(_)
            | Order::Stop(_) => true,
            Order::Transaction(transaction) => !transaction.dry_run,
            Order::Status
            | Order::ConfigGet(_)
            | Order::Diff(_)
            | Order::Drift
            | Order::Check(_)
            | Order::Plan(_)
            | Order::Generations
            | Order::History(_)
            | Order::Receipt(_)
            | Order::Jobs
            | Order::Events(_)
            | Order::Metrics
            | Order::Version
            | Order::Keys(_)
            | Order::Explain(_) => false,
        }
    }

    /// How long silence may last before something is wrong; `None`: silence is normal here.
    ///
    /// Jobs end within the appliance's job limit of at most five minutes; the rest needs no job.
    pub fn patience(&self) -> Option<Duration> {
        match self {
            Order::Events(_) | Order::Stop(_) => None,
            Order::BackendRemove(removal) if removal.wait => None,
            Order::Transaction(transaction) if transaction.waits() => None,
            Order::Apply(_)
            | Order::Reload(_)
            | Order::Fold(_)
            | Order::Rollback(_)
            | Order::BackendAdd(_)
            | Order::BackendRemove(_)
            | Order::BackendSet(_)
            | Order::Edit(_)
            | Order::Transaction(_) => Some(Duration::from_secs(330)),
            Order::Status
            | Order::ConfigGet(_)
            | Order::Diff(_)
            | Order::Drift
            | Order::Check(_)
            | Order::Plan(_)
            | Order::Generations
            | Order::History(_)
            | Order::Receipt(_)
            | Order::Jobs
            | Order::Metrics
            | Order::Version
            | Order::Keys(_)
            | Order::Explain(_) => Some(Duration::from_secs(30)),
        }
    }
}

/// A configuration as text.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// TOML.
    pub document: String,
    /// What problems call it, in place of a file name. Default: `document`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Absolute path of the folder that its includes are relative to, as the appliance sees it. Absent:
    /// relative includes are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanOf {
    /// As [`Document::document`].
    pub document: String,
    /// As [`Document::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As [`Document::base`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// As [`Apply::drift`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<OnDrift>,
    /// Also as lines of text: what runs, written out, against what would run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub diff: bool,
    /// As [`Apply::partial`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
}

impl From<Document> for PlanOf {
    fn from(document: Document) -> PlanOf {
        let Document { document, name, base } = document;
        PlanOf { document, name, base, drift: None, diff: false, partial: false }
    }
}

/// Either text, or the path of a file that the appliance can read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "CheckFields", into = "CheckFields")]
pub enum Check {
    Document(Document),
    /// Absolute.
    Path(String),
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl TryFrom<CheckFields> for Check {
    type Error = &'static str;

    fn try_from(fields: CheckFields) -> Result<Check, &'static str> {
        let CheckFields { document, name, base, path } = fields;
        match (document, path) {
            (Some(document), None) => Ok(Check::Document(Document { document, name, base })),
            (None, Some(_)) if name.is_some() || base.is_some() => {
                Err("`name` and `base` go with `document`; a file at `path` has both by itself")
            }
            (None, Some(path)) => Ok(Check::Path(path)),
            _ => Err("accepted is exactly one of `document` (TOML text) and `path` (a file)"),
        }
    }
}

impl From<Check> for CheckFields {
    fn from(check: Check) -> CheckFields {
        match check {
            Check::Document(Document { document, name, base }) => {
                CheckFields { document: Some(document), name, base, path: None }
            }
            Check::Path(path) => CheckFields { path: Some(path), ..CheckFields::default() },
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// As [`Document::document`].
    pub document: String,
    /// As [`Document::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As [`Document::base`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Refuse with `conflict` unless this generation is the running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_generation: Option<u64>,
    /// Stop after the plan and answer with it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Absent: undone, as the plan lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<OnDrift>,
    /// Pools that are not in order hold up no others: they are left as they run, which the warnings of the plan tell.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Absent: as `reload.drift` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<OnDrift>,
    /// As [`Apply::partial`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
}

/// What a document that comes does to what orders have changed while the appliance runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// Merged: it stays, and where the document has changed the same otherwise, nothing is done.
    Keep,
    /// The document says all.
    Undo,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// Write nothing, and answer with the texts that would be written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendAdd {
    pub pool: String,
    /// Absent: the pool's only group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The backend's id. Absent: derived from the address. (`id` is the message's.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// `127.0.0.1:9001`, `[::1]:9001`, `unix:/run/x.sock` or `host:port`.
    pub address: String,
    /// 0 to 65,535. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Chosen only while no other is in rotation. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// Takes no new connections. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
    /// Connections over all shards. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendRemove {
    pub pool: String,
    /// Absent: the pool's only group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The backend's id.
    pub backend: String,
    /// Also ask its connections to end, paced. Otherwise they end by themselves, however long that takes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub now: bool,
    /// Answer when the last connection is gone, telling meanwhile how many are left. Default: true. False:
    /// answer as soon as no new connection can go there.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub wait: bool,
}

/// Fields that are absent stay as they are; at least one must be present.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSet {
    pub pool: String,
    /// Absent: the pool's only group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The backend's id.
    pub backend: String,
    /// 0 to 65,535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// A number of connections, or null to lift the limit.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    pub max_connections: Setting<u32>,
}

/// A field that may be left as it is, cleared by `null`, or set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Setting<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Setting<T> {
    pub fn is_kept(&self) -> bool {
        matches!(self, Setting::Keep)
    }
}

impl<T: Serialize> Serialize for Setting<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Setting::Keep | Setting::Clear => serializer.serialize_none(),
            Setting::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Setting<T>, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Setting::Clear, Setting::Set))
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// Applied in this order. A removal with `wait` holds back the one answer until its last connection is gone.
    pub orders: Vec<Edit>,
    /// Refuse with `conflict` unless this generation is the running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_generation: Option<u64>,
    /// Stop after the plan and answer with it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

impl Transaction {
    pub fn waits(&self) -> bool {
        self.orders.iter().any(|edit| matches!(edit, Edit::BackendRemove(removal) if removal.wait))
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigOf {
    /// One that is kept. Absent: the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// One that is kept. Absent: the one before the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Refuse with `conflict` unless this generation is the running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_generation: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffOf {
    pub from: u64,
    /// Absent: the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Entries at most. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only jobs with a smaller number: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptOf {
    pub job: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Number of the first event wanted, if it is still remembered. Absent: from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Default: graceful.
    #[serde(default)]
    pub mode: StopMode,
    /// When connections that are still open are ended. Unit: milliseconds from now. Default:
    /// `appliance.stop_grace`. Only with `graceful`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_millis: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopMode {
    /// Accept nothing new, let connections end.
    #[default]
    Graceful,
    /// End all connections at once.
    Now,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysOf {
    /// A key, the end of one, or a table: only what that may mean. `pool.web.timeouts.idle`, `pool.*.timeouts.idle`,
    /// `idle`, `timeouts`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A request as its sender would describe it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Absolute; or, with `pool`, what stands behind the host: a path with its query, or `*`.
    pub url: String,
    /// Default: GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The pool's id. Absent: the one that listens where the URL leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// `Host`, with a port or without. Absent: the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// The client's IP address. Absent: it has none, as over a Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// An order without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

pub(crate) struct Unknown<'a> {
    pub(crate) name: &'a str,
    pub(crate) names: &'static [&'static str],
    /// Those of others that are accepted too. They may be among `names`.
    pub(crate) more: Vec<&'static str>,
}

impl fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = self.more.iter().filter(|name| !self.names.contains(name));
        let all: Vec<&str> = self.names.iter().chain(more).copied().collect();
        write!(f, "unknown order `{}`; accepted are `{}`", self.name, all.join("`, `"))
    }
}

impl<'de> Deserialize<'de> for Edit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Edit, D::Error> {
        // The name of its order may stand behind its fields, so they are all kept first.
        let edit = once::table(deserializer)?;
        let Some(name) = edit.get("order").and_then(Value::as_str) else {
            return Err(de::Error::custom("an order in a transaction has `order`, a text"));
        };
        let name = name.to_owned();
        Edit::read(&name, Value::Object(edit)).map_err(de::Error::custom)
    }
}

/// Reads `T` from an object, leaving out what belongs to the message and not to the order, and says in
/// every error which field it is about.
pub(crate) fn read_fields<'de, T: Deserialize<'de>, D: Deserializer<'de>>(object: D) -> Result<T, D::Error> {
    object.deserialize_map(FieldsVisitor(PhantomData))
}

struct FieldsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `order` and that order's fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(Fields { map, field: None }))
    }
}

/// A map without the message's own fields.
struct Fields<A> {
    map: A,
    field: Option<String>,
}

const MESSAGE_FIELDS: [&str; 2] = ["id", "order"];

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(field) = self.map.next_key::<String>()? {
            if MESSAGE_FIELDS.contains(&field.as_str()) {
                self.map.next_value::<IgnoredAny>()?;
                continue;
            }
            let key = seed.deserialize(field.as_str().into_deserializer());
            self.field = Some(field);
            return key.map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let field = self.field.take().expect("a value is asked for after its key");
        self.map.next_value_seed(seed).map_err(|error| de::Error::custom(format_args!("field `{field}`: {error}")))
    }
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
