//! Settings of one service have no place in a pool of another.
//!
//! Which table belongs to which service stands beside its keys; here the document is held against it.

use crate::check::span_at;
use crate::draft::{GroupDraft, PoolDraft};
use crate::keys::{Algorithm, Service, TABLES};
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems};
use crate::schema::TableKeys;
use crate::tree::Node;

pub(crate) fn check(pool: &PoolDraft<'_>, service: Service, problems: &mut Problems) {
    let pools = At::ROOT.key("pool");
    let said = span_at(pool.node, &["create", "service"]);
    let mut fit = Fit { pool: pool.id, said, service, problems };
    let theirs = TABLES.iter().filter(|table| table.service.is_some_and(|other| other != service));
    // Elements of a list may have keys of several tables, and the list is told once.
    let first = |table: &&TableKeys| {
        !table.path.ends_with("[]")
            || TABLES.iter().find(|other| other.path == table.path).is_some_and(|other| std::ptr::eq(other, *table))
    };
    for table in theirs.filter(first) {
        let parts: Vec<&str> = table.path.split('.').skip(2).collect();
        fit.table(table, &parts, pool.node, &pools.key(pool.id));
    }
    pool.groups.iter().for_each(|group| fit.balance(group));
}

/// The same for one group of a pool.
pub(crate) fn check_group(pool: &str, group: &GroupDraft<'_>, service: Service, problems: &mut Problems) {
    let mut fit = Fit { pool, said: None, service, problems };
    let (pools, at_group) = (At::ROOT.key("pool"), ["pool", "*", "group", "*"]);
    let theirs = TABLES.iter().filter(|table| table.service.is_some_and(|other| other != service));
    for table in theirs {
        let parts: Vec<&str> = table.path.split('.').collect();
        if let Some(rest) = parts.strip_prefix(&at_group[..]) {
            fit.table(table, rest, group.node, &pools.key(pool).key("group").key(group.id));
        }
    }
    fit.balance(group);
}

/// As people say it.
pub(crate) fn name(service: Service) -> &'static str {
    match service {
        Service::Tcp => "TCP",
        Service::Http => "HTTP",
    }
}

fn balances(service: Service, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::RoundRobin | Algorithm::RandomTwo | Algorithm::SourceHash => true,
        Algorithm::LeastConnections => service == Service::Tcp,
        Algorithm::LeastRequests | Algorithm::PeakEwma | Algorithm::Hash => service == Service::Http,
    }
}

struct Fit<'a, 'p> {
    pool: &'a str,
    /// Where its service is said.
    said: Option<Span>,
    service: Service,
    problems: &'p mut Problems,
}

impl Fit<'_, '_> {
    fn balance(&mut self, group: &GroupDraft<'_>) {
        let service = self.service;
        let Some(balancing) = group.balancing.as_ref().filter(|balancing| !balances(service, balancing.balance)) else {
            return;
        };
        let word = balancing.balance.word();
        let path = format!("{}.balance", crate::check::group_path(self.pool, group.id));
        let message = format!("`balance`: \"{word}\" is not for {} pools", name(service));
        let problem = Problem::error(Code::Clash, path, span_at(group.node, &["balance"]), message);
        let fitting = crate::form::all_words::<Algorithm>().filter(|word| balances(service, *word));
        let fitting: Vec<String> = fitting.map(|word| format!("\"{}\"", word.word())).collect();
        self.problems.push(self.because(problem.found(format!("\"{word}\"")).accepted(fitting.join(", "))));
    }

    fn table(&mut self, table: &TableKeys, parts: &[&str], node: &Node, at: &At<'_>) {
        let Some(entries) = node.table().map(|table| &table.entries) else { return };
        match parts {
            [] => {
                for key in table.keys {
                    if let Some(entry) = entries.get(key.name) {
                        self.misplaced(table, &at.key(key.name), entry.key_span);
                    }
                }
            }
            ["*", rest @ ..] => {
                entries.iter().for_each(|(id, entry)| self.table(table, rest, &entry.node, &at.key(id)));
            }
            // A list is told once: it may have thousands of elements.
            [list, ..] if list.ends_with("[]") => {
                let key = list.trim_end_matches("[]");
                if let Some(entry) = entries.get(key) {
                    self.misplaced(table, &at.key(key), entry.key_span);
                }
            }
            [key, rest @ ..] => {
                if let Some(entry) = entries.get(*key) {
                    self.table(table, rest, &entry.node, &at.key(key));
                }
            }
        }
    }

    fn misplaced(&mut self, table: &TableKeys, at: &At<'_>, span: Option<Span>) {
        let theirs = table.service.map_or("other", name);
        let message =
            format!("`{at}` is a setting of {theirs} pools, and `{}` is a {} pool", self.pool, name(self.service));
        let problem = Problem::error(Code::Clash, at, span, message);
        self.problems.push(self.because(problem));
    }

    fn because(&self, problem: Problem) -> Problem {
        match self.said {
            Some(span) => problem.also("the pool's service", span),
            None => problem,
        }
    }
}
