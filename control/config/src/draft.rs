//! What the operator wrote, each value checked for itself, nothing checked against another.
//!
//! A draft always exists, however wrong the document is: what could not be read is absent and has been
//! told. `check` makes a [`crate::Config`] of it.

use crate::address::{ID_ACCEPTED, is_id, parse_backend};
use crate::document::RuleContent;
use crate::keys::{
    AccessLog, Appliance, Backend, Balancing, Conditions, Create, Eject, EventLog, Health, Hosts, Http, HttpGroup,
    HttpTimes, Limits, ListKeys, ListWord, Page, PoolSwitches, Reload, Retry, Rule, TcpGroup, Test, Timeouts,
};
use crate::list::{self, ListContent, ListEntry, ListFile};
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems};
use crate::rule_id;
use crate::schema;
use crate::tree::{Entry, Node, Table, Value};
use policy::http::{List, ListDraft, ListKind};
use std::collections::BTreeMap;

pub(crate) struct Draft<'t> {
    pub(crate) appliance: Option<Appliance>,
    pub(crate) reload: Option<Reload>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) event_log: Option<EventLog>,
    pub(crate) lists: Vec<(&'t str, Option<ListContent>)>,
    pub(crate) pools: Vec<PoolDraft<'t>>,
    /// In the order of the document.
    pub(crate) tests: Vec<TestDraft<'t>>,
    pub(crate) tree: &'t Node,
}

pub(crate) struct PoolDraft<'t> {
    pub(crate) id: &'t str,
    pub(crate) node: &'t Node,
    pub(crate) switches: Option<PoolSwitches>,
    pub(crate) create: Option<Create>,
    pub(crate) limits: Option<Limits>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) hosts: Option<Hosts>,
    pub(crate) http: Option<Http>,
    pub(crate) http_timeouts: Option<HttpTimes>,
    pub(crate) groups: Vec<GroupDraft<'t>>,
    /// In the order of the document.
    pub(crate) rules: Vec<RuleDraft<'t>>,
    pub(crate) pages: Vec<PageDraft<'t>>,
}

pub(crate) struct TestDraft<'t> {
    pub(crate) node: &'t Node,
    pub(crate) test: Option<Test>,
}

pub(crate) struct RuleDraft<'t> {
    /// Its index in the document.
    pub(crate) ix: usize,
    pub(crate) node: &'t Node,
    /// What could be read of it; the rest is at its defaults.
    read: RuleContent,
    /// Nothing is missing of `read`.
    whole: bool,
}

pub(crate) struct PageDraft<'t> {
    pub(crate) ix: usize,
    pub(crate) node: &'t Node,
    pub(crate) page: Option<Page>,
}

pub(crate) struct GroupDraft<'t> {
    pub(crate) id: &'t str,
    pub(crate) node: &'t Node,
    pub(crate) span: Option<Span>,
    pub(crate) balancing: Option<Balancing>,
    // Whatever the pool's service: what does not fit it has been told.
    pub(crate) tcp: Option<TcpGroup>,
    pub(crate) http: Option<HttpGroup>,
    pub(crate) retry: Option<Retry>,
    pub(crate) eject: Option<Eject>,
    pub(crate) health: Option<Health>,
    /// In the order of the document; those that cannot be read are left out.
    pub(crate) backends: Vec<BackendDraft<'t>>,
}

pub(crate) struct BackendDraft<'t> {
    /// Its index in the document.
    pub(crate) ix: usize,
    pub(crate) node: &'t Node,
    pub(crate) backend: Backend,
}

impl<'t> Draft<'t> {
    /// `files`: those that lists name, read.
    pub(crate) fn read(
        tree: &'t Node,
        mut files: BTreeMap<Box<str>, Option<ListFile>>,
        problems: &mut Problems,
    ) -> Draft<'t> {
        let root = At::ROOT;
        let log = At::ROOT.key("log");
        let log_node = child(tree, "log");
        Draft {
            appliance: Appliance::read(child(tree, "appliance"), &root.key("appliance"), problems),
            reload: Reload::read(child(tree, "reload"), &root.key("reload"), problems),
            access_log: AccessLog::read(child(log_node, "access"), &log.key("access"), problems),
            event_log: EventLog::read(child(log_node, "events"), &log.key("events"), problems),
            lists: entries(tree, "list")
                .map(|(id, entry)| (id, read_list(id, entry, files.remove(id), problems)))
                .collect(),
            pools: entries(tree, "pool").map(|(id, entry)| PoolDraft::read(id, entry, problems)).collect(),
            tests: {
                let list = At::ROOT.key("test");
                let read = |(ix, node)| TestDraft { node, test: Test::read(node, &list.index(ix), problems) };
                tables(tree, "test").map(read).collect()
            },
            tree,
        }
    }
}

impl<'t> PoolDraft<'t> {
    pub(crate) fn read(id: &'t str, entry: &'t Entry, problems: &mut Problems) -> PoolDraft<'t> {
        let pools = At::ROOT.key("pool");
        let at = pools.key(id);
        let node = &entry.node;
        check_id("pool", id, entry.key_span, &at, problems);
        let create = match child(node, "create") {
            other if other.table().is_none() => None,
            // Told as a whole: the table's absence explains its missing keys.
            empty if empty.table().is_some_and(|table| table.entries.is_empty()) => {
                let message = format!("pool `{id}` has no `create` table, so nobody can come in");
                let problem = Problem::error(Code::Missing, at.key("create"), node.span, message);
                problems.push(problem.accepted(format!("[pool.{id}.create] with `service` and `listen`")));
                None
            }
            create => Create::read(create, &at.key("create"), problems),
        };
        PoolDraft {
            id,
            node,
            switches: PoolSwitches::read(node, &at, problems),
            create,
            limits: Limits::read(child(node, "limits"), &at.key("limits"), problems),
            timeouts: Timeouts::read(child(node, "timeouts"), &at.key("timeouts"), problems),
            hosts: Hosts::read(node, &at, problems),
            http: Http::read(child(node, "http"), &at.key("http"), problems),
            http_timeouts: HttpTimes::read(child(node, "timeouts"), &at.key("timeouts"), problems),
            groups: entries(node, "group").map(|(id, entry)| GroupDraft::read(id, entry, &at, problems)).collect(),
            rules: tables(node, "rule").map(|(ix, node)| RuleDraft::read(ix, node, &at, problems)).collect(),
            pages: {
                let list = at.key("page");
                let read = |(ix, node)| PageDraft { ix, node, page: Page::read(node, &list.index(ix), problems) };
                tables(node, "page").map(read).collect()
            },
        }
    }
}

impl<'t> RuleDraft<'t> {
    fn read(ix: usize, node: &'t Node, pool: &At<'_>, problems: &mut Problems) -> RuleDraft<'t> {
        let list = pool.key("rule");
        RuleDraft::read_at(ix, node, &list.index(ix), problems)
    }

    pub(crate) fn read_at(ix: usize, node: &'t Node, at: &At<'_>, problems: &mut Problems) -> RuleDraft<'t> {
        let before = problems.count();
        let conditions = Conditions::read(node, at, problems).expect("every condition has a default");
        let rule = Rule::read(node, at, problems).expect("every key of a rule has a default");
        let id = rule.id.clone().unwrap_or_else(|| rule_id::derived(&conditions));
        let whole = problems.count() == before && !node.is_told();
        RuleDraft { ix, node, read: RuleContent { id, conditions, rule }, whole }
    }

    /// `None`: something of it could not be read, so it asks or does less than was meant.
    pub(crate) fn content(&self) -> Option<&RuleContent> {
        self.whole.then_some(&self.read)
    }

    pub(crate) fn into_content(self) -> Option<RuleContent> {
        self.whole.then_some(self.read)
    }

    /// What could be read.
    pub(crate) fn part(&self) -> &RuleContent {
        &self.read
    }
}

/// `file`: its file, if it names one that there is; nothing within, if that is wrong.
pub(crate) fn read_list(
    id: &str,
    entry: &Entry,
    file: Option<Option<ListFile>>,
    problems: &mut Problems,
) -> Option<ListContent> {
    let lists = At::ROOT.key("list");
    let at = lists.key(id);
    let before = problems.count();
    check_id("list", id, entry.key_span, &at, problems);
    let node = &entry.node;
    let says = |key: &str| node.table().is_some_and(|table| table.get(key).is_some());
    if !says("entries") && !says("file") {
        let key = ListKeys::KEYS.iter().find(|key| key.name == "entries").expect("it is a key");
        schema::missing(key, &at, node, problems);
    }
    let ListKeys { kind, file: _, entries, except } = ListKeys::read(node, &at, problems)?;
    let kind = match kind {
        ListWord::Address => ListKind::Addresses,
        ListWord::Text => ListKind::Texts,
    };
    let mut read = |key: &str, entries: Vec<ListEntry>| {
        let (mut draft, nodes) = (ListDraft::new(kind), child(node, key).list().unwrap_or_default());
        for (ix, written) in entries.into_iter().enumerate() {
            match list::parse(kind, &written.entry) {
                Ok(entry) => draft.push(entry, written.note()),
                Err(message) => problems.push_error(|| {
                    let place = at.key(key);
                    let path = place.index(ix);
                    let span = nodes.get(ix).and_then(|node| node.span);
                    let problem = Problem::error(Code::BadValue, path, span, format!("`{key}[{ix}]`: {message}"));
                    problem.found(format!("{:?}", written.entry)).accepted(list::accepted(kind))
                }),
            }
        }
        draft.finish()
    };
    let (own, except) = (read("entries", entries), read("except", except));
    let content = ListContent::new(kind, own, file.flatten(), except);
    if content.in_force().len() > List::ENTRIES_MAX {
        let message = format!("{} entries, at most {} are accepted", content.in_force().len(), List::ENTRIES_MAX);
        problems.push(Problem::error(Code::TooMany, at, node.span, message));
    }
    (problems.count() == before).then_some(content)
}

impl<'t> GroupDraft<'t> {
    pub(crate) fn read(id: &'t str, entry: &'t Entry, pool: &At<'_>, problems: &mut Problems) -> GroupDraft<'t> {
        let groups = pool.key("group");
        let at = groups.key(id);
        let node = &entry.node;
        check_id("group", id, entry.key_span, &at, problems);
        let [health, eject] = ["health", "eject"].map(|key| node.table().and_then(|table| table.get(key)));
        let list = at.key("backend");
        let nodes = child(node, "backend").list().unwrap_or_default();
        let backends = nodes.iter().enumerate().filter(|(_, node)| node.table().is_some());
        GroupDraft {
            id,
            node,
            span: entry.key_span,
            balancing: Balancing::read(node, &at, problems),
            tcp: TcpGroup::read(node, &at, problems),
            http: HttpGroup::read(node, &at, problems),
            retry: Retry::read(child(node, "retry"), &at.key("retry"), problems),
            eject: eject.and_then(|eject| Eject::read(eject, &at.key("eject"), problems)),
            health: health.and_then(|health| Health::read(health, &at.key("health"), problems)),
            backends: backends
                .filter_map(|(ix, node)| {
                    Some(BackendDraft { ix, node, backend: read_backend(node, &list.index(ix), problems)? })
                })
                .collect(),
        }
    }
}

/// A backend without an id is called by its address; one that is named by an address must be at it.
pub(crate) fn read_backend(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Backend> {
    let address = match node.table().and_then(|table| table.get("address")).map(|node| &node.value) {
        Some(Value::Text { text, .. }) => parse_backend(text).ok(),
        _ => None,
    };
    if node.table().is_some_and(|table| table.get("id").is_none())
        && let Some(address) = &address
    {
        let mut named = node.clone();
        if let Value::Table(table) = &mut named.value {
            table.set("id", Node::text(address.to_string()));
        }
        return Backend::read(&named, at, problems);
    }
    let backend = Backend::read(node, at, problems)?;
    if !is_id(&backend.id) && *backend.id != backend.address.to_string() {
        let span = node.table().and_then(|table| table.span_of("id"));
        let problem =
            Problem::error(Code::Clash, at.key("id"), span, "a backend cannot be called by the address of another");
        problems.push(
            problem
                .found(format!("{:?}", &*backend.id))
                .accepted(format!("{ID_ACCEPTED}; or its own address \"{}\"", backend.address)),
        );
        return None;
    }
    Some(backend)
}

fn check_id(kind: &str, id: &str, span: Option<Span>, at: &At<'_>, problems: &mut Problems) {
    if !is_id(id) {
        let problem = Problem::error(Code::BadValue, at, span, format!("not a name for a {kind}"));
        problems.push(problem.found(format!("{id:?}")).accepted(ID_ACCEPTED));
    }
}

/// The table or value under `key`; an empty table if there is none or `node` is no table (which `strict` tells).
fn child<'t>(node: &'t Node, key: &str) -> &'t Node {
    static EMPTY: Node = Node { value: Value::Table(Table::EMPTY), span: None };
    node.table().and_then(|table| table.get(key)).unwrap_or(&EMPTY)
}

/// The tables of the list under `key`, each with its index.
fn tables<'t>(node: &'t Node, key: &str) -> impl Iterator<Item = (usize, &'t Node)> {
    let nodes = child(node, key).list().unwrap_or_default();
    nodes.iter().enumerate().filter(|(_, node)| node.table().is_some())
}

fn entries<'t>(node: &'t Node, key: &str) -> impl Iterator<Item = (&'t str, &'t Entry)> {
    let table = child(node, key).table();
    let entries = table.into_iter().flat_map(|table| &table.entries);
    entries.filter(|(_, entry)| entry.node.table().is_some()).map(|(id, entry)| (&**id, entry))
}
