//! Slots and addresses that nobody uses any more are given back.
//!
//! A slot is given back in three steps: the rollout says that no shard uses it, the log thread forgets its
//! name after the last record, the compiler thread may give it to another. Until the last step it is its
//! identity's. So that step waits while anything is being compiled, which may be naming the same identity
//! again; and what is named again is in the book, and not given back.

use super::*;
use api::status::ListenerState;
use config::Compiled;
use policy::PoolSlot;

/// An address is given up on after this: a client whose handshake takes longer has gone away.
/// The kernel sends a SYN-ACK again for about 63 seconds (`net.ipv4.tcp_synack_retries`, tcp(7)).
const HANDSHAKE_MAX: Duration = Duration::from_secs(75);

/// How often the kernel is asked whether anybody is on the way in.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Times in a row that nobody must be.
const QUIET_CHECKS: u32 = 2;

/// An address that is being left.
#[derive(Debug)]
pub struct Checking {
    until: Tick,
    quiet: u32,
}

impl Control {
    pub(super) fn pool_is_free(&mut self, slot: PoolSlot) {
        if self.book.free_stand_in(slot) {
            return;
        }
        if self.book.forget_pool(slot) {
            self.log.forget([log::Slot::Pool(slot)]);
        }
    }

    pub(super) fn endpoint_is_free(&mut self, slot: EndpointSlot) {
        if !self.book.forget_endpoint(slot) {
            return;
        }
        self.shared.board.forget(slot);
        self.prober.watch([(slot, None)]);
        if let Some(left) = self.book.has_left(slot) {
            self.shared.events.publish(Happening::Drained {
                pool: left.pool.to_string(),
                group: left.group.to_string(),
                backend: left.id.to_string(),
            });
        }
        self.log.forget([log::Slot::Endpoint(slot)]);
    }

    pub(super) fn listener_is_free(&mut self, slot: ListenerSlot) {
        self.checking.remove(&slot);
        if let Some(group) = self.registry.remove(slot.0) {
            self.close(vec![group]);
        }
        // Jobs that bring the same address, under this slot or a new one, have waited for this.
        let mut waiting = Vec::new();
        for job in self.jobs.values_mut() {
            if let State::Holding { for_what, .. } = &mut job.state
                && for_what.sockets.remove(&slot)
            {
                waiting.push(job.id);
            }
        }
        let brings = |compiled: &Compiled| compiled.bind.iter().any(|bind| bind.listener == slot);
        if !self.jobs.values().filter_map(Job::held).any(brings) {
            self.tell_listener(slot, ListenerState::Closed);
            if self.book.forget_listener(slot) {
                self.unused.listeners.push(slot);
                self.release_unused();
            }
        }
        waiting.into_iter().for_each(|job| self.go_on(job));
    }

    /// The last drop of sockets is a system call each: not here.
    pub(super) fn close(&self, groups: Vec<Arc<ListenGroup>>) {
        if !groups.is_empty() {
            self.ask(Work::Sockets(groups));
        }
    }

    /// The log thread has written the last line with these names.
    pub(super) fn on_forgotten(&mut self, slots: Vec<log::Slot>) {
        for slot in slots {
            match (self.book.name(slot), slot) {
                // Its identity has come back meanwhile.
                (Some(name), _) => self.log.name([(slot, name)]),
                (None, log::Slot::Pool(pool)) => self.unused.pools.push(pool),
                (None, log::Slot::Endpoint(endpoint)) => self.unused.endpoints.push(endpoint),
            }
        }
        self.release_unused();
    }

    pub(super) fn release_unused(&mut self) {
        if self.builds > 0 {
            return;
        }
        let mut unused = std::mem::take(&mut self.unused);
        unused.pools.retain(|slot| !self.book.knows_pool(*slot));
        unused.endpoints.retain(|slot| !self.book.knows_endpoint(*slot));
        unused.listeners.retain(|slot| !self.book.knows_listener(*slot));
        if !unused.is_empty() {
            self.ask(Work::Release(unused));
        }
    }

    /// A compiled change does not come into force. What it brought is free unless it is in the rollout's
    /// care, which then says when: because shards hold it, or because another job names it too.
    pub(super) fn discard(&mut self, compiled: Box<Compiled>) {
        let brought = SlotSet::brought_by(&compiled);
        self.ask(Work::Discard(compiled));
        // Else nobody knows yet who holds what, and `accounted` frees what is left.
        if self.rollout.is_accounted() && !is(Mistake::DiscardedSlotsKept) {
            self.free_uncared(brought);
        }
    }

    /// Frees those of these slots that nobody cares for any more.
    pub(super) fn free_uncared(&mut self, slots: SlotSet) {
        let SlotSet { pools, endpoints, listeners } = slots;
        for slot in pools {
            if !self.rollout.uses_pool(slot) {
                self.pool_is_free(slot);
            }
        }
        for slot in endpoints {
            let brings = |compiled: &Compiled| compiled.change.endpoints_come.iter().any(|(_, come)| *come == slot);
            if !self.rollout.uses_endpoint(slot) && !self.jobs.values().filter_map(Job::held).any(brings) {
                self.endpoint_is_free(slot);
            }
        }
        for slot in listeners {
            if !self.rollout.uses_listener(slot) {
                self.listener_is_free(slot);
            }
        }
    }

    pub(super) fn watch_handshakes(&mut self, slot: ListenerSlot) {
        let now = self.now();
        self.checking.insert(slot, Checking { until: now.after(HANDSHAKE_MAX), quiet: 0 });
        self.next_check = self.next_check.min(now);
        self.check_handshakes(now);
    }

    pub(super) fn check_handshakes(&mut self, now: Tick) {
        if self.checking.is_empty() || self.handshakes_asked || now < self.next_check {
            return;
        }
        let groups: Vec<(ListenerSlot, Arc<ListenGroup>)> =
            self.checking.keys().filter_map(|slot| Some((*slot, self.registry.group(slot.0)?))).collect();
        self.handshakes_asked = true;
        self.next_check = now.after(CHECK_INTERVAL);
        self.ask(Work::Handshakes(groups));
    }

    pub(super) fn on_handshakes(&mut self, quiet: Vec<ListenerSlot>) {
        self.handshakes_asked = false;
        let now = self.now();
        let quiet: BTreeSet<ListenerSlot> = quiet.into_iter().collect();
        let mut over = Vec::new();
        for (slot, checking) in &mut self.checking {
            checking.quiet = if quiet.contains(slot) { checking.quiet + 1 } else { 0 };
            if checking.quiet >= QUIET_CHECKS || checking.until <= now {
                over.push(*slot);
            }
        }
        let mut effects = Vec::new();
        for slot in over {
            self.checking.remove(&slot);
            self.tell_listener(slot, ListenerState::Draining);
            self.rollout.handshakes_over(slot, &mut effects);
        }
        self.perform(effects);
    }
}
