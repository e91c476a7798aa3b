//! The witnesses of HTTP must be able to see each failure before they may say there was none.
//!
//! A client meets every conduct of an origin directly, and sees it as what it is.

use harness::http::client::{After, Client, Response, Upload, ask, ask_raw, fetch};
use harness::http::request::Content;
use harness::http::websocket::Message;
use harness::http::{Conduct, Failure, Fields, Framing, Malformed, Origin, Received, Request, WebSocket};
use std::time::Duration;

const HOST: &str = "a.test";

/// One GET to an origin that behaves like this.
fn get(conduct: Conduct) -> Result<Response, Failure> {
    fetch(Origin::start(conduct).target(), HOST, "/")
}

#[track_caller]
fn received(outcome: Result<Response, Failure>) -> (Response, Received) {
    let response = outcome.expect("a whole answer");
    let received = response.received().expect("its account");
    (response, received)
}

#[test]
fn an_account_tells_what_was_sent_to_the_byte() {
    let origin = Origin::named("one", Conduct::Good);
    let request = Request::new("PUT", "A.test", "/a%20b?c=d&e").field("x-ODD", "  \u{e9} \t").field("X-Odd", "");
    let mut client = Client::connect(origin.target()).expect("it listens");
    let (response, told) = received(client.exchange(&request));
    assert_eq!((response.status, response.reason.as_str()), (200, "Told"));
    assert_eq!(response.fields.first("x-origin"), Some("one"));
    assert!(response.leaves_open() && response.interim.is_empty());
    assert_eq!((told.origin.as_str(), told.connection, told.request), ("one", 1, 1));
    assert_eq!(
        (told.method.as_str(), told.target.as_str(), told.version.as_str()),
        ("PUT", "/a%20b?c=d&e", "HTTP/1.1")
    );
    assert_eq!(harness::http::message::bytes_of(&told.head), request.head());
    assert_eq!(told.fields, Fields::of(&[("Host", "A.test"), ("x-ODD", "\u{e9}"), ("X-Odd", "")]));
    assert_eq!((told.framing, told.whole), (Framing::None, true));
    let (_, told) = received(client.exchange(&request));
    assert_eq!((told.connection, told.request), (1, 2));
    assert_eq!(origin.requests().len(), 2);
    client.close().expect("both end");
    let seen = origin.wait_seen("the client has left", |seen| seen.open == 0);
    assert_eq!((seen.accepted, seen.requests, seen.whole, seen.answered, seen.ended), (1, 2, 2, 2, 1));
}

#[test]
fn bodies_arrive_whole_however_they_are_sent() {
    let origin = Origin::good();
    let mut client = Client::connect(origin.target()).expect("it listens");
    let short = || Content::text("short");
    let long = || Content::Pattern { seed: 5, bytes: 3_000_001 };
    let pause = Duration::from_millis(1);
    let check = |client: &mut Client, request: Request, framing: Framing| {
        let content = &request.body.as_ref().expect("there is a body").content;
        let (response, told) = received(client.exchange(&request));
        assert_eq!(response.upload, Upload::Whole);
        assert_eq!((told.framing, told.body_bytes, told.body_sum), (framing, content.len(), content.sum()));
        told
    };
    let told = check(&mut client, Request::post(HOST, "/", short()), Framing::Length(5));
    assert_eq!(told.body_begin, "short");
    check(&mut client, Request::post(HOST, "/", Content::text("")), Framing::Length(0));
    check(&mut client, Request::post(HOST, "/", long()), Framing::Length(3_000_001));
    check(&mut client, Request::post(HOST, "/", long()).chunked(70_000), Framing::Chunked);
    check(&mut client, Request::post(HOST, "/", short()).slow(1, pause), Framing::Length(5));
    let told = check(&mut client, Request::post(HOST, "/", short()).chunked(1).trailer("Sum", "x"), Framing::Chunked);
    assert_eq!((told.chunks, told.trailers), (5, Fields::of(&[("Sum", "x")])));
    check(&mut client, Request::post(HOST, "/", long()).expecting_continue(), Framing::Length(3_000_001));
    assert_eq!(origin.seen().accepted, 1, "all of it on one connection");
}

#[test]
fn a_body_is_held_back_until_the_origin_says_to_go_on() {
    let request = Request::post(HOST, "/", Content::text("held back")).expecting_continue();
    let response = ask(Origin::good().target(), &request).expect("a whole answer");
    assert_eq!(response.interim.iter().map(|head| head.status).collect::<Vec<_>>(), [100]);
    assert_eq!(response.received().map(|told| told.body_bytes), Ok(9));

    let response = ask(Origin::start(Conduct::AnswersEarlyAndCloses).target(), &request).expect("an early answer");
    assert_eq!((response.upload.clone(), response.interim.len()), (Upload::Withheld, 0));
    assert_eq!(response.received().map(|told| told.whole), Ok(false));

    let origin = Origin::start(Conduct::IgnoresExpect);
    let mut client = Client::connect(origin.target()).expect("it listens");
    client.patience(Duration::from_millis(100));
    assert_eq!(client.exchange(&request), Err(Failure::TimedOut { doing: "receive", received: 0 }));
}

#[test]
fn good_answers_of_every_form_are_read() {
    let check = |conduct: Conduct, framing: fn(&Framing) -> bool| {
        let (response, _) = received(get(conduct.clone()));
        assert!(framing(&response.framing), "{conduct:?}: {response:?}");
        response
    };
    let chunked = |framing: &Framing| *framing == Framing::Chunked;
    let length = |framing: &Framing| matches!(framing, Framing::Length(1..));
    for bytes in [1, 2, 3, 15, 16, 17, 65_536] {
        let response = check(Conduct::Chunks { bytes }, chunked);
        assert_eq!(response.end.chunks, response.end.bytes.div_ceil(bytes as u64));
        assert!(response.end.trailers.has("X-Body-Sum"));
    }
    assert_eq!(check(Conduct::EveryChunkSize { up_to: 600 }, chunked).end.chunks, 601);
    check(Conduct::Generates { bytes: 5_000_000, chunk_bytes: None }, length);
    check(Conduct::Generates { bytes: 5_000_000, chunk_bytes: Some(9999) }, chunked);
    let trailers = Fields::of(&[("A", "1"), ("b", "2")]);
    let response = check(Conduct::Trailers(trailers.clone()), chunked);
    assert_eq!(response.end.trailers.0[..2], trailers.0);
    let response = check(Conduct::UntilEnd, |framing| *framing == Framing::UntilEnd);
    assert_eq!(response.after, After::Ended);
    assert_eq!(check(Conduct::Continues, length).interim[0].status, 100);
    let response = check(Conduct::Interim { status: 103, count: 3 }, length);
    let numbers: Vec<_> = response.interim.iter().map(|head| (head.status, head.fields.first("X-Number"))).collect();
    assert_eq!(numbers, [(103, Some("0")), (103, Some("1")), (103, Some("2"))]);
    assert_eq!(check(Conduct::Answers { status: 503 }, length).status, 503);
    assert_eq!(check(Conduct::ClosesAfterEach, length).after, After::Ended);
    check(Conduct::Trickles { gap: Duration::ZERO }, length);
    check(Conduct::AnswersEarly, length);
    let cookies = Fields::of(&[("Set-Cookie", "a=1"), ("set-cookie", "b=2")]);
    let response = check(Conduct::Adds(cookies), length);
    assert_eq!(response.fields.all("Set-Cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn an_early_answer_is_read_and_the_body_goes_on() {
    let origin = Origin::start(Conduct::AnswersEarly);
    let mut client = Client::connect(origin.target()).expect("it listens");
    let post = Request::post(HOST, "/", Content::Pattern { seed: 1, bytes: 10_000_000 });
    for _ in 0..2 {
        let (response, told) = received(client.exchange(&post));
        assert_eq!((response.upload, response.after, told.whole), (Upload::Whole, After::Open, false));
    }
    origin.wait_seen("all of both bodies", |seen| seen.whole == 2 && seen.received == 20_000_000);
}

#[test]
fn one_who_speaks_http_1_0_is_answered_and_left() {
    let origin = Origin::good();
    let (response, told) = received(ask(origin.target(), &Request::get(HOST, "/").old()));
    assert_eq!((response.after, told.version.as_str()), (After::Ended, "HTTP/1.0"));
    let mut client = Client::connect(origin.target()).expect("it listens");
    for _ in 0..2 {
        let (response, _) = received(client.exchange(&Request::get(HOST, "/").old().field("Connection", "keep-alive")));
        assert_eq!(response.after, After::Open);
    }
}

#[test]
fn heads_alone_answer_head() {
    let origin = Origin::good();
    let mut client = Client::connect(origin.target()).expect("it listens");
    for _ in 0..2 {
        let response = client.exchange(&Request::new("HEAD", HOST, "/")).expect("a head");
        assert_eq!((response.framing, response.end.bytes), (Framing::None, 0));
        assert!(response.fields.has("Content-Length") && response.leaves_open());
    }
}

#[test]
fn pipelined_answers_come_in_order() {
    let origin = Origin::good();
    let mut client = Client::connect(origin.target()).expect("it listens");
    let paths: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    let requests: Vec<Request> = paths.iter().map(|path| Request::get(HOST, path)).collect();
    client.send_together(&requests).expect("they fit into the buffers");
    for path in &paths {
        let (response, told) = received(client.read());
        assert_eq!((&told.target, response.beyond.len()), (path, 0));
    }
    assert!(!client.is_disturbed());
    client.close().expect("nothing was left");
}

/// Each ends in a failure of its own kind, when a client gets a `GET /`.
#[test]
fn each_vice_has_its_name() {
    let check = |conduct: Conduct, expected: Failure| assert_eq!(get(conduct.clone()), Err(expected), "{conduct:?}");
    let class = |conduct: Conduct, expected: &str| {
        let outcome = get(conduct.clone());
        assert_eq!(outcome.as_ref().map_err(Failure::class), Err(expected), "{conduct:?}: {outcome:?}");
    };
    let malformed = |conduct: Conduct, how: fn(&Malformed) -> bool| {
        let outcome = get(conduct.clone());
        assert!(matches!(&outcome, Err(Failure::Malformed(malformed)) if how(malformed)), "{conduct:?}: {outcome:?}");
    };
    check(Conduct::Refuses, Failure::Refused);
    check(Conduct::ResetsAtOnce, Failure::ResetBeforeByte);
    check(Conduct::ResetsBeforeHead, Failure::ResetBeforeByte);
    class(Conduct::ResetsMidHead, "reset mid-response");
    class(Conduct::ResetsMidBody { after: 20 }, "reset mid-response");
    check(Conduct::EndsBeforeHead, Failure::EndBeforeByte);
    class(Conduct::EndsMidHead, "early end");
    class(Conduct::SaysTooMuch { by: 7 }, "wrong length");
    class(Conduct::EndsBeforeLastChunk, "early end");
    malformed(Conduct::TwoLengths, |how| matches!(how, Malformed::TwoLengths(lengths) if lengths.len() == 2));
    check(Conduct::LengthAndChunks, Malformed::LengthAndCoding.into());
    check(Conduct::ChunksInHttp10, Malformed::CodingBeforeHttp11.into());
    for size in ["", "zz", "-3", "0x3", "3 ", "ffffffffffffffffff"] {
        check(Conduct::ChunkSize(size), Malformed::ChunkSize(size.into()).into());
    }
    check(Conduct::ChunkTooLong, Malformed::ChunkEnd.into());
    check(Conduct::InterimForEver, Malformed::TooManyInterim.into());
    check(Conduct::NoContentWithBody, Malformed::FramingNotAllowed { status: 204 }.into());
    check(Conduct::FieldFlood { fields: 100_000 }, Malformed::HeadTooLarge.into());
    check(Conduct::GiantField { bytes: 1 << 20 }, Malformed::HeadTooLarge.into());
    check(Conduct::BareLineFeeds, Malformed::BareLineFeed.into());
    class(Conduct::Garbage { bytes: 10_000 }, "malformed");
    class(Conduct::Sends { bytes: b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n".to_vec(), ends: true }, "malformed");
}

#[test]
fn a_flood_within_the_bounds_is_an_answer() {
    let (response, _) = received(get(Conduct::FieldFlood { fields: 1000 }));
    assert_eq!(response.fields.first("X-Flood-999"), Some("more"));
    let (response, _) = received(get(Conduct::GiantField { bytes: 100_000 }));
    assert_eq!(response.fields.first("X-Giant").map(str::len), Some(100_000));
}

#[test]
fn what_stalls_times_out() {
    let check = |conduct: Conduct| {
        let origin = Origin::start(conduct.clone());
        let mut client = Client::connect(origin.target()).expect("it listens");
        client.patience(Duration::from_millis(100));
        match client.exchange(&Request::get(HOST, "/")) {
            Err(Failure::TimedOut { doing: "receive", received }) => received,
            other => panic!("{conduct:?}: {other:?}"),
        }
    };
    assert_eq!(check(Conduct::NeverReads), 0);
    assert_eq!(check(Conduct::StallsBeforeHead), 0);
    assert!(check(Conduct::StallsMidHead) > 20);
    assert!(check(Conduct::StallsMidBody { after: 50 }) > 100);
    assert!(check(Conduct::Sends { bytes: b"HTTP/1.1 200 OK\r\n".to_vec(), ends: false }) > 10);
}

/// The answer is good; what follows it is not.
#[test]
fn bytes_that_nobody_asked_for_are_seen() {
    let check = |conduct: Conduct, method: &str| {
        let origin = Origin::start(conduct.clone());
        let mut client = Client::connect(origin.target()).expect("it listens");
        let response = client.exchange(&Request::new(method, HOST, "/")).expect("an answer");
        // What is beyond an answer may come a moment after it.
        client.finish().expect("the connection is open");
        if response.beyond.is_empty() {
            assert_eq!(client.wait_end().map_err(|failure| failure.class()), Err("surplus data"), "{conduct:?}");
        }
        response
    };
    check(Conduct::HeadWithBody, "HEAD");
    check(Conduct::NotModifiedWithBody, "GET");
    check(Conduct::AnswersTwice, "GET");
    let response = check(Conduct::SaysTooLittle { by: 5 }, "GET");
    assert!(response.received().is_err(), "an account without its end");
}

#[test]
fn a_connection_that_closes_when_it_is_used_again() {
    let second = |conduct: Conduct| {
        let origin = Origin::start(conduct);
        let mut client = Client::connect(origin.target()).expect("it listens");
        let (first, _) = received(client.exchange(&Request::get(HOST, "/")));
        assert!(first.fields.first("Connection").is_none());
        client.exchange(&Request::get(HOST, "/")).map(drop)
    };
    assert_eq!(second(Conduct::ClosesOnReuse), Err(Failure::EndBeforeByte));
    assert_eq!(second(Conduct::ResetsOnReuse), Err(Failure::ResetBeforeByte));
    let after_close = second(Conduct::ClosesSilently);
    // The end was there before the second request, or the request was sent into it.
    assert!(matches!(after_close, Err(Failure::EndBeforeByte | Failure::ResetBeforeByte)), "{after_close:?}");
}

/// A reset is told to the kernel's first asker only. It must be seen also when that was the sender.
#[test]
fn a_reset_is_seen_by_the_reader_although_the_sender_was_told() {
    let origin = Origin::start(Conduct::ResetsAtOnce);
    for _ in 0..20 {
        let mut client = Client::connect(origin.target()).expect("it listens");
        let mut sent = Ok(());
        while sent.is_ok() {
            sent = client.send_raw(&[b'x'; 1000]);
        }
        assert_eq!((sent, client.read().map(drop)), (Err(Failure::ResetBeforeByte), Err(Failure::ResetBeforeByte)));
    }
}

/// The kernel turns the unread body into a reset. The answer may be lost to it or not; either way it is told.
#[test]
fn an_origin_that_closes_with_the_body_unread() {
    let origin = Origin::start(Conduct::AnswersEarlyAndCloses);
    let post = Request::post(HOST, "/", Content::Pattern { seed: 1, bytes: 50_000_000 });
    match ask(origin.target(), &post) {
        Ok(response) => {
            assert_ne!(response.after, After::Open);
            assert!(matches!(response.upload, Upload::Cut(_)), "{:?}", response.upload);
        }
        Err(Failure::ResetBeforeByte | Failure::ResetMidResponse { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_origin_changes_its_conduct_between_two_requests() {
    let origin = Origin::good();
    let mut client = Client::connect(origin.target()).expect("it listens");
    received(client.exchange(&Request::get(HOST, "/")));
    origin.behave(Conduct::Answers { status: 500 });
    assert_eq!(received(client.exchange(&Request::get(HOST, "/"))).0.status, 500);

    let origin = Origin::choosing("chooser", |asked| match asked.target.as_str() {
        "/bad" => Conduct::ResetsMidBody { after: 3 },
        _ => Conduct::Good,
    });
    received(fetch(origin.target(), HOST, "/good"));
    let bad = fetch(origin.target(), HOST, "/bad");
    assert_eq!(bad.map_err(|failure| failure.class()).err(), Some("reset mid-response"));
}

#[test]
fn an_origin_knows_how_its_client_left() {
    let origin = Origin::good();
    Client::connect(origin.target()).expect("it listens").close().expect("both end");
    Client::connect(origin.target()).expect("it listens").abort();
    let mut cut = Client::connect(origin.target()).expect("it listens");
    cut.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nonly").expect("it is sent");
    cut.close().expect("both end");
    let seen = origin.wait_seen("all have left", |seen| seen.accepted == 3 && seen.open == 0);
    assert_eq!((seen.ended, seen.reset, seen.requests, seen.whole, seen.cut), (2, 1, 1, 0, 1));
}

#[test]
fn what_is_no_request_is_refused_and_told() {
    let check = |bytes: &[u8], how: &str| {
        let origin = Origin::good();
        let answers = ask_raw(origin.target(), bytes, 9).expect("an answer");
        assert_eq!(answers.last().map(|answer| (answer.status, &answer.after)), Some((400, &After::Ended)));
        assert!(origin.malformed()[0].starts_with(how), "{:?}", origin.malformed());
        assert_eq!(origin.seen().malformed, 1);
    };
    check(b"GET /\r\n\r\n", "StartLine");
    check(b"GET / HTTP/1.1\nHost: a\n\n", "BareLineFeed");
    check(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "FieldLine");
    check(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "LengthAndCoding");
    check(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "TwoLengths");
    check(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "ChunkSize");
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled\r\n\r\n", "StartLine");
}

#[test]
fn a_tunnel_carries_what_it_is_given() {
    let origin = Origin::start(Conduct::Upgrades);
    let mut client = Client::connect(origin.target()).expect("it listens");
    let request = Request::get(HOST, "/").field("Connection", "Upgrade").field("Upgrade", "echo/1");
    let response = client.exchange(&request).expect("an answer");
    assert_eq!((response.status, response.fields.first("Upgrade")), (101, Some("echo/1")));
    let mut tunnel = client.into_incoming();
    let mut back = [0; 5];
    tunnel.stream.send(b"hello").expect("the tunnel is open");
    tunnel.fill(&mut back).expect("it echoes");
    assert_eq!(&back, b"hello");
    tunnel.finish().expect("the tunnel is open");
    assert_eq!(tunnel.receive(), Ok(false));
    assert_eq!(get(Conduct::Upgrades).map(|response| response.status), Ok(200), "nobody asked");
    assert_eq!(get(Conduct::UpgradesUnasked).map(|response| response.status), Ok(101));
}

#[test]
fn websockets_echo_messages_of_every_length() {
    let origin = Origin::good();
    let mut socket = WebSocket::open(origin.target(), HOST, "/").expect("an upgrade");
    for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000] {
        socket.echo(bytes).unwrap_or_else(|failure| panic!("{bytes} bytes: {failure}"));
        socket.ping().expect("a pong");
    }
    socket.send(&Message::Text("\u{e9}".into())).expect("it is open");
    assert_eq!(socket.receive(), Ok(Message::Text("\u{e9}".into())));
    socket.send_in_fragments(b"in several parts", 3).expect("it is open");
    assert_eq!(socket.receive(), Ok(Message::Binary(b"in several parts".to_vec())));
    socket.close().expect("the closing handshake");
    let seen = origin.wait_seen("the socket has closed", |seen| seen.open == 0);
    assert_eq!((seen.upgraded, seen.ended, seen.malformed), (1, 1, 0));
}

#[test]
fn websockets_see_what_is_wrong() {
    let open = |conduct: Conduct| WebSocket::open(Origin::start(conduct).target(), HOST, "/").map(drop);
    assert_eq!(open(Conduct::Refuses), Err(Failure::Refused));
    assert_eq!(open(Conduct::Chunks { bytes: 9 }), Err(Failure::WrongStatus { status: 200, expected: 101 }));
    let no_accept = open(Conduct::Upgrades);
    assert!(matches!(no_accept, Err(Failure::Malformed(Malformed::WebSocket(_)))), "{no_accept:?}");

    let origin = Origin::good();
    let mut socket = WebSocket::open(origin.target(), HOST, "/").expect("an upgrade");
    // A client's frame without a mask.
    socket.incoming().stream.send(&[0x82, 1, b'x']).expect("it is open");
    let ended = socket.receive();
    assert!(matches!(ended, Err(Failure::EndBeforeByte | Failure::ResetBeforeByte)), "{ended:?}");
    assert!(origin.malformed()[0].contains("masked: false"), "{:?}", origin.malformed());

    let mut socket = WebSocket::open(origin.target(), HOST, "/").expect("an upgrade");
    socket.send(&Message::Text(b"one".to_vec())).expect("it is open");
    let wrong = socket.ping();
    assert!(matches!(wrong, Err(Failure::WrongBody(_))), "another message in place of the pong: {wrong:?}");
    drop(socket);
}
