//! Caps that hold over all shards: the one shared write of the data path, paid only by pools and backends
//! that have a cap, once per connection and once at its end.
//!
//! Two layers. [`Quota`] is the shared number with its list of waiters. [`ShardQuotas`] is one shard's side
//! of all of them: it knows how many connections of this shard each slot has, whether or not there is a
//! cap, and therefore can let a cap appear, change and vanish under load.
//!
//! # A cap that appears while connections are open
//!
//! Connections without a cap touch no shared number. So when a generation introduces a cap, each shard adds
//! the connections it already has as it adopts that generation ([`Caps::set`]), takes them back out when a
//! generation removes the cap, and counts single connections only in between. Consequences:
//!
//! - Once every shard has adopted, `used` is exact.
//! - Until then, shards that have not adopted admit without asking, as the old generation says. `used` may
//!   so start above the cap. It then admits nobody until connections have ended; it ends none.
//! - The refused alternative: always count, cap or not. Exact at once, but every connection of every
//!   pool would write a line that all shards share, which is what shards exist to avoid.
//!
//! # Waiting
//!
//! A shard whose connections queue for a quota says so, *then tries once more*, then sleeps; whoever gives
//! back looks for waiters *after* it gave back. [`Quota::take_or_wait`] and [`Quota::give_back`] are these
//! two halves: one of the two always sees the other. A waiter is rung once (ringing clears its bit) and must
//! ask with `take_or_wait` again when it finds the quota used up. Nobody is promised a turn: after
//! a ring the fastest shard wins, and the loser asks again.

mod share;

pub use share::{Caps, ShardQuotas};

use crate::slots::{SlotOutOfBounds, Slots};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::Arc;

/// Shards, one bit each, that are to be rung: they wait for what was just given back.
pub type Waiters = u64;

/// How much of one cap is used, over all shards, and which shards wait for it.
///
/// On cache lines of its own: all shards write it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Quota {
    used: AtomicU32,
    waiting: AtomicU64,
}

impl Quota {
    /// Takes one if fewer than `cap` are taken. The cap may differ from call to call: below what is used,
    /// nobody gets one until enough were given back.
    pub fn try_take(&self, cap: u32) -> bool {
        // Acquire pairs with the Release of whoever gave this one back: what they did before, such as closing
        // their connection to the backend, comes before what we do next.
        self.used.fetch_update(Ordering::Acquire, Ordering::Relaxed, |used| (used < cap).then_some(used + 1)).is_ok()
    }

    /// As [`Quota::try_take`]; on `false` this shard has been noted as waiting and will be rung when one is
    /// given back. On `true` it is not waiting any more.
    pub fn take_or_wait(&self, cap: u32, shard: u16) -> bool {
        if self.try_take(cap) {
            self.unwait(shard);
            return true;
        }
        self.waiting.fetch_or(bit(shard), Ordering::Relaxed);
        // Pairs with the fence in `wake`: either we see what was given back, or they see that we wait.
        fence(Ordering::SeqCst);
        let taken = self.try_take(cap);
        if taken {
            self.unwait(shard);
        }
        taken
    }

    /// Nobody on this shard waits any more.
    pub fn unwait(&self, shard: u16) {
        // The look before the write keeps takes without a queue to one shared write.
        if self.waiting.load(Ordering::Relaxed) & bit(shard) != 0 {
            self.waiting.fetch_and(!bit(shard), Ordering::Relaxed);
        }
    }

    /// Gives one back. The shards named are to be rung by the caller, at once; they have been taken off the list.
    #[must_use = "these shards wait and sleep until somebody rings them"]
    pub fn give_back(&self) -> Waiters {
        self.give_back_many(1)
    }

    /// Gives back `n` at once.
    #[must_use = "these shards wait and sleep until somebody rings them"]
    pub fn give_back_many(&self, n: u32) -> Waiters {
        // Release pairs with the Acquire in `try_take`.
        let before = self.used.fetch_sub(n, Ordering::Release);
        debug_assert!(before >= n, "gave back {n} of {before}");
        self.wake()
    }

    /// Gives back what a dead shard had, leaving the waiters on the list: there is nobody here to ring
    /// them, so whoever reports the death rings all shards.
    fn forfeit(&self, n: u32) {
        self.used.fetch_sub(n, Ordering::Release);
        // As in `wake`: a shard that asks after having been rung must see it.
        fence(Ordering::SeqCst);
    }

    /// Counts `n` that exist already: a cap has come to connections that were made without one. May exceed any cap.
    pub fn preload(&self, n: u32) {
        self.used.fetch_add(n, Ordering::Relaxed);
    }

    /// Taken now. Exact when no shard is between two generations.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    fn wake(&self) -> Waiters {
        // Pairs with the fence in `take_or_wait`.
        fence(Ordering::SeqCst);
        // Usually nobody waits: a load leaves the line as it is.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        // Of several that give back, the one that takes the bit rings.
        self.waiting.swap(0, Ordering::Relaxed)
    }
}

fn bit(shard: u16) -> u64 {
    assert!(shard < 64, "shard {shard}: at most 64 shards");
    1 << shard
}

/// The quotas of all pools and endpoints, by slot, shared by all shards.
#[derive(Debug)]
pub struct Quotas {
    pools: Slots<Quota>,
    endpoints: Slots<Quota>,
}

impl Quotas {
    /// Room for slots `0..pools_max` and `0..endpoints_max`. Memory only for chunks in which a slot has a cap.
    pub fn new(pools_max: u32, endpoints_max: u32) -> Arc<Quotas> {
        Arc::new(Quotas { pools: Slots::new(pools_max), endpoints: Slots::new(endpoints_max) })
    }

    /// The quota of a pool's slot. Control calls this before it sends a generation that gives the slot a
    /// cap, so that shards never allocate for it.
    pub fn pool(&self, slot: u32) -> Result<&Quota, SlotOutOfBounds> {
        self.pools.ensure(slot)
    }

    /// As [`Quotas::pool`], for an endpoint.
    pub fn endpoint(&self, slot: u32) -> Result<&Quota, SlotOutOfBounds> {
        self.endpoints.ensure(slot)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::doorbell::Doorbell;

    #[test]
    fn miri_a_cap_holds_and_may_change_between_calls() {
        let quota = Quota::default();
        assert!(!quota.try_take(0));
        assert!(quota.try_take(2) && quota.try_take(2));
        assert!(!quota.try_take(2));
        assert!(quota.try_take(3), "raised");
        assert!(!quota.try_take(1), "lowered below what is used");
        assert_eq!(quota.give_back(), 0);
        assert!(!quota.try_take(1));
        assert_eq!(quota.give_back_many(2), 0);
        assert!(quota.try_take(1));
        assert_eq!(quota.used(), 1);
    }

    #[test]
    fn miri_a_cap_that_comes_late_finds_what_exists() {
        let quota = Quota::default();
        quota.preload(5);
        assert!(!quota.try_take(3));
        let _ = quota.give_back_many(3);
        assert!(quota.try_take(3));
        assert!(!quota.try_take(3));
    }

    #[test]
    fn miri_a_waiter_is_named_once_until_it_asks_again() {
        let quota = Quota::default();
        assert!(quota.take_or_wait(2, 0) && quota.take_or_wait(2, 0));
        assert!(!quota.take_or_wait(2, 0));
        assert!(!quota.take_or_wait(2, 63));
        assert_eq!(quota.give_back(), 1 | 1 << 63);
        assert_eq!(quota.give_back(), 0, "they have been named");
        assert!(quota.take_or_wait(1, 63));
        assert!(!quota.take_or_wait(1, 0), "it was faster");
        assert_eq!(quota.give_back(), 1, "the loser has asked again");
        assert!(quota.take_or_wait(1, 0));
        assert_eq!(quota.give_back(), 0, "who got one waits no more");
    }

    #[test]
    fn miri_who_gave_up_is_not_named() {
        let quota = Quota::default();
        assert!(quota.try_take(1));
        assert!(!quota.take_or_wait(1, 3) && !quota.take_or_wait(1, 4));
        quota.unwait(3);
        quota.unwait(5);
        assert_eq!(quota.give_back(), 1 << 4);
    }

    #[test]
    fn miri_slots_have_quotas_of_their_own() {
        let quotas = Quotas::new(2, 2);
        assert!(quotas.pool(1).unwrap().try_take(1));
        assert!(!quotas.pool(1).unwrap().try_take(1));
        assert!(quotas.pool(0).unwrap().try_take(1));
        assert!(quotas.endpoint(1).unwrap().try_take(1));
        assert_eq!(quotas.endpoint(2).unwrap_err(), SlotOutOfBounds { slot: 2, slots_max: 2 });
    }

    /// Shards that sleep whenever the cap keeps them out. A lost wake-up is a sleep past its deadline.
    #[test]
    fn miri_the_cap_is_never_exceeded_and_everybody_gets_a_turn() {
        const SHARDS: u16 = 4;
        const CAP: u32 = 2;
        const TURNS: u32 = if cfg!(miri) { 20 } else { 5_000 };
        let quota = Quota::default();
        let inside = AtomicU32::new(0);
        let doorbells: Vec<_> = (0..SHARDS).map(|_| Doorbell::new().unwrap()).collect();
        let (quota, inside, doorbells) = (&quota, &inside, &doorbells[..]);
        std::thread::scope(|scope| {
            for shard in 0..SHARDS {
                scope.spawn(move || {
                    for _ in 0..TURNS {
                        while !quota.take_or_wait(CAP, shard) {
                            doorbells[shard as usize].sleep();
                            doorbells[shard as usize].hush();
                            doorbells[shard as usize].lower();
                        }
                        assert!(inside.fetch_add(1, Ordering::Relaxed) < CAP);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::Relaxed);
                        let waiters = quota.give_back();
                        (0..SHARDS)
                            .filter(|other| waiters >> other & 1 == 1)
                            .for_each(|other| doorbells[other as usize].ring());
                    }
                });
            }
        });
        assert_eq!(quota.used(), 0);
    }
}

/// A lost wake-up is a shard that sleeps for ever, which loom reports as a deadlock.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::doorbell::Doorbell;
    use crate::sync::explore;
    use loom::sync::Arc;
    use loom::thread;

    struct Shared<const SHARDS: usize> {
        quota: Quota,
        /// Connections that exist, as a backend would count them.
        open: AtomicU32,
        doorbells: [Doorbell; SHARDS],
    }

    impl<const SHARDS: usize> Shared<SHARDS> {
        fn new() -> Arc<Shared<SHARDS>> {
            Arc::new(Shared {
                quota: Quota::default(),
                open: AtomicU32::new(0),
                doorbells: std::array::from_fn(|_| Doorbell::new().unwrap()),
            })
        }

        /// One connection, from waiting to its end.
        fn serve(&self, shard: u16, cap: u32) {
            while !self.quota.take_or_wait(cap, shard) {
                self.sleep(shard);
            }
            assert!(self.open.fetch_add(1, Ordering::Relaxed) < cap);
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.give_back();
        }

        /// One connection whose client leaves if there is no room at once.
        fn serve_or_leave(&self, shard: u16, cap: u32) {
            if self.quota.take_or_wait(cap, shard) {
                assert!(self.open.fetch_add(1, Ordering::Relaxed) < cap);
                self.open.fetch_sub(1, Ordering::Relaxed);
                self.give_back();
            } else {
                self.quota.unwait(shard);
            }
        }

        fn sleep(&self, shard: u16) {
            let doorbell = &self.doorbells[shard as usize];
            doorbell.sleep();
            doorbell.hush();
            doorbell.lower();
        }

        fn give_back(&self) {
            let waiters = self.quota.give_back();
            (0..SHARDS).filter(|shard| waiters >> shard & 1 == 1).for_each(|shard| self.doorbells[shard].ring());
        }
    }

    #[test]
    fn loom_two_shards_share_one() {
        explore(|| {
            let shared = Shared::<2>::new();
            let other = {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(1, 1))
            };
            shared.serve(0, 1);
            other.join().unwrap();
            assert_eq!(shared.quota.used(), 0);
        });
    }

    #[test]
    fn loom_a_waiter_that_leaves_takes_nobodys_wake_up_with_it() {
        explore(|| {
            let shared = Shared::<3>::new();
            let others = [
                thread::spawn({
                    let shared = shared.clone();
                    move || shared.serve(1, 1)
                }),
                thread::spawn({
                    let shared = shared.clone();
                    move || shared.serve_or_leave(2, 1)
                }),
            ];
            shared.serve(0, 1);
            others.into_iter().for_each(|other| other.join().unwrap());
            assert_eq!(shared.quota.used(), 0);
        });
    }

    #[test]
    fn loom_who_takes_sees_what_the_giver_did() {
        explore(|| {
            let shared = Shared::<2>::new();
            assert!(shared.quota.try_take(1));
            shared.open.store(1, Ordering::Relaxed);
            let giver = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.open.store(0, Ordering::Relaxed);
                    shared.give_back();
                })
            };
            while !shared.quota.take_or_wait(1, 0) {
                shared.sleep(0);
            }
            assert_eq!(shared.open.load(Ordering::Relaxed), 0);
            giver.join().unwrap();
        });
    }

    /// Two are given back one after the other: the shard that waits for both gets both, although it is
    /// named once for the two or once for each.
    #[test]
    fn loom_a_shard_with_two_in_its_queue_gets_both() {
        explore(|| {
            let shared = Shared::<2>::new();
            assert!(shared.quota.try_take(2) && shared.quota.try_take(2));
            let giver = {
                let shared = shared.clone();
                thread::spawn(move || (0..2).for_each(|_| shared.give_back()))
            };
            for _ in 0..2 {
                while !shared.quota.take_or_wait(2, 0) {
                    shared.sleep(0);
                }
            }
            giver.join().unwrap();
            assert_eq!(shared.quota.used(), 2);
        });
    }
}
