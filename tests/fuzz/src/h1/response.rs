//! The head of a response.

use super::check_fields;
use wire::h1::{
    Asked, Content, Fields, Framing, Kind, Limits, Peer, Persistence, ResponseHead, Search, Violation, parse_response,
};

/// What was asked, as a digit, then bytes that begin with a response's head, as an origin sends them.
///
/// Cut anywhere, they say the same. What has no content by its status or its method has none, whatever it says;
/// what ends with its connection does not keep it.
pub fn h1_response(data: &[u8]) {
    let Some((digit, data)) = data.split_first() else { return };
    let content = [Content::Framed, Content::Withheld, Content::Tunnel][usize::from(digit % 3)];
    let asked = Asked { content, upgrade: digit % 2 == 1 };
    let whole = parse(data, asked, [data.len()]);
    assert_eq!(parse(data, asked, 0..=data.len()), whole, "byte by byte");
    match whole {
        Ok(Some(head)) => understood(data, asked, &head),
        Ok(None) => assert!(data.len() <= LIMITS.head_bytes, "a head that is too large is waited for"),
        Err(violation) => assert_eq!(violation.answer(Peer::Origin), 502),
    }
}

const LIMITS: Limits = Limits { head_bytes: 1_000, fields: 20, ..Limits::RESPONSE };

fn parse(data: &[u8], asked: Asked, ends: impl IntoIterator<Item = usize>) -> Result<Option<ResponseHead>, Violation> {
    let (mut search, mut spare) = (Search::default(), Fields::new());
    let parse = |end: usize| parse_response(&data[..end], asked, &mut search, &LIMITS, &mut spare);
    ends.into_iter().map(parse).find(|parsed| *parsed != Ok(None)).unwrap_or(Ok(None))
}

fn understood(data: &[u8], asked: Asked, head: &ResponseHead) {
    check_fields(data, head.bytes, &head.fields, head.framing);
    let line = format!("{} {:03}", head.version.text(), head.status);
    assert!(data.starts_with(line.as_bytes()));
    let rest = &data[line.len()..head.bytes];
    let reason = head.reason.of(data);
    assert!(rest.starts_with(b"\r\n") && reason.is_empty() || rest.starts_with(&[b" ", reason, b"\r\n"].concat()));

    let bodiless = head.status < 200 || [204, 304].contains(&head.status);
    if bodiless || asked.content == Content::Withheld {
        assert_eq!(head.framing, Framing::None);
    }
    match head.kind {
        Kind::Interim => assert!(head.status < 200 && head.status != 101),
        Kind::Switch if head.status == 101 => assert!(asked.upgrade && head.upgrade.is_some()),
        Kind::Switch => assert!(asked.content == Content::Tunnel && head.status / 100 == 2),
        Kind::Final => assert!(head.status >= 200),
    }
    if head.framing == Framing::UntilClose || head.kind == Kind::Switch {
        assert_eq!(head.persistence, Persistence::Close);
    }
}
