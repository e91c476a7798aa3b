//! Edits as the protocol has them, in the words of `config`. Pure translation.

use api::Edit;
use api::edit::{
    Entries, Head, HeaderSet, HostAdd, HostRemove, ListEntry, ListReplace, NotedEntry, Patch, PatchStep, Place,
};
use config::{EntryText, ListEdit, ListFile, Replacement, RulePlace};
use serde_json::{Value, json};

/// An edit as the protocol has it, as `config` has it. `file`: the one that it names, if it names one.
pub fn edit(edit: &api::Edit, file: Option<ListFile>) -> config::Edit {
    use config::Edit as Made;
    match edit {
        Edit::BackendAdd(add) => Made::AddBackend {
            pool: add.pool.clone(),
            group: add.group.clone(),
            id: add.backend.clone(),
            address: add.address.clone(),
            set: config::BackendSettings {
                weight: add.weight,
                backup: add.backup,
                drain: add.drain,
                max_connections: add.max_connections.map(config::Limit::At),
            },
        },
        Edit::BackendRemove(remove) => {
            Made::RemoveBackend { pool: remove.pool.clone(), group: remove.group.clone(), id: remove.backend.clone() }
        }
        Edit::BackendSet(set) => Made::SetBackend {
            pool: set.pool.clone(),
            group: set.group.clone(),
            id: set.backend.clone(),
            set: config::BackendSettings {
                weight: set.weight,
                backup: set.backup,
                drain: set.drain,
                max_connections: match set.max_connections {
                    api::order::Setting::Keep => None,
                    api::order::Setting::Clear => Some(config::Limit::Off),
                    api::order::Setting::Set(limit) => Some(config::Limit::At(limit)),
                },
            },
        },
        Edit::PoolAdd(add) => Made::Add { path: path(&["pool", &add.pool]), value: keys(&add.set), place: None },
        Edit::PoolSet(set) => Made::Set { path: path(&["pool", &set.pool]), value: keys(&set.set) },
        Edit::PoolRemove(remove) => Made::Remove { path: path(&["pool", &remove.pool]), missing_ok: remove.missing_ok },
        Edit::ListenAdd(add) => {
            Made::AddItem { path: path(&["pool", &add.pool, "create", "listen"]), item: add.address.clone() }
        }
        Edit::ListenRemove(remove) => Made::RemoveItem {
            path: path(&["pool", &remove.pool, "create", "listen"]),
            item: remove.address.clone(),
            missing_ok: remove.missing_ok,
        },
        Edit::HostAdd(HostAdd { pool, host, group: None }) => {
            Made::AddItem { path: path(&["pool", pool, "hosts"]), item: host.clone() }
        }
        Edit::HostAdd(HostAdd { pool, host, group: Some(group) }) => {
            let value = json!({ "host": host, "group": group });
            Made::Add { path: rule_that_asks(pool, &value), value, place: None }
        }
        Edit::HostRemove(HostRemove { pool, host, group: None, missing_ok }) => {
            Made::RemoveItem { path: path(&["pool", pool, "hosts"]), item: host.clone(), missing_ok: *missing_ok }
        }
        Edit::HostRemove(HostRemove { pool, host, group: Some(_), missing_ok }) => {
            Made::Remove { path: rule_that_asks(pool, &json!({ "host": host })), missing_ok: *missing_ok }
        }
        Edit::GroupAdd(add) => {
            Made::Add { path: path(&["pool", &add.pool, "group", &add.group]), value: keys(&add.set), place: None }
        }
        Edit::GroupSet(set) => {
            Made::Set { path: path(&["pool", &set.pool, "group", &set.group]), value: keys(&set.set) }
        }
        Edit::GroupRemove(remove) => {
            Made::Remove { path: path(&["pool", &remove.pool, "group", &remove.group]), missing_ok: remove.missing_ok }
        }
        Edit::RuleAdd(add) => {
            let value = keys(&add.set);
            let path = match &add.rule {
                Some(id) => path(&["pool", &add.pool, "rule", id]),
                None => rule_that_asks(&add.pool, &value),
            };
            Made::Add { path, value, place: add.place.as_ref().map(place) }
        }
        Edit::RuleSet(set) => Made::Set { path: path(&["pool", &set.pool, "rule", &set.rule]), value: keys(&set.set) },
        Edit::RuleMove(to) => Made::MoveRule { pool: to.pool.clone(), rule: to.rule.clone(), place: place(&to.place) },
        Edit::RuleRemove(remove) => {
            Made::Remove { path: path(&["pool", &remove.pool, "rule", &remove.rule]), missing_ok: remove.missing_ok }
        }
        Edit::HeaderSet(set) => header(set, "set"),
        Edit::HeaderAdd(set) => header(set, "add"),
        Edit::HeaderRemove(of) => {
            Made::AddItem { path: head(&of.pool, &of.rule, of.head, "remove"), item: of.name.clone() }
        }
        Edit::HeaderClear(of) => {
            let (removed, gone) = (head(&of.pool, &of.rule, of.head, "remove"), json!({ &of.name: null }));
            let edits = json!({ head_key(of.head): { "set": gone.clone(), "add": gone } });
            Made::Several(vec![
                Made::Set { path: path(&["pool", &of.pool, "rule", &of.rule]), value: edits },
                Made::RemoveItem { path: removed, item: of.name.clone(), missing_ok: true },
            ])
        }
        Edit::LimitSet(set) => {
            Made::Set { path: path(&["pool", &set.pool]), value: json!({ "limits": keys(&set.set) }) }
        }
        Edit::ListAdd(add) => Made::List(ListEdit::Add {
            list: add.list.clone(),
            entry: add.entry.clone(),
            expires: add.expires.clone(),
            reason: add.reason.clone(),
        }),
        Edit::ListRemove(remove) => Made::List(ListEdit::Remove {
            list: remove.list.clone(),
            entry: remove.entry.clone(),
            missing_ok: remove.missing_ok,
        }),
        Edit::ListReplace(ListReplace { list, with }) => {
            let with = match (with, file) {
                (Entries::Here(entries), _) => Replacement::Texts(entries.iter().map(entry).collect()),
                (Entries::File(_), file) => Replacement::File(file.expect("whoever names a file has read it")),
            };
            Made::List(ListEdit::Replace { list: list.clone(), with })
        }
        Edit::Patch(Patch::Merge(merge)) => Made::Merge(merge.clone()),
        Edit::Patch(Patch::Steps(steps)) => Made::Patch(steps.iter().map(step).collect()),
    }
}

fn entry(entry: &ListEntry) -> EntryText {
    match entry.clone() {
        ListEntry::Plain(entry) => EntryText { entry, expires: None, reason: None },
        ListEntry::Noted(NotedEntry { entry, expires, reason }) => EntryText { entry, expires, reason },
    }
}

fn path(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn keys(set: &api::edit::Keys) -> Value {
    Value::Object(set.clone())
}

/// The path of a rule that is called by what it asks.
fn rule_that_asks(pool: &str, value: &Value) -> Vec<String> {
    path(&["pool", pool, "rule", &config::rule_called_by_what_it_asks(value)])
}

fn place(place: &Place) -> RulePlace {
    match place {
        Place::First => RulePlace::First,
        Place::Last => RulePlace::Last,
        Place::Before(rule) => RulePlace::Before(rule.clone()),
        Place::Behind(rule) => RulePlace::Behind(rule.clone()),
    }
}

fn head_key(head: Head) -> &'static str {
    match head {
        Head::Request => "request_headers",
        Head::Response => "response_headers",
    }
}

fn head(pool: &str, rule: &str, head: Head, what: &str) -> Vec<String> {
    path(&["pool", pool, "rule", rule, head_key(head), what])
}

fn header(set: &HeaderSet, what: &str) -> config::Edit {
    let value = json!({ head_key(set.head): { what: { &set.name: set.value } } });
    config::Edit::Set { path: path(&["pool", &set.pool, "rule", &set.rule]), value }
}

fn step(step: &PatchStep) -> config::PatchStep {
    use config::PatchStep as Made;
    match step.clone() {
        PatchStep::Add { path, value } => Made::Add { path, value },
        PatchStep::Remove { path } => Made::Remove { path },
        PatchStep::Replace { path, value } => Made::Replace { path, value },
        PatchStep::Move { from, path } => Made::Move { from, path },
        PatchStep::Copy { from, path } => Made::Copy { from, path },
        PatchStep::Test { path, value } => Made::Test { path, value },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(told: Value) -> config::Edit {
        let told: Edit = serde_json::from_value(told).expect("an edit");
        edit(&told, None)
    }

    #[test]
    fn edits_keep_what_they_do_not_name() {
        let set = json!({"order": "backend.set", "pool": "db", "backend": "a", "max_connections": null});
        let config::Edit::SetBackend { set, .. } = made(set) else { panic!("one edit of a backend") };
        assert_eq!(set.max_connections, Some(config::Limit::Off));
        assert_eq!((set.weight, set.backup, set.drain), (None, None, None));
    }

    #[test]
    fn a_host_that_leads_to_a_group_is_a_rule_of_its_name() {
        let add = json!({"order": "host.add", "pool": "web", "host": "a.test", "group": "app"});
        let remove = json!({"order": "host.remove", "pool": "web", "host": "a.test", "group": "app"});
        let (config::Edit::Add { path: added, .. }, config::Edit::Remove { path: removed, .. }) =
            (made(add), made(remove))
        else {
            panic!("a rule comes and goes")
        };
        assert_eq!((&added, &**added.last().unwrap()), (&removed, "a.test/*"));
    }

    #[test]
    fn every_edit_is_made_of_its_example() {
        for name in Edit::NAMES {
            let all = json!({
                "order": name, "pool": "p", "group": "g", "backend": "b", "address": "127.0.0.1:1", "rule": "r",
                "host": "h", "name": "X-A", "value": "1", "set": {}, "place": "last", "merge": {}, "list": "l", "entry": "e",
                "entries": [],
            });
            // Fields that it does not have are taken away, one after the other.
            let mut fields = all.as_object().unwrap().clone();
            let told = loop {
                match serde_json::from_value::<Edit>(Value::Object(fields.clone())) {
                    Ok(told) => break told,
                    Err(error) => {
                        let text = error.to_string();
                        let field = text.split('`').nth(1).unwrap_or_default();
                        assert!(fields.remove(field).is_some(), "{name}: {error}");
                    }
                }
            };
            let made = edit(&told, None);
            let is_empty = matches!(&made, config::Edit::Several(edits) if edits.is_empty());
            assert!(!is_empty, "{name}");
        }
    }
}
