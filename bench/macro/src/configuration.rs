//! What each contestant is told: one listener, one backend, TCP, nothing else switched on.
//!
//! Everything not written here is the program's own default, as its users meet it. Time-outs are long, so
//! that none fires and none is the reason of a difference.

use std::net::SocketAddr;
use std::path::Path;

/// More than any scenario opens.
const CONNECTIONS: usize = 4096;

/// One thread, splice wherever HAProxy knows how to.
pub fn haproxy(front: SocketAddr, origin: SocketAddr, cpu: usize) -> String {
    format!(
        "global
    maxconn {CONNECTIONS}
    nbthread 1
    cpu-map auto:1/1 {cpu}

defaults
    mode tcp
    option splice-auto
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout client-fin 1h
    timeout tunnel 1h

frontend front
    bind {front}
    default_backend origins

backend origins
    server origin {origin}
"
    )
}

/// One shard. `directory` takes the control socket.
pub fn sluicegate(front: SocketAddr, origin: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "[appliance]
shards = 1
control_socket = \"{directory}/control.sock\"

[pool.bench.create]
service = \"tcp\"
listen = [\"{front}\"]

[pool.bench]
access_log = false

[pool.bench.timeouts]
connect = \"5s\"
idle = \"1h\"

[pool.bench.group.main]
balance = \"round-robin\"

[[pool.bench.group.main.backend]]
id = \"origin\"
address = \"{origin}\"
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRONT: &str = "127.0.0.1:7001";
    const ORIGIN: &str = "[::1]:9001";

    /// Every line of `expected` stands in `text`, in that order.
    fn check(text: &str, expected: &[&str]) {
        let mut lines = text.lines().map(str::trim);
        for line in expected {
            assert!(lines.any(|found| found == *line), "no line {line:?}, or not there, in\n{text}");
        }
    }

    #[test]
    fn haproxy_runs_one_pinned_thread_in_tcp_mode_and_splices_both_ways() {
        check(
            &haproxy(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), 3),
            &[
                "global",
                "nbthread 1",
                "cpu-map auto:1/1 3",
                "defaults",
                "mode tcp",
                "option splice-auto",
                "option splice-request",
                "option splice-response",
                "timeout client 1h",
                "timeout server 1h",
                "bind 127.0.0.1:7001",
                "server origin [::1]:9001",
            ],
        );
    }

    #[test]
    fn sluicegate_runs_one_shard_with_one_backend_and_no_access_log() {
        let text = sluicegate(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), Path::new("/tmp/x"));
        check(
            &text,
            &[
                "[appliance]",
                "shards = 1",
                "control_socket = \"/tmp/x/control.sock\"",
                "[pool.bench.create]",
                "service = \"tcp\"",
                "listen = [\"127.0.0.1:7001\"]",
                "access_log = false",
                "[[pool.bench.group.main.backend]]",
                "address = \"[::1]:9001\"",
            ],
        );
        let around = config::Surroundings { source: &config::NoFiles, variables: &|_| None, shards_auto: 2 };
        match config::parse(Path::new("bench.toml"), text.as_bytes(), &around) {
            Ok(parsed) => assert!(parsed.warnings.is_empty(), "{}", parsed.warnings),
            Err(problems) => panic!("{problems}"),
        }
    }
}
