//! `sluicectl generations`: what runs, and who keeps what came before.

use super::page::Page;
use super::table::{Cell, Column, Table};
use super::{counted, joined, size};
use api::Generations;
use api::status::{PinnedPart, PinningShard};

pub fn generations(generations: &Generations) -> String {
    let mut page = Page::new();
    page.line(format_args!(
        "generation {}; superseded parts hold {}, at most {} for each pool",
        generations.generation,
        size(generations.retained_bytes),
        size(generations.retained_bytes_max)
    ));
    if generations.pools.is_empty() {
        return kept(generations, page);
    }
    page.gap();
    let mut table =
        Table::new(0, &[Column::Left("POOL"), Column::Right("GENERATION"), Column::Right("HELD"), Column::Left("BY")]);
    for pool in &generations.pools {
        let generation = match pool.generation {
            Some(generation) => generation.to_string(),
            None => "gone".to_owned(),
        };
        let first = pool.pinned.first().map(pinned_text).unwrap_or_default();
        table.row([
            Cell::from(pool.pool.as_str()),
            Cell::from(generation),
            Cell::from(size(pool.retained_bytes)),
            Cell::from(first),
        ]);
        for part in pool.pinned.iter().skip(1) {
            table.row([Cell::from(""), Cell::from(""), Cell::from(""), Cell::from(pinned_text(part))]);
        }
    }
    table.draw(&mut page);
    kept(generations, page)
}

/// The newest that can be gone back to.
const KEPT_SHOWN: usize = 20;

fn kept(generations: &Generations, mut page: Page) -> String {
    if generations.kept.len() < 2 {
        return page.text();
    }
    page.gap();
    page.line(format_args!("`rollback` goes back to:"));
    let mut table = Table::new(2, &[Column::Right("GENERATION"), Column::Left("SINCE"), Column::Left("HASH")]);
    for kept in generations.kept.iter().skip(1).take(KEPT_SHOWN) {
        table.row([
            Cell::from(kept.generation.to_string()),
            Cell::from(kept.since.as_str()),
            Cell::from(kept.hash.as_str()),
        ]);
    }
    table.draw(&mut page);
    let more = (generations.kept.len() - 1).saturating_sub(KEPT_SHOWN);
    if more > 0 {
        page.line(format_args!("  and {more} more, with --json"));
    }
    page.text()
}

/// `tunnel-policy@40: 17 leases, shards 0, 1`.
fn pinned_text(part: &PinnedPart) -> String {
    let known: Option<u64> = part.pinned_by.iter().map(|pin| pin.leases).sum();
    let leases = match known {
        Some(leases) => format!("{}, ", counted(leases, "lease", "leases")),
        None => String::new(),
    };
    let shards = joined(part.pinned_by.iter().map(|PinningShard { shard, .. }| shard));
    let noun = match part.pinned_by.len() {
        1 => "shard",
        _ => "shards",
    };
    format!("{}@{}: {}, {leases}{noun} {shards}", part.part, part.generation, size(part.bytes))
}
