//! The floor: the least a relay can do, as the measure of what a proxy adds.
//!
//! One thread, one epoll, bytes from one socket to another; by [`Carrier::Copy`] through one hot buffer or
//! by [`Carrier::Splice`] through a pipe, without user space seeing them. It knows no time-outs, no limits,
//! no health, no logs and no second backend: every one of those is what a real proxy costs on top.
//!
//! Sockets are registered once, edge-triggered; what an edge said is remembered in [`Side`], so that in the
//! steady state a message costs one receive and one send and nothing else.
//!
//! ```text
//! each flow:   Open ──end seen, all delivered──> Ended      both Ended, or an error on either side: closed
//! ```

use clap::ValueEnum;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections at a time; one more is closed at once, and the client that had it is a failed measurement.
const PAIRS_MAX: usize = 1024;
const EVENTS_MAX: usize = 256;
/// Tried with the pipe at 64 KiB, 256 KiB and 1 MiB: see `bench/README.md`.
const HOT_BUFFER_BYTES: usize = 256 << 10;
const PIPE_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Carrier {
    Copy,
    Splice,
}

/// A running relay: whatever connects to its listener is connected to `origin`.
pub struct Relay {
    carrier: Carrier,
    listener: TcpListener,
    origin: SocketAddr,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// Flows that can move, each at most once.
    ready: VecDeque<(usize, usize)>,
    buffer: Vec<u8>,
    closed: u64,
}

/// A client, its origin, and the two flows between them. Flow `n` moves bytes from side `n` to side `1 - n`.
struct Pair {
    sides: [Side; 2],
    flows: [Flow; 2],
}

/// One socket and what is known of it. Only the kernel's EAGAIN takes a flag back.
struct Side {
    socket: OwnedFd,
    readable: bool,
    writable: bool,
    /// The peer has sent its end; it is behind what is still to be read, and no other edge will tell.
    end_comes: bool,
}

struct Flow {
    held: Held,
    /// The end was read; once nothing is held it is passed on.
    end_seen: bool,
    ended: bool,
    queued: bool,
}

/// Bytes taken from one side and not yet given to the other.
enum Held {
    Pipe {
        out: OwnedFd,
        into: OwnedFd,
        bytes: usize,
    },
    /// What a short send left, usually nothing.
    Rest(Vec<u8>),
}

/// How far one step of a flow came.
enum Step {
    Again,
    Blocked,
    Ended,
}

const LISTENER: u64 = u64::MAX;
const FRONT: usize = 0;

impl Relay {
    pub fn new(carrier: Carrier, listener: TcpListener, origin: SocketAddr) -> io::Result<Relay> {
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit it, which saves a system call for each.
        rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Relay {
            carrier,
            listener,
            origin,
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
            pairs: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            buffer: vec![0; HOT_BUFFER_BYTES],
            closed: 0,
        })
    }

    pub fn run(mut self) -> io::Result<()> {
        loop {
            self.turn()?;
        }
    }

    /// Waits for an event, unless a flow can already move, and lets every flow that can move take one step.
    pub fn turn(&mut self) -> io::Result<()> {
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let patience = if self.ready.is_empty() { None } else { Some(&at_once) };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), patience) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for ix in 0..self.events.len() {
            let epoll::Event { flags, data } = self.events[ix];
            match data.u64() {
                LISTENER => self.accept()?,
                token => self.note(token as usize / 2, token as usize % 2, flags),
            }
        }
        for _ in 0..self.ready.len() {
            let Some((ix, flow)) = self.ready.pop_front() else {
                break;
            };
            self.step(ix, flow);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let front = match rustix::net::accept_with(&self.listener, flags) {
                Ok(front) => front,
                Err(Errno::AGAIN) => return Ok(()),
                // The client left while it waited.
                Err(Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            if self.pairs.len() - self.free.len() == PAIRS_MAX {
                continue;
            }
            let pair = Pair::new(self.carrier, front, connect(self.origin)?)?;
            let ix = self.free.pop().unwrap_or_else(|| {
                self.pairs.push(None);
                self.pairs.len() - 1
            });
            for (side, state) in pair.sides.iter().enumerate() {
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&self.epoll, &state.socket, EventData::new_u64((ix * 2 + side) as u64), flags)?;
            }
            self.pairs[ix] = Some(pair);
        }
    }

    /// Remembers what an edge said and wakes the flows that it may let move.
    fn note(&mut self, ix: usize, side: usize, flags: EventFlags) {
        // Closed by an earlier event of the same batch.
        let Some(pair) = &mut self.pairs[ix] else {
            return;
        };
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let state = &mut pair.sides[side];
        state.end_comes |= flags.contains(EventFlags::RDHUP);
        state.readable |= broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        state.writable |= broken || flags.contains(EventFlags::OUT);
        for flow in [side, 1 - side] {
            if pair.can_move(flow) && !std::mem::replace(&mut pair.flows[flow].queued, true) {
                self.ready.push_back((ix, flow));
            }
        }
    }

    fn step(&mut self, ix: usize, flow: usize) {
        let Some(pair) = &mut self.pairs[ix] else {
            return;
        };
        pair.flows[flow].queued = false;
        match pair.step(flow, &mut self.buffer) {
            Ok(Step::Again) => {
                pair.flows[flow].queued = true;
                self.ready.push_back((ix, flow));
            }
            Ok(Step::Blocked) => {}
            Ok(Step::Ended) if pair.flows.iter().all(|flow| flow.ended) => self.close(ix),
            Ok(Step::Ended) => {}
            Err(_) => self.close(ix),
        }
    }

    fn close(&mut self, ix: usize) {
        self.pairs[ix] = None;
        self.free.push(ix);
        self.closed += 1;
        // Otherwise an index used again would be moved by the steps of the connection before it.
        self.ready.retain(|(queued, _)| *queued != ix);
    }
}

impl Pair {
    fn new(carrier: Carrier, front: OwnedFd, upstream: OwnedFd) -> Result<Pair> {
        let side = |socket| Side { socket, readable: false, writable: false, end_comes: false };
        Ok(Pair { sides: [side(front), side(upstream)], flows: [Flow::new(carrier)?, Flow::new(carrier)?] })
    }

    /// Whether a step of this flow could do anything but find out that it is blocked.
    fn can_move(&self, flow: usize) -> bool {
        let Flow { held, end_seen, ended, .. } = &self.flows[flow];
        !ended && self.sides[1 - flow].writable && (*end_seen || !held.is_empty() || self.sides[flow].readable)
    }

    /// Delivers what is held, takes what is there, delivers that, passes the end on.
    fn step(&mut self, flow: usize, buffer: &mut [u8]) -> Result<Step> {
        let [first, second] = &mut self.sides;
        let (from, to) = if flow == FRONT { (first, second) } else { (second, first) };
        let flow = &mut self.flows[flow];
        if flow.ended || !flow.held.deliver(to)? {
            return Ok(Step::Blocked);
        }
        if from.readable && !flow.end_seen {
            flow.end_seen = flow.held.take(from, to, buffer)?;
        }
        if flow.end_seen && flow.held.is_empty() {
            match rustix::net::shutdown(&to.socket, Shutdown::Write) {
                // The other side has already gone, and took its own end along.
                Ok(()) | Err(Errno::NOTCONN) => {}
                Err(error) => return Err(error),
            }
            flow.ended = true;
            return Ok(Step::Ended);
        }
        Ok(if to.writable && from.readable { Step::Again } else { Step::Blocked })
    }
}

impl Flow {
    fn new(carrier: Carrier) -> Result<Flow> {
        let held = match carrier {
            Carrier::Copy => Held::Rest(Vec::new()),
            Carrier::Splice => {
                let (out, into) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
                rustix::pipe::fcntl_setpipe_size(&into, PIPE_BYTES)?;
                Held::Pipe { out, into, bytes: 0 }
            }
        };
        Ok(Flow { held, end_seen: false, ended: false, queued: false })
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        match self {
            Held::Pipe { bytes, .. } => *bytes == 0,
            Held::Rest(rest) => rest.is_empty(),
        }
    }

    /// Gives what is held to `to`. Answers whether nothing is left.
    fn deliver(&mut self, to: &mut Side) -> Result<bool> {
        while !self.is_empty() && to.writable {
            match self {
                Held::Pipe { out, bytes, .. } => match splice(&*out, &to.socket, *bytes) {
                    Ok(moved) => *bytes -= moved,
                    Err(Errno::AGAIN) => to.writable = false,
                    Err(error) => return Err(error),
                },
                Held::Rest(rest) => match rustix::net::send(&to.socket, rest, SendFlags::NOSIGNAL) {
                    Ok(sent) => drop(rest.drain(..sent)),
                    Err(Errno::AGAIN) => to.writable = false,
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(self.is_empty())
    }

    /// Takes what `from` has, nothing being held, and gives on what `to` will have. Answers whether `from` has ended.
    fn take(&mut self, from: &mut Side, to: &mut Side, buffer: &mut [u8]) -> Result<bool> {
        let taken = match self {
            Held::Pipe { into, .. } => splice(&from.socket, &*into, PIPE_BYTES),
            Held::Rest(_) => rustix::net::recv(&from.socket, &mut *buffer, RecvFlags::empty()).map(|(taken, _)| taken),
        };
        let taken = match taken {
            Ok(0) => return Ok(true),
            Ok(taken) => taken,
            Err(Errno::AGAIN) => {
                from.readable = false;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        match self {
            Held::Pipe { bytes, .. } => {
                // Less than asked for may also mean that the pipe has no slot left, so it proves nothing
                // about the socket: only EAGAIN does.
                *bytes = taken;
                self.deliver(to)?;
            }
            Held::Rest(rest) => {
                // Less than asked for: the socket was empty, and the next bytes make a new edge (epoll(7)).
                from.readable = taken == buffer.len() || from.end_comes;
                let sent = match rustix::net::send(&to.socket, &buffer[..taken], SendFlags::NOSIGNAL) {
                    Ok(sent) => sent,
                    Err(Errno::AGAIN) => 0,
                    Err(error) => return Err(error),
                };
                if sent < taken {
                    to.writable = false;
                    rest.extend_from_slice(&buffer[sent..taken]);
                }
            }
        }
        Ok(false)
    }
}

fn splice(from: impl AsFd, to: impl AsFd, bytes: usize) -> Result<usize> {
    rustix::pipe::splice(from, None, to, None, bytes, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}

/// Begins to connect. A refusal shows itself at the first use of the socket.
fn connect(origin: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(origin), Type::STREAM.nonblocking(), None)?;
    socket.set_tcp_nodelay(true)?;
    match rustix::net::connect(&socket, &origin) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A relay that serves `connections` and ends; and the listener behind it.
    fn relay(carrier: Carrier, connections: u64) -> (SocketAddr, TcpListener, JoinHandle<()>) {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        let behind = origin.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let mut relay = Relay::new(carrier, front, behind).unwrap();
            while relay.closed < connections {
                relay.turn().unwrap();
            }
        });
        (address, origin, thread)
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|ix| (ix.wrapping_mul(2_654_435_761) ^ seed).to_le_bytes()[3]).collect()
    }

    /// More than all buffers and the pipe hold, so both blocking and partial sends happen; then half-close.
    fn exact_both_ways(carrier: Carrier) {
        const BYTES: usize = 24 << 20;
        let (front, origin, thread) = relay(carrier, 1);
        let mut client = connect(front);
        let (mut upstream, _) = origin.accept().unwrap();
        upstream.set_read_timeout(Some(DEADLINE)).unwrap();

        let mut sender = client.try_clone().unwrap();
        let sending = thread::spawn(move || {
            sender.write_all(&pattern(1, BYTES)).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut up = Vec::new();
        upstream.read_to_end(&mut up).unwrap();
        assert!(up == pattern(1, BYTES), "{} bytes reached the origin", up.len());
        sending.join().unwrap();

        // The client's direction has ended; the other one still carries.
        let sending = thread::spawn(move || upstream.write_all(&pattern(2, BYTES)).unwrap());
        let mut down = Vec::new();
        client.read_to_end(&mut down).unwrap();
        assert!(down == pattern(2, BYTES), "{} bytes reached the client", down.len());
        sending.join().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn copy_carries_every_byte_both_ways_and_half_closes() {
        exact_both_ways(Carrier::Copy);
    }

    #[test]
    fn splice_carries_every_byte_both_ways_and_half_closes() {
        exact_both_ways(Carrier::Splice);
    }

    #[test]
    fn an_end_that_comes_with_the_last_bytes_is_passed_on() {
        for carrier in [Carrier::Copy, Carrier::Splice] {
            const CONNECTIONS: u64 = 50;
            let (front, origin, thread) = relay(carrier, CONNECTIONS);
            for _ in 0..CONNECTIONS {
                let mut client = connect(front);
                client.write_all(b"question").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let (mut upstream, _) = origin.accept().unwrap();
                upstream.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut question = String::new();
                upstream.read_to_string(&mut question).unwrap();
                upstream.write_all(b"answer").unwrap();
                drop(upstream);
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"), "{carrier:?}");
            }
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_refused_origin_costs_that_connection_only() {
        let (front, origin, thread) = relay(Carrier::Copy, 2);
        drop(origin);
        for _ in 0..2 {
            let end = connect(front).read(&mut [0; 1]);
            assert!(matches!(end, Ok(0) | Err(_)), "an answer without an origin: {end:?}");
        }
        thread.join().unwrap();
    }
}
