//! From a rule of the document to what `policy` compiles, and back from what is wrong with it to its place.
//!
//! Knows what each key of a rule means, and no rule but this one.

use crate::address::is_id;
use crate::document::RuleContent;
use crate::form::{HeaderEdits, Redirect, Respond, Rewrite, RewritePath, ValueTest};
use crate::keys::{Conditions, Rule};
use policy::http::{
    ActionSpec, EditSpec, ListKind, PathSpec, PrefixSet, Problem, RewriteSpec, RuleSpec, SourceSet, ValueSpec, When,
    Why,
};
use policy::{GroupSlot, ListSlot};
use std::sync::Arc;

/// The slots of lists, by their names.
pub(crate) type SlotOf<'l> = &'l dyn Fn(&str) -> ListSlot;

/// What a condition asks a list for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListUse {
    Source,
    Host,
    Header,
    Query,
}

impl ListUse {
    pub(crate) fn kind(self) -> ListKind {
        match self {
            ListUse::Source => ListKind::Addresses,
            ListUse::Host | ListUse::Header | ListUse::Query => ListKind::Texts,
        }
    }

    /// The key that names the list.
    pub(crate) fn key(self) -> &'static str {
        match self {
            ListUse::Source => "source",
            ListUse::Host => "host_list",
            ListUse::Header => "header",
            ListUse::Query => "query",
        }
    }
}

/// Names of lists that a condition uses, and what for.
pub(crate) fn lists_of<'c>(conditions: &'c Conditions, visit: &mut dyn FnMut(&'c str, ListUse)) {
    let Conditions { host_list, header, query, source, all, any, not, .. } = conditions;
    source.iter().filter(|source| is_id(source)).for_each(|name| visit(name, ListUse::Source));
    host_list.iter().for_each(|name| visit(name, ListUse::Host));
    for (tests, list_use) in [(header, ListUse::Header), (query, ListUse::Query)] {
        for (_, test) in tests {
            if let ValueTest::Listed(name) = test {
                visit(name, list_use);
            }
        }
    }
    all.iter().chain(any).chain(not.as_deref()).for_each(|nested| lists_of(nested, visit));
}

fn sources(sources: &[String], slot_of: SlotOf<'_>) -> SourceSet {
    let (names, prefixes): (Vec<&String>, Vec<&String>) = sources.iter().partition(|source| is_id(source));
    let prefixes = prefixes.into_iter().filter_map(|prefix| crate::prefix::parse(prefix).ok());
    let mut lists: Vec<ListSlot> = names.into_iter().map(|name| slot_of(name)).collect();
    lists.sort_unstable();
    lists.dedup();
    SourceSet { name: sources.join(", ").into(), prefixes: Arc::new(PrefixSet::new(prefixes)), lists: lists.into() }
}

/// What the rule does: the keys that say it. One, if the rule is in order.
pub(crate) fn actions(rule: &Rule) -> Vec<&'static str> {
    let Rule { group, redirect, respond, deny, .. } = rule;
    let said = [
        ("group", group.is_some()),
        ("redirect", redirect.is_some()),
        ("respond", respond.is_some()),
        ("deny", deny.is_some()),
    ];
    said.into_iter().filter(|(_, said)| *said).map(|(key, _)| key).collect()
}

/// `group`: the slot of the rule's group. Of a rule that is not in order, as much as can be looked at.
pub(crate) fn spec(content: &RuleContent, group: Option<GroupSlot>, slot_of: SlotOf<'_>) -> RuleSpec {
    let RuleContent { id, conditions, rule } = content;
    let Rule { id: _, order, group: _, redirect, respond, deny, rewrite, request_headers, response_headers } = rule;
    let action = match (group, redirect, respond, deny) {
        (_, Some(Redirect { to, status }), ..) => ActionSpec::Redirect { status: *status, target: to.clone() },
        (_, _, Some(Respond { status, content_type, body }), _) => {
            ActionSpec::Respond { status: *status, content_type: content_type.to_string(), body: body.clone().into() }
        }
        (_, _, _, Some(status)) => ActionSpec::Deny { status: *status },
        (group, None, None, None) => ActionSpec::Group(group.unwrap_or(GroupSlot(0))),
    };
    let host = rewrite.as_ref().and_then(|rewrite| rewrite.host.clone());
    RuleSpec {
        id: id.clone(),
        order: order.unwrap_or(0).into(),
        when: Builder { slot_of, trail: None }.conditions(conditions),
        action,
        request_edits: edits(request_headers),
        response_edits: edits(response_headers),
        rewrite: rewrite.as_ref().and_then(rewritten),
        host,
    }
}

/// What is removed, set and added, in this order.
fn edits(HeaderEdits { remove, set, add }: &HeaderEdits) -> Vec<EditSpec> {
    let removed = remove.iter().map(|name| EditSpec::Remove { name: name.clone() });
    let set = set.iter().map(|(name, value)| EditSpec::Set { name: name.clone(), value: value.clone() });
    let added = add.iter().map(|(name, value)| EditSpec::Add { name: name.clone(), value: value.clone() });
    removed.chain(set).chain(added).collect()
}

fn rewritten(Rewrite { path, host: _ }: &Rewrite) -> Option<RewriteSpec> {
    Some(match path.clone()? {
        RewritePath::Whole { to } => RewriteSpec::Whole { to },
        RewritePath::Prefix { prefix, to } => RewriteSpec::Prefix { from: prefix, to },
        RewritePath::Regex { regex, to } => RewriteSpec::Regex { pattern: regex, to },
    })
}

/// A step from a rule to a part of it, as the document goes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Step<'r> {
    Key(&'r str),
    Index(usize),
}

/// Where in the rule a problem is.
pub(crate) fn origin<'r>(content: &'r RuleContent, problem: &Problem) -> Vec<Step<'r>> {
    let RuleContent { id: _, conditions, rule } = content;
    let Problem { at, why } = problem;
    match at.split(['.', '[']).next().unwrap_or_default() {
        "when" => {
            let trail = Trail { at: "when".into(), steps: Vec::new(), parts: Vec::new() };
            let mut builder = Builder { slot_of: &|_| ListSlot(u32::MAX), trail: Some(trail) };
            builder.conditions(conditions);
            // The innermost part that it is in.
            let parts = builder.trail.map(|trail| trail.parts).unwrap_or_default();
            let within = parts.into_iter().filter(|(part, _)| at.starts_with(&**part));
            within.max_by_key(|(part, _)| part.len()).map(|(_, steps)| steps).unwrap_or_default()
        }
        "action" => {
            let action = actions(rule).first().copied().unwrap_or_default();
            let part = match why {
                Why::Status { .. } => "status",
                Why::ContentType(_) => "content_type",
                _ => "to",
            };
            vec![Step::Key(action), Step::Key(part)]
        }
        "request" => edit_origin("request_headers", &rule.request_headers, at),
        "response" => edit_origin("response_headers", &rule.response_headers, at),
        "rewrite" => vec![Step::Key("rewrite")],
        "host" => vec![Step::Key("rewrite"), Step::Key("host")],
        _ => Vec::new(),
    }
}

fn edit_origin<'r>(key: &'static str, edits: &'r HeaderEdits, at: &str) -> Vec<Step<'r>> {
    let HeaderEdits { remove, set, add } = edits;
    let removed = (0..remove.len()).map(|ix| [Step::Key("remove"), Step::Index(ix)]);
    let set = set.iter().map(|(name, _)| [Step::Key("set"), Step::Key(name)]);
    let added = add.iter().map(|(name, _)| [Step::Key("add"), Step::Key(name)]);
    let number = at.split_once('[').and_then(|(_, rest)| rest.split(']').next()?.parse().ok());
    let part = number.and_then(|number| removed.chain(set).chain(added).nth(number));
    [Step::Key(key)].into_iter().chain(part.into_iter().flatten()).collect()
}

/// Makes the condition, and where asked to, notes which part of the document each part of it was.
struct Builder<'r, 'l> {
    slot_of: SlotOf<'l>,
    trail: Option<Trail<'r>>,
}

struct Trail<'r> {
    /// As `policy` will call the part that is being made.
    at: String,
    steps: Vec<Step<'r>>,
    parts: Vec<(String, Vec<Step<'r>>)>,
}

impl<'r> Builder<'r, '_> {
    /// All that is said must hold.
    fn conditions(&mut self, conditions: &'r Conditions) -> When {
        let Conditions {
            host,
            host_list,
            path,
            path_prefix,
            path_template,
            path_regex,
            method,
            header,
            query,
            source,
            all,
            any,
            not,
        } = conditions;
        let mut whens = Vec::new();
        self.texts(&mut whens, "host", host, When::Host);
        let slot_of = self.slot_of;
        self.texts(&mut whens, "host_list", host_list, |name| When::HostList { slot: slot_of(&name), name });
        self.texts(&mut whens, "path", path, |path| When::Path(PathSpec::Exact(path)));
        self.texts(&mut whens, "path_prefix", path_prefix, |path| When::Path(PathSpec::Prefix(path)));
        self.texts(&mut whens, "path_template", path_template, |path| When::Path(PathSpec::Template(path)));
        self.texts(&mut whens, "path_regex", path_regex, |path| When::Path(PathSpec::Regex(path)));
        if !method.is_empty() {
            self.part("all", &mut whens, &[Step::Key("method")], |_| When::Method(method.clone()));
        }
        for (name, test) in header {
            let make = |value| When::Header { name: name.clone(), value };
            self.values(&mut whens, &[Step::Key("header"), Step::Key(name)], test, make);
        }
        for (name, test) in query {
            let make = |value| When::Query { name: name.clone(), value };
            self.values(&mut whens, &[Step::Key("query"), Step::Key(name)], test, make);
        }
        if !source.is_empty() {
            self.part("all", &mut whens, &[Step::Key("source")], |_| When::Source(sources(source, slot_of)));
        }
        for (ix, nested) in all.iter().enumerate() {
            self.part("all", &mut whens, &[Step::Key("all"), Step::Index(ix)], |builder| builder.conditions(nested));
        }
        if !any.is_empty() {
            self.part("all", &mut whens, &[Step::Key("any")], |builder| {
                let mut alternatives = Vec::new();
                for (ix, nested) in any.iter().enumerate() {
                    builder.part("any", &mut alternatives, &[Step::Index(ix)], |builder| builder.conditions(nested));
                }
                When::Any(alternatives)
            });
        }
        if let Some(not) = not {
            self.part("all", &mut whens, &[Step::Key("not")], |builder| {
                let inner = builder.within(".not", &[], |builder| builder.conditions(not));
                When::Not(Box::new(inner))
            });
        }
        When::All(whens)
    }

    fn texts(&mut self, whens: &mut Vec<When>, key: &'r str, texts: &'r [String], make: impl Fn(String) -> When) {
        match texts {
            [] => {}
            [one] => self.part("all", whens, &[Step::Key(key)], |_| make(one.clone())),
            several => self.part("all", whens, &[Step::Key(key)], |builder| {
                let mut alternatives = Vec::new();
                for (ix, text) in several.iter().enumerate() {
                    builder.part("any", &mut alternatives, &[Step::Index(ix)], |_| make(text.clone()));
                }
                When::Any(alternatives)
            }),
        }
    }

    fn values(
        &mut self,
        whens: &mut Vec<When>,
        steps: &[Step<'r>],
        test: &'r ValueTest,
        make: impl Fn(ValueSpec) -> When,
    ) {
        let slot_of = self.slot_of;
        self.part("all", whens, steps, |_| match test {
            ValueTest::Present => make(ValueSpec::Present),
            ValueTest::Absent => make(ValueSpec::Absent),
            ValueTest::Equals(texts) => match &texts[..] {
                [one] => make(ValueSpec::Equals(one.clone())),
                several => When::Any(several.iter().map(|text| make(ValueSpec::Equals(text.clone()))).collect()),
            },
            ValueTest::Prefix(prefix) => make(ValueSpec::Prefix(prefix.clone())),
            ValueTest::Regex(regex) => make(ValueSpec::Regex(regex.clone())),
            ValueTest::Listed(name) => make(ValueSpec::Listed { slot: slot_of(name), name: name.clone() }),
        });
    }

    /// One more in the list of conditions that `policy` calls `word`.
    fn part(&mut self, word: &str, whens: &mut Vec<When>, steps: &[Step<'r>], make: impl FnOnce(&mut Self) -> When) {
        let when = match self.trail {
            Some(_) => self.within(&format!(".{word}[{}]", whens.len()), steps, make),
            None => make(self),
        };
        whens.push(when);
    }

    fn within(&mut self, at: &str, steps: &[Step<'r>], make: impl FnOnce(&mut Self) -> When) -> When {
        let Some(trail) = &mut self.trail else {
            return make(self);
        };
        let (length, depth) = (trail.at.len(), trail.steps.len());
        trail.at.push_str(at);
        trail.steps.extend(steps);
        trail.parts.push((trail.at.clone(), trail.steps.clone()));
        let when = make(self);
        if let Some(trail) = &mut self.trail {
            trail.at.truncate(length);
            trail.steps.truncate(depth);
        }
        when
    }
}
