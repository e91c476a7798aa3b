//! Content that is chunked, or has a length.

use crate::script::Script;
use wire::h1::{Body, EXTENSION_BYTES_MAX, Fields, Framing, Limits, Violation};

/// Bytes of a body: everything behind the first `|`. Before it stand the framing, as a digit (0 to 4 chunked, 5 to
/// 8 a length, 9 up to the end), and the lengths of the pieces, again and again; without a `|` all is chunked.
///
/// However it is cut, the same content comes out and ends at the same byte; and a chunked body is what a decoder
/// says that reads it with the whole in hand.
pub fn h1_body(data: &[u8]) {
    let (head, stream) = match data.iter().position(|byte| *byte == b'|') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&b""[..], data),
    };
    let mut script = Script::new(head);
    let framing = match script.digit() {
        0..=4 => Framing::Chunked,
        9 => Framing::UntilClose,
        digit => Framing::Length(LENGTHS[digit - 5]),
    };
    let cuts: Vec<usize> = (1..head.len()).map(|_| script.digit()).collect();

    let whole = read(framing, stream, &[]);
    assert_eq!(read(framing, stream, &[1]), whole, "byte by byte");
    assert_eq!(read(framing, stream, &cuts), whole, "in pieces of {cuts:?}");
    match framing {
        Framing::Chunked => {
            let expected = by_definition(stream);
            assert_eq!(whole.ok().filter(|seen| seen.over).map(|seen| (seen.content, seen.consumed)), expected);
        }
        Framing::Length(length) => {
            let seen = whole.expect("bytes that are counted are never wrong");
            assert_eq!(seen.content, &stream[..stream.len().min(length as usize)]);
            assert_eq!(seen.over, stream.len() as u64 >= length);
        }
        Framing::None | Framing::UntilClose => assert_eq!(whole.map(|seen| seen.content).as_deref(), Ok(stream)),
    }
}

const LENGTHS: [u64; 4] = [0, 1, 10, 1_000];

#[derive(PartialEq, Eq, Debug)]
struct Seen {
    content: Vec<u8>,
    consumed: usize,
    trailers: usize,
    over: bool,
}

/// Pieces of these lengths, over and over; what was not consumed is presented again with the next.
fn read(framing: Framing, stream: &[u8], lengths: &[usize]) -> Result<Seen, Violation> {
    let mut body = Body::new(framing, &Limits::REQUEST);
    let (mut content, mut consumed, mut spare) = (Vec::new(), 0, Fields::new());
    let mut lengths = lengths.iter().filter(|length| **length > 0).cycle();
    let mut end = 0;
    loop {
        end = lengths.next().map_or(stream.len(), |length| stream.len().min(end + length));
        loop {
            let input = &stream[consumed..end];
            let opaque = body.opaque();
            let step = body.feed(input, &Limits::REQUEST, &mut spare)?;
            assert!(step.data.start <= step.data.end && step.data.end <= step.consumed && step.consumed <= input.len());
            // What might have been moved without a look is content from its first byte to its last.
            let moved = input.len().min(usize::try_from(opaque).unwrap_or(usize::MAX));
            assert!(moved == 0 || step.data == (0..moved));
            content.extend_from_slice(&input[step.data]);
            consumed += step.consumed;
            assert_eq!(step.over, body.is_over());
            if step.over {
                return Ok(Seen { content, consumed, trailers: spare.len(), over: true });
            }
            if step.consumed == 0 {
                break;
            }
        }
        if end == stream.len() {
            return Ok(Seen { content, consumed, trailers: 0, over: false });
        }
    }
}

/// RFC 9112 section 7.1.3, with the whole in hand, for bodies that are complete and faultless.
fn by_definition(stream: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |at: usize| {
        let length = stream[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = &stream[at..at + length];
        let text = line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
        text.then_some((line, at + length + 2))
    };
    let (mut content, mut at, mut extensions) = (Vec::new(), 0, 0);
    loop {
        let (text, after) = line(at)?;
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = text.split_at(digits);
        extensions += extension.len();
        let fine = extension.is_empty() || extension.trim_ascii_start().starts_with(b";");
        if !(1..=16).contains(&digits) || !fine || extensions > usize::from(EXTENSION_BYTES_MAX) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).expect("digits"), 16).ok()?;
        at = after;
        if size == 0 {
            break;
        }
        content.extend_from_slice(stream.get(at..at.checked_add(size)?)?);
        at += size;
        if !stream[at..].starts_with(b"\r\n") {
            return None;
        }
        at += 2;
    }
    let begin = at;
    for trailers in 0.. {
        let (text, after) = line(at)?;
        at = after;
        if at - begin > Limits::REQUEST.trailer_bytes || trailers > Limits::REQUEST.fields {
            return None;
        }
        if text.is_empty() {
            return Some((content, at));
        }
        let colon = text.iter().position(|byte| *byte == b':')?;
        let name = &text[..colon];
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let value = text[colon + 1..].trim_ascii();
        let long = name.len() > Limits::REQUEST.name_bytes || value.len() > Limits::REQUEST.value_bytes;
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|byte| token(&byte)) || long || REFUSED.contains(&&name[..]) {
            return None;
        }
    }
    unreachable!("the loop ends with a return")
}

/// What no trailer may be.
const REFUSED: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "expect",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
];
