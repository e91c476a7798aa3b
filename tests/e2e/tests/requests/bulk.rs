//! Large things: content that is far larger than any memory for it passes, and the appliance does not grow; nor does it by
//! small changes of a large site.

use crate::{Site, start};
use api::Order;
use api::order::BackendSet;
use e2e::Pool;
use harness::appliance::{Appliance, tell};
use harness::http::received::{Account, FILLER};
use harness::http::request::Content;
use harness::http::{Client, Conduct, Origin, Request};
use harness::net::Target;

/// Of a long answer.
const ANSWER_BYTES: u64 = 10 << 30;

/// Of a long upload, and of an answer in chunks: they are more work for who sends and checks them.
const OTHER_BYTES: u64 = 2 << 30;

/// Most by which the process may grow at any moment of a passage.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// The most memory that the process ever had resident.
fn resident_bytes_most(appliance: &Appliance) -> u64 {
    status_bytes(appliance, "VmHWM:")
}

/// The memory that it has resident now.
fn resident_bytes(appliance: &Appliance) -> u64 {
    status_bytes(appliance, "VmRSS:")
}

fn status_bytes(appliance: &Appliance, name: &str) -> u64 {
    let path = format!("/proc/{}/status", appliance.pid());
    let status = std::fs::read_to_string(&path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let kib = line.trim().strip_suffix(" kB").expect("in kB");
    kib.parse::<u64>().expect("a number") << 10
}

/// Runs a passage that needs no more memory than its kind needed before.
fn in_constant_memory(site: &Site, bytes: u64, mut passage: impl FnMut(u64)) {
    // Buffers, pipes and pages of code are made by the first of its kind.
    passage(64 << 20);
    let before = resident_bytes_most(&site.appliance);
    passage(bytes);
    let grown = resident_bytes_most(&site.appliance) - before;
    assert!(grown <= GROWTH_BYTES_MAX, "{bytes} bytes made it grow by {grown}");
}

#[test]
fn a_long_answer_passes_in_constant_memory() {
    let site = Site::good();
    let mut client = site.client();
    in_constant_memory(&site, ANSWER_BYTES, |bytes| {
        let mut account = Account::default();
        let request = Request::get("h", "/").field(FILLER, bytes);
        let response = client.exchange_showing(&request, &mut |piece| account.take(piece)).expect("an answer");
        account.finish().expect("all of it");
        assert!(response.end.bytes > bytes && response.leaves_open());
    });
}

#[test]
fn a_long_answer_in_chunks_passes_in_constant_memory() {
    let site = Site::good();
    let mut client = site.client();
    in_constant_memory(&site, OTHER_BYTES, |bytes| {
        // Each chunk's frame is looked at.
        site.origin.behave(Conduct::Generates { bytes, chunk_bytes: Some(30_000) });
        let mut account = Account::default();
        let request = Request::get("h", "/");
        let response = client.exchange_showing(&request, &mut |piece| account.take(piece)).expect("an answer");
        account.finish().expect("all of it");
        assert!(response.end.bytes > bytes && response.leaves_open());
    });
}

#[test]
fn a_long_upload_passes_in_constant_memory() {
    let site = Site::good();
    let mut client = site.client();
    in_constant_memory(&site, OTHER_BYTES, |bytes| {
        let request = Request::post("h", "/", Content::Pattern { seed: bytes, bytes });
        let received = client.exchange(&request).expect("an answer").received().expect("the account of it");
        assert_eq!((received.body_bytes, received.body_sum), (bytes, Content::Pattern { seed: bytes, bytes }.sum()));
    });
}

/// One backend of ten thousand rules' site changes again and again, and each generation stays because a request holds it: what
/// that takes is not the site once more.
#[test]
fn a_small_change_of_a_large_site_takes_little_memory() {
    const RULES: usize = 10_000;
    const CHANGES: u64 = 20;
    let (origin, front) = (Origin::start(Conduct::StallsBeforeHead), Target::fresh());
    let site = Pool::http("web").listen(&front).backend("a", origin.target()).keys(".timeouts", "first_byte = \"off\"");
    let rule = |pool: Pool, nr| pool.rule(&format!("host = \"h{nr}.test\"\npath_prefix = \"/{nr}\"\ngroup = \"main\""));
    let appliance = start(&(0..RULES).fold(site, rule));
    let before = resident_bytes(&appliance);
    let mut holding: Vec<Client> = Vec::new();
    for change in 1..=CHANGES {
        let mut client = Client::connect(&front).expect("it is let in");
        client.send(&Request::get("h7.test", "/7/x")).expect("it is taken");
        origin.wait_seen("it is held", |seen| seen.requests == change);
        holding.push(client);
        let (pool, backend) = ("web".to_owned(), "a".to_owned());
        let set = BackendSet { pool, backend, weight: Some(change as u32 + 1), ..Default::default() };
        appliance.change(Order::BackendSet(set)).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
    }
    let pinned = appliance.generations().pools.iter().map(|pool| pool.pinned.len() as u64).sum::<u64>();
    assert!(pinned >= CHANGES, "only {pinned} parts of the past are held");
    let grown = resident_bytes(&appliance).saturating_sub(before);
    println!("{before} before, {grown} more after {CHANGES} changes");
    assert!(grown <= CHANGES * before / 100, "{CHANGES} changes made {before} bytes grow by {grown}");
    holding.into_iter().for_each(Client::abort);
}

/// Many who take nothing of long answers: what is held for each is bounded, and the pool's own bound is kept.
#[test]
fn who_does_not_read_makes_nobody_hold_more() {
    let (origin, front) = (Origin::good(), Target::fresh());
    let pool = Pool::http("web").listen(&front).backend("a", origin.target()).keys(".create", "memory = \"8MiB\"");
    let appliance = start(&pool);
    let before = resident_bytes_most(&appliance);
    let mut clients: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = Client::connect(&front).expect("it is let in");
            client.shrink_receive_buffer(65_536);
            client.send(&Request::get("h", "/").field(FILLER, 20_000_000)).expect("it is taken");
            client
        })
        .collect();
    origin.wait_seen("all have asked", |seen| seen.requests == 100);
    // Another is served beside them.
    for _ in 0..50 {
        assert_eq!(harness::http::client::fetch(&front, "h", "/").expect("an answer").status, 200);
    }
    let grown = resident_bytes_most(&appliance) - before;
    assert!(grown <= 2 * GROWTH_BYTES_MAX, "100 who do not read made it grow by {grown}");
    // They were only slow.
    for client in &mut clients[..3] {
        let mut account = Account::default();
        client.read_showing(&mut |piece| account.take(piece)).expect("an answer");
        account.finish().expect("all of it");
    }
    clients.into_iter().for_each(Client::abort);
    appliance.wait_status("all are gone", |status| e2e::pool(status, "web").connections == 0);
    assert_eq!(e2e::metric(&appliance.metrics(), "sluicegate_pool_buffer_bytes", &["pool=\"web\""]), 0.0);
}
