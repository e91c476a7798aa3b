//! Shares, spacing and what a change of one does to the others, against nginx's algorithm.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The classic: every backend gains its weight, the first of the richest pays the total.
fn nginx(weights: &[u32], count: usize) -> Vec<u32> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut wealth = vec![0; weights.len()];
    let mut picks = Vec::new();
    for _ in 0..count {
        wealth.iter_mut().zip(weights).for_each(|(wealth, w)| *wealth += i64::from(*w));
        let richest = (0..wealth.len()).rev().max_by_key(|at| wealth[*at]).unwrap();
        wealth[richest] -= total;
        picks.push(richest as u32);
    }
    picks
}

/// The most picks from one of `slot` to its next, the series taken as a ring.
fn widest_gap(picks: &[u32], slot: u32) -> usize {
    let at: Vec<usize> = (0..picks.len()).filter(|at| picks[*at] == slot).collect();
    let round = at.first().map(|first| first + picks.len());
    at.iter().zip(at.iter().copied().skip(1).chain(round)).map(|(a, b)| b - a).max().unwrap()
}

#[test]
fn the_example_of_nginx() {
    assert_eq!(nginx(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
    let mut picker = picker(&group(Balance::RoundRobin, &[5, 1, 1]));
    assert_eq!(picks(&mut picker, 7), [0, 1, 0, 0, 2, 0, 0]);
    assert_eq!(picks(&mut picker, 7), [0, 1, 0, 0, 2, 0, 0]);
}

#[test]
fn one_heavy_among_many_light_is_not_bunched() {
    let mut weights = vec![1; 101];
    weights[50] = 100;
    let picks = picks(&mut picker(&group(Balance::RoundRobin, &weights)), 200);
    assert_eq!(widest_gap(&picks, 50), 3);
    assert_eq!(widest_gap(&nginx(&weights, 200), 50), 3);
}

proptest! {
    /// Every full period has exactly the shares that nginx's has; inside it nobody is a whole pick ahead
    /// of its share or two behind, and so no gap is three times the ideal. Nginx's own stay below two.
    #[test]
    fn shares_are_exact_and_evenly_spaced(
        weights in prop_oneof![
            proptest::collection::vec(1..20u32, 1..20),
            proptest::collection::vec(8..16u32, 1..60),
            proptest::collection::vec(1..300u32, 1..8),
        ],
    ) {
        let period: u32 = weights.iter().sum();
        let mut picker = picker(&group(Balance::RoundRobin, &weights));
        let first = picks(&mut picker, period as usize);
        prop_assert_eq!(counts(&first, weights.len()), &weights[..]);
        prop_assert_eq!(counts(&nginx(&weights, first.len()), weights.len()), &weights[..]);
        prop_assert_eq!(&picks(&mut picker, period as usize), &first);
        let mut done = vec![0; weights.len()];
        for (at, slot) in first.iter().enumerate() {
            done[*slot as usize] += 1;
            for (done, weight) in done.iter().zip(&weights) {
                // Share minus picks, times the period.
                let short = i64::from(*weight) * (at as i64 + 1) - done * i64::from(period);
                prop_assert!(short > -i64::from(period), "ahead at {at} of {first:?}");
                prop_assert!(short < 2 * i64::from(period), "behind at {at} of {first:?}");
            }
        }
        for (slot, weight) in (0..).zip(&weights) {
            prop_assert!(widest_gap(&first, slot) as u32 * weight <= 3 * period);
        }
    }

    /// A no-op changes nothing at all, wherever in the rotation it comes.
    #[test]
    fn a_no_op_is_not_noticed(weights in proptest::collection::vec(0..9u32, 1..12), before in 0..40usize) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let group = || group(Balance::RoundRobin, &weights);
        let mut undisturbed = picker(&group());
        let mut disturbed = picker(&group());
        picks(&mut undisturbed, before);
        picks(&mut disturbed, before);
        disturbed.adopt(&group());
        prop_assert_eq!(picks(&mut disturbed, 50), picks(&mut undisturbed, 50));
    }

    /// Backends come, go, flap and change weight all the time. Those that stay in rotation without a break
    /// have equal shares of the rest: one may be two picks behind while another is one ahead.
    #[test]
    fn changes_favour_nobody(
        weight in 1..9u32,
        disturbances in proptest::collection::vec((0..6u32, 1..40u32, any::<bool>(), 0..12usize), 1..60),
    ) {
        // Slots 0..6 stay as they are, 10..16 are disturbed.
        let steady: Vec<u32> = (0..6).collect();
        let mut others: BTreeMap<u32, u32> = (10..16).map(|slot| (slot, weight)).collect();
        let group = |others: &BTreeMap<u32, u32>| {
            let steady = steady.iter().map(|slot| endpoint(*slot, weight));
            let others = others.iter().map(|(slot, weight)| endpoint(*slot, *weight));
            checked(group_of(Balance::RoundRobin, steady.chain(others).collect()))
        };
        let mut picker = picker(&group(&others));
        (0..16).for_each(|slot| picker.set_health(EndpointSlot(slot), Health::Up));
        let mut done = [0i64; 16];
        for (slot, new_weight, by_config, count) in disturbances {
            let slot = 10 + slot;
            if !by_config {
                picker.set_health(EndpointSlot(slot), Health::Down);
                picker.set_health(EndpointSlot(slot), Health::Up);
            } else {
                if others.remove(&slot).is_none() || new_weight % 2 == 0 {
                    others.insert(slot, new_weight);
                }
                picker.adopt(&group(&others));
                picker.set_health(EndpointSlot(slot), Health::Up);
            }
            picker.check_invariants();
            for _ in 0..count {
                done[pick(&mut picker) as usize] += 1;
            }
        }
        let (least, most) = (done[..6].iter().min().unwrap(), done[..6].iter().max().unwrap());
        prop_assert!(most - least < 3, "{done:?}");
    }
}

/// In the middle of a round the weight of one changes; those that were served go on waiting for those
/// that were not.
#[test]
fn a_change_of_one_weight_does_not_restart_the_rotation() {
    for changed in 0..10 {
        let mut weights = [4; 10];
        let mut picker = picker(&group(Balance::RoundRobin, &weights));
        assert_eq!(picks(&mut picker, 5), [0, 1, 2, 3, 4]);
        weights[changed] = 5;
        picker.adopt(&group(Balance::RoundRobin, &weights));
        let rest: Vec<u32> = picks(&mut picker, 5).into_iter().filter(|slot| *slot != changed as u32).collect();
        assert!(rest.iter().all(|slot| *slot >= 5), "{changed}: {rest:?}");
        picker.check_invariants();
    }
}

#[test]
fn joining_and_leaving_does_not_restart_the_rotation() {
    let mut picker = picker(&group(Balance::RoundRobin, &[1; 10]));
    assert_eq!(picks(&mut picker, 5), [0, 1, 2, 3, 4]);
    let without_2_and_with_10 = (0..11).filter(|slot| *slot != 2).map(|slot| endpoint(slot, 1));
    picker.adopt(&group_of(Balance::RoundRobin, without_2_and_with_10.collect()));
    let mut rest = picks(&mut picker, 6);
    rest.sort_unstable();
    assert_eq!(rest, [5, 6, 7, 8, 9, 10]);
    picker.check_invariants();
}

#[test]
fn a_backend_that_flaps_or_was_away_is_not_favoured() {
    let mut picker = picker(&checked(group(Balance::RoundRobin, &[3; 10])));
    let set = |picker: &mut Picker, health| picker.set_health(EndpointSlot(3), health);
    (0..10).for_each(|slot| picker.set_health(EndpointSlot(slot), Health::Up));
    let mut done = [0; 10];
    for _ in 0..1_000 {
        set(&mut picker, Health::Down);
        set(&mut picker, Health::Up);
        done[pick(&mut picker) as usize] += 1;
    }
    assert!((98..=102).contains(&done[3]), "{done:?}");
    set(&mut picker, Health::Down);
    assert_eq!(counts(&picks(&mut picker, 900), 10)[3], 0);
    set(&mut picker, Health::Up);
    assert!(counts(&picks(&mut picker, 100), 10)[3] <= 12);
}

/// Who takes the seat of one that left does not take over its turns.
#[test]
fn a_newcomer_begins_now() {
    let mut picker = picker(&group(Balance::RoundRobin, &[1; 10]));
    assert_eq!(pick(&mut picker), 0);
    let with_10_for_0 = (1..11).map(|slot| endpoint(slot, 1));
    picker.adopt(&group_of(Balance::RoundRobin, with_10_for_0.collect()));
    assert_eq!(pick(&mut picker), 10);
}

/// Weights set over and over, faster than turns come, must not put a backend off for ever.
#[test]
fn a_backend_whose_weight_never_rests_is_served() {
    let mut weights = [10; 20];
    let mut picker = picker(&group(Balance::RoundRobin, &weights));
    let mut done = [0; 20];
    for n in 0..2_000 {
        weights[7] = 10 + n % 2;
        picker.adopt(&group(Balance::RoundRobin, &weights));
        done[pick(&mut picker) as usize] += 1;
    }
    assert!((95..=110).contains(&done[7]), "{done:?}");
}
