//! Three documents become one: what each changed is there, and what both changed is a conflict by its name.

use crate::arbitrary::{PLAIN, three_models};
use crate::{Files, SHARDS, config, parse_from};
use config::{Code, Config, Edit, ListEdit, Problems, RulePlace, merge};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn merged(base: &Config, running: &Config, new: &Config) -> Result<Config, Problems> {
    merge(base, running, new, SHARDS)
}

fn in_order(merged: Result<Config, Problems>) -> Result<Config, TestCaseError> {
    merged.map_err(|problems| TestCaseError::fail(problems.to_string()))
}

/// Paths of conflicts, sorted.
fn conflicts(merged: &Result<Config, Problems>) -> Vec<String> {
    let errors = merged.as_ref().err().into_iter().flat_map(|problems| problems.errors());
    let mut paths: Vec<String> =
        errors.filter(|problem| problem.code == Code::Conflict).map(|problem| problem.path.clone()).collect();
    paths.sort();
    paths
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_one_alone_has_changed_is_what_comes_of_it([base, other, _] in three_models()) {
        let (base, other) = (config(&base.toml(PLAIN)), config(&other.toml(PLAIN)));
        prop_assert_eq!(in_order(merged(&base, &other, &base))?.hash(), other.hash());
        prop_assert_eq!(in_order(merged(&base, &base, &other))?.hash(), other.hash());
        prop_assert_eq!(in_order(merged(&base, &other, &other))?.hash(), other.hash());
    }

    #[test]
    fn it_makes_no_difference_who_changed_what([base, one, other] in three_models()) {
        let [base, one, other] = [base, one, other].map(|model| config(&model.toml(PLAIN)));
        let (there, back) = (merged(&base, &one, &other), merged(&base, &other, &one));
        prop_assert_eq!(conflicts(&there), conflicts(&back));
        match (&there, &back) {
            (Ok(there), Ok(back)) => prop_assert_eq!(there.hash(), back.hash()),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(problems)) | (Err(problems), Ok(_)) => prop_assert!(false, "one way only: {}", problems),
        }
        if let Ok(merged) = there {
            let again = config(&merged.to_toml());
            prop_assert_eq!(again.hash(), merged.hash(), "{}", merged.to_toml());
        }
    }

    /// What was merged has both: nothing is left to merge of either.
    #[test]
    fn merged_twice_is_merged_once([base, one, other] in three_models()) {
        let [base, one, other] = [base, one, other].map(|model| config(&model.toml(PLAIN)));
        let Ok(both) = merged(&base, &one, &other) else { return Ok(()) };
        prop_assert_eq!(in_order(merged(&other, &both, &other))?.hash(), both.hash());
        prop_assert_eq!(in_order(merged(&one, &both, &one))?.hash(), both.hash());
    }
}

const BASE: &str = r#"
[pool.web]
create = { service = "http", listen = ["127.0.0.1:80", "127.0.0.1:81"] }
group.api.backend = [{ id = "a", address = "10.0.0.1:80" }, { id = "b", address = "10.0.0.2:80" }]
group.app.backend = [{ id = "a", address = "10.0.0.3:80" }]
[[pool.web.rule]]
id = "api"
path_prefix = "/api"
group = "api"
[[pool.web.rule]]
id = "bad"
path_prefix = "/bad"
source = "office"
deny = 403
[[pool.web.rule]]
id = "all"
group = "app"
[pool.db]
create = { service = "tcp", listen = ["127.0.0.1:5432"] }
[pool.db.group.main]
[[pool.db.group.main.backend]]
id = "a"
address = "10.0.0.1:5432"
[list.office]
entries = ["192.0.2.0/24", { entry = "198.51.100.0/24", reason = "guests" }]
"#;

fn base() -> Arc<Config> {
    config(BASE)
}

fn edited(edits: &[Edit]) -> Config {
    base().edit(edits, SHARDS).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn path(words: &str) -> Vec<String> {
    words.split('.').map(str::to_owned).collect()
}

fn set(at: &str, value: Value) -> Edit {
    Edit::Set { path: path(at), value }
}

fn add(at: &str, value: Value) -> Edit {
    Edit::Add { path: path(at), value, place: None }
}

fn remove(at: &str) -> Edit {
    Edit::Remove { path: path(at), missing_ok: false }
}

fn item(at: &str, item: &str) -> Edit {
    Edit::AddItem { path: path(at), item: item.into() }
}

fn moved(rule: &str, place: RulePlace) -> Edit {
    Edit::MoveRule { pool: "web".into(), rule: rule.into(), place }
}

fn listed(entry: &str, reason: &str) -> Edit {
    let (list, entry) = ("office".into(), entry.into());
    Edit::List(ListEdit::Add { list, entry, expires: None, reason: Some(reason.into()) })
}

fn unlisted(entry: &str) -> Edit {
    Edit::List(ListEdit::Remove { list: "office".into(), entry: entry.into(), missing_ok: false })
}

/// Orders and an operator who said so in the document: both ways.
#[track_caller]
fn check(orders: &[Edit], document: &[Edit]) {
    let (running, new) = (edited(orders), edited(document));
    let all: Vec<Edit> = document.iter().chain(orders).cloned().collect();
    let expected = edited(&all);
    for (running, new) in [(&running, &new), (&new, &running)] {
        let merged = merged(&base(), running, new).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(merged.to_toml(), expected.to_toml());
        assert_eq!(merged.hash(), expected.hash());
    }
}

/// Codes and paths of what is wrong, both ways.
#[track_caller]
fn check_refused(orders: &[Edit], document: &[Edit], expected: &[&str]) {
    let (running, new) = (edited(orders), edited(document));
    for (running, new) in [(&running, &new), (&new, &running)] {
        let problems = merged(&base(), running, new).expect_err("this cannot be merged");
        let told: Vec<String> =
            problems.errors().iter().map(|problem| format!("{} {}", problem.code.label(), problem.path)).collect();
        assert_eq!(told, expected, "{problems}");
    }
}

#[test]
fn what_is_apart_is_merged() {
    let weight = |weight: u32| set("pool.web.group.api.backend.a", json!({ "weight": weight }));
    check(&[weight(5)], &[set("pool.web.group.api.backend.a", json!({"max_connections": 9}))]);
    check(&[weight(5)], &[set("pool.web.group.api.backend.b", json!({"weight": 7}))]);
    check(&[weight(5)], &[weight(5)]);
    check(&[weight(5)], &[set("pool.web.group.api", json!({"queue": 7, "retry": {"budget": 1}}))]);
    check(
        &[set("pool.web", json!({"limits": {"max_connections": 5}}))],
        &[set("pool.web", json!({"hosts": ["a.test"]}))],
    );
    check(&[remove("pool.web.group.api.backend.b")], &[weight(3)]);
    check(&[remove("pool.db")], &[weight(3)]);
    check(
        &[add("list.new", json!({"entries": ["10.0.0.0/8"]}))],
        &[add("list.other", json!({"entries": ["10.0.0.0/8"]}))],
    );
    check(&[set("reload", json!({"keep_receipts": 7}))], &[set("reload", json!({"wait_after": "1s"}))]);
    check(&[set("log.access", json!({"format": "json"}))], &[set("log.events", json!({"level": "debug"}))]);
    check(
        &[set("pool.web.rule.api", json!({"deny": 403, "group": null}))],
        &[set("pool.web.rule.bad", json!({"deny": 404}))],
    );
    check(&[moved("bad", RulePlace::First)], &[set("pool.web.rule.bad", json!({"deny": 404}))]);
    check(&[moved("bad", RulePlace::First)], &[add("pool.web.rule.new", json!({"path": "/new", "group": "app"}))]);
    check(&[moved("bad", RulePlace::First)], &[remove("pool.web.rule.api"), remove("pool.web.group.api")]);
    check(&[item("pool.web.create.listen", "127.0.0.1:82")], &[item("pool.web.create.listen", "127.0.0.1:83")]);
    check(&[item("pool.web.create.listen", "127.0.0.1:82")], &[set("pool.db", json!({"access_log": false}))]);
    check(&[listed("203.0.113.1", "seen")], &[unlisted("192.0.2.0/24")]);
    check(&[listed("203.0.113.1", "seen")], &[listed("203.0.113.2", ""), listed("203.0.113.1", "seen")]);
    let page = |status: &str, body: &str| set("pool.web", json!({"page": [{"status": status, "body": body}]}));
    let both = merged(&base(), &edited(&[page("502", "a")]), &edited(&[page("503", "b")])).unwrap();
    assert_eq!(both.pools.get("web").unwrap().http.as_ref().unwrap().pages.len(), 2);
}

#[test]
fn what_two_have_changed_is_refused_by_name() {
    let weight = |weight: u32| set("pool.web.group.api.backend.a", json!({ "weight": weight }));
    let path = "pool.web.group.api.backend.a";
    check_refused(&[weight(5)], &[weight(6)], &["conflict pool.web.group.api.backend.a.weight"]);
    check_refused(&[weight(5)], &[remove(path)], &["conflict pool.web.group.api.backend.a"]);
    check_refused(
        &[weight(5)],
        &[remove("pool.web.rule.api"), remove("pool.web.group.api")],
        &["conflict pool.web.group.api"],
    );
    check_refused(&[weight(5)], &[remove("pool.web")], &["conflict pool.web"]);
    let pool = |port: u16| {
        let group = json!({"main": {"backend": {"a": {"address": "10.0.0.9:1"}}}});
        let create = json!({"service": "tcp", "listen": [format!("127.0.0.1:{port}")]});
        add("pool.new", json!({ "create": create, "group": group }))
    };
    check_refused(&[pool(1)], &[pool(2)], &["conflict pool.new"]);
    check_refused(
        &[set("pool.web", json!({"timeouts": {"idle": "1s"}}))],
        &[set("pool.web", json!({"timeouts": {"idle": "2s"}}))],
        &["conflict pool.web.timeouts.idle"],
    );
    check_refused(
        &[set("pool.db.group.main", json!({"health": {"rise": 1}}))],
        &[set("pool.db.group.main", json!({"health": {"rise": 3}}))],
        &["conflict pool.db.group.main.health"],
    );
    check_refused(
        &[set("pool.web.rule.api", json!({"path_prefix": "/v1"}))],
        &[set("pool.web.rule.api", json!({"path_prefix": "/v2"}))],
        &["conflict pool.web.rule.api.path_prefix"],
    );
    check_refused(&[moved("bad", RulePlace::First)], &[moved("bad", RulePlace::Last)], &["conflict pool.web.rule"]);
    check_refused(
        &[listed("203.0.113.1", "seen")],
        &[listed("203.0.113.1", "heard")],
        &["conflict list.office.entries.\"203.0.113.1\""],
    );
    check_refused(
        &[listed("198.51.100.0/24", "new")],
        &[unlisted("198.51.100.0/24")],
        &["conflict list.office.entries.\"198.51.100.0/24\""],
    );
}

#[test]
fn a_conflict_says_all_three_values() {
    let weight = |weight: u32| edited(&[set("pool.web.group.api.backend.a", json!({ "weight": weight }))]);
    let problems = merged(&base(), &weight(5), &weight(6)).unwrap_err();
    assert_eq!(
        problems.errors()[0].message,
        "orders and the new document disagree: before not written, by orders 5, now 6"
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let leads = edited(&[add("pool.web.rule.new", json!({"path": "/new", "group": "api"}))]);
    let gone = edited(&[remove("pool.web.rule.api"), remove("pool.web.group.api")]);
    let told = |merged: Result<Config, Problems>| {
        let problems = merged.expect_err("this cannot be merged");
        let first = &problems.errors()[0];
        format!("{} {}", first.code.label(), first.path)
    };
    assert_eq!(told(merged(&base(), &leads, &gone)), "not_found pool.web.rule.new.group");
    assert_eq!(told(merged(&base(), &gone, &leads)), "clash pool.web.group.api");
    let named = edited(&[set("pool.web.rule.all", json!({"source": "office"}))]);
    let gone = edited(&[remove("pool.web.rule.bad"), remove("list.office")]);
    assert_eq!(told(merged(&base(), &named, &gone)), "not_found pool.web.rule.all.source");
    assert_eq!(told(merged(&base(), &gone, &named)), "clash list.office");
    let address = |pool: &str| {
        let group = json!({"main": {"backend": {"a": {"address": "10.0.0.9:1"}}}});
        let create = json!({"service": "tcp", "listen": ["127.0.0.1:9"]});
        edited(&[add(&format!("pool.{pool}"), json!({ "create": create, "group": group }))])
    };
    assert_eq!(told(merged(&base(), &address("x"), &address("y"))), "clash pool.y.create.listen");
    let shards = base().edit(&[set("appliance", json!({"shards": 1}))], SHARDS).unwrap().config;
    let pinned = edited(&[remove("pool.db"), {
        let group = json!({"main": {"backend": {"a": {"address": "10.0.0.9:1"}}}});
        let create = json!({"service": "tcp", "listen": ["127.0.0.1:9"], "shards": [3]});
        add("pool.pinned", json!({ "create": create, "group": group }))
    }]);
    assert_eq!(told(merged(&base(), &shards, &pinned)), "not_found pool.pinned.create.shards");
    assert_eq!(told(merged(&base(), &pinned, &shards)), "not_found pool.pinned.create.shards");
}

/// Two rules at one place, and orders that are written.
#[test]
fn rules_stand_as_their_orders_say() {
    let rule = |order: u32, deny: u32| json!({"path": "/x", "deny": deny, "order": order});
    let running = edited(&[add("pool.web.rule.new", rule(15, 403))]);
    let new = edited(&[add("pool.web.rule.other", json!({"path": "/y", "deny": 403}))]);
    for (running, new) in [(&running, &new), (&new, &running)] {
        let merged = merged(&base(), running, new).unwrap();
        let http = merged.pools.get("web").unwrap().http.as_ref().unwrap();
        let ids: Vec<&str> = http.rules.iter().map(|rule| &*rule.id).collect();
        assert_eq!(ids, ["api", "new", "bad", "all", "other"]);
        assert_eq!(config(&merged.to_toml()).hash(), merged.hash());
    }
}

#[test]
fn files_of_lists_are_read_by_the_new_document() {
    let text = "[list.x]\nfile = \"x.txt\"\n";
    let read = |content: &str| {
        let parsed = parse_from(text.as_bytes(), &Files::with([("x.txt", content)]));
        parsed.unwrap_or_else(|problems| panic!("{problems}")).config
    };
    let (base, new) = (read("10.0.0.1\n10.0.0.2\n"), read("10.0.0.2\n10.0.0.3\n"));
    let order = Edit::List(ListEdit::Add { list: "x".into(), entry: "10.0.0.9".into(), expires: None, reason: None });
    let gone = Edit::List(ListEdit::Remove { list: "x".into(), entry: "10.0.0.2".into(), missing_ok: false });
    let running = base.edit(&[order, gone], SHARDS).unwrap().config;
    let merged = merged(&base, &running, &new).unwrap();
    let list = merged.lists.get("x").unwrap();
    let in_force: Vec<String> =
        list.in_force().iter().map(|(entry, note)| config::Spelled(&entry, note).to_string()).collect();
    assert_eq!(in_force, ["10.0.0.3", "10.0.0.9"]);
}
