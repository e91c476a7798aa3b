//! Sets of client addresses.
//!
//! Owns the one form of an address set: ranges that do not touch, sorted, so that a hundred thousand prefixes
//! take a binary search of 17 steps and eight bytes each (IPv6: 32). What changes entry by entry is a
//! [`List`](super::list::List), which a rule names beside its own prefixes. Refuses to know files and names of lists.

use super::list::Lists;
use crate::ids::ListSlot;
use crate::meaning::Words;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Addresses of clients that one rule asks for: prefixes of its own, and lists.
#[derive(Clone, Debug)]
pub struct SourceSet {
    /// How the operator calls it: names of lists and the prefixes themselves. For `explain` only.
    pub name: Arc<str>,
    pub prefixes: Arc<PrefixSet>,
    /// Any of them is enough. What is in them, the generation says.
    pub lists: Box<[ListSlot]>,
}

impl SourceSet {
    pub(super) fn contains(&self, address: IpAddr, lists: &Lists) -> bool {
        let listed = |slot: &ListSlot| lists.find(*slot).is_some_and(|list| list.holds_address(address));
        self.prefixes.contains(address) || self.lists.iter().any(listed)
    }

    /// Whether everything in `other` is in this one too, whatever is in the lists. `false`: not known to be.
    pub(super) fn covers(&self, other: &SourceSet) -> bool {
        self.prefixes.covers(&other.prefixes) && other.lists.iter().all(|slot| self.lists.contains(slot))
    }

    /// Whether no address is in both, whatever is in the lists. `false`: not known.
    pub(super) fn is_apart_from(&self, other: &SourceSet) -> bool {
        let listless = self.lists.is_empty() && other.lists.is_empty();
        listless && self.prefixes.is_apart_from(&other.prefixes)
    }
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    /// `None`: longer than the address.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (length <= bits).then_some(Prefix { address, length })
    }
}

/// The addresses of some prefixes. Immutable; a change makes another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PrefixSet {
    /// First and last address of each range.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl PrefixSet {
    /// Cost: O(n log n). Bits behind a prefix's length are ignored. An IPv6 prefix within `::ffff:0:0/96` is the
    /// IPv4 prefix that it maps; a shorter one does not speak of IPv4 addresses.
    pub fn new(prefixes: impl IntoIterator<Item = Prefix>) -> PrefixSet {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for Prefix { address, length } in prefixes {
            match address {
                IpAddr::V4(address) => v4.push(range_of_v4(address, length)),
                IpAddr::V6(address) => match address.to_ipv4_mapped() {
                    Some(mapped) if length >= 96 => v4.push(range_of_v4(mapped, length - 96)),
                    _ => v6.push(range_of_v6(address, length)),
                },
            }
        }
        PrefixSet { v4: merged(v4, |end| end.checked_add(1)), v6: merged(v6, |end| end.checked_add(1)) }
    }

    /// An IPv4 address that is mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => has(&self.v4, address.to_bits()),
            IpAddr::V6(address) => has(&self.v6, address.to_bits()),
        }
    }

    /// Whether everything in `other` is in this one too.
    pub fn covers(&self, other: &PrefixSet) -> bool {
        let covered_v4 = other.v4.iter().all(|range| within(&self.v4, *range));
        covered_v4 && other.v6.iter().all(|range| within(&self.v6, *range))
    }

    /// Whether no address is in both.
    pub fn is_apart_from(&self, other: &PrefixSet) -> bool {
        let apart_v4 = other.v4.iter().all(|range| !meets(&self.v4, *range));
        apart_v4 && other.v6.iter().all(|range| !meets(&self.v6, *range))
    }

    /// For [`crate::meaning`].
    pub(super) fn say(&self, words: &mut Words) {
        let PrefixSet { v4, v6 } = self;
        words.each(&**v4, |words, (first, last)| {
            words.count((*first).into());
            words.count((*last).into());
        });
        words.each(&**v6, |words, (first, last)| {
            words.bytes(&first.to_le_bytes());
            words.bytes(&last.to_le_bytes());
        });
    }

    /// How many ranges a search goes through at most.
    pub fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

fn range_of_v4(address: Ipv4Addr, length: u8) -> (u32, u32) {
    let host_bits = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    (address.to_bits() & !host_bits, address.to_bits() | host_bits)
}

fn range_of_v6(address: Ipv6Addr, length: u8) -> (u128, u128) {
    let host_bits = u128::MAX.checked_shr(length.into()).unwrap_or(0);
    (address.to_bits() & !host_bits, address.to_bits() | host_bits)
}

/// Sorted, and those that meet or touch made one. `after`: the next address, if there is one.
fn merged<A: Ord + Copy>(mut ranges: Vec<(A, A)>, after: impl Fn(A) -> Option<A>) -> Box<[(A, A)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(A, A)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if after(*end).is_none_or(|after| first <= after) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn has<A: Ord + Copy>(ranges: &[(A, A)], address: A) -> bool {
    within(ranges, (address, address))
}

fn within<A: Ord + Copy>(ranges: &[(A, A)], (first, last): (A, A)) -> bool {
    let at = ranges.partition_point(|(_, end)| *end < first);
    ranges.get(at).is_some_and(|(begin, end)| *begin <= first && last <= *end)
}

fn meets<A: Ord + Copy>(ranges: &[(A, A)], (first, last): (A, A)) -> bool {
    let at = ranges.partition_point(|(_, end)| *end < first);
    ranges.get(at).is_some_and(|(begin, _)| *begin <= last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(prefixes: &str) -> PrefixSet {
        PrefixSet::new(prefixes.split_whitespace().map(|prefix| {
            let (address, length) = prefix.split_once('/').unwrap();
            Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        }))
    }

    fn check(prefixes: &str, address: &str, expected: bool) {
        assert_eq!(set(prefixes).contains(address.parse().unwrap()), expected, "{address} in {prefixes}");
    }

    #[test]
    fn an_address_is_in_a_prefix_by_its_leading_bits() {
        check("10.0.0.0/8", "10.255.255.255", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.1.2.3/8", "10.0.0.0", true);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("192.0.2.1/32", "192.0.2.1", true);
        check("192.0.2.1/32", "192.0.2.2", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "192.0.2.1", false);
        check("", "192.0.2.1", false);
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("::ffff:10.0.0.0/104", "10.1.1.1", true);
        check("::ffff:10.0.0.0/104", "11.1.1.1", false);
    }

    #[test]
    fn prefixes_that_touch_are_one_range() {
        assert_eq!(set("10.0.0.0/9 10.128.0.0/9 10.1.0.0/16").ranges(), 1);
        assert_eq!(set("10.0.0.0/9 10.128.0.0/9"), set("10.0.0.0/8"));
        assert_eq!(set("255.0.0.0/8 255.255.255.255/32 ::/1 8000::/1").ranges(), 2);
    }

    #[test]
    fn a_prefix_is_not_longer_than_its_address() {
        assert_eq!(Prefix::new(Ipv4Addr::LOCALHOST.into(), 33), None);
        assert_eq!(Prefix::new(Ipv6Addr::LOCALHOST.into(), 129), None);
    }

    fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
        // Few addresses, so that ranges meet.
        let prefix = (0..64u32, 24..=32u8).prop_map(|(host, length)| {
            Prefix::new(Ipv4Addr::from_bits(0x0a00_0000 | host << 3).into(), length).unwrap()
        });
        proptest::collection::vec(prefix, 0..8)
    }

    proptest! {
        #[test]
        fn sets_agree_with_a_scan(one in prefixes(), other in prefixes()) {
            let scan = |prefixes: &[Prefix], address: u32| prefixes.iter().any(|prefix| {
                let IpAddr::V4(within) = prefix.address else { unreachable!() };
                (u64::from(within.to_bits() ^ address) >> (32 - prefix.length)) == 0
            });
            let (a, b) = (PrefixSet::new(one.clone()), PrefixSet::new(other.clone()));
            let all = 0x0a00_0000..0x0a00_0300u32;
            for address in all.clone() {
                prop_assert_eq!(a.contains(Ipv4Addr::from_bits(address).into()), scan(&one, address));
            }
            prop_assert_eq!(a.covers(&b), all.clone().all(|ip| !scan(&other, ip) || scan(&one, ip)));
            prop_assert_eq!(a.is_apart_from(&b), all.clone().all(|ip| !scan(&other, ip) || !scan(&one, ip)));
        }
    }
}
