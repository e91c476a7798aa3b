//! Random documents: a plain model, and its many spellings.

use crate::arbitrary_rules::{HttpModel, RuleChange, http, is_http, rule_change};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a document says, in the simplest words.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Model {
    pub keep_receipts: u32,
    pub level: &'static str,
    /// The second byte of the addresses in the only list.
    pub office: u8,
    pub pools: BTreeMap<&'static str, PoolModel>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PoolModel {
    /// The ports of its own that it listens on besides its first one.
    pub ports: Vec<u16>,
    pub access_log: bool,
    pub max_connections: Option<u32>,
    /// Seconds.
    pub idle: Option<u32>,
    pub group: &'static str,
    pub balance: &'static str,
    pub queue: u32,
    /// Seconds between checks.
    pub health: Option<u32>,
    /// By the last digit of the port.
    pub backends: BTreeMap<u8, BackendModel>,
    /// Nothing in a pool of TCP.
    pub http: HttpModel,
}

#[derive(Clone, PartialEq, Debug)]
pub struct BackendModel {
    pub named: bool,
    pub weight: u32,
    pub backup: bool,
    pub drain: bool,
    pub max_connections: Option<u32>,
}

pub const POOLS: [&str; 4] = ["a", "b", "c", "d"];

pub fn model() -> impl Strategy<Value = Model> {
    let pools = prop::collection::btree_map(prop::sample::select(&POOLS[..]), pool(), 0..4);
    let level = prop::sample::select(&["info", "debug"][..]);
    (1..3u32, level, 0..2u8, pools).prop_map(|(keep_receipts, level, office, mut pools)| {
        pools.iter_mut().filter(|(id, _)| !is_http(id)).for_each(|(_, pool)| pool.http = HttpModel::default());
        Model { keep_receipts, level, office, pools }
    })
}

fn pool() -> impl Strategy<Value = PoolModel> {
    let settings = (
        prop::collection::btree_set(1..4u16, 0..3),
        any::<bool>(),
        prop::option::of(1..3u32),
        prop::option::of(1..3u32),
    );
    let balance = prop_oneof![4 => Just("round-robin"), 4 => Just("random-two"), 1 => Just("source-hash")];
    let group = (prop_oneof![6 => Just("main"), 1 => Just("other")], balance, 0..3u32, prop::option::of(1..3u32));
    let backends = prop::collection::btree_map(0..6u8, backend(), 0..6);
    (settings, group, backends, http()).prop_map(
        |((ports, access_log, max_connections, idle), (group, balance, queue, health), backends, http)| {
            let ports = ports.into_iter().collect();
            PoolModel { ports, access_log, max_connections, idle, group, balance, queue, health, backends, http }
        },
    )
}

pub fn backend() -> impl Strategy<Value = BackendModel> {
    (any::<bool>(), 0..3u32, any::<bool>(), any::<bool>(), prop::option::of(1..3u32)).prop_map(
        |(named, weight, backup, drain, max_connections)| BackendModel {
            named,
            weight,
            backup,
            drain,
            max_connections,
        },
    )
}

/// A model and another that differs from it in few things or in many.
pub fn two_models() -> impl Strategy<Value = (Model, Model)> {
    prop_oneof![
        (model(), model()),
        model().prop_map(|model| (model.clone(), model)),
        (model(), small_change()).prop_map(|(old, change)| (old.clone(), change.on(old))),
    ]
}

/// A model, and two that differ from it, each in its own things, few or many.
pub fn three_models() -> impl Strategy<Value = [Model; 3]> {
    let changed = |model: &Model, changes: Vec<SmallChange>| {
        changes.into_iter().fold(model.clone(), |model, change| change.on(model))
    };
    let changes = || prop::collection::vec(small_change(), 0..4);
    prop_oneof![
        1 => (model(), model(), model()).prop_map(|(base, one, other)| [base, one, other]),
        6 => (model(), changes(), changes()).prop_map(move |(base, one, other)| {
            let (one, other) = (changed(&base, one), changed(&base, other));
            [base, one, other]
        }),
    ]
}

/// Several models, each often near the one before.
pub fn history() -> impl Strategy<Value = Vec<Model>> {
    let step = prop_oneof![1 => model().prop_map(Err), 3 => small_change().prop_map(Ok)];
    (model(), prop::collection::vec(step, 1..8)).prop_map(|(first, steps)| {
        let mut models = vec![first];
        for step in steps {
            let last = models.last().expect("never empty").clone();
            models.push(match step {
                Ok(change) => change.on(last),
                Err(other) => other,
            });
        }
        models
    })
}

#[derive(Clone, Debug)]
pub enum SmallChange {
    Weight(u32),
    Drop(u8),
    Add(u8, BackendModel),
    Idle(Option<u32>),
    Ports(Vec<u16>),
    Level,
    Office,
    Rule(RuleChange),
}

pub fn small_change() -> impl Strategy<Value = SmallChange> {
    prop_oneof![
        (0..3u32).prop_map(SmallChange::Weight),
        (0..6u8).prop_map(SmallChange::Drop),
        (0..6u8, backend()).prop_map(|(digit, backend)| SmallChange::Add(digit, backend)),
        prop::option::of(1..3u32).prop_map(SmallChange::Idle),
        prop::collection::btree_set(1..4u16, 0..3).prop_map(|ports| SmallChange::Ports(ports.into_iter().collect())),
        Just(SmallChange::Level),
        Just(SmallChange::Office),
        rule_change().prop_map(SmallChange::Rule),
        rule_change().prop_map(SmallChange::Rule),
    ]
}

impl SmallChange {
    pub fn on(self, mut model: Model) -> Model {
        match self {
            SmallChange::Level => {
                model.level = if model.level == "info" { "debug" } else { "info" };
                return model;
            }
            SmallChange::Office => {
                model.office = 1 - model.office;
                return model;
            }
            SmallChange::Rule(change) => {
                if let Some((_, pool)) = model.pools.iter_mut().find(|(id, _)| is_http(id)) {
                    change.on(&mut pool.http);
                }
                return model;
            }
            _ => {}
        }
        let Some(pool) = model.pools.values_mut().next() else { return model };
        match self {
            SmallChange::Weight(weight) => {
                pool.backends.values_mut().take(1).for_each(|backend| backend.weight = weight)
            }
            SmallChange::Drop(digit) => drop(pool.backends.remove(&digit)),
            SmallChange::Add(digit, backend) => drop(pool.backends.insert(digit, backend)),
            SmallChange::Idle(idle) => pool.idle = idle,
            SmallChange::Ports(ports) => pool.ports = ports,
            SmallChange::Level | SmallChange::Office | SmallChange::Rule(_) => unreachable!("handled above"),
        }
        model
    }
}

/// Addresses are a pool's own, so that models never clash.
pub fn backend_address(pool: &str, digit: u8) -> String {
    format!("10.0.0.{}:900{digit}", pool.as_bytes()[0])
}

pub fn backend_id(pool: &str, digit: u8, backend: &BackendModel) -> String {
    if backend.named { format!("x{digit}") } else { backend_address(pool, digit) }
}

fn listen(pool: &str, port: u16) -> String {
    format!("127.0.0.{}:{}", pool.as_bytes()[0], 7000 + port)
}

/// How a model is written.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    pub defaults: bool,
    pub backwards: bool,
    pub inline: bool,
}

pub fn spelling() -> impl Strategy<Value = Spelling> {
    any::<(bool, bool, bool)>().prop_map(|(defaults, backwards, inline)| Spelling { defaults, backwards, inline })
}

pub const PLAIN: Spelling = Spelling { defaults: false, backwards: false, inline: false };

impl Model {
    pub fn toml(&self, how: Spelling) -> String {
        let mut tables = vec![
            format!("[reload]\nkeep_receipts = {}\n", self.keep_receipts),
            format!("[log.events] # to stderr\nlevel = '{}'\n", self.level),
            format!("[list.office]\nentries = ['10.{}.0.0/16']\n", self.office),
        ];
        if how.defaults {
            tables.push("[appliance]\nshards = \"auto\"\nconnections = 100000\n".into());
        }
        for (id, pool) in &self.pools {
            tables.extend(pool.tables(id, how));
        }
        if how.backwards {
            tables.reverse();
        }
        tables.join("\n")
    }
}

impl PoolModel {
    fn tables(&self, id: &str, how: Spelling) -> Vec<String> {
        let mut ports: Vec<String> =
            [0].iter().chain(&self.ports).map(|port| format!("'{}'", listen(id, *port))).collect();
        let mut backends: Vec<(u8, &BackendModel)> =
            self.backends.iter().map(|(digit, backend)| (*digit, backend)).collect();
        if how.backwards {
            ports.reverse();
            backends.reverse();
        }
        let service = if is_http(id) { "http" } else { "tcp" };
        let mut create = format!("[pool.{id}.create]\nservice = '{service}'\nlisten = [{}]\n", ports.join(", "));
        let mut limits = format!("[pool.{id}.limits]\n");
        match self.max_connections {
            Some(max) => writeln!(limits, "max_connections = {max}").unwrap(),
            None if how.defaults => limits.push_str("max_connections = 'off'\n"),
            None => {}
        }
        if how.defaults {
            create.push_str("memory = 67108864\n");
        }
        let idle = self
            .idle
            .map_or("off".into(), |idle| if how.defaults { format!("{}ms", idle * 1000) } else { format!("{idle}s") });
        let mut group =
            format!("[pool.{id}.group.{}]\nbalance = '{}'\nqueue = {}\n", self.group, self.balance, self.queue);
        let written: Vec<String> =
            backends.iter().map(|(digit, backend)| backend.pairs(id, *digit, how).join(", ")).collect();
        let (http, pairs) = match is_http(id) {
            true => self.http.tables(id, self.group, how),
            false => (Vec::new(), String::new()),
        };
        let mut tables = vec![
            format!("[pool.{id}]\naccess_log = {}\n{pairs}", self.access_log),
            create,
            limits,
            format!("[pool.{id}.timeouts]\nidle = '{idle}'\n"),
        ];
        if how.inline {
            writeln!(
                group,
                "backend = [{}]",
                written.iter().map(|pairs| format!("{{ {pairs} }}")).collect::<Vec<_>>().join(", ")
            )
            .unwrap();
        } else {
            for (digit, backend) in &backends {
                let pairs = backend.pairs(id, *digit, how).join("\n");
                writeln!(group, "[[pool.{id}.group.{}.backend]]\n{pairs}", self.group).unwrap();
            }
        }
        tables.push(group);
        tables.extend(http);
        if let Some(interval) = self.health {
            tables.push(format!("[pool.{id}.group.{}.health]\ninterval = '{interval}s'\n", self.group));
        }
        tables
    }
}

impl BackendModel {
    fn pairs(&self, pool: &str, digit: u8, how: Spelling) -> Vec<String> {
        let mut pairs =
            vec![format!("address = '{}'", backend_address(pool, digit)), format!("weight = {}", self.weight)];
        if self.named {
            pairs.push(format!("id = 'x{digit}'"));
        }
        if self.backup || how.defaults {
            pairs.push(format!("backup = {}", self.backup));
        }
        if self.drain || how.defaults {
            pairs.push(format!("drain = {}", self.drain));
        }
        if let Some(max) = self.max_connections {
            pairs.push(format!("max_connections = {max}"));
        }
        if how.backwards {
            pairs.reverse();
        }
        pairs
    }
}
