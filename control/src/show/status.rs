//! `sluicectl status`.

use super::page::Page;
use super::table::{Cell, Column, Table, painted};
use super::{BAD, DIM, GOOD, HEAD, WARN, connections_text, grouped, joined};
use crate::duration;
use anstyle::Style;
use api::Status;
use api::status::{BackendStatus, Health, ListenerState, ListenerStatus, PoolStatus, ShardState};
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
    if pool.backends.is_empty() {
        page.line(format_args!("  {WARN}no backends{WARN:#}"));
        return;
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
