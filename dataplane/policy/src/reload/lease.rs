//! A shard's account of who holds which part: holds, leases, and the moment when the last is gone.
//!
//! Owns the counts and, beside them, the thing that is counted. Knows nothing of pools, generations or
//! reports; what a release means is the caller's business.
//!
//! ```text
//!            hold ──▶ current ── supersede ──▶ superseded ──▶ released (exactly once)
//!                      │    ▲                   │      ▲  ▲       when no lease is out
//!                  lease    give_back       again    give_back
//! ```
//!
//! The types say what may happen: a [`Hold`] is consumed by [`Leases::supersede`], so no lease can be made
//! of a superseded part except from a lease that is out ([`Leases::again`]); a [`Lease`] cannot be copied, so
//! it is given back at most once, and what it leases is alive.
//!
//! Every operation is O(1) except [`Leases::revive`] and the iterators. A lease allocates nothing.

use super::planted::{Mistake, is};
use std::fmt;
use std::marker::PhantomData;

/// The right to lease a current part.
#[must_use = "a part that is held is alive until it is superseded"]
pub struct Hold<T>(Key<T>);

/// The hold of one connection on one part. Must be given back to the [`Leases`] that made it.
#[must_use = "a lease keeps its part alive until it is given back"]
pub struct Lease<T>(Key<T>);

const _: () = assert!(size_of::<Lease<[u64; 8]>>() == 8, "a connection's slot has 8 bytes for its lease");

/// A part that nobody on this shard holds or leases any more. Made only by the event that made it so.
#[must_use = "control must be told"]
#[derive(Debug)]
pub struct Released<T>(pub T);

/// Parts of one kind, held and leased on one shard.
pub struct Leases<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

struct Entry<T> {
    /// Rises when the entry is used again, so that a key from before cannot pass for one of now.
    turn: u32,
    state: State<T>,
}

enum State<T> {
    Free,
    Current {
        part: T,
        leases: u32,
    },
    /// `leases` > 0, or it would have been released.
    Superseded {
        part: T,
        leases: u32,
    },
}

impl<T> Leases<T> {
    pub fn new() -> Leases<T> {
        Leases { entries: Vec::new(), free: Vec::new() }
    }

    /// Takes a part as current.
    pub fn hold(&mut self, part: T) -> Hold<T> {
        let state = State::Current { part, leases: 0 };
        let index = match self.free.pop() {
            Some(index) => {
                let entry = &mut self.entries[index as usize];
                entry.turn = entry.turn.wrapping_add(1);
                entry.state = state;
                index
            }
            None => {
                self.entries.push(Entry { turn: 0, state });
                u32::try_from(self.entries.len() - 1).expect("parts on one shard fit in 32 bits")
            }
        };
        Hold(Key::new(index, self.entries[index as usize].turn))
    }

    /// One more lease of a current part.
    pub fn lease(&mut self, hold: &Hold<T>) -> Lease<T> {
        let State::Current { leases, .. } = &mut self.entry(&hold.0).state else {
            unreachable!("a hold names a current part")
        };
        *leases += 1;
        Lease(Key::new(hold.0.index, hold.0.turn))
    }

    /// One more lease of what is leased already, current or not.
    pub fn again(&mut self, lease: &Lease<T>) -> Lease<T> {
        match &mut self.entry(&lease.0).state {
            State::Current { leases, .. } | State::Superseded { leases, .. } => *leases += 1,
            State::Free => unreachable!("leased, so alive"),
        }
        Lease(Key::new(lease.0.index, lease.0.turn))
    }

    /// Ends one lease. `Some` if the part was superseded and this was the last.
    pub fn give_back(&mut self, lease: Lease<T>) -> Option<Released<T>> {
        match &mut self.entry(&lease.0).state {
            State::Current { leases, .. } => {
                *leases -= 1;
                None
            }
            State::Superseded { leases, .. } => {
                *leases -= 1;
                if *leases == 0 || is(Mistake::ReleasedWhileLeased) { Some(self.release(lease.0.index)) } else { None }
            }
            State::Free => unreachable!("leased, so alive"),
        }
    }

    /// The part is current no more. `Some` if no lease is out.
    pub fn supersede(&mut self, hold: Hold<T>) -> Option<Released<T>> {
        let state = &mut self.entry(&hold.0).state;
        match std::mem::replace(state, State::Free) {
            State::Current { part, leases } => *state = State::Superseded { part, leases },
            _ => unreachable!("a hold names a current part"),
        }
        let State::Superseded { leases, .. } = state else { unreachable!("set above") };
        if *leases == 0 { Some(self.release(hold.0.index)) } else { None }
    }

    /// Makes a superseded part current again: the newest root can turn out to be an older one when control
    /// restarts while a shard is silent. O(parts).
    pub fn revive(&mut self, wanted: impl Fn(&T) -> bool) -> Option<Hold<T>> {
        let index = self
            .entries
            .iter()
            .position(|entry| matches!(&entry.state, State::Superseded { part, .. } if wanted(part)))?;
        let entry = &mut self.entries[index];
        match std::mem::replace(&mut entry.state, State::Free) {
            State::Superseded { part, leases } => entry.state = State::Current { part, leases },
            _ => unreachable!("found as superseded"),
        }
        Some(Hold(Key::new(index as u32, entry.turn)))
    }

    pub fn held(&self, hold: &Hold<T>) -> &T {
        self.part(&hold.0)
    }

    pub fn leased(&self, lease: &Lease<T>) -> &T {
        self.part(&lease.0)
    }

    /// Superseded parts with the leases that pin them.
    pub fn pinned(&self) -> impl Iterator<Item = (&T, u32)> {
        self.entries.iter().filter_map(|entry| match &entry.state {
            State::Superseded { part, leases } => Some((part, *leases)),
            _ => None,
        })
    }

    /// Leases that are out.
    pub fn leases(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| match entry.state {
                State::Free => 0,
                State::Current { leases, .. } | State::Superseded { leases, .. } => u64::from(leases),
            })
            .sum()
    }

    pub fn check_invariants(&self) {
        let mut free = 0;
        for entry in &self.entries {
            match entry.state {
                State::Free => free += 1,
                State::Current { .. } => {}
                State::Superseded { leases, .. } => {
                    assert!(leases > 0, "superseded without a lease, and not released")
                }
            }
        }
        assert_eq!(free, self.free.len(), "every free entry is in the free list once");
    }

    fn release(&mut self, index: u32) -> Released<T> {
        let state = std::mem::replace(&mut self.entries[index as usize].state, State::Free);
        let State::Superseded { part, .. } = state else { unreachable!("released: superseded") };
        self.free.push(index);
        Released(part)
    }

    fn entry(&mut self, key: &Key<T>) -> &mut Entry<T> {
        let entry = &mut self.entries[key.index as usize];
        assert_eq!(entry.turn, key.turn, "a key of another turn, or of another table");
        entry
    }

    fn part(&self, key: &Key<T>) -> &T {
        let entry = &self.entries[key.index as usize];
        assert_eq!(entry.turn, key.turn, "a key of another turn, or of another table");
        match &entry.state {
            State::Current { part, .. } | State::Superseded { part, .. } => part,
            State::Free => unreachable!("held or leased, so alive"),
        }
    }
}

impl<T> Default for Leases<T> {
    fn default() -> Leases<T> {
        Leases::new()
    }
}

/// Which entry, and which use of it. `T` keeps keys of different tables apart.
struct Key<T> {
    index: u32,
    turn: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    fn new(index: u32, turn: u32) -> Key<T> {
        Key { index, turn, of: PhantomData }
    }
}

impl<T> fmt::Debug for Hold<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({}.{})", self.0.index, self.0.turn)
    }
}

impl<T> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}.{})", self.0.index, self.0.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_a_lease_is_released_when_superseded() {
        let mut leases = Leases::new();
        let hold = leases.hold("one");
        let lease = leases.lease(&hold);
        assert!(leases.give_back(lease).is_none(), "a current part stays without leases");
        assert_eq!(leases.supersede(hold).unwrap().0, "one");
        leases.check_invariants();
    }

    #[test]
    fn a_superseded_part_lives_until_its_last_lease_is_given_back() {
        let mut leases = Leases::new();
        let hold = leases.hold("one");
        let (first, second) = (leases.lease(&hold), leases.lease(&hold));
        assert!(leases.supersede(hold).is_none());
        let third = leases.again(&second);
        assert!(leases.give_back(first).is_none());
        assert!(leases.give_back(second).is_none());
        assert_eq!(leases.pinned().collect::<Vec<_>>(), [(&"one", 1)]);
        assert_eq!(*leases.leased(&third), "one");
        assert_eq!(leases.give_back(third).unwrap().0, "one");
        assert_eq!(leases.leases(), 0);
        leases.check_invariants();
    }

    #[test]
    fn an_entry_is_used_again_under_another_turn() {
        let mut leases = Leases::new();
        let hold = leases.hold("one");
        let stale = Lease::<&str>(Key::new(hold.0.index, hold.0.turn));
        let _ = leases.supersede(hold);
        let hold = leases.hold("two");
        assert_eq!(hold.0.index, stale.0.index);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| leases.leased(&stale).len())).is_err();
        assert!(panicked, "a key of an earlier turn must not name the part of now");
    }

    #[test]
    fn a_revived_part_is_current_with_the_leases_it_had() {
        let mut leases = Leases::new();
        let hold = leases.hold("one");
        let old = leases.lease(&hold);
        assert!(leases.supersede(hold).is_none());
        assert!(leases.revive(|part| *part == "two").is_none());
        let hold = leases.revive(|part| *part == "one").unwrap();
        assert!(leases.give_back(old).is_none(), "current again");
        assert_eq!(leases.supersede(hold).unwrap().0, "one");
    }
}
