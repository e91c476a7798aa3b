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
//! All of it is persistent: an index with one rule more shares with the one before it whatever that rule does not stand
//! at. Names and segments are found by their hash first, so a step is a few comparisons of numbers and one of text. (The
//! matchit crate, a radix tree, was considered: it answers with the one most specific template and refuses templates that
//! overlap; here all that match count, and the first in the operator's order wins. Hash tables are faster by some
//! nanoseconds a step and have to be made anew as a whole.)
//!
//! Keys come from the operator and clients only look them up, so a fixed hash is enough.

use super::anchor::{Anchor, HostKey, Step};
use super::meaning::Order;
use super::rule::Rule;
use super::rules::Turn;
use crate::meaning::Words;
use crate::tree::{self, Measure, Tree, hash};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Never changed; with a rule more or less it is another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The root of any host.
    any: Arc<Node>,
    exact: Names,
    /// Those of `*.name`, by the dots in the suffix; what has more than 127 is with 127. Sorted, none empty.
    below: Vec<(u8, Names)>,
}

type Names = Tree<Text, Arc<Node>, Wide>;

/// One rule at one place.
pub(super) type Candidate = (Turn, Arc<Rule>);

/// Where a path has come to.
#[derive(Debug)]
pub(super) struct Node {
    /// Rules for the path that ends here, in order.
    ends: Box<[Candidate]>,
    /// For this path and all below, in order.
    open: Box<[Candidate]>,
    /// Where any segment leads that is not empty.
    any: Option<Arc<Node>>,
    segments: Tree<Text, Arc<Node>, Wide>,
    /// Of this node and all below.
    wide: Wide,
}

/// A name or a segment, ordered by its hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Text {
    hash: u64,
    bytes: Box<[u8]>,
}

/// The most that one request can meet below a node, and what all below takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Wide {
    candidates: u32,
    /// Lists that they come from.
    lists: u32,
    nodes: u32,
    /// Heap bytes, the rules themselves not counted.
    bytes: u64,
}

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
    /// Rules, in order. Cost: O(steps of all anchors).
    pub fn new<'a>(rules: impl Iterator<Item = (Turn, &'a Arc<Rule>)>) -> Index {
        let (mut any, mut exact, mut below) = (Draft::default(), Hosts::new(), BTreeMap::<u8, Hosts>::new());
        for (turn, rule) in rules {
            for anchor in &rule.anchors {
                let root = match &anchor.host {
                    HostKey::Any => &mut any,
                    HostKey::Exact(name) => exact.entry(Text::of(name.as_bytes())).or_default(),
                    HostKey::Below(suffix) => {
                        below.entry(depth(suffix)).or_default().entry(Text::of(suffix.as_bytes())).or_default()
                    }
                };
                root.insert(&anchor.path.steps, anchor.path.open, (turn, rule));
            }
        }
        Index {
            any: Arc::new(any.finish()),
            exact: finish(exact),
            below: below.into_iter().map(|(depth, hosts)| (depth, finish(hosts))).collect(),
        }
    }

    /// With a rule more or less at each of its anchors. `replaced` grows by the bytes that are not shared.
    pub fn with(&self, turn: Turn, rule: &Arc<Rule>, change: Change, replaced: &mut usize) -> Index {
        let mut index = self.clone();
        for anchor in &rule.anchors {
            let mut at = |root: Option<&Arc<Node>>| {
                let none = Node::default();
                let node = root.map_or(&none, |root| root);
                node.with(&anchor.path.steps, anchor.path.open, (turn, rule), change, replaced)
            };
            match &anchor.host {
                HostKey::Any => index.any = Arc::new(at(Some(&index.any))),
                HostKey::Exact(name) => {
                    let node = at(find(&index.exact, name.as_bytes()));
                    index.exact = put(&index.exact, name.as_bytes(), node, replaced);
                }
                HostKey::Below(suffix) => {
                    let depth = depth(suffix);
                    let place = index.below.binary_search_by_key(&depth, |(depth, _)| *depth);
                    let names = place.ok().map_or_else(Tree::new, |place| index.below[place].1.clone());
                    let node = at(find(&names, suffix.as_bytes()));
                    let names = put(&names, suffix.as_bytes(), node, replaced);
                    match place {
                        Ok(place) if names.is_empty() => drop(index.below.remove(place)),
                        Ok(place) => index.below[place].1 = names,
                        Err(place) => index.below.insert(place, (depth, names)),
                    }
                }
            }
        }
        index
    }

    /// Hands `found` every list of candidates.
    pub fn find<'i>(&'i self, host: &[u8], path: &[u8], found: &mut impl FnMut(&'i [Candidate])) {
        self.roots(host, |root| root.find(path, found));
    }

    pub fn node_count(&self) -> usize {
        self.wides().map(|wide| wide.nodes as usize).sum()
    }

    pub fn host_count(&self) -> usize {
        self.exact.len() + self.below.iter().map(|(_, names)| names.len()).sum::<usize>()
    }

    /// Rules that every request meets.
    pub fn everywhere(&self) -> usize {
        self.any.open.len()
    }

    /// Heap bytes.
    pub fn bytes(&self) -> usize {
        self.wides().map(|wide| wide.bytes as usize).sum()
    }

    fn wides(&self) -> impl Iterator<Item = &Wide> {
        let names = [&self.exact].into_iter().chain(self.below.iter().map(|(_, names)| names));
        names.filter_map(Tree::measure).chain([&self.any.wide])
    }

    /// At least what any request can meet, in a few steps.
    pub fn bound(&self) -> usize {
        self.wides().map(|wide| wide.candidates as usize).sum()
    }

    /// The most that a request can meet: never too low; too high only where no path has at once what the tree
    /// holds under a segment and under any. Cost: O(hosts).
    pub fn widest(&self) -> Widest {
        let Wide { candidates, lists, .. } = self.any.wide;
        let mut widest = Widest { candidates: candidates as usize, lists: lists as usize, host: None };
        let suffixes = self.below.iter().flat_map(|(_, names)| names.keys());
        // A name below the suffix, and one that nobody else has.
        let below = suffixes.map(|suffix| [b"?", &*suffix.bytes].concat());
        let exact = self.exact.keys().map(|name| name.bytes.to_vec());
        for host in exact.chain(below) {
            let (mut candidates, mut lists) = (0, 0);
            self.roots(&host, |root| {
                candidates += root.wide.candidates as usize;
                lists += root.wide.lists as usize;
            });
            if candidates > widest.candidates {
                let host = String::from_utf8_lossy(&host).into_owned();
                widest = Widest { candidates, host: Some(host), ..widest };
            }
            widest.lists = widest.lists.max(lists);
        }
        widest
    }

    /// Lists on the way to where `anchor` stands, and there: rules that match all it does, as far as host and path go,
    /// are among them.
    pub fn above<'i>(&'i self, anchor: &Anchor, mut found: impl FnMut(&'i [Candidate])) {
        let mut walk = |root: &'i Node| {
            let mut branches = vec![(root, 0)];
            while let Some((node, at)) = branches.pop() {
                found(&node.open);
                match anchor.path.steps.get(at) {
                    None if !anchor.path.open => found(&node.ends),
                    None => {}
                    Some(step) => {
                        let literal = match step {
                            Step::Literal(segment) => find(&node.segments, segment),
                            Step::Any => None,
                        };
                        let any = node.any.as_ref().filter(|_| *step != Step::Literal([].into()));
                        branches.extend(literal.into_iter().chain(any).map(|next| (&**next, at + 1)));
                    }
                }
            }
        };
        match &anchor.host {
            HostKey::Any => walk(&self.any),
            HostKey::Exact(name) => self.roots(name.as_bytes(), walk),
            HostKey::Below(suffix) => self.roots(format!("?{suffix}").as_bytes(), walk),
        }
    }

    /// Every place to which rules lead, for [`crate::meaning`]. Names and segments come by their hashes, so in the same
    /// order however the index was made.
    pub fn say(&self, order: &Order<'_>, words: &mut Words) {
        let Index { any, exact, below } = self;
        any.say(order, words);
        let all = [(None, exact)].into_iter().chain(below.iter().map(|(depth, names)| (Some(*depth), names)));
        words.count(1 + below.len() as u64);
        for (depth, names) in all {
            words.option(depth, Words::kind);
            say_each(names, order, words);
        }
    }

    fn roots<'i>(&'i self, host: &[u8], mut found: impl FnMut(&'i Node)) {
        found(&self.any);
        if let Some(root) = find(&self.exact, host) {
            found(root);
        }
        if self.below.is_empty() {
            return;
        }
        let depths = self.below.iter().fold(0, |depths, (depth, _)| depths | 1 << depth);
        for suffix in suffixes(host, depths) {
            let depth = suffix.iter().filter(|byte| **byte == b'.').count().min(DEPTH_MAX);
            let names = self.below.iter().find(|(other, _)| usize::from(*other) == depth);
            if let Some(root) = names.and_then(|(_, names)| find(names, suffix)) {
                found(root);
            }
        }
    }
}

/// What becomes of a rule at its anchors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Comes,
    Goes,
}

impl Node {
    fn find<'i>(&'i self, path: &[u8], found: &mut impl FnMut(&'i [Candidate])) {
        if !self.open.is_empty() {
            found(&self.open);
        }
        let [b'/', rest @ ..] = path else {
            if path.is_empty() && !self.ends.is_empty() {
                found(&self.ends);
            }
            return;
        };
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (segment, behind) = rest.split_at(length);
        // As deep as the tree, which is no deeper than a rule has segments.
        if let Some(any) = self.any.as_ref().filter(|_| length > 0) {
            any.find(behind, found);
        }
        if !self.segments.is_empty()
            && let Some(next) = find(&self.segments, segment)
        {
            next.find(behind, found);
        }
    }

    fn with(
        &self,
        steps: &[Step],
        open: bool,
        candidate: (Turn, &Arc<Rule>),
        change: Change,
        replaced: &mut usize,
    ) -> Node {
        *replaced += self.own_bytes();
        let Node { ends, open: opens, any, segments, wide: _ } = self;
        let (mut ends, mut opens, mut any, mut segments) = (ends.clone(), opens.clone(), any.clone(), segments.clone());
        match steps {
            [] => {
                let list = if open { &mut opens } else { &mut ends };
                *list = changed(list, candidate, change);
            }
            [Step::Any, rest @ ..] => {
                let none = Node::default();
                let node = any.as_deref().unwrap_or(&none).with(rest, open, candidate, change, replaced);
                any = (!node.is_empty()).then(|| Arc::new(node));
            }
            [Step::Literal(segment), rest @ ..] => {
                let none = Node::default();
                let node = find(&segments, segment).map_or(&none, |node| node);
                let node = node.with(rest, open, candidate, change, replaced);
                segments = put(&segments, segment, node, replaced);
            }
        }
        Node::new(ends, opens, any, segments)
    }

    fn say(&self, order: &Order<'_>, words: &mut Words) {
        // What it measures is reckoned from the rest, and no request looks at it.
        let Node { ends, open, any, segments, wide: _ } = self;
        for list in [ends, open] {
            words.each(&**list, |words, candidate| order.candidate(candidate, words));
        }
        words.option(any.as_ref(), |words, any| any.say(order, words));
        say_each(segments, order, words);
    }

    fn new(
        ends: Box<[Candidate]>,
        open: Box<[Candidate]>,
        any: Option<Arc<Node>>,
        segments: Tree<Text, Arc<Node>, Wide>,
    ) -> Node {
        let mut node = Node { ends, open, any, segments, wide: Wide::default() };
        let below = node.any.as_ref().map_or(Wide::default(), |any| any.wide);
        let literal = node.segments.measure().copied().unwrap_or_default();
        let ends = (node.ends.len() as u32, u32::from(!node.ends.is_empty()));
        let open = (node.open.len() as u32, u32::from(!node.open.is_empty()));
        let further = (literal.candidates + below.candidates, literal.lists + below.lists);
        node.wide = Wide {
            candidates: open.0 + ends.0.max(further.0),
            lists: open.1 + ends.1.max(further.1),
            nodes: 1 + literal.nodes + below.nodes,
            bytes: node.own_bytes() as u64 + literal.bytes + below.bytes,
        };
        node
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.open.is_empty() && self.any.is_none() && self.segments.is_empty()
    }

    fn own_bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + size_of::<Node>() + size_of_val(&*self.ends) + size_of_val(&*self.open)
    }
}

impl Default for Node {
    fn default() -> Node {
        Node::new([].into(), [].into(), None, Tree::new())
    }
}

fn say_each(texts: &Names, order: &Order<'_>, words: &mut Words) {
    words.count(texts.len() as u64);
    for (text, node) in texts.iter() {
        // What is found by its hash must have that hash.
        words.flag(text.hash == hash(0, &text.bytes));
        words.bytes(&text.bytes);
        node.say(order, words);
    }
}

fn changed(list: &[Candidate], (turn, rule): (Turn, &Arc<Rule>), change: Change) -> Box<[Candidate]> {
    let at = list.partition_point(|(other, _)| *other < turn);
    let (before, behind) = list.split_at(at);
    let new = (change == Change::Comes).then(|| (turn, rule.clone()));
    let behind = match behind {
        [(other, _), rest @ ..] if *other == turn => rest,
        behind => behind,
    };
    before.iter().cloned().chain(new).chain(behind.iter().cloned()).collect()
}

fn find<'t>(texts: &'t Tree<Text, Arc<Node>, Wide>, bytes: &[u8]) -> Option<&'t Arc<Node>> {
    let hash = hash(0, bytes);
    let order = |text: &Text| text.hash.cmp(&hash).then_with(|| (*text.bytes).cmp(bytes));
    texts.find(order).map(|(_, node)| node)
}

/// With this node under this text; an empty one is not kept.
fn put(
    texts: &Tree<Text, Arc<Node>, Wide>,
    bytes: &[u8],
    node: Node,
    replaced: &mut usize,
) -> Tree<Text, Arc<Node>, Wide> {
    let text = Text::of(bytes);
    match node.is_empty() {
        true => texts.remove_counting(&text, replaced),
        false => texts.insert_counting(text, Arc::new(node), replaced),
    }
}

impl Text {
    fn of(bytes: &[u8]) -> Text {
        Text { hash: hash(0, bytes), bytes: bytes.into() }
    }
}

impl Measure<Text, Arc<Node>> for Wide {
    fn cut(text: &Text, _: &Arc<Node>) -> u64 {
        // Its upper bits order entries, its lowest end chunks.
        text.hash
    }

    fn leaf(entries: &[(Text, Arc<Node>)]) -> Wide {
        let own = entries.iter().map(|(text, _)| text.bytes.len()).sum::<usize>() + size_of_val(entries);
        let below = Wide::join(entries.iter().map(|(_, node)| &node.wide));
        Wide { bytes: below.bytes + (tree::CHUNK_BYTES + own) as u64, ..below }
    }

    fn join<'a>(below: impl Iterator<Item = &'a Wide>) -> Wide {
        below.fold(Wide { bytes: tree::CHUNK_BYTES as u64, ..Wide::default() }, |all, wide| Wide {
            candidates: all.candidates.max(wide.candidates),
            lists: all.lists.max(wide.lists),
            nodes: all.nodes + wide.nodes,
            bytes: all.bytes + wide.bytes + PART_BYTES,
        })
    }
}

/// What a chunk takes for each of its parts, about.
const PART_BYTES: u64 = 64;

/// An index while it grows.
#[derive(Default)]
struct Draft {
    ends: Vec<Candidate>,
    open: Vec<Candidate>,
    any: Option<Box<Draft>>,
    segments: Hosts,
}

type Hosts = BTreeMap<Text, Draft>;

impl Draft {
    fn insert(&mut self, steps: &[Step], open: bool, (turn, rule): (Turn, &Arc<Rule>)) {
        let mut here = self;
        for step in steps {
            here = match step {
                Step::Any => here.any.get_or_insert_default(),
                Step::Literal(segment) => here.segments.entry(Text::of(segment)).or_default(),
            };
        }
        let list = if open { &mut here.open } else { &mut here.ends };
        list.push((turn, rule.clone()));
    }

    fn finish(self) -> Node {
        let Draft { ends, open, any, segments } = self;
        Node::new(ends.into(), open.into(), any.map(|any| Arc::new(any.finish())), finish(segments))
    }
}

fn finish(hosts: Hosts) -> Tree<Text, Arc<Node>, Wide> {
    Tree::from_sorted(hosts.into_iter().map(|(text, draft)| (text, Arc::new(draft.finish()))))
}

/// Suffixes with more dots are treated as if they had so many.
const DEPTH_MAX: usize = 127;

fn depth(suffix: &str) -> u8 {
    suffix.bytes().filter(|byte| *byte == b'.').count().min(DEPTH_MAX) as u8
}

/// The ends of a host that begin with a dot, the longest first, as far as their number of dots has its bit in `depths`.
pub(super) fn suffixes(host: &[u8], depths: u128) -> impl Iterator<Item = &[u8]> {
    let asked = if depths == 0 { b"" } else { host };
    let mut depth = asked.iter().filter(|byte| **byte == b'.').count();
    let dots = asked.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    dots.filter_map(move |(at, _)| {
        let wanted = at > 0 && depths >> depth.min(DEPTH_MAX) & 1 == 1;
        depth -= 1;
        wanted.then(|| &asked[at..])
    })
}
