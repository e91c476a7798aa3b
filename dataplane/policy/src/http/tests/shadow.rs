//! Rules that can never match: what is said of them is so, and what is plain is said.

use super::*;
use crate::http::naive;
use crate::http::shadow::{Never, PAIRS_MAX};
use crate::ids::ListSlot;
use proptest::prelude::*;

/// Ids of rules that never match, each with who stands before it.
fn never(rules: &[(&str, When)]) -> Vec<String> {
    let table = in_order(rules);
    let id = |turn: Turn| table.rule(turn).unwrap().id.to_string();
    let said = |never: &Never| format!("{}<{}", id(never.rule), never.behind.map(id).unwrap_or_default());
    table.shadows().never.iter().map(said).collect()
}

/// Whether a rule of the second condition never matches behind one of the first.
#[track_caller]
fn check(first: When, second: When, expected: bool) {
    let found = never(&[("a", first.clone()), ("b", second.clone())]);
    assert_eq!(found == ["b<a"], expected, "{first:?}\n{second:?}\n{found:?}");
}

#[test]
fn hosts_and_paths() {
    check(When::always(), exact("/a"), true);
    check(host("a.example"), host("A.example."), true);
    check(host("*.example"), host("a.example"), true);
    check(host("*.example"), host("*.a.example"), true);
    check(host("*.a.example"), host("*.example"), false);
    check(host("*.example"), host("example"), false);
    check(prefix("/a"), exact("/a/b"), true);
    check(prefix("/a"), prefix("/a/b"), true);
    check(prefix("/a/b"), prefix("/a"), false);
    check(prefix("/a"), prefix("/ab"), false);
    check(prefix("/a"), template("/a/{x}/c"), true);
    check(template("/{x}/b"), exact("/a/b"), true);
    check(template("/{x}/{y}"), template("/{a}/b"), true);
    check(template("/{a}/b"), template("/{x}/{y}"), false);
    check(template("/{r*}"), template("/{x}/{y}"), true);
    check(template("/{x}/{r*}"), template("/{x}"), false);
    check(template("/{x}/{r*}"), template("/{x}/"), false);
    check(regex("^/a"), exact("/ab"), true);
    check(prefix("/api"), regex(r"^/api/v\d"), true);
    check(prefix("/api"), regex("^/api"), false);
    check(prefix("/"), regex("x"), true);
    check(regex("x"), regex("x"), true);
}

#[test]
fn what_else_is_asked() {
    let method = |names: &[&str]| When::Method(names.iter().map(|name| name.to_string()).collect());
    let a = |value: ValueSpec| When::Header { name: "x-a".into(), value };
    let prefix_of = |value: &str| a(ValueSpec::Prefix(value.into()));
    check(method(&["GET", "BREW"]), method(&["BREW"]), true);
    check(method(&["GET"]), method(&["GET", "PUT"]), false);
    check(a(ValueSpec::Present), header("X-A", "1"), true);
    check(prefix_of("1"), header("x-a", "12"), true);
    check(prefix_of("12"), prefix_of("1"), false);
    check(a(ValueSpec::Regex("^1".into())), header("x-a", "12"), true);
    check(a(ValueSpec::Absent), not(a(ValueSpec::Absent)), false);
    check(header("x-a", "1"), header("x-b", "1"), false);
    check(prefix("/a"), all([prefix("/a"), header("x-a", "1")]), true);
    check(all([prefix("/a"), header("x-a", "1")]), prefix("/a"), false);
}

#[test]
fn a_list_covers_itself_and_nothing_else_is_known_of_it() {
    let source = |prefixes: &[&str], lists: &[u32]| {
        let prefixes = prefixes.iter().map(|text| {
            let (address, length) = text.split_once('/').unwrap();
            Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        });
        let lists = lists.iter().map(|slot| ListSlot(*slot)).collect();
        When::Source(SourceSet { name: "x".into(), prefixes: PrefixSet::new(prefixes).into(), lists })
    };
    check(source(&[], &[1]), source(&[], &[1]), true);
    check(source(&["10.0.0.0/8"], &[1, 2]), source(&["10.1.0.0/16"], &[2]), true);
    check(source(&["10.0.0.0/8"], &[1]), source(&["10.0.0.0/8"], &[2]), false);
    check(source(&["0.0.0.0/0", "::/0"], &[]), source(&[], &[1]), false);
    check(not(source(&["10.0.0.0/8"], &[1])), source(&["11.0.0.0/8"], &[]), false);
    check(not(source(&["10.0.0.0/8"], &[])), source(&["11.0.0.0/8"], &[]), true);
    let listed = |slot| ValueSpec::Listed { slot: ListSlot(slot), name: "x".into() };
    let a = |value: ValueSpec| When::Header { name: "x-a".into(), value };
    check(a(listed(1)), a(listed(1)), true);
    check(a(listed(1)), a(listed(2)), false);
    check(a(listed(1)), header("x-a", "1"), false);
    check(header("x-a", "1"), a(listed(1)), false);
    check(a(ValueSpec::Present), a(listed(1)), true);
    let host_list = |slot| When::HostList { slot: ListSlot(slot), name: "x".into() };
    check(host_list(1), all([host_list(1), prefix("/a")]), true);
    check(host_list(1), host("a"), false);
    check(host("a"), host_list(1), false);
}

#[test]
fn alternatives_and_exceptions() {
    check(one_of([host("a"), host("b")]), host("b"), true);
    check(one_of([host("a"), host("b")]), one_of([host("b"), host("a")]), true);
    check(host("a"), one_of([host("b"), host("a")]), false);
    check(not(host("a")), host("b"), true);
    check(not(host("a")), host("a"), false);
    check(not(prefix("/a/b")), not(prefix("/a")), true);
    check(not(prefix("/a")), not(prefix("/a/b")), false);
    check(not(not(host("a"))), host("a"), true);
}

#[test]
fn the_first_that_stands_before_is_named_and_contradictions_need_nobody() {
    let rules = [
        ("a", host("a")),
        ("b", all([host("a"), prefix("/x")])),
        ("c", all([host("b"), host("c")])),
        ("d", one_of([])),
        ("e", all([prefix("/x"), not(prefix("/"))])),
        ("f", host("f")),
    ];
    assert_eq!(never(&rules), ["b<a", "c<", "d<", "e<"]);
}

#[test]
fn what_is_not_looked_at_is_counted() {
    let with = |n: u64| spec(&format!("{n:05}"), n, header("x-a", &n.to_string()));
    let many: Vec<_> = (0..=PAIRS_MAX as u64 + 1).map(with).collect();
    let shadows = table(&many).shadows();
    assert_eq!((shadows.never.len(), shadows.undecided), (0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    /// No request of a random world meets a rule that is said to be met by none.
    #[test]
    fn whoever_never_matches_never_matches(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (specs, requests) = naive::world(&bytes);
        let rules = table(&specs);
        let never = rules.shadows().never;
        for asked in &requests {
            asked.with(|request| {
                let holds = |turn: Turn| {
                    let id = &rules.rule(turn).unwrap().id;
                    naive::matches(&specs.iter().find(|spec| spec.id == *id).unwrap().when, request)
                };
                for never in &never {
                    let covered = never.behind.is_some_and(holds);
                    assert!(covered || !holds(never.rule), "{never:?} of {asked:?}\n{specs:#?}");
                }
            });
        }
    }
}
