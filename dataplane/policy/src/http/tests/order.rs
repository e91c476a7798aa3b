//! First match in order, whatever finds it.

use super::*;

#[test]
fn the_first_in_order_wins_however_specific_the_others_are() {
    let rules = in_order(&[
        ("deep", prefix("/a/b")),
        ("regex", regex("^/a/[a-z]$")),
        ("all", prefix("/")),
        ("exact", exact("/a/b")),
        ("host", host("h")),
    ]);
    check(&rules, "h/a/b", "deep");
    check(&rules, "h/a/c", "regex");
    check(&rules, "h/a/cc", "all");
    check(&rules, "h/", "all");
}

#[test]
fn equal_orders_go_by_id() {
    let rules = table(&[spec("b", 1, When::always()), spec("c", 0, exact("/c")), spec("a", 1, When::always())]);
    check(&rules, "h/", "a");
    check(&rules, "h/c", "c");
}

#[test]
fn a_candidate_that_fails_falls_through_to_the_next() {
    let with = |value: &str| all([host("h"), prefix("/a"), header("x-a", value)]);
    let rules = in_order(&[("one", with("1")), ("two", with("2")), ("all-h", host("h")), ("all", When::always())]);
    let asked = |value: &str| Asked { headers: vec![("X-A".into(), value.into())], ..get("h/a/b") };
    assert_eq!(met(&rules, &asked("1")).unwrap(), "one");
    assert_eq!(met(&rules, &asked("2")).unwrap(), "two");
    assert_eq!(met(&rules, &asked("3")).unwrap(), "all-h");
    check(&rules, "other/a", "all");
}

#[test]
fn hosts_are_names_without_case_and_final_dot() {
    let rules = in_order(&[
        ("www", host("WWW.example.com.")),
        ("deep", host("*.a.example.com")),
        ("below", host("*.example.com")),
        ("address", host("[::1]")),
    ]);
    check(&rules, "www.example.com/", "www");
    check(&rules, "www.EXAMPLE.com./", "www");
    check(&rules, "x.example.com/", "below");
    check(&rules, "x.a.example.com/", "deep");
    check(&rules, "a.example.com/", "below");
    check(&rules, "example.com/", "-");
    check(&rules, ".example.com/", "-");
    check(&rules, "xexample.com/", "-");
    check(&rules, "[::1]/", "address");
    check(&rules, &format!("{}.example.com/", "x".repeat(250)), "-");
    check(&rules, &format!("{}example.com/", "x.".repeat(100)), "below");
}

#[test]
fn paths_are_matched_by_whole_segments() {
    let rules =
        in_order(&[("exact", exact("/a")), ("slash", exact("/b/")), ("below", prefix("/a/")), ("c", prefix("/c"))]);
    check(&rules, "h/a", "exact");
    check(&rules, "h/a/", "below");
    check(&rules, "h/a/b", "below");
    check(&rules, "h/ab", "-");
    check(&rules, "h/b", "-");
    check(&rules, "h/b/", "slash");
    check(&rules, "h/c", "c");
}

/// Bypass by encoding: every one of these reaches what the first denies.
#[test]
fn another_spelling_meets_the_same_rule() {
    let rules = in_order(&[("denied", prefix("/admin")), ("open", When::always())]);
    for path in ["/admin", "//admin", "/%61dmin/x", "/./admin", "/x/../admin", "/x/%2e%2E/admin", "/%61%64%6D%69%6e/"] {
        check(&rules, &format!("h{path}"), "denied");
    }
    check(&rules, "h/administrator", "open");
}

#[test]
fn templates_and_literals_of_one_level_are_both_asked() {
    let rules = in_order(&[
        ("me", all([exact("/users/me/x"), header("x-a", "1")])),
        ("id", template("/users/{id}/x")),
        ("rest", template("/users/{rest*}")),
    ]);
    check(&rules, "h/users/me/x", "id");
    check(&rules, "h/users/me/y", "rest");
    check(&rules, "h/users/", "-");
}

#[test]
fn alternatives_and_exceptions() {
    let rules = in_order(&[
        ("either", one_of([all([host("a"), prefix("/x")]), all([host("b"), exact("/y")])])),
        ("except", all([prefix("/x"), not(host("c"))])),
        ("never", one_of([])),
        ("rest", all([])),
    ]);
    check(&rules, "a/x/1", "either");
    check(&rules, "b/y", "either");
    check(&rules, "b/x", "except");
    check(&rules, "c/x", "rest");
    check(&rules, "a/y", "rest");
}

#[test]
fn the_whole_server_has_no_path() {
    let rules = in_order(&[("root", prefix("/")), ("regex", regex("")), ("host", host("h"))]);
    assert_eq!(met(&rules, &Asked { path: "*".into(), ..get("h") }).unwrap(), "host");
}

#[test]
fn a_client_without_an_address_is_in_no_prefix() {
    let everyone = Prefix::new("0.0.0.0".parse().unwrap(), 0).unwrap();
    let set = SourceSet { name: "all".into(), prefixes: PrefixSet::new([everyone]).into(), lists: [].into() };
    let rules = in_order(&[("source", When::Source(set.clone())), ("other", not(When::Source(set)))]);
    check(&rules, "h/", "source");
    assert_eq!(met(&rules, &Asked { source: None, ..get("h/") }).unwrap(), "other");
}

/// What a request pays follows from the rules at its place, not from how many there are.
#[test]
fn the_shape_does_not_grow_with_the_rules() {
    let of = |count: u64| {
        let each = (0..count).flat_map(|n| {
            let own = all([host(&format!("h{n}.example")), template(&format!("/t/{{x}}/{}", n % 7))]);
            let shared = all([host("api.example"), prefix(&format!("/service/{n}"))]);
            [spec(&format!("o{n}"), n, own), spec(&format!("s{n}"), n, shared)]
        });
        let last = [spec("any", count, When::always()), spec("below", count, host("*.example"))];
        table(&each.chain(last).collect::<Vec<_>>()).shape().clone()
    };
    let (few, many) = (of(10), of(5_000));
    assert_eq!((few.candidates_max, few.lists_max, few.everywhere), (3, 3, 1));
    assert_eq!((many.candidates_max, many.lists_max, many.everywhere), (3, 3, 1));
    assert_eq!((many.rules, many.hosts), (10_002, 5_002));
}

#[test]
fn the_shape_names_the_host_with_most_candidates() {
    let by_header = |n: u64| spec(&format!("{n}"), n, all([host("*.a.example"), header("x", &n.to_string())]));
    let specs: Vec<_> = (0..150).map(by_header).chain([spec("any", 999, When::always())]).collect();
    let rules = table(&specs);
    let shape = rules.shape();
    assert!(shape.candidates_max > Rules::CANDIDATES_MANY);
    assert_eq!((shape.candidates_max, shape.candidates_host.as_deref()), (151, Some("?.a.example")));
}

#[test]
fn what_is_no_table_says_why() {
    let compiled = |specs: &[RuleSpec]| -> Vec<Arc<Rule>> {
        specs.iter().map(|spec| Arc::new(Rule::compile(spec).unwrap())).collect()
    };
    let twice = [spec("a", 0, host("a")), spec("a", 1, host("b"))];
    assert_eq!(Rules::new(compiled(&twice)).unwrap_err(), TableError::SameId("a".into()));
    let everywhere: Vec<_> =
        (0..=Rules::CANDIDATES_MAX as u64).map(|n| spec(&n.to_string(), n, not(host("a")))).collect();
    let why = Rules::new(compiled(&everywhere)).unwrap_err();
    assert_eq!(why, TableError::TooManyCandidates { candidates: Rules::CANDIDATES_MAX + 1, host: None });
    assert!(Rules::new(compiled(&everywhere[1..])).is_ok());
}

/// A generation that keeps a rule keeps the rule itself.
#[test]
fn rules_are_shared_between_tables() {
    let rule = Arc::new(Rule::compile(&spec("a", 0, host("a"))).unwrap());
    let (one, other) = (Rules::new(vec![rule.clone()]).unwrap(), Rules::new(vec![rule.clone()]).unwrap());
    assert!(Arc::ptr_eq(one.rule(Turn::nth(0)).unwrap(), other.rule(Turn::nth(0)).unwrap()));
}

#[test]
fn everything_that_is_wrong_with_a_rule_is_said_at_once() {
    let mut wrong = spec("a", 0, all([host("a b"), one_of([regex("("), prefix("x")]), not(template("/{a}{b}"))]));
    wrong.action = ActionSpec::Deny { status: 200 };
    wrong.request_edits = vec![
        EditSpec::Remove { name: "Transfer-Encoding".into() },
        EditSpec::Set { name: "x y".into(), value: "{nobody}".into() },
    ];
    wrong.rewrite = Some(RewriteSpec::Prefix { from: "/a".into(), to: "b{host}".into() });
    let problems = Rule::compile(&wrong).unwrap_err();
    let at: Vec<&str> = problems.iter().map(|problem| &*problem.at).collect();
    let expected = [
        "when.all[0].host",
        "when.all[1].any[0].path",
        "when.all[1].any[1].path",
        "when.all[2].not.path",
        "action",
        "request[0]",
        "request[1]",
        "request[1]",
        "rewrite",
        "rewrite",
    ];
    assert_eq!(at, expected, "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')));
}

#[test]
fn a_rule_has_bounds() {
    let deep = (0..=RuleSpec::DEPTH_MAX).fold(host("a"), |inner, _| not(inner));
    assert!(matches!(Rule::compile(&spec("a", 0, deep)).unwrap_err()[..], [Problem { why: Why::TooDeep, .. }]));
    let wide = When::Any((0..RuleSpec::CONDITIONS_MAX).map(|n| host(&format!("h{n}"))).collect());
    let why = &Rule::compile(&spec("a", 0, wide)).unwrap_err()[0].why;
    assert_eq!(*why, Why::TooManyConditions { found: RuleSpec::CONDITIONS_MAX + 1 });
}
