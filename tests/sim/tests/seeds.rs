//! The real code under many seeds.
//!
//! `SIM_SEED=n` runs that one seed; `SIM_SEEDS=n` runs so many from 0 on instead of the usual number.

mod common;

use std::collections::{BTreeMap, BTreeSet};

/// Seeds of an ordinary `cargo test`.
const SEEDS: u64 = 4_000;

#[test]
fn no_even_seed_breaks_a_promise() {
    common::check(sim::run, SEEDS, 0);
}

#[test]
fn no_odd_seed_breaks_a_promise() {
    common::check(sim::run, SEEDS, 1);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let lives = || (0..20).map(|seed| sim::run(seed).unwrap());
    assert!(lives().eq(lives()));
    let hashes: BTreeSet<u64> = lives().map(|life| life.hash).collect();
    assert_eq!(hashes.len(), 20, "other seeds are other worlds");
}

/// A world in which nothing happens keeps every promise.
#[test]
fn in_some_worlds_everything_happens() {
    const WORLDS: u64 = 600;
    let mut events = BTreeMap::<&str, u64>::new();
    for seed in 0..WORLDS {
        for (what, times) in sim::run(seed).unwrap().events {
            *events.entry(what).or_default() += times;
        }
    }
    let all = [
        "a client knocks at",
        "aborts",
        "accepts on",
        "begins a request of",
        "begins a request of a gone pool",
        "calls applied job",
        "calls expired job",
        "calls interrupted job",
        "calls late job",
        "calls refused job",
        "calls withdrawn job",
        "closes",
        "commits",
        "control restarts",
        "dies",
        "drives",
        "frees endpoint",
        "frees listener",
        "frees part",
        "frees pool",
        "hands a client to",
        "has its root again",
        "has no shard for job",
        "has no word of job",
        "has stopped",
        "hears endpoint released from shard",
        "hears forgotten from shard",
        "is resumed",
        "is suspended",
        "knows what everybody holds",
        "learns of endpoint",
        "moves address",
        "prepares",
        "retires",
        "sees no handshake on",
        "sends to the end of the lines job",
        "stalls until",
        "steers to",
        "stops before job",
        "stops by",
        "syncs to",
        "tells",
        "upgrades in",
    ];
    for what in all {
        let times = events.get(what).copied().unwrap_or(0);
        assert!(times >= 10, "\"{what}\" happens {times} times in {WORLDS} worlds: {events:#?}");
    }
}
