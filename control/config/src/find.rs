//! Which keys an operator means: by a concrete path, a general one, the end of one, or a table's.
//!
//! Knows the table of keys and no document: that there is a pool `web` is nothing to it.

use crate::keys::{TABLES, keys};
use crate::schema::{Key, TableKeys};
use crate::suggest;
use std::fmt;

/// A longer word names no key. Also bounds the search.
pub const WANTED_BYTES_MAX: usize = 512;

/// Most parts that the name of an element may be, where it is an address: `10.0.0.1:9001` is four, a host a few more.
const NAME_PARTS_MAX: usize = 8;

/// What is meant.
pub struct Found {
    /// In the order of the manual. At least one.
    pub keys: Vec<&'static Key>,
    /// Their tables, in the same order, each once.
    pub tables: Vec<&'static TableKeys>,
}

/// Whether a path, in parts, is meant by these parts.
type Sense = fn(&[&str], &[&str]) -> bool;

/// Nothing has such a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoSuchKey {
    pub wanted: String,
    /// What has a similar one.
    pub nearest: Option<&'static str>,
}

/// The keys that `wanted` may mean. The narrowest sense that it has is taken: a key, else all keys below a table, else
/// keys and tables that end like this. Names may be any (`pool.web.…`), `*`, or in quotes as TOML has them; of an
/// element of a list its id or number may stand there or not (`backend.a.weight`, `backend[0].weight`).
pub fn find_keys(wanted: &str) -> Result<Found, NoSuchKey> {
    let no_such = |nearest| NoSuchKey { wanted: wanted.chars().take(WANTED_BYTES_MAX).collect(), nearest };
    if wanted.len() > WANTED_BYTES_MAX {
        return Err(no_such(None));
    }
    let parts = parts(wanted);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let senses: [Sense; 5] = [
        |path, parts| fits(path, parts, 1),
        lies_below,
        ends_like,
        lies_below_an_end,
        |path, parts| fits(path, parts, NAME_PARTS_MAX),
    ];
    for sense in senses {
        let is_meant = |key: &&Key| sense(&key.path.split('.').collect::<Vec<_>>(), &parts);
        let found: Vec<&'static Key> = keys().filter(is_meant).collect();
        if !found.is_empty() {
            return Ok(Found::of(found));
        }
    }
    Err(no_such(nearest(wanted, &parts)))
}

impl Found {
    /// The whole table of keys.
    pub fn all() -> Found {
        Found { keys: keys().collect(), tables: TABLES.iter().collect() }
    }

    fn of(keys: Vec<&'static Key>) -> Found {
        let holds = |table: &&TableKeys| table.keys.iter().any(|key| keys.iter().any(|found| found.path == key.path));
        let tables = TABLES.iter().filter(holds).collect();
        Found { keys, tables }
    }
}

impl fmt::Display for NoSuchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no configuration key `{}`", self.wanted)?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => f.write_str("; accepted is a key as the manual has it, the end of one, or a table"),
        }
    }
}

/// The parts of a path, without quotes. A dot within quotes is the name's.
fn parts(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for character in path.trim().chars() {
        let part = parts.last_mut().expect("there is one from the beginning");
        match (character, quote) {
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            ('.', None) => parts.push(String::new()),
            _ => part.push(character),
        }
    }
    parts
}

/// Whether the parts say this path. The name of an element of a list is of at most so many parts.
fn fits(pattern: &[&str], parts: &[&str], name_parts: usize) -> bool {
    let Some((first, pattern)) = pattern.split_first() else { return parts.is_empty() };
    let Some((part, rest)) = parts.split_first() else { return false };
    let Some(list) = first.strip_suffix("[]") else {
        return (*first == "*" || part == first) && fits(pattern, rest, name_parts);
    };
    let numbered = part.split_once('[').is_some_and(|(before, after)| before == list && after.ends_with(']'));
    if *part != list {
        return numbered && fits(pattern, rest, name_parts);
    }
    (0..=name_parts.min(rest.len())).any(|length| fits(pattern, &rest[length..], name_parts))
}

/// Whether the parts say a table above this path.
fn lies_below(pattern: &[&str], parts: &[&str]) -> bool {
    (1..pattern.len()).any(|length| fits(&pattern[..length], parts, 1))
}

/// Whether the parts say how this path ends. A name that operators choose begins no end: it would fit any word.
fn ends_like(pattern: &[&str], parts: &[&str]) -> bool {
    ends(pattern).any(|end| fits(end, parts, 1))
}

fn lies_below_an_end(pattern: &[&str], parts: &[&str]) -> bool {
    ends(pattern).any(|end| lies_below(end, parts))
}

fn ends<'a>(pattern: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
    (1..pattern.len()).map(|from| &pattern[from..]).filter(|end| end[0] != "*")
}

/// A path that is written nearly like this, or a name that its last part may be meant for.
fn nearest(wanted: &str, parts: &[&str]) -> Option<&'static str> {
    let paths = TABLES.iter().map(|table| table.path).chain(keys().map(|key| key.path));
    let by_path = suggest::closest(wanted, paths.filter(|path| !path.is_empty()));
    by_path.or_else(|| suggest::closest(parts.last()?, keys().map(|key| key.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, expected: &[&str]) {
        let found: Vec<&str> = find_keys(wanted)
            .map_or_else(|no_such| panic!("{no_such}"), |found| found.keys.iter().map(|key| key.path).collect());
        assert_eq!(found, expected, "{wanted}");
    }

    #[test]
    fn a_key_is_found_by_each_of_its_spellings() {
        let weight = &["pool.*.group.*.backend[].weight"];
        for wanted in [
            "pool.*.group.*.backend[].weight",
            "pool.web.group.app.backend.a.weight",
            "pool.web.group.app.backend[0].weight",
            "pool.web.group.app.backend.weight",
            "pool.web.group.app.backend.\"10.0.0.1:9001\".weight",
            "pool.web.group.app.backend.10.0.0.1:9001.weight",
            "backend.weight",
            "weight",
            " weight ",
        ] {
            check(wanted, weight);
        }
        check("appliance.shards", &["appliance.shards"]);
        check("pool.*.timeouts.idle", &["pool.*.timeouts.idle"]);
        check("pool.idle.timeouts.idle", &["pool.*.timeouts.idle"]);
        check("include", &["include"]);
    }

    #[test]
    fn every_key_is_found_by_its_own_path() {
        for key in keys() {
            check(key.path, &[key.path]);
        }
    }

    #[test]
    fn a_table_is_its_keys_and_an_end_is_all_that_end_so() {
        check("pool.*.limits", &["pool.*.limits.max_connections"]);
        check("limits", &["pool.*.limits.max_connections"]);
        check("pool.web.limits", &["pool.*.limits.max_connections"]);
        check("log.events", &["log.events.format", "log.events.level"]);
        check("shards", &["appliance.shards", "pool.*.create.shards"]);
    }

    #[test]
    fn the_tables_of_what_is_found_are_told() {
        let found = find_keys("pool.web.timeouts").ok().unwrap();
        let services: Vec<_> = found.tables.iter().map(|table| (table.path, table.service.is_some())).collect();
        assert_eq!(services, [("pool.*.timeouts", false), ("pool.*.timeouts", true)]);
        assert_eq!(Found::all().keys.len(), keys().count());
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let no_such = |wanted: &str| find_keys(wanted).err().expect(wanted);
        let nearest = |wanted: &str| no_such(wanted).nearest;
        assert_eq!(nearest("pool.*.timeouts.idel"), Some("pool.*.timeouts.idle"));
        assert_eq!(nearest("wieght"), Some("weight"));
        assert_eq!(nearest("pool.web.group.app.backend.a.wieght"), Some("pool.*.group.*.backend[].weight"));
        assert_eq!(nearest("pool.web.of.the.shop.and.of.nobody.else.wieght"), Some("weight"));
        assert_eq!(nearest("certificate"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"pool.".repeat(10_000)), None);
        let told = no_such("wieght").to_string();
        assert_eq!(told, "there is no configuration key `wieght`; did you mean `weight`?");
    }
}
