//! Which backend the next connection goes to.
//!
//! A [`Picker`] belongs to one group on one shard. It owns what balancing must remember of the group's
//! backends (connections in flight, health, caps reached, whose turn it is) by their identity, so that a
//! new generation changes what it changes and nothing else. It refuses to know addresses, sockets and the
//! clock, and rolls no dice: randomness comes with each [`Ask`].
//!
//! ```text
//!               weight > 0, not draining, resolved, not down
//! out of rotation ◀───────────────────────────────▶ in rotation ──▶ tier 1  primary, up
//!                                                        │              2  primary, unproven
//!                                     below its cap ◀────┴────▶ full    3  backup, up
//!                                        (open)                         4  backup, unproven
//! ```
//!
//! The first tier that has an open backend which this connection has not tried yet is picked from. Where all that are
//! up are full the unproven of their kind help out, but a backup never does: it is for when the others are gone, not
//! for when they are busy. Where all are full the connection waits.
//!
//! A pick is O(log n) and allocates nothing; nor does a change of health or of a cap, only an adoption and
//! a connection to a backend that has left the group. Backends have *seats*, dense numbers that stay with the
//! identity while it is in the group, and the algorithms know seats only.

mod draw;
mod heap;
mod latency;
mod least;
pub mod maglev;
mod method;
mod rotation;
mod seat;
#[cfg(test)]
mod tests;

use crate::generation::{Address, Balance, Endpoint, Group, Health};
use crate::ids::{EndpointSlot, ShardId};
use crate::tick::Tick;
pub use maglev::hash_source;
use method::Method;
use seat::{Census, Salt, Seat, Standing, TIERS, Tier};
use std::sync::Arc;

/// What is known of the connection that needs a backend.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// [`hash_source`] of the client's address, or a hash of whatever else the group's requests stay together by.
    pub source: u64,
    /// Any number, all equally likely.
    pub random: u64,
    /// Failed already for this connection: at most [`Group::attempts`] of them. They are not picked again.
    pub tried: &'a [EndpointSlot],
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    Endpoint {
        slot: EndpointSlot,
        /// In [`Group::endpoints`] as last adopted.
        index: usize,
    },
    /// Some are in rotation, but each has reached its cap.
    Busy,
    /// None is in rotation, or all of them were tried.
    Nobody,
}

/// Picks a backend of one group on one shard.
#[derive(Debug, Default)]
pub struct Picker {
    /// Sorted by slot, in the order of [`Group::endpoints`].
    members: Vec<Member>,
    seats: Vec<Seat>,
    /// Seats that nobody holds.
    free: Vec<u32>,
    /// Connections of endpoints that left the group with some open, sorted by slot: if one comes back, it
    /// is as busy as it is.
    left: Vec<(EndpointSlot, u32)>,
    checked: bool,
    in_rotation: [u32; TIERS],
    census: Census,
    method: Method,
    salt: Salt,
    last_answer: Tick,
    /// Memory of the last pick and of the last adoption, kept for the next.
    tried: Vec<u32>,
    between: Vec<Member>,
    changed: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    slot: EndpointSlot,
    seat: u32,
}

impl Picker {
    /// A picker of a group without backends.
    pub fn new() -> Picker {
        Picker::default()
    }

    /// As [`Picker::new`]. Where several backends are equal, each shard begins with another of them, so that
    /// the first connections of all shards do not meet at one backend.
    pub fn of_shard(shard: ShardId) -> Picker {
        let salt = Salt(shard.0.into());
        let method = Method::new(&Balance::RoundRobin, salt);
        Picker { method, salt, ..Picker::default() }
    }

    /// Takes the group as a new generation defines it. Endpoints that were there before keep connections,
    /// health, whether they are resolved or full, and their place in the rotation; the health of one that
    /// comes back is forgotten, its open connections are not.
    ///
    /// Cost: O(n) reads of endpoints, plus O(log n) for each that changed; O(n log n) if the algorithm
    /// changed or checking began or ended, and for the first group: the picker of a new pool is best made at
    /// Prepare. Use [`Picker::adopt_change`] where the old group is at hand.
    pub fn adopt(&mut self, group: &Group) {
        self.adopt_all(&[], group);
    }

    /// As [`Picker::adopt`], for a group that replaces `old`, which must be the one adopted last: endpoints
    /// that are the same `Arc` in both are not read, only passed over.
    pub fn adopt_change(&mut self, old: &Group, new: &Group) {
        assert_eq!(old.endpoints.len(), self.members.len(), "not the group adopted last");
        self.adopt_all(&old.endpoints, new);
    }

    /// A new endpoint is [`Health::Unproven`] until it is told otherwise.
    pub fn set_health(&mut self, slot: EndpointSlot, health: Health) {
        self.change(slot, |seat| seat.health = health);
    }

    /// Whether the name of an endpoint has an address. A new name has none; what is not a name needs none.
    pub fn set_resolved(&mut self, slot: EndpointSlot, resolved: bool) {
        self.change(slot, |seat| seat.resolved = resolved);
    }

    /// Whether the endpoint's cap over all shards is reached.
    pub fn set_full(&mut self, slot: EndpointSlot, full: bool) {
        self.change(slot, |seat| seat.full = full);
    }

    /// Whether the endpoint is left out because of what it answered. See `http::eject`.
    pub fn set_ejected(&mut self, slot: EndpointSlot, ejected: bool) {
        self.change(slot, |seat| seat.ejected = ejected);
    }

    /// The endpoint took this long to begin its answer. Told for failures too, with the time-out in place of the
    /// time: whoever fails fast is not fast. Only [`Balance::PeakEwma`] asks; what was told stays with the endpoint.
    ///
    /// A pick reckons with the time of the last answer from anybody: since then all means have faded by the same
    /// share, so the present would decide no differently.
    pub fn answered(&mut self, slot: EndpointSlot, micros: u32, now: Tick) {
        self.last_answer = self.last_answer.max(now);
        if let Some(seat) = self.seat_of(slot) {
            self.seats[seat as usize].latency.observe(micros, now);
        }
    }

    /// A connection to the endpoint begins, or the attempt to make one. Of a group of HTTP backends it is each
    /// request: least connections are then least requests.
    pub fn opened(&mut self, slot: EndpointSlot) {
        match self.seat_of(slot) {
            Some(seat) => {
                self.seats[seat as usize].in_flight += 1;
                self.load_changed(seat);
            }
            // Picked from the generation before.
            None => match self.left.binary_search_by_key(&slot, |(slot, _)| *slot) {
                Ok(at) => self.left[at].1 += 1,
                Err(at) => self.left.insert(at, (slot, 1)),
            },
        }
    }

    /// It has ended. Called once for each [`Picker::opened`]; one too many is ignored.
    pub fn closed(&mut self, slot: EndpointSlot) {
        match self.seat_of(slot) {
            Some(seat) => {
                let in_flight = &mut self.seats[seat as usize].in_flight;
                *in_flight = in_flight.saturating_sub(1);
                self.load_changed(seat);
            }
            None => {
                if let Ok(at) = self.left.binary_search_by_key(&slot, |(slot, _)| *slot) {
                    self.left[at].1 -= 1;
                    if self.left[at].1 == 0 {
                        self.left.remove(at);
                    }
                }
            }
        }
    }

    /// Connections to the endpoint that are open, also after it left the group.
    pub fn in_flight(&self, slot: EndpointSlot) -> u32 {
        match self.seat_of(slot) {
            Some(seat) => self.seats[seat as usize].in_flight,
            None => {
                let at = self.left.binary_search_by_key(&slot, |(slot, _)| *slot);
                at.map_or(0, |at| self.left[at].1)
            }
        }
    }

    pub fn pick(&mut self, ask: &Ask) -> Pick {
        // Where those that are up are at their caps, an unproven one is better than waiting or being refused; a backup is
        // for when there is nobody else, and not for when they are busy.
        let mut busy: Option<Tier> = None;
        for tier in Tier::ALL {
            if busy.is_some_and(|busy| busy.is_backup() != tier.is_backup()) {
                break;
            }
            let in_rotation = self.in_rotation[tier.ix()] as usize;
            if in_rotation == 0 || in_rotation == self.note_tried(tier, ask.tried) {
                continue;
            }
            let Picker { members, seats, method, tried, last_answer, .. } = self;
            let Some(seat) = method.choose(members, seats, tier, tried, ask, *last_answer) else {
                busy = Some(tier);
                continue;
            };
            let slot = self.seats[seat as usize].slot;
            let index = self.index_of(slot).expect("whoever is picked is a member");
            return Pick::Endpoint { slot, index };
        }
        if busy.is_some() { Pick::Busy } else { Pick::Nobody }
    }

    /// Panics if what is remembered contradicts itself. O(n): for tests and simulations.
    pub fn check_invariants(&self) {
        assert!(self.members.is_sorted_by(|a, b| a.slot < b.slot));
        assert!(self.left.is_sorted_by(|a, b| a.0 < b.0));
        assert!(self.left.iter().all(|(slot, open)| *open > 0 && self.seat_of(*slot).is_none()));
        assert_eq!(self.seats.len(), self.members.len() + self.free.len());
        let held: Vec<&Seat> = self.members.iter().map(|member| &self.seats[member.seat as usize]).collect();
        for (member, seat) in self.members.iter().zip(&held) {
            assert_eq!((member.slot, seat.due_standing(self.checked)), (seat.slot, seat.standing));
        }
        for tier in Tier::ALL {
            let in_rotation = held.iter().filter(|seat| seat.standing.tier() == Some(tier));
            assert_eq!(in_rotation.count(), self.in_rotation[tier.ix()] as usize);
            let open = held.iter().filter(|seat| seat.standing.is_open_in(tier));
            let open_weight = open.clone().map(|seat| u64::from(seat.weight)).sum();
            self.method.check_invariants(&self.seats, tier, open.count(), open_weight);
        }
        assert_eq!(self.census, Census::of_all(held.into_iter()));
    }

    /// Fills `self.tried` with the seats of `tier` that were tried, each once, and returns how many they are.
    fn note_tried(&mut self, tier: Tier, tried: &[EndpointSlot]) -> usize {
        self.tried.clear();
        for slot in tried {
            if let Some(seat) = self.seat_of(*slot)
                && self.seats[seat as usize].standing.tier() == Some(tier)
                && !self.tried.contains(&seat)
            {
                self.tried.push(seat);
            }
        }
        self.tried.len()
    }

    fn index_of(&self, slot: EndpointSlot) -> Option<usize> {
        self.members.binary_search_by_key(&slot, |member| member.slot).ok()
    }

    fn seat_of(&self, slot: EndpointSlot) -> Option<u32> {
        self.index_of(slot).map(|index| self.members[index].seat)
    }

    fn change(&mut self, slot: EndpointSlot, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seat_of(slot) {
            change(&mut self.seats[seat as usize]);
            self.settle(seat);
        }
    }

    fn load_changed(&mut self, seat: u32) {
        if let Standing::Open(tier) = self.seats[seat as usize].standing {
            self.method.load_changed(&self.seats, seat, tier);
        }
    }

    /// Brings a seat's standing in line with what is known of it.
    fn settle(&mut self, seat: u32) {
        let standing = self.seats[seat as usize].due_standing(self.checked);
        self.place(seat, standing);
    }

    fn place(&mut self, seat: u32, standing: Standing) {
        let before = self.seats[seat as usize].standing;
        if before == standing {
            return;
        }
        if let Standing::Open(tier) = before {
            self.method.leave(&self.seats, seat, tier);
        }
        if let Some(tier) = before.tier() {
            self.in_rotation[tier.ix()] -= 1;
        }
        self.seats[seat as usize].standing = standing;
        if let Some(tier) = standing.tier() {
            self.in_rotation[tier.ix()] += 1;
        }
        if let Standing::Open(tier) = standing {
            self.method.enter(&self.seats, seat, tier);
        }
    }
}

/// Adoption.
impl Picker {
    fn adopt_all(&mut self, known: &[Arc<Endpoint>], group: &Group) {
        debug_assert!(group.endpoints.is_sorted_by(|a, b| a.slot < b.slot));
        let checked_before = std::mem::replace(&mut self.checked, group.health.is_some());
        if !self.method.take(&group.balance) {
            self.restart(Method::new(&group.balance, self.salt));
        }
        self.walk(known, group);
        self.tried.clear();
        self.tried.reserve(self.members.len().min(group.attempts as usize));
        if checked_before != self.checked {
            self.changed.clear();
            self.changed.extend(self.members.iter().map(|member| member.seat));
        }
        self.method.reserve(self.seats.len(), &self.census);
        for at in 0..self.changed.len() {
            self.settle(self.changed[at]);
        }
    }

    /// Another algorithm: everybody's turn begins anew, and what is known of them stays.
    fn restart(&mut self, method: Method) {
        self.method = method;
        self.method.reserve(self.seats.len(), &self.census);
        for member in &self.members {
            if let Standing::Open(tier) = self.seats[member.seat as usize].standing {
                self.method.enter(&self.seats, member.seat, tier);
            }
        }
    }

    /// Walks the members and the new endpoints together, where they differ; both are sorted by slot.
    fn walk(&mut self, known: &[Arc<Endpoint>], group: &Group) {
        self.changed.clear();
        let (first, last) = same_ends(known, &group.endpoints);
        let before = first..self.members.len() - last;
        let mut after = std::mem::take(&mut self.between);
        let mut at = before.start;
        for endpoint in &group.endpoints[first..group.endpoints.len() - last] {
            if at < before.end && known.get(at).is_some_and(|known| Arc::ptr_eq(known, endpoint)) {
                after.push(self.members[at]);
                at += 1;
                continue;
            }
            let slot = endpoint.slot;
            while at < before.end && self.members[at].slot < slot {
                self.leave(self.members[at]);
                at += 1;
            }
            let seat = if at < before.end && self.members[at].slot == slot {
                at += 1;
                self.members[at - 1].seat
            } else {
                self.join(slot)
            };
            self.revise(seat, endpoint);
            after.push(Member { slot, seat });
        }
        (at..before.end).for_each(|at| self.leave(self.members[at]));
        self.members.splice(before, after.drain(..));
        self.between = after;
    }

    /// A seat for an endpoint that was not in the group.
    fn join(&mut self, slot: EndpointSlot) -> u32 {
        let in_flight = match self.left.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) => self.left.remove(at).1,
            Err(_) => 0,
        };
        let newcomer = Seat { slot, in_flight, ..Seat::NOBODY };
        match self.free.pop() {
            Some(seat) => {
                self.seats[seat as usize] = newcomer;
                seat
            }
            None => {
                self.seats.push(newcomer);
                (self.seats.len() - 1) as u32
            }
        }
    }

    fn leave(&mut self, Member { slot, seat }: Member) {
        self.place(seat, Standing::Out);
        self.method.forget(seat);
        let gone = std::mem::replace(&mut self.seats[seat as usize], Seat::NOBODY);
        self.census.discount(&gone);
        self.free.push(seat);
        if gone.in_flight > 0 {
            let at = self.left.partition_point(|(left, _)| *left < slot);
            self.left.insert(at, (slot, gone.in_flight));
        }
    }

    /// Writes down what `endpoint` says of a seat; it is settled when all are written down.
    fn revise(&mut self, seat: u32, endpoint: &Endpoint) {
        // No `..`: a new property of an endpoint has to say what it does to the one that is running.
        let Endpoint { slot: _, group: _, id: _, address, weight, backup, drain, max_connections: _ } = endpoint;
        let named = matches!(address, Address::Name { .. });
        let at = &self.seats[seat as usize];
        if (at.weight, at.backup, at.drain, at.named) == (*weight, *backup, *drain, named) {
            return;
        }
        if at.weight != *weight {
            // The algorithms find a seat by its weight.
            self.place(seat, Standing::Out);
        }
        let at = &mut self.seats[seat as usize];
        self.census.discount(at);
        (at.weight, at.backup, at.drain, at.named) = (*weight, *backup, *drain, named);
        self.census.count(at);
        self.changed.push(seat);
    }
}

/// How many are the same `Arc` at the beginning, and of the rest at the end.
fn same_ends(known: &[Arc<Endpoint>], now: &[Arc<Endpoint>]) -> (usize, usize) {
    let same = |(known, now): &(&Arc<Endpoint>, &Arc<Endpoint>)| Arc::ptr_eq(known, now);
    let first = known.iter().zip(now).take_while(same).count();
    let last = known[first..].iter().rev().zip(now[first..].iter().rev()).take_while(same).count();
    (first, last)
}
