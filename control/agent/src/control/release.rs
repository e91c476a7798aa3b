//! Slots and addresses that nobody uses any more are given back.
//!
//! A slot goes three ways, in this order: the rollout says that no shard uses it, the log thread forgets its
//! name after the last record, the compiler thread may give it to another. The last step waits while a job is
//! being compiled: that job may be naming the same identity again, which keeps its slot then.

use super::*;
use crate::book::New;
use crate::compile::Settling;
use api::status::ListenerState;
use config::{Compiled, Freed};
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

/// Slots that nobody uses.
#[derive(Debug, Default)]
pub struct Unused {
    pools: Vec<PoolSlot>,
    endpoints: Vec<EndpointSlot>,
    listeners: Vec<ListenerSlot>,
}

impl Control {
    pub(super) fn pool_is_free(&mut self, slot: PoolSlot) {
        if self.book.free_stand_in(slot) {
            return;
        }
        self.book.forget_pool(slot);
        self.log.forget([log::Slot::Pool(slot)]);
    }

    pub(super) fn endpoint_is_free(&mut self, slot: EndpointSlot) {
        self.shared.board.forget(slot);
        self.prober.watch([(slot, None)]);
        if let Some(left) = self.book.forget_endpoint(slot) {
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
        let mut taken_over = false;
        for job in self.jobs.values_mut() {
            if let State::Holding { compiled, for_what } = &mut job.state
                && for_what.sockets.remove(&slot)
            {
                taken_over |= compiled.bind.iter().any(|bind| bind.listener == slot);
                waiting.push(job.id);
            }
        }
        if !taken_over {
            self.tell_listener(slot, ListenerState::Closed);
            self.book.forget_listener(slot);
            self.unused.listeners.push(slot);
            self.release_unused();
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
        let compiling = self.jobs.values().any(|job| matches!(job.state, State::Building));
        if compiling {
            return;
        }
        let Unused { mut pools, mut endpoints, mut listeners } = std::mem::take(&mut self.unused);
        pools.retain(|slot| !self.book.knows_pool(*slot));
        endpoints.retain(|slot| !self.book.knows_endpoint(*slot));
        listeners.retain(|slot| !self.book.knows_listener(*slot));
        if !(pools.is_empty() && endpoints.is_empty() && listeners.is_empty()) {
            self.ask(Work::Release { pools, endpoints, listeners });
        }
    }

    /// A compiled change that no shard has seen is thrown away, with all that came with it.
    pub(super) fn discard(&mut self, compiled: Box<Compiled>, new: New) {
        self.ask(Work::Settle { compiled, how: Settling::TakenBack });
        let New { pools, endpoints, listeners } = new;
        for pool in pools {
            self.book.forget_pool(pool);
            self.log.forget([log::Slot::Pool(pool)]);
        }
        for endpoint in endpoints {
            self.endpoint_is_free(endpoint);
        }
        for listener in listeners {
            self.listener_is_free(listener);
        }
    }

    /// Slots that were free the moment a job ended, because every shard had let go of them before.
    pub(super) fn on_freed(&mut self, freed: &Freed) {
        for slot in &freed.endpoints {
            // The compiler thread has given them up already: only what is kept by slot is forgotten.
            self.book.forget_endpoint(*slot);
            self.shared.board.forget(*slot);
        }
        for slot in &freed.pools {
            self.book.forget_pool(*slot);
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
