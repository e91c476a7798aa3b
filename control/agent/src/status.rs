//! Answers that change nothing, made of what control has published and of the shards' counters.
//!
//! Made on a thread of their own: a status of a hundred thousand backends is long work.

use crate::log::Summary;
use crate::publish::{Leaving, Published, Shared};
use api::status::{
    BackendRequests, BackendStatus, Generations, Health, KeptGeneration, Latency, ListenerState, ListenerStatus,
    PartKind, Percentiles, PinnedPart, PinningShard, PoolGenerations, PoolStatus, RequestsStatus, RunningConfig,
    ShardStatus, Status,
};
use config::RunningPool;
use link::counters::{EndpointCounter, PoolCounter, ShardCounter};
use policy::generation::{Address, Endpoint, Group, Health as Known, Service};
use policy::reload::rollout::Pin;
use policy::{EndpointSlot, PoolId};
use std::collections::BTreeMap;

pub fn status(shared: &Shared) -> Status {
    let published = shared.published.load();
    Status {
        pid: std::process::id(),
        version: shared.version.into(),
        uptime_seconds: shared.clock.uptime().as_secs(),
        generation: generation(&published),
        hash: published.running.config.hash().to_string(),
        config: published.source.clone(),
        stopping: published.stopping,
        shards: published.shards.iter().map(|shard| shard_status(shared, shard)).collect(),
        pools: published.running.pools.iter().map(|(id, pool)| pool_status(shared, &published, id, pool)).collect(),
    }
}

pub fn generation(published: &Published) -> u64 {
    published.running.generation.map_or(0, |generation| generation.0)
}

fn shard_status(shared: &Shared, view: &crate::publish::ShardView) -> ShardStatus {
    let page = &shared.counted.pages[view.shard.ix()];
    let generation = page.shard(ShardCounter::Generation);
    ShardStatus {
        shard: view.shard.0,
        state: view.state,
        generation: (generation > 0).then_some(generation),
        connections: page.shard(ShardCounter::Connections),
        accepted: page.shard(ShardCounter::Accepted),
        restarts: view.restarts,
    }
}

fn pool_status(shared: &Shared, published: &Published, id: &PoolId, pool: &RunningPool) -> PoolStatus {
    let counted = |counter| shared.counted.pool(pool.generation.slot, counter);
    let listening = pool
        .content
        .create
        .listen
        .iter()
        .map(|address| ListenerStatus { address: address.to_string(), state: ListenerState::Listening });
    let moving = published.listeners.iter().filter(|listener| listener.pool == *id);
    let moving = moving.map(|listener| ListenerStatus { address: listener.address.clone(), state: listener.state });
    // In the order of their names.
    let groups = || pool.content.groups.keys().filter_map(|id| pool.group(id));
    let named = groups().flat_map(|group| {
        let mut endpoints: Vec<&Endpoint> = group.endpoints.iter().map(|endpoint| &**endpoint).collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        endpoints.into_iter().map(move |endpoint| backend_status(shared, group, endpoint))
    });
    let leaving = published.leaving.iter().filter(|(_, leaving)| leaving.pool == *id);
    let leaving = leaving.map(|(slot, leaving)| {
        let group = pool.group(&leaving.group);
        leaving_status(shared, *slot, leaving, group.is_some_and(|group| group.health.is_some()))
    });
    PoolStatus {
        pool: id.to_string(),
        generation: pool.generation.number.0,
        connections: counted(PoolCounter::Connections),
        accepted: counted(PoolCounter::Accepted),
        queue: counted(PoolCounter::Waiting),
        requests: matches!(pool.generation.service, Service::Http(_)).then(|| requests_status(shared, pool)),
        groups: group_latencies(shared, pool),
        listeners: listening.chain(moving).collect(),
        backends: named.chain(leaving).collect(),
    }
}

fn requests_status(shared: &Shared, pool: &RunningPool) -> RequestsStatus {
    let slot = pool.generation.slot;
    let counted = |counter| shared.counted.pool(slot, counter);
    RequestsStatus {
        ended: counted(PoolCounter::Requests),
        answers: ANSWERS.map(counted),
        retries: counted(PoolCounter::RequestRetries),
        latency: latency(shared.log_counts.latencies().pool(slot)),
    }
}

const ANSWERS: [PoolCounter; 5] = [
    PoolCounter::Answers1xx,
    PoolCounter::Answers2xx,
    PoolCounter::Answers3xx,
    PoolCounter::Answers4xx,
    PoolCounter::Answers5xx,
];

fn group_latencies(shared: &Shared, pool: &RunningPool) -> BTreeMap<String, Latency> {
    let of_http = pool.generation.groups.values().filter(|group| group.http.is_some());
    let latencies = of_http.map(|group| {
        let backends = group.endpoints.iter().map(|endpoint| endpoint.slot);
        (group.id.to_string(), latency(shared.log_counts.latencies().backends(backends)))
    });
    latencies.collect()
}

pub fn latency(summary: Summary) -> Latency {
    let Summary { count, sum, recent } = summary;
    let recent =
        recent.map(|recent| Percentiles { p50: recent.p50, p90: recent.p90, p99: recent.p99, max: recent.max });
    Latency { count, sum, recent }
}

fn backend_requests(shared: &Shared, slot: EndpointSlot) -> BackendRequests {
    let counted = |counter| shared.counted.endpoint(slot, counter);
    BackendRequests {
        sent: counted(EndpointCounter::Requests),
        reused: counted(EndpointCounter::Reused),
        idle: counted(EndpointCounter::Idle),
        server_errors: counted(EndpointCounter::ServerErrors),
        broken: counted(EndpointCounter::Broken),
        ejected: counted(EndpointCounter::Ejected),
        latency: latency(shared.log_counts.latencies().backends([slot])),
    }
}

pub fn backend_status(shared: &Shared, group: &Group, endpoint: &Endpoint) -> BackendStatus {
    let (health, resolved) = health(shared, endpoint.slot, &endpoint.address, group.health.is_some());
    BackendStatus {
        group: group.id.to_string(),
        backend: endpoint.id.to_string(),
        address: endpoint.address.to_string(),
        resolved,
        health,
        connections: shared.counted.endpoint(endpoint.slot, EndpointCounter::Connections),
        requests: group.http.is_some().then(|| backend_requests(shared, endpoint.slot)),
        weight: endpoint.weight,
        drain: endpoint.drain,
        backup: endpoint.backup,
        max_connections: endpoint.max_connections,
        removed: false,
    }
}

fn leaving_status(shared: &Shared, slot: EndpointSlot, leaving: &Leaving, checked: bool) -> BackendStatus {
    let known = shared.board.state(slot).map_or(Known::Unproven, |state| state.health);
    BackendStatus {
        group: leaving.group.to_string(),
        backend: leaving.id.to_string(),
        address: leaving.address.clone(),
        resolved: Vec::new(),
        health: told(known, checked),
        connections: shared.counted.endpoint(slot, EndpointCounter::Connections),
        requests: None,
        weight: leaving.weight,
        drain: leaving.drain,
        backup: leaving.backup,
        max_connections: leaving.max_connections,
        removed: true,
    }
}

/// What is known of a backend, and where its name leads.
pub fn health(shared: &Shared, slot: EndpointSlot, address: &Address, checked: bool) -> (Health, Vec<String>) {
    let state = shared.board.state(slot);
    let known = state.as_ref().map_or(Known::Unproven, |state| state.health);
    let Address::Name { .. } = address else {
        return (told(known, checked), Vec::new());
    };
    let resolved: Vec<String> =
        state.iter().flat_map(|state| state.addresses.iter()).map(ToString::to_string).collect();
    let health = if resolved.is_empty() { Health::Unresolved } else { told(known, checked) };
    (health, resolved)
}

pub fn told(health: Known, checked: bool) -> Health {
    match health {
        _ if !checked => Health::Unchecked,
        Known::Unproven => Health::Unproven,
        Known::Up => Health::Up,
        Known::Down => Health::Down,
    }
}

pub fn config(shared: &Shared) -> RunningConfig {
    let published = shared.published.load();
    RunningConfig {
        generation: generation(&published),
        hash: published.running.config.hash().to_string(),
        source: published.source.clone(),
        document: published.running.config.to_toml(),
    }
}

/// What runs in each pool, and who holds what came before.
pub fn generations(shared: &Shared) -> Generations {
    let published = shared.published.load();
    let mut pools: BTreeMap<String, PoolGenerations> = BTreeMap::new();
    let new = |pool: &str, generation| PoolGenerations {
        pool: pool.into(),
        generation,
        retained_bytes: 0,
        pinned: Vec::new(),
    };
    for (id, pool) in &published.running.pools {
        pools.insert(id.to_string(), new(id.as_str(), Some(pool.generation.number.0)));
    }
    for (pin, pool) in published.pins.iter() {
        let entry = pools.entry(pool.clone()).or_insert_with(|| new(pool, None));
        entry.retained_bytes += pin.bytes;
        entry.pinned.push(pinned(pin));
    }
    Generations {
        generation: generation(&published),
        retained_bytes: pools.values().map(|pool| pool.retained_bytes).sum(),
        retained_bytes_max: published.running.config.reload.retained_max,
        pools: pools.into_values().collect(),
        kept: shared.kept().iter().map(kept).collect(),
    }
}

fn kept(kept: &crate::kept::KeptGeneration) -> KeptGeneration {
    let crate::kept::KeptGeneration { number, config, since } = kept;
    KeptGeneration { generation: number.0, hash: config.hash().to_string(), since: since.clone() }
}

fn pinned(pin: &Pin) -> PinnedPart {
    PinnedPart {
        generation: pin.number.0,
        part: if pin.is_root { PartKind::Pool } else { PartKind::TunnelPolicy },
        bytes: pin.bytes,
        // Shards tell when the last lease is gone, not how many there are.
        pinned_by: pin.held_by.iter().map(|shard| PinningShard { shard: shard.0, leases: None }).collect(),
    }
}
