//! What the benches of the pure parts have in common: groups to balance, and numbers that look random and
//! are the same in every run.
//!
//! `cargo bench -p bench-micro` measures; `cargo bench -p bench-micro -- --test` only runs each once.

#![forbid(unsafe_code)]

use policy::EndpointSlot;
use policy::balance::maglev;
use policy::generation::{Address, Balance, Endpoint, Group};
use std::sync::Arc;
use std::time::Duration;

/// Names of the algorithms, for [`group`].
pub const ALGORITHMS: [&str; 4] = ["round-robin", "least-connections", "random-two", "source-hash"];

/// A group of `size` backends with weights from 1 to 100.
pub fn group(algorithm: &str, size: u32) -> Group {
    let weight = |slot| 1 + (number(u64::from(slot)) % 100) as u32;
    let endpoints: Vec<_> = (0..size).map(|slot| endpoint(slot, weight(slot))).collect();
    with(algorithm, endpoints)
}

/// `group` with one backend's weight changed; all others are the same `Arc`.
pub fn with_one_changed(algorithm: &str, group: &Group) -> Group {
    let mut endpoints = group.endpoints.to_vec();
    let changed = endpoints.len() / 2;
    endpoints[changed] = endpoint(changed as u32, 101);
    with(algorithm, endpoints)
}

/// `group` without its middle backend.
pub fn with_one_removed(algorithm: &str, group: &Group) -> Group {
    let mut endpoints = group.endpoints.to_vec();
    endpoints.remove(endpoints.len() / 2);
    with(algorithm, endpoints)
}

/// The `n`-th of a fixed series.
pub fn number(n: u64) -> u64 {
    let bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
}

fn with(algorithm: &str, endpoints: Vec<Arc<Endpoint>>) -> Group {
    let balance = match algorithm {
        "round-robin" => Balance::RoundRobin,
        "least-connections" => Balance::LeastConnections,
        "random-two" => Balance::RandomTwo,
        "source-hash" => Balance::SourceHash(maglev::build(&endpoints)),
        other => panic!("{other} is none of {ALGORITHMS:?}"),
    };
    Group {
        slot: policy::GroupSlot(0),
        id: "bench".into(),
        balance,
        endpoints: endpoints.into(),
        attempts: 3,
        queue: 0,
        queue_wait: Duration::ZERO,
        health: None,
        http: None,
    }
}

fn endpoint(slot: u32, weight: u32) -> Arc<Endpoint> {
    let [_, high, middle, low] = slot.to_be_bytes();
    Arc::new(Endpoint {
        group: policy::GroupSlot(0),
        slot: EndpointSlot(slot),
        id: format!("b{slot}").into(),
        address: Address::Ip(([10, high, middle, low], 80).into()),
        weight,
        backup: false,
        drain: false,
        max_connections: None,
    })
}
