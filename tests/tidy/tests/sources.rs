//! What may stand in a source file, and where.

use tidy::graph::Graph;
use tidy::source::{Source, files};

/// `unsafe` is allowed below these folders only.
const UNSAFE_FOLDERS: &[&str] = &["dataplane/shard/src/ring", "dataplane/link/"];

/// Crates that hold an unsafe folder and so cannot forbid `unsafe` as a whole.
const UNSAFE_CRATES: &[&str] = &["link", "shard"];

/// A file holds one idea; an idea that needs more lines is two.
const LINES_MAX: usize = 900;

/// Fails with all that was found: one run tells everything there is to mend.
#[track_caller]
fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// `path:line: what` for each of these lines.
fn places(source: &Source, lines: &[usize], what: &str) -> Vec<String> {
    lines.iter().map(|line| format!("{}:{line}: {what}", source.path)).collect()
}

#[test]
fn unsafe_stands_at_the_ring_and_the_link_only() {
    let mut found = Vec::new();
    for source in Source::all() {
        if !UNSAFE_FOLDERS.iter().any(|folder| source.path.starts_with(folder)) {
            found.extend(places(&source, &source.lines_with("unsafe"), "unsafe code"));
        }
    }
    let graph = Graph::read();
    for (name, member) in &graph.members {
        for root in member.roots.iter().filter(|_| !UNSAFE_CRATES.contains(&name.as_str())) {
            let text = std::fs::read_to_string(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
            if !text.contains("#![forbid(unsafe_code)]") {
                found.push(format!("{}: does not forbid unsafe code", root.display()));
            }
        }
    }
    assert_none(found);
}

#[test]
fn each_unsafe_is_argued() {
    let mut found = Vec::new();
    for source in Source::all() {
        let text: Vec<&str> = source.text.lines().collect();
        let mut lines = source.lines_with("unsafe");
        lines.retain(|line| !is_argued(&text, line - 1));
        found.extend(places(&source, &lines, "unsafe code without its argument"));
    }
    assert_none(found);
}

/// `// SAFETY:` stands on the line itself or above it, with nothing but the statement's own first lines between;
/// an `unsafe fn` says `# Safety` in its documentation.
fn is_argued(text: &[&str], at: usize) -> bool {
    const STATEMENT_LINES_MAX: usize = 6;
    let argues = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    if argues(text[at]) {
        return true;
    }
    let mut statement_lines = 0;
    for line in text[..at].iter().rev() {
        if argues(line) {
            return true;
        }
        let comment = line.trim_start().starts_with("//");
        statement_lines += usize::from(!comment);
        let another = line.contains("unsafe") && !comment;
        if another || line.trim().is_empty() || statement_lines > STATEMENT_LINES_MAX {
            return false;
        }
    }
    false
}

#[test]
fn nothing_is_left_open() {
    let mut found = Vec::new();
    for source in Source::all() {
        for marker in ["todo!", "unimplemented!", "dbg!"] {
            found.extend(places(&source, &source.lines_with(marker), marker));
        }
        let ignored = source.code.lines().enumerate();
        let ignored = ignored.filter(|(_, line)| line.contains("#[ignore"));
        let ignored: Vec<usize> = ignored.map(|(ix, _)| ix + 1).collect();
        found.extend(places(&source, &ignored, "a test that is left out"));
    }
    // Put together here so that this file does not find itself.
    let open = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    for path in ["rs", "md", "toml", "sh"].iter().flat_map(|extension| files(extension)) {
        for (ix, line) in tidy::read(&path).lines().enumerate() {
            if open.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{path}:{}: {}", ix + 1, line.trim()));
            }
        }
    }
    assert_none(found);
}

#[test]
fn tests_wait_for_events_and_never_sleep() {
    let mut found = Vec::new();
    for source in Source::all() {
        let Some(begin) = source.tests_begin() else {
            continue;
        };
        let mut lines = source.lines_with("thread::sleep");
        lines.retain(|line| *line >= begin);
        found.extend(places(&source, &lines, "a test sleeps"));
    }
    assert_none(found);
}

#[test]
fn names_say_what_they_mean() {
    let mut found = Vec::new();
    for source in Source::all() {
        if source.path.ends_with("/utils.rs") || source.path.ends_with("/util.rs") {
            found.push(format!("{}: a file without an idea of its own", source.path));
        }
        for (ix, line) in source.code.lines().enumerate() {
            let kinds = ["struct ", "enum ", "trait "];
            let manager = line.contains("Manager") && kinds.iter().any(|kind| line.contains(kind));
            // `get_mut` is what the standard library calls it.
            let getter = line.contains("fn get_") && !line.contains("fn get_mut(");
            if manager || getter {
                found.push(format!("{}:{}: {}", source.path, ix + 1, line.trim()));
            }
        }
    }
    assert_none(found);
}

#[test]
fn a_file_holds_one_idea() {
    let mut found = Vec::new();
    for source in Source::all() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{}: {lines} lines, at most {LINES_MAX}", source.path));
        }
    }
    assert_none(found);
}

#[test]
fn modules_say_what_they_own() {
    let mut found = Vec::new();
    for source in Source::all() {
        let first = source.text.lines().find(|line| !line.trim().is_empty());
        if !first.is_some_and(|line| line.starts_with("//!")) {
            found.push(format!("{}: does not open with its documentation", source.path));
        }
    }
    assert_none(found);
}

/// The project speaks of itself, not of the place where it happened to be written.
#[test]
fn no_path_of_one_machine_is_written_down() {
    let place = ["/wo", "rk/"].concat();
    let mut found = Vec::new();
    for path in ["rs", "md", "toml", "sh"].iter().flat_map(|extension| files(extension)) {
        for (ix, line) in tidy::read(&path).lines().enumerate() {
            if line.contains(&place) {
                found.push(format!("{path}:{}: {}", ix + 1, line.trim()));
            }
        }
    }
    assert_none(found);
}
