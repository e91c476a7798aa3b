//! An origin that has the same answer to every request.
//!
//! A request is over with the first empty line: it has no content, and no proxy sends a second one before the first is
//! answered (that one would stay without an answer, and its client fails the measurement).

use super::exchange::{self, HEAD_END, LAST_REQUEST};
use super::{Token, watch};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::fs::File;
use std::io::{self, Write};

/// Connections at a time. No scenario comes near; a proxy that opens more does something else than it was told.
const CONNECTIONS_MAX: usize = 4096;
/// One receive. Requests are far smaller, so one that fills it is none.
const BUFFER_BYTES: usize = 16 << 10;
/// Answers with content from here on are sent from a file in memory, so that they are not copied on the load's core;
/// for a shorter one that would cost more than the copy.
const FILE_BYTES_MIN: usize = 64 << 10;

pub struct Reply {
    answer: Source,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

/// Where the answer, head and content, is sent from.
enum Source {
    Memory(Vec<u8>),
    File { file: OwnedFd, bytes: usize },
}

struct Connection {
    socket: OwnedFd,
    /// The last bytes that came, to see an empty line however it comes.
    tail: [u8; HEAD_END.len()],
    /// Bytes of the answer that are still to be sent.
    unsent: usize,
    /// Ends with its answer.
    last: bool,
}

impl Reply {
    pub fn new(body_bytes: usize) -> io::Result<Reply> {
        let answer = exchange::answer(body_bytes);
        let answer = match body_bytes {
            FILE_BYTES_MIN.. => {
                let file = rustix::fs::memfd_create("answer", MemfdFlags::CLOEXEC)?;
                File::from(file.try_clone()?).write_all(&answer)?;
                Source::File { file, bytes: answer.len() }
            }
            _ => Source::Memory(answer),
        };
        Ok(Reply { answer, connections: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER_BYTES] })
    }

    pub fn add(&mut self, epoll: &OwnedFd, socket: OwnedFd) -> io::Result<()> {
        let ix = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if ix == CONNECTIONS_MAX {
            return Err(io::Error::other(format!("the proxy opened more than {CONNECTIONS_MAX} connections")));
        }
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        watch(epoll, &socket, Token::Origin(ix), flags)?;
        self.connections[ix] = Some(Connection { socket, tail: Default::default(), unsent: 0, last: false });
        Ok(())
    }

    pub fn serve(&mut self, ix: usize, flags: EventFlags) {
        let Some(connection) = &mut self.connections[ix] else {
            return;
        };
        let open = match flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            true => connection.hear(&mut self.buffer, &self.answer, flags.contains(EventFlags::RDHUP)),
            false => Ok(true),
        };
        match open.and_then(|open| Ok(open && connection.send(&self.answer)?)) {
            Ok(true) => {}
            // Ended, broken, or done with it.
            Ok(false) | Err(_) => {
                self.connections[ix] = None;
                self.free.push(ix);
            }
        }
    }
}

impl Source {
    fn bytes(&self) -> usize {
        match self {
            Source::Memory(answer) => answer.len(),
            Source::File { bytes, .. } => *bytes,
        }
    }
}

impl Connection {
    /// Takes what has come. Answers whether the connection goes on. `end_comes`: behind it, and no other edge will tell.
    fn hear(&mut self, buffer: &mut [u8], answer: &Source, end_comes: bool) -> rustix::io::Result<bool> {
        loop {
            let received = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(false),
                Ok((received, _)) => received,
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error),
            };
            for &byte in &buffer[received.saturating_sub(HEAD_END.len())..received] {
                self.tail.rotate_left(1);
                self.tail[HEAD_END.len() - 1] = byte;
            }
            if self.tail == HEAD_END && self.unsent == 0 {
                self.tail = Default::default();
                self.unsent = answer.bytes();
                // Nothing was changed of it, so it came through a floor, and it is the origin that must end. The origin
                // ends first, so that TIME_WAIT stays on a listening side.
                self.last = &buffer[..received] == LAST_REQUEST;
            }
            // Less than asked for: the socket was empty, and the next bytes make a new edge (epoll(7)).
            if received < buffer.len() && !end_comes {
                return Ok(true);
            }
        }
    }

    /// Sends as much of the answer as goes. Answers whether the connection goes on.
    fn send(&mut self, answer: &Source) -> rustix::io::Result<bool> {
        while self.unsent > 0 {
            let begin = answer.bytes() - self.unsent;
            let sent = match answer {
                Source::Memory(answer) => rustix::net::send(&self.socket, &answer[begin..], SendFlags::NOSIGNAL),
                Source::File { file, .. } => {
                    rustix::fs::sendfile(&self.socket, file, Some(&mut (begin as u64)), self.unsent)
                }
            };
            match sent {
                Ok(sent) => self.unsent -= sent,
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(!self.last)
    }
}
