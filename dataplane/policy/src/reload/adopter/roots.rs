//! What each pool means on this shard: its current root, and the older ones that connections still lease.
//!
//! Owns both kinds of part. A root that is not released holds a lease on its own policy, so that the lease
//! of a connection that has not yet decided can always be exchanged for the policy *of that root*.
//!
//! Refuses to know connections, listeners and messages.

use super::super::lease::{Hold, Lease, Leases, Released};
use super::super::planted::{Mistake, is};
use super::super::{Part, Pinned};
use crate::generation::{PoolGeneration, TunnelPolicy};
use crate::ids::{EndpointSlot, PartId, PoolSlot};
use std::collections::VecDeque;
use std::sync::Arc;

/// The lease of a connection that has not yet taken its decisions: on the whole pool.
pub type RootLease = Lease<Root>;
/// The lease of a tunnel: on its policy only.
pub type PolicyLease = Lease<Arc<TunnelPolicy>>;

/// A pool's root as it is held here.
pub struct Root {
    pub pool: Arc<PoolGeneration>,
    policy: PolicyLease,
}

/// By pool slot: the table that a Commit changes.
#[derive(Default)]
pub struct Roots {
    pools: Vec<Pool>,
    roots: Leases<Root>,
    policies: Leases<Arc<TunnelPolicy>>,
}

/// One pool's roots.
#[derive(Default)]
struct Pool {
    current: Option<Current>,
    /// Oldest first; the front one is never released.
    past: VecDeque<Past>,
}

struct Current {
    root: Hold<Root>,
    policy: Hold<Arc<TunnelPolicy>>,
}

/// A superseded root.
struct Past {
    part: PartId,
    released: bool,
    /// Endpoints that this root names and its successor does not. They can be chosen until this root and
    /// all older ones are released.
    left: Vec<Departure>,
}

/// One leaving of one endpoint; it may come back and leave again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departure {
    pub endpoint: EndpointSlot,
    pub since: u64,
}

/// What the shard has let go of by one event.
#[derive(Default)]
pub struct LetGo {
    pub parts: Vec<Part>,
    /// No root that is alive here names these any more.
    pub unnamed: Vec<Departure>,
    /// Nothing here can lead to these pools any more.
    pub pools: Vec<PoolSlot>,
}

/// Whether a new root can be one that was current before: not in a Commit, only in a Sync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Never,
    Perhaps,
}

impl Roots {
    /// Puts `new` in the place of what the slot means now. `left`: endpoints that the old root names and the
    /// new one does not.
    pub fn switch(
        &mut self,
        slot: PoolSlot,
        new: Option<Arc<PoolGeneration>>,
        left: Vec<Departure>,
        seen: Seen,
        gone: &mut LetGo,
    ) {
        if self.pools.len() <= slot.ix() {
            self.pools.resize_with(slot.ix() + 1, Pool::default);
        }
        let left = match is(Mistake::EndpointUnnamedEarly) {
            true => {
                gone.unnamed.extend(left);
                Vec::new()
            }
            false => left,
        };
        let old = self.pools[slot.ix()].current.take();
        let (old_root, mut old_policy) = match old {
            Some(Current { root, policy }) => (Some(root), Some(policy)),
            None => (None, None),
        };
        if let Some(new) = new {
            let policy = match old_policy.take_if(|hold| self.policies.held(hold).part == new.policy.part) {
                Some(hold) => hold,
                None => self.hold_policy(&new.policy, seen),
            };
            let root = self.hold_root(new, &policy, seen);
            self.pools[slot.ix()].current = Some(Current { root, policy });
            self.forget_released(slot, gone);
        }
        match old_root {
            Some(hold) => {
                let part = self.roots.held(&hold).pool.part;
                self.pools[slot.ix()].past.push_back(Past { part, released: false, left });
                if let Some(released) = self.roots.supersede(hold) {
                    self.root_released(released, gone);
                }
            }
            // A slot that meant nothing here: whatever left can be named by older roots at most.
            None => match self.pools[slot.ix()].past.back_mut() {
                Some(past) => past.left.extend(left),
                None => gone.unnamed.extend(left),
            },
        }
        if let Some(hold) = old_policy
            && let Some(Released(policy)) = self.policies.supersede(hold)
        {
            gone.parts.push(Part::Policy(policy));
        }
    }

    pub fn current(&self, slot: PoolSlot) -> Option<&Arc<PoolGeneration>> {
        let current = self.pools.get(slot.ix())?.current.as_ref()?;
        Some(&self.roots.held(&current.root).pool)
    }

    pub fn all_current(&self) -> impl Iterator<Item = &Arc<PoolGeneration>> {
        self.pools.iter().filter_map(|pool| Some(&self.roots.held(&pool.current.as_ref()?.root).pool))
    }

    /// Superseded parts that are leased, roots before policies.
    pub fn pinned(&self) -> impl Iterator<Item = Pinned> {
        let roots = self.roots.pinned().map(|(root, leases)| Pinned { part: Part::Pool(root.pool.clone()), leases });
        let policies =
            self.policies.pinned().map(|(policy, leases)| Pinned { part: Part::Policy(policy.clone()), leases });
        roots.chain(policies)
    }

    pub fn lease(&mut self, slot: PoolSlot) -> Option<RootLease> {
        let current = self.pools.get(slot.ix())?.current.as_ref()?;
        Some(self.roots.lease(&current.root))
    }

    pub fn again(&mut self, lease: &RootLease) -> RootLease {
        self.roots.again(lease)
    }

    pub fn leased(&self, lease: &RootLease) -> &Arc<PoolGeneration> {
        &self.roots.leased(lease).pool
    }

    pub fn policy(&self, lease: &PolicyLease) -> &Arc<TunnelPolicy> {
        self.policies.leased(lease)
    }

    /// From the whole pool to the policy of that very root.
    pub fn exchange(&mut self, lease: RootLease, gone: &mut LetGo) -> PolicyLease {
        let policy = self.policies.again(&self.roots.leased(&lease).policy);
        self.give_back(lease, gone);
        policy
    }

    pub fn give_back(&mut self, lease: RootLease, gone: &mut LetGo) {
        if let Some(released) = self.roots.give_back(lease) {
            self.root_released(released, gone);
        }
    }

    pub fn give_back_policy(&mut self, lease: PolicyLease, gone: &mut LetGo) {
        if let Some(Released(policy)) = self.policies.give_back(lease) {
            gone.parts.push(Part::Policy(policy));
        }
    }

    fn hold_root(&mut self, new: Arc<PoolGeneration>, policy: &Hold<Arc<TunnelPolicy>>, seen: Seen) -> Hold<Root> {
        let past = &mut self.pools[new.slot.ix()].past;
        if seen == Seen::Perhaps
            && let Some(at) = past.iter().position(|past| past.part == new.part && !past.released)
        {
            // Its departures are void: it names those endpoints, and is current.
            past.remove(at);
            return self.roots.revive(|root| root.pool.part == new.part).expect("past and not released");
        }
        let policy = self.policies.lease(policy);
        self.roots.hold(Root { pool: new, policy })
    }

    fn hold_policy(&mut self, new: &Arc<TunnelPolicy>, seen: Seen) -> Hold<Arc<TunnelPolicy>> {
        let revived = match seen {
            Seen::Perhaps => self.policies.revive(|policy| policy.part == new.part),
            Seen::Never => None,
        };
        revived.unwrap_or_else(|| self.policies.hold(new.clone()))
    }

    fn root_released(&mut self, Released(root): Released<Root>, gone: &mut LetGo) {
        let Root { pool, policy } = root;
        let slot = pool.slot;
        let past = &mut self.pools[slot.ix()].past;
        let entry = past
            .iter_mut()
            .find(|past| past.part == pool.part && !past.released)
            .expect("a released root was superseded");
        entry.released = true;
        gone.parts.push(Part::Pool(pool));
        self.give_back_policy(policy, gone);
        self.forget_released(slot, gone);
    }

    /// Takes released roots off the old end; an endpoint is unnamed when all roots up to the one it left with are.
    fn forget_released(&mut self, slot: PoolSlot, gone: &mut LetGo) {
        let pool = &mut self.pools[slot.ix()];
        while pool.past.front().is_some_and(|past| past.released) {
            gone.unnamed.extend(pool.past.pop_front().expect("looked at").left);
        }
        if pool.past.is_empty() && pool.current.is_none() {
            gone.pools.push(slot);
        }
    }

    pub fn check_invariants(&self) {
        self.roots.check_invariants();
        self.policies.check_invariants();
        for (ix, pool) in self.pools.iter().enumerate() {
            assert!(!pool.past.front().is_some_and(|past| past.released), "a released root at the old end");
            if let Some(current) = &pool.current {
                let root = self.roots.held(&current.root);
                assert_eq!(root.pool.slot.ix(), ix, "a root in another pool's slot");
                let policy = self.policies.held(&current.policy);
                assert!(Arc::ptr_eq(policy, self.policies.leased(&root.policy)), "a root leases its own policy");
                assert_eq!(policy.part, root.pool.policy.part);
            }
        }
        let past = self.pools.iter().flat_map(|pool| &pool.past).filter(|past| !past.released).count();
        assert_eq!(past, self.roots.pinned().count(), "superseded and leased, or gone");
    }
}
