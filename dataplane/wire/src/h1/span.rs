//! A place in the caller's bytes: what a parsed message consists of.

use std::ops::Range;

/// Where something stands in the bytes that were parsed. It holds no bytes and stays right for as long as the
/// caller keeps them as they were, wherever they lie.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize, "{start}..{end}");
        Span { start: start as u32, end: end as u32 }
    }

    /// Where `part` lies in `whole`, of which it is a slice.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Span {
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        debug_assert!(start + part.len() <= whole.len());
        Span::new(start, start + part.len())
    }

    /// The bytes themselves. `bytes` are those that were parsed.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}
