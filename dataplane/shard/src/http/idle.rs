//! Upstream connections that wait for the next request.
//!
//! They belong to the endpoint's slot on this shard; the one that was used last is used first, so that those that are not
//! needed grow old. The ring tells of one that its backend closes, or on which something comes that nobody asked for: either
//! is the end of it.

use super::upstreams::{UpstreamId, User};
use crate::conns::ConnId;
use crate::ring::socket;
use crate::serve::Shard;
use link::counters::EndpointCounter;
use policy::generation::{Groups, PoolGeneration};
use policy::http::retry::is_idempotent;
use policy::ids::{EndpointSlot, PoolSlot};
use policy::tick::Tick;
use policy::tree::{self, Difference};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Between two walks over the idle connections.
const LOOK: Duration = Duration::from_secs(1);

/// Until a walk goes on that was longer than one turn may take.
const SOON: Duration = Duration::from_millis(20);

/// Connections that are looked at in one turn; the last backend's may be more.
const LOOKS_PER_TURN: usize = 1024;

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
    /// Oldest first.
    sockets: VecDeque<Kept>,
    /// Kept no longer than this.
    patience: Duration,
    /// In [`AllIdle::slots`].
    listed: bool,
}

struct Kept {
    socket: OwnedFd,
    id: UpstreamId,
    since: Tick,
}

impl Idle {
    pub fn len(&self) -> usize {
        self.sockets.len()
    }
}

impl Shard<'_> {
    /// Gives the connection the newest idle one of this backend that is fit for use, if there is one.
    ///
    /// None is used on which something had come by the last turn's wait: whoever asks next would take it for an answer. A
    /// request that cannot be sent again is not risked on less than a look at the socket itself. (What comes after either
    /// cannot be told from an answer; HTTP/1.1 has no numbers.)
    pub(crate) fn take_idle(&mut self, id: ConnId, slot: EndpointSlot) -> bool {
        loop {
            let Shard { conns, endpoints, counters, idle: all, upstreams, .. } = self;
            let Some(conn) = conns.get_mut(id) else { return false };
            let Some(request) = conn.request.as_mut().filter(|request| !request.wants_new) else { return false };
            let Some(row) = endpoints[slot.ix()].as_mut() else { return false };
            let Some(Kept { socket, id: upstream_id, .. }) = row.idle.sockets.pop_back() else { return false };
            all.sockets -= 1;
            counters.endpoint(slot.0).sub(EndpointCounter::Idle, 1);
            let upstream = upstreams.find_mut(upstream_id).expect("an idle connection is in the table");
            let method = request.head.as_ref().map_or(&b""[..], |head| head.method.text(&request.input));
            let looks = upstream.edge.is_ready() || !is_idempotent(method);
            if !looks || socket::is_quiet(socket.as_fd()) {
                upstream.edge.found_nothing();
                upstream.user = User::Conn(id);
                request.upstream = Some(upstream_id);
                conn.back = Some(socket);
                return true;
            }
            self.part_from_upstream(upstream_id);
        }
    }

    /// A connection has served its request and could serve another. `false`: it is closed.
    pub(super) fn keep_idle(&mut self, conn: ConnId, slot: EndpointSlot, socket: OwnedFd, id: UpstreamId) -> bool {
        let now = self.now();
        let Shard { conns, endpoints, adopter, counters, idle: all, setup, upstreams, .. } = self;
        let Some(conn) = conns.get_mut(conn) else { return false };
        let Some(root) = adopter.pool(conn.pool) else { return false };
        // Nobody will ask for it where its backend has left, or drains.
        let Some((group, endpoint)) = root.find(conn.group, slot) else { return false };
        let (Some(http), false) = (&group.http, endpoint.drain) else { return false };
        let Some(row) = endpoints[slot.ix()].as_mut() else { return false };
        let shards = root.shards.len().max(1) as u32;
        if row.idle.len() >= http.idle_max.div_ceil(shards) as usize || all.sockets >= setup.bounds.idle {
            return false;
        }
        let Some(upstream) = upstreams.find_mut(id) else { return false };
        // Of what was spliced nobody knows that it was all.
        if upstream.edge.is_ready() && !socket::is_quiet(socket.as_fd()) {
            return false;
        }
        upstream.edge.found_nothing();
        upstream.user = User::Idle(slot);
        row.idle.patience = http.idle_timeout;
        row.idle.sockets.push_back(Kept { socket, id, since: now });
        counters.endpoint(slot.0).add(EndpointCounter::Idle, 1);
        if all.sockets == 0 {
            all.look = now.after(LOOK);
        }
        all.sockets += 1;
        if !std::mem::replace(&mut row.idle.listed, true) {
            all.slots.push_back(slot);
        }
        true
    }

    /// The ring has told something of an idle connection: perhaps of what was read before it was idle.
    pub(super) fn look_at_idle(&mut self, slot: EndpointSlot, id: UpstreamId, more: bool) {
        let Shard { endpoints, upstreams, .. } = self;
        let Some(row) = endpoints.get_mut(slot.ix()).and_then(Option::as_mut) else { return };
        let Some(at) = row.idle.sockets.iter().position(|kept| kept.id == id) else { return };
        if more && socket::is_quiet(row.idle.sockets[at].socket.as_fd()) {
            if let Some(upstream) = upstreams.find_mut(id) {
                upstream.edge.found_nothing();
            }
            return;
        }
        row.idle.sockets.remove(at);
        self.count_idle_gone(slot, 1);
        match more {
            true => self.part_from_upstream(id),
            false => self.upstreams.forget(id),
        }
    }

    fn count_idle_gone(&mut self, slot: EndpointSlot, gone: usize) {
        self.idle.sockets -= gone;
        self.counters.endpoint(slot.0).sub(EndpointCounter::Idle, gone as u64);
    }

    /// Closes what is old: a few, once in a while.
    pub(crate) fn tend_idle(&mut self) {
        let now = self.now();
        if self.idle.sockets == 0 || self.idle.look > now {
            return;
        }
        let mut budget = LOOKS_PER_TURN;
        for _ in 0..self.idle.slots.len() {
            let Some(slot) = self.idle.slots.pop_front() else { break };
            let Some(row) = self.endpoints.get_mut(slot.ix()).and_then(Option::as_mut) else { continue };
            budget = budget.saturating_sub(row.idle.len().max(1));
            let patience = row.idle.patience;
            let old = row.idle.sockets.iter().take_while(|kept| kept.since.after(patience) <= now).count();
            self.close_oldest(slot, old);
            if let Some(row) = self.endpoints[slot.ix()].as_mut() {
                row.idle.listed = row.idle.len() > 0;
                if row.idle.listed {
                    self.idle.slots.push_back(slot);
                }
            }
            if budget == 0 {
                break;
            }
        }
        self.idle.look = now.after(if budget == 0 { SOON } else { LOOK });
    }

    /// When the next walk is due.
    pub(crate) fn next_idle_look(&self) -> Option<Tick> {
        (self.idle.sockets > 0).then_some(self.idle.look)
    }

    fn close_oldest(&mut self, slot: EndpointSlot, count: usize) {
        for _ in 0..count {
            let row = self.endpoints.get_mut(slot.ix()).and_then(Option::as_mut);
            let Some(Kept { socket, id, .. }) = row.and_then(|row| row.idle.sockets.pop_front()) else { return };
            drop(socket);
            self.count_idle_gone(slot, 1);
            self.part_from_upstream(id);
        }
    }

    /// Nobody will ask for them any more; or others need their descriptors.
    pub(crate) fn close_idle(&mut self, slot: EndpointSlot) {
        self.close_oldest(slot, usize::MAX);
    }

    /// The slot will be another backend's.
    pub(crate) fn unlist_idle(&mut self, slot: EndpointSlot) {
        let row = self.endpoints.get_mut(slot.ix()).and_then(Option::as_mut);
        if row.is_some_and(|row| std::mem::take(&mut row.idle.listed)) {
            self.idle.slots.retain(|listed| *listed != slot);
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
        let has_idle = |slot: EndpointSlot| {
            endpoints.get(slot.ix()).and_then(Option::as_ref).is_some_and(|row| row.idle.len() > 0)
        };
        let none = Groups::new();
        let now = adopter.pool(slot).map_or(&none, |root| &root.groups);
        let gone = tree::diff(&before.groups, now).flat_map(|difference| {
            let (old, new) = match difference {
                Difference::Changed { old, new, .. } if !Arc::ptr_eq(old, new) => (Some(old), Some(new)),
                Difference::Removed { old, .. } => (Some(old), None),
                Difference::Changed { .. } | Difference::Added { .. } => (None, None),
            };
            let used = move |slot| new.and_then(|new| new.find(slot)).is_some_and(|endpoint| !endpoint.drain);
            let slots = old.into_iter().flat_map(|old| old.endpoints.iter().map(|endpoint| endpoint.slot));
            slots.filter(move |slot| !used(*slot))
        });
        let gone: Vec<EndpointSlot> = gone.filter(|slot| has_idle(*slot)).collect();
        for slot in gone {
            self.close_idle(slot);
        }
    }
}
