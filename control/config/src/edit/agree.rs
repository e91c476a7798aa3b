//! What must agree when all edits are done, where edits have touched it.

use super::{Editor, OpenPool, objects, with_at};
use crate::check;
use crate::document::{Config, Document, HttpContent, Sealed};
use crate::draft::RuleDraft;
use crate::keys::Service;
use crate::overlap::{self, Party};
use crate::problem::{Code, Problem, Problems};
use crate::rule_place::RulePlaces;
use crate::rules::{self, Home, Named};
use crate::trial::Tests;
use crate::warn;
use policy::PoolId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Editor {
    /// `None`: something does not agree, which is told.
    pub(super) fn agree(&mut self) -> Option<Config> {
        self.open_those_that_name_lists();
        for open in self.open.values_mut().flatten() {
            open.flush();
        }
        self.lists_are_there();
        for (id, open) in &mut self.open {
            if let Some(open) = open {
                of_one(id, open, &self.document, &mut self.problems);
            }
        }
        if !self.problems.errors().is_empty() {
            return None;
        }
        for (id, open) in std::mem::take(&mut self.open) {
            self.document.pools = match open {
                Some(open) => self.document.pools.insert(id, Arc::new(Sealed::new(open.content))),
                None => self.document.pools.remove(&id),
            };
        }
        if self.addresses {
            let control_socket = self.document.appliance.control_socket.clone();
            let parties: Vec<Party<'_>> = self.document.pools.values().map(|pool| Party::of(pool)).collect();
            overlap::check(control_socket.as_deref().map(|path| (path, None)), &parties, &mut self.problems);
            drop(parties);
            if self.problems.errors().is_empty() {
                let all: BTreeSet<PoolId> = self.document.pools.keys().cloned().collect();
                self.document.divide(&all, &mut self.problems);
                // They may lead elsewhere.
                let cases = self.document.tests.cases().to_vec();
                let led = Tests::led(cases, &self.document, &RulePlaces::default(), &mut self.problems);
                self.document.tests = Arc::new(led);
            }
        }
        self.problems.errors().is_empty().then(|| Sealed::new(self.document.clone()))
    }

    /// A list that changes changes the pools whose rules name it.
    fn open_those_that_name_lists(&mut self) {
        if self.touched_lists.is_empty() {
            return;
        }
        let names = |http: &HttpContent| self.touched_lists.iter().any(|list| http.lists.contains_key(list));
        let pools = self.document.pools.values().filter(|pool| pool.http.as_ref().is_some_and(names));
        let ids: Vec<String> = pools.map(|pool| pool.id.to_string()).collect();
        for id in ids {
            self.open(&id);
        }
    }

    fn lists_are_there(&mut self) {
        let gone: Vec<&Arc<str>> =
            self.touched_lists.iter().filter(|list| !self.document.lists.contains_key(*list)).collect();
        for list in gone {
            let named = self.open.iter().find_map(|(id, open)| {
                let mut rules = open.as_ref()?.rules()?.iter();
                let rule = rules.find(|rule| {
                    let mut names = false;
                    crate::rule_spec::lists_of(&rule.conditions, &mut |name, _| names |= *name == **list);
                    names
                })?;
                Some((id.to_string(), rule.id.to_string()))
            });
            if let Some((pool, rule)) = named {
                let path = ["list".to_owned(), list.to_string()];
                let message = format!("list `{list}` is named by rule `{rule}` of pool `{pool}`");
                let problem = with_at(&path, |at| Problem::error(Code::Clash, at, None, message));
                self.problems.push(problem.help("change the rule in the same transaction"));
            }
        }
    }
}

fn of_one(id: &PoolId, open: &mut OpenPool, document: &Document, problems: &mut Problems) {
    let pool = id.as_str();
    shape(pool, open, problems);
    rules_of_one(pool, open, document, problems);
    for group in &open.groups {
        if let Some(content) = open.content.group(group) {
            warn::sealed_group(pool, group, &content.backends, problems);
            continue;
        }
        let led = open.rules().filter(|rules| rules.lead_to(group) > 0);
        let rule = led.and_then(|rules| rules.iter().find(|rule| rule.rule.group.as_deref() == Some(group)));
        if let Some(rule) = rule.filter(|rule| !open.rules.contains(&rule.id)) {
            let message = format!("rule `{}` of pool `{pool}` leads to group `{group}`", rule.id);
            // Not as of something that is not there: who removes a group would take it for gone.
            let problem = Problem::error(Code::Clash, check::group_path(pool, group), None, message);
            problems.push(problem.help("change the rule in the same transaction"));
        }
    }
    if let Some(http) = &mut open.content.http {
        let named = http.rules.lists().filter_map(|name| {
            let (name, list) = document.lists.find_entry(name)?;
            Some((name.clone(), list.in_force().clone()))
        });
        http.lists = named.collect::<BTreeMap<_, _>>();
    }
}

/// How many groups there are.
fn shape(pool: &str, open: &OpenPool, problems: &mut Problems) {
    let groups = open.content.groups.len();
    let path = check::pool_path(pool, "group");
    let no_rules = open.rules().is_none_or(|rules| rules.is_empty());
    match (open.content.create.service, groups) {
        (Service::Http, 0) if !no_rules => {}
        (_, 0) => {
            let message = format!("pool `{pool}` has no group of backends");
            let problem = Problem::error(Code::Missing, path, None, message);
            problems.push(problem.accepted(format!("`pool.{pool}.group.main`, with any name for `main`")));
        }
        (Service::Tcp, 2..) => {
            let message = format!("a TCP pool has one group, `{pool}` has {groups}");
            problems.push(Problem::error(Code::TooMany, path, None, message));
        }
        (Service::Http, 2..) if no_rules => {
            let message = format!("pool `{pool}` has {groups} groups and no rule that leads to them");
            let problem = Problem::error(Code::Missing, check::pool_path(pool, "rule"), None, message);
            problems.push(problem.accepted("rules, each with a `group`"));
        }
        (Service::Tcp | Service::Http, _) => {}
    }
}

fn rules_of_one(pool: &str, open: &OpenPool, document: &Document, problems: &mut Problems) {
    let Some(rules) = open.rules().filter(|_| !open.rules.is_empty()) else { return };
    let has_group = |id: &str| open.content.group(id).is_some();
    let groups = || open.content.groups.keys().map(ToString::to_string).collect();
    let home = Home { pool, has_group: &has_group, groups: &groups };
    let named = Named::those(&document.lists);
    for id in &open.rules {
        let Some((_, rule)) = rules.find(id) else { continue };
        let node = objects::rule_node(rule);
        let path = ["pool".to_owned(), pool.to_owned(), "rule".to_owned(), id.to_string()];
        with_at(&path, |at| {
            let draft = RuleDraft::read_at(0, &node, at, problems);
            rules::check_one(&home, &named, &draft, at, problems);
        });
    }
}
