//! Cells that one shard writes and anybody reads: no lock, no read-modify-write, no shared write.
//!
//! One [`CounterPages`] per shard: the shard's own row, and a table of rows for pools and one for endpoints,
//! by slot. Control makes it, keeps an `Arc` to read, and calls `ensure_*` for new slots before a change is
//! sent; the shard claims its [`CounterWriter`], of which there is never more than one.
//!
//! A reader sees each cell whole and soon, but not two cells at the same instant. Totals over shards are the
//! reader's business.
//!
//! Counters only rise, for as long as the process lives: a shard that was restarted claims the same pages
//! and goes on where the dead one stopped, except for its gauges. When a slot changes hands, the shard
//! wipes its row *before* it reports the release, so the next owner starts from zero.
//!
//! Refuses to know: names of pools, how metrics are spelled out.

mod sets;

pub use sets::{Cell, CounterSet, EndpointCounter, Kind, PoolCounter, ShardCounter};

use crate::slots::{SlotOutOfBounds, Slots};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One row of cells. Aligned to the cache line, so that a row touches as few as it can. Rows of one table have one writer, so neighbours need no more distance than that.
#[derive(Debug)]
#[repr(align(64))]
struct Row<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Row<N> {
    fn default() -> Row<N> {
        Row([const { AtomicU64::new(0) }; N])
    }
}

type ShardRow = Row<{ ShardCounter::CELLS }>;
type PoolRow = Row<{ PoolCounter::CELLS }>;
type EndpointRow = Row<{ EndpointCounter::CELLS }>;

// 100,000 endpoints on each of many shards: two cache lines a row.
const _: () = assert!(size_of::<EndpointRow>() == 128);

/// All counters of one shard. Read with [`CounterPages::shard`], [`CounterPages::pool`],
/// [`CounterPages::endpoint`]; write through [`CounterPages::claim`].
///
/// Aligned so that no two shards' own rows share a pair of cache lines, which is what the prefetcher fetches.
#[derive(Debug)]
#[repr(align(128))]
pub struct CounterPages {
    shard: ShardRow,
    pools: Slots<PoolRow>,
    endpoints: Slots<EndpointRow>,
    claimed: AtomicBool,
}

impl CounterPages {
    /// Room for slots `0..pools_max` and `0..endpoints_max`; rows are allocated by `ensure_*`.
    pub fn new(pools_max: u32, endpoints_max: u32) -> Arc<CounterPages> {
        Arc::new(CounterPages {
            shard: ShardRow::default(),
            pools: Slots::new(pools_max),
            endpoints: Slots::new(endpoints_max),
            claimed: AtomicBool::new(false),
        })
    }

    /// Control: makes the rows of a pool's slot exist, so that the shard never allocates for it.
    pub fn ensure_pool(&self, slot: u32) -> Result<(), SlotOutOfBounds> {
        self.pools.ensure(slot).map(|_| ())
    }

    /// As [`CounterPages::ensure_pool`], for an endpoint.
    pub fn ensure_endpoint(&self, slot: u32) -> Result<(), SlotOutOfBounds> {
        self.endpoints.ensure(slot).map(|_| ())
    }

    /// Whether [`CounterPages::ensure_pool`] could.
    pub fn may_have_pool(&self, slot: u32) -> Result<(), SlotOutOfBounds> {
        self.pools.within(slot)
    }

    /// As [`CounterPages::may_have_pool`], for an endpoint.
    pub fn may_have_endpoint(&self, slot: u32) -> Result<(), SlotOutOfBounds> {
        self.endpoints.within(slot)
    }

    /// The right to write. `None` while another writer lives.
    pub fn claim(self: &Arc<Self>) -> Option<CounterWriter> {
        // Acquire pairs with the Release in the last writer's drop: we go on from all that it wrote.
        let taken = self.claimed.swap(true, Ordering::Acquire);
        (!taken).then(|| CounterWriter { pages: self.clone(), not_sync: PhantomData })
    }

    /// A figure of the shard itself.
    pub fn shard(&self, counter: ShardCounter) -> u64 {
        read(&self.shard.0, counter.cell())
    }

    /// A figure of a pool on this shard; 0 where nothing was ever counted.
    pub fn pool(&self, slot: u32, counter: PoolCounter) -> u64 {
        self.pools.find(slot).map_or(0, |row| read(&row.0, counter.cell()))
    }

    /// Connections of a pool that ended on this shard for the reason with this index. Panics at
    /// [`PoolCounter::CLOSE_REASONS_MAX`].
    pub fn pool_closed(&self, slot: u32, reason: usize) -> u64 {
        let cell = PoolCounter::closed(reason);
        self.pools.find(slot).map_or(0, |row| read(&row.0, cell))
    }

    /// As [`CounterPages::pool_closed`], of requests.
    pub fn pool_ended(&self, slot: u32, reason: usize) -> u64 {
        let cell = PoolCounter::ended(reason);
        self.pools.find(slot).map_or(0, |row| read(&row.0, cell))
    }

    /// A figure of an endpoint on this shard; 0 where nothing was ever counted.
    pub fn endpoint(&self, slot: u32, counter: EndpointCounter) -> u64 {
        self.endpoints.find(slot).map_or(0, |row| read(&row.0, counter.cell()))
    }

    /// Memory that these pages hold now.
    pub fn bytes(&self) -> usize {
        size_of::<CounterPages>() + self.pools.bytes() + self.endpoints.bytes()
    }
}

fn read(cells: &[AtomicU64], cell: Cell) -> u64 {
    // Relaxed: one cell says nothing about another.
    cells[cell.ix()].load(Ordering::Relaxed)
}

/// The one writer of a shard's pages. Goes to the shard's thread and stays there; dropping it (also by a
/// panic that ends the thread) lets the next incarnation claim.
///
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<link::counters::CounterWriter>();
/// ```
#[derive(Debug)]
pub struct CounterWriter {
    pages: Arc<CounterPages>,
    /// Two threads writing through one reference would lose counts.
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl CounterWriter {
    /// The shard's own row.
    #[inline]
    pub fn shard(&self) -> RowWriter<'_, ShardCounter> {
        RowWriter::of(&self.pages.shard.0)
    }

    /// The row of a pool's slot.
    #[inline]
    pub fn pool(&self, slot: u32) -> RowWriter<'_, PoolCounter> {
        RowWriter::of(&row_of(&self.pages.pools, slot).0)
    }

    /// The row of an endpoint's slot.
    #[inline]
    pub fn endpoint(&self, slot: u32) -> RowWriter<'_, EndpointCounter> {
        RowWriter::of(&row_of(&self.pages.endpoints, slot).0)
    }

    /// For the reader's side of the same pages.
    pub fn pages(&self) -> &Arc<CounterPages> {
        &self.pages
    }

    /// A new incarnation has none of the dead one's connections: sets every gauge to 0, counters stay.
    pub fn clear_gauges(&self) {
        self.shard().clear_gauges();
        self.pages.pools.iter().for_each(|row| RowWriter::<PoolCounter>::of(&row.0).clear_gauges());
        self.pages.endpoints.iter().for_each(|row| RowWriter::<EndpointCounter>::of(&row.0).clear_gauges());
    }
}

impl Drop for CounterWriter {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `CounterPages::claim`.
        self.pages.claimed.store(false, Ordering::Release);
    }
}

#[inline]
fn row_of<const N: usize>(table: &Slots<Row<N>>, slot: u32) -> &Row<N> {
    match table.find(slot) {
        Some(row) => row,
        None => row_not_ensured(table, slot),
    }
}

/// Control ensures rows before it sends a slot. Should it ever forget, the shard pays an allocation rather
/// than lose a count; a slot beyond the bound is a bug.
#[cold]
fn row_not_ensured<const N: usize>(table: &Slots<Row<N>>, slot: u32) -> &Row<N> {
    table.ensure(slot).unwrap_or_else(|error| panic!("counting for a slot that cannot exist: {error}"))
}

/// Writes one row. Cheap to make: keep it for the length of an event, not longer.
///
/// ```compile_fail,E0277
/// fn sent_to_another_thread<T: Send>() {}
/// sent_to_another_thread::<link::counters::RowWriter<link::counters::ShardCounter>>();
/// ```
#[derive(Debug)]
pub struct RowWriter<'row, C> {
    cells: &'row [AtomicU64],
    /// Writes what `C` names. Neither Send nor Sync: it must not be where its `CounterWriter` is not.
    set: PhantomData<(C, *const ())>,
}

impl<'row, C: CounterSet> RowWriter<'row, C> {
    #[inline]
    fn of(cells: &'row [AtomicU64]) -> RowWriter<'row, C> {
        debug_assert_eq!(cells.len(), C::CELLS);
        RowWriter { cells, set: PhantomData }
    }

    /// Counters and gauges.
    #[inline]
    pub fn add(&self, counter: C, n: u64) {
        let cell = &self.cells[counter.cell().ix()];
        // A load and a store, no read-modify-write: nobody else writes this cell.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Gauges only: what was added and is gone.
    #[inline]
    pub fn sub(&self, gauge: C, n: u64) {
        debug_assert_eq!(gauge.kind(), Kind::Gauge, "a counter never falls");
        let cell = &self.cells[gauge.cell().ix()];
        let value = cell.load(Ordering::Relaxed);
        debug_assert!(value >= n, "{}: taking {n} from {value}", gauge.metric());
        cell.store(value.saturating_sub(n), Ordering::Relaxed);
    }

    /// Gauges only: as it is now.
    #[inline]
    pub fn set(&self, gauge: C, value: u64) {
        debug_assert_eq!(gauge.kind(), Kind::Gauge, "a counter is added to");
        self.cells[gauge.cell().ix()].store(value, Ordering::Relaxed);
    }

    /// Gauges only: a high-water mark.
    #[inline]
    pub fn raise(&self, gauge: C, value: u64) {
        debug_assert_eq!(gauge.kind(), Kind::Gauge, "a counter is added to");
        let cell = &self.cells[gauge.cell().ix()];
        if cell.load(Ordering::Relaxed) < value {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// The writer's own view of a cell: exact.
    #[inline]
    pub fn value(&self, counter: C) -> u64 {
        read(self.cells, counter.cell())
    }

    /// The slot changes hands: everything back to 0. Before the shard reports the release, so that no
    /// reader meets the old figures under the new owner's name.
    pub fn wipe(&self) {
        self.cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
    }

    fn clear_gauges(&self) {
        C::ALL.iter().filter(|counter| counter.kind() == Kind::Gauge).for_each(|gauge| self.set(*gauge, 0));
    }
}

impl RowWriter<'_, PoolCounter> {
    /// A connection ended for the reason with this index. Panics at [`PoolCounter::CLOSE_REASONS_MAX`].
    #[inline]
    pub fn closed(&self, reason: usize) {
        self.count(PoolCounter::closed(reason));
    }

    /// A request ended for the reason with this index.
    #[inline]
    pub fn ended(&self, reason: usize) {
        self.count(PoolCounter::ended(reason));
    }

    #[inline]
    fn count(&self, cell: Cell) {
        let cell = &self.cells[cell.ix()];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miri_what_is_written_is_read() {
        let pages = CounterPages::new(10, 1000);
        let writer = pages.claim().unwrap();
        pages.ensure_pool(3).unwrap();
        pages.ensure_endpoint(999).unwrap();

        writer.shard().add(ShardCounter::Accepted, 2);
        writer.pool(3).add(PoolCounter::BytesIn, 1 << 40);
        writer.pool(3).closed(31);
        writer.endpoint(999).add(EndpointCounter::Connections, 3);
        writer.endpoint(999).sub(EndpointCounter::Connections, 1);
        writer.shard().raise(ShardCounter::PauseMaxMicros, 9);
        writer.shard().raise(ShardCounter::PauseMaxMicros, 4);

        assert_eq!(pages.shard(ShardCounter::Accepted), 2);
        assert_eq!(pages.pool(3, PoolCounter::BytesIn), 1 << 40);
        assert_eq!(pages.pool_closed(3, 31), 1);
        assert_eq!(pages.pool_closed(3, 30), 0);
        assert_eq!(pages.endpoint(999, EndpointCounter::Connections), 2);
        assert_eq!(pages.shard(ShardCounter::PauseMaxMicros), 9);
        assert_eq!(pages.endpoint(998, EndpointCounter::Connections), 0, "a neighbour in the same chunk");
        assert_eq!(pages.endpoint(5, EndpointCounter::Connections), 0, "a chunk that does not exist");
        assert_eq!(pages.pool(u32::MAX, PoolCounter::Accepted), 0);
    }

    #[test]
    fn miri_there_is_one_writer_at_a_time() {
        let pages = CounterPages::new(1, 1);
        let writer = pages.claim().unwrap();
        assert!(pages.claim().is_none());
        drop(writer);
        assert!(pages.claim().is_some());
    }

    #[test]
    fn miri_a_shard_that_comes_back_keeps_counters_and_loses_gauges() {
        let pages = CounterPages::new(1, 1);
        let first = pages.claim().unwrap();
        let died = std::thread::spawn(move || {
            first.shard().add(ShardCounter::Accepted, 7);
            first.shard().add(ShardCounter::Connections, 7);
            first.pool(0).add(PoolCounter::Connections, 7);
            first.pool(0).closed(1);
            first.endpoint(0).add(EndpointCounter::Connections, 7);
            panic!("the executor's thread ends");
        });
        assert!(died.join().is_err());

        let second = pages.claim().expect("unwinding gives the writer back");
        second.clear_gauges();
        second.shard().add(ShardCounter::Accepted, 1);
        assert_eq!(pages.shard(ShardCounter::Accepted), 8);
        assert_eq!(pages.shard(ShardCounter::Connections), 0);
        assert_eq!(pages.pool(0, PoolCounter::Connections), 0);
        assert_eq!(pages.pool_closed(0, 1), 1);
        assert_eq!(pages.endpoint(0, EndpointCounter::Connections), 0);
    }

    #[test]
    fn miri_a_wiped_row_starts_from_zero_and_leaves_its_neighbour() {
        let pages = CounterPages::new(2, 1);
        let writer = pages.claim().unwrap();
        for slot in [0, 1] {
            writer.pool(slot).add(PoolCounter::Accepted, 5);
            writer.pool(slot).closed(0);
        }
        writer.pool(0).wipe();
        assert_eq!((pages.pool(0, PoolCounter::Accepted), pages.pool_closed(0, 0)), (0, 0));
        assert_eq!((pages.pool(1, PoolCounter::Accepted), pages.pool_closed(1, 0)), (5, 1));
    }

    #[test]
    fn miri_readers_see_counters_rise_only() {
        const ROUNDS: u64 = if cfg!(miri) { 200 } else { 100_000 };
        let pages = CounterPages::new(1, 1);
        let writer = pages.claim().unwrap();
        let counting = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                writer.shard().add(ShardCounter::LoopTurns, 1);
            }
        });
        let mut last = 0;
        while last < ROUNDS {
            let now = pages.shard(ShardCounter::LoopTurns);
            assert!(now >= last, "{now} after {last}");
            last = now;
            std::thread::yield_now();
        }
        counting.join().unwrap();
        assert_eq!(pages.shard(ShardCounter::LoopTurns), ROUNDS);
    }

    #[test]
    fn miri_a_slot_that_was_not_ensured_is_counted_and_one_beyond_the_bound_is_a_bug() {
        let pages = CounterPages::new(4, 4);
        let writer = pages.claim().unwrap();
        writer.pool(2).add(PoolCounter::Accepted, 1);
        assert_eq!(pages.pool(2, PoolCounter::Accepted), 1);
        let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writer.pool(4).add(PoolCounter::Accepted, 1);
        }));
        assert!(beyond.is_err());
    }
}
