//! The part of a plan that is about lists: how many entries come and go, and some of them.

use crate::document::{List, Lists};
use crate::keys::ListKeys;
use crate::list::Spelled;
use crate::place::At;
use crate::plan::{ChangeKind, Diff, Object, happenings};
use policy::http::ListDifference;
use policy::tree::{self, Difference};
use serde_json::json;
use std::sync::Arc;

/// Entries of a list that a plan shows, which is read by people: so many that come, and so many that go.
pub const LIST_ENTRIES_SHOWN: usize = 100;

impl<'a> Diff<'a> {
    pub(crate) fn lists(&mut self, old: &'a Lists, new: &'a Lists) {
        let at = |id: &str| At::ROOT.key("list").key(id).to_string();
        for difference in tree::diff(old, new) {
            match difference {
                Difference::Removed { key, .. } => {
                    let object = Object::List { id: key.clone() };
                    self.event(None, at(key), object, ChangeKind::Removed, happenings::LIST_REMOVED);
                }
                Difference::Added { key, .. } => {
                    let object = Object::List { id: key.clone() };
                    self.event(None, at(key), object, ChangeKind::Added, happenings::LIST_ADDED);
                }
                Difference::Changed { old, new, .. } if old.hash() == new.hash() => {}
                Difference::Changed { key, old, new } => self.list(key, &at(key), old, new),
            }
        }
    }

    fn list(&mut self, id: &Arc<str>, at: &str, old: &List, new: &List) {
        // Entries are told as one change, wherever they are said.
        let [keys, new_keys] = [old, new].map(|list| list.keys(0));
        let object = Object::List { id: id.clone() };
        let mut told = false;
        keys.diff(&new_keys, &mut |key, old, new| {
            told = true;
            self.key(None, at, object.clone(), key, old, new);
        });
        let same = old.in_force().digest() == new.in_force().digest();
        if same && told {
            return;
        }
        let (mut gone, mut come) = (Told::default(), Told::default());
        for difference in old.in_force().diff(new.in_force()) {
            match difference {
                ListDifference::Gone(entry, note) => gone.tell(|| Spelled(&entry, &note).to_string()),
                ListDifference::Come(entry, note) => come.tell(|| Spelled(&entry, &note).to_string()),
                ListDifference::Renoted { entry, old, new } => {
                    gone.tell(|| Spelled(&entry, &old).to_string());
                    come.tell(|| Spelled(&entry, &new).to_string());
                }
            }
        }
        let before = json!({ "entries": old.in_force().len(), "only_here": gone.count, "shown": gone.shown });
        let after = json!({ "entries": new.in_force().len(), "only_here": come.count, "shown": come.shown });
        let key = ListKeys::KEYS.iter().find(|key| key.name == "entries").expect("it is a key");
        self.change(None, format!("{at}.entries"), object, key.reason, before, after);
    }
}

#[derive(Default)]
struct Told {
    count: usize,
    shown: Vec<String>,
}

impl Told {
    fn tell(&mut self, entry: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < LIST_ENTRIES_SHOWN {
            self.shown.push(entry());
        }
    }
}
