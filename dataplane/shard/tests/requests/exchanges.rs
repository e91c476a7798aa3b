//! Requests and answers in every framing, and what becomes of them on their way.

use crate::rig::Rig;
use crate::rig::site::Http;
use crate::{client_of, rig_of, site_of, target_of};
use harness::http::client::After;
use harness::http::request::Content;
use harness::http::{Conduct, Framing, Origin, Request, WebSocket};
use link::counters::{EndpointCounter, PoolCounter};
use policy::close::CloseReason;

#[test]
fn a_request_reaches_its_origin_and_the_answer_its_client() {
    let origin = Origin::good();
    let mut rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    let response = client.exchange(&Request::get("example.com", "/a?b=c").field("X-Mine", "1")).unwrap();
    assert_eq!((response.status, &response.after), (200, &After::Open));
    let received = response.received().unwrap();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(received.fields.first("host"), Some("example.com"));
    assert_eq!(received.fields.first("x-mine"), Some("1"));
    assert_eq!(received.fields.first("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.fields.first("x-forwarded-proto"), Some("http"));
    let record = rig.request();
    assert_eq!((record.status, record.reason, record.attempts), (200, CloseReason::Finished, 1));
    assert_eq!(rig.requests_ended(0, CloseReason::Finished), 1);
}

#[test]
fn one_connection_serves_many_requests_and_so_does_the_one_to_the_backend() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    for nr in 0..20 {
        let response = client.exchange(&Request::get("h", &format!("/{nr}"))).unwrap();
        assert_eq!(response.received().unwrap().target, format!("/{nr}"));
    }
    assert_eq!(origin.seen().accepted, 1);
    assert_eq!(rig.endpoint(0, EndpointCounter::Reused), 19);
    assert_eq!(rig.pool(0, PoolCounter::Accepted), 1);
}

#[test]
fn content_of_every_size_passes_in_both_framings() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    for bytes in [0_u64, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 3_000_000] {
        let content = || Content::Bytes((0..bytes).map(|at| (at * 7 + at / 251) as u8).collect());
        for request in [Request::post("h", "/", content()), Request::post("h", "/", content()).chunked(10_000)] {
            let response = client.exchange(&request).unwrap();
            let received = response.received().unwrap();
            assert_eq!((received.body_bytes, received.body_sum), (bytes, content().sum()), "of {bytes} bytes");
        }
    }
    assert_eq!(origin.seen().accepted, 1);
}

#[test]
fn answers_in_every_framing_arrive_whole() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let bodies = [0, 1, 1_000, 70_000, 2_000_000];
    let framings: [fn(u64) -> Conduct; 3] = [
        |bytes| Conduct::Generates { bytes, chunk_bytes: None },
        |bytes| Conduct::Generates { bytes, chunk_bytes: Some(1_000) },
        |bytes| Conduct::Generates { bytes, chunk_bytes: Some(100_000) },
    ];
    for bytes in bodies {
        for framing in framings {
            origin.behave(framing(bytes));
            let response = client_of(&rig).exchange(&Request::get("h", "/")).unwrap();
            response.received().unwrap();
            assert_eq!(response.status, 200);
        }
        origin.behave(Conduct::UntilEnd);
        let response = client_of(&rig).exchange(&Request::get("h", "/")).unwrap();
        response.received().unwrap();
        assert_eq!(response.framing, Framing::Chunked);
    }
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    let requests: Vec<Request> = (0..50).map(|nr| Request::get("h", &format!("/{nr}"))).collect();
    client.send_together(&requests).unwrap();
    for nr in 0..requests.len() {
        let response = client.read().unwrap();
        assert_eq!(response.received().unwrap().target, format!("/{nr}"));
    }
}

#[test]
fn old_clients_are_understood() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let response = client_of(&rig).exchange(&Request::get("h", "/").old()).unwrap();
    assert_eq!((response.status, &response.after), (200, &After::Ended));
    let mut client = client_of(&rig);
    for _ in 0..2 {
        let response = client.exchange(&Request::get("h", "/").old().field("Connection", "keep-alive")).unwrap();
        assert_eq!((response.status, &response.after), (200, &After::Open));
    }
    origin.behave(Conduct::Chunks { bytes: 100 });
    let response = client_of(&rig).exchange(&Request::get("h", "/").old()).unwrap();
    response.received().unwrap();
    assert_eq!(response.framing, Framing::UntilEnd);
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let request = Request::post("h", "/", Content::text("content")).expecting_continue();
    let response = client_of(&rig).exchange(&request).unwrap();
    assert_eq!(response.interim.iter().map(|head| head.status).collect::<Vec<_>>(), [100]);
    assert_eq!(response.received().unwrap().body_bytes, 7);
}

#[test]
fn answers_without_content_have_none() {
    let origin = Origin::good();
    let rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    let response = client.exchange(&Request::new("HEAD", "h", "/")).unwrap();
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert!(response.fields.first("content-length").is_some());
    let response = client.exchange(&Request::get("h", "/")).unwrap();
    assert_eq!(response.status, 200);
}

#[test]
fn a_web_socket_is_a_tunnel() {
    let origin = Origin::good();
    let mut rig = rig_of(&[&origin]);
    let mut socket = WebSocket::open(&target_of(&rig), "h", "/chat").unwrap();
    for bytes in [0, 1, 125, 126, 70_000] {
        socket.echo(bytes).unwrap();
    }
    socket.close().unwrap();
    // One record, of all that it was.
    let record = rig.request();
    assert_eq!((record.status, record.reason), (101, CloseReason::Finished));
    assert!(record.bytes_in > 70_000 && record.bytes_out > 70_000, "{record:?}");
}

#[test]
fn the_answer_says_its_generation_if_it_is_to() {
    let origin = Origin::good();
    let http = Http::with(Vec::new(), |service| service.says_generation = true);
    let rig = Rig::new(site_of(&[&origin], http));
    let response = client_of(&rig).exchange(&Request::get("h", "/")).unwrap();
    assert_eq!(response.fields.first("x-sluicegate-generation"), Some("pool0@1"));
}
