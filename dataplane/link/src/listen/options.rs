//! Socket options that no safe library offers, each behind a safe function.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

// From asm-generic/socket.h, which holds for every architecture but sparc and parisc; libc has them for Android only.
const SO_ATTACH_REUSEPORT_CBPF: c_int = 51;
const SO_DETACH_REUSEPORT_BPF: c_int = 68;

/// Sets the program that chooses a socket within the `SO_REUSEPORT` group of `socket`.
pub(super) fn attach_reuseport_program(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        // The kernel only reads through this pointer; C has no way to say so.
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the option's value is a `sock_fprog`, `program` is one, and its `filter` and `len` describe a
    // slice that outlives the call. The kernel copies the instructions before it returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast::<c_void>(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Back to the kernel's hash. ENOENT: there was no program.
pub(super) fn detach_reuseport_program(socket: BorrowedFd<'_>) -> io::Result<()> {
    let unused: c_int = 0;
    // SAFETY: the option takes an int and ignores it; `unused` is one, alive for the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_DETACH_REUSEPORT_BPF,
            (&raw const unused).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Complete connections that wait for `accept` on a listening TCP socket.
pub(super) fn accept_queue_len(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `len` bytes; the kernel writes at most that many and alters `len` to match.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast::<c_void>(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `tcp_info` is all integers, for which zero is a value, and what the kernel did not write is
    // still zero.
    let info = unsafe { info.assume_init() };
    // Of a listening socket this field is the length of the accept queue (tcp_get_info in the kernel).
    Ok(info.tcpi_unacked)
}
