//! `config::Config::edit` against the same edits done by hand to the document.
//!
//! An order and a document that say the same must make the same configuration. So each edit is also made to
//! the document as JSON, without any knowledge of the rules, and what comes out is read as a document: it must
//! be taken exactly when the edit was, and be equal.

use crate::files::{self, Files};
use crate::problems;
use config::{BackendSettings, Class, Config, Edit, Limit, diff};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A document as for [`crate::document`], a line `----`, and edits, one a line:
///
/// ```text
/// add POOL ADDRESS [id=ID] [group=GROUP] [weight=N] [backup=BOOL] [drain=BOOL] [max=N|off]
/// set POOL ID [group=GROUP] [weight=N] …
/// remove POOL ID [group=GROUP]
/// ```
///
/// A line that is none of these means nothing. Each edit is made by itself, on what the ones before have made;
/// then all together, which is the same or is refused as a whole.
pub fn edits(data: &[u8]) {
    let (document, lines) = files::divided(data);
    let Ok(parsed) = Files::split(document).parse() else { return };
    let edits: Vec<Edit> = String::from_utf8_lossy(lines).lines().filter_map(edit).collect();
    let mut config = parsed.config.clone();
    let mut all_taken = true;
    for edit in &edits {
        let by_hand = by_hand(&config, edit);
        match config.edit(std::slice::from_ref(edit), 2) {
            Ok(edited) => {
                assert!(edited.warnings.errors().is_empty());
                problems::of_edits(&edited.warnings);
                let by_hand = by_hand.unwrap_or_else(|| panic!("{edit:?} was taken"));
                assert_eq!(edited.config.hash(), by_hand.hash(), "{edit:?}\n{}", edited.config.to_toml());
                touches_only(edit, &config, &edited.config);
                config = edited.config;
            }
            Err(refused) => {
                assert!(!refused.errors().is_empty());
                problems::of_edits(&refused);
                assert!(by_hand.is_none(), "{edit:?} was refused: {refused}");
                all_taken = false;
            }
        }
    }
    match parsed.config.edit(&edits, 2) {
        Ok(edited) => {
            assert!(all_taken, "a transaction with a refused edit was taken");
            assert_eq!(edited.config.hash(), config.hash(), "one by one, and together");
            problems::of_edits(&edited.warnings);
        }
        Err(refused) => {
            assert!(!all_taken, "each edit was taken, and not all of them: {refused}");
            problems::of_edits(&refused);
        }
    }
}

fn edit(line: &str) -> Option<Edit> {
    let mut words = line.split_whitespace();
    let (verb, pool, what) = (words.next()?, words.next()?.to_owned(), words.next()?.to_owned());
    let (mut id, mut group, mut set) = (None, None, BackendSettings::default());
    for word in words {
        let (key, value) = word.split_once('=')?;
        match key {
            "id" => id = Some(value.to_owned()),
            "group" => group = Some(value.to_owned()),
            "weight" => set.weight = value.parse().ok(),
            "backup" => set.backup = value.parse().ok(),
            "drain" => set.drain = value.parse().ok(),
            "max" if value == "off" => set.max_connections = Some(Limit::Off),
            "max" => set.max_connections = value.parse().ok().map(Limit::At),
            _ => return None,
        }
    }
    match verb {
        "add" => Some(Edit::AddBackend { pool, group, id, address: what, set }),
        "set" => Some(Edit::SetBackend { pool, group, id: what, set }),
        "remove" => Some(Edit::RemoveBackend { pool, group, id: what }),
        _ => None,
    }
}

/// Other edits have a target of their own.
const ONLY_BACKENDS: &str = "this target makes edits of backends";

/// The document after the edit. `None`: there is nothing to edit, or it would not be a document any more.
fn by_hand(config: &Config, edit: &Edit) -> Option<Config> {
    let mut document = config.to_json();
    for list in document["list"].as_object_mut().expect("a table").values_mut() {
        // What follows is not written.
        list.as_object_mut().expect("a table").retain(|key, _| !["digest", "in_force"].contains(&&**key));
    }
    let (Edit::AddBackend { pool, group, .. }
    | Edit::SetBackend { pool, group, .. }
    | Edit::RemoveBackend { pool, group, .. }) = edit
    else {
        unreachable!("{ONLY_BACKENDS}")
    };
    let groups = document["pool"].get_mut(pool)?["group"].as_object_mut().expect("a table");
    let names: Vec<String> = groups.keys().cloned().collect();
    let name = match (group, &names[..]) {
        (Some(group), _) => group,
        (None, [only]) => only,
        (None, _) => return None,
    };
    let backends = groups.get_mut(name)?["backend"].as_array_mut().expect("a list");
    match edit {
        Edit::AddBackend { id, address, set, .. } => {
            let mut backend = as_shown(id.as_deref(), address)?;
            backend.extend(settings(set));
            // Said twice it is there once.
            if !backends.iter().any(|there| says_the_same(there, &backend)) {
                backends.push(backend.into());
            }
        }
        Edit::SetBackend { id, set, .. } => {
            let ix = named(backends, id)?;
            backends[ix].as_object_mut().expect("a table").extend(settings(set));
        }
        Edit::RemoveBackend { id, .. } => drop(backends.remove(named(backends, id)?)),
        _ => unreachable!("{ONLY_BACKENDS}"),
    }
    let text = toml::to_string(&without_nulls(document)).expect("JSON without nulls is TOML");
    files::parse_alone(&text).ok().map(|parsed| parsed.config)
}

/// A backend's id and address as documents show them, however they were written. `None`: it would be none.
fn as_shown(id: Option<&str>, address: &str) -> Option<Map<String, Value>> {
    let backend = json!({"id": id, "address": address});
    let alone = json!({"pool": {"p": {
        "create": {"service": "tcp", "listen": ["127.0.0.1:1"]}, "group": {"main": {"backend": [backend]}}}}});
    let text = toml::to_string(&without_nulls(alone)).expect("JSON without nulls is TOML");
    let mut shown = files::parse_alone(&text).ok()?.config.to_json();
    let backend = &mut shown["pool"]["p"]["group"]["main"]["backend"][0];
    Some(["id", "address"].map(|key| (key.to_owned(), backend[key].take())).into_iter().collect())
}

/// Whether a backend as the document shows it is this one.
fn says_the_same(there: &Value, new: &Map<String, Value>) -> bool {
    let said = |key: &str, default: Value| new.get(key).cloned().unwrap_or(default);
    let limit = |value: Value| if value.is_null() { json!("off") } else { value };
    let pairs = [
        ("id", new["id"].clone()),
        ("address", new["address"].clone()),
        ("weight", said("weight", json!(1))),
        ("backup", said("backup", json!(false))),
        ("drain", said("drain", json!(false))),
    ];
    pairs.iter().all(|(key, value)| there[*key] == *value)
        && limit(there["max_connections"].clone()) == limit(said("max_connections", json!("off")))
}

/// By its id, else by its address.
fn named(backends: &[Value], name: &str) -> Option<usize> {
    let by = |key: &str| backends.iter().position(|backend| backend[key] == name);
    by("id").or_else(|| by("address"))
}

fn settings(set: &BackendSettings) -> Map<String, Value> {
    let BackendSettings { weight, backup, drain, max_connections } = *set;
    let max_connections = max_connections.map(|limit| match limit {
        Limit::Off => json!("off"),
        Limit::At(limit) => json!(limit),
    });
    let all = [
        ("weight", weight.map(Value::from)),
        ("backup", backup.map(Value::from)),
        ("drain", drain.map(Value::from)),
        ("max_connections", max_connections),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// What is null was not written. A dollar sign is written twice.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let written = map.into_iter().filter(|(_, value)| !value.is_null());
            written.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        Value::String(text) => text.replace('$', "$$").into(),
        other => other,
    }
}

/// An order for one backend is felt in its pool, at once, and nowhere else.
fn touches_only(edit: &Edit, old: &Config, new: &Config) {
    let (Edit::AddBackend { pool, .. } | Edit::SetBackend { pool, .. } | Edit::RemoveBackend { pool, .. }) = edit
    else {
        unreachable!("{ONLY_BACKENDS}")
    };
    for (id, content) in &new.pools {
        assert!(
            id.as_str() == pool || Arc::ptr_eq(content, old.pools.get(id).expect("no pool comes by an edit")),
            "`{id}` is another object"
        );
    }
    let plan = diff(old, new);
    assert_eq!(plan.class, Class::Soft, "{edit:?} needs no restart");
    assert!(plan.touches.listeners.is_empty() && plan.touches.pools.len() <= 1);
    assert!(plan.touches.pools.iter().all(|id| id.as_str() == pool));
}
