//! Who moves when a backend goes or comes back.

use super::*;

fn where_clients_go(picker: &mut Picker) -> Vec<u32> {
    (0..5_000).map(|client| slot_of(picker.pick(&ask(client)))).collect()
}

/// Asserts that exactly the clients of `gone` moved.
fn assert_moved(before: &[u32], after: &[u32], gone: &[u32]) {
    for (client, (before, after)) in before.iter().zip(after).enumerate() {
        assert_eq!(before != after, gone.contains(before), "client {client}");
    }
}

#[test]
fn a_client_keeps_its_backend_and_shares_follow_the_weights() {
    let mut picker = picker(&source_hash(&[1, 1, 2]));
    let once = where_clients_go(&mut picker);
    assert_eq!(once, where_clients_go(&mut picker));
    let shares = counts(&once, 3);
    for (share, expected) in shares.iter().zip([1_250, 1_250, 2_500u32]) {
        assert!(share.abs_diff(expected) < 180, "{shares:?}");
    }
}

#[test]
fn only_the_clients_of_who_is_gone_move_and_they_come_back() {
    let mut picker = picker(&checked(source_hash(&[3; 20])));
    let everybody = (0..20).map(EndpointSlot);
    everybody.for_each(|slot| picker.set_health(slot, Health::Up));
    let before = where_clients_go(&mut picker);
    picker.set_health(EndpointSlot(4), Health::Down);
    let one_down = where_clients_go(&mut picker);
    assert_moved(&before, &one_down, &[4]);
    picker.set_full(EndpointSlot(9), true);
    assert_moved(&one_down, &where_clients_go(&mut picker), &[9]);
    picker.set_full(EndpointSlot(9), false);
    picker.set_health(EndpointSlot(4), Health::Up);
    assert_eq!(where_clients_go(&mut picker), before);
}

#[test]
fn a_drain_moves_only_its_own_clients() {
    let mut picker = picker(&source_hash(&[1; 8]));
    let before = where_clients_go(&mut picker);
    let drained = |slot| Endpoint { drain: slot == 3, ..endpoint(slot, 1) };
    picker.adopt(&with_table(group_of(source_hash(&[]).balance, (0..8).map(drained).collect())));
    assert_moved(&before, &where_clients_go(&mut picker), &[3]);
}

#[test]
fn a_new_table_is_followed_as_by_a_new_picker() {
    let mut running = picker(&source_hash(&[1; 8]));
    let before = where_clients_go(&mut running);
    let next = source_hash(&[1, 1, 1, 1, 1, 9, 1]);
    running.adopt(&next);
    let after = where_clients_go(&mut running);
    assert_ne!(before, after);
    assert_eq!(after, where_clients_go(&mut picker(&next)));
}

/// One of ten thousand is up, so the probes find it for few clients; all go there all the same.
#[test]
fn the_last_one_standing_takes_all() {
    let mut picker = picker(&checked(source_hash(&[1; 10_000])));
    (0..9_999).for_each(|slot| picker.set_health(EndpointSlot(slot), Health::Down));
    assert!(where_clients_go(&mut picker).iter().all(|slot| *slot == 9_999));
}

#[test]
fn backups_share_the_clients_while_no_primary_is_there() {
    let endpoint = |slot| Endpoint { backup: slot > 0, ..endpoint(slot, 1) };
    let group = group_of(source_hash(&[]).balance, (0..3).map(endpoint).collect());
    let mut picker = picker(&checked(with_table(group)));
    picker.set_health(EndpointSlot(0), Health::Down);
    let once = where_clients_go(&mut picker);
    assert_eq!(once, where_clients_go(&mut picker));
    let shares = counts(&once, 3);
    assert!(shares[0] == 0 && shares[1].abs_diff(2_500) < 250, "{shares:?}");
}
