//! Which endpoints this shard uses, and when it has let go of one that no generation names.
//!
//! Owns a count and a state by slot. What a connection does with its endpoint, and its health, are not
//! known here.

use super::roots::Departure;
use crate::ids::{EndpointSlot, PoolSlot};

/// By endpoint slot.
#[derive(Default)]
pub struct Endpoints {
    uses: Vec<Use>,
    /// Numbers departures, so that an old one cannot end a new one.
    departures: u64,
}

#[derive(Clone, Copy, Default)]
struct Use {
    connections: u32,
    life: Life,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Life {
    /// Unknown here, or released.
    #[default]
    Absent,
    /// The current root of its pool names it.
    Named,
    /// The current root does not. `nameable`: an older one that is alive may, so it can still be chosen.
    Leaving { pool: PoolSlot, since: u64, nameable: bool },
}

impl Endpoints {
    /// A generation names it, perhaps again.
    pub fn come(&mut self, endpoint: EndpointSlot) {
        self.at(endpoint).life = Life::Named;
    }

    /// The newest generation does not name it any more. It leaves with the root that did; an endpoint that
    /// this shard never knew leaves all the same, so that control hears of every one.
    pub fn go(&mut self, pool: PoolSlot, endpoint: EndpointSlot) -> Departure {
        self.departures += 1;
        let since = self.departures;
        self.at(endpoint).life = Life::Leaving { pool, since, nameable: true };
        Departure { endpoint, since }
    }

    /// No root that is alive names it any more. `Some` if it is released by that.
    pub fn unnamed(&mut self, departure: Departure) -> Option<EndpointSlot> {
        let at = self.at(departure.endpoint);
        match &mut at.life {
            Life::Leaving { since, nameable, .. } if *since == departure.since => *nameable = false,
            _ => return None, // it came back, and perhaps left again
        }
        self.release(departure.endpoint)
    }

    /// A connection has chosen it.
    pub fn opened(&mut self, endpoint: EndpointSlot) {
        let at = self.at(endpoint);
        assert!(
            matches!(at.life, Life::Named | Life::Leaving { nameable: true, .. }),
            "endpoint {endpoint} was chosen while {:?}: from which root?",
            at.life
        );
        at.connections += 1;
    }

    /// A connection is done with it. `Some` if it is released by that.
    pub fn closed(&mut self, endpoint: EndpointSlot) -> Option<EndpointSlot> {
        let at = self.at(endpoint);
        at.connections = at.connections.checked_sub(1).expect("closed as often as opened");
        self.release(endpoint)
    }

    pub fn connections(&self, endpoint: EndpointSlot) -> u32 {
        self.uses.get(endpoint.ix()).map_or(0, |at| at.connections)
    }

    pub fn leaving(&self) -> impl Iterator<Item = (PoolSlot, EndpointSlot)> {
        let slots = (0..).map(EndpointSlot);
        self.uses.iter().zip(slots).filter_map(|(at, slot)| match at.life {
            Life::Leaving { pool, .. } => Some((pool, slot)),
            Life::Absent | Life::Named => None,
        })
    }

    /// Whether a root that is alive here names it, or a connection uses it.
    pub fn is_here(&self, endpoint: EndpointSlot) -> bool {
        self.uses.get(endpoint.ix()).is_some_and(|at| at.life != Life::Absent)
    }

    pub fn is_named(&self, endpoint: EndpointSlot) -> bool {
        self.uses.get(endpoint.ix()).is_some_and(|at| at.life == Life::Named)
    }

    fn release(&mut self, endpoint: EndpointSlot) -> Option<EndpointSlot> {
        let at = self.at(endpoint);
        let released = at.connections == 0 && matches!(at.life, Life::Leaving { nameable: false, .. });
        released.then(|| {
            at.life = Life::Absent;
            endpoint
        })
    }

    fn at(&mut self, endpoint: EndpointSlot) -> &mut Use {
        if self.uses.len() <= endpoint.ix() {
            self.uses.resize_with(endpoint.ix() + 1, Use::default);
        }
        &mut self.uses[endpoint.ix()]
    }

    pub fn check_invariants(&self) {
        for (ix, at) in self.uses.iter().enumerate() {
            match at.life {
                Life::Absent => assert_eq!(at.connections, 0, "endpoint {ix} is used and no generation names it"),
                Life::Leaving { nameable: false, .. } => assert!(at.connections > 0, "endpoint {ix} was not released"),
                Life::Named | Life::Leaving { .. } => {}
            }
        }
    }
}
