//! How an exchange ended that was not complete, as the one who reads saw it.

use crate::outcome;
use std::fmt;

/// What a client saw in place of a good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nobody took the connection.
    Refused,
    /// Reset before a byte of the answer.
    ResetBeforeByte,
    /// Reset after so many bytes of the answer.
    ResetMidResponse { received: u64 },
    /// The other side ended properly, before a byte of the answer.
    EndBeforeByte,
    /// The other side ended properly, inside this part and after so many bytes of the answer.
    EarlyEnd { within: Part, received: u64 },
    /// The body is not as long as was said.
    WrongLength { said: u64, received: u64 },
    /// So many bytes came that nobody asked for.
    Surplus { bytes: u64 },
    /// What came is not HTTP.
    Malformed(Malformed),
    /// A good answer with another status than the one that was expected.
    WrongStatus { status: u16, expected: u16 },
    /// The body is not what was expected: how it differs.
    WrongBody(String),
    /// A good answer, but to another request.
    WrongAnswer { asked: String, answered: String },
    /// Parts of the answer were decided by different generations: which by which.
    MixedGenerations(String),
    /// A connection that has met a newer generation was served by an older one.
    OlderGeneration { before: u64, now: u64 },
    /// The connection ended after an answer that had not said so.
    UnannouncedEnd,
    /// Nothing happened for as long as the client would wait.
    TimedOut { doing: &'static str, received: u64 },
    /// None of these: the system's own words.
    Other { doing: &'static str, error: String },
}

/// Part of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Head,
    ChunkedBody,
    Trailers,
    Frame,
}

/// How what came is not HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The first line.
    StartLine(String),
    /// A field line without a colon, without a name, or with something in the name that may not be there.
    FieldLine(String),
    /// A field that goes on in the next line.
    Folded(String),
    BareLineFeed,
    BareCarriageReturn,
    Nul,
    /// A head or a trailer section beyond the reader's bound.
    HeadTooLarge,
    /// A line beyond the reader's bound where only a short one can be.
    LineTooLong,
    /// Content-Length more than once, or a list.
    TwoLengths(Vec<String>),
    /// Content-Length that is not a number.
    Length(String),
    /// Both Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// Transfer-Encoding other than exactly `chunked`.
    Coding(String),
    /// Transfer-Encoding in HTTP/1.0, which does not know it.
    CodingBeforeHttp11,
    /// Content-Length or Transfer-Encoding in an answer of this status, which cannot have a body.
    FramingNotAllowed {
        status: u16,
    },
    ChunkSize(String),
    /// Something else than a line's end after a chunk.
    ChunkEnd,
    /// More interim answers than the reader's bound.
    TooManyInterim,
    /// More body than the reader's bound.
    BodyTooLarge,
    /// WebSocket: a handshake or a frame that RFC 6455 does not allow.
    WebSocket(String),
}

impl Failure {
    /// The word under which failures of this kind are counted.
    pub fn class(&self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::ResetBeforeByte => "reset before a byte",
            Failure::ResetMidResponse { .. } => "reset mid-response",
            Failure::EndBeforeByte => "end before a byte",
            Failure::EarlyEnd { .. } => "early end",
            Failure::WrongLength { .. } => "wrong length",
            Failure::Surplus { .. } => "surplus data",
            Failure::Malformed(_) => "malformed",
            Failure::WrongStatus { .. } => "wrong status",
            Failure::WrongBody(_) => "wrong body",
            Failure::WrongAnswer { .. } => "wrong answer",
            Failure::MixedGenerations(_) => "mixed generations",
            Failure::OlderGeneration { .. } => "older generation",
            Failure::UnannouncedEnd => "unannounced end",
            Failure::TimedOut { .. } => "timed out",
            Failure::Other { .. } => "other",
        }
    }
}

impl From<outcome::Failure> for Failure {
    fn from(failure: outcome::Failure) -> Failure {
        match failure {
            outcome::Failure::Refused => Failure::Refused,
            outcome::Failure::ResetBeforeByte => Failure::ResetBeforeByte,
            outcome::Failure::ResetMidStream { received } => Failure::ResetMidResponse { received },
            outcome::Failure::EarlyEnd { received, expected } => Failure::WrongLength { said: expected, received },
            outcome::Failure::Surplus { expected } => Failure::Surplus { bytes: expected },
            outcome::Failure::WrongData { at } => Failure::WrongBody(format!("another byte at offset {at}")),
            outcome::Failure::TimedOut { doing, received } => Failure::TimedOut { doing, received },
            outcome::Failure::Other { doing, error } => Failure::Other { doing, error },
        }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Failure {
        Failure::Malformed(malformed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class())?;
        match self {
            Failure::Refused | Failure::ResetBeforeByte | Failure::EndBeforeByte | Failure::UnannouncedEnd => Ok(()),
            Failure::ResetMidResponse { received } => write!(f, " after {received} bytes"),
            Failure::EarlyEnd { within, received } => write!(f, " in {within:?} after {received} bytes"),
            Failure::WrongLength { said, received } => write!(f, ": {said} said, {received} received"),
            Failure::Surplus { bytes } => write!(f, ": {bytes} bytes"),
            Failure::Malformed(how) => write!(f, ": {how:?}"),
            Failure::WrongStatus { status, expected } => write!(f, " {status} in place of {expected}"),
            Failure::WrongBody(how) | Failure::MixedGenerations(how) => write!(f, ": {how}"),
            Failure::WrongAnswer { asked, answered } => write!(f, ": {asked} asked, {answered} answered"),
            Failure::OlderGeneration { before, now } => write!(f, " {now} after {before}"),
            Failure::TimedOut { doing, received } => write!(f, " in {doing} after {received} bytes"),
            Failure::Other { doing, error } => write!(f, ": {doing}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}
