//! What must agree between pools that have an address in common, so that each request is one pool's.

use crate::check::pool_path;
use crate::overlap::Party;
use crate::place::Span;
use crate::problem::{Code, Problem, Problems};
use policy::generation::Address;
use policy::http::HostTest;
use std::collections::{HashMap, HashSet};

/// A pool at an address, and where that is said.
pub(crate) type Sharer<'a> = (&'a Party<'a>, Option<Span>);

/// All that is wrong between the pools of each address, which are HTTP pools, two or more. What is wrong at several
/// addresses is told once.
pub(crate) fn check(shared: &[(&Address, Vec<Sharer<'_>>)], problems: &mut Problems) {
    let (mut told, mut told_of_shards, mut told_of_all) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (address, sharers) in shared {
        let (first, first_span) = sharers[0];
        for (pool, span) in &sharers[1..] {
            if pool.shards != first.shards && told_of_shards.insert((first.pool, pool.pool)) {
                problems.push(other_shards(address, (first, first_span), (pool, *span)));
            }
        }
        let mut all = sharers.iter().filter(|(pool, _)| pool.hosts.is_none());
        if let Some((first, first_span)) = all.next() {
            for (pool, span) in all.filter(|(pool, _)| told_of_all.insert((first.pool, pool.pool))) {
                let message = format!("pools `{}` and `{}` both take all hosts at `{address}`", first.pool, pool.pool);
                let path = pool_path(pool.pool, "hosts");
                let problem = Problem::error(Code::Clash, path, *span, message);
                problems.push(
                    problem
                        .accepted(format!(
                            "`hosts` for one of them, such as [pool.{}] hosts = [\"example.com\"]",
                            pool.pool
                        ))
                        .also(format!("`{address}` of pool `{}`", first.pool), *first_span),
                );
            }
        }
        let mut hosts: HashMap<&HostTest, (&Party<'_>, Option<Span>)> = HashMap::new();
        let named = sharers.iter().flat_map(|(pool, _)| pool.hosts.iter().flatten().map(move |host| (*pool, host)));
        for (pool, (host, span)) in named {
            let Some((first, first_span)) = hosts.insert(host, (pool, *span)) else { continue };
            hosts.insert(host, (first, first_span));
            // Twice in one list has been told by the list itself.
            if std::ptr::eq(first, pool) || !told.insert((first.pool, pool.pool, host)) {
                continue;
            }
            problems.push_error(|| {
                let message = format!("pools `{}` and `{}` both take `{host}` at `{address}`", first.pool, pool.pool);
                let problem = Problem::error(Code::Clash, pool_path(pool.pool, "hosts"), *span, message);
                let problem = problem.found(format!("\"{host}\"")).accepted("each host in one pool of an address");
                problem.also(format!("taken by pool `{}` here", first.pool), first_span)
            });
        }
    }
}

fn other_shards(address: &Address, (first, first_span): Sharer<'_>, (pool, span): Sharer<'_>) -> Problem {
    let message = format!(
        "pools `{}` and `{}` share `{address}`, whose sockets belong to the same shards for both",
        first.pool, pool.pool
    );
    let problem =
        Problem::error(Code::Clash, pool_path(pool.pool, "create.shards"), pool.shards_span.or(span), message);
    let problem = problem.accepted("the same `create.shards` in both, or an address for each");
    problem.also(format!("pool `{}`", first.pool), first.shards_span.or(first_span))
}
