//! What a rig runs, as short as a test wants to write it, compiled to generations and changes.
//!
//! What did not change is the same `Arc` as before, as it is with the real compiler.

use link::listen::BindAddress;
use policy::generation::*;
use policy::http::affinity::HashOn;
use policy::http::retry::RetryPolicy;
use policy::http::*;
use policy::ids::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::h1::Limits;
use wire::h1::write::{Chain, Upgrades};

#[derive(Clone, Default)]
pub struct Site {
    /// By slot.
    pub pools: BTreeMap<u32, Pool>,
    /// Where listeners are, if not at a port of 127.0.0.1 that the kernel chooses.
    pub places: BTreeMap<u32, BindAddress>,
}

#[derive(Clone, PartialEq)]
pub struct Pool {
    /// `pool` and its slot, if it is called nothing else.
    pub id: Option<&'static str>,
    /// Those it takes where it shares a listener; none: what no other takes.
    pub hosts: &'static [&'static str],
    pub listen: BTreeSet<u32>,
    /// By slot.
    pub backends: BTreeMap<u32, Backend>,
    pub least_connections: bool,
    pub max_connections: Option<u32>,
    pub memory: u64,
    pub attempts: u32,
    pub queue: u32,
    pub queue_wait: Duration,
    pub checked: bool,
    pub timeouts: Timeouts,
    /// `None`: streams.
    pub http: Option<Http>,
}

/// What a pool of requests is besides.
#[derive(Clone)]
pub struct Http {
    pub service: Arc<HttpService>,
    /// Of each group.
    pub group: GroupHttp,
    pub timeouts: HttpTimeouts,
}

impl PartialEq for Http {
    fn eq(&self, other: &Http) -> bool {
        Arc::ptr_eq(&self.service, &other.service) && self.group == other.group && self.timeouts == other.timeouts
    }
}

impl Http {
    /// Without rules, and with what a pool has by default.
    pub fn new() -> Http {
        Http::ruled(Vec::new())
    }

    pub fn ruled(specs: Vec<RuleSpec>) -> Http {
        Http::with(specs, |_| ())
    }

    pub fn with(specs: Vec<RuleSpec>, edit: impl FnOnce(&mut HttpService)) -> Http {
        let rules = specs.iter().map(|spec| Arc::new(Rule::compile(spec).unwrap())).collect();
        let mut service = HttpService {
            rules: Arc::new(Rules::new(rules).unwrap()),
            lists: Default::default(),
            sites: Sites::default(),
            request: Limits::REQUEST,
            response: Limits::RESPONSE,
            escaped_slash: EscapedSlash::Keep,
            upgrades: Upgrades::WebSocket,
            x_forwarded: Chain::Replace,
            forwarded: Chain::Pass,
            via: None,
            request_id: false,
            says_generation: false,
            pages: Pages::default(),
        };
        edit(&mut service);
        let second = Duration::from_secs(1);
        Http {
            service: Arc::new(service),
            group: GroupHttp {
                retry: RetryPolicy { attempts: 3, per_mille: 200, minimum_per_second: 10, statuses: [].into() },
                eject: None,
                hash: HashOn::Source,
                idle_max: 16,
                idle_timeout: 60 * second,
            },
            timeouts: HttpTimeouts {
                head: 10 * second,
                body: Some(60 * second),
                first_byte: Some(60 * second),
                answer: Some(60 * second),
                total: None,
                keep_alive: 60 * second,
            },
        }
    }
}

/// A rule with this condition that leads to a group, by its place among the groups' names.
pub fn rule(id: &str, when: When, action: ActionSpec) -> RuleSpec {
    let order = id.bytes().fold(0, |order, byte| order * 256 + u64::from(byte));
    RuleSpec {
        id: id.into(),
        order,
        when,
        action,
        request_edits: Vec::new(),
        response_edits: Vec::new(),
        rewrite: None,
        host: None,
    }
}

#[derive(Clone, PartialEq)]
pub struct Backend {
    pub address: Address,
    pub weight: u32,
    pub backup: bool,
    pub drain: bool,
    pub max_connections: Option<u32>,
    /// By which its pool has as many groups as there are names.
    pub group: &'static str,
}

impl Site {
    /// Pool 0 at listener 0, with backends 0, 1, …
    pub fn of(backends: &[SocketAddr]) -> Site {
        Site::default().with_pool(0, backends)
    }

    /// One more pool, at the listener of the same number, with its backends from ten times that number on.
    pub fn with_pool(mut self, slot: u32, backends: &[SocketAddr]) -> Site {
        let backends = (10 * slot..).zip(backends).map(|(slot, address)| (slot, Backend::at(*address))).collect();
        self.pools.insert(slot, Pool::new(slot, backends));
        self
    }

    /// One more pool, of requests, at listener 0 like pool 0, and with these hosts.
    pub fn sharing(self, slot: u32, hosts: &'static [&'static str], http: Http, backends: &[SocketAddr]) -> Site {
        let mut site = self.with_pool(slot, backends);
        let pool = site.pools.get_mut(&slot).unwrap();
        (pool.listen, pool.hosts, pool.http) = (BTreeSet::from([0]), hosts, Some(http));
        site
    }

    fn at(&self, listener: u32) -> impl Iterator<Item = (u32, &Pool)> {
        let pools = self.pools.iter().filter(move |(_, pool)| pool.listen.contains(&listener));
        pools.map(|(slot, pool)| (*slot, pool))
    }

    /// Listeners that lead to this pool.
    fn leads_to(&self, slot: u32) -> Vec<u32> {
        let owner = |listener: &u32| self.at(*listener).min_by_key(|(slot, pool)| (!pool.hosts.is_empty(), *slot));
        let leads = |listener: &&u32| owner(listener).is_some_and(|(owner, _)| owner == slot);
        self.pools[&slot].listen.iter().filter(leads).copied().collect()
    }

    /// All that follows for this pool from the others: the listeners that lead to it, and whose hosts are whose at each.
    fn division(&self, slot: u32) -> (Vec<u32>, Vec<(u32, Shares)>) {
        let pool = &self.pools[&slot];
        let shared = pool.listen.iter().map(|listener| {
            let member = |(slot, pool): (u32, &Pool)| (slot, pool.id(slot), pool.hosts);
            (*listener, self.at(*listener).map(member).collect::<Shares>())
        });
        let shared = shared.filter(|(_, shares)| shares.len() > 1 || !pool.hosts.is_empty());
        (self.leads_to(slot), shared.collect())
    }

    fn sites(&self, slot: u32) -> Sites {
        let site = |shares: &[Share]| {
            let pools = shares.iter().map(|(slot, id, hosts)| {
                let hosts = hosts.iter().map(|host| HostTest::parse(host).unwrap()).collect();
                (Member { id: id.clone(), slot: PoolSlot(*slot) }, hosts)
            });
            Arc::new(policy::http::Site::new(pools.collect()).expect("each host is one pool's"))
        };
        let pool = &self.pools[&slot];
        let elsewhere = (!pool.hosts.is_empty()).then(|| site(&[(slot, pool.id(slot), pool.hosts)]));
        let (_, shared) = self.division(slot);
        Sites::new(shared.iter().map(|(listener, shares)| (ListenerSlot(*listener), site(shares))).collect(), elsewhere)
    }

    /// Pool 0, changed.
    pub fn edited(mut self, edit: impl FnOnce(&mut Pool)) -> Site {
        edit(self.pool());
        self
    }

    pub fn pool(&mut self) -> &mut Pool {
        self.pools.get_mut(&0).unwrap()
    }
}

/// A pool, its id and its hosts.
type Share = (u32, PoolId, &'static [&'static str]);
type Shares = Vec<Share>;

impl Pool {
    fn id(&self, slot: u32) -> PoolId {
        self.id.map_or_else(|| PoolId::new(&format!("pool{slot}")), PoolId::new)
    }

    fn new(listener: u32, backends: BTreeMap<u32, Backend>) -> Pool {
        Pool {
            id: None,
            hosts: &[],
            listen: BTreeSet::from([listener]),
            backends,
            least_connections: false,
            max_connections: None,
            memory: 64 << 20,
            attempts: 3,
            queue: 8,
            queue_wait: Duration::from_secs(60),
            checked: false,
            timeouts: Timeouts { connect: Duration::from_secs(5), idle: Some(Duration::from_secs(60)), lifetime: None },
            http: None,
        }
    }

    pub fn listen_at(&mut self, listener: u32) {
        self.listen.insert(listener);
    }

    pub fn backend(&mut self, slot: u32) -> &mut Backend {
        self.backends.get_mut(&slot).unwrap()
    }
}

impl Backend {
    pub fn at(address: SocketAddr) -> Backend {
        Backend::new(Address::Ip(address))
    }

    pub fn unix(path: &Path) -> Backend {
        Backend::new(Address::Unix(path.into()))
    }

    pub fn named(host: &str) -> Backend {
        Backend::new(Address::Name { host: host.into(), port: 80 })
    }

    fn new(address: Address) -> Backend {
        Backend { address, weight: 1, backup: false, drain: false, max_connections: None, group: "main" }
    }
}

/// A site in force, compiled.
#[derive(Clone)]
pub struct Running {
    pub site: Site,
    shards: u16,
    number: GenerationId,
    pools: BTreeMap<u32, Arc<PoolGeneration>>,
}

impl Running {
    pub fn nothing(shards: u16) -> Running {
        Running { site: Site::default(), shards, number: GenerationId(0), pools: BTreeMap::new() }
    }

    /// The next generation, and what there is to change for it.
    pub fn changed_to(&self, site: Site, number: GenerationId) -> (Running, Change) {
        let mut change = Change::default();
        let mut next = Running { site, number, ..self.clone() };
        let slots: BTreeSet<u32> = self.site.pools.keys().chain(next.site.pools.keys()).copied().collect();
        for slot in slots {
            let (before, after) = (self.site.pools.get(&slot), next.site.pools.get(&slot));
            let divided = |site: &Site| site.pools.contains_key(&slot).then(|| site.division(slot));
            if before == after && divided(&self.site) == divided(&next.site) {
                continue;
            }
            let compiled = after.map(|pool| self.compile(slot, pool, &next.site, number));
            change.pools.push((PoolSlot(slot), compiled.clone()));
            match compiled {
                Some(pool) => next.pools.insert(slot, pool),
                None => next.pools.remove(&slot),
            };
            let [old, new] = [before, after].map(|pool| pool.map(|pool| pool.slots()).unwrap_or_default());
            let named = |endpoint: &u32| (PoolSlot(slot), EndpointSlot(*endpoint));
            change.endpoints_gone.extend(old.difference(&new).map(named));
            change.endpoints_come.extend(new.difference(&old).map(named));
        }
        let (old, new) = (self.listens(), next.listens());
        let stays = |listen: &&Listen| new.iter().any(|new| new.listener == listen.listener);
        change.leave = old.iter().filter(|listen| !stays(listen)).map(|listen| listen.listener).collect();
        // Also what listens already and leads to another pool from now on.
        change.listen = new.iter().filter(|listen| !old.contains(listen)).cloned().collect();
        (next, change)
    }

    fn listens(&self) -> Vec<Listen> {
        let shards = ShardSet::first(self.shards.into());
        let of_pool = |slot: &u32| -> Vec<Listen> {
            let listen = |listener| Listen { listener: ListenerSlot(listener), pool: PoolSlot(*slot), shards };
            self.site.leads_to(*slot).into_iter().map(listen).collect()
        };
        self.site.pools.keys().flat_map(of_pool).collect()
    }

    /// All of it; endpoints' states are the tests' own matter.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            committed: policy::reload::Committed::default(),
            version: RootVersion(0),
            generation: Some(self.number),
            pools: self.pools.values().cloned().collect(),
            listen: self.listens(),
            endpoints: Vec::new(),
        }
    }

    pub fn listeners(&self) -> Vec<ListenerSlot> {
        self.listens().iter().map(|listen| listen.listener).collect()
    }

    pub fn place(&self, listener: ListenerSlot) -> BindAddress {
        let anywhere = BindAddress::Ip("127.0.0.1:0".parse().unwrap());
        self.site.places.get(&listener.0).cloned().unwrap_or(anywhere)
    }

    fn compile(&self, slot: u32, pool: &Pool, site: &Site, number: GenerationId) -> Arc<PoolGeneration> {
        let old = self.pools.get(&slot);
        let policy = TunnelPolicy {
            part: next_part(),
            pool: PoolSlot(slot),
            number,
            timeouts: pool.timeouts,
            http: pool.http.as_ref().map(|http| http.timeouts),
            access_log: true,
            bytes: 100,
        };
        let policy = match old {
            Some(old) if old.policy.timeouts == policy.timeouts && old.policy.http == policy.http => old.policy.clone(),
            _ => Arc::new(policy),
        };
        Arc::new(PoolGeneration {
            part: next_part(),
            id: pool.id(slot),
            slot: PoolSlot(slot),
            number,
            hash: ContentHash([0; 16]),
            listeners: site.leads_to(slot).into_iter().map(ListenerSlot).collect(),
            shards: ShardSet::first(self.shards.into()),
            limits: PoolLimits { max_connections: pool.max_connections, memory: pool.memory },
            policy,
            service: pool.http.as_ref().map_or(Service::Tcp, |http| {
                let service = HttpService { sites: site.sites(slot), ..(*http.service).clone() };
                Service::Http(Arc::new(service))
            }),
            groups: Group::table(pool.groups().into_iter().map(|group| self.group(slot, pool, group))),
            bytes: 1000,
            // Nothing is shared here.
            replaced_bytes: u64::MAX,
        })
    }

    fn group(&self, slot: u32, pool: &Pool, name: &str) -> Arc<Group> {
        let old = self.pools.get(&slot);
        let members = pool.backends.iter().filter(|(_, backend)| backend.group == name);
        Arc::new(Group {
            slot: group_slot(name),
            id: name.into(),
            balance: if pool.least_connections { Balance::LeastConnections } else { Balance::RoundRobin },
            endpoints: members.map(|(slot, backend)| endpoint(old, *slot, backend)).collect(),
            attempts: pool.attempts,
            queue: pool.queue,
            queue_wait: pool.queue_wait,
            health: pool.checked.then_some(HealthCheck {
                kind: CheckKind::Connect,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                rise: 1,
                fall: 1,
            }),
            http: pool.http.as_ref().map(|http| http.group.clone()),
        })
    }
}

impl Pool {
    fn groups(&self) -> BTreeSet<&'static str> {
        let named: BTreeSet<_> = self.backends.values().map(|backend| backend.group).collect();
        if named.is_empty() { BTreeSet::from(["main"]) } else { named }
    }

    fn slots(&self) -> BTreeSet<u32> {
        self.backends.keys().copied().collect()
    }
}

fn endpoint(old: Option<&Arc<PoolGeneration>>, slot: u32, backend: &Backend) -> Arc<Endpoint> {
    let Backend { address, weight, backup, drain, max_connections, group } = backend.clone();
    let (group, id) = (group_slot(group), format!("b{slot}").into());
    let new = Endpoint { slot: EndpointSlot(slot), group, id, address, weight, backup, drain, max_connections };
    let before = old.and_then(|old| old.endpoints().find(|endpoint| ***endpoint == new));
    before.cloned().unwrap_or_else(|| Arc::new(new))
}

/// The same for the same name, whatever the pool: slots differ by their endpoints here.
pub fn group_slot(name: &str) -> GroupSlot {
    GroupSlot(policy::tree::hash(0, name.as_bytes()) as u32)
}

fn next_part() -> PartId {
    static PARTS: AtomicU64 = AtomicU64::new(1);
    PartId(PARTS.fetch_add(1, Ordering::Relaxed))
}

/// A path for a socket, in a folder that is gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("sluice-shard-{}-{}", std::process::id(), next_part()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
