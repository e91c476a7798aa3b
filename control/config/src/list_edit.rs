//! Orders about lists as edits of the document: one entry comes or goes, or all are others.
//!
//! An entry is read as one of the document is, so it has the same errors. Cost: O(log n) for an entry, whatever the list.

use crate::document::Lists;
use crate::edit::not_found;
use crate::list::{self, ListContent, ListFile, Outcome, parse_time};
use crate::place::At;
use crate::problem::{Code, Problem, Problems};
use policy::http::{Entry, List, ListDraft, Note, Noted};
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub enum ListEdit {
    /// One that is there is noted so from now on; one that is noted so already is left as it is.
    Add {
        list: String,
        /// An address, a prefix or a text, by the kind of the list.
        entry: String,
        /// Such as `2026-12-01T00:00:00Z`. `None`: never.
        expires: Option<String>,
        reason: Option<String>,
    },
    Remove {
        list: String,
        entry: String,
        missing_ok: bool,
    },
    Replace {
        list: String,
        with: Replacement,
    },
}

/// An entry as an order says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryText {
    /// An address, a prefix or a text, by the kind of the list.
    pub entry: String,
    /// Such as `2026-12-01T00:00:00Z`. `None`: never.
    pub expires: Option<String>,
    pub reason: Option<String>,
}

/// All that is in a list from now on.
#[derive(Clone, PartialEq, Debug)]
pub enum Replacement {
    Texts(Vec<EntryText>),
    /// Read before, by [`read_list_file`](crate::read_list_file).
    File(ListFile),
}

impl ListEdit {
    pub(crate) fn list(&self) -> &str {
        match self {
            ListEdit::Add { list, .. } | ListEdit::Remove { list, .. } | ListEdit::Replace { list, .. } => list,
        }
    }
}

/// The list as it is after the edit. `None`: something is wrong with it, which is told.
pub(crate) fn edited(
    lists: &Lists,
    edit: &ListEdit,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<(Arc<str>, ListContent)> {
    let list = edit.list();
    let Some((id, content)) = lists.find_entry(list) else {
        let message = format!("there is no list `{list}`");
        let names = lists.keys().map(|name| &**name);
        problems.push(not_found(at.key("list"), message, list, names));
        return None;
    };
    let mut content = (***content).clone();
    match edit {
        ListEdit::Add { list: _, entry, expires, reason } => {
            let entry = parse(&content, entry, at, problems);
            let note = note(expires.as_deref(), reason.as_deref(), at, problems);
            let (entry, note) = entry.zip(note)?;
            let is_there = content.in_force().find(&entry).is_some();
            if !is_there && content.in_force().len() >= List::ENTRIES_MAX {
                let message = format!("list `{list}` has {} entries, which is the most", List::ENTRIES_MAX);
                problems.push(Problem::error(Code::TooMany, at.key("list"), None, message));
                return None;
            }
            content.add(&entry, note);
        }
        ListEdit::Remove { list: _, entry: text, missing_ok } => {
            let entry = parse(&content, text, at, problems)?;
            if content.remove(&entry) == Outcome::Unchanged && !missing_ok {
                let message = format!("list `{list}` has no entry `{}`", list::show(&entry));
                let problem = Problem::error(Code::NotFound, at.key("entry"), None, message);
                problems.push(problem.found(format!("{text:?}")));
                return None;
            }
        }
        ListEdit::Replace { list: _, with } => content = replaced(&content, with, at, problems)?,
    }
    Some((id.clone(), content))
}

fn parse(content: &ListContent, text: &str, at: &At<'_>, problems: &mut Problems) -> Option<Entry> {
    list::parse(content.kind(), text)
        .map_err(|message| {
            let problem = Problem::error(Code::BadValue, at.key("entry"), None, format!("`entry`: {message}"));
            problems.push(problem.found(format!("{text:?}")).accepted(list::accepted(content.kind())));
        })
        .ok()
}

fn note(expires: Option<&str>, reason: Option<&str>, at: &At<'_>, problems: &mut Problems) -> Option<Noted> {
    let moment = expires.map(|text| {
        let moment = parse_time(text);
        if moment.is_none() {
            let problem = Problem::error(Code::BadValue, at.key("expires"), None, "`expires`: not a moment since 1970");
            problems.push(problem.found(format!("{text:?}")).accepted(list::TIME_ACCEPTED));
        }
        moment
    });
    let reason = list::reason(reason.unwrap_or_default()).map_err(|message| {
        problems.push(Problem::error(Code::BadValue, at.key("reason"), None, format!("`reason`: {message}")));
    });
    match (moment, reason) {
        (Some(None), _) | (_, Err(())) => None,
        (moment, Ok(reason)) => Some(Note::of(moment.flatten(), reason)),
    }
}

fn replaced(content: &ListContent, with: &Replacement, at: &At<'_>, problems: &mut Problems) -> Option<ListContent> {
    let kind = content.kind();
    let before = problems.count();
    let none = List::new(kind);
    let new = match with {
        Replacement::File(file) if file.entries.kind() != kind => {
            let message = "the file was read as another kind of list";
            problems.push(Problem::error(Code::WrongType, at.key("file"), None, message));
            return None;
        }
        Replacement::File(file) => ListContent::new(kind, none.clone(), Some(file.clone()), none),
        Replacement::Texts(entries) => {
            let mut draft = ListDraft::new(kind);
            let list = at.key("entries");
            for (ix, written) in entries.iter().enumerate() {
                match list::parse(kind, &written.entry) {
                    Ok(entry) => {
                        let at = list.index(ix);
                        if let Some(note) = note(written.expires.as_deref(), written.reason.as_deref(), &at, problems) {
                            draft.push(entry, note);
                        }
                    }
                    Err(message) => problems.push_error(|| {
                        let message = format!("`entries[{ix}]`: {message}");
                        let problem = Problem::error(Code::BadValue, list.index(ix), None, message);
                        problem.found(format!("{:?}", written.entry)).accepted(list::accepted(kind))
                    }),
                }
            }
            ListContent::new(kind, draft.finish(), None, none)
        }
    };
    if new.in_force().len() > List::ENTRIES_MAX {
        let message = format!("{} entries, at most {} are accepted", new.in_force().len(), List::ENTRIES_MAX);
        problems.push(Problem::error(Code::TooMany, at, None, message));
    }
    // What stays shares its memory.
    (problems.count() == before).then(|| new.aligned(content))
}
