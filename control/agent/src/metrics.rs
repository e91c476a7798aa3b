//! The metrics text: what the shards count, and what control knows.
//!
//! Figures of pools and backends are summed over the shards; figures of shards are told one by one.

use crate::exposition::{Exposition, Kind};
use crate::log::Summary;
use crate::names::Name;
use crate::publish::{Published, Shared};
use crate::self_check::Found;
use crate::status;
use api::status::{Health, ShardState};
use config::RunningPool;
use link::counters::{CounterSet, EndpointCounter, Kind as Counting, PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::generation::{Endpoint, Service};
use std::fmt::Display;

pub fn text(shared: &Shared) -> String {
    let published = shared.published.load();
    let mut text = Exposition::default();
    appliance(&mut text, shared, &published);
    shards(&mut text, shared, &published);
    pools(&mut text, shared, &published);
    endpoints(&mut text, shared, &published);
    requests(&mut text, shared, &published);
    logs(&mut text, shared);
    text.into_text()
}

fn kind(counting: Counting) -> Kind {
    match counting {
        Counting::Counter => Kind::Counter,
        Counting::Gauge => Kind::Gauge,
    }
}

fn appliance(text: &mut Exposition, shared: &Shared, published: &Published) {
    text.family("sluicegate_info", Kind::Gauge, "Always 1; the label says which version runs.")
        .sample(&[("version", &shared.version)], 1);
    text.family("sluicegate_uptime_seconds", Kind::Gauge, "Time since the appliance was started.")
        .sample(&[], shared.clock.uptime().as_secs());
    text.family("sluicegate_generation", Kind::Gauge, "Newest generation in force.")
        .sample(&[], status::generation(published));
    let mut jobs = text.family("sluicegate_jobs_total", Kind::Counter, "Jobs that have ended, by outcome and source.");
    for ((outcome, source), count) in shared.ended().iter() {
        jobs.sample(&[("outcome", outcome), ("source", source)], count);
    }
    text.family("sluicegate_jobs", Kind::Gauge, "Jobs that have not ended.").sample(&[], published.jobs.len());
    let mut checks = text.family(
        "sluicegate_self_check_total",
        Kind::Counter,
        "Pools as they run that were held against their document compiled from nothing, by result. Different is a defect.",
    );
    for found in Found::ALL {
        checks.sample(&[("result", &found.label())], shared.self_checks.of(found));
    }
    let retained = status::generations(shared);
    let mut bytes = text.family(
        "sluicegate_retained_bytes",
        Kind::Gauge,
        "Memory held by superseded parts that connections still use.",
    );
    for pool in &retained.pools {
        bytes.sample(&[("pool", &pool.pool)], pool.retained_bytes);
    }
    let mut parts =
        text.family("sluicegate_retained_parts", Kind::Gauge, "Superseded parts that connections still use.");
    for pool in &retained.pools {
        parts.sample(&[("pool", &pool.pool)], pool.pinned.len());
    }
}

fn shards(text: &mut Exposition, shared: &Shared, published: &Published) {
    let mut serving = text.family("sluicegate_shard_serving", Kind::Gauge, "1 while the shard serves, otherwise 0.");
    for view in &published.shards {
        serving.sample(&[("shard", &view.shard)], u8::from(view.state == ShardState::Serving));
    }
    let mut restarts = text.family(
        "sluicegate_shard_restarts_total",
        Kind::Counter,
        "Times the shard's executor had to be started again.",
    );
    for view in &published.shards {
        restarts.sample(&[("shard", &view.shard)], view.restarts);
    }
    for counter in ShardCounter::ALL {
        let mut family = text.family(counter.metric(), kind(counter.kind()), counter.help());
        for view in &published.shards {
            let value = shared.counted.pages[view.shard.ix()].shard(*counter);
            family.sample(&[("shard", &view.shard)], value);
        }
    }
}

fn pools(text: &mut Exposition, shared: &Shared, published: &Published) {
    let pools = &published.running.pools;
    let mut numbers =
        text.family("sluicegate_pool_generation", Kind::Gauge, "The generation that last changed the pool.");
    for (id, pool) in pools {
        numbers.sample(&[("pool", &Name::Pool(id))], pool.generation.number);
    }
    for counter in PoolCounter::ALL {
        let mut family = text.family(counter.metric(), kind(counter.kind()), counter.help());
        for (id, pool) in pools {
            family.sample(&[("pool", &Name::Pool(id))], shared.counted.pool(pool.generation.slot, *counter));
        }
    }
    let mut closed = text.family(PoolCounter::CLOSED_METRIC, Kind::Counter, PoolCounter::CLOSED_HELP);
    for (id, pool) in pools {
        for reason in CloseReason::ALL {
            let count = shared.counted.pool_closed(pool.generation.slot, *reason as usize);
            closed.sample(&[("pool", &Name::Pool(id)), ("reason", &reason.label())], count);
        }
    }
}

/// Requests of HTTP pools: by reason of their end, and how long they took.
fn requests(text: &mut Exposition, shared: &Shared, published: &Published) {
    let is_http = |pool: &&RunningPool| matches!(pool.generation.service, Service::Http(_));
    let pools = || published.running.pools.iter().filter(|(_, pool)| is_http(pool));
    let mut ended = text.family(PoolCounter::ENDED_METRIC, Kind::Counter, PoolCounter::ENDED_HELP);
    for (id, pool) in pools() {
        for reason in CloseReason::ALL {
            let count = shared.counted.pool_ended(pool.generation.slot, *reason as usize);
            if count > 0 {
                ended.sample(&[("pool", &Name::Pool(id)), ("reason", &reason.label())], count);
            }
        }
    }
    let help = "From the first byte of a request to the last one of its answer; quantiles of the last minutes.";
    let mut took = text.family("sluicegate_pool_request_seconds", Kind::Summary, help);
    for (id, pool) in pools() {
        let summary = shared.log_counts.latencies().pool(pool.generation.slot);
        took.summary(&[("pool", &Name::Pool(id))], &quantiles(summary), summary.count, seconds(summary.sum));
    }
    let help = "From the connection to a group's backend being there to the first byte of its answer.";
    let mut took = text.family("sluicegate_group_answer_seconds", Kind::Summary, help);
    for (id, pool) in pools() {
        for group in pool.content.groups.keys().filter_map(|id| pool.group(id)) {
            let slots = group.endpoints.iter().map(|endpoint| endpoint.slot);
            let summary = shared.log_counts.latencies().backends(slots);
            let labels: [(&str, &dyn Display); 2] = [("pool", &Name::Pool(id)), ("group", &group.id)];
            took.summary(&labels, &quantiles(summary), summary.count, seconds(summary.sum));
        }
    }
    let help = "From the connection to the backend being there to the first byte of its answer.";
    let mut took = text.family("sluicegate_endpoint_answer_seconds", Kind::Summary, help);
    each_endpoint(published, |labels, endpoint, _| {
        let summary = shared.log_counts.latencies().backends([endpoint.slot]);
        if summary.count > 0 {
            took.summary(labels, &quantiles(summary), summary.count, seconds(summary.sum));
        }
    });
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn quantiles(summary: Summary) -> Vec<(&'static str, f64)> {
    let recent = summary.recent.into_iter();
    recent
        .flat_map(|recent| [("0.5", recent.p50), ("0.9", recent.p90), ("0.99", recent.p99), ("1", recent.max)])
        .map(|(quantile, micros)| (quantile, seconds(micros)))
        .collect()
}

const _: () = assert!(CloseReason::COUNT <= PoolCounter::CLOSE_REASONS_MAX, "every reason has a cell");

fn endpoints(text: &mut Exposition, shared: &Shared, published: &Published) {
    for counter in EndpointCounter::ALL {
        let mut family = text.family(counter.metric(), kind(counter.kind()), counter.help());
        each_endpoint(published, |labels, endpoint, _| {
            family.sample(labels, shared.counted.endpoint(endpoint.slot, *counter));
        });
    }
    let mut up = text.family(
        "sluicegate_endpoint_up",
        Kind::Gauge,
        "1 while new connections may go to the backend for its health's sake, otherwise 0.",
    );
    each_endpoint(published, |labels, endpoint, checked| {
        let (health, _) = status::health(shared, endpoint.slot, &endpoint.address, checked);
        let up_now = match health {
            Health::Unchecked | Health::Unproven | Health::Up => 1,
            Health::Down | Health::Unresolved => 0,
        };
        up.sample(labels, up_now);
    });
}

fn each_endpoint(published: &Published, mut each: impl FnMut(&[(&str, &dyn Display)], &Endpoint, bool)) {
    for (id, pool) in &published.running.pools {
        for group in pool.content.groups.keys().filter_map(|id| pool.group(id)) {
            for endpoint in &group.endpoints {
                each(
                    &[("pool", &Name::Pool(id)), ("group", &group.id), ("backend", &endpoint.id)],
                    endpoint,
                    group.health.is_some(),
                );
            }
        }
    }
}

fn logs(text: &mut Exposition, shared: &Shared) {
    let counts = &shared.log_counts;
    text.family("sluicegate_log_lines_total", Kind::Counter, "Lines of the access log, lost ones included.")
        .sample(&[], counts.made());
    text.family(
        "sluicegate_log_lines_dropped_total",
        Kind::Counter,
        "Lines of the access log that were lost because the sink was too slow or failed.",
    )
    .sample(&[], counts.dropped());
    text.family("sluicegate_log_failures_total", Kind::Counter, "Times the sink of the access log failed.")
        .sample(&[], counts.failures());
}
