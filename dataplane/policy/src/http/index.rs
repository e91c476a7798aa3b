//! Which rules a request can match at all: by host, then by the segments of its path.
//!
//! Owns the tables. Holds no conditions: it leads to *candidates*, lists of rules in their order, each of which
//! must still be asked. Refuses to know what else a rule asks.
//!
//! ```text
//! host ──▶ exact name  ─┐                       ┌─ segment ──▶ node ── segment ──▶ …
//!      ──▶ *.name, one  ├──▶ root of its tree ──┤
//!          per dot      │    (one a name)       └─ any      ──▶ node ──▶ …
//!      ──▶ any host    ─┘    each node: rules for paths that end here, rules for all paths from here
//! ```
//!
//! Edges of all trees are one hash table, names of hosts another, so each step is one look-up however many there
//! are. (The matchit crate, a radix tree, was considered: it answers with the one most specific template and
//! refuses templates that overlap; here all that match count, and the first in the operator's order wins.)
//!
//! Keys come from the operator and clients only look them up, so a fixed hash is enough: a client cannot fill a
//! bucket.

use super::anchor::{Anchor, HostKey, Step};
use hashbrown::HashTable;
use std::ops::Range;

/// Made once for a table of rules, never changed.
#[derive(Debug)]
pub(super) struct Index {
    hosts: HashTable<Host>,
    /// Bit `n`: there is a `*.name` with `n` dots in its suffix. What has more is under the last bit.
    depths: u128,
    edges: HashTable<Edge>,
    /// The first is the root of any host.
    nodes: Vec<Node>,
    /// Rules, in order within each list.
    lists: Vec<u32>,
    /// Segments of all edges.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Host {
    /// With a dot in front if it stands for all hosts below.
    name: Box<str>,
    root: u32,
}

#[derive(Debug)]
struct Edge {
    from: u32,
    to: u32,
    segment: Range<u32>,
}

#[derive(Debug)]
struct Node {
    /// In `lists`: rules for the path that ends here.
    ends: Range<u32>,
    /// For this path and all below.
    open: Range<u32>,
    /// Where any segment leads that is not empty.
    any: Option<u32>,
}

const ROOT_OF_ANY: u32 = 0;

/// How many candidates one request can have, and where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Widest {
    pub candidates: usize,
    /// Lists that they come from.
    pub lists: usize,
    /// The host that has them, if it takes a certain one.
    pub host: Option<String>,
}

impl Index {
    /// `anchors`: those of each rule, in the order of the rules.
    ///
    /// Cost: O(steps of all anchors).
    pub fn new<'a>(anchors: impl Iterator<Item = &'a [Anchor]>) -> Index {
        let mut builder = Builder::new();
        for (rule, anchors) in anchors.enumerate() {
            anchors.iter().for_each(|anchor| builder.insert(anchor, rule as u32));
        }
        builder.finish()
    }

    /// Hands `found` every list of candidates. `branches` is memory.
    pub fn find(&self, host: &[u8], path: &[u8], branches: &mut Vec<(u32, u32)>, mut found: impl FnMut(&Range<u32>)) {
        self.roots(host, |root| {
            branches.clear();
            branches.push((root, 0));
            while let Some((node, at)) = branches.pop() {
                let Node { ends, open, any } = &self.nodes[node as usize];
                if !open.is_empty() {
                    found(open);
                }
                let rest = &path[at as usize..];
                let [b'/', rest @ ..] = rest else {
                    if rest.is_empty() && !ends.is_empty() {
                        found(ends);
                    }
                    continue;
                };
                let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
                let behind = at + 1 + length as u32;
                if let Some(any) = any.filter(|_| length > 0) {
                    branches.push((any, behind));
                }
                if let Some(next) = self.edge(node, &rest[..length]) {
                    branches.push((next, behind));
                }
            }
        });
    }

    pub fn rule_at(&self, at: u32) -> u32 {
        self.lists[at as usize]
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// Rules that every request meets.
    pub fn everywhere(&self) -> usize {
        self.nodes[ROOT_OF_ANY as usize].open.len()
    }

    /// Heap bytes.
    pub fn bytes(&self) -> usize {
        let names: usize = self.hosts.iter().map(|host| host.name.len()).sum();
        self.hosts.allocation_size()
            + names
            + self.edges.allocation_size()
            + self.nodes.capacity() * size_of::<Node>()
            + self.lists.capacity() * size_of::<u32>()
            + self.bytes.capacity()
    }

    /// The most that a request can meet: never too low; too high only where no path has at once what the tree
    /// holds under a segment and under any. Cost: O(nodes).
    pub fn widest(&self) -> Widest {
        // Children have higher numbers than their parents.
        let mut below = vec![(0, 0); self.nodes.len()];
        let mut literal = vec![(0, 0); self.nodes.len()];
        let mut edges: Vec<(u32, u32)> = self.edges.iter().map(|edge| (edge.from, edge.to)).collect();
        edges.sort_unstable();
        let plus = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
        for node in (0..self.nodes.len()).rev() {
            while let Some((from, to)) = edges.last().copied().filter(|(from, _)| *from as usize == node) {
                edges.pop();
                let widest: &mut (usize, usize) = &mut literal[from as usize];
                *widest = (widest.0.max(below[to as usize].0), widest.1.max(below[to as usize].1));
            }
            let Node { ends, open, any } = &self.nodes[node];
            let further = plus(literal[node], any.map_or((0, 0), |any| below[any as usize]));
            let ends = (ends.len(), usize::from(!ends.is_empty()));
            let open = (open.len(), usize::from(!open.is_empty()));
            below[node] = plus(open, (ends.0.max(further.0), ends.1.max(further.1)));
        }
        let mut widest = Widest { candidates: below[0].0, lists: below[0].1, host: None };
        for host in &self.hosts {
            // A name below the suffix, and one that nobody else has.
            let name = if host.name.starts_with('.') { format!("?{}", host.name) } else { host.name.to_string() };
            let mut all = (0, 0);
            self.roots(name.as_bytes(), |root| all = plus(all, below[root as usize]));
            if all.0 > widest.candidates {
                widest = Widest { candidates: all.0, host: Some(name), ..widest };
            }
            widest.lists = widest.lists.max(all.1);
        }
        widest
    }

    /// Lists on the way to where `anchor` stands, and there: rules that match all it does, as far as host and path go,
    /// are among them.
    pub fn above(&self, anchor: &Anchor, mut found: impl FnMut(&Range<u32>)) {
        let mut walk = |root: u32| {
            let mut branches = vec![(root, 0)];
            while let Some((node, at)) = branches.pop() {
                let Node { ends, open, any } = &self.nodes[node as usize];
                found(open);
                match anchor.path.steps.get(at) {
                    None if !anchor.path.open => found(ends),
                    None => {}
                    Some(step) => {
                        let literal = match step {
                            Step::Literal(segment) => self.edge(node, segment),
                            Step::Any => None,
                        };
                        let any = any.filter(|_| *step != Step::Literal([].into()));
                        branches.extend(literal.into_iter().chain(any).map(|next| (next, at + 1)));
                    }
                }
            }
        };
        match &anchor.host {
            HostKey::Any => walk(ROOT_OF_ANY),
            HostKey::Exact(name) => self.roots(name.as_bytes(), walk),
            HostKey::Below(suffix) => self.roots(format!("?{suffix}").as_bytes(), walk),
        }
    }

    fn roots(&self, host: &[u8], mut found: impl FnMut(u32)) {
        found(ROOT_OF_ANY);
        if let Some(root) = self.host(host) {
            found(root);
        }
        suffixes(host, self.depths).filter_map(|suffix| self.host(suffix)).for_each(found);
    }

    fn host(&self, name: &[u8]) -> Option<u32> {
        self.hosts.find(hash(0, name), |host| host.name.as_bytes() == name).map(|host| host.root)
    }

    fn edge(&self, from: u32, segment: &[u8]) -> Option<u32> {
        let same = |edge: &Edge| {
            edge.from == from && self.bytes[edge.segment.start as usize..edge.segment.end as usize] == *segment
        };
        self.edges.find(hash(from, segment), same).map(|edge| edge.to)
    }
}

/// The index while it grows; what is under a node is still apart.
struct Builder {
    index: Index,
    ends: Vec<Vec<u32>>,
    open: Vec<Vec<u32>>,
}

impl Builder {
    fn new() -> Builder {
        let index = Index {
            hosts: HashTable::new(),
            depths: 0,
            edges: HashTable::new(),
            nodes: Vec::new(),
            lists: Vec::new(),
            bytes: Vec::new(),
        };
        let mut builder = Builder { index, ends: Vec::new(), open: Vec::new() };
        builder.node();
        builder
    }

    fn insert(&mut self, anchor: &Anchor, rule: u32) {
        let mut node = match &anchor.host {
            HostKey::Any => ROOT_OF_ANY,
            HostKey::Exact(name) => self.host(name),
            HostKey::Below(suffix) => {
                let depth = suffix.bytes().filter(|byte| *byte == b'.').count();
                self.index.depths |= 1 << depth.min(127);
                self.host(suffix)
            }
        };
        for step in &anchor.path.steps {
            node = match step {
                Step::Any => match self.index.nodes[node as usize].any {
                    Some(any) => any,
                    None => {
                        let any = self.node();
                        self.index.nodes[node as usize].any = Some(any);
                        any
                    }
                },
                Step::Literal(segment) => match self.index.edge(node, segment) {
                    Some(next) => next,
                    None => self.edge(node, segment),
                },
            };
        }
        let lists = if anchor.path.open { &mut self.open } else { &mut self.ends };
        lists[node as usize].push(rule);
    }

    fn host(&mut self, name: &str) -> u32 {
        self.index.host(name.as_bytes()).unwrap_or_else(|| {
            let root = self.node();
            let hashed = |host: &Host| hash(0, host.name.as_bytes());
            self.index.hosts.insert_unique(hash(0, name.as_bytes()), Host { name: name.into(), root }, hashed);
            root
        })
    }

    fn edge(&mut self, from: u32, segment: &[u8]) -> u32 {
        let to = self.node();
        let Index { edges, bytes, .. } = &mut self.index;
        let begin = bytes.len() as u32;
        bytes.extend_from_slice(segment);
        let segment_of = |edge: &Edge| edge.segment.start as usize..edge.segment.end as usize;
        let edge = Edge { from, to, segment: begin..bytes.len() as u32 };
        edges.insert_unique(hash(from, segment), edge, |edge| hash(edge.from, &bytes[segment_of(edge)]));
        to
    }

    fn node(&mut self) -> u32 {
        self.index.nodes.push(Node { ends: 0..0, open: 0..0, any: None });
        self.ends.push(Vec::new());
        self.open.push(Vec::new());
        (self.index.nodes.len() - 1) as u32
    }

    fn finish(self) -> Index {
        let Builder { mut index, ends, open } = self;
        let mut append = |list: Vec<u32>| {
            let begin = index.lists.len() as u32;
            index.lists.extend(list);
            begin..index.lists.len() as u32
        };
        for (node, (ends, open)) in index.nodes.iter_mut().zip(ends.into_iter().zip(open)) {
            (node.ends, node.open) = (append(ends), append(open));
        }
        index.nodes.shrink_to_fit();
        index.lists.shrink_to_fit();
        index.bytes.shrink_to_fit();
        index
    }
}

/// The ends of a host that begin with a dot, the longest first, as far as their number of dots has its bit in `depths`.
pub(super) fn suffixes(host: &[u8], depths: u128) -> impl Iterator<Item = &[u8]> {
    let asked = if depths == 0 { b"" } else { host };
    let mut depth = asked.iter().filter(|byte| **byte == b'.').count();
    let dots = asked.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    dots.filter_map(move |(at, _)| {
        let wanted = at > 0 && depths >> depth.min(127) & 1 == 1;
        depth -= 1;
        wanted.then(|| &asked[at..])
    })
}

/// Multiply and fold, eight bytes at a time.
pub(super) fn hash(seed: u32, bytes: &[u8]) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let mut hash = fold(u64::from(seed) ^ 0x9e37_79b9_7f4a_7c15, bytes.len() as u64 ^ 0xbf58_476d_1ce4_e5b9);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks have eight bytes"));
        hash = fold(hash ^ word, 0x94d0_49bb_1331_11eb);
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(hash ^ u64::from_le_bytes(last), 0xd6e8_feb8_6659_fd93)
}
