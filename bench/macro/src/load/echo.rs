//! An origin that sends back what comes.

use super::{Token, message, watch};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::io;

/// Connections at a time. No scenario comes near; a proxy that opens more does something else than it was told.
const CONNECTIONS_MAX: usize = 4096;
/// One receive. Messages are far smaller.
const BUFFER_BYTES: usize = 16 << 10;

pub struct Echo {
    /// Ends a connection after its first message. The origin ends first, so that TIME_WAIT stays on listening
    /// sides and neither client nor proxy runs out of ports.
    once: bool,
    connections: Vec<Option<OwnedFd>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

impl Echo {
    pub fn for_ever() -> Echo {
        Echo { once: false, connections: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER_BYTES] }
    }

    pub fn once() -> Echo {
        // Not one byte more than a message is ever read, so a second one would be seen: as a reset.
        Echo { once: true, buffer: vec![0; message::BYTES], ..Echo::for_ever() }
    }

    pub fn add(&mut self, epoll: &OwnedFd, socket: OwnedFd) -> io::Result<()> {
        let ix = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if ix == CONNECTIONS_MAX {
            return Err(io::Error::other(format!("the proxy opened more than {CONNECTIONS_MAX} connections")));
        }
        watch(epoll, &socket, Token::Origin(ix), EventFlags::IN)?;
        self.connections[ix] = Some(socket);
        Ok(())
    }

    pub fn serve(&mut self, ix: usize) {
        let Some(socket) = &self.connections[ix] else {
            return;
        };
        match echo(socket, &mut self.buffer) {
            Ok(true) if !self.once => {}
            Err(Errno::AGAIN) => {}
            // Ended, broken, or done with it.
            Ok(_) | Err(_) => {
                self.connections[ix] = None;
                self.free.push(ix);
            }
        }
    }
}

/// Answers whether something came; nothing comes at the end.
fn echo(socket: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<bool> {
    let (received, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?;
    if received == 0 {
        return Ok(false);
    }
    // A message is so small beside a send buffer that it goes at once, or the connection is broken.
    rustix::net::send(socket, &buffer[..received], SendFlags::NOSIGNAL)?;
    Ok(true)
}
