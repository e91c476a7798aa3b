//! Where something was written: spans while reading, places for people.
//!
//! Owns the texts of the files of one document for as long as its problems may have to be drawn. Knows
//! nothing of what the texts mean.

use serde::Serialize;
use std::sync::OnceLock;

/// Bytes of one file of the document. Half-open, within the file's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub(crate) file: FileIx,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Index into [`Files`]. The bounds on includes and on file size keep it and the offsets small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileIx(pub(crate) u16);

/// Where something was written, for people. Line and column count from 1; a column is a character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The files of one document, the main one first.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    name: String,
    text: String,
    /// Offsets at which lines start. Found when a place is first asked for: a document without problems never asks.
    lines: OnceLock<Vec<u32>>,
}

impl Files {
    pub(crate) fn add(&mut self, name: String, text: String) -> FileIx {
        assert!(u32::try_from(text.len()).is_ok(), "the loader's bound on file size is far below 4 GiB");
        let ix = u16::try_from(self.files.len()).expect("the loader's bound on includes is below 65,536");
        self.files.push(File { name, text, lines: OnceLock::new() });
        FileIx(ix)
    }

    pub(crate) fn text(&self, file: FileIx) -> &str {
        &self.file(file).text
    }

    pub(crate) fn name(&self, file: FileIx) -> &str {
        &self.file(file).name
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        let (line, column) = self.line_and_column(span);
        Place { file: self.file(span.file).name.clone(), line, column }
    }

    /// Of its first byte, as in [`Place`].
    pub(crate) fn line_and_column(&self, span: Span) -> (u32, u32) {
        let file = self.file(span.file);
        let (line, line_start) = file.line_of(span.start as usize);
        let column = file.text[line_start..].char_indices().take_while(|(at, _)| line_start + at < span.start as usize);
        (line as u32 + 1, column.count() as u32 + 1)
    }

    /// The whole lines that hold `start..end`: number of the first (from 1), and their byte range.
    pub(crate) fn lines_around(&self, span: Span) -> (usize, std::ops::Range<usize>) {
        let file = self.file(span.file);
        let (line, from) = file.line_of(span.start as usize);
        let last = (span.end as usize).max(span.start as usize);
        let to =
            file.text.as_bytes()[last..].iter().position(|byte| *byte == b'\n').map_or(file.text.len(), |at| last + at);
        (line + 1, from..to)
    }

    fn file(&self, ix: FileIx) -> &File {
        &self.files[usize::from(ix.0)]
    }
}

impl File {
    /// Index of the line that holds `offset`, and where it starts.
    fn line_of(&self, offset: usize) -> (usize, usize) {
        let lines = self.lines.get_or_init(|| {
            let newlines = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect()
        });
        let line = lines.partition_point(|start| *start as usize <= offset) - 1;
        (line, lines[line] as usize)
    }
}

/// Path of a value within the document, built on the stack and written out only when a problem needs it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(crate) const ROOT: At<'static> = At { parent: None, step: Step::Root };

    pub(crate) fn key(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Name(name) }
    }

    pub(crate) fn index(&'a self, ix: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(ix) }
    }
}

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if !matches!((parent.step, self.step), (Step::Root, _) | (_, Step::Index(_))) {
                f.write_str(".")?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Name(name) if is_bare(name) => f.write_str(name),
            // As TOML wants it, and without control characters.
            Step::Name(name) => write!(f, "{name:?}"),
            Step::Index(ix) => write!(f, "[{ix}]"),
        }
    }
}

/// Whether TOML takes it as a key without quotes.
pub(crate) fn is_bare(name: &str) -> bool {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, start: usize) -> (u32, u32) {
        let mut files = Files::default();
        let file = files.add("a.toml".into(), text.into());
        let place = files.place(Span { file, start: start as u32, end: start as u32 });
        (place.line, place.column)
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(place("", 0), (1, 1));
        assert_eq!(place("abc", 2), (1, 3));
        assert_eq!(place("abc\n", 4), (2, 1));
        assert_eq!(place("a\r\nbc", 4), (2, 2));
        assert_eq!(place("öä = 1", 4), (1, 3));
        assert_eq!(place("ö\nö", 3), (2, 1));
    }

    #[test]
    fn paths_read_as_toml_does() {
        let pool = At::ROOT.key("pool");
        let db = pool.key("db");
        let backend = db.key("backend");
        assert_eq!(backend.index(2).key("weight").to_string(), "pool.db.backend[2].weight");
        assert_eq!(db.key("a.b").to_string(), r#"pool.db."a.b""#);
        assert_eq!(At::ROOT.key("").to_string(), r#""""#);
        assert_eq!(At::ROOT.to_string(), "");
    }
}
