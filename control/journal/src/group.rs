//! A group: the records of one commit as bytes, and what shows that they are all there and in their place.
//!
//! Owns the framing of groups and records. Pure: bytes in, bytes or [`Flaw`] out. Knows neither files nor which
//! groups make a segment.
//!
//! ```text
//! group     mark 4 │ length 4 │ previous 4 │ body check 4 │ head check 4 │ body: records
//! record    kind 1 │ number 8 │ length 4 │ payload
//! ```
//!
//! Numbers are little-endian, checks are CRC-32. The head's check covers the head and, unwritten, its place: the
//! *birth* of the segment, which no other has, and the offset in it. So what an older file left on the disk, a
//! group written twice and a group of another segment fail. `previous` is the head check of the group before: a
//! group that stands where another stood when its successor was written breaks the chain. The mark is not zero, so
//! zeros fail; the head has a check of its own, so a length is believed before its body is looked at, and a head is
//! found by looking at 20 bytes.

use crc32fast::Hasher;
use std::fmt;

pub(crate) const HEAD_BYTES: usize = 20;
pub(crate) const RECORD_HEAD_BYTES: usize = 13;

/// Not UTF-8, so no text has it.
const MARK: [u8; 4] = *b"\xf5grp";
/// Everything of the head but its own check.
const HEAD_CHECKED: usize = 16;
/// Room that an empty group keeps: one large commit costs no memory for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What the caller says and gets back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The caller's own.
    pub kind: u8,
    /// Never less than that of the record before; several may speak of one number.
    pub number: u64,
    pub payload: &'a [u8],
}

/// Where a group stands. Part of its check, not of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Of the segment.
    pub birth: u64,
    /// Of the group's first byte. Unit: bytes from the beginning of the segment.
    pub offset: u64,
}

/// Why bytes are no group, or no segment, that was written here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The file ends inside.
    Short,
    /// Nothing begins here. Zeros, for instance.
    NoMark,
    /// The head is not what was written, or not written for this place.
    HeadCheck,
    /// The head is, the body is not.
    BodyCheck,
    /// The group before is not the one that was there when this one was written.
    Chain,
    /// As it was written, but no row of records with numbers that never descend.
    Malformed,
    /// A segment with this number in its head.
    OtherSegment { found: u64 },
    /// The system cannot read on (`EIO`).
    ReadError,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Short => f.write_str("the file ends inside of what begins there"),
            Flaw::NoMark => f.write_str("nothing that was written by a commit begins there"),
            Flaw::HeadCheck => f.write_str("the head there does not match its checksum and place"),
            Flaw::BodyCheck => f.write_str("the records there do not match their checksum"),
            Flaw::Chain => f.write_str("the commit there was written behind another one than stands before it"),
            Flaw::Malformed => f.write_str("the commit there matches its checksum, but holds no ascending records"),
            Flaw::OtherSegment { found } => write!(f, "the head there is that of segment {found}"),
            Flaw::ReadError => f.write_str("the system cannot read on from there"),
        }
    }
}

/// A commit that is being put together.
#[derive(Debug)]
pub(crate) struct Group {
    /// Room for the head, then the records.
    bytes: Vec<u8>,
}

impl Group {
    pub fn new() -> Group {
        Group { bytes: vec![0; HEAD_BYTES] }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD_BYTES
    }

    /// With its head. Unit: bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The caller has compared lengths with the bounds.
    pub fn push(&mut self, record: Record<'_>) {
        let length = u32::try_from(record.payload.len()).expect("a record is shorter than a commit");
        self.bytes.push(record.kind);
        self.bytes.extend_from_slice(&record.number.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(record.payload);
    }

    /// The group's bytes at this place behind a group (or segment head) with the check `previous`, and its own
    /// check for the next one. The same records may be sealed again elsewhere.
    pub fn seal(&mut self, place: Place, previous: u32) -> (&[u8], u32) {
        let (head, body) = self.bytes.split_at_mut(HEAD_BYTES);
        let length = u32::try_from(body.len()).expect("`Bounds::commit_bytes_max` has 32 bits");
        head[..4].copy_from_slice(&MARK);
        head[4..8].copy_from_slice(&length.to_le_bytes());
        head[8..12].copy_from_slice(&previous.to_le_bytes());
        head[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        let check = head_check(&head[..HEAD_CHECKED], place);
        head[HEAD_CHECKED..].copy_from_slice(&check.to_le_bytes());
        (&self.bytes, check)
    }

    pub fn clear(&mut self) {
        self.bytes.truncate(HEAD_BYTES);
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

/// A group that was found whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    /// Head and body. Unit: bytes.
    pub bytes: usize,
    /// For the next one.
    pub check: u32,
    /// The last record's number; none of a group without records.
    pub last_number: Option<u64>,
}

/// Reads the group at the beginning of `bytes`, which go on to the end of the segment. `last_number` is that of the
/// record before it. Allocates nothing.
pub(crate) fn read(bytes: &[u8], place: Place, previous: u32, mut last_number: u64) -> Result<Whole, Flaw> {
    let head = Head::read(bytes, place)?;
    let body = bytes[HEAD_BYTES..].get(..head.length).ok_or(Flaw::Short)?;
    if crc32fast::hash(body) != head.body_check {
        return Err(Flaw::BodyCheck);
    }
    if head.previous != previous {
        return Err(Flaw::Chain);
    }
    let (mut rest, mut last) = (body, None);
    while !rest.is_empty() {
        let (record, behind) = split_record(rest).ok_or(Flaw::Malformed)?;
        if record.number < last_number {
            return Err(Flaw::Malformed);
        }
        last_number = record.number;
        last = Some(record.number);
        rest = behind;
    }
    Ok(Whole { bytes: HEAD_BYTES + head.length, check: head.check, last_number: last })
}

/// Whether the head of a group stands somewhere in `bytes`, of which the first is at `place`.
///
/// Its body need not be whole: that it was begun shows that what is before it was synced.
pub(crate) fn any_head(bytes: &[u8], place: Place) -> bool {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == MARK[0]) {
        at += found;
        if Head::read(&bytes[at..], Place { offset: place.offset + at as u64, ..place }).is_ok() {
            return true;
        }
        at += 1;
    }
    false
}

struct Head {
    length: usize,
    previous: u32,
    body_check: u32,
    check: u32,
}

impl Head {
    fn read(bytes: &[u8], place: Place) -> Result<Head, Flaw> {
        let marked = bytes.len().min(MARK.len());
        if bytes[..marked] != MARK[..marked] {
            return Err(Flaw::NoMark);
        }
        let head = bytes.get(..HEAD_BYTES).ok_or(Flaw::Short)?;
        let check = u32_at(head, HEAD_CHECKED);
        if head_check(&head[..HEAD_CHECKED], place) != check {
            return Err(Flaw::HeadCheck);
        }
        Ok(Head { length: u32_at(head, 4) as usize, previous: u32_at(head, 8), body_check: u32_at(head, 12), check })
    }
}

fn head_check(head: &[u8], place: Place) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&place.birth.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(head);
    hasher.finalize()
}

fn split_record(body: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let head = body.get(..RECORD_HEAD_BYTES)?;
    let (kind, number, length) = (head[0], u64_at(head, 1), u32_at(head, 9) as usize);
    let behind = &body[RECORD_HEAD_BYTES..];
    let payload = behind.get(..length)?;
    Some((Record { kind, number, payload }, &behind[length..]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Groups that [`read`] has accepted, one by one.
pub(crate) fn each(mut groups: &[u8]) -> impl Iterator<Item = Records<'_>> {
    std::iter::from_fn(move || {
        let body = groups.get(HEAD_BYTES..)?;
        let (body, behind) = body.split_at(u32_at(groups, 4) as usize);
        groups = behind;
        Some(Records { body, groups: &[] })
    })
}

/// The records of groups that were all found whole, in order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    /// Of the group that is being read.
    body: &'a [u8],
    groups: &'a [u8],
}

impl<'a> Records<'a> {
    /// Of groups that [`read`] has accepted, one behind the other.
    pub(crate) fn of(groups: &'a [u8]) -> Records<'a> {
        Records { body: &[], groups }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        while self.body.is_empty() {
            let (head, behind) = self.groups.split_at_checked(HEAD_BYTES)?;
            (self.body, self.groups) = behind.split_at(u32_at(head, 4) as usize);
        }
        let (record, behind) = split_record(self.body).expect("the group was found whole");
        self.body = behind;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { birth: 0x1234_5678_9abc_def0, offset: 60 };
    const PREVIOUS: u32 = 77;

    fn record(kind: u8, number: u64, payload: &[u8]) -> Record<'_> {
        Record { kind, number, payload }
    }

    fn sealed(records: &[Record<'_>]) -> Vec<u8> {
        let mut group = Group::new();
        records.iter().for_each(|record| group.push(*record));
        group.seal(PLACE, PREVIOUS).0.to_vec()
    }

    /// What reading `bytes` at this place, behind this check and number, comes to.
    #[track_caller]
    fn check(bytes: &[u8], place: Place, previous: u32, last_number: u64, expected: Result<usize, Flaw>) {
        assert_eq!(read(bytes, place, previous, last_number).map(|whole| whole.bytes), expected);
    }

    #[test]
    fn what_was_sealed_is_read() {
        for records in
            [&[][..], &[record(1, 5, b"")], &[record(1, 5, b"one"), record(255, 5, b"two"), record(0, 6, b"")]]
        {
            let mut bytes = sealed(records);
            let length = bytes.len();
            let whole = read(&bytes, PLACE, PREVIOUS, 5).expect("it is whole");
            assert_eq!((whole.bytes, whole.last_number), (length, records.last().map(|last| last.number)));
            assert_eq!(Records::of(&bytes).collect::<Vec<_>>(), records);
            bytes.extend_from_slice(b"what comes behind does not matter");
            check(&bytes, PLACE, PREVIOUS, 5, Ok(length));
        }
    }

    #[test]
    fn each_flaw_has_its_name() {
        let group = sealed(&[record(1, 5, b"payload")]);
        let length = group.len();
        check(&group, PLACE, PREVIOUS, 5, Ok(length));
        check(&group, PLACE, PREVIOUS, 6, Err(Flaw::Malformed));
        check(&group, PLACE, PREVIOUS + 1, 0, Err(Flaw::Chain));
        check(&group, Place { offset: PLACE.offset + 1, ..PLACE }, PREVIOUS, 0, Err(Flaw::HeadCheck));
        check(&group, Place { birth: PLACE.birth + 1, ..PLACE }, PREVIOUS, 0, Err(Flaw::HeadCheck));
        check(&[0; 4096], PLACE, PREVIOUS, 0, Err(Flaw::NoMark));
        check(&[0], PLACE, PREVIOUS, 0, Err(Flaw::NoMark));
        let mut bent = group.clone();
        bent[length - 1] ^= 1;
        check(&bent, PLACE, PREVIOUS, 0, Err(Flaw::BodyCheck));
        let descending = sealed(&[record(1, 5, b""), record(1, 4, b"")]);
        check(&descending, PLACE, PREVIOUS, 0, Err(Flaw::Malformed));
    }

    #[test]
    fn a_body_that_is_no_row_of_records_is_malformed_even_with_good_checks() {
        let lengths_that_lie = [1_u32, 8, u32::MAX];
        for length in lengths_that_lie {
            let mut group = Group::new();
            group.push(record(1, 5, b"payload"));
            let at = HEAD_BYTES + RECORD_HEAD_BYTES - 4;
            group.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            let (bytes, _) = group.seal(PLACE, PREVIOUS);
            check(bytes, PLACE, PREVIOUS, 0, Err(Flaw::Malformed));
        }
    }

    #[test]
    fn no_cut_and_no_flipped_bit_passes() {
        let group = sealed(&[record(1, 5, b"payload"), record(2, 6, b"more")]);
        for length in 0..group.len() {
            check(&group[..length], PLACE, PREVIOUS, 0, Err(Flaw::Short));
        }
        for at in 0..group.len() {
            for bit in 0..8 {
                let mut bent = group.clone();
                bent[at] ^= 1 << bit;
                assert!(read(&bent, PLACE, PREVIOUS, 0).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_head_is_found_at_its_place_only() {
        let group = sealed(&[record(1, 5, b"payload")]);
        for before in 0..40 {
            let mut bytes = vec![MARK[0]; before];
            bytes.extend_from_slice(&group[..HEAD_BYTES]);
            let first = Place { offset: PLACE.offset - before as u64, ..PLACE };
            assert!(any_head(&bytes, first), "behind {before} bytes");
            assert!(!any_head(&bytes, Place { offset: first.offset + 1, ..first }));
            assert!(!any_head(&bytes[..bytes.len() - 1], first));
        }
    }

    #[test]
    fn the_room_of_a_large_group_is_given_back() {
        let mut group = Group::new();
        group.push(record(1, 1, &vec![0; 2 * KEPT_BYTES_MAX]));
        group.clear();
        assert!(group.is_empty());
        assert!(group.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
