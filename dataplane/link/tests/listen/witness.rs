//! Clients, waiting for events, and what the kernel says about a socket.

use link::listen::{BindAddress, ListenGroup, ListenSocket, bind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Clients get their own ports on 127.0.0.1, so none of theirs is in the way of a port that is bound again.
pub(crate) const IPV4: &str = "127.77.0.1:0";
pub(crate) const IPV6: &str = "[::1]:0";
pub(crate) const BACKLOG: u32 = 1024;
/// A SYN is sent again after 1, 3 and 7 seconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn bound(address: &str, shards: &[u16]) -> (ListenGroup, SocketAddr) {
    let group = bind(&BindAddress::Ip(address.parse().unwrap()), shards, BACKLOG).unwrap();
    let BindAddress::Ip(address) = *group.local_addr() else { unreachable!() };
    (group, address)
}

pub(crate) fn reuse_port_socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

pub(crate) fn unconnected(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

pub(crate) fn start_connecting(socket: &Socket, address: SocketAddr) {
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}"),
    }
}

pub(crate) fn connecting(address: SocketAddr) -> Socket {
    let socket = unconnected(address);
    start_connecting(&socket, address);
    socket
}

/// How a non-blocking connect ended.
pub(crate) fn outcome(client: &Socket) -> io::Result<()> {
    wait_ready(client.as_fd(), PollFlags::OUT);
    client.take_error().unwrap().map_or(Ok(()), Err)
}

pub(crate) fn connected(client: &Socket) {
    outcome(client).expect("the connect must succeed");
}

pub(crate) fn accept(socket: &ListenSocket) -> io::Result<Socket> {
    let (accepted, _) = socket2::SockRef::from(socket).accept()?;
    accepted.set_nonblocking(false)?;
    Ok(accepted)
}

/// The next connection of whichever socket has one.
pub(crate) fn accept_from_any(group: &ListenGroup) -> Socket {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let sockets: Vec<_> = group.shards().map(|shard| group.socket(shard).unwrap()).collect();
        for socket in &sockets {
            if let Ok(accepted) = accept(socket) {
                return accepted;
            }
        }
        let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        poll(&mut polled, Some(&left_until(deadline, "a connection to accept"))).unwrap();
    }
}

/// Bytes both ways and an end both ways.
pub(crate) fn exchange(mut client: Socket, mut server: Socket) {
    client.set_nonblocking(false).unwrap();
    client.write_all(b"ping").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "ping");
    server.write_all(b"pong").unwrap();
    drop(server);
    heard.clear();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "pong");
}

/// Accept queues, in the order of the group's shards.
pub(crate) fn queued(group: &ListenGroup) -> Vec<u32> {
    group.shards().map(|shard| group.socket(shard).unwrap().accept_queue_len().unwrap()).collect()
}

pub(crate) fn syns_dropped(group: &ListenGroup) -> u32 {
    group.shards().map(|shard| drops(group.socket(shard).unwrap())).sum()
}

/// Segments that the kernel dropped at this socket, its filter's doing included.
pub(crate) fn drops(socket: &ListenSocket) -> u32 {
    /// From linux/sock_diag.h.
    const SK_MEMINFO_DROPS: usize = 8;
    const SO_MEMINFO: libc::c_int = 55;
    let mut info = [0u32; 9];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` has room for `len` bytes and the kernel writes at most that many.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    assert_eq!(len as usize, size_of_val(&info));
    info[SK_MEMINFO_DROPS]
}

pub(crate) fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, events)], Some(&at_once)).unwrap() > 0
}

pub(crate) fn wait_ready(fd: BorrowedFd<'_>, events: PollFlags) {
    let ready = poll(&mut [PollFd::new(&fd, events)], Some(&left_until(Instant::now() + DEADLINE, ""))).unwrap();
    assert!(ready > 0, "nothing happened within {DEADLINE:?}");
}

pub(crate) fn left_until(deadline: Instant, what: &str) -> Timespec {
    let left = deadline.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("{what}: past the deadline"));
    left.try_into().unwrap()
}

/// For events that no descriptor announces.
pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}
