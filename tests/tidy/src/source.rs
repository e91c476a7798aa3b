//! Files of the tree, and what in them is code.

use std::path::{Path, PathBuf};

/// One Rust file.
pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    pub text: String,
    /// `text` with comments and the insides of literals blanked out; same lines, same columns.
    pub code: String,
}

impl Source {
    /// Every Rust file of the tree, sorted.
    pub fn all() -> Vec<Source> {
        files("rs").iter().map(|path| Source::new(path, crate::read(path))).collect()
    }

    pub fn new(path: &str, text: String) -> Source {
        let code = only_code(&text);
        Source { path: path.to_owned(), text, code }
    }

    /// Line numbers, from 1, of the lines whose code contains `needle` as whole words.
    pub fn lines_with(&self, needle: &str) -> Vec<usize> {
        let has = |line: &str| line.match_indices(needle).any(|(at, _)| is_whole(line, at, needle.len()));
        self.code.lines().enumerate().filter(|(_, line)| has(line)).map(|(ix, _)| ix + 1).collect()
    }

    /// The first line of the file's module of tests, which is the last thing in it; 1 if all of it is tests.
    pub fn tests_begin(&self) -> Option<usize> {
        let folders = Path::new(&self.path).components().any(|part| part.as_os_str() == "tests");
        if folders {
            return Some(1);
        }
        let lines: Vec<&str> = self.code.lines().map(str::trim_start).collect();
        let module = |pair: &[&str]| pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod ");
        lines.windows(2).position(module).map(|ix| ix + 1)
    }
}

/// Files of the tree with this extension, by their paths from the root, sorted. Build folders are left out.
pub fn files(extension: &str) -> Vec<String> {
    let root = crate::root();
    let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path: PathBuf = entry.expect("a folder can be read to its end").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !["target", ".git"].contains(&name) && !path.is_symlink() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let path = path.strip_prefix(&root).expect("it was found below the root");
                found.push(path.to_str().expect("the project's paths are text").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn is_whole(line: &str, at: usize, length: usize) -> bool {
    let of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let (needle, before) = (&line[at..at + length], line[..at].chars().next_back());
    let after = line[at + length..].chars().next();
    let begins = !needle.starts_with(of_a_word) || !before.is_some_and(of_a_word);
    let ends = !needle.ends_with(of_a_word) || !after.is_some_and(of_a_word);
    begins && ends
}

/// Blanks comments and the insides of string and character literals.
fn only_code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (length, keep) = next_piece(rest, code.chars().next_back());
        let (piece, later) = rest.split_at(length);
        if keep {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = later;
    }
    code
}

/// Length of the next piece in bytes, and whether it is code. `before` is the character in front of it.
fn next_piece(rest: &str, before: Option<char>) -> (usize, bool) {
    let in_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if rest.starts_with('"') {
        return (string(rest), false);
    }
    if !in_a_word && let Some(length) = raw_string(rest) {
        return (length, false);
    }
    if rest.starts_with('\'')
        && let Some(length) = character(rest)
    {
        return (length, false);
    }
    (rest.chars().next().map_or(0, char::len_utf8), true)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, and the same with `b` or `c` in front.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        let after = rest.strip_prefix(*prefix).map(|after| after.trim_start_matches('#'));
        after.is_some_and(|after| after.starts_with('"'))
    })?;
    let hashes = rest[prefix.len()..].chars().take_while(|c| *c == '#').count();
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = prefix.len() + hashes + 1;
    let length = rest[inside..].find(&end).map_or(rest.len(), |at| inside + at + end.len());
    Some(length)
}

/// A character literal, as against a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest.char_indices().skip(1);
    match inside.next()?.1 {
        '\\' => rest[3..].find('\'').map(|at| 3 + at + 1),
        _ => inside.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str) {
        assert_eq!(only_code(text), code, "of {text:?}");
    }

    #[test]
    fn only_code_is_left() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"f("un\"safe") + g"#, r#"f(          ) + g"#);
        check(r##"f(r#"a"b"#, br"c")"##, r##"f(        ,      )"##);
        check("for c in 'a'..='\\'' {}", "for c in    ..=     {}");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("over\"s\"", "over   ");
        check("// ä\nx", "    \nx");
    }

    #[test]
    fn needles_are_whole_words() {
        let lines = |needle: &str| {
            Source::new("x.rs", "unsafe_code\nunsafe {\n// unsafe\nmy_todo!()\n".into()).lines_with(needle)
        };
        assert_eq!(lines("unsafe"), [2]);
        assert!(lines("todo!").is_empty());
        assert_eq!(lines("my_todo!"), [4]);
    }

    #[test]
    fn tests_are_told_from_what_ships() {
        let begin = |path: &str| Source::new(path, "fn a() {}\n#[cfg(test)]\nmod tests {}\n".into()).tests_begin();
        assert_eq!(begin("dataplane/policy/src/tick.rs"), Some(2));
        assert_eq!(begin("tests/e2e/src/lib.rs"), Some(1));
        assert_eq!(begin("control/tests/console.rs"), Some(1));
    }
}
