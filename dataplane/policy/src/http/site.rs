//! Whose a request is, where one address has several pools, or a pool takes certain hosts only.
//!
//! Owns the division of an address by host. Refuses to know addresses and what a pool does with its requests.
//!
//! A [`Site`] is made once for each address and shared by all pools that it names. Each of them carries it among its own
//! [`Sites`], not only the pool that the address leads to: a connection stays with the pool that it came in for, and
//! divides its requests by that pool's newest generation even if the address has come to lead elsewhere.
//!
//! A name stands before a `*.name`, a longer `*.name` before a shorter one, and both before the pool that takes the rest.

use super::condition::{HOST_BYTES_MAX, HostTest, lower_host};
use super::index::suffixes;
use crate::ids::{ListenerSlot, PoolId, PoolSlot};
use crate::meaning::{Names, Words};
use crate::tree::hash;
use hashbrown::HashTable;
use std::sync::Arc;

/// The hosts of one address, and whose they are. Made once, never changed.
#[derive(Debug)]
pub struct Site {
    hosts: HashTable<Host>,
    /// As `depths` of the index of rules.
    depths: u128,
    members: Box<[Member]>,
    /// Has what none of the others has.
    others: Option<u32>,
}

/// A pool that takes a part of what comes to an address. Its slot may have become another pool's since, where a generation
/// outlives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub id: PoolId,
    pub slot: PoolSlot,
}

#[derive(Debug)]
struct Host {
    /// With a dot in front if it stands for all hosts below.
    name: Box<str>,
    member: u32,
}

impl Site {
    /// Each pool with its hosts; one without any takes the rest. `None`: two have the same host, or two have none.
    pub fn new(pools: Vec<(Member, Vec<HostTest>)>) -> Option<Site> {
        let mut site = Site { hosts: HashTable::new(), depths: 0, members: [].into(), others: None };
        let mut members = Vec::with_capacity(pools.len());
        for ((member, hosts), ix) in pools.into_iter().zip(0..) {
            members.push(member);
            if hosts.is_empty() && site.others.replace(ix).is_some() {
                return None;
            }
            for host in hosts {
                let name = match host {
                    HostTest::Exact(name) => name,
                    HostTest::Below(suffix) => {
                        let depth = suffix.bytes().filter(|byte| *byte == b'.').count();
                        site.depths |= 1 << depth.min(127);
                        suffix
                    }
                };
                if site.look_up(name.as_bytes()).is_some() {
                    return None;
                }
                let hashed = |host: &Host| hash(0, host.name.as_bytes());
                site.hosts.insert_unique(hash(0, name.as_bytes()), Host { name, member: ix }, hashed);
            }
        }
        site.members = members.into();
        Some(site)
    }

    /// Whose this host is, without its port and in any case; of a request that names none it is empty.
    pub fn find(&self, host: &[u8]) -> Option<&Member> {
        let mut buffer = [0; HOST_BYTES_MAX];
        let host = lower_host(host, &mut buffer);
        // No name begins with a dot but what stands for those below it.
        let exact = (!host.starts_with(b".")).then(|| self.look_up(host)).flatten();
        let named = exact.or_else(|| suffixes(host, self.depths).find_map(|suffix| self.look_up(suffix)));
        named.or(self.others).map(|ix| &self.members[ix as usize])
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Heap bytes.
    pub fn bytes(&self) -> usize {
        let names: usize = self.hosts.iter().map(|host| host.name.len()).sum();
        self.hosts.allocation_size() + names + size_of_val(&*self.members)
    }

    /// For [`crate::meaning`]: each host with the pool that has it, which its slot must stand for.
    fn say(&self, names: &Names, words: &mut Words) {
        let Site { hosts, depths, members, others } = self;
        let mut hosts: Vec<&Host> = hosts.iter().collect();
        hosts.sort_by(|one, other| one.name.cmp(&other.name));
        let say_member = |words: &mut Words, ix: u32| {
            words.option(members.get(ix as usize), |words, Member { id, slot }| {
                words.text(id.as_str());
                words.option(names.pools.get(slot), |words, stands_for| words.text(stands_for.as_str()));
            });
        };
        words.each(hosts, |words, Host { name, member }| {
            words.text(name);
            say_member(words, *member);
        });
        words.bytes(&depths.to_le_bytes());
        words.option(*others, say_member);
        let mut ids: Vec<&PoolId> = members.iter().map(|member| &member.id).collect();
        ids.sort();
        words.each(ids, |words, id| words.text(id.as_str()));
    }

    fn look_up(&self, name: &[u8]) -> Option<u32> {
        self.hosts.find(hash(0, name), |host| host.name.as_bytes() == name).map(|host| host.member)
    }
}

/// What one pool knows of the addresses that it does not have for itself alone. Mostly nothing.
#[derive(Clone, Default, Debug)]
pub struct Sites {
    /// Sorted by listener.
    at: Box<[(ListenerSlot, Arc<Site>)]>,
    /// For connections that came in by an address that the pool has no more. `None`: all that they ask is its own.
    elsewhere: Option<Arc<Site>>,
}

/// Whose a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose<'s> {
    /// Its connection's own pool's.
    Ours,
    Theirs(&'s Member),
    /// No pool's that this connection leads to.
    Nobodys {
        /// Its address is not one of the pool's any more: another connection may lead further.
        moved: bool,
    },
}

impl Sites {
    pub fn new(mut at: Vec<(ListenerSlot, Arc<Site>)>, elsewhere: Option<Arc<Site>>) -> Sites {
        at.sort_by_key(|(listener, _)| *listener);
        Sites { at: at.into(), elsewhere }
    }

    /// Whether both are the same objects in the same places.
    pub fn same(&self, other: &Sites) -> bool {
        let same_site = |(one, other): (&Arc<Site>, &Arc<Site>)| Arc::ptr_eq(one, other);
        let elsewhere = self.elsewhere.as_ref().zip(other.elsewhere.as_ref());
        let pairs = self.at.iter().zip(&other.at);
        self.at.len() == other.at.len()
            && self.elsewhere.is_some() == other.elsewhere.is_some()
            && elsewhere.is_none_or(same_site)
            && pairs.into_iter().all(|(one, other)| one.0 == other.0 && same_site((&one.1, &other.1)))
    }

    /// Everything is the pool's own, and nothing need be asked.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty() && self.elsewhere.is_none()
    }

    pub fn at(&self, listener: ListenerSlot) -> Option<&Arc<Site>> {
        let at = self.at.binary_search_by_key(&listener, |(listener, _)| *listener).ok()?;
        Some(&self.at[at].1)
    }

    pub fn elsewhere(&self) -> Option<&Arc<Site>> {
        self.elsewhere.as_ref()
    }

    /// For [`crate::meaning`].
    pub(super) fn say(&self, names: &Names, words: &mut Words) {
        let Sites { at, elsewhere } = self;
        words.flag(at.is_sorted_by(|(one, _), (other, _)| one < other));
        let mut at: Vec<_> = at.iter().map(|(listener, site)| (names.addresses.get(listener), site)).collect();
        at.sort_by_key(|(address, _)| *address);
        words.each(at, |words, (address, site)| {
            words.option(address, Words::address);
            site.say(names, words);
        });
        words.option(elsewhere.as_ref(), |words, site| site.say(names, words));
    }

    /// Whose a request for `host` is on a connection of pool `own`. `listener`: where it came in; `None`: at an address
    /// that is closed.
    pub fn whose(&self, own: PoolSlot, listener: Option<ListenerSlot>, host: &[u8]) -> Whose<'_> {
        let here = listener.and_then(|listener| self.at(listener));
        let Some(site) = here.or(self.elsewhere.as_ref()) else { return Whose::Ours };
        match site.find(host) {
            Some(member) if member.slot == own => Whose::Ours,
            Some(member) => Whose::Theirs(member),
            None => Whose::Nobodys { moved: here.is_none() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::When;
    use super::super::{naive, path};
    use super::*;
    use proptest::prelude::*;

    fn member(slot: u32) -> Member {
        Member { id: PoolId::new(&format!("p{slot}")), slot: PoolSlot(slot) }
    }

    fn hosts(names: &[&str]) -> Vec<HostTest> {
        names.iter().map(|name| HostTest::parse(name).expect("a host")).collect()
    }

    /// Pools 0, 1, … with these hosts.
    fn site(pools: &[&[&str]]) -> Option<Site> {
        Site::new(pools.iter().zip(0..).map(|(names, slot)| (member(slot), hosts(names))).collect())
    }

    #[track_caller]
    fn check(site: &Site, host: &str, expected: Option<u32>) {
        assert_eq!(site.find(host.as_bytes()).map(|member| member.slot.0), expected, "{host}");
    }

    #[test]
    fn a_name_goes_before_what_stands_for_many_and_the_longer_before_the_shorter() {
        let site = site(&[&["*.example"], &["shop.example", "[::1]"], &["*.shop.example"], &[]]).unwrap();
        check(&site, "shop.example", Some(1));
        check(&site, "SHOP.Example.", Some(1));
        check(&site, "a.shop.example", Some(2));
        check(&site, "b.a.shop.example", Some(2));
        check(&site, "a.example", Some(0));
        check(&site, "b.a.example", Some(0));
        check(&site, "[::1]", Some(1));
        for other in ["example", "", ".example", "shop.example.org", "shopexample", "[::2]", &"x".repeat(1_000)] {
            check(&site, other, Some(3));
        }
    }

    #[test]
    fn without_a_pool_for_the_rest_it_is_nobodys() {
        let site = site(&[&["a.example"], &["*.b.example"]]).unwrap();
        check(&site, "a.example", Some(0));
        check(&site, "x.b.example", Some(1));
        for nobodys in ["", "b.example", "x.a.example", "c.example"] {
            check(&site, nobodys, None);
        }
    }

    #[test]
    fn a_host_has_one_pool() {
        assert!(site(&[&["a.example"], &["A.example."]]).is_none());
        assert!(site(&[&["*.a.example"], &["*.a.example"]]).is_none());
        assert!(site(&[&[], &["a"], &[]]).is_none());
        assert!(site(&[&["*.a.example"], &["a.example"]]).is_some());
    }

    #[test]
    fn a_connection_asks_the_address_it_came_in_by() {
        let here = Arc::new(site(&[&["a.example"], &["b.example"]]).unwrap());
        let alone = Arc::new(site(&[&["a.example"]]).unwrap());
        let (known, unknown) = (Some(ListenerSlot(3)), Some(ListenerSlot(4)));
        let sites = Sites::new(vec![(ListenerSlot(3), here), (ListenerSlot(1), alone.clone())], Some(alone));
        let whose = |listener, host: &str| sites.whose(PoolSlot(0), listener, host.as_bytes());
        assert_eq!(whose(known, "a.example"), Whose::Ours);
        assert_eq!(whose(known, "b.example"), Whose::Theirs(&member(1)));
        assert_eq!(whose(known, "c.example"), Whose::Nobodys { moved: false });
        assert_eq!(whose(Some(ListenerSlot(1)), "b.example"), Whose::Nobodys { moved: false });
        for gone in [unknown, None] {
            assert_eq!(whose(gone, "a.example"), Whose::Ours);
            assert_eq!(whose(gone, "b.example"), Whose::Nobodys { moved: true });
        }
        let all = Sites::default();
        assert!(all.is_empty() && all.whose(PoolSlot(0), known, b"b.example") == Whose::Ours);
    }

    /// Every pool is asked what its hosts are, by the oracle of the rules' conditions.
    fn asked(pools: &[Vec<String>], host: &str) -> Option<u32> {
        let fits = |name: &&String| {
            let mut buffer = Vec::new();
            let path = path::normalise(b"/", path::EscapedSlash::Keep, &mut buffer).expect("a path");
            let request = super::super::Request {
                method: b"GET",
                host: host.as_bytes(),
                path,
                query: None,
                headers: &super::super::Pairs(&[]),
                source: None,
            };
            naive::matches(&When::Host((*name).clone()), &request)
        };
        let all = (0..).zip(pools).flat_map(|(ix, names)| names.iter().filter(fits).map(move |name| (ix, name)));
        let best = all.max_by_key(|(_, name)| (!name.starts_with("*."), name.len()));
        best.map(|(ix, _)| ix).or_else(|| pools.iter().position(Vec::is_empty).map(|ix| ix as u32))
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["a", "b", "c"], 1..4).prop_map(|labels| labels.join("."))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_site_agrees_with_asking_everybody(
            names in proptest::collection::btree_map((any::<bool>(), name()), 0u32..4, 0..12),
            rest in any::<bool>(),
            asks in proptest::collection::vec(name(), 1..12),
        ) {
            let mut pools = vec![Vec::new(); 4];
            for ((below, name), pool) in names {
                pools[pool as usize].push(if below { format!("*.{name}") } else { name });
            }
            pools.retain(|names: &Vec<String>| !names.is_empty());
            pools.extend(rest.then(Vec::new));
            let listed: Vec<Vec<&str>> = pools.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
            let site = site(&listed.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("each host once");
            for host in asks {
                check(&site, &host, asked(&pools, &host));
            }
        }
    }
}
