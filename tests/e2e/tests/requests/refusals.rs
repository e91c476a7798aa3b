//! Messages that can be read in more than one way: what the client gets, and that nothing of them goes further.

use crate::{Site, start};
use e2e::Pool;
use harness::http::client::After;
use harness::http::request::Content;
use harness::http::{Client, Conduct, Origin, Request};
use harness::net::Target;

/// What follows each attempt: a request of its own if anybody takes the first one for shorter than it is.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Each ambiguity of a head is refused whole: nothing of it reaches the origin, and what follows is not read.
#[test]
fn ambiguous_heads_are_refused_and_reach_nobody() {
    let site = Site::good();
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n").into_bytes();
    let attempts: Vec<(&str, Vec<u8>, u16)> = vec![
        ("repeated-length", head("Content-Length: 5\r\nContent-Length: 6"), 400),
        ("repeated-length", head("Content-Length: 0\r\nContent-Length: 0"), 400),
        ("length-list", head("Content-Length: 0, 0"), 400),
        ("bad-length", head("Content-Length: +0"), 400),
        ("bad-length", head("Content-Length: -1"), 400),
        ("bad-length", head("Content-Length: 0x0"), 400),
        ("bad-length", head("Content-Length: 1 0"), 400),
        ("bad-length", head("Content-Length:"), 400),
        ("length-overflow", head("Content-Length: 18446744073709551616"), 400),
        ("length-with-coding", head("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
        ("length-with-coding", head("Transfer-Encoding: chunked\r\nContent-Length: 0"), 400),
        ("bad-coding", head("Transfer-Encoding: chunked, chunked"), 400),
        ("bad-coding", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        ("bad-coding", head("Transfer-Encoding: chunked, identity"), 400),
        ("bad-coding", head("Transfer-Encoding:"), 400),
        ("bad-coding", head("Transfer-Encoding: \"chunked\""), 400),
        ("unknown-coding", head("Transfer-Encoding: gzip, chunked"), 501),
        ("space-before-colon", head("Transfer-Encoding : chunked"), 400),
        ("space-before-colon", head("Content-Length : 5"), 400),
        ("field-value", head("Transfer-Encoding: \u{b}chunked"), 400),
        ("obs-fold", head("X: a\r\n Transfer-Encoding: chunked"), 400),
        ("obs-fold", head("Transfer-Encoding:\r\n chunked"), 400),
        ("bare-lf", head("X: a\nTransfer-Encoding: chunked"), 400),
        ("bare-cr", head("X: a\rTransfer-Encoding: chunked"), 400),
        ("nul", head("X: a\0b"), 400),
        ("empty-name", head(": a"), 400),
        ("field-name", head("Trans\u{1}fer: a"), 400),
        ("field-name", head("no colon"), 400),
        ("bad-connection", head("Connection: a b"), 400),
        ("coding-in-old-version", b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), 400),
        ("missing-host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        ("repeated-host", b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n".to_vec(), 400),
        ("bad-host", b"GET / HTTP/1.1\r\nHost: h, i\r\n\r\n".to_vec(), 400),
        ("bad-host", b"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n".to_vec(), 400),
        ("bad-host", b"GET / HTTP/1.1\r\nHost: h:80:80\r\n\r\n".to_vec(), 400),
        ("request-line", line("GET  / HTTP/1.1"), 400),
        ("request-line", line("GET / HTTP/1.1 "), 400),
        ("request-line", line("GET /"), 400),
        ("request-line", line("GET\t/ HTTP/1.1"), 400),
        ("target", line("GET /a#b HTTP/1.1"), 400),
        ("target-form", line("GET * HTTP/1.1"), 400),
        ("scheme", line("GET ftp://h/ HTTP/1.1"), 400),
        ("version", line("GET / http/1.1"), 400),
        ("unsupported-version", line("GET / HTTP/2.0"), 505),
        ("not-http", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        ("bare-lf", b"GET / HTTP/1.1\nHost: h\n\n".to_vec(), 400),
        ("empty-line", b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400),
    ];
    for (nr, (violation, bytes, status)) in attempts.iter().enumerate() {
        let what = bytes.escape_ascii();
        let mut client = site.client();
        client.send_raw(&[bytes, SMUGGLED].concat()).expect("it is taken");
        let response = client.read().unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_eq!(response.status, *status, "{what}");
        assert_eq!((&response.after, response.beyond.len()), (&After::Ended, 0), "{what}");
        let log = site.appliance.wait_access_log(nr + 1);
        assert_eq!(log.len(), nr + 1, "{what}");
        assert_eq!((&log[nr]["reason"], &log[nr]["status"]), (&"refused".into(), &(*status).into()), "{what}");
        assert_eq!(log[nr]["violation"], *violation, "{what}");
    }
    let seen = site.origin.seen();
    assert_eq!((seen.accepted, seen.requests), (0, 0), "something reached the origin");
}

/// Paths that some origins read as others: they are refused, not tidied.
#[test]
fn paths_that_lead_elsewhere_reach_nobody() {
    let site = Site::good();
    for path in ["/../x", "/a/../../x", "/%2e%2e/x", "/a%2fb", "/a%5cb", "/a%00b", "/a%zz", "/a\\..\\b"] {
        let mut client = site.client();
        client.send_raw(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).expect("it is taken");
        let response = client.read().unwrap_or_else(|failure| panic!("{path}: {failure}"));
        assert_eq!(response.status, 400, "{path}");
    }
    assert_eq!(site.origin.seen().requests, 0);
}

/// Content whose end cannot be known: the origin has the head already, but never a whole request, and never a second one.
#[test]
fn ambiguous_content_is_no_whole_request_and_never_two() {
    for (violation, content) in [
        ("chunk-size", &b"x\r\nabc\r\n0\r\n\r\n"[..]),
        ("chunk-size", b"3 \r\nabc\r\n0\r\n\r\n"),
        ("chunk-size", b"+3\r\nabc\r\n0\r\n\r\n"),
        ("chunk-size", b"0x3\r\nabc\r\n0\r\n\r\n"),
        ("chunk-size", b"-1\r\nabc\r\n0\r\n\r\n"),
        ("chunk-size", b"\r\n0\r\n\r\n"),
        ("chunk-size-overflow", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("chunk-size-overflow", b"00000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("chunk-end", b"3\r\nabcd\r\n0\r\n\r\n"),
        ("chunk-end", b"3\r\nabc0\r\n\r\n"),
        ("bare-lf", b"3\nabc\n0\n\n"),
        ("bare-lf", b"3;a\nabc\r\n0\r\n\r\n"),
        ("bare-cr", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("forbidden-trailer", b"0\r\nContent-Length: 5\r\n\r\n"),
        ("forbidden-trailer", b"0\r\nHost: other\r\n\r\n"),
        ("obs-fold", b"0\r\nX: a\r\n b\r\n\r\n"),
    ] {
        let what = content.escape_ascii();
        let site = Site::good();
        let mut client = site.client();
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send_raw(&[head, content, SMUGGLED].concat()).expect("it is taken");
        client.expect("POST");
        let response = client.read().unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_eq!((response.status, &response.after), (400, &After::Ended), "{what}");
        let log = site.appliance.wait_access_log(1);
        assert_eq!((log.len(), &log[0]["violation"]), (1, &violation.into()), "{what}: {log:?}");
        // Whatever it had of the request, it had an end before the request's.
        site.origin.wait_seen("its connections end", |seen| seen.open == 0);
        let seen = site.origin.seen();
        assert!(seen.whole == 0 && seen.requests <= 1, "{what}: {seen:?}");
    }
}

/// A client that ends or leaves inside its content has asked for nothing.
#[test]
fn cut_content_is_no_whole_request() {
    let site = Site::good();
    for reset in [false, true] {
        let mut client = site.client();
        client.send_raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").expect("it is taken");
        site.origin.wait_seen("the head", |seen| seen.requests == 1 + u64::from(reset));
        if reset {
            client.abort()
        } else {
            client.finish().expect("it is taken")
        }
        site.origin.wait_seen("the end of its connection", |seen| seen.open == 0);
    }
    assert_eq!(site.origin.seen().whole, 0);
}

/// Answers that can be read in two ways, or in none: the client gets 502 and nothing of them, nor does the next request.
#[test]
fn answers_that_are_no_answers_are_a_bad_gateway() {
    let raw = |text: &str| Conduct::Sends { bytes: text.as_bytes().to_vec(), ends: true };
    for (violation, conduct) in [
        ("repeated-length", Conduct::TwoLengths),
        ("length-with-coding", Conduct::LengthAndChunks),
        ("coding-in-old-version", Conduct::ChunksInHttp10),
        ("framed-bodiless", Conduct::NoContentWithBody),
        ("bare-lf", Conduct::BareLineFeeds),
        ("unasked-switch", Conduct::UpgradesUnasked),
        ("too-many-interims", Conduct::InterimForEver),
        ("too-many-fields", Conduct::FieldFlood { fields: 1_000 }),
        ("head-too-large", Conduct::GiantField { bytes: 1_000_000 }),
        ("status-line", raw("HTTP/1.1 20 OK\r\n\r\n")),
        ("version", raw("SSH-2.0-x\r\n\r\n")),
        ("unsupported-version", raw("HTTP/2.0 200 OK\r\n\r\n")),
        ("obs-fold", raw("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n")),
        ("space-before-colon", raw("HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n")),
        ("bad-length", raw("HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n")),
        ("bad-coding", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n")),
    ] {
        let site = Site::of(conduct.clone());
        let mut client = site.client();
        let response =
            client.exchange(&Request::get("h", "/")).unwrap_or_else(|failure| panic!("{conduct:?}: {failure}"));
        assert_eq!((response.status, &*response.body), (502, &b"502 Bad Gateway\n"[..]), "{conduct:?}");
        let log = site.appliance.wait_access_log(1);
        assert_eq!((&log[0]["reason"], &log[0]["violation"]), (&"bad-answer".into(), &violation.into()), "{conduct:?}");
        // The client did nothing wrong: its connection goes on, and meets nothing of what came.
        assert!(response.leaves_open(), "{conduct:?}: {response:?}");
        site.origin.behave(Conduct::Good);
        let response = client.exchange(&Request::get("h", "/next")).expect("an answer");
        assert_eq!(response.received().expect("the account of it").target, "/next", "{conduct:?}");
    }
}

/// An answer that breaks off must not look whole, whatever its framing.
#[test]
fn an_answer_that_is_cut_does_not_look_whole() {
    for conduct in [
        Conduct::ResetsMidBody { after: 100 },
        Conduct::SaysTooMuch { by: 10 },
        Conduct::ChunkSize("xyz"),
        Conduct::ChunkSize("-1"),
        Conduct::ChunkTooLong,
        Conduct::EndsBeforeLastChunk,
    ] {
        let site = Site::of(conduct.clone());
        let request = Request::get("h", "/").field(harness::http::received::FILLER, 300_000);
        let outcome = site.client().exchange(&request);
        assert!(outcome.is_err(), "{conduct:?} gave {outcome:?}");
        assert_eq!(e2e::reasons(&site.appliance.wait_access_log(1)), ["answer-cut"], "{conduct:?}");
    }
}

/// What an origin sends beyond its answer is never the answer to another client.
#[test]
fn what_comes_beyond_an_answer_is_nobodys() {
    for conduct in [Conduct::AnswersTwice, Conduct::SaysTooLittle { by: 10 }, Conduct::HeadWithBody] {
        let site = Site::of(conduct.clone());
        let mut clients = [site.client(), site.client()];
        for nr in 0..10 {
            let method = if conduct == Conduct::HeadWithBody { "HEAD" } else { "GET" };
            let client = &mut clients[nr % 2];
            let response = client.exchange(&Request::new(method, "h", &format!("/{nr}"))).expect("an answer");
            assert!(response.status == 200 && response.leaves_open(), "{conduct:?}, {nr}: {response:?}");
            if conduct == Conduct::AnswersTwice {
                assert_eq!(response.received().expect("the account of it").target, format!("/{nr}"));
            }
        }
        assert_eq!(site.origin.seen().accepted, 10, "{conduct:?}: a poisoned connection was used again");
    }
}

/// The same attempts beside good clients: nobody else is touched.
#[test]
fn attackers_do_not_disturb_others() {
    let (origin, front) = (Origin::good(), Target::fresh());
    let appliance = start(&Pool::http("web").listen(&front).backend("a", origin.target()));
    let mut good = Client::connect(&front).expect("it is let in");
    for nr in 0..100 {
        let mut bad = Client::connect(&front).expect("it is let in");
        let attempt = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        bad.send_raw(&[&attempt[..], SMUGGLED].concat()).expect("it is taken");
        let request = Request::post("h", &format!("/{nr}"), Content::text("good"));
        let received = good.exchange(&request).expect("an answer").received().expect("the account of it");
        assert_eq!((received.target, received.body_begin), (format!("/{nr}"), "good".to_owned()));
        assert_eq!(bad.read().expect("an answer").status, 400);
    }
    assert_eq!((origin.seen().requests, origin.seen().accepted), (100, 1));
    assert_eq!(e2e::metric(&appliance.metrics(), "sluicegate_pool_answers_4xx_total", &[]), 100.0);
}
