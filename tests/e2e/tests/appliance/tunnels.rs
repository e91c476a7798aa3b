//! Bytes arrive exactly, in both directions, over every kind of address, and an end is passed on as an end.

use e2e::{Pool, backend};
use harness::appliance::Appliance;
use harness::backend::{Backend, Vice};
use harness::client::{self, Tunnel};
use harness::net::{Stream, Target};
use harness::wait::Deadline;
use std::net::TcpListener;

const MIB: u64 = 1 << 20;

#[test]
fn sixty_four_mebibytes_arrive_exactly_both_ways_at_once() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    assert_eq!(client::echo(&front, 1, 64 * MIB, Deadline::patient()), Ok(()));
    let seen = echo.wait_seen("the client's end", |seen| seen.ended == 1);
    assert_eq!(seen.received, 64 * MIB);
    let log = appliance.wait_access_log(1);
    assert_eq!(log[0]["reason"], "finished");
    assert_eq!((&log[0]["bytes_in"], &log[0]["bytes_out"]), (&(64 * MIB).into(), &(64 * MIB).into()));
}

/// The client's end first, then the backend's answer to all it got; and the other way round.
#[test]
fn each_side_may_end_first_and_still_be_answered() {
    let (sink, source) = (Backend::start(Vice::Sink), Backend::start(Vice::Source { seed: 3, bytes: 16 * MIB }));
    let early = Backend::start(Vice::EndsEarly { after: 64 });
    let fronts = [Target::fresh(), Target::fresh(), Target::fresh()];
    let pools = [
        Pool::new("sink").listen(&fronts[0]).backend("sink", sink.target()),
        Pool::new("source").listen(&fronts[1]).backend("source", source.target()),
        Pool::new("early").listen(&fronts[2]).backend("early", early.target()),
    ];
    let appliance = Appliance::start(&pools.map(|pool| pool.to_string()).concat());
    assert_eq!(client::push(&fronts[0], 2, 16 * MIB, Deadline::patient()), Ok(()));
    assert_eq!(client::push(&fronts[0], 2, 0, Deadline::patient()), Ok(()));
    assert_eq!(client::fetch(&fronts[1], 3, 16 * MIB, Deadline::patient()), Ok(()));

    let mut tunnel = Tunnel::open(&fronts[2]).expect("the backend echoes 64 bytes");
    tunnel.wait_end(Deadline::patient()).expect("then it says its end");
    tunnel.stream().send(&[7; 10_000]).expect("the other direction is open");
    early.wait_seen("what came after its end", |seen| seen.received == 64 + 10_000 && seen.ended == 0);
    tunnel.stream().finish().expect("the client may end now");
    early.wait_seen("the client's end", |seen| seen.ended == 1);
    let log = appliance.wait_access_log(4);
    assert_eq!(e2e::reasons(&log), ["finished"; 4]);
}

/// A client on a Unix socket that sends all it has and closes: the kernel calls that a hang-up, and its bytes were cut off
/// behind a reset.
#[test]
fn a_unix_client_may_send_and_close() {
    use std::io::{Read, Write};
    let backend = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let appliance = Appliance::start("");
    let front = Target::Unix(appliance.folder().join("front.sock"));
    let back = Target::Ip(backend.local_addr().expect("bound"));
    appliance.apply(&Pool::new("db").listen(&front).backend("a", &back).to_string());
    let Target::Unix(path) = &front else { unreachable!("as above") };
    let mut client = std::os::unix::net::UnixStream::connect(path).expect("somebody listens");
    let (mut server, _) = backend.accept().expect("the appliance connects");
    client.write_all(&[7; 100_000]).expect("the kernel holds that much");
    drop(client);
    let mut received = Vec::new();
    server.read_to_end(&mut received).expect("an end, and no reset");
    assert_eq!(received.len(), 100_000);
    drop(server);
    assert_eq!(e2e::reasons(&appliance.wait_access_log(1)), ["finished"]);
}

#[test]
fn every_family_in_front_and_behind() {
    let appliance = Appliance::start("");
    let folder = appliance.folder();
    let unix = |name: &str| Target::Unix(folder.join(name));
    let backs = [Target::fresh(), Target::fresh_v6(), unix("back.sock")];
    let _echoes = backs.each_ref().map(|back| Backend::at(Vice::Echo, back));
    let mut pools = String::new();
    let mut fronts = Vec::new();
    for (b, back) in backs.iter().enumerate() {
        for (f, front) in [Target::fresh(), Target::fresh_v6(), unix(&format!("front{b}.sock"))].into_iter().enumerate()
        {
            pools += &Pool::new(&format!("pool-{f}-{b}")).listen(&front).backend("a", back).to_string();
            fronts.push(front);
        }
    }
    appliance.apply(&pools);
    for (seed, front) in fronts.iter().enumerate() {
        assert_eq!(client::echo(front, seed as u64, MIB, Deadline::patient()), Ok(()), "through {front}");
    }
}

#[test]
fn a_backend_may_have_a_name() {
    // The name stands for 127.0.0.1, for ::1, or for both: this backend has both.
    let v4 = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound");
    let both = [v4, (std::net::Ipv6Addr::LOCALHOST, v4.port()).into()]
        .map(|address| Backend::at(Vice::Echo, &Target::Ip(address)));
    let front = Target::fresh();
    let pool = Pool::new("db").listen(&front).backend_at("named", &format!("localhost:{}", v4.port()), "");
    let appliance = Appliance::start(&pool.to_string());
    appliance.wait_status("the name is resolved", |status| !backend(status, "named").resolved.is_empty());
    assert_eq!(client::echo(&front, 1, MIB, Deadline::patient()), Ok(()));
    assert_eq!(both.iter().map(|backend| backend.seen().accepted).sum::<u64>(), 1);
}

#[test]
fn many_at_once_do_not_mix() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let _appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    client::crowd(&front, 24, MIB).assert_clean();
}

/// Small pieces take another way through a shard than bulk does; a tunnel goes from one to the other and back.
#[test]
fn small_talk_and_bulk_take_turns() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let _appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    let mut tunnel = Tunnel::open(&front).expect("a tunnel");
    for _ in 0..20 {
        for size in [1, 2, 100, 65_536, 1, 4_096, 4_097, 65_536, 65_536, 65_536, 3] {
            assert_eq!(tunnel.ping(size), Ok(()));
        }
    }
    tunnel.close().expect("a proper end");
}

/// A client that takes nothing for as long as its buffers last, then all: nothing is lost in between.
#[test]
fn a_client_that_reads_late_gets_everything() {
    const BYTES: u64 = 24 * MIB;
    let (source, front) = (Backend::start(Vice::Source { seed: 9, bytes: BYTES }), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", source.target()).to_string());
    let mut late = Stream::connect(&front, Deadline::patient()).expect("it connects");
    late.shrink_receive_buffer(64 << 10);
    // Others are served through the same shards meanwhile.
    for _ in 0..4 {
        assert_eq!(client::fetch(&front, 9, BYTES, Deadline::patient()), Ok(()));
    }
    appliance.wait_status("the late one is still there", |status| e2e::pool(status, "db").connections == 1);
    assert_eq!(client::take(&mut late, 9, BYTES), Ok(()));
}
