//! Lines under lines, and long sentences broken at 80 columns.

pub use api::wrap::{WIDTH, wrap};

use std::fmt;

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
