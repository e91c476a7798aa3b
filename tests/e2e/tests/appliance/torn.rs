//! The end of the journal is not what it was: bytes are missing, or others stand there.
//!
//! What stands before is intact, so the appliance starts on it and says what it did. The journal is looked at from outside:
//! a record holds JSON, and an order and its receipt are written in one commit.

use e2e::{Pool, give};
use harness::appliance::{Appliance, Launch};
use harness::net::Target;
use harness::pattern::Dice;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SEED: u64 = 20261122;

/// Each sets a weight, from 2 on.
const ORDERS: u64 = 10;

/// A journal of some orders, and what is to become of it.
struct Site {
    pool: String,
    folder: Option<TempDir>,
    segment: PathBuf,
    /// The segment as the process left it.
    bytes: Vec<u8>,
    /// Where the commits of the orders are, by number from 0 on.
    commits: Vec<Commit>,
}

/// An order in the segment.
struct Commit {
    weight: u64,
    job: u64,
    /// Inside of its commit: from the beginning of the order to somewhere in its receipt. Unit: bytes.
    inside: (usize, usize),
}

impl Site {
    fn new() -> Site {
        let pool = Pool::new("db").listen(&Target::fresh()).backend("a", &Target::fresh()).to_string();
        let appliance = Launch::new(&pool).shards(1).start();
        let jobs: Vec<(u64, u64)> = (2..2 + ORDERS).map(|weight| (weight, weigh(&appliance, weight))).collect();
        let folder = appliance.kill();
        let segment = newest_segment(folder.path());
        let bytes = fs::read(&segment).expect("it is there");
        let find = |text: String, from: usize| {
            let place = bytes[from..].windows(text.len()).position(|window| window == text.as_bytes());
            from + place.unwrap_or_else(|| panic!("{text} is not in {}", segment.display()))
        };
        let commits = jobs.iter().map(|(weight, job)| {
            let start = find(format!("{{\"adopted\":{{\"generation\":{job},"), 0);
            let end = find(format!("{{\"job\":{job},"), start);
            Commit { weight: *weight, job: *job, inside: (start, end) }
        });
        let commits = commits.collect();
        Site { pool, folder: Some(folder), segment, bytes, commits }
    }

    /// Starts on this instead of the segment.
    fn start(&mut self, bytes: &[u8]) -> Appliance {
        let folder = self.folder.take().expect("nobody uses it");
        let state = folder.path().join("state");
        let names = fs::read_dir(&state).expect("it is there").map(|entry| entry.expect("it can be listed").path());
        for name in names.filter(|name| name.extension().is_some_and(|extension| extension == "segment")) {
            fs::remove_file(name).expect("it can be removed");
        }
        fs::write(&self.segment, bytes).expect("it can be written");
        Launch::new(&self.pool).shards(1).in_folder(folder).start()
    }

    /// It runs what was ordered before this commit, numbers go on, and what is ordered now is there after another crash.
    #[track_caller]
    fn goes_on_before(&mut self, appliance: Appliance, commit: usize) {
        let before = commit.checked_sub(1).map(|before| &self.commits[before]);
        let (weight, job) = before.map_or((1, 1), |before| (before.weight, before.job));
        assert_eq!(self::weight(&appliance), weight);
        assert!(appliance.status().generation > job);
        if before.is_some() {
            assert_eq!(appliance.receipt(job).generation_after, Some(job));
        }
        let next = weigh(&appliance, 99);
        let appliance = Launch::new(&self.pool).shards(1).in_folder(appliance.kill()).start();
        assert_eq!(self::weight(&appliance), 99);
        assert_eq!(appliance.receipt(next).generation_after, Some(next));
        assert!(!says_anything(&appliance), "the second time all is well");
        self.folder = Some(appliance.kill());
    }
}

fn weigh(appliance: &Appliance, weight: u64) -> u64 {
    give(appliance, &json!({"order": "backend.set", "pool": "db", "backend": "a", "weight": weight})).job
}

fn weight(appliance: &Appliance) -> u64 {
    e2e::backend(&appliance.status(), "a").weight.into()
}

/// Whether it has complained about its journal.
fn says_anything(appliance: &Appliance) -> bool {
    let output = appliance.output();
    output.iter().any(|line| line.contains("cut off") || line.contains("damaged") || line.contains("ends here"))
}

fn newest_segment(folder: &Path) -> PathBuf {
    let names = fs::read_dir(folder.join("state")).expect("it is there").map(|entry| entry.expect("it can be listed"));
    let segments = names.map(|name| name.path()).filter(|path| path.extension().is_some_and(|end| end == "segment"));
    segments.max().expect("there is one")
}

#[test]
fn a_commit_that_is_torn_is_cut_off_and_told() {
    println!("seed {SEED}");
    let (mut dice, mut site) = (Dice::new(SEED), Site::new());
    for _ in 0..8 {
        let commit = dice.below(site.commits.len());
        let (start, end) = site.commits[commit].inside;
        let at = dice.between(start, end);
        println!("torn at byte {at}, in commit {commit}");
        let bytes = site.bytes[..at].to_vec();
        let appliance = site.start(&bytes);
        let told = appliance.wait_line("cut off");
        assert!(told.contains("warning: ") && told.contains("a commit that never ended"), "{told}");
        site.goes_on_before(appliance, commit);
    }
}

#[test]
fn what_somebody_else_wrote_into_the_journal_is_told_and_what_stands_before_counts() {
    println!("seed {SEED}");
    let (mut dice, mut site) = (Dice::new(SEED), Site::new());
    for _ in 0..5 {
        let commit = dice.below(site.commits.len() - 1);
        let (start, end) = site.commits[commit].inside;
        let at = dice.between(start, end);
        println!("byte {at} is another, in commit {commit}");
        let mut bytes = site.bytes.clone();
        bytes[at] ^= 1 << dice.below(8);
        let appliance = site.start(&bytes);
        let told = appliance.wait_line("is damaged at byte");
        assert!(told.contains("warning: "), "{told}");
        site.goes_on_before(appliance, commit);
    }
}

/// As a disk may leave it: more than was written, whatever it is.
#[test]
fn what_was_never_written_at_the_end_of_the_journal_is_cut_off() {
    println!("seed {SEED}");
    let (mut dice, mut site) = (Dice::new(SEED), Site::new());
    let all = site.commits.len();
    for zeros in [true, false, false] {
        let mut bytes = site.bytes.clone();
        bytes.extend((0..dice.between(1, 5_000)).map(|_| if zeros { 0 } else { dice.below(256) as u8 }));
        let appliance = site.start(&bytes);
        let told = appliance.wait_line("cut off");
        assert!(told.contains("a commit that never ended"), "{told}");
        site.goes_on_before(appliance, all);
    }
}

/// Nothing of it is left to go by: the file is what counts, and it is told.
#[test]
fn a_journal_without_a_beginning_leaves_the_file() {
    let mut site = Site::new();
    for left in [0, 10, 100] {
        let bytes = site.bytes[..left].to_vec();
        let appliance = site.start(&bytes);
        appliance.wait_line("is damaged at byte");
        assert_eq!(weight(&appliance), 1);
        weigh(&appliance, 99);
        let appliance = Launch::new(&site.pool).shards(1).in_folder(appliance.kill()).start();
        assert_eq!(weight(&appliance), 99);
        site.folder = Some(appliance.kill());
    }
}
