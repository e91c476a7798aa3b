//! The tunnel: performs what [`wire::tunnel`] decides.

use crate::conn::{Conn, Held, Lease, Op, Open, Side, State};
use crate::conns::ConnId;
use crate::guard::Handling;
use crate::ring::socket::{self, Peer, READABLE, WRITABLE};
use crate::ring::{Chunk, Key, Outcome, Ring};
use crate::serve::Shard;
use link::counters::{EndpointCounter, PoolCounter, ShardCounter};
use policy::close::CloseReason;
use policy::ids::PoolSlot;
use policy::tick::Tick;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use wire::tunnel::{Standing, Step, Tunnel, Way};

/// Most steps of one direction in one turn. A bulk step moves up to 64 KiB, so a direction has the shard for half a
/// megabyte's time before its neighbours are looked at.
pub const STEPS_MAX: usize = 16;

/// Steps of all directions that go on in one turn. Where there are many, each has fewer at a time, but at least one
/// filled and one drained pipe, so that the turn stays short for those who want little.
const STEPS_PER_TURN: usize = 128;

/// The longest between two looks at a tunnel in which bytes move: counters are brought up to date and idle pipes given
/// back within it.
const LOOK: Duration = Duration::from_secs(2);

/// The same for a tunnel in which nothing moves. What a new generation changes does not wait for it: see
/// [`Sweep`](crate::sweep::Sweep).
const QUIET: Duration = Duration::from_secs(60);

impl Shard<'_> {
    /// The backend has answered: the decisions of a stream are over and bytes flow; a request goes out.
    pub(crate) fn open(&mut self, id: ConnId) {
        let now = self.now();
        let now_micros = self.now_micros;
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.session.is_some() {
            if let Some(endpoint) = conn.endpoint {
                self.counters.endpoint(endpoint.0).add(EndpointCounter::Connects, 1);
            }
            return self.begin_exchange(id, false);
        }
        let Lease::Root(root) = std::mem::take(&mut conn.lease) else {
            unreachable!("a connecting connection leases its pool's root")
        };
        let Shard { adopter, deeds, .. } = self;
        let lease = adopter.exchange(root, deeds);
        let timeouts = adopter.policy(&lease).timeouts;
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.lease = Lease::Policy(lease);
        conn.connected_micros = now_micros;
        conn.touched = now;
        conn.state = State::Open(Box::new(Open {
            tunnel: Tunnel::new(),
            held: [None, None],
            pipes: [None, None],
            timeouts,
            upgraded: None,
        }));
        let pool = conn.pool;
        if let Some(endpoint) = conn.endpoint {
            self.counters.endpoint(endpoint.0).add(EndpointCounter::Connects, 1);
        }
        self.pool_mut(pool).undecided -= 1;
        self.perform();
        self.look_after(id);
        self.drive(id, Way::In, false);
        // A backend that has just accepted has sent nothing yet, as a rule.
        self.drive(id, Way::Out, true);
    }

    pub(crate) fn on_receive(&mut self, id: ConnId, side: Side, outcome: Outcome) {
        let way = side.way();
        match outcome {
            Outcome::Received(chunk) => self.relay(id, way, chunk),
            Outcome::Ended => {
                if let Some(open) = self.open_mut(id) {
                    open.tunnel.ended(way);
                }
                self.drive(id, way, true);
            }
            // No buffer was free. They come back within the turn, so the next one begins with this.
            Outcome::Failed(Errno::NOBUFS) => self.busy.push((id, way)),
            Outcome::Failed(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => self.drive(id, way, true),
            Outcome::Failed(_) => self.broke_source(id, way),
            other => unreachable!("a receive ended with {other:?}"),
        }
    }

    /// Sends what was received, at once, and keeps what the sink does not take.
    fn relay(&mut self, id: ConnId, way: Way, chunk: Chunk) {
        let now = self.now();
        let Shard { conns, ring, .. } = self;
        let Some(Conn { state: State::Open(open), front, back, bytes, touched, pool, .. }) = conns.get_mut(id) else {
            unreachable!("a receive belongs to an open tunnel")
        };
        let back = back.as_ref().expect("an open tunnel has two sides");
        let sink = if way == Way::In { back } else { front };
        let received = ring.bytes(&chunk);
        *touched = now;
        open.tunnel.received(way, received.len(), received.len() == ring.buffer_bytes());
        let sent = match socket::send(sink.as_fd(), received) {
            Ok(sent) => sent,
            Err(Errno::WOULDBLOCK) => 0,
            Err(_) => {
                ring.recycle(chunk);
                return self.broke_sink(id, way);
            }
        };
        open.tunnel.taken(way, sent);
        bytes[way.ix()] += sent as u64;
        let dry = !chunk.more_waiting;
        if sent == received.len() {
            ring.recycle(chunk);
            return self.drive(id, way, dry);
        }
        // The provided buffer goes back within the turn, so the remainder is copied: allocated only for a
        // sink that is slower than its source, and charged to the pool.
        let rest: Box<[u8]> = received[sent..].into();
        ring.recycle(chunk);
        let (kept, pool) = (rest.len() as u64, *pool);
        open.held[way.ix()] = Some(Held { bytes: rest, taken: 0 });
        if self.charge(pool, kept) {
            self.watch(id, Op::Writable(Side::sink(way)), WRITABLE);
        } else {
            self.end(id, CloseReason::MemoryBudget);
        }
    }

    /// Books memory for data between the two sides. `false`: the pool's budget does not allow it.
    pub(crate) fn charge(&mut self, pool: PoolSlot, bytes: u64) -> bool {
        self.counters.shard().add(ShardCounter::BufferBytes, bytes);
        self.counters.pool(pool.0).add(PoolCounter::BufferBytes, bytes);
        let pool = self.pool_mut(pool);
        pool.buffered += bytes;
        pool.buffered <= pool.memory
    }

    pub(crate) fn discharge(&mut self, pool: PoolSlot, bytes: u64) {
        self.counters.shard().sub(ShardCounter::BufferBytes, bytes);
        self.counters.pool(pool.0).sub(PoolCounter::BufferBytes, bytes);
        self.pool_mut(pool).buffered -= bytes;
    }

    pub(crate) fn on_readable(&mut self, id: ConnId, side: Side) {
        self.drive(id, side.way(), false);
    }

    pub(crate) fn on_writable(&mut self, id: ConnId, side: Side) {
        self.drive(id, side.way().other(), false);
    }

    /// A side from which nothing is read has ended, hung up or broken, or is not watched any more.
    pub(crate) fn on_loss(&mut self, id: ConnId, side: Side, outcome: Outcome) {
        let flags = match outcome {
            Outcome::Ready(flags) => flags,
            _ => PollFlags::empty(),
        };
        let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR);
        let Some(conn) = self.conns.get_mut(id) else { return };
        match conn.state {
            State::Seeking if hung_up => self.end(id, CloseReason::ClientLeft),
            // Cancelled when it left the line, which it has joined again since.
            State::Seeking => self.watch_for_loss(id, side),
            // A Unix socket hangs up when its peer closes, whatever is still to be read from it: an end and no reset.
            State::Open(_)
                if flags.contains(PollFlags::ERR)
                    || hung_up && side == Side::Front && !matches!(conn.client, Peer::Unix) =>
            {
                self.broke_sink(id, side.way().other());
            }
            _ => {}
        }
    }

    /// Takes steps of one direction until it must wait.
    pub(crate) fn drive(&mut self, id: ConnId, way: Way, dry: bool) {
        self.wake(id);
        let now = self.now();
        for _ in 0..self.steps {
            let Shard { conns, ring, pipes, .. } = self;
            let Some(conn) = conns.get_mut(id) else { return };
            let Conn { state: State::Open(open), front, back, bytes, touched, ops, pool, .. } = conn else { return };
            let back = back.as_ref().expect("an open tunnel has two sides");
            let (source, sink) = if way == Way::In { (&*front, back) } else { (back, &*front) };
            let (source, sink) = (source.as_fd(), sink.as_fd());
            let pool = *pool;
            match open.tunnel.next(way) {
                Step::Receive => {
                    if open.tunnel.wants_pipe(way) {
                        match pipes.take() {
                            Some(pipe) => {
                                open.pipes[way.ix()] = Some(pipe);
                                open.tunnel.pipe_given(way);
                                continue;
                            }
                            None => open.tunnel.pipe_refused(way),
                        }
                    }
                    let op = Op::Receive(Side::source(way));
                    if !ops.contains(op) {
                        ring.receive(op.key(id), source, dry);
                        ops.begin(op);
                    }
                    return;
                }
                Step::Send => {
                    let held = open.held[way.ix()].as_mut().expect("what the tunnel holds is here");
                    match socket::send(sink, &held.bytes[held.taken..]) {
                        Ok(sent) => {
                            held.taken += sent;
                            bytes[way.ix()] += sent as u64;
                            *touched = now;
                            open.tunnel.taken(way, sent);
                            if held.taken == held.bytes.len() {
                                let size = held.bytes.len() as u64;
                                open.held[way.ix()] = None;
                                self.discharge(pool, size);
                            }
                        }
                        Err(Errno::WOULDBLOCK) => return self.watch(id, Op::Writable(Side::sink(way)), WRITABLE),
                        Err(_) => return self.broke_sink(id, way),
                    }
                }
                Step::Fill => {
                    let pipe = open.pipes[way.ix()].as_ref().expect("a piped direction has a pipe");
                    match pipe.fill(source, u64::MAX) {
                        Ok(0) => {
                            open.tunnel.ended(way);
                            pipes.give_back(open.pipes[way.ix()].take().expect("still there"));
                        }
                        Ok(moved) => {
                            *touched = now;
                            open.tunnel.filled(way, moved);
                        }
                        Err(Errno::WOULDBLOCK) => return self.watch(id, Op::Readable(Side::source(way)), READABLE),
                        Err(_) => return self.broke_source(id, way),
                    }
                }
                Step::Drain => {
                    let pipe = open.pipes[way.ix()].as_ref().expect("a piped direction has a pipe");
                    match pipe.drain(sink, open.tunnel.inside(way), false) {
                        Ok(moved) => {
                            bytes[way.ix()] += moved as u64;
                            *touched = now;
                            open.tunnel.drained(way, moved);
                            if !open.tunnel.piped(way) {
                                pipes.give_back(open.pipes[way.ix()].take().expect("still there"));
                            }
                        }
                        Err(Errno::WOULDBLOCK) => return self.watch(id, Op::Writable(Side::sink(way)), WRITABLE),
                        Err(_) => return self.broke_sink(id, way),
                    }
                }
                Step::PassEnd => {
                    // A sink that is gone will say so in the other direction.
                    let _ = socket::end_writing(sink);
                    open.tunnel.end_passed(way);
                    // From here on nothing reads the source, and the other direction may have nothing to send it.
                    self.watch_for_loss(id, Side::source(way));
                }
                Step::Rest => return self.settle(id),
            }
        }
        self.busy.push((id, way));
    }

    fn broke_source(&mut self, id: ConnId, way: Way) {
        if let Some(open) = self.open_mut(id) {
            open.tunnel.broke_source(way);
        }
        self.settle(id);
    }

    fn broke_sink(&mut self, id: ConnId, way: Way) {
        if let Some(open) = self.open_mut(id) {
            open.tunnel.broke_sink(way);
        }
        self.settle(id);
    }

    /// Ends the connection if its tunnel is over.
    fn settle(&mut self, id: ConnId) {
        let Some(open) = self.open_mut(id) else { return };
        match open.tunnel.standing() {
            Standing::Open => {}
            Standing::Finished => self.end(id, CloseReason::Finished),
            Standing::Broken(Way::In) => self.end(id, CloseReason::ClientReset),
            Standing::Broken(Way::Out) => {
                if let Some(endpoint) = self.conns.get_mut(id).and_then(|conn| conn.endpoint) {
                    self.counters.endpoint(endpoint.0).add(EndpointCounter::Resets, 1);
                }
                self.end(id, CloseReason::BackendReset);
            }
        }
    }

    pub(crate) fn open_mut(&mut self, id: ConnId) -> Option<&mut Open> {
        match self.conns.get_mut(id) {
            Some(Conn { state: State::Open(open), .. }) => Some(open),
            _ => None,
        }
    }

    /// The regular look at an open tunnel: newest time-outs, counters, a pipe that is not needed.
    pub(crate) fn look_after(&mut self, id: ConnId) {
        let moved = self.count_bytes(id);
        let now = self.now();
        let Shard { conns, adopter, pipes, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        // The first tick at which it was there, so that no deadline is early.
        let accepted = Tick(conn.accepted_micros.div_ceil(1000));
        let State::Open(open) = &mut conn.state else { return };
        // A pool that is gone leaves its tunnels what they had.
        if let Some(policy) = adopter.current_policy(conn.pool) {
            open.timeouts = policy.timeouts;
        }
        let idle = open.timeouts.idle.map(|limit| conn.touched.after(limit));
        let lifetime = open.timeouts.lifetime.map(|limit| accepted.after(limit));
        if lifetime.is_some_and(|due| due <= now) {
            return self.end(id, CloseReason::LifetimeTimeout);
        }
        if idle.is_some_and(|due| due <= now) {
            return self.end(id, CloseReason::IdleTimeout);
        }
        for way in Way::BOTH {
            if moved[way.ix()] == 0 && open.tunnel.piped(way) && open.tunnel.inside(way) == 0 {
                open.tunnel.pipe_taken_back(way);
                pipes.give_back(open.pipes[way.ix()].take().expect("a piped direction has a pipe"));
            }
        }
        let next = if moved == [0; 2] && open.pipes.iter().all(Option::is_none) { QUIET } else { LOOK };
        let due = [idle, lifetime].into_iter().flatten().fold(now.after(next), Tick::min);
        self.set_timer(id, due);
    }

    /// Something has moved in a tunnel that was quiet: it is looked after again as others are.
    fn wake(&mut self, id: ConnId) {
        let soon = self.now().after(LOOK);
        if self.conns.get_mut(id).is_some_and(|conn| conn.due > soon) {
            self.set_timer(id, soon);
        }
    }

    /// Brings the counters up to what the connection has moved, and says by [`Way`] how much that was.
    pub(crate) fn count_bytes(&mut self, id: ConnId) -> [u64; 2] {
        let Shard { conns, counters, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return [0; 2] };
        let fresh = Way::BOTH.map(|way| conn.bytes[way.ix()] - conn.counted[way.ix()]);
        if fresh == [0, 0] {
            return fresh;
        }
        conn.counted = conn.bytes;
        let pool = counters.pool(conn.pool.0);
        pool.add(PoolCounter::BytesIn, fresh[0]);
        pool.add(PoolCounter::BytesOut, fresh[1]);
        if let Some(endpoint) = conn.endpoint {
            let endpoint = counters.endpoint(endpoint.0);
            endpoint.add(EndpointCounter::BytesIn, fresh[0]);
            endpoint.add(EndpointCounter::BytesOut, fresh[1]);
        }
        fresh
    }

    /// Those who had not finished in the last turn.
    pub(crate) fn go_on_with_the_busy(&mut self) {
        if self.busy.is_empty() {
            self.steps = STEPS_MAX;
            return;
        }
        let mut busy = std::mem::take(&mut self.busy);
        self.steps = (STEPS_PER_TURN / busy.len()).clamp(2, STEPS_MAX);
        for (id, way) in busy.drain(..) {
            self.look_for_orders();
            let session = self.conns.get_mut(id).is_some_and(|conn| conn.session.is_some());
            self.guard(id, Handling::Busy, |shard| match session {
                true => shard.go_on(id, way),
                false => shard.drive(id, way, false),
            });
        }
        // Those that are busy again, in the memory that is there already.
        busy.append(&mut self.busy);
        self.busy = busy;
    }

    /// Waits for readiness of one side, unless that is under way.
    pub(crate) fn watch(&mut self, id: ConnId, op: Op, flags: PollFlags) {
        let (Op::Readable(side) | Op::Writable(side)) = op else { unreachable!("{op:?} is not a readiness") };
        self.begin_op(id, op, side, |ring, key, socket| match op {
            Op::Writable(_) => ring.writable(key, socket),
            _ => ring.readiness(key, socket, flags),
        });
    }

    /// Hears when a side breaks from which nothing is read, unless that is under way.
    pub(crate) fn watch_for_loss(&mut self, id: ConnId, side: Side) {
        self.begin_op(id, Op::Loss(side), side, Ring::loss);
    }

    fn begin_op(&mut self, id: ConnId, op: Op, side: Side, begin: impl FnOnce(&mut Ring, Key, BorrowedFd<'_>)) {
        let Shard { conns, ring, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return };
        if conn.ops.contains(op) {
            return;
        }
        let Some(socket) = conn.socket(side) else { return };
        begin(ring, op.key(id), socket);
        conn.ops.begin(op);
    }

    /// Asks for the end of an operation, if it is in flight.
    pub(crate) fn cancel(&mut self, id: ConnId, op: Op) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.ops.contains(op) {
            self.ring.cancel(op.key(id), op.verb());
        }
    }
}
