//! The one of two that is expected to answer sooner.

use super::*;
use crate::balance::latency::HALF_LIFE_MILLIS;

fn answered(picker: &mut Picker, slot: u32, micros: u32, now: u64) {
    picker.answered(EndpointSlot(slot), micros, Tick(now));
}

fn shares(picker: &mut Picker, endpoints: usize, draws: u64) -> Vec<u32> {
    counts(&(0..draws).map(|n| slot_of(picker.pick(&ask(n)))).collect::<Vec<_>>(), endpoints)
}

#[test]
fn the_faster_of_two_is_taken_until_it_is_as_slow_by_what_waits() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1, 1]));
    answered(&mut picker, 0, 3_000, 0);
    answered(&mut picker, 1, 1_000, 0);
    assert_eq!(shares(&mut picker, 2, 100), [0, 100]);
    (0..3).for_each(|_| picker.opened(EndpointSlot(1)));
    assert_eq!(shares(&mut picker, 2, 100), [100, 0]);
    picker.check_invariants();
}

#[test]
fn slow_is_per_weight() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1, 5]));
    answered(&mut picker, 0, 1_000, 0);
    answered(&mut picker, 1, 4_000, 0);
    assert_eq!(shares(&mut picker, 2, 100), [0, 100]);
}

/// Equal backends that all have answered alike: shares are the weights' draws.
#[test]
fn of_equals_each_has_its_share() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1; 4]));
    (0..4).for_each(|slot| answered(&mut picker, slot, 500, 0));
    for share in shares(&mut picker, 4, 40_000) {
        assert!(share.abs_diff(10_000) < 500, "{share}");
    }
}

#[test]
fn whoever_never_answered_gets_one_request_and_no_second() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1, 1]));
    answered(&mut picker, 0, 1_000_000, 0);
    assert_eq!(pick(&mut picker), 1);
    picker.opened(EndpointSlot(1));
    assert_eq!(shares(&mut picker, 2, 100), [100, 0]);
    answered(&mut picker, 1, 10, 5);
    assert_eq!(shares(&mut picker, 2, 100), [0, 100]);
}

#[test]
fn a_slow_answer_fades() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1, 1]));
    answered(&mut picker, 0, 100_000, 0);
    answered(&mut picker, 1, 1_000, 0);
    assert_eq!(pick(&mut picker), 1);
    answered(&mut picker, 1, 1_000, 6 * HALF_LIFE_MILLIS);
    assert_eq!(pick(&mut picker), 1);
    answered(&mut picker, 1, 1_000, 8 * HALF_LIFE_MILLIS);
    assert_eq!(pick(&mut picker), 0);
}

/// Requests that take as long as their backend is slow: the fast ones do most, nobody is left out.
#[test]
fn requests_go_where_answers_come_sooner() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1; 4]));
    let took = [10u64, 10, 40, 200];
    let mut running: Vec<(u64, u32)> = Vec::new();
    let mut done = vec![0; 4];
    for now in 0..20_000u64 {
        for (_, slot) in running.extract_if(.., |(until, _)| *until <= now) {
            picker.closed(EndpointSlot(slot));
            picker.answered(EndpointSlot(slot), took[slot as usize] as u32 * 1_000, Tick(now));
            done[slot as usize] += 1;
        }
        let slot = slot_of(picker.pick(&ask(now)));
        picker.opened(EndpointSlot(slot));
        running.push((now + took[slot as usize], slot));
    }
    let fast = done[0] + done[1];
    assert!(fast * 4 > 3 * done.iter().sum::<u32>() && done[3] > 0, "{done:?}");
    assert!(done[0].abs_diff(done[1]) * 10 < fast && done[2] > done[3], "{done:?}");
}

#[test]
fn whoever_is_ejected_is_out_until_it_is_not() {
    let mut picker = picker(&group(Balance::PeakEwma, &[1, 1]));
    picker.set_ejected(EndpointSlot(1), true);
    assert_eq!(shares(&mut picker, 2, 50), [50, 0]);
    picker.check_invariants();
    picker.set_ejected(EndpointSlot(0), true);
    assert_eq!(picker.pick(&ask(0)), Pick::Nobody);
    picker.set_ejected(EndpointSlot(1), false);
    assert_eq!(shares(&mut picker, 2, 50), [0, 50]);
}
