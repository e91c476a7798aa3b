//! The end of a connection: recorded once, everything given back, and the sockets closed so that the peer
//! learns what really happened.

use crate::conn::{Conn, Failure, Lease, Op, Open, Side, State};
use crate::conns::ConnId;
use crate::ring::Outcome;
use crate::ring::socket::{self, READABLE};
use crate::serve::Shard;
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::ids::{EndpointSlot, PoolSlot, ShardId};
use policy::record::{Record, TunnelRecord};
use policy::reload::Session;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::tunnel::Way;

/// How long a peer has to take what it was sent: its end, or all that comes before a reset.
const FAREWELL: Duration = Duration::from_secs(1);

/// For one that goes on sending, or has not taken all.
const FAREWELL_MAX: Duration = Duration::from_secs(10);

/// Between two looks at what has not left for a peer that will be reset.
const LOOK: Duration = Duration::from_millis(20);

/// Most bytes dropped at a time while lingering.
const DISCARD: usize = 256 << 10;

/// How a front connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// Both ends were passed on, or nobody is there: just close.
    Close,
    /// Both are reset, so that nobody takes what it has for the whole.
    Cut,
    /// The other side was reset; this one is too, once it has what the other had sent before.
    Reset(Side),
    /// Our end is sent, and the client has time to read what it was sent before.
    Linger,
}

/// `cut`: the client has not got all that its backend had sent.
fn manner(reason: CloseReason, cut: bool) -> Manner {
    match reason {
        CloseReason::Finished | CloseReason::ClientLeft => Manner::Close,
        CloseReason::ClientReset => Manner::Reset(Side::Back),
        CloseReason::BackendReset | CloseReason::AnswerCut => Manner::Reset(Side::Front),
        CloseReason::Panicked => Manner::Cut,
        CloseReason::ConnectFailed
        | CloseReason::ConnectTimeout
        | CloseReason::NoBackend
        | CloseReason::IdleTimeout
        | CloseReason::LifetimeTimeout
        | CloseReason::PoolFull
        | CloseReason::QueueFull
        | CloseReason::QueueTimeout
        | CloseReason::MemoryBudget
        | CloseReason::BackendRemoved
        | CloseReason::Stopped
        | CloseReason::ShardFull
        | CloseReason::KeepAliveTimeout
        | CloseReason::Refused
        | CloseReason::HeadTimeout
        | CloseReason::BodyTimeout
        | CloseReason::NoRule
        | CloseReason::Misdirected
        | CloseReason::Denied
        | CloseReason::BadAnswer
        | CloseReason::NoAnswer
        | CloseReason::FirstByteTimeout
        | CloseReason::AnswerTimeout
        | CloseReason::TotalTimeout
        | CloseReason::DescriptorsExhausted => match cut {
            true => Manner::Cut,
            false => Manner::Linger,
        },
    }
}

impl Shard<'_> {
    /// Ends a connection for this reason. Ending it again changes nothing.
    pub(crate) fn end(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(cut) = self.give_up(id, reason) {
            self.part(id, manner(reason, cut));
        }
    }

    /// As [`Shard::end`], where the reason does not say how.
    pub(crate) fn end_as(&mut self, id: ConnId, reason: CloseReason, manner: Manner) {
        if self.give_up(id, reason).is_some() {
            self.part(id, manner);
        }
    }

    /// Records the connection and gives back all that it holds but its sockets. Whether the client has got less than its
    /// backend had sent; `None`: it had ended before.
    fn give_up(&mut self, id: ConnId, reason: CloseReason) -> Option<bool> {
        self.count_bytes(id);
        if self.conns.get_mut(id)?.is_over() {
            return None;
        }
        let cut_answer = self.drop_request(id, reason);
        let conn = self.conns.get_mut(id)?;
        let (slot, row) = (conn.pool, conn.row);
        let home = conn.session.as_ref().map_or(slot, Session::pool);
        let permit = std::mem::take(&mut conn.pool_permit);
        let (lease, session) = (std::mem::take(&mut conn.lease), conn.session.take());
        let endpoint = conn.endpoint;
        let state = std::mem::replace(&mut conn.state, State::Ending);
        let open = match state {
            State::Open(open) => Some(open),
            _ => None,
        };
        let (reached, undecided) = (endpoint.filter(|_| open.is_some()), u32::from(open.is_none()));
        match open.as_ref().and_then(|open| open.upgraded.as_ref()) {
            Some(upgraded) => self.record_upgraded(id, upgraded, reason),
            None if session.is_none() => self.record(id, reached, reason),
            None => {}
        }
        self.count_end(home, reason);
        let [cut_in, cut_out] = open.map_or([false; 2], |open| self.give_up_open(slot, *open));
        self.leave_line(id, slot, row);
        self.detach(id);
        if permit {
            let waiters = self.quotas.pools.give_back(slot.0);
            self.ring_waiters(waiters);
        }
        // Before the lease: what its end reports is true then, and a pool's figures are wiped before its slot is free.
        self.go_home(id, home);
        let pool = self.pool_mut(home);
        pool.connections -= 1;
        pool.undecided -= undecided;
        self.drop_pool_if_over(home);
        match session {
            Some(session) => self.give_session_back(session, lease),
            None => self.give_lease_back(lease),
        }
        if cut_in && let Some(back) = self.conns.get_mut(id).and_then(|conn| conn.back.as_ref()) {
            socket::reset_on_close(back.as_fd());
        }
        Some(cut_out || cut_answer)
    }

    pub(crate) fn count_end(&mut self, slot: PoolSlot, reason: CloseReason) {
        let counters = self.counters.pool(slot.0);
        counters.sub(PoolCounter::Connections, 1);
        counters.closed(reason as usize);
    }

    /// What an open tunnel had beyond its slot. By [`Way`]: whether bytes were lost with it.
    fn give_up_open(&mut self, slot: PoolSlot, mut open: Open) -> [bool; 2] {
        if let Some(upgraded) = &open.upgraded {
            self.discharge(slot, upgraded.held());
        }
        for way in Way::BOTH {
            if let Some(held) = open.held[way.ix()].take() {
                self.discharge(slot, held.bytes.len() as u64);
            }
            if let Some(pipe) = open.pipes[way.ix()].take() {
                // A direction that broke says nothing of its pipe any more.
                if open.tunnel.piped(way) && open.tunnel.inside(way) == 0 {
                    self.pipes.give_back(pipe);
                } else {
                    self.pipes.discard(pipe);
                }
            }
        }
        Way::BOTH.map(|way| open.tunnel.inside(way) > 0)
    }

    fn give_lease_back(&mut self, lease: Lease) {
        let Shard { adopter, deeds, .. } = self;
        match lease {
            Lease::None => {}
            Lease::Root(lease) => adopter.give_back(lease, deeds),
            Lease::Policy(lease) => adopter.give_back_policy(lease, deeds),
        }
        self.perform();
    }

    fn give_session_back(&mut self, session: Session, lease: Lease) {
        let Shard { adopter, deeds, .. } = self;
        match lease {
            Lease::None => {}
            Lease::Root(lease) => adopter.end(lease, deeds),
            Lease::Policy(lease) => adopter.end_policy(lease, deeds),
        }
        adopter.part(session, deeds);
        self.perform();
    }

    fn record(&mut self, id: ConnId, reached: Option<EndpointSlot>, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.logged {
            let record = record_of(conn, reached, reason, self.now_micros, self.setup.id);
            self.log(Record::Tunnel(record), b"");
        }
    }

    /// One line of the access log.
    pub(crate) fn log(&mut self, record: Record, text: &[u8]) {
        if !self.setup.log.push(record, text) {
            self.counters.shard().add(ShardCounter::LogDropped, 1);
        }
    }

    /// Closes the sockets, or begins to.
    fn part(&mut self, id: ConnId, manner: Manner) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        for op in conn.ops.iter() {
            self.ring.cancel(op.key(id), op.verb());
        }
        match manner {
            Manner::Close => {}
            Manner::Cut => conn.reset_on_close(),
            Manner::Reset(side) => {
                conn.state = State::Resetting { side, until: now.after(FAREWELL) };
                return self.reset_when_sent(id);
            }
            Manner::Linger => {
                let _ = socket::end_writing(conn.front.as_fd());
                conn.state = State::Lingering;
                conn.touched = now;
                self.set_timer(id, now.after(FAREWELL));
                // Where it waits for that already, this begins anew when that is cancelled.
                self.watch(id, Op::Readable(Side::Front), READABLE);
            }
        }
        self.close_what_is_idle(id);
    }

    /// Closing with a reset throws away what has not left yet, so that has to be waited for; no event tells of it.
    fn reset_when_sent(&mut self, id: ConnId) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        let State::Resetting { side, until } = conn.state else { return };
        let unsent = conn.socket(side).map_or(0, socket::unsent);
        if unsent > 0 && now < until {
            return self.set_timer(id, now.after(LOOK).min(until));
        }
        conn.reset_on_close();
        conn.state = State::Ending;
        self.close_what_is_idle(id);
    }

    /// A last completion of a connection that has ended.
    pub(crate) fn on_op_of_ended(&mut self, id: ConnId, op: Op, outcome: Outcome) {
        if let Outcome::Received(chunk) = outcome {
            self.ring.recycle(chunk);
        }
        let now = self.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let (State::Lingering, Op::Readable(Side::Front)) = (&conn.state, op) {
            match socket::discard(conn.front.as_fd(), DISCARD) {
                Ok(false) => {
                    // As long as it sends, it has not read.
                    let due = now.after(FAREWELL).min(conn.touched.after(FAREWELL_MAX));
                    self.set_timer(id, due);
                    return self.watch(id, op, READABLE);
                }
                Ok(true) | Err(_) => conn.state = State::Ending,
            }
        }
        self.close_what_is_idle(id);
    }

    /// Whatever it still waits for is not waited for any more.
    pub(crate) fn abandon(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.state = State::Ending;
        for op in conn.ops.iter() {
            self.ring.cancel(op.key(id), op.verb());
        }
        self.close_what_is_idle(id);
    }

    /// Closes each socket that has no operation left; with the last one the slot is free.
    fn close_what_is_idle(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let waited_for = matches!(conn.state, State::Resetting { side: Side::Back, .. });
        if conn.ops.iter().all(Op::is_front) && !waited_for {
            conn.back = None;
        }
        if conn.ops.is_empty() && matches!(conn.state, State::Ending) {
            self.wheel.clear(policy::wheel::Key { index: id.index, generation: id.generation });
            self.conns.remove(id);
            self.count_connections();
            self.feed_the_starved();
        }
    }

    /// A connection for which there is no slot: told, counted, closed.
    pub(crate) fn turn_away(&mut self, mut conn: Conn) {
        let _ = socket::end_writing(conn.front.as_fd());
        // There is no slot to linger in; at least what is here already does not make a reset of the close.
        let _ = socket::discard(conn.front.as_fd(), DISCARD);
        self.counters.pool(conn.pool.0).closed(CloseReason::ShardFull as usize);
        if conn.logged {
            let record = record_of(&conn, None, CloseReason::ShardFull, self.now_micros, self.setup.id);
            self.log(Record::Tunnel(record), b"");
        }
        self.give_lease_back(std::mem::take(&mut conn.lease));
    }

    /// A pool that nothing leads to is forgotten with its last connection and guest.
    pub(crate) fn drop_pool_if_over(&mut self, slot: PoolSlot) {
        let Some(row) = self.pools.get_mut(slot.ix()) else { return };
        if row.as_ref().is_some_and(|pool| pool.forgotten && pool.connections + pool.guests == 0) {
            *row = None;
            self.counters.pool(slot.0).wipe();
        }
    }

    pub(crate) fn on_timer(&mut self, id: ConnId) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.due > now {
            let due = conn.due;
            return self.set_timer(id, due);
        }
        match conn.state {
            State::Seeking => {
                self.step_out_of_line(id);
                let total = self.total_due(id).is_some_and(|due| due <= now);
                self.fail(id, if total { CloseReason::TotalTimeout } else { CloseReason::QueueTimeout });
            }
            State::Connecting { .. } => self.give_up_attempt(id, Failure::TimedOut),
            State::Open(_) => self.look_after(id),
            State::Session => self.on_session_timer(id),
            State::Lingering if socket::unsent(conn.front.as_fd()) > 0 && conn.touched.after(FAREWELL_MAX) > now => {
                self.set_timer(id, now.after(FAREWELL));
            }
            State::Lingering => self.abandon(id),
            State::Resetting { .. } => self.reset_when_sent(id),
            State::Ending => {}
        }
    }
}

/// `reached`: the backend that served it.
fn record_of(
    conn: &Conn,
    reached: Option<EndpointSlot>,
    reason: CloseReason,
    now_micros: u64,
    shard: ShardId,
) -> TunnelRecord {
    let duration = now_micros.saturating_sub(conn.accepted_micros);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    TunnelRecord {
        pool: conn.pool,
        endpoint: reached,
        generation: conn.number,
        client: conn.client_addr(),
        started_micros: since_epoch.saturating_sub(duration),
        connect_micros: u32::try_from(conn.connected_micros.saturating_sub(conn.accepted_micros)).unwrap_or(u32::MAX),
        duration_micros: duration,
        bytes_in: conn.bytes[Way::In.ix()],
        bytes_out: conn.bytes[Way::Out.ix()],
        reason,
        shard,
        attempts: conn.attempts,
    }
}
