//! A program that was started here: what it said, that it ended, and its end by its own number.
//!
//! It dies with us, whatever way we go, if it was started by [`bound_to_us`]. Knows nothing of what a program is for.

use crate::cpu;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// From SIGTERM to SIGKILL.
const STOP_MAX: Duration = Duration::from_secs(5);
/// What is shown of what a program said before it died.
const LAST_WORDS_BYTES: usize = 2000;

/// A running program. Ended when dropped.
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    words: PathBuf,
}

impl Process {
    /// `words` takes what it says on either output.
    pub fn start(command: &mut Command, words: PathBuf) -> io::Result<Process> {
        let said = File::create(&words)?;
        let child =
            command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn().map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
            })?;
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Process { child, pidfd, words })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Through the descriptor, so that it can only ever be our own child that is meant.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, signal)?)
    }

    pub fn ended_within(&self, patience: Duration) -> bool {
        let mut ends = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::event::poll(&mut ends, Some(&timespec(patience))).is_ok_and(|ready| ready > 0)
    }

    pub fn last_words(&self) -> String {
        let words = fs::read(&self.words).unwrap_or_default();
        String::from_utf8_lossy(&words[words.len().saturating_sub(LAST_WORDS_BYTES)..]).into_owned()
    }
}

/// Readable when the program has ended.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(Signal::TERM);
        if !self.ended_within(STOP_MAX) {
            let _ = self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A command that becomes `program`, pinned and dying with us: see [`become_program`].
pub fn bound_to_us(own: &Path, cpu: usize, program: &Path) -> Command {
    let mut command = Command::new(own);
    command.args(["bound", "--cpu", &cpu.to_string(), "--"]).arg(program);
    command
}

/// Ties this process to its parent's life and to `cpu`, and becomes `program`. Returns only if it cannot.
pub fn become_program(cpu: usize, program: &Path, arguments: &[String]) -> io::Error {
    match bind_to_parent(cpu) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// If the parent is killed, so are we; and we run on `cpu` only.
pub fn bind_to_parent(cpu: usize) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    cpu::pin_to(cpu)
}

pub fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos() as i64 }
}
