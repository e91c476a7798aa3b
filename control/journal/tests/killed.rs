//! Real processes, killed at any moment: what was told is there, and only whole commits are.
//!
//! This program is both sides. Started without the word below it is the judge: it starts itself as a writer, which
//! commits in a loop and tells each committed number on its standard output; kills it after a number that a
//! seed chooses; opens the journal, and holds what is recovered against what was told. A kill leaves the page cache,
//! so this shows the order of things within the process, not the syncs: power cuts are tried in `segment`, on bytes.
//!
//! The same judge over a writer that tells before it commits must catch it: otherwise the silence about the honest
//! one means nothing.
//!
//! A third writer is not killed: its files may not grow beyond a size (`ulimit -f`), so that a write stops in the
//! middle of a commit, as on a full disk.

#![forbid(unsafe_code)]

use journal::{Bounds, Journal, Record};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WRITER: &str = "--be-the-writer";
const HONEST: &str = "honest";
const HASTY: &str = "hasty";
const CONFINED: &str = "confined";

const SEED: u64 = 0x6a6f_7572_6e61_6c31;
const KILLS: usize = 300;
/// A slow disk gives fewer kills, not a longer test.
const TIME: Duration = Duration::from_secs(20);
/// How long one line of a writer may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small, so that a writer begins a segment every few commits.
const BOUNDS: Bounds = Bounds {
    record_bytes_max: 1 << 10,
    commit_bytes_max: 1 << 20,
    segment_bytes: 2 << 10,
    segments_kept: 2,
    blob_bytes_max: 0,
};

/// Kinds of records. The snapshot is the number that it stands for.
const SNAPSHOT: u8 = 1;
const STEP: u8 = 2;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some(WRITER) if words[3] == CONFINED => write_until_full(Path::new(&words[2])),
        Some(WRITER) => write(Path::new(&words[2]), words[3] == HASTY),
        _ => {
            judge();
            judge_confined();
        }
    }
}

/// Commits until it is killed. A number is as many records as it says, all in one commit.
fn write(folder: &Path, hasty: bool) {
    let (mut journal, recovered) = Journal::open(folder, BOUNDS).expect("the writer before is dead");
    let mut number = recovered.last_number();
    drop(recovered);
    let mut out = std::io::stdout();
    let mut tell = |number: u64| writeln!(out, "{number}").and_then(|()| out.flush()).expect("the judge listens");
    // Most of a commit is the wait for the disk, and what was handed to the kernel outlives a kill. So the hasty one
    // has many numbers to a commit: else the judge would have to be lucky to kill it between telling and writing.
    let numbers_per_commit = if hasty { 200 } else { 1 };
    loop {
        if journal.should_begin_segment() {
            journal.begin_segment([Record { kind: SNAPSHOT, number, payload: b"" }]).expect("the disk takes it");
        }
        for _ in 0..numbers_per_commit {
            number += 1;
            for ix in 0..records_of(number) {
                let payload = payload(number, ix);
                journal.append(Record { kind: STEP, number, payload: &payload }).expect("it is within the bounds");
            }
            if hasty {
                tell(number);
            }
        }
        journal.commit().expect("the disk takes it");
        if !hasty {
            tell(number);
        }
    }
}

/// Commits until the file is full, tells the error, and goes on in a new segment.
fn write_until_full(folder: &Path) {
    let bounds = Bounds { segment_bytes: u64::MAX, ..BOUNDS };
    let (mut journal, _) = Journal::open(folder, bounds).expect("the folder is new");
    journal.begin_segment([Record { kind: SNAPSHOT, number: 0, payload: b"" }]).expect("there is room");
    let mut number = 0;
    let step = |journal: &mut Journal, number| {
        journal.append(Record { kind: STEP, number, payload: &[b'x'; 500] }).expect("it is within the bounds");
        journal.commit()
    };
    let error = loop {
        match step(&mut journal, number + 1) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    println!("{number} {error}");
    journal.begin_segment([Record { kind: SNAPSHOT, number, payload: b"" }]).expect("there is room for a new file");
    step(&mut journal, number + 1).expect("there is room in it");
}

/// The commit that did not fit is told as failed, nothing of it is left, and the journal goes on.
fn judge_confined() {
    const LIMIT_BYTES: u64 = 8 * 512;
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let mut command = Command::new("sh");
    // The signal ignored, a write beyond the limit is an error (`EFBIG`).
    command.args(["-c", r#"trap '' XFSZ; ulimit -f 8; exec "$@""#, "sh"]);
    command.arg(std::env::current_exe().expect("a program has a path")).arg(WRITER).arg(place.path()).arg(CONFINED);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("there is a shell");
    assert!(output.status.success(), "the writer failed: {}", output.status);
    let said = String::from_utf8(output.stdout).expect("text");
    let (number, error) = said.trim().split_once(' ').expect("a number and an error");
    let number: u64 = number.parse().expect("a number");
    assert!(number > 0 && error.starts_with("cannot write "), "{said}");

    let (journal, recovered) = Journal::open(place.path(), BOUNDS).expect("the writer is done");
    let numbers: Vec<u64> = recovered.records().map(|record| record.number).collect();
    assert_eq!(numbers, [number, number + 1]);
    assert!(recovered.damage.is_empty() && recovered.cut.is_none() && journal.halted().is_none());
    let first = std::fs::read(place.path().join("00000000000000000001.segment")).expect("it is kept");
    let segment = journal::segment::read(&first).expect("it is sound");
    assert_eq!((segment.committed().count() as u64, segment.rest), (number, journal::segment::Rest::Nothing));
    let room_left = LIMIT_BYTES - first.len() as u64;
    assert!(
        0 < room_left && room_left < 500,
        "the commit that failed was written in part: {room_left} bytes were left"
    );
    println!("a file that is full: {number} commits are there, of the next one nothing, and the journal goes on");
}

fn records_of(number: u64) -> u64 {
    1 + number % 5
}

fn payload(number: u64, ix: u64) -> Vec<u8> {
    format!("{number}.{ix} ").repeat(1 + (number % 40) as usize).into_bytes()
}

fn judge() {
    let (kills, told, in_doubt) = trial(HONEST, KILLS).unwrap_or_else(|lost| panic!("seed {SEED:#x}: {lost}"));
    assert!(kills >= 10 && told > 0, "the disk is too slow to show anything: {kills} kills, {told} numbers");
    println!(
        "{kills} kills: all of {told} numbers that were told are there, and {in_doubt} more that were not told yet"
    );
    let lost = trial(HASTY, KILLS).expect_err("a writer that tells too early is caught");
    println!("a writer that tells too early is caught: {lost}");
}

/// Kills writers in the same folder, one after the other. How many, the last number told, and how often more was
/// recovered than was told; or what was lost.
fn trial(manner: &str, kills: usize) -> Result<(usize, u64, usize), String> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let (mut dice, begin) = (Dice(SEED), Instant::now());
    let (mut told, mut in_doubt) = (0, 0);
    for kill in 0..kills {
        if begin.elapsed() > TIME {
            return Ok((kill, told, in_doubt));
        }
        told = told.max(run_and_kill(place.path(), manner, &mut dice));
        let found = examine(place.path()).map_err(|wrong| format!("kill {kill}: {wrong}"))?;
        if found < told {
            return Err(format!("kill {kill}: {told} was told and {found} is the last that is there"));
        }
        in_doubt += usize::from(found > told);
    }
    Ok((kills, told, in_doubt))
}

/// The last number that the writer told before it was killed; 0 if none.
fn run_and_kill(folder: &Path, manner: &str, dice: &mut Dice) -> u64 {
    let program: PathBuf = std::env::current_exe().expect("a program has a path");
    let mut command = Command::new(program);
    command.arg(WRITER).arg(folder).arg(manner).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut writer = Reaped(command.spawn().expect("it can be started again"));
    let lines = BufReader::new(writer.0.stdout.take().expect("it is a pipe"));
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.lines() {
            // A pipe takes so short a line whole or not at all.
            let number: u64 = line.expect("a pipe can be read").parse().expect("a number on each line");
            if sender.send(number).is_err() {
                break;
            }
        }
    });
    let mut told = 0;
    for _ in 0..dice.below(12) {
        told = receiver.recv_timeout(PATIENCE).expect("the writer goes on telling");
    }
    // The kill comes somewhere in what the writer does next: it is a matter of microseconds.
    let moment = Instant::now() + Duration::from_micros(dice.below(3_000));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    writer.0.kill().expect("it runs");
    writer.0.wait().expect("it was killed");
    reader.join().expect("the pipe has ended");
    receiver.try_iter().last().unwrap_or(told)
}

/// The last number that is there. Every commit must be whole, and the numbers without a gap.
fn examine(folder: &Path) -> Result<u64, String> {
    let (journal, recovered) = Journal::open(folder, BOUNDS).map_err(|error| error.to_string())?;
    if let Some(damage) = recovered.damage.first() {
        return Err(format!("a kill looks like damage: {damage}"));
    }
    let mut next = recovered.snapshot().map(|record| record.number + 1).next().unwrap_or(1);
    let mut commits: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    for record in recovered.committed() {
        commits.entry(record.number).or_default().push(record.payload.to_vec());
    }
    for (number, payloads) in commits {
        let expected: Vec<Vec<u8>> = (0..records_of(number)).map(|ix| payload(number, ix)).collect();
        if number != next || payloads != expected {
            return Err(format!("commit {number} where {next} should be, with {} records", payloads.len()));
        }
        next += 1;
    }
    // The past agrees, through the segment before.
    let past = journal.records_before(next).filter(|past| !past.as_ref().is_ok_and(|past| past.kind == SNAPSHOT));
    let past: Vec<_> = past.map(|past| past.map(|past| past.number)).collect();
    for (past, number) in past.iter().zip(all_numbers_before(next)) {
        if past.as_ref().ok() != Some(&number) {
            return Err(format!("the past has {past:?} where {number} should be"));
        }
    }
    let newest = recovered.committed().count();
    let older = recovered.segment().is_some_and(|segment| segment.get() > 1);
    if past.len() < newest + usize::from(older) {
        return Err(format!("the past has {} records, and the newest segment alone has {newest}", past.len()));
    }
    Ok(next - 1)
}

/// Each number as often as it has records, from the last one down.
fn all_numbers_before(end: u64) -> impl Iterator<Item = u64> {
    (1..end).rev().flat_map(|number| (0..records_of(number)).map(move |_| number))
}

/// Killed and waited for also when the judge gives up.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may be dead already, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same throws for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % sides
    }
}
