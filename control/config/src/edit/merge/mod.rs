//! Three documents become one: a new one, with what orders have changed since the one before it.
//!
//! ```text
//! base ──── orders ───▶ running
//!   │                      │ what differs, object by object, key by key
//!   └── the operator ─▶ new ▼
//!                        new with what orders changed ── what must agree (agree) ──▶ Config
//! ```
//!
//! Owns what counts as one change: a key of an object, an item of a set such as `create.listen`, a page, a backend, a
//! group, a rule, its place, an entry of a list. Two different changes of one of them are a conflict, and nobody's is
//! taken. Refuses to know who is right, and what a merge is for. `[[test]]` cases are no order's: they are those of `new`.
//!
//! Cost: that of what differs between `base` and `running`; O(rules) of a pool of which orders changed a rule, O(backends)
//! of a group of which they changed one. `new` is asked by names, so it may share nothing with the others.

mod keys;
mod lists;
mod order;
mod rules;

use super::objects::Show;
use super::target::Target;
use super::{Editor, OpenPool, with_at};
use crate::document::{Config, Group, GroupTree, HttpContent, Pool, PoolContent, Sealed};
use crate::draft::read_backend;
use crate::form::Shards;
use crate::keys::Backend;
use crate::place::At;
use crate::problem::{Code, Problem, Problems};
use keys::Change;
pub(crate) use keys::{KeyKind, by_status as pages_by_status, kind as key_kind, status_name};
use policy::ShardSet;
use policy::tree::{self, Difference};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `new` with everything that was changed between `base` and `running`. `shards_auto`: what `appliance.shards = "auto"`
/// stands for.
///
/// Error: every conflict ([`Code::Conflict`]), by its path in plans and with all three values: both changed one thing
/// differently, or one changed what the other removed. If there is none, whatever does not fit together, such as a rule
/// that orders added and that leads to a group that `new` does not have.
pub fn merge(base: &Config, running: &Config, new: &Config, shards_auto: usize) -> Result<Config, Problems> {
    let mut merge = Merge {
        base: Editor::of(base, shards_auto),
        running: Editor::of(running, shards_auto),
        new,
        merged: Editor::of(new, shards_auto),
    };
    merge.settings();
    merge.lists(&base.lists, &running.lists);
    merge.pools();
    let mut merged = merge.merged;
    if merged.problems.count() == 0 {
        check_shards(&mut merged);
    }
    match (merged.problems.count() == 0).then(|| merged.agree()).flatten() {
        Some(config) => Ok(config),
        None => Err(merged.problems),
    }
}

struct Merge<'a> {
    /// Not edited: it shows its objects.
    base: Editor,
    /// Likewise.
    running: Editor,
    new: &'a Config,
    merged: Editor,
}

/// What of the three there is at one path.
struct Three<T> {
    base: Option<T>,
    running: Option<T>,
    new: Option<T>,
}

/// What conflicts say of an object, of which no value can be shown.
const THERE: &str = "there";

/// What is to be done to `new`.
enum Verdict {
    /// It says so already.
    Keep,
    /// It becomes what orders made of it.
    Take,
    /// All three are there, and each says something else.
    Deeper,
    Conflict,
}

impl<T> Three<T> {
    /// `same`: whether two say the same.
    fn verdict(&self, same: impl Fn(&T, &T) -> bool) -> Verdict {
        let equal = |one: &Option<T>, other: &Option<T>| match (one, other) {
            (Some(one), Some(other)) => same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        match self {
            three if equal(&three.base, &three.running) || equal(&three.running, &three.new) => Verdict::Keep,
            three if equal(&three.base, &three.new) => Verdict::Take,
            Three { base: Some(_), running: Some(_), new: Some(_) } => Verdict::Deeper,
            _ => Verdict::Conflict,
        }
    }

    /// Whether each is there, for people.
    fn presence(&self) -> [Json; 3] {
        [&self.base, &self.running, &self.new].map(|one| match one {
            Some(_) => THERE.into(),
            None => Json::Null,
        })
    }
}

impl Merge<'_> {
    fn settings(&mut self) {
        for target in [Target::Appliance, Target::Reload, Target::AccessLog, Target::EventLog] {
            if self.own_keys(&target) && target == Target::Appliance {
                // The control socket is an address too.
                self.merged.addresses = true;
            }
        }
    }

    /// The keys of one object that all three have. Answers whether orders changed any.
    fn own_keys(&mut self, target: &Target) -> bool {
        let own = |editor: &Editor| editor.own(target, Show::Written);
        let (base, running) = (own(&self.base), own(&self.running));
        if base == running {
            return false;
        }
        let new = own(&self.merged);
        let (Some(base), Some(running), Some(new)) = (base, running, new) else {
            unreachable!("asked of what all three have")
        };
        let merged = keys::merged(
            &target.path(),
            Change { base: &base, running: &running, new: &new },
            &mut self.merged.problems,
        );
        if merged != new {
            self.merged.put(target, &merged, None);
        }
        true
    }

    fn pools(&mut self) {
        let (base, running) = (self.base.document.pools.clone(), self.running.document.pools.clone());
        for difference in tree::diff(&base, &running) {
            let (id, three) = match difference {
                Difference::Removed { key, old } => (key, (Some(old), None)),
                Difference::Added { key, new } => (key, (None, Some(new))),
                Difference::Changed { key, old, new } => (key, (Some(old), Some(new))),
            };
            let three = Three { base: three.0, running: three.1, new: self.new.pools.get(id) };
            let path = Target::Pool { id: id.to_string() }.path();
            match (three.verdict(|one, other| says_the_same(one, other)), &three) {
                (Verdict::Keep, _) => {}
                (Verdict::Take, Three { running: None, .. }) => self.merged.take(&Target::Pool { id: id.to_string() }),
                (Verdict::Take, Three { base: None, running: Some(running), .. }) => self.whole_pool(running),
                (
                    Verdict::Take | Verdict::Deeper,
                    Three { base: Some(base), running: Some(running), new: Some(new) },
                ) => {
                    self.pool(base, running, new);
                }
                (Verdict::Take | Verdict::Deeper | Verdict::Conflict, three) => self.conflict(&path, three.presence()),
            }
        }
    }

    /// A pool as orders made it, with nothing of the one that may have had its name.
    fn whole_pool(&mut self, pool: &Pool) {
        let mut open = OpenPool::of(PoolContent { division: None, ..(**pool).clone() });
        open.groups = pool.groups.keys().cloned().collect();
        open.rules = pool.http.iter().flat_map(|http| http.rules.iter().map(|rule| rule.id.clone())).collect();
        self.merged.open.insert(pool.id.clone(), Some(open));
        self.merged.addresses = true;
    }

    fn pool(&mut self, base: &Pool, running: &Pool, new: &Pool) {
        let id = running.id.to_string();
        let services = [base, running, new].map(|pool| pool.create.service);
        if services != [services[0]; 3] {
            // Its groups and rules are of another kind, so nothing of them can be held against each other.
            if says_the_same(base, new) {
                return self.whole_pool(running);
            }
            let path = ["pool", &id, "create", "service"].map(str::to_owned);
            return self.conflict(&path, services.map(|service| format!("{service:?}").to_lowercase().into()));
        }
        self.own_keys(&Target::Pool { id: id.clone() });
        self.groups(&id, &base.groups, &running.groups, &new.groups);
        if let (Some(base), Some(running), Some(new)) = (&base.http, &running.http, &new.http) {
            self.rules(&id, &base.rules, &running.rules, &new.rules);
        }
    }

    fn groups(&mut self, pool: &str, base: &GroupTree, running: &GroupTree, new: &GroupTree) {
        for difference in tree::diff(base, running) {
            let (id, base, running) = match difference {
                Difference::Removed { key, old } => (key, Some(old), None),
                Difference::Added { key, new } => (key, None, Some(new)),
                Difference::Changed { key, old, new } => (key, Some(old), Some(new)),
            };
            let three = Three { base, running, new: new.get(id) };
            let target = Target::Group { pool: pool.into(), id: id.to_string() };
            match (three.verdict(|one, other| one.hash() == other.hash()), &three) {
                (Verdict::Keep, _) => {}
                (Verdict::Take, Three { running: None, .. }) => self.merged.take(&target),
                (Verdict::Take, Three { running: Some(running), .. }) => self.whole_group(pool, running),
                (Verdict::Deeper, Three { base: Some(base), running: Some(running), new: Some(new) }) => {
                    self.own_keys(&target);
                    self.backends(pool, [base, running, new]);
                }
                (Verdict::Deeper | Verdict::Conflict, three) => self.conflict(&target.path(), three.presence()),
            }
        }
    }

    fn whole_group(&mut self, pool: &str, group: &Arc<Group>) {
        let open = self.merged.open(pool).expect("`new` has the pool");
        open.backends.remove(&group.id);
        open.groups.insert(group.id.clone());
        open.content.groups = open.content.groups.insert(group.id.clone(), group.clone());
    }

    fn backends(&mut self, pool: &str, [base, running, new]: [&Arc<Group>; 3]) {
        let group = running.id.to_string();
        let mut all: BTreeMap<&Arc<str>, Three<&Arc<Sealed<Backend>>>> = BTreeMap::new();
        let none = || Three { base: None, running: None, new: None };
        base.backends.iter().for_each(|backend| all.entry(&backend.id).or_insert_with(none).base = Some(backend));
        running.backends.iter().for_each(|backend| all.entry(&backend.id).or_insert_with(none).running = Some(backend));
        new.backends.iter().for_each(|backend| all.entry(&backend.id).or_insert_with(none).new = Some(backend));
        let mut changed: Vec<(&Arc<str>, Option<Backend>)> = Vec::new();
        for (id, three) in &all {
            let target = Target::Backend { pool: pool.into(), group: group.clone(), id: id.to_string() };
            match three.verdict(|one, other| one.hash() == other.hash()) {
                Verdict::Keep => {}
                Verdict::Take => changed.push((id, three.running.map(|backend| (***backend).clone()))),
                Verdict::Deeper => changed.extend(self.backend(&target).map(|backend| (*id, Some(backend)))),
                Verdict::Conflict => self.conflict(&target.path(), three.presence()),
            }
        }
        if changed.is_empty() {
            return;
        }
        let place = (pool.to_owned(), running.id.clone());
        // All make room first: two may have changed their addresses over.
        self.merged.backends(&place).retain(|backend| changed.iter().all(|(id, _)| **id != backend.id));
        for (id, backend) in changed {
            let Some(backend) = backend else { continue };
            let path = Target::Backend { pool: pool.into(), group: group.clone(), id: id.to_string() }.path();
            with_at(&path, |at| self.merged.insert_backend(&place, backend, at));
        }
    }

    /// Of three that differ. `None`: there is a conflict.
    fn backend(&mut self, target: &Target) -> Option<Backend> {
        let own = |editor: &Editor| editor.own(target, Show::Written).expect("all three have it");
        let (base, running, new) = (own(&self.base), own(&self.running), own(&self.merged));
        let change = Change { base: &base, running: &running, new: &new };
        let problems = &mut self.merged.problems;
        let before = problems.count();
        let merged = keys::merged(&target.path(), change, problems);
        let node = super::value::node(&merged);
        let read = with_at(&target.path(), |at| read_backend(&node, at, problems));
        read.filter(|_| problems.count() == before)
    }

    fn conflict(&mut self, path: &[String], values: [Json; 3]) {
        self.merged.problems.push(conflict(path, values));
    }
}

/// `values`: before, as orders made it, and in the new document. Null: it is not there, or at its default.
fn conflict(path: &[String], values: [Json; 3]) -> Problem {
    let [base, running, new] = values.map(|value| match value {
        Json::Null => "not written".to_owned(),
        Json::String(word) if word == THERE => word,
        value => value.to_string(),
    });
    with_at(path, |at: &At<'_>| {
        let message = format!("orders and the new document disagree: before {base}, by orders {running}, now {new}");
        let problem = Problem::error(Code::Conflict, at, None, message);
        problem.help("write what orders made of it, or take the orders back")
    })
}

/// As [`PoolContent`]s do, but for what follows from other pools and from lists.
fn says_the_same(one: &Pool, other: &Pool) -> bool {
    if one.hash() == other.hash() {
        return true;
    }
    let PoolContent { id: _, switches, create, limits, timeouts, http, groups, division: _ } = &**one;
    let same_http = match (http, &other.http) {
        (Some(HttpContent { hosts, settings, timeouts, rules, pages, lists: _ }), Some(other)) => {
            *hosts == other.hosts
                && *settings == other.settings
                && *timeouts == other.timeouts
                && *rules == other.rules
                && *pages == other.pages
        }
        (one, other) => one.is_none() && other.is_none(),
    };
    same_http
        && *switches == other.switches
        && *create == other.create
        && *limits == other.limits
        && *timeouts == other.timeouts
        && tree::diff(groups, &other.groups).next().is_none()
}

/// Pools and the number of shards may come from different documents. Cost: O(pools) that differ, or all where the number
/// is another.
fn check_shards(merged: &mut Editor) {
    let count = match merged.document.appliance.shards {
        Shards::Auto => merged.shards_auto.clamp(1, ShardSet::MAX),
        Shards::Count(count) => count as usize,
    };
    let open = merged.open.values().flatten().map(|open| &open.content);
    let kept = merged.document.pools.values().map(|pool| &***pool).filter(|pool| !merged.open.contains_key(&pool.id));
    let all: Vec<&PoolContent> = match merged.addresses {
        true => open.chain(kept).collect(),
        false => open.collect(),
    };
    let mut told = Problems::default();
    for pool in all {
        crate::check::check_shards_of(pool.id.as_str(), pool.create.shards, count, None, &mut told);
    }
    told.errors().iter().for_each(|problem| merged.problems.push(problem.clone()));
}
