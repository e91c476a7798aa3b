//! Requests on this shard: see "Life of a request" in `ARCHITECTURE.md`. Each module is a row of it.
//!
//! [`wire::h1`] understands and says, [`policy::http`] decides; here is what they ask for: memory, sockets, leases, and one
//! answer to each request whatever goes wrong.

pub mod answer;
mod exchange;
mod head;
mod record;
mod route;
pub mod upstream;

use crate::ring::pipe::Pipe;
use policy::http::{Expanded, RouteIx, Scratch};
use wire::h1::{Asked, Content, Exchange, Fields, RequestHead, Search};
use wire::tunnel::Way;

/// What a session holds from the first byte of a request to the end of its answer.
pub struct Request {
    pub stage: Stage,
    /// The head, then what has come behind it and is not done with; what is behind the content belongs to the next.
    input: Vec<u8>,
    search: Search,
    head: Option<RequestHead>,
    /// Of the input, content that was taken and is kept, so that the request can be said again.
    replayed: usize,
    exchange: Option<Exchange>,
    /// By [`Way`]: what is written for the sink.
    out: [Outgoing; 2],
    /// An answer's head as far as it came, or the unfinished end of its content.
    reply: Vec<u8>,
    reply_search: Search,
    asked: Asked,
    /// By [`Way`]: while content goes through one.
    pipes: [Option<Pipe>; 2],
    /// The rule that it met.
    route: Option<RouteIx>,
    /// The group that serves it, by its place in the root that is leased.
    group: usize,
    response_edits: Expanded,
    /// Of the answer; 0 while there is none.
    status: u16,
    /// The upstream connection has served a request before.
    reused: bool,
    /// Unit: microseconds since the process started.
    began_micros: u64,
    first_byte_micros: u64,
}

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Stage {
    #[default]
    Head,
    /// A backend is being chosen or connected to.
    Seeking,
    Exchange,
    /// An answer of ours is on its way.
    Answering,
}

/// Bytes for one sink.
#[derive(Default)]
pub struct Outgoing {
    pub bytes: Vec<u8>,
    pub sent: usize,
}

impl Outgoing {
    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The sink took so many.
    fn took(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.bytes.len() {
            self.clear();
        }
    }
}

/// Memory that requests leave behind for the next ones, so that none is taken for each.
pub struct Spare {
    requests: Vec<Box<Request>>,
    fields: Fields,
    pub scratch: Scratch,
    /// A path in its normal form, a rewritten path and host, an expanded text.
    pub buffers: [Vec<u8>; 3],
    pub edits: Expanded,
}

impl Spare {
    /// Requests whose memory is kept.
    const REQUESTS: usize = 256;
    /// Memory of one buffer that is kept. Unit: bytes.
    const BUFFER: usize = 32 << 10;

    pub fn new() -> Spare {
        Spare {
            requests: Vec::new(),
            fields: Fields::new(),
            scratch: Scratch::new(),
            buffers: Default::default(),
            edits: Expanded::default(),
        }
    }

    fn request(&mut self, now_micros: u64) -> Box<Request> {
        let mut request = self.requests.pop().unwrap_or_else(|| Box::new(Request::new()));
        request.began_micros = now_micros;
        request
    }

    fn take_back(&mut self, mut request: Box<Request>) {
        debug_assert!(request.pipes.iter().all(Option::is_none), "a pipe is given back by whoever knows its state");
        if let Some(head) = request.head.take() {
            self.fields = head.fields;
        }
        if self.requests.len() < Spare::REQUESTS {
            request.reset();
            self.requests.push(request);
        }
    }
}

impl Request {
    fn new() -> Request {
        Request {
            stage: Stage::Head,
            input: Vec::new(),
            search: Search::default(),
            head: None,
            replayed: 0,
            exchange: None,
            out: Default::default(),
            reply: Vec::new(),
            reply_search: Search::default(),
            asked: Asked { content: Content::Framed, upgrade: false },
            pipes: [None, None],
            route: None,
            group: 0,
            response_edits: Expanded::default(),
            status: 0,
            reused: false,
            began_micros: 0,
            first_byte_micros: 0,
        }
    }

    /// As new, but for memory worth keeping.
    fn reset(&mut self) {
        let keep = |mut buffer: Vec<u8>| {
            buffer.clear();
            if buffer.capacity() > Spare::BUFFER { Vec::new() } else { buffer }
        };
        let [to_origin, to_client] = std::mem::take(&mut self.out);
        let mut response_edits = std::mem::take(&mut self.response_edits);
        response_edits.clear();
        *self = Request {
            input: keep(std::mem::take(&mut self.input)),
            out: [to_origin, to_client].map(|out| Outgoing { bytes: keep(out.bytes), sent: 0 }),
            reply: keep(std::mem::take(&mut self.reply)),
            response_edits,
            ..Request::new()
        };
    }

    /// Memory that is held for bytes on their way.
    fn buffered(&self) -> usize {
        let out = Way::BOTH.map(|way| self.out[way.ix()].bytes.len());
        self.input.len() + self.reply.len() + out[0] + out[1]
    }
}
