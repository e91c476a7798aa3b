//! The head of an answer: interim, final or a switch; and what becomes of its request's lease.

use super::exchange::forward_reply;
use super::request::Request;
use crate::conn::{Conn, Lease};
use crate::conns::ConnId;
use crate::serve::Shard;
use link::counters::EndpointCounter;
use policy::http::retry::is_idempotent;
use wire::h1::exchange::Standing;
use wire::h1::write::{ToClient, response};
use wire::h1::{Kind, Peer, Persistence, ResponseHead, parse_response};
use wire::tunnel::Way;

/// What was found in the bytes of a backend.
enum Found {
    More,
    Interim,
    Final(ResponseHead),
    /// The exchange is over by what came.
    Over,
}

impl Shard<'_> {
    /// Something of an answer's head has come.
    pub(super) fn read_answer(&mut self, id: ConnId) {
        let now_micros = self.now_micros;
        loop {
            let found = {
                let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()) else { return };
                if request.first_byte_micros == 0 {
                    request.first_byte_micros = now_micros;
                }
                find(request)
            };
            match found {
                Found::Interim => {}
                Found::More | Found::Over => break,
                Found::Final(head) => {
                    match self.should_disregard(id, head.status) {
                        true => self.disregard(id, head),
                        false => self.pass_on(id, head),
                    }
                    break;
                }
            }
        }
        self.drive_exchange(id, Way::Out, true);
        // A final head may decide what becomes of content that is still coming.
        self.drive_exchange(id, Way::In, true);
    }

    /// The final head: the decisions are over, and the client is told.
    fn pass_on(&mut self, id: ConnId, head: ResponseHead) {
        let parting = self.is_parting(id);
        let via = self.service(id).and_then(|service| service.via.clone());
        let Shard { conns, adopter, deeds, counters, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let Conn { request: Some(request), lease, endpoint, .. } = conn else { return };
        *lease = match std::mem::take(lease) {
            Lease::Root(root) => Lease::Policy(adopter.exchange(root, deeds)),
            other => other,
        };
        if let (Some(endpoint), true) = (endpoint, head.status >= 500) {
            counters.endpoint(endpoint.0).add(EndpointCounter::ServerErrors, 1);
        }
        let Request {
            exchange: Some(exchange),
            out: [_, out],
            response_edits,
            reply,
            limits,
            asked: _,
            head: asked,
            ..
        } = &mut **request
        else {
            return;
        };
        let persistence = if parting { Persistence::Close } else { exchange.may_keep() };
        let client = asked.as_ref().map_or(wire::h1::Version::Http11, |head| head.version);
        let to = ToClient { client, persistence, via: via.as_deref().map(str::as_bytes) };
        let before = out.bytes.len();
        let said = response(&mut out.bytes, reply, &head, &to, response_edits.iter());
        let written = (out.bytes.len() - before) as u64;
        let behind = reply.len() - head.bytes;
        exchange.answered(&head, said, written, behind, &limits[1]);
        reply.drain(..head.bytes);
        request.status = head.status;
        request.reply_fields = head.fields;
        // It will not be sent again.
        request.out[Way::In.ix()].let_go();
        if behind > 0
            && head.kind == Kind::Final
            && !request.exchange.as_ref().is_some_and(|exchange| exchange.answer_is_over())
        {
            forward_reply(request);
        }
        self.perform();
        self.keep_time(id);
    }

    /// Whether an answer with this status counts as none, and the request may be sent elsewhere.
    fn should_disregard(&mut self, id: ConnId, status: u16) -> bool {
        let Shard { conns, adopter, .. } = self;
        let Some(Conn { request: Some(request), lease: Lease::Root(lease), .. }) = conns.get_mut(id) else {
            return false;
        };
        let root = adopter.root(lease);
        let Some(http) = root.groups.get(request.group).and_then(|group| group.http.as_ref()) else { return false };
        let Some(head) = &request.head else { return false };
        http.retry.statuses.contains(&status)
            && is_idempotent(head.method.text(&request.input))
            && request.out[Way::In.ix()].kept
            && self.may_retry(id, policy::http::retry::Failure::Status(status))
    }

    fn disregard(&mut self, id: ConnId, head: ResponseHead) {
        let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()) else { return };
        request.reply.clear();
        request.reply_fields = head.fields;
        request.disregarded = true;
        request.disregarded_status = head.status;
        if let Some(exchange) = &mut request.exchange {
            exchange.disregard_answer();
        }
    }

    /// The lease of a request that has an answer.
    pub(super) fn end_lease(&mut self, lease: Lease) {
        let Shard { adopter, deeds, .. } = self;
        match lease {
            Lease::None => return,
            Lease::Root(lease) => adopter.end(lease, deeds),
            Lease::Policy(lease) => adopter.end_policy(lease, deeds),
        }
        self.perform();
    }
}

/// Looks for a head in what has come, and writes an interim one for the client.
fn find(request: &mut Request) -> Found {
    let Request { exchange: Some(exchange), reply, reply_search, reply_fields, limits, asked, out: [_, out], .. } =
        request
    else {
        return Found::Over;
    };
    let head = match parse_response(reply, *asked, reply_search, &limits[1], reply_fields) {
        Ok(None) => {
            if !reply.is_empty() {
                exchange.answer_begun();
            }
            return Found::More;
        }
        Err(violation) => {
            exchange.refused(Peer::Origin, violation);
            return Found::Over;
        }
        Ok(Some(head)) => head,
    };
    *reply_search = Default::default();
    if head.kind != Kind::Interim {
        return Found::Final(head);
    }
    if exchange.interim(&head) {
        let to = ToClient { client: wire::h1::Version::Http11, persistence: Persistence::Keep, via: None };
        let before = out.bytes.len();
        response(&mut out.bytes, reply, &head, &to, std::iter::empty());
        exchange.holds(Way::Out, (out.bytes.len() - before) as u64);
    }
    reply.drain(..head.bytes);
    *reply_fields = head.fields;
    if exchange.standing() == Standing::Open { Found::Interim } else { Found::Over }
}
