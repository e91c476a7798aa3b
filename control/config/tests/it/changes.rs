//! Documents and their differences, on random documents.

use crate::arbitrary::{PLAIN, model, spelling, two_models};
use crate::{config, parse_text};
use config::{Class, diff};
use policy::PoolId;
use proptest::prelude::*;

#[test]
fn a_document_may_be_taken_in_part() {
    let pool = |id: &str, port: u16| {
        let create = format!("[pool.{id}.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:{port}']\n");
        format!("{create}[pool.{id}.group.main]\nbackend = [{{ address = '{id}:1' }}]\n")
    };
    let running = config(&format!("{}{}", pool("a", 1), pool("b", 2)));
    let document = config(&format!("reload.keep_receipts = 5\n{}{}", pool("b", 3), pool("c", 1)));
    let take = |pools: &[&str]| running.taking(&document, &pools.iter().map(|id| PoolId::new(id)).collect());
    assert_eq!(take(&["a", "b", "c"]).unwrap(), *document);
    let expected = format!("reload.keep_receipts = 5\n{}{}", pool("a", 1), pool("b", 3));
    assert_eq!(take(&["b"]).unwrap(), *config(&expected));
    // What it takes and what stays must agree as one document would.
    let problems = take(&["c"]).unwrap_err();
    assert_eq!(problems.errors()[0].message, "pool `c` listens on `127.0.0.1:1`, and so does pool `a`");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Order, notation, comments and written defaults leave no trace.
    #[test]
    fn spelling_does_not_matter(model in model(), how in spelling()) {
        prop_assert_eq!(config(&model.toml(PLAIN)), config(&model.toml(how)));
    }

    /// The hash differs exactly when the content does.
    #[test]
    fn content_matters((a, b) in two_models()) {
        let (left, right) = (config(&a.toml(PLAIN)), config(&b.toml(PLAIN)));
        prop_assert_eq!(a == b, left.hash() == right.hash());
        prop_assert_eq!(a == b, left.to_json() == right.to_json());
    }

    #[test]
    fn what_is_written_reads_as_the_same(model in model(), how in spelling()) {
        let config = config(&model.toml(how));
        let again = parse_text(&config.to_toml()).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
        prop_assert_eq!(again.config.hash(), config.hash());
        prop_assert_eq!(again.config.to_toml(), config.to_toml());
        prop_assert_eq!(again.config.to_json(), config.to_json());
    }

    #[test]
    fn a_plan_is_empty_exactly_when_nothing_differs((a, b) in two_models()) {
        let plan = diff(&config(&a.toml(PLAIN)), &config(&b.toml(PLAIN)));
        prop_assert_eq!(plan.unchanged, a == b);
        prop_assert_eq!(plan.changes.is_empty(), a == b);
        prop_assert_eq!(plan.class, Class::Soft);
        prop_assert!(plan.live().is_some());
        let touched: Vec<&str> = plan.touches.pools.iter().map(|pool| pool.as_str()).collect();
        let listed = |id: &str| a.office != b.office && a.pools.get(id).is_some_and(|pool| pool.http.names_list());
        let differs = |id: &&str| a.pools.get(id) != b.pools.get(id) || listed(id);
        let mut differ: Vec<&str> = a.pools.keys().chain(b.pools.keys()).copied().filter(differs).collect();
        differ.sort();
        differ.dedup();
        prop_assert_eq!(touched, differ);
    }

    /// What goes one way comes back the other way.
    #[test]
    fn a_plan_and_its_reverse_tell_the_same_paths((a, b) in two_models()) {
        let (a, b) = (config(&a.toml(PLAIN)), config(&b.toml(PLAIN)));
        let (there, back) = (diff(&a, &b), diff(&b, &a));
        prop_assert_eq!(&there.touches, &back.touches);
        // A pool that comes tells its addresses one by one; one that goes is told as a whole.
        let values = |plan: &config::Plan| {
            let set = plan.changes.iter().filter(|change| change.kind == config::ChangeKind::Set);
            let mut pairs: Vec<String> = set.map(|change| {
                // Of the rules that changed places, either may be said to have moved.
                let moved = change.reason.code == "rule_moved";
                let mut pair = [&change.old, &change.new].map(|value| if moved { String::new() } else { value.to_string() });
                pair.sort();
                format!("{} {pair:?}", change.reason.code)
            }).collect();
            pairs.sort();
            pairs
        };
        prop_assert_eq!(values(&there), values(&back));
    }
}
