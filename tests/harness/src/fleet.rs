//! Many long connections on few threads, each exchanging bytes all the time and checking every one of them.
//!
//! A fleet is divided into crews, one thread each. A crew keeps a beat: at each beat every connection that is
//! at rest sends a piece of random size to an echo, and is at rest again when all of it has come back. So
//! the fleet's load is bounded by the beat, and a connection that hangs is seen, because it misses beats.

use crate::net::{Stream, Target};
use crate::outcome::{Failure, Tally};
use crate::pattern::{Dice, Pattern};
use crate::wait::{Deadline, Watched};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Fleet {
    log: Watched<Log>,
    crews: Vec<JoinHandle<()>>,
}

/// What the crews write down.
struct Log {
    stopping: bool,
    /// One for each crew.
    beats: Vec<Beats>,
    tally: Tally,
    exchanged: u64,
}

#[derive(Clone, Copy, Default)]
struct Beats {
    newest: u64,
    /// Each connection has gone through an exchange that began in this beat or a later one.
    all_through: u64,
}

impl Fleet {
    const CREWS: usize = 2;
    const BEAT: Duration = Duration::from_millis(40);
    /// Most bytes of one connection under way. Unit: bytes.
    const PIECE_MAX: usize = 12_000;

    /// Opens `count` connections to the targets in turn and sets them going. Panics if one cannot be opened.
    pub fn start(targets: &[Target], count: usize, seed: u64) -> Fleet {
        let log = Watched::new(Log {
            stopping: false,
            beats: vec![Beats::default(); Fleet::CREWS],
            tally: Tally::default(),
            exchanged: 0,
        });
        let mut crews: Vec<Vec<Member>> = (0..Fleet::CREWS).map(|_| Vec::new()).collect();
        for (number, target) in targets.iter().cycle().take(count).enumerate() {
            let stream = Stream::connect(target, Deadline::patient())
                .unwrap_or_else(|failure| panic!("connection {number} to {target}: {failure}"));
            crews[number % Fleet::CREWS].push(Member::new(number, target, stream, seed));
        }
        let crews = crews.into_iter().enumerate().map(|(crew, members)| {
            let log = log.clone();
            let sail = move || Crew { crew, members, log, dice: Dice::new(seed ^ crew as u64), beat: 0 }.sail();
            std::thread::Builder::new().name(format!("fleet {crew}")).spawn(sail).expect("a thread can be started")
        });
        let crews = crews.collect();
        Fleet { log, crews }
    }

    /// Waits until each connection has gone through an exchange that began after this call.
    #[track_caller]
    pub fn all_again(&self) {
        let since: Vec<u64> = self.log.look().beats.iter().map(|beats| beats.newest).collect();
        let again = self.log.wait(Deadline::patient(), |log| {
            let through = log.beats.iter().zip(&since).all(|(beats, since)| beats.all_through > *since);
            (through || log.tally.failed() > 0).then_some(())
        });
        let log = self.log.look();
        assert!(again.is_some(), "the fleet's connections do not move: {}", log.tally);
        assert!(log.tally.failed() == 0, "the fleet saw failures: {}", log.tally);
    }

    pub fn failed(&self) -> u64 {
        self.log.look().tally.failed()
    }

    /// Bytes that went there and back, over all connections.
    pub fn exchanged(&self) -> u64 {
        self.log.look().exchanged
    }

    /// Lets each connection finish what it began, say its end and see the other side's.
    pub fn finish(mut self) -> Tally {
        self.end_crews();
        self.log.look().tally.clone()
    }

    fn end_crews(&mut self) {
        self.log.change(|log| log.stopping = true);
        for crew in self.crews.drain(..) {
            // A crew's panic has been printed; its members are missing from the tally.
            if crew.join().is_err() {
                self.log.change(|log| {
                    let error = "a crew panicked".to_owned();
                    log.tally.add_failure("", &Failure::Other { doing: "sail", error });
                });
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end_crews();
    }
}

struct Crew {
    crew: usize,
    members: Vec<Member>,
    log: Watched<Log>,
    dice: Dice,
    beat: u64,
}

impl Crew {
    fn sail(mut self) {
        let mut next_beat = Instant::now();
        while !self.members.is_empty() {
            let now = Instant::now();
            if now >= next_beat {
                next_beat = now + Fleet::BEAT;
                self.begin_beat();
            }
            self.wait_for_traffic(next_beat.saturating_duration_since(now));
            self.serve();
        }
    }

    fn begin_beat(&mut self) {
        self.beat += 1;
        let (crew, newest) = (self.crew, self.beat);
        let all_through = self.members.iter().map(|member| member.through).min().unwrap_or(newest);
        let stopping = self.log.change(|log| {
            log.beats[crew] = Beats { newest, all_through };
            log.stopping
        });
        for member in self.members.iter_mut().filter(|member| member.state == State::Resting) {
            if stopping {
                member.end();
            } else {
                member.begin(self.dice.between(1, Fleet::PIECE_MAX), self.beat);
            }
        }
    }

    fn wait_for_traffic(&self, patience: Duration) {
        let patience = Timespec::try_from(patience).expect("a beat is short");
        let mut polled: Vec<PollFd<'_>> =
            self.members.iter().map(|member| PollFd::new(&member.socket, member.interest())).collect();
        match poll(&mut polled, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }

    fn serve(&mut self) {
        let (mut over, mut exchanged) = (Vec::new(), 0);
        self.members.retain_mut(|member| {
            let before = member.received;
            let verdict = member.step();
            exchanged += member.received - before;
            match verdict {
                Ok(Step::Goes) => true,
                Ok(Step::Over) => {
                    over.push((String::new(), Ok(())));
                    false
                }
                Err(failure) => {
                    over.push((format!("connection {} to {}: ", member.number, member.target), Err(failure)));
                    false
                }
            }
        });
        if exchanged > 0 || !over.is_empty() {
            self.log.change(|log| {
                log.exchanged += exchanged;
                for (whose, outcome) in over {
                    match outcome {
                        Ok(()) => log.tally.complete += 1,
                        Err(failure) => log.tally.add_failure(&whose, &failure),
                    }
                }
            });
        }
    }
}

struct Member {
    number: usize,
    target: Target,
    socket: Socket,
    pattern: Pattern,
    sent: u64,
    received: u64,
    /// The beat in which the newest exchange that is over began.
    through: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Resting,
    /// Everything up to the offset `until` is to be sent and to come back.
    Exchanging {
        until: u64,
        beat: u64,
        overdue: Deadline,
    },
    /// The end was said; the other side's is awaited.
    Ending {
        overdue: Deadline,
    },
}

#[derive(PartialEq)]
enum Step {
    Goes,
    Over,
}

impl Member {
    fn new(number: usize, target: &Target, stream: Stream, seed: u64) -> Member {
        Member {
            number,
            target: target.clone(),
            socket: stream.into_nonblocking(),
            pattern: Pattern::new(seed.wrapping_add(number as u64)),
            sent: 0,
            received: 0,
            through: 0,
            state: State::Resting,
        }
    }

    fn begin(&mut self, bytes: usize, beat: u64) {
        self.state = State::Exchanging { until: self.sent + bytes as u64, beat, overdue: Deadline::patient() };
    }

    fn end(&mut self) {
        // Already broken: the next step sees how.
        let _ = self.socket.shutdown(Shutdown::Write);
        self.state = State::Ending { overdue: Deadline::patient() };
    }

    fn interest(&self) -> PollFlags {
        match self.state {
            State::Exchanging { until, .. } if self.sent < until => PollFlags::IN | PollFlags::OUT,
            // At rest nothing should come; if the other side ends or resets, that is seen at once.
            _ => PollFlags::IN,
        }
    }

    fn step(&mut self) -> Result<Step, Failure> {
        if let State::Exchanging { until, .. } = self.state {
            self.send_up_to(until)?;
        }
        let ended = self.receive()? == Step::Over;
        match self.state {
            State::Ending { .. } if ended => return Ok(Step::Over),
            _ if ended => {
                return Err(Failure::EarlyEnd { received: self.received, expected: self.sent });
            }
            State::Exchanging { until, beat, .. } if self.received == until => {
                self.through = beat;
                self.state = State::Resting;
            }
            State::Exchanging { overdue, .. } | State::Ending { overdue } if overdue.passed() => {
                return Err(Failure::TimedOut { doing: "exchange", received: self.received });
            }
            _ => {}
        }
        Ok(Step::Goes)
    }

    fn send_up_to(&mut self, until: u64) -> Result<(), Failure> {
        let mut piece = [0; 4096];
        while self.sent < until {
            let count = (until - self.sent).min(piece.len() as u64) as usize;
            self.pattern.fill(self.sent, &mut piece[..count]);
            match self.socket.write(&piece[..count]) {
                Ok(written) => self.sent += written as u64,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Failure::of("send", &error, self.received)),
            }
        }
        Ok(())
    }

    /// Takes and checks what is there. `Over`: the other side said its end.
    fn receive(&mut self) -> Result<Step, Failure> {
        let mut piece = [0; 4096];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Ok(Step::Over),
                Ok(count) => {
                    self.pattern.check(self.received, &piece[..count]).map_err(|at| Failure::WrongData { at })?;
                    self.received += count as u64;
                    if self.received > self.sent {
                        return Err(Failure::Surplus { expected: self.sent });
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(Step::Goes);
                }
                Err(error) => return Err(Failure::of("receive", &error, self.received)),
            }
        }
    }
}
