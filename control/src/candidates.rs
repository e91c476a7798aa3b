//! Words that a shell offers while a command is being typed: names that the running appliance knows.
//!
//! Whoever presses a key waits for it, so the appliance has [`PATIENCE`]; if none answers, nothing is offered.

use api::status::{BackendStatus, PoolStatus};
use api::{Body, Client, Order, Patience, Reply};
use clap_complete::CompletionCandidate;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(500);

pub fn pools(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, known_pools().into_iter().map(|pool| pool.pool))
}

pub fn groups(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, meant_backends().into_iter().map(|backend| backend.group))
}

pub fn backends(current: &OsStr) -> Vec<CompletionCandidate> {
    let present = meant_backends().into_iter().filter(|backend| !backend.removed);
    offered(current, present.map(|backend| backend.backend))
}

/// Addresses that the pools of the line listen on.
pub fn addresses(current: &OsStr) -> Vec<CompletionCandidate> {
    let listeners = meant_pools().into_iter().flat_map(|pool| pool.listeners);
    offered(current, listeners.map(|listener| listener.address))
}

/// Rules that have a name of their own. What the others are called follows from what they ask, and is not in the document.
pub fn rules(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(Body::Config(config)) = ask(Order::ConfigGet(Default::default())) else { return Vec::new() };
    let Ok(document) = config.document.parse::<toml::Table>() else { return Vec::new() };
    let typed = typed();
    let pools = document.get("pool").and_then(toml::Value::as_table).into_iter().flatten();
    let meant = pools.filter(|(pool, _)| typed.contains(pool));
    let rules = meant.filter_map(|(_, pool)| pool.get("rule")?.as_array()).flatten();
    offered(current, rules.filter_map(|rule| rule.get("id")?.as_str().map(str::to_owned)))
}

pub fn keys(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(Body::Keys(keys)) = ask(Order::Keys(Default::default())) else { return Vec::new() };
    offered(current, keys.keys.into_iter().map(|key| key.path))
}

fn offered(current: &OsStr, words: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let words: BTreeSet<String> = words.filter(|word| word.starts_with(current)).collect();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// Of the pools that the line names, or of all.
fn meant_backends() -> Vec<BackendStatus> {
    meant_pools().into_iter().flat_map(|pool| pool.backends).collect()
}

/// Those that the line names, or all.
fn meant_pools() -> Vec<PoolStatus> {
    let (pools, typed) = (known_pools(), typed());
    let (named, others): (Vec<_>, Vec<_>) = pools.into_iter().partition(|pool| typed.contains(&pool.pool));
    if named.is_empty() { others } else { named }
}

fn known_pools() -> Vec<PoolStatus> {
    match ask(Order::Status) {
        Some(Body::Status(status)) => status.pools,
        _ => Vec::new(),
    }
}

fn ask(order: Order) -> Option<Body> {
    let typed = typed();
    let named = typed.iter().position(|word| word == "--socket").and_then(|at| typed.get(at + 1));
    let socket = named.map_or_else(|| api::find_socket().ok(), |path| Some(PathBuf::from(path)))?;
    let mut client = Client::connect(&socket).ok()?.with_patience(Patience::Fixed(PATIENCE));
    match client.call(order, |_| ()).ok()?.reply {
        Reply::Ok { result } => Some(result),
        Reply::Error { .. } | Reply::Processing { .. } => None,
    }
}

/// The line so far. The shell's part of the completions hands it over behind `--`.
fn typed() -> Vec<String> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    words.filter_map(|word| word.into_string().ok()).collect()
}
