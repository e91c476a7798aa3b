//! The listening sockets that this shard borrows, and whether it accepts from them.

use link::listen::ListenSocket;
use policy::ids::{ListenerSlot, ShardId};
use std::sync::Arc;

/// One borrowed socket.
pub struct Row {
    pub socket: Arc<ListenSocket>,
    /// Shards that listen there, one bit each.
    shards: u64,
    /// A multishot accept is in flight.
    pub armed: bool,
    /// The accept is being cancelled for good; then the queue is emptied and the socket given back.
    pub closing: bool,
}

impl Row {
    pub fn new(socket: Arc<ListenSocket>, shards: u64) -> Row {
        Row { socket, shards, armed: false, closing: false }
    }

    pub fn is_shared_with(&self, shard: ShardId) -> bool {
        self.shards >> shard.0 & 1 == 1
    }
}

/// An address as a connection remembers it: its slot may be another address's by the time it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CameBy {
    listener: ListenerSlot,
    turn: u16,
}

/// By listener slot.
#[derive(Default)]
pub struct Listeners {
    rows: Vec<Option<Row>>,
    /// How often each slot was used: tells apart what has used it within the life of a connection.
    turns: Vec<u16>,
}

impl Listeners {
    pub fn find_or_insert(&mut self, listener: ListenerSlot, row: impl FnOnce() -> Row) -> &Row {
        if self.rows.len() <= listener.ix() {
            self.rows.resize_with(listener.ix() + 1, || None);
            self.turns.resize(listener.ix() + 1, 0);
        }
        let turn = &mut self.turns[listener.ix()];
        self.rows[listener.ix()].get_or_insert_with(|| {
            *turn = turn.wrapping_add(1);
            row()
        })
    }

    pub fn find(&self, listener: ListenerSlot) -> Option<&Row> {
        self.rows.get(listener.ix())?.as_ref()
    }

    /// What a connection from this address remembers.
    pub fn came_by(&self, listener: ListenerSlot) -> CameBy {
        CameBy { listener, turn: self.turns.get(listener.ix()).copied().unwrap_or_default() }
    }

    /// The slot, if it is that address's still. (Also while nobody uses it.)
    pub fn slot_of(&self, came_by: CameBy) -> Option<ListenerSlot> {
        let CameBy { listener, turn } = came_by;
        (self.turns.get(listener.ix()) == Some(&turn)).then_some(listener)
    }

    pub fn find_mut(&mut self, listener: ListenerSlot) -> Option<&mut Row> {
        self.rows.get_mut(listener.ix())?.as_mut()
    }

    pub fn remove(&mut self, listener: ListenerSlot) {
        if let Some(row) = self.rows.get_mut(listener.ix()) {
            *row = None;
        }
    }

    pub fn slots(&self) -> impl Iterator<Item = ListenerSlot> {
        (0..).map(ListenerSlot).zip(&self.rows).filter(|(_, row)| row.is_some()).map(|(slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::listen::{BindAddress, bind};

    #[test]
    fn who_came_by_an_address_is_not_taken_for_one_of_the_next_in_its_slot() {
        let group = bind(&BindAddress::Ip("127.0.0.1:0".parse().unwrap()), &[0], 1).unwrap();
        let mut listeners = Listeners::default();
        let row = || Row::new(group.socket(0).unwrap().clone(), 1);
        let slot = ListenerSlot(2);
        listeners.find_or_insert(slot, row);
        let first = listeners.came_by(slot);
        listeners.find_or_insert(slot, row);
        assert_eq!(listeners.slot_of(first), Some(slot), "the same socket");
        listeners.remove(slot);
        assert_eq!(listeners.slot_of(first), Some(slot));
        listeners.find_or_insert(slot, row);
        assert_eq!(listeners.slot_of(first), None);
        assert_eq!(listeners.slot_of(listeners.came_by(slot)), Some(slot));
    }
}
