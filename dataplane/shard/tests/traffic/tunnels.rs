//! Bytes pass a tunnel unchanged, in every size and at every pace, over every kind of address.

use crate::rig::Rig;
use crate::rig::peers::{Backend, Stream};
use crate::rig::site::{self, Folder, Site};
use link::counters::{PoolCounter, ShardCounter};
use link::listen::BindAddress;
use policy::close::CloseReason;
use policy::record::ClientAddr;
use std::io::{Read, Write};

/// The byte at this place of every stream here.
fn byte(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

fn say_bytes(stream: &mut Stream, total: usize) {
    let mut said = 0;
    while said < total {
        let block: Vec<u8> = (said..total.min(said + (64 << 10))).map(byte).collect();
        stream.0.write_all(&block).unwrap();
        said += block.len();
    }
}

fn hear_bytes(stream: &mut Stream, from: usize, total: usize) {
    let (mut heard, mut buffer) = (from, vec![0; 64 << 10]);
    while heard < total {
        let most = buffer.len().min(total - heard);
        let bytes = stream.0.read(&mut buffer[..most]).unwrap();
        assert!(bytes > 0, "an end after {heard} bytes");
        for heard_byte in &buffer[..bytes] {
            assert_eq!(*heard_byte, byte(heard), "at byte {heard}");
            heard += 1;
        }
    }
}

#[test]
fn small_messages_pass_and_the_end_comes_back_after_the_answer() {
    let mut rig = Rig::new(Site::of(&[Backend::new().echoing()]));
    let mut client = rig.connect(0);
    for round in 0..100u32 {
        client.say(&round.to_le_bytes());
        client.hear(&round.to_le_bytes());
    }
    client.end();
    client.hear_end();
    let record = rig.closed(CloseReason::Finished);
    assert_eq!((record.bytes_in, record.bytes_out), (400, 400));
    assert!(matches!(record.client, ClientAddr::Ip(_)));
    assert_eq!(rig.pool(0, PoolCounter::BytesIn), 400);
    rig.stop();
}

#[test]
fn bulk_passes_byte_exact_both_ways_at_once() {
    const TOTAL: usize = 32 << 20;
    let mut rig = Rig::new(Site::of(&[Backend::new().echoing()]));
    let mut client = rig.connect(0);
    let mut writer = client.other_half();
    let writing = std::thread::spawn(move || {
        say_bytes(&mut writer, TOTAL);
        writer.end();
    });
    hear_bytes(&mut client, 0, TOTAL);
    client.hear_end();
    writing.join().unwrap();
    let record = rig.closed(CloseReason::Finished);
    assert_eq!((record.bytes_in, record.bytes_out), (TOTAL as u64, TOTAL as u64));
    rig.until("pipes come back with their tunnel", |rig| rig.pipes_in_use() == 0);
    rig.stop();
}

#[test]
fn a_trickle_arrives_byte_by_byte() {
    let backend = Backend::new();
    let rig = Rig::new(Site::of(&[backend.address()]));
    let mut client = rig.connect(0);
    let mut served = backend.accept();
    for at in 0..200 {
        client.say(&[byte(at)]);
        served.hear(&[byte(at)]);
        served.say(&[byte(at + 1), byte(at + 2)]);
        client.hear(&[byte(at + 1), byte(at + 2)]);
    }
    drop((client, served));
    rig.stop();
}

#[test]
fn a_reader_that_stalls_holds_its_source_back_and_gets_the_rest_when_it_reads_on() {
    let backend = Backend::new();
    let mut rig = Rig::new(Site::of(&[backend.address()]));
    let mut client = rig.connect(0);
    let mut served = backend.accept();
    let said = {
        let mut writer = served.other_half();
        let said = writer.pour();
        assert!(said > 0);
        said
    };
    rig.until("bulk goes through a pipe", |rig| rig.pipes_in_use() == 1);
    // The stalled direction does not keep the other one, nor its neighbours.
    client.say(b"still here?");
    served.hear(b"still here?");
    let mut other = rig.connect(0);
    let mut other_served = backend.accept();
    other_served.say(b"neighbour");
    other.hear(b"neighbour");
    assert!(rig.shard(0, ShardCounter::BufferBytes) <= 16 << 10, "at most one buffer is held");
    served.end();
    let (heard, end) = client.hear_all();
    assert_eq!((heard, end), (said, Ok(())));
    drop((client, served, other, other_served));
    rig.stop();
}

#[test]
fn ipv6_backends_and_clients() {
    let backend = Backend::ipv6();
    let mut site = Site::of(&[backend.address()]);
    site.places.insert(0, BindAddress::Ip("[::1]:0".parse().unwrap()));
    check_one_tunnel(site, backend, |client| matches!(client, ClientAddr::Ip(address) if address.is_ipv6()));
}

#[test]
fn unix_backends_and_clients() {
    let folder = Folder::new();
    let backend = Backend::unix(&folder.file("backend"));
    let mut site = Site::of(&[]);
    site.pool().backends.insert(0, site::Backend::unix(&folder.file("backend")));
    site.places.insert(0, BindAddress::Unix { path: folder.file("front"), mode: 0o600 });
    check_one_tunnel(site, backend, |client| client == ClientAddr::Unix);
}

fn check_one_tunnel(site: Site, backend: Backend, expected_client: impl Fn(ClientAddr) -> bool) {
    const TOTAL: usize = 2 << 20;
    let mut rig = Rig::new(site);
    let mut client = rig.connect(0);
    let mut served = backend.accept();
    client.say(b"hello");
    served.hear(b"hello");
    let mut writer = served.other_half();
    let writing = std::thread::spawn(move || {
        say_bytes(&mut writer, TOTAL);
        writer.end();
    });
    hear_bytes(&mut client, 0, TOTAL);
    client.hear_end();
    writing.join().unwrap();
    client.say(b"bye");
    client.end();
    served.hear(b"bye");
    served.hear_end();
    let record = rig.closed(CloseReason::Finished);
    assert_eq!((record.bytes_in, record.bytes_out), (8, TOTAL as u64));
    assert!(expected_client(record.client), "{:?}", record.client);
    rig.stop();
}
