//! Sockets are lent, and close with the last borrower.

use crate::witness::*;
use link::listen::Registry;
use std::io;
use std::net::TcpStream;

#[test]
fn the_registry_lends_and_the_last_borrower_closes() {
    let registry = Registry::new();
    let (group, address) = bound(IPV4, &[0, 1]);
    registry.insert(3, group).open().unwrap();
    let lent = registry.socket(3, 1).unwrap();
    assert!(registry.socket(3, 2).is_none());
    assert!(registry.socket(4, 1).is_none());
    assert!(registry.steer_all(1 << 1).is_empty());
    let client = TcpStream::connect(address).unwrap();

    assert!(registry.remove(3).is_some());
    assert!(registry.group(3).is_none());
    exchange(client.into(), accept(&lent).expect("the borrowed socket is open still"));
    drop(lent);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_listener_slot_has_one_address() {
    let registry = Registry::new();
    registry.insert(0, bound(IPV4, &[0]).0);
    let second = bound(IPV4, &[0]).0;
    let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| registry.insert(0, second)));
    assert!(twice.is_err());
    assert!(registry.group(0).is_some(), "the registry works on");
}
