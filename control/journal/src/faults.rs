//! What a simulation lets befall the disk: a step fails, or is the last of the process.
//!
//! Owns the fate of this thread's steps. A process that has died does nothing more: all steps after its last fail and
//! change nothing, so what is on the disk then is what the next one finds. Only with the cargo feature `faults`,
//! which the appliance never enables; until a thread plans something, nothing differs.

use std::cell::Cell;
use std::io;

/// What becomes of the disk's steps on this thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing is simulated.
    Real,
    /// All is well, and nothing needs to be synced: this process will not lose its power.
    Well,
    /// So many steps are done; the next ones fail, and of what they were to write this much is written. Then all is well.
    Fails { after: u32, times: u32, permille: u32 },
    /// So many steps are done; of what the next one was to write this much is written, and that was the last thing.
    Dies { after: u32, permille: u32 },
    /// It was.
    Dead,
}

thread_local! {
    static FATE: Cell<Fate> = const { Cell::new(Fate::Real) };
}

/// Says what becomes of this thread's steps from now on.
pub fn plan(fate: Fate) {
    FATE.set(fate);
}

/// What is planned now.
pub fn fate() -> Fate {
    FATE.get()
}

pub(crate) fn step() -> io::Result<()> {
    next().map(|_| ()).map_err(|permille| refused(permille).1)
}

/// What of these bytes is written, and what the writer hears then.
pub(crate) fn write(bytes: &[u8]) -> (&[u8], io::Result<()>) {
    match next() {
        Ok(_) => (bytes, Ok(())),
        Err(permille) => {
            let (permille, error) = refused(permille);
            (&bytes[..bytes.len() * permille / 1000], Err(error))
        }
    }
}

/// Whether nothing needs to be synced.
pub(crate) fn sync() -> io::Result<bool> {
    next().map_err(|permille| refused(permille).1)
}

fn refused(permille: u32) -> (usize, io::Error) {
    (permille.min(1000) as usize, io::Error::other("the simulated disk would not"))
}

/// Whether this is simulated, or how much of a write is done before it fails.
fn next() -> Result<bool, u32> {
    let (now, then) = match FATE.get() {
        Fate::Real => (Ok(false), Fate::Real),
        Fate::Well => (Ok(true), Fate::Well),
        Fate::Fails { after: 0, times: 0 | 1, permille } => (Err(permille), Fate::Well),
        Fate::Fails { after: 0, times, permille } => {
            (Err(permille), Fate::Fails { after: 0, times: times - 1, permille })
        }
        Fate::Fails { after, times, permille } => (Ok(true), Fate::Fails { after: after - 1, times, permille }),
        Fate::Dies { after: 0, permille } => (Err(permille), Fate::Dead),
        Fate::Dies { after, permille } => (Ok(true), Fate::Dies { after: after - 1, permille }),
        Fate::Dead => (Err(0), Fate::Dead),
    };
    FATE.set(then);
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of ten bytes is written by each of so many steps.
    fn taken(fate: Fate, steps: usize) -> Vec<(usize, bool)> {
        plan(fate);
        let taken = (0..steps).map(|_| {
            let (bytes, told) = write(&[0; 10]);
            (bytes.len(), told.is_ok())
        });
        let taken = taken.collect();
        plan(Fate::Real);
        taken
    }

    #[test]
    fn steps_fail_for_a_while_and_a_process_dies_for_good() {
        assert_eq!(taken(Fate::Fails { after: 1, times: 1, permille: 500 }, 3), [(10, true), (5, false), (10, true)]);
        assert_eq!(taken(Fate::Fails { after: 0, times: 2, permille: 0 }, 3), [(0, false), (0, false), (10, true)]);
        assert_eq!(taken(Fate::Dies { after: 1, permille: 500 }, 3), [(10, true), (5, false), (0, false)]);
        assert_eq!(taken(Fate::Well, 1), [(10, true)]);
    }
}
