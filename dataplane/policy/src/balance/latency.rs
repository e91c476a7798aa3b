//! How slow a backend is: a mean of its answers that rises at once and falls slowly.
//!
//! Peak EWMA, after Finagle (`com.twitter.finagle.loadbalancer.PeakEwma`): a sample above the mean becomes the mean; one
//! below moves it by how long ago the last was. So one slow answer is believed at once and many fast ones are
//! needed to forget it. In integers, because shards must not differ by how they round.

use crate::tick::Tick;

/// The mean of one backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Latency {
    /// It has not answered yet.
    #[default]
    Unknown,
    Known {
        /// Unit: 1/256 µs, at `at`.
        mean: u64,
        at: Tick,
    },
}

/// What is not confirmed loses half its weight in this time. Finagle decays by e in 10 s: 10 s × ln 2.
pub(super) const HALF_LIFE_MILLIS: u64 = 6_931;

const PARTS: u64 = 256;

impl Latency {
    pub fn observe(&mut self, micros: u32, now: Tick) {
        let sample = u64::from(micros) * PARTS;
        *self = match *self {
            Latency::Known { mean, at } if sample < mean => {
                let kept = scale(mean, at, now);
                // What the old mean lost, the sample has.
                let share = sample - scale(sample, at, now);
                Latency::Known { mean: kept + share, at: now.max(at) }
            }
            Latency::Known { at, .. } => Latency::Known { mean: sample, at: now.max(at) },
            Latency::Unknown => Latency::Known { mean: sample, at: now },
        };
    }

    /// What a further request is expected to wait for: the mean, faded since its last sample, once for each that is
    /// in flight and once for itself. One that never answered has no mean: it gets a request, and no second before it
    /// has answered the first.
    pub fn load(self, in_flight: u32, now: Tick) -> u128 {
        const NOT_A_SECOND: u128 = 1 << 72;
        match self {
            Latency::Unknown => u128::from(in_flight) * NOT_A_SECOND,
            Latency::Known { mean, at } => u128::from(scale(mean, at, now)) * (u128::from(in_flight) + 1),
        }
    }
}

/// `value` after the time from `at` to `now`.
fn scale(value: u64, at: Tick, now: Tick) -> u64 {
    let millis = now.0.saturating_sub(at.0);
    let (halvings, rest) = (millis / HALF_LIFE_MILLIS, millis % HALF_LIFE_MILLIS);
    let step = rest * STEPS as u64 / HALF_LIFE_MILLIS;
    let (high, low) = (POWERS[step as usize], POWERS[step as usize + 1]);
    let within = rest * STEPS as u64 % HALF_LIFE_MILLIS;
    let power = high - (high - low) * within / HALF_LIFE_MILLIS;
    let scaled = (u128::from(value) * u128::from(power)) >> 32;
    (scaled as u64).checked_shr(halvings.min(64) as u32).unwrap_or(0)
}

const STEPS: usize = 16;

/// 2^(-k/16) in parts of 2^32. Straight lines between them are off by less than 0.03 %.
const POWERS: [u64; STEPS + 1] = [
    4_294_967_296,
    4_112_874_773,
    3_938_502_376,
    3_771_522_796,
    3_611_622_603,
    3_458_501_653,
    3_311_872_529,
    3_171_459_999,
    3_037_000_500,
    2_908_241_642,
    2_784_941_738,
    2_666_869_345,
    2_553_802_834,
    2_445_529_972,
    2_341_847_524,
    2_242_560_872,
    2_147_483_648,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(latency: Latency) -> u64 {
        match latency {
            Latency::Known { mean, .. } => mean / PARTS,
            Latency::Unknown => panic!("nothing was observed"),
        }
    }

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_by_halves() {
        let mut latency = Latency::default();
        latency.observe(1_000, Tick(0));
        latency.observe(9_000, Tick(1));
        assert_eq!(mean(latency), 9_000);
        latency.observe(1_000, Tick(1));
        assert_eq!(mean(latency), 9_000);
        latency.observe(1_000, Tick(1 + HALF_LIFE_MILLIS));
        assert_eq!(mean(latency), 5_000);
        latency.observe(1_000, Tick(1 + 2 * HALF_LIFE_MILLIS));
        assert_eq!(mean(latency), 3_000);
        latency.observe(1_000, Tick(1 + 100 * HALF_LIFE_MILLIS));
        assert_eq!(mean(latency), 1_000);
    }

    #[test]
    fn decay_is_the_power_of_two_that_it_says() {
        for millis in (0..30_000u64).step_by(37) {
            let exact = 1e12 * (-(millis as f64) / HALF_LIFE_MILLIS as f64).exp2();
            let found = scale(1_000_000_000_000, Tick(5), Tick(5 + millis)) as f64;
            assert!((found - exact).abs() <= exact * 0.0003, "after {millis} ms: {found}, {exact} would be exact");
        }
        assert_eq!(scale(u64::MAX, Tick(0), Tick(u64::MAX)), 0);
        assert_eq!(scale(7, Tick(9), Tick(3)), 7);
    }

    #[test]
    fn load_is_latency_times_what_waits() {
        let mut latency = Latency::default();
        assert_eq!(latency.load(0, Tick(0)), 0);
        let unknown_and_busy = latency.load(1, Tick(0));
        latency.observe(u32::MAX, Tick(0));
        assert!(latency.load(1_000_000, Tick(0)) < unknown_and_busy);
        assert_eq!(latency.load(2, Tick(0)), 3 * latency.load(0, Tick(0)));
    }
}
