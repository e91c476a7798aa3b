//! Seeds one after the other, for both simulations.

use sim::{Failure, Life};
use std::cell::Cell;
use std::sync::Once;

/// One life from a seed.
pub type Run = fn(u64) -> Result<Life, Failure>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Those that the environment asks for, or so many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(usual),
    }
}

/// Every other seed, so that two threads share them: the even ones, or the odd ones.
#[allow(dead_code, reason = "each test binary takes what it needs")]
pub fn check(run: Run, usual: u64, odd: u64) {
    for seed in seeds(usual).filter(|seed| seed % 2 == odd) {
        if let Err(failure) = run(seed) {
            panic!("{failure}");
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The first of so many seeds that fails, and how. The panics of this thread are not told meanwhile: they are what is looked for.
#[allow(dead_code, reason = "each test binary takes what it needs")]
pub fn first_failure(run: Run, budget: u64) -> Option<Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    QUIET.set(true);
    let found = (0..budget).find_map(|seed| run(seed).err());
    QUIET.set(false);
    found
}
