//! The manual of the keys and the editor's schema, both written from the table of keys.

use crate::class::{Class, Reason};
use crate::keys::{TABLES, keys};
use crate::plan::happenings;
use crate::schema::Key;
use crate::strict::{SHAPE, Shape};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Every key as Markdown. `KEYS.md` beside this crate is this text.
pub fn keys_markdown() -> String {
    let mut out = String::from(
        "# Configuration keys\n\n\
         Written from the table in `src/keys.rs`; a test compares the two. In paths, `*` is a name that you\n\
         choose and `[]` an element of a list of tables (`[[…]]`).\n\n\
         A change is **soft** (applied to what runs), **hard** (needs a restart of the pool) or **process** (needs a\n\
         restart of the appliance). *Reach* says when a soft change is first felt; what is felt by the next connection\n\
         in a group of a TCP pool is felt by the next request in one of an HTTP pool.\n\n\
         ## A site, as it is written\n\n",
    );
    write!(out, "```toml\n{SITE}```\n").expect(TAKES_EVERYTHING);
    for table in TABLES {
        let title = if table.path.is_empty() { "top level" } else { table.path };
        let only =
            table.service.map(|service| format!(", {} pools only", crate::fit::name(service))).unwrap_or_default();
        write!(out, "\n## {title}{only}\n\n{}\n\n", table.help()).expect(TAKES_EVERYTHING);
        out.push_str("| key | what it sets | accepted | default | a change is |\n|---|---|---|---|---|\n");
        for key in table.keys {
            row(&mut out, key);
        }
    }
    out.push_str("\n## Changes that need a restart\n\n| key | when | reason |\n|---|---|---|\n");
    for key in keys() {
        if key.reason.class != Class::Soft {
            restart(&mut out, key, "always", &key.reason);
        }
        for except in key.except.iter().filter(|except| except.reason.class != Class::Soft) {
            restart(&mut out, key, except.when, &except.reason);
        }
    }
    out.push_str("\n## Changes that are not of one key\n\n| reason code | a change is | why |\n|---|---|---|\n");
    for reason in happenings::ALL {
        writeln!(out, "| `{}` | {} | {} |", reason.code, change(reason), cell(reason.sentence))
            .expect(TAKES_EVERYTHING);
    }
    out
}

/// Tests compile it and send requests through it.
const SITE: &str = include_str!("../examples/site.toml");

const TAKES_EVERYTHING: &str = "a string takes everything";

fn row(out: &mut String, key: &Key) {
    let default = match key.default_text() {
        Some(text) => format!("`{}`", cell(&text)),
        None if key.is_required() => "required".into(),
        None => "–".into(),
    };
    let (path, help, change) = (key.path, cell(key.help()), change(&key.reason));
    writeln!(out, "| `{path}` | {help} | {} | {default} | {change} |", cell(&key.accepted())).expect(TAKES_EVERYTHING);
}

fn restart(out: &mut String, key: &Key, when: &str, reason: &Reason) {
    let (path, class, code, sentence) = (key.path, reason.class, reason.code, cell(reason.sentence));
    writeln!(out, "| `{path}` | {when} | {class}, `{code}`: {sentence} |").expect(TAKES_EVERYTHING);
}

fn change(reason: &Reason) -> String {
    let Reason { class, category, reach, code, sentence: _ } = reason;
    format!("{class}, {reach} · {category} · `{code}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// JSON Schema (draft 2020-12) of a whole document, for editors.
///
/// Weaker than the reader where JSON Schema cannot say it: units' bounds, addresses, and everything that
/// is between two keys.
pub fn json_schema() -> Value {
    let mut schema = table_schema(&SHAPE, "");
    let map = schema.as_object_mut().expect("a table's schema is an object");
    map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    map.insert("title".into(), json!("Sluicegate configuration"));
    schema
}

fn table_schema(shape: &Shape, path: &str) -> Value {
    let join = |part: &str| if path.is_empty() { part.to_string() } else { format!("{path}.{part}") };
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, child) in &shape.children {
        let child_path = join(&if child.is_list { format!("{name}[]") } else { name.to_string() });
        let key = keys().find(|key| key.path == child_path);
        if key.is_some_and(Key::is_required) {
            required.push(*name);
        }
        properties.insert(
            name.to_string(),
            match key {
                Some(key) => key_schema(key),
                None if child.is_list => json!({ "type": "array", "items": table_schema(child, &child_path) }),
                None => table_schema(child, &child_path),
            },
        );
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    let map = schema.as_object_mut().expect("just made");
    if let Some(table) = TABLES.iter().find(|table| table.path == path) {
        map.insert("description".into(), json!(table.help()));
    }
    if !required.is_empty() {
        map.insert("required".into(), json!(required));
    }
    let other = shape.any.as_ref().map_or(json!(false), |any| table_schema(any, &join("*")));
    map.insert("additionalProperties".into(), other);
    schema
}

fn key_schema(key: &Key) -> Value {
    // A value with a variable in it is a string whatever it becomes.
    let mut schema = json!({ "anyOf": [key.schema(), { "type": "string", "pattern": "\\$\\{" }] });
    let map = schema.as_object_mut().expect("just made");
    map.insert("description".into(), json!(key.help()));
    if let Some(default) = key.default_text() {
        map.insert("default".into(), json!(default));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_md_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/KEYS.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == keys_markdown(),
            "{path} is not what the table of keys says; `cargo run -q -p config --example keys` prints what it should be"
        );
    }

    #[test]
    fn the_manual_names_every_key_and_every_reason() {
        let manual = keys_markdown();
        for key in keys() {
            assert!(manual.contains(&format!("| `{}` |", key.path)), "{}", key.path);
            assert!(manual.contains(key.reason.code));
        }
        for reason in happenings::ALL {
            assert!(manual.contains(reason.code));
        }
    }

    #[test]
    fn the_schema_knows_every_key() {
        let schema = json_schema();
        for key in keys() {
            let mut at = &schema;
            for part in key.path.split('.') {
                at = match part.strip_suffix("[]") {
                    _ if part == "*" => &at["additionalProperties"],
                    Some(list) => &at["properties"][list]["items"],
                    None => &at["properties"][part],
                };
            }
            assert_eq!(at["description"], json!(key.help()), "{}", key.path);
        }
        assert_eq!(schema["additionalProperties"], json!(false));
    }
}
