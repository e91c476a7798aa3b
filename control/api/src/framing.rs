//! Where one message ends and the next begins.
//!
//! A message is one line of JSON: it ends at a NUL byte or a newline, and its answer ends as it did.
//! Blank messages are nothing, so `\r\n`, `\0\n` and an empty line typed by hand do no harm. Owns the
//! bytes of messages that are not complete yet; knows nothing of what is in them.

use serde::Serialize;

/// Bytes that one message may have, its end not counted, unless the decoder is made with another bound.
/// A document of this size is also the largest that the configuration reads from a file.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How a message ended, and so how its answers must.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    Nul,
    #[default]
    Newline,
}

impl End {
    pub fn byte(self) -> u8 {
        match self {
            End::Nul => 0,
            End::Newline => b'\n',
        }
    }
}

/// One message without its end and without white space around it; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub text: Vec<u8>,
    pub end: End,
}

/// A message was longer than the bound. What follows up to its end is skipped, then the conversation goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong {
    /// Unit: bytes.
    pub bound: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the message is longer than {} bytes; accepted is one JSON object of at most that, ended by a newline or a NUL byte",
            self.bound
        )
    }
}

impl std::error::Error for TooLong {}

/// Takes bytes as they come and gives whole messages.
///
/// Holds at most the bound plus what one [`Decoder::feed`] brought, if [`Decoder::decode`] is called
/// until it gives `None` before more is fed.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Everything before is given out.
    start: usize,
    /// Everything before has no end in it. At least `start`.
    searched: usize,
    bound: usize,
    /// Inside a message that was too long: nothing is kept until its end.
    skipping: bool,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new(MESSAGE_BYTES_MAX)
    }
}

impl Decoder {
    pub fn new(bound: usize) -> Decoder {
        Decoder { buffer: Vec::new(), start: 0, searched: 0, bound, skipping: false }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more is fed.
    ///
    /// What comes out depends on the bytes alone, not on how they were cut into feeds: a line is too long by
    /// its own length, white space counted, whether its end is here yet or not.
    pub fn decode(&mut self) -> Option<Result<Frame, TooLong>> {
        while let Some((at, end)) = self.find_end() {
            let line = &self.buffer[self.start..at];
            let too_long = line.len() > self.bound;
            let text = if too_long { &[] } else { line.trim_ascii() };
            let text = text.to_vec();
            self.start = at + 1;
            self.searched = self.start;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if too_long {
                return Some(Err(TooLong { bound: self.bound }));
            }
            if !text.is_empty() {
                return Some(Ok(Frame { text, end }));
            }
        }
        self.keep_rest().err().map(Err)
    }

    /// The end of the stream ends its last message too: `printf '{…}' | nc -U` is forgiven its missing newline.
    pub fn finish(mut self) -> Option<Frame> {
        if self.skipping {
            return None;
        }
        let text = self.buffer.split_off(self.start);
        let text = text.trim_ascii();
        (!text.is_empty()).then(|| Frame { text: text.to_vec(), end: End::Newline })
    }

    fn find_end(&mut self) -> Option<(usize, End)> {
        let unsearched = &self.buffer[self.searched..];
        let found = unsearched.iter().position(|byte| matches!(byte, 0 | b'\n'))?;
        let at = self.searched + found;
        let end = if self.buffer[at] == 0 { End::Nul } else { End::Newline };
        Some((at, end))
    }

    /// No end in sight: keep only what may still become a message.
    fn keep_rest(&mut self) -> Result<(), TooLong> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let too_long = self.buffer.len() > self.bound;
        let first_seen = too_long && !self.skipping;
        self.skipping |= too_long;
        if self.skipping {
            self.buffer.clear();
        }
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES_MAX);
        }
        self.searched = self.buffer.len();
        if first_seen {
            return Err(TooLong { bound: self.bound });
        }
        Ok(())
    }
}

/// Room that an idle decoder keeps: a session that once sent a large document costs nothing afterwards.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A message as it goes over the socket. JSON escapes control characters, so an end never stands inside.
pub fn encode(message: &impl Serialize, end: End) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("messages have string keys and no failing fields");
    debug_assert!(!bytes.iter().any(|byte| matches!(byte, 0 | b'\n')));
    bytes.push(end.byte());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUND: usize = 8;

    /// Feeds `pieces` one by one; `!` stands for a message that was too long, `|` and `_` for its end.
    fn decode_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut decoder = Decoder::new(BOUND);
        let mut seen = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            while let Some(decoded) = decoder.decode() {
                seen.push(match decoded {
                    Ok(frame) => shown(&frame),
                    Err(TooLong { bound }) => {
                        assert_eq!(bound, BOUND);
                        "!".to_owned()
                    }
                });
            }
            assert!(decoder.buffer.len() <= BOUND, "kept {}", decoder.buffer.len());
        }
        seen.extend(decoder.finish().map(|frame| format!("{}…", shown(&frame))));
        seen
    }

    fn shown(frame: &Frame) -> String {
        let end = match frame.end {
            End::Nul => '|',
            End::Newline => '_',
        };
        format!("{}{end}", String::from_utf8_lossy(&frame.text))
    }

    #[track_caller]
    fn check(bytes: &str, expected: &[&str]) {
        assert_eq!(decode_all([bytes.as_bytes()]), expected, "in one piece");
        assert_eq!(decode_all(bytes.as_bytes().chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn a_message_ends_at_nul_or_newline() {
        check("", &[]);
        check("{}\n", &["{}_"]);
        check("{}\0", &["{}|"]);
        check("{}\n[]\0", &["{}_", "[]|"]);
        check("{}\r\n", &["{}_"]);
        check("{}\0\n", &["{}|"]);
        check("\n\n \r\n\0{}\n", &["{}_"]);
        check("  {} \t\n", &["{}_"]);
    }

    #[test]
    fn the_end_of_the_stream_ends_the_last_message() {
        check("{}\n[1]", &["{}_", "[1]_…"]);
        check("{}\n  ", &["{}_"]);
        check("1234567890", &["!"]);
    }

    #[test]
    fn a_message_that_is_too_long_is_told_once_and_skipped() {
        check("12345678\n", &["12345678_"]);
        check("123456789\n{}\n", &["!", "{}_"]);
        check("12345678901234567890\0{}\0", &["!", "{}|"]);
        check("         \n{}\n", &["!", "{}_"]);
        check("123456789\n\n123456789\n", &["!", "!"]);
    }

    #[test]
    fn room_for_a_large_message_is_given_back() {
        let mut decoder = Decoder::default();
        decoder.feed(&vec![b'x'; 1 << 20]);
        assert!(decoder.decode().is_none());
        decoder.feed(b"\n");
        assert_eq!(decoder.decode().unwrap().unwrap().text.len(), 1 << 20);
        assert!(decoder.decode().is_none());
        assert!(decoder.buffer.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn an_end_inside_a_text_is_escaped() {
        let bytes = encode(&"a\nb\0c", End::Nul);
        assert_eq!(bytes, b"\"a\\nb\\u0000c\"\0");
    }

    fn bytes_with_ends() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => Just(b'x'),
            1 => Just(b'\n'),
            1 => Just(0u8),
            1 => prop_oneof![Just(b' '), Just(b'\r')],
            1 => any::<u8>(),
        ];
        proptest::collection::vec(byte, 0..80)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            bytes in bytes_with_ends(),
            cuts in proptest::collection::vec(1usize..12, 1..30),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(decode_all(pieces), decode_all([&bytes[..]]));
        }
    }
}
