//! `config::diff` on documents in a row, and what is compiled of them.
//!
//! What must have changed is worked out here a second time, from the documents as JSON and in the plainest
//! way, and the plan must tell just that.

use crate::files::Files;
use crate::running::{Ending, World};
use config::{
    ChangeKind, Class, Config, LIST_ENTRIES_SHOWN, Object, Plan, PlanWarningCode, PlannedChange, Pool, diff, happenings,
};
use policy::PoolId;
use policy::generation::Address;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Documents as for [`crate::document`], divided by lines that begin with `====`.
///
/// The first is what the appliance starts with, each further one is planned against what runs then. A plan is
/// empty exactly if the documents are equal, tells every difference once with old and new value, is of the
/// class of its worst change, and its reverse touches the same. If it needs no restart it is compiled; how its
/// job ends is the rest of the line: `withdrawn` before any shard had it, `taken back` from shards that had
/// prepared it, `held` (in force, and no shard has let go of what it replaced), else in force and all let go.
pub fn plan(data: &[u8]) {
    let mut world: Option<World> = None;
    for (ending, text) in documents(data) {
        let Ok(parsed) = Files::split(&text).parse() else { continue };
        let new = Arc::new(parsed.config);
        let world = match &mut world {
            Some(world) => world,
            none => none.insert(World::start(&new)),
        };
        let old = world.config();
        let plan = diff(&old, &new);
        check(&plan, &old, &new);
        if let Some(live) = plan.live() {
            world.change(&new, &plan, live, ending);
        }
    }
    if let Some(world) = world {
        world.end();
    }
}

fn documents(data: &[u8]) -> Vec<(Ending, Vec<u8>)> {
    let mut documents = vec![(Ending::InForce, Vec::new())];
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"====") {
            Some(word) => {
                let ending = match word.trim_ascii() {
                    b"withdrawn" => Ending::Withdrawn,
                    b"held" => Ending::Held,
                    b"taken back" => Ending::TakenBack,
                    _ => Ending::InForce,
                };
                documents.push((ending, Vec::new()));
            }
            None => documents.last_mut().expect("never empty").1.extend(line),
        }
    }
    documents
}

fn check(plan: &Plan, old: &Config, new: &Config) {
    assert_eq!((plan.from, plan.to), (old.hash(), new.hash()));
    let equal = old.to_json() == new.to_json();
    assert_eq!(old.hash() == new.hash(), equal, "equal documents have equal hashes, and no others");
    assert_eq!(plan.unchanged, equal);
    assert_eq!(plan.changes.is_empty(), equal);

    let (moves, others): (Vec<_>, Vec<_>) =
        plan.changes.iter().partition(|change| change.reason.code == happenings::RULE_MOVED.code);
    let (divided, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|change| change.reason.code == happenings::HOSTS_DIVIDED.code);
    let divided: BTreeSet<(PoolId, Address)> = divided.into_iter().map(at_address).collect();
    assert_eq!(divided, neighbours_differ(old, new));
    let mut told: Vec<Difference> = others.into_iter().map(difference).collect();
    told.sort();
    moved(&moves, old, new);
    assert_eq!(told, differences(&old.to_json(), &new.to_json()));

    let classes = plan.changes.iter().map(|change| change.reason.class);
    assert_eq!(plan.class, classes.max().unwrap_or(Class::Soft));
    assert_eq!(plan.live().is_some(), plan.restart_reasons.is_empty());
    let hard: Vec<&str> = plan.changes.iter().filter(|c| c.reason.class != Class::Soft).map(|c| &*c.path).collect();
    assert_eq!(hard, plan.restart_reasons.iter().map(|reason| &*reason.path).collect::<Vec<_>>());

    let touched = touched(old, new);
    assert_eq!((&plan.touches.pools, &plan.touches.listeners), (&touched.0, &touched.1));
    assert_eq!(diff(new, old).touches, plan.touches, "back again touches the same");

    let gone = old.pools.keys().filter(|id| !new.pools.contains_key(*id)).map(PoolId::to_string);
    let warned = plan.warnings.iter().filter(|warning| warning.code == PlanWarningCode::PoolRemoved);
    assert_eq!(
        warned.map(|warning| warning.pool.clone().expect("of a pool")).collect::<Vec<_>>(),
        gone.collect::<Vec<_>>()
    );
    serde_json::to_string(plan).expect("plans are answered as JSON");
}

/// Without the rules that are said to have moved, those that stay stand as they stood; nobody else is said to.
fn moved(moves: &[&PlannedChange], old: &Config, new: &Config) {
    let ids = |config: &Config, pool: &PoolId| {
        let http = config.pools.get(pool).and_then(|pool| pool.http.as_ref());
        let rules = http.map(|http| http.rules.iter().map(|rule| rule.id.clone()).collect::<Vec<_>>());
        rules.unwrap_or_default()
    };
    for pool in new.pools.keys() {
        let of_pool = moves.iter().filter(|change| change.pool.as_deref() == Some(pool.as_str()));
        let moved: BTreeSet<_> = of_pool
            .map(|change| match &change.object {
                Object::Rule { id } => id.clone(),
                other => panic!("{other:?} moves"),
            })
            .collect();
        let (before, after) = (ids(old, pool), ids(new, pool));
        let stay = |one: &[Arc<str>], other: &[Arc<str>]| {
            one.iter().filter(|id| other.contains(id) && !moved.contains(*id)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(stay(&before, &after), stay(&after, &before));
        assert!(moved.iter().all(|id| before.contains(id) && after.contains(id)));
        let common = |one: &[Arc<str>], other: &[Arc<str>]| {
            one.iter().filter(|id| other.contains(id)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(moved.is_empty(), common(&before, &after) == common(&after, &before));
    }
}

fn at_address(change: &PlannedChange) -> (PoolId, Address) {
    let Object::Listen { address } = &change.object else { panic!("{change:?} is of no address") };
    assert!(change.kind == ChangeKind::Set && change.old.is_null() && change.new.is_string());
    (PoolId::new(change.pool.as_deref().expect("of a pool")), address.clone())
}

/// Pools that have an address before and after, where the other pools at it are others or take other hosts.
fn neighbours_differ(old: &Config, new: &Config) -> BTreeSet<(PoolId, Address)> {
    let others = |config: &Config, id: &PoolId, at: &Address| -> Vec<(PoolId, String)> {
        let others = config.pools.values().filter(|pool| pool.id != *id && pool.create.listen.contains(at));
        let hosts = |pool: &Pool| pool.http.as_ref().map_or_else(String::new, |http| format!("{:?}", http.hosts.hosts));
        others.map(|pool| (pool.id.clone(), hosts(pool))).collect()
    };
    let stays = old.pools.iter().filter_map(|(id, old)| Some((id, old, new.pools.get(id)?)));
    let at = stays.flat_map(|(id, before, after)| {
        let both = before.create.listen.iter().filter(|at| after.create.listen.contains(at));
        both.map(move |at| (id.clone(), at.clone()))
    });
    at.filter(|(id, at)| others(old, id, at) != others(new, id, at)).collect()
}

/// Pools that differ, and addresses that do not lead where they led.
fn touched(old: &Config, new: &Config) -> (BTreeSet<PoolId>, BTreeSet<Address>) {
    let pools = |config: &Config| config.pools.iter().map(|(id, pool)| (id.clone(), pool.hash())).collect();
    let leads = |config: &Config| {
        let has_hosts = |pool: &Pool| pool.http.as_ref().is_some_and(|http| !http.hosts.hosts.is_empty());
        let mut leads: BTreeMap<Address, (bool, PoolId)> = BTreeMap::new();
        for (id, pool) in &config.pools {
            for at in &pool.create.listen {
                let candidate = (has_hosts(pool), id.clone());
                let first = leads.entry(at.clone()).or_insert_with(|| candidate.clone());
                *first = first.clone().min(candidate);
            }
        }
        leads.into_iter().map(|(at, (_, id))| (at, id)).collect()
    };
    (changed_keys(pools(old), pools(new)), changed_keys(leads(old), leads(new)))
}

fn changed_keys<K: Ord + Clone, V: PartialEq>(old: BTreeMap<K, V>, new: BTreeMap<K, V>) -> BTreeSet<K> {
    old.keys().chain(new.keys()).filter(|key| old.get(key) != new.get(key)).cloned().collect()
}

/// Path, what happened there, and the values as text, so that they can be sorted.
type Difference = (String, &'static str, String, String);

fn difference(change: &config::PlannedChange) -> Difference {
    let kind = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Set => "set",
    };
    let shown = |value: &Value| match change.reason.code {
        "list_entries" => Value::Null.to_string(),
        _ => value.to_string(),
    };
    (change.path.clone(), kind, shown(&change.old), shown(&change.new))
}

/// All that differs between two documents as JSON.
fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    for table in ["appliance", "reload"] {
        found.keys(table, &old[table], &new[table]);
    }
    for table in ["access", "events"] {
        found.keys(&format!("log.{table}"), &old["log"][table], &new["log"][table]);
    }
    found.lists(&old["list"], &new["list"]);
    let (old, new) = (table(&old["pool"]), table(&new["pool"]));
    for (id, old) in old {
        match new.get(id) {
            Some(new) => found.pool(id, old, new),
            None => found.event(format!("pool.{id}"), "removed"),
        }
    }
    for (id, new) in new.iter().filter(|(id, _)| !old.contains_key(*id)) {
        found.event(format!("pool.{id}"), "added");
        found.listen(id, &Value::Array(Vec::new()), &new["create"]["listen"]);
    }
    found.0.sort();
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn pool(&mut self, id: &str, old: &Value, new: &Value) {
        self.keys(&format!("pool.{id}"), old, new);
        for table in ["create", "limits", "timeouts", "http"] {
            self.keys(&format!("pool.{id}.{table}"), &old[table], &new[table]);
        }
        self.listen(id, &old["create"]["listen"], &new["create"]["listen"]);
        // Between two services the change of service says it all.
        for (list, name) in [("rule", rule_name as fn(&Value) -> String), ("page", page_name)] {
            if let (Some(old), Some(new)) = (old.get(list), new.get(list)) {
                self.each(&format!("pool.{id}.{list}"), &named(old, name), &named(new, name));
            }
        }
        let (old, new) = (table(&old["group"]), table(&new["group"]));
        let gone: Vec<_> = old.iter().filter(|(name, _)| !new.contains_key(*name)).collect();
        let come: Vec<_> = new.iter().filter(|(name, _)| !old.contains_key(*name)).collect();
        if let ([(old_name, old)], [(name, new)]) = (&gone[..], &come[..]) {
            let path = format!("pool.{id}.group.{name}");
            self.set(path.clone(), &old_name.as_str().into(), &name.as_str().into());
            self.group(path, old, new);
        } else {
            gone.iter().for_each(|(name, _)| self.event(format!("pool.{id}.group.{name}"), "removed"));
            come.iter().for_each(|(name, _)| self.event(format!("pool.{id}.group.{name}"), "added"));
        }
        for (name, old) in old {
            if let Some(new) = new.get(name) {
                self.group(format!("pool.{id}.group.{name}"), old, new);
            }
        }
    }

    fn group(&mut self, path: String, old: &Value, new: &Value) {
        self.keys(&path, old, new);
        self.keys(&format!("{path}.retry"), &old["retry"], &new["retry"]);
        for table in ["health", "eject"] {
            let (Some(old), Some(new)) = (old.get(table), new.get(table)) else { continue };
            match (old, new) {
                (Value::Null, Value::Null) => {}
                (Value::Null, _) => self.event(format!("{path}.{table}"), "added"),
                (_, Value::Null) => self.event(format!("{path}.{table}"), "removed"),
                (old, new) => self.keys(&format!("{path}.{table}"), old, new),
            }
        }
        let (old, new) = (backends(old), backends(new));
        for (address, old) in &old {
            match new.get(address) {
                Some(new) => self.keys(&format!("{path}.backend.{}", text(&new["id"])), old, new),
                None => self.event(format!("{path}.backend.{}", text(&old["id"])), "removed"),
            }
        }
        for (_, new) in new.iter().filter(|(address, _)| !old.contains_key(*address)) {
            self.event(format!("{path}.backend.{}", text(&new["id"])), "added");
        }
    }

    /// Values of one table; what has a table or list of tables in it is compared by itself. Between two services
    /// only what both have is compared: the change of service says the rest.
    fn keys(&mut self, path: &str, old: &Value, new: &Value) {
        const APART: [&str; 12] = [
            "create", "limits", "timeouts", "http", "rule", "page", "group", "retry", "eject", "health", "backend",
            "listen",
        ];
        // A rule has a group, and a pool has groups.
        let apart = |key: &str, value: &Value| (key != "group" || value.is_object()) && APART.contains(&key);
        let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return };
        for (key, old) in old {
            if let Some(new) = new.get(key).filter(|new| *new != old && !apart(key, new)) {
                let long = |value: &Value| value.as_array().is_some_and(|list| list.len() > LIST_ENTRIES_SHOWN);
                match key == "hosts" && (long(old) || long(new)) {
                    true => self.set(format!("{path}.{key}"), &Value::Null, &Value::Null),
                    false => self.set(format!("{path}.{key}"), old, new),
                }
            }
        }
    }

    /// Entries are one change, wherever they are said; what it shows of them is not worked out again.
    fn lists(&mut self, old: &Value, new: &Value) {
        let (old, new) = (table(old), table(new));
        for (name, old) in old {
            let path = format!("list.{name}");
            let Some(new) = new.get(name) else {
                self.event(path, "removed");
                continue;
            };
            let differ = ["kind", "file"].into_iter().filter(|key| old[*key] != new[*key]);
            let told = differ.map(|key| self.set(format!("{path}.{key}"), &old[key], &new[key])).count();
            if old["in_force"] != new["in_force"] || told == 0 && old["digest"] != new["digest"] {
                self.set(format!("{path}.entries"), &Value::Null, &Value::Null);
            }
        }
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            self.event(format!("list.{name}"), "added");
        }
    }

    /// Tables by their names.
    fn each(&mut self, path: &str, old: &Value, new: &Value) {
        let (old, new) = (table(old), table(new));
        for (name, old) in old {
            match new.get(name) {
                Some(new) => self.keys(&format!("{path}.{name}"), old, new),
                None => self.event(format!("{path}.{name}"), "removed"),
            }
        }
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            self.event(format!("{path}.{name}"), "added");
        }
    }

    fn listen(&mut self, id: &str, old: &Value, new: &Value) {
        let (old, new) = (old.as_array().expect("a list"), new.as_array().expect("a list"));
        let path = format!("pool.{id}.create.listen");
        for address in old.iter().filter(|address| !new.contains(address)) {
            self.0.push((path.clone(), "removed", address.to_string(), "null".into()));
        }
        for address in new.iter().filter(|address| !old.contains(address)) {
            self.0.push((path.clone(), "added", "null".into(), address.to_string()));
        }
    }

    fn set(&mut self, path: String, old: &Value, new: &Value) {
        self.0.push((path, "set", old.to_string(), new.to_string()));
    }

    fn event(&mut self, path: String, kind: &'static str) {
        self.0.push((path, kind, "null".into(), "null".into()));
    }
}

fn table(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("a table")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What a list holds, by the names that `name` gives.
fn named(list: &Value, name: fn(&Value) -> String) -> Value {
    let elements = list.as_array().expect("a list").iter();
    elements.map(|element| (name(element), element.clone())).collect::<Map<_, _>>().into()
}

/// As it stands in paths.
fn rule_name(rule: &Value) -> String {
    let id = text(&rule["id"]);
    let bare = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { id.into() } else { format!("{id:?}") }
}

/// Pages are known by their statuses.
fn page_name(page: &Value) -> String {
    let one = |status: &Value| status.as_str().map_or_else(|| status.to_string(), str::to_owned);
    match &page["status"] {
        Value::Array(all) => all.iter().map(one).collect::<Vec<_>>().join(","),
        status => one(status),
    }
}

/// Backends are known by their addresses.
fn backends(group: &Value) -> BTreeMap<&str, &Value> {
    group["backend"].as_array().expect("a list").iter().map(|backend| (text(&backend["address"]), backend)).collect()
}
