//! Changes to the fields of a head: `{ set = { … }, add = { … }, remove = [ … ] }`.

use super::{Describe, Fields, Form, Shown, Wrong};
use crate::problem::Code;
use crate::tree::{Node, Value};
use serde_json::json;

/// What is removed, set and added, in this order. Names as they will be sent; case does not matter in them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HeaderEdits {
    pub remove: Vec<String>,
    /// Values are texts with placeholders.
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
}

/// See [`HeaderEdits`].
pub(crate) struct Edits;

impl Describe for Edits {
    fn kind(&self) -> &'static str {
        "header edits"
    }
    fn accepted(&self) -> String {
        "{ set = { NAME = \"…\" }, add = { NAME = \"…\" }, remove = [\"NAME\"] }; names that say how a message is \
         framed or routed are ours to write"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        let values = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let remove = json!({ "type": "array", "items": { "type": "string" } });
        let properties = json!({ "set": values, "add": values, "remove": remove });
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}

impl Form for Edits {
    type Value = HeaderEdits;

    fn read(&self, node: &Node) -> Result<HeaderEdits, Vec<Wrong>> {
        let Some(mut fields) = Fields::of(node, &["set", "add", "remove"]) else {
            return Err(vec![Wrong::kind(node, "a table")]);
        };
        let edits = HeaderEdits {
            remove: fields.read("remove", &Names).unwrap_or_default(),
            set: fields.read("set", &Values).unwrap_or_default(),
            add: fields.read("add", &Values).unwrap_or_default(),
        };
        fields.end(Some(edits), "")
    }

    fn show(&self, HeaderEdits { remove, set, add }: &HeaderEdits) -> Shown {
        let mut fields = Vec::new();
        if !remove.is_empty() {
            fields.push(("remove".into(), Names.show(remove)));
        }
        for (name, values) in [("set", set), ("add", add)] {
            if !values.is_empty() {
                fields.push((name.into(), Values.show(values)));
            }
        }
        Shown::Table(fields)
    }
}

const NAME_ACCEPTED: &str = "the name of a header, such as X-Tenant";

/// Names of headers.
struct Names;

impl Describe for Names {
    fn kind(&self) -> &'static str {
        "list of headers"
    }
    fn accepted(&self) -> String {
        format!("a list of names; each {NAME_ACCEPTED}")
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": { "type": "string" } })
    }
}

impl Form for Names {
    type Value = Vec<String>;

    fn read(&self, node: &Node) -> Result<Vec<String>, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of names")]);
        };
        let (mut names, mut wrong) = (Vec::new(), Vec::new());
        for (ix, node) in list.iter().enumerate() {
            let told = |wrong: Wrong| Wrong { span: node.span, ..wrong }.within(&format!("[{ix}]"));
            match &node.value {
                Value::Text { text, .. } => match editable(text) {
                    Ok(()) => names.push(text.clone()),
                    Err(message) => wrong.push(told(Wrong::value(node, message)).accepted(NAME_ACCEPTED)),
                },
                _ => wrong.push(told(Wrong::kind(node, "a string"))),
            }
        }
        if wrong.is_empty() { Ok(names) } else { Err(wrong) }
    }

    fn show(&self, names: &Vec<String>) -> Shown {
        Shown::List(names.iter().cloned().map(Shown::Text).collect())
    }
}

/// A value for each name.
struct Values;

impl Describe for Values {
    fn kind(&self) -> &'static str {
        "headers"
    }
    fn accepted(&self) -> String {
        "{ NAME = \"value\", … }; a value may have placeholders such as {client_ip}, {host} or {path}".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "object" })
    }
}

impl Form for Values {
    type Value = Vec<(String, String)>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let Some(table) = node.table() else {
            return Err(vec![Wrong::kind(node, "a table of names and values")]);
        };
        let (mut values, mut wrong) = (Vec::<(String, String)>::new(), Vec::new());
        for (name, entry) in &table.entries {
            let part = match crate::place::is_bare(name) {
                true => format!(".{name}"),
                false => format!(".{name:?}"),
            };
            let told = |wrong: Wrong| wrong.within(&part);
            let on_name = |message: &str| Wrong { span: entry.key_span, ..Wrong::value(&entry.node, message) };
            if let Err(message) = editable(name) {
                let found = format!("{name:?}");
                wrong.push(told(Wrong { found, ..on_name(message) }).accepted(NAME_ACCEPTED));
            } else if values.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                let again = on_name("said twice: case does not matter in names of headers");
                wrong.push(told(Wrong { code: Code::Duplicate, ..again }));
            } else if let Value::Text { text, .. } = &entry.node.value {
                values.push((name.to_string(), text.clone()));
            } else {
                wrong.push(told(Wrong { span: entry.node.span, ..Wrong::kind(&entry.node, "a string") }));
            }
        }
        if wrong.is_empty() { Ok(values) } else { Err(wrong) }
    }

    fn show(&self, values: &Self::Value) -> Shown {
        Shown::Table(values.iter().map(|(name, value)| (name.clone(), Shown::Text(value.clone()))).collect())
    }
}

fn editable(name: &str) -> Result<(), &'static str> {
    match (super::http::is_token(name), policy::http::may_edit(name.as_bytes())) {
        (false, _) => Err("not the name of a header"),
        (true, false) => Err("this header says how a message is framed or routed and is ours to write"),
        (true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn edits() {
        check(&Edits, "{}", "{}");
        check(
            &Edits,
            "{ set = { X-A = \"1\", \"x.b\" = \"{host}\" }, remove = [\"Server\"] }",
            "{ remove = [\"Server\"], set = { X-A = \"1\", \"x.b\" = \"{host}\" } }",
        );
        check(
            &Edits,
            "{ set = { Host = \"x\" } }",
            "error: this header says how a message is framed or routed and is ours to write",
        );
        check(&Edits, "{ remove = [\"a b\"] }", "error: not the name of a header");
        check(
            &Edits,
            "{ set = { x-a = \"1\", X-A = \"2\" } }",
            "error: said twice: case does not matter in names of headers",
        );
        check(&Edits, "{ put = {} }", "error: there is no `put` here");
        check(&Edits, "{ add = { X-A = 1 } }", "error: expected a string, found an integer");
    }
}
