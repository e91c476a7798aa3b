//! What a rule asks, compiled: each condition says whether it holds for a request.
//!
//! Owns the meaning of every condition. Refuses to know rules, their order, and how candidates are found: the
//! index may leave out only rules whose condition would not hold, so what is said here is what counts.

use super::list::Lists;
use super::pattern::{GroupSearch, Pattern};
use super::request::{Request, decode_query, parameters};
use super::source::SourceSet;
use super::template::Template;
use crate::ids::ListSlot;
use crate::meaning::Words;
use std::fmt;
use std::ops::Range;

/// A compiled [`When`](super::When).
#[derive(Debug)]
pub(super) enum Condition {
    Host(HostTest),
    Path(PathTest),
    Method(MethodSet),
    Header(HeaderTest),
    Query(HeaderTest),
    Source(SourceSet),
    HostList(HostList),
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
}

/// A request with its host as rules compare it, and the lists of its pool.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub request: &'a Request<'a>,
    pub lists: &'a Lists,
    /// Lower case, without a final dot; empty if there is none, or none that a rule could name.
    pub host: &'a [u8],
}

/// The longest name that DNS can say (RFC 1035 section 2.3.4).
pub(super) const HOST_BYTES_MAX: usize = 255;

impl<'a> View<'a> {
    pub fn new(request: &'a Request<'a>, lists: &'a Lists, buffer: &'a mut [u8; HOST_BYTES_MAX]) -> View<'a> {
        View { request, lists, host: lower_host(request.host, buffer) }
    }

    pub fn path(self) -> &'a [u8] {
        self.request.path.as_bytes()
    }
}

/// A host as names are compared with it: lower case, without a final dot; empty if nothing could name it.
pub(super) fn lower_host<'a>(host: &'a [u8], buffer: &'a mut [u8; HOST_BYTES_MAX]) -> &'a [u8] {
    let host = host.strip_suffix(b".").unwrap_or(host);
    match buffer.get_mut(..host.len()) {
        Some(lower) if host.iter().any(u8::is_ascii_uppercase) => {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            lower
        }
        Some(_) => host,
        None => b"",
    }
}

impl Condition {
    /// `decoded` is memory.
    pub fn holds(&self, view: View, decoded: &mut Vec<u8>) -> bool {
        match self {
            Condition::Host(test) => test.holds(view.host),
            Condition::Path(test) => test.holds(view.path()),
            Condition::Method(methods) => methods.contains(view.request.method),
            Condition::Header(test) => test
                .value
                .holds(view.lists, |holds| view.request.headers.any(test.name.as_bytes(), &mut |value| holds(value))),
            Condition::Query(test) => test.value.holds(view.lists, |holds| {
                let all = view.request.query.map(parameters);
                all.into_iter().flatten().any(|(name, value)| {
                    decode_query(name, decoded) == test.name.as_bytes() && holds(decode_query(value, decoded))
                })
            }),
            Condition::Source(set) => view.request.source.is_some_and(|source| set.contains(source, view.lists)),
            Condition::HostList(host) => view.lists.find(host.slot).is_some_and(|list| list.holds_host(view.host)),
            Condition::All(conditions) => conditions.iter().all(|condition| condition.holds(view, decoded)),
            Condition::Any(conditions) => conditions.iter().any(|condition| condition.holds(view, decoded)),
            Condition::Not(condition) => !condition.holds(view, decoded),
        }
    }

    /// Of a condition that holds: what the path tests by which it holds have captured. Of several alternatives that
    /// is the first that holds; what is negated captures nothing.
    pub fn capture(&self, view: View, memory: &mut GroupSearch, decoded: &mut Vec<u8>, out: &mut CaptureSlots) {
        match self {
            Condition::Path(test) => test.capture(view.path(), memory, out),
            Condition::All(conditions) => {
                conditions.iter().for_each(|condition| condition.capture(view, memory, decoded, out));
            }
            Condition::Any(conditions) => {
                if let Some(first) = conditions.iter().find(|condition| condition.holds(view, decoded)) {
                    first.capture(view, memory, decoded, out);
                }
            }
            Condition::Host(_)
            | Condition::Method(_)
            | Condition::Header(_)
            | Condition::Query(_)
            | Condition::Source(_)
            | Condition::HostList(_)
            | Condition::Not(_) => {}
        }
    }

    /// Of a condition that does not hold: the part that is to blame. Of several that had to hold it is the first
    /// that does not.
    pub fn to_blame(&self, view: View, decoded: &mut Vec<u8>) -> &Condition {
        match self {
            Condition::All(conditions) => match conditions.iter().find(|condition| !condition.holds(view, decoded)) {
                Some(first) => first.to_blame(view, decoded),
                None => self,
            },
            _ => self,
        }
    }
}

/// Where in the path something was captured, by the rule's own number of the name.
pub(super) type CaptureSlots = [Option<Range<usize>>];

/// A list that has the host.
#[derive(Debug)]
pub(super) struct HostList {
    pub slot: ListSlot,
    /// For `explain` only.
    pub name: Box<str>,
}

/// What hosts are held against, where rules ask for them and where pools take them: a name, or all below a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostTest {
    /// Lower case, without a final dot.
    Exact(Box<str>),
    /// What stands behind the asterisk: `.example.com`.
    Below(Box<str>),
}

impl HostTest {
    /// `example.com`, `*.example.com` or an address, in any case. `None`: it is none of these.
    pub fn parse(host: &str) -> Option<HostTest> {
        let lower = host.to_ascii_lowercase();
        let (name, below) = lower.strip_prefix("*.").map_or((&*lower, false), |name| (name, true));
        let name = name.strip_suffix('.').unwrap_or(name);
        let address = name.starts_with('[') && name.ends_with(']') && !below;
        let inside = if address { &name[1..name.len() - 1] } else { name };
        let byte =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || address && byte == b':';
        let fits = name.len() < HOST_BYTES_MAX && inside.split('.').all(|label| !label.is_empty());
        (fits && inside.bytes().all(byte)).then(|| match below {
            true => HostTest::Below(format!(".{name}").into()),
            false => HostTest::Exact(name.into()),
        })
    }

    pub(super) fn holds(&self, host: &[u8]) -> bool {
        match self {
            HostTest::Exact(exact) => host == exact.as_bytes(),
            HostTest::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_bytes()),
        }
    }
}

/// As it is written: [`HostTest::parse`] reads it again.
impl fmt::Display for HostTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostTest::Exact(host) => f.write_str(host),
            HostTest::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[derive(Debug)]
pub(super) enum PathTest {
    Exact(Box<[u8]>),
    /// Without a slash at its end, so empty for `/`.
    Prefix(Box<[u8]>),
    /// With the rule's number of each name; none where it is negated.
    Template(Template, Box<[usize]>),
    /// With the rule's number of each group that has one.
    Regex(Box<Pattern>, Box<[(usize, usize)]>),
}

impl PathTest {
    pub fn holds(&self, path: &[u8]) -> bool {
        match self {
            PathTest::Exact(exact) => path == &**exact,
            PathTest::Prefix(prefix) => is_below(path, prefix),
            PathTest::Template(template, _) => template.matches(path, |_, _| ()),
            PathTest::Regex(pattern, _) => path != b"*" && pattern.is_match(path),
        }
    }

    fn capture(&self, path: &[u8], memory: &mut GroupSearch, out: &mut CaptureSlots) {
        match self {
            PathTest::Exact(_) | PathTest::Prefix(_) => {}
            PathTest::Template(template, numbers) => {
                template.matches(path, |name, range| out[numbers[name]] = Some(range));
            }
            PathTest::Regex(pattern, numbers) => {
                let groups = pattern.groups(path, memory);
                numbers.iter().for_each(|(group, number)| out[*number] = groups(*group));
            }
        }
    }
}

/// By whole segments. `prefix` has no slash at its end.
pub(super) fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

#[derive(Debug)]
pub(super) struct HeaderTest {
    /// Of a header in lower case.
    pub name: Box<str>,
    pub value: ValueTest,
}

#[derive(Debug)]
pub(super) enum ValueTest {
    Present,
    Absent,
    Equals(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Box<Pattern>),
    /// It is a text of this list; its name for `explain` only.
    Listed(ListSlot, Box<str>),
}

impl ValueTest {
    /// `any`: whether a function holds for any of the values.
    fn holds(&self, lists: &Lists, any: impl FnOnce(&dyn Fn(&[u8]) -> bool) -> bool) -> bool {
        match self {
            ValueTest::Absent => !any(&|_| true),
            test => any(&|value| test.holds_for(value, lists)),
        }
    }

    pub fn holds_for(&self, value: &[u8], lists: &Lists) -> bool {
        match self {
            ValueTest::Present => true,
            ValueTest::Absent => false,
            ValueTest::Equals(equal) => value == &**equal,
            ValueTest::Prefix(prefix) => value.starts_with(prefix),
            ValueTest::Regex(pattern) => pattern.is_match(value),
            ValueTest::Listed(slot, _) => lists.find(*slot).is_some_and(|list| list.holds_text(value)),
        }
    }
}

/// Methods by name: those of RFC 9110 and PATCH as bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MethodSet {
    known: u16,
    /// Sorted.
    others: Box<[Box<str>]>,
}

const KNOWN_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl MethodSet {
    pub fn new(names: &[String]) -> MethodSet {
        let (mut known, mut others) = (0, Vec::new());
        for name in names {
            match KNOWN_METHODS.iter().position(|method| method == name) {
                Some(bit) => known |= 1 << bit,
                None => others.push(Box::from(name.as_str())),
            }
        }
        others.sort();
        others.dedup();
        MethodSet { known, others: others.into() }
    }

    pub fn contains(&self, method: &[u8]) -> bool {
        match KNOWN_METHODS.iter().position(|known| known.as_bytes() == method) {
            Some(bit) => self.known >> bit & 1 == 1,
            None => self.others.iter().any(|other| other.as_bytes() == method),
        }
    }

    pub fn covers(&self, other: &MethodSet) -> bool {
        self.known & other.known == other.known && other.others.iter().all(|name| self.others.contains(name))
    }

    pub fn is_apart_from(&self, other: &MethodSet) -> bool {
        self.known & other.known == 0 && !other.others.iter().any(|name| self.others.contains(name))
    }

    /// For [`crate::meaning`].
    pub fn say(&self, words: &mut Words) {
        let MethodSet { known, others } = self;
        words.count((*known).into());
        words.each(&**others, |words, name| words.text(name));
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let known = KNOWN_METHODS.iter().enumerate().filter(|(bit, _)| self.known >> bit & 1 == 1);
        known.map(|(_, name)| *name).chain(self.others.iter().map(|name| &**name))
    }
}

/// As an operator reads it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, word: &str, conditions: &[Condition]| {
            write!(f, "{word}(")?;
            for (at, condition) in conditions.iter().enumerate() {
                write!(f, "{}{condition}", if at > 0 { ", " } else { "" })?;
            }
            f.write_str(")")
        };
        match self {
            Condition::Host(test) => write!(f, "host {test}"),
            Condition::Path(PathTest::Exact(path)) => write!(f, "path {}", path.escape_ascii()),
            Condition::Path(PathTest::Prefix(path)) => write!(f, "path prefix {}/", path.escape_ascii()),
            Condition::Path(PathTest::Template(template, _)) => write!(f, "path template {template}"),
            Condition::Path(PathTest::Regex(pattern, _)) => write!(f, "path regex {}", pattern.as_str()),
            Condition::Method(methods) => {
                write!(f, "method")?;
                methods.names().try_for_each(|name| write!(f, " {name}"))
            }
            Condition::Header(test) => write!(f, "header {} {}", test.name, test.value),
            Condition::Query(test) => write!(f, "query {} {}", test.name, test.value),
            Condition::Source(set) => write!(f, "source {}", set.name),
            Condition::HostList(host) => write!(f, "host in list {}", host.name),
            // A table with one key is written as that key.
            Condition::All(conditions) | Condition::Any(conditions) if conditions.len() == 1 => conditions[0].fmt(f),
            Condition::All(conditions) => list(f, "all", conditions),
            Condition::Any(conditions) => list(f, "any", conditions),
            Condition::Not(condition) => write!(f, "not({condition})"),
        }
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueTest::Present => f.write_str("present"),
            ValueTest::Absent => f.write_str("absent"),
            ValueTest::Equals(value) => write!(f, "= {}", value.escape_ascii()),
            ValueTest::Prefix(value) => write!(f, "begins with {}", value.escape_ascii()),
            ValueTest::Regex(pattern) => write!(f, "matches {}", pattern.as_str()),
            ValueTest::Listed(_, name) => write!(f, "in list {name}"),
        }
    }
}
