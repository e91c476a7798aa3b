//! What a client asks, to the byte: nothing is added that was not said.

use crate::http::incoming::pause;
use crate::http::message::{Fields, bytes_of};
use crate::net::Stream;
use crate::outcome::Failure;
use crate::pattern::Pattern;
use crate::wait::Deadline;
use std::time::Duration;

/// One request. Its framing fields and `Expect` are written by us, after all others.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
    pub body: Option<Body>,
    /// Says `Expect: 100-continue` and sends no body before the answer says to go on.
    pub expects_continue: bool,
}

/// The body of a request, and how it is sent.
#[derive(Clone, Debug)]
pub struct Body {
    pub content: Content,
    /// `Some`: chunked, so many bytes in each. `None`: with its length.
    pub chunk_bytes: Option<usize>,
    pub trailers: Fields,
    pub pace: Option<Pace>,
}

#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    /// So many bytes of [`Pattern`].
    Pattern {
        seed: u64,
        bytes: u64,
    },
}

/// So many bytes, then a pause.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub piece_bytes: usize,
    pub gap: Duration,
}

impl Request {
    /// Without any field.
    pub fn bare(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            fields: Fields::default(),
            body: None,
            expects_continue: false,
        }
    }

    pub fn new(method: &str, host: &str, target: &str) -> Request {
        Request::bare(method, target).field("Host", host)
    }

    pub fn get(host: &str, target: &str) -> Request {
        Request::new("GET", host, target)
    }

    pub fn post(host: &str, target: &str, content: Content) -> Request {
        Request::new("POST", host, target).body(content)
    }

    /// In HTTP/1.0.
    pub fn old(mut self) -> Request {
        self.version = "HTTP/1.0".to_owned();
        self
    }

    pub fn field(mut self, name: &str, value: impl std::fmt::Display) -> Request {
        self.fields.push(name, value);
        self
    }

    pub fn body(mut self, content: Content) -> Request {
        self.body = Some(Body { content, chunk_bytes: None, trailers: Fields::default(), pace: None });
        self
    }

    /// The body goes in chunks of so many bytes.
    pub fn chunked(mut self, bytes: usize) -> Request {
        assert!(bytes > 0, "an empty chunk is the last");
        self.body_mut().chunk_bytes = Some(bytes);
        self
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Request {
        assert!(self.body_mut().chunk_bytes.is_some(), "only a chunked body has trailers");
        self.body_mut().trailers.push(name, value);
        self
    }

    pub fn slow(mut self, piece_bytes: usize, gap: Duration) -> Request {
        self.body_mut().pace = Some(Pace { piece_bytes, gap });
        self
    }

    pub fn expecting_continue(mut self) -> Request {
        self.expects_continue = true;
        self
    }

    fn body_mut(&mut self) -> &mut Body {
        self.body.as_mut().expect("the request has a body")
    }

    /// The head with its empty line.
    pub fn head(&self) -> Vec<u8> {
        let mut fields = self.fields.clone();
        match &self.body {
            None => {}
            Some(Body { content, chunk_bytes: None, .. }) => fields.push("Content-Length", content.len()),
            Some(Body { chunk_bytes: Some(_), .. }) => fields.push("Transfer-Encoding", "chunked"),
        }
        if self.expects_continue {
            fields.push("Expect", "100-continue");
        }
        let first = format!("{} {} {}\r\n", self.method, self.target, self.version);
        [bytes_of(&first), fields.lines(), b"\r\n".to_vec()].concat()
    }

    pub(crate) fn send_body(&self, stream: &mut Stream, patience: Duration) -> Result<(), Failure> {
        let Some(body) = &self.body else {
            return Ok(());
        };
        let room = body.pace.map_or(usize::MAX, |pace| pace.piece_bytes).min(body.chunk_bytes.unwrap_or(65_536));
        let mut buffer = vec![0; room];
        let mut at = 0;
        while at < body.content.len() {
            let count = (body.content.len() - at).min(room as u64) as usize;
            body.content.fill(at, &mut buffer[..count]);
            stream.deadline = Deadline::after(patience);
            match body.chunk_bytes {
                None => stream.send(&buffer[..count])?,
                Some(_) => {
                    let size = format!("{count:x}\r\n");
                    stream.send(&[size.as_bytes(), &buffer[..count], b"\r\n"].concat())?;
                }
            }
            at += count as u64;
            if let Some(pace) = body.pace {
                pause(stream, pace.gap);
            }
        }
        if body.chunk_bytes.is_some() {
            stream.send(&[b"0\r\n", &body.trailers.lines()[..], b"\r\n"].concat())?;
        }
        Ok(())
    }
}

impl Content {
    pub fn text(text: &str) -> Content {
        Content::Bytes(text.as_bytes().to_vec())
    }

    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Pattern { bytes, .. } => *bytes,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// CRC-32, as the one who gets it computes it.
    pub fn sum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        let mut buffer = vec![0; 65_536];
        let mut at = 0;
        while at < self.len() {
            let count = (self.len() - at).min(buffer.len() as u64) as usize;
            self.fill(at, &mut buffer[..count]);
            sum.update(&buffer[..count]);
            at += count as u64;
        }
        sum.finalize()
    }

    fn fill(&self, at: u64, room: &mut [u8]) {
        match self {
            Content::Bytes(bytes) => room.copy_from_slice(&bytes[at as usize..at as usize + room.len()]),
            Content::Pattern { seed, .. } => Pattern::new(*seed).fill(at, room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_was_asked_and_nothing_else() {
        let check = |request: Request, head: &str| assert_eq!(request.head(), bytes_of(head));
        check(Request::bare("GET", "/"), "GET / HTTP/1.1\r\n\r\n");
        check(Request::get("a", "/x").old(), "GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
        check(
            Request::post("a", "*", Content::text("abc")).field("x-Y", "\u{e9}").expecting_continue(),
            "POST * HTTP/1.1\r\nHost: a\r\nx-Y: \u{e9}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        );
        check(
            Request::post("a", "/", Content::text("abc")).chunked(2),
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
    }

    #[test]
    fn content_has_the_sum_of_its_bytes() {
        assert_eq!(Content::text("123456789").sum(), 0xcbf4_3926);
        let mut bytes = vec![0; 200_000];
        Pattern::new(3).fill(0, &mut bytes);
        assert_eq!(Content::Pattern { seed: 3, bytes: 200_000 }.sum(), Content::Bytes(bytes).sum());
    }
}
