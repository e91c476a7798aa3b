//! The chunked coding (RFC 9112 section 7.1).
//!
//! ```text
//!   Size ─┬─ ";" ─▶ Extension ─┐
//!         └─ CR ───────────────┴─▶ SizeLf ─┬─ 0 ─▶ Trailers ─▶ over
//!    ▲                                     └─ n ─▶ Data(n) ─▶ DataCr ─▶ DataLf ─┐
//!    └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Extensions are read over, and bounded: none is passed on. What matters in them is where they end, and there a
//! CR without LF, or an LF without CR, is refused: implementations have differed in it.

use crate::h1::body::Step;
use crate::h1::bytes::{is_blank, is_value};
use crate::h1::field::Fields;
use crate::h1::limits::{EXTENSION_BYTES_MAX, Limits};
use crate::h1::name::Trailing;
use crate::h1::search::{Search, Section};
use crate::h1::tokens;
use crate::h1::violation::Violation;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of extensions that may still come.
    extensions: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size {
        value: u64,
        digits: u8,
    },
    /// Behind the size: blanks, then `;` (`BWS`, RFC 9112 section 7.1.1).
    Extension {
        value: u64,
        begun: bool,
    },
    SizeLf {
        value: u64,
    },
    /// More than 0.
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers(Search),
}

/// Sixteen hexadecimal digits are all that a `u64` holds, leading zeros or not.
const DIGITS_MAX: u8 = 16;

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked { state: State::Size { value: 0, digits: 0 }, extensions: EXTENSION_BYTES_MAX }
    }

    pub(super) fn feed(
        &mut self,
        input: &[u8],
        allowed: &mut u64,
        limits: &Limits,
        trailers: &mut Fields,
    ) -> Result<Step, Violation> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Data { .. } if at == input.len() => return Ok(Step { consumed: at, data: at..at, over: false }),
                State::Data { left } => {
                    let bytes = (*left).min((input.len() - at) as u64);
                    let data = at..at + bytes as usize;
                    self.moved(bytes);
                    // The CRLF behind goes with it, if it is here: one call for a small chunk.
                    let mut consumed = data.end;
                    while let State::DataCr | State::DataLf = self.state
                        && let Some(byte) = input.get(consumed)
                    {
                        self.framing(*byte, allowed)?;
                        consumed += 1;
                    }
                    return Ok(Step { consumed, data, over: false });
                }
                State::Trailers(search) => {
                    let section = &input[at..];
                    let Some(found) = search.find(section, Section::Trailers, limits)? else {
                        return Ok(Step { consumed: at, data: at..at, over: false });
                    };
                    read_trailers(input, at, at + found.end, limits, trailers)?;
                    return Ok(Step { consumed: at + found.end, data: at..at, over: true });
                }
                _ => {
                    let Some(byte) = input.get(at) else {
                        return Ok(Step { consumed: at, data: at..at, over: false });
                    };
                    self.framing(*byte, allowed)?;
                    at += 1;
                }
            }
        }
    }

    /// One byte that is neither content nor trailer.
    fn framing(&mut self, byte: u8, allowed: &mut u64) -> Result<(), Violation> {
        self.state = match self.state {
            State::Size { value, digits } => match (hexadecimal(byte), byte) {
                (Some(_), _) if digits == DIGITS_MAX => return Err(Violation::ChunkSizeOverflow),
                (Some(digit), _) => State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 },
                _ if digits == 0 => return Err(Violation::ChunkSize),
                (None, b'\r') => State::SizeLf { value },
                (None, b';') => State::Extension { value, begun: true },
                (None, blank) if is_blank(blank) => State::Extension { value, begun: false },
                (None, b'\n') => return Err(Violation::BareLf),
                (None, _) => return Err(Violation::ChunkSize),
            },
            State::Extension { value, begun } => {
                self.extensions = self.extensions.checked_sub(1).ok_or(Violation::ExtensionsTooLong)?;
                match byte {
                    b'\r' if begun => State::SizeLf { value },
                    b'\n' => return Err(Violation::BareLf),
                    byte if begun && is_value(byte) => State::Extension { value, begun },
                    b';' => State::Extension { value, begun: true },
                    blank if is_blank(blank) => State::Extension { value, begun },
                    _ => return Err(Violation::ChunkSize),
                }
            }
            State::SizeLf { .. } if byte != b'\n' => return Err(Violation::BareCr),
            State::SizeLf { value: 0 } => State::Trailers(Search::default()),
            State::SizeLf { value } => {
                *allowed = allowed.checked_sub(value).ok_or(Violation::BodyTooLarge)?;
                State::Data { left: value }
            }
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size { value: 0, digits: 0 },
            State::DataCr | State::DataLf => return Err(Violation::ChunkEnd),
            State::Data { .. } | State::Trailers(_) => unreachable!("content and trailers are no framing"),
        };
        Ok(())
    }

    pub(super) fn opaque(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    pub(super) fn moved(&mut self, bytes: u64) {
        if let State::Data { left } = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.state = State::DataCr;
            }
        }
    }
}

/// A complete section, `input[start..end]`: the same strictness as for a head's fields, and none among them that
/// would change what the head said.
#[cold]
fn read_trailers(
    input: &[u8],
    start: usize,
    end: usize,
    limits: &Limits,
    trailers: &mut Fields,
) -> Result<(), Violation> {
    trailers.0.clear();
    if end - start == "\r\n".len() {
        return Ok(());
    }
    tokens::trailers(input, start, end, limits, trailers)?;
    match trailers.iter().any(|field| field.id.trailing() == Trailing::Refused) {
        true => Err(Violation::ForbiddenTrailer),
        false => Ok(()),
    }
}

fn hexadecimal(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
