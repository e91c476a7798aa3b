//! Answers that carry an account, and all the ways to send one: whole, in part, and not as its head says.

use crate::http::conduct::{End, Visit};
use crate::http::message::Fields;
use crate::http::received::{BODY_SUM, ORIGIN, Received};
use crate::pattern::Pattern;

/// An answer that carries an account.
pub(crate) struct Answer {
    pub version: &'static str,
    pub status: u16,
    pub fields: Fields,
    pub framing: Said,
    pub received: Received,
    pub trailers: Fields,
    /// The answer to a HEAD ends with its head, whatever that says.
    pub has_body: bool,
}

/// What an answer says of its length.
pub(crate) enum Said {
    Length,
    OtherLength(u64),
    Chunks(Sizes),
    Nothing,
}

pub(crate) enum Sizes {
    Each(usize),
    Growing { next: usize, up_to: usize },
}

impl Sizes {
    fn next(&mut self) -> usize {
        match self {
            Sizes::Each(bytes) => *bytes,
            Sizes::Growing { next, up_to } => {
                let size = *next;
                *next = (size + 1).min(*up_to);
                size
            }
        }
    }
}

impl Answer {
    /// A body up to this length is made twice: once for its sum, once to be sent.
    const SUMMED_BYTES_MAX: u64 = 1 << 20;

    pub fn new(status: u16, received: Received) -> Answer {
        let mut fields = Fields::default();
        fields.push(ORIGIN, &received.origin);
        fields.push("Content-Type", "application/octet-stream");
        let (version, framing, trailers) = ("HTTP/1.1", Said::Length, Fields::default());
        let has_body = received.method != "HEAD";
        Answer { version, status, fields, framing, received, trailers, has_body }
    }

    pub fn body_bytes(&self) -> u64 {
        self.received.line().len() as u64 + self.received.filler
    }

    /// With the framing that is said; nothing is sent differently for a lie in it.
    fn head(&self) -> Vec<u8> {
        let mut fields = self.fields.clone();
        match &self.framing {
            Said::Length => fields.push("Content-Length", self.body_bytes()),
            Said::OtherLength(said) => fields.push("Content-Length", said),
            Said::Chunks(_) => fields.push("Transfer-Encoding", "chunked"),
            Said::Nothing => {}
        }
        if self.body_bytes() <= Answer::SUMMED_BYTES_MAX && !matches!(self.framing, Said::Chunks(_)) {
            let mut sum = crc32fast::Hasher::new();
            self.pieces(&mut Sizes::Each(65_536), u64::MAX, |piece| {
                sum.update(piece);
                Ok(())
            })
            .expect("a sum does not fail");
            fields.push(BODY_SUM, format!("{:08x}", sum.finalize()));
        }
        let first = format!("{} {} Told\r\n", self.version, self.status);
        [first.as_bytes(), &fields.lines(), b"\r\n"].concat()
    }

    pub fn send(mut self, visit: &mut Visit<'_>) -> Result<(), End> {
        let mut bytes = self.head();
        if self.has_body {
            match std::mem::replace(&mut self.framing, Said::Nothing) {
                Said::Chunks(mut sizes) => {
                    let mut sum = crc32fast::Hasher::new();
                    self.pieces(&mut sizes, u64::MAX, |piece| {
                        sum.update(piece);
                        bytes.extend(format!("{:x}\r\n", piece.len()).as_bytes());
                        bytes.extend(piece);
                        bytes.extend(b"\r\n");
                        visit.send(&bytes)?;
                        bytes.clear();
                        Ok(())
                    })?;
                    self.trailers.push(BODY_SUM, format!("{:08x}", sum.finalize()));
                    bytes.extend(b"0\r\n");
                    bytes.extend(self.trailers.lines());
                    bytes.extend(b"\r\n");
                }
                Said::Length | Said::OtherLength(_) | Said::Nothing => {
                    self.pieces(&mut Sizes::Each(65_536), u64::MAX, |piece| {
                        bytes.extend(piece);
                        visit.send(&bytes)?;
                        bytes.clear();
                        Ok(())
                    })?;
                }
            }
        }
        visit.send(&bytes)?;
        visit.count(|log| log.seen.answered += 1);
        Ok(())
    }

    pub fn send_half_of_head(&self, visit: &mut Visit<'_>) -> Result<(), End> {
        let head = self.head();
        visit.send(&head[..head.len() / 2])
    }

    /// The head and so many bytes of the body.
    pub fn send_up_to(&self, visit: &mut Visit<'_>, bytes: u64) -> Result<(), End> {
        visit.send(&self.head())?;
        self.pieces(&mut Sizes::Each(65_536), bytes, |piece| visit.send(piece))
    }

    /// A chunked head, the account in a chunk, and then this.
    pub fn send_chunked_tail(mut self, visit: &mut Visit<'_>, tail: &[u8]) -> Result<(), End> {
        self.framing = Said::Chunks(Sizes::Each(65_536));
        let line = self.received.line();
        let size = format!("{:x}\r\n", line.len());
        visit.send(&[&self.head(), size.as_bytes(), &line, b"\r\n", tail].concat())
    }

    /// A whole answer with its length, for conducts that send it in a way of their own.
    pub fn whole(&self) -> Vec<u8> {
        let mut bytes = self.head();
        self.pieces(&mut Sizes::Each(65_536), u64::MAX, |piece| {
            bytes.extend(piece);
            Ok(())
        })
        .expect("memory takes it");
        bytes
    }

    /// The body up to so many bytes: the account, then the filler, cut as told. The account is one piece where sizes
    /// grow, so that each size comes once.
    fn pieces(&self, sizes: &mut Sizes, most: u64, mut each: impl FnMut(&[u8]) -> Result<(), End>) -> Result<(), End> {
        let line = self.received.line();
        let line = &line[..line.len().min(most.try_into().unwrap_or(usize::MAX))];
        match sizes {
            Sizes::Each(bytes) => line.chunks(*bytes).try_for_each(&mut each)?,
            Sizes::Growing { .. } => each(line)?,
        }
        let end = self.received.filler.min(most - line.len() as u64);
        let pattern = Pattern::new(self.received.seed);
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < end {
            let count = (end - at).min(sizes.next() as u64) as usize;
            buffer.resize(count, 0);
            pattern.fill(at, &mut buffer);
            each(&buffer)?;
            at += count as u64;
        }
        Ok(())
    }
}
