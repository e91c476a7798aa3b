//! Origins that fail, each in its way: what the client sees, and what is written of it.

use crate::rig::Rig;
use crate::rig::site::Http;
use crate::{client_of, rig_of, site_of};
use harness::http::received::FILLER;
use harness::http::request::Content;
use harness::http::{Conduct, Failure, Origin, Request};
use link::counters::{EndpointCounter, PoolCounter};
use policy::close::CloseReason;
use policy::http::eject::EjectPolicy;
use std::time::Duration;

/// What one GET meets: a status, or how the client's connection failed.
fn ask(rig: &Rig) -> Result<u16, Failure> {
    client_of(rig).exchange(&Request::get("h", "/")).map(|response| response.status)
}

#[track_caller]
fn check(conduct: Conduct, status: u16, reason: CloseReason) {
    let origin = Origin::start(conduct.clone());
    let mut http = Http::new();
    http.timeouts.first_byte = Some(Duration::from_millis(100));
    let mut rig = Rig::new(site_of(&[&origin], http));
    assert_eq!(ask(&rig).unwrap(), status, "{conduct:?}");
    assert_eq!(rig.request().reason, reason, "{conduct:?}");
}

#[test]
fn an_origin_that_does_not_answer_is_a_bad_gateway() {
    check(Conduct::Refuses, 502, CloseReason::ConnectFailed);
    check(Conduct::ResetsAtOnce, 502, CloseReason::NoAnswer);
    check(Conduct::ResetsBeforeHead, 502, CloseReason::NoAnswer);
    check(Conduct::ResetsMidHead, 502, CloseReason::NoAnswer);
    check(Conduct::EndsBeforeHead, 502, CloseReason::NoAnswer);
    check(Conduct::EndsMidHead, 502, CloseReason::NoAnswer);
    check(Conduct::StallsBeforeHead, 504, CloseReason::FirstByteTimeout);
    check(Conduct::StallsMidHead, 504, CloseReason::FirstByteTimeout);
}

#[test]
fn an_answer_that_cannot_be_understood_is_a_bad_gateway() {
    for conduct in [
        Conduct::TwoLengths,
        Conduct::LengthAndChunks,
        Conduct::ChunksInHttp10,
        Conduct::UpgradesUnasked,
        Conduct::InterimForEver,
        Conduct::FieldFlood { fields: 1_000 },
        Conduct::GiantField { bytes: 100_000 },
        Conduct::BareLineFeeds,
        Conduct::Garbage { bytes: 1_000 },
        Conduct::NoContentWithBody,
    ] {
        check(conduct, 502, CloseReason::BadAnswer);
    }
}

#[test]
fn an_answer_that_is_cut_does_not_look_whole() {
    for conduct in [
        Conduct::ResetsMidBody { after: 100 },
        Conduct::SaysTooMuch { by: 10 },
        Conduct::ChunkSize("xyz"),
        Conduct::ChunkTooLong,
        Conduct::EndsBeforeLastChunk,
    ] {
        let origin = Origin::start(conduct.clone());
        let mut rig = rig_of(&[&origin]);
        let outcome = client_of(&rig).exchange(&Request::get("h", "/").field(FILLER, 100_000));
        assert!(outcome.is_err(), "{conduct:?} gave {outcome:?}");
        assert_eq!(rig.request().reason, CloseReason::AnswerCut, "{conduct:?}");
    }
}

#[test]
fn an_answer_that_stalls_is_aborted() {
    let origin = Origin::start(Conduct::StallsMidBody { after: 100 });
    let mut http = Http::new();
    http.timeouts.answer = Some(Duration::from_millis(100));
    let mut rig = Rig::new(site_of(&[&origin], http));
    assert!(ask(&rig).is_err());
    assert_eq!(rig.request().reason, CloseReason::AnswerTimeout);
}

#[test]
fn more_than_was_announced_ends_with_the_connection_to_the_origin() {
    for conduct in [Conduct::SaysTooLittle { by: 10 }, Conduct::AnswersTwice, Conduct::HeadWithBody] {
        let origin = Origin::start(conduct.clone());
        let rig = rig_of(&[&origin]);
        let mut client = client_of(&rig);
        for _ in 0..3 {
            let method = if conduct == Conduct::HeadWithBody { "HEAD" } else { "GET" };
            let response = client.exchange(&Request::new(method, "h", "/")).unwrap();
            assert_eq!((response.status, response.beyond.len()), (200, 0), "{conduct:?}");
        }
    }
}

#[test]
fn an_idle_connection_that_dies_as_a_request_leaves_costs_nobody_anything() {
    for conduct in [Conduct::ClosesOnReuse, Conduct::ResetsOnReuse, Conduct::ClosesSilently] {
        let origin = Origin::start(conduct.clone());
        let rig = rig_of(&[&origin]);
        let mut client = client_of(&rig);
        for nr in 0..10 {
            let response = client.exchange(&Request::get("h", "/")).unwrap();
            assert_eq!(response.status, 200, "{conduct:?}, request {nr}");
        }
    }
}

#[test]
fn what_may_have_been_done_is_not_done_twice() {
    let origin = Origin::start(Conduct::ResetsOnReuse);
    let mut rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    assert_eq!(client.exchange(&Request::get("h", "/")).unwrap().status, 200);
    rig.request();
    let response = client.exchange(&Request::post("h", "/", Content::text("pay"))).unwrap();
    assert_eq!(response.status, 502);
    assert_eq!(rig.request().reason, CloseReason::NoAnswer);
    assert_eq!(rig.pool(0, PoolCounter::RequestRetries), 0);
}

#[test]
fn another_backend_is_asked_where_one_refuses() {
    let (bad, good) = (Origin::start(Conduct::Refuses), Origin::good());
    let mut rig = rig_of(&[&bad, &good]);
    for _ in 0..6 {
        assert_eq!(ask(&rig).unwrap(), 200);
        assert_eq!(rig.request().status, 200);
    }
    assert!(rig.endpoint(0, EndpointCounter::ConnectFailures) > 0);
}

#[test]
fn an_answer_that_counts_as_a_failure_is_asked_for_elsewhere() {
    let (bad, good) = (Origin::start(Conduct::Answers { status: 503 }), Origin::good());
    let mut http = Http::new();
    http.group.retry.statuses = [503].into();
    let rig = Rig::new(site_of(&[&bad, &good], http));
    for _ in 0..4 {
        assert_eq!(ask(&rig).unwrap(), 200);
    }
    assert!(bad.seen().requests > 0);
    let posted = (0..4).map(|_| client_of(&rig).exchange(&Request::post("h", "/", Content::text("x"))).unwrap().status);
    let posted: Vec<u16> = posted.collect();
    assert!(posted.contains(&503) && posted.contains(&200), "{posted:?}");
}

#[test]
fn where_all_answers_count_as_failures_the_client_is_told_the_last_one() {
    let bad = [429, 503].map(|status| Origin::start(Conduct::Answers { status }));
    let mut http = Http::new();
    http.group.retry.statuses = [429, 503].into();
    let rig = Rig::new(site_of(&[&bad[0], &bad[1]], http));
    assert_eq!([ask(&rig).unwrap(), ask(&rig).unwrap()], [503, 503]);
}

#[test]
fn a_backend_that_keeps_failing_is_left_out_for_a_while() {
    let (bad, good) = (Origin::start(Conduct::Answers { status: 500 }), Origin::good());
    let mut http = Http::new();
    http.group.eject = Some(EjectPolicy {
        errors: 3,
        base: Duration::from_secs(600),
        longest: Duration::from_secs(600),
        percent_max: 50,
    });
    let rig = Rig::new(site_of(&[&bad, &good], http));
    let statuses: Vec<u16> = (0..20).map(|_| ask(&rig).unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3);
    assert_eq!(rig.endpoint(0, EndpointCounter::Ejected), 1);
    assert_eq!(bad.seen().requests, 3);
}

#[test]
fn an_origin_that_answers_early_is_heard() {
    for conduct in [Conduct::AnswersEarly, Conduct::AnswersEarlyAndCloses] {
        let origin = Origin::start(conduct.clone());
        let rig = rig_of(&[&origin]);
        let request = Request::post("h", "/", Content::Bytes(vec![b'x'; 3_000_000]));
        let response = client_of(&rig).exchange(&request).unwrap();
        assert_eq!(response.status, 200, "{conduct:?}");
    }
}

#[test]
fn a_client_that_leaves_frees_its_backend() {
    let origin = Origin::start(Conduct::StallsBeforeHead);
    let mut rig = rig_of(&[&origin]);
    let mut client = client_of(&rig);
    client.send(&Request::get("h", "/")).unwrap();
    origin.wait_seen("the request", |seen| seen.requests == 1);
    client.abort();
    assert_eq!(rig.request().reason, CloseReason::ClientLeft);
    origin.wait_seen("the end of its connection", |seen| seen.open == 0);
}
