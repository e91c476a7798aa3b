//! `tests/promises.toml` holds one line for each promise of the product, and names only tests that exist.

use std::collections::{BTreeMap, BTreeSet};
use tidy::graph::Graph;
use tidy::source::Source;

/// The sections of the promises, and how many each has: T1 … T35 and so on.
const SECTIONS: [(char, u32); 5] = [('T', 35), ('A', 12), ('S', 24), ('F', 16), ('B', 26)];

/// What stands in place of a test while a promise is not kept in full.
const NOT_YET: &str = "not yet";

fn promises() -> BTreeMap<String, String> {
    let table: toml::Table = tidy::read("tests/promises.toml").parse().expect("tests/promises.toml is TOML");
    let text = |(id, value): (String, toml::Value)| {
        let tests = value.as_str().unwrap_or_else(|| panic!("{id}: not a text")).to_owned();
        (id, tests)
    };
    table.into_iter().map(text).collect()
}

#[test]
fn every_promise_has_its_line_and_nothing_else_has() {
    let listed: BTreeSet<String> = promises().into_keys().collect();
    let promised =
        SECTIONS.iter().flat_map(|(section, count)| (1..=*count).map(move |number| format!("{section}{number}")));
    let promised: BTreeSet<String> = promised.collect();
    assert_eq!(promised.len(), 113);
    assert_eq!(listed, promised);
}

#[test]
fn every_named_test_exists() {
    let tests = Tests::all();
    for (id, value) in promises().iter().filter(|(_, value)| *value != NOT_YET) {
        for name in value.split(',').map(str::trim) {
            assert!(tests.has(name), "{id}: there is no test `{name}`");
        }
    }
    // Comments that say which part is shown speak of tests that exist, too.
    let text = tidy::read("tests/promises.toml");
    for comment in text.lines().filter_map(|line| line.strip_prefix('#')) {
        let words = comment.split_whitespace().map(|word| word.trim_start_matches('('));
        for word in words.map(|word| word.trim_end_matches(['.', ',', ';', ':', '"', ')'])) {
            let names_a_test = word.matches("::").count() >= 2 && !word.contains('"');
            assert!(!names_a_test || tests.has(word), "there is no test `{word}`");
        }
    }
    // The search itself can say no.
    assert!(tests.has("tidy::promises::every_named_test_exists"));
    assert!(!tests.has("tidy::promises::every_named_test_exist"));
    assert!(!tests.has("tidy::promises::promises"));
    assert!(!tests.has("harness::promises::every_named_test_exists"));
}

/// Every test function of the workspace, as `package::path::name`.
struct Tests(BTreeSet<String>);

impl Tests {
    fn all() -> Tests {
        let (graph, root) = (Graph::read(), tidy::root());
        let mut found = BTreeSet::new();
        // The deepest folder that holds a file is its package: `control` holds `control/api`.
        let mut packages: Vec<_> = graph.members.iter().map(|(name, member)| (name, member.folder.as_path())).collect();
        packages.sort_by_key(|(_, folder)| std::cmp::Reverse(folder.as_os_str().len()));
        for source in Source::all() {
            let path = root.join(&source.path);
            let Some((package, folder)) = packages.iter().find(|(_, folder)| path.starts_with(folder)) else {
                continue;
            };
            let inside = path.strip_prefix(folder).expect("it starts with the folder");
            let module = module_path(inside.to_str().expect("the project's paths are text"));
            found.extend(test_functions(&source).map(|name| {
                [package.as_str(), &module, name]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("::")
            }));
        }
        Tests(found)
    }

    /// `package::module::name`; the module `tests` inside a file is left out.
    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// `src/reload/rollout.rs` → `reload::rollout`, `tests/e2e/queue.rs` → `queue`, `tests/arrows.rs` → `arrows`.
fn module_path(path: &str) -> String {
    let mut parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    // tests/<binary>/<module>.rs: the binary's name is not part of what libtest prints.
    match parts[..] {
        ["tests", _, _, ..] => drop(parts.drain(..2)),
        _ => drop(parts.drain(..1)),
    }
    parts.retain(|part| !["lib", "main", "mod"].contains(part));
    parts.join("::")
}

/// Names of the functions that follow a `#[test]`, whatever other attributes stand between.
fn test_functions(source: &Source) -> impl Iterator<Item = &str> {
    let mut marked = false;
    source.code.lines().filter_map(move |line| {
        let line = line.trim();
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        // Inside `proptest! { … }` each function is marked the same way.
        let name = line.split_once("fn ").map(|(_, after)| after.split(['(', '<']).next().unwrap_or_default());
        name.filter(|_| std::mem::take(&mut marked))
    })
}

#[test]
fn modules_are_named_as_libtest_names_them() {
    let check = |path: &str, module: &str| assert_eq!(module_path(path), module, "{path}");
    check("src/lib.rs", "");
    check("src/reload/mod.rs", "reload");
    check("src/reload/rollout.rs", "reload::rollout");
    check("tests/arrows.rs", "arrows");
    check("tests/e2e/queue.rs", "queue");
    check("tests/e2e/main.rs", "");
}
