//! Each key as it is written: a line of TOML under the head of its table.
//!
//! A default is example enough where it says something. For the other keys one stands here; a test asks for it when a
//! key is added, and reads each example back.

use crate::keys::{Service, TABLES};
use crate::schema::Key;

/// What operators call things, for the names that a path leaves open.
const POOL: &str = "web";
const TCP_POOL: &str = "db";
const GROUP: &str = "app";
const LIST: &str = "office";

impl Key {
    /// Two lines, or one for a key of the top level: `[pool.web.timeouts]` and `idle = "1h"`. `None`: nobody has
    /// thought of one yet.
    pub fn example(&self) -> Option<String> {
        let value = self.example_value()?;
        let line = format!("{} = {value}", self.name);
        Some(match head(self.path.strip_suffix(self.name)?.trim_end_matches('.'), self.is_of_tcp()) {
            Some(head) => format!("{head}\n{line}"),
            None => line,
        })
    }

    fn example_value(&self) -> Option<String> {
        let thought_of = VALUES.iter().find(|(path, _)| *path == self.path).map(|(_, value)| (*value).to_owned());
        thought_of.or_else(|| self.default_text().filter(|text| !SAYS_NOTHING.contains(&text.as_str())))
    }

    fn is_of_tcp(&self) -> bool {
        let table = TABLES.iter().find(|table| table.keys.iter().any(|key| key.path == self.path));
        table.is_some_and(|table| table.service == Some(Service::Tcp))
    }
}

/// Defaults that show no value.
const SAYS_NOTHING: &[&str] = &["[]", "{}", "\"off\""];

/// `[pool.web.group.app]`, or in double brackets where the table is an element of a list.
fn head(table: &str, tcp: bool) -> Option<String> {
    let mut names = Vec::new();
    for part in table.split('.').filter(|part| !part.is_empty()) {
        names.push(match (part, names.last().copied()) {
            ("*", Some("pool")) if tcp => TCP_POOL,
            ("*", Some("pool")) => POOL,
            ("*", Some("group")) => GROUP,
            ("*", _) => LIST,
            (name, _) => name.trim_end_matches("[]"),
        });
    }
    let path = names.join(".");
    match () {
        () if path.is_empty() => None,
        () if table.ends_with("[]") => Some(format!("[[{path}]]")),
        () => Some(format!("[{path}]")),
    }
}

const VALUES: &[(&str, &str)] = &[
    ("include", r#"["pools/*.toml"]"#),
    ("appliance.control_socket", r#""/run/sluicegate/sluicegate.sock""#),
    ("appliance.state_dir", r#""/var/lib/sluicegate""#),
    ("log.access.template", r#""{time} {client} {status}""#),
    ("log.access.path", r#""/var/log/sluicegate/access.log""#),
    ("pool.*.hosts", r#"["example.com", "*.example.com"]"#),
    ("pool.*.create.service", r#""http""#),
    ("pool.*.create.listen", r#"["127.0.0.1:8080", "[::1]:8080"]"#),
    ("pool.*.create.shards", "[0, 1]"),
    ("pool.*.limits.max_connections", "10000"),
    ("pool.*.timeouts.lifetime", r#""1d""#),
    ("pool.*.timeouts.total", r#""30s""#),
    ("pool.*.http.body_max", r#""10MiB""#),
    ("pool.*.http.via", r#""edge""#),
    ("pool.*.rule[].host", r#"["example.com", "*.example.com"]"#),
    ("pool.*.rule[].host_list", r#""tenants""#),
    ("pool.*.rule[].path", r#""/about""#),
    ("pool.*.rule[].path_prefix", r#""/api""#),
    ("pool.*.rule[].path_template", r#""/users/{id}""#),
    ("pool.*.rule[].path_regex", r#"'^/v[0-9]+/'"#),
    ("pool.*.rule[].method", r#"["GET", "HEAD"]"#),
    ("pool.*.rule[].header", r#"{ Upgrade = "websocket" }"#),
    ("pool.*.rule[].query", "{ live = true }"),
    ("pool.*.rule[].source", r#"["10.0.0.0/8", "office"]"#),
    ("pool.*.rule[].all", r#"[{ host = "a.example" }, { path = "/x" }]"#),
    ("pool.*.rule[].any", r#"[{ host = "a.example" }, { path = "/x" }]"#),
    ("pool.*.rule[].not", r#"{ source = "office" }"#),
    ("pool.*.rule[].id", r#""users""#),
    ("pool.*.rule[].order", "100"),
    ("pool.*.rule[].group", r#""app""#),
    ("pool.*.rule[].redirect", r#"{ to = "https://{host}{uri}", status = 301 }"#),
    ("pool.*.rule[].respond", r#"{ status = 200, body = "pong" }"#),
    ("pool.*.rule[].deny", "403"),
    ("pool.*.rule[].rewrite", r#"{ strip_prefix = "/api" }"#),
    ("pool.*.rule[].request_headers", r#"{ set = { X-Tenant = "a" }, remove = ["Cookie"] }"#),
    ("pool.*.rule[].response_headers", r#"{ add = { Vary = "Accept" } }"#),
    ("pool.*.page[].status", r#"[404, "500-504"]"#),
    ("pool.*.page[].body", r#""<h1>sorry</h1>""#),
    ("pool.*.page[].file", r#""pages/sorry.html""#),
    ("pool.*.group.*.hash_on", r#""cookie:session""#),
    ("pool.*.group.*.retry.statuses", "[502, 503]"),
    ("pool.*.group.*.health.host", r#""app.internal""#),
    ("pool.*.group.*.health.body", r#""ready""#),
    ("pool.*.group.*.backend[].id", r#""a""#),
    ("pool.*.group.*.backend[].address", r#""127.0.0.1:9001""#),
    ("pool.*.group.*.backend[].max_connections", "100"),
    ("test[].name", r#""the start page""#),
    ("test[].request", r#""GET http://example.com/api?x=1""#),
    ("test[].headers", r#"{ Cookie = "session=1" }"#),
    ("test[].from", r#""192.0.2.7""#),
    ("test[].pool", r#""web""#),
    ("test[].expect", r#"{ group = "app" }"#),
    ("list.*.file", r#""lists/blocked.txt""#),
    ("list.*.except", r#"["192.0.2.9"]"#),
    ("list.*.entries", r#"["192.0.2.0/24", "2001:db8::/32"]"#),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keys;
    use crate::{NoFiles, Surroundings};
    use std::path::Path;

    /// Codes of problems that a key by itself may have; others are of what stands around it.
    const OF_THE_VALUE: [&str; 4] = ["bad_value", "wrong_type", "unknown_key", "syntax"];

    #[test]
    fn every_key_has_an_example_that_reads_as_a_value_of_it() {
        for key in keys() {
            let example = key.example();
            let example = example.unwrap_or_else(|| panic!("{}: add an example to VALUES in {}", key.path, file!()));
            let around = Surroundings { source: &NoFiles, variables: &|_| None, shards_auto: 2 };
            let Err(problems) = crate::parse(Path::new("site.toml"), example.as_bytes(), &around) else { continue };
            let wrong = problems.iter().find(|problem| OF_THE_VALUE.contains(&problem.code.label()));
            assert!(wrong.is_none(), "{example}\n{}", wrong.expect("there is one"));
        }
    }

    #[test]
    fn an_example_shows_where_the_key_stands() {
        let example = |path| keys().find(|key| key.path == path).and_then(Key::example).unwrap();
        assert_eq!(example("pool.*.timeouts.idle"), "[pool.web.timeouts]\nidle = \"1h\"");
        assert_eq!(example("pool.*.group.*.attempts"), "[pool.db.group.app]\nattempts = 3");
        assert_eq!(example("pool.*.group.*.backend[].weight"), "[[pool.web.group.app.backend]]\nweight = 1");
        assert_eq!(example("include"), "include = [\"pools/*.toml\"]");
    }

    #[test]
    fn nothing_is_an_example_of_what_is_not_there() {
        for (path, _) in VALUES {
            assert!(keys().any(|key| key.path == *path), "{path}");
        }
    }
}
