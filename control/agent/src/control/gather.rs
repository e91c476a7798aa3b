//! Jobs that come within `reload.min_interval` become one generation.
//!
//! Owns which jobs wait for the interval to be over, and what becomes of them after it. Two or more ride with a job that
//! nobody asked for ([`Source::Together`]) and that goes its way as any other: its steps are what they want, one after
//! the other, so that one that is refused is refused alone. If their sum is refused though each step is not (a test fails, a
//! table is full), it is not said whose fault that is: each goes alone then.
//!
//! Riders are inside the job that takes them along, so they share its fate also when control panics.

use super::*;
use crate::ask::{Ask, What};
use crate::clock;
use crate::job::{Verdict, View};
use api::answer::{Failure, Progress};
use api::receipt::Source;
use api::{ErrorCode, Stage};
use policy::PoolId;
use tokio::sync::watch;

impl Control {
    /// Whether the job is to wait for the interval. It has ended if too many do.
    pub(super) fn gather(&mut self, id: JobId) -> bool {
        let (now, interval) = (self.now(), self.running.config.reload.min_interval);
        let is_first = self.gathered.is_empty() && (interval.is_zero() || self.next_start <= now);
        if is_first || self.stop_by.is_some() {
            self.next_start = now.after(interval);
            return false;
        }
        if self.gathered.len() == JOBS_MAX {
            let message = format!("{JOBS_MAX} jobs wait for `reload.min_interval`, which is the most; try again later");
            self.fail_early(id, Failure::new(ErrorCode::Busy, message));
            return true;
        }
        let job = self.jobs.remove(&id).expect("it has just come");
        job.say(Progress::Waiting { job: id.0, behind: Vec::new() });
        self.gathered.push(job);
        true
    }

    pub(super) fn gathered_on_tick(&mut self, now: Tick) {
        if self.gathered.is_empty() || self.next_start > now {
            return;
        }
        self.changed = true;
        let reload = &self.running.config.reload;
        let deadline = now.after(reload.job_timeout);
        self.next_start = now.after(reload.min_interval);
        let mut riders = std::mem::take(&mut self.gathered);
        if riders.len() > 1 && is(Mistake::LastGatheredForgotten) {
            riders.pop();
        }
        for job in &mut riders {
            // What runs may be another by now, and the interval is not the job's time.
            (job.claims, job.deadline) = (self.claims(&job.ask.what), deadline);
        }
        let job = match <[Job; 1]>::try_from(riders) {
            Ok([job]) => job,
            Err(riders) => self.carrier(riders, deadline),
        };
        let id = job.id;
        self.jobs.insert(id, job);
        self.admit(id);
    }

    /// A job that takes these along.
    fn carrier(&mut self, mut riders: Vec<Job>, deadline: Tick) -> Job {
        let id = JobId(self.next_job);
        self.next_job += 1;
        let source = Source::Together;
        self.shared.events.publish(Happening::JobSubmitted { job: id.0, source });
        let claims: BTreeSet<PoolId> = riders.iter().flat_map(|rider| rider.claims.iter().cloned()).collect();
        riders.iter_mut().for_each(|rider| rider.within = Some(id));
        let (voice, _) = watch::channel(View::default());
        let ask = Ask { author: None, source, order: None, if_generation: None, what: What::Together };
        let wish = Wish { ask, voice, submitted: clock::wall(), check: Duration::ZERO };
        let mut job = Job::new(id, wish, deadline, self.running.generation);
        (job.claims, job.riders) = (claims, riders);
        job
    }

    /// The appliance stops: those that wait have waited in vain.
    pub(super) fn forsake_gathered(&mut self) {
        for job in std::mem::take(&mut self.gathered) {
            let id = job.id;
            self.jobs.insert(id, job);
            let message = "the appliance is stopping; nothing was changed";
            self.fail_early(id, Failure::new(ErrorCode::Stopping, message));
        }
    }

    /// The job's riders are jobs like others again: those whose steps are in it, and the others.
    pub(super) fn alight(&mut self, id: JobId) -> (Vec<JobId>, Vec<JobId>) {
        let riders = std::mem::take(&mut self.jobs.get_mut(&id).expect("its caller has it").riders);
        let (mut aboard, mut others) = (Vec::new(), Vec::new());
        for rider in riders {
            if rider.verdict.is_none() { &mut aboard } else { &mut others }.push(rider.id);
            self.jobs.insert(rider.id, rider);
        }
        (aboard, others)
    }

    /// Ends a rider that was none of the generation.
    pub(super) fn settle_rider(&mut self, id: JobId) {
        let verdict = self.jobs.get_mut(&id).and_then(|job| job.verdict.take());
        match verdict.expect("it is why the rider was not in it") {
            Verdict::Unchanged => self.end_unchanged(id),
            Verdict::Failed(failure) | Verdict::Apart(failure) => self.fail(id, *failure),
        }
    }

    /// What its riders want changes nothing.
    pub(super) fn riders_unchanged(&mut self, id: JobId) {
        let (aboard, others) = self.alight(id);
        aboard.into_iter().for_each(|rider| self.end_unchanged(rider));
        others.into_iter().for_each(|rider| self.settle_rider(rider));
    }

    /// The job has come to nothing, and what was in it with it.
    pub(super) fn riders_fail(&mut self, id: JobId, failure: &Failure) {
        let (aboard, others) = self.alight(id);
        for rider in others {
            let hangs_on_others = |verdict: &Verdict| match verdict {
                Verdict::Failed(failure) => failure.code == ErrorCode::Superseded,
                Verdict::Unchanged => aboard.iter().any(|before| *before < rider) && !is(Mistake::HangsOnNothing),
                Verdict::Apart(_) => false,
            };
            // On some that came to nothing: they are not why, and what they would have made is not there.
            match self.jobs[&rider].verdict.as_ref().is_some_and(hangs_on_others) {
                true => self.fail(rider, failure.clone()),
                false => self.settle_rider(rider),
            }
        }
        aboard.into_iter().for_each(|rider| self.fail(rider, failure.clone()));
    }

    /// They cannot be one generation: one after the other, as if each had come by itself.
    pub(super) fn riders_go_alone(&mut self, id: JobId) {
        let (aboard, others) = self.alight(id);
        let mut riders: Vec<JobId> = aboard.into_iter().chain(others).collect();
        riders.sort_unstable();
        for rider in riders {
            let job = self.jobs.get_mut(&rider).expect("it has just alighted");
            (job.verdict, job.plan, job.within) = (None, None, None);
            job.enter(Stage::Wait);
            let claims = self.claims(&self.jobs[&rider].ask.what);
            self.jobs.get_mut(&rider).expect("looked up above").claims = claims;
            self.admit(rider);
        }
    }

    /// Lines of `jobs` for those that wait, and for those that ride.
    pub(super) fn lines_of_gathered(&self, now: Tick) -> impl Iterator<Item = api::receipt::Job> {
        let waiting = self.gathered.iter().map(move |job| job.line(now, Vec::new()));
        let riding = self
            .jobs
            .values()
            .flat_map(move |carrier| carrier.riders.iter().map(move |job| job.line(now, vec![carrier.id.0])));
        waiting.chain(riding)
    }
}
