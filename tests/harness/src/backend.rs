//! Backends: one that is good, and one for every way of being bad.
//!
//! A backend has one thread that accepts and one for each connection, bounded by
//! [`Backend::CONNECTIONS_MAX`]. Dropping it closes the listening socket, then ends all connections,
//! and waits until every thread has gone.

use crate::client::{Sum, sink_receipt};
use crate::net::{Stream, Target};
use crate::outcome::Failure;
use crate::pattern::{Dice, Pattern};
use crate::wait::{Deadline, PATIENCE, Watched};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use socket2::Socket;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a backend does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vice {
    /// None: sends back all it gets, and its end after the client's.
    Echo,
    /// Sends this byte first, so that a client knows where it is, then echoes.
    Greets(u8),
    /// None: sends so many bytes of [`Pattern`], then its end; reads nothing before the client's end.
    Source { seed: u64, bytes: u64 },
    /// None: reads to the client's end, then says how much came and its sum.
    Sink,
    /// Resets each connection as soon as it has it.
    ResetsOnAccept,
    /// Echoes at least so many bytes, then resets.
    ResetsAfter { bytes: u64 },
    /// Accepts and never reads or sends.
    Stalls,
    /// Reads and never sends, not even its end.
    Silent,
    /// Echoes so many bytes, sends its end, and goes on reading.
    EndsEarly { after: u64 },
    /// Sends so many bytes of [`Pattern`], one at a time.
    Trickles { seed: u64, bytes: u64, gap: Duration },
    /// Waits for the first bytes, leaves the rest of them unread, sends three bytes and closes. The kernel turns that into a reset.
    ClosesUnread,
}

/// What a backend has met.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    pub accepted: u64,
    pub open: u64,
    /// Most that were open at a time.
    pub open_most: u64,
    /// Bytes that came from clients, over all connections.
    pub received: u64,
    /// Connections whose client said its end.
    pub ended: u64,
    /// Connections that were reset by the client's side.
    pub reset: u64,
}

pub struct Backend {
    target: Target,
    seen: Watched<Seen>,
    /// Stop accepting: written once.
    stop: Arc<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
}

impl Backend {
    /// Most connections at a time; more are not accepted until some have ended.
    pub const CONNECTIONS_MAX: usize = 4096;
    /// Longest life of a connection, so that a forgotten one ends.
    const LIFE: Duration = Duration::from_secs(600);

    /// On a fresh IPv4 address.
    pub fn start(vice: Vice) -> Backend {
        Backend::at(vice, &Target::fresh())
    }

    /// An echo on a fresh IPv4 address.
    pub fn echo() -> Backend {
        Backend::start(Vice::Echo)
    }

    pub fn at(vice: Vice, target: &Target) -> Backend {
        let listener = listen(target, 1024);
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor is free"));
        let seen = Watched::new(Seen::default());
        let acceptor = {
            let (stop, seen) = (stop.clone(), seen.clone());
            std::thread::Builder::new()
                .name(format!("backend {target}"))
                .spawn(move || accept_until_stopped(&listener, &stop, vice, &seen))
                .expect("a thread can be started")
        };
        Backend { target: target.clone(), seen, stop, acceptor: Some(acceptor) }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn address(&self) -> SocketAddr {
        self.target.ip()
    }

    pub fn seen(&self) -> Seen {
        *self.seen.look()
    }

    /// Waits until what it has met is as asked. Panics with what it has met when [`PATIENCE`] is over.
    #[track_caller]
    pub fn wait_seen(&self, what: &str, as_asked: impl Fn(&Seen) -> bool) -> Seen {
        let found = self.seen.wait(Deadline::patient(), |seen| as_asked(seen).then_some(*seen));
        found.unwrap_or_else(|| panic!("backend {}: {what}: not within {PATIENCE:?}: {:?}", self.target, self.seen()))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        rustix::io::write(&*self.stop, &1u64.to_ne_bytes()).expect("an eventfd takes a number");
        if let Some(acceptor) = self.acceptor.take() {
            // Its panic has been printed; panicking here as well would abort the whole test process.
            let _ = acceptor.join();
        }
        if let Target::Unix(path) = &self.target {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An address where nobody listens. Nobody will: it is given out once.
pub fn refusing() -> Target {
    Target::fresh()
}

/// A backend whose queue is full and that accepts nothing: a connect to it hangs.
pub struct Deaf {
    target: Target,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl Deaf {
    pub fn start() -> Deaf {
        let target = Target::fresh();
        let listener = listen(&target, 0);
        // A backlog of 0 has room for one; the kernel may take some more. The first that hangs shows it is full.
        let mut queued = Vec::new();
        loop {
            assert!(queued.len() < 64, "a backlog of 0 took 64 connections");
            let socket = target.socket().expect("a descriptor is free");
            let address = target.address().expect("a loopback address");
            if socket.connect_timeout(&address, Duration::from_millis(200)).is_err() {
                return Deaf { target, _listener: listener, _queued: queued };
            }
            queued.push(socket);
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }
}

pub(crate) fn listen(target: &Target, backlog: i32) -> Socket {
    let bind = || -> std::io::Result<Socket> {
        let socket = target.socket()?;
        match target {
            Target::Ip(address) => {
                socket.set_reuse_address(true)?;
                socket.set_tcp_nodelay(true)?;
                if address.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
            }
            Target::Unix(_) => {}
        }
        socket.bind(&target.address()?)?;
        socket.listen(backlog)?;
        Ok(socket)
    };
    bind().unwrap_or_else(|error| panic!("a backend cannot listen on {target}: {error}"))
}

/// Connections by number, so that they can be broken off when the backend ends.
type Open = Arc<Mutex<HashMap<u64, Stream>>>;

fn accept_until_stopped(listener: &Socket, stop: &OwnedFd, vice: Vice, seen: &Watched<Seen>) {
    let open = Open::default();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for number in 0.. {
        let Some(socket) = accept(listener, stop) else {
            break;
        };
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= Backend::CONNECTIONS_MAX {
            seen.wait(Deadline::after(Backend::LIFE), |seen| {
                (seen.open < Backend::CONNECTIONS_MAX as u64).then_some(())
            });
        }
        let stream = Stream::accepted(socket, Deadline::after(Backend::LIFE));
        lock(&open).insert(number, stream.twin());
        seen.change(|seen| {
            seen.accepted += 1;
            seen.open += 1;
            seen.open_most = seen.open_most.max(seen.open);
        });
        let (open, seen) = (open.clone(), seen.clone());
        let serve = move || {
            let mut serving = Serving { stream, seen: &seen };
            let end = serving.behave(vice);
            let Serving { stream, .. } = serving;
            let twin = lock(&open).remove(&number);
            drop(twin);
            // Counted before the close is sent: whoever makes room for the next on seeing it finds it counted.
            seen.change(|seen| {
                seen.open -= 1;
                seen.ended += u64::from(end == End::Ended);
                seen.reset += u64::from(end == End::Reset);
            });
            match end {
                End::Abort => stream.abort(),
                End::Close | End::Reset | End::Ended => drop(stream),
            }
        };
        threads.push(std::thread::Builder::new().spawn(serve).expect("a thread can be started"));
    }
    lock(&open).values().for_each(Stream::break_off);
    for thread in threads {
        thread.join().expect("a backend's connection does not panic");
    }
}

/// The next connection. `None`: the backend is to stop.
pub(crate) fn accept(listener: &Socket, stop: &OwnedFd) -> Option<Socket> {
    loop {
        let mut both = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
        if !both[1].revents().is_empty() {
            return None;
        }
        // Would block, or the connection has gone again: wait for the next.
        if let Ok((socket, _)) = listener.accept() {
            return Some(socket);
        }
    }
}

fn lock(open: &Open) -> std::sync::MutexGuard<'_, HashMap<u64, Stream>> {
    open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How the backend's side of a connection came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client said its end.
    Ended,
    /// The client's side reset it, or broke.
    Reset,
    /// We close it.
    Close,
    /// We reset it.
    Abort,
}

impl From<Failure> for End {
    fn from(_: Failure) -> End {
        End::Reset
    }
}

struct Serving<'a> {
    stream: Stream,
    seen: &'a Watched<Seen>,
}

impl Serving<'_> {
    fn behave(&mut self, vice: Vice) -> End {
        self.try_to_behave(vice).unwrap_or_else(|end| end)
    }

    fn try_to_behave(&mut self, vice: Vice) -> Result<End, End> {
        match vice {
            Vice::Echo => {
                self.echo(u64::MAX)?;
                Ok(End::Ended)
            }
            Vice::Greets(name) => {
                self.stream.send(&[name])?;
                self.echo(u64::MAX)?;
                Ok(End::Ended)
            }
            Vice::Source { seed, bytes } => {
                crate::client::send_pattern(&mut self.stream, Pattern::new(seed), &mut Dice::new(seed), bytes)?;
                self.stream.finish()?;
                self.read_to_end()?;
                Ok(End::Ended)
            }
            Vice::Sink => {
                let mut sum = Sum::default();
                let bytes = self.read(u64::MAX, |piece| sum.add(piece))?;
                self.stream.send(&sink_receipt(bytes, sum.0))?;
                Ok(End::Ended)
            }
            Vice::ResetsOnAccept => Ok(End::Abort),
            Vice::ResetsAfter { bytes } => {
                self.echo(bytes)?;
                Ok(End::Abort)
            }
            Vice::Stalls => {
                self.wait_gone();
                Ok(End::Close)
            }
            Vice::Silent => {
                self.read_to_end()?;
                self.wait_gone();
                Ok(End::Ended)
            }
            Vice::EndsEarly { after } => {
                self.echo(after)?;
                self.stream.finish()?;
                self.read_to_end()?;
                Ok(End::Ended)
            }
            Vice::Trickles { seed, bytes, gap } => {
                self.trickle(Pattern::new(seed), bytes, gap)?;
                self.stream.finish()?;
                self.read_to_end()?;
                Ok(End::Ended)
            }
            Vice::ClosesUnread => {
                self.stream.receive_all(&mut [0])?;
                self.stream.send(b"bye")?;
                Ok(End::Close)
            }
        }
    }

    /// Sends back what comes until `enough` bytes or the client's end.
    fn echo(&mut self, enough: u64) -> Result<u64, End> {
        let mut twin = self.stream.twin();
        let mut lost = None;
        let count = self.read(enough, |piece| {
            if lost.is_none() {
                lost = twin.send(piece).err();
            }
        })?;
        if lost.is_some() { Err(End::Reset) } else { Ok(count) }
    }

    fn read_to_end(&mut self) -> Result<u64, End> {
        self.read(u64::MAX, |_| {})
    }

    fn read(&mut self, enough: u64, mut each: impl FnMut(&[u8])) -> Result<u64, End> {
        let mut buffer = vec![0; 65_536];
        let mut total = 0;
        while total < enough {
            let room = (enough - total).min(buffer.len() as u64) as usize;
            let count = self.stream.receive(&mut buffer[..room])?;
            if count == 0 {
                return Ok(total);
            }
            total += count as u64;
            self.seen.change(|seen| seen.received += count as u64);
            each(&buffer[..count]);
        }
        Ok(total)
    }

    fn trickle(&mut self, pattern: Pattern, bytes: u64, gap: Duration) -> Result<(), End> {
        let gap = Timespec::try_from(gap).expect("a gap is short");
        for at in 0..bytes {
            let mut byte = [0];
            pattern.fill(at, &mut byte);
            self.stream.send(&byte)?;
            // The gap is this backend's vice. It ends early when the client breaks off.
            let mut gone = [PollFd::new(&self.stream, PollFlags::RDHUP)];
            if matches!(poll(&mut gone, Some(&gap)), Ok(1)) && gone[0].revents().contains(PollFlags::ERR) {
                return Err(End::Reset);
            }
        }
        Ok(())
    }

    /// Waits until the connection is broken in both directions, without reading.
    fn wait_gone(&self) {
        let life = Timespec::try_from(Backend::LIFE).expect("a life is short");
        // With no event asked for, poll reports only errors and the end of both directions.
        let _ = poll(&mut [PollFd::new(&self.stream, PollFlags::empty())], Some(&life));
    }
}
