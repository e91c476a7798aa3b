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
        return page.text();
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
