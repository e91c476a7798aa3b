//! Documents, pool by pool.

use harness::net::Target;
use std::fmt::{self, Write};

/// One pool of a document. Its `Display` is TOML.
#[derive(Clone)]
pub struct Pool {
    id: String,
    service: &'static str,
    listen: Vec<String>,
    keys: [String; TABLES.len()],
    /// Tables of which there are several: backends, other groups, rules, pages.
    repeated: String,
}

/// Tables of a pool that a test may give lines for.
const TABLES: [&str; 9] = [
    "",
    ".create",
    ".limits",
    ".timeouts",
    ".http",
    ".group.main",
    ".group.main.health",
    ".group.main.retry",
    ".group.main.eject",
];

impl Pool {
    /// Of TCP.
    pub fn new(id: &str) -> Pool {
        Pool::of("tcp", id)
    }

    pub fn http(id: &str) -> Pool {
        Pool::of("http", id)
    }

    fn of(service: &'static str, id: &str) -> Pool {
        let (listen, keys, repeated) = Default::default();
        Pool { id: id.to_owned(), service, listen, keys, repeated }
    }

    pub fn listen(mut self, address: &Target) -> Pool {
        self.listen.push(format!("{:?}", address.to_string()));
        self
    }

    /// A backend of the group `main` with nothing but its name and its place.
    pub fn backend(self, id: &str, address: &Target) -> Pool {
        self.backend_with(id, address, "")
    }

    /// `keys`: more lines for its table, such as `weight = 3`.
    pub fn backend_with(self, id: &str, address: &Target, keys: &str) -> Pool {
        self.backend_at(id, &address.to_string(), keys)
    }

    /// With an address that is no [`Target`], such as a host name.
    pub fn backend_at(self, id: &str, address: &str, keys: &str) -> Pool {
        self.repeat("group.main.backend", &format!("id = {id:?}\naddress = {address:?}\n{keys}"))
    }

    /// Another group than `main`, with one backend of the same name.
    pub fn group(self, name: &str, address: &Target) -> Pool {
        let keys = format!("id = {name:?}\naddress = {:?}", address.to_string());
        self.repeat(&format!("group.{name}.backend"), &keys)
    }

    /// One more rule of a pool of HTTP: the lines of its table.
    pub fn rule(self, keys: &str) -> Pool {
        self.repeat("rule", keys)
    }

    /// What clients read with some statuses: the lines of its table.
    pub fn page(self, keys: &str) -> Pool {
        self.repeat("page", keys)
    }

    fn repeat(mut self, table: &str, keys: &str) -> Pool {
        writeln!(self.repeated, "[[pool.{}.{table}]]\n{keys}", self.id).expect("memory takes all that is written");
        self
    }

    /// More lines for one of the pool's tables, which are [`TABLES`].
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
            let written = !keys.is_empty() || create || *table == ".group.main" && self.service == "tcp";
            if !written {
                continue;
            }
            writeln!(f, "[pool.{}{table}]", self.id)?;
            if create {
                writeln!(f, "service = {:?}\nlisten = [{}]", self.service, self.listen.join(", "))?;
            }
            f.write_str(keys)?;
        }
        f.write_str(&self.repeated)?;
        f.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Target {
        Target::Ip("127.0.0.1:7000".parse().expect("an address"))
    }

    #[test]
    fn a_pool_is_written_as_toml() {
        let pool = Pool::new("db")
            .listen(&address())
            .backend_with("a", &address(), "weight = 3")
            .keys(".timeouts", "idle = \"1s\"");
        let expected = "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:7000\"]\n[pool.db.timeouts]\nidle = \"1s\"\n[pool.db.group.main]\n\
            [[pool.db.group.main.backend]]\nid = \"a\"\naddress = \"127.0.0.1:7000\"\nweight = 3\n\n";
        assert_eq!(pool.to_string(), expected);
    }

    #[test]
    fn a_pool_of_http_has_what_it_is_given_and_no_more() {
        let pool = Pool::http("web").listen(&address()).rule("deny = 403");
        let expected = "[pool.web.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:7000\"]\n\
            [[pool.web.rule]]\ndeny = 403\n\n";
        assert_eq!(pool.to_string(), expected);
    }
}
