//! Why a connection ended. Log field, metric label and console text all come from here.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $fault:ident;)*) => {
        /// Every front connection ends with exactly one of these, and so does every request.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum CloseReason { $($(#[$doc])* $name,)* }

        impl CloseReason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &[CloseReason] = &[$(CloseReason::$name,)*];

            /// The word in logs, metrics and on screens.
            pub fn label(self) -> &'static str {
                match self { $(CloseReason::$name => $label,)* }
            }

            /// At whose door the end lies.
            pub fn fault(self) -> Fault {
                match self { $(CloseReason::$name => Fault::$fault,)* }
            }
        }
    };
}

/// Who caused the end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// Nobody: the connection did what it was made for.
    Nobody,
    Client,
    Backend,
    /// A bound or time-out that the operator set.
    Policy,
    /// An order of the operator: removal with `now`, or a stop.
    Operator,
    /// This process: a bug, or a resource it ran out of.
    Us,
}

reasons! {
    /// Both sides sent their end and everything was delivered.
    Finished = "finished", Nobody;
    /// The client reset the connection, or its end of it broke.
    ClientReset = "client-reset", Client;
    /// The backend reset the connection. Passed on as a reset, so that the client does not take half an answer for a whole one.
    BackendReset = "backend-reset", Backend;
    /// No backend accepted a connection: every attempt was refused or failed.
    ConnectFailed = "connect-failed", Backend;
    /// No backend accepted a connection within `timeouts.connect`.
    ConnectTimeout = "connect-timeout", Backend;
    /// No backend is in rotation: all down, draining or unresolved.
    NoBackend = "no-backend", Backend;
    /// The client left while waiting for a backend.
    ClientLeft = "client-left", Client;
    /// Nothing moved in either direction for `timeouts.idle`.
    IdleTimeout = "idle-timeout", Policy;
    /// Open for longer than `timeouts.lifetime`.
    LifetimeTimeout = "lifetime-timeout", Policy;
    /// The pool is at `limits.max_connections` and its queue is full.
    PoolFull = "pool-full", Policy;
    /// Every backend is at its cap and the group's queue is full.
    QueueFull = "queue-full", Policy;
    /// Waited for a free backend longer than `queue_wait`.
    QueueTimeout = "queue-timeout", Policy;
    /// The pool's buffer memory is used up.
    MemoryBudget = "memory-budget", Policy;
    /// The backend was removed with `now`.
    BackendRemoved = "backend-removed", Operator;
    /// The appliance stopped and the grace time was over.
    Stopped = "stopped", Operator;
    /// Nothing was asked on a kept connection for `timeouts.keep_alive`.
    KeepAliveTimeout = "keep-alive-timeout", Nobody;
    /// A request that cannot be understood in one way only, or is larger than a bound allows.
    Refused = "refused", Client;
    /// The head of a request did not come within `timeouts.head`.
    HeadTimeout = "head-timeout", Client;
    /// The content of a request stopped for longer than `timeouts.body`.
    BodyTimeout = "body-timeout", Client;
    /// No rule of the pool matched.
    NoRule = "no-rule", Policy;
    /// No pool takes the host of the request at the address where it came in.
    Misdirected = "misdirected", Policy;
    /// A rule denied the request.
    Denied = "denied", Policy;
    /// What the backend answered cannot be understood.
    BadAnswer = "bad-answer", Backend;
    /// The backend ended or broke its connection instead of answering.
    NoAnswer = "no-answer", Backend;
    /// The backend ended or broke its connection within its answer. The client's is aborted, so that it does not take half
    /// an answer for a whole one.
    AnswerCut = "answer-cut", Backend;
    /// Nothing of an answer came within `timeouts.first_byte`.
    FirstByteTimeout = "first-byte-timeout", Backend;
    /// An answer stopped for longer than `timeouts.answer`.
    AnswerTimeout = "answer-timeout", Policy;
    /// An exchange took longer than `timeouts.total`.
    TotalTimeout = "total-timeout", Policy;
    /// The shard's connection table is full.
    ShardFull = "shard-full", Us;
    /// No descriptor was free (`RLIMIT_NOFILE`).
    DescriptorsExhausted = "descriptors-exhausted", Us;
    /// A bug: the connection's handler panicked. Loud, and only this connection is lost.
    Panicked = "panicked", Us;
}

impl CloseReason {
    pub const COUNT: usize = CloseReason::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_in_order() {
        let mut seen = std::collections::HashSet::new();
        for (ix, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, ix);
            assert!(seen.insert(reason.label()), "label {} is used twice", reason.label());
        }
    }
}
