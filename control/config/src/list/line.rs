//! One line of a list file.
//!
//! ```text
//! # a comment; empty lines count for nothing
//! 10.0.0.0/8
//! 192.0.2.7 expires=2026-12-01T00:00:00Z # what stands behind a # is the reason
//! some text with spaces # of a list of texts
//! "a text with # in it" expires=2026-12-01T00:00:00Z
//! ```
//!
//! Of a list of texts, a text ends where white space and `#` or `expires=` follow; between quotes, `\"` and `\\` stand for
//! what they say.

use super::entry::{self, Spelled, reason};
use super::time;
use policy::http::{Entry, ListKind, Note, Noted, Prefix};
use std::borrow::Cow;
use std::net::Ipv4Addr;

/// What is noted of an entry, read once for lines one behind the other that say the same.
#[derive(Default)]
pub(super) struct Notes {
    text: String,
    note: Noted,
}

/// `None`: nothing is said. Error: what is wrong.
pub(super) fn parse(kind: ListKind, line: &[u8], notes: &mut Notes) -> Result<Option<(Entry, Noted)>, String> {
    // Most lines of most lists are this.
    if kind == ListKind::Addresses
        && let Some(prefix) = v4(line)
    {
        return Ok(Some((Entry::Address(prefix), None)));
    }
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8 text")?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (text, rest) = match kind {
        ListKind::Addresses => line.split_once(char::is_whitespace).map_or((line.into(), ""), |(a, b)| (a.into(), b)),
        ListKind::Texts if line.starts_with('"') => quoted(line)?,
        ListKind::Texts => {
            let (text, rest) = line.split_at(end_of_text(line));
            (text.trim_end().into(), rest)
        }
    };
    let entry = entry::parse(kind, &text)?;
    Ok(Some((entry, notes.read(rest.trim())?)))
}

/// As [`parse`] reads it, with its end.
pub(super) fn write(entry: &Entry, note: &Noted, into: &mut String) {
    let said = Spelled(entry, note).to_string();
    match entry {
        Entry::Address(_) => into.push_str(&said),
        Entry::Text(text) => {
            into.push('"');
            for character in text.chars() {
                if matches!(character, '"' | '\\') {
                    into.push('\\');
                }
                into.push(character);
            }
            into.push('"');
            into.push_str(&said[text.len()..]);
        }
    }
    into.push('\n');
}

impl Notes {
    fn read(&mut self, text: &str) -> Result<Noted, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if self.text != text {
            self.note = note(text)?;
            text.clone_into(&mut self.text);
        }
        Ok(self.note.clone())
    }
}

fn note(text: &str) -> Result<Noted, String> {
    let (expires, rest) = match text.strip_prefix("expires=") {
        Some(behind) => {
            let (moment, rest) = behind.split_once(char::is_whitespace).unwrap_or((behind, ""));
            let expires = time::parse(moment).ok_or_else(|| format!("`{moment}` is not a moment since 1970"))?;
            (Some(expires), rest.trim())
        }
        None => (None, text),
    };
    match rest.strip_prefix('#') {
        Some(why) => Ok(Note::of(expires, reason(why)?)),
        None if rest.is_empty() => Ok(Note::of(expires, "")),
        None => Err(format!("`{rest}` stands behind the entry")),
    }
}

fn end_of_text(line: &str) -> usize {
    let spaces = line.match_indices(char::is_whitespace);
    let mut ends = spaces.filter(|(at, space)| {
        let behind = &line[at + space.len()..];
        behind.starts_with('#') || behind.starts_with("expires=")
    });
    ends.next().map_or(line.len(), |(at, _)| at)
}

/// The text between the quotes, and what stands behind them.
fn quoted(line: &str) -> Result<(Cow<'_, str>, &str), String> {
    let inside = &line[1..];
    let (mut text, mut escaped) = (String::new(), false);
    for (at, character) in inside.char_indices() {
        match (escaped, character) {
            (false, '"') => return Ok((text.into(), &inside[at + 1..])),
            (false, '\\') => escaped = true,
            (true, '"' | '\\') | (false, _) => {
                text.push(character);
                escaped = false;
            }
            (true, other) => return Err(format!("`\\{other}` between quotes; `\\\"` and `\\\\` are accepted")),
        }
    }
    Err("a quote that nothing ends".into())
}

/// `192.0.2.0/24` or `192.0.2.7`, and nothing else on the line. `None`: perhaps something else, or wrong.
fn v4(line: &[u8]) -> Option<Prefix> {
    let mut rest = line;
    let mut octets = [0; 4];
    for (ix, octet) in octets.iter_mut().enumerate() {
        if ix > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        *octet = number(&mut rest, 255)?;
    }
    let length = match rest.strip_prefix(b"/") {
        Some(mut behind) => {
            let length = number(&mut behind, 32)?;
            rest = behind;
            length
        }
        None => 32,
    };
    let address = Ipv4Addr::from_octets(octets).into();
    rest.is_empty().then(|| crate::prefix::network(Prefix { address, length }))
}

/// One to three digits without a leading zero.
fn number(rest: &mut &[u8], most: u16) -> Option<u8> {
    let digits = rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let (text, behind) = rest.split_at(digits);
    let value = text.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    let well = digits > 0 && value <= most && (digits == 1 || text[0] != b'0');
    *rest = behind;
    well.then_some(value as u8)
}

#[cfg(test)]
mod tests {
    use super::super::Spelled;
    use super::*;

    fn check(kind: ListKind, line: &str, expected: &str) {
        let got = match parse(kind, line.as_bytes(), &mut Notes::default()) {
            Ok(Some((entry, note))) => Spelled(&entry, &note).to_string(),
            Ok(None) => "-".into(),
            Err(message) => format!("error: {message}"),
        };
        assert_eq!(got, expected, "{line:?}");
    }

    #[test]
    fn lines_of_addresses() {
        let check = |line: &str, expected: &str| check(ListKind::Addresses, line, expected);
        check("", "-");
        check("  # 10.0.0.0/8", "-");
        check("10.0.0.0/8", "10.0.0.0/8");
        check("10.1.2.3/8", "10.0.0.0/8");
        check("10.1.2.3/8\t", "10.0.0.0/8");
        check("192.0.2.7/32", "192.0.2.7");
        check("2001:DB8::/32 # docs", "2001:db8::/32 # docs");
        check("10.0.0.1 expires=2026-12-01T00:00:00Z", "10.0.0.1 expires=2026-12-01T00:00:00Z");
        check("10.0.0.1 expires=2026-12-01T00:00:00Z  #  seen ", "10.0.0.1 expires=2026-12-01T00:00:00Z # seen");
        check("10.0.0.1 #", "10.0.0.1");
        check("10.0.0.1 10.0.0.2", "error: `10.0.0.2` stands behind the entry");
        check("10.0.0.1 expires=soon", "error: `soon` is not a moment since 1970");
        check("10.0.0.256", "error: neither an address nor a prefix of addresses");
        check("10.0.0.01", "error: neither an address nor a prefix of addresses");
        check("10.0.0.0/33", "error: the length of a prefix is a number from 0 to 32 here");
        check("10.0.0.0/", "error: the length of a prefix is a number from 0 to 32 here");
        check("example.com", "error: neither an address nor a prefix of addresses");
    }

    #[test]
    fn lines_of_texts() {
        let check = |line: &str, expected: &str| check(ListKind::Texts, line, expected);
        check("bad bot/1.0", "bad bot/1.0");
        check("bad bot # why", "bad bot # why");
        check("a#b", "a#b");
        check("a expires=2026-12-01T00:00:00Z # b # c", "a expires=2026-12-01T00:00:00Z # b # c");
        check("\"a # b\"", "a # b");
        check("\"a \\\" \\\\\" # quoted", "a \" \\ # quoted");
        check("\"a", "error: a quote that nothing ends");
        check("\"a\\n\"", "error: `\\n` between quotes; `\\\"` and `\\\\` are accepted");
        check("\"\"", "error: an empty text");
        check("a\u{1}b", "error: a control character");
        let long = "x".repeat(policy::http::List::TEXT_BYTES_MAX + 1);
        check(&long, "error: 1001 bytes, at most 1000 are accepted");
        check(&format!("a # {long}"), "error: a reason of 1002 bytes, at most 200 are accepted");
    }

    #[test]
    fn the_quick_way_reads_what_the_other_does() {
        for line in [
            "1.2.3.4",
            "0.0.0.0/0",
            "255.255.255.255/32",
            "1.2.3.4/5",
            "1.2.3.4/05",
            "1.2.3",
            "1.2.3.4.5",
            "1..2.3",
            "1.2.3.4/",
        ] {
            let slow = crate::prefix::parse(line).ok();
            let quick = v4(line.as_bytes());
            // What it leaves is read the other way.
            assert!(quick.is_none() || quick == slow, "{line}");
        }
    }
}
