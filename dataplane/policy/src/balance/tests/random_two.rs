//! Draws by weight; the less busy of two.

use super::*;

fn shares(picker: &mut Picker, endpoints: usize, draws: u64) -> Vec<u32> {
    counts(&(0..draws).map(|n| slot_of(picker.pick(&ask(n)))).collect::<Vec<_>>(), endpoints)
}

/// Nobody is busy, so the first drawn is taken: shares are the weights'.
#[test]
fn draws_are_in_proportion_to_weight() {
    let mut picker = picker(&group(Balance::RandomTwo, &[1, 0, 3, 6]));
    let shares = shares(&mut picker, 4, 100_000);
    for (share, expected) in shares.iter().zip([10_000, 0, 30_000, 60_000u32]) {
        // Five standard deviations of the widest.
        assert!(share.abs_diff(expected) < 800, "{shares:?}");
    }
}

#[test]
fn the_less_busy_of_two_is_taken() {
    let mut picker = picker(&group(Balance::RandomTwo, &[1, 1]));
    picker.opened(EndpointSlot(0));
    assert_eq!(shares(&mut picker, 2, 1_000), [0, 1_000]);
}

#[test]
fn busy_is_per_weight() {
    let mut picker = picker(&group(Balance::RandomTwo, &[1, 10]));
    (0..5).for_each(|_| picker.opened(EndpointSlot(1)));
    picker.opened(EndpointSlot(0));
    // 1 per 1 against 5 per 10.
    assert_eq!(shares(&mut picker, 2, 1_000), [0, 1_000]);
}

/// What two choices are for: the fullest stays close to the mean.
#[test]
fn open_connections_stay_even() {
    let mut picker = picker(&group(Balance::RandomTwo, &[1; 100]));
    for n in 0..10_000 {
        let slot = slot_of(picker.pick(&ask(n)));
        picker.opened(EndpointSlot(slot));
    }
    let most = (0..100).map(|slot| picker.in_flight(EndpointSlot(slot))).max();
    assert!(most < Some(108), "{most:?}");
}
