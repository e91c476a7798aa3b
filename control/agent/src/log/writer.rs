//! The thread: takes records out of the rings, makes lines of them, and hands those to a sink that may be slow or fail.

use super::line::{self, Names};
use super::sink::{Flushed, Sink, Target};
use super::{Counts, Desk, LAST_LINES, Notes, Output, RING_RECORDS, Slot};
use crate::clock;
use link::log::LogReader;
use policy::record::Record;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// While records come, they are looked for this often, and shards need not wake anybody: a wake-up per record costs a
/// shard a tenth of its time (measured with short requests). A ring holds what comes meanwhile from 800,000 requests/s.
const BATCH: Duration = Duration::from_millis(5);

/// A sink that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Slow sinks that may be taking their last lines at the same time. One more, and the oldest loses its lines.
const PARTING_MAX: usize = 4;

/// What the thread owns.
pub(super) struct Writer {
    desk: Arc<Desk>,
    counts: Arc<Counts>,
    rings: Vec<LogReader<Record>>,
    names: Names,
    pub(super) output: Output,
    /// `None`: it is closed, and nobody hears us.
    stderr: Option<Sink>,
    /// Sinks that were switched away from with lines in their backlog, and until when they may take them.
    parting: VecDeque<(Sink, Instant)>,
    /// Memory for one line, kept.
    line: Vec<u8>,
    /// The sink has failed and is tried again then; until then lines are dropped.
    pub(super) retry: Option<Instant>,
    /// It has failed, people have been told, and it has taken nothing since. Lines lost when that began.
    outage: Option<u64>,
}

impl Writer {
    pub(super) fn new(desk: Arc<Desk>, counts: Arc<Counts>, output: Output, stderr: Option<Sink>) -> Writer {
        Writer {
            desk,
            counts,
            rings: Vec::new(),
            names: Names::default(),
            output,
            stderr,
            parting: VecDeque::new(),
            line: Vec::new(),
            retry: None,
            outage: None,
        }
    }

    pub(super) fn run(&mut self, forgotten: &dyn Fn(Vec<Slot>)) {
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

    pub(super) fn write(&mut self, record: &Record, text: &[u8]) {
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
    pub(super) fn flush(&mut self) -> bool {
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

    pub(super) fn flush_stderr(&mut self) {
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
