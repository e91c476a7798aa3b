//! A full descriptor table. Alone in its process, for the limit is the process's.

mod rig;

use link::counters::ShardCounter;
use policy::close::CloseReason;
use rig::Rig;
use rig::peers::{Backend, Stream};
use rig::site::Site;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::OwnedFd;

/// Takes every descriptor that is left.
fn all_descriptors() -> Vec<OwnedFd> {
    let stdin = std::io::stdin();
    std::iter::from_fn(|| rustix::io::dup(&stdin).ok()).collect()
}

#[test]
fn without_descriptors_clients_wait_and_tunnels_go_on() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).unwrap();
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    let (mut client, mut served) = (rig.connect(0), backend.accept());
    let mut clients: Vec<_> = (0..3).map(|_| Stream::unconnected(&rig.address(0))).collect();
    let mut held = all_descriptors();

    // Nobody can be accepted: who comes waits in the kernel's queue.
    clients.iter_mut().for_each(|client| client.connect_to(&rig.address(0)));
    clients[0].say(b"first");
    rig.until("the accept fails", |rig| rig.shard(0, ShardCounter::DescriptorsExhausted) > 0);
    let turns = rig.shard(0, ShardCounter::LoopTurns);
    for _ in 0..100 {
        client.say(b"on");
        served.hear(b"on");
    }
    let turns = rig.shard(0, ShardCounter::LoopTurns) - turns;
    assert!(turns < 1000, "{turns} turns for 100 messages: it spins");

    // With one descriptor a client can be accepted and not be connected: it is told.
    held.pop();
    clients[0].hear_end();
    let record = rig.closed(CloseReason::DescriptorsExhausted);
    assert_eq!(record.endpoint, None);

    // Whoever still waits is served as soon as there are enough. They must come all at once: freed one by one they would leave
    // the shard a moment in which a client can be accepted and not be connected.
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), maximum }).unwrap();
    drop((clients.remove(0), held));
    for waiting in &mut clients {
        waiting.say(b"my turn");
        backend.accept().hear(b"my turn");
    }
    client.say(b"still on");
    served.hear(b"still on");
    drop((client, served, clients));
    rig.stop();
}
