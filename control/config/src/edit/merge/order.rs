//! The order of rules, three of them: names only, no rule.
//!
//! Of two names, one is before the other. Where orders turned that about, it is turned about; where the new document did,
//! likewise; where neither did, it is as before. From that follows one order, or none, which is a conflict. Then each name
//! that only one side has goes behind the one that it stands behind there. Who is called what decides nothing but which of
//! two runs is first that both sides put into one gap.

use crate::rule_list::rising;
use policy::http::Turn;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

type Name = Arc<str>;

/// Names in order. Those of `running` and `new` are in the result, each once. Cost: O(n log n).
///
/// Error: those that were moved by both or past each other, so that there is no order in which all moves have been made,
/// and those that both put there at different places.
pub(super) fn merged(base: &[Name], running: &[Name], new: &[Name]) -> Result<Vec<Name>, Vec<Name>> {
    let shared = |one: &[Name], other: &[Name]| {
        let there: HashSet<&Name> = other.iter().collect();
        one.iter().filter(|name| there.contains(name)).cloned().collect::<Vec<_>>()
    };
    let (in_running, in_new) = (shared(running, new), shared(new, running));
    let Some(anchors) = of_shared(base, &in_running, &in_new) else {
        let (by_orders, by_document) = (moved(base, &in_running), moved(base, &in_new));
        let known: HashSet<&Name> = base.iter().collect();
        let doubtful =
            |name: &&Name| by_orders.contains(*name) || by_document.contains(*name) || !known.contains(*name);
        return Err(in_new.iter().filter(doubtful).cloned().collect());
    };
    let (from_running, from_new) = (runs(running, &anchors), runs(new, &anchors));
    let mut merged = Vec::with_capacity(running.len().max(new.len()));
    for anchor in std::iter::once(None).chain(anchors.iter().map(Some)) {
        merged.extend(anchor.cloned());
        let mut here = [&from_running, &from_new].map(|runs| runs.get(&anchor).cloned().unwrap_or_default());
        here.sort();
        merged.extend(here.into_iter().flatten());
    }
    Ok(merged)
}

/// The order of those that both have: `running` and `new` have the same names. `None`: there is none.
fn of_shared(base: &[Name], running: &[Name], new: &[Name]) -> Option<Vec<Name>> {
    let (in_base, in_running, in_new) = (places(base), places(running), places(new));
    let is_before = |one: &Name, other: &Name| {
        let runs = in_running[one] < in_running[other];
        match (in_base.get(one), in_base.get(other)) {
            (Some(first), Some(second)) => {
                let was = first < second;
                if runs != was { runs } else { in_new[one] < in_new[other] }
            }
            _ => runs,
        }
    };
    let (merged, _) = sorted(new.to_vec(), &is_before);
    // If the pairs contradict each other, what was made of them is no order of theirs, which the distances show: it has to
    // lie between the two, and be away from the base by all that either changed.
    let known = |order: &[Name]| order.iter().filter(|name| in_base.contains_key(name)).cloned().collect::<Vec<_>>();
    let base: Vec<Name> = base.iter().filter(|name| in_new.contains_key(name)).cloned().collect();
    let [known_running, known_new, known_merged] = [running, new, &merged].map(known);
    let apart = distance(running, new);
    let lies_between = distance(running, &merged) + distance(&merged, new) == apart;
    let same_additions = apart == distance(&known_running, &known_new);
    let has_all =
        2 * distance(&base, &known_merged) == distance(&base, &known_running) + distance(&base, &known_new) + apart;
    (lies_between && same_additions && has_all).then_some(merged)
}

fn places(order: &[Name]) -> HashMap<&Name, u64> {
    order.iter().zip(1..).collect()
}

/// Pairs that stand otherwise in the one than in the other. Both have the same names.
fn distance(one: &[Name], other: &[Name]) -> u64 {
    let places = places(other);
    let order: Vec<u64> = one.iter().map(|name| places[name]).collect();
    sorted(order, &|one, other| one < other).1
}

/// A merge sort that counts the pairs that it turns about, and that ends whatever `is_before` says.
fn sorted<T: Clone>(mut items: Vec<T>, is_before: &dyn Fn(&T, &T) -> bool) -> (Vec<T>, u64) {
    if items.len() < 2 {
        return (items, 0);
    }
    let upper = items.split_off(items.len() / 2);
    let (lower, in_lower) = sorted(items, is_before);
    let (upper, in_upper) = sorted(upper, is_before);
    let mut turned = in_lower + in_upper;
    let mut out = Vec::with_capacity(lower.len() + upper.len());
    let (mut lower, mut upper) = (&lower[..], &upper[..]);
    while let ([first, lower_rest @ ..], [second, upper_rest @ ..]) = (lower, upper) {
        if is_before(second, first) {
            turned += lower.len() as u64;
            out.push(second.clone());
            upper = upper_rest;
        } else {
            out.push(first.clone());
            lower = lower_rest;
        }
    }
    out.extend(lower.iter().chain(upper).cloned());
    (out, turned)
}

/// As few as can be of those that `base` has, so that all others stand as they did there.
fn moved(base: &[Name], order: &[Name]) -> HashSet<Name> {
    let places = places(base);
    let before: Vec<Option<Turn>> = order.iter().map(|name| places.get(name).copied().map(Turn)).collect();
    let all = order.iter().zip(&before).zip(rising(&before));
    all.filter(|((_, place), stays)| place.is_some() && !stays).map(|((name, _), _)| name.clone()).collect()
}

/// What stands behind each anchor, up to the next one.
fn runs<'a>(order: &[Name], anchors: &'a [Name]) -> HashMap<Option<&'a Name>, Vec<Name>> {
    let anchors: HashMap<&Name, &'a Name> = anchors.iter().map(|name| (name, name)).collect();
    let mut runs: HashMap<Option<&Name>, Vec<Name>> = HashMap::new();
    let mut last = None;
    for name in order {
        match anchors.get(name) {
            Some(anchor) => last = Some(*anchor),
            None => runs.entry(last).or_default().push(name.clone()),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<Name> {
        text.chars().map(|name| name.to_string().into()).collect()
    }

    #[track_caller]
    fn check(base: &str, running: &str, new: &str, expected: &str) {
        let told = |running: &str, new: &str| match merged(&names(base), &names(running), &names(new)) {
            Ok(merged) => merged.concat(),
            Err(both) => {
                let mut both: Vec<&str> = both.iter().map(|name| &**name).collect();
                both.sort_unstable();
                format!("conflict {}", both.concat())
            }
        };
        assert_eq!(told(running, new), expected, "{base} -> {running}, {new}");
        assert_eq!(told(new, running), expected, "the other way about");
    }

    #[test]
    fn places_are_merged() {
        check("abc", "abc", "abc", "abc");
        check("abc", "axbc", "abc", "axbc");
        check("abc", "abcx", "ybac", "ybacx");
        check("abc", "abcx", "abcy", "abcxy");
        check("abc", "xyabc", "wabc", "wxyabc");
        check("abc", "bca", "abc", "bca");
        check("abc", "bca", "bca", "bca");
        check("abcdef", "bacdef", "abcdfe", "bacdfe");
        check("abc", "bca", "cab", "cba");
        // One put it first, the other last.
        check("abc", "bac", "acb", "conflict bc");
        check("abc", "bca", "bac", "bca");
        // What both have put there at different places.
        check("ab", "xab", "abx", "conflict x");
        check("", "xy", "z", "xyz");
    }

    fn order() -> impl Strategy<Value = Vec<Name>> {
        prop::sample::subsequence(names("abcdefgh"), 0..=8).prop_shuffle()
    }

    proptest! {
        #[test]
        fn orders_are_merged_whoever_comes_first(base in order(), running in order(), new in order()) {
            let one = merged(&base, &running, &new);
            let other = merged(&base, &new, &running);
            prop_assert_eq!(one.as_ref().ok(), other.as_ref().ok());
            if let Ok(merged) = one {
                let all: HashSet<&Name> = running.iter().chain(&new).collect();
                prop_assert_eq!(merged.len(), all.len());
                prop_assert_eq!(merged.iter().collect::<HashSet<_>>(), all);
            }
        }

        #[test]
        fn what_one_alone_has_changed_stands_as_it_does_there(base in order(), running in order()) {
            let kept: Vec<Name> = base.iter().filter(|name| running.contains(name)).cloned().collect();
            prop_assert_eq!(merged(&base, &running, &kept), Ok(running.clone()));
            prop_assert_eq!(merged(&base, &running, &running), Ok(running));
        }
    }
}
