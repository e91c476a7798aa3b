//! The logs: the thread `sluice-log` takes records from the shards' rings and writes access-log lines, and it
//! writes on stderr what the appliance says of itself.
//!
//! ```text
//! shard ── ring (full: drops and counts) ──▶ sluice-log ── backlog (full: drops and counts) ──▶ sink
//!                                               ▲ desk: names of slots, settings, rings
//!                                            control
//! ```
//!
//! Nobody ever waits for this thread, and it waits for no sink but a disk. Owns the rings' reading ends, the
//! sink and the names of slots; knows neither generations nor jobs.
//!
//! **A slot's last lines keep its name.** Records hold slots, and a slot may be given to another identity.
//! Control says [`Log::forget`] when every shard has released the slot, so all of its records are in the
//! rings by then; the name goes after one whole pass over all rings, and only then is the slot free.

mod latency;
mod line;
mod request;
mod sink;
mod template;
#[cfg(test)]
mod tests;
mod tunnel;
mod writer;

pub use latency::{Latencies, Percentiles, Summary};
pub use line::Format;
pub use sink::{Sink, Target};

use crate::names::Name;
use link::doorbell::Doorbell;
use link::log::LogReader;
use policy::record::Record;
use policy::{EndpointSlot, PoolSlot};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use writer::Writer;

/// Records that a shard's ring holds, half a megabyte. Whoever makes a ring for [`Log::read`] makes it of
/// at most this size: one pass takes so many from each.
pub const RING_RECORDS: usize = 4096;

/// What a slow sink has to take its last lines: after a switch to another, and at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Something that a record names by slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Slot {
    Pool(PoolSlot),
    Endpoint(EndpointSlot),
}

/// Lines since the start. One writer.
#[derive(Debug, Default)]
pub struct Counts {
    made: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    latencies: Mutex<Latencies>,
}

impl Counts {
    /// All lines, those that were lost too.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Lost because the sink was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How long requests took. Held for a moment at a time: the log thread waits for it.
    pub fn latencies(&self) -> MutexGuard<'_, Latencies> {
        // A histogram is whole after every step.
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Times the sink failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// The handle that control holds.
#[derive(Debug)]
pub struct Log {
    desk: Arc<Desk>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// What control has laid down and the thread not yet taken up. Bounded by the number of slots and shards.
#[derive(Debug)]
struct Desk {
    notes: Mutex<Notes>,
    doorbell: Doorbell,
}

#[derive(Debug, Default)]
struct Notes {
    rings: Vec<LogReader<Record>>,
    names: BTreeMap<Slot, Arc<str>>,
    forget: BTreeSet<Slot>,
    /// And since when, in microseconds since 1970.
    output: Option<(Output, u64)>,
    reopen: bool,
    stop: bool,
    /// Whole lines for stderr.
    sayings: Vec<u8>,
}

/// What may wait for stderr. Unit: bytes. Beyond it sayings are dropped; nobody reads that fast.
const SAYINGS_BYTES_MAX: usize = 256 << 10;

/// Where lines go and how they look. Opened by whoever validates it, so that a mistake is known before it
/// is in force. `None` in its place: no log.
#[derive(Debug)]
pub struct Output {
    pub format: Format,
    /// With the target that it was opened from, for reopening.
    pub sink: Option<(Target, Sink)>,
}

impl Log {
    /// Starts the thread. `forgotten` is called on it with slots whose names are gone.
    pub fn start(
        output: Output,
        core: Option<core_affinity::CoreId>,
        forgotten: impl Fn(Vec<Slot>) + Send + 'static,
    ) -> io::Result<Log> {
        let desk = Arc::new(Desk { notes: Mutex::default(), doorbell: Doorbell::new()? });
        let stderr = Sink::open(&Target::Stderr).ok();
        let counts = Arc::new(Counts::default());
        let mut writer = Writer::new(Arc::clone(&desk), Arc::clone(&counts), output, stderr);
        let thread = std::thread::Builder::new().name(Name::Log.to_string()).spawn(move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            writer.run(&forgotten);
        })?;
        Ok(Log { desk, counts, thread: Some(thread) })
    }

    /// Lines are nobody's affair; names are forgotten when [`Log::take_forgotten`] is asked.
    #[cfg(feature = "sim")]
    pub fn unmanned() -> io::Result<Log> {
        let desk = Arc::new(Desk { notes: Mutex::default(), doorbell: Doorbell::new()? });
        Ok(Log { desk, counts: Arc::default(), thread: None })
    }

    /// The slots that the thread would say now are forgotten.
    #[cfg(feature = "sim")]
    pub fn take_forgotten(&self) -> Vec<Slot> {
        let mut notes = self.desk.notes();
        notes.sayings.clear();
        notes.names.clear();
        std::mem::take(&mut notes.forget).into_iter().collect()
    }

    /// Takes records from this ring too, until its shard has dropped the other end.
    pub fn read(&self, ring: LogReader<Record>) {
        self.note(|notes| notes.rings.push(ring));
    }

    /// What these slots are called. To be said before a shard can know the slot.
    pub fn name(&self, names: impl IntoIterator<Item = (Slot, Arc<str>)>) {
        self.note(|notes| notes.names.extend(names));
    }

    /// No shard will write these slots again.
    pub fn forget(&self, slots: impl IntoIterator<Item = Slot>) {
        self.note(|notes| notes.forget.extend(slots));
    }

    /// Connections that end from now on become lines there, also those whose record the thread finds before it finds
    /// this. The old sink has [`LAST_LINES`] for what it has not taken yet.
    pub fn switch(&self, output: Output) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        self.note(|notes| {
            let since = notes.output.take().map_or(now, |(_, since)| since);
            notes.output = Some((output, since));
        });
    }

    /// Opens the file anew, for a rotation that has moved it away.
    pub fn reopen(&self) {
        self.note(|notes| notes.reopen = true);
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// For those who only speak.
    pub fn speaker(&self) -> Speaker {
        Speaker { desk: Arc::clone(&self.desk) }
    }

    /// Takes what is in the rings, writes it if the sink takes it within [`LAST_LINES`], and ends.
    pub fn stop(mut self) {
        self.note(|notes| notes.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn note(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.desk.notes());
        self.desk.doorbell.ring();
    }
}

/// Says things on stderr and waits for nobody.
#[derive(Clone, Debug)]
pub struct Speaker {
    desk: Arc<Desk>,
}

impl Speaker {
    /// One whole line or several, without the last line end.
    pub fn say(&self, text: &str) {
        let mut notes = self.desk.notes();
        if notes.sayings.len() + text.len() < SAYINGS_BYTES_MAX {
            notes.sayings.extend_from_slice(text.as_bytes());
            notes.sayings.push(b'\n');
        }
        drop(notes);
        self.desk.doorbell.ring();
    }
}

impl Desk {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Every change of the notes is one assignment or one insertion: there is no half of it.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
