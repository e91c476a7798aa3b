//! Records from one shard to the log thread, which never slow the shard down.
//!
//! One ring per shard (rtrb: single producer, single consumer, no lock, no allocation after the start). A
//! full ring drops the record and says so; the shard counts it. The log thread sleeps on the doorbells of
//! all its readers; while it is awake, a push makes no system call and writes nothing shared but the ring.
//!
//! ```text
//! loop {
//!     for reader in readers { reader.hush(); reader.drain(BATCH, write) }
//!     if readers.all(|reader| !reader.pending()) { poll the doorbells }
//! }
//! ```
//!
//! Refuses to know: what a record is.

use crate::doorbell::Doorbell;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::io;
use std::sync::Arc;

/// Makes a ring for at most `bound` records. Fails when no descriptor is free for the doorbell.
///
/// Panics if `bound` is 0.
pub fn ring<T>(bound: usize) -> io::Result<(LogWriter<T>, LogReader<T>)> {
    assert!(bound > 0, "a log ring must hold at least one record");
    let (records, taken) = RingBuffer::new(bound);
    let doorbell = Arc::new(Doorbell::new()?);
    Ok((
        LogWriter {
            records,
            doorbell: doorbell.clone(),
        },
        LogReader {
            records: taken,
            doorbell,
            taking: false,
        },
    ))
}

/// The shard's end. Dropping it wakes the reader, so that it takes the rest and learns of the end.
#[derive(Debug)]
pub struct LogWriter<T> {
    records: Producer<T>,
    doorbell: Arc<Doorbell>,
}

impl<T> LogWriter<T> {
    /// Never blocks. `false`: the ring was full and the record is dropped; the shard counts it.
    #[must_use = "a dropped record is to be counted"]
    pub fn push(&mut self, record: T) -> bool {
        match self.records.push(record) {
            Ok(()) => {
                // A fence and a load while the reader is awake; a system call when it sleeps.
                self.doorbell.ring();
                true
            }
            // The reader is `bound` records behind, so it is awake or has been rung.
            Err(PushError::Full(_)) => false,
        }
    }

    /// The reader is gone: nobody will ever take a record again.
    pub fn is_abandoned(&self) -> bool {
        self.records.is_abandoned()
    }
}

impl<T> Drop for LogWriter<T> {
    fn drop(&mut self) {
        self.doorbell.ring();
    }
}

/// The log thread's end.
#[derive(Debug)]
pub struct LogReader<T> {
    records: Consumer<T>,
    doorbell: Arc<Doorbell>,
    /// The flag has been lowered and the ring not been seen empty since.
    taking: bool,
}

impl<T> LogReader<T> {
    /// The oldest record. `None`: the ring was seen empty after the flag was lowered, so the next push rings,
    /// and it is safe to sleep on the doorbell.
    pub fn take(&mut self) -> Option<T> {
        if !self.taking {
            self.doorbell.lower();
            self.taking = true;
        }
        let record = self.records.pop().ok();
        self.taking = record.is_some();
        record
    }

    /// Hands over at most `max` records and says how many. With `max` reached, [`LogReader::pending`] stays true.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        for taken in 0..max {
            match self.take() {
                Some(record) => each(record),
                None => return taken,
            }
        }
        max
    }

    /// Whether there may be something to take. One relaxed load.
    pub fn pending(&self) -> bool {
        self.taking || self.doorbell.pending()
    }

    /// The writer is gone. What it wrote before can still be taken: take until `None` *after* this said `true`.
    pub fn is_abandoned(&self) -> bool {
        self.records.is_abandoned()
    }

    /// Makes the doorbell unreadable again. Call before [`LogReader::take`], after the doorbell was readable.
    pub fn hush(&self) {
        self.doorbell.hush();
    }

    /// An eventfd (non-blocking, close-on-exec) to poll.
    #[cfg(not(any(loom, miri)))]
    pub fn doorbell(&self) -> std::os::fd::BorrowedFd<'_> {
        self.doorbell.fd()
    }
}
