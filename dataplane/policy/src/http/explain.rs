//! Why a request meets the rule that it meets.
//!
//! Owns the account of one search. It goes the way that [`Rules::route`] goes, over the same candidates, and takes memory
//! for what it says: for operators, not for traffic.

use super::list::Lists;
use super::request::Request;
use super::rules::{Rules, Scratch, Turn};
use std::fmt;
use std::sync::Arc;

/// One rule that was looked at. Rules that are not among the steps were left out by the index: their host or
/// path is another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub turn: Turn,
    pub id: Arc<str>,
    pub finding: Finding,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    Matched,
    /// The part of its condition that does not hold, as the operator reads it.
    Failed {
        condition: String,
    },
}

impl Rules {
    /// The candidates in order, up to the one that matches. At most [`Rules::CANDIDATES_MAX`].
    pub fn explain(&self, request: &Request, lists: &Lists) -> Vec<Step> {
        let mut steps = Vec::new();
        self.search(request, lists, &mut Scratch::new(), |turn, rule, view, decoded| {
            let holds = rule.when.holds(view, decoded);
            let finding = match holds {
                true => Finding::Matched,
                false => Finding::Failed { condition: rule.when.to_blame(view, decoded).to_string() },
            };
            steps.push(Step { turn, id: rule.id.clone(), finding });
            holds
        });
        steps
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::Matched => write!(f, "{}: matches", self.id),
            Finding::Failed { condition } => write!(f, "{}: fails {condition}", self.id),
        }
    }
}
