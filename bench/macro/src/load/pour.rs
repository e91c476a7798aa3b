//! An origin that sends in bulk, never further ahead of its client than a receive window would let it.
//!
//! ```text
//! stream:   accepted ──a message that says whose it is──> granted ──stop──> ended
//! ```

use super::{Token, message, watch};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::fs::File;
use std::io::{self, Write};

/// What a stream has under way between origin and client at most.
///
/// More than the windows in between let through would wait at the origin and go out when an acknowledgement
/// comes, in the time of whoever sends that: the proxy. See `bench/README.md` for what that did to the figures.
const AHEAD_MAX: u64 = 256 << 10;
/// One send.
const SEND_BYTES: u64 = 64 << 10;

pub struct Pour {
    /// In the order of their coming.
    streams: Vec<Stream>,
    /// Which stream is which client's.
    of_client: Vec<Option<usize>>,
    /// A file in memory: sent from there, the bytes are not copied on the load's core.
    bytes: OwnedFd,
}

struct Stream {
    /// `None`: ended.
    socket: Option<OwnedFd>,
    sent: u64,
    /// How many bytes the client lets be sent, from the first on; 0 until it has asked.
    granted: u64,
    /// Only EAGAIN takes it back.
    writable: bool,
}

impl Pour {
    pub fn new(clients: usize) -> io::Result<Pour> {
        let bytes = rustix::fs::memfd_create("bulk", MemfdFlags::CLOEXEC)?;
        File::from(bytes.try_clone()?).write_all(&[0x5a; SEND_BYTES as usize])?;
        Ok(Pour { streams: Vec::new(), of_client: vec![None; clients], bytes })
    }

    /// Bytes handed to the kernel for sending.
    pub fn sent(&self) -> u64 {
        self.streams.iter().map(|stream| stream.sent).sum()
    }

    pub fn add(&mut self, epoll: &OwnedFd, socket: OwnedFd) -> io::Result<()> {
        let ix = self.streams.len();
        if ix == self.of_client.len() {
            return Err(io::Error::other(format!("the proxy opened more than {ix} connections for {ix} clients")));
        }
        watch(epoll, &socket, Token::Origin(ix), EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
        self.streams.push(Stream { socket: Some(socket), sent: 0, granted: 0, writable: false });
        Ok(())
    }

    pub fn serve(&mut self, ix: usize, flags: EventFlags) -> io::Result<()> {
        let stream = &mut self.streams[ix];
        stream.writable |= flags.contains(EventFlags::OUT);
        if stream.granted == 0 && flags.contains(EventFlags::IN) {
            let Some(client) = stream.asked()? else {
                return Ok(());
            };
            let free = self.of_client.get_mut(client).filter(|stream| stream.is_none());
            *free.ok_or_else(|| io::Error::other(format!("client {client} asked twice or does not exist")))? = Some(ix);
            stream.granted = AHEAD_MAX;
        }
        stream.send(&self.bytes)
    }

    /// `client` has received so many bytes by now.
    pub fn grant(&mut self, client: usize, received: u64) -> io::Result<()> {
        let Some(ix) = self.of_client[client] else {
            return Ok(());
        };
        let stream = &mut self.streams[ix];
        stream.granted = received + AHEAD_MAX;
        stream.send(&self.bytes)
    }

    /// Ends every stream; what was handed to the kernel still goes out first.
    pub fn stop(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.socket = None);
    }
}

impl Stream {
    /// Whose stream this is, if the question has come.
    fn asked(&self) -> io::Result<Option<usize>> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        let mut question = [0; message::BYTES];
        match rustix::net::recv(socket, &mut question, RecvFlags::empty()) {
            Ok((message::BYTES, _)) => Ok(Some(message::client_of(&question))),
            Ok((received, _)) => Err(io::Error::other(format!("a question of {received} bytes reached the origin"))),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As much as is granted and goes, in whole sends.
    fn send(&mut self, bytes: &OwnedFd) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while self.writable && self.granted - self.sent >= SEND_BYTES {
            match rustix::fs::sendfile(socket, bytes, Some(&mut 0), SEND_BYTES as usize) {
                Ok(sent) => self.sent += sent as u64,
                Err(Errno::AGAIN) => self.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
