//! Typed orders and patches, while one client keeps its connection and another is in the middle of a long answer.

use crate::Site;
use api::order::{Apply, Transaction};
use api::receipt::JobOutcome;
use api::{Body, Edit, ErrorCode, Order, Plan, Receipt};
use harness::appliance::{Appliance, tell};
use harness::http::client::Response;
use harness::http::message::StatusHead;
use harness::http::{Client, Conduct, Origin, Request, received};
use harness::net::{Stream, Target};
use harness::outcome::Failure;
use harness::wait::{Deadline, until};
use serde_json::{Value, json};

/// What the download has in its body: more than the sockets on its way hold.
const DOWNLOAD_BYTES: usize = 10_000_000;

/// A pool whose rule `all` leads to its one origin, and two clients that must not notice anything.
struct Busy {
    site: Site,
    keeping: Client,
    downloading: Client,
    head: StatusHead,
}

impl Busy {
    fn start() -> Busy {
        let site = Site::with(Conduct::Good, |pool| pool.rule("id = \"all\"\ngroup = \"main\""));
        let mut downloading = site.client();
        downloading.shrink_receive_buffer(16_384);
        downloading.send(&Request::get("h", "/").field(received::FILLER, DOWNLOAD_BYTES)).expect("it is taken");
        site.origin.wait_seen("the download", |seen| seen.requests == 1);
        let head = downloading.read_head().expect("it begins");
        let keeping = site.client();
        Busy { site, keeping, downloading, head }
    }

    fn appliance(&self) -> &Appliance {
        &self.site.appliance
    }

    /// The next request on the connection that is kept.
    #[track_caller]
    fn ask(&mut self, host: &str, path: &str) -> Response {
        let response = self.keeping.exchange(&Request::get(host, path)).expect("an answer");
        assert!(response.leaves_open(), "{response:?}");
        response
    }

    #[track_caller]
    fn text(&mut self, path: &str) -> (u16, String) {
        let response = self.ask("h", path);
        (response.status, response.text().to_owned())
    }

    /// Name of the origin that is met.
    #[track_caller]
    fn origin(&mut self, host: &str) -> String {
        self.ask(host, "/").received().expect("the account of it").origin
    }

    /// The download has all that it was to have, and nobody had to come again.
    fn end(mut self) {
        let response = self.downloading.read_body(self.head).expect("all of it");
        response.received().expect("the account of it");
        assert!(!self.keeping.is_disturbed());
        assert_eq!(e2e::pool(&self.site.appliance.status(), "web").accepted, 2);
    }
}

fn edit(order: &Value) -> Edit {
    serde_json::from_value(order.clone()).unwrap_or_else(|error| panic!("{error}: {order}"))
}

#[track_caller]
fn give(appliance: &Appliance, order: &Value) -> Receipt {
    let given = appliance.change(Order::Edit(edit(order)));
    given.unwrap_or_else(|failure| panic!("{order}: {}", tell(&failure)))
}

/// Gives an order, which changes something. Given again it does not, and the document that runs reads as what runs.
#[track_caller]
fn order(appliance: &Appliance, order: &Value) {
    assert_eq!(give(appliance, order).outcome, JobOutcome::Applied, "{order}");
    assert_eq!(give(appliance, order).outcome, JobOutcome::Unchanged, "{order}, said twice");
    reads_as_what_runs(appliance);
}

/// As [`order`], of a removal: said twice it is not found, unless that is as good.
#[track_caller]
fn remove(appliance: &Appliance, removal: &Value) {
    assert_eq!(give(appliance, removal).outcome, JobOutcome::Applied, "{removal}");
    let failure = appliance.change(Order::Edit(edit(removal))).expect_err("it is gone");
    assert_eq!(failure.code, ErrorCode::NotFound, "{removal}: {}", tell(&failure));
    let mut lenient = removal.clone();
    lenient["missing_ok"] = true.into();
    assert_eq!(give(appliance, &lenient).outcome, JobOutcome::Unchanged, "{lenient}");
    reads_as_what_runs(appliance);
}

#[track_caller]
fn reads_as_what_runs(appliance: &Appliance) {
    let Ok(Body::Config(running)) = appliance.call(Order::ConfigGet(Default::default())) else { panic!("no document") };
    let again = Order::Apply(Apply { document: running.document, ..Apply::default() });
    let receipt = appliance.change(again).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
    assert_eq!(receipt.outcome, JobOutcome::Unchanged, "{:?}", receipt.plan);
}

fn transaction(orders: &[Value]) -> Transaction {
    Transaction { orders: orders.iter().map(edit).collect(), ..Transaction::default() }
}

fn plan(appliance: &Appliance, transaction: Transaction) -> Plan {
    let planned = appliance.call(Order::Transaction(Transaction { dry_run: true, ..transaction }));
    match planned {
        Ok(Body::Plan(plan)) => plan,
        other => panic!("a plan was expected, not {other:?}"),
    }
}

#[test]
fn orders_about_rules_reach_the_next_request_of_an_open_connection() {
    let mut busy = Busy::start();
    let rule = |verb: &str, more: Value| {
        let mut order = json!({"order": format!("rule.{verb}"), "pool": "web", "rule": "attack"});
        order.as_object_mut().expect("a table").extend(more.as_object().cloned().expect("a table"));
        order
    };
    assert_eq!(busy.ask("h", "/x").status, 200);
    order(busy.appliance(), &rule("add", json!({"place": "first", "set": {"path_prefix": "/x", "deny": 403}})));
    assert_eq!(busy.ask("h", "/x/y").status, 403);
    order(busy.appliance(), &rule("set", json!({"set": {"deny": null, "respond": "nothing here"}})));
    assert_eq!(busy.text("/x"), (200, "nothing here".to_owned()));
    order(busy.appliance(), &rule("move", json!({"place": "last"})));
    busy.ask("h", "/x").received().expect("the other rule takes it, which leads to the origin");
    order(busy.appliance(), &rule("move", json!({"place": {"before": "all"}})));
    assert_eq!(busy.text("/x"), (200, "nothing here".to_owned()));
    remove(busy.appliance(), &rule("remove", json!({})));
    busy.ask("h", "/x").received().expect("no rule is before the other any more");
    busy.end();
}

#[test]
fn orders_about_headers_reach_the_next_request_of_an_open_connection() {
    let mut busy = Busy::start();
    let header = |verb: &str, head: &str, name: &str, value: Option<&str>| {
        let mut order =
            json!({"order": format!("header.{verb}"), "pool": "web", "rule": "all", "head": head, "name": name});
        value.into_iter().for_each(|value| order["value"] = value.into());
        order
    };
    order(busy.appliance(), &header("set", "request", "X-Set", Some("{method}")));
    order(busy.appliance(), &header("add", "response", "X-Added", Some("1")));
    let response = busy.ask("h", "/");
    assert_eq!(response.fields.first("X-Added"), Some("1"));
    let received = response.received().expect("the account of it");
    assert_eq!(received.fields.first("X-Set"), Some("GET"));
    order(busy.appliance(), &header("remove", "request", "X-Forwarded-For", None));
    assert!(received.fields.has("X-Forwarded-For"));
    assert!(!busy.ask("h", "/").received().expect("the account of it").fields.has("X-Forwarded-For"));
    for (head, name) in [("request", "X-Set"), ("response", "X-Added"), ("request", "X-Forwarded-For")] {
        order(busy.appliance(), &header("clear", head, name, None));
    }
    let response = busy.ask("h", "/");
    let received = response.received().expect("the account of it");
    assert!(!response.fields.has("X-Added") && !received.fields.has("X-Set"));
    assert!(received.fields.has("X-Forwarded-For"));
    busy.end();
}

/// The group, the rule that leads there and the host come in one generation, and go in one.
#[test]
fn groups_and_hosts_come_and_go_by_orders() {
    let mut busy = Busy::start();
    let other = Origin::named("other", Conduct::Good);
    let own = busy.origin("new.test");
    let backends = json!({"x": {"address": other.target().to_string()}});
    let group = json!({"order": "group.add", "pool": "web", "group": "extra", "set": {"backend": backends}});
    let rule = json!({"order": "rule.add", "pool": "web", "rule": "to-extra", "place": "first",
        "set": {"host": "new.test", "group": "extra"}});
    let both = transaction(&[group, rule]);
    let before = busy.appliance().status().generation;
    let receipt = busy.appliance().change(Order::Transaction(both.clone())).expect("they agree");
    assert_eq!((receipt.outcome, receipt.generation_before), (JobOutcome::Applied, Some(before)));
    assert_eq!(busy.origin("new.test"), "other");
    assert_eq!(busy.origin("h"), own);
    let again = busy.appliance().change(Order::Transaction(both)).expect("they agree");
    assert_eq!(again.outcome, JobOutcome::Unchanged);

    let failure = busy
        .appliance()
        .change(Order::Edit(edit(&json!({"order": "group.remove", "pool": "web", "group": "extra"}))))
        .expect_err("a rule leads there");
    assert_eq!(failure.code, ErrorCode::InvalidConfiguration, "it is there");
    assert!(tell(&failure).contains("extra"), "{}", tell(&failure));
    order(
        busy.appliance(),
        &json!({"order": "group.set", "pool": "web", "group": "extra", "set": {"balance": "random-two"}}),
    );

    // A host with a group is a rule of its name, behind the others.
    let host =
        |verb: &str| json!({"order": format!("host.{verb}"), "pool": "web", "host": "two.test", "group": "extra"});
    order(busy.appliance(), &host("add"));
    let first = json!({"order": "rule.move", "pool": "web", "rule": "two.test/*", "place": "first"});
    order(busy.appliance(), &first);
    assert_eq!(busy.origin("two.test"), "other");
    remove(busy.appliance(), &host("remove"));
    assert_eq!(busy.origin("two.test"), own);

    let gone = transaction(&[
        json!({"order": "rule.remove", "pool": "web", "rule": "to-extra"}),
        json!({"order": "group.remove", "pool": "web", "group": "extra"}),
    ]);
    busy.appliance().change(Order::Transaction(gone)).expect("nothing leads there any more");
    assert_eq!(busy.origin("new.test"), own);

    // A host of the pool itself: others are not its requests from then on.
    for host in ["h", "new.test"] {
        order(busy.appliance(), &json!({"order": "host.add", "pool": "web", "host": host}));
    }
    remove(busy.appliance(), &json!({"order": "host.remove", "pool": "web", "host": "new.test"}));
    assert_eq!(busy.ask("new.test", "/").status, 421);
    assert_eq!(busy.origin("h"), own);
    busy.end();
}

/// Waits until nobody is let in there any more.
fn wait_refusing(address: &Target) {
    until("the address refuses", || match Stream::connect(address, Deadline::patient()) {
        Err(Failure::Refused) => Ok(()),
        Err(other) => Err(other.to_string()),
        Ok(_) => Err("it still lets somebody in".to_owned()),
    });
}

#[test]
fn pools_and_addresses_come_and_go_by_orders() {
    let mut busy = Busy::start();
    let (first, second) = (Target::fresh(), Target::fresh());
    let ask = |client: &mut Client| client.exchange(&Request::get("h", "/")).expect("an answer");
    let listen = |verb: &str, pool: &str| json!({"order": format!("listen.{verb}"), "pool": pool, "address": second.to_string()});
    let backends = json!({"a": {"address": busy.site.origin.target().to_string()}});
    order(
        busy.appliance(),
        &json!({"order": "pool.add", "pool": "more", "set": {
            "create": {"service": "http", "listen": [first.to_string()]}, "group": {"main": {"backend": backends}}}}),
    );
    let mut kept = Client::connect(&first).expect("it is let in");
    assert!(ask(&mut kept).leaves_open());
    order(busy.appliance(), &listen("add", "more"));
    let mut late = Client::connect(&second).expect("it is let in");
    assert!(ask(&mut late).leaves_open());
    order(busy.appliance(), &json!({"order": "pool.set", "pool": "more", "set": {"timeouts": {"connect": "7s"}}}));
    order(busy.appliance(), &json!({"order": "limit.set", "pool": "more", "set": {"max_connections": 500}}));
    remove(busy.appliance(), &listen("remove", "more"));
    wait_refusing(&second);
    assert!(ask(&mut late).leaves_open(), "who is in stays");

    remove(busy.appliance(), &json!({"order": "pool.remove", "pool": "more"}));
    wait_refusing(&first);
    for client in [&mut kept, &mut late] {
        let response = ask(client);
        assert!(response.status == 200 && response.announces_end(), "{response:?}");
    }
    busy.ask("h", "/");
    busy.end();
}

#[test]
fn patches_are_orders_too() {
    let mut busy = Busy::start();
    let rules = json!({"all": {"response_headers": {"set": {"X-By": "merge"}}}});
    order(busy.appliance(), &json!({"order": "patch", "merge": {"pool": {"web": {"rule": rules}}}}));
    assert_eq!(busy.ask("h", "/").fields.first("X-By"), Some("merge"));
    let header = "/pool/web/rule/all/response_headers/set/X-By";
    let steps =
        json!([{"op": "replace", "path": header, "value": "steps"}, {"op": "test", "path": header, "value": "steps"}]);
    order(busy.appliance(), &json!({"order": "patch", "patch": steps}));
    assert_eq!(busy.ask("h", "/").fields.first("X-By"), Some("steps"));

    let before = busy.appliance().status();
    let stale =
        json!([{"op": "replace", "path": header, "value": "stale"}, {"op": "test", "path": header, "value": "steps"}]);
    let stale = Order::Edit(edit(&json!({"order": "patch", "patch": stale})));
    let failure = busy.appliance().change(stale).expect_err("the test does not hold any more");
    assert_eq!(failure.code, ErrorCode::InvalidConfiguration, "{}", tell(&failure));
    let after = busy.appliance().status();
    assert_eq!((before.generation, before.hash), (after.generation, after.hash));
    assert_eq!(busy.ask("h", "/").fields.first("X-By"), Some("steps"));
    busy.end();
}

#[test]
fn a_transaction_of_orders_is_all_or_nothing_and_says_which_is_wrong() {
    let mut busy = Busy::start();
    let deny = json!({"order": "rule.add", "pool": "web", "rule": "deny", "place": "first", "set": {"deny": 403}});
    let idle = json!({"order": "pool.set", "pool": "web", "set": {"timeouts": {"idle": "30s"}}});
    let wrong = json!({"order": "rule.set", "pool": "web", "rule": "nobody", "set": {"deny": 404}});
    let before = busy.appliance().status();
    let failure = busy
        .appliance()
        .change(Order::Transaction(transaction(&[deny.clone(), idle.clone(), wrong])))
        .expect_err("the last order is wrong");
    assert_eq!(failure.code, ErrorCode::NotFound);
    assert!(tell(&failure).contains("orders[2]") && tell(&failure).contains("nobody"), "{}", tell(&failure));

    let right = transaction(&[deny, idle]);
    let planned = plan(busy.appliance(), right.clone());
    assert!(planned.changes.iter().any(|change| change.path == "pool.web.rule.deny"), "{planned:?}");
    let stale = Transaction { if_generation: Some(before.generation + 1), ..right.clone() };
    let failure = busy.appliance().change(Order::Transaction(stale)).expect_err("another generation runs");
    assert_eq!((failure.code, failure.generation), (ErrorCode::Conflict, Some(before.generation)));
    let after = busy.appliance().status();
    assert_eq!((before.generation, &before.hash), (after.generation, &after.hash), "nothing was done");
    assert_eq!(busy.ask("h", "/").status, 200);

    let expected = Transaction { if_generation: Some(before.generation), ..right };
    let receipt = busy.appliance().change(Order::Transaction(expected)).expect("the condition holds");
    let paths = |plan: &Plan| plan.changes.iter().map(|change| change.path.clone()).collect::<Vec<_>>();
    assert_eq!(receipt.plan.as_ref().map(paths), Some(paths(&planned)), "it does what was planned");
    assert_eq!(busy.ask("h", "/").status, 403);
    busy.end();
}
