//! HTTP/1.1 on random messages: however they are cut, the same; what a naive reader says, too; and what is written
//! from them is read as they were meant.

#![forbid(unsafe_code)]

mod cuts;
mod framing;
mod messages;
mod model;
mod onward;

use wire::h1::{Asked, Fields, Limits, RequestHead, ResponseHead, Search, Violation, parse_request, parse_response};

/// Parses what is all there.
fn request(bytes: &[u8]) -> Result<Option<RequestHead>, Violation> {
    parse_request(bytes, &mut Search::default(), &Limits::REQUEST, &mut Fields::new())
}

fn response(bytes: &[u8], asked: Asked) -> Result<Option<ResponseHead>, Violation> {
    parse_response(bytes, asked, &mut Search::default(), &Limits::RESPONSE, &mut Fields::new())
}
