//! Health and addresses of backends: the thread `sluice-probe` finds out, control is told.
//!
//! Owns who is watched, by [`EndpointSlot`]: so what was learned of a backend stays with it from generation
//! to generation. When to check and what a result means is decided by [`policy::health`], when to ask for
//! a name by [`names`]; here sockets are opened. Knows no shards and no jobs.
//!
//! A name is resolved before its first check: a check that could only say "no address yet" would take a
//! new backend down.

mod ask;
mod names;

use crate::clock::Clock;
use crate::names::Name;
use crate::resolve::{Answer, NameSource, Resolver};
use crate::slate::Slate;
use names::Names;
use policy::generation::{Address, CheckKind, EndpointState, Health, HealthCheck};
use policy::health::{Check, Checks};
use policy::{EndpointSlot, Tick};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Checks that may be open at the same time, each with one descriptor.
pub const CHECKING_MAX: usize = 512;

/// A backend to keep an eye on.
#[derive(Clone, PartialEq, Debug)]
pub struct Watch {
    pub address: Address,
    /// `None`: nobody asks for its health, only its name is resolved.
    pub check: Option<HealthCheck>,
}

/// What was found out, whole; and why it is news.
#[derive(Clone, Debug)]
pub struct Finding {
    pub state: EndpointState,
    /// The health is another than before, because of this.
    pub health_changed: Option<String>,
    /// The name leads elsewhere.
    pub moved: bool,
}

/// The handle that control holds.
#[derive(Debug)]
pub struct Prober {
    desk: Arc<Desk>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Both directions, newest word only.
#[derive(Debug, Default)]
struct Desk {
    watches: Slate<EndpointSlot, Option<Watch>>,
    findings: Slate<EndpointSlot, Finding>,
}

impl Prober {
    pub fn start(source: NameSource, clock: Clock, core: Option<core_affinity::CoreId>) -> io::Result<Prober> {
        let desk = Arc::new(Desk::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(Name::Probe.to_string()).spawn({
            let desk = Arc::clone(&desk);
            move || {
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                let probing = Probing::new(desk, source, clock);
                tokio::task::LocalSet::new().block_on(&runtime, probing.run(stopped));
            }
        })?;
        Ok(Prober { desk, stop: Some(stop), thread: Some(thread) })
    }

    /// Nobody finds out anything.
    #[cfg(feature = "sim")]
    pub fn unmanned() -> Prober {
        Prober { desk: Arc::default(), stop: None, thread: None }
    }

    /// `None`: the backend is gone. A watch of a backend that is watched already replaces the old one and
    /// keeps what is known.
    pub fn watch(&self, watches: impl IntoIterator<Item = (EndpointSlot, Option<Watch>)>) {
        self.desk.watches.write(watches);
    }

    /// News, of each backend the newest.
    pub async fn findings(&self) -> BTreeMap<EndpointSlot, Finding> {
        self.desk.findings.take().await
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Probing {
    desk: Arc<Desk>,
    clock: Clock,
    watched: HashMap<EndpointSlot, Watched>,
    checks: Checks,
    names: Names,
    resolver: Resolver,
    dice: RandomState,
    thrown: u64,
}

struct Watched {
    watch: Watch,
    health: Health,
    addresses: Arc<[SocketAddr]>,
}

enum Outcome {
    Checked(Check, Result<(), String>),
    Resolved(Arc<str>, Result<Answer, String>),
}

impl Probing {
    fn new(desk: Arc<Desk>, source: NameSource, clock: Clock) -> Probing {
        Probing {
            desk,
            clock,
            watched: HashMap::new(),
            checks: Checks::new(CHECKING_MAX),
            names: Names::default(),
            resolver: Resolver::new(source),
            dice: RandomState::new(),
            thrown: 0,
        }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        // Room for all that can be open: a task never waits here.
        let (sender, mut outcomes) = mpsc::channel(CHECKING_MAX + names::ASKING_MAX);
        let desk = Arc::clone(&self.desk);
        loop {
            self.begin_what_is_due(&sender);
            let next = self.checks.next_due().into_iter();
            let next = next.chain(self.names.next_due()).min();
            let timer = tokio::time::sleep_until(match next {
                Some(tick) => self.clock.instant(tick).into(),
                None => self.clock.instant(Tick(u64::MAX)).into(),
            });
            tokio::select! {
                _ = &mut stopped => return,
                watches = desk.watches.take() => {
                    for (slot, watch) in watches {
                        self.set(slot, watch);
                    }
                }
                Some(outcome) = outcomes.recv() => self.on_outcome(outcome),
                () = timer => {}
            }
        }
    }

    fn begin_what_is_due(&mut self, outcomes: &mpsc::Sender<Outcome>) {
        let now = self.clock.now();
        while let Some(host) = self.names.due(now) {
            let answer = self.resolver.resolve(&host);
            let outcomes = outcomes.clone();
            tokio::task::spawn_local(async move {
                let outcome = Outcome::Resolved(host, answer.await);
                let _ = outcomes.send(outcome).await;
            });
        }
        while let Some(check) = self.checks.due(now) {
            let Some(watched) = self.watched.get(&check.slot) else {
                unreachable!("what is not watched is not checked");
            };
            let address = watched.watch.address.clone();
            let addresses = Arc::clone(&watched.addresses);
            let kind = watched.watch.check.as_ref().map_or(CheckKind::Connect, |check| check.kind.clone());
            let outcomes = outcomes.clone();
            tokio::task::spawn_local(async move {
                let result = ask::ask(&kind, &address, &addresses, check.timeout).await;
                let _ = outcomes.send(Outcome::Checked(check, result)).await;
            });
        }
    }

    fn set(&mut self, slot: EndpointSlot, watch: Option<Watch>) {
        let now = self.clock.now();
        let old = self.watched.remove(&slot);
        let Some(watch) = watch else {
            self.checks.forget(slot);
            if let Some(Address::Name { host, .. }) = old.map(|old| old.watch.address) {
                self.names.forget(&host, slot);
            }
            return;
        };
        let known = old.filter(|old| old.watch.address == watch.address);
        let health = match &known {
            None => Health::Unproven,
            // It has served unchecked, and goes on until checks have spoken against it.
            Some(known) if known.watch.check.is_none() && watch.check.is_some() => Health::Up,
            Some(known) => known.health,
        };
        let presumed = known.as_ref().is_some_and(|known| known.health != health);
        let addresses = match (&watch.address, known) {
            (_, Some(known)) => known.addresses,
            (Address::Ip(address), None) => [*address].into(),
            (Address::Unix(_), None) => [].into(),
            (Address::Name { host, port }, None) => {
                let known = self.names.watch(host, slot, now);
                known.iter().map(|ip| SocketAddr::new(*ip, *port)).collect()
            }
        };
        let known_name = matches!(watch.address, Address::Name { .. }) && !addresses.is_empty();
        self.watched.insert(slot, Watched { watch, health, addresses });
        self.set_checks(slot);
        if known_name || presumed {
            self.tell(slot, None, known_name);
        }
    }

    fn set_checks(&mut self, slot: EndpointSlot) {
        let now = self.clock.now();
        let jitter = self.jitter();
        let Some(watched) = self.watched.get_mut(&slot) else {
            return;
        };
        match &watched.watch.check {
            Some(check) if watched.is_reachable() => {
                self.checks.watch(slot, watched.health, check.clone(), now, jitter)
            }
            Some(_) => {}
            None => {
                self.checks.forget(slot);
                if watched.health != Health::Unproven {
                    watched.health = Health::Unproven;
                    self.tell(slot, None, false);
                }
            }
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let now = self.clock.now();
        match outcome {
            Outcome::Checked(check, result) => {
                let slot = check.slot;
                let jitter = self.jitter();
                let changed = self.checks.on_result(check, result.is_ok(), now, jitter);
                let watched = self.watched.get_mut(&slot);
                if let (Some(health), Some(watched)) = (changed, watched) {
                    watched.health = health;
                    let cause = result.err().unwrap_or_else(|| "connected".into());
                    self.tell(slot, Some(cause), false);
                }
            }
            Outcome::Resolved(host, answer) => {
                let moved = self.names.on_answer(&host, answer.map_err(drop), now);
                for slot in moved.iter().flat_map(|moved| &moved.users) {
                    let Some(watched) = self.watched.get_mut(slot) else {
                        unreachable!("a user of a name is watched");
                    };
                    let Address::Name { port, .. } = watched.watch.address else {
                        unreachable!("a user of a name has one");
                    };
                    let ips = &moved.as_ref().expect("it has users").addresses;
                    let addresses = ips.iter().map(|ip| SocketAddr::new(*ip, port));
                    watched.addresses = addresses.collect();
                    self.set_checks(*slot);
                    self.tell(*slot, None, true);
                }
            }
        }
    }

    fn tell(&self, slot: EndpointSlot, health_changed: Option<String>, moved: bool) {
        let watched = &self.watched[&slot];
        let state = EndpointState { slot, health: watched.health, addresses: Arc::clone(&watched.addresses) };
        self.desk.findings.rewrite(slot, |unread| Finding {
            state,
            health_changed: health_changed.or_else(|| unread?.health_changed.clone()),
            moved: moved || unread.is_some_and(|unread| unread.moved),
        });
    }

    /// Any number, all equally likely: only so that checks that began together part.
    fn jitter(&mut self) -> u32 {
        self.thrown += 1;
        self.dice.hash_one(self.thrown) as u32
    }
}

impl Watched {
    /// Whether there is anything to connect to.
    fn is_reachable(&self) -> bool {
        !matches!(self.watch.address, Address::Name { .. }) || !self.addresses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::tests::{Server, block_on};
    use policy::generation::HttpCheck;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);
    const A: EndpointSlot = EndpointSlot(1);
    const QUICK: HealthCheck = HealthCheck {
        kind: CheckKind::Connect,
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 2,
    };

    fn prober(source: NameSource) -> Prober {
        Prober::start(source, Clock::start(), None).unwrap()
    }

    fn checked(address: Address) -> Option<Watch> {
        Some(Watch { address, check: Some(QUICK) })
    }

    /// The next news of any backend.
    fn next(prober: &Prober) -> Finding {
        let news = block_on(async { tokio::time::timeout(PATIENCE, prober.findings()).await });
        let mut news = news.expect("news within the patience");
        news.pop_first().unwrap().1
    }

    fn until(prober: &Prober, health: Health) -> Finding {
        loop {
            let news = next(prober);
            if news.state.health == health && news.health_changed.is_some() {
                return news;
            }
        }
    }

    #[test]
    fn a_backend_goes_up_and_down_with_its_listener() {
        let prober = prober(NameSource::System);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        prober.watch([(A, checked(Address::Ip(address)))]);
        until(&prober, Health::Up);
        drop(listener);
        let down = until(&prober, Health::Down);
        assert!(down.health_changed.unwrap().contains("refused"));
        let _again = TcpListener::bind(address).unwrap();
        until(&prober, Health::Up);
    }

    #[test]
    fn a_check_of_http_asks_and_judges_the_answer() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Answers 200 once, and 503 ever after.
        let backend = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for status in [200, 503, 503] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1_024];
                let mut read = 0;
                while !request[..read].ends_with(b"\r\n\r\n") {
                    read += stream.read(&mut request[read..]).unwrap();
                }
                seen.push(String::from_utf8_lossy(&request[..read]).into_owned());
                write!(stream, "HTTP/1.1 {status} x\r\n\r\nready").unwrap();
            }
            seen
        });
        let check = HttpCheck {
            method: "GET".into(),
            path: "/health?deep".into(),
            host: Some("app.test".into()),
            statuses: [(200, 399)].into(),
            body: Some("ready".into()),
        };
        let prober = prober(NameSource::System);
        let check = HealthCheck { kind: CheckKind::Http(Arc::new(check)), ..QUICK };
        prober.watch([(A, Some(Watch { address: Address::Ip(address), check: Some(check) }))]);
        until(&prober, Health::Up);
        assert_eq!(until(&prober, Health::Down).health_changed.unwrap(), "status 503");
        prober.watch([(A, None)]);
        for request in backend.join().unwrap() {
            assert!(request.starts_with("GET /health?deep HTTP/1.0\r\nHost: app.test\r\n"), "{request}");
        }
    }

    #[test]
    fn unix_sockets_are_checked_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sock");
        let prober = prober(NameSource::System);
        prober.watch([(A, checked(Address::Unix(path.clone())))]);
        until(&prober, Health::Down);
        let _listener = UnixListener::bind(path).unwrap();
        until(&prober, Health::Up);
    }

    /// A backend whose accept queue is full answers nothing at all.
    #[test]
    fn a_silent_backend_is_down_and_delays_no_other() {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&socket, &any).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let silent = TcpListener::from(socket);
        let address = silent.local_addr().unwrap();
        let mut queued = Vec::new();
        let soon = Duration::from_millis(300);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, soon) {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue of length 0 never fills");
        }
        let lively = TcpListener::bind("127.0.0.1:0").unwrap();
        let prober = prober(NameSource::System);
        let b = EndpointSlot(2);
        prober.watch([(A, checked(Address::Ip(address))), (b, checked(Address::Ip(lively.local_addr().unwrap())))]);
        assert_eq!(until(&prober, Health::Up).state.slot, b);
        let down = until(&prober, Health::Down);
        assert_eq!(down.state.slot, A);
        assert!(down.health_changed.unwrap().contains("no answer within"));
    }

    fn name(host: &str, port: u16) -> Address {
        Address::Name { host: host.into(), port }
    }

    #[test]
    fn a_name_is_resolved_before_it_is_checked_and_followed_when_it_moves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::start();
        let prober = prober(server.source());
        // Nobody knows the name: no news, and above all not "down".
        prober.watch([(A, checked(name("db.test", port)))]);
        server.says("db.test", &["127.0.0.1"], 1);
        let first = next(&prober);
        assert!(first.moved);
        assert_ne!(first.state.health, Health::Down);
        assert_eq!(*first.state.addresses, [listener.local_addr().unwrap()]);
        if first.state.health != Health::Up {
            until(&prober, Health::Up);
        }
        server.says("db.test", &["127.0.0.9"], 1);
        let down = until(&prober, Health::Down);
        assert_eq!(*down.state.addresses, [SocketAddr::from(([127, 0, 0, 9], port))]);
    }

    #[test]
    fn without_checks_a_name_is_resolved_all_the_same() {
        let server = Server::start();
        server.says("db.test", &["127.0.0.2", "127.0.0.1"], 60);
        let prober = prober(server.source());
        let watch = Watch { address: name("db.test", 5432), check: None };
        prober.watch([(A, Some(watch.clone()))]);
        let found = next(&prober).state;
        let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1:5432", "127.0.0.2:5432"]);
        // A second backend of that name knows at once what is known.
        prober.watch([(EndpointSlot(2), Some(watch))]);
        assert_eq!(next(&prober).state.addresses, found.addresses);
    }

    #[test]
    fn a_new_policy_keeps_the_state_and_none_forgets_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        let prober = prober(NameSource::System);
        prober.watch([(A, checked(address.clone()))]);
        until(&prober, Health::Up);
        let patient = HealthCheck { fall: 3, ..QUICK };
        prober.watch([(A, Some(Watch { address: address.clone(), check: Some(patient) }))]);
        drop(listener);
        // Straight from up to down: nothing in between said `unproven`.
        assert_eq!(next(&prober).state.health, Health::Down);
        prober.watch([(A, Some(Watch { address, check: None }))]);
        assert_eq!(next(&prober).state.health, Health::Unproven);
    }
}
