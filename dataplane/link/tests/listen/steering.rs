//! New connections go to shards that live.

use crate::witness::*;
use std::net::TcpStream;

fn steering_reaches_only_the_living(address: &str) {
    let (group, address) = bound(address, &[4, 7, 9]);
    group.open().unwrap();
    let per_socket = |live: Option<u64>| {
        if let Some(live) = live {
            group.steer(live).unwrap();
        }
        let clients: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
        let counts = queued(&group);
        clients.iter().for_each(|_| drop(accept_from_any(&group)));
        counts
    };
    // By chance one of three gets none of 60 once in 10^10 runs.
    let all_get_some = |counts: Vec<u32>| assert!(counts.iter().all(|count| *count > 0), "{counts:?}");

    all_get_some(per_socket(None));
    assert_eq!(per_socket(Some(1 << 7)), [0, 60, 0]);
    let two = per_socket(Some(1 << 4 | 1 << 9));
    assert!(two[0] > 0 && two[1] == 0 && two[2] > 0, "{two:?}");
    assert_eq!(per_socket(Some(1 << 4)), [60, 0, 0]);
    // Nobody of the group lives: stays as it was.
    assert_eq!(per_socket(Some(1 << 1)), [60, 0, 0]);
    all_get_some(per_socket(Some(u64::MAX)));
    all_get_some(per_socket(Some(u64::MAX)));
}

#[test]
fn steering_reaches_only_the_living_ipv4() {
    steering_reaches_only_the_living(IPV4);
}

#[test]
fn steering_reaches_only_the_living_ipv6() {
    steering_reaches_only_the_living(IPV6);
}

#[test]
fn steering_leaves_alone_what_is_queued() {
    let (group, address) = bound(IPV4, &[0, 1]);
    group.open().unwrap();
    group.steer(1 << 0).unwrap();
    let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    group.steer(1 << 1).unwrap();
    assert_eq!(queued(&group), [10, 0]);
    for client in clients {
        exchange(client.into(), accept(group.socket(0).unwrap()).unwrap());
    }
}
