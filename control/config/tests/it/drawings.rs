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
  = note: accepted: adopt_timeout, job_timeout, keep_receipts, prepare_timeout, retained_max, wait_after, wait_before
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
