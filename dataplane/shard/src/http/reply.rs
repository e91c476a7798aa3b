//! The head of an answer: interim, final or a switch; and what becomes of its request's lease.

use super::exchange::forward_reply;
use super::request::Request;
use crate::conn::{Conn, Lease};
use crate::conns::ConnId;
use crate::ring::{Chunk, socket};
use crate::serve::Shard;
use link::counters::{CounterWriter, EndpointCounter};
use policy::generation::Service;
use policy::http::retry::is_idempotent;
use policy::reload::{Adopter, Deed};
use rustix::io::Errno;
use std::os::fd::AsFd;
use wire::h1::exchange::Standing;
use wire::h1::write::{ToClient, response};
use wire::h1::{Framing, Kind, Peer, Persistence, ResponseHead, Search, Version, parse_response};
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
    }

    /// The final head: the decisions are over, and the client is told.
    fn pass_on(&mut self, id: ConnId, head: ResponseHead) {
        let parting = self.is_parting(id);
        let Shard { conns, adopter, deeds, counters, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let Some(mut reply) = conn.request.as_mut().map(|request| std::mem::take(&mut request.reply)) else { return };
        let behind = head.bytes;
        let content = pass_head(conn, (adopter, deeds), counters, &reply, head, parting);
        reply.drain(..behind);
        if let Some(request) = &mut conn.request {
            request.reply = reply;
            if content {
                forward_reply(request);
            }
        }
        self.perform();
        self.keep_time(id);
    }

    /// Bytes of a backend of which nothing is kept: as a rule a whole head, and content behind it, which goes to the client
    /// as it lies there. `None`: that is not so, and nothing has happened.
    pub(super) fn pass_at_once(&mut self, id: ConnId, chunk: &Chunk) -> Option<Result<(), Errno>> {
        let parting = self.is_parting(id);
        let Shard { conns, ring, adopter, deeds, counters, now_micros, .. } = self;
        let conn = conns.get_mut(id)?;
        let bytes = ring.bytes(chunk);
        let request = conn.request.as_mut()?;
        let found =
            parse_response(bytes, request.asked, &mut Search::default(), &request.limits[1], &mut request.reply_fields);
        let Ok(Some(head)) = found else { return None };
        let listed = match &conn.lease {
            Lease::Root(lease) => {
                let group = adopter.root(lease).group(request.group);
                group
                    .and_then(|group| group.http.as_ref())
                    .is_some_and(|http| http.retry.statuses.contains(&head.status))
            }
            Lease::Policy(_) | Lease::None => false,
        };
        if listed || head.kind != Kind::Final {
            request.reply_fields = head.fields;
            return None;
        }
        if request.first_byte_micros == 0 {
            request.first_byte_micros = *now_micros;
        }
        let behind = &bytes[head.bytes..];
        let sent = match pass_head(conn, (adopter, deeds), counters, bytes, head, parting) {
            true => pass_content(conn, behind),
            false => Ok(()),
        };
        self.perform();
        self.keep_time(id);
        Some(sent)
    }

    /// Whether an answer with this status counts as none, and the request may be sent elsewhere.
    fn should_disregard(&mut self, id: ConnId, status: u16) -> bool {
        let Shard { conns, adopter, .. } = self;
        let Some(Conn { request: Some(request), lease: Lease::Root(lease), .. }) = conns.get_mut(id) else {
            return false;
        };
        let root = adopter.root(lease);
        let Some(http) = root.group(request.group).and_then(|group| group.http.as_ref()) else { return false };
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

/// Less content than this is cheaper copied behind its head than sent as a piece of its own.
const COPIED_BYTES_MAX: usize = 2 << 10;

/// Writes a final head, found at the front of `bytes`, for the client. Whether what is behind it is content. `parting`: the
/// client does well to come back on another connection.
fn pass_head(
    conn: &mut Conn,
    (adopter, deeds): (&mut Adopter, &mut Vec<Deed>),
    counters: &CounterWriter,
    bytes: &[u8],
    head: ResponseHead,
    parting: bool,
) -> bool {
    let Conn { request: Some(request), lease, endpoint, .. } = conn else { return false };
    if let (Some(endpoint), true) = (endpoint, head.status >= 500) {
        counters.endpoint(endpoint.0).add(EndpointCounter::ServerErrors, 1);
    }
    let Request { exchange: Some(exchange), out: [_, out], response_edits, limits, head: asked, .. } = &mut **request
    else {
        return false;
    };
    let via = match &*lease {
        Lease::Root(root) => match &adopter.root(root).service {
            Service::Http(service) => service.via.as_deref(),
            Service::Tcp => None,
        },
        Lease::Policy(_) | Lease::None => None,
    };
    let persistence = if parting { Persistence::Close } else { exchange.may_keep() };
    let client = asked.as_ref().map_or(Version::Http11, |head| head.version);
    let to = ToClient { client, persistence, via: via.map(str::as_bytes) };
    let before = out.bytes.len();
    let said = response(&mut out.bytes, bytes, &head, &to, response_edits.iter());
    let written = (out.bytes.len() - before) as u64;
    let behind = bytes.len() - head.bytes;
    exchange.answered(&head, said, written, behind, &limits[1]);
    let chunked = [head.framing, said.framing].contains(&Framing::Chunked);
    let content = behind > 0 && head.kind == Kind::Final && !exchange.answer_is_over();
    request.chunked = chunked;
    request.status = head.status;
    request.reply_fields = head.fields;
    // It will not be sent again.
    request.out[Way::In.ix()].let_go();
    *lease = match std::mem::take(lease) {
        Lease::Root(root) => Lease::Policy(adopter.exchange(root, deeds)),
        other => other,
    };
    content
}

/// Content of an answer goes to the client from where it lies, behind what is still to be sent; what the client does not take
/// at once is kept.
pub(super) fn pass_content(conn: &mut Conn, bytes: &[u8]) -> Result<(), Errno> {
    let Conn { request: Some(request), front, bytes: moved, .. } = conn else { return Ok(()) };
    if request.chunked || !request.reply.is_empty() {
        request.reply.extend_from_slice(bytes);
        forward_reply(request);
        return Ok(());
    }
    let Request { exchange: Some(exchange), limits, reply, reply_fields, out: [_, out], .. } = &mut **request else {
        return Ok(());
    };
    // Without chunks on either side all that is taken of the input is put, as it is.
    let consumed = exchange.forward(Way::Out, bytes, &limits[1], reply_fields, |_| ());
    let (mut content, rest) = bytes.split_at(consumed);
    reply.extend_from_slice(rest);
    if !out.rest().is_empty() && content.len() <= COPIED_BYTES_MAX {
        out.bytes.extend_from_slice(content);
        content = b"";
    }
    let sent = match socket::send_both(front.as_fd(), out.rest(), content) {
        Ok(sent) => sent,
        Err(Errno::WOULDBLOCK) => 0,
        Err(error) => return Err(error),
    };
    let of_before = sent.min(out.rest().len());
    out.took(of_before);
    out.bytes.extend_from_slice(&content[sent - of_before..]);
    moved[Way::Out.ix()] += sent as u64;
    exchange.taken(Way::Out, sent as u64);
    Ok(())
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
        let to = ToClient { client: Version::Http11, persistence: Persistence::Keep, via: None };
        let before = out.bytes.len();
        response(&mut out.bytes, reply, &head, &to, std::iter::empty());
        exchange.holds(Way::Out, (out.bytes.len() - before) as u64);
    }
    reply.drain(..head.bytes);
    *reply_fields = head.fields;
    if exchange.standing() == Standing::Open { Found::Interim } else { Found::Over }
}
