//! What a folder comes to when it is opened.
//!
//! Owns the choice of the segment that counts and the account of what does not. Which bytes of a segment count is
//! decided in `segment`; here they are only fetched.

use crate::error::{Failure, OpenError, Phase};
use crate::folder::Folder;
use crate::group::{Flaw, Records};
use crate::segment::{self, After, Head, Rest, Unreadable};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::path::Path;

/// The end of a crash, cut off: a commit that nobody was told of. (While the journal is halted it is still in the
/// file; the next segment says that it does not count.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    pub segment: NonZeroU64,
    /// Where the segment ends now. Unit: bytes from its beginning.
    pub offset: u64,
    pub dropped_bytes: u64,
    pub why: Flaw,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { segment, offset, dropped_bytes, why } = self;
        write!(
            f,
            "{dropped_bytes} bytes of a commit that never ended were cut off segment {segment} at byte {offset}: {why}"
        )
    }
}

/// Something that was committed is not what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    pub segment: NonZeroU64,
    /// What stands before counts; none of the segment if that is its head or snapshot. Unit: bytes.
    pub offset: u64,
    pub why: Flaw,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { segment, offset, why } = self;
        write!(f, "segment {segment} is damaged at byte {offset}: {why}")
    }
}

impl std::error::Error for Damage {}

/// What was found: the newest readable segment and what is wrong.
///
/// Holds that segment's bytes, so drop it once it is read.
#[derive(Debug)]
pub struct Recovered {
    bytes: Vec<u8>,
    found: Option<Found>,
    /// Of the segment that counts.
    pub cut: Option<Cut>,
    /// Newest first: segments that were passed over, then what ended the one that counts.
    pub damage: Vec<Damage>,
}

/// What the journal must know to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub head: Head,
    pub snapshot_end: usize,
    pub end: usize,
    pub last_number: u64,
    pub check: u32,
}

impl Recovered {
    /// The segment that counts; none in a new folder, and none if every segment is damaged.
    pub fn segment(&self) -> Option<NonZeroU64> {
        self.found.map(|found| found.head.number)
    }

    /// The snapshot that the segment begins with.
    pub fn snapshot(&self) -> Records<'_> {
        self.between(|found| (segment::HEAD_BYTES, found.snapshot_end))
    }

    /// What was committed behind the snapshot.
    pub fn committed(&self) -> Records<'_> {
        self.between(|found| (found.snapshot_end, found.end))
    }

    /// Both.
    pub fn records(&self) -> impl Iterator<Item = crate::Record<'_>> {
        self.snapshot().chain(self.committed())
    }

    /// The highest number ever recorded, as far as it is known: the next record's is not below it.
    pub fn last_number(&self) -> u64 {
        self.found.map_or(0, |found| found.last_number)
    }

    fn between(&self, bounds: impl Fn(&Found) -> (usize, usize)) -> Records<'_> {
        let (start, end) = self.found.as_ref().map_or((0, 0), bounds);
        Records::of(&self.bytes[start..end])
    }

    pub(crate) fn found(&self) -> Option<Found> {
        self.found
    }

    /// Where the journal ends, for the segment that follows.
    pub(crate) fn after(&self) -> Option<After> {
        self.found.map(|found| After { segment: found.head.number, bytes: found.end as u64 })
    }
}

/// Looks through the segments, newest first, for one that counts. Changes nothing.
pub(crate) fn recover(folder: &Folder, segments: &[NonZeroU64]) -> Result<Recovered, OpenError> {
    let mut damage = Vec::new();
    for number in segments.iter().rev().copied() {
        let path = folder.segment(number);
        let (bytes, broken_off) = read(&path)?;
        let (offset, why) = match segment::read(&bytes) {
            Ok(segment) if segment.head.number != number => {
                (0, Flaw::OtherSegment { found: segment.head.number.get() })
            }
            Ok(segment) => {
                let &segment::Segment { head, snapshot_end, end, last_number, rest, check, .. } = &segment;
                let found = Found { head, snapshot_end, end, last_number, check };
                let offset = end as u64;
                let mut cut = None;
                match rest {
                    // Behind the place where reading ends may be anything.
                    _ if broken_off => damage.push(Damage { segment: number, offset, why: Flaw::ReadError }),
                    Rest::Nothing => {}
                    Rest::Damaged(why) => damage.push(Damage { segment: number, offset, why }),
                    Rest::Torn(why) => {
                        cut = Some(Cut { segment: number, offset, dropped_bytes: bytes.len() as u64 - offset, why });
                    }
                }
                return Ok(Recovered { bytes, found: Some(found), cut, damage });
            }
            Err(Unreadable::Format { found }) => return Err(OpenError::Format { path, found }),
            Err(Unreadable::Flawed { offset, .. }) if broken_off => (offset, Flaw::ReadError),
            Err(Unreadable::Flawed { offset, flaw }) => (offset, flaw),
        };
        damage.push(Damage { segment: number, offset, why });
    }
    Ok(Recovered { bytes: Vec::new(), found: None, cut: None, damage })
}

/// All of a file, or what could be read of it and `true` if the disk gave up (`EIO`): that is damage, with older
/// segments to fall back to. A file that may not be read is an operator's slip, and falling back would hide it.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, bool), Failure> {
    const EIO: i32 = 5;
    let mut file = File::open(path).map_err(Failure::of(Phase::Open, path))?;
    let mut bytes = Vec::new();
    match file.read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, false)),
        Err(error) if error.raw_os_error() == Some(EIO) => Ok((bytes, true)),
        Err(error) => Err(Failure::of(Phase::Read, path)(error)),
    }
}
