//! Every mistake that can be planted in control is found within a fixed number of seeds.
//!
//! A failing test here means that the simulation has become blind to something: make the sites rougher or the witness
//! sharper, not the budget larger.

mod common;

use agent::planted::{Mistake, plant};

/// Seeds in which each mistake must be found.
const BUDGET: u64 = 1_000;

/// The first seed that fails with the mistake, and how.
fn found(mistake: Mistake) -> Option<sim::Failure> {
    plant(Some(mistake));
    let found = common::first_failure(sim::run_site, BUDGET);
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
                let (seed, step) = (found.seed, found.step);
                println!("{:?} at seed {seed}, step {step}: {}", Mistake::$mistake, found.message);
            }
        )*

        const TESTED: &[Mistake] = &[$(Mistake::$mistake,)*];
    };
}

planted! {
    finds_answered_before_written: AnsweredBeforeWritten,
    finds_unchanged_before_written: UnchangedBeforeWritten,
    finds_unsaved_forgotten: UnsavedForgotten,
    finds_refused_rider_is_applied: RefusedRiderIsApplied,
    finds_superseded_rider_is_applied: SupersededRiderIsApplied,
    finds_last_rider_forgotten: LastRiderForgotten,
    finds_last_gathered_forgotten: LastGatheredForgotten,
    finds_base_not_moved: BaseNotMoved,
    finds_base_moved_by_orders: BaseMovedByOrders,
    finds_others_taken_back: OthersTakenBack,
    finds_wanted_generation_ignored: WantedGenerationIgnored,
    finds_wanted_generation_not_asked_again: WantedGenerationNotAskedAgain,
    finds_overtaken_keeps_number: OvertakenKeepsNumber,
    finds_settings_in_no_line: SettingsInNoLine,
    finds_new_pool_in_no_line: NewPoolInNoLine,
    finds_merged_supersedes: MergedSupersedes,
    finds_hangs_on_nothing: HangsOnNothing,
    finds_taken_back_is_unchanged: TakenBackIsUnchanged,
    finds_bases_in_any_order: BasesInAnyOrder,
    finds_last_entry_forgotten: LastEntryForgotten,
    finds_numbers_reused: NumbersReused,
    finds_rolls_back_to_another: RollsBackToAnother,
    finds_rollback_written_as_another: RollbackWrittenAsAnother,
    finds_discarded_slots_kept: DiscardedSlotsKept,
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
    for seed in 0..20 {
        assert!(sim::run_site(seed).is_ok(), "seed {seed}");
    }
}
