//! The log thread through its handle: what is laid on the desk, what comes out of the sink.

use super::*;
use policy::record::TunnelRecord;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc;
use std::time::Instant;

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
    let log = Log::start(output(Sink::open(&target).unwrap(), target), None, move |slots| sender.send(slots).unwrap())
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
    let stderr = Sink::over(writer.into()).unwrap();
    let opened = output(Sink::open(&target).unwrap(), target);
    let mut log = Writer::new(desk, Arc::default(), opened, Some(stderr));
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
