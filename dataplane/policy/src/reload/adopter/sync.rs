//! Taking a whole root, whatever the difference is to the one that was here.
//!
//! At start the difference is everything; after having been lost it is what was missed. When control has
//! restarted while this shard was silent the new root can even be the older one: then what was superseded
//! here is current again, and an address that was leaving stays.

use super::roots::{LetGo, Seen};
use super::{Adopter, Deed, Mode};
use crate::generation::{PoolGeneration, Snapshot};
use crate::ids::{EndpointSlot, ListenerSlot, PoolSlot};
use crate::reload::Report;
use crate::reload::listener::Listener;
use crate::reload::planted::{Mistake, is};
use std::collections::HashSet;
use std::sync::Arc;

impl Adopter {
    pub(super) fn sync(&mut self, epoch: u64, to: Arc<Snapshot>, deeds: &mut Vec<Deed>) {
        let mut gone = LetGo::default();
        for (job, change) in std::mem::take(&mut self.prepared) {
            self.unbind_all(job, &change, deeds);
        }
        self.leave_all_but(&to, deeds);
        self.switch_all(&to, &mut gone, deeds);
        if matches!(self.mode, Mode::Suspended | Mode::Serving) {
            self.open_all(&to.listen, &mut gone, deeds);
        }
        for state in to.endpoints.iter().filter(|state| self.endpoints.is_here(state.slot)) {
            deeds.push(Deed::Endpoint(state.clone()));
        }
        self.version = to.version;
        self.committed = to.committed.clone();
        drop(to); // before the report, which says what is held
        self.let_go(gone, deeds);
        let held = Box::new(self.held());
        deeds.push(Deed::Report(Report::Synced { epoch, held }));
    }

    fn leave_all_but(&mut self, to: &Snapshot, deeds: &mut Vec<Deed>) {
        let stay: HashSet<ListenerSlot> = to.listen.iter().map(|listen| listen.listener).collect();
        for listener in self.addresses.which(|address| address.life == Listener::Listening) {
            if !stay.contains(&listener) {
                self.leave(listener, deeds);
            }
        }
    }

    fn switch_all(&mut self, to: &Snapshot, gone: &mut LetGo, deeds: &mut Vec<Deed>) {
        let endpoints = |pool: &Arc<PoolGeneration>| -> Vec<EndpointSlot> {
            pool.endpoints().map(|endpoint| endpoint.slot).collect()
        };
        let named: HashSet<EndpointSlot> = to.pools.iter().flat_map(endpoints).collect();
        let stay: HashSet<PoolSlot> = to.pools.iter().map(|pool| pool.slot).collect();
        let goes = |pool: &&Arc<PoolGeneration>| !stay.contains(&pool.slot) && !is(Mistake::SyncKeepsOldPools);
        let go = self.roots.all_current().filter(goes).map(|pool| (pool.slot, None));
        let come = to.pools.iter().map(|pool| (pool.slot, Some(pool.clone())));
        for (slot, new) in go.chain(come).collect::<Vec<_>>() {
            let old = self.roots.current(slot);
            if old.map(|old| old.part) == new.as_ref().map(|new| new.part) {
                continue;
            }
            let mut left = old.map_or(Vec::new(), endpoints);
            left.retain(|endpoint| !named.contains(endpoint));
            let left = left.into_iter().map(|endpoint| self.endpoints.go(slot, endpoint)).collect();
            self.switch(slot, new, left, Seen::Perhaps, gone, deeds);
        }
        for endpoint in named {
            self.endpoints.come(endpoint);
        }
    }
}
