//! The rules of one pool: their order, their names, and what must agree between them and with the rest.
//!
//! What one rule means is `rule_spec`'s, and whether it can be is `policy`'s: here its problems get their places.

use crate::check::{node_at, pool_path, span_at};
use crate::document::{HttpContent, Lists, Pool, RuleContent, Sealed};
use crate::draft::{Draft, PoolDraft, RuleDraft};
use crate::edit::some_of;
use crate::keys::{Conditions, Rule as RuleKeys};
use crate::list::ListContent;
use crate::place::{At, Span};
use crate::problem::{Code, Problem, Problems};
use crate::rule_spec::{self, ListUse, Step};
use crate::schema::Key;
use crate::suggest;
use crate::tree::{Node, Value};
use policy::generation::ContentHash;
use policy::http::{ListKind, PatternError, Rule, Rules, TemplateError, TextError, Why};
use policy::{GroupSlot, ListSlot};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Between the places of two rules that stand one behind the other and say no order.
const ORDER_STEP: u32 = 10;

/// The lists of a document, for rules to name.
pub(crate) struct Named<'d> {
    /// In order. `None`: what kind it has could not be read, which has been told.
    lists: Vec<(&'d str, Option<ListKind>)>,
}

impl<'d> Named<'d> {
    pub(crate) fn of(draft: &Draft<'d>) -> Named<'d> {
        let kind = |list: &Option<ListContent>| list.as_ref().map(ListContent::kind);
        Named { lists: draft.lists.iter().map(|(name, list)| (*name, kind(list))).collect() }
    }

    /// Those of a document that is in order, in the order of their names.
    pub(crate) fn those(lists: &'d Lists) -> Named<'d> {
        Named { lists: lists.iter().map(|(name, list)| (&**name, Some(list.kind()))).collect() }
    }

    fn names(&self) -> impl Iterator<Item = &'d str> + Clone {
        self.lists.iter().map(|(name, _)| *name)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.lists.binary_search_by(|(other, _)| (*other).cmp(name)).ok()
    }

    /// Whichever it will have, here it is a list. One that there is not has been told, and has a slot of nobody.
    fn slot(&self, name: &str) -> ListSlot {
        self.find(name).map_or(ListSlot(u32::MAX), |ix| ListSlot(ix as u32))
    }
}

/// Tells whatever is wrong with each rule. The rules that are in order, compiled, as they are asked.
pub(crate) fn check(pool: &PoolDraft<'_>, named: &Named<'_>, problems: &mut Problems) -> Vec<Arc<Rule>> {
    if pool.rules.is_empty() && pool.groups.len() > 1 {
        let message = format!("pool `{}` has {} groups and no rule that leads to them", pool.id, pool.groups.len());
        let problem = Problem::error(Code::Missing, pool_path(pool.id, "rule"), pool.node.span, message);
        problems.push(problem.accepted(format!("[[pool.{}.rule]], each with a `group`", pool.id)));
    }
    check_ids(pool, problems);
    let pools = At::ROOT.key("pool");
    let of_pool = pools.key(pool.id);
    let list = of_pool.key("rule");
    // They are in the order of their ids.
    let has_group = |id: &str| pool.groups.binary_search_by(|group| group.id.cmp(id)).is_ok();
    let groups = || pool.groups.iter().map(|group| group.id.to_owned()).collect();
    let home = Home { pool: pool.id, has_group: &has_group, groups: &groups };
    let compiled = in_sequence(&pool.rules).into_iter().filter_map(|draft| {
        let mut checker = Checker { home: &home, named, draft, at: &list.index(draft.ix), problems };
        checker.rule().map(Arc::new)
    });
    compiled.collect()
}

/// The rules in the order in which they are asked: as they stand, unless one says its `order`. Equal ones stay as they
/// stand.
fn in_sequence<'d, 't>(rules: &'d [RuleDraft<'t>]) -> Vec<&'d RuleDraft<'t>> {
    let mut sequence: Vec<&RuleDraft<'_>> = rules.iter().collect();
    if is_ordered(rules) {
        sequence.sort_by_key(|draft| order(draft));
    }
    sequence
}

fn is_ordered(rules: &[RuleDraft<'_>]) -> bool {
    rules.iter().any(|draft| said_order(draft).is_some())
}

fn said_order(draft: &RuleDraft<'_>) -> Option<u32> {
    draft.content()?.rule.order
}

fn order(draft: &RuleDraft<'_>) -> u32 {
    // A document has not the bytes for as many rules as would be too many here.
    said_order(draft).unwrap_or((draft.ix as u32 + 1).saturating_mul(ORDER_STEP))
}

fn check_ids(pool: &PoolDraft<'_>, problems: &mut Problems) {
    let mut ids: HashMap<&str, &RuleDraft<'_>> = HashMap::new();
    for draft in &pool.rules {
        let Some(content) = draft.content() else { continue };
        let Some(first) = ids.insert(&content.id, draft) else { continue };
        problems.push_error(|| {
            let path = format!("{}[{}]", pool_path(pool.id, "rule"), draft.ix);
            let span = span_at(draft.node, &["id"]).or(draft.node.span);
            let message = format!("two rules of pool `{}` are called `{}`", pool.id, content.id);
            let problem = Problem::error(Code::Duplicate, path, span, message);
            let problem = problem.also("the first one", span_at(first.node, &["id"]).or(first.node.span));
            match content.rule.id {
                Some(_) => problem,
                None => problem.help("both ask the same, so the second is never asked; an `id` of its own keeps it"),
            }
        });
    }
}

/// The pool that a rule belongs to, as far as rules must know it.
pub(crate) struct Home<'a> {
    pub(crate) pool: &'a str,
    /// Whether there is a group of this id.
    pub(crate) has_group: &'a dyn Fn(&str) -> bool,
    /// For people.
    pub(crate) groups: &'a dyn Fn() -> Vec<String>,
}

/// Tells whatever is wrong with one rule. `None`: something is.
pub(crate) fn check_one(
    home: &Home<'_>,
    named: &Named<'_>,
    draft: &RuleDraft<'_>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<Rule> {
    Checker { home, named, draft, at, problems }.rule()
}

/// One rule, held against its pool and document.
struct Checker<'a, 't, 'p> {
    home: &'a Home<'a>,
    named: &'a Named<'a>,
    draft: &'a RuleDraft<'t>,
    at: &'a At<'a>,
    problems: &'p mut Problems,
}

impl Checker<'_, '_, '_> {
    /// `None`: something is wrong with it, which has been told.
    fn rule(&mut self) -> Option<Rule> {
        let before = self.problems.count();
        let (content, whole) = (self.draft.part(), self.draft.content().is_some());
        if whole {
            self.one_action(&content.rule);
        }
        let group = content.rule.group.as_ref().and_then(|group| self.group(group));
        self.lists(&content.conditions);
        let compiled = Rule::compile(&rule_spec::spec(content, group, &|name| self.named.slot(name)));
        let wrong = compiled.as_ref().err().into_iter().flatten();
        // What a path captures is not known before the path is right.
        let lost = |why: &Why| matches!(why, Why::Template(_) | Why::Pattern(_));
        let captures = whole && !wrong.clone().any(|wrong| lost(&wrong.why));
        let follows = |why: &Why| matches!(why, Why::Text(TextError::Unknown(_)) | Why::FactInPath);
        for wrong in wrong.filter(|wrong| captures || !follows(&wrong.why)) {
            self.wrong(content, wrong);
        }
        let in_order = whole && self.problems.count() == before;
        compiled.ok().filter(|_| in_order)
    }

    fn one_action(&mut self, rule: &RuleKeys) {
        const ACCEPTED: &str = "one of `group`, `redirect`, `respond` and `deny`";
        let actions = rule_spec::actions(rule);
        let problem = match &actions[..] {
            [_] => return,
            // A key that means nothing has been told, and may have been meant as that.
            [] if !self.knows_its_keys() => return,
            [] => Problem::error(Code::Missing, self.at, self.draft.node.span, "this rule does nothing"),
            [first, second, ..] => {
                let message = format!("this rule has both `{first}` and `{second}`");
                let problem =
                    Problem::error(Code::Clash, self.at.key(second), span_at(self.draft.node, &[second]), message);
                problem.also(format!("`{first}`"), span_at(self.draft.node, &[first]))
            }
        };
        self.problems.push(problem.accepted(ACCEPTED));
    }

    fn knows_its_keys(&self) -> bool {
        let known = |name: &str| Conditions::KEYS.iter().chain(RuleKeys::KEYS).any(|key| key.name == name);
        self.draft.node.table().is_some_and(|table| table.entries.keys().all(|name| known(name)))
    }

    fn group(&mut self, group: &str) -> Option<GroupSlot> {
        // Whichever slot it will have, here it is a group.
        if (self.home.has_group)(group) {
            return Some(GroupSlot(0));
        }
        let message = format!("pool `{}` has no group `{group}`", self.home.pool);
        let span = span_at(self.draft.node, &["group"]);
        let names = (self.home.groups)();
        let names = names.iter().map(String::as_str);
        self.problems.push(not_found(self.at.key("group"), span, message, group, names));
        None
    }

    fn lists(&mut self, conditions: &Conditions) {
        let mut wrong: Vec<(&str, ListUse)> = Vec::new();
        rule_spec::lists_of(conditions, &mut |name, list_use| {
            let kind = self.named.find(name).map(|ix| self.named.lists[ix].1);
            let fits = kind.is_some_and(|kind| kind.is_none_or(|kind| kind == list_use.kind()));
            if !fits && !wrong.contains(&(name, list_use)) {
                wrong.push((name, list_use));
            }
        });
        for (name, list_use) in wrong {
            let at = self.at.key(list_use.key());
            let span = span_of_text(self.draft.node, name);
            let names = self.named.names();
            if self.named.find(name).is_none() {
                let message = format!("there is no list `{name}`");
                self.problems.push(not_found(at, span, message, name, names));
                continue;
            }
            let (is, accepted) = match list_use.kind() {
                ListKind::Addresses => ("texts", "a list of addresses"),
                ListKind::Texts => ("addresses", "a list with `kind = \"text\"`"),
            };
            let message = format!("list `{name}` is one of {is}");
            self.problems.push(Problem::error(Code::WrongType, at, span, message).accepted(accepted));
        }
    }

    /// What `policy` found, at its place in the document.
    fn wrong(&mut self, content: &RuleContent, wrong: &policy::http::Problem) {
        let steps = rule_spec::origin(content, wrong);
        let (node, depth) = follow(self.draft.node, &steps);
        let steps = &steps[..depth];
        let key = steps.iter().rev().find_map(|step| match step {
            Step::Key(name) => Conditions::KEYS.iter().chain(RuleKeys::KEYS).find(|key: &&Key| key.name == *name),
            Step::Index(_) => None,
        });
        let why = wrong.why.to_string();
        let problem = match key {
            Some(key) => {
                let message = format!("`{}`: {why}", key.name);
                let span = part(&wrong.why, node).or(node.span);
                let problem = Problem::error(Code::BadValue, path(self.at, steps), span, message);
                problem.found(node.shown()).accepted(key.accepted())
            }
            // Of the rule as a whole.
            None => Problem::error(Code::TooMany, self.at, node.span, why),
        };
        self.problems.push(problem);
    }
}

/// Where in a text it is wrong, if the text stands in the document as it is.
fn part(why: &Why, node: &Node) -> Option<Span> {
    let (Value::Text { text, substituted: false }, Some(span)) = (&node.value, node.span) else {
        return None;
    };
    let found = |part: &str| text.find(part).map(|at| at..at + part.len());
    let range = match why {
        Why::Pattern(PatternError::Syntax { at, .. }) => {
            let at = at.filter(|at| text.is_char_boundary(*at))?;
            at..at + text[at..].chars().next().map_or(0, char::len_utf8)
        }
        Why::Template(TemplateError::PartOfASegment(part)) => found(part)?,
        Why::Template(TemplateError::BadName(name)) => found(&format!("{{{name}}}"))?,
        Why::Template(TemplateError::SameName(name)) => {
            let name = format!("{{{name}}}");
            text.rfind(&name).map(|at| at..at + name.len())?
        }
        Why::Template(TemplateError::RestNotLast(name)) => found(&format!("{{{name}*}}"))?,
        Why::Text(TextError::Unknown(name)) => found(&format!("{{{name}}}"))?,
        _ => return None,
    };
    // A quote on each side and nothing else: whatever is written otherwise than it reads takes more.
    let as_it_is = (span.end - span.start) as usize == text.len() + 2;
    let from = span.start + 1;
    as_it_is.then(|| Span { start: from + range.start as u32, end: from + range.end as u32, ..span })
}

fn not_found<'n>(
    path: At<'_>,
    span: Option<Span>,
    message: String,
    wanted: &str,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Problem {
    let problem = Problem::error(Code::NotFound, path, span, message);
    let problem = problem.found(format!("{wanted:?}")).accepted(some_of(names.clone()));
    match suggest::closest(wanted, names) {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem,
    }
}

/// As far as the steps go: where a value is written short, the rest of them leads nowhere.
fn follow<'t>(mut node: &'t Node, steps: &[Step<'_>]) -> (&'t Node, usize) {
    for (depth, step) in steps.iter().enumerate() {
        let next = match (step, &node.value) {
            (Step::Index(ix), Value::List(list)) => list.get(*ix),
            (Step::Key(key), Value::Table(table)) => table.get(key).or_else(|| {
                // Names of headers are read in one spelling.
                let same = table.entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
                same.map(|(_, entry)| &entry.node)
            }),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => return (node, depth),
        }
    }
    (node, steps.len())
}

fn path(at: &At<'_>, steps: &[Step<'_>]) -> String {
    match steps {
        [] => at.to_string(),
        [Step::Key(key), rest @ ..] => path(&at.key(key), rest),
        [Step::Index(ix), rest @ ..] => path(&at.index(*ix), rest),
    }
}

/// Where the text stands, however deep.
fn span_of_text(node: &Node, wanted: &str) -> Option<Span> {
    match &node.value {
        Value::Text { text, .. } if text == wanted => node.span,
        Value::List(list) => list.iter().find_map(|node| span_of_text(node, wanted)),
        Value::Table(table) => ["source", "host_list", "list", "header", "query", "all", "any", "not"]
            .into_iter()
            .find_map(|key| span_of_text(table.get(key)?, wanted)),
        _ => None,
    }
}

/// The rules together: what they cannot be, and what is probably not meant.
pub(crate) fn check_table(pool: &PoolDraft<'_>, compiled: Vec<Arc<Rule>>, problems: &mut Problems) {
    let at = pool_path(pool.id, "rule");
    let span = node_at(pool.node, &["rule"]).and_then(Node::list).and_then(|list| list.first()?.span);
    let table = match Rules::in_sequence(compiled) {
        Ok(table) => table,
        Err(error) => return problems.push(Problem::error(Code::TooMany, at, span, error.to_string())),
    };
    let shape = table.shape();
    if shape.candidates_max > Rules::CANDIDATES_MANY {
        let host = shape.candidates_host.as_deref().map_or("one request".into(), |host| format!("a request to {host}"));
        let message = format!("{host} may have to be held against {} rules, which takes time", shape.candidates_max);
        let problem = Problem::warning(Code::Surprising, &at, span, message);
        problems.push(problem.help(
            "rules with neither host nor path, and many with the same, are the usual reason; a list of sources and one \
             rule with alternatives cost next to nothing",
        ));
    }
    let sequence = in_sequence(&pool.rules);
    let draft_of = |turn| sequence[table.place(turn)];
    for never in table.shadows().never {
        let draft = draft_of(never.rule);
        let path = format!("{at}[{}]", draft.ix);
        let id_of = |turn| table.rule(turn).map_or("", |rule| &*rule.id);
        let id = id_of(never.rule);
        let problem = match never.behind {
            Some(other) => {
                let message = format!("rule `{id}` is never asked: `{}` takes all of it before", id_of(other));
                let problem = Problem::warning(Code::NoEffect, path, draft.node.span, message);
                problem.also("the rule before it", draft_of(other).node.span)
            }
            None => {
                let message = format!("no request meets rule `{id}`: its conditions exclude each other");
                Problem::warning(Code::NoEffect, path, draft.node.span, message)
            }
        };
        problems.push(problem);
    }
    warn(pool, &at, problems);
}

fn warn(pool: &PoolDraft<'_>, at: &str, problems: &mut Problems) {
    let rules = || pool.rules.iter().filter_map(|draft| Some((draft, draft.content()?)));
    if !pool.rules.is_empty() {
        let led_to: BTreeSet<&str> = rules().filter_map(|(_, content)| content.rule.group.as_deref()).collect();
        for group in &pool.groups {
            if !led_to.contains(group.id) {
                let message = format!("no rule of pool `{}` leads to group `{}`", pool.id, group.id);
                let path = crate::check::group_path(pool.id, group.id);
                problems.push(Problem::warning(Code::NoEffect, path, group.span, message));
            }
        }
    }
    for (draft, content) in rules().filter(|(_, content)| content.rule.group.is_none()) {
        for key in ["request_headers", "rewrite"] {
            if let Some(span) = span_at(draft.node, &[key]) {
                let action = rule_spec::actions(&content.rule).first().copied().unwrap_or_default();
                let message = format!("`{key}` has no effect: with `{action}`, no backend is asked");
                let path = format!("{at}[{}].{key}", draft.ix);
                problems.push(Problem::warning(Code::NoEffect, path, span, message));
            }
        }
    }
}

/// Rules as the document holds them, and where they stand in it. `None`: something of them was told.
pub(crate) fn seal(mut drafts: Vec<RuleDraft<'_>>) -> Option<SealedRules> {
    let ordered = is_ordered(&drafts);
    if ordered {
        drafts.sort_by_key(order);
    }
    let mut rules = SealedRules { sealed: Vec::with_capacity(drafts.len()), spans: Vec::with_capacity(drafts.len()) };
    for draft in drafts {
        // Once one says it, all do: read again, they stand as they do now.
        let (span, order) = (draft.node.span, ordered.then(|| order(&draft)));
        let mut content = draft.into_content()?;
        content.rule.order = order;
        let sealed = Sealed::new(content);
        rules.spans.extend(span.map(|span| (sealed.hash(), span)));
        rules.sealed.push(Arc::new(sealed));
    }
    Some(rules)
}

pub(crate) struct SealedRules {
    /// In the order in which they are asked.
    pub(crate) sealed: Vec<Arc<Sealed<RuleContent>>>,
    pub(crate) spans: Vec<(ContentHash, Span)>,
}

/// Those of all lists that the rules name.
pub(crate) fn named_lists(
    rules: &[Arc<Sealed<RuleContent>>],
    lists: &Lists,
) -> BTreeMap<Arc<str>, Arc<policy::http::List>> {
    let mut named = BTreeMap::new();
    for rule in rules {
        rule_spec::lists_of(&rule.conditions, &mut |name, _| {
            if let Some((id, list)) = lists.find_entry(name) {
                named.insert(id.clone(), list.in_force().clone());
            }
        });
    }
    named
}

/// A pool that stays as it is uses its lists as they are.
pub(crate) fn check_kept_lists(pool: &Pool, lists: &Lists, problems: &mut Problems) {
    let used = pool.http.iter().flat_map(|HttpContent { lists, .. }| lists);
    let differs = |id: &str, list: &policy::http::List| {
        lists.get(id).is_none_or(|other| other.in_force().digest() != list.digest())
    };
    for (id, _) in used.filter(|(id, list)| differs(id, list)) {
        let message = format!("pool `{}` has come to use list `{id}` meanwhile, which would change", pool.id);
        let path = At::ROOT.key("list").key(id).to_string();
        problems.push(Problem::error(Code::Clash, path, None, message).help("submit the document again"));
    }
}
