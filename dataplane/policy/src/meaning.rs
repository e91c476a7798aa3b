//! What a pool's generation means to a shard, as one hash.
//!
//! Two generations of a pool with the same hash decide every connection and every request alike, however each came about:
//! compiled from nothing, or change by change. So what a thousand changes have led to can be held against what the document
//! says, without keeping either as text. Walks what was compiled, never the document. Owns what counts and what does not;
//! refuses to know who compares.
//!
//! **In:** everything that a shard looks at. Addresses that lead here and their shards, limits, time-outs, groups, endpoints,
//! tables of hashes entry by entry, rules in their order with all that they ask and do, *every place of the index over them*,
//! what the lists say that rules name, the division of addresses by host, pages, bounds and switches of HTTP, and whether
//! tables that are searched by slot are in that order.
//!
//! **Out**, because it depends on what was before, or on nothing that a shard decides:
//! - slots, turns and parts: what they stand for is in instead, a slot as the name of its identity, a turn as a place;
//! - the numbers of generations, that say when, not what;
//! - the order of what has none (groups, endpoints, hosts): it is by name here;
//! - what is shared with whom, and the bytes that are reckoned for it;
//! - `PoolGeneration::hash`, which is the document's word: with it in, a wrong compilation would differ from nothing;
//! - what rules have met;
//! - automata of regular expressions: their text is in.
//!
//! Cost: O(n) in what was compiled; of a list O(1), whose digest is kept with it.

use crate::generation::{
    Address, Balance, CheckKind, ContentHash, Endpoint, Group, HealthCheck, HttpCheck, Listen, PoolGeneration,
    PoolLimits, Service, Timeouts, TunnelPolicy,
};
use crate::http::HttpTimeouts;
use crate::ids::{ListenerSlot, PoolId, PoolSlot, ShardSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What slots stand for of which the generation itself does not say it.
#[derive(Clone, Default, Debug)]
pub struct Names {
    /// Addresses that the pool has, led here or not.
    pub addresses: BTreeMap<ListenerSlot, Address>,
    /// Those that lead here.
    pub leads: Vec<Listen>,
    /// The pool itself, and its neighbours at its addresses.
    pub pools: BTreeMap<PoolSlot, PoolId>,
}

impl PoolGeneration {
    /// Equal meaning, equal hash. See the module.
    pub fn meaning(&self, names: &Names) -> ContentHash {
        let mut words = Words::new();
        // No `..` here and below: a field that is added does not compile until someone decides whether it is meant.
        let PoolGeneration {
            part: _,
            id,
            slot,
            number: _,
            hash: _,
            listeners,
            shards,
            limits,
            policy,
            service,
            groups,
            bytes: _,
            replaced_bytes: _,
        } = self;
        words.text(id.as_str());
        words.option(names.pools.get(slot), |words, id| words.text(id.as_str()));
        words.addresses(listeners, *slot, names);
        words.shards(*shards);
        let PoolLimits { max_connections, memory } = limits;
        words.option(max_connections.as_ref(), |words, most| words.count((*most).into()));
        words.count(*memory);
        words.policy(policy, *slot);
        let mut by_name: Vec<_> = groups.iter().collect();
        by_name.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
        words.each(by_name, |words, (slot, group)| {
            words.flag(*slot == group.slot);
            words.group(group);
        });
        // Runtime state is found by slot: two endpoints with one slot would share theirs.
        let mut slots: Vec<_> = self.endpoints().map(|endpoint| endpoint.slot).collect();
        slots.sort();
        slots.dedup();
        words.count(slots.len() as u64);
        match service {
            Service::Tcp => words.kind(0),
            Service::Http(service) => {
                words.kind(1);
                service.say(self, names, &mut words);
            }
        }
        words.hash()
    }
}

/// Takes what is said one after the other, so that no two different meanings say the same: whatever has a length says it.
pub(crate) struct Words(blake3::Hasher);

impl Words {
    pub fn new() -> Words {
        Words(blake3::Hasher::new())
    }

    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&self.0)
    }

    /// Which variant.
    pub fn kind(&mut self, kind: u8) {
        self.0.update(&[kind]);
    }

    pub fn flag(&mut self, flag: bool) {
        self.kind(flag.into());
    }

    pub fn count(&mut self, count: u64) {
        self.0.update(&count.to_le_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len() as u64);
        self.0.update(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn digest(&mut self, digest: ContentHash) {
        self.0.update(&digest.0);
    }

    pub fn time(&mut self, time: Duration) {
        self.0.update(&time.as_nanos().to_le_bytes());
    }

    pub fn option<T>(&mut self, value: Option<T>, say: impl FnOnce(&mut Words, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            say(self, value);
        }
    }

    pub fn each<T>(
        &mut self,
        all: impl IntoIterator<IntoIter: ExactSizeIterator<Item = T>>,
        mut say: impl FnMut(&mut Words, T),
    ) {
        let all = all.into_iter();
        self.count(all.len() as u64);
        all.for_each(|one| say(self, one));
    }

    fn times<const N: usize>(&mut self, times: [Option<Duration>; N]) {
        times.into_iter().for_each(|time| self.option(time, Words::time));
    }

    fn shards(&mut self, shards: ShardSet) {
        self.count(shards.iter().count() as u64);
        shards.iter().for_each(|shard| self.count(shard.0.into()));
    }

    pub fn address(&mut self, address: &Address) {
        match address {
            Address::Ip(address) => {
                self.kind(0);
                // With the scope of IPv6.
                self.text(&address.to_string());
            }
            Address::Unix(path) => {
                self.kind(1);
                self.bytes(path.as_os_str().as_encoded_bytes());
            }
            Address::Name { host, port } => {
                self.kind(2);
                self.text(host);
                self.count((*port).into());
            }
        }
    }

    /// Those that the pool says are its, and those that lead to it; in force these are the same.
    fn addresses(&mut self, listeners: &[ListenerSlot], own: PoolSlot, names: &Names) {
        self.flag(listeners.is_sorted_by(|one, other| one < other));
        let mut said: Vec<_> = listeners.iter().map(|listener| names.addresses.get(listener)).collect();
        said.sort();
        self.each(said, |words, address| words.option(address, Words::address));
        let mut leads: Vec<_> = names
            .leads
            .iter()
            .map(|Listen { listener, pool, shards }| (names.addresses.get(listener), *pool == own, *shards))
            .collect();
        leads.sort_by_key(|(address, ..)| *address);
        self.each(leads, |words, (address, leads_here, shards)| {
            words.option(address, Words::address);
            words.flag(leads_here);
            words.shards(shards);
        });
    }

    fn policy(&mut self, policy: &TunnelPolicy, own: PoolSlot) {
        let TunnelPolicy { part: _, pool, number: _, timeouts, http, access_log, bytes: _ } = policy;
        self.flag(*pool == own);
        let Timeouts { connect, idle, lifetime } = *timeouts;
        self.time(connect);
        self.times([idle, lifetime]);
        self.option(http.as_ref(), |words, times| {
            let HttpTimeouts { head, body, first_byte, answer, total, keep_alive } = *times;
            words.time(head);
            words.times([body, first_byte, answer, total]);
            words.time(keep_alive);
        });
        self.flag(*access_log);
    }

    fn group(&mut self, group: &Group) {
        let Group { slot, id, balance, endpoints, attempts, queue, queue_wait, health, http } = group;
        self.text(id);
        self.flag(endpoints.is_sorted_by(|one, other| one.slot < other.slot));
        let mut by_address: Vec<(usize, &Arc<Endpoint>)> = endpoints.iter().enumerate().collect();
        by_address.sort_by(|(_, one), (_, other)| one.address.cmp(&other.address));
        self.each(&by_address, |words, (_, endpoint)| {
            let Endpoint { slot: _, group, id, address, weight, backup, drain, max_connections } = &***endpoint;
            words.flag(group == slot);
            words.text(id);
            words.address(address);
            words.count((*weight).into());
            words.flag(*backup);
            words.flag(*drain);
            words.option(max_connections.as_ref(), |words, most| words.count((*most).into()));
        });
        match balance {
            Balance::RoundRobin => self.kind(0),
            Balance::LeastConnections => self.kind(1),
            Balance::RandomTwo => self.kind(2),
            Balance::PeakEwma => self.kind(3),
            Balance::SourceHash(table) => {
                self.kind(4);
                let mut places = vec![u32::MAX; endpoints.len()];
                by_address.iter().zip(0..).for_each(|((ix, _), place)| places[*ix] = place);
                self.count(table.len() as u64);
                for ix in table.iter() {
                    let place = places.get(*ix as usize).copied().unwrap_or(u32::MAX);
                    self.0.update(&place.to_le_bytes());
                }
            }
        }
        self.count((*attempts).into());
        self.count((*queue).into());
        self.time(*queue_wait);
        self.option(health.as_ref(), Words::health);
        self.option(http.as_ref(), |words, http| http.say(words));
    }

    fn health(&mut self, health: &HealthCheck) {
        let HealthCheck { kind, interval, timeout, rise, fall } = health;
        match kind {
            CheckKind::Connect => self.kind(0),
            CheckKind::Http(check) => {
                self.kind(1);
                let HttpCheck { method, path, host, statuses, body } = &**check;
                self.text(method);
                self.text(path);
                self.option(host.as_deref(), Words::text);
                self.each(&**statuses, |words, (first, last)| {
                    words.count((*first).into());
                    words.count((*last).into());
                });
                self.option(body.as_deref(), Words::text);
            }
        }
        self.time(*interval);
        self.time(*timeout);
        self.count((*rise).into());
        self.count((*fall).into());
    }
}
