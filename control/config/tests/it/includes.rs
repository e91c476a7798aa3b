//! One document in several files.

use crate::{Files, NoFiles, config, parse_from};
use config::{Colour, Disk, INCLUDES_MAX, Parsed, Problems};

const DB: &str = "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:1\"]\n[pool.db.group.main]\n";
const BACKEND: &str = "[[pool.db.group.main.backend]]\naddress = \"127.0.0.1:9001\"\n";

/// Either the files that were read, or each problem's code, place and further places.
fn outcome(parsed: Result<Parsed, Problems>) -> Vec<String> {
    match parsed {
        Ok(parsed) => parsed.files.iter().map(|file| file.display().to_string()).collect(),
        Err(problems) => problems
            .iter()
            .map(|problem| {
                let mut places = vec![problem.code.label().to_string()];
                places.extend(problem.place.iter().map(|place| place.to_string()));
                places.extend(problem.also.iter().flat_map(|also| &also.place).map(|place| place.to_string()));
                places.join(" ")
            })
            .collect(),
    }
}

fn check<const N: usize>(main: &str, files: [(&str, &str); N], expected: &[&str]) {
    let files = Files::with(files);
    assert_eq!(outcome(parse_from(main.as_bytes(), &files)), expected, "{main}");
}

#[test]
fn pieces_make_one_document() {
    let files = Files::with([
        ("pools/db.toml", DB),
        ("pools/a.toml", BACKEND),
        ("pools/README.md", "not TOML"),
        ("pools/.x.toml", "not TOML"),
    ]);
    let parsed = parse_from(b"include = [\"pools/*.toml\"]", &files).unwrap();
    assert_eq!(parsed.config, *config(&format!("{DB}{BACKEND}")));
    check(
        "include = [\"a.toml\"]",
        [("a.toml", "include = [\"b/c.toml\"]"), ("b/c.toml", "include = [\"d.toml\"]"), ("b/d.toml", DB)],
        &["site.toml", "a.toml", "b/c.toml", "b/d.toml"],
    );
}

#[test]
fn a_pattern_may_match_nothing_but_a_path_must_exist() {
    check("include = [\"none/*.toml\"]", [], &["site.toml"]);
    check("include = [\"none.toml\"]", [], &["file site.toml:1:12"]);
    check("include = [\"*/a.toml\"]", [], &["bad_value site.toml:1:12"]);
    check("include = [3, \"\"]", [], &["wrong_type site.toml:1:12", "bad_value site.toml:1:15"]);
    check("include = \"a.toml\"", [], &["wrong_type site.toml:1:11"]);
}

#[test]
fn double_definitions_name_both_places() {
    let main = format!("include = [\"a.toml\"]\n{DB}");
    check(&main, [("a.toml", "[pool.db.create]\nmemory = \"1MiB\"\n")], &["site.toml", "a.toml"]);
    // The including file's own keys are the first, wherever they stand in it.
    check(&main, [("a.toml", "[pool.db.create]\nservice = \"tcp\"\n")], &["duplicate a.toml:2:1 site.toml:3:1"]);
    check(
        "include = [\"a.toml\", \"b.toml\"]",
        [("a.toml", "reload.keep_receipts = 1"), ("b.toml", "\nreload.keep_receipts = 2")],
        &["duplicate b.toml:2:8 a.toml:1:8"],
    );
    check(&format!("{main}{BACKEND}"), [("a.toml", BACKEND)], &["duplicate a.toml:1:22 site.toml:6:22"]);
}

#[test]
fn circles_and_repetitions_name_both_places() {
    check("include = [\"a.toml\"]", [("a.toml", "include = [\"site.toml\"]")], &["include a.toml:1:12"]);
    check(
        "include = [\"a.toml\"]",
        [("a.toml", "include = [\"b.toml\"]"), ("b.toml", "include = [\"./x/../a.toml\"]")],
        &["include b.toml:1:12 site.toml:1:12"],
    );
    check("include = [\"a.toml\", \"a.toml\"]", [("a.toml", "")], &["include site.toml:1:22 site.toml:1:12"]);
}

#[test]
fn includes_are_bounded() {
    let mut files = Files::default();
    for n in 0..30 {
        files.0.insert(format!("{n}.toml").into(), format!("include = [\"{}.toml\"]", n + 1).into());
    }
    assert_eq!(outcome(parse_from(b"include = [\"0.toml\"]", &files)), ["too_many 15.toml:1:12"]);

    let mut files = Files::default();
    for n in 0..=INCLUDES_MAX {
        files.0.insert(format!("x/{n}.toml").into(), Vec::new());
    }
    assert_eq!(outcome(parse_from(b"include = [\"x/*\"]", &files)), ["too_many site.toml:1:12"]);
}

#[test]
fn a_document_without_files_includes_none() {
    assert_eq!(outcome(parse_from(b"include = [\"a.toml\"]", &NoFiles)), ["file site.toml:1:12"]);
    assert_eq!(outcome(parse_from(b"include = [\"*.toml\"]", &NoFiles)), ["file site.toml:1:12"]);
}

#[test]
fn problems_lie_in_the_file_that_has_them() {
    check(
        "include = [\"a.toml\"]",
        [("a.toml", "[pool.db]\naccess_log = 3")],
        &["missing a.toml:1:1", "missing a.toml:1:1", "wrong_type a.toml:2:14"],
    );
}

#[test]
fn bytes_that_are_not_text() {
    assert_eq!(outcome(parse_from(b"ab\ncd\xff\n", &NoFiles)), ["file site.toml:2:3"]);
    let problems = parse_from(b"\xff\xfe", &NoFiles).unwrap_err();
    assert!(problems.draw(Colour::Plain).contains("not UTF-8"));
}

#[test]
fn the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pools")).unwrap();
    std::fs::write(folder.path().join("pools/db.toml"), DB).unwrap();
    let main = folder.path().join("site.toml");
    let around = config::Surroundings { source: &Disk, variables: &|_| None, shards_auto: 1 };
    let parsed = config::parse(&main, b"include = [\"pools/*.toml\"]", &around).unwrap();
    assert_eq!(parsed.files, [main.clone(), folder.path().join("pools/db.toml")]);
    // A folder and a device are no documents.
    let problems = config::parse(&main, b"include = [\"pools\", \"/dev/zero\"]", &around).unwrap_err();
    let messages: Vec<_> = problems.errors().iter().map(|problem| problem.message.clone()).collect();
    assert!(messages.iter().all(|message| message.ends_with("not a regular file")), "{messages:?}");
    assert_eq!(messages.len(), 2);
}
