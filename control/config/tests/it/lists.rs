//! Lists: from documents, files and orders to what rules ask.

use crate::appliance::Appliance;
use crate::documents::check;
use crate::rules::Told;
use crate::{Files, config, parse_from, parse_text};
use config::{Config, Edit, Edited, EntryText, ListEdit, Problems, Replacement, diff, read_list_file};
use policy::PoolId;
use policy::generation::{PoolGeneration, Service};
use policy::http::{EscapedSlash, HttpService, ListKind, Pairs, Request, Scratch, normalise};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A pool that refuses whom its lists name.
const POOL: &str = r#"
[pool.web.create]
service = "http"
listen = ["127.0.0.1:1"]
[[pool.web.rule]]
source = ["blocked", "198.51.100.0/24"]
deny = 403
[[pool.web.rule]]
host_list = "hosts"
deny = 404
[[pool.web.rule]]
header = { User-Agent = { list = "bots" } }
deny = 405
[[pool.web.rule]]
respond = "fine"
[list.hosts]
kind = "text"
entries = ["a.test", "*.b.test"]
[list.bots]
kind = "text"
entries = ["bad bot"]
"#;

fn with_files(text: &str, files: &Files) -> Result<Arc<Config>, Problems> {
    parse_from(text.as_bytes(), files).map(|parsed| Arc::new(parsed.config))
}

fn blocked(list: &str) -> String {
    format!("{POOL}[list.blocked]\n{list}\n")
}

fn service(generation: &PoolGeneration) -> &Arc<HttpService> {
    match &generation.service {
        Service::Http(service) => service,
        Service::Tcp => panic!("this pool is of HTTP"),
    }
}

fn generation(appliance: &Appliance) -> Arc<PoolGeneration> {
    appliance.running.pools.get("web").unwrap().generation.clone()
}

/// What a request from this address meets.
fn told(generation: &PoolGeneration, source: &str, host: &str, agent: &str) -> String {
    let mut buffer = Vec::new();
    let request = Request {
        method: b"GET",
        host: host.as_bytes(),
        path: normalise(b"/", EscapedSlash::Keep, &mut buffer).expect("a path in order"),
        query: None,
        headers: &Pairs(&[(b"User-Agent", agent.as_bytes())]),
        source: Some(source.parse().expect("an address")),
    };
    let mut scratch = Scratch::new();
    let (_, rule) = service(generation).route(&request, &mut scratch).expect("the last rule takes everything");
    rule.action.told()
}

fn edited(config: &Config, edits: &[ListEdit]) -> Result<Arc<Config>, Problems> {
    let edits: Vec<Edit> = edits.iter().cloned().map(Edit::List).collect();
    config.edit(&edits, 2).map(|Edited { config, .. }| Arc::new(config))
}

fn add(entry: &str, expires: Option<&str>, reason: Option<&str>) -> ListEdit {
    ListEdit::Add {
        list: "blocked".into(),
        entry: entry.into(),
        expires: expires.map(str::to_string),
        reason: reason.map(str::to_string),
    }
}

fn remove(entry: &str) -> ListEdit {
    ListEdit::Remove { list: "blocked".into(), entry: entry.into(), missing_ok: false }
}

#[test]
fn rules_ask_lists_by_name() {
    let files = Files::with([("blocked.txt", "# ours\n10.0.0.0/8\n\n192.0.2.7 # scanner\n")]);
    let config = with_files(&blocked("file = 'blocked.txt'\nentries = ['2001:db8::/32']"), &files).unwrap();
    let generation = generation(&Appliance::started(&config));
    let check = |source: &str, host: &str, agent: &str, expected: &str| {
        assert_eq!(told(&generation, source, host, agent), expected, "{source} {host} {agent}");
    };
    check("10.1.2.3", "x.test", "", "deny 403");
    check("192.0.2.7", "x.test", "", "deny 403");
    check("2001:db8::1", "x.test", "", "deny 403");
    check("198.51.100.1", "x.test", "", "deny 403");
    check("192.0.2.8", "x.test", "", "respond 200 fine");
    check("192.0.2.8", "A.test.", "", "deny 404");
    check("192.0.2.8", "x.b.test", "", "deny 404");
    check("192.0.2.8", "b.test", "", "respond 200 fine");
    check("192.0.2.8", "x.test", "bad bot", "deny 405");
    check("192.0.2.8", "x.test", "Bad bot", "respond 200 fine");
}

#[test]
fn what_is_wrong_in_a_document_is_told_at_its_place() {
    check("[list.x]", &["missing list.x.entries"]);
    check("[list.x]\nfile = 'x.txt'", &["file list.x.file"]);
    check("[list.x]\nfile = 7", &["wrong_type list.x.file"]);
    check("[list.x]\nkind = 'words'\nentries = []", &["bad_value list.x.kind"]);
    check(
        "[list.x]\nentries = ['10.0.0.0/8', 'x', { entry = '::/129' }]",
        &["bad_value list.x.entries[1]", "bad_value list.x.entries[2]"],
    );
    check("[list.x]\nkind = 'text'\nentries = ['x', '']", &["bad_value list.x.entries[1]"]);
    check("[list.x]\nentries = [{ entry = '::1', expires = 'soon' }]", &["bad_value list.x.entries[0].expires"]);
    check("[list.x]\nentries = []\nexcept = ['y']", &["bad_value list.x.except[0]"]);
    let wrong = |from: &str, to: &str| {
        let problems = parse_text(&blocked("entries = []").replace(from, to)).unwrap_err();
        problems.errors().iter().map(|problem| format!("{} {}", problem.code.label(), problem.path)).collect::<Vec<_>>()
    };
    assert_eq!(wrong("\"blocked\"", "\"bots\""), ["wrong_type pool.web.rule[0].source"]);
    assert_eq!(wrong("host_list = \"hosts\"", "host_list = \"blocked\""), ["wrong_type pool.web.rule[1].host_list"]);
    assert_eq!(wrong("list = \"bots\" }", "list = \"bot\" }"), ["not_found pool.web.rule[2].header"]);
    assert_eq!(wrong("list = \"bots\" }", "list = \"bots\", regex = \"x\" }").len(), 1);
}

#[test]
fn every_wrong_line_of_a_file_is_told() {
    let lines: String = (0..250).map(|line| if line % 2 == 0 { "10.0.0.1\n" } else { "nobody\r\n" }).collect();
    let files = Files::with([("lists/blocked.txt", &*lines)]);
    let problems = with_files(&blocked("file = 'lists/blocked.txt'"), &files).unwrap_err();
    assert_eq!((problems.errors().len(), problems.more()), (100, 25));
    let first = problems.errors()[0].to_string();
    assert!(first.starts_with("lists/blocked.txt:2:1: error: `lists/blocked.txt`: neither an address"), "{first}");
    let drawn = problems.draw_one(&problems.errors()[1], config::Colour::Plain);
    assert!(drawn.contains("lists/blocked.txt:4"), "{drawn}");

    let one = |text: &str| {
        let problems = with_files(&blocked("file = 'x'"), &Files::with([("x", text)])).unwrap_err();
        assert_eq!(problems.errors().len(), 1, "{problems}");
        problems.errors()[0].to_string()
    };
    assert!(
        one(&format!("::1\n# {}\n::2\n", "x".repeat(5_000))).contains("x:2:1: error: `x`: a line of more than 4096")
    );
    assert!(one("::1\n10.0.0.1 10.0.0.2").contains("x:2:1: error: `x`: `10.0.0.2` stands behind the entry"));
    let not_text = Files(BTreeMap::from([("x".into(), b"\xff\n".to_vec())]));
    let problems = with_files(&blocked("file = 'x'"), &not_text).unwrap_err();
    assert!(problems.to_string().contains("x:1:1: error: `x`: not UTF-8 text"), "{problems}");
}

#[test]
fn content_counts_and_not_how_it_is_written() {
    let list = |text: &str| {
        let files = Files::with([("x", text)]);
        with_files(&blocked("file = 'x'"), &files).unwrap()
    };
    let one = list("10.0.0.0/8\n192.0.2.1\n");
    assert_eq!(one, list("\u{feff}192.0.2.1\r\n# later\r\n10.9.9.9/8\r\n10.0.0.0/8"));
    let other = list("10.0.0.0/8\n192.0.2.2\n");
    let plan = diff(&one, &other);
    assert_eq!(plan.changes.len(), 1);
    assert_eq!((&*plan.changes[0].path, plan.changes[0].reason.code), ("list.blocked.entries", "list_entries"));
    assert_eq!(plan.changes[0].old, serde_json::json!({ "entries": 2, "only_here": 1, "shown": ["192.0.2.1"] }));
    assert_eq!(plan.changes[0].new, serde_json::json!({ "entries": 2, "only_here": 1, "shown": ["192.0.2.2"] }));
    assert_eq!(plan.touches.pools, [PoolId::new("web")].into());
    assert!(diff(&one, &list("10.0.0.0/8\n192.0.2.1 # why\n")).changes.len() == 1, "so does what is noted");

    // Another file that says the same is no other list to those who ask it.
    let moved = Files::with([("y", "10.0.0.0/8\n192.0.2.1\n")]);
    let plan = diff(&one, &with_files(&blocked("file = 'y'"), &moved).unwrap());
    assert_eq!(plan.changes.iter().map(|change| &*change.path).collect::<Vec<_>>(), ["list.blocked.file"]);
    assert!(plan.touches.pools.is_empty());
}

/// A pool that changed twice, in other ways, once had its service made anew for a list that was equal and not the same.
#[test]
fn a_list_that_was_read_again_is_the_one_that_runs() {
    let read = |weight: u32| {
        let text = blocked("entries = ['10.0.0.1']").replace("respond = \"fine\"", "group = \"main\"");
        config(&format!("{text}[pool.web.group.main]\nbackend = [{{ address = 'a:1', weight = {weight} }}]"))
    };
    let mut appliance = Appliance::started(&read(1));
    let first = generation(&appliance);
    for weight in 2..5 {
        appliance.apply(&read(weight));
        assert!(Arc::ptr_eq(service(&first), service(&generation(&appliance))), "weight {weight}");
    }
}

#[test]
fn a_plan_shows_some_of_many() {
    let list = |from: u32, to: u32| {
        let text: String = (from..to).map(|n| format!("10.0.{}.{}\n", n / 256, n % 256)).collect();
        with_files(&blocked("file = 'x'"), &Files::with([("x", &*text)])).unwrap()
    };
    let plan = diff(&list(0, 1_000), &list(300, 1_001));
    let [change] = &plan.changes[..] else { panic!("one change: {plan:?}") };
    assert_eq!((&change.old["only_here"], &change.old["entries"]), (&300.into(), &1_000.into()));
    assert_eq!(change.old["shown"].as_array().unwrap().len(), config::LIST_ENTRIES_SHOWN);
    assert_eq!((&change.new["only_here"], &change.new["shown"]), (&1.into(), &serde_json::json!(["10.0.3.232"])));
}

#[test]
fn an_order_says_what_is_wrong_with_it() {
    let config = config(&blocked("entries = ['10.0.0.1']"));
    let check = |edit: ListEdit, expected: &str| {
        let problems = edited(&config, &[edit]).unwrap_err();
        assert_eq!(problems.errors()[0].to_string(), expected);
    };
    check(
        add("10.0.0.0/33", None, None),
        "error: `entry`: the length of a prefix is a number from 0 to 32 here, found \"10.0.0.0/33\"; accepted: an address \
         or prefix such as \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\" (entry)",
    );
    check(
        add("10.0.0.2", Some("soon"), None),
        "error: `expires`: not a moment since 1970, found \"soon\"; accepted: a date and time with its offset, such as \
         \"2026-12-01T00:00:00Z\" (expires)",
    );
    check(
        add("10.0.0.2", None, Some(&"x".repeat(201))),
        "error: `reason`: a reason of 201 bytes, at most 200 are accepted (reason)",
    );
    check(remove("10.0.0.2"), "error: list `blocked` has no entry `10.0.0.2`, found \"10.0.0.2\" (entry)");
    check(
        ListEdit::Remove { list: "block".into(), entry: "x".into(), missing_ok: false },
        "error: there is no list `block`, found \"block\"; accepted: blocked, bots, hosts; did you mean `blocked`? (list)",
    );
    check(
        ListEdit::Add { list: "bots".into(), entry: "x".repeat(1_001), expires: None, reason: None },
        &format!(
            "error: `entry`: 1001 bytes, at most 1000 are accepted, found \"{}…; accepted: a text of 1 to 1000 bytes without \
             control characters (entry)",
            "x".repeat(119)
        ),
    );
    assert_eq!(*edited(&config, &[add("10.0.0.1", None, None)]).unwrap(), *config, "it is there");
    // All or nothing.
    assert!(edited(&config, &[add("10.0.0.2", None, None), remove("10.0.0.3")]).is_err());
}

#[test]
fn all_entries_can_be_others() {
    let config = config(&blocked("entries = ['10.0.0.1', '10.0.0.2']"));
    let replace = |with| ListEdit::Replace { list: "blocked".into(), with };
    let (expires, reason) = (Some("2026-12-01T00:00:00Z".to_owned()), Some("x".to_owned()));
    let entry = |text: &str| EntryText { entry: text.into(), expires: expires.clone(), reason: reason.clone() };
    let new = edited(&config, &[replace(Replacement::Texts(vec![entry("10.0.0.2")]))]).unwrap();
    let said = "entries = [{ entry = '10.0.0.2', expires = '2026-12-01T00:00:00Z', reason = 'x' }]";
    assert_eq!(*new, *crate::config(&blocked(said)));
    let problems = edited(&config, &[replace(Replacement::Texts(vec![entry("x")]))]).unwrap_err();
    assert_eq!(problems.errors()[0].path, "entries[0]");

    let files = Files::with([("lists/x", "::1\n::2\n")]);
    let read = read_list_file(Path::new("site.toml"), Path::new("./lists/x"), ListKind::Addresses, &files).unwrap();
    let new = edited(&config, &[replace(Replacement::File(read)), remove("::2")]).unwrap();
    assert_eq!(*new, *with_files(&blocked("file = 'lists/x'\nexcept = ['::2']"), &files).unwrap());
    let problems = read_list_file(Path::new("site.toml"), Path::new("y"), ListKind::Addresses, &files).unwrap_err();
    assert_eq!(problems.errors()[0].code, config::Code::File);
}

#[test]
fn what_has_expired_is_no_entry() {
    let file = "10.0.0.1 expires=2026-12-01T00:00:00Z\n10.0.0.2\n10.0.0.3\n";
    let files = Files::with([("x", file)]);
    let own = "entries = [{ entry = '10.0.0.2', expires = '2026-12-02T00:00:00Z' }]";
    let config = with_files(&blocked(&format!("file = 'x'\n{own}")), &files).unwrap();
    const FIRST: u64 = 1_796_083_200;
    const DAY: u64 = 86_400;
    let count = |config: &Config| config.lists.get("blocked").unwrap().in_force().len();
    assert_eq!((config.next_expiry(), count(&config)), (Some(FIRST), 3));
    assert_eq!(config.at(FIRST - 1), *config);
    let first = config.at(FIRST);
    assert_eq!((first.next_expiry(), count(&first)), (Some(FIRST + DAY), 2));
    // What the document said of it has an end, and what the file says has none.
    let second = first.at(FIRST + DAY);
    assert_eq!((second.next_expiry(), count(&second)), (None, 2));
    assert_eq!(second, config.at(FIRST + DAY), "one by one or all at once");
    assert_eq!(second, with_files(&blocked("file = 'x'"), &files).unwrap().at(FIRST + DAY));
    // To those who ask it is a change as any other.
    let mut appliance = Appliance::started(&config);
    assert_eq!(told(&generation(&appliance), "10.0.0.1", "x", ""), "deny 403");
    appliance.apply(&Arc::new(first));
    assert_eq!(told(&generation(&appliance), "10.0.0.1", "x", ""), "respond 200 fine");
}

#[test]
fn a_list_that_is_too_long_to_write_is_not_read_as_a_short_one() {
    let entries: Vec<String> = (0..10_001).map(|n| format!("'10.0.{}.{}'", n / 256, n % 256)).collect();
    let config = config(&blocked(&format!("entries = [{}]", entries.join(","))));
    let written = config.to_toml();
    assert!(
        written.len() < 5_000 && written.contains("entries = \"10001 entries, more than are written\""),
        "{written}"
    );
    let problems = parse_text(&written).unwrap_err();
    assert_eq!(problems.errors()[0].path, "list.blocked.entries");
    let json = &config.to_json()["list"]["blocked"];
    assert_eq!(json["entries"].as_array().unwrap().len(), config::LIST_ENTRIES_SHOWN);
    assert_eq!(json["in_force"]["entries"], 10_001);
}

#[test]
fn one_entry_of_a_million_costs_a_path() {
    let text: String = (0..1_000_000u32)
        .map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761))))
        .collect();
    let files = Files::with([("x", &*text)]);
    let config = with_files(&blocked("file = 'x'"), &files).unwrap();
    assert!(config.to_toml().len() < 5_000);
    let mut appliance = Appliance::started(&config);
    let before = generation(&appliance);
    let list = config.lists.get("blocked").unwrap().in_force();
    assert_eq!(list.len(), 1_000_000);
    assert!(list.bytes() <= 40 * 1_000_000);
    let new = edited(&config, &[add("198.18.0.0/15", None, Some("benchmarks"))]).unwrap();
    appliance.apply(&new);
    let after = generation(&appliance);
    assert!(Arc::ptr_eq(&service(&before).rules, &service(&after).rules));
    assert!(after.replaced_bytes <= 16 << 10, "{} bytes are kept for the one before", after.replaced_bytes);
    assert_eq!(told(&after, "198.19.0.1", "x", ""), "deny 403");

    // A file that was written anew with one line more: what is in memory is what was, and one path.
    let files = Files::with([("x", &*format!("{text}2001:db8::/32\n"))]);
    let read = with_files(&blocked("file = 'x'"), &files).unwrap();
    let aligned = Arc::new(read.aligned(&new));
    assert_eq!(aligned.hash(), read.hash());
    appliance.apply(&aligned);
    assert!(generation(&appliance).replaced_bytes <= 32 << 10, "{} bytes", generation(&appliance).replaced_bytes);
}

/// Entries of the file, each noted or not.
const FILE: [(&str, Option<&str>); 4] =
    [("10.0.0.0", None), ("10.0.0.1", Some("old")), ("10.0.0.2", None), ("::5", None)];

fn file_text() -> String {
    let line = |(entry, why): &(&str, Option<&str>)| match why {
        Some(why) => format!("{entry} # {why}\n"),
        None => format!("{entry}\n"),
    };
    FILE.iter().map(line).collect()
}

fn step() -> impl Strategy<Value = ListEdit> {
    let entry = prop_oneof![(0..6u8).prop_map(|host| format!("10.0.0.{host}")), Just("::5".into())];
    let why = prop_oneof![Just(None), Just(Some("old")), Just(Some("new"))];
    (entry, why, any::<bool>()).prop_map(|(entry, why, comes)| match comes {
        true => add(&entry, None, why),
        false => remove(&entry),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever orders say, there is a document that says the same, and compiling the one after the other comes to what
    /// compiling the last alone comes to.
    #[test]
    fn orders_make_the_document_that_says_the_same(
        with_file in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..24),
    ) {
        let files = Files::with([("x", &*file_text())]);
        let start = if with_file { "file = 'x'" } else { "entries = []" };
        let mut config = with_files(&blocked(start), &files).unwrap();
        let mut appliance = Appliance::started(&config);
        let base: BTreeMap<&str, Option<&str>> = if with_file { FILE.into() } else { BTreeMap::new() };
        let mut model: BTreeMap<String, Option<String>> =
            base.iter().map(|(entry, why)| (entry.to_string(), why.map(str::to_string))).collect();
        for step in &steps {
            let possible = match step {
                ListEdit::Add { entry, reason, .. } => {
                    model.insert(entry.clone(), reason.clone());
                    true
                }
                ListEdit::Remove { entry, .. } => model.remove(entry).is_some(),
                ListEdit::Replace { .. } => unreachable!("not among the steps"),
            };
            let after = edited(&config, std::slice::from_ref(step));
            prop_assert_eq!(after.is_ok(), possible);
            let Ok(after) = after else { continue };
            prop_assert_eq!(diff(&config, &after).unchanged, config.hash() == after.hash());
            if config.hash() != after.hash() {
                appliance.apply(&after);
                config = after;
            }
        }
        let own = model.iter().filter(|(entry, why)| base.get(entry.as_str()) != Some(&why.as_deref()));
        let own: Vec<String> = own.map(|(entry, why)| match why {
            Some(why) => format!("{{ entry = '{entry}', reason = '{why}' }}"),
            None => format!("'{entry}'"),
        }).collect();
        let except: Vec<String> =
            base.keys().filter(|entry| !model.contains_key(**entry)).map(|entry| format!("'{entry}'")).collect();
        let file = if with_file { "file = 'x'\n" } else { "" };
        let said = format!("{file}entries = [{}]\nexcept = [{}]", own.join(","), except.join(","));
        let document = with_files(&blocked(&said), &files).unwrap();
        prop_assert_eq!(config.hash(), document.hash(), "{}\n{}", config.to_toml(), said);
        prop_assert_eq!(config.to_json(), document.to_json());

        let again = with_files(&config.to_toml(), &files).unwrap();
        prop_assert_eq!(again.hash(), config.hash(), "{}", config.to_toml());

        let (one, other) = (generation(&appliance), generation(&Appliance::started(&document)));
        prop_assert_eq!(one.hash, other.hash);
        let entries = |generation: &PoolGeneration| -> BTreeSet<String> {
            let lists = service(generation).lists.iter().filter(|(_, list)| list.kind() == ListKind::Addresses);
            lists.flat_map(|(_, list)| list.iter().map(|(entry, _)| format!("{entry:?}")).collect::<Vec<_>>()).collect()
        };
        prop_assert_eq!(entries(&one), entries(&other));
        for entry in model.keys().map(String::as_str).chain(["10.0.0.0", "10.0.0.3", "::5", "::6"]) {
            let expected = if model.contains_key(entry) { "deny 403" } else { "respond 200 fine" };
            prop_assert_eq!(told(&one, entry, "x", ""), expected, "{}", entry);
        }
    }
}
