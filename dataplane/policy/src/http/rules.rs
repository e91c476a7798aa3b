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
use super::index::{Candidate, Change, Index, Widest};
use super::list::Lists;
use super::path::NormalPath;
use super::pattern::GroupSearch;
use super::request::Request;
use super::rule::Rule;
use super::text::Captures;
use crate::tree::{Key, Tree, spread};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The compiled, immutable rules of one pool. A change makes another one, which shares what it does not touch.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Tree<Turn, Arc<Rule>>,
    pub(super) index: Index,
    /// Of all rules.
    anchor_bytes: usize,
}

/// Where a rule stands among those of its pool: lower ones are asked first. A sparse key, so that nobody moves for a
/// newcomer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Turn(pub u64);

impl Turn {
    /// Between two rules of a table that is made as a whole.
    pub const STEP: u64 = 1 << 32;

    /// Of the rule at this index of a table that is made as a whole.
    pub fn nth(ix: usize) -> Turn {
        Turn((ix as u64 + 1) * Turn::STEP)
    }
}

impl Key for Turn {
    fn cut(&self) -> u64 {
        spread(self.0)
    }
}

/// Memory of a search, used again for the next: one a shard, for the rules of all pools.
#[derive(Debug)]
pub struct Scratch {
    host: [u8; HOST_BYTES_MAX],
    pub(super) decoded: Vec<u8>,
    /// Of the rule found last.
    pub(super) captures: Vec<Option<Range<usize>>>,
    pub(super) groups: GroupSearch,
    pub(super) ranges: Vec<Option<Range<usize>>>,
    pub(super) normal: Vec<u8>,
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
        let mut ids: Vec<&Arc<str>> = rules.iter().map(|rule| &rule.id).collect();
        ids.sort();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TableError::SameId(twice[0].clone()));
        }
        Rules::at_turns(rules.into_iter().enumerate().map(|(ix, rule)| (Turn::nth(ix), rule)).collect())
    }

    /// Rules with their turns, which rise. Ids are not looked at. Cost: O(n).
    pub fn at_turns(rules: Vec<(Turn, Arc<Rule>)>) -> Result<Rules, TableError> {
        let index = Index::new(rules.iter().map(|(turn, rule)| (*turn, rule)));
        let anchor_bytes = rules.iter().map(|(_, rule)| anchor_bytes(rule)).sum();
        let table = Rules { rules: Tree::from_sorted(rules), index, anchor_bytes };
        table.within_bounds()
    }

    /// With other rules at some turns, or none any more. Ids are not looked at. `replaced` grows by the bytes of this
    /// table that the new one does not share.
    ///
    /// Cost: O(log n) for each, unless a place of the index has very many.
    pub fn with(
        &self,
        changes: impl IntoIterator<Item = (Turn, Option<Arc<Rule>>)>,
        replaced: &mut usize,
    ) -> Result<Rules, TableError> {
        let mut table = self.clone();
        for (turn, new) in changes {
            if let Some(old) = table.rules.get(&turn) {
                table.index = table.index.with(turn, old, Change::Goes, replaced);
                table.anchor_bytes -= anchor_bytes(old);
            }
            match new {
                Some(new) => {
                    table.index = table.index.with(turn, &new, Change::Comes, replaced);
                    table.anchor_bytes += anchor_bytes(&new);
                    table.rules = table.rules.insert_counting(turn, new, replaced);
                }
                None => table.rules = table.rules.remove_counting(&turn, replaced),
            }
        }
        table.within_bounds()
    }

    fn within_bounds(self) -> Result<Rules, TableError> {
        if self.rules.len() > Rules::RULES_MAX {
            return Err(TableError::TooMany { rules: self.rules.len() });
        }
        if self.anchor_bytes > Rules::ANCHOR_BYTES_MAX {
            return Err(TableError::TooLarge { bytes: self.anchor_bytes });
        }
        // What is never too low says most of the time that nothing need be counted.
        if self.index.bound() > Rules::CANDIDATES_MAX {
            let Widest { candidates, host, .. } = self.index.widest();
            if candidates > Rules::CANDIDATES_MAX {
                return Err(TableError::TooManyCandidates { candidates, host });
            }
        }
        Ok(self)
    }

    /// The first rule whose condition holds. `lists`: those that the rules name; one that is not among them holds
    /// nothing. What it captured stays in `scratch` until the next search.
    pub fn route(&self, request: &Request, lists: &Lists, scratch: &mut Scratch) -> Option<(Turn, &Arc<Rule>)> {
        let holds = |_: Turn, rule: &Rule, view: View, decoded: &mut Vec<u8>| rule.when.holds(view, decoded);
        let (turn, rule) = self.search(request, lists, scratch, holds)?;
        let Scratch { host, decoded, captures, groups, .. } = scratch;
        captures.clear();
        captures.resize(rule.captures, None);
        if rule.captures > 0 {
            let slots: &mut CaptureSlots = captures;
            rule.when.capture(View::new(request, lists, host), groups, decoded, slots);
        }
        Some((turn, rule))
    }

    /// The first candidate of which `holds` says so.
    pub(super) fn search(
        &self,
        request: &Request,
        lists: &Lists,
        scratch: &mut Scratch,
        mut holds: impl FnMut(Turn, &Rule, View, &mut Vec<u8>) -> bool,
    ) -> Option<(Turn, &Arc<Rule>)> {
        let Scratch { host, decoded, .. } = scratch;
        let view = View::new(request, lists, host);
        let mut candidates = Candidates::find(&self.index, view);
        candidates.find(|(turn, rule)| holds(*turn, rule, view, decoded))
    }

    /// Candidates of one request, one in several lists counted for each, and lists.
    #[cfg(test)]
    pub(super) fn candidate_count(&self, request: &Request, scratch: &mut Scratch) -> (usize, usize) {
        let view = View::new(request, Lists::NONE, &mut scratch.host);
        let (mut candidates, mut lists) = (0, 0);
        self.index.find(view.host, view.path(), &mut |list| {
            candidates += list.len();
            lists += 1;
        });
        (candidates, lists)
    }

    /// `None`: nobody has this turn.
    pub fn rule(&self, turn: Turn) -> Option<&Arc<Rule>> {
        self.rules.get(&turn)
    }

    /// All, in order.
    pub fn rules(&self) -> &Tree<Turn, Arc<Rule>> {
        &self.rules
    }

    /// How many stand before it.
    pub fn place(&self, turn: Turn) -> usize {
        self.rules.rank(&turn)
    }

    /// Heap bytes of the index and of the order, the rules themselves not counted.
    pub fn bytes(&self) -> usize {
        const PER_RULE: usize = 32;
        self.index.bytes() + self.rules.len() * PER_RULE
    }

    /// Whether a request can meet so many that an operator should know.
    pub fn has_many_candidates(&self) -> bool {
        self.index.bound() > Rules::CANDIDATES_MANY && self.index.widest().candidates > Rules::CANDIDATES_MANY
    }

    /// Cost: O(hosts).
    pub fn shape(&self) -> Shape {
        let Widest { candidates, lists, host } = self.index.widest();
        Shape {
            rules: self.rules.len(),
            hosts: self.index.host_count(),
            nodes: self.index.node_count(),
            everywhere: self.index.everywhere(),
            candidates_max: candidates,
            lists_max: lists,
            candidates_host: host,
            index_bytes: self.index.bytes(),
        }
    }
}

fn anchor_bytes(rule: &Rule) -> usize {
    rule.anchors.iter().map(Anchor::bytes).sum()
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch {
            host: [0; HOST_BYTES_MAX],
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

/// Lists that are merged without taking memory for it. A path has more only by names and prefixes at many levels at once.
const LISTS_AT_HAND: usize = 16;

/// Rules that a request could match, in order, each once.
struct Candidates<'a> {
    /// What is left of each, the one that comes next last. None is empty.
    lists: SmallVec<[&'a [Candidate]; LISTS_AT_HAND]>,
    before: Option<Turn>,
}

impl<'a> Candidates<'a> {
    fn find(index: &'a Index, view: View) -> Candidates<'a> {
        let mut lists = SmallVec::new();
        index.find(view.host, view.path(), &mut |list| lists.push(list));
        lists.sort_unstable_by(|one: &&[Candidate], other| other[0].0.cmp(&one[0].0));
        Candidates { lists, before: None }
    }
}

impl<'a> Iterator for Candidates<'a> {
    type Item = (Turn, &'a Arc<Rule>);

    fn next(&mut self) -> Option<(Turn, &'a Arc<Rule>)> {
        loop {
            let [(turn, rule), rest @ ..] = self.lists.pop()? else { unreachable!("none is empty") };
            if let Some((next, _)) = rest.first() {
                let place = self.lists.partition_point(|list| list[0].0 > *next);
                self.lists.insert(place, rest);
            }
            // One that stands in several places comes up again directly behind itself.
            if self.before.replace(*turn) != Some(*turn) {
                return Some((*turn, rule));
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
