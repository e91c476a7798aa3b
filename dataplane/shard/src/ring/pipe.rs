//! Pipes for `splice(2)`: bulk bytes move from socket to socket without passing through user space.
//!
//! The call is made directly and non-blocking, driven by readiness from the ring: the ring's own splice
//! operation runs on a blocked kernel worker per stream. A pipe can hold more than its nominal capacity,
//! so nothing is assumed about it beyond what went in.

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One pipe, empty whenever it is in the pool.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Most bytes asked of one splice: the default capacity of a pipe.
const SPLICE_BYTES: usize = 64 << 10;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Pipe {
    pub fn new() -> Result<Pipe, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Pipe { read, write })
    }

    /// Moves at most so many bytes from the socket into the pipe. `Ok(0)`: the socket's end. `WOULDBLOCK`: it has none now
    /// (the caller fills only an empty pipe, so it is not the pipe that is full).
    pub fn fill(&self, from: BorrowedFd<'_>, at_most: u64) -> Result<usize, Errno> {
        let bytes = usize::try_from(at_most).unwrap_or(usize::MAX).min(SPLICE_BYTES);
        loop {
            match splice(from, None, self.write.as_fd(), None, bytes, FLAGS) {
                Err(Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }

    /// Moves up to `inside` bytes from the pipe to the socket. `more` says that others will follow at once,
    /// so that the last segment need not leave half full.
    pub fn drain(&self, to: BorrowedFd<'_>, inside: usize, more: bool) -> Result<usize, Errno> {
        let flags = if more { FLAGS.union(SpliceFlags::MORE) } else { FLAGS };
        loop {
            match splice(self.read.as_fd(), None, to, None, inside, flags) {
                Err(Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }
}

/// Empty pipes for reuse.
#[derive(Debug)]
pub struct Pipes {
    free: Vec<Pipe>,
    made: usize,
    /// Pipes that exist at most.
    bound: usize,
}

impl Pipes {
    /// Kept for reuse; beyond it a pipe that comes back is closed. A pipe costs two descriptors.
    const KEPT: usize = 32;

    pub fn new(bound: usize) -> Pipes {
        Pipes { free: Vec::with_capacity(Self::KEPT), made: 0, bound }
    }

    /// `None`: at the bound, or the process has no descriptor left; the caller goes on copying.
    pub fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.made == self.bound {
            return None;
        }
        let pipe = Pipe::new().ok()?;
        self.made += 1;
        Some(pipe)
    }

    /// Takes an empty pipe back.
    pub fn give_back(&mut self, pipe: Pipe) {
        if self.free.len() < Self::KEPT {
            self.free.push(pipe);
        } else {
            self.made -= 1;
        }
    }

    /// A pipe with bytes of a connection that is over: closed, never used again.
    pub fn discard(&mut self, pipe: Pipe) {
        drop(pipe);
        self.made -= 1;
    }

    /// Pipes that were taken and have not come back.
    pub fn in_use(&self) -> usize {
        self.made - self.free.len()
    }
}
