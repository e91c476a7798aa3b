//! The socket filter that keeps new clients out without refusing them.
//!
//! For a TCP socket the kernel runs the filter over the segment from its TCP header on, for IPv4 and IPv6
//! alike. A *bare* SYN (SYN without ACK) asks for a new connection and is dropped; the ACK that completes
//! a handshake passes, so a connection that has begun arrives in the accept queue.
//!
//! Linux asks no privilege for it. Some kernels do (seen: 6.18 of a micro-VM, which wants CAP_NET_ADMIN); there we go on
//! without, and [`is_missing`] says so: clients can then come in a moment before an address is in force, and while
//! one leaves they go on coming until it is given up on.

use socket2::{SockFilter, Socket};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// A filter was refused for want of privilege.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Whether this process has had to go on without its filters.
pub fn is_missing() -> bool {
    // Relaxed: a remark for people, nothing is ordered by it.
    MISSING.load(Ordering::Relaxed)
}

/// Offset of the flags in a TCP header (RFC 9293, section 3.1).
const FLAGS_OFFSET: u32 = 13;
const FLAG_SYN: u32 = 0x02;
const FLAG_ACK: u32 = 0x10;

const DROP: u32 = 0;
const PASS_WHOLE: u32 = u32::MAX;

pub(super) fn attach(socket: &Socket) -> io::Result<()> {
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
    let code = |code: u32| code as u16;
    let attached = socket.attach_filter(&[
        SockFilter::new(code(BPF_LD | BPF_B | BPF_ABS), 0, 0, FLAGS_OFFSET),
        // Masking first: a SYN that offers ECN has two more flags set.
        SockFilter::new(code(BPF_ALU | BPF_AND | BPF_K), 0, 0, FLAG_SYN | FLAG_ACK),
        SockFilter::new(code(BPF_JMP | BPF_JEQ | BPF_K), 0, 1, FLAG_SYN),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, DROP),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, PASS_WHOLE),
    ]);
    match attached {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            MISSING.store(true, Ordering::Relaxed);
            Ok(())
        }
        attached => attached,
    }
}

pub(super) fn detach(socket: &Socket) -> io::Result<()> {
    match socket.detach_filter() {
        // ENOENT: there is no filter, which is what was wanted.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}
