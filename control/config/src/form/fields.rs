//! Values that are small tables, and values that may be left out.

use super::{Describe, Form, Shown, Wrong};
use crate::problem::Code;
use crate::suggest;
use crate::tree::{Node, Table, Value};

/// The fields of a small table, being read. What is wrong is collected.
pub(crate) struct Fields<'n> {
    node: &'n Node,
    table: &'n Table,
    wrong: Vec<Wrong>,
}

impl<'n> Fields<'n> {
    /// `None`: it is no table. A field that is not among the known ones is wrong.
    pub(crate) fn of(node: &'n Node, known: &[&str]) -> Option<Fields<'n>> {
        let table = node.table()?;
        Some(Fields { node, table, wrong: unknown(table, known) })
    }

    pub(crate) fn node(&self, name: &str) -> Option<&'n Node> {
        self.table.get(name)
    }

    /// The field, if it is there and right.
    pub(crate) fn read<F: Form>(&mut self, name: &str, form: &F) -> Option<F::Value> {
        let node = self.node(name)?;
        match form.read(node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let part = format!(".{name}");
                let told = |wrong: Wrong| {
                    let accepted = wrong.accepted.clone().unwrap_or_else(|| form.accepted());
                    Wrong { span: wrong.span.or(node.span), ..wrong }.within(&part).accepted(accepted)
                };
                self.wrong.extend(wrong.into_iter().map(told));
                None
            }
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.read(name, &AnyText)
    }

    pub(crate) fn wrong(&mut self, message: impl Into<String>) {
        self.wrong.push(Wrong::value(self.node, message));
    }

    /// What was made of the fields, unless something is wrong with them.
    pub(crate) fn end<T>(mut self, value: Option<T>, missing: &str) -> Result<T, Vec<Wrong>> {
        if value.is_none() && self.wrong.is_empty() {
            self.wrong(missing);
        }
        match value {
            Some(value) if self.wrong.is_empty() => Ok(value),
            _ => Err(self.wrong),
        }
    }
}

/// Keys that a table has and that mean nothing.
pub(crate) fn unknown(table: &Table, known: &[&str]) -> Vec<Wrong> {
    let strange = table.entries.iter().filter(|(name, _)| !known.contains(&&***name));
    let wrong = strange.map(|(name, entry)| {
        let wrong = Wrong {
            code: Code::UnknownKey,
            span: entry.key_span,
            ..Wrong::value(&entry.node, format!("there is no `{name}` here"))
        };
        let wrong = wrong.accepted(known.join(", "));
        match suggest::closest(name, known.iter().copied()) {
            Some(name) => wrong.help(format!("did you mean `{name}`?")),
            None => wrong,
        }
    });
    wrong.collect()
}

/// Any text.
struct AnyText;

impl Describe for AnyText {
    fn kind(&self) -> &'static str {
        "text"
    }
    fn accepted(&self) -> String {
        "a string".into()
    }
    fn schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

impl Form for AnyText {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text.contains('\0') => {
                Err(vec![Wrong::value(node, "a text holds no NUL byte")])
            }
            Value::Text { text, .. } => Ok(text.clone()),
            _ => Err(vec![Wrong::kind(node, "a string")]),
        }
    }

    fn show(&self, text: &String) -> Shown {
        Shown::Text(text.clone())
    }
}

/// What `F` takes, or not written.
pub(crate) struct Maybe<F>(pub(crate) F);

impl<F: Describe> Describe for Maybe<F> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn accepted(&self) -> String {
        self.0.accepted()
    }
    fn schema(&self) -> serde_json::Value {
        self.0.schema()
    }
    fn unit(&self) -> Option<&'static str> {
        self.0.unit()
    }
}

impl<F: Form> Form for Maybe<F> {
    type Value = Option<F::Value>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        self.0.read(node).map(Some)
    }

    fn show(&self, value: &Self::Value) -> Shown {
        value.as_ref().map_or(Shown::Absent, |value| self.0.show(value))
    }
}
