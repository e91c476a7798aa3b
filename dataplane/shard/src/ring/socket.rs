//! What the ring and the connections need of sockets beyond the verbs: making them, ending them, moving
//! bytes at once.

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Readable, or at its end, or broken: whatever makes a read worth trying.
pub const READABLE: PollFlags = PollFlags::IN.union(PollFlags::RDHUP);
pub const WRITABLE: PollFlags = PollFlags::OUT;

/// A socket address in the kernel's form.
#[derive(Debug)]
pub struct SocketAddress {
    inner: socket2::SockAddr,
}

impl SocketAddress {
    pub fn unix(path: &Path) -> io::Result<SocketAddress> {
        Ok(SocketAddress { inner: socket2::SockAddr::unix(path)? })
    }

    /// Valid while this value is neither moved nor dropped.
    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        self.inner.as_ptr().cast()
    }

    pub(super) fn len(&self) -> libc::socklen_t {
        self.inner.len()
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> SocketAddress {
        SocketAddress { inner: address.into() }
    }
}

/// A stream socket that can connect to `to`: close-on-exec, non-blocking, without Nagle's delay.
pub fn stream_for(to: &SocketAddress) -> Result<OwnedFd, Errno> {
    let family = AddressFamily::from_raw(to.inner.family());
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if family != AddressFamily::UNIX {
        net::sockopt::set_tcp_nodelay(&socket, true)?;
    }
    Ok(socket)
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Ip(SocketAddr),
    Unix,
    /// Gone before it could be asked.
    Unknown,
}

impl Peer {
    pub fn of(socket: BorrowedFd<'_>) -> Peer {
        match net::getpeername(socket) {
            Ok(Some(address)) => SocketAddr::try_from(address).map_or(Peer::Unix, |ip| Peer::Ip(unmapped(ip))),
            Ok(None) => Peer::Unix,
            Err(_) => Peer::Unknown,
        }
    }
}

/// An IPv4 client that came in by an IPv6 listener is an IPv4 client.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), address.port()),
            None => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// Sends what the socket takes at once. `WOULDBLOCK` means none.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// As [`send`], of two pieces in one call, so that they leave together without being copied together.
pub fn send_both(socket: BorrowedFd<'_>, first: &[u8], second: &[u8]) -> Result<usize, Errno> {
    match (first, second) {
        ([], only) | (only, []) => return send(socket, only),
        _ => {}
    }
    let pieces = [IoSlice::new(first), IoSlice::new(second)];
    loop {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match net::sendmsg(socket, &pieces, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// Receives what is there. `WOULDBLOCK` means nothing.
pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match net::recv(socket, &mut *into, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            outcome => return outcome.map(|(bytes, _)| bytes),
        }
    }
}

/// Reads and drops what is there, at most `limit` bytes. `Ok(true)`: the peer's end was read.
pub fn discard(socket: BorrowedFd<'_>, limit: usize) -> Result<bool, Errno> {
    let mut scratch = [0u8; 4096];
    let mut read = 0;
    while read < limit {
        match net::recv(socket, scratch.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(true),
            Ok((bytes, _)) => read += bytes,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether the socket is open and has nothing to say: no bytes, no end, no error.
pub fn is_quiet(socket: BorrowedFd<'_>) -> bool {
    loop {
        match net::recv(socket, &mut [0; 1][..], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Err(Errno::INTR) => {}
            outcome => return matches!(outcome, Err(Errno::WOULDBLOCK)),
        }
    }
}

/// Tells the peer that nothing more will come. A peer that is gone already needs no telling.
pub fn end_writing(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    match net::shutdown(socket, Shutdown::Write) {
        Err(Errno::NOTCONN) => Ok(()),
        outcome => outcome,
    }
}

/// Closing this socket will show the peer a reset: it must not take what it has for the whole.
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    // A Unix socket has no reset; it just closes.
    let _ = net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Bytes that were sent and that the peer's system does not have yet. 0 if that cannot be known.
pub fn unsent(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and TIOCOUTQ writes one `int` to where it is told.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Takes one connection that is queued at a listening socket, if there is one.
pub fn accept_queued(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    loop {
        match net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => return Ok(Some(socket)),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
