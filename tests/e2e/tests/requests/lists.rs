//! Lists that lie in files: whom they refuse, from one reload to the next.

use api::Order;
use api::receipt::JobOutcome;
use e2e::Pool;
use harness::appliance::{Launch, tell};
use harness::http::client::After;
use harness::http::{Client, Request};
use harness::net::Target;

/// So many entries beside those that the test is about.
const ENTRIES: u32 = 100_000;

/// Networks that no client of the test is in, and these.
fn file(entries: &[&str]) -> String {
    let others = (0..ENTRIES).map(|n| format!("10.{}.{}.{}/32\n", n >> 16, n >> 8 & 255, n & 255));
    others.chain(entries.iter().map(|entry| format!("{entry}\n"))).collect()
}

#[test]
fn a_deny_list_of_a_hundred_thousand_changes_with_its_file() {
    let front = Target::fresh();
    let pool = Pool::http("web")
        .listen(&front)
        .rule("source = \"blocked\"\ndeny = 403")
        .rule("header = { User-Agent = { list = \"bots\" } }\ndeny = 404")
        .rule("respond = \"fine\"");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let blocked = folder.path().join("blocked.txt");
    std::fs::write(&blocked, file(&[])).expect("the list can be written");
    let tables = format!(
        "[list.blocked]\nfile = {:?}\n[list.bots]\nkind = \"text\"\nentries = [\"bad bot\"]",
        blocked.display().to_string()
    );
    let appliance = Launch::new(&pool.to_string()).other_tables(&tables).start();
    let mut client = Client::connect(&front).expect("it is let in");
    let mut ask = |agent: &str| {
        let request = Request::get("h", "/").field("User-Agent", agent);
        let response = client.exchange(&request).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(response.after, After::Open, "the connection need not come again");
        response.status
    };
    let reload = || {
        appliance
            .change(Order::Reload(api::order::Reload::default()))
            .unwrap_or_else(|failure| panic!("{}", tell(&failure)))
    };
    assert_eq!((ask("good bot"), ask("bad bot")), (200, 404));

    for round in 0..5 {
        std::fs::write(&blocked, file(&["127.0.0.0/8 # ourselves"])).expect("the list can be written");
        assert_eq!(reload().outcome, JobOutcome::Applied, "round {round}");
        assert_eq!((ask("good bot"), ask("bad bot")), (403, 403), "round {round}");
        assert_eq!(reload().outcome, JobOutcome::Unchanged, "the file says what it said");

        std::fs::write(&blocked, file(&["# 127.0.0.0/8"])).expect("the list can be written");
        assert_eq!(reload().outcome, JobOutcome::Applied, "round {round}");
        assert_eq!((ask("good bot"), ask("bad bot")), (200, 404), "round {round}");
    }

    // A file that is wrong leaves what runs.
    std::fs::write(&blocked, file(&["127.0.0.0/8", "127.0.0.0/33"])).expect("the list can be written");
    let failure = appliance.change(Order::Reload(api::order::Reload::default())).expect_err("the last line is wrong");
    let told = tell(&failure);
    assert!(told.contains("127.0.0.0/33") || told.contains(&format!("blocked.txt:{}", ENTRIES + 2)), "{told}");
    assert_eq!(ask("good bot"), 200);
}
