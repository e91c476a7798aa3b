//! What a plan tells, case by case.

use crate::config;
use config::{Class, Plan, PlanWarningCode, diff};

const POOL: &str = r#"
[pool.db]
access_log = true
[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:1", "127.0.0.1:2"]
[pool.db.group.main]
backend = [{ id = "a", address = "a:1" }, { id = "b", address = "b:1" }]
"#;

fn plan(old: &str, new: &str) -> Plan {
    diff(&config(old), &config(new))
}

/// Each change of `POOL` with `from` replaced by `to`, as `class reach code path`.
fn check(from: &str, to: &str, expected: &[&str]) -> Plan {
    assert!(POOL.contains(from), "{from}");
    check_plan(plan(POOL, &POOL.replace(from, to)), expected)
}

fn check_plan(plan: Plan, expected: &[&str]) -> Plan {
    let got: Vec<String> = plan
        .changes
        .iter()
        .map(|change| {
            [change.reason.class.label(), change.reason.reach.label(), change.reason.code, &change.path].join(" | ")
        })
        .collect();
    assert_eq!(got, expected);
    let restarts = plan.changes.iter().filter(|change| change.reason.class != Class::Soft).count();
    assert_eq!(plan.restart_reasons.len(), restarts);
    assert_eq!(plan.live().is_some(), restarts == 0);
    plan
}

#[test]
fn soft_settings() {
    check(
        "access_log = true",
        "access_log = false",
        &["soft | next connection | pool_access_log | pool.db.access_log"],
    );
    check(
        "[pool.db.create]",
        "[pool.db.timeouts]\nidle = '5s'\n[pool.db.create]",
        &["soft | next timer tick | timeout_idle | pool.db.timeouts.idle"],
    );
    check(
        "[pool.db.create]",
        "[pool.db.limits]\nmax_connections = 5\n[pool.db.create]",
        &["soft | next connection | limit_connections | pool.db.limits.max_connections"],
    );
    check(
        "backend =",
        "balance = 'random-two'\nbackend =",
        &["soft | next connection | group_balance | pool.db.group.main.balance"],
    );
    check(
        "\n[pool.db]\n",
        "log.access.format = 'json'\nreload.keep_receipts = 5\n[pool.db]\n",
        &[
            "soft | now | log_access_format | log.access.format",
            "soft | next submission | reload_keep_receipts | reload.keep_receipts",
        ],
    );
    check(
        "\n[pool.db]\n",
        "appliance.stop_grace = '5s'\n[pool.db]\n",
        &["soft | now | stop_grace | appliance.stop_grace"],
    );
}

#[test]
fn what_is_written_differently_is_no_change() {
    let plan = check("access_log = true", "# nothing", &[]);
    assert!(plan.unchanged && plan.touches == config::Touches::default());
    assert_eq!(plan.from, plan.to);
    check("\"127.0.0.1:1\", \"127.0.0.1:2\"", "\"127.0.0.1:2\", \"127.0.0.1:1\"", &[]);
    check(
        "{ id = \"a\", address = \"a:1\" }, { id = \"b\", address = \"b:1\" }",
        "{ id = \"b\", address = \"b:1\" }, { id = \"a\", address = \"A:1\" }",
        &[],
    );
}

#[test]
fn backends_by_identity() {
    check(
        "\"a:1\"",
        "\"a:1\", weight = 3",
        &["soft | next connection | backend_weight | pool.db.group.main.backend.a.weight"],
    );
    check("\"a\"", "\"c\"", &["soft | now | backend_id | pool.db.group.main.backend.c.id"]);
    check(
        "\"a:1\"",
        "\"c:1\"",
        &[
            "soft | next connection | backend_removed | pool.db.group.main.backend.a",
            "soft | next connection | backend_added | pool.db.group.main.backend.a",
        ],
    );
    // The names are exchanged, the addresses stay: nothing moves but names.
    check(
        "{ id = \"a\", address = \"a:1\" }, { id = \"b\", address = \"b:1\" }",
        "{ id = \"b\", address = \"a:1\" }, { id = \"a\", address = \"b:1\" }",
        &[
            "soft | now | backend_id | pool.db.group.main.backend.a.id",
            "soft | now | backend_id | pool.db.group.main.backend.b.id",
        ],
    );
    check(
        ", { id = \"b\", address = \"b:1\" }",
        "",
        &["soft | next connection | backend_removed | pool.db.group.main.backend.b"],
    );
}

#[test]
fn health_checks() {
    let health = |more: &str| format!("{POOL}[pool.db.group.main.health]\n{more}");
    check_plan(plan(POOL, &health("")), &["soft | now | health_added | pool.db.group.main.health"]);
    check_plan(plan(&health(""), POOL), &["soft | now | health_removed | pool.db.group.main.health"]);
    check_plan(plan(&health(""), &health("rise = 5")), &["soft | now | health_rise | pool.db.group.main.health.rise"]);
}

#[test]
fn listen_addresses() {
    let plan = check(", \"127.0.0.1:2\"", "", &["soft | now | listen | pool.db.create.listen"]);
    assert_eq!(
        (plan.changes[0].old.clone(), plan.changes[0].new.clone()),
        (serde_json::json!("127.0.0.1:2"), serde_json::Value::Null)
    );
    check("\"127.0.0.1:2\"", "\"127.0.0.1:3\"", &["soft | now | listen | pool.db.create.listen"; 2]);
    let plan = check(
        "\"127.0.0.1:1\", \"127.0.0.1:2\"",
        "\"127.0.0.1:3\"",
        &["hard | pool restart | create_listen_replaced | pool.db.create.listen"; 3],
    );
    assert_eq!(plan.class, Class::Hard);
    assert_eq!(plan.touches.listeners.len(), 3);
}

const WEB: &str = "[pool.web.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:8', '127.0.0.1:9']\n[pool.web.group.main]\nbackend = [{ address = 'w:1' }]\n";

#[test]
fn an_address_that_moves_between_pools() {
    let both = format!("{POOL}{WEB}");
    let without = both.replace(", \"127.0.0.1:2\"", "");
    let moved = without.replace("'127.0.0.1:9'", "'127.0.0.1:9', '127.0.0.1:2'");
    let plan = check_plan(
        plan(&both, &moved),
        &["soft | now | listen_moved | pool.db.create.listen", "soft | now | listen_moved | pool.web.create.listen"],
    );
    assert_eq!(plan.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(), [PlanWarningCode::AddressMoved]);
    assert_eq!(plan.touches.listeners.len(), 1);
    // To other shards, its sockets cannot go along.
    let shards = |text: &str| text.replace("listen = ['", "shards = [0]\nlisten = ['");
    check_plan(
        self::plan(&shards(&both), &shards(&moved)),
        &[
            "soft | now | listen_moved | pool.db.create.listen",
            "hard | pool restart | create_listen_resharded | pool.web.create.listen",
        ],
    );
    assert_eq!(self::plan(&shards(&both), &shards(&without)).class, Class::Soft);
    assert_eq!(self::plan(&shards(&without), &shards(&moved)).class, Class::Soft);
}

/// The kernel gives a port to one address or to all, and the old socket is there until the change is over.
#[test]
fn a_port_cannot_change_hands_within_one_change() {
    let listen = |addresses: &str| POOL.replace("127.0.0.1:1", addresses);
    let overlaps = |old: &str, new: &str| {
        let plan = plan(&listen(old), &listen(new));
        plan.restart_reasons.iter().any(|reason| reason.reason.code == "create_listen_overlaps")
    };
    assert!(overlaps("127.0.0.1:80", "0.0.0.0:80"));
    assert!(overlaps("[::]:80", "[::1]:80"));
    assert!(!overlaps("127.0.0.1:80", "127.0.0.2:80"));
    assert!(!overlaps("127.0.0.1:80", "0.0.0.0:81"));
    assert!(!overlaps("127.0.0.1:80", "[::]:80"));
}

#[test]
fn an_address_of_a_pool_that_goes() {
    let inherited = WEB.replace("'127.0.0.1:9'", "'127.0.0.1:9', '127.0.0.1:2'");
    check_plan(
        plan(&format!("{POOL}{WEB}"), &inherited),
        &[
            "soft | now | pool_removed | pool.db",
            "hard | pool restart | create_listen_inherited | pool.web.create.listen",
        ],
    );
    // A pool under another name is that too.
    let renamed = plan(POOL, &POOL.replace("pool.db", "pool.cache"));
    assert_eq!(renamed.class, Class::Hard);
    assert!(renamed.restart_reasons.iter().all(|reason| reason.reason.code == "create_listen_inherited"));
}

#[test]
fn creation_and_process_settings() {
    check("service =", "memory = '1MiB'\nservice =", &["hard | pool restart | create_memory | pool.db.create.memory"]);
    check("service =", "shards = [0]\nservice =", &["hard | pool restart | create_shards | pool.db.create.shards"]);
    let plan = check(
        "\n[pool.db]\n",
        "appliance.shards = 3\nappliance.connections = 5\n[pool.db]\n",
        &[
            "process | appliance restart | process_connections | appliance.connections",
            "process | appliance restart | process_shards | appliance.shards",
        ],
    );
    assert_eq!(plan.class, Class::Process);
    assert!(plan.touches.pools.is_empty());
}

#[test]
fn whole_pools() {
    let plan = check_plan(
        plan("[appliance]\n", POOL),
        &[
            "soft | now | pool_added | pool.db",
            "soft | now | listen | pool.db.create.listen",
            "soft | now | listen | pool.db.create.listen",
        ],
    );
    assert!(plan.warnings.is_empty());
    let plan = check_plan(self::plan(POOL, "[appliance]\n"), &["soft | now | pool_removed | pool.db"]);
    assert_eq!(plan.warnings[0].code, PlanWarningCode::PoolRemoved);
    assert_eq!(plan.touches.listeners.len(), 2);
}

#[test]
fn semantic_jumps() {
    let list = "{ id = \"a\", address = \"a:1\" }, { id = \"b\", address = \"b:1\" }";
    let codes = |plan: Plan| plan.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>();
    let change = |to: &str| codes(plan(POOL, &POOL.replace(list, to)));
    assert_eq!(change("{ address = \"x:1\" }"), [PlanWarningCode::SemanticJump]);
    assert_eq!(change("{ address = \"x:1\" }, { address = \"a:1\", weight = 5 }"), []);
    assert_eq!(change("{ address = \"x:1\" }, { id = \"a\", address = \"a:1\" }"), []);
    assert_eq!(change(""), [PlanWarningCode::NoUsableBackend]);
    assert_eq!(codes(plan(POOL, &POOL.replace(".main", ".other"))), [PlanWarningCode::StateReset]);
}

#[test]
fn a_group_without_a_usable_backend_is_warned_of() {
    let list = "{ id = \"a\", address = \"a:1\" }, { id = \"b\", address = \"b:1\" }";
    let codes = |plan: Plan| plan.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>();
    let change = |keys: &str| {
        let to = format!("{{ id = \"a\", address = \"a:1\", {keys} }}");
        codes(plan(POOL, &POOL.replace(list, &to)))
    };
    assert_eq!(change("drain = true"), [PlanWarningCode::NoUsableBackend]);
    assert_eq!(change("weight = 0"), [PlanWarningCode::NoUsableBackend]);
    assert_eq!(change("backup = true"), []);
    let drains = POOL.replace(list, "{ id = \"a\", address = \"a:1\", drain = true }");
    assert_eq!(codes(plan(&drains, &POOL.replace(list, ""))), [], "none was usable before");
}

#[test]
fn a_rule_that_leads_to_another_application_is_warned_of() {
    let text = |group: &str, b: &str| {
        format!(
            "[pool.web.create]\nservice = 'http'\nlisten = ['127.0.0.1:1']\n\
             [pool.web.group.a]\nbackend = [{{ address = '10.0.0.1:1' }}]\n\
             [pool.web.group.b]\nbackend = [{{ address = '{b}:1' }}, {{ address = '10.0.0.3:1' }}]\n\
             [[pool.web.rule]]\nid = 'r'\npath = '/'\ngroup = '{group}'\n\
             [[pool.web.rule]]\nid = 's'\ngroup = 'a'\n"
        )
    };
    let codes = |plan: Plan| plan.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>();
    assert_eq!(codes(plan(&text("a", "10.0.0.2"), &text("b", "10.0.0.2"))), [PlanWarningCode::SemanticJump]);
    assert_eq!(codes(plan(&text("a", "10.0.0.1"), &text("b", "10.0.0.1"))), [], "a backend is in both");
}

#[test]
fn as_json() {
    let plan = plan(POOL, &POOL.replace("\"a:1\"", "\"a:1\", weight = 3"));
    let json = serde_json::to_value(&plan).unwrap();
    let expected = serde_json::json!({
        "path": "pool.db.group.main.backend.a.weight",
        "pool": "db",
        "object": { "kind": "backend", "group": "main", "id": "a", "address": "a:1" },
        "kind": "set",
        "class": "soft",
        "category": "lbBackends",
        "reach": "next connection",
        "reason_code": "backend_weight",
        "reason": "Asked for each new connection; open ones stay where they are.",
        "old": 1,
        "new": 3,
        "touched": null,
    });
    assert_eq!(json["changes"], serde_json::json!([expected]));
    assert_eq!(json["touches"], serde_json::json!({ "pools": ["db"], "listeners": [] }));
    assert_eq!(json["unchanged"], false);
}
