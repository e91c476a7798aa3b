//! The end of an exchange, whatever it was: the next request, another backend, an answer of ours, a tunnel, or the end of
//! the connection.

use super::request::{Stage, Then};
use crate::conn::{Conn, Held, Lease, Op, Open, State};
use crate::conns::ConnId;
use crate::end::Manner;
use crate::ring::socket;
use crate::serve::Shard;
use link::counters::{EndpointCounter, PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::generation::Balance;
use policy::http::eject::{Effect, Outcome as Served};
use policy::http::retry::{Attempted, Failure, Verdict, judge};
use policy::reload::Session;
use std::os::fd::AsFd;
use wire::h1::Peer;
use wire::h1::exchange::{Ended, Front, Outcome, Retry, Standing, Upstream};
use wire::tunnel::{Tunnel, Way};

impl Shard<'_> {
    /// Whether the exchange under way is none any more.
    pub(super) fn is_settled(&mut self, id: ConnId) -> bool {
        self.standing(id).is_some_and(|standing| standing != Standing::Open)
    }

    fn standing(&mut self, id: ConnId) -> Option<Standing> {
        match self.conns.get_mut(id)? {
            Conn { state: State::Session, request: Some(request), .. } if request.stage == Stage::Exchange => {
                request.exchange.as_ref().map(|exchange| exchange.standing())
            }
            _ => None,
        }
    }

    /// Does what the end of an exchange asks for.
    pub(super) fn settle_exchange(&mut self, id: ConnId) {
        match self.standing(id) {
            None | Some(Standing::Open) => {}
            Some(Standing::Switched) => self.upgrade(id),
            Some(Standing::Over(Ended { outcome, front, upstream })) => match outcome {
                Outcome::Answered => {
                    self.judge_backend(id, None);
                    self.release_upstream(id, upstream);
                    self.finish(id, CloseReason::Finished, front);
                }
                Outcome::ClientLeft => {
                    self.release_upstream(id, Upstream::Close);
                    self.end(id, CloseReason::ClientLeft);
                }
                Outcome::Cut => {
                    self.judge_backend(id, Some(Served::Reset));
                    self.end(id, CloseReason::AnswerCut);
                }
                Outcome::Refused(by, violation) => {
                    if by == Peer::Origin {
                        self.judge_backend(id, Some(Served::Reset));
                    }
                    self.refuse(id, by, violation);
                }
                Outcome::Unanswered(retry) => self.unanswered(id, retry),
            },
        }
    }

    /// The backend gave no answer: the same request elsewhere if that is safe, or an answer of ours.
    fn unanswered(&mut self, id: ConnId, retry: Retry) {
        let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()) else { return };
        // Judged when it was disregarded.
        if std::mem::take(&mut request.disregarded) {
            self.judge_backend(id, None);
            return self.try_elsewhere(id, false);
        }
        let reused = request.reused;
        if !reused {
            self.judge_backend(id, Some(Served::Reset));
        }
        let failure = Failure::Broken { reused, sent: retry != Retry::Untouched };
        if retry != Retry::Unsafe && self.may_retry(id, failure) {
            self.try_elsewhere(id, reused);
        } else {
            self.fail(id, CloseReason::NoAnswer);
        }
    }

    /// Whether the group's policy and budget let the request be sent again.
    pub(crate) fn may_retry(&mut self, id: ConnId, failure: Failure) -> bool {
        let now = self.now();
        let Shard { conns, adopter, pools, .. } = self;
        let Some(Conn { request: Some(request), lease: Lease::Root(lease), pool, row, attempts, .. }) =
            conns.get_mut(id)
        else {
            return false;
        };
        let group = adopter.root(lease).group(request.group);
        let Some(policy) = group.and_then(|group| group.http.as_ref()).map(|http| &http.retry) else { return false };
        let Some(head) = &request.head else { return false };
        let replayable = request.exchange.is_none() || request.out[Way::In.ix()].kept;
        let attempts = u32::from(*attempts);
        let attempted = Attempted { method: head.method.text(&request.input), replayable, attempts, failure };
        let row = pools[pool.ix()].as_mut().expect("kept while it has connections").find_mut(*row);
        row.is_some_and(|row| judge(attempted, policy, &mut row.budget, now) == Verdict::Retry)
    }

    /// `stale`: it was an idle connection that failed, which says nothing of the backend.
    fn try_elsewhere(&mut self, id: ConnId, stale: bool) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        self.counters.pool(conn.pool.0).add(PoolCounter::RequestRetries, 1);
        if let Some(endpoint) = conn.endpoint.filter(|_| !stale) {
            conn.tried.push(endpoint);
        }
        // Should there be nobody else.
        conn.failure = CloseReason::NoAnswer;
        if let Some(request) = &mut conn.request {
            request.wants_new |= stale;
            request.reply.clear();
            request.reply_search = Default::default();
            request.first_byte_micros = 0;
        }
        self.release_upstream(id, Upstream::Close);
        self.when_clear(id, Then::Again);
    }

    /// Goes on at once, or when the kernel has given back the last operations of the upstream connection.
    fn when_clear(&mut self, id: ConnId, then: Then) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.back.is_none() {
            return self.cleared(id, then);
        }
        conn.state = State::Session;
        if let Some(request) = &mut conn.request {
            request.stage = Stage::Clearing(then);
        }
    }

    pub(super) fn cleared(&mut self, id: ConnId, then: Then) {
        match then {
            Then::Next => self.rest(id),
            Then::Again => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.state = State::Seeking;
                }
                self.seek(id);
            }
        }
    }

    /// The request has its answer, or what there was to be had of one. It has no backend any more.
    pub(super) fn finish(&mut self, id: ConnId, why: CloseReason, front: Front) {
        self.count_bytes(id);
        self.record_request(id, why);
        self.uncharge(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (lease, permit, pool) = (std::mem::take(&mut conn.lease), std::mem::take(&mut conn.pool_permit), conn.pool);
        let over = conn.request.as_ref().is_none_or(|request| request.client_ended && request.behind().is_empty());
        let home = conn.session.as_ref().map_or(pool, Session::pool);
        if permit {
            let waiters = self.quotas.pools.give_back(pool.0);
            self.ring_waiters(waiters);
        }
        self.go_home(id, home);
        self.end_lease(lease);
        match front {
            Front::Reuse if !over => self.when_clear(id, Then::Next),
            // What is not read by then makes a reset of the close, which overtakes the answer (RFC 9112 section 9.6).
            Front::Close if self.may_be_cut_off(id) => self.end_recorded(id, why, Manner::Linger),
            Front::Reuse | Front::Close => self.end_recorded(id, why, Manner::Close),
            Front::DrainThenClose => self.end_recorded(id, why, Manner::Linger),
            Front::Abort => self.end_recorded(id, why, Manner::Cut),
        }
    }

    /// Whether the client has sent what nobody has read, or may still do so before it has its answer. Costs a system call or
    /// two for a connection that is closed by us.
    fn may_be_cut_off(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return false };
        let front = conn.front.as_fd();
        let unread = conn.front_edge.is_ready() || !conn.ops.contains(Op::Edges) && !socket::is_quiet(front);
        unread || socket::unsent(front) > 0
    }

    fn end_recorded(&mut self, id: ConnId, why: CloseReason, manner: Manner) {
        self.forget_request(id);
        self.end_as(id, why, manner);
    }

    pub(super) fn part_in_peace(&mut self, id: ConnId, why: CloseReason) {
        self.end_as(id, why, Manner::Linger);
    }

    /// A time-out has passed, or the memory is used up, or an operator has ended it.
    pub(crate) fn took_too_long(&mut self, id: ConnId, why: CloseReason) {
        let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_ref()) else {
            return self.part_in_peace(id, why);
        };
        match (request.stage, &request.exchange) {
            (Stage::Head, _) => self.fail(id, why),
            (Stage::Exchange, Some(exchange)) if exchange.may_answer() => {
                if why == CloseReason::FirstByteTimeout {
                    self.judge_backend(id, Some(Served::TimedOut));
                }
                self.fail(id, why);
            }
            (Stage::Exchange | Stage::Answering | Stage::Clearing(_), _) => self.end(id, why),
        }
    }

    /// Notes how the backend of an exchange has done. `failed`: not at all; otherwise its answer says it.
    pub(crate) fn judge_backend(&mut self, id: ConnId, failed: Option<Served>) {
        let now = self.now();
        let Shard { conns, adopter, pools, counters, .. } = self;
        let Some(Conn { request: Some(request), endpoint: Some(slot), pool, row, connected_micros, .. }) =
            conns.get_mut(id)
        else {
            return;
        };
        // As a rule nobody asks how a backend has done that has done well.
        if failed.is_none() && !request.watched {
            return;
        }
        let slot = *slot;
        let served = failed.unwrap_or(if request.status >= 500 { Served::ServerError } else { Served::Good });
        if failed.is_some() {
            counters.endpoint(slot.0).add(EndpointCounter::Broken, 1);
        }
        let Some((group, _)) = adopter.pool(*pool).and_then(|root| root.find(request.group, slot)) else { return };
        let Some(row) = pools[pool.ix()].as_mut().and_then(|pool| pool.find_mut(*row)) else { return };
        if matches!(group.balance, Balance::PeakEwma) && request.first_byte_micros > 0 {
            let micros = request.first_byte_micros.saturating_sub(*connected_micros);
            row.picker.answered(slot, u32::try_from(micros).unwrap_or(u32::MAX), now);
        }
        let Some(policy) = group.http.as_ref().and_then(|http| http.eject.as_ref()) else { return };
        if let Effect::Ejected { .. } = row.ejector.ended(slot, served, group.endpoints.len(), policy, now) {
            row.picker.set_ejected(slot, true);
            let row = counters.endpoint(slot.0);
            row.set(EndpointCounter::Ejected, 1);
            row.add(EndpointCounter::Ejections, 1);
        }
    }

    /// One request more that may be sent again at the cost of the group's budget.
    pub(super) fn count_for_budget(&mut self, id: ConnId) {
        let Shard { conns, adopter, pools, .. } = self;
        let Some(Conn { request: Some(request), lease: Lease::Root(lease), pool, .. }) = conns.get_mut(id) else {
            return;
        };
        let group = adopter.root(lease).group(request.group);
        let Some(http) = group.and_then(|group| group.http.as_ref()) else { return };
        let pool = pools[pool.ix()].as_mut().expect("kept while it has connections");
        let at = pool.row_of(request.group);
        pool.row_mut(at).budget.requested(&http.retry);
    }

    /// Both sides speak something else from here: the session is a tunnel.
    fn upgrade(&mut self, id: ConnId) {
        self.judge_backend(id, None);
        let upgraded = self.record_later(id);
        self.uncharge(id);
        self.give_back_pipes(id);
        let now = self.now();
        let Some(home) = self.conns.get_mut(id).and_then(|conn| conn.session.as_ref()).map(Session::pool) else {
            return;
        };
        self.settle_down(id, home);
        let Shard { conns, adopter, deeds, spare, ring, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        let (Some(session), Some(mut request)) = (conn.session.take(), conn.request.take()) else { return };
        adopter.upgrade(session, deeds);
        let timeouts = match &conn.lease {
            Lease::Policy(lease) => adopter.policy(lease).timeouts,
            Lease::Root(_) | Lease::None => unreachable!("the head of an answer has exchanged the lease"),
        };
        // What came behind the two heads belongs to the tunnel.
        let mut tunnel = Tunnel::new();
        let behind = [request.behind().to_vec(), std::mem::take(&mut request.reply)];
        let mut kept = upgraded.as_ref().map_or(0, |upgraded| upgraded.held());
        let held = Way::BOTH.map(|way| {
            let bytes = &behind[way.ix()];
            if bytes.is_empty() {
                return None;
            }
            tunnel.received(way, bytes.len(), false);
            kept += bytes.len() as u64;
            Some(Held { bytes: bytes.as_slice().into(), taken: 0 })
        });
        if conn.ops.contains(Op::Edges) {
            ring.cancel(Op::Edges.key(id), Op::Edges.verb());
        }
        conn.touched = now;
        conn.state = State::Open(Box::new(Open { tunnel, held, pipes: [None, None], timeouts, upgraded }));
        let (pool, upstream) = (conn.pool, request.upstream.take());
        request.input.clear();
        request.head = None;
        request.begin_anew();
        spare.take_back(request);
        if let Some(upstream) = upstream {
            self.part_from_upstream(upstream);
        }
        self.pool_mut(pool).undecided -= 1;
        self.charge(pool, kept);
        self.perform();
        self.look_after(id);
        self.drive(id, Way::In, true);
        self.drive(id, Way::Out, true);
    }

    /// The connection ends with its request: that is recorded, and gives back all that it holds. Whether the client has a
    /// part of an answer.
    pub(crate) fn drop_request(&mut self, id: ConnId, why: CloseReason) -> bool {
        let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_ref()) else { return false };
        let unsent = !request.out[Way::Out.ix()].rest().is_empty();
        let cut = match request.stage {
            Stage::Head => false,
            Stage::Exchange => request.status != 0,
            Stage::Answering => unsent,
            Stage::Clearing(_) => false,
        };
        let begun = request.stage != Stage::Head || !request.input.is_empty();
        if begun && !matches!(request.stage, Stage::Clearing(Then::Next)) {
            self.record_request(id, why);
        }
        self.uncharge(id);
        self.give_back_pipes(id);
        if let Some(upstream) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()?.upstream.take()) {
            self.part_from_upstream(upstream);
        }
        self.forget_request(id);
        cut
    }

    fn forget_request(&mut self, id: ConnId) {
        let Shard { conns, spare, .. } = self;
        let Some(mut request) = conns.get_mut(id).and_then(|conn| conn.request.take()) else { return };
        request.begin_anew();
        spare.take_back(request);
    }

    fn uncharge(&mut self, id: ConnId) {
        let Some(Conn { request: Some(request), pool, .. }) = self.conns.get_mut(id) else { return };
        let (charged, pool) = (std::mem::take(&mut request.charged), *pool);
        if charged > 0 {
            self.counters.shard().sub(ShardCounter::BufferBytes, charged);
            self.counters.pool(pool.0).sub(PoolCounter::BufferBytes, charged);
            self.pool_mut(pool).buffered -= charged;
        }
    }
}
