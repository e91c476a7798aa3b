//! One shard as control sees it: its mailbox, what does not fit into it yet, and its lives.

use link::mailbox::{Postbox, Rejected};
use policy::reload::Order;
use policy::{EndpointSlot, ShardId};
use std::collections::{BTreeMap, VecDeque};

/// An order and the incarnation it is meant for: a shard that was started again ignores what its
/// predecessor was told.
pub type Addressed = (u32, Order);

/// A report, by whom.
pub type Signed = (ShardId, u32, policy::reload::Report);

/// One shard.
#[derive(Debug)]
pub struct Seat {
    postbox: Postbox<Addressed>,
    pub incarnation: u32,
    /// Nobody will start it again.
    pub gone: bool,
    /// Serving now, as last looked at.
    pub live: bool,
    /// Has served in this incarnation or an earlier one.
    pub was_live: bool,
    pub restarts: u64,
    unsent: Outbox,
}

/// Orders that found the mailbox full, in order. The conversation sends a shard that does not answer no more
/// than a few orders a job, and of an endpoint only the newest state is kept: so the bound is what jobs and
/// slots have.
#[derive(Debug, Default)]
struct Outbox {
    orders: VecDeque<Entry>,
    /// Newest states of endpoints that have an entry in `orders`.
    states: BTreeMap<EndpointSlot, Order>,
}

#[derive(Debug)]
enum Entry {
    Order(Order),
    /// Stands for the newest state in `states`.
    State(EndpointSlot),
}

impl Seat {
    pub fn new(postbox: Postbox<Addressed>) -> Seat {
        Seat {
            postbox,
            incarnation: FIRST,
            gone: false,
            live: false,
            was_live: false,
            restarts: 0,
            unsent: Outbox::default(),
        }
    }

    /// First in, first out; keeps what does not fit.
    pub fn send(&mut self, order: Order) {
        self.unsent.push(order);
        self.flush();
    }

    /// Whether orders wait for room.
    pub fn is_behind(&self) -> bool {
        !self.unsent.orders.is_empty()
    }

    pub fn flush(&mut self) {
        while let Some(order) = self.unsent.pop() {
            match self.postbox.post((self.incarnation, order)) {
                Ok(()) => {}
                Err(Rejected::Full((_, order))) => return self.unsent.push_front(order),
                // Its thread has ended; its keeper says so.
                Err(Rejected::Closed(_)) => return self.forget_orders(),
            }
        }
    }

    /// Another incarnation starts, and none of the orders was meant for it.
    pub fn reincarnate(&mut self) {
        self.incarnation += 1;
        self.restarts += 1;
        self.forget_orders();
    }

    pub fn forget_orders(&mut self) {
        self.unsent = Outbox::default();
    }
}

/// Number of a shard's first incarnation.
const FIRST: u32 = 1;

impl Outbox {
    fn push(&mut self, order: Order) {
        match &order {
            Order::Endpoint(state) => {
                let slot = state.slot;
                if self.states.insert(slot, order).is_none() {
                    self.orders.push_back(Entry::State(slot));
                }
            }
            _ => self.orders.push_back(Entry::Order(order)),
        }
    }

    fn pop(&mut self) -> Option<Order> {
        match self.orders.pop_front()? {
            Entry::Order(order) => Some(order),
            Entry::State(slot) => self.states.remove(&slot),
        }
    }

    fn push_front(&mut self, order: Order) {
        match &order {
            Order::Endpoint(state) => {
                let slot = state.slot;
                self.states.insert(slot, order);
                self.orders.push_front(Entry::State(slot));
            }
            _ => self.orders.push_front(Entry::Order(order)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::mailbox::{Mailbox, mailbox};
    use policy::JobId;
    use policy::generation::{EndpointState, Health};

    fn state(slot: u32, health: Health) -> Order {
        Order::Endpoint(EndpointState { slot: EndpointSlot(slot), health, addresses: [].into() })
    }

    fn taken(mailbox: &mut Mailbox<Addressed>) -> Vec<String> {
        std::iter::from_fn(|| mailbox.take())
            .map(|(incarnation, order)| match order {
                Order::Abort { job } => format!("{incarnation}: abort {job}"),
                Order::Endpoint(state) => format!("{incarnation}: {} {:?}", state.slot, state.health),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_full_mailbox_keeps_order_and_the_newest_state() {
        let (postbox, mut orders) = mailbox(1).unwrap();
        let mut seat = Seat::new(postbox);
        for job in 1..=2 {
            seat.send(Order::Abort { job: JobId(job) });
        }
        seat.send(state(7, Health::Unproven));
        seat.send(Order::Abort { job: JobId(3) });
        seat.send(state(7, Health::Up));
        seat.send(state(8, Health::Down));
        assert!(seat.is_behind());
        let mut all = Vec::new();
        loop {
            let some = taken(&mut orders);
            if some.is_empty() {
                break;
            }
            all.extend(some);
            seat.flush();
        }
        assert_eq!(all, ["1: abort 1", "1: abort 2", "1: 7 Up", "1: abort 3", "1: 8 Down"]);
        assert!(!seat.is_behind());
    }

    #[test]
    fn a_new_incarnation_gets_none_of_the_old_orders() {
        let (postbox, mut orders) = mailbox(1).unwrap();
        let mut seat = Seat::new(postbox);
        seat.send(Order::Abort { job: JobId(1) });
        seat.send(Order::Abort { job: JobId(2) });
        seat.reincarnate();
        assert_eq!(taken(&mut orders), ["1: abort 1"]);
        seat.send(Order::Abort { job: JobId(3) });
        assert_eq!(taken(&mut orders), ["2: abort 3"]);
    }

    #[test]
    fn a_closed_mailbox_swallows_orders() {
        let (postbox, orders) = mailbox(1).unwrap();
        drop(orders);
        let mut seat = Seat::new(postbox);
        seat.send(Order::Abort { job: JobId(1) });
        assert!(!seat.is_behind());
    }
}
