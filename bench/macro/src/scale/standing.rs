//! A program that stands and answers: how long that took, and the memory it has.

use super::{Start, ask};
use crate::process::Process;
use rustix::process::Pid;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// From exec to the first answer.
const START_MAX: Duration = Duration::from_secs(120);

/// Programs listen here, and clients have other addresses: one that asks too early, from a port that happens to be that of
/// the front, would otherwise connect to itself and keep the port from the program.
const FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Where a program is to stand: its files and its address.
pub struct Site {
    pub directory: TempDir,
    pub front: SocketAddr,
}

impl Site {
    pub fn choose() -> Result<Site, String> {
        let directory = TempDir::with_prefix("sluicegate-bench-").map_err(|error| error.to_string())?;
        let front = TcpListener::bind((FRONT, 0)).and_then(|listener| listener.local_addr());
        let front = front.map_err(|error| error.to_string())?;
        Ok(Site { directory, front })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes files into the folder. Returns their bytes.
    pub fn write(&self, files: &[(&str, &str)]) -> Result<u64, String> {
        let mut bytes = 0;
        for (name, text) in files {
            fs::write(self.path().join(name), text).map_err(|error| format!("{name}: {error}"))?;
            bytes += text.len() as u64;
        }
        Ok(bytes)
    }

    /// Starts `command`, which has been told of this site, until it answers the first version.
    pub fn start(&self, command: &mut Command, configuration_bytes: u64) -> Result<(Process, Start), String> {
        let told = |error: io::Error| error.to_string();
        let began = Instant::now();
        let process = Process::start(command, self.path().join("words")).map_err(told)?;
        ask::until("1", self.front, &process, began + START_MAX)?;
        let micros = began.elapsed().as_micros() as u64;
        let memory_bytes = memory(process.pid()).map_err(told)?;
        Ok((process, Start { micros, memory_bytes, configuration_bytes }))
    }
}

/// Resident bytes of a process and its children. A page that several of them have is counted once (proportional set size).
pub fn memory(pid: Pid) -> io::Result<u64> {
    let pid = pid.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let mut bytes = 0;
    for pid in [pid.to_string().as_str()].into_iter().chain(children.split_whitespace()) {
        match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(text) => bytes += proportional(&text)?,
            // A child that has ended meanwhile has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn proportional(rollup: &str) -> io::Result<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1024).ok_or_else(|| io::Error::other("no Pss in the process's smaps_rollup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_a_rollup() {
        assert_eq!(proportional("Rss: 9 kB\nPss:     123 kB\nPss_Dirty: 4 kB\n").unwrap(), 123 * 1024);
        assert!(proportional("Rss: 9 kB\n").is_err());
        assert!(memory(rustix::process::getpid()).unwrap() > 0);
    }

    #[test]
    fn a_program_that_ends_at_once_is_told_with_its_last_words() {
        let site = Site::choose().unwrap();
        let error = site.start(Command::new("/bin/ls").arg("/absent"), 0).err().expect("ls answers no request");
        assert!(error.contains("it ended and said:") && error.contains("/absent"), "{error}");
    }
}
