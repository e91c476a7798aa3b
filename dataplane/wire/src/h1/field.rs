//! The field lines of a head or a trailer section, as spans.

use crate::h1::name::Name;
use crate::h1::span::Span;

/// One field line. The value is without the blanks round it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub id: Name,
    /// `Connection` names it, so it is for us alone (RFC 9110 section 7.6.1).
    pub nominated: bool,
}

/// Field lines in the order in which they came. The memory is worth keeping: it is taken from the `spare` of
/// whoever parses and goes back there when the head is done with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Fields(pub(crate) Vec<Field>);

impl Fields {
    pub fn new() -> Fields {
        Fields::default()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fields of a name that has a number, in their order.
    pub fn all(&self, id: Name) -> impl Iterator<Item = &Field> {
        debug_assert_ne!(id, Name::Other, "`Other` is many names");
        self.0.iter().filter(move |field| field.id == id)
    }

    /// Values of a name, in their order. `bytes` are those that were parsed.
    pub fn values<'b>(&self, bytes: &'b [u8], name: &[u8]) -> impl Iterator<Item = &'b [u8]> {
        self.0
            .iter()
            .filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name))
            .map(|field| field.value.of(bytes))
    }
}

impl<'f> IntoIterator for &'f Fields {
    type Item = &'f Field;
    type IntoIter = std::slice::Iter<'f, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
