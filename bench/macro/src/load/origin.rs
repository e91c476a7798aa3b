//! The far end: what the proxy connects to. It sends back what comes ([`Echo`]), sends in bulk ([`Pour`]) or answers
//! requests ([`Reply`]).
//!
//! It never judges: the clients see the same and are the witnesses.

use super::echo::Echo;
use super::pour::Pour;
use super::reply::Reply;
use crate::scenario::Scenario;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

const BACKLOG: i32 = 1024;

/// Where a proxy finds its origin: a new port for each measurement, so that none meets what the one before
/// left in TIME_WAIT.
pub fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

pub enum Origin {
    Echo(Echo),
    Pour(Pour),
    Reply(Reply),
}

impl Origin {
    pub fn new(scenario: Scenario) -> io::Result<Origin> {
        Ok(match (scenario.body_bytes(), scenario) {
            (Some(body_bytes), _) => Origin::Reply(Reply::new(body_bytes)?),
            (None, Scenario::Bulk) => Origin::Pour(Pour::new(scenario.connections())?),
            (None, Scenario::Churn) => Origin::Echo(Echo::once()),
            (None, _) => Origin::Echo(Echo::for_ever()),
        })
    }

    /// Takes every connection that waits.
    pub fn accept(&mut self, epoll: &OwnedFd, listener: &TcpListener) -> io::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            match self {
                Origin::Echo(echo) => echo.add(epoll, socket)?,
                Origin::Pour(pour) => pour.add(epoll, socket)?,
                Origin::Reply(reply) => reply.add(epoll, socket)?,
            }
        }
    }

    pub fn serve(&mut self, ix: usize, flags: EventFlags) -> io::Result<()> {
        match self {
            Origin::Echo(echo) => {
                echo.serve(ix);
                Ok(())
            }
            Origin::Pour(pour) => pour.serve(ix, flags),
            Origin::Reply(reply) => {
                reply.serve(ix, flags);
                Ok(())
            }
        }
    }
}
