//! One connection, and where it can lead.

use crate::outcome::Failure;
use crate::wait::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Where something listens. Its `Display` is what a configuration says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// An IPv4 loopback address where nobody listens, given out once.
    ///
    /// Each process has a loopback address of its own, made from its number, and counts ports on it.
    /// Outgoing connections come from 127.0.0.1, so no passing connection can take the port between
    /// now and its use, and tests that run side by side cannot meet.
    pub fn fresh() -> Target {
        static NEXT_PORT: AtomicU16 = AtomicU16::new(10_000);
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "one process asked for more than 22,000 addresses");
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        Target::Ip(SocketAddr::new(Ipv4Addr::new(127, 64 | (high & 63), middle, low).into(), port))
    }

    /// As [`Target::fresh`], on `::1`. There is only one such address, so the kernel is asked for a port;
    /// in the moment until its use another process could be given the same.
    pub fn fresh_v6() -> Target {
        let probe = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("::1 has a free port");
        Target::Ip(probe.local_addr().expect("a bound socket has an address"))
    }

    /// The socket address, for tests that need its parts. Panics for a unix socket.
    pub fn ip(&self) -> SocketAddr {
        match self {
            Target::Ip(address) => *address,
            Target::Unix(path) => panic!("{} is a unix socket", path.display()),
        }
    }

    pub(crate) fn socket(&self) -> io::Result<Socket> {
        let domain = match self {
            Target::Ip(address) => Domain::for_address(*address),
            Target::Unix(_) => Domain::UNIX,
        };
        Socket::new(domain, Type::STREAM, None)
    }

    pub(crate) fn address(&self) -> io::Result<SockAddr> {
        match self {
            Target::Ip(address) => Ok((*address).into()),
            Target::Unix(path) => SockAddr::unix(path),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Ip(address) => address.fmt(f),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connection with a deadline for everything that is done with it, and a count of what came back.
pub struct Stream {
    socket: Socket,
    pub deadline: Deadline,
    received: u64,
}

impl Stream {
    pub fn connect(target: &Target, deadline: Deadline) -> Result<Stream, Failure> {
        Stream::connect_from(None, target, deadline)
    }

    /// With this client address. Any 127.x.y.z is ours to use.
    pub fn connect_from(source: Option<IpAddr>, target: &Target, deadline: Deadline) -> Result<Stream, Failure> {
        let attempt = || -> io::Result<Socket> {
            let socket = target.socket()?;
            if let Some(source) = source {
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            let left = at_least_one_milli(deadline);
            match target {
                Target::Ip(_) => {
                    socket.connect_timeout(&target.address()?, left)?;
                    socket.set_tcp_nodelay(true)?;
                }
                // A unix socket with a full queue answers "try again" to a non-blocking connect and wakes
                // nobody later; a blocking one with a send time-out waits in the kernel.
                Target::Unix(_) => {
                    socket.set_write_timeout(Some(left))?;
                    socket.connect(&target.address()?)?;
                }
            }
            Ok(socket)
        };
        match attempt() {
            Ok(socket) => Ok(Stream { socket, deadline, received: 0 }),
            Err(error) => Err(Failure::of("connect", &error, 0)),
        }
    }

    /// Sends the SYN and does not wait for an answer. For IP only: a unix socket has no such step.
    pub fn begin(target: &Target, deadline: Deadline) -> Result<Connecting, Failure> {
        let attempt = || -> io::Result<Socket> {
            let socket = target.socket()?;
            socket.set_tcp_nodelay(true)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&SockAddr::from(target.ip())) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
                _ => Ok(socket),
            }
        };
        match attempt() {
            Ok(socket) => Ok(Connecting { socket, deadline }),
            Err(error) => Err(Failure::of("connect", &error, 0)),
        }
    }

    pub(crate) fn accepted(socket: Socket, deadline: Deadline) -> Stream {
        Stream { socket, deadline, received: 0 }
    }

    /// A second hold of the same connection, for a thread that sends while another receives.
    pub fn twin(&self) -> Stream {
        let socket = self.socket.try_clone().expect("a descriptor is free for a second hold");
        Stream { socket, deadline: self.deadline, received: self.received }
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_all(bytes).map_err(|error| Failure::of("send", &error, self.received))
    }

    /// Takes what is there, at least one byte; 0 is the other side's end.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let received = self.received;
        self.read(buffer).map_err(|error| Failure::of("receive", &error, received))
    }

    /// Takes exactly as many bytes as fit.
    pub fn receive_all(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.receive(&mut buffer[filled..])? {
                0 => {
                    let expected = self.received + (buffer.len() - filled) as u64;
                    return Err(Failure::EarlyEnd { received: self.received, expected });
                }
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Waits for the other side's end and takes nothing else.
    pub fn receive_end(&mut self) -> Result<(), Failure> {
        let expected = self.received;
        match self.receive(&mut [0])? {
            0 => Ok(()),
            _ => Err(Failure::Surplus { expected }),
        }
    }

    /// Says that nothing more will be sent; the other direction stays open.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let received = self.received;
        self.socket.shutdown(Shutdown::Write).map_err(|error| Failure::of("half-close", &error, received))
    }

    /// Whether a reset is why nothing comes any more. A reset is told once, to whoever sends or receives first; from then
    /// on receiving looks as if the other side had ended properly. Means nothing after [`Stream::finish`].
    pub(crate) fn was_reset(&self) -> bool {
        let gone = Some(rustix::io::Errno::NOTCONN.raw_os_error());
        self.socket.peer_addr().is_err_and(|error| error.raw_os_error() == gone)
    }

    /// Ends with a reset instead of an end.
    pub fn abort(self) {
        self.socket.set_linger(Some(Duration::ZERO)).expect("a connection can be told not to linger");
    }

    /// Makes both directions fail for everyone who holds this connection.
    pub(crate) fn break_off(&self) {
        // Already broken is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Bounds what the kernel takes in for us while we do not read. Unit: bytes.
    pub fn shrink_receive_buffer(&self, bytes: usize) {
        self.socket.set_recv_buffer_size(bytes).expect("a receive buffer can be made smaller");
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr().ok().and_then(|address| address.as_socket()).expect("a TCP connection has an address")
    }

    /// For one who waits with poll. From here on reading and writing never block.
    pub(crate) fn into_nonblocking(self) -> Socket {
        self.socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        self.socket
    }
}

/// A connection whose handshake has begun.
pub struct Connecting {
    socket: Socket,
    deadline: Deadline,
}

impl Connecting {
    /// Waits for the handshake to be over.
    pub fn complete(self) -> Result<Stream, Failure> {
        let Connecting { socket, deadline } = self;
        let wait = || -> io::Result<()> {
            let left = Timespec::try_from(at_least_one_milli(deadline)).map_err(io::Error::other)?;
            if poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&left))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match socket.take_error()? {
                Some(error) => Err(error),
                None => socket.set_nonblocking(false),
            }
        };
        match wait() {
            Ok(()) => Ok(Stream { socket, deadline, received: 0 }),
            Err(error) => Err(Failure::of("connect", &error, 0)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(at_least_one_milli(self.deadline)))?;
        let count = self.socket.read(buffer)?;
        self.received += count as u64;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(at_least_one_milli(self.deadline)))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Zero would mean "for ever" to the kernel.
fn at_least_one_milli(deadline: Deadline) -> Duration {
    deadline.left().max(Duration::from_millis(1))
}
