//! Configuration keys, as an appliance knows them.
//!
//! Here is their account for people, so that every program words it alike; what the keys are is the appliance's to say.

use crate::plan::{Class, Reach};
use crate::wrap::{WIDTH, wrap};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Its `Display` is an account of one key, or a list by table; it ends its lines.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Keys {
    /// In the order of the manual.
    pub keys: Vec<Key>,
    /// The tables that they stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<KeyTable>,
}

/// One configuration key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Such as `pool.*.timeouts.idle`; `*` is an id, `[]` an element of a list of tables.
    pub path: String,
    /// What may be written, such as `duration`.
    #[serde(rename = "type")]
    pub value_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// As it would be written. Absent: the key is required, or its absence means something by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// It must be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    pub accepted: String,
    pub help: String,
    pub class: Class,
    pub category: String,
    pub reach: Reach,
    pub reason_code: String,
    pub reason: String,
    /// Changes of it that are not like its others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<KeyException>,
    /// TOML: the head of its table and a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyException {
    /// Completes "when …".
    pub when: String,
    pub class: Class,
    pub category: String,
    pub reach: Reach,
    pub reason_code: String,
    pub reason: String,
}

/// One table of the document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyTable {
    /// Such as `pool.*.timeouts`; empty for the top level.
    pub path: String,
    pub help: String,
    /// The only service whose pools have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Paths of its keys that are told.
    pub keys: Vec<String>,
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [key] = &self.keys[..] {
            return key.fmt(f);
        }
        let told_by_table = |key: &&Key| self.tables.iter().any(|table| table.keys.contains(&key.path));
        for (ix, table) in self.tables.iter().enumerate() {
            if ix > 0 {
                f.write_str("\n")?;
            }
            let path = if table.path.is_empty() { "top level" } else { &table.path };
            let only = table.service.as_ref().map_or_else(String::new, |service| format!("  ({service} pools only)"));
            writeln!(f, "[{path}]{only}")?;
            paragraph(f, 2, &table.help)?;
            self.keys.iter().filter(|key| table.keys.contains(&key.path)).try_for_each(|key| brief(f, key))?;
        }
        self.keys.iter().filter(|key| !told_by_table(key)).try_for_each(|key| brief(f, key))
    }
}

/// Ends its lines.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path)?;
        paragraph(f, 2, &self.help)?;
        f.write_str("\n")?;
        let unit = self.unit.as_ref().map_or_else(String::new, |unit| format!(" in {unit}"));
        line(f, "type", &format!("{}{unit}", self.value_type))?;
        line(f, "accepted", &self.accepted)?;
        match (&self.default, self.required) {
            (Some(default), _) => line(f, "default", default)?,
            (None, true) => line(f, "default", "none: it must be written")?,
            (None, false) => line(f, "default", "not written")?,
        }
        let change = felt(self.class, self.reach);
        line(f, "a change", &format!("{change}, {}, {}: {}", self.category, self.reason_code, self.reason))?;
        for except in &self.except {
            let KeyException { when, class, category, reach, reason_code, reason } = except;
            line(f, "but", &format!("{}, {category}, {reason_code}, when {when}: {reason}", felt(*class, *reach)))?;
        }
        if let Some(example) = &self.example {
            f.write_str("\n")?;
            example.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

/// What a change is: `soft (next-connection)`, or only its class where a restart is meant by it.
fn felt(class: Class, reach: Reach) -> String {
    match class {
        Class::Soft => format!("{class} ({reach})"),
        Class::Hard | Class::Process => class.to_string(),
    }
}

fn brief(f: &mut fmt::Formatter<'_>, key: &Key) -> fmt::Result {
    let value = match (&key.default, key.required) {
        (Some(default), _) => format!(" = {default}"),
        (None, true) => "  (required)".to_owned(),
        (None, false) => String::new(),
    };
    writeln!(f, "  {}{value}", key.path)?;
    paragraph(f, 6, &key.help)?;
    paragraph(f, 6, &format!("{}.", felt(key.class, key.reach)))
}

/// A name and what belongs to it, which begins in a column of its own.
fn line(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    const COLUMN: usize = 12;
    for (ix, part) in wrap(text, WIDTH - COLUMN).iter().enumerate() {
        let name = if ix == 0 { name } else { "" };
        writeln!(f, "  {name:<10}{part}")?;
    }
    Ok(())
}

fn paragraph(f: &mut fmt::Formatter<'_>, indent: usize, text: &str) -> fmt::Result {
    wrap(text, WIDTH - indent).iter().try_for_each(|line| writeln!(f, "{:indent$}{line}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Key {
        Key {
            path: "pool.*.timeouts.idle".into(),
            value_type: "duration".into(),
            unit: Some("ms, s".into()),
            default: Some("\"1h\"".into()),
            required: false,
            accepted: "a duration".into(),
            help: "Nothing moved in either direction.".into(),
            class: Class::Soft,
            category: "timeouts".into(),
            reach: Reach::NextTimerTick,
            reason_code: "timeout_idle".into(),
            reason: "Open tunnels read their pool's current time-outs at each timer tick.".into(),
            except: Vec::new(),
            example: Some("[pool.web.timeouts]\nidle = \"1h\"".into()),
        }
    }

    #[test]
    fn one_key_is_told_in_full() {
        let expected = "\
pool.*.timeouts.idle
  Nothing moved in either direction.

  type      duration in ms, s
  accepted  a duration
  default   \"1h\"
  a change  soft (next-timer-tick), timeouts, timeout_idle: Open tunnels read
            their pool's current time-outs at each timer tick.

    [pool.web.timeouts]
    idle = \"1h\"
";
        assert_eq!(Keys { keys: vec![idle()], tables: Vec::new() }.to_string(), expected);
        let except = KeyException {
            when: "it is so".into(),
            class: Class::Hard,
            category: "creationConfig".into(),
            reach: Reach::Restart,
            reason_code: "c".into(),
            reason: "Because.".into(),
        };
        let told = Key { default: None, required: true, except: vec![except], ..idle() }.to_string();
        assert!(told.contains("  default   none: it must be written\n"), "{told}");
        assert!(told.contains("  but       hard, creationConfig, c, when it is so: Because.\n"), "{told}");
    }

    #[test]
    fn several_are_a_list_by_table() {
        let lifetime = Key { path: "pool.*.timeouts.lifetime".into(), default: None, required: true, ..idle() };
        let table = KeyTable {
            path: "pool.*.timeouts".into(),
            help: "How long.".into(),
            service: Some("HTTP".into()),
            keys: vec!["pool.*.timeouts.idle".into()],
        };
        let expected = "\
[pool.*.timeouts]  (HTTP pools only)
  How long.
  pool.*.timeouts.idle = \"1h\"
      Nothing moved in either direction.
      soft (next-timer-tick).
  pool.*.timeouts.lifetime  (required)
      Nothing moved in either direction.
      soft (next-timer-tick).
";
        assert_eq!(Keys { keys: vec![idle(), lifetime], tables: vec![table] }.to_string(), expected);
    }
}
