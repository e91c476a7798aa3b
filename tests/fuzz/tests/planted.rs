//! The kept corpus finds mistakes: each of those that the shard's end of a reload can make, and that of who reads the
//! journal, is planted in the real code, and some kept input must fail.

#![forbid(unsafe_code)]

use fuzz::{Target, corpus, target};
use policy::reload::planted::{Mistake, plant};
use std::panic::catch_unwind;

/// Those in the code that the targets run; the others are of control's end, which `tests/sim` drives.
const OF_A_SHARD: [Mistake; 9] = [
    Mistake::ReleasedWhileLeased,
    Mistake::ExchangeForCurrentPolicy,
    Mistake::EndpointUnnamedEarly,
    Mistake::LastRootForgotten,
    Mistake::OpenAtPrepare,
    Mistake::CloseWithoutDraining,
    Mistake::LostAccepts,
    Mistake::AcceptAtSync,
    Mistake::SyncKeepsOldPools,
];

#[test]
fn the_kept_corpus_finds_every_mistake_of_a_shard() {
    for mistake in OF_A_SHARD {
        assert!(finds(target("adopter"), mistake), "no kept input finds {mistake:?}");
    }
    assert!(finds(target("leases"), Mistake::ReleasedWhileLeased));
}

#[test]
fn the_kept_corpus_finds_an_entry_that_is_not_read() {
    use agent::planted::{Mistake, plant};
    assert!(fails_with(target("entries"), || plant(Some(Mistake::LastEntryForgotten)), || plant(None)));
}

fn finds(target: &Target, mistake: Mistake) -> bool {
    fails_with(target, || plant(Some(mistake)), || plant(None))
}

fn fails_with(target: &Target, plant: impl Fn(), unplant: impl Fn()) -> bool {
    let fails = |bytes: &[u8]| catch_unwind(|| (target.run)(bytes)).is_err();
    let kept = corpus::of(target.name);
    assert!(!kept.iter().any(|(_, bytes)| fails(bytes)), "`{}` fails without a mistake", target.name);
    plant();
    let found = kept.iter().any(|(_, bytes)| fails(bytes));
    unplant();
    found
}
