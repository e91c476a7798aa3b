//! What the asks of a job come to: the document that would run, how it differs from what runs, and its compiled change.
//!
//! Owns the order in which steps build on each other and which of them are in the generation. Runs on the thread of
//! [`crate::compile`]; what is running does not change by anything in here.

use crate::ask::{Ask, Role, What};
use crate::compile::Compiler;
use crate::planted::{Mistake, is};
use crate::touched::Touched;
use crate::{clock, drift, tell};
use api::answer::Failure;
use api::{ErrorCode, Plan, Problem, Stage};
use config::{Code, Compiled, Config, Problems, RulePlaces, Running};
use policy::{EndpointSlot, GenerationId, JobId, PoolId, PoolSlot};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A job whose turn it is.
pub struct Build {
    pub job: JobId,
    /// What is wanted, in the order in which it came. Usually one ask, the job's own.
    pub steps: Vec<Step>,
    /// Pools that a document may touch: those that differed when it was submitted, and those that jobs
    /// before it were changing.
    pub claims: BTreeSet<PoolId>,
    /// Those of them of which nothing that was compiled before is taken over.
    pub afresh: BTreeSet<PoolId>,
    pub running: Arc<Running>,
    /// What drift is measured from.
    pub base: Arc<Config>,
    /// Where the rules and tests of what runs stand.
    pub places: Arc<RulePlaces>,
}

/// One ask, and whose it is.
pub struct Step {
    pub job: JobId,
    pub ask: Ask,
}

/// What became of one step of several. Another is compiled with it, so it is not in force for that.
pub enum Fate {
    In { plan: Plan },
    Unchanged { plan: Plan },
    Refused { failure: Failure, plan: Option<Plan> },
}

/// What became of a build.
pub enum Built {
    Unchanged { plan: Plan },
    Refused(Box<Refused>),
    Ready { plan: Plan, compiled: Box<Compiled>, times: BuildTimes },
}

impl Built {
    /// Slots were given out for it, whatever becomes of it.
    pub fn compiled(&self) -> Option<&Compiled> {
        match self {
            Built::Unchanged { .. } => None,
            Built::Refused(refused) => refused.compiled.as_deref(),
            Built::Ready { compiled, .. } => Some(compiled),
        }
    }

    pub fn into_compiled(self) -> Option<Box<Compiled>> {
        match self {
            Built::Unchanged { .. } => None,
            Built::Refused(refused) => refused.compiled,
            Built::Ready { compiled, .. } => Some(compiled),
        }
    }
}

/// Nothing comes of it.
pub struct Refused {
    pub failure: Failure,
    /// As far as it came.
    pub plan: Option<Plan>,
    /// What was compiled all the same.
    pub compiled: Option<Box<Compiled>>,
}

impl Refused {
    fn at(stage: Stage, code: ErrorCode, message: String) -> Refused {
        let mut failure = Failure::new(code, message);
        failure.stage = Some(stage);
        Refused { failure, plan: None, compiled: None }
    }

    fn invalid(stage: Stage, code: ErrorCode, problems: Vec<Problem>) -> Refused {
        let message = problems.first().map_or_else(String::new, |problem| problem.message.clone());
        let mut refused = Refused::at(stage, code, message);
        refused.failure.problems = problems;
        refused
    }

    fn needs_restart(plan: Plan) -> Refused {
        let count = plan.restart_reasons.len();
        let message = match count {
            1 => "1 change cannot be made live, so none was made".into(),
            _ => format!("{count} changes cannot be made live, so none was made"),
        };
        let mut refused = Refused::at(Stage::Plan, ErrorCode::RestartRequired, message);
        refused.failure.restart_reasons.clone_from(&plan.restart_reasons);
        Refused { plan: Some(plan), ..refused }
    }
}

impl From<Problems> for Refused {
    fn from(problems: Problems) -> Refused {
        let all = |code| problems.errors().iter().all(|problem| problem.code == code);
        let code = match () {
            () if all(Code::NotFound) => ErrorCode::NotFound,
            () if all(Code::Conflict) => ErrorCode::Conflict,
            () => ErrorCode::InvalidConfiguration,
        };
        Refused::invalid(Stage::Check, code, tell::problems(&problems))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct BuildTimes {
    pub check: Duration,
    pub compile: Duration,
}

/// What asks are made of.
#[derive(Clone, Copy)]
struct Ground<'a> {
    config: &'a Config,
    generation: Option<GenerationId>,
    claims: &'a BTreeSet<PoolId>,
    base: &'a Config,
}

/// A document that would run, and what is other than before.
pub(crate) struct Made {
    pub config: Arc<Config>,
    pub diff: config::Plan,
    pub plan: Plan,
}

impl Made {
    fn live(self) -> Result<Made, Box<Refused>> {
        match self.diff.unchanged || self.diff.live().is_some() {
            true => Ok(self),
            false => Err(Box::new(Refused::needs_restart(self.plan))),
        }
    }
}

impl Compiler {
    /// The second: what became of each step, if there is more than one.
    pub(crate) fn build(&mut self, build: Build) -> (Built, Vec<Fate>) {
        let Build { job, steps, claims, afresh, running, base, places } = build;
        let begin = clock::stopwatch();
        let counted = self.counted.clone();
        let touched = counted.over(&running);
        let ground = Ground { config: &running.config, generation: running.generation, claims: &claims, base: &base };
        let (made, places, fates) = match &*steps {
            [step] => match self.make(&ground, &step.ask, &touched) {
                Ok(made) => (made, step.ask.what.rule_places().unwrap_or(&places), Vec::new()),
                Err(refused) => return (Built::Refused(refused), Vec::new()),
            },
            steps => self.make_all(&ground, steps, &places, &touched),
        };
        let check = begin.elapsed();
        // Of a document it is told when it is read.
        let is_edited = steps.iter().all(|step| matches!(step.ask.what, What::Edits(_)));
        let mut made = match made.live() {
            Ok(made) => made,
            Err(refused) => return (Built::Refused(refused), fates),
        };
        let compiling = clock::stopwatch();
        let built = self.compile(job, &mut made, (&running, &afresh), places, is_edited).and_then(|compiled| {
            let Some(compiled) = compiled else { return Ok(None) };
            // Rows for all that is new, so that no shard allocates for it.
            let (pools, endpoints) = brought(&compiled);
            match self.counted.make_room(pools, endpoints) {
                Ok(()) => Ok(Some(compiled)),
                Err(message) => Err(Box::new(Refused { compiled: Some(compiled), ..no_room(message) })),
            }
        });
        let plan = made.plan;
        let built = match built {
            Ok(None) => Built::Unchanged { plan },
            Ok(Some(compiled)) => {
                Built::Ready { plan, compiled, times: BuildTimes { check, compile: compiling.elapsed() } }
            }
            Err(refused) => Built::Refused(Box::new(Refused { plan: Some(plan), ..*refused })),
        };
        (built, fates)
    }

    /// As [`Compiler::build`] of one step, and nothing comes of it; what needs a restart is no refusal. `seen`: as soon as
    /// it is clear what differs.
    pub(crate) fn rehearse(&mut self, build: Build, seen: impl FnOnce(&config::Plan)) -> Result<Made, Box<Refused>> {
        let Build { job, steps, claims, afresh, running, base, places } = build;
        let [Step { ask, .. }] = &*steps else { unreachable!("one at a time is rehearsed") };
        if let Some(failure) = conflict(ask.if_generation, running.generation) {
            return Err(Box::new(Refused { failure, plan: None, compiled: None }));
        }
        let counted = self.counted.clone();
        let touched = counted.over(&running);
        let ground = Ground { config: &running.config, generation: running.generation, claims: &claims, base: &base };
        let mut made = self.make(&ground, ask, &touched)?;
        seen(&made.diff);
        let places = ask.what.rule_places().unwrap_or(&places);
        let is_edited = ask.what.as_edits().is_some();
        if let Some(compiled) = self.compile(job, &mut made, (&running, &afresh), places, is_edited)? {
            let (pools, endpoints) = brought(&compiled);
            self.counted.has_room(pools, endpoints).map_err(|message| Box::new(no_room(message)))?;
        }
        Ok(made)
    }

    /// One after the other; what is refused is left out.
    fn make_all<'a>(
        &self,
        ground: &Ground<'_>,
        steps: &'a [Step],
        places: &'a RulePlaces,
        touched: &Touched<'_>,
    ) -> (Made, &'a RulePlaces, Vec<Fate>) {
        let (mut config, mut base) = (Arc::new(ground.config.clone()), Arc::new(ground.base.clone()));
        let mut places = places;
        let mut fates: Vec<Fate> = Vec::with_capacity(steps.len());
        for Step { job, ask } in steps {
            let before = first_in(&fates).map(|before| steps[before].job);
            let made = match unwanted(ask.if_generation, ground.generation, before) {
                Some(refused) => Err(Box::new(refused)),
                None => self.make(&Ground { config: &config, base: &base, ..*ground }, ask, touched),
            };
            let made = match made.and_then(Made::live) {
                Ok(made) => made,
                Err(refused) => {
                    let Refused { failure, plan, compiled: _ } = *refused;
                    fates.push(Fate::Refused { failure, plan });
                    continue;
                }
            };
            let is_unchanged = made.diff.unchanged;
            if let (What::Document { rule_places, role, .. }, false) = (&ask.what, is_unchanged) {
                places = rule_places;
                supersede(&mut fates, *job, *role);
            }
            config = made.config;
            fates.push(match is_unchanged {
                true => Fate::Unchanged { plan: made.plan },
                false => Fate::In { plan: made.plan },
            });
            base = base_after(ground.base, &fates, steps);
        }
        let diff = config::diff_kin(ground.config, &config);
        let plan = tell::plan(&diff, ground.generation.map(|generation| generation.0), &[], Some(touched));
        if diff.unchanged && !is(Mistake::TakenBackIsUnchanged) {
            self.none_is_in(ground, steps, &mut fates, touched);
        }
        (Made { config, diff, plan }, places, fates)
    }

    /// What some have changed others have taken back, so nothing is in force: each is told what became of it for itself.
    fn none_is_in(&self, ground: &Ground<'_>, steps: &[Step], fates: &mut [Fate], touched: &Touched<'_>) {
        for (fate, step) in fates.iter_mut().zip(steps) {
            *fate = match self.make(ground, &step.ask, touched).and_then(Made::live) {
                Ok(made) if made.diff.unchanged => Fate::Unchanged { plan: made.plan },
                Ok(made) if matches!(fate, Fate::In { .. } | Fate::Unchanged { .. }) => {
                    let message = "superseded: what came with this and after it has taken it back";
                    let failure = Failure::new(ErrorCode::Superseded, message);
                    Fate::Refused { failure, plan: Some(made.plan) }
                }
                Err(refused) if matches!(fate, Fate::In { .. } | Fate::Unchanged { .. }) => {
                    let Refused { failure, plan, compiled: _ } = *refused;
                    Fate::Refused { failure, plan }
                }
                Ok(_) | Err(_) => continue,
            };
        }
    }

    /// What an ask makes of a document.
    fn make(&self, ground: &Ground<'_>, ask: &Ask, touched: &Touched<'_>) -> Result<Made, Box<Refused>> {
        let refused = |problems: Problems| Box::new(Refused::from(problems));
        let Ground { config: before, claims, base, generation } = *ground;
        let (new, warnings) = match &ask.what {
            What::Document { config, warnings, role, left_out, .. } => {
                // Orders may have changed them since it was read.
                let left_as_they_run;
                let document = match left_out.is_empty() {
                    true => &**config,
                    false => {
                        left_as_they_run = config.leaving(left_out, before).map_err(refused)?;
                        &left_as_they_run
                    }
                };
                let merged;
                let wanted = match role {
                    Role::Merged => {
                        merged = config::merge(base, before, document, self.shards.len()).map_err(refused)?;
                        &merged
                    }
                    Role::Whole | Role::Past(_) => document,
                };
                (before.taking(wanted, claims).map_err(refused)?, warnings.clone())
            }
            What::Edits(edits) => {
                let edited = before.edit(&edits.made, self.shards.len()).map_err(refused)?;
                (edited.config, tell::problems(&edited.warnings))
            }
            What::Invalid { problems, .. } => {
                let code = ErrorCode::InvalidConfiguration;
                return Err(Box::new(Refused::invalid(Stage::Check, code, problems.clone())));
            }
            What::Together => unreachable!("its steps are what its riders want"),
        };
        let config = Arc::new(new.at(clock::seconds_now()));
        let diff = config::diff_kin(before, &config);
        let generation = generation.map(|generation| generation.0);
        let mut plan = tell::plan(&diff, generation, &warnings, Some(touched));
        if let What::Document { role: Role::Whole, .. } = &ask.what {
            plan.undoes = drift::undone(&config::diff_kin(base, before), &plan.changes);
        }
        Ok(Made { config, diff, plan })
    }

    /// `None`: nothing is to be done, or it cannot be done live.
    fn compile(
        &mut self,
        job: JobId,
        made: &mut Made,
        (running, afresh): (&Running, &BTreeSet<PoolId>),
        places: &RulePlaces,
        is_edited: bool,
    ) -> Result<Option<Box<Compiled>>, Box<Refused>> {
        let Some(live) = made.diff.live().filter(|_| !made.diff.unchanged || !afresh.is_empty()) else {
            return Ok(None);
        };
        let compiled = config::recompile(running, &made.config, live, job, self.shards, &mut self.slots, afresh);
        let compiled = Box::new(compiled);
        let invalid = |problems: &Problems, compiled| {
            let code = ErrorCode::InvalidConfiguration;
            let refused = Refused::invalid(Stage::Compile, code, tell::problems(problems));
            Err(Box::new(Refused { compiled: Some(compiled), ..refused }))
        };
        if !compiled.remarks.errors().is_empty() {
            let remarks = compiled.remarks.clone();
            return invalid(&remarks, compiled);
        }
        if is_edited {
            made.plan.warnings.extend(tell::problems(&compiled.remarks));
        }
        let failing = compiled.failing_tests(running, places);
        match failing.is_empty() {
            true => Ok(Some(compiled)),
            false => invalid(&failing, compiled),
        }
    }
}

/// Slots that may be new.
fn brought(
    compiled: &Compiled,
) -> (impl Iterator<Item = PoolSlot> + Clone, impl Iterator<Item = EndpointSlot> + Clone) {
    let pools = compiled.change.pools.iter().map(|(slot, _)| *slot);
    (pools, compiled.change.endpoints_come.iter().map(|(_, slot)| *slot))
}

fn no_room(message: String) -> Refused {
    Refused::at(Stage::Compile, ErrorCode::Refused, message)
}

fn first_in(fates: &[Fate]) -> Option<usize> {
    fates.iter().position(|fate| matches!(fate, Fate::In { .. }))
}

/// What drift is measured from after these: the newest document of those that count.
fn base_after(base: &Config, fates: &[Fate], steps: &[Step]) -> Arc<Config> {
    let moved = |base: Arc<Config>, (fate, step): (&Fate, &Step)| match (&step.ask.what, fate) {
        (_, Fate::Refused { .. }) | (What::Document { role: Role::Past(_), .. }, _) => base,
        (What::Document { config, left_out, .. }, _) => drift::base_of(config, left_out, &base),
        _ => base,
    };
    fates.iter().zip(steps).fold(Arc::new(base.clone()), moved)
}

/// Who wants a certain generation gets a change of that one, and of no other: neither one that runs by now nor one in which
/// something goes before.
fn unwanted(wanted: Option<u64>, running: Option<GenerationId>, before: Option<JobId>) -> Option<Refused> {
    let failure = conflict(wanted, running).or_else(|| {
        let before = before.filter(|_| wanted.is_some())?;
        let message =
            format!("job {before} goes before this one, so what runs will not be the generation that it wants");
        Some(Failure::new(ErrorCode::Conflict, message))
    })?;
    Some(Refused { failure: Failure { stage: Some(Stage::Check), ..failure }, plan: None, compiled: None })
}

/// `if_generation` names another generation than the one that runs.
pub fn conflict(wanted: Option<u64>, running: Option<GenerationId>) -> Option<Failure> {
    let running = running.map_or(0, |generation| generation.0);
    let wanted = wanted.filter(|wanted| *wanted != running)?;
    let message = format!("the running generation is {running}, not {wanted}");
    Some(Failure::new(ErrorCode::Conflict, message))
}

/// A document comes that says all: what was in it before is not. One that keeps what orders have changed says not all: it
/// is made of what was before.
fn supersede(fates: &mut [Fate], by: JobId, role: Role) {
    if role == Role::Merged && !is(Mistake::MergedSupersedes) {
        return;
    }
    let mut hangs_on_others = false;
    for fate in fates {
        // What runs was as somebody wanted it only by what is superseded too.
        hangs_on_others |= matches!(fate, Fate::In { .. });
        if let (Fate::In { plan } | Fate::Unchanged { plan }, true) = (&fate, hangs_on_others) {
            let message = format!("superseded by job {by}: a document came before this was in force");
            let failure = Failure::new(ErrorCode::Superseded, message);
            *fate = Fate::Refused { failure, plan: Some(plan.clone()) };
        }
    }
}
