//! The generations that a new segment tells again, so that they can still be gone back to after it.
//!
//! Owns what was written of each of them and how much of it is kept: the oldest is told as a document, the later ones as
//! they were told before. Knows nothing of files.

use super::entry::Written;
use api::status::ConfigSource;
use config::Config;
use journal::Hash;
use std::collections::VecDeque;
use std::sync::Arc;

/// Records that are kept. Unit: bytes.
const BYTES_MAX: usize = 4 << 20;

/// Generations behind the first that have to be written out, which costs what their size costs.
const WHOLES_MAX: usize = 3;

/// One generation.
#[derive(Clone, Debug)]
pub struct Step {
    pub generation: u64,
    pub since: String,
    pub source: ConfigSource,
    pub config: Arc<Config>,
    pub made: Made,
}

/// How it can be told again.
#[derive(Clone, Debug)]
pub enum Made {
    /// As it was: the record, and the blobs that it names.
    Again { record: Vec<u8>, blobs: Vec<Hash> },
    /// Written out.
    Whole,
}

impl Made {
    pub fn again(record: &Written, blobs: Vec<Hash>) -> Made {
        Made::Again { record: record.payload.clone(), blobs }
    }
}

/// Ascending, without gaps.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    steps: VecDeque<Step>,
    bytes: usize,
    wholes: usize,
}

impl Trail {
    /// `keep`: generations at most.
    pub fn push(&mut self, step: Step, keep: usize) {
        let (bytes, wholes) = weight(&step);
        (self.bytes, self.wholes) = (self.bytes + bytes, self.wholes + wholes);
        self.steps.push_back(step);
        while self.steps.len() > keep.max(1) || self.bytes > BYTES_MAX || self.wholes > WHOLES_MAX + 1 {
            let Some((bytes, wholes)) = self.steps.pop_front().as_ref().map(weight) else { break };
            (self.bytes, self.wholes) = (self.bytes - bytes, self.wholes - wholes);
        }
    }

    pub fn newest(&self) -> Option<u64> {
        self.steps.back().map(|step| step.generation)
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }
}

fn weight(step: &Step) -> (usize, usize) {
    match &step.made {
        Made::Again { record, blobs } => (record.len() + size_of_val(&blobs[..]), 0),
        Made::Whole => (0, 1),
    }
}
