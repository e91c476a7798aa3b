//! The validated document: canonical, immutable, shared by subtree.
//!
//! A [`Config`] cannot be made except by reading a document or by editing another `Config`, and both
//! validate. Every subtree carries the hash of its content, so equality costs sixteen bytes; formatting,
//! order of tables, comments, and where in which file something stood leave no trace.

use crate::check::pool_path;
use crate::division::{self, Division};
use crate::form::Shown;
use crate::keys::{
    AccessLog, Appliance, Backend, Balancing, Conditions, Create, Eject, EventLog, Health, Hosts, Http, HttpGroup,
    HttpTimes, Limits, Page, PoolSwitches, Reload, Retry, Rule, TcpGroup, Timeouts,
};
use crate::list::ListContent;
use crate::overlap::{self, Party};
use crate::problem::{Code, Problem, Problems};
use crate::rule_list::RuleList;
use crate::rule_place::RulePlaces;
use crate::rules;
use crate::schema::Key as ConfigKey;
use crate::trial::Tests;
use policy::PoolId;
use policy::generation::ContentHash;
use policy::http;
use policy::tree::{self, Difference, Key, Measure, Tree};
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
    /// What rules name, by the names that they use.
    pub lists: Lists,
    pub pools: Tree<PoolId, Arc<Pool>, Digested>,
    /// What must become of certain requests. Part of no pool.
    pub tests: Arc<Tests>,
}

/// Lists by name.
pub type Lists = Tree<Arc<str>, Arc<List>, Digested>;

/// One list.
pub type List = Sealed<ListContent>;

/// Groups by their ids.
pub type GroupTree = Tree<Arc<str>, Arc<Group>, Digested>;

#[derive(Clone, PartialEq, Debug)]
pub struct PoolContent {
    pub id: PoolId,
    pub switches: PoolSwitches,
    pub create: Create,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// `None`: a TCP pool.
    pub http: Option<HttpContent>,
    /// At least one, unless no rule needs any; a TCP pool has exactly one.
    pub groups: GroupTree,
    /// What follows from the other pools. `None`: no address is shared, and it takes all hosts.
    pub division: Option<Arc<Division>>,
}

impl PoolContent {
    pub fn group(&self, id: &str) -> Option<&Arc<Group>> {
        self.groups.get(id)
    }
}

/// What only an HTTP pool has.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpContent {
    pub hosts: Hosts,
    pub settings: Http,
    pub timeouts: HttpTimes,
    /// None: everything goes to the only group.
    pub rules: RuleList,
    /// Sorted by status; none stands in two.
    pub pages: Vec<Arc<Sealed<Page>>>,
    /// What is in force of the lists that the rules name.
    pub lists: BTreeMap<Arc<str>, Arc<http::List>>,
}

/// One rule. It says of itself alone; what its group and lists are, the pool and the document say.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleContent {
    /// As chosen, else as it follows from the conditions.
    pub id: Arc<str>,
    pub conditions: Conditions,
    pub rule: Rule,
}

#[derive(Clone, PartialEq, Debug)]
pub struct GroupContent {
    pub id: Arc<str>,
    pub balancing: Balancing,
    pub carries: Carries,
    /// `None`: backends are not checked.
    pub health: Option<Health>,
    /// Sorted by id; ids and addresses are unique.
    pub backends: Vec<Arc<Sealed<Backend>>>,
}

/// What a group has by the service of its pool.
#[derive(Clone, PartialEq, Debug)]
pub enum Carries {
    Tcp(TcpGroup),
    Http {
        settings: HttpGroup,
        retry: Retry,
        /// `None`: nobody is ejected.
        eject: Option<Eject>,
    },
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
        Sealed { content, hash: ContentHash::of(&digest.0) }
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
    pub(crate) fn key(&mut self, key: &ConfigKey, value: &Shown) {
        self.text(key.name);
        // A string writer over the hasher: nothing is allocated, and writing to it cannot fail.
        write!(HashWriter(&mut self.0), "{value}").expect("a hasher takes everything");
        self.0.update(&[0]);
    }

    /// Names and shown values hold no NUL.
    pub(crate) fn text(&mut self, text: &str) {
        self.0.update(text.as_bytes());
        self.0.update(&[0]);
    }

    pub(crate) fn hash(&mut self, hash: ContentHash) {
        self.0.update(&hash.0);
    }

    fn tree<K, V, M>(&mut self, tree: &Tree<K, V, M>, hash: impl Fn(&M) -> ContentHash) {
        self.count(tree.len());
        if let Some(measure) = tree.measure() {
            self.hash(hash(measure));
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }
}

/// What a chunk of named things says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digested(ContentHash);

/// A key that is a name.
pub trait Name: Key {
    fn name(&self) -> &str;
}

impl Name for Arc<str> {
    fn name(&self) -> &str {
        self
    }
}

impl Name for PoolId {
    fn name(&self) -> &str {
        self.as_str()
    }
}

impl<K: Name, T> Measure<K, Arc<Sealed<T>>> for Digested {
    fn cut(key: &K, _: &Arc<Sealed<T>>) -> u64 {
        key.cut()
    }

    fn leaf(entries: &[(K, Arc<Sealed<T>>)]) -> Digested {
        let mut digest = Digest(blake3::Hasher::new());
        for (key, value) in entries {
            digest.text(key.name());
            digest.hash(value.hash());
        }
        Digested(ContentHash::of(&digest.0))
    }

    fn join<'a>(below: impl Iterator<Item = &'a Digested>) -> Digested {
        let mut digest = Digest(blake3::Hasher::new());
        below.for_each(|digested| digest.hash(digested.0));
        Digested(ContentHash::of(&digest.0))
    }

    fn same(&self, other: &Digested) -> bool {
        self == other
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

impl Canonical for RuleContent {
    fn digest(&self, digest: &mut Digest) {
        // The id is the rule's own, or follows from the conditions.
        let RuleContent { id: _, conditions, rule } = self;
        conditions.each(&mut |key, value| digest.key(key, &value));
        rule.each(&mut |key, value| digest.key(key, &value));
    }
}

impl Canonical for Page {
    fn digest(&self, digest: &mut Digest) {
        self.each(&mut |key, value| digest.key(key, &value));
    }
}

impl Canonical for GroupContent {
    fn digest(&self, digest: &mut Digest) {
        let GroupContent { id, balancing, carries, health, backends } = self;
        digest.text(id);
        balancing.each(&mut |key, value| digest.key(key, &value));
        match carries {
            Carries::Tcp(group) => {
                digest.count(0);
                group.each(&mut |key, value| digest.key(key, &value));
            }
            Carries::Http { settings, retry, eject } => {
                digest.count(1);
                settings.each(&mut |key, value| digest.key(key, &value));
                retry.each(&mut |key, value| digest.key(key, &value));
                digest.count(usize::from(eject.is_some()));
                if let Some(eject) = eject {
                    eject.each(&mut |key, value| digest.key(key, &value));
                }
            }
        }
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
        let PoolContent { id, switches, create, limits, timeouts, http, groups, division } = self;
        digest.text(id.as_str());
        switches.each(&mut |key, value| digest.key(key, &value));
        create.each(&mut |key, value| digest.key(key, &value));
        limits.each(&mut |key, value| digest.key(key, &value));
        timeouts.each(&mut |key, value| digest.key(key, &value));
        digest.count(usize::from(http.is_some()));
        if let Some(HttpContent { hosts, settings, timeouts, rules, pages, lists }) = http {
            hosts.each(&mut |key, value| digest.key(key, &value));
            settings.each(&mut |key, value| digest.key(key, &value));
            timeouts.each(&mut |key, value| digest.key(key, &value));
            digest.count(rules.len());
            rules.digest().into_iter().for_each(|rules| digest.hash(rules));
            digest.count(pages.len());
            pages.iter().for_each(|page| digest.hash(page.hash()));
            digest.count(lists.len());
            for (id, list) in lists {
                digest.text(id);
                digest.hash(list.digest());
            }
        }
        digest.tree(groups, |digested| digested.0);
        digest.count(usize::from(division.is_some()));
        if let Some(division) = division {
            division.digest(digest);
        }
    }
}

impl Canonical for Document {
    fn digest(&self, digest: &mut Digest) {
        let Document { appliance, reload, access_log, event_log, lists, pools, tests } = self;
        appliance.each(&mut |key, value| digest.key(key, &value));
        reload.each(&mut |key, value| digest.key(key, &value));
        access_log.each(&mut |key, value| digest.key(key, &value));
        event_log.each(&mut |key, value| digest.key(key, &value));
        digest.tree(lists, |digested| digested.0);
        digest.tree(pools, |digested| digested.0);
        digest.hash(tests.hash());
    }
}

impl Config {
    /// This configuration, made of the parts of `old` as far as they say the same. Cost: O(n).
    pub fn aligned(&self, old: &Config) -> Config {
        if self.hash() == old.hash() {
            return old.clone();
        }
        let mut document = (**self).clone();
        document.lists = aligned_lists(&self.lists, &old.lists);
        let lists = &document.lists;
        document.pools = aligned(&self.pools, &old.pools, |new, old| new.aligned(old, lists));
        Sealed::new(document)
    }

    /// This configuration with these pools as `other` has them, and all that belongs to no pool. For a
    /// document that was read while other pools were being changed by others.
    ///
    /// Error: a pool that it takes and one that it keeps cannot both have an address, or one that it keeps would have to
    /// divide an address otherwise, or uses a list that `other` has differently.
    pub fn taking(&self, other: &Config, pools: &BTreeSet<PoolId>) -> Result<Config, Problems> {
        self.taking_at(other, pools, pools, &RulePlaces::default())
    }

    /// As [`Config::taking`]. `may_divide`: pools whose addresses may be divided otherwise than they have them. `places`:
    /// of the tests of `other`.
    pub(crate) fn taking_at(
        &self,
        other: &Config,
        pools: &BTreeSet<PoolId>,
        may_divide: &BTreeSet<PoolId>,
        places: &RulePlaces,
    ) -> Result<Config, Problems> {
        let mut document = (**other).clone();
        document.lists = aligned_lists(&other.lists, &self.lists);
        document.pools.clone_from(&self.pools);
        for id in pools {
            document.pools = match (other.pools.get(id), self.pools.get(id)) {
                (Some(pool), old) => document.pools.insert(id.clone(), pool.aligned(old, &document.lists)),
                (None, _) => document.pools.remove(id),
            };
        }
        let mut problems = Problems::default();
        for pool in document.pools.values() {
            rules::check_kept_lists(pool, &document.lists, &mut problems);
        }
        let parties: Vec<Party<'_>> = document.pools.values().map(|pool| Party::of(pool)).collect();
        let control_socket = document.appliance.control_socket.as_deref();
        overlap::check(control_socket.map(|path| (path, None)), &parties, &mut problems);
        if problems.is_empty() {
            document.divide(may_divide, &mut problems);
        }
        if problems.is_empty() {
            // Other pools may have their addresses now.
            let cases = document.tests.cases().to_vec();
            document.tests = Arc::new(Tests::led(cases, &document, places, &mut problems));
        }
        if problems.is_empty() { Ok(Sealed::new(document)) } else { Err(problems) }
    }
}

/// `new`, made of the parts of `old` as far as they are the same.
fn aligned<K: Name, T>(
    new: &Tree<K, Arc<Sealed<T>>, Digested>,
    old: &Tree<K, Arc<Sealed<T>>, Digested>,
    within: impl Fn(&Arc<Sealed<T>>, Option<&Arc<Sealed<T>>>) -> Arc<Sealed<T>>,
) -> Tree<K, Arc<Sealed<T>>, Digested> {
    let mut aligned = old.clone();
    for difference in tree::diff(old, new) {
        aligned = match difference {
            Difference::Removed { key, .. } => aligned.remove(key),
            Difference::Added { key, new } => aligned.insert(key.clone(), within(new, None)),
            Difference::Changed { old, new, .. } if old.hash() == new.hash() => continue,
            Difference::Changed { key, old, new } => aligned.insert(key.clone(), within(new, Some(old))),
        };
    }
    aligned
}

fn aligned_lists(new: &Lists, old: &Lists) -> Lists {
    aligned(new, old, |new, old| match old {
        Some(old) if old.kind() == new.kind() => Arc::new(List::new(new.aligned(old))),
        Some(_) | None => new.clone(),
    })
}

impl Pool {
    /// This pool, made of the parts of `old` as far as they say the same: what differs can then be found without looking
    /// at what does not, and nothing is in memory twice.
    /// `lists`: those of its document, which it takes its own from.
    pub(crate) fn aligned(self: &Arc<Pool>, old: Option<&Arc<Pool>>, lists: &Lists) -> Arc<Pool> {
        if let Some(old) = old.filter(|old| self.hash() == old.hash()) {
            return old.clone();
        }
        let mut content = (***self).clone();
        if let Some(http) = &mut content.http {
            http.lists.iter_mut().for_each(|(id, list)| {
                if let Some(found) = lists.get(&**id) {
                    list.clone_from(found.in_force());
                }
            });
        }
        let Some(old) = old else { return Arc::new(Sealed::new(content)) };
        content.groups = aligned(&self.groups, &old.groups, |new, _| new.clone());
        if let (Some(http), Some(old)) = (&mut content.http, &old.http) {
            http.rules = http.rules.aligned(&old.rules);
        }
        let pool = Sealed::new(content);
        debug_assert_eq!(pool.hash(), self.hash(), "only the memory is another");
        Arc::new(pool)
    }
}

impl Config {
    /// When the first entry of a list expires. Unit: seconds since 1970, UTC. Cost: O(lists).
    pub fn next_expiry(&self) -> Option<u64> {
        self.lists.values().filter_map(|list| list.in_force().next_expiry()).min()
    }

    /// Lists of which something has expired by `now`. Cost: O(lists).
    pub fn expired_lists(&self, now: u64) -> impl Iterator<Item = &str> {
        self.lists.iter().filter(move |(_, list)| list.in_force().expired_at(now).is_some()).map(|(id, _)| &**id)
    }

    /// This configuration without entries of lists that have expired by `now`, which is when they are no entries any more.
    /// To be asked whenever a configuration is to be put in force, and of what runs at [`Config::next_expiry`]. Cost:
    /// O(lists), and O(log n) for each that has expired.
    pub fn at(&self, now: u64) -> Config {
        let gone: Vec<_> = self.lists.iter().filter_map(|(id, list)| Some((id, list.at(now)?))).collect();
        if gone.is_empty() {
            return self.clone();
        }
        let mut document = (**self).clone();
        gone.into_iter().for_each(|(id, list)| document.put_list(id, list));
        Sealed::new(document)
    }
}

impl Document {
    /// Puts a list in the place of the one that has its name, for the pools too whose rules name it. Cost: O(pools).
    pub(crate) fn put_list(&mut self, id: &Arc<str>, list: ListContent) {
        let list = Arc::new(List::new(list));
        for (pool, content) in &self.pools.clone() {
            let named = content.http.as_ref().and_then(|http| http.lists.get(id));
            if named.is_none_or(|named| named.digest() == list.in_force().digest()) {
                continue;
            }
            let mut content = (***content).clone();
            if let Some(http) = &mut content.http {
                http.lists.insert(id.clone(), list.in_force().clone());
            }
            self.pools = self.pools.insert(pool.clone(), Arc::new(Sealed::new(content)));
        }
        self.lists = self.lists.insert(id.clone(), list);
    }

    /// Brings what follows from all pools together up to date, which may change these pools and no others.
    pub(crate) fn divide(&mut self, may_change: &BTreeSet<PoolId>, problems: &mut Problems) {
        let mut divisions = division::divide(self.pools.values().map(|pool| &***pool));
        for (id, pool) in &self.pools.clone() {
            let division = divisions.remove(id);
            if pool.division == division {
                continue;
            }
            if may_change.contains(id) {
                let divided = Sealed::new(PoolContent { division, ..(***pool).clone() });
                self.pools = self.pools.insert(id.clone(), Arc::new(divided));
                continue;
            }
            let message = format!("the addresses of pool `{id}` would be divided otherwise, and another change has it");
            let problem = Problem::error(Code::Clash, pool_path(id.as_str(), "create.listen"), None, message);
            problems.push(problem.accepted("the same document once more"));
        }
    }
}
