//! Waiting for events: each wait has a deadline, and a deadline that passes is a failure.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longest a test waits for one thing that should happen at once. Generous, because the machine may be
/// busy with other tests; only a failing test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A point in time after which something is overdue.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(wait: Duration) -> Deadline {
        Deadline(Instant::now() + wait)
    }

    /// [`PATIENCE`] from now.
    pub fn patient() -> Deadline {
        Deadline::after(PATIENCE)
    }

    /// Time that is left. Zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// A value that one thread changes and others wait for.
pub struct Watched<T>(Arc<(Mutex<T>, Condvar)>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Watched<T> {
        Watched(self.0.clone())
    }
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Watched<T> {
        Watched(Arc::new((Mutex::new(value), Condvar::new())))
    }

    /// Reads it. A thread that panicked while changing it has already failed its test.
    pub fn look(&self) -> MutexGuard<'_, T> {
        self.0.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes it and wakes all who wait.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.look());
        self.0.1.notify_all();
        result
    }

    /// Waits until `found` finds what it looks for. `None`: the deadline passed.
    pub fn wait<R>(&self, deadline: Deadline, mut found: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let mut value = self.look();
        loop {
            if let Some(result) = found(&mut value) {
                return Some(result);
            }
            let left = deadline.left();
            if left.is_zero() {
                return None;
            }
            value = match self.0.1.wait_timeout(value, left) {
                Ok((value, _)) => value,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// Asks again and again until the answer is `Ok`, for what can be seen only by asking. Panics with the
/// last answer when [`PATIENCE`] is over.
///
/// The pause between two questions only spares the processor: no result depends on its length.
pub fn until<T, E: std::fmt::Display>(what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    const PAUSE: Duration = Duration::from_millis(5);
    let deadline = Deadline::patient();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(not_yet) if deadline.passed() => {
                panic!("{what}: not within {PATIENCE:?}: {not_yet}")
            }
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}
