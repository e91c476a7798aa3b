//! Pages and other texts that clients read: where they come from, how large they may be, and that each status has one.
//!
//! A text may lie in a file beside the document. It is read with the document and stands in its place from then
//! on: what runs, and what is written of it, holds the text and needs no file.

use crate::check::{pool_path, span_at};
use crate::document::Sealed;
use crate::draft::{PageDraft, PoolDraft};
use crate::form::{Describe, Form, Shown, Wrong};
use crate::keys::Page;
use crate::load::normal;
use crate::place::{At, Files};
use crate::problem::{Code, Problem, Problems};
use crate::source::Source;
use crate::tree::{Node, Table, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest text. Unit: bytes. It stands in the document, and strings there are no longer.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;

/// Files that one document may have texts in.
const TEXT_FILES_MAX: usize = 1_000;

/// Puts the texts of files where their names stand. Answers the files that were read.
pub(crate) fn read_files(tree: &mut Node, files: &Files, source: &dyn Source, problems: &mut Problems) -> Vec<PathBuf> {
    let mut reader = Reader { files, source, problems, read: Vec::new() };
    let pools = tree.table_mut().and_then(|tree| tree.get_mut("pool")).and_then(Node::table_mut);
    for (id, pool) in pools.into_iter().flat_map(|pools| &mut pools.entries) {
        let Some(pool) = pool.node.table_mut() else { continue };
        let pools = At::ROOT.key("pool");
        let at = pools.key(id);
        let (rules, pages) = (at.key("rule"), at.key("page"));
        for (ix, rule) in pool.get_mut("rule").and_then(Node::list_mut).into_iter().flatten().enumerate() {
            let respond = rule.table_mut().and_then(|rule| rule.get_mut("respond")).and_then(Node::table_mut);
            if let Some(respond) = respond {
                reader.text(respond, &rules.index(ix).key("respond"));
            }
        }
        for (ix, page) in pool.get_mut("page").and_then(Node::list_mut).into_iter().flatten().enumerate() {
            if let Some(page) = page.table_mut() {
                reader.text(page, &pages.index(ix));
            }
        }
    }
    reader.read
}

struct Reader<'a> {
    files: &'a Files,
    source: &'a dyn Source,
    problems: &'a mut Problems,
    read: Vec<PathBuf>,
}

impl Reader<'_> {
    fn text(&mut self, table: &mut Table, at: &At<'_>) {
        let Some(entry) = table.entries.remove("file") else { return };
        let span = entry.node.span;
        if let Some(body) = table.entries.get("body") {
            let problem = Problem::error(Code::Clash, at.key("file"), span, "`file` and `body` both say the text");
            self.problems.push(problem.also("the other", body.key_span));
            return;
        }
        let body = match &entry.node.value {
            Value::Text { text, .. } => self.file(text, &entry.node, at),
            Value::Told => None,
            _ => {
                let message = format!("`file`: expected a path, found {}", entry.node.kind());
                self.problems.push(Problem::error(Code::WrongType, at.key("file"), span, message));
                None
            }
        };
        if let (Some((path, _)), None) = (&body, table.get("content_type")) {
            table.set("content_type", Node::text(content_type(path)));
        }
        let value = body.map_or(Value::Told, |(_, text)| Value::Text { text, substituted: false });
        table.set("body", Node { value, span });
    }

    fn file(&mut self, name: &str, node: &Node, at: &At<'_>) -> Option<(PathBuf, String)> {
        let includer = node.span.map(|span| Path::new(self.files.name(span.file)));
        let path = normal(&includer.and_then(Path::parent).unwrap_or(Path::new("")).join(name));
        let problem = |message: String| Problem::error(Code::File, at.key("file"), node.span, message);
        if self.read.len() >= TEXT_FILES_MAX && !self.read.contains(&path) {
            let message = format!("more than {TEXT_FILES_MAX} files with texts");
            self.problems.push(Problem::error(Code::TooMany, at.key("file"), node.span, message));
            return None;
        }
        let bytes = self.source.read(&path, TEXT_BYTES_MAX);
        match bytes.map(String::from_utf8) {
            Ok(Ok(text)) => {
                if !self.read.contains(&path) {
                    self.read.push(path.clone());
                }
                Some((path, text))
            }
            Ok(Err(_)) => {
                self.problems.push(problem(format!("`{}` is not UTF-8 text", path.display())));
                None
            }
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                let message = format!("`{}` is longer than {} KiB", path.display(), TEXT_BYTES_MAX >> 10);
                self.problems.push(problem(message));
                None
            }
            Err(error) => {
                self.problems.push(problem(format!("cannot read `{}`: {error}", path.display())));
                None
            }
        }
    }
}

/// No status has two pages.
pub(crate) fn check(pool: &PoolDraft<'_>, problems: &mut Problems) {
    let mut pages: BTreeMap<u16, &PageDraft<'_>> = BTreeMap::new();
    for draft in &pool.pages {
        let Some(page) = &draft.page else { continue };
        let mut statuses = page.status.iter().flat_map(|(first, last)| *first..=*last);
        let Some((status, other)) = statuses.find_map(|status| Some((status, *pages.get(&status)?))) else {
            let statuses = page.status.iter().flat_map(|(first, last)| *first..=*last);
            pages.extend(statuses.map(|status| (status, draft)));
            continue;
        };
        let path = format!("{}[{}].status", pool_path(pool.id, "page"), draft.ix);
        let span = span_at(draft.node, &["status"]);
        let message = format!("two pages of pool `{}` are for status {status}", pool.id);
        let problem = Problem::error(Code::Duplicate, path, span, message);
        problems.push(problem.also("the other one", span_at(other.node, &["status"])));
    }
}

/// Pages as the document holds them. `None`: something of them was told.
pub(crate) fn seal(drafts: Vec<PageDraft<'_>>) -> Option<Vec<Arc<Sealed<Page>>>> {
    let sealed = drafts.into_iter().map(|draft| Some(Arc::new(Sealed::new(draft.page?))));
    let mut sealed = sealed.collect::<Option<Vec<_>>>()?;
    sealed.sort_by(|a, b| a.status.cmp(&b.status));
    Some(sealed)
}

/// By the ending of the file's name.
fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        _ => crate::form::Respond::CONTENT_TYPE,
    }
}

/// The name of a file with a text. Nothing reads it: what is in the file stands in its place before.
pub(crate) struct TextFile;

impl Describe for TextFile {
    fn kind(&self) -> &'static str {
        "path"
    }
    fn accepted(&self) -> String {
        format!("a path of a file of UTF-8 text, at most {} KiB", TEXT_BYTES_MAX >> 10)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Form for TextFile {
    type Value = Option<PathBuf>;

    fn read(&self, node: &Node) -> Result<Option<PathBuf>, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } => Ok(Some(text.into())),
            _ => Err(vec![Wrong::kind(node, "a path")]),
        }
    }

    fn show(&self, path: &Option<PathBuf>) -> Shown {
        path.as_ref().map_or(Shown::Absent, |path| Shown::Text(path.display().to_string()))
    }
}

/// A text for clients.
pub(crate) struct PageText;

impl Describe for PageText {
    fn kind(&self) -> &'static str {
        "text"
    }
    fn accepted(&self) -> String {
        format!("a text of at most {} KiB", TEXT_BYTES_MAX >> 10)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "maxLength": TEXT_BYTES_MAX })
    }
}

impl Form for PageText {
    type Value = Arc<str>;

    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text.len() > TEXT_BYTES_MAX => {
                Err(vec![Wrong::value(node, format!("{} bytes of text", text.len()))])
            }
            Value::Text { text, .. } => Ok(text.as_str().into()),
            _ => Err(vec![Wrong::kind(node, "a string")]),
        }
    }

    fn show(&self, text: &Arc<str>) -> Shown {
        Shown::Text(text.to_string())
    }
}
