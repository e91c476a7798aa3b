//! Load generators: what counts is that none of their requests fails. How fast they are is measured elsewhere.

use crate::programs::installed;
use crate::servers::Server;
use crate::site::{Site, count};

const CONTENT_BYTES: usize = 3_000;

#[test]
fn wrk_sees_no_error() {
    const CONNECTIONS: usize = 32;
    let (Some(wrk), Some(server)) = (installed("wrk"), Server::nginx("")) else { return };
    server.file("content", CONTENT_BYTES);
    let site = Site::before(&server.target);
    let connections = CONNECTIONS.to_string();
    let said = site.run_well(&wrk, &["-t", "1", "-c", &connections, "-d", "2s", &site.url("/content")]);
    assert!(!said.out.contains("Socket errors") && !said.out.contains("Non-2xx"), "{}", said.out);
    let completed = number_before(&said.out, " requests in");
    assert!(completed > 0, "{}", said.out);
    // It breaks off with a request under way on each connection.
    let log = site.close_expecting(|line| {
        line["reason"] == "finished" && line["status"] == 200 || line["reason"].as_str().is_some_and(is_clients)
    });
    assert!((completed..=completed + CONNECTIONS).contains(&log.len()), "{} lines for {completed}", log.len());
}

/// ab speaks HTTP/1.0, and asks for the connection to be kept with `-k`.
#[test]
fn ab_sees_no_failure() {
    let (Some(ab), Some(server)) = (installed("ab"), Server::nginx("")) else { return };
    server.file("content", CONTENT_BYTES);
    let site = Site::before(&server.target);
    let url = site.url("/content");
    const REQUESTS: usize = 1_000;
    let requests = REQUESTS.to_string();
    for (kept, arguments) in [(REQUESTS, &["-k"][..]), (0, &[])] {
        let said = site.run_well(&ab, &[&["-q", "-n", &requests, "-c", "16"], arguments, &[&url]].concat());
        let told = |name: &str| {
            let line = said.out.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number"))
        };
        assert_eq!(told("Complete requests:"), Some(REQUESTS), "{}", said.out);
        assert_eq!((told("Failed requests:"), told("Non-2xx responses:")), (Some(0), None), "{}", said.out);
        assert_eq!(told("HTML transferred:"), Some(REQUESTS * CONTENT_BYTES), "{}", said.out);
        assert_eq!(told("Keep-Alive requests:").unwrap_or(0), kept, "{}", said.out);
    }
    let log = site.close(2 * REQUESTS);
    assert_eq!(count(&log, "version", "HTTP/1.0"), 2 * REQUESTS);
}

/// The content of each request goes up as that of the answer comes down.
#[test]
fn ab_sends_content() {
    let (Some(ab), Some(server)) = (installed("ab"), Server::nginx("dav_methods PUT;")) else { return };
    let site = Site::before(&server.target);
    let content = site.file("content", 20_000);
    let said = site.run_well(&ab, &["-q", "-k", "-n", "300", "-c", "8", "-u", "content", &site.url("/put")]);
    assert!(said.out.contains("Failed requests:        0") && !said.out.contains("Non-2xx"), "{}", said.out);
    assert_eq!(std::fs::read(server.files().join("put")).expect("it is there"), content);
    // The first makes the file, the others replace it.
    let log = site.close(300);
    assert_eq!(count(&log, "status", 201) + count(&log, "status", 204), 300);
}

/// A close reason that the client is answerable for.
fn is_clients(reason: &str) -> bool {
    reason.starts_with("client-")
}

/// The number that ends where this text begins.
fn number_before(text: &str, what: &str) -> usize {
    let (before, _) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    let word = before.rsplit(char::is_whitespace).next().expect("a text has a last word");
    word.parse().unwrap_or_else(|_| panic!("{word:?} before {what:?} is no number: {text}"))
}
