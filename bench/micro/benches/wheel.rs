//! What timers cost a shard with many connections.

use bench_micro::number;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::Tick;
use policy::wheel::{Key, Wheel};

/// Moves one connection's deadline, to somewhere within a minute.
fn set(c: &mut Criterion) {
    let mut benches = c.benchmark_group("wheel-set");
    for connections in [1_000, 100_000] {
        let mut wheel = full(connections);
        let mut n = 0;
        benches.bench_function(BenchmarkId::from_parameter(connections), |b| {
            b.iter(|| {
                n += 1;
                let index = (number(n) % u64::from(connections)) as u32;
                wheel.set(Key { index, generation: 0 }, Tick(number(!n) % 60_000));
            });
        });
    }
}

/// One turn passes; what fires is set again a minute later, as idle time-outs are.
fn turn(c: &mut Criterion) {
    let mut benches = c.benchmark_group("wheel-turn");
    for connections in [1_000, 100_000] {
        let mut wheel = full(connections);
        let mut now = 0;
        benches.bench_function(BenchmarkId::from_parameter(connections), |b| {
            b.iter(|| {
                now += Wheel::GRANULARITY;
                wheel.advance(Tick(now), |_| Some(Tick(now + 60_000)));
                wheel.next()
            });
        });
    }
}

fn full(connections: u32) -> Wheel {
    let mut wheel = Wheel::new(connections, Tick(0));
    for index in 0..connections {
        wheel.set(Key { index, generation: 0 }, Tick(number(u64::from(index)) % 60_000));
    }
    wheel
}

criterion_group!(wheel, set, turn);
criterion_main!(wheel);
