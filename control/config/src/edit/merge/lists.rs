//! Lists, three of each: entry by entry.

use super::{Merge, Three, Verdict, conflict};
use crate::document::{List as Sealed, Lists};
use crate::edit::target::Target;
use crate::list::{ListContent, ListFile, Spelled};
use crate::problem::{Code, Problem, Problems};
use policy::http::{Entry, List, ListDifference, ListKind, Noted};
use policy::tree::{self, Difference};
use serde_json::{Value as Json, json};
use std::sync::Arc;

impl Merge<'_> {
    pub(super) fn lists(&mut self, base: &Lists, running: &Lists) {
        for difference in tree::diff(base, running) {
            let (id, base, running) = match difference {
                Difference::Removed { key, old } => (key, Some(old), None),
                Difference::Added { key, new } => (key, None, Some(new)),
                Difference::Changed { key, old, new } => (key, Some(old), Some(new)),
            };
            let three = Three { base, running, new: self.new.lists.get(id) };
            let target = Target::List { id: id.to_string() };
            let merged = match (three.verdict(|one, other| says_the_same(one, other)), &three) {
                (Verdict::Keep, _) => continue,
                (Verdict::Take, Three { running: None, .. }) => {
                    self.merged.take(&target);
                    continue;
                }
                (Verdict::Take, Three { running: Some(running), .. }) => (*running).clone(),
                (Verdict::Deeper, Three { base: Some(base), running: Some(running), new: Some(new) }) => {
                    let Some(list) = entries(&target.path(), base, running, new, &mut self.merged.problems) else {
                        continue;
                    };
                    Arc::new(Sealed::new(list))
                }
                (Verdict::Deeper | Verdict::Conflict, three) => {
                    self.conflict(&target.path(), three.presence());
                    continue;
                }
            };
            self.merged.touched_lists.insert(id.clone());
            self.merged.document.lists = self.merged.document.lists.insert(id.clone(), merged);
        }
    }
}

/// But for what is in force: that follows, and depends on the time.
fn says_the_same(one: &ListContent, other: &ListContent) -> bool {
    one.kind() == other.kind()
        && one.file() == other.file()
        && one.own().digest() == other.own().digest()
        && one.except().digest() == other.except().digest()
}

/// `None`: there is a conflict. Cost: that of what differs, and of what the list says itself where its file is another.
fn entries(
    path: &[String],
    base: &ListContent,
    running: &ListContent,
    new: &ListContent,
    problems: &mut Problems,
) -> Option<ListContent> {
    let before = problems.count();
    let at = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
    let kinds = [base, running, new].map(ListContent::kind);
    if kinds != [kinds[0]; 3] {
        let word = |kind| json!(if kind == ListKind::Addresses { "address" } else { "text" });
        problems.push(conflict(&at("kind"), kinds.map(word)));
        return None;
    }
    let files = Three { base: base.file(), running: running.file(), new: new.file() };
    let file = match (base.file() == running.file(), base.file() == new.file() || running.file() == new.file()) {
        (true, _) => new.file(),
        (false, true) => running.file(),
        (false, false) => {
            let word = |file: Option<&ListFile>| {
                file.map_or(Json::Null, |file| {
                    json!(format!("{}, {} entries", file.path.display(), file.entries.len()))
                })
            };
            problems.push(conflict(&at("file"), [files.base, files.running, files.new].map(word)));
            return None;
        }
    };
    let own = set(&at("entries"), [base.own(), running.own(), new.own()], problems);
    let except = set(&at("except"), [base.except(), running.except(), new.except()], problems);
    let list = ListContent::new(kinds[0], own, file.cloned(), except);
    if list.in_force().len() > List::ENTRIES_MAX {
        let message = format!("{} entries, at most {} are accepted", list.in_force().len(), List::ENTRIES_MAX);
        problems.push(super::with_at(path, |at| Problem::error(Code::TooMany, at, None, message)));
    }
    (problems.count() == before).then(|| list.aligned(new))
}

fn set(path: &[String], [base, running, new]: [&List; 3], problems: &mut Problems) -> List {
    let mut merged = new.clone();
    for difference in base.diff(running) {
        let (entry, was, runs) = match difference {
            ListDifference::Gone(entry, note) => (entry, Some(note), None),
            ListDifference::Come(entry, note) => (entry, None, Some(note)),
            ListDifference::Renoted { entry, old, new } => (entry, Some(old), Some(new)),
        };
        let now = new.find(&entry).cloned();
        if now == runs {
            continue;
        }
        if now != was {
            let shown = |note: Option<Noted>| note.map_or(Json::Null, |note| json!(Spelled(&entry, &note).to_string()));
            problems.push_error(|| conflict(&with_entry(path, &entry), [was, runs, now].map(shown)));
            continue;
        }
        merged = match runs {
            Some(note) => merged.with(&entry, note),
            None => merged.without(&entry),
        };
    }
    merged
}

fn with_entry(path: &[String], entry: &Entry) -> Vec<String> {
    path.iter().cloned().chain([crate::list::show(entry)]).collect()
}
