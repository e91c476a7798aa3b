//! Flags, counts, durations and sizes.

use super::{Describe, Form, Shown, Wrong};
use crate::tree::{Node, Value};
use crate::unit;
use serde_json::json;
use std::time::Duration;

/// A flag.
pub(crate) struct Flag;

impl Describe for Flag {
    fn kind(&self) -> &'static str {
        "boolean"
    }
    fn accepted(&self) -> String {
        "true or false".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "boolean" })
    }
}

impl Form for Flag {
    type Value = bool;

    fn read(&self, node: &Node) -> Result<bool, Vec<Wrong>> {
        match &node.value {
            Value::Boolean(flag) => Ok(*flag),
            Value::Text { text, substituted: true } if text == "true" => Ok(true),
            Value::Text { text, substituted: true } if text == "false" => Ok(false),
            Value::Text { text, .. } if text == "true" || text == "false" => {
                Err(vec![Wrong::kind(node, "a boolean").help(format!("write {text} without quotes"))])
            }
            _ => Err(vec![Wrong::kind(node, "a boolean")]),
        }
    }

    fn show(&self, flag: &bool) -> Shown {
        Shown::Boolean(*flag)
    }
}

/// A whole number within bounds.
pub(crate) struct Count {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Count {
    pub(crate) const fn between(min: u32, max: u32) -> Count {
        assert!(min <= max);
        Count { min, max }
    }

    /// The same, or `"off"` for no limit.
    pub(crate) const fn or_off(self) -> OrOff<Count> {
        OrOff(self)
    }
}

impl Describe for Count {
    fn kind(&self) -> &'static str {
        "integer"
    }
    fn accepted(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "integer", "minimum": self.min, "maximum": self.max })
    }
}

impl Form for Count {
    type Value = u32;

    fn read(&self, node: &Node) -> Result<u32, Vec<Wrong>> {
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::Text { text, substituted } => match text.parse::<i128>() {
                Ok(number) if *substituted => number,
                Ok(number) => {
                    return Err(vec![Wrong::kind(node, "an integer").help(format!("write {number} without quotes"))]);
                }
                Err(_) => return Err(vec![Wrong::kind(node, "an integer")]),
            },
            _ => return Err(vec![Wrong::kind(node, "an integer")]),
        };
        match u32::try_from(number) {
            Ok(number) if (self.min..=self.max).contains(&number) => Ok(number),
            _ if number < i128::from(self.min) => Err(vec![Wrong::value(node, format!("less than {}", self.min))]),
            _ => Err(vec![Wrong::value(node, format!("more than {}", self.max))]),
        }
    }

    fn show(&self, number: &u32) -> Shown {
        Shown::Integer(u64::from(*number))
    }
}

/// A duration within bounds.
pub(crate) struct Time {
    min: Duration,
    max: Duration,
}

impl Time {
    pub(crate) const fn between(min: Duration, max: Duration) -> Time {
        Time { min, max }
    }

    /// The same, or `"off"` for no limit.
    pub(crate) const fn or_off(self) -> OrOff<Time> {
        OrOff(self)
    }
}

impl Describe for Time {
    fn kind(&self) -> &'static str {
        "duration"
    }
    fn accepted(&self) -> String {
        let (min, max) = (unit::show_duration(self.min), unit::show_duration(self.max));
        format!("a duration with its unit, such as {}, from {min} to {max}", unit::DURATION_EXAMPLES)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
    fn unit(&self) -> Option<&'static str> {
        Some("ms, s, m, h, d")
    }
}

impl Form for Time {
    type Value = Duration;

    fn read(&self, node: &Node) -> Result<Duration, Vec<Wrong>> {
        let text = match &node.value {
            Value::Text { text, .. } => text,
            Value::Integer(number) => {
                return Err(vec![
                    Wrong::value(node, "a duration needs a unit").help(format!("write \"{number}s\" for seconds")),
                ]);
            }
            _ => return Err(vec![Wrong::kind(node, "a duration")]),
        };
        match unit::parse_duration(text) {
            None => Err(vec![Wrong::value(node, "not a duration")]),
            Some(time) if time < self.min => {
                Err(vec![Wrong::value(node, format!("shorter than {}", unit::show_duration(self.min)))])
            }
            Some(time) if time > self.max => {
                Err(vec![Wrong::value(node, format!("longer than {}", unit::show_duration(self.max)))])
            }
            Some(time) => Ok(time),
        }
    }

    fn show(&self, time: &Duration) -> Shown {
        Shown::Text(unit::show_duration(*time))
    }
}

/// A size of memory within bounds.
pub(crate) struct Bytes {
    min: u64,
    max: u64,
}

impl Bytes {
    pub(crate) const fn between(min: u64, max: u64) -> Bytes {
        assert!(min <= max);
        Bytes { min, max }
    }

    /// The same, or `"off"` for no limit.
    pub(crate) const fn or_off(self) -> OrOff<Bytes> {
        OrOff(self)
    }
}

impl Describe for Bytes {
    fn kind(&self) -> &'static str {
        "size"
    }
    fn accepted(&self) -> String {
        let (min, max) = (unit::show_size(self.min), unit::show_size(self.max));
        format!("bytes, such as {}, from {min} to {max}", unit::SIZE_EXAMPLES)
    }
    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$" });
        json!({ "anyOf": [{ "type": "integer", "minimum": self.min, "maximum": self.max }, text] })
    }
    fn unit(&self) -> Option<&'static str> {
        Some("bytes, KiB, MiB, GiB, TiB")
    }
}

impl Form for Bytes {
    type Value = u64;

    fn read(&self, node: &Node) -> Result<u64, Vec<Wrong>> {
        let bytes = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text { text, substituted } => {
                unit::parse_size(text).or_else(|| text.parse().ok().filter(|_| *substituted))
            }
            _ => return Err(vec![Wrong::kind(node, "a size")]),
        };
        match bytes {
            None => Err(vec![Wrong::value(node, "not a size")]),
            Some(bytes) if bytes < self.min => {
                Err(vec![Wrong::value(node, format!("less than {}", unit::show_size(self.min)))])
            }
            Some(bytes) if bytes > self.max => {
                Err(vec![Wrong::value(node, format!("more than {}", unit::show_size(self.max)))])
            }
            Some(bytes) => Ok(bytes),
        }
    }

    fn show(&self, bytes: &u64) -> Shown {
        Shown::Text(unit::show_size(*bytes))
    }
}

/// What `F` takes, or the word `"off"`.
pub(crate) struct OrOff<F>(F);

impl<F: Describe> Describe for OrOff<F> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn accepted(&self) -> String {
        format!("{}, or \"off\"", self.0.accepted())
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "anyOf": [self.0.schema(), { "const": "off" }] })
    }
    fn unit(&self) -> Option<&'static str> {
        self.0.unit()
    }
}

impl<F: Form> Form for OrOff<F> {
    type Value = Option<F::Value>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text == "off" => Ok(None),
            _ => self.0.read(node).map(Some),
        }
    }

    fn show(&self, value: &Self::Value) -> Shown {
        match value {
            Some(value) => self.0.show(value),
            None => Shown::Text("off".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn flags() {
        check(&Flag, "true", "true");
        check(&Flag, "false", "false");
        check(&Flag, "1", "error: expected a boolean, found an integer");
        check(&Flag, "\"true\"", "error: expected a boolean, found a string");
        check(&Flag, "\"${true}\"", "true");
    }

    #[test]
    fn counts() {
        let form = Count::between(1, 100);
        check(&form, "1", "1");
        check(&form, "0x64", "100");
        check(&form, "0", "error: less than 1");
        check(&form, "-1", "error: less than 1");
        check(&form, "101", "error: more than 100");
        check(&form, "99999999999999999999999", "error: more than 100");
        check(&form, "4294967297", "error: more than 100");
        check(&form, "1.0", "error: expected an integer, found a floating-point number");
        check(&form, "\"7\"", "error: expected an integer, found a string");
        check(&form, "\"${_7}\"", "7");
        check(&form, "\"off\"", "error: expected an integer, found a string");
        check(&Count::between(1, 100).or_off(), "\"off\"", "\"off\"");
        check(&Count::between(1, 100).or_off(), "7", "7");
        check(&Count::between(1, 100).or_off(), "0", "error: less than 1");
    }

    #[test]
    fn durations_and_sizes() {
        let form = Time::between(Duration::from_millis(1), Duration::from_secs(3600));
        check(&form, "\"60s\"", "\"1m\"");
        check(&form, "\"0s\"", "error: shorter than 1ms");
        check(&form, "\"2h\"", "error: longer than 1h");
        check(&form, "5", "error: a duration needs a unit");
        check(&form, "\"off\"", "error: not a duration");
        check(&form, "1979-05-27", "error: expected a duration, found a date or time");
        let form = Bytes::between(1024, 1 << 20);
        check(&form, "4096", "\"4KiB\"");
        check(&form, "\"1MiB\"", "\"1MiB\"");
        check(&form, "\"1KB\"", "error: not a size");
        check(&form, "-4096", "error: not a size");
        check(&form, "1", "error: less than 1KiB");
        check(&form, "\"2MiB\"", "error: more than 1MiB");
    }
}
