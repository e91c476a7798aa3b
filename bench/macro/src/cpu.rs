//! CPU time as the kernel accounts it, and where threads run.
//!
//! A process is measured from outside through `/proc`, the same way for every contestant. The scheduler's
//! own account (`schedstat`, nanoseconds) is taken thread by thread; it forgets a thread that has ended, so
//! the process's total (`stat`, 10 ms steps, ended threads included) stands in when one did.
//!
//! Interrupts are charged to whoever runs: on loopback that is the sender, for the receiver's half of TCP
//! too. It is the same for all contestants.

use rustix::process::Pid;
use rustix::thread::CpuSet;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{fs, io};

/// One moment: the proxy's CPU time, our own, and what the two cores did.
pub struct Witness {
    at: Instant,
    proxy: ProcessTime,
    load: ProcessTime,
    proxy_core: CoreTime,
    load_core: CoreTime,
}

/// Between two moments.
#[derive(Clone, Debug, Serialize)]
pub struct Spent {
    #[serde(rename = "wall_nanos", serialize_with = "nanos")]
    pub wall: Duration,
    #[serde(rename = "proxy_nanos", serialize_with = "nanos")]
    pub proxy: Duration,
    /// By thread name, threads of the same name together.
    pub proxy_thread_nanos: BTreeMap<String, u64>,
    /// A thread of the proxy ended, so `proxy` is the process's total in steps of 10 ms.
    pub coarse: bool,
    /// Origin and clients together.
    #[serde(rename = "load_nanos", serialize_with = "nanos")]
    pub load: Duration,
    pub proxy_core: CoreShare,
    pub load_core: CoreShare,
    /// What neither the proxy nor the load used, of one core: somebody else was measured too.
    pub foreign: f64,
}

impl Spent {
    /// CPU of the proxy, all threads, in cores.
    pub fn proxy_share(&self) -> f64 {
        self.proxy.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// CPU of origin and clients, in cores.
    pub fn load_share(&self) -> f64 {
        self.load.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// Shares of one core.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CoreShare {
    pub busy: f64,
    /// Taken by the hypervisor for others.
    pub steal: f64,
}

/// The cores of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Layout {
    pub proxy_cpu: usize,
    pub load_cpu: usize,
}

impl Witness {
    pub fn now(proxy: Pid, layout: Layout) -> io::Result<Witness> {
        let stat = fs::read_to_string("/proc/stat")?;
        Ok(Witness {
            at: Instant::now(),
            proxy: ProcessTime::read(proxy)?,
            load: ProcessTime::read(rustix::process::getpid())?,
            proxy_core: CoreTime::parse(&stat, layout.proxy_cpu)?,
            load_core: CoreTime::parse(&stat, layout.load_cpu)?,
        })
    }

    pub fn until(&self, later: &Witness) -> Spent {
        let wall = later.at - self.at;
        let (proxy, threads, coarse) = self.proxy.until(&later.proxy);
        let proxy_thread_nanos = threads.into_iter().map(|(name, time)| (name, time.as_nanos() as u64)).collect();
        let (load, ..) = self.load.until(&later.load);
        let proxy_core = self.proxy_core.until(&later.proxy_core, wall);
        let load_core = self.load_core.until(&later.load_core, wall);
        let known = (proxy + load).as_secs_f64() / wall.as_secs_f64();
        let foreign = (proxy_core.busy + load_core.busy - known).max(0.0);
        Spent { wall, proxy, proxy_thread_nanos, coarse, load, proxy_core, load_core, foreign }
    }
}

/// CPU time of one process since it began.
struct ProcessTime {
    threads: BTreeMap<u32, (String, Duration)>,
    /// Ended threads included.
    total: Duration,
}

impl ProcessTime {
    fn read(pid: Pid) -> io::Result<ProcessTime> {
        let root = format!("/proc/{}", pid.as_raw_nonzero());
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("{root}/task"))? {
            let path = entry?.path();
            let Some(tid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading; then it is not in the listing for us.
            let (Ok(name), Ok(account)) =
                (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
            else {
                continue;
            };
            threads.insert(tid, (name.trim_end().to_owned(), parse_schedstat(&account)?));
        }
        let total = parse_stat(&fs::read_to_string(format!("{root}/stat"))?)?;
        Ok(ProcessTime { threads, total })
    }

    /// The time used, by thread name, and whether only the coarse total could be used.
    fn until(&self, later: &ProcessTime) -> (Duration, BTreeMap<String, Duration>, bool) {
        let mut by_name: BTreeMap<String, Duration> = BTreeMap::new();
        for (tid, (name, time)) in &later.threads {
            let before = self.threads.get(tid).map_or(Duration::ZERO, |(_, time)| *time);
            *by_name.entry(name.clone()).or_default() += time.saturating_sub(before);
        }
        let ended = self.threads.keys().any(|tid| !later.threads.contains_key(tid));
        let used = match ended {
            true => later.total.saturating_sub(self.total),
            false => by_name.values().sum(),
        };
        (used, by_name, ended)
    }
}

/// `/proc/<pid>/task/<tid>/schedstat`: nanoseconds on a CPU, nanoseconds waiting for one, times run.
fn parse_schedstat(text: &str) -> io::Result<Duration> {
    text.split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| unexpected("schedstat", text))
}

/// `/proc/<pid>/stat`: fields 14 and 15 are user and system time in clock ticks. The second field is the
/// program's name in brackets and may hold spaces and brackets itself.
fn parse_stat(text: &str) -> io::Result<Duration> {
    let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => Ok(from_ticks(user + system)),
        _ => Err(unexpected("stat", text)),
    }
}

/// One core's account since boot.
struct CoreTime {
    idle: Duration,
    steal: Duration,
}

impl CoreTime {
    /// `/proc/stat`, line `cpuN user nice system idle iowait irq softirq steal …` in clock ticks.
    fn parse(text: &str, cpu: usize) -> io::Result<CoreTime> {
        let name = format!("cpu{cpu}");
        let mut fields = text
            .lines()
            .map(str::split_ascii_whitespace)
            .find_map(|mut fields| (fields.next()? == name).then_some(fields))
            .ok_or_else(|| io::Error::other(format!("this machine has no {name}: choose another CPU")))?
            .map(|field| field.parse::<u64>().unwrap_or(0));
        let idle = fields.by_ref().skip(3).take(2).sum();
        let steal = fields.nth(2).unwrap_or(0);
        Ok(CoreTime { idle: from_ticks(idle), steal: from_ticks(steal) })
    }

    fn until(&self, later: &CoreTime, wall: Duration) -> CoreShare {
        let share = |time: Duration| (time.as_secs_f64() / wall.as_secs_f64()).clamp(0.0, 1.0);
        CoreShare {
            busy: 1.0 - share(later.idle.saturating_sub(self.idle)),
            steal: share(later.steal.saturating_sub(self.steal)),
        }
    }
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// A duration in the record: one number, for whoever reads it with another program.
pub fn nanos<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_nanos() as u64)
}

fn unexpected(what: &str, text: &str) -> io::Error {
    io::Error::other(format!("/proc: {what} is not as proc(5) describes it: {text:?}"))
}

/// Pins the calling thread, and with it every thread and program it starts later.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    Ok(rustix::thread::sched_setaffinity(None, &only(cpu))?)
}

/// Puts each thread of `pid` where `cpu_of` its name says. A thread that ends meanwhile is left out.
pub fn place_threads(pid: Pid, cpu_of: impl Fn(&str) -> Option<usize>) -> io::Result<()> {
    for (tid, (name, _)) in ProcessTime::read(pid)?.threads {
        let Some(cpu) = cpu_of(&name) else { continue };
        let tid = Pid::from_raw(tid as i32).expect("no thread has the number 0");
        match rustix::thread::sched_setaffinity(Some(tid), &only(cpu)) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_name_that_looks_like_fields() {
        let text = "7 (a) b) 1 (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 9 9 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(text).unwrap(), from_ticks(200));
        assert!(parse_stat("7 (x) S 1").is_err());
        assert!(parse_stat("").is_err());
    }

    #[test]
    fn schedstat_begins_with_nanoseconds() {
        assert_eq!(parse_schedstat("61425 53596 2\n").unwrap(), Duration::from_nanos(61425));
        assert!(parse_schedstat("").is_err());
    }

    #[test]
    fn core_is_found_by_its_whole_name() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\ncpu1 10 20 30 40 5 6 7 8 0 0\n";
        let core = CoreTime::parse(text, 1).unwrap();
        assert_eq!((core.idle, core.steal), (from_ticks(45), from_ticks(8)));
        assert!(CoreTime::parse(text, 2).is_err());
    }

    fn process(threads: &[(u32, &str, u64)], total_ms: u64) -> ProcessTime {
        let threads = threads.iter().map(|(tid, name, ms)| (*tid, (name.to_string(), Duration::from_millis(*ms))));
        ProcessTime { threads: threads.collect(), total: Duration::from_millis(total_ms) }
    }

    #[test]
    fn threads_that_begin_count_from_nothing() {
        let (used, by_name, coarse) =
            process(&[(1, "main", 5)], 10).until(&process(&[(1, "main", 7), (2, "worker", 4), (3, "worker", 1)], 20));
        assert_eq!((used, coarse), (Duration::from_millis(7), false));
        assert_eq!(by_name["worker"], Duration::from_millis(5));
    }

    #[test]
    fn a_thread_that_ended_makes_the_total_count() {
        let (used, _, coarse) =
            process(&[(1, "main", 5), (2, "worker", 100)], 110).until(&process(&[(1, "main", 7)], 170));
        assert_eq!((used, coarse), (Duration::from_millis(60), true));
    }

    #[test]
    fn our_own_work_is_seen_in_nanoseconds() {
        let own = rustix::process::getpid();
        let before = ProcessTime::read(own).unwrap();
        let mut sum = 0u64;
        // Work until the account moves: however slow the machine, it must.
        for round in 0..10_000u64 {
            sum = (0..100_000).fold(sum, |sum, value| sum.wrapping_mul(31).wrapping_add(value ^ round));
            let (used, ..) = before.until(&ProcessTime::read(own).unwrap());
            if used > Duration::ZERO {
                return;
            }
        }
        panic!("a thousand million multiplications ({sum}) cost no CPU time");
    }
}
