//! A shard without sockets: the real end of the conversation on a thread of its own, and connections that
//! exist in its accounts only. It behaves, or misbehaves as it is told.

use crate::seat::{Addressed, Signed};
use link::counters::{CounterPages, CounterWriter, EndpointCounter, PoolCounter, ShardCounter};
use link::doorbell::Doorbell;
use link::listen::Registry;
use link::log::LogWriter;
use link::mailbox::{Mailbox, Postbox};
use policy::close::CloseReason;
use policy::generation::PoolGeneration;
use policy::record::{ClientAddr, Record, TunnelRecord};
use policy::reload::{Adopter, Adoption, Deed, Order, PolicyLease, Refusal, Report, RootLease};
use policy::{EndpointSlot, ListenerSlot, PoolSlot, ShardId};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a test tells its shard.
pub enum Do {
    /// Takes no order until `Go`.
    Stall,
    Go,
    /// Takes orders up to the next Prepare, and stalls again.
    GoToPrepare,
    /// A client comes in for this pool and reaches no backend: it holds the root until `LetGo`.
    Hold {
        pool: &'static str,
    },
    LetGo,
    /// The next Prepare is refused.
    Refuse,
    /// Dies, and is started again.
    Die,
    /// A client comes in for this pool and is connected to this backend, by its id. Answers with the
    /// connection's number.
    Open {
        pool: &'static str,
        backend: &'static str,
        done: mpsc::Sender<u64>,
    },
    Close(u64),
    End,
}

pub struct Fake {
    orders: mpsc::Sender<Do>,
    bell: Arc<Doorbell>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn tell(&self, what: Do) {
        self.orders.send(what).expect("the fake shard lives");
        self.bell.ring();
    }

    pub fn open(&self, pool: &'static str, backend: &'static str) -> u64 {
        let (done, opened) = mpsc::channel();
        self.tell(Do::Open { pool, backend, done });
        opened.recv_timeout(super::PATIENCE).expect("the connection is opened")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.orders.send(Do::End);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a fake shard is made of.
pub struct Parts {
    pub id: ShardId,
    pub orders: Mailbox<Addressed>,
    pub reports: Postbox<Signed>,
    pub page: Arc<CounterPages>,
    pub log: LogWriter<Record>,
    pub registry: Arc<Registry>,
}

pub fn start(parts: Parts) -> Fake {
    let (sender, commands) = mpsc::channel();
    let bell = Arc::new(Doorbell::new().unwrap());
    let own_bell = Arc::clone(&bell);
    let thread = std::thread::spawn(move || {
        let counters = parts.page.claim().expect("one writer");
        let adopter = Adopter::new(parts.id);
        Shard {
            adopter,
            parts,
            counters,
            commands,
            early: VecDeque::new(),
            bell: own_bell,
            incarnation: 1,
            takes: Takes::All,
            refuses: false,
            tunnels: BTreeMap::new(),
            held: Vec::new(),
            next: 1,
            over: false,
        }
        .run();
    });
    Fake { orders: sender, bell, thread: Some(thread) }
}

/// The orders that a shard takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    All,
    /// None from the next Prepare on. Which orders come before it (health, addresses) is not the tests' business.
    ToPrepare,
    None,
}

struct Shard {
    parts: Parts,
    adopter: Adopter,
    counters: CounterWriter,
    commands: mpsc::Receiver<Do>,
    /// Commands that wait for the shard to accept.
    early: VecDeque<Do>,
    bell: Arc<Doorbell>,
    incarnation: u32,
    takes: Takes,
    refuses: bool,
    tunnels: BTreeMap<u64, (PoolSlot, EndpointSlot, PolicyLease)>,
    held: Vec<RootLease>,
    next: u64,
    over: bool,
}

impl Shard {
    fn run(mut self) {
        while !self.over {
            self.wait();
            self.bell.hush();
            self.bell.lower();
            while let Ok(command) = self.commands.try_recv() {
                self.early.push_back(command);
            }
            self.obey_all();
            if self.takes == Takes::None {
                continue;
            }
            self.parts.orders.hush();
            while self.takes != Takes::None
                && let Some((incarnation, order)) = self.parts.orders.take()
            {
                if self.takes == Takes::ToPrepare && matches!(order, Order::Prepare { .. }) {
                    self.takes = Takes::None;
                }
                if incarnation == self.incarnation {
                    self.on_order(order);
                }
            }
            self.obey_all();
        }
    }

    /// In turn. Clients wait in the kernel's queue while nobody accepts.
    fn obey_all(&mut self) {
        while let Some(command) = self.early.pop_front() {
            let comes_in = matches!(command, Do::Open { .. } | Do::Hold { .. });
            if comes_in && !self.adopter.accepts() {
                return self.early.push_front(command);
            }
            self.obey(command);
        }
    }

    fn wait(&self) {
        let takes = self.takes != Takes::None;
        if self.bell.pending() || takes && self.parts.orders.pending() {
            return;
        }
        let mut polled = vec![PollFd::from_borrowed_fd(self.bell.fd(), PollFlags::IN)];
        if takes {
            polled.push(PollFd::from_borrowed_fd(self.parts.orders.doorbell(), PollFlags::IN));
        }
        let _ = poll(&mut polled, None);
    }

    fn obey(&mut self, command: Do) {
        let mut deeds = Vec::new();
        match command {
            Do::Stall => self.takes = Takes::None,
            Do::GoToPrepare => self.takes = Takes::ToPrepare,
            Do::Hold { pool } => {
                let lease = self.adopter.accept(self.root(pool).listeners[0]);
                self.held.push(lease);
            }
            Do::LetGo => {
                for lease in std::mem::take(&mut self.held) {
                    self.adopter.give_back(lease, &mut deeds);
                }
            }
            Do::Go => self.takes = Takes::All,
            Do::Refuse => self.refuses = true,
            Do::Die => self.die(),
            Do::Open { pool, backend, done } => {
                let connection = self.open(pool, backend, &mut deeds);
                done.send(connection).expect("the test waits");
            }
            Do::Close(connection) => {
                if let Some((pool, endpoint, lease)) = self.tunnels.remove(&connection) {
                    self.closed(pool, endpoint, CloseReason::Finished);
                    self.adopter.give_back_policy(lease, &mut deeds);
                    self.adopter.endpoint_closed(endpoint, &mut deeds);
                }
            }
            Do::End => self.over = true,
        }
        self.perform(deeds);
    }

    fn on_order(&mut self, order: Order) {
        let mut deeds = Vec::new();
        let refuses = matches!(order, Order::Prepare { .. }) && std::mem::take(&mut self.refuses);
        let room = |_: &_| match refuses {
            true => Err(Refusal::TableFull { table: "endpoints", bound: 7 }),
            false => Ok(()),
        };
        self.adopter.on_order(order, room, &mut deeds);
        self.adopter.check_invariants();
        self.perform(deeds);
    }

    fn open(&mut self, pool: &str, backend: &str, deeds: &mut Vec<Deed>) -> u64 {
        let root = self.root(pool);
        let lease = self.adopter.accept(root.listeners[0]);
        let endpoint = root.endpoints().find(|endpoint| &*endpoint.id == backend).expect("a backend").slot;
        self.adopter.endpoint_opened(endpoint);
        let lease = self.adopter.exchange(lease, deeds);
        let slot = root.slot;
        drop(root);
        self.counters.shard().add(ShardCounter::Connections, 1);
        self.counters.pool(slot.0).add(PoolCounter::Accepted, 1);
        self.counters.pool(slot.0).add(PoolCounter::Connections, 1);
        self.counters.endpoint(endpoint.0).add(EndpointCounter::Connections, 1);
        let connection = self.next;
        self.next += 1;
        self.tunnels.insert(connection, (slot, endpoint, lease));
        connection
    }

    fn root(&self, pool: &str) -> Arc<PoolGeneration> {
        let root = self.adopter.held().current.into_iter().find(|root| root.id.as_str() == pool);
        root.expect("the pool runs")
    }

    fn closed(&mut self, pool: PoolSlot, endpoint: EndpointSlot, reason: CloseReason) {
        self.counters.shard().sub(ShardCounter::Connections, 1);
        self.counters.pool(pool.0).sub(PoolCounter::Connections, 1);
        self.counters.pool(pool.0).closed(reason as usize);
        self.counters.endpoint(endpoint.0).sub(EndpointCounter::Connections, 1);
        let generation = self.adopter.pool(pool).map_or(policy::GenerationId(0), |root| root.number);
        let _ = self.parts.log.push(
            Record::Tunnel(TunnelRecord {
                pool,
                endpoint: Some(endpoint),
                generation,
                client: ClientAddr::Unix,
                started_micros: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64,
                connect_micros: 1,
                duration_micros: 2,
                bytes_in: 3,
                bytes_out: 4,
                reason,
                shard: self.parts.id,
                attempts: 1,
            }),
            b"",
        );
    }

    fn die(&mut self) {
        // Its connections are gone with it; leases of the old adopter go nowhere.
        self.tunnels.clear();
        self.held.clear();
        self.counters.clear_gauges();
        self.adopter = Adopter::new(self.parts.id);
        self.report(Report::Died);
        self.incarnation += 1;
    }

    fn perform(&mut self, deeds: Vec<Deed>) {
        let mut todo = VecDeque::from(deeds);
        while let Some(deed) = todo.pop_front() {
            let mut more = Vec::new();
            match deed {
                Deed::Report(report) => self.report(report),
                Deed::Adopted { job } => {
                    self.counters.shard().set(ShardCounter::Generation, job.0);
                    let carried = self.tunnels.len() as u32;
                    let adoption = Adoption { pause: Duration::from_micros(3), carried, adopted: 0, retired: 0 };
                    self.report(Report::Adopted { job, adoption });
                }
                Deed::Open(listener) => self.socket(listener, |socket| socket.open()),
                Deed::DropSyns(listener) => self.socket(listener, |socket| {
                    // Who is in the queue is served before the address can be closed.
                    socket.drop_syns()?;
                    while rustix::net::accept(socket.fd()).is_ok() {}
                    Ok(())
                }),
                Deed::CancelAccept(listener) => self.adopter.accept_ended(listener, &mut more),
                Deed::Retire(endpoint) => {
                    let ends: Vec<u64> =
                        self.tunnels.iter().filter(|(_, tunnel)| tunnel.1 == endpoint).map(|(id, _)| *id).collect();
                    for connection in ends {
                        let (pool, endpoint, lease) = self.tunnels.remove(&connection).expect("just seen");
                        self.closed(pool, endpoint, CloseReason::BackendRemoved);
                        self.adopter.give_back_policy(lease, &mut more);
                        self.adopter.endpoint_closed(endpoint, &mut more);
                    }
                }
                Deed::StopBy(_) => {
                    for (_, (pool, endpoint, lease)) in std::mem::take(&mut self.tunnels) {
                        self.closed(pool, endpoint, CloseReason::Stopped);
                        self.adopter.give_back_policy(lease, &mut more);
                        self.adopter.endpoint_closed(endpoint, &mut more);
                    }
                    self.adopter.deadline_reached(&mut more);
                }
                Deed::Switched { .. }
                | Deed::Forget { .. }
                | Deed::ForgetEndpoint(_)
                | Deed::GiveBack(_)
                | Deed::SuspendAccept
                | Deed::ResumeAccept
                | Deed::Endpoint(_) => {}
            }
            todo.extend(more);
        }
    }

    fn socket(&self, listener: ListenerSlot, act: impl Fn(&link::listen::ListenSocket) -> std::io::Result<()>) {
        let socket = self.parts.registry.socket(listener.0, self.parts.id.0);
        act(&socket.expect("control has bound it")).expect("the socket obeys");
    }

    fn report(&self, report: Report) {
        let signed = (self.parts.id, self.incarnation, report);
        assert!(self.parts.reports.post(signed).is_ok(), "reports find room");
    }
}
