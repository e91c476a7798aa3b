//! `wire::h1`: what strangers send over HTTP/1.1.
//!
//! Each target reads its input in one piece and in many, which must say the same, and then holds what was
//! understood against something plainer than the reader.

mod body;
mod onward;
mod request;
mod response;

pub use body::h1_body;
pub use onward::h1_onward;
pub use request::h1_request;
pub use response::h1_response;

use wire::h1::{Fields, Framing, Name, Span};

/// What holds for the fields of every head that is taken: each is a line of it, and none says a thing twice that
/// may be said once.
fn check_fields(bytes: &[u8], head_bytes: usize, fields: &Fields, framing: Framing) {
    let head = &bytes[..head_bytes];
    assert!(head.ends_with(b"\r\n\r\n"));
    assert!(!head.contains(&0));
    let bare_cr = head.iter().enumerate().any(|(at, byte)| *byte == b'\r' && head.get(at + 1) != Some(&b'\n'));
    let bare_lf = head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'));
    assert!(!bare_cr && !bare_lf, "a line that ends in two ways: {}", head.escape_ascii());

    let lines = head.windows(2).filter(|two| two == b"\r\n").count();
    let skipped = usize::from(head.starts_with(b"\r\n"));
    assert_eq!(fields.len(), lines - 2 - skipped, "a field is a line");
    for field in fields {
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        assert!(!name.is_empty() && !name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b':'));
        assert_eq!(value, value.trim_ascii());
        assert!(span_end(field.value) <= head_bytes);
        assert_eq!(bytes[field.name.range().end], b':');
        assert_eq!(field.id, Name::of(name));
    }

    let count = |name: &[u8]| fields.values(bytes, name).count();
    let (lengths, codings) = (count(b"content-length"), count(b"transfer-encoding"));
    assert!(lengths + codings <= 1, "two framings: {}", head.escape_ascii());
    match framing {
        Framing::Length(length) => {
            let said = fields.values(bytes, b"content-length").next().expect("a length that was said");
            assert_eq!(std::str::from_utf8(said).unwrap().parse(), Ok(length));
        }
        Framing::Chunked => {
            assert!(fields.values(bytes, b"transfer-encoding").all(|value| value.eq_ignore_ascii_case(b"chunked")));
            assert_eq!(codings, 1);
        }
        Framing::None | Framing::UntilClose => {}
    }
}

fn span_end(span: Span) -> usize {
    span.range().end
}
