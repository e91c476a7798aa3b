//! What a rule is called: as the operator says, else by what it asks.
//!
//! A name that follows from the conditions stays while they do, whatever the rule does and wherever it stands.
//! It always has a `/` or a `~`, which a name that is chosen never has.

use crate::address::{ID_ACCEPTED, is_id};
use crate::form::{Describe, Form, Shown, Wrong};
use crate::keys::Conditions;
use crate::tree::{Node, Value};
use serde_json::json;
use std::sync::Arc;

/// Longest name that follows from conditions; others end in a hash of them. Unit: bytes.
const DERIVED_BYTES_MAX: usize = 80;

/// Hexadecimal digits that tell a million rules apart.
const HASH_DIGITS: usize = 12;

/// `example.com/api/*`, `/users/{id} method=GET`; what is long or nested ends in `#` and a hash of all of it.
pub(crate) fn derived(conditions: &Conditions) -> Arc<str> {
    let Conditions {
        host,
        host_list,
        path,
        path_prefix,
        path_template,
        path_regex,
        method,
        header,
        query,
        source,
        all,
        any,
        not,
    } = conditions;
    let below = path_prefix.iter().map(|prefix| format!("{}/*", prefix.trim_end_matches('/')));
    let patterns = path_regex.iter().map(|pattern| format!("~{pattern}"));
    let mut paths: Vec<String> = path.iter().chain(path_template).cloned().chain(below).chain(patterns).collect();
    if paths.is_empty() {
        paths.push("/*".into());
    }
    let mut name = format!("{}{}", host.join(","), paths.join(","));
    if !name.contains(['/', '~']) {
        name.push('/');
    }
    for (what, values) in [("method", method), ("source", source)] {
        if !values.is_empty() {
            name.push_str(&format!(" {what}={}", values.join(",")));
        }
    }
    let nested = !host_list.is_empty()
        || !header.is_empty()
        || !query.is_empty()
        || !all.is_empty()
        || !any.is_empty()
        || not.is_some();
    // Two lists that are written as one text here are told apart by the hash.
    let plain = [host, path, path_prefix, path_template, path_regex, method, source].iter().all(|list| list.len() < 2);
    let kinds = [path, path_prefix, path_template, path_regex].iter().filter(|list| !list.is_empty()).count();
    // What could be read as the name of other conditions is told apart likewise.
    let printable = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let clear =
        [host, path, path_prefix, path_template, path_regex, method, source].into_iter().flatten().all(printable)
            && path.iter().chain(path_prefix).all(|path| !path.contains(['*', '{', '}', '~']))
            && path_template.iter().all(|template| template.contains('{'));
    if nested || !plain || kinds > 1 || !clear || name.len() > DERIVED_BYTES_MAX {
        let mut short: String = name.chars().filter(char::is_ascii_graphic).take(DERIVED_BYTES_MAX / 2).collect();
        if !short.contains(['/', '~']) {
            short.push('/');
        }
        name = format!("{short}#{}", &hash(conditions)[..HASH_DIGITS]);
    }
    name.into()
}

fn hash(conditions: &Conditions) -> String {
    let mut hasher = blake3::Hasher::new();
    conditions.each(&mut |key, value| {
        hasher.update(format!("{}\0{value}\0", key.name).as_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

/// A name that is chosen.
pub(crate) struct RuleId;

impl Describe for RuleId {
    fn kind(&self) -> &'static str {
        "name"
    }
    fn accepted(&self) -> String {
        ID_ACCEPTED.into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string" })
    }
}

impl Form for RuleId {
    type Value = Arc<str>;

    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if is_id(text) => Ok(text.as_str().into()),
            Value::Text { .. } => Err(vec![Wrong::value(node, "not a name for a rule")]),
            _ => Err(vec![Wrong::kind(node, "a name")]),
        }
    }

    fn show(&self, id: &Arc<str>) -> Shown {
        Shown::Text(id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{At, Files};
    use crate::problem::Problems;

    fn check(conditions: &str, expected: &str) {
        let mut problems = Problems::default();
        let file = Files::default().add("x.toml".into(), conditions.into());
        let table = crate::tree::from_toml(file, conditions, &|_| None, &mut problems);
        let node = Node { value: Value::Table(table), span: None };
        let conditions = Conditions::read(&node, &At::ROOT, &mut problems).expect("conditions in order");
        assert!(problems.is_empty(), "{problems}");
        let id = derived(&conditions);
        // The hash is whatever it is; that it is there is what matters.
        let id =
            id.split_once('#').map_or(&*id, |(name, _)| name).to_string() + if id.contains('#') { "#" } else { "" };
        assert_eq!(id, expected);
        assert!(!is_id(&id), "{id} could be chosen");
    }

    #[test]
    fn a_rule_is_called_by_what_it_asks() {
        check("", "/*");
        check("path_prefix = '/api'", "/api/*");
        check("path_prefix = '/api/'", "/api/*");
        check("path = '/api'", "/api");
        check("path = '/api/*'", "/api/*#");
        check("path_template = '/api'", "/api#");
        check("path = '/a method=GET'", "/amethod=GET#");
        check("host = 'a.test'\npath_prefix = '/'", "a.test/*");
        check("host = 'a.test'", "a.test/*");
        check("path_template = '/users/{id}'\nmethod = 'GET'", "/users/{id} method=GET");
        check("path_regex = '^/v[0-9]/'", "~^/v[0-9]/");
        check("source = '10.0.0.0/8'", "/* source=10.0.0.0/8");
        check("host = ['a.test', 'b.test']", "a.test,b.test/*#");
        check("path = '/a'\npath_prefix = '/b'", "/a,/b/*#");
        check("not = { method = 'GET' }", "/*#");
        check("header = { X-A = true }", "/*#");
        check("path = '/\u{e4}'", "/#");
    }
}
