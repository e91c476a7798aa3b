//! Accepting: from the kernel, from a sibling, and where a connection goes.

use crate::conn::{Conn, Lease, Ops, State};
use crate::edge::Edge;
use crate::guard::Handling;
use crate::pools::RowIx;
use crate::ring::Outcome;
use crate::ring::socket::{self, Peer};
use crate::serve::Shard;
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::generation::Service;
use policy::ids::{GroupSlot, ListenerSlot, RootVersion, ShardId};
use policy::tick::Tick;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// An accepted connection on its way to the shard that will serve it. Nothing was read from it.
#[derive(Debug)]
pub struct Handed {
    pub socket: OwnedFd,
    pub listener: ListenerSlot,
    /// Has been handed over once, or came back from a shard that does not know the address: is served where it
    /// is now.
    pub settled: bool,
    pub from: ShardId,
}

/// A shard gives connections away while it has this much more than the mean (1.05 ×), and at least
/// [`LEAD_MIN`] more: with a handful of connections balance is noise and handing over is latency.
const LEAD_PERCENT: u64 = 105;
const LEAD_MIN: u64 = 4;

/// Connections kept that cannot be placed. A suspended shard has cancelled its accepts, so these are only the ones
/// that raced with that or were handed over.
const PARKED_MAX: usize = 4096;

/// After an accept failed, it is tried again when a descriptor comes free, and at the latest after this.
const STARVED: Duration = Duration::from_millis(50);

impl Shard<'_> {
    pub(crate) fn on_accept(&mut self, listener: ListenerSlot, outcome: Outcome, more: bool) {
        let mut pause = false;
        match outcome {
            Outcome::Accepted(socket) => {
                self.counters.shard().add(ShardCounter::Accepted, 1);
                self.place(Handed { socket, listener, settled: false, from: self.setup.id });
            }
            Outcome::Failed(Errno::CANCELED) => {}
            Outcome::Failed(error) => pause = self.accept_failed(error),
            other => unreachable!("an accept ended with {other:?}"),
        }
        if more {
            return;
        }
        let Some(row) = self.listeners.find_mut(listener) else {
            unreachable!("a socket was given back with its accept in flight")
        };
        row.armed = false;
        if pause {
            self.starve(listener);
        } else {
            self.go_on_accepting(listener);
        }
    }

    /// Counts it; `true`: asking again at once would meet the same error.
    fn accept_failed(&mut self, error: Errno) -> bool {
        let counter = match error {
            Errno::MFILE | Errno::NFILE => ShardCounter::DescriptorsExhausted,
            _ => ShardCounter::AcceptErrors,
        };
        self.counters.shard().add(counter, 1);
        error != Errno::CONNABORTED
    }

    /// Whatever this listener does next, as it stands now.
    fn go_on_accepting(&mut self, listener: ListenerSlot) {
        match self.listeners.find(listener) {
            Some(row) if row.closing && !row.armed => self.empty_the_queue(listener),
            Some(_) => self.arm_accept(listener),
            None => {}
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

    /// The kernel is short of descriptors or memory: clients wait in the listener's queue, which is bounded.
    fn starve(&mut self, listener: ListenerSlot) {
        if !self.starved.contains(&listener) {
            self.starved.push(listener);
        }
        self.starved_until = self.now().after(STARVED);
    }

    /// A descriptor has come free: who waits for one need not wait on.
    pub(crate) fn feed_the_starved(&mut self) {
        self.starved_until = self.now();
    }

    /// Tries again to accept where the kernel was short of something.
    pub(crate) fn retry_starved(&mut self) {
        for listener in std::mem::take(&mut self.starved) {
            self.go_on_accepting(listener);
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

    /// Serves what is left in the queue of an address that nothing can join any more, and gives it back.
    ///
    /// Not while suspended: what came out of it before is parked, and when it is served the address must still
    /// lead somewhere. It then goes on with [`Shard::resume_accept`].
    fn empty_the_queue(&mut self, listener: ListenerSlot) {
        if self.suspended {
            return;
        }
        loop {
            let Some(row) = self.listeners.find(listener) else { return };
            match socket::accept_queued(row.socket.fd()) {
                Ok(Some(socket)) => {
                    self.counters.shard().add(ShardCounter::Accepted, 1);
                    self.place(Handed { socket, listener, settled: true, from: self.setup.id });
                }
                Ok(None) => break,
                Err(error) => {
                    self.accept_failed(error);
                    return self.starve(listener);
                }
            }
        }
        // Now and not with the deed that gives it back: until then nothing must come out of it.
        self.listeners.remove(listener);
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
        self.place_the_parked();
        let slots: Vec<_> = self.listeners.slots().collect();
        for listener in slots {
            self.go_on_accepting(listener);
        }
    }

    /// Serves the connection here, gives it to the least loaded shard, or keeps it until one of the two is possible.
    fn place(&mut self, handed: Handed) {
        if self.suspended {
            return self.park(handed);
        }
        if !handed.settled && self.listeners.find(handed.listener).is_none() {
            return self.send_home(handed);
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

    /// The sender knows what the address means; we, perhaps started anew since it looked at us, do not.
    fn send_home(&mut self, mut handed: Handed) {
        let sender = handed.from.ix();
        handed.settled = true;
        if let Err(rejected) = self.setup.siblings[sender].post(handed) {
            // It is behind. So this one waits with us, and perhaps we know the address by then.
            self.park(Handed { settled: false, ..rejected.into_message() });
        }
    }

    fn park(&mut self, handed: Handed) {
        if self.parked.len() < PARKED_MAX {
            self.parked.push_back(handed);
            self.count_connections();
        } else {
            self.counters.shard().add(ShardCounter::AcceptErrors, 1);
        }
    }

    /// Tries again to place those who could not be.
    pub(crate) fn place_the_parked(&mut self) {
        for handed in std::mem::take(&mut self.parked) {
            self.place(handed);
        }
        self.count_connections();
    }

    /// The least loaded shard that may serve it, if this one has clearly more than its part.
    fn lighter_sibling(&self, listener: ListenerSlot) -> Option<usize> {
        let shards = self.setup.siblings.len();
        let row = self.listeners.find(listener).filter(|_| shards > 1)?;
        let live = self.setup.registry.live();
        let me = self.setup.id.ix();
        let mine = self.load_of(me);
        let (mut least, mut total, mut count) = ((u64::MAX, me), 0, 0);
        for ix in (0..shards).filter(|ix| live >> ix & 1 == 1 && row.is_shared_with(ShardId(*ix as u16))) {
            let load = self.load_of(ix);
            total += load;
            count += 1;
            least = least.min((load, ix));
        }
        let ahead = mine * count * 100 > total * LEAD_PERCENT && mine >= least.0 + LEAD_MIN;
        (ahead && least.1 != me && self.may_hand_over(listener, least.1)).then_some(least.1)
    }

    /// Where the root is the same, the address is open.
    fn may_hand_over(&self, listener: ListenerSlot, sibling: usize) -> bool {
        let version = RootVersion(self.setup.pages[sibling].shard(ShardCounter::RootVersion));
        self.adopter.may_hand_over(listener, version)
    }

    /// Connections that a shard has or has been handed: a burst is faster than it takes them. Ours are counted
    /// the same way, else a shard that comes late to a burst keeps what it was handed and its own as well.
    fn load_of(&self, shard: usize) -> u64 {
        let postbox = &self.setup.siblings[shard];
        let on_their_way = postbox.bound() - postbox.free();
        self.setup.pages[shard].shard(ShardCounter::Connections) + on_their_way as u64
    }

    /// Whether all shards together hold what the process has descriptors for. The others are only asked when we hold
    /// our part; shards that ask at the same moment may all let one in, which the descriptors kept aside bear.
    fn all_are_full(&self) -> bool {
        let (bounds, shards) = (&self.setup.bounds, self.setup.siblings.len());
        let held = || (0..shards).map(|ix| self.setup.pages[ix].shard(ShardCounter::Connections)).sum::<u64>();
        self.conns.len() >= bounds.connections_in_all / shards && held() >= bounds.connections_in_all as u64
    }

    pub(crate) fn take_handed(&mut self) {
        for _ in 0..self.setup.bounds.handed_over {
            let Some(mut handed) = self.setup.handed.take() else { break };
            if !handed.settled && self.listeners.find(handed.listener).is_some() {
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
        if !self.adopter.accepts() || self.listeners.find(handed.listener).is_none() {
            // The address has left while the connection was on its way back to us; nobody can serve it.
            self.counters.shard().add(ShardCounter::AcceptErrors, 1);
            return;
        }
        let lease = self.adopter.accept(handed.listener);
        let root = self.adopter.root(&lease);
        let slot = root.slot;
        let carries_requests = matches!(root.service, Service::Http(_));
        let now = self.now();
        let conn = Conn {
            client: Peer::of(handed.socket.as_fd()),
            front: handed.socket,
            back: None,
            ops: Ops::default(),
            state: State::Seeking,
            front_edge: Edge::default(),
            pool: slot,
            came_by: self.listeners.came_by(handed.listener),
            number: root.number,
            logged: root.policy.access_log,
            lease: Lease::Root(lease),
            session: None,
            request: None,
            endpoint: None,
            group: GroupSlot(0),
            row: RowIx::default(),
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
        if self.all_are_full() {
            return self.turn_away(conn);
        }
        match self.conns.insert(conn) {
            Ok(id) => {
                self.count_connections();
                self.count_pool(slot, PoolCounter::Connections, 1);
                let pool = self.pool_mut(slot);
                pool.connections += 1;
                pool.undecided += 1;
                self.guard(id, Handling::Begin, |shard| match shard.overdue {
                    true => shard.end(id, CloseReason::Stopped),
                    false if carries_requests => shard.converse(id),
                    false => shard.admit(id),
                });
            }
            Err(conn) => self.turn_away(conn),
        }
    }
}
