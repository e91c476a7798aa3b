//! The table of connections: a slab whose slots remember how often they were used, so that a completion or
//! a timer of a former user is recognised and ignored.

use crate::conn::Conn;
use crate::ring::GENERATION_MASK;

/// One connection, for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    pub index: u32,
    pub generation: u32,
}

#[allow(clippy::large_enum_variant, reason = "the table is of connections; a slot is free only in between")]
enum Slot {
    Used(Conn),
    /// Index of the next free slot, or [`END`].
    Free {
        next: u32,
    },
}

const END: u32 = u32::MAX;

/// See the module. Never holds more than its bound and never moves to grow: its memory is reserved at start
/// and touched on first use.
pub struct Conns {
    slots: Vec<(u32, Slot)>,
    free: u32,
    live: usize,
    bound: usize,
}

impl Conns {
    pub fn new(bound: usize) -> Conns {
        Conns { slots: Vec::with_capacity(bound), free: END, live: 0, bound }
    }

    /// Gives the connection back when the table is full.
    #[allow(clippy::result_large_err, reason = "a box would be an allocation per accepted connection")]
    pub fn insert(&mut self, conn: Conn) -> Result<ConnId, Conn> {
        let index = match self.free {
            END if self.slots.len() == self.bound => return Err(conn),
            END => {
                self.slots.push((0, Slot::Used(conn)));
                self.slots.len() as u32 - 1
            }
            index => {
                let (generation, slot) = &mut self.slots[index as usize];
                let Slot::Free { next } = *slot else { unreachable!("a used slot on the free list") };
                self.free = next;
                *generation = (*generation + 1) & GENERATION_MASK;
                *slot = Slot::Used(conn);
                index
            }
        };
        self.live += 1;
        Ok(ConnId { index, generation: self.slots[index as usize].0 })
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        match self.slots.get_mut(id.index as usize) {
            Some((generation, Slot::Used(conn))) if *generation == id.generation => Some(conn),
            _ => None,
        }
    }

    /// Takes the connection out and frees its slot.
    pub fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get_mut(id)?;
        let (_, slot) = &mut self.slots[id.index as usize];
        let Slot::Used(conn) = std::mem::replace(slot, Slot::Free { next: self.free }) else { unreachable!() };
        self.free = id.index;
        self.live -= 1;
        Some(conn)
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Slots that were ever used: the range to walk for a sweep.
    pub fn span(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whoever uses this slot now.
    pub fn at(&mut self, index: u32) -> Option<(ConnId, &mut Conn)> {
        match self.slots.get_mut(index as usize) {
            Some((generation, Slot::Used(conn))) => Some((ConnId { index, generation: *generation }, conn)),
            _ => None,
        }
    }
}
