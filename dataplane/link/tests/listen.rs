//! Listening sockets against the real kernel, on loopback: who gets in when, and that nobody is lost.
//!
//! "Did not get in" is never concluded from a pause: the kernel counts segments that a socket's filter
//! dropped, and the tests wait for that count to rise.

use link::listen::{
    BindAddress, BindErrorKind, ListenGroup, ListenSocket, Registry, bind, pending_handshakes,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Clients get their own ports on 127.0.0.1, so none of theirs is in the way of a port that is bound again.
const IPV4: &str = "127.77.0.1:0";
const IPV6: &str = "[::1]:0";
const BACKLOG: u32 = 1024;
/// A SYN is sent again after 1, 3 and 7 seconds.
const DEADLINE: Duration = Duration::from_secs(20);

// ── A new address ──────────────────────────────────────────────────────────────────────────────────────

fn nobody_gets_in_before_open(address: &str) {
    let (group, address) = bound(address, &[0, 1]);
    let client = connecting(address);
    wait_until("a SYN is dropped", || syns_dropped(&group) > 0);
    assert!(
        !is_ready(client.as_fd(), PollFlags::OUT),
        "connected through the filter"
    );
    assert_eq!(queued(&group), [0, 0]);

    group.open().unwrap();
    // Not refused and not reset: the SYN comes again and is answered.
    connected(&client);
    let stream = accept_from_any(&group);
    exchange(client, stream);
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn nobody_gets_in_before_open_ipv4() {
    nobody_gets_in_before_open(IPV4);
}

#[test]
fn nobody_gets_in_before_open_ipv6() {
    nobody_gets_in_before_open(IPV6);
}

#[test]
fn one_shard_can_open_for_itself() {
    let (group, address) = bound(IPV4, &[0, 1]);
    let (first, second) = (group.socket(0).unwrap(), group.socket(1).unwrap());
    first.open().unwrap();
    first.open().unwrap();
    // The kernel hashes: enough attempts reach both.
    let clients: Vec<_> = (0..64).map(|_| connecting(address)).collect();
    wait_until("a SYN is dropped by the shard that is not open", || {
        drops(second) > 0
    });
    wait_until("others came in", || first.accept_queue_len().unwrap() > 0);
    assert_eq!(second.accept_queue_len().unwrap(), 0);
    drop(clients);
}

#[test]
fn sockets_come_with_their_options() {
    let (group, address) = bound(IPV4, &[0]);
    let socket = socket2::SockRef::from(&**group.socket(0).unwrap());
    assert!(
        rustix::io::fcntl_getfd(&*socket)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    assert!(socket.nonblocking().unwrap());
    group.open().unwrap();
    assert_eq!(
        accept(group.socket(0).unwrap()).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    let _client = TcpStream::connect(address).unwrap();
    let accepted = accept_from_any(&group);
    assert!(
        accepted.tcp_nodelay().unwrap(),
        "inherited from the listener"
    );
}

#[test]
fn port_zero_is_one_port_for_the_group() {
    for asked in [IPV4, IPV6] {
        let (group, address) = bound(asked, &[0, 1, 2, 3]);
        assert_ne!(address.port(), 0);
        for shard in group.shards() {
            let socket = socket2::SockRef::from(&**group.socket(shard).unwrap());
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
        }
        assert!(group.socket(4).is_none());
    }
}

#[test]
fn an_ipv6_wildcard_leaves_ipv4_alone() {
    let (group, _) = bound("[::]:0", &[0, 1]);
    for shard in group.shards() {
        assert!(
            socket2::SockRef::from(&**group.socket(shard).unwrap())
                .only_v6()
                .unwrap()
        );
    }
}

// ── Addresses that cannot be had ───────────────────────────────────────────────────────────────────────

fn refused(address: &BindAddress, kind: BindErrorKind, says: &str) {
    let error = bind(address, &[0, 1], BACKLOG).expect_err("bound");
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!(&error.address, address);
    let text = error.to_string();
    assert!(
        text.contains(says) && text.contains(&address.to_string()),
        "{text}"
    );
}

#[test]
fn a_port_of_a_plain_socket_is_in_use() {
    let other = TcpListener::bind(IPV4).unwrap();
    refused(
        &BindAddress::Ip(other.local_addr().unwrap()),
        BindErrorKind::InUse,
        "in use",
    );
}

/// The trap of `SO_REUSEPORT`: the kernel would let us in beside another process of the same user, and each
/// would get half of the connections.
#[test]
fn a_port_that_would_be_shared_silently_is_in_use() {
    let other = reuse_port_socket(IPV4.parse().unwrap());
    other.listen(1).unwrap();
    let taken = other.local_addr().unwrap().as_socket().unwrap();
    let _proof_that_the_kernel_shares = reuse_port_socket(taken);
    refused(&BindAddress::Ip(taken), BindErrorKind::InUse, "in use");
}

#[test]
fn a_port_of_our_own_is_in_use() {
    let (group, address) = bound(IPV4, &[0, 1]);
    refused(&BindAddress::Ip(address), BindErrorKind::InUse, "in use");
    // Leaving does not free it; closing does.
    group.open().unwrap();
    group.drop_syns().unwrap();
    refused(&BindAddress::Ip(address), BindErrorKind::InUse, "in use");
    drop(group);
    bind(&BindAddress::Ip(address), &[0, 1], BACKLOG).unwrap();
}

#[test]
fn an_address_of_no_interface_is_not_available() {
    // TEST-NET-1, RFC 5737.
    refused(
        &BindAddress::Ip("192.0.2.1:7000".parse().unwrap()),
        BindErrorKind::NotAvailable,
        "no network interface",
    );
}

#[test]
fn a_port_with_old_connections_can_be_bound_again() {
    let (group, address) = bound(IPV4, &[0, 1]);
    group.open().unwrap();
    let mut ended = TcpStream::connect(address).unwrap();
    // We close first, so that our side goes to TIME_WAIT.
    drop(accept_from_any(&group));
    assert_eq!(ended.read(&mut [0; 1]).unwrap(), 0);
    let live = TcpStream::connect(address).unwrap();
    let accepted = accept_from_any(&group);
    drop(group);
    drop(ended);

    let again = bind(&BindAddress::Ip(address), &[0, 1], BACKLOG).unwrap();
    again.open().unwrap();
    let client = TcpStream::connect(address).unwrap();
    exchange(client.into(), accept_from_any(&again));
    exchange(live.into(), accepted);
}

// ── An address that leaves ─────────────────────────────────────────────────────────────────────────────

fn queued_connections_survive_leaving(address: &str) {
    const QUEUED: usize = 50;
    let (group, address) = bound(address, &[0, 1]);
    group.open().unwrap();
    let clients: Vec<_> = (0..QUEUED)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    group.drop_syns().unwrap();

    let late = connecting(address);
    wait_until("a SYN is dropped", || syns_dropped(&group) > 0);
    assert!(
        !is_ready(late.as_fd(), PollFlags::OUT),
        "connected although the address leaves"
    );
    assert_eq!(queued(&group).iter().sum::<u32>(), QUEUED as u32);
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);

    for _ in 0..QUEUED {
        let mut accepted = accept_from_any(&group);
        accepted.write_all(b"served").unwrap();
    }
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "served");
    }
    assert_eq!(queued(&group), [0, 0]);

    // The client that came too late is refused once the sockets are gone, not left hanging.
    drop(group);
    assert_eq!(
        outcome(&late).unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
}

#[test]
fn queued_connections_survive_leaving_ipv4() {
    queued_connections_survive_leaving(IPV4);
}

#[test]
fn queued_connections_survive_leaving_ipv6() {
    queued_connections_survive_leaving(IPV6);
}

fn a_handshake_that_has_begun_completes(address: &str, wildcard: &str) {
    let (group, bound_at) = bound(address, &[0, 1]);
    group.open().unwrap();
    let wildcard = BindAddress::Ip(SocketAddr::new(wildcard.parse().unwrap(), bound_at.port()));
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);

    // A client that does not hear the SYN-ACK.
    let client = unconnected(bound_at);
    client
        .attach_filter(&[SockFilter::new(
            (libc::BPF_RET | libc::BPF_K) as u16,
            0,
            0,
            0,
        )])
        .unwrap();
    start_connecting(&client, bound_at);
    wait_until("a handshake is pending", || {
        pending_handshakes(group.local_addr()).unwrap() == 1
    });
    assert_eq!(pending_handshakes(&wildcard).unwrap(), 1);
    assert_eq!(queued(&group), [0, 0]);

    group.drop_syns().unwrap();
    client.detach_filter().unwrap();
    // The SYN-ACK comes again; the client's own SYN, too, and is dropped.
    connected(&client);
    let accepted = accept_from_any(&group);
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);
    exchange(client, accepted);
}

#[test]
fn a_handshake_that_has_begun_completes_ipv4() {
    a_handshake_that_has_begun_completes(IPV4, "0.0.0.0");
}

#[test]
fn a_handshake_that_has_begun_completes_ipv6() {
    a_handshake_that_has_begun_completes(IPV6, "::");
}

#[test]
fn an_address_that_leaves_is_opened_again_on_purpose_only() {
    let (group, address) = bound(IPV4, &[0]);
    group.open().unwrap();
    group.drop_syns().unwrap();
    // A shard that commits late must not undo what came after.
    group.open().unwrap();
    let client = connecting(address);
    wait_until("a SYN is dropped", || syns_dropped(&group) > 0);
    group.socket(0).unwrap().open().unwrap();
    connected(&client);
}

// ── Steering ───────────────────────────────────────────────────────────────────────────────────────────

fn steering_reaches_only_the_living(address: &str) {
    let (group, address) = bound(address, &[4, 7, 9]);
    group.open().unwrap();
    let per_socket = |live: Option<u64>| {
        if let Some(live) = live {
            group.steer(live).unwrap();
        }
        let clients: Vec<_> = (0..60)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let counts = queued(&group);
        clients.iter().for_each(|_| drop(accept_from_any(&group)));
        counts
    };
    // By chance one of three gets none of 60 once in 10^10 runs.
    let all_get_some =
        |counts: Vec<u32>| assert!(counts.iter().all(|count| *count > 0), "{counts:?}");

    all_get_some(per_socket(None));
    assert_eq!(per_socket(Some(1 << 7)), [0, 60, 0]);
    let two = per_socket(Some(1 << 4 | 1 << 9));
    assert!(two[0] > 0 && two[1] == 0 && two[2] > 0, "{two:?}");
    assert_eq!(per_socket(Some(1 << 4)), [60, 0, 0]);
    // Nobody of the group lives: stays as it was.
    assert_eq!(per_socket(Some(1 << 1)), [60, 0, 0]);
    all_get_some(per_socket(Some(u64::MAX)));
    all_get_some(per_socket(Some(u64::MAX)));
}

#[test]
fn steering_reaches_only_the_living_ipv4() {
    steering_reaches_only_the_living(IPV4);
}

#[test]
fn steering_reaches_only_the_living_ipv6() {
    steering_reaches_only_the_living(IPV6);
}

#[test]
fn steering_leaves_alone_what_is_queued() {
    let (group, address) = bound(IPV4, &[0, 1]);
    group.open().unwrap();
    group.steer(1 << 0).unwrap();
    let clients: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    group.steer(1 << 1).unwrap();
    assert_eq!(queued(&group), [10, 0]);
    for client in clients {
        exchange(client.into(), accept(group.socket(0).unwrap()).unwrap());
    }
}

// ── Unix sockets ───────────────────────────────────────────────────────────────────────────────────────

fn unix(path: &Path) -> BindAddress {
    BindAddress::Unix {
        path: path.to_owned(),
        mode: 0o660,
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_unix_socket_appears_at_open_and_vanishes_on_leaving() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let group = bind(&unix(&path), &[0, 1], BACKLOG).unwrap();
    assert!(!path.exists());
    group.open().unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o660);
    assert_eq!(names_in(folder.path()), ["web.sock"]);

    let clients: Vec<_> = (0..50)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    assert_eq!(group.socket(0).unwrap().accept_queue_len().unwrap(), 1);
    group.drop_syns().unwrap();
    assert_eq!(
        UnixStream::connect(&path).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);
    for (ix, client) in clients.into_iter().enumerate() {
        // All shards take from one queue.
        let accepted = accept(group.socket(ix as u16 % 2).unwrap()).unwrap();
        exchange(Socket::from(client), accepted);
    }
    assert_eq!(group.socket(0).unwrap().accept_queue_len().unwrap(), 0);

    group.open().unwrap();
    assert!(!path.exists(), "a late Commit opens nothing");
    group.socket(0).unwrap().open().unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(group);
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn an_abandoned_bind_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    drop(bind(&unix(&folder.path().join("web.sock")), &[0], BACKLOG).unwrap());
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_stale_socket_file_is_replaced_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    drop(UnixListener::bind(&path).unwrap());
    let group = bind(&unix(&path), &[0], BACKLOG).unwrap();
    assert_eq!(
        UnixStream::connect(&path).unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
    group.open().unwrap();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_live_socket_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let _live = UnixListener::bind(&path).unwrap();
    refused(
        &unix(&path),
        BindErrorKind::InUse,
        "another process listens",
    );
    assert_eq!(names_in(folder.path()), ["web.sock"]);
}

#[test]
fn a_live_socket_whose_queue_is_full_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    busy.listen(0).unwrap();
    let _fills_the_queue = UnixStream::connect(&path).unwrap();
    refused(
        &unix(&path),
        BindErrorKind::InUse,
        "another process listens",
    );
}

#[test]
fn what_is_not_a_socket_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    std::fs::write(&path, "precious").unwrap();
    refused(&unix(&path), BindErrorKind::NotASocket, "not a socket");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    refused(&unix(&path), BindErrorKind::NotASocket, "not a socket");
}

#[test]
fn a_file_that_somebody_put_in_our_place_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    for leave_first in [true, false] {
        let group = bind(&unix(&path), &[0], BACKLOG).unwrap();
        group.open().unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        if leave_first {
            group.drop_syns().unwrap();
        }
        drop(group);
        assert!(
            UnixStream::connect(&path).is_ok(),
            "leave_first: {leave_first}"
        );
        drop(theirs);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_socket_file_needs_a_folder_and_a_short_name() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        &unix(&folder.path().join("missing/web.sock")),
        BindErrorKind::NotAvailable,
        "folder does not exist",
    );
    refused(
        &unix(&folder.path().join("x".repeat(120))),
        BindErrorKind::PathTooLong,
        "at most",
    );
}

// ── The registry ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_registry_lends_and_the_last_borrower_closes() {
    let registry = Registry::new();
    let (group, address) = bound(IPV4, &[0, 1]);
    registry.insert(3, group).open().unwrap();
    let lent = registry.socket(3, 1).unwrap();
    assert!(registry.socket(3, 2).is_none());
    assert!(registry.socket(4, 1).is_none());
    assert!(registry.steer_all(1 << 1).is_empty());
    let client = TcpStream::connect(address).unwrap();

    assert!(registry.remove(3).is_some());
    assert!(registry.group(3).is_none());
    exchange(
        client.into(),
        accept(&lent).expect("the borrowed socket is open still"),
    );
    drop(lent);
    assert_eq!(
        TcpStream::connect(address).unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
}

#[test]
fn a_listener_slot_has_one_address() {
    let registry = Registry::new();
    registry.insert(0, bound(IPV4, &[0]).0);
    let second = bound(IPV4, &[0]).0;
    let twice =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| registry.insert(0, second)));
    assert!(twice.is_err());
    assert!(registry.group(0).is_some(), "the registry works on");
}

// ── Helpers ────────────────────────────────────────────────────────────────────────────────────────────

fn bound(address: &str, shards: &[u16]) -> (ListenGroup, SocketAddr) {
    let group = bind(&BindAddress::Ip(address.parse().unwrap()), shards, BACKLOG).unwrap();
    let BindAddress::Ip(address) = *group.local_addr() else {
        unreachable!()
    };
    (group, address)
}

fn reuse_port_socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

fn unconnected(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn start_connecting(socket: &Socket, address: SocketAddr) {
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}"),
    }
}

fn connecting(address: SocketAddr) -> Socket {
    let socket = unconnected(address);
    start_connecting(&socket, address);
    socket
}

/// How a non-blocking connect ended.
fn outcome(client: &Socket) -> io::Result<()> {
    wait_ready(client.as_fd(), PollFlags::OUT);
    client.take_error().unwrap().map_or(Ok(()), Err)
}

fn connected(client: &Socket) {
    outcome(client).expect("the connect must succeed");
}

fn accept(socket: &ListenSocket) -> io::Result<Socket> {
    let (accepted, _) = socket2::SockRef::from(socket).accept()?;
    accepted.set_nonblocking(false)?;
    Ok(accepted)
}

/// The next connection of whichever socket has one.
fn accept_from_any(group: &ListenGroup) -> Socket {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let sockets: Vec<_> = group
            .shards()
            .map(|shard| group.socket(shard).unwrap())
            .collect();
        for socket in &sockets {
            if let Ok(accepted) = accept(socket) {
                return accepted;
            }
        }
        let mut polled: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        poll(
            &mut polled,
            Some(&left_until(deadline, "a connection to accept")),
        )
        .unwrap();
    }
}

/// Bytes both ways and an end both ways.
fn exchange(mut client: Socket, mut server: Socket) {
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
fn queued(group: &ListenGroup) -> Vec<u32> {
    group
        .shards()
        .map(|shard| group.socket(shard).unwrap().accept_queue_len().unwrap())
        .collect()
}

fn syns_dropped(group: &ListenGroup) -> u32 {
    group
        .shards()
        .map(|shard| drops(group.socket(shard).unwrap()))
        .sum()
}

/// Segments that the kernel dropped at this socket, its filter's doing included.
fn drops(socket: &ListenSocket) -> u32 {
    /// From linux/sock_diag.h.
    const SK_MEMINFO_DROPS: usize = 8;
    const SO_MEMINFO: libc::c_int = 55;
    let mut info = [0u32; 9];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` has room for `len` bytes and the kernel writes at most that many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    assert_eq!(len as usize, size_of_val(&info));
    info[SK_MEMINFO_DROPS]
}

fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&fd, events)], Some(&at_once)).unwrap() > 0
}

fn wait_ready(fd: BorrowedFd<'_>, events: PollFlags) {
    let ready = poll(
        &mut [PollFd::new(&fd, events)],
        Some(&left_until(Instant::now() + DEADLINE, "")),
    )
    .unwrap();
    assert!(ready > 0, "nothing happened within {DEADLINE:?}");
}

fn left_until(deadline: Instant, what: &str) -> Timespec {
    let left = deadline
        .checked_duration_since(Instant::now())
        .unwrap_or_else(|| panic!("{what}: past the deadline"));
    left.try_into().unwrap()
}

/// For events that no descriptor announces.
fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}
