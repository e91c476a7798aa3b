//! The router's oracle: every rule is asked, one after the other, by the plainest code there is.
//!
//! Owns a second opinion on what conditions mean, over [`RuleSpec`]s as they are, and random rules and requests to
//! hold the two against each other. Shares with the router the normal form of paths, which has tests of its own, and
//! nothing else. Not part of the appliance: for the tests here and for `tests/fuzz`.

use super::list::{Entry, List, ListKind, Lists};
use super::path::{EscapedSlash, normalise};
use super::request::{Pairs, Request};
use super::source::{Prefix, PrefixSet, SourceSet};
use super::spec::{ActionSpec, EditSpec, PathSpec, RuleSpec, ValueSpec, When};
use crate::ids::ListSlot;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::syntax;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A request as a client sends it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(String, String)>,
    pub source: Option<IpAddr>,
}

impl Asked {
    /// What `ask` says of it. `None`: its path is refused before any rule.
    pub fn with<R>(&self, ask: impl FnOnce(&Request) -> R) -> Option<R> {
        let mut buffer = Vec::new();
        let path = normalise(self.path.as_bytes(), EscapedSlash::Keep, &mut buffer).ok()?;
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        Some(ask(&Request {
            method: self.method.as_bytes(),
            host: self.host.as_bytes(),
            path,
            query: self.query.as_ref().map(|query| query.as_bytes()),
            headers: &Pairs(&headers),
            source: self.source,
        }))
    }
}

/// The first rule that matches.
pub fn route<'r>(rules: &'r [RuleSpec], request: &Request) -> Option<&'r RuleSpec> {
    let mut matching: Vec<&RuleSpec> = rules.iter().filter(|rule| matches(&rule.when, request)).collect();
    matching.sort_by_key(|rule| (rule.order, rule.id.clone()));
    matching.first().copied()
}

pub fn matches(when: &When, request: &Request) -> bool {
    match when {
        When::Host(host) => host_matches(host, &text(request.host)),
        When::Path(path) => path_captures(path, request).is_some(),
        When::Method(methods) => methods.contains(&text(request.method)),
        When::Header { name, value } => {
            let mut values = Vec::new();
            request.headers.any(name.as_bytes(), &mut |value| {
                values.push(text(value));
                false
            });
            value_matches(value, &values)
        }
        When::Query { name, value } => {
            let query = request.query.map(text).unwrap_or_default();
            let parts = query.split('&').filter(|part| !part.is_empty());
            let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
            let pairs = pairs.map(|(name, value)| (form_decoded(name), form_decoded(value)));
            let values: Vec<String> = pairs.filter(|(found, _)| found == name).map(|(_, value)| value).collect();
            value_matches(value, &values)
        }
        When::Source(set) => request.source.is_some_and(|source| {
            // There is one list of addresses.
            set.prefixes.contains(source) || !set.lists.is_empty() && prefix_set(&LISTED_ADDRESSES).contains(source)
        }),
        When::HostList { .. } => {
            let host = text(request.host);
            !host.is_empty() && LISTED_TEXTS.iter().any(|entry| host_matches(entry, &host))
        }
        When::All(all) => all.iter().all(|one| matches(one, request)),
        When::Any(any) => any.iter().any(|one| matches(one, request)),
        When::Not(one) => !matches(one, request),
    }
}

/// Lists that the rules of a [`world`] name.
pub fn lists() -> Lists {
    let addresses = LISTED_ADDRESSES.iter().map(|text| (prefix(text).into(), None));
    let texts = LISTED_TEXTS.iter().map(|text| (Entry::from(*text), None));
    Lists::new([
        (ADDRESSES, Arc::new(List::of(ListKind::Addresses, addresses.collect()))),
        (TEXTS, Arc::new(List::of(ListKind::Texts, texts.collect()))),
    ])
}

const ADDRESSES: ListSlot = ListSlot(3);
const LISTED_ADDRESSES: [&str; 4] = ["10.0.0.0/30", "10.1.0.0/16", "10.1.1.1/32", "2001:db8::/32"];
const TEXTS: ListSlot = ListSlot(7);
/// In lower case, as hosts are.
const LISTED_TEXTS: [&str; 5] = ["a.example", "*.a.example", "12", "", "a b"];

fn prefix_set(prefixes: &[&str]) -> PrefixSet {
    PrefixSet::new(prefixes.iter().map(|text| prefix(text)))
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("prefixes have a length");
    let address = address.parse().expect("an address");
    Prefix::new(address, length.parse().expect("a number")).expect("not longer than the address")
}

/// What the names of the rule's paths stand for, if it matches.
pub fn captures(when: &When, request: &Request) -> BTreeMap<String, String> {
    match when {
        When::Path(path) => path_captures(path, request).unwrap_or_default(),
        When::All(all) => all.iter().flat_map(|one| captures(one, request)).collect(),
        When::Any(any) => match any.iter().find(|one| matches(one, request)) {
            Some(first) => captures(first, request),
            None => BTreeMap::new(),
        },
        _ => BTreeMap::new(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_lowercase(), host.to_lowercase());
    let labels = |name: &str| -> Vec<String> {
        name.strip_suffix('.').unwrap_or(name).split('.').rev().map(str::to_owned).collect()
    };
    match pattern.strip_prefix("*.") {
        Some(suffix) => labels(&host).len() > labels(suffix).len() && labels(&host).starts_with(&labels(suffix)),
        None => labels(&pattern) == labels(&host),
    }
}

fn path_captures(path: &PathSpec, request: &Request) -> Option<BTreeMap<String, String>> {
    let found = text(request.path.as_bytes());
    if found == "*" {
        return None;
    }
    let segments: Vec<&str> = found.split('/').skip(1).collect();
    let nothing = |matches: bool| matches.then(BTreeMap::new);
    match path {
        PathSpec::Exact(exact) => nothing(found == *exact),
        PathSpec::Prefix(prefix) => {
            let prefix: Vec<&str> = prefix.split('/').skip(1).filter(|segment| !segment.is_empty()).collect();
            nothing(segments.starts_with(&prefix))
        }
        PathSpec::Template(template) => {
            let template: Vec<&str> = template.split('/').skip(1).collect();
            let mut captured = BTreeMap::new();
            for (at, wanted) in template.iter().enumerate() {
                let name = wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
                let found = *segments.get(at)?;
                match name {
                    Some(name) if name.ends_with('*') => {
                        let rest = segments[at..].join("/");
                        captured.insert(name.trim_end_matches('*').to_owned(), rest.clone());
                        return (!rest.is_empty()).then_some(captured);
                    }
                    Some(_) if found.is_empty() => return None,
                    Some(name) => drop(captured.insert(name.to_owned(), found.to_owned())),
                    None if found != *wanted => return None,
                    None => {}
                }
            }
            (segments.len() == template.len()).then_some(captured)
        }
        PathSpec::Regex(pattern) => regex_captures(pattern, &found),
    }
}

fn value_matches(value: &ValueSpec, values: &[String]) -> bool {
    match value {
        ValueSpec::Present => !values.is_empty(),
        ValueSpec::Absent => values.is_empty(),
        ValueSpec::Equals(wanted) => values.contains(wanted),
        ValueSpec::Prefix(prefix) => values.iter().any(|value| value.starts_with(prefix)),
        ValueSpec::Regex(pattern) => values.iter().any(|value| regex_captures(pattern, value).is_some()),
        // There is one list of texts.
        ValueSpec::Listed { .. } => values.iter().any(|value| LISTED_TEXTS.contains(&&**value)),
    }
}

/// By another engine than the router's.
fn regex_captures(pattern: &str, text: &str) -> Option<BTreeMap<String, String>> {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let regex = PikeVM::builder().syntax(syntax).build(pattern).expect("only patterns that compile");
    let mut found = regex.create_captures();
    regex.captures(&mut regex.create_cache(), text, &mut found);
    found.is_match().then(|| {
        let names = regex.get_nfa().group_info().pattern_names(regex_automata::PatternID::ZERO);
        let each = names.zip(found.iter()).enumerate().filter_map(|(group, (name, span))| {
            let value = text[span?.range()].to_owned();
            Some(
                [Some(group.to_string()), name.map(str::to_owned)]
                    .into_iter()
                    .flatten()
                    .map(move |n| (n, value.clone())),
            )
        });
        each.flatten().collect()
    })
}

fn form_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    let mut parts = spaced.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.as_bytes().first_chunk::<2>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits {
            Some(_) => {
                decoded.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
                decoded.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                decoded.push(b'%');
                decoded.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Rules and requests that bytes mean: any bytes mean some. The words are few, so that rules overlap and requests meet
/// them.
pub fn world(bytes: &[u8]) -> (Vec<RuleSpec>, Vec<Asked>) {
    let mut dice = Dice(bytes);
    let count = dice.below(16);
    let rules = (0..count).map(|number| rule(number, &mut dice)).collect();
    let mut requests = vec![asked(&mut dice)];
    while !dice.0.is_empty() && requests.len() < REQUESTS_MAX {
        requests.push(asked(&mut dice));
    }
    (rules, requests)
}

/// Of one world: a long input makes many rules' worth of conditions, not ever more requests.
const REQUESTS_MAX: usize = 32;

struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    /// 0 when the bytes are over.
    fn below(&mut self, sides: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % sides
    }

    fn word(&mut self, words: &[&str]) -> String {
        words[self.below(words.len())].to_owned()
    }
}

fn rule(number: usize, dice: &mut Dice) -> RuleSpec {
    let when = when(dice, 0);
    let value = captured_names(&when).iter().map(|name| format!("{{{name}}}|")).collect::<String>();
    RuleSpec {
        id: format!("r{number}").into(),
        order: dice.below(8) as u64,
        request_edits: vec![EditSpec::Set { name: "x-captured".into(), value }],
        when,
        action: ActionSpec::Deny { status: 403 },
        response_edits: vec![],
        rewrite: None,
        host: None,
    }
}

/// What the edit of a rule of a [`world`] writes for this request.
pub fn captured(rule: &RuleSpec, request: &Request) -> String {
    let captured = captures(&rule.when, request);
    let of = |name: &str| captured.get(name).cloned().unwrap_or_default() + "|";
    captured_names(&rule.when).into_iter().map(of).collect()
}

/// What the paths of a condition can capture, as far as the world's words go.
fn captured_names(when: &When) -> BTreeSet<&'static str> {
    match when {
        When::Path(PathSpec::Template(text)) => {
            ["x", "r"].into_iter().filter(|name| text.contains(&format!("{{{name}"))).collect()
        }
        When::Path(PathSpec::Regex(text)) if text.contains("(?<x>") => ["0", "1", "x"].into(),
        When::Path(PathSpec::Regex(_)) => ["0"].into(),
        When::All(all) | When::Any(all) => all.iter().flat_map(captured_names).collect(),
        _ => BTreeSet::new(),
    }
}

fn when(dice: &mut Dice, depth: usize) -> When {
    const DEPTH_MAX: usize = 3;
    let leaf = depth == DEPTH_MAX;
    match dice.below(if leaf { 10 } else { 17 }) {
        0 | 1 => {
            When::Host(dice.word(&["a.example", "b.a.example", "Example.", "*.example", "*.a.example", "*.B.example"]))
        }
        2 => When::Path(PathSpec::Exact(dice.word(&["/", "/a", "/a/", "/a/b", "/b/c/a", "/c/"]))),
        3 => When::Path(PathSpec::Prefix(dice.word(&["/", "/a", "/a/", "/a/b", "/b/c", "/c/"]))),
        4 => {
            let templates = ["/{x}", "/a/{x}", "/{x}/b", "/{x}/{r}", "/a/{r*}", "/{x}/{r*}", "/{r}/a/{x}", "/{x}/"];
            When::Path(PathSpec::Template(dice.word(&templates)))
        }
        5 => {
            let patterns =
                ["^/a/", "^/a/b$", "c$", "^/(?<x>[ab]+)/", "(?i)^/A", "^/b/c/[^/]+$", "^/a/b|^/c", "/(?<x>.)$"];
            When::Path(PathSpec::Regex(dice.word(&patterns)))
        }
        6 => {
            let count = 1 + dice.below(2);
            When::Method((0..count).map(|_| dice.word(&["GET", "POST", "PURGE", "get"])).collect())
        }
        7 => match dice.below(2) {
            0 => When::Header { name: dice.word(&["x-a", "X-B"]), value: value(dice) },
            _ => When::Query { name: dice.word(&["q", "a b"]), value: value(dice) },
        },
        8 => {
            let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "10.1.1.1/32"];
            let count = dice.below(3);
            let names: Vec<String> = (0..count).map(|_| dice.word(&prefixes)).collect();
            let prefixes = PrefixSet::new(names.iter().map(|name| prefix(name))).into();
            let lists = if dice.below(3) == 0 { vec![ADDRESSES] } else { Vec::new() };
            When::Source(SourceSet { name: names.join(" ").into(), prefixes, lists: lists.into() })
        }
        9 => When::HostList { slot: TEXTS, name: "texts".into() },
        10..=12 => When::All(list(dice, depth)),
        13..=15 => When::Any(list(dice, depth)),
        _ => When::Not(when(dice, depth + 1).into()),
    }
}

fn list(dice: &mut Dice, depth: usize) -> Vec<When> {
    let count = dice.below(4);
    (0..count).map(|_| when(dice, depth + 1)).collect()
}

fn value(dice: &mut Dice) -> ValueSpec {
    match dice.below(6) {
        0 => ValueSpec::Present,
        1 => ValueSpec::Absent,
        2 => ValueSpec::Equals(dice.word(&["", "1", "12", "a b"])),
        3 => ValueSpec::Prefix(dice.word(&["", "1", "a"])),
        4 => ValueSpec::Listed { slot: TEXTS, name: "texts".into() },
        _ => ValueSpec::Regex(dice.word(&["^1", "2$", "^$", "a b"])),
    }
}

fn asked(dice: &mut Dice) -> Asked {
    let hosts =
        ["a.example", "A.Example.", "example", "b.a.example", "c.b.a.example", "x.example", "other", "b.example"];
    let segments = ["a", "b", "c", "A", "%61", "", ".", "..", "%2F", "ab"];
    let depth = dice.below(5);
    let path: String = (0..depth).map(|_| format!("/{}", dice.word(&segments))).collect();
    let path = path + &dice.word(&["", "/", "", "/"]);
    let queries = ["", "q", "q=1", "q=12&q=2", "a+b=1", "a%20b=a+b", "a=1", "q=%31&x", "%71=1%", "q=&&=q"];
    let queried = dice.below(3) > 0;
    let headers = dice.below(4);
    Asked {
        method: dice.word(&["GET", "POST", "PURGE", "HEAD"]),
        host: dice.word(&hosts),
        path: if path.is_empty() { "*".into() } else { path },
        query: queried.then(|| dice.word(&queries)),
        headers: (0..headers)
            .map(|_| (dice.word(&["x-a", "X-A", "x-b", "x-c"]), dice.word(&["", "1", "12", "2", "a b"])))
            .collect(),
        source: match dice.below(5) {
            0 => None,
            n => Some(["10.0.0.1", "10.1.1.1", "::ffff:10.1.2.3", "2001:db8::1"][n - 1].parse().expect("an address")),
        },
    }
}
