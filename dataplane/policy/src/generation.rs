//! One compiled, immutable configuration.
//!
//! Made by `config` on the compiler thread, published to the shards as `Arc`s, never changed after. A
//! generation is not one object: it is a table of pools, and a pool that did not change is the same `Arc`
//! as before, pointer-equal.
//!
//! Two parts can be pinned by themselves: the pool's root ([`PoolGeneration`]), leased only until a
//! connection's decisions are taken, and its [`TunnelPolicy`], leased until a tunnel ends. A tunnel so
//! never pins rules, backends or tables.

use crate::http::{GroupHttp, HttpService, HttpTimeouts};
use crate::ids::{
    EndpointSlot, GenerationId, GroupSlot, ListenerSlot, PartId, PoolId, PoolSlot, RootVersion, ShardSet,
};
use crate::reload::Committed;
use crate::tree::{self, Key, Measure, Tree, hash};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One pool as one generation defines it.
#[derive(Debug)]
pub struct PoolGeneration {
    pub part: PartId,
    pub id: PoolId,
    pub slot: PoolSlot,
    /// The generation that last changed this pool (`web@42`).
    pub number: GenerationId,
    /// Canonical hash of everything below that the operator can write; equal configuration, equal hash.
    pub hash: ContentHash,
    /// Addresses that lead to this pool, sorted.
    pub listeners: Box<[ListenerSlot]>,
    /// Shards that listen for it. Fixed when the pool is created.
    pub shards: ShardSet,
    pub limits: PoolLimits,
    pub policy: Arc<TunnelPolicy>,
    pub service: Service,
    /// A pool of streams has exactly one.
    pub groups: Groups,
    /// Heap bytes reachable from here and from no other pool's generation: what keeping this part costs if it shares
    /// nothing with what runs.
    pub bytes: u64,
    /// Heap bytes of the generation before that this one does not share. 0: it was the first.
    pub replaced_bytes: u64,
}

/// The groups of one pool.
pub type Groups = Tree<GroupSlot, Arc<Group>, GroupBytes>;

/// What groups take, their endpoints included. Heap bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupBytes(pub u64);

impl Measure<GroupSlot, Arc<Group>> for GroupBytes {
    fn cut(slot: &GroupSlot, _: &Arc<Group>) -> u64 {
        slot.cut()
    }

    fn leaf(groups: &[(GroupSlot, Arc<Group>)]) -> GroupBytes {
        GroupBytes(groups.iter().map(|(_, group)| group.bytes()).sum())
    }

    fn join<'a>(below: impl Iterator<Item = &'a GroupBytes>) -> GroupBytes {
        GroupBytes(below.map(|bytes| bytes.0).sum())
    }
}

/// What a pool carries.
#[derive(Clone, Debug)]
pub enum Service {
    /// Streams of bytes.
    Tcp,
    Http(Arc<HttpService>),
}

impl PoolGeneration {
    pub fn group(&self, slot: GroupSlot) -> Option<&Arc<Group>> {
        self.groups.get(&slot)
    }

    /// The one group of a pool that has no other.
    pub fn only_group(&self) -> Option<&Arc<Group>> {
        self.groups.values().next().filter(|_| self.groups.len() == 1)
    }

    /// The endpoint of this slot, and its group, which has this one.
    pub fn find(&self, group: GroupSlot, slot: EndpointSlot) -> Option<(&Arc<Group>, &Arc<Endpoint>)> {
        let group = self.group(group)?;
        Some((group, group.find(slot)?))
    }

    /// Those of all its groups; each belongs to one group only.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.groups.values().flat_map(|group| group.endpoints.iter())
    }
}

/// What a tunnel needs after its decisions are taken.
#[derive(Debug, PartialEq)]
pub struct TunnelPolicy {
    pub part: PartId,
    pub pool: PoolSlot,
    pub number: GenerationId,
    pub timeouts: Timeouts,
    /// Of requests; `None` where the pool carries streams.
    pub http: Option<HttpTimeouts>,
    pub access_log: bool,
    /// As [`PoolGeneration::bytes`].
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Timeouts {
    /// One attempt to reach one backend.
    pub connect: Duration,
    /// Nothing moved in either direction. `None`: no limit.
    pub idle: Option<Duration>,
    /// Accept to end. `None`: no limit.
    pub lifetime: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PoolLimits {
    /// Connections of this pool over all shards. `None`: no limit.
    pub max_connections: Option<u32>,
    /// Bytes of user memory for data between the two sides, over all shards. Each shard has `memory / shards`.
    pub memory: u64,
}

/// The backends of a pool and how one is chosen.
#[derive(Debug)]
pub struct Group {
    pub slot: GroupSlot,
    pub id: Arc<str>,
    pub balance: Balance,
    /// Sorted by `slot`; at most [`Group::ENDPOINTS_MAX`].
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// Backends tried for one connection, the first included. At least 1.
    pub attempts: u32,
    /// Connections that may wait for a free backend, over all shards. Each shard has `queue / shards`, rounded up.
    pub queue: u32,
    /// How long one may wait.
    pub queue_wait: Duration,
    /// `None`: backends count as up without being asked.
    pub health: Option<HealthCheck>,
    /// `None` where the pool carries streams.
    pub http: Option<GroupHttp>,
}

impl Group {
    pub const ENDPOINTS_MAX: usize = 100_000;

    /// Groups by their slots.
    pub fn table(groups: impl IntoIterator<Item = Arc<Group>>) -> Groups {
        let mut groups: Vec<_> = groups.into_iter().map(|group| (group.slot, group)).collect();
        groups.sort_by_key(|(slot, _)| *slot);
        Tree::from_sorted(groups)
    }

    /// Heap bytes, those of its endpoints included.
    pub fn bytes(&self) -> u64 {
        self.own_bytes() + self.endpoints.iter().map(|endpoint| endpoint.bytes()).sum::<u64>()
    }

    /// Heap bytes without those of its endpoints.
    pub fn own_bytes(&self) -> u64 {
        let table = match &self.balance {
            Balance::SourceHash(table) => size_of_val(&**table),
            Balance::RoundRobin | Balance::LeastConnections | Balance::RandomTwo | Balance::PeakEwma => 0,
        };
        let own = tree::CHUNK_BYTES + size_of::<Group>() + self.id.len() + size_of_val(&*self.endpoints) + table;
        own as u64
    }

    /// The endpoint of this slot, if the group has it.
    pub fn find(&self, slot: EndpointSlot) -> Option<&Arc<Endpoint>> {
        let index = self.endpoints.binary_search_by_key(&slot, |endpoint| endpoint.slot).ok()?;
        Some(&self.endpoints[index])
    }
}

#[derive(Debug)]
pub enum Balance {
    /// In proportion to the weights, as evenly spaced as can be.
    RoundRobin,
    /// The fewest connections per weight.
    LeastConnections,
    /// The less busy of two drawn in proportion to the weights.
    RandomTwo,
    /// The one of two drawn in proportion to the weights whose answer is expected sooner: what its answers took,
    /// where the slow ones count most, times what it has in flight.
    PeakEwma,
    /// Maglev hashing of the client's address, or of a header, cookie or path (`http::affinity`). The table maps hash to index in [`Group::endpoints`].
    SourceHash(Arc<[u32]>),
}

/// One backend as one generation defines it. Health, counts and addresses of names are runtime state and
/// belong to the slot.
#[derive(Debug, PartialEq)]
pub struct Endpoint {
    pub slot: EndpointSlot,
    /// Of its pool.
    pub group: GroupSlot,
    pub id: Arc<str>,
    pub address: Address,
    /// 0 takes no new connections but stays in the table; at most [`Endpoint::WEIGHT_MAX`].
    pub weight: u32,
    /// Chosen only while no other is in rotation.
    pub backup: bool,
    /// Takes no new connections; those it has go on.
    pub drain: bool,
    /// Over all shards. `None`: no limit.
    pub max_connections: Option<u32>,
}

impl Endpoint {
    pub const WEIGHT_MAX: u32 = 65_535;

    /// Heap bytes.
    pub fn bytes(&self) -> u64 {
        let address = match &self.address {
            Address::Ip(_) => 0,
            Address::Unix(path) => path.as_os_str().len(),
            Address::Name { host, .. } => host.len(),
        };
        (size_of::<Endpoint>() + self.id.len() + address) as u64
    }
}

/// Where a backend is, or where clients come in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Address {
    Ip(SocketAddr),
    Unix(PathBuf),
    /// Resolved off the shards; backends only.
    Name {
        host: Arc<str>,
        port: u16,
    },
}

impl Key for Address {
    fn cut(&self) -> u64 {
        match self {
            Address::Ip(SocketAddr::V4(address)) => hash(u64::from(address.port()), &address.ip().octets()),
            Address::Ip(SocketAddr::V6(address)) => hash(u64::from(address.port()), &address.ip().octets()),
            Address::Unix(path) => hash(1 << 16, path.as_os_str().as_encoded_bytes()),
            Address::Name { host, port } => hash(1 << 17 | u64::from(*port), host.as_bytes()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// An active check.
#[derive(Clone, PartialEq, Debug)]
pub struct HealthCheck {
    pub kind: CheckKind,
    pub interval: Duration,
    pub timeout: Duration,
    /// Successes in a row that bring a backend up.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
}

/// What a check asks of a backend.
#[derive(Clone, PartialEq, Debug)]
pub enum CheckKind {
    /// That it takes a connection.
    Connect,
    /// That it answers a request as expected.
    Http(Arc<HttpCheck>),
}

/// The request of a check, and the answers with which it has succeeded.
#[derive(PartialEq, Debug)]
pub struct HttpCheck {
    /// A token.
    pub method: Arc<str>,
    /// With its query, fit for a request line.
    pub path: Arc<str>,
    /// `Host`. `None`: the backend's address.
    pub host: Option<Arc<str>>,
    /// First and last of each range of statuses that are good. Sorted; they do not meet.
    pub statuses: Arc<[(u16, u16)]>,
    /// What the body must contain. `None`: it is not read.
    pub body: Option<Arc<str>>,
}

/// BLAKE3 over the canonical form, first 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    pub fn of(hasher: &blake3::Hasher) -> ContentHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ContentHash(hash)
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What the shards are asked to change, all of it between two events.
#[derive(Debug, Default)]
pub struct Change {
    /// `Some`: this is the pool now. `None`: the pool is gone. Sorted by slot, no slot twice.
    pub pools: Vec<(PoolSlot, Option<Arc<PoolGeneration>>)>,
    /// Addresses that gain a meaning. The sockets of new ones are bound behind a filter that drops SYNs; one
    /// that listens already (on the same shards) leads to another pool from now on.
    pub listen: Vec<Listen>,
    /// Addresses that lose it. A pool that goes takes all its addresses with it.
    pub leave: Vec<ListenerSlot>,
    /// Endpoints that the running generation does not name and this one does: new ones, and ones that
    /// come back while tunnels still use them.
    pub endpoints_come: Vec<(PoolSlot, EndpointSlot)>,
    /// Endpoints that the running generation names and this one does not. A shard releases one when its
    /// last tunnel there ends.
    pub endpoints_gone: Vec<(PoolSlot, EndpointSlot)>,
}

/// One address and what it means.
#[derive(Clone, PartialEq, Debug)]
pub struct Listen {
    pub listener: ListenerSlot,
    pub pool: PoolSlot,
    pub shards: ShardSet,
}

/// Everything a shard needs when it starts or comes back: the whole root at one generation.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub version: RootVersion,
    pub generation: Option<GenerationId>,
    /// Jobs that it contains.
    pub committed: Committed,
    pub pools: Vec<Arc<PoolGeneration>>,
    pub listen: Vec<Listen>,
    /// Runtime state that control knows by identity.
    pub endpoints: Vec<EndpointState>,
}

/// What control learned of an endpoint: by checks and by the resolver.
#[derive(Clone, Debug)]
pub struct EndpointState {
    pub slot: EndpointSlot,
    pub health: Health,
    /// Where to connect. Empty: the name has never resolved.
    pub addresses: Arc<[SocketAddr]>,
}

/// Whether a backend takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// New and not yet checked: used only while nothing in its tier is up.
    Unproven,
    Up,
    Down,
}
