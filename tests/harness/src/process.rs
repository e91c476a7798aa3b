//! A child process: what it printed and how it ended, within a deadline.

use crate::wait::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::Read;
use std::process::{Child, ExitStatus};

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
        child
            .kill()
            .expect("a child that has not been waited for can be killed");
        child.wait().expect("a killed child ends");
    }
    let join = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader.map_or(Vec::new(), |reader| {
            reader.join().expect("a reader does not panic")
        })
    };
    Finished {
        status,
        stdout: join(stdout),
        stderr: join(stderr),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn shell(script: &str) -> Child {
        Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh runs")
    }

    #[test]
    fn output_and_status_are_the_childs() {
        let done = finish(shell("echo out; echo err >&2; exit 3"), Deadline::patient());
        assert_eq!(done.status.and_then(|status| status.code()), Some(3));
        assert_eq!(
            (&done.stdout[..], &done.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }

    #[test]
    fn a_child_that_does_not_end_is_killed_at_the_deadline() {
        let done = finish(
            shell("exec sleep 1000"),
            Deadline::after(Duration::from_millis(50)),
        );
        assert!(done.status.is_none());
    }
}
