//! One direction of an exchange: content from a source to a sink, in the framing that the sink was told.
//!
//! ```text
//!            small                                   large, no look needed
//!   Idle ── forward ──▶ held ── taken ──▶ Idle    Idle ── pipe ──▶ (size line) ─▶ fill ⇄ drain ─▶ (CRLF) ─▶ Idle
//!    └─ content over, nothing held ──▶ done
//! ```
//!
//! The source is read only while nothing waits for the sink: that is the window. Framing that stands between
//! what is moved through a pipe is *owed* until the owner has written it.

use crate::h1::body::Body;
use crate::h1::field::Fields;
use crate::h1::limits::Limits;
use crate::h1::meaning::Framing;
use crate::h1::violation::Violation;
use crate::h1::write;

/// Bytes from which on a pipe's two calls cost less than copying; below, they do not.
pub const SPLICE_BYTES_MIN: u64 = 64 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) body: Body,
    /// As the sink was told.
    pub(super) framing: Framing,
    /// Bytes in the owner's hands that the sink has not taken.
    pub(super) held: u64,
    pub(super) pipe: Option<Pipe>,
    owed: Owed,
}

/// A stretch of content that goes through a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pipe {
    /// Bytes still to be filled in.
    pub(super) left: u64,
    pub(super) inside: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owed {
    Nothing,
    ChunkBegin(u64),
    ChunkEnd,
    LastChunk,
}

impl Flow {
    pub(super) fn new(framing: Framing, limits: &Limits) -> Flow {
        Flow { body: Body::new(framing, limits), framing, held: 0, pipe: None, owed: Owed::Nothing }
    }

    /// Content, its framing, and every byte of them that came is with the sink.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_over() && self.is_clear()
    }

    /// Nothing is between source and sink.
    pub(super) fn is_clear(&self) -> bool {
        self.held == 0 && self.pipe.is_none() && self.owed == Owed::Nothing
    }

    pub(super) fn owes(&self) -> bool {
        self.owed != Owed::Nothing
    }

    /// Nothing of this direction reaches its sink any more.
    pub(super) fn drop_all(&mut self) {
        (self.held, self.pipe, self.owed) = (0, None, Owed::Nothing);
    }

    /// Takes content from `input`, puts it in the sink's framing, and answers how much was consumed.
    pub(super) fn forward(
        &mut self,
        input: &[u8],
        limits: &Limits,
        spare: &mut Fields,
        put: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Violation> {
        debug_assert!(self.pipe.is_none() && !self.owes(), "{self:?}: what is in a pipe goes first");
        let Flow { body, held, .. } = self;
        let mut put = |bytes: &[u8]| {
            *held += bytes.len() as u64;
            put(bytes);
        };
        let mut consumed = 0;
        let chunked = self.framing == Framing::Chunked;
        while !body.is_over() {
            let rest = &input[consumed..];
            let step = body.feed(rest, limits, spare)?;
            if !step.data.is_empty() {
                if chunked {
                    chunk_begin(step.data.len() as u64, &mut put);
                }
                put(&rest[step.data]);
                if chunked {
                    put(write::CHUNK_END);
                }
            }
            if step.over && chunked {
                last_chunk(rest, spare, &mut put);
            }
            consumed += step.consumed;
            if step.consumed == 0 {
                break;
            }
        }
        Ok(consumed)
    }

    /// The next bytes that may go through a pipe, if they are worth one.
    pub(super) fn spliceable(&self) -> Option<u64> {
        let opaque = self.body.opaque();
        // The size of a chunk is said before its bytes: it must be known.
        let known = self.framing != Framing::Chunked || self.body.is_chunked();
        (self.is_clear() && known && opaque >= SPLICE_BYTES_MIN).then_some(opaque)
    }

    pub(super) fn pipe_given(&mut self) {
        let left = self.spliceable().expect("a pipe was asked for");
        self.pipe = Some(Pipe { left, inside: 0 });
        if self.framing == Framing::Chunked {
            self.owed = Owed::ChunkBegin(left);
        }
    }

    pub(super) fn filled(&mut self, bytes: u64) {
        let pipe = self.pipe.as_mut().expect("a pipe that was given");
        pipe.left = pipe.left.checked_sub(bytes).expect("no more is filled in than was allowed");
        pipe.inside += bytes;
        self.body.moved(bytes);
    }

    pub(super) fn drained(&mut self, bytes: u64) {
        let pipe = self.pipe.as_mut().expect("a pipe that was given");
        pipe.inside = pipe.inside.checked_sub(bytes).expect("a pipe gives no more than went in");
        if pipe.left == 0 && pipe.inside == 0 {
            self.pipe = None;
            if self.framing == Framing::Chunked {
                self.owed = Owed::ChunkEnd;
            }
        }
    }

    /// Writes the framing that is owed.
    pub(super) fn frame(&mut self, put: &mut impl FnMut(&[u8])) {
        let mut put = |bytes: &[u8]| {
            self.held += bytes.len() as u64;
            put(bytes);
        };
        match std::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => {}
            Owed::ChunkBegin(bytes) => chunk_begin(bytes, &mut put),
            Owed::ChunkEnd => put(write::CHUNK_END),
            Owed::LastChunk => put(LAST_CHUNK),
        }
    }

    /// Whether the empty pipe could be given back. Not within a chunk, whose size has been said.
    pub(super) fn pipe_taken_back(&mut self) -> bool {
        let free = self.framing != Framing::Chunked && self.pipe.is_some_and(|pipe| pipe.inside == 0);
        if free {
            self.pipe = None;
        }
        free
    }

    /// The source ended.
    pub(super) fn ended(&mut self) -> Result<(), Violation> {
        let was_over = self.body.is_over();
        self.body.ended()?;
        if let Some(pipe) = &mut self.pipe {
            pipe.left = 0;
            if pipe.inside == 0 {
                self.pipe = None;
            }
        }
        if !was_over && self.framing == Framing::Chunked {
            self.owed = Owed::LastChunk;
        }
        Ok(())
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn chunk_begin(bytes: u64, put: &mut impl FnMut(&[u8])) {
    use std::io::Write;
    let mut line = [0; 18];
    let mut rest = &mut line[..];
    write!(rest, "{bytes:x}\r\n").expect("sixteen digits and a line end");
    let left = rest.len();
    put(&line[..line.len() - left]);
}

fn last_chunk(input: &[u8], trailers: &Fields, put: &mut impl FnMut(&[u8])) {
    if trailers.is_empty() {
        return put(LAST_CHUNK);
    }
    // Once a message at most, and in few.
    let mut out = Vec::new();
    write::last_chunk(&mut out, input, trailers);
    put(&out);
}
