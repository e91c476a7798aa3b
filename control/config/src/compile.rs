//! From one configuration to the next: the change that shards are asked to make.
//!
//! Incremental: what the trees of both documents share is not looked at, and every part that is equal stays the same `Arc`. A [`TunnelPolicy`] that stays keeps its part
//! and its number, which is that of the generation that last changed *it*; it is not superseded.
//!
//! Cost: that of what differs; of a group that differs, O(backends).
//!
//! [`afresh`] leaves out what was before: to see what should have come of it, and to put that in force.

mod afresh;

pub use afresh::{Afresh, recompile};

use crate::document::{Carries, Config, Group, GroupContent, HttpContent, Pool};
use crate::keys::{Algorithm, Backend, Balancing, CheckWord, Health, HttpTimes, TcpGroup};
use crate::plan::Live;
use crate::planted::{Mistake, is};
use crate::problem::Problems;
use crate::running::{Running, RunningPool};
use crate::service;
use crate::slots::{EndpointIdentity, Slots};
use policy::balance::maglev;
use policy::generation::{
    Address, Balance, Change, CheckKind, Endpoint, Group as PolicyGroup, Groups, HealthCheck, HttpCheck, Listen,
    PoolGeneration, PoolLimits, Service, Timeouts, TunnelPolicy,
};
use policy::http::{HostTest, HttpTimeouts, Member, Site, Sites};
use policy::tree::{self, Difference, Tree};
use policy::{EndpointSlot, GenerationId, GroupSlot, JobId, ListenerSlot, PoolId, PoolSlot, ShardSet};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A change ready to be prepared, and what control must know besides.
#[derive(Debug)]
pub struct Compiled {
    pub job: JobId,
    pub change: Arc<Change>,
    /// Addresses to bind before shards can prepare. Those of `change.listen` that move between pools are not among
    /// them: they are bound.
    pub bind: Vec<Bind>,
    /// Endpoints that are new or differ from before, with their pool: to be checked and resolved anew.
    pub endpoints: Vec<(PoolSlot, Arc<Endpoint>)>,
    /// Errors: what the document says cannot be compiled, so this must not go out. Warnings: new rules that are never asked.
    pub remarks: Problems,
    pub(crate) from: Arc<Config>,
    pub(crate) to: Arc<Config>,
    pub(crate) pools: Vec<(PoolId, Option<RunningPool>)>,
    /// What addresses mean that come or change pools.
    pub(crate) listeners: Vec<(Address, Listen)>,
    pub(crate) left: Vec<(Address, ListenerSlot)>,
    pub(crate) groups_gone: Vec<(PoolId, Arc<str>)>,
}

/// An address to bind.
#[derive(Clone, PartialEq, Debug)]
pub struct Bind {
    pub listener: ListenerSlot,
    pub address: Address,
    pub pool: PoolId,
    pub shards: ShardSet,
    /// The same address is still being left. Bind only when the sockets of this slot are closed.
    pub after: Option<ListenerSlot>,
}

impl Compiled {
    /// The change is in force: addresses that it leaves are named anew from now on, and groups that it takes away are gone. To be said together with
    /// [`Running::after`], before anything else is compiled that touches the same.
    pub fn applied(&self, slots: &mut Slots) {
        self.left.iter().for_each(|(address, slot)| slots.leave(address, *slot));
        self.groups_gone.iter().for_each(|(pool, group)| slots.group_gone(pool, group));
    }

    /// The configuration that this makes of what it was compiled against.
    pub fn config(&self) -> &Arc<Config> {
        &self.to
    }
}

/// Compiles what turns `running` into `new`. `live` is the proof, from a plan of just these two, that it
/// needs no restart; `shards` are all shards of the process.
pub fn compile(
    running: &Running,
    new: &Arc<Config>,
    live: Live,
    job: JobId,
    shards: ShardSet,
    slots: &mut Slots,
) -> Compiled {
    recompile(running, new, live, job, shards, slots, &BTreeSet::new())
}

fn compiled<'a>(
    running: &'a Running,
    new: &'a Arc<Config>,
    live: Live,
    job: JobId,
    shards: ShardSet,
    slots: &'a mut Slots,
    afresh: &'a BTreeSet<PoolId>,
) -> Compiled {
    assert_eq!((live.from, live.to), (running.config.hash(), new.hash()), "the plan is of another change");
    let mut compiler = Compiler { afresh, ..Compiler::new(running, job.into(), shards, slots) };
    compiler.document(new);
    let Compiler { mut change, bind, mut endpoints, pools, listeners, left, groups_gone, remarks, .. } = compiler;
    change.pools.sort_by_key(|(slot, _)| *slot);
    change.listen.sort_by_key(|listen| listen.listener);
    change.leave.sort();
    change.endpoints_come.sort();
    change.endpoints_gone.sort();
    endpoints.sort_by_key(|(_, endpoint)| endpoint.slot);
    Compiled {
        job,
        change: Arc::new(change),
        bind,
        endpoints,
        remarks,
        from: running.config.clone(),
        to: new.clone(),
        pools,
        listeners,
        left,
        groups_gone,
    }
}

struct Compiler<'a> {
    running: &'a Running,
    number: GenerationId,
    shards: ShardSet,
    slots: &'a mut Slots,
    change: Change,
    bind: Vec<Bind>,
    endpoints: Vec<(PoolSlot, Arc<Endpoint>)>,
    pools: Vec<(PoolId, Option<RunningPool>)>,
    listeners: Vec<(Address, Listen)>,
    left: Vec<(Address, ListenerSlot)>,
    groups_gone: Vec<(PoolId, Arc<str>)>,
    remarks: Problems,
    /// Addresses that lead to a pool in the new configuration and did not in the old one. One that led to another pool
    /// is not left: it moves.
    coming: HashSet<&'a Address>,
    /// Addresses that are divided, as far as they were compiled.
    sites: HashMap<&'a Address, Arc<Site>>,
    /// Pools of which nothing that was compiled before is taken over.
    afresh: &'a BTreeSet<PoolId>,
}

impl<'a> Compiler<'a> {
    fn new(running: &'a Running, number: GenerationId, shards: ShardSet, slots: &'a mut Slots) -> Compiler<'a> {
        Compiler {
            running,
            number,
            shards,
            slots,
            change: Change::default(),
            bind: Vec::new(),
            endpoints: Vec::new(),
            pools: Vec::new(),
            listeners: Vec::new(),
            left: Vec::new(),
            groups_gone: Vec::new(),
            remarks: Problems::default(),
            coming: HashSet::new(),
            sites: HashMap::new(),
            afresh: const { &BTreeSet::new() },
        }
    }

    fn document(&mut self, new: &'a Config) {
        let running = self.running;
        let differs = |difference: &Difference<'a, PoolId, Arc<Pool>>| match difference {
            Difference::Changed { old, new, .. } => old.hash() != new.hash(),
            Difference::Added { .. } | Difference::Removed { .. } => true,
        };
        let differences = || tree::diff(&running.config.pools, &new.pools).filter(differs);
        for difference in differences() {
            let (Difference::Added { key, new } | Difference::Changed { key, new, .. }) = difference else { continue };
            let before = running.pools.get(key).map(|old| old.content.leads()).unwrap_or_default();
            self.coming.extend(new.leads().iter().filter(|address| !before.contains(address)));
        }
        for difference in differences() {
            if let Difference::Removed { key, .. } = difference {
                self.remove_pool(key, running.pools.get(key).expect("what is in the document runs"));
            }
        }
        for difference in differences() {
            if let Difference::Added { key, new } | Difference::Changed { key, new, .. } = difference {
                self.pool(new, running.pools.get(key));
            }
        }
        for (old, new) in self.afresh.iter().filter_map(|id| running.pools.get(id).zip(new.pools.get(id))) {
            if old.content.hash() == new.hash() {
                self.pool(new, Some(old));
            }
        }
    }

    fn remove_pool(&mut self, id: &PoolId, pool: &RunningPool) {
        let slot = pool.generation.slot;
        pool.content.leads().iter().for_each(|address| self.leave(address));
        pool.generation.endpoints().for_each(|endpoint| self.endpoint_gone(slot, endpoint));
        self.change.pools.push((slot, None));
        self.pools.push((id.clone(), None));
    }

    fn pool(&mut self, pool: &'a Arc<Pool>, old: Option<&RunningPool>) {
        let slot = match old {
            Some(old) => old.generation.slot,
            None => self.slots.name_pool(&pool.id),
        };
        let shards = pool.create.shards.unwrap_or(self.shards);
        let listeners = self.listeners(pool, slot, shards, old);
        let mut replaced = 0;
        // What is taken over as far as it says the same.
        let basis = old.filter(|_| !self.afresh.contains(&pool.id));
        let (groups, group_slots) = self.groups(pool, slot, basis, &mut replaced);
        let policy = self.policy(pool, slot, basis.map(|old| &old.generation.policy));
        let (sites, site_bytes) = self.sites(pool, slot, basis);
        let named = pool.http.iter().flat_map(|http| http.lists.keys());
        for name in named {
            self.slots.name_list(name);
        }
        let service = service::compile(pool, sites, basis, &*self.slots, &mut replaced, &mut self.remarks);
        let own = size_of::<PoolGeneration>() + size_of_val(&*listeners) + site_bytes;
        let group_bytes = groups.measure().map_or(0, |bytes| bytes.0);
        let own_before = old.map_or(0, |old| size_of_val(&*old.generation) + size_of_val(&*old.generation.listeners));
        if let (Some(old), None) = (old, basis) {
            self.told_against(old, slot, pool, &groups);
            replaced = (old.generation.bytes as usize).saturating_sub(own_before);
        }
        let generation = Arc::new(PoolGeneration {
            part: self.slots.part(),
            id: pool.id.clone(),
            slot,
            number: self.number,
            hash: pool.hash(),
            listeners,
            shards,
            limits: PoolLimits { max_connections: pool.limits.max_connections, memory: pool.create.memory },
            policy,
            bytes: own as u64 + group_bytes + service::bytes(pool, &service) as u64,
            service,
            groups,
            replaced_bytes: (own_before + replaced) as u64,
        });
        self.change.pools.push((slot, Some(generation.clone())));
        self.pools.push((pool.id.clone(), Some(RunningPool { content: pool.clone(), generation, group_slots })));
    }

    fn listeners(
        &mut self,
        pool: &Pool,
        slot: PoolSlot,
        shards: ShardSet,
        old: Option<&RunningPool>,
    ) -> Box<[ListenerSlot]> {
        let before = old.map(|old| old.content.leads()).unwrap_or_default();
        for address in before.iter().filter(|address| !pool.leads().contains(address)) {
            self.leave(address);
        }
        let mut listeners = Vec::with_capacity(pool.leads().len());
        for address in pool.leads() {
            listeners.push(match self.running.listeners.get(address) {
                Some(listen) if before.contains(address) => listen.listener,
                Some(listen) => self.moves(address, listen, slot, shards),
                None => self.comes(pool, address, slot, shards),
            });
        }
        listeners.sort();
        listeners.into()
    }

    /// How its requests are divided, and what keeping that costs; of a site all its pools bear a part. The old ones as far
    /// as they would come out the same.
    fn sites(&mut self, pool: &'a Arc<Pool>, slot: PoolSlot, old: Option<&RunningPool>) -> (Sites, usize) {
        let before = old.and_then(|old| match &old.generation.service {
            Service::Http(service) => Some((&old.content, &service.sites)),
            Service::Tcp => None,
        });
        let mut bytes = 0;
        let mut at = Vec::with_capacity(pool.sites().len());
        for (address, content) in pool.sites() {
            let listener = match self.running.listeners.get(address) {
                Some(listen) => listen.listener,
                None => self.slots.name_listener(address).0,
            };
            let known = before.filter(|(old, _)| old.site(address).is_some_and(|old| old.hash() == content.hash()));
            let site = match (self.sites.get(address), known.and_then(|(_, sites)| sites.at(listener))) {
                (Some(site), _) | (None, Some(site)) => site.clone(),
                (None, None) => self.site(content.pools.iter().map(|(id, hosts)| (id, &hosts[..]))),
            };
            self.sites.insert(address, site.clone());
            bytes += site.bytes().div_ceil(site.members().len());
            at.push((listener, site));
        }
        let elsewhere = match (pool.hosts(), before) {
            ([], _) => None,
            (hosts, Some((old, sites))) if old.hosts() == hosts => sites.elsewhere().cloned(),
            (hosts, _) => Some(self.site([(&pool.id, hosts)].into_iter())),
        };
        bytes += elsewhere.as_ref().map_or(0, |site| site.bytes()) + size_of_val(&*at);
        debug_assert!(elsewhere.as_ref().is_none_or(|site| site.members()[0].slot == slot));
        (Sites::new(at, elsewhere), bytes)
    }

    fn site<'p>(&mut self, pools: impl Iterator<Item = (&'p PoolId, &'p [HostTest])>) -> Arc<Site> {
        let members = pools.map(|(id, hosts)| {
            let slot = match self.running.pools.get(id) {
                Some(running) => running.generation.slot,
                None => self.slots.name_pool(id),
            };
            (Member { id: id.clone(), slot }, hosts.to_vec())
        });
        Arc::new(Site::new(members.collect()).expect("in a configuration each host of an address has one pool"))
    }

    fn comes(&mut self, pool: &Pool, address: &Address, slot: PoolSlot, shards: ShardSet) -> ListenerSlot {
        let (listener, after) = self.slots.name_listener(address);
        self.bind.push(Bind { listener, address: address.clone(), pool: pool.id.clone(), shards, after });
        self.listen(address, Listen { listener, pool: slot, shards });
        listener
    }

    fn moves(&mut self, address: &Address, from: &Listen, slot: PoolSlot, shards: ShardSet) -> ListenerSlot {
        assert_eq!(from.shards, shards, "a plan that moves {address} to other shards is not live");
        self.listen(address, Listen { pool: slot, ..from.clone() });
        from.listener
    }

    fn listen(&mut self, address: &Address, listen: Listen) {
        self.listeners.push((address.clone(), listen.clone()));
        self.change.listen.push(listen);
    }

    fn leave(&mut self, address: &Address) {
        if self.coming.contains(address) {
            return;
        }
        let listener =
            self.running.listeners.get(address).expect("an address that leads to a pool means something").listener;
        self.change.leave.push(listener);
        self.left.push((address.clone(), listener));
    }

    /// The groups as shards see them: those before, and what differs. A group is known by its name; under another name it
    /// is another group.
    fn groups(
        &mut self,
        pool: &'a Pool,
        slot: PoolSlot,
        old: Option<&RunningPool>,
        replaced: &mut usize,
    ) -> (Groups, Tree<Arc<str>, GroupSlot>) {
        let none = Tree::new();
        let mut groups = old.map_or_else(Groups::new, |old| old.generation.groups.clone());
        let mut slots = old.map_or_else(Tree::new, |old| old.group_slots.clone());
        for difference in tree::diff(old.map_or(&none, |old| &old.content.groups), &pool.groups) {
            let (new, was) = match difference {
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => continue,
                Difference::Removed { key, .. } => (None, Some(key)),
                Difference::Added { new, .. } => (Some(new), None),
                Difference::Changed { key, new, .. } => (Some(new), Some(key)),
            };
            let was = was.and_then(|id| groups.get(slots.get(id)?)).cloned();
            match new {
                Some(content) => {
                    let group = self.group(pool, content, slot, was.as_deref(), replaced);
                    if was.is_none() {
                        slots = slots.insert_counting(group.id.clone(), group.slot, replaced);
                    }
                    groups = groups.insert_counting(group.slot, group, replaced);
                }
                None => {
                    let gone = was.expect("what is in the document runs");
                    *replaced += gone.bytes() as usize;
                    gone.endpoints.iter().for_each(|endpoint| self.endpoint_gone(slot, endpoint));
                    self.groups_gone.push((pool.id.clone(), gone.id.clone()));
                    slots = slots.remove_counting(&gone.id, replaced);
                    groups = groups.remove_counting(&gone.slot, replaced);
                }
            }
        }
        (groups, slots)
    }

    /// A group that is new or differs.
    fn group(
        &mut self,
        pool: &Pool,
        content: &Group,
        slot: PoolSlot,
        old: Option<&PolicyGroup>,
        replaced: &mut usize,
    ) -> Arc<PolicyGroup> {
        let group_slot = self.slots.name_group(&pool.id, &content.id);
        let before = old.map(|old| &*old.endpoints).unwrap_or_default();
        *replaced += old.map_or(0, |old| old.own_bytes() as usize);
        let mut kept: HashMap<&Address, &Arc<Endpoint>> =
            before.iter().map(|endpoint| (&endpoint.address, endpoint)).collect();
        let mut endpoints = Vec::with_capacity(content.backends.len());
        for backend in &content.backends {
            let old = kept.remove(&backend.address);
            if let Some(old) = old.filter(|old| means(old, backend)) {
                endpoints.push(old.clone());
                continue;
            }
            *replaced += old.map_or(0, |old| old.bytes() as usize);
            let endpoint_slot = match old {
                Some(old) => old.slot,
                None => self.endpoint_comes(pool, content, slot, backend),
            };
            let Backend { id, address, weight, backup, drain, max_connections } = (***backend).clone();
            let weight = if is(Mistake::WeightLost) { 1 } else { weight };
            let endpoint = Arc::new(Endpoint {
                slot: endpoint_slot,
                group: group_slot,
                id,
                address,
                weight,
                backup,
                drain,
                max_connections,
            });
            self.endpoints.push((slot, endpoint.clone()));
            endpoints.push(endpoint);
        }
        for gone in kept.into_values() {
            *replaced += gone.bytes() as usize;
            self.endpoint_gone(slot, gone);
        }
        endpoints.sort_by_key(|endpoint| endpoint.slot);
        Arc::new(policy_group(group_slot, content, endpoints.into(), old))
    }

    fn endpoint_comes(&mut self, pool: &Pool, group: &Group, slot: PoolSlot, backend: &Backend) -> EndpointSlot {
        let identity =
            EndpointIdentity { pool: pool.id.clone(), group: group.id.clone(), address: backend.address.clone() };
        let endpoint = self.slots.name_endpoint(&identity);
        self.change.endpoints_come.push((slot, endpoint));
        endpoint
    }

    fn endpoint_gone(&mut self, slot: PoolSlot, endpoint: &Endpoint) {
        self.change.endpoints_gone.push((slot, endpoint.slot));
    }

    fn policy(&mut self, pool: &Pool, slot: PoolSlot, old: Option<&Arc<TunnelPolicy>>) -> Arc<TunnelPolicy> {
        let crate::keys::Timeouts { connect, idle, lifetime } = pool.timeouts;
        let timeouts = Timeouts { connect, idle, lifetime };
        let http = pool.http.as_ref().map(http_timeouts);
        let access_log = pool.switches.access_log;
        match old {
            Some(old) if (&old.timeouts, &old.http, old.access_log) == (&timeouts, &http, access_log) => old.clone(),
            _ => Arc::new(TunnelPolicy {
                part: self.slots.part(),
                pool: slot,
                number: self.number,
                timeouts,
                http,
                access_log,
                bytes: size_of::<TunnelPolicy>() as u64,
            }),
        }
    }
}

fn http_timeouts(content: &HttpContent) -> HttpTimeouts {
    let HttpTimes { head, body, first_byte, answer, total, keep_alive } = content.timeouts;
    HttpTimeouts { head, body, first_byte, answer, total, keep_alive }
}

/// Whether the endpoint says what the backend says. Its slot is not the document's business.
fn means(endpoint: &Endpoint, backend: &Backend) -> bool {
    let Backend { id, address, weight, backup, drain, max_connections } = backend;
    if is(Mistake::EndpointKept) {
        return endpoint.address == *address;
    }
    endpoint.id == *id
        && endpoint.address == *address
        && (endpoint.weight, endpoint.backup, endpoint.drain) == (*weight, *backup, *drain)
        && endpoint.max_connections == *max_connections
}

fn policy_group(
    slot: GroupSlot,
    content: &GroupContent,
    endpoints: Box<[Arc<Endpoint>]>,
    old: Option<&PolicyGroup>,
) -> PolicyGroup {
    let GroupContent { id, balancing, carries, health, backends: _ } = content;
    let Balancing { balance, queue, queue_wait } = *balancing;
    let balance = match balance {
        Algorithm::RoundRobin => Balance::RoundRobin,
        // What is counted is what the pool carries: connections, or requests.
        Algorithm::LeastConnections | Algorithm::LeastRequests => Balance::LeastConnections,
        Algorithm::RandomTwo => Balance::RandomTwo,
        Algorithm::PeakEwma => Balance::PeakEwma,
        Algorithm::SourceHash | Algorithm::Hash => Balance::SourceHash(source_table(&endpoints, old)),
    };
    let (attempts, http) = match carries {
        Carries::Tcp(TcpGroup { attempts }) => (*attempts, None),
        Carries::Http { settings, retry, eject } => {
            (retry.attempts, Some(service::group(balancing.balance, settings, retry, eject.as_ref())))
        }
    };
    let health = health.as_ref().map(health_check);
    PolicyGroup { slot, id: id.clone(), balance, endpoints, attempts, queue, queue_wait, health, http }
}

fn health_check(health: &Health) -> HealthCheck {
    let Health { kind, path, host, method, status, body, interval, timeout, rise, fall } = health;
    let kind = match kind {
        CheckWord::Connect => CheckKind::Connect,
        CheckWord::Http => CheckKind::Http(Arc::new(HttpCheck {
            method: method.clone(),
            path: path.clone(),
            host: host.clone(),
            statuses: status.as_slice().into(),
            body: body.clone(),
        })),
    };
    HealthCheck { kind, interval: *interval, timeout: *timeout, rise: *rise, fall: *fall }
}

/// The old table if it would come out the same: it depends on addresses, weights and backups only.
fn source_table(endpoints: &[Arc<Endpoint>], old: Option<&PolicyGroup>) -> Arc<[u32]> {
    let same = |(old, new): (&Arc<Endpoint>, &Arc<Endpoint>)| {
        (old.slot, &old.address, old.weight, old.backup) == (new.slot, &new.address, new.weight, new.backup)
    };
    match old {
        Some(PolicyGroup { balance: Balance::SourceHash(table), endpoints: before, .. })
            if before.len() == endpoints.len() && before.iter().zip(endpoints).all(same) =>
        {
            table.clone()
        }
        _ => maglev::build(endpoints),
    }
}
