//! Typed orders and patches as edits of the document.
//!
//! An edit is read by the same reader as a document's tables, so it has the same errors, and what it makes
//! is the document that says the same. A list of edits is a transaction: all or none.
//!
//! ```text
//! Edit ── path leads to (target) ──▶ object ── view ── merged, patched (value) ── read (objects) ──▶ in place
//!                                                                        all edits done: what must agree (agree)
//! ```
//!
//! Cost: that of the objects touched. O(backends) of a group whose backends are touched; O(pools) where addresses or hosts
//! change, or a list.

mod agree;
mod backends;
mod merge;
mod objects;
mod patch;
mod target;
mod value;

pub use merge::merge;
pub(crate) use merge::{KeyKind, key_kind, pages_by_status, status_name};
pub(crate) use objects::Show;
pub(crate) use target::Target;

use crate::document::{Config, Document, PoolContent, Sealed};
use crate::keys::{Backend, Conditions};
use crate::list_edit::{self, ListEdit};
use crate::place::At;
use crate::problem::{Code, Problem, Problems};
use crate::rule_id;
use crate::rule_list::RuleList;
use crate::suggest;
use policy::PoolId;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One change of the document. Paths are those of plans: `pool`, `web`, `group`, `app`, `backend`, `a`; what the text has
/// as lists of tables with ids are tables by id there.
#[derive(Clone, PartialEq, Debug)]
pub enum Edit {
    AddBackend {
        pool: String,
        /// `None`: the pool's only group. Of several one must be named.
        group: Option<String>,
        /// `None`: its address.
        id: Option<String>,
        address: String,
        set: BackendSettings,
    },
    RemoveBackend {
        pool: String,
        group: Option<String>,
        /// Its id, or its address.
        id: String,
    },
    SetBackend {
        pool: String,
        group: Option<String>,
        id: String,
        set: BackendSettings,
    },
    /// An object that is not there yet, or is just so.
    Add {
        path: Vec<String>,
        value: Json,
        place: Option<RulePlace>,
    },
    /// An object that is there, changed by a merge patch.
    Set {
        path: Vec<String>,
        value: Json,
    },
    /// An object and all that it holds.
    Remove {
        path: Vec<String>,
        missing_ok: bool,
    },
    /// A rule is asked elsewhere.
    MoveRule {
        pool: String,
        rule: String,
        place: RulePlace,
    },
    /// One of a key's list of texts, such as an address of `create.listen`.
    AddItem {
        path: Vec<String>,
        item: String,
    },
    RemoveItem {
        path: Vec<String>,
        item: String,
        missing_ok: bool,
    },
    /// One entry of a list, or all of them.
    List(ListEdit),
    /// RFC 7396, of the whole document.
    Merge(Json),
    /// RFC 6902, of the whole document.
    Patch(Vec<PatchStep>),
    /// What is ordered as one.
    Several(Vec<Edit>),
}

/// Where a rule is put among those of its pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RulePlace {
    First,
    Last,
    Before(String),
    Behind(String),
}

/// One operation of a JSON Patch, RFC 6902 section 4. Paths are JSON pointers.
#[derive(Clone, PartialEq, Debug)]
pub enum PatchStep {
    Add { path: String, value: Json },
    Remove { path: String },
    Replace { path: String, value: Json },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Json },
}

/// What an edit says of a backend. `None` is not said: as it was, or its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendSettings {
    pub weight: Option<u32>,
    pub backup: Option<bool>,
    pub drain: Option<bool>,
    pub max_connections: Option<Limit>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    Off,
    At(u32),
}

/// Edits in one transaction, operations of patches counted one by one.
pub const EDITS_MAX: usize = 10_000;

/// A configuration after edits.
#[derive(Debug)]
pub struct Edited {
    pub config: Config,
    /// Of the groups that were touched.
    pub warnings: Problems,
}

/// Which pools edits may change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Concerned {
    Pools(BTreeSet<PoolId>),
    /// Addresses or hosts, by which pools depend on each other.
    All,
}

/// The id of a rule that has none of its own, as far as it can be read.
pub fn rule_called_by_what_it_asks(rule: &Json) -> String {
    let mut node = value::node(rule);
    node.drop_empty_lists();
    let conditions = Conditions::read(&node, &At::ROOT, &mut Problems::default());
    conditions.map_or_else(String::new, |conditions| rule_id::derived(&conditions).to_string())
}

impl Edit {
    fn steps(&self) -> usize {
        match self {
            Edit::Patch(steps) => steps.len(),
            Edit::Several(edits) => edits.iter().map(Edit::steps).sum(),
            _ => 1,
        }
    }

    /// Never too few.
    pub fn concerns(&self, config: &Config) -> Concerned {
        let one = |pool: &str| Concerned::Pools([PoolId::new(pool)].into());
        let of = |path: &[String]| concerned_by(path, config);
        match self {
            Edit::AddBackend { pool, .. }
            | Edit::RemoveBackend { pool, .. }
            | Edit::SetBackend { pool, .. }
            | Edit::MoveRule { pool, .. } => one(pool),
            Edit::Add { path, value, .. } | Edit::Set { path, value } => of(path).and(of_value(path, value, config)),
            Edit::Remove { path, .. } => of(path),
            Edit::List(edit) => of(&["list".to_owned(), edit.list().to_owned()]),
            Edit::AddItem { path, .. } | Edit::RemoveItem { path, .. } => of(path),
            Edit::Merge(value) => of_value(&[], value, config),
            Edit::Several(edits) => {
                edits.iter().fold(Concerned::none(), |concerned, edit| concerned.and(edit.concerns(config)))
            }
            Edit::Patch(steps) => {
                let all = steps.iter().flat_map(|step| match step {
                    PatchStep::Add { path, value } | PatchStep::Replace { path, value } => vec![(path, Some(value))],
                    PatchStep::Remove { path } => vec![(path, None)],
                    PatchStep::Move { from, path } => vec![(from, None), (path, None)],
                    PatchStep::Copy { path, .. } => vec![(path, None)],
                    PatchStep::Test { .. } => vec![],
                });
                all.fold(Concerned::none(), |concerned, (path, value)| {
                    let path = value::tokens(path).unwrap_or_default();
                    let within = value.map_or(Concerned::none(), |value| of_value(&path, value, config));
                    concerned.and(of(&path)).and(within)
                })
            }
        }
    }
}

impl Concerned {
    fn none() -> Concerned {
        Concerned::Pools(BTreeSet::new())
    }

    fn and(self, other: Concerned) -> Concerned {
        match (self, other) {
            (Concerned::Pools(mut one), Concerned::Pools(other)) => {
                one.extend(other);
                Concerned::Pools(one)
            }
            (Concerned::All, _) | (_, Concerned::All) => Concerned::All,
        }
    }
}

/// Where something at this path is changed, added or removed.
fn concerned_by(path: &[String], config: &Config) -> Concerned {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match &words[..] {
        ["pool", _] | ["pool", _, "create" | "hosts", ..] | ["pool"] | [] => Concerned::All,
        ["pool", pool, ..] => Concerned::Pools([PoolId::new(pool)].into()),
        ["list", list, ..] => {
            let names = |pool: &&Arc<crate::document::Pool>| {
                pool.http.as_ref().is_some_and(|http| http.lists.contains_key(*list))
            };
            Concerned::Pools(config.pools.values().filter(names).map(|pool| pool.id.clone()).collect())
        }
        _ => Concerned::none(),
    }
}

/// As [`concerned_by`], for all that a merge patch at this path says.
fn of_value(path: &[String], value: &Json, config: &Config) -> Concerned {
    let Json::Object(fields) = value else { return concerned_by(path, config) };
    let deep = match path {
        [] => true,
        [first] => first == "pool" || first == "list",
        [first, _] => first == "pool",
        _ => false,
    };
    if !deep {
        return concerned_by(path, config);
    }
    fields.iter().fold(Concerned::none(), |concerned, (name, value)| {
        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        let is_new = matches!(&path[..], [first, pool] if first == "pool" && !config.pools.contains_key(pool.as_str()));
        match is_new {
            true => Concerned::All,
            false => concerned.and(of_value(&path, value, config)),
        }
    })
}

impl Config {
    /// Applies all edits, one after the other, or tells all that is wrong with them. `shards_auto`: what
    /// `appliance.shards = "auto"` stands for.
    pub fn edit(&self, edits: &[Edit], shards_auto: usize) -> Result<Edited, Problems> {
        let mut editor = Editor::of(self, shards_auto);
        let steps: usize = edits.iter().map(Edit::steps).sum();
        if steps > EDITS_MAX {
            let message = format!("{steps} edits in one transaction, at most {EDITS_MAX}");
            editor.problems.push(Problem::error(Code::TooMany, "", None, message));
            return Err(editor.problems);
        }
        for (ix, edit) in edits.iter().enumerate() {
            // A single edit is a message of its own, and its fields are at the top.
            if edits.len() == 1 {
                editor.edit(edit, &At::ROOT);
                continue;
            }
            let before = editor.problems.count();
            let orders = At::ROOT.key("orders");
            editor.edit(edit, &orders.index(ix));
            editor.problems.say_which(before, ix);
        }
        // What must agree is looked at only where each edit is in order, or one mistake would be told many times.
        let Some(config) = (editor.problems.count() == 0).then(|| editor.agree()).flatten() else {
            return Err(editor.problems);
        };
        Ok(Edited { config, warnings: editor.problems })
    }
}

/// A document on which edits are under way.
#[derive(Clone)]
pub(crate) struct Editor {
    /// As it will be, but for the pools that are open.
    document: Document,
    /// Pools that were touched. `None`: gone.
    open: BTreeMap<PoolId, Option<OpenPool>>,
    touched_lists: BTreeSet<Arc<str>>,
    /// Something has changed on which pools depend on each other.
    addresses: bool,
    shards_auto: usize,
    problems: Problems,
}

/// A pool that edits have touched.
#[derive(Clone)]
struct OpenPool {
    content: PoolContent,
    /// Backends of groups that are touched, sorted by id; `content` still has those before.
    backends: BTreeMap<Arc<str>, Vec<Arc<Sealed<Backend>>>>,
    rules: BTreeSet<Arc<str>>,
    groups: BTreeSet<Arc<str>>,
}

impl Editor {
    pub(crate) fn of(config: &Config, shards_auto: usize) -> Editor {
        Editor {
            document: (**config).clone(),
            open: BTreeMap::new(),
            touched_lists: BTreeSet::new(),
            addresses: false,
            shards_auto,
            problems: Problems::default(),
        }
    }

    fn edit(&mut self, edit: &Edit, at: &At<'_>) {
        match edit {
            Edit::AddBackend { .. } | Edit::RemoveBackend { .. } | Edit::SetBackend { .. } => self.backend(edit, at),
            Edit::Add { path, value, place } => self.add(path, value, place.as_ref()),
            Edit::Set { path, value } => self.set(path, value),
            Edit::Remove { path, missing_ok } => self.remove(path, *missing_ok),
            Edit::MoveRule { pool, rule, place } => self.move_rule(pool, rule, place),
            Edit::AddItem { path, item } => self.item(path, item, patch::Item::Comes),
            Edit::RemoveItem { path, item, missing_ok: false } => self.item(path, item, patch::Item::Goes),
            Edit::RemoveItem { path, item, missing_ok: true } => self.item(path, item, patch::Item::GoesIfThere),
            Edit::List(edit) => self.list(edit, at),
            Edit::Merge(patch) => self.merge(&[], patch),
            Edit::Patch(steps) => steps.iter().enumerate().for_each(|(ix, step)| self.step(ix, step)),
            Edit::Several(edits) => edits.iter().for_each(|edit| self.edit(edit, at)),
        }
    }

    fn list(&mut self, edit: &ListEdit, at: &At<'_>) {
        if let Some((id, content)) = list_edit::edited(&self.document.lists, edit, at, &mut self.problems) {
            self.touched_lists.insert(id.clone());
            self.document.lists = self.document.lists.insert(id, Arc::new(Sealed::new(content)));
        }
    }

    /// `None`: there is no such pool, which is not told.
    fn open(&mut self, id: &str) -> Option<&mut OpenPool> {
        if !self.open.contains_key(id) {
            let (id, pool) = self.document.pools.find_entry(id)?;
            self.open.insert(id.clone(), Some(OpenPool::of((***pool).clone())));
        }
        self.open.get_mut(id)?.as_mut()
    }

    /// As it is by now; backends that are touched apart.
    fn pool(&self, id: &str) -> Option<&PoolContent> {
        match self.open.get(id) {
            Some(open) => open.as_ref().map(|open| &open.content),
            None => self.document.pools.get(id).map(|pool| &***pool),
        }
    }

    /// Pools that are there by now.
    fn pool_names(&self) -> Vec<String> {
        let kept = self.document.pools.keys().filter(|id| !self.open.contains_key(*id));
        let open = self.open.iter().filter(|(_, open)| open.is_some()).map(|(id, _)| id);
        kept.chain(open).map(ToString::to_string).collect()
    }

    fn tell(&mut self, code: Code, path: &[String], message: String) {
        self.problems.push(with_at(path, |at| Problem::error(code, at, None, message)));
    }
}

impl OpenPool {
    fn of(content: PoolContent) -> OpenPool {
        OpenPool { content, backends: BTreeMap::new(), rules: BTreeSet::new(), groups: BTreeSet::new() }
    }

    fn rules(&self) -> Option<&RuleList> {
        self.content.http.as_ref().map(|http| &http.rules)
    }

    /// Puts backends that were touched where they belong.
    fn flush(&mut self) {
        for (id, backends) in std::mem::take(&mut self.backends) {
            let Some(group) = self.content.group(&id) else { continue };
            let content = crate::document::GroupContent { backends, ..(***group).clone() };
            self.content.groups = self.content.groups.insert(id.clone(), Arc::new(Sealed::new(content)));
            self.groups.insert(id);
        }
    }
}

/// The path as problems know it.
fn with_at<R>(path: &[String], then: impl FnOnce(&At<'_>) -> R) -> R {
    fn go<R>(at: &At<'_>, path: &[String], then: impl FnOnce(&At<'_>) -> R) -> R {
        match path {
            [] => then(at),
            [first, rest @ ..] => go(&at.key(first), rest, then),
        }
    }
    go(&At::ROOT, path, then)
}

/// Says what there is, as far as a line holds it.
pub(crate) fn not_found<'n>(
    at: At<'_>,
    message: String,
    wanted: &str,
    names: impl IntoIterator<Item = &'n str> + Clone,
) -> Problem {
    /// Enough to find a slip of the finger; a group may have a hundred thousand names.
    const NAMES_COMPARED: usize = 1_000;
    let problem = Problem::error(Code::NotFound, at, None, message).found(format!("{wanted:?}"));
    let problem = problem.accepted(some_of(names.clone()));
    match suggest::closest(wanted, names.into_iter().take(NAMES_COMPARED)) {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem,
    }
}

/// Names that are accepted, as far as a line holds them.
pub(crate) fn some_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const NAMES_SHOWN: usize = 10;
    let mut there = names.into_iter();
    let mut shown: Vec<&str> = there.by_ref().take(NAMES_SHOWN).collect();
    if there.next().is_some() {
        shown.push("…");
    }
    if shown.is_empty() { "there is none at all".into() } else { shown.join(", ") }
}
