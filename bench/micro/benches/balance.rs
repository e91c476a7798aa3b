//! What a pick costs as the group grows, and what a shard pays at Commit when one backend of many changes.

use bench_micro::{ALGORITHMS, group, number, with_one_changed, with_one_removed};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::balance::{Ask, Pick, Picker, maglev};
use policy::generation::Group;
use std::hint::black_box;

/// One connection: picked, opened, and one opened 64 picks ago closed, so loads differ.
fn pick(c: &mut Criterion) {
    let mut benches = c.benchmark_group("pick");
    for algorithm in ALGORITHMS {
        for size in [10, 1_000, 10_000] {
            let mut picker = adopted(&group(algorithm, size));
            let mut open = [None; 64];
            let mut n = 0;
            benches.bench_function(BenchmarkId::new(algorithm, size), |b| {
                b.iter(|| {
                    n += 1;
                    let ask = Ask { source: number(n), random: number(!n), tried: &[] };
                    let Pick::Endpoint { slot, .. } = picker.pick(&ask) else {
                        panic!("all are in rotation");
                    };
                    picker.opened(slot);
                    if let Some(oldest) = open[n as usize % 64].replace(slot) {
                        picker.closed(oldest);
                    }
                });
            });
        }
    }
}

/// To and fro between two groups of ten thousand that differ in one backend, so each iteration is two
/// adoptions; then the first adoption of all.
fn adopt(c: &mut Criterion) {
    const SIZE: u32 = 10_000;
    let mut benches = c.benchmark_group("adopt");
    for algorithm in ALGORITHMS {
        let one = group(algorithm, SIZE);
        let changed = with_one_changed(algorithm, &one);
        let removed = with_one_removed(algorithm, &one);
        for (name, other) in [("weight", &changed), ("membership", &removed)] {
            let mut picker = adopted(&one);
            benches.bench_function(BenchmarkId::new(format!("{name}-twice"), algorithm), |b| {
                b.iter(|| {
                    picker.adopt_change(&one, other);
                    picker.adopt_change(other, &one);
                });
            });
        }
        let mut picker = adopted(&one);
        benches.bench_function(BenchmarkId::new("all-read-twice", algorithm), |b| {
            b.iter(|| {
                picker.adopt(&changed);
                picker.adopt(&one);
            });
        });
        benches.bench_function(BenchmarkId::new("first", algorithm), |b| {
            b.iter(|| black_box(adopted(&one)));
        });
    }
}

/// On the compiler thread, whenever membership or a weight changes.
fn table(c: &mut Criterion) {
    let mut benches = c.benchmark_group("maglev-table");
    for size in [10, 1_000, 10_000] {
        let group = group("round-robin", size);
        benches.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| maglev::build(black_box(&group.endpoints)));
        });
    }
}

fn adopted(group: &Group) -> Picker {
    let mut picker = Picker::new();
    picker.adopt(group);
    picker
}

criterion_group!(balance, pick, adopt, table);
criterion_main!(balance);
