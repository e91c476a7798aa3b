//! Lists against a scan of their entries, and what a change of one costs.

use super::*;
use crate::ids::ListSlot;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

fn addresses(prefixes: &str) -> List {
    let entries = prefixes.split_whitespace().map(|text| (prefix(text).into(), None));
    List::of(ListKind::Addresses, entries.collect())
}

fn texts(texts: &str) -> List {
    List::of(ListKind::Texts, texts.split_whitespace().map(|text| (text.into(), None)).collect())
}

#[test]
fn an_address_is_held_by_any_prefix_about_it() {
    let check = |prefixes: &str, address: &str, expected: bool| {
        assert_eq!(addresses(prefixes).holds_address(address.parse().unwrap()), expected, "{address} in {prefixes}");
    };
    check("", "192.0.2.1", false);
    check("10.0.0.0/8 10.1.0.0/16 10.1.1.1/32", "10.255.0.1", true);
    check("10.0.0.0/8 10.1.0.0/16 10.1.1.1/32", "11.0.0.0", false);
    check("10.1.2.3/8", "10.0.0.0", true);
    check("0.0.0.0/0 255.255.255.255/32", "255.255.255.254", true);
    check("0.0.0.0/0", "::1", false);
    check("::/0", "192.0.2.1", false);
    check("::/0", "2001:db8::1", true);
    check("2001:db8::/32 2001:db8:1::/48", "2001:db8:2::", true);
    check("2001:db8::/32 2001:db8:1::/48", "2001:db9::", false);
    check("10.0.0.0/8", "::ffff:10.1.1.1", true);
    check("::ffff:10.0.0.0/104", "10.1.1.1", true);
    check("::ffff:10.0.0.0/104", "11.1.1.1", false);
}

#[test]
fn a_host_is_held_by_its_name_or_by_one_above() {
    let list = texts("a.example *.b.example");
    let check = |host: &str, expected: bool| assert_eq!(list.holds_host(host.as_bytes()), expected, "{host}");
    check("a.example", true);
    check("x.a.example", false);
    check("b.example", false);
    check("x.b.example", true);
    check("y.x.b.example", true);
    check("xb.example", false);
    check("", false);
    check(&format!("{}.b.example", "x".repeat(HOST - 11)), true);
    check(&format!("{}.b.example", "x".repeat(HOST)), false);
    check(&format!("{}b.example", "x.".repeat(122)), true);
}

/// The longest host.
const HOST: usize = crate::http::condition::HOST_BYTES_MAX - 1;

#[test]
fn entries_of_the_other_kind_are_nobody() {
    let (address, text) = (addresses("10.0.0.0/8"), texts("10.0.0.0/8"));
    assert!(!text.holds_address(Ipv4Addr::new(10, 0, 0, 1).into()));
    assert!(!address.holds_text(b"10.0.0.0/8") && !address.holds_host(b"10.0.0.0/8"));
    assert_eq!(address.with(&"x".into(), None), address);
    assert_eq!(text.without(&prefix("10.0.0.0/8").into()), text);
    assert_ne!(addresses("").digest(), texts("").digest());
}

#[test]
fn the_first_to_expire_is_found_at_once() {
    let note = |expires| Note::of(Some(expires), "seen scanning");
    let entries = (0..1_000u32).map(|host| {
        let prefix = Prefix::new(Ipv4Addr::from_bits(host << 8).into(), 24).unwrap();
        (prefix.into(), if host % 10 == 0 { note(1_000 + u64::from(host)) } else { None })
    });
    let mut list = List::of(ListKind::Addresses, entries.collect());
    assert_eq!(list.next_expiry(), Some(1_000));
    assert_eq!(list.expired_at(999), None);
    let mut gone = 0;
    while let Some(entry) = list.expired_at(1_500) {
        list = list.without(&entry);
        gone += 1;
    }
    assert_eq!((gone, list.len(), list.next_expiry()), (51, 949, Some(1_510)));
    assert_eq!(addresses("10.0.0.0/8").next_expiry(), None);
}

#[test]
fn of_equal_entries_the_last_counts() {
    let noted = |reason: &str| (Entry::from(prefix("10.0.0.0/8")), Note::of(None, reason));
    let list = List::of(ListKind::Addresses, vec![noted("first"), noted("second")]);
    assert_eq!(list.len(), 1);
    assert_eq!(*list.find(&prefix("10.9.9.9/8").into()).unwrap(), Note::of(None, "second"));
    assert_ne!(list, addresses("10.0.0.0/8"), "what is noted counts");
}

#[test]
fn a_slot_leads_to_its_list() {
    let lists = Lists::new([(ListSlot(7), Arc::new(texts("a"))), (ListSlot(2), Arc::new(addresses("::/0")))]);
    assert!(lists.find(ListSlot(7)).unwrap().holds_text(b"a"));
    assert_eq!(lists.find(ListSlot(2)).unwrap().kind(), ListKind::Addresses);
    assert!(lists.find(ListSlot(3)).is_none());
    assert!(lists.same(&lists.clone()) && !lists.same(Lists::NONE));
}

#[test]
fn one_entry_of_a_million_changes_a_path() {
    let million: Vec<_> = (0..1_000_000u32)
        .map(|n| (Prefix::new(Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761)).into(), 32).unwrap().into(), None))
        .collect();
    let list = List::of(ListKind::Addresses, million);
    assert!(list.bytes() / list.len() as u64 <= 40);
    let List::Addresses(set) = &list else { unreachable!("it was made of addresses") };
    let (told, found) = (list.bytes() as f64, set.v4.node_bytes() as f64);
    assert!((0.9..1.2).contains(&(told / found)), "{told} bytes are told, {found} are there");
    let mut most = 0;
    for n in (0..1_000_000u32).step_by(9_973) {
        let entry = Prefix::new(Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761) ^ 1).into(), 32).unwrap().into();
        let new = list.with(&entry, None);
        most = most.max(list.unshared_bytes(&new));
        let back = new.without(&entry);
        assert_eq!(back.len() + usize::from(list.find(&entry).is_some()), list.len());
    }
    assert!(most <= 16 << 10, "{most} bytes for one entry");
}

/// Prefixes of few addresses, so that they nest and meet.
fn some_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (0..64u32, 22..=32u8)
        .prop_map(|(host, length)| Prefix::new(Ipv4Addr::from_bits(0x0a00_0000 | host << 3).into(), length).unwrap());
    let v6 = (0..64u128, 118..=128u8)
        .prop_map(|(host, length)| Prefix::new(Ipv6Addr::from_bits(0xfd << 120 | host << 3).into(), length).unwrap());
    prop_oneof![v4, v6]
}

fn some_note() -> impl Strategy<Value = Noted> {
    (proptest::option::of(1..9u64), prop_oneof![Just(""), Just("scan")])
        .prop_map(|(expires, why)| Note::of(expires, why))
}

fn scan<'p>(mut prefixes: impl Iterator<Item = &'p Prefix>, address: IpAddr) -> bool {
    prefixes.any(|prefix| match (prefix.address, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u64::from(one.to_bits() ^ other.to_bits()) >> (32 - prefix.length) == 0,
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(prefix.length)).unwrap_or(0) == 0
        }
        _ => false,
    })
}

proptest! {
    #[test]
    fn it_is_the_scan_of_its_entries_whatever_its_history(
        edits in proptest::collection::vec((some_prefix(), some_note(), 0..3u8), 0..80),
    ) {
        let mut list = List::new(ListKind::Addresses);
        let mut model: BTreeMap<(IpAddr, u8), (Prefix, Noted)> = BTreeMap::new();
        for (prefix, note, way) in &edits {
            // As the list spells it.
            let spelled = List::of(ListKind::Addresses, vec![((*prefix).into(), None)]);
            let Some((Entry::Address(spelled), _)) = spelled.iter().next() else { unreachable!("it has one") };
            let key = (spelled.address, spelled.length);
            match way {
                0 => {
                    list = list.without(&(*prefix).into());
                    model.remove(&key);
                }
                _ => {
                    list = list.with(&(*prefix).into(), note.clone());
                    model.insert(key, (spelled, note.clone()));
                }
            }
        }
        for host in 0..0x220u32 {
            let v4 = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + host));
            let v6 = IpAddr::from(Ipv6Addr::from_bits((0xfd << 120) + u128::from(host)));
            for address in [v4, v6] {
                let expected = scan(model.values().map(|(prefix, _)| prefix), address);
                prop_assert_eq!(list.holds_address(address), expected, "{}", address);
            }
        }
        let entries: Vec<_> = model.values().map(|(prefix, note)| ((*prefix).into(), note.clone())).collect();
        let fresh = List::of(ListKind::Addresses, entries);
        prop_assert_eq!(fresh.digest(), list.digest());
        prop_assert_eq!(list.len(), model.len());
        let expiries = model.values().filter_map(|(_, note)| note.as_ref()?.expires);
        prop_assert_eq!(list.next_expiry(), expiries.min());
        prop_assert!(list.iter().eq(fresh.iter()));
    }

    #[test]
    fn differences_lead_from_one_to_the_other(
        start in proptest::collection::vec((some_prefix(), some_note()), 0..60),
        other in proptest::collection::vec((some_prefix(), some_note()), 0..60),
        kept in 0..60usize,
    ) {
        let of = |all: &[(Prefix, Noted)]| {
            List::of(ListKind::Addresses, all.iter().map(|(prefix, note)| ((*prefix).into(), note.clone())).collect())
        };
        let (old, new) = (of(&start), of(&[&start[..kept.min(start.len())], &other[..]].concat()));
        let mut told = old.clone();
        for difference in old.diff(&new) {
            told = match difference {
                ListDifference::Gone(entry, note) => {
                    prop_assert_eq!(told.find(&entry), Some(&note));
                    told.without(&entry)
                }
                ListDifference::Come(entry, note) => {
                    prop_assert_eq!(told.find(&entry), None);
                    told.with(&entry, note)
                }
                ListDifference::Renoted { entry, old, new } => {
                    prop_assert!(told.find(&entry) == Some(&old) && old != new);
                    told.with(&entry, new)
                }
            };
        }
        prop_assert_eq!(told.digest(), new.digest());
        prop_assert_eq!(new.aligned(&old).digest(), new.digest());
    }

    #[test]
    fn texts_are_found_as_a_set_finds_them(edits in proptest::collection::vec(("[ab*.]{0,4}", any::<bool>()), 0..60)) {
        let mut list = List::new(ListKind::Texts);
        let mut model = BTreeMap::new();
        for (text, comes) in &edits {
            if *comes {
                list = list.with(&text.as_str().into(), None);
                model.insert(text.as_str(), ());
            } else {
                list = list.without(&text.as_str().into());
                model.remove(text.as_str());
            }
        }
        for (text, _) in &edits {
            prop_assert_eq!(list.holds_text(text.as_bytes()), model.contains_key(text.as_str()));
        }
        let fresh = List::of(ListKind::Texts, model.keys().rev().map(|text| ((*text).into(), None)).collect());
        prop_assert_eq!(fresh.digest(), list.digest());
    }
}
