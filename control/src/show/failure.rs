//! Why not: an `error` answer, and the problems of a document.

use super::page::Page;
use super::{BAD, DIM, GOOD, WARN, counted};
use api::status::Checked;
use api::{Failure, Problem, Severity};

/// Begins in the middle of a line: who prints it has said `error` or the like.
pub fn failure(failure: &Failure) -> String {
    let mut page = Page::new();
    page.line(format_args!(
        "{} {DIM}({}){DIM:#}",
        failure.message, failure.code
    ));
    for problem_ in &failure.problems {
        page.block(&problem(problem_));
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
    if let Some(generation) = failure.generation {
        page.line(format_args!("  generation {generation} goes on"));
    }
    if let Some(job) = failure.job {
        page.line(format_args!("  {DIM}sluicectl receipt {job}{DIM:#}"));
    }
    page.text()
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
        page.block(&problem(warning));
    }
    page.text()
}

/// As it was drawn, else in one line.
pub fn problem(problem: &Problem) -> String {
    if let Some(drawing) = &problem.drawing {
        return format!("{}\n", drawing.trim_end());
    }
    let style = match problem.severity {
        Severity::Error => BAD,
        Severity::Warning => WARN,
    };
    format!("{style}*{style:#} {problem}\n")
}
