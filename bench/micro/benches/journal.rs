//! What it costs to make a change outlive the process, and to find it again.
//!
//! The files lie in the target folder: a commit is one `fdatasync`, so its figure is that folder's disk.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use journal::{Bounds, Journal, Record};
use tempfile::TempDir;

const PAYLOAD: [u8; 200] = [b'x'; 200];

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk")
}

fn begun(folder: &TempDir) -> Journal {
    let (mut journal, _) = Journal::open(folder.path(), Bounds::default()).expect("the folder is free");
    journal.begin_segment([]).expect("the disk takes it");
    journal
}

fn append(journal: &mut Journal, number: u64) {
    journal.append(Record { kind: 1, number, payload: &PAYLOAD }).expect("it is within the bounds");
}

/// Records of 200 bytes, so many to a commit. A segment begins when it is due.
fn commit(c: &mut Criterion) {
    let mut benches = c.benchmark_group("journal-commit");
    for records in [1, 64] {
        let folder = folder();
        let mut journal = begun(&folder);
        let mut number = 0;
        benches.throughput(Throughput::Elements(records));
        benches.bench_function(BenchmarkId::from_parameter(records), |b| {
            b.iter(|| {
                for _ in 0..records {
                    number += 1;
                    append(&mut journal, number);
                }
                journal.commit().expect("the disk takes it");
                if journal.should_begin_segment() {
                    journal.begin_segment([]).expect("the disk takes it");
                }
            });
        });
    }
}

/// 100,000 records of 200 bytes, opened and read through. Commits of 100 records; the file is in the page cache.
fn recover(c: &mut Criterion) {
    const RECORDS: u64 = 100_000;
    let mut benches = c.benchmark_group("journal-recover");
    let folder = folder();
    let mut journal = begun(&folder);
    for number in 1..=RECORDS {
        append(&mut journal, number);
        if number % 100 == 0 {
            journal.commit().expect("the disk takes it");
        }
    }
    drop(journal);
    benches.throughput(Throughput::Elements(RECORDS));
    benches.bench_function(BenchmarkId::from_parameter(RECORDS), |b| {
        b.iter(|| {
            let (_journal, recovered) = Journal::open(folder.path(), Bounds::default()).expect("the folder is free");
            let bytes: usize = recovered.records().map(|record| record.payload.len()).sum();
            assert_eq!(bytes as u64, RECORDS * PAYLOAD.len() as u64);
        });
    });
}

criterion_group!(journal_on_disk, commit, recover);
criterion_main!(journal_on_disk);
