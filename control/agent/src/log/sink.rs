//! Where lines go, without ever waiting for it.
//!
//! A sink that takes nothing for a while gets a backlog of [`BACKLOG_BYTES_MAX`]; what comes beyond that is
//! dropped, whole lines at a time, and counted. Knows nothing of records or formats.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, Timespec};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Lines that wait for a slow sink. A quarter of a second at 10,000 lines a second.
pub const BACKLOG_BYTES_MAX: usize = 512 << 10;

/// What a pipe takes at once when it polls writable (`PIPE_BUF` in pipe(7)).
const PIECE_BYTES: usize = 4096;

/// What the operator wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Stdout,
    Stderr,
    /// Appended to, made with mode 0640.
    File(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Stdout => f.write_str("stdout"),
            Target::Stderr => f.write_str("stderr"),
            Target::File(path) => path.display().fmt(f),
        }
    }
}

/// An open target and its backlog.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    kind: Kind,
    /// Whole lines, except that the first may have been written in part: `written` bytes of it.
    backlog: Vec<u8>,
    written: usize,
    /// A line was cut in the sink by an error; the next begins after a line end of its own.
    torn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A write may take as long as the disk does, and nothing can be done about that.
    Regular,
    /// Written in pieces that a writable pipe takes without waiting.
    Pipe,
    Socket,
}

/// How a flush ended.
#[derive(Debug)]
pub enum Flushed {
    Done,
    /// It takes nothing now; poll [`Sink::fd`] for writing.
    Blocked,
    /// The backlog is lost: so many lines.
    Failed {
        error: io::Error,
        lines: u64,
    },
}

impl Sink {
    pub fn open(target: &Target) -> io::Result<Sink> {
        let fd = match target {
            Target::Stdout => own_description(std::io::stdout().as_fd())?,
            Target::Stderr => own_description(std::io::stderr().as_fd())?,
            Target::File(path) => {
                let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
                // Not waiting: opening a named pipe that nobody reads is an error, not a stop.
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NONBLOCK;
                rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, mode)?
            }
        };
        Sink::over(fd)
    }

    pub(super) fn over(fd: OwnedFd) -> io::Result<Sink> {
        let kind = match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::RegularFile => Kind::Regular,
            FileType::Socket => Kind::Socket,
            FileType::Directory => return Err(Errno::ISDIR.into()),
            _ => Kind::Pipe,
        };
        Ok(Sink { fd, kind, backlog: Vec::new(), written: 0, torn: false })
    }

    /// Takes one whole line, its end included. `false`: dropped, because the backlog is full.
    #[must_use]
    pub fn push(&mut self, line: &[u8]) -> bool {
        debug_assert_eq!(line.last(), Some(&b'\n'));
        if self.backlog.len() + line.len() > BACKLOG_BYTES_MAX {
            return false;
        }
        if std::mem::take(&mut self.torn) {
            self.backlog.push(b'\n');
        }
        self.backlog.extend_from_slice(line);
        true
    }

    pub fn backlog_bytes(&self) -> usize {
        self.backlog.len() - self.written
    }

    /// Writes what the sink takes now.
    pub fn flush(&mut self) -> Flushed {
        while self.written < self.backlog.len() {
            match self.write_piece() {
                Ok(taken) => self.written += taken,
                Err(Errno::AGAIN) => {
                    self.forget_written();
                    return Flushed::Blocked;
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    return Flushed::Failed { error: error.into(), lines: self.lose() };
                }
            }
        }
        self.forget_written();
        Flushed::Done
    }

    /// Gives the backlog up; how many lines that were. A line of which a part is written counts as lost.
    pub fn lose(&mut self) -> u64 {
        let whole = &self.backlog[self.written..];
        let lines = whole.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.torn = self.written > 0 && self.backlog[self.written - 1] != b'\n';
        self.backlog.clear();
        self.written = 0;
        lines
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn write_piece(&self) -> Result<usize, Errno> {
        let rest = &self.backlog[self.written..];
        match self.kind {
            Kind::Regular => rustix::io::write(&self.fd, rest),
            Kind::Socket => {
                use rustix::net::SendFlags;
                rustix::net::send(&self.fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            Kind::Pipe => {
                let mut polled = [PollFd::new(&self.fd, PollFlags::OUT)];
                let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut polled, Some(&at_once))? == 0 {
                    return Err(Errno::AGAIN);
                }
                rustix::io::write(&self.fd, &rest[..rest.len().min(PIECE_BYTES)])
            }
        }
    }

    /// Keeps the last line end of what was written, if a line is cut, so that `lose` can tell.
    fn forget_written(&mut self) {
        let line_start = self.backlog[..self.written].iter().rposition(|byte| *byte == b'\n');
        let done = line_start.map_or(0, |end| end + 1);
        self.backlog.drain(..done);
        self.written -= done;
    }
}

/// A descriptor of our own that does not wait, so that neither our flags nor our waiting reach whoever
/// shares standard output with us. Where the kernel does not give one (a socket, a terminal of another
/// user), the shared one, which is polled before each piece.
fn own_description(stdio: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number = std::os::fd::AsRawFd::as_raw_fd(&stdio);
    let kind = FileType::from_raw_mode(rustix::fs::fstat(stdio)?.st_mode);
    if matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        let path = format!("/proc/self/fd/{number}");
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        if let Ok(fd) = rustix::fs::open(Path::new(&path), flags, Mode::empty()) {
            return Ok(fd);
        }
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(stdio, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn line(len: usize, fill: u8) -> Vec<u8> {
        let mut line = vec![fill; len - 1];
        line.push(b'\n');
        line
    }

    fn pipe() -> (std::fs::File, Sink) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), Sink::over(writer).unwrap())
    }

    #[test]
    fn a_file_gets_every_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut sink = Sink::open(&Target::File(path.clone())).unwrap();
        assert!(sink.push(b"one\n"));
        assert!(sink.push(b"two\n"));
        assert!(matches!(sink.flush(), Flushed::Done));
        // Appending: a second opening cuts nothing.
        let mut again = Sink::open(&Target::File(path.clone())).unwrap();
        assert!(again.push(b"three\n"));
        assert!(matches!(again.flush(), Flushed::Done));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Sink::open(&Target::File(folder.path().to_owned())).is_err());
        assert!(Sink::open(&Target::File(folder.path().join("no/such/folder"))).is_err());
    }

    /// The pipe of a reader that has stopped: nothing waits, the backlog fills, the rest is dropped; when
    /// the reader goes on it gets whole lines in order.
    #[test]
    fn a_blocked_pipe_drops_whole_lines_and_goes_on() {
        let (mut reader, mut sink) = pipe();
        let mut taken = Vec::new();
        let mut dropped = 0;
        for number in 0..20_000u32 {
            let line = format!("{number:099}\n");
            if sink.push(line.as_bytes()) {
                taken.push(number)
            } else {
                dropped += 1
            }
            if number % 64 == 0 {
                assert!(!matches!(sink.flush(), Flushed::Failed { .. }));
            }
        }
        assert!(dropped > 0 && taken.len() > 5_000, "taken {}, dropped {dropped}", taken.len());
        let drain = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        while !matches!(sink.flush(), Flushed::Done) {
            poll(&mut [PollFd::new(&sink.fd(), PollFlags::OUT)], None).unwrap();
        }
        drop(sink);
        let text = drain.join().unwrap();
        assert!(text.lines().map(|line| line.parse::<u32>().unwrap()).eq(taken));
    }

    #[test]
    fn a_blocked_socket_does_not_wait() {
        let (_reader, writer) = UnixStream::pair().unwrap();
        let mut sink = Sink::over(writer.into()).unwrap();
        loop {
            if !sink.push(&line(1000, b'x')) {
                break;
            }
            if matches!(sink.flush(), Flushed::Blocked) {
                break;
            }
        }
        assert!(sink.backlog_bytes() > 0);
    }

    #[test]
    fn a_broken_pipe_says_how_many_lines_are_lost() {
        let (reader, mut sink) = pipe();
        drop(reader);
        assert!(sink.push(b"one\n"));
        assert!(sink.push(b"two\n"));
        let Flushed::Failed { lines, .. } = sink.flush() else { panic!("written into a broken pipe") };
        assert_eq!(lines, 2);
        assert_eq!(sink.backlog_bytes(), 0);
    }

    /// A line that was cut by giving up must not swallow the beginning of the next one.
    #[test]
    fn after_a_cut_line_the_next_begins_on_its_own() {
        let (mut reader, mut sink) = pipe();
        let mut blocked = false;
        while !blocked {
            assert!(sink.push(&line(3000, b'x')));
            blocked = matches!(sink.flush(), Flushed::Blocked);
        }
        let cut = sink.written > 0;
        assert_eq!(sink.lose(), 1);
        assert_eq!(sink.torn, cut);
        assert!(sink.push(b"next\n"));
        let drain = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        while !matches!(sink.flush(), Flushed::Done) {
            poll(&mut [PollFd::new(&sink.fd(), PollFlags::OUT)], None).unwrap();
        }
        drop(sink);
        assert_eq!(drain.join().unwrap().lines().last(), Some("next"));
    }
}
