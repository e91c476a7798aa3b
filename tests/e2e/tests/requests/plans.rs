//! What a plan says about traffic: whose connections, tunnels and requests a change concerns, and rules that are in use.

use crate::start;
use api::PlannedChange;
use e2e::{Pool, metric};
use harness::http::{Client, Origin, Request, WebSocket};
use harness::net::Target;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn pool(front: &Target, origin: &Origin) -> Pool {
    Pool::http("web").listen(front).backend("a", origin.target())
}

fn rule(name: &str, more: &str) -> String {
    format!("id = {name:?}\npath_prefix = \"/{name}\"\ngroup = \"main\"\n{more}")
}

/// Paths of rules that go although they are in use.
fn in_use(plan: &api::Plan) -> Vec<&str> {
    let warnings = plan.warnings.iter().filter(|warning| warning.code == "rule_in_use");
    warnings.filter_map(|warning| warning.path.as_deref()).collect()
}

#[track_caller]
fn change<'p>(plan: &'p api::Plan, path: &str) -> &'p PlannedChange {
    let found = plan.changes.iter().find(|change| change.path == path);
    found.unwrap_or_else(|| panic!("no change of {path}: {plan:?}"))
}

fn ask(front: &Target, path: &str) {
    let mut client = Client::connect(front).expect("it is let in");
    assert_eq!(client.exchange(&Request::get("h", path)).expect("an answer").status, 200);
}

#[test]
fn a_rule_that_goes_while_it_is_in_use_is_warned_of() {
    let (origin, front) = (Origin::good(), Target::fresh());
    let bare = || pool(&front, &origin).rule(&rule("rest", ""));
    let both = bare().rule(&rule("met", "")).rule(&rule("never", ""));
    let appliance = start(&both);
    let plan = |pool: &Pool| appliance.plan(&pool.to_string()).expect("the document is right");
    assert_eq!(in_use(&plan(&bare())), [""; 0], "nobody has asked");
    ask(&front, "/met");
    let gone = plan(&bare());
    assert_eq!(in_use(&gone), ["pool.web.rule.met"]);
    let warning = gone.warnings.iter().find(|warning| warning.code == "rule_in_use").expect("just seen");
    assert_eq!(warning.message, "Rule `met` of pool `web` goes, and has met a request less than a minute ago");
    // What it says may change; and another under its old name has met nothing.
    let edited = bare().rule(&rule("met", "method = \"GET\"")).rule(&rule("never", ""));
    assert_eq!(in_use(&plan(&edited)), [""; 0], "it stays");
    appliance.apply(&edited.to_string());
    assert_eq!(in_use(&plan(&bare())), ["pool.web.rule.met"], "it is the same rule still");
    let receipt = appliance.apply(&bare().to_string());
    assert_eq!(in_use(&receipt.plan.expect("a job has a plan")), ["pool.web.rule.met"]);
    appliance.apply(&both.to_string());
    assert_eq!(in_use(&plan(&bare())), [""; 0], "it has come anew");
}

#[test]
fn tunnels_are_told_apart_from_requests() {
    let (origin, front) = (Origin::good(), Target::fresh());
    let appliance = start(&pool(&front, &origin));
    let touched = || {
        let changed = pool(&front, &origin).keys(".timeouts", "idle = \"9m\"");
        let plan = appliance.plan(&changed.to_string()).expect("the document is right");
        let idle = change(&plan, "pool.web.timeouts.idle");
        (idle.touched_connections, idle.touched_tunnels)
    };
    assert_eq!(touched(), (Some(0), Some(0)));
    let mut resting = Client::connect(&front).expect("it is let in");
    resting.exchange(&Request::get("h", "/")).expect("an answer");
    let mut socket = WebSocket::open(&front, "h", "/").expect("it opens");
    socket.echo(10).expect("an echo");
    assert_eq!(touched(), (Some(2), Some(1)));
    let tunnels = |name: &str| metric(&appliance.metrics(), name, &["pool=\"web\""]);
    assert_eq!(tunnels("sluicegate_pool_tunnels"), 1.0);
    assert_eq!(tunnels("sluicegate_endpoint_tunnels"), 1.0);
    let weight =
        appliance.plan(&Pool::http("web").listen(&front).backend_with("a", origin.target(), "weight = 9").to_string());
    let weight = weight.expect("the document is right");
    assert_eq!(change(&weight, "pool.web.group.main.backend.a.weight").touched_tunnels, Some(1));
    socket.close().expect("a proper end");
    harness::wait::until("the tunnel has ended", || match touched() {
        (Some(1), Some(0)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(tunnels("sluicegate_endpoint_tunnels"), 0.0);
}

/// Sampled while the plan is made, so somebody has to ask meanwhile.
#[test]
fn requests_are_counted_for_the_rule_that_takes_them() {
    let (origin, front) = (Origin::good(), Target::fresh());
    let two = |more: &str| pool(&front, &origin).rule(&rule("busy", more)).rule(&rule("idle", more));
    let appliance = start(&two(""));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&front).expect("it is let in");
            while !over.load(Relaxed) {
                assert_eq!(client.exchange(&Request::get("h", "/busy")).expect("an answer").status, 200);
            }
        });
        harness::wait::until("there is traffic", || match origin.seen().requests {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        });
        let plan = appliance.plan(&two("method = \"GET\"").to_string());
        over.store(true, Relaxed);
        let plan = plan.expect("the document is right");
        let of = |rule: &str| change(&plan, &format!("pool.web.rule.{rule}.method")).touched_requests;
        assert!(of("busy").is_some_and(|requests| requests > 0), "{plan:?}");
        assert_eq!(of("idle"), Some(0), "{plan:?}");
    });
}
