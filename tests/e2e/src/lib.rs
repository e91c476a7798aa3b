//! What the end-to-end tests share: documents are written here, and answers read.
//!
//! The tests themselves are in `tests/appliance`, one file a theme, all in one binary.

#![forbid(unsafe_code)]

use api::status::{BackendStatus, PoolStatus, Status};
use harness::net::Target;
use serde_json::Value;
use std::fmt::{self, Write};

/// One pool of a document. Its `Display` is TOML.
#[derive(Clone)]
pub struct Pool {
    id: String,
    listen: Vec<String>,
    keys: [String; TABLES.len()],
    backends: String,
}

/// Tables of a pool that a test may give lines for.
const TABLES: [&str; 6] = ["", ".create", ".limits", ".timeouts", ".group.main", ".group.main.health"];

impl Pool {
    pub fn new(id: &str) -> Pool {
        Pool { id: id.to_owned(), listen: Vec::new(), keys: Default::default(), backends: String::new() }
    }

    pub fn listen(mut self, address: &Target) -> Pool {
        self.listen.push(format!("{:?}", address.to_string()));
        self
    }

    /// A backend with nothing but its name and its place.
    pub fn backend(self, id: &str, address: &Target) -> Pool {
        self.backend_with(id, address, "")
    }

    /// `keys`: more lines for its table, such as `weight = 3`.
    pub fn backend_with(self, id: &str, address: &Target, keys: &str) -> Pool {
        self.backend_at(id, &address.to_string(), keys)
    }

    /// With an address that is no [`Target`], such as a host name.
    pub fn backend_at(mut self, id: &str, address: &str, keys: &str) -> Pool {
        let table = format!("[[pool.{}.group.main.backend]]\nid = {id:?}\naddress = {address:?}\n{keys}\n", self.id);
        self.backends.push_str(&table);
        self
    }

    /// More lines for one of the pool's tables: `""`, `.create`, `.limits`, `.timeouts`, `.group.main` or
    /// `.group.main.health`.
    pub fn keys(mut self, table: &str, keys: &str) -> Pool {
        let table =
            TABLES.iter().position(|name| *name == table).unwrap_or_else(|| panic!("{table} is not one of {TABLES:?}"));
        self.keys[table].push_str(keys);
        self.keys[table].push('\n');
        self
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, keys) in TABLES.iter().zip(&self.keys) {
            let create = *table == ".create";
            if keys.is_empty() && !create && *table != ".group.main" {
                continue;
            }
            writeln!(f, "[pool.{}{table}]", self.id)?;
            if create {
                writeln!(f, "service = \"tcp\"\nlisten = [{}]", self.listen.join(", "))?;
            }
            f.write_str(keys)?;
        }
        f.write_str(&self.backends)?;
        f.write_char('\n')
    }
}

/// A pool of a status. Panics when it is not there.
#[track_caller]
pub fn pool<'a>(status: &'a Status, id: &str) -> &'a PoolStatus {
    status.pools.iter().find(|pool| pool.pool == id).unwrap_or_else(|| panic!("there is no pool {id}: {status:?}"))
}

/// A backend of the first pool that has one of this name.
#[track_caller]
pub fn backend<'a>(status: &'a Status, id: &str) -> &'a BackendStatus {
    let backends = status.pools.iter().flat_map(|pool| &pool.backends);
    backends
        .clone()
        .find(|backend| backend.backend == id)
        .unwrap_or_else(|| panic!("there is no backend {id}: {status:?}"))
}

/// The close reasons of these lines of the access log, sorted.
pub fn reasons(log: &[Value]) -> Vec<&str> {
    let mut reasons: Vec<&str> = log.iter().map(|line| line["reason"].as_str().unwrap_or("?")).collect();
    reasons.sort_unstable();
    reasons
}

/// The sum of all samples of this metric whose labels contain each of these `name="value"`.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let values = samples.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
        (found == name && labels.iter().all(|label| found_labels.contains(label)))
            .then(|| value.parse::<f64>().expect("a sample is a number"))
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_written_as_toml() {
        let address = Target::Ip("127.0.0.1:7000".parse().expect("an address"));
        let pool = Pool::new("db")
            .listen(&address)
            .backend_with("a", &address, "weight = 3")
            .keys(".timeouts", "idle = \"1s\"");
        let expected = "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:7000\"]\n[pool.db.timeouts]\nidle = \"1s\"\n[pool.db.group.main]\n\
            [[pool.db.group.main.backend]]\nid = \"a\"\naddress = \"127.0.0.1:7000\"\nweight = 3\n\n";
        assert_eq!(pool.to_string(), expected);
    }

    #[test]
    fn samples_are_summed_by_their_labels() {
        let text =
            "# HELP x y\nx{pool=\"a\",shard=\"0\"} 1\nx{pool=\"a\",shard=\"1\"} 2\nx{pool=\"b\",shard=\"0\"} 4\nxy 8\n";
        assert_eq!(metric(text, "x", &["pool=\"a\""]), 3.0);
        assert_eq!(metric(text, "x", &[]), 7.0);
        assert_eq!(metric(text, "xy", &[]), 8.0);
    }
}
