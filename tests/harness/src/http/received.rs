//! The account that an origin gives of a request: what reached it, to the byte, for the client to read in the answer.
//!
//! The body of an answer is one line of JSON, which is the account, and then as many bytes of [`Pattern`] as the
//! request asked for with [`FILLER`]. So an answer of any length can be checked as it comes, without being kept.

use crate::http::client::Response;
use crate::http::failure::Failure;
use crate::http::incoming::BodyEnd;
use crate::http::message::{Fields, Framing, RequestHead, text_of};
use crate::pattern::Pattern;
use serde_json::{Value, json};

/// Asks an origin for so many bytes after its account.
pub const FILLER: &str = "X-Answer-Bytes";
/// Says the name of the origin in each of its answers.
pub const ORIGIN: &str = "X-Origin";
/// The CRC-32 of an answer's body in hexadecimal; a field of short answers, a trailer of chunked ones.
pub const BODY_SUM: &str = "X-Body-Sum";

/// One request as it reached an origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The name of the origin.
    pub origin: String,
    /// Counts the origin's connections from 1.
    pub connection: u64,
    /// Counts the requests of that connection from 1.
    pub request: u64,
    pub method: String,
    pub target: String,
    pub version: String,
    /// The head byte for byte, as Latin-1.
    pub head: String,
    pub fields: Fields,
    pub framing: Framing,
    pub body_bytes: u64,
    pub body_sum: u32,
    pub chunks: u64,
    /// The first [`Received::BODY_BYTES_KEPT`] bytes of the body, as Latin-1.
    pub body_begin: String,
    pub trailers: Fields,
    /// The body came to its end; `false` as well when it was not read.
    pub whole: bool,
    /// Bytes of [`Pattern`] that follow in the answer, and their seed.
    pub filler: u64,
    pub seed: u64,
}

impl Received {
    pub const BODY_BYTES_KEPT: usize = 1024;
    /// Longest line of an answer that can be an account.
    const LINE_BYTES_MAX: usize = 4 << 20;

    pub fn of(origin: &str, connection: u64, request: u64, head: &RequestHead, framing: Framing) -> Received {
        Received {
            origin: origin.to_owned(),
            connection,
            request,
            method: head.method.clone(),
            target: head.target.clone(),
            version: head.version.to_string(),
            head: text_of(&head.raw),
            fields: head.fields.clone(),
            framing,
            body_bytes: 0,
            body_sum: 0,
            chunks: 0,
            body_begin: String::new(),
            trailers: Fields::default(),
            whole: framing == Framing::None,
            filler: head.fields.first(FILLER).and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
            seed: connection << 32 | request,
        }
    }

    pub(crate) fn add_body(&mut self, begin: &[u8], end: BodyEnd) {
        self.body_bytes = end.bytes;
        self.body_sum = end.sum;
        self.chunks = end.chunks;
        self.body_begin = text_of(begin);
        self.trailers = end.trailers;
        self.whole = true;
    }

    /// One line with its end.
    pub fn line(&self) -> Vec<u8> {
        let (framing, length) = match self.framing {
            Framing::None => ("none", None),
            Framing::Length(length) => ("length", Some(length)),
            Framing::Chunked => ("chunked", None),
            Framing::UntilEnd => ("until-end", None),
        };
        let account = json!({
            "origin": self.origin,
            "connection": self.connection,
            "request": self.request,
            "method": self.method,
            "target": self.target,
            "version": self.version,
            "head": self.head,
            "fields": self.fields.to_json(),
            "framing": framing,
            "length": length,
            "body_bytes": self.body_bytes,
            "body_sum": self.body_sum,
            "chunks": self.chunks,
            "body_begin": self.body_begin,
            "trailers": self.trailers.to_json(),
            "whole": self.whole,
            "filler": self.filler,
            "seed": self.seed,
        });
        format!("{account}\n").into_bytes()
    }

    /// `None`: this is no account.
    pub fn read(line: &[u8]) -> Option<Received> {
        let account: Value = serde_json::from_slice(line).ok()?;
        let text = |key: &str| Some(account.get(key)?.as_str()?.to_owned());
        let number = |key: &str| account.get(key)?.as_u64();
        let framing = match account.get("framing")?.as_str()? {
            "none" => Framing::None,
            "length" => Framing::Length(number("length")?),
            "chunked" => Framing::Chunked,
            "until-end" => Framing::UntilEnd,
            _ => return None,
        };
        Some(Received {
            origin: text("origin")?,
            connection: number("connection")?,
            request: number("request")?,
            method: text("method")?,
            target: text("target")?,
            version: text("version")?,
            head: text("head")?,
            fields: Fields::from_json(account.get("fields")?)?,
            framing,
            body_bytes: number("body_bytes")?,
            body_sum: number("body_sum")?.try_into().ok()?,
            chunks: number("chunks")?,
            body_begin: text("body_begin")?,
            trailers: Fields::from_json(account.get("trailers")?)?,
            whole: account.get("whole")?.as_bool()?,
            filler: number("filler")?,
            seed: number("seed")?,
        })
    }
}

impl Response {
    /// The account in this answer, whose body must be right to the last byte.
    pub fn received(&self) -> Result<Received, Failure> {
        let mut reading = Account::default();
        reading.take(&self.body)?;
        let received = reading.finish()?;
        self.check_sum()?;
        Ok(received)
    }

    /// Compares the body with the sum that its sender gave, if it gave one and there is a body.
    pub fn check_sum(&self) -> Result<(), Failure> {
        if self.framing == Framing::None {
            return Ok(());
        }
        let said = self.fields.first(BODY_SUM).or_else(|| self.end.trailers.first(BODY_SUM));
        let is = format!("{:08x}", self.end.sum);
        match said {
            Some(said) if said != is => Err(Failure::WrongBody(format!("its sum is {is}, its sender says {said}"))),
            _ => Ok(()),
        }
    }
}

/// Checks the body of an answer as it comes.
#[derive(Default)]
pub struct Account {
    line: Vec<u8>,
    received: Option<Received>,
    /// Bytes that came after the line.
    after: u64,
}

impl Account {
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let mut rest = piece;
        if self.received.is_none() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            self.line.extend(line);
            rest = after;
            if end.is_some() {
                let received = Received::read(&self.line);
                self.received = Some(received.ok_or_else(|| self.is_none("its first line"))?);
            } else if self.line.len() > Received::LINE_BYTES_MAX {
                return Err(self.is_none("its first 4 MiB"));
            }
        }
        if let Some(received) = self.received.as_ref().filter(|_| !rest.is_empty()) {
            let differs = |at| Failure::WrongBody(format!("another byte at offset {at} after the account"));
            Pattern::new(received.seed).check(self.after, rest).map_err(differs)?;
            self.after += rest.len() as u64;
        }
        Ok(())
    }

    /// Everything came.
    pub fn finish(self) -> Result<Received, Failure> {
        let received = self.received.clone().ok_or_else(|| self.is_none("all of it"))?;
        match self.after {
            after if after == received.filler => Ok(received),
            after => Err(Failure::WrongLength { said: received.filler, received: after }),
        }
    }

    fn is_none(&self, what: &str) -> Failure {
        let begin = text_of(&self.line[..self.line.len().min(80)]);
        Failure::WrongBody(format!("{what} is no account: {begin:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Received {
        let lines: Vec<Vec<u8>> =
            vec![b"POST /x?y=\"z\" HTTP/1.1".to_vec(), b"x-Answer-bytes: 100".to_vec(), b"A: \xe9\\".to_vec()];
        let head = RequestHead::read(&lines, b"any \xff\x00\r\n\r\n".to_vec()).expect("a good head");
        let mut received = Received::of("a", 3, 4, &head, Framing::Length(5));
        let trailers = Fields::of(&[("Sum", "1")]);
        received.add_body(b"\xff\nx", BodyEnd { bytes: 5, sum: 0xffff_ffff, chunks: 2, trailers });
        received
    }

    fn body() -> Vec<u8> {
        let received = received();
        let mut filler = vec![0; received.filler as usize];
        Pattern::new(received.seed).fill(0, &mut filler);
        [received.line(), filler].concat()
    }

    fn judge(body: &[u8], piece: usize) -> Result<Received, Failure> {
        let mut account = Account::default();
        for piece in body.chunks(piece) {
            account.take(piece)?;
        }
        account.finish()
    }

    #[test]
    fn an_account_survives_its_line_and_any_cut() {
        assert_eq!(received().filler, 100);
        for piece in [1, 7, 100_000] {
            assert_eq!(judge(&body(), piece), Ok(received()));
        }
    }

    #[test]
    fn each_wrong_byte_and_length_is_seen() {
        let good = body();
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at] ^= 1;
            // A changed letter inside the account's own text is still an account; it is another one.
            assert_ne!(judge(&wrong, 50), Ok(received()), "offset {at}");
        }
        for length in 0..good.len() {
            assert!(judge(&good[..length], 50).is_err(), "{length} of {} bytes", good.len());
        }
        assert!(judge(&[&good[..], b"x"].concat(), 50).is_err());
    }
}
