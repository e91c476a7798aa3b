//! Time as the machines see it: handed in, never read.

use std::time::Duration;

/// A point in time. Unit: milliseconds since the process started (monotonic clock).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// The first tick at or after `self + wait`: a deadline is never early. Saturates.
    pub fn after(self, wait: Duration) -> Tick {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        Tick(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(Tick(5).after(Duration::from_micros(1)), Tick(6));
        assert_eq!(Tick(5).after(Duration::from_millis(1)), Tick(6));
        assert_eq!(Tick(5).after(Duration::ZERO), Tick(5));
        assert_eq!(Tick(u64::MAX).after(Duration::MAX), Tick(u64::MAX));
    }
}
