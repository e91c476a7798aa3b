//! The workspace: listed by hand, alike in every package.

use std::collections::BTreeSet;
use tidy::source::files;
use toml::{Table, Value};

fn manifest(path: &str) -> Table {
    tidy::read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn members_are_listed_one_by_one_each_with_a_word() {
    let text = tidy::read("Cargo.toml");
    let begin = text.find("\nmembers = [").expect("the workspace lists its members");
    let end = begin + text[begin..].find("\n]").expect("the list ends");
    let mut listed = BTreeSet::new();
    for line in text[begin..end].lines().skip(2) {
        let (member, comment) = line.split_once('#').unwrap_or_else(|| panic!("a member without a word: {line}"));
        assert!(!member.contains('*'), "a glob is no map: {line}");
        assert!(comment.trim().len() > 10, "a member without a word: {line}");
        listed.insert(member.trim().trim_matches(['"', ',']).to_owned());
    }
    let excluded = "tests/fuzz/libfuzzer";
    let found: BTreeSet<String> = files("toml")
        .into_iter()
        .filter_map(|path| path.strip_suffix("/Cargo.toml").map(str::to_owned))
        .filter(|folder| folder != excluded)
        .collect();
    assert_eq!(listed, found);
    let workspace = &manifest("Cargo.toml")["workspace"];
    assert_eq!(workspace["default-members"], Value::Array(vec!["dataplane".into()]));
    assert_eq!(workspace["resolver"], "3".into());
}

#[test]
fn every_package_follows_the_workspace() {
    for path in files("toml").into_iter().filter(|path| path.ends_with("/Cargo.toml") && !path.contains("libfuzzer")) {
        let manifest = manifest(&path);
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            let follows =
                manifest["package"].get(key).and_then(|value| value.get("workspace")) == Some(&Value::Boolean(true));
            assert!(follows, "{path}: package.{key} is not the workspace's");
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(lints, Some(&Value::Boolean(true)), "{path}: lints are not the workspace's");
    }
}

/// A version stands once, in the workspace's manifest.
#[test]
fn dependencies_are_the_workspaces() {
    for path in files("toml").into_iter().filter(|path| path.ends_with("/Cargo.toml") && !path.contains("libfuzzer")) {
        let manifest = manifest(&path);
        let mut tables: Vec<&Value> = ["dependencies", "dev-dependencies", "build-dependencies"]
            .iter()
            .filter_map(|key| manifest.get(*key))
            .collect();
        let targets = manifest.get("target").and_then(Value::as_table);
        tables.extend(
            targets
                .into_iter()
                .flat_map(|targets| targets.values())
                .flat_map(|target| target.as_table().into_iter().flat_map(|table| table.values())),
        );
        for (name, dependency) in tables.iter().filter_map(|table| table.as_table()).flatten() {
            let follows = dependency.get("workspace") == Some(&Value::Boolean(true));
            assert!(follows, "{path}: `{name}` is not the workspace's");
        }
    }
}
