//! The real control side under many seeds: submitters, compiler, journal, disk, shards and crashes.
//!
//! `SIM_SEED=n` runs that one seed; `SIM_SEEDS=n` runs so many from 0 on instead of the usual number.

mod common;

use std::collections::{BTreeMap, BTreeSet};

/// Seeds of an ordinary `cargo test`.
const SEEDS: u64 = 300;

#[test]
fn no_even_site_breaks_a_promise() {
    common::check(sim::run_site, SEEDS, 0);
}

#[test]
fn no_odd_site_breaks_a_promise() {
    common::check(sim::run_site, SEEDS, 1);
}

#[test]
fn the_same_seed_is_the_same_site() {
    let lives = || (0..10).map(|seed| sim::run_site(seed).unwrap());
    assert!(lives().eq(lives()));
    let hashes: BTreeSet<u64> = lives().map(|life| life.hash).collect();
    assert_eq!(hashes.len(), 10, "other seeds are other sites");
}

/// A world in which nothing happens keeps every promise.
#[test]
fn at_some_sites_everything_happens() {
    const SITES: u64 = 100;
    let mut events = BTreeMap::<&str, u64>::new();
    for seed in 0..SITES {
        for (what, times) in sim::run_site(seed).unwrap().events {
            *events.entry(what).or_default() += times;
        }
    }
    let all = [
        "bursts",
        "conflict",
        "crashes",
        "ends in order",
        "generations",
        "invalid_configuration",
        "not_found",
        "refused",
        "superseded",
        "timed_out",
        "unchanged",
    ];
    for what in all {
        let times = events.get(what).copied().unwrap_or(0);
        assert!(times >= 5, "\"{what}\" happens {times} times at {SITES} sites: {events:#?}");
    }
}
