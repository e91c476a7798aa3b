//! Where the rules and tests of a document stand in its files.
//!
//! Owns the way from a rule back to its line. It is beside the [`Config`](crate::Config) and no part of it: a rule that
//! moves down a line is the same rule. So it is found by what it says, and a rule that the document does not have has
//! no place in it.

use crate::document::{RuleContent, Sealed};
use crate::place::{Files, Place, Span};
use crate::trial::Case;
use policy::PoolId;
use policy::generation::ContentHash;
use std::collections::BTreeMap;

/// Of one document. Cost: 32 bytes a rule.
#[derive(Clone, Default, Debug)]
pub struct RulePlaces {
    files: Box<[String]>,
    /// Sorted by what the rule says.
    pools: BTreeMap<PoolId, Box<[(ContentHash, Spot)]>>,
    /// Tests, likewise.
    tests: Box<[(ContentHash, Spot)]>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Spot {
    /// In [`RulePlaces::files`].
    file: u16,
    line: u32,
    column: u32,
}

/// As [`RulePlaces`], before the lines are counted.
#[derive(Default)]
pub(crate) struct RuleSpans {
    pools: BTreeMap<PoolId, Vec<(ContentHash, Span)>>,
    tests: Vec<(ContentHash, Span)>,
}

impl RuleSpans {
    pub(crate) fn push(&mut self, pool: PoolId, rules: Vec<(ContentHash, Span)>) {
        self.pools.insert(pool, rules);
    }

    pub(crate) fn push_test(&mut self, test: ContentHash, span: Span) {
        self.tests.push((test, span));
    }

    /// Where a rule stands. Cost: O(rules of the pool), for whoever tells a problem.
    pub(crate) fn rule(&self, pool: &PoolId, rule: ContentHash) -> Option<Span> {
        self.pools.get(pool)?.iter().find(|(other, _)| *other == rule).map(|(_, span)| *span)
    }

    pub(crate) fn placed(self, files: &Files) -> RulePlaces {
        let spot = |(rule, span): (ContentHash, Span)| {
            let (line, column) = files.line_and_column(span);
            (rule, Spot { file: span.file.0, line, column })
        };
        let sorted = |spans: Vec<(ContentHash, Span)>| {
            let mut spots: Vec<_> = spans.into_iter().map(spot).collect();
            spots.sort_unstable();
            spots.into_boxed_slice()
        };
        let pools = self.pools.into_iter().map(|(pool, rules)| (pool, sorted(rules))).collect();
        RulePlaces { pools, tests: sorted(self.tests), files: files.names().map(str::to_owned).collect() }
    }
}

impl RulePlaces {
    /// `None`: the document does not have this rule in this pool.
    pub fn find(&self, pool: &PoolId, rule: &Sealed<RuleContent>) -> Option<Place> {
        self.place(self.pools.get(pool)?, rule.hash())
    }

    /// As [`RulePlaces::find`], of a test.
    pub fn find_test(&self, test: &Case) -> Option<Place> {
        self.place(&self.tests, test.hash())
    }

    fn place(&self, spots: &[(ContentHash, Spot)], content: ContentHash) -> Option<Place> {
        let at = spots.binary_search_by_key(&content, |(hash, _)| *hash).ok()?;
        let Spot { file, line, column } = spots[at].1;
        Some(Place { file: self.files[usize::from(file)].clone(), line, column })
    }
}
