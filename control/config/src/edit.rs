//! Typed orders as edits of the document.
//!
//! An edit is read by the same reader as a document's tables, so it has the same errors, and what it makes
//! is the document that says the same. A list of edits is a transaction: all or none.
//!
//! Cost: O(backends) of the groups touched, O(pools) for the hash of the whole.

use crate::check::group_path;
use crate::document::{Config, Group, GroupContent, Pool, Sealed};
use crate::draft::read_backend;
use crate::form::Shown;
use crate::keys::Backend;
use crate::list_edit::{ListEdit, Touched};
use crate::place::At;
use crate::problem::{Code, Problem, Problems};
use crate::suggest;
use crate::tree::{Node, Table, Value};
use crate::warn;
use policy::PoolId;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub enum Edit {
    AddBackend {
        pool: String,
        /// `None`: the pool's only group. Of several one must be named.
        group: Option<String>,
        /// `None`: its address.
        id: Option<String>,
        address: String,
        set: BackendSettings,
    },
    RemoveBackend {
        pool: String,
        group: Option<String>,
        /// Its id, or its address.
        id: String,
    },
    SetBackend {
        pool: String,
        group: Option<String>,
        id: String,
        set: BackendSettings,
    },
    List(ListEdit),
}

/// What an edit says of a backend. `None` is not said: as it was, or its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendSettings {
    pub weight: Option<u32>,
    pub backup: Option<bool>,
    pub drain: Option<bool>,
    pub max_connections: Option<Limit>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    Off,
    At(u32),
}

/// Edits in one transaction.
pub const EDITS_MAX: usize = 10_000;

/// A configuration after edits.
#[derive(Debug)]
pub struct Edited {
    pub config: Config,
    /// Of the groups that were touched.
    pub warnings: Problems,
}

impl Config {
    /// Applies all edits, one after the other, or tells all that is wrong with them.
    pub fn edit(&self, edits: &[Edit]) -> Result<Edited, Problems> {
        let mut editor = Editor { config: self, touched: BTreeMap::new(), lists: Touched::default(), problems: Problems::default() };
        if edits.len() > EDITS_MAX {
            editor.problems.push(Problem::error(
                Code::TooMany,
                "",
                None,
                format!("{} edits in one transaction, at most {EDITS_MAX}", edits.len()),
            ));
            return Err(editor.problems);
        }
        for (ix, edit) in edits.iter().enumerate() {
            let edits_at = At::ROOT.key("edit");
            // A single edit is a message of its own, and its fields are at the top.
            editor.edit(edit, &if edits.len() == 1 { At::ROOT } else { edits_at.index(ix) });
        }
        let Editor { touched, lists, mut problems, .. } = editor;
        if !problems.errors().is_empty() {
            return Err(problems);
        }
        let mut document = (**self).clone();
        for ((id, group), backends) in touched {
            warn::sealed_group(id.as_str(), group, &backends, &mut problems);
            let pool = document.pools.get(id).expect("it was found");
            document.pools = document.pools.insert(id.clone(), Arc::new(with_backends(pool, group, backends)));
        }
        lists.put(&mut document);
        Ok(Edited { config: Sealed::new(document), warnings: problems })
    }
}

fn with_backends(pool: &Pool, group: &Arc<str>, backends: Vec<Arc<Sealed<Backend>>>) -> Pool {
    let mut pool = (**pool).clone();
    let content = GroupContent { backends, ..(***pool.group(group).expect("it was found")).clone() };
    pool.groups = pool.groups.insert(group.clone(), Arc::new(Group::new(content)));
    Sealed::new(pool)
}

struct Editor<'a> {
    config: &'a Config,
    /// Backends of the groups that the edits so far have touched, sorted by id.
    touched: BTreeMap<Place<'a>, Vec<Arc<Sealed<Backend>>>>,
    lists: Touched,
    problems: Problems,
}

/// A group of a pool.
type Place<'a> = (&'a PoolId, &'a Arc<str>);

impl<'a> Editor<'a> {
    fn edit(&mut self, edit: &Edit, at: &At<'_>) {
        match edit {
            Edit::List(edit) => self.lists.edit(self.config, edit, at, &mut self.problems),
            Edit::AddBackend { pool, group, id, address, set } => {
                let Some(place) = self.place(pool, group.as_deref(), at) else {
                    return;
                };
                let mut table = Table::default();
                table.set("address", Node::text(address));
                if let Some(id) = id {
                    table.set("id", Node::text(id));
                }
                set.write(&mut table);
                if let Some(backend) = self.read(table, at) {
                    self.add(place, backend, at);
                }
            }
            Edit::RemoveBackend { pool, group, id } => {
                let Some(place) = self.place(pool, group.as_deref(), at) else {
                    return;
                };
                if let Some(ix) = self.find(place, id, at) {
                    self.backends(place).remove(ix);
                }
            }
            Edit::SetBackend { pool, group, id, set } => {
                let Some(place) = self.place(pool, group.as_deref(), at) else {
                    return;
                };
                let Some(ix) = self.find(place, id, at) else {
                    return;
                };
                let old = self.backends(place)[ix].clone();
                let mut table = Table::default();
                old.each(&mut |key, value| {
                    if value != Shown::Absent {
                        table.set(key.name, Node::read_again(&value));
                    }
                });
                set.write(&mut table);
                if let Some(backend) = self.read(table, at) {
                    self.backends(place)[ix] = Arc::new(Sealed::new(backend));
                }
            }
        }
    }

    fn place(&mut self, name: &str, group: Option<&str>, at: &At<'_>) -> Option<Place<'a>> {
        let pools = &self.config.pools;
        let Some((id, pool)) = pools.get_key_value(&PoolId::new(name)) else {
            let message = format!("there is no pool `{name}`");
            self.problems.push(not_found(at.key("pool"), message, name, pools.keys().map(PoolId::as_str)));
            return None;
        };
        let names = pool.groups.keys().map(|id| &**id);
        match group {
            None if pool.groups.len() == 1 => Some((id, pool.groups.keys().next()?)),
            None => {
                let message = format!("pool `{name}` has {} groups, so `group` must be said", pool.groups.len());
                let problem = Problem::error(Code::Missing, at.key("group"), None, message);
                self.problems.push(problem.accepted(some_of(names)));
                None
            }
            Some(group) => {
                let found = pool.groups.get_key_value(group);
                if found.is_none() {
                    let message = format!("pool `{name}` has no group `{group}`");
                    self.problems.push(not_found(at.key("group"), message, group, names));
                }
                Some((id, found?.0))
            }
        }
    }

    fn read(&mut self, table: Table, at: &At<'_>) -> Option<Backend> {
        read_backend(&Node { value: Value::Table(table), span: None }, at, &mut self.problems)
    }

    fn add(&mut self, (pool, group): Place<'a>, backend: Backend, at: &At<'_>) {
        let backends = self.backends((pool, group));
        let same_address = backends.iter().find(|other| other.address == backend.address).map(|other| other.id.clone());
        let place = backends.binary_search_by(|other| other.id.cmp(&backend.id));
        let path = group_path(pool.as_str(), group);
        let problem = match (same_address, place) {
            (Some(other), _) => {
                let message = format!("two backends of group `{group}` would be at `{}`", backend.address);
                let problem = Problem::error(Code::Duplicate, at.key("address"), None, message);
                problem.help(format!("it is `{path}.backend.{other}`; set its `weight` instead"))
            }
            (None, Ok(_)) => {
                let message = format!("two backends of group `{group}` would be called `{}`", backend.id);
                Problem::error(Code::Duplicate, at.key("id"), None, message)
            }
            (None, Err(_)) if backends.len() >= policy::generation::Group::ENDPOINTS_MAX => {
                let message = format!("group `{group}` has {} backends, which is the most", backends.len());
                Problem::error(Code::TooMany, path, None, message)
            }
            (None, Err(place)) => return backends.insert(place, Arc::new(Sealed::new(backend))),
        };
        self.problems.push(problem);
    }

    fn find(&mut self, place: Place<'a>, id: &str, at: &At<'_>) -> Option<usize> {
        let (pool, group) = place;
        let only = self.config.pools.get(pool).is_some_and(|pool| pool.groups.len() == 1);
        let backends = self.backends(place);
        let by_address = || backends.iter().position(|backend| backend.address.to_string() == id);
        let found = backends.binary_search_by(|backend| (*backend.id).cmp(id)).ok().or_else(by_address);
        if found.is_none() {
            let message = match only {
                true => format!("pool `{pool}` has no backend `{id}`"),
                false => format!("group `{group}` of pool `{pool}` has no backend `{id}`"),
            };
            let problem = not_found(at.key("id"), message, id, backends.iter().map(|backend| &*backend.id));
            self.problems.push(problem);
        }
        found
    }

    fn backends(&mut self, place: Place<'a>) -> &mut Vec<Arc<Sealed<Backend>>> {
        let (pool, group) = place;
        let found = || self.config.pools.get(pool).and_then(|pool| pool.group(group)).expect("it was found");
        self.touched.entry(place).or_insert_with(|| found().backends.clone())
    }
}

impl BackendSettings {
    fn write(&self, table: &mut Table) {
        let BackendSettings { weight, backup, drain, max_connections } = *self;
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                table.set(key, Node { value, span: None });
            }
        };
        set("weight", weight.map(|weight| Value::Integer(weight.into())));
        set("backup", backup.map(Value::Boolean));
        set("drain", drain.map(Value::Boolean));
        set(
            "max_connections",
            max_connections.map(|limit| match limit {
                Limit::Off => Node::text("off").value,
                Limit::At(limit) => Value::Integer(limit.into()),
            }),
        );
    }
}

/// Says what there is, as far as a line holds it.
pub(crate) fn not_found<'n>(
    at: At<'_>,
    message: String,
    wanted: &str,
    names: impl IntoIterator<Item = &'n str> + Clone,
) -> Problem {
    /// Enough to find a slip of the finger; a group may have a hundred thousand names.
    const NAMES_COMPARED: usize = 1_000;
    let problem = Problem::error(Code::NotFound, at, None, message).found(format!("{wanted:?}"));
    let problem = problem.accepted(some_of(names.clone()));
    match suggest::closest(wanted, names.into_iter().take(NAMES_COMPARED)) {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem,
    }
}

/// Names that are accepted, as far as a line holds them.
pub(crate) fn some_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const NAMES_SHOWN: usize = 10;
    let mut there = names.into_iter();
    let mut shown: Vec<&str> = there.by_ref().take(NAMES_SHOWN).collect();
    if there.next().is_some() {
        shown.push("…");
    }
    if shown.is_empty() { "there is none at all".into() } else { shown.join(", ") }
}
