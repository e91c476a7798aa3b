//! Listen addresses that are on their way out.
//!
//! Owns, by slot, which shards still use the address and how far each is. The sockets belong to the
//! process's registry, which may close them when this says `Free`. What listens normally is not in here.
//!
//! ```text
//! unbind (its job was aborted) ──▶ Unbinding ───────── every shard has forgotten ──────▶ Free
//!
//! leave ──▶ Tentative ── confirm ──▶ Possible ── every holder ──▶ Asked ── none pending ──▶ Over: Close is sent
//!                                                drops SYNs (Check)                         │
//!                                                               every holder has closed ────┴──▶ Free
//! ```
//!
//! Only when every holder drops SYNs can no new handshake begin, so only then is it worth asking the kernel
//! whether one is pending. And before it is confirmed that the job which took it away is in force, a
//! control that restarts may find a root in which the address stays.

use crate::ids::{ListenerSlot, ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Addresses {
    going: BTreeMap<ListenerSlot, Going>,
}

enum Going {
    Unbinding { owed: ShardSet },
    Leaving { holders: ShardSet, dropping: ShardSet, handshakes: Handshakes },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshakes {
    Tentative,
    Possible,
    Asked,
    Over,
}

impl Going {
    fn leaving(holders: ShardSet) -> Going {
        Going::Leaving { holders, dropping: ShardSet::empty(), handshakes: Handshakes::Tentative }
    }
}

/// What the address needs next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Next {
    /// Watch the kernel until no handshake is pending.
    Check(ListenerSlot),
    /// No shard uses it any more.
    Free(ListenerSlot),
}

impl Addresses {
    /// It was bound for a change that did not come into force; these shards have not forgotten it yet.
    pub fn unbind(&mut self, listener: ListenerSlot, owed: ShardSet) -> Option<Next> {
        self.insert(listener, Going::Unbinding { owed })
    }

    /// No generation names it any more; these shards may use it.
    pub fn leave(&mut self, listener: ListenerSlot, holders: ShardSet) -> Option<Next> {
        self.insert(listener, Going::leaving(holders))
    }

    /// It does not come back.
    pub fn confirm(&mut self, listener: ListenerSlot) -> Option<Next> {
        if let Some(Going::Leaving { handshakes, .. }) = self.going.get_mut(&listener)
            && *handshakes == Handshakes::Tentative
        {
            *handshakes = Handshakes::Possible;
        }
        self.settle(listener)
    }

    /// Those that are not confirmed yet.
    pub fn tentative(&self) -> Vec<ListenerSlot> {
        let tentative = |going: &Going| matches!(going, Going::Leaving { handshakes: Handshakes::Tentative, .. });
        let going = self.going.iter().filter(|(_, going)| tentative(going));
        going.map(|(slot, _)| *slot).collect()
    }

    /// This shard lets no handshake begin there any more.
    pub fn drops_syns(&mut self, listener: ListenerSlot, shard: ShardId) -> Option<Next> {
        if let Some(Going::Leaving { dropping, .. }) = self.going.get_mut(&listener) {
            dropping.insert(shard);
        }
        self.settle(listener)
    }

    /// The kernel shows no handshake. Answers with the shards that must close now.
    pub fn handshakes_over(&mut self, listener: ListenerSlot) -> ShardSet {
        match self.going.get_mut(&listener) {
            Some(Going::Leaving { holders, handshakes, .. }) if *handshakes != Handshakes::Possible => {
                *handshakes = Handshakes::Over;
                *holders
            }
            _ => ShardSet::empty(),
        }
    }

    /// Whether a shard that comes back must be told (again) to close.
    pub fn is_over(&self, listener: ListenerSlot) -> bool {
        matches!(self.going.get(&listener), Some(Going::Leaving { handshakes: Handshakes::Over, .. }))
    }

    /// This shard does not use it any more.
    pub fn let_go(&mut self, listener: ListenerSlot, shard: ShardId) -> Option<Next> {
        match self.going.get_mut(&listener) {
            Some(Going::Unbinding { owed }) => owed.remove(shard),
            Some(Going::Leaving { holders, .. }) => holders.remove(shard),
            None => {}
        }
        self.settle(listener)
    }

    /// This shard is seen to hold an address that nobody has mentioned so far. `others` may hold it too.
    pub fn found_leaving(&mut self, listener: ListenerSlot, shard: ShardId, others: ShardSet) -> Option<Next> {
        let mut known = match self.going.get(&listener) {
            Some(Going::Leaving { .. }) => return self.drops_syns(listener, shard),
            Some(Going::Unbinding { owed }) => *owed,
            None => others,
        };
        known.insert(shard);
        self.going.insert(listener, Going::leaving(known));
        self.drops_syns(listener, shard)
    }

    /// All that this shard may use.
    pub fn of(&self, shard: ShardId) -> Vec<ListenerSlot> {
        let uses = |going: &Going| match going {
            Going::Unbinding { owed } => owed.contains(shard),
            Going::Leaving { holders, .. } => holders.contains(shard),
        };
        self.going.iter().filter(|(_, going)| uses(going)).map(|(slot, _)| *slot).collect()
    }

    pub fn contains(&self, listener: ListenerSlot) -> bool {
        self.going.contains_key(&listener)
    }

    fn insert(&mut self, listener: ListenerSlot, going: Going) -> Option<Next> {
        let twice = self.going.insert(listener, going);
        assert!(twice.is_none(), "listener {listener} is going already");
        self.settle(listener)
    }

    fn settle(&mut self, listener: ListenerSlot) -> Option<Next> {
        let unused = match self.going.get_mut(&listener)? {
            Going::Unbinding { owed } => owed.is_empty(),
            Going::Leaving { handshakes: Handshakes::Tentative, .. } => false,
            Going::Leaving { holders, dropping, handshakes } => {
                let early = is(Mistake::CheckBeforeAllDrop) && !dropping.is_empty();
                let all_drop = holders.without(*dropping).is_empty() || early;
                if !holders.is_empty() && all_drop && *handshakes == Handshakes::Possible {
                    *handshakes = Handshakes::Asked;
                    return Some(Next::Check(listener));
                }
                holders.is_empty()
            }
        };
        unused.then(|| {
            self.going.remove(&listener);
            Next::Free(listener)
        })
    }

    pub fn check_invariants(&self, alive: ShardSet) {
        for (slot, going) in &self.going {
            let (Going::Unbinding { owed: users } | Going::Leaving { holders: users, .. }) = going;
            assert!(users.without(alive).is_empty(), "listener {slot}: a dead shard uses it");
            match going {
                Going::Unbinding { owed } => assert!(!owed.is_empty(), "listener {slot} is free"),
                Going::Leaving { handshakes: Handshakes::Tentative, .. } => {}
                Going::Leaving { holders, dropping, handshakes } => {
                    assert!(!holders.is_empty(), "listener {slot} is free");
                    let all_drop = holders.without(*dropping).is_empty();
                    let possible = *handshakes == Handshakes::Possible;
                    assert!(all_drop != possible, "listener {slot}: it is time to check, or too early");
                }
            }
        }
    }
}
