//! Objects of keys, three of them: which value each key gets.
//!
//! They come as edits show them, without what is at its default, so a key that is not there is at its default, and two
//! that say the same are equal.

use super::conflict;
use crate::problem::Problems;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// One object before, as orders made it, and in the new document.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) base: &'a Json,
    pub(super) running: &'a Json,
    pub(super) new: &'a Json,
}

/// What stands under a key.
pub(crate) enum KeyKind {
    Value,
    /// A table that is there whether it says something or not.
    Table,
    /// A table whose presence says something.
    Switch,
    /// A list in which every item is there or not, in an order of no meaning.
    Set,
    /// Tables, each known by its `status`.
    Pages,
}

pub(crate) fn kind(path: &[String], key: &str) -> KeyKind {
    let words: Vec<&str> = path.iter().map(String::as_str).chain([key]).collect();
    match words[..] {
        ["pool", _, "create" | "limits" | "timeouts" | "http"] | ["pool", _, "group", _, "retry"] => KeyKind::Table,
        ["pool", _, "group", _, "health" | "eject"] => KeyKind::Switch,
        ["pool", _, "page", _] => KeyKind::Switch,
        ["pool", _, "create", "listen"] | ["pool", _, "hosts"] => KeyKind::Set,
        ["pool", _, "page"] => KeyKind::Pages,
        _ => KeyKind::Value,
    }
}

/// The new object with what orders changed. Every conflict is told; what is in one stays as `new` has it.
pub(super) fn merged(path: &[String], change: Change<'_>, problems: &mut Problems) -> Json {
    let none = Map::new();
    let [base, running, new] = [change.base, change.running, change.new].map(|json| json.as_object().unwrap_or(&none));
    let mut merged = new.clone();
    let keys: BTreeSet<&String> = base.keys().chain(running.keys()).collect();
    for key in keys {
        let three = [base, running, new].map(|object| object.get(key).filter(|value| !value.is_null()));
        if three[0] == three[1] {
            continue;
        }
        let path: Vec<String> = path.iter().cloned().chain([key.clone()]).collect();
        let value = match kind(&path[..path.len() - 1], key) {
            KeyKind::Value => single(&path, three, problems),
            KeyKind::Table => {
                let empty = Json::Object(Map::new());
                let [base, running, new] = three.map(|table| table.unwrap_or(&empty));
                let table = self::merged(&path, Change { base, running, new }, problems);
                table.as_object().is_some_and(|table| !table.is_empty()).then_some(table)
            }
            KeyKind::Switch => match three {
                [Some(base), Some(running), Some(new)] => {
                    Some(self::merged(&path, Change { base, running, new }, problems))
                }
                three => single(&path, three, problems),
            },
            KeyKind::Set => set(three),
            KeyKind::Pages => {
                let [base, running, new] = three.map(by_status);
                let change = Change { base: &base, running: &running, new: &new };
                let pages = self::merged(&path, change, problems);
                let pages: Vec<Json> = pages.as_object().into_iter().flat_map(Map::values).cloned().collect();
                (!pages.is_empty()).then_some(Json::Array(pages))
            }
        };
        match value {
            Some(value) => drop(merged.insert(key.clone(), value)),
            None => drop(merged.remove(key)),
        }
    }
    Json::Object(merged)
}

fn single(path: &[String], [base, running, new]: [Option<&Json>; 3], problems: &mut Problems) -> Option<Json> {
    if base == new || running == new {
        return running.cloned();
    }
    if base != running {
        problems.push(conflict(path, [base, running, new].map(|value| value.cloned().unwrap_or(Json::Null))));
    }
    new.cloned()
}

/// Items are there or not, so two changes of one are the same.
fn set([base, running, new]: [Option<&Json>; 3]) -> Option<Json> {
    let [base, running, new] =
        [base, running, new].map(|list| list.and_then(Json::as_array).cloned().unwrap_or_default());
    let goes = |item: &Json| base.contains(item) && !running.contains(item);
    let mut merged: Vec<Json> = new.into_iter().filter(|item| !goes(item)).collect();
    for item in running {
        if !base.contains(&item) && !merged.contains(&item) {
            merged.push(item);
        }
    }
    (!merged.is_empty()).then_some(Json::Array(merged))
}

/// Pages as a table, by their statuses.
pub(crate) fn by_status(pages: Option<&Json>) -> Json {
    let named = |page: &Json| (page.get("status").map(status_name).unwrap_or_default(), page.clone());
    pages.and_then(Json::as_array).into_iter().flatten().map(named).collect::<Map<_, _>>().into()
}

/// What a page is called by.
pub(crate) fn status_name(statuses: &Json) -> String {
    statuses.to_string().replace(['"', '[', ']'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(path: &str, base: Json, running: Json, new: Json, expected: Result<Json, &[&str]>) {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let told = |running: &Json, new: &Json| {
            let mut problems = Problems::default();
            let merged = merged(&path, Change { base: &base, running, new }, &mut problems);
            let paths: Vec<String> = problems.errors().iter().map(|problem| problem.path.clone()).collect();
            (merged, paths)
        };
        let (merged, paths) = told(&running, &new);
        match expected {
            Ok(expected) => assert_eq!((merged, paths), (expected, Vec::new())),
            Err(expected) => assert_eq!(paths, expected),
        }
        assert_eq!(told(&new, &running).1, told(&running, &new).1, "who changed what makes no difference");
    }

    #[test]
    fn keys_are_merged_one_by_one() {
        let backend = "pool.db.group.main.backend.a";
        check(backend, json!({"w": 1}), json!({"w": 2}), json!({"w": 1, "d": true}), Ok(json!({"w": 2, "d": true})));
        check(backend, json!({"w": 1}), json!({}), json!({"w": 1}), Ok(json!({})));
        check(backend, json!({"w": 1}), json!({"w": 2}), json!({"w": 2}), Ok(json!({"w": 2})));
        check(backend, json!({"w": 1}), json!({"w": 2}), json!({"w": 3}), Err(&["pool.db.group.main.backend.a.w"]));
        check(backend, json!({"w": 1}), json!({}), json!({"w": 3}), Err(&["pool.db.group.main.backend.a.w"]));
    }

    #[test]
    fn tables_are_entered_and_switches_are_there_or_not() {
        let limits = |value: u32| json!({"limits": {"max_connections": value}});
        check("pool.db", json!({}), limits(1), json!({}), Ok(limits(1)));
        check("pool.db", limits(1), json!({}), limits(1), Ok(json!({})));
        check("pool.db", json!({}), limits(1), limits(2), Err(&["pool.db.limits.max_connections"]));
        let health = |rise: u32, fall: u32| json!({"health": {"rise": rise, "fall": fall}});
        let group = "pool.db.group.main";
        check(group, health(1, 1), health(2, 1), health(1, 2), Ok(health(2, 2)));
        check(group, json!({}), json!({"health": {}}), json!({}), Ok(json!({"health": {}})));
        check(group, health(1, 1), json!({}), health(1, 1), Ok(json!({})));
        check(group, health(1, 1), json!({}), health(1, 2), Err(&["pool.db.group.main.health"]));
        check(group, json!({}), health(1, 1), health(1, 2), Err(&["pool.db.group.main.health"]));
    }

    #[test]
    fn items_of_sets_come_and_go_for_themselves() {
        let listen = |items: &[&str]| json!({"create": {"listen": items}});
        check(
            "pool.db",
            listen(&["a", "b"]),
            listen(&["a", "c"]),
            listen(&["a", "b", "d"]),
            Ok(listen(&["a", "d", "c"])),
        );
        check("pool.db", listen(&["a"]), listen(&["a", "c"]), listen(&["a", "c"]), Ok(listen(&["a", "c"])));
    }

    #[test]
    fn pages_are_known_by_their_statuses() {
        let page = |status: u32, body: &str| json!({"status": [status], "body": body});
        let pages = |pages: &[&Json]| json!({"page": pages});
        let (one, other) = (page(502, "x"), page(503, "y"));
        check("pool.web", pages(&[]), pages(&[&one]), pages(&[&other]), Ok(pages(&[&one, &other])));
        let changed = [pages(&[&page(502, "y")]), pages(&[&page(502, "z")])];
        check("pool.web", pages(&[&one]), changed[0].clone(), changed[1].clone(), Err(&["pool.web.page.502.body"]));
    }
}
