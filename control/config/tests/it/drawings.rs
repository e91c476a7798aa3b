//! A few problems as people see them.

use crate::{Files, parse_from, parse_text};
use config::Colour;

fn check(text: &str, expected: &str) {
    let drawn = parse_text(text).unwrap_err().draw(Colour::Plain);
    assert_eq!(drawn, expected.trim_matches('\n'), "\n{drawn}\n");
}

#[test]
fn an_unknown_key_with_its_suggestion() {
    check(
        "[reload]\nadopt_timout = \"1s\"\n",
        r#"
error[unknown_key]: there is no `adopt_timout` in `reload`
 --> site.toml:2:1
  |
2 | adopt_timout = "1s"
  | ^^^^^^^^^^^^
  |
  = note: accepted: adopt_timeout, drift, job_timeout, keep_generations, keep_receipts, min_interval, prepare_timeout, retained_max, wait_after, wait_before
  = note: this is `reload.adopt_timout`
  = help: did you mean `adopt_timeout`?
"#,
    );
}

#[test]
fn two_backends_at_one_address() {
    check(
        r#"[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:7000"]
[[pool.db.group.main.backend]]
address = "127.0.0.1:9001"
weight = 2
[[pool.db.group.main.backend]]
id = "b"
address = "127.0.0.1:9001"
"#,
        r#"
error[duplicate]: two backends of group `main` are at `127.0.0.1:9001`
 --> site.toml:9:11
  |
5 | address = "127.0.0.1:9001"
  |           ---------------- the first one
...
9 | address = "127.0.0.1:9001"
  |           ^^^^^^^^^^^^^^^^
  |
  = note: this is `pool.db.group.main.backend[1].address`
  = help: raise the `weight` of one instead
"#,
    );
}

#[test]
fn a_syntax_error() {
    check(
        "[reload]\nkeep_receipts = \"1",
        r#"
error[syntax]: not valid TOML: invalid basic string, expected `"`
 --> site.toml:2:19
  |
2 | keep_receipts = "1
  |                   ^
"#,
    );
}

#[test]
fn two_files() {
    let files =
        Files::with([("a.toml", "# first\nreload.keep_receipts = 1\n"), ("b.toml", "reload.keep_receipts = 2\n")]);
    let problems = parse_from(b"include = [\"a.toml\", \"b.toml\"]", &files).unwrap_err();
    let expected = r#"
error[duplicate]: `reload.keep_receipts` is defined twice
 --> b.toml:1:8
  |
1 | reload.keep_receipts = 2
  |        ^^^^^^^^^^^^^
  |
 ::: a.toml:2:8
  |
2 | reload.keep_receipts = 1
  |        ------------- first defined here
  |
  = note: this is `reload.keep_receipts`
"#;
    assert_eq!(problems.draw(Colour::Plain), expected.trim_matches('\n'), "\n{}", problems.draw(Colour::Plain));
}

#[test]
fn far_lines_are_not_drawn_between() {
    let filler = "# nothing\n".repeat(10_000);
    let text = format!("[reload]\nkeep_receipts = 1\n{filler}keep_receipts = 2\n");
    let drawn = parse_text(&text).unwrap_err().draw(Colour::Plain);
    assert!(drawn.contains("10003 | keep_receipts = 2"), "{drawn}");
    assert!(drawn.contains("2 | keep_receipts = 1"), "{drawn}");
    assert!(drawn.lines().count() < 20, "{drawn}");
}

#[test]
fn a_line_too_long_to_draw_still_has_a_place() {
    let text = format!("x = \"{}\"\n", "y".repeat(10_000));
    let drawn = parse_text(&text).unwrap_err().draw(Colour::Plain);
    assert!(drawn.contains("site.toml:1:1"), "{drawn}");
    assert!(drawn.len() < 1_000, "{drawn}");
}

#[test]
fn colours_only_when_asked() {
    let problems = parse_text("x = 1").unwrap_err();
    assert!(problems.draw(Colour::Terminal).contains('\u{1b}'));
    assert!(!problems.draw(Colour::Plain).contains('\u{1b}'));
}

#[test]
fn control_characters_in_a_document_do_not_reach_the_terminal() {
    let problems =
        parse_text("[reload]\n\"\\u001b[31m\" = \"\\u001b[2J\"\nkeep_receipts = \"\\u001b[2J\"").unwrap_err();
    let drawn = problems.draw(Colour::Plain);
    assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
    // One character, and to some terminals the same as the escape and the bracket.
    let drawn = parse_text("x = \"\u{9b}2J\"").unwrap_err().draw(Colour::Terminal);
    assert!(drawn.contains("\u{fffd}2J") && !drawn.contains('\u{9b}'), "{drawn:?}");
}

/// What is drawn of a pool with this rule.
fn check_rule(rule: &str, expected: &str) {
    let create = "[pool.web.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:8080\"]\n";
    let group = "[pool.web.group.app]\nbackend = [{ address = \"app:1\" }]\n";
    check(&format!("{create}{group}[[pool.web.rule]]\n{rule}\n"), expected);
}

#[test]
fn a_regular_expression_at_its_column() {
    check_rule(
        "path_regex = '^/v(\\d+/'\ngroup = \"app\"",
        r#"
error[bad_value]: `path_regex`: unclosed group
 --> site.toml:7:18
  |
7 | path_regex = '^/v(\d+/'
  |                  ^ found "^/v(\\d+/"
  |
  = note: accepted: a regular expression such as "^/v[0-9]+/", or a list of them
  = note: this is `pool.web.rule[0].path_regex`
"#,
    );
    // Escapes shift the columns, so the whole of it is pointed at.
    check_rule(
        "path_regex = \"(\\\\d+\"\ngroup = \"app\"",
        r#"
error[bad_value]: `path_regex`: unclosed group
 --> site.toml:7:14
  |
7 | path_regex = "(\\d+"
  |              ^^^^^^^ found "(\\d+"
  |
  = note: accepted: a regular expression such as "^/v[0-9]+/", or a list of them
  = note: this is `pool.web.rule[0].path_regex`
"#,
    );
}

#[test]
fn a_placeholder_that_stands_for_nothing() {
    check_rule(
        "path_template = \"/users/{id}\"\nredirect = \"https://{host}/u/{ip}\"",
        r#"
error[bad_value]: `redirect`: `{ip}` is neither captured by this rule's path nor one of `{client_ip}` `{host}` `{method}` `{path}` `{query}` `{uri}` `{request_id}` `{scheme}`
 --> site.toml:8:30
  |
8 | redirect = "https://{host}/u/{ip}"
  |                              ^^^^ found "https://{host}/u/{ip}"
  |
  = note: accepted: where to, such as "https://{host}{uri}", or { to = "…", status = 301 }; 301, 302, 303, 307 and 308
  = note: this is `pool.web.rule[0].redirect`
"#,
    );
}

#[test]
fn two_actions_in_one_rule() {
    check_rule(
        "path_prefix = \"/api\"\ngroup = \"app\"\ndeny = 403",
        r#"
error[clash]: this rule has both `group` and `deny`
 --> site.toml:9:8
  |
8 | group = "app"
  |         ----- `group`
9 | deny = 403
  |        ^^^
  |
  = note: accepted: one of `group`, `redirect`, `respond` and `deny`
  = note: this is `pool.web.rule[0].deny`
"#,
    );
}
