//! A tunnel: two byte streams, joined so that what enters at one side leaves at the other, in order,
//! complete, and with its end.
//!
//! The machine owns both windows: a direction is read only while nothing of it waits for its sink, so
//! back-pressure needs no queue. It decides how bytes move:
//!
//! ```text
//!            small messages                                bulk
//!   Idle ── received ──▶ Holding ── taken ──▶ Idle     Idle ⇄ Piped(n): fill from the source, drain to the sink
//!     │  BULK_AFTER full receives in a row ─────────────▶ │
//!     │ ◀──────────── SMALL_AFTER small fills in a row ── │
//!     └─ end of the source, nothing held ──▶ Ending ── passed on ──▶ Over
//! ```
//!
//! An end is passed on as an end: the other direction goes on (half-close, RFC 9293 section 3.6). When a
//! sink breaks, its direction is `Broken` and the other one still delivers what the broken side sent before.

/// Which way bytes flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Client to backend.
    In,
    /// Backend to client.
    Out,
}

impl Way {
    pub const BOTH: [Way; 2] = [Way::In, Way::Out];

    pub fn ix(self) -> usize {
        self as usize
    }

    pub fn other(self) -> Way {
        match self {
            Way::In => Way::Out,
            Way::Out => Way::In,
        }
    }
}

/// What the owner of the sockets does next for one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Receive from the source; answer with `received`, `ended` or `broke_source`.
    Receive,
    /// Send what is held to the sink; answer with `taken` or `broke_sink`.
    Send,
    /// Move bytes from the source into the pipe; answer with `filled`, `fill_blocked`, `ended` or `broke_source`.
    Fill,
    /// Move bytes from the pipe to the sink; answer with `drained` or `broke_sink`.
    Drain,
    /// Shut the sink for writing; answer with `end_passed`.
    PassEnd,
    /// Nothing to do in this direction, ever again.
    Rest,
}

/// How the tunnel as a whole stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Open,
    /// Both ends were passed on: everything was delivered.
    Finished,
    /// The named side broke, and what it had sent before has been delivered.
    Broken(Way),
}

/// Receives in a row that fill their buffer after which a direction counts as bulk.
///
/// Four buffers of 16 KiB: a reply that fits in a socket's first windows stays with copies, which for such
/// sizes cost less than a pipe's two calls.
pub const BULK_AFTER: u8 = 4;

/// Fills in a row below [`SMALL`] after which bulk is over and the pipe is given back.
pub const SMALL_AFTER: u8 = 8;

/// Bytes; a fill below it would have been cheaper as a copy.
pub const SMALL: usize = 8 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Idle,
    /// Bytes in our hands that the sink has not taken.
    Holding {
        left: u32,
    },
    /// Bulk, this many bytes in the pipe.
    Piped {
        inside: u32,
    },
    /// The source has ended and everything was taken.
    Ending,
    Over,
    /// Source or sink of this direction broke.
    Broken,
}

#[derive(Clone, Copy, Debug)]
struct Direction {
    flow: Flow,
    /// In `Piped`: the source has ended, the pipe must still run empty.
    source_ended: bool,
    /// Full receives (copying) or small fills (bulk) in a row.
    streak: u8,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    ways: [Direction; 2],
    /// The side that broke first, named by the direction whose *source* it is.
    broken: Option<Way>,
}

impl Default for Tunnel {
    fn default() -> Tunnel {
        Tunnel::new()
    }
}

impl Tunnel {
    pub fn new() -> Tunnel {
        let direction = Direction { flow: Flow::Idle, source_ended: false, streak: 0 };
        Tunnel { ways: [direction; 2], broken: None }
    }

    /// The next step of one direction.
    pub fn next(&self, way: Way) -> Step {
        let direction = self.ways[way.ix()];
        match direction.flow {
            Flow::Idle => Step::Receive,
            Flow::Holding { .. } => Step::Send,
            Flow::Piped { inside: 0 } => Step::Fill,
            Flow::Piped { .. } => Step::Drain,
            Flow::Ending => Step::PassEnd,
            Flow::Over | Flow::Broken => Step::Rest,
        }
    }

    /// Whether the tunnel is over, and how.
    pub fn standing(&self) -> Standing {
        let rest = |way: Way| matches!(self.ways[way.ix()].flow, Flow::Over | Flow::Broken);
        match self.broken {
            // What the broken side sent before it broke flows in the direction whose source it is.
            Some(side) if rest(side) => Standing::Broken(side),
            None if rest(Way::In) && rest(Way::Out) => Standing::Finished,
            _ => Standing::Open,
        }
    }

    /// `bytes` (> 0) came into our hands; `full` if they filled the buffer, so that more may wait.
    pub fn received(&mut self, way: Way, bytes: usize, full: bool) {
        let direction = &mut self.ways[way.ix()];
        debug_assert_eq!(direction.flow, Flow::Idle);
        debug_assert!(bytes > 0);
        direction.streak = if full { direction.streak.saturating_add(1) } else { 0 };
        direction.flow = Flow::Holding { left: bytes as u32 };
    }

    /// The sink took `bytes` of what is held.
    pub fn taken(&mut self, way: Way, bytes: usize) {
        let direction = &mut self.ways[way.ix()];
        let Flow::Holding { left } = direction.flow else {
            unreachable!("bytes taken from a direction that holds none: {:?}", direction.flow)
        };
        let left = left.checked_sub(bytes as u32).expect("a sink takes no more than it was given");
        direction.flow = if left > 0 { Flow::Holding { left } } else { Flow::Idle };
    }

    /// Bytes in our hands or in the pipe of this direction.
    pub fn inside(&self, way: Way) -> usize {
        match self.ways[way.ix()].flow {
            Flow::Holding { left } => left as usize,
            Flow::Piped { inside } => inside as usize,
            _ => 0,
        }
    }

    /// Whether this direction asks for a pipe now: it is idle and has been busy. The owner may refuse by
    /// not calling [`Tunnel::pipe_given`]; copying then goes on.
    pub fn wants_pipe(&self, way: Way) -> bool {
        let direction = self.ways[way.ix()];
        direction.flow == Flow::Idle && direction.streak >= BULK_AFTER
    }

    pub fn pipe_given(&mut self, way: Way) {
        let direction = &mut self.ways[way.ix()];
        debug_assert_eq!(direction.flow, Flow::Idle);
        direction.flow = Flow::Piped { inside: 0 };
        direction.streak = 0;
    }

    /// No pipe was free: ask again after the next [`BULK_AFTER`] full receives.
    pub fn pipe_refused(&mut self, way: Way) {
        self.ways[way.ix()].streak = 0;
    }

    /// Whether this direction is in bulk mode and so has a pipe.
    pub fn piped(&self, way: Way) -> bool {
        matches!(self.ways[way.ix()].flow, Flow::Piped { .. })
    }

    /// The owner wants the empty pipe of a quiet direction back.
    pub fn pipe_taken_back(&mut self, way: Way) {
        let direction = &mut self.ways[way.ix()];
        debug_assert_eq!(direction.flow, Flow::Piped { inside: 0 });
        direction.flow = Flow::Idle;
        direction.streak = 0;
    }

    /// `bytes` (> 0) went into the pipe.
    pub fn filled(&mut self, way: Way, bytes: usize) {
        let direction = &mut self.ways[way.ix()];
        debug_assert_eq!(direction.flow, Flow::Piped { inside: 0 });
        direction.streak = if bytes < SMALL { direction.streak.saturating_add(1) } else { 0 };
        direction.flow = Flow::Piped { inside: bytes as u32 };
    }

    /// `bytes` left the pipe for the sink.
    pub fn drained(&mut self, way: Way, bytes: usize) {
        let direction = &mut self.ways[way.ix()];
        let Flow::Piped { inside } = direction.flow else {
            unreachable!("a pipe drained that is not there: {:?}", direction.flow)
        };
        let inside = inside.checked_sub(bytes as u32).expect("a pipe gives no more than went in");
        direction.flow = match inside {
            0 if direction.source_ended => Flow::Ending,
            0 if direction.streak >= SMALL_AFTER => {
                direction.streak = 0;
                Flow::Idle
            }
            _ => Flow::Piped { inside },
        };
    }

    /// The source sent its end.
    pub fn ended(&mut self, way: Way) {
        let direction = &mut self.ways[way.ix()];
        direction.source_ended = true;
        direction.flow = match direction.flow {
            Flow::Idle | Flow::Piped { inside: 0 } => Flow::Ending,
            Flow::Piped { inside } => Flow::Piped { inside },
            other => unreachable!("an end was read while {other:?}: nothing may be read then"),
        };
    }

    /// The sink has been shut for writing.
    pub fn end_passed(&mut self, way: Way) {
        let direction = &mut self.ways[way.ix()];
        debug_assert_eq!(direction.flow, Flow::Ending);
        direction.flow = Flow::Over;
    }

    /// Reading this direction's source failed: that side is gone, with all it had sent delivered or lost.
    pub fn broke_source(&mut self, way: Way) {
        self.ways[way.ix()].flow = Flow::Broken;
        self.broken.get_or_insert(way);
    }

    /// Writing to this direction's sink failed. What the sink had sent before may still be read from it.
    pub fn broke_sink(&mut self, way: Way) {
        self.ways[way.ix()].flow = Flow::Broken;
        // An ended sink that no longer listens: it sent all it had, so nothing is left to deliver.
        self.broken.get_or_insert(way.other());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_through_and_the_source_is_read_again() {
        let mut tunnel = Tunnel::new();
        assert_eq!(tunnel.next(Way::In), Step::Receive);
        tunnel.received(Way::In, 10, false);
        assert_eq!(tunnel.next(Way::In), Step::Send);
        tunnel.taken(Way::In, 4);
        assert_eq!((tunnel.next(Way::In), tunnel.inside(Way::In)), (Step::Send, 6));
        tunnel.taken(Way::In, 6);
        assert_eq!(tunnel.next(Way::In), Step::Receive);
        assert_eq!(tunnel.next(Way::Out), Step::Receive);
    }

    #[test]
    fn an_end_leaves_the_other_direction_open() {
        let mut tunnel = Tunnel::new();
        tunnel.ended(Way::In);
        assert_eq!(tunnel.next(Way::In), Step::PassEnd);
        tunnel.end_passed(Way::In);
        assert_eq!((tunnel.next(Way::In), tunnel.next(Way::Out)), (Step::Rest, Step::Receive));
        assert_eq!(tunnel.standing(), Standing::Open);
        tunnel.received(Way::Out, 1, false);
        tunnel.taken(Way::Out, 1);
        tunnel.ended(Way::Out);
        assert_eq!(tunnel.standing(), Standing::Open, "the end has not been passed on yet");
        tunnel.end_passed(Way::Out);
        assert_eq!(tunnel.standing(), Standing::Finished);
    }

    #[test]
    fn the_pipe_runs_empty_before_the_end_is_passed_on() {
        let mut tunnel = bulk(Way::Out);
        tunnel.filled(Way::Out, 100_000);
        tunnel.ended(Way::Out);
        assert_eq!(tunnel.next(Way::Out), Step::Drain);
        tunnel.drained(Way::Out, 60_000);
        assert_eq!(tunnel.next(Way::Out), Step::Drain);
        tunnel.drained(Way::Out, 40_000);
        assert_eq!(tunnel.next(Way::Out), Step::PassEnd);
    }

    #[test]
    fn bulk_begins_after_full_receives_and_ends_after_small_fills() {
        let mut tunnel = Tunnel::new();
        for _ in 0..BULK_AFTER - 1 {
            message(&mut tunnel, Way::Out, true);
        }
        message(&mut tunnel, Way::Out, false);
        assert!(!tunnel.wants_pipe(Way::Out), "the row was broken");
        let mut tunnel = bulk(Way::Out);
        for _ in 0..SMALL_AFTER {
            assert_eq!(tunnel.next(Way::Out), Step::Fill);
            tunnel.filled(Way::Out, SMALL - 1);
            tunnel.drained(Way::Out, SMALL - 1);
        }
        assert_eq!(tunnel.next(Way::Out), Step::Receive);
        assert!(!tunnel.piped(Way::Out));
    }

    #[test]
    fn a_refused_pipe_means_copying_goes_on() {
        let mut tunnel = Tunnel::new();
        for _ in 0..BULK_AFTER {
            message(&mut tunnel, Way::In, true);
        }
        assert!(tunnel.wants_pipe(Way::In));
        tunnel.pipe_refused(Way::In);
        assert!(!tunnel.wants_pipe(Way::In));
        assert_eq!(tunnel.next(Way::In), Step::Receive);
    }

    #[test]
    fn what_a_backend_sent_before_it_broke_is_delivered() {
        let mut tunnel = Tunnel::new();
        tunnel.received(Way::In, 5, false);
        tunnel.broke_sink(Way::In);
        assert_eq!(tunnel.standing(), Standing::Open, "the answer may still be in the socket");
        assert_eq!(tunnel.next(Way::In), Step::Rest);
        tunnel.received(Way::Out, 7, false);
        tunnel.taken(Way::Out, 7);
        assert_eq!(tunnel.standing(), Standing::Open);
        tunnel.broke_source(Way::Out);
        assert_eq!(tunnel.standing(), Standing::Broken(Way::Out));
    }

    #[test]
    fn a_side_that_breaks_while_read_is_over_at_once() {
        let mut tunnel = Tunnel::new();
        tunnel.broke_source(Way::In);
        assert_eq!(tunnel.standing(), Standing::Broken(Way::In));
    }

    #[test]
    fn a_client_that_stops_listening_after_its_end_is_broken_at_once() {
        let mut tunnel = Tunnel::new();
        tunnel.ended(Way::In);
        tunnel.end_passed(Way::In);
        tunnel.received(Way::Out, 3, false);
        tunnel.broke_sink(Way::Out);
        assert_eq!(tunnel.standing(), Standing::Broken(Way::In));
    }

    fn message(tunnel: &mut Tunnel, way: Way, full: bool) {
        tunnel.received(way, 100, full);
        tunnel.taken(way, 100);
    }

    fn bulk(way: Way) -> Tunnel {
        let mut tunnel = Tunnel::new();
        for _ in 0..BULK_AFTER {
            message(&mut tunnel, way, true);
        }
        assert!(tunnel.wants_pipe(way));
        tunnel.pipe_given(way);
        tunnel
    }
}
