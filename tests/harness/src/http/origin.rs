//! Origins: servers that tell what reached them, and behave as they are told.
//!
//! An origin has one thread that accepts and one for each connection, as a [`crate::backend::Backend`] has, and the
//! same bounds. What it does with a request is [`crate::http::conduct`]'s.

use crate::backend::{Backend, accept, listen};
use crate::http::conduct::{Conduct, End, Visit};
use crate::http::received::Received;
use crate::net::{Stream, Target};
use crate::wait::{Deadline, PATIENCE, Watched};
use rustix::event::{EventfdFlags, eventfd};
use socket2::Socket;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What an origin has met.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    pub accepted: u64,
    pub open: u64,
    /// Most that were open at a time.
    pub open_most: u64,
    /// Heads that came.
    pub requests: u64,
    /// Requests that came whole, with their bodies.
    pub whole: u64,
    /// Requests whose end, or a reset, came in the middle.
    pub cut: u64,
    /// What came and is no request.
    pub malformed: u64,
    /// Answers that were sent to their end, good or bad.
    pub answered: u64,
    /// Connections that became tunnels or WebSockets.
    pub upgraded: u64,
    /// Bytes of bodies and of tunnels.
    pub received: u64,
    /// Connections whose client said its end.
    pub ended: u64,
    /// Connections that were reset by the client's side.
    pub reset: u64,
}

/// Everything an origin writes down.
#[derive(Default)]
pub(crate) struct Log {
    pub seen: Seen,
    pub requests: Vec<Received>,
    pub malformed: Vec<String>,
}

impl Log {
    /// Most requests that are kept, and most malformed ones. The counts go on.
    pub const KEPT: usize = 10_000;
}

type Choose = Arc<dyn Fn(&Received) -> Conduct + Send + Sync>;

/// What says how to behave.
#[derive(Clone)]
pub(crate) enum Manner {
    Always(Conduct),
    /// By what is asked.
    Chosen(Choose),
}

pub struct Origin {
    name: String,
    target: Target,
    log: Watched<Log>,
    manner: Arc<Mutex<Manner>>,
    /// Stop accepting: written once.
    stop: Arc<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
}

impl Origin {
    /// Longest life of a connection, so that a forgotten one ends.
    pub(crate) const LIFE: Duration = Duration::from_secs(600);

    /// On a fresh IPv4 address, which is its name.
    pub fn start(conduct: Conduct) -> Origin {
        let target = Target::fresh();
        Origin::at(&target.to_string(), conduct, &target)
    }

    pub fn good() -> Origin {
        Origin::start(Conduct::Good)
    }

    pub fn named(name: &str, conduct: Conduct) -> Origin {
        Origin::at(name, conduct, &Target::fresh())
    }

    /// Chooses its conduct for each request, when its head has come.
    pub fn choosing(name: &str, choose: impl Fn(&Received) -> Conduct + Send + Sync + 'static) -> Origin {
        Origin::with(name, Manner::Chosen(Arc::new(choose)), &Target::fresh())
    }

    pub fn at(name: &str, conduct: Conduct, target: &Target) -> Origin {
        Origin::with(name, Manner::Always(conduct), target)
    }

    fn with(name: &str, manner: Manner, target: &Target) -> Origin {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor is free"));
        let log = Watched::new(Log::default());
        // One that refuses is one that does not listen.
        let listener = match &manner {
            Manner::Always(Conduct::Refuses) => None,
            _ => Some(listen(target, 1024)),
        };
        let manner = Arc::new(Mutex::new(manner));
        let acceptor = listener.map(|listener| {
            listener.set_nonblocking(true).expect("a socket can be made non-blocking");
            let house = House { name: name.to_owned(), manner: manner.clone(), log: log.clone() };
            let stop = stop.clone();
            std::thread::Builder::new()
                .name(format!("origin {name}"))
                .spawn(move || house.accept_until_stopped(&listener, &stop))
                .expect("a thread can be started")
        });
        Origin { name: name.to_owned(), target: target.clone(), log, manner, stop, acceptor }
    }

    /// From the next request on, also of connections that are open already. Whether it listens at all was decided
    /// when it was started.
    pub fn behave(&self, conduct: Conduct) {
        assert!(conduct != Conduct::Refuses && self.acceptor.is_some(), "to refuse is not to listen");
        *self.manner.lock().expect("nobody panics while choosing") = Manner::Always(conduct);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn address(&self) -> SocketAddr {
        self.target.ip()
    }

    pub fn seen(&self) -> Seen {
        self.log.look().seen
    }

    /// The first requests that reached it, in the order in which they ended.
    pub fn requests(&self) -> Vec<Received> {
        self.log.look().requests.clone()
    }

    /// Why what came was no request.
    pub fn malformed(&self) -> Vec<String> {
        self.log.look().malformed.clone()
    }

    /// Waits until what it has met is as asked. Panics with what it has met when [`PATIENCE`] is over.
    #[track_caller]
    pub fn wait_seen(&self, what: &str, as_asked: impl Fn(&Seen) -> bool) -> Seen {
        let found = self.log.wait(Deadline::patient(), |log| as_asked(&log.seen).then_some(log.seen));
        found.unwrap_or_else(|| panic!("origin {}: {what}: not within {PATIENCE:?}: {:?}", self.name, self.seen()))
    }
}

impl Drop for Origin {
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

/// What the threads of an origin share.
#[derive(Clone)]
pub(crate) struct House {
    pub name: String,
    manner: Arc<Mutex<Manner>>,
    pub log: Watched<Log>,
}

/// Connections by number, so that they can be broken off when the origin ends.
type Open = Arc<Mutex<HashMap<u64, Stream>>>;

impl House {
    pub fn manner(&self) -> Manner {
        self.manner.lock().expect("nobody panics while choosing").clone()
    }

    fn accept_until_stopped(self, listener: &Socket, stop: &OwnedFd) {
        let open = Open::default();
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for number in 1.. {
            let Some(socket) = accept(listener, stop) else {
                break;
            };
            threads.retain(|thread| !thread.is_finished());
            if threads.len() >= Backend::CONNECTIONS_MAX {
                self.log.wait(Deadline::after(Origin::LIFE), |log| {
                    (log.seen.open < Backend::CONNECTIONS_MAX as u64).then_some(())
                });
            }
            let stream = Stream::accepted(socket, Deadline::after(Origin::LIFE));
            lock(&open).insert(number, stream.twin());
            self.log.change(|Log { seen, .. }| {
                seen.accepted += 1;
                seen.open += 1;
                seen.open_most = seen.open_most.max(seen.open);
            });
            let (open, house) = (open.clone(), self.clone());
            let serve = move || {
                let (stream, end) = Visit::new(&house, stream, number).receive();
                drop(lock(&open).remove(&number));
                // Counted before the close is sent: whoever makes room for the next on seeing it finds it counted.
                house.log.change(|Log { seen, .. }| {
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
            thread.join().expect("an origin's connection does not panic");
        }
    }
}

fn lock(open: &Open) -> std::sync::MutexGuard<'_, HashMap<u64, Stream>> {
    open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
