//! A segment: a head, a snapshot, and the groups that were committed behind it, as bytes.
//!
//! Owns the segment's head and the rule by which its end is told from damage. Pure: the whole file in, what
//! counts of it out, borrowed from it. Knows neither files nor other segments.
//!
//! ```text
//! head   magic 8 │ format 4 │ check 4 │ number 8 │ birth 8 │ floor 8 │ after: segment 8, bytes 8 │ check 4
//! ```
//!
//! The first two fields and their check stand in every format at the same place, so that a segment of another
//! format is told from a damaged one.

use crate::group::{self, Flaw, Group, Place, Record, Records, u32_at, u64_at};
use std::num::NonZeroU64;

/// The number of this layout. It changes with every change of it.
pub const FORMAT: u32 = 1;

pub const HEAD_BYTES: usize = 60;

const MAGIC: [u8; 8] = *b"sluicejn";
/// Magic and format.
const PREAMBLE_CHECKED: usize = 12;
/// With their check.
const PREAMBLE: usize = 16;
/// Everything of the head but its own check, which is the one that the first group follows.
const HEAD_CHECKED: usize = 56;

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Also the file's name; from 1.
    pub number: NonZeroU64,
    /// Chance. No other segment has it, also none of the same number that was given up before it was complete.
    pub birth: u64,
    /// The highest number of any record before this segment: what comes behind the snapshot is not below it.
    pub floor: u64,
    /// The segment before, if there was one.
    pub after: Option<After>,
}

/// Where the history before a segment ends. What stands behind it in that segment was never committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct After {
    pub segment: NonZeroU64,
    /// Unit: bytes from the beginning of that segment.
    pub bytes: u64,
}

impl Head {
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..PREAMBLE_CHECKED].copy_from_slice(&FORMAT.to_le_bytes());
        let check = crc32fast::hash(&bytes[..PREAMBLE_CHECKED]);
        bytes[PREAMBLE_CHECKED..PREAMBLE].copy_from_slice(&check.to_le_bytes());
        let (after_segment, after_bytes) = self.after.map_or((0, 0), |after| (after.segment.get(), after.bytes));
        let fields = [self.number.get(), self.birth, self.floor, after_segment, after_bytes];
        for (field, place) in fields.iter().zip(bytes[PREAMBLE..HEAD_CHECKED].chunks_exact_mut(8)) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let check = crc32fast::hash(&bytes[..HEAD_CHECKED]);
        bytes[HEAD_CHECKED..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the head at the beginning of a segment.
    pub fn decode(bytes: &[u8]) -> Result<Head, Unreadable> {
        let flawed = |flaw| Unreadable::Flawed { offset: 0, flaw };
        let preamble = bytes.get(..PREAMBLE).ok_or(flawed(Flaw::Short))?;
        if preamble[..8] != MAGIC {
            return Err(flawed(Flaw::NoMark));
        }
        if crc32fast::hash(&preamble[..PREAMBLE_CHECKED]) != u32_at(preamble, PREAMBLE_CHECKED) {
            return Err(flawed(Flaw::HeadCheck));
        }
        let format = u32_at(preamble, 8);
        if format != FORMAT {
            return Err(Unreadable::Format { found: format });
        }
        let head = bytes.get(..HEAD_BYTES).ok_or(flawed(Flaw::Short))?;
        if crc32fast::hash(&head[..HEAD_CHECKED]) != u32_at(head, HEAD_CHECKED) {
            return Err(flawed(Flaw::HeadCheck));
        }
        let field = |ix: usize| u64_at(head, PREAMBLE + 8 * ix);
        let number = NonZeroU64::new(field(0)).ok_or(flawed(Flaw::Malformed))?;
        let after = match (NonZeroU64::new(field(3)), field(4)) {
            // Only to lower ones, so that a walk back ends.
            (Some(segment), bytes) if segment < number => Some(After { segment, bytes }),
            (None, 0) => None,
            _ => return Err(flawed(Flaw::Malformed)),
        };
        Ok(Head { number, birth: field(1), floor: field(2), after })
    }

    /// What the first group follows.
    pub(crate) fn check(&self) -> u32 {
        u32_at(&self.encode(), HEAD_CHECKED)
    }
}

/// Nothing of the segment counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Written by another version. Nothing is wrong with it.
    Format { found: u32 },
    /// Head or snapshot are not whole, which no crash leaves: a segment has its name once it is synced.
    Flawed { offset: u64, flaw: Flaw },
}

/// What stands behind the last group that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    Nothing,
    /// The end of a crash: a commit that nobody was told of.
    Torn(Flaw),
    /// Something that was committed once.
    Damaged(Flaw),
}

/// What counts of a segment.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    pub head: Head,
    /// All of it, the rest too.
    bytes: &'a [u8],
    /// Behind the snapshot. Unit: bytes from the beginning, as `end`.
    pub snapshot_end: usize,
    /// Behind the last group that counts.
    pub end: usize,
    /// The highest number up to `end`, the head's floor counted.
    pub last_number: u64,
    pub rest: Rest,
    /// Of the last group that counts: what the next one follows.
    pub(crate) check: u32,
}

impl<'a> Segment<'a> {
    /// The records of the snapshot.
    pub fn snapshot(&self) -> Records<'a> {
        Records::of(&self.bytes[HEAD_BYTES..self.snapshot_end])
    }

    /// Those behind it.
    pub fn committed(&self) -> Records<'a> {
        Records::of(&self.bytes[self.snapshot_end..self.end])
    }

    /// The same commit by commit, the snapshot first.
    pub fn groups(&self) -> impl Iterator<Item = Records<'a>> {
        group::each(&self.bytes[HEAD_BYTES..self.end])
    }
}

/// Reads a whole segment. Allocates nothing.
pub fn read(bytes: &[u8]) -> Result<Segment<'_>, Unreadable> {
    let head = Head::decode(bytes)?;
    let place = |offset: usize| Place { birth: head.birth, offset: offset as u64 };
    // The snapshot stands for what was before, so its own numbers begin anywhere.
    let snapshot = group::read(&bytes[HEAD_BYTES..], place(HEAD_BYTES), head.check(), 0)
        .map_err(|flaw| Unreadable::Flawed { offset: HEAD_BYTES as u64, flaw })?;
    let snapshot_end = HEAD_BYTES + snapshot.bytes;
    let mut segment = Segment {
        head,
        bytes,
        snapshot_end,
        end: snapshot_end,
        last_number: head.floor.max(snapshot.last_number.unwrap_or(0)),
        rest: Rest::Nothing,
        check: snapshot.check,
    };
    while segment.end < bytes.len() {
        let behind = &bytes[segment.end..];
        match group::read(behind, place(segment.end), segment.check, segment.last_number) {
            Ok(whole) => {
                segment.end += whole.bytes;
                segment.check = whole.check;
                segment.last_number = whole.last_number.unwrap_or(segment.last_number);
            }
            Err(flaw) => {
                let written_once = matches!(flaw, Flaw::Chain | Flaw::Malformed);
                let followed = || group::any_head(&behind[1..], place(segment.end + 1));
                segment.rest = if written_once || followed() { Rest::Damaged(flaw) } else { Rest::Torn(flaw) };
                break;
            }
        }
    }
    Ok(segment)
}

/// Puts a segment together in memory: head, snapshot, commits. The journal writes the same bytes to a file.
pub struct Writer {
    bytes: Vec<u8>,
    birth: u64,
    check: u32,
}

impl Writer {
    pub fn new<'a>(head: Head, snapshot: impl IntoIterator<Item = Record<'a>>) -> Writer {
        let mut writer = Writer { bytes: head.encode().to_vec(), birth: head.birth, check: head.check() };
        writer.commit(snapshot);
        writer
    }

    /// One group of these records. Their numbers are not looked at.
    pub fn commit<'a>(&mut self, records: impl IntoIterator<Item = Record<'a>>) {
        let mut group = Group::new();
        records.into_iter().for_each(|record| group.push(record));
        let place = Place { birth: self.birth, offset: self.bytes.len() as u64 };
        let (bytes, check) = group.seal(place, self.check);
        self.bytes.extend_from_slice(bytes);
        self.check = check;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const BIRTH: u64 = 0xfeed_5eed_0bad_cafe;

    fn head() -> Head {
        let after = After { segment: NonZeroU64::new(6).expect("not 0"), bytes: 4096 };
        Head { number: NonZeroU64::new(7).expect("not 0"), birth: BIRTH, floor: 9, after: Some(after) }
    }

    /// Groups of records as (kind, number, payload); the first is the snapshot.
    type Groups = Vec<Vec<(u8, u64, Vec<u8>)>>;

    fn records(group: &[(u8, u64, Vec<u8>)]) -> impl Iterator<Item = Record<'_>> {
        group.iter().map(|(kind, number, payload)| Record { kind: *kind, number: *number, payload })
    }

    /// The segment's bytes, and where each group ends.
    fn written(groups: &Groups) -> (Vec<u8>, Vec<usize>) {
        let mut writer = Writer::new(head(), records(&groups[0]));
        let mut ends = vec![writer.bytes().len()];
        for group in &groups[1..] {
            writer.commit(records(group));
            ends.push(writer.bytes().len());
        }
        (writer.bytes, ends)
    }

    fn sample() -> Groups {
        let record = |kind, number, text: &str| (kind, number, text.as_bytes().to_vec());
        vec![
            vec![record(1, 8, "a whole document")],
            vec![record(2, 10, "a change"), record(3, 10, "its receipt")],
            vec![record(2, 11, "")],
            vec![record(3, 12, "one that kept the old")],
        ]
    }

    /// Asserts that exactly the first `count` groups are found.
    #[track_caller]
    fn assert_found(segment: &Segment<'_>, groups: &Groups, count: usize) {
        let expected: Vec<Record<'_>> = groups[..count].iter().flat_map(|group| records(group)).collect();
        assert_eq!(segment.snapshot().chain(segment.committed()).collect::<Vec<_>>(), expected);
        assert_eq!(segment.snapshot().count(), groups[0].len());
    }

    #[test]
    fn a_head_is_what_was_written() {
        let first = Head { number: NonZeroU64::MIN, birth: 0, floor: 0, after: None };
        for head in [head(), first] {
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
    }

    #[test]
    fn a_head_that_says_what_cannot_be_is_malformed() {
        let before = |segment, bytes| Some(After { segment: NonZeroU64::new(segment).expect("not 0"), bytes });
        let malformed = Err(Unreadable::Flawed { offset: 0, flaw: Flaw::Malformed });
        for after in [before(7, 0), before(8, 0), before(u64::MAX, 0)] {
            assert_eq!(Head::decode(&Head { after, ..head() }.encode()), malformed, "after {after:?}");
        }
    }

    #[test]
    fn another_format_says_so_and_a_damaged_one_is_not_another() {
        let mut bytes = head().encode().to_vec();
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        assert_eq!(Head::decode(&bytes), Err(Unreadable::Flawed { offset: 0, flaw: Flaw::HeadCheck }));
        let check = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        assert_eq!(Head::decode(&bytes), Err(Unreadable::Format { found: 2 }));
        // However it goes on.
        assert_eq!(Head::decode(&bytes[..16]), Err(Unreadable::Format { found: 2 }));
    }

    #[test]
    fn a_whole_segment_is_read() {
        let groups = sample();
        let (bytes, ends) = written(&groups);
        let segment = read(&bytes).expect("it is whole");
        assert_found(&segment, &groups, 4);
        assert_eq!((segment.rest, segment.snapshot_end, segment.end), (Rest::Nothing, ends[0], ends[3]));
        assert_eq!((segment.head, segment.last_number), (head(), 12));
    }

    #[test]
    fn numbers_go_on_from_the_floor_and_from_the_snapshot() {
        let record = |number| (1, number, Vec::new());
        let rest = |snapshot: u64, then: u64| {
            let (bytes, _) = written(&vec![vec![record(snapshot)], vec![record(then)]]);
            read(&bytes).expect("the snapshot is whole").rest
        };
        assert_eq!(rest(3, 9), Rest::Nothing);
        assert_eq!(rest(3, 8), Rest::Damaged(Flaw::Malformed));
        assert_eq!(rest(20, 20), Rest::Nothing);
        assert_eq!(rest(20, 19), Rest::Damaged(Flaw::Malformed));
    }

    /// What is behind the last commit can be the beginning of one, or what the disk had there before.
    #[test]
    fn what_a_crash_leaves_behind_is_torn() {
        let groups = sample();
        let (whole, ends) = written(&groups);
        let check = |behind: &[u8], flaw: Flaw| {
            let bytes = [&whole[..], behind].concat();
            let segment = read(&bytes).expect("it is readable");
            assert_found(&segment, &groups, 4);
            assert_eq!((segment.rest, segment.end), (Rest::Torn(flaw), whole.len()), "{behind:?}");
        };
        check(&[0], Flaw::NoMark);
        check(&[0; 5000], Flaw::NoMark);
        check(b"text of another file", Flaw::NoMark);
        // Groups of this very segment, in another place.
        check(&whole[ends[2]..], Flaw::HeadCheck);
        check(&whole[ends[0]..], Flaw::HeadCheck);
        // The same place in another segment: one that was given up, with the same number.
        let mut other = Writer::new(Head { birth: BIRTH + 1, ..head() }, records(&groups[0]));
        groups[1..].iter().for_each(|group| other.commit(records(group)));
        other.commit([Record { kind: 2, number: 13, payload: b"never" }]);
        check(&other.bytes()[whole.len()..], Flaw::HeadCheck);
    }

    /// A disk that lost a write shows what it had: a group of this segment, in its place, and not the one that its
    /// successor was written behind.
    #[test]
    fn a_lost_overwrite_breaks_the_chain() {
        let groups = sample();
        let (mut bytes, ends) = written(&groups);
        let mut older = groups.clone();
        older[2] = vec![(9, 11, Vec::new())];
        let (stale, _) = written(&older);
        bytes[ends[1]..ends[2]].copy_from_slice(&stale[ends[1]..ends[2]]);
        let segment = read(&bytes).expect("it is readable");
        assert_eq!((segment.rest, segment.end), (Rest::Damaged(Flaw::Chain), ends[2]));
    }

    #[test]
    fn a_cut_anywhere_leaves_the_commits_before_it() {
        let groups = sample();
        let (bytes, ends) = written(&groups);
        for length in 0..=bytes.len() {
            let found = ends.iter().filter(|end| **end <= length).count();
            let Ok(segment) = read(&bytes[..length]) else {
                assert_eq!(found, 0, "cut at {length}");
                continue;
            };
            assert_found(&segment, &groups, found);
            let rest = if ends[found - 1] == length { Rest::Nothing } else { Rest::Torn(Flaw::Short) };
            assert_eq!(segment.rest, rest, "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_unless_it_is_in_the_last_commit() {
        let groups = sample();
        let (bytes, ends) = written(&groups);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bent = bytes.clone();
                bent[at] ^= 1 << bit;
                let before = ends.iter().filter(|end| **end <= at).count();
                match read(&bent) {
                    Ok(segment) => {
                        assert_found(&segment, &groups, before);
                        let last = before + 1 == groups.len();
                        assert_eq!(
                            matches!(segment.rest, Rest::Torn(_)),
                            last,
                            "byte {at}, bit {bit}: {:?}",
                            segment.rest
                        );
                        assert_eq!(matches!(segment.rest, Rest::Damaged(_)), !last, "byte {at}, bit {bit}");
                    }
                    Err(unreadable) => {
                        assert_eq!(before, 0, "byte {at}, bit {bit}");
                        assert!(
                            matches!(unreadable, Unreadable::Flawed { .. }),
                            "byte {at}, bit {bit}: {unreadable:?}"
                        );
                    }
                }
            }
        }
    }

    fn some_groups() -> impl Strategy<Value = Groups> {
        let group = vec((any::<u8>(), 0_u64..3, vec(any::<u8>(), 0..60)), 0..4);
        vec(group, 1..7).prop_map(|mut groups| {
            let mut number = 9;
            for (_, step, _) in groups.iter_mut().flatten() {
                number += *step;
                *step = number;
            }
            groups
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is read, written again, is the same bytes.
        #[test]
        fn groups_are_read_as_they_were_written(groups in some_groups()) {
            let (bytes, ends) = written(&groups);
            let segment = read(&bytes).expect("it is whole");
            assert_found(&segment, &groups, groups.len());
            prop_assert_eq!(segment.rest, Rest::Nothing);
            prop_assert_eq!(segment.end, *ends.last().expect("a snapshot"));
        }

        #[test]
        fn any_cut_and_any_flip_leave_a_prefix(groups in some_groups()) {
            let (bytes, ends) = written(&groups);
            for at in 0..bytes.len() {
                let before = ends.iter().filter(|end| **end <= at).count();
                if let Ok(segment) = read(&bytes[..at]) {
                    assert_found(&segment, &groups, before);
                }
                let mut bent = bytes.clone();
                bent[at] ^= 0x10;
                if let Ok(segment) = read(&bent) {
                    assert_found(&segment, &groups, before);
                }
            }
        }

        /// A power cut during the last commit: the file has any length up to the new one, and of the pages that were
        /// being written any may have come, in any order. What was synced is there, and it never looks like damage.
        #[test]
        fn a_write_that_comes_in_pieces_loses_nothing_before_it(
            groups in some_groups(),
            piece in 1_usize..40,
            came in vec(any::<bool>(), 64),
            length in any::<prop::sample::Index>(),
        ) {
            prop_assume!(groups.len() > 1);
            let (mut bytes, ends) = written(&groups);
            let synced = ends[groups.len() - 2];
            for (piece, came) in bytes[synced..].chunks_mut(piece).zip(came.iter().cycle()) {
                if !came {
                    piece.fill(0);
                }
            }
            bytes.truncate(synced + length.index(bytes.len() - synced + 1));
            let segment = read(&bytes).expect("the snapshot was synced");
            let all = segment.end == ends[groups.len() - 1];
            assert_found(&segment, &groups, groups.len() - usize::from(!all));
            prop_assert!(!matches!(segment.rest, Rest::Damaged(_)), "{:?}", segment.rest);
        }
    }
}
