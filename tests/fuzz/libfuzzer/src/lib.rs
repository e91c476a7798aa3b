//! What libFuzzer asks for beside the targets: the mutation that knows their languages.

use fuzz::mutate::{Language, mutate};
use fuzz::{Dice, target};

/// Half of the time libFuzzer's own mutation, half of the time one by lines and words. Answers with the new
/// size, as libFuzzer wants it.
pub fn bend(name: &str, data: &mut [u8], size: usize, size_max: usize, seed: u32) -> usize {
    let target = target(name);
    let mut dice = Dice::new(seed.into());
    if matches!(target.language, Language::Bytes) || dice.below(2) == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, size_max);
    }
    let mut bent = mutate(target.language, &data[..size], &data[..size], &mut dice);
    bent.truncate(size_max);
    data[..bent.len()].copy_from_slice(&bent);
    bent.len()
}
