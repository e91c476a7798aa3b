//! The table of a source-hash group.

use policy::generation::Endpoint;
use std::sync::Arc;

const TABLE_LEN: usize = 65_537;

/// Hash → index in `endpoints`. Empty if nobody can be in it.
pub(crate) fn build(endpoints: &[Arc<Endpoint>]) -> Arc<[u32]> {
    const FREE: u32 = u32::MAX;
    let eligible = |(_, endpoint): &(usize, &Arc<Endpoint>)| endpoint.weight > 0 && !endpoint.backup;
    let mut turns: Vec<(usize, u64, u64, usize, usize)> = endpoints
        .iter()
        .enumerate()
        .filter(eligible)
        .map(|(ix, endpoint)| {
            let hash = blake3::hash(endpoint.address.to_string().as_bytes());
            let word =
                |at: usize| u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes")) as usize;
            (ix, u64::from(endpoint.weight), 0, word(0) % TABLE_LEN, word(8) % (TABLE_LEN - 1) + 1)
        })
        .collect();
    let Some(heaviest) = turns.iter().map(|turn| turn.1).max() else {
        return Arc::new([]);
    };
    let mut table = vec![FREE; TABLE_LEN];
    let mut left = TABLE_LEN;
    while left > 0 {
        for (ix, weight, credit, at, skip) in &mut turns {
            *credit += *weight;
            if *credit >= heaviest && left > 0 {
                *credit -= heaviest;
                while table[*at] != FREE {
                    *at = (*at + *skip) % TABLE_LEN;
                }
                table[*at] = *ix as u32;
                left -= 1;
            }
        }
    }
    table.into()
}
