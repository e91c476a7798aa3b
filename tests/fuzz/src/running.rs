//! What control keeps between two documents: the running configuration, the slots, and the shards' promises.
//!
//! Stands in for rollout and shards: a job ends as the input says, and what it replaced is let go at once, or
//! later. Holds what was compiled against the document that it was compiled from.

use crate::files::SHARDS;
use config::{Compiled, Config, Live, Plan, Running, RunningPool, Shards, Slots, compile};
use policy::balance::maglev;
use policy::generation::{Address, Balance, Endpoint, Listen, Service};
use policy::http::{Action, Whose};
use policy::{EndpointSlot, JobId, ListenerSlot, PoolSlot, ShardSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rules that run are those of the document, and lead where it says.
fn rules_agree(pool: &RunningPool) {
    let (Service::Http(service), Some(content)) = (&pool.generation.service, &pool.content.http) else {
        return assert!(pool.content.http.is_none() && matches!(pool.generation.service, Service::Tcp));
    };
    let rules = service.rules.rules();
    if content.rules.is_empty() {
        let only = pool.generation.only_group().expect("where no rule leads to another").slot;
        let everywhere = |rule: &Arc<policy::http::Rule>| matches!(rule.action, Action::Group(slot) if slot == only);
        return assert!(rules.len() == 1 && rules.values().all(everywhere));
    }
    assert_eq!(rules.len(), content.rules.len());
    for ((turn, rule), (stands, content)) in rules.iter().zip(content.rules.turns()) {
        assert_eq!(*turn, stands);
        assert_eq!(rule.id, content.id);
        match (&rule.action, &content.rule.group) {
            (Action::Group(slot), Some(group)) => {
                let leads = pool.generation.group(*slot).map(|group| &group.id);
                assert_eq!(leads, Some(group), "`{}` leads elsewhere", rule.id);
            }
            (Action::Redirect { .. }, None) => assert!(content.rule.redirect.is_some()),
            (Action::Respond { .. }, None) => assert!(content.rule.respond.is_some()),
            (Action::Deny { status }, None) => assert_eq!(content.rule.deny, Some(*status)),
            (_, group) => panic!("`{}` does something else than lead to {group:?}", rule.id),
        }
    }
    for page in &content.pages {
        let found = page.status.iter().all(|(first, last)| {
            [first, last]
                .into_iter()
                .all(|status| service.pages.find(*status).is_some_and(|made| *made.body == *page.body.as_bytes()))
        });
        assert!(found, "{:?}", page.status);
    }
}

/// How the job of a change ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In force, and every shard has let go of what it replaced.
    InForce,
    /// In force, and the shards still hold all of that.
    Held,
    /// It came to no shard.
    Withdrawn,
    /// A shard refused, and others had prepared it.
    TakenBack,
}

pub(crate) struct World {
    running: Running,
    slots: Slots,
    shards: ShardSet,
    jobs: u64,
    /// What no generation names and some shard may still use.
    held: Held,
}

#[derive(Default)]
struct Held {
    pools: BTreeSet<PoolSlot>,
    endpoints: BTreeSet<EndpointSlot>,
    listeners: BTreeMap<ListenerSlot, Address>,
}

impl Held {
    fn release(self, slots: &mut Slots) {
        let Held { pools, endpoints, listeners } = self;
        pools.into_iter().for_each(|slot| assert!(slots.release_pool(slot)));
        endpoints.into_iter().for_each(|slot| assert!(slots.release_endpoint(slot)));
        listeners.into_keys().for_each(|slot| assert!(slots.release_listener(slot)));
    }
}

impl World {
    /// The process settings are this document's for good; its pools come with the first change.
    pub(crate) fn start(config: &Config) -> World {
        let shards = match config.appliance.shards {
            Shards::Auto => SHARDS,
            Shards::Count(count) => count as usize,
        };
        World {
            running: Running::at_start(config),
            slots: Slots::default(),
            shards: ShardSet::first(shards),
            jobs: 0,
            held: Held::default(),
        }
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.running.config.clone()
    }

    pub(crate) fn change(&mut self, new: &Arc<Config>, plan: &Plan, live: Live, ending: Ending) {
        self.jobs += 1;
        let job = JobId(self.jobs);
        let compiled = compile(&self.running, new, live, job, self.shards, &mut self.slots);
        let change = compiled.change.clone();
        assert_eq!(change.pools.len(), plan.touches.pools.len());
        let moved = change.listen.iter().filter(|listen| self.runs_at(listen.listener).is_some());
        let moved: Vec<&Listen> = moved.collect();
        for listen in &moved {
            let from = self.runs_at(listen.listener).expect("filtered by it");
            assert!(from.pool != listen.pool && from.shards == listen.shards, "an address moves, and only that");
            assert!(!change.leave.contains(&listen.listener), "what moves is not left");
        }
        assert_eq!(change.listen.len(), compiled.bind.len() + moved.len());
        for bind in &compiled.bind {
            // Two sockets of one address would share its clients.
            let leaving = self.held.listeners.iter().find(|(_, address)| **address == bind.address);
            assert_eq!(bind.after, leaving.map(|(slot, _)| *slot), "{}", bind.address);
        }
        let after = self.running.after(&compiled);
        assert_eq!(after.config, *new, "a job makes the document that it was made for");
        for (id, pool) in &self.running.pools {
            let untouched = !plan.touches.pools.contains(id);
            assert!(
                !untouched
                    || Arc::ptr_eq(&pool.generation, &after.pools.get(id).expect("nobody took it away").generation),
                "{id} is not touched"
            );
        }
        if ending == Ending::Withdrawn {
            self.brought(&compiled).release(&mut self.slots);
            return self.check();
        }
        for old in compiled.bind.iter().filter_map(|bind| bind.after) {
            // Nobody binds before the old sockets are closed.
            assert!(self.slots.release_listener(old) && self.held.listeners.remove(&old).is_some());
        }
        if ending == Ending::TakenBack {
            let Held { pools, endpoints, listeners } = self.brought(&compiled);
            self.held.pools.extend(pools);
            self.held.endpoints.extend(endpoints);
            self.held.listeners.extend(listeners);
            self.check();
            return self.let_go();
        }
        self.note(&change);
        compiled.applied(&mut self.slots);
        self.running = after;
        self.check();
        if ending == Ending::InForce {
            self.let_go();
        }
    }

    /// The appliance goes on with an empty document.
    pub(crate) fn end(mut self) {
        self.let_go();
        self.check();
    }

    fn note(&mut self, change: &policy::generation::Change) {
        for (slot, pool) in &change.pools {
            match pool {
                Some(_) => self.held.pools.remove(slot),
                None => self.held.pools.insert(*slot),
            };
        }
        for (_, slot) in &change.endpoints_come {
            self.held.endpoints.remove(slot);
        }
        self.held.endpoints.extend(change.endpoints_gone.iter().map(|(_, slot)| *slot));
        for slot in &change.leave {
            let address = self.slots.listener(*slot).expect("a slot in use").clone();
            self.held.listeners.insert(*slot, address);
        }
    }

    /// What the change names that was in use by nobody before.
    fn brought(&self, compiled: &Compiled) -> Held {
        let change = &compiled.change;
        let runs = |slot| self.running.pools.values().any(|pool| pool.generation.slot == slot);
        let pools = change.pools.iter().map(|(slot, _)| *slot);
        let endpoints = change.endpoints_come.iter().map(|(_, slot)| *slot);
        Held {
            pools: pools.filter(|slot| !runs(*slot) && !self.held.pools.contains(slot)).collect(),
            endpoints: endpoints.filter(|slot| !self.held.endpoints.contains(slot)).collect(),
            listeners: compiled.bind.iter().map(|bind| (bind.listener, bind.address.clone())).collect(),
        }
    }

    /// What the address of this slot means, if it runs.
    fn runs_at(&self, slot: ListenerSlot) -> Option<&Listen> {
        self.running.listeners.values().find(|listen| listen.listener == slot)
    }

    fn let_go(&mut self) {
        std::mem::take(&mut self.held).release(&mut self.slots);
    }

    /// What runs is what the document says, and no slot means two things.
    fn check(&self) {
        let Running { config, pools, listeners, .. } = &self.running;
        assert!(pools.keys().eq(config.pools.keys()));
        let (mut pool_slots, mut endpoint_slots) = (self.held.pools.clone(), self.held.endpoints.clone());
        for (id, pool) in pools {
            let content = config.pools.get(id).expect("what runs is in the document");
            assert_eq!(pool.content.hash(), content.hash());
            self.agrees(pool);
            assert!(pool_slots.insert(pool.generation.slot), "the slot of {id} is taken");
            for endpoint in pool.generation.endpoints() {
                assert!(endpoint_slots.insert(endpoint.slot), "the slot of {} is taken", endpoint.address);
            }
        }
        let mut listener_slots: BTreeSet<ListenerSlot> = self.held.listeners.keys().copied().collect();
        for (address, listen) in listeners {
            assert!(listener_slots.insert(listen.listener), "the slot of {address} is taken");
            assert_eq!(self.slots.listener(listen.listener), Some(address));
        }
        assert_eq!(self.slots.in_use(), (pool_slots.len(), endpoint_slots.len(), listener_slots.len()));
    }

    fn agrees(&self, pool: &RunningPool) {
        let RunningPool { content, generation, .. } = pool;
        assert_eq!((&generation.id, generation.hash), (&content.id, content.hash()));
        assert_eq!(generation.shards, content.create.shards.unwrap_or(self.shards));
        assert_eq!(generation.limits.max_connections, content.limits.max_connections);
        assert_eq!(generation.limits.memory, content.create.memory);
        let timeouts = &generation.policy.timeouts;
        assert_eq!(
            (timeouts.connect, timeouts.idle, timeouts.lifetime),
            (content.timeouts.connect, content.timeouts.idle, content.timeouts.lifetime)
        );
        assert_eq!(
            (generation.policy.access_log, generation.policy.pool),
            (content.switches.access_log, generation.slot)
        );

        let mut listeners: Vec<ListenerSlot> = Vec::new();
        for address in content.leads() {
            let listen = self.running.listeners.get(address).expect("it means something");
            assert_eq!((listen.pool, listen.shards), (generation.slot, generation.shards), "{address}");
            listeners.push(listen.listener);
        }
        listeners.sort();
        assert_eq!(*generation.listeners, listeners[..]);

        self.sites_agree(pool);
        rules_agree(pool);
        assert_eq!(generation.groups.len(), content.groups.len());
        for (id, content) in &content.groups {
            self.group_agrees(pool, pool.group(id).expect("it runs"), content);
        }
    }

    /// Each host that a pool of one of its addresses names is led to that pool, from whichever of them it is asked.
    fn sites_agree(&self, pool: &RunningPool) {
        let Service::Http(service) = &pool.generation.service else { return };
        let has = |other: &RunningPool, address: &Address| other.content.create.listen.contains(address);
        for address in &pool.content.create.listen {
            let listener = self.running.listeners.get(address).expect("it means something").listener;
            for other in self.running.pools.values().filter(|other| has(other, address)) {
                let http = other.content.http.as_ref().expect("only pools of HTTP share an address");
                let named = http.hosts.hosts.iter().map(|host| host.to_string().replacen('*', "nobodys", 1));
                // Longer than a host can be.
                for host in named.filter(|host| host.len() <= 255) {
                    let whose = service.sites.whose(pool.generation.slot, Some(listener), host.as_bytes());
                    let is_it = match whose {
                        Whose::Ours => other.content.id == pool.content.id,
                        Whose::Theirs(member) => {
                            (&member.id, member.slot) == (&other.content.id, other.generation.slot)
                        }
                        Whose::Nobodys { .. } => false,
                    };
                    assert!(is_it, "{host} at {address}: {whose:?}");
                }
            }
        }
    }

    fn group_agrees(&self, pool: &RunningPool, group: &policy::generation::Group, content: &config::Group) {
        assert_eq!(group.id, content.id);
        assert!(group.endpoints.is_sorted_by_key(|endpoint| endpoint.slot));
        assert_eq!(group.endpoints.len(), content.backends.len());
        for endpoint in &group.endpoints {
            let found = content.backends.iter().find(|backend| backend.id == endpoint.id);
            let backend = found.unwrap_or_else(|| panic!("{} is no backend", endpoint.id));
            let Endpoint { slot, address, weight, backup, drain, max_connections, .. } = &**endpoint;
            assert_eq!(
                (address, weight, backup, drain, max_connections),
                (&backend.address, &backend.weight, &backend.backup, &backend.drain, &backend.max_connections)
            );
            let identity = self.slots.endpoint(*slot).expect("in use");
            assert_eq!((&identity.pool, &identity.group, &identity.address), (&pool.content.id, &group.id, address));
        }
        if let Balance::SourceHash(table) = &group.balance {
            // Kept from before or built anew, it is what this group's own would be.
            assert!(**table == *maglev::build(&group.endpoints), "the table of `{}` is another group's", group.id);
        }
    }
}
