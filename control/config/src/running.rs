//! What runs: the configuration in force and what was compiled of it.
//!
//! A value: [`Running::after`] makes the next one when a job is applied. Jobs that touch different pools
//! may end in any order, so a job brings only what it touched.

use crate::compile::Compiled;
use crate::document::{Config, Digested, Document, Lists, Pool, Sealed};
use policy::generation::{Address, Group, Listen, PoolGeneration, Service};
use policy::http::Rule;
use policy::tree::{self, Difference, Tree};
use policy::{GenerationId, GroupSlot, PoolId};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Running {
    pub config: Arc<Config>,
    /// The newest generation. `None`: nothing has been applied since the start.
    pub generation: Option<GenerationId>,
    pub pools: Tree<PoolId, RunningPool>,
    /// What each address means.
    pub listeners: Tree<Address, Listen>,
}

#[derive(Clone, Debug)]
pub struct RunningPool {
    pub content: Arc<Pool>,
    pub generation: Arc<PoolGeneration>,
    pub(crate) group_slots: Tree<Arc<str>, GroupSlot>,
}

impl RunningPool {
    /// By its id.
    pub fn group(&self, id: &str) -> Option<&Arc<Group>> {
        self.generation.group(*self.group_slots.get(id)?)
    }

    /// By its id.
    pub fn rule(&self, id: &str) -> Option<&Arc<Rule>> {
        let (Some(content), Service::Http(service)) = (&self.content.http, &self.generation.service) else {
            return None;
        };
        service.rules.rule(content.rules.find(id)?.0)
    }
}

impl Running {
    /// Before the first job: the process settings of the document that it was started with, and no pool.
    pub fn at_start(config: &Config) -> Running {
        Running::without_pools(config, config.lists.clone())
    }

    /// Neither pool nor list.
    pub(crate) fn nothing(config: &Config) -> Running {
        Running::without_pools(config, Lists::new())
    }

    fn without_pools(config: &Config, lists: Lists) -> Running {
        let Document { appliance, reload, access_log, event_log, lists: _, pools: _, tests: _ } = (**config).clone();
        let config = Arc::new(Sealed::new(Document {
            appliance,
            reload,
            access_log,
            event_log,
            lists,
            pools: Tree::new(),
            tests: Arc::default(),
        }));
        Running { config, generation: None, pools: Tree::new(), listeners: Tree::new() }
    }

    /// After the job was committed. What it did not touch stays, whatever else was applied since it was compiled.
    pub fn after(&self, compiled: &Compiled) -> Running {
        let mut pools = self.pools.clone();
        let mut documents = self.config.pools.clone();
        for (id, pool) in &compiled.pools {
            match pool {
                Some(pool) => {
                    documents = documents.insert(id.clone(), pool.content.clone());
                    pools = pools.insert(id.clone(), pool.clone());
                }
                None => {
                    documents = documents.remove(id);
                    pools = pools.remove(id);
                }
            }
        }
        let mut listeners = self.listeners.clone();
        for (address, _) in &compiled.left {
            listeners = listeners.remove(address);
        }
        for (address, listen) in &compiled.listeners {
            listeners = listeners.insert(address.clone(), listen.clone());
        }
        let generation = self.generation.max(Some(compiled.job.into()));
        Running { config: self.config_after(compiled, documents), generation, pools, listeners }
    }

    /// Exactly these pools: for a control that finds that shards run something older than it was told.
    pub fn falling_back(
        &self,
        generation: Option<GenerationId>,
        pools: Tree<PoolId, RunningPool>,
        listeners: Tree<Address, Listen>,
    ) -> Running {
        let mut document = (**self.config).clone();
        document.pools = Tree::from_sorted(pools.iter().map(|(id, pool)| (id.clone(), pool.content.clone())));
        Running { config: Arc::new(Sealed::new(document)), generation, pools, listeners }
    }

    fn config_after(&self, compiled: &Compiled, pools: Tree<PoolId, Arc<Pool>, Digested>) -> Arc<Config> {
        if self.config.hash() == compiled.from.hash() {
            return compiled.to.clone();
        }
        let (mine, from, to) = (&self.config, &compiled.from, &compiled.to);
        Arc::new(Sealed::new(Document {
            appliance: changed(&mine.appliance, &from.appliance, &to.appliance),
            reload: changed(&mine.reload, &from.reload, &to.reload),
            access_log: changed(&mine.access_log, &from.access_log, &to.access_log),
            event_log: changed(&mine.event_log, &from.event_log, &to.event_log),
            lists: changed_one_by_one(&mine.lists, &from.lists, &to.lists),
            pools,
            tests: changed(&mine.tests, &from.tests, &to.tests),
        }))
    }
}

/// As [`changed`], for each name.
fn changed_one_by_one(mine: &Lists, from: &Lists, to: &Lists) -> Lists {
    let mut lists = mine.clone();
    for difference in tree::diff(from, to) {
        lists = match difference {
            Difference::Removed { key, .. } => lists.remove(key),
            Difference::Added { key, new } => lists.insert(key.clone(), new.clone()),
            Difference::Changed { old, new, .. } if old.hash() == new.hash() => continue,
            Difference::Changed { key, new, .. } => lists.insert(key.clone(), new.clone()),
        };
    }
    lists
}

/// `to` if the job changed it, else what runs.
fn changed<T: Clone + PartialEq>(mine: &T, from: &T, to: &T) -> T {
    if from == to { mine.clone() } else { to.clone() }
}
