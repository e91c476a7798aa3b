//! What may stand in a source file, and where.

use tidy::graph::Graph;
use tidy::source::{Source, files};

/// `unsafe` is allowed below these folders only.
const UNSAFE_FOLDERS: &[&str] = &["dataplane/shard/src/ring", "dataplane/link/"];

/// Crates that hold an unsafe folder and so cannot forbid `unsafe` as a whole.
const UNSAFE_CRATES: &[&str] = &["link", "shard"];

/// A file holds one idea; an idea that needs more lines is two.
const LINES_MAX: usize = 900;

#[test]
fn unsafe_stands_at_the_ring_and_the_link_only() {
    for source in Source::all() {
        let lines = source.lines_with("unsafe");
        let allowed = UNSAFE_FOLDERS
            .iter()
            .any(|folder| source.path.starts_with(folder));
        assert!(
            allowed || lines.is_empty(),
            "{}: `unsafe` in lines {lines:?}",
            source.path
        );
    }
    let graph = Graph::read();
    for (name, member) in graph
        .members
        .iter()
        .filter(|(name, _)| !UNSAFE_CRATES.contains(&name.as_str()))
    {
        for root in &member.roots {
            let text = std::fs::read_to_string(root)
                .unwrap_or_else(|error| panic!("{}: {error}", root.display()));
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} of `{name}` does not forbid unsafe code",
                root.display()
            );
        }
    }
}

#[test]
fn each_unsafe_is_argued() {
    for source in Source::all() {
        let text: Vec<&str> = source.text.lines().collect();
        for line in source.lines_with("unsafe") {
            assert!(
                is_argued(&text, line - 1),
                "{}:{line}: `unsafe` without its argument",
                source.path
            );
        }
    }
}

/// `// SAFETY:` stands on the line itself or above it, with nothing but the statement's own first lines between;
/// an `unsafe fn` says `# Safety` in its documentation.
fn is_argued(text: &[&str], at: usize) -> bool {
    const STATEMENT_LINES_MAX: usize = 6;
    let argues = |line: &&str| line.contains("SAFETY:") || line.contains("# Safety");
    if argues(&text[at]) || text[at].contains("unsafe_op_in_unsafe_fn") {
        return true;
    }
    let mut statement_lines = 0;
    for line in text[..at].iter().rev() {
        let comment = line.trim_start().starts_with("//");
        if argues(line) {
            return true;
        }
        statement_lines += usize::from(!comment);
        if line.contains("unsafe") && !comment
            || line.trim().is_empty()
            || statement_lines > STATEMENT_LINES_MAX
        {
            return false;
        }
    }
    false
}

#[test]
fn nothing_is_left_open() {
    for source in Source::all() {
        for macro_name in ["todo!", "unimplemented!", "dbg!"] {
            let lines = source.lines_with(macro_name);
            assert!(
                lines.is_empty(),
                "{}: {macro_name} in lines {lines:?}",
                source.path
            );
        }
        let lines = source.lines_with("ignore");
        let ignored: Vec<_> = lines
            .into_iter()
            .filter(|line| {
                source
                    .code
                    .lines()
                    .nth(line - 1)
                    .is_some_and(|code| code.contains("#[ignore"))
            })
            .collect();
        assert!(
            ignored.is_empty(),
            "{}: tests left out in lines {ignored:?}",
            source.path
        );
    }
    // Put together here so that this file does not find itself.
    let open = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    for path in ["rs", "md", "toml", "sh"]
        .iter()
        .flat_map(|extension| files(extension))
    {
        let text = tidy::read(&path);
        for (ix, line) in text.lines().enumerate() {
            let found = open.iter().find(|word| line.contains(word.as_str()));
            assert!(found.is_none(), "{path}:{}: {}", ix + 1, line.trim());
        }
    }
}

#[test]
fn tests_wait_for_events_and_never_sleep() {
    for source in Source::all() {
        let Some(begin) = source.tests_begin() else {
            continue;
        };
        let lines: Vec<_> = source
            .lines_with("thread::sleep")
            .into_iter()
            .filter(|line| *line >= begin)
            .collect();
        assert!(
            lines.is_empty(),
            "{}: a test sleeps in lines {lines:?}",
            source.path
        );
    }
}

#[test]
fn names_say_what_they_mean() {
    for source in Source::all() {
        assert!(
            !source.path.ends_with("/utils.rs") && !source.path.ends_with("/util.rs"),
            "{} has no idea of its own",
            source.path
        );
        for (ix, line) in source.code.lines().enumerate() {
            let bad = line.contains("fn get_")
                || ["struct", "enum", "trait"]
                    .iter()
                    .any(|kind| line.contains(kind) && line.contains("Manager"));
            assert!(!bad, "{}:{}: {}", source.path, ix + 1, line.trim());
        }
    }
}

#[test]
fn a_file_holds_one_idea() {
    for source in Source::all() {
        let lines = source.text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines, at most {LINES_MAX} are read with pleasure",
            source.path
        );
    }
}

#[test]
fn modules_say_what_they_own() {
    for source in Source::all() {
        let first = source
            .text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("//! (empty)");
        assert!(
            first.starts_with("//!"),
            "{} does not open with its documentation",
            source.path
        );
    }
}
