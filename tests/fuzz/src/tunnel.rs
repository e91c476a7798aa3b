//! `wire::tunnel` between two peers that do what a script says.
//!
//! The driver is the owner of the sockets: it asks for the next step of a direction and answers as sockets
//! may, in any order and any amount. What is counted here by itself must agree with the machine after every
//! event: what it says is inside, when it may pass an end on, when it is over and how. After the script the
//! peers behave, and then the tunnel must come to its end without help.

use crate::script::Script;
use wire::tunnel::{BULK_AFTER, SMALL_AFTER, Standing, Step, Tunnel, Way};

/// The two peers and the tunnel between them, as a script plays them:
///
/// | event | |
/// |---|---|
/// | `i` `o` | the events that follow are about the way in, or out |
/// | `s` n | the source sends more |
/// | `e` | the source ends after that |
/// | `h` | that end is seen while bytes are still in the pipe |
/// | `x` | the source breaks: what was not read is lost |
/// | `k` | the sink breaks |
/// | `r` n | one step of this way, moving no more than n |
/// | `p` | pipes are to be had, or not any more |
/// | `q` | the pipe of this way is taken back if it is empty |
pub fn tunnel(data: &[u8]) {
    let mut play = Play::new();
    let mut script = Script::new(data);
    let mut way = Way::In;
    while let Some(event) = script.event(b"iosehxkrpq") {
        match event {
            b'i' => way = Way::In,
            b'o' => way = Way::Out,
            b's' => play.ways[way.ix()].send(SIZES[script.digit()]),
            b'e' => play.ways[way.ix()].ended = true,
            b'h' => play.see_end_early(way),
            b'x' => play.ways[way.ix()].source_broken = true,
            b'k' => play.ways[way.ix()].sink_broken = true,
            b'r' => play.step(way, SIZES[script.digit()]),
            b'p' => play.pipes = !play.pipes,
            _ => play.take_pipe_back(way),
        }
        play.check();
        if play.tunnel.standing() != Standing::Open {
            break;
        }
    }
    play.come_to_the_end();
}

/// Around every number that the machine treats differently from the next.
const SIZES: [usize; 10] = [1, 0, 100, 4_096, 8_191, 8_192, 16_384, 65_536, 200_000, 1 << 20];

/// As the appliance's; a receive that fills it says so.
const BUFFER: usize = 16 << 10;

/// What one fill moves at most.
const PIPE: usize = 64 << 10;

/// Bytes that a source sends at most: a script of `s9` alone must not make the end far away.
const SENT_MAX: usize = 8 << 20;

struct Play {
    tunnel: Tunnel,
    ways: [Flow; 2],
    /// Whether a direction that wants a pipe gets one.
    pipes: bool,
    /// The side that broke first, named as `Tunnel` names it.
    first_broken: Option<Way>,
}

/// One direction as its peers see it.
#[derive(Default)]
struct Flow {
    sent: usize,
    ended: bool,
    source_broken: bool,
    sink_broken: bool,
    /// Of `sent`, what the owner has taken out of the source's socket.
    read: usize,
    /// Of `read`, what the sink has.
    delivered: usize,
    /// The machine was told of the end before it asked.
    end_seen: bool,
    end_passed: bool,
    /// The machine was told that this direction broke.
    told_broken: bool,
    piped: bool,
    /// Full receives, or small fills, since the last that was not.
    streak: u32,
}

impl Flow {
    fn send(&mut self, bytes: usize) {
        if !self.ended {
            self.sent = (self.sent + bytes).min(SENT_MAX);
        }
    }

    /// What can be read without waiting. A break loses what was not read.
    fn waiting(&self) -> usize {
        if self.source_broken { 0 } else { self.sent - self.read }
    }

    fn is_over(&self) -> bool {
        self.end_passed || self.told_broken
    }
}

impl Play {
    fn new() -> Play {
        Play { tunnel: Tunnel::new(), ways: Default::default(), pipes: true, first_broken: None }
    }

    /// One step of one direction, of at most `limit` bytes. A step that would have to wait does nothing.
    fn step(&mut self, way: Way, limit: usize) {
        let pipes = self.pipes;
        let (tunnel, flow) = (&mut self.tunnel, &mut self.ways[way.ix()]);
        match tunnel.next(way) {
            Step::Receive if tunnel.wants_pipe(way) => {
                assert!(flow.streak >= u32::from(BULK_AFTER), "{way:?}: a pipe for small messages");
                flow.streak = 0;
                match pipes {
                    true => {
                        tunnel.pipe_given(way);
                        flow.piped = true;
                    }
                    false => tunnel.pipe_refused(way),
                }
            }
            Step::Receive | Step::Fill if flow.source_broken => {
                tunnel.broke_source(way);
                flow.told_broken = true;
                self.first_broken.get_or_insert(way);
            }
            Step::Receive | Step::Fill if flow.waiting() == 0 => {
                if flow.ended {
                    tunnel.ended(way);
                }
            }
            Step::Receive => {
                let bytes = flow.waiting().min(limit.max(1)).min(BUFFER);
                flow.read += bytes;
                flow.streak = if bytes == BUFFER { flow.streak + 1 } else { 0 };
                tunnel.received(way, bytes, bytes == BUFFER);
            }
            Step::Fill => {
                let bytes = flow.waiting().min(limit.max(1)).min(PIPE);
                flow.read += bytes;
                flow.streak = if bytes < wire::tunnel::SMALL { flow.streak + 1 } else { 0 };
                tunnel.filled(way, bytes);
            }
            Step::Send | Step::Drain | Step::PassEnd if flow.sink_broken => {
                tunnel.broke_sink(way);
                flow.told_broken = true;
                self.first_broken.get_or_insert(way.other());
            }
            Step::Send => {
                let bytes = (flow.read - flow.delivered).min(limit);
                flow.delivered += bytes;
                tunnel.taken(way, bytes);
            }
            Step::Drain => {
                let bytes = (flow.read - flow.delivered).min(limit);
                flow.delivered += bytes;
                tunnel.drained(way, bytes);
                if flow.piped && !tunnel.piped(way) {
                    assert_eq!(flow.read, flow.delivered, "{way:?}: a pipe was given back with bytes in it");
                    let ends = flow.ended && flow.waiting() == 0;
                    assert!(flow.streak >= u32::from(SMALL_AFTER) || ends, "{way:?}: bulk ended early");
                    flow.piped = false;
                    flow.streak = 0;
                }
            }
            Step::PassEnd => {
                assert!(flow.ended, "{way:?}: an end that the source did not send");
                assert_eq!(flow.delivered, flow.sent, "{way:?}: the end overtakes bytes");
                tunnel.end_passed(way);
                flow.end_passed = true;
            }
            Step::Rest => assert!(flow.is_over(), "{way:?}: at rest before its end"),
        }
    }

    fn see_end_early(&mut self, way: Way) {
        let flow = &mut self.ways[way.ix()];
        let everything_read = flow.ended && flow.waiting() == 0 && !flow.source_broken;
        if self.tunnel.next(way) == Step::Drain && everything_read && !flow.end_seen {
            self.tunnel.ended(way);
            flow.end_seen = true;
        }
    }

    fn take_pipe_back(&mut self, way: Way) {
        let flow = &mut self.ways[way.ix()];
        if self.tunnel.next(way) == Step::Fill {
            self.tunnel.pipe_taken_back(way);
            flow.piped = false;
            flow.streak = 0;
        }
    }

    fn check(&self) {
        for way in Way::BOTH {
            let (tunnel, flow) = (&self.tunnel, &self.ways[way.ix()]);
            assert!(flow.delivered <= flow.read && flow.read <= flow.sent);
            match flow.told_broken {
                true => assert_eq!(tunnel.inside(way), 0, "{way:?}: nothing is kept for a broken direction"),
                false => assert_eq!(tunnel.inside(way), flow.read - flow.delivered, "{way:?}: bytes inside"),
            }
            assert_eq!(tunnel.next(way) == Step::Rest, flow.is_over(), "{way:?}");
            assert!(!tunnel.piped(way) || flow.piped, "{way:?}: a pipe that nobody gave");
            assert!(!flow.end_passed || flow.delivered == flow.sent);
        }
        let over = |way: Way| self.ways[way.ix()].is_over();
        let expected = match self.first_broken {
            Some(side) if over(side) => Standing::Broken(side),
            None if over(Way::In) && over(Way::Out) => Standing::Finished,
            _ => Standing::Open,
        };
        assert_eq!(self.tunnel.standing(), expected);
    }

    /// From here on both peers send their end and take all that comes.
    fn come_to_the_end(mut self) {
        // Each byte is moved twice by steps of at least a buffer each; every other step is bookkeeping.
        const STEPS_MAX: usize = 4 * (2 * SENT_MAX / BUFFER) + 100;
        self.ways.iter_mut().for_each(|flow| flow.ended = true);
        let mut steps = 0;
        while self.tunnel.standing() == Standing::Open {
            for way in Way::BOTH {
                if self.tunnel.standing() == Standing::Open {
                    self.step(way, usize::MAX);
                    self.check();
                }
            }
            steps += 1;
            assert!(steps <= STEPS_MAX, "stuck: {:?}", self.tunnel);
        }
        for way in Way::BOTH {
            let flow = &self.ways[way.ix()];
            let complete = flow.delivered == flow.sent && flow.end_passed;
            assert!(complete || self.first_broken.is_some(), "{way:?}: the tunnel finished without all of it");
            // A source's break comes behind what was read before it.
            if flow.is_over() && !flow.sink_broken {
                assert_eq!(flow.delivered, flow.read, "{way:?}: bytes were lost inside");
            }
        }
    }
}
