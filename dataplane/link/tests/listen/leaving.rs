//! An address that leaves: nobody new, and nobody lost.

use crate::witness::*;
use link::listen::{BindAddress, pending_handshakes};
use rustix::event::PollFlags;
use socket2::SockFilter;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

fn queued_connections_survive_leaving(address: &str) {
    const QUEUED: usize = 50;
    let (group, address) = bound(address, &[0, 1]);
    group.open().unwrap();
    let clients: Vec<_> = (0..QUEUED).map(|_| TcpStream::connect(address).unwrap()).collect();
    group.drop_syns().unwrap();

    let late = connecting(address);
    wait_until("a SYN is dropped", || syns_dropped(&group) > 0);
    assert!(!is_ready(late.as_fd(), PollFlags::OUT), "connected although the address leaves");
    assert_eq!(queued(&group).iter().sum::<u32>(), QUEUED as u32);
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);

    for _ in 0..QUEUED {
        let mut accepted = accept_from_any(&group);
        accepted.write_all(b"served").unwrap();
    }
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "served");
    }
    assert_eq!(queued(&group), [0, 0]);

    // The client that came too late is refused once the sockets are gone, not left hanging.
    drop(group);
    assert_eq!(outcome(&late).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn queued_connections_survive_leaving_ipv4() {
    queued_connections_survive_leaving(IPV4);
}

#[test]
fn queued_connections_survive_leaving_ipv6() {
    queued_connections_survive_leaving(IPV6);
}

fn a_handshake_that_has_begun_completes(address: &str, wildcard: &str) {
    let (group, bound_at) = bound(address, &[0, 1]);
    group.open().unwrap();
    let wildcard = BindAddress::Ip(SocketAddr::new(wildcard.parse().unwrap(), bound_at.port()));
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);

    // A client that does not hear the SYN-ACK.
    let client = unconnected(bound_at);
    client.attach_filter(&[SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)]).unwrap();
    start_connecting(&client, bound_at);
    wait_until("a handshake is pending", || pending_handshakes(group.local_addr()).unwrap() == 1);
    assert_eq!(pending_handshakes(&wildcard).unwrap(), 1);
    assert_eq!(queued(&group), [0, 0]);

    group.drop_syns().unwrap();
    client.detach_filter().unwrap();
    // The SYN-ACK comes again; the client's own SYN, too, and is dropped.
    connected(&client);
    let accepted = accept_from_any(&group);
    assert_eq!(pending_handshakes(group.local_addr()).unwrap(), 0);
    exchange(client, accepted);
}

#[test]
fn a_handshake_that_has_begun_completes_ipv4() {
    a_handshake_that_has_begun_completes(IPV4, "0.0.0.0");
}

#[test]
fn a_handshake_that_has_begun_completes_ipv6() {
    a_handshake_that_has_begun_completes(IPV6, "::");
}

#[test]
fn an_address_that_leaves_is_opened_again_on_purpose_only() {
    let (group, address) = bound(IPV4, &[0]);
    group.open().unwrap();
    group.drop_syns().unwrap();
    // A shard that commits late must not undo what came after.
    group.open().unwrap();
    let client = connecting(address);
    wait_until("a SYN is dropped", || syns_dropped(&group) > 0);
    group.socket(0).unwrap().open().unwrap();
    connected(&client);
}
