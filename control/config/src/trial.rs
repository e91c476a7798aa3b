//! The tests of a configuration: requests that nobody sends, and what must become of each.
//!
//! Owns which pool each test leads to, the comparison of what is expected with what would be, and how a difference is told. Asks
//! the compiled rules by the function that shards ask ([`foretell`](crate::foretell())).
//!
//! A whole document has all of its tests tried. A typed order has tried those that lead to a pool whose decisions it changes:
//! where a pool leads is a document's to say, so the map from test to pool stays while documents do.

use crate::check::span_at;
use crate::compile::Compiled;
use crate::describe::{Described, Description};
use crate::document::{Canonical, Digest, Document, Pool, RuleContent, Sealed};
use crate::draft::TestDraft;
use crate::foretell::{Foretold, foretell, text};
use crate::form::{Expect, ExpectHeader, ExpectSent, Expected, Form};
use crate::keys::Test;
use crate::lead::{Leads, Led, Unclear};
use crate::place::{Place, Span};
use crate::problem::{Code, Problem, Problems};
use crate::rule_place::{RulePlaces, RuleSpans};
use crate::running::{Running, RunningPool};
use crate::service;
use crate::slots::Slots;
use policy::generation::{ContentHash, Service};
use policy::http::Turn;
use policy::http::{Decider, Expanded, HeadEdit, Outcome};
use policy::{GenerationId, GroupSlot, PoolId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Tests of one document.
pub(crate) const TESTS_MAX: usize = 10_000;

/// One test of a document.
pub type Case = Sealed<Test>;

impl Canonical for Test {
    fn digest(&self, digest: &mut Digest) {
        self.each(&mut |key, value| digest.key(key, &value));
    }
}

/// The tests of a document, and where they lead in it.
#[derive(Clone, Debug)]
pub struct Tests {
    /// In the order of the document.
    cases: Vec<Arc<Case>>,
    /// By the pool that each leads to, its place among them.
    by_pool: BTreeMap<PoolId, Vec<Lead>>,
    /// Of the tests alone: where they lead follows from the pools.
    hash: ContentHash,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Lead {
    case: usize,
    /// Else the pool takes the connection, and no pool the request.
    takes: bool,
}

impl Default for Tests {
    fn default() -> Tests {
        Tests::of(Vec::new())
    }
}

impl PartialEq for Tests {
    fn eq(&self, other: &Tests) -> bool {
        self.hash == other.hash
    }
}

impl Tests {
    fn of(cases: Vec<Arc<Case>>) -> Tests {
        let hash = Sealed::new(Hashes(cases.iter().map(|case| case.hash()).collect())).hash();
        Tests { cases, by_pool: BTreeMap::new(), hash }
    }

    /// Finds the pool of each test, or tells why it is not clear.
    pub(crate) fn led(
        cases: Vec<Arc<Case>>,
        document: &Document,
        places: &dyn Places,
        problems: &mut Problems,
    ) -> Tests {
        let mut tests = Tests::of(cases);
        if tests.cases.is_empty() {
            return tests;
        }
        let leads = Leads::new(document);
        for (ix, case) in tests.cases.iter().enumerate() {
            let led = described(case, |described| leads.find(described));
            let message = match led {
                Ok(Ok(Led { pool, takes })) if pool.http.is_some() => {
                    tests.by_pool.entry(pool.id.clone()).or_default().push(Lead { case: ix, takes });
                    continue;
                }
                Ok(Ok(Led { pool, .. })) => format!("pool `{}` carries TCP, which has no rules", pool.id),
                Ok(Err(Unclear::Nowhere(message) | Unclear::Several(message))) | Err(message) => message,
            };
            let spot = places.case(ix, case);
            let name = name(ix, case);
            problems.push_error(|| {
                spot.on(Problem::error(Code::BadValue, path(ix), spot.span, format!("{name}: {message}")))
            });
        }
        tests
    }

    pub fn cases(&self) -> &[Arc<Case>] {
        &self.cases
    }

    /// Pools that tests lead to.
    pub fn pools(&self) -> impl Iterator<Item = &PoolId> {
        self.by_pool.keys()
    }

    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Tries the tests of one pool.
    fn try_pool(&self, tried: &Tried<'_>, places: &dyn Places, problems: &mut Problems) {
        for Lead { case: ix, takes } in self.by_pool.get(tried.decider.pool).into_iter().flatten() {
            let case = &self.cases[*ix];
            let found = match takes {
                true => described(case, |described| foretell(&tried.decider, described)).ok().map(Box::new),
                false => None,
            };
            let finding = Finding { tried, case, foretold: found.as_deref() };
            let differences = finding.differences();
            if !differences.is_empty() {
                problems.push_error(|| finding.problem(*ix, &differences, places));
            }
        }
    }
}

/// Of all tests, in their order, by which those without a name are called.
struct Hashes(Vec<ContentHash>);

impl Canonical for Hashes {
    fn digest(&self, digest: &mut Digest) {
        digest.count(self.0.len());
        self.0.iter().for_each(|hash| digest.hash(*hash));
    }
}

/// Where things stand, as far as that is known.
pub(crate) trait Places {
    fn case(&self, ix: usize, case: &Case) -> Spot;
    fn rule(&self, pool: &PoolId, rule: &Sealed<RuleContent>) -> Spot;
    /// For what no rule decides.
    fn pool(&self, pool: &PoolId) -> Spot;
}

/// In a document that is being read, or in files that were.
#[derive(Clone, Default)]
pub(crate) struct Spot {
    pub(crate) span: Option<Span>,
    pub(crate) place: Option<Place>,
}

impl Spot {
    fn on(&self, problem: Problem) -> Problem {
        Problem { place: self.place.clone(), ..problem }
    }
}

/// Tests of a job are placed by what was read of the document that runs.
impl Places for RulePlaces {
    fn case(&self, _ix: usize, case: &Case) -> Spot {
        Spot { span: None, place: self.find_test(case) }
    }

    fn rule(&self, pool: &PoolId, rule: &Sealed<RuleContent>) -> Spot {
        Spot { span: None, place: self.find(pool, rule) }
    }

    fn pool(&self, _pool: &PoolId) -> Spot {
        Spot::default()
    }
}

/// Of tests in a document that is being read: too many of them, or two of one name.
pub(crate) fn check_drafts(drafts: &[TestDraft<'_>], problems: &mut Problems) {
    if let Some(first) = drafts.get(TESTS_MAX) {
        let message = format!("{} tests, at most {TESTS_MAX}", drafts.len());
        problems.push(Problem::error(Code::TooMany, path(TESTS_MAX), first.node.span, message));
    }
    let mut names: HashMap<&str, &TestDraft<'_>> = HashMap::new();
    for (ix, draft) in drafts.iter().enumerate() {
        let Some(name) = draft.test.as_ref().and_then(|test| test.name.as_deref()) else { continue };
        if let Some(first) = names.insert(name, draft) {
            let message = format!("two tests are called `{name}`");
            let span = span_at(draft.node, &["name"]);
            let problem = Problem::error(Code::Duplicate, format!("{}.name", path(ix)), span, message);
            problems.push(problem.also("the first one", span_at(first.node, &["name"])));
        }
    }
}

/// Puts its tests into a document that is otherwise in order, and tries them all.
pub(crate) fn check(
    document: &mut Document,
    drafts: Vec<TestDraft<'_>>,
    pools: HashMap<PoolId, Option<Span>>,
    rules: &mut RuleSpans,
    problems: &mut Problems,
) {
    let (Tests { cases, .. }, nodes) = placed(drafts, rules);
    let places = Spans { cases: nodes, pools, rules };
    document.tests = Arc::new(Tests::led(cases, document, &places, problems));
    for id in document.tests.pools() {
        let Some(pool) = document.pools.get(id) else { continue };
        // Nobody else sees these slots.
        let mut slots = Slots::default();
        let Some(service) = service::alone(pool, &mut slots) else { continue };
        let slot_of = |group: &Arc<str>| slots.group(id, group);
        let only_group = pool.groups.keys().next().filter(|_| pool.groups.len() == 1).and_then(slot_of);
        let decider = Decider { pool: id, number: GenerationId(0), service: &service, only_group };
        let group = |slot| pool.groups.keys().find(|group| slot_of(group) == Some(slot)).cloned();
        document.tests.try_pool(&Tried { decider, content: pool, group: &group }, &places, problems);
    }
}

/// The tests of a document that is otherwise in order, leading nowhere yet, and where each stands.
pub(crate) fn placed(drafts: Vec<TestDraft<'_>>, rules: &mut RuleSpans) -> (Tests, Vec<Option<Span>>) {
    let nodes: Vec<Option<Span>> = drafts.iter().map(|draft| draft.node.span).collect();
    let tests = drafts.into_iter().filter_map(|draft| draft.test).map(|test| Arc::new(Case::new(test)));
    let cases: Vec<Arc<Case>> = tests.collect();
    for (case, span) in cases.iter().zip(&nodes) {
        span.iter().for_each(|span| rules.push_test(case.hash(), *span));
    }
    (Tests::of(cases), nodes)
}

/// In a document that is being read.
struct Spans<'a> {
    cases: Vec<Option<Span>>,
    pools: HashMap<PoolId, Option<Span>>,
    rules: &'a RuleSpans,
}

impl Places for Spans<'_> {
    fn case(&self, ix: usize, _case: &Case) -> Spot {
        Spot { span: self.cases[ix], place: None }
    }

    fn rule(&self, pool: &PoolId, rule: &Sealed<RuleContent>) -> Spot {
        Spot { span: self.rules.rule(pool, rule.hash()), place: None }
    }

    fn pool(&self, pool: &PoolId) -> Spot {
        Spot { span: self.pools.get(pool).copied().flatten(), place: None }
    }
}

impl Compiled {
    /// Tests that fail on what this makes of `running`, of those on which it has a bearing. `places`: of the document that they
    /// came with. Empty: it may go out.
    pub fn failing_tests(&self, running: &Running, places: &RulePlaces) -> Problems {
        let mut problems = Problems::default();
        let tests = &self.to.tests;
        // A document says anew what is tested, and where it leads.
        let all = !Arc::ptr_eq(tests, &self.from.tests);
        let changed = |id: &PoolId| self.pools.iter().find(|(other, _)| other == id).map(|(_, pool)| pool.as_ref());
        for id in tests.pools() {
            let before = running.pools.get(id);
            let pool = match changed(id) {
                None if all => before,
                None => continue,
                Some(after) => after.filter(|after| all || !before.is_some_and(|before| decides_alike(before, after))),
            };
            let Some(RunningPool { content, generation, .. }) = pool else { continue };
            let Service::Http(service) = &generation.service else { continue };
            let only_group = generation.only_group().map(|group| group.slot);
            let decider = Decider { pool: id, number: generation.number, service, only_group };
            let group = |slot| generation.group(slot).map(|group| group.id.clone());
            tests.try_pool(&Tried { decider, content, group: &group }, places, &mut problems);
        }
        problems
    }
}

/// Backends come and go, and no rule asks for them.
fn decides_alike(one: &RunningPool, other: &RunningPool) -> bool {
    match (&one.generation.service, &other.generation.service) {
        (Service::Http(before), Service::Http(after)) => Arc::ptr_eq(before, after),
        (Service::Tcp, _) | (_, Service::Tcp) => false,
    }
}

/// What tests of one pool are tried on.
struct Tried<'a> {
    decider: Decider<'a>,
    content: &'a Pool,
    /// What the group of a slot is called.
    group: &'a dyn Fn(GroupSlot) -> Option<Arc<str>>,
}

impl Tried<'_> {
    fn rule(&self, turn: Turn) -> Option<&Arc<Sealed<RuleContent>>> {
        self.content.http.as_ref()?.rules.at(turn)
    }
}

/// What was found for one test. `None`: no pool takes its host.
struct Finding<'a> {
    tried: &'a Tried<'a>,
    case: &'a Case,
    foretold: Option<&'a Foretold<'a>>,
}

/// One thing that is not as expected: what it is called, what was expected and what would be.
type Difference = (String, String, String);

impl Finding<'_> {
    fn differences(&self) -> Vec<Difference> {
        let Expect { group, rule, status, location, deny, sent, headers } = &self.case.expect;
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: Option<String>, found: String| {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                differences.push((what.to_owned(), expected, found));
            }
        };
        let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("`{text}`"));
        compare("group", quoted(group), self.group().map_or(self.outcome(), |group| format!("`{group}`")));
        compare("rule", quoted(rule), self.rule().map_or("none".into(), |rule| format!("`{}`", rule.id)));
        let found = self.status().map_or_else(|| self.outcome(), |status| status.to_string());
        compare("status", status.map(|status| status.to_string()), found);
        let found = self.foretold.and_then(|foretold| quoted(&foretold.location));
        compare("location", quoted(location), found.unwrap_or_else(|| self.outcome()));
        compare("deny", deny.map(|deny| deny.to_string()), self.denies().to_string());
        let ExpectSent { target, host, headers: sent_headers } = sent;
        let to_backend = self.foretold.filter(|foretold| matches!(foretold.outcome, Outcome::Group(_)));
        let what = |part: for<'f> fn(&'f Foretold<'_>) -> &'f String| {
            to_backend.map_or(self.outcome(), |told| format!("`{}`", part(told)))
        };
        compare("sent.target", quoted(target), what(|told| &told.target));
        compare("sent.host", quoted(host), what(|told| &told.host));
        for (name, expected) in sent_headers {
            let part = format!("sent.headers.{name}");
            match to_backend {
                None => compare(&part, Some(shown(expected)), self.outcome()),
                Some(told) => {
                    let said = self.case.headers.iter().filter(|(other, _)| other == name);
                    let values = after_edits(&told.request, name, said.map(|(_, value)| value.clone()).collect());
                    compare(&part, Some(shown(expected)), seen(expected, &values));
                }
            }
        }
        for (name, expected) in headers {
            compare(&format!("headers.{name}"), Some(shown(expected)), self.answered(name, expected));
        }
        differences
    }

    fn rule(&self) -> Option<&Arc<Sealed<RuleContent>>> {
        // Of a pool without rules, what takes everything nobody has written.
        self.tried.rule(self.foretold?.rule?.0)
    }

    fn group(&self) -> Option<Arc<str>> {
        match self.foretold?.outcome {
            Outcome::Group(slot) => (self.tried.group)(slot),
            _ => None,
        }
    }

    /// `None`: the backend's.
    fn status(&self) -> Option<u16> {
        self.foretold.map_or(Some(421), |foretold| foretold.outcome.status())
    }

    fn denies(&self) -> bool {
        match self.foretold.map(|foretold| foretold.outcome) {
            None | Some(Outcome::Deny { .. } | Outcome::NoRule | Outcome::Refused(_)) => true,
            Some(Outcome::Group(_) | Outcome::Respond { .. } | Outcome::Redirect { .. }) => false,
        }
    }

    /// In a few words, where what was asked for is nothing that this outcome has.
    fn outcome(&self) -> String {
        match self.foretold.map(|foretold| foretold.outcome) {
            None => "421, no pool takes the host".into(),
            Some(Outcome::Group(_)) => format!("group `{}`", self.group().as_deref().unwrap_or_default()),
            Some(Outcome::Respond { status }) => format!("an answer with {status}"),
            Some(Outcome::Redirect { status }) => format!("a redirect with {status}"),
            Some(Outcome::Deny { status }) => format!("a refusal with {status}"),
            Some(Outcome::NoRule) => "404, no rule takes it".into(),
            Some(Outcome::Refused(unfit)) => format!("{}, {}", unfit.answer(), unfit.label()),
        }
    }

    /// What is seen of a header of the answer. Of a backend's answer only what rules make of it is known.
    fn answered(&self, name: &str, expected: &ExpectHeader) -> String {
        let Some(foretold) = self.foretold else { return seen(expected, &[]) };
        if matches!(foretold.outcome, Outcome::Group(_)) {
            let touched = foretold.response.iter().any(|edit| edited(&edit).eq_ignore_ascii_case(name.as_bytes()));
            return match touched {
                true => seen(expected, &after_edits(&foretold.response, name, Vec::new())),
                false => "what the backend says".into(),
            };
        }
        let mut values: Vec<String> = Vec::new();
        if name == "location" {
            values.extend(foretold.location.clone());
        }
        // From an answer of our own nothing can be taken.
        values.extend(foretold.response.iter().filter_map(|edit| match edit {
            HeadEdit::Add { name: other, value } | HeadEdit::Set { name: other, value } => {
                other.eq_ignore_ascii_case(name.as_bytes()).then(|| text(value.trim_ascii()))
            }
            HeadEdit::Remove { .. } => None,
        }));
        seen(expected, &values)
    }

    fn problem(&self, ix: usize, differences: &[Difference], places: &dyn Places) -> Problem {
        let pool = self.tried.decider.pool;
        let (decider, spot) = match (self.rule(), self.foretold) {
            (Some(rule), _) => (format!("rule `{}` of pool `{pool}` decides", rule.id), places.rule(pool, rule)),
            (None, None) => (format!("pool `{pool}` has the address, and no pool the host"), places.pool(pool)),
            (None, Some(told)) => match told.outcome {
                Outcome::Group(_) => (format!("pool `{pool}` has no rule"), places.pool(pool)),
                Outcome::Refused(_) => {
                    (format!("the path is refused before a rule of pool `{pool}` is asked"), places.pool(pool))
                }
                _ => (format!("no rule of pool `{pool}` takes it"), places.pool(pool)),
            },
        };
        let told: Vec<String> = differences
            .iter()
            .map(|(what, expected, found)| format!("{what} would be {found}, not {expected}"))
            .collect();
        let message = format!("{}: {}; {decider}", name(ix, self.case), told.join("; "));
        let case = places.case(ix, self.case);
        let mut problem = case.on(Problem::error(Code::TestFailed, path(ix), case.span, message));
        problem = problem.found(differences.iter().map(|(.., found)| found.as_str()).collect::<Vec<_>>().join(", "));
        problem = problem.accepted(Expected.show(&self.case.expect).to_string());
        problem = problem.also(decider, spot.span);
        if let Some(also) = problem.also.last_mut() {
            also.place = spot.place;
        }
        problem
    }
}

fn edited<'e>(edit: &HeadEdit<'e>) -> &'e [u8] {
    match edit {
        HeadEdit::Add { name, .. } | HeadEdit::Set { name, .. } | HeadEdit::Remove { name } => name,
    }
}

/// What doing the edits one after the other would leave of the fields of this name.
fn after_edits(edits: &Expanded, name: &str, mut values: Vec<String>) -> Vec<String> {
    for edit in edits.iter().filter(|edit| edited(edit).eq_ignore_ascii_case(name.as_bytes())) {
        match edit {
            HeadEdit::Add { value, .. } => values.push(text(value.trim_ascii())),
            HeadEdit::Set { value, .. } => values = vec![text(value.trim_ascii())],
            HeadEdit::Remove { .. } => values.clear(),
        }
    }
    values
}

fn shown(expected: &ExpectHeader) -> String {
    match expected {
        ExpectHeader::Value(value) => format!("`{value}`"),
        ExpectHeader::Present => "there".into(),
        ExpectHeader::Absent => "absent".into(),
    }
}

/// What there is, in the words of what was expected.
fn seen(expected: &ExpectHeader, values: &[String]) -> String {
    match (expected, values) {
        (_, []) => shown(&ExpectHeader::Absent),
        (ExpectHeader::Present, _) => shown(&ExpectHeader::Present),
        (ExpectHeader::Value(value), values) if values.contains(value) => shown(expected),
        (_, values) => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
    }
}

/// As operators know it.
pub(crate) fn name(ix: usize, case: &Test) -> String {
    case.name.as_ref().map_or_else(|| format!("test {}", ix + 1), |name| format!("test `{name}`"))
}

pub(crate) fn path(ix: usize) -> String {
    format!("test[{ix}]")
}

/// The request of a test. Error: why it is none.
fn described<R>(test: &Test, ask: impl FnOnce(&Described<'_>) -> R) -> Result<R, String> {
    let Test { name: _, request, headers, from, pool, expect: _ } = test;
    let (method, url) = request.split_once(' ').expect("read as a method and a URL");
    let from = from.map(|from| from.to_string());
    let description = Description {
        url,
        method: Some(method),
        pool: pool.as_deref(),
        host: None,
        headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        from: from.as_deref(),
    };
    Described::read(&description).map(|described| ask(&described))
}
