//! What is told of a request that nobody has sent.

use super::*;
use api::ErrorCode;
use api::explain::{Decision, Standing};
use api::order::{BackendSet, Explain, Header};
use api::{Explanation, Place};

fn site(listen: &str) -> String {
    format!(
        r#"
[list.office]
entries = ["192.0.2.0/24"]

[pool.web.create]
service = "http"
listen = ["{listen}"]

[pool.web.http]
generation_header = true

[[pool.web.rule]]
id = "office"
path_prefix = "/admin"
not = {{ source = "office" }}
deny = 403

[[pool.web.rule]]
id = "other"
host = "other.test"
respond = "other"

[[pool.web.rule]]
id = "writes"
path_prefix = "/api"
method = ["POST"]
group = "app"

[[pool.web.rule]]
id = "users"
path_template = "/api/users/{{id}}"
group = "app"
rewrite = {{ to = "/v2/users/{{id}}", host = "api.internal" }}
request_headers = {{ set = {{ X-User = "{{id}}", X-From = "{{client_ip}}" }}, remove = ["Cookie"] }}
response_headers = {{ add = {{ Vary = "Accept" }}, remove = ["Server"] }}

[[pool.web.rule]]
id = "old"
path = "/old"
redirect = {{ to = "https://{{host}}/new", status = 301 }}
response_headers = {{ add = {{ X-Old = "yes" }}, remove = ["Server"] }}

[[pool.web.group.app.backend]]
id = "a"
address = "127.0.0.1:9001"

[[pool.web.group.app.backend]]
id = "b"
address = "127.0.0.1:9002"
backup = true
max_connections = 7
"#
    )
}

struct Site {
    rig: Rig,
    listen: String,
    pools: String,
}

impl Site {
    fn new() -> Site {
        let listen = free_address();
        let pools = site(&listen);
        Site { rig: Rig::new(&pools), listen, pools }
    }

    /// The line of the running file on which this rule begins.
    fn line(&self, rule: &str) -> u32 {
        let document = std::fs::read_to_string(self.rig.folder.path().join("site.toml")).unwrap();
        let begins = format!("[[pool.web.rule]]\nid = \"{rule}\"");
        let at = document.find(&begins).unwrap_or_else(|| panic!("there is no rule {rule}"));
        document[..at].lines().count() as u32 + 1
    }

    fn url(&self, path: &str) -> Explain {
        Explain { url: format!("http://{}{path}", self.listen), host: Some("example.com".into()), ..Explain::default() }
    }

    #[track_caller]
    fn explain(&self, asked: Explain) -> Explanation {
        match self.rig.call(Order::Explain(asked)) {
            Ok(Body::Explanation(explanation)) => *explanation,
            other => panic!("{other:?}"),
        }
    }
}

fn edits(edits: &[api::explain::HeaderEdit]) -> Vec<String> {
    edits.iter().map(ToString::to_string).collect()
}

fn asked(explanation: &Explanation) -> Vec<(&str, Option<&str>)> {
    explanation.asked.iter().map(|asked| (asked.rule.as_str(), asked.fails.as_deref())).collect()
}

fn places(explanation: &Explanation) -> Vec<Option<&Place>> {
    explanation.asked.iter().map(|asked| asked.place.as_ref()).collect()
}

#[test]
fn a_request_is_followed_to_its_backends() {
    let site = Site::new();
    let explanation = site.explain(Explain { from: Some("198.51.100.1".into()), ..site.url("/api/./users/7?all") });
    assert_eq!((explanation.pool.as_str(), explanation.generation), ("web", 1));
    assert_eq!(explanation.normal_path.as_deref(), Some("/api/users/7"));
    assert_eq!(asked(&explanation), [("writes", Some("method POST")), ("users", None)]);
    assert_eq!(explanation.asked.iter().map(|asked| asked.turn).collect::<Vec<u64>>(), [3, 4]);
    let file = site.rig.folder.path().join("site.toml").display().to_string();
    let place = |rule| Place { file: file.clone(), line: site.line(rule), column: 1, label: None };
    assert_eq!(places(&explanation), [Some(&place("writes")), Some(&place("users"))]);
    let Decision::Group { group, balance, sent, backends } = &explanation.decision else { panic!("{explanation:?}") };
    assert_eq!((group.as_str(), balance.as_str()), ("app", "round-robin"));
    assert_eq!((sent.target.as_str(), sent.host.as_str()), ("/v2/users/7?all", "api.internal"));
    let mut headers = edits(&sent.headers);
    headers.sort();
    assert_eq!(headers, ["remove Cookie", "set X-From: 198.51.100.1", "set X-User: 7"]);
    let standings: Vec<(&str, Standing)> =
        backends.iter().map(|candidate| (candidate.backend.backend.as_str(), candidate.standing)).collect();
    assert_eq!(standings, [("a", Standing::Asked), ("b", Standing::Spare)]);
    assert_eq!(backends[1].backend.max_connections, Some(7));
    let mut answer = edits(&explanation.answer_headers);
    answer.sort();
    assert_eq!(answer, ["add Vary: Accept", "remove Server", "set X-Sluicegate-Generation: web@1"]);
}

#[test]
fn every_decision_is_told() {
    let site = Site::new();
    let denied = site.explain(Explain { from: Some("198.51.100.1".into()), ..site.url("/admin/x") });
    assert_eq!(asked(&denied), [("office", None)]);
    assert_eq!(denied.decision, Decision::Deny { status: 403 });
    let let_in = site.explain(Explain { from: Some("192.0.2.9".into()), ..site.url("/admin/x") });
    assert_eq!(asked(&let_in), [("office", Some("not(source office)"))]);
    assert_eq!(let_in.decision, Decision::NoRule { status: 404 });
    let old = site.explain(site.url("/old"));
    let location = "https://example.com/new".into();
    assert_eq!(old.decision, Decision::Redirect { status: 301, location });
    let mut answer = edits(&old.answer_headers);
    answer.sort();
    assert_eq!(answer, ["add X-Old: yes", "set X-Sluicegate-Generation: web@1"], "what we say ourselves has no Server");
    let other = Explain { host: None, headers: vec![header("Host", "other.test")], ..site.url("/x") };
    let other = site.explain(other);
    assert!(matches!(&other.decision, Decision::Respond { status: 200, body_bytes: 5, .. }), "{other:?}");
    let above = site.explain(site.url("/../x"));
    assert_eq!(above.decision, Decision::Refused { status: 400, reason: "path-above-root".into() });
    assert_eq!((above.normal_path, above.asked.len()), (None, 0));
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

/// A rule keeps its place while typed orders change other things; a document with the same rules on other lines
/// brings new places, also if nothing else is new; what another document changed has none in the older.
#[test]
fn places_are_those_of_the_newest_document() {
    let site = Site::new();
    let line = |site: &Site| {
        let explanation = site.explain(site.url("/old"));
        explanation.asked[0].place.clone().unwrap_or_else(|| panic!("{explanation:?}"))
    };
    let before = line(&site);
    let set = BackendSet { pool: "web".into(), backend: "a".into(), weight: Some(5), ..BackendSet::default() };
    site.rig.change(Order::BackendSet(set)).unwrap();
    assert_eq!(line(&site), before);
    // The file as it was, one line further down, and with the weight that runs.
    let path = site.rig.folder.path().join("site.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("# moved\n{}", text.replace(":9001\"", ":9001\"\nweight = 5"))).unwrap();
    let reload = site.rig.change(Order::Reload(api::order::Reload::default())).unwrap();
    assert_eq!(reload.outcome, api::receipt::JobOutcome::Unchanged);
    assert_eq!(line(&site), Place { line: before.line + 1, ..before });
    let pools = site.pools.replace("/old\"", "/older\"");
    site.rig.apply(&pools).unwrap();
    let older = site.explain(site.url("/older"));
    assert_eq!(older.asked[0].place.as_ref().map(|place| place.file.as_str()), Some("document"));
}

#[test]
fn the_pool_is_found_or_the_choice_is_told() {
    let (web, db) = (free_address(), free_address());
    let rig = Rig::new(&(site(&web) + &db_at(&db)));
    let failed = |asked: Explain| rig.call(Order::Explain(asked)).expect_err("there is no such pool");
    let url = |url: &str| Explain { url: url.into(), ..Explain::default() };
    let nowhere = failed(url("http://127.0.0.1:1/"));
    assert_eq!(nowhere.code, ErrorCode::NotFound);
    assert!(nowhere.message.contains(&format!("`web` ({web})")), "{}", nowhere.message);
    assert!(!nowhere.message.contains("`db`"), "{}", nowhere.message);
    let tcp = failed(url(&format!("http://{db}/")));
    assert!(tcp.code == ErrorCode::InvalidRequest && tcp.message.contains("`db` carries TCP"), "{}", tcp.message);
    let unknown = failed(Explain { pool: Some("wbe".into()), ..url(&format!("http://{web}/")) });
    assert!(unknown.code == ErrorCode::NotFound && unknown.message.contains("`web`"), "{}", unknown.message);
    let garbled = failed(url("http://a b/"));
    assert!(garbled.code == ErrorCode::InvalidRequest && garbled.message.contains("`url`"), "{}", garbled.message);
    // By name it is the port that counts, and two pools may have the same on two addresses.
    let port = web.rsplit_once(':').unwrap().1;
    let by_name = Explain { host: Some("example.com".into()), ..url(&format!("http://localhost:{port}/old")) };
    assert!(matches!(rig.call(Order::Explain(by_name)), Ok(Body::Explanation(told)) if told.pool == "web"));
    rig.apply(&(site(&web) + &site(&format!("127.0.0.2:{port}")).replace("pool.web", "pool.api").replace(LIST, "")))
        .unwrap();
    let two = failed(url(&format!("http://localhost:{port}/")));
    assert_eq!(two.code, ErrorCode::InvalidRequest);
    assert!(two.message.contains("`api`") && two.message.contains("`web`"), "{}", two.message);
    let one = url(&format!("http://127.0.0.2:{port}/"));
    assert!(matches!(rig.call(Order::Explain(one)), Ok(Body::Explanation(told)) if told.pool == "api"));
}

/// As shards divide what comes in at an address.
#[test]
fn the_pool_of_a_shared_address_is_its_hosts() {
    let listen = free_address();
    let pool = |id: &str, hosts: &str, port: u16| {
        format!(
            "[pool.{id}]\n{hosts}\n[pool.{id}.create]\nservice = \"http\"\nlisten = [\"{listen}\"]\n\
             [pool.{id}.group.main]\nbackend = [{{ address = \"127.0.0.1:{port}\" }}]\n"
        )
    };
    let shop = pool("shop", "hosts = [\"shop.test\", \"*.shop.test\"]", 9001);
    let api = |hosts: &str| pool("api", hosts, 9002);
    let rig = Rig::new(&(shop.clone() + &api("hosts = [\"api.test\"]")));
    let explained = |host: &str, pool: Option<&str>| {
        let asked = Explain {
            url: format!("http://{listen}/"),
            host: Some(host.into()),
            pool: pool.map(Into::into),
            ..Explain::default()
        };
        match rig.call(Order::Explain(asked)) {
            Ok(Body::Explanation(told)) => *told,
            other => panic!("{other:?}"),
        }
    };
    for (host, pool) in [("SHOP.test:80", "shop"), ("x.y.shop.test", "shop"), ("api.test", "api")] {
        let told = explained(host, None);
        assert!(told.pool == pool && matches!(told.decision, Decision::Group { .. }), "{host}: {told:?}");
    }
    let told = explained("other.test", None);
    assert_eq!(told.decision, Decision::Refused { status: 421, reason: "misdirected".into() });
    assert_eq!((told.pool.as_str(), told.normal_path, told.asked.len()), ("api", None, 0), "whose connection it is");
    // Whoever names a pool means that one.
    assert!(matches!(explained("other.test", Some("shop")).decision, Decision::Group { .. }));
    rig.apply(&(shop + &api(""))).unwrap();
    assert_eq!(explained("other.test", None).pool, "api");
    assert_eq!(explained("shop.test", None).pool, "shop");
}

const LIST: &str = "[list.office]\nentries = [\"192.0.2.0/24\"]\n";

fn db_at(listen: &str) -> String {
    db(&[listen.to_owned()], &[("a", 9003, "")])
}
