//! What happened, as a hash of everything and the last events in words.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Events that a failure shows, unless `SIM_EVENTS` says otherwise.
const SHOWN: usize = 40;

pub struct Trace {
    pub step: u64,
    hash: u64,
    last: VecDeque<Event>,
    shown: usize,
    counts: BTreeMap<&'static str, u64>,
}

/// One event: who did what, and two numbers that say to which thing.
#[derive(Clone, Copy)]
pub struct Event {
    step: u64,
    who: Who,
    what: &'static str,
    of: u64,
    with: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Control,
    Shard(u16),
    World,
}

impl Trace {
    pub fn new() -> Trace {
        let shown = std::env::var("SIM_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(SHOWN);
        Trace { step: 0, hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new(), shown, counts: BTreeMap::new() }
    }

    pub fn note(&mut self, who: Who, what: &'static str, of: u64, with: u64) {
        let actor = match who {
            Who::Control => 1 << 16,
            Who::World => 2 << 16,
            Who::Shard(shard) => u64::from(shard),
        };
        *self.counts.entry(what).or_default() += 1;
        what.bytes().for_each(|byte| self.mix(u64::from(byte)));
        [self.step, actor, of, with].into_iter().for_each(|number| self.mix(number));
        if self.last.len() == self.shown {
            self.last.pop_front();
        }
        self.last.push_back(Event { step: self.step, who, what, of, with });
    }

    /// Two runs with the same hash have had the same events.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How often each thing has happened.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    pub fn last(&self) -> Vec<Event> {
        self.last.iter().copied().collect()
    }

    /// FNV-1a, a word at a time.
    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { step, who, what, of, with } = self;
        match who {
            Who::Control => write!(f, "{step:>5} control  {what} {of} {with}"),
            Who::Shard(shard) => write!(f, "{step:>5} shard {shard}  {what} {of} {with}"),
            Who::World => write!(f, "{step:>5} world    {what} {of} {with}"),
        }
    }
}
