//! The past, newest first.
//!
//! Owns the walk back through the segments, along what each says was before it. One segment is in memory at a time.

use crate::OpenError;
use crate::folder::Folder;
use crate::group::Flaw;
use crate::recovery::{Damage, read};
use crate::segment::{self, After, Rest, Unreadable};
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

/// A record of the past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    pub kind: u8,
    pub number: u64,
    pub payload: Box<[u8]>,
    /// It is of the snapshot that its segment begins with, so it says again what older segments say.
    pub of_snapshot: bool,
}

/// What keeps a part of the past from being told.
#[derive(Clone, Debug)]
pub enum Gap {
    /// What stands before it, and in older segments, is told next.
    Damaged(Damage),
    /// It ends here.
    Unreadable(OpenError),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gap::Damaged(damage) => damage.fmt(f),
            Gap::Unreadable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Gap {}

/// Records with lower numbers, newest first; see [`crate::Journal::records_before`].
///
/// Numbers descend within a segment's committed records and within its snapshot. Ends at the oldest segment kept.
/// The folder is held as long as one of these is.
#[derive(Debug)]
pub struct Before {
    folder: Arc<Folder>,
    number: u64,
    /// Of the segment in hand, oldest first: taken from the end.
    records: Vec<Past>,
    /// The segment to be read next, and where its history ends.
    next: Option<(NonZeroU64, Option<u64>)>,
}

impl Before {
    pub(crate) fn new(folder: Arc<Folder>, number: u64, end: Option<After>) -> Before {
        let next = end.map(|After { segment, bytes }| (segment, Some(bytes)));
        Before { folder, number, records: Vec::new(), next }
    }

    /// Takes a segment in hand. What is wrong with it is told before its records.
    fn read_segment(&mut self, number: NonZeroU64, end: Option<u64>) -> Result<(), Gap> {
        let path = self.folder.segment(number);
        let (mut bytes, broken_off) = match read(&path) {
            Ok(read) => read,
            // Removed with age: the past ends here.
            Err(failure) if failure.error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(failure) => return Err(Gap::Unreadable(failure.into())),
        };
        if let Some(end) = end {
            // What stands behind was never committed.
            bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        }
        let damaged = |offset, why| Err(Gap::Damaged(Damage { segment: number, offset, why }));
        let (segment, wrong) = match segment::read(&bytes) {
            Ok(segment) if segment.head.number == number => {
                let offset = segment.end as u64;
                let missing = end.is_some_and(|end| offset < end);
                let wrong = match segment.rest {
                    _ if broken_off && missing => damaged(offset, Flaw::ReadError),
                    Rest::Damaged(why) => damaged(offset, why),
                    Rest::Torn(why) if missing => damaged(offset, why),
                    Rest::Nothing if missing => damaged(offset, Flaw::Short),
                    Rest::Nothing | Rest::Torn(_) => Ok(()),
                };
                (segment, wrong)
            }
            Err(Unreadable::Format { found }) => return Err(Gap::Unreadable(OpenError::Format { path, found })),
            flawed => {
                // Where it came from cannot be known: the one with the next lower number, if there is one.
                self.next = NonZeroU64::new(number.get() - 1).map(|older| (older, None));
                return match flawed {
                    Ok(other) => damaged(0, Flaw::OtherSegment { found: other.head.number.get() }),
                    Err(Unreadable::Flawed { offset, flaw }) => {
                        damaged(offset, if broken_off { Flaw::ReadError } else { flaw })
                    }
                    Err(Unreadable::Format { .. }) => unreachable!("answered above"),
                };
            }
        };
        self.next = segment.head.after.map(|After { segment, bytes }| (segment, Some(bytes)));
        let of_snapshot = segment.snapshot().map(|record| (record, true));
        let records = of_snapshot.chain(segment.committed().map(|record| (record, false)));
        let before = records.filter(|(record, _)| record.number < self.number);
        self.records.extend(before.map(|(record, of_snapshot)| Past {
            kind: record.kind,
            number: record.number,
            payload: record.payload.into(),
            of_snapshot,
        }));
        wrong
    }
}

impl Iterator for Before {
    type Item = Result<Past, Gap>;

    fn next(&mut self) -> Option<Result<Past, Gap>> {
        loop {
            if let Some(record) = self.records.pop() {
                return Some(Ok(record));
            }
            let (number, end) = self.next.take()?;
            if let Err(gap) = self.read_segment(number, end) {
                return Some(Err(gap));
            }
        }
    }
}
