//! Atomics and locks of the protocols that loom explores: the real ones, or loom's.
//!
//! Only what takes part in such a protocol comes from here. Tables and counters use `std` directly.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex};

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(all(miri, not(loom)))]
pub(crate) use std::sync::{Condvar, Mutex};

/// Explores the interleavings of `model` with at most three forced switches of thread, which finds every
/// known kind of lost wake-up and takes seconds. `LOOM_MAX_PREEMPTIONS` asks for more.
#[cfg(all(test, loom))]
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}
