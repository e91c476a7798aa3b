//! The document written out again, as TOML and as JSON.
//!
//! Owns order and headers of what is written; each key shows its value itself.

use crate::document::{Carries, Config, Document, GroupContent, HttpContent, List, PoolContent, RuleContent};
use crate::form::Shown;
use crate::keys::{Backend, ListKeys, Page};
use crate::list::{LIST_ENTRIES_WRITTEN, ListContent};
use crate::plan_lists::LIST_ENTRIES_SHOWN;
use crate::schema::Key;
use serde_json::{Map, Value, json};
use std::fmt::Write;

impl Config {
    /// The document as TOML, without keys that are at their defaults. Reading it back gives an equal `Config`, as long as
    /// the files of lists say the same. Of a list that says more than [`LIST_ENTRIES_WRITTEN`] entries itself, only how many
    /// is written, in such a way that it is not read: it is not taken for a short list.
    pub fn to_toml(&self) -> String {
        self.written(LIST_ENTRIES_WRITTEN)
    }

    /// As [`Config::to_toml`], however many entries a list says itself.
    pub fn to_whole_toml(&self) -> String {
        self.written(usize::MAX)
    }

    fn written(&self, list_entries_max: usize) -> String {
        let Document { appliance, reload, access_log, event_log, lists, pools, tests } = &**self;
        let mut out = Toml(String::new());
        out.table("[appliance]", Empty::Skipped, |visit| appliance.each(visit));
        out.table("[reload]", Empty::Skipped, |visit| reload.each(visit));
        out.table("[log.access]", Empty::Skipped, |visit| access_log.each(visit));
        out.table("[log.events]", Empty::Skipped, |visit| event_log.each(visit));
        for (id, list) in lists {
            out.list(id, list, list_entries_max);
        }
        for pool in pools.values() {
            out.pool(pool);
        }
        for test in tests.cases() {
            out.table("[[test]]", Empty::Written, |visit| test.each(visit));
        }
        // A document that says nothing at all would not be read again.
        if out.0.is_empty() { "[appliance]\n".to_owned() } else { out.0 }
    }

    /// The document as JSON, every key with the value that is in force. Of a list the first [`LIST_ENTRIES_SHOWN`] of the
    /// entries that the document says itself, a digest of all that it is, and what is `in_force`: how many entries, and
    /// their digest.
    pub fn to_json(&self) -> Value {
        let Document { appliance, reload, access_log, event_log, lists, pools, tests } = &**self;
        let mut log = Map::new();
        log.insert("access".into(), keys_json(|visit| access_log.each(visit)));
        log.insert("events".into(), keys_json(|visit| event_log.each(visit)));
        let pools = pools.values().map(|pool| (pool.id.to_string(), pool_json(pool)));
        json!({
            "appliance": keys_json(|visit| appliance.each(visit)),
            "reload": keys_json(|visit| reload.each(visit)),
            "log": log,
            "list": Map::from_iter(lists.iter().map(|(id, list)| (id.to_string(), list_json(list)))),
            "pool": Map::from_iter(pools),
            "test": tests.cases().iter().map(|test| keys_json(|visit| test.each(visit))).collect::<Value>(),
        })
    }
}

/// A pool alone, with its heads.
pub(crate) fn pool_text(pool: &PoolContent) -> String {
    let mut out = Toml(String::new());
    out.pool(pool);
    out.0
}

/// A group alone, with its heads, in a pool of this name.
pub(crate) fn group_text(pool: &str, group: &GroupContent) -> String {
    let mut out = Toml(String::new());
    out.group(&format!("pool.{pool}.group.{}", group.id), group);
    out.0
}

/// A list alone, with its head and all that it says itself.
pub(crate) fn list_text(id: &str, list: &ListContent) -> String {
    let mut out = Toml(String::new());
    out.list(id, list, usize::MAX);
    out.0
}

/// What a rule says, without a head.
pub(crate) fn rule_text(rule: &RuleContent) -> String {
    lines(|visit| each_of_rule(rule, visit))
}

/// What a backend says, without a head. One that is called by its address does not say so.
pub(crate) fn backend_text(backend: &Backend) -> String {
    let by_address = *backend.id == *backend.address.to_string();
    lines(|visit| {
        backend.each(&mut |key, value| {
            if !by_address || key.name != "id" {
                visit(key, value);
            }
        })
    })
}

/// What a page says, without a head.
pub(crate) fn page_text(page: &Page) -> String {
    lines(|visit| page.each(visit))
}

fn lines(each: impl FnOnce(Visit<'_>)) -> String {
    let mut lines = String::new();
    each(&mut |key, value| {
        if value != Shown::Absent && !key.is_default(&value) {
            writeln!(lines, "{} = {value}", key.name).expect("a string takes everything");
        }
    });
    lines
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
        let PoolContent { id, switches, create, limits, timeouts, http, groups, division: _ } = pool;
        self.table(&format!("[pool.{id}]"), Empty::Skipped, |visit| {
            switches.each(visit);
            if let Some(http) = http {
                http.hosts.each(visit);
            }
        });
        self.table(&format!("[pool.{id}.create]"), Empty::Written, |visit| create.each(visit));
        self.table(&format!("[pool.{id}.limits]"), Empty::Skipped, |visit| limits.each(visit));
        self.table(&format!("[pool.{id}.timeouts]"), Empty::Skipped, |visit| {
            timeouts.each(visit);
            if let Some(http) = http {
                http.timeouts.each(visit);
            }
        });
        if let Some(HttpContent { hosts: _, settings, timeouts: _, rules, pages, lists: _ }) = http {
            self.table(&format!("[pool.{id}.http]"), Empty::Skipped, |visit| settings.each(visit));
            for page in pages {
                self.table(&format!("[[pool.{id}.page]]"), Empty::Written, |visit| page.each(visit));
            }
            for rule in rules.iter() {
                self.table(&format!("[[pool.{id}.rule]]"), Empty::Written, |visit| {
                    each_of_rule(rule, visit);
                });
            }
        }
        for group in groups.values() {
            self.group(&format!("pool.{id}.group.{}", group.id), group);
        }
    }

    fn group(&mut self, path: &str, group: &GroupContent) {
        let GroupContent { id: _, balancing, carries, health, backends } = group;
        self.table(&format!("[{path}]"), Empty::Written, |visit| {
            balancing.each(visit);
            match carries {
                Carries::Tcp(group) => group.each(visit),
                Carries::Http { settings, .. } => settings.each(visit),
            }
        });
        if let Carries::Http { settings: _, retry, eject } = carries {
            self.table(&format!("[{path}.retry]"), Empty::Skipped, |visit| retry.each(visit));
            if let Some(eject) = eject {
                self.table(&format!("[{path}.eject]"), Empty::Written, |visit| eject.each(visit));
            }
        }
        if let Some(health) = health {
            self.table(&format!("[{path}.health]"), Empty::Written, |visit| health.each(visit));
        }
        for backend in backends {
            self.table(&format!("[[{path}.backend]]"), Empty::Written, |visit| backend.each(visit));
        }
    }

    fn list(&mut self, id: &str, list: &ListContent, entries_max: usize) {
        let each = |keys: &ListKeys, visit: Visit<'_>| {
            let said = [("entries", list.own().len()), ("except", list.except().len())];
            keys.each(&mut |key, value| match said.iter().find(|(name, _)| *name == key.name) {
                Some((_, said)) if *said > entries_max => {
                    visit(key, Shown::Text(format!("{said} entries, more than are written")));
                }
                _ => visit(key, value),
            });
        };
        self.table(&format!("[list.{id}]"), Empty::Written, |visit| each(&list.keys(entries_max), visit));
        // One of the two must be said.
        if list.file().is_none() && list.own().is_empty() {
            self.0.push_str("entries = []\n");
        }
        if let Some(file) = list.file() {
            let (entries, digest) = (file.entries.len(), file.entries.digest());
            writeln!(self.0, "# {entries} entries were read, digest {digest}; {} are in force", list.in_force().len())
                .expect("a string takes everything");
        }
    }

    fn table(&mut self, header: &str, empty: Empty, each: impl FnOnce(Visit<'_>)) {
        let lines = lines(each);
        if empty == Empty::Written || !lines.is_empty() {
            let gap = if self.0.is_empty() { "" } else { "\n" };
            write!(self.0, "{gap}{header}\n{lines}").expect("a string takes everything");
        }
    }
}

/// In the order in which people read a rule: what it is called, what it asks, what it does.
fn each_of_rule(content: &RuleContent, visit: Visit<'_>) {
    let RuleContent { id: _, conditions, rule } = content;
    let first = |key: &Key| ["id", "order"].contains(&key.name);
    rule.each(&mut |key, value| {
        if first(key) {
            visit(key, value);
        }
    });
    conditions.each(visit);
    rule.each(&mut |key, value| {
        if !first(key) {
            visit(key, value);
        }
    });
}

fn keys_json(each: impl FnOnce(Visit<'_>)) -> Value {
    let mut map = Map::new();
    each(&mut |key, value| {
        map.insert(key.name.into(), value.to_json());
    });
    map.into()
}

fn list_json(list: &List) -> Value {
    let mut out = keys_json(|visit| list.keys_shortened(LIST_ENTRIES_SHOWN).each(visit));
    let in_force = list.in_force();
    out["digest"] = list.hash().to_string().into();
    out["in_force"] = json!({ "entries": in_force.len(), "digest": in_force.digest().to_string() });
    out
}

fn pool_json(pool: &PoolContent) -> Value {
    let PoolContent { id: _, switches, create, limits, timeouts, http, groups, division: _ } = pool;
    let mut out = keys_json(|visit| {
        switches.each(visit);
        if let Some(http) = http {
            http.hosts.each(visit);
        }
    });
    out["create"] = keys_json(|visit| create.each(visit));
    out["limits"] = keys_json(|visit| limits.each(visit));
    out["timeouts"] = keys_json(|visit| {
        timeouts.each(visit);
        if let Some(http) = http {
            http.timeouts.each(visit);
        }
    });
    if let Some(HttpContent { hosts: _, settings, timeouts: _, rules, pages, lists: _ }) = http {
        out["http"] = keys_json(|visit| settings.each(visit));
        out["page"] = pages.iter().map(|page| keys_json(|visit| page.each(visit))).collect();
        let rule = |rule: &RuleContent| {
            let mut out = keys_json(|visit| {
                each_of_rule(rule, visit);
            });
            out["id"] = rule.id.to_string().into();
            out
        };
        out["rule"] = rules.iter().map(|content| rule(content)).collect();
    }
    out["group"] = Map::from_iter(groups.iter().map(|(id, group)| (id.to_string(), group_json(group)))).into();
    out
}

fn group_json(group: &GroupContent) -> Value {
    let GroupContent { id: _, balancing, carries, health, backends } = group;
    let mut out = keys_json(|visit| {
        balancing.each(visit);
        match carries {
            Carries::Tcp(group) => group.each(visit),
            Carries::Http { settings, .. } => settings.each(visit),
        }
    });
    if let Carries::Http { settings: _, retry, eject } = carries {
        out["retry"] = keys_json(|visit| retry.each(visit));
        out["eject"] = eject.as_ref().map(|eject| keys_json(|visit| eject.each(visit))).into();
    }
    out["health"] = health.as_ref().map(|health| keys_json(|visit| health.each(visit))).into();
    out["backend"] = backends.iter().map(|backend| keys_json(|visit| backend.each(visit))).collect();
    out
}
