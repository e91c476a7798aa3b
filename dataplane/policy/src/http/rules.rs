//! The rule table of one pool: which rule a request meets.
//!
//! Owns the order of rules and the search for the first that matches. Refuses to know what is done then.
//!
//! ## Meaning
//!
//! Rules are asked in ascending [`order`](super::RuleSpec::order), equal ones by id. The first whose condition holds is
//! the request's. There is no other priority: a long prefix does not beat a short one that stands before it.
//!
//! ## Cost
//!
//! The index ([`index`](super::index)) names the *candidates*: rules whose host and path can be the request's, in a few
//! lists that are in order. The lists are merged, and candidates are asked until one's condition holds; one whose further
//! conditions fail falls through to the next. So a request pays
//!
//! - one look-up for its host and one for each depth of `*.name` that there is,
//! - one or two for each segment of its path, as deep as the tree of its host goes (twice the branches for each level at
//!   which the tree has both literal segments and `{names}`),
//! - the conditions of the candidates up to the one that matches: O(log lists) each, and what the condition itself costs:
//!   a regular expression reads its text once, a header condition passes all fields.
//!
//! None of it depends on the number of rules as such. What does make it linear is many rules in one place of the index:
//! rules without host and path (ten thousand that ask for a source each; one with a list is meant), many with the same host
//! and path that differ in a header, and regular expressions that do not begin with `^` and a literal. [`Rules::shape`]
//! tells how many one request can meet at worst and for which host; `check` warns above [`Rules::CANDIDATES_MANY`], and
//! above [`Rules::CANDIDATES_MAX`] there is no such table, so a search is never cut short.

use super::anchor::Anchor;
use super::condition::{CaptureSlots, HOST_BYTES_MAX, View};
use super::index::{Index, Widest};
use super::path::NormalPath;
use super::pattern::GroupSearch;
use super::request::Request;
use super::rule::Rule;
use super::text::Captures;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The compiled, immutable rules of one pool.
#[derive(Debug)]
pub struct Rules {
    /// In order.
    rules: Box<[Arc<Rule>]>,
    pub(super) index: Index,
    shape: Shape,
}

/// A rule by its place in the order of one [`Rules`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteIx(pub u32);

/// Memory of a search, used again for the next: one a shard, for the rules of all pools.
#[derive(Debug)]
pub struct Scratch {
    host: [u8; HOST_BYTES_MAX],
    branches: Vec<(u32, u32)>,
    heads: BinaryHeap<Reverse<Head>>,
    pub(super) decoded: Vec<u8>,
    /// Of the rule found last.
    pub(super) captures: Vec<Option<Range<usize>>>,
    pub(super) groups: GroupSearch,
    pub(super) ranges: Vec<Option<Range<usize>>>,
    pub(super) normal: Vec<u8>,
}

/// The next candidate of one list, and where the others are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Head {
    rule: u32,
    at: u32,
    end: u32,
}

/// What a table of rules is like: for `check`, `status` and whoever wonders where the time goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    pub rules: usize,
    /// Different hosts and `*.name`s.
    pub hosts: usize,
    /// Nodes of all trees of segments.
    pub nodes: usize,
    /// Rules that are candidates for every request, because nothing is known of host and path.
    pub everywhere: usize,
    /// The most candidates that one request can meet. Never too low.
    pub candidates_max: usize,
    /// Lists that they come from, at most.
    pub lists_max: usize,
    /// The host of that request; `?` stands for a label that is not named. `None`: any.
    pub candidates_host: Option<String>,
    /// Heap bytes of the index; the rules themselves not counted.
    pub index_bytes: usize,
}

/// Why rules are no table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableError {
    TooMany {
        rules: usize,
    },
    /// Their paths and hosts, all in all.
    TooLarge {
        bytes: usize,
    },
    SameId(Arc<str>),
    TooManyCandidates {
        candidates: usize,
        host: Option<String>,
    },
}

impl Rules {
    pub const RULES_MAX: usize = 1 << 20;
    /// Of the hosts and paths by which rules are found, one that has alternatives counted for each.
    pub const ANCHOR_BYTES_MAX: usize = 1 << 30;
    /// More candidates for one request than this are worth a warning.
    pub const CANDIDATES_MANY: usize = 100;
    /// More than this, and a client could hold up a shard for a millisecond with one request.
    pub const CANDIDATES_MAX: usize = 10_000;

    /// Sorts and indexes. Cost: O(n log n); the rules are shared, not copied.
    pub fn new(mut rules: Vec<Arc<Rule>>) -> Result<Rules, TableError> {
        rules.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        Rules::in_sequence(rules)
    }

    /// As [`Rules::new`], asked as they stand, whatever order each has: a rule that others were put before is so
    /// still the same.
    pub fn in_sequence(rules: Vec<Arc<Rule>>) -> Result<Rules, TableError> {
        if rules.len() > Rules::RULES_MAX {
            return Err(TableError::TooMany { rules: rules.len() });
        }
        let mut ids: Vec<&Arc<str>> = rules.iter().map(|rule| &rule.id).collect();
        ids.sort();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TableError::SameId(twice[0].clone()));
        }
        let bytes = rules.iter().flat_map(|rule| &rule.anchors).map(Anchor::bytes).sum();
        if bytes > Rules::ANCHOR_BYTES_MAX {
            return Err(TableError::TooLarge { bytes });
        }
        let index = Index::new(rules.iter().map(|rule| &*rule.anchors));
        let Widest { candidates, lists, host } = index.widest();
        if candidates > Rules::CANDIDATES_MAX {
            return Err(TableError::TooManyCandidates { candidates, host });
        }
        let shape = Shape {
            rules: rules.len(),
            hosts: index.host_count(),
            nodes: index.node_count(),
            everywhere: index.everywhere(),
            candidates_max: candidates,
            lists_max: lists,
            candidates_host: host,
            index_bytes: index.bytes(),
        };
        Ok(Rules { rules: rules.into(), index, shape })
    }

    /// The first rule whose condition holds. What it captured stays in `scratch` until the next search.
    pub fn route(&self, request: &Request, scratch: &mut Scratch) -> Option<RouteIx> {
        let found = self.search(request, scratch, |_, rule, view, decoded| rule.when.holds(view, decoded))?;
        let Scratch { host, decoded, captures, groups, .. } = scratch;
        let rule = &self.rules[found.0 as usize];
        captures.clear();
        captures.resize(rule.captures, None);
        if rule.captures > 0 {
            let slots: &mut CaptureSlots = captures;
            rule.when.capture(View::new(request, host), groups, decoded, slots);
        }
        Some(found)
    }

    /// The first candidate of which `holds` says so.
    pub(super) fn search(
        &self,
        request: &Request,
        scratch: &mut Scratch,
        mut holds: impl FnMut(RouteIx, &Rule, View, &mut Vec<u8>) -> bool,
    ) -> Option<RouteIx> {
        let Scratch { host, branches, heads, decoded, .. } = scratch;
        let view = View::new(request, host);
        let candidates = Candidates::find(&self.index, view, branches, heads).map(RouteIx);
        let mut candidates = candidates.filter(|route| holds(*route, self.rule(*route), view, decoded));
        candidates.next()
    }

    /// Candidates of one request, one in several lists counted for each, and lists.
    #[cfg(test)]
    pub(super) fn candidate_count(&self, request: &Request, scratch: &mut Scratch) -> (usize, usize) {
        let view = View::new(request, &mut scratch.host);
        let (mut candidates, mut lists) = (0, 0);
        self.index.find(view.host, view.path(), &mut scratch.branches, |list| {
            candidates += list.len();
            lists += 1;
        });
        (candidates, lists)
    }

    /// Of this table.
    pub fn rule(&self, route: RouteIx) -> &Arc<Rule> {
        &self.rules[route.0 as usize]
    }

    /// All, in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch {
            host: [0; HOST_BYTES_MAX],
            branches: Vec::new(),
            heads: BinaryHeap::new(),
            decoded: Vec::new(),
            captures: Vec::new(),
            groups: GroupSearch::default(),
            ranges: Vec::new(),
            normal: Vec::new(),
        }
    }

    /// What the rule found last has captured of the path in which it was found.
    pub fn captures<'a>(&'a self, path: NormalPath<'a>) -> Captures<'a> {
        Captures { path: path.as_bytes(), ranges: &self.captures }
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// Rules that a request could match, in order, each once.
struct Candidates<'a> {
    index: &'a Index,
    heads: &'a mut BinaryHeap<Reverse<Head>>,
    before: Option<u32>,
}

impl<'a> Candidates<'a> {
    fn find(
        index: &'a Index,
        view: View,
        branches: &mut Vec<(u32, u32)>,
        heads: &'a mut BinaryHeap<Reverse<Head>>,
    ) -> Candidates<'a> {
        heads.clear();
        index.find(view.host, view.path(), branches, |list| {
            heads.push(Reverse(Head { rule: index.rule_at(list.start), at: list.start, end: list.end }));
        });
        Candidates { index, heads, before: None }
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let mut first = self.heads.peek_mut()?;
            let Reverse(Head { rule, at, end }) = *first;
            if at + 1 < end {
                *first = Reverse(Head { rule: self.index.rule_at(at + 1), at: at + 1, end });
            } else {
                std::collections::binary_heap::PeekMut::pop(first);
            }
            // One that stands in several places comes up again directly behind itself.
            if self.before.replace(rule) != Some(rule) {
                return Some(rule);
            }
        }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::TooMany { rules } => {
                write!(f, "{rules} rules, at most {} are accepted", Rules::RULES_MAX)
            }
            TableError::TooLarge { bytes } => {
                let accepted = Rules::ANCHOR_BYTES_MAX >> 20;
                write!(f, "hosts and paths of {} MiB in all, at most {accepted} MiB are accepted", bytes >> 20)
            }
            TableError::SameId(id) => write!(f, "two rules have the id `{id}`"),
            TableError::TooManyCandidates { candidates, host } => {
                let host = host.as_deref().unwrap_or("any host");
                write!(
                    f,
                    "a request to {host} could match {candidates} rules, at most {} are accepted; rules that ask \
                     neither host nor path are the usual reason, and a list of sources or one rule with \
                     alternatives is accepted",
                    Rules::CANDIDATES_MAX
                )
            }
        }
    }
}
