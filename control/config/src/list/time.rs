//! Moments, as documents write them: `2026-12-01T00:00:00Z` (RFC 3339).

use toml::value::{Datetime, Offset};

pub(crate) const ACCEPTED: &str = "a date and time with its offset, such as \"2026-12-01T00:00:00Z\"";

const DAY: i64 = 86_400;

/// Seconds since 1970, UTC; a part of a second counts as a whole one. `None`: it is no such moment, or one before.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let Datetime { date: Some(date), time: Some(time), offset: Some(offset) } = text.parse().ok()? else {
        return None;
    };
    let offset = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    let seconds = i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second?);
    let rounded = i64::from(time.nanosecond.unwrap_or(0) > 0);
    let days = days(date.year.into(), date.month.into(), date.day.into());
    u64::try_from(days * DAY + seconds + rounded - offset).ok()
}

/// As [`parse`] reads it; of the year 9999 at most.
pub fn show(seconds: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    let seconds = seconds.min(LAST) as i64;
    let (day, second) = (seconds / DAY, seconds % DAY);
    let (year, month, date) = date(day);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

// Both count years from March on, so that the day that some years have more is their last; a day number is then a sum of
// whole 400 years (146,097 days), of years within, and of months, which come in fives of 153 days.

/// Days from 1970-01-01 to this date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Of this day since 1970-01-01: year, month, day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * from_march + 2) / 5 + 1, (from_march + 2) % 12 + 1);
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds_since_1970() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse(text), expected, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T12:00:00Z", Some(951_825_600));
        check("2026-12-01T00:00:00Z", Some(1_796_083_200));
        check("2026-12-01T02:00:00+02:00", Some(1_796_083_200));
        check("2026-12-01 00:00:00.5Z", Some(1_796_083_201));
        for wrong in ["", "tomorrow", "2026-12-01", "2026-12-01T00:00:00", "00:00:00", "1969-12-31T23:59:59Z"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for day in 0..100_000 {
            let moment = day * 86_400 + day % 86_400;
            assert_eq!(parse(&show(moment)), Some(moment), "{}", show(moment));
        }
        assert_eq!(show(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
