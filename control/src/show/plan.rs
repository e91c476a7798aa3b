//! `sluicectl plan`, and the plan inside a receipt.

use super::page::Page;
use super::{BAD, DIM, GOOD, HEAD, WARN, connections_text, counted, failure, grouped, joined};
use anstyle::Style;
use api::plan::{ChangeKind, Class, Plan, PlannedChange};
use api::{By, Drift, Folded};
use serde_json::Value;
use std::collections::BTreeMap;

pub fn plan(plan: &Plan) -> String {
    let mut page = Page::new();
    let against = match plan.generation {
        Some(generation) => format!("generation {generation}"),
        None => "nothing, which is what runs".to_owned(),
    };
    if plan.unchanged {
        page.line(format_args!("unchanged: equal to {against}"));
    } else {
        page.line(format_args!("compared with {against}: {}", summary(plan)));
        draw_changes(plan, &mut page);
    }
    if let Some(diff) = plan.diff.as_deref().filter(|diff| !diff.is_empty()) {
        page.gap();
        for line in diff.lines() {
            let style = match line.as_bytes().first() {
                Some(b'+') => GOOD,
                Some(b'-') => BAD,
                _ => DIM,
            };
            page.line(format_args!("{style}{line}{style:#}"));
        }
    }
    if !plan.restart_reasons.is_empty() {
        page.gap();
        page.line(format_args!("{BAD}cannot be made live{BAD:#}, and so `apply` will be refused:"));
        for reason in &plan.restart_reasons {
            page.line(format_args!("  {} ({})", reason.path, reason.class));
            page.wrapped(6, &reason.reason);
        }
    }
    if !plan.undoes.is_empty() {
        page.gap();
        page.line(format_args!("{WARN}undoes what orders have changed{WARN:#}:"));
        for undone in &plan.undoes {
            page.line(format_args!("  {}  {}", undone.path, by_text(undone.by.as_ref())));
        }
    }
    for warning in &plan.warnings {
        page.gap();
        failure::draw_problem(warning, &mut page);
    }
    page.text()
}

/// `sluicectl drift`.
pub fn drift(drift: &Drift) -> String {
    let mut page = Page::new();
    if drift.changes.is_empty() {
        page.line(format_args!("what runs is what {} says", drift.base));
        return page.text();
    }
    let changes = counted(drift.changes.len() as u64, "change", "changes");
    page.line(format_args!("orders have made {changes} of what {} says", drift.base));
    for drifted in &drift.changes {
        page.gap();
        draw_change(&drifted.change, None, &mut page);
        page.line(format_args!("      {DIM}{}{DIM:#}", by_text(drifted.by.as_ref())));
    }
    page.text()
}

/// `sluicectl fold`.
pub fn folded(folded: &Folded) -> String {
    let mut page = Page::new();
    if folded.files.is_empty() {
        page.line(format_args!("the file says what runs already"));
    }
    for file in &folded.files {
        match &file.text {
            None => page.line(format_args!("{} says what runs now", file.path)),
            Some(text) => {
                page.gap();
                page.line(format_args!("{DIM}# {}{DIM:#}", file.path));
                text.lines().for_each(|line| page.line(format_args!("{line}")));
            }
        }
    }
    page.text()
}

/// `backend.set by anna, job 12, 2026-…`.
fn by_text(by: Option<&By>) -> String {
    let Some(By { job, author, order, submitted }) = by else { return "by an order from before the last start".into() };
    let order = order.as_deref().unwrap_or("by itself");
    let author = author.as_ref().map_or_else(String::new, |author| format!(" by {author}"));
    format!("{order}{author}, job {job}, {submitted}")
}

/// `3 changes in 2 pools, all soft`.
pub fn summary(plan: &Plan) -> String {
    let changes = counted(plan.changes.len() as u64, "change", "changes");
    let pools = match plan.pools.len() as u64 {
        0 => String::new(),
        pools => format!(" in {}", counted(pools, "pool", "pools")),
    };
    let classes = match plan.changes.iter().map(|change| change.class).max() {
        Some(Class::Hard | Class::Process) => {
            let lasting = plan.changes.iter().filter(|change| change.class != Class::Soft);
            format!("{} of them not live", lasting.count())
        }
        Some(Class::Soft) | None => "all soft".to_owned(),
    };
    format!("{changes}{pools}, {classes}")
}

/// By pool; what belongs to none comes first.
pub fn draw_changes(plan: &Plan, page: &mut Page) {
    let mut by_pool: BTreeMap<Option<&str>, Vec<&PlannedChange>> = BTreeMap::new();
    for change in &plan.changes {
        let pool = change.pool.as_deref();
        by_pool.entry(pool).or_default().push(change);
    }
    for (pool, changes) in by_pool {
        page.gap();
        page.line(format_args!("{HEAD}{}{HEAD:#}", pool.unwrap_or("appliance")));
        for change in changes {
            draw_change(change, pool, page);
        }
    }
}

fn draw_change(change: &PlannedChange, pool: Option<&str>, page: &mut Page) {
    let within = pool.and_then(|pool| {
        let path = change.path.strip_prefix("pool.")?;
        path.strip_prefix(pool)?.strip_prefix('.')
    });
    let path = within.unwrap_or(&change.path);
    let (style, sign) = match change.kind {
        ChangeKind::Added => (GOOD, '+'),
        ChangeKind::Removed => (BAD, '-'),
        ChangeKind::Set => (WARN, '~'),
    };
    let lists = change.old.as_ref().and_then(Side::of).zip(change.new.as_ref().and_then(Side::of));
    let values = match (&change.old, &change.new) {
        _ if let Some((old, new)) = &lists => format!("  {} -> {}", grouped(old.entries), grouped(new.entries)),
        (None, None) => String::new(),
        (Some(value), None) | (None, Some(value)) => format!("  {}", shown(value)),
        (Some(old), Some(new)) => format!("  {} -> {}", shown(old), shown(new)),
    };
    page.line(format_args!("  {style}{sign}{style:#} {path}{values}"));
    if let Some((old, new)) = lists {
        old.draw(BAD, '-', page);
        new.draw(GOOD, '+', page);
    }
    let mut felt = vec![change.class.to_string(), change.reach.to_string(), change.category.clone()];
    felt.extend(change.touched_connections.map(|connections| match change.touched_tunnels {
        Some(tunnels) if tunnels > 0 && tunnels == connections => {
            format!("{} touched", counted(tunnels, "tunnel", "tunnels"))
        }
        Some(tunnels) if tunnels > 0 => {
            let of_them = counted(tunnels, "of them a tunnel", "of them tunnels");
            format!("{} touched, {of_them}", connections_text(connections))
        }
        Some(_) | None => format!("{} touched", connections_text(connections)),
    }));
    if let Some(requests) = change.touched_requests {
        felt.push(format!("{} requests/s", grouped(requests)));
    }
    let style = if change.class == Class::Soft { DIM } else { BAD };
    page.line(format_args!("      {style}{}{style:#}", joined(felt)));
    page.wrapped(6, &change.reason);
    if change.semantic_jump {
        page.line(format_args!("      {WARN}all targets are others: perhaps another application{WARN:#}"));
    }
}

/// One side of a list that changes.
struct Side<'v> {
    entries: u64,
    only_here: u64,
    shown: Vec<&'v str>,
}

impl Side<'_> {
    /// `None`: it is the value of another kind of change.
    fn of(value: &Value) -> Option<Side<'_>> {
        let count = |name| value.get(name).and_then(Value::as_u64);
        let shown = value.get("shown")?.as_array()?.iter().filter_map(Value::as_str).collect();
        Some(Side { entries: count("entries")?, only_here: count("only_here")?, shown })
    }

    fn draw(&self, style: Style, sign: char, page: &mut Page) {
        for entry in &self.shown {
            page.line(format_args!("      {style}{sign}{style:#} {entry}"));
        }
        let more = self.only_here.saturating_sub(self.shown.len() as u64);
        if more > 0 {
            page.line(format_args!("      {style}{sign}{style:#} and {}", counted(more, "entry more", "entries more")));
        }
    }
}

/// Characters of a value that are shown.
const VALUE_MAX: usize = 48;

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_of_a_list_are_told_one_by_one() {
        let side = |entries: u64, only_here: u64, shown: &[&str]| json!({ "entries": entries, "only_here": only_here, "shown": shown });
        let plan = json!({
            "unchanged": false, "restart_reasons": [], "warnings": [], "pools": [], "listeners": [],
            "changes": [{
                "path": "list.blocked.entries", "object": "list blocked", "kind": "set", "category": "whitelist", "class": "soft",
                "reach": "next-request", "reason_code": "list", "reason": "Asked for each request.",
                "old": side(1_000, 1, &["192.0.2.1"]), "new": side(1_203, 204, &["192.0.2.7", "198.51.100.0/24"]),
            }],
        });
        let mut page = Page::new();
        draw_changes(&serde_json::from_value(plan).expect("a plan"), &mut page);
        let text = anstream::adapter::strip_str(&page.text()).to_string();
        let entries: Vec<&str> =
            text.lines().filter(|line| line.contains("->") || line.starts_with("      ")).collect();
        assert_eq!(
            entries[..5],
            [
                "  ~ list.blocked.entries  1,000 -> 1,203",
                "      - 192.0.2.1",
                "      + 192.0.2.7",
                "      + 198.51.100.0/24",
                "      + and 202 entries more",
            ]
        );
    }
}
