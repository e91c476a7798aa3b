//! Objects as edits see them: shown as JSON, read from JSON, put in place, taken away.
//!
//! Each is read by the reader of the document's tables. What must agree between objects is not looked at here.

use super::target::Target;
use super::{Editor, OpenPool, RulePlace, some_of, value, with_at};
use crate::address::is_id;
use crate::check;
use crate::document::{Carries, GroupContent, HttpContent, Lists, PoolContent, RuleContent, Sealed};
use crate::draft::{GroupDraft, PoolDraft, RuleDraft, read_backend, read_list};
use crate::fit;
use crate::form::{Shards, Shown};
use crate::keys::{AccessLog, Appliance, Backend, EventLog, Reload};
use crate::list::ListFile;
use crate::page;
use crate::problem::{Code, Problem, Problems};
use crate::rule_list::RuleList;
use crate::rule_place::RuleSpans;
use crate::schema::Key;
use crate::strict;
use crate::tree::{Entry, Node, Table, Value};
use policy::PoolId;
use policy::http::Turn;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Between the orders of two rules that stand one behind the other.
const ORDER_STEP: u32 = 10;

/// What of an object is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Every key with the value that is in force.
    All,
    /// Without those that are at their defaults.
    Written,
}

impl Editor {
    pub(super) fn is_there(&self, target: &Target) -> bool {
        match target {
            Target::Appliance | Target::Reload | Target::AccessLog | Target::EventLog => true,
            Target::List { id } => self.document.lists.contains_key(id.as_str()),
            Target::Pool { id } => self.pool(id).is_some(),
            Target::Group { pool, id } => self.pool(pool).is_some_and(|pool| pool.group(id).is_some()),
            Target::Rule { pool, id } => self.rules(pool).is_some_and(|rules| rules.find(id).is_some()),
            Target::Backend { pool, group, id } => self.find_backend(pool, group, id).is_some(),
        }
    }

    fn rules(&self, pool: &str) -> Option<&RuleList> {
        Some(&self.pool(pool)?.http.as_ref()?.rules)
    }

    fn find_backend(&self, pool: &str, group: &str, id: &str) -> Option<&Arc<Sealed<Backend>>> {
        self.backends_of(pool, group)?.iter().find(|backend| *backend.id == *id)
    }

    fn backends_of(&self, pool: &str, group: &str) -> Option<&[Arc<Sealed<Backend>>]> {
        let touched = self.open.get(pool).and_then(|open| open.as_ref()?.backends.get(group));
        match touched {
            Some(backends) => Some(backends),
            None => self.pool(pool)?.group(group).map(|group| &group.backends[..]),
        }
    }

    /// Names of what the object's table of objects holds.
    pub(super) fn names(&self, target: &Target, held: &str) -> Vec<String> {
        let strings = |names: &mut dyn Iterator<Item = &Arc<str>>| names.map(ToString::to_string).collect();
        match (target, held) {
            (Target::Pool { id }, "group") => self.pool(id).map_or(Vec::new(), |pool| strings(&mut pool.groups.keys())),
            (Target::Pool { id }, _) => {
                let rules = self.rules(id).into_iter().flat_map(RuleList::iter);
                rules.map(|rule| rule.id.to_string()).collect()
            }
            (Target::Group { pool, id }, _) => {
                let backends = self.backends_of(pool, id).unwrap_or_default();
                backends.iter().map(|backend| backend.id.to_string()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The object without those that it holds. `None`: it is not there.
    pub(crate) fn own(&self, target: &Target, show: Show) -> Option<Json> {
        let document = &self.document;
        let table = |each: &dyn Fn(Visit<'_>)| Some(Json::Object(keys(show, each)));
        match target {
            Target::Appliance => table(&|visit| document.appliance.each(visit)),
            Target::Reload => table(&|visit| document.reload.each(visit)),
            Target::AccessLog => table(&|visit| document.access_log.each(visit)),
            Target::EventLog => table(&|visit| document.event_log.each(visit)),
            Target::List { id } => {
                let list = document.lists.get(id.as_str())?;
                let keys = list.keys(usize::MAX);
                table(&|visit| keys.each(visit))
            }
            Target::Pool { id } => self.pool(id).map(|pool| own_pool(pool, show)),
            Target::Group { pool, id } => self.pool(pool)?.group(id).map(|group| own_group(group, show)),
            Target::Rule { pool, id } => {
                let (_, rule) = self.rules(pool)?.find(id)?;
                Some(own_rule(rule, show))
            }
            Target::Backend { pool, group, id } => {
                let backend = self.find_backend(pool, group, id)?;
                table(&|visit| backend.each(visit))
            }
        }
    }

    /// Reads the object's own table and puts it in place, beside what it holds. What is wrong is told.
    pub(super) fn put(&mut self, target: &Target, own: &Json, place: Option<&RulePlace>) {
        let path = target.path();
        if !own.is_object() {
            let message = format!("{} is a table", target.word());
            return self.tell(Code::WrongType, &path, message);
        }
        let mut node = value::node(own);
        let before = self.problems.count();
        with_at(&path, |at| strict::check_at(&node, &path, at, &mut self.problems));
        let known = self.problems.count() == before;
        match target {
            Target::Appliance => {
                let read = with_at(&path, |at| Appliance::read(&node, at, &mut self.problems));
                self.document.appliance = read.filter(|_| known).unwrap_or_else(|| self.document.appliance.clone());
            }
            Target::Reload => {
                let read = with_at(&path, |at| Reload::read(&node, at, &mut self.problems));
                self.document.reload = read.filter(|_| known).unwrap_or_else(|| self.document.reload.clone());
            }
            Target::AccessLog => {
                let read = with_at(&path, |at| AccessLog::read(&node, at, &mut self.problems));
                if let Some(log) = read.filter(|_| known) {
                    let tree = tree_of("log", "access", node);
                    check::check_access_log(&log, &tree, &mut self.problems);
                    self.document.access_log = log;
                }
            }
            Target::EventLog => {
                let read = with_at(&path, |at| EventLog::read(&node, at, &mut self.problems));
                self.document.event_log = read.filter(|_| known).unwrap_or_else(|| self.document.event_log.clone());
            }
            Target::List { id } => {
                let Some(file) = self.list_file(id, own) else { return };
                if let Some(list) = read_list(id, &Entry { key_span: None, node }, file, &mut self.problems) {
                    let id: Arc<str> = id.as_str().into();
                    self.touched_lists.insert(id.clone());
                    self.document.lists = self.document.lists.insert(id, Arc::new(Sealed::new(list)));
                }
            }
            Target::Pool { id } => self.put_pool(id, node),
            Target::Group { pool, id } => self.put_group(pool, id, node),
            Target::Rule { pool, id } => self.put_rule(pool, id, node, place),
            Target::Backend { pool, group, id } => {
                if !self.called(&path, id, &mut node) || !self.group_is_there(pool, group) {
                    return;
                }
                let Some(backend) = with_at(&path, |at| read_backend(&node, at, &mut self.problems)) else { return };
                let place = (pool.clone(), Arc::from(group.as_str()));
                self.backends(&place).retain(|other| *other.id != **id);
                with_at(&path, |at| self.insert_backend(&place, backend, at));
            }
        }
    }

    /// The file that a list names. An edit reads no file: it is the one that the list has. `None`: it is not, which is
    /// told.
    fn list_file(&mut self, id: &str, own: &Json) -> Option<Option<Option<ListFile>>> {
        let Some(path) = own.get("file").filter(|path| !path.is_null()) else { return Some(None) };
        let file = self.document.lists.get(id).and_then(|list| list.file());
        let same = file.filter(|file| path.as_str().is_some_and(|path| *file.path == *path));
        if same.is_none() {
            let path = ["list".to_owned(), id.to_owned(), "file".to_owned()];
            let message = "a file is read by `list.replace`, or with a whole document".to_owned();
            self.tell(Code::BadValue, &path, message);
            return None;
        }
        Some(Some(same.cloned()))
    }

    /// Takes the object away, and all that it holds. The settings of the appliance become their defaults.
    pub(super) fn take(&mut self, target: &Target) {
        match target {
            Target::Appliance | Target::Reload | Target::AccessLog | Target::EventLog => {
                self.put(target, &Json::Object(Map::new()), None);
            }
            Target::List { id } => {
                self.touched_lists.insert(id.as_str().into());
                self.document.lists = self.document.lists.remove(id.as_str());
            }
            Target::Pool { id } => {
                self.open.insert(PoolId::new(id), None);
                self.addresses = true;
            }
            Target::Group { pool, id } => {
                if let Some(open) = self.open(pool) {
                    open.backends.remove(id.as_str());
                    open.groups.insert(id.as_str().into());
                    open.content.groups = open.content.groups.remove(id.as_str());
                }
            }
            Target::Rule { pool, id } => {
                if let Some(open) = self.open(pool)
                    && let Some(http) = &mut open.content.http
                    && let Some((turn, _)) = http.rules.find(id)
                {
                    http.rules.remove(turn);
                }
            }
            Target::Backend { pool, group, id } => {
                if self.find_backend(pool, group, id).is_some() {
                    self.backends(&(pool.clone(), group.as_str().into())).retain(|backend| *backend.id != **id);
                }
            }
        }
    }

    fn put_pool(&mut self, id: &str, node: Node) {
        let entry = Entry { key_span: None, node };
        let before = self.problems.count();
        let draft = PoolDraft::read(id, &entry, &mut self.problems);
        let shards = match self.document.appliance.shards {
            Shards::Auto => self.shards_auto,
            Shards::Count(count) => count as usize,
        };
        check::check_shards(&draft, Some(shards), &mut self.problems);
        if let Some(create) = &draft.create {
            fit::check(&draft, create.service, &mut self.problems);
        }
        page::check(&draft, &mut self.problems);
        if self.problems.count() > before {
            return;
        }
        let made = check::pool_content(draft, &Lists::new(), &mut RuleSpans::default());
        let mut content = made.expect("whatever is absent from a draft has been told");
        let Some(open) = self.open(id) else {
            self.addresses = true;
            self.open.insert(PoolId::new(id), Some(OpenPool::of(content)));
            return;
        };
        let old = &open.content;
        if old.create.service != content.create.service {
            let path = ["pool".to_owned(), id.to_owned(), "create".to_owned(), "service".to_owned()];
            let message =
                format!("pool `{id}` would carry something else, and its groups and rules would mean nothing");
            let problem = with_at(&path, |at| Problem::error(Code::Clash, at, None, message));
            return self.problems.push(problem.accepted("a document that has all of the pool"));
        }
        content.groups = old.groups.clone();
        content.division.clone_from(&old.division);
        if let (Some(new), Some(old)) = (&mut content.http, &old.http) {
            new.rules = old.rules.clone();
            new.lists.clone_from(&old.lists);
        }
        let depends = old.create.listen != content.create.listen
            || old.create.shards != content.create.shards
            || old.hosts() != content.hosts();
        open.content = content;
        self.addresses |= depends;
    }

    fn put_group(&mut self, pool: &str, id: &str, node: Node) {
        let Some(service) = self.pool(pool).map(|pool| pool.create.service) else { return self.no_pool(pool) };
        let before = self.problems.count();
        let entry = Entry { key_span: None, node };
        let path = ["pool".to_owned(), pool.to_owned()];
        let draft = with_at(&path, |at| GroupDraft::read(id, &entry, at, &mut self.problems));
        fit::check_group(pool, &draft, service, &mut self.problems);
        if self.problems.count() > before {
            return;
        }
        let made = check::seal_group(draft, service).expect("whatever is absent from a draft has been told");
        let Some(open) = self.open(pool) else { return };
        let backends = open.content.group(id).map(|old| old.backends.clone()).unwrap_or_default();
        let group = Sealed::new(GroupContent { backends, ..(**made).clone() });
        let id: Arc<str> = id.into();
        open.groups.insert(id.clone());
        open.content.groups = open.content.groups.insert(id, Arc::new(group));
    }

    fn put_rule(&mut self, pool: &str, id: &str, mut node: Node, place: Option<&RulePlace>) {
        // Shown, a condition that asks nothing is an empty list, which nobody would write.
        node.drop_empty_lists();
        let path = ["pool", pool, "rule", id].map(str::to_owned);
        if self.pool(pool).is_none() {
            return self.no_pool(pool);
        }
        if self.rules(pool).is_none() {
            let message = format!("pool `{pool}` carries TCP, which has no rules");
            return self.tell(Code::Clash, &path, message);
        }
        if !self.called(&path, id, &mut node) {
            return;
        }
        let before = self.problems.count();
        let draft = with_at(&path, |at| RuleDraft::read_at(0, &node, at, &mut self.problems));
        let Some(content) = draft.into_content().filter(|_| self.problems.count() == before) else { return };
        let rules = self.rules(pool).expect("seen above");
        let old = rules.find(id).map(|(turn, rule)| (turn, rule.clone()));
        let taken = rules.find(&content.id).is_some_and(|(turn, _)| old.as_ref().is_none_or(|(own, _)| *own != turn));
        if taken {
            let message = format!("two rules of pool `{pool}` would be called `{}`", content.id);
            return self.tell(Code::Duplicate, &path, message);
        }
        if old.is_none() && *content.id != *id {
            let message = format!("a rule that asks this is called `{}`", content.id);
            let problem = with_at(&path, |at| Problem::error(Code::Clash, at, None, message));
            return self.problems.push(problem.found(format!("{id:?}")).accepted("that name, or one of your own"));
        }
        let (touched, content) = (content.id.clone(), content);
        let stays = old.filter(|(_, old)| place.is_none() && old.rule.order == content.rule.order);
        match stays {
            Some((turn, _)) => self.set_rules(pool, |rules| rules.insert(turn, Arc::new(Sealed::new(content)))),
            None => {
                let id = id.to_owned();
                self.set_rules(pool, |rules| {
                    if let Some((turn, _)) = rules.find(&id) {
                        rules.remove(turn);
                    }
                });
                self.place_rule(pool, content, place);
            }
        }
        if let Some(open) = self.open(pool) {
            open.rules.insert(touched);
        }
    }

    pub(super) fn set_rules(&mut self, pool: &str, change: impl FnOnce(&mut RuleList)) {
        if let Some(open) = self.open(pool)
            && let Some(http) = &mut open.content.http
        {
            change(&mut http.rules);
        }
    }

    /// Puts a rule that is not there among the others.
    pub(super) fn place_rule(&mut self, pool: &str, mut content: RuleContent, place: Option<&RulePlace>) {
        let path = ["pool".to_owned(), pool.to_owned(), "rule".to_owned(), content.id.to_string()];
        let rules = self.rules(pool).expect("a pool of HTTP has a list of rules").clone();
        let is_ordered = rules.first().is_some_and(|(_, rule)| rule.rule.order.is_some());
        let rules = match (is_ordered, content.rule.order) {
            // Once one says it, all do, as they stand.
            (false, Some(_)) if !rules.is_empty() => with_orders(&rules),
            _ => rules,
        };
        let (before, behind) = match (place, content.rule.order) {
            (Some(_), Some(_)) => {
                let message = "both an order and a place say where the rule stands".into();
                return self.tell(Code::Clash, &path, message);
            }
            (None, Some(order)) => match rules.first_above(order) {
                Some((turn, _)) => (rules.neighbours(turn).0.map(|(turn, _)| turn), Some(turn)),
                None => (rules.last().map(|(turn, _)| turn), None),
            },
            (None | Some(RulePlace::Last), None) => (rules.last().map(|(turn, _)| turn), None),
            (Some(RulePlace::First), None) => (None, rules.first().map(|(turn, _)| turn)),
            (Some(RulePlace::Before(other) | RulePlace::Behind(other)), None) => {
                let Some((turn, _)) = rules.find(other) else {
                    let message = format!("pool `{pool}` has no rule `{other}`");
                    let names = rules.iter().map(|rule| &*rule.id);
                    let problem = with_at(&path, |at| Problem::error(Code::NotFound, at, None, message));
                    return self.problems.push(problem.found(format!("{other:?}")).accepted(some_of(names)));
                };
                let (before, behind) = rules.neighbours(turn);
                match place {
                    Some(RulePlace::Before(_)) => (before.map(|(turn, _)| turn), Some(turn)),
                    _ => (Some(turn), behind.map(|(turn, _)| turn)),
                }
            }
        };
        if rules.first().is_some_and(|(_, rule)| rule.rule.order.is_some()) && content.rule.order.is_none() {
            let order = |turn: Option<Turn>| turn.and_then(|turn| rules.at(turn)?.rule.order);
            let low = order(before).unwrap_or_default();
            let between = match order(behind) {
                Some(high) if high - low >= 2 => Some(low + (high - low) / 2),
                Some(_) => None,
                None => low.checked_add(ORDER_STEP),
            };
            let Some(order) = between else {
                let message = "no order is free between the rules that it would stand between".into();
                return self.tell(Code::Clash, &path, message);
            };
            content.rule.order = Some(order);
        }
        let (rules, turn) = match RuleList::between(before, behind) {
            Some(turn) => (rules, turn),
            None => {
                // No room is left there: all are put apart, and stand as they did.
                let apart = rules.spread();
                let moved = |turn: Turn| rules.at(turn).and_then(|rule| Some(apart.find(&rule.id)?.0));
                let turn = RuleList::between(before.and_then(moved), behind.and_then(moved));
                (apart, turn.expect("there is room between rules that were put apart"))
            }
        };
        self.set_rules(pool, |list| {
            *list = rules;
            list.insert(turn, Arc::new(Sealed::new(content)));
        });
    }

    /// Gives the table the id that its path has. `false`: it says another, which is told.
    fn called(&mut self, path: &[String], id: &str, node: &mut Node) -> bool {
        let Some(table) = node.table_mut() else { return true };
        match table.get("id").map(|node| &node.value) {
            Some(Value::Text { text, .. }) if text != id => {
                let message = format!("the path says `{id}` and `id` says `{text}`");
                self.tell(Code::Clash, path, message);
                return false;
            }
            // A name that follows from what it says needs not be said.
            Some(Value::Text { .. }) if !is_id(id) => drop(table.entries.remove("id")),
            Some(_) => {}
            None if is_id(id) => table.set("id", Node::text(id)),
            None => {}
        }
        true
    }

    fn group_is_there(&mut self, pool: &str, group: &str) -> bool {
        let Some(content) = self.pool(pool) else {
            self.no_pool(pool);
            return false;
        };
        if content.group(group).is_none() {
            let message = format!("pool `{pool}` has no group `{group}`");
            let names: Vec<String> = content.groups.keys().map(ToString::to_string).collect();
            let path = ["pool".to_owned(), pool.to_owned(), "group".to_owned(), group.to_owned()];
            let problem = with_at(&path, |at| Problem::error(Code::NotFound, at, None, message));
            self.problems.push(problem.accepted(some_of(names.iter().map(String::as_str))));
            return false;
        }
        true
    }

    pub(super) fn no_pool(&mut self, pool: &str) {
        let message = format!("there is no pool `{pool}`");
        let names = self.pool_names();
        let path = ["pool".to_owned(), pool.to_owned()];
        let problem = with_at(&path, |at| super::not_found(*at, message, pool, names.iter().map(String::as_str)));
        self.problems.push(problem);
    }
}

/// Rules that say no order, with orders as they stand.
fn with_orders(rules: &RuleList) -> RuleList {
    let ordered = rules.iter().zip(1u32..).map(|(rule, nth)| {
        let mut content = (***rule).clone();
        content.rule.order = Some(nth.saturating_mul(ORDER_STEP));
        Arc::new(Sealed::new(content))
    });
    RuleList::of(ordered.collect())
}

fn tree_of(table: &str, within: &str, node: Node) -> Node {
    let mut inner = Table::default();
    inner.set(within, node);
    let mut outer = Table::default();
    outer.set(table, Node { value: Value::Table(inner), span: None });
    Node { value: Value::Table(outer), span: None }
}

type Visit<'a> = &'a mut dyn FnMut(&'static Key, Shown);

fn keys(show: Show, each: &dyn Fn(Visit<'_>)) -> Map<String, Json> {
    let mut map = Map::new();
    each(&mut |key, shown| {
        if show == Show::All || !key.is_default(&shown) {
            map.extend(value::shown(&shown).map(|json| (key.name.to_owned(), json)));
        }
    });
    map
}

/// A table that is left out where it says nothing.
fn within(map: &mut Map<String, Json>, show: Show, name: &str, table: Map<String, Json>) {
    if show == Show::All || !table.is_empty() {
        map.insert(name.into(), Json::Object(table));
    }
}

fn own_pool(pool: &PoolContent, show: Show) -> Json {
    let PoolContent { id: _, switches, create, limits, timeouts, http, groups: _, division: _ } = pool;
    let mut own = keys(show, &|visit| {
        switches.each(visit);
        if let Some(http) = http {
            http.hosts.each(visit);
        }
    });
    own.insert("create".into(), Json::Object(keys(show, &|visit| create.each(visit))));
    within(&mut own, show, "limits", keys(show, &|visit| limits.each(visit)));
    let times = keys(show, &|visit| {
        timeouts.each(visit);
        if let Some(http) = http {
            http.timeouts.each(visit);
        }
    });
    within(&mut own, show, "timeouts", times);
    if let Some(HttpContent { hosts: _, settings, timeouts: _, rules: _, pages, lists: _ }) = http {
        within(&mut own, show, "http", keys(show, &|visit| settings.each(visit)));
        if !pages.is_empty() {
            let pages = pages.iter().map(|page| Json::Object(keys(show, &|visit| page.each(visit))));
            own.insert("page".into(), pages.collect());
        }
    }
    Json::Object(own)
}

fn own_group(group: &GroupContent, show: Show) -> Json {
    let GroupContent { id: _, balancing, carries, health, backends: _ } = group;
    let mut own = keys(show, &|visit| {
        balancing.each(visit);
        match carries {
            Carries::Tcp(group) => group.each(visit),
            Carries::Http { settings, .. } => settings.each(visit),
        }
    });
    if let Carries::Http { settings: _, retry, eject } = carries {
        within(&mut own, show, "retry", keys(show, &|visit| retry.each(visit)));
        if let Some(eject) = eject {
            own.insert("eject".into(), Json::Object(keys(show, &|visit| eject.each(visit))));
        }
    }
    if let Some(health) = health {
        own.insert("health".into(), Json::Object(keys(show, &|visit| health.each(visit))));
    }
    Json::Object(own)
}

pub(super) fn own_rule(rule: &RuleContent, show: Show) -> Json {
    let RuleContent { id: _, conditions, rule } = rule;
    Json::Object(keys(show, &|visit| {
        rule.each(visit);
        conditions.each(visit);
    }))
}

/// Of a rule that edits have touched, to be held against the rest.
pub(super) fn rule_node(rule: &RuleContent) -> Node {
    value::node(&own_rule(rule, Show::Written))
}

/// A count of what was told before, to know whether more has been.
pub(super) fn is_silent(problems: &Problems, before: usize) -> bool {
    problems.count() == before
}
