//! Rules that can never match, because others before them match all that they do.
//!
//! Owns a proof, not a guess: whatever is reported is so. What is not reported may still be so where it is not decided:
//!
//! - several earlier rules that cover a rule only together,
//! - a regular expression within another that is not the same text; one within a prefix is decided as far as it
//!   begins with a literal,
//! - a template within a regular expression, a prefix within either,
//! - lists, whose content changes without the rules: the same list covers itself, and nothing else is known of one,
//! - alternatives against alternatives where [`STEPS_MAX`] is not enough, rules behind more than [`PAIRS_MAX`] others at
//!   their place: [`Shadows::undecided`] counts both.

use super::condition::{Condition, HostTest, PathTest, ValueTest, is_below};
use super::list::Lists;
use super::rule::Rule;
use super::rules::{Rules, Turn};
use super::template::{Segment, Template};

/// What `check` warns of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shadows {
    /// In order.
    pub never: Vec<Never>,
    /// Rules of which a bound ended the search, with nothing found until then.
    pub undecided: usize,
}

/// A rule that no request meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Never {
    pub rule: Turn,
    /// The first before it that matches whatever it matches. `None`: its condition contradicts itself.
    pub behind: Option<Turn>,
}

/// Earlier rules that one rule is held against.
pub const PAIRS_MAX: usize = 1_000;

/// Pairs of conditions that are looked at for one pair of rules.
pub const STEPS_MAX: u32 = 10_000;

impl Rules {
    /// Cost: O(rules × earlier rules at their place), each bounded. Off the shards.
    pub fn shadows(&self) -> Shadows {
        let mut shadows = Shadows::default();
        for (turn, rule) in self.rules() {
            match self.shadow_over(*turn, rule) {
                Shadow::Never(never) => shadows.never.push(never),
                Shadow::Undecided => shadows.undecided += 1,
                Shadow::None => {}
            }
        }
        shadows
    }

    /// Whether the rule of this turn can match at all. Cost: O(earlier rules at its place), bounded.
    pub fn shadow_over(&self, turn: Turn, rule: &Rule) -> Shadow {
        let mut proof = Proof::default();
        if rule.anchors.is_empty() || proof.contradicts(&rule.when) {
            return Shadow::Never(Never { rule: turn, behind: None });
        }
        let mut earlier = Vec::new();
        self.index.above(&rule.anchors[0], |list| {
            earlier.extend(list.iter().take_while(|(other, _)| *other < turn));
        });
        earlier.sort_unstable_by_key(|(other, _)| *other);
        earlier.dedup_by_key(|(other, _)| *other);
        let mut bounded = earlier.len() > PAIRS_MAX || proof.steps >= STEPS_MAX;
        let behind = earlier.into_iter().take(PAIRS_MAX).find(|(_, other)| {
            let mut proof = Proof::default();
            let covers = proof.implies(&rule.when, &other.when);
            bounded |= !covers && proof.steps >= STEPS_MAX;
            covers
        });
        match behind {
            Some((other, _)) => Shadow::Never(Never { rule: turn, behind: Some(*other) }),
            None if bounded => Shadow::Undecided,
            None => Shadow::None,
        }
    }
}

/// What became of one search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shadow {
    Never(Never),
    /// A bound ended it.
    Undecided,
    /// It is not known that it never matches.
    None,
}

/// One attempt, and how far it went.
#[derive(Default)]
struct Proof {
    steps: u32,
}

impl Proof {
    fn goes_on(&mut self) -> bool {
        self.steps += 1;
        self.steps < STEPS_MAX
    }

    /// Whatever `one` holds for, `other` holds for. `false`: not known to.
    fn implies(&mut self, one: &Condition, other: &Condition) -> bool {
        use Condition::*;
        if !self.goes_on() {
            return false;
        }
        match (one, other) {
            (_, All(others)) => others.iter().all(|other| self.implies(one, other)),
            (Any(ones), _) => ones.iter().all(|one| self.implies(one, other)),
            (_, Not(not)) => self.excludes(one, not),
            (_, Any(others)) if others.iter().any(|other| self.implies(one, other)) => true,
            (All(ones), _) => ones.iter().any(|one| self.implies(one, other)),
            (Not(not), _) => matches!(&**not, Not(one) if self.implies(one, other)),
            (Host(one), Host(other)) => host_implies(one, other),
            (Path(one), Path(other)) => path_implies(one, other),
            (Method(one), Method(other)) => other.covers(one),
            (Header(one), Header(other)) | (Query(one), Query(other)) => {
                one.name == other.name && value_implies(&one.value, &other.value)
            }
            (Source(one), Source(other)) => other.covers(one),
            (HostList(one), HostList(other)) => one.slot == other.slot,
            _ => false,
        }
    }

    /// Nothing holds for both. `false`: not known.
    fn excludes(&mut self, one: &Condition, other: &Condition) -> bool {
        use Condition::*;
        if !self.goes_on() {
            return false;
        }
        match (one, other) {
            (Any(ones), _) => ones.iter().all(|one| self.excludes(one, other)),
            (_, Any(others)) => others.iter().all(|other| self.excludes(one, other)),
            (Not(not), _) if self.implies(other, not) => true,
            (_, Not(not)) if self.implies(one, not) => true,
            (All(ones), _) if ones.iter().any(|one| self.excludes(one, other)) => true,
            (_, All(others)) => others.iter().any(|other| self.excludes(one, other)),
            (Host(one), Host(other)) => host_excludes(one, other),
            (Path(one), Path(other)) => path_excludes(one, other),
            (Method(one), Method(other)) => one.is_apart_from(other),
            (Header(one), Header(other)) | (Query(one), Query(other)) => {
                let absent = |value: &ValueTest| matches!(value, ValueTest::Absent);
                one.name == other.name && absent(&one.value) != absent(&other.value)
            }
            (Source(one), Source(other)) => one.is_apart_from(other),
            _ => false,
        }
    }

    /// Two things that must hold together exclude each other.
    fn contradicts(&mut self, condition: &Condition) -> bool {
        match condition {
            Condition::All(all) => {
                let pair = |(at, one): (usize, &Condition)| all[at + 1..].iter().any(|other| self.excludes(one, other));
                all.iter().enumerate().any(pair) || all.iter().any(|one| self.contradicts(one))
            }
            Condition::Any(any) => any.iter().all(|one| self.contradicts(one)),
            _ => false,
        }
    }
}

fn host_implies(one: &HostTest, other: &HostTest) -> bool {
    match (one, other) {
        (HostTest::Exact(host), other) => other.holds(host.as_bytes()),
        (HostTest::Below(one), HostTest::Below(other)) => one.ends_with(&**other),
        (HostTest::Below(_), HostTest::Exact(_)) => false,
    }
}

fn host_excludes(one: &HostTest, other: &HostTest) -> bool {
    match (one, other) {
        (HostTest::Exact(host), other) | (other, HostTest::Exact(host)) => !other.holds(host.as_bytes()),
        (HostTest::Below(one), HostTest::Below(other)) => !one.ends_with(&**other) && !other.ends_with(&**one),
    }
}

fn path_implies(one: &PathTest, other: &PathTest) -> bool {
    match (one, other) {
        (PathTest::Exact(path), other) => other.holds(path),
        (PathTest::Prefix(one), PathTest::Prefix(other)) => is_below(one, other),
        (PathTest::Template(one, _), PathTest::Prefix(other)) => is_below(&literal_start(one), other),
        (PathTest::Template(one, _), PathTest::Template(other, _)) => template_implies(one, other),
        (PathTest::Regex(one, _), PathTest::Regex(other, _)) => one.as_str() == other.as_str(),
        // Only what stands before the last slash are whole segments.
        (PathTest::Regex(one, _), PathTest::Prefix(other)) => {
            let slash = one.start().iter().rposition(|byte| *byte == b'/');
            other.is_empty() || slash.is_some_and(|slash| is_below(&one.start()[..slash], other))
        }
        (PathTest::Prefix(_), PathTest::Exact(_) | PathTest::Template(..) | PathTest::Regex(..)) => false,
        (PathTest::Template(..), PathTest::Exact(_) | PathTest::Regex(..)) => false,
        (PathTest::Regex(..), PathTest::Exact(_) | PathTest::Template(..)) => false,
    }
}

fn path_excludes(one: &PathTest, other: &PathTest) -> bool {
    match (one, other) {
        (PathTest::Exact(path), other) | (other, PathTest::Exact(path)) => !other.holds(path),
        (PathTest::Prefix(one), PathTest::Prefix(other)) => !is_below(one, other) && !is_below(other, one),
        _ => false,
    }
}

/// Literal segments before the first name, as a path.
fn literal_start(template: &Template) -> Vec<u8> {
    let literals = template.segments().iter().map_while(|segment| match segment {
        Segment::Literal(bytes) => Some(bytes),
        Segment::Name(_) => None,
    });
    literals.flat_map(|bytes| [b"/", &**bytes].concat()).collect()
}

fn template_implies(one: &Template, other: &Template) -> bool {
    let (ones, others) = (one.segments(), other.segments());
    let covers = |(one, other): (&Segment, &Segment)| match (one, other) {
        (Segment::Literal(one), Segment::Literal(other)) => one == other,
        (Segment::Literal(one), Segment::Name(_)) => !one.is_empty(),
        (Segment::Name(_), Segment::Name(_)) => true,
        (Segment::Name(_), Segment::Literal(_)) => false,
    };
    let each = ones.iter().zip(others).all(covers);
    match (one.has_rest(), other.has_rest()) {
        (rest, true) => {
            // What goes on behind the other's last segment is not empty: a name, a rest, or a literal that is not.
            let beyond = ones.get(others.len());
            let goes_on = beyond.map_or(rest && ones.len() == others.len(), |segment| {
                *segment != Segment::Literal([].into()) || ones.len() > others.len() + 1
            });
            each && ones.len() >= others.len() && goes_on
        }
        (false, false) => each && ones.len() == others.len(),
        (true, false) => false,
    }
}

fn value_implies(one: &ValueTest, other: &ValueTest) -> bool {
    match (one, other) {
        (ValueTest::Absent, other) => matches!(other, ValueTest::Absent),
        (_, ValueTest::Present) => true,
        (ValueTest::Listed(one, _), ValueTest::Listed(other, _)) => one == other,
        (ValueTest::Listed(..), _) | (_, ValueTest::Listed(..)) => false,
        (ValueTest::Equals(value), other) => other.holds_for(value, Lists::NONE),
        (ValueTest::Prefix(one), ValueTest::Prefix(other)) => one.starts_with(other),
        (ValueTest::Present, ValueTest::Prefix(other)) => other.is_empty(),
        (ValueTest::Regex(one), ValueTest::Regex(other)) => one.as_str() == other.as_str(),
        (ValueTest::Present | ValueTest::Prefix(_) | ValueTest::Regex(_), _) => false,
    }
}
