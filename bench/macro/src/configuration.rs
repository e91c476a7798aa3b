//! What each contestant is told: one listener, one backend, nothing else switched on.
//!
//! Everything not written here is the program's own default, as its users meet it. Time-outs are long, so
//! that none fires and none is the reason of a difference. In HTTP each keeps its connections to the origin, tells
//! the origin whose the request is, and writes no log.

use std::net::SocketAddr;
use std::path::Path;

/// More than any scenario opens.
const CONNECTIONS: usize = 4096;

/// Idle connections to the origin that are kept. More than any scenario has under way.
const IDLE: usize = 256;

/// One thread, splice wherever HAProxy knows how to.
pub fn haproxy_tcp(front: SocketAddr, origin: SocketAddr, cpu: usize) -> String {
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

/// One thread, connections to the origin shared by all clients.
pub fn haproxy_http(front: SocketAddr, origin: SocketAddr, cpu: usize) -> String {
    format!(
        "global
    maxconn {CONNECTIONS}
    nbthread 1
    cpu-map auto:1/1 {cpu}

defaults
    mode http
    option splice-auto
    option forwardfor
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h

frontend front
    bind {front}
    default_backend origins

backend origins
    server origin {origin}
"
    )
}

/// One process: the worker's own loop, without a master that would be a second process to account and to end.
/// `directory` takes all files. Without the two bounds on requests it would close each connection, on
/// either side, after a thousand.
pub fn nginx_http(front: SocketAddr, origin: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
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
    keepalive_timeout 1h;
    keepalive_requests 1000000000;

    upstream origins {{
        server {origin};
        keepalive {IDLE};
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}

    server {{
        listen {front};

        location / {{
            proxy_pass http://origins;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
    )
}

/// One shard. `directory` takes the control socket.
pub fn sluicegate_tcp(front: SocketAddr, origin: SocketAddr, directory: &Path) -> String {
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

/// One shard, one rule that takes every request.
pub fn sluicegate_http(front: SocketAddr, origin: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "[appliance]
shards = 1
control_socket = \"{directory}/control.sock\"

[pool.bench.create]
service = \"http\"
listen = [\"{front}\"]

[pool.bench]
access_log = false

[pool.bench.timeouts]
connect = \"5s\"
first_byte = \"1h\"
answer = \"1h\"
keep_alive = \"1h\"

[[pool.bench.rule]]
id = \"all\"
group = \"main\"

[pool.bench.group.main]
balance = \"round-robin\"
idle_max = {IDLE}
idle_timeout = \"1h\"

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
            &haproxy_tcp(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), 3),
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
        let text = sluicegate_tcp(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), Path::new("/tmp/x"));
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
        check_taken(&text);
    }

    /// Sluicegate takes this document, and has nothing to warn of.
    fn check_taken(text: &str) {
        let around = config::Surroundings { source: &config::NoFiles, variables: &|_| None, shards_auto: 2 };
        match config::parse(Path::new("bench.toml"), text.as_bytes(), &around) {
            Ok(parsed) => assert!(parsed.warnings.is_empty(), "{}", parsed.warnings),
            Err(problems) => panic!("{problems}"),
        }
    }

    #[test]
    fn haproxy_shares_its_connections_to_the_origin_and_tells_whose_a_request_is() {
        check(
            &haproxy_http(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), 3),
            &[
                "nbthread 1",
                "cpu-map auto:1/1 3",
                "mode http",
                "option forwardfor",
                "http-reuse always",
                "timeout http-keep-alive 1h",
                "bind 127.0.0.1:7001",
                "server origin [::1]:9001",
            ],
        );
    }

    #[test]
    fn nginx_is_one_process_that_keeps_its_connections_to_the_origin() {
        check(
            &nginx_http(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), Path::new("/tmp/x")),
            &[
                "daemon off;",
                "master_process off;",
                "worker_processes 1;",
                "pid /tmp/x/nginx.pid;",
                "access_log off;",
                "proxy_temp_path /tmp/x/proxy;",
                "server [::1]:9001;",
                "keepalive 256;",
                "listen 127.0.0.1:7001;",
                "proxy_http_version 1.1;",
                "proxy_set_header Connection \"\";",
                "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            ],
        );
    }

    #[test]
    fn sluicegate_has_one_rule_for_all_requests_and_no_access_log() {
        let text = sluicegate_http(FRONT.parse().unwrap(), ORIGIN.parse().unwrap(), Path::new("/tmp/x"));
        check(
            &text,
            &[
                "shards = 1",
                "service = \"http\"",
                "listen = [\"127.0.0.1:7001\"]",
                "access_log = false",
                "[[pool.bench.rule]]",
                "group = \"main\"",
                "idle_max = 256",
                "address = \"[::1]:9001\"",
            ],
        );
        check_taken(&text);
    }
}
