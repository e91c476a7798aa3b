//! A session between two requests, and the head of the next one.

use super::request::{Request, Stage};
use super::{Spare, passes};
use crate::conn::{Conn, Lease, Op, Side, State};
use crate::conns::ConnId;
use crate::ring::socket::{Peer, READABLE};
use crate::ring::{Chunk, Outcome};
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::generation::Service;
use rustix::event::PollFlags;
use std::os::fd::AsFd;
use wire::h1::{Framing, Method, Version, parse_request};
use wire::tunnel::Way;

/// Most bytes that are read at once from a client. Unit: bytes.
pub(super) const FRONT_READ: usize = 16 << 10;

impl Shard<'_> {
    /// A connection that has just come in for a pool of HTTP.
    pub(crate) fn converse(&mut self, id: ConnId) {
        let Shard { adopter, deeds, conns, .. } = self;
        let Some(conn) = conns.get_mut(id) else { unreachable!("just put into the table") };
        let Lease::Root(lease) = std::mem::take(&mut conn.lease) else { unreachable!("just leased") };
        conn.session = Some(adopter.converse(lease, deeds));
        conn.state = State::Session;
        self.perform();
        self.receive_head(id, false);
        self.keep_time(id);
    }

    /// Nothing is under way: the next request may come, or a part of it has already.
    pub(super) fn rest(&mut self, id: ConnId) {
        let now = self.now();
        let Shard { conns, spare, busy, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        debug_assert!(conn.endpoint.is_none() && conn.back.is_none());
        conn.state = State::Session;
        conn.touched = now;
        let Some(mut request) = conn.request.take() else { unreachable!("a request has just ended") };
        request.begin_anew();
        if request.input.is_empty() {
            spare.take_back(request);
            if self.stop_by.is_some() || self.overdue {
                return self.dismiss(id);
            }
            self.watch_front(id);
            self.receive_head(id, true);
        } else {
            // In the next turn: a client that sends many at once is not served before all others.
            conn.request = Some(begun(request, conn.bytes, self.now_micros));
            busy.push((id, Way::In));
        }
        self.keep_time(id);
    }

    /// A client is received from once before it is watched: many have one request and leave.
    pub(super) fn receive_head(&mut self, id: ConnId, dry: bool) {
        let Shard { conns, ring, busy, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let op = Op::Receive(Side::Front);
        if conn.ops.contains(Op::Edges) {
            if conn.front_edge.is_ready() {
                busy.push((id, Way::In));
            }
        } else if !conn.ops.contains(op) {
            ring.receive(op.key(id), conn.front.as_fd(), dry);
            conn.ops.begin(op);
        }
    }

    /// From here on the ring tells whatever comes from the client.
    pub(super) fn watch_front(&mut self, id: ConnId) {
        let Shard { conns, ring, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        if !conn.ops.contains(Op::Edges) && !conn.ops.contains(Op::Receive(Side::Front)) {
            ring.edges(Op::Edges.key(id), conn.front.as_fd());
            conn.ops.begin(Op::Edges);
        }
    }

    /// The ring tells that something has come from the client.
    pub(super) fn on_front_edge(&mut self, id: ConnId, outcome: Outcome) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let flags = if let Outcome::Ready(flags) = outcome { flags } else { READABLE };
        conn.front_edge.note(flags);
        // A Unix socket hangs up when its peer closes, whatever is still to be read from it: an end and no reset.
        let unix = matches!(conn.client, Peer::Unix);
        let broken = flags.contains(PollFlags::ERR) || flags.contains(PollFlags::HUP) && !unix;
        // The kernel had no room to tell more.
        self.watch_front(id);
        match self.stage(id) {
            // Its peer has broken: there is nobody to be answered, and nothing of it is still worth reading.
            Some(Stage::Exchange) if broken => self.broke(id, Way::In, Side::Front),
            Some(Stage::Exchange) => self.drive_exchange(id, Way::In, true),
            None | Some(Stage::Head) => self.go_on(id, Way::In),
            Some(Stage::Answering | Stage::Clearing(_)) => {}
        }
    }

    /// Reads what has come of a head, if anything has.
    pub(super) fn read_front(&mut self, id: ConnId) {
        let Shard { conns, ring, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        if !conn.ops.contains(Op::Edges) {
            return self.receive_head(id, true);
        }
        if let Some(outcome) = conn.front_edge.read(ring, conn.front.as_fd(), FRONT_READ) {
            self.on_head_received(id, outcome);
        }
    }

    /// Between two requests.
    pub(super) fn rests(&mut self, id: ConnId) -> bool {
        self.conns.get_mut(id).is_some_and(|conn| matches!(conn.state, State::Session) && conn.request.is_none())
    }

    /// A receive on the client's side has ended while no exchange is under way.
    pub(super) fn on_head_received(&mut self, id: ConnId, outcome: Outcome) {
        match outcome {
            Outcome::Received(chunk) => self.take_head_bytes(id, chunk),
            Outcome::Ended => {
                let begun = self.conns.get_mut(id).is_some_and(|conn| conn.request.is_some());
                self.end(id, if begun { CloseReason::ClientLeft } else { CloseReason::Finished });
            }
            Outcome::Failed(rustix::io::Errno::NOBUFS) => self.busy.push((id, Way::In)),
            Outcome::Failed(error) if passes(error) => self.receive_head(id, true),
            Outcome::Failed(_) => self.end(id, CloseReason::ClientReset),
            other => unreachable!("a receive ended with {other:?}"),
        }
    }

    fn take_head_bytes(&mut self, id: ConnId, chunk: Chunk) {
        let now = self.now();
        let Shard { conns, ring, spare, now_micros, .. } = self;
        let Some(Conn { request, touched, bytes, .. }) = conns.get_mut(id) else { return ring.recycle(chunk) };
        let request = request.get_or_insert_with(|| new_request(spare, *bytes, *now_micros));
        request.take_in(ring.bytes(&chunk));
        ring.recycle(chunk);
        *touched = now;
        self.read_head(id);
    }

    /// Looks whether the head is complete.
    pub(super) fn read_head(&mut self, id: ConnId) {
        let Shard { conns, adopter, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let (State::Session, Some(request), Some(session)) = (&conn.state, &mut conn.request, &conn.session) else {
            return;
        };
        // A request is decided for once.
        if request.stage != Stage::Head {
            debug_assert!(false, "a head is read in {:?}", request.stage);
            return;
        }
        if !std::mem::take(&mut request.fresh) {
            return self.receive_head(id, true);
        }
        let Service::Http(service) = &adopter.newest(session).service else {
            unreachable!("a pool's service is fixed when it is created")
        };
        request.limits = [service.request, service.response];
        // How much content it may have is for the pool to say whose it will be.
        let mut limits = service.request;
        if !service.sites.is_empty() {
            limits.body_bytes = u64::MAX;
        }
        let Request { input, search, fields, .. } = &mut **request;
        match parse_request(input, search, &limits, fields) {
            Ok(None) => {
                self.keep_time(id);
                self.receive_head(id, true);
            }
            Ok(Some(head)) => {
                request.fresh = input_is_fresh(&request.input, head.bytes);
                let lengthless = head.version == Version::Http10
                    && head.framing == Framing::None
                    && matches!(head.method, Method::Post | Method::Put | Method::Patch);
                let tunnel = head.method == Method::Connect;
                request.head = Some(head);
                match (lengthless, tunnel) {
                    // Where its content ends cannot be known (RFC 9112 section 6.3).
                    (true, _) => self.answer_at_once(id, 411, CloseReason::Refused),
                    // We stand for origins and are nobody's way out (RFC 9110 section 9.3.6).
                    (_, true) => self.answer_at_once(id, 501, CloseReason::Refused),
                    _ => self.decide(id),
                }
            }
            Err(violation) => self.refuse(id, wire::h1::Peer::Client, violation),
        }
    }

    /// The stop has begun: whoever waits between two requests is let go.
    pub(crate) fn dismiss(&mut self, id: ConnId) {
        self.part_in_peace(id, CloseReason::Finished);
    }
}

fn input_is_fresh(input: &[u8], head: usize) -> bool {
    input.len() > head
}

fn new_request(spare: &mut Spare, bytes: [u64; 2], now_micros: u64) -> Box<Request> {
    begun(spare.request(), bytes, now_micros)
}

fn begun(mut request: Box<Request>, bytes: [u64; 2], now_micros: u64) -> Box<Request> {
    request.began_micros = now_micros;
    request.bytes_before = bytes;
    request
}
