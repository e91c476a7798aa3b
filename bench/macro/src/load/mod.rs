//! Both ends of the traffic in one thread: the clients before the proxy, the origin behind it.
//!
//! One thread and one epoll for both, because both must fit on one core beside the proxy's, and switching
//! between two threads would be one more cost of every message. The price is that the CPU of origin and
//! clients is told as one figure.
//!
//! Owns the window (warm-up, begin, end) and the witnesses taken at its borders; [`clients`] and [`origin`]
//! own what is said over the sockets. Knows nothing of who relays. Whatever a client did not get as it should
//! is a [`Failure`], and a measurement with a failure has no figure.

mod answer;
mod clients;
mod echo;
mod exchange;
mod message;
mod origin;
mod pour;
mod reply;

pub use exchange::{accept_first, hear_first, send_first};
pub use origin::listen;

use crate::cpu::{Layout, Spent, Witness};
use crate::scenario::Scenario;
use clients::Clients;
use origin::Origin;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// With nothing happening for so long, or a client never served within it, the measurement has failed.
const STALL: Duration = Duration::from_secs(5);
const EVENTS_MAX: usize = 256;

/// One measurement to make.
pub struct Order {
    pub scenario: Scenario,
    pub front: SocketAddr,
    pub proxy: Pid,
    pub layout: Layout,
    pub warm_up: Duration,
    pub window: Duration,
}

/// What happened within the window.
pub struct Work {
    /// See [`Scenario::counts`].
    pub counted: u64,
    pub spent: Spent,
    /// Nanoseconds of each round trip, where [`Scenario::is_timed`].
    pub latencies: Vec<u32>,
}

/// Why there is no figure.
#[derive(Debug)]
pub enum Failure {
    Connect(io::Error),
    /// A connection broke under a client.
    Broken(io::Error),
    /// A connection ended before the client had what it waits for.
    EndedEarly,
    /// An answer was not what the client had sent.
    WrongAnswer,
    /// An HTTP answer was not the one that the origin sends.
    WrongReply(answer::Wrong),
    /// The clients of a bulk transfer got another number of bytes than the origin had sent.
    WrongCount {
        sent: u64,
        received: u64,
    },
    /// Nothing happened, or some client was never served, for [`STALL`].
    Stalled,
    /// Our own end broke, not the proxy.
    Ours(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(error) => write!(f, "a client could not connect: {error}"),
            Failure::Broken(error) => write!(f, "a client's connection broke: {error}"),
            Failure::EndedEarly => write!(f, "a client's connection ended early"),
            Failure::WrongAnswer => write!(f, "a client got another answer than what it had sent"),
            Failure::WrongReply(wrong) => write!(f, "{wrong}"),
            Failure::WrongCount { sent, received } => {
                write!(f, "the origin sent {sent} bytes, the clients received {received}")
            }
            Failure::Stalled => write!(f, "the traffic stood still for {} s", STALL.as_secs()),
            Failure::Ours(error) => write!(f, "the load itself failed: {error}"),
        }
    }
}

/// Makes the traffic of `order` and measures it. `listener` is where the proxy finds its origin.
pub fn run(order: &Order, listener: &TcpListener) -> Result<Work, Failure> {
    let mut ends = Ends::new(order, listener)?;
    ends.clients.open(&ends.epoll)?;
    ends.warm_up(order.warm_up)?;

    let witness = || Witness::now(order.proxy, order.layout).map_err(Failure::Ours);
    ends.clients.begin();
    let (begin, counted_before) = (witness()?, ends.clients.counted());
    ends.turn_for(order.window)?;
    let (end, counted) = (witness()?, ends.clients.counted() - counted_before);
    let latencies = ends.clients.take_latencies();

    ends.settle()?;
    Ok(Work { counted, spent: begin.until(&end), latencies })
}

struct Ends<'a> {
    listener: &'a TcpListener,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Clients,
    origin: Origin,
}

/// Which end an event belongs to, as a number that epoll carries.
#[derive(Clone, Copy)]
enum Token {
    Listener,
    Client(usize),
    Origin(usize),
}

impl Token {
    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Token::Listener => 0,
            Token::Client(ix) => (ix as u64) << 2 | 1,
            Token::Origin(ix) => (ix as u64) << 2 | 2,
        })
    }

    fn of(data: EventData) -> Token {
        let ix = (data.u64() >> 2) as usize;
        match data.u64() & 3 {
            0 => Token::Listener,
            1 => Token::Client(ix),
            _ => Token::Origin(ix),
        }
    }
}

fn watch(epoll: &OwnedFd, socket: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
    Ok(epoll::add(epoll, socket, token.data(), flags)?)
}

impl<'a> Ends<'a> {
    fn new(order: &Order, listener: &'a TcpListener) -> Result<Ends<'a>, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| Failure::Ours(error.into()))?;
        watch(&epoll, listener, Token::Listener, EventFlags::IN).map_err(Failure::Ours)?;
        Ok(Ends {
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
            listener,
            clients: Clients::new(order.scenario, order.front),
            origin: Origin::new(order.scenario).map_err(Failure::Ours)?,
        })
    }

    /// Until `least` is over and every client was served at least once.
    fn warm_up(&mut self, least: Duration) -> Result<(), Failure> {
        self.turn_for(least)?;
        let deadline = Instant::now() + STALL;
        while !self.clients.all_served() {
            if Instant::now() > deadline {
                return Err(Failure::Stalled);
            }
            self.turn()?;
        }
        Ok(())
    }

    fn turn_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            self.turn()?;
        }
        Ok(())
    }

    /// A bulk origin stops; what is under way arrives; both ends must then agree on the number of bytes.
    fn settle(&mut self) -> Result<(), Failure> {
        let Origin::Pour(pour) = &mut self.origin else {
            return Ok(());
        };
        pour.stop();
        let sent = pour.sent();
        self.clients.expect_end();
        let deadline = Instant::now() + STALL;
        while !self.clients.all_ended() {
            if Instant::now() > deadline {
                return Err(Failure::Stalled);
            }
            self.turn()?;
        }
        match self.clients.counted() {
            received if received == sent => Ok(()),
            received => Err(Failure::WrongCount { sent, received }),
        }
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let patience = Timespec { tv_sec: STALL.as_secs() as i64, tv_nsec: 0 };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&patience)) {
            Ok(0) => return Err(Failure::Stalled),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::Ours(error.into())),
        }
        for ix in 0..self.events.len() {
            let epoll::Event { flags, data } = self.events[ix];
            match Token::of(data) {
                Token::Listener => self.origin.accept(&self.epoll, self.listener).map_err(Failure::Ours)?,
                Token::Origin(ix) => self.origin.serve(ix, flags).map_err(Failure::Ours)?,
                Token::Client(ix) => {
                    self.clients.serve(&self.epoll, ix, flags)?;
                    if let Origin::Pour(pour) = &mut self.origin {
                        pour.grant(ix, self.clients.received(ix)).map_err(Failure::Ours)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::{Carrier, Relay};
    use clap::ValueEnum;
    use socket2::{Domain, Socket, Type};
    use std::io::{Read, Write};
    use std::thread;

    /// Traffic through a relay in this very process. A window opens only when every client has been served, so that
    /// there is a figure at all is the proof; how much came within the window depends on the machine.
    fn check(scenario: Scenario, carrier: Carrier) {
        let origin = listen().unwrap();
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        let behind = origin.local_addr().unwrap();
        // Ends with the test's process; until then it waits in epoll.
        thread::spawn(move || Relay::new(carrier, front, behind).unwrap().run());
        let order = Order {
            scenario,
            front: address,
            proxy: rustix::process::getpid(),
            layout: Layout { proxy_cpu: 0, load_cpu: 0 },
            warm_up: Duration::from_millis(10),
            window: Duration::from_millis(50),
        };
        let work = run(&order, &origin).unwrap_or_else(|failure| panic!("{scenario:?} {carrier:?}: {failure}"));
        assert_eq!(work.latencies.len() as u64, if scenario.is_timed() { work.counted } else { 0 });
    }

    #[test]
    fn every_scenario_passes_through_both_relays() {
        for scenario in Scenario::value_variants() {
            for carrier in [Carrier::Copy, Carrier::Splice] {
                check(*scenario, carrier);
            }
        }
    }

    /// Errors are answered fast: one that counted would be the best proxy of all.
    #[test]
    fn an_error_is_a_failure() {
        let origin = listen().unwrap();
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        // A proxy that has no origin. It ends with the connection of its only client.
        let proxy = thread::spawn(move || {
            let (mut client, _) = front.accept().unwrap();
            let mut request = [0; 4096];
            while client.read(&mut request).is_ok_and(|received| received > 0) {
                let answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 200\r\n\r\n";
                client.write_all(&[answer.as_slice(), &exchange::body(200)].concat()).unwrap();
            }
        });
        let order = Order {
            scenario: Scenario::RequestLatency,
            front: address,
            proxy: rustix::process::getpid(),
            layout: Layout { proxy_cpu: 0, load_cpu: 0 },
            warm_up: Duration::from_secs(60),
            window: Duration::from_millis(1),
        };
        let Err(failure) = run(&order, &origin) else { panic!("an error counted") };
        assert_eq!(failure.to_string(), "an answer began with \"HTTP/1.1 502 Bad Gateway\"");
        proxy.join().unwrap();
    }

    #[test]
    fn a_proxy_that_is_not_there_is_a_failure() {
        let origin = listen().unwrap();
        // Bound and never listening: nobody else can take the port meanwhile.
        let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let order = Order {
            scenario: Scenario::PingPong,
            front: nobody.local_addr().unwrap().as_socket().unwrap(),
            proxy: rustix::process::getpid(),
            layout: Layout { proxy_cpu: 0, load_cpu: 0 },
            warm_up: Duration::ZERO,
            window: Duration::from_millis(1),
        };
        assert!(matches!(run(&order, &origin), Err(Failure::Connect(_) | Failure::Broken(_))));
    }
}
