//! What a rule asks: lists of alternatives, tests of named values, and conditions within conditions.
//!
//! What a text means (a host, a path, an expression) is `policy`'s to say when the rule is compiled.

use super::fields::unknown;
use super::{Describe, Fields, Form, Shown, Wrong};
use crate::keys::Conditions;
use crate::place::At;
use crate::problem::{Code, Problem, Problems};
use crate::tree::{Node, Value};
use serde_json::json;

/// One text or several, one of which is enough.
pub(crate) struct Texts {
    kind: &'static str,
    accepted: &'static str,
}

impl Texts {
    pub(crate) const HOSTS: Texts =
        Texts { kind: "hosts", accepted: "a host such as \"example.com\" or \"*.example.com\", or a list of them" };
    pub(crate) const PATHS: Texts = Texts { kind: "paths", accepted: "a path such as \"/about\", or a list of them" };
    pub(crate) const TEMPLATES: Texts = Texts {
        kind: "path templates",
        accepted: "a path with names for whole segments, such as \"/users/{id}\" or \"/files/{rest*}\", or a list of them",
    };
    pub(crate) const PATTERNS: Texts = Texts {
        kind: "regular expressions",
        accepted: "a regular expression such as \"^/v[0-9]+/\", or a list of them",
    };
    pub(crate) const LISTS: Texts = Texts {
        kind: "names of lists",
        accepted: "the name of a [list.NAME] with `kind = \"text\"`, or a list of them",
    };
    pub(crate) const METHODS: Texts =
        Texts { kind: "methods", accepted: "a method such as \"GET\", or a list of them" };
}

/// Alternatives of one list. Each is looked at when the rule is compiled.
const ALTERNATIVES_MAX: usize = 1_000;

fn one_or_more<T>(node: &Node, read: impl Fn(&Node) -> Result<T, Vec<Wrong>>) -> Result<Vec<T>, Vec<Wrong>> {
    let list = node.list().unwrap_or(std::slice::from_ref(node));
    if list.is_empty() {
        return Err(vec![
            Wrong::value(node, "an empty list, which nothing matches").help("leave it out to ask nothing"),
        ]);
    }
    if list.len() > ALTERNATIVES_MAX {
        return Err(vec![Wrong::value(node, format!("{} alternatives, at most {ALTERNATIVES_MAX}", list.len()))]);
    }
    let (mut values, mut wrong) = (Vec::new(), Vec::new());
    for (ix, one) in list.iter().enumerate() {
        match read(one) {
            Ok(value) => values.push(value),
            Err(wrongs) if node.list().is_some() => {
                let part = format!("[{ix}]");
                let told = |wrong: Wrong| Wrong { span: wrong.span.or(one.span), ..wrong }.within(&part);
                wrong.extend(wrongs.into_iter().map(told));
            }
            Err(wrongs) => wrong.extend(wrongs),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}

fn text(node: &Node) -> Result<String, Vec<Wrong>> {
    match &node.value {
        Value::Text { text, .. } if text.contains('\0') => Err(vec![Wrong::value(node, "a NUL byte")]),
        Value::Text { text, .. } => Ok(text.clone()),
        _ => Err(vec![Wrong::kind(node, "a string")]),
    }
}

/// One alone without brackets, as most are written.
fn shown(mut all: Vec<Shown>) -> Shown {
    match all.len() {
        1 => all.remove(0),
        _ => Shown::List(all),
    }
}

fn list_schema(one: serde_json::Value) -> serde_json::Value {
    json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
}

impl Describe for Texts {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn accepted(&self) -> String {
        self.accepted.into()
    }
    fn schema(&self) -> serde_json::Value {
        list_schema(json!({ "type": "string" }))
    }
}

impl Form for Texts {
    type Value = Vec<String>;

    fn read(&self, node: &Node) -> Result<Vec<String>, Vec<Wrong>> {
        one_or_more(node, text)
    }

    fn show(&self, texts: &Vec<String>) -> Shown {
        shown(texts.iter().cloned().map(Shown::Text).collect())
    }
}

/// Prefixes of addresses, and names of lists. Which is which shows in the text: a name has neither `.` nor `:`.
pub(crate) struct Sources;

impl Describe for Sources {
    fn kind(&self) -> &'static str {
        "addresses"
    }
    fn accepted(&self) -> String {
        "an address or prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\", the name of a [list.NAME], or a list of them"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        list_schema(json!({ "type": "string" }))
    }
}

impl Form for Sources {
    type Value = Vec<String>;

    fn read(&self, node: &Node) -> Result<Vec<String>, Vec<Wrong>> {
        one_or_more(node, |node| {
            let text = text(node)?;
            match crate::address::is_id(&text) {
                true => Ok(text),
                false => crate::prefix::parse(&text)
                    .map(crate::prefix::show)
                    .map_err(|message| vec![Wrong::value(node, message)]),
            }
        })
    }

    fn show(&self, sources: &Vec<String>) -> Shown {
        Texts::HOSTS.show(sources)
    }
}

/// What is asked of the values of one name.
#[derive(Clone, PartialEq, Debug)]
pub enum ValueTest {
    Present,
    Absent,
    /// One of these.
    Equals(Vec<String>),
    Prefix(String),
    Regex(String),
    /// An entry of the list of this name.
    Listed(String),
}

/// Names with a test for each; all must hold.
pub(crate) struct Named {
    kind: &'static str,
    /// Case does not matter in it, so there is one spelling.
    folded: bool,
}

impl Named {
    pub(crate) const HEADERS: Named = Named { kind: "headers", folded: true };
    pub(crate) const PARAMETERS: Named = Named { kind: "parameters", folded: false };
}

impl Describe for Named {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn accepted(&self) -> String {
        "{ NAME = TEST, … }; a test is a text or list of texts to equal, true (there is one), false (there is none), \
         { prefix = \"…\" }, { regex = \"…\" } or { list = \"NAME\" }"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string" });
        let one_of = json!({ "type": "object", "properties": { "prefix": text, "regex": text, "list": text },
            "additionalProperties": false, "minProperties": 1, "maxProperties": 1 });
        json!({ "type": "object", "additionalProperties": { "anyOf": [{ "type": "boolean" }, list_schema(text), one_of] } })
    }
}

impl Form for Named {
    type Value = Vec<(String, ValueTest)>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let Some(table) = node.table() else {
            return Err(vec![Wrong::kind(node, "a table of names and tests")]);
        };
        let (mut tests, mut wrong) = (Vec::<(String, ValueTest)>::new(), Vec::new());
        for (name, entry) in &table.entries {
            let part = format!("{}", At::ROOT.key("").key(name)).trim_start_matches("\"\"").to_string();
            let told = |wrong: Wrong| Wrong { span: wrong.span.or(entry.node.span), ..wrong }.within(&part);
            let spelling = if self.folded { name.to_ascii_lowercase() } else { name.to_string() };
            if tests.iter().any(|(other, _)| *other == spelling) {
                let again = Wrong::value(&entry.node, "asked twice: case does not matter in names of headers");
                wrong.push(told(Wrong { code: Code::Duplicate, span: entry.key_span, ..again }));
                continue;
            }
            match value_test(&entry.node) {
                Ok(test) => tests.push((spelling, test)),
                Err(wrongs) => wrong.extend(wrongs.into_iter().map(told)),
            }
        }
        tests.sort_by(|(a, _), (b, _)| a.cmp(b));
        if wrong.is_empty() { Ok(tests) } else { Err(wrong) }
    }

    fn show(&self, tests: &Self::Value) -> Shown {
        let one = |what: &str, text: &str| Shown::Table(vec![(what.into(), Shown::Text(text.into()))]);
        let test = |test: &ValueTest| match test {
            ValueTest::Present => Shown::Boolean(true),
            ValueTest::Absent => Shown::Boolean(false),
            ValueTest::Equals(texts) => Texts::HOSTS.show(texts),
            ValueTest::Prefix(text) => one("prefix", text),
            ValueTest::Regex(text) => one("regex", text),
            ValueTest::Listed(name) => one("list", name),
        };
        Shown::Table(tests.iter().map(|(name, value)| (name.clone(), test(value))).collect())
    }
}

fn value_test(node: &Node) -> Result<ValueTest, Vec<Wrong>> {
    match &node.value {
        Value::Boolean(true) => Ok(ValueTest::Present),
        Value::Boolean(false) => Ok(ValueTest::Absent),
        Value::Table(_) => {
            let mut fields = Fields::of(node, &["prefix", "regex", "list"]).expect("just seen to be a table");
            let test = match (fields.text("prefix"), fields.text("regex"), fields.text("list")) {
                (Some(prefix), None, None) => Some(ValueTest::Prefix(prefix)),
                (None, Some(regex), None) => Some(ValueTest::Regex(regex)),
                (None, None, Some(name)) => Some(ValueTest::Listed(name)),
                _ => None,
            };
            fields.end(test, "one of `prefix`, `regex` and `list` is needed")
        }
        _ => one_or_more(node, text).map(ValueTest::Equals),
    }
}

/// Conditions within a condition.
pub(crate) struct Nested;

impl Describe for Nested {
    fn kind(&self) -> &'static str {
        "list of conditions"
    }
    fn accepted(&self) -> String {
        "a list of tables, each with conditions as a rule has them, such as [{ host = \"a.test\" }, { path = \"/x\" }]"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "minItems": 1, "maxItems": ALTERNATIVES_MAX, "items": NotNested.schema() })
    }
}

impl Form for Nested {
    type Value = Vec<Conditions>;

    fn read(&self, node: &Node) -> Result<Vec<Conditions>, Vec<Wrong>> {
        match node.list() {
            Some(_) => one_or_more(node, nested),
            None => Err(vec![Wrong::kind(node, "a list of conditions")]),
        }
    }

    fn show(&self, all: &Vec<Conditions>) -> Shown {
        Shown::List(all.iter().map(table).collect())
    }
}

/// A condition that must not hold.
pub(crate) struct NotNested;

impl Describe for NotNested {
    fn kind(&self) -> &'static str {
        "condition"
    }
    fn accepted(&self) -> String {
        "a table with conditions as a rule has them, such as { method = \"GET\" }".into()
    }
    fn schema(&self) -> serde_json::Value {
        // A condition may hold conditions: `editor` defines it once.
        json!({ "$ref": "#/$defs/condition" })
    }
}

impl Form for NotNested {
    type Value = Option<Box<Conditions>>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        nested(node).map(|conditions| Some(Box::new(conditions)))
    }

    fn show(&self, conditions: &Self::Value) -> Shown {
        conditions.as_ref().map_or(Shown::Absent, |conditions| table(conditions))
    }
}

fn table(conditions: &Conditions) -> Shown {
    let mut fields = Vec::new();
    conditions.each(&mut |key, value| {
        if value != Shown::Absent && !key.is_default(&value) {
            fields.push((key.name.to_string(), value));
        }
    });
    Shown::Table(fields)
}

/// Read as a rule's own conditions are, and told as a part of this one.
fn nested(node: &Node) -> Result<Conditions, Vec<Wrong>> {
    let Some(entries) = node.table() else {
        return Err(vec![Wrong::kind(node, "a table of conditions")]);
    };
    let names: Vec<&str> = Conditions::KEYS.iter().map(|key| key.name).collect();
    let mut wrong = unknown(entries, &names);
    if entries.entries.is_empty() {
        wrong.push(Wrong::value(node, "no condition at all"));
    }
    let mut problems = Problems::default();
    let conditions = Conditions::read(node, &At::ROOT, &mut problems);
    wrong.extend(problems.errors().iter().map(|problem| as_wrong(problem.clone())));
    match conditions {
        Some(conditions) if wrong.is_empty() => Ok(conditions),
        _ => Err(wrong),
    }
}

fn as_wrong(problem: Problem) -> Wrong {
    let Problem { code, path, found, accepted, message, help, also, span, .. } = problem;
    let message = message.split_once("`: ").map(|(_, message)| message.to_string()).unwrap_or(message);
    let also = also.into_iter().next().map(|also| (also.label, also.span));
    Wrong { code, message, found: found.unwrap_or_default(), span, help, also, at: format!(".{path}"), accepted }
}
