//! Connections to backends that outlast a request, and the request as its backend gets it.
//!
//! Idle ones belong to the endpoint's slot on this shard; the one that was used last is used first, so that those that are
//! not needed grow old. Nothing watches them: they are looked at before their next use, and see [`Shard::tend_idle`].

use super::request::{Request, Stage};
use crate::conn::{Conn, Lease, Op, State};
use crate::conns::ConnId;
use crate::ring::socket::{self, Peer};
use crate::serve::Shard;
use link::counters::EndpointCounter;
use policy::generation::{Address, Balance, PoolGeneration, Service};
use policy::http::HttpService;
use policy::ids::{EndpointSlot, PoolSlot};
use policy::tick::Tick;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use wire::h1::exchange::{Exchange, Upstream};
use wire::h1::write::{self, Chain, ToOrigin, Told};
use wire::h1::{Asked, Scheme};
use wire::tunnel::Way;

/// Between two walks over the idle connections.
const LOOK: Duration = Duration::from_secs(1);

/// Until a walk goes on that was longer than one turn may take.
const SOON: Duration = Duration::from_millis(20);

/// Sockets that are looked at in one turn, a system call each; the last backend's may be more.
const LOOKS_PER_TURN: usize = 128;

/// All idle connections of a shard.
pub(crate) struct AllIdle {
    sockets: usize,
    /// Backends that have some; others may be among them.
    slots: VecDeque<EndpointSlot>,
    look: Tick,
}

impl AllIdle {
    pub fn new(now: Tick) -> AllIdle {
        AllIdle { sockets: 0, slots: VecDeque::new(), look: now }
    }

    /// Whether there are any whose descriptors others could have.
    pub fn give_way(&self) -> bool {
        self.sockets > 0
    }
}

/// Idle connections of one backend on one shard.
#[derive(Default)]
pub(crate) struct Idle {
    /// Oldest first, with the time since when.
    sockets: VecDeque<(OwnedFd, Tick)>,
    /// Kept no longer than this.
    patience: Duration,
    /// In [`AllIdle::slots`].
    listed: bool,
}

impl Idle {
    pub fn len(&self) -> usize {
        self.sockets.len()
    }
}

impl Shard<'_> {
    /// The newest idle connection of this backend that is fit for use.
    ///
    /// Each is looked at, at the cost of a system call: one on which something has come that nobody asked for would give it to
    /// whoever asks next. (What comes after the look cannot be told from an answer; HTTP/1.1 has no numbers.)
    pub(crate) fn take_idle(&mut self, id: ConnId, slot: EndpointSlot) -> Option<OwnedFd> {
        let Shard { conns, endpoints, counters, idle: all, .. } = self;
        if conns.get_mut(id)?.request.as_ref()?.wants_new {
            return None;
        }
        let idle = &mut endpoints[slot.ix()].as_mut()?.idle;
        while let Some((socket, _)) = idle.sockets.pop_back() {
            all.sockets -= 1;
            counters.endpoint(slot.0).sub(EndpointCounter::Idle, 1);
            if socket::is_quiet(socket.as_fd()) {
                return Some(socket);
            }
        }
        None
    }

    /// A connection has served its request and could serve another.
    fn keep_idle(&mut self, id: ConnId, slot: EndpointSlot, socket: OwnedFd) {
        let now = self.now();
        let Shard { conns, endpoints, adopter, counters, idle: all, setup, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let Some(root) = adopter.pool(conn.pool) else { return };
        // Nobody will ask for it where its backend has left, or drains.
        let Some((group, endpoint)) = root.find(slot) else { return };
        let (Some(http), false) = (&group.http, endpoint.drain) else { return };
        let Some(row) = endpoints[slot.ix()].as_mut() else { return };
        let shards = root.shards.len().max(1) as u32;
        if row.idle.len() >= http.idle_max.div_ceil(shards) as usize || all.sockets >= setup.bounds.idle {
            return;
        }
        row.idle.patience = http.idle_timeout;
        row.idle.sockets.push_back((socket, now));
        counters.endpoint(slot.0).add(EndpointCounter::Idle, 1);
        if all.sockets == 0 {
            all.look = now.after(LOOK);
        }
        all.sockets += 1;
        if !std::mem::replace(&mut row.idle.listed, true) {
            all.slots.push_back(slot);
        }
    }

    /// Closes what is old, and what its backend has closed: a few, once in a while.
    pub(crate) fn tend_idle(&mut self) {
        let now = self.now();
        if self.idle.sockets == 0 || self.idle.look > now {
            return;
        }
        let Shard { endpoints, counters, idle, .. } = self;
        let mut budget = LOOKS_PER_TURN;
        for _ in 0..idle.slots.len() {
            let Some(slot) = idle.slots.pop_front() else { break };
            let Some(row) = endpoints.get_mut(slot.ix()).and_then(Option::as_mut) else { continue };
            let before = row.idle.len();
            let patience = row.idle.patience;
            let is_fit =
                |(socket, since): &(OwnedFd, Tick)| since.after(patience) > now && socket::is_quiet(socket.as_fd());
            row.idle.sockets.retain(is_fit);
            let gone = before - row.idle.len();
            idle.sockets -= gone;
            counters.endpoint(slot.0).sub(EndpointCounter::Idle, gone as u64);
            row.idle.listed = row.idle.len() > 0;
            if row.idle.listed {
                idle.slots.push_back(slot);
            }
            budget = budget.saturating_sub(before);
            if budget == 0 {
                break;
            }
        }
        idle.look = now.after(if budget == 0 { SOON } else { LOOK });
    }

    /// One of them was found dead: the others of its backend probably are too.
    pub(crate) fn close_dead_idle(&mut self, slot: EndpointSlot) {
        let Shard { endpoints, counters, idle, .. } = self;
        let Some(row) = endpoints.get_mut(slot.ix()).and_then(Option::as_mut) else { return };
        let before = row.idle.len();
        row.idle.sockets.retain(|(socket, _)| socket::is_quiet(socket.as_fd()));
        let gone = before - row.idle.len();
        idle.sockets -= gone;
        counters.endpoint(slot.0).sub(EndpointCounter::Idle, gone as u64);
    }

    /// When the next walk is due.
    pub(crate) fn next_idle_look(&self) -> Option<Tick> {
        (self.idle.sockets > 0).then_some(self.idle.look)
    }

    /// Nobody will ask for them any more; or others need their descriptors.
    pub(crate) fn close_idle(&mut self, slot: EndpointSlot) {
        let Shard { endpoints, counters, idle, .. } = self;
        let Some(row) = endpoints.get_mut(slot.ix()).and_then(Option::as_mut) else { return };
        let gone = row.idle.len();
        if gone > 0 {
            row.idle.sockets.clear();
            idle.sockets -= gone;
            counters.endpoint(slot.0).sub(EndpointCounter::Idle, gone as u64);
        }
    }

    /// The process has no descriptor left: idle connections are the first to give way.
    pub(crate) fn close_all_idle(&mut self) {
        for slot in std::mem::take(&mut self.idle.slots) {
            self.close_idle(slot);
            if let Some(row) = self.endpoints.get_mut(slot.ix()).and_then(Option::as_mut) {
                row.idle.listed = false;
            }
        }
    }

    /// Closes idle connections to backends of `before` that the pool does not use any more.
    pub(crate) fn close_idle_of_the_gone(&mut self, before: &PoolGeneration, slot: PoolSlot) {
        if self.idle.sockets == 0 {
            return;
        }
        let Shard { adopter, endpoints, .. } = self;
        let now = adopter.pool(slot);
        let used = |slot| now.is_some_and(|root| root.find(slot).is_some_and(|(_, endpoint)| !endpoint.drain));
        let has_idle = |slot: EndpointSlot| {
            endpoints.get(slot.ix()).and_then(Option::as_ref).is_some_and(|row| row.idle.len() > 0)
        };
        let all = before.endpoints().map(|endpoint| endpoint.slot);
        let gone: Vec<EndpointSlot> = all.filter(|slot| has_idle(*slot) && !used(*slot)).collect();
        for slot in gone {
            self.close_idle(slot);
        }
    }

    /// The upstream connection is there: the request goes out.
    pub(crate) fn begin_exchange(&mut self, id: ConnId, reused: bool) {
        let (now, now_micros) = (self.now(), self.now_micros);
        let Shard { conns, adopter, counters, spare, .. } = self;
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
        request.stage = Stage::Exchange;
        request.reused = reused;
        request.served_by = Some(endpoint);
        let group = &root.groups[request.group];
        let ejects = group.http.as_ref().is_some_and(|http| http.eject.is_some());
        request.watched = ejects || matches!(group.balance, Balance::PeakEwma);
        let host_default = &mut spare.text;
        host_default.clear();
        if request.head.as_ref().is_some_and(|head| head.host.is_none())
            && let Some((_, endpoint)) = root.find(endpoint)
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
        let quiet = conn.ops.iter().all(Op::is_front);
        if !quiet {
            for op in conn.ops.iter().filter(|op| !op.is_front()) {
                ring.cancel(op.key(id), op.verb());
            }
        } else if let Some(socket) = conn.back.take()
            && upstream == Upstream::Reuse
        {
            self.keep_idle(id, slot, socket);
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
