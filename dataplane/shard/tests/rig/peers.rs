//! The two sides of a shard: clients and backends, played by the test itself, step by step.

use super::PATIENCE;
use link::listen::BindAddress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// One end of a connection. Every wait has a deadline.
pub struct Stream(pub Socket);

impl Stream {
    #[track_caller]
    pub fn connect(to: &BindAddress) -> Stream {
        let mut stream = Stream::unconnected(to);
        stream.connect_to(to);
        stream
    }

    /// A stream that can connect there.
    pub fn unconnected(to: &BindAddress) -> Stream {
        Stream::new(Socket::new(socket_address(to).domain(), Type::STREAM, None).unwrap())
    }

    #[track_caller]
    pub fn connect_to(&mut self, to: &BindAddress) {
        self.0.connect(&socket_address(to)).unwrap();
    }

    /// Begins to connect, and does not wait for it.
    pub fn connecting(to: &BindAddress) -> Stream {
        let stream = Stream::unconnected(to);
        stream.0.set_nonblocking(true).unwrap();
        let _ = stream.0.connect(&socket_address(to));
        stream
    }

    pub fn is_connected(&self) -> bool {
        self.0.peer_addr().is_ok()
    }

    fn new(socket: Socket) -> Stream {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.set_tcp_nodelay(true); // a Unix socket has none
        Stream(socket)
    }

    #[track_caller]
    pub fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next so many bytes.
    #[track_caller]
    pub fn next(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        self.0.read_exact(&mut heard).unwrap();
        heard
    }

    /// Exactly these bytes come next.
    #[track_caller]
    pub fn hear(&mut self, bytes: &[u8]) {
        let heard = self.next(bytes.len());
        assert!(heard == bytes, "heard {:?}", String::from_utf8_lossy(&heard));
    }

    /// The peer's end comes next.
    #[track_caller]
    pub fn hear_end(&mut self) {
        let mut rest = [0; 64];
        match self.0.read(&mut rest) {
            Ok(0) => {}
            other => panic!("no end but {other:?}"),
        }
    }

    /// A reset comes next.
    #[track_caller]
    pub fn hear_reset(&mut self) {
        match self.0.read(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("no reset but {other:?}"),
        }
    }

    /// A reset comes after the peer's end, which reading would only show again.
    #[track_caller]
    pub fn hear_break(&mut self) {
        let mut polled = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap();
        assert!(polled[0].revents().contains(PollFlags::ERR), "{:?}", polled[0].revents());
    }

    /// All that comes before the peer's end or reset, and which of the two it was.
    pub fn hear_all(&mut self) -> (usize, Result<(), ErrorKind>) {
        let (mut heard, mut buffer) = (0, vec![0; 256 << 10]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return (heard, Ok(())),
                Ok(bytes) => heard += bytes,
                Err(error) => return (heard, Err(error.kind())),
            }
        }
    }

    /// Nothing is there to be read now.
    #[track_caller]
    pub fn hears_nothing(&mut self) {
        self.0.set_nonblocking(true).unwrap();
        let outcome = self.0.read(&mut [0; 64]);
        assert!(matches!(&outcome, Err(error) if error.kind() == ErrorKind::WouldBlock), "heard {outcome:?}");
        self.0.set_nonblocking(false).unwrap();
    }

    /// Says as much as is taken within a moment, and how much that was: the way is full then.
    pub fn pour(&mut self) -> usize {
        self.0.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let (block, mut said) = (vec![7; 64 << 10], 0);
        loop {
            match self.0.write(&block) {
                Ok(bytes) => said += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error} after {said} bytes"),
            }
        }
        self.0.set_write_timeout(Some(PATIENCE)).unwrap();
        said
    }

    /// As [`Stream::pour`], perhaps until somebody closes the way.
    pub fn pour_until_cut(&mut self) {
        self.0.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let block = vec![7; 64 << 10];
        while self.0.write(&block).is_ok() {}
    }

    /// Says that nothing more will come.
    #[track_caller]
    pub fn end(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    pub fn reset(self) {
        self.0.set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn other_half(&self) -> Stream {
        Stream(self.0.try_clone().unwrap())
    }
}

fn socket_address(address: &BindAddress) -> SockAddr {
    match address {
        BindAddress::Ip(address) => SockAddr::from(*address),
        BindAddress::Unix { path, .. } => SockAddr::unix(path).unwrap(),
    }
}

/// A backend that the test serves itself.
pub struct Backend(Socket);

impl Backend {
    pub fn new() -> Backend {
        Backend::at(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
    }

    pub fn ipv6() -> Backend {
        Backend::at(&"[::1]:0".parse::<SocketAddr>().unwrap().into())
    }

    pub fn unix(path: &Path) -> Backend {
        Backend::at(&SockAddr::unix(path).unwrap())
    }

    fn at(address: &SockAddr) -> Backend {
        let socket = Socket::new(address.domain(), Type::STREAM, None).unwrap();
        if address.domain() != Domain::UNIX {
            socket.set_reuse_address(true).unwrap();
        }
        socket.bind(address).unwrap();
        socket.listen(1024).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Backend(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().expect("a network address")
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Stream {
        Stream::new(self.0.accept().unwrap().0)
    }

    /// No connection waits to be accepted.
    #[track_caller]
    pub fn has_nobody(&self) {
        self.0.set_nonblocking(true).unwrap();
        let outcome = self.0.accept();
        assert!(matches!(&outcome, Err(error) if error.kind() == ErrorKind::WouldBlock), "{outcome:?}");
        self.0.set_nonblocking(false).unwrap();
    }

    /// Serves each connection from now on, on a thread, by sending back what comes.
    pub fn echoing(self) -> SocketAddr {
        self.serving(|mut stream| {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(bytes @ 1..) = stream.0.read(&mut buffer) {
                if stream.0.write_all(&buffer[..bytes]).is_err() {
                    return;
                }
            }
        })
    }

    /// Serves each connection from now on, on a thread of its own. The threads end with the test.
    pub fn serving(self, serve: impl Fn(Stream) + Clone + Send + 'static) -> SocketAddr {
        let address = self.address();
        self.0.set_read_timeout(None).unwrap();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = self.0.accept() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(Stream::new(socket)));
            }
        });
        address
    }
}

/// An address where connecting takes for ever: the queue is full and nobody accepts. Lasts as long as what it gives back.
pub fn stalling() -> ((Backend, Vec<Socket>), SocketAddr) {
    let backend = Backend::new();
    backend.0.listen(0).unwrap();
    let fillers = (0..2).map(|_| {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&backend.address().into()); // under way, and the second one for ever
        filler
    });
    let fillers = fillers.collect();
    let address = backend.address();
    ((backend, fillers), address)
}

/// An address where connecting is refused. The socket keeps the port from being given to anybody else.
pub fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}
