//! Dense slots for identities, kept from generation to generation.
//!
//! ```text
//!              claimed by a job, or compiled            handed to the rollout
//!   free ─────────────────────────────────▶ claimed ──────────────────────────▶ in care
//!    ▲                                         │ no claim is left                  │ released
//!    └─────────────────────────────────────────┴───────────────────────────────────┘ and no claim is left
//! ```
//!
//! A slot is anybody's again only when nobody can name it. Two kinds of people can: jobs that have not
//! ended, which hold *claims* here, and whatever the rollout has been handed ([`policy::reload::rollout`]),
//! in whose *care* the slot is until its effect `FreePool`, `FreeEndpoint` or `FreeListener`.
//!
//! - A pool or backend that is named again while its slot is still in care gets its **old slot back**: counts,
//!   caps and health belong to the identity, and connections that still use it are counted there.
//! - A listen address that moves from one pool to another keeps its slot.
//! - A listen address that is named again while it is being left gets a **new slot**: the sockets behind the
//!   old one are closing and cannot be kept. Nobody may bind the address before they are closed, or the kernel
//!   would send some of the new clients to them. So the job's touches name the old slot too, and the job
//!   waits for it ([`Claim::touches`], [`crate::Bind::after`]).
//!
//! Owned by control; the shards are not known here.

use crate::plan::Touches;
use crate::running::Running;
use policy::generation::Address;
use policy::reload::rollout;
use policy::{EndpointSlot, ListenerSlot, PartId, PoolId, PoolSlot};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// What a backend is known by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EndpointIdentity {
    pub pool: PoolId,
    pub group: Arc<str>,
    pub address: Address,
}

/// All slots of the process.
#[derive(Debug, Default)]
pub struct Slots {
    pools: Table<PoolId>,
    endpoints: Table<EndpointIdentity>,
    listeners: Table<Address>,
    /// Slots of addresses that are being left.
    leaving: HashMap<Address, ListenerSlot>,
    parts: u64,
}

/// Slots that somebody holds so that nobody else gets them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pools: Vec<PoolSlot>,
    endpoints: Vec<EndpointSlot>,
    listeners: Vec<ListenerSlot>,
}

/// What a job will touch, in the rollout's words. To be given back with [`Slots::unclaim`] when the job has
/// ended, or was not admitted.
#[derive(Debug)]
#[must_use = "slots stay claimed until `unclaim`"]
pub struct Claim {
    pub touches: rollout::Touches,
    held: Held,
}

impl Slots {
    /// Translates a plan's touches. Pools and addresses that are new get their slots here.
    pub fn claim(&mut self, touches: &Touches, running: &Running) -> Claim {
        let mut claim = Claim { touches: rollout::Touches::default(), held: Held::default() };
        for id in &touches.pools {
            claim.touches.pools.insert(self.name_pool(id, &mut claim.held));
        }
        for address in &touches.listeners {
            if let Some(listen) = running.listeners.get(address) {
                claim.touches.listeners.insert(listen.listener);
                continue;
            }
            let (slot, leaving) = self.name_listener(address, &mut claim.held);
            claim.touches.listeners.extend([Some(slot), leaving].into_iter().flatten());
        }
        claim
    }

    /// The job has ended, or was not admitted. Answers with what became free by that.
    pub fn unclaim(&mut self, claim: Claim) -> Freed {
        self.let_go(claim.held)
    }

    /// The rollout's `FreePool`. `true`: the slot is free by that; `false`: a job still claims it, or the last
    /// claim on it ended first and it is free already.
    pub fn release_pool(&mut self, slot: PoolSlot) -> bool {
        self.pools.release(slot.0)
    }

    /// The rollout's `FreeEndpoint`.
    pub fn release_endpoint(&mut self, slot: EndpointSlot) -> bool {
        self.endpoints.release(slot.0)
    }

    /// The rollout's `FreeListener`.
    pub fn release_listener(&mut self, slot: ListenerSlot) -> bool {
        self.leaving.retain(|_, leaving| *leaving != slot);
        self.listeners.release(slot.0)
    }

    /// After control itself has died and the rollout's `Accounted`: releases every slot in care that the
    /// rollout does not know any more.
    pub fn account(
        &mut self,
        uses_pool: impl Fn(PoolSlot) -> bool,
        uses_endpoint: impl Fn(EndpointSlot) -> bool,
        uses_listener: impl Fn(ListenerSlot) -> bool,
    ) -> Freed {
        self.leaving.retain(|_, slot| uses_listener(*slot));
        Freed {
            pools: self.pools.account(|slot| uses_pool(PoolSlot(slot))).map(PoolSlot).collect(),
            endpoints: self.endpoints.account(|slot| uses_endpoint(EndpointSlot(slot))).map(EndpointSlot).collect(),
            listeners: self.listeners.account(|slot| uses_listener(ListenerSlot(slot))).map(ListenerSlot).collect(),
        }
    }

    /// Whose slot it is, while it is anybody's.
    pub fn pool(&self, slot: PoolSlot) -> Option<&PoolId> {
        self.pools.identity(slot.0)
    }

    pub fn endpoint(&self, slot: EndpointSlot) -> Option<&EndpointIdentity> {
        self.endpoints.identity(slot.0)
    }

    pub fn listener(&self, slot: ListenerSlot) -> Option<&Address> {
        self.listeners.identity(slot.0)
    }

    /// Slots that are not free: pools, endpoints, listeners.
    pub fn in_use(&self) -> (usize, usize, usize) {
        (self.pools.in_use(), self.endpoints.in_use(), self.listeners.in_use())
    }

    pub(crate) fn name_pool(&mut self, id: &PoolId, held: &mut Held) -> PoolSlot {
        let slot = PoolSlot(self.pools.name(id));
        held.pools.push(slot);
        slot
    }

    pub(crate) fn name_endpoint(&mut self, identity: &EndpointIdentity, held: &mut Held) -> EndpointSlot {
        let slot = EndpointSlot(self.endpoints.name(identity));
        held.endpoints.push(slot);
        slot
    }

    /// The slot, and the slot of the same address that is being left.
    pub(crate) fn name_listener(&mut self, address: &Address, held: &mut Held) -> (ListenerSlot, Option<ListenerSlot>) {
        let slot = ListenerSlot(self.listeners.name(address));
        held.listeners.push(slot);
        (slot, self.leaving.get(address).copied())
    }

    /// Never given twice in the life of the process.
    pub(crate) fn part(&mut self) -> PartId {
        self.parts += 1;
        PartId(self.parts)
    }

    /// The address means nothing any more; its slot lives on until its sockets are closed.
    pub(crate) fn leave(&mut self, address: &Address, slot: ListenerSlot) {
        // Where no shard is alive its sockets are closed, and the slot free, before anybody could say so here.
        if self.listeners.detach(address, slot.0) {
            self.leaving.insert(address.clone(), slot);
        }
    }

    pub(crate) fn care(&mut self, held: &Held) {
        held.pools.iter().for_each(|slot| self.pools.care(slot.0));
        held.endpoints.iter().for_each(|slot| self.endpoints.care(slot.0));
        held.listeners.iter().for_each(|slot| self.listeners.care(slot.0));
    }

    pub(crate) fn let_go(&mut self, held: Held) -> Freed {
        let Held { pools, endpoints, listeners } = held;
        Freed {
            pools: pools.into_iter().filter(|slot| self.pools.let_go(slot.0)).collect(),
            endpoints: endpoints.into_iter().filter(|slot| self.endpoints.let_go(slot.0)).collect(),
            listeners: listeners.into_iter().filter(|slot| self.listeners.let_go(slot.0)).collect(),
        }
    }
}

/// Slots that became free, so that nobody keeps names or counters for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Freed {
    pub pools: Vec<PoolSlot>,
    pub endpoints: Vec<EndpointSlot>,
    pub listeners: Vec<ListenerSlot>,
}

/// Slots of one kind.
#[derive(Debug)]
struct Table<I> {
    entries: Vec<Option<Entry<I>>>,
    slots: HashMap<I, u32>,
    /// Lowest first, so that tables stay dense.
    free: BinaryHeap<Reverse<u32>>,
}

#[derive(Debug)]
struct Entry<I> {
    identity: I,
    claims: u32,
    in_care: bool,
}

impl<I> Default for Table<I> {
    fn default() -> Table<I> {
        Table { entries: Vec::new(), slots: HashMap::new(), free: BinaryHeap::new() }
    }
}

impl<I: Clone + Eq + Hash> Table<I> {
    fn identity(&self, slot: u32) -> Option<&I> {
        Some(&self.entries.get(slot as usize)?.as_ref()?.identity)
    }

    fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The identity's slot, with one claim more.
    fn name(&mut self, identity: &I) -> u32 {
        if let Some(&slot) = self.slots.get(identity) {
            self.entry(slot).claims += 1;
            return slot;
        }
        let slot = match self.free.pop() {
            Some(Reverse(slot)) => slot,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).expect("memory ends before slots do")
            }
        };
        self.entries[slot as usize] = Some(Entry { identity: identity.clone(), claims: 1, in_care: false });
        self.slots.insert(identity.clone(), slot);
        slot
    }

    fn care(&mut self, slot: u32) {
        self.entry(slot).in_care = true;
    }

    fn let_go(&mut self, slot: u32) -> bool {
        let entry = self.entry(slot);
        entry.claims = entry.claims.checked_sub(1).expect("let go as often as named");
        self.free_if_nobodys(slot)
    }

    fn release(&mut self, slot: u32) -> bool {
        let Some(Some(entry)) = self.entries.get_mut(slot as usize) else {
            return false;
        };
        entry.in_care = false;
        self.free_if_nobodys(slot)
    }

    fn account(&mut self, uses: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        let in_care = |entry: &Option<Entry<I>>| entry.as_ref().is_some_and(|entry| entry.in_care);
        let cared = (0..).zip(&self.entries).filter(|(_, entry)| in_care(entry)).map(|(slot, _)| slot);
        let lost: Vec<u32> = cared.filter(|slot| !uses(*slot)).collect();
        lost.into_iter().filter(|slot| self.release(*slot))
    }

    /// The slot does not stand for the identity any more. `false`: it did not.
    fn detach(&mut self, identity: &I, slot: u32) -> bool {
        let stands = self.slots.get(identity) == Some(&slot);
        if stands {
            self.slots.remove(identity);
        }
        stands
    }

    fn free_if_nobodys(&mut self, slot: u32) -> bool {
        let entry = self.entry(slot);
        if entry.claims > 0 || entry.in_care {
            return false;
        }
        let entry = self.entries[slot as usize].take().expect("looked at just now");
        self.detach(&entry.identity, slot);
        self.free.push(Reverse(slot));
        true
    }

    fn entry(&mut self, slot: u32) -> &mut Entry<I> {
        let entry = self.entries.get_mut(slot as usize).and_then(Option::as_mut);
        entry.unwrap_or_else(|| panic!("slot {slot} is nobody's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &str) -> Table<char> {
        let mut table = Table::default();
        for (slot, name) in names.chars().enumerate() {
            assert_eq!(table.name(&name), slot as u32);
        }
        table
    }

    #[test]
    fn slots_are_dense_and_the_lowest_free_one_is_next() {
        let mut table = named("abcd");
        assert!(table.let_go(2) && table.let_go(0));
        assert_eq!([table.name(&'x'), table.name(&'y'), table.name(&'z')], [0, 2, 4]);
        assert_eq!(table.in_use(), 5);
        assert_eq!((table.identity(0), table.identity(9)), (Some(&'x'), None));
    }

    #[test]
    fn a_slot_is_free_when_nobody_claims_it_and_nobody_cares() {
        let mut table = named("a");
        assert_eq!(table.name(&'a'), 0);
        assert!(!table.let_go(0), "another job claims it");
        table.care(0);
        assert!(!table.let_go(0), "it is in care");
        assert_eq!(table.name(&'b'), 1);
        assert!(table.release(0));
        assert_eq!(table.name(&'c'), 0);
    }

    #[test]
    fn an_identity_has_its_slot_again_while_it_is_in_care() {
        let mut table = named("a");
        table.care(0);
        table.let_go(0);
        assert_eq!(table.name(&'a'), 0);
        assert!(!table.release(0), "a job claims it");
        assert!(table.let_go(0));
    }

    #[test]
    fn what_was_detached_is_neither_free_nor_found() {
        let mut table = named("a");
        table.care(0);
        table.let_go(0);
        assert!(table.detach(&'a', 0) && !table.detach(&'a', 0));
        assert_eq!(table.name(&'a'), 1);
        assert!(table.release(0));
        assert_eq!(table.name(&'a'), 1, "freeing the old slot leaves the new one alone");
    }

    #[test]
    fn an_account_frees_what_is_in_care_of_nobody() {
        let mut table = named("abcd");
        for slot in 0..3 {
            table.care(slot);
            if slot != 1 {
                table.let_go(slot);
            }
        }
        assert_eq!(table.account(|slot| slot == 2).collect::<Vec<_>>(), [0], "1 and 3 are claimed, 2 is used");
        assert!(table.let_go(1) && table.let_go(3));
        assert_eq!(table.in_use(), 1);
    }

    /// The last claim may end just before the rollout says that it does not care.
    #[test]
    fn a_free_slot_may_be_released() {
        let mut table = named("a");
        assert!(table.let_go(0));
        assert!(!table.release(0));
        assert_eq!(table.name(&'b'), 0);
    }
}
