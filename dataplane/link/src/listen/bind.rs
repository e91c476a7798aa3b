//! Binding an address for several shards, behind its closed door, and saying what went wrong.
//!
//! `SO_REUSEPORT` has a trap: two processes of one user that both set it share an address silently, each
//! with half of the connections. So the group's first socket is bound *without* it, which the kernel refuses while
//! anybody has the address, and gets the option after; the others join then. From that moment another process of the same
//! user can still join us. A socket that is bound but does not listen yet is not seen by this check
//! (`SO_REUSEADDR`, which lets us start while connections of a former process are in TIME_WAIT, ignores it).

use super::{BindAddress, DoorKind, ListenGroup, ListenSocket, syn_filter, unix};
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Binds and listens for each of `shards`, with nobody let in: see [`ListenGroup::open`]. On an error
/// nothing is left behind.
///
/// `backlog`: complete connections that may wait per socket; the kernel cuts it to `net.core.somaxconn`.
///
/// Panics if `shards` is empty, names a shard twice or one above 63.
pub fn bind(address: &BindAddress, shards: &[u16], backlog: u32) -> Result<ListenGroup, BindError> {
    assert!(!shards.is_empty(), "{address}: a listener without shards");
    let mut seen = 0u64;
    for shard in shards {
        assert!(*shard < 64, "{address}: shard {shard}: at most 64 shards");
        assert!(seen >> shard & 1 == 0, "{address}: shard {shard} twice");
        seen |= 1 << shard;
    }
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    match address {
        BindAddress::Ip(ip) => bind_group(*ip, shards, backlog),
        BindAddress::Unix { path, mode } => {
            let socket = Arc::new(unix::bind(path, *mode, backlog)?);
            let sockets = shards.iter().map(|shard| (*shard, socket.clone())).collect();
            Ok(ListenGroup { address: address.clone(), sockets })
        }
    }
}

fn bind_group(asked: SocketAddr, shards: &[u16], backlog: i32) -> Result<ListenGroup, BindError> {
    let failed =
        |source: io::Error| BindError { address: BindAddress::Ip(asked), kind: BindErrorKind::of(&source), source };

    let first = unbound_socket(asked).map_err(failed)?;
    first.bind(&asked.into()).map_err(failed)?;
    first.set_reuse_port(true).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?;
    // Port 0 was chosen just now: the others ask for what the first one got.
    let address = bound.as_socket().expect("an IP socket has an IP address");

    let mut sockets = Vec::with_capacity(shards.len());
    sockets.push(first);
    for _ in &shards[1..] {
        let sibling = unbound_socket(asked).map_err(failed)?;
        sibling.set_reuse_port(true).map_err(failed)?;
        sibling.bind(&bound).map_err(failed)?;
        sockets.push(sibling);
    }
    // In order: it is `listen` that gives a socket its index in the group.
    sockets.iter().try_for_each(|socket| socket.listen(backlog)).map_err(failed)?;

    let lend = |socket| Arc::new(ListenSocket::new(socket, DoorKind::SynFilter));
    let sockets = shards.iter().copied().zip(sockets.into_iter().map(lend)).collect();
    Ok(ListenGroup { address: BindAddress::Ip(address), sockets })
}

/// All options set and the filter attached: the moment it listens, it lets nobody in.
fn unbound_socket(address: SocketAddr) -> io::Result<Socket> {
    // Close-on-exec is socket2's default.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Otherwise [::]:80 and 0.0.0.0:80 would be two names for one thing, depending on a sysctl.
        socket.set_only_v6(true)?;
    }
    // Inherited by what it accepts: one system call less per connection.
    socket.set_tcp_nodelay(true)?;
    syn_filter::attach(&socket)?;
    Ok(socket)
}

/// An address could not be bound.
#[derive(Debug)]
pub struct BindError {
    pub address: BindAddress,
    pub kind: BindErrorKind,
    pub source: io::Error,
}

/// What the operator can do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindErrorKind {
    /// Another socket, of this process or another, has the address.
    InUse,
    /// Ports below `net.ipv4.ip_unprivileged_port_start`; folders without write permission.
    Permission,
    /// No interface has the address; the socket file's folder does not exist.
    NotAvailable,
    /// `RLIMIT_NOFILE` or the system's limit.
    DescriptorLimit,
    /// The path holds something that is not a socket, which will not be replaced.
    NotASocket,
    /// Longer than a Unix address can be.
    PathTooLong,
    Other,
}

impl BindErrorKind {
    pub(super) fn of(error: &io::Error) -> BindErrorKind {
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => BindErrorKind::InUse,
            Some(libc::EACCES) => BindErrorKind::Permission,
            Some(libc::EADDRNOTAVAIL | libc::ENOENT | libc::ENOTDIR) => BindErrorKind::NotAvailable,
            Some(libc::EMFILE | libc::ENFILE) => BindErrorKind::DescriptorLimit,
            _ => BindErrorKind::Other,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.address)?;
        let is_unix = matches!(self.address, BindAddress::Unix { .. });
        match self.kind {
            BindErrorKind::InUse if is_unix => f.write_str("another process listens there"),
            BindErrorKind::InUse => f.write_str("the address is in use by another socket; choose a free port, or stop what uses it"),
            BindErrorKind::Permission if is_unix => f.write_str("no permission for its folder, or for the socket that is there"),
            BindErrorKind::Permission => f.write_str(
                "no permission; take a port from net.ipv4.ip_unprivileged_port_start (1024 by default) on, or grant CAP_NET_BIND_SERVICE",
            ),
            BindErrorKind::NotAvailable if is_unix => f.write_str("the folder does not exist"),
            BindErrorKind::NotAvailable => f.write_str("no network interface has this address"),
            BindErrorKind::DescriptorLimit => f.write_str("no file descriptor is free; raise the limit (ulimit -n, LimitNOFILE=)"),
            BindErrorKind::NotASocket => f.write_str("the path exists and is not a socket, so it is not replaced; remove it or choose another path"),
            BindErrorKind::PathTooLong => write!(
                f,
                "the path is too long; it may have at most {} bytes, its folder at most {}",
                unix::PATH_BYTES_MAX,
                unix::FOLDER_BYTES_MAX
            ),
            BindErrorKind::Other => self.source.fmt(f),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: BindAddress, errno: i32, kind: BindErrorKind, says: &str) {
        let source = io::Error::from_raw_os_error(errno);
        assert_eq!(BindErrorKind::of(&source), kind, "{source}");
        let text = BindError { address, kind, source }.to_string();
        assert!(text.starts_with("cannot listen on ") && text.contains(says), "{text}");
    }

    /// Those that a test cannot provoke without changing the machine; the others are in `tests/listen`.
    #[test]
    fn errors_say_what_can_be_done() {
        let ip = || BindAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 80)));
        let unix = || BindAddress::Unix { path: "/run/web.sock".into(), mode: 0o660 };
        check(ip(), libc::EACCES, BindErrorKind::Permission, "CAP_NET_BIND_SERVICE");
        check(unix(), libc::EACCES, BindErrorKind::Permission, "folder");
        check(ip(), libc::EMFILE, BindErrorKind::DescriptorLimit, "ulimit -n");
        check(unix(), libc::ENFILE, BindErrorKind::DescriptorLimit, "LimitNOFILE=");
        check(ip(), libc::EAFNOSUPPORT, BindErrorKind::Other, "not supported");
        check(unix(), libc::EROFS, BindErrorKind::Other, "Read-only");
    }

    #[test]
    fn shards_are_distinct_and_below_64() {
        let address = BindAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
        for shards in [&[][..], &[1, 1], &[64]] {
            assert!(std::panic::catch_unwind(|| bind(&address, shards, 1)).is_err(), "{shards:?}");
        }
    }
}
