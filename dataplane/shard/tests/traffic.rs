//! A whole shard on its thread, with real sockets on loopback; the tests speak control's part by hand.

use link::counters::{CounterPages, PoolCounter, ShardCounter};
use link::listen::{BindAddress, Registry, bind};
use link::log::{LogReader, ring};
use link::mailbox::{Mailbox, Postbox, mailbox};
use link::quota::Quotas;
use policy::close::CloseReason;
use policy::generation::*;
use policy::ids::*;
use policy::record::TunnelRecord;
use policy::reload::{Order, Report};
use policy::tick::Tick;
use shard::bounds::Bounds;
use shard::{Addressed, Setup, Signed};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

struct Rig {
    orders: Postbox<Addressed>,
    reports: Mailbox<Signed>,
    log: LogReader<TunnelRecord>,
    pages: Arc<CounterPages>,
    epoch: Instant,
    address: SocketAddr,
    thread: Option<JoinHandle<std::io::Result<shard::Ended>>>,
}

impl Rig {
    fn new(backends: &[SocketAddr]) -> Rig {
        let (orders, order_box) = mailbox(64).unwrap();
        let (sibling, handed) = mailbox(64).unwrap();
        let (report_post, reports) = mailbox(1024).unwrap();
        let registry = Registry::new();
        let group = bind(&BindAddress::Ip("127.0.0.1:0".parse().unwrap()), &[0], 128).unwrap();
        let BindAddress::Ip(address) = group.local_addr().clone() else { unreachable!() };
        registry.insert(0, group);
        let pages = CounterPages::new(16, 64);
        pages.ensure_pool(0).unwrap();
        (0..backends.len() as u32).for_each(|slot| pages.ensure_endpoint(slot).unwrap());
        let (log_writer, log) = ring(64).unwrap();
        let epoch = Instant::now();
        let setup = Setup {
            id: ShardId(0),
            cpu: None,
            bounds: Bounds::of_one(1, 1024, None),
            orders: order_box,
            handed,
            siblings: vec![sibling],
            reports: report_post,
            registry,
            quotas: Quotas::new(16, 64),
            pages: vec![pages.clone()],
            log: log_writer,
            epoch,
        };
        let thread = shard::spawn(setup).unwrap();
        let mut rig = Rig { orders, reports, log, pages, epoch, address, thread: Some(thread) };
        rig.order(Order::Sync { epoch: 1, to: Arc::new(snapshot(backends)) });
        rig.await_report(|report| matches!(report, Report::Synced { epoch: 1, .. }));
        rig.order(Order::Resume);
        rig
    }

    fn order(&self, order: Order) {
        self.orders.post((1, order)).unwrap_or_else(|_| panic!("the shard's mailbox is full or gone"));
    }

    fn await_report(&mut self, wanted: impl Fn(&Report) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            while let Some((_, _, report)) = self.reports.take() {
                if wanted(&report) {
                    return;
                }
            }
            wait_readable(self.reports.doorbell());
            self.reports.hush();
        }
        panic!("the report did not come");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn record(&mut self) -> TunnelRecord {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(record) = self.log.take() {
                return record;
            }
            wait_readable(self.log.doorbell());
            self.log.hush();
        }
        panic!("no record came");
    }

    fn stop(&mut self) {
        let now = Tick(self.epoch.elapsed().as_millis() as u64);
        self.order(Order::Stop { deadline: now.after(Duration::from_secs(5)) });
        let mut open = std::collections::BTreeSet::from([0]);
        while !open.is_empty() {
            self.await_report(|report| matches!(report, Report::Leaving));
            self.order(Order::Close { listener: ListenerSlot(0) });
            open.clear();
        }
        self.await_report(|report| matches!(report, Report::Stopped));
        let ended = self.thread.take().unwrap().join().unwrap().unwrap();
        assert!(matches!(ended, shard::Ended::Stopped), "{ended:?}");
    }
}

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>) {
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&limit)).unwrap();
}

fn snapshot(backends: &[SocketAddr]) -> Snapshot {
    let endpoints: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(ix, address)| {
            Arc::new(Endpoint {
                slot: EndpointSlot(ix as u32),
                id: format!("b{ix}").into(),
                address: Address::Ip(*address),
                weight: 1,
                backup: false,
                drain: false,
                max_connections: None,
            })
        })
        .collect();
    let number = GenerationId(1);
    let policy = TunnelPolicy {
        part: PartId(2),
        pool: PoolSlot(0),
        number,
        timeouts: Timeouts { connect: Duration::from_secs(2), idle: Some(Duration::from_secs(60)), lifetime: None },
        access_log: true,
        bytes: 100,
    };
    let pool = PoolGeneration {
        part: PartId(1),
        id: PoolId::new("db"),
        slot: PoolSlot(0),
        number,
        hash: ContentHash([0; 16]),
        listeners: Box::new([ListenerSlot(0)]),
        shards: ShardSet::first(1),
        limits: PoolLimits { max_connections: None, memory: 64 << 20 },
        policy: Arc::new(policy),
        group: Arc::new(Group {
            id: "main".into(),
            balance: Balance::RoundRobin,
            endpoints: endpoints.into(),
            attempts: 3,
            queue: 8,
            queue_wait: Duration::from_secs(1),
            health: None,
        }),
        bytes: 1000,
    };
    Snapshot {
        version: RootVersion(1),
        generation: Some(number),
        pools: vec![Arc::new(pool)],
        listen: vec![Listen { listener: ListenerSlot(0), pool: PoolSlot(0), shards: ShardSet::first(1) }],
        endpoints: Vec::new(),
    }
}

/// A backend that serves each connection on a thread with `serve`.
fn backend(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..bytes]).is_err() {
            return;
        }
    }
}

#[test]
fn small_messages_pass_and_the_end_comes_back_after_the_answer() {
    let mut rig = Rig::new(&[backend(echo)]);
    let mut client = rig.connect();
    for round in 0..100u32 {
        client.write_all(&round.to_le_bytes()).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(u32::from_le_bytes(answer), round);
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    let record = rig.record();
    assert_eq!((record.reason, record.bytes_in, record.bytes_out), (CloseReason::Finished, 400, 400));
    assert_eq!(rig.pages.pool(0, PoolCounter::Connections), 0);
    assert_eq!(rig.pages.pool(0, PoolCounter::BytesIn), 400);
    rig.stop();
}

#[test]
fn bulk_passes_byte_exact_both_ways_at_once() {
    let mut rig = Rig::new(&[backend(echo)]);
    let client = rig.connect();
    let total = 32usize << 20;
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let mut sent = 0usize;
        while sent < total {
            let block: Vec<u8> =
                (sent..sent + (64 << 10)).map(|at| (at as u32).wrapping_mul(2_654_435_761) as u8).collect();
            writer.write_all(&block).unwrap();
            sent += block.len();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut reader = client;
    let (mut got, mut buffer) = (0usize, vec![0; 64 << 10]);
    loop {
        let bytes = reader.read(&mut buffer).unwrap();
        if bytes == 0 {
            break;
        }
        for byte in &buffer[..bytes] {
            assert_eq!(*byte, (got as u32).wrapping_mul(2_654_435_761) as u8, "at byte {got}");
            got += 1;
        }
    }
    assert_eq!(got, total);
    writing.join().unwrap();
    assert_eq!(rig.record().reason, CloseReason::Finished);
    assert!(rig.pages.shard(ShardCounter::Pipes) > 0, "bulk goes through pipes");
    rig.stop();
}

#[test]
fn another_backend_is_tried_when_one_refuses() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut rig = Rig::new(&[refusing, backend(echo)]);
    for _ in 0..4 {
        let mut client = rig.connect();
        client.write_all(b"hi").unwrap();
        let mut answer = [0; 2];
        client.read_exact(&mut answer).unwrap();
        drop(client);
        rig.record();
    }
    assert!(rig.pages.pool(0, PoolCounter::ConnectRetries) >= 1);
    rig.stop();
}

#[test]
fn a_backend_that_resets_is_seen_as_a_reset() {
    let mut rig = Rig::new(&[backend(|mut stream| {
        let mut head = [0; 4];
        stream.read_exact(&mut head).unwrap();
        stream.write_all(b"part").unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })]);
    let mut client = rig.connect();
    client.write_all(b"head").unwrap();
    let mut answer = Vec::new();
    let error = client.read_to_end(&mut answer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.record().reason, CloseReason::BackendReset);
    rig.stop();
}

#[test]
fn without_a_backend_the_client_gets_an_end_and_no_reset() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut rig = Rig::new(&[refusing]);
    let mut client = rig.connect();
    client.write_all(&[7; 4096]).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(rig.record().reason, CloseReason::ConnectFailed);
    drop(client);
    rig.stop();
}

#[test]
fn a_stalled_reader_holds_one_buffer_and_its_source_back() {
    let mut rig = Rig::new(&[backend(|mut stream| {
        let block = vec![1; 64 << 10];
        while stream.write_all(&block).is_ok() {}
    })]);
    let client = rig.connect();
    let deadline = Instant::now() + PATIENCE;
    // The stall is there when the kernel's buffers are full: nothing more is counted.
    let mut before = u64::MAX;
    loop {
        assert!(Instant::now() < deadline);
        let mut other = rig.connect();
        other.read_exact(&mut vec![0; 8 << 20]).unwrap();
        let held = rig.pages.shard(ShardCounter::BufferBytes);
        assert!(held <= 4 * (16 << 10), "{held} bytes held for two stalled readers");
        drop(other);
        rig.record();
        let now = rig.pages.pool(0, PoolCounter::BytesOut);
        if now - before.min(now) < 1 << 30 {
            break;
        }
        before = now;
    }
    drop(client);
    rig.record();
    rig.stop();
}
