//! The far end: what the proxy connects to.
//!
//! It never judges. A connection that ends or breaks is put away, because the clients see the same and are
//! the witnesses; and the proxy's start was probed with a connection that says nothing.

use super::{Token, watch};
use crate::scenario::{MESSAGE_BYTES, Scenario};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Connections at a time; one more is our own mistake, since [`Scenario::connections`] says how many come.
const CONNECTIONS_MAX: usize = 4096;
const BACKLOG: i32 = 1024;
/// One send of a bulk transfer. Small enough to stay in the second-level cache.
const POUR_BYTES: usize = 256 << 10;

/// Where a proxy finds its origin: a new port for each measurement, so that no measurement meets what the
/// one before left in TIME_WAIT.
pub fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

pub struct Origin<'a> {
    listener: &'a TcpListener,
    manner: Manner,
    connections: Vec<Option<OwnedFd>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    sent: u64,
}

enum Manner {
    /// Sends for as long as it is let.
    Pour,
    /// Sends back what comes.
    Echo,
    /// Sends back one message and ends the connection. The origin ends first, so that TIME_WAIT stays on
    /// listening sides and neither client nor proxy runs out of ports.
    EchoOnce,
}

impl<'a> Origin<'a> {
    pub fn new(scenario: Scenario, listener: &'a TcpListener) -> Origin<'a> {
        let manner = match scenario {
            Scenario::Bulk => Manner::Pour,
            Scenario::PingPong | Scenario::Latency => Manner::Echo,
            Scenario::Churn => Manner::EchoOnce,
        };
        Origin {
            listener,
            manner,
            connections: Vec::new(),
            free: Vec::new(),
            buffer: vec![0x5a; POUR_BYTES],
            sent: 0,
        }
    }

    /// Bytes handed to the kernel for sending.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn accept(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(
                self.listener,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            ) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let ix = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            if ix == CONNECTIONS_MAX {
                return Err(io::Error::other(format!(
                    "the proxy opened more than {CONNECTIONS_MAX} connections"
                )));
            }
            let flags = match self.manner {
                Manner::Pour => EventFlags::OUT,
                Manner::Echo | Manner::EchoOnce => EventFlags::IN,
            };
            watch(epoll, &socket, Token::Origin(ix), flags)?;
            self.connections[ix] = Some(socket);
        }
    }

    pub fn serve(&mut self, ix: usize) -> io::Result<()> {
        // Closed by `stop` after the event was reported.
        let Some(socket) = &self.connections[ix] else {
            return Ok(());
        };
        let goes_on = match self.manner {
            Manner::Pour => pour(socket, &self.buffer),
            Manner::Echo => echo(socket, &mut self.buffer),
            // Not one read more than the message, so that nothing unread turns the end into a reset.
            Manner::EchoOnce => echo(socket, &mut self.buffer[..MESSAGE_BYTES]),
        };
        match (goes_on, &self.manner) {
            (Ok(sent), Manner::Pour | Manner::Echo) if sent > 0 => self.sent += sent as u64,
            (Err(Errno::AGAIN), _) => {}
            _ => {
                self.connections[ix] = None;
                self.free.push(ix);
            }
        }
        Ok(())
    }

    /// Ends every connection; what was handed to the kernel still goes out first.
    pub fn stop(&mut self) {
        self.connections
            .iter_mut()
            .for_each(|connection| *connection = None);
    }
}

fn pour(socket: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)
}

/// The number of bytes sent back; 0 at the end.
fn echo(socket: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let (received, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?;
    // A message is so small beside a send buffer that it goes at once or the connection is broken.
    if received == 0 {
        Ok(0)
    } else {
        rustix::net::send(socket, &buffer[..received], SendFlags::NOSIGNAL)
    }
}
