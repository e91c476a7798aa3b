//! A persistent ordered map whose shape follows from its content alone.
//!
//! Generations and documents are made of these: a change makes a new map that shares all but one path with the old one,
//! whoever holds the old one keeps it, and what differs between two is found by looking at what they do not share.
//!
//! ```text
//!   inner   [ …c | …k | …t ]            a chunk ends behind an entry whose hash has so many zeros:
//!              │    │    └──▶ …         4 bits end a leaf, 8 end the chunk above it, 12 the next …
//!   leaves  [a b c] [d … k] [l … t]
//! ```
//!
//! Where chunks end depends on the entries in them and on nothing else, so equal content has equal shape whatever its
//! history, one change moves the ends of its own path only, and a digest of the nodes ([`Measure`]) is one of the content.
//! (Tried on paper and left: a B-tree, whose shape is its history; a treap with hashes for priorities, which is simpler,
//! has one node per entry and thus four times the memory and eight times the cache misses.)
//!
//! Cost, n entries: look-up, insertion and removal O(log n), copying some 5 chunks of 16 entries; iteration O(n);
//! [`diff`] O(what differs × log n). Whoever can choose the keys freely can choose ones that end no chunk, and pays with
//! slow changes of his own map; look-ups stay O(log n).

mod cursor;
mod edit;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

pub use cursor::{Difference, Iter, diff, unshared_bytes};

/// What nodes know of the entries below them, and where chunks end.
pub trait Measure<K, V>: Clone {
    /// Evenly spread over all 64 bits, and the same for the same entry in every process. May use the value only as far
    /// as it is another entry if that changes.
    fn cut(key: &K, value: &V) -> u64;
    /// Of one leaf. Not empty.
    fn leaf(entries: &[(K, V)]) -> Self;
    /// Of a chunk of chunks. Not empty.
    fn join<'a>(below: impl Iterator<Item = &'a Self>) -> Self
    where
        Self: 'a;
    /// Whether the entries below are known to be equal. `false`: not known.
    fn same(&self, _other: &Self) -> bool {
        false
    }
}

/// A key that ends chunks by itself.
pub trait Key: Ord + Clone {
    fn cut(&self) -> u64;
}

/// Nodes know nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unmeasured;

impl<K: Key, V> Measure<K, V> for Unmeasured {
    fn cut(key: &K, _: &V) -> u64 {
        key.cut()
    }
    fn leaf(_: &[(K, V)]) -> Unmeasured {
        Unmeasured
    }
    fn join<'a>(_: impl Iterator<Item = &'a Unmeasured>) -> Unmeasured {
        Unmeasured
    }
}

/// The map. Cloning it is one reference count.
pub struct Tree<K, V, M = Unmeasured> {
    root: Option<Child<K, V, M>>,
}

/// A chunk as its parent knows it.
struct Child<K, V, M> {
    /// The highest key below.
    last: K,
    /// Of the entry that has it.
    level: u8,
    count: u32,
    measure: M,
    node: Arc<Node<K, V, M>>,
}

/// A chunk. Not empty.
enum Node<K, V, M> {
    Leaf(Box<[(K, V)]>),
    Inner(Box<[Child<K, V, M>]>),
}

/// What a chunk takes besides its parts, about: its counts, its head and what the allocator adds.
pub const CHUNK_BYTES: usize = 48;

/// Zeros at the end of a hash that end one level more: chunks have 16 parts on average.
const BITS_PER_LEVEL: u32 = 4;

fn level(cut: u64) -> u8 {
    (cut.trailing_zeros() / BITS_PER_LEVEL) as u8
}

impl<K, V, M> Tree<K, V, M> {
    pub const fn new() -> Tree<K, V, M> {
        Tree { root: None }
    }

    pub fn len(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.count as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Of all entries. `None`: there are none.
    pub fn measure(&self) -> Option<&M> {
        self.root.as_ref().map(|root| &root.measure)
    }

    /// Whether both are the very same, and not just equal.
    pub fn ptr_eq(&self, other: &Tree<K, V, M>) -> bool {
        match (&self.root, &other.root) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.node, &other.node),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Heap bytes of the nodes; what entries own besides is not counted. Cost: O(n).
    pub fn node_bytes(&self) -> usize {
        self.root.as_ref().map_or(0, |root| bytes_below(&root.node))
    }
}

fn bytes_below<K, V, M>(node: &Node<K, V, M>) -> usize {
    let below = match node {
        Node::Leaf(_) => 0,
        Node::Inner(children) => children.iter().map(|child| bytes_below(&child.node)).sum(),
    };
    bytes_of(node) + below
}

/// Of one chunk.
fn bytes_of<K, V, M>(node: &Node<K, V, M>) -> usize {
    let parts = match node {
        Node::Leaf(entries) => size_of_val(&**entries),
        Node::Inner(children) => size_of_val(&**children),
    };
    CHUNK_BYTES + parts
}

impl<K: Ord, V, M> Tree<K, V, M> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        Some(self.find_entry(key)?.1)
    }

    pub fn find_entry<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root.as_ref()?.node;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| child.last.borrow() < key);
                    node = &children.get(at)?.node;
                }
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(other, _)| other.borrow().cmp(key)).ok()?;
                    let (key, value) = &entries[at];
                    return Some((key, value));
                }
            }
        }
    }

    /// The entry that `order` says is equal to what is looked for, by its place before or behind it.
    pub fn find(&self, order: impl Fn(&K) -> Ordering) -> Option<(&K, &V)> {
        let mut node = &*self.root.as_ref()?.node;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| order(&child.last).is_lt());
                    node = &children.get(at)?.node;
                }
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(key, _)| order(key)).ok()?;
                    let (key, value) = &entries[at];
                    return Some((key, value));
                }
            }
        }
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find_entry(key).is_some()
    }

    /// Entries whose keys are lower.
    pub fn rank<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let mut lower = 0;
        let Some(root) = &self.root else { return 0 };
        let mut node = &*root.node;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| child.last.borrow() < key);
                    lower += children[..at].iter().map(|child| child.count as usize).sum::<usize>();
                    match children.get(at) {
                        Some(child) => node = &child.node,
                        None => return lower,
                    }
                }
                Node::Leaf(entries) => return lower + entries.partition_point(|(other, _)| other.borrow() < key),
            }
        }
    }

    /// The first entry of which `low` does not hold, which holds of all before it and of none behind.
    pub fn first_not(&self, low: impl Fn(&K, &V) -> bool) -> Option<(&K, &V)> {
        let mut node = &*self.root.as_ref()?.node;
        loop {
            match node {
                Node::Inner(children) => {
                    let is_low = |child: &Child<K, V, M>| child.highest().is_some_and(|(key, value)| low(key, value));
                    node = &children.get(children.partition_point(is_low))?.node;
                }
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(key, value)| low(key, value));
                    return entries.get(at).map(|(key, value)| (key, value));
                }
            }
        }
    }

    /// The highest entry that is lower.
    pub fn before<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root.as_ref()?.node;
        // The chunk that stands before the way that was taken last.
        let mut left = None;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| child.last.borrow() < key);
                    if let Some(before) = at.checked_sub(1) {
                        left = Some(&children[before]);
                    }
                    match children.get(at) {
                        Some(child) => node = &child.node,
                        None => return left.and_then(Child::highest),
                    }
                }
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(other, _)| other.borrow() < key);
                    return match at.checked_sub(1) {
                        Some(before) => Some((&entries[before].0, &entries[before].1)),
                        None => left.and_then(Child::highest),
                    };
                }
            }
        }
    }

    /// The highest entry.
    pub fn last(&self) -> Option<(&K, &V)> {
        self.root.as_ref().and_then(Child::highest)
    }

    /// What measures tell of all entries that are not higher than `key`: `whole` is shown the measure of each chunk that
    /// lies below it altogether, `single` each other entry; the first that says `true` ends the search with `true`. What is
    /// lower than `from` says of the chunk that it is in is passed over: where that is near `key`, so is all that is looked
    /// at.
    pub fn any_up_to<Q: Ord + ?Sized>(
        &self,
        key: &Q,
        from: impl Fn(&M) -> K,
        whole: impl Fn(&M) -> bool,
        single: impl Fn(&K, &V) -> bool,
    ) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(mut chunk) = self.root.as_ref() else { return false };
        loop {
            let lowest = from(&chunk.measure);
            match &*chunk.node {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| child.last.borrow() <= key);
                    let mut near = children[..at].iter().rev().take_while(|child| child.last >= lowest);
                    if near.any(|child| whole(&child.measure)) {
                        return true;
                    }
                    match children.get(at) {
                        Some(next) => chunk = next,
                        None => return false,
                    }
                }
                Node::Leaf(entries) => {
                    let end = entries.partition_point(|(other, _)| other.borrow() <= key);
                    let mut near = entries[..end].iter().rev().take_while(|(other, _)| *other >= lowest);
                    return near.any(|(key, value)| single(key, value));
                }
            }
        }
    }

    /// An entry at which a measure leads from the root to a leaf: of each chunk the first part that `wanted` says is.
    pub fn descend(&self, wanted: impl Fn(&M) -> bool, single: impl Fn(&K, &V) -> bool) -> Option<(&K, &V)> {
        let root = self.root.as_ref().filter(|root| wanted(&root.measure))?;
        let mut node = &*root.node;
        loop {
            match node {
                Node::Inner(children) => node = &children.iter().find(|child| wanted(&child.measure))?.node,
                Node::Leaf(entries) => {
                    return entries.iter().find(|(key, value)| single(key, value)).map(|(key, value)| (key, value));
                }
            }
        }
    }
}

impl<K, V, M> Tree<K, V, M> {
    /// In the order of the keys.
    pub fn iter(&self) -> Iter<'_, K, V, M> {
        Iter::all(self)
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V, M> Tree<K, V, M> {
    /// Entries from this key on.
    pub fn iter_from<Q: Ord + ?Sized>(&self, key: &Q) -> Iter<'_, K, V, M>
    where
        K: Borrow<Q>,
    {
        Iter::from(self, key)
    }
}

impl<K, V, M> Clone for Tree<K, V, M>
where
    K: Clone,
    M: Clone,
{
    fn clone(&self) -> Tree<K, V, M> {
        Tree { root: self.root.clone() }
    }
}

impl<K, V, M> Child<K, V, M> {
    fn highest(&self) -> Option<(&K, &V)> {
        let mut node = &*self.node;
        loop {
            match node {
                Node::Inner(children) => node = &children.last()?.node,
                Node::Leaf(entries) => return entries.last().map(|(key, value)| (key, value)),
            }
        }
    }
}

impl<K: Clone, V, M: Clone> Clone for Child<K, V, M> {
    fn clone(&self) -> Child<K, V, M> {
        let Child { last, level, count, measure, node } = self;
        Child { last: last.clone(), level: *level, count: *count, measure: measure.clone(), node: node.clone() }
    }
}

impl<K, V, M> Default for Tree<K, V, M> {
    fn default() -> Tree<K, V, M> {
        Tree::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug, M> fmt::Debug for Tree<K, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone, M: Measure<K, V>> PartialEq for Tree<K, V, M> {
    fn eq(&self, other: &Tree<K, V, M>) -> bool {
        self.len() == other.len()
            && diff(self, other).all(|difference| match difference {
                Difference::Changed { old, new, .. } => old == new,
                Difference::Added { .. } | Difference::Removed { .. } => false,
            })
    }
}

impl<'a, K, V, M> IntoIterator for &'a Tree<K, V, M> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V, M>;

    fn into_iter(self) -> Iter<'a, K, V, M> {
        self.iter()
    }
}

/// Spreads a number over all bits (the finaliser of splitmix64).
pub fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Of bytes: multiply and fold, eight at a time. Not for keys that an attacker chooses to be looked up.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let mut hash = fold(seed ^ 0x9e37_79b9_7f4a_7c15, bytes.len() as u64 ^ 0xbf58_476d_1ce4_e5b9);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks have eight bytes"));
        hash = fold(hash ^ word, 0x94d0_49bb_1331_11eb);
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(hash ^ u64::from_le_bytes(last), 0xd6e8_feb8_6659_fd93)
}

impl Key for u64 {
    fn cut(&self) -> u64 {
        spread(*self)
    }
}

impl Key for Arc<str> {
    fn cut(&self) -> u64 {
        hash(0, self.as_bytes())
    }
}
