//! Connections that outlast a request, by pool.
//!
//! Between two requests such a connection leases nothing: its next request reads whatever the pool means by then. It
//! may outlive its pool, so while there are any the pool's last root is kept for them: the request that is on its way
//! when the pool goes is served, and told that it was the last.

use super::roots::RootLease;
use crate::ids::PoolSlot;

/// The hold of a connection on its pool between and during requests. Given back with
/// [`Adopter::part`](super::Adopter::part), or traded for a tunnel's lease with
/// [`Adopter::upgrade`](super::Adopter::upgrade).
#[derive(Debug)]
#[must_use = "a session that is dropped counts for ever"]
pub struct Session {
    pool: PoolSlot,
}

impl Session {
    pub fn pool(&self) -> PoolSlot {
        self.pool
    }
}

/// By pool slot.
#[derive(Default)]
pub struct Sessions {
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    open: u32,
    /// The pool's last root, once the pool is gone.
    last: Option<RootLease>,
}

impl Sessions {
    pub fn begin(&mut self, pool: PoolSlot) -> Session {
        if self.rows.len() <= pool.ix() {
            self.rows.resize_with(pool.ix() + 1, Row::default);
        }
        self.rows[pool.ix()].open += 1;
        Session { pool }
    }

    /// Answers with the pool's last root if this was the last session that needed it.
    pub fn end(&mut self, session: Session) -> Option<RootLease> {
        let row = &mut self.rows[session.pool.ix()];
        row.open -= 1;
        if row.open == 0 { row.last.take() } else { None }
    }

    pub fn last(&self, pool: PoolSlot) -> Option<&RootLease> {
        self.rows.get(pool.ix())?.last.as_ref()
    }

    /// The pool is about to go: its sessions keep a lease on its root.
    pub fn outlive(&mut self, pool: PoolSlot, lease: impl FnOnce() -> Option<RootLease>) {
        if let Some(row) = self.rows.get_mut(pool.ix())
            && row.open > 0
            && row.last.is_none()
        {
            row.last = lease();
        }
    }

    /// The pool is there again: its sessions follow it.
    pub fn follow(&mut self, pool: PoolSlot) -> Option<RootLease> {
        self.rows.get_mut(pool.ix())?.last.take()
    }

    /// Slots with sessions.
    pub fn pools(&self) -> impl Iterator<Item = PoolSlot> {
        (0..).map(PoolSlot).zip(&self.rows).filter(|(_, row)| row.open > 0).map(|(slot, _)| slot)
    }

    pub fn check_invariants(&self) {
        for (slot, row) in (0..).map(PoolSlot).zip(&self.rows) {
            assert!(row.open > 0 || row.last.is_none(), "pool {slot}: a root is kept for sessions that there are not");
        }
    }
}
