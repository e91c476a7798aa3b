//! A bounded queue from many posters to one receiver, with a doorbell.
//!
//! Carries orders from control to a shard, reports from shards to control, accepted descriptors from shard
//! to shard. A crossbeam channel holds the messages; [`crate::doorbell`] holds the wake-up and says why
//! none is lost. Posting never blocks: a full queue gives the message back. Taking waits for no thread but
//! one that is in the middle of posting; should it be preempted there, the receiver yields to it.
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
use crate::sync::{AtomicBool, Ordering, fence};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::io;
use std::sync::Arc;

/// Makes a mailbox for at most `bound` messages. Fails when no descriptor is free for the doorbell.
///
/// Panics if `bound` is 0: a queue that can hold nothing would refuse every message.
pub fn mailbox<T>(bound: usize) -> io::Result<(Postbox<T>, Mailbox<T>)> {
    assert!(bound > 0, "a mailbox must hold at least one message");
    let (sender, receiver) = crossbeam_channel::bounded(bound);
    let shared = Arc::new(Shared { doorbell: Doorbell::new()?, closed: AtomicBool::new(false), queue: receiver });
    Ok((Postbox { queue: sender, shared: shared.clone(), bound }, Mailbox { shared, taking: false }))
}

/// What both ends need.
///
/// The channel's receiving end is here, and not with the mailbox alone, because crossbeam keeps messages that
/// nobody will take until the last sender goes. An accepted connection in the mailbox of a dead shard
/// must be closed now, not when the process ends.
#[derive(Debug)]
struct Shared<T> {
    doorbell: Doorbell,
    closed: AtomicBool,
    queue: Receiver<T>,
}

impl<T> Shared<T> {
    fn discard_all(&self) {
        while self.queue.try_recv().is_ok() {}
    }
}

/// The posters' end.
#[derive(Debug)]
pub struct Postbox<T> {
    queue: Sender<T>,
    shared: Arc<Shared<T>>,
    bound: usize,
}

impl<T> Postbox<T> {
    /// Puts a message into the queue and wakes the receiver unless it is awake. Never blocks. A receiver
    /// that goes at this moment drops the message, as if it had gone just after.
    pub fn post(&self, message: T) -> Result<(), Rejected<T>> {
        // Relaxed: only spares the way into the queue; the look below is the one that counts.
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(Rejected::Closed(message));
        }
        match self.queue.try_send(message) {
            Ok(()) => {}
            // Whoever filled the queue has rung, or is about to.
            Err(TrySendError::Full(message)) => return Err(Rejected::Full(message)),
            Err(TrySendError::Disconnected(_)) => {
                unreachable!("we hold the receiving end ourselves")
            }
        }
        // Begins with a fence, which pairs with the one in the mailbox's drop: either that sees our message, or
        // we see `closed` here.
        self.shared.doorbell.ring();
        if self.shared.closed.load(Ordering::Relaxed) {
            self.shared.discard_all();
        }
        Ok(())
    }

    /// Wakes the receiver without a message, so that it looks at what it waits for.
    pub fn ring(&self) {
        self.shared.doorbell.ring();
    }

    /// Messages that wait now. A hint: it changes while it is read.
    pub fn waiting(&self) -> usize {
        self.queue.len()
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
        Postbox { queue: self.queue.clone(), shared: self.shared.clone(), bound: self.bound }
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
    shared: Arc<Shared<T>>,
    /// The flag has been lowered and the queue not been seen empty since.
    taking: bool,
}

impl<T> Mailbox<T> {
    /// Whether there is something to take, or somebody rang. One relaxed load, to be read between events.
    #[inline]
    pub fn pending(&self) -> bool {
        self.taking || self.shared.doorbell.pending()
    }

    /// The next message. `None`: the queue was seen empty after the flag was lowered, so whoever posts from
    /// now on rings, and it is safe to sleep on the doorbell.
    pub fn take(&mut self) -> Option<T> {
        if !self.taking {
            self.shared.doorbell.lower();
            self.taking = true;
        }
        // Both errors mean empty; that no poster is left is nothing a receiver acts on.
        let message = self.shared.queue.try_recv().ok();
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
        self.shared.doorbell.hush();
    }

    /// An eventfd (non-blocking, close-on-exec): poll it, or read its eight bytes.
    #[cfg(not(any(loom, miri)))]
    pub fn doorbell(&self) -> std::os::fd::BorrowedFd<'_> {
        self.shared.doorbell.fd()
    }
}

/// For `tokio::io::unix::AsyncFd`, which asks for a raw descriptor.
#[cfg(not(any(loom, miri)))]
impl<T> std::os::fd::AsRawFd for Mailbox<T> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.shared.doorbell.fd())
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Postbox::post`'s ring.
        fence(Ordering::SeqCst);
        self.shared.discard_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn miri_messages_arrive_in_order_and_the_bound_holds() {
        let (postbox, mut mailbox) = mailbox(3).unwrap();
        for message in 0..3 {
            assert_eq!(postbox.free(), 3 - message);
            postbox.post(message).unwrap();
        }
        assert_eq!(postbox.post(3), Err(Rejected::Full(3)));
        assert!(mailbox.pending());
        assert_eq!(std::iter::from_fn(|| mailbox.take()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!mailbox.pending());
        assert_eq!(postbox.free(), 3);
        assert!(postbox.post(4).is_ok());
    }

    #[test]
    fn miri_a_receiver_that_stops_early_is_still_pending() {
        let (postbox, mut mailbox) = mailbox(8).unwrap();
        (0..4).for_each(|message| postbox.post(message).unwrap());
        let mut taken = Vec::new();
        assert_eq!(mailbox.drain(3, |message| taken.push(message)), 3);
        assert!(mailbox.pending(), "one message is left");
        assert_eq!(mailbox.drain(3, |message| taken.push(message)), 1);
        assert!(!mailbox.pending());
        assert_eq!(taken, [0, 1, 2, 3]);
        assert_eq!(mailbox.drain(3, |message| taken.push(message)), 0);
    }

    #[test]
    fn miri_what_was_posted_before_the_last_postbox_went_is_received() {
        let (postbox, mut mailbox) = mailbox(8).unwrap();
        let second = postbox.clone();
        postbox.post(1).unwrap();
        drop(postbox);
        second.post(2).unwrap();
        drop(second);
        assert!(mailbox.pending());
        assert_eq!((mailbox.take(), mailbox.take(), mailbox.take()), (Some(1), Some(2), None));
        assert!(!mailbox.pending());
    }

    #[test]
    fn miri_messages_of_a_dropped_mailbox_are_dropped_and_posting_says_closed() {
        let (postbox, mailbox) = mailbox(8).unwrap();
        let message = Arc::new(());
        postbox.post(message.clone()).unwrap();
        drop(mailbox);
        assert_eq!(Arc::strong_count(&message), 1);
        let rejected = postbox.post(message.clone()).unwrap_err();
        assert!(matches!(rejected, Rejected::Closed(_)));
        assert!(Arc::ptr_eq(&rejected.into_message(), &message));
        postbox.ring();
    }

    #[test]
    fn miri_a_ring_without_a_message_wakes_once() {
        let (postbox, mut mailbox) = mailbox::<()>(1).unwrap();
        postbox.ring();
        assert!(mailbox.pending());
        mailbox.shared.doorbell.sleep();
        mailbox.hush();
        assert_eq!(mailbox.take(), None);
        assert!(!mailbox.pending());
    }

    /// Three posters against a receiver that sleeps whenever it may; a lost wake-up is a sleep past its deadline.
    #[test]
    fn miri_everything_arrives_once_and_in_each_posters_order() {
        const POSTERS: usize = 3;
        const EACH: u32 = if cfg!(miri) { 40 } else { 20_000 };
        let (postbox, mut mailbox) = mailbox::<(usize, u32)>(16).unwrap();
        let posters: Vec<_> = (0..POSTERS)
            .map(|poster| {
                let postbox = postbox.clone();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        let mut message = (poster, number);
                        while let Err(rejected) = postbox.post(message) {
                            message = rejected.into_message();
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; POSTERS];
        while next.iter().sum::<u32>() < POSTERS as u32 * EACH {
            mailbox.shared.doorbell.sleep();
            mailbox.hush();
            while let Some((poster, number)) = mailbox.take() {
                assert_eq!(number, next[poster]);
                next[poster] += 1;
            }
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert_eq!(mailbox.take(), None);
    }
}

/// The real mailbox under loom. The channel inside is not loom's, so loom sees it as one step that
/// is always in order; what is explored is everything round it. The doorbell's own models assume no
/// order at all.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;
    use loom::thread;

    /// Two posters; `rest` says what the receiver does between two looks into its mailbox.
    fn everything_arrives_once(most_at_once: usize, rest: fn(&Mailbox<u8>)) {
        explore(move || {
            let (postbox, mut mailbox) = mailbox(4).unwrap();
            let posters = [&[1, 2][..], &[3][..]].map(|messages| {
                let postbox = postbox.clone();
                // The postbox is dropped at the end of its thread, perhaps long before its message is taken.
                thread::spawn(move || messages.iter().for_each(|message| postbox.post(*message).unwrap()))
            });
            let mut received = Vec::new();
            while received.len() < 3 {
                rest(&mailbox);
                mailbox.drain(most_at_once, |message| received.push(message));
            }
            posters.into_iter().for_each(|poster| poster.join().unwrap());
            assert_eq!(mailbox.take(), None, "nothing comes twice");
            received.sort_unstable();
            assert_eq!(received, [1, 2, 3]);
        });
    }

    #[test]
    fn loom_a_mailbox_loses_nothing_when_its_receiver_only_sleeps() {
        everything_arrives_once(usize::MAX, |mailbox| {
            mailbox.shared.doorbell.sleep();
            mailbox.hush();
        });
    }

    /// Seen with crossbeam alone: the message stays in the queue for as long as any postbox lives.
    #[test]
    fn loom_no_message_outlives_the_mailbox() {
        explore(|| {
            let (postbox, mailbox) = mailbox(4).unwrap();
            let message = Arc::new(());
            let poster = {
                let (postbox, message) = (postbox.clone(), message.clone());
                thread::spawn(move || drop(postbox.post(message)))
            };
            drop(mailbox);
            poster.join().unwrap();
            assert_eq!(Arc::strong_count(&message), 1);
            drop(postbox);
        });
    }

    #[test]
    fn loom_a_mailbox_loses_nothing_when_its_receiver_takes_one_by_one() {
        everything_arrives_once(1, |mailbox| {
            if !mailbox.pending() {
                mailbox.shared.doorbell.sleep();
                mailbox.hush();
            }
        });
    }
}
