//! Walks over the table of connections, a few slots per turn: to end connections by order, at a pace, and to let a
//! changed policy reach the tunnels that are open.

use crate::conn::{Conn, Failure, State};
use crate::conns::ConnId;
use crate::guard::Handling;
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::ids::{EndpointSlot, PoolSlot};
use policy::reload::pace::{Pace, Pacer};
use policy::tick::Tick;

/// Slots looked at per turn.
const SLOTS_PER_TURN: u32 = 1024;

/// Tunnels of a backend that is removed with `now` end at this pace on each shard, so that their clients do
/// not all come back at the same moment.
const RETIRE: Pace = Pace::Rate { per_second: 2_000, burst: 100 };

/// One walk.
#[derive(Debug)]
pub(crate) struct Sweep {
    errand: Errand,
    at: u32,
}

#[derive(Debug)]
enum Errand {
    /// `allowed`: connections that may be ended before the pacer is asked again.
    Retire { endpoint: EndpointSlot, pacer: Pacer, allowed: u32 },
    /// The stop's deadline has come.
    EndAll,
    /// The stop has begun: sessions that rest are over.
    DismissResting,
    /// The pool's time-outs have changed.
    Look { pool: PoolSlot },
}

impl Sweep {
    pub fn to_retire(endpoint: EndpointSlot, now: Tick) -> Sweep {
        Sweep { errand: Errand::Retire { endpoint, pacer: Pacer::new(RETIRE, now), allowed: 0 }, at: 0 }
    }

    pub fn to_end_all() -> Sweep {
        Sweep { errand: Errand::EndAll, at: 0 }
    }

    pub fn to_dismiss() -> Sweep {
        Sweep { errand: Errand::DismissResting, at: 0 }
    }

    fn to_look(pool: PoolSlot) -> Sweep {
        Sweep { errand: Errand::Look { pool }, at: 0 }
    }

    fn concerns(&self, conn: &Conn) -> bool {
        match &self.errand {
            Errand::Retire { endpoint, .. } => !conn.is_over() && conn.endpoint == Some(*endpoint),
            Errand::EndAll => !conn.is_over(),
            Errand::DismissResting => matches!(conn.state, State::Session) && conn.request.is_none(),
            Errand::Look { pool } => conn.pool == *pool && matches!(conn.state, State::Open(_) | State::Session),
        }
    }

    /// When it can go on: a paced walk that has used up what it was allowed waits for more.
    fn next(&self, now: Tick) -> Tick {
        match &self.errand {
            Errand::Retire { pacer, allowed: 0, .. } => pacer.next(1).unwrap_or(now),
            _ => now,
        }
    }
}

impl Shard<'_> {
    /// When a walk goes on. A tick that has passed: at once.
    pub(crate) fn next_sweep(&self) -> Option<Tick> {
        let now = self.now();
        self.sweeps.iter().map(|sweep| sweep.next(now)).min()
    }

    /// Lets the newest time-outs of a pool reach its open tunnels. A walk that is under way begins anew.
    pub(crate) fn look_after_all(&mut self, pool: PoolSlot) {
        self.sweeps.retain(|sweep| !matches!(sweep.errand, Errand::Look { pool: of } if of == pool));
        self.sweeps.push_back(Sweep::to_look(pool));
    }

    /// Goes on with the first walk, if there is one; several take turns.
    pub(crate) fn sweep(&mut self) {
        let Some(mut sweep) = self.sweeps.pop_front() else { return };
        let now = self.now();
        if let Errand::Retire { endpoint, pacer, allowed } = &mut sweep.errand {
            let waiting = self.adopter.endpoint_connections(*endpoint).saturating_sub(*allowed);
            *allowed += pacer.release(waiting, now);
        }
        let end = self.conns.span().min(sweep.at + SLOTS_PER_TURN);
        while sweep.at < end {
            let next = self.conns.at(sweep.at).filter(|(_, conn)| sweep.concerns(conn)).map(|(id, _)| id);
            if next.is_some_and(|id| !self.do_errand(&mut sweep.errand, id)) {
                break;
            }
            sweep.at += 1;
        }
        if sweep.at < self.conns.span() {
            self.sweeps.push_back(sweep);
        }
    }

    /// `false`: not now.
    fn do_errand(&mut self, errand: &mut Errand, id: ConnId) -> bool {
        match errand {
            Errand::Retire { allowed: 0, .. } => return false,
            Errand::Retire { allowed, .. } => {
                *allowed -= 1;
                self.guard(id, Handling::Sweep, |shard| shard.retire(id));
            }
            Errand::EndAll => self.guard(id, Handling::Sweep, |shard| shard.end(id, CloseReason::Stopped)),
            Errand::DismissResting => self.guard(id, Handling::Sweep, |shard| shard.dismiss(id)),
            Errand::Look { .. } => self.guard(id, Handling::Sweep, |shard| shard.look_at_the_time(id)),
        }
        true
    }

    /// The time-outs have changed.
    fn look_at_the_time(&mut self, id: ConnId) {
        match self.conns.get_mut(id).map(|conn| &conn.state) {
            Some(State::Session) => self.keep_time(id),
            _ => self.look_after(id),
        }
    }

    /// Its backend is gone: a tunnel ends, and an attempt is one at another backend from now on.
    fn retire(&mut self, id: ConnId) {
        match self.conns.get_mut(id).map(|conn| &conn.state) {
            Some(State::Connecting { .. }) => self.give_up_attempt(id, Failure::Removed),
            Some(State::Session) => self.took_too_long(id, CloseReason::BackendRemoved),
            _ => self.end(id, CloseReason::BackendRemoved),
        }
    }

    /// A stop whose deadline has come ends what is left; a stop that is complete ends the loop.
    pub(crate) fn go_on_stopping(&mut self) {
        let now = self.now();
        if self.stop_by.is_some_and(|deadline| deadline <= now) {
            self.stop_by = None;
            self.overdue = true;
            self.sweeps.push_back(Sweep::to_end_all());
            let Shard { adopter, deeds, .. } = self;
            adopter.deadline_reached(deeds);
            self.perform();
        }
        // Whoever has ended is told so to the last: a farewell is short and bounded.
        self.done = self.stopped && self.unsent.is_empty() && self.sweeps.is_empty() && self.conns.len() == 0;
    }
}
