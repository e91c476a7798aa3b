//! What a rule changes of what passes.

use super::*;
use proptest::prelude::*;

/// `get` of this URL, met by a rule of this condition and changes.
fn changed<R>(url: &str, rule: RuleSpec, ask: impl FnOnce(&Rule, &Request, &mut Scratch) -> R) -> R {
    let rules = table(&[rule]);
    let mut scratch = Scratch::new();
    let found = get(url).with(|request| {
        let (_, rule) = rules.route(request, Lists::NONE, &mut scratch).expect("the rule matches");
        ask(rule, request, &mut scratch)
    });
    found.expect("a path that is accepted")
}

fn rewritten(url: &str, when: When, rewrite: RewriteSpec) -> Result<String, Unfit> {
    let rule = RuleSpec { rewrite: Some(rewrite), ..spec("r", 0, when) };
    changed(url, rule, |rule, request, scratch| {
        let mut out = b"before".to_vec();
        let applies = rule.rewrite_path(request.path, scratch, &mut out)?;
        Ok(if applies { String::from_utf8(out).unwrap() } else { "-".into() })
    })
}

#[test]
fn prefixes_are_replaced_by_whole_segments() {
    let check = |path: &str, from: &str, to: &str, expected: &str| {
        let rewrite = RewriteSpec::Prefix { from: from.into(), to: to.into() };
        assert_eq!(rewritten(&format!("h{path}"), When::always(), rewrite).unwrap(), expected, "{path} {from} {to}");
    };
    check("/a/b", "/a", "/x", "/x/b");
    check("/a", "/a", "/x", "/x");
    check("/a/", "/a", "/x", "/x/");
    check("/a/b", "/a/", "/x/", "/x/b");
    check("/a/b", "/a", "/", "/b");
    check("/a", "/a", "/", "/");
    check("/b", "/", "/x", "/x/b");
    check("/ab", "/a", "/x", "-");
    check("//a/%62/c%2c?q", "/a", "/x", "/x/b/c,");
}

#[test]
fn captures_and_groups_become_part_of_the_path() {
    let whole = |to: &str| RewriteSpec::Whole { to: to.into() };
    let regex_to = |pattern: &str, to: &str| RewriteSpec::Regex { pattern: pattern.into(), to: to.into() };
    let user = || template("/users/{id}/{rest*}");
    assert_eq!(rewritten("h/users/7/a/b", user(), whole("/u/{rest}/{id}")).unwrap(), "/u/a/b/7");
    assert_eq!(rewritten("h/users/7/a", user(), regex_to("^/users/([0-9]+)", "/{1}/{id}")).unwrap(), "/7/7/a");
    assert_eq!(rewritten("h/x.php", When::always(), regex_to(r"\.php$", "")).unwrap(), "/x");
    assert_eq!(rewritten("h/x", When::always(), regex_to("y", "z")).unwrap(), "-");
    assert_eq!(rewritten("h/x/y", When::always(), regex_to("^/x/", "")).unwrap(), "/y");
}

/// Groups of a rewrite stand behind the captures of the path. Where no text asked for those, the groups were looked for in
/// places that had not been made.
#[test]
fn groups_are_found_whether_the_path_captures_or_not() {
    let to = |to: &str| RewriteSpec::Regex { pattern: "^/u/([^/]+)/(.*)$".into(), to: to.into() };
    for when in [When::always(), regex("^/(u)/"), template("/u/{id}/{rest*}"), prefix("/u")] {
        assert_eq!(rewritten("h/u/me/a/b", when, to("/{2}/of/{1}")).unwrap(), "/a/b/of/me");
    }
    assert_eq!(rewritten("h/u/me/a", template("/u/{id}/{rest*}"), to("/{2}/{id}/{1}")).unwrap(), "/a/me/me");
}

/// Pieces that are harmless one by one do not make dots together.
#[test]
fn what_the_origin_is_sent_is_normal() {
    let to = |to: &str| RewriteSpec::Whole { to: to.into() };
    let dot = || regex(r"^/(\.?)a");
    assert_eq!(rewritten("h/.a", dot(), to("/x/{1}{1}/y")).unwrap(), "/y");
    assert_eq!(rewritten("h/.a", dot(), to("/{1}{1}/y")), Err(Unfit::Path(PathViolation::AboveRoot)));
    assert_eq!(rewritten("h/a", dot(), to("/x//y{1}")).unwrap(), "/x/y");
}

#[test]
fn the_host_is_a_text_that_stays_a_host() {
    let sent = |url: &str| {
        let rule = RuleSpec { host: Some("{tenant}.internal:80".into()), ..spec("r", 0, template("/{tenant}")) };
        changed(url, rule, |rule, request, scratch| {
            let (facts, mut out) = (Facts::of_captures(scratch.captures(request.path)), Vec::new());
            rule.rewrite_host(&facts, &mut out).map(|applies| applies.then(|| String::from_utf8(out).unwrap()))
        })
    };
    assert_eq!(sent("h/acme"), Ok(Some("acme.internal:80".into())));
    assert_eq!(sent("h/a@b"), Err(Unfit::Host));
}

fn edited(edits: Vec<EditSpec>, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let rule = RuleSpec { response_edits: edits, ..spec("r", 0, When::always()) };
    changed("h/", rule, |rule, request, scratch| {
        let facts = Facts { client: request.source, ..Facts::of_captures(scratch.captures(request.path)) };
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let (mut out, mut buffer) = (Vec::new(), Vec::new());
        let mut sink = |name: &[u8], value: &[u8]| out.push((text(name), text(value)));
        rule.edit_response(fields, &facts, &mut buffer, &mut sink).unwrap();
        out
    })
}

fn add(name: &str, value: &str) -> EditSpec {
    EditSpec::Add { name: name.into(), value: value.into() }
}

fn set(name: &str, value: &str) -> EditSpec {
    EditSpec::Set { name: name.into(), value: value.into() }
}

fn remove(name: &str) -> EditSpec {
    EditSpec::Remove { name: name.into() }
}

#[test]
fn edits_add_set_and_remove() {
    let fields = [("A", "1"), ("B", "2"), ("a", "3")];
    let check = |edits: Vec<EditSpec>, expected: &[(&str, &str)]| {
        let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(edited(edits, &fields), expected);
    };
    check(vec![], &fields);
    check(vec![add("a", "{client_ip}")], &[("A", "1"), ("B", "2"), ("a", "3"), ("a", "10.0.0.1")]);
    check(vec![set("a", "x")], &[("B", "2"), ("a", "x")]);
    check(vec![remove("A")], &[("B", "2")]);
    check(vec![add("c", "1"), remove("c")], &fields);
    check(vec![remove("b"), add("b", " 4 ")], &[("A", "1"), ("a", "3"), ("b", "4")]);
}

proptest! {
    /// One pass leaves what doing the edits one after the other would.
    #[test]
    fn edits_are_done_in_order(
        fields in proptest::collection::vec(0..3usize, 0..6),
        edits in proptest::collection::vec((0..3usize, 0..3usize), 0..8),
    ) {
        let names = ["a", "b", "c"];
        let fields: Vec<(String, String)> =
            fields.iter().enumerate().map(|(at, name)| (names[*name].to_owned(), at.to_string())).collect();
        let mut expected = fields.clone();
        let mut specs = Vec::new();
        for (at, (kind, name)) in edits.into_iter().enumerate() {
            let (name, value) = (names[name], format!("e{at}"));
            specs.push([add(name, &value), set(name, &value), remove(name)][kind].clone());
            if kind > 0 {
                expected.retain(|(found, _)| found != name);
            }
            if kind < 2 {
                expected.push((name.to_owned(), value));
            }
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        prop_assert_eq!(edited(specs, &fields), expected);
    }
}
