//! Lists as the document has them: what their file says, what the document adds and takes away, and what follows.
//!
//! ```text
//! in force = (entries of the file, without `except`) and `entries`; what is said twice, as `entries` say it
//! ```
//!
//! So a list of a million entries that lies in a file is written in three lines, and an entry that an order adds or removes
//! is one that the document says: reading it back with the same file gives an equal list. All four sets share their memory
//! with those before, and an edit costs O(log n).
//!
//! Refuses to know the time: whoever does says so, and what has expired by then is taken out ([`ListContent::at`]).

mod entry;
mod file;
mod line;
mod time;

use crate::document::{Canonical, Digest};
use crate::keys::{ListKeys, ListWord};
use policy::generation::ContentHash;
use policy::http::{Entry, List, ListKind, Noted};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use entry::{EntryTexts, ListPath, accepted, parse, reason, show};
pub use entry::{ListEntry, Spelled};
pub(crate) use file::read_all;
pub use file::{FILE_BYTES_MAX as LIST_FILE_BYTES_MAX, LINE_BYTES_MAX as LIST_LINE_BYTES_MAX, read as read_list_file};
pub use time::show as show_time;
pub(crate) use time::{ACCEPTED as TIME_ACCEPTED, parse as parse_time};

/// Entries of its own that a document writes out. A list with more is written so that it is not read again.
pub const LIST_ENTRIES_WRITTEN: usize = 10_000;

/// One list of the document.
#[derive(Clone, Debug)]
pub struct ListContent {
    file: Option<ListFile>,
    /// What the document says itself.
    own: List,
    /// Entries of the file that do not count. Nothing is noted of them.
    except: List,
    in_force: Arc<List>,
}

/// A file of entries, as it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct ListFile {
    /// As the main document would name it.
    pub path: PathBuf,
    pub entries: List,
}

impl ListFile {
    /// Its entries as a list file has them, one a line. Reading it gives them again.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (entry, note) in self.entries.iter() {
            line::write(&entry, note, &mut text);
        }
        text
    }
}

/// What one edit has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    Unchanged,
}

impl ListContent {
    /// Those of `except` that the file does not have count for nothing.
    pub(crate) fn new(kind: ListKind, own: List, file: Option<ListFile>, except: List) -> ListContent {
        debug_assert!(own.kind() == kind && except.kind() == kind, "a list has one kind of entries");
        let in_force = Arc::new(file.as_ref().map_or_else(|| own.clone(), |file| file.entries.clone()));
        let mut content = ListContent { file, own, except, in_force };
        if content.file.is_none() {
            return content;
        }
        let said: Vec<Entry> = content.except.iter().chain(content.own.iter()).map(|(entry, _)| entry).collect();
        said.iter().for_each(|entry| content.settle(entry));
        content
    }

    pub fn kind(&self) -> ListKind {
        self.own.kind()
    }

    pub fn file(&self) -> Option<&ListFile> {
        self.file.as_ref()
    }

    /// What the document says itself.
    pub fn own(&self) -> &List {
        &self.own
    }

    /// Entries of the file that do not count.
    pub fn except(&self) -> &List {
        &self.except
    }

    /// What rules ask.
    pub fn in_force(&self) -> &Arc<List> {
        &self.in_force
    }

    /// With this entry, noted so.
    pub(crate) fn add(&mut self, entry: &Entry, note: Noted) -> Outcome {
        if self.in_force.find(entry) == Some(&note) {
            return Outcome::Unchanged;
        }
        self.except = self.except.without(entry);
        self.own = match self.in_file(entry) == Some(&note) {
            true => self.own.without(entry),
            false => self.own.with(entry, note),
        };
        self.settle(entry);
        Outcome::Done
    }

    /// As [`ListContent::add`]. Unchanged: it is not there.
    pub(crate) fn remove(&mut self, entry: &Entry) -> Outcome {
        if self.in_force.find(entry).is_none() {
            return Outcome::Unchanged;
        }
        self.own = self.own.without(entry);
        if self.in_file(entry).is_some() {
            self.except = self.except.with(entry, None);
        }
        self.settle(entry);
        Outcome::Done
    }

    /// Without what has expired by then. `None`: nothing has. Cost: O(log n) for each that has.
    pub(crate) fn at(&self, now: u64) -> Option<ListContent> {
        let mut content = self.clone();
        while let Some(entry) = content.in_force.expired_at(now) {
            if content.own.find(&entry).is_some() {
                content.own = content.own.without(&entry);
                // The file may have it without an end.
                content.settle(&entry);
            } else {
                content.in_force = Arc::new(content.in_force.without(&entry));
            }
        }
        (!Arc::ptr_eq(&content.in_force, &self.in_force)).then_some(content)
    }

    /// This list, made of the parts of `old` as far as both say the same.
    pub(crate) fn aligned(&self, old: &ListContent) -> ListContent {
        let file = self.file.as_ref().map(|file| {
            let entries = match &old.file {
                Some(old) => file.entries.aligned(&old.entries),
                None => file.entries.clone(),
            };
            ListFile { path: file.path.clone(), entries }
        });
        let in_force = match self.in_force.digest() == old.in_force.digest() {
            true => old.in_force.clone(),
            false => Arc::new(self.in_force.aligned(&old.in_force)),
        };
        ListContent { file, own: self.own.aligned(&old.own), except: self.except.aligned(&old.except), in_force }
    }

    /// Its keys; of sets with more entries than this, none.
    pub(crate) fn keys(&self, entries_max: usize) -> ListKeys {
        self.keys_with(|list| match list.len() <= entries_max {
            true => spelled(list.iter()),
            false => Vec::new(),
        })
    }

    /// Its keys, with the first so many entries of each set.
    pub(crate) fn keys_shortened(&self, entries_max: usize) -> ListKeys {
        self.keys_with(|list| spelled(list.iter().take(entries_max)))
    }

    fn keys_with(&self, written: impl Fn(&List) -> Vec<ListEntry>) -> ListKeys {
        ListKeys {
            kind: match self.kind() {
                ListKind::Addresses => ListWord::Address,
                ListKind::Texts => ListWord::Text,
            },
            file: self.file.as_ref().map(|file| file.path.clone()),
            entries: written(&self.own),
            except: written(&self.except),
        }
    }

    fn in_file(&self, entry: &Entry) -> Option<&Noted> {
        self.file.as_ref()?.entries.find(entry)
    }

    /// Brings one entry up to date with what is said of it.
    fn settle(&mut self, entry: &Entry) {
        let excepted = self.except.find(entry).is_some();
        let said = self.own.find(entry).or_else(|| self.in_file(entry).filter(|_| !excepted)).cloned();
        let now = match said {
            Some(note) if self.in_force.find(entry) == Some(&note) => return,
            Some(note) => self.in_force.with(entry, note),
            None if self.in_force.find(entry).is_none() => return,
            None => self.in_force.without(entry),
        };
        self.in_force = Arc::new(now);
    }
}

/// As they are written; texts in an order that people can read.
fn spelled<'e>(entries: impl Iterator<Item = (Entry, &'e Noted)>) -> Vec<ListEntry> {
    let (mut addresses, mut texts) = (Vec::new(), Vec::new());
    for (entry, note) in entries {
        let into = if matches!(entry, Entry::Text(_)) { &mut texts } else { &mut addresses };
        into.push(ListEntry::of(&entry, note));
    }
    texts.sort_by(|one, other| one.entry.cmp(&other.entry));
    addresses.extend(texts);
    addresses
}

/// Of what is in force and where it comes from.
impl Canonical for ListContent {
    fn digest(&self, digest: &mut Digest) {
        let ListContent { file, own, except, in_force } = self;
        digest.count(usize::from(file.is_some()));
        if let Some(ListFile { path, entries }) = file {
            digest.text(&path.to_string_lossy());
            digest.hash(entries.digest());
        }
        let hashes: [ContentHash; 3] = [own.digest(), except.digest(), in_force.digest()];
        hashes.into_iter().for_each(|hash| digest.hash(hash));
    }
}

/// A path as somebody in this folder would write it. Both were brought to one spelling.
pub(crate) fn relative(path: &Path, folder: &Path) -> PathBuf {
    if path.is_absolute() != folder.is_absolute() {
        return path.to_owned();
    }
    let shared = path.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(shared).map(|_| std::path::Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_the_main_document_would() {
        let check = |path: &str, folder: &str, expected: &str| {
            assert_eq!(relative(Path::new(path), Path::new(folder)), Path::new(expected), "{path} from {folder}");
        };
        check("a.txt", "", "a.txt");
        check("lists/a.txt", "", "lists/a.txt");
        check("conf/lists/a.txt", "conf", "lists/a.txt");
        check("other/a.txt", "conf/x", "../../other/a.txt");
        check("/srv/a.txt", "/etc/sluicegate", "../../srv/a.txt");
        check("/srv/a.txt", "conf", "/srv/a.txt");
    }
}
