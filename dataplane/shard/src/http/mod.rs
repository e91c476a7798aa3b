//! Requests on this shard: see "Life of a request" in `ARCHITECTURE.md`. Each module is a row of it.
//!
//! A request that is another pool's than its connection is a [`guest`] there.
//!
//! [`wire::h1`] understands and says, [`policy::http`] decides; here is what they ask for: memory, sockets, leases, and one
//! answer to each request whatever goes wrong.
//!
//! ```text
//!                 ┌──────────────────────────── next request ─────────────────────────────┐
//!  rest ─▶ head ─▶ route ─▶ (admit, connect) ─▶ upstream ─▶ exchange ─▶ finish ─▶ record ──┤
//!            │       │             │                ▲          │  │                        ├─▶ end
//!            │       │             │                └─ retry ──┘  └─▶ tunnel (upgrade)     │
//!            └───────┴─────────────┴──────────────────▶ answer ────────────────────────────┘
//! ```

pub(crate) mod answer;
mod exchange;
mod finish;
mod guest;
mod head;
pub(crate) mod idle;
pub(crate) mod record;
mod reply;
mod request;
pub(crate) mod route;
mod upstream;
pub(crate) mod upstreams;

pub(crate) use request::{Request, Spare};

use crate::conn::{Conn, Op, Side, State};
use crate::conns::ConnId;
use crate::ring::Outcome;
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::http::HttpTimeouts;
use policy::tick::Tick;
use request::Stage;
use std::time::Duration;
use wire::tunnel::Way;

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
    /// An operation of a connection that carries requests has had a completion.
    pub(crate) fn on_session_op(&mut self, id: ConnId, op: Op, outcome: Outcome) {
        let Some(conn) = self.conns.get_mut(id) else { return self.drop_outcome(outcome) };
        if op == Op::Connect {
            return self.on_connect(id, outcome);
        }
        if !op.is_front() && conn.endpoint.is_none() {
            self.drop_outcome(outcome);
            return self.upstream_is_quiet(id);
        }
        match (op, &conn.state) {
            (Op::Receive(Side::Front), State::Session) => self.on_front(id, outcome),
            (Op::Receive(Side::Front), _) => self.on_front_early(id, outcome),
            (Op::Edges, _) => self.on_front_edge(id, outcome),
            (Op::Readable(side), _) => self.go_on(id, side.way()),
            (Op::Writable(side), _) => self.go_on(id, side.way().other()),
            (Op::Loss(side), _) => self.on_loss(id, side, outcome),
            (Op::Connect | Op::Receive(Side::Back), _) => unreachable!("handled above, or read at once"),
        }
    }

    fn drop_outcome(&mut self, outcome: Outcome) {
        if let Outcome::Received(chunk) = outcome {
            self.ring.recycle(chunk);
        }
    }

    fn on_front(&mut self, id: ConnId, outcome: Outcome) {
        match self.stage(id) {
            None | Some(Stage::Head) => self.on_head_received(id, outcome),
            Some(Stage::Exchange) => self.on_content(id, outcome),
            Some(Stage::Answering | Stage::Clearing(_)) => self.on_front_early(id, outcome),
        }
    }

    /// Something of the client that is not asked for yet: it is kept until it is.
    fn on_front_early(&mut self, id: ConnId, outcome: Outcome) {
        match outcome {
            Outcome::Received(chunk) => {
                let Shard { conns, ring, .. } = self;
                if let Some(request) = conns.get_mut(id).and_then(|conn| conn.request.as_mut()) {
                    request.take_in(ring.bytes(&chunk));
                }
                ring.recycle(chunk);
            }
            // Whoever receives next is told again.
            Outcome::Ended => {}
            Outcome::Failed(error) if passes(error) => {}
            Outcome::Failed(_) => self.end(id, CloseReason::ClientReset),
            other => unreachable!("a receive ended with {other:?}"),
        }
    }

    /// One direction of whatever is under way.
    pub(crate) fn go_on(&mut self, id: ConnId, way: Way) {
        match self.stage(id) {
            None if self.rests(id) => self.read_front(id),
            // Its request is looking for a backend: whatever comes from the client waits.
            None => {}
            Some(Stage::Head) => match self.conns.get_mut(id).and_then(|conn| conn.request.as_ref()) {
                Some(request) if !request.fresh => self.read_front(id),
                _ => self.read_head(id),
            },
            Some(Stage::Exchange) => self.drive_exchange(id, way, false),
            Some(Stage::Answering) => self.send_answer(id),
            Some(Stage::Clearing(_)) => {}
        }
    }

    /// `None`: between two requests, or no session at all.
    fn stage(&mut self, id: ConnId) -> Option<Stage> {
        match self.conns.get_mut(id) {
            Some(Conn { state: State::Session, request: Some(request), .. }) => Some(request.stage),
            _ => None,
        }
    }

    /// The time-outs of the request under way, else of the session.
    fn http_timeouts(&mut self, id: ConnId) -> HttpTimeouts {
        let Shard { conns, adopter, .. } = self;
        let policy = conns.get_mut(id).and_then(|conn| guest::policy_of(conn, adopter));
        policy.and_then(|policy| policy.http).unwrap_or(TIMEOUTS)
    }

    /// When what is under way has taken too long, and what it then is.
    fn deadline(&mut self, id: ConnId) -> Option<(Tick, CloseReason)> {
        let limits = self.http_timeouts(id);
        let conn = self.conns.get_mut(id)?;
        let touched = conn.touched;
        let Some(request) = &conn.request else {
            return Some((touched.after(limits.keep_alive), CloseReason::KeepAliveTimeout));
        };
        let began = Tick(request.began_micros / 1000);
        let since = |from: Tick, limit: Option<Duration>, reason| limit.map(|limit| (from.after(limit), reason));
        let now_and_then = match (request.stage, &request.exchange) {
            (Stage::Head, _) => return Some((began.after(limits.head), CloseReason::HeadTimeout)),
            (Stage::Answering | Stage::Clearing(_), _) | (_, None) => {
                since(touched, limits.answer, CloseReason::AnswerTimeout)
            }
            (Stage::Exchange, Some(exchange)) if exchange.awaits_content() => {
                since(touched, limits.body, CloseReason::BodyTimeout)
            }
            (Stage::Exchange, Some(exchange)) if exchange.awaits_head() => {
                since(touched, limits.first_byte, CloseReason::FirstByteTimeout)
            }
            (Stage::Exchange, Some(_)) => since(touched, limits.answer, CloseReason::AnswerTimeout),
        };
        let total = since(began, limits.total, CloseReason::TotalTimeout);
        now_and_then.into_iter().chain(total).min_by_key(|(due, _)| *due)
    }

    /// When the request under way has taken too long altogether, whatever it is at.
    pub(crate) fn total_due(&mut self, id: ConnId) -> Option<Tick> {
        let began = self.conns.get_mut(id)?.request.as_ref()?.began_micros;
        self.http_timeouts(id).total.map(|total| Tick(began / 1000).after(total))
    }

    /// Sees to it that the timer fires no later than the deadline. Mostly it fires earlier, set for what was under way
    /// before, and is set anew then: a request that is fast moves no timer at all.
    pub(crate) fn keep_time(&mut self, id: ConnId) {
        let Some((due, _)) = self.deadline(id) else { return };
        if self.conns.get_mut(id).is_some_and(|conn| conn.due > due) {
            self.set_timer(id, due);
        }
    }

    pub(crate) fn on_session_timer(&mut self, id: ConnId) {
        let now = self.now();
        match self.deadline(id) {
            Some((due, reason)) if due <= now => self.took_too_long(id, reason),
            Some((due, _)) => self.set_timer(id, due),
            None => self.set_timer(id, now.after(LOOK)),
        }
    }
}

/// Between two looks at an exchange that has no time limit.
const LOOK: Duration = Duration::from_secs(60);

/// Asking again may do.
fn passes(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::CANCELED | Errno::INTR | Errno::AGAIN | Errno::NOBUFS)
}
