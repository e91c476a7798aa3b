//! Lease and route: what is done with a request whose head is complete, all of it by one generation.

use super::{Request, Stage};
use crate::conn::{Lease, State};
use crate::conns::ConnId;
use crate::http::answer::Own;
use crate::ring::socket::Peer;
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::generation::{PoolGeneration, Service};
use policy::http::{Action, Facts, Headers, HttpService, NormalPath, Request as View, Scratch, normalise};
use std::net::IpAddr;
use wire::h1::RequestHead;

/// What a request meets.
pub(super) enum Met {
    /// The group, by its place in the root.
    Group(usize),
    Answer(Own),
}

impl Shard<'_> {
    /// The head is complete: leases the newest root and does what its rules say.
    pub(super) fn decide(&mut self, id: ConnId) {
        let Shard { conns, adopter, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let session = conn.session.as_ref().expect("only a session has requests");
        let lease = adopter.begin(session);
        let root = adopter.root(&lease);
        conn.number = root.number;
        conn.logged = root.policy.access_log;
        conn.lease = Lease::Root(lease);
        conn.attempts = 0;
        conn.tried.clear();
        conn.failure = CloseReason::NoBackend;
        conn.connected_micros = 0;
        match self.route(id) {
            Met::Group(_) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.state = State::Seeking;
                }
                self.admit(id);
            }
            Met::Answer(own) => self.answer(id, own),
        }
    }

    /// Asks the rules of the root that is leased.
    pub(super) fn route(&mut self, id: ConnId) -> Met {
        let Shard { conns, adopter, spare, .. } = self;
        let conn = conns.get_mut(id).expect("decided for by its own event");
        let Lease::Root(lease) = &conn.lease else { unreachable!("a request that is decided for leases a root") };
        let root = adopter.root(lease);
        let Service::Http(service) = &root.service else { unreachable!("a session's pool is one of HTTP") };
        let request = conn.request.as_mut().expect("the request that is decided for");
        let source = match conn.client {
            Peer::Ip(address) => Some(address.ip()),
            Peer::Unix | Peer::Unknown => None,
        };
        request.stage = Stage::Seeking;
        request.limits = [service.request, service.response];
        request.routed = Some(root.part);
        match meet(request, root, service, source, &mut spare.scratch, &mut spare.buffers[0]) {
            Met::Group(group) => {
                request.group = group;
                Met::Group(group)
            }
            answer => answer,
        }
    }
}

fn meet(
    request: &mut Request,
    root: &PoolGeneration,
    service: &HttpService,
    source: Option<IpAddr>,
    scratch: &mut Scratch,
    buffer: &mut Vec<u8>,
) -> Met {
    let Request { input, head, route, .. } = request;
    let head = head.as_ref().expect("complete");
    let path = match normalise(head.path(input), service.escaped_slash, buffer) {
        Ok(path) => path,
        Err(violation) => return Met::Answer(Own::refused(violation.answer())),
    };
    let fields = Received { head, bytes: input };
    let view = view(head, input, path, &fields, source);
    *route = service.rules.route(&view, scratch);
    let Some(route) = *route else {
        // Without a rule the only group has everything.
        return match root.groups.len() {
            1 if service.rules.rules().is_empty() => Met::Group(0),
            _ => Met::Answer(Own::status(404)),
        };
    };
    let rule = service.rules.rule(route);
    match &rule.action {
        Action::Group(group) => Met::Group(group.0 as usize),
        Action::Deny { status } => Met::Answer(Own::status(*status)),
        Action::Respond { status, content_type, body } => {
            Met::Answer(Own { status: *status, content_type: Some(content_type.clone()), body: Some(body.clone()), ..Own::status(*status) })
        }
        Action::Redirect { status, target } => {
            let facts = facts(head, input, source, scratch.captures(path));
            let mut location = Vec::new();
            match target.expand(&facts, &mut location) {
                Ok(()) => Met::Answer(Own { location: Some(location), ..Own::status(*status) }),
                Err(_) => Met::Answer(Own::status(431)),
            }
        }
    }
}

pub(super) fn view<'a>(
    head: &'a RequestHead,
    bytes: &'a [u8],
    path: NormalPath<'a>,
    headers: &'a dyn Headers,
    source: Option<IpAddr>,
) -> View<'a> {
    View {
        method: head.method.text(bytes),
        host: head.host.map_or(b"", |host| host.host.of(bytes)),
        path,
        query: head.query(bytes),
        headers,
        source,
    }
}

pub(super) fn facts<'a>(
    head: &'a RequestHead,
    bytes: &'a [u8],
    source: Option<IpAddr>,
    captures: policy::http::Captures<'a>,
) -> Facts<'a> {
    Facts {
        client: source,
        scheme: "http",
        authority: head.host.map_or(b"", |host| host.whole.of(bytes)),
        method: head.method.text(bytes),
        path: head.path(bytes),
        query: head.query(bytes),
        request_id: b"",
        captures,
    }
}

/// The fields of a head as rules ask for them.
pub(super) struct Received<'a> {
    pub head: &'a RequestHead,
    pub bytes: &'a [u8],
}

impl Headers for Received<'_> {
    fn any(&self, name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.fields.values(self.bytes, name).any(holds)
    }
}
