//! nginx, Apache and Python as origins: the same requests, whoever answers them.

use crate::programs::installed;
use crate::servers::Server;
use crate::site::{Site, count};
use std::path::Path;

#[test]
fn nginx_is_an_origin_like_any_other() {
    let (Some(curl), Some(server)) = (installed("curl"), Server::nginx("gzip on; gzip_types *;")) else { return };
    every_answer_arrives(&curl, &server);
}

#[test]
fn apache_is_an_origin_like_any_other() {
    let settings = "SetOutputFilter DEFLATE\nKeepAlive On\nMaxKeepAliveRequests 0";
    let (Some(curl), Some(server)) = (installed("curl"), Server::apache(settings)) else { return };
    every_answer_arrives(&curl, &server);
}

/// One that says `Connection: close` on every third answer: its end is no error, and nobody sees it.
#[test]
fn an_origin_that_closes_every_third_connection_is_not_felt() {
    const REQUESTS: usize = 200;
    let Some(curl) = installed("curl") else { return };
    let servers = [Server::nginx("keepalive_requests 3;"), Server::apache("KeepAlive On\nMaxKeepAliveRequests 3")];
    for server in servers.into_iter().flatten() {
        let content = server.file("content", 5_000);
        let site = Site::before(&server.target);
        let url = site.url(&format!("/content?[1-{REQUESTS}]"));
        let said = site.run_well(&curl, &["-sSf", "-o", "#1", "-w", "%{http_code} %{num_connects}\\n", &url]);
        assert_eq!(said.out, format!("200 1\n{}", "200 0\n".repeat(REQUESTS - 1)), "the client's connection is kept");
        for request in 1..=REQUESTS {
            assert_eq!(site.read(&request.to_string()), content);
        }
        let log = site.close(REQUESTS);
        assert_eq!(count(&log, "attempts", 1), REQUESTS, "an announced end needs no second attempt");
        assert!(count(&log, "reused", true) >= REQUESTS / 2, "connections are reused until they end");
    }
}

/// Statuses and bodies through the appliance are those that the origin itself sends.
#[track_caller]
fn every_answer_arrives(curl: &Path, server: &Server) {
    server.file("content", 200_000);
    server.text("text.txt", &"a line of text\n".repeat(10_000));
    server.text("empty.txt", "");
    server.text("folder/index.html", "<p>an index</p>");
    let asked: [&[&str]; 12] = [
        &["/content"],
        &["-I", "/content"],
        &["-r", "100-199", "/content"],
        &["-r", "900000-", "/content"],
        &["-H", "If-None-Match: *", "/content"],
        &["-H", "If-Match: \"another\"", "/content"],
        &["/text.txt"],
        &["-H", "Accept-Encoding: gzip", "/text.txt"],
        &["/empty.txt"],
        &["/folder/"],
        &["/none"],
        &["-X", "DELETE", "/content"],
    ];
    let site = Site::before(&server.target);
    let home = site.home();
    for arguments in asked {
        let (path, options) = arguments.split_last().expect("a path comes last");
        let ask = |front: &str, body: &str| {
            let url = format!("http://{front}{path}");
            let written = "%{http_code} %{content_type} %header{etag} %header{content-encoding} %header{content-range}";
            let said = site.run_well(curl, &[&["-sS", "-o", body, "-w", written], options, &[&url]].concat());
            // The head is what HEAD brings; what differs in it by right is looked at elsewhere.
            let body =
                if options.contains(&"-I") { Vec::new() } else { std::fs::read(home.join(body)).unwrap_or_default() };
            (said.out, body)
        };
        let (through, direct) = (ask(&site.front().to_string(), "through"), ask(&server.target.to_string(), "direct"));
        assert_eq!(through.0, direct.0, "{arguments:?}");
        assert!(through.1 == direct.1, "{arguments:?}: the bodies differ");
        ["through", "direct"].iter().for_each(|name| _ = std::fs::remove_file(home.join(name)));
    }
    let log = site.close(asked.len());
    for status in [206, 304, 404, 405, 412, 416] {
        assert_eq!(count(&log, "status", status), 1, "{status}: {log:#?}");
    }
}

/// One that closes after each answer, and one that does not; neither knows what to do with content.
#[test]
fn python_is_an_origin_of_either_version() {
    let Some(curl) = installed("curl") else { return };
    for protocol in ["HTTP/1.0", "HTTP/1.1"] {
        let Some(server) = Server::python(protocol) else { return };
        let sizes = [0, 1, 1_000, 100_000, 5_000_000];
        let site = Site::before(&server.target);
        for bytes in sizes {
            let content = server.file(&format!("f{bytes}"), bytes);
            for _ in 0..3 {
                site.run_well(&curl, &["-sSf", "-o", "out", &site.url(&format!("/f{bytes}"))]);
                assert_eq!(site.read("out"), content, "{protocol}, {bytes} bytes");
            }
        }
        let log = site.close_expecting(|line| line["reason"] == "finished");
        assert_eq!(count(&log, "status", 200), 3 * sizes.len(), "{log:#?}");
    }
}
