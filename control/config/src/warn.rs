//! What is accepted and probably not meant. The same rules hold for documents and for typed orders.

use crate::check::{group_path, node_at, span_at};
use crate::document::Sealed;
use crate::draft::{Draft, PoolDraft};
use crate::keys::{AccessFormat, Algorithm, Backend, CheckWord, Health, LogSink};
use crate::place::Span;
use crate::problem::{Code, Problem, Problems};
use std::sync::Arc;

pub(crate) fn document(draft: &Draft<'_>, problems: &mut Problems) {
    if let Some(log) = &draft.access_log
        && log.path.is_some()
        && log.sink != LogSink::File
    {
        let message = format!("`path` has no effect while the sink is \"{}\"", log.sink.word());
        problems.push(Problem::warning(
            Code::NoEffect,
            "log.access.path",
            span_at(draft.tree, &["log", "access", "path"]),
            message,
        ));
    }
    if let Some(log) = &draft.access_log
        && log.template.is_some()
        && log.format != AccessFormat::Template
    {
        let message = format!("`template` has no effect while the format is \"{}\"", log.format.word());
        problems.push(Problem::warning(
            Code::NoEffect,
            "log.access.template",
            span_at(draft.tree, &["log", "access", "template"]),
            message,
        ));
    }
    draft.pools.iter().for_each(|pool| self::pool(pool, problems));
}

fn pool(pool: &PoolDraft<'_>, problems: &mut Problems) {
    let path = format!("pool.{}", pool.id);
    if let Some(timeouts) = &pool.timeouts
        && let (Some(idle), Some(lifetime)) = (timeouts.idle, timeouts.lifetime)
        && lifetime <= idle
        && node_at(pool.node, &["timeouts", "idle"]).is_some()
    {
        let span = span_at(pool.node, &["timeouts", "idle"]);
        let message = "`idle` has no effect: `lifetime` is not longer";
        problems.push(Problem::warning(Code::NoEffect, format!("{path}.timeouts.idle"), span, message));
    }
    for draft in &pool.groups {
        let backends = || draft.backends.iter().map(|draft| &draft.backend);
        group(pool.id, draft.id, draft.span, backends, problems);
        if let Some(health) = &draft.health {
            self::health(pool.id, draft.id, health, |key| span_at(draft.node, &["health", key]), problems);
        }
        if let Some(span) = span_at(draft.node, &["hash_on"])
            && draft.balancing.as_ref().is_some_and(|balancing| balancing.balance != Algorithm::Hash)
        {
            let path = format!("{}.hash_on", group_path(pool.id, draft.id));
            let message = "`hash_on` has no effect unless `balance` is \"hash\"";
            problems.push(Problem::warning(Code::NoEffect, path, span, message));
        }
        let listens = pool.create.iter().flat_map(|create| &create.listen);
        for address in listens {
            if let Some(looped) = draft.backends.iter().find(|draft| draft.backend.address == *address) {
                let path = format!("{}.backend[{}].address", group_path(pool.id, draft.id), looped.ix);
                let message = format!(
                    "pool `{}` is its own backend: a connection would come back until the tables are full",
                    pool.id
                );
                problems.push(Problem::warning(Code::Surprising, path, span_at(looped.node, &["address"]), message));
            }
        }
    }
}

/// Whether anybody is left to serve.
pub(crate) fn group<'b, I: Iterator<Item = &'b Backend>>(
    pool: &str,
    group: &str,
    span: Option<Span>,
    backends: impl Fn() -> I,
    problems: &mut Problems,
) {
    let none = |serves: fn(&Backend) -> bool| !backends().any(serves);
    let (code, what) = if none(|_| true) {
        (Code::NobodyServes, "has no backend: every connection will be closed")
    } else if none(|backend| backend.weight > 0) {
        (Code::NobodyServes, "has only backends of weight 0: every connection will be closed")
    } else if none(|backend| backend.weight > 0 && !backend.drain) {
        (Code::NobodyServes, "has only backends that drain: every new connection will be closed")
    } else if none(|backend| !backend.backup) {
        (Code::Surprising, "has only backup backends: they are used as if they were not")
    } else {
        return;
    };
    let message = format!("group `{group}` of pool `{pool}` {what}");
    problems.push(Problem::warning(code, group_path(pool, group), span, message));
}

/// The same for a group that is in force.
pub(crate) fn sealed_group(pool: &str, id: &str, backends: &[Arc<Sealed<Backend>>], problems: &mut Problems) {
    group(pool, id, None, || backends.iter().map(|backend| &***backend), problems);
}

fn health(pool: &str, group: &str, health: &Health, span: impl Fn(&str) -> Option<Span>, problems: &mut Problems) {
    if health.kind == CheckWord::Connect {
        for key in ["path", "host", "method", "status", "body"] {
            if let Some(span) = span(key) {
                let path = format!("{}.health.{key}", group_path(pool, group));
                let message = format!("`{key}` has no effect unless `kind` is \"http\"");
                problems.push(Problem::warning(Code::NoEffect, path, span, message));
            }
        }
    }
    if health.timeout > health.interval {
        let path = format!("{}.health.timeout", group_path(pool, group));
        let message = "`timeout` is longer than `interval`: checks of a silent backend come later than they should";
        let span = span("timeout").or(span("interval"));
        problems.push(Problem::warning(Code::Surprising, path, span, message));
    }
}
