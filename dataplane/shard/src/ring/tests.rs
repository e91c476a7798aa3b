//! The verbs against the real kernel, on loopback.

use super::socket::Peer;
use super::*;
use rustix::net::sockopt;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

const SIZE: RingSize = RingSize { entries: 64, buffers: 8, buffer_bytes: 1024 };

fn key(tag: u8) -> Key {
    Key { index: 7, generation: 3, tag }
}

/// Turns the ring until `wanted` says so, at most five seconds.
fn turn_until(ring: &mut Ring, mut wanted: impl FnMut(&mut Ring, Completion) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        ring.enter(Some(Duration::from_millis(100))).unwrap();
        let mut done = false;
        while let Some(completion) = ring.take() {
            done |= wanted(ring, completion);
        }
        if done {
            return;
        }
        assert!(Instant::now() < deadline, "nothing came");
    }
}

fn accepted(ring: &mut Ring) -> (OwnedFd, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ring.accept(key(0), listener.as_fd());
    let mut socket = None;
    turn_until(ring, |_, completion| match completion.outcome {
        Outcome::Accepted(descriptor) => {
            assert!(completion.more, "a multishot accept goes on");
            assert_eq!(completion.key, key(0));
            socket = Some(descriptor);
            true
        }
        other => panic!("{other:?}"),
    });
    (socket.unwrap(), client, listener)
}

#[test]
fn keys_survive_the_kernel() {
    for key in [Key { index: 0, generation: 0, tag: 0 }, Key { index: u32::MAX, generation: GENERATION_MASK, tag: 31 }]
    {
        for verb in [Verb::Accept, Verb::Receive, Verb::Readiness, Verb::Connect, Verb::Cancel] {
            assert_eq!(Key::unpack(key.pack(verb)), (key, verb));
        }
    }
}

#[test]
fn a_message_arrives_in_a_provided_buffer_and_the_end_after_it() {
    let mut ring = Ring::new(SIZE).unwrap();
    let (socket, mut client, _listener) = accepted(&mut ring);
    client.write_all(b"hello").unwrap();
    ring.receive(key(1), socket.as_fd(), false);
    turn_until(&mut ring, |ring, completion| match completion.outcome {
        Outcome::Received(chunk) => {
            assert_eq!(ring.bytes(&chunk), b"hello");
            ring.recycle(chunk);
            true
        }
        other => panic!("{other:?}"),
    });
    drop(client);
    ring.receive(key(1), socket.as_fd(), true);
    turn_until(&mut ring, |_, completion| matches!(completion.outcome, Outcome::Ended));
}

#[test]
fn buffers_come_back_and_their_lack_is_told() {
    let mut ring = Ring::new(SIZE).unwrap();
    let (socket, mut client, _listener) = accepted(&mut ring);
    let mut kept = Vec::new();
    for _ in 0..SIZE.buffers {
        client.write_all(b"x").unwrap();
        ring.receive(key(1), socket.as_fd(), false);
        turn_until(&mut ring, |_, completion| match completion.outcome {
            Outcome::Received(chunk) => {
                kept.push(chunk);
                true
            }
            other => panic!("{other:?}"),
        });
    }
    client.write_all(b"y").unwrap();
    ring.receive(key(1), socket.as_fd(), false);
    turn_until(&mut ring, |_, completion| matches!(completion.outcome, Outcome::Failed(Errno::NOBUFS)));
    assert_eq!(ring.stats.no_buffers, 1);
    kept.into_iter().for_each(|chunk| ring.recycle(chunk));
    // More rounds than there are buffers: each was really given back.
    for _ in 0..3 * SIZE.buffers {
        ring.receive(key(1), socket.as_fd(), false);
        turn_until(&mut ring, |ring, completion| match completion.outcome {
            Outcome::Received(chunk) => {
                assert_eq!(ring.bytes(&chunk), b"y");
                ring.recycle(chunk);
                true
            }
            other => panic!("{other:?}"),
        });
        client.write_all(b"y").unwrap();
    }
}

#[test]
fn a_connect_says_how_it_went() {
    let mut ring = Ring::new(SIZE).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let socket = socket::stream_for(&there.into()).unwrap();
    ring.connect(key(2), socket.as_fd(), there.into());
    turn_until(&mut ring, |_, completion| matches!(completion.outcome, Outcome::Connected));
    assert_eq!(Peer::of(socket.as_fd()), Peer::Ip(there));
    drop(listener);
    let socket = socket::stream_for(&there.into()).unwrap();
    ring.connect(key(2), socket.as_fd(), there.into());
    turn_until(&mut ring, |_, completion| matches!(completion.outcome, Outcome::Failed(Errno::CONNREFUSED)));
}

#[test]
fn a_cancelled_operation_has_a_last_completion() {
    let mut ring = Ring::new(SIZE).unwrap();
    let (socket, _client, _listener) = accepted(&mut ring);
    ring.receive(key(1), socket.as_fd(), false);
    ring.enter(Some(Duration::ZERO)).unwrap();
    assert!(ring.take().is_none(), "nothing was sent");
    ring.cancel(key(1), Verb::Receive);
    turn_until(&mut ring, |_, completion| {
        assert_eq!(completion.key, key(1));
        matches!(completion.outcome, Outcome::Failed(Errno::CANCELED)) && !completion.more
    });
}

#[test]
fn connections_that_race_with_a_cancelled_accept_are_delivered() {
    let mut ring = Ring::new(SIZE).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept(key(0), listener.as_fd());
    ring.enter(Some(Duration::ZERO)).unwrap();
    let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
    // Not entered since: the connections are queued when the cancel is.
    ring.cancel(key(0), Verb::Accept);
    let mut served = 0;
    turn_until(&mut ring, |_, completion| match completion.outcome {
        Outcome::Accepted(_) => {
            served += 1;
            !completion.more
        }
        Outcome::Failed(Errno::CANCELED) => true,
        other => panic!("{other:?}"),
    });
    // Whatever the accept did not take is still in the listener's queue.
    sockopt::set_socket_timeout(&listener, sockopt::Timeout::Recv, Some(Duration::from_secs(5))).unwrap();
    while served < clients.len() {
        listener.accept().unwrap();
        served += 1;
    }
}

#[test]
fn readiness_tells_an_end_from_another_thread_in_time() {
    let mut ring = Ring::new(SIZE).unwrap();
    let (socket, client, _listener) = accepted(&mut ring);
    ring.readiness(key(3), socket.as_fd(), socket::READABLE);
    let other = std::thread::spawn(move || drop(client));
    turn_until(&mut ring, |_, completion| match completion.outcome {
        Outcome::Ready(flags) => flags.contains(PollFlags::RDHUP),
        other => panic!("{other:?}"),
    });
    other.join().unwrap();
}

#[test]
fn bytes_pass_a_pipe_unchanged() {
    let mut ring = Ring::new(SIZE).unwrap();
    let (from, mut writer, _l1) = accepted(&mut ring);
    let mut second = Ring::new(SIZE).unwrap();
    let (to, mut reader, _l2) = accepted(&mut second);
    let sent: Vec<u8> = (0..50_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let expected = sent.clone();
    let other = std::thread::spawn(move || writer.write_all(&sent));
    let mut pipes = pipe::Pipes::new(1);
    let taken = pipes.take().unwrap();
    assert!(pipes.take().is_none(), "the bound holds");
    let reading = std::thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        reader.read_exact(&mut got).unwrap();
        assert!(got == expected);
    });
    let mut moved = 0;
    while moved < 200_000 {
        match taken.fill(from.as_fd(), u64::MAX) {
            Ok(0) => break,
            Ok(mut inside) => {
                while inside > 0 {
                    match taken.drain(to.as_fd(), inside, false) {
                        Ok(bytes) => {
                            inside -= bytes;
                            moved += bytes;
                        }
                        Err(Errno::WOULDBLOCK) => {
                            ring.readiness(key(4), to.as_fd(), socket::WRITABLE);
                            turn_until(&mut ring, |_, completion| matches!(completion.outcome, Outcome::Ready(_)));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Err(Errno::WOULDBLOCK) => {
                ring.readiness(key(3), from.as_fd(), socket::READABLE);
                turn_until(&mut ring, |_, completion| matches!(completion.outcome, Outcome::Ready(_)));
            }
            Err(error) => panic!("{error}"),
        }
    }
    reading.join().unwrap();
    other.join().unwrap().unwrap();
    pipes.give_back(taken);
    assert_eq!(pipes.in_use(), 0);
    assert!(pipes.take().is_some(), "what came back is used again");
}

/// They were in the completion queue, or on the way to it, when their shard ended: nobody else knew their
/// descriptors, and their clients waited for an answer until the process ended.
#[test]
fn connections_that_nobody_took_end_with_the_ring() {
    let mut ring = Ring::new(SIZE).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept(key(0), listener.as_fd());
    ring.enter(Some(Duration::ZERO)).unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let reaped = connect();
    ring.enter(Some(Duration::from_secs(5))).unwrap();
    drop(ring);
    let mut clients = vec![reaped];
    // What the ring did not accept is in the listener's queue, for whoever accepts next.
    clients.push(connect());
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok(), "the next one is queued, not swallowed");
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn more_operations_than_the_queue_holds_are_all_begun() {
    let size = RingSize { entries: 4, ..SIZE };
    let mut ring = Ring::new(size).unwrap();
    let (socket, _client, _listener) = accepted(&mut ring);
    const ASKED: u8 = 20;
    for tag in 0..ASKED {
        ring.readiness(key(tag), socket.as_fd(), socket::WRITABLE);
    }
    let mut ready = 0;
    turn_until(&mut ring, |_, completion| {
        assert!(matches!(completion.outcome, Outcome::Ready(_)));
        ready += 1;
        ready == ASKED
    });
}

#[test]
fn what_a_handler_leaves_behind_is_given_back() {
    let mut ring = Ring::new(SIZE).unwrap();
    let (socket, mut client, _listener) = accepted(&mut ring);
    for _ in 0..3 * SIZE.buffers {
        client.write_all(b"x").unwrap();
        ring.receive(key(1), socket.as_fd(), false);
        turn_until(&mut ring, |_, completion| match completion.outcome {
            Outcome::Received(_) => true,
            other => panic!("{other:?}"),
        });
        ring.recycle_all();
    }
}
