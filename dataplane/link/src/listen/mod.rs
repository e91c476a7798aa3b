//! Listening sockets, owned by the process and lent to shards.
//!
//! ```text
//!            bind                     open                       drop_syns                    last Arc dropped
//!   nothing ─────▶ bound, behind ─────────▶ new connections ─────────────▶ leaving: what has ───────────────▶ closed
//!                  the filter                  come in                       begun completes
//! ```
//!
//! **A new address** is bound and listening before anybody can connect: a socket filter drops bare SYNs (a
//! Unix socket has another name) until the change is committed. So everything that can fail has failed
//! before anything is visible. **An address that leaves** gets the filter back (its name is moved away): no
//! handshake begins, those that have begun complete and can be accepted. When [`pending_handshakes`] and then,
//! asked in this order, every [`ListenSocket::accept_queue_len`] are 0, it can be closed and nobody is
//! reset. Closing earlier resets what is queued, and no counter of aborts shows it.
//!
//! An IP address has one socket per shard, all in one `SO_REUSEPORT` group: the kernel spreads connections
//! by hash. [`ListenGroup::steer`] sends new ones only to shards that live. A Unix address has one socket
//! that all shards accept from.
//!
//! Refuses to know: what an address means, and when it should come or go. `policy::reload` decides that.

mod bind;
mod handshakes;
#[expect(unsafe_code)]
mod options;
mod registry;
mod steering;
mod syn_filter;
mod unix;

pub use bind::{BindError, BindErrorKind, bind};
pub use handshakes::pending_handshakes;
pub use registry::Registry;
pub use syn_filter::is_missing as syn_filter_is_missing;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Where clients come in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum BindAddress {
    /// Port 0: the kernel chooses; [`ListenGroup::local_addr`] says what. An IPv6 address takes IPv6 only.
    Ip(SocketAddr),
    /// `mode`: permission bits of the socket file; connecting needs write permission.
    Unix { path: PathBuf, mode: u32 },
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Ip(address) => address.fmt(f),
            BindAddress::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The sockets of one address, made by [`bind`].
#[derive(Debug)]
pub struct ListenGroup {
    address: BindAddress,
    /// In the order in which they began to listen, which is their index within the kernel's group.
    sockets: Vec<(u16, Arc<ListenSocket>)>,
}

impl ListenGroup {
    /// The address, with the port that the kernel chose where 0 was asked for.
    pub fn local_addr(&self) -> &BindAddress {
        &self.address
    }

    /// The socket that a shard accepts from. Unix: the same for all.
    pub fn socket(&self, shard: u16) -> Option<&Arc<ListenSocket>> {
        self.sockets.iter().find(|(owner, _)| *owner == shard).map(|(_, socket)| socket)
    }

    /// Shards that this group was made for, in the order given to [`bind`].
    pub fn shards(&self) -> impl Iterator<Item = u16> {
        self.sockets.iter().map(|(shard, _)| *shard)
    }

    /// Lets clients in on every socket that was never open. Any shard may call it at its Commit: connections
    /// for shards that commit a moment later wait in their queues, where a dropped SYN would come again only
    /// after a second. Sockets that are leaving stay shut, so a late Commit opens nothing by mistake.
    pub fn open(&self) -> io::Result<()> {
        self.each(ListenSocket::open_first_time)
    }

    /// Lets no new client in on any socket. See [`ListenSocket::drop_syns`].
    pub fn drop_syns(&self) -> io::Result<()> {
        self.each(ListenSocket::drop_syns)
    }

    /// All are tried; the first error is returned.
    fn each(&self, act: impl Fn(&ListenSocket) -> io::Result<()>) -> io::Result<()> {
        let mut outcome = Ok(());
        for (_, socket) in &self.sockets {
            outcome = outcome.and(act(socket));
        }
        outcome
    }

    /// New connections go only to shards in `live` (bit = shard), at random; with all alive, by the kernel's
    /// hash again. Where none of the group's shards lives, nothing changes: there is nowhere better to go.
    /// Connections that are already in a queue, or whose handshake has begun, stay where they are.
    pub fn steer(&self, live: u64) -> io::Result<()> {
        match &self.address {
            BindAddress::Ip(_) => steering::steer(&self.sockets, live),
            // One queue: whoever lives takes from it.
            BindAddress::Unix { .. } => Ok(()),
        }
    }
}

/// One listening socket: non-blocking, close-on-exec, `TCP_NODELAY` for what it accepts.
#[derive(Debug)]
pub struct ListenSocket {
    socket: socket2::Socket,
    door: Mutex<Door>,
}

/// How clients are kept out, and whether they are. The mutex is taken at commits, never per connection.
#[derive(Debug)]
struct Door {
    kind: DoorKind,
    state: DoorState,
}

#[derive(Debug)]
enum DoorKind {
    SynFilter,
    Name(unix::SocketFile),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DoorState {
    /// Bound, and has never let anybody in.
    NotYet,
    Open,
    Leaving,
}

impl ListenSocket {
    /// Shut, not yet open.
    fn new(socket: socket2::Socket, kind: DoorKind) -> ListenSocket {
        ListenSocket { socket, door: Mutex::new(Door { kind, state: DoorState::NotYet }) }
    }

    /// Lets clients in: takes the SYN filter off, or moves the socket file to its place. Opening an open
    /// socket changes nothing; a leaving one is open again.
    pub fn open(&self) -> io::Result<()> {
        self.door().open(&self.socket)
    }

    fn open_first_time(&self) -> io::Result<()> {
        let mut door = self.door();
        match door.state {
            DoorState::NotYet => door.open(&self.socket),
            DoorState::Open | DoorState::Leaving => Ok(()),
        }
    }

    /// Lets no new client in; handshakes that have begun complete, and what is queued can be accepted.
    /// Clients of an IP address hear nothing until the socket is closed and are refused then; clients of
    /// a Unix address find no file. Connections whose handshake completes from now on inherit the filter:
    /// four instructions a segment, and nothing lost, because an open connection needs no bare SYN.
    pub fn drop_syns(&self) -> io::Result<()> {
        self.door().shut(&self.socket)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        // The state follows a successful system call and nothing in between can panic: poison says nothing.
        self.door.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Connections that are complete and not accepted yet. Unix sockets offer no count: 1 means at least one.
    pub fn accept_queue_len(&self) -> io::Result<u32> {
        match self.door().kind {
            DoorKind::SynFilter => options::accept_queue_len(self.socket.as_fd()),
            DoorKind::Name(_) => unix::accept_queue_len(self.socket.as_fd()),
        }
    }
}

impl Door {
    fn open(&mut self, socket: &socket2::Socket) -> io::Result<()> {
        if self.state != DoorState::Open {
            match &mut self.kind {
                DoorKind::SynFilter => syn_filter::detach(socket)?,
                DoorKind::Name(file) => file.publish()?,
            }
            self.state = DoorState::Open;
        }
        Ok(())
    }

    fn shut(&mut self, socket: &socket2::Socket) -> io::Result<()> {
        match (self.state, &mut self.kind) {
            (DoorState::Leaving, _) => return Ok(()),
            (DoorState::NotYet, _) => {}
            (DoorState::Open, DoorKind::SynFilter) => syn_filter::attach(socket)?,
            (DoorState::Open, DoorKind::Name(file)) => file.withdraw()?,
        }
        self.state = DoorState::Leaving;
        Ok(())
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ListenSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
