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
mod tunnel;

pub use latency::{Latencies, Percentiles, Summary};
pub use line::Format;
pub use sink::{Sink, Target};

use crate::clock;
use crate::names::Name;
use line::Names;
use link::doorbell::Doorbell;
use link::log::LogReader;
use policy::record::Record;
use policy::{EndpointSlot, PoolSlot};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use sink::Flushed;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records that a shard's ring holds, half a megabyte. Whoever makes a ring for [`Log::read`] makes it of
/// at most this size: one pass takes so many from each.
pub const RING_RECORDS: usize = 4096;

/// While records come, they are looked for this often, and shards need not wake anybody: a wake-up per record costs a
/// shard a tenth of its time (measured with short requests). A ring holds what comes meanwhile from 800,000 requests/s.
const BATCH: Duration = Duration::from_millis(5);

/// A sink that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// What a slow sink has to take its last lines: after a switch to another, and at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Slow sinks that may be taking their last lines at the same time. One more, and the oldest loses its lines.
const PARTING_MAX: usize = 4;

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
        let mut writer = Writer {
            desk: Arc::clone(&desk),
            counts: Arc::clone(&counts),
            rings: Vec::new(),
            names: Names::default(),
            output,
            stderr,
            parting: VecDeque::new(),
            line: Vec::new(),
            retry: None,
            outage: None,
        };
        let thread = std::thread::Builder::new().name(Name::Log.to_string()).spawn(move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            writer.run(&forgotten);
        })?;
        Ok(Log { desk, counts, thread: Some(thread) })
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

/// What the thread owns.
struct Writer {
    desk: Arc<Desk>,
    counts: Arc<Counts>,
    rings: Vec<LogReader<Record>>,
    names: Names,
    output: Output,
    /// `None`: it is closed, and nobody hears us.
    stderr: Option<Sink>,
    /// Sinks that were switched away from with lines in their backlog, and until when they may take them.
    parting: VecDeque<(Sink, Instant)>,
    /// Memory for one line, kept.
    line: Vec<u8>,
    /// The sink has failed and is tried again then; until then lines are dropped.
    retry: Option<Instant>,
    /// It has failed, people have been told, and it has taken nothing since. Lines lost when that began.
    outage: Option<u64>,
}

impl Writer {
    fn run(&mut self, forgotten: &dyn Fn(Vec<Slot>)) {
        loop {
            self.desk.doorbell.hush();
            self.desk.doorbell.lower();
            let notes = std::mem::take(&mut *self.desk.notes());
            let (forget, stop) = (notes.forget.clone(), notes.stop);
            self.take_up(notes);
            let busy = !stop && self.skim();
            if !busy {
                self.pass();
            }
            if !forget.is_empty() {
                let forget: Vec<Slot> = forget.into_iter().collect();
                forget.iter().for_each(|slot| self.set_name(*slot, None));
                forgotten(forget);
            }
            let blocked = self.flush();
            self.flush_parting();
            self.flush_stderr();
            if stop {
                return self.end();
            }
            if self.desk.doorbell.pending() {
                continue;
            }
            if busy {
                self.wait(blocked, Some(Instant::now() + BATCH));
            } else if !self.rings.iter().any(LogReader::pending) {
                self.wait(blocked, None);
            }
        }
    }

    fn take_up(&mut self, notes: Notes) {
        if let Some(stderr) = &mut self.stderr
            && !notes.sayings.is_empty()
        {
            let _ = stderr.push(&notes.sayings);
        }
        self.rings.extend(notes.rings);
        for (slot, name) in notes.names {
            self.set_name(slot, Some(name));
        }
        if let Some((output, since)) = notes.output {
            let later = self.pass_until(since);
            self.flush();
            let old = std::mem::replace(&mut self.output, output);
            self.part_with(old);
            self.retry = None;
            later.iter().for_each(|(record, text)| self.write(record, text));
        }
        if notes.reopen {
            self.flush();
            self.open_again();
        }
    }

    fn set_name(&mut self, slot: Slot, name: Option<Arc<str>>) {
        match slot {
            Slot::Pool(pool) => {
                if name.is_none() {
                    self.counts.latencies().forget_pool(pool);
                }
                self.names.name_pool(pool, name);
            }
            Slot::Endpoint(endpoint) => {
                if name.is_none() {
                    self.counts.latencies().forget_backend(endpoint);
                }
                self.names.name_endpoint(endpoint, name);
            }
        }
    }

    /// As [`Writer::pass`], but asks for no wake-up. Whether there was anything.
    fn skim(&mut self) -> bool {
        let mut rings = std::mem::take(&mut self.rings);
        let taken: usize =
            rings.iter_mut().map(|ring| ring.skim(RING_RECORDS, |record, text| self.write(&record, text))).sum();
        self.rings = rings;
        taken > 0
    }

    /// Once over all rings: afterwards every record that was in one when it began has become a line.
    fn pass(&mut self) {
        self.pass_until(u64::MAX);
    }

    /// As [`Writer::pass`], but for the records of connections that ended at `until` (microseconds since 1970) or later:
    /// those are answered with.
    fn pass_until(&mut self, until: u64) -> Vec<(Record, Box<[u8]>)> {
        let mut later = Vec::new();
        let mut rings = std::mem::take(&mut self.rings);
        rings.retain_mut(|ring| {
            ring.hush();
            ring.drain(RING_RECORDS, |record, text| {
                if record.ended_micros() < until {
                    self.write(&record, text)
                } else {
                    later.push((record, text.into()))
                }
            });
            !ring.has_ended()
        });
        self.rings = rings;
        later
    }

    fn write(&mut self, record: &Record, text: &[u8]) {
        if let Record::Request(record) = record {
            self.counts.latencies().record(record, Instant::now());
            if !record.logged {
                return;
            }
        }
        let Some((_, sink)) = &mut self.output.sink else {
            return;
        };
        self.line.clear();
        line::append(&mut self.line, &self.output.format, (record, text), &self.names);
        add(&self.counts.made, 1);
        if self.retry.is_none() && sink.push(&self.line) {
            if sink.backlog_bytes() >= FLUSH_BYTES {
                self.flush();
            }
        } else {
            add(&self.counts.dropped, 1);
        }
    }

    /// Whether the sink takes nothing now.
    fn flush(&mut self) -> bool {
        if self.retry.is_some_and(|at| at <= Instant::now()) {
            self.open_again();
        }
        let Some((target, sink)) = &mut self.output.sink else {
            return false;
        };
        let had_lines = sink.backlog_bytes() > 0;
        match sink.flush() {
            Flushed::Done => {
                if had_lines && let Some(lost_before) = self.outage.take() {
                    let lost = self.counts.dropped() - lost_before;
                    self.say(&format!("info access log: it is written again, {lost} lines were lost"));
                }
                false
            }
            Flushed::Blocked => true,
            Flushed::Failed { lines, error } => {
                let target = target.to_string();
                add(&self.counts.failures, 1);
                if self.outage.is_none() {
                    self.outage = Some(self.counts.dropped());
                    self.say(&format!("warning access log {target}: {error}; lines are lost until it can be written"));
                }
                self.count_lost(lines);
                self.retry = Some(Instant::now() + RETRY);
                false
            }
        }
    }

    /// On stderr, once: not again for every line that is lost.
    fn say(&mut self, text: &str) {
        if let Some(stderr) = &mut self.stderr {
            let _ = stderr.push(format!("{} {text}\n", clock::rfc3339(SystemTime::now())).as_bytes());
        }
    }

    /// Keeps the old sink where there is nothing better.
    fn open_again(&mut self) {
        let Some((target, sink)) = &mut self.output.sink else {
            return;
        };
        match Sink::open(target) {
            Ok(opened) => {
                let lost = sink.lose();
                *sink = opened;
                self.retry = None;
                self.count_lost(lost);
            }
            Err(_) => {
                add(&self.counts.failures, 1);
                self.retry = self.retry.map(|_| Instant::now() + RETRY);
            }
        }
    }

    fn part_with(&mut self, output: Output) {
        if let Some((_, sink)) = output.sink
            && sink.backlog_bytes() > 0
        {
            self.parting.push_back((sink, Instant::now() + LAST_LINES));
            if self.parting.len() > PARTING_MAX
                && let Some((mut oldest, _)) = self.parting.pop_front()
            {
                self.count_lost(oldest.lose());
            }
        }
    }

    fn flush_stderr(&mut self) {
        if let Some(Flushed::Failed { .. }) = self.stderr.as_mut().map(Sink::flush) {
            self.stderr = None;
        }
    }

    fn flush_parting(&mut self) {
        for (mut sink, deadline) in std::mem::take(&mut self.parting) {
            match sink.flush() {
                Flushed::Done => {}
                Flushed::Blocked if Instant::now() < deadline => {
                    self.parting.push_back((sink, deadline));
                }
                Flushed::Blocked => self.count_lost(sink.lose()),
                Flushed::Failed { lines, .. } => {
                    add(&self.counts.failures, 1);
                    self.count_lost(lines);
                }
            }
        }
    }

    fn count_lost(&self, lines: u64) {
        add(&self.counts.dropped, lines);
    }

    fn end(&mut self) {
        self.flush();
        if let Some(stderr) = self.stderr.take() {
            self.part_with(Output { format: self.output.format.clone(), sink: Some((Target::Stderr, stderr)) });
        }
        let nothing = Output { format: self.output.format.clone(), sink: None };
        let last = std::mem::replace(&mut self.output, nothing);
        self.part_with(last);
        while !self.parting.is_empty() {
            wait_for(parting_fds(&self.parting), self.deadline());
            self.flush_parting();
        }
    }

    /// Until there is a note, a record, or room in a sink that had none; or, while records come, until it is time to look
    /// for them.
    fn wait(&self, blocked: bool, look: Option<Instant>) {
        let mut polled = parting_fds(&self.parting);
        polled.push(PollFd::from_borrowed_fd(self.desk.doorbell.fd(), PollFlags::IN));
        for ring in self.rings.iter().filter(|_| look.is_none()) {
            polled.push(PollFd::from_borrowed_fd(ring.doorbell(), PollFlags::IN));
        }
        if let Some(stderr) = self.stderr.as_ref().filter(|stderr| stderr.backlog_bytes() > 0) {
            polled.push(PollFd::from_borrowed_fd(stderr.fd(), PollFlags::OUT));
        }
        if let (true, Some((_, sink))) = (blocked, &self.output.sink) {
            polled.push(PollFd::from_borrowed_fd(sink.fd(), PollFlags::OUT));
        }
        wait_for(polled, self.deadline().into_iter().chain(look).min());
    }

    /// When to look again though nothing has happened.
    fn deadline(&self) -> Option<Instant> {
        let parting = self.parting.iter().map(|(_, deadline)| *deadline);
        parting.chain(self.retry).min()
    }
}

fn parting_fds(parting: &VecDeque<(Sink, Instant)>) -> Vec<PollFd<'_>> {
    parting.iter().map(|(sink, _)| PollFd::from_borrowed_fd(sink.fd(), PollFlags::OUT)).collect()
}

fn wait_for(mut polled: Vec<PollFd<'_>>, deadline: Option<Instant>) {
    let time = deadline.map(|at| {
        let left = at.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: i64::from(left.subsec_nanos()) }
    });
    // EINTR and every other outcome: look again.
    let _ = poll(&mut polled, time.as_ref());
}

/// Written at once where a sink takes it, instead of after the pass.
const FLUSH_BYTES: usize = 64 << 10;

/// One writer: no read-modify-write is needed.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::record::TunnelRecord;
    use std::io::{BufRead, BufReader, Read};
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn output(sink: Sink, target: Target) -> Output {
        Output { format: Format::Json, sink: Some((target, sink)) }
    }

    /// A log into a pipe.
    fn piped() -> (Log, BufReader<std::io::PipeReader>, mpsc::Receiver<Vec<Slot>>) {
        let (reader, writer) = std::io::pipe().unwrap();
        let (sender, forgotten) = mpsc::channel();
        let sink = Sink::over(writer.into()).unwrap();
        let log = Log::start(output(sink, Target::Stdout), None, move |slots| sender.send(slots).unwrap());
        (log.unwrap(), BufReader::new(reader), forgotten)
    }

    fn record(pool: u32) -> Record {
        Record::Tunnel(TunnelRecord { pool: PoolSlot(pool), ..line::tests::record() })
    }

    fn pool_of(line: &str) -> String {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["pool"].as_str().unwrap().to_owned()
    }

    fn next_line(reader: &mut impl BufRead) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    }

    fn named(slot: u32, name: &str) -> (Slot, Arc<str>) {
        (Slot::Pool(PoolSlot(slot)), name.into())
    }

    #[test]
    fn records_of_all_rings_become_lines() {
        let (log, mut reader, _) = piped();
        let (mut one, ring_one) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        let (mut two, ring_two) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        log.name([named(1, "db"), named(2, "web")]);
        log.read(ring_one);
        log.read(ring_two);
        assert!(one.push(record(1), b""));
        assert_eq!(pool_of(&next_line(&mut reader)), "db");
        assert!(two.push(record(2), b""));
        assert_eq!(pool_of(&next_line(&mut reader)), "web");
        log.stop();
    }

    /// The name goes only after every line that needs it.
    #[test]
    fn the_last_lines_of_a_slot_keep_its_name() {
        let (log, mut reader, forgotten) = piped();
        let (mut shard, ring) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        log.name([named(1, "db")]);
        for _ in 0..RING_RECORDS {
            assert!(shard.push(record(1), b""));
        }
        let lines = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        log.read(ring);
        log.forget([Slot::Pool(PoolSlot(1))]);
        assert_eq!(forgotten.recv_timeout(PATIENCE).unwrap(), [Slot::Pool(PoolSlot(1))]);
        let counts = Arc::clone(log.counts());
        log.stop();
        let text = lines.join().unwrap();
        assert!(text.lines().all(|line| pool_of(line) == "db"));
        assert_eq!(counts.made(), RING_RECORDS as u64);
        // A reader that is slower than this thread may lose some to the backlog's bound.
        assert_eq!(text.lines().count() as u64 + counts.dropped(), counts.made());
    }

    #[test]
    fn a_switch_loses_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let (log, mut reader, _) = piped();
        let into_pipe = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text.lines().count()
        });
        let (mut shard, ring) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        log.read(ring);
        for turn in 0..20 {
            let target = Target::File(folder.path().join(format!("{turn}.log")));
            log.switch(output(Sink::open(&target).unwrap(), target));
            for _ in 0..100 {
                assert!(shard.push(record(1), b""));
            }
        }
        let counts = Arc::clone(log.counts());
        log.stop();
        let files = folder.path().read_dir().unwrap();
        let into_files: usize = files
            .map(|file| {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                text.lines().count()
            })
            .sum();
        assert_eq!(counts.dropped(), 0);
        // Those before the first switch was taken up went into the pipe.
        assert_eq!(into_files + into_pipe.join().unwrap(), 2000);
    }

    /// The answer to a change is given before this thread has seen it, and is true all the same.
    #[test]
    fn a_connection_that_ends_after_a_switch_is_a_line_of_the_new_sink() {
        let folder = tempfile::tempdir().unwrap();
        let (log, mut reader, _) = piped();
        let (mut shard, ring) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        let ended = |micros: u64| {
            let times = TunnelRecord { started_micros: micros - 10, duration_micros: 10, ..line::tests::record() };
            Record::Tunnel(times)
        };
        for micros in [999, 1000, 1001] {
            assert!(shard.push(ended(micros), b""));
        }
        let path = folder.path().join("access.log");
        let target = Target::File(path.clone());
        let new = output(Sink::open(&target).unwrap(), target);
        // In one note, as if the thread had been asleep.
        log.note(|notes| {
            notes.rings.push(ring);
            notes.output = Some((new, 1000));
        });
        log.stop();
        let mut old = String::new();
        reader.read_to_string(&mut old).unwrap();
        assert_eq!(old.lines().count(), 1, "{old}");
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
    }

    /// Nobody reads: the shard goes on, lines are dropped and counted, names are still forgotten, and the
    /// log can be switched away from the blocked sink.
    #[test]
    fn a_blocked_sink_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (log, mut reader, forgotten) = piped();
        let (mut shard, ring) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        log.read(ring);
        let deadline = Instant::now() + PATIENCE;
        while log.counts().dropped() == 0 {
            let _ = shard.push(record(1), b"");
            assert!(Instant::now() < deadline, "nothing was ever dropped");
        }
        log.forget([Slot::Pool(PoolSlot(1))]);
        forgotten.recv_timeout(PATIENCE).unwrap();

        let path = folder.path().join("access.log");
        let target = Target::File(path.clone());
        log.switch(output(Sink::open(&target).unwrap(), target));
        log.forget([Slot::Pool(PoolSlot(1))]);
        forgotten.recv_timeout(PATIENCE).unwrap();
        assert!(shard.push(record(1), b""));
        let counts = Arc::clone(log.counts());
        log.stop();
        assert!(std::fs::read_to_string(path).unwrap().ends_with("}\n"));
        assert!(counts.dropped() > 0);
        let mut piped = String::new();
        reader.read_to_string(&mut piped).unwrap();
        assert!(piped.lines().count() > 100, "the pipe had taken lines before");
    }

    #[test]
    fn after_a_rotation_lines_go_into_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let target = Target::File(path.clone());
        let (sender, forgotten) = mpsc::channel();
        let log =
            Log::start(output(Sink::open(&target).unwrap(), target), None, move |slots| sender.send(slots).unwrap())
                .unwrap();
        let (mut shard, ring) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        assert!(shard.push(record(1), b""));
        log.read(ring);
        // Its answer comes after a whole pass: the line is in the file, or in the backlog before it.
        log.forget([Slot::Pool(PoolSlot(1))]);
        forgotten.recv_timeout(PATIENCE).unwrap();
        let moved = folder.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.forget([Slot::Pool(PoolSlot(1))]);
        forgotten.recv_timeout(PATIENCE).unwrap();
        assert!(shard.push(record(2), b""));
        log.stop();
        assert_eq!(std::fs::read_to_string(moved).unwrap().lines().count(), 1);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
    }

    /// As with a full disk: `/dev/full` takes nothing.
    #[test]
    fn a_failing_sink_is_counted_and_tried_again() {
        let target = Target::File("/dev/full".into());
        let log = Log::start(output(Sink::open(&target).unwrap(), target), None, |_| {}).unwrap();
        let (mut shard, ring) = link::log::ring(RING_RECORDS, 1 << 16).unwrap();
        log.read(ring);
        assert!(shard.push(record(1), b""));
        let deadline = Instant::now() + PATIENCE;
        while log.counts().dropped() == 0 {
            assert!(Instant::now() < deadline, "the failure was never counted");
            std::thread::yield_now();
        }
        assert!(log.counts().failures() > 0);
        assert_eq!(log.counts().made(), log.counts().dropped());
        log.stop();
    }

    /// Lost lines are no secret between the log and its metrics.
    #[test]
    fn an_outage_is_said_once_and_its_end_too() {
        let (reader, writer) = std::io::pipe().unwrap();
        let desk = Arc::new(Desk { notes: Mutex::default(), doorbell: Doorbell::new().unwrap() });
        let target = Target::File("/dev/full".into());
        let mut log = Writer {
            desk,
            counts: Arc::default(),
            rings: Vec::new(),
            names: Names::default(),
            output: output(Sink::open(&target).unwrap(), target),
            stderr: Some(Sink::over(writer.into()).unwrap()),
            parting: VecDeque::new(),
            line: Vec::new(),
            retry: None,
            outage: None,
        };
        for _ in 0..3 {
            log.retry = None;
            log.write(&record(1), b"");
            log.flush();
        }
        let folder = tempfile::tempdir().unwrap();
        let target = Target::File(folder.path().join("access.log"));
        log.output = output(Sink::open(&target).unwrap(), target);
        log.retry = None;
        log.write(&record(1), b"");
        log.flush();
        log.flush_stderr();
        drop(log);
        let mut said = String::new();
        BufReader::new(reader).read_to_string(&mut said).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 2 && lines[0].contains("/dev/full") && lines[1].contains("3 lines were lost"), "{said}");
    }

    #[test]
    fn without_a_sink_records_are_taken_and_gone() {
        let (log, _reader, forgotten) = piped();
        log.switch(Output { format: Format::Json, sink: None });
        log.forget([Slot::Pool(PoolSlot(1))]);
        forgotten.recv_timeout(PATIENCE).unwrap();
        let (mut shard, ring) = link::log::ring(8, 1 << 16).unwrap();
        log.read(ring);
        for _ in 0..4 {
            for _ in 0..8 {
                assert!(shard.push(record(1), b""));
            }
            log.forget([Slot::Pool(PoolSlot(1))]);
            forgotten.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(log.counts().made(), log.counts().dropped());
        log.stop();
    }
}
