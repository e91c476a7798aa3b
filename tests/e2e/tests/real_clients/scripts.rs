//! Libraries: each is driven by a script of its own, beside this file, which checks what it gets and says `well` at
//! the end.

use crate::programs::{installed, python_with, script};
use crate::servers::Server;
use crate::site::{Site, count};
use harness::http::{Conduct, Origin};
use harness::net::{Stream, Target};
use harness::process::Process;
use harness::wait::{Deadline, until};
use std::path::Path;

/// Runs the script against the site. It prints how many requests it made.
#[track_caller]
fn run_script(site: &Site, interpreter: &Path, name: &str) -> usize {
    let script = script(name);
    let said = site.run_well(interpreter, &[script.to_str().expect("paths of tests are UTF-8"), &site.url("")]);
    let last = said.out.lines().last().and_then(|line| line.strip_prefix("well: "));
    let requests = last.and_then(|rest| rest.parse().ok());
    requests.unwrap_or_else(|| panic!("{name} did not say that all is well: {}{}", said.out, said.err))
}

/// An origin that gives an account of what reached it, in the way that the path asks for.
fn origin() -> Origin {
    Origin::choosing("origin", |request| match request.target.split('?').next() {
        Some("/chunks") => Conduct::Chunks { bytes: 1_000 },
        Some("/early-hints") => Conduct::Interim { status: 103, count: 2 },
        Some("/until-end") => Conduct::UntilEnd,
        // As many frameworks send it, against RFC 9110, section 8.6.
        Some("/none") => {
            Conduct::Sends { bytes: b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".to_vec(), ends: false }
        }
        _ => Conduct::Good,
    })
}

fn check_with_accounts(interpreter: &Path, name: &str) {
    let origin = origin();
    let site = Site::with(origin.target(), |pool| {
        pool.rule("path = \"/moved\"\nredirect = { to = \"/there\", status = 307 }")
    });
    let requests = run_script(&site, interpreter, name);
    assert_eq!(origin.malformed(), [""; 0]);
    let log = site.close(requests);
    assert!(count(&log, "status", 307) > 0, "no redirect: {log:#?}");
}

#[test]
fn python_requests() {
    let Some(python) = python_with("requests") else { return };
    check_with_accounts(&python, "with_requests.py");
}

#[test]
fn python_aiohttp() {
    let Some(python) = python_with("aiohttp") else { return };
    check_with_accounts(&python, "with_aiohttp.py");
}

#[test]
fn node_fetch() {
    let Some(node) = installed("node") else { return };
    check_with_accounts(&node, "with_fetch.mjs");
}

/// The origin is made with the same library as the clients, which are two: one with compression of its own, one without.
#[test]
fn python_websockets() {
    let Some(python) = python_with("websockets") else { return };
    let back = Target::fresh();
    let address = back.ip();
    let words = [
        python.display().to_string(),
        script("echoes.py").display().to_string(),
        address.ip().to_string(),
        address.port().to_string(),
    ];
    let server = Process::spawn(&words, &[]);
    until("the origin listens", || Stream::connect(&back, Deadline::patient()).map(drop));
    let site = Site::before(&back);
    let requests = run_script(&site, &python, "with_websockets.py");
    assert!(server.output().iter().all(|line| !line.contains("Error")), "{:?}", server.output());
    let log = site.close(requests);
    assert_eq!(count(&log, "status", 101), requests);
}

/// A browser's `fetch` against a server that compresses and knows what has changed.
#[test]
fn node_fetch_and_nginx() {
    let settings = "gzip on; gzip_types *;";
    let (Some(node), Some(server)) = (installed("node"), Server::nginx(settings)) else { return };
    server.text("text.txt", &"a line of text\n".repeat(10_000));
    let site = Site::before(&server.target);
    let requests = run_script(&site, &node, "with_fetch_of_files.mjs");
    let log = site.close(requests);
    assert_eq!((count(&log, "status", 206), count(&log, "status", 304)), (1, 1));
}
