//! The end of a connection: recorded once, everything given back, and the sockets closed so that the peer
//! learns what really happened.

use crate::conn::{Conn, Lease, Op, Side, State};
use crate::conns::ConnId;
use crate::ring::Outcome;
use crate::ring::socket::{self, Peer, READABLE};
use crate::serve::Shard;
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::ids::PoolSlot;
use policy::record::{ClientAddr, TunnelRecord};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::tunnel::Way;

/// How long what a client still sends is read and dropped after we have ended.
const LINGER: Duration = Duration::from_secs(1);

/// Most bytes dropped at a time while lingering.
const DISCARD: usize = 256 << 10;

/// How a front connection is closed.
enum Manner {
    /// Both ends were passed on, or nobody is there: just close.
    Close,
    /// The peer of the broken side must not take what it has for the whole.
    Reset,
    /// Our end is sent, and the client has time to read what it was sent before.
    Linger,
}

fn manner(reason: CloseReason) -> Manner {
    match reason {
        CloseReason::Finished | CloseReason::ClientLeft => Manner::Close,
        CloseReason::ClientReset | CloseReason::BackendReset | CloseReason::Panicked => Manner::Reset,
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
        | CloseReason::DescriptorsExhausted => Manner::Linger,
    }
}

impl Shard<'_> {
    /// Ends a connection for this reason. Ending it again changes nothing.
    pub(crate) fn end(&mut self, id: ConnId, reason: CloseReason) {
        self.count_bytes(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.is_over() {
            return;
        }
        let slot = conn.pool;
        let permit = std::mem::take(&mut conn.pool_permit);
        let state = std::mem::replace(&mut conn.state, State::Ending);
        self.record(id, reason);
        let undecided = !matches!(state, State::Open(_));
        self.give_up_open(slot, state);
        self.leave_line(id, slot);
        self.detach(id);
        self.give_lease_back(id);
        if permit {
            let waiters = self.quotas.pools.give_back(slot.0);
            self.ring_waiters(waiters);
        }
        let pool = self.pool_mut(slot);
        pool.connections -= 1;
        pool.undecided -= u32::from(undecided);
        let counters = self.counters.pool(slot.0);
        counters.sub(PoolCounter::Connections, 1);
        counters.closed(reason as usize);
        self.drop_pool_if_over(slot);
        self.part(id, manner(reason));
    }

    /// What an open tunnel had beyond its slot.
    fn give_up_open(&mut self, slot: PoolSlot, state: State) {
        let State::Open(mut open) = state else { return };
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
    }

    fn give_lease_back(&mut self, id: ConnId) {
        let Shard { conns, adopter, deeds, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        match std::mem::take(&mut conn.lease) {
            Lease::None => {}
            Lease::Root(lease) => adopter.give_back(lease, deeds),
            Lease::Policy(lease) => adopter.give_back_policy(lease, deeds),
        }
        self.perform();
    }

    /// One line of the access log.
    fn record(&mut self, id: ConnId, reason: CloseReason) {
        let now = self.now_micros;
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.logged {
            return;
        }
        let duration = now.saturating_sub(conn.accepted_micros);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let record = TunnelRecord {
            pool: conn.pool,
            endpoint: conn.endpoint,
            generation: conn.number,
            client: match conn.client {
                Peer::Ip(address) => ClientAddr::Ip(address),
                Peer::Unix => ClientAddr::Unix,
                Peer::Unknown => ClientAddr::Unknown,
            },
            started_micros: since_epoch.saturating_sub(duration),
            connect_micros: u32::try_from(conn.connected_micros.saturating_sub(conn.accepted_micros))
                .unwrap_or(u32::MAX),
            duration_micros: duration,
            bytes_in: conn.bytes[Way::In.ix()],
            bytes_out: conn.bytes[Way::Out.ix()],
            reason,
            shard: self.setup.id,
            attempts: conn.attempts,
        };
        if !self.setup.log.push(record) {
            self.counters.shard().add(ShardCounter::LogDropped, 1);
        }
    }

    /// Closes the sockets, or begins to.
    fn part(&mut self, id: ConnId, manner: Manner) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match manner {
            Manner::Close => {}
            Manner::Reset => {
                socket::reset_on_close(conn.front.as_fd());
                if let Some(back) = &conn.back {
                    socket::reset_on_close(back.as_fd());
                }
            }
            Manner::Linger => {
                let _ = socket::end_writing(conn.front.as_fd());
                conn.state = State::Lingering;
            }
        }
        let lingers = matches!(conn.state, State::Lingering);
        for op in conn.ops.iter() {
            self.ring.cancel(op.key(id), op.verb());
        }
        if lingers {
            let due = self.now().after(LINGER);
            self.set_timer(id, due);
            // Where it waits for that already, this begins anew when that is cancelled.
            self.watch(id, Op::Readable(Side::Front), READABLE);
        }
        self.close_what_is_idle(id);
    }

    /// A last completion of a connection that has ended.
    pub(crate) fn on_op_of_ended(&mut self, id: ConnId, op: Op, outcome: Outcome) {
        if let Outcome::Received(chunk) = outcome {
            self.ring.recycle(chunk);
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let (State::Lingering, Op::Readable(Side::Front)) = (&conn.state, op) {
            match socket::discard(conn.front.as_fd(), DISCARD) {
                Ok(false) => return self.watch(id, op, READABLE),
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
        if conn.ops.iter().all(Op::is_front) {
            conn.back = None;
        }
        if conn.ops.is_empty() && matches!(conn.state, State::Ending) {
            self.wheel.clear(policy::wheel::Key { index: id.index, generation: id.generation });
            self.conns.remove(id);
            if !self.starved.is_empty() {
                self.retry_starved();
            }
        }
    }

    /// A connection for which there is no slot: told, counted, closed.
    pub(crate) fn turn_away(&mut self, mut conn: Conn) {
        let _ = socket::end_writing(conn.front.as_fd());
        self.counters.pool(conn.pool.0).closed(CloseReason::ShardFull as usize);
        if let Lease::Root(lease) = std::mem::take(&mut conn.lease) {
            let Shard { adopter, deeds, .. } = self;
            adopter.give_back(lease, deeds);
            self.perform();
        }
    }

    /// A pool that nothing leads to is forgotten with its last connection.
    pub(crate) fn drop_pool_if_over(&mut self, slot: PoolSlot) {
        let Some(row) = self.pools.get_mut(slot.ix()) else { return };
        if row.as_ref().is_some_and(|pool| pool.forgotten && pool.connections == 0) {
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
            State::Seeking => self.end(id, CloseReason::QueueTimeout),
            State::Connecting { .. } => self.connect_overdue(id),
            State::Open(_) => self.tick(id),
            State::Lingering => self.abandon(id),
            State::Ending => {}
        }
    }
}
