//! The table of upstream connections that carry requests: who has each one, and what the ring has told of it.
//!
//! An upstream connection is watched from its connect to its close, whoever uses it in between; so the ring knows it by a
//! number of its own. Its descriptor is where it is used: with the connection whose request it carries, or among the idle ones.
//!
//! ```text
//!   joined ─▶ Used ◀──▶ Idle
//!               └───┬─────┘
//!                Leaving ─▶ free, when the ring has told its last
//! ```

use crate::conns::ConnId;
use crate::edge::Edge;
use crate::ring::{GENERATION_MASK, Key};
use policy::ids::EndpointSlot;

/// One upstream connection, for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UpstreamId {
    index: u32,
    generation: u32,
}

impl UpstreamId {
    pub fn key(self, tag: u8) -> Key {
        Key { index: self.index, generation: self.generation, tag }
    }

    pub fn of(key: Key) -> UpstreamId {
        UpstreamId { index: key.index, generation: key.generation }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum User {
    /// Carries a request of this connection.
    Conn(ConnId),
    Idle(EndpointSlot),
    /// Closed for us; the ring has not told its last.
    Leaving,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    pub user: User,
    pub edge: Edge,
}

/// Bounded by descriptors: one entry for each upstream connection, and for those closed within the turn.
#[derive(Default)]
pub(crate) struct Upstreams {
    slots: Vec<(u32, Option<Upstream>)>,
    free: Vec<u32>,
}

impl Upstreams {
    /// A new connection, with nothing to read yet.
    pub fn join(&mut self, conn: ConnId) -> UpstreamId {
        let upstream = Upstream { user: User::Conn(conn), edge: Edge::default() };
        match self.free.pop() {
            Some(index) => {
                let (generation, slot) = &mut self.slots[index as usize];
                *generation = (*generation + 1) & GENERATION_MASK;
                *slot = Some(upstream);
                UpstreamId { index, generation: *generation }
            }
            None => {
                self.slots.push((0, Some(upstream)));
                UpstreamId { index: self.slots.len() as u32 - 1, generation: 0 }
            }
        }
    }

    pub fn find_mut(&mut self, id: UpstreamId) -> Option<&mut Upstream> {
        match self.slots.get_mut(id.index as usize) {
            Some((generation, Some(upstream))) if *generation == id.generation => Some(upstream),
            _ => None,
        }
    }

    /// The ring has told its last of it.
    pub fn forget(&mut self, id: UpstreamId) {
        if self.find_mut(id).is_some() {
            self.slots[id.index as usize].1 = None;
            self.free.push(id.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_not_mistaken_for_its_successor() {
        let conn = ConnId { index: 7, generation: 1 };
        let mut table = Upstreams::default();
        let first = table.join(conn);
        table.forget(first);
        table.forget(first);
        let second = table.join(conn);
        assert_ne!(first, second);
        assert!(table.find_mut(first).is_none());
        assert_eq!(table.find_mut(second).map(|upstream| upstream.user), Some(User::Conn(conn)));
        assert_ne!(table.join(conn), second);
        assert_eq!(UpstreamId::of(second.key(28)), second);
    }
}
