//! The journal in use: appending, committing, beginning segments.
//!
//! Owns the open segment and the certainty of its end. Every way in which that certainty is lost leads to
//! [`Halt`], and the only way out is a new segment.
//!
//! ```text
//!            open ──▶ Writing ◀──────────────── begin_segment
//!              │         │ commit fails               ▲
//!              │         ▼                            │
//!              └─────▶ Halted (empty, damaged, failed)┘
//! ```

use crate::Bounds;
use crate::blobs::Blobs;
use crate::disk;
use crate::error::{AppendError, BeginError, CommitError, Failure, Halt, OpenError, Phase};
use crate::folder::{Folder, Unfinished, sync_folder};
use crate::group::{Group, Place, RECORD_HEAD_BYTES, Record};
use crate::history::Before;
use crate::recovery::{Recovered, recover};
use crate::segment::{self, After, Head};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One folder's records, while this process has it.
#[derive(Debug)]
pub struct Journal {
    folder: Arc<Folder>,
    bounds: Bounds,
    standing: Standing,
    /// What was appended and is not committed.
    group: Group,
    /// The highest number, that of `group` included.
    last_number: u64,
    /// The highest number that is committed.
    committed_number: u64,
    /// Where all that is committed ends.
    after: Option<After>,
    /// The highest number of any segment that was ever seen or tried here, readable or not.
    highest_segment: u64,
}

#[derive(Debug)]
enum Standing {
    Writing(Tail),
    Halted(Halt),
}

/// The segment that grows.
#[derive(Debug)]
struct Tail {
    file: File,
    path: PathBuf,
    birth: u64,
    /// Of the last group.
    check: u32,
    /// Unit: bytes from the beginning, as `end`.
    snapshot_end: u64,
    end: u64,
}

/// A segment that has begun.
#[derive(Debug)]
pub struct Begun {
    pub segment: NonZeroU64,
    /// Older segments that are gone now.
    pub removed: usize,
    /// What kept one from being removed. It is tried again at the next beginning.
    pub not_removed: Option<Failure>,
}

impl Journal {
    /// Takes the folder, made if it is not there, and finds what counts in it. A torn end is cut off.
    ///
    /// What is recovered is on the disk when this returns, also what a killed process had written and not yet synced.
    /// If it cannot be put there (a read-only disk), it is told nevertheless and the journal is halted.
    pub fn open(folder: impl AsRef<Path>, bounds: Bounds) -> Result<(Journal, Recovered), OpenError> {
        bounds.assert_sound();
        let folder = Folder::open(folder.as_ref())?;
        let segments = folder.segments()?;
        let recovered = recover(&folder, &segments)?;
        let standing = match recovered.found() {
            None if segments.is_empty() => Standing::Halted(Halt::Empty),
            _ if !recovered.damage.is_empty() => Standing::Halted(Halt::Damaged),
            None => unreachable!("a segment counts or is damaged"),
            Some(found) => {
                let path = folder.segment(found.head.number);
                let (birth, check) = (found.head.birth, found.check);
                let (snapshot_end, end) = (found.snapshot_end as u64, found.end as u64);
                match open_at(&path, end).and_then(|file| sync_folder(folder.path()).map(|()| file)) {
                    Ok(file) => Standing::Writing(Tail { file, path, birth, check, snapshot_end, end }),
                    Err(failure) => Standing::Halted(Halt::Failed(failure)),
                }
            }
        };
        let last_number = recovered.last_number();
        let journal = Journal {
            folder: Arc::new(folder),
            bounds,
            standing,
            group: Group::new(),
            last_number,
            committed_number: last_number,
            after: recovered.after(),
            highest_segment: segments.last().map_or(0, |number| number.get()),
        };
        Ok((journal, recovered))
    }

    /// Collects a record for the next commit. Nothing is written.
    pub fn append(&mut self, record: Record<'_>) -> Result<(), AppendError> {
        if let Standing::Halted(halt) = &self.standing {
            return Err(AppendError::Halted(halt.clone()));
        }
        push(&mut self.group, record, &mut self.last_number, &self.bounds)
    }

    /// Forgets what was appended since the last commit.
    pub fn discard(&mut self) {
        self.group.clear();
        self.last_number = self.committed_number;
    }

    /// Puts what was appended on the disk, all of it or nothing: one write, one `fdatasync`. Without anything
    /// appended it does nothing.
    ///
    /// Blocks until the disk has it. What an error means is said at [`CommitError`] and at the head of the crate.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        let tail = match &mut self.standing {
            Standing::Halted(halt) => return Err(CommitError::Halted(halt.clone())),
            Standing::Writing(_) if self.group.is_empty() => return Ok(()),
            Standing::Writing(tail) => tail,
        };
        let (bytes, check) = self.group.seal(Place { birth: tail.birth, offset: tail.end }, tail.check);
        let written = disk::write_at(&tail.file, bytes, tail.end).map_err(Failure::of(Phase::Write, &tail.path));
        let synced = written.and_then(|()| disk::sync_data(&tail.file).map_err(Failure::of(Phase::Sync, &tail.path)));
        if let Err(failure) = synced {
            // So that a restart does not meet what was told as failed. It may fail as well: a doubt remains until a
            // new segment says where this one ends.
            let _ = disk::set_len(&tail.file, tail.end);
            self.standing = Standing::Halted(Halt::Failed(failure.clone()));
            self.discard();
            return Err(CommitError::Failed(failure));
        }
        tail.end += bytes.len() as u64;
        tail.check = check;
        self.committed_number = self.last_number;
        let after = self.after.as_mut().expect("there is a segment to write to");
        after.bytes = tail.end;
        self.group.clear();
        Ok(())
    }

    /// Why nothing can be committed, if so.
    pub fn halted(&self) -> Option<&Halt> {
        match &self.standing {
            Standing::Writing(_) => None,
            Standing::Halted(halt) => Some(halt),
        }
    }

    /// Whether as much was committed behind the snapshot as a new one is worth: more than
    /// [`Bounds::segment_bytes`] and more than the snapshot itself has. Always while the journal is halted.
    ///
    /// Whoever begins a segment each time this is true writes at most one byte of snapshots for each byte of commits.
    /// A segment then has at most twice the larger of the two, and one commit; `segments_kept` of these are on the
    /// disk, and one more while a new one is written.
    pub fn should_begin_segment(&self) -> bool {
        match &self.standing {
            Standing::Halted(_) => true,
            Standing::Writing(tail) => tail.end - tail.snapshot_end > self.bounds.segment_bytes.max(tail.snapshot_end),
        }
    }

    /// Begins a segment with a snapshot: records that stand for all before them. At any moment either the segments
    /// before or this one is readable and whole; then older ones beyond [`Bounds::segments_kept`] are removed.
    ///
    /// The snapshot's numbers ascend from anywhere; those of later records go on from the highest ever.
    pub fn begin_segment<'a>(&mut self, snapshot: impl IntoIterator<Item = Record<'a>>) -> Result<Begun, BeginError> {
        if !self.group.is_empty() {
            return Err(BeginError::Uncommitted);
        }
        let (mut group, mut last_number) = (Group::new(), 0);
        for record in snapshot {
            push(&mut group, record, &mut last_number, &self.bounds).map_err(BeginError::Snapshot)?;
        }
        let number = NonZeroU64::new(self.highest_segment + 1).expect("one more than some number");
        let head = Head { number, birth: birth(number), floor: self.committed_number, after: self.after };
        let check = head.check();
        let (bytes, check) = group.seal(Place { birth: head.birth, offset: segment::HEAD_BYTES as u64 }, check);
        let path = self.folder.segment(number);
        let mut file = Unfinished::create(path.clone()).map_err(BeginError::Failed)?;
        file.write(&head.encode())
            .and_then(|()| file.write(bytes))
            .and_then(|()| file.sync())
            .map_err(BeginError::Failed)?;

        // From here on the new segment may be the one that a restart finds, so the one before must not grow.
        self.highest_segment = number.get();
        let end = (segment::HEAD_BYTES + bytes.len()) as u64;
        let opened = file.finish().and_then(|()| open_at(&path, end));
        let file = opened.map_err(|failure| {
            self.standing = Standing::Halted(Halt::Failed(failure.clone()));
            BeginError::Failed(failure)
        })?;
        self.standing = Standing::Writing(Tail { file, path, birth: head.birth, check, snapshot_end: end, end });
        self.after = Some(After { segment: number, bytes: end });
        self.committed_number = self.committed_number.max(last_number);
        self.last_number = self.committed_number;
        let (removed, not_removed) = self.remove_old();
        Ok(Begun { segment: number, removed, not_removed })
    }

    /// What was recorded with lower numbers, newest first, through all segments that are kept.
    ///
    /// It borrows nothing, so that another thread may wait for the disk. What is committed later is not in it; what is
    /// removed meanwhile is its end.
    pub fn records_before(&self, number: u64) -> Before {
        Before::new(Arc::clone(&self.folder), number, self.after)
    }

    /// The blobs of the folder, for any thread.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(Arc::clone(&self.folder), self.bounds.blob_bytes_max)
    }

    /// Oldest first, so that those that are left hang together.
    fn remove_old(&self) -> (usize, Option<Failure>) {
        let segments = match self.folder.segments() {
            Ok(segments) => segments,
            Err(failure) => return (0, Some(failure)),
        };
        let surplus = segments.len().saturating_sub(self.bounds.segments_kept);
        for (removed, number) in segments[..surplus].iter().enumerate() {
            let path = self.folder.segment(*number);
            if let Err(error) = disk::remove(&path) {
                return (removed, Some(Failure::of(Phase::Remove, &path)(error)));
            }
        }
        (surplus, None)
    }
}

/// Adds a record to a group if the bounds and the number before allow it.
fn push(group: &mut Group, record: Record<'_>, last_number: &mut u64, bounds: &Bounds) -> Result<(), AppendError> {
    let length = record.payload.len();
    if length > bounds.record_bytes_max {
        return Err(AppendError::RecordTooLarge { found: length, bound: bounds.record_bytes_max });
    }
    let found = group.len() + RECORD_HEAD_BYTES + length;
    if found > bounds.commit_bytes_max {
        return Err(AppendError::CommitTooLarge { found, bound: bounds.commit_bytes_max });
    }
    if record.number < *last_number {
        return Err(AppendError::Descends { found: record.number, last: *last_number });
    }
    *last_number = record.number;
    group.push(record);
    Ok(())
}

/// Opens a segment that ends here; whatever is behind is cut off. All of it is on the disk when this returns.
fn open_at(path: &Path, end: u64) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).open(path).map_err(Failure::of(Phase::Open, path))?;
    let length = file.metadata().map_err(Failure::of(Phase::Open, path))?.len();
    if length != end {
        disk::set_len(&file, end).map_err(Failure::of(Phase::Cut, path))?;
    }
    disk::sync_all(&file).map_err(Failure::of(Phase::Sync, path))?;
    Ok(file)
}

/// A number that no other segment has. The standard library's hasher has a key of chance.
fn birth(number: NonZeroU64) -> u64 {
    RandomState::new().hash_one((number, std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Flaw;
    use std::fs;
    use tempfile::TempDir;

    const BOUNDS: Bounds = Bounds {
        record_bytes_max: 100,
        commit_bytes_max: 300,
        segment_bytes: 200,
        segments_kept: 2,
        blob_bytes_max: 1000,
    };

    fn record(number: u64, text: &str) -> Record<'_> {
        Record { kind: 1, number, payload: text.as_bytes() }
    }

    fn open(place: &TempDir) -> (Journal, Recovered) {
        Journal::open(place.path(), BOUNDS).expect("the folder is free")
    }

    /// A journal whose first segment holds `0 document`.
    fn begun() -> (TempDir, Journal) {
        let place = tempfile::tempdir().expect("a folder");
        let (mut journal, _) = open(&place);
        journal.begin_segment([record(0, "document")]).expect("it begins");
        (place, journal)
    }

    fn commit(journal: &mut Journal, number: u64, text: &str) {
        journal.append(record(number, text)).expect("it is taken");
        journal.commit().expect("it is written");
    }

    /// Everything that is recovered, as `number text`.
    #[track_caller]
    fn check_recovered(place: &TempDir, expected: &[&str]) -> (Journal, Recovered) {
        let (journal, recovered) = open(place);
        let shown = |record: Record<'_>| format!("{} {}", record.number, String::from_utf8_lossy(record.payload));
        assert_eq!(recovered.records().map(shown).collect::<Vec<_>>(), expected);
        (journal, recovered)
    }

    fn segments(journal: &Journal) -> Vec<u64> {
        journal.folder.segments().expect("it can be listed").iter().map(|number| number.get()).collect()
    }

    /// From here on the tail's file is this device, which refuses in a way of its own.
    fn break_tail(journal: &mut Journal, device: &str) {
        let Standing::Writing(tail) = &mut journal.standing else { panic!("halted: {:?}", journal.standing) };
        tail.file = OpenOptions::new().write(true).open(device).expect("the device is there");
    }

    fn failed(journal: &Journal) -> Option<Phase> {
        match journal.halted() {
            Some(Halt::Failed(failure)) => Some(failure.phase),
            _ => None,
        }
    }

    #[test]
    fn a_new_folder_needs_a_segment_first() {
        let place = tempfile::tempdir().expect("a folder");
        let (mut journal, recovered) = open(&place);
        assert_eq!((recovered.segment(), recovered.records().count(), recovered.last_number()), (None, 0, 0));
        assert!(recovered.damage.is_empty() && recovered.cut.is_none());
        assert!(matches!(journal.halted(), Some(Halt::Empty)) && journal.should_begin_segment());
        assert!(matches!(journal.append(record(1, "")), Err(AppendError::Halted(Halt::Empty))));
        assert!(matches!(journal.commit(), Err(CommitError::Halted(Halt::Empty))));
        journal.begin_segment([]).expect("an empty snapshot is one");
        commit(&mut journal, 1, "first");
        drop(journal);
        check_recovered(&place, &["1 first"]);
    }

    #[test]
    fn what_is_committed_is_recovered_and_what_is_not_is_not() {
        let (place, mut journal) = begun();
        journal.append(record(1, "one")).expect("it is taken");
        journal.append(record(1, "one more")).expect("it is taken");
        journal.commit().expect("it is written");
        journal.commit().expect("nothing is nothing");
        journal.append(record(2, "two")).expect("it is taken");
        drop(journal);
        let (mut journal, recovered) = check_recovered(&place, &["0 document", "1 one", "1 one more"]);
        assert_eq!((recovered.snapshot().count(), recovered.committed().count()), (1, 2));
        assert_eq!((recovered.segment(), recovered.last_number()), (NonZeroU64::new(1), 1));
        commit(&mut journal, 1, "goes on");
        drop(journal);
        check_recovered(&place, &["0 document", "1 one", "1 one more", "1 goes on"]);
    }

    #[test]
    fn each_refusal_says_what_would_be_accepted() {
        let (_place, mut journal) = begun();
        commit(&mut journal, 5, "five");
        let mut check = |number, length: usize, expected: &str| {
            let error = journal.append(record(number, &"x".repeat(length))).expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
        check(4, 1, "the record has number 4; accepted is 5 or more, as the record before has it");
        check(5, 101, "the record has 101 bytes; accepted are at most 100");
        for number in [6, 7] {
            journal.append(record(number, &"x".repeat(100))).expect("it fits");
        }
        let error = journal.append(record(8, &"x".repeat(100))).expect_err("it is one too many");
        assert_eq!(error.to_string(), "the commit would have 359 bytes; accepted are at most 300");
        // What was taken before is still there, and can be committed or forgotten.
        assert!(matches!(journal.begin_segment([]), Err(BeginError::Uncommitted)));
        journal.discard();
        commit(&mut journal, 5, "again");
        let snapshot = [record(2, ""), record(1, "")];
        assert!(matches!(journal.begin_segment(snapshot), Err(BeginError::Snapshot(AppendError::Descends { .. }))));
        commit(&mut journal, 6, "the segment goes on");
    }

    #[test]
    fn a_segment_is_due_when_it_has_more_behind_the_snapshot_than_in_it() {
        let (_place, mut journal) = begun();
        let mut commits = 0;
        while !journal.should_begin_segment() {
            commit(&mut journal, 1, &"x".repeat(67));
            commits += 1;
        }
        assert_eq!(commits, 3, "the third group of 100 bytes is beyond 200");
        journal.begin_segment((0..2).map(|_| Record { kind: 1, number: 1, payload: &[b'x'; 100] })).expect("it begins");
        let mut commits = 0;
        while !journal.should_begin_segment() {
            commit(&mut journal, 1, &"x".repeat(67));
            commits += 1;
        }
        assert_eq!(commits, 4, "the fourth is beyond the snapshot's 306");
    }

    #[test]
    fn old_segments_go_when_a_new_one_has_begun() {
        let (place, mut journal) = begun();
        assert_eq!(segments(&journal), [1]);
        for (begins, left) in [(2, vec![1, 2]), (3, vec![2, 3]), (4, vec![3, 4])] {
            let begun = journal.begin_segment([record(begins, "document")]).expect("it begins");
            assert_eq!((begun.segment.get(), begun.removed), (begins, usize::from(begins > 2)));
            assert_eq!(segments(&journal), left);
        }
        drop(journal);
        check_recovered(&place, &["4 document"]);
    }

    /// The snapshot of a generation that came into force long ago does not lead numbers back.
    #[test]
    fn numbers_go_on_from_the_highest_whatever_the_snapshot_says() {
        let (place, mut journal) = begun();
        commit(&mut journal, 41, "kept old");
        journal.begin_segment([record(38, "document")]).expect("it begins");
        assert!(matches!(journal.append(record(40, "")), Err(AppendError::Descends { found: 40, last: 41 })));
        drop(journal);
        let (mut journal, recovered) = check_recovered(&place, &["38 document"]);
        assert_eq!(recovered.last_number(), 41);
        assert!(matches!(journal.append(record(40, "")), Err(AppendError::Descends { found: 40, last: 41 })));
        commit(&mut journal, 41, "");
    }

    /// `/dev/full` refuses to be written to, `/dev/null` to be synced: the two ways a disk fails a commit.
    #[test]
    fn a_commit_that_fails_halts_the_journal_until_a_segment_begins() {
        for (device, phase) in [("/dev/full", Phase::Write), ("/dev/null", Phase::Sync)] {
            let (place, mut journal) = begun();
            commit(&mut journal, 1, "one");
            break_tail(&mut journal, device);
            journal.append(record(2, "doubtful")).expect("it is taken");
            let error = journal.commit().expect_err("the disk refuses");
            assert!(matches!(&error, CommitError::Failed(failure) if failure.phase == phase), "{error}");
            assert_eq!(failed(&journal), Some(phase));
            assert!(journal.should_begin_segment());
            // Nothing goes to that file again, also not a sync that would now succeed.
            assert!(matches!(journal.commit(), Err(CommitError::Halted(_))));
            assert!(matches!(journal.append(record(2, "")), Err(AppendError::Halted(_))));
            journal.begin_segment([record(1, "document")]).expect("the way out");
            assert!(journal.halted().is_none());
            commit(&mut journal, 2, "another two");
            drop(journal);
            check_recovered(&place, &["1 document", "2 another two"]);
        }
    }

    /// The write came through, the sync did not, and neither did the attempt to take it back.
    #[test]
    fn a_commit_in_doubt_is_neither_recovered_nor_history_once_a_segment_has_begun() {
        let (place, mut journal) = begun();
        commit(&mut journal, 1, "one");
        let path = journal.folder.segment(NonZeroU64::MIN);
        let before = fs::read(&path).expect("it is there");
        commit(&mut journal, 2, "doubtful");
        let in_doubt = fs::read(&path).expect("it is there");
        fs::write(&path, &before).expect("it can be written");
        drop(journal);
        let (mut journal, _) = check_recovered(&place, &["0 document", "1 one"]);
        break_tail(&mut journal, "/dev/null");
        journal.append(record(2, "doubtful")).expect("it is taken");
        journal.commit().expect_err("the disk refuses");
        fs::write(&path, &in_doubt).expect("it can be written");
        journal.begin_segment([record(1, "document")]).expect("the way out");
        let past: Vec<_> = journal.records_before(u64::MAX).map(|past| past.expect("no gap")).collect();
        let past: Vec<_> = past.iter().map(|past| (past.number, &past.payload[..])).collect();
        assert_eq!(past, [(1, &b"document"[..]), (1, b"one"), (0, b"document")]);
        drop(journal);
        check_recovered(&place, &["1 document"]);
    }

    #[test]
    fn a_segment_that_cannot_begin_leaves_the_one_before_as_it_is() {
        let (place, mut journal) = begun();
        // A folder cannot be replaced by a file.
        let taken = journal.folder.segment(NonZeroU64::new(2).expect("not 0"));
        fs::create_dir(&taken).expect("it can be made");
        commit(&mut journal, 1, "one");
        let error = journal.begin_segment([record(1, "document")]).expect_err("the name is taken");
        assert!(matches!(&error, BeginError::Failed(failure) if failure.phase == Phase::Rename), "{error}");
        // After a rename that failed nobody knows which of the two a restart finds.
        assert_eq!(failed(&journal), Some(Phase::Rename));
        fs::remove_dir(&taken).expect("it is empty");
        drop(journal);
        let (mut journal, _) = check_recovered(&place, &["0 document", "1 one"]);
        commit(&mut journal, 2, "two");
        drop(journal);
        check_recovered(&place, &["0 document", "1 one", "2 two"]);
    }

    #[test]
    fn a_torn_end_is_cut_off_before_anything_follows() {
        let (place, mut journal) = begun();
        commit(&mut journal, 1, "one");
        let path = journal.folder.segment(NonZeroU64::MIN);
        let end = fs::metadata(&path).expect("it is there").len();
        commit(&mut journal, 2, "two");
        drop(journal);
        let bytes = fs::read(&path).expect("it is there");
        fs::write(&path, &bytes[..bytes.len() - 1]).expect("it can be written");
        let (mut journal, recovered) = check_recovered(&place, &["0 document", "1 one"]);
        let dropped_bytes = bytes.len() as u64 - 1 - end;
        let cut = crate::Cut { segment: NonZeroU64::MIN, offset: end, dropped_bytes, why: Flaw::Short };
        assert_eq!(recovered.cut, Some(cut));
        assert_eq!(fs::metadata(&path).expect("it is there").len(), end);
        commit(&mut journal, 2, "another two");
        drop(journal);
        let (_, recovered) = check_recovered(&place, &["0 document", "1 one", "2 another two"]);
        assert_eq!(recovered.cut, None);
    }
}
