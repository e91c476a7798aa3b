//! A client's reading of one answer: as much understanding as it takes to know that it is the one expected.
//!
//! Sees the status, the declared length, the content and that nothing is behind it. It shares no parser with what is
//! measured, and knows no other framing than a declared length: an answer that comes in chunks is a wrong one.
//!
//! ```text
//! Head ──empty line──> Content ──last byte──> Whole
//! ```

use super::exchange::{HEAD_END, STATUS};
use memchr::memmem;
use std::fmt;

/// No proxy here adds so much to a head.
const HEAD_BYTES_MAX: usize = 4096;
/// What is told of a head that is wrong.
const TOLD_BYTES: usize = 80;

pub struct Reading {
    part: Part,
}

enum Part {
    /// What has come of a head that is not complete; mostly nothing, as a head comes at once.
    Head(Vec<u8>),
    /// So many bytes of the content have come.
    Content(usize),
    Whole,
}

/// Why an answer does not count.
#[derive(PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Its first line.
    Status(String),
    /// What it declares, or all of its fields.
    Length(String),
    HeadTooLong,
    /// Other bytes than the origin sends.
    Content,
    /// Something came behind it that nobody had asked for.
    Behind,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Status(line) => write!(f, "an answer began with {line:?}"),
            Wrong::Length(found) => write!(f, "an answer did not declare the length that the origin sends: {found:?}"),
            Wrong::HeadTooLong => write!(f, "the head of an answer was longer than {HEAD_BYTES_MAX} bytes"),
            Wrong::Content => write!(f, "the content of an answer was not what the origin sends"),
            Wrong::Behind => write!(f, "bytes came behind an answer"),
        }
    }
}

impl Reading {
    pub fn new() -> Reading {
        Reading { part: Part::Head(Vec::new()) }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.part, Part::Whole)
    }

    /// Bytes of the content that have not come, once its head has.
    pub fn content_left(&self, body: &[u8]) -> Option<usize> {
        match self.part {
            Part::Head(_) => None,
            Part::Content(come) => Some(body.len() - come),
            Part::Whole => Some(0),
        }
    }

    /// The next bytes of an answer whose content is to be `body`.
    pub fn feed(&mut self, bytes: &[u8], body: &[u8]) -> Result<(), Wrong> {
        match &mut self.part {
            Part::Head(before) if before.is_empty() => match memmem::find(bytes, HEAD_END) {
                Some(end) => self.take_head(bytes, end + HEAD_END.len(), body),
                None => keep(before, bytes),
            },
            Part::Head(before) => {
                keep(before, bytes)?;
                match memmem::find(before, HEAD_END) {
                    Some(end) => {
                        let all = std::mem::take(before);
                        self.take_head(&all, end + HEAD_END.len(), body)
                    }
                    None => Ok(()),
                }
            }
            Part::Content(come) => {
                let come = *come;
                self.take_content(come, bytes, body)
            }
            Part::Whole if bytes.is_empty() => Ok(()),
            Part::Whole => Err(Wrong::Behind),
        }
    }

    /// So many bytes of the content have come and were thrown away unseen.
    pub fn skip(&mut self, bytes: usize, body: &[u8]) {
        if let Part::Content(come) = &mut self.part {
            *come += bytes;
            debug_assert!(*come <= body.len());
            if *come == body.len() {
                self.part = Part::Whole;
            }
        }
    }

    fn take_head(&mut self, bytes: &[u8], end: usize, body: &[u8]) -> Result<(), Wrong> {
        let (head, behind) = bytes.split_at(end);
        check_head(head, body.len())?;
        self.take_content(0, behind, body)
    }

    fn take_content(&mut self, come: usize, bytes: &[u8], body: &[u8]) -> Result<(), Wrong> {
        let left = &body[come..];
        if bytes.len() > left.len() {
            return Err(Wrong::Behind);
        }
        if bytes != &left[..bytes.len()] {
            return Err(Wrong::Content);
        }
        self.part = match come + bytes.len() {
            come if come == body.len() => Part::Whole,
            come => Part::Content(come),
        };
        Ok(())
    }
}

fn keep(before: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Wrong> {
    if before.len() + bytes.len() > HEAD_BYTES_MAX {
        return Err(Wrong::HeadTooLong);
    }
    before.extend_from_slice(bytes);
    Ok(())
}

fn check_head(head: &[u8], body_bytes: usize) -> Result<(), Wrong> {
    if !head.starts_with(STATUS) {
        return Err(Wrong::Status(told(head.split(|byte| *byte == b'\r').next().unwrap_or_default())));
    }
    let fields = head.split(|byte| *byte == b'\n').filter_map(field);
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    match (lengths.next(), lengths.next()) {
        (Some((_, length)), None) if is_number(length, body_bytes) => Ok(()),
        (Some((_, length)), _) => Err(Wrong::Length(told(length))),
        (None, _) => Err(Wrong::Length(told(head))),
    }
}

/// Name and value of a line of a head. The first line has no colon, or no name that matters.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn is_number(text: &[u8], number: usize) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse() == Ok(number))
}

fn told(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TOLD_BYTES)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::exchange;
    use super::*;

    const BODY_BYTES: usize = 200;

    /// Feeds `answer` in pieces of `size`.
    fn read(answer: &[u8], size: usize) -> Result<bool, Wrong> {
        let body = exchange::body(BODY_BYTES);
        let mut reading = Reading::new();
        for piece in answer.chunks(size) {
            reading.feed(piece, &body)?;
        }
        Ok(reading.is_whole())
    }

    fn with_head(head: &str) -> Vec<u8> {
        [head.as_bytes(), &exchange::body(BODY_BYTES)].concat()
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte_however_it_comes() {
        let answer = exchange::answer(BODY_BYTES);
        for size in [1, 7, 50, 100, 10_000] {
            assert_eq!(read(&answer, size), Ok(true), "in pieces of {size}");
            assert_eq!(read(&answer[..answer.len() - 1], size), Ok(false), "in pieces of {size}");
        }
    }

    #[test]
    fn a_proxy_may_write_the_head_otherwise() {
        let answer = with_head("HTTP/1.1 200 Fine\r\ndate: now: or then\r\ncontent-length:200 \r\nVia: x\r\n\r\n");
        assert_eq!(read(&answer, 10_000), Ok(true));
    }

    #[test]
    fn what_is_wrong_is_told() {
        fn check(answer: &[u8], expected: Wrong) {
            assert_eq!(read(answer, 10_000), Err(expected), "{:?}", String::from_utf8_lossy(answer));
        }
        let length = |text: &str| Wrong::Length(text.to_owned());
        let status = |text: &str| Wrong::Status(text.to_owned());
        check(
            &with_head("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 200\r\n\r\n"),
            status("HTTP/1.1 502 Bad Gateway"),
        );
        check(&with_head("HTTP/1.0 200 OK\r\nContent-Length: 200\r\n\r\n"), status("HTTP/1.0 200 OK"));
        check(&with_head("HTTP/1.1 200 OK\r\nContent-Length: 201\r\n\r\n"), length("201"));
        check(&with_head("HTTP/1.1 200 OK\r\nContent-Length: 200\r\nContent-Length: 9\r\n\r\n"), length("200"));
        check(&with_head("HTTP/1.1 200 OK\r\n\r\n"), length("HTTP/1.1 200 OK\r\n\r\n"));
        let mut answer = exchange::answer(BODY_BYTES);
        answer.push(b'a');
        check(&answer, Wrong::Behind);
        *answer.last_mut().unwrap() = b'a';
        let other = answer.len() - 2;
        answer.truncate(other + 1);
        answer[other] = b'!';
        check(&answer, Wrong::Content);
        check(&[b'x'; HEAD_BYTES_MAX + 1], Wrong::HeadTooLong);
    }

    #[test]
    fn content_that_is_thrown_away_counts_all_the_same() {
        let body = exchange::body(BODY_BYTES);
        let answer = exchange::answer(BODY_BYTES);
        let mut reading = Reading::new();
        assert_eq!(reading.content_left(&body), None);
        reading.feed(&answer[..answer.len() - 150], &body).unwrap();
        assert_eq!(reading.content_left(&body), Some(150));
        reading.skip(149, &body);
        assert!(!reading.is_whole());
        reading.skip(1, &body);
        assert!(reading.is_whole());
        assert_eq!(reading.feed(b"x", &body), Err(Wrong::Behind));
    }
}
