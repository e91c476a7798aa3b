//! Draft to Config: what must agree between values.
//!
//! Errors are contradictions: something missing, double, dangling or clashing. What is merely strange is a
//! warning, and only a document without errors is warned about.

use crate::address::ListenList;
use crate::document::{Config, Document, Group, GroupContent, Pool, PoolContent, Sealed};
use crate::draft::{BackendDraft, Draft, GroupDraft, PoolDraft};
use crate::form::Shards;
use crate::keys::{AccessLog, LogSink, Service};
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems};
use crate::tree::Node;
use crate::warn;
use policy::generation::Address;
use policy::{PoolId, ShardSet};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// `None`: there are errors, all of them in `problems`.
pub(crate) fn check(draft: Draft<'_>, shards_auto: usize, problems: &mut Problems) -> Option<Config> {
    let shards = draft.appliance.as_ref().map(|appliance| match appliance.shards {
        Shards::Auto => shards_auto.clamp(1, ShardSet::MAX),
        Shards::Count(count) => count as usize,
    });
    for pool in &draft.pools {
        check_shards(pool, shards, problems);
        check_groups(pool, problems);
    }
    check_addresses(&draft, problems);
    if let Some(log) = &draft.access_log {
        check_access_log(log, draft.tree, problems);
    }
    if !problems.errors().is_empty() {
        return None;
    }
    warn::document(&draft, problems);
    let pools = draft.pools.into_iter().map(seal_pool).collect::<Option<BTreeMap<_, _>>>();
    let config = Some(Sealed::new(Document {
        appliance: draft.appliance?,
        reload: draft.reload?,
        access_log: draft.access_log?,
        event_log: draft.event_log?,
        pools: pools?,
    }));
    // Whatever is absent from a draft has been told, so without errors nothing is absent.
    assert!(config.is_some());
    config
}

fn seal_pool(draft: PoolDraft<'_>) -> Option<(PoolId, Arc<Pool>)> {
    let id = PoolId::new(draft.id);
    let [group] = <[GroupDraft<'_>; 1]>::try_from(draft.groups).ok()?;
    let group = seal_group(group.id, group)?;
    let (switches, create, limits, timeouts) = (draft.switches?, draft.create?, draft.limits?, draft.timeouts?);
    let pool = Sealed::new(PoolContent { id: id.clone(), switches, create, limits, timeouts, group });
    Some((id, Arc::new(pool)))
}

fn seal_group(id: &str, draft: GroupDraft<'_>) -> Option<Arc<Group>> {
    let mut backends: Vec<_> = draft.backends.into_iter().map(|draft| Arc::new(Sealed::new(draft.backend))).collect();
    backends.sort_by(|a, b| a.id.cmp(&b.id));
    Some(Arc::new(Sealed::new(GroupContent {
        id: id.into(),
        balancing: draft.balancing?,
        health: draft.health,
        backends,
    })))
}

fn check_shards(pool: &PoolDraft<'_>, shards: Option<usize>, problems: &mut Problems) {
    let Some((create, count)) = pool.create.as_ref().zip(shards) else {
        return;
    };
    let Some(missing) = create.shards.and_then(|wanted| wanted.without(ShardSet::first(count)).iter().next()) else {
        return;
    };
    let message = format!("there is no shard {missing}: the appliance has {count}");
    let path = pool_path(pool.id, "create.shards");
    let problem = Problem::error(Code::NotFound, path, span_at(pool.node, &["create", "shards"]), message);
    problems.push(problem.accepted(format!("numbers from 0 to {}", count - 1)));
}

fn check_groups(pool: &PoolDraft<'_>, problems: &mut Problems) {
    let path = pool_path(pool.id, "group");
    // A later service may have several groups; this match will then ask what its rules are.
    match pool.create.as_ref().map(|create| create.service) {
        Some(Service::Tcp) | None => match &pool.groups[..] {
            [] if span_at(pool.node, &["group"]).is_none() => {
                let message = format!("pool `{}` has no group of backends", pool.id);
                let problem = Problem::error(Code::Missing, path, pool.node.span, message);
                problems.push(problem.accepted(format!("[pool.{}.group.main], with any name for `main`", pool.id)));
            }
            [] | [_] => {}
            [first, second, ..] => {
                let message = format!("a TCP pool has one group, `{}` has {}", pool.id, pool.groups.len());
                problems.push(
                    Problem::error(Code::TooMany, path, second.span, message).also("the first group", first.span),
                );
            }
        },
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

/// One address leads to one pool. Overlaps are found as `bind` would find them.
fn check_addresses(draft: &Draft<'_>, problems: &mut Problems) {
    let mut taken = Taken::default();
    if let Some(path) = draft.appliance.as_ref().and_then(|appliance| appliance.control_socket.as_ref()) {
        let span = span_at(draft.tree, &["appliance", "control_socket"]);
        taken.unix.insert(path, Holder { who: "the control socket".into(), span });
    }
    let lists: Vec<(&PoolDraft<'_>, Vec<(Address, &Node)>)> = draft
        .pools
        .iter()
        .filter_map(|pool| Some((pool, ListenList::items(node_at(pool.node, &["create", "listen"])?).collect())))
        .collect();
    for (pool, list) in &lists {
        for (address, node) in list {
            let holder = Holder { who: format!("pool `{}`", pool.id), span: node.span };
            if let Some((first, text)) = taken.take(address, holder) {
                // Twice in one list has been told by the list itself.
                if first.who == format!("pool `{}`", pool.id) && text == address.to_string() {
                    continue;
                }
                let message = match text == address.to_string() {
                    true => format!("pool `{}` listens on `{address}`, and so does {}", pool.id, first.who),
                    false => {
                        format!("pool `{}` listens on `{address}`, which overlaps `{text}` of {}", pool.id, first.who)
                    }
                };
                let problem = Problem::error(Code::Clash, pool_path(pool.id, "create.listen"), node.span, message);
                problems.push(
                    problem.found(format!("\"{address}\"")).also(format!("taken by {} here", first.who), first.span),
                );
            }
        }
    }
}

/// Addresses that are in use so far.
#[derive(Default)]
struct Taken<'a> {
    unix: HashMap<&'a Path, Holder>,
    /// By port and family; the unspecified address among them is the one that overlaps all others.
    ip: HashMap<(u16, bool), BTreeMap<SocketAddr, Holder>>,
}

#[derive(Clone)]
struct Holder {
    who: String,
    span: Option<Span>,
}

impl<'a> Taken<'a> {
    /// `Some`: it is not free; who has it, and as what address.
    fn take(&mut self, address: &'a Address, holder: Holder) -> Option<(Holder, String)> {
        match address {
            Address::Unix(path) => match self.unix.get(&**path) {
                Some(first) => Some((first.clone(), address.to_string())),
                None => {
                    self.unix.insert(path, holder);
                    None
                }
            },
            Address::Ip(address) => {
                // IPv6 sockets are bound for IPv6 only, so the families never overlap.
                let same_port = self.ip.entry((address.port(), address.is_ipv6())).or_default();
                // The kernel gives each port 0 a port of its own, so only equal ones clash, as identities.
                let wild = |ip: IpAddr| ip.is_unspecified() && address.port() != 0;
                let first = same_port.get_key_value(address).or_else(|| match wild(address.ip()) {
                    true => same_port.first_key_value(),
                    false => same_port.first_key_value().filter(|(first, _)| wild(first.ip())),
                });
                if let Some((first_address, first)) = first {
                    return Some((first.clone(), first_address.to_string()));
                }
                same_port.insert(*address, holder);
                None
            }
            Address::Name { .. } => unreachable!("the form of `listen` takes no names"),
        }
    }
}

fn check_access_log(log: &AccessLog, tree: &Node, problems: &mut Problems) {
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
fn pool_path(pool: &str, key: &str) -> String {
    format!("{}.{key}", At::ROOT.key("pool").key(pool))
}

/// Path of a group, for problems.
pub(crate) fn group_path(pool: &str, group: &str) -> String {
    At::ROOT.key("pool").key(pool).key("group").key(group).to_string()
}
