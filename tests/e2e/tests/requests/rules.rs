//! Rules: which one takes a request, and what becomes of it.

use crate::{Site, start};
use e2e::Pool;
use harness::http::client::After;
use harness::http::{Client, Conduct, Fields, Origin, Request};
use harness::net::Target;

/// A pool of rules that answer with their names, asked by the function that is returned.
fn named_rules(rules: &[(&str, &str)], other_tables: &str) -> (harness::appliance::Appliance, Target) {
    let front = Target::fresh();
    let pool = rules.iter().fold(Pool::http("web").listen(&front), |pool, (name, keys)| {
        pool.rule(&format!("id = {name:?}\n{keys}\nrespond = {name:?}"))
    });
    let launch = harness::appliance::Launch::new(&pool.to_string()).shards(1).other_tables(other_tables);
    (launch.start(), front)
}

/// The rule that takes this request; `-`: none.
#[track_caller]
fn taken(client: &mut Client, request: &Request) -> String {
    let response = client.exchange(request).unwrap_or_else(|failure| panic!("{request:?}: {failure}"));
    assert_eq!(response.after, After::Open);
    match response.status {
        200 => response.text().to_owned(),
        404 => "-".to_owned(),
        other => panic!("{request:?} was answered with {other}"),
    }
}

#[test]
fn each_condition_takes_what_it_says_and_nothing_else() {
    let rules = [
        ("host", "host = \"exact.test\""),
        ("wildcard", "host = \"*.wild.test\""),
        ("hosts", "host = [\"one.test\", \"two.test\"]"),
        ("exact", "path = \"/exact\""),
        ("prefix", "path_prefix = \"/prefix\""),
        ("template", "path_template = \"/users/{id}/posts\""),
        ("rest", "path_template = \"/files/{rest*}\""),
        ("regex", "path_regex = \"^/v[0-9]+/\""),
        ("method", "method = [\"PURGE\", \"BAN\"]"),
        ("header", "header = { X-Kind = \"a\" }"),
        ("one-of", "header = { X-Kind = [\"b\", \"c\"] }"),
        ("there", "header = { X-There = true }"),
        ("begins", "header = { X-Begins = { prefix = \"abc\" } }"),
        ("matches", "header = { X-Matches = { regex = \"^[0-9]+$\" } }"),
        ("query", "query = { q = \"1\" }"),
        ("asked", "query = { asked = true }"),
        ("source", "source = \"127.1.0.0/16\""),
        ("list", "source = \"inner\""),
        ("both", "path_prefix = \"/both\"\nmethod = \"GET\"\nheader = { X-Both = \"yes\" }"),
        ("all", "all = [{ path_prefix = \"/all\" }, { query = { x = \"1\" } }]"),
        ("any", "any = [{ path = \"/any\" }, { host = \"any.test\" }]"),
        ("not", "path_prefix = \"/not\"\nnot = { method = \"GET\" }"),
        ("absent", "path = \"/absent\"\nheader = { X-Absent = false }"),
    ];
    let (_appliance, front) = named_rules(&rules, "[list.inner]\nentries = [\"127.2.0.1\", \"127.3.0.0/24\"]");
    let mut client = Client::connect(&front).expect("it is let in");
    let get = |host: &str, path: &str| Request::get(host, path);
    let with = |name: &str, value: &str| Request::get("h", "/").field(name, value);
    for (request, expected) in [
        (get("exact.test", "/"), "host"),
        (get("EXACT.test:8080", "/"), "host"),
        (get("other.test", "/"), "-"),
        (get("a.wild.test", "/"), "wildcard"),
        (get("wild.test", "/"), "-"),
        (get("two.test", "/"), "hosts"),
        (get("h", "/exact"), "exact"),
        (get("h", "/%65xact"), "exact"),
        (get("h", "//exact?q"), "exact"),
        (get("h", "/x/../exact"), "exact"),
        (get("h", "/exact/"), "-"),
        (get("h", "/prefix"), "prefix"),
        (get("h", "/prefix/below"), "prefix"),
        (get("h", "/prefixed"), "-"),
        (get("h", "/users/7/posts"), "template"),
        (get("h", "/users/7/8/posts"), "-"),
        (get("h", "/files/a/b/c"), "rest"),
        (get("h", "/v12/x"), "regex"),
        (get("h", "/x/v1/"), "-"),
        (Request::new("BAN", "h", "/"), "method"),
        (Request::new("ban", "h", "/"), "-"),
        (with("x-kind", "a"), "header"),
        (with("X-Kind", "c"), "one-of"),
        (with("X-Kind", "A"), "-"),
        (with("X-There", ""), "there"),
        (with("X-Begins", "abcdef"), "begins"),
        (with("X-Begins", "ab"), "-"),
        (with("X-Matches", "42"), "matches"),
        (with("X-Matches", "42x"), "-"),
        (get("h", "/?a=b&q=1"), "query"),
        (get("h", "/?q=2"), "-"),
        (get("h", "/?asked"), "asked"),
        (get("h", "/both").field("X-Both", "yes"), "both"),
        (get("h", "/both"), "-"),
        (get("h", "/all/x?x=1"), "all"),
        (get("h", "/all/x?x=2"), "-"),
        (get("any.test", "/"), "any"),
        (get("h", "/any"), "any"),
        (Request::new("PUT", "h", "/not/x"), "not"),
        (get("h", "/not/x"), "-"),
        (get("h", "/absent"), "absent"),
        (get("h", "/absent").field("X-Absent", "1"), "-"),
    ] {
        assert_eq!(taken(&mut client, &request), expected, "{} {:?}", request.target, request.fields);
    }
    for (source, expected) in
        [("127.1.2.3", "source"), ("127.2.0.1", "list"), ("127.3.0.9", "list"), ("127.2.0.2", "-")]
    {
        let source = source.parse().expect("an address");
        let mut client = Client::connect_from(source, &front).expect("it is let in");
        assert_eq!(taken(&mut client, &get("h", "/")), expected, "{source}");
    }
}

#[test]
fn the_first_rule_that_holds_decides_and_the_operator_says_which_is_first() {
    let rules = [
        ("late", "order = 50\npath_prefix = \"/a\""),
        ("wide", "order = 20\npath_prefix = \"/a/b\""),
        ("early", "order = 10\npath = \"/a/b/c\""),
    ];
    let (_appliance, front) = named_rules(&rules, "");
    let mut client = Client::connect(&front).expect("it is let in");
    for (path, expected) in [("/a/b/c", "early"), ("/a/b/d", "wide"), ("/a/x", "late"), ("/b", "-")] {
        assert_eq!(taken(&mut client, &Request::get("h", path)), expected, "{path}");
    }
}

#[test]
fn rules_lead_to_groups() {
    let (main, api) = (Origin::named("main", Conduct::Good), Origin::named("api", Conduct::Good));
    let front = Target::fresh();
    let pool = Pool::http("web")
        .listen(&front)
        .backend("m", main.target())
        .group("api", api.target())
        .rule("id = \"to-api\"\npath_prefix = \"/api\"\ngroup = \"api\"")
        .rule("id = \"to-main\"\nhost = \"main.test\"\ngroup = \"main\"");
    let appliance = start(&pool);
    let mut client = Client::connect(&front).expect("it is let in");
    for (host, path, origin, rule) in [
        ("h", "/api/x", "api", "to-api"),
        ("main.test", "/api", "api", "to-api"),
        ("main.test", "/", "main", "to-main"),
    ] {
        let response = client.exchange(&Request::get(host, path)).expect("an answer");
        assert_eq!(response.received().expect("the account of it").origin, origin, "{host} {path}");
        let log = appliance.wait_access_log(main.requests().len() + api.requests().len());
        let line = log.last().expect("there is one");
        assert_eq!((&line["rule"], &line["group"]), (&rule.into(), &origin.into()), "{line}");
    }
    let response = client.exchange(&Request::get("h", "/")).expect("an answer");
    assert!(response.status == 404 && response.leaves_open(), "{response:?}");
    assert_eq!(e2e::reasons(&appliance.wait_access_log(4)), ["finished", "finished", "finished", "no-rule"]);
}

#[test]
fn redirects_answers_and_refusals_are_ours() {
    let site = Site::with(Conduct::Good, |pool| {
        pool.rule("path = \"/301\"\nredirect = { to = \"https://{host}{uri}\", status = 301 }")
            .rule("path_template = \"/go/{to}/{rest*}\"\nredirect = \"/there/{to}?from={rest}\"")
            .rule("path = \"/text\"\nrespond = \"hello\"")
            .rule("path = \"/json\"\nrespond = { status = 201, body = \"{}\", content_type = \"application/json\" }")
            .rule("path = \"/204\"\nrespond = { status = 204, body = \"\" }")
            .rule("path = \"/deny\"\ndeny = 451")
    });
    let mut client = site.client();
    let mut ask = |method: &str, path: &str| {
        client.exchange(&Request::new(method, "h:81", path)).unwrap_or_else(|failure| panic!("{path}: {failure}"))
    };
    let response = ask("GET", "/301?x=y");
    assert_eq!((response.status, response.fields.first("Location")), (301, Some("https://h:81/301?x=y")));
    let response = ask("GET", "/go/a/b/c");
    assert!((300..400).contains(&response.status), "{response:?}");
    assert_eq!(response.fields.first("Location"), Some("/there/a?from=b/c"));
    let response = ask("GET", "/text");
    assert_eq!((response.status, response.text()), (200, "hello"));
    let response = ask("HEAD", "/text");
    assert_eq!((response.status, response.fields.first("Content-Length")), (200, Some("5")));
    let response = ask("GET", "/json");
    assert_eq!((response.status, response.text()), (201, "{}"));
    assert_eq!(response.fields.first("Content-Type"), Some("application/json"));
    assert_eq!(ask("GET", "/204").status, 204);
    let response = ask("GET", "/deny");
    assert_eq!((response.status, response.after), (451, After::Open));
    assert_eq!(site.origin.seen().accepted, 0);
    let mut reasons = vec!["finished"; 6];
    reasons.insert(0, "denied");
    assert_eq!(e2e::reasons(&site.appliance.wait_access_log(7)), reasons);
}

#[test]
fn what_the_origin_is_asked_for_can_be_rewritten() {
    let site = Site::with(Conduct::Good, |pool| {
        pool.rule("path_prefix = \"/strip\"\ngroup = \"main\"\nrewrite = { strip_prefix = \"/strip\" }")
            .rule("path_prefix = \"/api\"\ngroup = \"main\"\nrewrite = { prefix = \"/api\", to = \"/v2\" }")
            .rule("path_regex = \"^/u/\"\ngroup = \"main\"\nrewrite = { regex = \"^/u/([^/]+)/(.*)$\", to = \"/{2}/of/{1}\" }")
            .rule("path_template = \"/t/{id}\"\ngroup = \"main\"\nrewrite = \"/item/{id}\"")
            .rule("path = \"/host\"\ngroup = \"main\"\nrewrite = { host = \"inner.test\" }")
    });
    let mut client = site.client();
    for (path, expected, host) in [
        ("/strip/a/b?c=d", "/a/b?c=d", "h"),
        ("/strip", "/", "h"),
        ("/api/x", "/v2/x", "h"),
        ("/u/me/a/b?q", "/a/b/of/me?q", "h"),
        ("/t/7", "/item/7", "h"),
        ("/host?x", "/host?x", "inner.test"),
    ] {
        let response = client.exchange(&Request::get("h", path)).expect("an answer");
        let received = response.received().expect("the account of it");
        assert_eq!((&*received.target, received.fields.first("Host")), (expected, Some(host)), "{path}");
    }
}

#[test]
fn heads_can_be_edited_both_ways() {
    let conduct = Conduct::Adds(Fields::of(&[("Server", "secret/1"), ("X-Set", "origin"), ("X-Add", "origin")]));
    let site = Site::with(conduct, |pool| {
        pool.rule(
            "path_template = \"/{first}\"\ngroup = \"main\"\n\
             request_headers = { set = { X-Set = \"{method} {first} {client_ip}\" }, add = { X-Add = \"ours\" }, remove = [\"X-Gone\", \"X-Forwarded-For\"] }\n\
             response_headers = { set = { X-Set = \"{host}{path}\" }, add = { X-Add = \"ours\" }, remove = [\"Server\"] }",
        )
        .rule("path = \"/own/text\"\nrespond = \"text\"\nresponse_headers = { set = { X-Own = \"yes\" } }")
    });
    let request = Request::get("h", "/a")
        .field("X-Set", "client")
        .field("X-Add", "client")
        .field("X-Gone", "1")
        .field("x-gone", "2");
    let response = site.ask(&request);
    let received = response.received().expect("the account of it");
    let all = |fields: &Fields, name: &str| fields.all(name).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(all(&received.fields, "X-Set"), ["GET a 127.0.0.1"]);
    assert_eq!(all(&received.fields, "X-Add"), ["client", "ours"]);
    assert!(!received.fields.has("X-Gone") && !received.fields.has("X-Forwarded-For"), "{}", received.head);
    assert_eq!(all(&response.fields, "X-Set"), ["h/a"]);
    assert_eq!(all(&response.fields, "X-Add"), ["origin", "ours"]);
    assert!(!response.fields.has("Server"));
    assert_eq!(site.get("/own/text").fields.first("X-Own"), Some("yes"));
}

/// What a client writes becomes part of a head without ever ending its line.
#[test]
fn what_clients_write_cannot_break_out_of_a_field() {
    let site = Site::with(Conduct::Good, |pool| {
        pool.rule(
            "path_template = \"/go/{to}\"\nredirect = \"/{to}\"\nresponse_headers = { set = { X-To = \"{to}\" } }",
        )
        .rule("path_template = \"/set/{to}\"\ngroup = \"main\"\nrequest_headers = { set = { X-To = \"{to}\" } }")
    });
    let response = site.get("/go/a%20b%22");
    assert_eq!(
        (response.fields.first("Location"), response.fields.first("X-To")),
        (Some("/a%20b%22"), Some("a%20b%22"))
    );
    let received = site.get("/set/a%20b%22").received().expect("the account of it");
    assert_eq!(received.fields.first("X-To"), Some("a%20b%22"));
    for path in ["/go/a%0d%0aSet-Cookie:%20x", "/set/a%0d%0aX:%20y"] {
        assert_eq!(site.get(path).status, 400, "{path}");
    }
    assert_eq!(site.origin.seen().requests, 1);
}

#[test]
fn statuses_have_the_operators_pages() {
    let site = Site::with(Conduct::Refuses, |pool| {
        pool.rule("path_prefix = \"/deny\"\ndeny = 403")
            .rule("path_prefix = \"/app\"\ngroup = \"main\"")
            .page("status = [403, 404]\nbody = \"<p>nothing here\"\ncontent_type = \"text/html\"")
            .page("status = \"500-599\"\nbody = \"later\"")
    });
    let mut client = site.client();
    for (path, status, text, kind) in [
        ("/deny", 403, "<p>nothing here", "text/html"),
        ("/none", 404, "<p>nothing here", "text/html"),
        ("/app", 502, "later", "text/plain; charset=utf-8"),
    ] {
        let response = client.exchange(&Request::get("h", path)).expect("an answer");
        assert_eq!(
            (response.status, response.text(), response.fields.first("Content-Type")),
            (status, text, Some(kind))
        );
        assert!(response.leaves_open());
    }
    // Those of the origin are the origin's.
    let site = Site::with(Conduct::Answers { status: 404 }, |pool| pool.page("status = 404\nbody = \"ours\""));
    site.get("/").received().expect("the origin's own text");
}

/// A thousand hosts: each meets its own rule.
#[test]
fn many_rules_do_not_get_into_each_others_way() {
    let front = Target::fresh();
    let pool = (0..1_000).fold(Pool::http("web").listen(&front), |pool, nr| {
        pool.rule(&format!("host = \"h{nr}.test\"\nrespond = \"{nr}\""))
    });
    let _appliance = start(&pool);
    let mut client = Client::connect(&front).expect("it is let in");
    for nr in (0..1_000).step_by(7) {
        assert_eq!(taken(&mut client, &Request::get(&format!("h{nr}.test"), "/")), nr.to_string());
    }
}
