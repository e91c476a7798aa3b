//! Files of entries: found in the tree, read line by line.
//!
//! The reader streams: in memory are one buffer and the entries, never the text. Every line that is wrong is told with its
//! number, as far as problems are kept at all.

use super::line::{self, Notes};
use super::{ListFile, accepted, relative};
use crate::keys::ListWord;
use crate::load::normal;
use crate::place::{At, Files as Documents};
use crate::problem::{Code, Problem, Problems};
use crate::source::Source;
use crate::tree::{Node, Value};
use policy::http::{List, ListDraft, ListKind};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest line of a list file. Unit: bytes.
pub const LINE_BYTES_MAX: usize = 4_096;

/// Longest list file. Unit: bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Unit: bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// The files of all lists.
#[derive(Default)]
pub(crate) struct Files {
    /// By the names of the lists. `None`: it could not be read, which has been told.
    pub(crate) by_list: BTreeMap<Box<str>, Option<ListFile>>,
    pub(crate) read: Vec<PathBuf>,
}

/// Reads every file that a list of the document names.
pub(crate) fn read_all(tree: &Node, files: &Documents, source: &dyn Source, problems: &mut Problems) -> Files {
    let mut all = Files::default();
    let lists = tree.table().and_then(|tree| tree.get("list")).and_then(Node::table);
    for (id, entry) in lists.into_iter().flat_map(|lists| &lists.entries) {
        let Some(node) = entry.node.table().and_then(|list| list.get("file")) else { continue };
        // What else it may be, whoever reads the key tells.
        let Value::Text { text, .. } = &node.value else { continue };
        let includer = node.span.map(|span| Path::new(files.name(span.file)));
        let path = normal(&folder(includer.unwrap_or(Path::new(""))).join(text));
        let kind = match entry.node.table().and_then(|list| list.get("kind")).map(|node| &node.value) {
            Some(Value::Text { text, .. }) if *text == ListWord::Text.word() => ListKind::Texts,
            _ => ListKind::Addresses,
        };
        let lists = At::ROOT.key("list");
        let list = lists.key(id);
        let before = problems.count();
        let entries =
            entries(&path, kind, source, &list.key("file"), problems, |problem| Problem { span: node.span, ..problem });
        all.read.push(path.clone());
        let main = files.names().next().map(Path::new).unwrap_or(Path::new(""));
        let read = ListFile { path: relative(&path, &normal(folder(main))), entries };
        all.by_list.insert(id.clone(), (problems.count() == before).then_some(read));
    }
    all
}

/// Reads one file for an order: `path` as the main document, which is called `main`, would name it.
pub fn read(main: &Path, path: &Path, kind: ListKind, source: &dyn Source) -> Result<ListFile, Problems> {
    let mut problems = Problems::default();
    let folder = normal(folder(main));
    let found = normal(&folder.join(path));
    let entries = entries(&found, kind, source, &At::ROOT.key("file"), &mut problems, |problem| problem);
    match problems.is_empty() {
        true => Ok(ListFile { path: relative(&found, &folder), entries }),
        false => Err(problems),
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Of a file that is wrong, those that are not. `named`: puts what is wrong with the file as a whole where it is named.
fn entries(
    path: &Path,
    kind: ListKind,
    source: &dyn Source,
    at: &At<'_>,
    problems: &mut Problems,
    named: impl Fn(Problem) -> Problem,
) -> List {
    let name = path.display().to_string();
    let mut draft = ListDraft::new(kind);
    let read = source.open(path, FILE_BYTES_MAX).and_then(|reader| {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader.take(FILE_BYTES_MAX + 1));
        lines(reader, |number, line| {
            let wrong = match line {
                Ok((line, notes)) => match line::parse(kind, line, notes) {
                    Ok(entry) => {
                        entry.into_iter().for_each(|(entry, note)| draft.push(entry, note));
                        return draft.len() <= List::ENTRIES_MAX;
                    }
                    Err(message) => message,
                },
                Err(message) => message,
            };
            problems.push_error(|| {
                let problem = Problem::error(Code::BadValue, at, None, format!("`{name}`: {wrong}"));
                problem.accepted(accepted(kind)).at_line(&name, number)
            });
            true
        })
    });
    let whole = |code, message: String| named(Problem::error(code, at, None, message));
    match read {
        Ok(bytes) if bytes > FILE_BYTES_MAX => {
            let message = format!("`{name}` is larger than {} MiB", FILE_BYTES_MAX >> 20);
            problems.push(whole(Code::TooMany, message));
        }
        Ok(_) if draft.len() > List::ENTRIES_MAX => {
            let message = format!("`{name}` has more than {} entries, which is the most", List::ENTRIES_MAX);
            problems.push(whole(Code::TooMany, message));
        }
        Ok(_) => {}
        Err(error) => problems.push(whole(Code::File, format!("cannot read `{name}`: {error}"))),
    }
    draft.finish()
}

/// A line without its end and memory for what is noted, or why it cannot be looked at.
type Line<'l> = Result<(&'l [u8], &'l mut Notes), String>;

/// Hands `take` each line and its number from 1, until it says no. Answers the bytes read.
fn lines(mut reader: impl BufRead, mut take: impl FnMut(u32, Line<'_>) -> bool) -> io::Result<u64> {
    let (mut line, mut notes) = (Vec::new(), Notes::default());
    let (mut number, mut bytes) = (0, 0);
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(bytes);
        }
        (number, bytes) = (number + 1, bytes + read as u64);
        let ended = line.last() == Some(&b'\n');
        let goes_on = match ended || read <= LINE_BYTES_MAX {
            true => {
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                // Some editors begin a file with this.
                let text = if number == 1 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
                take(number, Ok((text, &mut notes)))
            }
            false => {
                bytes += reader.skip_until(b'\n')? as u64;
                take(number, Err(format!("a line of more than {LINE_BYTES_MAX} bytes")))
            }
        };
        if !goes_on {
            return Ok(bytes);
        }
    }
}
