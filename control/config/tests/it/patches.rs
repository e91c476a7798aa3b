//! General edits: patches and objects by path make the document that says the same.

use crate::arbitrary::{PLAIN, model};
use crate::config;
use config::{Code, Config, Edit, PatchStep, Problems, RulePlace};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A document as edits see it: what the text has as lists with ids are tables by id.
fn seen(config: &Config) -> Value {
    let mut seen = without_nulls(config.to_json());
    for list in seen["list"].as_object_mut().expect("a table").values_mut() {
        // What follows from what is said is shown, and is not said.
        let list = list.as_object_mut().expect("a table");
        list.retain(|key, _| !["digest", "in_force"].contains(&key.as_str()));
    }
    let by_id = |list: &mut Value| {
        let entries = std::mem::take(list);
        let entries = entries.as_array().cloned().unwrap_or_default().into_iter();
        *list = Value::Object(entries.map(|entry| (entry["id"].as_str().expect("an id").to_owned(), entry)).collect());
    };
    for pool in seen["pool"].as_object_mut().expect("a table").values_mut() {
        if pool.get("rule").is_some() {
            by_id(&mut pool["rule"]);
            // One that is called by what it asks does not say so.
            for rule in pool["rule"].as_object_mut().expect("a table").values_mut() {
                let derived = rule["id"].as_str().is_some_and(|id| id.contains(['/', '~']));
                if derived {
                    rule.as_object_mut().expect("a table").remove("id");
                }
            }
        }
        for group in pool["group"].as_object_mut().expect("a table").values_mut() {
            by_id(&mut group["backend"]);
        }
    }
    seen
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

/// RFC 7396 backwards: what has to be merged into `old` to make `new` of it.
fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        match before.get(name) {
            Some(old) if old == value => {}
            Some(old) => drop(patch.insert(name.clone(), merge_patch(old, value))),
            None => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

fn edited(config: &Config, edits: &[Edit]) -> Result<Config, Problems> {
    config.edit(edits, 2).map(|edited| edited.config)
}

fn path(words: &str) -> Vec<String> {
    words.split('.').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the two say: what is merged is the other document, but for the order of rules that are in both.
    #[test]
    fn a_merge_patch_makes_the_other_document(one in model(), other in model()) {
        let (one, other) = (config(&one.toml(PLAIN)), config(&other.toml(PLAIN)));
        let patch = merge_patch(&seen(&one), &seen(&other));
        let merged = edited(&one, &[Edit::Merge(patch.clone())]);
        let changed_service = one.pools.iter().any(|(id, pool)| {
            other.pools.get(id).is_some_and(|other| other.create.service != pool.create.service)
        });
        if changed_service {
            prop_assert!(merged.is_err());
            return Ok(());
        }
        let merged = merged.map_err(|problems| TestCaseError::fail(format!("{problems}\n{patch:#}")))?;
        prop_assert_eq!(seen(&merged), seen(&other), "{:#}", patch);
        // And what it is reads as what it is.
        let again = config(&merged.to_toml());
        prop_assert_eq!(again.hash(), merged.hash(), "{}", merged.to_toml());
    }

    /// An object that is taken away and added again, as it is shown, is what it was.
    #[test]
    fn what_is_shown_reads_as_what_it_is(model in model()) {
        let config = config(&model.toml(PLAIN));
        // As lists, whose order counts.
        let shown = without_nulls(config.to_json());
        for (id, pool) in shown["pool"].as_object().expect("a table") {
            let at = vec!["pool".to_owned(), id.clone()];
            let again = Edit::Add { path: at.clone(), value: pool.clone(), place: None };
            let same = edited(&config, std::slice::from_ref(&again));
            let same = same.map_err(|problems| TestCaseError::fail(format!("{problems}\n{pool:#}")))?;
            prop_assert_eq!(same.hash(), config.hash());
            if config.pools.len() > 1 {
                let without = edited(&config, &[Edit::Remove { path: at.clone(), missing_ok: false }]);
                let Ok(without) = without else { continue };
                prop_assert!(without.pools.get(id.as_str()).is_none());
                let back = edited(&without, &[again]);
                let back = back.map_err(|problems| TestCaseError::fail(format!("{problems}\n{pool:#}")))?;
                prop_assert_eq!(back.hash(), config.hash());
            }
            let pointer = format!("/pool/{id}");
            let test = PatchStep::Test { path: format!("{pointer}/create/service"), value: pool["create"]["service"].clone() };
            let steps = vec![test, PatchStep::Copy { from: format!("{pointer}/limits"), path: format!("{pointer}/limits") }];
            let same = edited(&config, &[Edit::Patch(steps)]);
            prop_assert_eq!(same.map_err(|problems| TestCaseError::fail(problems.to_string()))?.hash(), config.hash());
        }
    }
}

const WEB: &str = r#"
[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.api.backend = [{ id = "a", address = "10.0.0.1:80" }]
group.app.backend = [{ id = "a", address = "10.0.0.2:80" }]
[[pool.web.rule]]
id = "api"
path_prefix = "/api"
group = "api"
[[pool.web.rule]]
id = "all"
group = "app"
[list.office]
entries = ["192.0.2.0/24"]
"#;

fn web() -> Config {
    (*config(WEB)).clone()
}

fn order(config: &Config) -> Vec<String> {
    let http = config.pools.get("web").and_then(|pool| pool.http.as_ref()).expect("a pool of HTTP");
    http.rules.iter().map(|rule| rule.id.to_string()).collect()
}

fn add(at: &str, value: Value) -> Edit {
    Edit::Add { path: path(at), value, place: None }
}

fn set(at: &str, value: Value) -> Edit {
    Edit::Set { path: path(at), value }
}

fn remove(at: &str) -> Edit {
    Edit::Remove { path: path(at), missing_ok: false }
}

/// The first problem: its code and path.
#[track_caller]
fn check_refused(edits: &[Edit], expected: &str) {
    let problems = edited(&web(), edits).expect_err("these edits cannot be applied");
    let first = &problems.errors()[0];
    assert_eq!(format!("{} {}", first.code.label(), first.path), expected, "{problems}");
    assert_ne!(first.code, Code::Syntax);
}

#[test]
fn rules_are_placed_where_they_are_wanted() {
    let rule = json!({"path_prefix": "/new", "group": "app"});
    let placed = |place| Edit::Add { path: path("pool.web.rule.new"), value: rule.clone(), place };
    let check = |edits: &[Edit], expected: &[&str]| assert_eq!(order(&edited(&web(), edits).unwrap()), expected);
    check(&[placed(None)], &["api", "all", "new"]);
    check(&[placed(Some(RulePlace::First))], &["new", "api", "all"]);
    check(&[placed(Some(RulePlace::Before("all".into())))], &["api", "new", "all"]);
    check(&[placed(Some(RulePlace::Behind("all".into())))], &["api", "all", "new"]);
    let moved = |place| Edit::MoveRule { pool: "web".into(), rule: "all".into(), place };
    check(&[moved(RulePlace::First)], &["all", "api"]);
    check(&[moved(RulePlace::Behind("api".into()))], &["api", "all"]);
    let same = edited(&web(), &[moved(RulePlace::Last)]).unwrap();
    assert_eq!(same.hash(), web().hash());
    // Once one says an order, all do.
    let mut with_order = rule.clone();
    with_order["order"] = json!(15);
    let ordered = edited(&web(), &[add("pool.web.rule.new", with_order)]).unwrap();
    assert_eq!(order(&ordered), ["api", "new", "all"]);
    let between = Edit::Add {
        path: path("pool.web.rule.more"),
        value: json!({"path_prefix": "/more", "group": "app"}),
        place: Some(RulePlace::Before("new".into())),
    };
    let more = edited(&ordered, &[between]).unwrap();
    assert_eq!(order(&more), ["api", "more", "new", "all"]);
    assert_eq!(config(&more.to_toml()).hash(), more.hash());
}

#[test]
fn many_rules_at_one_place_find_room() {
    let mut config = web();
    for nth in 0..200 {
        let rule = json!({"path": format!("/{nth}"), "group": "app"});
        let place = Some(RulePlace::Behind("api".into()));
        let edit = Edit::Add { path: path(&format!("pool.web.rule.r{nth}")), value: rule, place };
        config = edited(&config, &[edit]).unwrap();
    }
    let all = order(&config);
    assert_eq!((all.len(), &*all[0], &*all[1], &*all[200], &*all[201]), (202, "api", "r199", "r0", "all"));
    assert_eq!(crate::config(&config.to_toml()).hash(), config.hash());
}

#[test]
fn what_is_added_twice_is_there_once_and_something_else_is_refused() {
    let group = json!({"backend": {"x": {"address": "10.0.0.9:80"}}});
    let once = edited(&web(), &[add("pool.web.group.new", group.clone())]).unwrap();
    let twice = edited(&once, &[add("pool.web.group.new", group)]).unwrap();
    assert_eq!(once.hash(), twice.hash());
    check_refused(&[add("pool.web.group.app", json!({"queue": 7}))], "duplicate pool.web.group.app");
    check_refused(&[add("pool.web.rule.api", json!({"group": "app"}))], "duplicate pool.web.rule.api");
}

#[test]
fn what_others_need_cannot_go_alone() {
    check_refused(&[remove("pool.web.group.api")], "clash pool.web.group.api");
    let both = [remove("pool.web.group.api"), remove("pool.web.rule.api")];
    let config = edited(&web(), &both).unwrap();
    assert_eq!((order(&config), config.pools.get("web").unwrap().groups.len()), (vec!["all".to_owned()], 1));
    let named = set("pool.web.rule.api", json!({"source": ["office"]}));
    let config = edited(&web(), &[named]).unwrap();
    assert_eq!(config.pools.get("web").unwrap().http.as_ref().unwrap().lists.len(), 1);
    let problems = edited(&config, &[remove("list.office")]).unwrap_err();
    assert!(problems.errors()[0].message.contains("named by rule `api`"), "{problems}");
    check_refused(
        &[remove("pool.web.group.api"), set("pool.web.rule.api", json!({"group": "gone"}))],
        "not_found pool.web.rule.api.group",
    );
    check_refused(&[remove("pool.web.rule.api"), remove("pool.web.rule.all")], "missing pool.web.rule");
}

#[test]
fn a_list_that_changes_changes_who_names_it() {
    let named = set("pool.web.rule.api", json!({"source": ["office"]}));
    let config = edited(&web(), &[named]).unwrap();
    let before = config.pools.get("web").unwrap().hash();
    let wider = set("list.office", json!({"entries": ["192.0.2.0/24", "198.51.100.0/24"]}));
    let after = edited(&config, &[wider]).unwrap();
    assert_ne!(after.pools.get("web").unwrap().hash(), before);
    assert_eq!(crate::config(&after.to_toml()).hash(), after.hash());
}

#[test]
fn mistakes_are_told_with_their_place() {
    check_refused(
        &[set("pool.web", json!({"limits": {"max_connexions": 1}}))],
        "unknown_key pool.web.limits.max_connexions",
    );
    check_refused(
        &[set("pool.web.group.app.backend.a", json!({"weight": "many"}))],
        "wrong_type pool.web.group.app.backend.a.weight",
    );
    check_refused(&[set("pool.wep", json!({}))], "not_found pool.wep");
    check_refused(&[remove("pool.web.rule.x")], "not_found pool.web.rule.x");
    check_refused(&[remove("pools.web")], "unknown_key pools.web");
    check_refused(&[add("pool.web.rule.b", json!({"group": "app", "deny": 403}))], "clash pool.web.rule.b.deny");
    check_refused(
        &[add("pool.web.rule.b", json!({"path_regex": "(", "group": "app"}))],
        "bad_value pool.web.rule.b.path_regex",
    );
    check_refused(
        &[set("pool.web", json!({"create": {"listen": ["127.0.0.1:80", "0.0.0.0:80"]}}))],
        "clash pool.web.create.listen",
    );
    check_refused(&[set("pool.web", json!({"create": {"service": "tcp"}}))], "clash pool.web.create.service");
    check_refused(&[set("pool.web.group.app", json!({"attempts": 2}))], "clash pool.web.group.app.attempts");
    check_refused(&[Edit::Merge(json!({"pol": {}}))], "unknown_key pol");
    check_refused(&[Edit::Merge(json!({"pool": 7}))], "wrong_type pool");
    let pointer = |path: &str| Edit::Patch(vec![PatchStep::Remove { path: path.into() }]);
    check_refused(&[pointer("pool/web")], "bad_value ");
    check_refused(&[pointer("/pool/web/rule/x")], "not_found pool.web.rule.x");
    check_refused(&[pointer("/pool/web/rule/api/path_prefix/0/0")], "not_found pool.web.rule.api.path_prefix.0.0");
    let test = PatchStep::Test { path: "/pool/web/group/app/backend/a/weight".into(), value: json!(2) };
    check_refused(&[Edit::Patch(vec![test])], "clash pool.web.group.app.backend.a.weight");
}

#[test]
fn the_operations_of_a_patch_do_what_the_rfc_says() {
    let patch = |steps: Vec<PatchStep>| edited(&web(), &[Edit::Patch(steps)]);
    let at = "/pool/web/group/app/backend/a";
    let config = patch(vec![
        PatchStep::Test { path: format!("{at}/weight"), value: json!(1) },
        PatchStep::Replace { path: format!("{at}/weight"), value: json!(5) },
        PatchStep::Copy { from: at.into(), path: "/pool/web/group/app/backend/b".into() },
        PatchStep::Replace { path: "/pool/web/group/app/backend/b/address".into(), value: json!("10.0.0.3:80") },
        PatchStep::Add { path: "/pool/web/hosts/-".into(), value: json!("a.example") },
        PatchStep::Move { from: "/pool/web/rule/all".into(), path: "/pool/web/rule/rest".into() },
    ]);
    let problems = config.unwrap_err();
    // Copied, it would be at the same address for a moment.
    assert!(problems.errors()[0].message.contains("would be at"), "{problems}");
    let config = patch(vec![
        PatchStep::Replace { path: format!("{at}/weight"), value: json!(5) },
        PatchStep::Add { path: "/pool/web/hosts/-".into(), value: json!("a.example") },
        PatchStep::Move { from: "/pool/web/rule/all".into(), path: "/pool/web/rule/rest".into() },
        PatchStep::Remove { path: format!("{at}/weight") },
        PatchStep::Add { path: "/pool/web/limits/max_connections".into(), value: json!(9) },
    ])
    .unwrap();
    let pool = config.pools.get("web").unwrap();
    assert_eq!(order(&config), ["api", "rest"]);
    assert_eq!(pool.group("app").unwrap().backends[0].weight, 1);
    assert_eq!(pool.limits.max_connections, Some(9));
    assert_eq!(pool.http.as_ref().unwrap().hosts.hosts.len(), 1);
}

#[test]
fn texts_of_a_list_come_and_go() {
    let listen = path("pool.web.create.listen");
    let more = Edit::AddItem { path: listen.clone(), item: "127.0.0.1:81".into() };
    let config = edited(&web(), &[more.clone(), more]).unwrap();
    assert_eq!(config.pools.get("web").unwrap().create.listen.len(), 2);
    let less = |missing_ok| Edit::RemoveItem { path: listen.clone(), item: "127.0.0.1:81".into(), missing_ok };
    assert_eq!(edited(&config, &[less(false)]).unwrap().hash(), web().hash());
    check_refused(&[less(false)], "not_found pool.web.create.listen");
    assert_eq!(edited(&web(), &[less(true)]).unwrap().hash(), web().hash());
    let host = Edit::AddItem { path: path("pool.web.hosts"), item: "a.example".into() };
    assert_eq!(edited(&web(), &[host]).unwrap().pools.get("web").unwrap().http.as_ref().unwrap().hosts.hosts.len(), 1);
}
