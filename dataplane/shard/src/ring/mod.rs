//! The ring: the only place that talks to io_uring and to the executor that hosts the loop.
//!
//! It offers a few verbs (accept, receive, connect, wait for readiness, cancel) and gives their outcomes
//! back as [`Completion`]s under the [`Key`] that the caller chose. It knows no connection, no pool and no
//! protocol, and nothing outside this folder names io_uring or glommio: changing either costs this folder.
//!
//! Rules that the caller keeps, because the kernel looks a descriptor up when an operation is submitted,
//! which is at the next [`Ring::enter`]:
//!
//! - a descriptor stays open until every operation on it has had its last completion;
//! - at most one operation per [`Key`] is in flight.
//!
//! In return every operation that is asked for has a last completion. Asking cannot fail: what does not fit the
//! submission queue waits here, and a ring that takes nothing any more says so at [`Ring::enter`].
//!
//! Why these flags: `SINGLE_ISSUER | DEFER_TASKRUN` keep the kernel from interrupting the shard for each
//! socket wake-up (without them a proxied request cost twice the CPU); `SUBMIT_ALL` so that one bad entry
//! does not hold back the rest of the batch.

mod buffers;
pub mod host;
pub mod pipe;
pub mod socket;
#[cfg(test)]
mod tests;

use buffers::Buffers;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Which operation of whom. The ring carries it; its meaning is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Index into the caller's slab.
    pub index: u32,
    /// Tells a slot's present user from its former ones; 24 bits.
    pub generation: u32,
    /// Which of the slot's operations; 5 bits.
    pub tag: u8,
}

const GENERATION_BITS: u32 = 24;
const TAG_BITS: u32 = 5;

/// Slot generations wrap here.
pub const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// What an operation does; with the key it names the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Verb {
    Accept = 0,
    Receive = 1,
    Readiness = 2,
    Connect = 3,
    Cancel = 4,
}

impl Key {
    fn pack(self, verb: Verb) -> u64 {
        debug_assert!(self.generation <= GENERATION_MASK && u32::from(self.tag) < 1 << TAG_BITS);
        u64::from(self.index)
            | u64::from(self.generation) << 32
            | u64::from(self.tag) << (32 + GENERATION_BITS)
            | (verb as u64) << (32 + GENERATION_BITS + TAG_BITS)
    }

    fn unpack(data: u64) -> (Key, Verb) {
        let key = Key {
            index: data as u32,
            generation: (data >> 32) as u32 & GENERATION_MASK,
            tag: (data >> (32 + GENERATION_BITS)) as u8 & ((1 << TAG_BITS) - 1),
        };
        let verb = match data >> (32 + GENERATION_BITS + TAG_BITS) {
            0 => Verb::Accept,
            1 => Verb::Receive,
            2 => Verb::Readiness,
            3 => Verb::Connect,
            _ => Verb::Cancel,
        };
        (key, verb)
    }
}

/// One thing that happened.
#[derive(Debug)]
pub struct Completion {
    pub key: Key,
    pub outcome: Outcome,
    /// The operation goes on: this was not its last completion.
    pub more: bool,
}

#[derive(Debug)]
pub enum Outcome {
    Accepted(OwnedFd),
    /// Bytes in a provided buffer, to be given back with [`Ring::recycle`] before the turn ends.
    Received(Chunk),
    /// The peer sent its end.
    Ended,
    /// Ready, with what for.
    Ready(PollFlags),
    Connected,
    Failed(Errno),
}

/// Where received bytes are. Not `Clone`: a buffer is recycled once.
#[derive(Debug)]
#[must_use = "a buffer that is not recycled is lost to the ring"]
pub struct Chunk {
    place: Place,
    len: u32,
    /// The socket had more than this when it was read.
    pub more_waiting: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Provided(u16),
    Hot,
}

/// Sizes that are fixed when the ring is made.
#[derive(Clone, Copy, Debug)]
pub struct RingSize {
    /// Submission entries; the completion queue has four times as many.
    pub entries: u32,
    /// Provided buffers; a power of two, at most 32,768.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: u32,
}

/// Most bytes that are read at once. Unit: bytes. With 64 KiB an answer of 16 KiB is one read and one send, and what
/// moves in bulk goes through pipes.
pub const HOT_BYTES: usize = 64 << 10;

/// See the module. Lives and dies on the thread that made it.
pub struct Ring {
    ring: IoUring,
    buffers: Buffers,
    /// Entries that did not fit the submission queue, oldest first. Bounded by what the caller may have in
    /// flight: one operation and one cancellation per key.
    backlog: VecDeque<squeue::Entry>,
    /// Addresses of connects that are queued and not yet submitted; the kernel copies them at submission.
    #[allow(clippy::vec_box, reason = "entries of the queue point at them: they must not move")]
    addresses: Vec<Box<socket::SocketAddress>>,
    /// Completions reaped by the last enter, in reverse.
    reaped: Vec<cqueue::Entry>,
    /// Where [`Ring::read`] puts bytes: always the same memory, so it stays in the caches.
    hot: Box<[u8]>,
    hot_lent: bool,
    pub stats: RingStats,
}

/// Plain counts since the shard last took them.
#[derive(Clone, Copy, Default, Debug)]
pub struct RingStats {
    pub enters: u64,
    pub completions: u64,
    pub no_buffers: u64,
    pub overflows: u64,
}

impl Ring {
    /// Makes the calling thread's ring. Ring memory counts against `RLIMIT_MEMLOCK` of the user and is given
    /// back late after a process ends, so a caller that restarts fast retries `ENOMEM` for some seconds.
    pub fn new(size: RingSize) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(size.entries * 4)
            .build(size.entries)?;
        let buffers = Buffers::register(&ring, size.buffers, size.buffer_bytes)?;
        Ok(Ring {
            ring,
            buffers,
            backlog: VecDeque::new(),
            addresses: Vec::new(),
            reaped: Vec::with_capacity(size.entries as usize * 4),
            hot: vec![0; HOT_BYTES].into(),
            hot_lent: false,
            stats: RingStats::default(),
        })
    }

    /// Submits what is queued and reaps what has happened: one system call. Waits at most `wait` for the
    /// first completion; `None` waits without limit, zero does not wait.
    pub fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        debug_assert!(self.reaped.is_empty(), "completions of the last turn were not taken");
        self.stats.enters += 1;
        self.queue_backlog();
        // With entries still to submit there is no sleep: they may be what would end it.
        let wait = if self.backlog.is_empty() { wait } else { Some(Duration::ZERO) };
        let outcome = match wait {
            Some(Duration::ZERO) => {
                // Waiting for no completion still sets GETEVENTS, which runs the deferred work.
                self.ring.submitter().submit_with_args(0, &SubmitArgs::new().timespec(&Timespec::new()))
            }
            Some(limit) => {
                let limit = Timespec::from(limit);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
            None => self.ring.submit_and_wait(1),
        };
        match outcome {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        if self.backlog.is_empty() && self.ring.submission().is_empty() {
            self.addresses.clear();
        }
        if self.ring.submission().cq_overflow() {
            self.stats.overflows += 1;
        }
        self.reap();
        self.stats.completions += self.reaped.len() as u64;
        self.reaped.reverse();
        Ok(())
    }

    fn reap(&mut self) {
        let mut queue = self.ring.completion();
        queue.sync();
        self.reaped.extend(&mut queue);
    }

    /// Takes the next completion of this turn.
    pub fn take(&mut self) -> Option<Completion> {
        loop {
            let entry = self.reaped.pop()?;
            if let Some(completion) = self.decode(&entry) {
                return Some(completion);
            }
        }
    }

    fn decode(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (key, verb) = Key::unpack(entry.user_data());
        let result = entry.result();
        let buffer = cqueue::buffer_select(entry.flags());
        if let Some(buffer) = buffer {
            self.buffers.lend(buffer);
        }
        let outcome = match (verb, buffer) {
            (Verb::Cancel, _) => return None,
            (Verb::Receive, Some(buffer)) if result > 0 => Outcome::Received(Chunk {
                place: Place::Provided(buffer),
                len: result as u32,
                more_waiting: cqueue::sock_nonempty(entry.flags()),
            }),
            (_, Some(buffer)) => {
                self.buffers.recycle(buffer);
                outcome_of(verb, result)
            }
            (_, None) => outcome_of(verb, result),
        };
        if let Outcome::Failed(Errno::NOBUFS) = outcome {
            self.stats.no_buffers += 1;
        }
        Some(Completion { key, outcome, more: cqueue::more(entry.flags()) })
    }

    /// Accepts connections until cancelled; each comes as [`Outcome::Accepted`], close-on-exec and non-blocking.
    pub fn accept(&mut self, key: Key, listener: BorrowedFd<'_>) {
        let entry =
            opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build();
        self.push(entry, key, Verb::Accept);
    }

    /// Receives once, into a buffer that is chosen when bytes are there. `dry` says that the socket is known
    /// to be empty: then it is not tried first.
    pub fn receive(&mut self, key: Key, socket: BorrowedFd<'_>, dry: bool) {
        const POLL_FIRST: u16 = 1; // IORING_RECVSEND_POLL_FIRST, io_uring_prep_recv(3)
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(Buffers::GROUP)
            .ioprio(if dry { POLL_FIRST } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, key, Verb::Receive);
    }

    /// Waits until `descriptor` is ready for any of `flags`, once.
    pub fn readiness(&mut self, key: Key, descriptor: BorrowedFd<'_>, flags: PollFlags) {
        let entry = opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), u32::from(flags.bits())).build();
        self.push(entry, key, Verb::Readiness);
    }

    /// Tells each time that the peer of `descriptor` ends its side, hangs up or breaks, until cancelled.
    ///
    /// An end alone cannot be left out (the kernel always adds RDHUP to what is asked for), and a watch that ends with
    /// its first event would tell of that end for ever.
    pub fn loss(&mut self, key: Key, descriptor: BorrowedFd<'_>) {
        self.tell_edges(key, descriptor, PollFlags::empty());
    }

    /// Tells each time that something comes at `descriptor` (bytes, an end, an error), until cancelled; and at once, if
    /// something is there. A socket that is asked for many messages is so asked for once. What is told may have been read
    /// since: it is a reason to look.
    ///
    /// Unlike with other operations the descriptor may be closed as soon as this is cancelled: should it be another's when the
    /// kernel gets to see both, then that other is watched for no longer than it takes to cancel, and nothing is read.
    pub fn edges(&mut self, key: Key, descriptor: BorrowedFd<'_>) {
        self.tell_edges(key, descriptor, socket::READABLE);
    }

    /// Tells when `descriptor` can be written to, or breaks, until cancelled. An end of what its peer says is told as well, and
    /// is no reason to write: asked for once only, it would end the wait before there is room, again and again.
    pub fn writable(&mut self, key: Key, descriptor: BorrowedFd<'_>) {
        self.tell_edges(key, descriptor, socket::WRITABLE);
    }

    fn tell_edges(&mut self, key: Key, descriptor: BorrowedFd<'_>, flags: PollFlags) {
        let entry = opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), u32::from(flags.bits())).multi(true).build();
        self.push(entry, key, Verb::Readiness);
    }

    /// What the last enter told of readiness, and has not been taken.
    pub fn told(&self) -> impl Iterator<Item = (Key, PollFlags)> {
        self.reaped.iter().filter_map(|entry| match Key::unpack(entry.user_data()) {
            (key, Verb::Readiness) if entry.result() >= 0 => {
                Some((key, PollFlags::from_bits_retain(entry.result() as u16)))
            }
            _ => None,
        })
    }

    /// Reads what is there, at most `at_most` bytes and [`HOT_BYTES`], at once and without the kernel's part of the ring. The
    /// outcome is that of a receive; `None`: nothing is there. Bytes are given back before the next read.
    pub fn read(&mut self, socket: BorrowedFd<'_>, at_most: usize) -> Option<Outcome> {
        assert!(!self.hot_lent, "what was read before was not given back");
        let room = at_most.min(self.hot.len());
        match socket::receive(socket, &mut self.hot[..room]) {
            Ok(0) => Some(Outcome::Ended),
            Ok(len) => {
                self.hot_lent = true;
                Some(Outcome::Received(Chunk { place: Place::Hot, len: len as u32, more_waiting: len == room }))
            }
            Err(Errno::WOULDBLOCK) => None,
            Err(error) => Some(Outcome::Failed(error)),
        }
    }

    /// Connects `socket`.
    pub fn connect(&mut self, key: Key, socket: BorrowedFd<'_>, to: socket::SocketAddress) {
        let to = Box::new(to);
        let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), to.as_ptr(), to.len()).build();
        self.addresses.push(to);
        self.push(entry, key, Verb::Connect);
    }

    /// Asks for the end of one operation; its last completion still comes, and may be a success.
    pub fn cancel(&mut self, key: Key, verb: Verb) {
        self.push(opcode::AsyncCancel::new(key.pack(verb)).build(), key, Verb::Cancel);
    }

    /// The received bytes.
    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        match chunk.place {
            Place::Provided(buffer) => self.buffers.bytes(buffer, chunk.len),
            Place::Hot => &self.hot[..chunk.len as usize],
        }
    }

    /// Gives a buffer back.
    pub fn recycle(&mut self, chunk: Chunk) {
        match chunk.place {
            Place::Provided(buffer) => self.buffers.recycle(buffer),
            Place::Hot => self.hot_lent = false,
        }
    }

    /// Gives back every buffer that the caller still has: those of a handler that panicked.
    pub fn recycle_all(&mut self) {
        self.buffers.recycle_all();
        self.hot_lent = false;
    }

    /// Bytes of one provided buffer: a receive that has as many was probably not all.
    pub fn buffer_bytes(&self) -> usize {
        self.buffers.bytes_each()
    }

    fn push(&mut self, entry: squeue::Entry, key: Key, verb: Verb) {
        let entry = entry.user_data(key.pack(verb));
        if self.backlog.is_empty() && self.queue(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        self.queue_backlog();
    }

    /// Moves the backlog into the submission queue, which is submitted early when it is full.
    fn queue_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if self.queue(&entry) {
                continue;
            }
            // An error that lasts is told by the next enter.
            let _ = self.ring.submit();
            if !self.queue(&entry) {
                return self.backlog.push_front(entry);
            }
        }
    }

    /// `false`: the submission queue is full.
    fn queue(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what an entry points at outlives its submission: receives name no memory (the kernel picks a
        // registered buffer), connects point into boxes in `addresses`, which are kept while any entry is
        // queued or in the backlog, and the other verbs point at nothing.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }
}

impl Drop for Ring {
    /// Takes everything back from the kernel. Nobody else knows the descriptors of connections that were accepted
    /// and not taken: their clients would wait for as long as the process lives.
    fn drop(&mut self) {
        /// What is cancelled completes in the enter that submits the cancellation, or overflows to one of the next.
        const ENTERS: usize = 64;
        self.backlog.clear();
        let everything = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(everything, Key { index: 0, generation: 0, tag: 0 }, Verb::Cancel);
        for _ in 0..ENTERS {
            while self.take().is_some() {}
            if self.enter(Some(Duration::ZERO)).is_err() || self.reaped.is_empty() {
                break;
            }
        }
        self.reap();
        while self.take().is_some() {}
    }
}

/// The outcome of an operation that filled no buffer.
fn outcome_of(verb: Verb, result: i32) -> Outcome {
    if result < 0 {
        return Outcome::Failed(Errno::from_raw_os_error(-result));
    }
    match verb {
        Verb::Accept => {
            // SAFETY: a successful accept completion hands us a new descriptor that nobody else knows, and
            // each completion is decoded once.
            Outcome::Accepted(unsafe { OwnedFd::from_raw_fd(result) })
        }
        Verb::Receive => Outcome::Ended,
        Verb::Readiness => Outcome::Ready(PollFlags::from_bits_retain(result as u16)),
        Verb::Connect => Outcome::Connected,
        Verb::Cancel => unreachable!("a cancellation has no outcome of its own"),
    }
}

/// Whether entering again may succeed. ETIME: the wait was over. EINTR: a signal. EBUSY: completions overflowed,
/// and reaping them makes room. EAGAIN: the kernel had no memory for an operation.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// Whether this machine can make a ring like the shards': made, used once, closed.
pub fn works() -> io::Result<()> {
    let mut ring = Ring::new(RingSize { entries: 8, buffers: 1, buffer_bytes: 4096 })?;
    let mut probe = io_uring::Probe::new();
    ring.ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::AcceptMulti::CODE,
        opcode::Recv::CODE,
        opcode::PollAdd::CODE,
        opcode::Connect::CODE,
        opcode::AsyncCancel::CODE,
    ];
    match needed.into_iter().find(|code| !probe.is_supported(*code)) {
        Some(code) => Err(io::Error::other(format!("the kernel's io_uring lacks operation {code}"))),
        None => ring.enter(Some(Duration::ZERO)),
    }
}
