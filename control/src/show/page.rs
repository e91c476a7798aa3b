//! Lines under lines, and long sentences broken at 80 columns.

use std::fmt;

/// Columns that a page has: what every terminal shows.
pub const WIDTH: usize = 80;

#[derive(Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub fn new() -> Page {
        Page::default()
    }

    pub fn line(&mut self, line: impl fmt::Display) {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }

    /// An empty line, but not at the top.
    pub fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Text without colours, broken between words.
    pub fn wrapped(&mut self, indent: usize, text: &str) {
        for line in wrap(text, WIDTH - indent) {
            self.line(format_args!("{:indent$}{line}", ""));
        }
    }

    pub fn text(self) -> String {
        self.text
    }
}

/// Lines of at most `width` characters; a longer word has a line of its own. At least one line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is at least one line");
        let length = line.chars().count();
        if length == 0 {
            line.push_str(word);
        } else if length + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_between_words() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("ab cd", 5), ["ab cd"]);
        assert_eq!(wrap("ab cde", 5), ["ab", "cde"]);
        assert_eq!(wrap("a abcdefgh b", 5), ["a", "abcdefgh", "b"]);
        assert_eq!(wrap("ää öö", 5), ["ää öö"]);
    }
}
