//! Tests of a configuration: what is tried, and what is told of those that fail.

use crate::appliance::Appliance;
use crate::arbitrary::{PLAIN, model};
use crate::{SHARDS, config, parse_text};
use config::{Config, Described, Description, RulePlaces, foretell};
use policy::generation::Service;
use policy::http::{Decider, Outcome};
use policy::{JobId, PoolId, ShardSet};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const SITE: &str = r#"[pool.web]
hosts = ["shop.test", "*.shop.test"]
[pool.web.create]
service = "http"
listen = ["127.0.0.1:8080"]
[[pool.web.rule]]
id = "admin"
path_prefix = "/admin"
not = { source = "192.0.2.0/24" }
deny = 403
[[pool.web.rule]]
id = "users"
path_template = "/users/{id}"
group = "api"
rewrite = { to = "/v2/{id}", host = "api.internal" }
request_headers = { set = { X-User = "{id}" }, remove = ["Cookie"] }
response_headers = { set = { Vary = "Accept" }, remove = ["Server"] }
[[pool.web.rule]]
id = "old"
path = "/old"
redirect = { to = "https://{host}/new", status = 301 }
response_headers = { add = { X-Old = "yes" } }
[[pool.web.rule]]
id = "ping"
path = "/ping"
header = { X-Tenant = "a" }
respond = "pong"
[pool.web.group.api]
backend = [{ address = "127.0.0.1:9001" }]
[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:7000"]
[pool.db.group.main]
backend = [{ address = "127.0.0.1:9002" }]
"#;

fn with(test: &str) -> String {
    format!("{SITE}[[test]]\n{test}\n")
}

/// All that is wrong, a line each.
fn told(text: &str) -> String {
    parse_text(text).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[track_caller]
fn passes(test: &str) {
    assert_eq!(told(&with(test)), "", "{test}");
}

#[track_caller]
fn fails(test: &str, expected: &str) {
    let told = told(&with(test));
    assert!(told.contains(expected) && told.contains("(test[0])"), "{test}: {told}");
}

#[test]
fn each_thing_that_can_be_expected_holds_or_fails() {
    let users = |expect: &str| {
        format!(
            "request = 'GET http://shop.test:8080/users/7?x=1'\nheaders = {{ Cookie = 'a', X-B = 'b' }}\nexpect = {expect}"
        )
    };
    passes(&users("{ group = 'api', rule = 'users', deny = false }"));
    passes(&users("{ sent = { target = '/v2/7?x=1', host = 'api.internal' } }"));
    passes(&users("{ sent = { headers = { X-User = '7', Cookie = false, X-B = 'b', X-C = false } } }"));
    passes(&users("{ headers = { Vary = 'Accept', Server = false } }"));
    fails(&users("{ group = 'app' }"), "group would be `api`, not `app`");
    fails(&users("{ rule = 'old' }"), "rule would be `users`, not `old`");
    fails(&users("{ status = 200 }"), "status would be group `api`, not 200");
    fails(&users("{ location = '/' }"), "location would be group `api`");
    fails(&users("{ deny = true }"), "deny would be false, not true");
    fails(&users("{ sent = { target = '/7' } }"), "sent.target would be `/v2/7?x=1`, not `/7`");
    fails(&users("{ sent = { headers = { Cookie = 'a' } } }"), "sent.headers.cookie would be absent, not `a`");
    fails(&users("{ headers = { ETag = false } }"), "headers.etag would be what the backend says, not absent");

    let old = |expect: &str| format!("request = 'GET http://shop.test:8080/old'\nexpect = {expect}");
    passes(&old("{ status = 301, location = 'https://shop.test:8080/new', deny = false }"));
    passes(&old("{ headers = { Location = true, X-Old = 'yes', X-New = false } }"));
    fails(&old("{ headers = { X-Old = 'no' } }"), "headers.x-old would be `yes`, not `no`");
    fails(&old("{ sent = { host = 'a' } }"), "sent.host would be a redirect with 301, not `a`");

    let admin = |from: &str| format!("request = 'GET http://a.shop.test:8080/admin/x'\nfrom = '{from}'\nexpect = ");
    passes(&(admin("198.51.100.1") + "{ deny = true, status = 403, rule = 'admin' }"));
    passes(&(admin("192.0.2.7") + "{ deny = true, status = 404 }"));
    passes("request = 'GET http://shop.test:8080/ping'\nheaders = { X-Tenant = 'a' }\nexpect = { status = 200 }");
    passes("request = 'GET http://shop.test:8080/%00'\nexpect = { status = 400, deny = true }");
    fails("request = 'GET http://shop.test:8080/ping'\nexpect = { status = 200 }", "no rule of pool `web` takes it");
}

#[test]
fn the_pool_is_found_by_address_and_host_or_said() {
    passes("request = 'GET http://other.test:8080/ping'\nexpect = { status = 421, deny = true }");
    passes("request = 'GET http://127.0.0.1:8080/old'\nheaders = { Host = 'shop.test' }\nexpect = { rule = 'old' }");
    passes("request = 'GET http://other.test/old'\npool = 'web'\nexpect = { rule = 'old' }");
    fails("request = 'GET http://shop.test/old'\nexpect = { rule = 'old' }", "no pool listens where shop.test:80");
    fails("request = 'GET http://a.test:7000/'\nexpect = { deny = true }", "pool `db` carries TCP");
    fails("request = 'GET http://shop.test/'\npool = 'wbe'\nexpect = { deny = true }", "there is no pool `wbe`");
}

#[test]
fn a_failing_test_names_its_line_and_that_of_what_decided() {
    let text = with("name = 'the old page'\nrequest = 'GET http://shop.test:8080/old'\nexpect = { group = 'api' }");
    let text = format!("{text}[[test]]\nrequest = 'GET http://shop.test:8080/x'\nexpect = {{ group = 'api' }}\n");
    let line_of = |wanted: &str| 1 + text.lines().position(|line| line == wanted).expect("it stands there") as u32;
    let problems = parse_text(&text).unwrap_err();
    let [old, none] = problems.errors() else { panic!("{problems}") };
    assert_eq!((old.code.label(), &*old.path, &*none.path), ("test_failed", "test[0]", "test[1]"));
    assert_eq!(old.place.as_ref().map(|place| place.line), Some(line_of("[[test]]")));
    assert_eq!(old.also[0].place.as_ref().map(|place| place.line), Some(line_of("id = \"old\"") - 1));
    assert!(old.message.starts_with("test `the old page`: group would be a redirect with 301, not `api`; rule `old`"));
    assert!(none.message.starts_with("test 2: group would be 404, no rule takes it"), "{}", none.message);
    assert_eq!(none.also[0].place.as_ref().map(|place| place.line), Some(line_of("[pool.web]")));
}

#[test]
fn what_is_no_test_is_told() {
    let check = |test: &str, expected: &str| assert!(told(&with(test)).contains(expected), "{}", told(&with(test)));
    check("expect = { deny = true }", "`request` is missing");
    check("request = 'GET http://a/'", "`expect` is missing");
    check("request = 'GET ftp://a/'\nexpect = { deny = true }", "scheme is neither http nor https");
    check("request = 'GET http://a/'\nexpect = { deny = true }\ngroup = 'x'", "there is no `group` in `test[0]`");
    let twice = "name = 'a'\nrequest = 'GET http://shop.test:8080/old'\nexpect = { deny = false }";
    check(&format!("{twice}\n[[test]]\n{twice}"), "two tests are called `a`");
}

#[test]
fn tests_have_a_bound() {
    let test = "[[test]]\nrequest = 'GET http://shop.test:8080/old'\nexpect = { rule = 'old' }\n";
    assert_eq!(told(&format!("{SITE}{}", test.repeat(10_000))), "");
    assert!(told(&format!("{SITE}{}", test.repeat(10_001))).contains("10001 tests, at most 10000"));
}

fn old_page(expect: &str) -> Arc<Config> {
    config(&with(&format!("name = 'old'\nrequest = 'GET http://shop.test:8080/old'\nexpect = {expect}")))
}

#[test]
fn a_change_of_a_test_alone_is_soft_and_touches_no_pool() {
    let (without, one, other) = (config(SITE), old_page("{ status = 301 }"), old_page("{ rule = 'old' }"));
    let changes = |old: &Config, new: &Config| {
        let plan = config::diff(old, new);
        assert!(plan.touches.pools.is_empty() && plan.live().is_some());
        let line = |change: &config::PlannedChange| format!("{} {}", change.path, change.reason.code);
        plan.changes.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(changes(&without, &one), ["test.old test_added"]);
    assert_eq!(changes(&one, &other), ["test.old.expect test_expect"]);
    assert_eq!(changes(&one, &without), ["test.old test_removed"]);
    assert!(without.pools.values().zip(one.pools.values()).all(|(one, other)| one.hash() == other.hash()));
    let mut appliance = Appliance::started(&without);
    let before = appliance.running.pools.get("web").unwrap().generation.clone();
    appliance.apply(&one);
    assert!(Arc::ptr_eq(&before, &appliance.running.pools.get("web").unwrap().generation));
    assert_eq!(appliance.running.config.hash(), one.hash());
}

#[test]
fn tests_are_written_as_they_read() {
    let one = old_page("{ status = 301, headers = { X-Old = 'yes' } }");
    assert_eq!(config(&one.to_toml()).hash(), one.hash(), "{}", one.to_toml());
    assert_eq!(one.to_json()["test"][0]["expect"]["status"], 301);
}

/// A document whose tests are tried on pools that it does not bring, as where others change them meanwhile.
#[test]
fn tests_are_tried_on_what_would_run() {
    let running = old_page("{ rule = 'old' }");
    let mut appliance = Appliance::started(&running);
    let renamed = with("request = 'GET http://shop.test:8080/old'\nexpect = { rule = 'older' }");
    let wanted = parse_text(&renamed.replace("id = \"old\"", "id = \"older\"")).unwrap();
    let failing = |appliance: &mut Appliance, new: Config| {
        let (new, running) = (Arc::new(new), appliance.running.clone());
        let live = config::diff(&running.config, &new).live().expect("rules are soft");
        let compiled = config::compile(&running, &new, live, JobId(99), ShardSet::first(SHARDS), &mut appliance.slots);
        compiled.failing_tests(&running, &wanted.rule_places)
    };
    let without_its_pool = running.taking(&wanted.config, &BTreeSet::new()).unwrap();
    let problems = failing(&mut appliance, without_its_pool);
    let [problem] = problems.errors() else { panic!("{problems}") };
    assert!(problem.message.contains("rule would be `old`, not `older`"), "{problem}");
    assert!(problem.place.is_some());
    let with_its_pool = running.taking(&wanted.config, &BTreeSet::from([PoolId::new("web")])).unwrap();
    assert!(failing(&mut appliance, with_its_pool).is_empty());
}

#[test]
fn a_rule_without_a_known_place_is_named() {
    let running = old_page("{ rule = 'old' }");
    let mut appliance = Appliance::started(&running);
    let other = config(
        &with("request = 'GET http://shop.test:8080/old'\npool = 'web'\nexpect = { rule = 'o' }")
            .replace("\"old\"", "\"o\""),
    );
    let new = Arc::new(running.taking(&other, &BTreeSet::new()).unwrap());
    let (running, live) = (appliance.running.clone(), config::diff(&running, &new).live().unwrap());
    let compiled = config::compile(&running, &new, live, JobId(99), ShardSet::first(SHARDS), &mut appliance.slots);
    let problems = compiled.failing_tests(&running, &RulePlaces::default());
    let [problem] = problems.errors() else { panic!("{problems}") };
    assert!(problem.place.is_none() && problem.message.contains("rule `old` of pool `web` decides"), "{problem}");
}

/// A test that says of a request what is foretold of it.
fn test_of(pool: &PoolId, request: &str, appliance: &Appliance) -> Option<String> {
    let running = appliance.running.pools.get(pool).unwrap();
    let Service::Http(service) = &running.generation.service else { return None };
    let url = format!("http://h{request}");
    let description = Description { url: &url, pool: Some(pool.as_str()), ..Description::default() };
    let described = Described::read(&description).expect("a request");
    let generation = &running.generation;
    let decider = Decider {
        pool,
        number: generation.number,
        service,
        only_group: generation.only_group().map(|group| group.slot),
    };
    let told = foretell(&decider, &described);
    let mut expect = vec![format!(
        "deny = {}",
        matches!(told.outcome, Outcome::Deny { .. } | Outcome::NoRule | Outcome::Refused(_))
    )];
    if let Some(rule) = told.rule.and_then(|rule| running.content.http.as_ref()?.rules.at(rule.0)) {
        expect.push(format!("rule = {:?}", rule.id));
    }
    match told.outcome {
        Outcome::Group(ix) => expect.push(format!(
            "group = {:?}, sent = {{ target = {:?}, host = {:?} }}",
            generation.group(ix).unwrap().id,
            told.target,
            told.host
        )),
        outcome => expect.push(format!("status = {}", outcome.status().expect("an answer of ours"))),
    }
    expect.extend(told.location.map(|location| format!("location = {location:?}")));
    Some(format!("[[test]]\nrequest = 'GET {url}'\npool = '{pool}'\nexpect = {{ {} }}\n", expect.join(", ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_test_made_of_what_is_foretold_passes_and_of_anything_else_fails(
        model in model(),
        requests in proptest::collection::vec("/[0-6]?(/[a-b%.]{0,2})?", 1..6),
    ) {
        let text = model.toml(PLAIN);
        let appliance = Appliance::started(&config(&text));
        for pool in appliance.running.pools.keys() {
            for request in &requests {
                let Some(test) = test_of(pool, request, &appliance) else { continue };
                prop_assert_eq!(told(&format!("{text}\n{test}")), "");
                let denies = test.contains("deny = true");
                let turned = test.replace(&format!("deny = {denies}"), &format!("deny = {}", !denies));
                let told = told(&format!("{text}\n{turned}"));
                prop_assert!(told.contains("deny would be"), "{}", told);
            }
        }
    }
}
