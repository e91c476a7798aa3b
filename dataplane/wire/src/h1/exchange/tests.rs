//! Orders of events, one by one, and then any.

use super::*;
use crate::h1::write::{self, Chain, ToClient, ToOrigin, Told, Upgrades};
use crate::h1::{Asked, Scheme, Search, Span, parse_request, parse_response};

mod any_order;

const LIMITS: Limits = Limits::REQUEST;

/// A request without its empty line, its head already written for the origin.
fn begun(head: &str) -> (Exchange, RequestHead) {
    let bytes = format!("{head}\r\n").into_bytes();
    let parsed = parse_request(&bytes, &mut Search::default(), &LIMITS, &mut Fields::new());
    let parsed = parsed.expect("a request").expect("an end");
    let head_bytes = to_origin(&bytes, &parsed).len() as u64;
    (Exchange::new(&parsed, head_bytes, &LIMITS), parsed)
}

fn to_origin(bytes: &[u8], head: &RequestHead) -> Vec<u8> {
    let told = Told {
        client: [127, 0, 0, 1].into(),
        scheme: Scheme::Http,
        x_forwarded: Chain::Pass,
        forwarded: Chain::Pass,
        via: None,
        request_id: None,
    };
    let upgrades = Upgrades::Any;
    let to = ToOrigin { target: None, host: None, host_default: b"d", upgrades, expect: true, close: false, told };
    let mut out = Vec::new();
    write::request(&mut out, bytes, head, &to, [].into_iter());
    out
}

/// Everything held for the origin is with it.
fn sent(exchange: &mut Exchange, way: Way) {
    let held = exchange.held(way);
    if held > 0 {
        assert_eq!(exchange.next(way), Step::Send);
        exchange.taken(way, held);
    }
}

/// A response's head comes, without its empty line, and goes to the client.
fn answer(exchange: &mut Exchange, request: &RequestHead, head: &str) -> Said {
    assert!(exchange.awaits_head());
    let bytes = format!("{head}\r\n").into_bytes();
    let parsed = parse_response(&bytes, Asked::by(request, true), &mut Search::default(), &LIMITS, &mut Fields::new());
    let parsed = parsed.expect("a response").expect("an end");
    if parsed.kind == Kind::Interim {
        if exchange.interim(&parsed) {
            exchange.holds(Way::Out, bytes.len() as u64);
        }
        return Said { framing: Framing::None, persistence: Persistence::Keep };
    }
    let to = ToClient { client: request.version, persistence: exchange.may_keep(), via: None };
    let mut out = Vec::new();
    let said = write::response(&mut out, &bytes, &parsed, &to, [].into_iter());
    exchange.answered(&parsed, said, out.len() as u64, 0, &LIMITS);
    said
}

/// Content comes and goes.
fn content(exchange: &mut Exchange, way: Way, bytes: &[u8]) {
    assert_eq!(exchange.next(way), Step::Receive);
    let consumed = exchange.forward(way, bytes, &LIMITS, &mut Fields::new(), |_| {});
    assert_eq!(consumed, bytes.len());
    sent(exchange, way);
}

#[track_caller]
fn over(exchange: &Exchange, outcome: Outcome, front: Front, upstream: Upstream) {
    assert_eq!(exchange.standing(), Standing::Over(Ended { outcome, front, upstream }));
    for way in Way::BOTH {
        assert_eq!(exchange.next(way), Step::Rest);
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";
const UPLOAD: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
const FIVE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n";
const REST: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn a_question_and_its_answer() {
    let (mut exchange, request) = begun(POST);
    sent(&mut exchange, Way::In);
    content(&mut exchange, Way::In, b"hel");
    content(&mut exchange, Way::In, b"lo");
    assert_eq!((exchange.next(Way::In), exchange.next(Way::Out)), (Step::Rest, Step::Receive));
    answer(&mut exchange, &request, FIVE);
    sent(&mut exchange, Way::Out);
    assert_eq!(exchange.standing(), Standing::Open);
    content(&mut exchange, Way::Out, b"world");
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Reuse);
}

#[test]
fn nothing_is_read_while_something_waits_for_its_sink() {
    let (mut exchange, request) = begun(UPLOAD);
    assert_eq!(exchange.next(Way::In), Step::Send);
    sent(&mut exchange, Way::In);
    exchange.forward(Way::In, b"abc", &LIMITS, &mut Fields::new(), |_| {});
    assert_eq!(exchange.next(Way::In), Step::Send);
    exchange.taken(Way::In, 2);
    assert_eq!((exchange.next(Way::In), exchange.held(Way::In)), (Step::Send, 1));
    answer(&mut exchange, &request, FIVE);
    assert_eq!(exchange.next(Way::Out), Step::Send, "the head first");
}

#[test]
fn who_closes_what() {
    let check = |request: &str, response: &str, front, upstream| {
        let (mut exchange, request) = begun(request);
        sent(&mut exchange, Way::In);
        answer(&mut exchange, &request, response);
        sent(&mut exchange, Way::Out);
        over(&exchange, Outcome::Answered, front, upstream);
    };
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n";
    check(GET, EMPTY, Front::Reuse, Upstream::Reuse);
    check(GET, last, Front::Reuse, Upstream::Close);
    check("GET / HTTP/1.0\r\n", EMPTY, Front::Close, Upstream::Reuse);
    check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n", EMPTY, Front::Reuse, Upstream::Reuse);
    check("HEAD / HTTP/1.1\r\nHost: a\r\n", FIVE, Front::Reuse, Upstream::Reuse);
    check(GET, "HTTP/1.0 204 No\r\n", Front::Reuse, Upstream::Close);
}

#[test]
fn an_answer_that_ends_with_its_connection_gets_an_end_of_its_own() {
    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    assert_eq!(answer(&mut exchange, &request, REST).framing, Framing::Chunked);
    sent(&mut exchange, Way::Out);
    content(&mut exchange, Way::Out, b"hello");
    exchange.ended(Way::Out);
    assert_eq!(exchange.next(Way::Out), Step::Frame);
    let mut last = Vec::new();
    exchange.frame(Way::Out, |bytes| last.extend_from_slice(bytes));
    assert_eq!(last, b"0\r\n\r\n");
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Close);

    let (mut exchange, request) = begun("GET / HTTP/1.0\r\nConnection: keep-alive\r\n");
    sent(&mut exchange, Way::In);
    assert_eq!(answer(&mut exchange, &request, REST).framing, Framing::UntilClose);
    sent(&mut exchange, Way::Out);
    content(&mut exchange, Way::Out, b"hello");
    exchange.ended(Way::Out);
    over(&exchange, Outcome::Answered, Front::Close, Upstream::Close);
}

#[test]
fn a_cut_answer_never_looks_whole() {
    for (broken, response) in [(false, FIVE), (true, FIVE), (true, REST)] {
        let (mut exchange, request) = begun(GET);
        sent(&mut exchange, Way::In);
        answer(&mut exchange, &request, response);
        sent(&mut exchange, Way::Out);
        exchange.forward(Way::Out, b"hel", &LIMITS, &mut Fields::new(), |_| {});
        if broken {
            exchange.broke_source(Way::Out)
        } else {
            exchange.ended(Way::Out)
        }
        assert_eq!(exchange.standing(), Standing::Open, "what came is delivered");
        sent(&mut exchange, Way::Out);
        over(&exchange, Outcome::Cut, Front::Abort, Upstream::Close);
    }
}

#[test]
fn chunks_that_break_off_are_delivered_and_cut() {
    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n");
    sent(&mut exchange, Way::Out);
    let mut put = Vec::new();
    exchange.forward(Way::Out, b"2\r\nhi\r\nx", &LIMITS, &mut Fields::new(), |bytes| put.extend_from_slice(bytes));
    assert_eq!((&put[..], exchange.held(Way::Out)), (&b"2\r\nhi\r\n"[..], 7));
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Cut, Front::Abort, Upstream::Close);
}

#[test]
fn what_may_be_tried_again() {
    let check = |head: &str, sent_some: bool, content: &[u8], kept: bool, begun_answer: bool, expected| {
        let (mut exchange, _) = begun(head);
        if sent_some {
            sent(&mut exchange, Way::In);
        }
        if !content.is_empty() {
            super::tests::content(&mut exchange, Way::In, content);
        }
        if kept {
            exchange.kept();
        }
        if begun_answer {
            exchange.answer_begun();
        }
        exchange.ended(Way::Out);
        match exchange.standing() {
            Standing::Over(Ended { outcome: Outcome::Unanswered(retry), upstream, .. }) => {
                assert_eq!((retry, upstream), (expected, Upstream::Close));
            }
            other => panic!("{other:?}"),
        }
    };
    check(GET, false, b"", false, false, Retry::Untouched);
    check(GET, true, b"", false, false, Retry::Idempotent);
    check(GET, true, b"", false, true, Retry::Unsafe);
    check(POST, false, b"", false, false, Retry::Untouched);
    check(POST, true, b"", false, false, Retry::Unsafe);
    check(UPLOAD, true, b"", false, false, Retry::Idempotent);
    check(UPLOAD, true, b"x", false, false, Retry::Unsafe);
    check(UPLOAD, true, b"x", true, false, Retry::Idempotent);
}

#[test]
fn a_request_is_sent_again_and_answered() {
    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    exchange.broke_sink(Way::In);
    assert_eq!(exchange.next(Way::In), Step::Rest);
    exchange.broke_source(Way::Out);
    assert!(matches!(exchange.standing(), Standing::Over(Ended { outcome: Outcome::Unanswered(_), .. })));
    exchange.again(30);
    assert_eq!((exchange.next(Way::In), exchange.held(Way::In)), (Step::Send, 30));
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, EMPTY);
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Reuse);
}

#[test]
fn an_early_answer_does_not_stop_a_request_that_is_nearly_done() {
    let (mut exchange, request) = begun(POST);
    sent(&mut exchange, Way::In);
    assert_eq!(answer(&mut exchange, &request, EMPTY).persistence, Persistence::Keep);
    sent(&mut exchange, Way::Out);
    assert_eq!((exchange.standing(), exchange.next(Way::In)), (Standing::Open, Step::Receive));
    content(&mut exchange, Way::In, b"hello");
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Reuse);
}

#[test]
fn an_early_answer_by_an_origin_that_listens_no_more() {
    let (mut exchange, request) = begun(POST);
    sent(&mut exchange, Way::In);
    exchange.broke_sink(Way::In);
    assert_eq!((exchange.next(Way::In), exchange.next(Way::Out)), (Step::Wait, Step::Receive));
    answer(&mut exchange, &request, EMPTY);
    sent(&mut exchange, Way::Out);
    assert_eq!(exchange.next(Way::In), Step::Discard);
    assert_eq!(exchange.discard(b"helloGET", &LIMITS, &mut Fields::new()), 5);
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Close);
}

#[test]
fn an_early_answer_to_an_upload_closes_politely() {
    let (mut exchange, request) = begun(UPLOAD);
    sent(&mut exchange, Way::In);
    content(&mut exchange, Way::In, b"a beginning");
    assert_eq!(answer(&mut exchange, &request, EMPTY).persistence, Persistence::Close);
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::DrainThenClose, Upstream::Close);
}

#[test]
fn an_origin_that_closes_after_its_answer_is_sent_no_more() {
    let (mut exchange, request) = begun(POST);
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n");
    sent(&mut exchange, Way::Out);
    assert_eq!(exchange.next(Way::In), Step::Discard);
    exchange.discard(b"hello", &LIMITS, &mut Fields::new());
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Close);
}

#[test]
fn interim_responses_go_to_those_who_know_them() {
    let expecting = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    let (mut exchange, request) = begun(expecting);
    sent(&mut exchange, Way::In);
    assert_eq!(exchange.may_keep(), Persistence::Close, "it may send its content or not");
    answer(&mut exchange, &request, "HTTP/1.1 100 Continue\r\n");
    assert_eq!(exchange.next(Way::Out), Step::Send);
    sent(&mut exchange, Way::Out);
    assert_eq!(exchange.may_keep(), Persistence::Keep);
    content(&mut exchange, Way::In, b"hello");
    answer(&mut exchange, &request, EMPTY);
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Reuse);

    let (mut exchange, request) = begun("GET / HTTP/1.0\r\n");
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, "HTTP/1.1 103 Early Hints\r\n");
    assert_eq!((exchange.next(Way::Out), exchange.held(Way::Out)), (Step::Receive, 0));

    let (mut exchange, request) = begun(expecting);
    sent(&mut exchange, Way::In);
    assert_eq!(answer(&mut exchange, &request, EMPTY).persistence, Persistence::Close);
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::DrainThenClose, Upstream::Close);
}

#[test]
fn interim_responses_for_ever() {
    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    for _ in 0..INTERIMS_MAX {
        answer(&mut exchange, &request, "HTTP/1.1 102 Processing\r\n");
        sent(&mut exchange, Way::Out);
        assert_eq!(exchange.standing(), Standing::Open);
    }
    answer(&mut exchange, &request, "HTTP/1.1 102 Processing\r\n");
    let outcome = Outcome::Refused(Peer::Origin, Violation::TooManyInterims);
    over(&exchange, outcome, Front::Reuse, Upstream::Close);
    assert!(exchange.may_answer());
}

#[test]
fn a_client_that_leaves() {
    let (mut exchange, _) = begun(POST);
    sent(&mut exchange, Way::In);
    exchange.ended(Way::In);
    over(&exchange, Outcome::ClientLeft, Front::Close, Upstream::Close);

    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    exchange.ended(Way::In);
    assert_eq!(exchange.standing(), Standing::Open, "it has asked and listens");
    answer(&mut exchange, &request, EMPTY);
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::Close, Upstream::Reuse);

    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, FIVE);
    exchange.broke_sink(Way::Out);
    over(&exchange, Outcome::ClientLeft, Front::Close, Upstream::Close);
}

#[test]
fn a_client_whose_chunks_are_none() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let (mut exchange, _) = begun(chunked);
    sent(&mut exchange, Way::In);
    exchange.forward(Way::In, b"x", &LIMITS, &mut Fields::new(), |_| {});
    let outcome = Outcome::Refused(Peer::Client, Violation::ChunkSize);
    over(&exchange, outcome, Front::DrainThenClose, Upstream::Close);

    let (mut exchange, request) = begun(chunked);
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, FIVE);
    exchange.forward(Way::In, b"x", &LIMITS, &mut Fields::new(), |_| {});
    sent(&mut exchange, Way::Out);
    content(&mut exchange, Way::Out, b"world");
    over(&exchange, Outcome::Answered, Front::DrainThenClose, Upstream::Close);
}

#[test]
fn more_than_the_answer_is_not_trusted() {
    let (mut exchange, request) = begun(GET);
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, FIVE);
    sent(&mut exchange, Way::Out);
    assert_eq!(exchange.forward(Way::Out, b"worldHTTP", &LIMITS, &mut Fields::new(), |_| {}), 5);
    sent(&mut exchange, Way::Out);
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Close);
}

#[test]
fn a_switch_becomes_a_tunnel() {
    let (mut exchange, request) = begun("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n");
    sent(&mut exchange, Way::In);
    answer(&mut exchange, &request, "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n");
    assert_eq!(exchange.standing(), Standing::Open);
    sent(&mut exchange, Way::Out);
    assert_eq!(exchange.standing(), Standing::Switched);
}

#[test]
fn large_content_goes_through_a_pipe() {
    let (mut exchange, request) = begun(UPLOAD);
    assert_eq!(exchange.wants_pipe(Way::In), None, "the head first");
    sent(&mut exchange, Way::In);
    assert_eq!(exchange.wants_pipe(Way::In), Some(1_000_000));
    exchange.pipe_given(Way::In);
    assert_eq!(exchange.next(Way::In), Step::Fill { at_most: 1_000_000 });
    exchange.filled(Way::In, 400_000);
    assert_eq!(exchange.next(Way::In), Step::Drain);
    assert!(!exchange.pipe_taken_back(Way::In));
    exchange.drained(Way::In, 400_000);
    assert!(exchange.pipe_taken_back(Way::In));
    exchange.pipe_given(Way::In);
    exchange.filled(Way::In, 600_000);
    exchange.drained(Way::In, 600_000);
    assert!(!exchange.piped(Way::In));
    assert_eq!(exchange.next(Way::In), Step::Rest);

    answer(&mut exchange, &request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n");
    sent(&mut exchange, Way::Out);
    content(&mut exchange, Way::Out, b"10000\r\n");
    assert_eq!(exchange.wants_pipe(Way::Out), Some(65_536));
    exchange.pipe_given(Way::Out);
    let mut put = Vec::new();
    assert_eq!(exchange.next(Way::Out), Step::Frame);
    exchange.frame(Way::Out, |bytes| put.extend_from_slice(bytes));
    sent(&mut exchange, Way::Out);
    exchange.filled(Way::Out, 65_536);
    exchange.drained(Way::Out, 65_536);
    assert_eq!(exchange.next(Way::Out), Step::Frame);
    exchange.frame(Way::Out, |bytes| put.extend_from_slice(bytes));
    assert_eq!(put, b"10000\r\n\r\n");
    sent(&mut exchange, Way::Out);
    content(&mut exchange, Way::Out, b"\r\n0\r\n\r\n");
    over(&exchange, Outcome::Answered, Front::Reuse, Upstream::Reuse);
}

/// `Exchange` is part of a connection's state for as long as it lasts.
#[test]
fn an_exchange_is_small() {
    assert!(size_of::<Exchange>() <= 320, "{}", size_of::<Exchange>());
    assert_eq!(size_of::<Span>(), 8);
}
