//! A bounded queue from many posters to one receiver, with a doorbell.
//!
//! Carries orders from control to a shard, reports from shards to control, accepted descriptors from shard
//! to shard. A crossbeam channel holds the messages; [`crate::doorbell`] holds the wake-up and says why
//! none is lost. Posting never blocks: a full queue gives the message back.
//!
//! The receiver's side, whatever it waits in (a shard's ring, tokio's `AsyncFd`, `poll`):
//!
//! ```text
//! loop {
//!     wait until mailbox.doorbell() is readable
//!     mailbox.hush();                                       // or the ring has read the eight bytes
//!     while let Some(message) = mailbox.take() { .. }       // until `None`
//! }
//! ```
//!
//! A receiver that is busy with something else looks at [`Mailbox::pending`] in between and takes without
//! hushing; the doorbell then wakes it once for nothing. One that stops before `None` finds `pending` still
//! true, and must not sleep.

use crate::doorbell::Doorbell;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::io;
use std::sync::Arc;

/// Makes a mailbox for at most `bound` messages. Fails when no descriptor is free for the doorbell.
///
/// Panics if `bound` is 0: a queue that can hold nothing would refuse every message.
pub fn mailbox<T>(bound: usize) -> io::Result<(Postbox<T>, Mailbox<T>)> {
    assert!(bound > 0, "a mailbox must hold at least one message");
    let (sender, receiver) = crossbeam_channel::bounded(bound);
    let doorbell = Arc::new(Doorbell::new()?);
    Ok((
        Postbox {
            queue: sender,
            doorbell: doorbell.clone(),
            bound,
        },
        Mailbox {
            queue: receiver,
            doorbell,
            taking: false,
        },
    ))
}

/// The posters' end.
#[derive(Debug)]
pub struct Postbox<T> {
    queue: Sender<T>,
    doorbell: Arc<Doorbell>,
    bound: usize,
}

impl<T> Postbox<T> {
    /// Puts a message into the queue and wakes the receiver unless it is awake. Never blocks.
    pub fn post(&self, message: T) -> Result<(), Rejected<T>> {
        match self.queue.try_send(message) {
            Ok(()) => {
                self.doorbell.ring();
                Ok(())
            }
            // Whoever filled the queue has rung, or is about to.
            Err(TrySendError::Full(message)) => Err(Rejected::Full(message)),
            Err(TrySendError::Disconnected(message)) => Err(Rejected::Closed(message)),
        }
    }

    /// Wakes the receiver without a message, so that it looks at what it waits for.
    pub fn ring(&self) {
        self.doorbell.ring();
    }

    /// Messages that would fit now. A hint: other posters may be faster.
    pub fn free(&self) -> usize {
        self.bound - self.queue.len().min(self.bound)
    }

    /// Most messages that can wait.
    pub fn bound(&self) -> usize {
        self.bound
    }
}

impl<T> Clone for Postbox<T> {
    fn clone(&self) -> Postbox<T> {
        Postbox {
            queue: self.queue.clone(),
            doorbell: self.doorbell.clone(),
            bound: self.bound,
        }
    }
}

/// Why a message was not posted. It comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected<T> {
    /// The receiver is `bound` messages behind.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> Rejected<T> {
    /// The message that was not posted.
    pub fn into_message(self) -> T {
        match self {
            Rejected::Full(message) | Rejected::Closed(message) => message,
        }
    }
}

impl<T> std::fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejected::Full(_) => f.write_str("the mailbox is full"),
            Rejected::Closed(_) => f.write_str("the receiver is gone"),
        }
    }
}

/// The receiver's end. When it is dropped, so are the messages that wait, and posting says `Closed`.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Receiver<T>,
    doorbell: Arc<Doorbell>,
    /// The flag has been lowered and the queue not been seen empty since.
    taking: bool,
}

impl<T> Mailbox<T> {
    /// Whether there is something to take, or somebody rang. One relaxed load, to be read between events.
    #[inline]
    pub fn pending(&self) -> bool {
        self.taking || self.doorbell.pending()
    }

    /// The next message. `None`: the queue was seen empty after the flag was lowered, so whoever posts from
    /// now on rings, and it is safe to sleep on the doorbell.
    pub fn take(&mut self) -> Option<T> {
        if !self.taking {
            self.doorbell.lower();
            self.taking = true;
        }
        // Both errors mean empty; that no poster is left is nothing a receiver acts on.
        let message = self.queue.try_recv().ok();
        self.taking = message.is_some();
        message
    }

    /// Hands over at most `max` messages and says how many. With `max` reached, [`Mailbox::pending`] stays true.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        for taken in 0..max {
            match self.take() {
                Some(message) => each(message),
                None => return taken,
            }
        }
        max
    }

    /// Makes the doorbell unreadable again. Call before [`Mailbox::take`], after the doorbell was readable;
    /// not needed where the receiver's ring reads the doorbell.
    pub fn hush(&self) {
        self.doorbell.hush();
    }

    /// An eventfd (non-blocking, close-on-exec): poll it, or read its eight bytes.
    #[cfg(not(any(loom, miri)))]
    pub fn doorbell(&self) -> std::os::fd::BorrowedFd<'_> {
        self.doorbell.fd()
    }
}

/// For `tokio::io::unix::AsyncFd`, which asks for a raw descriptor.
#[cfg(not(any(loom, miri)))]
impl<T> std::os::fd::AsRawFd for Mailbox<T> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.doorbell.fd())
    }
}
