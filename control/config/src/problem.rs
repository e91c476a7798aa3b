//! What is wrong with a document or an edit, said so that the operator can mend it at once.
//!
//! Readers and checks push problems and go on; nothing stops at the first. Owns the bound on how many are
//! kept. Does not draw them: see `draw`.

use crate::place::{Files, Place, Span};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// One thing to mend, or to know.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Problem {
    pub severity: Severity,
    pub code: Code,
    /// Where in the document: `pool.db.group.main.backend[0].weight`. Empty: the file as a whole.
    pub path: String,
    /// Where in the files. `None`: not from a file (an edit, or something that is missing altogether).
    #[serde(flatten)]
    pub place: Option<Place>,
    /// The value as it was read, variables replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do, when that can be guessed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that matter, such as the first of two definitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
    #[serde(skip)]
    pub(crate) span: Option<Span>,
}

/// Another place that a problem is about.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Also {
    pub label: String,
    #[serde(flatten)]
    pub place: Option<Place>,
    #[serde(skip)]
    pub(crate) span: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is taken; this is probably not what was meant.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $label:literal;)*) => {
        /// What kind of problem it is, for machines.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            pub fn label(self) -> &'static str {
                match self { $(Code::$name => $label,)* }
            }
        }
    };
}

codes! {
    /// Not TOML.
    Syntax = "syntax";
    /// A file cannot be read, is not UTF-8 or is too large.
    File = "file";
    /// An include that includes itself, or one file included twice.
    Include = "include";
    /// A `${…}` that is unset or badly written.
    Variable = "variable";
    /// No such key or table.
    UnknownKey = "unknown_key";
    /// A string where a number belongs, and the like.
    WrongType = "wrong_type";
    /// The right type, but not a value that is accepted.
    BadValue = "bad_value";
    /// A key without a default is not there.
    Missing = "missing";
    /// Two things that must differ are the same.
    Duplicate = "duplicate";
    /// Two settings that are each fine contradict each other.
    Clash = "clash";
    /// Orders and a new document say different things of one place.
    Conflict = "conflict";
    /// A reference to something that does not exist.
    NotFound = "not_found";
    /// More of something than its bound.
    TooMany = "too_many";
    /// A `[[test]]` of the configuration does not hold.
    TestFailed = "test_failed";
    /// Warning: accepted, and has no effect.
    NoEffect = "no_effect";
    /// Warning: accepted, and no connection can be served.
    NobodyServes = "nobody_serves";
    /// Warning: accepted, and surprising.
    Surprising = "surprising";
    /// Warning: a pool is not in order, and the rest of the document goes without it.
    PoolLeftOut = "pool_left_out";
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

impl std::fmt::Display for Problem {
    /// One line, for logs: `site.toml:3:9: error: … (pool.db.access_log)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        if let Some(found) = &self.found {
            write!(f, ", found {found}")?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "; accepted: {accepted}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        if !self.path.is_empty() {
            write!(f, " ({})", self.path)?;
        }
        Ok(())
    }
}

impl Problem {
    pub(crate) fn error(
        code: Code,
        path: impl ToString,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> Problem {
        Problem::new(Severity::Error, code, path.to_string(), span.into(), message.into())
    }

    pub(crate) fn warning(
        code: Code,
        path: impl ToString,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> Problem {
        Problem::new(Severity::Warning, code, path.to_string(), span.into(), message.into())
    }

    fn new(severity: Severity, code: Code, path: String, span: Option<Span>, message: String) -> Problem {
        Problem {
            severity,
            code,
            path: quotable(path, TEXT_CHARACTERS_MAX),
            place: None,
            found: None,
            accepted: None,
            message: quotable(message, TEXT_CHARACTERS_MAX),
            help: None,
            also: Vec::new(),
            span,
        }
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Problem {
        self.found = Some(quotable(found.into(), FOUND_CHARACTERS_MAX));
        self
    }

    pub(crate) fn accepted(mut self, accepted: impl Into<String>) -> Problem {
        self.accepted = Some(quotable(accepted.into(), TEXT_CHARACTERS_MAX));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(quotable(help.into(), TEXT_CHARACTERS_MAX));
        self
    }

    /// In a file whose text is not kept.
    pub(crate) fn at_line(mut self, file: &str, line: u32) -> Problem {
        self.place = Some(Place { file: file.into(), line, column: 1 });
        self
    }

    pub(crate) fn also(mut self, label: impl Into<String>, span: impl Into<Option<Span>>) -> Problem {
        let label = quotable(label.into(), TEXT_CHARACTERS_MAX);
        self.also.push(Also { label, place: None, span: span.into() });
        self
    }
}

/// Longest text of a problem: its names may be as long as the document.
const TEXT_CHARACTERS_MAX: usize = 1_000;

/// Longest value that is quoted: a value of a megabyte helps nobody in an error.
const FOUND_CHARACTERS_MAX: usize = 120;

/// Problems quote documents, and are written to terminals and logs: no escape sequence, no line of its own,
/// no book.
fn quotable(text: String, characters_max: usize) -> String {
    let end = text.char_indices().nth(characters_max).map(|(end, _)| end);
    if end.is_none() && !text.contains(char::is_control) {
        return text;
    }
    let mut out = String::new();
    for character in text[..end.unwrap_or(text.len())].chars() {
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    if end.is_some() {
        out.push('…');
    }
    out
}

/// All problems of one document or of one list of edits, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    more: usize,
    files: Arc<Files>,
}

impl Problems {
    /// Problems kept of each severity. More are counted: whoever has a hundred mends a few and asks again.
    pub const MAX: usize = 100;

    pub(crate) fn push(&mut self, problem: Problem) {
        let list = match problem.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() < Problems::MAX {
            list.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// The same for problems that are dear to make and may come in millions.
    pub(crate) fn push_error(&mut self, make: impl FnOnce() -> Problem) {
        if self.errors.len() < Problems::MAX {
            self.push(make());
        } else {
            self.more += 1;
        }
    }

    /// Without those that this is said of. What is not kept stays counted.
    pub(crate) fn without(&self, is_out: impl Fn(&Problem) -> bool) -> Problems {
        let mut rest = self.clone();
        rest.errors.retain(|problem| !is_out(problem));
        rest.warnings.retain(|problem| !is_out(problem));
        rest
    }

    /// Turns spans into places. The files are kept for drawing only if there is something to draw.
    pub(crate) fn placed(mut self, files: Files) -> Problems {
        for problem in self.errors.iter_mut().chain(&mut self.warnings) {
            problem.place = problem.span.map(|span| files.place(span)).or(problem.place.take());
            for also in &mut problem.also {
                also.place = also.span.map(|span| files.place(span));
            }
        }
        self.drop_consequences();
        let by_place = |problem: &Problem| problem.span.map(|span| (span.file, span.start));
        self.errors.sort_by_key(by_place);
        self.warnings.sort_by_key(by_place);
        if !self.is_empty() {
            self.files = Arc::new(files);
        }
        self
    }

    /// On a line that is not TOML, whatever else is wrong follows from that.
    fn drop_consequences(&mut self) {
        let line = |problem: &Problem| problem.place.as_ref().map(|place| (place.file.clone(), place.line));
        let syntax = |problem: &Problem| problem.code == Code::Syntax;
        let broken: HashSet<_> = self.errors.iter().filter(|problem| syntax(problem)).filter_map(line).collect();
        let follows = |problem: &Problem| !syntax(problem) && line(problem).is_some_and(|line| broken.contains(&line));
        self.errors.retain(|problem| !follows(problem));
    }

    /// Errors from this one on are of the order that has this place in its transaction. A path says what is wrong in the
    /// document, and several orders may be about one place there.
    pub(crate) fn say_which(&mut self, first: usize, order: usize) {
        for problem in self.errors.iter_mut().skip(first) {
            problem.message = format!("orders[{order}]: {}", problem.message);
        }
    }

    /// How many errors there have been, those that are not kept included.
    pub(crate) fn count(&self) -> usize {
        self.errors.len() + self.more
    }

    pub fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }

    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Errors, then warnings.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.errors.iter().chain(&self.warnings)
    }

    /// Problems beyond [`Problems::MAX`], not kept.
    pub fn more(&self) -> usize {
        self.more
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }
}

impl std::fmt::Display for Problems {
    /// One line each, for logs. People are shown [`Problems::draw`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (ix, problem) in self.iter().enumerate() {
            if ix > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_stays_on_its_line_and_ends() {
        let check = |text: &str, expected: &str| assert_eq!(quotable(text.into(), 5), expected, "{text:?}");
        check("", "");
        check("漢é\"'$", "漢é\"'$");
        check("abcdef", "abcde…");
        check("a\nb", "a\\nb");
        check("\u{1b}[31m", "\\u{1b}[31m");
        check("\0\0\0\0\0\0", "\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}…");
    }

    #[test]
    fn every_text_of_a_problem_is_quotable() {
        let long = "\n".repeat(5_000);
        let problem = Problem::error(Code::Syntax, &long, None, &*long).found(&*long).accepted(&*long).help(&*long);
        let problem = problem.also(&*long, None);
        let Problem { path, found, accepted, message, help, also, .. } = problem;
        let texts = [Some(path), found, accepted, Some(message), help, Some(also[0].label.clone())];
        for text in texts.into_iter().flatten() {
            assert!(text.len() <= 2 * TEXT_CHARACTERS_MAX + '…'.len_utf8() && !text.contains('\n'), "{text}");
        }
    }
}
