//! What a change would do, before it does it.
//!
//! [`diff`] compares two configurations subtree by subtree and tells each difference with its class,
//! category, reach and reason. Equal hashes are not looked into, so the cost follows the difference. Live
//! counts of connections are not known here: whoever runs the appliance fills them in.

use crate::class::{Category, Class, Reach, Reason};
use crate::document::{
    Carries, Config, Document, Group, GroupContent, GroupTree, HttpContent, Pool, PoolContent, Sealed,
};
use crate::form::Shown;
use crate::keys::{Backend, Create, Eject, Health, Service};
use crate::plan_listen::Owners;
use crate::schema::Key;
use policy::PoolId;
use policy::generation::{Address, ContentHash};
use policy::tree::{self, Difference};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a change would do.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Plan {
    /// Nothing differs; there is nothing to do.
    pub unchanged: bool,
    /// What it takes as a whole: the class of the worst change.
    pub class: Class,
    #[serde(serialize_with = "as_text")]
    pub from: ContentHash,
    #[serde(serialize_with = "as_text")]
    pub to: ContentHash,
    /// Sorted by path, the process first, then pools by id.
    pub changes: Vec<PlannedChange>,
    /// The changes that are not soft.
    pub restart_reasons: Vec<RestartReason>,
    pub warnings: Vec<PlanWarning>,
    pub touches: Touches,
}

/// One difference.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlannedChange {
    /// `pool.db.group.main.backend.a.weight`; backends by id.
    pub path: String,
    pub pool: Option<String>,
    pub object: Object,
    pub kind: ChangeKind,
    #[serde(flatten)]
    pub reason: Reason,
    /// Null if it was not there, or is not a single value.
    pub old: serde_json::Value,
    pub new: serde_json::Value,
    /// Live connections of the object. `None`: not counted, as when planning away from the appliance.
    pub touched: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Added,
    Removed,
    Set,
}

/// What changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Object {
    /// The appliance as a whole: process, reload and log settings.
    Appliance,
    Pool,
    Listen {
        #[serde(serialize_with = "as_text")]
        address: Address,
    },
    Rule {
        id: Arc<str>,
    },
    /// Addresses that rules of several pools may use.
    List {
        id: Arc<str>,
    },
    Group {
        id: Arc<str>,
    },
    Backend {
        group: Arc<str>,
        id: Arc<str>,
        #[serde(serialize_with = "as_text")]
        address: Address,
    },
}

/// Why the change cannot be applied to what runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RestartReason {
    pub path: String,
    pub pool: Option<String>,
    #[serde(flatten)]
    pub reason: Reason,
}

/// Something that is done as told, and that the operator should know before.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlanWarning {
    pub code: PlanWarningCode,
    pub path: String,
    pub pool: Option<String>,
    /// One sentence.
    pub message: String,
    /// As [`PlannedChange::touched`].
    pub touched: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanWarningCode {
    /// A whole pool goes.
    PoolRemoved,
    /// The group has no backend in common with the one before: perhaps it is another application.
    SemanticJump,
    /// No backend of the group would get a connection: there is none, or each drains or weighs nothing.
    NoUsableBackend,
    /// An address leads to another pool.
    AddressMoved,
    /// Backends keep their addresses, but lose health and counts.
    StateReset,
}

/// What an overlapping change would have to wait for. Sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Touches {
    #[serde(serialize_with = "all_as_text")]
    pub pools: BTreeSet<PoolId>,
    /// Addresses that lead elsewhere, those that are added and removed included.
    #[serde(serialize_with = "all_as_text")]
    pub listeners: BTreeSet<Address>,
}

/// Proof that a plan needs no restart. Made only by [`Plan::live`].
#[derive(Clone, Copy, Debug)]
pub struct Live {
    pub(crate) from: ContentHash,
    pub(crate) to: ContentHash,
}

impl Plan {
    /// `None`: see [`Plan::restart_reasons`].
    pub fn live(&self) -> Option<Live> {
        let Plan { from, to, .. } = *self;
        (self.class == Class::Soft).then_some(Live { from, to })
    }
}

/// Changes that are not of one key.
pub mod happenings {
    use super::{Category, Class, Reach, Reason};

    const fn soft(category: Category, reach: Reach, code: &'static str, sentence: &'static str) -> Reason {
        Reason { class: Class::Soft, category, reach, code, sentence }
    }

    pub const POOL_ADDED: Reason = soft(
        Category::Creation,
        Reach::Now,
        "pool_added",
        "Its addresses are bound before anything else happens; no other pool is touched.",
    );
    pub const POOL_REMOVED: Reason = soft(
        Category::Creation,
        Reach::Now,
        "pool_removed",
        "Its addresses are left; connections that it has go on until they end.",
    );
    pub const HOSTS_DIVIDED: Reason = soft(
        Category::Rules,
        Reach::NextRequest,
        "hosts_divided",
        "Other pools that have the address take other hosts there than before, so it has others too.",
    );
    pub const GROUP_RENAMED: Reason = soft(
        Category::Backends,
        Reach::NextConnection,
        "group_renamed",
        "Backends belong to their group, so under another name they begin anew.",
    );
    pub const GROUP_ADDED: Reason = soft(
        Category::Backends,
        Reach::NextRequest,
        "group_added",
        "Requests reach it as soon as a rule leads there; its backends begin anew.",
    );
    pub const GROUP_REMOVED: Reason = soft(
        Category::Backends,
        Reach::NextRequest,
        "group_removed",
        "It gets no new requests; those that it has go on until they end.",
    );
    pub const RULE_ADDED: Reason = soft(
        Category::Rules,
        Reach::NextRequest,
        "rule_added",
        "Asked of each request from now on, also on connections that are open.",
    );
    pub const RULE_REMOVED: Reason = soft(
        Category::Rules,
        Reach::NextRequest,
        "rule_removed",
        "No new request meets it; those that it took go on as they were decided.",
    );
    pub const RULE_MOVED: Reason = soft(
        Category::Rules,
        Reach::NextRequest,
        "rule_moved",
        "It is asked behind another rule than before; what it says is the same.",
    );
    pub const PAGE_ADDED: Reason =
        soft(Category::Rules, Reach::NextRequest, "page_added", "Asked when an answer is made.");
    pub const PAGE_REMOVED: Reason = soft(
        Category::Rules,
        Reach::NextRequest,
        "page_removed",
        "Answers of these statuses have the short text again.",
    );
    pub const LIST_ADDED: Reason =
        soft(Category::Rules, Reach::NextRequest, "list_added", "It does nothing until a rule names it.");
    pub const LIST_REMOVED: Reason =
        soft(Category::Rules, Reach::NextRequest, "list_removed", "No rule names it any more.");
    pub const TEST_ADDED: Reason = soft(
        Category::Reload,
        Reach::NextSubmission,
        "test_added",
        "Tried with this submission and with each to come.",
    );
    pub const TEST_REMOVED: Reason =
        soft(Category::Reload, Reach::NextSubmission, "test_removed", "It is not tried any more.");
    pub const BACKEND_ADDED: Reason = soft(
        Category::Backends,
        Reach::NextConnection,
        "backend_added",
        "It is unproven until its first check, where there are checks.",
    );
    pub const BACKEND_REMOVED: Reason = soft(
        Category::Backends,
        Reach::NextConnection,
        "backend_removed",
        "It gets no new connections; those that it has go on until they end.",
    );
    pub const CHECKS_ADDED: Reason =
        soft(Category::HealthChecks, Reach::Now, "health_added", "Backends count as unproven until their first check.");
    pub const CHECKS_REMOVED: Reason =
        soft(Category::HealthChecks, Reach::Now, "health_removed", "All backends count as up.");
    pub const EJECTION_ADDED: Reason = soft(
        Category::HealthChecks,
        Reach::NextRequest,
        "eject_added",
        "Errors are counted from now on; nobody is ejected for what was before.",
    );
    pub const EJECTION_REMOVED: Reason =
        soft(Category::HealthChecks, Reach::NextRequest, "eject_removed", "Whoever is ejected returns.");

    pub const ALL: &[Reason] = &[
        POOL_ADDED,
        POOL_REMOVED,
        HOSTS_DIVIDED,
        GROUP_RENAMED,
        GROUP_ADDED,
        GROUP_REMOVED,
        RULE_ADDED,
        RULE_REMOVED,
        RULE_MOVED,
        PAGE_ADDED,
        PAGE_REMOVED,
        LIST_ADDED,
        LIST_REMOVED,
        TEST_ADDED,
        TEST_REMOVED,
        BACKEND_ADDED,
        BACKEND_REMOVED,
        CHECKS_ADDED,
        CHECKS_REMOVED,
        EJECTION_ADDED,
        EJECTION_REMOVED,
    ];
}

/// What turns `old` into `new`. Cost: O(n), what each says counted.
pub fn diff(old: &Config, new: &Config) -> Plan {
    diff_kin(old, &new.aligned(old))
}

/// As [`diff`], of two of which one was made from the other, by edits or by [`Config::aligned`]. Cost: that of what
/// differs.
pub fn diff_kin(old: &Config, new: &Config) -> Plan {
    let mut diff =
        Diff { owners: Owners::new(old, new), changes: Vec::new(), warnings: Vec::new(), touches: Touches::default() };
    if old.hash() != new.hash() {
        diff.document(old, new);
    }
    diff.plan(old.hash(), new.hash())
}

/// Whether a connection could go to any of them, as far as the document says.
fn is_usable(backends: &Backends) -> bool {
    backends.iter().any(|backend| backend.weight > 0 && !backend.drain)
}

pub(crate) struct Diff<'a> {
    pub(crate) owners: Owners<'a>,
    pub(crate) changes: Vec<PlannedChange>,
    warnings: Vec<PlanWarning>,
    pub(crate) touches: Touches,
}

/// In an HTTP pool each request has a backend of its own, so what is asked of groups for each connection elsewhere
/// is asked there for each request.
fn reach_by_service(change: &mut PlannedChange, new: &Document) {
    let of_a_group = matches!(change.object, Object::Group { .. } | Object::Backend { .. });
    if change.reason.reach != Reach::NextConnection || !(of_a_group || change.reason.code == "timeout_connect") {
        return;
    }
    let pool = change.pool.as_ref().and_then(|id| new.pools.get(&PoolId::new(id)));
    if pool.is_some_and(|pool| pool.create.service == Service::Http) {
        change.reason.reach = Reach::NextRequest;
    }
}

impl<'a> Diff<'a> {
    fn plan(mut self, from: ContentHash, to: ContentHash) -> Plan {
        self.changes.iter_mut().for_each(|change| reach_by_service(change, self.owners.new));
        self.changes.sort_by(|a, b| (&a.pool, &a.path, &a.object).cmp(&(&b.pool, &b.path, &b.object)));
        let hard = self.changes.iter().filter(|change| change.reason.class != Class::Soft);
        let restart_reasons = hard.map(|change| RestartReason {
            path: change.path.clone(),
            pool: change.pool.clone(),
            reason: change.reason,
        });
        Plan {
            unchanged: self.changes.is_empty(),
            class: self.changes.iter().map(|change| change.reason.class).max().unwrap_or(Class::Soft),
            from,
            to,
            restart_reasons: restart_reasons.collect(),
            changes: self.changes,
            warnings: self.warnings,
            touches: self.touches,
        }
    }

    fn document(&mut self, old: &'a Document, new: &'a Document) {
        let Document { appliance, reload, access_log, event_log, lists, pools, tests } = old;
        appliance.diff(&new.appliance, &mut |key, old, new| self.setting("appliance", key, old, new));
        reload.diff(&new.reload, &mut |key, old, new| self.setting("reload", key, old, new));
        access_log.diff(&new.access_log, &mut |key, old, new| self.setting("log.access", key, old, new));
        event_log.diff(&new.event_log, &mut |key, old, new| self.setting("log.events", key, old, new));
        self.lists(lists, &new.lists);
        for difference in tree::diff(pools, &new.pools) {
            match difference {
                Difference::Removed { old, .. } => self.pool_removed(old),
                Difference::Added { new, .. } => self.pool_added(new),
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => {}
                Difference::Changed { old, new, .. } => self.pool(old, new),
            }
        }
        self.tests(tests, &new.tests);
    }

    fn setting(&mut self, table: &str, key: &Key, old: Shown, new: Shown) {
        self.change(None, format!("{table}.{}", key.name), Object::Appliance, key.reason, old.to_json(), new.to_json());
    }

    fn pool_added(&mut self, pool: &Pool) {
        self.touches.pools.insert(pool.id.clone());
        self.event(
            Some(&pool.id),
            format!("pool.{}", pool.id),
            Object::Pool,
            ChangeKind::Added,
            happenings::POOL_ADDED,
        );
        for address in &pool.create.listen {
            self.listen(pool, address, ChangeKind::Added, None);
        }
        self.leads(&[], pool.leads());
    }

    fn pool_removed(&mut self, pool: &Pool) {
        self.touches.pools.insert(pool.id.clone());
        self.leads(pool.leads(), &[]);
        let path = format!("pool.{}", pool.id);
        self.event(Some(&pool.id), path.clone(), Object::Pool, ChangeKind::Removed, happenings::POOL_REMOVED);
        let shares = pool.create.listen.iter().any(|address| !self.owners.after(address).is_empty());
        let addresses = if shares { "those of its addresses that no other pool has" } else { "its addresses" };
        let message = format!(
            "Pool `{}` goes, and {addresses} with it; sessions that it has end by themselves and cannot come back.",
            pool.id
        );
        self.warn(PlanWarningCode::PoolRemoved, path, &pool.id, message);
    }

    fn pool(&mut self, old: &'a PoolContent, new: &'a PoolContent) {
        let PoolContent { id, switches, create, limits, timeouts, http, groups, division } = old;
        self.touches.pools.insert(id.clone());
        let pool = Some(id);
        let at = format!("pool.{id}");
        switches.diff(&new.switches, &mut |key, old, new| self.key(pool, &at, Object::Pool, key, old, new));
        self.create(id, create, new);
        limits.diff(&new.limits, &mut |key, old, new| {
            self.key(pool, &format!("{at}.limits"), Object::Pool, key, old, new)
        });
        let times = format!("{at}.timeouts");
        timeouts.diff(&new.timeouts, &mut |key, old, new| self.key(pool, &times, Object::Pool, key, old, new));
        // Of another service nothing can be compared, and its change is a restart that says so.
        if let (Some(old), Some(new)) = (http, &new.http) {
            // Lists have been told where they stand.
            let HttpContent { hosts, settings, timeouts, rules: _, pages: _, lists: _ } = old;
            hosts.diff(&new.hosts, &mut |key, old, new| self.hosts(id, key, old, new));
            let http = format!("{at}.http");
            settings.diff(&new.settings, &mut |key, old, new| self.key(pool, &http, Object::Pool, key, old, new));
            timeouts.diff(&new.timeouts, &mut |key, old, new| self.key(pool, &times, Object::Pool, key, old, new));
            self.rules_and_pages(id, old, new);
        }
        self.groups(id, groups, &new.groups);
        self.leads(old.leads(), new.leads());
        if *division != new.division {
            self.division(old, new);
        }
    }

    /// Groups by their names. Where one only is replaced by one only, it was renamed.
    fn groups(&mut self, pool: &PoolId, old: &'a GroupTree, new: &'a GroupTree) {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for difference in tree::diff(old, new) {
            match difference {
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => {}
                Difference::Changed { old, new, .. } => self.group(pool, old, new),
                Difference::Removed { old, .. } => gone.push(old),
                Difference::Added { new, .. } => come.push(new),
            }
        }
        match (&gone[..], &come[..]) {
            ([gone], [come]) => self.group(pool, gone, come),
            (gone, come) => {
                for (groups, kind, reason) in [
                    (gone, ChangeKind::Removed, happenings::GROUP_REMOVED),
                    (come, ChangeKind::Added, happenings::GROUP_ADDED),
                ] {
                    for group in groups {
                        let path = format!("pool.{pool}.group.{}", group.id);
                        self.event(Some(pool), path, Object::Group { id: group.id.clone() }, kind, reason);
                    }
                }
            }
        }
    }

    fn create(&mut self, pool: &PoolId, old: &Create, new: &PoolContent) {
        let at = format!("pool.{pool}.create");
        let mut others = Vec::new();
        old.diff(&new.create, &mut |key, old, new| others.push((key, old, new)));
        for (key, old_shown, new_shown) in others {
            if key.name != "listen" {
                self.key(Some(pool), &at, Object::Pool, key, old_shown, new_shown);
                continue;
            }
            let (before, after) = (&old.listen, &new.create.listen);
            // No address in common: that holds for every one of them.
            let replaced = before.iter().all(|address| !after.contains(address));
            let exception = replaced.then_some("create_listen_replaced");
            for address in before.iter().filter(|address| !after.contains(address)) {
                self.listen(new, address, ChangeKind::Removed, exception);
            }
            for address in after.iter().filter(|address| !before.contains(address)) {
                self.listen(new, address, ChangeKind::Added, exception);
            }
        }
    }

    fn group(&mut self, pool: &PoolId, old: &'a Group, new: &'a Group) {
        let GroupContent { id, balancing, carries, health, backends } = &**old;
        let at = format!("pool.{pool}.group.{}", new.id);
        let object = Object::Group { id: new.id.clone() };
        if *id != new.id {
            let (old, new) = (id.to_string().into(), new.id.to_string().into());
            self.change(Some(pool), at.clone(), object.clone(), happenings::GROUP_RENAMED, old, new);
            let message =
                format!("Backends of group `{id}` begin anew under another name: health, counts and caps are reset.");
            self.warn(PlanWarningCode::StateReset, at.clone(), pool, message);
        }
        balancing.diff(&new.balancing, &mut |key, old, new| self.key(Some(pool), &at, object.clone(), key, old, new));
        match (carries, &new.carries) {
            (Carries::Tcp(old), Carries::Tcp(new)) => {
                old.diff(new, &mut |key, old, new| self.key(Some(pool), &at, object.clone(), key, old, new));
            }
            (
                Carries::Http { settings, retry, eject },
                Carries::Http { settings: new, retry: new_retry, eject: other },
            ) => {
                settings.diff(new, &mut |key, old, new| self.key(Some(pool), &at, object.clone(), key, old, new));
                let table = format!("{at}.retry");
                retry.diff(new_retry, &mut |key, old, new| self.key(Some(pool), &table, object.clone(), key, old, new));
                self.eject(pool, &format!("{at}.eject"), &object, eject.as_ref(), other.as_ref());
            }
            // The service changes, which is told as that.
            (Carries::Tcp(_), Carries::Http { .. }) | (Carries::Http { .. }, Carries::Tcp(_)) => {}
        }
        self.health(pool, &format!("{at}.health"), &object, health.as_ref(), new.health.as_ref());
        self.backends(pool, &at, &new.id, backends, &new.backends);
    }

    fn health(&mut self, pool: &PoolId, at: &str, object: &Object, old: Option<&Health>, new: Option<&Health>) {
        match (old, new) {
            (Some(old), Some(new)) => {
                old.diff(new, &mut |key, old, new| self.key(Some(pool), at, object.clone(), key, old, new))
            }
            (None, Some(_)) => {
                self.event(Some(pool), at.into(), object.clone(), ChangeKind::Added, happenings::CHECKS_ADDED)
            }
            (Some(_), None) => {
                self.event(Some(pool), at.into(), object.clone(), ChangeKind::Removed, happenings::CHECKS_REMOVED)
            }
            (None, None) => {}
        }
    }

    fn eject(&mut self, pool: &PoolId, at: &str, object: &Object, old: Option<&Eject>, new: Option<&Eject>) {
        match (old, new) {
            (Some(old), Some(new)) => {
                old.diff(new, &mut |key, old, new| self.key(Some(pool), at, object.clone(), key, old, new))
            }
            (None, Some(_)) => {
                self.event(Some(pool), at.into(), object.clone(), ChangeKind::Added, happenings::EJECTION_ADDED)
            }
            (Some(_), None) => {
                self.event(Some(pool), at.into(), object.clone(), ChangeKind::Removed, happenings::EJECTION_REMOVED)
            }
            (None, None) => {}
        }
    }

    fn backends(&mut self, pool: &PoolId, at: &str, group: &Arc<str>, old: &'a Backends, new: &'a Backends) {
        let (kept, removed, added) = matched(old, new);
        for (old, new) in &kept {
            let at = format!("{at}.backend.{}", new.id);
            old.diff(new, &mut |key, old, shown| self.key(Some(pool), &at, object(group, new), key, old, shown));
        }
        for backend in &removed {
            let path = format!("{at}.backend.{}", backend.id);
            self.event(Some(pool), path, object(group, backend), ChangeKind::Removed, happenings::BACKEND_REMOVED);
        }
        for backend in &added {
            let path = format!("{at}.backend.{}", backend.id);
            self.event(Some(pool), path, object(group, backend), ChangeKind::Added, happenings::BACKEND_ADDED);
        }
        if is_usable(old) && !is_usable(new) {
            let message = format!(
                "No backend of group `{group}` of pool `{pool}` gets connections any more: {}",
                if new.is_empty() { "none is left" } else { "each drains or weighs nothing" }
            );
            self.warn(PlanWarningCode::NoUsableBackend, at.into(), pool, message);
        }
        // Whoever had to go to be replaced: of an empty group nothing is missed.
        if removed.len() == old.len() && !old.is_empty() && !new.is_empty() {
            let message = format!(
                "Group `{group}` of pool `{pool}` has no backend in common with the one before; is it still the same service?"
            );
            self.warn(PlanWarningCode::SemanticJump, at.into(), pool, message);
        }
    }

    pub(crate) fn key(
        &mut self,
        pool: Option<&PoolId>,
        table: &str,
        object: Object,
        key: &Key,
        old: Shown,
        new: Shown,
    ) {
        self.change(pool, format!("{table}.{}", key.name), object, key.reason, old.to_json(), new.to_json());
    }

    pub(crate) fn change(
        &mut self,
        pool: Option<&PoolId>,
        path: String,
        object: Object,
        reason: Reason,
        old: serde_json::Value,
        new: serde_json::Value,
    ) {
        let pool = pool.map(PoolId::to_string);
        self.changes.push(PlannedChange { path, pool, object, kind: ChangeKind::Set, reason, old, new, touched: None });
    }

    pub(crate) fn event(
        &mut self,
        pool: Option<&PoolId>,
        path: String,
        object: Object,
        kind: ChangeKind,
        reason: Reason,
    ) {
        let (old, new) = (serde_json::Value::Null, serde_json::Value::Null);
        self.changes.push(PlannedChange {
            path,
            pool: pool.map(PoolId::to_string),
            object,
            kind,
            reason,
            old,
            new,
            touched: None,
        });
    }

    pub(crate) fn warn(&mut self, code: PlanWarningCode, path: String, pool: &PoolId, message: String) {
        self.warnings.push(PlanWarning { code, path, pool: Some(pool.to_string()), message, touched: None });
    }
}

fn object(group: &Arc<str>, backend: &Backend) -> Object {
    Object::Backend { group: group.clone(), id: backend.id.clone(), address: backend.address.clone() }
}

type Backends = [Arc<Sealed<Backend>>];
type Ref<'a> = &'a Arc<Sealed<Backend>>;

/// Backends of one group before and after, by identity, which is the address: those that differ under one
/// address, those that are gone, those that are new. Equal ones are left out.
fn matched<'a>(old: &'a Backends, new: &'a Backends) -> (Vec<(Ref<'a>, Ref<'a>)>, Vec<Ref<'a>>, Vec<Ref<'a>>) {
    let mut gone: BTreeMap<&Address, Ref<'a>> = BTreeMap::new();
    let mut came: Vec<Ref<'a>> = Vec::new();
    let mut kept = Vec::new();
    // Both are sorted by id and most ids have kept their address, so most pairs meet here.
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (Some(old), Some(new)) => old.id.cmp(&new.id),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => break,
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) || old.hash() == new.hash() => {}
            (Some(old), Some(new)) if old.address == new.address => kept.push((old, new)),
            (old, new) => {
                gone.extend(old.map(|old| (&old.address, old)));
                came.extend(new);
            }
        }
    }
    came.retain(|new| match gone.remove(&new.address) {
        Some(old) => {
            kept.push((old, new));
            false
        }
        None => true,
    });
    (kept, gone.into_values().collect(), came)
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn all_as_text<T: std::fmt::Display, S: serde::Serializer>(
    values: &BTreeSet<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(T::to_string))
}
