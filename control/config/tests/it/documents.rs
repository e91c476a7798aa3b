//! Valid and invalid documents, one line each.

use crate::{config, parse_text};
use config::{Colour, Limits, Problem, Severity};

/// A pool that is in order. What a case adds stands behind it.
const POOL: &str = r#"
[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:7000"]
[[pool.db.group.main.backend]]
id = "a"
address = "127.0.0.1:9001"
"#;

/// A group's head, for cases that bring backends of their own.
const HEAD: &str = "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:7000\"]\n";

fn brief(problem: &Problem) -> String {
    let severity = if problem.severity == Severity::Warning { "warning " } else { "" };
    match problem.path.as_str() {
        "" => format!("{severity}{}", problem.code.label()),
        path => format!("{severity}{} {path}", problem.code.label()),
    }
}

/// Codes and paths of all problems, in order, warnings last. Every problem of a file has a place.
pub fn check(text: &str, expected: &[&str]) {
    let (problems, refused) = match parse_text(text) {
        Ok(parsed) => (parsed.warnings, false),
        Err(problems) => (problems, true),
    };
    let got: Vec<String> = problems.iter().map(brief).collect();
    assert_eq!(got, expected, "{text}\n{}", problems.draw(Colour::Plain));
    assert_eq!(refused, !problems.errors().is_empty(), "{text}");
    for problem in problems.iter() {
        assert!(problem.place.is_some(), "{problem}");
        assert!(!problem.message.is_empty() && !problem.message.ends_with('.'), "{problem}");
    }
}

/// `POOL` and one more piece.
fn with(piece: &str, expected: &[&str]) {
    check(&format!("{POOL}{piece}\n"), expected);
}

/// A group whose backends are the inline tables `list`.
fn backends(list: &str, expected: &[&str]) {
    check(&format!("{HEAD}[pool.db.group.main]\nbackend = [{list}]\n"), expected);
}

#[test]
fn a_document_may_say_little_but_not_nothing() {
    check("[pool]\n[log]\n", &[]);
    check("[appliance]\n", &[]);
    // As an editor leaves it between truncating and writing: applied, it would take every pool away.
    check("", &["missing"]);
    check("\n  # nothing but a comment\n\t\n", &["missing"]);
    // The schema's validator found this one: it was taken for a document without pools.
    check("\u{feff}", &["missing"]);
    check("\u{feff}# nothing but a comment\n", &["missing"]);
}

#[test]
fn a_small_pool_gets_all_defaults() {
    let config = config(POOL);
    let pool = config.pools.get("db").unwrap();
    assert_eq!(pool.limits, Limits { max_connections: None });
    assert_eq!(pool.timeouts.connect.as_secs(), 5);
    assert_eq!(pool.timeouts.idle.unwrap().as_secs(), 3600);
    assert_eq!(pool.timeouts.lifetime, None);
    assert_eq!(pool.create.memory, 64 << 20);
    assert_eq!(pool.groups.values().next().unwrap().health, None);
    assert_eq!(pool.groups.values().next().unwrap().balancing.queue, 128);
    assert_eq!(pool.groups.values().next().unwrap().backends[0].weight, 1);
    assert!(pool.switches.access_log);
    assert_eq!(config.reload.job_timeout.as_secs(), 300);
    assert_eq!(config.appliance.connections, 100_000);
}

#[test]
fn every_table_is_accepted() {
    with("[pool.db]\naccess_log = false", &[]);
    with("[pool.db.limits]\nmax_connections = 10_000", &[]);
    with("[pool.db.limits]\nmax_connections = \"off\"", &[]);
    with("[pool.db.timeouts]\nconnect = \"250ms\"\nidle = \"off\"\nlifetime = \"1d\"", &[]);
    with("[pool.db.group.main.health]", &[]);
    with("[pool.db.group.main.health]\ninterval = \"5s\"\ntimeout = \"1s\"\nrise = 1\nfall = 1", &[]);
    with(
        "[appliance]\nshards = \"auto\"\ncontrol_socket = \"/run/s.sock\"\ncontrol_mode = \"0600\"\nstop_grace = \"0s\"",
        &[],
    );
    with("[reload]\njob_timeout = \"1m\"\nwait_before = \"1s\"\nretained_max = 1048576\nkeep_receipts = 1", &[]);
    with("[log.access]\nformat = \"json\"\nsink = \"file\"\npath = \"/var/log/a.log\"", &[]);
    with("[log.events]\nlevel = \"debug\"\nformat = \"json\"", &[]);
}

/// An HTTP pool that is in order, with two groups.
const WEB: &str = r#"
[pool.web.create]
service = "http"
listen = ["127.0.0.1:8080"]
[pool.web.group.app]
backend = [{ address = "127.0.0.1:9001" }]
"#;

/// `WEB` and one more piece.
fn web(piece: &str, expected: &[&str]) {
    check(&format!("{WEB}{piece}\n"), expected);
}

#[test]
fn an_http_pool_has_settings_of_its_own() {
    web("", &[]);
    web("[pool.web.http]\nhead_max = \"16KiB\"\nbody_max = \"off\"\nx_forwarded = \"append\"\nvia = \"edge\"", &[]);
    web("[pool.web.timeouts]\nconnect = \"1s\"\nidle = \"1h\"\nhead = \"5s\"\ntotal = \"off\"", &[]);
    web("[pool.web.group.app.retry]\nattempts = 2\nbudget = 10\nstatuses = [503]", &[]);
    web("[pool.web.group.app.eject]\nerrors = 3", &[]);
    web("[pool.web.group.app.health]\nkind = \"http\"\npath = \"/up\"\nstatus = [200, \"300-308\"]", &[]);
    web("[pool.web.group.app.health]\npath = \"/up\"", &["warning no_effect pool.web.group.app.health.path"]);
    check(&WEB.replace("backend", "balance = \"hash\"\nhash_on = \"cookie:sid\"\nbackend"), &[]);
    check(
        &WEB.replace("backend", "hash_on = \"cookie:sid\"\nbackend"),
        &["warning no_effect pool.web.group.app.hash_on"],
    );
    web("[pool.web.http]\nhead_max = \"1GiB\"", &["bad_value pool.web.http.head_max"]);
    web("[pool.web.http]\nhead = \"1KiB\"", &["unknown_key pool.web.http.head"]);
}

#[test]
fn settings_of_one_service_have_no_place_in_another() {
    with("[pool.db.http]\nvia = \"edge\"", &["clash pool.db.http.via"]);
    with("[pool.db.timeouts]\nhead = \"5s\"\nidle = \"1h\"", &["clash pool.db.timeouts.head"]);
    with("[pool.db.group.main.retry]\nattempts = 2", &["clash pool.db.group.main.retry.attempts"]);
    check(&WEB.replace("backend", "attempts = 2\nbackend"), &["clash pool.web.group.app.attempts"]);
    for (word, ok) in [("least-requests", true), ("peak-ewma", true), ("hash", true), ("least-connections", false)] {
        let expected: &[&str] = if ok { &[] } else { &["clash pool.web.group.app.balance"] };
        check(&WEB.replace("backend", &format!("balance = {word:?}\nbackend")), expected);
        let expected: &[&str] = if ok { &["clash pool.db.group.main.balance"] } else { &[] };
        backends(
            &format!("{{ address = \"127.0.0.1:9001\" }}]\nbalance = {word:?}\nqueue_wait = \"5s\" # ["),
            expected,
        );
    }
    // Between services everything is a restart, and nothing that cannot be compared is told.
    let plan = config::diff(&config(WEB), &config(&WEB.replace("\"http\"", "\"tcp\"")));
    let codes: Vec<&str> = plan.changes.iter().map(|change| change.reason.code).collect();
    assert_eq!(codes, ["create_service"]);
}

#[test]
fn values_out_of_bounds() {
    with("[appliance]\nshards = 0", &["bad_value appliance.shards"]);
    with("[appliance]\nshards = 65", &["bad_value appliance.shards"]);
    with("[appliance]\nshards = \"many\"", &["wrong_type appliance.shards"]);
    with("[appliance]\nconnections = 0", &["bad_value appliance.connections"]);
    with("[appliance]\ncontrol_mode = 660", &["wrong_type appliance.control_mode"]);
    with("[appliance]\ncontrol_socket = \"s.sock\"", &["bad_value appliance.control_socket"]);
    with("[reload]\njob_timeout = \"6m\"", &["bad_value reload.job_timeout"]);
    with("[reload]\nprepare_timeout = \"0s\"", &["bad_value reload.prepare_timeout"]);
    with("[reload]\nretained_max = \"1KiB\"", &["bad_value reload.retained_max"]);
    with("[reload]\nwait_before = 0", &["bad_value reload.wait_before"]);
    with("[log.access]\nformat = \"fancy\"", &["bad_value log.access.format"]);
    with("[log.events]\nlevel = 3", &["wrong_type log.events.level"]);
    with("[pool.db]\naccess_log = \"yes\"", &["wrong_type pool.db.access_log"]);
    with("[pool.db.limits]\nmax_connections = 0", &["bad_value pool.db.limits.max_connections"]);
    with("[pool.db.limits]\nmax_connections = -1", &["bad_value pool.db.limits.max_connections"]);
    with("[pool.db.timeouts]\nconnect = \"off\"", &["bad_value pool.db.timeouts.connect"]);
    with("[pool.db.timeouts]\nidle = \"0s\"", &["bad_value pool.db.timeouts.idle"]);
    with("[pool.db.timeouts]\nidle = false", &["wrong_type pool.db.timeouts.idle"]);
    with("[pool.db.group.main.health]\nrise = 0", &["bad_value pool.db.group.main.health.rise"]);
    backends("{ address = \"127.0.0.1:1\", weight = 65536 }", &["bad_value pool.db.group.main.backend[0].weight"]);
    backends("{ address = \"127.0.0.1:1\", weight = -1 }", &["bad_value pool.db.group.main.backend[0].weight"]);
    backends("{ address = \"127.0.0.1:1\", weight = 1.5 }", &["wrong_type pool.db.group.main.backend[0].weight"]);
    backends("{ address = \"127.0.0.1\" }", &["bad_value pool.db.group.main.backend[0].address"]);
    backends("{ address = 9001 }", &["wrong_type pool.db.group.main.backend[0].address"]);
    backends("{ id = \"A B\", address = \"127.0.0.1:1\" }", &["bad_value pool.db.group.main.backend[0].id"]);
    backends("{ id = \"\", address = \"127.0.0.1:1\" }", &["bad_value pool.db.group.main.backend[0].id"]);
}

#[test]
fn unknown_keys_and_tables() {
    with("[appliances]", &["unknown_key appliances"]);
    with("[pool.db.timeouts]\nidel = \"1s\"", &["unknown_key pool.db.timeouts.idel"]);
    with("[pool.db.tls]\ncertificate = \"x\"", &["unknown_key pool.db.tls"]);
    with("[pool.db.group.main.sticky]", &["unknown_key pool.db.group.main.sticky"]);
    with("[log.error]\nlevel = \"info\"", &["unknown_key log.error"]);
    with("[pool.db.limits.x]", &["unknown_key pool.db.limits.x"]);
    backends("{ address = \"127.0.0.1:1\", \"\" = 1 }", &["unknown_key pool.db.group.main.backend[0].\"\""]);
    backends("{ address = \"127.0.0.1:1\", wieght = 1 }", &["unknown_key pool.db.group.main.backend[0].wieght"]);
}

#[test]
fn tables_and_values_in_each_others_place() {
    check("pool = 1", &["wrong_type pool"]);
    check("appliance = []", &["wrong_type appliance"]);
    check("[[appliance]]", &["wrong_type appliance"]);
    check("log.access = true", &["wrong_type log.access"]);
    check("pool.db = \"x\"", &["wrong_type pool.db"]);
    check("[[pool]]", &["wrong_type pool"]);
    with("[pool.db.timeouts.idle]", &["wrong_type pool.db.timeouts.idle"]);
    with("[[pool.db.limits]]", &["wrong_type pool.db.limits"]);
    check(&format!("{HEAD}[pool.db.group.main.backend]\nid = \"a\""), &["wrong_type pool.db.group.main.backend"]);
    check(&format!("{HEAD}[pool.db.group.main]\nbackend = [1]"), &["wrong_type pool.db.group.main.backend[0]"]);
    check(&format!("{HEAD}[pool.db]\ngroup = 1"), &["wrong_type pool.db.group"]);
    check(&format!("{HEAD}[pool.db.group]\nmain = 1"), &["wrong_type pool.db.group.main"]);
    check("[pool.db]\ncreate = 1\n[pool.db.group.main]", &["wrong_type pool.db.create"]);
}

#[test]
fn what_is_missing() {
    check("[pool.db.group.main]", &["missing pool.db.create"]);
    check("[pool.db.create]\nservice = \"tcp\"\n[pool.db.group.main]", &["missing pool.db.create.listen"]);
    check("[pool.db.create]\nlisten = [\"127.0.0.1:1\"]\n[pool.db.group.main]", &["missing pool.db.create.service"]);
    check(HEAD, &["missing pool.db.group"]);
    check(&format!("{HEAD}[pool.db.group]"), &["missing pool.db.group"]);
    check("[pool.db]", &["missing pool.db.create", "missing pool.db.group"]);
    backends("{ id = \"a\" }", &["missing pool.db.group.main.backend[0].address"]);
    backends("{}", &["missing pool.db.group.main.backend[0].address"]);
    with("[log.access]\nsink = \"file\"", &["missing log.access.path"]);
}

#[test]
fn names() {
    let pool = |id: &str| POOL.replace("pool.db", &format!("pool.{id}"));
    check(&pool("0"), &[]);
    check(&pool("a-b_c"), &[]);
    check(&pool(&"x".repeat(63)), &[]);
    check(&pool("DB"), &["bad_value pool.DB"]);
    check(&pool("-db"), &["bad_value pool.-db"]);
    check(&pool("\"d.b\""), &["bad_value pool.\"d.b\""]);
    check(&pool("\"\""), &["bad_value pool.\"\""]);
    check(&POOL.replace("main", "Main"), &["bad_value pool.db.group.Main"]);
}

#[test]
fn duplicates() {
    backends(
        "{ address = \"127.0.0.1:1\" }, { address = \"127.0.0.1:1\" }",
        &["duplicate pool.db.group.main.backend[1].address"],
    );
    backends(
        "{ address = \"127.0.0.1:1\" }, { address = \"[::ffff:127.0.0.1]:1\" }",
        &["duplicate pool.db.group.main.backend[1].address"],
    );
    backends("{ address = \"db:1\" }, { address = \"DB:1\" }", &["duplicate pool.db.group.main.backend[1].address"]);
    backends(
        "{ id = \"a\", address = \"db:1\" }, { id = \"a\", address = \"db:2\" }",
        &["duplicate pool.db.group.main.backend[1].id"],
    );
    backends(
        "{ id = \"a\", address = \"db:1\" }, { id = \"a\", address = \"db:1\" }",
        &["duplicate pool.db.group.main.backend[1].address"],
    );
    backends("{ id = \"db:2\", address = \"db:1\" }", &["clash pool.db.group.main.backend[0].id"]);
    backends("{ id = \"db:1\", address = \"db:1\" }", &[]);
    with("[pool.db.timeouts]\nidle = \"1s\"\nidle = \"2s\"", &["syntax"]);
    with("[pool.db.group.second]", &["too_many pool.db.group"]);
}

#[test]
fn listen_addresses() {
    let listen = |list: &str, expected: &[&str]| check(&POOL.replace("\"127.0.0.1:7000\"", list), expected);
    listen("\"127.0.0.1:7000\", \"[::1]:7000\", \"unix:/run/db.sock\"", &[]);
    listen("\"0.0.0.0:7000\", \"[::]:7000\"", &[]);
    listen("\"127.0.0.1:0\"", &[]);
    listen("", &["bad_value pool.db.create.listen"]);
    listen("1", &["wrong_type pool.db.create.listen"]);
    listen("\"db.internal:7000\"", &["bad_value pool.db.create.listen"]);
    listen("\"a\", \"b\"", &["bad_value pool.db.create.listen", "bad_value pool.db.create.listen"]);
    listen("\"127.0.0.1:7000\", \"127.0.0.1:7000\"", &["duplicate pool.db.create.listen"]);
    listen("\"127.0.0.1:7000\", \"[::ffff:127.0.0.1]:7000\"", &["duplicate pool.db.create.listen"]);
    listen("\"0.0.0.0:7000\", \"127.0.0.1:7000\"", &["clash pool.db.create.listen"]);
    listen("\"[::1]:7000\", \"[::]:7000\"", &["clash pool.db.create.listen"]);
    let many: Vec<String> = (1..=257).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    listen(&many.join(","), &["too_many pool.db.create.listen"]);
    check(&POOL.replace("[\"127.0.0.1:7000\"]", "\"127.0.0.1:7000\""), &["wrong_type pool.db.create.listen"]);
}

#[test]
fn one_address_leads_to_one_pool() {
    let second = |listen: &str| POOL.replace("pool.db", "pool.web").replace("127.0.0.1:7000", listen);
    let both = |listen: &str, expected: &[&str]| check(&format!("{POOL}{}", second(listen)), expected);
    both("127.0.0.1:7001", &[]);
    both("127.0.0.2:7000", &[]);
    both("[::1]:7000", &[]);
    both("[::]:7000", &[]);
    both("127.0.0.1:7000", &["clash pool.web.create.listen"]);
    both("0.0.0.0:7000", &["clash pool.web.create.listen"]);
    both("[::ffff:127.0.0.1]:7000", &["clash pool.web.create.listen"]);
    let sockets = POOL.replace("127.0.0.1:7000", "unix:/run/x.sock");
    check(&format!("{sockets}{}", second("unix:/run/x.sock")), &["clash pool.web.create.listen"]);
    check(&format!("{sockets}[appliance]\ncontrol_socket = \"/run/x.sock\""), &["clash pool.db.create.listen"]);
    // Each port 0 becomes a port of its own, but two of them could not be told apart.
    let zero = POOL.replace("127.0.0.1:7000", "127.0.0.1:0");
    check(&format!("{zero}{}", second("0.0.0.0:0")), &[]);
    check(&format!("{zero}{}", second("127.0.0.1:0")), &["clash pool.web.create.listen"]);
}

#[test]
fn shards_of_a_pool_must_exist() {
    let shards = |list: &str, head: &str| {
        format!("{head}\n{}", POOL.replace("service =", &format!("shards = {list}\nservice =")))
    };
    check(&shards("[0, 3]", ""), &[]);
    check(&shards("[4]", ""), &["not_found pool.db.create.shards"]);
    check(&shards("[4]", "[appliance]\nshards = 5"), &[]);
    check(&shards("[0, 1]", "[appliance]\nshards = 1"), &["not_found pool.db.create.shards"]);
    check(&shards("[]", ""), &["bad_value pool.db.create.shards"]);
    check(&shards("[1, 1]", ""), &["duplicate pool.db.create.shards"]);
}

#[test]
fn variables() {
    backends("{ address = \"${HOST}:5432\" }", &[]);
    backends("{ address = \"${NOPE:-127.0.0.1}:5432\", weight = \"${WEIGHT}\", drain = \"${NOPE:-false}\" }", &[]);
    backends("{ address = \"${NOPE}:5432\" }", &["variable pool.db.group.main.backend[0].address"]);
    backends("{ address = \"${HOST:5432\" }", &["variable pool.db.group.main.backend[0].address"]);
    backends("{ address = \"db:1\", weight = \"7\" }", &["wrong_type pool.db.group.main.backend[0].weight"]);
    backends("{ address = \"db:1\", weight = \"${HOST}\" }", &["wrong_type pool.db.group.main.backend[0].weight"]);
    with("[pool.db]\naccess_log = \"${YES}\"", &[]);
    with("[pool.db.create.\"${HOST}\"]", &["unknown_key pool.db.create.\"${HOST}\""]);
    let config = config(&POOL.replace("127.0.0.1:9001", "${HOST}:5432"));
    assert!(config.to_toml().contains("address = \"db.internal:5432\""), "{}", config.to_toml());
}

#[test]
fn syntax_errors_are_told_beside_the_others() {
    check("x = ", &["syntax"]);
    check("[pool.db", &["syntax"]);
    check("[pool.db\nx = 1", &["syntax", "unknown_key x"]);
    with("[pool.db]\naccess_log = maybe\n[reload]\nadopt_timeout = 1", &["syntax", "bad_value reload.adopt_timeout"]);
}

#[test]
fn warnings_refuse_nothing() {
    let group = "pool.db.group.main";
    let nobody = format!("warning nobody_serves {group}");
    let strange = format!("warning surprising {group}");
    backends("", &[&nobody]);
    check(&format!("{HEAD}[pool.db.group.main]"), &[&nobody]);
    backends("{ address = \"db:1\", weight = 0 }", &[&nobody]);
    backends("{ address = \"db:1\", drain = true }, { address = \"db:2\", weight = 0 }", &[&nobody]);
    backends("{ address = \"db:1\", backup = true }", &[&strange]);
    backends("{ address = \"db:1\", backup = true }, { address = \"db:2\" }", &[]);
    backends("{ address = \"127.0.0.1:7000\" }", &[&format!("warning surprising {group}.backend[0].address")]);
    with("[pool.db.timeouts]\nidle = \"1h\"\nlifetime = \"1m\"", &["warning no_effect pool.db.timeouts.idle"]);
    with("[pool.db.timeouts]\nidle = \"1m\"\nlifetime = \"1m\"", &["warning no_effect pool.db.timeouts.idle"]);
    with("[pool.db.timeouts]\nidle = \"1m\"\nlifetime = \"2m\"", &[]);
    with("[pool.db.timeouts]\nlifetime = \"1m\"", &[]);
    with(
        "[pool.db.group.main.health]\ninterval = \"1s\"\ntimeout = \"2s\"",
        &[&format!("warning surprising {group}.health.timeout")],
    );
    with("[log.access]\npath = \"/var/log/x\"", &["warning no_effect log.access.path"]);
}

#[test]
fn all_problems_at_once() {
    check(
        "[appliance]\nshards = 99\n[pool.db.create]\nservice = \"udp\"\nlisten = []\n[pool.Web]\nx = 1\n",
        &[
            "bad_value appliance.shards",
            "missing pool.db.group",
            "bad_value pool.db.create.service",
            "bad_value pool.db.create.listen",
            "missing pool.Web.create",
            "missing pool.Web.group",
            "bad_value pool.Web",
            "unknown_key pool.Web.x",
        ],
    );
}

#[test]
fn a_hundred_problems_and_the_number_of_the_others() {
    let text: String = (0..150).map(|n| format!("unknown{n} = 1\n")).collect();
    let problems = parse_text(&text).unwrap_err();
    assert_eq!((problems.errors().len(), problems.more()), (100, 50));
    assert!(problems.draw(Colour::Plain).ends_with("and 50 more"));
}

#[test]
fn a_problem_says_where_what_and_what_else() {
    let problems = parse_text(&format!("{POOL}weight = 70_000\n")).unwrap_err();
    let json = serde_json::to_value(&problems.errors()[0]).unwrap();
    let expected = serde_json::json!({
        "severity": "error",
        "code": "bad_value",
        "path": "pool.db.group.main.backend[0].weight",
        "file": "site.toml",
        "line": 8,
        "column": 10,
        "found": "70000",
        "accepted": "a whole number from 0 to 65535",
        "message": "`weight`: more than 65535",
    });
    assert_eq!(json, expected);
    assert_eq!(
        problems.errors()[0].to_string(),
        "site.toml:8:10: error: `weight`: more than 65535, found 70000; accepted: a whole number from 0 to 65535 \
         (pool.db.group.main.backend[0].weight)"
    );
}
