//! What each program is told: the same groups, rules and list, in its own language.
//!
//! A request for [`VERSION_PATH`] is answered by the program itself with the document's version, so that nobody needs an
//! origin and a change of the document shows. Backends are addresses on loopback where nobody listens: no request goes there.
//! Entries of the list stand apart by as much as they cover, so that none can be joined with its neighbour.

use serde::Serialize;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

pub const VERSION_HOST: &str = "version.example";
pub const VERSION_PATH: &str = "/version";
/// The list's name, and with an ending its file's.
pub const LIST: &str = "blocked";

/// Of the connections; nobody opens more than a few.
const CONNECTIONS: usize = 4096;
/// In one group.
pub const BACKENDS: usize = 10;
/// Of one host, with a rule each.
const PREFIXES: usize = 10;
/// The first entry of the list: 11.0.0.0/28, and then every other /28.
const FIRST_ENTRY: u32 = 0x0b00_0000;
const ENTRY_STEP: u32 = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    Small,
    Full,
}

impl Size {
    pub const ALL: [Size; 2] = [Size::Small, Size::Full];

    pub fn label(self) -> &'static str {
        match self {
            Size::Small => "small",
            Size::Full => "full",
        }
    }

    /// With [`BACKENDS`] each. There are as many hosts, with [`PREFIXES`] rules each, which lead to the group of their number.
    pub fn groups(self) -> usize {
        match self {
            Size::Small => 10,
            Size::Full => 10_000,
        }
    }

    pub fn entries(self) -> usize {
        self.groups() * 100
    }

    pub fn told(self) -> String {
        let groups = self.groups();
        format!(
            "{groups} groups of {BACKENDS} backends, {} rules over {groups} hosts, a list of {} prefixes",
            groups * PREFIXES,
            self.entries()
        )
    }
}

/// What may differ from one document of a size to the next.
#[derive(Clone, Copy)]
pub struct Edition {
    /// What [`VERSION_PATH`] answers.
    pub version: u32,
    /// Of the first backend of the first group; all others have 1.
    pub weight: u32,
}

impl Edition {
    pub const FIRST: Edition = Edition { version: 1, weight: 1 };

    fn weight(self, group: usize, backend: usize) -> u32 {
        if (group, backend) == (0, 0) { self.weight } else { 1 }
    }
}

/// The name of the `n`th rule, the host and path prefix that it asks for, and the group it leads to.
pub fn rule(n: usize) -> (String, String, String, usize) {
    let (host, prefix) = (n / PREFIXES, n % PREFIXES);
    (format!("r{host}-{prefix}"), format!("h{host}.example"), format!("/p{prefix}"), host)
}

pub fn rules(size: Size) -> usize {
    size.groups() * PREFIXES
}

/// One entry to a line, each followed by `end`.
pub fn list(size: Size, end: &str) -> String {
    let mut text = String::new();
    for n in 0..size.entries() as u32 {
        let _ = writeln!(text, "{}/28{end}", Ipv4Addr::from_bits(FIRST_ENTRY + n * ENTRY_STEP));
    }
    text
}

/// One shard; journal in `state`; every generation that a run makes can be gone back to. The list is in `blocked.list`.
/// `groups`: with their hosts and rules.
pub fn sluicegate(groups: usize, edition: Edition, front: SocketAddr, directory: &Path, state: &Path) -> String {
    let (directory, state, version) = (directory.display(), state.display(), edition.version);
    let mut text = format!(
        "[appliance]
shards = 1
control_socket = \"{directory}/control.sock\"
state_dir = \"{state}\"

[reload]
keep_generations = 10000

[list.{LIST}]
file = \"{LIST}.list\"

[pool.web]
access_log = false

[pool.web.create]
service = \"http\"
listen = [\"{front}\"]

[[pool.web.rule]]
id = \"{LIST}\"
source = \"{LIST}\"
deny = 403

[[pool.web.rule]]
id = \"version\"
host = \"{VERSION_HOST}\"
path = \"{VERSION_PATH}\"
respond = \"{version}\"
"
    );
    for n in 0..groups * PREFIXES {
        let (id, host, prefix, group) = rule(n);
        let _ = write!(
            text,
            "\n[[pool.web.rule]]\nid = \"{id}\"\nhost = \"{host}\"\npath_prefix = \"{prefix}\"\ngroup = \"g{group}\"\n"
        );
    }
    for group in 0..groups {
        let _ = write!(text, "\n[pool.web.group.g{group}]\nbackend = [\n");
        for backend in 0..BACKENDS {
            let (address, weight) = (address(group, backend), edition.weight(group, backend));
            let _ = writeln!(text, "    {{ id = \"b{backend}\", address = \"{address}\", weight = {weight} }},");
        }
        text.push_str("]\n");
    }
    text
}

/// One thread. Rules are one map of host and path prefix, as nobody writes 100,000 lines of `use_backend`: `rules.map`.
pub fn haproxy(size: Size, edition: Edition, front: SocketAddr, cpu: usize, directory: &Path) -> String {
    let (directory, version) = (directory.display(), edition.version);
    let mut text = format!(
        "global
    maxconn {CONNECTIONS}
    nbthread 1
    cpu-map auto:1/1 {cpu}
    stats socket {directory}/haproxy.sock mode 600 level admin
    stats timeout 1h

defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h

frontend front
    bind {front}
    http-request deny deny_status 403 if {{ src -f {directory}/{LIST}.list }}
    http-request return status 200 content-type text/plain string \"{version}\" if {{ path {VERSION_PATH} }}
    use_backend %[base,map_beg({directory}/rules.map)]
"
    );
    for group in 0..size.groups() {
        let _ = write!(text, "\nbackend g{group}\n");
        for backend in 0..BACKENDS {
            let (address, weight) = (address(group, backend), edition.weight(group, backend));
            let _ = writeln!(text, "    server b{backend} {address} weight {weight}");
        }
    }
    text
}

pub fn haproxy_map(size: Size) -> String {
    let mut text = String::new();
    for n in 0..rules(size) {
        let (_, host, prefix, group) = rule(n);
        let _ = writeln!(text, "{host}{prefix} g{group}");
    }
    text
}

/// A master and one worker, which is what can be reloaded. The list is asked where the version is; elsewhere it would have
/// to be asked in each `server`. The list is in `blocked.geo`.
pub fn nginx(size: Size, edition: Edition, front: SocketAddr, directory: &Path) -> String {
    let (directory, version) = (directory.display(), edition.version);
    let mut text = format!(
        "daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;

events {{
    worker_connections {CONNECTIONS};
}}

http {{
    access_log off;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server_names_hash_max_size 262144;
    server_names_hash_bucket_size 128;

    geo ${LIST} {{
        default 0;
        include {directory}/{LIST}.geo;
    }}

    server {{
        listen {front} default_server;
        server_name {VERSION_HOST};
        location = {VERSION_PATH} {{
            if (${LIST}) {{ return 403; }}
            return 200 \"{version}\";
        }}
    }}
"
    );
    for group in 0..size.groups() {
        let _ = write!(text, "\n    upstream g{group} {{\n");
        for backend in 0..BACKENDS {
            let (address, weight) = (address(group, backend), edition.weight(group, backend));
            let _ = writeln!(text, "        server {address} weight={weight};");
        }
        text.push_str("    }\n");
    }
    for host in 0..size.groups() {
        let _ = write!(text, "\n    server {{\n        listen {front};\n        server_name h{host}.example;\n");
        for n in host * PREFIXES..(host + 1) * PREFIXES {
            let (_, _, prefix, group) = rule(n);
            let _ = writeln!(text, "        location {prefix} {{ proxy_pass http://g{group}; }}");
        }
        text.push_str("    }\n");
    }
    text.push_str("}\n");
    text
}

/// Every backend has another.
fn address(group: usize, backend: usize) -> SocketAddr {
    let host = Ipv4Addr::new(127, 1, (group / 250) as u8, (group % 250) as u8 + 1);
    SocketAddr::from((host, 9000 + backend as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const FRONT: &str = "127.0.0.1:7001";

    #[test]
    fn no_two_backends_and_no_two_entries_are_the_same() {
        let groups = Size::Full.groups();
        let pairs = (0..groups).flat_map(|group| (0..BACKENDS).map(move |backend| (group, backend)));
        let addresses: BTreeSet<_> = pairs.map(|(group, backend)| address(group, backend)).collect();
        assert_eq!(addresses.len(), groups * BACKENDS);
        let list = list(Size::Full, "");
        let entries: BTreeSet<_> = list.lines().collect();
        assert_eq!(entries.len(), 1_000_000);
        assert!(entries.iter().all(|entry| !entry.starts_with("127.")), "the clients must not be in it");
    }

    #[test]
    fn sluicegate_takes_its_document_and_has_nothing_to_warn_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.toml");
        std::fs::write(folder.path().join("blocked.list"), list(Size::Small, "")).unwrap();
        let edition = Edition { version: 7, weight: 3 };
        let text = sluicegate(Size::Small.groups(), edition, FRONT.parse().unwrap(), folder.path(), folder.path());
        let around = config::Surroundings { source: &config::Disk, variables: &|_| None, shards_auto: 2 };
        match config::parse(&path, text.as_bytes(), &around) {
            Ok(parsed) => assert!(parsed.warnings.is_empty(), "{}", parsed.warnings),
            Err(problems) => panic!("{problems}"),
        }
        assert_eq!(text.matches("weight = 3").count(), 1);
        assert_eq!(text.matches("weight = 1 ").count(), 99);
        assert_eq!(text.matches("path_prefix").count(), 100);
        assert!(text.contains("respond = \"7\"\n"), "{text}");
    }

    #[test]
    fn the_others_are_told_the_same() {
        let edition = Edition { version: 7, weight: 3 };
        let folder = Path::new("/tmp/x");
        let haproxy = haproxy(Size::Small, edition, FRONT.parse().unwrap(), 0, folder);
        assert_eq!((haproxy.matches("server b").count(), haproxy.matches("weight 3").count()), (100, 1));
        assert!(haproxy.contains("string \"7\""), "{haproxy}");
        assert_eq!(haproxy_map(Size::Small).lines().nth(99), Some("h9.example/p9 g9"));
        let nginx = nginx(Size::Small, edition, FRONT.parse().unwrap(), folder);
        assert_eq!((nginx.matches("weight=").count(), nginx.matches("weight=3;").count()), (100, 1));
        assert_eq!(nginx.matches("location /p").count(), 100);
        assert!(nginx.contains("return 200 \"7\";"), "{nginx}");
        assert_eq!(list(Size::Small, " 1;").lines().nth(1), Some("11.0.0.32/28 1;"));
    }
}
