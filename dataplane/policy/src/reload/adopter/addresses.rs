//! The listen addresses of one shard: where each stands and what it leads to.
//!
//! Owns a [`Listener`] by slot and, for an address whose pool is gone, the lease on the root that serves
//! the clients still in its queue. Which steps the shard must perform comes from [`Listener`].

use super::roots::RootLease;
use crate::generation::Listen;
use crate::ids::{ListenerSlot, PoolSlot};
use crate::reload::listener::Listener;

/// By listener slot.
#[derive(Default)]
pub struct Addresses {
    entries: Vec<Option<Address>>,
    /// Slots in the states `Leaving` and `Draining`; few, and for seconds.
    leaving: Vec<ListenerSlot>,
}

pub struct Address {
    pub life: Listener,
    pub pool: PoolSlot,
    /// The pool's last root, once the pool is gone.
    pub last: Option<RootLease>,
}

impl Addresses {
    pub fn insert(&mut self, listen: &Listen, life: Listener) {
        let Listen { listener, pool, .. } = *listen;
        if self.entries.len() <= listener.ix() {
            self.entries.resize_with(listener.ix() + 1, || None);
        }
        let entry = &mut self.entries[listener.ix()];
        assert!(entry.is_none(), "listener {listener} is used again while it is here");
        *entry = Some(Address { life, pool, last: None });
        self.note(listener, life);
    }

    pub fn find(&self, listener: ListenerSlot) -> Option<&Address> {
        self.entries.get(listener.ix())?.as_ref()
    }

    fn find_mut(&mut self, listener: ListenerSlot) -> Option<&mut Address> {
        self.entries.get_mut(listener.ix())?.as_mut()
    }

    /// Where the address stands from now on.
    pub fn set(&mut self, listener: ListenerSlot, life: Listener) {
        let address = self.find_mut(listener);
        address.expect("an address that is here").life = life;
        self.leaving.retain(|slot| *slot != listener);
        self.note(listener, life);
    }

    /// Which pool serves what comes out of it from now on. Answers with the last root of the pool before.
    pub fn lead(&mut self, listener: ListenerSlot, pool: PoolSlot) -> Option<RootLease> {
        let address = self.find_mut(listener).expect("an address that is here");
        address.pool = pool;
        address.last.take()
    }

    pub fn remove(&mut self, listener: ListenerSlot) -> Address {
        self.leaving.retain(|slot| *slot != listener);
        self.entries[listener.ix()].take().expect("an address that is here")
    }

    /// The pool is about to go: each of its addresses that is leaving keeps a lease on the root.
    pub fn outlive(&mut self, pool: PoolSlot, mut lease: impl FnMut() -> Option<RootLease>) {
        for listener in &self.leaving {
            let address = self.entries[listener.ix()].as_mut().expect("listed");
            if address.pool == pool && address.last.is_none() {
                address.last = lease();
            }
        }
    }

    pub fn leaving(&self) -> &[ListenerSlot] {
        &self.leaving
    }

    pub fn iter(&self) -> impl Iterator<Item = (ListenerSlot, &Address)> {
        (0..).map(ListenerSlot).zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    /// Slots in one state, as of now.
    pub fn which(&self, wanted: impl Fn(&Address) -> bool) -> Vec<ListenerSlot> {
        self.iter().filter(|(_, address)| wanted(address)).map(|(slot, _)| slot).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    fn note(&mut self, listener: ListenerSlot, life: Listener) {
        if matches!(life, Listener::Leaving | Listener::Draining) {
            self.leaving.push(listener);
        }
    }

    pub fn check_invariants(&self) {
        let leaving = self.which(|address| matches!(address.life, Listener::Leaving | Listener::Draining));
        assert_eq!(leaving.len(), self.leaving.len(), "the list of leaving addresses is complete");
        for (slot, address) in self.iter() {
            let leaves = self.leaving.contains(&slot);
            assert!(leaves || address.last.is_none(), "listener {slot} outlives its pool without leaving");
        }
    }
}
