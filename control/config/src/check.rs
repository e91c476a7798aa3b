//! Draft to Config: what must agree between values.
//!
//! Errors are contradictions: something missing, double, dangling or clashing. What is merely strange is a
//! warning, and only a document without errors is warned about.

use crate::address::ListenList;
use crate::division;
use crate::document::{Carries, Config, Document, Group, GroupContent, HttpContent, List, Lists, PoolContent, Sealed};
use crate::draft::{BackendDraft, Draft, GroupDraft, PoolDraft};
use crate::fit;
use crate::form::{HostList, Shards};
use crate::keys::{AccessFormat, AccessLog, LogSink, Service};
use crate::overlap::{self, Party};
use crate::page;
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems};
use crate::rule_list::RuleList;
use crate::rule_place::RuleSpans;
use crate::rules::{self, Named};
use crate::tree::Node;
use crate::trial;
use crate::warn;
use policy::generation::Address;
use policy::tree::Tree;
use policy::{PoolId, ShardSet};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// When the tests of a document are tried.
#[derive(Clone, Copy)]
pub(crate) enum Trial {
    Now,
    /// Pools are missing that they may lead to; until these are there the tests lead nowhere.
    Later,
}

/// `None`: there are errors, all of them in `problems`.
pub(crate) fn check(
    mut draft: Draft<'_>,
    shards_auto: usize,
    trial: Trial,
    problems: &mut Problems,
) -> Option<(Config, RuleSpans)> {
    let shards = draft.appliance.as_ref().map(|appliance| match appliance.shards {
        Shards::Auto => shards_auto.clamp(1, ShardSet::MAX),
        Shards::Count(count) => count as usize,
    });
    let lists = seal_lists(&draft);
    let named = Named::of(&draft);
    let mut compiled = Vec::with_capacity(draft.pools.len());
    for pool in &draft.pools {
        check_shards(pool, shards, problems);
        let service = pool.create.as_ref().map(|create| create.service);
        if let Some(service) = service {
            fit::check(pool, service, problems);
        }
        check_groups(pool, problems);
        compiled.push(match service {
            Some(Service::Http) => {
                page::check(pool, problems);
                rules::check(pool, &named, problems)
            }
            Some(Service::Tcp) | None => Vec::new(),
        });
    }
    check_addresses(&draft, problems);
    trial::check_drafts(&draft.tests, problems);
    if let Some(log) = &draft.access_log {
        check_access_log(log, draft.tree, problems);
    }
    if !problems.errors().is_empty() {
        return None;
    }
    for (pool, rules) in draft.pools.iter().zip(compiled) {
        rules::check_table(pool, rules, problems);
    }
    if !problems.errors().is_empty() {
        return None;
    }
    warn::document(&draft, problems);
    let tests = std::mem::take(&mut draft.tests);
    let nodes = draft.pools.iter().map(|pool| (PoolId::new(pool.id), pool.node.span)).collect();
    let (mut document, mut spans) = seal(draft, lists).expect("whatever is absent from a draft has been told");
    match trial {
        Trial::Now => trial::check(&mut document, tests, nodes, &mut spans, problems),
        Trial::Later => document.tests = Arc::new(trial::placed(tests, &mut spans).0),
    }
    problems.errors().is_empty().then(|| (Sealed::new(document), spans))
}

/// Those that could be read.
fn seal_lists(draft: &Draft<'_>) -> Lists {
    let sealed = draft.lists.iter().filter_map(|(id, list)| Some(((*id).into(), Arc::new(List::new(list.clone()?)))));
    // A table's keys are in order.
    Tree::from_sorted(sealed)
}

fn seal(draft: Draft<'_>, lists: Lists) -> Option<(Document, RuleSpans)> {
    let mut spans = RuleSpans::default();
    let pools = draft.pools.into_iter().map(|pool| pool_content(pool, &lists, &mut spans));
    let pools = pools.collect::<Option<Vec<_>>>()?;
    let mut divisions = division::divide(pools.iter());
    let sealed = pools.into_iter().map(|pool| {
        let division = divisions.remove(&pool.id);
        (pool.id.clone(), Arc::new(Sealed::new(PoolContent { division, ..pool })))
    });
    let pools = Tree::from_sorted(sealed);
    let (appliance, reload) = (draft.appliance?, draft.reload?);
    let (access_log, event_log) = (draft.access_log?, draft.event_log?);
    let tests = Arc::default();
    Some((Document { appliance, reload, access_log, event_log, lists, pools, tests }, spans))
}

/// All of it but what follows from the other pools.
pub(crate) fn pool_content(draft: PoolDraft<'_>, lists: &Lists, spans: &mut RuleSpans) -> Option<PoolContent> {
    let id = PoolId::new(draft.id);
    let (switches, create, limits, timeouts) = (draft.switches?, draft.create?, draft.limits?, draft.timeouts?);
    let service = create.service;
    let http = match service {
        Service::Tcp => None,
        Service::Http => {
            let rules = rules::seal(draft.rules)?;
            spans.push(id.clone(), rules.spans);
            Some(HttpContent {
                hosts: draft.hosts?,
                settings: draft.http?,
                timeouts: draft.http_timeouts?,
                lists: rules::named_lists(&rules.sealed, lists),
                rules: RuleList::of(rules.sealed),
                pages: page::seal(draft.pages)?,
            })
        }
    };
    // In the order of a table's keys, which is that of the ids.
    let groups = draft.groups.into_iter().map(|group| seal_group(group, service)).collect::<Option<Vec<_>>>()?;
    let groups = Tree::from_sorted(groups.into_iter().map(|group| (group.id.clone(), group)));
    Some(PoolContent { id, switches, create, limits, timeouts, http, groups, division: None })
}

pub(crate) fn seal_group(draft: GroupDraft<'_>, service: Service) -> Option<Arc<Group>> {
    let mut backends: Vec<_> = draft.backends.into_iter().map(|draft| Arc::new(Sealed::new(draft.backend))).collect();
    backends.sort_by(|a, b| a.id.cmp(&b.id));
    Some(Arc::new(Sealed::new(GroupContent {
        id: draft.id.into(),
        balancing: draft.balancing?,
        carries: match service {
            Service::Tcp => Carries::Tcp(draft.tcp?),
            Service::Http => Carries::Http { settings: draft.http?, retry: draft.retry?, eject: draft.eject },
        },
        health: draft.health,
        backends,
    })))
}

pub(crate) fn check_shards(pool: &PoolDraft<'_>, shards: Option<usize>, problems: &mut Problems) {
    let Some((create, count)) = pool.create.as_ref().zip(shards) else {
        return;
    };
    check_shards_of(pool.id, create.shards, count, span_at(pool.node, &["create", "shards"]), problems);
}

/// Of a pool on these shards, of an appliance that has so many.
pub(crate) fn check_shards_of(
    pool: &str,
    shards: Option<ShardSet>,
    count: usize,
    span: Option<Span>,
    problems: &mut Problems,
) {
    let Some(missing) = shards.and_then(|wanted| wanted.without(ShardSet::first(count)).iter().next()) else {
        return;
    };
    let message = format!("there is no shard {missing}: the appliance has {count}");
    let problem = Problem::error(Code::NotFound, pool_path(pool, "create.shards"), span, message);
    problems.push(problem.accepted(format!("numbers from 0 to {}", count - 1)));
}

fn check_groups(pool: &PoolDraft<'_>, problems: &mut Problems) {
    let path = pool_path(pool.id, "group");
    let groups = node_at(pool.node, &["group"]);
    match (pool.create.as_ref().map(|create| create.service), &pool.groups[..]) {
        // What rules answer themselves needs no backend.
        (Some(Service::Http), []) if !pool.rules.is_empty() => {}
        // A group that is something else than a table of tables is told as that.
        (_, []) if groups.is_none_or(|groups| groups.table().is_some_and(|table| table.entries.is_empty())) => {
            let message = format!("pool `{}` has no group of backends", pool.id);
            let problem = Problem::error(Code::Missing, path, pool.node.span, message);
            problems.push(problem.accepted(format!("[pool.{}.group.main], with any name for `main`", pool.id)));
        }
        (Some(Service::Tcp), [first, second, ..]) => {
            let message = format!("a TCP pool has one group, `{}` has {}", pool.id, pool.groups.len());
            problems
                .push(Problem::error(Code::TooMany, path, second.span, message).also("the first group", first.span));
        }
        (Some(Service::Tcp | Service::Http) | None, _) => {}
    }
    for group in &pool.groups {
        check_backends(pool.id, group, problems);
    }
}

fn check_backends(pool: &str, group: &GroupDraft<'_>, problems: &mut Problems) {
    let path = format!("{}.backend", group_path(pool, group.id));
    if group.backends.len() > policy::generation::Group::ENDPOINTS_MAX {
        let max = policy::generation::Group::ENDPOINTS_MAX;
        let message = format!("{} backends in one group, at most {max}", group.backends.len());
        problems.push(Problem::error(Code::TooMany, &path, group.span, message));
    }
    let mut ids: HashMap<&str, &BackendDraft<'_>> = HashMap::new();
    let mut addresses: HashMap<&Address, &BackendDraft<'_>> = HashMap::new();
    for draft in &group.backends {
        let backend = &draft.backend;
        let ix = draft.ix;
        let same_address = addresses.insert(&backend.address, draft);
        if let Some(first) = same_address {
            let message = format!("two backends of group `{}` are at `{}`", group.id, backend.address);
            let problem = Problem::error(
                Code::Duplicate,
                format!("{path}[{ix}].address"),
                span_at(draft.node, &["address"]),
                message,
            );
            problems.push(
                problem
                    .also("the first one", span_at(first.node, &["address"]))
                    .help("raise the `weight` of one instead"),
            );
        }
        // Ids that follow from equal addresses are equal too, which has just been told.
        if let Some(first) = ids.insert(&backend.id, draft).filter(|_| same_address.is_none()) {
            let message = format!("two backends of group `{}` are called `{}`", group.id, backend.id);
            let span = span_at(draft.node, &["id"]).or(draft.node.span);
            let problem = Problem::error(Code::Duplicate, format!("{path}[{ix}].id"), span, message);
            problems.push(problem.also("the first one", span_at(first.node, &["id"]).or(first.node.span)));
        }
    }
}

fn check_addresses(draft: &Draft<'_>, problems: &mut Problems) {
    let parties: Vec<Party<'_>> = draft.pools.iter().map(party).collect();
    let control_socket = draft.appliance.as_ref().and_then(|appliance| appliance.control_socket.as_deref());
    let span = span_at(draft.tree, &["appliance", "control_socket"]);
    overlap::check(control_socket.map(|path| (path, span)), &parties, problems);
}

/// Read from the document once more: what is wrong in a list leaves the rest of it, and its places, to compare.
fn party<'a>(pool: &'a PoolDraft<'_>) -> Party<'a> {
    let listen = node_at(pool.node, &["create", "listen"]).into_iter().flat_map(ListenList::items);
    let hosts = |node| HostList::items(node).map(|(host, node)| (host, node.span)).collect();
    Party {
        pool: pool.id,
        service: pool.create.as_ref().map(|create| create.service),
        shards: pool.create.as_ref().and_then(|create| create.shards),
        shards_span: span_at(pool.node, &["create", "shards"]),
        listen: listen.map(|(address, node)| (Cow::Owned(address), node.span)).collect(),
        hosts: node_at(pool.node, &["hosts"]).map(hosts),
    }
}

pub(crate) fn check_access_log(log: &AccessLog, tree: &Node, problems: &mut Problems) {
    if log.format == AccessFormat::Template && log.template.is_none() {
        let span = span_at(tree, &["log", "access", "format"]);
        let message = "lines that are written by a template need the `template`";
        let problem = Problem::error(Code::Missing, "log.access.template", span, message);
        problems.push(problem.accepted("a text such as \"{client_ip} {method} {uri} {status}\""));
    }
    if log.sink == LogSink::File && log.path.is_none() {
        let span = span_at(tree, &["log", "access", "sink"]);
        let problem =
            Problem::error(Code::Missing, "log.access.path", span, "a log that goes to a file needs the file's `path`");
        problems.push(problem.accepted("an absolute path"));
    }
}

pub(crate) fn node_at<'t>(node: &'t Node, path: &[&str]) -> Option<&'t Node> {
    path.iter().try_fold(node, |node, key| node.table()?.get(key))
}

pub(crate) fn span_at(node: &Node, path: &[&str]) -> Option<Span> {
    node_at(node, path)?.span
}

/// Path of something in a pool, for problems: whatever the pool is called.
pub(crate) fn pool_path(pool: &str, key: &str) -> String {
    format!("{}.{key}", At::ROOT.key("pool").key(pool))
}

/// Path of a group, for problems.
pub(crate) fn group_path(pool: &str, group: &str) -> String {
    At::ROOT.key("pool").key(pool).key("group").key(group).to_string()
}
