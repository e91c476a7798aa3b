//! Random rules: what only pools of HTTP have.

use crate::arbitrary::Spelling;
use proptest::prelude::*;
use std::fmt::Write;

/// Pools of these names are of HTTP.
pub fn is_http(pool: &str) -> bool {
    ["b", "d"].contains(&pool)
}

/// Stands before all others, so that these have other places when it comes.
pub const SPARE: &str = "a-spare";

#[derive(Clone, PartialEq, Debug, Default)]
pub struct HttpModel {
    /// As they stand, but for the last, which takes what is left. None: no rule at all.
    pub rules: Vec<RuleModel>,
    /// The last digit of a status.
    pub page: Option<u8>,
    pub via: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RuleModel {
    /// No two ask the same.
    pub asks: u8,
    /// It has a name of its own.
    pub named: bool,
    pub does: Does,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Does {
    Main,
    /// There is such a group as long as a rule leads to it.
    Spare,
    Deny,
    Redirect(u8),
    /// Of those in the list.
    DenyListed,
    Edit(u8),
}

pub fn http() -> impl Strategy<Value = HttpModel> {
    let rules = prop::collection::vec(rule(), 0..6).prop_map(distinct);
    (rules, prop::option::of(0..3u8), any::<bool>()).prop_map(|(rules, page, via)| HttpModel { rules, page, via })
}

fn rule() -> impl Strategy<Value = RuleModel> {
    let does = prop_oneof![
        Just(Does::Main),
        Just(Does::Spare),
        Just(Does::Deny),
        (0..2u8).prop_map(Does::Redirect),
        Just(Does::DenyListed),
        (0..2u8).prop_map(Does::Edit),
    ];
    (0..6u8, any::<bool>(), does).prop_map(|(asks, named, does)| RuleModel { asks, named, does })
}

fn distinct(rules: Vec<RuleModel>) -> Vec<RuleModel> {
    let mut distinct: Vec<RuleModel> = Vec::new();
    for rule in rules {
        if distinct.iter().all(|other| other.asks != rule.asks) {
            distinct.push(rule);
        }
    }
    distinct
}

#[derive(Clone, Debug)]
pub enum RuleChange {
    Insert(usize, RuleModel),
    Drop(usize),
    Move(usize, usize),
    Does(usize, Does),
    Via,
}

pub fn rule_change() -> impl Strategy<Value = RuleChange> {
    prop_oneof![
        (0..6usize, rule()).prop_map(|(at, rule)| RuleChange::Insert(at, rule)),
        (0..6usize).prop_map(RuleChange::Drop),
        (0..6usize, 0..6usize).prop_map(|(from, to)| RuleChange::Move(from, to)),
        (0..6usize, rule()).prop_map(|(at, rule)| RuleChange::Does(at, rule.does)),
        Just(RuleChange::Via),
    ]
}

impl RuleChange {
    pub fn on(self, http: &mut HttpModel) {
        let rules = &mut http.rules;
        let there = |at: usize| Some(at).filter(|at| *at < rules.len());
        match self {
            RuleChange::Insert(at, rule) => rules.insert(at.min(rules.len()), rule),
            RuleChange::Drop(at) => drop(there(at).map(|at| rules.remove(at))),
            RuleChange::Move(from, to) => {
                if let Some(rule) = there(from).map(|from| rules.remove(from)) {
                    rules.insert(to.min(rules.len()), rule);
                }
            }
            RuleChange::Does(at, does) => drop(there(at).map(|at| rules[at].does = does)),
            RuleChange::Via => http.via = !http.via,
        }
        http.rules = distinct(std::mem::take(&mut http.rules));
    }
}

impl HttpModel {
    pub fn has_spare(&self) -> bool {
        self.rules.iter().any(|rule| rule.does == Does::Spare)
    }

    pub fn names_list(&self) -> bool {
        self.rules.iter().any(|rule| rule.does == Does::DenyListed)
    }

    /// Tables of their own, and pairs of the pool's table.
    pub fn tables(&self, pool: &str, group: &str, how: Spelling) -> (Vec<String>, String) {
        let mut tables = Vec::new();
        let mut pairs = String::new();
        if self.via || how.defaults {
            tables.push(format!("[pool.{pool}.http]\nvia = '{}'\n", if self.via { "edge" } else { "off" }));
        }
        if self.has_spare() {
            tables.push(format!("[pool.{pool}.group.{SPARE}]\n"));
        }
        if let Some(page) = self.page {
            tables.push(format!("[[pool.{pool}.page]]\nstatus = 50{page}\nbody = 'sorry'\n"));
        }
        let last = vec![format!("group = '{group}'")];
        let rules: Vec<Vec<String>> = match &self.rules[..] {
            [] => Vec::new(),
            rules => rules.iter().map(|rule| rule.pairs(group, how)).chain([last]).collect(),
        };
        if how.inline {
            let rules: Vec<String> = rules.iter().map(|pairs| format!("{{ {} }}", pairs.join(", "))).collect();
            writeln!(pairs, "rule = [{}]", rules.join(", ")).unwrap();
        } else {
            let rules = rules.iter().map(|pairs| format!("[[pool.{pool}.rule]]\n{}\n", pairs.join("\n")));
            tables.push(rules.collect());
        }
        (tables, pairs)
    }
}

impl RuleModel {
    fn pairs(&self, group: &str, how: Spelling) -> Vec<String> {
        let mut pairs = vec![match how.defaults {
            true => format!("path_prefix = ['/{}']", self.asks),
            false => format!("path_prefix = '/{}'", self.asks),
        }];
        if self.named {
            pairs.push(format!("id = 'r{}'", self.asks));
        }
        match self.does {
            Does::Main => pairs.push(format!("group = '{group}'")),
            Does::Spare => pairs.push(format!("group = '{SPARE}'")),
            Does::Deny => pairs.push("deny = 403".into()),
            Does::Redirect(to) if how.defaults => pairs.push(format!("redirect = {{ status = 302, to = '/to/{to}' }}")),
            Does::Redirect(to) => pairs.push(format!("redirect = '/to/{to}'")),
            Does::DenyListed => pairs.extend(["source = 'office'".into(), "deny = 404".into()]),
            Does::Edit(value) => pairs.extend([
                format!("group = '{group}'"),
                format!("request_headers = {{ set = {{ X-A = '{value}' }}, remove = ['X-B'] }}"),
            ]),
        }
        if how.backwards {
            pairs.reverse();
        }
        pairs
    }
}
