//! New inputs from old ones, bent where it matters.
//!
//! A mutation of bytes seldom makes another valid document, so a text is bent by its lines and words, with
//! words that mean something in its language; a script by its bytes, each of which means something anyway.
//! Knows neither the languages (see `words`) nor coverage.

use crate::dice::Dice;
use crate::words::Words;

/// What an input is written in.
#[derive(Clone, Copy)]
pub enum Language {
    /// Lines and words; the function tells the words.
    Text(fn() -> &'static Words),
    /// Any byte may be changed for any other.
    Bytes,
}

/// Bends `input` in one to four places, perhaps with pieces of `other`.
pub fn mutate(language: Language, input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        match language {
            Language::Text(words) if dice.below(4) > 0 => text(&mut bytes, other, words(), dice),
            _ => raw(&mut bytes, other, dice),
        }
    }
    bytes
}

fn text(bytes: &mut Vec<u8>, other: &[u8], words: &Words, dice: &mut Dice) {
    match dice.below(7) {
        // A word for a word: most often a document stays one, and says something else.
        0..=2 => {
            if let Some((start, end)) = word_at(bytes, dice.below(bytes.len() + 1)) {
                bytes.splice(start..end, dice.choose(&words.words).bytes());
            }
        }
        3 => {
            let at = dice.below(bytes.len() + 1);
            bytes.splice(at..at, dice.choose(&words.words).bytes());
        }
        4 => {
            let at = line_start(bytes, dice);
            let line = dice.choose(&words.lines);
            bytes.splice(at..at, line.bytes().chain([b'\n']));
        }
        5 => {
            let (start, end) = lines(bytes, dice);
            bytes.drain(start..end);
        }
        _ => {
            let from = if dice.below(2) == 0 { &bytes.clone()[..] } else { other };
            let (start, end) = lines(from, dice);
            let at = line_start(bytes, dice);
            bytes.splice(at..at, from[start..end].iter().copied());
        }
    }
}

fn raw(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let end = at + dice.below((bytes.len() - at).min(16) + 1);
    match dice.below(5) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = dice.below(256) as u8;
            }
        }
        1 => bytes.insert(at, dice.below(256) as u8),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let start = dice.below(other.len() + 1);
            let end = start + dice.below((other.len() - start).min(64) + 1);
            bytes.splice(at..at, other[start..end].iter().copied());
        }
    }
}

/// The word around `at`, or the next one.
fn word_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:/$".contains(byte);
    let at = at + bytes[at..].iter().position(inside)?;
    let start = bytes[..at].iter().rposition(|byte| !inside(byte)).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| !inside(byte)).map_or(bytes.len(), |after| at + after);
    Some((start, end))
}

fn line_start(bytes: &[u8], dice: &mut Dice) -> usize {
    let at = dice.below(bytes.len() + 1);
    bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

/// One to eight whole lines.
fn lines(bytes: &[u8], dice: &mut Dice) -> (usize, usize) {
    let start = line_start(bytes, dice);
    let mut end = start;
    for _ in 0..=dice.below(8) {
        end = bytes[end..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| end + newline + 1);
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{documents, messages};

    #[test]
    fn the_same_seed_bends_the_same() {
        let bend = |seed| mutate(Language::Text(messages), b"{\"id\":1}\n[]\n", b"x", &mut Dice::new(seed));
        assert_eq!(bend(7), bend(7));
        assert!((0..20).any(|seed| bend(seed) != bend(7)));
    }

    #[test]
    fn nothing_can_be_bent_too() {
        for seed in 0..200 {
            mutate(Language::Text(messages), b"", b"", &mut Dice::new(seed));
            mutate(Language::Text(documents), b"", b"", &mut Dice::new(seed));
            mutate(Language::Bytes, b"", b"", &mut Dice::new(seed));
        }
    }
}
