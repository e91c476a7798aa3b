//! A session between two requests, and the head of the next one.

use super::Stage;
use crate::conn::{Op, Side, State};
use crate::conns::ConnId;
use crate::ring::{Chunk, Outcome};
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::generation::Service;
use policy::http::HttpTimeouts;
use policy::reload::RootLease;
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::time::Duration;
use wire::h1::{Peer, parse_request};

/// Where a pool of HTTP says nothing, which the compiler does not let happen.
const TIMEOUTS: HttpTimeouts = HttpTimeouts {
    head: Duration::from_secs(10),
    body: None,
    first_byte: None,
    answer: None,
    total: None,
    keep_alive: Duration::from_secs(60),
};

impl Shard<'_> {
    /// A connection that has just come in for a pool of HTTP.
    pub(crate) fn converse(&mut self, id: ConnId, lease: RootLease) {
        let Shard { adopter, deeds, conns, .. } = self;
        let session = adopter.converse(lease, deeds);
        let Some(conn) = conns.get_mut(id) else { unreachable!("just put into the table") };
        conn.session = Some(session);
        self.perform();
        self.rest(id);
    }

    /// Nothing is under way: the next request may come.
    pub(crate) fn rest(&mut self, id: ConnId) {
        let keep_alive = self.http_timeouts(id).keep_alive;
        let now = self.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        debug_assert!(conn.request.is_none() && conn.endpoint.is_none());
        conn.state = State::Session;
        conn.touched = now;
        self.set_timer(id, now.after(keep_alive));
        self.receive_head(id, true);
    }

    /// The newest time-outs of the session's pool.
    pub(super) fn http_timeouts(&mut self, id: ConnId) -> HttpTimeouts {
        let Shard { conns, adopter, .. } = self;
        let session = conns.get_mut(id).and_then(|conn| conn.session.as_ref());
        session.and_then(|session| adopter.newest(session).policy.http).unwrap_or(TIMEOUTS)
    }

    fn receive_head(&mut self, id: ConnId, dry: bool) {
        let Shard { conns, ring, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let op = Op::Receive(Side::Front);
        if !conn.ops.contains(op) {
            ring.receive(op.key(id), conn.front.as_fd(), dry);
            conn.ops.begin(op);
        }
    }

    /// A receive on the client's side has ended while no exchange is under way.
    pub(super) fn on_head_received(&mut self, id: ConnId, outcome: Outcome) {
        match outcome {
            Outcome::Received(chunk) => self.take_head_bytes(id, chunk),
            Outcome::Ended => {
                let begun = self.conns.get_mut(id).is_some_and(|conn| conn.request.is_some());
                self.end(id, if begun { CloseReason::ClientLeft } else { CloseReason::Finished });
            }
            Outcome::Failed(Errno::NOBUFS) => self.busy.push((id, wire::tunnel::Way::In)),
            Outcome::Failed(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => self.receive_head(id, true),
            Outcome::Failed(_) => self.end(id, CloseReason::ClientReset),
            other => unreachable!("a receive ended with {other:?}"),
        }
    }

    fn take_head_bytes(&mut self, id: ConnId, chunk: Chunk) {
        let now = self.now();
        let head_timeout = self.http_timeouts(id).head;
        let Shard { conns, ring, spare, now_micros, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return ring.recycle(chunk) };
        let begins = conn.request.is_none();
        let request = conn.request.get_or_insert_with(|| spare.request(*now_micros));
        request.input.extend_from_slice(ring.bytes(&chunk));
        ring.recycle(chunk);
        conn.touched = now;
        if begins {
            // The head's time counts once, from its first byte.
            self.set_timer(id, now.after(head_timeout));
        }
        self.read_head(id);
    }

    /// Looks whether the head is complete.
    pub(super) fn read_head(&mut self, id: ConnId) {
        let Shard { conns, adopter, spare, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let (Some(request), Some(session)) = (&mut conn.request, &conn.session) else { return };
        debug_assert_eq!(request.stage, Stage::Head);
        let Service::Http(service) = &adopter.newest(session).service else {
            unreachable!("a pool's service is fixed when it is created")
        };
        match parse_request(&request.input, &mut request.search, &service.request, &mut spare.fields) {
            Ok(None) => self.receive_head(id, true),
            Ok(Some(head)) => {
                request.head = Some(head);
                self.decide(id);
            }
            Err(violation) => self.refuse(id, Peer::Client, violation),
        }
    }
}
