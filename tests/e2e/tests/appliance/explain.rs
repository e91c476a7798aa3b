//! `sluicectl explain` tells beforehand what then happens: the same request, described and sent.

use harness::appliance::{Appliance, Launch};
use harness::http::{Client, Origin, Request};
use harness::net::Target;
use serde_json::Value;

/// Pool and rules; the line on which `users` begins is counted by the test.
fn pools(front: &Target, origin: &Target) -> String {
    format!(
        r#"
[pool.web.create]
service = "http"
listen = ["{front}"]

[pool.web.http]
generation_header = true

[[pool.web.rule]]
id = "local"
path_prefix = "/internal"
not = {{ source = "127.0.0.2" }}
deny = 403

[[pool.web.rule]]
id = "writes"
path_prefix = "/api"
method = ["POST"]
header = {{ X-Tenant = "a" }}
group = "app"

[[pool.web.rule]]
id = "users"
path_template = "/api/users/{{id}}"
group = "app"
rewrite = {{ to = "/v2/users/{{id}}", host = "api.internal" }}
request_headers = {{ set = {{ X-User = "{{id}}" }} }}

[[pool.web.rule]]
id = "old"
host = "old.example.com"
redirect = {{ to = "https://example.com{{uri}}", status = 301 }}

[[pool.web.group.app.backend]]
id = "a"
address = "{origin}"
max_connections = 50
"#
    )
}

struct Site {
    origin: Origin,
    front: Target,
    appliance: Appliance,
}

impl Site {
    fn start() -> Site {
        let (origin, front) = (Origin::good(), Target::fresh());
        let appliance = Launch::new(&pools(&front, origin.target())).start();
        Site { origin, front, appliance }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.front)
    }

    fn said(&self, code: i32, arguments: &[&str]) -> String {
        let done = self.appliance.ctl(&[&["explain"][..], arguments].concat());
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.and_then(|status| status.code()), Some(code), "{arguments:?}: {text}");
        text
    }

    fn explanation(&self, arguments: &[&str]) -> Value {
        let text = self.said(0, &[arguments, &["--json"]].concat());
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        answer["result"].clone()
    }
}

#[test]
fn what_is_explained_is_what_happens() {
    let site = Site::start();
    let url = site.url("/api/./users/7?all");
    let told = site.explanation(&["GET", &url, "-H", "Host: example.com", "-H", "X-Tenant: a", "--from", "127.0.0.1"]);
    assert_eq!((&told["pool"], &told["normal_path"]), (&"web".into(), &"/api/users/7".into()), "{told}");
    assert_eq!((&told["asked"][0]["rule"], &told["asked"][0]["fails"]), (&"writes".into(), &"method POST".into()));
    assert_eq!(told["asked"][1]["rule"], "users", "{told}");
    assert_eq!(told["asked"][1].get("fails"), None, "{told}");
    let decision = &told["decision"];
    assert_eq!((&decision["action"], &decision["group"]), (&"group".into(), &"app".into()), "{told}");
    assert_eq!(decision["backends"][0]["standing"], "asked", "{told}");

    let mut client = Client::connect(&site.front).expect("it listens");
    let request = Request::get("example.com", "/api/./users/7?all").field("X-Tenant", "a");
    let response = client.exchange(&request).unwrap_or_else(|failure| panic!("{failure:?}"));
    let received = response.received().unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(decision["sent"]["target"], received.target.as_str(), "{told}");
    assert_eq!(decision["sent"]["host"], received.fields.first("Host").expect("a host"), "{told}");
    let edit = &decision["sent"]["headers"][0];
    assert_eq!((&edit["edit"], &edit["name"]), (&"set".into(), &"X-User".into()), "{told}");
    assert_eq!(edit["value"], received.fields.first("X-User").expect("it was set"), "{told}");
    let generation = format!("web@{}", told["generation"]);
    assert_eq!(response.fields.first("X-Sluicegate-Generation"), Some(generation.as_str()));

    let place = &told["asked"][1]["place"];
    let file = std::fs::read_to_string(place["file"].as_str().expect("a file")).expect("it is there");
    let line = place["line"].as_u64().expect("a line") as usize;
    let lines: Vec<&str> = file.lines().skip(line - 1).take(2).collect();
    assert_eq!(lines, ["[[pool.web.rule]]", "id = \"users\""], "{place}");
}

#[test]
fn answers_of_our_own_and_refusals_too() {
    let site = Site::start();
    let check = |path: &str, host: &str, arguments: &[&str], expected: u16| {
        let url = site.url(path);
        let told = site.explanation(&[&[url.as_str(), "--host", host][..], arguments].concat());
        assert_eq!(told["decision"]["status"], expected, "{told}");
        let mut client = Client::connect(&site.front).expect("it listens");
        let response = client.exchange(&Request::get(host, path)).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(response.status, expected, "{path} of {host}");
        told["decision"].clone()
    };
    let old = check("/x?y", "old.example.com", &[], 301);
    assert_eq!((&old["action"], &old["location"]), (&"redirect".into(), &"https://example.com/x?y".into()));
    assert_eq!(check("/internal/x", "example.com", &["--from", "127.0.0.1"], 403)["action"], "deny");
    assert_eq!(check("/nowhere", "example.com", &[], 404)["action"], "no_rule");
    assert_eq!(check("/a/%2e%2e/%2e%2e/b", "example.com", &[], 400)["reason"], "path-above-root");
    assert_eq!(site.origin.seen().requests, 0, "nothing of it reached the origin");
}

#[test]
fn people_see_the_way_and_mistakes_say_what_would_be_right() {
    let site = Site::start();
    let text = site.said(0, &["/api/users/7", "--pool", "web", "--host", "h"]);
    for word in ["web@1", "writes", "fails method POST", "users", "matches", "/v2/users/7", "api.internal", "max 50"] {
        assert!(text.contains(word), "no word of {word:?}:\n{text}");
    }
    let nowhere = site.said(1, &["http://127.0.0.1:1/"]);
    assert!(nowhere.contains("`web`") && nowhere.contains(&site.front.to_string()), "{nowhere}");
    assert!(site.said(1, &["ftp://a/"]).contains("http://example.com/"));
    site.said(2, &["GET", "http://a/", "-H", "no colon"]);
}
