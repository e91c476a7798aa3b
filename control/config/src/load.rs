//! From files to one tree: reading, includes, and their bounds.

use crate::keys::Root;
use crate::place::{At, FileIx, Files, Span};
use crate::problem::{Code, Problem, Problems};
use crate::source::Source;
use crate::tree::{self, Node, Table, Value};
use crate::variable::Variables;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Longest file. Unit: bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// All files of one document together. Unit: bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 20;

/// Files of one document besides the main one.
pub const INCLUDES_MAX: usize = 1_000;

/// How far includes may include.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// The main text and everything it includes, as one tree.
pub(crate) struct Loaded {
    pub(crate) tree: Node,
    pub(crate) files: Files,
}

/// Reads everything that can be read; what cannot is a problem.
pub(crate) fn load(
    name: &Path,
    text: &[u8],
    source: &dyn Source,
    variables: &Variables<'_>,
    problems: &mut Problems,
) -> Loaded {
    let mut loader =
        Loader { source, variables, problems, files: Files::default(), seen: Vec::new(), bytes: 0, full: false };
    let mut table = Table::default();
    let within = crate::source::within(text.to_vec(), FILE_BYTES_MAX);
    loader.file(name, within, None, 0, &mut table);
    let span = Span { file: FileIx(0), start: 0, end: 0 };
    // A file that an editor has just made empty must not take every pool away.
    // A byte order mark is no word either.
    let said = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let silent = |line: &[u8]| line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with(b"#");
    if text.len() <= FILE_BYTES_MAX && said.split(|byte| *byte == b'\n').all(silent) {
        let problem = Problem::error(Code::Missing, "", Some(span), "the document says nothing");
        loader.problems.push(problem.accepted("`[appliance]` alone, for an appliance without pools"));
    }
    Loaded { tree: Node { value: Value::Table(table), span: Some(span) }, files: loader.files }
}

struct Loader<'a> {
    source: &'a dyn Source,
    variables: &'a Variables<'a>,
    problems: &'a mut Problems,
    files: Files,
    /// Every file read so far and who asked for it.
    seen: Vec<Seen>,
    bytes: usize,
    /// A bound on the document as a whole was reached and told; what is beyond it is not read.
    full: bool,
}

struct Seen {
    path: PathBuf,
    asked_by: Option<Span>,
    /// Its own includes are still being read, so including it again is a cycle.
    open: bool,
}

impl Loader<'_> {
    /// Adds the file's tree to `into`.
    fn file(
        &mut self,
        path: &Path,
        bytes: io::Result<Vec<u8>>,
        asked_by: Option<Span>,
        depth: usize,
        into: &mut Table,
    ) {
        let name = path.display().to_string();
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot read `{name}`: {error}");
                return self.problems.push(Problem::error(Code::File, "include", asked_by, message));
            }
        };
        self.bytes += bytes.len();
        if self.bytes > DOCUMENT_BYTES_MAX {
            let message = format!("all files together are larger than {} MiB", DOCUMENT_BYTES_MAX >> 20);
            return self.bound(asked_by, message);
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return self.not_text(name, error),
        };
        let file = self.files.add(name, text);
        let ix = self.seen.len();
        self.seen.push(Seen { path: normal(path), asked_by, open: true });
        let mut table = tree::from_toml(file, self.files.text(file), self.variables, self.problems);
        if let Some(include) = table.entries.remove("include") {
            self.includes(path, &include.node, depth, &mut table);
        }
        into.merge(table, &At::ROOT, self.problems);
        self.seen[ix].open = false;
    }

    fn not_text(&mut self, name: String, error: std::string::FromUtf8Error) {
        let start = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let file = self.files.add(name, text);
        let span = Span { file, start: start as u32, end: start as u32 };
        self.problems.push(Problem::error(Code::File, "", span, "not UTF-8 text").accepted("TOML in UTF-8"));
    }

    fn includes(&mut self, includer: &Path, list: &Node, depth: usize, into: &mut Table) {
        // Read as any key is, so that its mistakes are told as any key's are.
        let mut table = Table::default();
        table.set("include", list.clone());
        let node = Node { value: Value::Table(table), span: list.span };
        let Some(Root { include }) = Root::read(&node, &At::ROOT, self.problems) else {
            return;
        };
        // Both lists have the same length, or reading would have failed and left the default.
        for (pattern, node) in include.iter().zip(list.list().unwrap_or_default()) {
            for path in self.matching(includer, pattern, node.span) {
                self.include(&path, node.span, depth + 1, into);
            }
        }
    }

    fn include(&mut self, path: &Path, asked_by: Option<Span>, depth: usize, into: &mut Table) {
        let name = path.display();
        let wanted = normal(path);
        if let Some(seen) = self.seen.iter().find(|seen| seen.path == wanted) {
            let message = match seen.open {
                true => format!("`{name}` includes itself"),
                false => format!("`{name}` is included twice"),
            };
            let problem = Problem::error(Code::Include, "include", asked_by, message);
            return self.problems.push(match seen.asked_by {
                Some(first) => problem.also("first included here", first),
                None => problem.help("it is the main file"),
            });
        }
        if depth > INCLUDE_DEPTH_MAX {
            let message = format!("files include files more than {INCLUDE_DEPTH_MAX} deep");
            return self.problems.push(Problem::error(Code::TooMany, "include", asked_by, message));
        }
        if self.seen.len() > INCLUDES_MAX {
            return self.bound(asked_by, format!("more than {INCLUDES_MAX} files are included"));
        }
        if !self.full {
            let bytes = self.source.read(path, FILE_BYTES_MAX);
            self.file(path, bytes, asked_by, depth, into);
        }
    }

    /// Files that a pattern names, in the order of their names. A pattern may match nothing; a plain path must exist.
    fn matching(&mut self, includer: &Path, pattern: &str, asked_by: Option<Span>) -> Vec<PathBuf> {
        let pattern = includer.parent().unwrap_or(Path::new("")).join(pattern);
        let (folder, last) = (pattern.parent().unwrap_or(Path::new("")), pattern.file_name().unwrap_or_default());
        let is_pattern = |part: &OsStr| part.as_encoded_bytes().iter().any(|byte| b"*?".contains(byte));
        if folder.iter().any(is_pattern) {
            let problem = Problem::error(
                Code::BadValue,
                "include",
                asked_by,
                "`*` and `?` may stand in the last part of a path only",
            );
            self.problems.push(problem.found(pattern.display().to_string()));
            return Vec::new();
        }
        if !is_pattern(last) {
            return vec![pattern];
        }
        match self.source.list(folder) {
            Ok(mut names) => {
                names.retain(|name| matches(last.as_encoded_bytes(), name.as_encoded_bytes()));
                names.sort();
                names.into_iter().map(|name| folder.join(name)).collect()
            }
            Err(error) => {
                let message = format!("cannot list `{}`: {error}", folder.display());
                self.problems.push(Problem::error(Code::File, "include", asked_by, message));
                Vec::new()
            }
        }
    }

    fn bound(&mut self, asked_by: Option<Span>, message: String) {
        if !std::mem::replace(&mut self.full, true) {
            self.problems.push(Problem::error(Code::TooMany, "include", asked_by, message));
        }
    }
}

/// One spelling of a path as far as can be told without asking the file system. A link may still lead
/// into a circle; the bound on depth ends it.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// `*` is any run of characters, `?` any one. Hidden files (`.x`) are matched by patterns that begin with a dot.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go back to: behind the last star, with one more character given to it.
    let mut retry = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                retry = Some((at_pattern + 1, at_name + 1));
                at_pattern += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match retry {
                Some((after_star, next)) => {
                    (at_pattern, at_name) = (after_star, next);
                    retry = Some((after_star, next + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(check("*.toml", "a.toml"));
        assert!(check("*", "a"));
        assert!(check("a?c*", "abcd"));
        assert!(check("*a*b", "xaaxb"));
        assert!(check("", ""));
        assert!(check(".*", ".hidden"));
        assert!(!check("*.toml", "a.toml~"));
        assert!(!check("*.toml", ".a.toml"));
        assert!(!check("a?c", "ac"));
        assert!(!check("*a*b", "xaax"));
        // Backtracking must not become exponential.
        assert!(!check(&"*a".repeat(50), &"a".repeat(49)));
    }

    #[test]
    fn paths_have_one_spelling() {
        assert_eq!(normal(Path::new("a/./b/../c.toml")), Path::new("a/c.toml"));
        assert_eq!(normal(Path::new("../a.toml")), Path::new("../a.toml"));
        assert_eq!(normal(Path::new("/../a.toml")), Path::new("/../a.toml"));
    }
}
