//! Typed orders: the document that says the same, and errors as good as a document's.

use crate::arbitrary::{BackendModel, Model, PLAIN, POOLS, backend, backend_address, backend_id, model};
use crate::config;
use crate::meanings::afresh;
use config::{BackendSettings, Code, Config, Edit, Limit, Problems};
use proptest::prelude::*;

/// An edit of a model, which may or may not be possible.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, BackendModel),
    Remove(u8),
    Set(u8, BackendModel),
}

fn step() -> impl Strategy<Value = (&'static str, Step)> {
    let step = prop_oneof![
        (0..6u8, backend()).prop_map(|(digit, backend)| Step::Add(digit, backend)),
        (0..6u8).prop_map(Step::Remove),
        (0..6u8, backend()).prop_map(|(digit, backend)| Step::Set(digit, backend)),
    ];
    (prop::sample::select(&POOLS[..]), step)
}

fn settings(backend: &BackendModel) -> BackendSettings {
    BackendSettings {
        weight: Some(backend.weight),
        backup: Some(backend.backup),
        drain: Some(backend.drain),
        max_connections: Some(backend.max_connections.map_or(Limit::Off, Limit::At)),
    }
}

/// The edit, and the model after it; `None` if the model has no such backend, or has it already.
fn apply(model: &Model, pool: &str, step: &Step) -> (Edit, Option<Model>) {
    let mut after = model.clone();
    let spare = after.pools.get(pool).filter(|pool| pool.http.has_spare());
    let group = spare.map(|pool| pool.group.to_string());
    let backends = after.pools.get_mut(pool).map(|pool| &mut pool.backends);
    match step {
        Step::Add(digit, backend) => {
            let edit = Edit::AddBackend {
                pool: pool.into(),
                group,
                id: backend.named.then(|| format!("x{digit}")),
                address: backend_address(pool, *digit),
                set: settings(backend),
            };
            let added = backends.is_some_and(|backends| {
                // Said twice it is there once.
                backends.entry(*digit).or_insert_with(|| backend.clone()) == backend
            });
            (edit, added.then_some(after))
        }
        Step::Remove(digit) => {
            let old = backends.and_then(|backends| backends.remove(digit));
            let id = old.as_ref().map_or("nobody".into(), |old| backend_id(pool, *digit, old));
            (Edit::RemoveBackend { pool: pool.into(), group, id }, old.map(|_| after))
        }
        Step::Set(digit, new) => {
            let old = backends.and_then(|backends| backends.get_mut(digit));
            let id = old.as_ref().map_or("nobody".into(), |old| backend_id(pool, *digit, old));
            let edit = Edit::SetBackend { pool: pool.into(), group, id, set: settings(new) };
            let set = old.map(|old| *old = BackendModel { named: old.named, ..new.clone() });
            (edit, set.map(|()| after))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edits_make_the_document_that_says_the_same(model in model(), steps in prop::collection::vec(step(), 0..10)) {
        let before = config(&model.toml(PLAIN));
        let mut after = model;
        let mut edits = Vec::new();
        let mut one_by_one = (*before).clone();
        for (pool, step) in steps {
            let (edit, next) = apply(&after, pool, &step);
            match (one_by_one.edit(std::slice::from_ref(&edit), 1), next) {
                (Ok(edited), Some(next)) => {
                    one_by_one = edited.config;
                    after = next;
                    edits.push(edit);
                }
                (Err(problems), None) => {
                    prop_assert!(!problems.errors().is_empty());
                    // One edit that is refused refuses the whole transaction.
                    let mut all = edits.clone();
                    all.push(edit);
                    prop_assert!(before.edit(&all, 1).is_err());
                }
                (Ok(_), None) => prop_assert!(false, "{edit:?} was accepted"),
                (Err(problems), Some(_)) => prop_assert!(false, "{problems}"),
            }
        }
        let document = config(&after.toml(PLAIN));
        // Nor does what is compiled of a document remember how that came about.
        prop_assert_eq!(afresh(&one_by_one), afresh(&document));
        let at_once = before.edit(&edits, 1).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
        for edited in [one_by_one, at_once.config] {
            prop_assert_eq!(edited.hash(), document.hash());
            prop_assert_eq!(edited.to_toml(), document.to_toml());
        }
        // Pools that no edit names are the same objects.
        for (id, pool) in &before.pools {
            let named = edits.iter().any(|edit| matches!(edit, Edit::AddBackend { pool, .. } | Edit::RemoveBackend { pool, .. } | Edit::SetBackend { pool, .. } if *pool == id.as_str()));
            let again = before.edit(&edits, 1).expect("accepted before").config;
            prop_assert!(named || std::sync::Arc::ptr_eq(pool, again.pools.get(id).unwrap()));
        }
    }
}

fn db() -> Config {
    let backends = "{ id = 'a', address = 'a:1' }, { address = 'b:1', max_connections = 5 }";
    let text = format!(
        "[pool.db.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:1']\n[pool.db.group.main]\nbackend = [{backends}]\n"
    );
    (*config(&text)).clone()
}

fn add(id: Option<&str>, address: &str, set: BackendSettings) -> Edit {
    Edit::AddBackend { pool: "db".into(), group: None, id: id.map(String::from), address: address.into(), set }
}

fn set(id: &str, set: BackendSettings) -> Edit {
    Edit::SetBackend { pool: "db".into(), group: None, id: id.into(), set }
}

fn remove(id: &str) -> Edit {
    Edit::RemoveBackend { pool: "db".into(), group: None, id: id.into() }
}

fn refused(edits: &[Edit]) -> Problems {
    db().edit(edits, 1).expect_err("these edits cannot be applied")
}

/// Code, path and suggestion of each problem.
fn check(edits: &[Edit], expected: &[&str]) {
    let problems = refused(edits);
    let got: Vec<String> = problems
        .errors()
        .iter()
        .map(|problem| {
            [problem.code.label(), &problem.path, problem.help.as_deref().unwrap_or_default()]
                .join(" ")
                .trim()
                .to_string()
        })
        .collect();
    assert_eq!(got, expected, "{problems}");
    assert!(problems.errors().iter().all(|problem| problem.place.is_none()));
}

const NOTHING: BackendSettings = BackendSettings { weight: None, backup: None, drain: None, max_connections: None };

#[test]
fn backends_are_found_by_id_or_address() {
    for id in ["a", "a:1", "b:1"] {
        assert_eq!(
            db().edit(&[remove(id)], 1)
                .unwrap()
                .config
                .pools
                .values()
                .next()
                .unwrap()
                .groups
                .values()
                .next()
                .unwrap()
                .backends
                .len(),
            1
        );
    }
    check(&[remove("nobody")], &["not_found id"]);
    check(&[set("bb:1", NOTHING)], &["not_found id did you mean `b:1`?"]);
    let message = refused(&[remove("b:2")]).to_string();
    assert_eq!(
        message,
        "error: pool `db` has no backend `b:2`, found \"b:2\"; accepted: a, b:1; did you mean `b:1`? (id)"
    );
}

#[test]
fn pools_and_groups_must_exist() {
    check(
        &[Edit::RemoveBackend { pool: "bd".into(), group: None, id: "a".into() }],
        &["not_found pool did you mean `db`?"],
    );
    check(
        &[Edit::RemoveBackend { pool: "db".into(), group: Some("mian".into()), id: "a".into() }],
        &["not_found group did you mean `main`?"],
    );
    let edit = Edit::RemoveBackend { pool: "db".into(), group: Some("main".into()), id: "a".into() };
    assert!(db().edit(&[edit], 1).is_ok());
}

#[test]
fn values_are_read_as_a_documents_are() {
    check(&[add(None, "c", NOTHING)], &["bad_value address write \"c:80\" with the port that is meant"]);
    check(&[add(Some("C"), "c:1", NOTHING)], &["bad_value id"]);
    check(&[add(Some("d:1"), "c:1", NOTHING)], &["clash id"]);
    check(&[add(None, "c:1", BackendSettings { weight: Some(70_000), ..NOTHING })], &["bad_value weight"]);
    check(
        &[set("a", BackendSettings { max_connections: Some(Limit::At(0)), ..NOTHING })],
        &["bad_value max_connections"],
    );
    check(
        &[add(None, "a:1", NOTHING)],
        &["duplicate address it is `pool.db.group.main.backend.a`; set its `weight` instead"],
    );
    check(
        &[add(None, "A:1", NOTHING)],
        &["duplicate address it is `pool.db.group.main.backend.a`; set its `weight` instead"],
    );
    check(&[add(Some("a"), "c:1", NOTHING)], &["duplicate id"]);
}

#[test]
fn a_transaction_is_all_or_nothing_and_tells_everything() {
    check(
        &[remove("a"), remove("a"), add(None, "c", NOTHING), add(None, "c:1", NOTHING)],
        &["not_found orders[1].id", "bad_value orders[2].address write \"c:80\" with the port that is meant"],
    );
    // Problems that have a path in the document say the order in words.
    let absent = |id: &str| Edit::Remove { path: ["pool", id].map(str::to_owned).into(), missing_ok: false };
    let twice = Edit::Several(vec![remove("a"), absent("none")]);
    let problems = refused(&[set("a", NOTHING), twice, absent("neither")]);
    let told: Vec<&str> = problems.errors().iter().map(|problem| problem.message.as_str()).collect();
    assert!(
        matches!(told[..], [one, two] if one.starts_with("orders[1]: ") && two.starts_with("orders[2]: ")),
        "{told:?}"
    );
    // Each edit sees what those before it did.
    assert!(db().edit(&[remove("a"), add(Some("a"), "a:1", NOTHING)], 1).is_ok());
    assert!(db().edit(&[add(Some("c"), "c:1", NOTHING), set("c", NOTHING), remove("c")], 1).is_ok());
    let many = vec![set("a", NOTHING); config::EDITS_MAX + 1];
    assert_eq!(refused(&many).errors()[0].code, Code::TooMany);
}

#[test]
fn what_is_not_said_stays() {
    let drained = db().edit(&[set("b:1", BackendSettings { drain: Some(true), ..NOTHING })], 1).unwrap().config;
    let backend = drained.pools.values().next().unwrap().groups.values().next().unwrap().backends[1].clone();
    assert_eq!((backend.drain, backend.max_connections, backend.weight), (true, Some(5), 1));
    let unlimited = drained
        .edit(&[set("b:1", BackendSettings { max_connections: Some(Limit::Off), ..NOTHING })], 1)
        .unwrap()
        .config;
    assert_eq!(
        unlimited.pools.values().next().unwrap().groups.values().next().unwrap().backends[1].max_connections,
        None
    );
    assert_eq!(db().edit(&[], 1).unwrap().config, db());
    assert_eq!(db().edit(&[set("a", NOTHING)], 1).unwrap().config, db());
}

#[test]
fn the_last_backend_may_go_with_a_warning() {
    let edited = db().edit(&[remove("a"), remove("b:1")], 1).unwrap();
    assert_eq!(edited.warnings.warnings()[0].code, Code::NobodyServes);
    assert!(db().edit(&[remove("a")], 1).unwrap().warnings.is_empty());
}
