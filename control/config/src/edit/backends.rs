//! Edits of one backend, which say its settings one by one: the most frequent ones.

use super::{BackendSettings, Edit, Editor, Limit, not_found, some_of};
use crate::check::group_path;
use crate::document::Sealed;
use crate::draft::read_backend;
use crate::form::Shown;
use crate::keys::Backend;
use crate::place::At;
use crate::problem::{Code, Problem};
use crate::tree::{Node, Table, Value};
use std::sync::Arc;

/// A group of a pool.
type Place = (String, Arc<str>);

impl Editor {
    pub(super) fn backend(&mut self, edit: &Edit, at: &At<'_>) {
        match edit {
            Edit::AddBackend { pool, group, id, address, set } => {
                let Some(place) = self.place(pool, group.as_deref(), at) else { return };
                let mut table = Table::default();
                table.set("address", Node::text(address));
                if let Some(id) = id {
                    table.set("id", Node::text(id));
                }
                set.write(&mut table);
                if let Some(backend) = self.read(table, at) {
                    self.insert_backend(&place, backend, at);
                }
            }
            Edit::RemoveBackend { pool, group, id } => {
                let Some(place) = self.place(pool, group.as_deref(), at) else { return };
                if let Some(ix) = self.find(&place, id, at) {
                    self.backends(&place).remove(ix);
                }
            }
            Edit::SetBackend { pool, group, id, set } => {
                let Some(place) = self.place(pool, group.as_deref(), at) else { return };
                let Some(ix) = self.find(&place, id, at) else { return };
                let old = self.backends(&place)[ix].clone();
                let mut table = Table::default();
                old.each(&mut |key, value| {
                    if value != Shown::Absent {
                        table.set(key.name, Node::read_again(&value));
                    }
                });
                set.write(&mut table);
                if let Some(backend) = self.read(table, at) {
                    self.backends(&place)[ix] = Arc::new(Sealed::new(backend));
                }
            }
            _ => unreachable!("only edits of backends come here"),
        }
    }

    fn place(&mut self, name: &str, group: Option<&str>, at: &At<'_>) -> Option<Place> {
        let Some(pool) = self.pool(name) else {
            let message = format!("there is no pool `{name}`");
            let names = self.pool_names();
            let problem = not_found(at.key("pool"), message, name, names.iter().map(String::as_str));
            self.problems.push(problem);
            return None;
        };
        let names = pool.groups.keys().map(|id| &**id);
        let problem = match group {
            None if pool.groups.len() == 1 => return Some((name.into(), pool.groups.keys().next()?.clone())),
            None => {
                let message = format!("pool `{name}` has {} groups, so `group` must be said", pool.groups.len());
                let problem = Problem::error(Code::Missing, at.key("group"), None, message);
                problem.accepted(some_of(names))
            }
            Some(group) => match pool.groups.find_entry(group) {
                Some((id, _)) => return Some((name.into(), id.clone())),
                None => {
                    let message = format!("pool `{name}` has no group `{group}`");
                    not_found(at.key("group"), message, group, names)
                }
            },
        };
        self.problems.push(problem);
        None
    }

    fn read(&mut self, table: Table, at: &At<'_>) -> Option<Backend> {
        read_backend(&Node { value: Value::Table(table), span: None }, at, &mut self.problems)
    }

    pub(super) fn insert_backend(&mut self, place: &Place, backend: Backend, at: &At<'_>) {
        let (pool, group) = place;
        let backends = self.backends(place);
        let same_address = backends.iter().find(|other| other.address == backend.address).map(|other| other.id.clone());
        let place = backends.binary_search_by(|other| other.id.cmp(&backend.id));
        let path = group_path(pool, group);
        let problem = match (same_address, place) {
            // Said twice it is there once.
            (Some(_), Ok(place)) if **backends[place] == backend => return,
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

    fn find(&mut self, place: &Place, id: &str, at: &At<'_>) -> Option<usize> {
        let (pool, group) = place;
        let only = self.pool(pool).is_some_and(|pool| pool.groups.len() == 1);
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

    /// To be changed. The group is there.
    pub(super) fn backends(&mut self, (pool, group): &Place) -> &mut Vec<Arc<Sealed<Backend>>> {
        let open = self.open(pool).expect("it was found");
        let content = &open.content;
        let before = || content.group(group).expect("it was found").backends.clone();
        open.backends.entry(group.clone()).or_insert_with(before)
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
