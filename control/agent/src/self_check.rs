//! The thread `sluice-check`: whether what runs still means what its document says.
//!
//! Every generation after the first is made by differences. Tests hold that against compiling from nothing; this does in
//! production, in the background: what a pool means as it runs and what it means compiled from nothing are two hashes
//! ([`policy::meaning`]), and must be equal. Owns which pools were looked at, the counts, and how much of a processor that may
//! take. Refuses to decide what follows of a difference: control is told.
//!
//! Nobody waits for it and it waits for nobody:
//! - A *look* is one pass over the pools that have changed since the one before, each as it is when its turn comes; what was
//!   superseded in between is never looked at. What comes during a look is the next one's.
//! - A look that took `t` is followed by a rest of [`REST_TIMES`] × `t`, and of [`REST_MIN`] at least: less than 2 % of one
//!   core, and at the lowest priority ([`NICE`]). A constant and no key: there is nothing to choose that would be felt.
//! - The compiled pool is held while its hash is taken and given back before anything is compiled; its content, which history
//!   keeps as well, until the hashes are compared. So a superseded generation is freed at most one pool's walk later
//!   than without, and by this thread if that was the last to hold it.
//! - What is compiled to compare is dropped pool by pool: in memory twice is one pool at a time, and none of more than
//!   [`POOL_BYTES_MAX`], which is counted as skipped. Slots are this thread's own, made for one pool and gone with it.

use crate::control::Event;
use crate::event_log::Level;
use crate::names::Name;
use crate::publish::Shared;
use config::{Afresh, Running};
use policy::generation::ContentHash;
use policy::{GenerationId, PartId, PoolId, ShardSet};
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Priority of the thread: the least that there is.
const NICE: i32 = 19;

/// Rest after a look, in times of what it took.
const REST_TIMES: u32 = 50;

/// And at least this. Tests wait for events and for no clock.
const REST_MIN: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(10) };

/// The largest pool that is compiled a second time, by what its generation reckons for itself: some 100,000 rules and as many
/// backends are within it.
pub const POOL_BYTES_MAX: u64 = if cfg!(test) { 64 << 10 } else { 256 << 20 };

/// What came of looking at one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    Equal,
    Different,
    /// It is too large, or compiling it panicked, which the log tells.
    Skipped,
}

impl Found {
    pub const ALL: [Found; 3] = [Found::Equal, Found::Different, Found::Skipped];

    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Found::Equal => "equal",
            Found::Different => "different",
            Found::Skipped => "skipped",
        }
    }
}

/// How often each came, since the start.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Found::ALL.len()]);

impl Counts {
    pub fn of(&self, found: Found) -> u64 {
        // A figure by itself: it orders nothing.
        self.0[found as usize].load(Ordering::Relaxed)
    }

    fn count(&self, found: Found) {
        self.0[found as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A pool that runs as something else than its document says.
#[derive(Clone, Debug)]
pub struct Differs {
    pub pool: PoolId,
    /// Which root of it was looked at.
    pub part: PartId,
    pub generation: GenerationId,
    pub runs: ContentHash,
    pub says: ContentHash,
}

/// Where control says that something new is in force. The thread ends when this is gone.
#[derive(Debug)]
pub struct SelfCheck {
    calls: SyncSender<()>,
    told: Option<GenerationId>,
}

impl SelfCheck {
    /// Starts the thread. What runs by now was compiled from nothing and is not looked at.
    pub fn start(shared: Arc<Shared>, shards: ShardSet, core: Option<core_affinity::CoreId>) -> io::Result<SelfCheck> {
        // One call stands for any number: the newest is looked at.
        let (calls, called) = sync_channel(1);
        let running = Arc::clone(&shared.published.load().running);
        let (afresh, looked) = (Afresh::new(&running.config, shards), parts(&running));
        let told = running.generation;
        drop(running);
        let mut checker = Checker { shared, afresh, looked };
        std::thread::Builder::new().name(Name::SelfCheck.to_string()).spawn(move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            // Without the right to be nice it rests all the same.
            let _ = rustix::process::nice(NICE);
            checker.look_and_rest(&called);
        })?;
        Ok(SelfCheck { calls, told })
    }

    /// Nobody looks.
    #[cfg(feature = "sim")]
    pub fn unmanned() -> SelfCheck {
        SelfCheck { calls: sync_channel(1).0, told: None }
    }

    /// This is what everybody can see now. Never waits.
    pub fn published(&mut self, running: &Running) {
        if self.told != running.generation {
            self.told = running.generation;
            let _ = self.calls.try_send(());
        }
    }
}

fn parts(running: &Running) -> HashMap<PoolId, PartId> {
    running.pools.iter().map(|(id, pool)| (id.clone(), pool.generation.part)).collect()
}

struct Checker {
    shared: Arc<Shared>,
    afresh: Afresh,
    /// The root of each pool that was looked at last.
    looked: HashMap<PoolId, PartId>,
}

impl Checker {
    fn look_and_rest(&mut self, calls: &Receiver<()>) {
        let mut called = false;
        while called || calls.recv().is_ok() {
            let began = Instant::now();
            self.look();
            match rest(calls, Instant::now() + rest_after(began.elapsed())) {
                Rested::Uncalled => called = false,
                Rested::Called => called = true,
                Rested::Over => return,
            }
        }
    }

    fn look(&mut self) {
        let running = Arc::clone(&self.shared.published.load().running);
        self.looked.retain(|id, _| running.pools.get(id).is_some());
        let is_new = |id: &PoolId, part| self.looked.get(id) != Some(&part);
        let pools = running.pools.iter().filter(|(id, pool)| is_new(id, pool.generation.part));
        let changed: Vec<PoolId> = pools.map(|(id, _)| id.clone()).collect();
        drop(running);
        for id in changed {
            if self.shared.published.load().stopping {
                return;
            }
            self.look_at(id);
        }
    }

    /// The pool as it runs by now.
    fn look_at(&mut self, id: PoolId) {
        let (generation, content, names) = {
            let published = self.shared.published.load();
            let Some(pool) = published.running.pools.get(&id) else { return };
            (Arc::clone(&pool.generation), Arc::clone(&pool.content), published.running.names(pool))
        };
        let (part, number) = (generation.part, generation.number);
        self.looked.insert(id.clone(), part);
        if generation.bytes > POOL_BYTES_MAX {
            return self.shared.self_checks.count(Found::Skipped);
        }
        // What runs is not kept from being freed while it is compiled anew.
        let hashes = catch_unwind(AssertUnwindSafe(|| {
            let runs = generation.meaning(&names);
            drop(generation);
            (runs, self.afresh.meaning(&content))
        }));
        let found = match hashes {
            Ok((runs, says)) if runs == says => Found::Equal,
            Ok((runs, says)) => {
                let differs = Differs { pool: id, part, generation: number, runs, says };
                // Control may have ended meanwhile.
                let _ = self.shared.inbox.send(Event::Differs(Box::new(differs)));
                Found::Different
            }
            Err(_) => {
                let text =
                    format!("pool {id}: what runs could not be held against its document: compiling it panicked");
                self.shared.events.log().say(Level::Error, &text);
                Found::Skipped
            }
        };
        self.shared.self_checks.count(found);
    }
}

fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(REST_TIMES).max(REST_MIN)
}

enum Rested {
    Uncalled,
    /// Something new has come meanwhile.
    Called,
    /// Nobody will call any more.
    Over,
}

fn rest(calls: &Receiver<()>, until: Instant) -> Rested {
    let mut rested = Rested::Uncalled;
    loop {
        match calls.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(()) => rested = Rested::Called,
            Err(RecvTimeoutError::Timeout) => return rested,
            Err(RecvTimeoutError::Disconnected) => return Rested::Over,
        }
    }
}

const _: () = assert!(REST_TIMES >= 50, "a look takes less than 2 % of a core");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_a_multiple_of_the_look() {
        assert_eq!(rest_after(Duration::from_secs(2)), Duration::from_secs(100));
        assert_eq!(rest_after(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn a_call_during_a_rest_is_remembered_and_ends_no_rest() {
        let (call, calls) = sync_channel(1);
        call.try_send(()).unwrap();
        assert!(matches!(rest(&calls, Instant::now()), Rested::Called));
        assert!(matches!(rest(&calls, Instant::now()), Rested::Uncalled));
        drop(call);
        let forever = Instant::now() + Duration::from_secs(3600);
        assert!(matches!(rest(&calls, forever), Rested::Over));
    }
}
