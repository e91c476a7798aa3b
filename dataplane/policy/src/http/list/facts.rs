//! What each chunk of a list knows of the entries below it.

use super::entry::{Entry, Note, Noted};
use crate::generation::ContentHash;
use crate::tree::Measure;
use smallvec::SmallVec;

/// A key under which lists keep entries.
pub trait Listable: Ord + Clone {
    /// What a search must know of many entries at once.
    type Reach: Copy;

    /// See [`Measure::cut`].
    fn cut(&self) -> u64;
    /// The same bytes for the same entry, and of no two entries one behind the other those of two others.
    fn feed(&self, out: &mut Canonical);
    fn reach(&self) -> Self::Reach;
    fn joined(one: Self::Reach, other: Self::Reach) -> Self::Reach;
    /// Heap bytes of the key.
    fn heap(&self) -> usize;
    fn entry(&self) -> Entry;
}

/// The canonical form of one leaf: of most it is at hand.
pub(super) type Canonical = SmallVec<[u8; 512]>;

/// Of the entries of a chunk.
#[derive(Debug)]
pub struct Facts<K: Listable> {
    pub digest: ContentHash,
    pub reach: K::Reach,
    /// `u64::MAX`: never.
    expires: u64,
    /// What entries own besides their places. Unit: bytes. A note that several share is counted for each.
    pub heap: u64,
}

// Derived, they would ask it of the key.
impl<K: Listable> Clone for Facts<K> {
    fn clone(&self) -> Facts<K> {
        *self
    }
}

impl<K: Listable> Copy for Facts<K> {}

impl<K: Listable> Facts<K> {
    pub fn first_expiry(&self) -> Option<u64> {
        (self.expires != u64::MAX).then_some(self.expires)
    }
}

impl<K: Listable> Measure<K, Noted> for Facts<K> {
    fn cut(key: &K, _: &Noted) -> u64 {
        key.cut()
    }

    fn leaf(entries: &[(K, Noted)]) -> Facts<K> {
        let mut canonical = Canonical::new();
        let (mut expires, mut heap) = (u64::MAX, 0);
        for (key, note) in entries {
            key.feed(&mut canonical);
            feed_note(note, &mut canonical);
            heap += key.heap();
            if let Some(note) = note {
                expires = expires.min(note.expires.unwrap_or(u64::MAX));
                heap += note.bytes();
            }
        }
        let reaches = entries.iter().map(|(key, _)| key.reach());
        Facts {
            digest: digest(&canonical),
            reach: reaches.reduce(K::joined).expect("a chunk is not empty"),
            expires,
            heap: heap as u64,
        }
    }

    fn join<'a>(below: impl Iterator<Item = &'a Facts<K>>) -> Facts<K>
    where
        K: 'a,
    {
        let mut canonical = Canonical::new();
        let mut all: Option<Facts<K>> = None;
        for facts in below {
            canonical.extend_from_slice(&facts.digest.0);
            all = Some(all.map_or(*facts, |all| Facts {
                reach: K::joined(all.reach, facts.reach),
                expires: all.expires.min(facts.expires),
                heap: all.heap + facts.heap,
                ..all
            }));
        }
        Facts { digest: digest(&canonical), ..all.expect("a chunk is not empty") }
    }

    fn same(&self, other: &Facts<K>) -> bool {
        self.digest == other.digest
    }
}

fn feed_note(note: &Noted, out: &mut Canonical) {
    let Some(Note { expires, reason }) = note.as_deref() else {
        return out.push(0);
    };
    out.push(1 + u8::from(expires.is_some()));
    out.extend_from_slice(&expires.unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&(reason.len() as u32).to_le_bytes());
    out.extend_from_slice(reason.as_bytes());
}

fn digest(canonical: &[u8]) -> ContentHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(canonical);
    ContentHash::of(&hasher)
}
