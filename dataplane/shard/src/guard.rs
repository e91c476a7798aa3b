//! Panics: a bug in what is done for one connection costs that connection, loudly, and the shard goes on.
//!
//! Guarded is everything done in the name of one connection. What is done in the shard's own name (orders,
//! accepting, handing over) is not: a panic there leaves the shard's own state in doubt, so it costs this incarnation,
//! which is reported, and another one takes the whole root anew.

use crate::conns::ConnId;
use crate::serve::Shard;
use link::counters::ShardCounter;
use policy::close::CloseReason;
use policy::ids::PoolSlot;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a shard does for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handling {
    /// It has come in and is being admitted.
    Begin,
    /// An operation has completed.
    Completion,
    Timer,
    /// One of its directions had used up its part of the last turn.
    Busy,
    /// It is first in its pool's line, and there may be room.
    Line,
    /// It is ended by order.
    Sweep,
}

/// Fault injection: called before each handling of a connection of this pool. If it panics, the handling has.
pub type Fault = fn(Handling, PoolSlot);

impl Shard<'_> {
    /// Does something for one connection, which a panic in it ends.
    pub(crate) fn guard(&mut self, id: ConnId, handling: Handling, handle: impl FnOnce(&mut Self)) {
        let handled = catch_unwind(AssertUnwindSafe(|| {
            if let Some(fault) = self.setup.fault
                && let Some(conn) = self.conns.get_mut(id)
            {
                fault(handling, conn.pool);
            }
            handle(self);
        }));
        if handled.is_err() {
            self.clean_up(id);
        }
    }

    /// A panic in here is one too many: nobody can say what state the shard is in.
    fn clean_up(&mut self, id: ConnId) {
        self.counters.shard().add(ShardCounter::Panics, 1);
        self.performing = false;
        self.ring.recycle_all();
        match self.conns.get_mut(id) {
            Some(conn) if conn.is_over() => self.abandon(id),
            _ => self.end(id, CloseReason::Panicked),
        }
        // What the machines had asked for before the panic.
        self.perform();
    }
}
