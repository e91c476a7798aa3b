//! What the tests of balancing have in common, and what holds under every algorithm.

mod against_a_scan;
mod least_connections;
mod peak_ewma;
mod random_two;
mod round_robin;
mod source_hash;
mod who_is_asked;

use super::*;
use crate::generation::{Balance, CheckKind, HealthCheck};
use crate::ids::GroupSlot;
use std::collections::HashMap;
use std::time::Duration;

fn endpoint(slot: u32, weight: u32) -> Endpoint {
    Endpoint {
        group: GroupSlot(0),
        slot: EndpointSlot(slot),
        id: slot.to_string().into(),
        address: Address::Ip(([127, 0, (slot >> 8) as u8, slot as u8], 80).into()),
        weight,
        backup: false,
        drain: false,
        max_connections: None,
    }
}

fn group_of(balance: Balance, endpoints: Vec<Endpoint>) -> Group {
    Group {
        slot: GroupSlot(0),
        id: "app".into(),
        balance,
        endpoints: endpoints.into_iter().map(Arc::new).collect(),
        attempts: 3,
        queue: 0,
        queue_wait: Duration::ZERO,
        health: None,
        http: None,
    }
}

/// Endpoints with these weights, in slots 0, 1, 2 …; no health checks.
fn group(balance: Balance, weights: &[u32]) -> Group {
    let slots = 0..weights.len() as u32;
    group_of(balance, slots.zip(weights).map(|(slot, weight)| endpoint(slot, *weight)).collect())
}

fn checked(group: Group) -> Group {
    let health = HealthCheck {
        kind: CheckKind::Connect,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    Group { health: Some(health), ..group }
}

fn picker(group: &Group) -> Picker {
    let mut picker = Picker::new();
    picker.adopt(group);
    picker
}

fn source_hash(weights: &[u32]) -> Group {
    with_table(group(Balance::SourceHash([].into()), weights))
}

fn every_balance() -> [Balance; 5] {
    let hash = Balance::SourceHash([].into());
    [Balance::RoundRobin, Balance::LeastConnections, Balance::RandomTwo, Balance::PeakEwma, hash]
}

fn with_table(mut group: Group) -> Group {
    if let Balance::SourceHash(table) = &mut group.balance {
        *table = maglev::build(&group.endpoints);
    }
    group
}

/// The `n`-th of a fixed series of numbers that look random.
fn number(n: u64) -> u64 {
    maglev::mix(n.wrapping_mul(0x1234_5678_9abc_def1))
}

fn ask(n: u64) -> Ask<'static> {
    Ask { source: number(n), random: number(!n), tried: &[] }
}

fn slot_of(pick: Pick) -> u32 {
    match pick {
        Pick::Endpoint { slot, .. } => slot.0,
        other => panic!("expected an endpoint, got {other:?}"),
    }
}

fn pick(picker: &mut Picker) -> u32 {
    slot_of(picker.pick(&ask(0)))
}

fn picks(picker: &mut Picker, count: usize) -> Vec<u32> {
    (0..count).map(|_| pick(picker)).collect()
}

fn counts(picks: &[u32], endpoints: usize) -> Vec<u32> {
    let mut counts = vec![0; endpoints];
    picks.iter().for_each(|slot| counts[*slot as usize] += 1);
    counts
}

/// Two shards, two equal backends, one connection each: not both to the same.
#[test]
fn shards_begin_with_different_backends() {
    for balance in [|| Balance::RoundRobin, || Balance::LeastConnections] {
        let first = |shard| {
            let mut picker = Picker::of_shard(ShardId(shard));
            picker.adopt(&group(balance(), &[3; 4]));
            let picks = picks(&mut picker, 8);
            assert_eq!(counts(&picks, 4), [2; 4]);
            picks[0]
        };
        assert_eq!([0, 1, 2, 3, 4].map(first), [0, 1, 2, 3, 0]);
    }
}

/// F6: the algorithm changes under load.
#[test]
fn connections_in_flight_are_carried_to_the_new_algorithm() {
    for from in every_balance() {
        let name = format!("{from:?}");
        let mut picker = picker(&with_table(group(from, &[1, 1, 1])));
        for slot in [0, 0, 1] {
            picker.opened(EndpointSlot(slot));
        }
        picker.adopt(&group(Balance::LeastConnections, &[1, 1, 1]));
        let open = [0, 1, 2].map(|slot| picker.in_flight(EndpointSlot(slot)));
        assert_eq!(open, [2, 1, 0], "{name}");
        assert_eq!(pick(&mut picker), 2, "{name}");
        picker.check_invariants();
    }
}

#[test]
fn a_backend_that_comes_back_is_as_busy_as_it_is() {
    let three = || group(Balance::LeastConnections, &[1, 1, 1]);
    let mut picker = picker(&three());
    for slot in [0, 0, 1, 2] {
        picker.opened(EndpointSlot(slot));
    }
    picker.adopt(&group_of(Balance::LeastConnections, vec![endpoint(1, 1)]));
    picker.closed(EndpointSlot(0));
    // Picked before it left, connected after.
    picker.opened(EndpointSlot(2));
    picker.closed(EndpointSlot(2));
    picker.check_invariants();
    picker.adopt(&three());
    let open = [0, 1, 2].map(|slot| picker.in_flight(EndpointSlot(slot)));
    assert_eq!(open, [1, 1, 1]);
    (0..3).for_each(|slot| picker.closed(EndpointSlot(slot)));
    assert_eq!(picker.in_flight(EndpointSlot(0)), 0);
    picker.check_invariants();
}

#[test]
fn one_close_too_many_is_ignored() {
    let mut picker = picker(&group(Balance::LeastConnections, &[1]));
    picker.closed(EndpointSlot(0));
    picker.closed(EndpointSlot(5));
    assert_eq!(picker.in_flight(EndpointSlot(0)), 0);
}

/// What the passed-over endpoints say is not read: the same `Arc` is the same endpoint.
#[test]
fn a_change_is_adopted_by_what_differs() {
    let old = group(Balance::RoundRobin, &[1, 2, 3, 4]);
    let mut picker = picker(&old);
    picks(&mut picker, 3);
    let mut endpoints = old.endpoints.to_vec();
    endpoints[2] = Arc::new(endpoint(2, 7));
    endpoints.remove(0);
    endpoints.push(Arc::new(endpoint(9, 1)));
    let new = Group { endpoints: endpoints.into(), ..group(Balance::RoundRobin, &[]) };
    picker.adopt_change(&old, &new);
    picker.check_invariants();
    let shares = counts(&picks(&mut picker, 1_400), 10);
    for (slot, weight) in [(1, 2), (2, 7), (3, 4), (9, 1u32)] {
        assert!(shares[slot].abs_diff(100 * weight) <= 3, "{shares:?}");
    }
}

/// Ten thousand backends of all weights, of which many are out, under every algorithm.
#[test]
fn ten_thousand_backends_work() {
    let weights: Vec<u32> = (0..10_000).map(|n| (number(n) % 65_536) as u32).collect();
    for balance in every_balance() {
        let group = checked(with_table(group(balance, &weights)));
        let mut picker = picker(&group);
        for n in 0..10_000 {
            let health = [Health::Up, Health::Up, Health::Down][number(n) as usize % 3];
            picker.set_health(EndpointSlot(n as u32), health);
        }
        let mut seen: HashMap<u32, u32> = HashMap::new();
        for n in 0..50_000 {
            let slot = slot_of(picker.pick(&ask(n)));
            picker.opened(EndpointSlot(slot));
            *seen.entry(slot).or_default() += 1;
        }
        for (slot, picks) in seen {
            assert_eq!(picker.in_flight(EndpointSlot(slot)), picks);
            assert!(number(u64::from(slot)) % 3 < 2 && weights[slot as usize] > 0, "{slot} is out");
        }
        picker.check_invariants();
    }
}
