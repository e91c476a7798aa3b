//! What a list costs the request that asks it, and the order that changes it, beside a set that never changes.

use bench_micro::number;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::http::{Entry, List, ListKind, Prefix, PrefixSet};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

const SIZES: [u64; 2] = [1_000, 1_000_000];

/// Hosts and networks, as feeds have them: one in eight is a network of 17 to 32 bits.
fn prefixes(count: u64) -> impl Iterator<Item = Prefix> {
    (0..count).map(|n| {
        let length = if n % 8 == 0 { 17 + (n / 8 % 16) as u8 } else { 32 };
        Prefix::new(address(n), length).expect("not longer than an address")
    })
}

fn address(n: u64) -> IpAddr {
    Ipv4Addr::from_bits(number(n) as u32).into()
}

fn list(count: u64) -> List {
    List::of(ListKind::Addresses, prefixes(count).map(|prefix| (Entry::Address(prefix), None)).collect())
}

/// Whether an address is in it. Half of those asked are.
fn holds(c: &mut Criterion) {
    let mut benches = c.benchmark_group("list-holds");
    for count in SIZES {
        let (list, set) = (list(count), PrefixSet::new(prefixes(count)));
        // Those that are in it come from all of it.
        let asked = |n: u64| if n.is_multiple_of(2) { address(number(n) % count) } else { address(!n) };
        let mut n = 0;
        benches.bench_function(BenchmarkId::new("list", count), |b| {
            b.iter(|| {
                n += 1;
                black_box(list.holds_address(asked(n)))
            });
        });
        benches.bench_function(BenchmarkId::new("set", count), |b| {
            b.iter(|| {
                n += 1;
                black_box(set.contains(asked(n)))
            });
        });
    }
}

/// One entry comes and goes.
fn edit(c: &mut Criterion) {
    let mut benches = c.benchmark_group("list-edit");
    for count in SIZES {
        let list = list(count);
        let mut n = 0;
        benches.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                n += 1;
                let entry = Entry::Address(Prefix::new(address(!n), 32).expect("not longer than an address"));
                black_box(list.with(&entry, None).without(&entry))
            });
        });
    }
}

criterion_group!(lists, holds, edit);
criterion_main!(lists);
