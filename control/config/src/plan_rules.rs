//! The part of a plan that is about rules, pages and lists.
//!
//! Rules are known by their ids: one whose conditions change under a name that follows from them is another rule.

use crate::document::{HttpContent, List, RuleContent, Sealed};
use crate::keys::Page;
use crate::place::At;
use crate::plan::{ChangeKind, Diff, Object, happenings};
use crate::schema::Key;
use policy::PoolId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Entries of a list that a plan shows, which is read by people. Of a longer one it says only that it differs.
pub const LIST_ENTRIES_SHOWN: usize = 100;

type Rule = Arc<Sealed<RuleContent>>;

impl<'a> Diff<'a> {
    pub(crate) fn lists(&mut self, old: &'a BTreeMap<Arc<str>, Arc<List>>, new: &'a BTreeMap<Arc<str>, Arc<List>>) {
        let at = |id: &str| At::ROOT.key("list").key(id).to_string();
        for (id, old) in old {
            let object = Object::List { id: id.clone() };
            match new.get(id) {
                None => self.event(None, at(id), object, ChangeKind::Removed, happenings::LIST_REMOVED),
                Some(new) => old.diff(new, &mut |key, shown_old, shown_new| {
                    let path = format!("{}.{}", at(id), key.name);
                    let short = old.entries.len().max(new.entries.len()) <= LIST_ENTRIES_SHOWN;
                    let [old, new] =
                        [shown_old, shown_new].map(|shown| if short { shown.to_json() } else { None::<()>.into() });
                    self.change(None, path, object.clone(), key.reason, old, new);
                }),
            }
        }
        for id in new.keys().filter(|id| !old.contains_key(*id)) {
            let object = Object::List { id: id.clone() };
            self.event(None, at(id), object, ChangeKind::Added, happenings::LIST_ADDED);
        }
    }

    pub(crate) fn rules_and_pages(&mut self, pool: &PoolId, old: &'a HttpContent, new: &'a HttpContent) {
        self.rules(pool, &old.rules, &new.rules);
        self.pages(pool, &old.pages, &new.pages);
    }

    fn rules(&mut self, pool: &PoolId, old: &'a [Rule], new: &'a [Rule]) {
        if old == new {
            return;
        }
        let before: HashMap<&str, usize> = old.iter().enumerate().map(|(ix, rule)| (&*rule.id, ix)).collect();
        let mut stays = vec![false; old.len()];
        let mut kept = Vec::new();
        for rule in new {
            let object = Object::Rule { id: rule.id.clone() };
            match before.get(&*rule.id) {
                None => {
                    self.event(
                        Some(pool),
                        rule_path(pool, &rule.id),
                        object,
                        ChangeKind::Added,
                        happenings::RULE_ADDED,
                    );
                }
                Some(ix) => {
                    stays[*ix] = true;
                    kept.push(*ix);
                    if old[*ix].hash() != rule.hash() {
                        self.rule(pool, &old[*ix], rule);
                    }
                }
            }
        }
        for (rule, _) in old.iter().zip(stays).filter(|(_, stays)| !stays) {
            let object = Object::Rule { id: rule.id.clone() };
            self.event(Some(pool), rule_path(pool, &rule.id), object, ChangeKind::Removed, happenings::RULE_REMOVED);
        }
        for (ix, above) in moved(&kept) {
            let rule = &old[ix];
            let object = Object::Rule { id: rule.id.clone() };
            let behind =
                |before: Option<usize>| before.map_or(serde_json::Value::Null, |ix| old[ix].id.to_string().into());
            let (from, to) = (behind(ix.checked_sub(1)), behind(above));
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

/// The fewest that moved, so that all others are as they were one to the other: each with the one that it stands
/// behind now. `kept`: places before, in the order of now.
fn moved(kept: &[usize]) -> Vec<(usize, Option<usize>)> {
    // The longest run of places that rise: `ends[n]` is where the lowest end of one of n + 1 stands.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; kept.len()];
    for (at, place) in kept.iter().enumerate() {
        let length = ends.partition_point(|end| kept[*end] < *place);
        before[at] = length.checked_sub(1).map(|length| ends[length]);
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut stays = vec![false; kept.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        stays[at] = true;
        next = before[at];
    }
    let moved = (0..kept.len()).filter(|at| !stays[*at]);
    moved.map(|at| (kept[at], at.checked_sub(1).map(|above| kept[above]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_as_can_be_have_moved() {
        let check = |kept: &[usize], expected: &[(usize, Option<usize>)]| assert_eq!(moved(kept), expected, "{kept:?}");
        check(&[], &[]);
        check(&[0, 1, 2], &[]);
        check(&[0, 2, 3], &[]);
        check(&[2, 0, 1], &[(2, None)]);
        check(&[1, 2, 0], &[(0, Some(2))]);
        check(&[0, 3, 1, 2, 4], &[(3, Some(0))]);
        assert_eq!(moved(&[2, 1, 0]).len(), 2);
    }
}
