//! From what differs between two documents to what changes in their files: settings, pools, groups, backends, pages.
//!
//! Goes object by object; keys are written as the schema writes them. An object that comes is written beside its siblings,
//! a pool at the end of the main file.

use super::Rewritten;
use super::array::{self, Element, Elements, Left};
use super::texts::{self, Texts, insert, replace};
use crate::Surroundings;
use crate::address::parse_listen;
use crate::document::{Config, Group, GroupTree, HttpContent, Pool};
use crate::draft::read_backend;
use crate::edit::{Editor, KeyKind, Show, Target, key_kind, pages_by_status};
use crate::keys::Page;
use crate::place::At;
use crate::problem::Problems;
use crate::tree::Node;
use crate::{variable, written};
use policy::http::HostTest;
use policy::tree::{self, Difference};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeSet, HashSet};
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

pub(super) struct Fold<'a> {
    pub(super) texts: Texts,
    /// The same files as the reader has them, for the names of what stands in lists.
    tree: &'a Node,
    base: &'a Config,
    running: &'a Config,
    /// What the documents show of their objects. Not edited.
    shows_base: Editor,
    /// Likewise.
    shows_running: Editor,
    around: &'a Surroundings<'a>,
}

/// Keys and their new values. `None`: it goes.
pub(super) type Changed = Vec<(String, Option<Json>)>;

impl<'a> Fold<'a> {
    pub(super) fn new(
        texts: Texts,
        tree: &'a Node,
        base: &'a Config,
        running: &'a Config,
        around: &'a Surroundings<'a>,
    ) -> Fold<'a> {
        let [shows_base, shows_running] = [base, running].map(|config| Editor::of(config, around.shards_auto));
        Fold { texts, tree, base, running, shows_base, shows_running, around }
    }

    pub(super) fn folded(mut self) -> Vec<Rewritten> {
        for target in [Target::Appliance, Target::Reload, Target::AccessLog, Target::EventLog] {
            self.own_keys(&target);
        }
        let (base, running) = (self.base, self.running);
        self.lists(&base.lists, &running.lists);
        for difference in tree::diff(&base.pools, &running.pools) {
            match difference {
                Difference::Removed { key, .. } => self.texts.remove_everywhere(&["pool"], key.as_str()),
                Difference::Added { new, .. } => self.whole_pool(new),
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => {}
                Difference::Changed { key, old, new } if old.create.service != new.create.service => {
                    self.texts.remove_everywhere(&["pool"], key.as_str());
                    self.whole_pool(new);
                }
                Difference::Changed { old, new, .. } => self.pool(old, new),
            }
        }
        self.texts.rewritten()
    }

    fn whole_pool(&mut self, pool: &Pool) {
        let table = table_at(&written::pool_text(pool), &["pool", pool.id.as_str()]);
        self.texts.append(0, &["pool"], pool.id.as_str(), table);
    }

    fn pool(&mut self, old: &Pool, new: &Pool) {
        let id = new.id.as_str();
        self.own_keys(&Target::Pool { id: id.into() });
        self.groups(id, &old.groups, &new.groups);
        if let (Some(old), Some(new)) = (&old.http, &new.http) {
            self.pages(id, old, new);
            self.rules(id, &old.rules, &new.rules);
        }
    }

    fn groups(&mut self, pool: &str, old: &GroupTree, new: &GroupTree) {
        let path = ["pool", pool, "group"];
        for difference in tree::diff(old, new) {
            match difference {
                Difference::Removed { key, .. } => self.texts.remove_everywhere(&path, key),
                Difference::Added { key, new } => {
                    let table = table_at(&written::group_text(pool, new), &["pool", pool, "group", key]);
                    let home = self.texts.home(&path);
                    self.texts.put(home, &path, key, table);
                }
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => {}
                Difference::Changed { key, old, new } => {
                    self.own_keys(&Target::Group { pool: pool.into(), id: key.to_string() });
                    self.backends(pool, old, new);
                }
            }
        }
    }

    fn backends(&mut self, pool: &str, old: &Group, new: &Group) {
        let path = ["pool", pool, "group", &new.id];
        let ids = self.ids(&path, "backend", |node| {
            let backend = read_backend(node, &At::ROOT, &mut Problems::default())?;
            Some(backend.id.to_string())
        });
        let find = |group: &Group, id: &str| {
            let at = group.backends.binary_search_by(|backend| (*backend.id).cmp(id)).ok()?;
            Some(group.backends[at].clone())
        };
        let mut changes = Vec::new();
        for (ix, id) in ids.iter().enumerate() {
            let target = Target::Backend { pool: pool.into(), group: new.id.to_string(), id: id.clone() };
            match (find(old, id), find(new, id)) {
                (Some(old), Some(new)) if old.hash() != new.hash() => changes.push((ix, Some(self.changed(&target)))),
                (_, Some(_)) => {}
                (_, None) => changes.push((ix, None)),
            }
        }
        let there: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let come = new.backends.iter().filter(|backend| !there.contains(&*backend.id));
        let come = come.map(|backend| table_at(&written::backend_text(backend), &[])).collect();
        self.change_elements(&path, "backend", changes, come);
    }

    fn pages(&mut self, pool: &str, old: &HttpContent, new: &HttpContent) {
        if old.pages == new.pages {
            return;
        }
        let path = ["pool", pool];
        let statuses = self.ids(&path, "page", |node| {
            let page = Page::read(node, &At::ROOT, &mut Problems::default())?;
            Some(page.status)
        });
        let target = Target::Pool { id: pool.into() };
        let pages = |editor: &Editor, show| pages_by_status(editor.own(&target, show).unwrap_or_default().get("page"));
        let was = pages(&self.shows_base, Show::Written);
        let is = pages(&self.shows_running, Show::Written);
        let all = pages(&self.shows_running, Show::All);
        let mut changes = Vec::new();
        for (ix, statuses) in statuses.iter().enumerate() {
            let find = |http: &HttpContent| http.pages.iter().find(|page| page.status == *statuses).cloned();
            match (find(old), find(new)) {
                (Some(old), Some(new)) if old.hash() != new.hash() => {
                    let name = status_name(&new);
                    let mut keys = changed(&was[&name], &is[&name], &all[&name]);
                    let says = |keys: &Changed, key: &str| keys.iter().any(|(other, _)| other == key);
                    if says(&keys, "body") {
                        // The text stands here from now on, and its kind does not follow from a file's name any more.
                        keys.push(("file".into(), None));
                        if !says(&keys, "content_type") {
                            keys.push(("content_type".into(), is[&name].get("content_type").cloned()));
                        }
                    }
                    changes.push((ix, Some(keys)));
                }
                (_, Some(_)) => {}
                (_, None) => changes.push((ix, None)),
            }
        }
        let come = new.pages.iter().filter(|page| !statuses.contains(&page.status));
        let come = come.map(|page| table_at(&written::page_text(page), &[])).collect();
        self.change_elements(&path, "page", changes, come);
    }

    /// What the elements of a list in the files are called, as they stand there.
    pub(super) fn ids<T>(&self, path: &[&str], key: &str, read: impl Fn(&Node) -> Option<T>) -> Vec<T> {
        let list = crate::check::node_at(self.tree, path).and_then(|node| node.table()?.get(key)?.list());
        list.unwrap_or_default().iter().filter_map(read).collect()
    }

    /// Changes keys of elements, takes elements out (`None`), and puts others at the end.
    fn change_elements(&mut self, path: &[&str], key: &str, changes: Vec<(usize, Option<Changed>)>, come: Vec<Table>) {
        if changes.is_empty() && come.is_empty() {
            return;
        }
        let Some((file, mut elements)) = elements(&mut self.texts, path, key) else { return };
        let mut left: Vec<Left> = Vec::new();
        for (ix, change) in changes.into_iter().rev() {
            match change {
                Some(keys) => set_keys(elements.get(ix), keys),
                None => left.push(elements.take(ix).1),
            }
        }
        for table in come {
            let end = elements.len();
            elements.put(end, Element::Head(table));
        }
        for Left { free, position } in left {
            self.texts.give_on(file, position, &free);
        }
    }

    /// Keys of an object in which it differs, each with its new value.
    pub(super) fn changed(&self, target: &Target) -> Changed {
        let own = |editor: &Editor, show| editor.own(target, show).unwrap_or_default();
        changed(
            &own(&self.shows_base, Show::Written),
            &own(&self.shows_running, Show::Written),
            &own(&self.shows_running, Show::All),
        )
    }

    fn own_keys(&mut self, target: &Target) {
        let own = |editor: &Editor, show| editor.own(target, show).unwrap_or_default();
        let (base, running) = (own(&self.shows_base, Show::Written), own(&self.shows_running, Show::Written));
        let all = own(&self.shows_running, Show::All);
        self.keys(&target.path(), &base, &running, &all);
    }

    fn keys(&mut self, path: &[String], base: &Json, running: &Json, all: &Json) {
        let none = Json::Object(Map::new());
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        for (key, value) in changed(base, running, all) {
            let below: Vec<String> = path.iter().cloned().chain([key.clone()]).collect();
            let [was, is, whole] = [base, running, all].map(|object| object.get(&key));
            match key_kind(path, &key) {
                // They are told one by one.
                KeyKind::Pages => {}
                KeyKind::Table => {
                    let [was, is, whole] = [was, is, whole].map(|table| table.unwrap_or(&none));
                    self.keys(&below, was, is, whole);
                }
                KeyKind::Switch => match (was, is) {
                    (_, None) => self.texts.remove_everywhere(&names, &key),
                    (Some(was), Some(is)) => self.keys(&below, was, is, whole.unwrap_or(&none)),
                    (None, Some(is)) => {
                        let home = self.texts.home(&names);
                        self.texts.put(home, &names, &key, table_of(is));
                    }
                },
                KeyKind::Set => self.set(&names, &key, [was, is], value.as_ref()),
                KeyKind::Value => self.texts.set(&names, &key, value.as_ref().map(toml)),
            }
        }
    }

    fn set(&mut self, path: &[&str], key: &str, [was, is]: [Option<&Json>; 2], whole: Option<&Json>) {
        let items = |json: Option<&Json>| json.and_then(Json::as_array).cloned().unwrap_or_default();
        let (was, is) = (items(was), items(is));
        let gone = was.iter().filter(|item| !is.contains(item)).filter_map(|item| Some(item.as_str()?.to_owned()));
        let gone: BTreeSet<String> = gone.collect();
        let come = is.iter().filter(|item| !was.contains(item)).map(toml).collect();
        let name = |value: &Value| canonical_item(key, &self.replaced(value.as_str()?)?);
        let known = self.named_items(path, key, name);
        self.items(path, key, known, &gone, come, whole);
    }

    /// Items of a list in the files by their names. `None`: not all have one, or there is no list.
    pub(super) fn named_items(
        &self,
        path: &[&str],
        key: &str,
        name: impl Fn(&Value) -> Option<String>,
    ) -> Option<Vec<String>> {
        let array = self.texts.look(&[path, &[key]].concat())?.as_array()?;
        array.iter().map(name).collect()
    }

    /// Items of a list that go and come. Where they are not `known` by their names, the list becomes `whole`.
    pub(super) fn items(
        &mut self,
        path: &[&str],
        key: &str,
        known: Option<Vec<String>>,
        gone: &BTreeSet<String>,
        come: Vec<Value>,
        whole: Option<&Json>,
    ) {
        let at = [path, &[key]].concat();
        let (Some(known), Some(file), Some(_)) = (known, self.texts.file_of(&at), whole) else {
            return self.texts.set(path, key, whole.map(toml));
        };
        let item = self.texts.item(file, &at).expect("it was found");
        let array = item.as_array_mut().expect("its items were named");
        for (ix, _) in known.iter().enumerate().rev().filter(|(_, name)| gone.contains(*name)) {
            array::take(array, ix);
        }
        for value in come {
            let end = array.len();
            array::put(array, end, value);
        }
    }

    /// As the document reads it.
    pub(super) fn replaced(&self, text: &str) -> Option<String> {
        variable::replace(text, self.around.variables).ok().map(|replaced| replaced.text)
    }
}

fn changed(base: &Json, running: &Json, all: &Json) -> Changed {
    let none = Map::new();
    let [base, running, all] = [base, running, all].map(|json| json.as_object().unwrap_or(&none));
    let keys: BTreeSet<&String> = base.keys().chain(running.keys()).collect();
    let differing = keys.into_iter().filter(|key| base.get(*key) != running.get(*key));
    // What is at its default now says so where it was written.
    let value = |key: &String| running.get(key).or_else(|| all.get(key)).filter(|value| !says_nothing(value));
    differing.map(|key| (key.clone(), value(key).cloned())).collect()
}

/// What nobody would write.
fn says_nothing(value: &Json) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

pub(super) fn set_keys(table: Option<&mut dyn TableLike>, keys: Changed) {
    let Some(table) = table else { return };
    for (key, value) in keys {
        match (table.contains_key(&key), value) {
            (true, Some(value)) => replace(table, &key, toml(&value)),
            (false, Some(value)) => insert(table, &key, Item::Value(toml(&value))),
            (_, None) => texts::remove(table, &key),
        }
    }
}

pub(super) fn elements<'t>(texts: &'t mut Texts, path: &[&str], key: &str) -> Option<(usize, Elements<'t>)> {
    let file = texts.file_of(&[path, &[key]].concat()).unwrap_or_else(|| texts.home(path));
    let parent = texts.ensure(file, path);
    Some((file, Elements::of(parent, key)?))
}

fn canonical_item(key: &str, text: &str) -> Option<String> {
    match key {
        "listen" => parse_listen(text).ok().map(|address| address.to_string()),
        _ => HostTest::parse(text).map(|host| host.to_string()),
    }
}

fn status_name(page: &Page) -> String {
    let mut name = String::new();
    page.each(&mut |key, value| {
        if key.name == "status" {
            name = crate::edit::status_name(&value.to_json());
        }
    });
    name
}

/// A table of a text that was written here.
pub(super) fn table_at(text: &str, path: &[&str]) -> Table {
    let document: DocumentMut = text.parse().expect("what is written is TOML");
    let item = texts::at(document.as_item(), path).and_then(Item::as_table).expect("its head is written");
    let mut table = item.clone();
    texts::loosen(&mut table);
    texts::place(&mut table, None);
    table
}

fn table_of(json: &Json) -> Table {
    let mut table = Table::new();
    for (key, value) in json.as_object().into_iter().flatten().filter(|(_, value)| !says_nothing(value)) {
        table.insert(key, Item::Value(toml(value)));
    }
    table
}

/// Dollar signs are doubled, so that reading it replaces nothing.
pub(super) fn toml(json: &Json) -> Value {
    match json {
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => Value::from(number.as_i64().expect("no key takes more")),
        Json::String(text) => Value::from(variable::escape(text).as_ref()),
        Json::Array(list) => Value::Array(list.iter().map(toml).collect()),
        Json::Object(fields) => {
            let mut table = InlineTable::new();
            for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                table.insert(key, toml(value));
            }
            Value::InlineTable(table)
        }
        Json::Null => unreachable!("what is not there is not written"),
    }
}
