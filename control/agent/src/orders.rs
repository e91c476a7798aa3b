//! One order of a client and its answers.
//!
//! What changes nothing is answered from what control has published. What changes something becomes a
//! submission, and its job is followed until its one final answer; the client may leave before, and nothing
//! of the job changes by that.

use crate::ask::{Ask, Broken, Edits, Reading, Role, Text, Unreadable, What, Wish};
use crate::clock;
use crate::control::Event;
use crate::job::{Ended, View};
use crate::kept::KeptGeneration;
use crate::planted::{Mistake, is};
use crate::publish::{Published, Shared};
use crate::rehearse::{self, Rehearsed};
use crate::{explain, fold, metrics, status, tell};
use api::answer::{DrainingBackend, Failure, Progress};
use api::order::{Check, ConfigOf, DiffOf, Fold, OnDrift, PlanOf, StopMode};
use api::receipt::{Author, Source, StageTime};
use api::status::{Checked, ConfigSource, Metrics, RunningConfig, Stopped, Version};
use api::{Body, Edit, ErrorCode, Folded, Order, Receipt, Stage};
use config::DriftWord;
use link::counters::{EndpointCounter, ShardCounter};
use policy::EndpointSlot;
use policy::close::CloseReason;
use policy::http::ListKind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a drain or a stop tells what is left, if that has changed.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Longest text whose lines are compared. Unit: bytes.
const DIFF_BYTES_MAX: usize = 16 << 20;

/// After this a comparison is content with more lines than it would take.
const DIFF_WITHIN: Duration = Duration::from_secs(2);

/// Where the answers before the last one go. An error: the client has left.
pub trait Audience {
    fn progress(&mut self, progress: Progress) -> impl Future<Output = Result<(), Left>>;
}

/// The client is gone. Nobody needs the rest of the answer.
#[derive(Debug)]
pub struct Left;

pub type Answered = Result<Result<Body, Box<Failure>>, Left>;

/// Carries out one order.
pub async fn carry_out(
    shared: &Arc<Shared>,
    order: Order,
    author: Option<Author>,
    audience: &mut impl Audience,
) -> Answered {
    let name = order.name();
    let ask = |if_generation, what| Ask { author, source: Source::Socket, order: Some(name), if_generation, what };
    let body = match order {
        Order::Status => on_a_thread(shared, |shared| Body::Status(status::status(shared))).await,
        Order::ConfigGet(ConfigOf { generation: None }) => {
            on_a_thread(shared, |shared| Body::Config(status::config(shared))).await
        }
        Order::ConfigGet(ConfigOf { generation: Some(number) }) => {
            let kept = match kept(shared, Some(number)) {
                Ok(kept) => kept,
                Err(failure) => return Ok(Err(failure)),
            };
            on_a_thread(shared, move |_| {
                Body::Config(RunningConfig {
                    generation: number,
                    hash: kept.config.hash().to_string(),
                    source: ConfigSource::Generation(number),
                    document: kept.config.to_toml(),
                })
            })
            .await
        }
        Order::Diff(DiffOf { from, to }) => {
            let pair =
                kept(shared, Some(from)).and_then(|from| Ok((from, to.map(|to| kept(shared, Some(to))).transpose()?)));
            let (from, to) = match pair {
                Ok(pair) => pair,
                Err(failure) => return Ok(Err(failure)),
            };
            on_a_thread(shared, move |shared| {
                let published = shared.published.load();
                let to = to.as_ref().map_or(&published.running.config, |to| &to.config);
                Body::Plan(planned(shared, &published, &config::diff(&from.config, to), &[]))
            })
            .await
        }
        Order::Rollback(api::order::Rollback { to, if_generation }) => {
            let kept = match kept(shared, to) {
                Ok(kept) => kept,
                Err(failure) => return Ok(Err(failure)),
            };
            return submit(shared, ask(if_generation, past(shared, kept)), Duration::ZERO, audience).await;
        }
        Order::Drift => on_a_thread(shared, |shared| Body::Drift(drift_of(shared))).await,
        Order::Generations => on_a_thread(shared, |shared| Body::Generations(status::generations(shared))).await,
        Order::Metrics => on_a_thread(shared, |shared| Body::Metrics(Metrics { text: metrics::text(shared) })).await,
        Order::Keys(of) => return Ok(tell::keys(of.key.as_deref()).map(Body::Keys)),
        Order::Explain(asked) => {
            let explained = on_a_thread(shared, move |shared| explain::explain(shared, &asked)).await;
            return Ok(explained.map(|explanation| Body::Explanation(Box::new(explanation))));
        }
        Order::Version => Body::Version(Version { version: shared.version.into(), protocol: api::PROTOCOL }),
        Order::Jobs => Body::Jobs(api::receipt::Jobs { jobs: shared.published.load().jobs.clone() }),
        Order::History(page) => Body::History(shared.history().page(page.limit, page.before)),
        Order::Receipt(of) => match shared.history().receipt(of.job) {
            Some(receipt) => Body::Receipt(Box::new(Receipt::clone(&receipt))),
            None => return Ok(Err(no_receipt(shared, of.job))),
        },
        Order::Check(check) => {
            let text = match check {
                Check::Document(document) => Text::from(&document),
                Check::Path(path) => Text::File(PathBuf::from(path)),
            };
            return Ok(with_documents(shared, move |shared| self::check(shared, &text)).await.flatten());
        }
        Order::Plan(PlanOf { document, name, base, drift, diff, partial }) => {
            let text = Text::from(&api::order::Document { document, name, base });
            let role = role(drift.unwrap_or(OnDrift::Undo));
            return Ok(match read(shared, text, role, partial).await {
                Ok((what, _)) => plan(shared, ask(None, what), diff).await,
                Err(busy) => Err(busy),
            });
        }
        Order::Apply(apply) => {
            let document = api::order::Document { document: apply.document, name: apply.name, base: apply.base };
            let text = Text::from(&document);
            let role = role(apply.drift.unwrap_or(OnDrift::Undo));
            let (what, check) = match read(shared, text, role, apply.partial).await {
                Ok(read) => read,
                Err(busy) => return Ok(Err(busy)),
            };
            if apply.dry_run {
                return Ok(plan(shared, ask(apply.if_generation, what), false).await);
            }
            return submit(shared, ask(apply.if_generation, what), check, audience).await;
        }
        Order::Reload(reload) => {
            let role = reload.drift.map_or_else(|| role_of_the_file(shared), role);
            let (what, check) = match read(shared, shared.document.clone(), role, reload.partial).await {
                Ok(read) => read,
                Err(busy) => return Ok(Err(busy)),
            };
            return submit(shared, ask(None, what), check, audience).await;
        }
        Order::Fold(Fold { dry_run: true }) => {
            let files = with_documents(shared, fold::rewritten).await.flatten();
            return Ok(files.map(|files| Body::Folded(Folded { files: fold::told(&files, true), receipt: None })));
        }
        Order::Fold(Fold { dry_run: false }) => {
            let write = |shared: &Shared| {
                let files = fold::rewritten(shared)?;
                fold::write(&files).map(|()| fold::told(&files, false))
            };
            let files = match with_documents(shared, write).await.flatten() {
                Ok(files) => files,
                Err(failure) => return Ok(Err(failure)),
            };
            // What was changed meanwhile stays, and is drift.
            let (what, check) = match read(shared, shared.document.clone(), Role::Merged, false).await {
                Ok(read) => read,
                Err(busy) => return Ok(Err(busy)),
            };
            let ended = submit(shared, ask(None, what), check, audience).await?;
            return Ok(ended.map(|body| match body {
                Body::Receipt(receipt) => Body::Folded(Folded { files, receipt: Some(receipt) }),
                other => other,
            }));
        }
        Order::BackendAdd(add) => {
            return edits(shared, vec![Edit::BackendAdd(add)], |what| ask(None, what), audience).await;
        }
        Order::BackendRemove(remove) => {
            return edits(shared, vec![Edit::BackendRemove(remove)], |what| ask(None, what), audience).await;
        }
        Order::BackendSet(set) => {
            return edits(shared, vec![Edit::BackendSet(set)], |what| ask(None, what), audience).await;
        }
        Order::Edit(edit) => return edits(shared, vec![edit], |what| ask(None, what), audience).await,
        Order::Transaction(transaction) if transaction.dry_run => {
            let api::order::Transaction { orders, if_generation, dry_run: _ } = transaction;
            return Ok(match asked(shared, orders).await {
                Ok(what) => plan(shared, ask(if_generation, what), false).await,
                Err(failure) => Err(failure),
            });
        }
        Order::Transaction(transaction) => {
            let api::order::Transaction { orders, if_generation, dry_run: _ } = transaction;
            return edits(shared, orders, |what| ask(if_generation, what), audience).await;
        }
        Order::Events(wanted) => {
            let mut subscription = shared.events.subscribe(wanted.from);
            let mut over = shared.over.subscribe();
            loop {
                let event = tokio::select! {
                    event = subscription.next() => event,
                    _ = over.wait_for(|over| *over) => return Err(Left),
                };
                audience.progress(Progress::Event { event }).await?;
            }
        }
        Order::Stop(stop) => {
            let within = stop.deadline_millis.map(Duration::from_millis);
            return self::stop(shared, stop.mode, within, audience).await;
        }
    };
    Ok(Ok(body))
}

/// Reads a document off this thread. Fails only as busy: what is wrong with the document is in what was read. `partial`: pools
/// that are not in order hold up no others.
pub async fn read(
    shared: &Arc<Shared>,
    text: Text,
    role: Role,
    partial: bool,
) -> Result<(What, Duration), Box<Failure>> {
    with_documents(shared, move |shared| {
        let begin = Instant::now();
        (read_now(shared, &text, role, partial), begin.elapsed())
    })
    .await
}

/// As [`read`], on this thread.
pub fn read_now(shared: &Shared, text: &Text, role: Role, partial: bool) -> What {
    let running = partial.then(|| Arc::clone(&shared.published.load().running.config));
    let broken = running.as_deref().map_or(Broken::Refused, Broken::LeftAs);
    match text.read(shared.shards_auto, broken) {
        Ok(reading) => {
            let Reading { config, warnings, rule_places, left_out } = reading;
            let (config, rule_places, left_out) = (Arc::new(config), Arc::new(rule_places), Arc::new(left_out));
            What::Document { config, warnings, origin: text.origin(), rule_places, role, left_out }
        }
        Err(unreadable) => What::Invalid { message: unreadable.message, problems: unreadable.problems },
    }
}

/// What the file is that is read again.
pub fn role_of_the_file(shared: &Shared) -> Role {
    match shared.published.load().running.config.reload.drift {
        DriftWord::Keep => Role::Merged,
        DriftWord::Undo => Role::Whole,
    }
}

pub fn role(drift: OnDrift) -> Role {
    match drift {
        OnDrift::Keep => Role::Merged,
        OnDrift::Undo => Role::Whole,
    }
}

/// Gives the ask to control; the job is seen through what comes back.
pub fn hand_in(shared: &Shared, ask: Ask, check: Duration) -> watch::Receiver<View> {
    let (voice, view) = watch::channel(View::default());
    let wish = Wish { ask, voice, submitted: clock::wall() - check, check };
    let _ = shared.inbox.send(Event::Submit(Box::new(wish)));
    view
}

async fn edits(
    shared: &Arc<Shared>,
    orders: Vec<Edit>,
    ask: impl FnOnce(What) -> Ask,
    audience: &mut impl Audience,
) -> Answered {
    let begin = Instant::now();
    match asked(shared, orders).await {
        Ok(what) => submit(shared, ask(what), begin.elapsed(), audience).await,
        Err(failure) => Ok(Err(failure)),
    }
}

/// What the orders of one transaction want. Fails where it cannot be tried: what is wrong with an order is in what was read.
async fn asked(shared: &Arc<Shared>, orders: Vec<Edit>) -> Result<What, Box<Failure>> {
    if orders.is_empty() {
        let message = "the transaction has no orders; accepted is at least one in `orders`";
        return Err(Box::new(Failure::new(ErrorCode::InvalidRequest, message)));
    }
    let read = match Edits::name_files(&orders) {
        false => read_edits(shared, orders),
        true => with_documents(shared, move |shared| read_edits(shared, orders)).await?,
    };
    Ok(match read {
        Ok(edits) => What::Edits(edits),
        Err(wrong) => What::Invalid { message: wrong.message, problems: wrong.problems },
    })
}

/// Orders and the files that they name, which are read now.
pub fn read_edits(shared: &Shared, orders: Vec<Edit>) -> Result<Edits, Unreadable> {
    let published = shared.published.load();
    let lists = &published.running.config.lists;
    let kind = |list: &str| lists.get(list).map_or(ListKind::Addresses, |list| list.kind());
    let main = match &shared.document {
        Text::File(path) => path.as_path(),
        Text::Sent { .. } | Text::Embedded(_) => Path::new("/"),
    };
    Edits::read(orders, &kind, main, &config::Disk)
}

/// Follows the job to its end, and the connections of removed backends to theirs.
async fn submit(shared: &Arc<Shared>, ask: Ask, check: Duration, audience: &mut impl Audience) -> Answered {
    let mut view = hand_in(shared, ask, check);
    loop {
        if view.changed().await.is_err() {
            return Ok(Err(gone(shared)));
        }
        let View { progress, ended } = view.borrow_and_update().clone();
        match ended {
            None => {
                if let Some(progress) = progress {
                    audience.progress(progress).await?;
                }
            }
            Some(Ended::Failed(failure)) => return Ok(Err(Box::new(Failure::clone(&failure)))),
            Some(Ended::Done { receipt, drains }) => {
                let receipt = drain(shared, receipt, drains, audience).await?;
                return Ok(Ok(Body::Receipt(Box::new(receipt))));
            }
        }
    }
}

/// Tells the connections that are left until there is none, or until the backends are back in use.
async fn drain(
    shared: &Arc<Shared>,
    receipt: Arc<Receipt>,
    drains: Vec<EndpointSlot>,
    audience: &mut impl Audience,
) -> Result<Receipt, Left> {
    if drains.is_empty() {
        return Ok(Receipt::clone(&receipt));
    }
    let begin = Instant::now();
    let mut turn = shared.turn.subscribe();
    let mut pace = tokio::time::interval(TELL_INTERVAL);
    let mut told = None;
    loop {
        turn.borrow_and_update();
        let left = left(shared, receipt.job, &drains);
        if left.is_empty() {
            let grown = shared.history().amend(receipt.job, |receipt| {
                if receipt.stages.iter().all(|stage| stage.name != Stage::Drain) {
                    receipt.stages.push(StageTime { name: Stage::Drain, micros: clock::micros(begin.elapsed()) });
                }
            });
            return Ok(Receipt::clone(grown.as_deref().unwrap_or(&receipt)));
        }
        if told.as_ref() != Some(&left) {
            audience
                .progress(Progress::Draining {
                    job: receipt.job,
                    generation: receipt.generation_after.unwrap_or(receipt.job),
                    connections: left.iter().map(|backend| backend.connections).sum(),
                    backends: left.clone(),
                })
                .await?;
            told = Some(left);
        }
        // The last connection is news at once, the others when their time has come.
        tokio::select! {
            _ = turn.changed() => {}
            _ = pace.tick() => {}
        }
    }
}

fn left(shared: &Shared, job: u64, drains: &[EndpointSlot]) -> Vec<DrainingBackend> {
    let published = shared.published.load();
    let leaving = |slot: &EndpointSlot| {
        let leaving = published.leaving.get(slot).filter(|leaving| leaving.job.0 == job)?;
        Some(DrainingBackend {
            pool: leaving.pool.to_string(),
            group: leaving.group.to_string(),
            backend: leaving.id.to_string(),
            connections: shared.counted.endpoint(*slot, EndpointCounter::Connections),
        })
    };
    drains.iter().filter_map(leaving).collect()
}

async fn stop(
    shared: &Arc<Shared>,
    mode: StopMode,
    within: Option<Duration>,
    audience: &mut impl Audience,
) -> Answered {
    let closed_before = closed_by_stop(shared, &shared.published.load());
    let mut pace = tokio::time::interval(TELL_INTERVAL);
    let mut over = shared.over.subscribe();
    let _ = shared.inbox.send(Event::Stop { mode, within });
    let mut told = None;
    while !*over.borrow_and_update() {
        tokio::select! {
            _ = over.changed() => {}
            _ = pace.tick() => {
                let connections = shared.counted.shard(ShardCounter::Connections);
                if told != Some(connections) {
                    told = Some(connections);
                    audience.progress(Progress::Stopping { connections }).await?;
                }
            }
        }
    }
    let closed_connections = closed_by_stop(shared, &shared.published.load()).saturating_sub(closed_before);
    Ok(Ok(Body::Stopped(Stopped { closed_connections })))
}

fn closed_by_stop(shared: &Shared, published: &Published) -> u64 {
    let pools = published.running.pools.values();
    pools.map(|pool| shared.counted.pool_closed(pool.generation.slot, CloseReason::Stopped as usize)).sum()
}

fn check(shared: &Shared, text: &Text) -> Result<Body, Box<Failure>> {
    let reading = text.read(shared.shards_auto, Broken::Refused).map_err(|wrong| invalid(shared, wrong))?;
    Ok(Body::Checked(Checked {
        hash: reading.config.hash().to_string(),
        pools: reading.config.pools.len() as u64,
        warnings: reading.warnings,
    }))
}

/// What would become of it. `as_text`: the lines that differ too.
async fn plan(shared: &Arc<Shared>, ask: Ask, as_text: bool) -> Result<Body, Box<Failure>> {
    if let What::Invalid { message, problems } = ask.what {
        return Err(invalid(shared, Unreadable { message, problems }));
    }
    let scene = rehearse::scene(shared).await?;
    on_a_thread(shared, move |shared| {
        let Rehearsed { before, after, mut plan } = rehearse::rehearse(shared, *scene, ask)?;
        if as_text {
            plan.diff = Some(text_diff(&before.to_toml(), &after.to_toml())?);
        }
        Ok(Body::Plan(plan))
    })
    .await
}

/// Lines that differ, with those around them.
fn text_diff(old: &str, new: &str) -> Result<String, Box<Failure>> {
    if old.len().max(new.len()) > DIFF_BYTES_MAX {
        let message = format!(
            "written out, what runs has {} bytes and what would run {}; lines are compared up to {DIFF_BYTES_MAX}: plan \
             without `diff`",
            old.len(),
            new.len()
        );
        return Err(Box::new(Failure::new(ErrorCode::TooLarge, message)));
    }
    let diff = similar::TextDiff::configure().deadline(Instant::now() + DIFF_WITHIN).diff_lines(old, new);
    Ok(diff.unified_diff().header("runs", "would run").to_string())
}

/// What runs, seen from the document that was given last.
fn drift_of(shared: &Shared) -> api::Drift {
    let published = shared.published.load();
    let base = shared.overlay().base().clone();
    let diff = config::diff_kin(&base.config, &published.running.config);
    let plan = planned(shared, &published, &diff, &[]);
    let overlay = shared.overlay();
    let changes = plan.changes.into_iter().map(|change| {
        let by = overlay.by(&change.path).map(|by| api::By::clone(&by));
        api::Drifted { change, by }
    });
    api::Drift {
        generation: plan.generation,
        changes: changes.collect(),
        base_hash: base.config.hash().to_string(),
        base: base.source,
    }
}

fn planned(shared: &Shared, published: &Published, diff: &config::Plan, warnings: &[api::Problem]) -> api::Plan {
    let touched = shared.counted.over(&published.running);
    let running = status::generation(published);
    tell::plan(diff, Some(running), warnings, Some(&touched))
}

fn invalid(shared: &Shared, wrong: Unreadable) -> Box<Failure> {
    let mut failure = Failure::new(ErrorCode::InvalidConfiguration, wrong.message);
    failure.problems = wrong.problems;
    failure.generation = Some(status::generation(&shared.published.load()));
    Box::new(failure)
}

/// A generation that can be gone back to. `None`: the one before the one that runs.
pub fn kept(shared: &Shared, number: Option<u64>) -> Result<KeptGeneration, Box<Failure>> {
    let kept = shared.kept();
    let found = match number {
        Some(_) if is(Mistake::RollsBackToAnother) => kept.previous(),
        Some(number) => kept.find(number),
        None => kept.previous(),
    };
    found.cloned().ok_or_else(|| {
        let oldest = kept.iter().last().map_or(0, |oldest| oldest.number.0);
        let message = match number {
            Some(number) => {
                format!("generation {number} is not kept; `generations` lists those that are, from {oldest} on")
            }
            None => "there is no generation before the one that runs".into(),
        };
        Box::new(Failure::new(ErrorCode::NotFound, message))
    })
}

/// To go back to it.
pub fn past(shared: &Shared, kept: KeptGeneration) -> What {
    What::Document {
        config: kept.config,
        warnings: Vec::new(),
        origin: ConfigSource::Generation(kept.number.0),
        rule_places: Arc::clone(&shared.published.load().rule_places),
        role: Role::Past(kept.number.0),
        left_out: Arc::default(),
    }
}

fn no_receipt(shared: &Shared, job: u64) -> Box<Failure> {
    let published = shared.published.load();
    let message = if published.jobs.iter().any(|line| line.job == job) {
        format!("job {job} has not ended; `jobs` shows how far it is")
    } else {
        format!("there is no receipt of job {job}; `history` lists those that are kept")
    };
    Box::new(Failure::new(ErrorCode::NotFound, message))
}

/// The job was lost in a panic before it was a job.
fn gone(shared: &Shared) -> Box<Failure> {
    let mut failure = Failure::new(ErrorCode::Refused, "control panicked over this order; nothing was changed");
    failure.generation = Some(status::generation(&shared.published.load()));
    Box::new(failure)
}

/// Documents that may be read at the same time.
pub const DOCUMENTS_AT_ONCE: usize = 2;

/// How long the next one waits for its turn.
const DOCUMENT_WAIT: Duration = Duration::from_secs(10);

/// Work that reads files, which may take for ever: on a network that is gone, from a device. It holds up other
/// documents, and nobody else.
async fn with_documents<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> T + Send + 'static,
) -> Result<T, Box<Failure>> {
    let permit = tokio::time::timeout(DOCUMENT_WAIT, Arc::clone(&shared.documents).acquire_owned()).await;
    let Ok(Ok(permit)) = permit else {
        let message = format!(
            "{DOCUMENTS_AT_ONCE} other documents have been read for longer than {} s and do not end; is one of their \
             files on a file system that does not answer?",
            DOCUMENT_WAIT.as_secs()
        );
        return Err(Box::new(Failure::new(ErrorCode::Busy, message)));
    };
    // The permit goes with the work and not with who asked: a client that leaves does not free the thread.
    let work = move |shared: &Shared| {
        let done = work(shared);
        drop(permit);
        done
    };
    Ok(on_a_thread(shared, work).await)
}

/// Long work, away from control's thread.
async fn on_a_thread<T: Send + 'static>(shared: &Arc<Shared>, work: impl FnOnce(&Shared) -> T + Send + 'static) -> T {
    let shared = Arc::clone(shared);
    match tokio::task::spawn_blocking(move || work(&shared)).await {
        Ok(done) => done,
        Err(died) => std::panic::resume_unwind(died.into_panic()),
    }
}
