//! Provided buffers: memory that the kernel fills with what it receives, chosen when bytes are there, so
//! that a connection that waits owns none.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

/// One group of equal buffers, shared with the kernel.
pub struct Buffers {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    bytes_each: u32,
    /// By buffer: it is ours and not the kernel's.
    lent: Box<[bool]>,
    /// Where the next recycled buffer goes; the kernel sees it through the shared tail.
    tail: u16,
}

impl Buffers {
    pub const GROUP: u16 = 0;

    /// Maps `count` buffers (a power of two) and tells the kernel. They must outlive the ring: the owner
    /// drops the ring first, which its field order does.
    pub fn register(ring: &IoUring, count: u16, bytes_each: u32) -> io::Result<Buffers> {
        assert!(count.is_power_of_two(), "{count} provided buffers: not a power of two");
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * bytes_each as usize)?;
        // SAFETY: the mapping is page-aligned, as long as `count` entries, and is unmapped only when this
        // value is dropped, after the ring.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, Self::GROUP, 0)?;
        }
        let lent = vec![true; usize::from(count)].into();
        let mut buffers = Buffers { entries, memory, count, bytes_each, lent, tail: 0 };
        buffers.recycle_all();
        Ok(buffers)
    }

    /// The kernel has filled a buffer: it is ours until it is recycled.
    pub fn lend(&mut self, buffer: u16) {
        let before = std::mem::replace(&mut self.lent[usize::from(buffer)], true);
        assert!(!before, "the kernel filled buffer {buffer}, which it did not have");
    }

    /// Gives every buffer to the kernel that it does not have.
    pub fn recycle_all(&mut self) {
        for buffer in 0..self.count {
            if self.lent[usize::from(buffer)] {
                self.recycle(buffer);
            }
        }
    }

    /// Gives a buffer to the kernel.
    pub fn recycle(&mut self, buffer: u16) {
        assert!(std::mem::take(&mut self.lent[usize::from(buffer)]), "buffer {buffer} was given back twice");
        let slot = usize::from(self.tail & (self.count - 1));
        let address = self.address(buffer);
        // SAFETY: `slot` is below `count`, so it lies in the mapping; the kernel reads an entry only after
        // the tail has passed it, and of `count` buffers at most `count - 1` others are queued (`lent` says
        // that this one was not), so this entry is not one that the kernel still has to read.
        let entry = unsafe { &mut *self.entries.start.as_ptr().cast::<BufRingEntry>().add(slot) };
        entry.set_addr(address as u64);
        entry.set_len(self.bytes_each);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies inside the first entry of the mapping, is aligned and only ever accessed
        // atomically while the kernel may look (the entry setters above do not touch its bytes).
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.start.as_ptr().cast()).cast_mut()) };
        // Pairs with the kernel's acquire load of the tail: it sees the entry written above.
        tail.store(self.tail, Ordering::Release);
    }

    /// What the kernel wrote.
    pub fn bytes(&self, buffer: u16, len: u32) -> &[u8] {
        assert!(self.lent[usize::from(buffer)] && len <= self.bytes_each);
        // SAFETY: in bounds by the assertion; `lent` says that the kernel gave this buffer back with its completion,
        // and it does not write to it until it is recycled, which takes `&mut self`. Anonymous memory is
        // initialised.
        unsafe { std::slice::from_raw_parts(self.address(buffer), len as usize) }
    }

    pub fn bytes_each(&self) -> usize {
        self.bytes_each as usize
    }

    fn address(&self, buffer: u16) -> *const u8 {
        let offset = usize::from(buffer) * self.bytes_each as usize;
        debug_assert!(offset < self.memory.len);
        self.memory.start.as_ptr().cast::<u8>().wrapping_add(offset)
    }
}

/// Zeroed anonymous memory, page-aligned, given back on drop.
struct Mapping {
    start: NonNull<c_void>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
        let start = NonNull::new(start).expect("mmap never returns null without MAP_FIXED");
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; every borrow of it ended with the owner.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}
