//! Walking through trees: one, and two side by side.

use super::{Child, Measure, Node, Tree, bytes_of};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// Entries in the order of their keys.
pub struct Iter<'a, K, V, M> {
    cursor: Cursor<'a, K, V, M>,
}

impl<'a, K, V, M> Iter<'a, K, V, M> {
    pub(super) fn all(tree: &'a Tree<K, V, M>) -> Iter<'a, K, V, M> {
        Iter { cursor: Cursor::new(tree) }
    }
}

impl<'a, K: Ord, V, M> Iter<'a, K, V, M> {
    pub(super) fn from<Q: Ord + ?Sized>(tree: &'a Tree<K, V, M>, key: &Q) -> Iter<'a, K, V, M>
    where
        K: Borrow<Q>,
    {
        let mut stack = Vec::new();
        let mut node = tree.root.as_ref().map(|root| &*root.node);
        while let Some(here) = node {
            let (parts, at) = match here {
                Node::Inner(children) => {
                    let at = children.partition_point(|child| child.last.borrow() < key);
                    node = children.get(at).map(|child| &*child.node);
                    // What is in the chunk is taken from the chunk.
                    (Parts::Chunks(children), at + 1)
                }
                Node::Leaf(entries) => {
                    node = None;
                    (Parts::Entries(entries), entries.partition_point(|(other, _)| other.borrow() < key))
                }
            };
            stack.push((parts, at));
        }
        let mut cursor = Cursor { root: None, stack };
        cursor.settle();
        Iter { cursor }
    }
}

impl<'a, K, V, M> Iterator for Iter<'a, K, V, M> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            match self.cursor.here()? {
                Part::Chunk(_) => self.cursor.descend(),
                Part::Entry((key, value)) => {
                    self.cursor.advance();
                    return Some((key, value));
                }
            }
        }
    }
}

impl<K, V, M> Clone for Iter<'_, K, V, M> {
    fn clone(&self) -> Self {
        Iter { cursor: Cursor { root: self.cursor.root, stack: self.cursor.stack.clone() } }
    }
}

/// Where a walk is: before a chunk as a whole, or before an entry.
struct Cursor<'a, K, V, M> {
    /// Nothing has been looked into yet.
    root: Option<&'a Child<K, V, M>>,
    /// Each with the part that comes next; the last one's is there.
    stack: Vec<(Parts<'a, K, V, M>, usize)>,
}

enum Parts<'a, K, V, M> {
    Chunks(&'a [Child<K, V, M>]),
    Entries(&'a [(K, V)]),
}

impl<K, V, M> Clone for Parts<'_, K, V, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, M> Copy for Parts<'_, K, V, M> {}

enum Part<'a, K, V, M> {
    Chunk(&'a Child<K, V, M>),
    Entry(&'a (K, V)),
}

impl<'a, K, V, M> Cursor<'a, K, V, M> {
    fn new(tree: &'a Tree<K, V, M>) -> Cursor<'a, K, V, M> {
        Cursor { root: tree.root.as_ref(), stack: Vec::new() }
    }

    /// `None`: the end.
    fn here(&self) -> Option<Part<'a, K, V, M>> {
        if let Some(root) = self.root {
            return Some(Part::Chunk(root));
        }
        Some(match self.stack.last()? {
            (Parts::Chunks(chunks), at) => Part::Chunk(&chunks[*at]),
            (Parts::Entries(entries), at) => Part::Entry(&entries[*at]),
        })
    }

    /// Into the chunk that is here.
    fn descend(&mut self) {
        let Some(Part::Chunk(chunk)) = self.here() else { unreachable!("one looks into chunks") };
        if self.root.take().is_none() {
            self.stack.last_mut().expect("it is here").1 += 1;
        }
        self.stack.push(match &*chunk.node {
            Node::Leaf(entries) => (Parts::Entries(entries), 0),
            Node::Inner(children) => (Parts::Chunks(children), 0),
        });
    }

    /// Behind what is here.
    fn advance(&mut self) {
        if self.root.take().is_none()
            && let Some((_, at)) = self.stack.last_mut()
        {
            *at += 1;
        }
        self.settle();
    }

    fn settle(&mut self) {
        while self.stack.last().is_some_and(|(parts, at)| {
            *at >= match parts {
                Parts::Chunks(chunks) => chunks.len(),
                Parts::Entries(entries) => entries.len(),
            }
        }) {
            self.stack.pop();
        }
    }
}

/// One key under which two trees differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference<'a, K, V> {
    Removed {
        key: &'a K,
        old: &'a V,
    },
    Added {
        key: &'a K,
        new: &'a V,
    },
    /// In both. They may be equal where the trees do not share them.
    Changed {
        key: &'a K,
        old: &'a V,
        new: &'a V,
    },
}

/// What differs, in the order of the keys. What both share, or what their measures know to be the same, is not looked at.
pub fn diff<'a, K: Ord, V, M: Measure<K, V>>(
    old: &'a Tree<K, V, M>,
    new: &'a Tree<K, V, M>,
) -> impl Iterator<Item = Difference<'a, K, V>> {
    let (mut old, mut new) = (Cursor::new(old), Cursor::new(new));
    std::iter::from_fn(move || {
        loop {
            match (old.here(), new.here()) {
                (None, None) => return None,
                (Some(Part::Chunk(one)), Some(Part::Chunk(other))) => {
                    if Arc::ptr_eq(&one.node, &other.node)
                        || one.count == other.count && one.measure.same(&other.measure)
                    {
                        old.advance();
                        new.advance();
                        continue;
                    }
                    // The larger first: what is shared may be as deep as the smaller.
                    match depth(one).cmp(&depth(other)) {
                        Ordering::Greater => old.descend(),
                        Ordering::Less => new.descend(),
                        Ordering::Equal => {
                            old.descend();
                            new.descend();
                        }
                    }
                }
                (Some(Part::Chunk(_)), _) => old.descend(),
                (_, Some(Part::Chunk(_))) => new.descend(),
                (Some(Part::Entry((key, value))), None) => {
                    old.advance();
                    return Some(Difference::Removed { key, old: value });
                }
                (None, Some(Part::Entry((key, value)))) => {
                    new.advance();
                    return Some(Difference::Added { key, new: value });
                }
                (Some(Part::Entry((one, was))), Some(Part::Entry((other, is)))) => match one.cmp(other) {
                    Ordering::Less => {
                        old.advance();
                        return Some(Difference::Removed { key: one, old: was });
                    }
                    Ordering::Greater => {
                        new.advance();
                        return Some(Difference::Added { key: other, new: is });
                    }
                    Ordering::Equal => {
                        old.advance();
                        new.advance();
                        return Some(Difference::Changed { key: one, old: was, new: is });
                    }
                },
            }
        }
    })
}

/// Heap bytes of the nodes of `old` that `new` does not share. Cost: as [`diff`] of trees one of which was made from the
/// other; of two that were made each by itself, O(n).
pub fn unshared_bytes<K: Ord, V, M>(old: &Tree<K, V, M>, new: &Tree<K, V, M>) -> usize {
    let (mut old, mut new) = (Cursor::new(old), Cursor::new(new));
    let mut bytes = 0;
    loop {
        match (old.here(), new.here()) {
            (None, _) => return bytes,
            (Some(Part::Chunk(one)), Some(Part::Chunk(other))) if Arc::ptr_eq(&one.node, &other.node) => {
                old.advance();
                new.advance();
            }
            // What lies before all that the other side has next is passed, lest that be taken apart.
            (Some(Part::Chunk(one)), Some(Part::Chunk(other))) if other.last < *lowest(one) => new.advance(),
            (Some(Part::Chunk(one)), Some(Part::Entry((key, _)))) if key < lowest(one) => new.advance(),
            (Some(Part::Entry((key, _))), Some(Part::Chunk(other))) if key < lowest(other) => old.advance(),
            (Some(Part::Chunk(one)), Some(Part::Chunk(other)))
                if depth(one) < depth(other) && one.last >= *lowest(other) =>
            {
                new.descend();
            }
            (Some(Part::Chunk(one)), _) => {
                bytes += bytes_of(&*one.node);
                old.descend();
            }
            (Some(Part::Entry(_)), Some(Part::Chunk(_))) => new.descend(),
            (Some(Part::Entry(_)), None) => old.advance(),
            (Some(Part::Entry((one, _))), Some(Part::Entry((other, _)))) => {
                let order = one.cmp(other);
                if order.is_le() {
                    old.advance();
                }
                if order.is_ge() {
                    new.advance();
                }
            }
        }
    }
}

fn lowest<K, V, M>(child: &Child<K, V, M>) -> &K {
    let mut node = &child.node;
    loop {
        match &**node {
            Node::Inner(children) => node = &children[0].node,
            Node::Leaf(entries) => return &entries[0].0,
        }
    }
}

fn depth<K, V, M>(child: &Child<K, V, M>) -> usize {
    let (mut depth, mut node) = (0, &child.node);
    while let Node::Inner(children) = &**node {
        depth += 1;
        node = &children[0].node;
    }
    depth
}
