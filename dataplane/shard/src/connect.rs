//! Connecting: one backend after the other, until one answers or the attempts are used up.

use crate::conn::{Failure, Lease, Op, State};
use crate::conns::ConnId;
use crate::ring::Outcome;
use crate::ring::socket;
use crate::serve::Shard;
use link::counters::{EndpointCounter, PoolCounter};
use policy::close::CloseReason;
use policy::http::eject::Outcome as Served;
use policy::http::retry;
use policy::ids::EndpointSlot;
use rustix::io::Errno;
use std::os::fd::AsFd;

impl Shard<'_> {
    /// Begins an attempt at a backend whose permit has been taken.
    pub(crate) fn dial(&mut self, id: ConnId, slot: EndpointSlot) {
        self.attach(id, slot);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.attempts > 0 {
            self.counters.pool(conn.pool.0).add(PoolCounter::ConnectRetries, 1);
        }
        conn.attempts = conn.attempts.saturating_add(1);
        conn.state = State::Connecting { given_up: None };
        if conn.request.is_some() && self.take_idle(id, slot) {
            return self.begin_exchange(id, true);
        }
        self.connect(id, slot);
    }

    fn connect(&mut self, id: ConnId, slot: EndpointSlot) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Lease::Root(lease) = &conn.lease else { unreachable!("an undecided connection leases a root") };
        let root = self.adopter.root(lease);
        let (_, endpoint) = root.find(conn.group, slot).expect("it was chosen from this root");
        let limit = root.policy.timeouts.connect;
        let row = self.endpoints[slot.ix()].as_mut().expect("the endpoints of a root have rows");
        let Some(target) = row.next_address(endpoint) else { return self.connect_failed(id, Failure::Refused) };
        let back = match socket::stream_for(&target) {
            Ok(back) => conn.back.insert(back),
            Err(Errno::MFILE | Errno::NFILE) if self.idle.give_way() => {
                self.close_all_idle();
                return self.connect(id, slot);
            }
            Err(Errno::MFILE | Errno::NFILE) => {
                conn.state = State::Seeking;
                self.detach(id);
                return self.fail(id, CloseReason::DescriptorsExhausted);
            }
            Err(_) => return self.connect_failed(id, Failure::Refused),
        };
        self.ring.connect(Op::Connect.key(id), back.as_fd(), target);
        conn.ops.begin(Op::Connect);
        let due = self.now().after(limit);
        let due = self.total_due(id).map_or(due, |total| total.min(due));
        self.set_timer(id, due);
    }

    pub(crate) fn on_connect(&mut self, id: ConnId, outcome: Outcome) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let State::Connecting { given_up } = conn.state else {
            unreachable!("a connect came back to a connection that is {:?}", conn.state)
        };
        match (outcome, given_up) {
            (Outcome::Connected, None | Some(Failure::TimedOut)) => self.open(id),
            (_, failure) => self.connect_failed(id, failure.unwrap_or(Failure::Refused)),
        }
    }

    /// The attempt is cancelled, and counts when that has happened.
    pub(crate) fn give_up_attempt(&mut self, id: ConnId, failure: Failure) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.state = State::Connecting { given_up: Some(failure) };
        }
        self.cancel(id, Op::Connect);
    }

    /// This backend did not answer: another one, if there is one and attempts are left.
    fn connect_failed(&mut self, id: ConnId, failure: Failure) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.back = None;
        conn.state = State::Seeking;
        let (counter, reason) = match failure {
            Failure::Refused => (EndpointCounter::ConnectFailures, CloseReason::ConnectFailed),
            Failure::TimedOut => (EndpointCounter::ConnectTimeouts, CloseReason::ConnectTimeout),
            Failure::Removed => (EndpointCounter::ConnectFailures, CloseReason::BackendRemoved),
        };
        conn.failure = reason;
        if let Some(endpoint) = conn.endpoint {
            conn.tried.push(endpoint);
            self.counters.endpoint(endpoint.0).add(counter, 1);
        }
        let is_request = conn.request.is_some();
        let Lease::Root(lease) = &conn.lease else { unreachable!("an undecided connection leases a root") };
        let group = self.adopter.root(lease).group(conn.group);
        let attempts_left = group.is_some_and(|group| conn.tried.len() < group.attempts as usize);
        if is_request && failure != Failure::Removed {
            let served = if failure == Failure::TimedOut { Served::TimedOut } else { Served::ConnectFailed };
            self.judge_backend(id, Some(served));
        }
        self.detach(id);
        if self.total_due(id).is_some_and(|due| due <= self.now()) {
            return self.fail(id, CloseReason::TotalTimeout);
        }
        let again = if is_request { self.may_retry(id, retry::Failure::Connect) } else { attempts_left };
        if again { self.seek(id) } else { self.fail(id, reason) }
    }

    /// The connection counts as one of this backend.
    fn attach(&mut self, id: ConnId, slot: EndpointSlot) {
        let Shard { conns, pools, adopter, counters, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        debug_assert!(conn.endpoint.is_none(), "still counted at another backend");
        conn.endpoint = Some(slot);
        pools[conn.pool.ix()].as_mut().expect("kept while it has connections").row_mut(conn.row).opened(slot);
        adopter.endpoint_opened(slot);
        counters.endpoint(slot.0).add(EndpointCounter::Connections, 1);
    }

    /// It does not any more: the permit goes back, and whoever waits for it is told.
    pub(crate) fn detach(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (pool, row) = (conn.pool, conn.row);
        let Some(slot) = conn.endpoint.take() else { return };
        self.pool_mut(pool).closed(row, slot);
        self.counters.endpoint(slot.0).sub(EndpointCounter::Connections, 1);
        let waiters = self.quotas.endpoints.give_back(slot.0);
        self.ring_waiters(waiters);
        let Shard { adopter, deeds, .. } = self;
        adopter.endpoint_closed(slot, deeds);
        self.perform();
    }
}
