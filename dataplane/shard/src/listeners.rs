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

/// By listener slot.
#[derive(Default)]
pub struct Listeners {
    rows: Vec<Option<Row>>,
}

impl Listeners {
    pub fn find_or_insert(&mut self, listener: ListenerSlot, row: impl FnOnce() -> Row) -> &Row {
        if self.rows.len() <= listener.ix() {
            self.rows.resize_with(listener.ix() + 1, || None);
        }
        self.rows[listener.ix()].get_or_insert_with(row)
    }

    pub fn find(&self, listener: ListenerSlot) -> Option<&Row> {
        self.rows.get(listener.ix())?.as_ref()
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
