//! Every mistake that can be planted in the real code is found within a fixed number of seeds.
//!
//! A failing test here means that the simulation has become blind to something: make the worlds rougher or
//! the witness sharper, not the budget larger.

mod common;

use policy::reload::planted::{Mistake, plant};

/// Seeds in which each mistake must be found.
const BUDGET: u64 = 3_000;

/// The first seed that fails with the mistake, and how.
fn found(mistake: Mistake) -> Option<sim::Failure> {
    plant(Some(mistake));
    let found = common::first_failure(sim::run, BUDGET);
    plant(None);
    found
}

macro_rules! planted {
    ($($test:ident: $mistake:ident,)*) => {
        $(
            #[test]
            fn $test() {
                let found = found(Mistake::$mistake);
                let found = found.unwrap_or_else(|| panic!("{:?} is not found in {BUDGET} seeds", Mistake::$mistake));
                println!("{:?} at seed {}, step {}: {}", Mistake::$mistake, found.seed, found.step, found.message);
            }
        )*

        const TESTED: &[Mistake] = &[$(Mistake::$mistake,)*];
    };
}

planted! {
    finds_commit_although_refused: CommitAlthoughRefused,
    finds_commit_before_last_prepared: CommitBeforeLastPrepared,
    finds_applied_before_last_adopted: AppliedBeforeLastAdopted,
    finds_adopted_counts_for_all: AdoptedCountsForAll,
    finds_no_abort: NoAbort,
    finds_part_freed_early: PartFreedEarly,
    finds_endpoint_freed_early: EndpointFreedEarly,
    finds_pool_freed_while_named: PoolFreedWhileNamed,
    finds_released_while_leased: ReleasedWhileLeased,
    finds_exchange_for_current_policy: ExchangeForCurrentPolicy,
    finds_endpoint_unnamed_early: EndpointUnnamedEarly,
    finds_last_root_forgotten: LastRootForgotten,
    finds_sessions_forgotten: SessionsForgotten,
    finds_sessions_stay_behind: SessionsStayBehind,
    finds_open_at_prepare: OpenAtPrepare,
    finds_close_without_draining: CloseWithoutDraining,
    finds_check_before_all_drop: CheckBeforeAllDrop,
    finds_lost_accepts: LostAccepts,
    finds_accept_at_sync: AcceptAtSync,
    finds_live_at_old_root: LiveAtOldRoot,
    finds_sync_keeps_old_pools: SyncKeepsOldPools,
    finds_incarnation_ignored: IncarnationIgnored,
    finds_lost_is_believed: LostIsBelieved,
    finds_dead_still_holds: DeadStillHolds,
    finds_dead_is_awaited: DeadIsAwaited,
    finds_retained_not_counted: RetainedNotCounted,
    finds_unknown_not_counted: UnknownNotCounted,
    finds_waiting_forgotten: WaitingForgotten,
    finds_lines_ignored: LinesIgnored,
    finds_recovery_takes_oldest: RecoveryTakesOldest,
    finds_untold_hold_nothing: UntoldHoldNothing,
    finds_epoch_ignored: EpochIgnored,
}

#[test]
fn every_mistake_has_its_test() {
    for mistake in Mistake::ALL {
        assert!(TESTED.contains(mistake), "{mistake:?} is planted and not looked for");
    }
    assert_eq!(TESTED.len(), Mistake::ALL.len());
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    plant(None);
    for seed in 0..200 {
        assert!(sim::run(seed).is_ok(), "seed {seed}");
    }
}
