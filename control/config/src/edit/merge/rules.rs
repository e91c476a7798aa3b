//! Rules of one pool, three lists of them: by their names, then as they stand.

use super::keys::{self, Change};
use super::{Merge, Three, Verdict, conflict, order};
use crate::document::{RuleContent, Sealed};
use crate::draft::RuleDraft;
use crate::edit::objects::{Show, own_rule};
use crate::edit::target::Target;
use crate::edit::{value, with_at};
use crate::problem::Problems;
use crate::rule_list::{RuleList, SealedRule};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

impl Merge<'_> {
    pub(super) fn rules(&mut self, pool: &str, base: &RuleList, running: &RuleList, new: &RuleList) {
        if base == running {
            return;
        }
        let mut changed: BTreeMap<Arc<str>, Option<SealedRule>> = BTreeMap::new();
        let mut ids: BTreeSet<&Arc<str>> = base.iter().map(|rule| &rule.id).collect();
        ids.extend(running.iter().map(|rule| &rule.id));
        let problems = &mut self.merged.problems;
        let before = problems.count();
        for id in ids {
            let find = |list: &'_ RuleList| list.find(id).map(|(_, rule)| rule.clone());
            let three = Three { base: find(base), running: find(running), new: find(new) };
            let path = Target::Rule { pool: pool.into(), id: id.to_string() }.path();
            match three.verdict(|one, other| one.hash() == other.hash()) {
                Verdict::Keep => {}
                Verdict::Take => drop(changed.insert(id.clone(), three.running)),
                Verdict::Deeper => {
                    let rule = one(&path, &three, problems);
                    changed.extend(rule.map(|rule| (id.clone(), Some(rule))));
                }
                // Whoever removed it meant it, wherever it stands by now.
                Verdict::Conflict if only_its_order_differs(&three) => {
                    changed.insert(id.clone(), None);
                }
                Verdict::Conflict => problems.push(conflict(&path, three.presence())),
            }
        }
        if problems.count() > before {
            return;
        }
        let as_merged = |rule: &SealedRule| match changed.get(&rule.id) {
            Some(changed) => changed.clone(),
            None => new.find(&rule.id).map(|(_, rule)| rule.clone()),
        };
        let rules: HashMap<Arc<str>, SealedRule> =
            running.iter().chain(new.iter()).filter_map(|rule| Some((rule.id.clone(), as_merged(rule)?))).collect();
        let Some(list) = in_order(pool, &rules, [base, running, new], problems) else { return };
        let open = self.merged.open(pool).expect("`new` has the pool");
        open.rules.extend(changed.into_iter().filter_map(|(id, rule)| rule.map(|_| id)));
        if let Some(http) = &mut open.content.http {
            http.rules = RuleList::of(list).aligned(new);
        }
    }
}

/// One that all three have and say differently. `None`: there is a conflict.
fn one(path: &[String], three: &Three<SealedRule>, problems: &mut Problems) -> Option<SealedRule> {
    let own = |rule: &Option<SealedRule>| rule.as_ref().map(|rule| own_rule(rule, Show::Written)).unwrap_or_default();
    let (base, running, new) = (own(&three.base), own(&three.running), own(&three.new));
    let before = problems.count();
    let merged = keys::merged(path, Change { base: &base, running: &running, new: &new }, problems);
    let node = value::node(&merged);
    let content = with_at(path, |at| RuleDraft::read_at(0, &node, at, problems).into_content());
    content.filter(|_| problems.count() == before).map(|content| Arc::new(Sealed::new(content)))
}

/// It is gone on one side, and the other changed nothing of it but its place.
fn only_its_order_differs(three: &Three<SealedRule>) -> bool {
    let (Some(base), Some(other)) = (&three.base, three.running.as_ref().or(three.new.as_ref())) else { return false };
    *with_order(base, None) == *with_order(other, None)
}

fn with_order(rule: &RuleContent, order: Option<u32>) -> Sealed<RuleContent> {
    let mut content = rule.clone();
    content.rule.order = order;
    Sealed::new(content)
}

/// `rules`, as they are asked. `None`: they were moved past each other, which is told.
fn in_order(
    pool: &str,
    rules: &HashMap<Arc<str>, SealedRule>,
    [base, running, new]: [&RuleList; 3],
    problems: &mut Problems,
) -> Option<Vec<SealedRule>> {
    let names = |list: &RuleList| {
        list.iter().map(|rule| rule.id.clone()).filter(|id| rules.contains_key(id)).collect::<Vec<_>>()
    };
    let ordered = rules.values().any(|rule| rule.rule.order.is_some());
    let names = match order::merged(&names(base), &names(running), &names(new)) {
        Ok(names) => names,
        // Their orders say where they stand; between equal ones nothing does.
        Err(_) if ordered => {
            let mut names: Vec<Arc<str>> = rules.keys().cloned().collect();
            names.sort();
            names
        }
        Err(both) => {
            let path = ["pool", pool, "rule"].map(str::to_owned);
            let order = |list: &RuleList| {
                json!(
                    list.iter()
                        .map(|rule| &*rule.id)
                        .filter(|id| both.iter().any(|other| **other == **id))
                        .collect::<Vec<_>>()
                )
            };
            problems.push(conflict(&path, [order(base), order(running), order(new)]));
            return None;
        }
    };
    let mut list: Vec<SealedRule> = names.iter().map(|id| rules[id].clone()).collect();
    if ordered {
        let mut last = list.iter().find_map(|rule| rule.rule.order);
        for rule in &mut list {
            // Once one says its order, all do; those that did not stand with the one before them.
            match rule.rule.order {
                Some(order) => last = Some(order),
                None => *rule = Arc::new(with_order(rule, last)),
            }
        }
        list.sort_by_key(|rule| rule.rule.order);
    }
    Some(list)
}
