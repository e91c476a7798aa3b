//! `run`: from a document to an appliance that serves, and to its end.

use crate::check::{colour, cores};
use crate::cli::Run;
use crate::demo;
use crate::embedded::{self, Addresses};
use agent::{Agent, Handle, Loaded, NameSource, Outcome, Setup, ShardPort, StopMode, Text};
use anstream::{eprintln, println};
use link::counters::CounterPages;
use link::listen::Registry;
use link::log;
use link::mailbox::mailbox;
use link::quota::Quotas;
use policy::ShardId;
use policy::http::affinity::HashKey;
use shard::bounds::Bounds;
use shard::machine::Machine;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Reports of all shards that wait for control. Beyond: each shard keeps its own and tries again.
const REPORTS: usize = 16 << 10;

/// How long shards may take to serve after the start.
const START: Duration = Duration::from_secs(10);

/// Runs until told to stop. Success: it served, and stopped when it was told to.
pub fn run(run: Run) -> ExitCode {
    match serve(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {}", why.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn serve(run: Run) -> Result<(), String> {
    let epoch = Instant::now();
    let machine = Machine::examine().map_err(|unfit| unfit.to_string())?;
    let listen = Addresses {
        http: run.http.as_deref().unwrap_or(embedded::HTTP),
        tcp: run.tcp.as_deref().unwrap_or(embedded::TCP),
    };
    let text = match &run.file {
        Some(file) => Text::File(absolute(file)?),
        None => {
            let origins = demo::start().map_err(|error| format!("the built-in origins do not start: {error}"))?;
            Text::Embedded(embedded::document(listen, &origins, None, run.shards))
        }
    };
    let is_embedded = run.file.is_none();
    let on_terminal = colour(io::stderr().is_terminal());
    let mut loaded = agent::load(text, cores()).map_err(|error| match is_embedded {
        true => format!("--http {}, --tcp {} or --shards: {}", listen.http, listen.tcp, error.draw(on_terminal)),
        false => error.draw(on_terminal),
    })?;
    let warnings = loaded.warnings().draw(on_terminal);
    if !warnings.is_empty() {
        eprintln!("{}", warnings.trim_end());
    }
    for told in loaded.resume().map_err(|error| error.to_string())? {
        eprintln!("warning: {told}");
    }
    let control_socket = control_socket(&run, &loaded)?;
    let shards = loaded.shards();
    machine.carries(shards).map_err(|unfit| unfit.to_string())?;
    let asked = Some(loaded.config().appliance.connections as usize);
    let bounds = Bounds::of_one(shards, machine.descriptors, asked);
    say_bounds(&machine, shards, &bounds);

    let Wired { ports, setups, reports, pages, registry } =
        wire(shards, &machine, bounds, epoch).map_err(|error| format!("cannot make what crosses threads: {error}"))?;
    let setup = Setup {
        loaded,
        control_socket: control_socket.clone(),
        shards: ports,
        pages,
        reports,
        registry,
        epoch,
        cores: control_cores(&machine, shards),
        version: env!("CARGO_PKG_VERSION"),
        names: NameSource::System,
    };
    let mut agent = agent::start(setup).map_err(|error| match is_embedded {
        true => format!("{error}\n{}", flags(&error.to_string(), listen)),
        false => error.to_string(),
    })?;
    let keepers = start_shards(setups, agent.handle())?;
    let signals = watch_signals(agent.handle().clone()).map_err(|error| format!("cannot watch signals: {error}"))?;
    if !agent.wait_ready(START) {
        return Err(format!("not every shard serves {} s after the start", START.as_secs()));
    }
    if link::listen::syn_filter_is_missing() {
        eprintln!(
            "warning: this kernel lets nobody without CAP_NET_ADMIN attach a socket filter: a client that connects at the \
             very moment when its address is added or removed may be reset"
        );
    }
    welcome(&run, listen, &control_socket, shards);
    let ended = finish(agent);
    keepers.into_iter().for_each(|keeper| drop(keeper.join()));
    drop(signals);
    ended
}

/// What shards and control are given of each other.
struct Wired {
    ports: Vec<ShardPort>,
    setups: Vec<shard::Setup>,
    reports: link::mailbox::Mailbox<shard::Signed>,
    pages: Vec<Arc<CounterPages>>,
    registry: Arc<Registry>,
}

fn wire(shards: usize, machine: &Machine, bounds: Bounds, epoch: Instant) -> io::Result<Wired> {
    let (post, reports) = mailbox(REPORTS)?;
    let registry = Registry::new();
    let (pools, endpoints) = (bounds.pools as u32, bounds.endpoints as u32);
    let quotas = Quotas::new(pools, endpoints);
    let pages: Vec<_> = (0..shards).map(|_| CounterPages::new(pools, endpoints)).collect();
    let handovers = (0..shards).map(|_| mailbox(bounds.handed_over)).collect::<io::Result<Vec<_>>>()?;
    let siblings: Vec<_> = handovers.iter().map(|(post, _)| post.clone()).collect();
    let hash_key = hash_key();
    let (mut ports, mut setups) = (Vec::new(), Vec::new());
    for (ix, (_, handed)) in handovers.into_iter().enumerate() {
        let (orders, order_box) = mailbox(bounds.orders)?;
        let (log_writer, log_reader) = log::ring(bounds.log_records, bounds.log_text)?;
        ports.push(ShardPort { orders, log: log_reader });
        setups.push(shard::Setup {
            id: ShardId(ix as u16),
            cpu: machine.cpus.get(ix).copied(),
            bounds,
            orders: order_box,
            handed,
            siblings: siblings.clone(),
            reports: post.clone(),
            registry: registry.clone(),
            quotas: quotas.clone(),
            pages: pages.clone(),
            log: log_writer,
            hash_key,
            fault: None,
            epoch,
        });
    }
    Ok(Wired { ports, setups, reports, pages, registry })
}

/// By what requests that are hashed find their backend: secret to clients, and the same after a restart.
fn hash_key() -> HashKey {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    // Without an identity of its own to go by, another key at each start.
    let machine = if machine.is_empty() { RandomState::new().hash_one(0).to_be_bytes().to_vec() } else { machine };
    let hash = blake3::derive_key("sluicegate: the hash of requests, by machine", &machine);
    HashKey(*hash.first_chunk().expect("a hash is longer"))
}

/// Cores for control's threads: those without a shard, or the last one if there is a shard on each.
fn control_cores(machine: &Machine, shards: usize) -> Vec<usize> {
    match machine.cpus.get(shards..) {
        Some(free) if !free.is_empty() => free.to_vec(),
        _ => machine.cpus.last().copied().into_iter().collect(),
    }
}

/// Starts the shards; for each a thread waits that tells control should one end for good.
fn start_shards(setups: Vec<shard::Setup>, handle: &Handle) -> Result<Vec<thread::JoinHandle<()>>, String> {
    let mut keepers = Vec::new();
    for setup in setups {
        let id = setup.id;
        let running = shard::spawn(setup).map_err(|error| format!("shard {id} does not start: {error}"))?;
        let handle = handle.clone();
        let keeper = thread::Builder::new().name(format!("sluice-keep-{id}")).spawn(move || match running.join() {
            Ok(Ok(shard::Ended::Stopped)) => {}
            Ok(Ok(shard::Ended::Ring(error)) | Err(error)) => {
                eprintln!("error: shard {id} has ended: {error}");
                handle.shard_gone(id);
            }
            Err(_) => handle.shard_gone(id),
        });
        keepers.push(keeper.map_err(|error| format!("a thread does not start: {error}"))?);
    }
    Ok(keepers)
}

/// SIGHUP applies the document again. SIGTERM and SIGINT stop gracefully, a second one at once.
fn watch_signals(handle: Handle) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut hangup, mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    thread::Builder::new().name("sluice-signals".into()).spawn(move || {
        runtime.block_on(async {
            let mut asked = false;
            loop {
                tokio::select! {
                    Some(()) = hangup.recv() => handle.reload(),
                    Some(()) = terminate.recv() => stop(&handle, &mut asked),
                    Some(()) = interrupt.recv() => stop(&handle, &mut asked),
                    else => return,
                }
            }
        });
    })
}

fn stop(handle: &Handle, asked: &mut bool) {
    let mode = if std::mem::replace(asked, true) { StopMode::Now } else { StopMode::Graceful };
    handle.stop(mode, None);
}

fn finish(agent: Agent) -> Result<(), String> {
    match agent.wait() {
        Outcome::Stopped { unfinished } if unfinished.is_empty() => Ok(()),
        Outcome::Stopped { unfinished } => Err(format!("stopped, but the shards {unfinished:?} had not finished")),
        Outcome::Broken { cause } => Err(format!("control has failed for good: {cause}")),
        Outcome::Socket(error) => Err(format!("the control socket has failed: {error}")),
    }
}

fn absolute(file: &Path) -> Result<PathBuf, String> {
    std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The flag, the document, the usual place: in this order.
fn control_socket(run: &Run, loaded: &Loaded) -> Result<PathBuf, String> {
    match run.control_socket.as_ref().or(loaded.config().appliance.control_socket.as_ref()) {
        Some(path) => absolute(path),
        None => agent::default_socket().map_err(|error| error.to_string()),
    }
}

fn say_bounds(machine: &Machine, shards: usize, bounds: &Bounds) {
    let locked = machine.locked_memory.map_or("no limit".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    eprintln!(
        "kernel {}, {shards} shard{}; up to {} connections, {} on a shard, and {} pipes each ({} descriptors, locked memory {locked})",
        machine.kernel,
        if shards == 1 { "" } else { "s" },
        bounds.connections_in_all,
        bounds.connections,
        bounds.pipes,
        machine.descriptors,
    );
}

/// What helps where this is in the way of the embedded default.
fn flags(error: &str, listen: Addresses<'_>) -> String {
    let Addresses { http, tcp } = listen;
    let listens = [("--http", http), ("--tcp", tcp)];
    match listens.iter().find(|(_, address)| error.contains(address)) {
        Some((flag, address)) => format!("help: `{flag} ADDRESS` listens elsewhere than {address}"),
        None => "help: `--control-socket PATH` takes orders elsewhere".to_owned(),
    }
}

fn welcome(run: &Run, listen: Addresses<'_>, control_socket: &Path, shards: usize) {
    let socket = control_socket.display();
    let shards = if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") };
    match &run.file {
        Some(file) => println!("sluicegate runs {} on {shards}, control socket {socket}", file.display()),
        None => {
            println!("sluicegate runs its embedded default on {shards}");
            println!();
            let Addresses { http, tcp } = listen;
            println!("  HTTP pool `web`   http://{http}, two rules over two built-in origins");
            println!("  TCP pool `demo`   {tcp}, over the same");
            println!("  control socket    {socket}");
            println!();
            println!("Try next:");
            println!("  curl http://{http}/api/hello");
            println!("  cargo run -q --release -p sluicectl -- status");
            println!("  cargo run -q --release -p sluicectl -- backend set web a --drain");
        }
    }
}
