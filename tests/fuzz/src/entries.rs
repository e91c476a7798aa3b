//! What a start makes of a journal's entries, whatever they say: it goes on with something, or says why not.
//!
//! Where [`crate::segment`] asks for the bytes of records, this asks for their meaning: documents, orders and accounts as
//! JSON, in whole commits on a disk that is well.

use agent::sim::{Resumed, begin_again, resume, say_time};
use journal::faults::{self, Fate};
use journal::{Blobs, Bounds, Journal, Record};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Documents, divided by lines `====`; a line `----`; and records, one a line: `KIND JSON`, where `@0` in the JSON is the
/// blob of the first document, `@1` that of the second. A line that has no kind is an entry. `.` ends a commit.
///
/// A start reads them without a panic and twice the same. What it goes on with is what the entries before its first complaint
/// make without the others, and it does go on if there are a base and something that ran among them. Its generation is the
/// highest of these, and the next number is used by none. Written again in a new segment as the next process does, what runs
/// and what drift is measured from are the same, and nothing can be gone back to that could not before.
pub fn entries(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (documents, lines) = text.split_once("\n----\n").unwrap_or((&text, ""));
    let documents: Vec<&str> = documents.split("\n====\n").take(DOCUMENTS_MAX).collect();
    let lines: Vec<&str> = lines.lines().take(LINES_MAX).collect();
    faults::plan(Fate::Well);
    say_time(Some(Duration::ZERO));
    let (found, complaints, last_job) = started(&documents, &lines);
    // Those before the first that it complains of.
    let mut sound = &lines[..];
    if !complaints.is_empty() {
        let counts: Vec<usize> = (1..=lines.len()).collect();
        let has_none = |count: &usize| started(&documents, &lines[..*count]).1.is_empty();
        sound = &lines[..counts.partition_point(has_none)];
        match (&found, started(&documents, sound).0) {
            // Only an end in order that was not the last word is none.
            (Some(found), Some(alone)) => {
                let said = Resumed { stopped: found.stopped, ..alone };
                assert_eq!(*found, said, "what it complains of has changed what was before");
            }
            (found, alone) => assert_eq!(found.is_some(), alone.is_some()),
        }
    }

    let told: Vec<Value> = sound.iter().filter_map(|line| entry(line)).collect();
    let has = |name: &str| told.iter().any(|entry| entry.get(name).is_some());
    assert_eq!(found.is_some(), has("base") && has("running"), "{complaints:?}");
    let Some(found) = found else { return };
    let generations = told.iter().filter_map(|entry| {
        let made = entry.get("running").or_else(|| entry.get("adopted"))?;
        made["generation"].as_u64()
    });
    assert_eq!(Some(found.generation), generations.max());
    assert!(last_job >= found.generation, "the next number was used before");
    assert!(found.kept.len() <= KEPT_MAX, "{} generations are kept", found.kept.len());

    let (again, next) = rewritten(&documents, &lines);
    assert_eq!(again, found, "read twice, it says something else");
    assert_eq!((&next.running, &next.base), (&found.running, &found.base), "written again");
    assert_eq!(next.generation, last_job + 1);
    let is_known = |number: &u64| found.kept.contains(number) || *number == next.generation;
    assert!(next.kept.iter().all(is_known), "{:?} of {:?}", next.kept, found.kept);
}

/// More show nothing that these do not.
const DOCUMENTS_MAX: usize = 4;
const LINES_MAX: usize = 10;
/// As many as there are lines.
const KEPT_MAX: usize = LINES_MAX;

const BOUNDS: Bounds = Bounds {
    record_bytes_max: 1 << 20,
    commit_bytes_max: 4 << 20,
    segment_bytes: 1 << 20,
    segments_kept: 2,
    blob_bytes_max: 1 << 20,
};

type Started = (Option<Resumed>, Vec<String>, u64);

/// What a start finds in a folder with these.
fn started(documents: &[&str], lines: &[&str]) -> Started {
    in_folder(documents, lines, |folder| resume(folder, BOUNDS).expect("a folder of our own"))
}

/// What a process begins with, and what the next one finds.
fn rewritten(documents: &[&str], lines: &[&str]) -> (Resumed, Resumed) {
    in_folder(documents, lines, |folder| {
        let again = begin_again(folder, BOUNDS).expect("a folder of our own").expect("it was found before");
        let (found, complaints, _) = resume(folder, BOUNDS).expect("a folder of our own");
        assert_eq!(complaints, [""; 0], "of what was written just now");
        (again, found.expect("it was written just now"))
    })
}

fn in_folder<T>(documents: &[&str], lines: &[&str], read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.expect("a folder can be made");
    let (mut journal, _) = Journal::open(folder.path(), BOUNDS).expect("the folder is new");
    let blobs: Vec<String> = documents.iter().map(|document| blob(&journal, document)).collect();
    let records: Vec<Vec<(u8, String)>> = lines
        .split(|line| *line == ".")
        .map(|commit| commit.iter().filter_map(|line| record(line, &blobs)).collect())
        .collect();
    let mut number = 0;
    let mut numbered = |commit: &[(u8, String)]| -> Vec<(u8, u64, String)> {
        commit
            .iter()
            .map(|(kind, payload)| {
                number += 1;
                (*kind, number, payload.clone())
            })
            .collect()
    };
    for (ix, commit) in records.iter().enumerate() {
        let numbered = numbered(commit);
        let commit = numbered.iter().map(|(kind, number, payload)| Record {
            kind: *kind,
            number: *number,
            payload: payload.as_bytes(),
        });
        match ix {
            0 => drop(journal.begin_segment(commit).expect("within the bounds")),
            _ => {
                commit.for_each(|record| journal.append(record).expect("within the bounds"));
                journal.commit().expect("the disk is well");
            }
        }
    }
    drop(journal);
    read(folder.path())
}

fn blob(journal: &Journal, document: &str) -> String {
    let hash = Blobs::hash(document.as_bytes());
    journal.blobs().put(hash, document.as_bytes()).expect("within the bounds");
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Its kind, and what stands in it. `None`: nothing.
fn record(line: &str, blobs: &[String]) -> Option<(u8, String)> {
    let (kind, rest) = match line.split_once(' ') {
        Some((kind, rest)) if kind.bytes().all(|byte| byte.is_ascii_digit()) => (kind.parse().ok()?, rest),
        _ => (ENTRY, line),
    };
    let named = blobs.iter().zip(0..).fold(rest.to_owned(), |text, (blob, ix)| text.replace(&format!("@{ix}"), blob));
    (!line.is_empty()).then_some((kind, named))
}

/// The entry in a line, as JSON. `None`: it is none.
fn entry(line: &str) -> Option<Value> {
    let (kind, text) = record(line, &[])?;
    let value: Value = serde_json::from_str(&text).ok()?;
    (kind == ENTRY && line != ".").then_some(value)
}

/// The kind of an entry. That of an account is 2.
const ENTRY: u8 = 1;
