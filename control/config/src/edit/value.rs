//! JSON as edits bring it, and what is done with it: into the reader's tree, merged, changed at a place.
//!
//! Owns RFC 7396 (merge patch) and RFC 6901 (pointers) on plain values. Knows nothing of the document.

use crate::form::Shown;
use crate::tree::{Node, Table, Value};
use serde_json::{Map, Value as Json};

/// As a document would have said it. `null` is not written: whoever calls has taken it for a removal.
pub(super) fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Table(Table::EMPTY),
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => match number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) {
            Some(number) => Value::Integer(number),
            None => Value::Float(number.to_string()),
        },
        Json::String(text) => Value::Text { text: text.clone(), substituted: false },
        Json::Array(list) => Value::List(list.iter().map(node).collect()),
        Json::Object(fields) => {
            let mut table = Table::default();
            fields.iter().filter(|(_, value)| !value.is_null()).for_each(|(name, value)| table.set(name, node(value)));
            Value::Table(table)
        }
    };
    Node { value, span: None }
}

/// RFC 7396 section 2.
pub(super) fn merge(target: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Json::Object(Map::new());
    }
    let Json::Object(fields) = target else { unreachable!("made one above") };
    for (name, value) in patch {
        match value {
            Json::Null => drop(fields.remove(name)),
            value => merge(fields.entry(name.clone()).or_insert(Json::Null), value),
        }
    }
}

/// What a key says, unless it says nothing.
pub(super) fn shown(value: &Shown) -> Option<Json> {
    (*value != Shown::Absent).then(|| value.to_json())
}

/// Why a place in a value cannot be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Misplaced {
    /// Nothing is there.
    Absent,
    /// The token is neither an index of the list nor `-`.
    NoIndex,
    /// What stands before it is neither a table nor a list.
    NoContainer,
}

pub(super) fn find<'v>(value: &'v Json, tokens: &[String]) -> Option<&'v Json> {
    tokens.iter().try_fold(value, |value, token| match value {
        Json::Object(fields) => fields.get(token),
        Json::Array(list) => list.get(index(token, list.len().checked_sub(1)?)?),
        _ => None,
    })
}

/// RFC 6902 section 4.1: an element is put before the one of its index, a member takes the place of its namesake.
pub(super) fn add(value: &mut Json, tokens: &[String], new: Json) -> Result<(), Misplaced> {
    let Some((last, before)) = tokens.split_last() else {
        *value = new;
        return Ok(());
    };
    match find_mut(value, before).ok_or(Misplaced::Absent)? {
        Json::Object(fields) => {
            fields.insert(last.clone(), new);
            Ok(())
        }
        Json::Array(list) => {
            let at = if last == "-" { list.len() } else { index(last, list.len()).ok_or(Misplaced::NoIndex)? };
            list.insert(at, new);
            Ok(())
        }
        _ => Err(Misplaced::NoContainer),
    }
}

/// RFC 6902 section 4.2.
pub(super) fn remove(value: &mut Json, tokens: &[String]) -> Result<Json, Misplaced> {
    let Some((last, before)) = tokens.split_last() else { return Ok(value.take()) };
    match find_mut(value, before).ok_or(Misplaced::Absent)? {
        Json::Object(fields) => fields.remove(last).ok_or(Misplaced::Absent),
        Json::Array(list) => {
            let last_ix = list.len().checked_sub(1).ok_or(Misplaced::Absent)?;
            let at = index(last, last_ix).ok_or(Misplaced::Absent)?;
            Ok(list.remove(at))
        }
        _ => Err(Misplaced::NoContainer),
    }
}

fn find_mut<'v>(value: &'v mut Json, tokens: &[String]) -> Option<&'v mut Json> {
    tokens.iter().try_fold(value, |value, token| match value {
        Json::Object(fields) => fields.get_mut(token),
        Json::Array(list) => {
            let at = index(token, list.len().checked_sub(1)?)?;
            list.get_mut(at)
        }
        _ => None,
    })
}

/// RFC 6901 section 4: no sign, no zero in front, no more than `most`.
fn index(token: &str, most: usize) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit());
    token.parse().ok().filter(|index| plain && *index <= most)
}

/// The parts of a pointer. `None`: it is none.
pub(super) fn tokens(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let parts = pointer.strip_prefix('/')?.split('/');
    parts.map(unescaped).collect()
}

fn unescaped(part: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = part.chars();
    while let Some(character) = rest.next() {
        out.push(match character {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            character => character,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of RFC 7396 appendix A.
    #[test]
    fn a_merge_patch_is_merged() {
        let check = |mut target: Json, patch: Json, expected: Json| {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{patch}");
        };
        check(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"}));
        check(json!({"a": "b"}), json!({"a": null}), json!({}));
        check(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
        check(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]}));
        check(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
        check(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}));
        check(json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"]));
        check(json!({"a": "b"}), json!(["c"]), json!(["c"]));
        check(json!({"a": "foo"}), json!(null), json!(null));
        check(json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1}));
        check(json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"}));
        check(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    }

    #[test]
    fn pointers_lead_into_values() {
        let parts = |pointer: &str| tokens(pointer).map(|parts| parts.join("|"));
        assert_eq!(parts("").as_deref(), Some(""));
        assert_eq!(parts("/a~1b/m~0n/0").as_deref(), Some("a/b|m~n|0"));
        assert_eq!((parts("a"), parts("/~2"), parts("/~")), (None, None, None));
        let value = json!({"a": [1, {"b": 2}]});
        let found = |pointer: &str| find(&value, &tokens(pointer).unwrap()).cloned();
        assert_eq!(found("/a/1/b"), Some(json!(2)));
        assert_eq!((found("/a/2"), found("/a/01"), found("/a/-"), found("/a/1/b/c")), (None, None, None, None));
    }

    #[test]
    fn places_are_added_and_removed() {
        let mut value = json!({"a": [1, 2]});
        let at = |pointer: &str| tokens(pointer).unwrap();
        assert_eq!(add(&mut value, &at("/a/1"), json!(9)), Ok(()));
        assert_eq!(add(&mut value, &at("/a/-"), json!(3)), Ok(()));
        assert_eq!(add(&mut value, &at("/b"), json!({})), Ok(()));
        assert_eq!(value, json!({"a": [1, 9, 2, 3], "b": {}}));
        assert_eq!(add(&mut value, &at("/a/7"), json!(0)), Err(Misplaced::NoIndex));
        assert_eq!(add(&mut value, &at("/c/d"), json!(0)), Err(Misplaced::Absent));
        assert_eq!(add(&mut value, &at("/a/0/x"), json!(0)), Err(Misplaced::NoContainer));
        assert_eq!(remove(&mut value, &at("/a/0")), Ok(json!(1)));
        assert_eq!(remove(&mut value, &at("/a/3")), Err(Misplaced::Absent));
        assert_eq!(remove(&mut value, &at("/b")), Ok(json!({})));
        assert_eq!(remove(&mut value, &at("/b")), Err(Misplaced::Absent));
        assert_eq!(value, json!({"a": [9, 2, 3]}));
    }
}
