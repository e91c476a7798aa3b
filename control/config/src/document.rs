//! The validated document: canonical, immutable, shared by subtree.
//!
//! A [`Config`] cannot be made except by reading a document or by editing another `Config`, and both
//! validate. Every subtree carries the hash of its content, so equality costs sixteen bytes; formatting,
//! order of tables, comments, and where in which file something stood leave no trace.

use crate::form::Shown;
use crate::keys::{
    AccessLog, Appliance, Backend, Balancing, Create, EventLog, Health, Limits, PoolSwitches, Reload, Timeouts,
};
use crate::overlap::{self, Listed};
use crate::problem::Problems;
use crate::schema::Key;
use policy::PoolId;
use policy::generation::ContentHash;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// The running or desired configuration as a whole.
pub type Config = Sealed<Document>;

/// One pool of it.
pub type Pool = Sealed<PoolContent>;

/// One group of a pool.
pub type Group = Sealed<GroupContent>;

#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    pub appliance: Appliance,
    pub reload: Reload,
    pub access_log: AccessLog,
    pub event_log: EventLog,
    pub pools: BTreeMap<PoolId, Arc<Pool>>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PoolContent {
    pub id: PoolId,
    pub switches: PoolSwitches,
    pub create: Create,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// A TCP pool has exactly one.
    pub group: Arc<Group>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct GroupContent {
    pub id: Arc<str>,
    pub balancing: Balancing,
    /// `None`: backends are not checked.
    pub health: Option<Health>,
    /// Sorted by id; ids and addresses are unique.
    pub backends: Vec<Arc<Sealed<Backend>>>,
}

/// A value that can no longer change, and the hash of its content.
#[derive(Clone, Debug)]
pub struct Sealed<T> {
    content: T,
    hash: ContentHash,
}

impl<T> Sealed<T> {
    pub(crate) fn new(content: T) -> Sealed<T>
    where
        T: Canonical,
    {
        let mut digest = Digest(blake3::Hasher::new());
        content.digest(&mut digest);
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.0.finalize().as_bytes()[..16]);
        Sealed { content, hash: ContentHash(hash) }
    }
}

impl<T> Sealed<T> {
    /// Equal content, equal hash.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }
}

impl<T> std::ops::Deref for Sealed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Sealed<T>) -> bool {
        self.hash == other.hash
    }
}

/// Something with a canonical form. The form is hashed, never kept.
pub(crate) trait Canonical {
    fn digest(&self, digest: &mut Digest);
}

/// Takes names and values apart, so that no two different contents feed the same bytes.
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    fn key(&mut self, key: &Key, value: &Shown) {
        self.text(key.name);
        // A string writer over the hasher: nothing is allocated, and writing to it cannot fail.
        write!(HashWriter(&mut self.0), "{value}").expect("a hasher takes everything");
        self.0.update(&[0]);
    }

    /// Names and shown values hold no NUL.
    fn text(&mut self, text: &str) {
        self.0.update(text.as_bytes());
        self.0.update(&[0]);
    }

    fn hash(&mut self, hash: ContentHash) {
        self.0.update(&hash.0);
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }
}

struct HashWriter<'a>(&'a mut blake3::Hasher);

impl Write for HashWriter<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl Canonical for Backend {
    fn digest(&self, digest: &mut Digest) {
        self.each(&mut |key, value| digest.key(key, &value));
    }
}

impl Canonical for GroupContent {
    fn digest(&self, digest: &mut Digest) {
        let GroupContent { id, balancing, health, backends } = self;
        digest.text(id);
        balancing.each(&mut |key, value| digest.key(key, &value));
        digest.count(usize::from(health.is_some()));
        if let Some(health) = health {
            health.each(&mut |key, value| digest.key(key, &value));
        }
        digest.count(backends.len());
        backends.iter().for_each(|backend| digest.hash(backend.hash()));
    }
}

impl Canonical for PoolContent {
    fn digest(&self, digest: &mut Digest) {
        let PoolContent { id, switches, create, limits, timeouts, group } = self;
        digest.text(id.as_str());
        switches.each(&mut |key, value| digest.key(key, &value));
        create.each(&mut |key, value| digest.key(key, &value));
        limits.each(&mut |key, value| digest.key(key, &value));
        timeouts.each(&mut |key, value| digest.key(key, &value));
        digest.hash(group.hash());
    }
}

impl Canonical for Document {
    fn digest(&self, digest: &mut Digest) {
        let Document { appliance, reload, access_log, event_log, pools } = self;
        appliance.each(&mut |key, value| digest.key(key, &value));
        reload.each(&mut |key, value| digest.key(key, &value));
        access_log.each(&mut |key, value| digest.key(key, &value));
        event_log.each(&mut |key, value| digest.key(key, &value));
        digest.count(pools.len());
        pools.values().for_each(|pool| digest.hash(pool.hash()));
    }
}

impl Config {
    /// This configuration with these pools as `other` has them, and all that belongs to no pool. For a
    /// document that was read while other pools were being changed by others.
    ///
    /// Error: a pool that it takes and one that it keeps listen on the same address.
    pub fn taking(&self, other: &Config, pools: &BTreeSet<PoolId>) -> Result<Config, Problems> {
        let mut document = (**other).clone();
        document.pools.clone_from(&self.pools);
        for id in pools {
            match other.pools.get(id) {
                Some(pool) => document.pools.insert(id.clone(), pool.clone()),
                None => document.pools.remove(id),
            };
        }
        let mut problems = Problems::default();
        let listed = document.pools.values().flat_map(|pool| {
            pool.create.listen.iter().map(|address| Listed { pool: pool.id.as_str(), address, span: None })
        });
        let control_socket = document.appliance.control_socket.as_deref();
        overlap::check(control_socket.map(|path| (path, None)), listed, &mut problems);
        if problems.is_empty() { Ok(Sealed::new(document)) } else { Err(problems) }
    }

    /// The document as TOML, without keys that are at their defaults. Reading it back gives an equal `Config`.
    pub fn to_toml(&self) -> String {
        let Document { appliance, reload, access_log, event_log, pools } = &**self;
        let mut out = Toml(String::new());
        out.table("[appliance]", Empty::Skipped, |visit| appliance.each(visit));
        out.table("[reload]", Empty::Skipped, |visit| reload.each(visit));
        out.table("[log.access]", Empty::Skipped, |visit| access_log.each(visit));
        out.table("[log.events]", Empty::Skipped, |visit| event_log.each(visit));
        for pool in pools.values() {
            out.pool(pool);
        }
        // A document that says nothing at all would not be read again.
        if out.0.is_empty() { "[appliance]\n".to_owned() } else { out.0 }
    }

    /// The document as JSON, every key with the value that is in force.
    pub fn to_json(&self) -> serde_json::Value {
        let Document { appliance, reload, access_log, event_log, pools } = &**self;
        let mut log = serde_json::Map::new();
        log.insert("access".into(), json(|visit| access_log.each(visit)).into());
        log.insert("events".into(), json(|visit| event_log.each(visit)).into());
        let pools = pools.values().map(|pool| (pool.id.to_string(), pool_json(pool)));
        serde_json::json!({
            "appliance": json(|visit| appliance.each(visit)),
            "reload": json(|visit| reload.each(visit)),
            "log": log,
            "pool": serde_json::Map::from_iter(pools),
        })
    }
}

type Visit<'a> = &'a mut dyn FnMut(&'static Key, Shown);

/// Whether a table without keys is worth its line.
#[derive(PartialEq)]
enum Empty {
    Skipped,
    Written,
}

struct Toml(String);

impl Toml {
    fn pool(&mut self, pool: &PoolContent) {
        let PoolContent { id, switches, create, limits, timeouts, group } = pool;
        self.table(&format!("[pool.{id}]"), Empty::Skipped, |visit| switches.each(visit));
        self.table(&format!("[pool.{id}.create]"), Empty::Written, |visit| create.each(visit));
        self.table(&format!("[pool.{id}.limits]"), Empty::Skipped, |visit| limits.each(visit));
        self.table(&format!("[pool.{id}.timeouts]"), Empty::Skipped, |visit| timeouts.each(visit));
        let GroupContent { id: group_id, balancing, health, backends } = &***group;
        let group = format!("pool.{id}.group.{group_id}");
        self.table(&format!("[{group}]"), Empty::Written, |visit| balancing.each(visit));
        if let Some(health) = health {
            self.table(&format!("[{group}.health]"), Empty::Written, |visit| health.each(visit));
        }
        for backend in backends {
            self.table(&format!("[[{group}.backend]]"), Empty::Written, |visit| backend.each(visit));
        }
    }

    fn table(&mut self, header: &str, empty: Empty, each: impl FnOnce(Visit<'_>)) {
        let mut lines = String::new();
        each(&mut |key, value| {
            if value != Shown::Absent && !key.is_default(&value) {
                writeln!(lines, "{} = {value}", key.name).expect("a string takes everything");
            }
        });
        if empty == Empty::Written || !lines.is_empty() {
            let gap = if self.0.is_empty() { "" } else { "\n" };
            write!(self.0, "{gap}{header}\n{lines}").expect("a string takes everything");
        }
    }
}

fn json(each: impl FnOnce(Visit<'_>)) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    each(&mut |key, value| {
        map.insert(key.name.into(), value.to_json());
    });
    map
}

fn pool_json(pool: &PoolContent) -> serde_json::Value {
    let PoolContent { id: _, switches, create, limits, timeouts, group } = pool;
    let GroupContent { id: group_id, balancing, health, backends } = &***group;
    let mut group = json(|visit| balancing.each(visit));
    group.insert("health".into(), health.as_ref().map(|health| json(|visit| health.each(visit))).into());
    group.insert("backend".into(), backends.iter().map(|backend| json(|visit| backend.each(visit))).collect());
    let mut out = json(|visit| switches.each(visit));
    out.insert("create".into(), json(|visit| create.each(visit)).into());
    out.insert("limits".into(), json(|visit| limits.each(visit)).into());
    out.insert("timeouts".into(), json(|visit| timeouts.each(visit)).into());
    out.insert("group".into(), serde_json::json!({ group_id.to_string(): group }));
    out.into()
}
