//! One connection: what a slot of the table holds.

use crate::ring::pipe::Pipe;
use crate::ring::socket::{self, Peer};
use crate::ring::{Key, Verb};
use policy::close::CloseReason;
use policy::generation::Timeouts;
use policy::ids::{EndpointSlot, GenerationId, GroupSlot, PoolSlot};
use policy::record::ClientAddr;
use policy::reload::{PolicyLease, RootLease, Session};
use policy::tick::Tick;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use wire::tunnel::{Tunnel, Way};

use crate::conns::ConnId;
use crate::edge::Edge;
use crate::http::Request;
use crate::http::record::Upgraded;
use crate::listeners::CameBy;
use crate::pools::RowIx;

/// The two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Front,
    Back,
}

impl Side {
    pub fn source(way: Way) -> Side {
        match way {
            Way::In => Side::Front,
            Way::Out => Side::Back,
        }
    }

    pub fn sink(way: Way) -> Side {
        Side::source(way.other())
    }

    /// The direction in which this side is read.
    pub fn way(self) -> Way {
        match self {
            Side::Front => Way::In,
            Side::Back => Way::Out,
        }
    }
}

/// An operation of a connection in the ring. Each is in flight at most once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Receive(Side),
    Readable(Side),
    Writable(Side),
    /// Nothing is read from this side now, and it may break all the same. Goes on until cancelled.
    Loss(Side),
    Connect,
    /// Whatever comes at the front socket is told, for as long as the session lasts.
    Edges,
}

impl Op {
    const ALL: [Op; 10] = [
        Op::Receive(Side::Front),
        Op::Receive(Side::Back),
        Op::Readable(Side::Front),
        Op::Readable(Side::Back),
        Op::Writable(Side::Front),
        Op::Writable(Side::Back),
        Op::Loss(Side::Front),
        Op::Loss(Side::Back),
        Op::Connect,
        Op::Edges,
    ];

    pub fn tag(self) -> u8 {
        match self {
            Op::Receive(Side::Front) => 0,
            Op::Receive(Side::Back) => 1,
            Op::Readable(Side::Front) => 2,
            Op::Readable(Side::Back) => 3,
            Op::Writable(Side::Front) => 4,
            Op::Writable(Side::Back) => 5,
            Op::Loss(Side::Front) => 6,
            Op::Loss(Side::Back) => 7,
            Op::Connect => 8,
            Op::Edges => 9,
        }
    }

    pub fn of_tag(tag: u8) -> Option<Op> {
        Op::ALL.get(usize::from(tag)).copied()
    }

    pub fn verb(self) -> Verb {
        match self {
            Op::Receive(_) => Verb::Receive,
            Op::Readable(_) | Op::Writable(_) | Op::Loss(_) | Op::Edges => Verb::Readiness,
            Op::Connect => Verb::Connect,
        }
    }

    /// Whether it is on the front socket.
    pub fn is_front(self) -> bool {
        match self {
            Op::Receive(side) | Op::Readable(side) | Op::Writable(side) | Op::Loss(side) => side == Side::Front,
            Op::Connect => false,
            Op::Edges => true,
        }
    }

    pub fn key(self, id: ConnId) -> Key {
        Key { index: id.index, generation: id.generation, tag: self.tag() }
    }
}

/// Which operations are in flight.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ops(u16);

impl Ops {
    pub fn begin(&mut self, op: Op) {
        debug_assert!(!self.contains(op), "{op:?} is in flight already");
        self.0 |= 1 << op.tag();
    }

    pub fn finish(&mut self, op: Op) {
        debug_assert!(self.contains(op), "{op:?} was not in flight");
        self.0 &= !(1 << op.tag());
    }

    pub fn contains(self, op: Op) -> bool {
        self.0 >> op.tag() & 1 == 1
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Op> {
        Op::ALL.into_iter().filter(move |op| self.contains(*op))
    }
}

/// The part of its generation that a connection holds.
#[derive(Debug, Default)]
pub enum Lease {
    /// Ended.
    #[default]
    None,
    /// While its backend is being decided; the newest root at each decision.
    Root(RootLease),
    /// While it carries bytes.
    Policy(PolicyLease),
}

/// Where a connection is in its life.
#[derive(Debug)]
pub enum State {
    /// No backend yet: being admitted, or in its pool's line.
    Seeking,
    Connecting {
        /// Why the operation is being cancelled, if it is.
        given_up: Option<Failure>,
    },
    Open(Box<Open>),
    /// Carries requests, and none of its requests is looking for a backend: between two of them if `Conn::request` is
    /// empty.
    Session,
    /// Ended for us: the peer is told, and what it still sends is read and dropped, so that the end is
    /// not lost to a reset.
    Lingering,
    /// The other side was reset, and this one will be.
    Resetting {
        side: Side,
        until: Tick,
    },
    /// Waits for the last completions of its operations.
    Ending,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The backend refused, is unreachable, or has no address.
    Refused,
    /// `timeouts.connect` is over.
    TimedOut,
    /// The backend was removed with `now`.
    Removed,
}

/// The part of a connection that exists while it carries bytes.
#[derive(Debug)]
pub struct Open {
    pub tunnel: Tunnel,
    /// By [`Way`]: bytes received that the sink did not take at once, and how many of them it took since.
    pub held: [Option<Held>; 2],
    /// By [`Way`]: the pipe while that direction is bulk.
    pub pipes: [Option<Pipe>; 2],
    /// The pool's time-outs as of the last tick.
    pub timeouts: Timeouts,
    /// The request that it has been.
    pub upgraded: Option<Box<Upgraded>>,
}

/// A remainder, copied out of a provided buffer because that one goes back within the turn.
#[derive(Debug)]
pub struct Held {
    pub bytes: Box<[u8]>,
    pub taken: usize,
}

/// See the module. The table of connections is an array of these; what only an open tunnel, a request or a failing
/// connect needs is behind a pointer.
pub struct Conn {
    pub front: OwnedFd,
    pub back: Option<OwnedFd>,
    pub ops: Ops,
    pub state: State,
    /// What [`Op::Edges`] has told.
    pub front_edge: Edge,
    /// The pool of its request that is under way, else the one that it came in for.
    pub pool: PoolSlot,
    /// The address that it came in by.
    pub came_by: CameBy,
    /// The pool generation that its decisions came from.
    pub number: GenerationId,
    pub lease: Lease,
    /// It carries requests.
    pub session: Option<Session>,
    /// The one under way, from its first byte on.
    pub request: Option<Box<Request>>,
    pub endpoint: Option<EndpointSlot>,
    /// The group that serves it, once that is decided, and its row.
    pub group: GroupSlot,
    pub row: RowIx,
    /// Counts against the pool's cap. (Against the backend's while `endpoint` is set.)
    pub pool_permit: bool,
    pub logged: bool,
    /// Backends tried, the present one included. Saturates.
    pub attempts: u8,
    /// Those that did not answer; at most `Group::attempts`. Owns no memory while all goes well.
    pub tried: Vec<EndpointSlot>,
    /// Why it ends if no backend is left to try.
    pub failure: CloseReason,
    pub client: Peer,
    /// Unit: microseconds since the process started.
    pub accepted_micros: u64,
    pub connected_micros: u64,
    /// Last time that anything moved.
    pub touched: Tick,
    /// When the timer of this connection means something; the wheel may fire earlier.
    pub due: Tick,
    /// By [`Way`], taken by the sink.
    pub bytes: [u64; 2],
    /// The part of `bytes` that is in the counters already.
    pub counted: [u64; 2],
}

impl Conn {
    pub fn socket(&self, side: Side) -> Option<BorrowedFd<'_>> {
        match side {
            Side::Front => Some(self.front.as_fd()),
            Side::Back => self.back.as_ref().map(AsFd::as_fd),
        }
    }

    /// The client, as records say it.
    pub fn client_addr(&self) -> ClientAddr {
        match self.client {
            Peer::Ip(address) => ClientAddr::Ip(address),
            Peer::Unix => ClientAddr::Unix,
            Peer::Unknown => ClientAddr::Unknown,
        }
    }

    /// Whoever is still there when the sockets are closed shall see a reset.
    pub fn reset_on_close(&self) {
        [Side::Front, Side::Back].into_iter().filter_map(|side| self.socket(side)).for_each(socket::reset_on_close);
    }

    /// Its request is another pool's than its session.
    pub fn is_guest(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.pool() != self.pool)
    }

    /// Ended for us: recorded, and holding nothing but its sockets.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Lingering | State::Resetting { .. } | State::Ending)
    }
}

/// An idle connection is its slot: DESIGN's bound is 256 bytes.
const _: () = assert!(size_of::<Conn>() <= 248);
