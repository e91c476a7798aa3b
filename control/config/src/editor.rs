//! The document as JSON Schema, from the table of keys: what an editor completes and underlines by.
//!
//! Never refuses what the reader accepts. It accepts more, where JSON Schema cannot say it: bounds of durations and sizes,
//! addresses, patterns and templates, what is written twice, and everything that is between two keys.

use crate::keys::{Conditions, TABLES, keys};
use crate::schema::Key;
use crate::strict::{SHAPE, Shape};
use serde_json::{Map, Value, json};

/// What is edited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaOf {
    /// A document in one file.
    Document,
    /// A file that includes others or is included: what is missing in it may stand elsewhere.
    Piece,
}

/// JSON Schema, draft 2020-12.
pub fn json_schema(of: SchemaOf) -> Value {
    let mut schema = table_schema(&SHAPE, "", of);
    let map = schema.as_object_mut().expect("a table's schema is an object");
    map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    map.insert("title".into(), json!("Sluicegate configuration"));
    map.insert("$defs".into(), json!({ "variable": variable(), "condition": condition() }));
    if of == SchemaOf::Document {
        // Without a word it would take every pool away, so it is no document.
        map.insert("minProperties".into(), json!(1));
    }
    schema
}

/// Keys that another key of their table may stand for.
const INSTEAD: [(&str, &str); 2] = [("pool.*.page[].body", "file"), ("list.*.entries", "file")];

fn table_schema(shape: &Shape, path: &str, of: SchemaOf) -> Value {
    let join = |part: &str| if path.is_empty() { part.to_string() } else { format!("{path}.{part}") };
    let mut properties = Map::new();
    let (mut required, mut either) = (Vec::new(), Vec::new());
    for (name, child) in &shape.children {
        let child_path = join(&if child.is_list { format!("{name}[]") } else { name.to_string() });
        let key = keys().find(|key| key.path == child_path);
        // An element of a list stands in one file; a table may be continued in another.
        let is_whole = of == SchemaOf::Document || path.ends_with("[]");
        if is_whole {
            match INSTEAD.iter().find(|(path, _)| *path == child_path) {
                Some((_, instead)) => either.extend([*name, *instead].map(|name| json!({ "required": [name] }))),
                None if is_required(&child_path) => required.push(*name),
                None => {}
            }
        }
        properties.insert(
            name.to_string(),
            match key {
                Some(key) => key_schema(key),
                None if child.is_list => json!({ "type": "array", "items": table_schema(child, &child_path, of) }),
                None => table_schema(child, &child_path, of),
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
    if !either.is_empty() {
        map.insert("anyOf".into(), json!(either));
    }
    let other = shape.any.as_ref().map_or(json!(false), |any| table_schema(any, &join("*"), of));
    map.insert("additionalProperties".into(), other);
    schema
}

/// A key that must be written, or a table under a fixed name that has such keys.
fn is_required(path: &str) -> bool {
    keys().any(|key| {
        let table = key.path.strip_suffix(key.name).unwrap_or_default().trim_end_matches('.');
        key.is_required() && (key.path == path || table == path && !path.ends_with("[]"))
    })
}

fn key_schema(key: &Key) -> Value {
    let mut schema = with_variables(key.schema());
    let map = schema.as_object_mut().expect("a value's schema is an object");
    let reason = key.reason;
    map.insert("description".into(), json!(format!("{} A change is {}, {}.", key.help(), reason.class, reason.reach)));
    if let Some(default) = key.default_json() {
        map.insert("default".into(), default);
    }
    schema
}

/// A value with a variable in it is a string whatever it becomes.
fn variable() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

/// Wherever one word or number is expected, a variable may stand.
fn with_variables(mut schema: Value) -> Value {
    let Some(map) = schema.as_object_mut() else { return schema };
    for (name, part) in map.iter_mut() {
        match (name.as_str(), &mut *part) {
            ("items" | "additionalProperties", part) => *part = with_variables(part.take()),
            ("properties", Value::Object(parts)) => {
                parts.values_mut().for_each(|part| *part = with_variables(part.take()));
            }
            ("anyOf", Value::Array(parts)) => parts.iter_mut().for_each(|part| *part = with_variables(part.take())),
            _ => {}
        }
    }
    let is_word = map.contains_key("enum") || map.contains_key("const");
    let is_scalar = matches!(map.get("type").and_then(Value::as_str), Some("integer" | "boolean" | "string"));
    let any_text = map.len() == 1 && map.get("type") == Some(&json!("string"));
    match (is_word || is_scalar) && !any_text {
        true => json!({ "anyOf": [schema, { "$ref": "#/$defs/variable" }] }),
        false => schema,
    }
}

/// What `all`, `any` and `not` hold.
fn condition() -> Value {
    let properties: Map<String, Value> =
        Conditions::KEYS.iter().map(|key| (key.name.to_string(), key_schema(key))).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_every_key() {
        for of in [SchemaOf::Document, SchemaOf::Piece] {
            let schema = json_schema(of);
            for key in keys() {
                let mut at = &schema;
                for part in key.path.split('.') {
                    at = match part.strip_suffix("[]") {
                        _ if part == "*" => &at["additionalProperties"],
                        Some(list) => &at["properties"][list]["items"],
                        None => &at["properties"][part],
                    };
                }
                let description = at["description"].as_str().unwrap_or_default();
                assert!(description.starts_with(key.help()), "{}", key.path);
            }
            assert_eq!(schema["additionalProperties"], json!(false));
        }
    }
}
