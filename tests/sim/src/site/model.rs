//! What the appliance should run, computed from nothing but what submitters said and were told.
//!
//! Owns the history of documents: each is made of the one before by the orders that were called applied, one after the
//! other, with `config` alone. It shares no object with the appliance, so what it compares is content.

use super::wishes::{Meant, Merged};
use config::{Config, DriftWord, NoFiles, Surroundings};
use policy::PoolId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What ran at some time, or would have run between two orders of one generation.
#[derive(Clone)]
pub struct State {
    pub generation: u64,
    pub config: Arc<Config>,
    pub base: Arc<Config>,
    /// It ran; else it is a step on the way.
    pub is_whole: bool,
}

pub struct Model {
    /// Of this process, oldest first. Never empty.
    pub states: Vec<State>,
    /// All that ever ran.
    pub generations: BTreeMap<u64, Arc<Config>>,
    /// The last job that changed each pool.
    changed: BTreeMap<PoolId, u64>,
    shards: usize,
}

/// An ask, with all that was looked up when it was read.
#[derive(Clone)]
pub enum Ask {
    Edits(Vec<config::Edit>),
    Document { config: Arc<Config>, is_merged: bool },
    Invalid,
    Back { config: Arc<Config> },
}

impl Model {
    pub fn new(shards: usize) -> Model {
        Model { states: Vec::new(), generations: BTreeMap::new(), changed: BTreeMap::new(), shards }
    }

    pub fn parse(&self, text: &str) -> Option<Arc<Config>> {
        let around = Surroundings { source: &NoFiles, variables: &|_| None, shards_auto: self.shards };
        config::parse(Path::new("document"), text.as_bytes(), &around).ok().map(|parsed| Arc::new(parsed.config))
    }

    pub fn now(&self) -> &State {
        self.states.last().expect("something runs")
    }

    /// What this means when it is read now. `before`: the generation that ran before. `None`: there is no such generation.
    pub fn read(&self, meant: &Meant, before: Option<u64>) -> Option<Ask> {
        Some(match meant {
            Meant::Edits(edits) => Ask::Edits(edits.clone()),
            Meant::Document { text, is_merged } => {
                let is_merged = match is_merged {
                    Merged::Yes => true,
                    Merged::No => false,
                    Merged::AsItRuns => self.now().config.reload.drift == DriftWord::Keep,
                };
                self.parse(text).map_or(Ask::Invalid, |config| Ask::Document { config, is_merged })
            }
            Meant::Back { to } => {
                let to = to.or(before)?;
                Ask::Back { config: Arc::clone(self.generations.get(&to)?) }
            }
        })
    }

    /// What an ask makes of a state. `job`: pools that a later one has changed are not its, if that is what has come out.
    pub fn make(&self, on: &State, ask: &Ask, job: u64, actual: Option<&Config>) -> Result<State, String> {
        let told = |problems: config::Problems| problems.to_string();
        let (config, base) = match ask {
            Ask::Invalid => return Err("it is no document".into()),
            Ask::Edits(edits) => {
                let edited = on.config.edit(edits, self.shards).map_err(told)?;
                (edited.config, Arc::clone(&on.base))
            }
            Ask::Document { config, is_merged: false } => (self.taken(on, config, job, actual)?, Arc::clone(config)),
            Ask::Document { config, is_merged: true } => {
                let merged = config::merge(&on.base, &on.config, config, self.shards).map_err(told)?;
                (self.taken(on, &merged, job, actual)?, Arc::clone(config))
            }
            Ask::Back { config } => (self.taken(on, config, job, actual)?, Arc::clone(&on.base)),
        };
        let needs_restart = config::diff(&on.config, &config).live().is_none() && config.hash() != on.config.hash();
        if needs_restart {
            return Err("it cannot be made live".into());
        }
        Ok(State { generation: on.generation, config: Arc::new(config), base, is_whole: false })
    }

    fn taken(&self, on: &State, wanted: &Config, job: u64, actual: Option<&Config>) -> Result<Config, String> {
        let all = on.config.pools.keys().chain(wanted.pools.keys()).cloned();
        let is_later = |pool: &PoolId| {
            let hash = |config: &Config| config.pools.get(pool).map(|pool| pool.hash());
            let stays = actual.is_some_and(|actual| hash(actual) == hash(&on.config));
            stays && self.changed.get(pool).is_some_and(|by| *by > job)
        };
        let pools: BTreeSet<PoolId> = all.filter(|pool| !is_later(pool)).collect();
        on.config.taking(wanted, &pools).map_err(|problems| problems.to_string())
    }

    /// The first state of a process, made of what was found or of the document.
    pub fn begin(&mut self, generation: u64, config: Arc<Config>, base: Arc<Config>) {
        self.changed.clear();
        self.states.clear();
        // Nobody was told of these.
        self.generations.retain(|number, _| *number < generation);
        self.push(State { generation, config, base, is_whole: true });
    }

    pub fn push(&mut self, state: State) {
        if state.is_whole {
            self.generations.insert(state.generation, Arc::clone(&state.config));
        }
        self.states.push(state);
    }

    /// The job has made one of the other.
    pub fn changes(&mut self, from: &Config, to: &Config, job: u64) {
        let pools: BTreeSet<PoolId> = from.pools.keys().chain(to.pools.keys()).cloned().collect();
        for pool in pools {
            let hash = |config: &Config| config.pools.get(&pool).map(|pool| pool.hash());
            if hash(from) != hash(to) {
                self.changed.insert(pool, job);
            }
        }
    }
}
