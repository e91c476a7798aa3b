//! Other protocols in a connection of HTTP: WebSockets, and what the operator lets pass.

use crate::Site;
use harness::http::{Conduct, Request, WebSocket};

#[test]
fn a_web_socket_is_a_tunnel_to_its_end() {
    let site = Site::good();
    let mut socket = WebSocket::open(&site.front, "h", "/chat").expect("it opens");
    for bytes in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        socket.echo(bytes).unwrap_or_else(|failure| panic!("{bytes} bytes: {failure}"));
        socket.ping().expect("a pong");
    }
    let payload = vec![b'x'; 300_000];
    socket.send_in_fragments(&payload, 1_000).expect("it is taken");
    assert_eq!(socket.receive(), Ok(harness::http::websocket::Message::Binary(payload)));
    socket.close().expect("a proper end");
    assert_eq!(site.origin.seen().upgraded, 1);
    // One line, when it is over.
    let log = site.appliance.wait_access_log(1);
    assert_eq!(
        (&log[0]["status"], &log[0]["reason"], &log[0]["target"]),
        (&101.into(), &"finished".into(), &"/chat".into())
    );
    let moved = ["bytes_in", "bytes_out"].map(|key| log[0][key].as_u64().expect("a number"));
    assert!(moved.iter().all(|bytes| (1_431_000..1_500_000).contains(bytes)), "{log:?}");
    site.client().exchange(&Request::get("h", "/after")).expect("an answer");
    let log = site.appliance.wait_access_log(2);
    assert_eq!((log.len(), &log[1]["target"]), (2, &"/after".into()));
}

/// Requests may come before the switch on the same connection.
#[test]
fn a_connection_may_become_a_web_socket_late() {
    let site = Site::good();
    let mut client = site.client();
    for _ in 0..3 {
        assert_eq!(client.exchange(&Request::get("h", "/")).expect("an answer").status, 200);
    }
    let request = Request::get("h", "/")
        .field("Connection", "keep-alive, Upgrade")
        .field("Upgrade", "websocket")
        .field("Sec-WebSocket-Version", "13")
        .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = client.exchange(&request).expect("an answer");
    assert_eq!(response.status, 101);
    assert_eq!(response.fields.first("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

/// Which protocols pass is the operator's to say; a wish that does not pass is no error.
#[test]
fn only_wishes_that_are_allowed_are_passed_on() {
    let check = |upgrades: &str, protocol: &str, status: u16| {
        let site = Site::with(Conduct::Upgrades, |pool| pool.keys(".http", &format!("upgrades = {upgrades:?}")));
        let mut client = site.client();
        let wish = Request::get("h", "/").field("Connection", "Upgrade").field("Upgrade", protocol);
        let response = client.exchange(&wish).unwrap_or_else(|failure| panic!("{upgrades}, {protocol}: {failure}"));
        assert_eq!(response.status, status, "{upgrades}, {protocol}");
        if status == 101 {
            client.send_raw(b"any bytes").expect("it is taken");
            let mut incoming = client.into_incoming();
            while incoming.waiting().len() < 9 {
                assert!(incoming.receive().expect("bytes come back"), "the tunnel ended");
            }
            assert_eq!(incoming.waiting(), b"any bytes");
        } else {
            let received = response.received().expect("the account of it");
            assert!(!received.fields.has("Upgrade"), "{upgrades}, {protocol}: {}", received.head);
        }
    };
    check("none", "websocket", 200);
    check("websocket", "websocket", 101);
    check("websocket", "echo", 200);
    check("any", "echo", 101);
    // Switching to HTTP/2 in the clear would let requests pass unseen; see `upgrades`.
    check("websocket", "h2c", 200);
}

/// A switch that nobody asked for is not believed.
#[test]
fn an_origin_that_switches_unasked_is_a_bad_gateway() {
    let site = Site::of(Conduct::UpgradesUnasked);
    assert_eq!(site.get("/").status, 502);
    let log = site.appliance.wait_access_log(1);
    assert_eq!((&log[0]["reason"], &log[0]["violation"]), (&"bad-answer".into(), &"unasked-switch".into()));
}

/// An origin may say no to a switch.
#[test]
fn a_refused_web_socket_is_an_answer_like_any_other() {
    let site = Site::of(Conduct::Answers { status: 403 });
    let failure = WebSocket::open(&site.front, "h", "/").map(drop).expect_err("it is refused");
    assert_eq!(failure, harness::http::Failure::WrongStatus { status: 403, expected: 101 });
}
