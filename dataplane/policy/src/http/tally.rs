//! How often each rule was met, and when the last time.
//!
//! A [`Tally`] is a rule's: it goes on in the rule that takes its place under the same id, whatever that says, and its cells
//! are free when nothing that runs or leaves has the rule any more. [`Tallies`] gives them out.
//!
//! Each shard writes cells of its own, in cache lines that no other shard writes: no write of a request is shared. A cell is
//! one word, count and minute together, so one store is all that a request costs.
//!
//! Memory: eight bytes a rule and shard, of as many rules as there ever were at a time.

use crate::ids::ShardId;
use crate::tick::Tick;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Cells in a line of the cache, 64 bytes.
const CELLS_A_LINE: usize = 8;

/// Rules whose cells stand together.
const RULES_A_BLOCK: usize = 64;

const LINES_A_ROW: usize = RULES_A_BLOCK / CELLS_A_LINE;

/// Of a cell: the lower bits are the count, which begins again after 10¹² requests.
const COUNT_BITS: u32 = 40;

const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

const MILLIS_A_MINUTE: u64 = 60_000;

#[repr(align(64))]
#[derive(Default)]
struct Line([AtomicU64; CELLS_A_LINE]);

/// One row a shard.
type Block = Arc<[Line]>;

/// A place in a block.
struct Place {
    block: Block,
    ix: u8,
}

/// Places that are free. The lock is taken where rules are compiled and where they are freed, on no shard.
type Free = Mutex<Vec<Place>>;

/// Gives out tallies. Clones give out of the same memory.
#[derive(Clone)]
pub struct Tallies {
    shards: usize,
    free: Arc<Free>,
}

/// What one rule has met. Clones are the same.
#[derive(Clone)]
pub struct Tally {
    block: Block,
    ix: u8,
    /// Gives the place back when the last clone goes.
    _place: Arc<Taken>,
}

struct Taken {
    place: Option<Place>,
    home: Weak<Free>,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tallied {
    /// Requests that met the rule since it is there.
    pub requests: u64,
    /// When the minute of the newest one began. `None`: there was none.
    pub last: Option<Tick>,
}

impl Tallies {
    /// For shards whose ids are below this.
    pub fn new(shards: usize) -> Tallies {
        Tallies { shards, free: Arc::default() }
    }

    /// A tally of nothing.
    pub fn give(&self) -> Tally {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.is_empty() {
            let block: Block = (0..self.shards * LINES_A_ROW).map(|_| Line::default()).collect();
            free.extend((0..RULES_A_BLOCK as u8).rev().map(|ix| Place { block: block.clone(), ix }));
        }
        let Place { block, ix } = free.pop().expect("a block has just come");
        drop(free);
        let taken = Taken { place: Some(Place { block: block.clone(), ix }), home: Arc::downgrade(&self.free) };
        let tally = Tally { block, ix, _place: Arc::new(taken) };
        tally.cells().for_each(|cell| cell.store(0, Ordering::Relaxed));
        tally
    }
}

impl Tally {
    /// A request has met the rule. Called by this shard only, so that nobody else writes its cell.
    #[inline]
    pub fn count(&self, shard: ShardId, now: Tick) {
        let Some(cell) = self.cell(usize::from(shard.0)) else { return };
        let count = (cell.load(Ordering::Relaxed) + 1) & COUNT_MAX;
        cell.store((now.0 / MILLIS_A_MINUTE) << COUNT_BITS | count, Ordering::Relaxed);
    }

    /// Of all shards.
    pub fn read(&self) -> Tallied {
        let cells = self.cells().map(|cell| cell.load(Ordering::Relaxed)).filter(|cell| *cell != 0);
        cells.fold(Tallied::default(), |all, cell| Tallied {
            requests: all.requests + (cell & COUNT_MAX),
            last: all.last.max(Some(Tick((cell >> COUNT_BITS) * MILLIS_A_MINUTE))),
        })
    }

    fn cell(&self, shard: usize) -> Option<&AtomicU64> {
        let ix = usize::from(self.ix);
        Some(&self.block.get(shard * LINES_A_ROW + ix / CELLS_A_LINE)?.0[ix % CELLS_A_LINE])
    }

    fn cells(&self) -> impl Iterator<Item = &AtomicU64> {
        (0..self.block.len() / LINES_A_ROW).filter_map(|shard| self.cell(shard))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let (Some(home), Some(place)) = (self.home.upgrade(), self.place.take()) {
            home.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

impl fmt::Debug for Tallies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tallies").field("shards", &self.shards).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = MILLIS_A_MINUTE;

    #[test]
    fn each_shard_counts_and_all_are_read() {
        let tallies = Tallies::new(2);
        let (a, b) = (tallies.give(), tallies.give());
        assert_eq!(a.read(), Tallied::default());
        a.count(ShardId(0), Tick(3 * MINUTE));
        a.count(ShardId(1), Tick(7 * MINUTE - 1));
        a.clone().count(ShardId(1), Tick(5 * MINUTE));
        assert_eq!(a.read(), Tallied { requests: 3, last: Some(Tick(5 * MINUTE)) });
        assert_eq!(b.read(), Tallied::default());
        // In the very first minute too.
        b.count(ShardId(0), Tick(0));
        assert_eq!(b.read(), Tallied { requests: 1, last: Some(Tick(0)) });
    }

    #[test]
    fn shards_write_no_line_of_each_other() {
        let tallies = Tallies::new(3);
        let all: Vec<Tally> = (0..RULES_A_BLOCK).map(|_| tallies.give()).collect();
        let mut lines = std::collections::HashMap::new();
        for tally in &all {
            for shard in 0..3 {
                let at = std::ptr::from_ref(tally.cell(shard).unwrap()).addr();
                assert_eq!(*lines.entry(at / 64).or_insert(shard), shard);
            }
        }
        assert_eq!(lines.len(), 3 * LINES_A_ROW, "one block, each cell once");
    }

    #[test]
    fn a_place_is_given_again_when_the_last_has_gone_and_begins_with_nothing() {
        let tallies = Tallies::new(1);
        let all: Vec<Tally> = (0..RULES_A_BLOCK).map(|_| tallies.give()).collect();
        let block = Arc::clone(&all[0].block);
        all[5].count(ShardId(0), Tick(0));
        let (kept, ix) = (all[5].clone(), all[5].ix);
        drop(all);
        let again: Vec<Tally> = (1..RULES_A_BLOCK).map(|_| tallies.give()).collect();
        assert!(again.iter().all(|tally| Arc::ptr_eq(&tally.block, &block) && tally.ix != ix));
        drop(kept);
        let last = tallies.give();
        assert!(Arc::ptr_eq(&last.block, &block) && last.ix == ix);
        assert_eq!(last.read(), Tallied::default());
    }
}
