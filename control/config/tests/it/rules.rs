//! Documents with rules, from text to the request that meets them.

use crate::appliance::Appliance;
use crate::documents::check;
use crate::{config, parse_text};
use config::{Colour, Config};
use policy::PoolId;
use policy::generation::{PoolGeneration, Service};
use policy::http::{Action, EscapedSlash, GroupIx, HttpService, Pairs, Request, Rule, Scratch, normalise};
use std::sync::Arc;

/// What an operator would write, with one of each.
const SITE: &str = r#"
[list.office]
entries = ["192.0.2.0/24", "2001:db8::/32"]

[pool.web.create]
service = "http"
listen = ["127.0.0.1:8080"]

[[pool.web.rule]]
host = "old.example.com"
redirect = { to = "https://example.com{uri}", status = 301 }

[[pool.web.rule]]
path_prefix = "/admin"
not = { source = "office" }
deny = 403

[[pool.web.rule]]
path = "/ping"
respond = "pong"

[[pool.web.rule]]
id = "users"
path_template = "/users/{id}"
method = ["GET", "HEAD"]
group = "app"
rewrite = "/v2/users/{id}"
request_headers = { set = { X-User = "{id}" }, remove = ["Cookie"] }
response_headers = { add = { Vary = "Accept" }, set = { Server = "edge" } }

[[pool.web.rule]]
any = [{ header = { Upgrade = "websocket" } }, { path_regex = '^/ws[0-9]+$' }, { query = { live = true } }]
group = "app"

[[pool.web.rule]]
path_prefix = "/api"
group = "api"
rewrite = { strip_prefix = "/api", host = "api.internal" }

[[pool.web.rule]]
group = "app"

[[pool.web.page]]
status = [404, "500-504"]
body = "<h1>sorry</h1>"
content_type = "text/html; charset=utf-8"

[pool.web.group.api]
balance = "peak-ewma"
backend = [{ address = "127.0.0.1:9001" }]

[pool.web.group.app]
backend = [{ address = "127.0.0.1:9002" }]
"#;

fn generation(appliance: &Appliance) -> Arc<PoolGeneration> {
    appliance.running.pools[&PoolId::new("web")].generation.clone()
}

fn service(generation: &PoolGeneration) -> &Arc<HttpService> {
    match &generation.service {
        Service::Http(service) => service,
        Service::Tcp => panic!("this pool is of HTTP"),
    }
}

/// The rule that `GET http://host/path` from `source` meets, with one header.
fn routed<'g>(generation: &'g PoolGeneration, host: &str, path: &str, source: &str) -> Option<&'g Arc<Rule>> {
    let rules = &service(generation).rules;
    let mut buffer = Vec::new();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.as_bytes())));
    let request = Request {
        method: b"GET",
        host: host.as_bytes(),
        path: normalise(path.as_bytes(), EscapedSlash::Keep, &mut buffer).expect("a path in order"),
        query,
        headers: &Pairs(&[(b"Accept", b"*/*")]),
        source: Some(source.parse().expect("an address")),
    };
    rules.route(&request, &mut Scratch::new()).map(|route| rules.rule(route))
}

#[test]
fn a_site_compiles_and_requests_meet_its_rules() {
    let config = config(SITE);
    let generation = generation(&Appliance::started(&config));
    let groups: Vec<&str> = generation.groups.iter().map(|group| &*group.id).collect();
    assert_eq!(groups, ["api", "app"]);
    let check = |host: &str, path: &str, source: &str, expected: &str| {
        let rule = routed(&generation, host, path, source).expect("the last rule takes everything");
        assert_eq!(&*rule.id, expected, "{host}{path} from {source}");
        rule.action.told()
    };
    assert_eq!(check("old.example.com", "/x", "10.0.0.1", "old.example.com/*"), "redirect 301");
    let denied = rule_called(&config, "/admin/*#");
    assert_eq!(check("example.com", "/admin/x", "10.0.0.1", &denied), "deny 403");
    assert_eq!(check("example.com", "/admin/x", "192.0.2.9", "/*"), "group 1");
    assert_eq!(check("example.com", "/ping", "10.0.0.1", "/ping"), "respond 200 pong");
    assert_eq!(check("example.com", "/users/7", "10.0.0.1", "users"), "group 1");
    let live = rule_called(&config, "/*#");
    assert_eq!(check("example.com", "/ws12", "10.0.0.1", &live), "group 1");
    assert_eq!(check("example.com", "/x?live=", "10.0.0.1", &live), "group 1");
    assert_eq!(check("example.com", "/api/x", "10.0.0.1", "/api/*"), "group 0");
    assert_eq!(check("example.com", "/x", "10.0.0.1", "/*"), "group 1");
    let users = routed(&generation, "example.com", "/users/7", "10.0.0.1").unwrap();
    assert!(users.edits_request() && users.edits_response());
    let pages = &service(&generation).pages;
    assert_eq!(&*pages.find(404).unwrap().body, b"<h1>sorry</h1>");
    assert_eq!(pages.find(502), pages.find(404));
    assert_eq!(pages.find(505), None);
}

/// The id that begins so and goes on with what nobody can guess.
fn rule_called(config: &Config, begins: &str) -> String {
    let rules = &config.pools[&PoolId::new("web")].http.as_ref().unwrap().rules;
    let found: Vec<&str> = rules.iter().map(|rule| &*rule.id).filter(|id| id.starts_with(begins)).collect();
    assert_eq!(found.len(), 1, "{begins}: {found:?}");
    found[0].to_string()
}

/// What a rule does, in words.
trait Told {
    fn told(&self) -> String;
}

impl Told for Action {
    fn told(&self) -> String {
        match self {
            Action::Group(GroupIx(ix)) => format!("group {ix}"),
            Action::Redirect { status, .. } => format!("redirect {status}"),
            Action::Respond { status, body, .. } => format!("respond {status} {}", String::from_utf8_lossy(body)),
            Action::Deny { status } => format!("deny {status}"),
        }
    }
}

#[test]
fn a_site_is_written_as_it_was_meant() {
    let config = config(SITE);
    let written = config.to_toml();
    let again = parse_text(&written).unwrap_or_else(|problems| panic!("{}", problems.draw(Colour::Plain)));
    assert_eq!(again.config.hash(), config.hash(), "{written}");
    assert_eq!(again.config.to_toml(), written);
    assert_eq!(again.config.to_json(), config.to_json());
    // Two lines stay two lines.
    assert!(written.contains("[[pool.web.rule]]\npath = \"/ping\"\nrespond = \"pong\"\n"), "{written}");
}

/// A pool with two groups and these rules.
fn pool(rules: &str) -> String {
    let create = "[pool.web.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:8080\"]\n";
    let group = |id: &str| format!("[pool.web.group.{id}]\nbackend = [{{ address = \"{id}:1\" }}]\n");
    format!("{create}{}{}{rules}", group("api"), group("app"))
}

/// One rule of these lines, before one that leads to both groups' rest.
fn rule(lines: &str, expected: &[&str]) {
    let rest = "[[pool.web.rule]]\nid = \"a\"\npath = \"/a-path\"\ngroup = \"api\"\n[[pool.web.rule]]\nid = \"rest\"\ngroup = \"app\"\n";
    check(&pool(&format!("[[pool.web.rule]]\n{lines}\n{rest}")), expected);
}

#[test]
fn conditions_and_actions_in_many_forms() {
    for lines in [
        "path = '/x'\ngroup = 'api'",
        "path = ['/x', '/y']\ngroup = 'api'",
        "host = ['a.test', '*.b.test']\ndeny = 403",
        "path_template = '/files/{rest*}'\nredirect = '/{rest}'",
        "path_regex = '^/v([0-9]+)/'\nredirect = { to = '/{1}', status = 308 }",
        "header = { X-A = true, 'x.b' = false, X-C = ['1', '2'], X-D = { prefix = 'q' }, X-E = { regex = 'w$' } }\ndeny = 400",
        "query = { a = '1' }\nrespond = { status = 404, body = 'no', content_type = 'text/html' }",
        "source = ['10.0.0.0/8', '::1']\ndeny = 403",
        "method = 'GET'\nall = [{ path_prefix = '/a' }, { not = { host = 'x.test' } }]\ngroup = 'app'",
        "any = [{ path = '/a' }, { all = [{ path = '/b' }, { method = ['POST'] }] }]\ngroup = 'app'",
        "path = '/x'\ngroup = 'api'\nrewrite = { regex = '^/x(.*)', to = '/y{1}' }",
        "order = 5\npath = '/x'\nrespond = ''",
    ] {
        rule(lines, &[]);
    }
}

#[test]
fn what_is_wrong_with_a_rule_is_told_at_its_place() {
    let at = |code: &str, part: &str| format!("{code} pool.web.rule[0]{part}");
    for (lines, code, part) in [
        ("path = '/x'", "missing", ""),
        ("path = '/x'\ngroup = 'api'\ndeny = 403", "clash", ".deny"),
        ("path = '/x'\ngroup = 'apo'", "not_found", ".group"),
        ("path = '/x'\ngroup = 'A B'", "bad_value", ".group"),
        ("path = 'x'\ngroup = 'api'", "bad_value", ".path"),
        ("path = ['/x', 'y']\ngroup = 'api'", "bad_value", ".path[1]"),
        ("path = []\ngroup = 'api'", "bad_value", ".path"),
        ("path = 7\ngroup = 'api'", "wrong_type", ".path"),
        ("path = ['/x', 7]\ngroup = 'api'", "wrong_type", ".path[1]"),
        ("host = 'a b'\ngroup = 'api'", "bad_value", ".host"),
        ("host = 'a.test:80'\ngroup = 'api'", "bad_value", ".host"),
        ("path_template = '/a{b}'\ngroup = 'api'", "bad_value", ".path_template"),
        ("path_regex = '('\ngroup = 'api'", "bad_value", ".path_regex"),
        ("method = 'G T'\ngroup = 'api'", "bad_value", ".method"),
        ("header = { 'x y' = true }\ngroup = 'api'", "bad_value", ".header.\"x y\""),
        ("header = { X-A = { regex = '(' } }\ngroup = 'api'", "bad_value", ".header.x-a"),
        ("header = { X-A = true, x-a = '1' }\ngroup = 'api'", "duplicate", ".header.x-a"),
        ("header = { X-A = { suffix = 'x' } }\ngroup = 'api'", "unknown_key", ".header.X-A"),
        ("source = '10.0.0.0/40'\ngroup = 'api'", "bad_value", ".source"),
        ("source = 'office'\ngroup = 'api'", "not_found", ".source"),
        ("not = { source = ['office'] }\ngroup = 'api'", "not_found", ".source"),
        ("any = [{ path = '/a' }, { path = 'b' }]\ngroup = 'api'", "bad_value", ".any[1].path"),
        ("any = [{ path = '/a' }, { paht = '/b' }]\ngroup = 'api'", "unknown_key", ".any[1]"),
        ("any = [{}]\ngroup = 'api'", "bad_value", ".any[0]"),
        ("not = { all = [{ host = '..' }] }\ngroup = 'api'", "bad_value", ".not.all[0].host"),
        ("redirect = { status = 301 }", "bad_value", ".redirect"),
        ("redirect = { to = '/x', status = 304 }", "bad_value", ".redirect.status"),
        ("redirect = { to = '/{nobody}' }", "bad_value", ".redirect.to"),
        ("redirect = '/{'", "bad_value", ".redirect"),
        ("respond = { status = 99 }", "bad_value", ".respond.status"),
        ("deny = 302", "bad_value", ".deny"),
        ("path = '/x'\ngroup = 'api'\nrewrite = 'x'", "bad_value", ".rewrite"),
        ("path = '/x'\ngroup = 'api'\nrewrite = { host = 'a b' }", "bad_value", ".rewrite.host"),
        (
            "path = '/x'\ngroup = 'api'\nrequest_headers = { set = { Host = 'x' } }",
            "bad_value",
            ".request_headers.set.Host",
        ),
        (
            "path = '/x'\ngroup = 'api'\nrequest_headers = { remove = ['X', 'a b'] }",
            "bad_value",
            ".request_headers.remove[1]",
        ),
        (
            "path = '/x'\ngroup = 'api'\nresponse_headers = { add = { X-A = '{nobody}' } }",
            "bad_value",
            ".response_headers.add.X-A",
        ),
        ("path = '/x'\ngroup = 'api'\nresponse_headers = { put = {} }", "unknown_key", ".response_headers"),
        ("path = '/x'\ngroup = 'api'\nid = 'A B'", "bad_value", ".id"),
        ("path = '/x'\ngroup = 'api'\norder = -1", "bad_value", ".order"),
        ("paht = '/x'\ngroup = 'api'", "unknown_key", ".paht"),
    ] {
        rule(lines, &[&at(code, part)]);
    }
}
