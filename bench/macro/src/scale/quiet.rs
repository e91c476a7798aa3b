//! Whether anybody else was at work on the machine while a program was measured.

use serde::Serialize;
use std::time::Instant;
use std::{fs, io};

/// Unit of `/proc/*/stat`: what Linux tells every program, whatever its own clock does (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU of all cores, in cores.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Others {
    /// Used by programs that we have not started.
    pub foreign: f64,
    /// Given by the hypervisor to somebody else.
    pub stolen: f64,
}

/// One moment.
pub struct Witness {
    at: Instant,
    machine: Machine,
    own_ticks: u64,
}

impl Witness {
    pub fn look() -> io::Result<Witness> {
        let machine = Machine::parse(&fs::read_to_string("/proc/stat")?).ok_or_else(|| unexpected("stat"))?;
        let own_ticks = own(&fs::read_to_string("/proc/self/stat")?).ok_or_else(|| unexpected("self/stat"))?;
        Ok(Witness { at: Instant::now(), machine, own_ticks })
    }

    /// Between then and `later`. What we have started must have ended by then: it counts as ours from its end on.
    pub fn until(&self, later: &Witness) -> Others {
        let cores = |ticks: f64| ticks / TICKS_PER_SECOND / (later.at - self.at).as_secs_f64();
        let busy = later.machine.busy.saturating_sub(self.machine.busy) as f64;
        let own = later.own_ticks.saturating_sub(self.own_ticks) as f64;
        let stolen = later.machine.stolen.saturating_sub(self.machine.stolen) as f64;
        Others { foreign: cores((busy - own).max(0.0)), stolen: cores(stolen) }
    }
}

/// Ticks of all cores.
#[derive(PartialEq, Eq, Debug)]
struct Machine {
    busy: u64,
    stolen: u64,
}

impl Machine {
    fn parse(stat: &str) -> Option<Machine> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen, ..] = ticks[..] else {
            return None;
        };
        Some(Machine { busy: user + nice + system + interrupts + soft_interrupts, stolen })
    }
}

/// Ticks of this process and of the children that it has waited for, with theirs.
fn own(stat: &str) -> Option<u64> {
    let behind_name = &stat[stat.rfind(')')? + 1..];
    let ticks: Vec<u64> =
        behind_name.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    (ticks.len() == 4).then(|| ticks.iter().sum())
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("/proc/{what} is not as proc(5) describes it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ticks_are_read_as_proc_has_them() {
        let stat = "cpu  10 20 30 400 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(Machine::parse(stat), Some(Machine { busy: 73, stolen: 8 }));
        assert_eq!(Machine::parse("intr 1\n"), None);
        assert_eq!(own("7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 9 1 20 0 1 0 5 6 7"), Some(210));
        assert_eq!(own("7 (x) S 1"), None);
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let at = Instant::now();
        let before = Witness { at, machine: Machine { busy: 0, stolen: 0 }, own_ticks: 0 };
        let later = |busy, own_ticks| Witness {
            at: at + Duration::from_secs(2),
            machine: Machine { busy, stolen: 20 },
            own_ticks,
        };
        assert_eq!(before.until(&later(300, 200)), Others { foreign: 0.5, stolen: 0.1 });
        assert_eq!(before.until(&later(199, 200)).foreign, 0.0);
        assert!(Witness::look().is_ok());
    }
}
