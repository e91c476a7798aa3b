//! What the general edits do with objects: add, set, remove, merge, and the operations of a JSON Patch.

use super::objects::Show;
use super::target::{Led, Objects, Target, led};
use super::value::{self, Misplaced};
use super::{Editor, PatchStep, RulePlace, not_found, some_of, with_at};
use crate::document::Sealed;
use crate::problem::{Code, Problem};
use crate::rule_list::RuleList;
use policy::generation::ContentHash;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// What becomes of one text of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Comes,
    Goes,
    GoesIfThere,
}

impl Editor {
    pub(super) fn add(&mut self, path: &[String], value: &Json, place: Option<&RulePlace>) {
        let Some(target) = self.object(path) else { return };
        let is_there = self.is_there(&target);
        if is_there && !self.says(&target, value) {
            let message = format!("there is {} already, and it says something else", target.word());
            let problem = with_at(path, |at| Problem::error(Code::Duplicate, at, None, message));
            return self.problems.push(problem.help("`set` changes what is there"));
        }
        if !is_there {
            self.put_whole(&target, value, place);
        }
    }

    pub(super) fn set(&mut self, path: &[String], value: &Json) {
        let Some(target) = self.object(path) else { return };
        match self.is_there(&target) {
            true => self.merge(path, value),
            false => self.absent(&target),
        }
    }

    pub(super) fn remove(&mut self, path: &[String], missing_ok: bool) {
        let Some(target) = self.object(path) else { return };
        match self.is_there(&target) {
            true => self.take(&target),
            false if missing_ok => {}
            false => self.absent(&target),
        }
    }

    pub(super) fn move_rule(&mut self, pool: &str, rule: &str, place: &RulePlace) {
        let target = Target::Rule { pool: pool.into(), id: rule.into() };
        let found = self.pool(pool).and_then(|pool| pool.http.as_ref()?.rules.find(rule));
        let Some((turn, sealed)) = found.map(|(turn, rule)| (turn, rule.clone())) else { return self.absent(&target) };
        let rules = &self.pool(pool).and_then(|pool| pool.http.as_ref()).expect("found above").rules;
        let (before, behind) = rules.neighbours(turn);
        let named = |rule: Option<(_, &Arc<Sealed<_>>)>| {
            rule.map(|(_, rule): (_, &crate::rule_list::SealedRule)| rule.id.to_string())
        };
        let (before, behind) = (named(before), named(behind));
        let stands_there = match place {
            RulePlace::First => before.is_none(),
            RulePlace::Last => behind.is_none(),
            RulePlace::Before(other) => behind.as_ref() == Some(other),
            RulePlace::Behind(other) => before.as_ref() == Some(other),
        };
        if stands_there {
            return;
        }
        if let RulePlace::Before(other) | RulePlace::Behind(other) = place
            && other == rule
        {
            let message = format!("rule `{rule}` cannot stand beside itself");
            return self.tell(Code::Clash, &target.path(), message);
        }
        self.set_rules(pool, |rules| rules.remove(turn));
        let mut content = (**sealed).clone();
        content.rule.order = None;
        let id = content.id.clone();
        self.place_rule(pool, content, Some(place));
        if let Some(open) = self.open(pool) {
            open.rules.insert(id);
        }
    }

    pub(super) fn item(&mut self, path: &[String], item: &str, change: Item) {
        let Led::Object(target, within) = led(path) else { return self.nowhere(path) };
        let Some(mut own) = self.own(&target, Show::All) else { return self.absent(&target) };
        let mut list: Vec<Json> = match value::find(&own, within) {
            Some(Json::Array(list)) => list.clone(),
            Some(other) => vec![other.clone()],
            None => Vec::new(),
        };
        // As the reader would write it: two spellings of one address are one.
        let same = |other: &Json| other.as_str().is_some_and(|other| other.eq_ignore_ascii_case(item));
        let at = list.iter().position(same);
        match (change, at) {
            (Item::Comes, Some(_)) | (Item::GoesIfThere, None) => return,
            (Item::Comes, None) => list.push(item.into()),
            (Item::Goes | Item::GoesIfThere, Some(at)) => drop(list.remove(at)),
            (Item::Goes, None) => {
                let message = format!("`{item}` is not there");
                let names: Vec<&str> = list.iter().filter_map(Json::as_str).collect();
                let problem = with_at(path, |at| not_found(*at, message, item, names.iter().copied()));
                return self.problems.push(problem);
            }
        }
        own = self.own(&target, Show::Written).expect("seen above");
        let changed = match list.is_empty() {
            true => value::remove(&mut own, within).map(drop),
            false => value::add(&mut own, within, Json::Array(list)),
        };
        match changed {
            Ok(()) => self.put(&target, &own, None),
            Err(_) => self.nowhere(path),
        }
    }

    /// RFC 7396, of what is at this path.
    pub(super) fn merge(&mut self, path: &[String], patch: &Json) {
        let target = match led(path) {
            Led::Table(objects) => return self.merge_table(path, &objects, patch),
            Led::Object(target, []) => target,
            Led::Object(..) | Led::Nowhere => return self.nowhere(path),
        };
        let Json::Object(fields) = patch else {
            return match patch {
                Json::Null => self.take(&target),
                _ => self.tell(Code::WrongType, path, format!("{} is a table", target.word())),
            };
        };
        let (held, own) = apart(&target, fields);
        let before = self.problems.count();
        match self.own(&target, Show::Written) {
            Some(mut now) if !own.is_empty() => {
                value::merge(&mut now, &Json::Object(own));
                self.put(&target, &now, None);
            }
            Some(_) => {}
            None => {
                let mut new = Json::Object(Map::new());
                value::merge(&mut new, &Json::Object(own));
                self.put(&target, &new, None);
            }
        }
        // What it holds has no place where it is not.
        if super::objects::is_silent(&self.problems, before) {
            for (name, value) in held {
                self.merge(&below(path, &name), &value);
            }
        }
    }

    fn merge_table(&mut self, path: &[String], objects: &Objects, patch: &Json) {
        match (objects, patch) {
            (Objects::Rules { pool }, Json::Array(list)) => self.replace_rules(pool, list),
            (Objects::Backends { pool, group }, Json::Array(list)) => {
                let target = Target::Group { pool: pool.clone(), id: group.clone() };
                for id in self.names(&target, "backend") {
                    self.take(&Target::Backend { pool: pool.clone(), group: group.clone(), id });
                }
                for value in list {
                    let named = ["id", "address"].iter().find_map(|key| value.get(key)?.as_str());
                    self.merge(&below(path, named.unwrap_or_default()), value);
                }
            }
            (_, Json::Object(fields)) => {
                // What goes makes room for what comes.
                let (gone, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| value.is_null());
                for (name, value) in gone.into_iter().chain(rest) {
                    match objects.names() {
                        Some(names) if !names.contains(&name.as_str()) => self.nowhere(&below(path, name)),
                        _ => self.merge(&below(path, name), value),
                    }
                }
            }
            (
                Objects::Rules { .. } | Objects::Groups { .. } | Objects::Backends { .. } | Objects::Lists,
                Json::Null,
            ) => {
                self.empty(path, objects);
            }
            _ => self.tell(Code::WrongType, path, format!("`{}` is a table", path.join("."))),
        }
    }

    fn empty(&mut self, path: &[String], objects: &Objects) {
        let names = match objects {
            Objects::Lists => self.document.lists.keys().map(ToString::to_string).collect(),
            Objects::Rules { pool } => self.names(&Target::Pool { id: pool.clone() }, "rule"),
            Objects::Groups { pool } => self.names(&Target::Pool { id: pool.clone() }, "group"),
            Objects::Backends { pool, group } => {
                self.names(&Target::Group { pool: pool.clone(), id: group.clone() }, "backend")
            }
            Objects::Root | Objects::Logs | Objects::Pools => Vec::new(),
        };
        for name in names {
            if let Led::Object(target, []) = led(&below(path, &name)) {
                self.take(&target);
            }
        }
    }

    /// All rules of a pool, as they stand in the list.
    fn replace_rules(&mut self, pool: &str, list: &[Json]) {
        if self.pool(pool).is_none() {
            return self.no_pool(pool);
        }
        let old = self.pool(pool).and_then(|pool| pool.http.as_ref()).map(|http| http.rules.clone());
        self.set_rules(pool, |rules| *rules = RuleList::default());
        for value in list {
            let named = value.get("id").and_then(Json::as_str).map(str::to_owned);
            let id = named.unwrap_or_else(|| super::rule_called_by_what_it_asks(value));
            self.put(&Target::Rule { pool: pool.into(), id }, value, None);
        }
        if let Some(old) = old {
            self.set_rules(pool, |rules| *rules = rules.aligned(&old));
        }
    }

    pub(super) fn step(&mut self, ix: usize, step: &PatchStep) {
        let pointer = match step {
            PatchStep::Add { path, .. }
            | PatchStep::Remove { path }
            | PatchStep::Replace { path, .. }
            | PatchStep::Move { path, .. }
            | PatchStep::Copy { path, .. }
            | PatchStep::Test { path, .. } => path,
        };
        let Some(path) = self.pointer(ix, "path", pointer) else { return };
        match step {
            PatchStep::Add { value, .. } => {
                self.change_at(&path, |own, within| value::add(own, within, value.clone()), Some(value))
            }
            PatchStep::Remove { .. } => self.remove_at(&path),
            PatchStep::Replace { value, .. } => {
                if self.whole(&path).is_none() {
                    return self.absent_at(&path);
                }
                let replace = |own: &mut Json, within: &[String]| {
                    value::remove(own, within)?;
                    value::add(own, within, value.clone())
                };
                self.change_at(&path, replace, Some(value));
            }
            PatchStep::Test { value, .. } => match self.whole(&path) {
                Some(found) if found == *value => {}
                Some(found) => {
                    let message = format!("`{}` is not as the patch wants it", path.join("."));
                    let problem = with_at(&path, |at| Problem::error(Code::Clash, at, None, message));
                    self.problems.push(problem.found(found.to_string()).accepted(value.to_string()));
                }
                None => self.absent_at(&path),
            },
            PatchStep::Move { from, .. } | PatchStep::Copy { from, .. } => {
                let Some(from) = self.pointer(ix, "from", from) else { return };
                let Some(value) = self.whole(&from) else { return self.absent_at(&from) };
                if matches!(step, PatchStep::Move { .. }) {
                    if path.starts_with(&from) && path != from {
                        let message = "nothing can be moved into itself".into();
                        return self.tell(Code::Clash, &path, message);
                    }
                    self.remove_at(&from);
                }
                let value = without_id(value);
                self.change_at(&path, |own, within| value::add(own, within, value.clone()), Some(&value));
            }
        }
    }

    fn pointer(&mut self, ix: usize, field: &str, pointer: &str) -> Option<Vec<String>> {
        let tokens = value::tokens(pointer);
        if tokens.is_none() {
            let message = format!("operation {ix}: `{field}` is not a JSON pointer");
            let problem = Problem::error(Code::BadValue, "", None, message).found(format!("{pointer:?}"));
            self.problems
                .push(problem.accepted("the names that lead there, each behind a `/`, such as /pool/web/limits"));
        }
        tokens
    }

    /// An object as a whole, or a value within one. `whole`: what the object becomes.
    fn change_at(
        &mut self,
        path: &[String],
        change: impl FnOnce(&mut Json, &[String]) -> Result<(), Misplaced>,
        whole: Option<&Json>,
    ) {
        match led(path) {
            Led::Object(target, []) => {
                let value = whole.expect("who changes an object says what it becomes");
                if self.is_there(&target) {
                    self.drop_held(&target);
                }
                self.put_whole(&target, value, None);
            }
            Led::Object(target, within) => {
                let (Some(mut own), Some(mut written)) =
                    (self.own(&target, Show::All), self.own(&target, Show::Written))
                else {
                    return self.absent(&target);
                };
                // What is at its default can be changed like all else.
                if let Some(now) = within.first().and_then(|first| own.get(first).cloned())
                    && let Json::Object(fields) = &mut written
                {
                    fields.insert(within[0].clone(), now);
                }
                own = written;
                // A list at whose end something is put may not be written yet.
                if let Some(("-", list)) = within.split_last().map(|(last, list)| (last.as_str(), list))
                    && value::find(&own, list).is_none()
                {
                    let _ = value::add(&mut own, list, Json::Array(Vec::new()));
                }
                match change(&mut own, within) {
                    Ok(()) => self.put(&target, &own, None),
                    Err(why) => self.misplaced(path, why),
                }
            }
            Led::Table(objects) => match whole {
                Some(value @ Json::Object(_)) => {
                    self.empty(path, &objects);
                    self.merge(path, value);
                }
                _ => self.nowhere(path),
            },
            Led::Nowhere => self.nowhere(path),
        }
    }

    fn remove_at(&mut self, path: &[String]) {
        match led(path) {
            Led::Object(target, []) if self.is_there(&target) => self.take(&target),
            Led::Object(_, []) => self.absent_at(path),
            Led::Object(..) => self.change_at(path, |own, within| value::remove(own, within).map(drop), None),
            Led::Table(objects) => self.empty(path, &objects),
            Led::Nowhere => self.nowhere(path),
        }
    }

    /// What is at this path, with all that it holds and every key that is in force.
    fn whole(&self, path: &[String]) -> Option<Json> {
        match led(path) {
            Led::Object(target, []) => {
                let mut whole = self.own(&target, Show::All)?;
                for held in target.holds() {
                    let table = self.whole(&below(path, held))?;
                    whole.as_object_mut()?.insert((*held).into(), table);
                }
                Some(whole)
            }
            Led::Object(target, within) => value::find(&self.own(&target, Show::All)?, within).cloned(),
            Led::Table(objects) => {
                let names: Vec<String> = match &objects {
                    Objects::Root | Objects::Logs => objects.names()?.iter().map(ToString::to_string).collect(),
                    Objects::Lists => self.document.lists.keys().map(ToString::to_string).collect(),
                    Objects::Pools => self.pool_names(),
                    Objects::Rules { pool } => self.names(&Target::Pool { id: pool.clone() }, "rule"),
                    Objects::Groups { pool } => self.names(&Target::Pool { id: pool.clone() }, "group"),
                    Objects::Backends { pool, group } => {
                        self.names(&Target::Group { pool: pool.clone(), id: group.clone() }, "backend")
                    }
                };
                let all = names.into_iter().map(|name| Some((name.clone(), self.whole(&below(path, &name))?)));
                all.collect::<Option<Map<_, _>>>().map(Json::Object)
            }
            Led::Nowhere => None,
        }
    }

    /// An object that is not there, with all that it holds.
    fn put_whole(&mut self, target: &Target, value: &Json, place: Option<&RulePlace>) {
        let Json::Object(fields) = value else {
            let message = format!("{} is a table", target.word());
            return self.tell(Code::WrongType, &target.path(), message);
        };
        let (held, own) = apart(target, fields);
        let before = self.problems.count();
        self.put(target, &Json::Object(own), place);
        if super::objects::is_silent(&self.problems, before) {
            for (name, value) in held {
                self.merge(&below(&target.path(), &name), &value);
            }
        }
    }

    fn drop_held(&mut self, target: &Target) {
        for held in target.holds() {
            for name in self.names(target, held) {
                if let Led::Object(held, []) = led(&below(&below(&target.path(), held), &name)) {
                    self.take(&held);
                }
            }
        }
    }

    /// Whether what is there is just what this value would make of it.
    fn says(&mut self, target: &Target, value: &Json) -> bool {
        let before = (self.content(target), self.clone());
        self.drop_held(target);
        self.put_whole(target, value, None);
        let same = self.problems.count() == before.1.problems.count() && self.content(target) == before.0;
        *self = before.1;
        same
    }

    /// What the list or the pool that it belongs to says by now.
    fn content(&self, target: &Target) -> Option<ContentHash> {
        let pool = match target {
            Target::List { id } => return self.document.lists.get(id.as_str()).map(|list| list.hash()),
            Target::Appliance | Target::Reload | Target::AccessLog | Target::EventLog => return None,
            Target::Pool { id: pool }
            | Target::Rule { pool, .. }
            | Target::Group { pool, .. }
            | Target::Backend { pool, .. } => pool,
        };
        match self.open.get(pool.as_str()) {
            Some(open) => open.clone().map(|mut open| {
                open.flush();
                Sealed::new(open.content).hash()
            }),
            None => self.document.pools.get(pool.as_str()).map(|pool| pool.hash()),
        }
    }

    fn object(&mut self, path: &[String]) -> Option<Target> {
        match led(path) {
            Led::Object(target, []) => Some(target),
            Led::Object(..) | Led::Table(_) | Led::Nowhere => {
                self.nowhere(path);
                None
            }
        }
    }

    fn absent(&mut self, target: &Target) {
        let message = format!("there is no {}", target.word());
        let (name, names) = match target {
            Target::Pool { id } => (id, self.pool_names()),
            Target::List { id } => (id, self.document.lists.keys().map(ToString::to_string).collect()),
            Target::Rule { pool, .. } | Target::Group { pool, .. } if self.pool(pool).is_none() => {
                return self.no_pool(pool);
            }
            Target::Rule { pool, id } => (id, self.names(&Target::Pool { id: pool.clone() }, "rule")),
            Target::Group { pool, id } => (id, self.names(&Target::Pool { id: pool.clone() }, "group")),
            Target::Backend { pool, group, id } => {
                (id, self.names(&Target::Group { pool: pool.clone(), id: group.clone() }, "backend"))
            }
            Target::Appliance | Target::Reload | Target::AccessLog | Target::EventLog => return,
        };
        let problem = with_at(&target.path(), |at| not_found(*at, message, name, names.iter().map(String::as_str)));
        self.problems.push(problem);
    }

    fn absent_at(&mut self, path: &[String]) {
        match led(path) {
            Led::Object(target, _) if !self.is_there(&target) => self.absent(&target),
            _ => self.tell(Code::NotFound, path, format!("nothing is at `{}`", path.join("."))),
        }
    }

    fn nowhere(&mut self, path: &[String]) {
        let message = match path {
            [] => "the document as a whole is not changed by this; `apply` replaces it".into(),
            path => format!("`{}` leads nowhere", path.join(".")),
        };
        let problem = with_at(path, |at| Problem::error(Code::UnknownKey, at, None, message));
        let tables = [
            "appliance",
            "reload",
            "log",
            "list.ID",
            "pool.ID",
            "pool.ID.rule.ID",
            "pool.ID.group.ID",
            "pool.ID.group.ID.backend.ID",
        ];
        self.problems.push(problem.accepted(some_of(tables)));
    }

    fn misplaced(&mut self, path: &[String], why: Misplaced) {
        let message = match why {
            Misplaced::Absent => format!("nothing is at `{}`", path.join(".")),
            Misplaced::NoIndex => format!("`{}` is not an index of the list; `-` stands for its end", path.join(".")),
            Misplaced::NoContainer => format!("`{}` leads into a value that holds nothing", path.join(".")),
        };
        self.tell(Code::NotFound, path, message);
    }
}

/// The fields that are other objects, and the object's own.
fn apart(target: &Target, fields: &Map<String, Json>) -> (Vec<(String, Json)>, Map<String, Json>) {
    let mut own = fields.clone();
    // What rules lead to comes before them.
    let mut held: Vec<(String, Json)> =
        target.holds().iter().filter_map(|name| own.remove(*name).map(|value| ((*name).to_owned(), value))).collect();
    held.reverse();
    (held, own)
}

fn below(path: &[String], name: &str) -> Vec<String> {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// What is copied elsewhere is called by its new place.
fn without_id(mut value: Json) -> Json {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("id");
    }
    value
}
