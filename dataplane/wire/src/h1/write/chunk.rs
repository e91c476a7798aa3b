//! The chunked coding as we write it: sizes, ends and trailers, never an extension (RFC 9112 section 7.1).

use super::line;
use crate::h1::field::Fields;
use crate::h1::name::{Name, Trailing};
use std::io::Write;

/// What follows a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What comes before `bytes` of data. A chunk of nothing would be the last: there must be some.
pub fn chunk_begin(out: &mut Vec<u8>, bytes: u64) {
    assert!(bytes > 0, "the last chunk is written by `last_chunk`");
    write!(out, "{bytes:x}\r\n").expect("memory takes all that is written");
}

/// The end of the content, with the trailers that may be passed on. `bytes` are those that the trailers are places
/// in.
pub fn last_chunk(out: &mut Vec<u8>, bytes: &[u8], trailers: &Fields) {
    out.extend_from_slice(b"0\r\n");
    for field in trailers {
        let disguise = Name::disguised(field.name.of(bytes));
        if field.id.trailing() == Trailing::Passed && disguise.trailing() == Trailing::Passed {
            line::received(out, bytes, field);
        }
    }
    out.extend_from_slice(line::CRLF);
}
