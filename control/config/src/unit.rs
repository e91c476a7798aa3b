//! Durations and sizes as operators write them: a whole number and a unit.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Shown wherever a duration is expected.
pub(crate) const DURATION_EXAMPLES: &str = "250ms, 5s, 2m, 1h, 1d";
/// Shown wherever a size is expected.
pub(crate) const SIZE_EXAMPLES: &str = "4096, 64KiB, 1MiB, 2GiB";

/// `None`: not a duration, or beyond 2⁶⁴ milliseconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATIONS).map(Duration::from_millis)
}

/// `None`: not a size, or beyond 2⁶⁴ bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// In the largest unit that is exact, so that equal durations are written equally.
///
/// Unit of resolution: a millisecond, which is all that [`parse_duration`] can make.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(duration.as_millis() as u64, &DURATIONS)
}

/// In the largest unit that is exact.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = match number {
        // Zero is exact in every unit; "0s" and "0B" are what people write.
        0 => units.iter().find(|(name, _)| ["s", "B"].contains(name)).expect("every table has its base unit"),
        _ => units
            .iter()
            .rev()
            .find(|(_, factor)| number.is_multiple_of(*factor))
            .expect("the smallest unit divides everything"),
    };
    format!("{}{name}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_duration(text: &str, millis: Option<u64>) {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn durations() {
        check_duration("250ms", Some(250));
        check_duration("5s", Some(5_000));
        check_duration("2m", Some(120_000));
        check_duration("1h", Some(3_600_000));
        check_duration("1d", Some(86_400_000));
        check_duration("0s", Some(0));
        check_duration("", None);
        check_duration("5", None);
        check_duration("s", None);
        check_duration("5 s", None);
        check_duration("-5s", None);
        check_duration("+5s", None);
        check_duration("1.5s", None);
        check_duration("1h30m", None);
        check_duration("5S", None);
        check_duration("18446744073709551615ms", Some(u64::MAX));
        check_duration("18446744073709551615s", None);
        check_duration("99999999999999999999ms", None);
        check_duration("٣s", None);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("512B"), Some(512));
        assert_eq!(parse_size("1TiB"), Some(1 << 40));
        for wrong in ["64KB", "64K", "64", "64 KiB", "kib", "17179869184GiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn shown_in_the_largest_exact_unit() {
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "1d");
        assert_eq!(show_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(0), "0B");
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size((64 << 20) + 1), "67108865B");
    }
}
