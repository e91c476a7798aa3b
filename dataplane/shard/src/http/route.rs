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
use policy::generation::{Balance, Group, PoolGeneration, Service};
use policy::http::affinity::HashKey;
use policy::http::{
    Action, Captures, Facts, Headers, HttpService, NormalPath, Request as View, Rule, Scratch, Unfit, normalise,
};
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
        let met = meet(request, &asking, root, service, spare, &setup.hash_key);
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

fn meet(
    request: &mut Request,
    asking: &Asking<'_>,
    root: &PoolGeneration,
    service: &HttpService,
    spare: &mut Spare,
    key: &HashKey,
) -> Met {
    request.request_edits.clear();
    request.response_edits.clear();
    request.target.clear();
    request.host.clear();
    let Spare { scratch, path: buffer, text, .. } = spare;
    let path = match normalise(asking.head.path(asking.bytes), service.escaped_slash, buffer) {
        Ok(path) => path,
        Err(violation) => {
            request.violation = Some(violation.label());
            return Met::Answer(Own::failure(violation.answer(), CloseReason::Refused));
        }
    };
    let found = service.route(&asking.view(path), scratch);
    request.route = found.map(|(turn, _)| turn);
    let rule = found.map(|(_, rule)| rule);
    request.names.set_rule(rule.map_or("", |rule| &rule.id));
    if let Some(rule) = rule
        && let Err(unfit) = change(request, asking, rule, path, scratch, text)
    {
        request.violation = Some(unfit.label());
        return Met::Answer(Own::failure(unfit.answer(), CloseReason::Refused));
    }
    if service.says_generation {
        text.clear();
        let _ = write!(text, "{}@{}", root.id, root.number);
        request.response_edits.set(b"X-Sluicegate-Generation", text);
    }
    let own = match rule.map(|rule| &rule.action) {
        // Without rules the only group has everything.
        None => match root.only_group() {
            Some(only) if service.rules.rules().is_empty() => return group(request, asking, path, only, key),
            _ => Own::failure(404, CloseReason::NoRule),
        },
        Some(Action::Group(slot)) => {
            let found = root.group(*slot).expect("a rule leads to a group of its generation");
            return group(request, asking, path, found, key);
        }
        Some(Action::Deny { status }) => Own::failure(*status, CloseReason::Denied),
        Some(Action::Respond { status, .. }) => Own::content(*status),
        Some(Action::Redirect { status, target }) => {
            text.clear();
            match target.expand(&asking.facts(&request.id, scratch.captures(path)), text) {
                Ok(()) => {
                    request.target.clear();
                    request.target.extend_from_slice(text);
                    Own::redirect(*status)
                }
                Err(_) => Own::failure(431, CloseReason::Refused),
            }
        }
    };
    Met::Answer(own)
}

fn group(
    request: &mut Request,
    asking: &Asking<'_>,
    path: NormalPath<'_>,
    group: &Group,
    key: &HashKey,
) -> Met {
    request.group = group.slot;
    request.names.set_group(&group.id);
    if let (Balance::SourceHash(_), Some(http)) = (&group.balance, &group.http) {
        request.hash = http.hash.hash(&asking.view(path), key);
    }
    Met::Group
}

/// Notes what the rule makes of target, host and headers.
fn change(
    request: &mut Request,
    asking: &Asking<'_>,
    rule: &Rule,
    path: NormalPath<'_>,
    scratch: &mut Scratch,
    text: &mut Vec<u8>,
) -> Result<(), Unfit> {
    let Request { target, host, request_edits, response_edits, id, .. } = request;
    if rule.rewrite_path(path, scratch, text)? {
        target.extend_from_slice(text);
        if let Some(query) = asking.head.query(asking.bytes) {
            target.push(b'?');
            target.extend_from_slice(query);
        }
    }
    let facts = asking.facts(id, scratch.captures(path));
    rule.expand_request_edits(&facts, request_edits)?;
    rule.expand_response_edits(&facts, response_edits)?;
    rule.rewrite_host(&facts, host)?;
    Ok(())
}

/// A request as it came.
struct Asking<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    source: Option<IpAddr>,
}

impl<'a> Asking<'a> {
    fn view(&'a self, path: NormalPath<'a>) -> View<'a> {
        View {
            method: self.head.method.text(self.bytes),
            host: self.head.host.map_or(b"", |host| host.host.of(self.bytes)),
            path,
            query: self.head.query(self.bytes),
            headers: self,
            source: self.source,
        }
    }

    /// `id`: the one that we gave it, or nothing.
    fn facts(&'a self, id: &'a [u8], captures: Captures<'a>) -> Facts<'a> {
        let bytes = self.bytes;
        let received = || self.head.fields.values(bytes, b"x-request-id").next();
        Facts {
            client: self.source,
            scheme: "http",
            authority: self.head.host.map_or(b"", |host| host.whole.of(bytes)),
            method: self.head.method.text(bytes),
            path: self.head.path(bytes),
            query: self.head.query(bytes),
            request_id: if id.is_empty() { received().unwrap_or(b"") } else { id },
            captures,
        }
    }
}

impl Headers for Asking<'_> {
    fn any(&self, name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.fields.values(self.bytes, name).any(holds)
    }
}
