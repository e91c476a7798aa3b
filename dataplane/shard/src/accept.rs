//! Accepting: from the kernel, from a sibling, and where a connection goes.

use crate::conn::{Conn, Lease, Ops, State};
use crate::guard::Handling;
use crate::ring::Outcome;
use crate::ring::socket::{self, Peer};
use crate::serve::Shard;
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::ids::{ListenerSlot, ShardId};
use policy::tick::Tick;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// An accepted connection on its way to the shard that will serve it. Nothing was read from it.
#[derive(Debug)]
pub struct Handed {
    pub socket: OwnedFd,
    pub listener: ListenerSlot,
    /// Has been handed over once, or came back from a shard that does not know the address yet: is served
    /// where it is now.
    pub settled: bool,
    pub from: ShardId,
}

/// A shard gives connections away while it has this much more than the mean (1.05 ×), and at least
/// [`LEAD_MIN`] more: with a handful of connections balance is noise and handing over is latency.
const LEAD_PERCENT: u64 = 105;
const LEAD_MIN: u64 = 4;

/// Connections kept while suspended. A suspended shard has cancelled its accepts, so these are only the ones
/// that raced.
const PARKED_MAX: usize = 4096;

/// After descriptors ran out, accepting is tried again when one is free, and at the latest after this.
const STARVED: Duration = Duration::from_millis(50);

impl Shard<'_> {
    pub(crate) fn on_accept(&mut self, listener: ListenerSlot, outcome: Outcome, more: bool) {
        match outcome {
            Outcome::Accepted(socket) => {
                self.counters.shard().add(ShardCounter::Accepted, 1);
                self.place(Handed { socket, listener, settled: false, from: self.setup.id });
            }
            Outcome::Failed(Errno::MFILE | Errno::NFILE) => self.starve(listener),
            Outcome::Failed(Errno::CANCELED) => {}
            Outcome::Failed(_) => self.counters.shard().add(ShardCounter::AcceptErrors, 1),
            other => unreachable!("an accept ended with {other:?}"),
        }
        if more {
            return;
        }
        let Some(row) = self.listeners.find_mut(listener) else {
            unreachable!("a socket was given back with its accept in flight")
        };
        row.armed = false;
        if row.closing {
            self.empty_the_queue(listener);
        } else if !self.starved.contains(&listener) {
            self.arm_accept(listener);
        }
    }

    /// Accepts from this address, unless it does or must not.
    pub(crate) fn arm_accept(&mut self, listener: ListenerSlot) {
        let suspended = self.suspended;
        let Shard { listeners, ring, .. } = self;
        let Some(row) = listeners.find_mut(listener) else { return };
        if row.armed || row.closing || suspended {
            return;
        }
        let (key, _) = Shard::accept_key(listener);
        ring.accept(key, row.socket.fd());
        row.armed = true;
    }

    /// No descriptor is free: clients wait in the listener's queue, which is bounded, until one is.
    fn starve(&mut self, listener: ListenerSlot) {
        self.counters.shard().add(ShardCounter::DescriptorsExhausted, 1);
        if !self.starved.contains(&listener) {
            self.starved.push(listener);
        }
        self.starved_until = self.now().after(STARVED);
    }

    /// Tries again to accept where descriptors had run out.
    pub(crate) fn retry_starved(&mut self) {
        for listener in std::mem::take(&mut self.starved) {
            match self.listeners.find(listener) {
                Some(row) if row.closing && !row.armed => self.empty_the_queue(listener),
                Some(_) => self.arm_accept(listener),
                None => {}
            }
        }
    }

    /// Stops accepting from an address for good: what raced with that, and what is queued, is still served.
    pub(crate) fn close_listener(&mut self, listener: ListenerSlot) {
        let Some(row) = self.listeners.find_mut(listener) else { unreachable!("an address that leaves was borrowed") };
        row.closing = true;
        if row.armed {
            self.cancel_accept(listener);
        } else {
            self.empty_the_queue(listener);
        }
    }

    fn cancel_accept(&mut self, listener: ListenerSlot) {
        let (key, verb) = Shard::accept_key(listener);
        self.ring.cancel(key, verb);
    }

    /// Serves what is left in the queue of an address that nothing can join any more.
    fn empty_the_queue(&mut self, listener: ListenerSlot) {
        loop {
            let Some(row) = self.listeners.find(listener) else { return };
            match socket::accept_queued(row.socket.fd()) {
                Ok(Some(socket)) => {
                    self.counters.shard().add(ShardCounter::Accepted, 1);
                    self.place(Handed { socket, listener, settled: true, from: self.setup.id });
                }
                Ok(None) => break,
                Err(Errno::MFILE | Errno::NFILE) => return self.starve(listener),
                Err(_) => {
                    self.counters.shard().add(ShardCounter::AcceptErrors, 1);
                    break;
                }
            }
        }
        let Shard { adopter, deeds, .. } = self;
        adopter.accept_ended(listener, deeds);
        self.perform();
    }

    /// Accepts nothing more until [`Shard::resume_accept`].
    pub(crate) fn suspend_accept(&mut self) {
        self.suspended = true;
        let slots: Vec<_> = self.listeners.slots().collect();
        for listener in slots {
            if self.listeners.find(listener).is_some_and(|row| row.armed) {
                self.cancel_accept(listener);
            }
        }
    }

    pub(crate) fn resume_accept(&mut self) {
        self.suspended = false;
        let slots: Vec<_> = self.listeners.slots().collect();
        for listener in slots {
            self.arm_accept(listener);
        }
        while let Some(handed) = self.parked.pop_front() {
            self.begin(handed);
        }
    }

    /// Serves the connection here, or gives it to the least loaded shard.
    fn place(&mut self, handed: Handed) {
        if self.suspended {
            if self.parked.len() < PARKED_MAX {
                self.parked.push_back(handed);
            }
            return;
        }
        let sibling = if handed.settled { None } else { self.lighter_sibling(handed.listener) };
        match sibling {
            Some(sibling) => match self.setup.siblings[sibling].post(handed) {
                Ok(()) => self.counters.shard().add(ShardCounter::HandedOverOut, 1),
                Err(rejected) => self.begin(rejected.into_message()),
            },
            None => self.begin(handed),
        }
    }

    /// The least loaded shard that listens there, if this one has clearly more than its part.
    fn lighter_sibling(&self, listener: ListenerSlot) -> Option<usize> {
        let shards = self.setup.siblings.len();
        if shards == 1 {
            return None;
        }
        let row = self.listeners.find(listener)?;
        // From an address that leaves nothing is handed over: the other shard may have given it back.
        if row.leaving {
            return None;
        }
        let live = self.setup.registry.live();
        let me = self.setup.id.ix();
        let mine = self.conns.len() as u64;
        let (mut least, mut total, mut count) = ((u64::MAX, me), 0, 0);
        for ix in (0..shards).filter(|ix| live >> ix & 1 == 1 && row.is_shared_with(ShardId(*ix as u16))) {
            let load = match ix == me {
                true => mine,
                // What is on its way there counts: a flood is divided within one turn.
                false => {
                    self.setup.pages[ix].shard(ShardCounter::Connections) + self.setup.siblings[ix].waiting() as u64
                }
            };
            total += load;
            count += 1;
            least = least.min((load, ix));
        }
        let ahead = mine * count * 100 > total * LEAD_PERCENT && mine >= least.0 + LEAD_MIN;
        (ahead && least.1 != me).then_some(least.1)
    }

    pub(crate) fn take_handed(&mut self) {
        for _ in 0..self.setup.bounds.handed_over {
            let Some(mut handed) = self.setup.handed.take() else { break };
            let known = self.listeners.find(handed.listener).is_some();
            if !known && !handed.settled {
                // The sender has adopted a generation that we have not. It knows what the address means.
                handed.settled = true;
                let sender = handed.from.ix();
                if self.setup.siblings[sender].post(handed).is_err() {
                    self.counters.shard().add(ShardCounter::AcceptErrors, 1);
                }
                continue;
            }
            if !handed.settled {
                self.counters.shard().add(ShardCounter::HandedOverIn, 1);
                handed.settled = true;
            }
            self.place(handed);
        }
        // Whoever rang may have given back what one of our lines waits for.
        self.rung = true;
    }

    /// A connection enters its life here.
    fn begin(&mut self, handed: Handed) {
        if self.listeners.find(handed.listener).is_none() {
            // The address has left while the connection was on its way back to us; nobody can serve it.
            self.counters.shard().add(ShardCounter::AcceptErrors, 1);
            return;
        }
        let lease = self.adopter.accept(handed.listener);
        let root = self.adopter.root(&lease);
        let slot = root.slot;
        let now = self.now();
        let conn = Conn {
            client: Peer::of(handed.socket.as_fd()),
            front: handed.socket,
            back: None,
            ops: Ops::default(),
            state: State::Seeking,
            pool: slot,
            number: root.number,
            logged: root.policy.access_log,
            lease: Lease::Root(lease),
            endpoint: None,
            pool_permit: false,
            attempts: 0,
            tried: Vec::new(),
            failure: CloseReason::NoBackend,
            accepted_micros: self.now_micros,
            connected_micros: 0,
            touched: now,
            due: Tick(u64::MAX),
            bytes: [0; 2],
            counted: [0; 2],
        };
        self.count_pool(slot, PoolCounter::Accepted, 1);
        match self.conns.insert(conn) {
            Ok(id) => {
                self.count_pool(slot, PoolCounter::Connections, 1);
                // At once and not only at the turn's end: others compare themselves with it.
                self.counters.shard().set(ShardCounter::Connections, self.conns.len() as u64);
                let pool = self.pool_mut(slot);
                pool.connections += 1;
                pool.undecided += 1;
                self.guard(id, Handling::Begin, |shard| shard.admit(id));
            }
            Err(conn) => self.turn_away(conn),
        }
    }
}
