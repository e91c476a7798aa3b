//! How long requests take, by pool and by backend: what percentiles in `status` and metrics are made of.
//!
//! Owns one histogram for each slot that has served requests: of pools the whole request, from its first byte to the last
//! of its answer; of backends what the backend itself took, from the connection being there to the answer's first byte.
//! Percentiles are those of the last one to two minutes; count and sum are since the start.

use hdrhistogram::Histogram;
use policy::record::RequestRecord;
use policy::{EndpointSlot, PoolSlot};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Percentiles forget what is older than two of these.
const WINDOW: Duration = Duration::from_secs(60);

/// Backends of which latencies are kept: each takes some kilobytes. Beyond, only their pools' are.
const BACKENDS_MAX: usize = 10_000;

/// Values are exact to one part in a hundred.
const DIGITS: u8 = 2;

/// See the module.
#[derive(Debug, Default)]
pub struct Latencies {
    pools: BTreeMap<PoolSlot, Series>,
    backends: BTreeMap<EndpointSlot, Series>,
}

#[derive(Debug)]
struct Series {
    /// The window under way and the one before.
    windows: [Histogram<u64>; 2],
    turned: Instant,
    count: u64,
    sum_micros: u64,
}

/// Of one pool or backend, or of several together. Unit: microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    pub count: u64,
    pub sum: u64,
    /// Of the last minutes; `None` where there were no requests.
    pub recent: Option<Percentiles>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Series {
    fn new(now: Instant) -> Series {
        let empty = || Histogram::new(DIGITS).expect("two digits are allowed");
        Series { windows: [empty(), empty()], turned: now, count: 0, sum_micros: 0 }
    }

    fn turn(&mut self, now: Instant) {
        let windows = now.duration_since(self.turned).as_secs() / WINDOW.as_secs();
        if windows > 0 {
            self.windows.swap(0, 1);
            self.windows[0].reset();
            if windows > 1 {
                self.windows[1].reset();
            }
            self.turned = now;
        }
    }

    fn record(&mut self, micros: u64, now: Instant) {
        self.turn(now);
        // It grows by itself, as far as time goes.
        let _ = self.windows[0].record(micros.max(1));
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }
}

impl Latencies {
    pub fn record(&mut self, record: &RequestRecord, now: Instant) {
        // How long a tunnel lasts says nothing of how fast its request was answered.
        let took = if record.status == 101 { record.first_byte_micros.into() } else { record.duration_micros };
        self.pools.entry(record.pool).or_insert_with(|| Series::new(now)).record(took, now);
        let (Some(backend), 1..) = (record.endpoint, record.first_byte_micros) else { return };
        if self.backends.len() < BACKENDS_MAX || self.backends.contains_key(&backend) {
            let answer = record.first_byte_micros.saturating_sub(record.connect_micros);
            self.backends.entry(backend).or_insert_with(|| Series::new(now)).record(answer.into(), now);
        }
    }

    pub fn forget_pool(&mut self, pool: PoolSlot) {
        self.pools.remove(&pool);
    }

    pub fn forget_backend(&mut self, backend: EndpointSlot) {
        self.backends.remove(&backend);
    }

    pub fn pool(&mut self, pool: PoolSlot) -> Summary {
        summary(self.pools.get_mut(&pool).into_iter())
    }

    /// Of these backends together: of one, or of a group.
    pub fn backends(&mut self, backends: impl IntoIterator<Item = EndpointSlot>) -> Summary {
        let mut wanted = backends.into_iter().peekable();
        let Some(first) = wanted.next() else { return Summary::default() };
        if wanted.peek().is_none() {
            return summary(self.backends.get_mut(&first).into_iter());
        }
        let wanted: std::collections::BTreeSet<EndpointSlot> = wanted.chain([first]).collect();
        summary(self.backends.iter_mut().filter(|(slot, _)| wanted.contains(slot)).map(|(_, series)| series))
    }
}

fn summary<'s>(series: impl Iterator<Item = &'s mut Series>) -> Summary {
    let now = Instant::now();
    let mut all = Histogram::<u64>::new(DIGITS).expect("two digits are allowed");
    let mut summary = Summary::default();
    for series in series {
        series.turn(now);
        summary.count += series.count;
        summary.sum = summary.sum.saturating_add(series.sum_micros);
        for window in &series.windows {
            // It grows by itself, and nothing in it is beyond what one can hold.
            let _ = all.add(window);
        }
    }
    summary.recent = (!all.is_empty()).then(|| Percentiles {
        p50: all.value_at_quantile(0.5),
        p90: all.value_at_quantile(0.9),
        p99: all.value_at_quantile(0.99),
        max: all.max(),
    });
    summary
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::request;
    use super::*;

    fn record(backend: u32, first_byte: u32, duration: u64) -> RequestRecord {
        RequestRecord {
            endpoint: Some(EndpointSlot(backend)),
            connect_micros: 100,
            first_byte_micros: first_byte,
            duration_micros: duration,
            ..request()
        }
    }

    #[test]
    fn a_request_that_became_a_tunnel_took_as_long_as_the_switch() {
        let mut latencies = Latencies::default();
        latencies.record(&RequestRecord { status: 101, ..record(1, 1_100, 3_600_000_000) }, Instant::now());
        assert_eq!((latencies.pool(PoolSlot(1)).count, latencies.pool(PoolSlot(1)).sum), (1, 1_100));
    }

    #[test]
    fn percentiles_are_of_the_last_minutes_and_sums_of_all() {
        let mut latencies = Latencies::default();
        let now = Instant::now();
        let before = now.checked_sub(10 * WINDOW).unwrap_or(now);
        latencies.record(&record(1, 1_100, 60_000_000), before);
        for micros in 1..=100 {
            latencies.record(&record(1, 100 + micros, u64::from(micros) * 1_000), now);
        }
        let pool = latencies.pool(PoolSlot(1));
        assert_eq!((pool.count, pool.sum), (101, 60_000_000 + 5_050_000));
        if before < now {
            let recent = pool.recent.unwrap();
            assert!((49_000..=51_500).contains(&recent.p50), "{recent:?}");
            assert!((99_000..=101_500).contains(&recent.max), "{recent:?}");
        }
        let backend = latencies.backends([EndpointSlot(1)]);
        assert_eq!((backend.count, backend.sum), (101, 1_000 + 5_050));
    }

    #[test]
    fn a_group_is_its_backends_together() {
        let mut latencies = Latencies::default();
        let now = Instant::now();
        latencies.record(&record(1, 1_100, 1), now);
        latencies.record(&record(2, 3_100, 1), now);
        latencies.record(&record(3, 9_100, 1), now);
        latencies.record(&record(1, 0, 1), now);
        let group = latencies.backends([EndpointSlot(1), EndpointSlot(2)]);
        assert_eq!((group.count, group.sum), (2, 4_000));
        assert_eq!(latencies.backends([]), Summary::default());
        latencies.forget_backend(EndpointSlot(1));
        assert_eq!(latencies.backends([EndpointSlot(1)]), Summary::default());
        assert_eq!(latencies.pool(PoolSlot(1)).count, 4);
        latencies.forget_pool(PoolSlot(1));
        assert_eq!(latencies.pool(PoolSlot(1)), Summary::default());
    }
}
