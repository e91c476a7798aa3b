//! Operator text becomes `Draft`, then [`Config`], then a generation.
//!
//! ```text
//! text ── tree ── strict, draft ── check ──▶ Config ── diff ──▶ Plan
//!   (load, variable)  (keys, form)              │  ▲
//!                                     compile ──┘  └── edit
//!                                        │
//!                                        ▼
//!                                  policy's Change
//! ```
//!
//! Every key is defined once, in `keys`; all problems of a document are told at once; what a change does is
//! known before it happens. This crate opens no socket, reads no clock, and knows neither shards at work
//! nor the people who send documents: files come through a [`Source`], variables through a function.
//!
//! One submission, in calls:
//!
//! 1. [`parse`] a document, or [edit](Config::edit) the running one: a [`Config`], or all [`Problems`].
//! 2. [`diff`] it with [`Running::config`]: a [`Plan`]. Unchanged: done. [`Plan::live`] is the proof that no
//!    restart is needed.
//! 3. [`compile`] it: a change for the shards, new slots given out.
//! 4. Bind what [`Compiled::bind`] names, and hand the change to the rollout.
//! 5. When it is in force, [`Compiled::applied`] and [`Running::after`]. Otherwise it is dropped.
//! 6. Slots that nobody can name any more, the rollout says which, go to [`Slots::release_pool`] and its like.
//!
//! A job that has waited begins again at 2 against what runs by then, a typed order at 1.
//!
//! What runs is the document that was given last and what orders have changed since. [`merge()`] carries that over into the
//! next document, [`fold()`] writes it back into the operator's files.

#![forbid(unsafe_code)]

mod address;
mod check;
mod class;
mod compile;
mod describe;
mod division;
mod document;
mod draft;
mod draw;
mod edit;
mod editor;
mod example;
mod find;
mod fit;
mod fold;
mod foretell;
mod form;
mod keys;
mod lead;
mod list;
mod list_edit;
mod load;
mod manual;
mod meaning;
mod overlap;
mod page;
mod partial;
mod place;
mod plan;
mod plan_listen;
mod plan_lists;
mod plan_rules;
mod plan_tests;
#[cfg(any(test, feature = "planted"))]
pub mod planted;
#[cfg(not(any(test, feature = "planted")))]
mod planted;
mod prefix;
mod problem;
mod reference;
mod rule_id;
mod rule_list;
mod rule_place;
mod rule_spec;
mod rules;
mod running;
mod schema;
mod service;
mod share;
mod slots;
mod source;
mod strict;
mod suggest;
mod tree;
mod trial;
mod unit;
mod variable;
mod warn;
mod written;

pub use class::{Category, Class, Reach, Reason};
pub use compile::{Afresh, Bind, Compiled, compile, recompile};
pub use describe::{Described, Description};
pub use division::Division;
pub use document::{
    Carries, Config, Document, Group, GroupContent, HttpContent, List, Pool, PoolContent, RuleContent, Sealed,
};
pub use draw::Colour;
pub use edit::{
    BackendSettings, Concerned, EDITS_MAX, Edit, Edited, Limit, PatchStep, RulePlace, merge,
    rule_called_by_what_it_asks,
};
pub use editor::{SchemaOf, json_schema};
pub use find::{Found, NoSuchKey, WANTED_BYTES_MAX, find_keys};
pub use fold::{Rewritten, fold};
pub use foretell::{Foretold, asked_rules, foretell};
pub use form::{
    Expect, ExpectHeader, ExpectSent, HeaderEdits, LogField, LogPiece, LogTemplate, Redirect, Respond, Rewrite,
    RewritePath, Shards, Shown, ValueTest,
};
pub use keys::{
    AccessFormat, AccessLog, Algorithm, Appliance, Backend, Balancing, CheckWord, Conditions, Create, DriftWord, Eject,
    EventFormat, EventLevel, EventLog, Health, Hosts, Http, HttpGroup, HttpTimes, Limits, ListKeys, ListWord, LogSink,
    Page, PoolSwitches, Reload, Retry, Root, Rule, Service, TABLES, TcpGroup, Test, Timeouts, keys,
};
pub use lead::{Leads, Led, Unclear};
pub use list::{
    LIST_ENTRIES_WRITTEN, LIST_FILE_BYTES_MAX, LIST_LINE_BYTES_MAX, ListContent, ListEntry, ListFile, Spelled,
    read_list_file, show_time,
};
pub use list_edit::{EntryText, ListEdit, Replacement};
pub use load::{DOCUMENT_BYTES_MAX, FILE_BYTES_MAX, INCLUDE_DEPTH_MAX, INCLUDES_MAX};
pub use manual::keys_manual;
pub use place::{Place, Span};
pub use plan::{
    ChangeKind, Live, Object, Plan, PlanWarning, PlanWarningCode, PlannedChange, RestartReason, Touches, diff,
    diff_kin, happenings,
};
pub use plan_lists::LIST_ENTRIES_SHOWN;
pub use problem::{Also, Code, Problem, Problems, Severity};
pub use reference::keys_markdown;
pub use rule_list::{RuleList, SealedRule};
pub use rule_place::RulePlaces;
pub use running::{Running, RunningPool};
pub use schema::{Exception, Key, Presence, TableKeys};
pub use slots::{EndpointIdentity, Slots};
pub use source::{Disk, NoFiles, Source};
pub use trial::{Case, Tests};
pub use variable::Variables;

use policy::PoolId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a document is read in: everything that is not in the text itself.
pub struct Surroundings<'a> {
    pub source: &'a dyn Source,
    pub variables: &'a Variables<'a>,
    /// Shards that `appliance.shards = "auto"` stands for: the cores that the process may use.
    pub shards_auto: usize,
}

/// A document that is in order.
#[derive(Debug)]
pub struct Parsed {
    pub config: Config,
    /// Warnings only.
    pub warnings: Problems,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
    /// Where its rules and tests stand in them.
    pub rule_places: RulePlaces,
    /// Pools that are not in order and are in `config` as they ran, or not at all. Empty but for [`parse_partial`].
    pub left_out: BTreeSet<PoolId>,
}

/// Reads a document. `name` is its path, for problems and because includes are relative to it; the text
/// may come from anywhere and be anything.
pub fn parse(name: &Path, text: &[u8], around: &Surroundings<'_>) -> Result<Parsed, Problems> {
    let mut problems = Problems::default();
    let Gathered { tree, files, lists, names } = gather(name, text, around, &mut problems);
    let checked = check_tree(&tree, lists, around.shards_auto, check::Trial::Now, &mut problems);
    let checked = checked.map(|(config, spans)| (config, spans.placed(&files)));
    let problems = problems.placed(files);
    match checked {
        Some((config, rule_places)) => {
            Ok(Parsed { config, warnings: problems, files: names, rule_places, left_out: BTreeSet::new() })
        }
        None => Err(problems),
    }
}

/// As [`parse`], and pools that are not in order hold up no others: they are left as they run in `running`, or stay away. Each is
/// told among the warnings, with what is wrong with it.
///
/// Error: something is wrong that is no pool's own, no pool is in order, or what is in order cannot stand beside what is left.
pub fn parse_partial(
    name: &Path,
    text: &[u8],
    around: &Surroundings<'_>,
    running: &Config,
) -> Result<Parsed, Problems> {
    let mut problems = Problems::default();
    let gathered = gather(name, text, around, &mut problems);
    partial::parse(gathered, problems, around.shards_auto, running)
}

/// All that a document is made of, nothing of it checked.
struct Gathered {
    tree: tree::Node,
    files: place::Files,
    lists: BTreeMap<Box<str>, Option<ListFile>>,
    /// Of every file.
    names: Vec<PathBuf>,
}

fn gather(name: &Path, text: &[u8], around: &Surroundings<'_>, problems: &mut Problems) -> Gathered {
    let load::Loaded { mut tree, files } = load::load(name, text, around.source, around.variables, problems);
    let texts = page::read_files(&mut tree, &files, around.source, problems);
    let lists = list::read_all(&tree, &files, around.source, problems);
    let names = files.names().map(PathBuf::from).chain(texts).chain(lists.read).collect();
    Gathered { tree, files, lists: lists.by_list, names }
}

/// `None`: there are errors, those of the gathering included.
fn check_tree(
    tree: &tree::Node,
    lists: BTreeMap<Box<str>, Option<ListFile>>,
    shards_auto: usize,
    trial: check::Trial,
    problems: &mut Problems,
) -> Option<(Config, rule_place::RuleSpans)> {
    strict::check(tree, problems);
    let draft = draft::Draft::read(tree, lists, problems);
    check::check(draft, shards_auto, trial, problems)
}
