//! The two times that control tells: one that only goes on, and one that people write down.
//!
//! Whoever in this crate wants to know the time asks here, so a simulation can say it.

use policy::Tick;
use std::time::{Duration, Instant, SystemTime};
use time::OffsetDateTime;
use time::macros::format_description;

/// Reads the monotonic clock as [`Tick`]s since its origin. One for the process, so that a deadline means
/// the same to control and to every shard.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    #[cfg(test)]
    pub fn start() -> Clock {
        Clock::since(Instant::now())
    }

    pub fn since(origin: Instant) -> Clock {
        Clock { origin }
    }

    pub fn now(&self) -> Tick {
        let millis = self.uptime().as_millis();
        Tick(u64::try_from(millis).expect("584 million years of uptime"))
    }

    /// The first tick at which all of this time has passed. (The present tick began up to a millisecond ago.)
    pub fn once_passed(&self, wait: Duration) -> Tick {
        Tick(0).after(self.uptime().saturating_add(wait))
    }

    /// When that tick is, for a timer.
    pub fn instant(&self, tick: Tick) -> Instant {
        // Deadlines may be as far as `Tick` reaches; a timer is set again long before a year is over.
        self.origin + Duration::from_millis(tick.0.min(FAR_MILLIS + self.now().0))
    }

    pub fn uptime(&self) -> Duration {
        said().unwrap_or_else(|| self.origin.elapsed())
    }
}

const FAR_MILLIS: u64 = 365 * 24 * 3600 * 1000;

/// RFC 3339 with microseconds, UTC.
pub fn rfc3339(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    OffsetDateTime::from(at).format(format).expect("every part of the format exists in every date")
}

/// What people call now.
pub fn wall() -> SystemTime {
    said().map_or_else(SystemTime::now, |uptime| SystemTime::UNIX_EPOCH + SIMULATED + uptime)
}

/// When a simulation begins.
const SIMULATED: Duration = Duration::from_secs(1_795_255_200);

/// For measuring how long something takes: in a simulation, nothing takes any time.
pub fn stopwatch() -> Stopwatch {
    Stopwatch { begin: said().is_none().then(Instant::now) }
}

#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begin: Option<Instant>,
}

impl Stopwatch {
    pub fn elapsed(&self) -> Duration {
        self.begin.map_or(Duration::ZERO, |begin| begin.elapsed())
    }
}

/// Whether this thread is part of a simulation.
pub fn is_simulated() -> bool {
    said().is_some()
}

/// What a simulation says that the time is on this thread: since its beginning.
#[cfg(feature = "sim")]
pub mod simulated {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static NOW: Cell<Option<Duration>> = const { Cell::new(None) };
    }

    /// `None`: the clocks of the system count.
    pub fn say(now: Option<Duration>) {
        NOW.set(now);
    }

    pub(super) fn said() -> Option<Duration> {
        NOW.get()
    }
}

#[cfg(feature = "sim")]
use simulated::said;

#[cfg(not(feature = "sim"))]
const fn said() -> Option<Duration> {
    None
}

/// Now, as [`rfc3339`].
pub fn date() -> String {
    rfc3339(wall())
}

/// Since 1970, UTC, as lists say when an entry expires.
pub fn seconds_now() -> u64 {
    wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Saturates after 584,000 years.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_rfc_3339() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_255_200_000_123);
        assert_eq!(rfc3339(at), "2026-11-21T10:00:00.000123Z");
    }

    #[test]
    fn a_tick_is_found_again_as_an_instant() {
        let clock = Clock::start();
        let now = clock.now();
        assert!(clock.instant(now) <= Instant::now());
        assert!(clock.instant(Tick(now.0 + 60_000)) > Instant::now());
        assert!(clock.instant(Tick(u64::MAX)) > Instant::now(), "no overflow at the end of time");
    }

    /// Begun anywhere within a tick.
    #[test]
    fn a_wait_is_over_when_all_of_it_has_passed() {
        for micros in (0..1000).step_by(50) {
            let clock = Clock::since(Instant::now() - Duration::from_micros(micros));
            let wait = Duration::from_millis(150);
            let begin = Instant::now();
            assert!(clock.instant(clock.once_passed(wait)) - begin >= wait, "begun {micros} µs into a tick");
        }
    }
}
