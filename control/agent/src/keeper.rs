//! The thread `sluice-control`: events come in, [`Control`] takes them one by one, and a panic of one of them
//! costs that one and nothing else.
//!
//! Owns the loop and the runtime. Decides nothing.

use crate::ask::{Ask, What};
use crate::control::{Control, Event};
use crate::orders::{hand_in, read, role_of_the_file};
use crate::probe::Prober;
use crate::publish::Shared;
use crate::seat::Signed;
use crate::session::{Socket, serve};
use api::receipt::Source;
use link::mailbox::Mailbox;
use policy::{ShardSet, Tick};
use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

/// Reports taken before anything else gets a turn.
const REPORTS_PER_TURN: usize = 256;

/// When the appliance has stopped, what clients have to take their last answers.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Panics without a pause of [`CALM`] between them, after which control gives up.
const PANICS_MAX: u32 = 8;
const CALM: Duration = Duration::from_secs(10);

/// What control waits for.
pub struct Inlets {
    pub events: mpsc::UnboundedReceiver<Event>,
    pub reports: Mailbox<Signed>,
    pub prober: Arc<Prober>,
    /// Counts requests to read the own document again.
    pub reloads: watch::Receiver<u64>,
}

/// How the appliance ended.
#[derive(Debug)]
pub enum Outcome {
    /// In order. Shards that had not stopped by the deadline, which should not happen.
    Stopped { unfinished: ShardSet },
    /// Control panics over and over. Traffic may still flow; nobody can change it any more.
    Broken { cause: String },
    /// The control socket does not work any more.
    Socket(io::Error),
}

/// Runs control to its end on this thread.
pub fn run(mut control: Control, inlets: Inlets, socket: Socket, ready: watch::Sender<bool>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(ANSWER_THREADS)
        .thread_name(crate::names::Name::Answer.to_string())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Socket(error),
    };
    let shared = Arc::clone(&control.shared);
    let local = LocalSet::new();
    let Inlets { events, reports, prober, reloads } = inlets;
    let outcome = local.block_on(&runtime, async {
        tokio::select! {
            outcome = turn_by_turn(&mut control, events, reports, &prober, &ready) => outcome,
            error = serve_when_ready(&socket, Arc::clone(&shared), ready.subscribe()) => Outcome::Socket(error),
            never = reload_on_demand(reloads, Arc::clone(&shared)) => match never {},
        }
    });
    control.end();
    shared.over.send_replace(true);
    // Sessions end when they have told this.
    let _ = runtime.block_on(async { tokio::time::timeout(LAST_ANSWERS, local).await });
    runtime.shutdown_background();
    outcome
}

/// Threads that read documents and make long answers: those that may be stuck in a file that does not come
/// ([`DOCUMENTS_AT_ONCE`](crate::orders::DOCUMENTS_AT_ONCE)), and as many for everything else.
const ANSWER_THREADS: usize = 2 * crate::orders::DOCUMENTS_AT_ONCE;

/// A start that takes longer is shown as it is.
const START_MAX: Duration = Duration::from_secs(10);

/// Clients come in when every shard serves: what they see then is true.
async fn serve_when_ready(socket: &Socket, shared: Arc<Shared>, mut ready: watch::Receiver<bool>) -> io::Error {
    let _ = tokio::time::timeout(START_MAX, ready.wait_for(|ready| *ready)).await;
    match serve(socket, shared).await {
        Err(error) => error,
    }
}

async fn turn_by_turn(
    control: &mut Control,
    mut events: mpsc::UnboundedReceiver<Event>,
    reports: Mailbox<Signed>,
    prober: &Prober,
    ready: &watch::Sender<bool>,
) -> Outcome {
    let doorbell = match listen_to(&reports) {
        Ok(doorbell) => doorbell,
        Err(error) => return Outcome::Socket(error),
    };
    let mut reports = reports;
    let mut guard = Guard::default();
    if let Err(broken) = guard.call(control, Control::begin) {
        return broken;
    }
    loop {
        if let Some(unfinished) = control.stopped() {
            return Outcome::Stopped { unfinished };
        }
        if !*ready.borrow() && control.all_live() {
            ready.send_replace(true);
        }
        let wake = control.next_tick().unwrap_or(Tick(u64::MAX));
        let wake = tokio::time::sleep_until(control.shared.clock.instant(wake).into());
        let taken = tokio::select! {
            // A mailbox that was left half-full does not ring again.
            () = async {}, if reports.pending() => take_reports(control, &mut reports, &mut guard),
            rung = doorbell.readable() => match rung {
                Ok(()) => {
                    // Reads its eight bytes, which hushes it, and then nothing, which lets it wait again.
                    while doorbell.try_read(&mut [0; 8]).is_ok() {}
                    take_reports(control, &mut reports, &mut guard)
                }
                Err(error) => return Outcome::Socket(error),
            },
            Some(event) = events.recv() => guard.call(control, |control| control.on_event(event)),
            findings = prober.findings() => guard.call(control, |control| control.on_findings(findings)),
            () = wake => guard.call(control, Control::on_tick),
        };
        if let Err(broken) = taken.and_then(|()| guard.call(control, Control::publish)) {
            return broken;
        }
    }
}

/// The doorbell as something that this runtime can wait for. It is an eventfd: read like a pipe that always
/// holds eight bytes or none.
fn listen_to(reports: &Mailbox<Signed>) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd_unchecked(rustix::io::fcntl_dupfd_cloexec(reports.doorbell(), 3)?)
}

fn take_reports(control: &mut Control, reports: &mut Mailbox<Signed>, guard: &mut Guard) -> Result<(), Outcome> {
    for _ in 0..REPORTS_PER_TURN {
        let Some(report) = reports.take() else { break };
        guard.call(control, |control| control.on_report(report))?;
    }
    Ok(())
}

/// Catches panics of control and lets it go on.
#[derive(Debug, Default)]
struct Guard {
    panics: u32,
    last: Option<Instant>,
}

impl Guard {
    fn call(&mut self, control: &mut Control, event: impl FnOnce(&mut Control)) -> Result<(), Outcome> {
        // What control keeps over a panic is written so that a half-done event cannot have spoilt it;
        // the rest is made anew by `recover`.
        let mut outcome = catch_unwind(AssertUnwindSafe(|| event(control)));
        while let Err(panic) = outcome {
            let cause = cause(&*panic);
            if self.last.is_none_or(|last| last.elapsed() > CALM) {
                self.panics = 0;
            }
            self.panics += 1;
            self.last = Some(Instant::now());
            if self.panics > PANICS_MAX {
                return Err(Outcome::Broken { cause });
            }
            outcome = catch_unwind(AssertUnwindSafe(|| control.recover(&cause)));
        }
        Ok(())
    }
}

fn cause(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".into())
}

/// A document that is asked for again while it is being read is read once more, not twice more.
async fn reload_on_demand(mut demands: watch::Receiver<u64>, shared: Arc<Shared>) -> Infallible {
    loop {
        if demands.changed().await.is_err() {
            // Nobody can demand anything any more.
            std::future::pending::<()>().await;
        }
        demands.borrow_and_update();
        // A signal has nobody to be told "busy": the attempt is written down instead.
        let (what, check) =
            read(&shared, shared.document.clone(), role_of_the_file(&shared), false).await.unwrap_or_else(|busy| {
                (What::Invalid { message: busy.message.clone(), problems: Vec::new() }, Duration::ZERO)
            });
        let ask = Ask { author: None, source: Source::Sighup, order: None, if_generation: None, what };
        // The log tells how it ended.
        drop(hand_in(&shared, ask, check));
    }
}
