//! `journal::segment` against its definition: a segment is its head and the longest row of groups that are what was
//! written there.
//!
//! An input is taken in three ways: as a segment, as one whose checksums are mended by a second writer that
//! knows the layout, so that what is behind them is reached, and as a script. The reader borrows all that it
//! gives, so there is nothing that a false length could make it allocate.

use crate::script::Script;
use journal::segment::{HEAD_BYTES, Head, Rest, Segment, Unreadable, Writer, read};
use journal::{Flaw, Record};
use std::num::NonZeroU64;

const GROUP_HEAD_BYTES: usize = 20;

pub fn segment(data: &[u8]) {
    // Readable or not: what holds is asserted.
    let _ = holds(data);
    mended(data);
    befallen(data);
}

/// What holds of any bytes.
fn holds(bytes: &[u8]) -> Result<Segment<'_>, Unreadable> {
    let segment = read(bytes).inspect_err(|unreadable| {
        if let Unreadable::Flawed { offset, .. } = unreadable {
            assert!(*offset <= bytes.len() as u64);
        }
    })?;
    assert_eq!(segment.rest == Rest::Nothing, segment.end == bytes.len());
    assert!(HEAD_BYTES < segment.snapshot_end && segment.snapshot_end <= segment.end);

    let mut groups = segment.groups();
    let mut writer = Writer::new(segment.head, groups.next().expect("a segment has a snapshot"));
    assert_eq!(writer.bytes().len(), segment.snapshot_end);
    groups.for_each(|group| writer.commit(group));
    assert!(writer.bytes() == &bytes[..segment.end], "written again it is something else");

    let in_order: Vec<Record<'_>> = segment.groups().flatten().collect();
    assert_eq!(segment.snapshot().chain(segment.committed()).collect::<Vec<_>>(), in_order);
    let snapshot_number = segment.snapshot().last().map_or(0, |record| record.number);
    let numbers = segment.committed().map(|record| record.number);
    let mut last = segment.head.floor.max(snapshot_number);
    for number in numbers {
        assert!(number >= last, "{number} behind {last}");
        last = number;
    }
    assert_eq!(segment.last_number, last);
    let up_to_end = read(&bytes[..segment.end]).expect("it was readable with more behind it");
    assert_eq!((up_to_end.end, up_to_end.rest), (segment.end, Rest::Nothing));
    Ok(segment)
}

/// With good checksums everything depends on what is in the groups, which a second reader says too.
fn mended(data: &[u8]) {
    let mut bytes = data.to_vec();
    if bytes.len() < HEAD_BYTES + GROUP_HEAD_BYTES {
        return;
    }
    let (birth, floor, mut previous) = mend_head(&mut bytes);
    let (mut at, mut groups, mut last, mut malformed) = (HEAD_BYTES, 0, 0, false);
    while bytes.len() - at >= GROUP_HEAD_BYTES && !malformed {
        let length = mend_group(&mut bytes[at..], birth, at as u64, previous);
        let body = at + GROUP_HEAD_BYTES..at + GROUP_HEAD_BYTES + length;
        let after = last_number(&bytes[body.clone()], last);
        malformed = after.is_none();
        if let Some(after) = after {
            previous = u32_at(&bytes, at + 16);
            // The snapshot's own numbers begin anywhere.
            last = if groups == 0 { after.max(floor) } else { after };
            (at, groups) = (body.end, groups + 1);
        }
    }
    match holds(&bytes) {
        Ok(segment) => {
            assert_eq!((segment.end, segment.groups().count()), (at, groups));
            let rest = segment.rest;
            match malformed {
                true => assert_eq!(rest, Rest::Damaged(Flaw::Malformed)),
                false => assert!(matches!(rest, Rest::Nothing | Rest::Torn(_)), "{rest:?}"),
            }
        }
        Err(unreadable) => {
            assert!(groups == 0 && malformed, "{unreadable:?}");
            assert_eq!(unreadable, Unreadable::Flawed { offset: HEAD_BYTES as u64, flaw: Flaw::Malformed });
        }
    }
}

/// Birth, floor and check of a head that is sound now.
fn mend_head(bytes: &mut [u8]) -> (u64, u64, u32) {
    bytes[..8].copy_from_slice(b"sluicejn");
    bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
    write_check(bytes, 12, &[]);
    let number = u64_at(bytes, 16).max(1);
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    let after = u64_at(bytes, 40);
    if after == 0 || after >= number {
        bytes[40..56].fill(0);
    }
    write_check(bytes, 56, &[]);
    (u64_at(bytes, 24), u64_at(bytes, 32), u32_at(bytes, 56))
}

/// Length of the body of a group that is whole now. What follows it is for further groups.
fn mend_group(bytes: &mut [u8], birth: u64, offset: u64, previous: u32) -> usize {
    let room = bytes.len() - GROUP_HEAD_BYTES;
    let length = (u32_at(bytes, 4) as usize % 256).min(room);
    bytes[..4].copy_from_slice(b"\xf5grp");
    bytes[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&previous.to_le_bytes());
    let body = crc32fast::hash(&bytes[GROUP_HEAD_BYTES..GROUP_HEAD_BYTES + length]);
    bytes[12..16].copy_from_slice(&body.to_le_bytes());
    write_check(bytes, 16, &[birth.to_le_bytes(), offset.to_le_bytes()].concat());
    length
}

/// At `at`, of `before` and all that stands in front of it.
fn write_check(bytes: &mut [u8], at: usize, before: &[u8]) {
    let check = crc32fast::hash(&[before, &bytes[..at]].concat());
    bytes[at..at + 4].copy_from_slice(&check.to_le_bytes());
}

/// That of the last record; `None` if this is no row of records whose numbers go on from `last`.
fn last_number(body: &[u8], last: u64) -> Option<u64> {
    if body.is_empty() {
        return Some(last);
    }
    let (number, length) = (u64_at(body.get(..13)?, 1), u32_at(body, 9) as usize);
    let behind = body[13..].get(length..)?;
    if number < last {
        return None;
    }
    last_number(behind, number)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A segment is written, something befalls the file, and it is read.
///
/// | letter | event |
/// |---|---|
/// | `c` records, bytes | a commit of so many records of so many bytes each |
/// | `b` records, bytes | the beginning of one, as a crash leaves it; the writing ends |
/// | `|` | the writing ends; from here on the file is only damaged |
/// | `f` where | a bit is flipped |
/// | `x` where | the file ends there |
/// | `z` where, how much | zeros |
/// | `e` how much | zeros behind the end |
/// | `d` which, where | a group is written a second time, over what is there |
///
/// *Where* is two digits, a hundredth of the file.
fn befallen(data: &[u8]) {
    const HEAD: Head = Head { number: NonZeroU64::MIN, birth: 0x0123_4567_89ab_cdef, floor: 3, after: None };
    let mut script = Script::new(data);
    let mut writer = Writer::new(HEAD, [Record { kind: 0, number: 3, payload: b"snapshot" }]);
    let mut ends = vec![HEAD_BYTES, writer.bytes().len()];
    let mut torn = 0;
    while let Some(letter @ (b'c' | b'b')) = script.event(b"cb|") {
        let (records, bytes) = (script.digit(), script.digit());
        let payload = vec![0xf5; bytes];
        let number = ends.len() as u64 + 3;
        writer.commit((0..records).map(|kind| Record { kind: kind as u8, number, payload: &payload }));
        if letter == b'b' {
            torn = writer.bytes().len() - ends[ends.len() - 1];
            break;
        }
        ends.push(writer.bytes().len());
        // As long as any file that a fuzzer needs, and the number of heads to compare stays small.
        if ends.len() > 64 {
            break;
        }
    }
    let mut whole = writer.bytes().to_vec();
    whole.truncate(whole.len() - torn + torn / 2);
    let mut bytes = whole.clone();
    while let Some(letter) = script.event(b"fxzed") {
        let mut place = || (script.digit() * 10 + script.digit()) * bytes.len() / 100;
        match letter {
            b'f' => {
                let at = place();
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (at % 8));
            }
            b'x' => {
                let at = place();
                bytes.truncate(at);
            }
            b'z' => {
                let at = place();
                let end = bytes.len().min(at + 4 * script.digit());
                bytes[at..end].fill(0);
            }
            b'e' => bytes.resize(bytes.len() + script.digit(), 0),
            _ => {
                let at = place();
                let group = script.digit() % (ends.len() - 1);
                let again = &whole[ends[group]..ends[group + 1]];
                let end = bytes.len().min(at + again.len());
                bytes.splice(at..end, again.iter().copied());
            }
        }
        if bytes.len() > 1 << 16 {
            break;
        }
    }
    let unchanged = whole.iter().zip(&bytes).take_while(|(one, other)| one == other).count();
    let count = ends.iter().filter(|end| **end <= unchanged).count();
    match holds(&bytes) {
        Ok(segment) => {
            assert_eq!((segment.end, segment.groups().count()), (ends[count - 1], count - 1));
            // A head that is left behind the first change, in its place.
            let left = |at: &usize| {
                let head = *at..*at + GROUP_HEAD_BYTES;
                *at > segment.end && whole.get(head.clone()).is_some_and(|was| bytes.get(head) == Some(was))
            };
            let damaged = matches!(segment.rest, Rest::Damaged(_));
            assert_eq!(damaged, ends.iter().any(left), "{:?} at {}", segment.rest, segment.end);
        }
        Err(unreadable) => assert!(count < 2, "{unreadable:?}, but the first {unchanged} bytes are what they were"),
    }
}
