//! The lines of a section as spans: `httparse` cuts, and what it refuses is told apart here.
//!
//! Expects a section that `search` has found. Knows no field's meaning. The fast way never looks at a byte for
//! the sake of a better message; the slow one ([`blame`]) runs once a connection, at its end.

use crate::h1::bytes::{is_blank, is_query, is_tchar, is_token, is_value};
use crate::h1::field::{Field, Fields};
use crate::h1::limits::{FIELDS_MAX, Limits};
use crate::h1::name::Name;
use crate::h1::search::{Found, Section};
use crate::h1::span::Span;
use crate::h1::version::Version;
use crate::h1::violation::Violation;
use std::mem::MaybeUninit;

type Table<'b> = [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX];

/// The request line: method, target and version.
pub(crate) fn request(
    bytes: &[u8],
    found: Found,
    limits: &Limits,
    spare: &mut Fields,
) -> Result<(Span, Span, Version), Violation> {
    let section = &bytes[found.start..found.end];
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let cut = request.parse_with_uninit_headers(section, &mut table);
    let (Ok(httparse::Status::Complete(_)), Some(method), Some(target), Some(minor)) =
        (cut, request.method, request.path, request.version)
    else {
        return Err(blame(section, Section::Request));
    };
    take(bytes, request.headers, limits, spare)?;
    let target = Span::within(bytes, target.as_bytes());
    Ok((Span::within(bytes, method.as_bytes()), target, Version::of_minor(minor)))
}

/// The status line: version, status and reason.
pub(crate) fn response(
    bytes: &[u8],
    found: Found,
    limits: &Limits,
    spare: &mut Fields,
) -> Result<(Version, u16, Span), Violation> {
    let section = &bytes[found.start..found.end];
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let cut = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, section, &mut table);
    let (Ok(httparse::Status::Complete(_)), Some(minor), Some(status)) = (cut, response.version, response.code) else {
        return Err(blame(section, Section::Response));
    };
    // A first digit of 0 is no class (RFC 9110 section 15).
    if status < 100 {
        return Err(Violation::StatusLine);
    }
    take(bytes, response.headers, limits, spare)?;
    // `HTTP/1.1 200` and perhaps a blank and a reason, of which httparse has checked every byte; it gives none
    // that has `obs-text`.
    let line_end = found.start + memchr::memchr(b'\r', section).expect("a found section has lines");
    let reason = (found.start + "HTTP/1.1 200 ".len()).min(line_end);
    Ok((Version::of_minor(minor), status, Span::new(reason, line_end)))
}

/// A trailer section, `bytes[start..end]`. The spans are places in `bytes`.
pub(crate) fn trailers(
    bytes: &[u8],
    start: usize,
    end: usize,
    limits: &Limits,
    spare: &mut Fields,
) -> Result<(), Violation> {
    let section = &bytes[start..end];
    let mut table = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(section, &mut table) {
        Ok(httparse::Status::Complete((_, fields))) => take(bytes, fields, limits, spare),
        _ => Err(blame(section, Section::Trailers)),
    }
}

fn take(
    bytes: &[u8],
    headers: &[httparse::Header<'_>],
    limits: &Limits,
    Fields(list): &mut Fields,
) -> Result<(), Violation> {
    list.clear();
    for header in headers {
        let name = header.name.as_bytes();
        if name.len() > limits.name_bytes {
            return Err(Violation::NameTooLong);
        }
        if header.value.len() > limits.value_bytes {
            return Err(Violation::ValueTooLong);
        }
        list.push(Field {
            name: Span::within(bytes, name),
            value: Span::within(bytes, header.value),
            id: Name::of(name),
            nominated: false,
        });
    }
    Ok(())
}

/// What is wrong with a section that was refused: the first thing that is.
#[cold]
fn blame(section: &[u8], kind: Section) -> Violation {
    let mut lines = section.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if kind != Section::Trailers {
        let line = lines.next().unwrap_or_default();
        let wrong = blame_bytes(line).or_else(|| match kind {
            Section::Request => blame_request_line(line),
            Section::Response => blame_status_line(line),
            Section::Trailers => None,
        });
        if let Some(violation) = wrong {
            return violation;
        }
    }
    let mut fields = lines.take_while(|line| !line.is_empty());
    let wrong = fields.find_map(|line| blame_bytes(line).or_else(|| blame_field(line)));
    debug_assert!(wrong.is_some(), "refused for nothing: {}", section.escape_ascii());
    wrong.unwrap_or(Violation::FieldName)
}

/// Bytes that are wrong in any line.
fn blame_bytes(line: &[u8]) -> Option<Violation> {
    line.iter().find_map(|byte| match byte {
        b'\r' => Some(Violation::BareCr),
        0 => Some(Violation::Nul),
        _ => None,
    })
}

fn blame_request_line(line: &[u8]) -> Option<Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Some(Violation::RequestLine);
    };
    if !is_token(method) || target.is_empty() {
        return Some(Violation::RequestLine);
    }
    if !target.iter().all(|byte| is_query(*byte)) {
        return Some(Violation::Target);
    }
    blame_version(version)
}

fn blame_status_line(line: &[u8]) -> Option<Violation> {
    let (version, rest) = line.split_at(line.len().min("HTTP/1.1".len()));
    blame_version(version).or_else(|| match rest {
        [b' ', code @ ..] if code.len() >= 3 && code[..3].iter().all(u8::is_ascii_digit) => match &code[3..] {
            [] => None,
            [b' ', reason @ ..] if reason.iter().all(|byte| is_value(*byte)) => None,
            _ => Some(Violation::StatusLine),
        },
        _ => Some(Violation::StatusLine),
    })
}

fn blame_version(version: &[u8]) -> Option<Violation> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Some(Violation::UnsupportedVersion),
        _ => Some(Violation::Version),
    }
}

fn blame_field(line: &[u8]) -> Option<Violation> {
    if is_blank(line[0]) {
        return Some(Violation::ObsFold);
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Some(Violation::FieldName);
    };
    let (name, value) = line.split_at(colon);
    match name {
        [] => Some(Violation::EmptyName),
        [.., last] if is_blank(*last) => Some(Violation::SpaceBeforeColon),
        _ if !name.iter().all(|byte| is_tchar(*byte)) => Some(Violation::FieldName),
        _ if !value.iter().all(|byte| is_value(*byte)) => Some(Violation::FieldValue),
        _ => None,
    }
}
