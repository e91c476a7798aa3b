//! The connection to a backend while it carries a request, and the request as its backend gets it. See
//! [`upstreams`](super::upstreams) for what outlasts the request.

use super::request::{Request, Stage};
use super::upstreams::{UpstreamId, User};
use crate::conn::{Conn, Lease, Op, State};
use crate::conns::ConnId;
use crate::guard::Handling;
use crate::ring::Verb;
use crate::ring::socket::{Peer, READABLE};
use crate::serve::{Shard, TAG_UPSTREAM};
use link::counters::EndpointCounter;
use policy::generation::{Address, Balance, Service};
use policy::http::HttpService;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use wire::h1::exchange::{Exchange, Upstream};
use wire::h1::write::{self, Chain, ToOrigin, Told};
use wire::h1::{Asked, Scheme};
use wire::tunnel::Way;

impl Shard<'_> {
    /// Notes what the last turn's wait has told of upstream connections: before any of them is used anew, and so before
    /// anything could be an answer.
    pub(crate) fn note_upstreams(&mut self) {
        let Shard { ring, upstreams, .. } = self;
        for (key, flags) in ring.told().filter(|(key, _)| key.tag == TAG_UPSTREAM) {
            if let Some(upstream) = upstreams.find_mut(UpstreamId::of(key)) {
                upstream.edge.note(flags);
            }
        }
    }

    /// The ring has told something of an upstream connection; its last, unless `more` follows.
    pub(crate) fn on_upstream(&mut self, id: UpstreamId, more: bool) {
        let Shard { upstreams, conns, ring, .. } = self;
        let Some(upstream) = upstreams.find_mut(id) else { return };
        match upstream.user {
            User::Conn(conn) => {
                if !more && let Some(back) = conns.get_mut(conn).and_then(|conn| conn.back.as_ref()) {
                    // The kernel had no room to tell more.
                    upstream.edge.note(READABLE);
                    ring.edges(id.key(TAG_UPSTREAM), back.as_fd());
                }
                self.guard(conn, Handling::Completion, |shard| shard.drive_exchange(conn, Way::Out, true));
            }
            User::Idle(slot) => self.look_at_idle(slot, id, more),
            User::Leaving if more => {}
            User::Leaving => upstreams.forget(id),
        }
    }

    /// Its socket is closed, or about to be used otherwise.
    pub(super) fn part_from_upstream(&mut self, id: UpstreamId) {
        let Shard { upstreams, ring, .. } = self;
        if let Some(upstream) = upstreams.find_mut(id) {
            upstream.user = User::Leaving;
            ring.cancel(id.key(TAG_UPSTREAM), Verb::Readiness);
        }
    }

    /// The upstream connection is there: the request goes out.
    pub(crate) fn begin_exchange(&mut self, id: ConnId, reused: bool) {
        let (now, now_micros) = (self.now(), self.now_micros);
        let Shard { conns, adopter, counters, spare, ring, upstreams, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        conn.state = State::Session;
        conn.touched = now;
        conn.connected_micros = now_micros;
        let Lease::Root(lease) = &conn.lease else { unreachable!("a request leases its root up to its answer") };
        let root = adopter.root(lease);
        let Service::Http(service) = &root.service else { unreachable!("a session's pool is one of HTTP") };
        let endpoint = conn.endpoint.expect("chosen");
        let row = counters.endpoint(endpoint.0);
        row.add(EndpointCounter::Requests, 1);
        row.add(EndpointCounter::Reused, u64::from(reused));
        let request = conn.request.as_mut().expect("the request that is sent");
        if let (None, Some(back)) = (request.upstream, &conn.back) {
            let upstream = upstreams.join(id);
            ring.edges(upstream.key(TAG_UPSTREAM), back.as_fd());
            request.upstream = Some(upstream);
        }
        request.stage = Stage::Exchange;
        request.reused = reused;
        request.served_by = Some(endpoint);
        let group = root.group(request.group).expect("its backend was chosen from this root");
        let ejects = group.http.as_ref().is_some_and(|http| http.eject.is_some());
        request.watched = ejects || matches!(group.balance, Balance::PeakEwma);
        let host_default = &mut spare.text;
        host_default.clear();
        if request.head.as_ref().is_some_and(|head| head.host.is_none())
            && let Some((_, endpoint)) = root.find(request.group, endpoint)
        {
            name_host(&endpoint.address, host_default);
        }
        write_head(request, service, conn.client, host_default);
        let Request { head, exchange, limits, head_out, out, fresh, .. } = &mut **request;
        let head = head.as_ref().expect("complete");
        match exchange {
            None => *exchange = Some(Exchange::new(head, *head_out as u64, &limits[0])),
            Some(exchange) => exchange.again(out[Way::In.ix()].bytes.len() as u64),
        }
        // What has come of its content leaves with its head.
        if *fresh && !head.expects_continue {
            self.take_content(id);
        }
        self.drive_exchange(id, Way::In, true);
        self.drive_exchange(id, Way::Out, true);
        self.keep_time(id);
    }

    /// The upstream connection has done its part. Afterwards the connection has no backend; its socket may still wait for
    /// the last completions of its operations.
    pub(super) fn release_upstream(&mut self, id: ConnId, upstream: Upstream) {
        self.count_bytes(id);
        self.give_back_pipes(id);
        let Shard { conns, ring, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let Some(slot) = conn.endpoint else { return };
        let watched = conn.request.as_mut().and_then(|request| request.upstream.take());
        let mut kept = false;
        if !conn.ops.iter().all(Op::is_front) {
            for op in conn.ops.iter().filter(|op| !op.is_front()) {
                ring.cancel(op.key(id), op.verb());
            }
        } else if let (Some(socket), Some(watched), Upstream::Reuse) = (conn.back.take(), watched, upstream) {
            kept = self.keep_idle(id, slot, socket, watched);
        }
        if let Some(watched) = watched.filter(|_| !kept) {
            self.part_from_upstream(watched);
        }
        self.detach(id);
    }

    /// An operation on a released upstream socket has had its last completion.
    pub(super) fn upstream_is_quiet(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.ops.iter().all(Op::is_front) {
            return;
        }
        conn.back = None;
        let Conn { state: State::Session, request: Some(request), .. } = conn else { return };
        if let Stage::Clearing(then) = request.stage {
            self.cleared(id, then);
        }
    }
}

/// Writes the head for the origin, in front of the content that was kept of an attempt before.
fn write_head(request: &mut Request, service: &HttpService, client: Peer, host_default: &[u8]) {
    let Request { out: [out, _], head_out, head, input, asked, target, host, request_edits, id, .. } = request;
    let head = head.as_ref().expect("complete");
    let content = out.bytes.split_off(*head_out);
    out.bytes.clear();
    out.sent = 0;
    out.kept = true;
    // A client without an address cannot be told of: then nothing is said, and nothing false is passed on.
    let (client, x_forwarded, forwarded) = match client {
        Peer::Ip(address) => (address.ip(), service.x_forwarded, service.forwarded),
        Peer::Unix | Peer::Unknown => {
            let nothing = |chain| if chain == Chain::Replace { Chain::Remove } else { Chain::Pass };
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), nothing(service.x_forwarded), nothing(service.forwarded))
        }
    };
    let told = Told {
        client,
        scheme: Scheme::Http,
        x_forwarded,
        forwarded,
        via: service.via.as_deref().map(str::as_bytes),
        request_id: (!id.is_empty()).then_some(id),
    };
    let to = ToOrigin {
        target: (!target.is_empty()).then_some(target),
        host: (!host.is_empty()).then_some(host),
        host_default,
        upgrades: service.upgrades,
        expect: true,
        close: false,
        told,
    };
    write::request(&mut out.bytes, input, head, &to, request_edits.iter());
    *asked = Asked::by(head, service.upgrades.pass(head));
    *head_out = out.bytes.len();
    out.bytes.extend_from_slice(&content);
}

fn name_host(address: &Address, out: &mut Vec<u8>) {
    use std::io::Write;
    match address {
        Address::Ip(_) | Address::Name { .. } => {
            let _ = write!(out, "{address}");
        }
        Address::Unix(_) => out.extend_from_slice(b"localhost"),
    }
}
