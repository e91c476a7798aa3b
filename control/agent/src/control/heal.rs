//! What runs of a pool turned out to be something else than its document says: a defect of ours, and not for long.
//!
//! Owns which pools the next job compiles from nothing. The first such job is one of its own, which nobody asked for; any
//! that comes before it does the same. A pool that still differs then is told again and left: from what is compiled from
//! nothing no third attempt comes to anything else, so there is at most one for each content of a pool.

use super::*;
use crate::ask::{Ask, Edits, What};
use crate::clock;
use crate::event_log::Level;
use crate::job::View;
use crate::self_check::Differs;
use api::receipt::Source;
use policy::PoolId;
use policy::generation::ContentHash;
use tokio::sync::watch;

/// What there is to heal, and what was tried.
#[derive(Debug, Default)]
pub(super) struct Healing {
    /// To be compiled from nothing, and put in force whatever the document says.
    afresh: BTreeSet<PoolId>,
    /// The content of each pool for which that was tried last.
    tried: BTreeMap<PoolId, ContentHash>,
}

impl Control {
    pub(super) fn on_differs(&mut self, differs: Differs) {
        let Differs { pool: id, part, generation, runs, says } = differs;
        self.shared.events.publish(Happening::Miscompiled {
            pool: id.to_string(),
            generation: generation.0,
            runs: runs.to_string(),
            says: says.to_string(),
        });
        let running = |pool: &&RunningPool| pool.generation.part == part;
        // What has come since will be looked at by itself.
        let Some(pool) = self.running.pools.get(&id).filter(running) else { return };
        let content = pool.content.hash();
        if self.stop_by.is_some() {
            return;
        }
        self.healing.tried.retain(|id, _| self.running.pools.get(id).is_some());
        if self.healing.tried.insert(id.clone(), content) == Some(content) {
            let text = format!("pool {id}: it was compiled from nothing and differs again; it stays as it is");
            return self.shared.events.log().say(Level::Error, &text);
        }
        self.healing.afresh.insert(id);
        let (voice, _) = watch::channel(View::default());
        let what = What::Edits(Edits::default());
        let ask = Ask { author: None, source: Source::SelfCheck, order: None, if_generation: None, what };
        self.submit(Wish { ask, voice, submitted: clock::wall(), check: Duration::ZERO });
    }

    /// Pools that whatever comes next compiles from nothing.
    pub(super) fn to_heal(&self) -> impl Iterator<Item = &PoolId> {
        self.healing.afresh.iter()
    }

    /// What runs is other than before: pools that are not what they were are healed, or gone.
    pub(super) fn healed(&mut self, before: &Running) {
        let part = |running: &Running, id: &PoolId| running.pools.get(id).map(|pool| pool.generation.part);
        let running = &self.running;
        self.healing.afresh.retain(|id| part(running, id).is_some_and(|now| part(before, id) == Some(now)));
    }
}
