//! HAProxy: changes of one thing by its runtime commands, which no file remembers, and by a new process for all else.

use super::document::{self, BACKENDS, Edition, LIST, Size};
use super::standing::Site;
use super::{Plan, Record, Start, ask, in_turns, start_in_turns};
use crate::contestant::Programs;
use crate::cpu::Layout;
use crate::process::{self, Process};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A command that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until the old process has ended.
const RELOAD_MAX: Duration = Duration::from_secs(60);
/// What ends every answer.
const PROMPT: &[u8] = b"\n> ";

pub fn measure(plan: &Plan, programs: &Programs, records: &mut [Record; 2]) -> Result<(), String> {
    let mut pair = start_in_turns(plan.starts, records, |size| Haproxy::start(size, plan.layout, programs))?;
    in_turns("set weight", plan.changes, &mut pair, records, Haproxy::set_weight)?;
    in_turns("set map", plan.changes, &mut pair, records, Haproxy::set_map)?;
    in_turns("add acl, del acl", plan.changes, &mut pair, records, Haproxy::list)?;
    in_turns("reload", plan.reloads, &mut pair, records, Haproxy::reload)
}

/// One that runs.
struct Haproxy {
    size: Size,
    admin: Admin,
    process: Process,
    count: usize,
    version: u32,
    program: PathBuf,
    own: PathBuf,
    layout: Layout,
    site: Site,
}

impl Haproxy {
    fn start(size: Size, layout: Layout, programs: &Programs) -> Result<(Haproxy, Start), String> {
        let program = programs.haproxy.clone().ok_or("haproxy is not on this machine")?;
        let site = Site::choose()?;
        let text = document::haproxy(size, Edition::FIRST, site.front, layout.proxy_cpu, site.path());
        let (list, map) = (document::list(size, ""), document::haproxy_map(size));
        let files = [("haproxy.cfg", text.as_str()), (&format!("{LIST}.list"), &list), ("rules.map", &map)];
        let bytes = site.write(&files)?;
        let mut command = command(&programs.own, &program, layout, &site);
        let (process, start) = site.start(&mut command, bytes)?;
        let admin = Admin::connect(&socket(&site))?;
        let (own, version) = (programs.own.clone(), Edition::FIRST.version);
        Ok((Haproxy { size, admin, process, count: 0, version, program, own, layout, site }, start))
    }

    fn set_weight(&mut self, record: &mut Record) -> Result<(), String> {
        let (n, groups) = (self.count, self.size.groups());
        self.count += 1;
        let (group, backend, weight) = (n % groups, n / groups % BACKENDS, 2 + n / (groups * BACKENDS) % 90);
        record.note("backend.set", self.admin.order(&format!("set weight g{group}/b{backend} {weight}"))?);
        Ok(())
    }

    fn set_map(&mut self, record: &mut Record) -> Result<(), String> {
        let (n, groups) = (self.count, self.size.groups());
        self.count += 1;
        let (_, host, prefix, group) = document::rule(n * BACKENDS % document::rules(self.size));
        let (map, to) = (self.site.path().join("rules.map"), (group + 1 + n / groups % (groups - 1)) % groups);
        record.note("rule.set", self.admin.order(&format!("set map {} {host}{prefix} g{to}", map.display()))?);
        Ok(())
    }

    fn list(&mut self, record: &mut Record) -> Result<(), String> {
        let list = self.site.path().join(format!("{LIST}.list"));
        let began = Instant::now();
        record.note("list.add", self.admin.order(&format!("add acl {} {}", list.display(), ask::LISTED))?);
        self.expect(403)?;
        record.note("list.add until refused", began.elapsed());
        record.note("list.remove", self.admin.order(&format!("del acl {} {}", list.display(), ask::LISTED))?);
        self.expect(200)
    }

    fn expect(&self, status: u16) -> Result<(), String> {
        match ask::once(self.site.front, ask::LISTED) {
            Ok(answered) if answered.status == status => Ok(()),
            other => Err(format!("a request that must be answered {status}: {other:?}")),
        }
    }

    /// A new process with another document, until it answers and the old one is gone.
    fn reload(&mut self, record: &mut Record) -> Result<(), String> {
        self.version += 1;
        let edition = Edition { version: self.version, weight: self.version };
        let text = document::haproxy(self.size, edition, self.site.front, self.layout.proxy_cpu, self.site.path());
        self.site.write(&[("haproxy.cfg", &text)])?;
        let mut command = command(&self.own, &self.program, self.layout, &self.site);
        command.arg("-sf").arg(self.process.pid().as_raw_nonzero().to_string());
        // An old process stays as long as a command may come.
        self.admin.leave().map_err(|error| error.to_string())?;
        let began = Instant::now();
        let words = self.site.path().join(format!("words-{}", self.version));
        let new = Process::start(&mut command, words).map_err(|error| error.to_string())?;
        ask::until(&self.version.to_string(), self.site.front, &new, began + RELOAD_MAX)?;
        record.note("reload", began.elapsed());
        if !self.process.ended_within(RELOAD_MAX) {
            return Err("the old process does not end".to_owned());
        }
        record.note("reload until the old process is gone", began.elapsed());
        self.process = new;
        self.admin = Admin::connect(&socket(&self.site))?;
        Ok(())
    }
}

/// In the foreground: the process we start is the one that works.
fn command(own: &Path, program: &Path, layout: Layout, site: &Site) -> Command {
    let mut command = process::bound_to_us(own, layout.proxy_cpu, program);
    command.arg("-db").arg("-f").arg(site.path().join("haproxy.cfg"));
    command
}

fn socket(site: &Site) -> PathBuf {
    site.path().join("haproxy.sock")
}

/// The runtime API on one connection, which is kept as Sluicegate's is.
struct Admin {
    stream: UnixStream,
}

impl Admin {
    fn connect(path: &Path) -> Result<Admin, String> {
        let stream = UnixStream::connect(path).map_err(|error| format!("{}: {error}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let mut admin = Admin { stream };
        admin.say("prompt").map_err(|error| error.to_string())?;
        Ok(admin)
    }

    /// A command that has nothing to say where it was carried out.
    fn order(&mut self, command: &str) -> Result<Duration, String> {
        let began = Instant::now();
        let said = self.say(command).map_err(|error| format!("{command}: {error}"))?;
        let took = began.elapsed();
        match said.as_str() {
            "" => Ok(took),
            said => Err(format!("{command}: {said}")),
        }
    }

    fn leave(&self) -> std::io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }

    fn say(&mut self, command: &str) -> std::io::Result<String> {
        self.stream.write_all(format!("{command}\n").as_bytes())?;
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        while !said.ends_with(PROMPT) {
            match self.stream.read(&mut chunk)? {
                0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
                count => said.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&said[..said.len() - PROMPT.len()]).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a command that is answered with `answer`, after which nothing more is said.
    fn outcome(answer: &str) -> Result<(), String> {
        let (mut program, stream) = UnixStream::pair().unwrap();
        program.write_all(answer.as_bytes()).unwrap();
        program.shutdown(Shutdown::Write).unwrap();
        Admin { stream }.order("set weight g0/b0 2").map(drop)
    }

    #[test]
    fn a_command_is_carried_out_if_nothing_is_said_before_the_prompt() {
        assert_eq!(outcome("\n> "), Ok(()));
        assert_eq!(outcome("No such backend.\n\n> "), Err("set weight g0/b0 2: No such backend.".to_owned()));
        assert!(outcome("\n").unwrap_err().contains("end of file"));
    }
}
