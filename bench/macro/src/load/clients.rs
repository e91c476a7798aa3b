//! The near end: clients that count what they get and hold the proxy to it.

use super::answer::Reading;
use super::exchange::{self, LAST_REQUEST, REQUEST};
use super::message::{self, message};
use super::{Failure, Token, watch};
use crate::scenario::Scenario;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::time::Instant;

/// One receive of a bulk transfer. The kernel throws the bytes away, so it may be large.
const DISCARD_BYTES: usize = 1 << 20;
/// The first receive of an answer: what comes with it is compared byte by byte, and an answer of 16 KiB is whole. Of a
/// longer one the kernel throws the rest away, as in a bulk transfer.
const ANSWER_BYTES: usize = 20 << 10;
/// Round trips whose time is kept; a window with more keeps the first ones. 40 s at 10 µs each.
const LATENCIES_MAX: usize = 4 << 20;

pub struct Clients {
    scenario: Scenario,
    front: SocketAddr,
    clients: Vec<Client>,
    counted: u64,
    buffer: Vec<u8>,
    latencies: Vec<u32>,
    ends_expected: bool,
    /// Content of the answers; nothing where nobody speaks HTTP.
    body: Vec<u8>,
}

struct Client {
    /// `None`: ended, as it should.
    socket: Option<OwnedFd>,
    /// Of its last message.
    number: u64,
    sent_at: Instant,
    /// Bytes of the answer that are still to come; `message::BYTES` before a connection is up.
    awaited: usize,
    /// Of the answer, where HTTP is spoken.
    reading: Reading,
    /// The message or request could not be sent at once because the connection was not up.
    unsent: bool,
    served: bool,
    /// Bytes of a bulk stream.
    received: u64,
}

impl Clients {
    pub fn new(scenario: Scenario, front: SocketAddr) -> Clients {
        Clients {
            scenario,
            front,
            clients: Vec::new(),
            counted: 0,
            buffer: vec![0; DISCARD_BYTES],
            latencies: Vec::new(),
            ends_expected: false,
            body: exchange::body(scenario.body_bytes().unwrap_or(0)),
        }
    }

    pub fn open(&mut self, epoll: &OwnedFd) -> Result<(), Failure> {
        for ix in 0..self.scenario.connections() {
            self.clients.push(Client {
                socket: None,
                number: ix as u64,
                sent_at: Instant::now(),
                awaited: 0,
                reading: Reading::new(),
                unsent: false,
                served: false,
                received: 0,
            });
            self.connect(epoll, ix)?;
        }
        Ok(())
    }

    /// See [`Scenario::counts`]; since the clients were opened.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// Bytes that one client of a bulk transfer has had.
    pub fn received(&self, ix: usize) -> u64 {
        self.clients[ix].received
    }

    pub fn all_served(&self) -> bool {
        self.clients.iter().all(|client| client.served)
    }

    pub fn all_ended(&self) -> bool {
        self.clients.iter().all(|client| client.socket.is_none())
    }

    /// The window begins: what was timed until now was warm-up.
    pub fn begin(&mut self) {
        self.latencies.clear();
    }

    pub fn take_latencies(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.latencies)
    }

    /// From now on the end of a connection is what should come.
    pub fn expect_end(&mut self) {
        self.ends_expected = true;
    }

    pub fn serve(&mut self, epoll: &OwnedFd, ix: usize, flags: EventFlags) -> Result<(), Failure> {
        if self.clients[ix].unsent && flags.contains(EventFlags::OUT) {
            self.send(epoll, ix)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            match self.scenario {
                Scenario::Bulk => self.discard(ix)?,
                Scenario::PingPong | Scenario::Latency => {
                    if self.hear(ix)? {
                        self.counted += 1;
                        self.send(epoll, ix)?;
                    }
                }
                Scenario::Churn => {
                    if self.clients[ix].awaited > 0 {
                        self.hear(ix)?;
                    } else if self.has_ended(ix)? {
                        self.counted += 1;
                        self.connect(epoll, ix)?;
                    }
                }
                Scenario::KeepAlive | Scenario::RequestLatency => {
                    if self.read_answer(ix)? {
                        self.counted += 1;
                        self.send(epoll, ix)?;
                    }
                }
                Scenario::Body16k | Scenario::Body64k | Scenario::Body1m => {
                    if self.read_answer(ix)? {
                        self.counted += self.body.len() as u64;
                        self.send(epoll, ix)?;
                    }
                }
                Scenario::OneRequest => {
                    if !self.clients[ix].reading.is_whole() {
                        self.read_answer(ix)?;
                    } else if self.has_ended(ix)? {
                        self.counted += 1;
                        self.connect(epoll, ix)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens a connection in place of the one before and speaks first, in bulk too: the question names the stream.
    fn connect(&mut self, epoll: &OwnedFd, ix: usize) -> Result<(), Failure> {
        let socket = Socket::new(Domain::for_address(self.front), Type::STREAM.nonblocking(), None)
            .and_then(|socket| socket.set_tcp_nodelay(true).map(|()| socket))
            .map_err(Failure::Ours)?;
        match rustix::net::connect(&socket, &self.front) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(Failure::Connect(error.into())),
        }
        watch(epoll, &socket, Token::Client(ix), EventFlags::IN).map_err(Failure::Ours)?;
        self.clients[ix].socket = Some(socket.into());
        self.send(epoll, ix)
    }

    fn send(&mut self, epoll: &OwnedFd, ix: usize) -> Result<(), Failure> {
        let client = &mut self.clients[ix];
        let Some(socket) = &client.socket else {
            return Ok(());
        };
        let was_unsent = client.unsent;
        client.awaited = message::BYTES;
        client.reading = Reading::new();
        if !was_unsent {
            client.number += 1;
        }
        if self.scenario.is_timed() {
            client.sent_at = Instant::now();
        }
        let own = message(ix, client.number);
        let said = match self.scenario {
            Scenario::Bulk | Scenario::PingPong | Scenario::Latency | Scenario::Churn => own.as_slice(),
            Scenario::OneRequest => LAST_REQUEST,
            Scenario::KeepAlive
            | Scenario::Body16k
            | Scenario::Body64k
            | Scenario::Body1m
            | Scenario::RequestLatency => REQUEST,
        };
        client.unsent = match rustix::net::send(socket, said, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == said.len() => false,
            // The handshake is still under way; on loopback it usually is not.
            Err(Errno::AGAIN) => true,
            Ok(_) => return Err(Failure::EndedEarly),
            Err(error) => return Err(Failure::Broken(error.into())),
        };
        if client.unsent != was_unsent {
            let out = if client.unsent { EventFlags::OUT } else { EventFlags::empty() };
            rustix::event::epoll::modify(epoll, socket, Token::Client(ix).data(), EventFlags::IN | out)
                .map_err(|error| Failure::Ours(error.into()))?;
        }
        Ok(())
    }

    /// Receives what there is of an answer. Answers whether it is whole.
    fn hear(&mut self, ix: usize) -> Result<bool, Failure> {
        let client = &mut self.clients[ix];
        let Some(socket) = &client.socket else {
            return Ok(false);
        };
        let had = message::BYTES - client.awaited;
        let received = match rustix::net::recv(socket, &mut self.buffer[..client.awaited], RecvFlags::empty()) {
            Ok((0, _)) => return Err(Failure::EndedEarly),
            Ok((received, _)) => received,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(Failure::Broken(error.into())),
        };
        if self.buffer[..received] != message(ix, client.number)[had..had + received] {
            return Err(Failure::WrongAnswer);
        }
        client.awaited -= received;
        if client.awaited > 0 {
            return Ok(false);
        }
        self.note_served(ix);
        Ok(true)
    }

    /// Receives what there is of an HTTP answer. Answers whether it is whole.
    fn read_answer(&mut self, ix: usize) -> Result<bool, Failure> {
        let Clients { clients, buffer, body, .. } = self;
        let Client { socket: Some(socket), reading, .. } = &mut clients[ix] else {
            return Ok(false);
        };
        let rest = reading.content_left(body);
        let received = match rest {
            None => rustix::net::recv(socket, &mut buffer[..ANSWER_BYTES], RecvFlags::empty()),
            // No more than is left, so that what comes behind an answer is seen.
            Some(left) => {
                let at_most = left.clamp(1, DISCARD_BYTES);
                rustix::net::recv(socket, &mut buffer[..at_most], RecvFlags::TRUNC)
            }
        };
        match (received, rest) {
            (Ok((_, 0)), _) => return Err(Failure::EndedEarly),
            (Ok((received, _)), None) => reading.feed(&buffer[..received], body).map_err(Failure::WrongReply)?,
            (Ok((_, received)), Some(_)) => reading.skip(received, body),
            (Err(Errno::AGAIN), _) => {}
            (Err(error), _) => return Err(Failure::Broken(error.into())),
        }
        let whole = reading.is_whole();
        if whole {
            self.note_served(ix);
        }
        Ok(whole)
    }

    /// A round trip is over.
    fn note_served(&mut self, ix: usize) {
        let client = &mut self.clients[ix];
        client.served = true;
        if self.scenario.is_timed() && self.latencies.len() < LATENCIES_MAX {
            self.latencies.push(client.sent_at.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
        }
    }

    /// After its answer a client whose connection ends with it waits for the end, and for nothing else.
    fn has_ended(&mut self, ix: usize) -> Result<bool, Failure> {
        let Some(socket) = &self.clients[ix].socket else {
            return Ok(false);
        };
        match rustix::net::recv(socket, &mut self.buffer[..1], RecvFlags::empty()) {
            Ok((0, _)) => Ok(true),
            Ok(_) => Err(Failure::WrongAnswer),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(Failure::Broken(error.into())),
        }
    }

    fn discard(&mut self, ix: usize) -> Result<(), Failure> {
        let client = &mut self.clients[ix];
        let Some(socket) = &client.socket else {
            return Ok(());
        };
        // TRUNC makes TCP drop the bytes without copying them: the client costs next to nothing.
        match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::TRUNC) {
            Ok((_, 0)) if self.ends_expected => client.socket = None,
            Ok((_, 0)) => return Err(Failure::EndedEarly),
            Ok((_, received)) => {
                self.counted += received as u64;
                client.received += received as u64;
                client.served = true;
            }
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(Failure::Broken(error.into())),
        }
        Ok(())
    }
}
