//! What a list is made of: an entry, and what is noted of it.

use crate::http::source::Prefix;
use std::sync::Arc;

/// What the entries of one list are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListKind {
    Addresses,
    Texts,
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Bits behind its length are ignored, and one within `::ffff:0:0/96` is the IPv4 prefix that it maps.
    Address(Prefix),
    Text(Arc<str>),
}

/// What is noted of an entry, if anything is.
pub type Noted = Option<Arc<Note>>;

/// For operators, and for whoever takes entries out when their time has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Note {
    /// From then on it is no entry. Unit: seconds since 1970, UTC.
    pub expires: Option<u64>,
    /// Why it is in the list. Empty: nobody has said.
    pub reason: Box<str>,
}

impl Note {
    /// `None` where it says nothing.
    pub fn of(expires: Option<u64>, reason: &str) -> Noted {
        (expires.is_some() || !reason.is_empty()).then(|| Arc::new(Note { expires, reason: reason.into() }))
    }

    pub fn expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + size_of::<Note>() + self.reason.len()
    }
}
