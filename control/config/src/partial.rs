//! A document of which some pools are not in order: the rest of it, beside what runs of them.
//!
//! Owns which problems are a pool's own, and what it is to leave a pool as it runs. Refuses to guess: what is wrong outside of
//! pools is wrong with the whole document, and so is a rest that cannot stand beside what is left.
//!
//! A pool that is taken out may have hidden what is wrong with another, because later checks are not made while earlier ones
//! fail; so it goes in rounds.

use crate::check::Trial;
use crate::document::{Config, Document, HttpContent, Sealed};
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems, Severity};
use crate::rule_place::RulePlaces;
use crate::tree::Node;
use crate::{Gathered, Parsed, check_tree};
use policy::PoolId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often pools are taken out of one document: once for each stage of the checks, and once more.
const ROUNDS_MAX: usize = 4;

/// `told`: what was wrong when the document was gathered.
pub(crate) fn parse(
    gathered: Gathered,
    told: Problems,
    shards_auto: usize,
    running: &Config,
) -> Result<Parsed, Problems> {
    let Gathered { mut tree, files, lists, names } = gathered;
    let mut left_out = LeftOut::default();
    let mut first = None;
    for _ in 0..=ROUNDS_MAX {
        let mut problems = told.without(|problem| left_out.has(problem));
        let trial = if left_out.pools.is_empty() { Trial::Now } else { Trial::Later };
        let Some((config, spans)) = check_tree(&tree, lists.clone(), shards_auto, trial, &mut problems) else {
            // Of what is not kept nobody can say whose it is.
            let is_apart = told.more() == 0 && left_out.take_out(&mut tree, &problems);
            first.get_or_insert(problems);
            if is_apart {
                continue;
            }
            break;
        };
        let rule_places = spans.placed(&files);
        let ids = left_out.ids();
        if ids.is_empty() {
            let warnings = problems.placed(files);
            return Ok(Parsed { config, warnings, files: names, rule_places, left_out: ids });
        }
        return match config.leaving_at(&ids, running, &rule_places) {
            Ok(config) => {
                let warnings = left_out.told(running, problems).placed(files);
                Ok(Parsed { config, warnings, files: names, rule_places, left_out: ids })
            }
            Err(clashes) => {
                let mut problems = first.unwrap_or_default();
                for problem in clashes.errors() {
                    let help =
                        format!("{} would be left as before, so nothing of the document is taken", left_out.named());
                    problems.push(problem.clone().help(help));
                }
                Err(problems.placed(files))
            }
        };
    }
    Err(first.unwrap_or_default().placed(files))
}

/// Pools that are taken out of a document, by their paths in it.
#[derive(Default)]
struct LeftOut {
    pools: BTreeMap<String, Out>,
    /// Some of their problems were not kept.
    more: bool,
}

/// One of them.
struct Out {
    name: Box<str>,
    span: Option<Span>,
    problems: Vec<Problem>,
}

impl LeftOut {
    /// Takes the pools out that have these problems. False: not all of them are a pool's own, or no pool would be left.
    fn take_out(&mut self, tree: &mut Node, problems: &Problems) -> bool {
        let pools = tree.table_mut().and_then(|tree| tree.get_mut("pool")).and_then(Node::table_mut);
        let Some(pools) = pools else { return false };
        let paths: Vec<(String, Box<str>)> = pools.entries.keys().map(|name| (path(name), name.clone())).collect();
        let mut broken: BTreeMap<&str, (&str, Vec<Problem>)> = BTreeMap::new();
        for problem in problems.errors() {
            let Some((path, name)) = paths.iter().find(|(path, _)| is_in(problem, path)) else { return false };
            broken.entry(path).or_insert((name, Vec::new())).1.push(problem.clone());
        }
        if broken.len() == paths.len() {
            return false;
        }
        self.more |= problems.more() > 0;
        for (path, (name, problems)) in broken {
            let entry = pools.entries.remove(name);
            let span = entry.and_then(|entry| entry.key_span.or(entry.node.span));
            self.pools.insert(path.to_owned(), Out { name: name.into(), span, problems });
        }
        true
    }

    /// Whether this is the problem of one of them.
    fn has(&self, problem: &Problem) -> bool {
        self.pools.keys().any(|path| is_in(problem, path))
    }

    fn ids(&self) -> BTreeSet<PoolId> {
        self.pools.values().map(|out| PoolId::new(&out.name)).collect()
    }

    /// All of them, for a sentence.
    fn named(&self) -> String {
        let names: Vec<String> = self.pools.values().map(|out| format!("pool `{}`", out.name)).collect();
        names.join(", ")
    }

    /// One warning for each pool, then what is wrong with it, then the warnings of the rest.
    fn told(self, running: &Config, rest: Problems) -> Problems {
        let mut told = Problems::default();
        let at_least = if self.more { "at least " } else { "" };
        for (path, Out { name, span, problems }) in &self.pools {
            let plural = if problems.len() == 1 { "" } else { "s" };
            let fate = match running.pools.get(&**name) {
                Some(_) => "is left as it runs",
                None => "stays away",
            };
            let message = format!("pool `{name}` has {at_least}{} problem{plural} and {fate}", problems.len());
            told.push(Problem::warning(Code::PoolLeftOut, path, *span, message));
        }
        let own = self.pools.into_values().flat_map(|out| out.problems);
        let own = own.map(|problem| Problem { severity: Severity::Warning, ..problem });
        own.chain(rest.warnings().iter().cloned()).for_each(|problem| told.push(problem));
        told
    }
}

fn path(pool: &str) -> String {
    At::ROOT.key("pool").key(pool).to_string()
}

fn is_in(problem: &Problem, path: &str) -> bool {
    problem.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Config {
    /// This configuration with these pools as `running` has them, or without them. Lists are no pool's: those that they use are
    /// as this configuration has them. How an address is divided follows from all pools together.
    ///
    /// Error: what is left and what is not cannot have an address at the same time, a list that is in use is gone or
    /// of another kind, or it is not clear any more where a test leads.
    pub fn leaving(&self, pools: &BTreeSet<PoolId>, running: &Config) -> Result<Config, Problems> {
        self.leaving_at(pools, running, &RulePlaces::default())
    }

    /// As [`Config::leaving`]. `places`: of the tests of this configuration.
    fn leaving_at(&self, pools: &BTreeSet<PoolId>, running: &Config, places: &RulePlaces) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        let mut ground = (**running).clone();
        for id in pools {
            ground.use_lists_of(self, id, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let all: BTreeSet<PoolId> = self.pools.keys().chain(running.pools.keys()).cloned().collect();
        let taken = all.difference(pools).cloned().collect();
        Sealed::new(ground).taking_at(self, &taken, &all, places)
    }
}

impl Document {
    /// Has a pool use the lists as they are in `other`.
    fn use_lists_of(&mut self, other: &Config, id: &PoolId, problems: &mut Problems) {
        let Some(pool) = self.pools.get(id) else { return };
        let mut content = (***pool).clone();
        let Some(HttpContent { lists, .. }) = &mut content.http else { return };
        let mut differs = false;
        for (name, list) in lists {
            let found = other.lists.get(name).map(|found| found.in_force());
            let Some(found) = found.filter(|found| found.kind() == list.kind()) else {
                let message = format!("pool `{id}` uses list `{name}`, which the document takes away");
                let path = At::ROOT.key("list").key(name).to_string();
                problems.push(Problem::error(Code::Clash, path, None, message));
                continue;
            };
            if found.digest() != list.digest() {
                list.clone_from(found);
                differs = true;
            }
        }
        if differs {
            self.pools = self.pools.insert(id.clone(), Arc::new(Sealed::new(content)));
        }
    }
}
