//! Heads of requests.

use super::{request, text};
use crate::h1::*;

/// A request line before `Host: a`.
#[track_caller]
fn line(line: &str, expected: Result<(), Violation>) {
    let message = format!("{line}\r\nHost: a\r\n\r\n");
    let read = request(message.as_bytes(), &Limits::REQUEST).map(|head| assert!(head.is_some(), "{line:?}: no end"));
    assert_eq!(read, expected, "{line:?}");
}

/// Field lines, each with its end, of `GET / HTTP/1.1` with a host.
#[track_caller]
fn fields(fields: &str, expected: Result<Framing, Violation>) {
    framing(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}"), expected);
}

/// A head without its empty line.
#[track_caller]
fn framing(head: &str, expected: Result<Framing, Violation>) {
    let read = request(format!("{head}\r\n").as_bytes(), &Limits::REQUEST);
    assert_eq!(read.map(|head| head.expect("an end").framing), expected, "{head:?}");
}

/// What of the head of a whole request is asked for.
#[track_caller]
fn asked<T>(head: &str, what: impl FnOnce(&RequestHead, &[u8]) -> T) -> T {
    let bytes = format!("{head}\r\n").into_bytes();
    let read = request(&bytes, &Limits::REQUEST).unwrap_or_else(|violation| panic!("{head:?}: {violation:?}"));
    what(&read.expect("an end"), &bytes)
}

#[test]
fn request_lines() {
    line("GET / HTTP/1.1", Ok(()));
    line("GET / HTTP/1.0", Ok(()));
    line("\r\nGET / HTTP/1.1", Ok(()));
    line("\r\n\r\nGET / HTTP/1.1", Err(Violation::EmptyLine));
    line("get / HTTP/1.1", Ok(()));
    line("M-SEARCH / HTTP/1.1", Ok(()));
    line("GET  / HTTP/1.1", Err(Violation::RequestLine));
    line("GET /  HTTP/1.1", Err(Violation::RequestLine));
    line("GET / HTTP/1.1 ", Err(Violation::RequestLine));
    line("GET\t/ HTTP/1.1", Err(Violation::RequestLine));
    line("GET /\tHTTP/1.1", Err(Violation::RequestLine));
    line("GET /a b HTTP/1.1", Err(Violation::RequestLine));
    line("GET /", Err(Violation::RequestLine));
    line("GET", Err(Violation::RequestLine));
    line("G(T / HTTP/1.1", Err(Violation::RequestLine));
    line(" GET / HTTP/1.1", Err(Violation::NotHttp));
    line("(GET / HTTP/1.1", Err(Violation::NotHttp));
    line("\x16\x03\x01\x02", Err(Violation::NotHttp));
    line("GET /\0 HTTP/1.1", Err(Violation::Nul));
    line("GET /\r HTTP/1.1", Err(Violation::BareCr));
    line("\rGET / HTTP/1.1", Err(Violation::BareCr));
    line("GET / HTTP/1.1\r", Err(Violation::BareCr));
    line("GET / HTTP/1.1\nX: y", Err(Violation::BareLf));
}

#[test]
fn versions() {
    line("GET / HTTP/1.2", Err(Violation::UnsupportedVersion));
    line("GET / HTTP/0.9", Err(Violation::UnsupportedVersion));
    line("PRI * HTTP/2.0", Err(Violation::UnsupportedVersion));
    line("GET / HTTP/3.0", Err(Violation::UnsupportedVersion));
    line("GET / http/1.1", Err(Violation::Version));
    line("GET / HTTP/1", Err(Violation::Version));
    line("GET / HTTP/1.10", Err(Violation::Version));
    line("GET / HTTP/1.", Err(Violation::Version));
    line("GET / HTTP/1,1", Err(Violation::Version));
    line("GET / HTTPS/1.1", Err(Violation::Version));
    line("GET / XHTTP/1.1", Err(Violation::Version));
    assert_eq!(Violation::UnsupportedVersion.answer(Peer::Client), 505);
}

#[test]
fn targets() {
    line("GET /a/b;c?d=e&f=[g]|{h}`\\^ HTTP/1.1", Ok(()));
    line("GET //a HTTP/1.1", Ok(()));
    line("GET /%00%zz HTTP/1.1", Ok(()));
    line("GET /a#b HTTP/1.1", Err(Violation::Target));
    line("GET /a\\b HTTP/1.1", Err(Violation::Target));
    line("GET /\"a\" HTTP/1.1", Err(Violation::Target));
    line("GET /<a> HTTP/1.1", Err(Violation::Target));
    line("GET /\u{e4} HTTP/1.1", Err(Violation::Target));
    line("GET /\x7f HTTP/1.1", Err(Violation::Target));
    line("GET a HTTP/1.1", Err(Violation::Target));
    line("GET ?a HTTP/1.1", Err(Violation::Target));
    line("OPTIONS * HTTP/1.1", Ok(()));
    line("GET * HTTP/1.1", Err(Violation::TargetForm));
    line("OPTIONS *a HTTP/1.1", Err(Violation::Target));
    line("GET a:80 HTTP/1.1", Err(Violation::TargetForm));
    line("GET http:/a HTTP/1.1", Err(Violation::TargetForm));
    line("GET http://a HTTP/1.1", Ok(()));
    line("GET HTTPS://a:443/b?c HTTP/1.1", Ok(()));
    line("GET ftp://a/ HTTP/1.1", Err(Violation::Scheme));
    line("GET ://a/ HTTP/1.1", Err(Violation::Scheme));
    line("GET http:///b HTTP/1.1", Err(Violation::BadHost));
    line("GET http://u:p@a/ HTTP/1.1", Err(Violation::BadHost));
    line("GET http://a\\@b/ HTTP/1.1", Err(Violation::BadHost));
    line("GET http://a/b\\c HTTP/1.1", Err(Violation::Target));
    line("CONNECT a:443 HTTP/1.1", Ok(()));
    line("CONNECT [::1]:443 HTTP/1.1", Ok(()));
    line("CONNECT a HTTP/1.1", Err(Violation::TargetForm));
    line("CONNECT a: HTTP/1.1", Err(Violation::TargetForm));
    line("CONNECT a:0 HTTP/1.1", Err(Violation::TargetForm));
    line("CONNECT / HTTP/1.1", Err(Violation::TargetForm));
    line("CONNECT http://a:80/ HTTP/1.1", Err(Violation::TargetForm));
}

#[test]
fn paths_and_queries() {
    #[track_caller]
    fn check(line: &str, path: &str, query: Option<&str>) {
        asked(&format!("{line} HTTP/1.1\r\nHost: a\r\n"), |head, bytes| {
            assert_eq!(text(head.path(bytes)), path);
            assert_eq!(head.query(bytes).map(text), query);
        });
    }
    check("GET /", "/", None);
    check("GET /a?b?c", "/a", Some("b?c"));
    check("GET /a?", "/a", Some(""));
    check("GET http://a", "/", None);
    check("GET http://a?b", "/", Some("b"));
    check("GET http://a/b/?c", "/b/", Some("c"));
    check("OPTIONS *", "*", None);
    check("OPTIONS http://a", "*", None);
    check("OPTIONS http://a?b", "/", Some("b"));
    check("OPTIONS http://a/", "/", None);
    check("CONNECT a:1", "", None);
}

#[test]
fn hosts() {
    #[track_caller]
    fn check(head: &str, expected: Result<Option<&str>, Violation>) {
        let bytes = format!("{head}\r\n").into_bytes();
        let read = request(&bytes, &Limits::REQUEST).map(|head| head.expect("an end").host);
        let read = read.map(|host| host.map(|host| text(host.whole.of(&bytes))));
        assert_eq!(read, expected, "{head:?}");
    }
    check("GET / HTTP/1.1\r\nHost: a:80\r\n", Ok(Some("a:80")));
    check("GET / HTTP/1.1\r\nHOST:A\r\n", Ok(Some("A")));
    check("GET / HTTP/1.1\r\n", Err(Violation::MissingHost));
    check("GET / HTTP/1.0\r\n", Ok(None));
    check("GET / HTTP/1.1\r\nHost:\r\n", Err(Violation::BadHost));
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", Err(Violation::RepeatedHost));
    check("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n", Err(Violation::RepeatedHost));
    check("GET / HTTP/1.1\r\nHost: a, b\r\n", Err(Violation::BadHost));
    check("GET / HTTP/1.1\r\nHost: a/b\r\n", Err(Violation::BadHost));
    check("GET http://b/ HTTP/1.1\r\nHost: a\r\n", Ok(Some("b")));
    check("GET http://b/ HTTP/1.1\r\n", Err(Violation::MissingHost));
    check("GET http://b/ HTTP/1.1\r\nHost: /\r\n", Err(Violation::BadHost));
    check("GET http://b/ HTTP/1.0\r\n", Ok(Some("b")));
    check("CONNECT b:1 HTTP/1.1\r\nHost: a\r\n", Ok(Some("b:1")));
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n", Ok(Some("a")));
}

#[test]
fn field_lines() {
    let none = Ok(Framing::None);
    fields("", none);
    fields("a:b\r\n", none);
    fields("a:\r\n", none);
    fields("a:  b \t \r\n", none);
    fields("a: \u{e4}\r\n", none);
    fields("!#$%&'*+-.^_`|~09azAZ: x\r\n", none);
    fields("a : b\r\n", Err(Violation::SpaceBeforeColon));
    fields("a\t: b\r\n", Err(Violation::SpaceBeforeColon));
    fields("Content-Length : 5\r\n", Err(Violation::SpaceBeforeColon));
    fields(": b\r\n", Err(Violation::EmptyName));
    fields("a b: c\r\n", Err(Violation::FieldName));
    fields("a\r\n", Err(Violation::FieldName));
    fields("\u{e4}: b\r\n", Err(Violation::FieldName));
    fields("a(: b\r\n", Err(Violation::FieldName));
    fields("a: b\r\n c\r\n", Err(Violation::ObsFold));
    fields("a: b\r\n\tc\r\n", Err(Violation::ObsFold));
    fields(" a: b\r\n", Err(Violation::ObsFold));
    fields("a: b\rc: d\r\n", Err(Violation::BareCr));
    fields("a: b\r\r\n", Err(Violation::BareCr));
    fields("a\r: b\r\n", Err(Violation::BareCr));
    fields("a: b\n", Err(Violation::BareLf));
    fields("a: b\nc: d\r\n", Err(Violation::BareLf));
    fields("a: \0\r\n", Err(Violation::Nul));
    fields("a\0: b\r\n", Err(Violation::Nul));
    fields("a: \x01\r\n", Err(Violation::FieldValue));
    fields("a: \x7f\r\n", Err(Violation::FieldValue));
    fields("a: \x1b[2J\r\n", Err(Violation::FieldValue));
}

#[test]
fn lengths() {
    fields("Content-Length: 0\r\n", Ok(Framing::Length(0)));
    fields("content-length:5\r\n", Ok(Framing::Length(5)));
    fields("Content-Length: 005\r\n", Ok(Framing::Length(5)));
    fields("Content-Length: 18446744073709551615\r\n", Ok(Framing::Length(u64::MAX)));
    fields("Content-Length: 18446744073709551616\r\n", Err(Violation::LengthOverflow));
    fields("Content-Length: 5\r\nContent-Length: 5\r\n", Err(Violation::RepeatedLength));
    fields("Content-Length: 5\r\nContent-Length: 6\r\n", Err(Violation::RepeatedLength));
    fields("Content-Length: 5, 5\r\n", Err(Violation::LengthList));
    fields("Content-Length: 5,\r\n", Err(Violation::LengthList));
    for length in ["", "+5", "-5", "5 5", "0x5", "5a", "5.0", "5e1", "\u{b2}", "\"5\"", "5;"] {
        fields(&format!("Content-Length: {length}\r\n"), Err(Violation::BadLength));
    }
}

#[test]
fn codings() {
    fields("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked));
    fields("transfer-encoding:\tCHUNKED \r\n", Ok(Framing::Chunked));
    fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(Violation::LengthWithCoding));
    fields("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Err(Violation::LengthWithCoding));
    fields("Transfer-Encoding: gzip, chunked\r\n", Err(Violation::UnknownCoding));
    fields("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(Violation::UnknownCoding));
    for coding in [
        "",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "chunked,",
        ",chunked",
        "xchunked",
        "chunke",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "chunked\u{b}x",
        "x, chunked, chunked",
    ] {
        let expected = if coding.contains('\u{b}') { Violation::FieldValue } else { Violation::BadCoding };
        fields(&format!("Transfer-Encoding: {coding}\r\n"), Err(expected));
    }
    fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Violation::BadCoding));
    fields("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", Err(Violation::BadCoding));
    framing("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", Err(Violation::CodingInOldVersion));
    framing("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n", Err(Violation::FramedConnect));
    framing("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n", Err(Violation::FramedConnect));
}

#[test]
fn persistence() {
    #[track_caller]
    fn check(version: &str, lines: &str, expected: Persistence) {
        let persistence = asked(&format!("GET / {version}\r\nHost: a\r\n{lines}"), |head, _| head.persistence);
        assert_eq!(persistence, expected, "{version} {lines:?}");
    }
    check("HTTP/1.1", "", Persistence::Keep);
    check("HTTP/1.1", "Connection: keep-alive\r\n", Persistence::Keep);
    check("HTTP/1.1", "Connection: close\r\n", Persistence::Close);
    check("HTTP/1.1", "Connection: x, CLOSE\r\n", Persistence::Close);
    check("HTTP/1.1", "Connection: keep-alive, close\r\n", Persistence::Close);
    check("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", Persistence::Close);
    check("HTTP/1.1", "Connection: closed\r\n", Persistence::Keep);
    check("HTTP/1.0", "", Persistence::Close);
    check("HTTP/1.0", "Connection: Keep-Alive\r\n", Persistence::Keep);
    check("HTTP/1.0", "Connection: keep-alive, close\r\n", Persistence::Close);
    fields("Connection: a b\r\n", Err(Violation::BadConnection));
    fields("Connection: close;x\r\n", Err(Violation::BadConnection));
    fields(&format!("Connection: {}\r\n", "x, ".repeat(CONNECTION_OPTIONS_MAX)), Ok(Framing::None));
    fields(&format!("Connection: {}\r\n", "x, ".repeat(CONNECTION_OPTIONS_MAX + 1)), Err(Violation::TooManyOptions));
}

#[test]
fn nominated_fields_are_marked_wherever_they_stand() {
    let head = "GET / HTTP/1.1\r\nX-A: 1\r\nHost: a\r\nConnection: x-a, close\r\nX-B: 2\r\nx-A: 3\r\n";
    asked(head, |head, bytes| {
        let nominated = head.fields.iter().filter(|field| field.nominated);
        assert_eq!(nominated.map(|field| text(field.value.of(bytes))).collect::<Vec<_>>(), ["1", "3"]);
    });
}

#[test]
fn upgrades() {
    #[track_caller]
    fn check(head: &str, expected: Option<(&str, bool)>) {
        let found = asked(head, |head, bytes| {
            head.upgrade.map(|upgrade| (text(upgrade.protocols.of(bytes)).to_owned(), upgrade.websocket))
        });
        assert_eq!(found, expected.map(|(protocols, websocket)| (protocols.to_owned(), websocket)), "{head:?}");
    }
    let get = "GET / HTTP/1.1\r\nHost: a\r\n";
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: websocket\r\n"), Some(("websocket", true)));
    check(&format!("{get}Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"), Some(("WebSocket", true)));
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: h2c\r\n"), Some(("h2c", false)));
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), Some(("websocket, h2c", false)));
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: x/1.0\r\nContent-Length: 0\r\n"), Some(("x/1.0", false)));
    check(&format!("{get}Upgrade: websocket\r\n"), None);
    check(&format!("{get}Connection: Upgrade\r\n"), None);
    check(&format!("{get}Connection: Upgrade\r\nUpgrade:\r\n"), None);
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: a b\r\n"), None);
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"), None);
    check(&format!("{get}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"), None);
    check("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", None);
}

#[test]
fn expectations() {
    #[track_caller]
    fn check(head: &str, expected: bool) {
        assert_eq!(asked(head, |head, _| head.expects_continue), expected, "{head:?}");
    }
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    check(&format!("{post}Expect: 100-continue\r\nContent-Length: 1\r\n"), true);
    check(&format!("{post}Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n"), true);
    check(&format!("{post}Expect: 100-continue\r\nContent-Length: 0\r\n"), false);
    check(&format!("{post}Expect: 100-continue\r\n"), false);
    check("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", false);
    check("POST / HTTP/1.0\r\nExpect: x\r\n", false);
    fields("Expect: x\r\n", Err(Violation::Expectation));
    fields("Expect: 100-continue, x\r\n", Err(Violation::Expectation));
    fields("Expect:\r\n", Err(Violation::Expectation));
    assert_eq!(Violation::Expectation.answer(Peer::Client), 417);
}

#[test]
fn trailers_are_accepted_if_the_field_is_nominated() {
    let accepts =
        |lines: &str| asked(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}"), |head, _| head.accepts_trailers);
    assert!(accepts("TE: trailers\r\nConnection: TE\r\n"));
    assert!(accepts("Connection: te\r\nTE: gzip;q=0.5, Trailers\r\n"));
    assert!(!accepts("TE: trailers\r\n"));
    assert!(!accepts("TE: gzip\r\nConnection: TE\r\n"));
}

#[test]
fn bounds() {
    let small = Limits { name_bytes: 4, value_bytes: 4, fields: 3, body_bytes: 10, ..Limits::REQUEST };
    let check = |lines: &str, expected: Option<Violation>| {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
        let read = request(&bytes, &small).map(|head| assert!(head.is_some()));
        assert_eq!(read.err(), expected, "{lines:?}");
    };
    check("abcd: 1234\r\nb: 2\r\n", None);
    check("abcde: 1\r\n", Some(Violation::NameTooLong));
    check("a: 12345\r\n", Some(Violation::ValueTooLong));
    check("a: 1\r\nb: 2\r\nc: 3\r\n", Some(Violation::TooManyFields));
    let small = Limits { body_bytes: 10, ..Limits::REQUEST };
    let length = |length: u64| {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request(&bytes, &small).map(|head| head.expect("an end").framing)
    };
    assert_eq!(length(10), Ok(Framing::Length(10)));
    assert_eq!(length(11), Err(Violation::BodyTooLarge));
    assert_eq!(Violation::BodyTooLarge.answer(Peer::Client), 413);
}

/// Whatever an operator allows, the table on the stack has its size.
#[test]
fn there_are_never_more_fields_than_the_table_holds() {
    let boundless = Limits { fields: usize::MAX, head_bytes: usize::MAX, line_bytes: usize::MAX, ..Limits::REQUEST };
    let with = |fields: usize| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(fields - 1)).into_bytes();
        let read = parse_request(&bytes, &mut Search::default(), &boundless, &mut Fields::new());
        read.map(|head| head.expect("an end").fields.len())
    };
    assert_eq!(with(FIELDS_MAX), Ok(FIELDS_MAX));
    assert_eq!(with(FIELDS_MAX + 1), Err(Violation::TooManyFields));
}

#[test]
fn the_head_ends_where_the_content_begins() {
    let bytes = b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET";
    let head = parse_request(bytes, &mut Search::default(), &Limits::REQUEST, &mut Fields::new());
    assert_eq!(&bytes[head.unwrap().unwrap().bytes..], b"abcGET");
}

#[test]
fn the_memory_for_fields_goes_round() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    let mut spare = Fields::new();
    let head = parse_request(bytes, &mut Search::default(), &Limits::REQUEST, &mut spare).unwrap().unwrap();
    let memory = head.fields.0.as_ptr();
    spare = head.fields;
    let head = parse_request(bytes, &mut Search::default(), &Limits::REQUEST, &mut spare).unwrap().unwrap();
    assert_eq!(head.fields.0.as_ptr(), memory);
}
