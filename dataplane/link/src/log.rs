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
//! A reader that is busy need not be rung for each record: it may [`skim`](LogReader::skim), pause, and skim again; the
//! doorbell stays rung meanwhile, so a push costs no system call.
//!
//! A record may have a text, of any length up to what a ring of bytes beside the records holds: so a record is small, and
//! moving it is cheap. A record whose text finds no room is dropped like one that finds none itself.
//!
//! Refuses to know: what a record is, and what its text says.

use crate::doorbell::Doorbell;
use crate::sync::{AtomicBool, Ordering};
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::io;
use std::sync::Arc;

/// Makes a ring for at most `bound` records with `text_bytes` of text in all. Fails when no descriptor is free for the
/// doorbell.
///
/// Panics if `bound` is 0.
pub fn ring<T>(bound: usize, text_bytes: usize) -> io::Result<(LogWriter<T>, LogReader<T>)> {
    assert!(bound > 0, "a log ring must hold at least one record");
    let (records, taken) = RingBuffer::new(bound);
    let (texts, read) = RingBuffer::new(text_bytes);
    let shared = Arc::new(Shared { doorbell: Doorbell::new()?, ended: AtomicBool::new(false) });
    Ok((
        LogWriter { records, texts, end: WriterEnd(shared.clone()) },
        LogReader { records: taken, texts: read, text: Vec::new(), shared, taking: false, ended: false },
    ))
}

/// A record and the length of its text, which was written before it.
#[derive(Debug)]
struct Entry<T> {
    record: T,
    text_bytes: u32,
}

#[derive(Debug)]
struct Shared {
    doorbell: Doorbell,
    /// The writer is gone.
    ended: AtomicBool,
}

/// The shard's end. Dropping it wakes the reader, so that it takes the rest and learns of the end.
#[derive(Debug)]
pub struct LogWriter<T> {
    records: Producer<Entry<T>>,
    texts: Producer<u8>,
    end: WriterEnd,
}

impl<T> LogWriter<T> {
    /// Never blocks. `false`: the ring was full and the record is dropped; the shard counts it.
    #[must_use = "a dropped record is to be counted"]
    pub fn push(&mut self, record: T, text: &[u8]) -> bool {
        // Before its text is there for good, there must be room for both.
        if !text.is_empty() && (self.records.is_full() || !self.write(text)) {
            return false;
        }
        match self.records.push(Entry { record, text_bytes: text.len() as u32 }) {
            Ok(()) => {
                // A fence and a load while the reader is awake; a system call when it sleeps.
                self.end.0.doorbell.ring();
                true
            }
            // The reader is `bound` records behind, so it is awake or has been rung.
            Err(PushError::Full(_)) => false,
        }
    }

    /// `false`: there is no room for all of it.
    fn write(&mut self, text: &[u8]) -> bool {
        let Ok(mut chunk) = self.texts.write_chunk(text.len()) else { return false };
        let (first, second) = chunk.as_mut_slices();
        let (head, tail) = text.split_at(first.len());
        first.copy_from_slice(head);
        second.copy_from_slice(tail);
        chunk.commit_all();
        true
    }

    /// The reader is gone: nobody will ever take a record again.
    pub fn is_abandoned(&self) -> bool {
        self.records.is_abandoned()
    }
}

#[derive(Debug)]
struct WriterEnd(Arc<Shared>);

impl Drop for WriterEnd {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `LogReader::take`: who sees the end sees every record before it.
        self.0.ended.store(true, Ordering::Release);
        self.0.doorbell.ring();
    }
}

/// The log thread's end.
#[derive(Debug)]
pub struct LogReader<T> {
    records: Consumer<Entry<T>>,
    texts: Consumer<u8>,
    /// Of the record that was taken last.
    text: Vec<u8>,
    shared: Arc<Shared>,
    /// The flag has been lowered and the ring not been seen empty since.
    taking: bool,
    /// The writer is gone and the ring was seen empty after that.
    ended: bool,
}

impl<T> LogReader<T> {
    /// The oldest record. `None`: the ring was seen empty after the flag was lowered, so the next push rings,
    /// and it is safe to sleep on the doorbell, unless the writer [has ended](LogReader::has_ended).
    pub fn take(&mut self) -> Option<(T, &[u8])> {
        if !self.taking {
            self.shared.doorbell.lower();
            self.taking = true;
        }
        let mut entry = self.records.pop().ok();
        // After lowering the flag, like the look into the ring, and for the same reason. Acquire pairs with the
        // Release in `WriterEnd`: what was pushed before the end is in the ring now, if we only look again.
        if entry.is_none() && self.shared.ended.load(Ordering::Acquire) {
            entry = self.records.pop().ok();
            self.ended = entry.is_none();
        }
        self.taking = entry.is_some();
        let Entry { record, text_bytes } = entry?;
        self.read(text_bytes);
        Some((record, &self.text))
    }

    /// Takes the text of a record that has been taken. It was written before the record, so it is here.
    fn read(&mut self, bytes: u32) {
        self.text.clear();
        if bytes > 0
            && let Ok(chunk) = self.texts.read_chunk(bytes as usize)
        {
            let (first, second) = chunk.as_slices();
            self.text.extend_from_slice(first);
            self.text.extend_from_slice(second);
            chunk.commit_all();
        }
    }

    /// As [`LogReader::drain`], without asking to be rung for the next record: for a reader that comes back by itself.
    /// Before it sleeps it must [`drain`](LogReader::drain).
    pub fn skim(&mut self, max: usize, mut each: impl FnMut(T, &[u8])) -> usize {
        for taken in 0..max {
            let Ok(Entry { record, text_bytes }) = self.records.pop() else { return taken };
            self.read(text_bytes);
            each(record, &self.text);
        }
        max
    }

    /// Hands over at most `max` records and says how many. With `max` reached, [`LogReader::pending`] stays true.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T, &[u8])) -> usize {
        for taken in 0..max {
            match self.take() {
                Some((record, text)) => each(record, text),
                None => return taken,
            }
        }
        max
    }

    /// Whether there may be something to take. One relaxed load.
    pub fn pending(&self) -> bool {
        self.taking || self.shared.doorbell.pending()
    }

    /// The writer is gone and everything it wrote has been taken. Becomes true in [`LogReader::take`].
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Makes the doorbell unreadable again. Call before [`LogReader::take`], after the doorbell was readable.
    pub fn hush(&self) {
        self.shared.doorbell.hush();
    }

    /// An eventfd (non-blocking, close-on-exec) to poll.
    #[cfg(not(any(loom, miri)))]
    pub fn doorbell(&self) -> std::os::fd::BorrowedFd<'_> {
        self.shared.doorbell.fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The next record, without its text.
    fn next<T>(reader: &mut LogReader<T>) -> Option<T> {
        reader.take().map(|(record, _)| record)
    }

    #[test]
    fn miri_a_text_comes_with_its_record() {
        let (mut writer, mut reader) = ring(8, 16).unwrap();
        for round in 0..5 {
            assert!(writer.push(round, b"ten bytes!") && writer.push(round + 100, b""));
            assert!(!writer.push(0, b"seven b"), "there is no room for so much text");
            assert!(writer.push(round + 200, b"six by"));
            let mut taken = Vec::new();
            reader.skim(8, |record, text| taken.push((record, text.to_vec())));
            let expected = [(round, &b"ten bytes!"[..]), (round + 100, b""), (round + 200, b"six by")];
            assert_eq!(taken, expected.map(|(record, text)| (record, text.to_vec())));
        }
        assert!(!writer.push(0, &[0; 17]));
    }

    #[test]
    fn miri_a_full_ring_drops_the_new_record_and_says_so() {
        let (mut writer, mut reader) = ring(2, 64).unwrap();
        assert_eq!([1, 2, 3].map(|record| writer.push(record, b"")), [true, true, false]);
        assert!(reader.pending());
        assert_eq!((next(&mut reader), next(&mut reader), next(&mut reader)), (Some(1), Some(2), None));
        assert!(!reader.pending());
        assert!(writer.push(4, b""));
        assert_eq!(next(&mut reader), Some(4));
    }

    #[test]
    fn miri_a_reader_that_stops_early_is_still_pending() {
        let (mut writer, mut reader) = ring(4, 64).unwrap();
        assert!((0..3).all(|record| writer.push(record, b"")));
        let mut taken = Vec::new();
        assert_eq!(reader.drain(2, |record, _| taken.push(record)), 2);
        assert!(reader.pending());
        assert_eq!(reader.drain(2, |record, _| taken.push(record)), 1);
        assert!(!reader.pending());
        assert_eq!(taken, [0, 1, 2]);
    }

    #[test]
    fn miri_who_skims_is_not_rung() {
        let (mut writer, mut reader) = ring(4, 64).unwrap();
        assert!(writer.push(1, b""));
        reader.hush();
        assert_eq!(reader.skim(4, |_, _| ()), 1);
        assert!(writer.push(2, b""));
        assert!(!reader.shared.doorbell.is_rung(), "a push rang for a reader that comes back by itself");
        assert_eq!(reader.drain(4, |_, _| ()), 1);
        assert!(writer.push(3, b""));
        assert!(reader.shared.doorbell.is_rung());
        assert_eq!(next(&mut reader), Some(3));
    }

    #[test]
    fn miri_the_end_of_the_writer_wakes_the_reader() {
        let (mut writer, mut reader) = ring(4, 64).unwrap();
        assert!(writer.push(1, b""));
        assert_eq!((next(&mut reader), next(&mut reader)), (Some(1), None));
        reader.hush();
        let ends = std::thread::spawn(move || {
            assert!(writer.push(2, b""));
        });
        let mut taken = Vec::new();
        loop {
            reader.shared.doorbell.sleep();
            reader.hush();
            reader.drain(usize::MAX, |record, _| taken.push(record));
            if reader.has_ended() {
                break;
            }
        }
        assert_eq!(taken, [2]);
        ends.join().unwrap();
    }

    #[test]
    fn miri_the_end_of_the_reader_is_seen() {
        let (mut writer, reader) = ring(1, 64).unwrap();
        assert!(!writer.is_abandoned());
        drop(reader);
        assert!(writer.is_abandoned());
        assert!(writer.push(1, b""));
        assert!(!writer.push(2, b""));
    }

    #[test]
    fn miri_records_arrive_in_order_or_are_counted() {
        const RECORDS: u64 = if cfg!(miri) { 100 } else { 50_000 };
        let (mut writer, mut reader) = ring(8, 64).unwrap();
        let writing =
            std::thread::spawn(move || (0..RECORDS).filter(|record| !writer.push(*record, b"")).count() as u64);
        let (mut taken, mut last) = (0, None);
        loop {
            reader.shared.doorbell.sleep();
            reader.hush();
            while let Some(record) = next(&mut reader) {
                assert!(last < Some(record), "{record} after {last:?}");
                last = Some(record);
                taken += 1;
            }
            if reader.has_ended() {
                break;
            }
        }
        let dropped = writing.join().unwrap();
        assert_eq!(taken + dropped, RECORDS);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::explore;
    use loom::thread;

    #[test]
    fn loom_a_sleeping_reader_gets_every_record_and_the_end() {
        explore(|| {
            let (mut writer, mut reader) = ring(4, 64).unwrap();
            let writing = thread::spawn(move || assert!((1..=2).all(|record| writer.push(record, b""))));
            let mut taken = Vec::new();
            loop {
                reader.shared.doorbell.sleep();
                reader.hush();
                reader.drain(usize::MAX, |record, _| taken.push(record));
                if reader.has_ended() {
                    break;
                }
            }
            writing.join().unwrap();
            assert_eq!(taken, [1, 2]);
        });
    }
}
