//! Maglev hashing: one client's connections go to one backend, and a change of backends moves few clients.
//!
//! Eisenbud et al., *Maglev: A Fast and Reliable Software Network Load Balancer*, NSDI 2016, section 3.4.
//! [`build`] runs on the compiler thread and makes the table of a group; `Probes` runs on a shard and
//! says in which order a client's hash asks the table.
//!
//! The table has whoever may take connections by configuration: draining backends stay in it, so a drain
//! moves only their clients and its end brings them back, exactly as for a backend that is down. Backups
//! are not in it. A backend's place follows from its address and the weights alone, not from slots, ids or
//! the order in the file: every shard, and the next process, sends a client to the same backend.

use crate::generation::Endpoint;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Entries of a table: a prime, and the paper's own choice. Takes 256 KiB.
///
/// With more than a hundredth as many backends the shares become coarse (the paper asks for 100 entries a
/// backend): 10,000 equal backends have 6 or 7 entries each. With more backends than entries, those that
/// come last by address have none and get only what others cannot take.
pub const TABLE_LEN: usize = 65_537;

/// The table of a group: hash → index in `endpoints`. Empty if nobody can be in it.
///
/// Cost: O(m log m) for m = [`TABLE_LEN`], whatever the weights.
pub fn build(endpoints: &[Arc<Endpoint>]) -> Arc<[u32]> {
    let mut preferences: Vec<(u64, Preference)> = endpoints
        .iter()
        .enumerate()
        .filter(|(_, endpoint)| endpoint.weight > 0 && !endpoint.backup)
        .map(|(index, endpoint)| {
            let name = hash_bytes(endpoint.address.to_string().as_bytes());
            (name, Preference::new(name, index as u32, endpoint.weight))
        })
        .collect();
    preferences.sort_by_key(|(name, _)| *name);
    let preferences = preferences.into_iter().map(|(_, preference)| preference).collect();
    populate(TABLE_LEN, preferences).into()
}

/// The order in which one backend wants the entries: a permutation of the table.
struct Preference {
    backend: u32,
    weight: u32,
    /// The entry it wants next.
    wants: u32,
    skip: u32,
}

impl Preference {
    fn new(name: u64, backend: u32, weight: u32) -> Preference {
        Preference {
            backend,
            weight,
            wants: (mix(name) % TABLE_LEN as u64) as u32,
            skip: (mix(!name) % (TABLE_LEN as u64 - 1)) as u32 + 1,
        }
    }
}

/// Backends take turns; at each the backend takes the entry that it likes best among those still free. The
/// k-th turn of a backend comes in the k-th iteration over the heaviest ones' turns times heaviest over own
/// weight, rounded down, so turns are in proportion to the weights and everybody has one in the first.
fn populate(len: usize, mut preferences: Vec<Preference>) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let heaviest = preferences.iter().map(|preference| preference.weight).max();
    let Some(heaviest) = heaviest.map(u64::from) else {
        return Vec::new();
    };
    let mut table = vec![FREE; len];
    let mut turns: BinaryHeap<_> = (0..preferences.len()).map(|who| Reverse((0, who, 0))).collect();
    for _ in 0..len {
        let Reverse((_, who, taken)) = turns.pop().expect("whoever takes a turn has another");
        let Preference { backend, weight, wants, skip } = &mut preferences[who];
        while table[*wants as usize] != FREE {
            *wants = (*wants + *skip) % len as u32;
        }
        table[*wants as usize] = *backend;
        let taken: u64 = taken + 1;
        turns.push(Reverse((taken * heaviest / u64::from(*weight), who, taken)));
    }
    table
}

/// The entries that one client's hash asks, in order. The first is the client's own; the others stand in
/// while the backend there takes no connections, so that nobody else's client moves.
pub(super) struct Probes {
    at: usize,
    skip: usize,
    len: usize,
}

impl Probes {
    /// More stand-ins than this are not asked. With a tenth of the table in rotation one client in a million
    /// finds nobody by then, with a hundredth every fourth does; those are drawn for by weight.
    pub const MAX: usize = 128;

    /// Of a table that has `len` entries: none, or a prime number.
    pub fn new(hash: u64, len: usize) -> Probes {
        let within = |hash: u64, len: usize| (hash % len.max(1) as u64) as usize;
        let skip = within(mix(hash), len.saturating_sub(1)) + 1;
        Probes { at: within(hash, len), skip, len }
    }
}

impl Iterator for Probes {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let at = self.at;
        self.at = (at + self.skip).checked_rem(self.len)?;
        Some(at)
    }
}

/// A client as source hashing knows it: its address without the port, an IPv4 address mapped into IPv6 as
/// the IPv4 address it is. The same in every process.
pub fn hash_source(client: std::net::IpAddr) -> u64 {
    match client.to_canonical() {
        std::net::IpAddr::V4(v4) => mix(u64::from(v4.to_bits())),
        std::net::IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix(mix((bits >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15) ^ bits as u64)
        }
    }
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// Spreads 64 bits over 64 bits, one to one: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::Address;
    use crate::ids::{EndpointSlot, GroupSlot};

    fn endpoint(host: u32, weight: u32) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            group: GroupSlot(0),
            slot: EndpointSlot(host),
            id: "any".into(),
            address: Address::Ip((host.to_be_bytes(), 80).into()),
            weight,
            backup: false,
            drain: false,
            max_connections: None,
        })
    }

    /// Entries of each backend, by the host number of its address.
    fn entries(endpoints: &[Arc<Endpoint>]) -> Vec<u32> {
        let table = build(endpoints);
        table.iter().map(|index| endpoints[*index as usize].slot.0).collect()
    }

    fn shares(entries: &[u32], hosts: u32) -> Vec<usize> {
        (0..hosts).map(|host| entries.iter().filter(|entry| **entry == host).count()).collect()
    }

    /// Table 1 of the paper: seven entries, three backends, then the second leaves.
    #[test]
    fn the_example_of_the_paper() {
        let preference = |backend, wants, skip| Preference { backend, weight: 1, wants, skip };
        let (b0, b1, b2) = ((0, 3, 4), (1, 0, 2), (2, 3, 1));
        let of = |backends: &[(u32, u32, u32)]| {
            populate(7, backends.iter().map(|(b, offset, skip)| preference(*b, *offset, *skip)).collect())
        };
        assert_eq!(of(&[b0, b1, b2]), [1, 0, 1, 0, 2, 2, 0]);
        assert_eq!(of(&[b0, b2]), [0, 0, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn equal_backends_have_equal_shares() {
        let endpoints: Vec<_> = (0..100).map(|host| endpoint(host, 7)).collect();
        let shares = shares(&entries(&endpoints), 100);
        assert!(shares.iter().all(|share| (655..=656).contains(share)), "{shares:?}");
    }

    #[test]
    fn shares_are_in_proportion_to_weight() {
        let endpoints: Vec<_> = (0..10).map(|host| endpoint(host, host + 1)).collect();
        let shares = shares(&entries(&endpoints), 10);
        for (host, share) in shares.iter().enumerate() {
            let ideal = TABLE_LEN * (host + 1) / 55;
            assert!(share.abs_diff(ideal) <= 2, "{host}: {share} entries, {ideal} would be ideal");
        }
    }

    #[test]
    fn the_lightest_among_the_heaviest_has_an_entry() {
        let weight = |host| if host == 5 { 1 } else { Endpoint::WEIGHT_MAX };
        let endpoints: Vec<_> = (0..10).map(|host| endpoint(host, weight(host))).collect();
        assert_eq!(shares(&entries(&endpoints), 10)[5], 1);
    }

    /// One of a hundred leaves: its hundredth of the entries is shared out, and fewer than that of the others'
    /// move with it. (The paper gives up strict minimality for speed and evenness.)
    #[test]
    fn few_move_when_one_leaves() {
        let endpoints: Vec<_> = (0..100).map(|host| endpoint(host, 3)).collect();
        let without_42: Vec<_> = endpoints.iter().filter(|e| e.slot.0 != 42).cloned().collect();
        let (before, after) = (entries(&endpoints), entries(&without_42));
        let of_others = before.iter().zip(&after).filter(|(before, _)| **before != 42);
        let moved = of_others.filter(|(before, after)| before != after).count();
        assert!(moved < TABLE_LEN / 100, "{moved} entries of others moved");
    }

    #[test]
    fn few_move_when_a_weight_changes() {
        let endpoints: Vec<_> = (0..100).map(|host| endpoint(host, 10)).collect();
        let mut changed = endpoints.clone();
        changed[42] = endpoint(42, 11);
        let (before, after) = (entries(&endpoints), entries(&changed));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(moved < TABLE_LEN / 50, "{moved} entries moved");
    }

    /// Slots and the order in the file differ from process to process; clients do not.
    #[test]
    fn the_table_follows_addresses_and_weights_alone() {
        let endpoints: Vec<_> = (0..50).map(|host| endpoint(host, host % 4)).collect();
        let backwards: Vec<_> = endpoints.iter().rev().cloned().collect();
        assert_eq!(entries(&endpoints), entries(&backwards));
    }

    #[test]
    fn who_takes_nothing_by_configuration_is_not_in_it_and_who_drains_is() {
        let of = |change: fn(&mut Endpoint)| {
            let mut changed = endpoint(1, 1);
            change(Arc::get_mut(&mut changed).expect("nobody else has it yet"));
            entries(&[endpoint(0, 1), changed]).contains(&1)
        };
        assert!(!of(|endpoint| endpoint.weight = 0));
        assert!(!of(|endpoint| endpoint.backup = true));
        assert!(of(|endpoint| endpoint.drain = true));
        assert!(build(&[]).is_empty() && build(&[endpoint(0, 0)]).is_empty());
    }

    #[test]
    fn more_backends_than_entries_is_no_failure() {
        let endpoints: Vec<_> = (0..70_000).map(|host| endpoint(host, 1)).collect();
        let mut entries = entries(&endpoints);
        entries.sort_unstable();
        entries.dedup();
        assert_eq!(entries.len(), TABLE_LEN);
    }

    #[test]
    fn probes_meet_every_entry_once_before_they_repeat() {
        let mut met: Vec<usize> = Probes::new(0x1234_5678_9abc, 101).take(101).collect();
        met.sort_unstable();
        assert!(met.into_iter().eq(0..101));
        assert_eq!(Probes::new(7, 0).next(), None);
    }

    #[test]
    fn a_client_is_its_address() {
        let hash = |address: &str| hash_source(address.parse().unwrap());
        assert_eq!(hash("192.0.2.1"), hash("::ffff:192.0.2.1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8::2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db9::1"));
        // Written down: a client that comes back after an upgrade of the appliance finds its backend.
        assert_eq!(hash("192.0.2.1"), 0x95e7_f1e4_1fea_861c);
        assert_eq!(hash("2001:db8::1"), 0xa35e_4f69_53f0_a2f8);
    }
}
