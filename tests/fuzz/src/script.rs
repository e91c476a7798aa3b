//! Bytes read as a script: what the targets of state machines take as input.
//!
//! An event is one letter of the machine's own alphabet, and digits say which and how much. Every byte means
//! something, so no mutation is lost, and a script written by hand reads as it was meant.

/// The rest of a script.
#[derive(Clone, Copy)]
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script(bytes)
    }

    /// The next event, a letter of `alphabet`. `None`: the script is over.
    pub(crate) fn event(&mut self, alphabet: &[u8]) -> Option<u8> {
        let byte = self.next()?;
        match alphabet.contains(&byte) {
            true => Some(byte),
            false => Some(alphabet[usize::from(byte) % alphabet.len()]),
        }
    }

    /// 0 to 9; 0 when the script is over.
    pub(crate) fn digit(&mut self) -> usize {
        match self.next() {
            Some(byte) if byte.is_ascii_digit() => usize::from(byte - b'0'),
            Some(byte) => usize::from(byte % 10),
            None => 0,
        }
    }

    /// One of these, by a digit. `None`: there is none.
    pub(crate) fn choose<'c, T>(&mut self, choices: &'c [T]) -> Option<&'c T> {
        let digit = self.digit();
        choices.get(digit % choices.len().max(1))
    }

    /// White space stands between words of a script and means nothing.
    fn next(&mut self) -> Option<u8> {
        let start = self.0.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let byte = self.0[start];
        self.0 = &self.0[start + 1..];
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_means_something() {
        let mut script = Script::new(b"a7 \xffz\n");
        assert_eq!((script.event(b"ab"), script.digit()), (Some(b'a'), 7));
        assert_eq!(script.event(b"ab"), Some(b'b'));
        assert_eq!(script.choose(&[1, 2, 3]), Some(&3));
        assert_eq!(script.choose::<u8>(&[]), None);
        assert_eq!((script.event(b"ab"), script.digit()), (None, 0));
    }
}
