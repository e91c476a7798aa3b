//! Where in the index a rule stands: hosts and paths outside which its condition cannot hold.
//!
//! Owns one promise, on which the index depends: if a rule's condition holds for a request, then the host and path of at
//! least one of its anchors match the request. An anchor may match more than the condition; conditions on
//! anything but host and path, and all that is negated, are not part of it.

use super::condition::{Condition, HostTest, PathTest};
use super::spec::RuleSpec;
use super::template::Segment;

/// A host and a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Anchor {
    pub host: HostKey,
    pub path: PathKey,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum HostKey {
    Any,
    /// `.example.com`.
    Below(Box<str>),
    Exact(Box<str>),
}

/// A way through the tree of segments, of at most [`RuleSpec::SEGMENTS_MAX`] steps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct PathKey {
    pub steps: Box<[Step]>,
    /// Paths may go on behind the last step, at a slash.
    pub open: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    /// Any segment that is not empty.
    Any,
    Literal(Box<[u8]>),
}

/// Anchors of one rule. One that would have more stands where all requests pass.
pub(super) const ANCHORS_MAX: usize = 1_024;

/// Sorted, each once, at least one unless the condition never holds.
pub(super) fn anchors(condition: &Condition) -> Box<[Anchor]> {
    let mut anchors = of(condition);
    anchors.sort();
    anchors.dedup();
    anchors.into()
}

impl Anchor {
    fn everywhere() -> Anchor {
        Anchor { host: HostKey::Any, path: PathKey::anything() }
    }

    /// What it takes in the index, about.
    pub fn bytes(&self) -> usize {
        let host = match &self.host {
            HostKey::Any => 0,
            HostKey::Below(name) | HostKey::Exact(name) => name.len(),
        };
        let step = |step: &Step| match step {
            Step::Any => 1,
            Step::Literal(segment) => 1 + segment.len(),
        };
        host + self.path.steps.iter().map(step).sum::<usize>()
    }
}

impl PathKey {
    fn anything() -> PathKey {
        PathKey { steps: [].into(), open: true }
    }

    /// Of a path in its normal form, or of a prefix without a slash at its end.
    fn literal(path: &[u8], open: bool) -> PathKey {
        let mut segments = path.split(|byte| *byte == b'/').skip(1);
        let steps = segments.by_ref().take(RuleSpec::SEGMENTS_MAX).map(|segment| Step::Literal(segment.into()));
        PathKey { steps: steps.collect(), open: open || segments.next().is_some() }
    }

    /// How few paths it matches: the more, the fewer.
    fn narrowness(&self) -> (bool, usize, usize) {
        let literals = self.steps.iter().filter(|step| matches!(step, Step::Literal(_))).count();
        (!self.open, literals, self.steps.len())
    }
}

fn of(condition: &Condition) -> Vec<Anchor> {
    let everywhere = Anchor::everywhere;
    match condition {
        Condition::Host(HostTest::Exact(host)) => {
            vec![Anchor { host: HostKey::Exact(host.clone()), ..everywhere() }]
        }
        Condition::Host(HostTest::Below(suffix)) => {
            vec![Anchor { host: HostKey::Below(suffix.clone()), ..everywhere() }]
        }
        Condition::Path(test) => vec![Anchor { path: path_key(test), ..everywhere() }],
        Condition::All(conditions) => conditions.iter().map(of).fold(vec![everywhere()], both),
        Condition::Any(conditions) => {
            let mut all: Vec<Anchor> = conditions.iter().flat_map(of).collect();
            all.sort();
            all.dedup();
            if all.len() > ANCHORS_MAX { vec![everywhere()] } else { all }
        }
        Condition::Not(condition) => match &**condition {
            Condition::Not(condition) => of(condition),
            _ => vec![everywhere()],
        },
        Condition::Method(_)
        | Condition::Header(_)
        | Condition::Query(_)
        | Condition::Source(_)
        // Which hosts these are changes without the rule, so the index does not know them.
        | Condition::HostList(_) => {
            vec![everywhere()]
        }
    }
}

fn path_key(test: &PathTest) -> PathKey {
    match test {
        PathTest::Exact(path) => PathKey::literal(path, false),
        PathTest::Prefix(path) => PathKey::literal(path, true),
        PathTest::Template(template, _) => {
            let steps = template.segments().iter().map(|segment| match segment {
                Segment::Literal(bytes) => Step::Literal(bytes.clone()),
                Segment::Name(_) => Step::Any,
            });
            PathKey { steps: steps.collect(), open: template.has_rest() }
        }
        // What stands before the last slash of a known beginning are whole segments.
        PathTest::Regex(pattern, _) => match pattern.start().iter().rposition(|byte| *byte == b'/') {
            Some(slash) if is_normal(&pattern.start()[..slash]) => PathKey::literal(&pattern.start()[..slash], true),
            _ => PathKey::anything(),
        },
    }
}

/// A beginning that no normal path has would lead to a place that no request passes, and that is right; but
/// it must lead there from the root.
fn is_normal(start: &[u8]) -> bool {
    start.is_empty() || start.starts_with(b"/")
}

/// Where both hold. If only one can be kept, what it keeps still contains all.
fn both(one: Vec<Anchor>, other: Vec<Anchor>) -> Vec<Anchor> {
    if one.len() * other.len() > ANCHORS_MAX {
        let is_everywhere = |anchors: &[Anchor]| anchors.contains(&Anchor::everywhere());
        return if one.len() <= other.len() && !is_everywhere(&one) || is_everywhere(&other) { one } else { other };
    }
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    let mut all: Vec<Anchor> = pairs.map(|(a, b)| narrower(a, b)).collect();
    all.sort();
    all.dedup();
    all
}

/// Either host will do, and either path: the narrower ones are passed by fewer.
fn narrower(a: &Anchor, b: &Anchor) -> Anchor {
    let path = if a.path.narrowness() >= b.path.narrowness() { &a.path } else { &b.path };
    Anchor { host: (&a.host).max(&b.host).clone(), path: path.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Rule;
    use super::super::spec::{ActionSpec, PathSpec, RuleSpec, When};
    use super::*;

    fn anchors_of(when: When) -> Vec<String> {
        let spec = RuleSpec {
            id: "r".into(),
            order: 0,
            when,
            action: ActionSpec::Deny { status: 403 },
            request_edits: vec![],
            response_edits: vec![],
            rewrite: None,
            host: None,
        };
        let rule = Rule::compile(&spec).unwrap();
        rule.anchors.iter().map(shown).collect()
    }

    fn shown(anchor: &Anchor) -> String {
        let host = match &anchor.host {
            HostKey::Any => "*",
            HostKey::Below(host) | HostKey::Exact(host) => host,
        };
        let steps = anchor.path.steps.iter().map(|step| match step {
            Step::Any => "/?".to_owned(),
            Step::Literal(bytes) => format!("/{}", bytes.escape_ascii()),
        });
        format!("{host}{}{}", steps.collect::<String>(), if anchor.path.open { "…" } else { "" })
    }

    fn host(host: &str) -> When {
        When::Host(host.into())
    }

    fn prefix(path: &str) -> When {
        When::Path(PathSpec::Prefix(path.into()))
    }

    #[test]
    fn anchors_are_hosts_and_paths() {
        let exact = |path: &str| When::Path(PathSpec::Exact(path.into()));
        let template = |path: &str| When::Path(PathSpec::Template(path.into()));
        let regex = |path: &str| When::Path(PathSpec::Regex(path.into()));
        assert_eq!(anchors_of(When::always()), ["*…"]);
        assert_eq!(anchors_of(host("*.A.example.")), [".a.example…"]);
        assert_eq!(anchors_of(When::All(vec![host("a"), exact("/x/")])), ["a/x/"]);
        assert_eq!(anchors_of(prefix("/")), ["*…"]);
        assert_eq!(anchors_of(prefix("/x/y/")), ["*/x/y…"]);
        assert_eq!(anchors_of(template("/u/{id}/x")), ["*/u/?/x"]);
        assert_eq!(anchors_of(template("/u/{rest*}")), ["*/u…"]);
        assert_eq!(anchors_of(regex(r"^/api/v\d")), ["*/api…"]);
        assert_eq!(anchors_of(regex("^x/y")), ["*…"]);
        assert_eq!(anchors_of(regex("/api/v")), ["*…"]);
    }

    #[test]
    fn alternatives_stand_in_several_places() {
        let either = When::Any(vec![When::All(vec![host("a"), prefix("/x")]), host("b")]);
        assert_eq!(anchors_of(either), ["a/x…", "b…"]);
        let product =
            When::All(vec![When::Any(vec![host("a"), host("b")]), When::Any(vec![prefix("/x"), prefix("/y")])]);
        assert_eq!(anchors_of(product), ["a/x…", "a/y…", "b/x…", "b/y…"]);
        assert!(anchors_of(When::Any(vec![])).is_empty());
    }

    #[test]
    fn of_what_must_hold_together_the_narrower_counts() {
        assert_eq!(anchors_of(When::All(vec![prefix("/x"), prefix("/x/y")])), ["*/x/y…"]);
        assert_eq!(anchors_of(When::All(vec![host("*.b"), host("a.b")])), ["a.b…"]);
    }

    #[test]
    fn what_is_negated_says_nothing_of_where() {
        let not = |when| When::Not(Box::new(when));
        assert_eq!(anchors_of(not(host("a"))), ["*…"]);
        assert_eq!(anchors_of(not(not(host("a")))), ["a…"]);
        assert_eq!(anchors_of(When::All(vec![host("b"), not(host("a"))])), ["b…"]);
        assert_eq!(anchors_of(When::Any(vec![host("b"), not(host("a"))])), ["*…", "b…"]);
    }

    #[test]
    fn too_many_anchors_are_one_everywhere() {
        let hosts = |count: usize| When::Any((0..count).map(|n| host(&format!("h{n}"))).collect());
        assert_eq!(anchors_of(hosts(ANCHORS_MAX)).len(), ANCHORS_MAX);
        assert_eq!(anchors_of(hosts(ANCHORS_MAX + 1)), ["*…"]);
        let paths = When::Any((0..100).map(|n| prefix(&format!("/{n}"))).collect());
        assert_eq!(anchors_of(When::All(vec![hosts(50), paths])).len(), 50);
    }
}
