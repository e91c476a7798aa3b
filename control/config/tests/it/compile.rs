//! From plan to change, step by step and from scratch, on random histories.

use crate::appliance::Appliance;
use crate::arbitrary::{Model, PLAIN, history};
use crate::arbitrary_rules::SPARE;
use crate::{config, meanings};
use config::{ChangeKind, Compiled, Config, Edit, Object, Plan, RulePlace, Running, RunningPool, Slots, compile, diff};
use policy::generation::{Address, Balance, Change, Group, PoolGeneration, Service};
use policy::http::Action;
use policy::reload::Outcome;
use policy::reload::rollout::{Obstacle, Phase};
use policy::{EndpointSlot, JobId, ListenerSlot, PoolId, PoolSlot, ShardSet};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// The group that is always there. Of HTTP pools, one without backends may stand before it.
fn main_of(generation: &PoolGeneration) -> &Group {
    generation.groups.values().find(|group| &*group.id != SPARE).expect("each pool has one")
}

/// Groups in the order of their names.
fn named(generation: &PoolGeneration) -> Vec<&Group> {
    let mut groups: Vec<&Group> = generation.groups.values().map(|group| &**group).collect();
    groups.sort_by(|a, b| a.id.cmp(&b.id));
    groups
}

/// Rules in their order, with the names of the groups to which they lead.
fn rules_of(generation: &PoolGeneration) -> String {
    let Service::Http(service) = &generation.service else { return String::new() };
    let rules = service.rules.rules().values().map(|rule| {
        let leads = match rule.action {
            Action::Group(slot) => format!("{:?}", generation.group(slot).map(|group| &group.id)),
            _ => String::new(),
        };
        let rule = format!("{rule:?}");
        // The slot depends on what was before.
        let (before, behind) = rule.split_once("Group(GroupSlot(").unwrap_or((&rule, ""));
        format!("{before}{leads}{}", behind.trim_start_matches(|c: char| c.is_ascii_digit()))
    });
    rules.collect()
}

/// What runs, in words, for whoever reads of a difference: without the numbers that depend on how it came about.
fn told(running: &Running) -> String {
    let mut out = String::new();
    for (id, pool) in &running.pools {
        let generation = &pool.generation;
        assert_eq!((&generation.id, generation.hash), (id, pool.content.hash()));
        assert_eq!(generation.policy.pool, generation.slot);
        assert!(generation.listeners.is_sorted());
        let listen: BTreeMap<&Address, ShardSet> = running
            .listeners
            .iter()
            .filter(|(_, listen)| generation.listeners.contains(&listen.listener))
            .map(|(address, listen)| {
                assert_eq!(listen.pool, generation.slot);
                (address, listen.shards)
            })
            .collect();
        assert_eq!(listen.len(), generation.listeners.len());
        let group = main_of(generation);
        assert!(group.endpoints.is_sorted_by_key(|endpoint| endpoint.slot));
        let endpoints: BTreeMap<String, String> = group
            .endpoints
            .iter()
            .map(|e| {
                (
                    e.address.to_string(),
                    format!("{} {} {} {} {:?}", e.id, e.weight, e.backup, e.drain, e.max_connections),
                )
            })
            .collect();
        let balance = match &group.balance {
            // By address: slots, and so indices, depend on the past.
            Balance::SourceHash(table) => {
                let order: Vec<&Address> = group.endpoints.iter().map(|endpoint| &endpoint.address).collect();
                let entries: Vec<String> =
                    table.iter().step_by(997).map(|ix| order[*ix as usize].to_string()).collect();
                format!("source-hash {} {entries:?}", table.len())
            }
            other => format!("{other:?}"),
        };
        let groups: Vec<&str> = named(generation).into_iter().map(|group| &*group.id).collect();
        let service = match &generation.service {
            Service::Tcp => String::new(),
            Service::Http(service) => format!("{} {:?} {:?}", rules_of(generation), service.pages, service.via),
        };
        let rest = (group.id.clone(), group.attempts, group.queue, group.queue_wait, group.health.clone());
        let policy = (generation.policy.timeouts, generation.policy.access_log);
        writeln!(
            out,
            "{id} {listen:?} {:?} {:?} {policy:?} {balance} {rest:?} {endpoints:?} {groups:?} {service}",
            generation.shards, generation.limits
        )
        .unwrap();
    }
    out
}

/// What came about step by step means what was compiled from scratch, and what its document says.
fn check_meaning(running: &Running, fresh: &Running) -> Result<(), TestCaseError> {
    // First, because it says where they differ.
    prop_assert_eq!(told(running), told(fresh));
    prop_assert_eq!(running.meanings(), fresh.meanings());
    meanings::check(running);
    Ok(())
}

fn toml(model: &Model) -> Arc<Config> {
    config(&model.toml(PLAIN))
}

/// The pools, addresses and endpoints that the change is about are those that the plan names.
fn check_agreement(plan: &Plan, compiled: &Compiled, before: &Running, after: &Running) {
    let change: &Change = &compiled.change;
    let of_pool = |running: &Running| {
        running.pools.values().map(|pool| (pool.generation.slot, pool.content.id.clone())).collect::<BTreeMap<_, _>>()
    };
    let (old_names, new_names) = (of_pool(before), of_pool(after));
    let pools: BTreeSet<PoolId> = change
        .pools
        .iter()
        .map(|(slot, pool)| match pool {
            Some(pool) => pool.id.clone(),
            None => old_names[slot].clone(),
        })
        .collect();
    assert_eq!(pools, plan.touches.pools);
    let address = |running: &Running, slot: ListenerSlot| {
        running.listeners.iter().find(|(_, listen)| listen.listener == slot).unwrap().0.clone()
    };
    let mut listeners: BTreeSet<Address> = change.leave.iter().map(|slot| address(before, *slot)).collect();
    listeners.extend(change.listen.iter().map(|listen| address(after, listen.listener)));
    assert_eq!(listeners, plan.touches.listeners);
    assert_eq!(change.listen.len(), compiled.bind.len(), "these pools never exchange addresses");

    // Backends that the plan adds or removes one by one; those of whole pools and renamed groups are told as such.
    let planned = |kind: ChangeKind| {
        let backends =
            plan.changes.iter().filter(|change| change.kind == kind && matches!(change.object, Object::Backend { .. }));
        backends.count()
    };
    let whole = |id: &PoolId| {
        let group = |running: &Running| running.pools.get(id).map(|pool| main_of(&pool.generation).id.clone());
        group(before) != group(after)
    };
    let single = |names: &BTreeMap<PoolSlot, PoolId>, list: &[(PoolSlot, EndpointSlot)]| {
        list.iter().filter(|(pool, _)| !whole(&names[pool])).count()
    };
    let renamed = plan.changes.iter().any(|change| change.reason.code == "group_renamed");
    if !renamed {
        assert_eq!(planned(ChangeKind::Added), single(&new_names, &change.endpoints_come));
        assert_eq!(planned(ChangeKind::Removed), single(&old_names, &change.endpoints_gone));
    }
}

/// What did not change is the same object.
fn check_sharing(before: &Running, after: &Running, job: JobId) {
    for (id, new) in &after.pools {
        let Some(old) = before.pools.get(id) else { continue };
        if old.content.hash() == new.content.hash() {
            assert!(Arc::ptr_eq(&old.generation, &new.generation), "{id} did not change");
            continue;
        }
        assert_eq!(new.generation.number.0, job.0);
        assert_ne!(old.generation.part, new.generation.part);
        assert_eq!(old.generation.slot, new.generation.slot);
        check_sharing_of_rules(old, new);
        let (old, new) = (&old.generation, &new.generation);
        let same_policy = (old.policy.timeouts, old.policy.access_log) == (new.policy.timeouts, new.policy.access_log);
        assert_eq!(same_policy, Arc::ptr_eq(&old.policy, &new.policy));
        assert_eq!(same_policy, old.policy.part == new.policy.part);
        for endpoint in new.endpoints() {
            let before = old.endpoints().find(|old| old.slot == endpoint.slot);
            if let Some(before) = before {
                assert_eq!(before.address, endpoint.address);
                assert_eq!(before == endpoint, Arc::ptr_eq(before, endpoint), "{}", endpoint.address);
            }
        }
        let (old, new) = (main_of(old), main_of(new));
        let same_members = old.endpoints.len() == new.endpoints.len()
            && old
                .endpoints
                .iter()
                .zip(&new.endpoints)
                .all(|(a, b)| (a.slot, a.weight, a.backup) == (b.slot, b.weight, b.backup));
        if let (Balance::SourceHash(old), Balance::SourceHash(new)) = (&old.balance, &new.balance) {
            assert_eq!(
                same_members,
                Arc::ptr_eq(old, new),
                "a table is built again only when it would come out different"
            );
        }
    }
}

/// A rule that says the same, and leads where it led, is the same.
fn check_sharing_of_rules(old: &RunningPool, new: &RunningPool) {
    let (Service::Http(before), Service::Http(after)) = (&old.generation.service, &new.generation.service) else {
        return;
    };
    let (Some(was), Some(is)) = (&old.content.http, &new.content.http) else { panic!("both are of HTTP") };
    let groups = |pool: &RunningPool| pool.content.groups.keys().cloned().collect::<Vec<_>>();
    if groups(old) == groups(new) {
        let rules = was.rules.iter().zip(before.rules.rules().values());
        let rules: BTreeMap<&str, _> = rules.map(|(content, rule)| (&*content.id, (content, rule))).collect();
        for (content, rule) in is.rules.iter().zip(after.rules.rules().values()) {
            if let Some((was, old)) = rules.get(&*content.id) {
                assert_eq!(was == &content, Arc::ptr_eq(old, rule), "{}", content.id);
            }
        }
        assert_eq!(was.rules == is.rules, Arc::ptr_eq(&before.rules, &after.rules));
        let same =
            was.rules == is.rules && was.lists == is.lists && was.pages == is.pages && was.settings == is.settings;
        assert_eq!(same, Arc::ptr_eq(before, after));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Through any history, with jobs that are withdrawn, waiting or refused, and tunnels that keep what is
    /// gone, what runs means what the last document means when it is compiled from scratch.
    #[test]
    fn step_by_step_is_from_scratch(models in history(), fates in prop::collection::vec(fate(), 16)) {
        let mut appliance = Appliance::started(&toml(&models[0]));
        for (model, fate) in models[1..].iter().zip(fates) {
            let new = toml(model);
            let plan = appliance.plan(&new);
            let before = appliance.running.clone();
            let job = appliance.submit(&new);
            appliance.compile_ready(job);
            if appliance.rollout.phase(job) == Some(Phase::Waiting) {
                // An address that comes back waits for its old sockets.
                prop_assert!(appliance.handshakes_last);
                appliance.end_handshakes();
                appliance.compile_ready(job);
            }
            let compiled = appliance.compiled(job);
            let after = before.after(compiled);
            check_agreement(&plan, compiled, &before, &after);
            check_sharing(&before, &after, job);
            prop_assert!(compiled.bind.iter().all(|bind| bind.after.is_none()), "it has waited");
            match fate {
                Fate::Withdrawn => appliance.withdraw(job),
                Fate::Refused => {
                    appliance.refuses = true;
                    appliance.prepare(job);
                    appliance.refuses = false;
                }
                Fate::Applied | Fate::AppliedAndKept => appliance.prepare(job),
            }
            let applied = matches!(appliance.outcomes[&job], Outcome::Applied { .. });
            prop_assert_eq!(applied, matches!(fate, Fate::Applied | Fate::AppliedAndKept));
            appliance.check_slots();
            prop_assert_eq!(&appliance.running.config, if applied { &new } else { &before.config });
            match fate {
                Fate::AppliedAndKept => {
                    appliance.handshakes_last = true;
                    appliance.open_tunnels();
                }
                Fate::Applied => appliance.close_tunnels(),
                Fate::Withdrawn | Fate::Refused => {}
            }
            let fresh = Appliance::started(&appliance.running.config);
            check_meaning(&appliance.running, &fresh.running)?;
        }
        appliance.come_to_rest();
    }

    /// Two jobs on different pools, compiled against the same state, end in any order.
    #[test]
    fn disjoint_jobs_commute(models in history(), first in any::<bool>()) {
        let base = toml(&models[0]);
        let mut appliance = Appliance::started(&base);
        // Each takes one half of the pools from a later model.
        // The list is used by both.
        let other = &Model { office: models[0].office, ..models.last().expect("never empty").clone() };
        let half = |low: bool| {
            let mut model = models[0].clone();
            let mine = |id: &&str| (*id < "c") == low;
            model.pools.retain(|id, _| !mine(id));
            model.pools.extend(other.pools.iter().filter(|(id, _)| mine(id)).map(|(id, pool)| (*id, pool.clone())));
            if low {
                model.keep_receipts = other.keep_receipts;
            } else {
                model.level = other.level;
            }
            model
        };
        let jobs = [true, false].map(|low| appliance.submit(&toml(&half(low))));
        jobs.iter().for_each(|job| appliance.compile_ready(*job));
        let order = if first { jobs } else { [jobs[1], jobs[0]] };
        order.iter().for_each(|job| appliance.prepare(*job));
        prop_assert_eq!(&appliance.running.config, &toml(other));
        prop_assert_eq!(appliance.outcomes.len(), 2);
        let fresh = Appliance::started(&toml(other));
        check_meaning(&appliance.running, &fresh.running)?;
        appliance.come_to_rest();
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Applied,
    /// Tunnels and handshakes outlast it.
    AppliedAndKept,
    Withdrawn,
    Refused,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![2 => Just(Fate::Applied), 2 => Just(Fate::AppliedAndKept), 1 => Just(Fate::Withdrawn), 1 => Just(Fate::Refused)]
}

const POOL: &str = "[pool.db.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:1', '127.0.0.1:2']\n[pool.db.group.main]\nbackend = [{ address = 'a:1' }, { address = 'b:1' }]\n";
const WEB: &str = "[pool.web.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:8']\n[pool.web.group.main]\nbackend = [{ address = 'w:1' }]\n";

fn slot_of(appliance: &Appliance, address: &str) -> Option<EndpointSlot> {
    let mut endpoints = appliance.running.pools.values().flat_map(|pool| &main_of(&pool.generation).endpoints);
    endpoints.find(|endpoint| endpoint.address.to_string() == address).map(|endpoint| endpoint.slot)
}

#[test]
fn a_backend_that_comes_back_has_its_slot_while_tunnels_use_it() {
    let without = config(&POOL.replace("{ address = 'a:1' },", ""));
    let mut appliance = Appliance::started(&config(POOL));
    let slot = slot_of(&appliance, "a:1");
    appliance.open_tunnels();
    appliance.apply(&without);
    assert_eq!(slot_of(&appliance, "a:1"), None);
    appliance.apply(&config(&POOL.replace("b:1", "c:1")));
    assert_eq!(slot_of(&appliance, "a:1"), slot);
    appliance.close_tunnels();
    appliance.check_slots();
    // Once more, but nobody uses it when it goes.
    appliance.apply(&without);
    appliance.apply(&config(POOL));
    appliance.come_to_rest();
}

#[test]
fn an_address_that_comes_back_waits_and_has_another_slot() {
    let without = config(&POOL.replace(", '127.0.0.1:2'", ""));
    let mut appliance = Appliance::started(&config(POOL));
    let address: Address = Address::Ip("127.0.0.1:2".parse().unwrap());
    let old = appliance.running.listeners.get(&address).unwrap().listener;
    appliance.handshakes_last = true;
    appliance.apply(&without);
    let [first, second] = [0, 1].map(|_| appliance.submit(&config(POOL)));
    assert_eq!(appliance.rollout.waits_for(first), Some(Obstacle::Address(old)));
    // The first gives up; the second waits on.
    appliance.withdraw(first);
    assert_eq!(appliance.rollout.waits_for(second), Some(Obstacle::Address(old)));
    appliance.end_handshakes();
    appliance.compile_ready(second);
    let [bind] = &appliance.compiled(second).bind[..] else { panic!("one address comes") };
    assert_eq!((&bind.address, bind.after), (&address, None));
    assert_ne!(bind.listener, old);
    appliance.prepare(second);
    appliance.come_to_rest();
}

#[test]
fn a_change_that_is_compiled_too_early_says_what_to_wait_for() {
    let mut slots = Slots::default();
    let mut running = Running::at_start(&config("[appliance]\n"));
    let mut job = 0;
    let mut step = |text: &str| {
        job += 1;
        let new = config(text);
        let live = diff(&running.config, &new).live().unwrap();
        let compiled = compile(&running, &new, live, JobId(job), ShardSet::first(1), &mut slots);
        compiled.applied(&mut slots);
        running = running.after(&compiled);
        compiled.bind.iter().map(|bind| (bind.listener.0, bind.after.map(|slot| slot.0))).collect::<Vec<_>>()
    };
    assert_eq!(step(POOL), [(0, None), (1, None)]);
    assert_eq!(step(&POOL.replace(", '127.0.0.1:2'", "")), []);
    assert_eq!(step(POOL), [(2, Some(1))]);
}

#[test]
fn an_address_moves_between_pools_with_its_sockets() {
    let mut appliance = Appliance::started(&config(&format!("{POOL}{WEB}")));
    let address: Address = Address::Ip("127.0.0.1:2".parse().unwrap());
    let before = appliance.running.listeners.get(&address).unwrap().clone();
    let moved = config(&format!(
        "{}{}",
        POOL.replace(", '127.0.0.1:2'", ""),
        WEB.replace("'127.0.0.1:8'", "'127.0.0.1:8', '127.0.0.1:2'")
    ));
    let job = appliance.submit(&moved);
    appliance.compile_ready(job);
    let compiled = appliance.compiled(job);
    assert!(compiled.bind.is_empty() && compiled.change.leave.is_empty());
    assert_eq!(compiled.change.listen.len(), 1);
    appliance.prepare(job);
    let after = appliance.running.listeners.get(&address).unwrap();
    assert_eq!(after.listener, before.listener);
    assert_ne!(after.pool, before.pool);
    appliance.come_to_rest();
}

#[test]
fn a_pool_that_comes_back_has_its_slot_while_tunnels_use_it() {
    let mut appliance = Appliance::started(&config(POOL));
    appliance.open_tunnels();
    appliance.apply(&config("[appliance]\n"));
    let both = config(&format!("{WEB}{POOL}"));
    appliance.apply(&both);
    let slots: Vec<u32> = appliance.running.pools.values().map(|pool| pool.generation.slot.0).collect();
    assert_eq!(slots, [0, 1], "db, then web");
    appliance.close_tunnels();
    appliance.come_to_rest();
}

#[test]
#[should_panic(expected = "the plan is of another change")]
fn a_plan_proves_nothing_about_another_document() {
    let running = Running::at_start(&config("[appliance]\n"));
    let live = diff(&running.config, &config(POOL)).live().unwrap();
    let other = config(&POOL.replace("a:1", "c:1"));
    let _ = compile(&running, &other, live, JobId(1), ShardSet::first(1), &mut Slots::default());
}

/// Rules that come one by one are held against what a whole document is held against.
#[test]
fn rules_that_come_by_orders_are_a_table_or_go_nowhere() {
    let site =
        "[pool.web.create]\nservice = 'http'\nlisten = ['127.0.0.1:8']\n[[pool.web.rule]]\nid = 'all'\ndeny = 404\n";
    let mut running = Running::at_start(&config("[appliance]\n"));
    let mut slots = Slots::default();
    let mut made = |running: &Running, new: &Arc<Config>| {
        let live = diff(&running.config, new).live().unwrap();
        let compiled = compile(running, new, live, JobId(1), ShardSet::first(1), &mut slots);
        compiled.applied(&mut slots);
        compiled
    };
    let add = |id: String, query: &str, place| {
        let path = ["pool", "web", "rule", &id].map(str::to_owned).to_vec();
        Edit::Add { path, value: serde_json::json!({ "query": { "k": query }, "deny": 403 }), place: Some(place) }
    };
    let edit = |running: &Running, edits: &[Edit]| Arc::new(running.config.edit(edits, 1).unwrap().config);
    running = running.after(&made(&running, &config(site)));
    let never = made(&running, &edit(&running, &[add("late".into(), "x", RulePlace::Last)]));
    let remarks: Vec<String> =
        never.remarks.iter().map(|remark| format!("{} {}", remark.path, remark.message)).collect();
    assert_eq!(remarks, ["pool.web.rule.late rule `late` is never asked: `all` takes all of it before"]);
    assert_eq!(never.remarks.errors(), []);
    // As many as one request may be held against.
    let edits: Vec<Edit> = (1..policy::http::Rules::CANDIDATES_MAX)
        .map(|nth| add(format!("r{nth}"), &nth.to_string(), RulePlace::First))
        .collect();
    let full = made(&running, &edit(&running, &edits));
    assert!(full.remarks.is_empty(), "{}", full.remarks);
    running = running.after(&full);
    let over = made(&running, &edit(&running, &[add("over".into(), "over", RulePlace::First)]));
    let [problem] = over.remarks.errors() else { panic!("{}", over.remarks) };
    assert_eq!((problem.code.label(), &*problem.path), ("too_many", "pool.web.rule"));
}

#[test]
fn one_changed_weight_keeps_everything_else() {
    let mut appliance = Appliance::started(&config(POOL));
    let before = appliance.running.clone();
    let job = appliance.submit(&config(&POOL.replace("'a:1'", "'a:1', weight = 5")));
    appliance.compile_ready(job);
    let compiled = appliance.compiled(job);
    assert_eq!(compiled.endpoints.len(), 1);
    assert_eq!(compiled.endpoints[0].1.weight, 5);
    assert!(
        compiled.bind.is_empty()
            && compiled.change.endpoints_come.is_empty()
            && compiled.change.endpoints_gone.is_empty()
    );
    let pool = compiled.change.pools[0].1.as_ref().unwrap();
    let old = &before.pools.values().next().unwrap().generation;
    assert_eq!(pool.bytes, old.bytes);
    let shared = pool.bytes - pool.replaced_bytes.min(pool.bytes);
    assert!(shared > 0, "only one endpoint and the way to it had to be made");
    assert!(Arc::ptr_eq(&pool.policy, &old.policy));
    appliance.prepare(job);
    appliance.come_to_rest();
}
