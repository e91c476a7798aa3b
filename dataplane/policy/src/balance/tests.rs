use super::*;
use crate::generation::{Balance, HealthCheck};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

fn endpoint(slot: u32, weight: u32) -> Endpoint {
    Endpoint {
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
        id: "app".into(),
        balance,
        endpoints: endpoints.into_iter().map(Arc::new).collect(),
        attempts: 3,
        queue: 0,
        queue_wait: Duration::ZERO,
        health: None,
    }
}

/// Endpoints with these weights, in slots 0, 1, 2 …; no health checks.
fn group(balance: Balance, weights: &[u32]) -> Group {
    let slots = 0..weights.len() as u32;
    group_of(
        balance,
        slots
            .zip(weights)
            .map(|(slot, weight)| endpoint(slot, *weight))
            .collect(),
    )
}

fn checked(group: Group) -> Group {
    let health = HealthCheck {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    Group {
        health: Some(health),
        ..group
    }
}

fn picker(group: &Group) -> Picker {
    let mut picker = Picker::new();
    picker.adopt(group);
    picker
}

fn source_hash(weights: &[u32]) -> Group {
    let mut group = group(Balance::RoundRobin, weights);
    group.balance = Balance::SourceHash(maglev::build(&group.endpoints));
    group
}

/// The `n`-th of a fixed series of numbers that look random.
fn number(n: u64) -> u64 {
    maglev::mix(n.wrapping_mul(0x1234_5678_9abc_def1))
}

fn ask(n: u64) -> Ask<'static> {
    Ask {
        source: number(n),
        random: number(!n),
        tried: &[],
    }
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

mod who_is_asked {
    use super::*;
    use Health::{Down, Unproven, Up};

    /// A backend as these cases write it: primary or backup, its health, its cap reached or not.
    type Backend = (bool, Health, bool);
    const PRIMARY: bool = false;
    const BACKUP: bool = true;
    const FULL: bool = true;
    const FREE: bool = false;

    /// `expected`: the slots that picks go to; empty stands for `otherwise`.
    fn check(backends: &[Backend], tried: &[u32], expected: &[u32], otherwise: Pick) {
        let slots = 0..backends.len() as u32;
        let endpoints: Vec<Endpoint> = slots
            .zip(backends)
            .map(|(slot, (backup, ..))| Endpoint {
                backup: *backup,
                ..endpoint(slot, 1)
            })
            .collect();
        let tried: Vec<EndpointSlot> = tried.iter().map(|slot| EndpointSlot(*slot)).collect();
        for balance in every_balance() {
            let name = format!("{balance:?}");
            let group = checked(with_table(group_of(
                balance,
                endpoints.iter().map(copy).collect(),
            )));
            let mut picker = picker(&group);
            for (slot, (_, health, full)) in (0..).map(EndpointSlot).zip(backends) {
                picker.set_health(slot, *health);
                picker.set_full(slot, *full);
            }
            let mut seen = Vec::new();
            for n in 0..50 {
                match picker.pick(&Ask {
                    tried: &tried,
                    ..ask(n)
                }) {
                    Pick::Endpoint { slot, index } => {
                        assert_eq!(group.endpoints[index].slot, slot);
                        seen.push(slot.0);
                    }
                    other => assert_eq!(other, otherwise, "{name}: {backends:?} {tried:?}"),
                }
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, expected, "{name}: {backends:?} {tried:?}");
            picker.check_invariants();
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

        check(&[], &[], &[], Nobody);
        check(&[up, up, unproven, backup], &[], &[0, 1], Nobody);
        check(&[down, unproven, unproven, backup], &[], &[1, 2], Nobody);
        check(
            &[down, down, backup, backup, backup_unproven],
            &[],
            &[2, 3],
            Nobody,
        );
        check(&[down, backup_unproven], &[], &[1], Nobody);
        check(&[down, down], &[], &[], Nobody);
        // Full is busy, not gone: neither the unproven nor the backups take over.
        check(&[up, full], &[], &[0], Nobody);
        check(&[full, full, unproven, backup], &[], &[], Busy);
        check(&[down, backup_full], &[], &[], Busy);
        check(&[down, backup_full, backup], &[], &[2], Nobody);
        check(&[(PRIMARY, Down, FULL)], &[], &[], Nobody);
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        use Pick::{Busy, Nobody};
        let up = (PRIMARY, Up, FREE);
        let unproven = (PRIMARY, Unproven, FREE);
        let full = (PRIMARY, Up, FULL);
        let backup = (BACKUP, Up, FREE);

        check(&[up, up, up], &[1], &[0, 2], Nobody);
        check(&[up, up, up], &[1, 1, 2], &[0], Nobody);
        check(&[up, up, unproven, backup], &[0, 1], &[2], Nobody);
        check(&[up, unproven, backup], &[1, 0], &[2], Nobody);
        check(&[up, unproven, backup], &[0, 1, 2], &[], Nobody);
        check(&[up, full, backup], &[0], &[], Busy);
        // Slots that are not in the group, or not in rotation, say nothing about the others.
        check(&[up, up], &[7, 9], &[0, 1], Nobody);
        check(&[up, (PRIMARY, Down, FREE)], &[1], &[0], Nobody);
    }

    #[test]
    fn weight_drain_and_names_without_address_keep_out_of_rotation() {
        for balance in every_balance() {
            let name = Address::Name {
                host: "a".into(),
                port: 1,
            };
            let named = Endpoint {
                address: name,
                ..endpoint(3, 1)
            };
            let drained = Endpoint {
                drain: true,
                ..endpoint(2, 5)
            };
            let group = with_table(group_of(
                balance,
                vec![endpoint(1, 0), drained, named, endpoint(4, 1)],
            ));
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
}

mod round_robin {
    use super::*;

    /// The classic: every backend gains its weight, the first of the richest pays the total.
    fn nginx(weights: &[u32], count: usize) -> Vec<u32> {
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        let mut wealth = vec![0; weights.len()];
        let mut picks = Vec::new();
        for _ in 0..count {
            wealth
                .iter_mut()
                .zip(weights)
                .for_each(|(wealth, w)| *wealth += i64::from(*w));
            let richest = (0..wealth.len())
                .rev()
                .max_by_key(|at| wealth[*at])
                .unwrap();
            wealth[richest] -= total;
            picks.push(richest as u32);
        }
        picks
    }

    /// The most picks from one of `slot` to its next, the series taken as a ring.
    fn widest_gap(picks: &[u32], slot: u32) -> usize {
        let at: Vec<usize> = (0..picks.len()).filter(|at| picks[*at] == slot).collect();
        let round = at.first().map(|first| first + picks.len());
        at.iter()
            .zip(at.iter().copied().skip(1).chain(round))
            .map(|(a, b)| b - a)
            .max()
            .unwrap()
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

        /// Backends come, go, flap and change weight all the time. Whoever is in rotation without a break
        /// gets its share of the picks among those like it, to within the two picks behind and one ahead of
        /// either; whoever flaps is not favoured by it.
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
            let rest: Vec<u32> = picks(&mut picker, 5)
                .into_iter()
                .filter(|slot| *slot != changed as u32)
                .collect();
            assert!(rest.iter().all(|slot| *slot >= 5), "{changed}: {rest:?}");
            picker.check_invariants();
        }
    }

    #[test]
    fn joining_and_leaving_does_not_restart_the_rotation() {
        let mut picker = picker(&group(Balance::RoundRobin, &[1; 10]));
        assert_eq!(picks(&mut picker, 5), [0, 1, 2, 3, 4]);
        let without_2_and_with_10 = (0..11)
            .filter(|slot| *slot != 2)
            .map(|slot| endpoint(slot, 1));
        picker.adopt(&group_of(
            Balance::RoundRobin,
            without_2_and_with_10.collect(),
        ));
        let mut rest = picks(&mut picker, 6);
        rest.sort_unstable();
        assert_eq!(rest, [5, 6, 7, 8, 9, 10]);
        picker.check_invariants();
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
}

mod least_connections {
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
        assert_eq!(
            counts(&picks(&mut picker, 3_000), 4),
            [0, 1_000, 1_000, 1_000]
        );
        (0..3).for_each(|_| picker.closed(EndpointSlot(0)));
        let shares = counts(&picks(&mut picker, 40), 4);
        assert!(
            shares.iter().all(|share| (9..=11).contains(share)),
            "{shares:?}"
        );
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
}

mod random_two {
    use super::*;

    fn shares(picker: &mut Picker, endpoints: usize, draws: u64) -> Vec<u32> {
        counts(
            &(0..draws)
                .map(|n| slot_of(picker.pick(&ask(n))))
                .collect::<Vec<_>>(),
            endpoints,
        )
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
        let most = (0..100)
            .map(|slot| picker.in_flight(EndpointSlot(slot)))
            .max();
        assert!(most < Some(108), "{most:?}");
    }
}

mod source_hash {
    use super::*;

    fn where_clients_go(picker: &mut Picker) -> Vec<u32> {
        (0..5_000)
            .map(|client| slot_of(picker.pick(&ask(client))))
            .collect()
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
        let drained = |slot| Endpoint {
            drain: slot == 3,
            ..endpoint(slot, 1)
        };
        picker.adopt(&with_table(group_of(
            source_hash(&[]).balance,
            (0..8).map(drained).collect(),
        )));
        assert_moved(&before, &where_clients_go(&mut picker), &[3]);
    }

    /// One of ten thousand is up, so the probes find it for few clients; all go there all the same.
    #[test]
    fn the_last_one_standing_takes_all() {
        let mut picker = picker(&checked(source_hash(&[1; 10_000])));
        (0..9_999).for_each(|slot| picker.set_health(EndpointSlot(slot), Health::Down));
        assert!(
            where_clients_go(&mut picker)
                .iter()
                .all(|slot| *slot == 9_999)
        );
    }

    #[test]
    fn backups_share_the_clients_while_no_primary_is_there() {
        let endpoint = |slot| Endpoint {
            backup: slot > 0,
            ..endpoint(slot, 1)
        };
        let group = group_of(source_hash(&[]).balance, (0..3).map(endpoint).collect());
        let mut picker = picker(&checked(with_table(group)));
        picker.set_health(EndpointSlot(0), Health::Down);
        let once = where_clients_go(&mut picker);
        assert_eq!(once, where_clients_go(&mut picker));
        let shares = counts(&once, 3);
        assert!(
            shares[0] == 0 && shares[1].abs_diff(2_500) < 250,
            "{shares:?}"
        );
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
    let new = Group {
        endpoints: endpoints.into(),
        ..group(Balance::RoundRobin, &[])
    };
    picker.adopt_change(&old, &new);
    picker.check_invariants();
    let shares = counts(&picks(&mut picker, 1_400), 10);
    for (slot, weight) in [(1, 2), (2, 7), (3, 4), (9, 1u32)] {
        assert!(shares[slot].abs_diff(100 * weight) <= 3, "{shares:?}");
    }
}

fn every_balance() -> [Balance; 4] {
    [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomTwo,
        Balance::SourceHash([].into()),
    ]
}

fn with_table(mut group: Group) -> Group {
    if let Balance::SourceHash(table) = &mut group.balance {
        *table = maglev::build(&group.endpoints);
    }
    group
}

fn copy(of: &Endpoint) -> Endpoint {
    let Endpoint {
        slot,
        id,
        address,
        weight,
        backup,
        drain,
        max_connections,
    } = of;
    Endpoint {
        slot: *slot,
        id: id.clone(),
        address: address.clone(),
        weight: *weight,
        backup: *backup,
        drain: *drain,
        max_connections: *max_connections,
    }
}

/// A plain list, asked by scanning it.
mod against_a_scan {
    use super::*;

    #[derive(Clone, Debug)]
    struct Backend {
        weight: u32,
        backup: bool,
        drain: bool,
        named: bool,
        health: Health,
        resolved: bool,
        full: bool,
    }

    #[derive(Default)]
    struct Model {
        backends: BTreeMap<u32, Backend>,
        open: BTreeMap<u32, u32>,
        checked: bool,
    }

    impl Model {
        fn tier(&self, slot: u32) -> Option<usize> {
            let backend = &self.backends[&slot];
            let out = backend.weight == 0
                || backend.drain
                || backend.named && !backend.resolved
                || self.checked && backend.health == Health::Down;
            let unproven = self.checked && backend.health == Health::Unproven;
            (!out).then_some(2 * usize::from(backend.backup) + usize::from(unproven))
        }

        /// `Err`: the answer. `Ok`: one of these is picked.
        fn choices(&self, tried: &[EndpointSlot]) -> Result<Vec<u32>, Pick> {
            let untried = |slot: &&u32| !tried.contains(&EndpointSlot(**slot));
            let tiers = self
                .backends
                .keys()
                .filter(untried)
                .filter_map(|slot| self.tier(*slot));
            let first = tiers.min().ok_or(Pick::Nobody)?;
            let in_tier = self.backends.keys().filter(untried).copied();
            let open: Vec<u32> = in_tier
                .filter(|slot| self.tier(*slot) == Some(first) && !self.backends[slot].full)
                .collect();
            if open.is_empty() {
                Err(Pick::Busy)
            } else {
                Ok(open)
            }
        }

        fn busier(&self, a: u32, b: u32) -> bool {
            let open = |slot| u64::from(self.open.get(&slot).copied().unwrap_or(0));
            open(a) * u64::from(self.backends[&b].weight)
                > open(b) * u64::from(self.backends[&a].weight)
        }

        fn group(&self, balance: usize) -> Group {
            let endpoint = |(slot, backend): (&u32, &Backend)| {
                let address = match backend.named {
                    true => Address::Name {
                        host: "a".into(),
                        port: *slot as u16,
                    },
                    false => endpoint(*slot, 0).address,
                };
                let Backend {
                    weight,
                    backup,
                    drain,
                    ..
                } = *backend;
                Endpoint {
                    address,
                    backup,
                    drain,
                    ..endpoint(*slot, weight)
                }
            };
            let [a, b, c, d] = every_balance();
            let balance = [a, b, c, d]
                .into_iter()
                .nth(balance)
                .expect("there are four");
            let group = group_of(balance, self.backends.iter().map(endpoint).collect());
            let group = if self.checked { checked(group) } else { group };
            small_table(group)
        }
    }

    /// As `with_table`, but quick enough for thousands of groups.
    fn small_table(mut group: Group) -> Group {
        if let Balance::SourceHash(table) = &mut group.balance {
            let open = (0..group.endpoints.len() as u32).filter(|index| {
                let endpoint = &group.endpoints[*index as usize];
                endpoint.weight > 0 && !endpoint.backup
            });
            let entries: Vec<u32> = open.collect();
            *table = entries
                .iter()
                .copied()
                .cycle()
                .take(if entries.is_empty() { 0 } else { 101 })
                .collect();
        }
        group
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put { slot: u32, backend: Backend },
        Remove { slot: u32 },
        Checked(bool),
        Balance(usize),
        Health { slot: u32, health: Health },
        Resolved { slot: u32, resolved: bool },
        Full { slot: u32, full: bool },
        Closed { slot: u32 },
        Pick { n: u64, tried: Vec<u32>, open: bool },
    }

    fn health() -> impl Strategy<Value = Health> {
        prop_oneof![
            Just(Health::Up),
            Just(Health::Up),
            Just(Health::Unproven),
            Just(Health::Down)
        ]
    }

    fn step(slots: u32) -> impl Strategy<Value = Step> {
        let weight = prop_oneof![Just(0), 1..=4u32, 0..=Endpoint::WEIGHT_MAX];
        let often = proptest::bool::weighted(0.2);
        let backend = (weight, often, often, often, health(), any::<bool>(), often);
        let slot = 0..slots;
        prop_oneof![
            4 => (slot.clone(), backend).prop_map(|(slot, (weight, backup, drain, named, ..))| {
                let (health, resolved, full) = (Health::Unproven, false, false);
                Step::Put {
                    slot,
                    backend: Backend { weight, backup, drain, named, health, resolved, full },
                }
            }),
            1 => slot.clone().prop_map(|slot| Step::Remove { slot }),
            1 => any::<bool>().prop_map(Step::Checked),
            1 => (0..4usize).prop_map(Step::Balance),
            4 => (slot.clone(), health()).prop_map(|(slot, health)| Step::Health { slot, health }),
            2 => (slot.clone(), any::<bool>())
                .prop_map(|(slot, resolved)| Step::Resolved { slot, resolved }),
            2 => (slot.clone(), often).prop_map(|(slot, full)| Step::Full { slot, full }),
            4 => slot.clone().prop_map(|slot| Step::Closed { slot }),
            12 => (any::<u64>(), proptest::collection::vec(slot, 0..4), any::<bool>())
                .prop_map(|(n, tried, open)| Step::Pick { n, tried, open }),
        ]
    }

    /// Endpoints that are equal are the same `Arc`, as the compiler has it; every other adoption relies on it.
    fn readopt(picker: &mut Picker, adopted: &mut Group, mut new: Group, turn: usize) {
        for endpoint in &mut new.endpoints {
            let same = adopted.endpoints.iter().find(|known| *known == endpoint);
            same.into_iter().for_each(|same| *endpoint = same.clone());
        }
        match turn % 2 {
            0 => picker.adopt(&new),
            _ => picker.adopt_change(adopted, &new),
        }
        *adopted = new;
    }

    /// Runs the steps on a picker and on the model side by side.
    fn check(slots: u32, mut balance: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let mut model = Model::default();
        let mut adopted = model.group(balance);
        let mut picker = picker(&adopted);
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put { slot, mut backend } => {
                    if let Some(before) = model.backends.get(&slot) {
                        backend.health = before.health;
                        backend.resolved = before.resolved;
                        backend.full = before.full;
                    }
                    model.backends.insert(slot, backend);
                    readopt(&mut picker, &mut adopted, model.group(balance), at);
                }
                Step::Remove { slot } => {
                    model.backends.remove(&slot);
                    readopt(&mut picker, &mut adopted, model.group(balance), at);
                }
                Step::Checked(checked) => {
                    model.checked = checked;
                    readopt(&mut picker, &mut adopted, model.group(balance), at);
                }
                Step::Balance(new) => {
                    balance = new;
                    readopt(&mut picker, &mut adopted, model.group(balance), at);
                }
                Step::Health { slot, health } => {
                    picker.set_health(EndpointSlot(slot), health);
                    model
                        .backends
                        .get_mut(&slot)
                        .into_iter()
                        .for_each(|b| b.health = health);
                }
                Step::Resolved { slot, resolved } => {
                    picker.set_resolved(EndpointSlot(slot), resolved);
                    model
                        .backends
                        .get_mut(&slot)
                        .into_iter()
                        .for_each(|b| b.resolved = resolved);
                }
                Step::Full { slot, full } => {
                    picker.set_full(EndpointSlot(slot), full);
                    model
                        .backends
                        .get_mut(&slot)
                        .into_iter()
                        .for_each(|b| b.full = full);
                }
                Step::Closed { slot } => {
                    picker.closed(EndpointSlot(slot));
                    let open = model.open.entry(slot).or_default();
                    *open = open.saturating_sub(1);
                }
                Step::Pick { n, tried, open } => {
                    let tried: Vec<EndpointSlot> = tried.into_iter().map(EndpointSlot).collect();
                    let answer = picker.pick(&Ask {
                        tried: &tried,
                        ..ask(n)
                    });
                    let choices = match (model.choices(&tried), answer) {
                        (Err(expected), answer) => {
                            prop_assert_eq!(answer, expected);
                            continue;
                        }
                        (Ok(choices), _) => choices,
                    };
                    let slot = slot_of(answer);
                    prop_assert!(choices.contains(&slot), "step {at}: {slot} of {choices:?}");
                    let busier_than = |other: &&u32| model.busier(slot, **other);
                    match balance {
                        1 => prop_assert_eq!(choices.iter().find(busier_than), None),
                        // Whoever is busier than all others loses against whomever it is drawn with.
                        2 => prop_assert!(
                            choices.len() == 1
                                || choices.iter().filter(busier_than).count() < choices.len() - 1
                        ),
                        _ => {}
                    }
                    if open {
                        picker.opened(EndpointSlot(slot));
                        *model.open.entry(slot).or_default() += 1;
                    }
                }
            }
            for slot in 0..slots {
                let open = model.open.get(&slot).copied().unwrap_or(0);
                prop_assert_eq!(picker.in_flight(EndpointSlot(slot)), open);
            }
            picker.check_invariants();
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn picks_are_what_a_scan_allows(
            balance in 0..4usize,
            steps in proptest::collection::vec(step(12), 1..120),
        ) {
            check(12, balance, steps)?;
        }
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
            assert!(
                number(u64::from(slot)) % 3 < 2 && weights[slot as usize] > 0,
                "{slot} is out"
            );
        }
        picker.check_invariants();
    }
}
