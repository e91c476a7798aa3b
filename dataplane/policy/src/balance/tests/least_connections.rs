//! Load first, turns among equals.

use super::*;

#[test]
fn equal_and_idle_backends_get_equal_shares() {
    let mut picker = picker(&group(Balance::LeastConnections, &[1; 7]));
    let mut done = [0; 7];
    for _ in 0..70 {
        let slot = pick(&mut picker);
        done[slot as usize] += 1;
        picker.opened(EndpointSlot(slot));
        picker.closed(EndpointSlot(slot));
    }
    assert_eq!(done, [10; 7]);
}

#[test]
fn idle_backends_get_shares_by_weight() {
    let mut picker = picker(&group(Balance::LeastConnections, &[1, 2, 5]));
    assert_eq!(counts(&picks(&mut picker, 80), 3), [10, 20, 50]);
}

#[test]
fn open_connections_follow_the_weights() {
    let mut picker = picker(&group(Balance::LeastConnections, &[10, 20, 70]));
    for _ in 0..1_000 {
        let slot = pick(&mut picker);
        picker.opened(EndpointSlot(slot));
    }
    let open = [0, 1, 2].map(|slot| picker.in_flight(EndpointSlot(slot)));
    assert_eq!(open, [100, 200, 700]);
}

/// One backend is busy for long, the others take a thousand turns; when it is idle again it takes its
/// turn, not a thousand of them.
#[test]
fn missed_turns_are_not_made_up_for() {
    let mut picker = picker(&group(Balance::LeastConnections, &[1; 4]));
    (0..3).for_each(|_| picker.opened(EndpointSlot(0)));
    assert_eq!(counts(&picks(&mut picker, 3_000), 4), [0, 1_000, 1_000, 1_000]);
    (0..3).for_each(|_| picker.closed(EndpointSlot(0)));
    let shares = counts(&picks(&mut picker, 40), 4);
    assert!(shares.iter().all(|share| (9..=11).contains(share)), "{shares:?}");
}

#[test]
fn a_newcomer_is_filled_up_and_a_full_one_passed_over() {
    let mut picker = picker(&group(Balance::LeastConnections, &[1, 1]));
    for slot in [0, 1, 0, 1] {
        picker.opened(EndpointSlot(slot));
    }
    picker.adopt(&group(Balance::LeastConnections, &[1, 1, 1]));
    for _ in 0..2 {
        assert_eq!(pick(&mut picker), 2);
        picker.opened(EndpointSlot(2));
    }
    picker.set_full(EndpointSlot(2), true);
    picker.closed(EndpointSlot(2));
    assert!(picks(&mut picker, 4).iter().all(|slot| *slot < 2));
    picker.set_full(EndpointSlot(2), false);
    assert_eq!(pick(&mut picker), 2);
}
