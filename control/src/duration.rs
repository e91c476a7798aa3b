//! Durations as operators write and read them.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// `250ms`, `30s`, `5m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, millis)| number.parse::<u64>().ok()?.checked_mul(*millis));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "accepted is a whole number and a unit: 250ms, 30s, 5m or 1h".to_owned())
}

/// With three digits or so: `850 µs`, `3.1 ms`, `12.3 s`, `4m 10s`, `3h 4m`, `2d 5h`.
pub fn shown(duration: Duration) -> String {
    let micros = duration.as_micros();
    let seconds = duration.as_secs();
    match seconds {
        0 if micros < 1_000 => format!("{micros} µs"),
        0 => format!("{:.1} ms", micros as f64 / 1e3),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write() {
        let check = |text, millis| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        check("0s", 0);
        check("250ms", 250);
        check("30s", 30_000);
        check("5m", 300_000);
        check("1h", 3_600_000);
        for mistake in ["", "5", "s", "-5s", "1.5s", "5 s", "5d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn what_operators_read() {
        let check = |micros, text: &str| assert_eq!(shown(Duration::from_micros(micros)), text);
        check(0, "0 µs");
        check(999, "999 µs");
        check(3_140, "3.1 ms");
        check(12_300_000, "12.3 s");
        check(250_000_000, "4m 10s");
        check(11_040_000_000, "3h 4m");
        check(190_800_000_000, "2d 5h");
    }
}
