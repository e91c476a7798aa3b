//! Mistakes that the simulation must find.
//!
//! A simulation that finds nothing proves something only if it would have found a mistake. Each variant is a
//! small wrong turn in the real code, where a real one could happen; `tests/sim` takes them one at a time and
//! must fail within a fixed number of seeds. Without the cargo feature `planted`, which the appliance never
//! enables, [`is`] is the constant `false`; with it, nothing differs until a thread plants one.

/// One crate's mistakes: the enum, how a thread plants one, and the question that the real code asks. With the cargo
/// feature of this name only.
#[macro_export]
macro_rules! planted {
    ($feature:tt: $($(#[$doc:meta])* $name:ident,)*) => {
        /// One wrong turn.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mistake { $($(#[$doc])* $name,)* }

        impl Mistake {
            pub const ALL: &[Mistake] = &[$(Mistake::$name,)*];
        }

        #[cfg(feature = $feature)]
        thread_local! {
            static PLANTED: std::cell::Cell<Option<Mistake>> = const { std::cell::Cell::new(None) };
        }

        /// Plants one mistake, or none, in this thread.
        #[cfg(feature = $feature)]
        pub fn plant(mistake: Option<Mistake>) {
            PLANTED.set(mistake);
        }

        #[cfg(feature = $feature)]
        pub(crate) fn is(mistake: Mistake) -> bool {
            PLANTED.get() == Some(mistake)
        }

        #[cfg(not(feature = $feature))]
        pub(crate) const fn is(_: Mistake) -> bool {
            false
        }
    };
}

crate::planted! { "planted":
    /// A refusal counts as an agreement.
    CommitAlthoughRefused,
    /// The last shard's answer to Prepare is not waited for.
    CommitBeforeLastPrepared,
    /// The last shard's Adopted is not waited for.
    AppliedBeforeLastAdopted,
    /// An Adopted for one job counts for every job under way.
    AdoptedCountsForAll,
    /// A job that failed is not aborted on the shards that had prepared it.
    NoAbort,
    /// A part is freed when the first shard releases it.
    PartFreedEarly,
    /// An endpoint's slot is freed when the first shard releases it.
    EndpointFreedEarly,
    /// A pool's slot is freed although a waiting job names it.
    PoolFreedWhileNamed,
    /// A superseded part is released while leases on it are out.
    ReleasedWhileLeased,
    /// A connection gets the newest policy instead of that of the root it decided from.
    ExchangeForCurrentPolicy,
    /// An endpoint is released while an older root that is leased still names it.
    EndpointUnnamedEarly,
    /// A leaving address forgets the last root of a pool that goes.
    LastRootForgotten,
    /// A pool that goes keeps no root for the requests that are on their way on its connections.
    SessionsForgotten,
    /// Connections that have outlived their pool do not follow it when it is there again.
    SessionsStayBehind,
    /// An address is opened at Prepare.
    OpenAtPrepare,
    /// A listener is given back with its queue as it is.
    CloseWithoutDraining,
    /// The kernel is asked for handshakes when the first shard drops SYNs.
    CheckBeforeAllDrop,
    /// Suspend is not obeyed.
    LostAccepts,
    /// A shard that was lost accepts as soon as it has taken a root, though it may not be the newest.
    AcceptAtSync,
    /// A shard becomes live at whatever root it has taken.
    LiveAtOldRoot,
    /// Pools that a snapshot does not name stay.
    SyncKeepsOldPools,
    /// Reports of an executor that is dead are taken for its successor's.
    IncarnationIgnored,
    /// Reports of a shard that is not live change the account.
    LostIsBelieved,
    /// What a dead shard held stays held.
    DeadStillHolds,
    /// A dead shard is still waited for.
    DeadIsAwaited,
    /// Superseded parts do not count against the bound.
    RetainedNotCounted,
    /// What was superseded before a recovery is kept, and counts for nothing.
    UnknownNotCounted,
    /// Jobs that waited for one that has ended are not looked at again.
    WaitingForgotten,
    /// Overlapping jobs run together.
    LinesIgnored,
    /// A control that restarts takes the oldest root.
    RecoveryTakesOldest,
    /// After a restart of control, what one shard tells is taken for all.
    UntoldHoldNothing,
    /// A report from before a restart of control is taken for an answer.
    EpochIgnored,
}
