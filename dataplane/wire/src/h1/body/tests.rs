//! Content, whole and cut.

use super::*;
use crate::h1::limits::EXTENSION_BYTES_MAX;

/// What came out: the content, how much was consumed, and how it stands.
type Read = (Vec<u8>, usize, bool);

/// Feeds the pieces that end at `ends`; what was not consumed is presented again with the next one.
fn read(framing: Framing, bytes: &[u8], ends: &[usize], limits: &Limits) -> Result<Read, Violation> {
    let mut body = Body::new(framing, limits);
    let mut trailers = Fields::new();
    let (mut content, mut consumed) = (Vec::new(), 0);
    for end in ends {
        loop {
            let input = &bytes[consumed..*end];
            let step = body.feed(input, limits, &mut trailers)?;
            assert!(step.data.end <= step.consumed && step.consumed <= input.len());
            content.extend_from_slice(&input[step.data]);
            consumed += step.consumed;
            assert_eq!(step.over, body.is_over());
            if step.over {
                return Ok((content, consumed, true));
            }
            if step.consumed == 0 {
                break;
            }
        }
    }
    Ok((content, consumed, false))
}

/// In one piece, byte by byte, and cut once anywhere: the same. `expected`: content, what is left over, over.
#[track_caller]
fn check(framing: Framing, bytes: &str, expected: Result<(&str, &str, bool), Violation>) {
    let bytes = bytes.as_bytes();
    let limits = Limits { trailer_bytes: 40, fields: 2, body_bytes: 1 << 20, ..Limits::REQUEST };
    let expected = expected.map(|(content, rest, over)| (content.into(), bytes.len() - rest.len(), over));
    assert_eq!(read(framing, bytes, &[bytes.len()], &limits), expected, "in one piece");
    let each: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(read(framing, bytes, &each, &limits), expected, "byte by byte");
    for cut in 0..bytes.len() {
        assert_eq!(read(framing, bytes, &[cut, bytes.len()], &limits), expected, "cut at {cut}");
    }
}

#[test]
fn lengths() {
    check(Framing::None, "GET", Ok(("", "GET", true)));
    check(Framing::Length(0), "GET", Ok(("", "GET", true)));
    check(Framing::Length(3), "abcGET", Ok(("abc", "GET", true)));
    check(Framing::Length(3), "ab", Ok(("ab", "", false)));
    check(Framing::UntilClose, "abc", Ok(("abc", "", false)));
}

#[test]
fn chunks() {
    let chunked = |bytes: &str, expected| check(Framing::Chunked, bytes, expected);
    chunked("0\r\n\r\nGET", Ok(("", "GET", true)));
    chunked("3\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET", Ok(("abcde", "GET", true)));
    chunked("a\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", "", true)));
    chunked("A\r\n0123456789\r\n00\r\n\r\n", Ok(("0123456789", "", true)));
    chunked("0000000000000003\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    chunked("3\r\n\r\n\0\r\n0\r\n\r\n", Ok(("\r\n\0", "", true)));
    chunked("3\r\nab", Ok(("ab", "", false)));
    chunked("3\r\nabc", Ok(("abc", "", false)));
    chunked("3", Ok(("", "", false)));
    chunked("0\r\n", Ok(("", "", false)));
    chunked("0\r\n\r", Ok(("", "\r", false)));
}

#[test]
fn sizes_that_are_none() {
    let refused = |bytes: &str, violation| check(Framing::Chunked, bytes, Err(violation));
    refused("\r\n", Violation::ChunkSize);
    refused(";x\r\n", Violation::ChunkSize);
    refused(" 3\r\nabc", Violation::ChunkSize);
    refused("+3\r\nabc", Violation::ChunkSize);
    refused("-3\r\nabc", Violation::ChunkSize);
    refused("0x3\r\nabc", Violation::ChunkSize);
    refused("g\r\n", Violation::ChunkSize);
    refused("3 \r\nabc", Violation::ChunkSize);
    refused("3 3\r\nabc", Violation::ChunkSize);
    refused("3,3\r\nabc", Violation::ChunkSize);
    refused("3\0\r\nabc", Violation::ChunkSize);
    refused("3\nabc", Violation::BareLf);
    refused("3\rabc", Violation::BareCr);
    refused("3\r\rabc", Violation::BareCr);
    refused("00000000000000003\r\n", Violation::ChunkSizeOverflow);
    refused("10000000000000000\r\n", Violation::ChunkSizeOverflow);
    refused("ffffffffffffffff\r\n", Violation::BodyTooLarge);
    refused("100001\r\n", Violation::BodyTooLarge);
}

#[test]
fn chunks_without_end() {
    let refused = |bytes: &str| check(Framing::Chunked, bytes, Err(Violation::ChunkEnd));
    refused("3\r\nabcd\r\n");
    refused("3\r\nabc0\r\n\r\n");
    refused("3\r\nabc\n0\r\n\r\n");
    refused("3\r\nabc\r0\r\n\r\n");
    refused("3\r\nabc\r\r\n");
}

#[test]
fn extensions_are_read_over() {
    let chunked = |bytes: &str, expected| check(Framing::Chunked, bytes, expected);
    chunked("3;a\r\nabc\r\n0;b=c\r\n\r\n", Ok(("abc", "", true)));
    chunked("3 ; a=\"b;c\" ;d\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    chunked("3;\r\nabc\r\n0\r\n\r\n", Ok(("abc", "", true)));
    chunked("3;a\nabc", Err(Violation::BareLf));
    chunked("3;a\rb\r\nabc", Err(Violation::BareCr));
    chunked("3;a\0\r\nabc", Err(Violation::ChunkSize));
    chunked("3 a\r\nabc", Err(Violation::ChunkSize));
}

/// One byte of each chunk would otherwise cost as much as a head.
#[test]
fn extensions_have_a_bound_over_all_chunks() {
    let with = |extension: usize, chunks: usize| {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(extension));
        let bytes = chunk.repeat(chunks) + "0\r\n\r\n";
        read(Framing::Chunked, bytes.as_bytes(), &[bytes.len()], &Limits::REQUEST).map(|(content, ..)| content.len())
    };
    // The CR that ends an extension counts.
    let fits = usize::from(EXTENSION_BYTES_MAX) - 1;
    assert_eq!(with(fits, 1), Ok(1));
    assert_eq!(with(fits + 1, 1), Err(Violation::ExtensionsTooLong));
    assert_eq!(with(fits / 4, 4), Ok(4));
    assert_eq!(with(fits / 4, 5), Err(Violation::ExtensionsTooLong));
}

#[test]
fn trailers() {
    let trailers = |section: &str, expected: Result<(), Violation>| {
        check(Framing::Chunked, &format!("0\r\n{section}\r\n"), expected.map(|()| ("", "", true)));
        check(Framing::Chunked, &format!("1\r\nx\r\n0\r\n{section}\r\n"), expected.map(|()| ("x", "", true)));
    };
    trailers("a: b\r\n", Ok(()));
    trailers("a: b\r\nETag: c\r\n", Ok(()));
    trailers("Cookie: b\r\n", Ok(()));
    trailers("a: b\r\nc: d\r\ne: f\r\n", Err(Violation::TooManyFields));
    trailers("a: 0123456789012345678901234567890123456789\r\n", Err(Violation::TrailersTooLarge));
    trailers("a : b\r\n", Err(Violation::SpaceBeforeColon));
    trailers(" a: b\r\n", Err(Violation::ObsFold));
    trailers(": b\r\n", Err(Violation::EmptyName));
    trailers("a\r\n", Err(Violation::FieldName));
    trailers("a: b\n", Err(Violation::BareLf));
    trailers("a: \rb\r\n", Err(Violation::BareCr));
    trailers("a: \0\r\n", Err(Violation::Nul));
    for name in ["Content-Length", "transfer-encoding", "HOST", "Connection", "Upgrade", "TE", "Trailer", "Keep-Alive"]
    {
        trailers(&format!("{name}: 1\r\n"), Err(Violation::ForbiddenTrailer));
    }
}

#[test]
fn trailers_stand_where_they_stand() {
    let input = b"1\r\nx\r\n0\r\nETag: y\r\n\r\nGET";
    let (limits, mut trailers) = (Limits::REQUEST, Fields::new());
    let mut body = Body::new(Framing::Chunked, &limits);
    let step = body.feed(input, &limits, &mut trailers).unwrap();
    assert_eq!((step.consumed, step.data, step.over), (6, 3..4, false));
    let rest = &input[6..];
    let step = body.feed(rest, &limits, &mut trailers).unwrap();
    assert!(step.over && trailers.len() == 1);
    let values: Vec<_> = trailers.values(rest, b"etag").collect();
    assert_eq!((values, &rest[step.consumed..]), (vec![&b"y"[..]], &b"GET"[..]));
}

#[test]
fn opaque_bytes_are_moved_without_a_look() {
    let limits = Limits { body_bytes: 100, ..Limits::REQUEST };
    let mut trailers = Fields::new();

    let mut body = Body::new(Framing::Length(10), &limits);
    assert_eq!((body.opaque(), body.left()), (10, Some(10)));
    body.moved(4);
    assert_eq!(body.opaque(), 6);
    body.moved(6);
    assert!(body.is_over());

    let mut body = Body::new(Framing::Chunked, &limits);
    assert_eq!((body.opaque(), body.left()), (0, None));
    body.feed(b"a\r\n01", &limits, &mut trailers).unwrap();
    assert_eq!(body.opaque(), 8);
    body.moved(8);
    assert_eq!(body.opaque(), 0);
    assert!(body.feed(b"\r\n0\r\n\r\n", &limits, &mut trailers).unwrap().over);

    let mut body = Body::new(Framing::UntilClose, &limits);
    assert_eq!(body.opaque(), 100);
    body.moved(99);
    assert_eq!(body.feed(b"ab", &limits, &mut trailers), Err(Violation::BodyTooLarge));
    assert_eq!(body.ended(), Ok(()));
    assert!(body.is_over());
}

#[test]
fn an_end_too_early_is_no_end() {
    let limits = Limits::REQUEST;
    assert_eq!(Body::new(Framing::Length(1), &limits).ended(), Err(Violation::Truncated));
    assert_eq!(Body::new(Framing::Chunked, &limits).ended(), Err(Violation::Truncated));
    assert_eq!(Body::new(Framing::None, &limits).ended(), Ok(()));
    assert_eq!(Body::new(Framing::UntilClose, &limits).ended(), Ok(()));
}
