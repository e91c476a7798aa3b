//! What can be said of a handful of rounds, and what cannot.
//!
//! Owns the median of per-round ratios, its interval, and the verdict on a goal. Knows nothing of CPUs,
//! contestants or units. The interval comes from order statistics and not from resampling: with seven
//! rounds it is exact, it assumes no distribution, and it rolls no dice, so the same raw figures give the
//! same summary for ever.

use serde::Serialize;

/// The least probability with which an interval must hold the true median before anything is claimed.
pub const COVERAGE_WANTED: f64 = 0.95;

/// The middle value; with an even count the mean of the two middle ones. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Two of the values, between which the true median lies with probability `coverage`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    pub coverage: f64,
}

/// The narrowest symmetric pair of order statistics that covers the median with at least [`COVERAGE_WANTED`].
///
/// `None` with fewer than six values: even smallest to largest of five covers only 93.75 %.
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values);
    let count = sorted.len();
    (0..count / 2)
        .rev()
        .map(|cut| Interval { low: sorted[cut], high: sorted[count - 1 - cut], coverage: coverage(count, cut) })
        .find(|interval| interval.coverage >= COVERAGE_WANTED)
}

/// Probability that the median lies between the values left after `cut` are taken off each end.
///
/// Each value is below the median with probability one half; the interval misses only if at most `cut` of
/// them fall on one side. Source: the sign test's interval, binomial with one half.
fn coverage(count: usize, cut: usize) -> f64 {
    let mut term = 0.5_f64.powi(count as i32);
    let mut tail = 0.0;
    for below in 0..=cut {
        tail += term;
        term *= (count - below) as f64 / (below + 1) as f64;
    }
    1.0 - 2.0 * tail
}

/// One contestant's figure over another's, round by round.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ratio {
    pub median: f64,
    /// `None`: too few rounds to say.
    pub interval: Option<Interval>,
    pub rounds: usize,
}

impl Ratio {
    /// From `(dividend, divisor)` of each round in which both were measured. `None` if there is no such round.
    pub fn of_rounds(rounds: &[(f64, f64)]) -> Option<Ratio> {
        let ratios: Vec<f64> = rounds.iter().map(|(dividend, divisor)| dividend / divisor).collect();
        Some(Ratio { median: median(&ratios)?, interval: median_interval(&ratios), rounds: ratios.len() })
    }
}

/// The finest difference this run can tell, as a factor of at least 1: how far from 1 the ratio of one
/// contestant to itself was seen.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Resolution(pub f64);

impl Resolution {
    /// From the A/A ratio. `None` if it has no interval.
    pub fn of_same(ratio: &Ratio) -> Option<Resolution> {
        let interval = ratio.interval?;
        Some(Resolution(interval.high.max(1.0 / interval.low).max(1.0)))
    }
}

/// Whether a ratio keeps to its goal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The whole interval is at or below the goal.
    Reached,
    /// The whole interval is above it.
    Missed,
    /// The goal lies inside the interval, or the interval is unknown.
    Unresolved,
}

/// Judges `ratio <= at_most`, with an interval never narrower than what the A/A run could resolve.
pub fn judge(ratio: &Ratio, resolution: Option<Resolution>, at_most: f64) -> Verdict {
    let (Some(interval), Some(Resolution(factor))) = (ratio.interval, resolution) else {
        return Verdict::Unresolved;
    };
    let low = interval.low.min(ratio.median / factor);
    let high = interval.high.max(ratio.median * factor);
    if high <= at_most {
        Verdict::Reached
    } else if low > at_most {
        Verdict::Missed
    } else {
        Verdict::Unresolved
    }
}

/// The value below which `share` of the samples lie (nearest rank). `None` of nothing. Sorts in place.
pub fn quantile(samples: &mut [u32], share: f64) -> Option<u32> {
    samples.sort_unstable();
    let rank = (share * samples.len() as f64).ceil() as usize;
    samples.get(rank.max(1) - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of() {
        fn check(values: &[f64], expected: Option<f64>) {
            assert_eq!(median(values), expected, "{values:?}");
        }
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[9.0, 1.0, 4.0], Some(4.0));
        check(&[9.0, 1.0, 4.0, 5.0], Some(4.5));
    }

    #[test]
    fn interval_is_the_narrowest_that_covers_enough() {
        fn check(count: usize, expected: Option<(f64, f64, f64)>) {
            let values: Vec<f64> = (1..=count).rev().map(|value| value as f64).collect();
            let expected = expected.map(|(low, high, coverage)| Interval { low, high, coverage });
            assert_eq!(median_interval(&values), expected, "{count} values");
        }
        check(0, None);
        check(1, None);
        check(5, None);
        check(6, Some((1.0, 6.0, 1.0 - 2.0 / 64.0)));
        check(7, Some((1.0, 7.0, 1.0 - 2.0 / 128.0)));
        check(8, Some((1.0, 8.0, 1.0 - 2.0 / 256.0)));
        // From nine on, one outlier on each side may be left out: 1 - 2 * (1 + 9) / 512.
        check(9, Some((2.0, 8.0, 1.0 - 20.0 / 512.0)));
    }

    #[test]
    fn ratio_pairs_the_rounds_and_not_the_medians() {
        // Both contestants slow down by half in two rounds; within each round the ratio stays 0.5.
        let rounds = [(1.0, 2.0), (10.0, 20.0), (1.0, 2.0), (15.0, 30.0), (1.0, 2.0), (1.0, 2.0), (2.0, 4.0)];
        let ratio = Ratio::of_rounds(&rounds).unwrap();
        assert_eq!(ratio.median, 0.5);
        let interval = ratio.interval.unwrap();
        assert_eq!((interval.low, interval.high, ratio.rounds), (0.5, 0.5, 7));
        assert_eq!(Ratio::of_rounds(&[]), None);
    }

    fn ratio(low: f64, median: f64, high: f64) -> Ratio {
        Ratio { median, interval: Some(Interval { low, high, coverage: 0.984 }), rounds: 7 }
    }

    #[test]
    fn resolution_takes_the_worse_side_and_is_never_below_one() {
        fn check(same: Ratio, expected: f64) {
            let Resolution(factor) = Resolution::of_same(&same).unwrap();
            assert!((factor - expected).abs() < 1e-12, "{factor} for {same:?}");
        }
        check(ratio(0.98, 1.0, 1.06), 1.06);
        check(ratio(0.8, 1.0, 1.06), 1.25);
        check(ratio(1.0, 1.0, 1.0), 1.0);
        assert_eq!(Resolution::of_same(&Ratio { median: 1.0, interval: None, rounds: 3 }), None);
    }

    #[test]
    fn verdicts() {
        fn check(ratio: Ratio, resolution: f64, at_most: f64, expected: Verdict) {
            assert_eq!(judge(&ratio, Some(Resolution(resolution)), at_most), expected, "{ratio:?}");
        }
        check(ratio(0.75, 0.78, 0.80), 1.02, 0.80, Verdict::Reached);
        check(ratio(0.75, 0.78, 0.81), 1.02, 0.80, Verdict::Unresolved);
        check(ratio(0.85, 0.90, 0.95), 1.02, 0.80, Verdict::Missed);
        // A goal of 1.05 inside an A/A noise of 8 % is unresolved however tight the rounds were, on both sides.
        check(ratio(1.00, 1.00, 1.00), 1.08, 1.05, Verdict::Unresolved);
        check(ratio(1.06, 1.06, 1.06), 1.08, 1.05, Verdict::Unresolved);
        check(ratio(1.20, 1.20, 1.20), 1.08, 1.05, Verdict::Missed);
    }

    #[test]
    fn nothing_is_claimed_without_an_interval_or_a_resolution() {
        let few = Ratio { median: 0.1, interval: None, rounds: 3 };
        assert_eq!(judge(&few, Some(Resolution(1.01)), 1.0), Verdict::Unresolved);
        assert_eq!(judge(&ratio(0.1, 0.1, 0.1), None, 1.0), Verdict::Unresolved);
    }

    #[test]
    fn quantile_is_the_nearest_rank() {
        fn check(share: f64, expected: u32) {
            let mut samples: Vec<u32> = (1..=100).rev().collect();
            assert_eq!(quantile(&mut samples, share), Some(expected), "{share}");
        }
        check(0.0, 1);
        check(0.5, 50);
        check(0.99, 99);
        check(1.0, 100);
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
