//! A shard as control knows it: the real end of the conversation, and connections that only hold what they lease.

use super::Trouble;
use crate::dice::Dice;
use agent::Signed;
use agent::sim::Machine;
use policy::reload::{Adopter, Adoption, Deed, Order, PolicyLease, Refusal, Report, RootLease};
use policy::{EndpointSlot, ListenerSlot, ShardId};
use std::collections::VecDeque;
use std::time::Duration;

pub struct Shard {
    pub id: ShardId,
    pub adopter: Adopter,
    incarnation: u32,
    reports: VecDeque<Signed>,
    /// Takes no order.
    pub is_stalled: bool,
    held: Vec<RootLease>,
    tunnels: Vec<(EndpointSlot, PolicyLease)>,
}

impl Shard {
    pub fn new(id: ShardId) -> Shard {
        Shard {
            id,
            adopter: Adopter::new(id),
            incarnation: 1,
            reports: VecDeque::new(),
            is_stalled: false,
            held: Vec::new(),
            tunnels: Vec::new(),
        }
    }

    /// Obeys the next order. `false`: there is none.
    pub fn obey(&mut self, machine: &mut Machine, dice: &mut Dice, trouble: &mut Trouble) -> bool {
        if self.is_stalled {
            return false;
        }
        let Some((incarnation, order)) = machine.take_order(self.id) else { return false };
        if incarnation != self.incarnation {
            return true;
        }
        let refuses = matches!(order, Order::Prepare { .. }) && dice.chance(trouble.refusals);
        trouble.refused |= refuses;
        let room = |_: &_| match refuses {
            true => Err(Refusal::TableFull { table: "simulated", bound: 0 }),
            false => Ok(()),
        };
        let mut deeds = Vec::new();
        self.adopter.on_order(order, room, &mut deeds);
        self.adopter.check_invariants();
        self.perform(deeds);
        true
    }

    /// Control hears the next report. `false`: there is none.
    pub fn tell(&mut self, machine: &mut Machine) -> bool {
        let Some(report) = self.reports.pop_front() else { return false };
        machine.report(report);
        true
    }

    /// A client comes in, or gets its backend, or leaves.
    pub fn traffic(&mut self, dice: &mut Dice) {
        let mut deeds = Vec::new();
        match dice.below(4) {
            0 | 1 if self.adopter.accepts() && self.held.len() < CLIENTS_MAX => {
                let roots = self.adopter.held().current;
                let listeners: Vec<ListenerSlot> =
                    roots.iter().flat_map(|root| root.listeners.iter().copied()).collect();
                if let Some(listener) = dice.pick(&listeners) {
                    self.held.push(self.adopter.accept(listener));
                }
            }
            2 if !self.held.is_empty() && self.tunnels.len() < CLIENTS_MAX => {
                let lease = self.held.swap_remove(dice.below(self.held.len()));
                let endpoints: Vec<EndpointSlot> =
                    self.adopter.root(&lease).endpoints().map(|endpoint| endpoint.slot).collect();
                match dice.pick(&endpoints) {
                    Some(endpoint) => {
                        self.adopter.endpoint_opened(endpoint);
                        let lease = self.adopter.exchange(lease, &mut deeds);
                        self.tunnels.push((endpoint, lease));
                    }
                    None => self.adopter.give_back(lease, &mut deeds),
                }
            }
            _ if !self.tunnels.is_empty() => {
                let (endpoint, lease) = self.tunnels.swap_remove(dice.below(self.tunnels.len()));
                self.adopter.give_back_policy(lease, &mut deeds);
                self.adopter.endpoint_closed(endpoint, &mut deeds);
            }
            _ => {}
        }
        self.perform(deeds);
    }

    /// Every client leaves.
    pub fn empty(&mut self) {
        let mut deeds = Vec::new();
        for lease in std::mem::take(&mut self.held) {
            self.adopter.give_back(lease, &mut deeds);
        }
        for (endpoint, lease) in std::mem::take(&mut self.tunnels) {
            self.adopter.give_back_policy(lease, &mut deeds);
            self.adopter.endpoint_closed(endpoint, &mut deeds);
        }
        self.perform(deeds);
    }

    /// Its executor dies and another begins.
    pub fn die(&mut self) {
        self.held.clear();
        self.tunnels.clear();
        self.adopter = Adopter::new(self.id);
        self.reports.push_back((self.id, self.incarnation, Report::Died));
        self.incarnation += 1;
    }

    pub fn is_quiet(&self) -> bool {
        self.reports.is_empty()
    }

    fn perform(&mut self, deeds: Vec<Deed>) {
        let mut todo = VecDeque::from(deeds);
        while let Some(deed) = todo.pop_front() {
            let mut more = Vec::new();
            match deed {
                Deed::Report(report) => self.report(report),
                Deed::Adopted { job } => {
                    let adoption = Adoption { pause: Duration::ZERO, carried: 0, adopted: 0, retired: 0 };
                    self.report(Report::Adopted { job, adoption });
                }
                Deed::CancelAccept(listener) => self.adopter.accept_ended(listener, &mut more),
                Deed::Retire(endpoint) => {
                    let (ends, stay) =
                        std::mem::take(&mut self.tunnels).into_iter().partition(|(of, _)| *of == endpoint);
                    self.tunnels = stay;
                    let ends: Vec<(EndpointSlot, PolicyLease)> = ends;
                    for (endpoint, lease) in ends {
                        self.adopter.give_back_policy(lease, &mut more);
                        self.adopter.endpoint_closed(endpoint, &mut more);
                    }
                }
                Deed::StopBy(_) => {
                    self.empty();
                    self.adopter.deadline_reached(&mut more);
                }
                Deed::Open(_)
                | Deed::DropSyns(_)
                | Deed::Switched { .. }
                | Deed::Forget { .. }
                | Deed::ForgetEndpoint(_)
                | Deed::GiveBack(_)
                | Deed::SuspendAccept
                | Deed::ResumeAccept
                | Deed::Endpoint(_) => {}
            }
            todo.extend(more);
        }
    }

    fn report(&mut self, report: Report) {
        let signed: Signed = (self.id, self.incarnation, report);
        self.reports.push_back(signed);
    }
}

/// Clients of each kind: enough that old parts are held, few enough that they are let go of.
const CLIENTS_MAX: usize = 3;
