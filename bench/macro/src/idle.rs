//! What an idle tunnel costs a proxy in memory of its own.
//!
//! Many tunnels are opened one after the other, each makes one round trip and then rests; what the process's
//! anonymous memory has grown by is divided by their number. The first ones are not counted: tables and
//! allocators take their first steps with them. The kernel's memory for sockets is nobody's figure here.

use crate::contestant::{self, Contestant, Programs};
use crate::cpu::Layout;
use crate::load;
use crate::scenario::Protocol;
use crate::statistics;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Opened before the first look at the memory.
const FIRST: usize = 1000;
/// Opened between the two looks.
const COUNTED: usize = 3000;
const MESSAGE: [u8; 64] = [0x5a; 64];
/// A read that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures each of `contestants` `rounds` times, in turn. Returns a table in Markdown.
pub fn run(contestants: &[Contestant], programs: &Programs, layout: Layout, rounds: usize) -> Result<String, String> {
    let mut bytes = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for (contestant, bytes) in contestants.iter().zip(&mut bytes) {
            bytes.push(
                measure(*contestant, programs, layout).map_err(|error| format!("{}: {error}", contestant.label()))?,
            );
        }
    }
    let mut text = format!(
        "## idle: memory of the process per tunnel that rests after one 64-byte round trip\n\n\
         Anonymous resident memory, {COUNTED} tunnels after {FIRST} uncounted ones; median (smallest–largest) of {rounds} rounds.\n\n\
         | | bytes/tunnel |\n|---|---|\n"
    );
    for (contestant, bytes) in contestants.iter().zip(&bytes) {
        let median = statistics::median(bytes).unwrap_or(f64::NAN);
        let (least, most) = bytes.iter().fold((f64::MAX, f64::MIN), |(least, most), &b| (least.min(b), most.max(b)));
        let _ = writeln!(text, "| {} | {median:.0} ({least:.0}–{most:.0}) |", contestant.label());
    }
    Ok(text)
}

/// Unit: bytes per tunnel.
fn measure(contestant: Contestant, programs: &Programs, layout: Layout) -> Result<f64, String> {
    let told = |error: io::Error| error.to_string();
    let origin = load::listen().map_err(told)?;
    origin.set_nonblocking(false).map_err(told)?;
    let running = contestant::start(contestant, programs, layout, Protocol::Tcp, &origin)?;
    let look = || anonymous(&std::fs::read_to_string(format!("/proc/{}/status", running.pid().as_raw_nonzero()))?);
    let mut open = Vec::with_capacity(FIRST + COUNTED);
    for _ in 0..FIRST {
        open.push(tunnel(&running, &origin).map_err(told)?);
    }
    let before = look().map_err(told)?;
    for _ in 0..COUNTED {
        open.push(tunnel(&running, &origin).map_err(told)?);
    }
    let after = look().map_err(told)?;
    Ok(after.saturating_sub(before) as f64 / COUNTED as f64)
}

/// Both ends of a tunnel that has made one round trip.
fn tunnel(running: &contestant::Running, origin: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let mut client = TcpStream::connect(running.front)?;
    let (mut server, _) = origin.accept()?;
    client.set_read_timeout(Some(PATIENCE))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let mut seen = [0; MESSAGE.len()];
    client.write_all(&MESSAGE)?;
    server.read_exact(&mut seen)?;
    server.write_all(&seen)?;
    client.read_exact(&mut seen)?;
    match seen == MESSAGE {
        true => Ok((client, server)),
        false => Err(io::Error::other("the answer is not what was sent")),
    }
}

/// Bytes of `RssAnon` in a process's `status`.
fn anonymous(status: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1024).ok_or_else(|| io::Error::other("no RssAnon in the process's status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_read_from_a_status() {
        assert_eq!(anonymous("VmRSS:\t 9 kB\nRssAnon:\t     123 kB\nRssFile:\t1 kB\n").unwrap(), 123 * 1024);
        assert!(anonymous("VmRSS:\t 9 kB\n").is_err());
        assert!(anonymous(&std::fs::read_to_string("/proc/self/status").unwrap()).unwrap() > 0);
    }
}
