//! No key that means nothing: the tree is held against the table of keys.
//!
//! Finds unknown keys and tables, and tables where a value belongs or the other way round. Values
//! themselves are the forms' business.

use crate::keys::{TABLES, keys};
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems};
use crate::suggest;
use crate::tree::{Node, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What may stand at one place of the document. Made from the paths of all keys.
#[derive(Default)]
pub(crate) struct Shape {
    pub(crate) children: BTreeMap<&'static str, Shape>,
    /// Below ids: `pool.*`.
    pub(crate) any: Option<Box<Shape>>,
    /// `[[backend]]`: a list of tables.
    pub(crate) is_list: bool,
    pub(crate) is_key: bool,
}

pub(crate) static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
    let mut root = Shape::default();
    // Tables too: one without keys of its own would be unknown otherwise.
    for (path, is_key) in TABLES.iter().map(|table| (table.path, false)).chain(keys().map(|key| (key.path, true))) {
        let mut shape = &mut root;
        for part in path.split('.').filter(|part| !part.is_empty()) {
            shape = match part {
                "*" => shape.any.get_or_insert_default(),
                _ => shape.children.entry(part.trim_end_matches("[]")).or_default(),
            };
            shape.is_list = part.ends_with("[]");
        }
        shape.is_key |= is_key;
    }
    root
});

pub(crate) fn check(tree: &Node, problems: &mut Problems) {
    table(tree, &SHAPE, &At::ROOT, problems);
}

/// As [`check`], of the table at this path of the document.
pub(crate) fn check_at(node: &Node, path: &[String], at: &At<'_>, problems: &mut Problems) {
    let below = |shape: &'static Shape, part: &String| shape.children.get(part.as_str()).or(shape.any.as_deref());
    // Of a list of tables it is one of them: by its id here.
    let mut shape: &'static Shape = &SHAPE;
    for part in path {
        if shape.is_list {
            continue;
        }
        match below(shape, part) {
            Some(next) => shape = next,
            None => return problems.push(Problem::error(Code::NotFound, at, node.span, format!("there is no `{at}`"))),
        }
    }
    table(node, shape, at, problems);
}

fn table(node: &Node, shape: &Shape, at: &At<'_>, problems: &mut Problems) {
    let Some(table) = node.table() else {
        return problems.push(wrong_kind(node, "a table", at));
    };
    for (key, entry) in &table.entries {
        match shape.children.get(&**key).or(shape.any.as_deref()) {
            None => problems.push_error(|| unknown(key, entry.key_span, shape, at)),
            Some(child) => value(&entry.node, child, &at.key(key), problems),
        }
    }
}

fn value(node: &Node, shape: &Shape, at: &At<'_>, problems: &mut Problems) {
    match &node.value {
        _ if shape.is_key => {}
        Value::Told => {}
        Value::List(list) if shape.is_list => {
            for (ix, node) in list.iter().enumerate() {
                table(node, shape, &at.index(ix), problems);
            }
        }
        _ if shape.is_list => problems.push(wrong_kind(node, "a list of tables", at).help(format!("write [[{at}]]"))),
        _ => table(node, shape, at, problems),
    }
}

fn wrong_kind(node: &Node, expected: &str, at: &At<'_>) -> Problem {
    let message = format!("`{at}` is {expected}, not {}", node.kind());
    Problem::error(Code::WrongType, at, node.span, message).found(node.shown())
}

fn unknown(key: &str, span: Option<Span>, shape: &Shape, at: &At<'_>) -> Problem {
    let here = at.to_string();
    let place = if here.is_empty() { "at the top level".to_string() } else { format!("in `{here}`") };
    let problem = Problem::error(Code::UnknownKey, at.key(key), span, format!("there is no `{key}` {place}"));
    let names: Vec<&str> = shape.children.keys().copied().collect();
    let problem = problem.accepted(names.join(", "));
    if let Some(name) = suggest::closest(key, names) {
        return problem.help(format!("did you mean `{name}`?"));
    }
    // Right name, wrong table.
    match keys().find(|known| known.name == key) {
        Some(known) => problem.help(format!("there is `{}`", known.path)),
        None => problem,
    }
}
