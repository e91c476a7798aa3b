//! What is said of a connection or a request after it has ended: the shard fills it in, control's log thread writes it.
//!
//! A record is plain bytes. It holds no `Arc`: a record that waits in a ring must not pin a generation, and
//! the last drop of anything must not happen on the log thread. Names are looked up by slot where the line
//! is written; a slot is not used again while a record may still name it.

use crate::close::CloseReason;
use crate::ids::{EndpointSlot, GenerationId, PoolSlot, ShardId};
use std::fmt;
use std::net::SocketAddr;
pub use wire::h1::Version;

/// One line of the access log.
#[derive(Clone, Debug)]
pub enum Record {
    Tunnel(TunnelRecord),
    Request(RequestRecord),
}

impl Record {
    pub fn pool(&self) -> PoolSlot {
        match self {
            Record::Tunnel(record) => record.pool,
            Record::Request(record) => record.pool,
        }
    }

    pub fn endpoint(&self) -> Option<EndpointSlot> {
        match self {
            Record::Tunnel(record) => record.endpoint,
            Record::Request(record) => record.endpoint,
        }
    }

    /// Unit: microseconds since the Unix epoch.
    pub fn ended_micros(&self) -> u64 {
        match self {
            Record::Tunnel(record) => record.started_micros.saturating_add(record.duration_micros),
            Record::Request(record) => record.started_micros.saturating_add(record.duration_micros),
        }
    }
}

/// One request of an HTTP pool.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    pub pool: PoolSlot,
    /// The backend that was asked last. `None`: none was.
    pub endpoint: Option<EndpointSlot>,
    /// The generation of the pool that all its decisions were taken from.
    pub generation: GenerationId,
    pub client: ClientAddr,
    /// When its first byte came. Unit: microseconds since the Unix epoch.
    pub started_micros: u64,
    /// First byte to the backend's connection being there, waiting and failed attempts included. 0 without a backend;
    /// saturates at 71 minutes.
    pub connect_micros: u32,
    /// First byte to the answer's first byte from the backend. 0: none came. Saturates.
    pub first_byte_micros: u32,
    /// First byte to the last byte of the answer.
    pub duration_micros: u64,
    /// Head and content as the backend took them.
    pub bytes_in: u64,
    /// Head and content as the client took them.
    pub bytes_out: u64,
    /// What the client was answered; 0: nothing.
    pub status: u16,
    pub version: Version,
    pub reason: CloseReason,
    /// The label of what could not be understood, with [`CloseReason::Refused`] and [`CloseReason::BadAnswer`].
    pub violation: Option<&'static str>,
    pub shard: ShardId,
    /// Backends asked, the last included. Saturates.
    pub attempts: u8,
    /// Over a connection that had served a request before.
    pub reused: bool,
    /// The pool wants a line. Otherwise it is told for its times alone.
    pub logged: bool,
    pub words: Words,
}

/// What a record says of a request in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Method,
    /// As sent.
    Target,
    Host,
    /// The id of the rule that it met.
    Rule,
    Group,
    RequestId,
    Referer,
    UserAgent,
}

impl Word {
    pub const ALL: [Word; 8] = [
        Word::Method,
        Word::Target,
        Word::Host,
        Word::Rule,
        Word::Group,
        Word::RequestId,
        Word::Referer,
        Word::UserAgent,
    ];

    /// What is kept of one; the rest is cut off. Unit: bytes.
    fn bytes_max(self) -> usize {
        match self {
            Word::Method => 24,
            Word::Target => 200,
            Word::Host => 64,
            Word::Rule | Word::Group => 40,
            Word::RequestId => 36,
            Word::Referer => 100,
            Word::UserAgent => 120,
        }
    }
}

/// Where the words of one request stand in the text that goes with its record.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Words {
    ends: [u16; Word::ALL.len()],
    /// One bit for each that was cut off.
    cut: u8,
    said: u8,
}

impl Words {
    /// Of all words of one request. Unit: bytes.
    pub const BYTES_MAX: usize = 640;

    /// Puts a word behind the text. Words are said in the order of [`Word::ALL`]; one that is left out is empty.
    pub fn say(&mut self, text: &mut Vec<u8>, word: Word, said: &[u8]) {
        let ix = word as usize;
        debug_assert!(ix >= usize::from(self.said), "{word:?} is said too late");
        let begin = text.len() as u16;
        text.extend_from_slice(&said[..said.len().min(word.bytes_max())]);
        self.ends[usize::from(self.said)..ix].fill(begin);
        self.ends[ix..].fill(text.len() as u16);
        self.cut |= u8::from(said.len() > word.bytes_max()) << ix;
        self.said = ix as u8 + 1;
    }

    /// `text`: the one that it was said in.
    pub fn word(self, text: &[u8], word: Word) -> &[u8] {
        let ix = word as usize;
        let begin = if ix == 0 { 0 } else { self.ends[ix - 1] };
        text.get(begin.into()..self.ends[ix].into()).unwrap_or_default()
    }

    pub fn is_cut(self, word: Word) -> bool {
        self.cut >> word as usize & 1 == 1
    }
}

/// One ended front connection of a TCP pool.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TunnelRecord {
    pub pool: PoolSlot,
    /// The backend that served it. `None`: the connection ended before one was reached.
    pub endpoint: Option<EndpointSlot>,
    /// The generation of the pool that all its decisions were taken from.
    pub generation: GenerationId,
    pub client: ClientAddr,
    /// When it was accepted. Unit: microseconds since the Unix epoch.
    pub started_micros: u64,
    /// Accept to the backend's connection being there, waiting and failed attempts included. 0 without a
    /// backend; saturates at 71 minutes.
    pub connect_micros: u32,
    /// Accept to the end.
    pub duration_micros: u64,
    /// Client to backend, as delivered to the backend.
    pub bytes_in: u64,
    /// Backend to client, as delivered to the client.
    pub bytes_out: u64,
    pub reason: CloseReason,
    pub shard: ShardId,
    /// Backends tried, the last included. Saturates.
    pub attempts: u8,
}

/// Where a client came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAddr {
    Ip(SocketAddr),
    /// Through a Unix socket: the peer has no address.
    Unix,
    /// It was gone before it could be asked.
    Unknown,
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddr::Ip(address) => address.fmt(f),
            ClientAddr::Unix => f.write_str("unix:"),
            ClientAddr::Unknown => f.write_str("-"),
        }
    }
}

/// A ring of 4,096 records then takes half a megabyte per shard.
const _: () = assert!(size_of::<Record>() <= 144);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_as_far_as_there_is_room() {
        let (mut words, mut text) = (Words::default(), Vec::new());
        words.say(&mut text, Word::Method, b"GET");
        words.say(&mut text, Word::Host, b"example.com");
        words.say(&mut text, Word::UserAgent, &[b'x'; 1_000]);
        let word = |word| words.word(&text, word);
        assert_eq!(word(Word::Method), b"GET");
        assert_eq!(word(Word::Target), b"");
        assert_eq!(word(Word::Host), b"example.com");
        assert_eq!(word(Word::Referer), b"");
        assert_eq!(word(Word::UserAgent), [b'x'; 120]);
        assert!(words.is_cut(Word::UserAgent) && !words.is_cut(Word::Host));
        assert_eq!(Words::default().word(b"", Word::Host), b"");
        let room: usize = Word::ALL.iter().map(|word| word.bytes_max()).sum();
        assert!(room <= Words::BYTES_MAX);
    }
}
