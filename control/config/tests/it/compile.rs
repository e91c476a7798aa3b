//! From plan to change, step by step and from scratch, on random histories.

use crate::arbitrary::{Model, PLAIN, history};
use crate::{SHARDS, config};
use config::{ChangeKind, Compiled, Config, Object, Plan, Running, Slots, compile, diff};
use policy::generation::{Address, Balance, Change};
use policy::{EndpointSlot, JobId, ListenerSlot, PoolId, PoolSlot, ShardSet};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// What control keeps: what runs, the slots, and the number of the next job.
struct Appliance {
    running: Running,
    slots: Slots,
    job: u64,
    /// Slots that some shard may still use, as the shards would know them.
    leaving: (BTreeSet<PoolSlot>, BTreeSet<EndpointSlot>, BTreeSet<ListenerSlot>),
}

impl Appliance {
    fn started(config: &Config) -> Appliance {
        Appliance { running: Running::at_start(config), slots: Slots::default(), job: 0, leaving: Default::default() }
    }

    fn compile(&mut self, new: &Arc<Config>) -> (Plan, Compiled) {
        self.job += 1;
        let plan = diff(&self.running.config, new);
        let live = plan.live().expect("these documents need no restart");
        let compiled = compile(&self.running, new, live, JobId(self.job), ShardSet::first(SHARDS), &mut self.slots);
        (plan, compiled)
    }

    fn apply(&mut self, compiled: Compiled) {
        self.running = self.running.after(&compiled);
        for (slot, pool) in &compiled.change.pools {
            match pool {
                Some(_) => self.leaving.0.remove(slot),
                None => self.leaving.0.insert(*slot),
            };
        }
        self.leaving.1.extend(compiled.change.endpoints_gone.iter().map(|(_, slot)| *slot));
        for (_, slot) in &compiled.change.endpoints_come {
            self.leaving.1.remove(slot);
        }
        self.leaving.2.extend(&compiled.change.leave);
        assert_eq!(compiled.applied(&mut self.slots), config::Freed::default(), "nothing was released meanwhile");
    }

    /// Every shard lets go of everything.
    fn release_all(&mut self) {
        let (pools, endpoints, listeners) = std::mem::take(&mut self.leaving);
        pools.into_iter().for_each(|slot| assert!(self.slots.release_pool(slot)));
        endpoints.into_iter().for_each(|slot| assert!(self.slots.release_endpoint(slot)));
        listeners.into_iter().for_each(|slot| assert!(self.slots.release_listener(slot)));
    }

    /// Slots in use are those that run and those that leave.
    fn check_slots(&self) {
        let mut endpoints = self.leaving.1.clone();
        let mut listeners = self.leaving.2.clone();
        let mut pools = self.leaving.0.clone();
        for pool in self.running.pools.values() {
            assert!(pools.insert(pool.generation.slot), "{} is somebody else's too", pool.generation.slot);
            for endpoint in &pool.generation.group.endpoints {
                assert!(endpoints.insert(endpoint.slot), "{} is somebody else's too", endpoint.slot);
                let identity = self.slots.endpoint(endpoint.slot).expect("in use");
                assert_eq!(
                    (&identity.pool, &identity.group, &identity.address),
                    (&pool.content.id, &pool.content.group.id, &endpoint.address)
                );
            }
        }
        for (address, listen) in &self.running.listeners {
            assert!(listeners.insert(listen.listener), "{} is somebody else's too", listen.listener);
            assert_eq!(self.slots.listener(listen.listener), Some(address));
        }
        assert_eq!(self.slots.in_use(), (pools.len(), endpoints.len(), listeners.len()));
    }
}

/// What runs, without the numbers that depend on how it came about.
fn meaning(running: &Running) -> String {
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
        let group = &generation.group;
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
        let rest = (group.id.clone(), group.attempts, group.queue, group.queue_wait, group.health);
        let policy = (generation.policy.timeouts, generation.policy.access_log);
        writeln!(
            out,
            "{id} {listen:?} {:?} {:?} {policy:?} {balance} {rest:?} {endpoints:?}",
            generation.shards, generation.limits
        )
        .unwrap();
    }
    out
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
    assert_eq!(change.listen.len(), compiled.bind.len());

    // Backends that the plan adds or removes one by one; those of whole pools and renamed groups are told as such.
    let planned = |kind: ChangeKind| {
        let backends =
            plan.changes.iter().filter(|change| change.kind == kind && matches!(change.object, Object::Backend { .. }));
        backends.count()
    };
    let whole = |id: &PoolId| {
        let group = |running: &Running| running.pools.get(id).map(|pool| pool.content.group.id.clone());
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
        let (old, new) = (&old.generation, &new.generation);
        let same_policy = (old.policy.timeouts, old.policy.access_log) == (new.policy.timeouts, new.policy.access_log);
        assert_eq!(same_policy, Arc::ptr_eq(&old.policy, &new.policy));
        assert_eq!(same_policy, old.policy.part == new.policy.part);
        for endpoint in &new.group.endpoints {
            let before = old.group.endpoints.iter().find(|old| old.slot == endpoint.slot);
            if let Some(before) = before {
                assert_eq!(before.address, endpoint.address);
                assert_eq!(before == endpoint, Arc::ptr_eq(before, endpoint), "{}", endpoint.address);
            }
        }
        let same_members = old.group.endpoints.len() == new.group.endpoints.len()
            && old
                .group
                .endpoints
                .iter()
                .zip(&new.group.endpoints)
                .all(|(a, b)| (a.slot, a.weight, a.backup) == (b.slot, b.weight, b.backup));
        if let (Balance::SourceHash(old), Balance::SourceHash(new)) = (&old.group.balance, &new.group.balance) {
            assert_eq!(
                same_members,
                Arc::ptr_eq(old, new),
                "a table is built again only when it would come out different"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Through any history, with jobs that are withdrawn and slots that are released early, late or never,
    /// what runs means what the last document means when it is compiled from scratch.
    #[test]
    fn step_by_step_is_from_scratch(models in history(), fates in prop::collection::vec(0..4u8, 16)) {
        let mut appliance = Appliance::started(&toml(&models[0]));
        for (model, fate) in models.iter().zip(fates) {
            let new = toml(model);
            let (plan, compiled) = appliance.compile(&new);
            prop_assert_eq!(plan.touches.pools.is_empty(), compiled.change.pools.is_empty());
            if fate == 0 {
                compiled.withdrawn(&mut appliance.slots);
                appliance.check_slots();
                continue;
            }
            let before = appliance.running.clone();
            let job = compiled.job;
            let after = before.after(&compiled);
            check_agreement(&plan, &compiled, &before, &after);
            check_sharing(&before, &after, job);
            appliance.apply(compiled);
            prop_assert_eq!(&appliance.running.config, &new);
            appliance.check_slots();
            if fate == 1 {
                appliance.release_all();
                appliance.check_slots();
            }
            let mut fresh = Appliance::started(&new);
            let (_, compiled) = fresh.compile(&new);
            fresh.apply(compiled);
            prop_assert_eq!(meaning(&appliance.running), meaning(&fresh.running));
        }
    }

    /// Two jobs on different pools, compiled against the same state, end in any order.
    #[test]
    fn disjoint_jobs_commute(models in history(), first in any::<bool>()) {
        let base = toml(&models[0]);
        let mut appliance = Appliance::started(&base);
        let (_, compiled) = appliance.compile(&base);
        appliance.apply(compiled);
        // Each takes one half of the pools from a later model.
        let other = models.last().expect("never empty");
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
        let (_, a) = appliance.compile(&toml(&half(true)));
        let (_, b) = appliance.compile(&toml(&half(false)));
        let order = if first { [a, b] } else { [b, a] };
        order.into_iter().for_each(|compiled| appliance.apply(compiled));
        appliance.check_slots();
        prop_assert_eq!(&appliance.running.config, &toml(other));
        let mut fresh = Appliance::started(&base);
        let (_, compiled) = fresh.compile(&toml(other));
        fresh.apply(compiled);
        prop_assert_eq!(meaning(&appliance.running), meaning(&fresh.running));
    }
}

const POOL: &str = "[pool.db.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:1', '127.0.0.1:2']\n[pool.db.group.main]\nbackend = [{ address = 'a:1' }, { address = 'b:1' }]\n";

#[test]
fn a_backend_that_comes_back_has_its_slot_again() {
    let mut appliance = Appliance::started(&config(""));
    let (_, compiled) = appliance.compile(&config(POOL));
    appliance.apply(compiled);
    let slot = appliance.running.pools.values().next().unwrap().generation.group.endpoints[0].slot;
    let (_, compiled) = appliance.compile(&config(&POOL.replace("{ address = 'a:1' },", "")));
    assert_eq!(compiled.change.endpoints_gone, [(PoolSlot(0), slot)]);
    appliance.apply(compiled);
    let (_, compiled) = appliance.compile(&config(POOL));
    assert_eq!(compiled.change.endpoints_come, [(PoolSlot(0), slot)]);
    // A shard's word on its former life comes too late to matter.
    assert!(!appliance.slots.release_endpoint(slot));
    appliance.apply(compiled);
    assert!(!appliance.slots.release_endpoint(slot));
    appliance.check_slots();
}

#[test]
fn an_address_that_comes_back_has_another_slot_and_waits_for_the_old_one() {
    let mut appliance = Appliance::started(&config(""));
    let (_, compiled) = appliance.compile(&config(POOL));
    appliance.apply(compiled);
    let address: Address = Address::Ip("127.0.0.1:2".parse().unwrap());
    let old = appliance.running.listeners[&address].listener;
    let (_, compiled) = appliance.compile(&config(&POOL.replace(", '127.0.0.1:2'", "")));
    assert_eq!(compiled.change.leave, [old]);
    appliance.apply(compiled);
    let (_, compiled) = appliance.compile(&config(POOL));
    let [bind] = &compiled.bind[..] else { panic!("{:?}", compiled.bind) };
    assert_eq!((&bind.address, bind.after), (&address, Some(old)));
    assert_ne!(bind.listener, old);
    // The job gives up waiting; the next one waits for the same socket.
    compiled.withdrawn(&mut appliance.slots);
    let (_, compiled) = appliance.compile(&config(POOL));
    assert_eq!(compiled.bind[0].after, Some(old));
    assert!(appliance.slots.release_listener(old));
    appliance.leaving.2.remove(&old);
    appliance.apply(compiled);
    appliance.check_slots();
}

#[test]
fn a_release_may_come_before_the_job_has_ended() {
    let mut appliance = Appliance::started(&config(""));
    let (_, compiled) = appliance.compile(&config(POOL));
    appliance.apply(compiled);
    let (_, compiled) = appliance.compile(&config(""));
    appliance.running = appliance.running.after(&compiled);
    assert!(!appliance.slots.release_pool(PoolSlot(0)));
    assert!(!appliance.slots.release_endpoint(EndpointSlot(1)));
    let freed = compiled.applied(&mut appliance.slots);
    assert_eq!((freed.pools, freed.endpoints, freed.listeners), (vec![PoolSlot(0)], vec![EndpointSlot(1)], vec![]));
    assert_eq!(appliance.slots.in_use(), (0, 1, 2));
}

#[test]
#[should_panic(expected = "the plan is of another change")]
fn a_plan_proves_nothing_about_another_document() {
    let mut appliance = Appliance::started(&config(""));
    let live = diff(&appliance.running.config, &config(POOL)).live().unwrap();
    let other = config(&POOL.replace("a:1", "c:1"));
    let _ = compile(&appliance.running, &other, live, JobId(1), ShardSet::first(1), &mut appliance.slots);
}

#[test]
fn one_changed_weight_keeps_everything_else() {
    let mut appliance = Appliance::started(&config(""));
    let (_, compiled) = appliance.compile(&config(POOL));
    assert_eq!(compiled.endpoints.len(), 2);
    appliance.apply(compiled);
    let before = appliance.running.clone();
    let (_, compiled) = appliance.compile(&config(&POOL.replace("'a:1'", "'a:1', weight = 5")));
    assert_eq!(compiled.endpoints.len(), 1);
    assert_eq!(compiled.endpoints[0].1.weight, 5);
    assert!(
        compiled.bind.is_empty()
            && compiled.change.endpoints_come.is_empty()
            && compiled.change.endpoints_gone.is_empty()
    );
    let pool = compiled.change.pools[0].1.as_ref().unwrap();
    let old = &before.pools.values().next().unwrap().generation;
    assert!(pool.bytes < old.bytes, "only one endpoint had to be made");
    assert!(Arc::ptr_eq(&pool.policy, &old.policy));
    appliance.apply(compiled);
}
