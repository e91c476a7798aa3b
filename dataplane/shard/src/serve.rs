//! The shard: its state, and the loop that turns completions, orders and timers into calls of the rows.
//!
//! Rows of the request path, one file each: [`accept`](crate::accept), [`admit`](crate::admit) (lease,
//! limit, balance), [`connect`](crate::connect), [`relay`](crate::relay) (tunnel), [`end`](crate::end)
//! (record, lease returned); those of a request are in [`http`](crate::http). [`orders`](crate::orders) performs what the conversation asks for.

use crate::accept::Handed;
use crate::bounds::Bounds;
use crate::conn::Op;
use crate::conns::{ConnId, Conns};
use crate::guard::{Fault, Handling};
use crate::http::Spare;
use crate::http::idle::AllIdle;
use crate::http::upstreams::{UpstreamId, Upstreams};
use crate::listeners::Listeners;
use crate::orders::Switching;
use crate::pools::{EndpointRow, Pool};
use crate::relay;
use crate::ring::pipe::Pipes;
use crate::ring::socket::{READABLE, WRITABLE};
use crate::ring::{Completion, Key, Outcome, Ring, Verb, host};
use crate::sweep::Sweep;
use link::counters::{CounterPages, CounterWriter, PoolCounter, ShardCounter};
use link::listen::Registry;
use link::log::LogWriter;
use link::mailbox::{Mailbox, Postbox};
use link::quota::{Quotas, ShardQuotas, Waiters};
use policy::http::affinity::HashKey;
use policy::ids::{ListenerSlot, PoolSlot, ShardId};
use policy::record::Record;
use policy::reload::{Adopter, Deed, Order, Report};
use policy::tick::Tick;
use policy::wheel::{self, Wheel};
use rustix::event::PollFlags;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use wire::tunnel::Way;

/// An order and the incarnation it was meant for: a shard that was started again ignores what its
/// predecessor was told.
pub type Addressed = (u32, Order);

/// A report, by whom.
pub type Signed = (ShardId, u32, Report);

/// Everything a shard is given at start.
pub struct Setup {
    pub id: ShardId,
    /// The core it is pinned to. `None`: not pinned.
    pub cpu: Option<usize>,
    pub bounds: Bounds,
    pub orders: Mailbox<Addressed>,
    pub handed: Mailbox<Handed>,
    /// Where to hand connections over, by shard; the own entry is there and unused.
    pub siblings: Vec<Postbox<Handed>>,
    pub reports: Postbox<Signed>,
    pub registry: Arc<Registry>,
    pub quotas: Arc<Quotas>,
    /// Counters by shard: the own ones to write, the others' loads to compare.
    pub pages: Vec<Arc<CounterPages>>,
    pub log: LogWriter<Record>,
    /// Secret of the hash by which requests stay together: the same on every shard.
    pub hash_key: HashKey,
    /// Zero of the process's clock.
    pub epoch: Instant,
    /// For tests only: see [`Fault`].
    pub fault: Option<Fault>,
}

/// Why a shard's thread ended.
#[derive(Debug)]
pub enum Ended {
    /// Ordered to stop, and every connection has ended.
    Stopped,
    /// Its ring could not be made or used; nothing was lost that was not reported dead.
    Ring(io::Error),
}

/// Starts a shard on a thread of its own.
///
/// A panic outside what is done for one connection (see [`guard`](crate::guard)) costs all of the shard's connections, is
/// reported as [`Report::Died`], and another incarnation starts on the same thread; its first order must be
/// [`Order::Sync`].
pub fn spawn(setup: Setup) -> io::Result<thread::JoinHandle<io::Result<Ended>>> {
    let name = format!("sluice-shard-{}", setup.id);
    thread::Builder::new().name(name.clone()).spawn(move || {
        let (id, reports) = (setup.id, setup.reports.clone());
        let ended = host::run(&name, setup.cpu, || keep(setup));
        if ended.is_err() {
            // Nobody waits for a shard that never started.
            announce(&reports, (id, 1, Report::Died));
        }
        ended
    })
}

/// Runs incarnations until one ends in order.
fn keep(mut setup: Setup) -> Ended {
    for incarnation in 1.. {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut shard = Shard::new(&mut setup, incarnation)?;
            shard.run()
        }));
        // A waiter elsewhere may wait for what the dead incarnation had taken.
        setup.siblings.iter().for_each(Postbox::ring);
        match outcome {
            Ok(Ok(())) => return Ended::Stopped,
            Ok(Err(error)) => {
                announce(&setup.reports, (setup.id, incarnation, Report::Died));
                return Ended::Ring(error);
            }
            Err(_) => announce(&setup.reports, (setup.id, incarnation, Report::Died)),
        }
        // A bug that kills every incarnation at once must not eat the core.
        thread::sleep(RESTART.saturating_mul(incarnation.min(50)));
    }
    unreachable!("incarnations are counted in 32 bits")
}

/// Reports what must not be lost, waiting for room if need be: there is no loop left to keep it.
fn announce(reports: &Postbox<Signed>, mut letter: Signed) {
    while let Err(rejected) = reports.post(letter) {
        match rejected {
            link::mailbox::Rejected::Full(back) => {
                letter = back;
                thread::sleep(Duration::from_millis(1));
            }
            link::mailbox::Rejected::Closed(_) => return,
        }
    }
}

/// Times the incarnation's number: the pause before the next one starts.
const RESTART: Duration = Duration::from_millis(20);

/// Tags of the shard's own operations; connections' are [`Op::tag`].
pub(crate) const TAG_UPSTREAM: u8 = 28;
const TAG_ACCEPT: u8 = 29;
const TAG_ORDERS: u8 = 30;
const TAG_HANDED: u8 = 31;

/// Orders applied between two completions.
const ORDERS_PER_LOOK: usize = 64;

/// Timers fired per turn: those of a whole pool may be due at once, when a time-out is made shorter.
const TIMERS_PER_TURN: usize = 512;

/// Until what found a mailbox full is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// One shard. See the module.
pub struct Shard<'setup> {
    pub(crate) setup: &'setup mut Setup,
    pub(crate) incarnation: u32,
    pub(crate) now_micros: u64,
    pub(crate) ring: Ring,
    pub(crate) wheel: Wheel,
    pub(crate) conns: Conns,
    pub(crate) adopter: Adopter,
    pub(crate) listeners: Listeners,
    pub(crate) pools: Vec<Option<Box<Pool>>>,
    pub(crate) endpoints: Vec<Option<EndpointRow>>,
    pub(crate) upstreams: Upstreams,
    /// Those that wait for the next request.
    pub(crate) idle: AllIdle,
    /// Memory that requests leave to each other.
    pub(crate) spare: Spare,
    pub(crate) quotas: ShardQuotas,
    pub(crate) counters: CounterWriter,
    pub(crate) pipes: Pipes,
    /// Directions that had used up their steps, or found no buffer: they go on in the next turn.
    pub(crate) busy: Vec<(ConnId, Way)>,
    /// Steps that a direction may take at a time in this turn.
    pub(crate) steps: usize,
    /// Pools with connections in their line, or with endpoints that were found full: they are looked at when
    /// somebody gives something back.
    pub(crate) held_up: Vec<PoolSlot>,
    /// Somebody gave back what a line of ours may wait for.
    pub(crate) rung: bool,
    /// Listeners whose accept ended for want of descriptors or memory.
    pub(crate) starved: Vec<ListenerSlot>,
    pub(crate) starved_until: Tick,
    /// Connections that wait to be placed: all while suspended, else those of an address that we do not know yet and
    /// whose sender has no room to take them back.
    pub(crate) parked: VecDeque<Handed>,
    pub(crate) suspended: bool,
    /// Connections being ended by order, a few per turn.
    pub(crate) sweeps: VecDeque<Sweep>,
    /// When a stop ends what is left.
    pub(crate) stop_by: Option<Tick>,
    /// That time has come: what still comes out of a queue ends at once.
    pub(crate) overdue: bool,
    /// Control has been told that everything has ended.
    pub(crate) stopped: bool,
    /// Reports that found the mailbox full, in order.
    pub(crate) unsent: VecDeque<Report>,
    /// What the machines have just asked for; emptied into `todo` by `perform`.
    pub(crate) deeds: Vec<Deed>,
    pub(crate) todo: VecDeque<Deed>,
    pub(crate) performing: bool,
    pub(crate) switching: Option<Switching>,
    pub(crate) random: u64,
    pub(crate) done: bool,
}

impl<'setup> Shard<'setup> {
    fn new(setup: &'setup mut Setup, incarnation: u32) -> io::Result<Shard<'setup>> {
        let bounds = setup.bounds;
        let now = Tick(setup.epoch.elapsed().as_millis() as u64);
        let ring = make_ring(&bounds)?;
        let counters = setup.pages[setup.id.ix()].claim().expect("one shard writes its counters, and it starts once");
        counters.clear_gauges();
        Ok(Shard {
            incarnation,
            now_micros: setup.epoch.elapsed().as_micros() as u64,
            ring,
            wheel: Wheel::new(bounds.connections as u32, now),
            conns: Conns::new(bounds.connections),
            adopter: Adopter::new(setup.id),
            listeners: Listeners::default(),
            pools: Vec::new(),
            endpoints: Vec::new(),
            upstreams: Upstreams::default(),
            idle: AllIdle::new(now),
            spare: Spare::new(),
            quotas: ShardQuotas::new(&setup.quotas, setup.id.0),
            counters,
            pipes: Pipes::new(bounds.pipes),
            busy: Vec::new(),
            steps: relay::STEPS_MAX,
            held_up: Vec::new(),
            rung: false,
            starved: Vec::new(),
            starved_until: now,
            parked: VecDeque::new(),
            suspended: true,
            sweeps: VecDeque::new(),
            stop_by: None,
            overdue: false,
            stopped: false,
            unsent: VecDeque::new(),
            deeds: Vec::new(),
            todo: VecDeque::new(),
            performing: false,
            switching: None,
            random: u64::from(setup.id.0) << 32 | u64::from(incarnation),
            done: false,
            setup,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        self.listen_to(TAG_ORDERS);
        self.listen_to(TAG_HANDED);
        while !self.done {
            let wait = self.patience();
            self.ring.enter(wait)?;
            self.look_at_the_clock();
            self.note_upstreams();
            // First, so that who found no buffer in the last turn asks for one before those who had one ask again.
            self.go_on_with_the_busy();
            while let Some(completion) = self.ring.take() {
                self.look_for_orders();
                self.dispatch(completion);
            }
            self.look_for_orders();
            if self.setup.handed.pending() {
                self.take_handed();
            }
            if !self.parked.is_empty() && !self.suspended {
                self.place_the_parked();
            }
            if !self.starved.is_empty() && self.starved_until <= self.now() {
                self.retry_starved();
            }
            self.fire_timers();
            self.serve_the_lines();
            self.sweep();
            self.tend_idle();
            self.go_on_stopping();
            self.send_reports();
            self.publish();
        }
        Ok(())
    }

    /// Unit: milliseconds since the process started.
    pub(crate) fn now(&self) -> Tick {
        Tick(self.now_micros / 1000)
    }

    fn look_at_the_clock(&mut self) {
        self.now_micros = self.setup.epoch.elapsed().as_micros() as u64;
    }

    /// How long the loop may sleep. `None`: until something happens.
    fn patience(&self) -> Option<Duration> {
        if !self.busy.is_empty() || self.rung || self.setup.orders.pending() || self.setup.handed.pending() {
            return Some(Duration::ZERO);
        }
        let starved = (!self.starved.is_empty()).then_some(self.starved_until);
        let timers = [self.wheel.next(), self.stop_by, starved, self.next_sweep(), self.next_idle_look()];
        let next = timers.into_iter().flatten().min().map(|tick| tick.since(self.now()));
        // Of room in a mailbox no event tells.
        let stuck = !self.unsent.is_empty() || !self.parked.is_empty() && !self.suspended;
        let retry = stuck.then_some(RETRY);
        next.into_iter().chain(retry).min()
    }

    fn listen_to(&mut self, tag: u8) {
        let doorbell = match tag {
            TAG_ORDERS => self.setup.orders.doorbell(),
            _ => self.setup.handed.doorbell(),
        };
        self.ring.readiness(Key { index: 0, generation: 0, tag }, doorbell, READABLE);
    }

    fn dispatch(&mut self, completion: Completion) {
        let Completion { key, outcome, more } = completion;
        match key.tag {
            TAG_ORDERS => {
                self.setup.orders.hush();
                self.take_orders();
                self.listen_to(TAG_ORDERS);
            }
            TAG_HANDED => {
                self.setup.handed.hush();
                self.take_handed();
                self.listen_to(TAG_HANDED);
            }
            TAG_ACCEPT => self.on_accept(ListenerSlot(key.index), outcome, more),
            TAG_UPSTREAM => self.on_upstream(UpstreamId::of(key), more),
            tag => {
                let op = Op::of_tag(tag).expect("every other tag is an operation of a connection");
                self.on_op(ConnId { index: key.index, generation: key.generation }, op, outcome, more);
            }
        }
    }

    /// An operation of a connection has had a completion; its last one, unless `more` follow.
    fn on_op(&mut self, id: ConnId, op: Op, outcome: Outcome, more: bool) {
        let Some(conn) = self.conns.get_mut(id) else {
            debug_assert!(false, "slot {} was freed with {op:?} in flight", id.index);
            return self.ring.recycle_all();
        };
        if !more {
            conn.ops.finish(op);
        } else if let (Op::Writable(_), Outcome::Ready(flags)) = (op, &outcome) {
            if !flags.intersects(WRITABLE | PollFlags::ERR | PollFlags::HUP) {
                return;
            }
            // Should it block again before this is done: whoever waits goes on once more at its last completion.
            self.ring.cancel(op.key(id), op.verb());
        }
        let (over, session) = (conn.is_over(), conn.session.is_some());
        self.guard(id, Handling::Completion, |shard| match op {
            _ if over => shard.on_op_of_ended(id, op, outcome),
            _ if session => shard.on_session_op(id, op, outcome),
            Op::Connect => shard.on_connect(id, outcome),
            Op::Receive(side) => shard.on_receive(id, side, outcome),
            Op::Readable(side) => shard.on_readable(id, side),
            Op::Writable(side) => shard.on_writable(id, side),
            Op::Loss(side) => shard.on_loss(id, side, outcome),
            // Cancelled when the session became a tunnel.
            Op::Edges => {}
        });
    }

    pub(crate) fn accept_key(listener: ListenerSlot) -> (Key, Verb) {
        (Key { index: listener.0, generation: 0, tag: TAG_ACCEPT }, Verb::Accept)
    }

    /// Between any two events, so that a switch is at most one event late.
    pub(crate) fn look_for_orders(&mut self) {
        if self.setup.orders.pending() {
            self.take_orders();
        }
    }

    fn take_orders(&mut self) {
        for _ in 0..ORDERS_PER_LOOK {
            let Some((incarnation, order)) = self.setup.orders.take() else { return };
            if incarnation == self.incarnation {
                self.counters.shard().add(ShardCounter::Orders, 1);
                self.obey(order);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now();
        for _ in 0..TIMERS_PER_TURN {
            let Some(wheel::Key { index, generation }) = self.wheel.due(now) else { return };
            self.look_for_orders();
            let id = ConnId { index, generation };
            self.guard(id, Handling::Timer, |shard| shard.on_timer(id));
        }
    }

    /// Puts the connection's timer where its deadline is.
    pub(crate) fn set_timer(&mut self, id: ConnId, due: Tick) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.due = due;
            self.wheel.set(wheel::Key { index: id.index, generation: id.generation }, due);
        }
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.unsent.push_back(report);
        self.send_reports();
    }

    fn send_reports(&mut self) {
        while let Some(report) = self.unsent.pop_front() {
            match self.setup.reports.post((self.setup.id, self.incarnation, report)) {
                Ok(()) => {}
                Err(link::mailbox::Rejected::Full((_, _, report))) => {
                    self.unsent.push_front(report);
                    return;
                }
                // Control is being started again and will ask; or the process ends.
                Err(link::mailbox::Rejected::Closed(_)) => {}
            }
        }
    }

    /// Rings the shards that wait for what was just given back.
    pub(crate) fn ring_waiters(&mut self, waiters: Waiters) {
        for (ix, sibling) in self.setup.siblings.iter().enumerate() {
            if waiters >> ix & 1 == 1 {
                if ix == self.setup.id.ix() {
                    self.rung = true;
                } else {
                    sibling.ring();
                }
            }
        }
    }

    /// A number that need not be unguessable (splitmix64).
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn publish(&mut self) {
        let shard = self.counters.shard();
        let stats = std::mem::take(&mut self.ring.stats);
        shard.add(ShardCounter::LoopTurns, 1);
        shard.add(ShardCounter::RingEnters, stats.enters);
        shard.add(ShardCounter::RingCompletions, stats.completions);
        if stats.no_buffers + stats.overflows > 0 {
            shard.add(ShardCounter::NoBuffers, stats.no_buffers);
            shard.add(ShardCounter::CqOverflows, stats.overflows);
        }
        shard.set(ShardCounter::Pipes, self.pipes.in_use() as u64);
    }

    /// At once and not at the end of the turn: siblings decide by it whom to hand over.
    pub(crate) fn count_connections(&self) {
        let connections = self.conns.len() + self.parked.len();
        self.counters.shard().set(ShardCounter::Connections, connections as u64);
    }

    pub(crate) fn pool_mut(&mut self, pool: PoolSlot) -> &mut Pool {
        self.pools[pool.ix()].as_mut().expect("a connection's pool is kept while it has connections")
    }

    pub(crate) fn count_pool(&self, pool: PoolSlot, counter: PoolCounter, n: u64) {
        self.counters.pool(pool.0).add(counter, n);
    }
}

/// Locked memory of a process that has just ended comes back late, so a fast restart waits for it.
fn make_ring(bounds: &Bounds) -> io::Result<Ring> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let began = Instant::now();
    loop {
        match Ring::new(bounds.ring()) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && began.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}
