//! What the operator wants changed in a head's fields.

use super::line;
use crate::h1::bytes::is_token;
use crate::h1::name::{Name, Onward};

/// One change. They are done in their order, after everything that was received and that we add.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edit<'e> {
    /// One more field.
    Add { name: &'e [u8], value: &'e [u8] },
    /// This field instead of all of its name.
    Set { name: &'e [u8], value: &'e [u8] },
    /// No field of this name.
    Remove { name: &'e [u8] },
}

/// Whether an edit of this name does anything. Not if it is no name, or one whose field says how the message is
/// framed or routed: those we write from what was understood. Ask when the operator says it.
pub fn may_edit(name: &[u8]) -> bool {
    is_token(name) && matches!(Name::of(name).onward(), Onward::Passed | Onward::Chain)
}

/// All edits of one head. Asked for each field, so nothing is done where there are none.
pub(super) struct Edits<E> {
    edits: E,
    none: bool,
}

impl<'e, E: Iterator<Item = Edit<'e>> + Clone> Edits<E> {
    pub(super) fn new(edits: E) -> Edits<E> {
        let none = edits.clone().next().is_none();
        Edits { edits, none }
    }

    /// Whether fields of this name that stood there before are to go.
    pub(super) fn remove(&self, name: &[u8]) -> bool {
        !self.none && removed_by(self.edits.clone(), name)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut rest = self.edits.clone();
        while let Some(edit) = rest.next() {
            match edit {
                Edit::Add { name, value } | Edit::Set { name, value } => {
                    if may_edit(name) && !removed_by(rest.clone(), name) {
                        line::field(out, name, value);
                    }
                }
                Edit::Remove { .. } => {}
            }
        }
    }
}

fn removed_by<'e>(mut edits: impl Iterator<Item = Edit<'e>>, name: &[u8]) -> bool {
    edits.any(|edit| match edit {
        Edit::Set { name: other, .. } | Edit::Remove { name: other } => other.eq_ignore_ascii_case(name),
        Edit::Add { .. } => false,
    })
}
