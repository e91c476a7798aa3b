//! What a rule changes of what passes: headers both ways, the path and host that the origin is sent.
//!
//! Owns the order and meaning of edits. Refuses to know how a head is stored or written: fields come from an
//! iterator and go to a function, one name and value at a time.

use super::path::{EscapedSlash, NormalPath, PathViolation, normalise};
use super::pattern::{GroupSearch, Pattern};
use super::rule::{Rule, is_host_byte};
use super::rules::Scratch;
use super::text::{Captures, Facts, Oversized, Text};
use std::ops::Range;
use wire::h1::write::Edit as WireEdit;

/// A compiled [`EditSpec`](super::EditSpec).
#[derive(Debug)]
pub(super) struct Edit {
    pub name: Box<str>,
    pub kind: EditKind,
}

#[derive(Debug)]
pub(super) enum EditKind {
    Add(Text),
    Set(Text),
    Remove,
}

/// A compiled [`RewriteSpec`](super::RewriteSpec).
#[derive(Debug)]
pub(super) enum Rewrite {
    /// `from` has no slash at its end.
    Prefix {
        from: Box<[u8]>,
        to: Text,
    },
    /// Groups of the pattern have the numbers behind the rule's captures.
    Regex {
        pattern: Box<Pattern>,
        to: Text,
        /// The place of its group 0 in `to`: behind all that the rule's path can capture, used or not.
        first: usize,
    },
    Whole {
        to: Text,
    },
}

/// What a client sent cannot become what the rule would send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unfit {
    /// A text grew beyond [`Text::EXPANDED_BYTES_MAX`].
    Oversized,
    /// The rewritten path has no normal form.
    Path(PathViolation),
    /// A character that no host has.
    Host,
}

impl Unfit {
    /// The status that the client gets. No `_` arm: a new kind must choose its answer.
    pub fn answer(self) -> u16 {
        match self {
            Unfit::Oversized => 431,
            Unfit::Path(violation) => violation.answer(),
            Unfit::Host => 400,
        }
    }

    /// The word in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Unfit::Oversized => "edit-oversized",
            Unfit::Path(violation) => violation.label(),
            Unfit::Host => "edit-host",
        }
    }
}

impl From<Oversized> for Unfit {
    fn from(Oversized: Oversized) -> Unfit {
        Unfit::Oversized
    }
}

/// The edits of one head with what their texts became, for whoever writes it. Memory that is used again.
#[derive(Clone, Default, Debug)]
pub struct Expanded {
    bytes: Vec<u8>,
    /// What is done, and where in `bytes` name and value end; the next one begins there.
    edits: Vec<(Done, u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Done {
    Add,
    Set,
    Remove,
}

impl Expanded {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.edits.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = WireEdit<'_>> + Clone {
        let begins = std::iter::once(0).chain(self.edits.iter().map(|(.., end)| *end));
        begins.zip(&self.edits).map(|(begin, (done, name_end, end))| {
            let name = &self.bytes[begin as usize..*name_end as usize];
            let value = &self.bytes[*name_end as usize..*end as usize];
            match done {
                Done::Add => WireEdit::Add { name, value },
                Done::Set => WireEdit::Set { name, value },
                Done::Remove => WireEdit::Remove { name },
            }
        })
    }

    /// One field more, behind all others of its name.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        let name_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.edits.push((Done::Add, name_end, self.bytes.len() as u32));
    }

    /// This field instead of all of its name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.add(name, value);
        if let Some((done, ..)) = self.edits.last_mut() {
            *done = Done::Set;
        }
    }

    fn fill(&mut self, edits: &[Edit], facts: &Facts) -> Result<(), Oversized> {
        for edit in edits {
            self.bytes.extend_from_slice(edit.name.as_bytes());
            let name_end = self.bytes.len();
            let done = match &edit.kind {
                EditKind::Add(text) => text.expand(facts, &mut self.bytes).map(|()| Done::Add)?,
                EditKind::Set(text) => text.expand(facts, &mut self.bytes).map(|()| Done::Set)?,
                EditKind::Remove => Done::Remove,
            };
            self.edits.push((done, name_end as u32, self.bytes.len() as u32));
        }
        Ok(())
    }
}

impl Rule {
    /// Adds to `out` what this rule changes of the head that the origin is sent.
    pub fn expand_request_edits(&self, facts: &Facts, out: &mut Expanded) -> Result<(), Oversized> {
        out.fill(&self.request_edits, facts)
    }

    /// As [`Rule::expand_request_edits`], of what the client is sent.
    pub fn expand_response_edits(&self, facts: &Facts, out: &mut Expanded) -> Result<(), Oversized> {
        out.fill(&self.response_edits, facts)
    }

    /// Whether any text of it is to be expanded beside that of its action and path.
    pub(super) fn has_texts(&self) -> bool {
        self.edits_request() || self.edits_response() || self.host.is_some()
    }

    pub fn edits_request(&self) -> bool {
        !self.request_edits.is_empty()
    }

    pub fn edits_response(&self) -> bool {
        !self.response_edits.is_empty()
    }

    /// Gives `sink` the fields that the origin is sent. `buffer` is memory. If it fails, what the sink was given is
    /// void.
    ///
    /// Cost: O(fields × edits).
    pub fn edit_request<'f>(
        &self,
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
        facts: &Facts,
        buffer: &mut Vec<u8>,
        sink: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Oversized> {
        apply(&self.request_edits, fields, facts, buffer, sink)
    }

    /// As [`Rule::edit_request`], of what the client is sent.
    pub fn edit_response<'f>(
        &self,
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
        facts: &Facts,
        buffer: &mut Vec<u8>,
        sink: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Oversized> {
        apply(&self.response_edits, fields, facts, buffer, sink)
    }

    /// Replaces what is in `out` by the path that the origin is sent. `false`: it is sent the client's own. To be
    /// asked with the scratch in which this rule was found.
    pub fn rewrite_path(&self, path: NormalPath, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<bool, Unfit> {
        let Some(rewrite) = &self.rewrite else {
            return Ok(false);
        };
        let Scratch { captures, groups, ranges, decoded, normal, .. } = scratch;
        ranges.clear();
        ranges.extend_from_slice(captures);
        decoded.clear();
        if !rewrite.write(path.as_bytes(), ranges, groups, decoded)? {
            return Ok(false);
        }
        // Pieces that are harmless one by one can make dots and empty segments together.
        let normal = normalise(decoded, EscapedSlash::Keep, normal).map_err(Unfit::Path)?;
        out.clear();
        out.extend_from_slice(normal.as_bytes());
        Ok(true)
    }

    /// Replaces what is in `out` by the host that the origin is sent. `false`: it is sent the client's own.
    pub fn rewrite_host(&self, facts: &Facts, out: &mut Vec<u8>) -> Result<bool, Unfit> {
        let Some(host) = &self.host else {
            return Ok(false);
        };
        out.clear();
        host.expand(facts, out)?;
        match !out.is_empty() && out.iter().all(|byte| is_host_byte(*byte)) {
            true => Ok(true),
            false => Err(Unfit::Host),
        }
    }
}

impl Rewrite {
    /// `false`: it does not apply. `ranges` are the rule's captures.
    fn write(
        &self,
        path: &[u8],
        ranges: &mut Vec<Option<Range<usize>>>,
        groups: &mut GroupSearch,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unfit> {
        match self {
            Rewrite::Whole { to } => {
                expand(to, path, ranges, out)?;
                Ok(true)
            }
            Rewrite::Prefix { from, to } if super::condition::is_below(path, from) => {
                expand(to, path, ranges, out)?;
                let rest = &path[from.len()..];
                // `/a` → `/b/` makes `/b/c` of `/a/c`, with one slash between.
                let slashes = out.ends_with(b"/") && rest.starts_with(b"/");
                out.extend_from_slice(&rest[usize::from(slashes)..]);
                Ok(true)
            }
            Rewrite::Prefix { .. } => Ok(false),
            Rewrite::Regex { pattern, to, first } => {
                let found = pattern.groups(path, groups);
                let Some(all) = found(0) else {
                    return Ok(false);
                };
                // What no text asks for was not captured, and has its place all the same.
                ranges.resize(*first, None);
                ranges.extend((0..pattern.group_count()).map(&found));
                out.extend_from_slice(&path[..all.start]);
                expand(to, path, ranges, out)?;
                out.extend_from_slice(&path[all.end..]);
                if out.first() != Some(&b'/') {
                    out.insert(0, b'/');
                }
                Ok(true)
            }
        }
    }
}

/// A text of captures alone.
fn expand(text: &Text, path: &[u8], ranges: &[Option<Range<usize>>], out: &mut Vec<u8>) -> Result<(), Oversized> {
    text.expand(&Facts::of_captures(Captures { path, ranges }), out)
}

/// Passes on the fields that no edit takes away, then those that edits bring and no later one takes away: what doing
/// the edits one after the other would leave.
fn apply<'f>(
    edits: &[Edit],
    fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    facts: &Facts,
    buffer: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8], &[u8]),
) -> Result<(), Oversized> {
    let taken_away = |edits: &[Edit], name: &[u8]| {
        let takes = |edit: &&Edit| matches!(edit.kind, EditKind::Set(_) | EditKind::Remove);
        edits.iter().filter(takes).any(|edit| edit.name.as_bytes().eq_ignore_ascii_case(name))
    };
    for (name, value) in fields {
        if !taken_away(edits, name) {
            sink(name, value);
        }
    }
    for (at, edit) in edits.iter().enumerate() {
        if let EditKind::Add(text) | EditKind::Set(text) = &edit.kind
            && !taken_away(&edits[at + 1..], edit.name.as_bytes())
        {
            buffer.clear();
            text.expand(facts, buffer)?;
            sink(edit.name.as_bytes(), buffer.trim_ascii());
        }
    }
    Ok(())
}
