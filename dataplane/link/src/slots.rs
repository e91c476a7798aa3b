//! A table indexed by slot that grows while others read it, and never moves what it holds.
//!
//! Slots are dense and bounded; rows come in chunks that are allocated when a slot of theirs is first
//! wanted. Finding a row is two loads and no lock. Nothing is freed before the table is.

use std::sync::OnceLock;

/// Rows per chunk: 16 KiB of endpoint counters, so that a small installation stays small.
const CHUNK_ROWS: usize = 256;

#[derive(Debug)]
pub(crate) struct Slots<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
    slots_max: u32,
}

/// A slot beyond what the table was made for. Control gave it out, so control is to refuse the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotOutOfBounds {
    pub slot: u32,
    /// Slots `0..slots_max` exist.
    pub slots_max: u32,
}

impl std::fmt::Display for SlotOutOfBounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "slot {} is beyond the table's bound of {} slots", self.slot, self.slots_max)
    }
}

impl std::error::Error for SlotOutOfBounds {}

impl<T: Default> Slots<T> {
    pub(crate) fn new(slots_max: u32) -> Slots<T> {
        let chunks = (slots_max as usize).div_ceil(CHUNK_ROWS);
        Slots { chunks: (0..chunks).map(|_| OnceLock::new()).collect(), slots_max }
    }

    /// The row, if its chunk exists.
    #[inline]
    pub(crate) fn find(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        // OnceLock's Acquire load pairs with the Release of whoever allocated the chunk.
        self.chunks.get(slot / CHUNK_ROWS)?.get()?.get(slot % CHUNK_ROWS)
    }

    /// The row; its chunk is allocated if need be.
    pub(crate) fn ensure(&self, slot: u32) -> Result<&T, SlotOutOfBounds> {
        self.within(slot)?;
        let slot = slot as usize;
        let chunk = self.chunks[slot / CHUNK_ROWS].get_or_init(|| {
            let first = slot / CHUNK_ROWS * CHUNK_ROWS;
            // The last chunk ends at the bound.
            let rows = CHUNK_ROWS.min(self.slots_max as usize - first);
            (0..rows).map(|_| T::default()).collect()
        });
        Ok(&chunk[slot % CHUNK_ROWS])
    }

    /// Whether the table was made for this slot.
    pub(crate) fn within(&self, slot: u32) -> Result<(), SlotOutOfBounds> {
        if slot < self.slots_max { Ok(()) } else { Err(SlotOutOfBounds { slot, slots_max: self.slots_max }) }
    }

    /// Every row of every chunk that exists.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().filter_map(OnceLock::get).flat_map(|chunk| chunk.iter())
    }

    /// Bytes allocated for rows so far.
    pub(crate) fn bytes(&self) -> usize {
        self.iter().count() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn miri_a_chunk_exists_from_the_first_slot_that_wants_it() {
        let table = Slots::<AtomicU64>::new(1000);
        assert!(table.find(300).is_none());
        assert_eq!(table.bytes(), 0);
        let row: *const AtomicU64 = table.ensure(300).unwrap();
        assert!(std::ptr::eq(row, table.find(300).unwrap()), "rows must not move");
        assert!(table.find(0).is_none(), "only the wanted chunk exists");
        assert_eq!(table.iter().count(), CHUNK_ROWS);
        assert_eq!(table.bytes(), CHUNK_ROWS * 8);
    }

    #[test]
    fn miri_the_bound_is_exact() {
        let table = Slots::<AtomicU64>::new(1000);
        assert!(table.ensure(999).is_ok());
        assert_eq!(table.iter().count(), 1000 - 3 * CHUNK_ROWS);
        assert!(table.find(1000).is_none());
        assert_eq!(table.ensure(1000).unwrap_err(), SlotOutOfBounds { slot: 1000, slots_max: 1000 });
        assert!(table.find(u32::MAX).is_none());
        assert!(Slots::<AtomicU64>::new(0).ensure(0).is_err());
    }
}
