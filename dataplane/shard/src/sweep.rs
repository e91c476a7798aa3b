//! Ending connections by order: a walk over the table, a few slots per turn, at a pace.

use crate::conn::Conn;
use crate::guard::Handling;
use crate::serve::Shard;
use policy::close::CloseReason;
use policy::ids::EndpointSlot;
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
    /// `None`: everyone.
    endpoint: Option<EndpointSlot>,
    reason: CloseReason,
    pacer: Option<Pacer>,
    /// Connections that may be ended before the pacer is asked again.
    allowed: u32,
    at: u32,
}

impl Sweep {
    pub fn of_endpoint(endpoint: EndpointSlot, reason: CloseReason, now: Tick) -> Sweep {
        Sweep { endpoint: Some(endpoint), reason, pacer: Some(Pacer::new(RETIRE, now)), allowed: 0, at: 0 }
    }

    /// Without a pace: the deadline has come.
    pub fn of_everyone(reason: CloseReason) -> Sweep {
        Sweep { endpoint: None, reason, pacer: None, allowed: u32::MAX, at: 0 }
    }

    fn takes(&self, conn: &Conn) -> bool {
        !conn.is_over() && self.endpoint.is_none_or(|endpoint| conn.endpoint == Some(endpoint))
    }
}

impl Shard<'_> {
    /// Goes on with the first walk, if there is one.
    pub(crate) fn sweep(&mut self) {
        let now = self.now();
        let Some(mut sweep) = self.sweeps.pop_front() else { return };
        if let (Some(pacer), Some(endpoint)) = (&mut sweep.pacer, sweep.endpoint) {
            let waiting = self.adopter.endpoint_connections(endpoint).saturating_sub(sweep.allowed);
            sweep.allowed += pacer.release(waiting, now);
        }
        let end = self.conns.span().min(sweep.at + SLOTS_PER_TURN);
        while sweep.at < end {
            let next = self.conns.at(sweep.at).filter(|(_, conn)| sweep.takes(conn)).map(|(id, _)| id);
            if let Some(id) = next {
                if sweep.allowed == 0 {
                    break;
                }
                sweep.allowed -= 1;
                let reason = sweep.reason;
                self.guard(id, Handling::Sweep, |shard| shard.end(id, reason));
            }
            sweep.at += 1;
        }
        if sweep.at < self.conns.span() {
            self.sweeps.push_back(sweep);
        }
    }

    /// A stop whose deadline has come ends what is left; a stop that is complete ends the loop.
    pub(crate) fn go_on_stopping(&mut self) {
        let now = self.now();
        if self.stop_by.is_some_and(|deadline| deadline <= now) {
            self.stop_by = None;
            self.sweeps.push_back(Sweep::of_everyone(CloseReason::Stopped));
            let Shard { adopter, deeds, .. } = self;
            adopter.deadline_reached(deeds);
            self.perform();
        }
        // What still lingers has nothing left to tell; it is closed with the table.
        if self.stopped && self.unsent.is_empty() && self.sweeps.is_empty() && self.conns.len() == 0 {
            self.done = true;
        }
    }
}
