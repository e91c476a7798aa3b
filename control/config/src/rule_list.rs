//! The rules of one pool in the order in which they are asked, and the indices over them.
//!
//! A rule's place is its [`Turn`], a sparse key: whoever comes between two others moves nobody. Turns are not content: two
//! lists in which the same rules stand one behind the other are the same list. So that what differs between two documents
//! can be found turn by turn, one that was read anew takes over the turns of what runs ([`RuleList::aligned`]).

use crate::document::{RuleContent, Sealed};
use crate::rule_spec;
use policy::generation::ContentHash;
use policy::http::Turn;
use policy::tree::{self, Difference, Key, Measure, Tree};
use std::collections::HashSet;
use std::sync::Arc;

/// A rule as lists hold it.
pub type SealedRule = Arc<Sealed<RuleContent>>;

/// A rule and its turn.
pub(crate) type Standing<'r> = (Turn, &'r SealedRule);

/// See the module. Sharing: as [`Tree`].
#[derive(Clone, Debug, Default)]
pub struct RuleList {
    rules: Tree<Turn, SealedRule, RuleDigest>,
    /// By id.
    turns: Tree<Arc<str>, Turn>,
    /// How many rules lead to each group.
    groups: Tree<Arc<str>, u32>,
    /// How many rules name each list.
    lists: Tree<Arc<str>, u32>,
}

/// What a chunk of a list says, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct RuleDigest {
    content: ContentHash,
    with_turns: ContentHash,
}

impl RuleList {
    /// As they stand. Their ids are unique.
    pub(crate) fn of(rules: Vec<SealedRule>) -> RuleList {
        let mut list = RuleList::default();
        let mut turns: Vec<_> = rules.iter().enumerate().map(|(ix, rule)| (rule.id.clone(), Turn::nth(ix))).collect();
        turns.sort_unstable();
        list.turns = Tree::from_sorted(turns);
        rules.iter().for_each(|rule| list.count(rule, 1));
        list.rules = Tree::from_sorted(rules.into_iter().enumerate().map(|(ix, rule)| (Turn::nth(ix), rule)));
        list
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// In the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &SealedRule> {
        self.rules.values()
    }

    /// As [`RuleList::iter`], each with its turn.
    pub fn turns(&self) -> impl Iterator<Item = (Turn, &SealedRule)> {
        self.rules.iter().map(|(turn, rule)| (*turn, rule))
    }

    pub fn find(&self, id: &str) -> Option<(Turn, &SealedRule)> {
        let turn = *self.turns.get(id)?;
        Some((turn, self.rules.get(&turn)?))
    }

    pub fn at(&self, turn: Turn) -> Option<&SealedRule> {
        self.rules.get(&turn)
    }

    /// The rule that is asked before this turn, and the one behind it.
    pub(crate) fn neighbours(&self, turn: Turn) -> (Option<Standing<'_>>, Option<Standing<'_>>) {
        let before = self.rules.before(&turn).map(|(turn, rule)| (*turn, rule));
        let behind = self.rules.iter_from(&Turn(turn.0 + 1)).next().map(|(turn, rule)| (*turn, rule));
        (before, behind)
    }

    /// The first rule whose `order` is higher. All rules have one.
    pub(crate) fn first_above(&self, order: u32) -> Option<(Turn, &SealedRule)> {
        let low = |_: &Turn, rule: &SealedRule| rule.rule.order.is_none_or(|other| other <= order);
        self.rules.first_not(low).map(|(turn, rule)| (*turn, rule))
    }

    pub(crate) fn first(&self) -> Option<(Turn, &SealedRule)> {
        self.rules.iter().next().map(|(turn, rule)| (*turn, rule))
    }

    pub(crate) fn last(&self) -> Option<(Turn, &SealedRule)> {
        self.rules.last().map(|(turn, rule)| (*turn, rule))
    }

    /// Rules that lead to the group.
    pub(crate) fn lead_to(&self, group: &str) -> u32 {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// Names of lists that rules name.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &Arc<str>> {
        self.lists.keys()
    }

    /// Of the rules as they stand, whatever their turns.
    pub(crate) fn digest(&self) -> Option<ContentHash> {
        self.rules.measure().map(|digest| digest.content)
    }

    /// Puts a rule where nobody or its predecessor stands.
    pub(crate) fn insert(&mut self, turn: Turn, rule: SealedRule) {
        if let Some(old) = self.rules.get(&turn).cloned() {
            self.take(turn, &old);
        }
        debug_assert!(!self.turns.contains_key(&rule.id), "the id is another rule's");
        self.count(&rule, 1);
        self.turns = self.turns.insert(rule.id.clone(), turn);
        self.rules = self.rules.insert(turn, rule);
    }

    pub(crate) fn remove(&mut self, turn: Turn) {
        if let Some(old) = self.rules.get(&turn).cloned() {
            self.take(turn, &old);
        }
    }

    fn take(&mut self, turn: Turn, rule: &SealedRule) {
        self.count(rule, -1);
        self.turns = self.turns.remove(&rule.id);
        self.rules = self.rules.remove(&turn);
    }

    fn count(&mut self, rule: &SealedRule, by: i64) {
        let counted = |counts: &Tree<Arc<str>, u32>, name: &str| {
            let before = counts.get(name).copied().unwrap_or_default();
            match u32::try_from(i64::from(before) + by) {
                Ok(0) | Err(_) => counts.remove(name),
                Ok(count) => counts.insert(name.into(), count),
            }
        };
        if let Some(group) = &rule.rule.group {
            self.groups = counted(&self.groups, group);
        }
        let mut named = HashSet::new();
        rule_spec::lists_of(&rule.conditions, &mut |name, _| {
            named.insert(name);
        });
        for name in named {
            self.lists = counted(&self.lists, name);
        }
    }

    /// A turn between these two, of which the first is the lower. `None`: there is no room.
    pub(crate) fn between(before: Option<Turn>, behind: Option<Turn>) -> Option<Turn> {
        let low = before.map_or(0, |turn| turn.0);
        match behind {
            None => low.checked_add(Turn::STEP).map(Turn),
            Some(Turn(high)) => (high - low >= 2).then(|| Turn(low + (high - low) / 2)),
        }
    }

    /// The same rules at turns of their own, evenly apart.
    pub(crate) fn spread(&self) -> RuleList {
        RuleList::of(self.iter().cloned().collect())
    }

    /// This list with the turns that `old` has, as far as rules stand there in the same order, so that the two differ as
    /// little as they can. Cost: O(n log n).
    pub(crate) fn aligned(&self, old: &RuleList) -> RuleList {
        if self.digest() == old.digest() {
            return old.clone();
        }
        let known: Vec<Option<Turn>> = self.iter().map(|rule| old.turns.get(&rule.id).copied()).collect();
        let stays = rising(&known);
        let mut turns: Vec<Option<Turn>> =
            known.iter().zip(&stays).map(|(turn, stays)| turn.filter(|_| *stays)).collect();
        // Those between two that stay, evenly.
        let mut from = 0;
        while let Some(first) = turns[from..].iter().position(Option::is_none).map(|at| from + at) {
            let end = turns[first..].iter().position(Option::is_some).map_or(turns.len(), |at| first + at);
            let low = first.checked_sub(1).and_then(|before| turns[before]).map_or(0, |turn| turn.0);
            let count = (end - first) as u64;
            let step = match turns.get(end).copied().flatten() {
                Some(Turn(high)) => (high - low) / (count + 1),
                None => Turn::STEP.min((u64::MAX - low) / (count + 1)),
            };
            if step == 0 {
                return self.clone();
            }
            turns[first..end].iter_mut().zip(1..).for_each(|(turn, nth)| *turn = Some(Turn(low + step * nth)));
            from = end;
        }
        let mut list = old.clone();
        let kept: HashSet<Turn> =
            known.iter().zip(&stays).filter_map(|(turn, stays)| turn.filter(|_| *stays)).collect();
        let gone: Vec<Turn> = old.rules.keys().filter(|turn| !kept.contains(turn)).copied().collect();
        // First those whose id stands elsewhere now or nowhere, so that no id is there twice.
        gone.into_iter().for_each(|turn| list.remove(turn));
        for (turn, rule) in turns.into_iter().flatten().zip(self.iter()) {
            if list.rules.get(&turn).is_none_or(|old| old.hash() != rule.hash()) {
                list.insert(turn, rule.clone());
            }
        }
        debug_assert_eq!(list.digest(), self.digest());
        list
    }

    /// What differs turn by turn. Of two lists of which one is aligned with the other.
    pub(crate) fn diff<'a>(old: &'a RuleList, new: &'a RuleList) -> impl Iterator<Item = RuleDifference<'a>> {
        tree::diff(&old.rules, &new.rules).filter_map(|difference| match difference {
            Difference::Removed { key, old } => Some(RuleDifference { turn: *key, old: Some(old), new: None }),
            Difference::Added { key, new } => Some(RuleDifference { turn: *key, old: None, new: Some(new) }),
            Difference::Changed { old, new, .. } if old.hash() == new.hash() => None,
            Difference::Changed { key, old, new } => {
                Some(RuleDifference { turn: *key, old: Some(old), new: Some(new) })
            }
        })
    }
}

/// What stands at one turn in two lists; not the same.
pub(crate) struct RuleDifference<'a> {
    pub(crate) turn: Turn,
    pub(crate) old: Option<&'a SealedRule>,
    pub(crate) new: Option<&'a SealedRule>,
}

/// A longest run of turns that rise: which are in it.
pub(crate) fn rising(turns: &[Option<Turn>]) -> Vec<bool> {
    // `ends[n]` is where the lowest end of a run of n + 1 stands.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; turns.len()];
    for (at, turn) in turns.iter().enumerate() {
        let Some(turn) = turn else { continue };
        let length = ends.partition_point(|end| turns[*end] < Some(*turn));
        before[at] = length.checked_sub(1).map(|length| ends[length]);
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut stays = vec![false; turns.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        stays[at] = true;
        next = before[at];
    }
    stays
}

impl PartialEq for RuleList {
    fn eq(&self, other: &RuleList) -> bool {
        self.digest() == other.digest()
    }
}

impl Measure<Turn, SealedRule> for RuleDigest {
    fn cut(_: &Turn, rule: &SealedRule) -> u64 {
        // By the id, so that lists in which the same rules stand have the same chunks.
        rule.id.cut()
    }

    fn leaf(entries: &[(Turn, SealedRule)]) -> RuleDigest {
        let mut content = blake3::Hasher::new();
        let mut with_turns = blake3::Hasher::new();
        for (turn, rule) in entries {
            content.update(&rule.hash().0);
            with_turns.update(&turn.0.to_le_bytes());
        }
        let content = ContentHash::of(&content);
        with_turns.update(&content.0);
        RuleDigest { content, with_turns: ContentHash::of(&with_turns) }
    }

    fn join<'a>(below: impl Iterator<Item = &'a RuleDigest>) -> RuleDigest {
        let (mut content, mut with_turns) = (blake3::Hasher::new(), blake3::Hasher::new());
        for digest in below {
            content.update(&digest.content.0);
            with_turns.update(&digest.with_turns.0);
        }
        RuleDigest { content: ContentHash::of(&content), with_turns: ContentHash::of(&with_turns) }
    }

    fn same(&self, other: &RuleDigest) -> bool {
        self == other
    }
}
