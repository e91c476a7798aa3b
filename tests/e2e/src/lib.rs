//! What the end-to-end tests share: documents are written here, and answers read.
//!
//! The tests themselves are in `tests/appliance`, in `tests/requests` for pools of HTTP, and in `tests/real_clients` with
//! programs of others: one file a theme, one binary a folder.

#![forbid(unsafe_code)]

mod document;

pub use document::Pool;

use api::order::ConfigOf;
use api::status::{BackendStatus, PoolStatus, RunningConfig, Status};
use api::{Body, Drift, Order, Receipt};
use harness::appliance::{Appliance, tell};
use serde_json::Value;

/// A pool of a status. Panics when it is not there.
#[track_caller]
pub fn pool<'a>(status: &'a Status, id: &str) -> &'a PoolStatus {
    status.pools.iter().find(|pool| pool.pool == id).unwrap_or_else(|| panic!("there is no pool {id}: {status:?}"))
}

/// A backend of the first pool that has one of this name.
#[track_caller]
pub fn backend<'a>(status: &'a Status, id: &str) -> &'a BackendStatus {
    let backends = status.pools.iter().flat_map(|pool| &pool.backends);
    backends
        .clone()
        .find(|backend| backend.backend == id)
        .unwrap_or_else(|| panic!("there is no backend {id}: {status:?}"))
}

/// Gives an order that edits, as JSON has it. Panics when it is refused.
#[track_caller]
pub fn give(appliance: &Appliance, order: &Value) -> Receipt {
    let edit = serde_json::from_value(order.clone()).unwrap_or_else(|error| panic!("{error}: {order}"));
    appliance.change(Order::Edit(edit)).unwrap_or_else(|failure| panic!("{order}: {}", tell(&failure)))
}

/// The document of this generation, or of the one that runs.
#[track_caller]
pub fn document_of(appliance: &Appliance, generation: Option<u64>) -> RunningConfig {
    match appliance.call(Order::ConfigGet(ConfigOf { generation })) {
        Ok(Body::Config(running)) => running,
        other => panic!("a document was expected, not {other:?}"),
    }
}

#[track_caller]
pub fn drift(appliance: &Appliance) -> Drift {
    match appliance.call(Order::Drift) {
        Ok(Body::Drift(drift)) => drift,
        other => panic!("a drift was expected, not {other:?}"),
    }
}

/// The close reasons of these lines of the access log, sorted.
pub fn reasons(log: &[Value]) -> Vec<&str> {
    let mut reasons: Vec<&str> = log.iter().map(|line| line["reason"].as_str().unwrap_or("?")).collect();
    reasons.sort_unstable();
    reasons
}

/// The sum of all samples of this metric whose labels contain each of these `name="value"`.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let values = samples.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
        (found == name && labels.iter().all(|label| found_labels.contains(label)))
            .then(|| value.parse::<f64>().expect("a sample is a number"))
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_labels() {
        let text =
            "# HELP x y\nx{pool=\"a\",shard=\"0\"} 1\nx{pool=\"a\",shard=\"1\"} 2\nx{pool=\"b\",shard=\"0\"} 4\nxy 8\n";
        assert_eq!(metric(text, "x", &["pool=\"a\""]), 3.0);
        assert_eq!(metric(text, "x", &[]), 7.0);
        assert_eq!(metric(text, "xy", &[]), 8.0);
    }
}
