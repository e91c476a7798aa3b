//! `sluicectl status`.

use super::page::Page;
use super::table::{Cell, Column, Table, painted};
use super::{BAD, DIM, GOOD, HEAD, WARN, connections_text, grouped, joined};
use crate::duration;
use anstyle::Style;
use api::Status;
use api::status::{
    BackendRequests, BackendStatus, Health, ListenerState, ListenerStatus, PoolStatus, RequestsStatus, ShardState,
};
use std::time::Duration;

pub fn status(status: &Status) -> String {
    let mut page = Page::new();
    let stopping = if status.stopping { ", stopping" } else { "" };
    page.line(format_args!(
        "{HEAD}sluicegate {}{HEAD:#}  pid {}, up {}{WARN}{stopping}{WARN:#}",
        status.version,
        status.pid,
        duration::shown(Duration::from_secs(status.uptime_seconds))
    ));
    page.line(format_args!("generation {}  {DIM}{}{DIM:#}", status.generation, status.hash));
    page.line(format_args!("from {}", status.config));
    page.gap();
    draw_shards(status, &mut page);
    for pool in &status.pools {
        page.gap();
        draw_pool(pool, &mut page);
    }
    page.text()
}

fn draw_shards(status: &Status, page: &mut Page) {
    let mut table = Table::new(
        0,
        &[
            Column::Right("SHARD"),
            Column::Left("STATE"),
            Column::Right("GENERATION"),
            Column::Right("CONNECTIONS"),
            Column::Right("ACCEPTED"),
            Column::Left(""),
        ],
    );
    for shard in &status.shards {
        let state = match shard.state {
            ShardState::Serving => GOOD,
            ShardState::Starting | ShardState::Stopping => WARN,
            ShardState::Lost | ShardState::Dead => BAD,
        };
        let generation = match shard.generation {
            Some(generation) => generation.to_string(),
            None => "-".to_owned(),
        };
        let restarts = match shard.restarts {
            0 => String::new(),
            1 => "started again once".to_owned(),
            times => format!("started again {times} times"),
        };
        table.row([
            Cell::from(shard.shard.to_string()),
            painted(state, shard.state),
            Cell::from(generation),
            Cell::from(grouped(shard.connections)),
            Cell::from(grouped(shard.accepted)),
            painted(WARN, restarts),
        ]);
    }
    table.draw(page);
}

fn draw_pool(pool: &PoolStatus, page: &mut Page) {
    let queued = match pool.queue {
        0 => String::new(),
        queue => format!(", {} waiting for a backend", grouped(queue)),
    };
    page.line(format_args!(
        "{HEAD}{}@{}{HEAD:#}  {}{queued}, {} accepted",
        pool.pool,
        pool.generation,
        connections_text(pool.connections),
        grouped(pool.accepted)
    ));
    let listeners = joined(pool.listeners.iter().map(listener_text));
    page.wrapped(2, &format!("listens on {listeners}"));
    if let Some(requests) = &pool.requests {
        draw_requests(requests, page);
    }
    if pool.backends.is_empty() {
        page.line(format_args!("  {WARN}no backends{WARN:#}"));
        return;
    }
    if pool.requests.is_some() {
        return draw_http_backends(pool, page);
    }
    let mut table = Table::new(
        2,
        &[
            Column::Left("BACKEND"),
            Column::Left("ADDRESS"),
            Column::Left("HEALTH"),
            Column::Right("CONNECTIONS"),
            Column::Right("WEIGHT"),
            Column::Left(""),
        ],
    );
    for backend in &pool.backends {
        table.row([
            Cell::from(backend.backend.as_str()),
            Cell::from(backend.address.as_str()),
            painted(health_style(backend.health), backend.health),
            Cell::from(grouped(backend.connections)),
            Cell::from(backend.weight.to_string()),
            painted(DIM, remarks(backend)),
        ]);
    }
    table.draw(page);
}

fn draw_requests(requests: &RequestsStatus, page: &mut Page) {
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(requests.answers);
    let mut parts: Vec<String> = Vec::new();
    parts.extend(classes.filter(|(_, count)| *count > 0).map(|(class, count)| format!("{} {class}", grouped(count))));
    if requests.retries > 0 {
        parts.push(format!("{} sent again", grouped(requests.retries)));
    }
    if let Some(recent) = requests.latency.recent {
        let [p50, p99] = [recent.p50, recent.p99].map(micros_text);
        parts.push(format!("half within {p50}, 99 % within {p99}"));
    }
    let parts: String = parts.iter().map(|part| format!(", {part}")).collect();
    page.wrapped(2, &format!("{} requests{parts}", grouped(requests.ended)));
}

/// As short as it is still told apart.
fn micros_text(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

fn draw_http_backends(pool: &PoolStatus, page: &mut Page) {
    let mut table = Table::new(
        2,
        &[
            Column::Left("GROUP"),
            Column::Left("BACKEND"),
            Column::Left("HEALTH"),
            Column::Right("BUSY"),
            Column::Right("IDLE"),
            Column::Right("REQUESTS"),
            Column::Right("REUSED"),
            Column::Right("ERRORS"),
            Column::Right("P99"),
            Column::Left(""),
        ],
    );
    for backend in &pool.backends {
        let none = BackendRequests::default();
        let requests = backend.requests.as_ref().unwrap_or(&none);
        let errors = requests.server_errors + requests.broken;
        let reused = (requests.reused * 100).checked_div(requests.sent).map_or("-".into(), |part| format!("{part} %"));
        table.row([
            Cell::from(backend.group.as_str()),
            Cell::from(backend.backend.as_str()),
            painted(health_style(backend.health), backend.health),
            Cell::from(grouped(backend.connections)),
            Cell::from(grouped(requests.idle)),
            Cell::from(grouped(requests.sent)),
            Cell::from(reused),
            painted(if errors > 0 { BAD } else { Style::new() }, grouped(errors)),
            Cell::from(requests.latency.recent.map_or("-".into(), |recent| micros_text(recent.p99))),
            painted(DIM, remarks(backend)),
        ]);
    }
    table.draw(page);
}

fn listener_text(listener: &ListenerStatus) -> String {
    match listener.state {
        ListenerState::Listening => listener.address.clone(),
        state => format!("{} ({state})", listener.address),
    }
}

pub fn health_style(health: Health) -> Style {
    match health {
        Health::Up => GOOD,
        Health::Unchecked => Style::new(),
        Health::Unproven => WARN,
        Health::Down | Health::Unresolved => BAD,
    }
}

pub fn remarks(backend: &BackendStatus) -> String {
    let mut remarks = Vec::new();
    if backend.requests.as_ref().is_some_and(|requests| requests.ejected > 0) {
        remarks.push("ejected".to_owned());
    }
    if backend.removed {
        remarks.push("removed".to_owned());
    }
    if backend.drain {
        remarks.push("drain".to_owned());
    }
    if backend.backup {
        remarks.push("backup".to_owned());
    }
    if let Some(max) = backend.max_connections {
        remarks.push(format!("max {}", grouped(max.into())));
    }
    if !backend.resolved.is_empty() {
        remarks.push(format!("-> {}", joined(&backend.resolved)));
    }
    remarks.join(" ")
}
