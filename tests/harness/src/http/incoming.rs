//! Reading messages from a connection: one line at a time, one piece of a body at a time.

use crate::http::failure::{Failure, Malformed, Part};
use crate::http::message::{Fields, Framing, RequestHead, StatusHead, fields_of, text_of};
use crate::net::Stream;
use crate::outcome;
use crate::wait::{Deadline, PATIENCE};
use crc32fast::Hasher;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;

/// A connection, what has come on it and was not yet taken, and how long to wait for more.
pub struct Incoming {
    pub stream: Stream,
    /// The longest that nothing may happen.
    pub patience: Duration,
    /// Most bytes that are received at a time.
    pub piece_bytes_max: usize,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been taken.
    taken: usize,
    /// Bytes taken of the message that is being read.
    of_message: u64,
    /// The other side's end came.
    ended: bool,
    /// Our end was said.
    finished: bool,
}

/// What was read of a body, besides its bytes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BodyEnd {
    pub bytes: u64,
    /// CRC-32 of all bytes.
    pub sum: u32,
    /// Chunks in which it came, without the last, empty one.
    pub chunks: u64,
    pub trailers: Fields,
}

impl Incoming {
    /// Most bytes of a head and of a trailer section. Far beyond what any good sender sends.
    pub const HEAD_BYTES_MAX: usize = 256 << 10;
    /// Most bytes of the line that says how long a chunk is.
    const CHUNK_LINE_BYTES_MAX: usize = 4096;
    /// Most bytes of a body: one that never ends is seen as such.
    const BODY_BYTES_MAX: u64 = 64 << 30;

    pub fn over(stream: Stream) -> Incoming {
        Incoming {
            stream,
            patience: PATIENCE,
            piece_bytes_max: 65_536,
            buffer: Vec::new(),
            taken: 0,
            of_message: 0,
            ended: false,
            finished: false,
        }
    }

    pub fn request_head(&mut self) -> Result<RequestHead, Failure> {
        self.of_message = 0;
        let (lines, raw) = self.lines(Part::Head)?;
        Ok(RequestHead::read(&lines, raw)?)
    }

    /// `first`: nothing of the answer has come before, not even an interim head.
    pub fn status_head(&mut self, first: bool) -> Result<StatusHead, Failure> {
        if first {
            self.of_message = 0;
        }
        let (lines, raw) = self.lines(Part::Head)?;
        Ok(StatusHead::read(&lines, raw)?)
    }

    /// Reads a body of this framing and shows it, piece by piece.
    pub fn body(
        &mut self,
        framing: Framing,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<BodyEnd, Failure> {
        let mut reading = Body { bytes: 0, sum: Hasher::new(), each };
        let mut chunks = 0;
        let mut trailers = Fields::default();
        match framing {
            Framing::None => {}
            Framing::Length(said) => {
                let cut = |received| Failure::WrongLength { said, received };
                self.exactly(said, &mut reading, cut)?;
            }
            Framing::UntilEnd => while self.piece(u64::MAX, &mut reading)? > 0 {},
            Framing::Chunked => {
                loop {
                    let size = self.chunk_size()?;
                    if size == 0 {
                        break;
                    }
                    let before = self.of_message;
                    let cut = |received| Failure::EarlyEnd { within: Part::ChunkedBody, received: before + received };
                    self.exactly(size, &mut reading, cut)?;
                    self.chunk_end()?;
                    chunks += 1;
                }
                trailers = fields_of(&self.lines(Part::Trailers)?.0)?;
            }
        }
        Ok(BodyEnd { bytes: reading.bytes, sum: reading.sum.finalize(), chunks, trailers })
    }

    /// What has come and was not taken.
    pub fn waiting(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Takes exactly as many bytes as fit.
    pub fn fill(&mut self, room: &mut [u8]) -> Result<(), Failure> {
        while self.waiting().len() < room.len() {
            if !self.receive()? {
                return Err(self.end_within(Part::Frame));
            }
        }
        room.copy_from_slice(&self.waiting()[..room.len()]);
        self.take(room.len());
        Ok(())
    }

    /// Waits for something to come. `false`: the other side's end came.
    pub fn receive(&mut self) -> Result<bool, Failure> {
        if self.ended {
            return Ok(false);
        }
        // Moving what is left costs something, so not for every few bytes.
        if self.taken == self.buffer.len() || self.taken >= self.piece_bytes_max {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + self.piece_bytes_max, 0);
        self.stream.deadline = Deadline::after(self.patience);
        let outcome = self.stream.receive(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + outcome.as_ref().map_or(0, |count| *count));
        let received = self.of_message + self.waiting().len() as u64;
        let reset = if received == 0 { Failure::ResetBeforeByte } else { Failure::ResetMidResponse { received } };
        match outcome {
            // The sender was told of the reset.
            Ok(0) if !self.finished && self.stream.was_reset() => Err(reset),
            Ok(count) => {
                self.ended = count == 0;
                Ok(count > 0)
            }
            Err(outcome::Failure::ResetBeforeByte | outcome::Failure::ResetMidStream { .. }) => Err(reset),
            Err(outcome::Failure::TimedOut { doing, .. }) => Err(Failure::TimedOut { doing, received }),
            Err(other) => Err(other.into()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.finished = true;
        Ok(self.stream.finish()?)
    }

    /// What the next message begins with is not yet part of it.
    pub fn begin(&mut self) {
        self.of_message = 0;
    }

    /// Whether bytes, an end or a reset have arrived that nobody has received yet.
    pub fn has_news(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.ended && matches!(poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&at_once)), Ok(1))
    }

    /// Lines up to the empty one, and their bytes with it.
    fn lines(&mut self, part: Part) -> Result<(Vec<Vec<u8>>, Vec<u8>), Failure> {
        let (mut lines, mut raw) = (Vec::new(), Vec::new());
        loop {
            let room = Incoming::HEAD_BYTES_MAX - raw.len();
            let line = self.line(room, part, Malformed::HeadTooLarge)?;
            raw.extend(&line);
            raw.extend(b"\r\n");
            if raw.len() > Incoming::HEAD_BYTES_MAX {
                return Err(Malformed::HeadTooLarge.into());
            }
            if line.is_empty() {
                return Ok((lines, raw));
            }
            lines.push(line);
        }
    }

    /// One line without its end. `too_long`: it has more than so many bytes.
    fn line(&mut self, room: usize, part: Part, too_long: Malformed) -> Result<Vec<u8>, Failure> {
        let mut seen = 0;
        let end = loop {
            match self.waiting()[seen..].iter().position(|byte| *byte == b'\n') {
                Some(at) => break seen + at,
                None => seen = self.waiting().len(),
            }
            if seen > room {
                return Err(too_long.into());
            }
            if !self.receive()? {
                return Err(self.end_within(part));
            }
        };
        let mut line = self.waiting()[..end].to_vec();
        self.take(end + 1);
        if line.pop_if(|last| *last == b'\r').is_none() {
            return Err(Malformed::BareLineFeed.into());
        }
        if line.contains(&b'\r') {
            return Err(Malformed::BareCarriageReturn.into());
        }
        if line.contains(&0) {
            return Err(Malformed::Nul.into());
        }
        Ok(line)
    }

    fn chunk_size(&mut self) -> Result<u64, Failure> {
        const DIGITS_MAX: usize = 16;
        let line = self.line(Incoming::CHUNK_LINE_BYTES_MAX, Part::ChunkedBody, Malformed::LineTooLong)?;
        let line = text_of(&line);
        let digits = line.split(';').next().unwrap_or_default();
        let hex = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(digits, 16).ok().filter(|_| hex);
        size.ok_or(Malformed::ChunkSize(line).into())
    }

    fn chunk_end(&mut self) -> Result<(), Failure> {
        while self.waiting().len() < 2 {
            if !self.receive()? {
                return Err(self.end_within(Part::ChunkedBody));
            }
        }
        let good = self.waiting().starts_with(b"\r\n");
        self.take(2);
        if good { Ok(()) } else { Err(Malformed::ChunkEnd.into()) }
    }

    /// Takes so many bytes of a body. `cut` is told how many of them came before the end.
    fn exactly(&mut self, bytes: u64, reading: &mut Body<'_>, cut: impl Fn(u64) -> Failure) -> Result<(), Failure> {
        let mut left = bytes;
        while left > 0 {
            match self.piece(left, reading)? {
                0 => return Err(cut(bytes - left)),
                count => left -= count,
            }
        }
        Ok(())
    }

    /// Takes what is there of a body, at least one byte; 0 is the end of the connection.
    fn piece(&mut self, most: u64, reading: &mut Body<'_>) -> Result<u64, Failure> {
        if self.waiting().is_empty() && !self.receive()? {
            return Ok(0);
        }
        let count = most.min(self.waiting().len() as u64);
        reading.take(&self.waiting()[..count as usize])?;
        self.take(count as usize);
        Ok(count)
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        self.of_message += count as u64;
    }

    fn end_within(&self, within: Part) -> Failure {
        match self.of_message + self.waiting().len() as u64 {
            0 => Failure::EndBeforeByte,
            received => Failure::EarlyEnd { within, received },
        }
    }
}

struct Body<'a> {
    bytes: u64,
    sum: Hasher,
    each: &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>,
}

impl Body<'_> {
    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.bytes += piece.len() as u64;
        if self.bytes > Incoming::BODY_BYTES_MAX {
            return Err(Malformed::BodyTooLarge.into());
        }
        self.sum.update(piece);
        (self.each)(piece)
    }
}

/// Lets some time pass between two pieces, for those whose nature it is to be slow. Ends early when the connection
/// breaks.
pub fn pause(stream: &Stream, gap: Duration) {
    let gap = Timespec::try_from(gap).expect("a gap is short");
    // With no event asked for, poll reports only errors and the end of both directions.
    let _ = poll(&mut [PollFd::new(stream, PollFlags::empty())], Some(&gap));
}

/// What somebody reads who gets these bytes, at most `piece` at a time, and then the end.
#[cfg(test)]
pub(crate) fn read<T>(bytes: &[u8], piece: usize, read: impl FnOnce(&mut Incoming) -> T) -> T {
    use socket2::{Domain, Socket, Type};
    use std::io::Write;
    let (mut sender, reader) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("a pair of sockets");
    let bytes = bytes.to_vec();
    let sending = std::thread::spawn(move || sender.write_all(&bytes));
    let mut incoming = Incoming::over(Stream::accepted(reader, Deadline::patient()));
    incoming.piece_bytes_max = piece;
    let outcome = read(&mut incoming);
    drop(incoming);
    // The reader may have had enough before all was sent.
    let _ = sending.join().expect("the sender does not panic");
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    /// The same, however the bytes are cut.
    #[track_caller]
    fn check_head(bytes: &[u8], expected: Result<u16, Failure>) {
        for piece in [1, 2, 3, 65_536] {
            let head = read(bytes, piece, |incoming| incoming.status_head(true));
            assert_eq!(head.map(|head| head.status), expected, "{} in pieces of {piece}", text_of(bytes));
        }
    }

    #[track_caller]
    fn check_body(bytes: &[u8], framing: Framing, expected: Result<(&[u8], u64), Failure>) {
        for piece in [1, 2, 3, 65_536] {
            let mut body = Vec::new();
            let end = read(bytes, piece, |incoming| {
                incoming.body(framing, &mut |piece| {
                    body.extend(piece);
                    Ok(())
                })
            });
            if let Ok(end) = &end {
                assert_eq!(end.sum, crc32fast::hash(&body));
                assert_eq!(end.bytes, body.len() as u64);
            }
            let seen = end.as_ref().map(|end| (&body[..], end.chunks)).map_err(Clone::clone);
            assert_eq!(seen, expected, "{} in pieces of {piece}", text_of(bytes));
        }
    }

    #[test]
    fn heads() {
        let early = |received| Err(Failure::EarlyEnd { within: Part::Head, received });
        check_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Ok(200));
        check_head(b"", Err(Failure::EndBeforeByte));
        check_head(b"HTTP/1.1 200 O", early(14));
        check_head(b"HTTP/1.1 200 OK\r\nA: b\r\n", early(23));
        check_head(b"HTTP/1.1 200 OK\nA: b\n\n", Err(Malformed::BareLineFeed.into()));
        check_head(b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Err(Malformed::BareCarriageReturn.into()));
        check_head(b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", Err(Malformed::Nul.into()));
        check_head(b"\r\n", Err(Malformed::StartLine(String::new()).into()));
    }

    #[test]
    fn a_head_beyond_the_bound_is_not_read_further() {
        let one = vec![b'x'; Incoming::HEAD_BYTES_MAX + 100_000];
        let many = b"A: b\r\n".repeat(Incoming::HEAD_BYTES_MAX / 6 + 1);
        for rest in [one, many] {
            let bytes = [&b"HTTP/1.1 200 OK\r\n"[..], &rest[..]].concat();
            let outcome = read(&bytes, 65_536, |incoming| incoming.status_head(true));
            assert_eq!(outcome, Err(Malformed::HeadTooLarge.into()));
        }
    }

    #[test]
    fn bodies() {
        let early = |within, received| Err(Failure::EarlyEnd { within, received });
        check_body(b"rest", Framing::None, Ok((b"", 0)));
        check_body(b"bodyrest", Framing::Length(4), Ok((b"body", 0)));
        check_body(b"bod", Framing::Length(4), Err(Failure::WrongLength { said: 4, received: 3 }));
        check_body(b"all of it", Framing::UntilEnd, Ok((b"all of it", 0)));
        check_body(
            b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n000\r\n\r\nrest",
            Framing::Chunked,
            Ok((b"abc0123456789", 2)),
        );
        check_body(b"0\r\nSum: 1\r\n\r\n", Framing::Chunked, Ok((b"", 0)));
        check_body(b"3\r\nab", Framing::Chunked, early(Part::ChunkedBody, 5));
        check_body(b"3\r\nabc\r", Framing::Chunked, early(Part::ChunkedBody, 7));
        check_body(b"3\r\nabc\r\n", Framing::Chunked, early(Part::ChunkedBody, 8));
        check_body(b"0\r\n", Framing::Chunked, early(Part::Trailers, 3));
        check_body(b"3\r\nabcd\r\n", Framing::Chunked, Err(Malformed::ChunkEnd.into()));
        check_body(b"3\nabc\n", Framing::Chunked, Err(Malformed::BareLineFeed.into()));
        for size in ["", "g", "-1", "+1", "0x1", " 1", "1 ", "1,2", "00000000000000001", ";x"] {
            let bytes = format!("{size}\r\na\r\n0\r\n\r\n");
            check_body(bytes.as_bytes(), Framing::Chunked, Err(Malformed::ChunkSize(size.into()).into()));
        }
    }

    #[test]
    fn trailers_are_kept() {
        let end =
            read(b"0\r\nSum: 1\r\nsum: 2\r\n\r\n", 1, |incoming| incoming.body(Framing::Chunked, &mut |_| Ok(())));
        assert_eq!(end.expect("a good body").trailers, Fields::of(&[("Sum", "1"), ("sum", "2")]));
    }
}
