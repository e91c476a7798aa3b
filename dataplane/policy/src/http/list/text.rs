//! Texts, found by their hash first.
//!
//! Keys come from the operator and clients only look them up, so a fixed hash is enough.

use super::Entries;
use super::entry::{Entry, Noted};
use super::facts::{Canonical, Listable};
use crate::http::condition::HOST_BYTES_MAX;
use crate::http::index::suffixes;
use crate::tree::hash;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct TextSet(pub(super) Entries<TextKey>);

/// A text, ordered by its hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TextKey {
    hash: u64,
    text: Arc<str>,
}

impl TextSet {
    pub(super) fn find(&self, text: &[u8]) -> Option<&Noted> {
        let hash = hash(0, text);
        let order = |key: &TextKey| key.hash.cmp(&hash).then_with(|| key.text.as_bytes().cmp(text));
        self.0.find(order).map(|(_, note)| note)
    }

    pub(super) fn holds(&self, text: &[u8]) -> bool {
        self.find(text).is_some()
    }

    pub(super) fn holds_host(&self, host: &[u8]) -> bool {
        if host.is_empty() || host.len() >= HOST_BYTES_MAX {
            return false;
        }
        let mut pattern = [b'*'; HOST_BYTES_MAX + 1];
        let below = |suffix: &[u8]| {
            pattern[1..=suffix.len()].copy_from_slice(suffix);
            self.holds(&pattern[..=suffix.len()])
        };
        self.holds(host) || suffixes(host, u128::MAX).any(below)
    }
}

impl TextKey {
    pub(super) fn of(text: Arc<str>) -> TextKey {
        TextKey { hash: hash(0, text.as_bytes()), text }
    }
}

impl Listable for TextKey {
    type Reach = ();

    fn cut(&self) -> u64 {
        // Its upper bits order entries, its lowest end chunks.
        self.hash
    }

    fn feed(&self, out: &mut Canonical) {
        out.extend_from_slice(&(self.text.len() as u32).to_le_bytes());
        out.extend_from_slice(self.text.as_bytes());
    }

    fn reach(&self) {}

    fn joined((): (), (): ()) {}

    fn heap(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + self.text.len()
    }

    fn entry(&self) -> Entry {
        Entry::Text(self.text.clone())
    }
}
