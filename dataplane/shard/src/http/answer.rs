//! Answers of our own: redirects, fixed texts, and every way in which a request can fail before its answer has begun.

use super::guest::root_of;
use super::request::Stage;
use crate::conn::{Conn, Lease, Op, Side, State};
use crate::conns::ConnId;
use crate::ring::socket::{self, WRITABLE};
use crate::serve::Shard;
use httpdate::HttpDate;
use policy::close::CloseReason;
use policy::generation::Service;
use policy::http::Action;
use rustix::io::Errno;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::SystemTime;
use wire::h1::exchange::{Front, Upstream};
use wire::h1::write::{self, Edit, reason};
use wire::h1::{Body, Method, Peer, Persistence, Violation};
use wire::tunnel::Way;

/// What the client is told.
pub(crate) struct Own {
    status: u16,
    why: CloseReason,
    /// Its content is what the rule says that the request met. Otherwise: the pool's page of the status, or a short text.
    by_rule: bool,
    /// Where to is the request's target now.
    redirects: bool,
    /// The client does well to ask on another connection.
    parts: bool,
}

impl Own {
    pub fn failure(status: u16, why: CloseReason) -> Own {
        Own { status, why, by_rule: false, redirects: false, parts: false }
    }

    pub fn content(status: u16) -> Own {
        Own { by_rule: true, ..Own::failure(status, CloseReason::Finished) }
    }

    pub fn redirect(status: u16) -> Own {
        Own { redirects: true, ..Own::failure(status, CloseReason::Finished) }
    }

    /// It is no pool's to which its connection leads. `parts`: another connection may lead further.
    pub fn misdirected(parts: bool) -> Own {
        Own { parts, ..Own::failure(421, CloseReason::Misdirected) }
    }
}

/// What a client is answered when its request ends for this reason before it has an answer. `None`: there is nobody to
/// be answered.
fn status_of(reason: CloseReason) -> Option<u16> {
    match reason {
        CloseReason::ConnectFailed | CloseReason::BadAnswer | CloseReason::NoAnswer | CloseReason::BackendReset => {
            Some(502)
        }
        CloseReason::NoBackend
        | CloseReason::PoolFull
        | CloseReason::QueueFull
        | CloseReason::QueueTimeout
        | CloseReason::MemoryBudget
        | CloseReason::BackendRemoved
        | CloseReason::Stopped
        | CloseReason::ShardFull
        | CloseReason::DescriptorsExhausted => Some(503),
        CloseReason::ConnectTimeout | CloseReason::FirstByteTimeout | CloseReason::TotalTimeout => Some(504),
        CloseReason::HeadTimeout | CloseReason::BodyTimeout => Some(408),
        CloseReason::Refused => Some(400),
        CloseReason::NoRule => Some(404),
        CloseReason::Misdirected => Some(421),
        CloseReason::Denied => Some(403),
        CloseReason::Panicked => Some(500),
        CloseReason::Finished
        | CloseReason::ClientReset
        | CloseReason::ClientLeft
        | CloseReason::IdleTimeout
        | CloseReason::LifetimeTimeout
        | CloseReason::KeepAliveTimeout
        | CloseReason::AnswerCut
        | CloseReason::AnswerTimeout => None,
    }
}

impl Shard<'_> {
    /// What was asked for cannot be done: a request is answered so, a stream ends.
    pub(crate) fn fail(&mut self, id: ConnId, why: CloseReason) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match (status_of(why), &conn.request) {
            (Some(status), Some(request)) => {
                let status = if request.disregarded_status > 0 { request.disregarded_status } else { status };
                self.answer(id, Own::failure(status, why));
            }
            _ => self.end(id, why),
        }
    }

    /// What this peer sent cannot be understood, and the client has nothing of an answer yet.
    pub(super) fn refuse(&mut self, id: ConnId, by: Peer, violation: Violation) {
        if let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()) {
            request.violation = Some(violation.label());
        }
        let why = match by {
            Peer::Client => CloseReason::Refused,
            Peer::Origin => CloseReason::BadAnswer,
        };
        self.answer_at_once(id, violation.answer(by), why);
    }

    /// For an answer that no rule has a say in.
    pub(super) fn answer_at_once(&mut self, id: ConnId, status: u16, why: CloseReason) {
        self.answer(id, Own::failure(status, why));
    }

    /// Answers a request of which the client has nothing yet but interim responses.
    pub(crate) fn answer(&mut self, id: ConnId, own: Own) {
        self.release_upstream(id, Upstream::Close);
        let now = self.now();
        let parting = self.is_parting(id);
        let Shard { conns, adopter, deeds, spare, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let Some(request) = &mut conn.request else { return };
        let root = root_of(&conn.lease, conn.session.as_ref(), conn.pool, adopter);
        let service = match root.map(|root| &root.service) {
            Some(Service::Http(service)) => Some(service),
            Some(Service::Tcp) | None => None,
        };
        let by_rule = request.route.filter(|_| own.by_rule).zip(service);
        let rule = by_rule.and_then(|(turn, service)| service.rules.rule(turn));
        let said = match rule.map(|rule| &rule.action) {
            Some(Action::Respond { content_type, body, .. }) => Some((content_type, body)),
            _ => {
                // What the operator wants clients to read with this status.
                let page = service.and_then(|service| service.pages.find(own.status));
                page.map(|page| (&page.content_type, &page.body))
            }
        };
        debug_assert!(request.exchange.as_ref().is_none_or(|exchange| exchange.may_answer()));
        let front = front_after(request, own.why, parting || own.parts);
        let persistence = if front == Front::Reuse { Persistence::Keep } else { Persistence::Close };
        spare.text.clear();
        let (content_type, body): (&str, &[u8]) = match said {
            Some((content_type, body)) => (content_type, body),
            None => {
                spare.text.extend_from_slice(own.status.to_string().as_bytes());
                spare.text.push(b' ');
                spare.text.extend_from_slice(reason(own.status).as_bytes());
                spare.text.push(b'\n');
                ("text/plain; charset=utf-8", &spare.text)
            }
        };
        let out = &mut request.out[Way::Out.ix()].bytes;
        let location = own.redirects.then_some((&b"Location"[..], &request.target[..]));
        let kind = (own.status != 204 && !body.is_empty()).then_some((&b"Content-Type"[..], content_type.as_bytes()));
        let edits = request.response_edits.iter().filter_map(|edit| match edit {
            Edit::Add { name, value } | Edit::Set { name, value } => Some((name, value)),
            Edit::Remove { .. } => None,
        });
        // RFC 9110 section 6.6.1: whoever answers and has a clock says when.
        spare.path.clear();
        let _ = write!(spare.path, "{}", HttpDate::from(SystemTime::now()));
        let date = (&b"Date"[..], &spare.path[..]);
        let fields = [date].into_iter().chain(location).chain(kind).chain(edits);
        let version = request.head.as_ref().map_or(wire::h1::Version::Http11, |head| head.version);
        write::answer(out, own.status, body.len() as u64, version, persistence, fields);
        let withheld = request.head.as_ref().is_some_and(|head| head.method == Method::Head);
        if !withheld && !matches!(own.status, 204 | 304) {
            out.extend_from_slice(body);
        }
        request.status = own.status;
        request.front_after = front;
        request.stage = Stage::Answering;
        conn.failure = own.why;
        conn.state = State::Session;
        conn.touched = now;
        if let Lease::Root(lease) = std::mem::take(&mut conn.lease) {
            match conn.is_guest() {
                // The slot of the pool that it is counted at must stay that pool's.
                true => conn.lease = Lease::Policy(adopter.exchange(lease, deeds)),
                false => adopter.end(lease, deeds),
            }
            self.perform();
        }
        self.send_answer(id);
    }

    /// Goes on sending an answer of our own.
    pub(super) fn send_answer(&mut self, id: ConnId) {
        let now = self.now();
        let Some(Conn { request: Some(request), front, bytes, touched, .. }) = self.conns.get_mut(id) else { return };
        let out = &mut request.out[Way::Out.ix()];
        while !out.rest().is_empty() {
            match socket::send(front.as_fd(), out.rest()) {
                Ok(sent) => {
                    out.took(sent);
                    bytes[Way::Out.ix()] += sent as u64;
                    *touched = now;
                }
                Err(Errno::WOULDBLOCK) => {
                    self.settle_memory(id);
                    self.keep_time(id);
                    return self.watch(id, Op::Writable(Side::Front), WRITABLE);
                }
                Err(_) => return self.end(id, CloseReason::ClientReset),
            }
        }
        let front = request.front_after;
        let Some(why) = self.conns.get_mut(id).map(|conn| conn.failure) else { return };
        self.finish(id, why, front);
    }

    /// Whether the client does well to come back on another connection: that is its session's matter, whosever the request
    /// is.
    pub(super) fn is_parting(&mut self, id: ConnId) -> bool {
        let Shard { conns, adopter, .. } = self;
        let session = conns.get_mut(id).and_then(|conn| conn.session.as_ref());
        session.is_none_or(|session| adopter.wants_to_part(session))
    }
}

/// What becomes of the client's connection after an answer of our own. Takes content that is here already out of the
/// input, if that is all of it.
fn front_after(request: &mut super::Request, why: CloseReason, parting: bool) -> Front {
    let Some(head) = &request.head else { return Front::DrainThenClose };
    if why == CloseReason::Refused {
        // Where a broken message ends is not known. Nor is it known what follows CONNECT, or content without a length,
        // from a client that did not wait for its answer: it must not be read as a request.
        return Front::DrainThenClose;
    }
    if let Some(exchange) = &request.exchange {
        return match (exchange.may_keep(), exchange.request_is_over()) {
            (Persistence::Keep, true) if !parting => Front::Reuse,
            (_, true) => Front::Close,
            (_, false) => Front::DrainThenClose,
        };
    }
    let mut body = Body::new(head.framing, &request.limits[0]);
    let (begin, mut taken) = (head.bytes, 0);
    while !body.is_over() {
        match body.feed(&request.input[begin + taken..], &request.limits[0], &mut request.reply_fields) {
            Ok(step) if step.consumed == 0 && !step.over => break,
            Ok(step) => taken += step.consumed,
            Err(_) => return Front::DrainThenClose,
        }
    }
    if !body.is_over() {
        return Front::DrainThenClose;
    }
    let keeps = head.persistence == Persistence::Keep && !parting;
    request.input.drain(begin..begin + taken);
    if keeps { Front::Reuse } else { Front::Close }
}
