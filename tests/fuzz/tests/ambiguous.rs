//! Messages that two readers could read in two ways: for each what we do, and what whoever is behind us then reads.
//!
//! A message is either refused, by which violation, or it goes on, as which bytes; and those bytes are one message for
//! the second reader, with the method, target and framing that we understood, and nothing behind it.

#![forbid(unsafe_code)]

use fuzz::reader::{self, Framing, Message, Reading};
use wire::h1::write::{self, Chain, ToClient, ToOrigin, Told, Upgrades};
use wire::h1::{
    Asked, Body, Content, Fields, Limits, Persistence, Scheme, Search, Version, Violation, parse_request,
    parse_response,
};

const LIMITS: Limits = Limits::REQUEST;

/// What the origin is sent in place of these bytes, and how many of them it stands for.
fn to_origin(bytes: &[u8]) -> Result<(Vec<u8>, usize), Violation> {
    let head = parse_request(bytes, &mut Search::default(), &LIMITS, &mut Fields::new())?.expect("a whole head");
    let (x_forwarded, forwarded) = (Chain::Pass, Chain::Pass);
    let client = [127, 0, 0, 1].into();
    let told = Told { client, scheme: Scheme::Http, x_forwarded, forwarded, via: None, request_id: None };
    let upgrades = Upgrades::WebSocket;
    let to = ToOrigin { target: None, host: None, host_default: b"d", upgrades, expect: true, close: false, told };
    let mut out = Vec::new();
    write::request(&mut out, bytes, &head, &to, [].into_iter());
    let content = content(head.framing, &bytes[head.bytes..], &mut out)?;
    Ok((out, head.bytes + content))
}

/// What the client is sent in place of these bytes of the origin.
fn to_client(bytes: &[u8]) -> Result<Vec<u8>, Violation> {
    let asked = Asked { content: Content::Framed, upgrade: false };
    let head = parse_response(bytes, asked, &mut Search::default(), &LIMITS, &mut Fields::new())?;
    let head = head.expect("a whole head");
    let to = ToClient { client: Version::Http11, persistence: Persistence::Keep, via: None };
    let mut out = Vec::new();
    write::response(&mut out, bytes, &head, &to, [].into_iter());
    content(head.framing, &bytes[head.bytes..], &mut out)?;
    Ok(out)
}

/// Content in the framing that it came in, as an exchange writes it. Answers how much of `bytes` it was.
fn content(framing: wire::h1::Framing, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Violation> {
    let (mut body, chunked) = (Body::new(framing, &LIMITS), framing == wire::h1::Framing::Chunked);
    let (mut at, mut trailers) = (0, Fields::new());
    while !body.is_over() {
        let step = body.feed(&bytes[at..], &LIMITS, &mut trailers)?;
        let data = &bytes[at..][step.data.clone()];
        if chunked && !data.is_empty() {
            write::chunk_begin(out, data.len() as u64);
        }
        out.extend_from_slice(data);
        if chunked && !data.is_empty() {
            out.extend_from_slice(write::CHUNK_END);
        }
        if chunked && step.over {
            write::last_chunk(out, &bytes[at..], &trailers);
        }
        if step.consumed == 0 && !step.over {
            body.ended()?;
            break;
        }
        at += step.consumed;
    }
    Ok(at)
}

#[track_caller]
fn whole(reading: Reading, sent: &[u8]) -> Message {
    match reading {
        Reading::Whole { message, bytes } => {
            assert_eq!(bytes, sent.len(), "bytes behind it: {}", sent.escape_ascii());
            message
        }
        other => panic!("{other:?}: {}", sent.escape_ascii()),
    }
}

/// `expected`: the violation's label.
#[track_caller]
fn refused(message: &str, expected: &str) {
    let found = to_origin(message.as_bytes()).map(|(sent, _)| sent.escape_ascii().to_string());
    assert_eq!(found.map_err(Violation::label), Err(expected), "{message:?}");
}

/// `expected`: what the origin reads, `METHOD target framing content`. `left`: what stays for the next request.
#[track_caller]
fn goes_on(message: &str, expected: &str, left: &str) {
    let (sent, consumed) =
        to_origin(message.as_bytes()).unwrap_or_else(|violation| panic!("{violation:?}: {message:?}"));
    let Message { start: [method, target, _], framing, content, .. } = whole(reader::request(&sent), &sent);
    let framing = match framing {
        Framing::Nothing => "nothing".to_owned(),
        Framing::Length(length) => format!("length {length}"),
        Framing::Chunked => "chunked".to_owned(),
        Framing::UntilEnd => unreachable!("no request ends with its connection"),
    };
    let found = format!("{method} {target} {framing} {}", String::from_utf8_lossy(&content));
    assert_eq!(found.trim_end(), expected, "{message:?}");
    assert_eq!(&message[consumed..], left, "{message:?}");
}

/// With a host, and an empty line behind.
fn post(fields: &str, behind: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{behind}")
}

const ADMIN: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn lengths_that_disagree() {
    for (fields, label) in [
        ("Content-Length: 5\r\nContent-Length: 6", "repeated-length"),
        ("Content-Length: 5\r\nContent-Length: 5", "repeated-length"),
        ("Content-Length: 5, 5", "length-list"),
        ("Content-Length: 5,6", "length-list"),
        ("Content-Length: +5", "bad-length"),
        ("Content-Length: -5", "bad-length"),
        ("Content-Length: 0x5", "bad-length"),
        ("Content-Length: 5 5", "bad-length"),
        ("Content-Length:", "bad-length"),
        ("Content-Length: 18446744073709551616", "length-overflow"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "length-with-coding"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "length-with-coding"),
        ("Transfer-Encoding: chunked\r\ncontent-length: 0", "length-with-coding"),
    ] {
        refused(&post(fields, "hello"), label);
    }
    goes_on(&post("Content-Length: 05", "hello"), "POST /x length 5 hello", "");
    goes_on(&post("Content-Length: 0", ADMIN), "POST /x length 0", ADMIN);
    goes_on(&post("X: y", ADMIN), "POST /x nothing", ADMIN);
    goes_on(&post("Content-Length: 5", &format!("hello{ADMIN}")), "POST /x length 5 hello", ADMIN);
}

#[test]
fn codings_in_disguise() {
    for (fields, label) in [
        ("Transfer-Encoding: chunked, chunked", "bad-coding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "bad-coding"),
        ("Transfer-Encoding: chunked, identity", "bad-coding"),
        ("Transfer-Encoding: gzip, chunked", "unknown-coding"),
        ("Transfer-Encoding : chunked", "space-before-colon"),
        ("Transfer-Encoding\t: chunked", "space-before-colon"),
        ("X: y\r\n Transfer-Encoding: chunked", "obs-fold"),
        ("Transfer-Encoding:\r\n chunked", "obs-fold"),
        ("X: y\nTransfer-Encoding: chunked", "bare-lf"),
        ("X: y\rTransfer-Encoding: chunked", "bare-cr"),
        ("Transfer-Encoding: \0chunked", "nul"),
        ("Transfer-Encoding: \x0bchunked", "field-value"),
        ("Transfer-Encod\u{131}ng: chunked", "field-name"),
        (": chunked", "empty-name"),
    ] {
        refused(&post(fields, "0\r\n\r\n"), label);
    }
    refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "coding-in-old-version");
    goes_on(&post("tRANSFER-eNCODING:\tChunked ", "0\r\n\r\n"), "POST /x chunked", "");
    // Under another spelling it is no framing to us, so the origin must not see it at all.
    let (sent, _) = to_origin(post("Transfer_Encoding: chunked", ADMIN).as_bytes()).unwrap();
    assert!(!sent.to_ascii_lowercase().windows(8).any(|eight| eight == b"encoding"), "{}", sent.escape_ascii());
    goes_on(&post("Transfer_Encoding: chunked", ADMIN), "POST /x nothing", ADMIN);
    // Nominated as hop-by-hop, the framing still frames.
    goes_on(&post("Connection: content-length\r\nContent-Length: 5", "hello"), "POST /x length 5 hello", "");
}

#[test]
fn chunks_that_end_in_two_places() {
    let chunked = |behind: &str| post("Transfer-Encoding: chunked", behind);
    for (behind, label) in [
        ("5\nhello\r\n0\r\n\r\n", "bare-lf"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("+5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        (" 5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk-size-overflow"),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", "chunk-size-overflow"),
        ("4\r\nhello\r\n0\r\n\r\n", "chunk-end"),
        ("5\r\nhello0\r\n\r\n", "chunk-end"),
        ("0\r\nContent-Length: 5\r\n\r\n", "forbidden-trailer"),
        ("0\r\nHost: b\r\n\r\n", "forbidden-trailer"),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", "bare-lf"),
    ] {
        refused(&chunked(behind), label);
    }
    // Extensions mean nothing to us and go no further.
    goes_on(&chunked("5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n"), "POST /x chunked hello", "");
    goes_on(&chunked(&format!("05\r\nhello\r\n000\r\n\r\n{ADMIN}")), "POST /x chunked hello", ADMIN);
    goes_on(&chunked(&format!("0\r\nX-Sum: 1\r\n\r\n{ADMIN}")), "POST /x chunked", ADMIN);
}

#[test]
fn lines_and_hosts() {
    for (message, label) in [
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "request-line"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "request-line"),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "request-line"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "version"),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "unsupported-version"),
        ("GET / HTTP/1.1\r\n\r\n", "missing-host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "repeated-host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "repeated-host"),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "bad-host"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "bad-host"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "bad-host"),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "scheme"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "target-form"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "framed-connect"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty-line"),
    ] {
        refused(message, label);
    }
    // The target says whom it is for, and Host goes with it.
    let (sent, _) = to_origin(b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let Message { start, fields, .. } = whole(reader::request(&sent), &sent);
    assert_eq!((start[1].as_str(), fields), ("/x?y", vec![("host".to_owned(), "b".to_owned())]));
    goes_on("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / nothing", "");
    goes_on("GET / HTTP/1.0\r\n\r\n", "GET / nothing", "");
    goes_on("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * nothing", "");
}

#[test]
fn answers_that_could_be_two() {
    let answer = |fields: &str, behind: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{behind}");
    for (message, label) in [
        (answer("Content-Length: 5\r\nContent-Length: 6", "hello!"), "repeated-length"),
        (answer("Content-Length: 5, 5", "hello"), "length-list"),
        (answer("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "length-with-coding"),
        (answer("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), "bad-coding"),
        (answer("X: y\r\n Content-Length: 5", "hello"), "obs-fold"),
        (answer("Content-Length : 5", "hello"), "space-before-colon"),
        (answer("X: y\nContent-Length: 5", "hello"), "bare-lf"),
        (answer("Content-Length: 5", "hell"), "truncated"),
        (answer("Transfer-Encoding: chunked", "5\r\nhello\r\n"), "truncated"),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), "framed-bodiless"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), "coding-in-old-version"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into(), "unasked-switch"),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), "status-line"),
    ] {
        let found = to_client(message.as_bytes()).map(|sent| sent.escape_ascii().to_string());
        assert_eq!(found.map_err(Violation::label), Err(label), "{message:?}");
    }
    let sent = to_client(answer("Transfer-Encoding: chunked", "5;x\r\nhello\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(whole(reader::response(&sent, false), &sent).content, b"hello");
    let sent = to_client(answer("Content-Length: 5", "helloHTTP/1.1 200 OK\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(whole(reader::response(&sent, false), &sent).content, b"hello");
}
