//! Lists: whom they refuse, from one reload to the next where they lie in files, and from one order to the next.

use api::order::{OnDrift, Reload};
use api::receipt::{JobOutcome, Source};
use api::{Event, Happening, Order};
use e2e::{Pool, document_of, give};
use harness::appliance::{Appliance, Launch, rfc3339, tell};
use harness::http::client::After;
use harness::http::{Client, Request};
use harness::net::Target;
use harness::wait::until;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

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

/// A pool that refuses who is in the list `blocked`, and two clients of it with addresses of their own.
struct Door {
    pools: String,
    lists: String,
    front: Target,
}

impl Door {
    fn new(list: &str) -> Door {
        let front = Target::fresh();
        let pool = Pool::http("web").listen(&front).rule("source = \"blocked\"\ndeny = 403").rule("respond = \"fine\"");
        Door { pools: pool.to_string(), lists: format!("[list.blocked]\n{list}\n"), front }
    }

    fn launch(&self) -> Launch {
        Launch::new(&self.pools).other_tables(&self.lists)
    }

    fn again(&self, folder: TempDir) -> Appliance {
        self.launch().in_folder(folder).start()
    }

    /// A client at 127.0.0.`last`.
    fn client(&self, last: u8) -> Client {
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        Client::connect_from(source, &self.front).expect("it is let in")
    }

    /// What a client there is answered.
    fn asks(&self, last: u8) -> u16 {
        ask(&mut self.client(last))
    }
}

/// The next request on its connection, which stays.
#[track_caller]
fn ask(client: &mut Client) -> u16 {
    let response = client.exchange(&Request::get("h", "/")).expect("an answer");
    assert_eq!(response.after, After::Open, "the connection need not come again");
    response.status
}

/// An order about the list.
fn blocked(verb: &str, more: Value) -> Value {
    let mut order = json!({"order": format!("list.{verb}"), "list": "blocked"});
    order.as_object_mut().expect("a table").extend(more.as_object().cloned().expect("a table"));
    order
}

#[test]
fn entries_come_and_go_by_orders_under_an_open_connection() {
    let door = Door::new("entries = []");
    let appliance = door.launch().start();
    let (mut two, mut three) = (door.client(2), door.client(3));
    for round in 0..10 {
        assert_eq!((ask(&mut two), ask(&mut three)), (200, 200), "round {round}");
        let add = blocked("add", json!({"entry": "127.0.0.2", "reason": "scan"}));
        assert_eq!(give(&appliance, &add).outcome, JobOutcome::Applied);
        assert_eq!((ask(&mut two), ask(&mut three)), (403, 200), "round {round}");
        assert_eq!(give(&appliance, &add).outcome, JobOutcome::Unchanged, "it is there");
        give(&appliance, &blocked("add", json!({"entry": "127.0.0.0/24"})));
        assert_eq!((ask(&mut two), ask(&mut three)), (403, 403), "round {round}");
        give(&appliance, &blocked("remove", json!({"entry": "127.0.0.2"})));
        assert_eq!((ask(&mut two), ask(&mut three)), (403, 403), "round {round}: the network is still there");
        give(&appliance, &blocked("remove", json!({"entry": "127.0.0.0/24"})));
    }
    assert_eq!((ask(&mut two), ask(&mut three)), (200, 200));
    assert_eq!(e2e::pool(&appliance.status(), "web").accepted, 2);
}

/// It expires while the client waits on its connection; a process that comes later knows of it no more than the one that
/// saw it go, and what was ordered afterwards is still so.
#[test]
fn an_entry_expires_by_itself() {
    let door = Door::new("entries = []");
    let appliance = door.launch().start();
    let mut two = door.client(2);
    let mut events = appliance.events();
    let expires = rfc3339(SystemTime::now() + Duration::from_secs(3));
    give(&appliance, &blocked("add", json!({"entry": "127.0.0.2", "expires": expires})));
    give(&appliance, &blocked("add", json!({"entry": "127.0.0.3"})));
    assert_eq!((ask(&mut two), door.asks(3)), (403, 403));
    let by_time = |event: &Event| matches!(event.happening, Happening::JobSubmitted { source: Source::Expiry, .. });
    let Happening::JobSubmitted { job, .. } = events.wait("the entry expires", by_time).happening else {
        unreachable!("it was asked for");
    };
    events.wait(
        "its job ends",
        |event| matches!(event.happening, Happening::JobEnded { job: ended, .. } if ended == job),
    );
    assert_eq!((ask(&mut two), door.asks(3)), (200, 403));
    let receipt = appliance.receipt(job);
    assert_eq!((receipt.outcome, receipt.source, receipt.author), (JobOutcome::Applied, Source::Expiry, None));
    assert!(rfc3339(SystemTime::now()) >= expires, "not before its time");

    // Entries are counted without those that are gone.
    give(&appliance, &blocked("add", json!({"entry": "127.0.0.4"})));
    give(&appliance, &blocked("add", json!({"entry": "127.0.0.5"})));
    give(&appliance, &json!({"order": "patch", "patch": [{"op": "remove", "path": "/list/blocked/entries/2"}]}));
    assert_eq!([2, 3, 4, 5].map(|last| door.asks(last)), [200, 403, 403, 200]);
    let (document, hash) = (document_of(&appliance, None).document, appliance.status().hash);
    let appliance = door.again(appliance.kill());
    assert_eq!((document_of(&appliance, None).document, appliance.status().hash), (document.clone(), hash.clone()));
    assert_eq!([2, 3, 4, 5].map(|last| door.asks(last)), [200, 403, 403, 200]);
    let appliance = door.again(appliance.stop());
    assert_eq!((document_of(&appliance, None).document, appliance.status().hash), (document, hash));
}

/// It goes while no process runs, and the next one counts its entries without it.
#[test]
fn an_entry_expires_between_two_processes() {
    let door = Door::new("entries = []");
    let appliance = door.launch().start();
    let expires = SystemTime::now() + Duration::from_secs(1);
    give(&appliance, &blocked("add", json!({"entry": "127.0.0.2", "expires": rfc3339(expires)})));
    for last in ["127.0.0.3", "127.0.0.4"] {
        give(&appliance, &blocked("add", json!({"entry": last})));
    }
    let folder = appliance.kill();
    // Nobody is there to tell. A part of a second counts as a whole one.
    until("its time is over", || match SystemTime::now().duration_since(expires) {
        Ok(over) if over >= Duration::from_secs(1) => Ok(()),
        _ => Err("it is not"),
    });
    let appliance = door.again(folder);
    give(&appliance, &json!({"order": "patch", "patch": [{"op": "remove", "path": "/list/blocked/entries/1"}]}));
    assert_eq!([2, 3, 4].map(|last| door.asks(last)), [200, 403, 200]);
    let hash = appliance.status().hash;
    let appliance = door.again(appliance.kill());
    assert_eq!(([2, 3, 4].map(|last| door.asks(last)), appliance.status().hash), ([200, 403, 200], hash));
}

/// The journal has what was read of it, so the file may be gone, or another one.
#[test]
fn a_list_that_was_read_of_a_file_is_there_when_the_file_is_not() {
    for name in ["blocked.txt", "<folder>/blocked.txt"] {
        let door = Door::new("entries = []");
        let appliance = door.launch().start();
        let path = appliance.folder().join("blocked.txt");
        std::fs::write(&path, file(&["127.0.0.2 # ourselves", "127.0.0.4"])).expect("the list can be written");
        let name = name.replace("<folder>", &appliance.folder().display().to_string());
        let mut two = door.client(2);
        assert_eq!(ask(&mut two), 200);
        give(&appliance, &blocked("replace", json!({"file": name})));
        assert_eq!(ask(&mut two), 403);
        give(&appliance, &blocked("add", json!({"entry": "127.0.0.3"})));
        give(&appliance, &blocked("remove", json!({"entry": "127.0.0.4"})));
        let all = |door: &Door| [2, 3, 4].map(|last| door.asks(last));
        assert_eq!(all(&door), [403, 403, 200]);
        let hash = appliance.status().hash;

        std::fs::remove_file(&path).expect("it is there");
        let appliance = door.again(appliance.kill());
        assert_eq!((all(&door), &appliance.status().hash), ([403, 403, 200], &hash));
        // What was resumed is resumed again, and can be changed further.
        std::fs::write(&path, "127.0.0.5\n").expect("it can be written");
        let appliance = door.again(appliance.kill());
        assert_eq!((all(&door), door.asks(5), &appliance.status().hash), ([403, 403, 200], 200, &hash));
        give(&appliance, &blocked("remove", json!({"entry": "127.0.0.3"})));
        let appliance = door.again(appliance.stop());
        assert_eq!(all(&door), [403, 200, 200]);
        give(&appliance, &blocked("replace", json!({"file": name})));
        assert_eq!((all(&door), door.asks(5)), ([200, 200, 200], 403));
    }
}

/// A document that names a file of entries, in a process after the one that read it.
#[test]
fn a_file_that_the_document_names_counts_as_it_was_read_until_it_is_read_again() {
    let door = Door::new("file = \"blocked.txt\"");
    let folder = TempDir::with_prefix("sluicegate-test-").expect("a folder can be made");
    let write =
        |folder: &std::path::Path, text: &str| std::fs::write(folder.join("blocked.txt"), text).expect("written");
    write(folder.path(), "127.0.0.2\n");
    let appliance = door.again(folder);
    give(&appliance, &blocked("add", json!({"entry": "127.0.0.3"})));
    write(appliance.folder(), "127.0.0.4\n");
    let appliance = door.again(appliance.kill());
    assert_eq!([2, 3, 4].map(|last| door.asks(last)), [403, 403, 200]);
    appliance.wait_line("did not end in order");
    // What an order has added stays until the file is to say all.
    for (drift, asked) in [(None, [200, 403, 403]), (Some(OnDrift::Undo), [200, 200, 403])] {
        let receipt = appliance.change(Order::Reload(Reload { drift, ..Reload::default() }));
        let receipt = receipt.unwrap_or_else(|failure| panic!("{}", tell(&failure)));
        assert_eq!(receipt.outcome, JobOutcome::Applied);
        assert_eq!([2, 3, 4].map(|last| door.asks(last)), asked);
    }
}
