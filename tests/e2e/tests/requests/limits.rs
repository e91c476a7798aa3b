//! Bounds of size, number and time: each has its status, its reason, and an answer that arrives.

use crate::Site;
use harness::http::client::{After, Upload};
use harness::http::request::Content;
use harness::http::{Conduct, Request};

/// The reason of the newest line of the access log, which has so many.
fn reason(site: &Site, lines: usize) -> String {
    let log = site.appliance.wait_access_log(lines);
    assert_eq!(log.len(), lines, "{log:?}");
    log[lines - 1]["reason"].as_str().expect("a line has a reason").to_owned()
}

#[test]
fn heads_have_bounds() {
    let site = Site::with(Conduct::Good, |pool| {
        pool.keys(".http", "head_max = \"4KiB\"\nline_max = \"512B\"\nfields_max = 20")
    });
    let long = |bytes: usize| Request::get("h", &format!("/{}", "p".repeat(bytes)));
    let large = |bytes: usize| Request::get("h", "/").field("X-Large", "v".repeat(bytes));
    let many = |fields: usize| (0..fields).fold(Request::get("h", "/"), |request, nr| request.field("X-One", nr));
    let attempts = [
        (long(400), 200, ""),
        (long(600), 414, "request-line-too-long"),
        (large(3_500), 200, ""),
        (large(4_500), 431, "head-too-large"),
        (large(200_000), 431, "head-too-large"),
        (many(19), 200, ""),
        (many(20), 431, "too-many-fields"),
    ];
    for (nr, (request, status, violation)) in attempts.iter().enumerate() {
        let response = site.ask(request);
        assert_eq!(response.status, *status, "attempt {nr}");
        assert_eq!(response.after == After::Ended, *status != 200, "attempt {nr}");
        assert_eq!(site.appliance.wait_access_log(nr + 1)[nr]["violation"].as_str().unwrap_or(""), *violation);
    }
    assert_eq!(site.origin.seen().requests, 3);
}

#[test]
fn content_has_a_bound() {
    let site = Site::with(Conduct::Good, |pool| pool.keys(".http", "body_max = \"10KiB\""));
    let content = |bytes| Content::Pattern { seed: 1, bytes };
    assert_eq!(site.ask(&Request::post("h", "/", content(10_240))).status, 200);
    assert_eq!(site.ask(&Request::post("h", "/", content(10_240)).chunked(1_000)).status, 200);
    // Refused before it is sent; all that is sent nevertheless is read, so that the answer is not lost to a reset.
    let seen = site.origin.wait_seen("both answered", |seen| seen.answered == 2);
    assert_eq!(site.ask(&Request::post("h", "/", content(10_241))).status, 413);
    assert_eq!(site.ask(&Request::post("h", "/", content(1_000_000))).status, 413);
    assert_eq!(site.origin.seen(), seen);
    let waiting = site.ask(&Request::post("h", "/", content(20_000)).expecting_continue());
    assert_eq!((waiting.status, waiting.upload), (413, Upload::Withheld));
    // Of chunks it shows late.
    assert_eq!(site.ask(&Request::post("h", "/", content(300_000)).chunked(1_000)).status, 413);
    assert_eq!(site.origin.seen().whole, 2);
}

#[test]
fn what_is_not_done_has_its_status() {
    let site = Site::good();
    for (nr, (bytes, status)) in [
        (&b"POST / HTTP/1.0\r\nHost: h\r\n\r\n"[..], 411),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = site.client();
        client.send_raw(bytes).expect("it is taken");
        let response = client.read().unwrap_or_else(|failure| panic!("{}: {failure}", bytes.escape_ascii()));
        assert_eq!((response.status, &response.after), (status, &After::Ended), "{}", bytes.escape_ascii());
        assert_eq!(reason(&site, nr + 1), "refused");
    }
    assert_eq!(site.origin.seen().accepted, 0);
}

#[test]
fn who_is_too_slow_is_told_so() {
    let site = Site::with(Conduct::Good, |pool| pool.keys(".timeouts", "head = \"200ms\"\nbody = \"200ms\""));
    let check = |bytes: &[u8], lines: usize, expected: &str| {
        let mut client = site.client();
        client.send_raw(bytes).expect("it is taken");
        let response = client.read().expect("an answer");
        assert_eq!((response.status, response.after), (408, After::Ended), "{}", bytes.escape_ascii());
        assert_eq!(reason(&site, lines), expected);
    };
    check(b"G", 1, "head-timeout");
    check(b"GET / HTTP/1.1\r\nHost: h\r\n", 2, "head-timeout");
    assert_eq!(site.origin.seen().accepted, 0);
    check(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc", 3, "body-timeout");
    check(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", 4, "body-timeout");
    assert_eq!(site.origin.seen().whole, 0);
}

/// A connection that has asked for nothing, or for nothing more, ends without a word.
#[test]
fn who_asks_nothing_is_let_go_in_peace() {
    let site = Site::with(Conduct::Good, |pool| pool.keys(".timeouts", "keep_alive = \"200ms\""));
    let mut silent = site.client();
    silent.wait_end().expect("a proper end");
    let mut client = site.client();
    assert_eq!(client.exchange(&Request::get("h", "/")).expect("an answer").status, 200);
    client.wait_end().expect("a proper end");
    assert_eq!(reason(&site, 1), "finished");
    assert_eq!(e2e::metric(&site.appliance.metrics(), "sluicegate_pool_closed_total", &["keep-alive-timeout"]), 2.0);
}

#[test]
fn origins_have_their_time() {
    let site = Site::with(Conduct::StallsBeforeHead, |pool| pool.keys(".timeouts", "first_byte = \"200ms\""));
    let response = site.get("/");
    assert_eq!((response.status, reason(&site, 1)), (504, "first-byte-timeout".to_owned()));
    assert_eq!(response.text(), "504 Gateway Timeout\n");
    site.origin.wait_seen("it is left alone", |seen| seen.open == 0);

    let site = Site::with(Conduct::StallsMidBody { after: 100 }, |pool| pool.keys(".timeouts", "answer = \"200ms\""));
    site.client().exchange(&Request::get("h", "/")).expect_err("half an answer is none");
    assert_eq!(reason(&site, 1), "answer-timeout");

    let site = Site::with(Conduct::StallsBeforeHead, |pool| pool.keys(".timeouts", "total = \"200ms\""));
    assert_eq!(site.get("/").status, 504);
    assert_eq!(reason(&site, 1), "total-timeout");
}

/// Each way in which an origin cannot be reached or does not answer.
#[test]
fn origins_that_do_not_answer_are_a_bad_gateway() {
    for (conduct, why) in [
        (Conduct::Refuses, "connect-failed"),
        (Conduct::ResetsAtOnce, "no-answer"),
        (Conduct::ResetsBeforeHead, "no-answer"),
        (Conduct::ResetsMidHead, "no-answer"),
        (Conduct::EndsBeforeHead, "no-answer"),
        (Conduct::EndsMidHead, "no-answer"),
    ] {
        let site = Site::of(conduct.clone());
        let response = site.get("/");
        assert_eq!((response.status, reason(&site, 1)), (502, why.to_owned()), "{conduct:?}");
        assert!(response.leaves_open(), "{conduct:?}");
    }
}

/// Nobody to ask: 503 at once, and the connection goes on.
#[test]
fn where_nobody_serves_the_client_is_told() {
    let site = Site::good();
    site.appliance.apply(
        &e2e::Pool::http("web").listen(&site.front).backend_with("a", site.origin.target(), "drain = true").to_string(),
    );
    let mut client = site.client();
    for lines in 1..4 {
        let response = client.exchange(&Request::get("h", "/")).expect("an answer");
        assert!(response.status == 503 && response.leaves_open(), "{response:?}");
        assert_eq!(reason(&site, lines), "no-backend");
    }
}

/// An answer of ours that comes while the client still sends: it is read, whatever of it was on its way.
#[test]
fn an_answer_is_not_lost_to_content_that_nobody_reads() {
    let site = Site::with(Conduct::Good, |pool| pool.rule("path = \"/no\"\ndeny = 403"));
    for chunked in [false, true] {
        let mut request = Request::post("h", "/no", Content::Pattern { seed: 1, bytes: 3_000_000 });
        if chunked {
            request = request.chunked(50_000);
        }
        let response = site.ask(&request);
        assert_eq!((response.status, response.text()), (403, "403 Forbidden\n"));
    }
    assert_eq!(site.origin.seen().accepted, 0);
}
