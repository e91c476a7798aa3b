//! What is told of requests: exactly one line of the access log for each, in the operator's format; counts and times.

use crate::{Site, start};
use e2e::Pool;
use harness::appliance::Launch;
use harness::http::request::Content;
use harness::http::{Client, Conduct, Origin, Request};
use harness::net::Target;
use harness::wait::until;

/// Each way in which a request can end leaves one line, and so do many on a connection.
#[test]
fn every_request_leaves_exactly_one_line() {
    let site =
        Site::with(Conduct::Good, |pool| pool.rule("path_prefix = \"/deny\"\ndeny = 403").rule("group = \"main\""));
    let mut client = site.client();
    for path in ["/1", "/deny", "/2"] {
        client.exchange(&Request::get("h", path)).expect("an answer");
    }
    client.send_together(&[Request::get("h", "/3"), Request::get("h", "/4")]).expect("it is taken");
    (0..2).for_each(|_| _ = client.read().expect("an answer"));
    // A connection that asks for nothing, and one that asks for nothing more, leave none.
    site.client().close().expect("a proper end");
    client.close().expect("a proper end");
    let mut bad = site.client();
    bad.send_raw(b"NONSENSE\r\n\r\n").expect("it is taken");
    assert_eq!(bad.read().expect("an answer").status, 400);
    let mut leaving = site.client();
    leaving.send_raw(b"GET /5 HTTP/1.1\r\nHost").expect("it is taken");
    leaving.close().expect("a proper end");
    site.appliance.wait_access_log(7);
    site.origin.behave(Conduct::StallsBeforeHead);
    let mut aborting = site.client();
    aborting.send(&Request::get("h", "/6")).expect("it is taken");
    site.origin.wait_seen("the last", |seen| seen.requests == 5);
    aborting.abort();
    let log = site.appliance.wait_access_log(8);
    let found: Vec<_> =
        log.iter().map(|line| (line["target"].as_str().unwrap_or("?"), line["status"].as_u64())).collect();
    let expected = [
        ("/1", Some(200)),
        ("/deny", Some(403)),
        ("/2", Some(200)),
        ("/3", Some(200)),
        ("/4", Some(200)),
        ("", Some(400)),
        ("", Some(0)),
        ("/6", Some(0)),
    ];
    assert_eq!(found, expected, "{log:#?}");
    let reasons: Vec<_> = log.iter().map(|line| line["reason"].as_str().unwrap_or("?")).collect();
    let expected = ["finished", "denied", "finished", "finished", "finished", "refused", "client-left", "client-left"];
    assert_eq!(reasons, expected);
    // Everybody has left: there is nothing more to come.
    site.appliance.wait_status("all are gone", |status| e2e::pool(status, "web").connections == 0);
    assert_eq!(site.appliance.access_log().len(), 8);
}

#[test]
fn a_line_tells_all_of_its_request() {
    let site = Site::with(Conduct::Good, |pool| {
        pool.keys(".http", "request_id = true").rule("id = \"all\"\ngroup = \"main\"")
    });
    let mut client = site.client();
    let request = Request::post("example.com", "/a?b=c", Content::Pattern { seed: 1, bytes: 5_000 })
        .field("Referer", "http://r/\u{e9}")
        .field("User-Agent", "me \"quoted\"");
    let responses: Vec<_> = (0..2).map(|_| client.exchange(&request).expect("an answer")).collect();
    let log = site.appliance.wait_access_log(2);
    for (nr, (line, response)) in log.iter().zip(&responses).enumerate() {
        let received = response.received().expect("the account of it");
        for (key, value) in [
            ("pool", "web"),
            ("rule", "all"),
            ("group", "main"),
            ("backend", "a"),
            ("method", "POST"),
            ("host", "example.com"),
            ("target", "/a?b=c"),
            ("version", "HTTP/1.1"),
            ("reason", "finished"),
            ("user_agent", "me \"quoted\""),
            ("request_id", received.fields.first("X-Request-Id").expect("it was given one")),
        ] {
            assert_eq!(line[key], value, "{key}: {line}");
        }
        assert_eq!((&line["status"], &line["attempts"], &line["reused"]), (&200.into(), &1.into(), &(nr == 1).into()));
        assert_eq!(line["generation"], site.appliance.status().generation);
        let sizes = [("bytes_in", request.head().len() as u64 + 4_000), ("bytes_out", response.end.bytes)];
        for (key, at_least) in sizes {
            let bytes = line[key].as_u64().expect("a number");
            assert!((at_least..at_least + 2_000).contains(&bytes), "{key}: {line}");
        }
        let micros = |key: &str| line[key].as_u64().expect("a number");
        assert!(micros("first_byte_micros") > 0 && micros("duration_micros") >= micros("first_byte_micros"), "{line}");
        assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
    }
}

/// The lines of one GET and one refusal, in this format.
fn lines(format: &str) -> Vec<String> {
    let (origin, front) = (Origin::good(), Target::fresh());
    let pool = Pool::http("web").listen(&front).backend("a", origin.target()).rule("id = \"all\"\ngroup = \"main\"");
    let appliance = Launch::new(&pool.to_string()).shards(1).start();
    let document = appliance
        .document(&pool.to_string())
        .replace("format = \"json\"\n", &format!("{format}\n"))
        .replace("access.log\"", "other.log\"");
    let change = api::Order::Apply(api::order::Apply { document, ..Default::default() });
    appliance.change(change).unwrap_or_else(|failure| panic!("{}", harness::appliance::tell(&failure)));
    let mut client = Client::connect(&front).expect("it is let in");
    let request = Request::get("h", "/a%22b").field("User-Agent", "x\"y").field("Referer", "r");
    client.exchange(&request).expect("an answer");
    client.send_raw(b"nonsense\r\n\r\n").expect("it is taken");
    assert_eq!(client.read().expect("an answer").status, 400);
    let file = appliance.folder().join("other.log");
    let text = until("both lines are written", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.lines().count() >= 2 { Ok(text) } else { Err(text) }
    });
    text.lines().map(str::to_owned).collect()
}

#[test]
fn lines_can_be_written_in_the_formats_that_tools_read() {
    let common = lines("format = \"common\"");
    assert_eq!(common.len(), 2);
    assert!(common[0].starts_with("127.0.0.1 - - ["), "{common:?}");
    assert!(common[0].contains("] \"GET /a%22b HTTP/1.1\" 200 "), "{common:?}");
    assert!(common[0].contains(" reason=finished ") && common[0].contains(" rule=\"all\""), "{common:?}");
    assert!(common[1].contains(" 400 ") && common[1].contains(" reason=refused violation="), "{common:?}");
    let combined = lines("format = \"combined\"");
    assert!(combined[0].contains(" \"r\" \"x\\\"y\" "), "{combined:?}");
    let own =
        lines("format = \"template\"\ntemplate = '{{{method}}} {uri} {status} {rule}/{group}/{backend} {reason}'");
    assert_eq!(own[0], "{GET} /a%22b 200 all/main/a finished");
    assert!(own[1].contains(" 400 ") && own[1].ends_with(" refused"), "{own:?}");
}

/// A hundred changes while requests come: one line for each, no more and no less.
#[test]
fn changes_lose_and_double_no_line() {
    const REQUESTS: usize = 1_000;
    let (origin, front) = (Origin::good(), Target::fresh());
    let pool = |round: usize| {
        let rule = format!("group = \"main\"\nresponse_headers = {{ set = {{ X-Round = \"{round}\" }} }}");
        Pool::http("web").listen(&front).backend("a", origin.target()).rule(&rule)
    };
    let appliance = start(&pool(0));
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut client = Client::connect(&front).expect("it is let in");
            for nr in 0..REQUESTS {
                let response = client.exchange(&Request::get("h", &format!("/{nr}"))).expect("an answer");
                assert!(response.status == 200 && response.leaves_open());
            }
        });
        (1..=100).for_each(|round| _ = appliance.apply(&pool(round).to_string()));
        clients.join().expect("the clients do not panic");
    });
    let log = appliance.wait_access_log(REQUESTS);
    appliance.wait_status("all are gone", |status| e2e::pool(status, "web").connections == 0);
    let targets: Vec<_> = log.iter().map(|line| line["target"].as_str().unwrap_or("?").to_owned()).collect();
    let expected: Vec<_> = (0..REQUESTS).map(|nr| format!("/{nr}")).collect();
    assert_eq!(targets, expected);
    let generations: Vec<_> = log.iter().map(|line| line["generation"].as_u64()).collect();
    assert!(generations.is_sorted() && generations.last() > generations.first(), "no change came between requests");
}

/// From its head to its line: the rule that took it, what was added on the way there and on the way back, what the answer says
/// of itself and what the line says are of one generation, whatever changes meanwhile.
#[test]
fn a_line_is_of_the_generation_that_decided_everything() {
    const REQUESTS: usize = 1_000;
    let (origin, front) = (Origin::good(), Target::fresh());
    let pool = |round: u64| {
        let mark = format!("{{ set = {{ X-Round = \"{round}\" }} }}");
        let rule = format!("id = \"{round}\"\ngroup = \"main\"\nrequest_headers = {mark}\nresponse_headers = {mark}");
        Pool::http("web")
            .listen(&front)
            .backend("a", origin.target())
            .keys(".http", "generation_header = true")
            .rule(&rule)
    };
    let appliance = start(&pool(1));
    let answers = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = Client::connect(&front).expect("it is let in");
            let mut ask = || client.exchange(&Request::get("h", "/")).expect("an answer");
            (0..REQUESTS).map(|_| ask()).collect::<Vec<_>>()
        });
        // The first generation is of the first round, and so on.
        (2..=100).for_each(|round| assert_eq!(appliance.apply(&pool(round).to_string()).generation_after, Some(round)));
        client.join().expect("the client does not panic")
    });
    let log = appliance.wait_access_log(REQUESTS);
    for (line, response) in log.iter().zip(&answers) {
        let generation = line["generation"].as_u64().expect("a number");
        let (round, received) = (generation.to_string(), response.received().expect("the account of it"));
        assert_eq!(line["rule"], *round, "{line}");
        assert_eq!(response.fields.first("X-Sluicegate-Generation"), Some(&*format!("web@{round}")), "{line}");
        let marks = [received.fields.first("X-Round"), response.fields.first("X-Round")];
        assert_eq!(marks, [Some(&*round); 2], "{line}");
    }
    assert!(log.first().map(|line| &line["generation"]) != log.last().map(|line| &line["generation"]));
}

/// Status, metrics and console give one account of what was answered and how long it took.
#[test]
fn requests_are_counted_with_their_times() {
    let site = Site::with(Conduct::Good, |pool| pool.rule("path = \"/deny\"\ndeny = 403").rule("group = \"main\""));
    let mut client = site.client();
    for path in ["/1", "/deny", "/2", "/deny", "/3"] {
        client.exchange(&Request::get("h", path)).expect("an answer");
    }
    site.origin.behave(Conduct::Answers { status: 500 });
    assert_eq!(client.exchange(&Request::get("h", "/4")).expect("an answer").status, 500);
    let status = site.appliance.wait_status("all requests are counted", |status| {
        let pool = e2e::pool(status, "web");
        pool.requests.as_ref().is_some_and(|requests| requests.latency.count == 6)
    });
    let (pool, backend) = (e2e::pool(&status, "web"), e2e::backend(&status, "a"));
    let requests = pool.requests.as_ref().expect("a pool of HTTP has requests");
    assert_eq!((requests.ended, requests.answers, requests.retries), (6, [0, 3, 0, 2, 1], 0));
    let sent = backend.requests.as_ref().expect("its backends have some");
    assert_eq!((sent.sent, sent.reused, sent.idle, sent.server_errors), (4, 3, 1, 1));
    for latency in [requests.latency, pool.groups["main"], sent.latency] {
        let recent = latency.recent.expect("it was a moment ago");
        assert!(latency.count >= 4 && recent.p50 > 0 && recent.p50 <= recent.max, "{latency:?}");
    }
    let text = site.appliance.metrics();
    for (name, label, value) in [
        ("sluicegate_pool_requests_ended_total", "reason=\"finished\"", 4.0),
        ("sluicegate_pool_requests_ended_total", "reason=\"denied\"", 2.0),
        ("sluicegate_pool_request_seconds_count", "pool=\"web\"", 6.0),
        ("sluicegate_group_answer_seconds_count", "group=\"main\"", 4.0),
        ("sluicegate_endpoint_answer_seconds_count", "backend=\"a\"", 4.0),
        ("sluicegate_endpoint_server_errors_total", "backend=\"a\"", 1.0),
    ] {
        assert_eq!(e2e::metric(&text, name, &[label]), value, "{name} {label}:\n{text}");
    }
    let shown = site.appliance.ctl(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("web") && shown.contains("request"), "{shown}");
}
