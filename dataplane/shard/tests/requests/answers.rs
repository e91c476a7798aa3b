//! Answers of our own: by a rule, and where a request cannot be served.

use crate::rig::Rig;
use crate::rig::site::{Http, group_slot, rule};
use crate::{client_of, rig_of, site_of, to_group};
use harness::http::client::After;
use harness::http::request::Content;
use harness::http::{Origin, Request};
use policy::close::CloseReason;
use policy::http::{ActionSpec, EditSpec, Page, Pages, PathSpec, RewriteSpec, When};
use std::time::Duration;

fn path(prefix: &str) -> When {
    When::Path(PathSpec::Prefix(prefix.to_owned()))
}

#[test]
fn rules_answer_redirect_deny_and_rewrite() {
    let origin = Origin::good();
    let mut served = rule("d", path("/old"), ActionSpec::Group(group_slot("main")));
    served.rewrite = Some(RewriteSpec::Prefix { from: "/old".into(), to: "/new".into() });
    served.request_edits = vec![EditSpec::Set { name: "X-Client".into(), value: "{client_ip}".into() }];
    served.response_edits = vec![EditSpec::Add { name: "X-Path".into(), value: "{path}".into() }];
    let text = ActionSpec::Respond { status: 200, content_type: "text/plain".into(), body: b"hello".as_slice().into() };
    let specs = vec![
        rule("a", path("/deny"), ActionSpec::Deny { status: 403 }),
        rule("b", path("/go"), ActionSpec::Redirect { status: 301, target: "https://{host}{uri}".into() }),
        rule("c", path("/text"), text),
        served,
    ];
    let mut rig = Rig::new(site_of(&[&origin], Http::ruled(specs)));
    let mut client = client_of(&rig);
    let mut ask = |target: &str| client.exchange(&Request::get("example.com", target)).unwrap();
    assert_eq!(ask("/deny/x").status, 403);
    let response = ask("/go?x=1");
    assert_eq!((response.status, response.fields.first("location")), (301, Some("https://example.com/go?x=1")));
    let response = ask("/text");
    assert_eq!((response.status, response.text()), (200, "hello"));
    assert!(response.fields.first("date").is_some_and(|date| date.ends_with(" GMT")), "{:?}", response.fields);
    assert_eq!(ask("/elsewhere").status, 404);
    let response = ask("/old/x?y");
    let received = response.received().unwrap();
    assert_eq!(received.target, "/new/x?y");
    assert_eq!(received.fields.first("x-client"), Some("127.0.0.1"));
    assert_eq!(response.fields.first("x-path"), Some("/old/x"));
    let reasons: Vec<CloseReason> = (0..5).map(|_| rig.request().reason).collect();
    let expected =
        [CloseReason::Denied, CloseReason::Finished, CloseReason::Finished, CloseReason::NoRule, CloseReason::Finished];
    assert_eq!(reasons, expected);
}

#[test]
fn what_is_no_request_is_refused_and_the_connection_closed() {
    let origin = Origin::good();
    let mut rig = rig_of(&[&origin]);
    for (bytes, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\n\r\n", 411),
        (b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 411),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /../.. HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        let mut client = client_of(&rig);
        client.send_raw(bytes).unwrap();
        client.expect("GET");
        let response = client.read().unwrap();
        assert_eq!((response.status, response.after), (status, After::Ended), "{}", bytes.escape_ascii());
        assert_eq!(rig.request().reason, CloseReason::Refused);
    }
    let long = [&b"GET /"[..], &[b'a'; 9_000], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let many = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], &b"A: b\r\n".repeat(200), b"\r\n"].concat();
    for (bytes, status) in [(long, 414), (many, 431)] {
        let mut client = client_of(&rig);
        client.send_raw(&bytes).unwrap();
        client.expect("GET");
        let response = client.read().unwrap();
        assert_eq!((response.status, response.after), (status, After::Ended));
    }
    assert_eq!(origin.seen().requests, 0);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let origin = Origin::good();
    let http = Http::with(vec![to_group()], |service| service.request.body_bytes = 1_000);
    let rig = Rig::new(site_of(&[&origin], http));
    let request = Request::post("h", "/", Content::Bytes(vec![b'x'; 2_000_000]));
    let response = client_of(&rig).exchange(&request).unwrap();
    assert_eq!(response.status, 413);
    let request = Request::post("h", "/", Content::Bytes(vec![b'x'; 100_000])).chunked(500);
    assert_eq!(client_of(&rig).exchange(&request).unwrap().status, 413);
    assert_eq!(origin.seen().whole, 0);
}

#[test]
fn a_status_has_the_page_of_its_pool() {
    let page = Page { content_type: "text/html".into(), body: b"<p>later".as_slice().into() };
    let http = Http::with(vec![to_group()], |service| service.pages = Pages::new(vec![(503, page)]).unwrap());
    let mut site = site_of(&[&Origin::good()], http);
    site.pool().backend(0).drain = true;
    let rig = Rig::new(site);
    let mut client = client_of(&rig);
    let response = client.exchange(&Request::get("h", "/")).unwrap();
    assert_eq!((response.status, response.text(), response.after.clone()), (503, "<p>later", After::Open));
    assert_eq!(response.fields.first("content-type"), Some("text/html"));
    let response = client.exchange(&Request::new("HEAD", "h", "/")).unwrap();
    assert_eq!((response.status, response.body.len()), (503, 0));
}

#[test]
fn who_is_too_slow_is_told() {
    let origin = Origin::good();
    let mut http = Http::new();
    http.timeouts.head = Duration::from_millis(50);
    http.timeouts.body = Some(Duration::from_millis(50));
    let mut rig = Rig::new(site_of(&[&origin], http));
    let mut client = client_of(&rig);
    client.send_raw(b"GET / HTT").unwrap();
    client.expect("GET");
    assert_eq!(client.read().unwrap().status, 408);
    assert_eq!(rig.request().reason, CloseReason::HeadTimeout);
    let mut client = client_of(&rig);
    client.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123").unwrap();
    client.expect("POST");
    assert_eq!(client.read().unwrap().status, 408);
    assert_eq!(rig.request().reason, CloseReason::BodyTimeout);
}

#[test]
fn a_connection_that_rests_too_long_ends_in_peace() {
    let origin = Origin::good();
    let mut http = Http::new();
    http.timeouts.keep_alive = Duration::from_millis(50);
    let rig = Rig::new(site_of(&[&origin], http));
    let mut client = client_of(&rig);
    assert_eq!(client.exchange(&Request::get("h", "/")).unwrap().status, 200);
    client.wait_end().unwrap();
}
