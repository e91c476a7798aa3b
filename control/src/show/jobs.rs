//! `sluicectl history` and `sluicectl jobs`: one line for each job.

use super::page::Page;
use super::receipt::{micros, outcome_style};
use super::table::{Cell, Column, Table, painted};
use super::{DIM, joined, moment};
use api::receipt::{Author, History, Jobs, Source};

pub fn history(history: &History) -> String {
    let mut page = Page::new();
    if history.jobs.is_empty() {
        page.line("no jobs");
        return page.text();
    }
    let mut table = Table::new(
        0,
        &[
            Column::Right("JOB"),
            Column::Left("OUTCOME"),
            Column::Left("SUBMITTED (UTC)"),
            Column::Right("TOOK"),
            Column::Left("BY"),
            Column::Left("WHAT"),
        ],
    );
    for job in &history.jobs {
        table.row([
            Cell::from(job.job.to_string()),
            painted(outcome_style(job.outcome), job.outcome),
            Cell::from(moment(&job.submitted)),
            Cell::from(micros(job.micros)),
            Cell::from(by(&job.author)),
            Cell::from(format!("{}: {}", what(job.source, &job.order), job.summary)),
        ]);
    }
    table.draw(&mut page);
    if let Some(last) = history.jobs.last().filter(|_| history.more) {
        page.line(format_args!("{DIM}older ones: sluicectl history --before {}{DIM:#}", last.job));
    }
    page.text()
}

pub fn jobs(jobs: &Jobs) -> String {
    let mut page = Page::new();
    if jobs.jobs.is_empty() {
        page.line("no jobs under way");
        return page.text();
    }
    let mut table = Table::new(
        0,
        &[
            Column::Right("JOB"),
            Column::Left("STAGE"),
            Column::Left("SUBMITTED (UTC)"),
            Column::Left("BY"),
            Column::Left("WHAT"),
        ],
    );
    for job in &jobs.jobs {
        let mut text = what(job.source, &job.order);
        if !job.pools.is_empty() {
            text.push_str(&format!(": {}", joined(&job.pools)));
        }
        if !job.behind.is_empty() {
            text.push_str(&format!("; behind job {}", joined(&job.behind)));
        }
        text.push_str(&format!("; until {}", moment(&job.deadline)));
        table.row([
            Cell::from(job.job.to_string()),
            Cell::from(job.stage.to_string()),
            Cell::from(moment(&job.submitted)),
            Cell::from(by(&job.author)),
            Cell::from(text),
        ]);
    }
    table.draw(&mut page);
    page.text()
}

fn by(author: &Option<Author>) -> String {
    match author {
        Some(author) => author.to_string(),
        None => "-".to_owned(),
    }
}

fn what(source: Source, order: &Option<String>) -> String {
    match order {
        Some(order) => order.clone(),
        None => source.to_string(),
    }
}
