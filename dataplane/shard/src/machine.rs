//! What this machine lets the process do, found out before anything starts, in words an operator can act on.

use crate::bounds::LOCKED_PER_SHARD;
use crate::ring;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::io;

/// The oldest kernel with everything the ring needs: deferred task work came last, with 6.1.
const KERNEL: (u32, u32) = (6, 1);

/// Below this many descriptors there is no room for a useful number of connections.
const DESCRIPTORS_MIN: u64 = 256;

/// Limits as they are after what may be raised was raised.
#[derive(Clone, Debug)]
pub struct Machine {
    pub kernel: String,
    /// `RLIMIT_NOFILE`.
    pub descriptors: usize,
    /// `RLIMIT_MEMLOCK` in bytes; `None`: no limit.
    pub locked_memory: Option<u64>,
    /// CPUs this process may run on, ascending.
    pub cpus: Vec<usize>,
}

/// Why it cannot work here, and what to set.
#[derive(Debug)]
pub enum Unfit {
    Kernel { found: String },
    RingForbidden,
    RingMissing,
    Ring(io::Error),
    Descriptors { limit: u64 },
    LockedMemory { limit: u64, shards: usize },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Kernel { found } => {
                write!(f, "Linux {}.{} or newer is needed, this is {found}", KERNEL.0, KERNEL.1)
            }
            Unfit::RingForbidden => write!(
                f,
                "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0 and, in a container, \
                 allow the system calls io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
            ),
            Unfit::RingMissing => write!(f, "this kernel was built without io_uring (CONFIG_IO_URING)"),
            Unfit::Ring(error) => write!(f, "io_uring does not work here: {error}"),
            Unfit::Descriptors { limit } => write!(
                f,
                "only {limit} descriptors may be open (RLIMIT_NOFILE), at least {DESCRIPTORS_MIN} are needed: \
                 `ulimit -n 65536`, or LimitNOFILE=65536 in the systemd unit"
            ),
            Unfit::LockedMemory { limit, shards } => write!(
                f,
                "only {} KiB of memory may be locked (RLIMIT_MEMLOCK), {shards} shards need {} KiB: \
                 `ulimit -l 65536`, or LimitMEMLOCK=64M in the systemd unit, or fewer shards (appliance.shards)",
                limit >> 10,
                needed(*shards) >> 10,
            ),
        }
    }
}

impl std::error::Error for Unfit {}

fn needed(shards: usize) -> u64 {
    (shards * LOCKED_PER_SHARD) as u64
}

impl Machine {
    /// Raises the soft limits to the hard ones and looks at everything that the shards will need.
    pub fn examine() -> Result<Machine, Unfit> {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        if version(&kernel).is_none_or(|found| found < KERNEL) {
            return Err(Unfit::Kernel { found: kernel });
        }
        let descriptors = raise(Resource::Nofile).unwrap_or(1 << 20);
        if descriptors < DESCRIPTORS_MIN {
            return Err(Unfit::Descriptors { limit: descriptors });
        }
        let locked_memory = raise(Resource::Memlock);
        match ring::works() {
            Ok(()) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => return Err(Unfit::RingForbidden),
                Some(libc::ENOSYS) => return Err(Unfit::RingMissing),
                // Locked memory of a process that has just ended comes back late; the shards wait for it.
                Some(libc::ENOMEM) => {}
                _ => return Err(Unfit::Ring(error)),
            },
        }
        let machine = Machine { kernel, descriptors: descriptors as usize, locked_memory, cpus: cpus() };
        Ok(machine)
    }

    /// Whether so many shards may lock what they need.
    pub fn carries(&self, shards: usize) -> Result<(), Unfit> {
        match self.locked_memory {
            Some(limit) if limit < needed(shards) && !privileged() => Err(Unfit::LockedMemory { limit, shards }),
            _ => Ok(()),
        }
    }
}

/// `RLIMIT_MEMLOCK` does not hold for a process with CAP_IPC_LOCK.
fn privileged() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::IPC_LOCK))
}

/// Raises the soft limit to the hard one and tells it; `None`: unlimited.
fn raise(resource: Resource) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(resource);
    if current != maximum && setrlimit(resource, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum;
    }
    current
}

fn cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Major and minor of a kernel release such as `6.18.44-cloud`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("6.1.0-31-amd64"), Some((6, 1)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
        assert!((5, 19) < KERNEL && (6, 1) >= KERNEL);
    }

    #[test]
    fn what_is_said_names_the_limit_and_the_remedy() {
        let said = Unfit::LockedMemory { limit: 64 << 10, shards: 2 }.to_string();
        assert!(said.contains("RLIMIT_MEMLOCK") && said.contains("64 KiB") && said.contains("LimitMEMLOCK"), "{said}");
    }
}
