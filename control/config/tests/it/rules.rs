//! Documents with rules, from text to the request that meets them.

use crate::appliance::Appliance;
use crate::documents::check;
use crate::{Files, config, parse_from, parse_text};
use config::{Colour, Config};
use policy::PoolId;
use policy::generation::{PoolGeneration, Service};
use policy::http::{Action, EscapedSlash, HttpService, Pairs, Request, Rule, Scratch, normalise};
use std::sync::Arc;

/// The manual's document, with one of each.
const SITE: &str = include_str!("../../examples/site.toml");

fn generation(appliance: &Appliance) -> Arc<PoolGeneration> {
    appliance.running.pools.get("web").unwrap().generation.clone()
}

fn service(generation: &PoolGeneration) -> &Arc<HttpService> {
    match &generation.service {
        Service::Http(service) => service,
        Service::Tcp => panic!("this pool is of HTTP"),
    }
}

/// The rule that `GET http://host/path` from `source` meets, with one header.
fn routed<'g>(generation: &'g PoolGeneration, host: &str, path: &str, source: &str) -> Option<&'g Arc<Rule>> {
    let service = service(generation);
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
    service.route(&request, &mut Scratch::new()).map(|(_, rule)| rule)
}

#[test]
fn a_site_compiles_and_requests_meet_its_rules() {
    let config = config(SITE);
    let generation = generation(&Appliance::started(&config));
    let mut groups: Vec<&str> = generation.groups.values().map(|group| &*group.id).collect();
    groups.sort();
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
    let rules = &config.pools.get("web").unwrap().http.as_ref().unwrap().rules;
    let found: Vec<&str> = rules.iter().map(|rule| &*rule.id).filter(|id| id.starts_with(begins)).collect();
    assert_eq!(found.len(), 1, "{begins}: {found:?}");
    found[0].to_string()
}

/// What a rule does, in words.
pub trait Told {
    fn told(&self) -> String;
}

impl Told for Action {
    fn told(&self) -> String {
        match self {
            Action::Group(slot) => format!("group {slot}"),
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
        ("path = '/x'\ngrup = 'api'", "unknown_key", ".grup"),
    ] {
        rule(lines, &[&at(code, part)]);
    }
}

#[test]
fn rules_must_agree_with_each_other_and_their_pool() {
    // Without rules everything goes to the only group.
    let alone = "[pool.web.create]\nservice = 'http'\nlisten = ['127.0.0.1:8080']\n";
    let group = "[pool.web.group.app]\nbackend = [{ address = 'app:1' }]\n";
    check(&format!("{alone}{group}"), &[]);
    check(&pool(""), &["missing pool.web.rule"]);
    check(alone, &["missing pool.web.group"]);
    check(&format!("{alone}[[pool.web.rule]]\nredirect = 'https://{{host}}{{uri}}'\n"), &[]);
    check(&format!("{alone}[[pool.web.rule]]\ngroup = 'app'\n"), &["not_found pool.web.rule[0].group"]);
    check(&format!("{alone}{group}rule = 1\n"), &["unknown_key pool.web.group.app.rule"]);
    check(&format!("pool.web.rule = {{}}\n{alone}{group}"), &["wrong_type pool.web.rule"]);

    let two = |first: &str, second: &str, expected: &[&str]| {
        let rest =
            "[[pool.web.rule]]\nid = 'b'\nhost = 'b.test'\ngroup = 'api'\n[[pool.web.rule]]\nid = 'c'\ngroup = 'app'\n";
        check(&pool(&format!("[[pool.web.rule]]\n{first}\n[[pool.web.rule]]\n{second}\n{rest}")), expected);
    };
    two("path = '/x'\ndeny = 403", "path = '/x'\ndeny = 404", &["duplicate pool.web.rule[1]"]);
    two("path = '/x'\ndeny = 403", "id = 'y'\npath = '/x'\ndeny = 404", &["warning no_effect pool.web.rule[1]"]);
    two("path_prefix = '/x'\ndeny = 403", "path = '/x/y'\ngroup = 'api'", &["warning no_effect pool.web.rule[1]"]);
    two(
        "path = '/x'\ndeny = 403",
        "order = 5\npath_prefix = '/x'\ngroup = 'api'",
        &["warning no_effect pool.web.rule[0]"],
    );
    two("id = 'x'\npath = '/x'\ndeny = 403", "id = 'x'\npath = '/y'\ndeny = 404", &["duplicate pool.web.rule[1]"]);
    two(
        "host = 'a.test'\nall = [{ host = 'b.test' }]\ndeny = 403",
        "path = '/x'\ndeny = 403",
        &["warning no_effect pool.web.rule[0]"],
    );
    two(
        "path = '/x'\ndeny = 403\nrewrite = '/y'",
        "path = '/y'\nrespond = ''\nrequest_headers = { remove = ['X'] }",
        &["warning no_effect pool.web.rule[0].rewrite", "warning no_effect pool.web.rule[1].request_headers"],
    );
    check(&pool("[[pool.web.rule]]\ngroup = 'app'\n"), &["warning no_effect pool.web.group.api"]);
}

#[test]
fn rules_belong_to_http_pools_and_lists_to_all() {
    let tcp = "[pool.db.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:1']\n[pool.db.group.main]\nbackend = [{ address = 'a:1' }]\n";
    check(&format!("{tcp}[[pool.db.rule]]\ngroup = 'main'\n"), &["clash pool.db.rule"]);
    check(&format!("{tcp}[[pool.db.page]]\nstatus = 404\nbody = ''\n"), &["clash pool.db.page"]);
    check("[list.office]\nentries = ['10.0.0.0/8', '10.0.0.0/8']", &[]);
    check("[list.office]", &["missing list.office.entries"]);
    check(
        "[list.office]\nentries = ['10.0.0.0/8', 'x', '::/129']",
        &["bad_value list.office.entries[1]", "bad_value list.office.entries[2]"],
    );
    check("[list.office]\nentries = '10.0.0.0/8'", &["wrong_type list.office.entries"]);
    check("[list.'Two Words']\nentries = []", &["bad_value list.\"Two Words\""]);
    check("[list.office]\nentires = []", &["missing list.office.entries", "unknown_key list.office.entires"]);
}

#[test]
fn pages_have_a_status_each() {
    let page = |lines: &str, expected: &[&str]| {
        check(
            &pool(&format!(
                "[[pool.web.rule]]\nhost = 'a.test'\ngroup = 'api'\n[[pool.web.rule]]\ngroup = 'app'\n{lines}"
            )),
            expected,
        );
    };
    page("[[pool.web.page]]\nstatus = 404\nbody = 'no'", &[]);
    page("[[pool.web.page]]\nstatus = [404, '500-599']\nbody = ''\ncontent_type = 'text/html'", &[]);
    page("[[pool.web.page]]\nstatus = 404", &["missing pool.web.page[0].body"]);
    page("[[pool.web.page]]\nbody = 'x'", &["missing pool.web.page[0].status"]);
    page("[[pool.web.page]]\nstatus = 'x'\nbody = 'x'", &["bad_value pool.web.page[0].status"]);
    page("[[pool.web.page]]\nstatus = 404\nbody = 1", &["wrong_type pool.web.page[0].body"]);
    page("[[pool.web.page]]\nstatus = 404\nfile = 'missing.html'", &["file pool.web.page[0].file"]);
    page("[[pool.web.page]]\nstatus = 404\nfile = 1", &["wrong_type pool.web.page[0].file"]);
    page("[[pool.web.page]]\nstatus = 404\nfile = 'a'\nbody = 'b'", &["clash pool.web.page[0].file"]);
    page(
        "[[pool.web.page]]\nstatus = '500-599'\nbody = 'a'\n[[pool.web.page]]\nstatus = [404, 503]\nbody = 'b'",
        &["duplicate pool.web.page[1].status"],
    );
}

#[test]
fn a_text_may_lie_in_a_file_beside_the_document() {
    let files = Files::with([
        ("pages/sorry.html", "<h1>sorry</h1>"),
        ("pages/robots.txt", "User-agent: *\n"),
        ("web.toml", "[[pool.web.page]]\nstatus = 503\nfile = 'pages/sorry.html'\n"),
    ]);
    let text = pool(
        "[[pool.web.rule]]\npath = '/robots.txt'\nrespond = { file = 'pages/robots.txt' }\n\
         [[pool.web.rule]]\nhost = 'a.test'\ngroup = 'api'\n[[pool.web.rule]]\ngroup = 'app'\n",
    );
    let parsed = parse_from(format!("include = ['web.toml']\n{text}").as_bytes(), &files);
    let parsed = parsed.unwrap_or_else(|problems| panic!("{}", problems.draw(Colour::Plain)));
    let names: Vec<_> = parsed.files.iter().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(names, ["site.toml", "web.toml", "pages/robots.txt", "pages/sorry.html"]);
    let config = Arc::new(parsed.config);
    let generation = generation(&Appliance::started(&config));
    let page = service(&generation).pages.find(503).unwrap();
    assert_eq!((&*page.content_type, &*page.body), ("text/html; charset=utf-8", &b"<h1>sorry</h1>"[..]));
    let robots = routed(&generation, "b.test", "/robots.txt", "10.0.0.1").unwrap();
    assert_eq!(robots.action.told(), "respond 200 User-agent: *\n");
    // What is written holds the texts, so it needs no file.
    assert_eq!(crate::config(&config.to_toml()).hash(), config.hash());
}

#[test]
fn rules_stand_as_written_or_by_their_order() {
    let ids = |text: &str| {
        let config = config(&pool(text));
        let again = crate::config(&config.to_toml());
        assert_eq!(again.hash(), config.hash(), "{}", config.to_toml());
        let rules = &config.pools.get("web").unwrap().http.as_ref().unwrap().rules;
        rules.iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let rule =
        |id: &str, order: &str| format!("[[pool.web.rule]]\nid = '{id}'\npath = '/{id}'\ngroup = 'api'\n{order}\n");
    let said = |id: &str, order: u32| rule(id, &format!("order = {order}"));
    let last = "[[pool.web.rule]]\nid = 'z'\ngroup = 'app'\n";
    assert_eq!(ids(&format!("{}{}{last}", rule("b", ""), rule("a", ""))), "b a z");
    // The second has 20, the last 30.
    assert_eq!(ids(&format!("{}{}{last}", said("b", 25), rule("a", ""))), "a b z");
    assert_eq!(ids(&format!("{}{}{last}", said("b", 20), rule("a", ""))), "b a z");
    assert_eq!(ids(&format!("{}{}{}{last}", said("b", 7), said("c", 7), said("a", 7))), "b c a z");
}

/// From one document to the next: the generations, and what the plan said.
fn change(old: &str, new: &str) -> (Arc<PoolGeneration>, Arc<PoolGeneration>, Vec<String>) {
    let mut appliance = Appliance::started(&config(old));
    let before = generation(&appliance);
    let new = config(new);
    let plan = appliance.plan(&new);
    assert_eq!(plan.class, config::Class::Soft);
    let told = plan.changes.iter().map(|change| format!("{} {}", change.reason.code, change.path));
    let told = told.collect();
    appliance.apply(&new);
    let after = generation(&appliance);
    appliance.come_to_rest();
    (before, after, told)
}

/// Ids of the rules of `new` that are not the same rules as in `old`.
fn made_anew(old: &PoolGeneration, new: &PoolGeneration) -> Vec<String> {
    let same = |rule: &&Arc<Rule>| service(old).rules.rules().values().any(|old| Arc::ptr_eq(old, rule));
    service(new).rules.rules().values().filter(|rule| !same(rule)).map(|rule| rule.id.to_string()).collect()
}

fn is_same_service(old: &PoolGeneration, new: &PoolGeneration) -> bool {
    Arc::ptr_eq(service(old), service(new))
}

#[test]
fn a_change_of_one_rule_leaves_the_others() {
    let (old, new, told) = change(SITE, &SITE.replace("deny = 403", "deny = 404"));
    let denied = service(&old).rules.rules().values().nth(1).unwrap().id.clone();
    assert_eq!(made_anew(&old, &new), [&*denied]);
    assert_eq!(told, [format!("rule_deny pool.web.rule.{denied:?}.deny")]);

    // What follows from its conditions is another name, so it is another rule.
    let (old, new, told) = change(SITE, &SITE.replace("\"/ping\"", "\"/pong\""));
    assert_eq!(made_anew(&old, &new), ["/pong"]);
    assert_eq!(told, ["rule_removed pool.web.rule.\"/ping\"", "rule_added pool.web.rule.\"/pong\""]);

    // A name that was chosen stays.
    let (old, new, told) = change(SITE, &SITE.replace("/users/{id}\"\nm", "/people/{id}\"\nm"));
    assert_eq!(made_anew(&old, &new), ["users"]);
    assert_eq!(told, ["rule_path_template pool.web.rule.users.path_template"]);
}

#[test]
fn an_insertion_shifts_nothing() {
    let first = "[[pool.web.rule]]\npath = \"/first\"\ndeny = 410\n\n[[pool.web.rule]]\nhost = \"old.example.com\"";
    let inserted = SITE.replace("[[pool.web.rule]]\nhost = \"old.example.com\"", first);
    let (old, new, told) = change(SITE, &inserted);
    assert_eq!(made_anew(&old, &new), ["/first"]);
    assert_eq!(told, ["rule_added pool.web.rule.\"/first\""]);
    let (old, new, told) = change(&inserted, SITE);
    assert_eq!(made_anew(&old, &new), [""; 0]);
    assert_eq!(told, ["rule_removed pool.web.rule.\"/first\""]);
}

#[test]
fn a_rule_that_moves_is_the_same_rule() {
    let ping = "[[pool.web.rule]]\npath = \"/ping\"\nrespond = \"pong\"\n\n";
    let moved = format!("{}{ping}", SITE.replace(ping, ""));
    let (old, new, told) = change(SITE, &moved);
    assert_eq!(made_anew(&old, &new), [""; 0]);
    assert!(!Arc::ptr_eq(&service(&old).rules, &service(&new).rules));
    assert_eq!(told, ["rule_moved pool.web.rule.\"/ping\""]);
    assert_eq!(routed(&old, "example.com", "/ping", "10.0.0.1").unwrap().action.told(), "respond 200 pong");
    assert_eq!(routed(&new, "example.com", "/ping", "10.0.0.1").unwrap().action.told(), "group 1");
}

#[test]
fn what_is_no_rules_business_leaves_the_service() {
    let weight = SITE.replace("127.0.0.1:9002\"", "127.0.0.1:9002\", weight = 5");
    let (old, new, told) = change(SITE, &weight);
    assert!(is_same_service(&old, &new));
    assert_eq!(told, ["backend_weight pool.web.group.app.backend.127.0.0.1:9002.weight"]);

    let (old, new, _) = change(SITE, &format!("{SITE}[pool.web.timeouts]\nhead = \"5s\"\n"));
    assert!(is_same_service(&old, &new));

    // A list that no rule names.
    let (old, new, told) = change(SITE, &format!("{SITE}[pool.web.http]\nvia = \"edge\"\n[list.x]\nentries = []\n"));
    assert!(!is_same_service(&old, &new));
    assert!(Arc::ptr_eq(&service(&old).rules, &service(&new).rules));
    assert_eq!(told, ["list_added list.x", "http_via pool.web.http.via"]);

    let (old, new, told) = change(SITE, &SITE.replace("sorry", "later"));
    assert!(!is_same_service(&old, &new));
    assert!(Arc::ptr_eq(&service(&old).rules, &service(&new).rules));
    assert_eq!(told, ["page_body pool.web.page.404,500-504.body"]);
    let (_, _, told) = change(SITE, &SITE.replace("500-504", "500-505"));
    assert_eq!(told, ["page_removed pool.web.page.404,500-504", "page_added pool.web.page.404,500-505"]);
}

#[test]
fn a_list_changes_and_no_rule_does() {
    let other = SITE.replace("192.0.2.0/24", "192.0.0.0/16");
    let (old, new, told) = change(SITE, &other);
    assert!(Arc::ptr_eq(&service(&old).rules, &service(&new).rules));
    assert_eq!(told, ["list_entries list.office.entries"]);
    assert_eq!(routed(&old, "example.com", "/admin", "192.0.9.9").unwrap().action.told(), "deny 403");
    assert_eq!(routed(&new, "example.com", "/admin", "192.0.9.9").unwrap().action.told(), "group 1");
    // The plan knows whose they are.
    let plan = config::diff(&config(SITE), &config(&other));
    assert_eq!(plan.touches.pools, [PoolId::new("web")].into());
}

#[test]
fn groups_come_and_go_with_their_rules() {
    let more =
        "[[pool.web.rule]]\npath_prefix = \"/aaa\"\ngroup = \"aaa\"\n\n[[pool.web.rule]]\nhost = \"old.example.com\"";
    let more = SITE.replace("[[pool.web.rule]]\nhost = \"old.example.com\"", more);
    let more = format!("{more}[pool.web.group.aaa]\nbackend = [{{ address = \"127.0.0.1:9003\" }}]\n");
    let (_, new, told) = change(SITE, &more);
    assert_eq!(told, ["group_added pool.web.group.aaa", "rule_added pool.web.rule.\"/aaa/*\""]);
    // Whatever stands before them, the others are the groups that they were.
    assert_eq!(routed(&new, "example.com", "/aaa/x", "10.0.0.1").unwrap().action.told(), "group 2");
    assert_eq!(routed(&new, "example.com", "/api/x", "10.0.0.1").unwrap().action.told(), "group 0");
    assert_eq!(routed(&new, "example.com", "/x", "10.0.0.1").unwrap().action.told(), "group 1");
    let (_, new, _) = change(&more, SITE);
    assert_eq!(routed(&new, "example.com", "/api/x", "10.0.0.1").unwrap().action.told(), "group 1");
}

#[test]
fn a_pool_that_stays_keeps_its_lists() {
    let pools = |office: &str, ping: &str| config(&SITE.replace("192.0.2.0/24", office).replace("pong", ping));
    let (running, document) = (pools("192.0.2.0/24", "pong"), pools("192.0.0.0/16", "pang"));
    assert_eq!(running.taking(&document, &[PoolId::new("web")].into()).unwrap(), *document);
    let problems = running.taking(&document, &[].into()).unwrap_err();
    assert_eq!(problems.errors()[0].message, "pool `web` has come to use list `office` meanwhile, which would change");
    let document = pools("192.0.2.0/24", "pang");
    assert_eq!(running.taking(&document, &[].into()).unwrap(), *running);
}

#[test]
fn a_rule_stands_where_the_document_has_it() {
    let main = "include = [\"more.toml\"]\n\n[pool.web.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:8080\"]\n\
                [[pool.web.rule]]\nid = \"last\"\norder = 99\nrespond = \"last\"\n\
                [[pool.web.rule]]\nid = \"first\"\norder = 1\npath = \"/a\"\ndeny = 403\n";
    let more = "[pool.api.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:8081\"]\n\
                [pool.api]\nrule = [\n  { id = \"one\", path = \"/a\", deny = 403 },\n  { id = \"two\", respond = \"x\" },\n]\n";
    let parsed = parse_from(main.as_bytes(), &Files::with([("more.toml", more)]));
    let parsed = parsed.unwrap_or_else(|problems| panic!("{}", problems.draw(Colour::Plain)));
    let places = |config: &Config, id: &str| -> Vec<String> {
        let id = PoolId::new(id);
        let rules = &config.pools.get(&id).unwrap().http.as_ref().expect("a pool of HTTP").rules;
        let place = |rule| parsed.rule_places.find(&id, rule).map_or("nowhere".into(), |place| place.to_string());
        rules.iter().map(|rule| format!("{} {}", rule.id, place(rule))).collect()
    };
    assert_eq!(places(&parsed.config, "web"), ["first site.toml:10:1", "last site.toml:6:1"]);
    assert_eq!(places(&parsed.config, "api"), ["one more.toml:6:3", "two more.toml:7:3"]);
    // A rule that says something else stands in another document.
    let other = parse_from(main.replace("403", "404").as_bytes(), &Files::with([("more.toml", more)])).unwrap().config;
    assert_eq!(places(&other, "web"), ["first nowhere", "last site.toml:6:1"]);
}

/// So many rules that differ in a header only.
fn alike(count: usize) -> String {
    let rule = |ix: usize| format!("[[pool.web.rule]]\nid = 'r{ix}'\nheader = {{ X-N = '{ix}' }}\ngroup = 'api'\n");
    let rules: String = (0..count).map(rule).collect();
    pool(&format!("{rules}[[pool.web.rule]]\ngroup = 'app'\n"))
}

#[test]
fn rules_that_are_found_by_asking_one_after_the_other_are_warned_about_and_bounded() {
    check(&alike(90), &[]);
    check(&alike(110), &["warning surprising pool.web.rule"]);
    check(&alike(10_001), &["too_many pool.web.rule"]);
}
