//! One rule, compiled: immutable, and shared by every generation in which it says the same.
//!
//! Owns the way from [`RuleSpec`] to [`Rule`], and names everything that stops it, each with its place. Refuses to
//! know other rules.

use super::anchor::{self, Anchor};
use super::condition::{Condition, HeaderTest, HostList, HostTest, MethodSet, PathTest, ValueTest};
use super::edits::{Edit, EditKind, Rewrite};
use super::path::{EscapedSlash, NormalPath, normalise};
use super::pattern::{Pattern, PatternError};
use super::spec::{ActionSpec, EditSpec, PathSpec, RewriteSpec, RuleSpec, ValueSpec, When};
use super::tally::Tally;
use super::template::{Template, TemplateError};
use super::text::{Text, TextError};
use crate::ids::GroupSlot;
use std::fmt;
use std::sync::Arc;

/// A compiled [`RuleSpec`].
#[derive(Debug)]
pub struct Rule {
    pub id: Arc<str>,
    pub order: u64,
    pub action: Action,
    pub(super) when: Condition,
    /// Where in the index it stands. Not empty.
    pub(super) anchors: Box<[Anchor]>,
    /// How many places for captures its texts use; 0: nobody asks for any.
    pub(super) captures: usize,
    pub(super) request_edits: Box<[Edit]>,
    pub(super) response_edits: Box<[Edit]>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) host: Option<Text>,
    /// `None`: nobody counts what it meets.
    pub tally: Option<Tally>,
}

/// A compiled [`ActionSpec`].
#[derive(Debug)]
pub enum Action {
    Group(GroupSlot),
    Redirect { status: u16, target: Text },
    Respond { status: u16, content_type: Arc<str>, body: Arc<[u8]> },
    Deny { status: u16 },
}

/// One thing that is wrong with a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which part of the rule: `when.all[2].path`.
    pub at: String,
    pub why: Why,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    Host(String),
    Path {
        path: String,
        why: &'static str,
    },
    Template(TemplateError),
    Pattern(PatternError),
    Text(TextError),
    Method(String),
    HeaderName(String),
    /// It says how a message is framed or where it goes, which is not an edit's to change.
    ProtectedHeader(String),
    Status {
        found: u16,
        accepted: &'static str,
    },
    ContentType(String),
    TooManyConditions {
        found: usize,
    },
    TooDeep,
    TooManyEdits {
        found: usize,
    },
    TooManyCaptures,
    /// A rewritten path does not begin with a slash.
    NotAPath,
    /// A placeholder that is not captured from the path, so that it could bring anything into it.
    FactInPath,
}

impl Rule {
    /// Cost: that of its patterns. Reports everything that is wrong at once.
    pub fn compile(spec: &RuleSpec) -> Result<Rule, Vec<Problem>> {
        let RuleSpec { id, order, when, action, request_edits, response_edits, rewrite, host } = spec;
        let mut compiler = Compiler::default();
        compiler.at.push_str("when");
        let when = compiler.condition(when, 0, true);
        let too_many = Why::TooManyConditions { found: compiler.conditions };
        compiler.expect(compiler.conditions <= RuleSpec::CONDITIONS_MAX, || too_many);
        let action = compiler.within("action", |compiler| compiler.action(action));
        let request_edits = compiler.within("request", |compiler| compiler.edits(request_edits));
        let response_edits = compiler.within("response", |compiler| compiler.edits(response_edits));
        let rewrite = rewrite.as_ref().map(|spec| compiler.within("rewrite", |compiler| compiler.rewrite(spec)));
        let host = host.as_ref().map(|host| compiler.within("host", |compiler| compiler.text(host, is_host_byte)));
        let too_many = compiler.captures_used && compiler.names.len() > RuleSpec::CAPTURES_MAX;
        compiler.expect(!too_many, || Why::TooManyCaptures);
        match compiler.problems.is_empty() {
            true => Ok(Rule {
                id: id.clone(),
                order: *order,
                action,
                anchors: anchor::anchors(&when),
                when,
                captures: if compiler.captures_used { compiler.names.len() } else { 0 },
                request_edits,
                response_edits,
                rewrite: rewrite.flatten(),
                host,
                tally: None,
            }),
            false => Err(compiler.problems),
        }
    }
}

#[derive(Default)]
struct Compiler {
    at: String,
    problems: Vec<Problem>,
    conditions: usize,
    /// What the path conditions capture: the place is the rule's number of the name.
    names: Vec<String>,
    captures_used: bool,
}

impl Compiler {
    fn within<R>(&mut self, part: &str, compile: impl FnOnce(&mut Compiler) -> R) -> R {
        let before = std::mem::replace(&mut self.at, part.to_owned());
        let compiled = compile(self);
        self.at = before;
        compiled
    }

    fn below<R>(&mut self, part: &str, compile: impl FnOnce(&mut Compiler) -> R) -> R {
        let length = self.at.len();
        self.at.push_str(part);
        let compiled = compile(self);
        self.at.truncate(length);
        compiled
    }

    fn expect(&mut self, holds: bool, why: impl FnOnce() -> Why) {
        if !holds {
            self.problems.push(Problem { at: self.at.clone(), why: why() });
        }
    }

    /// The value, or its problem and what stands in for it while more problems are looked for.
    fn or<T>(&mut self, found: Result<T, Why>, stand_in: impl FnOnce() -> T) -> T {
        found.unwrap_or_else(|why| {
            self.expect(false, || why);
            stand_in()
        })
    }

    /// `captures`: it is not negated.
    fn condition(&mut self, when: &When, depth: usize, captures: bool) -> Condition {
        self.conditions += 1;
        let never = || Condition::Any([].into());
        if depth > RuleSpec::DEPTH_MAX {
            self.expect(false, || Why::TooDeep);
            return never();
        }
        let mut list = |word: &str, all: &[When]| -> Box<[Condition]> {
            // One problem says it all, and a generated rule may be far beyond the bound.
            let each = all.iter().take(RuleSpec::CONDITIONS_MAX + 1).enumerate();
            each.map(|(at, one)| {
                self.below(&format!(".{word}[{at}]"), |compiler| compiler.condition(one, depth + 1, captures))
            })
            .collect()
        };
        match when {
            When::All(all) => Condition::All(list("all", all)),
            When::Any(all) => Condition::Any(list("any", all)),
            When::Not(one) => {
                Condition::Not(self.below(".not", |compiler| compiler.condition(one, depth + 1, false)).into())
            }
            When::Host(host) => self.below(".host", |compiler| {
                let test = compiler
                    .or(HostTest::parse(host).ok_or_else(|| Why::Host(host.clone())), || HostTest::Exact("".into()));
                Condition::Host(test)
            }),
            When::Path(path) => self.below(".path", |compiler| {
                let test = compiler.path(path, captures);
                compiler.or(test.map(Condition::Path), never)
            }),
            When::Method(methods) => self.below(".method", |compiler| {
                for method in methods {
                    compiler.expect(is_token(method), || Why::Method(method.clone()));
                }
                Condition::Method(MethodSet::new(methods))
            }),
            When::Header { name, value } => self.below(".header", |compiler| {
                compiler.expect(is_token(name), || Why::HeaderName(name.clone()));
                let value = compiler.value(value);
                Condition::Header(HeaderTest { name: name.to_ascii_lowercase().into(), value })
            }),
            When::Query { name, value } => self.below(".query", |compiler| {
                let value = compiler.value(value);
                Condition::Query(HeaderTest { name: name.as_str().into(), value })
            }),
            When::Source(set) => Condition::Source(set.clone()),
            When::HostList { slot, name } => Condition::HostList(HostList { slot: *slot, name: name.as_str().into() }),
        }
    }

    fn path(&mut self, path: &PathSpec, captures: bool) -> Result<PathTest, Why> {
        match path {
            PathSpec::Exact(path) => Ok(PathTest::Exact(normal(path)?)),
            PathSpec::Prefix(path) => Ok(PathTest::Prefix(without_slash(normal(path)?))),
            PathSpec::Template(text) => {
                let template = Template::new(text).map_err(Why::Template)?;
                let names = template.names().filter(|_| captures);
                let numbers = names.map(|name| self.number_of(name)).collect();
                Ok(PathTest::Template(template, numbers))
            }
            PathSpec::Regex(text) => {
                let pattern = Pattern::new(text).map_err(Why::Pattern)?;
                let named = pattern.group_names().map(|(group, name)| (group, name.to_owned()));
                let numbered = (0..pattern.group_count()).map(|group| (group, group.to_string()));
                let all: Vec<_> = numbered.chain(named).filter(|_| captures).collect();
                let numbers = all.into_iter().map(|(group, name)| (group, self.number_of(&name))).collect();
                Ok(PathTest::Regex(pattern.into(), numbers))
            }
        }
    }

    fn number_of(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    fn value(&mut self, value: &ValueSpec) -> ValueTest {
        match value {
            ValueSpec::Present => ValueTest::Present,
            ValueSpec::Absent => ValueTest::Absent,
            ValueSpec::Equals(value) => ValueTest::Equals(value.as_bytes().into()),
            ValueSpec::Prefix(value) => ValueTest::Prefix(value.as_bytes().into()),
            ValueSpec::Listed { slot, name } => ValueTest::Listed(*slot, name.as_str().into()),
            ValueSpec::Regex(text) => {
                let pattern = Pattern::new(text).map_err(Why::Pattern);
                self.or(pattern.map(|pattern| ValueTest::Regex(pattern.into())), || ValueTest::Absent)
            }
        }
    }

    fn action(&mut self, action: &ActionSpec) -> Action {
        let mut status = |found: u16, accepts: bool, accepted: &'static str| {
            self.expect(accepts, || Why::Status { found, accepted });
            found
        };
        match action {
            ActionSpec::Group(group) => Action::Group(*group),
            ActionSpec::Redirect { status: code, target } => {
                let accepts = matches!(code, 301 | 302 | 303 | 307 | 308);
                let status = status(*code, accepts, "301, 302, 303, 307 and 308");
                Action::Redirect { status, target: self.text(target, |byte| byte > 0x20) }
            }
            ActionSpec::Respond { status: code, content_type, body } => {
                let status = status(*code, (200..=599).contains(code), "200 to 599");
                let line = !content_type.is_empty() && content_type.bytes().all(|byte| (0x20..0x7f).contains(&byte));
                self.expect(line, || Why::ContentType(content_type.clone()));
                Action::Respond { status, content_type: content_type.as_str().into(), body: body.clone() }
            }
            ActionSpec::Deny { status: code } => {
                Action::Deny { status: status(*code, (400..=599).contains(code), "400 to 599") }
            }
        }
    }

    fn edits(&mut self, edits: &[EditSpec]) -> Box<[Edit]> {
        self.expect(edits.len() <= RuleSpec::EDITS_MAX, || Why::TooManyEdits { found: edits.len() });
        let each = edits.iter().take(RuleSpec::EDITS_MAX).enumerate();
        each.map(|(at, edit)| self.below(&format!("[{at}]"), |compiler| compiler.edit(edit))).collect()
    }

    fn edit(&mut self, edit: &EditSpec) -> Edit {
        let (EditSpec::Add { name, .. } | EditSpec::Set { name, .. } | EditSpec::Remove { name }) = edit;
        self.expect(is_token(name), || Why::HeaderName(name.clone()));
        let protected = PROTECTED.iter().any(|protected| name.eq_ignore_ascii_case(protected));
        self.expect(!protected, || Why::ProtectedHeader(name.clone()));
        let kind = match edit {
            EditSpec::Add { value, .. } => EditKind::Add(self.text(value, |_| true)),
            EditSpec::Set { value, .. } => EditKind::Set(self.text(value, |_| true)),
            EditSpec::Remove { .. } => EditKind::Remove,
        };
        Edit { name: name.as_str().into(), kind }
    }

    fn rewrite(&mut self, rewrite: &RewriteSpec) -> Option<Rewrite> {
        let (compiled, to) = match rewrite {
            RewriteSpec::Prefix { from, to } => {
                let from = normal(from).map(without_slash);
                let from = self.or(from, Box::default);
                let to = self.path_text(to, |_| None);
                (Some(Rewrite::Prefix { from, to: to.clone() }), to)
            }
            RewriteSpec::Whole { to } => {
                let to = self.path_text(to, |_| None);
                (Some(Rewrite::Whole { to: to.clone() }), to)
            }
            RewriteSpec::Regex { pattern, to } => {
                let pattern = Pattern::new(pattern).map_err(Why::Pattern);
                let pattern = self.or(pattern.map(Some), || None)?;
                let first = self.names.len();
                let to = self.path_text(to, |name| pattern.group(name));
                return Some(Rewrite::Regex { pattern: pattern.into(), to, first });
            }
        };
        self.expect(to.literal_start().starts_with(b"/"), || Why::NotAPath);
        compiled
    }

    /// A text of path bytes and captures alone. Groups of a rewrite's own pattern have the numbers behind the
    /// rule's captures.
    fn path_text(&mut self, text: &str, group: impl Fn(&str) -> Option<usize>) -> Text {
        let names = self.names.len();
        let text = self.text_with(text, is_path_byte, |name| group(name).map(|group| names + group));
        self.expect(!text.has_facts(), || Why::FactInPath);
        text
    }

    fn text(&mut self, text: &str, allowed: impl Fn(u8) -> bool) -> Text {
        self.text_with(text, allowed, |_| None)
    }

    fn text_with(&mut self, text: &str, allowed: impl Fn(u8) -> bool, own: impl Fn(&str) -> Option<usize>) -> Text {
        let Compiler { names, captures_used, .. } = self;
        let compiled = Text::new(text, allowed, |name| {
            own(name).or_else(|| {
                let number = names.iter().position(|known| known == name)?;
                *captures_used = true;
                Some(number)
            })
        });
        self.or(compiled.map_err(Why::Text), Text::default)
    }
}

/// What an edit may not touch: framing and persistence are what `wire` understood and writes itself (RFC 9110
/// section 7.6.1, RFC 9112 section 6), and the host has a setting of its own.
const PROTECTED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

fn normal(path: &str) -> Result<Box<[u8]>, Why> {
    let mut buffer = Vec::new();
    let wrong = |why: &'static str| Why::Path { path: path.to_owned(), why };
    let normal = normalise(path.as_bytes(), EscapedSlash::Keep, &mut buffer).map_err(|why| wrong(why.label()))?;
    match normal == NormalPath::ASTERISK {
        true => Err(wrong("path-not-absolute")),
        false => Ok(normal.as_bytes().into()),
    }
}

fn without_slash(path: Box<[u8]>) -> Box<[u8]> {
    path.strip_suffix(b"/").map(Box::from).unwrap_or(path)
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(of_a_token)
}

pub(super) fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte)
}

fn is_path_byte(byte: u8) -> bool {
    byte > 0x20 && !matches!(byte, b'?' | b'#')
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Host(host) => write!(
                f,
                "`{host}` is no host; a name in ASCII without port, `*.` and a name, or an address are accepted"
            ),
            Why::Path { path, why } => write!(f, "no request's path is like `{path}` ({why})"),
            Why::Template(why) => why.fmt(f),
            Why::Pattern(why) => why.fmt(f),
            Why::Text(why) => why.fmt(f),
            Why::Method(method) => write!(f, "`{method}` is no method; a token such as GET is accepted"),
            Why::HeaderName(name) => write!(f, "`{name}` is no header name; a token such as X-Tenant is accepted"),
            Why::ProtectedHeader(name) => {
                write!(f, "`{name}` says how a message is delivered and is written by the proxy itself")
            }
            Why::Status { found, accepted } => write!(f, "status {found} is not accepted here; {accepted} are"),
            Why::ContentType(found) => write!(f, "`{found}` is no content type; one such as text/plain is accepted"),
            Why::TooManyConditions { found } => {
                write!(f, "{found} conditions or more, at most {} are accepted", RuleSpec::CONDITIONS_MAX)
            }
            Why::TooDeep => write!(f, "conditions may stand within {} others at most", RuleSpec::DEPTH_MAX),
            Why::TooManyEdits { found } => {
                write!(f, "{found} edits, at most {} are accepted", RuleSpec::EDITS_MAX)
            }
            Why::TooManyCaptures => {
                write!(f, "the paths capture more than {} different names", RuleSpec::CAPTURES_MAX)
            }
            Why::NotAPath => f.write_str("a path is needed, and it begins with `/`"),
            Why::FactInPath => f.write_str("only what this rule's path captures may be part of a path"),
        }
    }
}
