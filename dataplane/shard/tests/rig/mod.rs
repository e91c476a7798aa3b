//! Whole shards on their threads, with real sockets on loopback. The rig speaks control's part of the
//! conversation by hand, so that a test can stop between any two steps of it.
//!
//! Nothing here sleeps: a report, a record and a socket are waited for with a deadline, and a counter, which
//! nobody announces, is asked for again each time the shards report or [`PAUSE`] has passed.

// Each test binary uses another part of it.
#![allow(dead_code)]

pub mod peers;
pub mod site;

use link::counters::{CounterPages, EndpointCounter, PoolCounter, ShardCounter};
use link::listen::{BindAddress, Registry, bind, pending_handshakes};
use link::log::{LogReader, ring};
use link::mailbox::{Mailbox, Postbox, mailbox};
use link::quota::Quotas;
use peers::Stream;
use policy::close::CloseReason;
use policy::generation::{EndpointState, Health, Listen, Snapshot};
use policy::http::affinity::HashKey;
use policy::ids::*;
use policy::record::{Record, RequestRecord, TunnelRecord};
use policy::reload::{Order, Report};
use policy::tick::Tick;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shard::bounds::Bounds;
use shard::{Addressed, Ended, Fault, Handed, Setup, Signed};
use site::{Running, Site};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest a test waits for one thing that should happen at once. Only a failing test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions for what can be seen only by asking; no result depends on its length.
const PAUSE: Duration = Duration::from_millis(2);

const POOLS: u32 = 8;
const ENDPOINTS: u32 = 64;

/// What differs from rig to rig.
pub struct Options {
    pub shards: u16,
    pub bounds: Bounds,
    pub cpu: Option<usize>,
    pub fault: Option<Fault>,
}

impl Default for Options {
    fn default() -> Options {
        Options { shards: 1, bounds: Bounds::of_one(1, 4096, None), cpu: None, fault: None }
    }
}

struct ShardEnd {
    orders: Postbox<Addressed>,
    handed: Postbox<Handed>,
    log: LogReader<Record>,
    pages: Arc<CounterPages>,
    incarnation: u32,
    thread: Option<JoinHandle<std::io::Result<Ended>>>,
}

/// See the module.
pub struct Rig {
    shards: Vec<ShardEnd>,
    reports: Mailbox<Signed>,
    /// Taken from the mailbox and not awaited yet.
    seen: Vec<(ShardId, Report)>,
    pub registry: Arc<Registry>,
    pub quotas: Arc<Quotas>,
    epoch: Instant,
    pub running: Running,
    /// Prepared and neither committed nor aborted.
    prepared: BTreeMap<JobId, Running>,
    version: u64,
    jobs: u64,
    syncs: u64,
    /// Connections that went with their shard, whose end nobody could count.
    pub lost: u64,
}

impl Rig {
    /// One shard that runs this site.
    pub fn new(site: Site) -> Rig {
        Rig::with(Options::default(), site)
    }

    /// Two shards that run this site.
    pub fn of_two(site: Site) -> Rig {
        Rig::with(Options { shards: 2, ..Options::default() }, site)
    }

    pub fn with(options: Options, site: Site) -> Rig {
        let mut rig = Rig::of_nothing(options);
        let number = rig.next_job();
        let (running, change) = rig.running.changed_to(site, number.into());
        rig.bind_all(&running, &change.listen);
        rig.running = running;
        rig.version += 1;
        rig.ids().into_iter().for_each(|shard| rig.sync(shard));
        rig
    }

    /// Shards that have been told nothing yet.
    pub fn of_nothing(options: Options) -> Rig {
        let Options { shards, bounds, cpu, fault } = options;
        let (report_post, reports) = mailbox(4096).unwrap();
        let (posts, boxes): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| mailbox::<Handed>(bounds.handed_over).unwrap()).unzip();
        let pages: Vec<_> = (0..shards).map(|_| CounterPages::new(POOLS, ENDPOINTS)).collect();
        let (registry, quotas, epoch) = (Registry::new(), Quotas::new(POOLS, ENDPOINTS), Instant::now());
        let mut ends = Vec::new();
        for (id, handed) in (0..shards).map(ShardId).zip(boxes) {
            let (orders, order_box) = mailbox(64).unwrap();
            let (log_writer, log) = ring(4096, 1 << 20).unwrap();
            let setup = Setup {
                id,
                cpu,
                bounds,
                orders: order_box,
                handed,
                siblings: posts.clone(),
                reports: report_post.clone(),
                registry: registry.clone(),
                quotas: quotas.clone(),
                pages: pages.clone(),
                log: log_writer,
                hash_key: HashKey([7; 16]),
                epoch,
                fault,
            };
            let (handed, pages) = (posts[id.ix()].clone(), pages[id.ix()].clone());
            let thread = Some(shard::spawn(setup).unwrap());
            ends.push(ShardEnd { orders, handed, log, pages, incarnation: 1, thread });
        }
        Rig {
            shards: ends,
            reports,
            seen: Vec::new(),
            registry,
            quotas,
            epoch,
            running: Running::nothing(shards),
            prepared: BTreeMap::new(),
            version: 0,
            jobs: 0,
            syncs: 0,
            lost: 0,
        }
    }

    // Control's part.

    /// Puts a changed site in force on every shard.
    pub fn apply(&mut self, edit: impl FnOnce(&mut Site)) -> JobId {
        let job = self.prepare(edit);
        self.commit(job);
        job
    }

    /// Has every shard prepare a changed site.
    pub fn prepare(&mut self, edit: impl FnOnce(&mut Site)) -> JobId {
        let job = self.next_job();
        let mut site = self.running.site.clone();
        edit(&mut site);
        let (next, change) = self.running.changed_to(site, job.into());
        self.bind_all(&next, &change.listen);
        let change = Arc::new(change);
        for shard in self.ids() {
            self.order(shard, Order::Prepare { job, change: change.clone() });
        }
        for shard in self.ids() {
            self.await_report(shard, |report| match report {
                Report::Prepared { job: of } => (*of == job).then_some(()),
                Report::Refused { job: of, refusal } => panic!("job {of}: {refusal}"),
                _ => None,
            });
        }
        self.prepared.insert(job, next);
        job
    }

    pub fn commit(&mut self, job: JobId) {
        self.begin_commit(job);
        self.ids().into_iter().for_each(|shard| self.commit_on(shard, job));
    }

    /// Another site is in force, though no shard has been told of it: the next Sync does.
    pub fn replace(&mut self, edit: impl FnOnce(&mut Site)) {
        let number = self.next_job();
        let mut site = self.running.site.clone();
        edit(&mut site);
        let (running, change) = self.running.changed_to(site, number.into());
        self.bind_all(&running, &change.listen);
        self.running = running;
        self.version += 1;
    }

    /// From here on the change is in force on the shards for which [`Rig::commit_on`] is called.
    pub fn begin_commit(&mut self, job: JobId) {
        self.running = self.prepared.remove(&job).expect("a prepared job");
        self.version += 1;
    }

    pub fn commit_on(&mut self, shard: u16, job: JobId) {
        self.order(shard, Order::Commit { job, version: RootVersion(self.version) });
        self.await_report(shard, |report| {
            matches!(report, Report::Adopted { job: of, .. } if *of == job).then_some(())
        });
    }

    pub fn abort(&mut self, job: JobId) {
        self.prepared.remove(&job).expect("a prepared job");
        self.ids().into_iter().for_each(|shard| self.abort_on(shard, job));
    }

    pub fn abort_on(&mut self, shard: u16, job: JobId) {
        self.order(shard, Order::Abort { job });
        self.await_report(shard, |report| matches!(report, Report::Forgotten { job: of } if *of == job).then_some(()));
    }

    /// Gives a shard the whole root and lets it accept.
    pub fn sync(&mut self, shard: u16) {
        self.sync_only(shard);
        self.order(shard, Order::Resume);
    }

    /// Gives a shard the whole root.
    pub fn sync_only(&mut self, shard: u16) {
        self.syncs += 1;
        let epoch = self.syncs;
        let snapshot = Snapshot { version: RootVersion(self.version), ..self.running.snapshot() };
        self.order(shard, Order::Sync { epoch, to: Arc::new(snapshot) });
        self.await_report(shard, |report| {
            matches!(report, Report::Synced { epoch: of, .. } if *of == epoch).then_some(())
        });
    }

    /// What is known of an endpoint.
    pub fn endpoint_is(&mut self, endpoint: u32, health: Health, addresses: &[SocketAddr]) {
        let state = EndpointState { slot: EndpointSlot(endpoint), health, addresses: addresses.into() };
        self.order_all(Order::Endpoint(state));
        self.settle();
    }

    /// Closes an address that has left, when no handshake is pending there any more.
    pub fn close_address(&mut self, listener: u32) {
        let address = self.registry.group(listener).unwrap().local_addr().clone();
        self.until("no handshake is pending", |_| pending_handshakes(&address).unwrap() == 0);
        self.order_all(Order::Close { listener: ListenerSlot(listener) });
        for shard in self.ids() {
            self.await_listener_closed(shard, listener);
        }
        self.registry.remove(listener);
    }

    pub fn await_listener_closed(&mut self, shard: u16, listener: u32) {
        self.await_report(shard, |report| {
            matches!(report, Report::ListenerClosed { listener: of } if of.0 == listener).then_some(())
        });
    }

    pub fn order(&self, shard: u16, order: Order) {
        let end = &self.shards[usize::from(shard)];
        end.orders.post((end.incarnation, order)).unwrap_or_else(|_| panic!("shard {shard} takes no orders"));
    }

    pub fn order_all(&self, order: Order) {
        self.ids().into_iter().for_each(|shard| self.order(shard, order.clone()));
    }

    /// Every order posted so far has been obeyed.
    pub fn settle(&mut self) {
        self.syncs += 1;
        let epoch = self.syncs;
        self.order_all(Order::Tell { epoch });
        for shard in self.ids() {
            self.await_report(shard, |report| {
                matches!(report, Report::Holding { epoch: of, .. } if *of == epoch).then_some(())
            });
        }
    }

    /// The next report of this shard that `wanted` finds something in; others are kept.
    #[track_caller]
    pub fn await_report<T>(&mut self, shard: u16, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        let mut looked_at = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some((of, report)) = self.seen.get(looked_at) {
                if of.0 == shard
                    && let Some(found) = wanted(report)
                {
                    self.seen.remove(looked_at);
                    return found;
                }
                looked_at += 1;
            }
            assert!(Instant::now() < deadline, "shard {shard} does not report it; kept: {:?}", self.seen);
            self.take_reports();
        }
    }

    /// Takes out all reports so far that `wanted` finds something in.
    pub fn reports_so_far<T>(&mut self, mut wanted: impl FnMut(u16, &Report) -> Option<T>) -> Vec<T> {
        self.settle();
        let mut found = Vec::new();
        self.seen.retain(|(shard, report)| match wanted(shard.0, report) {
            Some(wanted) => {
                found.push(wanted);
                false
            }
            None => true,
        });
        found
    }

    /// A shard's executor has died; what is ordered from now on is for the next one.
    pub fn await_death(&mut self, shard: u16) {
        self.await_report(shard, |report| matches!(report, Report::Died).then_some(()));
        self.shards[usize::from(shard)].incarnation += 1;
    }

    // The clients' part.

    pub fn address(&self, listener: u32) -> BindAddress {
        self.registry.group(listener).expect("a bound listener").local_addr().clone()
    }

    pub fn connect(&self, listener: u32) -> Stream {
        Stream::connect(&self.address(listener))
    }

    /// A client that this very shard accepts.
    #[track_caller]
    pub fn connect_to_shard(&self, listener: u32, shard: u16) -> Stream {
        let group = self.registry.group(listener).unwrap();
        group.steer(1 << shard).unwrap();
        let client = self.connect(listener);
        group.steer(u64::MAX).unwrap();
        client
    }

    /// Hands an accepted connection to a shard, as a sibling would.
    pub fn hand_over(&mut self, shard: u16, handed: Handed) {
        let mut handed = Some(handed);
        self.until("there is room in its mailbox", |rig| {
            let posted = rig.shards[usize::from(shard)].handed.post(handed.take().unwrap());
            handed = posted.err().map(|rejected| rejected.into_message());
            handed.is_none()
        });
    }

    // What is seen from outside.

    /// The next tunnel in any shard's access log.
    #[track_caller]
    pub fn record(&mut self) -> TunnelRecord {
        match self.next_record() {
            Record::Tunnel(record) => record,
            Record::Request(record) => panic!("a request where a tunnel was expected: {record:?}"),
        }
    }

    /// The next request in any shard's access log.
    #[track_caller]
    pub fn request(&mut self) -> RequestRecord {
        match self.next_record() {
            Record::Request(record) => record,
            Record::Tunnel(record) => panic!("a tunnel where a request was expected: {record:?}"),
        }
    }

    #[track_caller]
    fn next_record(&mut self) -> Record {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for shard in &mut self.shards {
                if let Some((record, _)) = shard.log.take() {
                    return record;
                }
            }
            let doorbells: Vec<_> = self.shards.iter().map(|shard| shard.log.doorbell()).collect();
            wait_readable(&doorbells, PATIENCE);
            self.shards.iter().for_each(|shard| shard.log.hush());
        }
        panic!("no record came");
    }

    #[track_caller]
    pub fn closed(&mut self, reason: CloseReason) -> TunnelRecord {
        let record = self.record();
        assert_eq!(record.reason, reason, "{record:?}");
        record
    }

    /// Over all shards.
    pub fn pool(&self, pool: u32, counter: PoolCounter) -> u64 {
        self.shards.iter().map(|shard| shard.pages.pool(pool, counter)).sum()
    }

    /// Over all shards.
    pub fn ended(&self, pool: u32, reason: CloseReason) -> u64 {
        self.shards.iter().map(|shard| shard.pages.pool_closed(pool, reason as usize)).sum()
    }

    /// Requests, over all shards.
    pub fn requests_ended(&self, pool: u32, reason: CloseReason) -> u64 {
        self.shards.iter().map(|shard| shard.pages.pool_ended(pool, reason as usize)).sum()
    }

    /// Over all shards.
    pub fn endpoint(&self, endpoint: u32, counter: EndpointCounter) -> u64 {
        self.shards.iter().map(|shard| shard.pages.endpoint(endpoint, counter)).sum()
    }

    pub fn shard(&self, shard: u16, counter: ShardCounter) -> u64 {
        self.shards[usize::from(shard)].pages.shard(counter)
    }

    /// Over all shards.
    pub fn pipes_in_use(&self) -> u64 {
        self.ids().into_iter().map(|shard| self.shard(shard, ShardCounter::Pipes)).sum()
    }

    /// Asks until it is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&Rig) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            self.take_reports();
        }
    }

    /// Stops every shard politely and checks that nothing is left of any connection.
    #[track_caller]
    pub fn stop(mut self) {
        self.order_stop(PATIENCE / 2);
        for listener in self.running.listeners() {
            self.order_all(Order::Close { listener });
        }
        self.await_stopped();
    }

    /// Orders a stop; every address has left.
    pub fn order_stop(&mut self, grace: Duration) {
        let deadline = self.now().after(grace);
        self.order_all(Order::Stop { deadline });
        for shard in self.ids() {
            self.await_report(shard, |report| matches!(report, Report::Leaving { .. }).then_some(()));
        }
    }

    /// How a shard's thread ended.
    pub fn thread_ended(&mut self, shard: u16) -> std::io::Result<Ended> {
        self.shards[usize::from(shard)].thread.take().unwrap().join().unwrap()
    }

    /// Every connection of every shard has ended; checks that nothing is left of any.
    #[track_caller]
    pub fn await_stopped(mut self) {
        for shard in self.ids() {
            self.await_report(shard, |report| matches!(report, Report::Stopped).then_some(()));
            let ended = self.thread_ended(shard).unwrap();
            assert!(matches!(ended, Ended::Stopped), "shard {shard}: {ended:?}");
        }
        self.assert_nothing_left();
    }

    fn assert_nothing_left(&self) {
        for shard in self.ids() {
            for gauge in [ShardCounter::Connections, ShardCounter::BufferBytes] {
                assert_eq!(self.shard(shard, gauge), 0, "shard {shard}: {gauge:?}");
            }
        }
        for pool in 0..POOLS {
            for gauge in [PoolCounter::Connections, PoolCounter::Waiting, PoolCounter::BufferBytes] {
                assert_eq!(self.pool(pool, gauge), 0, "pool {pool}: {gauge:?}");
            }
            assert_eq!(self.quotas.pool(pool).unwrap().used(), 0, "pool {pool}: quota");
        }
        let accepted: u64 = (0..POOLS).map(|pool| self.pool(pool, PoolCounter::Accepted)).sum();
        let reasons = (0..POOLS).flat_map(|pool| CloseReason::ALL.iter().map(move |reason| (pool, *reason)));
        let ended: u64 = reasons.map(|(pool, reason)| self.ended(pool, reason)).sum();
        assert_eq!(ended + self.lost, accepted, "each connection ends once");
        for endpoint in 0..ENDPOINTS {
            assert_eq!(self.endpoint(endpoint, EndpointCounter::Connections), 0, "endpoint {endpoint}");
            assert_eq!(self.quotas.endpoint(endpoint).unwrap().used(), 0, "endpoint {endpoint}: quota");
        }
    }

    pub fn now(&self) -> Tick {
        Tick(self.epoch.elapsed().as_millis() as u64)
    }

    pub fn ids(&self) -> Vec<u16> {
        (0..self.shards.len() as u16).collect()
    }

    fn next_job(&mut self) -> JobId {
        self.jobs += 1;
        JobId(self.jobs)
    }

    /// Binds what is new behind its closed door.
    fn bind_all(&self, next: &Running, listens: &[Listen]) {
        let shards = self.ids();
        for listen in listens.iter().filter(|listen| self.registry.group(listen.listener.0).is_none()) {
            let address = next.place(listen.listener);
            self.registry.insert(listen.listener.0, bind(&address, &shards, 1024).unwrap());
        }
    }

    fn take_reports(&mut self) {
        wait_readable(&[self.reports.doorbell()], PAUSE);
        self.reports.hush();
        while let Some((shard, incarnation, report)) = self.reports.take() {
            if incarnation == self.shards[shard.ix()].incarnation {
                self.seen.push((shard, report));
            }
        }
    }
}

fn wait_readable(descriptors: &[BorrowedFd<'_>], limit: Duration) {
    let mut polled: Vec<_> = descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut polled, Some(&limit)).unwrap();
}
