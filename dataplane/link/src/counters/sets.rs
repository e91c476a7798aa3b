//! Every counter, once: its name here, in metrics, its kind and what it says.

/// What a figure does over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// What is there now, or a high-water mark.
    Gauge,
}

impl Kind {
    /// The word of the Prometheus text format.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        }
    }
}

/// Where in its row a counter lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell(u16);

impl Cell {
    #[inline]
    pub(super) fn ix(self) -> usize {
        self.0 as usize
    }
}

/// The counters of one kind of row.
pub trait CounterSet: Copy + Sized + 'static {
    /// All of them, in the order of their cells.
    const ALL: &'static [Self];
    /// Cells of a row. At least as many as there are counters.
    const CELLS: usize;

    fn cell(self) -> Cell;
    /// The metric's full name.
    fn metric(self) -> &'static str;
    fn kind(self) -> Kind;
    /// One sentence for `# HELP`.
    fn help(self) -> &'static str;
}

/// Defines a set: `Name = "metric", Kind, "help";` in the order of the cells. `+ n` reserves cells after them.
macro_rules! counter_set {
    ($(#[$doc:meta])* $set:ident $(+ $reserved:path)? { $($name:ident = $metric:literal, $kind:ident, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum $set { $(#[doc = $help] $name,)* }

        impl $set {
            /// As [`CounterSet::ALL`].
            pub const ALL: &'static [$set] = &[$($set::$name,)*];
            /// As [`CounterSet::CELLS`].
            pub const CELLS: usize = $set::ALL.len() $(+ $reserved)?;
        }

        impl CounterSet for $set {
            const ALL: &'static [$set] = $set::ALL;
            const CELLS: usize = $set::CELLS;

            #[inline]
            fn cell(self) -> Cell {
                Cell(self as u16)
            }
            fn metric(self) -> &'static str {
                match self { $($set::$name => $metric,)* }
            }
            fn kind(self) -> Kind {
                match self { $($set::$name => Kind::$kind,)* }
            }
            fn help(self) -> &'static str {
                match self { $($set::$name => $help,)* }
            }
        }
    };
}

counter_set! {
    /// Figures of one shard.
    ShardCounter {
        Accepted = "sluicegate_shard_accepted_total", Counter, "Connections accepted from the kernel.";
        Connections = "sluicegate_shard_connections", Gauge, "Front connections open now.";
        HandedOverOut = "sluicegate_shard_handed_over_out_total", Counter, "Accepted connections given to a less loaded shard.";
        HandedOverIn = "sluicegate_shard_handed_over_in_total", Counter, "Accepted connections taken from a more loaded shard.";
        AcceptErrors = "sluicegate_shard_accept_errors_total", Counter, "Accepts that failed for another reason than descriptors.";
        DescriptorsExhausted = "sluicegate_shard_descriptors_exhausted_total", Counter, "Times no descriptor was free (EMFILE, ENFILE).";
        Panics = "sluicegate_shard_panics_total", Counter, "Handlers that panicked, each at the cost of one connection.";
        RingEnters = "sluicegate_shard_ring_enters_total", Counter, "System calls that submitted to and reaped from the ring.";
        RingCompletions = "sluicegate_shard_ring_completions_total", Counter, "Completions reaped from the ring.";
        NoBuffers = "sluicegate_shard_no_buffers_total", Counter, "Receives that found no provided buffer (ENOBUFS).";
        CqOverflows = "sluicegate_shard_cq_overflows_total", Counter, "Completions that did not fit the completion queue.";
        LoopTurns = "sluicegate_shard_loop_turns_total", Counter, "Turns of the shard's loop.";
        Generation = "sluicegate_shard_generation", Gauge, "Newest generation committed here.";
        RootVersion = "sluicegate_shard_root_version", Gauge, "Version of the root that the shard runs: where it is equal, so is all that runs.";
        PauseMaxMicros = "sluicegate_shard_pause_max_microseconds", Gauge, "Longest time in which a switch of generation kept the shard from serving.";
        Pipes = "sluicegate_shard_pipes", Gauge, "Pipes that tunnels use for splice now.";
        BufferBytes = "sluicegate_shard_buffer_bytes", Gauge, "Memory held for data between the two sides.";
        LogDropped = "sluicegate_shard_log_dropped_total", Counter, "Access records dropped because the log thread was behind.";
        Orders = "sluicegate_shard_orders_total", Counter, "Orders taken from control.";
    }
}

counter_set! {
    /// Figures of one endpoint on one shard. The first cache line is that of connections, the second that of requests.
    EndpointCounter {
        Connections = "sluicegate_endpoint_connections", Gauge, "Connections to the backend open now.";
        Connects = "sluicegate_endpoint_connects_total", Counter, "Connections made to the backend.";
        ConnectFailures = "sluicegate_endpoint_connect_failures_total", Counter, "Attempts that the backend refused or that failed.";
        ConnectTimeouts = "sluicegate_endpoint_connect_timeouts_total", Counter, "Attempts that took longer than timeouts.connect.";
        Resets = "sluicegate_endpoint_resets_total", Counter, "Connections that the backend reset.";
        BytesIn = "sluicegate_endpoint_bytes_in_total", Counter, "Bytes from clients to the backend.";
        BytesOut = "sluicegate_endpoint_bytes_out_total", Counter, "Bytes from the backend to clients.";
        Waited = "sluicegate_endpoint_waited_total", Counter, "Connections that had waited in the queue before they got this backend.";
        Requests = "sluicegate_endpoint_requests_total", Counter, "Requests sent to the backend.";
        Reused = "sluicegate_endpoint_reused_total", Counter, "Requests sent over a connection that had served one before.";
        Idle = "sluicegate_endpoint_idle_connections", Gauge, "Idle connections kept for the next request.";
        ServerErrors = "sluicegate_endpoint_server_errors_total", Counter, "Answers of the backend with a status of 500 or more.";
        Broken = "sluicegate_endpoint_broken_total", Counter, "Requests that the backend did not answer, or not to the end.";
        Tunnels = "sluicegate_endpoint_tunnels", Gauge, "Requests to the backend that have become tunnels and are open now.";
        Ejected = "sluicegate_endpoint_ejected", Gauge, "Whether the backend is left out for what it answered.";
        Ejections = "sluicegate_endpoint_ejections_total", Counter, "Times the backend was left out for what it answered.";
    }
}

counter_set! {
    /// Figures of one pool on one shard. After these, a row has two cells per close reason, for connections and for
    /// requests: see [`PoolCounter::CLOSE_REASONS_MAX`].
    PoolCounter + PoolCounter::REASON_CELLS {
        Accepted = "sluicegate_pool_accepted_total", Counter, "Connections that came in for the pool.";
        Connections = "sluicegate_pool_connections", Gauge, "Front connections of the pool open now.";
        Waiting = "sluicegate_pool_waiting", Gauge, "Connections in the queue for a free backend.";
        BytesIn = "sluicegate_pool_bytes_in_total", Counter, "Bytes from clients to backends.";
        BytesOut = "sluicegate_pool_bytes_out_total", Counter, "Bytes from backends to clients.";
        BufferBytes = "sluicegate_pool_buffer_bytes", Gauge, "Memory held for data between the two sides.";
        ConnectRetries = "sluicegate_pool_connect_retries_total", Counter, "Times another backend was tried after a connect failed.";
        Requests = "sluicegate_pool_requests_total", Counter, "Requests that have ended, or became tunnels.";
        Answers1xx = "sluicegate_pool_answers_1xx_total", Counter, "Requests that switched to another protocol.";
        Answers2xx = "sluicegate_pool_answers_2xx_total", Counter, "Requests answered with success.";
        Answers3xx = "sluicegate_pool_answers_3xx_total", Counter, "Requests answered with a redirection.";
        Answers4xx = "sluicegate_pool_answers_4xx_total", Counter, "Requests answered with an error of the client.";
        Answers5xx = "sluicegate_pool_answers_5xx_total", Counter, "Requests answered with an error of the server, be it the backend or us.";
        Tunnels = "sluicegate_pool_tunnels", Gauge, "Requests of the pool that have become tunnels and are open now.";
        RequestRetries = "sluicegate_pool_request_retries_total", Counter, "Requests sent again after a backend failed them.";
    }
}

impl PoolCounter {
    /// Cells for ended connections by reason, addressed by the reason's index, with
    /// [`RowWriter::closed`](super::RowWriter::closed) and
    /// [`CounterPages::pool_closed`](super::CounterPages::pool_closed).
    pub const CLOSE_REASONS_MAX: usize = 32;

    const REASON_CELLS: usize = 2 * PoolCounter::CLOSE_REASONS_MAX;

    /// The metric of those cells, to be labelled with the reason.
    pub const CLOSED_METRIC: &'static str = "sluicegate_pool_closed_total";

    /// One sentence for `# HELP`.
    pub const CLOSED_HELP: &'static str = "Connections of the pool that ended, by reason.";

    /// As [`PoolCounter::CLOSED_METRIC`], of requests.
    pub const ENDED_METRIC: &'static str = "sluicegate_pool_requests_ended_total";

    /// One sentence for `# HELP`.
    pub const ENDED_HELP: &'static str = "Requests of the pool that ended, by reason.";

    #[inline]
    pub(super) fn closed(reason: usize) -> Cell {
        assert!(reason < PoolCounter::CLOSE_REASONS_MAX, "close reason {reason} has no cell");
        Cell((PoolCounter::ALL.len() + reason) as u16)
    }

    #[inline]
    pub(super) fn ended(reason: usize) -> Cell {
        Cell(PoolCounter::closed(reason).0 + PoolCounter::CLOSE_REASONS_MAX as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells are distinct and within the row, names follow the rules of Prometheus.
    fn check<C: CounterSet + std::fmt::Debug>(prefix: &str) {
        for (ix, counter) in C::ALL.iter().enumerate() {
            assert_eq!(counter.cell().ix(), ix, "{counter:?}");
            assert!(ix < C::CELLS);
            let metric = counter.metric();
            assert!(metric.starts_with(prefix), "{metric}");
            assert_eq!(metric.ends_with("_total"), counter.kind() == Kind::Counter, "{metric}");
            assert!(counter.help().ends_with('.'), "{metric}");
            assert!(C::ALL.iter().filter(|other| other.metric() == metric).count() == 1, "{metric} twice");
        }
    }

    #[test]
    fn sets_are_well_formed() {
        check::<ShardCounter>("sluicegate_shard_");
        check::<PoolCounter>("sluicegate_pool_");
        check::<EndpointCounter>("sluicegate_endpoint_");
    }

    #[test]
    fn close_reasons_follow_the_named_cells() {
        assert_eq!(PoolCounter::closed(0).ix(), PoolCounter::ALL.len());
        assert_eq!(PoolCounter::closed(31).ix() + 1, PoolCounter::ended(0).ix());
        assert_eq!(PoolCounter::ended(31).ix(), PoolCounter::CELLS - 1);
        assert!(std::panic::catch_unwind(|| PoolCounter::closed(32)).is_err());
    }
}
