//! Lists in the files: of values between brackets, or of tables with heads of their own.
//!
//! Owns which comment belongs to which element: those right above it, and the one behind it on its line, which the grammar
//! counts to whatever comes next.

use super::texts::{free_above, inline, is_inline, last_position, place};
use toml_edit::{Array, ArrayOfTables, Item, RawString, Table, TableLike, Value};

/// The tables under one key.
pub(super) enum Elements<'d> {
    Heads(&'d mut ArrayOfTables),
    Values(&'d mut Array),
}

/// One that was taken out, with its own comments.
pub(super) enum Element {
    Head(Table),
    Value(Value),
}

/// What is left of one that was taken out: comments that were nobody's, and where they were.
#[derive(Default)]
pub(super) struct Left {
    pub(super) free: String,
    pub(super) position: Option<isize>,
}

impl<'d> Elements<'d> {
    /// Those under `key`, none where there is no such key. `None`: something else is there.
    pub(super) fn of(parent: &'d mut Item, key: &str) -> Option<Elements<'d>> {
        let inline = is_inline(parent);
        let table = parent.as_table_like_mut()?;
        if table.get(key).is_none_or(Item::is_none) {
            let none =
                if inline { Item::Value(Array::new().into()) } else { Item::ArrayOfTables(ArrayOfTables::new()) };
            super::texts::insert(table, key, none);
        }
        match table.get_mut(key)? {
            Item::ArrayOfTables(tables) => Some(Elements::Heads(tables)),
            Item::Value(Value::Array(array)) => Some(Elements::Values(array)),
            _ => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Elements::Heads(tables) => tables.len(),
            Elements::Values(array) => array.len(),
        }
    }

    pub(super) fn get(&mut self, ix: usize) -> Option<&mut dyn TableLike> {
        match self {
            Elements::Heads(tables) => tables.get_mut(ix).map(|table| table as &mut dyn TableLike),
            Elements::Values(array) => {
                array.get_mut(ix)?.as_inline_table_mut().map(|table| table as &mut dyn TableLike)
            }
        }
    }

    pub(super) fn take(&mut self, ix: usize) -> (Element, Left) {
        match self {
            Elements::Heads(tables) => {
                let table = tables.remove(ix);
                let left = Left { free: free_above(&table), position: table.position() };
                (Element::Head(table), left)
            }
            Elements::Values(array) => (Element::Value(take(array, ix)), Left::default()),
        }
    }

    pub(super) fn put(&mut self, ix: usize, element: Element) {
        match (self, element) {
            (Elements::Heads(tables), Element::Head(mut table)) => {
                let before = ix.checked_sub(1).and_then(|before| tables.get(before)).and_then(last_position);
                let behind = || tables.get(ix).and_then(Table::position);
                // Of tables at one place, the order is that in which they are listed.
                let position = before.or_else(behind);
                place(&mut table, position);
                tables.insert(ix, table);
            }
            (Elements::Values(array), Element::Value(value)) => put(array, ix, value),
            (Elements::Values(array), Element::Head(table)) => put(array, ix, inline(table).into()),
            (Elements::Heads(_), Element::Value(_)) => unreachable!("an element returns to where it was"),
        }
    }
}

/// Takes an element out, with the comments above it and behind it; they come as its prefix, a line each.
pub(super) fn take(array: &mut Array, ix: usize) -> Value {
    close(array);
    let mut value = array.remove(ix);
    let (before, behind) = (text(value.decor().prefix()), gap(array, ix));
    let is_last = ix == array.len();
    let ((tail_before, above), (own_tail, rest)) = (at_line_end(&before), at_line_end(&behind));
    let free_end = above.rfind("\n\n").map_or(0, |end| end + 2);
    let (free, own) = above.split_at(if above[..free_end].contains('#') { free_end } else { 0 });
    let now = match (tail_before, own_tail) {
        (Some(tail), Some(_)) => format!("{tail}{free}{rest}"),
        (Some(tail), None) if is_last && tail.contains('#') => format!("{tail}{free}{behind}"),
        (None, Some(_)) => format!("\n{rest}"),
        (_, None) if is_last => behind.clone(),
        (_, None) => before.clone(),
    };
    let now = if array.is_empty() && now.trim().is_empty() { String::new() } else { now };
    set_gap(array, ix, now);
    if array.is_empty() {
        array.set_trailing_comma(false);
    }
    let comments = own.lines().chain(own_tail).map(str::trim).filter(|line| line.starts_with('#'));
    let own: String = comments.map(|line| format!("{line}\n")).collect();
    value.decor_mut().clear();
    value.decor_mut().set_prefix(own);
    value
}

/// Puts an element where it belongs, written as its neighbours are. Its prefix holds its own comments, a line each.
pub(super) fn put(array: &mut Array, ix: usize, mut value: Value) {
    close(array);
    let own: Vec<String> = text(value.decor().prefix()).lines().map(str::to_owned).collect();
    value.decor_mut().clear();
    let neighbour = array.get(ix).or_else(|| array.get(ix.checked_sub(1)?));
    let indent = neighbour.and_then(|neighbour| {
        let prefix = text(neighbour.decor().prefix());
        prefix.contains('\n').then(|| prefix.rsplit('\n').next().unwrap_or_default().to_owned())
    });
    let (gap, is_last) = (gap(array, ix), ix == array.len());
    match indent.or_else(|| (!own.is_empty()).then(|| "  ".to_owned())) {
        Some(indent) => {
            let lines: String = own.iter().map(|line| format!("{indent}{line}\n")).collect();
            let (tail_before, rest) = at_line_end(&gap);
            value.decor_mut().set_prefix(format!("{}{lines}{indent}", tail_before.unwrap_or("\n")));
            let behind = match tail_before {
                Some(_) => format!("\n{rest}"),
                None if is_last => gap.clone(),
                None => format!("\n{indent}"),
            };
            set_gap(array, ix, behind);
            if is_last && tail_before.is_some() {
                array.set_trailing_comma(true);
            }
        }
        None if is_last => value.decor_mut().set_prefix(if ix == 0 { "" } else { " " }),
        None => {
            value.decor_mut().set_prefix(gap);
            set_gap(array, ix, " ".into());
        }
    }
    array.insert_formatted(ix, value);
}

/// What stands between the last element and the bracket, in one place.
fn close(array: &mut Array) {
    if array.trailing_comma() {
        return;
    }
    let trailing = text(Some(array.trailing()));
    let Some(last) = array.len().checked_sub(1).and_then(|last| array.get_mut(last)) else { return };
    let suffix = text(last.decor().suffix());
    last.decor_mut().set_suffix("");
    array.set_trailing(format!("{suffix}{trailing}"));
}

/// What stands before an element, or before the bracket.
fn gap(array: &Array, ix: usize) -> String {
    match array.get(ix) {
        Some(next) => text(next.decor().prefix()),
        None => text(Some(array.trailing())),
    }
}

fn set_gap(array: &mut Array, ix: usize, gap: String) {
    match array.get_mut(ix) {
        Some(next) => next.decor_mut().set_prefix(gap),
        None => array.set_trailing(gap),
    }
}

/// What stands on the line of the one before, its end included, and the rest. `None`: it is all on one line.
fn at_line_end(text: &str) -> (Option<&str>, &str) {
    match text.find('\n') {
        Some(end) => (Some(&text[..=end]), &text[end + 1..]),
        None => (None, text),
    }
}

fn text(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(text: &str) -> Array {
        let value: Value = text.parse().expect("an array");
        value.as_array().expect("an array").clone()
    }

    #[test]
    fn an_element_goes_with_what_belongs_to_it() {
        let check = |text: &str, ix: usize, expected: &str| {
            let mut array = array(text);
            take(&mut array, ix);
            assert_eq!(array.to_string(), expected, "{text} without {ix}");
        };
        check("[1, 2, 3]", 0, "[2, 3]");
        check("[1, 2, 3]", 1, "[1, 3]");
        check("[1, 2, 3]", 2, "[1, 2]");
        check("[ 1, 2 ]", 0, "[ 2 ]");
        check("[ 1, 2 ]", 1, "[ 1 ]");
        check("[1]", 0, "[]");
        check("[\n  1, # one\n  # above\n  2, # two\n  3, # three\n]", 1, "[\n  1, # one\n  3, # three\n]");
        check("[\n  1, # one\n  2 # two\n]", 1, "[\n  1 # one\n]");
        check("[\n  1, # one\n  2, # two\n]", 0, "[\n  2, # two\n]");
        check("[\n  1,\n  # nobody's\n\n  # above\n  2,\n  3,\n]", 1, "[\n  1,\n  # nobody's\n\n  3,\n]");
    }

    #[test]
    fn an_element_comes_as_its_neighbours_are() {
        let check = |text: &str, ix: usize, expected: &str| {
            let mut array = array(text);
            put(&mut array, ix, Value::from(9));
            assert_eq!(array.to_string(), expected, "{text} with one at {ix}");
        };
        check("[]", 0, "[9]");
        check("[1, 2]", 0, "[9, 1, 2]");
        check("[1, 2]", 1, "[1, 9, 2]");
        check("[ 1, 2 ]", 2, "[ 1, 2, 9 ]");
        check("[\n  1, # one\n  2 # two\n]", 2, "[\n  1, # one\n  2, # two\n  9,\n]");
        check("[\n  1, # one\n  2, # two\n]", 1, "[\n  1, # one\n  9,\n  2, # two\n]");
        check("[\n  # above\n  1,\n]", 0, "[\n  9,\n  # above\n  1,\n]");
    }
}
