//! The exchange: performs what [`wire::h1::exchange`] decides, in both directions.

use super::head::FRONT_READ;
use super::passes;
use super::reply::pass_content;
use super::request::{Request, Stage};
use crate::conn::{Conn, Op, Side, State};
use crate::conns::ConnId;
use crate::ring::socket::{self, READABLE, WRITABLE};
use crate::ring::{Chunk, HOT_BYTES, Outcome};
use crate::serve::Shard;
use link::counters::{PoolCounter, ShardCounter};
use policy::close::CloseReason;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::AsFd;
use wire::h1::exchange::Step;
use wire::tunnel::Way;

/// What a step led to.
enum Progress {
    Moved,
    /// The source was read at once.
    Read(Outcome),
    /// For an operation that is under way, or for the other direction.
    Waits,
    /// Reading or writing this side failed.
    Broke(Side),
    /// There is no exchange any more.
    Gone,
}

/// A request that holds no more than this is not worth a charge.
const CHARGED_FROM: u64 = 4 << 10;

impl Shard<'_> {
    /// A receive on the client's side has ended while its request is with a backend.
    pub(super) fn on_content(&mut self, id: ConnId, outcome: Outcome) {
        match outcome {
            Outcome::Failed(Errno::NOBUFS) => self.busy.push((id, Way::In)),
            outcome => match self.take_in(id, outcome) {
                Ok(()) => self.drive_exchange(id, Way::In, true),
                Err(side) => self.broke(id, Way::In, side),
            },
        }
    }

    /// Something of the client, or its end. `Err`: the side that broke.
    fn take_in(&mut self, id: ConnId, outcome: Outcome) -> Result<(), Side> {
        match outcome {
            Outcome::Received(chunk) => {
                let now = self.now();
                let Shard { conns, ring, .. } = self;
                if let Some(Conn { request: Some(request), touched, .. }) = conns.get_mut(id) {
                    *touched = now;
                    request.take_in(ring.bytes(&chunk));
                }
                ring.recycle(chunk);
                Ok(())
            }
            Outcome::Ended => {
                self.tell(id, |request| {
                    request.client_ended = true;
                    if let Some(exchange) = &mut request.exchange {
                        exchange.ended(Way::In);
                    }
                });
                Ok(())
            }
            Outcome::Failed(error) if passes(error) => Ok(()),
            Outcome::Failed(_) => Err(Side::Front),
            other => unreachable!("a receive ended with {other:?}"),
        }
    }

    /// Something of the backend, or its end. `Err`: the side that broke.
    fn take_out(&mut self, id: ConnId, outcome: Outcome) -> Result<(), Side> {
        match outcome {
            Outcome::Received(chunk) => self.take_answer(id, chunk),
            Outcome::Ended => {
                self.tell(id, |request| {
                    if let Some(exchange) = &mut request.exchange {
                        exchange.ended(Way::Out);
                    }
                });
                Ok(())
            }
            Outcome::Failed(error) if passes(error) => Ok(()),
            Outcome::Failed(_) => Err(Side::Back),
            other => unreachable!("a receive ended with {other:?}"),
        }
    }

    fn take_answer(&mut self, id: ConnId, chunk: Chunk) -> Result<(), Side> {
        let now = self.now();
        let Shard { conns, ring, .. } = self;
        let Some(conn @ Conn { request: Some(_), .. }) = conns.get_mut(id) else {
            ring.recycle(chunk);
            return Ok(());
        };
        conn.touched = now;
        let request = conn.request.as_ref().expect("matched above");
        let waits = request.exchange.as_ref().is_some_and(|exchange| exchange.awaits_head());
        let empty = request.reply.is_empty();
        let sent = match waits {
            false => pass_content(conn, ring.bytes(&chunk)),
            true if empty && let Some(sent) = self.pass_at_once(id, &chunk) => sent,
            true => {
                let Shard { conns, ring, .. } = self;
                if let Some(request) = conns.get_mut(id).and_then(|conn| conn.request.as_mut()) {
                    request.reply.extend_from_slice(ring.bytes(&chunk));
                }
                ring.recycle(chunk);
                self.read_answer(id);
                return Ok(());
            }
        };
        self.ring.recycle(chunk);
        sent.map_err(|_| Side::Front)
    }

    /// Content of the request that is here already is put for the backend.
    pub(super) fn take_content(&mut self, id: ConnId) {
        let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()) else { return };
        request.fresh = false;
        let Request { exchange: Some(exchange), limits, reply_fields, input, head, out: [out, _], head_out, .. } =
            &mut **request
        else {
            return;
        };
        let begin = head.as_ref().map_or(0, |head| head.bytes);
        let room = *head_out + Request::REPLAY_BYTES_MAX;
        let put = |piece: &[u8]| out.bytes.extend_from_slice(piece);
        let consumed = match exchange.next(Way::In) {
            Step::Discard => exchange.discard(&input[begin..], &limits[0], reply_fields),
            _ => exchange.forward(Way::In, &input[begin..], &limits[0], reply_fields, put),
        };
        if out.kept && out.bytes.len() > room {
            out.let_go();
        }
        if out.kept {
            exchange.kept();
        }
        input.drain(begin..begin + consumed);
    }

    /// Takes steps of one direction until it must wait.
    pub(super) fn drive_exchange(&mut self, id: ConnId, way: Way, dry: bool) {
        let mut answered = false;
        let mut steps = self.steps;
        loop {
            if steps == 0 {
                self.busy.push((id, way));
                break;
            }
            steps -= 1;
            let moved = match self.step_exchange(id, way, dry) {
                Progress::Read(outcome) => match way {
                    Way::In => self.take_in(id, outcome),
                    Way::Out => {
                        answered |= self.awaits_head(id);
                        self.take_out(id, outcome)
                    }
                },
                Progress::Moved => Ok(()),
                Progress::Waits if self.is_settled(id) => Ok(()),
                Progress::Waits => break,
                Progress::Broke(side) => Err(side),
                Progress::Gone => return,
            };
            match moved {
                Ok(()) if self.is_settled(id) => return self.settle_exchange(id),
                Ok(()) => {}
                Err(side) => return self.broke(id, way, side),
            }
        }
        self.settle_memory(id);
        if answered {
            // A final head may decide what becomes of content that is still coming.
            self.drive_exchange(id, Way::In, true);
        }
    }

    fn awaits_head(&mut self, id: ConnId) -> bool {
        let request = self.conns.get_mut(id).and_then(|conn| conn.request.as_ref());
        request.and_then(|request| request.exchange.as_ref()).is_some_and(|exchange| exchange.awaits_head())
    }

    fn step_exchange(&mut self, id: ConnId, way: Way, dry: bool) -> Progress {
        let now = self.now();
        let Shard { conns, ring, pipes, upstreams, .. } = self;
        let Some(conn) = conns.get_mut(id) else { return Progress::Gone };
        let Conn {
            state: State::Session,
            request: Some(request),
            front,
            back: Some(back),
            bytes,
            touched,
            ops,
            front_edge,
            ..
        } = conn
        else {
            return Progress::Gone;
        };
        if request.stage != Stage::Exchange {
            return Progress::Gone;
        }
        let (source, sink) = if way == Way::In { (front.as_fd(), back.as_fd()) } else { (back.as_fd(), front.as_fd()) };
        let (source_side, sink_side) = (Side::source(way), Side::sink(way));
        let nothing_before = match way {
            Way::In => request.behind().is_empty(),
            Way::Out => request.reply.is_empty(),
        };
        let Request { exchange: Some(exchange), out, pipes: held, fresh, upstream, .. } = &mut **request else {
            return Progress::Gone;
        };
        // `None`: the client's side is not watched yet, and is received from by the ring.
        let edge = match way {
            Way::In => ops.contains(Op::Edges).then_some(front_edge),
            Way::Out => upstream.and_then(|id| upstreams.find_mut(id)).map(|upstream| &mut upstream.edge),
        };
        let (out, held) = (&mut out[way.ix()], &mut held[way.ix()]);
        if exchange.held(way) == 0 && !out.rest().is_empty() {
            out.forget_rest();
        }
        match exchange.next(way) {
            Step::Receive | Step::Discard if way == Way::In && *fresh => {
                self.take_content(id);
                Progress::Moved
            }
            Step::Receive | Step::Discard => {
                let op = Op::Receive(source_side);
                if ops.contains(op) {
                    return Progress::Waits;
                }
                if nothing_before
                    && exchange.wants_pipe(way).is_some()
                    && let Some(pipe) = pipes.take()
                {
                    *held = Some((pipe, 0));
                    exchange.pipe_given(way);
                    out.let_go();
                    return Progress::Moved;
                }
                let Some(edge) = edge else {
                    ring.receive(op.key(id), source, dry);
                    ops.begin(op);
                    return Progress::Waits;
                };
                let at_most = if way == Way::In { FRONT_READ } else { HOT_BYTES };
                edge.read(ring, source, at_most).map_or(Progress::Waits, Progress::Read)
            }
            Step::Send => match socket::send(sink, out.rest()) {
                Ok(sent) => {
                    out.took(sent);
                    bytes[way.ix()] += sent as u64;
                    *touched = now;
                    exchange.taken(way, sent as u64);
                    Progress::Moved
                }
                Err(Errno::WOULDBLOCK) => self.wait_for(id, Op::Writable(sink_side), WRITABLE),
                Err(_) => Progress::Broke(sink_side),
            },
            Step::Frame => {
                exchange.frame(way, |framing| out.bytes.extend_from_slice(framing));
                Progress::Moved
            }
            Step::Fill { .. } if edge.as_ref().is_some_and(|edge| !edge.is_ready()) => Progress::Waits,
            Step::Fill { at_most } => {
                let (pipe, inside) = held.as_mut().expect("a piped direction has a pipe");
                match pipe.fill(source, at_most) {
                    Ok(0) => {
                        exchange.ended(way);
                        pipes.give_back(held.take().expect("still there").0);
                        Progress::Moved
                    }
                    Ok(moved) => {
                        *touched = now;
                        *inside += moved as u64;
                        exchange.filled(way, moved as u64);
                        Progress::Moved
                    }
                    Err(Errno::WOULDBLOCK) => match edge {
                        Some(edge) => {
                            edge.found_nothing();
                            Progress::Waits
                        }
                        None => self.wait_for(id, Op::Readable(source_side), READABLE),
                    },
                    Err(_) => Progress::Broke(source_side),
                }
            }
            Step::Drain => {
                let (pipe, inside) = held.as_mut().expect("a piped direction has a pipe");
                match pipe.drain(sink, *inside as usize, false) {
                    Ok(moved) => {
                        *inside -= moved as u64;
                        bytes[way.ix()] += moved as u64;
                        *touched = now;
                        exchange.drained(way, moved as u64);
                        if !exchange.piped(way) {
                            pipes.give_back(held.take().expect("still there").0);
                        }
                        Progress::Moved
                    }
                    Err(Errno::WOULDBLOCK) => self.wait_for(id, Op::Writable(sink_side), WRITABLE),
                    Err(_) => Progress::Broke(sink_side),
                }
            }
            Step::Wait => Progress::Waits,
            Step::Rest if way == Way::In => self.look_ahead(id),
            Step::Rest => Progress::Waits,
        }
    }

    fn wait_for(&mut self, id: ConnId, op: Op, flags: PollFlags) -> Progress {
        self.watch(id, op, flags);
        Progress::Waits
    }

    /// All of the request has been read: from now on the client is watched, and heard of when it leaves or begins the next
    /// request. No more than that is read of it.
    fn look_ahead(&mut self, id: ConnId) -> Progress {
        let Shard { conns, ring, .. } = self;
        let Some(Conn { request: Some(request), ops, front, front_edge, .. }) = conns.get_mut(id) else {
            return Progress::Gone;
        };
        let kept = request.head.as_ref().is_some_and(|head| head.persistence == wire::h1::Persistence::Keep);
        if !kept || request.asked.upgrade || request.client_ended || !request.behind().is_empty() {
            return Progress::Waits;
        }
        if ops.contains(Op::Edges) {
            return front_edge.read(ring, front.as_fd(), FRONT_READ).map_or(Progress::Waits, Progress::Read);
        }
        self.watch_front(id);
        Progress::Waits
    }

    /// Tells the exchange something.
    fn tell(&mut self, id: ConnId, tell: impl FnOnce(&mut Request)) {
        if let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.request.as_mut()) {
            tell(request);
        }
    }

    /// Reading or writing this side failed, in this direction.
    pub(super) fn broke(&mut self, id: ConnId, way: Way, side: Side) {
        self.tell(id, |request| {
            if let Some(exchange) = &mut request.exchange {
                match side == Side::source(way) {
                    true => exchange.broke_source(way),
                    false => exchange.broke_sink(way),
                }
            }
        });
        // A backend that takes no more may have answered all the same.
        let other = way.other();
        match self.is_settled(id) {
            true => self.settle_exchange(id),
            false => self.drive_exchange(id, other, true),
        }
    }

    /// Pipes of an exchange that is over, with what is in them.
    pub(super) fn give_back_pipes(&mut self, id: ConnId) {
        let Shard { conns, pipes, .. } = self;
        let Some(request) = conns.get_mut(id).and_then(|conn| conn.request.as_mut()) else { return };
        for (pipe, inside) in request.pipes.iter_mut().filter_map(Option::take) {
            if inside == 0 { pipes.give_back(pipe) } else { pipes.discard(pipe) }
        }
    }

    /// Brings what the pool is charged for up to what the request holds now, and ends it if that is too much.
    pub(super) fn settle_memory(&mut self, id: ConnId) {
        let Some(Conn { request: Some(request), pool, .. }) = self.conns.get_mut(id) else { return };
        let held = request.buffered();
        let due = if held <= CHARGED_FROM { 0 } else { held };
        if due == request.charged {
            return;
        }
        let (before, pool) = (std::mem::replace(&mut request.charged, due), *pool);
        self.recharge(pool.0, before, due);
        let pool = self.pool_mut(pool);
        pool.buffered = pool.buffered + due - before;
        if due > before && pool.buffered > pool.memory {
            self.took_too_long(id, CloseReason::MemoryBudget);
        }
    }

    fn recharge(&mut self, pool: u32, before: u64, due: u64) {
        let shard = self.counters.shard();
        shard.add(ShardCounter::BufferBytes, due);
        shard.sub(ShardCounter::BufferBytes, before);
        let pool = self.counters.pool(pool);
        pool.add(PoolCounter::BufferBytes, due);
        pool.sub(PoolCounter::BufferBytes, before);
    }
}

/// Content that could not be understood before, with more behind it.
pub(super) fn forward_reply(request: &mut Request) {
    let Request { exchange: Some(exchange), limits, reply, reply_fields, out: [_, out], .. } = request else { return };
    let consumed =
        exchange.forward(Way::Out, reply, &limits[1], reply_fields, |piece| out.bytes.extend_from_slice(piece));
    reply.drain(..consumed);
}
