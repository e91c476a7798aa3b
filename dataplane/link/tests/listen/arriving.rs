//! A new address: nobody gets in before it is opened, everybody after.

use crate::witness::*;
use rustix::event::PollFlags;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

fn nobody_gets_in_before_open(address: &str) {
    let (group, address) = bound(address, &[0, 1]);
    let client = connecting(address);
    wait_until("a SYN is dropped", || syns_dropped(&group) > 0);
    assert!(!is_ready(client.as_fd(), PollFlags::OUT), "connected through the filter");
    assert_eq!(queued(&group), [0, 0]);

    group.open().unwrap();
    // Not refused and not reset: the SYN comes again and is answered.
    connected(&client);
    let stream = accept_from_any(&group);
    exchange(client, stream);
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn nobody_gets_in_before_open_ipv4() {
    nobody_gets_in_before_open(IPV4);
}

#[test]
fn nobody_gets_in_before_open_ipv6() {
    nobody_gets_in_before_open(IPV6);
}

#[test]
fn one_shard_can_open_for_itself() {
    let (group, address) = bound(IPV4, &[0, 1]);
    let (first, second) = (group.socket(0).unwrap(), group.socket(1).unwrap());
    first.open().unwrap();
    first.open().unwrap();
    // The kernel hashes: enough attempts reach both.
    let clients: Vec<_> = (0..64).map(|_| connecting(address)).collect();
    wait_until("a SYN is dropped by the shard that is not open", || drops(second) > 0);
    wait_until("others came in", || first.accept_queue_len().unwrap() > 0);
    assert_eq!(second.accept_queue_len().unwrap(), 0);
    drop(clients);
}

#[test]
fn sockets_come_with_their_options() {
    let (group, address) = bound(IPV4, &[0]);
    let socket = socket2::SockRef::from(&**group.socket(0).unwrap());
    assert!(rustix::io::fcntl_getfd(&*socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert!(socket.nonblocking().unwrap());
    group.open().unwrap();
    assert_eq!(accept(group.socket(0).unwrap()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let _client = TcpStream::connect(address).unwrap();
    let accepted = accept_from_any(&group);
    assert!(accepted.tcp_nodelay().unwrap(), "inherited from the listener");
}

#[test]
fn port_zero_is_one_port_for_the_group() {
    for asked in [IPV4, IPV6] {
        let (group, address) = bound(asked, &[0, 1, 2, 3]);
        assert_ne!(address.port(), 0);
        for shard in group.shards() {
            let socket = socket2::SockRef::from(&**group.socket(shard).unwrap());
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
        }
        assert!(group.socket(4).is_none());
    }
}

#[test]
fn an_ipv6_wildcard_leaves_ipv4_alone() {
    let (group, _) = bound("[::]:0", &[0, 1]);
    for shard in group.shards() {
        assert!(socket2::SockRef::from(&**group.socket(shard).unwrap()).only_v6().unwrap());
    }
}
