//! Lease and route: what is done with a request whose head is complete, all of it by one generation.

use super::Spare;
use super::answer::Own;
use super::guest::{Goes, goes};
use super::request::Request;
use crate::conn::{Conn, Lease, State};
use crate::conns::ConnId;
use crate::ring::socket::Peer;
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::generation::{Balance, PoolGeneration, Service};
use policy::http::affinity::HashKey;
use policy::http::{Changes, Decided, Decider, Headers, HttpService, Incoming, Memory, Outcome, Tally};
use std::io::Write;
use std::net::IpAddr;
use wire::h1::{Framing, RequestHead, Violation};

/// What a request meets.
pub(crate) enum Met {
    /// Its group is decided.
    Group,
    Answer(Own),
}

impl Shard<'_> {
    /// The head is complete: leases the newest root of the pool whose request it is, and does what its rules say.
    pub(super) fn decide(&mut self, id: ConnId) {
        let Shard { conns, adopter, listeners, pools, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let goes = goes(conn, adopter, listeners);
        let session = conn.session.as_ref().expect("only a session has requests");
        let lease = match goes {
            Goes::Home | Goes::Nowhere { .. } => adopter.begin(session),
            Goes::To(slot) => {
                conn.pool = slot;
                pools[slot.ix()].as_mut().expect("a pool that is current has a row").guests += 1;
                adopter.begin_at(slot).expect("looked at just now")
            }
        };
        let root = adopter.root(&lease);
        conn.number = root.number;
        conn.logged = root.policy.access_log;
        conn.lease = Lease::Root(lease);
        conn.attempts = 0;
        conn.tried.clear();
        conn.failure = CloseReason::NoBackend;
        conn.connected_micros = 0;
        if let Goes::Nowhere { moved } = goes {
            return self.answer(id, Own::misdirected(moved));
        }
        if let Err(violation) = hold_to_limits(conn, root) {
            return self.refuse(id, wire::h1::Peer::Client, violation);
        }
        match self.route(id) {
            Met::Group => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.state = State::Seeking;
                }
                self.count_for_budget(id);
                self.admit(id);
            }
            Met::Answer(own) => self.answer(id, own),
        }
    }

    /// Asks the rules of the root that is leased, and notes all that they change of the request and its answer.
    pub(crate) fn route(&mut self, id: ConnId) -> Met {
        let now = self.now();
        let Shard { conns, adopter, spare, setup, now_micros, random, .. } = self;
        let conn = conns.get_mut(id).expect("decided for by its own event");
        let Lease::Root(lease) = &conn.lease else { unreachable!("a request that is decided for leases a root") };
        let root = adopter.root(lease);
        let Service::Http(service) = &root.service else { unreachable!("a session's pool is one of HTTP") };
        let request = conn.request.as_mut().expect("the request that is decided for");
        let source = match conn.client {
            Peer::Ip(address) => Some(address.ip()),
            Peer::Unix | Peer::Unknown => None,
        };
        request.routed = Some(root.part);
        if service.request_id && request.id.is_empty() {
            // Unique is enough: nobody is kept out by it.
            let _ = write!(request.id, "{:012x}{:04x}{:016x}", *now_micros, setup.id.0, next(random));
        }
        // Out of the request while it is asked, so that what is found can be noted in it.
        let (head, input) = (request.head.take().expect("complete"), std::mem::take(&mut request.input));
        let asking = Asking { head: &head, bytes: &input, source };
        let (met, tally) = meet(request, &asking, root, service, spare, &setup.hash_key);
        if let Some(tally) = tally {
            tally.count(setup.id, now);
        }
        (request.head, request.input) = (Some(head), input);
        met
    }
}

/// A head was held to the bounds of its session's pool, and its content, where it can be another pool's, to none.
fn hold_to_limits(conn: &mut Conn, root: &PoolGeneration) -> Result<(), Violation> {
    let guest = conn.is_guest();
    let (Service::Http(service), Some(request)) = (&root.service, &mut conn.request) else { return Ok(()) };
    if !guest && service.sites.is_empty() {
        return Ok(());
    }
    request.limits = [service.request, service.response];
    match request.head.as_ref().map(|head| head.framing) {
        Some(Framing::Length(length)) if length > service.request.body_bytes => Err(Violation::BodyTooLarge),
        _ => Ok(()),
    }
}

/// Unique, not unguessable (splitmix64).
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    random.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The second: where the rule that it met is counted.
fn meet<'s>(
    request: &mut Request,
    asking: &Asking<'_>,
    root: &'s PoolGeneration,
    service: &'s HttpService,
    spare: &mut Spare,
    key: &HashKey,
) -> (Met, Option<&'s Tally>) {
    let Request { target, host, request_edits, response_edits, id, .. } = request;
    let Spare { scratch, path, text, .. } = spare;
    let decider =
        Decider { pool: &root.id, number: root.number, service, only_group: root.only_group().map(|group| group.slot) };
    let memory = Memory { scratch, path, text };
    let changes = Changes { target, host, request: request_edits, response: response_edits };
    let incoming = asking.incoming(id);
    let Decided { path, rule, outcome } = decider.decide(&incoming, memory, changes);
    request.route = rule.map(|(turn, _)| turn);
    request.names.set_rule(rule.map_or("", |(_, rule)| &rule.id));
    let tally = rule.and_then(|(_, rule)| rule.tally.as_ref());
    let own = match outcome {
        Outcome::Group(slot) => {
            let group = root.group(slot).expect("a rule leads to a group of its generation");
            request.group = slot;
            request.names.set_group(&group.id);
            if let (Balance::SourceHash(_), Some(http), Some(path)) = (&group.balance, &group.http, path) {
                request.hash = http.hash.hash(&incoming.seen(path), key);
            }
            return (Met::Group, tally);
        }
        Outcome::Respond { status } => Own::content(status),
        Outcome::Redirect { status } => Own::redirect(status),
        Outcome::Deny { status } => Own::failure(status, CloseReason::Denied),
        Outcome::NoRule => Own::failure(404, CloseReason::NoRule),
        Outcome::Refused(unfit) => {
            request.violation = Some(unfit.label());
            Own::failure(unfit.answer(), CloseReason::Refused)
        }
    };
    (Met::Answer(own), tally)
}

/// A request as it came.
struct Asking<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    source: Option<IpAddr>,
}

impl<'a> Asking<'a> {
    /// `id`: the one that we gave it, or nothing.
    fn incoming(&'a self, id: &'a [u8]) -> Incoming<'a> {
        let bytes = self.bytes;
        Incoming {
            client: self.source,
            scheme: "http",
            method: self.head.method.text(bytes),
            authority: self.head.host.map_or(b"", |host| host.whole.of(bytes)),
            host: self.head.host.map_or(b"", |host| host.host.of(bytes)),
            path: self.head.path(bytes),
            query: self.head.query(bytes),
            headers: self,
            request_id: (!id.is_empty()).then_some(id),
        }
    }
}

impl Headers for Asking<'_> {
    fn any(&self, name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.fields.values(self.bytes, name).any(holds)
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.head.fields.values(self.bytes, name).next()
    }
}
