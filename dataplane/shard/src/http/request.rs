//! What a session holds for the request that is under way, and the memory that requests leave to each other.

use super::upstreams::UpstreamId;
use crate::ring::pipe::Pipe;
use policy::http::{Expanded, Scratch, Turn};
use policy::ids::{EndpointSlot, GroupSlot, PartId};
use wire::h1::exchange::{Exchange, Front};
use wire::h1::{Asked, Content, Fields, Limits, RequestHead, Search, Version};
use wire::tunnel::Way;

/// From the first byte of a request to the end of its answer.
pub(crate) struct Request {
    pub stage: Stage,
    /// The head, then what has come behind it and is not done with; what is behind the content belongs to the next.
    pub input: Vec<u8>,
    /// Nothing will come behind the input.
    pub client_ended: bool,
    /// Something of the input has not been looked at.
    pub fresh: bool,
    pub search: Search,
    pub head: Option<RequestHead>,
    /// Memory for a head's fields while there is no head.
    pub fields: Fields,
    pub limits: [Limits; 2],
    pub exchange: Option<Exchange>,
    /// By [`Way`]: what is written for the sink.
    pub out: [Outgoing; 2],
    /// Of what is written for the origin, the head; behind it is content.
    pub head_out: usize,
    /// Its answer comes in chunks, or goes in them.
    pub chunked: bool,
    /// An answer's head as far as it came, or content that is not understood yet.
    pub reply: Vec<u8>,
    pub reply_search: Search,
    pub reply_fields: Fields,
    pub asked: Asked,
    /// By [`Way`]: while content goes through one, and how much is in it.
    pub pipes: [Option<(Pipe, u64)>; 2],
    /// The root that its decisions came from.
    pub routed: Option<PartId>,
    /// The rule that it met.
    pub route: Option<Turn>,
    /// The group that serves it.
    pub group: GroupSlot,
    /// What the rule makes of target and host; empty: nothing.
    pub target: Vec<u8>,
    pub host: Vec<u8>,
    pub request_edits: Expanded,
    pub response_edits: Expanded,
    /// What [`HashOn`](policy::http::affinity::HashOn) makes of it.
    pub hash: u64,
    /// Under which the origin and the log know it; empty: none.
    pub id: Vec<u8>,
    /// Names for the record.
    pub names: Names,
    /// The upstream connection that carries it, whose socket is the connection's.
    pub upstream: Option<UpstreamId>,
    /// The backend that was asked last.
    pub served_by: Option<EndpointSlot>,
    /// Of the answer; 0 while there is none.
    pub status: u16,
    /// What could not be understood.
    pub violation: Option<&'static str>,
    /// With an answer of our own: what becomes of the connection.
    pub front_after: Front,
    /// Its group wants to know how its backends do: it ejects, or goes by their times.
    pub watched: bool,
    /// The upstream connection has served a request before.
    pub reused: bool,
    /// It is not to be sent over such a one.
    pub wants_new: bool,
    /// An answer came that is not passed on.
    pub disregarded: bool,
    /// Its status: what the client is told where nobody does better. 0: none came.
    pub disregarded_status: u16,
    /// Unit: microseconds since the process started.
    pub began_micros: u64,
    pub first_byte_micros: u64,
    /// By [`Way`]: what the connection had moved when it began.
    pub bytes_before: [u64; 2],
    /// Memory that the pool is charged for. Unit: bytes.
    pub charged: u64,
}

/// What its rule and group are called, as long as nothing else keeps them. Copied, because another owner of a generation's
/// text is a write to memory that all shards share.
#[derive(Default)]
pub(crate) struct Names {
    text: Vec<u8>,
    rule_bytes: usize,
}

impl Names {
    /// Before the group's.
    pub fn set_rule(&mut self, name: &str) {
        self.text.clear();
        self.text.extend_from_slice(name.as_bytes());
        self.rule_bytes = name.len();
    }

    pub fn set_group(&mut self, name: &str) {
        self.text.truncate(self.rule_bytes);
        self.text.extend_from_slice(name.as_bytes());
    }

    pub fn rule(&self) -> &[u8] {
        &self.text[..self.rule_bytes]
    }

    pub fn group(&self) -> &[u8] {
        &self.text[self.rule_bytes..]
    }

    fn clear(&mut self) {
        self.text.clear();
        self.rule_bytes = 0;
    }
}

/// Where a request is, unless a backend is being chosen or connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Head,
    Exchange,
    /// An answer of ours is on its way.
    Answering,
    /// The upstream connection is over, and the kernel has not given its last operations back.
    Clearing(Then),
}

/// What comes when the upstream socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// The same request, elsewhere.
    Again,
    /// The next request.
    Next,
}

/// Bytes for one sink.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub bytes: Vec<u8>,
    pub sent: usize,
    /// They are kept when they are sent, so that they can be said again.
    pub kept: bool,
}

impl Outgoing {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The sink took so many.
    pub fn took(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.bytes.len() && !self.kept {
            self.clear();
        }
    }

    /// What is left was for a sink that is gone.
    pub fn forget_rest(&mut self) {
        self.sent = self.bytes.len();
        self.took(0);
    }

    /// They will not be said again.
    pub fn let_go(&mut self) {
        self.kept = false;
        self.bytes.drain(..self.sent);
        self.sent = 0;
    }
}

impl Request {
    /// Content that is kept so that a request can be said again. Unit: bytes.
    pub const REPLAY_BYTES_MAX: usize = 16 << 10;

    pub fn take_in(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.fresh = true;
    }

    /// What has come behind the head.
    pub fn behind(&self) -> &[u8] {
        &self.input[self.head.as_ref().map_or(0, |head| head.bytes)..]
    }

    /// Memory that is held for bytes on their way.
    pub fn buffered(&self) -> u64 {
        let out = Way::BOTH.map(|way| self.out[way.ix()].bytes.len());
        (self.input.len() + self.reply.len() + out[0] + out[1]) as u64
    }

    pub fn version(&self) -> Version {
        self.head.as_ref().map_or(Version::Http11, |head| head.version)
    }

    fn new() -> Request {
        Request {
            stage: Stage::Head,
            input: Vec::new(),
            client_ended: false,
            fresh: false,
            search: Search::default(),
            head: None,
            fields: Fields::new(),
            limits: [Limits::REQUEST, Limits::RESPONSE],
            exchange: None,
            out: Default::default(),
            head_out: 0,
            chunked: false,
            reply: Vec::new(),
            reply_search: Search::default(),
            reply_fields: Fields::new(),
            asked: Asked { content: Content::Framed, upgrade: false },
            pipes: [None, None],
            routed: None,
            route: None,
            group: GroupSlot(0),
            target: Vec::new(),
            host: Vec::new(),
            request_edits: Expanded::default(),
            response_edits: Expanded::default(),
            hash: 0,
            id: Vec::new(),
            names: Names::default(),
            upstream: None,
            served_by: None,
            status: 0,
            violation: None,
            front_after: Front::Close,
            watched: false,
            reused: false,
            wants_new: false,
            disregarded: false,
            disregarded_status: 0,
            began_micros: 0,
            first_byte_micros: 0,
            bytes_before: [0; 2],
            charged: 0,
        }
    }

    /// As new, but for the memory, and for what has come behind this request: that is the beginning of the next.
    pub fn begin_anew(&mut self) {
        debug_assert!(self.pipes.iter().all(Option::is_none), "a pipe is given back by whoever knows its state");
        debug_assert!(self.upstream.is_none(), "an upstream connection is kept or closed");
        if let Some(head) = self.head.take() {
            self.input.drain(..head.bytes);
            self.fields = head.fields;
        }
        self.fresh = !self.input.is_empty();
        self.client_ended = false;
        self.stage = Stage::Head;
        (self.search, self.reply_search) = (Search::default(), Search::default());
        self.exchange = None;
        for out in &mut self.out {
            out.clear();
            out.kept = false;
        }
        self.head_out = 0;
        self.reply.clear();
        self.chunked = false;
        (self.routed, self.route) = (None, None);
        for buffer in [&mut self.target, &mut self.host, &mut self.id] {
            buffer.clear();
        }
        self.request_edits.clear();
        self.response_edits.clear();
        self.names.clear();
        (self.served_by, self.status, self.violation) = (None, 0, None);
        (self.reused, self.wants_new, self.disregarded) = (false, false, false);
        (self.first_byte_micros, self.charged, self.disregarded_status) = (0, 0, 0);
    }
}

/// Memory that requests leave behind for the next ones, so that none is taken for each.
pub(crate) struct Spare {
    #[allow(clippy::vec_box, reason = "they go to and fro between here and their connections")]
    requests: Vec<Box<Request>>,
    pub scratch: Scratch,
    /// A path in its normal form, or a date.
    pub path: Vec<u8>,
    /// Whatever is written and used at once.
    pub text: Vec<u8>,
    /// What goes with a record.
    pub words: Vec<u8>,
}

impl Spare {
    /// Requests whose memory is kept.
    const REQUESTS: usize = 256;
    /// Memory of one buffer that is kept. Unit: bytes.
    const BUFFER: usize = 32 << 10;

    pub fn new() -> Spare {
        Spare { requests: Vec::new(), scratch: Scratch::new(), path: Vec::new(), text: Vec::new(), words: Vec::new() }
    }

    pub fn request(&mut self) -> Box<Request> {
        self.requests.pop().unwrap_or_else(|| Box::new(Request::new()))
    }

    /// Takes one back that has begun anew.
    pub fn take_back(&mut self, mut request: Box<Request>) {
        if self.requests.len() == Spare::REQUESTS {
            return;
        }
        request.input.clear();
        let Request { input, reply, out: [to_origin, to_client], .. } = &mut *request;
        for buffer in [input, reply, &mut to_origin.bytes, &mut to_client.bytes] {
            if buffer.capacity() > Spare::BUFFER {
                *buffer = Vec::new();
            }
        }
        self.requests.push(request);
    }
}
