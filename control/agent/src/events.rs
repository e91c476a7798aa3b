//! What has happened, for whoever wants to follow.
//!
//! One ring of the newest [`KEPT_MAX`] events; a subscriber is a number in it. So a slow subscriber costs
//! nothing and holds nobody up: what the ring has forgotten by the time it looks, it is told as a count.

use crate::clock;
use crate::event_log::EventLog;
use api::{Event, Happening};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events that are remembered.
pub const KEPT_MAX: usize = 4096;

/// Cheap to clone; all clones are the same events.
#[derive(Clone, Debug)]
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    /// The number of the next event: what subscribers wait for.
    next: Arc<watch::Sender<u64>>,
    log: EventLog,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
}

/// Number of the first event of a process.
const FIRST: u64 = 1;

impl Events {
    pub fn new(log: EventLog) -> Events {
        Events { ring: Arc::default(), next: Arc::new(watch::Sender::new(FIRST)), log }
    }

    /// For what is no event of the protocol: only the log is told.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    pub fn publish(&self, happening: Happening) {
        let mut ring = self.ring();
        let number = *self.next.borrow();
        if ring.events.len() == KEPT_MAX {
            ring.events.pop_front();
        }
        let event = Event { number, time: clock::date(), happening };
        self.log.event(&event);
        ring.events.push_back(event);
        drop(ring);
        self.next.send_replace(number + 1);
    }

    /// From `from` on, as far as that is still remembered; otherwise from now on.
    pub fn subscribe(&self, from: Option<u64>) -> Subscription {
        let next = *self.next.borrow();
        Subscription {
            events: self.clone(),
            changed: self.next.subscribe(),
            wanted: match from {
                None => next,
                // It is another process's: since then this one has begun, and nothing of it was seen.
                Some(from) if from > next => FIRST,
                Some(from) => from.max(FIRST),
            },
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Whoever panicked did so between two whole events.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One follower.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    changed: watch::Receiver<u64>,
    /// Number of the next event for this one.
    wanted: u64,
}

impl Subscription {
    /// The next event, as soon as there is one. Loses nothing if it is dropped and called again.
    pub async fn next(&mut self) -> Event {
        loop {
            self.changed.borrow_and_update();
            if let Some(event) = self.ready() {
                return event;
            }
            if self.changed.changed().await.is_err() {
                unreachable!("the sender lives as long as `events`");
            }
        }
    }

    /// The next event if it has happened.
    pub fn ready(&mut self) -> Option<Event> {
        let ring = self.events.ring();
        let oldest = ring.events.front()?.number;
        if self.wanted < oldest {
            let missed = Happening::Missed { events: oldest - self.wanted };
            let number = oldest - 1;
            self.wanted = oldest;
            return Some(Event { number, time: clock::date(), happening: missed });
        }
        let event = ring.events.get(usize::try_from(self.wanted - oldest).ok()?)?.clone();
        self.wanted += 1;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::tests::block_on;

    fn died(shard: u16) -> Happening {
        Happening::ShardDied { shard }
    }

    fn numbers(subscription: &mut Subscription) -> Vec<u64> {
        std::iter::from_fn(|| subscription.ready().map(|event| event.number)).collect()
    }

    #[test]
    fn a_subscriber_gets_what_happens_from_then_on() {
        let events = Events::new(EventLog::silent());
        events.publish(died(0));
        let mut subscription = events.subscribe(None);
        assert!(subscription.ready().is_none());
        events.publish(died(1));
        events.publish(died(2));
        assert_eq!(numbers(&mut subscription), [2, 3]);
    }

    #[test]
    fn a_subscriber_that_comes_back_gets_what_it_missed() {
        let events = Events::new(EventLog::silent());
        (0..5).for_each(|shard| events.publish(died(shard)));
        assert_eq!(numbers(&mut events.subscribe(Some(3))), [3, 4, 5]);
        assert_eq!(numbers(&mut events.subscribe(Some(0))), [1, 2, 3, 4, 5]);
        assert!(numbers(&mut events.subscribe(Some(6))).is_empty());
        // The number of a process that ended.
        assert_eq!(numbers(&mut events.subscribe(Some(1000))), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_slow_subscriber_is_told_how_many_are_gone() {
        let events = Events::new(EventLog::silent());
        let mut slow = events.subscribe(None);
        let count = KEPT_MAX as u64 + 10;
        (0..count).for_each(|_| events.publish(died(0)));
        let first = slow.ready().unwrap();
        assert_eq!(first.happening, Happening::Missed { events: 10 });
        assert_eq!(first.number, 10);
        assert_eq!(numbers(&mut slow), (11..=count).collect::<Vec<_>>());
    }

    #[test]
    fn waiting_ends_with_the_event() {
        let events = Events::new(EventLog::silent());
        let mut subscription = events.subscribe(None);
        let later = events.clone();
        let publisher = std::thread::spawn(move || later.publish(died(7)));
        assert_eq!(block_on(subscription.next()).happening, died(7));
        publisher.join().unwrap();
    }
}
