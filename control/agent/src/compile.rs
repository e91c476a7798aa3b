//! The thread `sluice-compile`: everything of a job that may take long and is not a matter of time-outs.
//!
//! Builds (see [`crate::build`]), binds, opens logs, asks the kernel about handshakes, and drops what nobody holds any more.
//! Owns the slots of all identities, because compiling gives them out. Works at low priority: on a small machine every core
//! has a shard.

use crate::book::SlotSet;
use crate::build::{Build, Built, Fate};
use crate::kept::KeptGeneration;
use crate::log::{Format, Output, Sink, Target};
use crate::names::Name;
use crate::rehearse::Scene;
use crate::touched::Counted;
use config::{AccessFormat, AccessLog, Bind, Compiled, Config, LogSink, RulePlaces, Running, RunningPool, Slots};
use link::listen::{BindAddress, ListenGroup, bind, pending_handshakes};
use policy::generation::Address;
use policy::reload::Part;
use policy::{JobId, ListenerSlot, ShardSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Connections that may wait to be accepted, per address and shard. The kernel's own bound is
/// `net.core.somaxconn`, 4,096 since Linux 5.4.
const BACKLOG: u32 = 4096;

/// File mode of a Unix socket that clients come in by. Who may reach it is decided by its folder, as for an
/// address of the loopback.
const SOCKET_MODE: u32 = 0o666;

/// Priority of the thread: everything else goes first.
const NICE: i32 = 10;

/// What control asks for. Done in order.
pub enum Work {
    /// Answered by [`Done::Built`].
    Build(Box<Build>),
    /// Answered by [`Done::Bound`].
    Bind {
        job: JobId,
        binds: Vec<Bind>,
        log: Option<AccessLog>,
    },
    /// The change is in force, so addresses that it left are named anew.
    Applied(Box<Compiled>),
    /// The change is not, and never will be.
    Discard(Box<Compiled>),
    /// Nobody can name these any more.
    Release(SlotSet),
    /// Answered by [`Done::Handshakes`].
    Handshakes(Vec<(ListenerSlot, Arc<ListenGroup>)>),
    /// The last references to these, and what they were made of.
    Free(Vec<(Part, Option<RunningPool>)>),
    Sockets(Vec<Arc<ListenGroup>>),
    /// Documents of the past, the last references to what only they have.
    Forget(Vec<KeptGeneration>),
    /// Answered with what the compiler would build on.
    Rehearse {
        running: Arc<Running>,
        base: Arc<Config>,
        places: Arc<RulePlaces>,
        reply: oneshot::Sender<Box<Scene>>,
    },
    /// A test looks at what is given out, or holds everything up.
    #[cfg(test)]
    Look(Look),
}

#[cfg(test)]
pub type Look = Box<dyn FnOnce(&Slots) + Send>;

/// What control gets back.
pub enum Done {
    Built {
        job: JobId,
        result: Built,
        /// By steps, if there was more than one.
        fates: Vec<Fate>,
    },
    Bound {
        job: JobId,
        result: Result<Bound, String>,
    },
    /// Addresses on which nothing is pending and nothing waits to be accepted.
    Handshakes {
        over: Vec<ListenerSlot>,
    },
}

/// Sockets that listen behind their filters, and the log that is opened.
#[derive(Debug, Default)]
pub struct Bound {
    pub groups: Vec<(ListenerSlot, ListenGroup)>,
    pub log: Option<Output>,
}

/// Where work is handed in.
#[derive(Debug)]
pub struct Workshop {
    sender: mpsc::Sender<Work>,
    /// `None`: a simulation does the work.
    thread: Option<JoinHandle<()>>,
}

impl Workshop {
    /// Unbounded, and bounded by what asks: a job has one piece of work at a time, a part is freed once.
    pub fn ask(&self, work: Work) {
        let asked = self.sender.send(work);
        assert!(asked.is_ok(), "the compiler thread is gone");
    }

    /// Waits until all that was asked for is done.
    pub fn end(self) {
        drop(self.sender);
        let _ = self.thread.map(JoinHandle::join);
    }

    /// Work is left to whoever has the other end.
    #[cfg(feature = "sim")]
    pub fn unmanned() -> (Workshop, mpsc::Receiver<Work>) {
        let (sender, works) = mpsc::channel();
        (Workshop { sender, thread: None }, works)
    }
}

/// What the thread owns and what it may look at.
pub struct Compiler {
    pub slots: Slots,
    pub shards: ShardSet,
    pub counted: Counted,
}

impl Compiler {
    /// Starts the thread.
    pub fn start(
        mut self,
        core: Option<core_affinity::CoreId>,
        done: impl Fn(Done) + Send + 'static,
    ) -> io::Result<Workshop> {
        let (sender, works) = mpsc::channel();
        let thread = std::thread::Builder::new().name(Name::Compile.to_string()).spawn(move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            // Without the right to be nice it works all the same.
            let _ = rustix::process::nice(NICE);
            for work in works {
                self.work(work, &done);
            }
        })?;
        Ok(Workshop { sender, thread: Some(thread) })
    }

    pub(crate) fn work(&mut self, work: Work, done: &dyn Fn(Done)) {
        match work {
            Work::Build(build) => {
                let job = build.job;
                let (result, fates) = self.build(*build);
                done(Done::Built { job, result, fates });
            }
            Work::Bind { job, binds, log } => {
                let result = bind_all(&binds, log.as_ref());
                done(Done::Bound { job, result });
            }
            Work::Applied(compiled) => compiled.applied(&mut self.slots),
            Work::Discard(compiled) => drop(compiled),
            Work::Release(slots) => self.release(slots),
            Work::Handshakes(groups) => {
                let over = groups.into_iter().filter(|(_, group)| is_quiet(group)).map(|(slot, _)| slot);
                done(Done::Handshakes { over: over.collect() });
            }
            Work::Free(parts) => drop(parts),
            Work::Sockets(groups) => drop(groups),
            Work::Forget(generations) => drop(generations),
            Work::Rehearse { running, base, places, reply } => {
                let (slots, shards) = (self.slots.clone(), self.shards);
                // Whoever asked may have left.
                let _ = reply.send(Box::new(Scene { slots, shards, running, base, places }));
            }
            #[cfg(test)]
            Work::Look(look) => look(&self.slots),
        }
    }

    fn release(&mut self, slots: SlotSet) {
        let SlotSet { pools, endpoints, listeners } = slots;
        for slot in pools {
            self.slots.release_pool(slot);
        }
        for slot in endpoints {
            self.slots.release_endpoint(slot);
        }
        for slot in listeners {
            self.slots.release_listener(slot);
        }
    }
}

/// The first generation, compiled before there is a thread.
pub fn first(
    running: &Running,
    config: &Arc<Config>,
    job: JobId,
    shards: ShardSet,
    slots: &mut Slots,
) -> (Compiled, config::Plan) {
    let plan = config::diff(&running.config, config);
    let live = plan.live().expect("to add pools to none is always possible");
    let compiled = config::compile(running, config, live, job, shards, slots);
    (compiled, plan)
}

/// All or none: what was bound is closed again when another cannot be.
pub fn bind_all(binds: &[Bind], log: Option<&AccessLog>) -> Result<Bound, String> {
    let mut bound = Bound::default();
    for address in binds {
        let shards: Vec<u16> = address.shards.iter().map(|shard| shard.0).collect();
        let group = bind(&bind_address(&address.address), &shards, BACKLOG).map_err(|error| error.to_string())?;
        bound.groups.push((address.listener, group));
    }
    bound.log = log.map(open_log).transpose()?;
    Ok(bound)
}

/// How long the start tries again to listen where somebody listens. The sockets of a process that was
/// killed outlive it by some milliseconds, and no event tells of their end.
const BIND_PATIENCE: Duration = Duration::from_secs(1);

/// As [`bind_all`], at the start of the process.
pub fn bind_patiently(binds: &[Bind], log: Option<&AccessLog>) -> Result<Bound, String> {
    let began = Instant::now();
    loop {
        match bind_all(binds, log) {
            Err(_) if began.elapsed() < BIND_PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

fn bind_address(address: &Address) -> BindAddress {
    match address {
        Address::Ip(address) => BindAddress::Ip(*address),
        Address::Unix(path) => BindAddress::Unix { path: path.clone(), mode: SOCKET_MODE },
        Address::Name { .. } => unreachable!("nobody listens on a name: config refuses it"),
    }
}

/// Opens the access log as the document has it.
pub fn open_log(log: &AccessLog) -> Result<Output, String> {
    let format = match (log.format, &log.template) {
        (AccessFormat::Common, _) => Format::Common,
        (AccessFormat::Combined, _) => Format::Combined,
        (AccessFormat::Json, _) => Format::Json,
        (AccessFormat::Template, Some(template)) => Format::Template(template.clone()),
        (AccessFormat::Template, None) => unreachable!("config wants the template"),
    };
    let target = match (log.sink, &log.path) {
        (LogSink::Off, _) => return Ok(Output { format, sink: None }),
        (LogSink::Stdout, _) => Target::Stdout,
        (LogSink::Stderr, _) => Target::Stderr,
        (LogSink::File, Some(path)) => Target::File(path.clone()),
        (LogSink::File, None) => unreachable!("config wants a path for a file"),
    };
    let sink = Sink::open(&target).map_err(|error| format!("the access log {target} cannot be opened: {error}"))?;
    Ok(Output { format, sink: Some((target, sink)) })
}

/// Whether nobody is on the way in: no handshake under way and nothing in the accept queues. Where the
/// kernel does not say, the time-out of the watch decides.
fn is_quiet(group: &ListenGroup) -> bool {
    let none_pending = pending_handshakes(group.local_addr()).is_ok_and(|pending| pending == 0);
    let mut sockets = group.shards().filter_map(|shard| group.socket(shard));
    none_pending && sockets.all(|socket| socket.accept_queue_len().is_ok_and(|waiting| waiting == 0))
}
