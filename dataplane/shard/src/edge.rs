//! What is known of a socket whose edges the ring tells: whether reading it is worth a system call.

use crate::ring::socket::READABLE;
use crate::ring::{Outcome, Ring};
use rustix::event::PollFlags;
use std::os::fd::BorrowedFd;

/// Whether something may be there. Only a read that found nothing more takes it back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Edge {
    ready: bool,
    /// The end, or an error, is behind what is still to be read, and no other edge will tell.
    last: bool,
}

impl Edge {
    pub fn note(&mut self, flags: PollFlags) {
        self.ready |= flags.intersects(READABLE | PollFlags::HUP | PollFlags::ERR);
        self.last |= flags.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
    }

    pub fn is_ready(self) -> bool {
        self.ready
    }

    /// Reads what is there, if anything is. As [`Ring::read`].
    pub fn read(&mut self, ring: &mut Ring, socket: BorrowedFd<'_>, at_most: usize) -> Option<Outcome> {
        if !self.ready {
            return None;
        }
        let outcome = ring.read(socket, at_most);
        match &outcome {
            None => self.found_nothing(),
            // Less than was asked for: that was all, and the next bytes are another edge.
            Some(Outcome::Received(chunk)) if !chunk.more_waiting => self.drained(),
            Some(_) => {}
        }
        outcome
    }

    /// The socket said itself that nothing is there, its end included.
    pub fn found_nothing(&mut self) {
        *self = Edge::default();
    }

    /// All bytes that were there have been read.
    fn drained(&mut self) {
        self.ready = self.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_gone_and_an_end_is_not() {
        let mut edge = Edge::default();
        assert!(!edge.is_ready());
        edge.note(PollFlags::IN);
        assert!(edge.is_ready());
        edge.drained();
        assert!(!edge.is_ready());
        // Bytes and the end come as one edge; after the bytes the end is still to be read.
        edge.note(PollFlags::IN | PollFlags::RDHUP);
        edge.drained();
        assert!(edge.is_ready());
        edge.found_nothing();
        assert!(!edge.is_ready());
    }

    #[test]
    fn room_to_write_is_nothing_to_read() {
        let mut edge = Edge::default();
        edge.note(PollFlags::OUT);
        assert!(!edge.is_ready());
        edge.note(PollFlags::ERR);
        assert!(edge.is_ready());
    }
}
