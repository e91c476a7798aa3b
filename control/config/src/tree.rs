//! The document as text made it: tables, lists and values, each with its span. No meaning yet.
//!
//! Made from TOML, with `${VARIABLES}` replaced. Another notation (JSON) would make the same tree, and
//! typed orders do: they come without spans.

use crate::form::Shown;
use crate::place::{At, FileIx, Span};
use crate::problem::{Code, Problem, Problems};
use crate::variable::{self, Variables};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// `None`: from a typed order.
    pub(crate) span: Option<Span>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `substituted`: a variable was in it, so it may also stand where a number or a flag belongs.
    Text {
        text: String,
        substituted: bool,
    },
    Integer(i128),
    /// As written; no key takes one.
    Float(String),
    Boolean(bool),
    /// As written; no key takes one.
    Date(String),
    List(Vec<Node>),
    Table(Table),
    /// Could not be read, which has been told; whatever is wrong with it besides is not known.
    Told,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) entries: BTreeMap<Box<str>, Entry>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key_span: Option<Span>,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn text(text: impl Into<String>) -> Node {
        Node { value: Value::Text { text: text.into(), substituted: false }, span: None }
    }

    /// A value that was read before, to be read again.
    pub(crate) fn read_again(shown: &Shown) -> Node {
        let value = match shown {
            Shown::Absent => unreachable!("what is not written cannot be read"),
            Shown::Boolean(flag) => Value::Boolean(*flag),
            Shown::Integer(number) => Value::Integer((*number).into()),
            Shown::Text(text) => Value::Text { text: text.clone(), substituted: false },
            Shown::List(list) => Value::List(list.iter().map(Node::read_again).collect()),
            Shown::Table(fields) => {
                let mut table = Table::default();
                fields.iter().for_each(|(name, value)| table.set(name, Node::read_again(value)));
                Value::Table(table)
            }
        };
        Node { value, span: None }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Takes empty lists out of tables, however deep.
    pub(crate) fn drop_empty_lists(&mut self) {
        match &mut self.value {
            Value::Table(table) => {
                table.entries.retain(|_, entry| !matches!(&entry.node.value, Value::List(list) if list.is_empty()));
                table.entries.values_mut().for_each(|entry| entry.node.drop_empty_lists());
            }
            Value::List(list) => list.iter_mut().for_each(Node::drop_empty_lists),
            _ => {}
        }
    }

    pub(crate) fn list_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Whether a part of it could not be read, which has been told.
    pub(crate) fn is_told(&self) -> bool {
        match &self.value {
            Value::Told => true,
            Value::List(list) => list.iter().any(Node::is_told),
            Value::Table(table) => table.entries.values().any(|entry| entry.node.is_told()),
            _ => false,
        }
    }

    /// What it is, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text { .. } => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a floating-point number",
            Value::Boolean(_) => "a boolean",
            Value::Date(_) => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Told => "nothing that can be read",
        }
    }

    /// The value as an operator would write it; long ones by what they are.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Text { text, .. } => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(text) | Value::Date(text) => text.clone(),
            Value::Boolean(flag) => flag.to_string(),
            Value::List(_) | Value::Table(_) | Value::Told => self.kind().to_string(),
        }
    }
}

impl Table {
    pub(crate) const EMPTY: Table = Table { entries: BTreeMap::new() };

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.get_mut(key).map(|entry| &mut entry.node)
    }

    /// Where `key`'s value stands, if it was written.
    pub(crate) fn span_of(&self, key: &str) -> Option<Span> {
        self.get(key)?.span
    }

    pub(crate) fn set(&mut self, key: &str, node: Node) {
        self.entries.insert(key.into(), Entry { key_span: None, node });
    }

    /// Takes over everything in `other`. Tables grow together; anything else may be defined once, and every
    /// second definition is a problem that names both places.
    pub(crate) fn merge(&mut self, other: Table, at: &At<'_>, problems: &mut Problems) {
        for (key, entry) in other.entries {
            let Some(mine) = self.entries.get_mut(&key) else {
                self.entries.insert(key, entry);
                continue;
            };
            let at = at.key(&key);
            match (&mut mine.node.value, entry.node.value) {
                (Value::Table(mine), Value::Table(theirs)) => mine.merge(theirs, &at, problems),
                _ => problems.push(
                    Problem::error(Code::Duplicate, at, entry.key_span, format!("`{at}` is defined twice"))
                        .also("first defined here", mine.key_span),
                ),
            }
        }
    }
}

/// Files beyond this are read only up to their first syntax error: a megabyte of nonsense would make a
/// gigabyte of errors of which a hundred are shown.
const RECOVERY_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting. The schema needs six levels.
const DEPTH_MAX: usize = 32;

/// Reads one file. What can be recovered after a syntax error is in the table.
pub(crate) fn from_toml(file: FileIx, text: &str, variables: &Variables<'_>, problems: &mut Problems) -> Table {
    let (table, errors) = if text.len() <= RECOVERY_BYTES_MAX {
        DeTable::parse_recoverable(text)
    } else {
        match DeTable::parse(text) {
            Ok(table) => (table, Vec::new()),
            Err(error) => (toml::Spanned::new(0..0, DeTable::new()), vec![error]),
        }
    };
    let mut reader = TomlReader { file, variables, problems };
    let table = reader.table(table.into_inner(), &At::ROOT, 0);
    for error in errors {
        problems.push_error(|| syntax_error(file, text, &table, &error));
    }
    table
}

fn syntax_error(file: FileIx, text: &str, table: &Table, error: &toml::de::Error) -> Problem {
    let range = error.span().unwrap_or(text.len()..text.len());
    // The parser works on bytes, what follows on characters.
    let (start, end) = (text.floor_char_boundary(range.start), text.ceil_char_boundary(range.end.max(range.start)));
    let span = Span { file, start: start as u32, end: end as u32 };
    let problem = Problem::error(Code::Syntax, "", span, format!("not valid TOML: {}", error.message()));
    match first_definition(table, text, span) {
        Some(first) if error.message() == "duplicate key" => problem.also("first defined here", first),
        _ => problem,
    }
}

struct TomlReader<'a, 'p> {
    file: FileIx,
    variables: &'a Variables<'a>,
    problems: &'p mut Problems,
}

impl TomlReader<'_, '_> {
    fn table(&mut self, table: DeTable<'_>, at: &At<'_>, depth: usize) -> Table {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let key_span = self.span(key.span());
            let name: Box<str> = key.get_ref().as_ref().into();
            let node = self.node(value, &at.key(&name), depth + 1);
            entries.insert(name, Entry { key_span: Some(key_span), node });
        }
        Table { entries }
    }

    fn node(&mut self, value: toml::Spanned<DeValue<'_>>, at: &At<'_>, depth: usize) -> Node {
        let span = self.span(value.span());
        if depth > DEPTH_MAX {
            self.problems.push(Problem::error(
                Code::TooMany,
                "",
                span,
                format!("nested deeper than {DEPTH_MAX} levels"),
            ));
            return Node { value: Value::Told, span: Some(span) };
        }
        let value = match value.into_inner() {
            DeValue::String(text) => self.text(&text, at, span),
            // Wider than any key takes, so that a number out of range is told as what it is.
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Float(number.to_string()),
            },
            DeValue::Float(number) => Value::Float(number.as_str().to_string()),
            DeValue::Boolean(flag) => Value::Boolean(flag),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(list) => {
                let nodes = list.into_iter().enumerate().map(|(ix, value)| self.node(value, &at.index(ix), depth + 1));
                Value::List(nodes.collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, at, depth)),
        };
        Node { value, span: Some(span) }
    }

    fn text(&mut self, text: &str, at: &At<'_>, span: Span) -> Value {
        match variable::replace(text, self.variables) {
            Ok(replaced) => Value::Text { substituted: replaced.any, text: replaced.text },
            Err(wrong) => {
                let problem = Problem::error(Code::Variable, at, span, wrong.message).accepted(variable::ACCEPTED);
                self.problems.push(match wrong.help {
                    Some(help) => problem.help(help),
                    None => problem,
                });
                Value::Told
            }
        }
    }

    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span { file: self.file, start: range.start as u32, end: range.end as u32 }
    }
}

/// Where the first of two equal keys stands: the parser names only the second.
fn first_definition(table: &Table, text: &str, second: Span) -> Option<Span> {
    let (start, end) = (second.start as usize, second.end as usize);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let header = text[line_start..].lines().next().unwrap_or_default().trim_end();
    if header.starts_with('[') {
        // The table that the first header opened was given up for the second, so only the text knows.
        let first = text[..line_start].find(&format!("{header}\n"))?;
        let starts_line = first == 0 || text[..first].ends_with('\n');
        let span = Span { file: second.file, start: first as u32, end: (first + header.len()) as u32 };
        return starts_line.then_some(span);
    }
    let mut found = Vec::new();
    keys_before(table, text[start..end].trim_matches(['"', '\'']), second, &mut found);
    match found[..] {
        [only] => Some(only),
        _ => None,
    }
}

fn keys_before(table: &Table, key: &str, second: Span, found: &mut Vec<Span>) {
    for (name, entry) in &table.entries {
        if let Some(span) = entry.key_span.filter(|span| &**name == key && span.start < second.start) {
            found.push(span);
        }
        match &entry.node.value {
            Value::Table(table) => keys_before(table, key, second, found),
            Value::List(list) => {
                list.iter().filter_map(Node::table).for_each(|table| keys_before(table, key, second, found))
            }
            _ => {}
        }
    }
}
