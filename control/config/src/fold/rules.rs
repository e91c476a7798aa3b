//! Rules in the files: as many as possible stay where they are, with all that is written about them.

use super::array::{Element, Left};
use super::objects::{Fold, elements, set_keys, table_at};
use crate::draft::RuleDraft;
use crate::edit::Target;
use crate::place::At;
use crate::problem::Problems;
use crate::rule_list::{RuleList, rising};
use crate::written;
use policy::http::Turn;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl Fold<'_> {
    pub(super) fn rules(&mut self, pool: &str, old: &RuleList, new: &RuleList) {
        if old == new {
            return;
        }
        let path = ["pool", pool];
        let mut ids: Vec<Arc<str>> = self.ids(&path, "rule", |node| {
            let draft = RuleDraft::read_at(0, node, &At::ROOT, &mut Problems::default());
            draft.content().map(|content| content.id.clone())
        });
        let mut changes = HashMap::new();
        for rule in new.iter() {
            if old.find(&rule.id).is_some_and(|(_, old)| old.hash() != rule.hash()) {
                let target = Target::Rule { pool: pool.into(), id: rule.id.to_string() };
                changes.insert(rule.id.clone(), self.changed(&target));
            }
        }
        let ordered = new.iter().any(|rule| rule.rule.order.is_some());
        let Some((file, mut elements)) = elements(&mut self.texts, &path, "rule") else { return };
        let mut left: Vec<Left> = Vec::new();
        for ix in (0..ids.len()).rev().filter(|ix| new.find(&ids[*ix]).is_none()).collect::<Vec<_>>() {
            left.push(elements.take(ix).1);
            ids.remove(ix);
        }
        for (ix, id) in ids.iter().enumerate() {
            let mut keys = changes.remove(id).unwrap_or_default();
            let order = new.find(id).and_then(|(_, rule)| rule.rule.order);
            let says = elements.get(ix).is_some_and(|table| table.contains_key("order"));
            // Where some say an order, the others have it from where they stand, and that changes now.
            if let Some(order) = order.filter(|_| !says && keys.iter().all(|(key, _)| key != "order")) {
                keys.push(("order".into(), Some(json!(order))));
            }
            set_keys(elements.get(ix), keys);
        }
        let places: HashMap<&Arc<str>, u64> = new.iter().map(|rule| &rule.id).zip(1..).collect();
        let turns: Vec<Option<Turn>> = ids.iter().map(|id| places.get(id).copied().map(Turn)).collect();
        // Where orders say who is asked first, it makes no difference who stands where.
        let stays = if ordered { vec![true; ids.len()] } else { rising(&turns) };
        let mut out: HashMap<Arc<str>, Element> = HashMap::new();
        for ix in (0..ids.len()).rev().filter(|ix| !stays[*ix]).collect::<Vec<_>>() {
            let (element, mut rest) = elements.take(ix);
            left.push(std::mem::take(&mut rest));
            out.insert(ids.remove(ix), element);
        }
        let in_place: HashSet<Arc<str>> = ids.iter().cloned().collect();
        let mut before: Option<Arc<str>> = None;
        for rule in new.iter() {
            if !in_place.contains(&rule.id) {
                let element =
                    out.remove(&rule.id).unwrap_or_else(|| Element::Head(table_at(&written::rule_text(rule), &[])));
                let at =
                    before.as_ref().and_then(|before| ids.iter().position(|id| id == before)).map_or(0, |at| at + 1);
                elements.put(at, element);
                ids.insert(at, rule.id.clone());
            }
            before = Some(rule.id.clone());
        }
        for Left { free, position } in left {
            self.texts.give_on(file, position, &free);
        }
        if ids.is_empty() {
            self.texts.remove_everywhere(&path, "rule");
        }
    }
}
