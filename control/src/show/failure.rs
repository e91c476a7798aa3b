//! Why not: an `error` answer, and the problems of a document.

use super::page::Page;
use super::{DIM, GOOD, counted};
use api::status::Checked;
use api::{Failure, Problem};

/// Begins in the middle of a line: who prints it has said `error` or the like.
pub fn failure(failure: &Failure) -> String {
    let mut page = Page::new();
    draw_cause(failure, &mut page);
    if let Some(generation) = failure.generation {
        page.line(format_args!("  generation {generation} goes on"));
    }
    if let Some(job) = failure.job {
        page.line(format_args!("  {DIM}sluicectl receipt {job}{DIM:#}"));
    }
    page.text()
}

/// What it was, without what is so all the same.
pub fn draw_cause(failure: &Failure, page: &mut Page) {
    page.line(format_args!("{} {DIM}({}){DIM:#}", failure.message, failure.code));
    for problem in &failure.problems {
        draw_problem(problem, page);
    }
    for reason in &failure.restart_reasons {
        page.line(format_args!("  {} ({})", reason.path, reason.class));
        page.wrapped(6, &reason.reason);
    }
    for refusal in &failure.refusals {
        page.wrapped(2, &format!("shard {}: {}", refusal.shard, refusal.reason));
    }
    if let Some(stage) = failure.stage {
        page.line(format_args!("  it ended at stage {stage}"));
    }
}

pub fn checked(checked: &Checked) -> String {
    let mut page = Page::new();
    page.line(format_args!(
        "{GOOD}valid{GOOD:#}: {}, {}  {DIM}{}{DIM:#}",
        counted(checked.pools, "pool", "pools"),
        counted(checked.warnings.len() as u64, "warning", "warnings"),
        checked.hash
    ));
    for warning in &checked.warnings {
        draw_problem(warning, &mut page);
    }
    page.text()
}

/// As it was drawn, else in a sentence.
pub fn draw_problem(problem: &Problem, page: &mut Page) {
    match &problem.drawing {
        Some(drawing) => page.line(drawing.trim_end()),
        None => page.wrapped(2, &problem.to_string()),
    }
}
