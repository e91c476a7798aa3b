//! Prefixes of addresses, and the search for one that holds an address.
//!
//! Two prefixes are nested or apart. So of those that start at or before an address some one holds it exactly if the
//! highest end among them is not before it, and those that can hold it start no earlier than the address with as many
//! bits as the shortest of them has: the search goes down one path, and looks beside it only that far.

use super::Entries;
use super::entry::Entry;
use super::facts::{Canonical, Listable};
use crate::http::source::Prefix;
use crate::tree::spread;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    pub(super) v4: Entries<V4>,
    pub(super) v6: Entries<V6>,
}

/// A prefix of IPv4 addresses. By its start, the shorter first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct V4 {
    start: u32,
    length: u8,
}

/// A prefix of IPv6 addresses, in halves so that it takes 24 bytes and not 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct V6 {
    start: [u64; 2],
    length: u8,
}

/// A prefix as it is kept.
pub(super) enum AnyPrefix {
    V4(V4),
    V6(V6),
}

/// Of many prefixes.
#[derive(Clone, Copy, Debug)]
pub struct Reach<A> {
    /// The highest address in one of them.
    end: A,
    /// The shortest length.
    shortest: u8,
}

impl AddressSet {
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                self.v4.any_up_to(
                    &V4 { start: address, length: 32 },
                    |facts| V4 { start: address & mask_v4(facts.reach.shortest), length: 0 },
                    |facts| facts.reach.end >= address,
                    |prefix, _| prefix.end() >= address,
                )
            }
            IpAddr::V6(address) => {
                let address = address.to_bits();
                self.v6.any_up_to(
                    &V6 { start: halves(address), length: 128 },
                    |facts| V6 { start: halves(address & mask_v6(facts.reach.shortest)), length: 0 },
                    |facts| facts.reach.end >= halves(address),
                    |prefix, _| prefix.end() >= address,
                )
            }
        }
    }
}

impl AnyPrefix {
    /// Bits behind its length are ignored; a prefix of mapped IPv4 addresses is one of IPv4 addresses.
    pub(super) fn of(Prefix { address, length }: Prefix) -> AnyPrefix {
        let v4 = |address: Ipv4Addr, length: u8| V4 { start: address.to_bits() & mask_v4(length), length };
        match address {
            IpAddr::V4(address) => AnyPrefix::V4(v4(address, length)),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(mapped) if length >= 96 => AnyPrefix::V4(v4(mapped, length - 96)),
                _ => AnyPrefix::V6(V6 { start: halves(address.to_bits() & mask_v6(length)), length }),
            },
        }
    }
}

impl V4 {
    fn end(self) -> u32 {
        self.start | !mask_v4(self.length)
    }
}

impl V6 {
    fn end(self) -> u128 {
        whole(self.start) | !mask_v6(self.length)
    }
}

fn mask_v4(length: u8) -> u32 {
    !u32::MAX.checked_shr(length.into()).unwrap_or(0)
}

fn mask_v6(length: u8) -> u128 {
    !u128::MAX.checked_shr(length.into()).unwrap_or(0)
}

fn halves(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

impl Listable for V4 {
    type Reach = Reach<u32>;

    fn cut(&self) -> u64 {
        spread(u64::from(self.start) << 8 | u64::from(self.length))
    }

    fn feed(&self, out: &mut Canonical) {
        out.extend_from_slice(&self.start.to_be_bytes());
        out.push(self.length);
    }

    fn reach(&self) -> Reach<u32> {
        Reach { end: self.end(), shortest: self.length }
    }

    fn joined(one: Reach<u32>, other: Reach<u32>) -> Reach<u32> {
        Reach { end: one.end.max(other.end), shortest: one.shortest.min(other.shortest) }
    }

    fn heap(&self) -> usize {
        0
    }

    fn entry(&self) -> Entry {
        Entry::Address(Prefix { address: Ipv4Addr::from_bits(self.start).into(), length: self.length })
    }
}

impl Listable for V6 {
    type Reach = Reach<[u64; 2]>;

    fn cut(&self) -> u64 {
        let [high, low] = self.start;
        spread(high ^ spread(low ^ spread(self.length.into())))
    }

    fn feed(&self, out: &mut Canonical) {
        out.extend_from_slice(&whole(self.start).to_be_bytes());
        out.push(self.length);
    }

    fn reach(&self) -> Reach<[u64; 2]> {
        Reach { end: halves(self.end()), shortest: self.length }
    }

    fn joined(one: Reach<[u64; 2]>, other: Reach<[u64; 2]>) -> Reach<[u64; 2]> {
        Reach { end: one.end.max(other.end), shortest: one.shortest.min(other.shortest) }
    }

    fn heap(&self) -> usize {
        0
    }

    fn entry(&self) -> Entry {
        Entry::Address(Prefix { address: Ipv6Addr::from_bits(whole(self.start)).into(), length: self.length })
    }
}
