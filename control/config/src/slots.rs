//! Dense slots for identities, kept from generation to generation.
//!
//! Compiling gives an identity that has no slot the lowest free one; [`Slots::release_pool`] and its like
//! make a slot free. In between it is the identity's, whatever becomes of the job that named it first, so
//! whoever releases must know that nobody can name it any more: no shard, no generation that runs, and no
//! change that is compiled and has not ended. The rollout's `FreePool`, `FreeEndpoint` and `FreeListener`
//! say just that of everything that it was handed.
//!
//! - A pool or backend that is named again before its slot is released has its **old slot**: counts, caps
//!   and health belong to the identity, and connections that still use it are counted there.
//! - A listen address that moves from one pool to another keeps its slot.
//! - A listen address that is named again while it is being left gets a **new slot**: the sockets behind the
//!   old one are closing and cannot be kept. Nobody may bind the address before they are closed, or the kernel
//!   would send some of the new clients to them ([`crate::Bind::after`]).
//!
//! Owned by whoever compiles. Shards, jobs and the rollout are not known here.

use policy::generation::Address;
use policy::http::{Tallies, Tally};
use policy::{EndpointSlot, GroupSlot, ListSlot, ListenerSlot, PartId, PoolId, PoolSlot};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
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
#[derive(Clone, Debug, Default)]
pub struct Slots {
    pools: Table<PoolId>,
    endpoints: Table<EndpointIdentity>,
    listeners: Table<Address>,
    groups: HashMap<PoolId, GroupTable>,
    /// Every list that was ever named. A name costs its bytes and some forty for the life of the process.
    lists: HashMap<Arc<str>, ListSlot>,
    /// Groups that were ever named, so that none is named twice.
    group_count: u32,
    /// Slots of addresses that are being left.
    leaving: HashMap<Address, ListenerSlot>,
    parts: u64,
    /// Where what rules meet is counted. `None`: nowhere.
    tallies: Option<Tallies>,
}

impl Slots {
    /// With rules that count what they meet, on shards whose ids are below this.
    pub fn counting(shards: usize) -> Slots {
        Slots { tallies: Some(Tallies::new(shards)), ..Slots::default() }
    }

    /// `false`: it was free already.
    pub fn release_pool(&mut self, slot: PoolSlot) -> bool {
        if let Some(id) = self.pools.identity(slot.0) {
            self.groups.remove(id);
        }
        self.pools.release(slot.0)
    }

    /// As [`Slots::release_pool`].
    pub fn release_endpoint(&mut self, slot: EndpointSlot) -> bool {
        self.endpoints.release(slot.0)
    }

    /// As [`Slots::release_pool`]; the sockets are closed.
    pub fn release_listener(&mut self, slot: ListenerSlot) -> bool {
        self.leaving.retain(|_, leaving| *leaving != slot);
        self.listeners.release(slot.0)
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

    pub(crate) fn name_pool(&mut self, id: &PoolId) -> PoolSlot {
        PoolSlot(self.pools.name(id))
    }

    pub(crate) fn name_endpoint(&mut self, identity: &EndpointIdentity) -> EndpointSlot {
        EndpointSlot(self.endpoints.name(identity))
    }

    /// The slot of a group that a generation names.
    pub(crate) fn group(&self, pool: &PoolId, group: &str) -> Option<GroupSlot> {
        Some(self.groups.get(pool)?.slots.get(group)?.slot)
    }

    pub(crate) fn name_group(&mut self, pool: &PoolId, group: &Arc<str>) -> GroupSlot {
        let table = self.groups.entry(pool.clone()).or_default();
        let next = GroupSlot(self.group_count);
        let known = table.slots.entry(group.clone()).or_insert(KnownGroup { slot: next, is_gone: false });
        known.is_gone = false;
        if known.slot == next {
            self.group_count = self.group_count.checked_add(1).expect("the process ends before its groups do");
        }
        known.slot
    }

    /// No generation names the group any more. For a while it would have its slot again.
    pub(crate) fn group_gone(&mut self, pool: &PoolId, group: &Arc<str>) {
        let Some(table) = self.groups.get_mut(pool) else { return };
        if let Some(known) = table.slots.get_mut(group)
            && !std::mem::replace(&mut known.is_gone, true)
        {
            table.gone.push_back(group.clone());
        }
        if table.gone.len() > GROUPS_REMEMBERED
            && let Some(oldest) = table.gone.pop_front()
            && table.slots.get(&oldest).is_some_and(|known| known.is_gone)
        {
            table.slots.remove(&oldest);
        }
    }

    /// The slot of a list that was named.
    pub(crate) fn list(&self, name: &str) -> Option<ListSlot> {
        self.lists.get(name).copied()
    }

    /// A name has one slot as long as the process lives: what is in the list, each generation says itself.
    pub(crate) fn name_list(&mut self, name: &Arc<str>) -> ListSlot {
        let next = ListSlot(u32::try_from(self.lists.len()).expect("the process ends before its lists do"));
        *self.lists.entry(name.clone()).or_insert(next)
    }

    /// The slot, and the slot of the same address that is being left.
    pub(crate) fn name_listener(&mut self, address: &Address) -> (ListenerSlot, Option<ListenerSlot>) {
        (ListenerSlot(self.listeners.name(address)), self.leaving.get(address).copied())
    }

    /// For a rule that nobody has counted yet.
    pub(crate) fn tally(&self) -> Option<Tally> {
        self.tallies.as_ref().map(Tallies::give)
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
}

/// Groups of one pool that are gone and would have their slots again if they came back: what is still under way in one
/// then counts in it. One that comes back later begins anew.
const GROUPS_REMEMBERED: usize = 1_024;

/// The groups of one pool.
#[derive(Clone, Debug, Default)]
struct GroupTable {
    slots: HashMap<Arc<str>, KnownGroup>,
    /// Oldest first. Some of them may have come back.
    gone: VecDeque<Arc<str>>,
}

#[derive(Clone, Debug)]
struct KnownGroup {
    slot: GroupSlot,
    is_gone: bool,
}

/// Slots of one kind.
#[derive(Clone, Debug)]
struct Table<I> {
    identities: Vec<Option<I>>,
    slots: HashMap<I, u32>,
    /// Lowest first, so that tables stay dense.
    free: BinaryHeap<Reverse<u32>>,
}

impl<I> Default for Table<I> {
    fn default() -> Table<I> {
        Table { identities: Vec::new(), slots: HashMap::new(), free: BinaryHeap::new() }
    }
}

impl<I: Clone + Eq + Hash> Table<I> {
    fn identity(&self, slot: u32) -> Option<&I> {
        self.identities.get(slot as usize)?.as_ref()
    }

    fn in_use(&self) -> usize {
        self.identities.len() - self.free.len()
    }

    fn name(&mut self, identity: &I) -> u32 {
        if let Some(slot) = self.slots.get(identity) {
            return *slot;
        }
        let slot = match self.free.pop() {
            Some(Reverse(slot)) => slot,
            None => {
                self.identities.push(None);
                u32::try_from(self.identities.len() - 1).expect("memory ends before slots do")
            }
        };
        self.identities[slot as usize] = Some(identity.clone());
        self.slots.insert(identity.clone(), slot);
        slot
    }

    /// The slot stands for the identity no more, without being free. `false`: it did not stand for it.
    fn detach(&mut self, identity: &I, slot: u32) -> bool {
        let stands = self.slots.get(identity) == Some(&slot);
        if stands {
            self.slots.remove(identity);
        }
        stands
    }

    fn release(&mut self, slot: u32) -> bool {
        let Some(identity) = self.identities.get_mut(slot as usize).and_then(Option::take) else {
            return false;
        };
        self.detach(&identity, slot);
        self.free.push(Reverse(slot));
        true
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
        assert!(table.release(2) && table.release(0));
        assert_eq!([table.name(&'x'), table.name(&'y'), table.name(&'z')], [0, 2, 4]);
        assert_eq!(table.in_use(), 5);
        assert_eq!((table.identity(0), table.identity(9)), (Some(&'x'), None));
    }

    #[test]
    fn an_identity_has_its_slot_until_it_is_released() {
        let mut table = named("ab");
        assert_eq!(table.name(&'a'), 0);
        assert!(table.release(0) && !table.release(0) && !table.release(7));
        assert_eq!((table.name(&'c'), table.name(&'a')), (0, 2));
    }

    #[test]
    fn what_was_detached_is_neither_free_nor_found() {
        let mut table = named("a");
        assert!(table.detach(&'a', 0) && !table.detach(&'a', 0));
        assert_eq!(table.name(&'a'), 1);
        assert!(table.release(0));
        assert_eq!(table.name(&'a'), 1, "freeing the old slot leaves the new one alone");
        assert_eq!(table.name(&'b'), 0);
    }
}
