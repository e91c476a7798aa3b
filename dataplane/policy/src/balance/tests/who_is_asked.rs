//! Tiers, caps and tried backends: the same rule under every algorithm.

use super::*;
use Health::{Down, Unproven, Up};

/// A backend as these cases write it: primary or backup, its health, its cap reached or not.
type Backend = (bool, Health, bool);
const PRIMARY: bool = false;
const BACKUP: bool = true;
const FULL: bool = true;
const FREE: bool = false;

/// `expected`: all slots that fifty picks go to, or what each of them answers instead.
fn check(backends: &[Backend], tried: &[u32], expected: Result<&[u32], Pick>) {
    let tried: Vec<EndpointSlot> = tried.iter().map(|slot| EndpointSlot(*slot)).collect();
    for balance in every_balance() {
        let case = format!("{balance:?}: {backends:?}, tried {tried:?}");
        let endpoints =
            (0..).zip(backends).map(|(slot, (backup, ..))| Endpoint { backup: *backup, ..endpoint(slot, 1) });
        let group = checked(with_table(group_of(balance, endpoints.collect())));
        let mut picker = picker(&group);
        for (slot, (_, health, full)) in (0..).map(EndpointSlot).zip(backends) {
            picker.set_health(slot, *health);
            picker.set_full(slot, *full);
        }
        let mut answer = |n| {
            let tried = &tried;
            picker.pick(&Ask { tried, ..ask(n) })
        };
        match expected {
            Err(expected) => (0..50).for_each(|n| assert_eq!(answer(n), expected, "{case}")),
            Ok(expected) => {
                let mut seen: Vec<u32> = (0..50).map(|n| slot_of(answer(n))).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen, expected, "{case}");
            }
        }
        picker.check_invariants();
    }
}

#[test]
fn the_index_is_that_of_the_group() {
    let slots = [3, 4, 9, 1_000];
    let endpoints = || slots.map(|slot| endpoint(slot, 2)).into();
    for balance in every_balance() {
        let group = with_table(group_of(balance, endpoints()));
        let mut picker = picker(&group);
        for n in 0..20 {
            let Pick::Endpoint { slot, index } = picker.pick(&ask(n)) else {
                panic!("all are in rotation");
            };
            assert_eq!(group.endpoints[index].slot, slot);
        }
    }
}

#[test]
fn the_first_tier_in_rotation_decides() {
    use Pick::{Busy, Nobody};
    let up = (PRIMARY, Up, FREE);
    let unproven = (PRIMARY, Unproven, FREE);
    let down = (PRIMARY, Down, FREE);
    let full = (PRIMARY, Up, FULL);
    let backup = (BACKUP, Up, FREE);
    let backup_unproven = (BACKUP, Unproven, FREE);
    let backup_full = (BACKUP, Up, FULL);

    check(&[], &[], Err(Nobody));
    check(&[up, up, unproven, backup], &[], Ok(&[0, 1]));
    check(&[down, unproven, unproven, backup], &[], Ok(&[1, 2]));
    check(&[down, down, backup, backup, backup_unproven], &[], Ok(&[2, 3]));
    check(&[down, backup_unproven], &[], Ok(&[1]));
    check(&[down, down], &[], Err(Nobody));
    // Full is busy, not gone: the unproven help out, the backups do not take over.
    check(&[up, full], &[], Ok(&[0]));
    check(&[full, full, unproven, backup], &[], Ok(&[2]));
    check(&[full, full, backup], &[], Err(Busy));
    check(&[full, (PRIMARY, Unproven, FULL), backup], &[], Err(Busy));
    check(&[backup_full, backup_unproven], &[], Ok(&[1]));
    check(&[down, backup_full], &[], Err(Busy));
    check(&[down, backup_full, backup], &[], Ok(&[2]));
    check(&[(PRIMARY, Down, FULL)], &[], Err(Nobody));
}

#[test]
fn what_was_tried_is_not_tried_again() {
    use Pick::{Busy, Nobody};
    let up = (PRIMARY, Up, FREE);
    let unproven = (PRIMARY, Unproven, FREE);
    let full = (PRIMARY, Up, FULL);
    let backup = (BACKUP, Up, FREE);

    check(&[up, up, up], &[1], Ok(&[0, 2]));
    check(&[up, up, up], &[1, 1, 2], Ok(&[0]));
    check(&[up, up, unproven, backup], &[0, 1], Ok(&[2]));
    check(&[up, unproven, backup], &[1, 0], Ok(&[2]));
    check(&[up, unproven, backup], &[0, 1, 2], Err(Nobody));
    check(&[up, full, backup], &[0], Err(Busy));
    // Slots that are not in the group, or not in rotation, say nothing about the others.
    check(&[up, up], &[7, 9], Ok(&[0, 1]));
    check(&[up, (PRIMARY, Down, FREE)], &[1], Ok(&[0]));
}

#[test]
fn weight_drain_and_names_without_address_keep_out_of_rotation() {
    for balance in every_balance() {
        let name = Address::Name { host: "a".into(), port: 1 };
        let named = Endpoint { address: name, ..endpoint(3, 1) };
        let drained = Endpoint { drain: true, ..endpoint(2, 5) };
        let group = with_table(group_of(balance, vec![endpoint(1, 0), drained, named, endpoint(4, 1)]));
        let mut picker = picker(&group);
        let seen = |picker: &mut Picker| {
            let mut seen: Vec<u32> = (0..50).map(|n| slot_of(picker.pick(&ask(n)))).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(seen(&mut picker), [4]);
        picker.set_resolved(EndpointSlot(3), true);
        assert_eq!(seen(&mut picker), [3, 4]);
        // Only a name can be unresolved.
        picker.set_resolved(EndpointSlot(4), false);
        picker.set_resolved(EndpointSlot(3), false);
        assert_eq!(seen(&mut picker), [4]);
    }
}

#[test]
fn without_checks_everybody_counts_as_up() {
    let unchecked = || group(Balance::RoundRobin, &[1, 1]);
    let mut picker = picker(&checked(unchecked()));
    picker.set_health(EndpointSlot(0), Down);
    assert_eq!(picks(&mut picker, 2), [1, 1]);
    picker.adopt(&unchecked());
    assert_eq!(counts(&picks(&mut picker, 4), 2), [2, 2]);
    // What the checks found before is still known when they begin again.
    picker.adopt(&checked(unchecked()));
    assert_eq!(picks(&mut picker, 2), [1, 1]);
    picker.check_invariants();
}
