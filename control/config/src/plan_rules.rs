//! The part of a plan that is about rules and pages.
//!
//! Rules are known by their ids: one whose conditions change under a name that follows from them is another rule.

use crate::document::{HttpContent, RuleContent, Sealed};
use crate::keys::Page;
use crate::place::At;
use crate::plan::{ChangeKind, Diff, Object, PlanWarningCode, happenings};
use crate::rule_list::{RuleDifference, RuleList, rising};
use crate::schema::Key;
use policy::PoolId;
use policy::http::Turn;
use std::sync::Arc;

impl<'a> Diff<'a> {
    pub(crate) fn rules_and_pages(&mut self, pool: &PoolId, old: &'a HttpContent, new: &'a HttpContent) {
        self.rules(pool, &old.rules, &new.rules);
        self.pages(pool, &old.pages, &new.pages);
    }

    fn rules(&mut self, pool: &PoolId, old: &'a RuleList, new: &'a RuleList) {
        let mut moved = Vec::new();
        for RuleDifference { turn, old: was, new: is } in RuleList::diff(old, new) {
            if let Some(was) = was.filter(|was| new.find(&was.id).is_none()) {
                let (path, object) = (rule_path(pool, &was.id), Object::Rule { id: was.id.clone() });
                self.event(Some(pool), path, object, ChangeKind::Removed, happenings::RULE_REMOVED);
            }
            let Some(is) = is else { continue };
            match old.find(&is.id) {
                None => {
                    let (path, object) = (rule_path(pool, &is.id), Object::Rule { id: is.id.clone() });
                    self.event(Some(pool), path, object, ChangeKind::Added, happenings::RULE_ADDED);
                }
                Some((before, was)) => {
                    if was.hash() != is.hash() {
                        self.rule(pool, was, is);
                        self.leads_elsewhere(pool, was, is);
                    }
                    if before != turn {
                        moved.push((before, turn));
                    }
                }
            }
        }
        // Where all turns were given anew, most rules stand as they did.
        if moved.len() > MOVED_AT_SIGHT {
            moved = moved_of_all(old, new);
        }
        for (before, turn) in moved {
            let rule = new.at(turn).expect("it stands there");
            let object = Object::Rule { id: rule.id.clone() };
            let behind = |list: &RuleList, turn| {
                list.neighbours(turn).0.map_or(serde_json::Value::Null, |(_, rule)| rule.id.to_string().into())
            };
            let (from, to) = (behind(old, before), behind(new, turn));
            self.change(Some(pool), rule_path(pool, &rule.id), object, happenings::RULE_MOVED, from, to);
        }
    }

    fn rule(&mut self, pool: &PoolId, old: &RuleContent, new: &RuleContent) {
        // The ids are equal, whether chosen or not.
        let RuleContent { id, conditions, rule } = old;
        let at = rule_path(pool, id);
        let object = Object::Rule { id: id.clone() };
        let mut each = |key: &Key, old, new| self.key(Some(pool), &at, object.clone(), key, old, new);
        conditions.diff(&new.conditions, &mut each);
        rule.diff(&new.rule, &mut each);
    }

    /// A rule may keep its name and lead to another application.
    fn leads_elsewhere(&mut self, pool: &PoolId, old: &RuleContent, new: &RuleContent) {
        let (Some(was), Some(is)) = (&old.rule.group, &new.rule.group) else { return };
        if was == is {
            return;
        }
        let before = self.owners.old.pools.get(pool).and_then(|pool| pool.groups.get(&**was));
        let after = self.owners.new.pools.get(pool).and_then(|pool| pool.groups.get(&**is));
        let (Some(before), Some(after)) = (before, after) else { return };
        let both = after.backends.iter().any(|new| before.backends.iter().any(|old| old.address == new.address));
        if before.backends.is_empty() || both {
            return;
        }
        let message = format!(
            "Rule `{}` of pool `{pool}` leads to group `{is}`, which has no backend in common with `{was}`; is it still the \
             same service?",
            new.id
        );
        self.warn(PlanWarningCode::SemanticJump, rule_path(pool, &new.id), pool, message);
    }

    /// Pages are known by their statuses.
    fn pages(&mut self, pool: &PoolId, old: &'a [Arc<Sealed<Page>>], new: &'a [Arc<Sealed<Page>>]) {
        let statuses = |page: &Page| {
            let range =
                |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
            page.status.iter().map(range).collect::<Vec<_>>().join(",")
        };
        let at = |page: &Page| format!("pool.{pool}.page.{}", statuses(page));
        let find = |pages: &'a [Arc<Sealed<Page>>], page: &Page| pages.iter().find(|other| other.status == page.status);
        for page in old {
            match find(new, page) {
                None => self.event(Some(pool), at(page), Object::Pool, ChangeKind::Removed, happenings::PAGE_REMOVED),
                Some(new) => {
                    let at = at(page);
                    page.diff(new, &mut |key, old, new| self.key(Some(pool), &at, Object::Pool, key, old, new));
                }
            }
        }
        for page in new.iter().filter(|page| find(old, page).is_none()) {
            self.event(Some(pool), at(page), Object::Pool, ChangeKind::Added, happenings::PAGE_ADDED);
        }
    }
}

fn rule_path(pool: &PoolId, id: &str) -> String {
    At::ROOT.key("pool").key(pool.as_str()).key("rule").key(id).to_string()
}

/// Rules with other turns that are taken for moved without a look at all others.
const MOVED_AT_SIGHT: usize = 64;

/// The fewest that moved, so that all others are as they were one to the other: each with its turn before and now.
fn moved_of_all(old: &RuleList, new: &RuleList) -> Vec<(Turn, Turn)> {
    let before: Vec<Option<Turn>> = new.iter().map(|rule| old.find(&rule.id).map(|(turn, _)| turn)).collect();
    let stays = rising(&before);
    let all = before.into_iter().zip(stays).zip(new.turns());
    all.filter_map(|((before, stays), (turn, _))| before.filter(|_| !stays).map(|before| (before, turn))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_as_can_be_have_moved() {
        let check = |before: &[u64], expected: &[u64]| {
            let turns: Vec<Option<Turn>> = before.iter().map(|turn| Some(Turn(*turn))).collect();
            let moved = before.iter().zip(rising(&turns)).filter(|(_, stays)| !stays).map(|(turn, _)| *turn);
            assert_eq!(moved.collect::<Vec<_>>(), expected, "{before:?}");
        };
        check(&[], &[]);
        check(&[0, 1, 2], &[]);
        check(&[0, 2, 3], &[]);
        check(&[2, 0, 1], &[2]);
        check(&[1, 2, 0], &[0]);
        check(&[0, 3, 1, 2, 4], &[3]);
        assert_eq!(rising(&[Some(Turn(2)), None, Some(Turn(1))]).iter().filter(|stays| **stays).count(), 1);
    }
}
