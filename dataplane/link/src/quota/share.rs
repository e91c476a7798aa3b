//! One shard's side of the quotas.

use super::{Quota, Quotas, Waiters};
use crate::slots::{SlotOutOfBounds, Slots};
use std::sync::Arc;

/// One shard's side of all quotas. Dropping it, also by the panic that ends the shard, gives back whatever
/// the shard had taken: its connections are gone with it. Whoever reports the death then rings all
/// shards, because some may wait for just that.
#[derive(Debug)]
pub struct ShardQuotas {
    pub pools: Caps,
    pub endpoints: Caps,
}

impl ShardQuotas {
    /// For shard `shard`, below 64.
    pub fn new(quotas: &Arc<Quotas>, shard: u16) -> ShardQuotas {
        let caps = |kind| Caps { quotas: quotas.clone(), kind, shard, slots: Vec::new() };
        ShardQuotas { pools: caps(Of::Pools), endpoints: caps(Of::Endpoints) }
    }
}

/// One shard's connections of each slot, with and without caps.
///
/// `take` where a connection begins to count, `give_back` where it ends; the slot's cap is that of
/// the newest generation this shard has adopted, set once with [`Caps::set`].
#[derive(Debug)]
pub struct Caps {
    quotas: Arc<Quotas>,
    kind: Of,
    shard: u16,
    slots: Vec<Held>,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Pools,
    Endpoints,
}

/// What this shard has of one slot.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Connections here. Part of the shared count exactly while there is a cap.
    connections: u32,
    cap: Option<u32>,
    waiting: bool,
}

impl Caps {
    /// Makes room for a slot, so that nothing is allocated later. At Prepare.
    pub fn ensure(&mut self, slot: u32) -> Result<(), SlotOutOfBounds> {
        let table = self.kind.table(&self.quotas);
        table.within(slot)?;
        if self.slots.len() <= slot as usize {
            self.slots.resize(slot as usize + 1, Held::default());
        }
        Ok(())
    }

    /// The generation that this shard adopts gives the slot this cap. At Commit, before anything is taken
    /// under it. The shards named are to be rung.
    ///
    /// Panics where [`Caps::ensure`] would have failed.
    #[must_use = "these shards wait and sleep until somebody rings them"]
    pub fn set(&mut self, slot: u32, cap: Option<u32>) -> Waiters {
        let Held { connections, cap: before, waiting } = *self.held(slot);
        self.held(slot).cap = cap;
        match (before, cap) {
            (None, Some(_)) => {
                self.quota(slot).preload(connections);
                0
            }
            (Some(_), None) => {
                if waiting {
                    self.held(slot).waiting = false;
                    self.quota(slot).unwait(self.shard);
                }
                self.quota(slot).give_back_many(connections)
            }
            // Another cap: each shard that waits asks again under its own new cap when it adopts.
            (Some(_), Some(_)) | (None, None) => 0,
        }
    }

    /// Counts one more connection, unless the slot's cap is reached.
    pub fn take(&mut self, slot: u32) -> bool {
        let taken = match self.held(slot).cap {
            Some(cap) => self.quota(slot).try_take(cap),
            None => true,
        };
        self.held(slot).connections += u32::from(taken);
        taken
    }

    /// As [`Caps::take`]; on `false` this shard will be rung when one is given back, and then asks again. On
    /// `true` it is not waiting: a shard that has more in its queue asks again.
    pub fn take_or_wait(&mut self, slot: u32) -> bool {
        let taken = match self.held(slot).cap {
            Some(cap) => self.quota(slot).take_or_wait(cap, self.shard),
            None => true,
        };
        let held = self.held(slot);
        held.connections += u32::from(taken);
        held.waiting = !taken;
        taken
    }

    /// The queue for this slot is empty.
    pub fn unwait(&mut self, slot: u32) {
        if std::mem::take(&mut self.held(slot).waiting) {
            self.quota(slot).unwait(self.shard);
        }
    }

    /// A connection that was taken has ended. The shards named are to be rung; this one may be among them.
    #[must_use = "these shards wait and sleep until somebody rings them"]
    pub fn give_back(&mut self, slot: u32) -> Waiters {
        let held = self.held(slot);
        assert!(held.connections > 0, "slot {slot}: gave back a connection that was never taken");
        held.connections -= 1;
        match held.cap {
            Some(_) => self.quota(slot).give_back(),
            None => 0,
        }
    }

    /// Connections of this shard.
    pub fn connections(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |held| held.connections)
    }

    /// Connections of all shards if the slot has a cap here, else of this shard only.
    pub fn used(&self, slot: u32) -> u32 {
        match self.slots.get(slot as usize) {
            Some(Held { cap: Some(_), .. }) => self.quota(slot).used(),
            Some(held) => held.connections,
            None => 0,
        }
    }

    fn held(&mut self, slot: u32) -> &mut Held {
        if self.slots.len() <= slot as usize {
            self.make_room(slot);
        }
        &mut self.slots[slot as usize]
    }

    /// Prepare makes room. Should it ever be forgotten, an allocation is paid; a slot beyond the bound is a bug.
    #[cold]
    fn make_room(&mut self, slot: u32) {
        self.ensure(slot).unwrap_or_else(|error| panic!("counting for a slot that cannot exist: {error}"));
    }

    fn quota(&self, slot: u32) -> &Quota {
        let table = self.kind.table(&self.quotas);
        table.find(slot).or_else(|| table.ensure(slot).ok()).expect("`ensure` refused slots beyond the bound")
    }
}

impl Of {
    fn table(self, quotas: &Quotas) -> &Slots<Quota> {
        match self {
            Of::Pools => &quotas.pools,
            Of::Endpoints => &quotas.endpoints,
        }
    }
}

impl Drop for Caps {
    fn drop(&mut self) {
        for (slot, held) in (0..).zip(&self.slots) {
            if held.cap.is_some() {
                let quota = self.quota(slot);
                quota.unwait(self.shard);
                quota.forfeit(held.connections);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SLOT: u32 = 5;

    /// Two shards' sides of the pools.
    fn two_shards() -> (Arc<Quotas>, Caps, Caps) {
        let quotas = Quotas::new(8, 8);
        let caps = |shard| ShardQuotas::new(&quotas, shard).pools;
        let (first, second) = (caps(0), caps(1));
        (quotas, first, second)
    }

    fn used(quotas: &Quotas) -> u32 {
        quotas.pool(SLOT).unwrap().used()
    }

    #[test]
    fn miri_without_a_cap_nothing_is_shared() {
        let (quotas, mut first, _) = two_shards();
        assert!((0..100).all(|_| first.take(SLOT)));
        assert_eq!((first.connections(SLOT), used(&quotas)), (100, 0));
        assert_eq!(first.give_back(SLOT), 0);
        assert_eq!(first.used(SLOT), 99);
    }

    #[test]
    fn miri_a_cap_that_appears_counts_what_every_shard_has() {
        let (quotas, mut first, mut second) = two_shards();
        assert!((0..3).all(|_| first.take(SLOT)) && second.take(SLOT));
        assert_eq!(first.set(SLOT, Some(5)), 0);
        assert!(first.take(SLOT), "the second shard has not adopted, 3 of 5 are known");
        // Not adopted yet: admits as the old generation says.
        assert!(second.take(SLOT));
        assert_eq!(second.set(SLOT, Some(5)), 0);
        assert_eq!(used(&quotas), 6);
        assert!(!first.take(SLOT) && !second.take(SLOT), "over the cap: nobody gets in, nobody is ended");
        assert_eq!(first.give_back(SLOT), 0);
        assert!(!second.take(SLOT));
        assert_eq!(second.give_back(SLOT), 0);
        assert!(second.take(SLOT));
        assert!(!first.take(SLOT));
    }

    #[test]
    fn miri_a_cap_that_vanishes_takes_its_counts_along_and_wakes_waiters() {
        let (quotas, mut first, mut second) = two_shards();
        let _ = (first.set(SLOT, Some(1)), second.set(SLOT, Some(1)));
        assert!(first.take(SLOT));
        assert!(!second.take_or_wait(SLOT));
        assert_eq!(first.set(SLOT, None), 1 << 1);
        assert_eq!(used(&quotas), 0);
        assert!(first.take(SLOT));
        assert!(second.take_or_wait(SLOT), "room under the cap that it still has");
        assert_eq!(second.set(SLOT, None), 0);
        // What was taken under the cap ends without it.
        assert_eq!((first.give_back(SLOT), first.give_back(SLOT), second.give_back(SLOT)), (0, 0, 0));
        assert_eq!(used(&quotas), 0);
    }

    #[test]
    fn miri_a_cap_that_changes_keeps_its_counts() {
        let (quotas, mut first, _) = two_shards();
        let _ = first.set(SLOT, Some(3));
        assert!((0..3).all(|_| first.take(SLOT)));
        let _ = first.set(SLOT, Some(1));
        assert_eq!(used(&quotas), 3);
        assert!(!first.take(SLOT));
        let _ = (first.give_back(SLOT), first.give_back(SLOT), first.give_back(SLOT));
        assert!(first.take(SLOT));
        assert!(!first.take(SLOT));
    }

    #[test]
    fn miri_a_shard_that_gives_up_is_not_named() {
        let (_, mut first, mut second) = two_shards();
        let _ = (first.set(SLOT, Some(1)), second.set(SLOT, Some(1)));
        assert!(first.take(SLOT));
        assert!(!second.take_or_wait(SLOT));
        second.unwait(SLOT);
        assert_eq!(first.give_back(SLOT), 0);
    }

    #[test]
    fn miri_a_dead_shards_share_comes_back_and_waiters_stay_on_the_list() {
        let (quotas, first, mut second) = two_shards();
        assert_eq!(second.set(SLOT, Some(2)), 0);
        let died = std::thread::spawn(move || {
            let mut first = first;
            let _ = first.set(SLOT, Some(2));
            assert!(first.take(SLOT) && first.take(SLOT));
            assert!(!first.take_or_wait(SLOT));
            panic!("the executor's thread ends");
        });
        assert!(died.join().is_err());
        assert_eq!(used(&quotas), 0);
        assert!(second.take_or_wait(SLOT) && second.take_or_wait(SLOT));
        assert!(!second.take_or_wait(SLOT));
        assert_eq!(second.give_back(SLOT), 1 << 1, "the dead shard waits no more");
    }

    #[test]
    fn miri_pools_and_endpoints_are_apart() {
        let quotas = Quotas::new(8, 8);
        let mut shard = ShardQuotas::new(&quotas, 0);
        let _ = (shard.pools.set(SLOT, Some(1)), shard.endpoints.set(SLOT, Some(1)));
        assert!(shard.pools.take(SLOT) && shard.endpoints.take(SLOT));
        assert!(!shard.pools.take(SLOT) && !shard.endpoints.take(SLOT));
        assert!(shard.pools.ensure(7).is_ok());
        assert_eq!(shard.endpoints.ensure(8).unwrap_err().slots_max, 8);
    }

    #[test]
    fn miri_giving_back_what_was_never_taken_is_a_bug() {
        let (_, mut first, _) = two_shards();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first.give_back(SLOT)));
        assert!(result.is_err());
    }
}
