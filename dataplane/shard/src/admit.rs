//! Lease, limit, balance: whether a connection is served, by which backend, or where it waits.
//!
//! Each attempt is one whole decision under one generation, the newest: a connection that waited, or whose
//! backend refused it, decides afresh. It leases the pool's root until its backend has answered.

use crate::conn::{Lease, Op, Side};
use crate::conns::ConnId;
use crate::guard::Handling;
use crate::http::answer::Own;
use crate::http::route::Met;
use crate::pools::{RowIx, find};
use crate::ring::socket::Peer;
use crate::serve::Shard;
use link::counters::{EndpointCounter, PoolCounter};
use policy::balance::{Ask, Pick, hash_source};
use policy::close::CloseReason;
use policy::ids::{EndpointSlot, PoolSlot};

/// What there is for a connection right now.
enum Choice {
    Endpoint(EndpointSlot),
    /// The pool, or every backend in rotation, is at its cap.
    Wait,
    Nobody,
    /// The rules have changed while it was seeking, and by the new ones no backend is asked.
    Answer(Own),
}

impl Shard<'_> {
    /// A connection that has just come in.
    pub(crate) fn admit(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let pool = conn.pool;
        if let Some(own) = self.renew(id) {
            return self.answer(id, own);
        }
        let row = self.row_for(id);
        // Those who wait go first.
        if self.pool_mut(pool).row(row).line.is_empty() { self.seek(id) } else { self.wait(id) }
    }

    /// Decides for a connection that has no backend: the first time, or again.
    pub(crate) fn seek(&mut self, id: ConnId) {
        match self.choose(id) {
            Choice::Endpoint(endpoint) => self.dial(id, endpoint),
            Choice::Wait => self.wait(id),
            Choice::Nobody => self.nobody(id),
            Choice::Answer(own) => self.answer(id, own),
        }
    }

    fn nobody(&mut self, id: ConnId) {
        let Some(reason) = self.conns.get_mut(id).map(|conn| conn.failure) else { return };
        self.fail(id, reason);
    }

    /// Moves an undecided connection to the newest root of its pool. A request asks the rules anew if they may be others;
    /// what they say if it is no group.
    fn renew(&mut self, id: ConnId) -> Option<Own> {
        let Shard { conns, adopter, deeds, .. } = self;
        let conn = conns.get_mut(id)?;
        let Lease::Root(lease) = std::mem::take(&mut conn.lease) else {
            unreachable!("an undecided connection leases a root")
        };
        let lease = adopter.renew(lease, deeds);
        let root = adopter.root(&lease);
        conn.number = root.number;
        conn.logged = root.policy.access_log;
        let reroute = conn.request.as_ref().is_some_and(|request| request.routed != Some(root.part));
        conn.lease = Lease::Root(lease);
        self.perform();
        match reroute.then(|| self.route(id)) {
            Some(Met::Answer(own)) => Some(own),
            Some(Met::Group) | None => None,
        }
    }

    /// The row of the group that serves it, by the root that it leases.
    fn row_for(&mut self, id: ConnId) -> RowIx {
        let Shard { conns, pools, adopter, .. } = self;
        let conn = conns.get_mut(id).expect("decided for by its own event");
        let pool = pools[conn.pool.ix()].as_ref().expect("kept while it has connections");
        let Lease::Root(lease) = &conn.lease else { unreachable!("an undecided connection leases a root") };
        conn.group = match &conn.request {
            Some(request) => request.group,
            None => adopter.root(lease).only_group().expect("a pool of streams has one group").slot,
        };
        conn.row = pool.row_of(conn.group);
        conn.row
    }

    /// Takes the permits that are needed and picks a backend.
    fn choose(&mut self, id: ConnId) -> Choice {
        if let Some(own) = self.renew(id) {
            return Choice::Answer(own);
        }
        let row = self.row_for(id);
        let (random, now) = (self.draw(), self.now());
        let Shard { conns, pools, quotas, adopter, held_up, counters, .. } = self;
        let conn = conns.get_mut(id).expect("decided for by its own event");
        let slot = conn.pool;
        let pool = pools[slot.ix()].as_mut().expect("kept while it has connections");
        if !conn.pool_permit {
            conn.pool_permit = quotas.pools.take_or_wait(slot.0);
            if !conn.pool_permit {
                return Choice::Wait;
            }
        }
        let Lease::Root(lease) = &conn.lease else { unreachable!("renewed above") };
        let group = adopter.root(lease).group(conn.group).expect("its row is of this root");
        let at = row;
        let row = pool.row_mut(at);
        row.forgive(now, |slot| counters.endpoint(slot.0).set(EndpointCounter::Ejected, 0));
        let source = match (&conn.request, conn.client) {
            (Some(request), _) => request.hash,
            (None, Peer::Ip(address)) => hash_source(address.ip()),
            // Without an address there is nothing to be faithful to.
            (None, Peer::Unix | Peer::Unknown) => random,
        };
        let ask = Ask { source, random, tried: &conn.tried };
        let mut full = false;
        let choice = loop {
            match row.picker.pick(&ask) {
                // The pool has changed and gone while this connection was busy with a backend of an older root.
                Pick::Endpoint { slot: endpoint, .. } if find(group, endpoint).is_none() => break Choice::Nobody,
                Pick::Endpoint { slot: endpoint, .. } if quotas.endpoints.take_or_wait(endpoint.0) => {
                    break Choice::Endpoint(endpoint);
                }
                Pick::Endpoint { slot: endpoint, .. } => {
                    // Other shards have filled it. We are noted as waiting and will be rung.
                    row.picker.set_full(endpoint, true);
                    row.full.push(endpoint);
                    full = true;
                }
                Pick::Busy => break Choice::Wait,
                Pick::Nobody => break Choice::Nobody,
            }
        };
        if full {
            pool.note_held_up(at);
            note(held_up, slot);
        }
        choice
    }

    /// The end of the line, with the time that the group allows.
    fn wait(&mut self, id: ConnId) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (slot, row, permit) = (conn.pool, conn.row, conn.pool_permit);
        let Lease::Root(lease) = &conn.lease else { unreachable!("an undecided connection leases a root") };
        let root = self.adopter.root(lease);
        let group = root.group(conn.group).expect("its row is of this root");
        let deadline = now.after(group.queue_wait);
        let pool_is_full =
            !permit && root.limits.max_connections.is_some_and(|cap| self.quotas.pools.used(slot.0) >= cap);
        if self.pool_mut(slot).row_mut(row).line.push(id, deadline).is_err() {
            let reason = if pool_is_full { CloseReason::PoolFull } else { CloseReason::QueueFull };
            return self.fail(id, reason);
        }
        self.counters.pool(slot.0).add(PoolCounter::Waiting, 1);
        self.pool_mut(slot).note_held_up(row);
        note(&mut self.held_up, slot);
        let due = self.total_due(id).map_or(deadline, |total| total.min(deadline));
        self.set_timer(id, due);
        // A client that leaves makes room; one that has sent its end still wants its answer.
        self.watch_for_loss(id, Side::Front);
    }

    /// Takes a connection out of its line, if it is in it.
    pub(crate) fn leave_line(&mut self, id: ConnId, slot: PoolSlot, row: RowIx) -> bool {
        let left = self.pools[slot.ix()].as_mut().is_some_and(|pool| pool.leave_line(row, id));
        if left {
            self.counters.pool(slot.0).sub(PoolCounter::Waiting, 1);
        }
        left
    }

    /// It waits no more, and nobody comes to serve it.
    pub(crate) fn step_out_of_line(&mut self, id: ConnId) {
        let Some((slot, row)) = self.conns.get_mut(id).map(|conn| (conn.pool, conn.row)) else { return };
        self.leave_line(id, slot, row);
        self.cancel(id, Op::Loss(Side::Front));
    }

    /// Something that lines may wait for has come free, or the rotation has changed: serves who can be served.
    pub(crate) fn serve_the_lines(&mut self) {
        if !std::mem::take(&mut self.rung) {
            return;
        }
        let mut ix = 0;
        while let Some(slot) = self.held_up.get(ix).copied() {
            self.serve_pool(slot);
            let mut pool = self.pools[slot.ix()].as_mut();
            if pool.as_ref().is_none_or(|pool| !pool.somebody_waits()) {
                self.quotas.pools.unwait(slot.0);
            }
            if pool.as_mut().is_none_or(|pool| pool.held_up().is_empty()) {
                self.held_up.swap_remove(ix);
            } else {
                ix += 1;
            }
        }
    }

    fn serve_pool(&mut self, slot: PoolSlot) {
        let Some(pool) = &mut self.pools[slot.ix()] else { return };
        for at in pool.held_up() {
            let Some(row) = self.pools[slot.ix()].as_mut().and_then(|pool| pool.find_mut(at)) else { continue };
            for endpoint in row.full.drain(..) {
                row.picker.set_full(endpoint, false);
            }
            let mut room = true;
            while room && let Some(id) = self.first_in_line(slot, at) {
                // Of one whose handling panics nobody knows whether there is room for the next.
                room = false;
                self.guard(id, Handling::Line, |shard| room = shard.serve_first(id, slot, at));
            }
        }
    }

    fn first_in_line(&mut self, slot: PoolSlot, row: RowIx) -> Option<ConnId> {
        self.pools[slot.ix()].as_mut()?.find_mut(row)?.line.front()
    }

    /// Their group is gone: they decide afresh.
    pub(crate) fn seek_anew(&mut self, stranded: Vec<ConnId>) {
        for id in stranded {
            self.step_out_of_line(id);
            self.guard(id, Handling::Line, |shard| shard.admit(id));
        }
    }

    /// `false`: it goes on waiting, and so does everybody behind it.
    fn serve_first(&mut self, id: ConnId, slot: PoolSlot, row: RowIx) -> bool {
        let choice = self.choose(id);
        let group = self.conns.get_mut(id).map(|conn| conn.row);
        if let Choice::Wait = choice {
            if group == Some(row) {
                return false;
            }
            // By the newest rules it is another group's.
            self.leave_line(id, slot, row);
            self.wait(id);
            return true;
        }
        self.leave_line(id, slot, row);
        self.cancel(id, Op::Loss(Side::Front));
        match choice {
            Choice::Endpoint(endpoint) => {
                self.counters.endpoint(endpoint.0).add(EndpointCounter::Waited, 1);
                self.dial(id, endpoint);
            }
            Choice::Answer(own) => self.answer(id, own),
            Choice::Wait | Choice::Nobody => self.nobody(id),
        }
        true
    }
}

fn note(held_up: &mut Vec<PoolSlot>, pool: PoolSlot) {
    if !held_up.contains(&pool) {
        held_up.push(pool);
    }
}
