//! Mistakes of the compilation by differences, to show that they are found.
//!
//! Each variant is a small wrong turn in the real code, as in `policy::reload::planted`. Without the cargo feature `planted`,
//! which the appliance never enables, [`is`] is the constant `false`; with it, nothing differs until a thread plants one.

/// One wrong turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// A backend that says otherwise stays what it was.
    EndpointKept,
    /// A rule that goes is asked on.
    RuleAskedOn,
    /// A list whose entries change stays what it was.
    ListAsBefore,
    /// Every backend weighs one, however it is compiled: what compiling from nothing does not heal.
    WeightLost,
}

#[cfg(any(test, feature = "planted"))]
impl Mistake {
    /// Those that compiling from nothing does not make.
    pub const OF_DIFFERENCES: [Mistake; 3] = [Mistake::EndpointKept, Mistake::RuleAskedOn, Mistake::ListAsBefore];
}

#[cfg(any(test, feature = "planted"))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mistake>> = const { std::cell::Cell::new(None) };
}

/// Plants one mistake, or none, in what this thread compiles from now on.
#[cfg(any(test, feature = "planted"))]
pub fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}

#[cfg(any(test, feature = "planted"))]
pub(crate) fn is(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn is(_: Mistake) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Afresh, Config, NoFiles, Running, Slots, Surroundings, compile, diff, recompile};
    use policy::{JobId, PoolId, ShardSet};
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;

    const SITE: &str = "[list.l]\nentries = ['10.0.0.0/8']\n\
        [pool.web.create]\nservice = 'http'\nlisten = ['127.0.0.1:8']\n\
        [[pool.web.rule]]\nid = 'gone'\npath = '/x'\ndeny = 403\n\
        [[pool.web.rule]]\nid = 'listed'\nsource = 'l'\ndeny = 403\n\
        [[pool.web.rule]]\nid = 'rest'\ngroup = 'main'\n\
        [pool.web.group.main]\nbackend = [{ id = 'a', address = '127.0.0.1:9' }]\n";

    fn config(text: &str) -> Arc<Config> {
        let around = Surroundings { source: &NoFiles, variables: &|_| None, shards_auto: 1 };
        Arc::new(crate::parse(Path::new("site.toml"), text.as_bytes(), &around).expect("it is in order").config)
    }

    /// Without the rule, with another weight and another entry: something for each mistake.
    fn changed() -> Arc<Config> {
        let text = SITE.replace("[[pool.web.rule]]\nid = 'gone'\npath = '/x'\ndeny = 403\n", "");
        config(&text.replace("127.0.0.1:9'", "127.0.0.1:9', weight = 7").replace("10.0.0.0/8", "10.0.0.0/9"))
    }

    struct Site {
        running: Running,
        slots: Slots,
        afresh: Afresh,
    }

    impl Site {
        fn new() -> Site {
            let first = config(SITE);
            let afresh = Afresh::new(&first, ShardSet::first(1));
            let mut site = Site { running: Running::at_start(&first), slots: Slots::default(), afresh };
            site.apply(1, &first, &BTreeSet::new());
            site
        }

        fn apply(&mut self, job: u64, new: &Arc<Config>, afresh: &BTreeSet<PoolId>) {
            let live = diff(&self.running.config, new).live().expect("no restart is needed");
            let (job, shards) = (JobId(job), ShardSet::first(1));
            let compiled = match afresh.is_empty() {
                true => compile(&self.running, new, live, job, shards, &mut self.slots),
                false => recompile(&self.running, new, live, job, shards, &mut self.slots, afresh),
            };
            compiled.applied(&mut self.slots);
            self.running = self.running.after(&compiled);
        }

        fn is_as_it_says(&self) -> bool {
            let web = self.running.config.pools.values().next().expect("there is one");
            self.running.meaning(&web.id) == Some(self.afresh.meaning(web))
        }
    }

    #[test]
    fn what_is_right_is_as_it_says() {
        let mut site = Site::new();
        assert!(site.is_as_it_says());
        site.apply(2, &changed(), &BTreeSet::new());
        assert!(site.is_as_it_says());
    }

    #[test]
    fn every_mistake_is_found_and_healed() {
        for mistake in Mistake::OF_DIFFERENCES {
            let mut site = Site::new();
            plant(Some(mistake));
            site.apply(2, &changed(), &BTreeSet::new());
            // What is compiled from nothing makes none of them.
            assert!(!site.is_as_it_says(), "{mistake:?}");
            site.apply(3, &changed(), &BTreeSet::from([PoolId::new("web")]));
            assert!(site.is_as_it_says(), "{mistake:?}");
            plant(None);
        }
    }
}
