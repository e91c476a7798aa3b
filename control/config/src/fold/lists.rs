//! Lists in the files: what the document says of them, entry by entry. Their own files stay as they are.

use super::objects::{Fold, table_at, toml};
use crate::document::{List, Lists};
use crate::keys::ListWord;
use crate::list::{self, ListContent};
use crate::load::normal;
use crate::written;
use policy::http::ListDifference;
use policy::tree::{self, Difference};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::Path;
use toml_edit::{Item, Value};

impl Fold<'_> {
    pub(super) fn lists(&mut self, old: &Lists, new: &Lists) {
        for difference in tree::diff(old, new) {
            match difference {
                Difference::Removed { key, .. } => self.texts.remove_everywhere(&["list"], key),
                Difference::Added { key, new } => self.whole_list(key, new),
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => {}
                Difference::Changed { key, old, new } => self.list(key, old, new),
            }
        }
    }

    fn whole_list(&mut self, id: &str, list: &List) {
        let mut table = table_at(&written::list_text(id, list), &["list", id]);
        let home = self.texts.file_of(&["list"]);
        if let Some(file) = list.file() {
            let path = self.relative(&file.path, home.unwrap_or(0));
            table.insert("file", Item::Value(toml(&json!(path))));
        }
        match home {
            Some(home) => self.texts.put(home, &["list"], id, table),
            None => self.texts.append(0, &["list"], id, table),
        }
    }

    /// A path that the main file says, as another of the files would.
    fn relative(&self, path: &Path, file: usize) -> String {
        let folder = |file: usize| Path::new(self.texts.path(file)).parent().unwrap_or(Path::new(""));
        let path = normal(&folder(0).join(path));
        list::relative(&path, &normal(folder(file))).display().to_string()
    }

    fn list(&mut self, id: &str, old: &List, new: &List) {
        let path = ["list", id];
        let kind = |list: &ListContent| list.keys(0).kind;
        if kind(old) != kind(new) {
            let word = if kind(new) == ListWord::Address { "address" } else { "text" };
            self.texts.set(&path, "kind", Some(toml(&json!(word))));
        }
        let file = |list: &ListContent| list.file().map(|file| file.path.clone());
        if file(old) != file(new) {
            let home = self.texts.file_of(&["list", id, "file"]).unwrap_or_else(|| self.texts.home(&path));
            let value = file(new).map(|file| toml(&json!(self.relative(&file, home))));
            self.texts.set(&path, "file", value);
        }
        let mut sets = [Vec::new(), Vec::new()];
        new.keys(usize::MAX).each(&mut |key, value| {
            let ix = ["entries", "except"].iter().position(|name| *name == key.name);
            if let (Some(ix), Json::Array(entries)) = (ix, value.to_json()) {
                sets[ix] = entries;
            }
        });
        let [entries, except] = sets;
        for (key, before, now, all) in
            [("entries", old.own(), new.own(), entries), ("except", old.except(), new.except(), except)]
        {
            let (mut gone, mut come) = (BTreeSet::new(), BTreeSet::new());
            for difference in before.diff(now) {
                let (entry, goes, comes) = match difference {
                    ListDifference::Gone(entry, _) => (entry, true, false),
                    ListDifference::Come(entry, _) => (entry, false, true),
                    ListDifference::Renoted { entry, .. } => (entry, true, true),
                };
                let name = list::show(&entry);
                gone.extend(goes.then(|| name.clone()));
                come.extend(comes.then_some(name));
            }
            if gone.is_empty() && come.is_empty() {
                continue;
            }
            let name = |value: &Value| {
                let text = value.as_str().or_else(|| value.as_inline_table()?.get("entry")?.as_str())?;
                Some(list::show(&list::parse(new.kind(), &self.replaced(text)?).ok()?))
            };
            let known = self.named_items(&path, key, name);
            let said = |item: &&Json| {
                let text = item.as_str().or_else(|| item.get("entry")?.as_str());
                text.is_some_and(|text| come.contains(text))
            };
            let come = all.iter().filter(said).map(toml).collect();
            self.items(&path, key, known, &gone, come, Some(&Json::Array(all)));
        }
        let says = |key: &str| self.texts.file_of(&["list", id, key]).is_some();
        if !says("entries") && !says("file") {
            self.texts.set(&path, "entries", Some(toml(&json!([]))));
        }
    }
}
