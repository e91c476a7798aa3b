//! Dense slots for identities, kept from generation to generation.
//!
//! ```text
//!           named by a job            the job is applied          a job drops it
//!   free ──────────────────▶ Reserved ──────────────────▶ Named ─────────────────▶ Going
//!    ▲                           │ withdrawn                ▲ ◀───── withdrawn ────── │
//!    ├── or taken back, released ┘                          │                         │ applied
//!    │                                                      │ applied                 ▼
//!    └──────────── released by every shard ─── Leaving ──▶ Revived ◀─── named again ─ Leaving
//! ```
//!
//! - A pool or backend that is named again while it leaves gets its **old slot back** (*Revived*): its
//!   counts, caps and health belong to the identity, and connections that still use it are counted there.
//!   A release that was under way is remembered, so that a withdrawn job frees the slot instead of losing it.
//! - A listen address that is named again while it leaves gets a **new slot**: the sockets behind the old one
//!   are closing and cannot be kept. Nobody may bind the address before the old sockets are closed, or the
//!   kernel would send some of the new clients to them; `compile` says what to wait for
//!   ([`crate::Bind::after`]).
//!
//! A release may come before its job has ended, because one shard may have released before another has
//! adopted: hence *Going*. Owned by whoever compiles; the shards are not known here.

use policy::generation::Address;
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
    parts: u64,
}

/// What one job named and dropped, to be settled when it ends.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    pub(crate) pools: Reserved,
    pub(crate) endpoints: Reserved,
    pub(crate) listeners: Reserved,
}

#[derive(Debug, Default)]
pub(crate) struct Reserved {
    named: Vec<u32>,
    dropped: Vec<u32>,
}

impl Slots {
    /// Every shard is done with the pool. `true`: the slot is free for another.
    pub fn release_pool(&mut self, slot: PoolSlot) -> bool {
        self.pools.release(slot.0)
    }

    /// Every shard is done with the endpoint. `true`: the slot is free for another; `false`: it has been
    /// named again meanwhile, or its job has not ended yet.
    pub fn release_endpoint(&mut self, slot: EndpointSlot) -> bool {
        self.endpoints.release(slot.0)
    }

    /// The sockets of the address are closed. `true`: the slot is free for another.
    pub fn release_listener(&mut self, slot: ListenerSlot) -> bool {
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

    /// Slots in use or reserved: pools, endpoints, listeners.
    pub fn in_use(&self) -> (usize, usize, usize) {
        (self.pools.in_use(), self.endpoints.in_use(), self.listeners.in_use())
    }

    pub(crate) fn name_pool(&mut self, id: &PoolId, reserved: &mut Reservations) -> PoolSlot {
        PoolSlot(self.pools.name(id, &mut reserved.pools))
    }

    pub(crate) fn name_endpoint(&mut self, identity: &EndpointIdentity, reserved: &mut Reservations) -> EndpointSlot {
        EndpointSlot(self.endpoints.name(identity, &mut reserved.endpoints))
    }

    /// The slot, and the slot of the same address that must be closed before it is bound.
    pub(crate) fn name_listener(
        &mut self,
        address: &Address,
        reserved: &mut Reservations,
    ) -> (ListenerSlot, Option<ListenerSlot>) {
        let (slot, leaving) = self.listeners.name_anew(address, &mut reserved.listeners);
        (ListenerSlot(slot), leaving.map(ListenerSlot))
    }

    pub(crate) fn drop_pool(&mut self, slot: PoolSlot, reserved: &mut Reservations) {
        self.pools.drop(slot.0, &mut reserved.pools);
    }

    pub(crate) fn drop_endpoint(&mut self, slot: EndpointSlot, reserved: &mut Reservations) {
        self.endpoints.drop(slot.0, &mut reserved.endpoints);
    }

    pub(crate) fn drop_listener(&mut self, slot: ListenerSlot, reserved: &mut Reservations) {
        self.listeners.drop(slot.0, &mut reserved.listeners);
    }

    /// Never given twice in the life of the process.
    pub(crate) fn part(&mut self) -> PartId {
        self.parts += 1;
        PartId(self.parts)
    }

    /// The job is in force. Slots that became free by it because every shard had let go already are free now.
    pub(crate) fn applied(&mut self, reserved: Reservations) -> Freed {
        let Reservations { pools, endpoints, listeners } = reserved;
        Freed {
            pools: self.pools.applied(pools).into_iter().map(PoolSlot).collect(),
            endpoints: self.endpoints.applied(endpoints).into_iter().map(EndpointSlot).collect(),
            listeners: self.listeners.applied(listeners).into_iter().map(ListenerSlot).collect(),
        }
    }

    /// The job was prepared and did not come into force. Shards may hold what it named until they have
    /// forgotten it, so slots that are new stay with their identities until they are released.
    pub(crate) fn taken_back(&mut self, reserved: Reservations) -> Freed {
        let Reservations { pools, endpoints, listeners } = reserved;
        Freed {
            pools: self.pools.taken_back(pools).into_iter().map(PoolSlot).collect(),
            endpoints: self.endpoints.taken_back(endpoints).into_iter().map(EndpointSlot).collect(),
            listeners: self.listeners.taken_back(listeners).into_iter().map(ListenerSlot).collect(),
        }
    }

    /// The job left nothing behind.
    pub(crate) fn withdrawn(&mut self, reserved: Reservations) -> Freed {
        let Reservations { pools, endpoints, listeners } = reserved;
        Freed {
            pools: self.pools.withdrawn(pools).into_iter().map(PoolSlot).collect(),
            endpoints: self.endpoints.withdrawn(endpoints).into_iter().map(EndpointSlot).collect(),
            listeners: self.listeners.withdrawn(listeners).into_iter().map(ListenerSlot).collect(),
        }
    }
}

/// Slots that became free when a job ended, so that nobody keeps names or counters for them.
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
    /// Slots of identities that are reserved, named, going or revived.
    slots: HashMap<I, u32>,
    /// Slots of identities that are leaving.
    leaving: HashMap<I, u32>,
    /// Lowest first, so that tables stay dense.
    free: BinaryHeap<Reverse<u32>>,
}

#[derive(Debug)]
struct Entry<I> {
    identity: I,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A job that has not ended names it for the first time.
    Reserved,
    Named,
    /// A job that has not ended drops it.
    Going {
        released: bool,
    },
    /// No generation names it, some shard still uses it.
    Leaving,
    /// The same, but a job that has not ended names it again.
    Revived {
        released: bool,
    },
}

impl<I> Default for Table<I> {
    fn default() -> Table<I> {
        Table { entries: Vec::new(), slots: HashMap::new(), leaving: HashMap::new(), free: BinaryHeap::new() }
    }
}

impl<I: Clone + Eq + Hash + std::fmt::Debug> Table<I> {
    fn identity(&self, slot: u32) -> Option<&I> {
        Some(&self.entries.get(slot as usize)?.as_ref()?.identity)
    }

    fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The slot that the identity still has, else a new one.
    fn name(&mut self, identity: &I, reserved: &mut Reserved) -> u32 {
        let Some(slot) = self.leaving.remove(identity) else {
            return self.reserve(identity, reserved);
        };
        self.slots.insert(identity.clone(), slot);
        *self.state(slot) = State::Revived { released: false };
        reserved.named.push(slot);
        slot
    }

    /// A new slot; and the old one, if it is leaving.
    fn name_anew(&mut self, identity: &I, reserved: &mut Reserved) -> (u32, Option<u32>) {
        let leaving = self.leaving.get(identity).copied();
        (self.reserve(identity, reserved), leaving)
    }

    fn reserve(&mut self, identity: &I, reserved: &mut Reserved) -> u32 {
        // Overlapping jobs wait for each other, so an identity that is taken is one whose job was lost in a
        // crash before it could be settled. This job takes it over.
        let slot = match (self.slots.get(identity), self.free.pop()) {
            (Some(taken), free) => {
                self.free.extend(free);
                *taken
            }
            (None, Some(Reverse(slot))) => slot,
            (None, None) => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).expect("memory ends before slots do")
            }
        };
        match &mut self.entries[slot as usize] {
            Some(Entry { state: State::Reserved | State::Revived { .. }, .. }) => {}
            Some(entry) => panic!("{identity:?} is not new: it is {:?}", entry.state),
            free => *free = Some(Entry { identity: identity.clone(), state: State::Reserved }),
        }
        self.slots.insert(identity.clone(), slot);
        reserved.named.push(slot);
        slot
    }

    fn drop(&mut self, slot: u32, reserved: &mut Reserved) {
        let state = self.state(slot);
        assert!(matches!(state, State::Named | State::Going { .. }), "slot {slot} is dropped while {state:?}");
        // Going already: the job that dropped it was lost in a crash of control.
        *state = State::Going { released: false };
        reserved.dropped.push(slot);
    }

    fn release(&mut self, slot: u32) -> bool {
        match self.state(slot) {
            // Reserved: a job that was taken back named it, and no other has since.
            State::Leaving | State::Reserved => {
                self.free(slot);
                return true;
            }
            State::Going { released } | State::Revived { released } => *released = true,
            // Named again before the shards' last word on its former life came in.
            State::Named => {}
        }
        false
    }

    fn applied(&mut self, reserved: Reserved) -> Vec<u32> {
        for slot in reserved.named {
            *self.state(slot) = State::Named;
        }
        let mut freed = Vec::new();
        for slot in reserved.dropped {
            match *self.state(slot) {
                State::Going { released: true } => freed.push(slot),
                State::Going { released: false } => self.leave(slot),
                other => panic!("slot {slot} was dropped by the job and is {other:?}"),
            }
        }
        freed.iter().for_each(|slot| self.free(*slot));
        freed
    }

    fn withdrawn(&mut self, reserved: Reserved) -> Vec<u32> {
        let mut freed = Vec::new();
        for slot in reserved.named {
            match *self.state(slot) {
                State::Reserved | State::Revived { released: true } => freed.push(slot),
                State::Revived { released: false } => self.leave(slot),
                other => panic!("slot {slot} was named by the job and is {other:?}"),
            }
        }
        freed.iter().for_each(|slot| self.free(*slot));
        for slot in reserved.dropped {
            *self.state(slot) = State::Named;
        }
        freed
    }

    fn taken_back(&mut self, reserved: Reserved) -> Vec<u32> {
        let mut freed = Vec::new();
        for slot in reserved.named {
            match *self.state(slot) {
                State::Reserved => {}
                State::Revived { released: true } => freed.push(slot),
                State::Revived { released: false } => self.leave(slot),
                other => panic!("slot {slot} was named by the job and is {other:?}"),
            }
        }
        freed.iter().for_each(|slot| self.free(*slot));
        for slot in reserved.dropped {
            *self.state(slot) = State::Named;
        }
        freed
    }

    fn leave(&mut self, slot: u32) {
        *self.state(slot) = State::Leaving;
        let identity = self.identity(slot).expect("a slot in use").clone();
        self.slots.remove(&identity);
        self.leaving.insert(identity, slot);
    }

    fn free(&mut self, slot: u32) {
        let entry = self.entries[slot as usize].take().expect("a slot in use");
        for map in [&mut self.slots, &mut self.leaving] {
            if map.get(&entry.identity) == Some(&slot) {
                map.remove(&entry.identity);
            }
        }
        self.free.push(Reverse(slot));
    }

    fn state(&mut self, slot: u32) -> &mut State {
        let entry = self.entries.get_mut(slot as usize).and_then(Option::as_mut);
        &mut entry.unwrap_or_else(|| panic!("slot {slot} is nobody's")).state
    }
}
