//! Child processes: what they print and how they end, within a deadline.

use crate::wait::{Deadline, PATIENCE, Watched};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};

/// How a child ended.
#[derive(Debug)]
pub struct Finished {
    /// `None`: it was still running at the deadline, and was killed.
    pub status: Option<ExitStatus>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Waits for the child's end and takes what it printed (from those of its outputs that are pipes).
pub fn finish(mut child: Child, deadline: Deadline) -> Finished {
    let stdout = child.stdout.take().map(read_to_end);
    let stderr = child.stderr.take().map(read_to_end);
    let status = wait(&mut child, deadline);
    if status.is_none() {
        child.kill().expect("a child that has not been waited for can be killed");
        child.wait().expect("a killed child ends");
    }
    let join = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader.map_or(Vec::new(), |reader| reader.join().expect("a reader does not panic"))
    };
    Finished { status, stdout: join(stdout), stderr: join(stderr) }
}

/// Waits for the child's end. `None`: the deadline passed.
pub fn wait(child: &mut Child, deadline: Deadline) -> Option<ExitStatus> {
    let pid = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .expect("a child that has not been waited for has a number");
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if deadline.passed() {
            return None;
        }
        let left = Timespec::try_from(deadline.left()).expect("a deadline is near");
        match poll(&mut [PollFd::new(&pid, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

fn read_to_end(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A child whose output is kept, and which does not outlive its test.
pub struct Process {
    child: Child,
    output: Watched<Output>,
}

#[derive(Default)]
struct Output {
    lines: Vec<String>,
    /// Pipes that have come to their end.
    ended: usize,
}

impl Process {
    /// Most lines of output that are kept.
    const LINES_MAX: usize = 10_000;

    /// The first word is the program.
    pub fn spawn(words: &[String], environment: &[(String, String)]) -> Process {
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            // Where the operator of this machine has an appliance must not matter.
            .env_remove("SLUICEGATE_SOCKET")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", words[0]));
        let output = Watched::new(Output::default());
        keep_lines(child.stdout.take().expect("stdout is a pipe"), &output);
        keep_lines(child.stderr.take().expect("stderr is a pipe"), &output);
        Process { child, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .expect("a child that has not been waited for can be signalled");
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub fn wait_exit(&mut self, deadline: Deadline) -> Option<ExitStatus> {
        wait(&mut self.child, deadline)
    }

    /// Waits for a line of output that contains this.
    #[track_caller]
    pub fn wait_line(&self, part: &str) -> String {
        let line = self
            .output
            .wait(Deadline::patient(), |output| output.lines.iter().find(|line| line.contains(part)).cloned());
        line.unwrap_or_else(|| panic!("no line of output with {part:?} within {PATIENCE:?}"))
    }

    /// What it has printed so far.
    pub fn output(&self) -> Vec<String> {
        self.output.look().lines.clone()
    }

    /// All that it has printed. It must have ended, and so must all that it started.
    pub fn whole_output(&self) -> Vec<String> {
        const PIPES: usize = 2;
        let whole = |output: &mut Output| (output.ended == PIPES).then(|| output.lines.clone());
        self.output.wait(Deadline::patient(), whole).expect("somebody still holds its output")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- output of process {}", self.child.id());
            self.output.look().lines.iter().for_each(|line| println!("{line}"));
            println!("---");
        }
    }
}

fn keep_lines(from: impl Read + Send + 'static, output: &Watched<Output>) {
    let output = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            output.change(|output| {
                if output.lines.len() < Process::LINES_MAX {
                    output.lines.push(line);
                }
            });
        }
        output.change(|output| output.ended += 1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh runs")
    }

    #[test]
    fn output_and_status_are_the_childs() {
        let done = finish(shell("echo out; echo err >&2; exit 3"), Deadline::patient());
        assert_eq!(done.status.and_then(|status| status.code()), Some(3));
        assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    }

    #[test]
    fn a_child_that_does_not_end_is_killed_at_the_deadline() {
        let done = finish(shell("exec sleep 1000"), Deadline::after(Duration::from_millis(50)));
        assert!(done.status.is_none());
    }
}
