//! Unix sockets: the file is the door.

use crate::refused::refused;
use crate::witness::*;
use link::listen::{BindAddress, BindErrorKind, bind, pending_handshakes};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

fn unix(path: &Path) -> BindAddress {
    BindAddress::Unix { path: path.to_owned(), mode: 0o660 }
}

fn names_in(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_unix_socket_appears_at_open_and_vanishes_on_leaving() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let group = bind(&unix(&path), &[0, 1], BACKLOG).unwrap();
    assert!(!path.exists());
    group.open().unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o660);
    assert_eq!(names_in(folder.path()), ["web.sock"]);

    let clients: Vec<_> = (0..50).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert_eq!(group.socket(0).unwrap().accept_queue_len().unwrap(), 1);
    group.drop_syns().unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);
    for (ix, client) in clients.into_iter().enumerate() {
        // All shards take from one queue.
        let accepted = accept(group.socket(ix as u16 % 2).unwrap()).unwrap();
        exchange(Socket::from(client), accepted);
    }
    assert_eq!(group.socket(0).unwrap().accept_queue_len().unwrap(), 0);

    group.open().unwrap();
    assert!(!path.exists(), "a late Commit opens nothing");
    group.socket(0).unwrap().open().unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(group);
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn an_abandoned_bind_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    drop(bind(&unix(&folder.path().join("web.sock")), &[0], BACKLOG).unwrap());
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_stale_socket_file_is_replaced_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    drop(UnixListener::bind(&path).unwrap());
    let group = bind(&unix(&path), &[0], BACKLOG).unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    group.open().unwrap();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_live_socket_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let _live = UnixListener::bind(&path).unwrap();
    refused(&unix(&path), BindErrorKind::InUse, "another process listens");
    assert_eq!(names_in(folder.path()), ["web.sock"]);
}

#[test]
fn a_live_socket_whose_queue_is_full_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    busy.listen(0).unwrap();
    let _fills_the_queue = UnixStream::connect(&path).unwrap();
    refused(&unix(&path), BindErrorKind::InUse, "another process listens");
}

#[test]
fn what_is_not_a_socket_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    std::fs::write(&path, "precious").unwrap();
    refused(&unix(&path), BindErrorKind::NotASocket, "not a socket");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    refused(&unix(&path), BindErrorKind::NotASocket, "not a socket");
}

#[test]
fn a_file_that_somebody_put_in_our_place_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    for leave_first in [true, false] {
        let group = bind(&unix(&path), &[0], BACKLOG).unwrap();
        group.open().unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        if leave_first {
            group.drop_syns().unwrap();
        }
        drop(group);
        assert!(UnixStream::connect(&path).is_ok(), "leave_first: {leave_first}");
        drop(theirs);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_socket_file_needs_a_folder_and_a_short_name() {
    let folder = tempfile::tempdir().unwrap();
    refused(&unix(&folder.path().join("missing/web.sock")), BindErrorKind::NotAvailable, "folder does not exist");
    refused(&unix(&folder.path().join("x".repeat(120))), BindErrorKind::PathTooLong, "at most");
}
