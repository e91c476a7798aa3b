//! Pools that have an address in common: what is wrong between them, and what a change of one is for the others.

use crate::appliance::Appliance;
use crate::{config, parse_text};
use config::{Class, Colour, Config, Plan, PlanWarningCode, Running, diff};
use policy::PoolId;
use policy::generation::{Address, Service};
use policy::http::Whose;
use policy::reload::Outcome;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// An HTTP pool with these ports, and with these hosts if there are any.
fn pool(id: &str, ports: &[u16], hosts: &[&str]) -> String {
    let listen: Vec<String> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    let hosts = match hosts {
        [] => String::new(),
        hosts => format!("hosts = {hosts:?}\n"),
    };
    format!(
        "[pool.{id}]\n{hosts}[pool.{id}.create]\nservice = 'http'\nlisten = [{}]\n\
         [pool.{id}.group.main]\nbackend = [{{ address = '{id}:1' }}]\n",
        listen.join(", ")
    )
}

fn site(pools: &[(&str, &[u16], &[&str])]) -> Arc<Config> {
    config(&pools.iter().map(|(id, ports, hosts)| pool(id, ports, hosts)).collect::<String>())
}

/// Problems as they are drawn.
fn check(text: &str, expected: &str) {
    let drawn = parse_text(text).unwrap_err().draw(Colour::Plain);
    assert_eq!(drawn, expected.trim_matches('\n'), "\n{drawn}\n");
}

#[test]
fn the_same_host_in_two_pools_of_an_address() {
    // At two addresses, and told once.
    let text =
        pool("a", &[80, 81], &["A.example", "*.a.example"]) + &pool("b", &[80, 81], &["b.example", "a.example."]);
    check(
        &text,
        r#"
error[clash]: pools `a` and `b` both take `a.example` at `127.0.0.1:80`
 --> site.toml:9:23
  |
2 | hosts = ["A.example", "*.a.example"]
  |          ----------- taken by pool `a` here
...
9 | hosts = ["b.example", "a.example."]
  |                       ^^^^^^^^^^^^ found "a.example"
  |
  = note: accepted: each host in one pool of an address
  = note: this is `pool.b.hosts`
"#,
    );
    // At different addresses it is no matter.
    site(&[("a", &[80], &["a.example"]), ("b", &[81], &["a.example"])]);
}

#[test]
fn two_pools_without_hosts_at_one_address() {
    check(
        &(pool("a", &[80], &[]) + &pool("b", &[80], &[]) + &pool("c", &[80], &["c.example"])),
        r#"
error[clash]: pools `a` and `b` both take all hosts at `127.0.0.1:80`
  --> site.toml:10:11
   |
 4 | listen = ['127.0.0.1:80']
   |           -------------- `127.0.0.1:80` of pool `a`
...
10 | listen = ['127.0.0.1:80']
   |           ^^^^^^^^^^^^^^
   |
   = note: accepted: `hosts` for one of them, such as [pool.b] hosts = ["example.com"]
   = note: this is `pool.b.hosts`
"#,
    );
}

#[test]
fn a_tcp_pool_shares_no_address() {
    let tcp = "[pool.t.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:80']\n[pool.t.group.main]\nbackend = [{ address = 't:1' }]\n";
    check(
        &(pool("a", &[80], &["a.example"]) + tcp),
        r#"
error[clash]: pool `t` listens on `127.0.0.1:80`, and so does pool `a`
  --> site.toml:10:11
   |
 5 | listen = ['127.0.0.1:80']
   |           -------------- taken by pool `a` here
...
10 | listen = ['127.0.0.1:80']
   |           ^^^^^^^^^^^^^^ found "127.0.0.1:80"
   |
   = note: accepted: an address for each; only HTTP pools can share one, which `hosts` divides
   = note: this is `pool.t.create.listen`
"#,
    );
    check(
        &tcp.replace("[pool.t.create]", "[pool.t]\nhosts = ['a.example']\n[pool.t.create]"),
        r#"
error[clash]: `pool.t.hosts` is a setting of HTTP pools, and `t` is a TCP pool
 --> site.toml:2:1
  |
2 | hosts = ['a.example']
  | ^^^^^
3 | [pool.t.create]
4 | service = 'tcp'
  |           ----- the pool's service
  |
  = note: this is `pool.t.hosts`
"#,
    );
}

#[test]
fn hosts_that_are_none_or_listed_twice() {
    check(
        &pool("a", &[80], &["a.example", "b.example:80", "A.example."]),
        r#"
error[bad_value]: `hosts`: `b.example:80` is no host
 --> site.toml:2:23
  |
2 | hosts = ["a.example", "b.example:80", "A.example."]
  |                       ^^^^^^^^^^^^^^ found "b.example:80"
  |
  = note: accepted: a list of hosts such as "example.com" or "*.example.com", without ports; at most 10000
  = note: this is `pool.a.hosts`

error[duplicate]: `hosts`: `a.example` is listed twice
 --> site.toml:2:39
  |
2 | hosts = ["a.example", "b.example:80", "A.example."]
  |          -----------                  ^^^^^^^^^^^^ found "A.example."
  |          |
  |          first listed here
  |
  = note: accepted: a list of hosts such as "example.com" or "*.example.com", without ports; at most 10000
  = note: this is `pool.a.hosts`
"#,
    );
}

#[test]
fn sockets_of_an_address_belong_to_the_same_shards() {
    let text = pool("a", &[80], &[]) + &pool("b", &[80], &["b.example"]).replace("listen", "shards = [0]\nlisten");
    check(
        &text,
        r#"
error[clash]: pools `a` and `b` share `127.0.0.1:80`, whose sockets belong to the same shards for both
  --> site.toml:11:10
   |
 4 | listen = ['127.0.0.1:80']
   |           -------------- pool `a`
...
11 | shards = [0]
   |          ^^^
   |
   = note: accepted: the same `create.shards` in both, or an address for each
   = note: this is `pool.b.create.shards`
"#,
    );
}

#[test]
fn addresses_that_only_overlap_are_no_shared_ones() {
    let text = pool("a", &[80], &["a.example"]) + &pool("b", &[80], &["b.example"]).replace("127.0.0.1", "0.0.0.0");
    let problems = parse_text(&text).unwrap_err();
    assert_eq!(
        problems.errors()[0].message,
        "pool `b` listens on `0.0.0.0:80`, which overlaps `127.0.0.1:80` of pool `a`"
    );
}

#[test]
fn hosts_are_written_as_they_are_read() {
    let site = site(&[("a", &[80], &["B.example.", "*.A.example"]), ("b", &[80], &[])]);
    assert!(site.to_toml().contains("[pool.a]\nhosts = [\"b.example\", \"*.a.example\"]\n"), "{}", site.to_toml());
    assert_eq!(*config(&site.to_toml()), *site);
    assert_eq!(site.to_json()["pool"]["a"]["hosts"], serde_json::json!(["b.example", "*.a.example"]));
    assert_eq!(site.to_json()["pool"]["b"]["hosts"], serde_json::Value::Null);
}

/// Each change as `class reach code path`, and what goes with it.
fn planned(plan: &Plan) -> Vec<String> {
    let changes = plan.changes.iter().map(|change| {
        let reason = change.reason;
        [reason.class.label(), reason.reach.label(), reason.code, &change.path].join(" | ")
    });
    changes.collect()
}

fn touched(plan: &Plan) -> Vec<&str> {
    plan.touches.pools.iter().map(PoolId::as_str).collect()
}

const A: (&str, &[u16], &[&str]) = ("a", &[80], &[]);
const B: (&str, &[u16], &[&str]) = ("b", &[80, 81], &["b.example"]);
const C: (&str, &[u16], &[&str]) = ("c", &[80], &["c.example"]);
const OTHER: (&str, &[u16], &[&str]) = ("other", &[90], &[]);

#[test]
fn a_change_of_hosts_is_one_of_all_pools_at_the_address() {
    let more = ("b", &[80u16, 81][..], &["b.example", "new.example"][..]);
    let plan = diff(&site(&[A, B, C, OTHER]), &site(&[A, more, C, OTHER]));
    assert_eq!(
        planned(&plan),
        [
            "soft | next request | hosts_divided | pool.a.create.listen",
            "soft | next request | pool_hosts | pool.b.hosts",
            "soft | next request | hosts_divided | pool.c.create.listen",
        ]
    );
    assert_eq!(plan.changes[0].new, serde_json::json!("127.0.0.1:80: the hosts of `b` have changed"));
    assert_eq!(plan.changes[1].new, serde_json::json!(["b.example", "new.example"]));
    assert_eq!(touched(&plan), ["a", "b", "c"]);
    assert!(plan.touches.listeners.is_empty(), "no address leads elsewhere");
    assert!(plan.live().is_some() && plan.warnings.is_empty());
}

#[test]
fn a_pool_that_joins_or_leaves_an_address_is_a_soft_change() {
    let (alone, both) = (site(&[A, OTHER]), site(&[A, B, OTHER]));
    let joins = diff(&alone, &both);
    assert_eq!(
        planned(&joins),
        [
            "soft | next request | hosts_divided | pool.a.create.listen",
            "soft | now | pool_added | pool.b",
            "soft | now | listen_shared | pool.b.create.listen",
            "soft | now | listen | pool.b.create.listen",
        ]
    );
    assert_eq!(touched(&joins), ["a", "b"]);
    let leads: Vec<String> = joins.touches.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(leads, ["127.0.0.1:81"], "the one that they share leads where it led");
    let leaves = diff(&both, &alone);
    assert_eq!(
        planned(&leaves),
        ["soft | next request | hosts_divided | pool.a.create.listen", "soft | now | pool_removed | pool.b"]
    );
    assert_eq!(leaves.warnings[0].code, PlanWarningCode::PoolRemoved);
    assert!(leaves.warnings[0].message.contains("those of its addresses that no other pool has"));
    // The pool to which the address leads goes, and another that has it takes it over.
    let goes = diff(&both, &site(&[B, OTHER]));
    assert_eq!(goes.class, Class::Soft);
    assert_eq!(touched(&goes), ["a", "b"]);
    assert!(goes.touches.listeners.contains(&"127.0.0.1:80".parse().map(Address::Ip).unwrap()));
    // One that stays and gives it up.
    let moved = ("b", &[81u16][..], &["b.example"][..]);
    assert_eq!(
        planned(&diff(&both, &site(&[A, moved, OTHER]))),
        [
            "soft | next request | hosts_divided | pool.a.create.listen",
            "soft | now | listen_shared | pool.b.create.listen"
        ]
    );
    // Nobody has it all along: it moves, as an address of one pool does.
    let taker = ("c", &[80u16][..], &["c.example"][..]);
    let elsewhere = ("a", &[82u16, 83][..], &[][..]);
    let before = site(&[("a", &[80, 82], &[])]);
    assert!(
        planned(&diff(&before, &site(&[elsewhere, taker])))
            .contains(&"soft | now | listen_moved | pool.c.create.listen".into())
    );
}

/// What each address means for each of some hosts.
type Reached = BTreeMap<(String, String), Option<String>>;

const HOSTS: [&str; 7] = ["a.example", "b.example", "c.example", "x.a.example", "y.x.b.example", "d.example", ""];

/// As shards find it: by the newest root of each pool of an address.
fn reached(running: &Running) -> Reached {
    let mut reached = Reached::new();
    for (address, listen) in &running.listeners {
        let members: Vec<_> =
            running.pools.values().filter(|pool| pool.content.create.listen.contains(address)).collect();
        assert!(members.iter().any(|pool| pool.generation.slot == listen.pool), "{address} leads to one that has it");
        for (pool, host) in members.iter().flat_map(|pool| HOSTS.map(|host| (pool, host))) {
            let root = &pool.generation;
            assert_eq!(root.listeners.contains(&listen.listener), root.slot == listen.pool);
            let Service::Http(service) = &root.service else { panic!("all are of HTTP") };
            assert_eq!(service.sites.is_empty(), pool.content.division.is_none());
            let whose = match service.sites.whose(root.slot, Some(listen.listener), host.as_bytes()) {
                Whose::Ours => Some(root.id.to_string()),
                Whose::Theirs(member) => {
                    assert_eq!(running.pools.get(&member.id).unwrap().generation.slot, member.slot);
                    Some(member.id.to_string())
                }
                Whose::Nobodys { moved } => {
                    assert!(!moved, "the pool has the address");
                    None
                }
            };
            let key = (address.to_string(), host.to_string());
            let before = reached.entry(key).or_insert_with(|| whose.clone());
            assert_eq!(*before, whose, "all pools of {address} divide it alike");
        }
    }
    reached
}

fn of<'r>(reached: &'r Reached, port: u16, host: &str) -> Option<&'r str> {
    reached[&(format!("127.0.0.1:{port}"), host.to_owned())].as_deref()
}

#[test]
fn what_is_compiled_leads_each_host_to_its_pool() {
    let mut appliance = Appliance::started(&site(&[A, B, C]));
    let meant = reached(&appliance.running);
    let all = [("b.example", "b"), ("c.example", "c"), ("a.example", "a"), ("", "a")];
    for (host, pool) in all {
        assert_eq!(of(&meant, 80, host), Some(pool), "{host}");
    }
    assert_eq!((of(&meant, 81, "b.example"), of(&meant, 81, "c.example")), (Some("b"), None));
    // One table of an address, shared by its pools.
    let sites = ["a", "b", "c"].map(|id| {
        let pool = &appliance.running.pools.get(id).unwrap().generation;
        let Service::Http(service) = &pool.service else { panic!() };
        let listener = appliance.running.listeners.values().find(|listen| service.sites.at(listen.listener).is_some());
        listener
            .map(|_| {
                Arc::clone(
                    service
                        .sites
                        .at(appliance
                            .running
                            .listeners
                            .get(&"127.0.0.1:80".parse().map(Address::Ip).unwrap())
                            .unwrap()
                            .listener)
                        .unwrap(),
                )
            })
            .unwrap()
    });
    assert!(Arc::ptr_eq(&sites[0], &sites[1]) && Arc::ptr_eq(&sites[0], &sites[2]));
    // The address leads to another, whose sockets are the same.
    let before = appliance.running.listeners.clone();
    let job = appliance.apply(&site(&[B, C]));
    assert!(matches!(appliance.outcomes[&job], Outcome::Applied { .. }));
    let meant = reached(&appliance.running);
    assert_eq!((of(&meant, 80, "b.example"), of(&meant, 80, "a.example")), (Some("b"), None));
    for (address, listen) in &appliance.running.listeners {
        assert_eq!(before.get(address).unwrap().listener, listen.listener);
    }
    appliance.come_to_rest();
}

#[test]
fn a_pool_whose_neighbours_change_elsewhere_is_the_same() {
    let mut appliance = Appliance::started(&site(&[A, B, OTHER]));
    let root = |appliance: &Appliance, id: &str| appliance.running.pools.get(id).unwrap().generation.clone();
    let before = ["a", "b", "other"].map(|id| root(&appliance, id));
    let text = pool("a", &[80], &[]) + &pool("b", &[80, 81], &["b.example"]) + &pool("other", &[90], &[]);
    appliance.apply(&config(&text.replace("address = 'b:1'", "address = 'b:2'")));
    assert!(Arc::ptr_eq(&before[0], &root(&appliance, "a")), "backends of a neighbour are no matter");
    appliance.apply(&site(&[A, ("b", &[80, 81], &["b.example", "d.example"]), OTHER]));
    let after = ["a", "b", "other"].map(|id| root(&appliance, id));
    assert!(!Arc::ptr_eq(&before[0], &after[0]) && Arc::ptr_eq(&before[2], &after[2]));
    let (Service::Http(old), Service::Http(new)) = (&before[0].service, &after[0].service) else { panic!() };
    assert!(Arc::ptr_eq(&old.rules, &new.rules) && !old.sites.same(&new.sites));
    appliance.come_to_rest();
}

/// A document that was read while another made the neighbour: it cannot change what it does not claim.
#[test]
fn what_is_taken_may_not_divide_what_is_kept() {
    let (running, other) = (site(&[A, OTHER]), site(&[A, B, OTHER]));
    let ids = |ids: &[&str]| ids.iter().map(|id| PoolId::new(id)).collect::<BTreeSet<_>>();
    assert_eq!(running.taking(&other, &ids(&["a", "b"])).unwrap(), *other);
    let problems = running.taking(&other, &ids(&["b"])).unwrap_err();
    assert_eq!(
        problems.errors()[0].message,
        "the addresses of pool `a` would be divided otherwise, and another change has it"
    );
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Model {
    /// Of two shared ones; each has one of its own besides.
    ports: [bool; 2],
    below: bool,
    also: bool,
    setting: bool,
}

/// By id; of each address one at most takes the rest, which is the first.
type Models = BTreeMap<&'static str, Model>;

fn text(models: &Models, rest: bool) -> String {
    let mut out = String::from("[appliance]\n");
    for ((id, model), at) in models.iter().zip(0..) {
        let mut hosts = vec![format!("{id}.example")];
        hosts.extend(model.below.then(|| format!("*.{id}.example")));
        hosts.extend((model.also && at == 0).then(|| "d.example".into()));
        let hosts: Vec<&str> = if rest && at == 0 { Vec::new() } else { hosts.iter().map(String::as_str).collect() };
        let own = 7000 + u16::from(id.as_bytes()[0]);
        let shared = model.ports.iter().zip([80, 81]).filter(|(has, _)| **has).map(|(_, port)| port);
        write!(out, "{}", pool(id, &shared.chain([own]).collect::<Vec<_>>(), &hosts)).unwrap();
        if model.setting {
            writeln!(out, "[pool.{id}.http]\nvia = 'edge'").unwrap();
        }
    }
    out
}

fn models() -> impl Strategy<Value = (Models, bool)> {
    let model = (any::<[bool; 2]>(), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(ports, below, also, setting)| Model { ports, below, also, setting });
    (prop::collection::btree_map(prop::sample::select(&["a", "b", "c"][..]), model, 0..4), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Through any history what runs leads each host where it leads when the last document is compiled from scratch.
    #[test]
    fn step_by_step_is_from_scratch(history in prop::collection::vec(models(), 2..8), opens in any::<u8>()) {
        let document = |(models, rest): &(Models, bool)| config(&text(models, *rest));
        let mut appliance = Appliance::started(&document(&history[0]));
        for (step, models) in history[1..].iter().enumerate() {
            let new = document(models);
            let plan = appliance.plan(&new);
            let changed: BTreeSet<PoolId> = appliance.running.config.pools.keys().chain(new.pools.keys())
                .filter(|id| appliance.running.config.pools.get(*id).map(|pool| pool.hash()) != new.pools.get(*id).map(|pool| pool.hash()))
                .cloned().collect();
            prop_assert_eq!(&plan.touches.pools, &changed);
            for id in &changed {
                prop_assert!(plan.changes.iter().any(|change| change.pool.as_deref() == Some(id.as_str())), "{id} changes, and nobody says why");
            }
            // An address whose pools all go at once cannot be taken over by one that comes.
            if plan.live().is_none() {
                prop_assert!(plan.restart_reasons.iter().all(|reason| reason.reason.code == "create_listen_inherited"));
                continue;
            }
            appliance.apply(&new);
            prop_assert_eq!(&appliance.running.config, &new);
            appliance.check_slots();
            let fresh = Appliance::started(&new);
            prop_assert_eq!(reached(&appliance.running), reached(&fresh.running));
            prop_assert_eq!(appliance.running.meanings(), fresh.running.meanings());
            crate::meanings::check(&appliance.running);
            if opens >> step & 1 == 1 {
                appliance.open_tunnels();
            } else {
                appliance.close_tunnels();
            }
        }
        appliance.come_to_rest();
    }
}
