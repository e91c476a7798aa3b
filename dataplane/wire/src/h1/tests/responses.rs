//! Heads of responses.

use super::{response, text};
use crate::h1::*;

const GET: Asked = Asked { content: Content::Framed, upgrade: false };
const HEAD: Asked = Asked { content: Content::Withheld, upgrade: false };
const CONNECT: Asked = Asked { content: Content::Tunnel, upgrade: false };
const UPGRADE: Asked = Asked { content: Content::Framed, upgrade: true };

/// A head without its empty line.
#[track_caller]
fn check(asked: Asked, head: &str, expected: Result<(Kind, Framing, Persistence), Violation>) {
    let read = response(format!("{head}\r\n").as_bytes(), asked, &Limits::RESPONSE);
    let read = read.map(|head| head.expect("an end")).map(|head| (head.kind, head.framing, head.persistence));
    assert_eq!(read, expected, "{head:?}");
}

#[track_caller]
fn line(line: &str, expected: Result<(u16, &str), Violation>) {
    let bytes = format!("{line}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let read = response(&bytes, GET, &Limits::RESPONSE).map(|head| head.expect("an end"));
    let read = read.map(|head| (head.status, text(head.reason.of(&bytes)).to_owned()));
    assert_eq!(read, expected.map(|(status, reason)| (status, reason.to_owned())), "{line:?}");
}

#[test]
fn status_lines() {
    line("HTTP/1.1 200 OK", Ok((200, "OK")));
    line("HTTP/1.0 200 OK", Ok((200, "OK")));
    line("HTTP/1.1 200 ", Ok((200, "")));
    line("HTTP/1.1 200", Ok((200, "")));
    line("HTTP/1.1 404 not  at\tall", Ok((404, "not  at\tall")));
    line("HTTP/1.1 404 \u{e4}", Ok((404, "\u{e4}")));
    line("HTTP/1.1 999 x", Ok((999, "x")));
    line("HTTP/1.1 099 x", Err(Violation::StatusLine));
    line("HTTP/1.1 20 OK", Err(Violation::StatusLine));
    line("HTTP/1.1 2000 OK", Err(Violation::StatusLine));
    line("HTTP/1.1 2x0 OK", Err(Violation::StatusLine));
    line("HTTP/1.1  200 OK", Err(Violation::StatusLine));
    line("HTTP/1.1", Err(Violation::StatusLine));
    line("HTTP/1.1 200 \x01", Err(Violation::StatusLine));
    line("HTTP/1.1 200 \0", Err(Violation::Nul));
    line("HTTP/1.1 200 a\rb", Err(Violation::BareCr));
    line("HTTP/1.1 200 OK\nX: y", Err(Violation::BareLf));
    line("HTTP/2.0 200 OK", Err(Violation::UnsupportedVersion));
    line("HTTP/1.2 200 OK", Err(Violation::UnsupportedVersion));
    line("ICY 200 OK", Err(Violation::Version));
    line("\r\nHTTP/1.1 200 OK", Err(Violation::EmptyLine));
    line("<html>", Err(Violation::NotHttp));
}

#[test]
fn framings() {
    let ok = |framing, persistence| Ok((Kind::Final, framing, persistence));
    let (keep, close) = (Persistence::Keep, Persistence::Close);
    check(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", ok(Framing::Length(5), keep));
    check(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n", ok(Framing::Length(5), close));
    check(GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", ok(Framing::Chunked, keep));
    check(GET, "HTTP/1.1 200 OK\r\n", ok(Framing::UntilClose, close));
    check(GET, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", ok(Framing::UntilClose, close));
    check(GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", ok(Framing::Length(5), close));
    check(GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", ok(Framing::Length(5), keep));
    check(GET, "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n", ok(Framing::Length(0), keep));
    check(GET, "HTTP/1.1 204 No\r\n", ok(Framing::None, keep));
    check(GET, "HTTP/1.1 204 No\r\nContent-Length: 0\r\n", ok(Framing::None, keep));
    check(GET, "HTTP/1.1 204 No\r\nContent-Length: 1\r\n", Err(Violation::FramedBodiless));
    check(GET, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n", Err(Violation::FramedBodiless));
    check(GET, "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n", ok(Framing::None, keep));
    check(GET, "HTTP/1.1 304 Not\r\nTransfer-Encoding: chunked\r\n", ok(Framing::None, keep));
    check(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", ok(Framing::None, keep));
    check(HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", ok(Framing::None, keep));
    check(HEAD, "HTTP/1.1 200 OK\r\n", ok(Framing::None, keep));
    check(HEAD, "HTTP/1.0 200 OK\r\n", ok(Framing::None, close));
}

#[test]
fn ambiguities_are_refused_whatever_the_method() {
    for asked in [GET, HEAD] {
        let check = |lines: &str, violation| check(asked, &format!("HTTP/1.1 200 OK\r\n{lines}"), Err(violation));
        check("Content-Length: 5\r\nContent-Length: 5\r\n", Violation::RepeatedLength);
        check("Content-Length: 5, 5\r\n", Violation::LengthList);
        check("Content-Length: -5\r\n", Violation::BadLength);
        check("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Violation::LengthWithCoding);
        check("Transfer-Encoding: gzip\r\n", Violation::BadCoding);
        check("Transfer-Encoding: chunked, gzip\r\n", Violation::BadCoding);
        check("Transfer-Encoding: gzip, chunked\r\n", Violation::UnknownCoding);
        check("A : b\r\n", Violation::SpaceBeforeColon);
        check("A: b\r\n c\r\n", Violation::ObsFold);
    }
    check(GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", Err(Violation::CodingInOldVersion));
}

#[test]
fn interim_responses_and_switches() {
    let ok = |kind, persistence| Ok((kind, Framing::None, persistence));
    let (keep, close) = (Persistence::Keep, Persistence::Close);
    check(GET, "HTTP/1.1 100 Continue\r\n", ok(Kind::Interim, keep));
    check(GET, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n", ok(Kind::Interim, keep));
    check(GET, "HTTP/1.1 199 x\r\nContent-Length: 0\r\n", ok(Kind::Interim, keep));
    check(GET, "HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n", Err(Violation::FramedBodiless));
    check(GET, "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n", Err(Violation::FramedBodiless));
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    check(UPGRADE, switch, ok(Kind::Switch, close));
    check(GET, switch, Err(Violation::UnaskedSwitch));
    check(UPGRADE, "HTTP/1.1 101 Switching Protocols\r\n", Err(Violation::UnaskedSwitch));
    check(UPGRADE, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Ok((Kind::Final, Framing::Length(0), keep)));
    check(CONNECT, "HTTP/1.1 200 OK\r\n", ok(Kind::Switch, close));
    check(CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Err(Violation::FramedBodiless));
    check(CONNECT, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n", Ok((Kind::Final, Framing::Length(5), keep)));
}

#[test]
fn a_length_of_content_that_does_not_follow_is_kept() {
    let length = |asked, head: &str| {
        let read = response(format!("{head}\r\n").as_bytes(), asked, &Limits::RESPONSE);
        read.unwrap().expect("an end").length
    };
    assert_eq!(length(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"), Some(5));
    assert_eq!(length(GET, "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n"), Some(5));
    assert_eq!(length(GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"), Some(5));
    assert_eq!(length(GET, "HTTP/1.1 204 No\r\nContent-Length: 0\r\n"), None);
    assert_eq!(length(GET, "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n"), None);
}

#[test]
fn what_is_about_requests_means_nothing_in_responses() {
    check(
        GET,
        "HTTP/1.1 204 No\r\nHost: a\r\nHost: b\r\nExpect: x\r\n",
        Ok((Kind::Final, Framing::None, Persistence::Keep)),
    );
}
