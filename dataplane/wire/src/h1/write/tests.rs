//! What goes on, to the byte.

use super::*;
use crate::h1::*;
use std::net::IpAddr;

const QUIET: Told<'static> = Told {
    client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    scheme: Scheme::Http,
    x_forwarded: Chain::Pass,
    forwarded: Chain::Pass,
    via: None,
    request_id: None,
};

const PLAIN: ToOrigin<'static> = ToOrigin {
    target: None,
    host: None,
    host_default: b"default",
    upgrades: Upgrades::WebSocket,
    expect: true,
    close: false,
    told: QUIET,
};

/// A request without its empty line, and all lines of what the origin gets.
#[track_caller]
fn onward(to: &ToOrigin<'_>, edits: &[Edit<'_>], head: &str, expected: &[&str]) {
    let bytes = format!("{head}\r\n").into_bytes();
    let parsed = parse_request(&bytes, &mut Search::default(), &Limits::REQUEST, &mut Fields::new());
    let parsed = parsed.expect("a request").expect("an end");
    let mut out = Vec::new();
    request(&mut out, &bytes, &parsed, to, edits.iter().copied());
    assert_eq!(lines(&out), expected, "{head:?}");
}

const GET: Asked = Asked { content: Content::Framed, upgrade: false };

/// The same for a response.
#[track_caller]
fn back(asked: Asked, to: &ToClient<'_>, edits: &[Edit<'_>], head: &str, expected: &[&str]) -> Said {
    let bytes = format!("{head}\r\n").into_bytes();
    let parsed = parse_response(&bytes, asked, &mut Search::default(), &Limits::RESPONSE, &mut Fields::new());
    let parsed = parsed.expect("a response").expect("an end");
    let mut out = Vec::new();
    let said = response(&mut out, &bytes, &parsed, to, edits.iter().copied());
    assert_eq!(lines(&out), expected, "{head:?}");
    said
}

fn lines(out: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(out).expect("the tests speak UTF-8");
    text.strip_suffix("\r\n\r\n").expect("a head ends with an empty line").split("\r\n").collect()
}

#[test]
fn a_plain_request() {
    let head = "GET /a?b HTTP/1.1\r\nAccept: */*\r\nhost: a:80\r\nX: 1\r\nX: 2\r\n";
    onward(&PLAIN, &[], head, &["GET /a?b HTTP/1.1", "Host: a:80", "Accept: */*", "X: 1", "X: 2"]);
}

#[test]
fn targets_and_hosts() {
    let line = |to: &ToOrigin<'_>, head: &str, first: &str, host: &str| {
        onward(to, &[], head, &[first, host]);
    };
    line(&PLAIN, "GET http://b?c HTTP/1.1\r\nHost: a\r\n", "GET /?c HTTP/1.1", "Host: b");
    line(&PLAIN, "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n", "OPTIONS * HTTP/1.1", "Host: b");
    line(&PLAIN, "OPTIONS * HTTP/1.1\r\nHost: a\r\n", "OPTIONS * HTTP/1.1", "Host: a");
    line(&PLAIN, "GET / HTTP/1.0\r\n", "GET / HTTP/1.1", "Host: default");
    line(&PLAIN, "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n", "CONNECT a:1 HTTP/1.1", "Host: a:1");
    let rewritten = ToOrigin { target: Some(b"/x y\r\n\xff?z\\ \0"), host: Some(b"inner"), ..PLAIN };
    line(&rewritten, "GET / HTTP/1.1\r\nHost: a\r\n", "GET /x%20y%0D%0A%FF?z\\%20%00 HTTP/1.1", "Host: inner");
}

#[test]
fn what_is_about_the_connection_ends_here() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-mine, cookie\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Connection: keep-alive\r\nProxy-Authorization: b\r\nProxy: http://evil\r\nTE: gzip\r\n\
                Upgrade: h2c\r\nHTTP2-Settings: x\r\nX-Mine: 1\r\nCookie: c\r\nTrailer: x\r\nY: 1\r\n";
    onward(&PLAIN, &[], head, &["GET / HTTP/1.1", "Host: a", "Y: 1"]);
}

#[test]
fn framing_is_written_anew() {
    let post = |lines: &str, expected: &[&str]| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}");
        let expected: Vec<_> = ["POST / HTTP/1.1", "Host: a"].iter().chain(expected).copied().collect();
        onward(&PLAIN, &[], &head, &expected);
    };
    post("Content-Length: 007\r\nX: y\r\n", &["X: y", "Content-Length: 7"]);
    post("transfer-encoding:  CHUNKED\r\n", &["Transfer-Encoding: chunked"]);
    post("Trailer: x\r\nTransfer-Encoding: chunked\r\n", &["Trailer: x", "Transfer-Encoding: chunked"]);
    post("Content-Length: 1\r\nexpect: 100-Continue\r\n", &["Content-Length: 1", "Expect: 100-continue"]);
    post("Connection: Content-Length\r\nContent-Length: 1\r\n", &["Content-Length: 1"]);
    post("Connection: TE\r\nTE: trailers, gzip\r\n", &["TE: trailers", "Connection: TE"]);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n";
    let unasked = ToOrigin { expect: false, close: true, ..PLAIN };
    onward(&unasked, &[], head, &["POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Connection: close"]);
}

#[test]
fn upgrades_that_are_passed_on() {
    let check = |upgrades, protocol: &str, passed: bool| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n");
        let upgrade = format!("Upgrade: {protocol}");
        let mut expected = vec!["GET / HTTP/1.1", "Host: a"];
        if passed {
            expected.extend([&upgrade[..], "Connection: upgrade"]);
        }
        onward(&ToOrigin { upgrades, ..PLAIN }, &[], &head, &expected);
    };
    check(Upgrades::None, "websocket", false);
    check(Upgrades::WebSocket, "websocket", true);
    check(Upgrades::WebSocket, "h2c", false);
    check(Upgrades::WebSocket, "websocket, h2c", false);
    check(Upgrades::Any, "h2c", true);
}

#[test]
fn names_in_disguise_do_not_pass() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nX_Forwarded_For: evil\r\nProxy_Connection: x\r\n\
                transfer_encoding: chunked\r\nUser_Agent: z\r\nmy_own: y\r\n";
    onward(&PLAIN, &[], head, &["GET / HTTP/1.1", "Host: a", "User_Agent: z", "my_own: y"]);
}

#[test]
fn the_way_here() {
    let head = "GET / HTTP/1.0\r\nHost: a:80\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n\
                X-Forwarded-Proto: https\r\nX-Real-IP: 10.0.0.1\r\nForwarded: for=x\r\nVia: 1.1 p\r\n\
                X-Request-Id: theirs\r\n";
    let check = |told: Told<'_>, expected: &[&str]| {
        let expected: Vec<_> = ["GET / HTTP/1.1", "Host: a:80"].iter().chain(expected).copied().collect();
        onward(&ToOrigin { told, ..PLAIN }, &[], head, &expected);
    };
    let all =
        |chain| Told { x_forwarded: chain, forwarded: chain, via: Some(b"us"), request_id: Some(b"ours"), ..QUIET };
    check(
        QUIET,
        &[
            "X-Forwarded-For: 10.0.0.1",
            "X-Forwarded-For: 10.0.0.2",
            "X-Forwarded-Proto: https",
            "X-Real-IP: 10.0.0.1",
            "Forwarded: for=x",
            "Via: 1.1 p",
            "X-Request-Id: theirs",
        ],
    );
    check(all(Chain::Remove), &["Via: 1.1 p, 1.0 us", "X-Request-Id: ours"]);
    check(
        all(Chain::Replace),
        &[
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: a:80",
            "Forwarded: for=192.0.2.1;host=\"a:80\";proto=http",
            "Via: 1.1 p, 1.0 us",
            "X-Request-Id: ours",
        ],
    );
    check(
        all(Chain::Append),
        &[
            "X-Forwarded-Proto: https",
            "X-Real-IP: 10.0.0.1",
            "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.1",
            "X-Forwarded-Host: a:80",
            "Forwarded: for=x, for=192.0.2.1;host=\"a:80\";proto=http",
            "Via: 1.1 p, 1.0 us",
            "X-Request-Id: ours",
        ],
    );
}

#[test]
fn addresses_of_clients() {
    let check = |client: &str, x: &str, forwarded: &str| {
        let told = Told {
            client: client.parse().unwrap(),
            x_forwarded: Chain::Replace,
            forwarded: Chain::Replace,
            scheme: Scheme::Https,
            ..QUIET
        };
        let x = format!("X-Forwarded-For: {x}");
        let forwarded = format!("Forwarded: for={forwarded};proto=https");
        let expected = ["GET / HTTP/1.1", "Host: default", &x, "X-Forwarded-Proto: https", &forwarded];
        onward(&ToOrigin { told, ..PLAIN }, &[], "GET / HTTP/1.0\r\n", &expected);
    };
    check("192.0.2.7", "192.0.2.7", "192.0.2.7");
    check("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7");
    check("2001:db8::1", "2001:db8::1", "\"[2001:db8::1]\"");
}

/// What a client nominates is not believed and not joined to what we say.
#[test]
fn a_nominated_chain_is_cut() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for, via\r\nX-Forwarded-For: x\r\nVia: y\r\n";
    let told = Told { x_forwarded: Chain::Append, via: Some(b"us"), ..QUIET };
    let expected = [
        "GET / HTTP/1.1",
        "Host: a",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a",
        "Via: 1.1 us",
    ];
    onward(&ToOrigin { told, ..PLAIN }, &[], head, &expected);
}

#[test]
fn edits_in_their_order() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\na: 3\r\n";
    let check = |edits: &[Edit<'_>], expected: &[&str]| {
        let expected: Vec<_> = ["GET / HTTP/1.1", "Host: a"].iter().chain(expected).copied().collect();
        onward(&PLAIN, edits, head, &expected);
    };
    let add = |name: &'static str, value: &'static str| Edit::Add { name: name.as_bytes(), value: value.as_bytes() };
    let set = |name: &'static str, value: &'static str| Edit::Set { name: name.as_bytes(), value: value.as_bytes() };
    let remove = |name: &'static str| Edit::Remove { name: name.as_bytes() };
    check(&[add("C", "4")], &["A: 1", "B: 2", "a: 3", "C: 4"]);
    check(&[add("A", "4")], &["A: 1", "B: 2", "a: 3", "A: 4"]);
    check(&[set("a", "4")], &["B: 2", "a: 4"]);
    check(&[remove("A")], &["B: 2"]);
    check(&[remove("a"), add("a", "4")], &["B: 2", "a: 4"]);
    check(&[add("a", "4"), remove("a")], &["B: 2"]);
    check(&[set("C", "4"), set("c", "5"), add("C", "6")], &["A: 1", "B: 2", "a: 3", "c: 5", "C: 6"]);
    // No value ends its line, and what we understood stays as we understood it.
    check(&[set("B", "x\r\nEvil: y\0")], &["A: 1", "a: 3", "B: x  Evil: y "]);
    check(&[set("Host", "evil"), remove("host"), set("Content-Length", "5")], &["A: 1", "B: 2", "a: 3"]);
    check(&[add("Transfer-Encoding", "chunked"), add("Connection", "x")], &["A: 1", "B: 2", "a: 3"]);
    let told = Told { x_forwarded: Chain::Replace, via: Some(b"us"), request_id: Some(b"id"), ..QUIET };
    let edits = [remove("X-Forwarded-For"), set("X-Forwarded-Host", "z"), remove("Via"), remove("X-Request-Id")];
    let expected =
        ["GET / HTTP/1.1", "Host: a", "A: 1", "B: 2", "a: 3", "X-Forwarded-Proto: http", "X-Forwarded-Host: z"];
    onward(&ToOrigin { told, ..PLAIN }, &edits, head, &expected);
}

const KEEP: ToClient<'static> = ToClient { client: Version::Http11, persistence: Persistence::Keep, via: None };
const OLD: ToClient<'static> = ToClient { client: Version::Http10, ..KEEP };
const LAST: ToClient<'static> = ToClient { persistence: Persistence::Close, ..KEEP };

#[test]
fn responses() {
    let check = |to: &ToClient<'_>, lines: &str, expected: &[&str], framing, persistence| {
        let head = format!("HTTP/1.1 200 Fine\r\nX: y\r\n{lines}");
        let expected: Vec<_> = ["HTTP/1.1 200 Fine", "X: y"].iter().chain(expected).copied().collect();
        assert_eq!(back(GET, to, &[], &head, &expected), Said { framing, persistence }, "{lines:?}");
    };
    let (keep, close) = (Persistence::Keep, Persistence::Close);
    let length = "Content-Length: 5\r\n";
    check(&KEEP, length, &["Content-Length: 5"], Framing::Length(5), keep);
    check(&LAST, length, &["Content-Length: 5", "Connection: close"], Framing::Length(5), close);
    check(&OLD, length, &["Content-Length: 5", "Connection: keep-alive"], Framing::Length(5), keep);
    let chunked = "Trailer: t\r\nTransfer-Encoding: chunked\r\n";
    check(&KEEP, chunked, &["Trailer: t", "Transfer-Encoding: chunked"], Framing::Chunked, keep);
    check(&OLD, chunked, &["Connection: close"], Framing::UntilClose, close);
    check(&KEEP, "", &["Transfer-Encoding: chunked"], Framing::Chunked, keep);
    check(&OLD, "", &["Connection: close"], Framing::UntilClose, close);
    let hop = "Connection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: x\r\nProxy-Authenticate: x\r\nUpgrade: h2\r\nContent-Length: 5\r\n";
    check(&KEEP, hop, &["Content-Length: 5"], Framing::Length(5), keep);
    let named = ToClient { via: Some(b"us"), ..KEEP };
    check(
        &named,
        "Via: 1.0 p\r\nContent-Length: 5\r\n",
        &["Via: 1.0 p, 1.1 us", "Content-Length: 5"],
        Framing::Length(5),
        keep,
    );
}

#[test]
fn responses_without_content() {
    let head = Asked { content: Content::Withheld, upgrade: false };
    let line = "HTTP/1.1 200 OK";
    back(head, &KEEP, &[], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", &[line, "Content-Length: 5"]);
    back(head, &KEEP, &[], "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", &[line]);
    back(head, &OLD, &[], "HTTP/1.1 200 OK\r\n", &[line, "Connection: keep-alive"]);
    back(GET, &KEEP, &[], "HTTP/1.1 304 \r\nContent-Length: 5\r\n", &["HTTP/1.1 304 ", "Content-Length: 5"]);
    back(GET, &KEEP, &[], "HTTP/1.1 204\r\nContent-Length: 0\r\n", &["HTTP/1.1 204 "]);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\nConnection: close\r\n";
    back(GET, &KEEP, &[], hints, &["HTTP/1.1 103 Early Hints", "Link: x"]);
    let asked = Asked { upgrade: true, ..GET };
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n";
    let expected = ["HTTP/1.1 101 Switching Protocols", "X: y", "Upgrade: websocket", "Connection: upgrade"];
    assert_eq!(back(asked, &KEEP, &[], switch, &expected).persistence, Persistence::Close);
    let connect = Asked { content: Content::Tunnel, upgrade: false };
    back(connect, &KEEP, &[], "HTTP/1.1 200 OK\r\n", &["HTTP/1.1 200 OK"]);
}

#[test]
fn responses_are_edited() {
    let edits = [Edit::Remove { name: b"server" }, Edit::Set { name: b"Date", value: b"now" }];
    let head = "HTTP/1.1 204 No\r\nServer: x\r\nDate: then\r\n";
    back(GET, &KEEP, &edits, head, &["HTTP/1.1 204 No", "Date: now"]);
}

#[test]
fn our_own_answers() {
    let said = |status, client, persistence| {
        let mut out = Vec::new();
        let fields: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/plain\r\n")];
        answer(&mut out, status, 3, client, persistence, fields.into_iter());
        String::from_utf8(out).unwrap()
    };
    let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain  \r\nContent-Length: 3\r\n";
    assert_eq!(said(404, Version::Http11, Persistence::Keep), format!("{head}\r\n"));
    assert_eq!(said(404, Version::Http11, Persistence::Close), format!("{head}Connection: close\r\n\r\n"));
    assert_eq!(said(404, Version::Http10, Persistence::Keep), format!("{head}Connection: keep-alive\r\n\r\n"));
    assert!(!said(204, Version::Http11, Persistence::Keep).contains("Content-Length"));
}

#[test]
fn every_answer_has_its_reason() {
    for violation in Violation::ALL {
        assert_ne!(reason(violation.answer(Peer::Client)), "", "{violation:?}");
    }
    for status in [408, 411, 413, 414, 417, 421, 431, 501, 502, 503, 504] {
        assert_ne!(reason(status), "", "{status}");
    }
}

#[test]
fn chunks() {
    let mut out = Vec::new();
    chunk_begin(&mut out, 255);
    out.extend_from_slice(CHUNK_END);
    last_chunk(&mut out, b"", &Fields::new());
    assert_eq!(out, b"ff\r\n\r\n0\r\n\r\n");

    let input = b"0\r\nA: b\r\nCookie: c\r\nETag: d\r\nX-Forwarded-For: e\r\nContent_Length: 5\r\n\r\n";
    let mut trailers = Fields::new();
    let mut body = Body::new(Framing::Chunked, &Limits::REQUEST);
    assert!(body.feed(input, &Limits::REQUEST, &mut trailers).unwrap().over);
    out.clear();
    last_chunk(&mut out, input, &trailers);
    assert_eq!(out, b"0\r\nA: b\r\nETag: d\r\n\r\n");
}
