//! What came of a change: a line or two for who made it, all of it on `sluicectl receipt N`.

use super::page::Page;
use super::table::{Cell, Column, Table};
use super::{BAD, DIM, GOOD, HEAD, WARN, counted, failure, grouped, joined, moment, plan, size};
use crate::duration;
use anstyle::Style;
use api::receipt::ConnectionCounts;
use api::{JobOutcome, Receipt, Stage};
use std::time::Duration;

pub fn outcome(receipt: &Receipt) -> String {
    let mut page = Page::new();
    draw_outcome(receipt, &mut page);
    page.text()
}

/// As [`outcome`], for an order that waited until connections had ended.
pub fn drained(receipt: &Receipt) -> String {
    let mut page = Page::new();
    draw_outcome(receipt, &mut page);
    if receipt.outcome == JobOutcome::Applied {
        let took = receipt.stages.iter().find(|stage| stage.name == Stage::Drain);
        let took = took.map(|stage| format!(" after {}", micros(stage.micros)));
        page.line(format_args!("{GOOD}drained{GOOD:#}{}", took.unwrap_or_default()));
    }
    page.text()
}

pub fn receipt(receipt: &Receipt) -> String {
    let mut page = Page::new();
    page.line(format_args!("{HEAD}job {}{HEAD:#}", receipt.job));
    draw_outcome(receipt, &mut page);
    draw_origin(receipt, &mut page);
    if let Some(plan) = receipt.plan.as_ref().filter(|plan| !plan.unchanged) {
        plan::draw_changes(plan, &mut page);
    }
    draw_shards(receipt, &mut page);
    if receipt.outcome == JobOutcome::Applied {
        draw_aftermath(receipt, &mut page);
    }
    page.text()
}

pub fn outcome_style(outcome: JobOutcome) -> Style {
    match outcome {
        JobOutcome::Applied => GOOD,
        JobOutcome::Unchanged => Style::new(),
        JobOutcome::KeptOld => BAD,
    }
}

fn draw_outcome(receipt: &Receipt, page: &mut Page) {
    let style = outcome_style(receipt.outcome);
    let running = match receipt.generation_after {
        Some(generation) => format!("generation {generation}"),
        None => "nothing runs".to_owned(),
    };
    let switch: u64 = receipt.stages.iter().filter(|stage| stage.name != Stage::Drain).map(|stage| stage.micros).sum();
    let detail = match (receipt.outcome, &receipt.plan) {
        (JobOutcome::Applied, Some(plan)) => {
            format!(" in {}, {}", micros(switch), plan::summary(plan))
        }
        (JobOutcome::Applied, None) => format!(" in {}", micros(switch)),
        (JobOutcome::Unchanged, _) => " already says this".to_owned(),
        (JobOutcome::KeptOld, _) => " goes on".to_owned(),
    };
    page.line(format_args!("{style}{}{style:#}: {running}{detail}", receipt.outcome));
    if !receipt.lost_shards.is_empty() {
        page.line(format_args!(
            "{BAD}lost{BAD:#}: shard {} did not adopt in time and accepts nothing until it has",
            joined(&receipt.lost_shards)
        ));
    }
    if let Some(plan) = &receipt.plan {
        for warning in &plan.warnings {
            failure::draw_problem(warning, page);
        }
    }
    if let Some(error) = &receipt.error {
        failure::draw_cause(error, page);
    }
}

fn draw_origin(receipt: &Receipt, page: &mut Page) {
    let author = receipt.author.as_ref().map(|author| {
        let pid = author.pid.map(|pid| format!(", pid {pid}"));
        format!(" by {author} (uid {}, gid {}{})", author.uid, author.gid, pid.unwrap_or_default())
    });
    let order = receipt.order.as_ref().map(|order| format!(" {order}"));
    page.wrapped(
        0,
        &format!(
            "{}{} at {}{}",
            receipt.source,
            order.unwrap_or_default(),
            receipt.submitted,
            author.unwrap_or_default()
        ),
    );
    let stages = receipt.stages.iter().map(|stage| format!("{} {}", stage.name, micros(stage.micros)));
    page.wrapped(0, &format!("stages: {}", joined(stages)));
}

fn draw_shards(receipt: &Receipt, page: &mut Page) {
    if receipt.shards.is_empty() {
        return;
    }
    page.gap();
    let mut table = Table::new(
        0,
        &[
            Column::Right("SHARD"),
            Column::Right("ADOPTED AFTER"),
            Column::Right("PAUSE"),
            Column::Right("CARRIED"),
            Column::Right("ADOPTED"),
            Column::Right("RETIRED"),
        ],
    );
    for shard in &receipt.shards {
        table.row([
            Cell::from(shard.shard.to_string()),
            Cell::from(micros(shard.adopted_micros)),
            Cell::from(micros(shard.pause_micros)),
            Cell::from(grouped(shard.carried)),
            Cell::from(grouped(shard.adopted)),
            Cell::from(grouped(shard.retired)),
        ]);
    }
    table.draw(page);
}

fn draw_aftermath(receipt: &Receipt, page: &mut Page) {
    page.gap();
    page.wrapped(0, &connections(&receipt.connections));
    if let Some(memory) = receipt.memory {
        page.line(format_args!("memory: {} before, {} after", size(memory.before_bytes), size(memory.after_bytes)));
    }
    match &receipt.released {
        Some(time) => page.line(format_args!("{DIM}what it superseded was released at {}{DIM:#}", moment(time))),
        None => {
            page.line(format_args!("{WARN}something it superseded is still in use{WARN:#}: `sluicectl generations`"))
        }
    }
}

fn connections(counts: &ConnectionCounts) -> String {
    let ConnectionCounts { carried, adopted, retired, closed } = counts;
    let closed: Vec<String> = closed.iter().map(|(reason, count)| format!("{} {reason}", grouped(*count))).collect();
    let closed = if closed.is_empty() { "none closed".to_owned() } else { format!("closed: {}", joined(closed)) };
    format!(
        "{}, {} adopted, {} retired; {closed}",
        counted(*carried, "connection carried", "connections carried"),
        grouped(*adopted),
        grouped(*retired)
    )
}

pub fn micros(micros: u64) -> String {
    duration::shown(Duration::from_micros(micros))
}
