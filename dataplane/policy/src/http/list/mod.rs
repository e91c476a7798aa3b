//! Lists: sets of client addresses or of texts that rules ask by a slot and that change entry by entry.
//!
//! Owns what an entry is, how a list is searched, its digest, and when its next entry expires. Refuses to know names of
//! lists, files and the time: an entry that has expired is one until somebody takes it out ([`List::expired_at`]).
//!
//! ```text
//! Addresses   v4  tree of (start, length) ─┐  each chunk knows: digest, highest end, shortest length,
//!             v6  tree of (start, length) ─┤                    first expiry, heap bytes of its entries
//! Texts           tree of (hash, text)    ─┘
//! ```
//!
//! A list is persistent: one with an entry more or less shares all but one path with the one before, whoever holds the old
//! one keeps it, and equal content has equal digests whatever its history.
//!
//! Memory, about: 25 bytes for an IPv4 entry, 43 for an IPv6 one, 58 and its length for a text; one with a note has 56 more,
//! which neighbours with the same note share as they were read.

mod address;
mod entry;
mod facts;
mod table;
#[cfg(test)]
mod tests;
mod text;

use super::source::Prefix;
use crate::generation::ContentHash;
use crate::tree::{self, Difference, Tree};
use address::{AddressSet, AnyPrefix};
use facts::{Facts, Listable};
use std::net::IpAddr;
use std::sync::Arc;
use text::{TextKey, TextSet};

pub use entry::{Entry, ListKind, Note, Noted};
pub use table::Lists;

/// Entries and what is noted of them. Never changed; cloning it is a few reference counts.
#[derive(Clone)]
pub enum List {
    Addresses(AddressSet),
    Texts(TextSet),
}

/// What one entry has become from one list to another.
#[derive(Clone, PartialEq, Debug)]
pub enum ListDifference {
    Gone(Entry, Noted),
    Come(Entry, Noted),
    /// What is noted of it.
    Renoted {
        entry: Entry,
        old: Noted,
        new: Noted,
    },
}

impl List {
    /// Most entries of one list.
    pub const ENTRIES_MAX: usize = 10_000_000;
    /// Longest text.
    pub const TEXT_BYTES_MAX: usize = 1_000;
    /// Longest reason.
    pub const REASON_BYTES_MAX: usize = 200;

    pub fn new(kind: ListKind) -> List {
        List::of(kind, Vec::new())
    }

    /// In any order; of an entry that comes twice, the last. Those of the other kind are nobody. Cost: O(n log n), and O(n)
    /// where they are in order.
    pub fn of(kind: ListKind, entries: Vec<(Entry, Noted)>) -> List {
        let mut draft = ListDraft::new(kind);
        entries.into_iter().for_each(|(entry, note)| draft.push(entry, note));
        draft.finish()
    }

    pub fn kind(&self) -> ListKind {
        match self {
            List::Addresses(_) => ListKind::Addresses,
            List::Texts(_) => ListKind::Texts,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            List::Addresses(set) => set.v4.len() + set.v6.len(),
            List::Texts(set) => set.0.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a prefix of the list holds it. An IPv4 address that is mapped into IPv6 is the IPv4 address. A list of texts
    /// holds none. Cost: O(log n), and O(prefixes nested about it).
    pub fn holds_address(&self, address: IpAddr) -> bool {
        match self {
            List::Addresses(set) => set.holds(address),
            List::Texts(_) => false,
        }
    }

    /// Whether it is a text of the list, byte for byte. A list of addresses holds none.
    pub fn holds_text(&self, text: &[u8]) -> bool {
        match self {
            List::Addresses(_) => false,
            List::Texts(set) => set.holds(text),
        }
    }

    /// Whether it is a host of the list, or below one: the entry `*.example.com` holds all hosts below `example.com`, and not
    /// that one. `host` is in lower case, without a final dot. Cost: O(labels × log n).
    pub fn holds_host(&self, host: &[u8]) -> bool {
        match self {
            List::Addresses(_) => false,
            List::Texts(set) => set.holds_host(host),
        }
    }

    /// What is noted of an entry. `None`: there is no such entry.
    pub fn find(&self, entry: &Entry) -> Option<&Noted> {
        match (self, entry) {
            (List::Addresses(set), Entry::Address(prefix)) => match AnyPrefix::of(*prefix) {
                AnyPrefix::V4(key) => set.v4.get(&key),
                AnyPrefix::V6(key) => set.v6.get(&key),
            },
            (List::Texts(set), Entry::Text(text)) => set.find(text.as_bytes()),
            (List::Addresses(_), Entry::Text(_)) | (List::Texts(_), Entry::Address(_)) => None,
        }
    }

    /// With this entry, in the place of the one that it equals. One of the other kind changes nothing. Cost: O(log n).
    #[must_use]
    pub fn with(&self, entry: &Entry, note: Noted) -> List {
        match (self, entry) {
            (List::Addresses(set), Entry::Address(prefix)) => {
                let AddressSet { v4, v6 } = set;
                List::Addresses(match AnyPrefix::of(*prefix) {
                    AnyPrefix::V4(key) => AddressSet { v4: v4.insert(key, note), v6: v6.clone() },
                    AnyPrefix::V6(key) => AddressSet { v4: v4.clone(), v6: v6.insert(key, note) },
                })
            }
            (List::Texts(set), Entry::Text(text)) => {
                List::Texts(TextSet(set.0.insert(TextKey::of(text.clone()), note)))
            }
            (List::Addresses(_), Entry::Text(_)) | (List::Texts(_), Entry::Address(_)) => self.clone(),
        }
    }

    /// As [`List::with`].
    #[must_use]
    pub fn without(&self, entry: &Entry) -> List {
        match (self, entry) {
            (List::Addresses(set), Entry::Address(prefix)) => {
                let AddressSet { v4, v6 } = set;
                List::Addresses(match AnyPrefix::of(*prefix) {
                    AnyPrefix::V4(key) => AddressSet { v4: v4.remove(&key), v6: v6.clone() },
                    AnyPrefix::V6(key) => AddressSet { v4: v4.clone(), v6: v6.remove(&key) },
                })
            }
            (List::Texts(set), Entry::Text(text)) => List::Texts(TextSet(set.0.remove(&TextKey::of(text.clone())))),
            (List::Addresses(_), Entry::Text(_)) | (List::Texts(_), Entry::Address(_)) => self.clone(),
        }
    }

    /// Of kind, entries and notes.
    pub fn digest(&self) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        match self {
            List::Addresses(AddressSet { v4, v6 }) => {
                hasher.update(b"addresses");
                feed(&mut hasher, v4);
                feed(&mut hasher, v6);
            }
            List::Texts(TextSet(texts)) => {
                hasher.update(b"texts");
                feed(&mut hasher, texts);
            }
        }
        ContentHash::of(&hasher)
    }

    /// When the first of its entries expires. Unit: seconds since 1970, UTC.
    pub fn next_expiry(&self) -> Option<u64> {
        match self {
            List::Addresses(AddressSet { v4, v6 }) => [expiry(v4), expiry(v6)].into_iter().flatten().min(),
            List::Texts(TextSet(texts)) => expiry(texts),
        }
    }

    /// An entry that has expired by then. Cost: O(log n).
    pub fn expired_at(&self, now: u64) -> Option<Entry> {
        match self {
            List::Addresses(AddressSet { v4, v6 }) => expired(v4, now).or_else(|| expired(v6, now)),
            List::Texts(TextSet(texts)) => expired(texts, now),
        }
    }

    /// Heap bytes, about, if it shares nothing.
    pub fn bytes(&self) -> u64 {
        match self {
            List::Addresses(AddressSet { v4, v6 }) => bytes(v4) + bytes(v6),
            List::Texts(TextSet(texts)) => bytes(texts),
        }
    }

    /// Heap bytes of its nodes that `new` does not share. Cost: that of what differs.
    pub fn unshared_bytes(&self, new: &List) -> usize {
        match (self, new) {
            (List::Addresses(old), List::Addresses(new)) => {
                tree::unshared_bytes(&old.v4, &new.v4) + tree::unshared_bytes(&old.v6, &new.v6)
            }
            (List::Texts(old), List::Texts(new)) => tree::unshared_bytes(&old.0, &new.0),
            (List::Addresses(_), List::Texts(_)) | (List::Texts(_), List::Addresses(_)) => self.bytes() as usize,
        }
    }

    /// IPv4 before IPv6, each by start and length; texts in an order of no meaning.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (Entry, &Noted)> + '_> {
        match self {
            List::Addresses(AddressSet { v4, v6 }) => Box::new(entries(v4).chain(entries(v6))),
            List::Texts(TextSet(texts)) => Box::new(entries(texts)),
        }
    }

    /// Entries by which `new` differs, in the order of [`List::iter`]. Of another kind: all go, and all come. Cost: that of
    /// what differs.
    pub fn diff<'a>(&'a self, new: &'a List) -> Box<dyn Iterator<Item = ListDifference> + 'a> {
        match (self, new) {
            (List::Addresses(old), List::Addresses(new)) => {
                Box::new(differences(&old.v4, &new.v4).chain(differences(&old.v6, &new.v6)))
            }
            (List::Texts(old), List::Texts(new)) => Box::new(differences(&old.0, &new.0)),
            (List::Addresses(_), List::Texts(_)) | (List::Texts(_), List::Addresses(_)) => {
                let gone = self.iter().map(|(entry, note)| ListDifference::Gone(entry, note.clone()));
                Box::new(gone.chain(new.iter().map(|(entry, note)| ListDifference::Come(entry, note.clone()))))
            }
        }
    }

    /// This list, made of the parts of `old` as far as both say the same.
    pub fn aligned(&self, old: &List) -> List {
        match (self, old) {
            (List::Addresses(new), List::Addresses(old)) => {
                List::Addresses(AddressSet { v4: aligned(&new.v4, &old.v4), v6: aligned(&new.v6, &old.v6) })
            }
            (List::Texts(new), List::Texts(old)) => List::Texts(TextSet(aligned(&new.0, &old.0))),
            (List::Addresses(_), List::Texts(_)) | (List::Texts(_), List::Addresses(_)) => self.clone(),
        }
    }
}

/// Not what is in it: that may be millions.
impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.len(), self.kind(), self.digest())
    }
}

/// Equal content.
impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        self.digest() == other.digest()
    }
}

/// A list while it is read. Holds entries as small as the list will.
#[derive(Debug)]
pub enum ListDraft {
    Addresses { v4: Vec<(address::V4, Noted)>, v6: Vec<(address::V6, Noted)> },
    Texts(Vec<(TextKey, Noted)>),
}

impl ListDraft {
    pub fn new(kind: ListKind) -> ListDraft {
        match kind {
            ListKind::Addresses => ListDraft::Addresses { v4: Vec::new(), v6: Vec::new() },
            ListKind::Texts => ListDraft::Texts(Vec::new()),
        }
    }

    /// One of the other kind is nobody.
    pub fn push(&mut self, entry: Entry, note: Noted) {
        match (self, entry) {
            (ListDraft::Addresses { v4, v6 }, Entry::Address(prefix)) => match AnyPrefix::of(prefix) {
                AnyPrefix::V4(key) => v4.push((key, note)),
                AnyPrefix::V6(key) => v6.push((key, note)),
            },
            (ListDraft::Texts(texts), Entry::Text(text)) => texts.push((TextKey::of(text), note)),
            (ListDraft::Addresses { .. }, Entry::Text(_)) | (ListDraft::Texts(_), Entry::Address(_)) => {}
        }
    }

    /// Those that were pushed, each counted as often as it was.
    pub fn len(&self) -> usize {
        match self {
            ListDraft::Addresses { v4, v6 } => v4.len() + v6.len(),
            ListDraft::Texts(texts) => texts.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of entries that are equal, the last that was pushed.
    pub fn finish(self) -> List {
        match self {
            ListDraft::Addresses { v4, v6 } => List::Addresses(AddressSet { v4: sorted(v4), v6: sorted(v6) }),
            ListDraft::Texts(texts) => List::Texts(TextSet(sorted(texts))),
        }
    }
}

/// What every kind of entry is kept in.
type Entries<K> = Tree<K, Noted, Facts<K>>;

fn sorted<K: Listable>(mut entries: Vec<(K, Noted)>) -> Entries<K> {
    // Stable, so that the last of equal ones is the last.
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.dedup_by(|later, earlier| {
        let equal = later.0 == earlier.0;
        if equal {
            earlier.1 = later.1.take();
        }
        equal
    });
    Tree::from_sorted(entries)
}

fn feed<K: Listable>(hasher: &mut blake3::Hasher, tree: &Entries<K>) {
    hasher.update(&(tree.len() as u64).to_le_bytes());
    if let Some(facts) = tree.measure() {
        hasher.update(&facts.digest.0);
    }
}

fn expiry<K: Listable>(tree: &Entries<K>) -> Option<u64> {
    tree.measure().and_then(Facts::first_expiry)
}

fn expired<K: Listable>(tree: &Entries<K>, now: u64) -> Option<Entry> {
    let is_over = |note: &Noted| note.as_ref().is_some_and(|note| note.expired(now));
    let wanted = |facts: &Facts<K>| facts.first_expiry().is_some_and(|first| first <= now);
    tree.descend(wanted, |_, note| is_over(note)).map(|(key, _)| key.entry())
}

fn bytes<K: Listable>(tree: &Entries<K>) -> u64 {
    /// What chunks take for each entry, about: a sixteenth of a leaf, and of its place in the chunk above.
    const SHARE: usize = 16;
    let entry = size_of::<(K, Noted)>() + (2 * tree::CHUNK_BYTES + size_of::<Facts<K>>() + size_of::<K>()) / SHARE;
    tree.len() as u64 * entry as u64 + tree.measure().map_or(0, |facts| facts.heap)
}

fn entries<K: Listable>(tree: &Entries<K>) -> impl Iterator<Item = (Entry, &Noted)> {
    tree.iter().map(|(key, note)| (key.entry(), note))
}

fn differences<'a, K: Listable>(old: &'a Entries<K>, new: &'a Entries<K>) -> impl Iterator<Item = ListDifference> + 'a {
    tree::diff(old, new).filter_map(|difference| match difference {
        Difference::Removed { key, old } => Some(ListDifference::Gone(key.entry(), old.clone())),
        Difference::Added { key, new } => Some(ListDifference::Come(key.entry(), new.clone())),
        Difference::Changed { old, new, .. } if old == new => None,
        Difference::Changed { key, old, new } => {
            Some(ListDifference::Renoted { entry: key.entry(), old: old.clone(), new: new.clone() })
        }
    })
}

fn aligned<K: Listable>(new: &Entries<K>, old: &Entries<K>) -> Entries<K> {
    /// Beyond this part of all entries, a tree of its own costs less than path after path of the old one.
    const PATHS_WORTH: usize = 16;
    let differing = |difference: &Difference<'_, K, Noted>| match difference {
        Difference::Changed { old, new, .. } => old != new,
        Difference::Added { .. } | Difference::Removed { .. } => true,
    };
    let many = new.len() / PATHS_WORTH + 1;
    let mut aligned = old.clone();
    for (count, difference) in tree::diff(old, new).filter(differing).enumerate() {
        if count == many {
            return new.clone();
        }
        aligned = match difference {
            Difference::Removed { key, .. } => aligned.remove(key),
            Difference::Added { key, new } | Difference::Changed { key, new, .. } => {
                aligned.insert(key.clone(), new.clone())
            }
        };
    }
    aligned
}

impl From<Prefix> for Entry {
    fn from(prefix: Prefix) -> Entry {
        Entry::Address(prefix)
    }
}

impl From<&str> for Entry {
    fn from(text: &str) -> Entry {
        Entry::Text(Arc::from(text))
    }
}
