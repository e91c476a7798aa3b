//! The files as texts that keep what people wrote around the values, and where in them something is.
//!
//! Knows TOML's spellings of a table (headers, dotted keys, inline), and nothing of what the tables mean.

use super::{Rewritten, only};
use crate::place::{FileIx, Files};
use crate::problem::{Code, Problem, Problems};
use toml_edit::{Decor, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

pub(super) struct Texts {
    files: Vec<File>,
}

struct File {
    path: String,
    document: DocumentMut,
    /// As it was printed before anything was changed.
    printed: String,
    /// It begins with a byte order mark.
    is_marked: bool,
    /// Lines end as they do on Windows.
    carriage_returns: bool,
}

/// The byte order mark.
const MARK: char = '\u{feff}';

/// Stands behind all that a file has.
const END: isize = 1 << 40;

impl Texts {
    pub(super) fn read(files: &Files) -> Result<Texts, Problems> {
        let read = files.names().zip(0..).map(|(name, ix)| {
            let text = files.text(FileIx(ix));
            let carriage_returns = text.contains("\r\n") && text.matches('\n').count() == text.matches("\r\n").count();
            let unmarked = text.strip_prefix(MARK);
            let is_marked = unmarked.is_some();
            let plain = unmarked.unwrap_or(text);
            let plain = if carriage_returns { plain.replace("\r\n", "\n") } else { plain.to_owned() };
            let document: DocumentMut = plain.parse().map_err(|error: toml_edit::TomlError| {
                let message = format!("`{name}` cannot be edited: {}", error.message());
                only(Problem::error(Code::Syntax, "", None, message))
            })?;
            let printed = document.to_string();
            Ok(File { path: name.to_owned(), document, printed, is_marked, carriage_returns })
        });
        Ok(Texts { files: read.collect::<Result<_, Problems>>()? })
    }

    /// The main file first.
    pub(super) fn rewritten(self) -> Vec<Rewritten> {
        let mut rewritten = Vec::new();
        for (ix, file) in self.files.into_iter().enumerate() {
            let File { path, document, printed, is_marked, carriage_returns } = file;
            let mut text = document.to_string();
            if text == printed {
                continue;
            }
            if !printed.starts_with('\n') {
                text = text.trim_start_matches('\n').to_owned();
            }
            let is_silent = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
            if ix == 0 && is_silent {
                text.push_str("[appliance]\n");
            }
            if carriage_returns {
                text = text.replace('\n', "\r\n");
            }
            if is_marked {
                text.insert(0, MARK);
            }
            rewritten.push(Rewritten { path: path.into(), text });
        }
        rewritten
    }

    pub(super) fn path(&self, file: usize) -> &str {
        &self.files[file].path
    }

    /// The first file that has it.
    pub(super) fn file_of(&self, path: &[&str]) -> Option<usize> {
        self.files.iter().position(|file| at(file.document.as_item(), path).is_some())
    }

    /// The file in which most of the way there is written; of several, one that has its head.
    pub(super) fn home(&self, path: &[&str]) -> usize {
        let depth = |file: &File| {
            let deepest = (0..=path.len()).rev().find(|depth| at(file.document.as_item(), &path[..*depth]).is_some());
            let item = at(file.document.as_item(), &path[..deepest.unwrap_or_default()]);
            let is_head = item.and_then(Item::as_table).is_none_or(|table| !table.is_implicit());
            (deepest, is_head)
        };
        let all = self.files.iter().enumerate().rev();
        all.max_by_key(|(_, file)| depth(file)).map_or(0, |(ix, _)| ix)
    }

    pub(super) fn item(&mut self, file: usize, path: &[&str]) -> Option<&mut Item> {
        at_mut(self.files[file].document.as_item_mut(), path)
    }

    /// What the first file that has something there has.
    pub(super) fn look(&self, path: &[&str]) -> Option<&Item> {
        self.files.iter().find_map(|file| at(file.document.as_item(), path))
    }

    /// The table at this path, made where it is not.
    pub(super) fn ensure(&mut self, file: usize, path: &[&str]) -> &mut Item {
        let mut item = self.files[file].document.as_item_mut();
        for name in path {
            let inline = is_inline(item);
            let table = item.as_table_like_mut().expect("the document is in order, so this is a table");
            if table.get(name).is_none_or(Item::is_none) {
                let new = match inline {
                    true => Item::Value(InlineTable::new().into()),
                    false => {
                        let mut table = Table::new();
                        table.set_implicit(true);
                        Item::Table(table)
                    }
                };
                insert(table, name, new);
            }
            item = table.get_mut(name).expect("it is there by now");
        }
        item
    }

    /// A key of a table: given this value, or taken away.
    pub(super) fn set(&mut self, path: &[&str], key: &str, value: Option<Value>) {
        let whole: Vec<&str> = path.iter().copied().chain([key]).collect();
        match (self.file_of(&whole), value) {
            (Some(file), Some(value)) => {
                let table = self.item(file, path).and_then(Item::as_table_like_mut).expect("it holds what was found");
                replace(table, key, value);
            }
            (Some(file), None) => self.remove(file, path, key),
            (None, Some(value)) => {
                let home = self.home(path);
                let table = self.ensure(home, path).as_table_like_mut().expect("it was made a table");
                insert(table, key, Item::Value(value));
            }
            (None, None) => {}
        }
    }

    /// What is under a key goes from all files, with what belongs to it.
    pub(super) fn remove_everywhere(&mut self, path: &[&str], key: &str) {
        for file in 0..self.files.len() {
            self.remove(file, path, key);
        }
    }

    fn remove(&mut self, file: usize, path: &[&str], key: &str) {
        let Some(table) = self.item(file, path).and_then(Item::as_table_like_mut) else { return };
        let Some(item) = table.get(key) else { return };
        let position = first_position(item);
        let mut free = free_of(item);
        let names: Vec<String> = table.iter().map(|(name, _)| name.to_owned()).collect();
        let next = names.iter().skip_while(|name| *name != key).nth(1).cloned();
        if let Some(prefix) = table.key(key).and_then(|key| key.leaf_decor().prefix()).and_then(RawString::as_str) {
            free.push_str(&free_part(prefix));
        }
        self::remove(table, key);
        if free.is_empty() {
            return;
        }
        let next_key = next.and_then(|next| {
            let is_value = table.get(&next).is_some_and(Item::is_value);
            table.key_mut(&next).filter(|_| is_value)
        });
        match (position, next_key) {
            (None, Some(mut key)) => prepend(key.leaf_decor_mut(), &free),
            (position, _) => self.give_on(file, position, &free),
        }
    }

    /// Comments that were nobody's go before what stands next.
    pub(super) fn give_on(&mut self, file: usize, position: Option<isize>, free: &str) {
        if free.is_empty() {
            return;
        }
        let document = &mut self.files[file].document;
        let mut next = None;
        each_table(document.as_table(), &mut |table| {
            if let Some(here) = table.position().filter(|here| position.is_some_and(|position| *here > position)) {
                next = Some(next.map_or(here, |next: isize| next.min(here)));
            }
        });
        let Some(next) = next else {
            let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
            return document.set_trailing(format!("{free}{trailing}"));
        };
        let mut given = false;
        each_table_mut(document.as_table_mut(), &mut |table| {
            if !given && table.position() == Some(next) {
                prepend(table.decor_mut(), free);
                given = true;
            }
        });
    }

    /// Puts a table behind all that the file has, or where its siblings are if these have no heads.
    pub(super) fn append(&mut self, file: usize, path: &[&str], key: &str, mut table: Table) {
        let mut end = END;
        each_table(self.files[file].document.as_table(), &mut |table| end = end.max(table.position().unwrap_or(0) + 1));
        place(&mut table, Some(end));
        self.put(file, path, key, table);
    }

    /// Puts a table beside its siblings.
    pub(super) fn put(&mut self, file: usize, path: &[&str], key: &str, table: Table) {
        let parent = self.ensure(file, path);
        let item = match is_inline(parent) {
            true => Item::Value(inline(table).into()),
            false => Item::Table(table),
        };
        insert(parent.as_table_like_mut().expect("it was made a table"), key, item);
    }
}

pub(super) fn at<'d>(item: &'d Item, path: &[&str]) -> Option<&'d Item> {
    path.iter().try_fold(item, |item, name| item.as_table_like()?.get(name).filter(|item| !item.is_none()))
}

fn at_mut<'d>(item: &'d mut Item, path: &[&str]) -> Option<&'d mut Item> {
    path.iter().try_fold(item, |item, name| item.as_table_like_mut()?.get_mut(name))
}

/// Whether what is put into it cannot have a head.
pub(super) fn is_inline(item: &Item) -> bool {
    item.as_table().is_none_or(Table::is_dotted)
}

/// Puts a key that is not there at the end of its table.
pub(super) fn insert(table: &mut dyn TableLike, key: &str, mut item: Item) {
    if let Some(value) = item.as_value_mut() {
        let last = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut().map(Value::decor_mut));
        // Blanks before a closing brace; those before a comment stay with it.
        if let Some(last) = last
            && let Some(suffix) = last.suffix().and_then(RawString::as_str).map(str::to_owned)
            && !suffix.is_empty()
            && suffix.trim().is_empty()
        {
            last.set_suffix("");
            value.decor_mut().set_suffix(suffix);
        }
    }
    table.insert(key, item);
}

/// Takes a key away.
pub(super) fn remove(table: &mut dyn TableLike, key: &str) {
    let is_last = table.iter().last().is_some_and(|(name, _)| name == key);
    let suffix = table.get(key).and_then(Item::as_value).and_then(|value| value.decor().suffix().cloned());
    table.remove(key);
    // What stood before the closing brace; behind a line, a comment goes with it.
    if let Some(suffix) = suffix.filter(|suffix| is_last && suffix.as_str().is_some_and(|text| text.trim().is_empty()))
        && let Some(last) = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut().map(Value::decor_mut))
        && last.suffix().and_then(RawString::as_str).is_none_or(str::is_empty)
    {
        last.set_suffix(suffix);
    }
}

/// Gives a key that is there another value; what stands around it stays.
pub(super) fn replace(table: &mut dyn TableLike, key: &str, mut value: Value) {
    let item = table.get_mut(key).expect("it is there");
    match item.as_value() {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *item = Item::Value(value);
        }
        // It had heads of its own.
        None => {
            table.remove(key);
            insert(table, key, Item::Value(value));
        }
    }
}

/// In braces, on one line.
pub(super) fn inline(table: Table) -> InlineTable {
    let mut inline = table.into_inline_table();
    inline.fmt();
    inline
}

/// Gives a table and all below it this place among the tables of its file. `None`: behind the one that is before it.
pub(super) fn place(table: &mut Table, position: Option<isize>) {
    each_table_mut(table, &mut |table| {
        if !table.is_dotted() {
            table.set_position(position);
        }
    });
}

/// Forgets that there was nothing before the first head of the text that it comes from.
pub(super) fn loosen(table: &mut Table) {
    each_table_mut(table, &mut |table| {
        if table.decor().prefix().and_then(RawString::as_str) == Some("") {
            table.decor_mut().clear();
        }
    });
}

/// Where the first of its heads stands.
pub(super) fn first_position(item: &Item) -> Option<isize> {
    let mut first: Option<isize> = None;
    each_table_of(item, &mut |table| {
        first = first.into_iter().chain(table.position()).min();
    });
    first
}

/// Where the last of its heads stands.
pub(super) fn last_position(table: &Table) -> Option<isize> {
    let mut last = None;
    each_table(table, &mut |table| last = last.max(table.position()));
    last
}

/// Comments above it that are not its own: an empty line is between.
fn free_of(item: &Item) -> String {
    let first = first_position(item);
    let mut free = String::new();
    each_table_of(item, &mut |table| {
        if first.is_some() && table.position() == first {
            free.push_str(&free_above(table));
        }
    });
    free
}

pub(super) fn free_above(table: &Table) -> String {
    table.decor().prefix().and_then(RawString::as_str).map(free_part).unwrap_or_default()
}

fn free_part(prefix: &str) -> String {
    let end = prefix.rfind("\n\n").map_or(0, |end| end + 2);
    if prefix[..end].contains('#') { prefix[..end].to_owned() } else { String::new() }
}

fn prepend(decor: &mut Decor, free: &str) {
    let own = decor.prefix().and_then(RawString::as_str).unwrap_or_default();
    let own = own.strip_prefix('\n').filter(|_| free.ends_with("\n\n")).unwrap_or(own);
    decor.set_prefix(format!("{free}{own}"));
}

fn each_table(table: &Table, visit: &mut dyn FnMut(&Table)) {
    visit(table);
    for (_, item) in table.iter() {
        each_table_of(item, visit);
    }
}

fn each_table_of(item: &Item, visit: &mut dyn FnMut(&Table)) {
    match item {
        Item::Table(table) => each_table(table, visit),
        Item::ArrayOfTables(tables) => tables.iter().for_each(|table| each_table(table, visit)),
        Item::Value(_) | Item::None => {}
    }
}

fn each_table_mut(table: &mut Table, visit: &mut dyn FnMut(&mut Table)) {
    visit(table);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => each_table_mut(table, visit),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| each_table_mut(table, visit)),
            Item::Value(_) | Item::None => {}
        }
    }
}
