//! What the origin is told: the request said again, without what was meant for us, with what we know of the client.

use crate::Site;
use harness::http::{Conduct, Fields, Received, Request};

/// What reached the origin of this request.
#[track_caller]
fn received(site: &Site, request: &Request) -> Received {
    let response = site.ask(request);
    assert_eq!(response.status, 200, "{request:?}");
    response.received().unwrap_or_else(|failure| panic!("{request:?}: {failure}"))
}

#[test]
fn a_target_arrives_in_the_form_that_origins_expect() {
    let site = Site::good();
    let check = |method: &str, host: &str, target: &str, expected_host: &str, expected: &str| {
        let received = received(&site, &Request::new(method, host, target));
        assert_eq!((&*received.method, &*received.target), (method, expected));
        assert_eq!(received.fields.all("Host").collect::<Vec<_>>(), [expected_host]);
    };
    check("GET", "h", "/a/b?c=d&e", "h", "/a/b?c=d&e");
    check("GET", "h:81", "/%7Euser/%20;x=1?", "h:81", "/%7Euser/%20;x=1?");
    // Absolute: its host counts, whatever `Host` says (RFC 9112, section 3.2.2).
    check("GET", "other", "http://example.com/x?y", "example.com", "/x?y");
    check("GET", "other", "http://example.com:8080", "example.com:8080", "/");
    check("OPTIONS", "h", "*", "h", "*");
    check("OPTIONS", "other", "http://example.com", "example.com", "*");
    check("PROPFIND", "h", "/dav", "h", "/dav");
}

#[test]
fn what_is_meant_for_us_goes_no_further() {
    let site = Site::of(Conduct::Adds(Fields::of(&[
        ("Connection", "X-Internal, keep-alive"),
        ("X-Internal", "secret"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("X-Public", "for all"),
        ("Server", "origin/1"),
    ])));
    let request = Request::get("h", "/")
        .field("Connection", "X-Hop, TE, keep-alive")
        .field("X-Hop", "secret")
        .field("TE", "gzip")
        .field("Keep-Alive", "timeout=5")
        .field("Proxy-Connection", "keep-alive")
        .field("X-End", "to end")
        .field("X-End", "again");
    let response = site.ask(&request);
    let received = response.received().expect("the account of it");
    for name in ["Connection", "X-Hop", "TE", "Keep-Alive", "Proxy-Connection"] {
        assert!(!received.fields.has(name), "the origin got {name}: {}", received.head);
    }
    assert_eq!(received.fields.all("X-End").collect::<Vec<_>>(), ["to end", "again"]);
    for name in ["X-Internal", "Keep-Alive", "Proxy-Connection"] {
        assert!(!response.fields.has(name), "the client got {name}: {:?}", response.fields);
    }
    assert_eq!(response.fields.first("X-Public"), Some("for all"));
    assert_eq!(response.fields.first("Server"), Some("origin/1"));
}

/// A client cannot have a field removed that routes or frames its request.
#[test]
fn what_a_client_nominates_cannot_take_away_what_matters() {
    let site = Site::good();
    let request = Request::get("h", "/").field("Connection", "Host, X-Forwarded-For, X-Forwarded-Proto");
    let received = received(&site, &request);
    assert_eq!(received.fields.first("Host"), Some("h"));
    assert_eq!(received.fields.first("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(received.fields.first("X-Forwarded-Proto"), Some("http"));
}

#[test]
fn x_forwarded_says_what_the_operator_wants() {
    let site = Site::good();
    let request = || {
        Request::get("h:80", "/")
            .field("X-Forwarded-For", "192.0.2.1")
            .field("X-Forwarded-Proto", "https")
            .field("X-Forwarded-Host", "first")
    };
    let names = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"];
    let mut client = site.client();
    for (mode, expected) in [
        ("append", [Some("192.0.2.1, 127.0.0.1"), Some("https"), Some("first")]),
        ("replace", [Some("127.0.0.1"), Some("http"), Some("h:80")]),
        ("remove", [None, None, None]),
        ("pass", [Some("192.0.2.1"), Some("https"), Some("first")]),
    ] {
        site.appliance.apply(&site.pool().keys(".http", &format!("x_forwarded = {mode:?}")).to_string());
        let received = client.exchange(&request()).expect("an answer").received().expect("the account of it");
        let found = names.map(|name| received.fields.all(name).collect::<Vec<_>>());
        assert_eq!(found, expected.map(Vec::from_iter), "{mode}");
    }
}

#[test]
fn forwarded_and_via_and_the_request_id_likewise() {
    let site = Site::with(Conduct::Adds(Fields::of(&[("Via", "1.0 inner")])), |pool| {
        pool.keys(".http", "forwarded = \"append\"\nvia = \"edge-1\"\nrequest_id = true")
    });
    let request = Request::get("h:80", "/").field("Forwarded", "for=192.0.2.1").field("Via", "1.0 outer");
    let request = request.field("X-Request-Id", "mine");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let response = site.ask(&request);
        let received = response.received().expect("the account of it");
        let forwarded = received.fields.first("Forwarded");
        assert_eq!(forwarded, Some("for=192.0.2.1, for=127.0.0.1;host=\"h:80\";proto=http"));
        assert_eq!(received.fields.all("Via").collect::<Vec<_>>(), ["1.0 outer, 1.1 edge-1"]);
        assert_eq!(response.fields.all("Via").collect::<Vec<_>>(), ["1.0 inner, 1.1 edge-1"]);
        ids.extend(received.fields.all("X-Request-Id").map(str::to_owned));
    }
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().all(|id| id != "mine" && id.len() >= 16), "{ids:?}");
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    let mut logged: Vec<String> =
        site.appliance.wait_access_log(3).iter().map(|line| line["request_id"].as_str().unwrap_or("").into()).collect();
    logged.sort();
    ids.sort();
    assert_eq!(logged, ids);

    // Unless told, the client's own goes on, and nothing is said of us.
    let site = Site::good();
    let received = received(&site, &request);
    assert_eq!(received.fields.first("X-Request-Id"), Some("mine"));
    assert_eq!(received.fields.first("Via"), Some("1.0 outer"));
    assert_eq!(received.fields.first("Forwarded"), None);
}

/// Many fields, long values, bytes that are no ASCII: they arrive in their order, byte by byte.
#[test]
fn fields_arrive_as_they_were() {
    let site = Site::good();
    let mut request = Request::get("h", "/");
    for nr in 0..80 {
        request = request.field(&format!("x-FIELD-{}", nr / 2), format!("{nr} \u{e9}\u{ff}\t{}.", "v".repeat(nr)));
    }
    let fields =
        |fields: &Fields| fields.0.iter().filter(|(name, _)| name.starts_with("x-FIELD")).cloned().collect::<Vec<_>>();
    assert_eq!(fields(&received(&site, &request).fields), fields(&request.fields));
}
