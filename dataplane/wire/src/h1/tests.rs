//! What is understood and what is refused, one line a case.

use super::*;

mod requests;
mod responses;

/// Parses as if it came in one piece, then byte by byte, which must say the same.
fn request(bytes: &[u8], limits: &Limits) -> Result<Option<RequestHead>, Violation> {
    let mut spare = Fields::new();
    let whole = parse_request(bytes, &mut Search::default(), limits, &mut spare);
    let mut search = Search::default();
    let in_pieces = (0..=bytes.len())
        .map(|end| parse_request(&bytes[..end], &mut search, limits, &mut spare))
        .find(|parsed| *parsed != Ok(None));
    assert_eq!(in_pieces.unwrap_or(Ok(None)), whole, "byte by byte");
    whole
}

fn response(bytes: &[u8], asked: Asked, limits: &Limits) -> Result<Option<ResponseHead>, Violation> {
    let mut spare = Fields::new();
    let whole = parse_response(bytes, asked, &mut Search::default(), limits, &mut spare);
    let mut search = Search::default();
    let in_pieces = (0..=bytes.len())
        .map(|end| parse_response(&bytes[..end], asked, &mut search, limits, &mut spare))
        .find(|parsed| *parsed != Ok(None));
    assert_eq!(in_pieces.unwrap_or(Ok(None)), whole, "byte by byte");
    whole
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the tests speak UTF-8")
}
