//! Requests and answers in every framing, many on a connection, of old and new clients and origins.

use crate::Site;
use harness::http::client::{After, Upload};
use harness::http::request::Content;
use harness::http::{Conduct, Fields, Framing, Request};
use harness::wait::until;

/// One connection of the client, one to the origin, a hundred requests.
#[test]
fn connections_are_kept_on_both_sides_and_their_use_is_counted() {
    let site = Site::good();
    let mut client = site.client();
    for nr in 0..100 {
        let response = client.exchange(&Request::get("h", &format!("/{nr}"))).expect("an answer");
        assert_eq!(response.received().expect("the account of it").target, format!("/{nr}"));
        assert!(response.leaves_open());
    }
    assert_eq!(site.origin.seen().accepted, 1);
    until("everything is counted", || {
        let counts = [
            ("sluicegate_pool_accepted_total", 1.0),
            ("sluicegate_pool_connections", 1.0),
            ("sluicegate_pool_requests_total", 100.0),
            ("sluicegate_pool_answers_2xx_total", 100.0),
            ("sluicegate_pool_requests_ended_total", 100.0),
            ("sluicegate_endpoint_connects_total", 1.0),
            ("sluicegate_endpoint_requests_total", 100.0),
            ("sluicegate_endpoint_reused_total", 99.0),
            ("sluicegate_endpoint_idle_connections", 1.0),
        ];
        let wrong: Vec<_> = counts.iter().map(|(name, value)| (*name, site.metric(name), *value)).collect();
        let wrong: Vec<_> = wrong.into_iter().filter(|(_, counted, value)| counted != value).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
    });
}

/// What one client left behind serves the next.
#[test]
fn a_connection_to_the_origin_serves_one_client_after_the_other() {
    let site = Site::good();
    for _ in 0..20 {
        let response = site.ask(&Request::get("h", "/").field("Connection", "close"));
        assert_eq!((response.status, response.after), (200, After::Ended));
    }
    assert_eq!(site.origin.seen().accepted, 1);
    assert_eq!(site.metric("sluicegate_endpoint_reused_total"), 19.0);
}

/// The origin says when it wants no more requests.
#[test]
fn a_connection_that_its_origin_closes_is_not_used_again() {
    let site = Site::of(Conduct::ClosesAfterEach);
    let mut client = site.client();
    for _ in 0..10 {
        let response = client.exchange(&Request::get("h", "/")).expect("an answer");
        assert!(
            response.status == 200 && response.leaves_open(),
            "the origin's wish is not the client's: {response:?}"
        );
    }
    assert_eq!(site.origin.seen().accepted, 10);
    assert_eq!(site.metric("sluicegate_endpoint_reused_total"), 0.0);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let site = Site::good();
    let mut client = site.client();
    let requests: Vec<Request> = (0..100).map(|nr| Request::get("h", &format!("/{nr}"))).collect();
    client.send_together(&requests).expect("it is taken");
    for nr in 0..requests.len() {
        let response = client.read().expect("an answer");
        assert_eq!(response.received().expect("the account of it").target, format!("/{nr}"));
    }
    assert_eq!(site.origin.seen().accepted, 1);
}

/// Content of every kind between requests, in one piece: nothing of one becomes part of the next.
#[test]
fn pipelined_requests_keep_their_content_apart() {
    let site = Site::good();
    let mut client = site.client();
    let bytes =
        b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 38\r\n\r\nGET /no HTTP/1.1\r\nHost: smuggled\r\n\r\n..\
        HEAD /2 HTTP/1.1\r\nHost: h\r\n\r\n\
        PUT /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n1;a=b\r\nx\r\n0\r\n\r\n\
        \r\nGET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\
        GET /5 HTTP/1.1\r\nHost: h\r\n\r\n";
    client.send_raw(bytes).expect("it is taken");
    for (method, target, content) in [("POST", "/1", 38), ("HEAD", "/2", 0), ("PUT", "/3", 6), ("GET", "/4", 0)] {
        client.expect(method);
        let response = client.read().unwrap_or_else(|failure| panic!("{target}: {failure}"));
        assert_eq!(response.status, 200, "{target}");
        if method != "HEAD" {
            let received = response.received().expect("the account of it");
            assert_eq!((&*received.method, &*received.target, received.body_bytes), (method, target, content));
        }
        // What follows a request that says "close" is nobody's (RFC 9112, section 9.6).
        // Before the last one the end may be here as well: all of it can come at once.
        if target == "/4" {
            assert_eq!(response.after, After::Ended);
        }
    }
    assert_eq!(site.origin.seen().requests, 4);
}

#[test]
fn content_passes_in_every_framing_both_ways() {
    let site = Site::good();
    let mut client = site.client();
    for bytes in [0, 1, 16_384, 65_536, 1_000_000] {
        let answers = [
            Conduct::Generates { bytes, chunk_bytes: None },
            Conduct::Generates { bytes, chunk_bytes: Some(7_000) },
            Conduct::Generates { bytes, chunk_bytes: Some(100_000) },
            Conduct::UntilEnd,
        ];
        for conduct in answers {
            site.origin.behave(conduct.clone());
            let content = || Content::Pattern { seed: bytes, bytes };
            let asked = [
                Request::get("h", "/"),
                Request::post("h", "/", content()),
                Request::post("h", "/", content()).chunked(9_999),
            ];
            for request in asked {
                let response = client.exchange(&request).unwrap_or_else(|failure| {
                    panic!("{bytes} bytes, {conduct:?} to {}: {failure}", String::from_utf8_lossy(&request.head()))
                });
                let received = response.received().expect("the account of it");
                // As the client said it, so the origin hears it.
                let framing = match &request.body {
                    None => Framing::None,
                    Some(body) if body.chunk_bytes.is_some() => Framing::Chunked,
                    Some(_) => Framing::Length(bytes),
                };
                assert_eq!(received.framing, framing);
                if request.body.is_some() {
                    assert_eq!((received.body_bytes, received.body_sum), (bytes, content().sum()));
                }
                assert_eq!(response.upload, Upload::Whole);
                // An end of the origin's connection is no end of the client's: the client is told the end in chunks.
                let has_length = matches!(conduct, Conduct::Generates { chunk_bytes: None, .. });
                assert_eq!(matches!(response.framing, Framing::Length(_)), has_length, "{conduct:?}");
                assert!(response.leaves_open(), "{conduct:?}");
            }
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    let trailers = Fields::of(&[("X-Sum", "abc"), ("X-Late", "so it is")]);
    let site = Site::of(Conduct::Trailers(trailers.clone()));
    let request = Request::post("h", "/", Content::text("content")).chunked(3).trailer("X-Check", "7");
    let response = site.ask(&request);
    let received = response.received().expect("the account of it");
    assert_eq!(received.trailers, Fields::of(&[("X-Check", "7")]));
    for (name, value) in trailers.0 {
        assert_eq!(response.end.trailers.first(&name), Some(&*value));
    }
}

#[test]
fn interim_answers_reach_who_understands_them() {
    let site = Site::of(Conduct::Interim { status: 103, count: 5 });
    let response = site.get("/");
    assert_eq!(response.status, 200);
    assert_eq!(response.interim.iter().map(|head| head.status).collect::<Vec<_>>(), [103; 5]);
    let numbers: Vec<_> = response.interim.iter().filter_map(|head| head.fields.first("X-Number")).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
    // HTTP/1.0 knows none (RFC 9110, section 15.2).
    let response = site.ask(&Request::get("h", "/").old());
    assert_eq!((response.status, response.interim.len()), (200, 0));
}

#[test]
fn a_client_that_waits_to_be_told_is_told_by_its_origin() {
    let site = Site::good();
    let mut client = site.client();
    for _ in 0..3 {
        let request = Request::post("h", "/", Content::Pattern { seed: 1, bytes: 200_000 }).expecting_continue();
        let response = client.exchange(&request).expect("an answer");
        assert_eq!(response.interim.iter().map(|head| head.status).collect::<Vec<_>>(), [100]);
        let received = response.received().expect("the account of it");
        assert_eq!(received.body_bytes, 200_000);
        assert!(received.fields.lists("Expect", "100-continue"));
    }
    assert_eq!(site.origin.seen().accepted, 1);
}

/// An origin that does not want the content says so before it is sent.
#[test]
fn a_client_that_waits_to_be_told_may_be_told_no() {
    let site = Site::of(Conduct::AnswersEarly);
    let request = Request::post("h", "/", Content::Pattern { seed: 1, bytes: 1_000_000 }).expecting_continue();
    let response = site.ask(&request);
    assert_eq!((response.status, &response.upload), (200, &Upload::Withheld));
    // Whether the content would still come cannot be known.
    assert_eq!(response.after, After::Ended);
}

/// An origin that says nothing of the kind does not keep an impatient client from sending.
#[test]
fn a_client_need_not_wait_to_be_told() {
    let site = Site::of(Conduct::IgnoresExpect);
    let mut client = site.client();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.send_raw(head.as_bytes()).expect("it is taken");
    site.origin.wait_seen("the head", |seen| seen.requests == 1);
    client.send_raw(b"abcd").expect("it is taken");
    let response = client.read().expect("an answer");
    assert_eq!(response.received().expect("the account of it").body_begin, "abcd");
}

#[test]
fn answers_that_have_no_content_have_none() {
    let site = Site::good();
    let mut client = site.client();
    let whole = client.exchange(&Request::get("h", "/")).expect("an answer");
    let Framing::Length(length) = whole.framing else { panic!("{:?}", whole.framing) };
    for chunks in [false, true] {
        site.origin.behave(if chunks { Conduct::Chunks { bytes: 50 } } else { Conduct::Good });
        let response = client.exchange(&Request::new("HEAD", "h", "/")).expect("an answer");
        assert!(response.status == 200 && response.leaves_open(), "{response:?}");
        let said = response.fields.first("Content-Length").map(|length| length.parse::<u64>().expect("a number"));
        // The account says the method, which is one letter longer.
        assert!(if chunks { said.is_none() } else { said.is_some_and(|said| said.abs_diff(length) < 100) }, "{said:?}");
    }
    for status in [204, 304] {
        site.origin.behave(Conduct::Sends {
            bytes: format!("HTTP/1.1 {status} As It Is\r\nETag: \"x\"\r\n\r\n").into_bytes(),
            ends: false,
        });
        let response = client.exchange(&Request::get("h", "/")).expect("an answer");
        assert_eq!((response.status, response.fields.first("ETag")), (status, Some("\"x\"")));
        assert!(!response.fields.has("Transfer-Encoding") && response.leaves_open(), "{response:?}");
    }
    assert_eq!(site.origin.seen().accepted, 1);
}

#[test]
fn clients_of_http_1_0_are_understood() {
    let site = Site::good();
    let response = site.ask(&Request::bare("GET", "/").old());
    assert_eq!((response.status, &response.after), (200, &After::Ended));
    // HTTP/1.1 must have a host, and the client named none.
    let received = response.received().expect("the account of it");
    assert_eq!((&*received.version, received.fields.first("Host")), ("HTTP/1.1", Some(site.origin.name())));

    let mut client = site.client();
    for _ in 0..3 {
        let request = Request::post("h", "/", Content::text("old")).old().field("Connection", "keep-alive");
        let response = client.exchange(&request).expect("an answer");
        assert_eq!(response.received().expect("the account of it").body_begin, "old");
        assert!(response.leaves_open() && response.fields.lists("Connection", "keep-alive"), "{response:?}");
    }
    // It knows no chunks: the end of the connection is the end of the answer.
    site.origin.behave(Conduct::Chunks { bytes: 10 });
    let response = client.exchange(&Request::get("h", "/").old().field("Connection", "keep-alive")).expect("an answer");
    assert_eq!(response.framing, Framing::UntilEnd);
    response.received().expect("all of it");
}

#[test]
fn an_origin_that_answers_before_it_has_everything_is_heard() {
    for conduct in [Conduct::AnswersEarly, Conduct::AnswersEarlyAndCloses] {
        let site = Site::of(conduct.clone());
        let request = Request::post("h", "/", Content::Pattern { seed: 1, bytes: 5_000_000 });
        let response = site.ask(&request);
        assert_eq!(response.status, 200, "{conduct:?}");
        response.received().expect("all of the answer");
    }
}

/// An answer that comes byte by byte, and one in chunks of all sizes, arrive as they were.
#[test]
fn how_an_answer_is_cut_into_pieces_does_not_matter() {
    let site = Site::of(Conduct::Trickles { gap: std::time::Duration::ZERO });
    let mut client = site.client();
    for conduct in [Conduct::Trickles { gap: std::time::Duration::ZERO }, Conduct::EveryChunkSize { up_to: 700 }] {
        site.origin.behave(conduct);
        let response = client.exchange(&Request::get("h", "/")).expect("an answer");
        response.received().expect("all of it");
        assert!(response.leaves_open());
    }
}
