//! The file of a Unix socket: kept under another name until the change is committed.
//!
//! Binding makes the file, and `rename` moves it into place in one step, over a stale one if need be.
//! Leaving moves it away again. So there is no moment at which the path leads nowhere while the address
//! is in force, and nobody connects before Commit.
//!
//! Only a file that is still ours (same device and inode) is moved or unlinked: if somebody else has put
//! theirs in its place, it is theirs. Looking and moving are two steps, and a file put there in between would be
//! moved; the kernel offers no way to make them one.

use super::bind::{BindError, BindErrorKind};
use super::{BindAddress, DoorKind, ListenSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::Permissions;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the kernel's `sun_path` holds, its final NUL taken off.
pub(super) const PATH_BYTES_MAX: usize = 107;

/// Leaves room for a slash and the hidden name.
pub(super) const FOLDER_BYTES_MAX: usize = PATH_BYTES_MAX - 1 - HIDDEN_NAME_BYTES_MAX;

/// A dot, a process id, a dash and a number, both in hexadecimal.
const HIDDEN_NAME_BYTES_MAX: usize = 1 + 8 + 1 + 16;

/// The file of a bound socket, under one name or the other. Dropping it unlinks the file if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Beside `path`, so that `rename` does not cross file systems.
    hidden: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    published: bool,
}

impl SocketFile {
    /// To its place, where clients look for it.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        std::fs::rename(&self.hidden, &self.path)?;
        self.published = true;
        Ok(())
    }

    /// Out of the clients' sight. What they have begun they finish: it hangs on the socket, not on the name.
    pub(super) fn withdraw(&mut self) -> io::Result<()> {
        if self.is_ours(&self.path) {
            std::fs::rename(&self.path, &self.hidden)?;
        }
        self.published = false;
        Ok(())
    }

    fn is_ours(&self, name: &Path) -> bool {
        std::fs::symlink_metadata(name).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let name = if self.published { &self.path } else { &self.hidden };
        if self.is_ours(name) {
            // Nothing can be done about a failure here, and the next bind replaces a stale file.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// One listening socket that nobody can find yet.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> Result<ListenSocket, BindError> {
    let failed = |kind, source| BindError { address: BindAddress::Unix { path: path.to_owned(), mode }, kind, source };
    let failed_for = |source: io::Error| failed(BindErrorKind::of(&source), source);

    check_length(path).map_err(|source| failed(BindErrorKind::PathTooLong, source))?;
    check_place(path).map_err(|(kind, source)| failed(kind, source))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed_for)?;
    socket.set_nonblocking(true).map_err(failed_for)?;
    let hidden = bind_hidden(&socket, path).map_err(failed_for)?;

    let found = std::fs::symlink_metadata(&hidden).map_err(failed_for)?;
    let file = SocketFile { path: path.to_owned(), hidden, identity: (found.dev(), found.ino()), published: false };
    // Permissions before listening: until then a connect is refused whatever they are.
    std::fs::set_permissions(&file.hidden, Permissions::from_mode(mode)).map_err(failed_for)?;
    socket.listen(backlog).map_err(failed_for)?;
    Ok(ListenSocket::new(socket, DoorKind::Name(file)))
}

fn check_length(path: &Path) -> io::Result<()> {
    let folder = path.parent().map_or(0, |folder| folder.as_os_str().len());
    if path.as_os_str().len() > PATH_BYTES_MAX || folder > FOLDER_BYTES_MAX {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    Ok(())
}

/// Whether the path is free, or holds a socket that nobody listens on any more.
fn check_place(path: &Path) -> Result<(), (BindErrorKind, io::Error)> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err((BindErrorKind::of(&error), error)),
    };
    if !found.file_type().is_socket() {
        return Err((BindErrorKind::NotASocket, io::Error::from_raw_os_error(libc::EEXIST)));
    }
    match try_connect(path) {
        Ok(()) => Err((BindErrorKind::InUse, io::Error::from_raw_os_error(libc::EADDRINUSE))),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Ok(()),
            // Its queue is full, or it is of another type: either way somebody has it open.
            Some(libc::EAGAIN | libc::EPROTOTYPE) => Err((BindErrorKind::InUse, error)),
            _ => Err((BindErrorKind::of(&error), error)),
        },
    }
}

fn try_connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue would otherwise block us until somebody accepts.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Binds under a short name in the same folder. Names that a killed process has left behind are passed over:
/// in a container the next process often has the same id.
fn bind_hidden(socket: &Socket, path: &Path) -> io::Result<PathBuf> {
    const TRIED_MAX: u32 = 64;
    let mut last_error = None;
    for _ in 0..TRIED_MAX {
        let hidden = hidden_name(path);
        match socket.bind(&SockAddr::unix(&hidden)?) {
            Ok(()) => return Ok(hidden),
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => last_error = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last_error.expect("at least one name was tried"))
}

/// Unique in this process.
fn hidden_name(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only the numbers' being distinct matters.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{:x}-{number:x}", std::process::id()))
}

/// 1 if a connection waits, else 0: the kernel does not count them for us.
pub(super) fn accept_queue_len(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut polled = [PollFd::new(&socket, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut polled, Some(&at_once))? as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_killed_process_left_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let next = hidden_name(&path);
        let (prefix, number) = next.to_str().unwrap().rsplit_once('-').unwrap();
        let number = u64::from_str_radix(number, 16).unwrap();
        for left in number..number + 5 {
            std::fs::write(format!("{prefix}-{left:x}"), "").unwrap();
        }
        let socket = bind(&path, 0o600, 1).unwrap();
        socket.open().unwrap();
        assert!(try_connect(&path).is_ok());
    }

    #[test]
    fn the_hidden_name_has_room_beside_the_longest_folder() {
        assert!(hidden_name(Path::new("/x")).as_os_str().len() - 1 <= HIDDEN_NAME_BYTES_MAX);
        let folder = "/".to_owned() + &"x".repeat(FOLDER_BYTES_MAX - 1);
        assert!(check_length(&Path::new(&folder).join("y")).is_ok());
        assert!(check_length(&Path::new(&(folder + "x")).join("y")).is_err());
        assert!(check_length(Path::new(&("/".to_owned() + &"x".repeat(PATH_BYTES_MAX)))).is_err());
    }
}
