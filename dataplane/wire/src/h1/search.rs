//! Where a head or a trailer section ends.
//!
//! Owns line ends: after it, every line ends with CRLF and no line is longer than its bound. Looks at each byte
//! once, however the bytes arrive, and says the same in one piece as in many: of two violations it tells the one
//! that shows first. Does not know what stands in the lines, but for one that says by itself that no other will come.

use crate::h1::bytes::is_tchar;
use crate::h1::limits::{FIELDS_MAX, Limits};
use crate::h1::violation::Violation;
use memchr::{memchr, memchr_iter};

/// How far the end of a section has been looked for. A fresh one for each head; kept while it is incomplete.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Search {
    /// Where the unfinished line begins.
    line: u32,
    /// Bytes in which no further line ends.
    looked: u32,
    /// Finished lines.
    lines: u16,
    /// An empty line before the first one, skipped.
    blank: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    Request,
    Response,
    Trailers,
}

/// A whole section: `bytes[start..end]`, with its empty line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Search {
    /// Goes on with the search. `bytes` begin where they began the last time.
    pub(crate) fn find(&mut self, bytes: &[u8], section: Section, limits: &Limits) -> Result<Option<Found>, Violation> {
        if self.lines == 0 && section != Section::Trailers && !self.begin(bytes, section)? {
            return Ok(None);
        }
        let (total_max, too_large) = match section {
            Section::Request | Section::Response => (limits.head_bytes, Violation::HeadTooLarge),
            Section::Trailers => (limits.trailer_bytes, Violation::TrailersTooLarge),
        };
        // Places are told in 32 bits.
        let total_max = total_max.min(u32::MAX as usize);
        let fields_max = limits.fields.min(FIELDS_MAX);
        loop {
            let (line, looked) = (self.line as usize, self.looked as usize);
            let end = memchr(b'\n', &bytes[looked..]).map(|at| looked + at);
            let first = self.lines == 0 && section == Section::Request;
            // A line that is too long shows at its first byte too many; the CR does not count.
            if first && end.unwrap_or(bytes.len()) - line > limits.line_bytes.saturating_add(1) {
                return Err(Violation::RequestLineTooLong);
            }
            if end.map_or(bytes.len(), |end| end + 1) > total_max {
                return Err(if first { Violation::RequestLineTooLong } else { too_large });
            }
            let Some(end) = end else {
                self.looked = bytes.len() as u32;
                return Ok(None);
            };
            if end == line || bytes[end - 1] != b'\r' {
                return Err(Violation::BareLf);
            }
            // Without a version it is a request of HTTP/0.9, and nothing else would come.
            if first && memchr_iter(b' ', &bytes[line..end]).nth(1).is_none() {
                return Err(Violation::RequestLine);
            }
            self.line = end as u32 + 1;
            self.looked = self.line;
            let empty = end - 1 == line;
            match section {
                // The first line of a head is not empty: `begin` has seen its first byte.
                _ if empty => {
                    let start = if self.blank { 2 } else { 0 };
                    return Ok(Some(Found { start, end: end + 1 }));
                }
                Section::Request | Section::Response if usize::from(self.lines) > fields_max => {
                    return Err(Violation::TooManyFields);
                }
                Section::Trailers if usize::from(self.lines) >= fields_max => return Err(Violation::TooManyFields),
                _ => self.lines += 1,
            }
        }
    }

    /// Whether the first line has begun, and as a message begins. One empty line is skipped before a request:
    /// some clients end a body with a CRLF that is not part of it (RFC 9112 section 2.2).
    fn begin(&mut self, bytes: &[u8], section: Section) -> Result<bool, Violation> {
        let start = self.line as usize;
        match &bytes[start..] {
            [] | b"\r" => Ok(false),
            [b'\r', b'\n', ..] if self.blank || section == Section::Response => Err(Violation::EmptyLine),
            [b'\r', b'\n', ..] => {
                self.blank = true;
                self.line = start as u32 + 2;
                self.looked = self.line;
                self.begin(bytes, section)
            }
            [b'\r', ..] => Err(Violation::BareCr),
            [b'\n', ..] => Err(Violation::BareLf),
            [first, ..] if is_tchar(*first) => Ok(true),
            _ => Err(Violation::NotHttp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { head_bytes: 40, line_bytes: 16, fields: 2, trailer_bytes: 20, ..Limits::REQUEST };

    /// The same in one piece, byte by byte, and cut once anywhere.
    #[track_caller]
    fn check(section: Section, bytes: &str, expected: Result<Option<(usize, usize)>, Violation>) {
        let bytes = bytes.as_bytes();
        let in_pieces = |pieces: &[usize]| {
            let mut search = Search::default();
            let mut last = Ok(None);
            for end in pieces {
                last = search.find(&bytes[..*end], section, &SMALL);
                if last != Ok(None) {
                    break;
                }
            }
            last.map(|found| found.map(|found| (found.start, found.end)))
        };
        assert_eq!(in_pieces(&[bytes.len()]), expected, "in one piece");
        assert_eq!(in_pieces(&(0..=bytes.len()).collect::<Vec<_>>()), expected, "byte by byte");
        for cut in 0..bytes.len() {
            assert_eq!(in_pieces(&[cut, bytes.len()]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn heads() {
        use Section::{Request, Response};
        check(Request, "", Ok(None));
        check(Request, "G / H\r\n\r\n", Ok(Some((0, 9))));
        check(Request, "G / H\r\n\r\nrest", Ok(Some((0, 9))));
        check(Request, "G / H\r\na:b\r\n\r\n", Ok(Some((0, 14))));
        check(Request, "G / H\r\na:b\r\n\r", Ok(None));
        check(Request, "\r\nG / H\r\n\r\n", Ok(Some((2, 11))));
        check(Request, "\r\n\r\nG / H\r\n\r\n", Err(Violation::EmptyLine));
        check(Request, "\r\n\r\n", Err(Violation::EmptyLine));
        check(Request, "\rG", Err(Violation::BareCr));
        check(Request, "\nG", Err(Violation::BareLf));
        check(Request, "\r\n\n", Err(Violation::BareLf));
        check(Request, "\x16\x03\x01", Err(Violation::NotHttp));
        check(Request, " G / H\r\n", Err(Violation::NotHttp));
        check(Request, "GET /\r\n", Err(Violation::RequestLine));
        check(Request, "GET\r\n", Err(Violation::RequestLine));
        check(Request, "GET /\r", Ok(None));
        check(Request, "G / H\n", Err(Violation::BareLf));
        check(Request, "G / H\r\na:b\n", Err(Violation::BareLf));
        check(Request, "G / H\r\n\n", Err(Violation::BareLf));
        check(Response, "H 2\r\n\r\n", Ok(Some((0, 7))));
        check(Response, "\r\nH 2\r\n\r\n", Err(Violation::EmptyLine));
    }

    #[test]
    fn bounds() {
        use Section::{Request, Response};
        check(Request, "GET /456789012 4\r\n\r\n", Ok(Some((0, 20))));
        check(Request, "GET /456789012345\r\n\r\n", Err(Violation::RequestLineTooLong));
        check(Request, "GET /456789012345", Ok(None));
        check(Request, "GET /4567890123456", Err(Violation::RequestLineTooLong));
        check(Request, "GET /456789012345\n", Err(Violation::BareLf));
        check(Request, "G / H\r\na:1\r\nb:2\r\n\r\n", Ok(Some((0, 19))));
        check(Request, "G / H\r\na:1\r\nb:2\r\nc:3\r\n", Err(Violation::TooManyFields));
        check(Request, "G / H\r\na:3456789012345678901234567890\r\n", Ok(None));
        check(Request, "G / H\r\na:34567890123456789012345678\r\n\r\n", Ok(Some((0, 39))));
        check(Request, "G / H\r\na:3456789012345678901234567890\r\n\r\n", Err(Violation::HeadTooLarge));
        check(Request, "G / H\r\na:3456789012345678901234567890123456", Err(Violation::HeadTooLarge));
        check(Request, "G / H\r\na:3456789012345678901234567890123\n", Err(Violation::HeadTooLarge));
        check(Response, "HTTP/1.1 200 a long reason\r\n\r\n", Ok(Some((0, 30))));
        check(Response, "HTTP/1.1 200 a much longer reason than that", Err(Violation::HeadTooLarge));
    }

    #[test]
    fn trailer_sections() {
        use Section::Trailers;
        check(Trailers, "", Ok(None));
        check(Trailers, "\r\n", Ok(Some((0, 2))));
        check(Trailers, "\r\nGET", Ok(Some((0, 2))));
        check(Trailers, "a:1\r\nb:2\r\n\r\n", Ok(Some((0, 12))));
        check(Trailers, "a:1\r\nb:2\r\nc:3\r\n\r\n", Err(Violation::TooManyFields));
        check(Trailers, "a:1\n", Err(Violation::BareLf));
        check(Trailers, "\n", Err(Violation::BareLf));
        check(Trailers, "a:34567890123456789012", Err(Violation::TrailersTooLarge));
    }
}
