//! Who serves a request: balancing, caps and their line, retries, checks, and who is left out for a while.

use crate::{Site, start};
use api::status::Health;
use e2e::{Pool, backend, metric, pool, reasons};
use harness::appliance::Appliance;
use harness::http::request::Content;
use harness::http::{Client, Conduct, Origin, Request};
use harness::net::Target;
use harness::wait::until;
use std::collections::{BTreeMap, BTreeSet};

/// Some origins in one group, `0`, `1` …
struct Group {
    appliance: Appliance,
    origins: Vec<Origin>,
    front: Target,
}

impl Group {
    fn of(conducts: &[Conduct], add: impl FnOnce(Pool) -> Pool) -> Group {
        let named = |(nr, conduct): (usize, &Conduct)| Origin::named(&nr.to_string(), conduct.clone());
        let origins: Vec<Origin> = conducts.iter().enumerate().map(named).collect();
        let front = Target::fresh();
        let pool = origins
            .iter()
            .fold(Pool::http("web").listen(&front), |pool, origin| pool.backend(origin.name(), origin.target()));
        Group { appliance: start(&add(pool)), origins, front }
    }

    fn good(count: usize, add: impl FnOnce(Pool) -> Pool) -> Group {
        Group::of(&vec![Conduct::Good; count], add)
    }

    fn client(&self) -> Client {
        Client::connect(&self.front).expect("it is let in")
    }

    fn requests(&self) -> Vec<u64> {
        self.origins.iter().map(|origin| origin.seen().requests).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.appliance.metrics(), name, &["pool=\"web\""])
    }
}

#[track_caller]
fn origin_of(client: &mut Client, request: &Request) -> String {
    let response = client.exchange(request).unwrap_or_else(|failure| panic!("{request:?}: {failure}"));
    response.received().unwrap_or_else(|failure| panic!("{request:?}: {} {failure}", response.status)).origin
}

/// It is requests that are shared out, not connections.
#[test]
fn requests_of_one_connection_are_shared_out() {
    let group = Group::good(3, |pool| pool);
    let mut client = group.client();
    (0..30).for_each(|_| _ = origin_of(&mut client, &Request::get("h", "/")));
    assert_eq!(group.requests(), [10, 10, 10]);
    assert!(group.origins.iter().all(|origin| origin.seen().accepted == 1));
}

#[test]
fn every_balancer_of_requests_serves_with_all() {
    for balance in ["round-robin", "random-two", "least-requests", "peak-ewma"] {
        let group = Group::good(3, |pool| pool.keys(".group.main", &format!("balance = {balance:?}")));
        let mut client = group.client();
        (0..300).for_each(|_| _ = origin_of(&mut client, &Request::get("h", "/")));
        let requests = group.requests();
        assert_eq!(requests.iter().sum::<u64>(), 300);
        // Who was slow at first is not asked for seconds by one that goes by answers; but everybody is asked.
        let least = if balance == "peak-ewma" { 1 } else { 10 };
        assert!(requests.iter().all(|count| *count >= least), "{balance}: {requests:?}");
    }
}

/// An origin that is busy gets no more while another is not.
#[test]
fn least_requests_passes_over_who_is_busy() {
    let slow = |received: &harness::http::Received| {
        if received.target == "/stall" { Conduct::StallsBeforeHead } else { Conduct::Good }
    };
    let origins = [Origin::choosing("0", slow), Origin::choosing("1", slow)];
    let front = Target::fresh();
    let pool = Pool::http("web").listen(&front).keys(".group.main", "balance = \"least-requests\"");
    let _appliance = start(&pool.backend("0", origins[0].target()).backend("1", origins[1].target()));
    let mut stalled = Client::connect(&front).expect("it is let in");
    stalled.send(&Request::get("h", "/stall")).expect("it is taken");
    let busy =
        until("one is busy", || origins.iter().position(|origin| origin.seen().requests == 1).ok_or("nobody has it"));
    let mut client = Client::connect(&front).expect("it is let in");
    for _ in 0..20 {
        assert_eq!(origin_of(&mut client, &Request::get("h", "/")), (1 - busy).to_string());
    }
}

#[test]
fn a_hash_keeps_clients_with_their_origin() {
    let with_header = |key: String| Request::get("h", "/").field("X-User", key);
    let with_cookie = |key: String| Request::get("h", "/").field("Cookie", format!("a=b; user={key}; c=d"));
    let with_path = |key: String| Request::get("h", &format!("/{key}?{key}"));
    let ways: [(&str, &dyn Fn(String) -> Request); 3] =
        [("header:X-User", &with_header), ("cookie:user", &with_cookie), ("path", &with_path)];
    for (hash_on, request) in ways {
        let group =
            Group::good(4, |pool| pool.keys(".group.main", &format!("balance = \"hash\"\nhash_on = {hash_on:?}")));
        let mut homes: BTreeMap<usize, String> = BTreeMap::new();
        for round in 0..3 {
            let mut client = group.client();
            for key in 0..40 {
                let origin = origin_of(&mut client, &request(format!("user-{key}")));
                let home = homes.entry(key).or_insert_with(|| origin.clone());
                assert_eq!(home, &origin, "{hash_on}: user-{key} moved in round {round}");
            }
        }
        let used: BTreeSet<&String> = homes.values().collect();
        assert_eq!(used.len(), 4, "{hash_on}: {homes:?}");
        // Who goes takes only its own with it.
        let rest = group.origins[1..]
            .iter()
            .fold(Pool::http("web").listen(&group.front), |pool, origin| pool.backend(origin.name(), origin.target()));
        let rest = rest.keys(".group.main", &format!("balance = \"hash\"\nhash_on = {hash_on:?}"));
        group.appliance.apply(&rest.to_string());
        let mut client = group.client();
        let moved = (0..40)
            .filter(|key| homes[key] != "0")
            .filter(|key| origin_of(&mut client, &request(format!("user-{key}"))) != homes[key]);
        let moved = moved.count();
        assert!(moved <= 6, "{hash_on}: {moved} moved although their origin is there");
    }
}

#[test]
fn a_hash_on_the_source_keeps_addresses_with_their_origin() {
    let group = Group::good(4, |pool| pool.keys(".group.main", "balance = \"hash\"\nhash_on = \"source\""));
    let mut used = BTreeSet::new();
    for host in 1..30 {
        let source = std::net::Ipv4Addr::new(127, 9, 0, host).into();
        let homes: BTreeSet<String> = (0..3)
            .map(|_| {
                let mut client = Client::connect_from(source, &group.front).expect("it is let in");
                origin_of(&mut client, &Request::get("h", "/"))
            })
            .collect();
        assert_eq!(homes.len(), 1, "{source}");
        used.extend(homes);
    }
    assert_eq!(used.len(), 4);
}

#[test]
fn a_cap_counts_requests_and_who_waits_is_served_in_order() {
    let site = Site::good();
    let pool = Pool::http("web")
        .listen(&site.front)
        .backend_with("a", site.origin.target(), "max_connections = 1")
        .keys(".group.main", "queue = 2\nqueue_wait = \"60s\"");
    site.appliance.apply(&pool.to_string());
    let waiting = |count: u64| {
        site.appliance.wait_status("requests wait", |status| e2e::pool(status, "web").queue == count);
    };
    let mut first = site.client();
    first.send_raw(b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na").expect("it is taken");
    first.expect("POST");
    site.origin.wait_seen("the first", |seen| seen.requests == 1);
    let mut second = site.client();
    second.send(&Request::get("h", "/2")).expect("it is taken");
    waiting(1);
    let mut third = site.client();
    third.send(&Request::get("h", "/3")).expect("it is taken");
    waiting(2);
    let fourth = site.get("/4");
    assert!(fourth.status == 503 && fourth.leaves_open(), "{fourth:?}");
    assert_eq!(reasons(&site.appliance.wait_access_log(1)), ["queue-full"]);
    first.send_raw(b"b").expect("it is taken");
    for (client, path) in [(&mut first, "/1"), (&mut second, "/2"), (&mut third, "/3")] {
        assert_eq!(client.read().expect("an answer").received().expect("the account of it").target, path);
    }
    // A connection that rests between two requests takes no place.
    assert_eq!(site.get("/5").status, 200);
    assert_eq!(second.exchange(&Request::get("h", "/6")).expect("an answer").status, 200);
    let targets: Vec<String> = site.origin.requests().into_iter().map(|received| received.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/5", "/6"]);
    assert_eq!(site.origin.seen().open_most, 1, "the cap was exceeded");
}

#[test]
fn waiting_for_a_place_has_an_end_and_the_connection_goes_on() {
    let site = Site::of(Conduct::StallsBeforeHead);
    let pool = Pool::http("web")
        .listen(&site.front)
        .backend_with("a", site.origin.target(), "max_connections = 1")
        .keys(".group.main", "queue = 5\nqueue_wait = \"200ms\"");
    site.appliance.apply(&pool.to_string());
    let mut first = site.client();
    first.send(&Request::get("h", "/1")).expect("it is taken");
    site.origin.wait_seen("the first", |seen| seen.requests == 1);
    let mut second = site.client();
    for lines in 1..3 {
        let response = second.exchange(&Request::get("h", "/2")).expect("an answer");
        assert!(response.status == 503 && response.leaves_open(), "{response:?}");
        assert_eq!(site.appliance.wait_access_log(lines)[lines - 1]["reason"], "queue-timeout");
    }
}

/// A connect that fails harms nobody: another is asked, whatever the method.
#[test]
fn another_is_asked_where_one_refuses() {
    let group = Group::of(&[Conduct::Refuses, Conduct::Good], |pool| pool);
    let mut client = group.client();
    for nr in 0..10 {
        let request = Request::post("h", &format!("/{nr}"), Content::text("x"));
        assert_eq!(origin_of(&mut client, &request), "1");
    }
    assert!(group.metric("sluicegate_endpoint_connect_failures_total") > 0.0);
    assert_eq!(group.requests()[1], 10);
    let log = group.appliance.wait_access_log(10);
    assert!(log.iter().any(|line| line["attempts"] == 2 && line["backend"] == "1"), "{log:?}");
}

/// A kept connection that dies as a request leaves costs a safe request nothing, and an unsafe one is not done twice.
/// Such retries are paid for by the budget, which by default does not grant as many in a row as are made here.
#[test]
fn a_kept_connection_that_dies_in_use_is_no_failure_of_what_is_safe() {
    for conduct in [Conduct::ClosesOnReuse, Conduct::ResetsOnReuse, Conduct::ClosesSilently] {
        let site = Site::with(conduct.clone(), |pool| pool.keys(".group.main.retry", "minimum = 1000"));
        let mut client = site.client();
        for nr in 0..20 {
            let response = client.exchange(&Request::get("h", "/")).expect("an answer");
            assert_eq!(response.status, 200, "{conduct:?}, request {nr}");
        }
    }
    let site = Site::of(Conduct::ResetsOnReuse);
    let mut client = site.client();
    assert_eq!(client.exchange(&Request::get("h", "/")).expect("an answer").status, 200);
    let response = client.exchange(&Request::post("h", "/", Content::text("pay"))).expect("an answer");
    assert!(response.status == 502 && response.leaves_open(), "{response:?}");
    assert_eq!(site.metric("sluicegate_pool_request_retries_total"), 0.0);
}

#[test]
fn answers_that_count_as_failures_are_asked_for_again_elsewhere() {
    let bad = Conduct::Answers { status: 503 };
    let group =
        Group::of(&[bad, Conduct::Good], |pool| pool.keys(".group.main.retry", "statuses = [503]\nminimum = 1000"));
    let mut client = group.client();
    for _ in 0..10 {
        assert_eq!(origin_of(&mut client, &Request::get("h", "/")), "1");
    }
    assert!(group.requests()[0] > 0, "nobody was asked first");
    assert_eq!(group.metric("sluicegate_pool_request_retries_total"), group.requests()[0] as f64);
    // What could be done twice is not.
    let statuses: BTreeSet<u16> = (0..4)
        .map(|_| client.exchange(&Request::post("h", "/", Content::text("x"))).expect("an answer").status)
        .collect();
    assert_eq!(statuses, BTreeSet::from([200, 503]));
}

#[test]
fn retries_have_a_number_and_a_budget() {
    let bad = Conduct::Answers { status: 503 };
    let retry = "statuses = [503]\nattempts = 3\nminimum = 1000";
    let group = Group::of(&vec![bad.clone(); 5], |pool| pool.keys(".group.main.retry", retry));
    let response = group.client().exchange(&Request::get("h", "/")).expect("an answer");
    assert_eq!(response.status, 503);
    response.received().expect("the last one's own answer");
    assert_eq!(group.requests().iter().sum::<u64>(), 3);
    assert_eq!(group.appliance.wait_access_log(1)[0]["attempts"], 3);

    // Nothing saved up and nothing granted: no retry at all.
    let group =
        Group::of(&vec![bad; 5], |pool| pool.keys(".group.main.retry", "statuses = [503]\nbudget = 0\nminimum = 0"));
    let mut client = group.client();
    for _ in 0..10 {
        assert_eq!(client.exchange(&Request::get("h", "/")).expect("an answer").status, 503);
    }
    assert_eq!(group.requests().iter().sum::<u64>(), 10);
}

const CHECKS: &str = "kind = \"http\"\ninterval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\nfall = 2";

fn wait_health(appliance: &Appliance, id: &str, health: Health) {
    appliance.wait_status(&format!("{id} is {health}"), |status| backend(status, id).health == health);
}

#[test]
fn a_backend_is_up_while_its_answers_are_as_asked() {
    let site = Site::with(Conduct::Answers { status: 500 }, |pool| {
        let more = "path = \"/health?full=1\"\nhost = \"check.test\"\nmethod = \"GET\"\nstatus = [200, 204]\nbody = \"check.test\"";
        pool.keys(".group.main.health", &format!("{CHECKS}\n{more}"))
    });
    wait_health(&site.appliance, "a", Health::Down);
    assert_eq!(site.get("/").status, 503);
    // The account that a good origin gives holds the host that it was asked for.
    site.origin.behave(Conduct::Good);
    wait_health(&site.appliance, "a", Health::Up);
    let checks = site.origin.requests();
    let check = checks.last().expect("it was checked");
    assert_eq!((&*check.target, check.fields.first("Host")), ("/health?full=1", Some("check.test")));
    assert_eq!(site.get("/").status, 200);
    // The status is right, the content is not.
    let other = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nelse".to_vec();
    site.origin.behave(Conduct::Sends { bytes: other, ends: true });
    wait_health(&site.appliance, "a", Health::Down);
    site.origin.behave(Conduct::Good);
    wait_health(&site.appliance, "a", Health::Up);
    // A status that is none of those, although it is a success.
    site.origin.behave(Conduct::Answers { status: 202 });
    wait_health(&site.appliance, "a", Health::Down);
    // Checks are no requests of clients.
    assert_eq!(site.metric("sluicegate_pool_requests_total"), 2.0);
}

#[test]
fn checks_see_every_vice() {
    for conduct in [
        Conduct::ResetsBeforeHead,
        Conduct::EndsBeforeHead,
        Conduct::StallsBeforeHead,
        Conduct::Garbage { bytes: 100 },
        Conduct::InterimForEver,
    ] {
        let site = Site::with(Conduct::Good, |pool| {
            pool.keys(
                ".group.main.health",
                "kind = \"http\"\ninterval = \"100ms\"\ntimeout = \"300ms\"\nrise = 1\nfall = 1",
            )
        });
        wait_health(&site.appliance, "a", Health::Up);
        site.origin.behave(conduct.clone());
        wait_health(&site.appliance, "a", Health::Down);
        site.origin.behave(Conduct::Good);
        wait_health(&site.appliance, "a", Health::Up);
    }
}

#[test]
fn who_keeps_failing_is_left_out_and_comes_back() {
    let group = Group::of(&[Conduct::Answers { status: 500 }, Conduct::Good], |pool| {
        pool.keys(".group.main.eject", "errors = 3\nbase = \"300ms\"\nlongest = \"300ms\"\npercent_max = 50")
    });
    let mut client = group.client();
    let mut ask = || client.exchange(&Request::get("h", "/")).expect("an answer").status;
    let statuses: Vec<u16> = std::iter::repeat_with(&mut ask).take(6).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3, "{statuses:?}");
    assert_eq!(group.metric("sluicegate_endpoint_ejections_total"), 1.0);
    group.origins[0].behave(Conduct::Good);
    let before = group.requests()[0];
    until("it is asked again", || {
        ask();
        if group.requests()[0] > before { Ok(()) } else { Err("not yet") }
    });
}

/// Not all at once, however bad: some answer is better than none.
#[test]
fn not_everybody_can_be_left_out() {
    let group = Group::of(&vec![Conduct::Answers { status: 500 }; 4], |pool| {
        pool.keys(".group.main.eject", "errors = 1\nbase = \"1h\"\nlongest = \"1h\"\npercent_max = 50")
    });
    let mut client = group.client();
    for _ in 0..20 {
        assert_eq!(client.exchange(&Request::get("h", "/")).expect("an answer").status, 500);
    }
    assert_eq!(group.metric("sluicegate_endpoint_ejected"), 2.0);
    let requests = group.requests();
    assert_eq!(requests.iter().filter(|count| **count == 1).count(), 2, "{requests:?}");
    assert_eq!(pool(&group.appliance.status(), "web").backends.len(), 4);
}

#[test]
fn idle_connections_are_bounded_in_number_and_age() {
    let site = Site::with(Conduct::StallsBeforeHead, |pool| {
        pool.keys(".group.main", "idle_max = 2\nidle_timeout = \"300ms\"")
    });
    let mut clients: Vec<Client> = (0..5).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send(&Request::get("h", "/")).expect("it is taken");
    }
    site.origin.wait_seen("five at once", |seen| seen.requests == 5 && seen.open == 5);
    clients.into_iter().for_each(Client::abort);
    site.origin.wait_seen("nobody waits for the answers", |seen| seen.open == 0);
    site.origin.behave(Conduct::Good);
    assert_eq!(site.get("/").status, 200);
    assert_eq!(site.metric("sluicegate_endpoint_idle_connections"), 1.0);
    site.origin.wait_seen("it grows too old", |seen| seen.open == 0);
    assert_eq!(site.metric("sluicegate_endpoint_idle_connections"), 0.0);
}
