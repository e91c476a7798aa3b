//! Control and one to eight shards in one thread under a seed.
//!
//! Links the very machines that the appliance runs, both ends of the conversation in `policy::reload`, and
//! puts everything else in their way: queues that are slow and small, clients at every step, refusals, stalls,
//! deaths and restarts, a model of the kernel's listening sockets. After every step the machines check
//! themselves, and a witness who sees all of it checks the promises (DESIGN section 10). At the end the load
//! ceases and everything must come to rest.
//!
//! A run is a function of its seed. [`run`] answers with the hash of its trace, or with the last events before
//! it failed.

#![forbid(unsafe_code)]

mod compiler;
mod control;
mod dice;
mod kernel;
mod shard;
mod site;
mod slots;
mod trace;
mod witness;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One run that kept every promise.
#[derive(PartialEq, Eq, Debug)]
pub struct Life {
    /// Two runs with the same hash have had the same events.
    pub hash: u64,
    /// How often each thing has happened.
    pub events: BTreeMap<&'static str, u64>,
}

/// One run that broke a promise.
pub struct Failure {
    pub seed: u64,
    pub step: u64,
    pub message: String,
    events: Vec<String>,
}

/// Lives through one world of shards. The same seed is the same world.
pub fn run(seed: u64) -> Result<Life, Failure> {
    let mut world = world::World::new(seed);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(()) => {
            let trace = &world.env.trace;
            Ok(Life { hash: trace.hash(), events: trace.counts().clone() })
        }
        Err(panic) => {
            let events = world.env.trace.last().iter().map(ToString::to_string).collect();
            let failure = Failure { seed, step: world.env.trace.step, message: message(&*panic), events };
            // What it left half-done may not bear being dropped.
            std::mem::forget(world);
            Err(failure)
        }
    }
}

/// Lives through one world of submitters. The same seed is the same world.
pub fn run_site(seed: u64) -> Result<Life, Failure> {
    let mut site = site::Site::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| site.run()));
    let outcome = match outcome {
        Ok(()) => Ok(Life { hash: site.hash, events: std::mem::take(&mut site.witness.counts) }),
        Err(panic) => {
            let mut events = std::mem::take(&mut site.last);
            events.append(&mut site.witness.ends);
            Err(Failure { seed, step: site.step, message: message(&*panic), events })
        }
    };
    // As a process that dies: nothing more is written, and its folder goes.
    journal::faults::plan(journal::faults::Fate::Dead);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(site)));
    journal::faults::plan(journal::faults::Fate::Real);
    agent::sim::say_time(None);
    outcome
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|message| (*message).to_owned()));
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails at step {}: {}", self.seed, self.step, self.message)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
