//! Generations of the past: what is kept, what differs, and how one comes back under a connection that is open.

use crate::Site;
use api::order::{Apply, DiffOf, Rollback};
use api::receipt::JobOutcome;
use api::status::{BackendStatus, Health};
use api::{Body, ErrorCode, Order, Plan, Receipt};
use e2e::{backend, document_of, drift, give, pool};
use harness::appliance::{Appliance, Launch, tell};
use harness::http::{Client, Conduct, Request};
use harness::net::Target;
use serde_json::json;

/// Checked once, so that who loses its health has it never again.
const CHECKED_ONCE: &str = "interval = \"1h\"\ntimeout = \"5s\"\nrise = 1\nfall = 1";

/// One generation a mark, which answers show; the client keeps its connection through all of them.
struct Past {
    site: Site,
    client: Client,
    /// Generations whose mark is `one`, `two` and `three`.
    marked: [u64; 3],
}

impl Past {
    fn new() -> Past {
        let site = Site::with(Conduct::Good, |pool| {
            let rule = "id = \"all\"\ngroup = \"main\"\nresponse_headers = { set = { X-Mark = \"one\" } }";
            pool.keys(".group.main.health", CHECKED_ONCE).rule(rule)
        });
        site.appliance.wait_status("it is checked", |status| backend(status, "a").health == Health::Up);
        let client = site.client();
        let mark = |mark: &str| {
            let header = json!({"order": "header.set", "pool": "web", "rule": "all", "head": "response",
                "name": "X-Mark", "value": mark});
            give(&site.appliance, &header).job
        };
        let marked = [site.appliance.status().generation, mark("two"), mark("three")];
        Past { site, client, marked }
    }

    fn appliance(&self) -> &Appliance {
        &self.site.appliance
    }

    /// What the next answer on the connection is marked with.
    #[track_caller]
    fn mark(&mut self) -> String {
        let response = self.client.exchange(&Request::get("h", "/")).expect("an answer");
        assert!(response.leaves_open(), "{response:?}");
        response.received().expect("it was sent to the origin");
        response.fields.first("X-Mark").expect("it is marked").to_owned()
    }

    #[track_caller]
    fn rollback(&self, to: Option<u64>) -> Receipt {
        let rolled = self.appliance().change(Order::Rollback(Rollback { to, if_generation: None }));
        rolled.unwrap_or_else(|failure| panic!("{}", tell(&failure)))
    }

    fn kept(&self) -> Vec<(u64, String)> {
        self.appliance().generations().kept.into_iter().map(|kept| (kept.generation, kept.hash)).collect()
    }

    #[track_caller]
    fn ctl(&self, arguments: &[&str]) -> String {
        let done = self.appliance().ctl(arguments);
        let said = String::from_utf8(done.stdout).expect("it prints text");
        assert!(done.status.is_some_and(|status| status.success()), "{arguments:?}: {said}{:?}", done.stderr);
        said
    }
}

fn diff(appliance: &Appliance, from: u64, to: Option<u64>) -> Plan {
    match appliance.call(Order::Diff(DiffOf { from, to })) {
        Ok(Body::Plan(plan)) => plan,
        other => panic!("a plan was expected, not {other:?}"),
    }
}

fn paths(plan: &Plan) -> Vec<&str> {
    plan.changes.iter().map(|change| change.path.as_str()).collect()
}

/// What a backend has from its past: its health, its open connections, what it was sent.
fn state(backend: &BackendStatus) -> (Health, u64, u64) {
    (backend.health, backend.connections, backend.requests.as_ref().expect("it is one of HTTP").sent)
}

#[test]
fn the_past_comes_back_under_an_open_connection_and_takes_nothing_with_it() {
    let mut past = Past::new();
    let [one, two, three] = past.marked;
    assert_eq!(past.kept().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [three, two, one]);
    assert_eq!(past.mark(), "three");
    // Another backend comes, without a check of its own yet, and goes again with its generation.
    let other = Target::fresh().to_string();
    let added = give(
        past.appliance(),
        &json!({"order": "backend.add", "pool": "web", "backend": "b", "address": other, "backup": true}),
    );
    assert_eq!(paths(&diff(past.appliance(), three, None)), ["pool.web.group.main.backend.b"]);
    let before = state(backend(&past.appliance().status(), "a"));

    let receipt = past.rollback(Some(one));
    assert_eq!((receipt.outcome, receipt.generation_before), (JobOutcome::Applied, Some(added.job)));
    assert_eq!(state(backend(&past.appliance().status(), "a")), before, "its state is not of a generation");
    assert_eq!(past.mark(), "one");
    assert_eq!(past.kept()[0], (receipt.job, past.kept().last().expect("the first is kept").1.clone()));
    let drift = drift(past.appliance());
    assert_eq!(drift.changes, [], "the first is what the file says");

    // Without a number: what ran before what runs. Twice, and all is as it was.
    past.rollback(None);
    assert_eq!(past.mark(), "three");
    past.rollback(None);
    assert_eq!(past.mark(), "one");
    past.rollback(Some(two));
    assert_eq!(past.mark(), "two");

    let status = past.appliance().status();
    let (health, connections, sent) = state(backend(&status, "a"));
    assert_eq!((health, connections, sent), (before.0, before.1, before.2 + 4));
    assert_eq!(pool(&status, "web").accepted, 1, "the client need not come again");
    assert_eq!(past.site.origin.seen().accepted, 2, "a check and one connection for all requests");

    // What is not kept cannot be had, and nothing is done.
    let failure = past.appliance().change(Order::Rollback(Rollback { to: Some(999), if_generation: None }));
    assert_eq!(failure.expect_err("there is none").code, ErrorCode::NotFound);
    let stale = Rollback { to: Some(one), if_generation: Some(one) };
    let failure = past.appliance().change(Order::Rollback(stale)).expect_err("another generation runs");
    assert_eq!(failure.code, ErrorCode::Conflict);
    assert_eq!(past.mark(), "two");
}

#[test]
fn two_generations_are_compared_either_way() {
    let past = Past::new();
    let [one, two, three] = past.marked;
    let forth = diff(past.appliance(), one, Some(three));
    let [change] = &forth.changes[..] else { panic!("{forth:?}") };
    assert!(change.path.contains("rule.all"), "{change:?}");
    let back = diff(past.appliance(), three, Some(one));
    let [undone] = &back.changes[..] else { panic!("{back:?}") };
    assert_eq!((&change.old, &change.new), (&undone.new, &undone.old));
    assert!(diff(past.appliance(), two, Some(two)).unchanged);
    assert_eq!(diff(past.appliance(), one, None).changes, forth.changes, "with what runs");
    let text = past.ctl(&["diff", &one.to_string(), &three.to_string()]);
    assert!(text.contains("1 change in 1 pool") && text.contains("rule.all"), "{text}");
    assert_eq!(past.appliance().status().generation, three, "nothing was changed");
    let failure = past.appliance().call(Order::Diff(DiffOf { from: 999, to: None })).expect_err("there is none");
    assert_eq!(failure.code, ErrorCode::NotFound);
}

/// As an operator does it: into a file, and from the file into another appliance.
#[test]
fn a_generation_is_written_to_a_file_and_applied_from_it() {
    let mut past = Past::new();
    let [one, two, three] = past.marked;
    let hashes = past.kept();
    let hash = |number: u64| &hashes.iter().find(|(kept, _)| *kept == number).expect("it is kept").1;
    assert_ne!(hash(one), hash(two));
    for (number, mark) in [(one, "one"), (two, "two"), (three, "three")] {
        let text = past.ctl(&["config", "--generation", &number.to_string()]);
        let file = past.appliance().folder().join("exported.toml");
        std::fs::write(&file, &text).expect("a file can be written");
        past.ctl(&["apply", &file.display().to_string()]);
        assert_eq!(past.appliance().status().hash, *hash(number));
        assert_eq!(past.mark(), mark);
        assert_eq!(document_of(past.appliance(), None).document, document_of(past.appliance(), Some(number)).document);
    }
    let failure = past.appliance().ctl(&["config", "--generation", "999"]);
    assert_eq!(failure.status.and_then(|status| status.code()), Some(1));
}

/// The past outlives the process, whichever way it ends.
#[test]
fn the_past_of_the_process_before_can_be_gone_back_to() {
    let past = Past::new();
    let [one, two, three] = past.marked;
    let kept = past.kept();
    let document = document_of(past.appliance(), Some(two)).document;
    let Past { site: Site { appliance, origin, front }, .. } = past;
    let pools = std::fs::read_to_string(appliance.folder().join("site.toml")).expect("it has a file");
    let pools = pools[pools.find("[pool").expect("it has a pool")..].to_owned();
    let again = |folder| Launch::new(&pools).shards(1).in_folder(folder).start();

    let appliance = again(appliance.kill());
    let now = appliance.generations().kept;
    let told = now[now.len() - 3..].iter().map(|kept| (kept.generation, kept.hash.clone())).collect::<Vec<_>>();
    assert_eq!(told, kept);
    assert_eq!(document_of(&appliance, Some(two)).document, document);
    assert_eq!(paths(&diff(&appliance, one, Some(three))).len(), 1);
    let back = appliance.change(Order::Rollback(Rollback { to: Some(two), if_generation: None }));
    let back = back.unwrap_or_else(|failure| panic!("{}", tell(&failure)));
    assert!(back.job > three);
    // That is in the journal as well, and so is an end in order.
    let appliance = again(appliance.stop());
    assert_eq!(document_of(&appliance, None).document, document);
    let mut client = Client::connect(&front).expect("it is let in");
    let response = client.exchange(&Request::get("h", "/")).expect("an answer");
    assert_eq!(response.fields.first("X-Mark"), Some("two"));
    assert_eq!(response.received().expect("it was sent to the origin").origin, origin.name());
    let again = Apply { document, ..Apply::default() };
    let receipt = appliance.change(Order::Apply(again)).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
    assert_eq!(receipt.outcome, JobOutcome::Unchanged);
}
