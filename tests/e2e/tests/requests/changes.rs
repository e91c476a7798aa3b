//! Changes of the configuration: what the next request meets, and what a request under way keeps.

use crate::{Site, start};
use api::order::BackendRemove;
use api::{ErrorCode, Order};
use e2e::Pool;
use harness::appliance::{Launch, tell};
use harness::churn::Doors;
use harness::http::client::{After, Response};
use harness::http::{Client, Conduct, Load, Origin, Plan, Request, WebSocket};
use harness::net::Target;
use harness::wait::until;

/// Where an answer says which generation decided it.
const GENERATION: &str = "X-Sluicegate-Generation";

/// A pool whose one rule leads to this origin and marks requests and answers with its name, and which says its generation.
fn marking(front: &Target, origin: &Origin) -> Pool {
    let name = origin.name();
    Pool::http("web").listen(front).backend(name, origin.target()).keys(".http", "generation_header = true").rule(
        &format!(
            "group = \"main\"\nrequest_headers = {{ set = {{ X-Mark = {name:?} }} }}\n\
             response_headers = {{ set = {{ X-Mark = {name:?} }} }}"
        ),
    )
}

/// Everything in the answer that the configuration decided, which must be of one piece: the mark and the generation.
#[track_caller]
fn mark(response: &Response) -> (String, String) {
    let received = response.received().unwrap_or_else(|failure| panic!("{}: {failure}", response.status));
    let marks = [response.fields.first("X-Mark"), received.fields.first("X-Mark"), Some(&*received.origin)];
    assert!(marks.iter().all(|mark| *mark == marks[0]), "an answer of two generations: {marks:?}");
    let generation = response.fields.first(GENERATION).expect("it says its generation");
    (received.origin, generation.to_owned())
}

fn origins() -> [Origin; 2] {
    [Origin::named("old", Conduct::Good), Origin::named("new", Conduct::Good)]
}

#[test]
fn the_next_request_of_an_open_connection_meets_what_is_new() {
    let (origins, front) = (origins(), Target::fresh());
    let appliance = start(&marking(&front, &origins[0]));
    let mut client = Client::connect(&front).expect("it is let in");
    for round in 0..20 {
        let origin = &origins[round % 2];
        if round > 0 {
            appliance.apply(&marking(&front, origin).to_string());
        }
        for _ in 0..3 {
            let response = client.exchange(&Request::get("h", "/")).expect("an answer");
            let expected = (origin.name().to_owned(), format!("web@{}", appliance.status().generation));
            assert_eq!(mark(&response), expected, "round {round}");
            assert!(response.leaves_open());
        }
    }
    assert_eq!(e2e::pool(&appliance.status(), "web").accepted, 1);
}

/// Rules, pages, bounds, time-outs: whatever it is, the connection need not come again.
#[test]
fn every_kind_of_setting_reaches_the_next_request() {
    let site = Site::good();
    let mut client = site.client();
    let mut ask = |site: &Site, pool: Pool, status: u16| {
        site.appliance.apply(&pool.to_string());
        let response = client.exchange(&Request::get("h", "/a")).expect("an answer");
        assert!(response.status == status && response.leaves_open(), "{pool}: {response:?}");
        response
    };
    let deny = |pool: Pool| pool.rule("path = \"/a\"\ndeny = 403");
    ask(&site, deny(site.pool()), 403);
    let response = ask(&site, deny(site.pool()).page("status = 403\nbody = \"go away\""), 403);
    assert_eq!(response.text(), "go away");
    ask(&site, site.pool().rule("path = \"/b\"\ngroup = \"main\""), 404);
    ask(&site, site.pool(), 200);
    let response = ask(&site, site.pool().keys(".http", "via = \"edge\""), 200);
    assert_eq!(response.fields.first("Via"), Some("1.1 edge"));
    site.origin.behave(Conduct::StallsBeforeHead);
    ask(&site, site.pool().keys(".timeouts", "first_byte = \"100ms\""), 504);
    site.origin.behave(Conduct::Good);
    let drained = Pool::http("web").listen(&site.front).backend_with("a", site.origin.target(), "drain = true");
    ask(&site, drained, 503);
    ask(&site, site.pool(), 200);
    // Bounds close the connection, so they come last.
    site.appliance.apply(&site.pool().keys(".http", "line_max = \"256B\"").to_string());
    let response = client.exchange(&Request::get("h", &format!("/{}", "x".repeat(300)))).expect("an answer");
    assert_eq!((response.status, response.after), (414, After::Ended));
    assert_eq!(e2e::pool(&site.appliance.status(), "web").accepted, 1);
}

/// Beside the load of others, on every shard, on connections that are there and on those that come: when the change has been
/// answered, nothing is let through any more.
#[test]
fn a_denial_reaches_every_connection_on_every_shard() {
    let (origin, front) = (Origin::good(), Target::fresh());
    let site = Pool::http("web").listen(&front).backend("a", origin.target());
    let [open, denying] = [vec![], vec!["path_prefix = \"/attack\"\ndeny = 403"]]
        .map(|rules| rules.into_iter().fold(site.clone(), Pool::rule).rule("group = \"main\"").to_string());
    let appliance = Launch::new(&open).shards(2).start();
    let mut clients: Vec<Client> = (0..32).map(|_| Client::connect(&front).expect("it is let in")).collect();
    let ask = |client: &mut Client, status: u16| {
        let response = client.exchange(&Request::get("h", "/attack")).expect("an answer");
        assert!(response.status == status && response.leaves_open(), "{status} was expected: {response:?}");
    };
    clients.iter_mut().for_each(|client| ask(client, 200));
    let shards = appliance.status().shards;
    assert!(shards.len() == 2 && shards.iter().all(|shard| shard.connections > 0), "{shards:?}");
    let load = Load::start(Plan::of_every_kind(&Doors::new(std::slice::from_ref(&front)), "h"));
    load.all_again();
    for (pool, status) in [(&denying, 403), (&open, 200)].repeat(5) {
        appliance.apply(pool);
        clients.iter_mut().for_each(|client| ask(client, status));
        (0..8).for_each(|_| ask(&mut Client::connect(&front).expect("it is let in"), status));
    }
    load.all_again();
    load.finish().assert_clean();
}

/// A host comes with a group of its own and goes with it. While a rule leads to the group, it does not go alone.
#[test]
fn hosts_and_their_groups_come_and_go() {
    let (origins, front) = (origins(), Target::fresh());
    let base = || Pool::http("web").listen(&front).backend("old", origins[0].target());
    let (host, rest) = ("host = \"new.test\"\ngroup = \"extra\"", "group = \"main\"");
    let without = base().rule(rest).to_string();
    let with = base().group("extra", origins[1].target()).rule(host).rule(rest).to_string();
    let dangling = base().rule(host).rule(rest).to_string();
    let appliance = Launch::new(&without).start();
    let mut client = Client::connect(&front).expect("it is let in");
    let mut serves = |expected: &str| {
        let response = client.exchange(&Request::get("new.test", "/")).expect("an answer");
        assert!(response.leaves_open());
        assert_eq!(response.received().expect("the account of it").origin, expected);
    };
    for _ in 0..5 {
        serves("old");
        appliance.apply(&with);
        serves("new");
        let failure = appliance.try_apply(&dangling).expect_err("a rule leads to nowhere");
        assert_eq!(failure.code, ErrorCode::InvalidConfiguration);
        assert!(tell(&failure).contains("`extra`"), "{}", tell(&failure));
        serves("new");
        appliance.apply(&without);
    }
    serves("old");
    origins[1].wait_seen("nothing is kept to who is gone", |seen| seen.open == 0);
    assert_eq!(origins[1].seen().reset, 0);
    assert_eq!(e2e::pool(&appliance.status(), "web").accepted, 1);
}

/// Its rule is gone, its backend too, its headers are others: a request under way does not notice.
#[test]
fn a_request_under_way_ends_on_what_it_began_with() {
    let (origins, front) = (origins(), Target::fresh());
    let appliance = start(&marking(&front, &origins[0]));
    let began = format!("web@{}", appliance.status().generation);
    let mut uploading = Client::connect(&front).expect("it is let in");
    uploading.send_raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc").expect("it is taken");
    uploading.expect("POST");
    origins[0].wait_seen("the head", |seen| seen.requests == 1);
    let mut downloading = Client::connect(&front).expect("it is let in");
    downloading.shrink_receive_buffer(16_384);
    downloading.send(&Request::get("h", "/").field(harness::http::received::FILLER, 10_000_000)).expect("it is taken");
    origins[0].wait_seen("another request", |seen| seen.requests == 2);
    let head = downloading.read_head().expect("it begins");

    appliance.apply(&marking(&front, &origins[1]).to_string());
    appliance.apply(&Pool::http("web").listen(&front).rule("deny = 403").to_string());
    uploading.send_raw(b"def").expect("it is taken");
    let uploaded = uploading.read().expect("an answer");
    let downloaded = downloading.read_body(head).expect("all of it");
    for (response, content) in [(&uploaded, 6), (&downloaded, 0)] {
        assert_eq!(mark(response), ("old".to_owned(), began.clone()));
        assert_eq!(response.received().expect("the account of it").body_bytes, content);
        assert!(response.leaves_open());
    }
    for client in [&mut uploading, &mut downloading] {
        assert_eq!(client.exchange(&Request::get("h", "/")).expect("an answer").status, 403);
    }
}

/// Who waits in line has no answer yet, and nothing that it has to keep.
#[test]
fn a_request_that_waits_is_decided_anew() {
    let (origins, front) = (origins(), Target::fresh());
    origins[0].behave(Conduct::StallsBeforeHead);
    let line = |pool: Pool| pool.keys(".group.main", "queue = 10\nqueue_wait = \"60s\"");
    let capped = Pool::http("web").listen(&front).backend_with("old", origins[0].target(), "max_connections = 1");
    let appliance = start(&line(capped));
    let mut first = Client::connect(&front).expect("it is let in");
    first.send(&Request::get("h", "/")).expect("it is taken");
    origins[0].wait_seen("the first", |seen| seen.requests == 1);
    let mut second = Client::connect(&front).expect("it is let in");
    second.send(&Request::get("h", "/")).expect("it is taken");
    appliance.wait_status("the second waits", |status| e2e::pool(status, "web").queue == 1);
    appliance.apply(&line(marking(&front, &origins[1])).to_string());
    let (origin, generation) = mark(&second.read().expect("an answer"));
    assert_eq!((origin, generation), ("new".to_owned(), format!("web@{}", appliance.status().generation)));
    first.abort();
}

#[test]
fn idle_connections_are_never_closed_by_a_change() {
    let site = Site::good();
    let mut clients: Vec<Client> = (0..50).map(|_| site.client()).collect();
    let silent: Vec<Client> = (0..20).map(|_| site.client()).collect();
    for client in &mut clients {
        assert!(client.exchange(&Request::get("h", "/")).expect("an answer").leaves_open());
    }
    let upstream = site.origin.seen().accepted;
    for round in 0..30 {
        let pool = site.pool().keys(".timeouts", &format!("connect = \"{}s\"", round + 6));
        let pool = pool.rule(&format!("group = \"main\"\nresponse_headers = {{ set = {{ X-Round = \"{round}\" }} }}"));
        site.appliance.apply(&pool.to_string());
    }
    assert!(clients.iter().chain(&silent).all(|client| !client.is_disturbed()), "a change closed an idle connection");
    for client in clients.iter_mut() {
        let response = client.exchange(&Request::get("h", "/")).expect("an answer");
        assert!(response.leaves_open() && response.fields.first("X-Round") == Some("29"), "{response:?}");
    }
    // Nor those to the backends.
    assert_eq!(site.origin.seen().accepted, upstream);
    let closed = site.metric("sluicegate_pool_closed_total");
    assert_eq!(closed, 0.0);
    drop(silent);
}

#[test]
fn a_removed_backend_finishes_what_it_has() {
    let (origins, front) = (origins(), Target::fresh());
    let both = Pool::http("web").listen(&front).backend("old", origins[0].target()).backend_with(
        "new",
        origins[1].target(),
        "weight = 0",
    );
    let appliance = start(&both);
    // One rests, one is under way, one is a tunnel.
    let mut resting = Client::connect(&front).expect("it is let in");
    resting.exchange(&Request::get("h", "/")).expect("an answer");
    let mut socket = WebSocket::open(&front, "h", "/").expect("it opens");
    let mut busy = Client::connect(&front).expect("it is let in");
    busy.send_raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na").expect("it is taken");
    busy.expect("POST");
    origins[0].wait_seen("all of them", |seen| seen.requests == 3);
    appliance.apply(&Pool::http("web").listen(&front).backend("new", origins[1].target()).to_string());

    let response = resting.exchange(&Request::get("h", "/")).expect("an answer");
    assert_eq!(response.received().expect("the account of it").origin, "new");
    socket.echo(10_000).expect("an echo");
    busy.send_raw(b"b").expect("it is taken");
    assert_eq!(busy.read().expect("an answer").received().expect("the account of it").origin, "old");
    socket.echo(10_000).expect("an echo");
    socket.close().expect("a proper end");
    origins[0].wait_seen("nothing is kept to it", |seen| seen.open == 0);
    assert_eq!(origins[0].seen().reset, 0);
    until("nothing of the past is held", || {
        let generations = appliance.generations();
        if generations.retained_bytes == 0 { Ok(()) } else { Err(format!("{generations:?}")) }
    });
}

/// The order to remove is answered when the last request has ended.
#[test]
fn a_removal_waits_for_the_last_request() {
    let (origins, front) = (origins(), Target::fresh());
    let both = Pool::http("web").listen(&front).backend("old", origins[0].target()).backend_with(
        "new",
        origins[1].target(),
        "weight = 0",
    );
    let appliance = start(&both);
    let mut busy = Client::connect(&front).expect("it is let in");
    busy.send_raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na").expect("it is taken");
    busy.expect("POST");
    origins[0].wait_seen("its head", |seen| seen.requests == 1);
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| {
            let (pool, backend) = ("web".to_owned(), "old".to_owned());
            appliance.change(Order::BackendRemove(BackendRemove { pool, group: None, backend, now: false, wait: true }))
        });
        appliance.wait_status("it is removed", |status| e2e::backend(status, "old").removed);
        assert!(!removing.is_finished(), "it did not wait for the last request");
        busy.send_raw(b"b").expect("it is taken");
        assert_eq!(busy.read().expect("an answer").received().expect("the account of it").origin, "old");
        removing.join().expect("no panic").unwrap_or_else(|failure| panic!("{failure}"));
    });
    assert_eq!(origins[0].seen().reset, 0);
}

#[test]
fn a_web_socket_outlives_changes_that_are_not_its_own() {
    let (origin, other, front) = (Origin::good(), Origin::good(), Target::fresh());
    let appliance = start(&marking(&front, &origin));
    let mut socket = WebSocket::open(&front, "h", "/").expect("it opens");
    for round in 0..50 {
        let origin = if round % 2 == 0 { &other } else { &origin };
        let pool = marking(&front, origin).keys(".timeouts", &format!("total = \"{}s\"", round + 60));
        appliance.apply(&pool.to_string());
        socket.echo(round * 100).expect("an echo");
        socket.ping().expect("a pong");
    }
    socket.close().expect("a proper end");
    assert_eq!(origin.seen().reset + other.seen().reset, 0);
}

/// Its address is left too: clients that are there hear of it in their next answer, and are not cut off.
#[test]
fn who_is_connected_to_a_pool_that_goes_is_told_with_an_answer() {
    let (origin, front, stays) = (Origin::good(), Target::fresh(), Target::fresh());
    let stays = Pool::http("stays").listen(&stays).backend("b", origin.target());
    let web = Pool::http("web").listen(&front).backend("a", origin.target());
    let appliance = start(&web.clone().rule("group = \"main\"").keys(".http", "generation_header = true"));
    appliance.apply(&format!("{web}{stays}"));
    let mut client = Client::connect(&front).expect("it is let in");
    let mut socket = WebSocket::open(&front, "h", "/").expect("it opens");
    assert!(client.exchange(&Request::get("h", "/")).expect("an answer").leaves_open());
    appliance.apply(&stays.to_string());
    assert!(!client.is_disturbed());
    let response = client.exchange(&Request::get("h", "/")).expect("an answer");
    assert_eq!((response.status, &response.after), (200, &After::Ended));
    assert!(response.announces_end());
    socket.echo(1_000).expect("an echo");
    socket.close().expect("a proper end");
}

/// Answers of ours say their generation as those of origins do.
#[test]
fn every_answer_can_say_its_generation() {
    let site = Site::with(Conduct::Refuses, |pool| {
        pool.keys(".http", "generation_header = true")
            .rule("path = \"/deny\"\ndeny = 403")
            .rule("path = \"/text\"\nrespond = \"text\"")
            .rule("path = \"/go\"\nredirect = \"/there\"")
            .rule("path = \"/app\"\ngroup = \"main\"")
    });
    let mut client = site.client();
    let generation = format!("web@{}", site.appliance.status().generation);
    for (path, status) in [("/deny", 403), ("/text", 200), ("/go", 302), ("/app", 502), ("/none", 404)] {
        let response = client.exchange(&Request::get("h", path)).expect("an answer");
        assert_eq!((response.status, response.fields.first(GENERATION)), (status, Some(&*generation)), "{path}");
    }
    // Unless told to, none does.
    site.appliance.apply(&site.pool().rule("path = \"/text\"\nrespond = \"text\"").to_string());
    assert!(!client.exchange(&Request::get("h", "/text")).expect("an answer").fields.has(GENERATION));
}
