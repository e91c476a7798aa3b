//! Pools that share an address, divided by the host that a request names.

use e2e::{Pool, metric};
use harness::appliance::{Appliance, Launch};
use harness::http::client::{After, Response};
use harness::http::{Client, Conduct, Origin, Request, WebSocket};
use harness::net::Target;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pool at this address with an origin of its name, and with these hosts if there are any; its answers say who made them.
fn sharing(front: &Target, origin: &Origin, hosts: &[&str]) -> Pool {
    let pool = Pool::http(origin.name()).listen(front).backend("a", origin.target());
    let pool = pool.keys(".http", "generation_header = true");
    if hosts.is_empty() { pool } else { pool.keys("", &format!("hosts = {hosts:?}")) }
}

fn origin(name: &str) -> Origin {
    Origin::named(name, Conduct::Good)
}

fn text(pools: &[Pool]) -> String {
    pools.iter().map(Pool::to_string).collect()
}

/// The pool that has answered, which is the origin's too.
#[track_caller]
fn pool_of(response: &Response) -> &str {
    let said = response.fields.first("X-Sluicegate-Generation").expect("it says its generation");
    let (pool, _) = said.split_once('@').expect("a pool and a number");
    let origin = response.received().expect("the account of it").origin;
    assert_eq!(origin, pool, "an answer of two pools");
    pool
}

#[track_caller]
fn ask(client: &mut Client, host: &str) -> Response {
    client.exchange(&Request::get(host, "/")).unwrap_or_else(|failure| panic!("{host}: {failure}"))
}

#[track_caller]
fn check(client: &mut Client, host: &str, pool: &str) {
    let response = ask(client, host);
    assert_eq!((response.status, pool_of(&response)), (200, pool), "{host}");
    assert!(response.leaves_open(), "{host}");
}

#[track_caller]
fn check_misdirected(client: &mut Client, host: &str) {
    let response = ask(client, host);
    assert_eq!((response.status, response.after), (421, After::Open), "{host}");
}

#[test]
fn one_address_serves_several_pools() {
    let (front, [shop, api, rest]) = (Target::fresh(), ["shop", "api", "rest"].map(origin));
    let pools = [
        sharing(&front, &shop, &["shop.example", "*.shop.example"]),
        sharing(&front, &api, &["api.shop.example", "API.example"]),
        sharing(&front, &rest, &[]),
    ];
    let appliance = Launch::new(&text(&pools)).shards(1).start();
    let mut client = Client::connect(&front).expect("it is let in");
    for _ in 0..3 {
        check(&mut client, "shop.example", "shop");
        check(&mut client, "www.shop.example:8080", "shop");
        check(&mut client, "api.shop.example", "api");
        check(&mut client, "api.EXAMPLE", "api");
        check(&mut client, "example", "rest");
    }
    // The connection is the pool's to which the address leads; requests are those of each.
    let status = appliance.status();
    let accepted = ["api", "rest", "shop"].map(|id| e2e::pool(&status, id).accepted);
    assert_eq!(accepted, [0, 1, 0]);
    let ended = |id| e2e::pool(&status, id).requests.as_ref().map(|requests| requests.ended);
    assert_eq!(["api", "rest", "shop"].map(ended), [Some(6), Some(3), Some(6)]);
    for id in ["api", "rest", "shop"] {
        assert_eq!(e2e::pool(&status, id).listeners[0].address, front.to_string());
    }
    let log = appliance.wait_access_log(15);
    let of = |id: &str| log.iter().filter(|line| line["pool"] == id).count();
    assert_eq!(["api", "rest", "shop"].map(of), [6, 3, 6]);
    // Without the pool that takes the rest it is nobody's.
    appliance.apply(&text(&pools[..2]));
    let mut client = Client::connect(&front).expect("it is let in");
    check_misdirected(&mut client, "example");
    check(&mut client, "shop.example", "shop");
    client.send_raw(b"GET / HTTP/1.0\r\n\r\n").expect("it is taken");
    client.expect("GET");
    assert_eq!(client.read().expect("an answer").status, 421);
    let log = appliance.wait_access_log(18);
    let misdirected = log.iter().filter(|line| line["reason"] == "misdirected" && line["status"] == 421).count();
    assert_eq!(misdirected, 2);
    assert_eq!(metric(&appliance.metrics(), "sluicegate_pool_requests_ended_total", &["reason=\"misdirected\""]), 2.0);
    appliance.stop();
}

/// Clients ask without a pause while hosts go to and fro: each answer is of one pool that has the host, and after a change
/// is applied it is the new one's.
#[test]
fn hosts_move_under_clients_that_keep_their_connections() {
    const CHANGES: usize = 60;
    let (front, [shop, rest]) = (Target::fresh(), ["shop", "rest"].map(origin));
    let document = |moved: bool| {
        let hosts: &[&str] = if moved { &["shop.example", "moves.example"] } else { &["shop.example"] };
        text(&[sharing(&front, &shop, hosts), sharing(&front, &rest, &[])])
    };
    let appliance = Launch::new(&document(false)).start();
    let over = AtomicBool::new(false);
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(&front).expect("it is let in");
                    let mut rounds = 0;
                    while !over.load(Ordering::Relaxed) {
                        check(&mut client, "shop.example", "shop");
                        check(&mut client, "other.example", "rest");
                        let response = ask(&mut client, "moves.example");
                        assert!(response.status == 200 && ["shop", "rest"].contains(&pool_of(&response)));
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let mut client = Client::connect(&front).expect("it is let in");
        for change in 1..=CHANGES {
            let moved = change % 2 == 1;
            let receipt = appliance.apply(&document(moved));
            assert_eq!(receipt.plan.expect("a job has a plan").pools, ["rest", "shop"]);
            check(&mut client, "moves.example", if moved { "shop" } else { "rest" });
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("nothing it met was wrong")).sum()
    });
    assert!(answered > 4, "the clients asked all the while");
    let status = appliance.status();
    assert_eq!(["rest", "shop"].map(|id| e2e::pool(&status, id).accepted), [5, 0], "nobody had to come again");
    appliance.stop();
}

/// Pools come and go at an address whose sockets stay open, also the one that it leads to.
#[test]
fn pools_join_and_leave_an_address() {
    let (front, [a, b, c]) = (Target::fresh(), ["a", "b", "c"].map(origin));
    let pools = [sharing(&front, &a, &["a.example"]), sharing(&front, &b, &["b.example"]), sharing(&front, &c, &[])];
    let appliance = Launch::new(&text(&pools[1..2])).start();
    let new = || Client::connect(&front).expect("it is let in");
    let mut kept = new();
    check_misdirected(&mut kept, "a.example");
    // One before it, which takes over the address; then one that takes the rest.
    appliance.apply(&text(&pools[..2]));
    check(&mut kept, "a.example", "a");
    check(&mut new(), "b.example", "b");
    appliance.apply(&text(&pools));
    check(&mut kept, "else.example", "c");
    check(&mut new(), "a.example", "a");
    let mut socket = WebSocket::open(&front, "a.example", "/").expect("it opens");
    // The one to which it led goes.
    appliance.apply(&text(&pools[..2]));
    check(&mut kept, "a.example", "a");
    check_misdirected(&mut kept, "else.example");
    check_misdirected(&mut new(), "else.example");
    check(&mut new(), "b.example", "b");
    socket.echo(1_000).expect("it goes on");
    appliance.apply(&text(&pools[1..2]));
    check_misdirected(&mut kept, "a.example");
    check(&mut kept, "b.example", "b");
    socket.echo(1_000).expect("it goes on, though both its pools are gone");
    socket.close().expect("a proper end");
    appliance.stop();
}

#[test]
fn what_is_explained_is_what_happens() {
    let (front, [shop, api]) = (Target::fresh(), ["shop", "api"].map(origin));
    let pools = [sharing(&front, &shop, &["*.shop.example"]), sharing(&front, &api, &["api.shop.example"])];
    let appliance = Launch::new(&text(&pools)).shards(1).start();
    let explained = |appliance: &Appliance, host: &str| {
        let done = appliance.ctl(&["explain", &format!("http://{front}/"), "--host", host, "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&done.stdout).expect("an answer in JSON");
        answer["result"].clone()
    };
    let mut client = Client::connect(&front).expect("it is let in");
    for (host, pool) in [("x.shop.example", "shop"), ("API.shop.example", "api"), ("x.api.shop.example", "shop")] {
        let told = explained(&appliance, host);
        assert_eq!((&told["pool"], &told["decision"]["action"]), (&pool.into(), &"group".into()), "{host}: {told}");
        check(&mut client, host, pool);
    }
    let told = explained(&appliance, "shop.example");
    assert_eq!((&told["decision"]["status"], &told["decision"]["reason"]), (&421.into(), &"misdirected".into()));
    check_misdirected(&mut client, "shop.example");
    appliance.stop();
}

#[test]
fn pools_that_cannot_share_are_refused_and_what_runs_goes_on() {
    let (front, [a, b]) = (Target::fresh(), ["a", "b"].map(origin));
    let running = [sharing(&front, &a, &["a.example"]), sharing(&front, &b, &["b.example"])];
    let appliance = Launch::new(&text(&running)).shards(1).start();
    let mut client = Client::connect(&front).expect("it is let in");
    let refused = |pools: &[Pool], message: &str, line: &str| {
        let failure = appliance.try_apply(&text(pools)).expect_err("it cannot be");
        let told = harness::appliance::tell(&failure);
        assert!(told.contains(message) && told.contains(line), "{told}");
    };
    let same = [sharing(&front, &a, &["a.example"]), sharing(&front, &b, &["A.example"])];
    refused(&same, "pools `a` and `b` both take `a.example`", "pool.b.hosts");
    let none = [sharing(&front, &a, &[]), sharing(&front, &b, &[])];
    refused(&none, "pools `a` and `b` both take all hosts", "pool.b.hosts");
    let tcp = Pool::new("t").listen(&front).backend("a", a.target());
    refused(&[sharing(&front, &b, &["b.example"]), tcp], "and so does pool `b`", "pool.t.create.listen");
    check(&mut client, "a.example", "a");
    check(&mut client, "b.example", "b");
    appliance.stop();
}
