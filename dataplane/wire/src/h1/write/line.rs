//! Lines of a head, one at a time.

use crate::h1::bytes::{is_path, is_query, is_token, is_value};
use crate::h1::field::Field;
use std::io::Write;

pub(super) const CRLF: &[u8] = b"\r\n";

/// A received field, as it was.
pub(super) fn received(out: &mut Vec<u8>, bytes: &[u8], field: &Field) {
    checked(out, field.name.of(bytes), field.value.of(bytes));
}

/// A field whose name and value are known to hold what they may.
pub(super) fn checked(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    begin(out, name);
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// A field from elsewhere. What no value may hold becomes a blank (RFC 9110 section 5.5); a name that is none is
/// not written, for nothing can be put in its place.
pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name), "{} is no name", name.escape_ascii());
    if is_token(name) {
        begin(out, name);
        self::value(out, value);
        out.extend_from_slice(CRLF);
    }
}

pub(super) fn begin(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
}

/// See [`field`].
pub(super) fn value(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().all(|byte| is_value(*byte)) {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().map(|byte| if is_value(*byte) { *byte } else { b' ' }));
    }
}

pub(super) fn number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    begin(out, name);
    write!(out, "{number}\r\n").expect("memory takes all that is written");
}

/// A path and a query from elsewhere. What no target may hold is percent-encoded (RFC 3986 section 2.1).
pub(super) fn target(out: &mut Vec<u8>, target: &[u8]) {
    if !target.starts_with(b"/") {
        out.push(b'/');
    }
    let mark = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    for (ix, byte) in target.iter().enumerate() {
        match byte {
            _ if ix < mark && is_path(*byte) || ix >= mark && is_query(*byte) => out.push(*byte),
            _ => write!(out, "%{byte:02X}").expect("memory takes all that is written"),
        }
    }
}
