//! Trees against the maps of the standard library, and what they share.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The sum of the values, so that measures can be held against something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sum(u64);

impl Measure<u64, u64> for Sum {
    fn cut(key: &u64, _: &u64) -> u64 {
        // Far more ends than usual, so that few entries make high trees.
        spread(*key) & 0x3333_3333_3333_3333 & spread(key ^ 77)
    }
    fn leaf(entries: &[(u64, u64)]) -> Sum {
        Sum(entries.iter().map(|(_, value)| value).sum())
    }
    fn join<'a>(below: impl Iterator<Item = &'a Sum>) -> Sum {
        Sum(below.map(|sum| sum.0).sum())
    }
}

type Sums = Tree<u64, u64, Sum>;

fn shape(tree: &Sums) -> String {
    fn of(node: &Node<u64, u64, Sum>) -> String {
        match node {
            Node::Leaf(entries) => entries.iter().map(|(key, _)| format!("{key} ")).collect(),
            Node::Inner(children) => {
                children.iter().map(|child| format!("[{}={}]", of(&child.node), child.measure.0)).collect()
            }
        }
    }
    tree.root.as_ref().map_or_else(String::new, |root| of(&root.node))
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(u64, u64),
    Remove(u64),
}

fn edits(keys: u64, most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        3 => (0..keys, 0..9u64).prop_map(|(key, value)| Edit::Insert(key, value)),
        2 => (0..keys).prop_map(Edit::Remove),
    ];
    proptest::collection::vec(edit, 0..most)
}

fn apply(tree: &Sums, model: &mut BTreeMap<u64, u64>, edit: &Edit) -> Sums {
    match *edit {
        Edit::Insert(key, value) => {
            model.insert(key, value);
            tree.insert(key, value)
        }
        Edit::Remove(key) => {
            model.remove(&key);
            tree.remove(&key)
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_map_whose_shape_follows_from_its_content(edits in edits(200, 300)) {
        let (mut tree, mut model) = (Sums::new(), BTreeMap::new());
        for edit in &edits {
            tree = apply(&tree, &mut model, edit);
        }
        prop_assert!(tree.iter().eq(model.iter()));
        prop_assert_eq!(tree.len(), model.len());
        prop_assert_eq!(tree.last(), model.last_key_value());
        prop_assert_eq!(tree.measure().map_or(0, |sum| sum.0), model.values().sum::<u64>());
        let fresh = Sums::from_sorted(model.iter().map(|(key, value)| (*key, *value)));
        prop_assert_eq!(shape(&tree), shape(&fresh));
        for key in 0..201 {
            prop_assert_eq!(tree.get(&key), model.get(&key));
            prop_assert_eq!(tree.rank(&key), model.range(..key).count());
            prop_assert!(tree.iter_from(&key).eq(model.range(key..)));
            prop_assert_eq!(tree.first_not(|other, _| *other < key), model.range(key..).next());
            prop_assert_eq!(tree.before(&key), model.range(..key).next_back());
            let found = std::cell::Cell::new(0);
            let see = |value: u64| found.set(found.get() + value);
            for from in [0, key / 2, key] {
                found.set(0);
                tree.any_up_to(&key, |_| from, |sum| { see(sum.0); false }, |_, value| { see(*value); false });
                let seen = |from| model.range(from..=key).map(|(_, value)| *value).sum::<u64>();
                // A chunk that begins before is seen as a whole.
                prop_assert!(found.get() >= seen(from) && found.get() <= seen(0));
                prop_assert!(from > 0 || found.get() == seen(0));
            }
        }
    }

    #[test]
    fn differences_lead_from_one_to_the_other(start in edits(100, 200), change in edits(100, 12)) {
        let mut model = BTreeMap::new();
        let old = start.iter().fold(Sums::new(), |tree, edit| apply(&tree, &mut model, edit));
        let before = model.clone();
        let new = change.iter().fold(old.clone(), |tree, edit| apply(&tree, &mut model, edit));
        let mut told = before.clone();
        let mut last = None;
        for difference in diff(&old, &new) {
            let key = match difference {
                Difference::Removed { key, old } => {
                    prop_assert_eq!(told.remove(key), Some(*old));
                    key
                }
                Difference::Added { key, new } => {
                    prop_assert_eq!(told.insert(*key, *new), None);
                    key
                }
                Difference::Changed { key, old, new } => {
                    prop_assert_eq!(told.insert(*key, *new), Some(*old));
                    key
                }
            };
            prop_assert!(last < Some(*key), "in the order of the keys");
            last = Some(*key);
        }
        prop_assert_eq!(&told, &model);
        prop_assert_eq!(old == new, before == model);
        prop_assert!(old.iter().eq(before.iter()), "the old one is as it was");
    }
}

fn large(entries: u64) -> Tree<u64, u64> {
    Tree::from_sorted((0..entries).map(|key| (key, key)))
}

#[test]
fn a_change_copies_a_path() {
    let tree = large(1_000_000);
    let whole = tree.node_bytes();
    let mut most = 0;
    for key in (0..1_000_000).step_by(9_973) {
        for changed in [0, 1] {
            let mut replaced = 0;
            let new = match changed {
                0 => tree.insert_counting(key, 7, &mut replaced),
                _ => tree.remove_counting(&key, &mut replaced),
            };
            assert_eq!(new.len(), 1_000_000 - changed);
            let differing = diff(&tree, &new).filter(|difference| match difference {
                Difference::Changed { old, new, .. } => old != new,
                _ => true,
            });
            assert_eq!(differing.count(), 1);
            // The first ends chunks of all heights, and without it the tree is lower by chunks that nobody counts.
            let unshared = unshared_bytes(&tree, &new);
            assert!(unshared == replaced || key == 0 && unshared > replaced, "key {key}: {unshared}, {replaced}");
            most = most.max(replaced);
        }
    }
    assert!(most < 16 << 10, "{most} bytes of {whole}");
    assert!(whole < 22 << 20, "{whole} bytes for a million entries of 16");
}

#[test]
fn what_is_shared_is_not_looked_at() {
    let tree = large(100_000);
    let new = tree.insert(70_000, 1).remove(&3);
    let looked_at = diff(&tree, &new).count();
    assert!(looked_at < 400, "{looked_at} entries");
    assert!(diff(&tree, &tree.clone()).next().is_none());
    assert!(!tree.ptr_eq(&new) && tree.ptr_eq(&tree.clone()));
}

#[test]
fn an_absent_key_changes_nothing() {
    let tree = large(100);
    assert!(tree.remove(&100).ptr_eq(&tree));
    assert!(Tree::<u64, u64>::new().remove(&1).is_empty());
    assert_eq!(Tree::<u64, u64>::new().iter().count(), 0);
}

#[test]
fn what_is_not_shared_is_counted() {
    let tree = large(10_000);
    assert_eq!(unshared_bytes(&tree, &tree.clone()), 0);
    assert_eq!(unshared_bytes(&tree, &large(10_000)), tree.node_bytes(), "equal, and not the same");
    assert_eq!(unshared_bytes(&tree, &Tree::new()), tree.node_bytes());
    assert_eq!(unshared_bytes(&Tree::new(), &tree), 0);
    let new = tree.insert(5_000, 1);
    let (one, whole) = (unshared_bytes(&tree, &new), tree.node_bytes());
    assert!(one > 0 && one < whole / 20, "{one} of {whole} bytes");
}
