//! `sluicectl explain`: the way of one request, from its path to the backends.

use super::page::Page;
use super::status::{health_style, remarks};
use super::table::{Cell, Column, Table, painted};
use super::{BAD, DIM, GOOD, HEAD, WARN, counted, grouped};
use anstyle::Style;
use api::Explanation;
use api::explain::{AskedRule, Candidate, Decision, HeaderEdit, Sent, Standing};

pub fn explanation(explanation: &Explanation) -> String {
    let Explanation { pool, generation, method, host, from, path, normal_path, rules, asked, decision, answer_headers } =
        explanation;
    let mut page = Page::new();
    let client = match from {
        Some(address) => format!("from {address}"),
        None => "from a client without address".to_owned(),
    };
    page.line(format_args!("{HEAD}{pool}@{generation}{HEAD:#}  {method} {host}{path} {client}"));
    match normal_path {
        Some(normal) if normal != path => page.line(format_args!("  matched as {normal}")),
        _ => {}
    }
    page.gap();
    draw_rules(*rules, asked, normal_path.is_some(), &mut page);
    page.gap();
    draw_decision(decision, &mut page);
    if !answer_headers.is_empty() {
        page.line("the answer");
        draw_edits(answer_headers, &mut page);
    }
    page.text()
}

fn draw_rules(rules: u64, asked: &[AskedRule], searched: bool, page: &mut Page) {
    if asked.is_empty() {
        let none = match (rules, searched) {
            (0, _) => "the pool has no rules".to_owned(),
            (_, true) => format!("none of {} is for this host and path", counted(rules, "rule", "rules")),
            (_, false) => "no rule is asked".to_owned(),
        };
        return page.line(none);
    }
    let columns = &[Column::Right("TURN"), Column::Left("RULE"), Column::Left("PLACE"), Column::Left("")];
    let mut table = Table::new(0, columns);
    for AskedRule { rule, turn, place, fails } in asked {
        let place = place.as_ref().map(|place| format!("{}:{}", place.file, place.line));
        table.row([
            Cell::from(grouped(*turn)),
            Cell::from(rule.as_str()),
            place.map_or_else(|| painted(DIM, "by its turn"), Cell::from),
            match fails {
                Some(condition) => Cell::from(format!("fails {condition}")),
                None => painted(GOOD, "matches"),
            },
        ]);
    }
    table.draw(page);
    // The last one matches, or there is none behind it.
    let turn = asked.last().map_or(0, |last| last.turn);
    let left_out = turn - asked.len() as u64;
    if left_out > 0 {
        let others = counted(left_out, "rule", "rules");
        page.line(format_args!("{DIM}{others} between them: for another host or path{DIM:#}"));
    }
}

fn draw_decision(decision: &Decision, page: &mut Page) {
    let mut say = |style: Style, what: &str| page.line(format_args!("{style}{what}{style:#}"));
    match decision {
        Decision::Group { group, balance, sent, backends } => {
            say(GOOD, &format!("group {group}, balanced by {balance}"));
            let Sent { target, host, headers } = sent;
            page.line(format_args!("  is sent {target} for host {host}"));
            draw_edits(headers, page);
            draw_backends(backends, page);
        }
        Decision::Redirect { status, location } => say(GOOD, &format!("redirect {status} to {location}")),
        Decision::Respond { status, content_type, body_bytes } => {
            let bytes = counted(*body_bytes, "byte", "bytes");
            say(GOOD, &format!("respond {status} with {bytes} of {content_type}"));
        }
        Decision::Deny { status } => say(BAD, &format!("deny {status}")),
        Decision::NoRule { status } => say(BAD, &format!("{status}: no rule matches")),
        Decision::Refused { status, reason } => say(BAD, &format!("refused with {status}: {reason}")),
    }
}

fn draw_edits(edits: &[HeaderEdit], page: &mut Page) {
    for edit in edits {
        page.line(format_args!("    {edit}"));
    }
}

fn draw_backends(backends: &[Candidate], page: &mut Page) {
    if backends.is_empty() {
        return page.line(format_args!("  {WARN}no backends{WARN:#}"));
    }
    let columns = &[
        Column::Left("BACKEND"),
        Column::Left("ADDRESS"),
        Column::Left("HEALTH"),
        Column::Right("OPEN"),
        Column::Right("WEIGHT"),
        Column::Left("STANDING"),
        Column::Left(""),
    ];
    let mut table = Table::new(2, columns);
    for Candidate { backend, standing } in backends {
        let style = match standing {
            Standing::Asked => GOOD,
            Standing::Spare => Style::new(),
            Standing::Full | Standing::Out => WARN,
        };
        table.row([
            Cell::from(backend.backend.as_str()),
            Cell::from(backend.address.as_str()),
            painted(health_style(backend.health), backend.health),
            Cell::from(grouped(backend.connections)),
            Cell::from(backend.weight.to_string()),
            painted(style, standing),
            painted(DIM, remarks(backend)),
        ]);
    }
    table.draw(page);
}
