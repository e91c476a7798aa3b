//! New connections all the time: each opens, exchanges a little, ends properly, and is judged.

use crate::net::{Stream, Target};
use crate::outcome::{Failure, Tally};
use crate::pattern::{Dice, Pattern};
use crate::wait::{Deadline, PATIENCE, Watched};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// The addresses that clients know, changed while they connect.
///
/// The SYN of a client that reads an address here leaves before [`Doors::close`] of that address returns. So
/// what such a client sees afterwards is no fault of its own: it knocked in time.
#[derive(Clone, Default)]
pub struct Doors(Arc<RwLock<Vec<Target>>>);

impl Doors {
    pub fn new(targets: &[Target]) -> Doors {
        Doors(Arc::new(RwLock::new(targets.to_vec())))
    }

    pub fn open(&self, target: &Target) {
        self.0.write().expect("no client panics while it knocks").push(target.clone());
    }

    pub fn close(&self, target: &Target) {
        self.0.write().expect("no client panics while it knocks").retain(|open| open != target);
    }

    /// Connects to one of them.
    pub(crate) fn knock(&self, dice: &mut Dice) -> (Target, Result<Stream, Failure>) {
        let doors = self.0.read().expect("no operator panics while changing the doors");
        let target = doors[dice.below(doors.len())].clone();
        let begun = match &target {
            Target::Ip(_) => Stream::begin(&target, Deadline::patient()),
            // A unix socket has no handshake: connecting is one step.
            Target::Unix(_) => {
                let stream = Stream::connect(&target, Deadline::patient());
                return (target, stream);
            }
        };
        drop(doors);
        (target, begun.and_then(|connecting| connecting.complete()))
    }
}

/// Clients that come and go.
pub struct Churn {
    log: Watched<Log>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    stopping: bool,
    tally: Tally,
}

impl Churn {
    /// The least time between two connections of one worker. It bounds the load; nothing waits for it.
    const PACE: Duration = Duration::from_millis(3);

    /// Doors must lead to echoes.
    pub fn start(doors: &Doors, workers: usize, seed: u64) -> Churn {
        let log = Watched::new(Log::default());
        let workers = (0..workers).map(|worker| {
            let (doors, log) = (doors.clone(), log.clone());
            let come_and_go = move || {
                let mut dice = Dice::new(seed ^ (worker as u64) << 32);
                while !log.look().stopping {
                    let outcome = visit(&doors, &mut dice);
                    log.change(|log| match outcome {
                        Ok(()) => log.tally.complete += 1,
                        Err((target, failure)) => log.tally.add_failure(&format!("to {target}: "), &failure),
                    });
                    log.wait(Deadline::after(Churn::PACE), |log| log.stopping.then_some(()));
                }
            };
            std::thread::Builder::new()
                .name(format!("churn {worker}"))
                .spawn(come_and_go)
                .expect("a thread can be started")
        });
        let workers = workers.collect();
        Churn { log, workers }
    }

    /// Waits until so many more connections have ended, one way or another.
    #[track_caller]
    pub fn wait_more(&self, more: u64) {
        let done = |log: &Log| log.tally.complete + log.tally.failed();
        let enough = done(&self.log.look()) + more;
        let reached = self.log.wait(Deadline::patient(), |log| (done(log) >= enough).then_some(()));
        assert!(reached.is_some(), "clients did not end {more} more connections within {PATIENCE:?}: {}", self.tally());
    }

    pub fn tally(&self) -> Tally {
        self.log.look().tally.clone()
    }

    /// No connection begins any more; waits for those that have.
    pub fn finish(mut self) -> Tally {
        self.end_workers();
        self.tally()
    }

    fn end_workers(&mut self) {
        self.log.change(|log| log.stopping = true);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                let error = "a client panicked".to_owned();
                self.log.change(|log| log.tally.add_failure("", &Failure::Other { doing: "visit", error }));
            }
        }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.end_workers();
    }
}

/// One connection from its opening to its end: a few exchanges of random size.
fn visit(doors: &Doors, dice: &mut Dice) -> Result<(), (Target, Failure)> {
    let (target, stream) = doors.knock(dice);
    stream.and_then(|stream| exchange(stream, dice)).map_err(|failure| (target, failure))
}

fn exchange(mut stream: Stream, dice: &mut Dice) -> Result<(), Failure> {
    let pattern = Pattern::new(dice.roll());
    let mut at = 0;
    for _ in 0..dice.between(1, 3) {
        let mut piece = vec![0; dice.between(1, 4000)];
        pattern.fill(at, &mut piece);
        stream.send(&piece)?;
        stream.receive_all(&mut piece)?;
        pattern.check(at, &piece).map_err(|at| Failure::WrongData { at })?;
        at += piece.len() as u64;
    }
    stream.finish()?;
    stream.receive_end()
}
