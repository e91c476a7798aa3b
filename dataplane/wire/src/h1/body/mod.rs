//! The content of a message: which of the bytes behind the head it is, and where it ends.
//!
//! ```text
//!   Length(left) ── left = 0 ─────────────────────────────────────────▶ Over
//!   Chunked: size line ─▶ data ─▶ CRLF ─▶ size line … 0 ─▶ trailers ─▶ Over
//!   UntilClose ── the connection ends ────────────────────────────────▶ Over
//! ```
//!
//! Holds no byte: it can stop and go on at every byte. What has been looked at is consumed, but for a trailer
//! section that is not complete: that is asked for again, with more bytes behind it.

mod chunked;

use crate::h1::field::Fields;
use crate::h1::limits::Limits;
use crate::h1::meaning::Framing;
use crate::h1::violation::Violation;
use chunked::Chunked;
use std::ops::Range;

/// Where in the content of one message we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body {
    state: State,
    /// Bytes of content that may still come under `Limits::body_bytes`.
    allowed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// More than 0.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Over,
}

/// What some bytes were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes of the input that are done with. 0: it takes more than these to go on.
    pub consumed: usize,
    /// The content among them.
    pub data: Range<usize>,
    /// The content has ended; what follows belongs to the next message.
    pub over: bool,
}

impl Body {
    pub fn new(framing: Framing, limits: &Limits) -> Body {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::UntilClose => State::UntilClose,
        };
        Body { state, allowed: limits.body_bytes }
    }

    /// Takes bytes up to the end of the first stretch of content among them. Call again with what was not consumed
    /// until nothing is consumed.
    ///
    /// With the step that is over, the trailers stand in `trailers`, as places in `input`; before, it is memory.
    pub fn feed(&mut self, input: &[u8], limits: &Limits, trailers: &mut Fields) -> Result<Step, Violation> {
        let offered = input.len() as u64;
        match &mut self.state {
            State::Over => {
                trailers.0.clear();
                Ok(Step { consumed: 0, data: 0..0, over: true })
            }
            State::Length(left) => {
                let bytes = offered.min(*left);
                Ok(self.all_data(bytes))
            }
            State::UntilClose if offered > self.allowed => Err(Violation::BodyTooLarge),
            State::UntilClose => Ok(self.all_data(offered)),
            State::Chunked(chunked) => {
                let step = chunked.feed(input, &mut self.allowed, limits, trailers)?;
                if step.over {
                    self.state = State::Over;
                }
                Ok(step)
            }
        }
    }

    fn all_data(&mut self, bytes: u64) -> Step {
        self.moved(bytes);
        Step { consumed: bytes as usize, data: 0..bytes as usize, over: self.is_over() }
    }

    /// How many of the next bytes are content whatever they are, and so may be moved without being looked at.
    /// `u64::MAX`: all up to the end of the connection.
    pub fn opaque(&self) -> u64 {
        match self.state {
            State::Length(left) => left,
            State::Chunked(chunked) => chunked.opaque(),
            State::UntilClose => self.allowed,
            State::Over => 0,
        }
    }

    /// `bytes`, at most [`Body::opaque`], were moved without being looked at.
    pub fn moved(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.opaque(), "{bytes} bytes moved through {self:?}");
        match &mut self.state {
            State::Length(left) => {
                *left = left.saturating_sub(bytes);
                if *left == 0 {
                    self.state = State::Over;
                }
            }
            State::Chunked(chunked) => chunked.moved(bytes),
            // `u64::MAX` is no bound, and stays none.
            State::UntilClose if self.allowed != u64::MAX => self.allowed = self.allowed.saturating_sub(bytes),
            State::UntilClose | State::Over => {}
        }
    }

    /// The connection ended. An end is the end of the content only where nothing else ends it (RFC 9112 section 8).
    pub fn ended(&mut self) -> Result<(), Violation> {
        match self.state {
            State::Over => Ok(()),
            State::UntilClose => {
                self.state = State::Over;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(Violation::Truncated),
        }
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(crate) fn is_chunked(&self) -> bool {
        matches!(self.state, State::Chunked(_))
    }

    /// What is known to follow: `Some(0)` if it is over, `None` if it does not say.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Chunked(_) | State::UntilClose => None,
            State::Over => Some(0),
        }
    }
}

#[cfg(test)]
mod tests;
