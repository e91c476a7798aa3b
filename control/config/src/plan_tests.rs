//! The part of a plan that is about tests.
//!
//! A test is known by its name, and one without a name by what it says.

use crate::keys::Test;
use crate::place::At;
use crate::plan::{ChangeKind, Diff, Object, happenings};
use crate::trial::{self, Case, Tests};
use policy::generation::ContentHash;
use std::collections::HashMap;
use std::sync::Arc;

/// By what a test is known.
#[derive(PartialEq, Eq, Hash)]
enum Known<'t> {
    Name(&'t str),
    Content(ContentHash),
}

fn known(case: &Case) -> Known<'_> {
    case.name.as_deref().map_or(Known::Content(case.hash()), Known::Name)
}

fn by_identity(cases: &[Arc<Case>]) -> HashMap<Known<'_>, (usize, &Arc<Case>)> {
    cases.iter().enumerate().map(|(ix, case)| (known(case), (ix, case))).collect()
}

impl Diff<'_> {
    pub(crate) fn tests(&mut self, old: &Tests, new: &Tests) {
        if old == new {
            return;
        }
        let (before, after) = (by_identity(old.cases()), by_identity(new.cases()));
        for (ix, case) in old.cases().iter().enumerate() {
            match after.get(&known(case)) {
                None => {
                    self.event(None, at(ix, case), Object::Appliance, ChangeKind::Removed, happenings::TEST_REMOVED)
                }
                Some((_, new)) => case.diff(new, &mut |key, old, shown| {
                    self.key(None, &at(ix, case), Object::Appliance, key, old, shown);
                }),
            }
        }
        for (ix, case) in new.cases().iter().enumerate().filter(|(_, case)| !before.contains_key(&known(case))) {
            self.event(None, at(ix, case), Object::Appliance, ChangeKind::Added, happenings::TEST_ADDED);
        }
    }
}

fn at(ix: usize, case: &Test) -> String {
    case.name.as_deref().map_or_else(|| trial::path(ix), |name| At::ROOT.key("test").key(name).to_string())
}
