//! Who is measured: starting each program on its core, waiting until it serves, ending it.
//!
//! To serve means that a connection to its front has reached the origin, or a request has and its answer came back:
//! then it listens, has read what it was told, and knows its backend.
//!
//! A contestant is started anew for every measurement: nothing is carried from one to the next, and the luck
//! of one start (memory layout, ports) does not stay for a whole run. Only processes started here are ended,
//! by their own number; and each dies with us, whatever way we go.

use crate::configuration;
use crate::cpu::{self, Layout};
use crate::load;
use crate::process::{self, Process, timespec};
use crate::scenario::Protocol;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;
use serde::Serialize;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// From exec to the first connection that reaches the origin.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two looks at whether it accepts: none of the programs tells us.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// A front port is chosen free, but somebody else may take it before the program does.
const START_ATTEMPTS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    FloorSplice,
    FloorCopy,
    Nginx,
    Haproxy,
    Sluicegate,
    /// The same program once more: see [`Protocol::same`].
    HaproxyAgain,
    NginxAgain,
}

impl Contestant {
    pub fn label(self) -> &'static str {
        match self {
            Contestant::FloorSplice => "floor-splice",
            Contestant::FloorCopy => "floor-copy",
            Contestant::Nginx => "nginx",
            Contestant::Haproxy => "haproxy",
            Contestant::Sluicegate => "sluicegate",
            Contestant::HaproxyAgain => "haproxy again",
            Contestant::NginxAgain => "nginx again",
        }
    }
}

/// Where the programs are. `None`: not on this machine, so not measured.
pub struct Programs {
    /// This program, which is also the floor.
    pub own: PathBuf,
    pub nginx: Option<PathBuf>,
    pub haproxy: Option<PathBuf>,
    pub sluicegate: Option<PathBuf>,
}

impl Programs {
    /// The given ones; else the appliance that was built beside this program, and what PATH or /usr/sbin has.
    pub fn beside(
        sluicegate: Option<PathBuf>,
        haproxy: Option<PathBuf>,
        nginx: Option<PathBuf>,
    ) -> io::Result<Programs> {
        let own = std::env::current_exe()?;
        let beside = own.with_file_name("sluicegate");
        let sluicegate = sluicegate.or_else(|| beside.is_file().then_some(beside));
        let (haproxy, nginx) = (haproxy.or_else(|| in_path("haproxy")), nginx.or_else(|| in_path("nginx")));
        Ok(Programs { own, nginx, haproxy, sluicegate })
    }

    pub fn has(&self, contestant: Contestant) -> bool {
        match contestant {
            Contestant::FloorSplice | Contestant::FloorCopy => true,
            Contestant::Nginx | Contestant::NginxAgain => self.nginx.is_some(),
            Contestant::Haproxy | Contestant::HaproxyAgain => self.haproxy.is_some(),
            Contestant::Sluicegate => self.sluicegate.is_some(),
        }
    }
}

/// A contestant that serves on `front`. Ended when dropped.
pub struct Running {
    pub front: SocketAddr,
    process: Process,
    /// Goes when the process has ended.
    _directory: TempDir,
}

/// Starts `contestant` before `origin`, on the proxy's core.
pub fn start(
    contestant: Contestant,
    programs: &Programs,
    layout: Layout,
    protocol: Protocol,
    origin: &TcpListener,
) -> Result<Running, String> {
    let mut last = String::new();
    for _ in 0..START_ATTEMPTS {
        match Running::start(contestant, programs, layout, protocol, origin) {
            Ok(running) => return Ok(running),
            Err(error) => last = error,
        }
    }
    Err(format!("{} does not start: {last}", contestant.label()))
}

impl Running {
    fn start(
        contestant: Contestant,
        programs: &Programs,
        layout: Layout,
        protocol: Protocol,
        origin: &TcpListener,
    ) -> Result<Running, String> {
        let told = |error: io::Error| error.to_string();
        let behind = origin.local_addr().map_err(told)?;
        let directory = TempDir::with_prefix("sluicegate-bench-").map_err(told)?;
        let front = free_address().map_err(told)?;
        let told_to = Told { protocol, front, origin: behind, cpu: layout.proxy_cpu, directory: directory.path() };
        let mut command = command(contestant, programs, &told_to).map_err(told)?;
        let process = Process::start(&mut command, directory.path().join("words")).map_err(told)?;
        let running = Running { front, process, _directory: directory };
        running.wait_until_serving(protocol, origin)?;
        if contestant == Contestant::Sluicegate {
            // It pins its own threads for its own reasons; a run must not depend on those.
            cpu::place_threads(running.pid(), |thread| sluicegate_cpu(thread, layout)).map_err(told)?;
        }
        Ok(running)
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Until a connection to the front, and with HTTP a request, has come out at the origin. Both ends are put away, so
    /// that the origin meets nobody but the clients.
    fn wait_until_serving(&self, protocol: Protocol, origin: &TcpListener) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        let late = |what: &str| {
            Err(format!("{what} after {} s, and it said:\n{}", START_MAX.as_secs(), self.process.last_words()))
        };
        let ended = || Err(format!("it ended at once and said:\n{}", self.process.last_words()));
        // No program tells when it listens, so it is asked; what is waited for in between is its end.
        let probe = loop {
            match TcpStream::connect(self.front) {
                Ok(probe) => break probe,
                Err(_) if Instant::now() > deadline => return late("it accepts nothing"),
                Err(_) if self.process.ended_within(PROBE_EVERY) => return ended(),
                Err(_) => {}
            }
        };
        let wrong = |error: io::Error| format!("its first connection came to nothing: {error}");
        if protocol == Protocol::Http {
            // It connects to its origin for requests only.
            load::send_first(&probe).map_err(wrong)?;
        }
        let patience = timespec(deadline.saturating_duration_since(Instant::now()));
        let mut events = [PollFd::new(origin, PollFlags::IN), PollFd::new(&self.process, PollFlags::IN)];
        match rustix::event::poll(&mut events, Some(&patience)) {
            Ok(0) => late("it connects to no origin"),
            Ok(_) if events[1].revents().is_empty() => match protocol {
                Protocol::Tcp => origin.accept().map(drop).map_err(wrong),
                Protocol::Http => load::accept_first(origin).and_then(|()| load::hear_first(&probe)).map_err(wrong),
            },
            Ok(_) => ended(),
            Err(error) => Err(format!("waiting for its first connection failed: {error}")),
        }
    }
}

/// Where a thread of Sluicegate belongs. The kernel's own workers cannot be moved and stay with their shard.
pub fn sluicegate_cpu(thread: &str, layout: Layout) -> Option<usize> {
    match thread {
        thread if thread.starts_with("iou-") => None,
        thread if thread.starts_with("sluice-shard") => Some(layout.proxy_cpu),
        _ => Some(layout.load_cpu),
    }
}

/// What a contestant is told.
struct Told<'a> {
    protocol: Protocol,
    front: SocketAddr,
    origin: SocketAddr,
    cpu: usize,
    /// For its files.
    directory: &'a Path,
}

fn command(contestant: Contestant, programs: &Programs, told: &Told<'_>) -> io::Result<Command> {
    let Told { protocol, front, origin, cpu, directory } = *told;
    let missing = |name: &str| io::Error::other(format!("{name} is not on this machine"));
    let floor = |carrier: &str| {
        let mut command = Command::new(&programs.own);
        command.args(["floor", "--carrier", carrier, "--cpu", &cpu.to_string()]);
        command.arg(front.to_string()).arg(origin.to_string());
        command
    };
    let bound = |program: &Option<PathBuf>, name: &str| {
        let program = program.as_deref().ok_or_else(|| missing(name))?;
        io::Result::Ok(process::bound_to_us(&programs.own, cpu, program))
    };
    Ok(match contestant {
        // It relays the bytes of either protocol.
        Contestant::FloorSplice => floor("splice"),
        Contestant::FloorCopy => floor("copy"),
        Contestant::Nginx | Contestant::NginxAgain => {
            let path = directory.join("nginx.conf");
            let text = match protocol {
                Protocol::Tcp => return Err(io::Error::other("nginx is measured with HTTP only")),
                Protocol::Http => configuration::nginx_http(front, origin, directory),
            };
            fs::write(&path, text)?;
            let mut command = bound(&programs.nginx, "nginx")?;
            // Before it has read where its log is, it would open the one it was built with.
            command.arg("-e").arg("stderr").arg("-p").arg(directory).arg("-c").arg(path);
            command
        }
        Contestant::Haproxy | Contestant::HaproxyAgain => {
            let path = directory.join("haproxy.cfg");
            let text = match protocol {
                Protocol::Tcp => configuration::haproxy_tcp(front, origin, cpu),
                Protocol::Http => configuration::haproxy_http(front, origin, cpu),
            };
            fs::write(&path, text)?;
            let mut command = bound(&programs.haproxy, "haproxy")?;
            // In the foreground: the process we start is the one that works.
            command.arg("-db").arg("-f").arg(path);
            command
        }
        Contestant::Sluicegate => {
            let path = directory.join("bench.toml");
            let text = match protocol {
                Protocol::Tcp => configuration::sluicegate_tcp(front, origin, directory),
                Protocol::Http => configuration::sluicegate_http(front, origin, directory),
            };
            fs::write(&path, text)?;
            let mut command = bound(&programs.sluicegate, "sluicegate")?;
            command.arg("run").arg(path);
            command
        }
    })
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_on_the_proxys_core_and_the_rest_is_not() {
        let layout = Layout { proxy_cpu: 0, load_cpu: 1 };
        assert_eq!(sluicegate_cpu("sluice-shard-0", layout), Some(0));
        assert_eq!(sluicegate_cpu("sluice-control", layout), Some(1));
        assert_eq!(sluicegate_cpu("sluicegate", layout), Some(1));
        assert_eq!(sluicegate_cpu("iou-wrk-12", layout), None);
    }

    #[test]
    fn a_program_that_ends_at_once_is_told_with_its_last_words() {
        let origin = crate::load::listen().unwrap();
        // This test's program does not know the arguments of a floor, says so and ends.
        let programs = Programs { own: std::env::current_exe().unwrap(), nginx: None, haproxy: None, sluicegate: None };
        let layout = Layout { proxy_cpu: 0, load_cpu: 0 };
        let told = |contestant, protocol| {
            start(contestant, &programs, layout, protocol, &origin).err().expect("nothing of this starts here")
        };
        let error = told(Contestant::FloorCopy, Protocol::Tcp);
        assert!(error.contains("floor-copy does not start: it ended at once and said:\n"), "{error}");
        let error = told(Contestant::Haproxy, Protocol::Tcp);
        assert!(error.contains("haproxy is not on this machine"), "{error}");
        let error = told(Contestant::Nginx, Protocol::Http);
        assert!(error.contains("nginx is not on this machine"), "{error}");
    }
}
