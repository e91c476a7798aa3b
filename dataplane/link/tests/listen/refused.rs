//! Addresses that cannot be had, and one that can be had again.

use crate::witness::*;
use link::listen::{BindAddress, BindErrorKind, bind};
use std::io::Read;
use std::net::{TcpListener, TcpStream};

pub(crate) fn refused(address: &BindAddress, kind: BindErrorKind, says: &str) {
    let error = bind(address, &[0, 1], BACKLOG).expect_err("bound");
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!(&error.address, address);
    let text = error.to_string();
    assert!(text.contains(says) && text.contains(&address.to_string()), "{text}");
}

#[test]
fn a_port_of_a_plain_socket_is_in_use() {
    let other = TcpListener::bind(IPV4).unwrap();
    refused(&BindAddress::Ip(other.local_addr().unwrap()), BindErrorKind::InUse, "in use");
}

/// The trap of `SO_REUSEPORT`: the kernel would let us in beside another process of the same user, and each
/// would get half of the connections.
#[test]
fn a_port_that_would_be_shared_silently_is_in_use() {
    let other = reuse_port_socket(IPV4.parse().unwrap());
    other.listen(1).unwrap();
    let taken = other.local_addr().unwrap().as_socket().unwrap();
    let _proof_that_the_kernel_shares = reuse_port_socket(taken);
    refused(&BindAddress::Ip(taken), BindErrorKind::InUse, "in use");
}

#[test]
fn a_port_of_our_own_is_in_use() {
    let (group, address) = bound(IPV4, &[0, 1]);
    refused(&BindAddress::Ip(address), BindErrorKind::InUse, "in use");
    // Leaving does not free it; closing does.
    group.open().unwrap();
    group.drop_syns().unwrap();
    refused(&BindAddress::Ip(address), BindErrorKind::InUse, "in use");
    drop(group);
    bind(&BindAddress::Ip(address), &[0, 1], BACKLOG).unwrap();
}

#[test]
fn an_address_of_no_interface_is_not_available() {
    // TEST-NET-1, RFC 5737.
    refused(&BindAddress::Ip("192.0.2.1:7000".parse().unwrap()), BindErrorKind::NotAvailable, "no network interface");
}

#[test]
fn a_port_with_old_connections_can_be_bound_again() {
    let (group, address) = bound(IPV4, &[0, 1]);
    group.open().unwrap();
    let mut ended = TcpStream::connect(address).unwrap();
    // We close first, so that our side goes to TIME_WAIT.
    drop(accept_from_any(&group));
    assert_eq!(ended.read(&mut [0; 1]).unwrap(), 0);
    let live = TcpStream::connect(address).unwrap();
    let accepted = accept_from_any(&group);
    drop(group);
    drop(ended);

    let again = bind(&BindAddress::Ip(address), &[0, 1], BACKLOG).unwrap();
    again.open().unwrap();
    let client = TcpStream::connect(address).unwrap();
    exchange(client.into(), accept_from_any(&again));
    exchange(live.into(), accepted);
}
