//! The wake-up protocol of every queue here: who rings, who sleeps, and why no wake-up is lost.
//!
//! A [`Doorbell`] is a flag and an eventfd. The flag says "look at your queue"; the eventfd wakes a
//! receiver that waits in the kernel. Only the ringer that raises the flag writes the eventfd: one system
//! call per burst, none while the receiver is awake and behind.
//!
//! ```text
//!   ringer                                 receiver
//!   put the message in the queue           hush: read the eventfd       (only after it was readable)
//!   ── fence ──                            lower the flag
//!   flag up already? done                  ── fence ──
//!   raise it; it was down? write eventfd   take from the queue until it is empty
//!                                          pending()? again : sleep on the eventfd
//! ```
//!
//! Why nothing is lost: the two fences are totally ordered. If the ringer's comes first, the receiver's
//! look at the queue sees the message. If the receiver's comes first, the ringer sees the flag that was
//! lowered (or raised since, by a ringer that has written or will write the eventfd), so the eventfd is
//! written after the receiver hushed it, and the receiver comes round once more.
//!
//! The order on the receiver's side matters twice: lower the flag *before* emptying the queue, and hush
//! *before* lowering the flag. A receiver whose ring reads the eventfd for it has hushed when that
//! completion arrives; it must then take again, or look at [`Doorbell::pending`] before it sleeps.
//!
//! Refuses to know: what the queue is. [`crate::mailbox`] and [`crate::log`] bring theirs.

use crate::sync::{AtomicBool, Ordering, fence};
use std::io;

/// A flag that is cheap to read and an eventfd that wakes who sleeps. See the module for the protocol.
#[derive(Debug)]
pub struct Doorbell {
    pending: AtomicBool,
    bell: Bell,
}

impl Doorbell {
    /// Lowered and silent. Fails when no descriptor is free.
    pub fn new() -> io::Result<Doorbell> {
        Ok(Doorbell { pending: AtomicBool::new(false), bell: Bell::new()? })
    }

    /// Wakes the receiver unless it is awake. Everything this thread put into the queue before is seen by
    /// the receiver before it sleeps again.
    pub fn ring(&self) {
        // Pairs with the fence in `lower`: either the receiver sees the message, or we see its lowered flag.
        fence(Ordering::SeqCst);
        // Relaxed: the fence above orders it. While the receiver is awake the flag stays up, and ringing
        // writes nothing that it shares.
        if self.pending.load(Ordering::Relaxed) {
            return;
        }
        // Relaxed: which of several ringers raises the flag is decided by the read-modify-write itself;
        // what they ring about is ordered by the fences.
        if !self.pending.swap(true, Ordering::Relaxed) {
            self.bell.write();
        }
    }

    /// Whether somebody rang since the receiver last lowered the flag. One relaxed load: may be a moment
    /// late, never lost, because the eventfd says so too.
    #[inline]
    pub fn pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Receiver: from here on a ring counts again. Call before emptying the queue.
    pub fn lower(&self) {
        // A swap where a store would do: a raise that we overwrite comes before us in the flag's order. For a
        // store that follows too, from the raise having been a read-modify-write itself, but loom does not
        // know that and shows a wake-up lost.
        self.pending.swap(false, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
    }

    /// Receiver: makes the eventfd unreadable again. Call before [`Doorbell::lower`], never after.
    pub fn hush(&self) {
        self.bell.read();
    }

    /// The eventfd (non-blocking, close-on-exec): readable from a ring until [`Doorbell::hush`], or until
    /// the receiver's own ring reads its eight bytes.
    #[cfg(not(any(loom, miri)))]
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.bell.fd()
    }

    /// Waits until the eventfd is readable. Does not read it.
    #[cfg(test)]
    pub(crate) fn sleep(&self) {
        self.bell.sleep();
    }

    /// Whether the eventfd is readable.
    #[cfg(test)]
    pub(crate) fn is_rung(&self) -> bool {
        self.bell.is_rung()
    }
}

#[cfg(any(loom, miri))]
use counted::Bell;
#[cfg(not(any(loom, miri)))]
use eventfd::Bell;

#[cfg(not(any(loom, miri)))]
mod eventfd {
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::{Errno, retry_on_intr};
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    /// The eventfd: counts writes, readable while the count is not zero.
    #[derive(Debug)]
    pub(super) struct Bell(OwnedFd);

    impl Bell {
        pub(super) fn new() -> io::Result<Bell> {
            Ok(Bell(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
        }

        pub(super) fn write(&self) {
            match retry_on_intr(|| rustix::io::write(&self.0, &1u64.to_ne_bytes())) {
                // EAGAIN: the count is at its maximum, so the eventfd is readable, which is all we want.
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => unreachable!("writing our own eventfd: {error}"),
            }
        }

        pub(super) fn read(&self) {
            let mut count = [0; 8];
            match retry_on_intr(|| rustix::io::read(&self.0, &mut count)) {
                // EAGAIN: nobody rang, or the receiver's ring has read it already.
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => unreachable!("reading our own eventfd: {error}"),
            }
        }

        pub(super) fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        #[cfg(test)]
        pub(super) fn sleep(&self) {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let deadline = Timespec { tv_sec: 20, tv_nsec: 0 };
            let rung = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&deadline)).unwrap();
            assert!(rung > 0, "asleep for 20 s: a wake-up was lost");
        }

        #[cfg(test)]
        pub(super) fn is_rung(&self) -> bool {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
        }
    }
}

/// The eventfd's meaning without a kernel, for loom and miri.
#[cfg(any(loom, miri))]
mod counted {
    use crate::sync::{Condvar, Mutex};
    use std::io;

    #[derive(Debug)]
    pub(super) struct Bell {
        count: Mutex<u64>,
        rung: Condvar,
    }

    impl Bell {
        pub(super) fn new() -> io::Result<Bell> {
            Ok(Bell { count: Mutex::new(0), rung: Condvar::new() })
        }

        pub(super) fn write(&self) {
            *self.count.lock().unwrap() += 1;
            self.rung.notify_one();
        }

        pub(super) fn read(&self) {
            *self.count.lock().unwrap() = 0;
        }

        #[cfg(test)]
        pub(super) fn sleep(&self) {
            let mut count = self.count.lock().unwrap();
            while *count == 0 {
                count = self.rung.wait(count).unwrap();
            }
        }

        #[cfg(test)]
        pub(super) fn is_rung(&self) -> bool {
            *self.count.lock().unwrap() > 0
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn miri_the_flag_follows_ring_and_lower() {
        let doorbell = Doorbell::new().unwrap();
        assert!(!doorbell.pending());
        doorbell.ring();
        doorbell.ring();
        assert!(doorbell.pending());
        doorbell.sleep();
        doorbell.hush();
        doorbell.hush();
        doorbell.lower();
        assert!(!doorbell.pending());
    }

    #[test]
    #[cfg(not(miri))]
    fn a_burst_writes_the_eventfd_once() {
        let doorbell = Doorbell::new().unwrap();
        let count = || {
            let mut count = [0; 8];
            match rustix::io::read(doorbell.fd(), &mut count) {
                Ok(_) => u64::from_ne_bytes(count),
                Err(error) => {
                    assert_eq!(error, rustix::io::Errno::AGAIN);
                    0
                }
            }
        };
        assert_eq!(count(), 0);
        (0..10).for_each(|_| doorbell.ring());
        assert_eq!(count(), 1);
        doorbell.ring();
        assert_eq!(count(), 0, "the receiver has not lowered the flag: it is awake");
        doorbell.lower();
        doorbell.ring();
        assert_eq!(count(), 1);
    }

    #[test]
    fn miri_a_receiver_that_sleeps_whenever_it_may_gets_everything() {
        const RINGERS: u64 = 3;
        const EACH: u64 = if cfg!(miri) { 50 } else { 20_000 };
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let posted = Arc::new(AtomicU64::new(0));
        let ringers: Vec<_> = (0..RINGERS)
            .map(|_| {
                let (doorbell, posted) = (doorbell.clone(), posted.clone());
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        posted.fetch_add(1, Ordering::Relaxed);
                        doorbell.ring();
                    }
                })
            })
            .collect();
        loop {
            doorbell.sleep();
            doorbell.hush();
            doorbell.lower();
            if posted.load(Ordering::Relaxed) == RINGERS * EACH {
                break;
            }
        }
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    }
}

/// The weakest queue that can be: one cell per message, relaxed. Whatever order there is comes from the
/// doorbell. A lost wake-up is a receiver that sleeps for ever, which loom reports as a deadlock.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;
    use loom::sync::Arc;
    use loom::thread;

    struct Shared {
        doorbell: Doorbell,
        posted: [AtomicBool; 2],
    }

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            doorbell: Doorbell::new().unwrap(),
            posted: [AtomicBool::new(false), AtomicBool::new(false)],
        })
    }

    fn post(shared: &Shared, message: usize) {
        shared.posted[message].store(true, Ordering::Relaxed);
        shared.doorbell.ring();
    }

    fn all_seen(shared: &Shared) -> bool {
        shared.doorbell.lower();
        shared.posted.iter().all(|posted| posted.load(Ordering::Relaxed))
    }

    fn two_posters(receive: fn(&Shared)) {
        explore(move || {
            let shared = shared();
            let posters: Vec<_> = (0..2)
                .map(|message| {
                    let shared = shared.clone();
                    thread::spawn(move || post(&shared, message))
                })
                .collect();
            receive(&shared);
            posters.into_iter().for_each(|poster| poster.join().unwrap());
        });
    }

    #[test]
    fn loom_a_receiver_that_only_sleeps_gets_everything() {
        two_posters(|shared| {
            loop {
                shared.doorbell.sleep();
                shared.doorbell.hush();
                if all_seen(shared) {
                    break;
                }
            }
        });
    }

    #[test]
    fn loom_a_receiver_that_looks_before_it_sleeps_gets_everything() {
        two_posters(|shared| {
            loop {
                // Woken by the flag, it does not hush, and is woken once more for nothing at worst.
                if !shared.doorbell.pending() {
                    shared.doorbell.sleep();
                    shared.doorbell.hush();
                }
                if all_seen(shared) {
                    break;
                }
            }
        });
    }

    #[test]
    fn loom_a_poster_that_posts_twice_is_heard_twice() {
        explore(|| {
            let shared = shared();
            let poster = {
                let shared = shared.clone();
                thread::spawn(move || (0..2).for_each(|message| post(&shared, message)))
            };
            loop {
                shared.doorbell.sleep();
                shared.doorbell.hush();
                if all_seen(&shared) {
                    break;
                }
            }
            poster.join().unwrap();
        });
    }
}
