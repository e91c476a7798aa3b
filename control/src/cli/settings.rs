//! Keys of the document as a command line has them: `timeouts.idle=30s`.
//!
//! Knows no key: which there are, and what they accept, the appliance says.

use crate::document::InputError;
use api::edit::Keys;
use serde_json::{Map, Value};

/// One `KEY=VALUE`.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// At least one name, none of them empty.
    key: Vec<String>,
    value: Value,
}

/// VALUE is JSON where it reads as such, and text otherwise; nothing is null, which stands for the default.
pub fn parse_setting(text: &str) -> Result<Setting, &'static str> {
    let (key, value) =
        text.split_once('=').ok_or("accepted is KEY=VALUE, such as `weight=3` or `timeouts.idle=30s`")?;
    let key: Vec<String> = key.split('.').map(str::to_owned).collect();
    if key.iter().any(String::is_empty) {
        return Err("a key is names with dots between them, such as `timeouts.idle`");
    }
    let value = match value {
        "" => Value::Null,
        value => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    };
    Ok(Setting { key, value })
}

/// All of them as one table. What is said twice is a mistake.
pub fn keys(settings: Vec<Setting>) -> Result<Keys, InputError> {
    let mut keys = Map::new();
    for Setting { key, value } in settings {
        let name = key.join(".");
        if !put(&mut keys, &key, value) {
            return Err(InputError::said_twice(name));
        }
    }
    Ok(keys)
}

/// `false`: something is there already.
fn put(table: &mut Keys, key: &[String], value: Value) -> bool {
    let Some((first, rest)) = key.split_first() else { return false };
    if rest.is_empty() {
        return !table.contains_key(first) && table.insert(first.clone(), value).is_none();
    }
    match table.entry(first.clone()).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => put(inner, rest, value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(words: &str) -> Result<Value, String> {
        let settings: Result<Vec<Setting>, &str> = words.split_whitespace().map(parse_setting).collect();
        keys(settings?).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn words_become_a_table() {
        let check = |words: &str, expected: Value| assert_eq!(table(words), Ok(expected), "{words}");
        check("", json!({}));
        check("weight=3 drain=true", json!({"weight": 3, "drain": true}));
        check("timeouts.idle=30s timeouts.connect=1s", json!({"timeouts": {"idle": "30s", "connect": "1s"}}));
        check("create.listen=[\"127.0.0.1:80\"]", json!({"create": {"listen": ["127.0.0.1:80"]}}));
        check("path=/a=b host=\"3\"", json!({"path": "/a=b", "host": "3"}));
        check("queue= idle=null", json!({"queue": null, "idle": null}));
        check("health={} health.path=/up", json!({"health": {"path": "/up"}}));
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        let check = |words: &str, part: &str| {
            let error = table(words).expect_err(words);
            assert!(error.contains(part), "{words}: {error}");
        };
        check("weight", "KEY=VALUE");
        check("=3", "names with dots");
        check("a..b=3", "names with dots");
        check("a=1 a=1", "`a` is said twice");
        check("a=1 a.b=2", "`a.b` is said twice");
        check("a.b=2 a=1", "`a` is said twice");
    }
}
