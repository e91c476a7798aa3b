//! Folders as no crash leaves them, and as every crash during a new segment does: what is recovered, what is told,
//! and that the journal goes on from there.

#![forbid(unsafe_code)]

use journal::segment::{After, HEAD_BYTES, Head, Writer};
use journal::{
    AppendError, BlobError, Blobs, Bounds, Damage, Flaw, Halt, Journal, OpenError, Past, Put, Record, Recovered,
};
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not 0")
}

fn record(number: u64, text: &str) -> Record<'_> {
    Record { kind: 1, number, payload: text.as_bytes() }
}

fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.segment"))
}

fn open(folder: &Path) -> (Journal, Recovered) {
    Journal::open(folder, Bounds::default()).expect("the folder is free")
}

fn texts(recovered: &Recovered) -> Vec<String> {
    recovered.records().map(|record| String::from_utf8_lossy(record.payload).into_owned()).collect()
}

fn commit(journal: &mut Journal, number: u64, text: &str) {
    journal.append(record(number, text)).expect("it is taken");
    journal.commit().expect("it is written");
}

/// Two segments: `a` with `1`, `2`; `b` with `3`, `4`, `5`.
fn two_segments() -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(place.path());
    journal.begin_segment([record(0, "a")]).expect("it begins");
    commit(&mut journal, 1, "1");
    commit(&mut journal, 2, "2");
    journal.begin_segment([record(2, "b")]).expect("it begins");
    (3..=5).for_each(|number| commit(&mut journal, number, &number.to_string()));
    place
}

/// The journal takes nothing for the damaged segment, and goes on in a new one.
fn check_goes_on(folder: &Path, mut journal: Journal) {
    assert!(matches!(journal.halted(), Some(Halt::Damaged)));
    assert!(matches!(journal.append(record(9, "")), Err(AppendError::Halted(Halt::Damaged))));
    let damaged = fs::read(segment(folder, 2)).expect("what is damaged is left to be looked at");
    let begun = journal.begin_segment([record(9, "new")]).expect("the way out");
    assert_eq!(begun.segment, number(3));
    commit(&mut journal, 10, "10");
    drop(journal);
    let (_, recovered) = open(folder);
    assert_eq!((texts(&recovered), recovered.damage.len()), (vec!["new".to_owned(), "10".to_owned()], 0));
    assert_eq!(fs::read(segment(folder, 2)).expect("it is there"), damaged);
}

#[test]
fn damage_in_the_middle_is_told_and_what_is_before_it_counts() {
    let place = two_segments();
    let path = segment(place.path(), 2);
    let mut bytes = fs::read(&path).expect("it is there");
    let at = bytes.len() - 1 - 34;
    assert_eq!(bytes[at], b'4', "the payload of the commit before the last");
    bytes[at] = b'7';
    fs::write(&path, bytes).expect("it can be written");
    let (journal, recovered) = open(place.path());
    assert_eq!(texts(&recovered), ["b", "3"]);
    let offset = at as u64 - 33;
    assert_eq!(recovered.damage, [Damage { segment: number(2), offset, why: Flaw::BodyCheck }]);
    assert_eq!(recovered.cut, None);
    check_goes_on(place.path(), journal);
}

#[test]
fn a_segment_without_its_snapshot_is_passed_over_for_the_one_before() {
    for length in [0, 15, HEAD_BYTES, HEAD_BYTES + 30] {
        let place = two_segments();
        let path = segment(place.path(), 2);
        let bytes = fs::read(&path).expect("it is there");
        fs::write(&path, &bytes[..length]).expect("it can be written");
        let (journal, recovered) = open(place.path());
        assert_eq!(texts(&recovered), ["a", "1", "2"], "cut at {length}");
        let offset = if length < HEAD_BYTES { 0 } else { HEAD_BYTES as u64 };
        assert_eq!(recovered.damage, [Damage { segment: number(2), offset, why: Flaw::Short }]);
        check_goes_on(place.path(), journal);
    }
}

#[test]
fn a_segment_under_another_name_is_not_it() {
    let place = two_segments();
    fs::copy(segment(place.path(), 1), segment(place.path(), 2)).expect("it can be copied");
    let (journal, recovered) = open(place.path());
    assert_eq!(texts(&recovered), ["a", "1", "2"]);
    let why = Flaw::OtherSegment { found: 1 };
    assert_eq!(recovered.damage, [Damage { segment: number(2), offset: 0, why }]);
    check_goes_on(place.path(), journal);
}

/// Reading the beginning of one's own memory is an `EIO`, as reading a broken sector is.
#[test]
fn a_disk_that_cannot_be_read_is_damage() {
    let place = two_segments();
    let path = segment(place.path(), 2);
    fs::remove_file(&path).expect("it is there");
    std::os::unix::fs::symlink("/proc/self/mem", &path).expect("it can be made");
    let (_, recovered) = open(place.path());
    assert_eq!(texts(&recovered), ["a", "1", "2"]);
    assert_eq!(recovered.damage, [Damage { segment: number(2), offset: 0, why: Flaw::ReadError }]);
}

#[test]
fn with_every_segment_damaged_nothing_is_recovered_and_all_is_told() {
    let place = two_segments();
    for which in [1, 2] {
        fs::write(segment(place.path(), which), [0; 4096]).expect("it can be written");
    }
    let (mut journal, recovered) = open(place.path());
    assert_eq!((recovered.records().count(), recovered.segment()), (0, None));
    let told: Vec<_> = recovered.damage.iter().map(|damage| (damage.segment.get(), damage.why)).collect();
    assert_eq!(told, [(2, Flaw::NoMark), (1, Flaw::NoMark)]);
    journal.begin_segment([record(1, "new")]).expect("the way out");
}

#[test]
fn a_segment_of_another_format_is_an_error_that_says_so() {
    let place = two_segments();
    let path = segment(place.path(), 2);
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[8] = 9;
    let check = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    fs::write(&path, &bytes).expect("it can be written");
    let error = Journal::open(place.path(), Bounds::default()).expect_err("it cannot be read");
    assert!(matches!(error, OpenError::Format { found: 9, .. }));
    assert!(error.to_string().contains("has format 9; accepted is format 1"), "{error}");
    assert_eq!(fs::read(&path).expect("it is there"), bytes, "nothing is changed");
}

#[test]
fn a_folder_that_cannot_be_one_is_an_error_with_its_path() {
    let place = tempfile::NamedTempFile::new().expect("a file");
    let error = Journal::open(place.path(), Bounds::default()).expect_err("a file is no folder");
    assert!(error.to_string().contains(&place.path().display().to_string()), "{error}");
}

/// At each instant of a beginning the folder holds the old segments and any part of the new one under its unfinished
/// name, or the whole one under its own with any of the old.
#[test]
fn a_crash_during_a_beginning_leaves_the_old_state_or_the_new() {
    let before = two_segments();
    let old: Vec<_> = [1, 2].map(|which| fs::read(segment(before.path(), which)).expect("it is there")).to_vec();
    let after = Some(After { segment: number(2), bytes: old[1].len() as u64 });
    let writer = Writer::new(Head { number: number(3), birth: 3, floor: 5, after }, [record(5, "c")]);
    let new = writer.bytes();
    let place = tempfile::tempdir().expect("a folder");
    let prepare = |kept: &[usize]| {
        for ix in [0, 1] {
            let path = segment(place.path(), ix as u64 + 1);
            let _ = fs::remove_file(&path);
            if kept.contains(&ix) {
                fs::write(&path, &old[ix]).expect("it can be written");
            }
        }
    };
    for length in 0..=new.len() {
        prepare(&[0, 1]);
        let unfinished = place.path().join("00000000000000000003.segment.0.new");
        fs::write(&unfinished, &new[..length]).expect("it can be written");
        let (journal, recovered) = open(place.path());
        assert_eq!(texts(&recovered), ["b", "3", "4", "5"], "{length} bytes of the new one");
        assert!(journal.halted().is_none() && !unfinished.exists());
    }
    fs::write(segment(place.path(), 3), new).expect("it can be written");
    for kept in [&[0, 1][..], &[1], &[]] {
        prepare(kept);
        let (journal, recovered) = open(place.path());
        assert_eq!((texts(&recovered), recovered.last_number()), (vec!["c".to_owned()], 5));
        assert!(journal.halted().is_none());
    }
}

fn past(journal: &Journal, number: u64) -> Vec<String> {
    let told = journal.records_before(number).map(|past| match past {
        Ok(Past { payload, of_snapshot, .. }) => {
            format!("{}{}", String::from_utf8_lossy(&payload), if of_snapshot { "*" } else { "" })
        }
        Err(gap) => format!("{gap}"),
    });
    told.collect()
}

#[test]
fn the_past_is_told_backwards_through_the_segments() {
    let place = two_segments();
    let (mut journal, _) = open(place.path());
    assert_eq!(past(&journal, u64::MAX), ["5", "4", "3", "b*", "2", "1", "a*"]);
    assert_eq!(past(&journal, 4), ["3", "b*", "2", "1", "a*"]);
    assert_eq!(past(&journal, 1), ["a*"]);
    assert!(past(&journal, 0).is_empty());
    // What is committed later is not in a walk that has begun; one that is removed is its end.
    let (before, cut_short) = (journal.records_before(9), journal.records_before(9));
    commit(&mut journal, 6, "6");
    assert_eq!(before.count(), 7);
    fs::remove_file(segment(place.path(), 1)).expect("it is there");
    assert_eq!(cut_short.count(), 4);
    assert_eq!(past(&journal, 9), ["6", "5", "4", "3", "b*"]);
}

#[test]
fn a_gap_in_the_past_is_told_and_the_rest_of_it_as_well() {
    let place = two_segments();
    let path = segment(place.path(), 1);
    let bytes = fs::read(&path).expect("it is there");
    let (journal, _) = open(place.path());
    let mut bent = bytes.clone();
    let last = bytes.len() - 1;
    bent[last] ^= 1;
    fs::write(&path, &bent).expect("it can be written");
    let told = past(&journal, 3);
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!((told[0].as_str(), &told[2..]), ("b*", &["1".to_owned(), "a*".to_owned()][..]));
    assert!(told[1].starts_with("segment 1 is damaged at byte"), "{told:?}");
    // Ended at a commit's end, but not where the next segment says.
    fs::write(&path, &bytes[..bytes.len() - 34]).expect("it can be written");
    let told = past(&journal, 3);
    assert!(told[1].ends_with("the file ends inside of what begins there"), "{told:?}");
    assert_eq!(told[2..], ["1", "a*"]);
    fs::write(&path, b"").expect("it can be written");
    assert_eq!(past(&journal, 3).len(), 2);
}

fn content(blobs: &Blobs, hash: journal::Hash) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    blobs.open(hash).expect("it is there").read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn a_blob_is_its_content() {
    let place = tempfile::tempdir().expect("a folder");
    let (journal, _) = open(place.path());
    let blobs = journal.blobs();
    // More than is read at a time, and nothing at all.
    for mass in [(0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>(), Vec::new()] {
        let hash = Blobs::hash(&mass);
        assert!(matches!(blobs.open(hash), Err(BlobError::Absent(absent)) if absent == hash));
        assert_eq!(blobs.put(hash, &mass[..]).expect("it can be written"), Put::Written);
        assert_eq!(blobs.put(hash, &mass[..]).expect("it is there"), Put::Present);
        assert_eq!(content(&blobs, hash).expect("it is sound"), mass);
    }
    drop((journal, blobs));
    let (journal, _) = open(place.path());
    assert!(journal.blobs().open(Blobs::hash(b"")).is_ok(), "it outlives the process");
}

#[test]
fn what_is_not_the_content_is_not_kept() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the source broke"))
        }
    }
    let place = tempfile::tempdir().expect("a folder");
    let bounds = Bounds { blob_bytes_max: 4, ..Bounds::default() };
    let (journal, _) = Journal::open(place.path(), bounds).expect("the folder is free");
    let blobs = journal.blobs();
    let hash = Blobs::hash(b"this");
    let check = |source: &mut dyn Read, expected: &str| {
        let error = blobs.put(hash, source).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read_dir(place.path().join("blobs")).expect("it is there").count(), 0);
    };
    check(&mut &b"that"[..], "accepted is only what has");
    check(&mut &b"this and that"[..], "larger than 4 bytes");
    check(&mut b"th".chain(Broken), "the source broke");
    assert_eq!(blobs.put(hash, &b"this"[..]).expect("the bound itself is accepted"), Put::Written);
}

#[test]
fn a_damaged_blob_is_told_at_its_end_and_put_again() {
    let place = tempfile::tempdir().expect("a folder");
    let (journal, _) = open(place.path());
    let (blobs, hash) = (journal.blobs(), Blobs::hash(b"the content"));
    blobs.put(hash, &b"the content"[..]).expect("it can be written");
    let files = fs::read_dir(place.path().join("blobs")).expect("it is there");
    let path = files.map(|file| file.expect("it is there").path()).next().expect("one blob");
    for damaged in [&b"the contenT"[..], b"the conten", b"the content and more", b""] {
        fs::write(&path, damaged).expect("it can be written");
        let error = content(&blobs, hash).expect_err("it is damaged");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(blobs.put(hash, &b"the content"[..]).expect("it can be written"), Put::Written);
        assert_eq!(content(&blobs, hash).expect("it is mended"), b"the content");
    }
}

#[test]
fn blobs_that_nothing_names_go() {
    let place = tempfile::tempdir().expect("a folder");
    let (journal, _) = open(place.path());
    let blobs = journal.blobs();
    let hashes: Vec<_> = [&b"a"[..], b"b", b"c"].iter().map(|content| Blobs::hash(content)).collect();
    for content in [&b"a"[..], b"b", b"c"] {
        blobs.put(Blobs::hash(content), content).expect("it can be written");
    }
    // Neither a blob nor unfinished, so not ours.
    fs::write(place.path().join("blobs/notes.txt"), "an operator's").expect("it can be written");
    let mut reading = blobs.open(hashes[2]).expect("it is there");
    assert_eq!(blobs.retain(|hash| *hash == hashes[1]).expect("it can be removed"), 2);
    assert!(blobs.open(hashes[0]).is_err() && blobs.open(hashes[1]).is_ok() && blobs.open(hashes[2]).is_err());
    assert_eq!(io::copy(&mut reading, &mut io::sink()).expect("who has it open reads on"), 1);
    assert!(place.path().join("blobs/notes.txt").exists());
}
