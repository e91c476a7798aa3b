//! The whole control side against shards without sockets, over a real control socket.

mod answers;
mod changes;
mod drift;
mod durable;
mod events;
mod explain;
mod fake;
mod faults;
mod gather;
mod lifecycle;
mod partial;
mod plan;
mod self_check;
mod slots;

use crate::control::{Event, Fault};
use crate::resolve::NameSource;
use crate::{Agent, Setup, ShardPort, Text, load, start};
use api::answer::{Failure, Progress};
use api::order::Apply;
use api::{Body, Client, Generations, Happening, Order, Receipt, Reply, Status};
use fake::Fake;
use link::counters::CounterPages;
use link::listen::Registry;
use link::mailbox::mailbox;
use policy::ShardId;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Everything that is waited for comes long before.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running control side with its fake shards.
pub struct Rig {
    pub agent: Option<Agent>,
    pub shards: Vec<Fake>,
    pub folder: tempfile::TempDir,
    socket: PathBuf,
    /// What the operator is told of the process before.
    pub told: Vec<String>,
}

impl Rig {
    /// Two shards.
    pub fn new(pools: &str) -> Rig {
        Rig::with(2, "", pools)
    }

    /// `head`: further keys of the appliance, then tables.
    pub fn with(shards: usize, head: &str, pools: &str) -> Rig {
        let rig = Rig::asleep(shards, head, pools, NameSource::System);
        rig.woken()
    }

    /// Not waited for.
    pub fn asleep(shards: usize, head: &str, pools: &str, names: NameSource) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("site.toml");
        std::fs::write(&document, format!("{}{pools}", Rig::head(shards, head))).unwrap();
        Rig::found(folder, shards, names)
    }

    /// With the document that is in the folder. Not waited for.
    pub fn found(folder: tempfile::TempDir, shards: usize, names: NameSource) -> Rig {
        let document = folder.path().join("site.toml");
        let socket = folder.path().join("control.sock");
        let registry = Registry::new();
        let (reports_in, reports) = mailbox(4096).unwrap();
        let mut loaded =
            load(Text::File(document), shards).unwrap_or_else(|error| panic!("{}", error.draw(config::Colour::Plain)));
        let told = loaded.resume().unwrap_or_else(|error| panic!("{error}"));
        let mut pages = Vec::new();
        let mut ports = Vec::new();
        let mut fakes = Vec::new();
        for id in 0..shards as u16 {
            let page = CounterPages::new(1000, 10_000);
            // Small on purpose: control must cope with a shard that is behind.
            let (postbox, orders) = mailbox(4).unwrap();
            let (writer, reader) = link::log::ring(64, 4096).unwrap();
            pages.push(Arc::clone(&page));
            fakes.push(fake::start(fake::Parts {
                id: ShardId(id),
                orders,
                reports: reports_in.clone(),
                page,
                log: writer,
                registry: Arc::clone(&registry),
            }));
            ports.push(ShardPort { orders: postbox, log: reader });
        }
        let agent = start(Setup {
            loaded,
            control_socket: socket.clone(),
            shards: ports,
            pages,
            reports,
            registry: Arc::clone(&registry),
            epoch: Instant::now(),
            cores: Vec::new(),
            version: "0.0.0",
            names,
        });
        let agent = agent.unwrap_or_else(|error| panic!("{error}"));
        Rig { agent: Some(agent), shards: fakes, folder, socket, told }
    }

    pub fn woken(mut self) -> Rig {
        let agent = self.agent.as_mut().unwrap();
        assert!(agent.wait_ready(PATIENCE), "not every shard serves");
        self
    }

    fn head(shards: usize, head: &str) -> String {
        format!(
            "[appliance]\nshards = {shards}\n{head}\n[log.access]\nsink = \"off\"\n[log.events]\nlevel = \"error\"\n"
        )
    }

    /// A document with these pools and everything else as it was.
    pub fn document(&self, head: &str, pools: &str) -> String {
        format!("{}{pools}", Rig::head(self.shards.len(), head))
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn call(&self, order: Order) -> Result<Body, Box<Failure>> {
        self.told(order, |_| {})
    }

    pub fn told(&self, order: Order, on_progress: impl FnMut(&Progress)) -> Result<Body, Box<Failure>> {
        let mut client = self.client().with_patience(api::Patience::Fixed(PATIENCE));
        match client.call(order, on_progress).unwrap_or_else(|error| panic!("{error}")).reply {
            Reply::Ok { result } => Ok(result),
            Reply::Error { error } => Err(error),
            Reply::Processing { .. } => unreachable!("a final answer"),
        }
    }

    pub fn change(&self, order: Order) -> Result<Receipt, Box<Failure>> {
        match self.call(order)? {
            Body::Receipt(receipt) => Ok(*receipt),
            other => panic!("{other:?}"),
        }
    }

    pub fn apply(&self, pools: &str) -> Result<Receipt, Box<Failure>> {
        self.apply_with("", pools)
    }

    pub fn apply_with(&self, head: &str, pools: &str) -> Result<Receipt, Box<Failure>> {
        let document = self.document(head, pools);
        self.change(Order::Apply(Apply { document, ..Apply::default() }))
    }

    pub fn status(&self) -> Status {
        match self.call(Order::Status) {
            Ok(Body::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    pub fn generations(&self) -> Generations {
        match self.call(Order::Generations) {
            Ok(Body::Generations(generations)) => generations,
            other => panic!("{other:?}"),
        }
    }

    pub fn receipt(&self, job: u64) -> Receipt {
        match self.call(Order::Receipt(api::order::ReceiptOf { job })) {
            Ok(Body::Receipt(receipt)) => *receipt,
            other => panic!("{other:?}"),
        }
    }

    pub fn plant(&self, fault: Fault) {
        let handle = self.agent.as_ref().unwrap().handle();
        handle.send(Event::Fault(fault));
    }

    /// Asks for events until one is wanted.
    pub fn events(&self) -> Follow {
        let mut client = self.client();
        client.send(Order::Events(api::order::Events { from: Some(0) })).unwrap();
        Follow { client, seen: Vec::new(), numbers: Vec::new() }
    }

    /// Asks again and again; for what has no event.
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut(&Rig) -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(self) {
                Ok(found) => return found,
                Err(seen) => assert!(Instant::now() < deadline, "{what}: {seen}"),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Rig {
    /// Ends it, so that the next test has the machine to itself. After a failure everything is left as it is.
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take().filter(|_| !std::thread::panicking()) {
            agent.handle().stop(api::order::StopMode::Now, None);
            self.shards.iter().for_each(|shard| shard.tell(fake::Do::Go));
            agent.wait();
        }
    }
}

/// All events since the start, one after the other.
pub struct Follow {
    client: Client,
    pub seen: Vec<Happening>,
    /// Theirs, in the same order.
    pub numbers: Vec<u64>,
}

impl Follow {
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Happening) -> bool) -> Happening {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let answer = self.client.receive(Some(PATIENCE)).unwrap_or_else(|error| panic!("{what}: {error}"));
            let Reply::Processing { progress: Progress::Event { event } } = answer.answer.reply else {
                panic!("{what}: {answer:?}")
            };
            self.numbers.push(event.number);
            self.seen.push(event.happening.clone());
            if wanted(&event.happening) {
                return event.happening;
            }
        }
        panic!("{what} has not happened: {:?}", self.seen)
    }
}

/// A pool `db` at these addresses, with these backends: id, port, further keys.
pub fn db(listen: &[String], backends: &[(&str, u16, &str)]) -> String {
    pool("db", listen, backends)
}

pub fn pool(id: &str, listen: &[String], backends: &[(&str, u16, &str)]) -> String {
    let mut text = format!("[pool.{id}.create]\nservice = \"tcp\"\nlisten = {listen:?}\n");
    for (backend, port, keys) in backends {
        text +=
            &format!("[[pool.{id}.group.main.backend]]\nid = \"{backend}\"\naddress = \"127.0.0.1:{port}\"\n{keys}\n");
    }
    text
}

/// An address that nobody listens on, given out once: the kernel may choose a port that it has chosen before.
pub fn free_address() -> String {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(address) {
            return address.to_string();
        }
    }
}
