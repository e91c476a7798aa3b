//! The head of a request.

use super::check_fields;
use wire::h1::{Fields, Form, Framing, Limits, Peer, RequestHead, Search, Version, Violation, parse_request};

/// Bytes that begin with a request's head, as a client sends them.
///
/// Cut anywhere, they say the same. What is taken has one host and at most one framing, every line of it is a field
/// and ends in one way; what is refused has an answer.
pub fn h1_request(data: &[u8]) {
    let whole = parse(data, [data.len()]);
    assert_eq!(parse(data, 0..=data.len()), whole, "byte by byte");
    assert_eq!(parse(data, (0..data.len()).step_by(7).chain([data.len()])), whole, "in pieces of seven");
    match whole {
        Ok(Some(head)) => understood(data, &head),
        Ok(None) => assert!(data.len() <= LIMITS.head_bytes, "a head that is too large is waited for"),
        Err(violation) => assert!((400..600).contains(&violation.answer(Peer::Client))),
    }
}

/// Small, so that bounds are met.
const LIMITS: Limits = Limits {
    head_bytes: 1_000,
    line_bytes: 200,
    fields: 20,
    name_bytes: 40,
    value_bytes: 300,
    body_bytes: 1 << 40,
    ..Limits::REQUEST
};

fn parse(data: &[u8], ends: impl IntoIterator<Item = usize>) -> Result<Option<RequestHead>, Violation> {
    let (mut search, mut spare) = (Search::default(), Fields::new());
    let parse = |end: usize| parse_request(&data[..end], &mut search, &LIMITS, &mut spare);
    ends.into_iter().map(parse).find(|parsed| *parsed != Ok(None)).unwrap_or(Ok(None))
}

fn understood(data: &[u8], head: &RequestHead) {
    check_fields(data, head.bytes, &head.fields, head.framing);
    assert_ne!(head.framing, Framing::UntilClose);
    assert!(head.bytes <= LIMITS.head_bytes && head.fields.len() <= LIMITS.fields);

    let hosts: Vec<&[u8]> = head.fields.values(data, b"host").collect();
    assert!(hosts.len() <= 1);
    assert!(hosts.len() == 1 || head.version == Version::Http10);
    let host = head.host.map(|host| host.whole.of(data));
    match head.target.form {
        Form::Origin | Form::Asterisk => assert_eq!(host, hosts.first().copied()),
        Form::Absolute { authority, .. } | Form::Authority(authority) => {
            assert_eq!(host, Some(authority.whole.of(data)));
        }
    }
    if let Some(host) = host {
        assert!(!host.is_empty() && host.is_ascii() && !host.iter().any(|byte| b"/?#@\\, ".contains(byte)));
    }

    // The line is what it was understood as, put together again.
    let line = data[..head.bytes].strip_prefix(b"\r\n").unwrap_or(&data[..head.bytes]);
    let target = head.target.whole.of(data);
    let parts = [head.method.text(data), target, head.version.text().as_bytes()].join(&b' ');
    assert!(line.starts_with(&parts) && line[parts.len()..].starts_with(b"\r\n"));
    if head.target.form == Form::Origin {
        let path = head.path(data);
        let query = head.query(data).map(|query| [b"?", query].concat()).unwrap_or_default();
        assert_eq!([path, &query].concat(), target);
    }
    let content = head.framing == Framing::Chunked || matches!(head.framing, Framing::Length(1..));
    assert!(content || !head.expects_continue);
    assert!(!content || head.upgrade.is_none());
}
