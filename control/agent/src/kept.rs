//! Generations of the past that can be gone back to.
//!
//! Owns the newest of them, each as the document that it was. They share what they have in common, so keeping one costs what
//! differs. Whoever takes one out of here drops it where dropping may take long.

use config::Config;
use policy::GenerationId;
use std::collections::VecDeque;
use std::sync::Arc;

/// The newest generations, oldest first. What runs is the last.
#[derive(Debug)]
pub struct Kept {
    generations: VecDeque<KeptGeneration>,
    keep: usize,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct KeptGeneration {
    pub number: GenerationId,
    pub config: Arc<Config>,
    /// When it came into force.
    pub since: String,
}

impl Kept {
    /// At least what runs and what ran before.
    pub fn new(keep: usize) -> Kept {
        Kept { generations: VecDeque::new(), keep: keep.max(2) }
    }

    /// Answers with those that go.
    pub fn keep(&mut self, keep: usize) -> Vec<KeptGeneration> {
        self.keep = keep.max(2);
        self.surplus()
    }

    /// As [`Kept::keep`]. Jobs on different pools may end in any order; the newest number is what runs.
    pub fn push(&mut self, generation: KeptGeneration) -> Vec<KeptGeneration> {
        self.generations.push_back(generation);
        self.surplus()
    }

    pub fn find(&self, number: u64) -> Option<&KeptGeneration> {
        self.generations.iter().rev().find(|kept| kept.number.0 == number)
    }

    /// What ran before what runs.
    pub fn previous(&self) -> Option<&KeptGeneration> {
        self.generations.iter().rev().nth(1)
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &KeptGeneration> {
        self.generations.iter().rev()
    }

    fn surplus(&mut self) -> Vec<KeptGeneration> {
        let surplus = self.generations.len().saturating_sub(self.keep);
        self.generations.drain(..surplus).collect()
    }
}
