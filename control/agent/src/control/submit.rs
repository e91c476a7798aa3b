//! A submission becomes a job and comes to the shards.

use super::*;
use crate::ask::{Ask, Edits, What};
use crate::build::{Build, BuildTimes, Built, Fate, Refused, Step, conflict};
use crate::clock;
use crate::compile::Bound;
use crate::job::{Hold, Verdict, View};
use crate::probe::Watch;
use api::answer::{Failure, Progress};
use api::receipt::Source;
use api::{ErrorCode, Stage};
use config::{Compiled, Concerned, Config, Edit, PatchStep};
use policy::PoolId;
use policy::reload::Touches;
use policy::reload::rollout::{Admission, Obstacle};
use policy::tree::{self, Difference};
use tokio::sync::watch;

/// How long a change waits for the first answer about the names of its new backends. Without one it goes on,
/// and the backend gets connections when its name is resolved.
const RESOLVE_WAIT: Duration = Duration::from_secs(2);

/// In the place of a pool's name: all that belongs to no pool. So jobs that change it stand in one line, as those do that
/// change one pool. No pool has this name.
pub const SETTINGS: &str = "";

impl Control {
    pub(super) fn submit(&mut self, wish: Wish) {
        let now = self.now();
        let id = JobId(self.next_job);
        self.next_job += 1;
        // The time that reading took is the job's as well.
        let deadline = now.after(self.running.config.reload.job_timeout.saturating_sub(wish.check));
        let mut job = Job::new(id, wish, deadline, self.running.generation);
        self.shared.events.publish(Happening::JobSubmitted { job: id.0, source: job.source() });
        job.claims = self.claims(&job.ask.what);
        self.jobs.insert(id, job);
        #[cfg(test)]
        self.fault(Fault::Submit);
        if let Some(failure) = self.refusal(id) {
            return self.fail_early(id, failure);
        }
        if !self.gather(id) {
            self.admit(id);
        }
    }

    /// To the lines in which jobs for the same pools stand.
    pub(super) fn admit(&mut self, id: JobId) {
        let now = self.now();
        let job = &self.jobs[&id];
        let (touches, deadline) = (self.book.touches(&job.claims), job.deadline);
        let mut effects = Vec::new();
        let admission = self.rollout.submit(id, touches, deadline, now, &mut effects);
        self.perform(effects);
        match admission {
            Admission::Start => self.begin_job(id),
            Admission::Wait(obstacle) => self.tell_obstacle(id, &obstacle),
            Admission::TooMany { bound } => {
                let message = format!("{bound} jobs are under way, which is the most; try again later");
                self.fail_early(id, Failure::new(ErrorCode::Busy, message));
            }
            Admission::Stopping => {
                let message = "the appliance is stopping; nothing was changed";
                self.fail_early(id, Failure::new(ErrorCode::Stopping, message));
            }
        }
    }

    /// When entries of lists expire that are in force. Unit: seconds since 1970.
    pub(super) fn expiry_changes(&mut self) {
        self.next_expiry = self.running.config.next_expiry();
    }

    /// Entries of lists have expired: a job like another, which nobody asked for.
    pub(super) fn expire(&mut self) {
        let now = clock::seconds_now();
        if self.next_expiry.is_none_or(|at| at > now) || self.stop_by.is_some() {
            return;
        }
        // The job's end says what is next.
        self.next_expiry = None;
        let (voice, _) = watch::channel(View::default());
        let what = What::Edits(Edits::default());
        let ask = Ask { author: None, source: Source::Expiry, order: None, if_generation: None, what };
        self.submit(Wish { ask, voice, submitted: clock::wall(), check: Duration::ZERO });
    }

    /// When [`Control::expire`] has something to do.
    pub(super) fn expiry_tick(&self) -> Option<Tick> {
        let left = self.next_expiry?.saturating_sub(clock::seconds_now());
        Some(self.now().after(Duration::from_secs(left)))
    }

    /// Pools whose rules ask lists of which something has expired.
    fn concerned_by_expiry(&self) -> BTreeSet<PoolId> {
        let (config, now) = (&self.running.config, clock::seconds_now());
        let expired: BTreeSet<&str> = config.expired_lists(now).collect();
        let asks = |pool: &&Arc<config::Pool>| {
            pool.http.as_ref().is_some_and(|http| http.lists.keys().any(|list| expired.contains(&**list)))
        };
        config.pools.values().filter(asks).map(|pool| pool.id.clone()).collect()
    }

    /// Pools that the job may change, by name. A document says what all pools are, so it comes after whatever
    /// is under way and takes back what that changes; but pools that only later jobs change are not its.
    pub(super) fn claims(&self, what: &What) -> BTreeSet<PoolId> {
        match what {
            What::Document { config, .. } => {
                let under_way = self.jobs.values().flat_map(|job| job.claims.iter().cloned());
                let mut claims = claimed_by(&self.running.config, config);
                claims.extend(under_way.chain(self.to_heal().cloned()).chain(settings()));
                claims
            }
            What::Edits(_) => self.concerned(what),
            What::Together => BTreeSet::new(),
            What::Invalid { .. } => BTreeSet::new(),
        }
    }

    /// Pools that edits may change. Where those depend on each other, whatever is under way included.
    fn concerned(&self, what: &What) -> BTreeSet<PoolId> {
        let mut pools = self.concerned_by_expiry();
        pools.extend(self.to_heal().cloned());
        let mut all = false;
        for edit in what.edits() {
            if changes_settings(edit) {
                pools.extend(settings());
            }
            match edit.concerns(&self.running.config) {
                Concerned::Pools(concerned) => pools.extend(concerned),
                Concerned::All => {
                    all = true;
                    // Those too that come with it: nobody else is to bring or change them meanwhile.
                    pools.extend(named(edit).into_iter().filter(|_| !is(Mistake::NewPoolInNoLine)));
                }
            }
        }
        if all {
            pools.extend(self.jobs.values().flat_map(|job| job.claims.iter().cloned()));
            pools.extend(self.running.config.pools.keys().cloned());
        }
        pools
    }

    /// What is known to be wrong before anything is asked.
    fn refusal(&self, id: JobId) -> Option<Failure> {
        let ask = &self.jobs[&id].ask;
        if let What::Invalid { message, problems } = &ask.what {
            let mut failure = Failure::new(ErrorCode::InvalidConfiguration, message.clone());
            failure.problems.clone_from(problems);
            failure.stage = Some(Stage::Check);
            return Some(failure);
        }
        conflict(ask.if_generation, self.running.generation)
    }

    pub(super) fn tell_obstacle(&self, id: JobId, obstacle: &Obstacle) {
        let job = &self.jobs[&id];
        match obstacle {
            Obstacle::Jobs(jobs) => {
                job.say(Progress::Waiting { job: id.0, behind: jobs.iter().map(|job| job.0).collect() });
            }
            Obstacle::Retained { pool, bytes, .. } => {
                let pool = self.book.pool_name(*pool).map_or_else(String::new, ToString::to_string);
                job.say(Progress::Retained { job: id.0, pool, bytes: *bytes });
            }
            Obstacle::Address(_) | Obstacle::Shards => {
                job.say(Progress::Waiting { job: id.0, behind: Vec::new() });
            }
        }
    }

    /// Its turn has come.
    pub(super) fn begin_job(&mut self, id: JobId) {
        let wait = self.running.config.reload.wait_before;
        if wait > Duration::ZERO {
            let until = self.shared.clock.once_passed(wait);
            self.set_state(id, State::Pausing { until });
        } else {
            self.build(id);
        }
    }

    fn build(&mut self, id: JobId) {
        let job = &self.jobs[&id];
        // Asked again: jobs before this one may have been applied since it came.
        let wanted = job.ask.if_generation.filter(|_| !is(Mistake::WantedGenerationNotAskedAgain));
        if let Some(failure) = conflict(wanted, self.running.generation) {
            return self.withdraw(id, Verdict::Failed(Box::new(failure)));
        }
        // Slots that have come into being while it waited.
        let touches = Touches { pools: self.book.slots(&job.claims), listeners: BTreeSet::new() };
        if !self.rollout.touch_also(id, touches) {
            return;
        }
        self.enter(id, Stage::Plan);
        let job = &self.jobs[&id];
        let step = |job: &Job| Step { job: job.id, ask: job.ask.clone() };
        let mut steps: Vec<Step> = match &job.ask.what {
            What::Together => job.riders.iter().map(step).collect(),
            _ => vec![step(job)],
        };
        if steps.len() > 1 && is(Mistake::LastRiderForgotten) {
            steps.pop();
        }
        if steps.len() > 1 && is(Mistake::WantedGenerationIgnored) {
            steps.iter_mut().for_each(|step| step.ask.if_generation = None);
        }
        let build = Build {
            job: id,
            steps,
            claims: job.claims.iter().filter(|claim| claim.as_str() != SETTINGS).cloned().collect(),
            afresh: self.to_heal().filter(|pool| job.claims.contains(*pool)).cloned().collect(),
            running: Arc::clone(&self.running),
            base: Arc::clone(&self.shared.overlay().base().config),
            places: Arc::clone(&self.rule_places),
        };
        self.set_state(id, State::Building);
        self.builds += 1;
        self.ask(Work::Build(Box::new(build)));
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Built { job, result, fates } => self.on_built(job, result, fates),
            Done::Bound { job, result } => self.on_bound(job, result),
            Done::Handshakes { over } => self.on_handshakes(over),
        }
    }

    fn on_built(&mut self, id: JobId, result: Built, fates: Vec<Fate>) {
        self.builds -= 1;
        // First of all: a control that dies after this finds the slots in the book. And names before shards can
        // write records with these slots.
        if let Some(compiled) = result.compiled() {
            let names = self.book.enter(compiled);
            self.log.name(names);
        }
        #[cfg(test)]
        self.fault(Fault::Built);
        let waited_for = self.jobs.get(&id).is_some_and(|job| matches!(job.state, State::Building));
        if !waited_for {
            // The job has ended meanwhile.
            if let Some(compiled) = result.into_compiled() {
                self.discard(compiled);
            }
            return self.release_unused();
        }
        self.set_state(id, State::Waiting);
        let is_carrier = !fates.is_empty();
        if let Some(job) = self.jobs.get_mut(&id) {
            job.meet(fates);
            let plans = job.riders.iter_mut().filter_map(|rider| rider.plan.as_mut());
            plans.for_each(|plan| self.shared.overlay().attribute(&mut plan.undoes));
        }
        match result {
            Built::Unchanged { plan } => {
                self.set_plan(id, plan);
                self.withdraw(id, Verdict::Unchanged);
            }
            Built::Ready { plan, compiled, times } => self.on_ready(id, plan, compiled, times),
            Built::Refused(refused) => {
                let Refused { failure, plan, compiled } = *refused;
                if let Some(plan) = plan {
                    self.set_plan(id, plan);
                }
                if let Some(compiled) = compiled {
                    self.discard(compiled);
                }
                let failure = Box::new(failure);
                self.withdraw(id, if is_carrier { Verdict::Apart(failure) } else { Verdict::Failed(failure) });
            }
        }
        self.release_unused();
    }

    fn on_ready(&mut self, id: JobId, plan: api::Plan, compiled: Box<Compiled>, times: BuildTimes) {
        self.set_plan(id, plan);
        self.enter(id, Stage::Compile);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.apportion(Stage::Plan, &[(Stage::Check, times.check), (Stage::Compile, times.compile)]);
        }
        // From here on its pools and addresses are in the rollout's care.
        let change = &compiled.change;
        let touches = Touches {
            pools: change.pools.iter().map(|(slot, _)| *slot).collect(),
            listeners: change.listen.iter().map(|listen| listen.listener).collect(),
        };
        let goes = self.rollout.touch_also(id, touches);
        assert!(goes, "job {id} has ended, and nobody was told");
        // Checks begin as early as can be.
        self.prober.watch(compiled.change.endpoints_come.iter().filter_map(|(_, slot)| {
            let entry = self.book.endpoint(*slot)?;
            let pool = compiled.change.pools.iter().find(|(pool, _)| *pool == entry.pool_slot)?.1.as_ref()?;
            let check = pool.group(entry.endpoint.group)?.health.clone();
            let watch = Watch { address: entry.endpoint.address.clone(), check };
            Some((*slot, Some(watch)))
        }));
        let bound = |slot: &ListenerSlot| self.registry.group(slot.0).is_some();
        let binds = compiled.bind.iter();
        let sockets = binds.flat_map(|bind| bind.after.into_iter().chain([bind.listener])).filter(bound).collect();
        let unresolved = |slot: &EndpointSlot| {
            let is_name = |entry: &crate::book::EndpointEntry| matches!(entry.endpoint.address, Address::Name { .. });
            let known = self.shared.board.state(*slot).is_some_and(|state| !state.addresses.is_empty());
            self.book.endpoint(*slot).is_some_and(is_name) && !known
        };
        let names = compiled.change.endpoints_come.iter().map(|(_, slot)| *slot).filter(unresolved).collect();
        let names_until = self.now().after(RESOLVE_WAIT);
        let for_what = Hold { sockets, names, names_until };
        self.set_state(id, State::Holding { compiled, for_what });
        self.go_on(id);
    }

    /// What a held job waits for may have come.
    pub(super) fn go_on(&mut self, id: JobId) {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let State::Holding { for_what, .. } = &job.state else { return };
        let names_are_there = for_what.names.is_empty() || for_what.names_until <= now;
        if !names_are_there || !for_what.sockets.is_empty() {
            return;
        }
        let Some(compiled) = job.take_compiled() else { return };
        let to = compiled.config();
        let log = (to.access_log != self.running.config.access_log).then(|| to.access_log.clone());
        if compiled.bind.is_empty() && log.is_none() {
            return self.send_out(id, compiled);
        }
        let binds = compiled.bind.clone();
        self.set_state(id, State::Binding { compiled });
        self.enter(id, Stage::Bind);
        self.ask(Work::Bind { job: id, binds, log });
    }

    fn on_bound(&mut self, id: JobId, result: Result<Bound, String>) {
        let waited_for = self.jobs.get(&id).is_some_and(|job| matches!(job.state, State::Binding { .. }));
        match result {
            Ok(bound) if !waited_for => {
                self.close(bound.groups.into_iter().map(|(_, group)| Arc::new(group)).collect());
                self.release_unused();
            }
            Ok(bound) => {
                for (listener, group) in bound.groups {
                    let group = self.registry.insert(listener.0, group);
                    self.steer_new(&group);
                    self.tell_bound(listener);
                }
                let Some(job) = self.jobs.get_mut(&id) else { return };
                job.log = bound.log;
                if let Some(compiled) = job.take_compiled() {
                    self.send_out(id, compiled);
                }
            }
            Err(_) if !waited_for => self.release_unused(),
            Err(message) => {
                let mut failure = Failure::new(ErrorCode::Refused, message);
                failure.stage = Some(Stage::Bind);
                self.withdraw(id, Verdict::Failed(Box::new(failure)));
            }
        }
    }

    /// Everything that can fail here has not failed: to the shards.
    fn send_out(&mut self, id: JobId, compiled: Box<Compiled>) {
        let now = self.now();
        let change = Arc::clone(&compiled.change);
        let come = change.endpoints_come.clone();
        let mut effects = Vec::new();
        self.set_state(id, State::Out { compiled });
        let went = self.rollout.prepare(id, change, now, &mut effects);
        assert!(went, "job {id} has ended, and nobody was told");
        // What was found out of its backends until now was nobody's business.
        let known = come.into_iter().filter_map(|(_, slot)| self.shared.board.state(slot));
        known.for_each(|state| self.rollout.endpoint_state(state, &mut effects));
        self.perform(effects);
    }

    /// Ends a job that has not reached the shards.
    pub(super) fn withdraw(&mut self, id: JobId, verdict: Verdict) {
        let now = self.now();
        if let Some(job) = self.jobs.get_mut(&id) {
            job.verdict = Some(verdict);
        }
        let mut effects = Vec::new();
        self.rollout.withdraw(id, now, &mut effects);
        self.perform(effects);
    }

    pub(super) fn jobs_on_tick(&mut self, now: Tick) {
        let due = |job: &&Job| match &job.state {
            State::Pausing { until } => *until <= now,
            State::Holding { for_what, .. } => !for_what.names.is_empty() && for_what.names_until <= now,
            _ => false,
        };
        let due: Vec<JobId> = self.jobs.values().filter(due).map(|job| job.id).collect();
        for id in due {
            self.changed = true;
            match &mut self.jobs.get_mut(&id).expect("just seen").state {
                State::Holding { for_what, .. } => {
                    for_what.names.clear();
                    self.go_on(id);
                }
                _ => self.build(id),
            }
        }
    }

    /// A name has led somewhere for the first time, or elsewhere.
    pub(super) fn name_resolved(&mut self, slot: EndpointSlot) {
        let waiting: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in waiting {
            if let State::Holding { for_what, .. } = &mut self.jobs.get_mut(&id).expect("just seen").state
                && for_what.names.remove(&slot)
            {
                self.go_on(id);
            }
        }
    }

    pub(super) fn enter(&mut self, id: JobId, stage: Stage) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.enter(stage)
        {
            self.shared.events.publish(Happening::JobStage { job: id.0, stage });
        }
    }

    fn set_plan(&mut self, id: JobId, mut plan: api::Plan) {
        self.shared.overlay().attribute(&mut plan.undoes);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.plan = Some(plan);
        }
    }

    fn set_state(&mut self, id: JobId, state: State) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = state;
        }
    }
}

/// Pools that a document may change of what runs.
pub fn claimed_by(running: &Config, new: &Config) -> BTreeSet<PoolId> {
    // What is newly tested of a pool must not change between its trial and its activation.
    let tested = new.tests.pools().filter(|_| new.tests != running.tests).cloned();
    differing(running, new).chain(tested).collect()
}

fn settings() -> Option<PoolId> {
    (!is(Mistake::SettingsInNoLine)).then(|| PoolId::new(SETTINGS))
}

/// Pools that it names, whether they are there or not.
fn named(edit: &Edit) -> Vec<PoolId> {
    let of_path = |path: &[String]| match path {
        [first, pool, ..] if first == "pool" => Some(PoolId::new(pool)),
        _ => None,
    };
    let of_pointer = |path: &String| {
        let mut words = path.split('/').skip(1);
        let pool = words.next().filter(|first| *first == "pool").and(words.next())?;
        Some(PoolId::new(&pool.replace("~1", "/").replace("~0", "~")))
    };
    match edit {
        Edit::Merge(merge) => {
            let pools = merge.get("pool").and_then(|pools| pools.as_object());
            pools.into_iter().flat_map(|pools| pools.keys()).map(|pool| PoolId::new(pool)).collect()
        }
        Edit::Patch(steps) => steps.iter().flat_map(paths).filter_map(of_pointer).collect(),
        Edit::Several(edits) => edits.iter().flat_map(named).collect(),
        Edit::Add { path, .. }
        | Edit::Set { path, .. }
        | Edit::Remove { path, .. }
        | Edit::AddItem { path, .. }
        | Edit::RemoveItem { path, .. } => of_path(path).into_iter().collect(),
        Edit::AddBackend { pool, .. }
        | Edit::RemoveBackend { pool, .. }
        | Edit::SetBackend { pool, .. }
        | Edit::MoveRule { pool, .. } => vec![PoolId::new(pool)],
        Edit::List(_) => Vec::new(),
    }
}

/// The pointers of an operation.
fn paths(step: &PatchStep) -> Vec<&String> {
    match step {
        PatchStep::Move { from, path } | PatchStep::Copy { from, path } => vec![from, path],
        PatchStep::Add { path, .. }
        | PatchStep::Remove { path }
        | PatchStep::Replace { path, .. }
        | PatchStep::Test { path, .. } => vec![path],
    }
}

/// Whether it may change something that belongs to no pool.
fn changes_settings(edit: &Edit) -> bool {
    let is_of_a_pool =
        |path: &str| path.strip_prefix("/pool").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match edit {
        Edit::Merge(merge) => merge.as_object().is_none_or(|keys| keys.keys().any(|key| key != "pool")),
        Edit::Patch(steps) => steps.iter().flat_map(paths).any(|path| !is_of_a_pool(path)),
        Edit::List(_) => true,
        Edit::Several(edits) => edits.iter().any(changes_settings),
        Edit::Add { path, .. } | Edit::Set { path, .. } | Edit::Remove { path, .. } => {
            path.first().is_none_or(|first| first != "pool")
        }
        Edit::AddItem { path, .. } | Edit::RemoveItem { path, .. } => path.first().is_none_or(|first| first != "pool"),
        Edit::AddBackend { .. } | Edit::RemoveBackend { .. } | Edit::SetBackend { .. } | Edit::MoveRule { .. } => false,
    }
}

/// Pools that are not the same in both, those that only one has included.
fn differing<'a>(running: &'a Config, new: &'a Config) -> impl Iterator<Item = PoolId> {
    tree::diff(&running.pools, &new.pools).filter_map(|difference| match difference {
        Difference::Removed { key, .. } | Difference::Added { key, .. } => Some(key.clone()),
        Difference::Changed { key, old, new } => (old.hash() != new.hash()).then(|| key.clone()),
    })
}
