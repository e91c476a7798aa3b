//! Bytes that can be checked anywhere, and dice that fall the same way for the same seed.

/// An endless stream of bytes, different for each seed, known at each offset. So a receiver checks what
/// it gets byte for byte without keeping what was sent, and knows at which offset it went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    pub fn new(seed: u64) -> Pattern {
        Pattern { seed }
    }

    /// Writes the bytes from `offset` on into `buffer`.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(at / 8).to_le_bytes();
            let from = (at % 8) as usize;
            let count = rest.len().min(8 - from);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&word[from..from + count]);
            at += count as u64;
            rest = later;
        }
    }

    /// `Err` carries the offset in the stream of the first byte that differs.
    pub fn check(&self, offset: u64, received: &[u8]) -> Result<(), u64> {
        let mut at = offset;
        let mut rest = received;
        while !rest.is_empty() {
            let word = self.word(at / 8).to_le_bytes();
            let from = (at % 8) as usize;
            let count = rest.len().min(8 - from);
            let (now, later) = rest.split_at(count);
            if now != &word[from..from + count] {
                let same = now.iter().zip(&word[from..]).take_while(|(a, b)| a == b).count();
                return Err(at + same as u64);
            }
            at += count as u64;
            rest = later;
        }
        Ok(())
    }

    fn word(&self, index: u64) -> u64 {
        mix(self.seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Dice with a seed.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "no number is below 0");
        (self.roll() % bound as u64) as usize
    }

    /// `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_stream_is_the_same_stream() {
        let pattern = Pattern::new(7);
        let mut whole = [0; 100];
        pattern.fill(0, &mut whole);
        for from in 0..whole.len() {
            let mut part = vec![0; whole.len() - from];
            pattern.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..]);
            assert_eq!(pattern.check(from as u64, &part), Ok(()));
        }
    }

    #[test]
    fn one_wrong_byte_is_found_at_its_offset() {
        let pattern = Pattern::new(7);
        let mut bytes = [0; 64];
        for wrong in 0..bytes.len() {
            pattern.fill(1000, &mut bytes);
            bytes[wrong] ^= 1;
            assert_eq!(pattern.check(1000, &bytes), Err(1000 + wrong as u64));
        }
    }

    #[test]
    fn another_seed_or_a_shifted_stream_is_another_stream() {
        let mut bytes = [0; 64];
        Pattern::new(1).fill(0, &mut bytes);
        assert!(Pattern::new(2).check(0, &bytes).is_err());
        assert!(Pattern::new(1).check(1, &bytes).is_err());
        assert!(Pattern::new(1).check(8, &bytes).is_err());
    }
}
