//! New trees from old ones.

use super::{BITS_PER_LEVEL, Child, Measure, Node, Tree, bytes_of, level};
use std::borrow::Borrow;
use std::sync::Arc;

/// Chunks above leaves that a hash can end.
const LEVELS_MAX: u8 = (64 / BITS_PER_LEVEL) as u8;

/// One chunk, or several of the same height side by side.
type Chunks<K, V, M> = Vec<Child<K, V, M>>;

impl<K: Ord + Clone, V: Clone, M: Measure<K, V>> Tree<K, V, M> {
    /// With this entry, in the place of the one that has its key.
    #[must_use]
    pub fn insert(&self, key: K, value: V) -> Tree<K, V, M> {
        self.insert_counting(key, value, &mut 0)
    }

    /// As [`Tree::insert`]; `replaced` grows by the bytes of the nodes that the new tree does not share.
    #[must_use]
    pub fn insert_counting(&self, key: K, value: V, replaced: &mut usize) -> Tree<K, V, M> {
        let Some(root) = &self.root else {
            return Tree { root: Some(leaf(vec![(key, value)])) };
        };
        let level = level(M::cut(&key, &value));
        // An entry under this key that ended other chunks goes first.
        let without;
        let root = match self.find_entry(key.borrow()) {
            Some((old_key, old)) if super::level(M::cut(old_key, old)) != level => {
                without = self.remove_counting(&key, replaced);
                match &without.root {
                    Some(root) => root,
                    None => return Tree { root: Some(leaf(vec![(key, value)])) },
                }
            }
            _ => root,
        };
        let height = height(&root.node);
        let mut chunks = insert(root, height, key, value, level, replaced);
        let mut above = height;
        while chunks.len() > 1 {
            above += 1;
            chunks = gather(chunks, above);
        }
        Tree { root: chunks.pop() }
    }

    #[must_use]
    pub fn remove<Q: Ord + ?Sized>(&self, key: &Q) -> Tree<K, V, M>
    where
        K: Borrow<Q>,
    {
        self.remove_counting(key, &mut 0)
    }

    /// As [`Tree::insert_counting`].
    #[must_use]
    pub fn remove_counting<Q: Ord + ?Sized>(&self, key: &Q, replaced: &mut usize) -> Tree<K, V, M>
    where
        K: Borrow<Q>,
    {
        let Some(root) = self.root.as_ref().filter(|_| self.contains_key(key)) else { return self.clone() };
        let height = height(&root.node);
        Tree { root: remove(root, height, key, replaced) }.lowered()
    }

    /// From entries whose keys rise. Cost: O(n).
    pub fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Tree<K, V, M> {
        let mut chunks = Vec::new();
        let mut open: Vec<(K, V)> = Vec::new();
        for (key, value) in entries {
            debug_assert!(open.last().is_none_or(|(last, _)| *last < key), "keys rise");
            let ends = level(M::cut(&key, &value)) >= 1;
            open.push((key, value));
            if ends {
                chunks.push(leaf(std::mem::take(&mut open)));
            }
        }
        if !open.is_empty() {
            chunks.push(leaf(open));
        }
        let mut height = 0;
        while chunks.len() > 1 {
            height += 1;
            chunks = gather(chunks, height);
        }
        Tree { root: chunks.pop() }
    }

    /// No higher than need be: a root with a single part is that part.
    fn lowered(mut self) -> Tree<K, V, M> {
        while let Some(root) = &self.root
            && let Node::Inner(children) = &*root.node
            && let [only] = &**children
        {
            self.root = Some(only.clone());
        }
        self
    }
}

fn height<K, V, M>(node: &Node<K, V, M>) -> u8 {
    let (mut height, mut node) = (0, node);
    while let Node::Inner(children) = node {
        height += 1;
        node = &children[0].node;
    }
    height
}

fn leaf<K: Clone, V, M: Measure<K, V>>(entries: Vec<(K, V)>) -> Child<K, V, M> {
    let (key, value) = entries.last().expect("a chunk is not empty");
    Child {
        last: key.clone(),
        level: level(M::cut(key, value)),
        count: u32::try_from(entries.len()).expect("memory ends before this does"),
        measure: M::leaf(&entries),
        node: Arc::new(Node::Leaf(entries.into())),
    }
}

fn inner<K: Clone, V, M: Measure<K, V>>(children: Vec<Child<K, V, M>>) -> Child<K, V, M> {
    let last = children.last().expect("a chunk is not empty");
    Child {
        last: last.last.clone(),
        level: last.level,
        count: children.iter().map(|child| child.count).sum(),
        measure: M::join(children.iter().map(|child| &child.measure)),
        node: Arc::new(Node::Inner(children.into())),
    }
}

/// Chunks of the height below, as chunks of this height.
fn gather<K: Clone, V, M: Measure<K, V>>(below: Chunks<K, V, M>, height: u8) -> Chunks<K, V, M> {
    let mut chunks = Vec::new();
    let mut open = Vec::new();
    for child in below {
        let ends = ends(child.level, height);
        open.push(child);
        if ends {
            chunks.push(inner(std::mem::take(&mut open)));
        }
    }
    if !open.is_empty() {
        chunks.push(inner(open));
    }
    chunks
}

/// Whether an entry of this level ends its chunk of this height.
fn ends(level: u8, height: u8) -> bool {
    level > height && height < LEVELS_MAX
}

fn insert<K: Ord + Clone, V: Clone, M: Measure<K, V>>(
    child: &Child<K, V, M>,
    height: u8,
    key: K,
    value: V,
    level: u8,
    replaced: &mut usize,
) -> Chunks<K, V, M> {
    *replaced += bytes_of(&*child.node);
    match &*child.node {
        Node::Leaf(entries) => {
            let found = entries.binary_search_by(|(other, _)| other.cmp(&key));
            let (before, behind) = match found {
                Ok(at) => (&entries[..at], &entries[at + 1..]),
                Err(at) => (&entries[..at], &entries[at..]),
            };
            // Behind an entry that ends the chunk: only at the very end of the tree.
            if behind.is_empty() && found.is_err() && ends(child.level, 0) {
                *replaced -= bytes_of(&*child.node);
                return vec![child.clone(), leaf(vec![(key, value)])];
            }
            let mut first = Vec::with_capacity(before.len() + 1 + behind.len());
            first.extend_from_slice(before);
            first.push((key, value));
            if ends(level, 0) && !behind.is_empty() {
                return vec![leaf(first), leaf(behind.to_vec())];
            }
            first.extend_from_slice(behind);
            vec![leaf(first)]
        }
        Node::Inner(children) => {
            let at = children.partition_point(|child| child.last < key).min(children.len() - 1);
            let new = insert(&children[at], height - 1, key, value, level, replaced);
            let mut all = Vec::with_capacity(children.len() + 1);
            all.extend_from_slice(&children[..at]);
            all.extend(new);
            all.extend_from_slice(&children[at + 1..]);
            gather(all, height)
        }
    }
}

/// What is left of the chunk. `None`: nothing. Its end may be open, which whoever stands above mends.
fn remove<K: Ord + Clone + Borrow<Q>, Q: Ord + ?Sized, V: Clone, M: Measure<K, V>>(
    child: &Child<K, V, M>,
    height: u8,
    key: &Q,
    replaced: &mut usize,
) -> Option<Child<K, V, M>> {
    *replaced += bytes_of(&*child.node);
    match &*child.node {
        Node::Leaf(entries) => {
            let left: Vec<_> = entries.iter().filter(|(other, _)| other.borrow() != key).cloned().collect();
            (!left.is_empty()).then(|| leaf(left))
        }
        Node::Inner(children) => {
            let at = children.partition_point(|child| child.last.borrow() < key);
            let mut all: Chunks<K, V, M> = Vec::with_capacity(children.len());
            all.extend_from_slice(&children[..at]);
            all.extend(remove(&children[at], height - 1, key, replaced));
            for next in &children[at + 1..] {
                push(&mut all, next, height - 1, replaced);
            }
            (!all.is_empty()).then(|| inner(all))
        }
    }
}

/// Puts a chunk of this height behind others; where the last of them is open at its end, into it.
fn push<K: Ord + Clone, V: Clone, M: Measure<K, V>>(
    chunks: &mut Chunks<K, V, M>,
    next: &Child<K, V, M>,
    height: u8,
    replaced: &mut usize,
) {
    match chunks.last() {
        Some(last) if !ends(last.level, height) => {
            let joined = join(last, next, height, replaced);
            *chunks.last_mut().expect("just seen") = joined;
        }
        _ => chunks.push(next.clone()),
    }
}

/// Two chunks of this height as one.
fn join<K: Ord + Clone, V: Clone, M: Measure<K, V>>(
    one: &Child<K, V, M>,
    next: &Child<K, V, M>,
    height: u8,
    replaced: &mut usize,
) -> Child<K, V, M> {
    *replaced += bytes_of(&*next.node);
    match (&*one.node, &*next.node) {
        (Node::Leaf(one), Node::Leaf(next)) => leaf(one.iter().chain(next).cloned().collect()),
        (Node::Inner(one), Node::Inner(next)) => {
            let mut all = one.to_vec();
            for child in next {
                push(&mut all, child, height - 1, replaced);
            }
            inner(all)
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("chunks side by side have one height")
        }
    }
}
