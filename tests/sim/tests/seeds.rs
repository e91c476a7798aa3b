//! The real code under many seeds.
//!
//! `SIM_SEED=n` runs that one seed; `SIM_SEEDS=n` runs so many from 0 on instead of the usual number.

/// Seeds of an ordinary `cargo test`.
const SEEDS: u64 = 2_400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn seeds() -> std::ops::Range<u64> {
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    }
}

/// Every so-manieth seed, so that two threads share them.
fn check(nth: u64) {
    for seed in seeds().filter(|seed| seed % 2 == nth) {
        if let Err(failure) = sim::run(seed) {
            panic!("{failure}");
        }
    }
}

#[test]
fn no_even_seed_breaks_a_promise() {
    check(0);
}

#[test]
fn no_odd_seed_breaks_a_promise() {
    check(1);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let hashes: Vec<u64> = (0..20).map(|seed| sim::run(seed).unwrap()).collect();
    let again: Vec<u64> = (0..20).map(|seed| sim::run(seed).unwrap()).collect();
    assert_eq!(hashes, again);
    let distinct: std::collections::BTreeSet<&u64> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len(), "other seeds are other worlds");
}
