//! A job ends: what runs is moved on, the receipt is stored, the submitter is answered.

use super::*;
use crate::ask::{Edits, Role, What};
use crate::clock;
use crate::drift;
use crate::durable::{Adopted, Base, MadeBy, Note, Saved};
use crate::event_log::Level;
use crate::job::Verdict;
use crate::kept::KeptGeneration;
use crate::probe::Watch;
use crate::publish::ListenerView;
use api::answer::{Failure, ShardRefusal};
use api::receipt::Source;
use api::{ErrorCode, Stage};
use config::Compiled;
use policy::GenerationId;
use policy::generation::Listen;
use policy::reload::rollout::{Obstacle, Phase};
use policy::tree::{self, Difference};

impl Control {
    pub(super) fn settle(&mut self, id: JobId, outcome: Outcome) {
        #[cfg(test)]
        self.fault(Fault::Settle);
        match outcome {
            Outcome::Applied { lost } => self.settle_applied(id, lost),
            // It is what every shard gets that comes back.
            Outcome::Unconfirmed => self.settle_applied(id, ShardSet::first(self.seats.len())),
            outcome => self.settle_kept(id, outcome),
        }
    }

    fn settle_applied(&mut self, id: JobId, lost: ShardSet) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let compiled = job.take_compiled();
        let before = Arc::clone(&self.running);
        let mut drains = Vec::new();
        if let Some(compiled) = compiled {
            // First of all: a control that dies after this knows what runs.
            let mut running = before.after(&compiled);
            if is(Mistake::OthersTakenBack) {
                running.config = Arc::clone(compiled.config());
            }
            if running.generation == before.generation && !is(Mistake::OvertakenKeepsNumber) {
                // It was overtaken. What runs now is neither its own generation nor the one that runs.
                running.generation = Some(GenerationId(self.next_job));
                self.next_job += 1;
            }
            self.running = Arc::new(running);
            self.healed(&before);
            let gone = self.book.applied(id, &before, &compiled);
            self.name_and_watch(&before, &compiled, &gone);
            compiled.change.listen.iter().for_each(|listen| self.listener_leads(listen));
            drains = gone;
            self.ask(Work::Applied(compiled));
        }
        self.expiry_changes();
        let since = self.keep_generation();
        self.settings_change(&before);
        let (aboard, others) = self.alight(id);
        let is_unchanged = |rider: &JobId| matches!(self.jobs[rider].verdict, Some(Verdict::Unchanged));
        let (unchanged, others): (Vec<JobId>, Vec<JobId>) = others.into_iter().partition(is_unchanged);
        let mut parties: Vec<JobId> = aboard.iter().copied().chain(aboard.is_empty().then_some(id)).collect();
        parties.extend(&unchanged);
        // In the order in which they came: the newest document is what drift is measured from.
        if !is(Mistake::BasesInAnyOrder) {
            parties.sort_unstable();
        }
        let mut is_based_anew = false;
        for party in parties {
            is_based_anew |= self.drift_changes(party);
        }
        let job = self.jobs.get_mut(&id).expect("looked up above");
        if let Some(output) = job.log.take() {
            self.log.switch(output);
        }
        for shard in lost.iter() {
            self.shared.events.publish(Happening::ShardLost { shard: shard.0, job: id.0 });
        }
        self.retire_removed(id, &drains);
        aboard.iter().for_each(|rider| self.retire_removed(*rider, &drains));
        let generation = self.running.generation;
        let job = self.jobs.get_mut(&id).expect("looked up above");
        let receipt = job.receipt(JobOutcome::Applied, generation, lost.iter(), None);
        let receipt = self.shared.history().insert(receipt);
        self.account(&receipt);
        let receipt = self.released(id).unwrap_or(receipt);
        let made_by = self.made_by(id, &aboard);
        let based = is_based_anew.then(|| self.shared.overlay().base().clone());
        let mut ended = vec![self.take_done(id, receipt.clone(), &drains)];
        let riders = aboard.into_iter().map(|rider| (rider, JobOutcome::Applied));
        for (rider, outcome) in riders.chain(unchanged.into_iter().map(|rider| (rider, JobOutcome::Unchanged))) {
            let job = self.jobs.get_mut(&rider).expect("it has alighted");
            let receipt = job.receipt(outcome, generation, std::iter::empty(), None);
            let receipt = self.shared.history().insert(receipt);
            self.account(&receipt);
            self.note(Note::Receipt(receipt.clone()));
            ended.push(self.take_done(rider, receipt, &drains));
        }
        others.into_iter().for_each(|rider| self.settle_rider(rider));
        if self.durable.is_none() {
            return ended
                .into_iter()
                .for_each(|(job, receipt, drains)| self.conclude(job, Ended::Done { receipt, drains }));
        }
        if is(Mistake::AnsweredBeforeWritten) {
            let ended = std::mem::take(&mut ended);
            ended.into_iter().for_each(|(job, receipt, drains)| self.conclude(job, Ended::Done { receipt, drains }));
        }
        self.note(Note::Adopted(Box::new(Adopted {
            job: id,
            based,
            generation: generation.map_or(0, |generation| generation.0),
            since,
            made_by,
            config: Arc::clone(&self.running.config),
            source: self.source.clone(),
            receipt,
        })));
        self.unsaved.insert(id, ended);
    }

    fn take_done(&mut self, id: JobId, receipt: Arc<Receipt>, drains: &[EndpointSlot]) -> InForce {
        let job = self.jobs.remove(&id).expect("it is about to end");
        let drains = self.waited_for(&job, drains);
        (job, receipt, drains)
    }

    /// How the journal says what this job, or those that it took along, have done.
    fn made_by(&self, id: JobId, aboard: &[JobId]) -> MadeBy {
        let own = [id];
        let parties = if aboard.is_empty() { &own[..] } else { aboard };
        let whats = parties.iter().map(|party| &self.jobs[party].ask.what);
        match self.jobs[&parties[0]].ask.what {
            // Unless others have changed something meanwhile that was not its to take back.
            What::Document { role: Role::Past(to), ref config, .. }
                if parties.len() == 1 && config.hash() == self.running.config.hash() =>
            {
                MadeBy::Rollback { to: if is(Mistake::RollbackWrittenAsAnother) { to.saturating_sub(1) } else { to } }
            }
            _ => match whats.map(What::as_edits).collect::<Option<Vec<_>>>() {
                Some(edits) => MadeBy::Edits(Edits::concat(&edits)),
                None => MadeBy::Document,
            },
        }
    }

    /// These are on the disk now, or will not be.
    pub(super) fn on_saved(&mut self, saved: Saved) {
        let Saved { jobs, failure } = saved;
        if let Some(failure) = &failure {
            let text = format!("what runs is not written down, and a restart may not know of it: {failure}");
            self.shared.events.log().say(Level::Error, &text);
        }
        for id in jobs.into_iter().filter(|_| failure.is_none() || !is(Mistake::UnsavedForgotten)) {
            for (job, mut receipt, drains) in self.unsaved.remove(&id).into_iter().flatten() {
                if let Some(failure) = &failure {
                    let told =
                        self.shared.history().amend(job.id.0, |receipt| receipt.not_saved = Some(failure.clone()));
                    receipt = told.unwrap_or(receipt);
                }
                self.conclude(job, Ended::Done { receipt, drains });
            }
        }
    }

    /// The job's last word, after the pause that the document wants.
    fn conclude(&mut self, job: Job, ended: Ended) {
        let wait = self.running.config.reload.wait_after;
        if wait > Duration::ZERO {
            self.late.push((self.shared.clock.once_passed(wait), job, ended));
        } else {
            self.answer(job, ended);
        }
    }

    pub(super) fn note(&self, note: Note) {
        if let Some(durable) = &self.durable {
            durable.note(note);
        }
    }

    /// What runs is as this job wants it: that is drift, or none any more. Whether drift is measured from another document
    /// since.
    fn drift_changes(&mut self, id: JobId) -> bool {
        let job = &self.jobs[&id];
        match &job.ask.what {
            What::Document { origin, rule_places, role, .. } => {
                // The same file says the same, perhaps on other lines.
                if job.verdict.is_none() || *origin == self.source {
                    (self.source, self.rule_places) = (origin.clone(), Arc::clone(rule_places));
                }
                if let Role::Past(_) = role {
                    self.touch(id);
                }
                self.based_anew(id).is_some()
            }
            _ if matches!(job.source(), Source::Expiry) => {
                // Nobody did it: the document says the same, at another time.
                let mut overlay = self.shared.overlay();
                let Base { source, config } = overlay.base().clone();
                overlay.merge(Base { source, config: Arc::new(config.at(clock::seconds_now())) });
                false
            }
            What::Edits(_) if is(Mistake::BaseMovedByOrders) => {
                let mut overlay = self.shared.overlay();
                let Base { source, .. } = overlay.base().clone();
                overlay.merge(Base { source, config: Arc::clone(&self.running.config) });
                false
            }
            _ => {
                self.touch(id);
                false
            }
        }
    }

    /// The job has changed these by an order.
    fn touch(&self, id: JobId) {
        let job = &self.jobs[&id];
        let changes = job.plan.iter().flat_map(|plan| &plan.changes);
        self.shared.overlay().touch(changes.map(|change| change.path.as_str()), drift::by(job));
    }

    /// A document that counts is what drift is measured from, which is told if it is news.
    fn based_anew(&self, id: JobId) -> Option<Base> {
        let What::Document { config, origin, role: role @ (Role::Whole | Role::Merged), left_out, .. } =
            &self.jobs[&id].ask.what
        else {
            return None;
        };
        if is(Mistake::BaseNotMoved) && *role == Role::Whole {
            return None;
        }
        let mut overlay = self.shared.overlay();
        let config = drift::base_of(config, left_out, &overlay.base().config);
        let base = Base { source: origin.clone(), config };
        let is_news = overlay.base().config.hash() != base.config.hash() || overlay.base().source != base.source;
        match role {
            Role::Merged => overlay.merge(base.clone()),
            _ => overlay.rebase(base.clone(), left_out),
        }
        is_news.then_some(base)
    }

    /// What runs can be gone back to from now on. Since when, RFC 3339.
    fn keep_generation(&mut self) -> String {
        let since = clock::date();
        if let Some(number) = self.running.generation {
            let config = Arc::clone(&self.running.config);
            let gone = self.shared.kept().push(KeptGeneration { number, config, since: since.clone() });
            self.forget(gone);
        }
        since
    }

    fn forget(&self, gone: Vec<KeptGeneration>) {
        if !gone.is_empty() {
            self.ask(Work::Forget(gone));
        }
    }

    fn settle_kept(&mut self, id: JobId, outcome: Outcome) {
        // What shards were given and have not forgotten is held too.
        self.pins_changed = true;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(compiled) = job.take_compiled() {
            // Backends that would have come back go on leaving, and nobody asks for their health.
            let leaving = &self.book.leaving;
            let come = compiled.change.endpoints_come.iter().map(|(_, slot)| *slot);
            self.prober.watch(come.filter(|slot| leaving.contains_key(slot)).map(|slot| (slot, None)));
            self.discard(compiled);
        }
        let job = self.jobs.get_mut(&id).expect("looked up above");
        let verdict = match (job.verdict.take(), outcome) {
            (Some(verdict), Outcome::Withdrawn) => verdict,
            (_, outcome) => Verdict::Failed(Box::new(self.failure(id, outcome))),
        };
        match verdict {
            Verdict::Unchanged => {
                self.riders_unchanged(id);
                self.end_unchanged(id);
            }
            Verdict::Failed(failure) => {
                self.riders_fail(id, &failure);
                self.fail(id, *failure);
            }
            Verdict::Apart(mut failure) => {
                self.riders_go_alone(id);
                failure.message = format!("what came together goes one by one: {}", failure.message);
                self.fail(id, *failure);
            }
        }
    }

    /// What runs is as the job wants it. If the disk does not know that yet, the answer waits for it.
    pub(super) fn end_unchanged(&mut self, id: JobId) {
        self.expiry_changes();
        let generation = self.running.generation;
        // The same file says the same, perhaps on other lines.
        if let What::Document { origin, rule_places, .. } = &self.jobs[&id].ask.what
            && *origin == self.source
        {
            self.rule_places = Arc::clone(rule_places);
        }
        let based = self.based_anew(id);
        let job = self.jobs.get_mut(&id).expect("looked up above");
        let receipt = job.receipt(JobOutcome::Unchanged, generation, std::iter::empty(), None);
        let receipt = self.shared.history().insert(receipt);
        self.account(&receipt);
        let job = self.jobs.remove(&id).expect("looked up above");
        let is_known = self.unsaved.is_empty() && based.is_none();
        if self.durable.is_none() || is_known || is(Mistake::UnchangedBeforeWritten) {
            self.note(Note::Receipt(Arc::clone(&receipt)));
            return self.answer(job, Ended::Done { receipt, drains: Vec::new() });
        }
        self.note(Note::Unchanged { job: id, based, receipt: Arc::clone(&receipt) });
        self.unsaved.insert(id, vec![(job, receipt, Vec::new())]);
    }

    /// Ends a job that the rollout does not know.
    pub(super) fn fail_early(&mut self, id: JobId, failure: Failure) {
        self.fail(id, failure);
    }

    pub(super) fn fail(&mut self, id: JobId, mut failure: Failure) {
        let generation = self.running.generation;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        failure.job = Some(id.0);
        failure.generation = generation.map(|generation| generation.0);
        failure.stage = failure.stage.or(Some(job.stage));
        let receipt = job.receipt(JobOutcome::KeptOld, generation, std::iter::empty(), Some(failure.clone()));
        let receipt = self.shared.history().insert(receipt);
        self.account(&receipt);
        self.complain(&receipt, &failure);
        let job = self.jobs.remove(&id).expect("looked up above");
        self.answer(job, Ended::Failed(Arc::new(failure)));
    }

    /// The account goes to the journal, the counters and whoever follows.
    fn account(&self, receipt: &Arc<Receipt>) {
        self.shared.count_ended(receipt.outcome, receipt.source);
        self.shared.events.publish(Happening::JobEnded {
            job: receipt.job,
            outcome: receipt.outcome,
            generation: receipt.generation_after,
        });
        if receipt.outcome == JobOutcome::KeptOld {
            self.note(Note::Receipt(Arc::clone(receipt)));
        }
    }

    /// Why nothing was changed, for those who read the log. Who asked over the socket has it in the answer;
    /// a signal has nobody to answer to, so there it is told with all its problems.
    fn complain(&self, receipt: &Receipt, failure: &Failure) {
        let mut text = format!("job {} kept-old: {}", receipt.job, failure.message);
        if receipt.source != api::receipt::Source::Socket {
            for problem in &failure.problems {
                text += &format!("\n{}", problem.drawing.clone().unwrap_or_else(|| problem.to_string()));
            }
            for reason in &failure.restart_reasons {
                text += &format!("\n{}: {}", reason.path, reason.reason);
            }
        }
        self.shared.events.log().say(Level::Warning, &text);
    }

    fn answer(&mut self, job: Job, ended: Ended) {
        // Whoever has the answer may look at once, and must see what it says.
        self.changed = true;
        self.publish();
        job.end(ended);
    }

    pub(super) fn answer_late(&mut self, now: Tick) {
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= now);
        self.late = late;
        let due: Vec<(Tick, Job, Ended)> = due;
        due.into_iter().for_each(|(_, job, ended)| self.answer(job, ended));
    }

    /// One thing less that this job superseded. The receipt if it is complete with that.
    pub(super) fn released(&mut self, id: JobId) -> Option<Arc<Receipt>> {
        if self.superseded.values().any(|superseded| superseded.by == id) {
            return None;
        }
        let receipt = self.shared.history().amend(id.0, |receipt| {
            receipt.released.get_or_insert_with(clock::date);
        })?;
        self.note(Note::Receipt(Arc::clone(&receipt)));
        Some(receipt)
    }

    /// Names for records to come, and checks as the new generation has them.
    fn name_and_watch(&mut self, before: &Running, compiled: &Compiled, gone: &[EndpointSlot]) {
        self.log.name(self.book.names(compiled));
        self.prober.watch(gone.iter().map(|slot| (*slot, None)));
        for (slot, pool) in &compiled.change.pools {
            let Some(pool) = pool else { continue };
            let old = before.pools.get(&pool.id).filter(|old| old.generation.slot == *slot);
            let Some(old) = old else { continue };
            for difference in tree::diff(&old.generation.groups, &pool.groups) {
                let Difference::Changed { old: was, new: group, .. } = difference else { continue };
                if was.health != group.health {
                    let watch = |address: &Address| Watch { address: address.clone(), check: group.health.clone() };
                    let all = group.endpoints.iter();
                    self.prober.watch(all.map(|endpoint| (endpoint.slot, Some(watch(&endpoint.address)))));
                }
            }
        }
    }

    /// An address comes, or leads to another pool from now on.
    pub(super) fn listener_leads(&mut self, listen: &Listen) {
        if let Some(view) = self.book.listener_leads(listen) {
            self.publish_listener(view);
        }
    }

    pub(super) fn tell_listener(&mut self, slot: ListenerSlot, state: api::status::ListenerState) {
        if let Some(view) = self.book.listener_is(slot, state) {
            self.publish_listener(view);
        }
    }

    /// Sockets are there, and let nobody in yet.
    pub(super) fn tell_bound(&self, slot: ListenerSlot) {
        if let Some(view) = self.book.listener(slot).filter(|view| view.state == api::status::ListenerState::Bound) {
            self.publish_listener(view.clone());
        }
    }

    fn publish_listener(&self, view: ListenerView) {
        let ListenerView { pool, address, state } = view;
        self.shared.events.publish(Happening::Listener { pool: pool.to_string(), address, state });
    }

    /// Settings of the reload and of the log that belong to no pool.
    fn settings_change(&mut self, before: &Running) {
        let (old, new) = (&before.config, Arc::clone(&self.running.config));
        if old.reload != new.reload {
            let mut effects = Vec::new();
            self.rollout.set_bounds(self.bounds(), self.now(), &mut effects);
            self.perform(effects);
            self.shared.history().keep(new.reload.keep_receipts as usize);
            let gone = self.shared.kept().keep(new.reload.keep_generations as usize);
            self.forget(gone);
        }
        if old.event_log != new.event_log {
            self.shared.events.log().set(&new.event_log);
        }
    }

    /// Backends removed with `now`: their tunnels are asked to end.
    fn retire_removed(&mut self, id: JobId, gone: &[EndpointSlot]) {
        let What::Edits(edits) = &self.jobs[&id].ask.what else { return };
        let now: Vec<&api::order::BackendRemove> = edits
            .orders
            .iter()
            .filter_map(|edit| match edit {
                api::Edit::BackendRemove(remove) if remove.now => Some(remove),
                _ => None,
            })
            .collect();
        let retired: Vec<EndpointSlot> = gone.iter().copied().filter(|slot| self.is_removed(*slot, &now)).collect();
        let mut effects = Vec::new();
        for slot in retired {
            self.rollout.retire(slot, &mut effects);
        }
        self.perform(effects);
    }

    /// Those of the backends that are gone whose last connections the submitter waits for.
    fn waited_for(&self, job: &Job, gone: &[EndpointSlot]) -> Vec<EndpointSlot> {
        let What::Edits(edits) = &job.ask.what else { return Vec::new() };
        let waits: Vec<&api::order::BackendRemove> = edits
            .orders
            .iter()
            .filter_map(|edit| match edit {
                api::Edit::BackendRemove(remove) if remove.wait => Some(remove),
                _ => None,
            })
            .collect();
        gone.iter().copied().filter(|slot| self.is_removed(*slot, &waits)).collect()
    }

    fn is_removed(&self, slot: EndpointSlot, removals: &[&api::order::BackendRemove]) -> bool {
        self.book.leaving.get(&slot).is_some_and(|leaving| {
            removals.iter().any(|remove| {
                // By its id or by its address, as the edit found it.
                leaving.pool.as_str() == remove.pool
                    && (*leaving.id == *remove.backend || leaving.address == remove.backend)
            })
        })
    }

    /// What the submitter is told of an end that was not his.
    fn failure(&self, id: JobId, outcome: Outcome) -> Failure {
        let staged = |code, message: String, stage| {
            let mut failure = Failure::new(code, message);
            failure.stage = Some(stage);
            failure
        };
        match outcome {
            Outcome::Applied { .. } | Outcome::Unconfirmed => unreachable!("that is no failure"),
            Outcome::Refused { by, refusal } => {
                let message = format!("shard {by} would not take the change, so none did");
                let mut failure = staged(ErrorCode::Refused, message, Stage::Prepare);
                failure.refusals = vec![ShardRefusal { shard: by.0, reason: refusal.to_string() }];
                failure
            }
            Outcome::PrepareTimeout { silent } => {
                let shards: Vec<String> = silent.iter().map(|shard| shard.to_string()).collect();
                let message = format!("shard {} did not prepare in time, so nothing was changed", shards.join(", "));
                staged(ErrorCode::TimedOut, message, Stage::Prepare)
            }
            Outcome::NoShard => {
                staged(ErrorCode::Refused, "no shard serves, so nothing was changed".into(), Stage::Prepare)
            }
            Outcome::Expired { phase, obstacle } => {
                let message = format!("the job's time was over while it {}", self.waited(phase, obstacle));
                Failure::new(ErrorCode::TimedOut, message)
            }
            Outcome::Withdrawn => Failure::new(ErrorCode::Refused, "the job was withdrawn"),
            Outcome::Stopping => Failure::new(ErrorCode::Stopping, "the appliance is stopping; nothing was changed"),
            Outcome::Interrupted => {
                let message = format!("control had to restart while job {id} was under way; nothing was changed");
                Failure::new(ErrorCode::Refused, message)
            }
        }
    }

    fn waited(&self, phase: Phase, obstacle: Option<Obstacle>) -> String {
        match obstacle {
            Some(Obstacle::Jobs(jobs)) => {
                let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
                format!("waited for job {}", jobs.join(", "))
            }
            Some(Obstacle::Retained { pool, bytes, bound }) => {
                let pool = self.book.pool_name(pool).map_or_else(|| pool.to_string(), ToString::to_string);
                format!(
                    "waited for superseded parts of pool {pool} to be released ({bytes} bytes are held, the bound is {bound})"
                )
            }
            Some(Obstacle::Address(_)) => "waited for an address to be given back".into(),
            Some(Obstacle::Shards) => "waited for shards to be let in".into(),
            None => match phase {
                Phase::Waiting => "waited".into(),
                Phase::Compiling | Phase::Compiled => "was being compiled".into(),
                Phase::Preparing | Phase::Committing => "was with the shards".into(),
            },
        }
    }
}
