//! Forms: what a key's value may look like, and how it is read, shown and described.
//!
//! A form says everything once: the reader, the error's "accepted", the manual and the JSON Schema all ask
//! it. Forms of addresses are in `address`.

use crate::place::Span;
use crate::problem::Code;
use crate::tree::{Node, Value};
use crate::unit;
use policy::{ShardId, ShardSet};
use serde_json::json;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
        }
    }

    pub(crate) fn kind(node: &Node, expected: &str) -> Wrong {
        Wrong { code: Code::WrongType, ..Wrong::value(node, format!("expected {expected}, found {}", node.kind())) }
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
}

impl Shown {
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Shown::Absent => serde_json::Value::Null,
            Shown::Boolean(flag) => json!(flag),
            Shown::Integer(number) => json!(number),
            Shown::Text(text) => json!(text),
            Shown::List(list) => list.iter().map(Shown::to_json).collect(),
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
        }
    }
}

/// A flag.
pub(crate) struct Flag;

impl Describe for Flag {
    fn kind(&self) -> &'static str {
        "boolean"
    }
    fn accepted(&self) -> String {
        "true or false".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "boolean" })
    }
}

impl Form for Flag {
    type Value = bool;

    fn read(&self, node: &Node) -> Result<bool, Vec<Wrong>> {
        match &node.value {
            Value::Boolean(flag) => Ok(*flag),
            Value::Text { text, substituted: true } if text == "true" => Ok(true),
            Value::Text { text, substituted: true } if text == "false" => Ok(false),
            Value::Text { text, .. } if text == "true" || text == "false" => {
                Err(vec![Wrong::kind(node, "a boolean").help(format!("write {text} without quotes"))])
            }
            _ => Err(vec![Wrong::kind(node, "a boolean")]),
        }
    }

    fn show(&self, flag: &bool) -> Shown {
        Shown::Boolean(*flag)
    }
}

/// A whole number within bounds.
pub(crate) struct Count {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Count {
    pub(crate) const fn between(min: u32, max: u32) -> Count {
        assert!(min <= max);
        Count { min, max }
    }

    /// The same, or `"off"` for no limit.
    pub(crate) const fn or_off(self) -> OrOff<Count> {
        OrOff(self)
    }
}

impl Describe for Count {
    fn kind(&self) -> &'static str {
        "integer"
    }
    fn accepted(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "integer", "minimum": self.min, "maximum": self.max })
    }
}

impl Form for Count {
    type Value = u32;

    fn read(&self, node: &Node) -> Result<u32, Vec<Wrong>> {
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::Text { text, substituted } => match text.parse::<i128>() {
                Ok(number) if *substituted => number,
                Ok(number) => {
                    return Err(vec![Wrong::kind(node, "an integer").help(format!("write {number} without quotes"))]);
                }
                Err(_) => return Err(vec![Wrong::kind(node, "an integer")]),
            },
            _ => return Err(vec![Wrong::kind(node, "an integer")]),
        };
        match u32::try_from(number) {
            Ok(number) if (self.min..=self.max).contains(&number) => Ok(number),
            _ if number < i128::from(self.min) => Err(vec![Wrong::value(node, format!("less than {}", self.min))]),
            _ => Err(vec![Wrong::value(node, format!("more than {}", self.max))]),
        }
    }

    fn show(&self, number: &u32) -> Shown {
        Shown::Integer(u64::from(*number))
    }
}

/// A duration within bounds.
pub(crate) struct Time {
    min: Duration,
    max: Duration,
}

impl Time {
    pub(crate) const fn between(min: Duration, max: Duration) -> Time {
        Time { min, max }
    }

    /// The same, or `"off"` for no limit.
    pub(crate) const fn or_off(self) -> OrOff<Time> {
        OrOff(self)
    }
}

impl Describe for Time {
    fn kind(&self) -> &'static str {
        "duration"
    }
    fn accepted(&self) -> String {
        let (min, max) = (unit::show_duration(self.min), unit::show_duration(self.max));
        format!("a duration with its unit, such as {}, from {min} to {max}", unit::DURATION_EXAMPLES)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
    fn unit(&self) -> Option<&'static str> {
        Some("ms, s, m, h, d")
    }
}

impl Form for Time {
    type Value = Duration;

    fn read(&self, node: &Node) -> Result<Duration, Vec<Wrong>> {
        let text = match &node.value {
            Value::Text { text, .. } => text,
            Value::Integer(number) => {
                return Err(vec![
                    Wrong::value(node, "a duration needs a unit").help(format!("write \"{number}s\" for seconds")),
                ]);
            }
            _ => return Err(vec![Wrong::kind(node, "a duration")]),
        };
        match unit::parse_duration(text) {
            None => Err(vec![Wrong::value(node, "not a duration")]),
            Some(time) if time < self.min => {
                Err(vec![Wrong::value(node, format!("shorter than {}", unit::show_duration(self.min)))])
            }
            Some(time) if time > self.max => {
                Err(vec![Wrong::value(node, format!("longer than {}", unit::show_duration(self.max)))])
            }
            Some(time) => Ok(time),
        }
    }

    fn show(&self, time: &Duration) -> Shown {
        Shown::Text(unit::show_duration(*time))
    }
}

/// A size of memory within bounds.
pub(crate) struct Bytes {
    min: u64,
    max: u64,
}

impl Bytes {
    pub(crate) const fn between(min: u64, max: u64) -> Bytes {
        assert!(min <= max);
        Bytes { min, max }
    }
}

impl Describe for Bytes {
    fn kind(&self) -> &'static str {
        "size"
    }
    fn accepted(&self) -> String {
        let (min, max) = (unit::show_size(self.min), unit::show_size(self.max));
        format!("bytes, such as {}, from {min} to {max}", unit::SIZE_EXAMPLES)
    }
    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$" });
        json!({ "anyOf": [{ "type": "integer", "minimum": self.min, "maximum": self.max }, text] })
    }
    fn unit(&self) -> Option<&'static str> {
        Some("bytes, KiB, MiB, GiB, TiB")
    }
}

impl Form for Bytes {
    type Value = u64;

    fn read(&self, node: &Node) -> Result<u64, Vec<Wrong>> {
        let bytes = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text { text, substituted } => {
                unit::parse_size(text).or_else(|| text.parse().ok().filter(|_| *substituted))
            }
            _ => return Err(vec![Wrong::kind(node, "a size")]),
        };
        match bytes {
            None => Err(vec![Wrong::value(node, "not a size")]),
            Some(bytes) if bytes < self.min => {
                Err(vec![Wrong::value(node, format!("less than {}", unit::show_size(self.min)))])
            }
            Some(bytes) if bytes > self.max => {
                Err(vec![Wrong::value(node, format!("more than {}", unit::show_size(self.max)))])
            }
            Some(bytes) => Ok(bytes),
        }
    }

    fn show(&self, bytes: &u64) -> Shown {
        Shown::Text(unit::show_size(*bytes))
    }
}

/// What `F` takes, or the word `"off"`.
pub(crate) struct OrOff<F>(F);

impl<F: Describe> Describe for OrOff<F> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn accepted(&self) -> String {
        format!("{}, or \"off\"", self.0.accepted())
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "anyOf": [self.0.schema(), { "const": "off" }] })
    }
    fn unit(&self) -> Option<&'static str> {
        self.0.unit()
    }
}

impl<F: Form> Form for OrOff<F> {
    type Value = Option<F::Value>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text == "off" => Ok(None),
            _ => self.0.read(node).map(Some),
        }
    }

    fn show(&self, value: &Self::Value) -> Shown {
        match value {
            Some(value) => self.0.show(value),
            None => Shown::Text("off".into()),
        }
    }
}

/// Enums that are written as one of a few words.
pub(crate) trait Word: Copy + Sync + 'static {
    const ALL: &'static [Self];
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// As it is written in the document.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl $crate::form::Word for $name {
            const ALL: &'static [$name] = &[$($name::$variant,)*];

            fn word(self) -> &'static str {
                $name::word(self)
            }
        }
    };
}
pub(crate) use words;

/// One of the words of `W`.
pub(crate) struct OneOf<W>(std::marker::PhantomData<fn() -> W>);

impl<W: Word> OneOf<W> {
    pub(crate) const fn words() -> OneOf<W> {
        OneOf(std::marker::PhantomData)
    }
}

impl<W: Word> Describe for OneOf<W> {
    fn kind(&self) -> &'static str {
        "word"
    }
    fn accepted(&self) -> String {
        let words: Vec<String> = W::ALL.iter().map(|word| format!("\"{}\"", word.word())).collect();
        words.join(", ")
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "enum": W::ALL.iter().map(|word| word.word()).collect::<Vec<_>>() })
    }
}

impl<W: Word> Form for OneOf<W> {
    type Value = W;

    fn read(&self, node: &Node) -> Result<W, Vec<Wrong>> {
        let Value::Text { text, .. } = &node.value else {
            return Err(vec![Wrong::kind(node, "a string")]);
        };
        W::ALL.iter().find(|word| word.word() == text).copied().ok_or_else(|| {
            let wrong = Wrong::value(node, "not one of the words that are accepted here");
            vec![match crate::suggest::closest(text, W::ALL.iter().map(|word| word.word())) {
                Some(word) => wrong.help(format!("did you mean \"{word}\"?")),
                None => wrong,
            }]
        })
    }

    fn show(&self, word: &W) -> Shown {
        Shown::Text(word.word().into())
    }
}

/// An absolute path, or nothing.
pub(crate) struct FilePath;

impl Describe for FilePath {
    fn kind(&self) -> &'static str {
        "path"
    }
    fn accepted(&self) -> String {
        "an absolute path".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^/" })
    }
}

impl Form for FilePath {
    type Value = Option<PathBuf>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let Value::Text { text, .. } = &node.value else {
            return Err(vec![Wrong::kind(node, "a path")]);
        };
        match absolute(text) {
            Ok(path) => Ok(Some(path)),
            Err(message) => Err(vec![Wrong::value(node, message)]),
        }
    }

    fn show(&self, path: &Self::Value) -> Shown {
        path.as_ref().map_or(Shown::Absent, |path| Shown::Text(path.display().to_string()))
    }
}

/// One spelling for one file as far as that can be told without looking: no `//`, no `/./`, no `..`.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(text);
    if text.contains('\0') {
        Err("a path holds no NUL byte")
    } else if !path.is_absolute() {
        Err("not an absolute path")
    } else if path.components().any(|part| part == std::path::Component::ParentDir) {
        Err("a path without `..` is needed, so that one file has one name")
    } else {
        Ok(path.components().collect())
    }
}

/// Patterns of files, relative to the file that has them.
pub(crate) struct Patterns;

impl Describe for Patterns {
    fn kind(&self) -> &'static str {
        "list of paths"
    }
    fn accepted(&self) -> String {
        "a list of paths, relative to this file; the last part may have * and ?".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": { "type": "string" } })
    }
}

impl Form for Patterns {
    type Value = Vec<String>;

    fn read(&self, node: &Node) -> Result<Vec<String>, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of paths")]);
        };
        let mut wrong = Vec::new();
        let patterns = list.iter().filter_map(|node| match &node.value {
            Value::Text { text, .. } if !text.is_empty() && !text.contains('\0') => Some(text.clone()),
            Value::Text { .. } => {
                wrong.push(Wrong::value(node, "not a path"));
                None
            }
            _ => {
                wrong.push(Wrong::kind(node, "a path"));
                None
            }
        });
        let patterns = patterns.collect();
        if wrong.is_empty() { Ok(patterns) } else { Err(wrong) }
    }

    fn show(&self, patterns: &Vec<String>) -> Shown {
        Shown::List(patterns.iter().cloned().map(Shown::Text).collect())
    }
}

/// Permissions of a file, in octal as `chmod` takes them.
pub(crate) struct FileMode;

impl Describe for FileMode {
    fn kind(&self) -> &'static str {
        "file mode"
    }
    fn accepted(&self) -> String {
        "permissions in octal, such as \"0660\", at most \"0777\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

impl Form for FileMode {
    type Value = u32;

    fn read(&self, node: &Node) -> Result<u32, Vec<Wrong>> {
        let Value::Text { text, .. } = &node.value else {
            return Err(vec![Wrong::kind(node, "a string")]);
        };
        let octal = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal && text.bytes().all(|digit| digit.is_ascii_digit()) => Ok(mode),
            _ => Err(vec![Wrong::value(node, "not a file mode")]),
        }
    }

    fn show(&self, mode: &u32) -> Shown {
        Shown::Text(format!("{mode:04o}"))
    }
}

/// How many shards: a number, or as many as there are cores.
pub(crate) struct ShardCount;

/// Number of shards as the operator asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shards {
    /// One for each core that the process may use.
    Auto,
    Count(u32),
}

const SHARD_COUNT: Count = Count::between(1, ShardSet::MAX as u32);

impl Describe for ShardCount {
    fn kind(&self) -> &'static str {
        "integer"
    }
    fn accepted(&self) -> String {
        format!("{}, or \"auto\"", SHARD_COUNT.accepted())
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "anyOf": [SHARD_COUNT.schema(), { "const": "auto" }] })
    }
}

impl Form for ShardCount {
    type Value = Shards;

    fn read(&self, node: &Node) -> Result<Shards, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text == "auto" => Ok(Shards::Auto),
            _ => SHARD_COUNT.read(node).map(Shards::Count),
        }
    }

    fn show(&self, shards: &Shards) -> Shown {
        match shards {
            Shards::Auto => Shown::Text("auto".into()),
            Shards::Count(count) => SHARD_COUNT.show(count),
        }
    }
}

/// Some of the shards, or nothing for all.
pub(crate) struct ShardList;

const SHARD_NUMBER: Count = Count::between(0, ShardSet::MAX as u32 - 1);

impl Describe for ShardList {
    fn kind(&self) -> &'static str {
        "list of integers"
    }
    fn accepted(&self) -> String {
        "a list of shard numbers, such as [0, 1]; each less than appliance.shards".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": SHARD_NUMBER.schema(), "minItems": 1, "uniqueItems": true })
    }
}

impl Form for ShardList {
    type Value = Option<ShardSet>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of shard numbers")]);
        };
        if list.is_empty() {
            return Err(vec![Wrong::value(node, "no shard at all").help("leave `shards` out to use all of them")]);
        }
        let mut set = ShardSet::empty();
        let mut wrong = Vec::new();
        for node in list {
            match SHARD_NUMBER.read(node) {
                Ok(number) if set.contains(ShardId(number as u16)) => {
                    wrong.push(Wrong {
                        code: Code::Duplicate,
                        ..Wrong::value(node, format!("shard {number} is named twice"))
                    });
                }
                Ok(number) => set.insert(ShardId(number as u16)),
                Err(more) => wrong.extend(more),
            }
        }
        if wrong.is_empty() { Ok(Some(set)) } else { Err(wrong) }
    }

    fn show(&self, shards: &Self::Value) -> Shown {
        let Some(set) = shards else {
            return Shown::Absent;
        };
        Shown::List(set.iter().map(|shard| Shown::Integer(u64::from(shard.0))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    /// The value as shown again, or the first complaint.
    fn check<F: Form>(form: &F, toml: &str, expected: &str) {
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

    #[test]
    fn flags() {
        check(&Flag, "true", "true");
        check(&Flag, "false", "false");
        check(&Flag, "1", "error: expected a boolean, found an integer");
        check(&Flag, "\"true\"", "error: expected a boolean, found a string");
        check(&Flag, "\"${true}\"", "true");
    }

    #[test]
    fn counts() {
        let form = Count::between(1, 100);
        check(&form, "1", "1");
        check(&form, "0x64", "100");
        check(&form, "0", "error: less than 1");
        check(&form, "-1", "error: less than 1");
        check(&form, "101", "error: more than 100");
        check(&form, "99999999999999999999999", "error: more than 100");
        check(&form, "4294967297", "error: more than 100");
        check(&form, "1.0", "error: expected an integer, found a floating-point number");
        check(&form, "\"7\"", "error: expected an integer, found a string");
        check(&form, "\"${_7}\"", "7");
        check(&form, "\"off\"", "error: expected an integer, found a string");
        check(&Count::between(1, 100).or_off(), "\"off\"", "\"off\"");
        check(&Count::between(1, 100).or_off(), "7", "7");
        check(&Count::between(1, 100).or_off(), "0", "error: less than 1");
    }

    #[test]
    fn durations_and_sizes() {
        let form = Time::between(Duration::from_millis(1), Duration::from_secs(3600));
        check(&form, "\"60s\"", "\"1m\"");
        check(&form, "\"0s\"", "error: shorter than 1ms");
        check(&form, "\"2h\"", "error: longer than 1h");
        check(&form, "5", "error: a duration needs a unit");
        check(&form, "\"off\"", "error: not a duration");
        check(&form, "1979-05-27", "error: expected a duration, found a date or time");
        let form = Bytes::between(1024, 1 << 20);
        check(&form, "4096", "\"4KiB\"");
        check(&form, "\"1MiB\"", "\"1MiB\"");
        check(&form, "\"1KB\"", "error: not a size");
        check(&form, "-4096", "error: not a size");
        check(&form, "1", "error: less than 1KiB");
        check(&form, "\"2MiB\"", "error: more than 1MiB");
    }

    #[test]
    fn paths_and_modes() {
        check(&FilePath, "\"/run/x.sock\"", "\"/run/x.sock\"");
        check(&FilePath, "\"/run//./x.sock\"", "\"/run/x.sock\"");
        check(&FilePath, "\"/a$$b\"", "\"/a$$b\"");
        check(&FilePath, "\"run/x.sock\"", "error: not an absolute path");
        check(&FilePath, "\"\"", "error: not an absolute path");
        check(&FilePath, "\"/run/../x\"", "error: a path without `..` is needed, so that one file has one name");
        check(&FilePath, "\"/a\\u0000\"", "error: a path holds no NUL byte");
        check(&FileMode, "\"0660\"", "\"0660\"");
        check(&FileMode, "\"600\"", "\"0600\"");
        for wrong in ["\"+660\"", "\"1777\"", "\"888\"", "\"\"", "\"66\""] {
            check(&FileMode, wrong, "error: not a file mode");
        }
        check(&FileMode, "0o660", "error: expected a string, found an integer");
    }

    #[test]
    fn shards() {
        check(&ShardCount, "\"auto\"", "\"auto\"");
        check(&ShardCount, "64", "64");
        check(&ShardCount, "65", "error: more than 64");
        check(&ShardCount, "0", "error: less than 1");
        check(&ShardList, "[1, 0]", "[0, 1]");
        check(&ShardList, "[63]", "[63]");
        check(&ShardList, "[64]", "error: more than 63");
        check(&ShardList, "[0, 0]", "error: shard 0 is named twice");
        check(&ShardList, "[]", "error: no shard at all");
        check(&ShardList, "0", "error: expected a list of shard numbers, found an integer");
    }
}
