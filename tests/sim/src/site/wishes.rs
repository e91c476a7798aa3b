//! What submitters want: documents and orders by chance, each said twice: as the appliance is told, and as the model
//! understands it.
//!
//! Owns a site that is small enough for submitters to get in each other's way: a few pools, a few backends, one list, one
//! rule that a test of the document asks.

use crate::dice::Dice;
use agent::sim::Wanted;
use api::edit::{ListAdd, ListRemove, Patch, PoolEdit, PoolRemove, RuleSet};
use api::order::{BackendAdd, BackendRemove, BackendSet, OnDrift};
use config::{BackendSettings, Edit as Made, ListEdit};
use serde_json::{Value, json};
use std::path::Path;

/// TCP pools that a document may have. The last comes and goes.
const POOLS: [&str; 4] = ["a", "b", "c", "d"];
const BACKENDS: usize = 3;
const WEIGHTS: usize = 4;

/// What is wanted, and what it means.
#[derive(Clone, Debug)]
pub struct Wish {
    pub wanted: Wanted,
    pub meant: Meant,
}

#[derive(Clone, Debug)]
pub enum Meant {
    Edits(Vec<Made>),
    /// This text, in the place of all or merged with what orders have changed.
    Document {
        text: String,
        is_merged: Merged,
    },
    Back {
        to: Option<u64>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merged {
    Yes,
    No,
    /// As what runs says when the file is read.
    AsItRuns,
}

impl Wish {
    pub fn if_generation(&self) -> Option<u64> {
        match self.wanted {
            Wanted::Edits { if_generation, .. }
            | Wanted::Document { if_generation, .. }
            | Wanted::Rollback { if_generation, .. } => if_generation,
            Wanted::Reload => None,
        }
    }
}

impl Wish {
    /// In a few words, the same on every machine.
    pub fn told(&self, state: &Path) -> String {
        let told = match &self.wanted {
            Wanted::Edits { orders, if_generation } => {
                let orders: Vec<String> = orders.iter().map(|order| serde_json::json!(order).to_string()).collect();
                format!("{} if {if_generation:?}", orders.join(" "))
            }
            Wanted::Document { drift, if_generation, .. } => {
                format!("a document, drift {drift:?}, if {if_generation:?}")
            }
            wanted => format!("{wanted:?}"),
        };
        told.replace(&state.display().to_string(), "…")
    }
}

/// Who knows the site's folder and the generations that were heard of.
pub struct Wishes<'w> {
    pub state: &'w Path,
    pub shards: usize,
    /// What stands in the file.
    pub file: &'w str,
    pub heard_of: &'w [u64],
}

impl Wishes<'_> {
    pub fn any(&self, dice: &mut Dice) -> Wish {
        let if_generation =
            if dice.chance(25) { dice.pick(&self.heard_of[self.heard_of.len().saturating_sub(2)..]) } else { None };
        match dice.below(20) {
            0..=1 => {
                let text = self.document(dice);
                let (drift, is_merged) =
                    if dice.chance(50) { (OnDrift::Keep, Merged::Yes) } else { (OnDrift::Undo, Merged::No) };
                let meant = Meant::Document { text: text.clone(), is_merged };
                Wish { wanted: Wanted::Document { text, drift, if_generation }, meant }
            }
            2 => {
                let meant = Meant::Document { text: self.file.to_owned(), is_merged: Merged::AsItRuns };
                Wish { wanted: Wanted::Reload, meant }
            }
            3 => {
                let to = if dice.chance(80) { dice.pick(self.heard_of) } else { None };
                Wish { wanted: Wanted::Rollback { to, if_generation }, meant: Meant::Back { to } }
            }
            4 => {
                let (orders, made) = (0..dice.between(2, 3)).map(|_| self.order(dice)).unzip();
                Wish { wanted: Wanted::Edits { orders, if_generation }, meant: Meant::Edits(made) }
            }
            _ => {
                let (order, made) = self.order(dice);
                let wanted = Wanted::Edits { orders: vec![order], if_generation };
                Wish { wanted, meant: Meant::Edits(vec![made]) }
            }
        }
    }

    /// An address of the site's own: other sites are lived through at the same time.
    fn socket(&self, number: usize) -> String {
        format!("unix:{}.{number}", self.state.display())
    }

    /// A document by chance. Some are not in order.
    pub fn document(&self, dice: &mut Dice) -> String {
        let interval = ["0s", "0s", "50ms", "400ms"][dice.below(4)];
        let drift = ["keep", "undo"][dice.below(2)];
        let (before, after) = (["0s", "0s", "0s", "20ms"][dice.below(4)], ["0s", "0s", "0s", "20ms"][dice.below(4)]);
        let mut text = format!(
            "[appliance]\nshards = {}\nstate_dir = {:?}\n[log.access]\nsink = \"off\"\n[log.events]\nlevel = \"error\"\n\
             [reload]\nmin_interval = \"{interval}\"\ndrift = \"{drift}\"\nwait_before = \"{before}\"\n\
             wait_after = \"{after}\"\nkeep_generations = {}\nprepare_timeout = \"300ms\"\nadopt_timeout = \"200ms\"\n\
             job_timeout = \"5s\"\n",
            self.shards,
            self.state.display().to_string(),
            dice.between(3, 8),
        );
        text += &format!("[list.office]\nentries = {:?}\n", entries(dice));
        for (ix, pool) in POOLS.iter().enumerate() {
            if ix == POOLS.len() - 1 && dice.chance(60) {
                continue;
            }
            text += &format!("[pool.{pool}.create]\nservice = \"tcp\"\nlisten = [{:?}]\n", self.socket(7000 + ix));
            for backend in 0..dice.between(1, BACKENDS) {
                let (port, weight) = (9000 + 10 * ix + backend, dice.between(1, WEIGHTS));
                text += &format!(
                    "[[pool.{pool}.group.main.backend]]\nid = \"{backend}\"\naddress = \"127.0.0.1:{port}\"\nweight = {weight}\n"
                );
            }
        }
        let action = if dice.chance(80) { "respond = \"yes\"" } else { "deny = 403" };
        text += &format!(
            "[pool.web.create]\nservice = \"http\"\nlisten = [{:?}]\n[[pool.web.rule]]\nid = \"office\"\n\
             source = [\"office\"]\ndeny = 403\n[[pool.web.rule]]\nid = \"all\"\n{action}\n",
            self.socket(7100)
        );
        if action.starts_with("respond") && dice.chance(50) {
            text += "[[test]]\npool = \"web\"\nrequest = \"GET http://h/\"\nexpect = { status = 200 }\n";
        }
        if dice.chance(10) {
            text += "[pool.e]\nnonsense = 1\n";
        }
        text
    }

    /// An order, and what it means. Some name what is not there.
    fn order(&self, dice: &mut Dice) -> (api::Edit, Made) {
        let which = dice.below(POOLS.len());
        let (pool, backend) = (POOLS[which].to_owned(), dice.below(BACKENDS + 1).to_string());
        let weight = dice.between(1, WEIGHTS) as u32;
        match dice.below(14) {
            0..=5 => {
                let set = BackendSet {
                    pool: pool.clone(),
                    backend: backend.clone(),
                    weight: Some(weight),
                    ..BackendSet::default()
                };
                let settings = BackendSettings { weight: Some(weight), ..BackendSettings::default() };
                (api::Edit::BackendSet(set), Made::SetBackend { pool, group: None, id: backend, set: settings })
            }
            6 => {
                let address = format!("127.0.0.1:{}", 9000 + 10 * which + dice.below(BACKENDS));
                let add = BackendAdd {
                    pool: pool.clone(),
                    group: None,
                    backend: Some(backend.clone()),
                    address: address.clone(),
                    weight: Some(weight),
                    backup: None,
                    drain: None,
                    max_connections: None,
                };
                let settings = BackendSettings { weight: Some(weight), ..BackendSettings::default() };
                (
                    api::Edit::BackendAdd(add),
                    Made::AddBackend { pool, group: None, id: Some(backend), address, set: settings },
                )
            }
            7 => {
                let (now, wait) = (dice.chance(50), dice.chance(50));
                let remove = BackendRemove { pool: pool.clone(), group: None, backend: backend.clone(), now, wait };
                (api::Edit::BackendRemove(remove), Made::RemoveBackend { pool, group: None, id: backend })
            }
            8 => {
                let patch = json!({ "pool": { &pool: { "group": { "main": { "backend": { &backend: { "weight": weight } } } } } } });
                (api::Edit::Patch(Patch::Merge(patch.clone())), Made::Merge(patch))
            }
            9 => {
                let entry = format!("192.0.{}.0/24", dice.between(2, 6));
                let list = "office".to_owned();
                if dice.chance(50) {
                    let add = ListAdd { list: list.clone(), entry: entry.clone(), expires: None, reason: None };
                    (api::Edit::ListAdd(add), Made::List(ListEdit::Add { list, entry, expires: None, reason: None }))
                } else {
                    let remove = ListRemove { list: list.clone(), entry: entry.clone(), missing_ok: false };
                    (api::Edit::ListRemove(remove), Made::List(ListEdit::Remove { list, entry, missing_ok: false }))
                }
            }
            10 => {
                let action = match dice.chance(50) {
                    true => json!({ "respond": null, "deny": 403 }),
                    false => json!({ "respond": "yes", "deny": null }),
                };
                let set = RuleSet { pool: "web".into(), rule: "all".into(), set: object(&action) };
                let path = ["pool", "web", "rule", "all"].map(str::to_owned).to_vec();
                (api::Edit::RuleSet(set), Made::Set { path, value: action })
            }
            11 => {
                let listen = self.socket(7003 + dice.below(2));
                let content = json!({
                    "create": { "service": "tcp", "listen": [listen] },
                    "group": { "main": { "backend": { "0": { "address": "127.0.0.1:9030" } } } },
                });
                let add = PoolEdit { pool: "d".into(), set: object(&content) };
                let path = ["pool", "d"].map(str::to_owned).to_vec();
                (api::Edit::PoolAdd(add), Made::Add { path, value: content, place: None })
            }
            12 => {
                let remove = PoolRemove { pool: "d".into(), missing_ok: false };
                let path = ["pool", "d"].map(str::to_owned).to_vec();
                (api::Edit::PoolRemove(remove), Made::Remove { path, missing_ok: false })
            }
            _ => {
                let interval = ["0s", "50ms", "400ms"][dice.below(3)];
                let patch = match dice.chance(60) {
                    true => json!({ "reload": { "min_interval": interval } }),
                    false => json!({ "reload": { "keep_generations": dice.between(3, 8) } }),
                };
                (api::Edit::Patch(Patch::Merge(patch.clone())), Made::Merge(patch))
            }
        }
    }
}

fn entries(dice: &mut Dice) -> Vec<String> {
    (0..dice.between(1, 3))
        .map(|_| format!("192.0.{}.0/24", dice.between(2, 4)))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn object(value: &Value) -> api::edit::Keys {
    value.as_object().expect("written as one").clone()
}
